//! A bounded ring for any number of producers and consumers.
//!
//! # Algorithm
//! Dmitry Vyukov's bounded MPMC queue: each slot carries a *stamp* that says whose turn it is, a producer
//! claims a slot by moving `tail`, a consumer by moving `head`, and each publishes by storing the next stamp.
//! The stamps and the exact answers are those of crossbeam's `ArrayQueue`: a stale stamp alone proves nothing
//! (a claim may be unfinished), so the other cursor is read behind a fence and "full" or "empty" is answered
//! only if the cursors say so; otherwise the operation backs off and tries again.
//! Sources: <https://www.1024cores.net/home/lock-free-algorithms/queues/bounded-mpmc-queue>,
//! `crossbeam-queue/src/array_queue.rs`.
//!
//! # Stamps
//! A cursor is a position: an index in the low bits, a lap above them. One lap is the smallest power of two
//! *greater* than the capacity, so that
//! * index + 1 never carries into the lap: `position + 1` ("an item is in") differs from every position, at
//!   capacity 1 too, where the next position is already the next lap of the same slot;
//! * a lap divides 2^64, so adding laps wraps around `usize::MAX` into exactly the positions that would have
//!   followed, at any capacity.
//!
//! The slot of position `p` has the stamp `p` when it may be pushed into, `p + 1` when it may be popped, and
//! `p + one_lap` when it may be pushed into on the next lap.
//!
//! # Orderings
//! * `stamp`: a store is `Release` and the load before a claim is `Acquire`. Store to load is the only way an
//!   item travels from its producer to its consumer, and the way an emptied slot travels back.
//! * `tail`, `head`: the first load is `Relaxed`: it is only a guess that the exchange confirms. The exchange
//!   is `SeqCst` because of the answers: if two operations finish and their threads then ask for
//!   what the other did, at least one must see it (store buffering). The exchange of the one and the fence of
//!   the other are in one total order, so a `Relaxed` load behind the fence sees every claim that was
//!   made before it.
//! * Why "full" was true: with tail `t` and, behind the fence, head `t - one_lap`. The tail can leave `t` only
//!   after the slot was vacated, that is after the head left `t - one_lap`; had that happened before the
//!   fence, the load would have seen it. So at the fence both cursors stood there. "Empty" is the mirror
//!   image.
//!
//! # Progress
//! Not lock-free in the strict sense: a thread that stalls between its claim and its publication holds up
//! whoever comes to that slot, that is consumers behind an unfinished push, and producers one lap behind an
//! unfinished pop. Operations on other slots go on. The wait spins briefly, then yields the processor.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::{MaybeUninit, needs_drop};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::thread;

use crossbeam::utils::{Backoff, CachePadded};

use super::opening::{ends, room_for};
use crate::buffer::{Buffer, Full, Opened, Pop, Push, Shape, ShapeError};
use crate::contract::BufferContract;

/// Our bounded ring: any capacity from 1, exact answers, every item dropped exactly once.
#[derive(Clone, Copy, Debug)]
pub struct Ring;

impl Buffer for Ring {
    const CONTRACT: BufferContract = BufferContract {
        counters: true,
        progress: "not lock-free: a thread that stalls between claiming and publishing holds up those that come \
                   to its slot; they spin briefly, then yield",
        ..BufferContract::FIFO
    };
    type Producer<T: Send + 'static> = Producer<T>;
    type Consumer<T: Send + 'static> = Consumer<T>;

    fn open<T: Send + 'static>(shape: Shape) -> Opened<Producer<T>, Consumer<T>> {
        shape.admitted_by(&Self::CONTRACT)?;
        let slots = Arc::new(Slots::new(shape.capacity, shape.start)?);
        Ok(ends(shape, || Producer(Arc::clone(&slots)), || Consumer(Arc::clone(&slots))))
    }
}

/// An end that pushes into a [`Ring`].
pub struct Producer<T>(Arc<Slots<T>>);

/// An end that pops from a [`Ring`].
pub struct Consumer<T>(Arc<Slots<T>>);

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Producer(ring of {})", self.0.slots.len())
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Consumer(ring of {})", self.0.slots.len())
    }
}

impl<T: Send> Push<T> for Producer<T> {
    #[inline]
    fn push(&mut self, item: T) -> Result<(), Full<T>> {
        self.0.push(item)
    }
}

impl<T: Send> Pop<T> for Consumer<T> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }
}

struct Slot<T> {
    stamp: AtomicUsize,
    item: UnsafeCell<MaybeUninit<T>>,
}

/// What the ends share.
struct Slots<T> {
    /// The position of the next pop.
    head: CachePadded<AtomicUsize>,
    /// The position of the next push.
    tail: CachePadded<AtomicUsize>,
    slots: Box<[Slot<T>]>,
    one_lap: usize,
}

// SAFETY: an item is reached only by the thread that claimed its slot, and moves between threads, which
// `T: Send` allows; nobody gets a reference to an item inside.
unsafe impl<T: Send> Send for Slots<T> {}
// SAFETY: as above; everything else that threads share here is atomic.
unsafe impl<T: Send> Sync for Slots<T> {}

impl<T> Slots<T> {
    fn new(capacity: usize, start: usize) -> Result<Slots<T>, ShapeError> {
        room_for::<Slot<T>>(capacity)?;
        // What the allocator grants is far below half the address space, so this does not overflow.
        let one_lap = (capacity + 1).next_power_of_two();
        let (index, lap) = ((start & (one_lap - 1)) % capacity, start & !(one_lap - 1));
        let slots = (0..capacity)
            .map(|at| Slot {
                // What lies before the start has had its turn in this lap.
                stamp: AtomicUsize::new(at + if at < index { lap.wrapping_add(one_lap) } else { lap }),
                item: UnsafeCell::new(MaybeUninit::uninit()),
            })
            .collect();
        Ok(Slots {
            head: CachePadded::new(AtomicUsize::new(lap + index)),
            tail: CachePadded::new(AtomicUsize::new(lap + index)),
            slots,
            one_lap,
        })
    }

    fn slot(&self, position: usize) -> &Slot<T> {
        &self.slots[self.index(position)]
    }

    fn index(&self, position: usize) -> usize {
        position & (self.one_lap - 1)
    }

    /// The position after this one.
    fn after(&self, position: usize) -> usize {
        if self.index(position) + 1 < self.slots.len() {
            position + 1
        } else {
            (position & !(self.one_lap - 1)).wrapping_add(self.one_lap)
        }
    }

    #[inline]
    fn push(&self, item: T) -> Result<(), Full<T>> {
        let backoff = Backoff::new();
        let mut tail = self.tail.load(Ordering::Relaxed);
        loop {
            let slot = self.slot(tail);
            let stamp = slot.stamp.load(Ordering::Acquire);
            if stamp == tail {
                match self.tail.compare_exchange_weak(
                    tail,
                    self.after(tail),
                    Ordering::SeqCst,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => {
                        // SAFETY: the exchange gave this position to us alone, and its stamp says that the
                        // slot is vacant until we store the next one.
                        unsafe { (*slot.item.get()).write(item) };
                        slot.stamp.store(tail + 1, Ordering::Release);
                        return Ok(());
                    }
                    Err(current) => {
                        tail = current;
                        backoff.spin();
                        continue;
                    }
                }
            }
            if stamp.wrapping_add(self.one_lap) == tail + 1 {
                fence(Ordering::SeqCst);
                if self.head.load(Ordering::Relaxed).wrapping_add(self.one_lap) == tail {
                    return Err(Full(item));
                }
            }
            backoff.snooze();
            tail = self.tail.load(Ordering::Relaxed);
        }
    }

    #[inline]
    fn pop(&self) -> Option<T> {
        let backoff = Backoff::new();
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            let slot = self.slot(head);
            let stamp = slot.stamp.load(Ordering::Acquire);
            if stamp == head + 1 {
                match self.head.compare_exchange_weak(
                    head,
                    self.after(head),
                    Ordering::SeqCst,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => {
                        // SAFETY: the exchange gave this position to us alone, and its stamp, read with
                        // Acquire, says that the item was written before.
                        let item = unsafe { (*slot.item.get()).assume_init_read() };
                        slot.stamp.store(head.wrapping_add(self.one_lap), Ordering::Release);
                        return Some(item);
                    }
                    Err(current) => {
                        head = current;
                        backoff.spin();
                        continue;
                    }
                }
            }
            if stamp == head {
                fence(Ordering::SeqCst);
                if self.tail.load(Ordering::Relaxed) == head {
                    return None;
                }
            }
            backoff.snooze();
            head = self.head.load(Ordering::Relaxed);
        }
    }
}

impl<T> Drop for Slots<T> {
    /// Drops what is still inside. A destructor that panics does not keep the others from running: the first
    /// panic goes on when all have run.
    fn drop(&mut self) {
        if !needs_drop::<T>() {
            return;
        }
        let mut panicked = None;
        let (mut head, tail) = (*self.head.get_mut(), *self.tail.get_mut());
        while head != tail {
            let index = self.index(head);
            // SAFETY: the last end is gone, so no operation is unfinished and the slots from head to tail
            // are those that were pushed into and not popped; each is visited once.
            let item = unsafe { self.slots[index].item.get_mut().assume_init_read() };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(item))) {
                panicked.get_or_insert(panic);
            }
            head = self.after(head);
        }
        if let Some(panic) = panicked
            && !thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// Runs `operation` in a thread of its own and `finish` here, once the operation has begun.
    fn meanwhile<R: Send>(operation: impl FnOnce() -> R + Send, finish: impl FnOnce()) -> R {
        let begun = AtomicBool::new(false);
        thread::scope(|scope| {
            let running = scope.spawn(|| {
                begun.store(true, Ordering::SeqCst);
                operation()
            });
            while !begun.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            // Room for the wrong answer to be given; the right one waits for us however long this takes.
            for _ in 0..1_000 {
                thread::yield_now();
            }
            finish();
            running.join().expect("the operation does not panic")
        })
    }

    #[test]
    fn an_unfinished_push_is_not_taken_for_an_empty_ring() {
        for start in [0, usize::MAX] {
            let slots = Slots::<u64>::new(1, start).expect("one slot fits");
            let tail = slots.tail.load(Ordering::SeqCst);
            slots.tail.store(slots.after(tail), Ordering::SeqCst);
            let popped = meanwhile(
                || slots.pop(),
                || {
                    // SAFETY: the position was claimed above, and the slot is vacant until the next line.
                    unsafe { (*slots.slot(tail).item.get()).write(7) };
                    slots.slot(tail).stamp.store(tail + 1, Ordering::Release);
                },
            );
            assert_eq!(popped, Some(7));
        }
    }

    #[test]
    fn an_unfinished_pop_is_not_taken_for_a_full_ring() {
        for start in [0, usize::MAX] {
            let slots = Slots::<u64>::new(1, start).expect("one slot fits");
            assert_eq!(slots.push(7), Ok(()));
            let head = slots.head.load(Ordering::SeqCst);
            slots.head.store(slots.after(head), Ordering::SeqCst);
            let vacant = head.wrapping_add(slots.one_lap);
            let pushed =
                meanwhile(|| slots.push(8), || slots.slot(head).stamp.store(vacant, Ordering::Release));
            assert_eq!((pushed, slots.pop()), (Ok(()), Some(8)));
        }
    }
}
