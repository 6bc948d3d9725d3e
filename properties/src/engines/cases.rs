//! The cases of an engine that can run the same plan again: saved plans first, then new ones. A plan that
//! fails is saved as it is, shrunk, saved again and told.

use std::path::{Path, PathBuf};

use crate::engines::budget::Budget;
use crate::engines::extent;
use crate::engines::watchdog::{self, Stuck};
use crate::finding::{Failure, Picture};
use crate::indifferent;
use crate::invariant::Invariant;
use crate::plan::case_seed;
use crate::regressions::{self, FORMAT, Keep, Regression, RegressionError};
use crate::shrink::shrink;
use crate::timeline;
use crate::verdict::Counterexample;

/// One plan and where it came from.
#[derive(Clone)]
pub(crate) struct Case<P> {
    pub(crate) plan: P,
    queue: String,
    index: u64,
    seed: u64,
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

/// The saved plans of a queue for one engine, and files that are none. With [`Budget::replay`], only that plan,
/// if it is one of them.
///
/// # Errors
/// The plan to replay cannot be read.
pub(crate) fn saved<P: Keep>(
    queue: &str,
    budget: &Budget,
) -> Result<(Vec<Case<P>>, Vec<RegressionError>), RegressionError> {
    let loaded = match (&budget.replay, &budget.regressions) {
        (Some(path), _) => {
            let saved = Regression::load(path)?;
            let is_ours = saved.queue == queue;
            let regressions = is_ours.then(|| (path.clone(), saved)).into_iter().collect();
            regressions::Loaded { regressions, errors: Vec::new() }
        }
        (None, Some(directory)) => regressions::of_queue(directory, queue),
        (None, None) => regressions::Loaded::default(),
    };
    let case = |(path, saved): (PathBuf, Regression)| {
        let Regression { queue, invariant, case, seed, steps_before, plan, .. } = saved;
        let saved = Some(Saved { path, invariant, steps_before });
        Some(Case { plan: P::of(plan)?, queue, index: case, seed, saved })
    };
    Ok((loaded.regressions.into_iter().filter_map(case).collect(), loaded.errors))
}

/// The new cases of a budget. They depend only on the name of the queue and the seed of the budget.
pub(crate) fn new<P: Keep>(
    queue: &str,
    budget: &Budget,
    draw: impl Fn(u64) -> P,
) -> impl Iterator<Item = Case<P>> {
    numbers(queue, budget, P::ENGINE, budget.cases)
        .map(move |(index, seed)| Case::of(queue, index, seed, draw(seed)))
}

/// The numbers and the seeds of so many new cases; none where a saved plan is to be run again.
pub(crate) fn numbers(
    queue: &str,
    budget: &Budget,
    engine: &'static str,
    cases: u64,
) -> impl Iterator<Item = (u64, u64)> {
    let cases = if budget.replay.is_some() { 0 } else { cases };
    extent::cases(budget, queue, engine, cases)
        .map(move |index| (index, case_seed(budget.seed, queue, index)))
}

impl<P> Case<P> {
    /// A new one: the plan was made from this seed, which is of the case with this number.
    pub(crate) fn of(queue: &str, index: u64, seed: u64, plan: P) -> Case<P> {
        Case { plan, queue: queue.to_owned(), index, seed, saved: None }
    }
}

impl<P: Keep> Case<P> {
    /// Makes the smallest plan of a failing one that breaks the same promise, saves it and tells of it.
    /// `broken` runs a plan and says how it breaks that promise, if it does; `draw` makes the picture, with
    /// some lines at its end.
    pub(crate) fn explain<R>(
        &self,
        budget: &Budget,
        how: Counterexample,
        mut broken: impl FnMut(&P) -> Option<(R, Counterexample)>,
        draw: impl FnOnce(&R, &Counterexample, &[String]) -> Picture,
    ) -> (Counterexample, Failure, Vec<RegressionError>) {
        let mut file = self.file(budget, how.invariant);
        if file.is_new {
            // As it is and at once: shrinking may be interrupted.
            file.save(&self.plan, &how);
        }
        let shrunk = shrink(&self.plan, budget.shrink_runs, |plan| broken(plan).is_some());
        let again = broken(&shrunk.plan);
        // A queue that answers differently each time may not fail again; then the first answer stands.
        let how = again.as_ref().map_or(how, |(_, how)| how.clone());
        if shrunk.plan != self.plan {
            file.save(&shrunk.plan, &how);
        }
        let any = match &again {
            Some(_) if budget.shrink_runs > 0 && !extent::is_interrupted() => {
                indifferent::values(&shrunk.plan, |plan| broken(plan).is_some())
            }
            _ => Vec::new(),
        };
        let any = (!any.is_empty())
            .then(|| format!("{} (others were tried, and it fails all the same)", any.join(", ")));
        let mut notes = vec![self.origin(), format!("Shrunk: shrinking {shrunk}")];
        notes.extend(any.iter().map(|any| timeline::paragraph("Any:    ", any)));
        notes.extend(file.notes());
        let mut picture = match again {
            Some((run, how)) => draw(&run, &how, &notes),
            None => Picture::from(format!(
                "{} is broken: {}\nThe same plan did not fail again: the queue is not deterministic.\n{}\n",
                how.invariant.id(),
                how.sentence,
                notes.join("\n")
            )),
        };
        if let (Some(lanes), Some(any)) = (&mut picture.lanes, any) {
            lanes.notes.push(("Any".into(), any));
        }
        let failure = self.failure(&file, shrunk.plan, picture);
        (how, failure, file.errors)
    }

    /// Says what is run, should it never return: the plan up to the step that it reached. It is not shrunk,
    /// because each try would take as long.
    pub(crate) fn begin(&self, plan: &P, budget: &Budget)
    where
        P: Send + 'static,
        P::Step: serde::Serialize,
    {
        let case = Case { plan: plan.clone(), ..self.clone() };
        let budget = budget.clone();
        watchdog::case(move |stuck| case.stuck(stuck, &budget));
    }

    fn stuck(self, stuck: &Stuck, budget: &Budget) -> Failure
    where
        P::Step: serde::Serialize,
    {
        let steps = self.plan.steps();
        let reached = steps.len().min(stuck.step + 1);
        let plan = self.plan.with_steps(steps[..reached].to_vec());
        let mut file = self.file(budget, Invariant::Li1);
        let how = stuck.counterexample();
        file.save(&plan, &how);
        let mut picture = timeline::heading(&how) + "\nThe plan up to there:\n";
        for (number, step) in plan.steps().iter().enumerate() {
            let mark = if number == stuck.step { ">>" } else { "" };
            let step = serde_json::to_string(step).expect("plain data, and every key is text");
            picture += &format!("{mark:<2} {:>3}. {step}\n", number + 1);
        }
        if stuck.step >= steps.len() {
            picture += ">>      what is done when the plan has ended\n";
        }
        for note in [self.origin()].into_iter().chain(file.notes()) {
            picture += &note;
            picture.push('\n');
        }
        self.failure(&file, plan, picture.into())
    }

    fn origin(&self) -> String {
        format!("Seed:   case {} of {}, seed {}", self.index, self.queue, self.seed)
    }

    fn failure(&self, file: &File<'_, P>, plan: P, picture: Picture) -> Failure {
        let steps_after = plan.steps().len();
        let plan: regressions::SavedPlan = plan.into();
        Failure {
            case: self.index,
            seed: self.seed,
            plan: serde_json::to_value(&plan).ok(),
            steps_before: file.steps_before,
            steps_after,
            picture: picture.text,
            lanes: picture.lanes,
            replay: file.replay_line(),
        }
    }

    /// Whether it was saved because it broke this promise.
    pub(crate) fn is_saved_for(&self, invariant: Invariant) -> bool {
        self.saved_for(invariant).is_some()
    }

    /// A plan that was saved for another promise is a new failure of this one.
    fn saved_for(&self, invariant: Invariant) -> Option<&Saved> {
        self.saved.as_ref().filter(|saved| saved.invariant == invariant)
    }

    fn file(&self, budget: &Budget, invariant: Invariant) -> File<'_, P> {
        let is_replay = budget.replay.is_some();
        let mut file = File {
            case: self,
            invariant,
            steps_before: self.plan.steps().len(),
            path: None,
            is_new: false,
            is_read_only: is_replay,
            errors: Vec::new(),
        };
        if let Some(saved) = self.saved_for(invariant) {
            file.steps_before = saved.steps_before;
            file.path = Some(saved.path.clone());
        } else if let (Some(directory), false) = (&budget.regressions, is_replay) {
            let path = file.regression(&self.plan, String::new()).path(directory);
            // A plan of the same seed may be there, if this one was saved for another promise.
            let there = Regression::load(&path).ok();
            file.is_new = there.is_none();
            file.steps_before = there.map_or(file.steps_before, |there| there.steps_before);
            file.path = Some(path);
        }
        file
    }
}

/// Where a failing plan is saved.
struct File<'a, P> {
    case: &'a Case<P>,
    invariant: Invariant,
    steps_before: usize,
    /// `None`: nowhere.
    path: Option<PathBuf>,
    is_new: bool,
    is_read_only: bool,
    errors: Vec<RegressionError>,
}

impl<P: Keep> File<'_, P> {
    fn regression(&self, plan: &P, sentence: String) -> Regression {
        Regression {
            format: FORMAT,
            queue: self.case.queue.clone(),
            invariant: self.invariant,
            sentence,
            case: self.case.index,
            seed: self.case.seed,
            steps_before: self.steps_before,
            steps_after: plan.steps().len(),
            plan: plan.clone().into(),
        }
    }

    fn save(&mut self, plan: &P, how: &Counterexample) {
        if self.is_read_only {
            return;
        }
        let saved = self.path.as_ref().map(|path| self.regression(plan, how.sentence.clone()).save(path));
        if let Some(Err(error)) = saved {
            self.errors.push(error);
            self.path = None;
        }
    }

    fn replay_line(&self) -> Option<String> {
        let path: Option<&Path> = self.path.as_deref();
        path.map(|path| regressions::replay_line(path, &self.case.queue, self.invariant))
    }

    /// What to do about it, in a line each.
    fn notes(&self) -> Vec<String> {
        let replay = self.replay_line().map(|line| format!("Replay: {line}"));
        let errors = self.errors.iter().map(|error| format!("Saved:  no: {error}"));
        replay.into_iter().chain(errors).collect()
    }
}
