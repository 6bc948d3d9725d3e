//! Brokers written from the traits alone, with bugs that no list here names and with unusual contracts that are
//! kept: what the harness says of them in its ordinary budget.

mod broker;
mod quirks;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use stanchion_properties::card::learn;
use stanchion_properties::checkers::judge;
use stanchion_properties::engines::budget::Budget;
use stanchion_properties::engines::explore::explore;
use stanchion_properties::engines::{sequential, simulated, threads_broker};
use stanchion_properties::invariant::Invariant;
use stanchion_properties::plan::{Plans, case_seed};

use broker::Home;
use quirks::{Kind, Quirk};

/// Bugs that are not seen in the ordinary budget, and why.
const ESCAPES: &[(Quirk, &str)] =
    &[(Quirk::Racy, "one client after another meets no race; see the tests below")];

/// How many plans each correct broker meets in `cargo test` with each seed.
const PLANS_A_SEED: u64 = 60;

/// The promises that a plan shows broken.
fn broken(quirk: Quirk, seed: u64, case: u64) -> BTreeSet<Invariant> {
    let plan = Plans::default().draw(case_seed(seed, "blind", case));
    let history = sequential::run(|settings| Home::new(quirk, settings), &plan).expect("it starts");
    let verdicts = judge(&history).into_iter();
    verdicts.filter(|(_, verdict)| verdict.is_broken()).map(|(invariant, _)| invariant).collect()
}

/// The promises that a plan of the simulated engine shows broken.
fn broken_in_turns(quirk: Quirk, seed: u64, case: u64) -> BTreeSet<Invariant> {
    let plan = simulated::Plan::draw(case_seed(seed, "blind", case));
    let history = simulated::run(|settings| Home::new(quirk, settings), &plan, true).expect("it starts");
    let verdicts = judge(&history).into_iter();
    verdicts.filter(|(_, verdict)| verdict.is_broken()).map(|(invariant, _)| invariant).collect()
}

/// The first plan that shows a promise broken, and which promises it shows so.
fn first_blame(quirk: Quirk, seed: u64) -> Option<(u64, BTreeSet<Invariant>)> {
    (0..Budget::quick().cases)
        .map(|case| (case, broken(quirk, seed, case)))
        .find(|(_, broken)| !broken.is_empty())
}

/// `work` for every quirk of a kind, on all cores, in the order of the quirks.
fn of_all<T: Send>(kind: Kind, work: impl Fn(Quirk) -> T + Sync) -> Vec<(Quirk, T)> {
    let quirks: Vec<Quirk> = Quirk::ALL.iter().copied().filter(|quirk| quirk.kind() == kind).collect();
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(&quirk) = quirks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = work(quirk);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((quirk, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(quirk, _)| quirks.iter().position(|other| other == quirk));
    done
}

#[test]
fn bugs_are_seen_except_the_known_escapes() {
    let seen = of_all(Kind::Bug, |quirk| first_blame(quirk, 1).is_some());
    let escaped = |quirk: &Quirk| ESCAPES.iter().any(|(known, _)| known == quirk);
    let unseen: Vec<String> = seen
        .iter()
        .filter(|(quirk, seen)| !seen && !escaped(quirk))
        .map(|(quirk, _)| format!("{quirk:?}: {}", quirk.what()))
        .collect();
    assert_eq!(unseen, Vec::<String>::new());
    let back: Vec<_> = seen.iter().filter(|(quirk, seen)| *seen && escaped(quirk)).collect();
    assert!(back.is_empty(), "no longer an escape: take it off the list: {back:?}");
}

/// Which correct brokers are blamed in so many plans with each of the seeds 1 to 24.
fn blamed_though_correct(plans: u64, broken: fn(Quirk, u64, u64) -> BTreeSet<Invariant>) -> Vec<String> {
    let blamed = of_all(Kind::Correct, |quirk| {
        (1..=24)
            .flat_map(|seed| (0..plans).map(move |case| (seed, case)))
            .map(|(seed, case)| (seed, case, broken(quirk, seed, case)))
            .find(|(.., broken)| !broken.is_empty())
    });
    let blamed = blamed.into_iter().filter_map(|(quirk, found)| Some((quirk, found?)));
    blamed
        .map(|(quirk, (seed, case, broken))| {
            let ids: Vec<&str> = broken.iter().map(|invariant| invariant.id()).collect();
            format!("{quirk:?} by {} (seed {seed}, case {case}): {}", ids.join(" "), quirk.what())
        })
        .collect()
}

#[test]
fn what_keeps_its_contract_is_not_blamed_with_any_seed() {
    assert_eq!(blamed_though_correct(PLANS_A_SEED, broken), Vec::<String>::new());
}

#[test]
fn what_keeps_its_contract_is_not_blamed_in_turns() {
    assert_eq!(blamed_though_correct(PLANS_A_SEED, broken_in_turns), Vec::<String>::new());
}

/// Each of many seeds finds it, and always in the same plan.
#[test]
fn a_race_is_seen_in_turns() {
    for seed in 1..=8 {
        let first =
            || (0..Budget::quick().cases).find(|&case| !broken_in_turns(Quirk::Racy, seed, case).is_empty());
        let case = first();
        println!("seed {seed}: {case:?}");
        assert!(case.is_some() && case == first());
    }
}

/// Nor does a card say so of it; and of how many bugs a card alone does.
#[test]
fn what_keeps_its_contract_has_no_broken_claim_on_its_card() {
    let cards = |kind| of_all(kind, |quirk| learn(|settings| Home::new(quirk, settings)).expect("it starts"));
    let claims: Vec<String> = cards(Kind::Correct)
        .iter()
        .flat_map(|(quirk, card)| card.broken().into_iter().map(move |claim| format!("{quirk:?}: {claim}")))
        .collect();
    assert_eq!(claims, Vec::<String>::new());
    let bugs = cards(Kind::Bug);
    let shown: Vec<Quirk> =
        bugs.iter().filter(|(_, card)| !card.broken().is_empty()).map(|&(quirk, _)| quirk).collect();
    println!("{} of {} bugs show on the card: {shown:?}", shown.len(), bugs.len());
    assert!(!shown.is_empty());
}

#[test]
#[ignore = "over a million plans"]
fn what_keeps_its_contract_is_not_blamed_in_the_ordinary_budget() {
    assert_eq!(blamed_though_correct(Budget::quick().cases, broken), Vec::<String>::new());
    assert_eq!(blamed_though_correct(Budget::quick().cases, broken_in_turns), Vec::<String>::new());
}

#[test]
fn a_race_is_seen_on_threads() {
    let seen = |seed| {
        let budget = Budget { seed, ..Budget::quick() };
        let findings = threads_broker::check("blind", &|settings| Home::new(Quirk::Racy, settings), &budget);
        findings.iter().any(|finding| finding.verdict.is_broken())
    };
    assert!((1..=64).any(seen), "two threads that look before they take were never seen to take the same");
}

/// `BLIND=Quirk,… BLIND_SEED=n BLIND_PICTURES=1 cargo test --test blind -- --ignored survey --nocapture`
#[test]
#[ignore = "a survey for people to read"]
fn survey() {
    let wanted = std::env::var("BLIND").unwrap_or_default();
    let seed = std::env::var("BLIND_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let is_wanted =
        |quirk: Quirk| wanted.is_empty() || wanted.split(',').any(|name| name == format!("{quirk:?}"));
    for kind in [Kind::Correct, Kind::Bug] {
        for (quirk, found) in of_all(kind, |quirk| is_wanted(quirk).then(|| first_blame(quirk, seed))) {
            let Some(found) = found else { continue };
            let line = format!("{:7} {:22}", format!("{kind:?}"), format!("{quirk:?}"));
            let Some((case, broken)) = found else {
                println!("{line} | -");
                continue;
            };
            let ids: Vec<&str> = broken.iter().map(|invariant| invariant.id()).collect();
            println!("{line} | #{} {}", case + 1, ids.join(" "));
            if std::env::var("BLIND_PICTURES").is_ok() {
                draw(quirk, seed, case + 1);
            }
        }
    }
}

/// `BLIND=Quirk,… BLIND_SEED=n cargo test --test blind -- --ignored survey_of_turns --nocapture`
#[test]
#[ignore = "a survey for people to read"]
fn survey_of_turns() {
    let wanted = std::env::var("BLIND").unwrap_or_default();
    let seed = std::env::var("BLIND_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let budget = Budget { seed, ..Budget::quick() };
    for &quirk in Quirk::ALL.iter().filter(|quirk| wanted.split(',').any(|name| name == format!("{quirk:?}")))
    {
        let exploration =
            simulated::explore("blind", |settings| Home::new(quirk, settings), &budget).expect("it starts");
        for failure in exploration.findings.iter().filter_map(|finding| finding.failure.as_ref()).take(3) {
            println!("{}\n{}\n{:?}", quirk.what(), failure.picture, failure.plan);
        }
    }
}

/// Prints the smallest histories that show promises broken within so many plans.
fn draw(quirk: Quirk, seed: u64, cases: u64) {
    let budget = Budget { cases, seed, shrink_runs: 300, ..Budget::quick() };
    let exploration =
        explore("blind", |settings| Home::new(quirk, settings), &budget, judge).expect("it starts");
    for failure in exploration.findings.iter().filter_map(|finding| finding.failure.as_ref()).take(3) {
        println!("{}\n{}", quirk.what(), failure.picture);
    }
}
