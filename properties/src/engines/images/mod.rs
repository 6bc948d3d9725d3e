//! Crash images: a durable broker on a simulated disk meets every failure that a disk has, at every call that
//! it makes to it.
//!
//! A plan is run once to count the calls. Then, for each call, the machine stops there and all that the disk
//! may hold then is gone through: every subset of the unsynced sectors, torn and garbage ones, names and lengths
//! that are behind or ahead. From each such image the broker recovers, goes on, is crashed again (also during
//! the recovery), recovers again and is drained; the judge reads the whole history. Besides, each call fails once,
//! for want of space or otherwise, at once or only after the system took a write, with a failure of the power behind it,
//! and bits of what is stored flip.
//!
//! Each image is a [`Plan`] of its own, in which nothing is left to chance: it is shrunk, saved and run again as any
//! other. Brokers take part whose [`Host`] shows its simulated disk.

mod choices;
mod host;
mod plan;
mod report;
mod run;
mod story;
mod walk;

use stanchion_queues::{Host, Settings};

pub use self::plan::{Blow, Move, Plan, VERSION, Version};
pub use self::report::Report;
pub use self::run::{Flip, Ran, run};
pub use self::walk::{Images, Scope};
use super::budget::Budget;
use super::cases::{Case, numbers};
use super::clients::{guard, quietly};
use super::explore::{Exploration, ExploreError, explore_cases};
use super::extent;
use super::sequential::NotStarted;
use crate::coverage::Coverage;
use crate::finding::Finding;
use crate::invariant::Invariant;
use crate::regressions::Keep as _;

/// One plan has as many images as other engines have plans in so many cases.
const CASES: u64 = 20;

/// What is gone through for each plan in the suite.
const SCOPE: Scope = Scope { images: 24, faults: true, flips: 32, lying: false, seed: 0 };

/// What plans of this engine never put to the test: large bodies only make it slower.
pub(crate) const UNTOUCHED: [Invariant; 1] = [Invariant::Cb6];

/// Goes through what may befall the broker that `make` hosts, as [`super::explore::explore`] does. A case is an
/// image; there are a few hundred for each of a twentieth of the plans of the budget.
///
/// # Errors
/// The broker does not start, or the plan to replay cannot be read.
pub fn explore<H: Host>(
    queue: &str,
    make: impl Fn(&Settings) -> H,
    budget: &Budget,
) -> Result<Exploration, ExploreError> {
    let make = &make;
    let shown = quietly(|| guard(|| make(&Settings::new()).simulated_disk().is_some()));
    if matches!(shown, Ok(false)) {
        let findings = Finding::undecided("its host shows no simulated disk", 0);
        return Ok(Exploration { findings, coverage: Coverage::default(), errors: Vec::new() });
    }
    let images = of_queue(queue, make, budget);
    let images = images.map(|of| of.map(|(index, seed, plan)| Case::of(queue, index, seed, plan)));
    let judged = |plan: &Plan| {
        run(make, plan).map(|ran| {
            let (verdicts, _) = ran.judge();
            (ran, verdicts)
        })
    };
    explore_cases(queue, budget, images, judged, story::draw)
}

/// The images of a budget, each with the number of its plan and the seed that made that.
pub(crate) fn of_queue<H: Host, F: Fn(&Settings) -> H>(
    queue: &str,
    make: &F,
    budget: &Budget,
) -> impl Iterator<Item = Result<(u64, u64, Plan), NotStarted>> {
    let plans = numbers(queue, budget, Plan::ENGINE, budget.cases.div_ceil(CASES));
    plans.flat_map(move |(index, seed)| {
        let images = Images::of(make, plan::draw(seed), Scope { seed, ..SCOPE });
        let (images, error) = match images {
            Ok(images) => (Some(images), None),
            Err(error) => (None, Some(Err(error))),
        };
        let numbered = move |plan| Ok((index, seed, plan));
        // There are hundreds of them.
        let images = images.into_iter().flatten().take_while(|_| !extent::is_interrupted());
        images.map(numbered).chain(error)
    })
}

#[cfg(test)]
mod tests;
