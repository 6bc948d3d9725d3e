//! Queues and consumers that are wrong on purpose.

use serde::Serialize;

use crate::invariant::Invariant;

pub mod consumers;

/// Whether one seeded bug was caught, and how soon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RogueResult {
    /// Its name in the zoo, or one of ours.
    pub bug: &'static str,
    /// What is wrong, in one line.
    pub what: &'static str,
    /// The promise that must be reported as broken.
    pub expected: Invariant,
    /// Whether it was.
    pub found: bool,
    /// How many plans or rounds that took; the whole budget if it was not found.
    pub cases: u64,
    /// The number of operations in the smallest counterexample.
    pub shrunk: Option<usize>,
    /// Which engine found it.
    pub engine: &'static str,
}
