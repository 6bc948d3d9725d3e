//! The algorithm, written once: an end of either side claims positions, moves items, and publishes what it did.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::mem::{self, needs_drop};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crossbeam::utils::CachePadded;

use super::orders::{ANSWER, CLAIM, FIRST, GUESS, OBSERVE, PUBLISH, SECOND, TURN};
use super::slots::Slots;
use super::sync::{Arc, AtomicUsize, Backoff, fence};

/// How far one side has come. Positions count items since the start and wrap around.
struct Side {
    /// Positions below are claimed by some end of this side. Not kept up by an end that is alone on its side.
    claimed: AtomicUsize,
    /// Positions below are done with: pushed, or popped. The other side relies on it.
    done: AtomicUsize,
}

impl Side {
    fn starting_at(start: usize) -> CachePadded<Side> {
        CachePadded::new(Side { claimed: AtomicUsize::new(start), done: AtomicUsize::new(start) })
    }
}

/// What the ends share.
pub(super) struct Shared<T> {
    push: CachePadded<Side>,
    pop: CachePadded<Side>,
    slots: Slots<T>,
    capacity: usize,
    /// One producer, one consumer.
    alone: [bool; 2],
}

/// An end that pushes.
pub(super) type Producer<T> = End<T, true>;
/// An end that pops.
pub(super) type Consumer<T> = End<T, false>;

/// An end of one side.
pub(super) struct End<T, const PUSHES: bool> {
    shared: Arc<Shared<T>>,
    /// Where the next claim of an end begins that is alone on its side.
    next: usize,
    /// Positions below may be claimed: what was last seen of the other side. It may have come further since.
    limit: usize,
    alone: bool,
}

/// Positions that an end has to itself.
#[derive(Clone, Copy)]
struct Claim {
    start: usize,
    count: usize,
}

impl<T> Shared<T> {
    /// `slots` has room for `capacity` items.
    pub(super) fn new(slots: Slots<T>, capacity: usize, start: usize, alone: [bool; 2]) -> Arc<Shared<T>> {
        Arc::new(Shared {
            push: Side::starting_at(start),
            pop: Side::starting_at(start),
            slots,
            capacity,
            alone,
        })
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Where a push takes effect: when it is done.
    fn pushed(&self) -> &AtomicUsize {
        &self.push.done
    }

    /// Where a pop takes effect: when it claims, if others may find the ring empty meanwhile.
    fn popped(&self) -> &AtomicUsize {
        let [_, alone] = self.alone;
        if alone { &self.pop.done } else { &self.pop.claimed }
    }
}

impl<T, const PUSHES: bool> End<T, PUSHES> {
    /// An end of a ring that has not been used yet.
    pub(super) fn new(shared: &Arc<Shared<T>>) -> Self {
        let [producer, consumer] = shared.alone;
        let alone = if PUSHES { producer } else { consumer };
        let mut end = End { shared: Arc::clone(shared), next: 0, limit: 0, alone };
        end.next = end.own().done.load(OBSERVE);
        end.look();
        end
    }

    pub(super) fn capacity(&self) -> usize {
        self.shared.capacity()
    }

    #[inline]
    fn own(&self) -> &Side {
        if PUSHES { &self.shared.push } else { &self.shared.pop }
    }

    /// Looks how far the other side has come.
    #[inline]
    fn look(&mut self) {
        let shared = &*self.shared;
        self.limit = if PUSHES {
            shared.pop.done.load(OBSERVE).wrapping_add(shared.capacity)
        } else {
            shared.push.done.load(OBSERVE)
        };
    }

    /// Claims `want` positions or as many as there are; `None`: there was an instant at which there was none.
    #[inline]
    fn claim(&mut self, want: usize) -> Option<Claim> {
        if !self.alone {
            return self.claim_among(want);
        }
        let start = self.next;
        if self.limit.wrapping_sub(start) < want {
            self.look();
            if self.limit == start && !self.wait_for_any() {
                return None;
            }
        }
        let count = want.min(self.limit.wrapping_sub(start));
        self.next = start.wrapping_add(count);
        Some(Claim { start, count })
    }

    /// Looks again until there is something to claim, or certainly nothing.
    #[cold]
    fn wait_for_any(&mut self) -> bool {
        let backoff = Backoff::new();
        while self.limit == self.next {
            if self.nothing() {
                return false;
            }
            backoff.snooze();
            self.look();
        }
        true
    }

    #[inline]
    fn claim_among(&mut self, want: usize) -> Option<Claim> {
        let backoff = Backoff::new();
        let mut start = self.own().claimed.load(GUESS);
        loop {
            // Both are guesses by now, and `start` may be ahead.
            let mut room = self.limit.wrapping_sub(start).cast_signed();
            if room < want.cast_signed() {
                self.look();
                room = self.limit.wrapping_sub(start).cast_signed();
            }
            if room <= 0 {
                if self.nothing() {
                    return None;
                }
                backoff.snooze();
                start = self.own().claimed.load(GUESS);
                continue;
            }
            let count = want.min(room.cast_unsigned());
            let end = start.wrapping_add(count);
            match self.own().claimed.compare_exchange_weak(start, end, CLAIM, GUESS) {
                Ok(_) => return Some(Claim { start, count }),
                Err(current) => start = current,
            }
            backoff.spin();
        }
    }

    /// Whether the ring was full (for an end that pushes) or empty at an instant from now on.
    ///
    /// Never more than `capacity` items are pushed and not popped, and never fewer than none. The cursor that is
    /// read first can only have come further when the second is read; so if the two are so far apart as they can
    /// be, they were at the instant of the second load.
    #[inline]
    fn nothing(&self) -> bool {
        let shared = &*self.shared;
        fence(ANSWER);
        if PUSHES {
            let pushed = shared.pushed().load(FIRST);
            pushed.wrapping_sub(shared.popped().load(SECOND)) == shared.capacity
        } else {
            let popped = shared.popped().load(FIRST);
            popped == shared.pushed().load(SECOND)
        }
    }

    /// Hands what was claimed over to the other side, after all that was claimed before.
    #[inline]
    fn publish(&self, Claim { start, count }: Claim) {
        let done = &self.own().done;
        if !self.alone {
            let backoff = Backoff::new();
            while done.load(TURN) != start {
                backoff.snooze();
            }
        }
        done.store(start.wrapping_add(count), PUBLISH);
    }
}

impl<T> Producer<T> {
    /// Puts an item in, or hands it back.
    #[inline]
    pub(super) fn push(&mut self, item: T) -> Result<(), T> {
        let Some(claim) = self.claim(1) else { return Err(item) };
        // SAFETY: the position is claimed by this end alone, and below the limit: the item that was in its slot
        // has been moved out.
        unsafe { self.shared.slots.write(claim.start, item) };
        self.publish(claim);
        Ok(())
    }

    /// Moves items from the front into the ring until all are in or it is full.
    #[inline]
    pub(super) fn push_many(&mut self, items: &mut VecDeque<T>) -> usize {
        let mut pushed = 0;
        while !items.is_empty()
            && let Some(claim) = self.claim(items.len())
        {
            self.fill(claim, items);
            self.publish(claim);
            pushed += claim.count;
        }
        pushed
    }

    /// Moves as many items as were claimed. No code of `T` runs between a claim and its publication.
    #[inline]
    fn fill(&self, Claim { start, count }: Claim, items: &mut VecDeque<T>) {
        let (front, back) = items.as_slices();
        let front = &front[..front.len().min(count)];
        let back = &back[..count - front.len()];
        // SAFETY: the positions are claimed by this end alone, and below the limit: what was in their slots has
        // been moved out.
        unsafe {
            self.shared.slots.write_run(start, front);
            self.shared.slots.write_run(start.wrapping_add(front.len()), back);
        }
        // The ring owns them now.
        let moved = items.drain(..count);
        if needs_drop::<T>() {
            moved.for_each(mem::forget);
        }
    }
}

impl<T> Consumer<T> {
    /// Takes the next item out.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<T> {
        let claim = self.claim(1)?;
        // SAFETY: the position is claimed by this end alone, and below the limit: its item was written.
        let item = unsafe { self.shared.slots.read(claim.start) };
        self.publish(claim);
        Some(item)
    }

    /// Appends at most `max` items, and says how many.
    #[inline]
    pub(super) fn pop_many(&mut self, into: &mut Vec<T>, max: usize) -> usize {
        // Before the claim: an allocation that fails must not leave one behind.
        into.reserve(max.min(self.capacity()));
        let Some(claim) = (max > 0).then(|| self.claim(max.min(self.capacity()))).flatten() else { return 0 };
        // SAFETY: the positions are claimed by this end alone, and below the limit: their items were written. The
        // vector has room for them.
        unsafe { self.shared.slots.read_run(claim.start, claim.count, into) };
        self.publish(claim);
        claim.count
    }
}

impl<T> Drop for Shared<T> {
    /// Drops what is still inside. A destructor that panics does not keep the others from running: the first
    /// panic goes on when all have run.
    fn drop(&mut self) {
        if !needs_drop::<T>() {
            return;
        }
        let mut panicked = None;
        let (mut head, tail) = (self.pop.done.load(OBSERVE), self.push.done.load(OBSERVE));
        while head != tail {
            // SAFETY: the last end is gone, so nothing is claimed and not published: what is pushed and not
            // popped is inside. Each is visited once.
            let item = unsafe { self.slots.read(head) };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(item))) {
                panicked.get_or_insert(panic);
            }
            head = head.wrapping_add(1);
        }
        if let Some(panic) = panicked
            && !std::thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}

/// Operations that stop half-way, for tests.
#[cfg(test)]
mod halves {
    use super::{Claim, Consumer, Producer};

    impl<T> Producer<T> {
        /// Claims a position.
        pub(in super::super) fn begin(&mut self) -> usize {
            self.claim(1).expect("there is room").start
        }

        /// Fills and publishes what was claimed.
        pub(in super::super) fn finish(&self, start: usize, item: T) {
            // SAFETY: the position comes from `begin`, and nobody else has it.
            unsafe { self.shared.slots.write(start, item) };
            self.publish(Claim { start, count: 1 });
        }
    }

    impl<T> Consumer<T> {
        /// Claims a position.
        pub(in super::super) fn begin(&mut self) -> usize {
            self.claim(1).expect("there is something").start
        }

        /// Takes out and publishes what was claimed.
        pub(in super::super) fn finish(&self, start: usize) {
            // SAFETY: the position comes from `begin`, and nobody else has it.
            drop(unsafe { self.shared.slots.read(start) });
            self.publish(Claim { start, count: 1 });
        }
    }
}
