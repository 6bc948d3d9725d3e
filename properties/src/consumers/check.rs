//! Explores plans against a consumer, and shrinks what fails.

use stanchion_queues::buffers::MutexDeque;
use stanchion_queues::{Leased, Settings, Volatile};

use super::engine::{Run, run};
use super::{Consumer, ConsumerPlan, Difference, Store, strategy};
use crate::checkers;
use crate::engines::budget::Budget;
use crate::engines::cases::{self, Case};
use crate::finding::Finding;
#[cfg(test)]
use crate::history::History;
use crate::invariant::Invariant;
use crate::plan::draw;
use crate::timeline;
use crate::verdict::{Counterexample, Verdict};

/// What is asked of a consumer.
pub const INVARIANTS: [Invariant; 8] = [
    Invariant::Ic1,
    Invariant::Ic2,
    Invariant::Ic3,
    Invariant::Ic4,
    Invariant::Ic6,
    Invariant::Ic7,
    Invariant::Ic9,
    Invariant::Ic10,
];

/// What is under test: an empty store for each run, and consumers for it.
struct Subject<'a, S> {
    store: &'a dyn Fn() -> S,
    consumer: &'a dyn Fn(&mut S) -> Box<dyn Consumer<S>>,
}

/// Runs the saved plans, then the budget's, against the consumers that `consumer` makes, each run with a new `store`, on
/// the yardstick queue. Saved plans that cannot be used are passed over: the suite has a test of its own for them.
pub fn check<S: Store>(
    name: &str,
    store: &dyn Fn() -> S,
    consumer: &dyn Fn(&mut S) -> Box<dyn Consumer<S>>,
    budget: &Budget,
) -> Vec<Finding> {
    let subject = Subject { store, consumer };
    let plans = strategy();
    let mut findings = INVARIANTS.map(|invariant| Finding::new(invariant, Verdict::Vacuous, 0, 0));
    let saved = match cases::saved(name, budget) {
        Ok((saved, _)) => saved,
        Err(error) => return Finding::undecided(&error.to_string(), 0),
    };
    for case in saved.into_iter().chain(cases::new(name, budget, |seed| draw(&plans, seed))) {
        case.begin(&case.plan, budget);
        let done = play(&subject, &case.plan);
        for finding in findings.iter_mut().filter(|finding| finding.failure.is_none()) {
            finding.cases += 1;
            finding.events += done.history.events.len() as u64;
            let verdict = judge(finding.invariant, &done);
            if let Verdict::Broken(how) = verdict {
                explain(finding, &case, how, &subject, budget);
            } else {
                finding.verdict = std::mem::replace(&mut finding.verdict, Verdict::Vacuous).merge(verdict);
            }
        }
    }
    findings.into()
}

/// Shrinks a failing plan, saves it and draws it.
fn explain<S: Store>(
    finding: &mut Finding,
    case: &Case<ConsumerPlan>,
    how: Counterexample,
    subject: &Subject<'_, S>,
    budget: &Budget,
) {
    let invariant = finding.invariant;
    let broken = |plan: &ConsumerPlan| {
        case.begin(plan, budget);
        let run = play(subject, plan);
        if let Verdict::Broken(how) = judge(invariant, &run) { Some((run.history, how)) } else { None }
    };
    let (how, failure, _) = case.explain(budget, how, broken, timeline::draw);
    finding.verdict = Verdict::Broken(how);
    finding.failure = Some(failure);
}

fn play<S: Store>(subject: &Subject<'_, S>, plan: &ConsumerPlan) -> Run {
    let host = |settings: &Settings| {
        let settings = settings.clone();
        Volatile::new(move || Leased::<MutexDeque>::open(&settings))
    };
    run(host, (subject.store)(), subject.consumer, plan)
        .expect("the yardstick in memory boots and receives with these settings")
}

/// What these consumers make of this promise in a run of this plan, and what was seen.
#[cfg(test)]
pub(crate) fn played<S: Store>(
    store: &dyn Fn() -> S,
    consumer: &dyn Fn(&mut S) -> Box<dyn Consumer<S>>,
    invariant: Invariant,
    plan: &ConsumerPlan,
) -> (Verdict, History) {
    let run = play(&Subject { store, consumer }, plan);
    (judge(invariant, &run), run.history)
}

/// What the history says, and what the state at the end says: too much is an effect twice, too little is one missing.
fn judge(invariant: Invariant, run: &Run) -> Verdict {
    let broken = |sentence: String| {
        let culprits = run.history.events.len().checked_sub(1).into_iter().collect();
        Verdict::Broken(Counterexample { invariant, sentence, missing_licence: None, culprits })
    };
    if let Some(message) = &run.panicked {
        let sentence = format!("The consumer panicked: {message}.");
        return if invariant == Invariant::Ic10 { broken(sentence) } else { Verdict::Vacuous };
    }
    let verdict = checkers::check(invariant, &run.history);
    match (&run.difference, invariant) {
        _ if verdict.is_broken() => verdict,
        (Some(Difference::TooMuch(how)), Invariant::Ic1) => broken(how.clone()),
        (Some(Difference::TooLittle(how)), Invariant::Ic10) => broken(how.clone()),
        _ => verdict,
    }
}

#[cfg(test)]
mod tests {
    use stanchion_queues::Time;

    use super::*;
    use crate::consumers::{Arrival, Callee, HORIZON, Key, Ledger, Stop, Transactional, World};
    use crate::regressions;
    use crate::rogues::consumers::{Bug, Remembers, Rogue};

    #[test]
    fn the_right_consumer_keeps_every_promise_and_each_is_exercised() {
        for finding in check("right", &Ledger::default, &|_| Box::new(Transactional), &Budget::quick()) {
            assert!(matches!(finding.verdict, Verdict::Holds { .. }), "{finding:?}");
        }
    }

    /// Remembering for longer than anything comes again is enough.
    #[test]
    fn a_consumer_that_forgets_late_enough_is_right() {
        let days = HORIZON.as_secs() / (24 * 60 * 60) + 1;
        let budget = Budget { cases: 4 * Budget::quick().cases, ..Budget::quick() };
        for finding in check("remembers", &Ledger::default, &|_| Box::new(Remembers { days }), &budget) {
            assert!(matches!(finding.verdict, Verdict::Holds { .. }), "{finding:?}");
        }
    }

    /// Remembers for a second more than it must.
    #[derive(Default)]
    struct JustLongEnough(Vec<(Time, Key)>);

    impl Consumer for JustLongEnough {
        fn handle(&mut self, arrival: &Arrival, world: &mut World<'_>) -> Result<(), Stop> {
            let (now, key) = (world.now(), Key::from(arrival.intent.token));
            let applied = world.transaction(|store| {
                let fresh = store.record(key.clone());
                if fresh {
                    store.add(arrival.intent.account, arrival.intent.amount);
                }
                fresh
            })?;
            if applied {
                self.0.push((now, key));
            }
            let long = HORIZON + std::time::Duration::from_secs(1);
            let (old, young) =
                std::mem::take(&mut self.0).into_iter().partition(|(at, _)| now.since(*at) > long);
            self.0 = young;
            let old: Vec<(Time, Key)> = old;
            world.transaction(|store| store.retain(|key| old.iter().all(|(_, other)| other != key)))?;
            world.ack()
        }
    }

    #[test]
    fn a_consumer_that_forgets_just_behind_the_horizon_is_right() {
        let budget = Budget { cases: 4 * Budget::quick().cases, ..Budget::quick() };
        for finding in check("just", &Ledger::default, &|_| Box::new(JustLongEnough::default()), &budget) {
            assert!(matches!(finding.verdict, Verdict::Holds { .. }), "{finding:?}");
        }
    }

    /// Calls somebody else, under a key or not, or on the first attempt alone.
    struct Calls {
        keyed: bool,
        attempts: u32,
    }

    impl Consumer<Callee> for Calls {
        fn handle(&mut self, arrival: &Arrival, world: &mut World<'_, Callee>) -> Result<(), Stop> {
            if arrival.attempt <= self.attempts {
                world.call(self.keyed.then(|| arrival.intent.token.into()))?;
            }
            world.ack()
        }
    }

    #[test]
    fn a_call_that_cannot_be_undone_needs_a_key() {
        let broken = |keyed, attempts| -> Vec<Invariant> {
            let make = |_: &mut Callee| Box::new(Calls { keyed, attempts }) as Box<dyn Consumer<Callee>>;
            let findings = check("calls", &Callee::default, &make, &Budget::quick());
            let broken = findings.into_iter().filter(|finding| finding.verdict.is_broken());
            broken.map(|finding| finding.invariant).collect()
        };
        assert_eq!(broken(true, u32::MAX), []);
        assert_eq!(broken(false, u32::MAX), [Invariant::Ic1, Invariant::Ic6]);
        assert_eq!(broken(true, 1), [Invariant::Ic2, Invariant::Ic10]);
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
        let findings = check("panics", &Ledger::default, &|_| Box::new(Panics), &Budget::quick());
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
            let findings = check("wrong", &Ledger::default, &|_| Box::new(Rogue::new(bug)), budget);
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
