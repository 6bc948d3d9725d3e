//! The algorithm, written once: an end of either side claims positions, moves items, and publishes what it did.
#![allow(unsafe_code)]

use std::any::Any;
use std::collections::VecDeque;
use std::mem::{self, forget, needs_drop};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::orders::{ANSWER, CLAIM, FIRST, GUESS, OBSERVE, PUBLISH, SECOND, TURN};
use super::slots::Slots;
use super::sync::{Arc, AtomicUsize, Backoff, CachePadded, fence, hint};

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

/// How long an end that is alone waits before it believes that there is nothing: about the time in which a cache
/// line travels between cores. Measured: fewer cost throughput, more cost latency.
const PAUSES: u32 = 6;

/// Room for so many items is made without a look at how many there are, which would take a cache line away from the
/// other side.
const FEW: usize = 1024;

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

    /// Up to where an end of one side may claim: how far the other side has come.
    #[inline]
    fn limit<const PUSHES: bool>(&self) -> usize {
        if PUSHES {
            self.pop.done.load(OBSERVE).wrapping_add(self.capacity)
        } else {
            self.push.done.load(OBSERVE)
        }
    }

    /// The limit of an end that is alone on its side and has come to `next`. If the limit is `next`, the ring was
    /// full (for an end that pushes) or empty at an instant from now on.
    #[cold]
    #[inline(never)]
    fn catch_up<const PUSHES: bool>(&self, next: usize) -> usize {
        let limit = self.limit::<PUSHES>();
        if limit != next {
            return limit;
        }
        // It has caught up with the other side. Each look takes a cache line away from there; a moment later the
        // look may be worth several items.
        (0..PAUSES).for_each(|_| hint::spin_loop());
        let backoff = Backoff::new();
        loop {
            fence(ANSWER);
            let limit = self.limit::<PUSHES>();
            // An end that is alone knows exactly how far its own side is. So it does for the other side, unless
            // that claims where it pops: then a slot may be about to become vacant.
            let [_, lone_consumer] = self.alone;
            let settled = !PUSHES || lone_consumer;
            if limit != next || settled || self.pop.claimed.load(SECOND).wrapping_add(self.capacity) == next {
                return limit;
            }
            backoff.snooze();
        }
    }

    /// A claim of an end that is not alone on its side and saw `limit` last, and what it has seen since. A claim
    /// of none: there was an instant at which there was none.
    #[inline(always)]
    fn claim<const PUSHES: bool>(&self, mut limit: usize, want: usize) -> (Claim, usize) {
        let claimed = if PUSHES { &self.push.claimed } else { &self.pop.claimed };
        let backoff = Backoff::new();
        let mut start = claimed.load(GUESS);
        let want = want.min(self.capacity);
        loop {
            // Both are guesses by now, and `start` may be ahead.
            let mut room = limit.wrapping_sub(start).cast_signed();
            // With 32 bits an end may have been idle for so long that what it saw last lies ahead again.
            if room < want.cast_signed() || usize::BITS < 64 {
                limit = self.limit::<PUSHES>();
                room = limit.wrapping_sub(start).cast_signed();
            }
            if room <= 0 {
                if self.nothing::<PUSHES>() {
                    return (Claim { start, count: 0 }, limit);
                }
                backoff.snooze();
                start = claimed.load(GUESS);
                continue;
            }
            let count = want.min(room.cast_unsigned());
            let end = start.wrapping_add(count);
            match claimed.compare_exchange_weak(start, end, CLAIM, GUESS) {
                Ok(_) => return (Claim { start, count }, limit),
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
    fn nothing<const PUSHES: bool>(&self) -> bool {
        fence(ANSWER);
        if PUSHES {
            let pushed = self.pushed().load(FIRST);
            pushed.wrapping_sub(self.popped().load(SECOND)) == self.capacity
        } else {
            let popped = self.popped().load(FIRST);
            popped == self.pushed().load(SECOND)
        }
    }
}

impl<T, const PUSHES: bool> End<T, PUSHES> {
    /// An end of a ring that has not been used yet.
    pub(super) fn new(shared: &Arc<Shared<T>>) -> Self {
        let [producer, consumer] = shared.alone;
        let alone = if PUSHES { producer } else { consumer };
        let mut end = End { shared: Arc::clone(shared), next: 0, limit: 0, alone };
        end.next = end.own().done.load(OBSERVE);
        end.limit = shared.limit::<PUSHES>();
        end
    }

    pub(super) fn capacity(&self) -> usize {
        self.shared.capacity()
    }

    #[inline]
    fn own(&self) -> &Side {
        if PUSHES { &self.shared.push } else { &self.shared.pop }
    }

    /// Claims `want` positions or as many as there are; `None`: there was an instant at which there was none.
    #[inline]
    fn claim(&mut self, want: usize) -> Option<Claim> {
        if !self.alone {
            return self.claim_among(want);
        }
        if self.limit.wrapping_sub(self.next) < want && !self.catch_up() {
            return None;
        }
        let claim = Claim { start: self.next, count: want.min(self.limit.wrapping_sub(self.next)) };
        self.next = claim.start.wrapping_add(claim.count);
        Some(claim)
    }

    /// Claims the next position of an end that is alone.
    #[inline(always)]
    fn claim_next(&mut self) -> Option<usize> {
        if self.limit == self.next && !self.catch_up() {
            return None;
        }
        let position = self.next;
        self.next = position.wrapping_add(1);
        Some(position)
    }

    /// Whether the limit of an end that is alone is ahead of it.
    #[inline(always)]
    fn catch_up(&mut self) -> bool {
        // By value: only an end that nobody points to can live in registers.
        self.limit = self.shared.catch_up::<PUSHES>(self.next);
        self.limit != self.next
    }

    /// Claims positions of an end that is not alone on its side.
    #[inline(always)]
    fn claim_among(&mut self, want: usize) -> Option<Claim> {
        let (claim, limit) = self.shared.claim::<PUSHES>(self.limit, want);
        self.limit = limit;
        (claim.count > 0).then_some(claim)
    }

    /// Hands what was claimed over to the other side, after all that was claimed before.
    #[inline]
    fn publish(&self, Claim { start, count }: Claim) {
        if !self.alone {
            self.wait_for_turn(start);
        }
        self.own().done.store(start.wrapping_add(count), PUBLISH);
    }

    #[inline]
    fn wait_for_turn(&self, start: usize) {
        let backoff = Backoff::new();
        while self.own().done.load(TURN) != start {
            backoff.snooze();
        }
    }
}

impl<T> Producer<T> {
    /// Puts an item in, or hands it back.
    // Forced: the loop of a caller that moves one item at a time must keep this end in registers.
    #[inline(always)]
    pub(super) fn push(&mut self, item: T) -> Result<(), T> {
        if self.alone {
            let Some(position) = self.claim_next() else { return Err(item) };
            // SAFETY: the position is claimed by this end alone, and below the limit: the item that was in its
            // slot has been moved out.
            unsafe { self.shared.slots.write(position, item) };
            self.own().done.store(self.next, PUBLISH);
            return Ok(());
        }
        let Some(claim) = self.claim_among(1) else { return Err(item) };
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
    // Forced: as for push.
    #[inline(always)]
    pub(super) fn pop(&mut self) -> Option<T> {
        if self.alone {
            let position = self.claim_next()?;
            // SAFETY: the position is claimed by this end alone, and below the limit: its item was written.
            let item = unsafe { self.shared.slots.read(position) };
            self.own().done.store(self.next, PUBLISH);
            return Some(item);
        }
        let claim = self.claim_among(1)?;
        // SAFETY: the position is claimed by this end alone, and below the limit: its item was written.
        let item = unsafe { self.shared.slots.read(claim.start) };
        self.publish(claim);
        Some(item)
    }

    /// Appends at most `max` items, and says how many.
    #[inline]
    pub(super) fn pop_many(&mut self, into: &mut Vec<T>, max: usize) -> usize {
        // Before the claim: an allocation that fails must not leave one behind.
        let Some(claim) = (max > 0).then(|| self.make_room(into, max)).and_then(|want| self.claim(want))
        else {
            return 0;
        };
        // SAFETY: the positions are claimed by this end alone, and below the limit: their items were written. The
        // vector has room for them.
        unsafe { self.shared.slots.read_run(claim.start, claim.count, into) };
        self.publish(claim);
        claim.count
    }

    /// How many items may be taken at once, at least one and at most `max`: for so many there is room in the vector.
    #[inline]
    fn make_room(&self, into: &mut Vec<T>, max: usize) -> usize {
        let max = max.min(self.capacity());
        if max > FEW && into.capacity() - into.len() < max {
            return self.make_room_for_what_there_is(into, max);
        }
        into.reserve(max);
        max
    }

    /// As [`Consumer::make_room`], of a vector that has less.
    #[cold]
    fn make_room_for_what_there_is(&self, into: &mut Vec<T>, max: usize) -> usize {
        let next = if self.alone { self.next } else { self.own().claimed.load(GUESS) };
        let inside = self.shared.limit::<false>().wrapping_sub(next).cast_signed();
        into.reserve(inside.clamp(FEW.cast_signed(), max.cast_signed()).cast_unsigned());
        max.min(into.capacity() - into.len())
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
            match catch_unwind(AssertUnwindSafe(|| drop(item))) {
                Err(panic) if panicked.is_none() => panicked = Some(panic),
                Err(panic) => let_go(panic),
                Ok(()) => {}
            }
            head = head.wrapping_add(1);
        }
        match panicked {
            Some(panic) if !std::thread::panicking() => resume_unwind(panic),
            Some(panic) => let_go(panic),
            None => {}
        }
    }
}

/// Drops what was panicked with, unless its own destructor might panic as well: nobody is left to be told.
fn let_go(panic: Box<dyn Any + Send>) {
    if !panic.is::<&str>() && !panic.is::<String>() {
        forget(panic);
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
