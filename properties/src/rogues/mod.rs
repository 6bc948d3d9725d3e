//! Queues and consumers that are wrong on purpose.

use serde::{Deserialize, Serialize};

use crate::invariant::Invariant;

pub mod consumers;
pub mod delivery;
pub mod memory;

/// How the harness fared against one rogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Which engine.
    pub engine: String,
    /// What else it was seen to break.
    pub also: Vec<Invariant>,
}
