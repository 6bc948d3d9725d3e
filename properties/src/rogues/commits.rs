//! The file queue with a race in its commit: who leads, who is told what, and when. With one client after another all of
//! them are right.

use stanchion_queues::file::{Mistake, SimHost};
use stanchion_queues::{Host, Settings};

use super::tickets::TicketHost;
use super::{Hunt, RogueResult, Seen};
use crate::checkers;
use crate::engines::budget::Budget;
use crate::engines::simulated::{self, Plan};
use crate::invariant::Invariant;
use crate::plan::case_seed;
use crate::regressions::Keep;

/// A name of ours, what is wrong, and the promise that it should be seen to break.
pub(super) fn described(mistake: Mistake) -> (&'static str, &'static str, Invariant) {
    match mistake {
        Mistake::ConfirmsEarly => (
            "commit-early",
            "Those who wait for a batch are told that it is durable before it is synced.",
            Invariant::Du1,
        ),
        Mistake::ConfirmsFailed => (
            "commit-failed",
            "Those who wait for a batch that failed are told that it is durable.",
            Invariant::Du1,
        ),
        Mistake::WaitsBlindly => (
            "commit-wakeup",
            "Between a look and a wait, the notice that the batch has ended is missed.",
            Invariant::Li1,
        ),
        Mistake::AppliesEarly => (
            "commit-applied",
            "A settlement is seen by others before it is durable, and taken back by a crash.",
            Invariant::Dl5,
        ),
        Mistake::WitnessesAnytime => (
            "commit-heartbeat",
            "The heartbeat writes where the log ended when it last looked, over a commit.",
            Invariant::Du1,
        ),
        Mistake::LeadsTwice => (
            "commit-leaders",
            "A second leader finds nothing to lead, and answers that it is durable.",
            Invariant::Du1,
        ),
        Mistake::ReservesNothing => {
            ("commit-room", "Two sends on their way find the same room, and both fill it.", Invariant::Cb1)
        }
        Mistake::LeavesTickets => (
            "commit-unled",
            "A batch in which nobody waits, as all of it was said by ticket, is left lying.",
            Invariant::Li1,
        ),
        Mistake::AnswersTickets => (
            "commit-ticket",
            "Who asks a ticket is told that it is durable, without a look at its batch.",
            Invariant::Du1,
        ),
    }
}

/// Those that are wrong, with the promise that each should be seen to break.
pub(super) fn named() -> impl Iterator<Item = (&'static str, Invariant)> {
    Mistake::ALL.into_iter().map(|mistake| (described(mistake).0, described(mistake).2))
}

/// Hosts of queues that make it.
pub fn hosting(mistake: Mistake) -> impl Fn(&Settings) -> SimHost {
    move |settings| SimHost::with_mistake(mistake, settings)
}

/// How many times as many cases as others each is given: it takes several calls at once, and most a crash among them. Most
/// are met within two thousand, the heartbeat's within some twenty thousand.
const CASES: u64 = 80;
/// And how many times as many runs to shrink what fails: with each step that is left out, others meet.
const SHRINK_RUNS: u32 = 4;

/// How the simulated engine fares against each of them.
pub fn table(budget: &Budget) -> Vec<RogueResult> {
    let hunts = Mistake::ALL.into_iter();
    hunts.filter_map(|mistake| RogueResult::timed(|| Some(hunt(mistake, budget)))).collect()
}

/// Runs plans until the promise is seen broken that the mistake should break.
pub(super) fn hunt(mistake: Mistake, budget: &Budget) -> RogueResult {
    match mistake {
        Mistake::LeavesTickets | Mistake::AnswersTickets => {
            hunt_in(|settings| TicketHost::with_mistake(mistake, settings), mistake, budget)
        }
        _ => hunt_in(hosting(mistake), mistake, budget),
    }
}

fn hunt_in<H: Host>(make: impl Fn(&Settings) -> H, mistake: Mistake, budget: &Budget) -> RogueResult {
    let (bug, what, expected) = described(mistake);
    let plans = (0..CASES * budget.cases).map(|case| Plan::draw(case_seed(budget.seed, bug, case)));
    let shrink_runs = SHRINK_RUNS * budget.shrink_runs;
    let seen = |plan: &Plan| {
        let history = simulated::run(&make, plan, true).expect("no mistake prevents the first start");
        Seen { verdicts: checkers::judge(&history), history, reached: None }
    };
    Hunt { bug, what, expected, engine: Plan::ENGINE, shrink_runs }.run(plans, seen, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::judge;
    use crate::engines::explore::explore;

    #[test]
    fn each_is_caught() {
        let all = (1..=2).flat_map(|seed| table(&Budget { seed, ..Budget::quick() }));
        let escaped = |result: &RogueResult| {
            println!("{result:?}");
            !result.found || result.shrunk > Some(24)
        };
        let escaped: Vec<RogueResult> = all.filter(escaped).collect();
        assert!(escaped.is_empty(), "{escaped:#?}");
    }

    #[test]
    fn one_client_after_another_meets_no_race() {
        for mistake in Mistake::ALL {
            let exploration = explore("race", hosting(mistake), &Budget::quick(), judge).expect("it starts");
            for finding in exploration.findings {
                assert!(!finding.verdict.is_broken(), "{mistake:?}: {finding:?}");
            }
        }
    }
}
