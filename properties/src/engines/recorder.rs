//! Ends of a buffer that write down what they do, into logs of their own thread.
//!
//! A log is a list of entries of 16 bytes, a tick and what happened, in memory that was touched before. The
//! window of an operation reaches from the last tick before it to the first tick after it. How many ticks are
//! taken is a matter of [`Pace`]. The logs become a [`BufferHistory`](crate::buffer_history::BufferHistory) only
//! after the run.

use std::collections::VecDeque;
use std::ops::Range;

use stanchion_queues::{Full, Pop, Push};

use crate::buffer_history::{ConsumerLog, Offered, Popped, ProducerLog, Tick, Window, token};
use crate::history::{PENDING, Token};

use super::stamps::Stamps;

/// What is pushed: `WORDS` words of eight bytes, the first the token and the others drawn from it, so that an
/// item put together from two is noticed. A single word carries its token only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<const WORDS: usize>([u64; WORDS]);

impl<const WORDS: usize> Item<WORDS> {
    /// The item of this token.
    #[inline]
    pub fn new(token: Token) -> Self {
        const { assert!(WORDS > 0, "an item has room for its token") };
        let mut words = [token.0; WORDS];
        for (lane, word) in words.iter_mut().enumerate().skip(1) {
            *word = (token.0 ^ lane as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        Item(words)
    }

    /// Its token; `None` if these are not the words of any item.
    #[inline]
    pub fn token(&self) -> Option<Token> {
        let token = Token(self.0[0]);
        (*self == Item::new(token)).then_some(token)
    }

    /// What a reader finds who comes when half of the words are written over others.
    pub(crate) fn torn(&self, rest: &Self) -> Self {
        let half = WORDS.div_ceil(2);
        Item(std::array::from_fn(|lane| if lane < half { self.0[lane] } else { rest.0[lane] }))
    }
}

/// A batch operation that broke its own rules, whatever the others did.
#[derive(Debug, PartialEq, Eq)]
pub struct Miscounted(
    /// What it did.
    pub String,
);

/// How many ticks are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Two for each operation: the tightest windows, and the operations of a thread keep their order.
    Apart,
    /// One after this many operations, which share their window: the end of some is the start of the next. The
    /// more share one, the less the recording disturbs the schedule, and the less it shows.
    Chained(u32),
}

/// What one entry says: for a pop the token, for a push one of these.
mod what {
    /// Above every token that is given out.
    pub(super) const RESERVED: u64 = u64::MAX - 15;
    /// The tick of a call, and nothing more.
    pub(super) const START: u64 = RESERVED;
    /// The tick of a return, for those before it that have none.
    pub(super) const CLOSE: u64 = RESERVED + 1;
    /// A pop of bytes that are no item.
    pub(super) const TORN: u64 = RESERVED + 2;
    /// A pop found nothing.
    pub(super) const EMPTY: u64 = RESERVED + 3;
    /// A push was accepted.
    pub(super) const PUSHED: u64 = RESERVED + 4;
    /// A push was refused.
    pub(super) const FULL: u64 = RESERVED + 5;
    /// What was refused last was given up.
    pub(super) const ABANDONED: u64 = RESERVED + 6;
}

/// The tick of an entry that shares the next one.
const SHARED: Tick = 0;

#[derive(Clone, Copy)]
struct Entry {
    tick: Tick,
    what: u64,
}

/// What one thread wrote down.
struct Log<'a, S> {
    stamps: &'a S,
    pace: Pace,
    entries: Vec<Entry>,
    last: Tick,
    /// The last tick is the call of the next operation.
    running: bool,
    /// Operations since the last tick.
    unstamped: u32,
    went_back: bool,
}

impl<'a, S: Stamps> Log<'a, S> {
    fn new(stamps: &'a S, pace: Pace, room: usize) -> Self {
        let mut entries = Vec::new();
        // Written to, because the first touch of a page costs more than hundreds of operations.
        entries.resize(room, Entry { tick: 1, what: what::CLOSE });
        entries.clear();
        Log { stamps, pace, entries, last: 0, running: false, unstamped: 0, went_back: false }
    }

    /// The tick before the operation that begins now.
    #[inline(always)]
    fn call(&mut self) -> Tick {
        if !self.running {
            // The processor may have read this one before the last return, but no operation of this thread began
            // before both were read.
            self.last = self.stamps.call().max(self.last);
            self.entries.push(Entry { tick: self.last, what: what::START });
            self.running = true;
        }
        self.last
    }

    /// The operation that began last did `what`, which is asked after the tick is taken.
    #[inline(always)]
    fn ret(&mut self, what: impl FnOnce() -> u64) {
        self.unstamped += 1;
        let tick = match self.pace {
            Pace::Apart => self.stamps.ret(),
            Pace::Chained(every) if self.unstamped >= every => self.stamps.between(),
            Pace::Chained(_) => SHARED,
        };
        if tick != SHARED {
            self.went_back |= tick < self.last;
            self.last = tick;
            self.unstamped = 0;
            self.running = self.pace != Pace::Apart;
        }
        self.entries.push(Entry { tick, what: what() });
    }

    /// What happens next is no part of any operation.
    fn pause(&mut self) {
        if self.unstamped > 0 {
            let tick = self.stamps.ret();
            self.went_back |= tick < self.last;
            self.last = tick;
            self.unstamped = 0;
            self.entries.push(Entry { tick, what: what::CLOSE });
        }
        self.running = false;
    }

    /// Something without a window of its own.
    fn note(&mut self, what: u64) {
        self.entries.push(Entry { tick: SHARED, what });
    }

    fn has_room(&self) -> bool {
        // For one more batch, or for whatever is recorded by two entries.
        self.entries.len() + SPARE < self.entries.capacity()
    }

    /// Everything in order, each with its window. Whatever has not returned is not here.
    fn replay(mut self, mut tell: impl FnMut(u64, Window)) {
        self.pause();
        let mut call = 0;
        let mut waiting: Range<usize> = 0..0;
        for (at, entry) in self.entries.iter().enumerate() {
            waiting.end = at + 1;
            if entry.tick == SHARED {
                continue;
            }
            let window = Window { call, ret: entry.tick };
            for entry in &self.entries[waiting] {
                if !matches!(entry.what, what::START | what::CLOSE) {
                    tell(entry.what, window);
                }
            }
            call = entry.tick;
            waiting = at + 1..at + 1;
        }
        // Notes after the last tick.
        for entry in &self.entries[waiting] {
            tell(entry.what, Window { call, ret: call });
        }
    }
}

/// A log is full when there is room for fewer entries than these.
const SPARE: usize = 8;

/// A producer's end and its log. Items that were refused are kept and offered again first.
pub struct RecordedProducer<'a, P, S, const WORDS: usize> {
    end: P,
    number: usize,
    log: Log<'a, S>,
    refused: VecDeque<Item<WORDS>>,
    settled: usize,
    /// Call of the operation that has not returned, and how many items it offers.
    open: Option<(Tick, usize)>,
}

impl<'a, P: Push<Item<WORDS>>, S: Stamps, const WORDS: usize> RecordedProducer<'a, P, S, WORDS> {
    /// Records the `number`-th producer, with room for so many entries without allocating: two for each
    /// operation [`Pace::Apart`], else one and a little more.
    pub fn new(end: P, number: usize, stamps: &'a S, pace: Pace, room: usize) -> Self {
        let log = Log::new(stamps, pace, room);
        RecordedProducer { end, number, log, refused: VecDeque::new(), settled: 0, open: None }
    }

    /// How many items were accepted or abandoned.
    pub fn settled(&self) -> usize {
        self.settled
    }

    /// Whether there is room for another operation. Beyond it nothing is lost, but the log grows while others
    /// are at work.
    pub fn has_room(&self) -> bool {
        self.log.has_room()
    }

    /// Whether a tick was below the one before it, so that none of this can be believed.
    pub fn clock_went_back(&self) -> bool {
        self.log.went_back
    }

    /// What follows belongs to no operation, until the next begins.
    pub fn pause(&mut self) {
        self.log.pause();
    }

    /// Pushes one item; `false`: full.
    #[inline]
    pub fn push(&mut self) -> bool {
        let item = match self.refused.pop_front() {
            None => Item::new(token(self.number, self.settled)),
            Some(item) => item,
        };
        self.open = Some((self.log.call(), 1));
        let answer = self.end.push(item);
        self.log.ret(|| if answer.is_ok() { what::PUSHED } else { what::FULL });
        self.open = None;
        match answer {
            Ok(()) => {
                self.settled += 1;
                true
            }
            Err(Full(item)) => {
                self.refused.push_front(item);
                false
            }
        }
    }

    /// Pushes `count` items at once, or what was refused before if that is more; `false`: full.
    ///
    /// # Errors
    /// What was neither counted as in nor left to try again.
    pub fn push_many(&mut self, count: usize) -> Result<bool, Miscounted> {
        let first = self.settled;
        for at in self.refused.len()..count {
            self.refused.push_back(Item::new(token(self.number, first + at)));
        }
        let count = self.refused.len();
        if count == 0 {
            return Ok(true);
        }
        self.open = Some((self.log.call(), count));
        let pushed = self.end.push_many(&mut self.refused);
        let left = self.refused.iter().zip(first.saturating_add(pushed)..);
        if pushed.saturating_add(self.refused.len()) != count
            || left.into_iter().any(|(item, at)| item.token() != Some(token(self.number, at)))
        {
            return Err(Miscounted(format!(
                "A batch push of {count} items said that {pushed} went in, and left {} to try again.",
                self.refused.len()
            )));
        }
        // All of one call share its window: only the last of them has a tick.
        let (others, last) = if pushed < count { (pushed, what::FULL) } else { (count - 1, what::PUSHED) };
        (0..others).for_each(|_| self.log.note(what::PUSHED));
        self.log.ret(|| last);
        self.open = None;
        self.settled += pushed;
        Ok(pushed == count)
    }

    /// Gives up the oldest refused item, if any.
    pub fn abandon(&mut self) -> bool {
        let given_up = self.refused.pop_front().is_some();
        if given_up {
            self.log.note(what::ABANDONED);
            self.settled += 1;
        }
        given_up
    }

    /// The log. What was refused last is abandoned; an operation that panicked or miscounted stays
    /// pending.
    pub fn finish(mut self) -> ProducerLog {
        if self.open.is_some() {
            self.refused.clear();
        }
        while self.abandon() {}
        let mut log = ProducerLog { offers: Vec::with_capacity(self.settled), ..ProducerLog::default() };
        let (mut refusal, mut pushed) = (Window { call: 0, ret: 0 }, None);
        self.log.replay(|what, window| match what {
            what::PUSHED => {
                pushed = Some(window);
                log.offers.push(Offered::Accepted(window));
            }
            what::FULL => {
                refusal = window;
                let answers = if pushed == Some(window) { &mut log.trailing } else { &mut log.fulls };
                answers.push(window);
            }
            _ => log.offers.push(Offered::Abandoned(refusal)),
        });
        if let Some((call, count)) = self.open {
            let window = Window { call, ret: PENDING };
            log.offers.extend((0..count).map(|_| Offered::Accepted(window)));
        }
        log
    }
}

/// A consumer's end and its log.
pub struct RecordedConsumer<'a, C, S, const WORDS: usize> {
    end: C,
    log: Log<'a, S>,
    /// What a batch pop appends to: never empty, and what is there must stay.
    batch: Vec<Item<WORDS>>,
    /// Call of the pop that has not returned, and how many it asked for.
    open: Option<(Tick, usize)>,
}

/// How many items are in the vector before a batch pop appends to it.
const KEPT: usize = 3;

/// Items that nobody pushed.
fn kept<const WORDS: usize>() -> [Item<WORDS>; KEPT] {
    std::array::from_fn(|at| Item::new(Token(what::RESERVED - 1 - at as u64)))
}

impl<'a, C: Pop<Item<WORDS>>, S: Stamps, const WORDS: usize> RecordedConsumer<'a, C, S, WORDS> {
    /// Records a consumer, with room as in [`RecordedProducer::new`].
    pub fn new(end: C, stamps: &'a S, pace: Pace, room: usize) -> Self {
        RecordedConsumer { end, log: Log::new(stamps, pace, room), batch: kept().to_vec(), open: None }
    }

    /// As [`RecordedProducer::has_room`].
    pub fn has_room(&self) -> bool {
        self.log.has_room()
    }

    /// As [`RecordedProducer::clock_went_back`].
    pub fn clock_went_back(&self) -> bool {
        self.log.went_back
    }

    /// As [`RecordedProducer::pause`].
    pub fn pause(&mut self) {
        self.log.pause();
    }

    /// Pops one item; `false`: empty.
    #[inline]
    pub fn pop(&mut self) -> bool {
        self.open = Some((self.log.call(), 1));
        let item = self.end.pop();
        self.log.ret(|| item.as_ref().map_or(what::EMPTY, came_out));
        self.open = None;
        item.is_some()
    }

    /// Pops at most `max` items at once and says how many; none of some is an answer "empty".
    ///
    /// # Errors
    /// The count is not that of the items that were appended, there are more than `max`, or what was in the
    /// vector before is not there any more.
    pub fn pop_many(&mut self, max: usize) -> Result<usize, Miscounted> {
        self.open = Some((self.log.call(), max));
        let counted = self.end.pop_many(&mut self.batch, max);
        if !self.batch.starts_with(&kept::<WORDS>()) {
            return Err(Miscounted(format!(
                "A batch pop into a vector of {KEPT} items must append, and changed those: {} are left, of which \
                 it says that it appended {counted}.",
                self.batch.len()
            )));
        }
        let popped = self.batch.len() - KEPT;
        let items = &self.batch[KEPT..];
        match items.split_last() {
            // Asked for nothing, it answers nothing.
            None if max == 0 => {}
            None => self.log.ret(|| what::EMPTY),
            Some((last, others)) => {
                others.iter().for_each(|item| self.log.note(came_out(item)));
                self.log.ret(|| came_out(last));
            }
        }
        self.open = None;
        self.batch.truncate(KEPT);
        if popped != counted || popped > max {
            return Err(Miscounted(format!(
                "A batch pop of at most {max} items appended {popped} and counted {counted}."
            )));
        }
        Ok(popped)
    }

    /// The log. An operation that panicked stays pending.
    pub fn finish(self) -> ConsumerLog {
        let pending = self.open.map_or_else(Vec::new, |(call, most)| vec![call; most]);
        let mut log = ConsumerLog { pending, ..ConsumerLog::default() };
        log.pops.reserve_exact(self.log.entries.iter().filter(|entry| is_pop(entry.what)).count());
        self.log.replay(|what, window| match what {
            what::EMPTY => {
                let popped = log.pops.last().is_some_and(|pop| pop.window == window);
                let answers = if popped { &mut log.trailing } else { &mut log.empties };
                answers.push(window);
            }
            what::TORN => log.pops.push(Popped { window, token: None }),
            token => log.pops.push(Popped { window, token: Some(Token(token)) }),
        });
        log
    }
}

fn is_pop(what: u64) -> bool {
    what < what::RESERVED || what == what::TORN
}

#[inline(always)]
fn came_out<const WORDS: usize>(item: &Item<WORDS>) -> u64 {
    match item.token() {
        Some(token) if token.0 < what::RESERVED => token.0,
        _ => what::TORN,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use stanchion_queues::buffers::MutexDeque;
    use stanchion_queues::{Buffer, BufferContract, Ends, Shape};

    use super::*;
    use crate::buffer_history::BufferHistory;
    use crate::checkers_buffer;
    use crate::engines::stamps::Counter;
    use crate::invariant::Invariant;

    type Producer<'a, S> = RecordedProducer<'a, <MutexDeque as Buffer>::Producer<Item<1>>, S, 1>;
    type Consumer<'a, S> = RecordedConsumer<'a, <MutexDeque as Buffer>::Consumer<Item<1>>, S, 1>;

    fn recorded<'a, S: Stamps>(stamps: &'a S, late: &'a S, pace: Pace) -> (Producer<'a, S>, Consumer<'a, S>) {
        let Ends { mut producers, mut consumers } =
            MutexDeque::open(Shape::new(1, 1, 2)).expect("an ordinary shape");
        let (producer, consumer) = (producers.remove(0), consumers.remove(0));
        (
            RecordedProducer::new(producer, 0, late, pace, 100),
            RecordedConsumer::new(consumer, stamps, pace, 100),
        )
    }

    fn window(call: Tick, ret: Tick) -> Window {
        Window { call, ret }
    }

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

    /// Two pushes, one refused and given up, two at once of which one fits not, and pops of everything.
    fn play(pace: Pace) -> (ProducerLog, ConsumerLog) {
        let clock = Counter::default();
        let (mut producer, mut consumer) = recorded(&clock, &clock, pace);
        assert!(producer.push() && producer.push() && !producer.push());
        assert!(producer.abandon());
        producer.pause();
        assert!(consumer.pop());
        assert_eq!(producer.push_many(2), Ok(false));
        assert_eq!(consumer.pop_many(5), Ok(2));
        assert_eq!(consumer.pop_many(5), Ok(0));
        (producer.finish(), consumer.finish())
    }

    #[test]
    fn windows_lie_between_ticks() {
        let accepted = |call, ret| Offered::Accepted(window(call, ret));
        let abandoned = |call, ret| Offered::Abandoned(window(call, ret));

        let (produced, consumed) = play(Pace::Apart);
        let offers = [accepted(1, 2), accepted(3, 4), abandoned(5, 6), accepted(9, 10), abandoned(9, 10)];
        assert_eq!(produced.offers, offers);
        assert_eq!((produced.fulls, produced.trailing), (vec![window(5, 6)], vec![window(9, 10)]));
        let pops: Vec<Window> = consumed.pops.iter().map(|pop| pop.window).collect();
        assert_eq!(
            (pops, consumed.empties),
            (vec![window(7, 8), window(11, 12), window(11, 12)], vec![window(13, 14)])
        );
        let tokens: Vec<_> = consumed.pops.iter().map(|pop| pop.token).collect();
        assert_eq!(tokens, [0, 1, 3].map(|at| Some(token(0, at))));

        // The end of one is the start of the next, until a pause.
        let (produced, consumed) = play(Pace::Chained(1));
        let offers = [accepted(1, 2), accepted(2, 3), abandoned(3, 4), accepted(7, 8), abandoned(7, 8)];
        assert_eq!(produced.offers, offers);
        let pops: Vec<Window> = consumed.pops.iter().map(|pop| pop.window).collect();
        assert_eq!(
            (pops, consumed.empties),
            (vec![window(5, 6), window(6, 9), window(6, 9)], vec![window(9, 10)])
        );

        // Two operations share a window; a pause closes one that is not complete, and so does the end.
        let (produced, consumed) = play(Pace::Chained(2));
        let offers = [accepted(1, 2), accepted(1, 2), abandoned(2, 3), accepted(5, 7), abandoned(5, 7)];
        assert_eq!(produced.offers, offers);
        let pops: Vec<Window> = consumed.pops.iter().map(|pop| pop.window).collect();
        assert_eq!((pops, consumed.empties), (vec![window(4, 6); 3], vec![window(6, 8)]));
    }

    /// Takes a tick in each call, and takes and gives what it is asked for.
    struct Ticking<'a>(&'a Counter, &'a Mutex<Vec<Tick>>);

    impl Ticking<'_> {
        fn tick(&self) {
            self.1.lock().expect("nobody panics").push(self.0.call());
        }
    }

    impl Push<Item<1>> for Ticking<'_> {
        fn push(&mut self, _: Item<1>) -> Result<(), Full<Item<1>>> {
            self.tick();
            Ok(())
        }
    }

    impl Pop<Item<1>> for Ticking<'_> {
        fn pop(&mut self) -> Option<Item<1>> {
            self.tick();
            Some(Item::new(token(0, 0)))
        }
    }

    /// Else an order would be claimed in which things did not happen.
    #[test]
    fn an_operation_lies_between_its_ticks() {
        for pace in [Pace::Apart, Pace::Chained(1), Pace::Chained(2)] {
            let (clock, inside) = (Counter::default(), Mutex::default());
            let mut producer = RecordedProducer::new(Ticking(&clock, &inside), 0, &clock, pace, 100);
            let mut consumer = RecordedConsumer::new(Ticking(&clock, &inside), &clock, pace, 100);
            assert!((0..3).all(|_| producer.push()) && (0..3).all(|_| consumer.pop()));
            let offered = producer.finish().offers.into_iter().map(|offer| match offer {
                Offered::Accepted(window) => window,
                other => panic!("nothing was refused: {other:?}"),
            });
            let popped = consumer.finish().pops.into_iter().map(|pop| pop.window);
            let windows: Vec<Window> = offered.chain(popped).collect();
            let inside = inside.into_inner().expect("nobody panicked");
            assert_eq!((windows.len(), inside.len()), (6, 6));
            for (window, inside) in windows.iter().zip(inside) {
                assert!(window.call < inside && inside < window.ret, "{pace:?}: {inside}, {window:?}");
            }
        }
    }

    #[test]
    fn what_did_not_return_is_pending_and_began_no_later_than_it_did() {
        struct Stuck;
        impl Push<Item<1>> for Stuck {
            fn push(&mut self, item: Item<1>) -> Result<(), Full<Item<1>>> {
                assert!(item.token() != Some(token(0, 2)), "the third");
                Ok(())
            }
        }
        let clock = Counter::default();
        let mut producer = RecordedProducer::new(Stuck, 0, &clock, Pace::Chained(8), 100);
        let third = std::panic::AssertUnwindSafe(|| (0..3).for_each(|_| assert!(producer.push())));
        assert!(super::super::sequential::quietly(|| std::panic::catch_unwind(third)).is_err());
        let accepted = Offered::Accepted(window(1, 2));
        let log = producer.finish();
        assert_eq!(log.offers, [accepted, accepted, Offered::Accepted(window(1, PENDING))]);
    }

    #[test]
    fn a_batch_that_did_not_return_may_have_taken_as_many_as_it_asked_for() {
        struct Stuck;
        impl Pop<Item<1>> for Stuck {
            fn pop(&mut self) -> Option<Item<1>> {
                panic!("for ever")
            }
        }
        let clock = Counter::default();
        for (most, single) in [(1, true), (5, false)] {
            let mut consumer = RecordedConsumer::new(Stuck, &clock, Pace::Apart, 100);
            let pop = std::panic::AssertUnwindSafe(|| {
                let _ = if single { consumer.pop() } else { consumer.pop_many(5).is_ok() };
            });
            assert!(super::super::sequential::quietly(|| std::panic::catch_unwind(pop)).is_err());
            let pending = consumer.finish().pending;
            assert_eq!((pending.len(), pending.iter().min()), (most, pending.iter().max()));
        }
    }

    #[test]
    fn a_clock_that_goes_back_is_noticed() {
        struct Back(Counter);
        impl Stamps for Back {
            fn call(&self) -> Tick {
                100 - self.0.call()
            }
            fn ret(&self) -> Tick {
                self.call()
            }
            fn between(&self) -> Tick {
                self.call()
            }
        }
        for pace in [Pace::Apart, Pace::Chained(1)] {
            let (forward, back) = (Counter::default(), Back(Counter::default()));
            let (mut producer, mut consumer) = recorded(&back, &back, pace);
            assert!(producer.push() && consumer.pop());
            assert!(producer.clock_went_back() && consumer.clock_went_back(), "{pace:?}");
            let (mut producer, _) = recorded(&forward, &forward, pace);
            assert!(producer.push() && !producer.clock_went_back());
        }
    }

    /// The alarm is live: a clock that is ahead on one side makes a buffer look broken that is right.
    #[test]
    fn clocks_that_differ_blame_what_is_right() {
        struct Ahead<'a>(&'a Counter, Tick);
        impl Stamps for Ahead<'_> {
            fn call(&self) -> Tick {
                self.0.call() + self.1
            }
            fn ret(&self) -> Tick {
                self.call()
            }
            fn between(&self) -> Tick {
                self.call()
            }
        }
        let breaks = |ahead, invariant| {
            let counter = Counter::default();
            let (right, late) = (Ahead(&counter, 0), Ahead(&counter, ahead));
            let (mut producer, mut consumer) = recorded(&right, &late, Pace::Apart);
            assert!(
                producer.push() && consumer.pop() && producer.push() && consumer.pop() && !consumer.pop()
            );
            let history = BufferHistory {
                contract: BufferContract::FIFO,
                capacity: 2,
                producers: vec![producer.finish()],
                consumers: vec![consumer.finish()],
                drained: true,
            };
            checkers_buffer::judge(&history).breaks(invariant)
        };
        assert!(breaks(100, Invariant::Al3), "it comes out before it goes in");
        assert!(!breaks(0, Invariant::Al3));
    }
}
