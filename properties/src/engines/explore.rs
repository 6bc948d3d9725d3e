//! Explores one broker with the sequential engine: saved plans first, then as many new ones as the budget
//! says; what fails is shrunk, drawn and saved.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use stanchion_queues::{Host, Settings};

use crate::coverage::Coverage;
use crate::engines::budget::Budget;
use crate::engines::sequential::{NotStarted, panic_in, run};
use crate::finding::{Failure, Finding};
use crate::history::History;
use crate::invariant::Invariant;
use crate::plan::{Plan, Plans, case_seed};
use crate::regressions::{self, FORMAT, Regression, RegressionError};
use crate::shrink::shrink;
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

/// One plan and where it came from.
#[derive(Clone)]
struct Case {
    index: u64,
    seed: u64,
    plan: Plan,
    saved: Option<Saved>,
}

/// The file a plan was read from.
#[derive(Clone)]
struct Saved {
    path: PathBuf,
    /// Why it was saved.
    invariant: Invariant,
    /// How many steps it had when it was generated.
    steps_before: usize,
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
    let judged = |plan: &Plan| -> Result<(History, Vec<(Invariant, Verdict)>), ExploreError> {
        let history = run(&make, plan)
            .map_err(|source| ExploreError::NotStarted { queue: queue.to_owned(), source })?;
        let mut verdicts = judge(&history);
        if let Some(panicked) = panic_in(&history) {
            verdicts.retain(|(invariant, _)| *invariant != panicked.0);
            verdicts.push(panicked);
        }
        Ok((history, verdicts))
    };

    let (saved, errors) = saved_cases(queue, budget)?;
    let mut exploration = Exploration { findings: Vec::new(), coverage: Coverage::default(), errors };
    let mut merged: BTreeMap<Invariant, Verdict> = BTreeMap::new();
    let mut failing: BTreeMap<Invariant, (Case, Counterexample)> = BTreeMap::new();
    let (mut cases, mut events) = (0, 0);
    let new = (0..if budget.replay.is_some() { 0 } else { budget.cases }).map(|index| {
        let seed = case_seed(budget.seed, queue, index);
        Case { index, seed, plan: Plans::default().draw(seed), saved: None }
    });
    for case in saved.into_iter().chain(new) {
        let (history, verdicts) = judged(&case.plan)?;
        cases += 1;
        events += history.events.len() as u64;
        exploration.coverage += Coverage::of(&history);
        for (invariant, verdict) in verdicts {
            if let Verdict::Broken(how) = &verdict {
                failing.entry(invariant).or_insert_with(|| (case.clone(), how.clone()));
            }
            merge(&mut merged, invariant, verdict);
        }
    }

    for (invariant, verdict) in merged {
        let mut finding = Finding::new(invariant, verdict, cases, events);
        if let Some((case, how)) = failing.remove(&invariant) {
            let broken = |plan: &Plan| {
                let (history, verdicts) = judged(plan).ok()?;
                let verdict = verdicts.into_iter().find(|(judged, _)| *judged == invariant)?;
                if let (_, Verdict::Broken(how)) = verdict { Some((history, how)) } else { None }
            };
            let search = Search { queue, budget, invariant, broken };
            let (how, failure) = search.explain(case, how, &mut exploration.errors);
            finding.verdict = Verdict::Broken(how);
            finding.failure = Some(failure);
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

fn saved_cases(queue: &str, budget: &Budget) -> Result<(Vec<Case>, Vec<RegressionError>), RegressionError> {
    let case = |(path, saved): (PathBuf, Regression)| Case {
        index: saved.case,
        seed: saved.seed,
        plan: saved.plan,
        saved: Some(Saved { path, invariant: saved.invariant, steps_before: saved.steps_before }),
    };
    if let Some(path) = &budget.replay {
        let saved = Regression::load(path)?;
        let mine = (saved.queue == queue).then(|| case((path.clone(), saved)));
        return Ok((mine.into_iter().collect(), Vec::new()));
    }
    let loaded = budget.regressions.as_deref().map(|directory| regressions::of_queue(directory, queue));
    let loaded = loaded.unwrap_or_default();
    Ok((loaded.regressions.into_iter().map(case).collect(), loaded.errors))
}

/// The search for the smallest plan that breaks one promise.
struct Search<'a, F> {
    queue: &'a str,
    budget: &'a Budget,
    invariant: Invariant,
    /// The history of a plan and how it breaks the promise, if it does.
    broken: F,
}

impl<F: Fn(&Plan) -> Option<(History, Counterexample)>> Search<'_, F> {
    fn explain(
        &self,
        case: Case,
        how: Counterexample,
        errors: &mut Vec<RegressionError>,
    ) -> (Counterexample, Failure) {
        // A plan that was saved for another promise is a new failure of this one.
        let saved = case.saved.as_ref().filter(|saved| saved.invariant == self.invariant);
        let steps_before = saved.map_or(case.plan.steps.len(), |saved| saved.steps_before);
        let regression = |plan: &Plan, how: &Counterexample| Regression {
            format: FORMAT,
            queue: self.queue.to_owned(),
            invariant: self.invariant,
            sentence: how.sentence.clone(),
            case: case.index,
            seed: case.seed,
            steps_before,
            steps_after: plan.steps.len(),
            plan: plan.clone(),
        };
        let is_replay = self.budget.replay.is_some();
        let directory = self.budget.regressions.as_deref().filter(|_| !is_replay);
        let mut path = match saved {
            Some(saved) => Some(saved.path.clone()),
            None => directory.map(|directory| regression(&case.plan, &how).path(directory)),
        };
        let mut save = |path: &mut Option<PathBuf>, regression: Regression| {
            if let Some(Err(error)) = path.as_deref().map(|path| regression.save(path)) {
                errors.push(error);
                *path = None;
            }
        };

        // Saved as it is at once: shrinking may be interrupted.
        if saved.is_none() {
            save(&mut path, regression(&case.plan, &how));
        }
        let shrunk = shrink(&case.plan, self.budget.shrink_runs, |plan| (self.broken)(plan).is_some());
        let again = (self.broken)(&shrunk.plan);
        // A queue that answers differently each time may not fail again; then the first answer stands.
        let how = again.as_ref().map_or(how, |(_, how)| how.clone());
        if shrunk.plan != case.plan && !is_replay {
            save(&mut path, regression(&shrunk.plan, &how));
        }

        let mut notes = vec![format!("Seed:   case {} of {}, seed {}", case.index, self.queue, case.seed)];
        notes.push(format!("Shrunk: shrinking {shrunk}"));
        notes.extend(path.as_deref().map(replay_note));
        let picture = again.map_or_else(
            || {
                format!(
                    "{}\nThe same plan did not fail again: the queue is not deterministic.\n",
                    how.sentence
                )
            },
            |(history, how)| timeline::draw(&history, &how, &notes),
        );
        let failure = Failure {
            case: case.index,
            seed: case.seed,
            plan: serde_json::to_value(&shrunk.plan).ok(),
            steps_before,
            steps_after: shrunk.plan.steps.len(),
            picture,
            replay: path.as_deref().map(regressions::replay_line),
        };
        (how, failure)
    }
}

fn replay_note(path: &Path) -> String {
    let (line, command) = (regressions::replay_line(path), regressions::replay_command(path));
    format!("Replay: {line}\n    or: {command}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::testing::{Bug, hosting, judge};

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
            assert!(matches!(finding.verdict, Verdict::Holds { instances: 100.. }), "{finding:?}");
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
        assert_eq!(found.replay, Some(regressions::replay_line(path)));

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
        assert!(mended.findings.iter().all(|finding| !finding.verdict.is_broken() && finding.cases == 1));
        assert!(path.exists());

        let replay = Budget { replay: Some(path.clone()), regressions: None, ..Budget::quick() };
        let replayed = explored(Bug::AckDoesNothing, &replay);
        assert_eq!(replayed.findings[0].cases, 1);
        assert!(failure(&replayed, Invariant::Al6).picture.contains("cargo run -- replay"));
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
