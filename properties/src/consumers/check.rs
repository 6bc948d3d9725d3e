//! Explores plans against a consumer, and shrinks what fails.

use stanchion_queues::buffers::MutexDeque;
use stanchion_queues::{Leased, Settings, Volatile};

use super::engine::{Run, run};
use super::{Consumer, ConsumerPlan, strategy};
use crate::checkers;
use crate::engines::budget::Budget;
use crate::finding::{Failure, Finding};
use crate::invariant::Invariant;
use crate::plan::{case_seed, draw};
use crate::shrink::delete_steps;
use crate::timeline;
use crate::verdict::{Counterexample, Verdict};

/// What is asked of a consumer.
pub const INVARIANTS: [Invariant; 4] = [Invariant::Ic1, Invariant::Ic2, Invariant::Ic3, Invariant::Ic10];

/// Runs the budget's plans against the consumers that `make` makes, on the yardstick queue.
pub fn check(name: &str, make: &dyn Fn() -> Box<dyn Consumer>, budget: &Budget) -> Vec<Finding> {
    let plans = strategy();
    let mut findings = INVARIANTS.map(|invariant| Finding::new(invariant, Verdict::Vacuous, 0, 0));
    for case in 0..budget.cases {
        let seed = case_seed(budget.seed, name, case);
        let plan = draw(&plans, seed);
        let done = play(make, &plan);
        for finding in findings.iter_mut().filter(|finding| finding.failure.is_none()) {
            finding.cases += 1;
            finding.events += done.history.events.len() as u64;
            let verdict = judge(finding.invariant, &done);
            let broken = verdict.is_broken();
            finding.verdict = std::mem::replace(&mut finding.verdict, Verdict::Vacuous).merge(verdict);
            if broken {
                shrink(finding, make, &plan, case, seed);
            }
        }
    }
    findings.into()
}

fn play(make: &dyn Fn() -> Box<dyn Consumer>, plan: &ConsumerPlan) -> Run {
    let host = |settings: &Settings| {
        let settings = settings.clone();
        Volatile::new(move || Leased::<MutexDeque>::open(&settings))
    };
    run(host, make, plan).expect("the yardstick in memory boots and receives with these settings")
}

/// What the history says, and what the balances say: too much is an effect twice, too little is one missing.
fn judge(invariant: Invariant, run: &Run) -> Verdict {
    let verdict = checkers::check(invariant, &run.history);
    let accounts = || run.expected.keys().chain(run.balances.keys());
    let held = |account: &u8| run.balances.get(account).copied().unwrap_or(0);
    let due = |account: &u8| run.expected.get(account).copied().unwrap_or(0);
    let wrong = match invariant {
        Invariant::Ic1 => accounts().find(|account| held(account) > due(account)),
        Invariant::Ic10 => accounts().find(|account| held(account) < due(account)),
        _ => None,
    };
    match wrong {
        Some(account) if !verdict.is_broken() => Verdict::Broken(Counterexample {
            invariant,
            sentence: format!(
                "Each intent applied once gives account {account} a balance of {}; at the end it has {}.",
                due(account),
                held(account)
            ),
            missing_licence: None,
            culprits: run.history.events.len().checked_sub(1).into_iter().collect(),
        }),
        _ => verdict,
    }
}

fn shrink(
    finding: &mut Finding,
    make: &dyn Fn() -> Box<dyn Consumer>,
    plan: &ConsumerPlan,
    case: u64,
    seed: u64,
) {
    let mut smallest = plan.clone();
    delete_steps(&mut smallest.steps, |steps| {
        let fewer = ConsumerPlan { steps: steps.to_vec(), ..plan.clone() };
        judge(finding.invariant, &play(make, &fewer)).is_broken()
    });
    let run = play(make, &smallest);
    let verdict = judge(finding.invariant, &run);
    if let Verdict::Broken(counterexample) = &verdict {
        finding.failure = Some(Failure {
            case,
            seed,
            plan: serde_json::to_value(&smallest).ok(),
            steps_before: plan.steps.len(),
            steps_after: smallest.steps.len(),
            picture: timeline::draw(&run.history, counterexample, &[]),
            replay: None,
        });
    }
    finding.verdict = verdict;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumers::Transactional;
    use crate::rogues::consumers::{Bug, table};

    #[test]
    fn the_right_consumer_keeps_every_promise_and_each_is_exercised() {
        for finding in check("right", &|| Box::new(Transactional), &Budget::quick()) {
            assert!(matches!(finding.verdict, Verdict::Holds { .. }), "{finding:?}");
        }
    }

    #[test]
    fn every_wrong_consumer_is_caught_by_the_promise_it_breaks() {
        let results = table(&Budget::quick());
        assert_eq!(results.len(), Bug::ALL.len());
        for result in results {
            assert!(result.found, "{result:?}");
            assert!(result.shrunk.is_some_and(|steps| steps <= 5), "not small: {result:?}");
        }
    }
}
