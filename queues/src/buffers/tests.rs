//! What every buffer must do, and the proof that these checks notice one that does not.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::opening::ends;
use super::*;
use crate::buffer::{Buffer, Full, Opened, Pop, Push, Shape, ShapeError};
use crate::contract::{BufferContract, Order, Sides};

/// Miri takes a few thousand times as long as the processor, and looks at every access instead of at many.
const MIRI: bool = cfg!(miri);

const CAPACITIES: &[usize] = if MIRI { &[1, 3] } else { &[1, 2, 3, 5, 8] };

#[derive(Clone, Debug)]
enum Op {
    Push,
    Pop,
    PushMany(usize),
    PopMany(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        Just(Op::Push),
        Just(Op::Pop),
        (0..12_usize).prop_map(Op::PushMany),
        (1..12_usize).prop_map(Op::PopMany),
    ];
    proptest::collection::vec(op, 0..80)
}

/// The operations, by each end of a side in turn, give what a deque gives.
fn agrees_with_model<B: Buffer>(shape: Shape, ops: &[Op]) -> Result<(), String> {
    let mut ends = B::open::<u64>(shape).map_err(|error| error.to_string())?;
    let most = if B::CONTRACT.bounded { shape.capacity } else { usize::MAX };
    let mut model = VecDeque::new();
    let mut sent = 0..;
    for (at, op) in ops.iter().enumerate() {
        let producer = &mut ends.producers[at % shape.producers];
        let consumer = &mut ends.consumers[at % shape.consumers];
        let check =
            |holds: bool| if holds { Ok(()) } else { Err(format!("step {at}, {op:?}: not as the model")) };
        match *op {
            Op::Push => {
                let item = sent.next().unwrap_or_default();
                if model.len() < most {
                    model.push_back(item);
                    check(producer.push(item) == Ok(()))?;
                } else {
                    check(producer.push(item) == Err(Full(item)))?;
                }
            }
            Op::Pop => check(consumer.pop() == model.pop_front())?,
            Op::PushMany(many) => {
                let mut items: VecDeque<u64> = sent.by_ref().take(many).collect();
                let fitting = many.min(most - model.len());
                let rest = items.iter().copied().skip(fitting).collect::<VecDeque<u64>>();
                model.extend(items.iter().take(fitting));
                check(producer.push_many(&mut items) == fitting && items == rest)?;
            }
            Op::PopMany(max) => {
                let expected: Vec<u64> = model.drain(..max.min(model.len())).collect();
                // What is in the vector stays there.
                let mut popped = vec![u64::MAX];
                check(consumer.pop_many(&mut popped, max) == expected.len())?;
                check(popped[0] == u64::MAX && popped[1..] == expected)?;
            }
        }
    }
    Ok(())
}

fn model_at<B: Buffer>(starts: &[usize]) {
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        cases: if MIRI { 2 } else { 64 },
        ..Config::default()
    });
    for &capacity in CAPACITIES {
        for &start in starts {
            for (producers, consumers) in shapes(&B::CONTRACT) {
                let shape = Shape::new(producers, consumers, capacity).starting_at(start);
                runner
                    .run(&ops(), |ops| agrees_with_model::<B>(shape, &ops).map_err(TestCaseError::fail))
                    .unwrap_or_else(|failure| panic!("{shape:?}: {failure}"));
            }
        }
    }
}

/// One or two ends on each side, where the contract admits them.
fn shapes(contract: &BufferContract) -> impl Iterator<Item = (usize, usize)> {
    let most = [contract.producers, contract.consumers].map(|sides| if sides == Sides::Many { 2 } else { 1 });
    (1..=most[0]).flat_map(move |producers| (1..=most[1]).map(move |consumers| (producers, consumers)))
}

/// Everything that threads push, one by one and in batches, arrives once and in the declared order, in every
/// shape with one or two ends on a side.
fn conserves<B: Buffer>(capacity: usize, start: usize) -> Result<(), String> {
    for (producers, consumers) in shapes(&B::CONTRACT) {
        for batch in [1, 3, 2 * capacity] {
            let shape = Shape::new(producers, consumers, capacity).starting_at(start);
            conserves_in::<B>(shape, batch)
                .map_err(|broken| format!("{shape:?}, batches of {batch}: {broken}"))?;
        }
    }
    Ok(())
}

fn conserves_in<B: Buffer>(shape: Shape, batch: usize) -> Result<(), String> {
    const EACH: usize = if MIRI { 12 } else { 2_000 };
    let ends = B::open::<(usize, usize)>(shape).map_err(|error| error.to_string())?;
    let total = EACH * shape.producers;
    let taken = AtomicUsize::new(0);
    let seen: Vec<Vec<(usize, usize)>> = thread::scope(|scope| {
        for (name, mut producer) in ends.producers.into_iter().enumerate() {
            scope.spawn(move || {
                let mut numbers = (0..EACH).map(|number| (name, number));
                let mut items = VecDeque::new();
                loop {
                    items.extend(numbers.by_ref().take(batch - items.len()));
                    let offered = items.len();
                    let pushed = match (batch, items.pop_front()) {
                        (_, None) => break,
                        (1, Some(item)) => match producer.push(item) {
                            Ok(()) => 1,
                            Err(Full(back)) => {
                                items.push_front(back);
                                0
                            }
                        },
                        (_, Some(item)) => {
                            items.push_front(item);
                            producer.push_many(&mut items)
                        }
                    };
                    assert_eq!(items.len(), offered - pushed);
                    if pushed == 0 {
                        thread::yield_now();
                    }
                }
            });
        }
        let consumers: Vec<_> = ends
            .consumers
            .into_iter()
            .map(|mut consumer| {
                let taken = &taken;
                scope.spawn(move || {
                    let mut seen = Vec::new();
                    while taken.load(Ordering::SeqCst) < total {
                        let popped = if batch == 1 {
                            consumer.pop().map(|item| seen.push(item)).iter().count()
                        } else {
                            consumer.pop_many(&mut seen, batch)
                        };
                        taken.fetch_add(popped, Ordering::SeqCst);
                        if popped == 0 {
                            thread::yield_now();
                        }
                    }
                    seen
                })
            })
            .collect();
        consumers.into_iter().map(|consumer| consumer.join().expect("no consumer panics")).collect()
    });
    all_once(&seen, shape.producers, EACH, B::CONTRACT.order)
}

/// Whether the consumers saw `each` items of every producer once, and in the order that is declared.
fn all_once(seen: &[Vec<(usize, usize)>], producers: usize, each: usize, order: Order) -> Result<(), String> {
    if order != Order::Unordered {
        for seen in seen {
            let mut last = BTreeMap::new();
            for &(producer, number) in seen {
                if last.insert(producer, number).is_some_and(|before| before >= number) {
                    return Err(format!("producer {producer}: {number} came late"));
                }
            }
        }
    }
    let mut all: Vec<_> = seen.iter().flatten().copied().collect();
    all.sort_unstable();
    let expected: Vec<_> = (0..producers).flat_map(|name| (0..each).map(move |n| (name, n))).collect();
    if all == expected { Ok(()) } else { Err("items were lost or came twice".into()) }
}

/// Counts how often each item is dropped; panics in the destructor of those that are told to.
struct Counted {
    drops: Arc<Vec<AtomicUsize>>,
    number: usize,
    panics: bool,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.drops[self.number].fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics, "a destructor that panics on purpose");
    }
}

/// Pushes `pushed` items after `before` were pushed and popped, pops `popped`, one by one or as a batch whose half
/// is looked at, drops the ends, and says how often each item was dropped.
fn drops<B: Buffer>(
    shape: Shape,
    batch: bool,
    before: usize,
    pushed: usize,
    popped: usize,
    panics: bool,
) -> Vec<usize> {
    let drops: Arc<Vec<_>> = Arc::new((0..before + pushed).map(|_| AtomicUsize::new(0)).collect());
    let mut ends = B::open::<Counted>(shape).expect("the shape is admitted");
    let (producer, consumer) = (&mut ends.producers[0], &mut ends.consumers[0]);
    let item = |number: usize, panics| Counted { drops: Arc::clone(&drops), number, panics };
    for number in 0..before {
        assert!(producer.push(item(number, false)).is_ok());
        drop(consumer.pop());
    }
    // One of a batch: what a vector does when a second destructor panics is to end the process.
    let told = |number| panics && if batch { number == before + 1 } else { number % 2 == 0 };
    let mut items: VecDeque<_> = (before..before + pushed).map(|number| item(number, told(number))).collect();
    if batch {
        producer.push_many(&mut items);
    } else {
        while let Some(item) = items.pop_front() {
            assert!(producer.push(item).is_ok());
        }
    }
    // What did not fit is still ours.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(items)));
    if batch {
        let mut taken = Vec::new();
        consumer.pop_many(&mut taken, popped);
        let mut taken = taken.into_iter();
        let half = taken.len() / 2;
        let _ = catch_unwind(AssertUnwindSafe(|| taken.by_ref().take(half).for_each(drop)));
        let _ = catch_unwind(AssertUnwindSafe(|| drop(taken)));
    } else {
        for _ in 0..popped {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(consumer.pop())));
        }
    }
    let _ = catch_unwind(AssertUnwindSafe(|| drop(ends)));
    drops.iter().map(|count| count.load(Ordering::SeqCst)).collect()
}

fn dropped_once<B: Buffer>(panics: bool, starts: &[usize]) {
    for &capacity in CAPACITIES {
        let before = [0, capacity / 2, capacity + 1];
        for (&start, before) in starts.iter().flat_map(|start| before.map(|n| (start, n))) {
            for (producers, consumers) in shapes(&B::CONTRACT) {
                for (popped, batch) in
                    (0..=capacity).flat_map(|popped| [false, true].map(|batch| (popped, batch)))
                {
                    let shape = Shape::new(producers, consumers, capacity).starting_at(start);
                    let pushed = if batch { capacity + 2 } else { capacity };
                    let counts = drops::<B>(shape, batch, before, pushed, popped, panics);
                    assert!(counts.iter().all(|&count| count == 1), "{shape:?}, {popped} popped: {counts:?}");
                }
            }
        }
    }
}

fn refuses_what_it_cannot_hold<B: Buffer>() {
    let open =
        |producers, consumers, capacity| B::open::<u64>(Shape::new(producers, consumers, capacity)).err();
    assert_eq!(open(1, 1, 0), Some(ShapeError::NoCapacity));
    assert_eq!(open(0, 1, 1), Some(ShapeError::NoEnds { side: "producer" }));
    assert_eq!(open(1, 0, 1), Some(ShapeError::NoEnds { side: "consumer" }));
    if B::CONTRACT.consumers == Sides::One {
        assert_eq!(open(1, 2, 1), Some(ShapeError::TooManyEnds { side: "consumer", ends: 2 }));
    }
    if B::CONTRACT.bounded {
        for capacity in [usize::MAX, usize::MAX / 2 + 1, usize::MAX / 4 + 2] {
            match open(1, 1, capacity) {
                Some(ShapeError::TooLarge { capacity: asked, most }) => {
                    assert!(asked == capacity && 0 < most && most < capacity);
                }
                other => panic!("capacity {capacity}: {other:?}"),
            }
        }
    }
}

macro_rules! every_buffer {
    ($($name:ident $buffer:ty;)*) => {
        $(mod $name {
            use super::*;

            #[test]
            fn agrees_with_a_deque() {
                model_at::<$buffer>(&[0]);
            }

            #[test]
            fn conserves_items_between_threads() {
                for &capacity in if MIRI { &[1, 3][..] } else { &[1, 2, 3, 64] } {
                    conserves::<$buffer>(capacity, 0).unwrap_or_else(|broken| panic!("capacity {capacity}: {broken}"));
                }
            }

            #[test]
            fn drops_every_item_once() {
                dropped_once::<$buffer>(false, &[0]);
            }

            #[test]
            fn refuses_shapes_it_cannot_hold() {
                refuses_what_it_cannot_hold::<$buffer>();
            }
        })*
    };
}

every_buffer! {
    ring Ring;
    mutex_deque MutexDeque;
    tokio_channel TokioChannel;
    array_queue ArrayQueue;
    seg_queue SegQueue;
    crossbeam_channel CrossbeamChannel;
    std_sync_channel StdSyncChannel;
}

/// Starts from which each capacity wraps early, late and in the middle of the tests above.
const NEAR_THE_END: &[usize] = if MIRI {
    &[usize::MAX - 1]
} else {
    &[usize::MAX, usize::MAX - 1, usize::MAX - 2, usize::MAX - 7, usize::MAX - 20, usize::MAX / 2]
};

#[test]
fn ring_agrees_with_a_deque_while_its_counters_wrap() {
    model_at::<Ring>(NEAR_THE_END);
}

/// Items, of the two thousand or four that go through.
const WRAPS_AFTER: usize = if MIRI { 6 } else { 1_000 };

#[test]
fn ring_conserves_items_between_threads_while_its_counters_wrap() {
    for &capacity in if MIRI { &[1, 3][..] } else { &[1, 2, 3, 5] } {
        conserves::<Ring>(capacity, usize::MAX - WRAPS_AFTER)
            .unwrap_or_else(|broken| panic!("capacity {capacity}: {broken}"));
    }
}

#[test]
fn ring_drops_every_item_once_while_its_counters_wrap() {
    dropped_once::<Ring>(false, NEAR_THE_END);
}

#[test]
fn ring_drops_every_item_once_even_if_destructors_panic() {
    dropped_once::<Ring>(true, if MIRI { &[usize::MAX - 1] } else { &[0, usize::MAX - 3] });
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no allocator that refuses")]
fn ring_names_the_capacity_that_was_asked_for() {
    // More than there is memory for, and no power of two: the slots would be more.
    let capacity = usize::MAX / 16 - 2;
    let refused = Ring::open::<u64>(Shape::new(1, 1, capacity)).err();
    assert!(
        matches!(refused, Some(ShapeError::TooLarge { capacity: asked, most }) if asked == capacity && most < capacity),
        "{refused:?}"
    );
}

#[test]
fn ring_goes_on_with_the_panic_of_a_destructor() {
    let mut ends = Ring::open::<Counted>(Shape::new(1, 1, 2)).expect("the shape is admitted");
    let drops = Arc::new(vec![AtomicUsize::new(0)]);
    assert!(ends.producers[0].push(Counted { drops, number: 0, panics: true }).is_ok());
    assert!(catch_unwind(AssertUnwindSafe(|| drop(ends))).is_err());
}

/// Wrong on purpose: hands out the newest item, and loses every hundredth.
struct Wrong;

struct WrongEnd<T> {
    items: Arc<std::sync::Mutex<Vec<T>>>,
    pushes: usize,
}

impl Buffer for Wrong {
    const CONTRACT: BufferContract = BufferContract::FIFO;
    type Producer<T: Send + 'static> = WrongEnd<T>;
    type Consumer<T: Send + 'static> = WrongEnd<T>;

    fn open<T: Send + 'static>(shape: Shape) -> Opened<WrongEnd<T>, WrongEnd<T>> {
        let items = Arc::default();
        let end = || WrongEnd { items: Arc::clone(&items), pushes: 0 };
        Ok(ends(shape, end, end))
    }
}

impl<T: Send> Push<T> for WrongEnd<T> {
    fn push(&mut self, item: T) -> Result<(), Full<T>> {
        self.pushes += 1;
        let mut items = self.items.lock().expect("no test panics under the lock");
        if self.pushes.is_multiple_of(100) {
            // Dropping neither here nor later is what a lost destructor looks like.
            std::mem::forget(item);
        } else {
            items.push(item);
        }
        Ok(())
    }
}

impl<T: Send> Pop<T> for WrongEnd<T> {
    fn pop(&mut self) -> Option<T> {
        self.items.lock().expect("no test panics under the lock").pop()
    }
}

#[test]
fn the_model_notices_the_wrong_order_and_a_missing_bound() {
    let shape = Shape::new(1, 1, 2);
    assert!(agrees_with_model::<Wrong>(shape, &[Op::PushMany(2), Op::Pop]).is_err());
    assert!(agrees_with_model::<Wrong>(shape, &[Op::PushMany(3)]).is_err());
}

#[test]
fn the_conservation_check_notices_loss_repetition_and_disorder() {
    let check = |seen: &[Vec<(usize, usize)>], order| all_once(seen, 2, 2, order).is_ok();
    let right = [vec![(0, 0), (1, 1)], vec![(1, 0), (0, 1)]];
    assert!(check(&right, Order::PerProducer));
    assert!(!check(&right[..1], Order::Unordered));
    assert!(!check(&[right.concat(), vec![(0, 0)]], Order::Unordered));
    let late = [vec![(0, 1), (0, 0)], vec![(1, 0), (1, 1)]];
    assert!(check(&late, Order::Unordered) && !check(&late, Order::Fifo));
}

#[test]
fn the_drop_count_notices_a_lost_destructor() {
    let counts = drops::<Wrong>(Shape::new(1, 1, 200), false, 0, 200, 0, false);
    assert_eq!(counts.iter().filter(|&&count| count == 0).count(), 2);
}
