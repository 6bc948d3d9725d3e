//! One image: one run of a plan, and what the judge says of it.

use std::borrow::Borrow;
use std::sync::Arc;

use stanchion_queues::file::survival::AtRisk;
use stanchion_queues::{Contract, Crash, Host, Settings, Time};

use super::host::{Blown, During, Shared, Struck};
use super::plan::{Move, Plan};
use crate::checkers;
use crate::engines::sequential::{NotStarted, run_with};
use crate::history::{Event, HARNESS, History, What};
use crate::invariant::Invariant;
use crate::plan::Step;
use crate::verdict::{Counterexample, Verdict};

/// What happened in a run, and what befell the disk in it.
#[derive(Debug)]
pub struct Ran {
    /// What the clients saw.
    pub history: History,
    pub(super) seen: Seen,
}

/// What befell the disk.
#[derive(Debug)]
pub(super) struct Seen {
    /// With the step during which it was.
    pub(super) blown: Vec<(Option<Step>, Blown)>,
    /// After how many calls each step began, and the last one ended.
    pub(super) begins: Vec<u64>,
    /// What the first failure of the power put at risk.
    pub(super) risked: AtRisk,
    refused: bool,
}

impl Borrow<History> for Ran {
    fn borrow(&self) -> &History {
        &self.history
    }
}

/// Runs a plan to its end.
///
/// # Errors
/// The broker does not start on a disk that nothing has befallen.
pub fn run<H: Host>(make: impl Fn(&Settings) -> H, plan: &Plan) -> Result<Ran, NotStarted> {
    let shared = Shared::new();
    let script = plan.script();
    let plan = Arc::new(plan.clone());
    let host = |settings: &Settings| Struck::new(make(settings), &plan, shared.clone());
    let history = run_with(host, &script, |index| shared.seen().begins(&plan, index));
    let mut seen = shared.seen();
    let blown = std::mem::take(&mut seen.blown).into_iter();
    let step = |during| match during {
        During::Start => None,
        During::Step(index) | During::Restart(index) => script.steps.get(index).cloned(),
    };
    let blown: Vec<(Option<Step>, Blown)> = blown
        .map(|blown| match &blown {
            Blown::Down { during, .. } | Blown::Failed { during, .. } => (step(*during), blown),
            Blown::Flipped { .. } => (None, blown),
        })
        .collect();
    let history = match history {
        Ok(history) => without_loss(history, &plan),
        Err(error) if !blown.is_empty() => starts_no_more(&error),
        Err(error) => return Err(error),
    };
    let begins = std::mem::take(&mut seen.begins);
    let seen = Seen { blown, begins, risked: seen.risked.unwrap_or_default(), refused: seen.refused };
    Ok(Ran { history, seen })
}

/// The disk was struck during the first start, and the broker starts no more. What it promises it could not say; that
/// it starts is promised by all.
fn starts_no_more(error: &NotStarted) -> History {
    let event = |tick, what| Event {
        call: tick,
        ret: tick + 1,
        at: Time::ZERO,
        until: Time::ZERO,
        actor: HARNESS,
        op: tick as u32,
        what,
    };
    let booted = What::Booted { error: Some(error.to_string()) };
    let events = vec![event(0, What::Crashed { crash: Crash::Power }), event(2, booted)];
    History { contract: Contract::durable(), events }
}

/// A disk that is struck while a session is being lost leaves nobody to say whether the broker still took note: then
/// the session lived until the crash.
fn without_loss(mut history: History, plan: &Plan) -> History {
    let Some(struck) =
        (0..plan.steps.len()).find(|&index| plan.steps[index].loses() && plan.blow(index).is_some())
    else {
        return history;
    };
    let before = plan.steps[..struck].iter().filter(|of| Move::crashes(of)).count();
    let mut crashes =
        (0..history.events.len()).filter(|&index| matches!(history.events[index].what, What::Crashed { .. }));
    if let Some(lost) = crashes.nth(before).and_then(|at| at.checked_sub(1))
        && history.events[lost].what == What::Lost
    {
        history.events.remove(lost);
    }
    history
}

/// Whether a bit flipped, and what came of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flip {
    /// The broker said so, and did not panic.
    Noticed,
    /// It broke no promise.
    Harmless,
    /// A promise was broken, and the broker said nothing.
    Silent,
}

impl Ran {
    /// How many calls each part of the plan makes: the first start, then each step.
    pub(super) fn calls(&self) -> Vec<u64> {
        let ends = self.seen.begins.iter();
        let begins = std::iter::once(&0).chain(&self.seen.begins);
        ends.zip(begins).map(|(end, begin)| end - begin).collect()
    }

    /// What is said of each promise, and what became of a flipped bit if there was one. One that flipped is about DU-5
    /// alone: what else is promised, is promised of disks that keep what they are given.
    pub fn judge(&self) -> (Vec<(Invariant, Verdict)>, Option<Flip>) {
        let verdicts = checkers::judge(&self.history);
        let flipped = self.seen.blown.iter().any(|(_, blown)| matches!(blown, Blown::Flipped { .. }));
        if !flipped {
            return (verdicts, None);
        }
        if (self.seen.refused || says_so(&self.history)) && !panicked(&self.history) {
            return (self.damage(Verdict::Holds { instances: 1 }), Some(Flip::Noticed));
        }
        let broken = verdicts.into_iter().find_map(|(_, verdict)| match verdict {
            Verdict::Broken(how) => Some(how),
            _ => None,
        });
        match broken {
            None => (self.damage(Verdict::Vacuous), Some(Flip::Harmless)),
            Some(how) => {
                let sentence =
                    format!("a bit flipped while the broker was down, nobody said so, and {}", how.sentence);
                let how = Counterexample { invariant: Invariant::Du5, sentence, ..how };
                (self.damage(Verdict::Broken(how)), Some(Flip::Silent))
            }
        }
    }

    fn damage(&self, verdict: Verdict) -> Vec<(Invariant, Verdict)> {
        let claimed = self.history.contract.damage_noticed;
        vec![(Invariant::Du5, if claimed { verdict } else { Verdict::NotClaimed })]
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
