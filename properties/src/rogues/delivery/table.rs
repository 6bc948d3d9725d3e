//! How the harness fares against each bug.

use std::cell::RefCell;

use stanchion_queues::Settings;

use super::bug::Bug;
use super::host::RogueHost;
use crate::engines::budget::Budget;
use crate::engines::sequential;
use crate::history::History;
use crate::invariant::Invariant;
use crate::plan::{Plan, Plans, case_seed};
use crate::rogues::{Hunt, RogueResult, Seen};
use crate::verdict::Verdict;

/// Runs plans against each bug until `judge` sees the promise broken that the bug should break, or the cases
/// of the budget are used up. The plan is shrunk with regard to that promise.
pub fn table(budget: &Budget, judge: impl Fn(&History) -> Vec<(Invariant, Verdict)>) -> Vec<RogueResult> {
    Bug::wrong().filter_map(|bug| RogueResult::timed(|| hunt(bug, budget, &judge))).collect()
}

/// One line of the [`table`]; `None`: there is nothing to be found.
pub fn hunt(
    bug: Bug,
    budget: &Budget,
    judge: impl Fn(&History) -> Vec<(Invariant, Verdict)>,
) -> Option<RogueResult> {
    let expected = bug.expected()?;
    let drawn = Plans::default();
    let plans = (0..budget.cases).map(|case| drawn.draw(case_seed(budget.seed, bug.id(), case)));
    let hunt = Hunt {
        bug: bug.id(),
        what: bug.what(),
        expected,
        engine: "sequential",
        shrink_runs: budget.shrink_runs,
    };
    const STARTS: &str = "plans have valid settings, and no bug prevents the first start";
    let seen = |plan: &Plan| {
        let switch = RefCell::default();
        let make = |settings: &Settings| {
            let host = RogueHost::new(bug, settings);
            switch.replace(host.switch().clone());
            host
        };
        let history = sequential::run(make, plan).expect(STARTS);
        let reached = Some(switch.into_inner().reached() > 0);
        Seen { verdicts: judge(&history), history, reached }
    };
    let differs = |plan: &Plan, history: &History| {
        let right = sequential::run(|settings| RogueHost::twin(bug, settings), plan).expect(STARTS);
        right.events != history.events
    };
    Some(hunt.run(plans, seen, Some(&differs)))
}
