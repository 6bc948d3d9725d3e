//! What an engine has to say about one promise after all of its runs.

use serde::{Deserialize, Serialize};

use crate::invariant::Invariant;
use crate::verdict::Verdict;

/// One promise, as one engine found it kept or broken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Which promise.
    pub invariant: Invariant,
    /// The answer over all runs.
    pub verdict: Verdict,
    /// How many plans or rounds were run.
    pub cases: u64,
    /// How many operations were judged in them.
    pub events: u64,
    /// The smallest plan that breaks the promise, replayable; `None` if none does, or if the run depends on
    /// how threads were scheduled.
    pub plan: Option<serde_json::Value>,
    /// The counterexample drawn in ASCII, one operation a line.
    pub picture: Option<String>,
}

impl Finding {
    /// A finding without a counterexample.
    pub fn new(invariant: Invariant, verdict: Verdict, cases: u64, events: u64) -> Finding {
        Finding { invariant, verdict, cases, events, plan: None, picture: None }
    }
}
