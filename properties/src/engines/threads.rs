//! Real threads drive a buffer, and every round is judged in full.
//!
//! Rounds are many, over every shape that the contract admits and over small capacities, where threads meet;
//! some are long, for what goes wrong after thousands of items. Ticks are those of the time stamp counter where
//! it is sound, and what was found by them is looked for again with one shared counter.

use std::any::type_name;

use stanchion_queues::{Buffer, BufferContract, Shape};

use crate::checkers_buffer::{self, Decided, Effort, Lies};
use crate::finding::{Finding, Picture};
use crate::invariant::Invariant;
use crate::timeline;
use crate::verdict::{Counterexample, Verdict};

use super::budget::Budget;
use super::extent;
use super::recorder::Pace;
use super::round::{self, Fault, Outcome, Round};
use super::runs::{Findings, Run};
use super::stamps::Clock;
use super::watchdog;

/// The name of this engine.
pub const ENGINE: &str = "threads";

/// How many items are offered in an ordinary round; more where the capacity is large, so that it fills.
const ITEMS: usize = 1000;
/// How many in a long one: more than 16 bits count.
const MANY_ITEMS: usize = 70_000;
/// One round of so many is long.
const LONG_ONE_OF: u64 = 64;
/// Long rounds are not spent on waiting for each other.
const LONG_CAPACITY: usize = 7;
/// How many plans of another engine one round here is worth.
const CASES_PER_ROUND: u64 = 4;
/// What a history is worth that could not be decided with the usual effort: it may be the one that shows a bug. Seconds,
/// and a hundred megabytes. If that does not help either, the promise is undecided, and the finding says so.
const UTMOST: Effort = Effort { construct: true, configurations: 200_000, steps: 10_000_000 };
/// How often a round is run again with the counter.
const CONFIRMATIONS: u64 = 3;

/// What all rounds together say.
#[derive(Clone, Debug)]
pub struct Report {
    /// One per promise.
    pub findings: Vec<Finding>,
    /// Answers that were never true and that the contract excuses.
    pub lies: Lies,
    /// How many rounds were judged, each as a whole.
    pub rounds: u64,
    /// How many operations there were in them.
    pub operations: u64,
    /// In how many rounds some thread had to stop early because its log was full.
    pub cut_short: u64,
    /// How many histories could not be decided with the usual effort and were judged with a hundredfold.
    pub hard: u64,
    /// How many of them could not be decided even so.
    pub undecided: u64,
    /// Where the ticks came from, and why.
    pub clock: String,
}

/// Runs as many rounds as the budget allows, and says what was found of each promise, once per promise.
pub fn check<B: Buffer>(budget: &Budget) -> Vec<Finding> {
    observe::<B>(budget).findings
}

/// [`check`], and what there was to see.
pub fn observe<B: Buffer>(budget: &Budget) -> Report {
    let mut clock = Clock::detect();
    let judged = rounds::<B>(budget, &clock).and_then(|report| {
        clock.confirm()?;
        Ok(report)
    });
    // Nothing that was stamped by a clock like this stands.
    let report = judged.or_else(|why| {
        clock = Clock::counter(why);
        rounds::<B>(budget, &clock)
    });
    let report = report.expect("a counter that only counts up does not go back");
    Report { clock: clock.to_string(), ..report }
}

/// # Errors
/// The clock went back.
fn rounds<B: Buffer>(budget: &Budget, clock: &Clock) -> Result<Report, String> {
    let settings = Settings::new(&B::CONTRACT);
    let mut findings = Findings::default();
    let mut report = Report {
        findings: Vec::new(),
        lies: Lies::default(),
        rounds: 0,
        operations: 0,
        cut_short: 0,
        hard: 0,
        undecided: 0,
        clock: String::new(),
    };
    for case in extent::cases(budget, type_name::<B>(), ENGINE, budget.cases.div_ceil(CASES_PER_ROUND)) {
        // What short rounds have found wrong is not worth long ones.
        let round = settings.round(case, budget.seed, !findings.any_broken());
        let (seed, stands_still) = (budget.seed, round);
        watchdog::case(move |stuck| {
            let picture = format!("{}{stands_still}\n", timeline::heading(&stuck.counterexample()));
            Run { case, seed, events: 0, steps: stands_still.items }.failure(picture)
        });
        let outcome = run::<B>(case, &round, clock);
        if outcome.clock_went_back {
            return Err(format!("a tick was below the one before it in the same thread ({round})"));
        }
        let judgement = outcome.history.as_ref().map(|history| {
            let judgement = checkers_buffer::judge(history);
            if judgement.decided != Some(Decided::Undecided) {
                return judgement;
            }
            report.hard += 1;
            let judgement = checkers_buffer::judge_with(history, UTMOST);
            report.undecided += u64::from(judgement.decided == Some(Decided::Undecided));
            judgement
        });
        report.rounds += 1;
        report.cut_short += u64::from(outcome.cut_short);
        let events = outcome.history.as_ref().map_or(0, |history| history.len());
        report.operations += events as u64;
        let this = Run { case, seed: budget.seed, events, steps: round.items };
        if let Some(judgement) = judgement {
            report.lies.excused_empties += judgement.lies.excused_empties;
            report.lies.excused_fulls += judgement.lies.excused_fulls;
            for (invariant, mut verdict) in judgement.verdicts {
                if let Verdict::Broken(found) = &mut verdict
                    && !findings.is_broken(invariant)
                    && !clock.is_counter()
                {
                    let again = look_again::<B>(case, &round, invariant);
                    found.sentence = format!("{} {again}", found.sentence);
                }
                findings.add(&this, invariant, verdict, |counterexample| {
                    let drawing =
                        judgement.counterexamples.iter().find(|drawing| drawing.invariant == invariant);
                    let drawn = drawing.map_or(String::new(), ToString::to_string);
                    let text = format!("{round}\n{}\n{drawn}", counterexample.sentence);
                    Picture { text, lanes: drawing.map(|drawing| drawing.lanes(&round.to_string())) }
                });
            }
        }
        let (invariant, verdict) = match outcome.fault {
            None => (Invariant::Li1, Verdict::Holds { instances: 1 }),
            Some(Fault { invariant, sentence }) => {
                let culprits = Vec::new();
                let found = Counterexample { invariant, sentence, missing_licence: None, culprits };
                (invariant, Verdict::Broken(found))
            }
        };
        findings.add(&this, invariant, verdict, |found| {
            format!("{round}\n{}: {}\n", invariant.id(), found.sentence)
        });
        if budget.until.is_some_and(|promise| findings.is_broken(promise)) {
            break;
        }
    }
    report.findings = findings.into_vec();
    Ok(report)
}

/// Rounds of all widths of items.
fn run<B: Buffer>(case: u64, round: &Round, clock: &Clock) -> Outcome {
    match case % 3 {
        0 => round::run::<B, _, 1>(round, clock),
        1 => round::run::<B, _, 8>(round, clock),
        _ => round::run::<B, _, 32>(round, clock),
    }
}

/// Whether the same round shows the same with a clock that nobody can doubt: one sentence.
fn look_again<B: Buffer>(case: u64, round: &Round, invariant: Invariant) -> String {
    let shows = |_: &u64| {
        let outcome = run::<B>(case, round, &Clock::counter(""));
        outcome.history.is_some_and(|history| checkers_buffer::judge(&history).breaks(invariant))
    };
    match (1..=CONFIRMATIONS).find(shows) {
        Some(at) => {
            format!("(Seen by time stamps, and with one shared counter in run {at} of the same round.)")
        }
        None => format!(
            "(Seen by time stamps; not in {CONFIRMATIONS} runs of the same round with one shared counter, which \
             also keeps threads apart.)"
        ),
    }
}

/// Every shape that a contract admits, with each capacity.
struct Settings {
    all: Vec<Round>,
    long: Vec<Round>,
}

impl Settings {
    fn new(contract: &BufferContract) -> Settings {
        let shapes = [(1, 1), (2, 1), (1, 2), (2, 2), (4, 4)];
        let capacities = [1, 2, 3, LONG_CAPACITY, 64, 100, 1024];
        let mut all = Vec::new();
        for wrap in [false, true] {
            if wrap && !contract.counters {
                continue;
            }
            for capacity in capacities {
                for (producers, consumers) in shapes {
                    if Shape::new(producers, consumers, capacity).admitted_by(contract).is_ok() {
                        let items = ITEMS.max(3 * capacity);
                        let pace = Pace::Apart;
                        all.push(Round { producers, consumers, capacity, wrap, items, pace, seed: 0 });
                    }
                }
            }
        }
        let long = all.iter().filter(|round| round.capacity >= LONG_CAPACITY);
        let long = long.map(|round| Round { items: MANY_ITEMS, ..*round }).collect();
        Settings { all, long }
    }

    fn round(&self, case: u64, seed: u64, long: bool) -> Round {
        // One is among the first few.
        let (settings, at) = if long && case % LONG_ONE_OF == 7 {
            (&self.long, case / LONG_ONE_OF)
        } else {
            (&self.all, case)
        };
        // A prime that divides no number of settings: neighbours differ in everything, and none is left out.
        let setting = settings[(at * 37) as usize % settings.len()];
        let pace = match case / 3 % 4 {
            0 | 1 => Pace::Apart,
            2 => Pace::Chained(1),
            _ => Pace::Chained(8),
        };
        Round { pace, seed: seed ^ (case << 8), ..setting }
    }
}

#[cfg(test)]
mod tests {
    use stanchion_queues::buffers::{Ring, TokioChannel};

    use super::*;
    use crate::engines::sequential_buffer;

    fn is_right<B: Buffer>() {
        let sequential = sequential_buffer::check::<B>("right", &Budget::quick());
        let threads = check::<B>(&Budget { cases: 240, ..Budget::quick() });
        for finding in sequential.iter().chain(&threads) {
            assert!(
                matches!(finding.verdict, Verdict::Holds { .. } | Verdict::NotClaimed | Verdict::Vacuous),
                "{}: {finding:?}",
                std::any::type_name::<B>()
            );
        }
    }

    /// Rounds that end early would leave most of what is planned untested.
    #[test]
    fn a_round_is_as_long_as_it_is_planned() {
        let report = observe::<Ring>(&Budget { cases: 48, ..Budget::quick() });
        let Report { rounds, operations, cut_short, .. } = report;
        println!("{rounds} rounds, {operations} operations, {cut_short} cut short");
        // At least a push and a pop for each item.
        assert!(operations >= 2 * rounds * ITEMS as u64, "{operations} operations in {rounds} rounds");
    }

    #[test]
    fn a_lock_free_ring_and_a_channel_keep_what_they_promise() {
        is_right::<Ring>();
        is_right::<TokioChannel>();
    }
}
