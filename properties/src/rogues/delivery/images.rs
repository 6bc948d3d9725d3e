//! How crash images fare against what is wrong on disk.

use std::cell::RefCell;

use stanchion_queues::Settings;

use super::bug::Bug;
use super::host::RogueHost;
use crate::engines::budget::Budget;
use crate::engines::images;
use crate::regressions::Keep;
use crate::rogues::{Hunt, RogueResult, Seen};

/// Goes through images of each until the promise is seen broken that it should break, or the budget is used up. A case
/// is an image.
pub fn table(budget: &Budget) -> Vec<RogueResult> {
    Bug::of_images().filter_map(|bug| RogueResult::timed(|| hunt(bug, budget))).collect()
}

/// One line of the [`table`]; `None`: there is nothing to be found.
pub fn hunt(bug: Bug, budget: &Budget) -> Option<RogueResult> {
    let expected = bug.expected()?;
    let make = |settings: &Settings| RogueHost::new(bug, settings);
    let plans = images::of_queue(bug.id(), &make, budget).flatten().map(|(_, _, plan)| plan);
    let hunt = Hunt {
        bug: bug.id(),
        what: bug.what(),
        expected,
        engine: images::Plan::ENGINE,
        shrink_runs: budget.shrink_runs,
    };
    // What befalls the disk is counted in calls to it, of which the right one makes others: there is no twin.
    let seen = |plan: &images::Plan| {
        let switch = RefCell::default();
        let make = |settings: &Settings| {
            let host = make(settings);
            switch.replace(host.switch().clone());
            host
        };
        let history = images::run(make, plan).expect("no bug prevents the first start on a good disk");
        let reached = Some(switch.into_inner().reached() > 0);
        Seen { verdicts: history.judge().0, history, reached }
    };
    Some(hunt.run(plans, seen, None))
}

#[cfg(test)]
mod tests {
    use super::super::bug::Switch;
    use super::*;

    #[test]
    fn what_is_wrong_on_disk_is_caught() {
        let table = table(&Budget::quick());
        assert!(table.len() > 20, "{} of them", table.len());
        for result in table {
            println!("{result:?}");
            assert!(result.found && result.shrunk <= Some(6), "{result:?}");
        }
    }

    #[test]
    fn what_only_looks_wrong_is_not_blamed() {
        let rights = Bug::of_images().filter(|bug| bug.expected().is_none());
        for right in rights.chain([Bug::P01]) {
            let switches = RefCell::new(Vec::<Switch>::new());
            let make = |settings: &Settings| {
                let host = RogueHost::new(right, settings);
                switches.borrow_mut().push(host.switch().clone());
                host
            };
            let mut report = images::Report::default();
            for seed in 0..30 {
                let scope = images::Scope { images: 24, faults: true, flips: 4, lying: false, seed };
                report.explore(make, seed, &scope).expect("it starts");
            }
            let reached: u64 = switches.borrow().iter().map(Switch::reached).sum();
            println!("{right:?}: {} images, reached {reached} times", report.images);
            assert!(reached > 50, "{right:?} was reached {reached} times");
            assert_eq!(report.broken.is_empty(), right != Bug::P01, "{right:?}: {:?}", report.broken.first());
        }
    }
}
