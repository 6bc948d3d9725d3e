//! Judging runs that cannot be repeated, because threads or the moment of a kill decide how they go.

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::engines::watchdog;
use crate::finding::{Failure, Finding};
use crate::history::History;
use crate::invariant::Invariant;
use crate::plan::case_seed;
use crate::verdict::{Counterexample, Verdict};
use crate::{checkers, timeline};

/// Judges as many histories as there are cases, and keeps for each promise the first that breaks it. A run may
/// add that a call did not return, which no history shows; one without a history leaves everything undecided.
pub(crate) fn judge_runs<E: Display>(
    queue: &str,
    run_seed: u64,
    cases: u64,
    mut run: impl FnMut(u64) -> Result<(History, Option<Counterexample>), E>,
) -> Vec<Finding> {
    let mut findings: BTreeMap<Invariant, Finding> = BTreeMap::new();
    for case in 0..cases {
        let seed = case_seed(run_seed, queue, case);
        let told = format!(
            "Seed:   case {case} of {queue}, seed {seed}; threads and kills are not repeated by it\n"
        );
        let failure = move |picture: String, steps| Failure {
            case,
            seed,
            plan: None,
            steps_before: steps,
            steps_after: steps,
            picture,
            replay: None,
        };
        watchdog::case(move |stuck| {
            let heading = timeline::heading(&stuck.counterexample());
            failure(heading + &told, 0)
        });
        let (history, stuck) = match run(seed) {
            Ok(ran) => ran,
            Err(error) => return Finding::undecided(&error.to_string(), case),
        };
        for (invariant, verdict) in checkers::judge(&history) {
            let verdict = match &stuck {
                Some(how) if how.invariant == invariant => Verdict::Broken(how.clone()),
                _ => verdict,
            };
            let finding = findings
                .entry(invariant)
                .or_insert_with(|| Finding::new(invariant, Verdict::NotClaimed, 0, 0));
            if finding.failure.is_some() {
                continue;
            }
            finding.cases += 1;
            finding.events += history.events.len() as u64;
            if let Verdict::Broken(counterexample) = &verdict {
                let picture = timeline::draw(&history, counterexample, &[]);
                finding.failure = Some(failure(picture, history.events.len()));
            }
            let before = std::mem::replace(&mut finding.verdict, Verdict::NotClaimed);
            finding.verdict = before.merge(verdict);
        }
    }
    findings.into_values().collect()
}
