//! Queues and consumers that are wrong on purpose.

use std::collections::BTreeSet;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::invariant::Invariant;
use crate::shrink::{Shrink, shrink};
use crate::verdict::Verdict;

#[cfg(test)]
mod by_hand;
pub mod commits;
pub mod consumers;
pub mod delivery;
pub(crate) mod forged;
pub mod harness;
pub mod matrix;
pub mod memory;
mod nodes;
pub mod tickets;
pub mod zoo;

/// How the harness fared against one rogue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RogueResult {
    /// The bug's id in the zoo, or a name of ours.
    pub bug: String,
    /// What is wrong.
    pub what: String,
    /// The promise it should be seen to break.
    pub expected: Invariant,
    /// Whether it was seen to break that one.
    pub found: bool,
    /// How many cases that took, or how many were tried.
    pub cases: u64,
    /// Steps of the shrunk plan.
    pub shrunk: Option<usize>,
    /// That plan, as it would be saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<serde_json::Value>,
    /// Which engine.
    pub engine: String,
    /// What else it was seen to break.
    pub also: Vec<Invariant>,
    /// How long it took, with shrinking.
    pub seconds: f64,
    /// In how many of these cases the bug did something.
    pub showed: Showed,
}

/// In how many cases a bug did something: where it was not reached, plans are too weak for it; where it made no
/// difference, the turns were others; and where it did and was not caught, the checks are. `None`: not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Showed {
    /// The wrong code ran.
    pub reached: Option<u64>,
    /// The history is other than that of the right one with the same plan.
    pub triggered: Option<u64>,
}

/// One run of a rogue.
struct Seen<H> {
    history: H,
    verdicts: Vec<(Invariant, Verdict)>,
    /// Whether the wrong code ran, if that is known.
    reached: Option<bool>,
}

impl RogueResult {
    /// The same with the time that it took.
    fn timed(hunt: impl FnOnce() -> Option<RogueResult>) -> Option<RogueResult> {
        let begun = Instant::now();
        let result = hunt()?;
        Some(RogueResult { seconds: begun.elapsed().as_secs_f64(), ..result })
    }
}

/// Runs what is meant to panic, without a word of its panics on this thread.
pub fn quietly<T>(body: impl FnOnce() -> T) -> T {
    crate::engines::sequential::quietly(body)
}

/// What is hunted, and by which engine.
struct Hunt<'a> {
    bug: &'a str,
    what: &'a str,
    expected: Invariant,
    engine: &'a str,
    shrink_runs: u32,
}

/// Whether a history is other than that of the right one with this plan.
type Differs<'a, P, H> = &'a dyn Fn(&P, &H) -> bool;

impl Hunt<'_> {
    /// Judges plan after plan until the promise is seen broken that should be, and shrinks that plan with regard to it.
    fn run<P: Shrink + Serialize, H>(
        self,
        plans: impl Iterator<Item = P>,
        seen: impl Fn(&P) -> Seen<H>,
        differs: Option<Differs<'_, P, H>>,
    ) -> RogueResult {
        let Hunt { bug, what, expected, engine, shrink_runs } = self;
        let broken = |seen: &Seen<H>| -> BTreeSet<Invariant> {
            let verdicts = seen.verdicts.iter();
            verdicts.filter(|(_, verdict)| verdict.is_broken()).map(|(invariant, _)| *invariant).collect()
        };
        let mut also = BTreeSet::new();
        let (mut cases, mut smallest) = (0, None);
        let mut showed = Showed::default();
        for plan in plans {
            cases += 1;
            let met = seen(&plan);
            if let Some(reached) = met.reached {
                *showed.reached.get_or_insert(0) += u64::from(reached);
            }
            if let Some(differs) = differs {
                *showed.triggered.get_or_insert(0) += u64::from(differs(&plan, &met.history));
            }
            also.extend(broken(&met));
            if also.remove(&expected) {
                let fails = |plan: &P| broken(&seen(plan)).contains(&expected);
                smallest = Some(shrink(&plan, shrink_runs, fails).plan);
                break;
            }
        }
        RogueResult {
            seconds: 0.0,
            bug: bug.into(),
            what: what.into(),
            expected,
            found: smallest.is_some(),
            cases,
            shrunk: smallest.as_ref().map(|plan| plan.steps().len()),
            plan: smallest.and_then(|plan| serde_json::to_value(plan).ok()),
            engine: engine.into(),
            also: also.into_iter().collect(),
            showed,
        }
    }
}

/// The kill table for a terminal: at most 100 columns.
pub fn draw(met: &[RogueResult]) -> String {
    let mut out = format!(
        "{:<23}{:<7}{:<12}{:>6}{:>8}{:>8}{:>6}  what is wrong\n",
        "bug", "breaks", "caught by", "cases", "reached", "differ", "steps"
    );
    for RogueResult { bug, what, expected, found, cases, shrunk, engine, showed, .. } in met {
        let caught = if *found { engine } else { "NOTHING" };
        let steps = shrunk.map_or("-".into(), |steps| steps.to_string());
        let count = |cases: Option<u64>| cases.map_or("-".into(), |cases| cases.to_string());
        let (reached, differ) = (count(showed.reached), count(showed.triggered));
        let line = format!(
            "{bug:<23}{:<7}{caught:<12}{cases:>6}{reached:>8}{differ:>8}{steps:>6}  {what}",
            expected.id()
        );
        out.extend(line.chars().take(100));
        out.push('\n');
    }
    let caught = met.iter().filter(|result| result.found).count();
    out += "A case is a plan; of crash images, it is an image of what a disk may hold. Reached: cases in which the\n\
            wrong code ran; differ: in which the history is other than that of the right one.\n";
    out + &format!("{caught} of {} caught by the promise they break\n", met.len())
}
