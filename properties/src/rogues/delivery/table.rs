//! How the harness fares against each bug.

use std::collections::BTreeSet;

use super::bug::Bug;
use super::host::RogueHost;
use crate::engines::budget::Budget;
use crate::engines::sequential;
use crate::history::History;
use crate::invariant::Invariant;
use crate::plan::{Plan, Plans, case_seed};
use crate::rogues::RogueResult;
use crate::shrink::shrink;
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
    let broken = |plan: &Plan| -> BTreeSet<Invariant> {
        let history = sequential::run(|settings| RogueHost::new(bug, settings), plan)
            .expect("plans have valid settings, and no bug prevents the first start");
        let verdicts = judge(&history).into_iter();
        verdicts.filter(|(_, verdict)| verdict.is_broken()).map(|(invariant, _)| invariant).collect()
    };
    let plans = Plans::default();
    let mut also = BTreeSet::new();
    let (mut cases, mut shrunk) = (0, None);
    while shrunk.is_none() && cases < budget.cases {
        let plan = plans.draw(case_seed(budget.seed, bug.id(), cases));
        cases += 1;
        also.extend(broken(&plan));
        if also.remove(&expected) {
            let smallest = shrink(&plan, budget.shrink_runs, |plan| broken(plan).contains(&expected)).plan;
            shrunk = Some(smallest.steps.len());
        }
    }
    Some(RogueResult {
        seconds: 0.0,
        bug: bug.id().into(),
        what: bug.what().into(),
        expected,
        found: shrunk.is_some(),
        cases,
        shrunk,
        engine: "sequential".into(),
        also: also.into_iter().collect(),
    })
}
