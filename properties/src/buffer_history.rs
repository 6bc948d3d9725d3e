//! What happened to a buffer: one log per thread, in program order, in columns.
//!
//! Every operation has a window from its call to its return, on a tick that all threads share. One operation
//! precedes another only if it returned before the other was called (strictly: equal ticks are concurrent).
//! The items of one batch call share its window, in their order.
//!
//! A token is a producer and a sequence: the n-th item a producer offers has sequence n, so that a pop finds
//! its push by indexing.
//!
//! # Trailing answers
//! A batch of which some items went in and the next did not ends with an answer "full", and so may a window that
//! several calls share. Between the item and the answer there is no tick and so no fence: a processor may look at
//! the other side's cursor while its own store of the item still waits in its store buffer, and then each side
//! sees the other as it was before. A ring that orders nothing but by acquire and release answers so, and is
//! right: no single order of pushes, pops and *such* answers need exist, though each item and each answer behind
//! a fence has its place. So these answers are kept apart, and are judged by what was inside during their window,
//! in which all that this thread moved counts as inside throughout.

use stanchion_queues::BufferContract;

use crate::history::{PENDING, Token};

/// A tick for "never returned" in the logs is [`PENDING`].
pub type Tick = u64;

const SEQUENCE_BITS: u32 = 40;

/// The token of the `sequence`-th item that `producer` offers, from 0.
pub fn token(producer: usize, sequence: usize) -> Token {
    Token(((producer as u64) << SEQUENCE_BITS) | sequence as u64)
}

/// The producer and the sequence of a token.
pub fn split(token: Token) -> (usize, usize) {
    ((token.0 >> SEQUENCE_BITS) as usize, (token.0 & ((1 << SEQUENCE_BITS) - 1)) as usize)
}

/// From call to return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Tick of the call.
    pub call: Tick,
    /// Tick of the return, or [`PENDING`].
    pub ret: Tick,
}

/// How the offer of one item ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It was accepted in this window; if the window is pending it may or may not be inside.
    Accepted(Window),
    /// It was refused as full, one time or more, and then dropped. The window is that of the last refusal.
    Abandoned(Window),
}

impl Offered {
    /// When it ended.
    pub fn window(&self) -> Window {
        let (Offered::Accepted(window) | Offered::Abandoned(window)) = self;
        *window
    }
}

/// What one producer did.
#[derive(Clone, Debug, Default)]
pub struct ProducerLog {
    /// One entry per item; the index is the sequence.
    pub offers: Vec<Offered>,
    /// Answers "full". An item that is refused and offered again has several, without a name of its own.
    pub fulls: Vec<Window>,
    /// Answers "full" that share their window with an item that this thread pushed before them: see
    /// [trailing answers](self#trailing-answers).
    pub trailing: Vec<Window>,
}

impl ProducerLog {
    /// All answers "full".
    pub fn refusals(&self) -> impl Iterator<Item = &Window> {
        self.fulls.iter().chain(&self.trailing)
    }
}

/// One pop that returned an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Popped {
    /// When.
    pub window: Window,
    /// Which; `None`: the bytes are not those of any item (torn).
    pub token: Option<Token>,
}

/// What one consumer did.
#[derive(Clone, Debug, Default)]
pub struct ConsumerLog {
    /// Pops that returned an item, in program order.
    pub pops: Vec<Popped>,
    /// Answers "empty".
    pub empties: Vec<Window>,
    /// Answers "empty" that share their window with an item that this thread popped before them: see
    /// [trailing answers](self#trailing-answers).
    pub trailing: Vec<Window>,
    /// Ticks of the calls of pops that never returned: nobody knows whether they took an item. A batch that never
    /// returned is as many as it asked for, called at one tick.
    pub pending: Vec<Tick>,
}

impl ConsumerLog {
    /// All answers "empty".
    pub fn answers(&self) -> impl Iterator<Item = &Window> {
        self.empties.iter().chain(&self.trailing)
    }
}

/// Everything that happened in one run against one buffer.
#[derive(Clone, Debug)]
pub struct BufferHistory {
    /// What the buffer promised.
    pub contract: BufferContract,
    /// What it was opened with.
    pub capacity: usize,
    /// One log per producer.
    pub producers: Vec<ProducerLog>,
    /// One log per consumer.
    pub consumers: Vec<ConsumerLog>,
    /// After all threads had returned, one thread popped until every consumer answered "empty". `false`: the
    /// run ended before that, so what did not come out may still be inside.
    pub drained: bool,
}

impl BufferHistory {
    /// How many operations it holds.
    pub fn len(&self) -> usize {
        let produced: usize =
            self.producers.iter().map(|log| log.offers.len() + log.refusals().count()).sum();
        let consumed: usize = self.consumers.iter().map(|log| log.pops.len() + log.answers().count()).sum();
        produced + consumed
    }

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether some operation never returned.
    pub fn has_pending(&self) -> bool {
        let producing = self.producers.iter().any(|log| {
            // Only the last offer of a thread can be pending, unless it is one of a batch.
            log.offers
                .last()
                .is_some_and(|offer| matches!(offer, Offered::Accepted(window) if window.ret == PENDING))
        });
        producing || self.consumers.iter().any(|log| !log.pending.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_producer_and_sequence() {
        for (producer, sequence) in [(0, 0), (3, 7), (1000, (1 << SEQUENCE_BITS) - 1)] {
            assert_eq!(split(token(producer, sequence)), (producer, sequence));
        }
    }
}
