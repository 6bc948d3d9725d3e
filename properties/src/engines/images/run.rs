//! One image: one run of a plan, and what the judge says of it.

use std::borrow::Borrow;
use std::sync::Arc;

use stanchion_queues::file::survival::AtRisk;
use stanchion_queues::{Contract, Crash, Durability, Host, Settings, Time};

use super::host::{Blown, During, Shared, Struck};
use super::plan::{Move, Plan};
use crate::checkers;
use crate::engines::sequential::{NotStarted, run_with};
use crate::history::{Event, HARNESS, History, What};
use crate::invariant::Invariant;
use crate::plan::{self, Step};
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
    /// At which tick each step began.
    ticks: Vec<u64>,
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
    let history = run_with(host, &script, |index, tick| shared.seen().begins(&plan, index, tick));
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
        Ok(history) => without_loss(with_failed_restarts(history, &script, &blown), &plan),
        Err(error) if !blown.is_empty() => starts_no_more(&error),
        Err(error) => return Err(error),
    };
    let begins = std::mem::take(&mut seen.begins);
    let ticks = std::mem::take(&mut seen.ticks);
    let (risked, refused) = (seen.risked.unwrap_or_default(), seen.refused);
    Ok(Ran { history, seen: Seen { blown, begins, ticks, risked, refused } })
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

/// If the power failed while a broker that had been killed started again, the two crashes took what the stronger one takes.
fn with_failed_restarts(
    mut history: History,
    script: &plan::Plan,
    blown: &[(Option<Step>, Blown)],
) -> History {
    for (_, blown) in blown {
        let Blown::Down { during: During::Restart(step), crash: Crash::Power, .. } = blown else { continue };
        let crashes = |steps: &[Step]| steps.iter().filter(|of| matches!(of, Step::Crash { .. })).count();
        let before = script.steps.get(..*step).map_or(0, crashes);
        let mut whats = history.events.iter_mut().map(|event| &mut event.what);
        if let Some(What::Crashed { crash }) =
            whats.by_ref().filter(|what| matches!(what, What::Crashed { .. })).nth(before)
        {
            *crash = Crash::Power;
        }
    }
    history
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
        let mut verdicts = checkers::judge(&self.history);
        let flipped = self.seen.blown.iter().any(|(_, blown)| matches!(blown, Blown::Flipped { .. }));
        if !flipped {
            verdicts.extend(self.fail_stop(&verdicts).map(|verdict| (Invariant::Du7, verdict)));
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

    /// What is said of DU-7, if a call failed: something that was confirmed since, before the broker was started again, is
    /// not kept. (What is lost that was confirmed earlier does not rest on that call.)
    fn fail_stop(&self, verdicts: &[(Invariant, Verdict)]) -> Option<Verdict> {
        let failed: Vec<(&str, u64)> = self
            .seen
            .blown
            .iter()
            .filter_map(|(_, blown)| match blown {
                Blown::Failed { during: During::Step(step), call, .. } => {
                    Some((call.as_str(), *self.seen.ticks.get(*step)?))
                }
                _ => None,
            })
            .collect();
        if failed.is_empty() {
            return None;
        }
        if self.history.contract.sends == Durability::None {
            return Some(Verdict::NotClaimed);
        }
        let events = &self.history.events;
        let restarted = |from: u64, to: u64| {
            let boots = events.iter().filter(|event| matches!(event.what, What::Booted { .. }));
            boots.into_iter().any(|boot| from <= boot.call && boot.call <= to)
        };
        let broken = verdicts.iter().find_map(|(invariant, verdict)| match verdict {
            Verdict::Broken(how) if matches!(invariant, Invariant::Du1 | Invariant::Du3) => {
                let confirmed = events.get(*how.culprits.first()?)?.call;
                let rests = |(_, since): &&(&str, u64)| *since <= confirmed && !restarted(*since, confirmed);
                let (call, _) = failed.iter().find(rests)?;
                let sentence = format!("{call} failed, and after that {}", how.sentence);
                Some(Counterexample { invariant: Invariant::Du7, sentence, ..how.clone() })
            }
            _ => None,
        });
        Some(broken.map_or(Verdict::exercised(1), Verdict::Broken))
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
