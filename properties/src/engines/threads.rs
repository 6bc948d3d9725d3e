//! Real threads drive a buffer, and every round is judged in full.
//!
//! Rounds are short and many, over every shape that the contract admits and over small capacities, where
//! threads meet. Nobody waits for "everything received", which a lossy buffer would never grant: threads stop
//! when their attempts are used up. Then one thread drains the buffer, fills it to the brim and drains it
//! again; with nobody else there, no false answer has an excuse.
//!
//! A buffer that panics is reported, and so is one whose call never returns.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use stanchion_queues::{Buffer, BufferContract, Ends, Pop, Push, Shape};

use crate::buffer_history::BufferHistory;
use crate::checkers_buffer::{self, Lies};
use crate::finding::{Failure, Finding};
use crate::invariant::Invariant;
use crate::timeline;
use crate::verdict::{Counterexample, Verdict};

use super::budget::Budget;
use super::recorder::{Counter, Item, RecordedConsumer, RecordedProducer, Stamps};
use super::sequential::{quietly, text_of};
use super::watchdog::{self, Call, Crew, calling};

/// How many items are offered in a round, by all producers together.
const ITEMS: usize = 1000;
/// How many plans of another engine one round here is worth.
const CASES_PER_ROUND: u64 = 4;

/// What all rounds together say.
#[derive(Clone, Debug)]
pub struct Report {
    /// One per promise.
    pub findings: Vec<Finding>,
    /// Answers that were never true and that the contract excuses.
    pub lies: Lies,
}

/// Runs as many rounds as the budget allows, and says what was found of each promise, once per promise.
pub fn check<B: Buffer>(budget: &Budget) -> Vec<Finding> {
    observe::<B>(budget).findings
}

/// [`check`], and how often the buffer gave answers that were never true.
pub fn observe<B: Buffer>(budget: &Budget) -> Report {
    let settings = settings(&B::CONTRACT);
    let mut findings: BTreeMap<Invariant, Finding> = BTreeMap::new();
    let mut lies = Lies::default();
    let mut events = 0;
    for (case, setting) in (0..budget.cases.div_ceil(CASES_PER_ROUND)).zip(settings.iter().cycle()) {
        let (seed, setting_of_stuck) = (budget.seed, *setting);
        watchdog::case(move |stuck| {
            let picture = format!("{}{setting_of_stuck}\n", timeline::heading(&stuck.counterexample()));
            Failure { case, seed, plan: None, steps_before: ITEMS, steps_after: ITEMS, picture, replay: None }
        });
        let dice = Dice::new(budget.seed ^ (case << 8));
        let outcome = match case % 3 {
            0 => round::<B, 1>(setting, ITEMS, dice),
            1 => round::<B, 8>(setting, ITEMS, dice),
            _ => round::<B, 32>(setting, ITEMS, dice),
        };
        let mut judged = match outcome.history {
            None => Vec::new(),
            Some(history) => {
                events += history.len() as u64;
                let judgement = checkers_buffer::judge(&history);
                lies.excused_empties += judgement.lies.excused_empties;
                lies.excused_fulls += judgement.lies.excused_fulls;
                let drawing = |invariant| {
                    let mut found = judgement.counterexamples.iter();
                    found
                        .find(|found| found.invariant == invariant)
                        .map(|found| format!("{setting}\n{found}"))
                };
                judgement
                    .verdicts
                    .iter()
                    .map(|(invariant, verdict)| (*invariant, verdict.clone(), drawing(*invariant)))
                    .collect()
            }
        };
        let ended = match outcome.fault {
            None => (Invariant::Li1, Verdict::Holds { instances: 1 }, None),
            Some(Fault { invariant, sentence }) => {
                let picture = Some(format!("{setting}\n{}: {sentence}\n", invariant.id()));
                let culprits = Vec::new();
                let counterexample = Counterexample { invariant, sentence, missing_licence: None, culprits };
                (invariant, Verdict::Broken(counterexample), picture)
            }
        };
        judged.push(ended);
        for (invariant, verdict, picture) in judged {
            let finding = findings
                .entry(invariant)
                .or_insert_with(|| Finding::new(invariant, Verdict::NotClaimed, 0, 0));
            if finding.verdict.is_broken() {
                continue;
            }
            let before = std::mem::replace(&mut finding.verdict, Verdict::NotClaimed);
            finding.verdict = before.merge(verdict);
            (finding.cases, finding.events) = (case + 1, events);
            finding.failure = picture.map(|picture| Failure {
                case,
                seed: budget.seed,
                plan: None,
                steps_before: ITEMS,
                steps_after: ITEMS,
                picture,
                replay: None,
            });
        }
    }
    Report { findings: findings.into_values().collect(), lies }
}

/// How one round is set up.
#[derive(Clone, Copy, Debug)]
struct Setting {
    producers: usize,
    consumers: usize,
    capacity: usize,
    /// Counters wrap in the middle of the round.
    wrap: bool,
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} x {}, capacity {}", self.producers, self.consumers, self.capacity)?;
        if self.wrap { f.write_str(", counters near their maximum") } else { Ok(()) }
    }
}

/// Every shape that the contract admits, with each capacity.
fn settings(contract: &BufferContract) -> Vec<Setting> {
    let shapes = [(1, 1), (2, 1), (1, 2), (2, 2), (4, 4)];
    let mut settings = Vec::new();
    for wrap in [false, true] {
        if wrap && !contract.counters {
            continue;
        }
        for capacity in [1, 2, 3, 64] {
            for (producers, consumers) in shapes {
                let shape = Shape::new(producers, consumers, capacity);
                if shape.admitted_by(contract).is_ok() {
                    settings.push(Setting { producers, consumers, capacity, wrap });
                }
            }
        }
    }
    settings
}

/// Something that is wrong and not a matter of histories.
#[derive(Debug)]
struct Fault {
    invariant: Invariant,
    sentence: String,
}

impl Fault {
    fn of<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
        quietly(|| catch_unwind(AssertUnwindSafe(work))).unwrap_or_else(|panic| {
            let sentence = format!("A thread was stopped by a panic: {:?}.", text_of(&*panic));
            Err(Fault { invariant: Invariant::Li1, sentence })
        })
    }
}

struct Outcome {
    /// `None`: the buffer did not open.
    history: Option<BufferHistory>,
    fault: Option<Fault>,
}

/// How many tries a thread has per item of the round before it gives up.
const PATIENCE: usize = 20;

fn round<B: Buffer, const WORDS: usize>(setting: &Setting, items: usize, mut dice: Dice) -> Outcome {
    let start = if setting.wrap { usize::MAX - items / 2 } else { 0 };
    let shape = Shape::new(setting.producers, setting.consumers, setting.capacity).starting_at(start);
    let Ends { producers, consumers } = match calling(Call::Open, || B::open::<Item<WORDS>>(shape)) {
        Ok(ends) => ends,
        Err(error) => {
            let sentence = format!("It did not open in a shape that its contract admits: {error}");
            return Outcome { history: None, fault: Some(Fault { invariant: Invariant::Li1, sentence }) };
        }
    };
    let crew = Crew::of_this_thread();
    let stamps = Counter::default();
    let quota = items / setting.producers;
    let barrier = Barrier::new(setting.producers + setting.consumers);
    let working = AtomicUsize::new(setting.producers);
    let (producers, consumers) = thread::scope(|scope| {
        let producers: Vec<_> = producers
            .into_iter()
            .enumerate()
            .map(|(number, end)| {
                let mut recorded = RecordedProducer::<_, _, WORDS>::new(end, number, &stamps, 2 * quota);
                let mut dice = dice.split();
                let (crew, barrier, working) = (&crew, &barrier, &working);
                scope.spawn(move || {
                    crew.enter();
                    barrier.wait();
                    let result = Fault::of(|| produce(&mut recorded, quota, &mut dice));
                    working.fetch_sub(1, Ordering::SeqCst);
                    (recorded, result)
                })
            })
            .collect();
        let consumers: Vec<_> = consumers
            .into_iter()
            .map(|end| {
                let mut recorded = RecordedConsumer::<_, _, WORDS>::new(end, &stamps, 2 * items);
                let mut dice = dice.split();
                let (crew, barrier, working) = (&crew, &barrier, &working);
                scope.spawn(move || {
                    crew.enter();
                    barrier.wait();
                    let result = Fault::of(|| consume(&mut recorded, PATIENCE * items, working, &mut dice));
                    (recorded, result)
                })
            })
            .collect();
        let join = "a worker catches the panics of the buffer and has none of its own";
        let producers: Vec<_> = producers.into_iter().map(|thread| thread.join().expect(join)).collect();
        let consumers: Vec<_> = consumers.into_iter().map(|thread| thread.join().expect(join)).collect();
        (producers, consumers)
    });
    let (mut producers, produced): (Vec<_>, Vec<_>) = producers.into_iter().unzip();
    let (mut consumers, consumed): (Vec<_>, Vec<_>) = consumers.into_iter().unzip();
    let mut fault = produced.into_iter().chain(consumed).find_map(Result::err);
    let mut drained = false;
    // After a panic inside it a buffer may wait for itself for ever.
    if fault.is_none() {
        let limit = 4 * items + 1000;
        let room = if B::CONTRACT.bounded { setting.capacity + 1 } else { 8 };
        let after = Fault::of(|| {
            if drain(&mut consumers, limit) {
                for _ in 0..room {
                    calling(Call::Push, || producers[0].push());
                }
                drained = drain(&mut consumers, limit);
            }
            Ok(())
        });
        fault = after.err();
    }
    let history = BufferHistory {
        contract: B::CONTRACT,
        capacity: setting.capacity,
        producers: producers.into_iter().map(RecordedProducer::finish).collect(),
        consumers: consumers.into_iter().map(RecordedConsumer::finish).collect(),
        drained,
    };
    Outcome { history: Some(history), fault }
}

/// Offers `quota` items, one by one and in bursts; gives up some that are refused.
fn produce<P: Push<Item<WORDS>>, S: Stamps, const WORDS: usize>(
    end: &mut RecordedProducer<'_, P, S, WORDS>,
    quota: usize,
    dice: &mut Dice,
) -> Result<(), Fault> {
    let mut attempts = PATIENCE * quota;
    while end.settled() < quota && attempts > 0 {
        attempts -= 1;
        let accepted = if dice.below(4) == 0 {
            calling(Call::PushMany, || end.push_many(1 + dice.below(7)))
                .map_err(|miscounted| Fault { invariant: Invariant::Cb3, sentence: miscounted.0 })?
        } else {
            calling(Call::Push, || end.push())
        };
        if !accepted {
            if dice.below(32) == 0 {
                end.abandon();
            }
            thread::yield_now();
        }
    }
    Ok(())
}

/// Pops, one by one and in bursts, until the producers have stopped and nothing is left.
fn consume<C: Pop<Item<WORDS>>, S: Stamps, const WORDS: usize>(
    end: &mut RecordedConsumer<'_, C, S, WORDS>,
    mut attempts: usize,
    working: &AtomicUsize,
    dice: &mut Dice,
) -> Result<(), Fault> {
    while attempts > 0 {
        attempts -= 1;
        let last = working.load(Ordering::SeqCst) == 0;
        let popped = calling(Call::Pop, || {
            if dice.below(4) == 0 { end.pop_many(1 + dice.below(7)) > 0 } else { end.pop() }
        });
        if !popped {
            if last {
                break;
            }
            thread::yield_now();
        }
    }
    Ok(())
}

/// How often each consumer must answer "empty" before it is believed that nothing is left: a false answer is
/// not a loss.
const QUIET_PASSES: u32 = 3;

/// Pops until every consumer answers "empty" in turn; `false`: more comes out than can be inside.
fn drain<C: Pop<Item<WORDS>>, S: Stamps, const WORDS: usize>(
    consumers: &mut [RecordedConsumer<'_, C, S, WORDS>],
    mut limit: usize,
) -> bool {
    let mut quiet_passes = 0;
    while quiet_passes < QUIET_PASSES {
        quiet_passes += 1;
        for end in consumers.iter_mut() {
            while calling(Call::Pop, || end.pop()) {
                quiet_passes = 0;
                limit -= 1;
                if limit == 0 {
                    return false;
                }
            }
        }
    }
    true
}

/// Cheap numbers between operations: xorshift64 (Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Dice {
        // Any odd constant; the state must not be zero.
        Dice(seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 32) as usize % bound
    }

    fn split(&mut self) -> Dice {
        Dice::new(self.next())
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

    #[test]
    fn a_lock_free_ring_and_a_channel_keep_what_they_promise() {
        is_right::<Ring>();
        is_right::<TokioChannel>();
    }
}
