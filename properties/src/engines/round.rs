//! One round: threads drive a buffer and write down what they do, one thread cleans up, and the logs become a
//! history.
//!
//! Nobody waits for "everything received", which a lossy buffer would never grant: threads stop when their logs
//! are full, and give way the longer the more often they are refused, so that logs seldom are. Then one thread
//! drains the buffer, fills it to the brim and drains it again; with nobody else there, no false answer has an
//! excuse.
//!
//! A buffer that panics is reported, and so is one whose call never returns.

use std::fmt;
use std::hint;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use stanchion_queues::{Answer, Buffer, Ends, Pop, Push, Shape};

use crate::buffer_history::BufferHistory;
use crate::dice::Dice;
use crate::invariant::Invariant;

use super::recorder::{Item, Miscounted, Pace, RecordedConsumer, RecordedProducer};
use super::sequential::quietly;
use super::stamps::Stamps;
use super::watchdog::{Call, Crew, calling, panic_in_words};

/// How one round is set up.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Threads that push.
    pub producers: usize,
    /// Threads that pop.
    pub consumers: usize,
    /// How many items fit.
    pub capacity: usize,
    /// Counters wrap in the middle of the round, where the buffer has some.
    pub wrap: bool,
    /// How many items are offered, by all producers together.
    pub items: usize,
    /// How many ticks are taken.
    pub pace: Pace,
    /// Decides what each thread does next, and so does the machine.
    pub seed: u64,
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Round { producers, consumers, capacity, items, .. } = self;
        write!(f, "{producers} x {consumers}, capacity {capacity}, {items} items")?;
        match self.pace {
            Pace::Apart => {}
            Pace::Chained(1) => f.write_str(", one tick an operation")?,
            Pace::Chained(every) => write!(f, ", one tick every {every} operations")?,
        }
        if self.wrap { f.write_str(", counters near their maximum") } else { Ok(()) }
    }
}

/// Something that is wrong and not a matter of histories.
#[derive(Debug)]
pub struct Fault {
    /// What it breaks.
    pub invariant: Invariant,
    /// What happened.
    pub sentence: String,
}

impl Fault {
    fn of<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
        quietly(|| catch_unwind(AssertUnwindSafe(work))).unwrap_or_else(|panic| {
            let sentence = format!("A thread was stopped by a panic{}.", panic_in_words(&*panic));
            Err(Fault { invariant: Invariant::Li1, sentence })
        })
    }
}

/// What came of a round.
pub struct Outcome {
    /// `None`: the buffer did not open.
    pub history: Option<BufferHistory>,
    /// What else was wrong.
    pub fault: Option<Fault>,
    /// Some thread stopped before its work was done, because its log was full.
    pub cut_short: bool,
    /// A tick was below the one before it in the same thread: the clock is not sound.
    pub clock_went_back: bool,
}

/// Says that a buffer did not open as it was asked to.
pub(super) fn other_ends<P, C>(ends: &Ends<P, C>, shape: &Shape) -> String {
    let Shape { producers, consumers, .. } = shape;
    format!(
        "It opened with {} producers and {} consumers, and was asked for {producers} and {consumers}.",
        ends.producers.len(),
        ends.consumers.len()
    )
}

/// How many operations of a thread find room in its log, per item that it is concerned with.
const PATIENCE: usize = 4;

/// Runs one round.
pub fn run<B: Buffer, S: Stamps, const WORDS: usize>(round: &Round, stamps: &S) -> Outcome {
    let mut dice = Dice::new(round.seed);
    let start = if round.wrap { usize::MAX - round.items / 2 } else { 0 };
    let shape = Shape::new(round.producers, round.consumers, round.capacity).starting_at(start);
    let Ends { producers, consumers } = match calling(Call::Open, || B::open::<Item<WORDS>>(shape)) {
        Ok(ends) if ends.are_of(&shape) => ends,
        wrong => {
            let sentence = match wrong {
                Ok(ends) => other_ends(&ends, &shape),
                Err(error) => format!("It did not open in a shape that its contract admits: {error}"),
            };
            let fault = Some(Fault { invariant: Invariant::Li1, sentence });
            return Outcome { history: None, fault, cut_short: false, clock_went_back: false };
        }
    };
    let crew = Crew::of_this_thread();
    let quota = round.items.div_ceil(round.producers);
    let entries = if round.pace == Pace::Apart { 2 } else { 1 };
    let room = |items: usize| entries * PATIENCE * (items + 100);
    let barrier = Barrier::new(round.producers + round.consumers);
    let working = AtomicUsize::new(round.producers);
    let (producers, consumers) = thread::scope(|scope| {
        let producers: Vec<_> = producers
            .into_iter()
            .enumerate()
            .map(|(number, end)| {
                let mut recorded =
                    RecordedProducer::<_, _, WORDS>::new(end, number, stamps, round.pace, room(quota));
                let mut worker = Worker::new(dice.split(), round);
                let (crew, barrier, working) = (&crew, &barrier, &working);
                scope.spawn(move || {
                    crew.enter();
                    barrier.wait();
                    let result = Fault::of(|| worker.produce(&mut recorded, quota));
                    working.fetch_sub(1, Ordering::SeqCst);
                    (recorded, result)
                })
            })
            .collect();
        let consumers: Vec<_> = consumers
            .into_iter()
            .map(|end| {
                let mut recorded =
                    RecordedConsumer::<_, _, WORDS>::new(end, stamps, round.pace, room(round.items));
                let mut worker = Worker::new(dice.split(), round);
                let (crew, barrier, working) = (&crew, &barrier, &working);
                scope.spawn(move || {
                    crew.enter();
                    barrier.wait();
                    let result = Fault::of(|| worker.consume(&mut recorded, working));
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
    let cut_short = !producers.iter().all(RecordedProducer::has_room)
        || !consumers.iter().all(RecordedConsumer::has_room);
    let mut fault = produced.into_iter().chain(consumed).find_map(Result::err);
    let mut drained = false;
    // After a panic inside it a buffer may wait for itself for ever.
    if fault.is_none() {
        let limit = 4 * round.items + 1000;
        let brim = if B::CONTRACT.bounded { round.capacity + 1 } else { 8 };
        let after = Fault::of(|| {
            if drain(&mut consumers, limit, B::CONTRACT.empty) {
                for _ in 0..brim {
                    calling(Call::Push, || producers[0].push());
                }
                drained = drain(&mut consumers, limit, B::CONTRACT.empty);
            }
            Ok(())
        });
        fault = after.err();
    }
    let clock_went_back = producers.iter().any(RecordedProducer::clock_went_back)
        || consumers.iter().any(RecordedConsumer::clock_went_back);
    let history = BufferHistory {
        contract: B::CONTRACT,
        capacity: round.capacity,
        producers: producers.into_iter().map(RecordedProducer::finish).collect(),
        consumers: consumers.into_iter().map(RecordedConsumer::finish).collect(),
        drained,
    };
    Outcome { history: Some(history), fault, cut_short, clock_went_back }
}

/// How often each consumer must answer "empty" before it is believed that nothing is left: a false answer is
/// not a loss.
const QUIET_PASSES: usize = 3;

/// Pops until every consumer answers "empty" in turn; `false`: more comes out than can be inside.
fn drain<C: Pop<Item<WORDS>>, S: Stamps, const WORDS: usize>(
    consumers: &mut [RecordedConsumer<'_, C, S, WORDS>],
    mut limit: usize,
    empty: Answer,
) -> bool {
    let needed = if empty == Answer::Unreliable { Answer::PATIENCE } else { QUIET_PASSES };
    let mut quiet_passes = 0;
    while quiet_passes < needed {
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

/// The habits of one thread, different in each round.
struct Worker {
    dice: Dice,
    /// Of four operations so many move several items.
    batches: u64,
    /// The most items in one of them.
    largest: usize,
    /// Gives way after one of so many operations.
    restless: Option<u64>,
    /// Asks again so often after a refusal before it gives way.
    stubborn: u32,
    refused: u32,
}

impl Worker {
    fn new(mut dice: Dice, round: &Round) -> Worker {
        let batches = dice.pick(&[0, 1, 1, 3]);
        // The items of a batch share its window, and so do operations that share ticks: more of both at once, and
        // the search for an order would not end. Beyond the smaller capacities in any case.
        let largest = if matches!(round.pace, Pace::Chained(2..)) { 1 } else { dice.pick(&[3, 9]) };
        let restless = dice.pick(&[None, None, Some(64), Some(8)]);
        let stubborn = dice.pick(&[0, 0, 8, 64]);
        Worker { dice, batches, largest, restless, stubborn, refused: 0 }
    }

    fn moves_many(&mut self) -> Option<usize> {
        (self.dice.below(4) < self.batches).then(|| 1 + self.dice.below(self.largest as u64) as usize)
    }

    /// What to do between two operations, the last of which went through or was refused.
    fn rest(&mut self, went_through: bool, pause: impl FnOnce()) {
        if went_through {
            self.refused = 0;
            if self.restless.is_some_and(|one_of| self.dice.one_in(one_of)) {
                pause();
                thread::yield_now();
            }
            return;
        }
        self.refused += 1;
        if self.refused <= self.stubborn {
            hint::spin_loop();
            return;
        }
        pause();
        for _ in 0..1 << (self.refused - self.stubborn).min(6) {
            thread::yield_now();
        }
    }

    /// Offers `quota` items, one by one and in bursts; gives up some that are refused.
    fn produce<P: Push<Item<WORDS>>, S: Stamps, const WORDS: usize>(
        &mut self,
        end: &mut RecordedProducer<'_, P, S, WORDS>,
        quota: usize,
    ) -> Result<(), Fault> {
        while end.settled() < quota && end.has_room() {
            let accepted = match self.moves_many() {
                Some(count) => {
                    calling(Call::PushMany, || end.push_many(count)).map_err(|Miscounted(sentence)| {
                        // What is neither in nor left.
                        Fault { invariant: Invariant::Cb3, sentence }
                    })?
                }
                None => calling(Call::Push, || end.push()),
            };
            if !accepted && self.dice.one_in(32) {
                end.abandon();
            }
            self.rest(accepted, || end.pause());
        }
        Ok(())
    }

    /// Pops, one by one and in bursts, until the producers have stopped and nothing is left.
    fn consume<C: Pop<Item<WORDS>>, S: Stamps, const WORDS: usize>(
        &mut self,
        end: &mut RecordedConsumer<'_, C, S, WORDS>,
        working: &AtomicUsize,
    ) -> Result<(), Fault> {
        while end.has_room() {
            let last = working.load(Ordering::SeqCst) == 0;
            if self.dice.one_in(512) {
                calling(Call::PopMany, || end.pop_many(0)).map_err(miscounted)?;
            }
            let popped = match self.moves_many() {
                Some(max) => calling(Call::PopMany, || end.pop_many(max)).map_err(miscounted)? > 0,
                None => calling(Call::Pop, || end.pop()),
            };
            if !popped && last {
                break;
            }
            self.rest(popped, || end.pause());
        }
        Ok(())
    }
}

/// What a batch pop counted is not there, or what was there is gone.
fn miscounted(Miscounted(sentence): Miscounted) -> Fault {
    Fault { invariant: Invariant::Al1, sentence }
}
