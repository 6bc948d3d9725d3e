//! Brokers written from the traits alone, with bugs that no list here names and with unusual contracts that are
//! kept: what the harness says of them in its ordinary budget.

mod broker;
mod quirks;

use std::collections::BTreeSet;

use stanchion_properties::checkers::judge;
use stanchion_properties::engines::budget::Budget;
use stanchion_properties::engines::explore::explore;
use stanchion_properties::finding::Finding;

use broker::Home;
use quirks::{Kind, Quirk};

/// Bugs that are not seen in the ordinary budget, and why.
const ESCAPES: &[(Quirk, &str)] = &[
    (Quirk::BatchTwice, "no plan puts a receipt into a batch twice"),
    (Quirk::BatchMixed, "no plan mixes ways of settling in a batch"),
    (Quirk::RejectReversed, "no rule for the order in which dead letters are shown"),
    (Quirk::CrashDeadReversed, "no rule for the order in which dead letters are shown"),
    (Quirk::RedriveReversed, "no contract says where redriven messages stand"),
    (
        Quirk::RedriveRejectedOnly,
        "which letters a redrive takes is judged only where the order of deaths is known",
    ),
    (Quirk::BrowseIgnoresMax, "every plan asks for more dead letters than there can be"),
    (Quirk::BrowseTakes, "every plan asks for more dead letters than there can be"),
    (Quirk::LossToTail, "OR-4 judges nacks without delay only"),
    (Quirk::ExpiryToTail, "OR-4 judges nacks without delay only"),
    (Quirk::NackDelayedToTail, "OR-4 judges nacks without delay only"),
    (Quirk::LeaseZero, "no plan asks for a lease of zero"),
    (Quirk::MaxZero, "no plan asks for at most zero"),
    (Quirk::LeaseOverflows, "no plan asks for a long lease"),
    (Quirk::EmptyKeyLost, "no plan sends an empty key"),
    (Quirk::LargeBodyCut, "no plan sends a large body"),
    (Quirk::LimitIgnored, "no plan sends a large body, and no rule reads the body limit"),
    (Quirk::IdByte, "no plan sends that many"),
    (Quirk::ExtendOnce, "few plans extend a lease twice"),
    (Quirk::Racy, "no engine runs a broker on threads"),
    (Quirk::CrashReorders, "no contract says what order is left after a crash"),
];

/// Correct or unclear brokers that are blamed, and why.
const BLAMED: &[(Quirk, &str)] = &[
    (Quirk::ExpiryUncountedOrdinal, "the attempt is read as the count, though its text says ordinal"),
    (
        Quirk::EmptyRelaxed,
        "an empty drain is taken for a loss, and relaxed needs another call that is unfinished",
    ),
    (Quirk::FullRelaxed, "relaxed needs another call that is unfinished"),
    (Quirk::LazyDeath, "no contract says when the dead move"),
    (Quirk::AllOrNothing, "no contract says that batches are sent as a whole"),
];

fn blamed(quirk: Quirk, seed: u64, shrink_runs: u32) -> Vec<Finding> {
    let budget = Budget { cases: 256, seed, shrink_runs, ..Budget::quick() };
    let exploration =
        explore("blind", |settings| Home::new(quirk, settings), &budget, judge).expect("it starts");
    exploration.findings.into_iter().filter(|finding| finding.verdict.is_broken()).collect()
}

/// Those of a kind that are blamed (`true`) or not, except the ones that are known to be.
fn unexpected(kinds: &[Kind], be_blamed: bool, known: &[(Quirk, &str)]) -> Vec<String> {
    let of_kind = Quirk::ALL.iter().filter(|quirk| kinds.contains(&quirk.kind()));
    of_kind
        .filter(|&&quirk| blamed(quirk, 1, 0).is_empty() == be_blamed)
        .filter(|quirk| known.iter().all(|(known, _)| known != *quirk))
        .map(|quirk| format!("{quirk:?}: {}", quirk.what()))
        .collect()
}

#[test]
fn bugs_are_seen_except_the_known_escapes() {
    assert_eq!(unexpected(&[Kind::Bug], true, ESCAPES), Vec::<String>::new());
}

#[test]
fn the_known_escapes_are_still_escapes() {
    let seen: Vec<_> = ESCAPES.iter().filter(|(quirk, _)| !blamed(*quirk, 1, 0).is_empty()).collect();
    assert!(seen.is_empty(), "no longer an escape: take it off the list: {seen:?}");
}

#[test]
fn what_keeps_its_contract_is_not_blamed_except_where_known() {
    assert_eq!(unexpected(&[Kind::Correct, Kind::Unclear], false, BLAMED), Vec::<String>::new());
}

#[test]
#[ignore = "OR-4 forgets that redrive gives a message a new place"]
fn what_keeps_its_contract_is_not_blamed_with_any_seed() {
    let blamed: BTreeSet<String> = Quirk::ALL
        .iter()
        .filter(|quirk| quirk.kind() == Kind::Correct && BLAMED.iter().all(|(known, _)| known != *quirk))
        .flat_map(|&quirk| (1..=24).map(move |seed| (quirk, seed)))
        .flat_map(|(quirk, seed)| {
            let findings = blamed(quirk, seed, 0);
            findings
                .into_iter()
                .map(move |finding| format!("{quirk:?} {} seed {seed}", finding.invariant.id()))
        })
        .collect();
    assert_eq!(blamed, BTreeSet::new());
}

#[test]
#[ignore = "a survey for people to read"]
fn survey() {
    let wanted = std::env::var("BLIND").unwrap_or_default();
    let pictures = std::env::var("BLIND_PICTURES").is_ok();
    for &quirk in Quirk::ALL {
        if !wanted.is_empty() && !wanted.split(',').any(|name| name == format!("{quirk:?}")) {
            continue;
        }
        let mut line = format!("{:7} {:22}", format!("{:?}", quirk.kind()), format!("{quirk:?}"));
        let mut shown = Vec::new();
        let seeds = if quirk.kind() == Kind::Bug { 4 } else { 24 };
        for seed in 1..=seeds {
            let found = blamed(quirk, seed, if seed == 1 || quirk.kind() != Kind::Bug { 300 } else { 0 });
            let first = found.iter().filter_map(|f| f.failure.as_ref().map(|f| f.case + 1)).min();
            let ids: Vec<&str> = found.iter().map(|f| f.invariant.id()).collect();
            match first {
                None => line += " | -",
                Some(first) if seed == 1 => {
                    let steps = found.iter().filter_map(|f| f.failure.as_ref()).map(|f| f.steps_after).min();
                    line += &format!(" | #{first} {} steps {}", steps.unwrap_or(0), ids.join(" "));
                }
                Some(first) => line += &format!(" | #{first} ({})", ids.len()),
            }
            if shown.is_empty() {
                shown = found;
            }
        }
        println!("{line}");
        if pictures || (quirk.kind() != Kind::Bug && !shown.is_empty()) {
            for finding in shown.iter().take(3) {
                if let Some(failure) = &finding.failure {
                    println!("{}\n{}", quirk.what(), failure.picture);
                }
            }
        }
    }
}
