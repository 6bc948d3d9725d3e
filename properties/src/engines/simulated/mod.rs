//! The simulated engine: the clients of a broker take turns on one thread, as a seed decides, and are interrupted
//! inside their calls: on the way to the broker, before each lock of [`stanchion_queues::sync`], after each reading of
//! the clock, in front of an [`Interrupted`] storage, and on the way back. Meanwhile the clock moves and the broker crashes, in particular while something is
//! being written. At the end faults are over, and everything must come to rest.

mod plan;
mod run;
mod stage;
mod storage;
#[cfg(test)]
mod tests;

pub use plan::{Interruption, Meanwhile, Move, Plan, Schedule, Strategy};
pub use run::run;
pub use storage::Interrupted;

use stanchion_queues::{Host, Settings};

use super::budget::Budget;
use super::explore::{Exploration, ExploreError, explore_plans};
use crate::checkers;

/// Runs plans against the broker that `make` hosts and judges each history, as [`super::explore::explore`] does.
///
/// # Errors
/// The broker does not start, or the plan to replay cannot be read.
pub fn explore<H: Host>(
    queue: &str,
    make: impl Fn(&Settings) -> H,
    budget: &Budget,
) -> Result<Exploration, ExploreError> {
    explore_plans(queue, budget, Plan::draw, |plan| run(&make, plan, budget.interrupts), checkers::judge)
}
