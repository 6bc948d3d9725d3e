//! Moves items through a buffer, from the ends that push to the ends that pop, and keeps the ledger.
//!
//! Ends are made and threads pinned before the barrier. The number of items is fixed: every producer and
//! every consumer has a quota, so that no counter is shared in the measured loop. Those who wait for a side
//! that has left give up, so that a lossy buffer ends in the ledger and not in a hang.

use std::sync::Barrier;
use std::thread;

use stanchion_queues::{Buffer, Ends, Full, Order, Pop, Push};

use crate::crew::{After, Present, Waiting, pin};
use crate::ledger::{BenchLedger, Tally};
use crate::trial::{Fault, Span, Trial};
use crate::workload::{Identity, Item, ItemSize, Topology, Workload, quota};

/// Moves `items` items through a fresh buffer.
///
/// # Errors
/// The buffer does not open in this shape, it panicked, or its ledger is not clean.
pub fn run<B: Buffer>(workload: &Workload, items: u64) -> Result<Trial, Fault> {
    run_beside::<B>(workload, items, |_| ())
}

/// The same, while the controller does something else: it has no part in the timing. It is told who is
/// present.
pub(crate) fn run_beside<B: Buffer>(
    workload: &Workload,
    items: u64,
    controller: impl FnOnce([&Present; 2]),
) -> Result<Trial, Fault> {
    match workload.item {
        ItemSize::Word => run_with::<B, 1>(workload, items, controller),
        ItemSize::Line => run_with::<B, 8>(workload, items, controller),
        ItemSize::Lines => run_with::<B, 32>(workload, items, controller),
    }
}

fn run_with<B: Buffer, const WORDS: usize>(
    workload: &Workload,
    items: u64,
    controller: impl FnOnce([&Present; 2]),
) -> Result<Trial, Fault> {
    let ends = B::open::<Item<WORDS>>(workload.shape()).map_err(Fault::Shape)?;
    let ordered = B::CONTRACT.order != Order::Unordered;
    if workload.topology == Topology::Seq {
        alone(ends, items, workload.capacity as u64, ordered)
    } else {
        together(ends, items, workload.threads(), ordered, controller)
    }
}

/// What one worker leaves behind.
struct Worked<R> {
    span: Span,
    stuck: bool,
    result: R,
}

/// One thread fills the buffer and drains it in turn.
fn alone<const WORDS: usize, P: Push<Item<WORDS>>, C: Pop<Item<WORDS>>>(
    mut ends: Ends<P, C>,
    items: u64,
    capacity: u64,
    ordered: bool,
) -> Result<Trial, Fault> {
    let work = move || {
        pin(0);
        let mut tally = Tally::new(std::iter::once(items), ordered);
        let (producer, consumer) = (&mut ends.producers[0], &mut ends.consumers[0]);
        let (span, pushed) = Span::of(|| {
            let mut pushed = 0;
            while pushed < items {
                let filled = pushed + fill(producer, pushed, items.min(pushed + capacity));
                if filled == pushed {
                    break;
                }
                (pushed..filled).map_while(|_| consumer.pop()).for_each(|item| tally.enter(item.identity()));
                pushed = filled;
            }
            pushed
        });
        let late = drain(consumer, &mut tally, items);
        (span, pushed, tally, late)
    };
    let joined = thread::scope(|scope| scope.spawn(work).join());
    let (span, pushed, tally, late) = joined.map_err(|panic| Fault::panicked(panic.as_ref()))?;
    let ledger = BenchLedger { late, ..Tally::ledger(items, vec![tally], &[pushed]) };
    Trial::judge(&[span], ledger)
}

/// Pushes the items `from..to` of producer 0 until the buffer is full, and says how many went in.
#[inline]
fn fill<const WORDS: usize>(end: &mut impl Push<Item<WORDS>>, from: u64, to: u64) -> u64 {
    for sequence in from..to {
        if end.push(Item::new(Identity { producer: 0, sequence })).is_err() {
            return sequence - from;
        }
    }
    to - from
}

/// Producers and consumers, each on a thread of its own.
fn together<const WORDS: usize, P: Push<Item<WORDS>>, C: Pop<Item<WORDS>>>(
    ends: Ends<P, C>,
    items: u64,
    threads: usize,
    ordered: bool,
    controller: impl FnOnce([&Present; 2]),
) -> Result<Trial, Fault> {
    let (producers, consumers) = (ends.producers.len(), ends.consumers.len());
    let barrier = &Barrier::new(producers + consumers);
    let (pushing, popping) = (&Present::new(producers), &Present::new(consumers));
    let (pushed, popped) = thread::scope(|scope| {
        let pushers: Vec<_> = ends
            .producers
            .into_iter()
            .enumerate()
            .map(|(producer, mut end)| {
                scope.spawn(move || {
                    pin(producer);
                    let _here = pushing.stay();
                    let waiting = Waiting::new(threads, popping);
                    let quota = quota(items, producers, producer);
                    barrier.wait();
                    produce(&mut end, producer, quota, waiting)
                })
            })
            .collect();
        let poppers: Vec<_> = ends
            .consumers
            .into_iter()
            .enumerate()
            .map(|(consumer, mut end)| {
                scope.spawn(move || {
                    pin(producers + consumer);
                    let _here = popping.stay();
                    let waiting = Waiting::new(threads, pushing);
                    let expected = (0..producers).map(|producer| quota(items, producers, producer));
                    let tally = Tally::new(expected, ordered);
                    let quota = quota(items, consumers, consumer);
                    barrier.wait();
                    (consume(&mut end, quota, tally, waiting), end)
                })
            })
            .collect();
        controller([pushing, popping]);
        let pushed: Result<Vec<_>, _> = pushers.into_iter().map(|worker| worker.join()).collect();
        let popped: Result<Vec<_>, _> = poppers.into_iter().map(|worker| worker.join()).collect();
        Ok((pushed?, popped?))
    })
    .map_err(|panic: Box<dyn std::any::Any + Send>| Fault::panicked(panic.as_ref()))?;

    let spans: Vec<Span> =
        pushed.iter().map(|worked| worked.span).chain(popped.iter().map(|(worked, _)| worked.span)).collect();
    let stuck = pushed.iter().any(|worked| worked.stuck) || popped.iter().any(|(worked, _)| worked.stuck);
    let confirmed: Vec<u64> = pushed.into_iter().map(|worked| worked.result).collect();
    let mut late = 0;
    let tallies = popped
        .into_iter()
        .map(|(worked, mut end)| {
            let mut tally = worked.result;
            late += drain(&mut end, &mut tally, items);
            tally
        })
        .collect();
    Trial::judge(&spans, BenchLedger { late, stuck, ..Tally::ledger(items, tallies, &confirmed) })
}

/// Pushes `quota` items; the result says how many went in.
fn produce<const WORDS: usize>(
    end: &mut impl Push<Item<WORDS>>,
    producer: usize,
    quota: u64,
    mut waiting: Waiting<'_>,
) -> Worked<u64> {
    let mut stuck = false;
    let (span, result) = Span::of(|| {
        for sequence in 0..quota {
            let mut item = Item::new(Identity { producer, sequence });
            while let Err(Full(refused)) = end.push(item) {
                item = refused;
                match waiting.pause() {
                    After::Again => {}
                    after => {
                        stuck = after == After::Stuck;
                        return sequence;
                    }
                }
            }
            waiting.over();
        }
        quota
    });
    Worked { span, stuck, result }
}

/// Pops `quota` items into the tally.
fn consume<const WORDS: usize>(
    end: &mut impl Pop<Item<WORDS>>,
    quota: u64,
    mut tally: Tally,
    mut waiting: Waiting<'_>,
) -> Worked<Tally> {
    let mut stuck = false;
    let (span, ()) = Span::of(|| {
        for _ in 0..quota {
            let item = loop {
                if let Some(item) = end.pop() {
                    break item;
                }
                match waiting.pause() {
                    After::Again => {}
                    // What was pushed before the last producer left may have come after the look above.
                    After::Deserted => match last_looks(end) {
                        Some(item) => break item,
                        None => return,
                    },
                    After::Stuck => {
                        stuck = true;
                        return;
                    }
                }
            };
            tally.enter(item.identity());
            waiting.over();
        }
    });
    Worked { span, stuck, result: tally }
}

/// A buffer whose "empty" is relaxed may have to be asked more than once, but not for ever.
#[cold]
fn last_looks<T>(end: &mut impl Pop<T>) -> Option<T> {
    const LOOKS: usize = 100;
    (0..LOOKS).find_map(|_| {
        thread::yield_now();
        end.pop()
    })
}

/// Takes out what the workers left behind, and says how much that was. A buffer that never ends gives at most
/// `limit` and one.
fn drain<const WORDS: usize>(end: &mut impl Pop<Item<WORDS>>, tally: &mut Tally, limit: u64) -> u64 {
    let mut late = 0;
    while late <= limit
        && let Some(item) = end.pop()
    {
        tally.enter(item.identity());
        late += 1;
    }
    late
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use stanchion_queues::buffers::{ArrayQueue, MutexDeque, Ring, StdSyncChannel};

    use super::*;
    use crate::mutants::{Duplicating, Endless, Forgetful, Reordering, Torn};

    const ITEMS: u64 = 5000;

    fn small(topology: Topology, item: ItemSize) -> Workload {
        Workload { capacity: 16, ..Workload::new(topology, item) }
    }

    fn clean<B: Buffer>(topology: Topology, item: ItemSize) {
        let trial = run::<B>(&small(topology, item), ITEMS).expect("a correct buffer");
        assert_eq!(trial.ledger.counts.delivered, ITEMS);
        assert!(trial.elapsed > Duration::ZERO);
    }

    #[test]
    fn right_buffers_are_clean_in_every_shape_and_size() {
        for item in ItemSize::ALL {
            for topology in Topology::ALL {
                clean::<MutexDeque>(topology, item);
                clean::<Ring>(topology, item);
                clean::<ArrayQueue>(topology, item);
            }
            for topology in [Topology::Seq, Topology::Spsc, Topology::Mpsc] {
                clean::<StdSyncChannel>(topology, item);
            }
        }
    }

    #[test]
    fn a_few_items_are_moved_as_well_as_many() {
        for items in [0, 1, 2, 3] {
            for topology in Topology::ALL {
                let trial = run::<MutexDeque>(&small(topology, ItemSize::Word), items).expect("clean");
                assert_eq!(trial.ledger.counts.delivered, items);
            }
        }
    }

    fn fault<B: Buffer>(topology: Topology) -> BenchLedger {
        match run::<B>(&small(topology, ItemSize::Line), ITEMS) {
            Err(Fault::Unclean(ledger)) => ledger,
            other => panic!("{topology:?}: expected an unclean ledger, got {other:?}"),
        }
    }

    #[test]
    fn the_ledger_names_each_mutant_and_withholds_its_number() {
        for topology in Topology::ALL {
            assert!(fault::<Forgetful>(topology).counts.lost > 0);
            assert!(fault::<Duplicating>(topology).counts.duplicate > 0);
            assert!(fault::<Torn>(topology).counts.phantom > 0);
        }
        assert!(fault::<Reordering>(Topology::Seq).counts.out_of_order > 0);
        assert!(fault::<Endless>(Topology::Spsc).counts.duplicate > 0);
    }

    #[test]
    fn a_shape_that_the_contract_does_not_admit_is_refused() {
        let fault =
            run::<StdSyncChannel>(&small(Topology::Mpmc, ItemSize::Word), 1).expect_err("one consumer");
        assert!(matches!(fault, Fault::Shape(_)), "{fault}");
    }

    #[test]
    fn a_controller_that_dawdles_changes_nothing() {
        let workload = small(Topology::Spsc, ItemSize::Word);
        let begun = Instant::now();
        let mut done = begun;
        let trial = run_beside::<MutexDeque>(&workload, 100, |crew| {
            while !crew.into_iter().all(Present::nobody) {
                thread::yield_now();
            }
            done = Instant::now();
            // So long that a clock stopped by the controller could not show less than the workers took.
            while done.elapsed() < 2 * (done - begun) {
                thread::yield_now();
            }
        })
        .expect("clean");
        assert!(trial.elapsed <= done - begun, "{:?} of {:?}", trial.elapsed, done - begun);
    }
}
