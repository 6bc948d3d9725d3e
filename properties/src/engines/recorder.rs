//! Ends of a buffer that write down what they do, into logs of their own thread.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use stanchion_queues::{Full, Pop, Push};

use crate::buffer_history::{ConsumerLog, Offered, Popped, ProducerLog, Tick, Window, token};
use crate::history::{PENDING, Token};

/// Where ticks come from. A window must contain the effects of its operation, so a tick may be early at a call
/// and late at a return, never the other way round.
pub trait Stamps: Sync {
    /// Not after anything that the operation does next.
    fn call(&self) -> Tick;
    /// Not before anything that the operation did.
    fn ret(&self) -> Tick;
}

/// One counter that all threads count up: sound on every memory model, because a chain of read-modify-writes
/// orders what lies before and after each. It is also a barrier that the threads share beside the buffer, and
/// may hide what a laxer stamp would show.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Stamps for Counter {
    fn call(&self) -> Tick {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    fn ret(&self) -> Tick {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// What is pushed: `WORDS` words of eight bytes, the first the token and the others drawn from it, so that an
/// item put together from two is noticed. A single word carries its token only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<const WORDS: usize>([u64; WORDS]);

impl<const WORDS: usize> Item<WORDS> {
    /// The item of this token.
    pub fn new(token: Token) -> Self {
        const { assert!(WORDS > 0, "an item has room for its token") };
        let mut words = [token.0; WORDS];
        for (lane, word) in words.iter_mut().enumerate().skip(1) {
            *word = (token.0 ^ lane as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        Item(words)
    }

    /// Its token; `None` if these are not the words of any item.
    pub fn token(&self) -> Option<Token> {
        let token = Token(self.0[0]);
        (*self == Item::new(token)).then_some(token)
    }
}

/// A batch push that did not leave what it refused.
#[derive(Debug)]
pub struct Miscounted(
    /// What it did instead.
    pub String,
);

/// A producer's end and its log. Items that were refused are kept and offered again first.
pub struct RecordedProducer<'a, P, S, const WORDS: usize> {
    end: P,
    number: usize,
    stamps: &'a S,
    log: ProducerLog,
    refused: VecDeque<Item<WORDS>>,
    last_refusal: Window,
    /// Call of the operation that has not returned, and how many items it offers.
    open: Option<(Tick, usize)>,
}

impl<'a, P: Push<Item<WORDS>>, S: Stamps, const WORDS: usize> RecordedProducer<'a, P, S, WORDS> {
    /// Records the `number`-th producer, with room for `operations` without allocating.
    pub fn new(end: P, number: usize, stamps: &'a S, operations: usize) -> Self {
        RecordedProducer {
            end,
            number,
            stamps,
            log: ProducerLog {
                offers: Vec::with_capacity(operations),
                fulls: Vec::with_capacity(operations),
            },
            refused: VecDeque::new(),
            last_refusal: Window { call: 0, ret: 0 },
            open: None,
        }
    }

    /// How many items were accepted or abandoned.
    pub fn settled(&self) -> usize {
        self.log.offers.len()
    }

    fn next_item(&mut self) -> Item<WORDS> {
        let fresh = self.log.offers.len();
        self.refused.pop_front().unwrap_or_else(|| Item::new(token(self.number, fresh)))
    }

    /// Pushes one item; `false`: full.
    pub fn push(&mut self) -> bool {
        let item = self.next_item();
        let call = self.stamps.call();
        self.open = Some((call, 1));
        let answer = self.end.push(item);
        let window = Window { call, ret: self.stamps.ret() };
        self.open = None;
        match answer {
            Ok(()) => {
                self.log.offers.push(Offered::Accepted(window));
                true
            }
            Err(Full(item)) => {
                self.refused.push_front(item);
                self.full(window);
                false
            }
        }
    }

    /// Pushes `count` items at once, or what was refused before if that is more; `false`: full.
    ///
    /// # Errors
    /// What was neither counted as in nor left to try again.
    pub fn push_many(&mut self, count: usize) -> Result<bool, Miscounted> {
        let first = self.log.offers.len();
        for at in self.refused.len()..count {
            self.refused.push_back(Item::new(token(self.number, first + at)));
        }
        let count = self.refused.len();
        let call = self.stamps.call();
        self.open = Some((call, count));
        let pushed = self.end.push_many(&mut self.refused);
        let window = Window { call, ret: self.stamps.ret() };
        let left = self.refused.iter().zip(first + pushed..);
        if pushed + self.refused.len() != count
            || left.into_iter().any(|(item, at)| item.token() != Some(token(self.number, at)))
        {
            return Err(Miscounted(format!(
                "A batch push of {count} items said that {pushed} went in, and left {} to try again.",
                self.refused.len()
            )));
        }
        self.open = None;
        self.log.offers.extend((0..pushed).map(|_| Offered::Accepted(window)));
        if pushed < count {
            self.full(window);
        }
        Ok(pushed == count)
    }

    fn full(&mut self, window: Window) {
        self.log.fulls.push(window);
        self.last_refusal = window;
    }

    /// Gives up the oldest refused item, if any.
    pub fn abandon(&mut self) -> bool {
        let given_up = self.refused.pop_front().is_some();
        if given_up {
            self.log.offers.push(Offered::Abandoned(self.last_refusal));
        }
        given_up
    }

    /// The log. What was refused last is abandoned; an operation that panicked or miscounted stays
    /// pending.
    pub fn finish(mut self) -> ProducerLog {
        if let Some((call, count)) = self.open {
            self.refused.clear();
            let window = Window { call, ret: PENDING };
            self.log.offers.extend((0..count).map(|_| Offered::Accepted(window)));
        }
        while self.abandon() {}
        self.log
    }
}

/// A consumer's end and its log.
pub struct RecordedConsumer<'a, C, S, const WORDS: usize> {
    end: C,
    stamps: &'a S,
    log: ConsumerLog,
    batch: Vec<Item<WORDS>>,
}

impl<'a, C: Pop<Item<WORDS>>, S: Stamps, const WORDS: usize> RecordedConsumer<'a, C, S, WORDS> {
    /// Records a consumer, with room for `operations` without allocating.
    pub fn new(end: C, stamps: &'a S, operations: usize) -> Self {
        let log = ConsumerLog {
            pops: Vec::with_capacity(operations),
            empties: Vec::with_capacity(operations),
            pending: None,
        };
        RecordedConsumer { end, stamps, log, batch: Vec::new() }
    }

    /// Pops one item; `false`: empty.
    pub fn pop(&mut self) -> bool {
        let call = self.stamps.call();
        self.log.pending = Some(call);
        let item = self.end.pop();
        let window = Window { call, ret: self.stamps.ret() };
        self.log.pending = None;
        match item {
            Some(item) => self.log.pops.push(Popped { window, token: item.token() }),
            None => self.log.empties.push(window),
        }
        item.is_some()
    }

    /// Pops at most `max` items at once and says how many; none is an answer "empty".
    pub fn pop_many(&mut self, max: usize) -> usize {
        let call = self.stamps.call();
        self.log.pending = Some(call);
        self.end.pop_many(&mut self.batch, max);
        let window = Window { call, ret: self.stamps.ret() };
        self.log.pending = None;
        let popped = self.batch.len();
        if popped == 0 {
            self.log.empties.push(window);
        }
        self.log.pops.extend(self.batch.drain(..).map(|item| Popped { window, token: item.token() }));
        popped
    }

    /// The log. An operation that panicked stays pending.
    pub fn finish(self) -> ConsumerLog {
        self.log
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_put_together_from_two_is_noticed() {
        let (one, two) = (Item::<8>::new(Token(1)), Item::<8>::new(Token(2)));
        assert_eq!(one.token(), Some(Token(1)));
        for cut in 1..8 {
            let mut torn = one;
            torn.0[cut..].copy_from_slice(&two.0[cut..]);
            assert_eq!(torn.token(), None);
        }
    }
}
