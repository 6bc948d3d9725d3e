//! Explores plans against a consumer, and shrinks what fails.

use stanchion_queues::buffers::MutexDeque;
use stanchion_queues::{Leased, Settings, Volatile};

use super::engine::{Run, run};
use super::{Consumer, ConsumerPlan, strategy};
use crate::checkers;
use crate::engines::budget::Budget;
use crate::engines::cases::{self, Case};
use crate::finding::Finding;
use crate::invariant::Invariant;
use crate::plan::draw;
use crate::timeline;
use crate::verdict::{Counterexample, Verdict};

/// What is asked of a consumer.
pub const INVARIANTS: [Invariant; 4] = [Invariant::Ic1, Invariant::Ic2, Invariant::Ic3, Invariant::Ic10];

/// Runs the saved plans, then the budget's, against the consumers that `make` makes, on the yardstick queue.
/// Saved plans that cannot be used are passed over: the suite has a test of its own for them.
pub fn check(name: &str, make: &dyn Fn() -> Box<dyn Consumer>, budget: &Budget) -> Vec<Finding> {
    let plans = strategy();
    let mut findings = INVARIANTS.map(|invariant| Finding::new(invariant, Verdict::Vacuous, 0, 0));
    let saved = match cases::saved(name, budget) {
        Ok((saved, _)) => saved,
        Err(error) => return Finding::undecided(&error.to_string(), 0),
    };
    for case in saved.into_iter().chain(cases::new(name, budget, |seed| draw(&plans, seed))) {
        case.begin(&case.plan, budget);
        let done = play(make, &case.plan);
        for finding in findings.iter_mut().filter(|finding| finding.failure.is_none()) {
            finding.cases += 1;
            finding.events += done.history.events.len() as u64;
            let verdict = judge(finding.invariant, &done);
            if let Verdict::Broken(how) = verdict {
                explain(finding, &case, how, make, budget);
            } else {
                finding.verdict = std::mem::replace(&mut finding.verdict, Verdict::Vacuous).merge(verdict);
            }
        }
    }
    findings.into()
}

/// Shrinks a failing plan, saves it and draws it.
fn explain(
    finding: &mut Finding,
    case: &Case<ConsumerPlan>,
    how: Counterexample,
    make: &dyn Fn() -> Box<dyn Consumer>,
    budget: &Budget,
) {
    let invariant = finding.invariant;
    let broken = |plan: &ConsumerPlan| {
        case.begin(plan, budget);
        let run = play(make, plan);
        if let Verdict::Broken(how) = judge(invariant, &run) { Some((run.history, how)) } else { None }
    };
    let (how, failure, _) = case.explain(budget, how, broken, timeline::draw);
    finding.verdict = Verdict::Broken(how);
    finding.failure = Some(failure);
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
    let last = || run.history.events.len().checked_sub(1).into_iter().collect();
    if let Some(message) = &run.panicked {
        let (sentence, culprits) = (format!("The consumer panicked: {message}."), last());
        let how = Counterexample { invariant, sentence, missing_licence: None, culprits };
        return if invariant == Invariant::Ic10 { Verdict::Broken(how) } else { Verdict::Vacuous };
    }
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
            culprits: last(),
        }),
        _ => verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumers::{Arrival, Stop, Transactional, World};
    use crate::regressions;
    use crate::rogues::consumers::{Bug, Rogue};

    #[test]
    fn the_right_consumer_keeps_every_promise_and_each_is_exercised() {
        for finding in check("right", &|| Box::new(Transactional), &Budget::quick()) {
            assert!(matches!(finding.verdict, Verdict::Holds { .. }), "{finding:?}");
        }
    }

    #[test]
    fn a_consumer_that_panics_breaks_a_promise_and_not_the_harness() {
        struct Panics;
        impl Consumer for Panics {
            fn handle(&mut self, arrival: &Arrival, world: &mut World<'_>) -> Result<(), Stop> {
                assert!(arrival.attempt < 2, "nobody told me of redeliveries");
                Transactional.handle(arrival, world)
            }
        }
        let findings = check("panics", &|| Box::new(Panics), &Budget::quick());
        let broken: Vec<_> = findings.iter().filter(|finding| finding.verdict.is_broken()).collect();
        let [Finding { invariant: Invariant::Ic10, failure: Some(failure), .. }] = &broken[..] else {
            panic!("{broken:?}")
        };
        assert!(failure.picture.contains("The consumer panicked: nobody told me"), "{}", failure.picture);
    }

    #[test]
    fn a_failing_plan_is_saved_and_replayed_first() {
        let directory = tempfile::tempdir().expect("a directory");
        let budget = Budget { regressions: Some(directory.path().into()), ..Budget::quick() };
        let found = |bug, budget: &Budget| {
            let findings = check("wrong", &|| Box::new(Rogue(bug)), budget);
            findings.into_iter().find(|finding| finding.invariant == Invariant::Ic2).expect("judged")
        };
        let failure = found(Bug::I09, &budget).failure.expect("the ack comes before the effect");
        let loaded = regressions::of_queue(directory.path(), "wrong");
        assert!(loaded.errors.is_empty());
        let saved = loaded.regressions.iter().find(|(_, saved)| saved.invariant == Invariant::Ic2);
        let (path, saved) = saved.expect("saved");
        assert_eq!(saved.steps_after, failure.steps_after);
        assert_eq!(failure.replay, Some(regressions::replay_line(path, "wrong", Invariant::Ic2)));
        assert!(failure.picture.contains("Replay: STANCHION_REPLAY="), "{}", failure.picture);

        assert!(found(Bug::I09, &Budget { cases: 0, ..budget.clone() }).verdict.is_broken());
        let replay = Budget { replay: Some(path.clone()), regressions: None, ..Budget::quick() };
        let replayed = found(Bug::I09, &replay);
        assert!(replayed.verdict.is_broken() && replayed.cases == 1);
        assert!(!found(Bug::I07, &replay).verdict.is_broken());
    }
}
