//! What recording a buffer costs, whether its stamps are sound, and how long ten million operations take to
//! record and to judge: `cargo run --release --example recorder_cost [OPERATIONS]`.
//!
//! Ends with an error if a buffer that is right was blamed, or if what it did could not be decided.

use std::hint::{black_box, spin_loop};
use std::process::ExitCode;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use stanchion::buffers::{
    ArrayQueue, CrossbeamChannel, MutexDeque, Ring, SegQueue, StdSyncChannel, TokioChannel,
};
use stanchion::contract::{BufferContract, Sides};
use stanchion::properties::buffer_history::token;
use stanchion::properties::checkers_buffer;
use stanchion::properties::engines::budget::Budget;
use stanchion::properties::engines::recorder::{Item, Pace, RecordedConsumer, RecordedProducer};
use stanchion::properties::engines::round::{self, Round};
use stanchion::properties::engines::stamps::{Clock, Counter, Stamps};
#[cfg(target_arch = "x86_64")]
use stanchion::properties::engines::stamps::{Fenced, Unfenced};
use stanchion::properties::engines::threads::{self, Report};
use stanchion::properties::invariant::Invariant;
use stanchion::properties::verdict::Verdict;
use stanchion::{Buffer, Ends, Full, Opened, Pop, Push, Shape};

const OPERATIONS: usize = 10_000_000;
/// Items of one measurement.
const ITEMS: usize = 300_000;
const ROUNDS: usize = 15;

fn main() -> ExitCode {
    let operations = match std::env::args().nth(1).map(|text| text.parse()) {
        None => OPERATIONS,
        Some(Ok(operations)) => operations,
        Some(Err(error)) => {
            eprintln!("the number of operations makes no sense ({error}): give one, as in 10000000");
            return ExitCode::from(2);
        }
    };
    println!("clock: {}", Clock::detect());
    costs();
    let sound = default_budget() & alarm_is_live(operations) & record_and_judge(operations);
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One way of recording, or none: measures with it on one thread, and on two.
type Way = (&'static str, fn() -> f64, fn() -> f64);

/// Interleaved rounds: the machine's mood meets all alike.
fn costs() {
    let mut ways: Vec<Way> = vec![("bare", bare_alone, bare_in_pairs)];
    ways.push((
        "counter, two an operation",
        || alone(Counter::default(), Pace::Apart),
        || in_pairs(Counter::default(), Pace::Apart),
    ));
    #[cfg(target_arch = "x86_64")]
    ways.extend([
        (
            "fenced, two an operation",
            (|| alone(Fenced, Pace::Apart)) as fn() -> f64,
            (|| in_pairs(Fenced, Pace::Apart)) as fn() -> f64,
        ),
        (
            "fenced, one an operation",
            || alone(Fenced, Pace::Chained(1)),
            || in_pairs(Fenced, Pace::Chained(1)),
        ),
        ("fenced, one every 8", || alone(Fenced, Pace::Chained(8)), || in_pairs(Fenced, Pace::Chained(8))),
    ]);
    let mut times = vec![(Vec::new(), Vec::new()); ways.len()];
    for _ in 0..ROUNDS {
        for ((_, alone, in_pairs), (one, two)) in ways.iter().zip(&mut times) {
            one.push(alone());
            two.push(in_pairs());
        }
    }
    println!(
        "ring of 1024, {ITEMS} items, medians of {ROUNDS} interleaved rounds, ns:\n  {:<28}{:>22}{:>24}",
        "ticks", "one thread, operation", "1 x 1 threads, item"
    );
    let medians = times.into_iter().map(|(one, two)| (median(one), median(two)));
    let mut bare = None;
    for ((name, ..), (one, two)) in ways.iter().zip(medians) {
        let (bare_one, bare_two) = *bare.get_or_insert((one, two));
        println!("  {name:<28}{one:>12.1} ({:>+6.1}){two:>15.1} ({:>+6.1})", one - bare_one, two - bare_two);
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn open() -> (impl Push<Item<1>>, impl Pop<Item<1>>) {
    let Ends { mut producers, mut consumers } =
        Ring::open::<Item<1>>(Shape::new(1, 1, 1024)).expect("an ordinary shape");
    (producers.remove(0), consumers.remove(0))
}

/// Nanoseconds per operation of one thread that pushes and pops in turn.
fn bare_alone() -> f64 {
    let (mut producer, mut consumer) = open();
    let start = Instant::now();
    for at in 0..ITEMS {
        assert!(producer.push(Item::new(token(0, at))).is_ok());
        assert!(consumer.pop().is_some_and(|item| item.token().is_some()));
    }
    per(start.elapsed(), 2 * ITEMS)
}

fn alone(stamps: impl Stamps, pace: Pace) -> f64 {
    let (producer, consumer) = open();
    let mut producer = RecordedProducer::new(producer, 0, &stamps, pace, 2 * ITEMS + 100);
    let mut consumer = RecordedConsumer::new(consumer, &stamps, pace, 2 * ITEMS + 100);
    let start = Instant::now();
    for _ in 0..ITEMS {
        assert!(producer.push());
        assert!(consumer.pop());
    }
    let took = per(start.elapsed(), 2 * ITEMS);
    black_box((producer.finish(), consumer.finish()));
    took
}

/// Nanoseconds per item that one thread pushes and another pops.
fn bare_in_pairs() -> f64 {
    let (mut producer, mut consumer) = open();
    pair(
        |at| {
            while producer.push(Item::new(token(0, at))).is_err() {
                spin_loop()
            }
        },
        || {
            while consumer.pop().is_none_or(|item| item.token().is_none()) {
                spin_loop()
            }
        },
    )
}

fn in_pairs(stamps: impl Stamps, pace: Pace) -> f64 {
    let (producer, consumer) = open();
    let mut producer = RecordedProducer::new(producer, 0, &stamps, pace, 8 * ITEMS);
    let mut consumer = RecordedConsumer::new(consumer, &stamps, pace, 8 * ITEMS);
    let took = pair(
        |_| {
            while !producer.push() {
                spin_loop()
            }
        },
        || {
            while !consumer.pop() {
                spin_loop()
            }
        },
    );
    black_box((producer.finish(), consumer.finish()));
    took
}

fn pair(mut push: impl FnMut(usize) + Send, mut pop: impl FnMut() + Send) -> f64 {
    let barrier = Barrier::new(2);
    let took = thread::scope(|scope| {
        let pushing = scope.spawn(|| {
            barrier.wait();
            let start = Instant::now();
            (0..ITEMS).for_each(&mut push);
            start.elapsed()
        });
        let popping = scope.spawn(|| {
            barrier.wait();
            let start = Instant::now();
            (0..ITEMS).for_each(|_| pop());
            start.elapsed()
        });
        let join = "nothing here panics";
        pushing.join().expect(join).max(popping.join().expect(join))
    });
    per(took, ITEMS)
}

fn per(time: Duration, count: usize) -> f64 {
    time.as_nanos() as f64 / count as f64
}

/// A ring of one producer and one consumer that orders nothing but by acquire and release: right, and the first
/// to look wrong when an end stamp is taken before the operation's stores are visible.
struct Rtrb;

struct Producer<T>(rtrb::Producer<T>);
struct Consumer<T>(rtrb::Consumer<T>);

impl Buffer for Rtrb {
    const CONTRACT: BufferContract =
        BufferContract { producers: Sides::One, consumers: Sides::One, ..BufferContract::FIFO };
    type Producer<T: Send + 'static> = Producer<T>;
    type Consumer<T: Send + 'static> = Consumer<T>;

    fn open<T: Send + 'static>(shape: Shape) -> Opened<Producer<T>, Consumer<T>> {
        shape.admitted_by(&Self::CONTRACT)?;
        let (producer, consumer) = rtrb::RingBuffer::new(shape.capacity);
        Ok(Ends { producers: vec![Producer(producer)], consumers: vec![Consumer(consumer)] })
    }
}

impl<T: Send> Push<T> for Producer<T> {
    fn push(&mut self, item: T) -> Result<(), Full<T>> {
        self.0.push(item).map_err(|rtrb::PushError::Full(item)| Full(item))
    }
}

impl<T: Send> Pop<T> for Consumer<T> {
    fn pop(&mut self) -> Option<T> {
        self.0.pop().ok()
    }
}

/// In how many rounds that ring was blamed, of how many operations.
fn blamed(stamps: &impl Stamps, rounds: usize, operations: usize) -> (usize, usize) {
    let (mut blamed, mut judged) = (0, 0);
    for seed in 0..rounds {
        let round = Round {
            producers: 1,
            consumers: 1,
            capacity: [64, 2, 1024, 8][seed % 4],
            wrap: false,
            items: operations / 2,
            pace: Pace::Apart,
            seed: seed as u64,
        };
        let outcome = round::run::<Rtrb, _, 1>(&round, stamps);
        let history = outcome.history.expect("an ordinary shape");
        let judgement = checkers_buffer::judge(&history);
        judged += history.len();
        blamed += usize::from(judgement.broken().next().is_some());
        for found in &judgement.counterexamples {
            println!("{round}: {found}");
        }
    }
    (blamed, judged)
}

/// Stamps without fences blame a ring that is right; ours do not.
#[cfg(target_arch = "x86_64")]
fn alarm_is_live(operations: usize) -> bool {
    let rounds = 40;
    let each = (2 * operations).div_ceil(rounds);
    let (unfenced, judged) = blamed(&Unfenced, rounds, each);
    println!("rtrb, rdtsc at both ends: blamed in {unfenced} of {rounds} rounds, {judged} operations");
    let (fenced, judged) = blamed(&Fenced, rounds, each);
    println!("rtrb, fenced stamps: blamed in {fenced} of {rounds} rounds, {judged} operations");
    fenced == 0
}

#[cfg(not(target_arch = "x86_64"))]
fn alarm_is_live(_: usize) -> bool {
    println!("no time stamps here, so none to compare");
    true
}

/// What `cargo test` judges of each buffer.
fn default_budget() -> bool {
    println!("the threads engine in its default budget:");
    judged_by_default::<Ring>("ring")
        & judged_by_default::<MutexDeque>("mutex_deque")
        & judged_by_default::<TokioChannel>("tokio_channel")
        & judged_by_default::<ArrayQueue>("crossbeam_array_queue")
        & judged_by_default::<SegQueue>("crossbeam_seg_queue")
        & judged_by_default::<CrossbeamChannel>("crossbeam_channel")
        & judged_by_default::<StdSyncChannel>("std_sync_channel")
}

fn judged_by_default<B: Buffer>(name: &str) -> bool {
    let start = Instant::now();
    let report = threads::observe::<B>(&Budget::quick());
    let Report { rounds, operations, cut_short, hard, undecided, lies, .. } = &report;
    println!(
        "  {name:<24}{rounds} rounds, {operations:>9} operations in {:.2} s; {cut_short} rounds cut short by full \
         logs; {hard} took the utmost effort, {undecided} of them undecided; excused: {} \"empty\", {} \"full\"",
        start.elapsed().as_secs_f64(),
        lies.excused_empties,
        lies.excused_fulls
    );
    for failure in report.findings.iter().filter_map(|finding| finding.failure.as_ref()) {
        println!("{name} was blamed:\n{}", failure.picture);
    }
    report.findings.iter().fold(true, |sound, finding| {
        sound & !finding.verdict.is_broken() & decided(name, finding.invariant, &finding.verdict)
    })
}

/// Says what could not be decided, if it could not.
fn decided(name: &str, invariant: Invariant, verdict: &Verdict) -> bool {
    let Verdict::Unknown(why) = verdict else { return true };
    println!("{name}, {invariant}: undecided: {why}");
    false
}

fn record_and_judge(operations: usize) -> bool {
    println!("{operations} operations and more, recorded and judged as one history:");
    [(1, 1), (2, 2)].into_iter().fold(true, |sound, (producers, consumers)| {
        sound
            & whole::<Ring>("ring", producers, consumers, operations)
            & whole::<ArrayQueue>("crossbeam_array_queue", producers, consumers, operations)
            & whole::<MutexDeque>("mutex_deque", producers, consumers, operations)
            & whole::<SegQueue>("crossbeam_seg_queue", producers, consumers, operations)
    })
}

fn whole<B: Buffer>(name: &str, producers: usize, consumers: usize, operations: usize) -> bool {
    let (capacity, items) = (1024, operations / 2);
    let pace = Pace::Chained(1);
    let round = Round { producers, consumers, capacity, wrap: false, items, pace, seed: 1 };
    let start = Instant::now();
    let outcome = round::run::<B, _, 1>(&round, &Clock::detect());
    let recording = start.elapsed();
    let history = outcome.history.expect("an ordinary shape");
    let start = Instant::now();
    let judgement = checkers_buffer::judge(&history);
    let judging = start.elapsed();
    let rate = |time: Duration| history.len() as f64 / time.as_secs_f64() / 1e6;
    println!(
        "  {name:<24}{producers} x {consumers} {:>10} operations, recorded in {:>5.2} s ({:>5.1} M/s), judged in \
         {:>5.2} s ({:>5.1} M/s){}",
        history.len(),
        recording.as_secs_f64(),
        rate(recording),
        judging.as_secs_f64(),
        rate(judging),
        if outcome.cut_short { ", cut short by a full log" } else { "" },
    );
    for found in &judgement.counterexamples {
        println!("{name} was blamed:\n{found}");
    }
    judgement.verdicts.iter().fold(judgement.counterexamples.is_empty(), |sound, (invariant, verdict)| {
        sound & decided(name, *invariant, verdict)
    })
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    /// Says too how often stamps without fences blame it, which is a matter of luck in a run as short as this.
    #[test]
    fn fenced_stamps_do_not_blame_what_is_right() {
        if Clock::detect().is_counter() {
            println!("{}", Clock::detect());
            return;
        }
        let (rounds, each) = (8, 100_000);
        println!("unfenced: blamed in {:?} (rounds, operations)", blamed(&Unfenced, rounds, each));
        let (blamed, operations) = blamed(&Fenced, rounds, each);
        assert_eq!(blamed, 0, "of {rounds} rounds with {operations} operations");
        assert!(judged_by_default::<Rtrb>("rtrb"), "blamed, see above");
    }
}
