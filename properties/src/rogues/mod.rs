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

impl Hunt<'_> {
    /// Judges plan after plan until the promise is seen broken that should be, and shrinks that plan with regard to it.
    fn run<P: Shrink + Serialize>(
        self,
        plans: impl Iterator<Item = P>,
        judged: impl Fn(&P) -> Vec<(Invariant, Verdict)>,
    ) -> RogueResult {
        let Hunt { bug, what, expected, engine, shrink_runs } = self;
        let broken = |plan: &P| -> BTreeSet<Invariant> {
            let verdicts = judged(plan).into_iter();
            verdicts.filter(|(_, verdict)| verdict.is_broken()).map(|(invariant, _)| invariant).collect()
        };
        let mut also = BTreeSet::new();
        let (mut cases, mut smallest) = (0, None);
        for plan in plans {
            cases += 1;
            also.extend(broken(&plan));
            if also.remove(&expected) {
                smallest = Some(shrink(&plan, shrink_runs, |plan| broken(plan).contains(&expected)).plan);
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
        }
    }
}

/// The kill table for a terminal: at most 100 columns.
pub fn draw(met: &[RogueResult]) -> String {
    let mut out = format!(
        "{:<23}{:<7}{:<12}{:>6}{:>6}  what is wrong\n",
        "bug", "breaks", "caught by", "cases", "steps"
    );
    for RogueResult { bug, what, expected, found, cases, shrunk, engine, .. } in met {
        let caught = if *found { engine } else { "NOTHING" };
        let steps = shrunk.map_or("-".into(), |steps| steps.to_string());
        let line = format!("{bug:<23}{:<7}{caught:<12}{cases:>6}{steps:>6}  {what}", expected.id());
        out.extend(line.chars().take(100));
        out.push('\n');
    }
    let caught = met.iter().filter(|result| result.found).count();
    out += "A case is a plan; of crash images, it is an image of what a disk may hold.\n";
    out + &format!("{caught} of {} caught by the promise they break\n", met.len())
}
