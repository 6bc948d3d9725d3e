//! Judging runs that cannot be repeated, because threads or the moment of a kill decide how they go.

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::finding::{Failure, Finding};
use crate::history::History;
use crate::invariant::Invariant;
use crate::plan::case_seed;
use crate::verdict::Verdict;
use crate::{checkers, timeline};

/// Judges as many histories as there are cases, and keeps for each promise the first that breaks it. A run
/// without a history leaves everything undecided.
pub(crate) fn judge_runs<E: Display>(
    queue: &str,
    run_seed: u64,
    cases: u64,
    mut run: impl FnMut(u64) -> Result<History, E>,
) -> Vec<Finding> {
    let mut findings: BTreeMap<Invariant, Finding> = BTreeMap::new();
    for case in 0..cases {
        let seed = case_seed(run_seed, queue, case);
        let history = match run(seed) {
            Ok(history) => history,
            Err(error) => {
                let unknown = Verdict::Unknown(error.to_string());
                let finding = |&invariant| Finding::new(invariant, unknown.clone(), case, 0);
                return Invariant::ALL.iter().map(finding).collect();
            }
        };
        for (invariant, verdict) in checkers::judge(&history) {
            let finding = findings
                .entry(invariant)
                .or_insert_with(|| Finding::new(invariant, Verdict::NotClaimed, 0, 0));
            if finding.failure.is_some() {
                continue;
            }
            finding.cases += 1;
            finding.events += history.events.len() as u64;
            if let Verdict::Broken(counterexample) = &verdict {
                finding.failure = Some(Failure {
                    case,
                    seed,
                    plan: None,
                    steps_before: history.events.len(),
                    steps_after: history.events.len(),
                    picture: timeline::draw(&history, counterexample, &[]),
                    replay: None,
                });
            }
            let before = std::mem::replace(&mut finding.verdict, Verdict::NotClaimed);
            finding.verdict = before.merge(verdict);
        }
    }
    findings.into_values().collect()
}
