//! Judging runs that cannot be repeated, because threads or the moment of a kill decide how they go.

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::engines::budget::Budget;
use crate::engines::{extent, watchdog};
use crate::finding::{Failure, Finding, Picture};
use crate::history::History;
use crate::invariant::Invariant;
use crate::plan::case_seed;
use crate::verdict::{Counterexample, Verdict};
use crate::{checkers, timeline};

/// What all runs together say: of each promise the first run that breaks it.
#[derive(Default)]
pub(super) struct Findings(BTreeMap<Invariant, Finding>);

/// One run.
pub(super) struct Run {
    pub(super) case: u64,
    pub(super) seed: u64,
    /// How much the checker read.
    pub(super) events: usize,
    /// How much was planned.
    pub(super) steps: usize,
}

impl Run {
    /// As no plan repeats it.
    pub(super) fn failure(&self, picture: impl Into<Picture>) -> Failure {
        let Picture { text, lanes } = picture.into();
        Failure {
            case: self.case,
            seed: self.seed,
            plan: None,
            steps_before: self.steps,
            steps_after: self.steps,
            picture: text,
            lanes,
            replay: None,
        }
    }
}

impl Findings {
    /// Whether a run broke this promise already: no other can change that.
    pub(super) fn is_broken(&self, invariant: Invariant) -> bool {
        self.0.get(&invariant).is_some_and(|finding| finding.failure.is_some())
    }

    /// Whether a run broke any.
    pub(super) fn any_broken(&self) -> bool {
        self.0.values().any(|finding| finding.failure.is_some())
    }

    /// Adds what one run says of one promise; `picture` draws what broke it.
    pub(super) fn add<P: Into<Picture>>(
        &mut self,
        run: &Run,
        invariant: Invariant,
        verdict: Verdict,
        picture: impl FnOnce(&Counterexample) -> P,
    ) {
        if self.is_broken(invariant) {
            return;
        }
        let finding =
            self.0.entry(invariant).or_insert_with(|| Finding::new(invariant, Verdict::NotClaimed, 0, 0));
        finding.cases += 1;
        finding.events += run.events as u64;
        if let Verdict::Broken(counterexample) = &verdict {
            finding.failure = Some(run.failure(picture(counterexample)));
        }
        let before = std::mem::replace(&mut finding.verdict, Verdict::NotClaimed);
        finding.verdict = before.merge(verdict);
    }

    /// One per promise.
    pub(super) fn into_vec(self) -> Vec<Finding> {
        self.0.into_values().collect()
    }
}

/// Judges as many histories as there are cases, and keeps for each promise the first that breaks it. A run may
/// add that a call did not return, which no history shows; one without a history leaves everything undecided.
pub(crate) fn judge_runs<E: Display>(
    queue: &str,
    engine: &'static str,
    budget: &Budget,
    cases: u64,
    mut run: impl FnMut(u64) -> Result<(History, Option<Counterexample>), E>,
) -> Vec<Finding> {
    let mut findings = Findings::default();
    for case in extent::cases(budget, queue, engine, cases) {
        let seed = case_seed(budget.seed, queue, case);
        let told = format!(
            "Seed:   case {case} of {queue}, seed {seed}; threads and kills are not repeated by it\n"
        );
        watchdog::case(move |stuck| {
            let heading = timeline::heading(&stuck.counterexample());
            Run { case, seed, events: 0, steps: 0 }.failure(heading + &told)
        });
        let (history, stuck) = match run(seed) {
            Ok(ran) => ran,
            Err(error) => return Finding::undecided(&error.to_string(), case),
        };
        let run = Run { case, seed, events: history.events.len(), steps: history.events.len() };
        for (invariant, verdict) in checkers::judge(&history) {
            let verdict = match &stuck {
                Some(how) if how.invariant == invariant => Verdict::Broken(how.clone()),
                _ => verdict,
            };
            findings.add(&run, invariant, verdict, |counterexample| {
                timeline::draw(&history, counterexample, &[])
            });
        }
    }
    findings.into_vec()
}
