//! Crash images: a durable broker on a simulated disk meets every failure that a disk has, at every call that
//! it makes to it.
//!
//! A plan is run once to count the calls. Then, for each call, the machine stops there and all that the disk
//! may hold then is gone through: every subset of the unsynced sectors, torn and garbage ones, names and lengths
//! that are behind or ahead. From each such image the broker recovers, goes on, is crashed again (also during
//! the recovery), recovers again and is drained; the judge reads the whole history. Besides, each call fails once,
//! for want of space or otherwise, and bits of what is stored flip.
//!
//! What holds a broker here is an [`ImageHost`]: a host that shows its simulated disk.

mod choices;
mod host;

use std::collections::BTreeMap;
use std::fmt;
use std::mem::discriminant;
use std::sync::{Arc, PoisonError};

use stanchion_queues::file::sim::FailSync;
use stanchion_queues::file::survival::{Fault, Survival};
use stanchion_queues::{Crash, Settings};

pub use self::host::{Image, ImageHost, Strike};
use self::host::{Seen, Shared, Struck};
use super::sequential::{NotStarted, run};
use crate::checkers;
use crate::dice::Dice;
use crate::history::{History, What};
use crate::invariant::Invariant;
use crate::plan::{Fate, How, Odd, Plan, Plans, Step, Which};
use crate::verdict::{Counterexample, Verdict};

/// Longer plans only repeat what shorter ones show, at more calls.
const STEPS: usize = 14;
/// Failures shown in full, of each promise and each kind of strike.
const SHOWN: usize = 3;

/// How much is gone through for each plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// At most so many images of the disk for each call.
    pub images: usize,
    /// Whether each call fails once.
    pub faults: bool,
    /// So many flipped bits.
    pub flips: usize,
    /// The disk lies: the negative control.
    pub lying: bool,
    /// Decides all that is drawn.
    pub seed: u64,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Plans that were run.
    pub plans: u64,
    /// Calls at which they were struck.
    pub calls: u64,
    /// Disks that a broker was started from.
    pub images: u64,
    /// Of these, those after a call that failed.
    pub faults: u64,
    /// Of these, those with a flipped bit.
    pub flips: u64,
    /// Flipped bits that were noticed.
    pub noticed: u64,
    /// Flipped bits after which a promise was broken, which nobody noticed.
    pub unnoticed: u64,
    /// The verdicts of all runs without flipped bits together.
    pub verdicts: BTreeMap<Invariant, Verdict>,
    /// How promises were broken: the first runs of each kind.
    pub broken: Vec<Broken>,
}

/// A run that broke a promise.
#[derive(Clone, Debug)]
pub struct Broken {
    /// Which promise.
    pub invariant: Invariant,
    /// How.
    pub sentence: String,
    /// What was run, with the crashes.
    pub plan: Plan,
    /// What the disk did.
    pub image: Image,
    /// After how many images it was found.
    pub images: u64,
}

/// A plan for this engine: as any other, but short, without large bodies and without crashes of its own.
pub fn plan(seed: u64) -> Plan {
    let mut plan = Plans::default().draw(seed);
    plan.steps.retain(|step| match step {
        Step::Crash { .. } => false,
        Step::SendOdd { odd, .. } => *odd == Odd::EmptyKey,
        Step::Churn { count, .. } => *count <= 4,
        _ => true,
    });
    plan.steps.truncate(STEPS);
    plan
}

/// Goes through what may befall the broker in this plan.
///
/// # Errors
/// The broker does not start on an empty disk.
pub fn explore<H: ImageHost>(
    make: impl Fn(&Settings) -> H,
    plan: &Plan,
    scope: &Scope,
    report: &mut Report,
) -> Result<(), NotStarted> {
    let mut dice = Dice::new(scope.seed);
    let image = |strike| Image { strike, lying: scope.lying, ..Image::untouched() };
    // After how many calls each step begins, and the last one ends.
    let mut begins = Vec::new();
    for steps in 0..=plan.steps.len() {
        // Nothing is struck before the first crash.
        let untouched = Image::untouched();
        let (history, seen) = play(&make, &crashed(plan, steps), &untouched);
        history?;
        begins.push(seen.calls);
    }
    let mut last = None;
    report.plans += 1;
    for at in 0..=begins[plan.steps.len()] {
        // The steps before the call, and the one that makes it.
        let steps = begins.iter().position(|calls| *calls > at).unwrap_or(plan.steps.len());
        let struck = crashed(plan, steps);
        report.calls += 1;

        // It may not start again, which the same image shows below.
        let (_, seen) = play(&make, &struck, &image(Strike::Power(at, Survival::default())));
        let survivals = choices::survivals(seen.risked, scope.images, &mut dice).into_iter();
        for strike in survivals.map(|survival| Strike::Power(at, survival)).chain([Strike::Kill(at)]) {
            let again = dice.one_in(2).then(|| dice.below(24));
            let image = Image { again, seed: dice.next(), ..image(strike) };
            report.judge(&make, &struck, image)?;
        }
        // Nobody says whether a broker whose disk has failed still took note of a lost session.
        let more = plan.steps[steps..].iter().take(2);
        let more = more.take_while(|step| !matches!(step, Step::LoseSession { .. })).count();
        let soon = if loses(&struck) { &struck } else { &crashed(plan, steps + more) };
        let faults = [Fault::Full, Fault::Io(FailSync::KeepPages), Fault::Io(FailSync::DropPages)];
        for fault in faults.into_iter().filter(|_| scope.faults) {
            let image = Image { seed: dice.next(), ..image(Strike::Fail(at, fault)) };
            report.faults += 1;
            report.judge(&make, soon, image)?;
        }
        last = Some(struck);
    }
    for _ in 0..scope.flips {
        let Some(whole) = &last else { break };
        report.judge(&make, whole, Image { seed: dice.next(), ..image(Strike::Flip) })?;
    }
    Ok(())
}

impl Report {
    fn judge<H: ImageHost>(
        &mut self,
        make: &impl Fn(&Settings) -> H,
        plan: &Plan,
        image: Image,
    ) -> Result<(), NotStarted> {
        self.images += 1;
        let flip = image.strike == Strike::Flip;
        let (history, seen) = match play(make, plan, &image) {
            (Ok(history), seen) => (history, seen),
            (Err(error), seen) if seen.struck => {
                // Its first start was struck, and it starts no more: that it would is promised too.
                let how = Counterexample {
                    invariant: Invariant::Du11,
                    sentence: format!("the disk was struck during the first start, and then {error}"),
                    missing_licence: None,
                    culprits: Vec::new(),
                };
                self.add(plan, &image, Invariant::Du11, Verdict::Broken(how));
                return Ok(());
            }
            (Err(error), _) => return Err(error),
        };
        self.flips += u64::from(flip);
        if flip && (seen.refused || says_so(&history)) && !panicked(&history) {
            self.noticed += 1;
            return Ok(());
        }
        let mut unnoticed = false;
        for (invariant, verdict) in checkers::judge(&history) {
            unnoticed |= verdict.is_broken();
            if !flip {
                self.add(plan, &image, invariant, verdict);
            }
        }
        self.unnoticed += u64::from(flip && unnoticed);
        Ok(())
    }

    fn add(&mut self, plan: &Plan, image: &Image, invariant: Invariant, verdict: Verdict) {
        let alike = |known: &&Broken| {
            known.invariant == invariant && discriminant(&known.image.strike) == discriminant(&image.strike)
        };
        if let Verdict::Broken(how) = &verdict
            && self.broken.iter().filter(alike).count() < SHOWN
        {
            let (plan, image, sentence) = (plan.clone(), image.clone(), how.sentence.clone());
            self.broken.push(Broken { invariant, sentence, plan, image, images: self.images });
        }
        let so_far = self.verdicts.remove(&invariant).unwrap_or(Verdict::NotClaimed);
        self.verdicts.insert(invariant, so_far.merge(verdict));
    }

    /// How often the situation that this promise is about occurred, if it was never broken.
    pub fn instances(&self, invariant: Invariant) -> Option<u64> {
        match self.verdicts.get(&invariant) {
            Some(Verdict::Holds { instances }) => Some(*instances),
            _ => None,
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Broken { invariant, sentence, plan, image, .. } = self;
        writeln!(
            f,
            "{invariant} is broken: {sentence}\nThe disk: {image:?}\nThe plan, {:?}:",
            plan.settings
        )?;
        plan.steps.iter().try_for_each(|step| writeln!(f, "  {step:?}"))
    }
}

/// Whether the broker, once it had crashed, answered that something was wrong: nothing else goes wrong by then.
fn says_so(history: &History) -> bool {
    let after = history.events.iter().skip_while(|event| !matches!(event.what, What::Crashed { .. }));
    after.into_iter().any(|event| {
        matches!(
            event.what,
            What::Receive { got: None, .. }
                | What::Browse { letters: None, .. }
                | What::Depth { depth: None }
        )
    })
}

fn panicked(history: &History) -> bool {
    history.events.iter().any(|event| matches!(event.what, What::Panicked { .. }))
}

/// The first steps of the plan, a crash, something more, and another crash.
fn crashed(plan: &Plan, steps: usize) -> Plan {
    let crash = Step::Crash { kind: Crash::Power };
    let fate = Fate::Arrives;
    let tail = [
        crash.clone(),
        Step::Send { session: 0, count: 2, delay_ms: 0, keyed: false, fate },
        Step::Receive { session: 1, max: 2, lease_ms: 10, fate },
        Step::Settle { session: 1, which: Which::Current(0), count: 1, how: How::Ack, fate },
        crash,
    ];
    let steps = plan.steps[..steps].iter().cloned().chain(tail).collect();
    Plan { steps, ..plan.clone() }
}

fn play<H: ImageHost>(
    make: &impl Fn(&Settings) -> H,
    plan: &Plan,
    image: &Image,
) -> (Result<History, NotStarted>, Seen) {
    let seen = Shared::default();
    let history = run(|settings| Struck::new(make(settings), image, Arc::clone(&seen)), plan);
    let seen = *seen.lock().unwrap_or_else(PoisonError::into_inner);
    let blow = !matches!(image.strike, Strike::None | Strike::Flip);
    (history.map(|history| if blow && loses(plan) { without_loss(history) } else { history }), seen)
}

/// Whether the step before the first crash loses a session.
fn loses(plan: &Plan) -> bool {
    let crash = plan.steps.iter().position(|step| matches!(step, Step::Crash { .. }));
    let before = crash.and_then(|at| at.checked_sub(1));
    before.is_some_and(|at| matches!(plan.steps[at], Step::LoseSession { .. }))
}

/// A disk that is struck while a session is being lost leaves nobody to say whether the broker still took note:
/// then the session lived until the crash.
fn without_loss(mut history: History) -> History {
    let crash = history.events.iter().position(|event| matches!(event.what, What::Crashed { .. }));
    if let Some(lost) = crash.and_then(|at| at.checked_sub(1))
        && history.events[lost].what == What::Lost
    {
        history.events.remove(lost);
    }
    history
}

#[cfg(test)]
mod tests;
