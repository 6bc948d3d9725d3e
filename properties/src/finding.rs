//! What an engine found out about one promise of one queue.

use serde::{Deserialize, Serialize};
use stanchion_reports::results::Lanes;

use crate::invariant::Invariant;
use crate::verdict::Verdict;

/// What an engine found out about one promise of one queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Which promise.
    pub invariant: Invariant,
    /// The verdicts of all cases, merged.
    pub verdict: Verdict,
    /// How many cases were run.
    pub cases: u64,
    /// How many events the checker read in them.
    pub events: u64,
    /// The smallest failing run, if the promise was broken.
    pub failure: Option<Failure>,
}

/// A run that is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// For a terminal: at most 100 columns.
    pub text: String,
    /// As data.
    pub lanes: Option<Lanes>,
}

impl From<String> for Picture {
    fn from(text: String) -> Picture {
        Picture { text, lanes: None }
    }
}

/// The smallest run that breaks a promise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The case that failed first, from 0.
    pub case: u64,
    /// The seed it was generated from.
    pub seed: u64,
    /// The shrunk plan, as the engine reads it; `None` where the run depends on how threads were scheduled.
    pub plan: Option<serde_json::Value>,
    /// Steps of the plan as generated.
    pub steps_before: usize,
    /// Steps of the shrunk plan. Equal to `steps_before` where an engine cannot shrink.
    pub steps_after: usize,
    /// The run, drawn for a terminal: at most 100 columns.
    pub picture: String,
    /// The same for whoever draws it in another way; `None` where there is a text alone.
    #[serde(default)]
    pub lanes: Option<Lanes>,
    /// The one line that does it again.
    pub replay: Option<String>,
}

impl Finding {
    /// A finding that nothing contradicts.
    pub fn new(invariant: Invariant, verdict: Verdict, cases: u64, events: u64) -> Finding {
        Finding { invariant, verdict, cases, events, failure: None }
    }

    /// What is found out if nothing could be run: no promise is decided.
    pub(crate) fn undecided(why: &str, cases: u64) -> Vec<Finding> {
        let unknown = Verdict::Unknown(why.to_owned());
        let finding = |&invariant| Finding::new(invariant, unknown.clone(), cases, 0);
        Invariant::ALL.iter().map(finding).collect()
    }
}
