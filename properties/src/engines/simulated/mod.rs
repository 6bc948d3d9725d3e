//! The simulated engine: the clients of a broker take turns on one thread, as a seed decides, and are interrupted
//! inside their calls: on the way to the broker, before each lock of [`stanchion_queues::sync`], after each reading of
//! the clock, during each call of a [`SimDisk`](stanchion_queues::file::SimDisk), and on the way back. What the queue
//! does by itself, in threads of [`stanchion_queues::sync`], has its turns among them. Meanwhile the clock moves and
//! the broker crashes, in particular while something is being written. At the end faults are over, and everything
//! must come to rest.

#[cfg(test)]
mod own_tests;
mod plan;
mod run;
mod stage;
#[cfg(test)]
mod tests;
mod way;

pub use plan::{Interruption, Meanwhile, Move, Plan, Schedule, Strategy};
pub use run::run;

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
