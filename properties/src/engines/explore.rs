//! Explores one broker with the sequential engine: saved plans first, then as many new ones as the budget
//! says; what fails is shrunk, drawn and saved.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use serde::Serialize;
use stanchion_queues::{Host, Settings};

use crate::coverage::Coverage;
use crate::engines::budget::Budget;
use crate::engines::cases::{self, Case};
use crate::engines::sequential::{NotStarted, run};
use crate::finding::{Finding, Picture};
use crate::history::History;
use crate::invariant::Invariant;
use crate::plan::Plans;
use crate::regressions::{Keep, RegressionError};
use crate::timeline;
use crate::verdict::{Counterexample, Verdict};

/// What was found out about one broker.
#[derive(Debug)]
pub struct Exploration {
    /// One per promise that was judged, in the order of the catalogue.
    pub findings: Vec<Finding>,
    /// Which situations the histories contained.
    pub coverage: Coverage,
    /// Saved plans that could not be used or saved. They are to be shown, and a run with one is not a success.
    pub errors: Vec<RegressionError>,
}

/// Why a broker could not be explored.
#[derive(Debug, thiserror::Error)]
pub enum ExploreError {
    /// It does not start.
    #[error("{queue}: {source}")]
    NotStarted {
        /// Its name.
        queue: String,
        /// What it said.
        source: NotStarted,
    },
    /// The plan that was to be replayed cannot be read.
    #[error(transparent)]
    Replay(#[from] RegressionError),
}

/// Runs plans against the broker that `make` hosts, has `judge` judge each history, and keeps for each broken
/// promise the first failing plan, shrunk with regard to that promise alone.
///
/// The cases depend only on the name of the queue and the seed of the budget. With [`Budget::replay`], only
/// the saved plan is run, and only if it is of this queue; otherwise there are no findings.
///
/// # Errors
/// The broker does not start, or the plan to replay cannot be read.
pub fn explore<H: Host>(
    queue: &str,
    make: impl Fn(&Settings) -> H,
    budget: &Budget,
    judge: impl Fn(&History) -> Vec<(Invariant, Verdict)>,
) -> Result<Exploration, ExploreError> {
    explore_plans(queue, budget, |seed| Plans::default().draw(seed), |plan| run(&make, plan), judge)
}

/// The same with plans of any kind. `draw` makes the plan of a seed.
pub(crate) fn explore_plans<P>(
    queue: &str,
    budget: &Budget,
    draw: impl Fn(u64) -> P,
    run: impl Fn(&P) -> Result<History, NotStarted>,
    judge: impl Fn(&History) -> Vec<(Invariant, Verdict)>,
) -> Result<Exploration, ExploreError>
where
    P: Keep + Send,
    P::Step: Serialize,
{
    let judged = |plan: &P| {
        let history = run(plan)?;
        let verdicts = judge(&history);
        Ok((history, verdicts))
    };
    explore_cases(queue, budget, cases::new(queue, budget, draw).map(Ok), judged, timeline::draw)
}

/// The same with cases from anywhere. `judged` runs a plan and judges what came of it; `picture` draws that.
pub(crate) fn explore_cases<P, R>(
    queue: &str,
    budget: &Budget,
    new: impl Iterator<Item = Result<Case<P>, NotStarted>>,
    judged: impl Fn(&P) -> Result<(R, Vec<(Invariant, Verdict)>), NotStarted>,
    picture: impl Fn(&R, &Counterexample, &[String]) -> Picture,
) -> Result<Exploration, ExploreError>
where
    P: Keep + Send,
    P::Step: Serialize,
    R: Borrow<History>,
{
    let not_started = |source| ExploreError::NotStarted { queue: queue.to_owned(), source };
    let (saved, errors) = cases::saved(queue, budget)?;
    let mut exploration = Exploration { findings: Vec::new(), coverage: Coverage::default(), errors };
    let mut merged: BTreeMap<Invariant, Verdict> = BTreeMap::new();
    let mut failing: BTreeMap<Invariant, (Case<P>, Counterexample)> = BTreeMap::new();
    let (mut tried, mut events) = (0, 0);
    for case in saved.into_iter().map(Ok).chain(new) {
        let case = case.map_err(not_started)?;
        case.begin(&case.plan, budget);
        let (run, verdicts) = judged(&case.plan).map_err(not_started)?;
        let history = run.borrow();
        tried += 1;
        events += history.events.len() as u64;
        exploration.coverage += Coverage::of(history);
        for (invariant, verdict) in verdicts {
            if let Verdict::Broken(how) = &verdict {
                // The plan that was saved for this promise tells more of it than one saved for another.
                let known = failing.get(&invariant);
                if known
                    .is_none_or(|(known, _)| !known.is_saved_for(invariant) && case.is_saved_for(invariant))
                {
                    failing.insert(invariant, (case.clone(), how.clone()));
                }
            }
            merge(&mut merged, invariant, verdict);
        }
    }

    for (invariant, verdict) in merged {
        let mut finding = Finding::new(invariant, verdict, tried, events);
        if let Some((case, how)) = failing.remove(&invariant) {
            let broken = |plan: &P| {
                case.begin(plan, budget);
                let (run, verdicts) = judged(plan).ok()?;
                let verdict = verdicts.into_iter().find(|(judged, _)| *judged == invariant)?;
                if let (_, Verdict::Broken(how)) = verdict { Some((run, how)) } else { None }
            };
            let (how, failure, errors) = case.explain(budget, how, broken, &picture);
            finding.verdict = Verdict::Broken(how);
            finding.failure = Some(failure);
            exploration.errors.extend(errors);
        }
        exploration.findings.push(finding);
    }
    Ok(exploration)
}

/// The verdicts of all cases together. (Taken out and put back, because merging consumes both.)
fn merge(merged: &mut BTreeMap<Invariant, Verdict>, invariant: Invariant, verdict: Verdict) {
    let verdict = match merged.remove(&invariant) {
        Some(earlier) => earlier.merge(verdict),
        None => verdict,
    };
    merged.insert(invariant, verdict);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::judge;
    use crate::engines::testing::{Bug, hosting};
    use crate::finding::Failure;
    use crate::regressions;

    fn explored(bug: Bug, budget: &Budget) -> Exploration {
        explore("test", hosting(bug), budget, judge).expect("it starts")
    }

    fn failure(exploration: &Exploration, invariant: Invariant) -> &Failure {
        let finding = exploration.findings.iter().find(|finding| finding.invariant == invariant);
        let finding = finding.expect("judged");
        assert!(finding.verdict.is_broken());
        finding.failure.as_ref().expect("a broken promise has a failure")
    }

    #[test]
    fn an_honest_broker_is_not_blamed_and_every_situation_occurs() {
        let exploration = explored(Bug::None, &Budget::quick());
        for finding in &exploration.findings {
            assert!(!matches!(finding.verdict, Verdict::Broken(_) | Verdict::Unknown(_)), "{finding:?}");
            assert_eq!((finding.cases, &finding.failure), (Budget::quick().cases, &None));
        }
        for (situation, count) in exploration.coverage.counts() {
            assert!(count >= 100, "{situation}: {count} in the quick budget");
        }
    }

    #[test]
    fn bugs_are_found_in_the_quick_budget_and_shrunk_to_the_minimum() {
        let ack = explored(Bug::AckDoesNothing, &Budget::quick());
        let found = failure(&ack, Invariant::Al6);
        // The drain receives and acks by itself.
        assert_eq!(found.steps_after, 1, "{}", found.picture);
        assert!(found.steps_before >= 20);
        assert!(found.picture.contains("-> 1 operations"), "{}", found.picture);

        let nack = explored(Bug::StaleNackLoses, &Budget::quick());
        let found = failure(&nack, Invariant::Al1);
        assert!(found.steps_after <= 5, "{}", found.picture);
        for shown in ["nack r1 stale", "what is left is received and acked", "Seed:   case"] {
            assert!(found.picture.contains(shown), "{}", found.picture);
        }

        let panic = explored(Bug::PanicsOnThirdAttempt, &Budget::quick());
        let found = failure(&panic, Invariant::Li1);
        assert!(found.steps_after <= 5, "{}", found.picture);
        assert!(found.picture.contains("the queue panics: no third attempt was foreseen"));
    }

    #[test]
    fn exploring_twice_finds_the_same() {
        let findings = || explored(Bug::StaleNackLoses, &Budget::quick()).findings;
        assert_eq!(findings(), findings());
        let other = Budget { seed: 2, ..Budget::quick() };
        assert_ne!(
            failure(&explored(Bug::StaleNackLoses, &other), Invariant::Al1).seed,
            failure(&explored(Bug::StaleNackLoses, &Budget::quick()), Invariant::Al1).seed
        );
    }

    #[test]
    fn a_failing_plan_is_saved_and_replayed_first() {
        let directory = tempfile::tempdir().expect("a directory");
        let budget = Budget { regressions: Some(directory.path().into()), ..Budget::quick() };
        let first = explored(Bug::AckDoesNothing, &budget);
        assert!(first.errors.is_empty());
        let found = failure(&first, Invariant::Al6).clone();
        let loaded = regressions::of_queue(directory.path(), "test");
        let saved = loaded.regressions.iter().find(|(_, saved)| saved.invariant == Invariant::Al6);
        let (path, saved) = saved.expect("saved");
        assert_eq!((saved.steps_before, saved.steps_after), (found.steps_before, 1));
        assert_eq!(found.plan, serde_json::to_value(&saved.plan).ok());
        assert_eq!(found.replay, Some(regressions::replay_line(path, "test", Invariant::Al6)));

        // With no case of its own, the next run still finds it, and writes no other file for it.
        let again = explored(Bug::AckDoesNothing, &Budget { cases: 0, ..budget.clone() });
        let found_again = failure(&again, Invariant::Al6);
        assert_eq!((found_again.steps_before, found_again.steps_after), (found.steps_before, 1));
        assert_eq!(
            regressions::of_queue(directory.path(), "test").regressions.len(),
            loaded.regressions.len()
        );

        // A queue that is mended passes it; the file stays.
        let mended = explored(Bug::None, &Budget { cases: 0, ..budget.clone() });
        let saved = loaded.regressions.len() as u64;
        assert!(mended.findings.iter().all(|finding| !finding.verdict.is_broken() && finding.cases == saved));
        assert!(path.exists());

        let replay = Budget { replay: Some(path.clone()), regressions: None, ..Budget::quick() };
        let replayed = explored(Bug::AckDoesNothing, &replay);
        assert_eq!(replayed.findings[0].cases, 1);
        assert!(failure(&replayed, Invariant::Al6).picture.contains("cargo test test::no_resurrection"));
        let other = explore("other", hosting(Bug::None), &replay, judge).expect("nothing to do");
        assert!(other.findings.is_empty());
    }

    #[test]
    fn what_prevents_exploring_is_said() {
        let error = explore("test", hosting(Bug::NeverBoots), &Budget::quick(), judge).expect_err("no boot");
        assert!(error.to_string().starts_with("test: the broker does not start with capacity"), "{error}");
        let replay = Budget { replay: Some("/nowhere/plan.json".into()), ..Budget::quick() };
        let error = explore("test", hosting(Bug::None), &replay, judge).expect_err("no file");
        assert!(error.to_string().contains("/nowhere/plan.json"), "{error}");
        let file = tempfile::NamedTempFile::new().expect("a file");
        let budget = Budget { cases: 16, regressions: Some(file.path().into()), ..Budget::quick() };
        let exploration = explored(Bug::AckDoesNothing, &budget);
        assert!(exploration.errors.len() >= 2, "neither readable nor writable: {:?}", exploration.errors);
        assert_eq!(failure(&exploration, Invariant::Al6).replay, None);
    }
}
