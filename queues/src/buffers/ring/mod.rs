//! A bounded ring that knows how many ends it has.
//!
//! # Algorithm
//! Each side has two cursors, as in DPDK's `rte_ring`: an end *claims* positions by moving `claimed`, moves items
//! into (or out of) their slots, and then moves `done` past them, after all that was claimed before. The other
//! side relies on `done` alone. A claim can be of any number of positions, so a batch costs as much
//! synchronisation as one item; items lie side by side, without a word of bookkeeping each.
//!
//! Each end remembers how far it saw the other side come, and looks again only when that does not suffice: the
//! cached indices of MCRingBuffer and of most single-producer rings. An end that is alone on its side keeps its
//! position to itself, claims without an exchange and waits for nobody: with one producer and one
//! consumer, this is the usual single-producer ring with cached indices, wait-free on both sides.
//!
//! Sources: <https://doc.dpdk.org/guides/prog_guide/ring_lib.html>; Lee, Bu, Chandranmenon, "A lock-free,
//! cache-efficient shared ring buffer for multi-core architectures" (ANCS 2009).
//!
//! # Where an operation takes effect
//! A push when `done` passes it; a pop when `claimed` passes it, or `done` if its end is alone. So the ring holds
//! what is pushed and not popped by these cursors, "full" and "empty" are answered from these two, and each answer
//! was true at an instant of its call (`Shared::nothing`). In between, when slots are claimed and not yet done with, a
//! push waits for room that a pop is about to free.
//!
//! # Orderings
//! `orders.rs` names each and gives its reason. Whoever is ordered after an operation by anything the memory model
//! knows sees it, also across two rings.
//!
//! # Positions
//! They count items since the start and wrap around. The number of slots is a power of two, which divides 2^64 (or
//! 2^32), so slots follow each other across the wrap; any capacity up to that number can be kept. The memory for
//! a capacity is that of the next power of two.
//!
//! # Progress
//! Wait-free with one producer and one consumer. Otherwise not lock-free in the strict sense: an end that stalls
//! between its claim and its publication holds up the ends of its own side that claimed after it, and so in time
//! the other side. The wait spins briefly, then yields the processor. On a machine of 32 bits an end that stalls
//! while exactly 2^32 positions are claimed would take an old position for a new one.

mod end;
mod orders;
mod slots;
mod sync;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;

use self::end::Shared;
use self::slots::Slots;
use super::opening::ends;
use crate::buffer::{Buffer, Full, Opened, Pop, Push, Shape};
use crate::contract::BufferContract;

/// Our bounded ring: any capacity from 1, exact answers, batches at the cost of one item's synchronisation, every
/// item dropped exactly once.
#[derive(Clone, Copy, Debug)]
pub struct Ring;

impl Buffer for Ring {
    const CONTRACT: BufferContract = BufferContract {
        counters: true,
        progress: "wait-free with one producer and one consumer; otherwise not lock-free: an end that stalls \
                   between claiming and publishing holds up those of its side that claimed after it; they spin \
                   briefly, then yield; a push that needs the place of an unfinished pop waits for it likewise. On 32 \
                   bits an end that stalls while exactly 2^32 positions are claimed takes an old position for a \
                   new one",
        ..BufferContract::FIFO
    };
    type Producer<T: Send + 'static> = Producer<T>;
    type Consumer<T: Send + 'static> = Consumer<T>;

    fn open<T: Send + 'static>(shape: Shape) -> Opened<Producer<T>, Consumer<T>> {
        shape.admitted_by(&Self::CONTRACT)?;
        let slots = Slots::new(shape.capacity)?;
        let alone = [shape.producers == 1, shape.consumers == 1];
        let shared = Shared::new(slots, shape.capacity, shape.start, alone);
        Ok(ends(shape, || Producer(end::Producer::new(&shared)), || Consumer(end::Consumer::new(&shared))))
    }
}

/// An end that pushes into a [`Ring`].
pub struct Producer<T>(end::Producer<T>);

/// An end that pops from a [`Ring`].
pub struct Consumer<T>(end::Consumer<T>);

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Producer(ring of {})", self.0.capacity())
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Consumer(ring of {})", self.0.capacity())
    }
}

impl<T: Send> Push<T> for Producer<T> {
    #[inline(always)]
    fn push(&mut self, item: T) -> Result<(), Full<T>> {
        self.0.push(item).map_err(Full)
    }

    #[inline]
    fn push_many(&mut self, items: &mut VecDeque<T>) -> usize {
        self.0.push_many(items)
    }
}

impl<T: Send> Pop<T> for Consumer<T> {
    #[inline(always)]
    fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    #[inline]
    fn pop_many(&mut self, into: &mut Vec<T>, max: usize) -> usize {
        self.0.pop_many(into, max)
    }
}
