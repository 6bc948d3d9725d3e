//! Finds the push of every pop: what was invented, doubled, damaged or refused, and what is missing.
//!
//! A value has a number: where its producer's offers begin, plus its sequence. The windows of pushes stay where
//! they are, in the history; those of pops are put in a column by that number.

use std::mem;

use crate::buffer_history::{BufferHistory, Offered, Popped, Tick, Window, split, token};
use crate::history::{PENDING, Token};
use crate::invariant::Invariant;

use super::picture::{BufferCounterexample, Did, Operation, Who, name};
use super::{Judgement, NEVER, UNRETURNED, Value};

/// The pop of a value that never came out.
const UNPOPPED: Window = Window { call: NEVER, ret: NEVER };
/// Stands for the pop of an offer that is no value: refused, perhaps never made, or lost.
const ABSENT: Window = Window { call: NEVER, ret: 0 };

/// How a pop goes with what was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    /// It is the first of a value that was not pushed later.
    Right,
    /// There is no such value, or not yet.
    Wrong,
    /// The value came out before.
    Again,
}

/// Pushes with their pops.
#[derive(Clone)]
pub(super) struct Matched<'a> {
    history: &'a BufferHistory,
    /// Where the offers of each producer begin, and at the end how many there are.
    base: Vec<usize>,
    /// The window of the pop by number, [`UNPOPPED`] or [`ABSENT`].
    pops: Vec<Window>,
    /// By consumer: what its unreturned pop is taken to have popped.
    given: Vec<Vec<usize>>,
    /// Pushes that neither returned nor came out: they may have had an effect.
    pub(super) doubtful: Vec<usize>,
    /// Calls of pops that never returned.
    pub(super) pending_pops: Vec<Tick>,
    /// Those pops are given to nobody.
    loose: bool,
    /// How many values there are, but for `lost` and `doubtful`.
    pub(super) count: usize,
    /// Values that never came out and cannot be said to be inside.
    pub(super) lost: Vec<usize>,
    /// How many values never came out.
    pub(super) unpopped: usize,
    /// How many pops returned bytes that are no item.
    pub(super) torn: u64,
    /// Something else than order, "empty" and "full" is already wrong.
    pub(super) flawed: bool,
}

impl<'a> Matched<'a> {
    pub(super) fn history(&self) -> &'a BufferHistory {
        self.history
    }

    /// What fits in, but no more than there can be offers, so that ranks do not overflow.
    pub(super) fn capacity(&self) -> usize {
        self.history.capacity.min(u32::MAX as usize)
    }

    /// One more than the highest number.
    pub(super) fn numbers(&self) -> usize {
        self.pops.len()
    }

    /// The values of one producer with the windows of their pushes, in program order.
    pub(super) fn pushed(&self, producer: usize) -> impl Iterator<Item = (usize, Window)> {
        let base = self.base[producer];
        let offers = &self.history.producers[producer].offers;
        offers.iter().zip(&self.pops[base..]).zip(base..).filter_map(|((offer, pop), number)| match offer {
            Offered::Accepted(push) if *pop != ABSENT => Some((number, clip(*push))),
            _ => None,
        })
    }

    /// All values, producer by producer, with the windows of their pushes.
    pub(super) fn values(&self) -> impl Iterator<Item = (usize, Window)> {
        (0..self.producers()).flat_map(|producer| self.pushed(producer))
    }

    /// The values that one consumer popped, in program order. Only for what is not flawed.
    pub(super) fn popped(&self, consumer: usize) -> impl Iterator<Item = usize> {
        let tokens = self.history.consumers[consumer].pops.iter().filter_map(|pop| pop.token);
        tokens
            .map(|token| {
                let (producer, sequence) = split(token);
                self.base[producer] + sequence
            })
            .chain(self.given[consumer].iter().copied())
    }

    pub(super) fn producers(&self) -> usize {
        self.history.producers.len()
    }

    pub(super) fn consumers(&self) -> usize {
        self.history.consumers.len()
    }

    /// The window of the pop; both ticks are [`NEVER`] if there was none.
    #[inline]
    pub(super) fn pop(&self, number: usize) -> Window {
        self.pops[number]
    }

    /// From when on values that no returned pop took may come out; [`NEVER`] unless some pops never returned
    /// and are given to nobody.
    pub(super) fn possible_pop(&self) -> Tick {
        if self.loose { self.pending_pops.iter().copied().min().unwrap_or(NEVER) } else { NEVER }
    }

    /// Whether a pop returned this value.
    pub(super) fn came_out(&self, number: usize) -> bool {
        self.holds(number) && self.pops[number].ret != NEVER
    }

    /// Whether there is such a value.
    #[inline]
    pub(super) fn holds(&self, number: usize) -> bool {
        self.pops[number] != ABSENT
    }

    /// The window of the push.
    #[inline]
    pub(super) fn push(&self, number: usize) -> Window {
        let (producer, sequence) = self.place(number);
        clip(self.history.producers[producer].offers[sequence].window())
    }

    /// The same, if it is known who pushed it.
    #[inline]
    pub(super) fn pushed_by(&self, producer: usize, number: usize) -> Window {
        clip(self.history.producers[producer].offers[number - self.base[producer]].window())
    }

    /// When the first of some values is popped, by their numbers.
    #[inline]
    pub(super) fn first_return(&self, numbers: std::ops::Range<usize>) -> Tick {
        // What is no value returns at 0, which is made the last of all ticks.
        let pops = self.pops[numbers].iter().map(|pop| pop.ret.wrapping_sub(1));
        pops.min().map_or(NEVER, |least| least.saturating_add(1))
    }

    /// The numbers of all that a producer offered.
    #[inline]
    pub(super) fn numbers_of(&self, producer: usize) -> std::ops::Range<usize> {
        self.base[producer]..self.base[producer + 1]
    }

    /// Who pushed the value.
    #[inline]
    pub(super) fn producer_of(&self, number: usize) -> usize {
        self.place(number).0
    }

    /// The value that a consumer popped in its turn. Only for what is not flawed.
    #[inline]
    pub(super) fn popped_at(&self, consumer: usize, turn: usize) -> Option<usize> {
        let pops = &self.history.consumers[consumer].pops;
        let Some(pop) = pops.get(turn) else { return self.given[consumer].get(turn - pops.len()).copied() };
        let (producer, sequence) = split(pop.token?);
        Some(self.base[producer] + sequence)
    }

    /// When the pop of a consumer in its turn returned; [`NEVER`]: there was none. Only for what is not flawed.
    #[inline]
    pub(super) fn pop_return(&self, consumer: usize, turn: usize) -> Tick {
        match self.history.consumers[consumer].pops.get(turn) {
            Some(pop) => pop.window.ret.min(UNRETURNED),
            None => self.popped_at(consumer, turn).map_or(NEVER, |value| self.pop(value).ret),
        }
    }

    #[inline]
    fn place(&self, number: usize) -> (usize, usize) {
        // Few producers: counting beats searching.
        let producer = self.base[1..].iter().take_while(|end| **end <= number).count();
        (producer, number - self.base[producer])
    }

    /// Everything about one value, for pictures.
    pub(super) fn value(&self, number: usize) -> Value {
        let (producer, sequence) = self.place(number);
        let push = self.push(number);
        let pop = if self.came_out(number) { self.pops[number] } else { UNPOPPED };
        let token = token(producer, sequence);
        let took = |(consumer, given): (usize, &Vec<usize>)| {
            let pops = &self.history.consumers[consumer].pops;
            given.contains(&number) || pops.iter().any(|pop| pop.token == Some(token))
        };
        let consumer = self.given.iter().enumerate().position(took).unwrap_or(0);
        Value { token, ei: push.call, er: push.ret, di: pop.call, dr: pop.ret, consumer }
    }

    /// The same with pops that never returned given to nobody: each value that no returned pop took may or may
    /// not have been popped since the first of them was called. `None`: there are no such pops.
    pub(super) fn loosened(&self) -> Option<Matched<'a>> {
        let call = self.pending_pops.iter().min().copied()?;
        let mut loose = Matched { loose: true, ..self.clone() };
        for number in loose.given.iter_mut().flat_map(mem::take) {
            loose.pops[number] = UNPOPPED;
            loose.unpopped += 1;
        }
        for pop in loose.pops.iter_mut().filter(|pop| **pop == UNPOPPED) {
            pop.call = call;
        }
        Some(loose)
    }

    /// Pops that never returned may each have taken one value. The earliest calls take the values pushed
    /// first; any other choice leaves more that is certainly inside.
    fn give_to_pending_pops(&mut self) {
        let consumers = self.history.consumers.iter().enumerate();
        let mut pending: Vec<(Tick, usize)> = consumers
            .flat_map(|(consumer, log)| log.pending.iter().map(move |call| (*call, consumer)))
            .collect();
        if pending.is_empty() {
            return;
        }
        pending.sort_unstable();
        let mut unpopped: Vec<(Tick, usize)> = self
            .values()
            .filter(|(number, _)| self.pops[*number] == UNPOPPED)
            .map(|(number, push)| (push.ret, number))
            .collect();
        unpopped.sort_unstable();
        for (&(call, consumer), (_, number)) in pending.iter().zip(unpopped) {
            self.pops[number] = Window { call, ret: UNRETURNED };
            self.given[consumer].push(number);
        }
        // Of more than there are values the later ones take nothing.
        pending.truncate(self.unpopped + self.doubtful.len());
        self.pending_pops = pending.into_iter().map(|(call, _)| call).collect();
    }
}

/// Unreturned is after every tick and before [`NEVER`].
#[inline]
fn clip(window: Window) -> Window {
    Window { call: window.call, ret: window.ret.min(UNRETURNED) }
}

pub(super) fn run<'a>(history: &'a BufferHistory, out: &mut Judgement) -> Matched<'a> {
    let mut base = Vec::with_capacity(history.producers.len() + 1);
    base.push(0);
    for log in &history.producers {
        base.push(base.last().copied().unwrap_or(0) + log.offers.len());
    }
    let numbers = base.last().copied().unwrap_or(0);
    let mut matched = Matched {
        history,
        base,
        pops: vec![UNPOPPED; numbers],
        given: vec![Vec::new(); history.consumers.len()],
        doubtful: Vec::new(),
        pending_pops: Vec::new(),
        loose: false,
        count: 0,
        lost: Vec::new(),
        unpopped: 0,
        torn: 0,
        flawed: false,
    };
    let mut found = Found::default();
    for (consumer, log) in history.consumers.iter().enumerate() {
        for popped in &log.pops {
            let fit = matched.note(history, popped);
            if fit != Fit::Right {
                found.judge(history, &matched, consumer, popped, fit);
            }
        }
    }
    let pops = history.consumers.iter().map(|log| log.pops.len() as u64).sum();
    let refusals: u64 = history.producers.iter().map(|log| log.refusals().count() as u64).sum();
    matched.flawed = found.any();
    matched.torn = found.torn_count;
    out.decide(Invariant::Al3, found.invented, pops);
    out.decide(Invariant::Al5, found.torn, pops);
    out.decide(Invariant::Al7, found.doubled, pops);
    if history.contract.bounded {
        out.decide(Invariant::Cb3, found.refused, refusals);
    } else {
        out.say(Invariant::Cb3, crate::verdict::Verdict::NotClaimed);
    }
    matched.sort_out(history);
    matched
}

impl Matched<'_> {
    fn note(&mut self, history: &BufferHistory, popped: &Popped) -> Fit {
        let Some((producer, sequence)) = popped.token.map(split) else { return Fit::Wrong };
        let offer = history.producers.get(producer).and_then(|log| log.offers.get(sequence));
        let Some(Offered::Accepted(push)) = offer else { return Fit::Wrong };
        let pop = &mut self.pops[self.base[producer] + sequence];
        if *pop != UNPOPPED {
            return Fit::Again;
        }
        *pop = clip(popped.window);
        if popped.window.ret < push.call { Fit::Wrong } else { Fit::Right }
    }

    /// What is missing after a drain is lost; what is missing after a pop of something else may be what that
    /// pop took. Neither may be held against the order or the answers: any subset of the values of a FIFO
    /// history is again a FIFO history.
    fn sort_out(&mut self, history: &BufferHistory) {
        let numbers = history.producers.iter().flat_map(|log| &log.offers).enumerate();
        for (number, offer) in numbers {
            match offer {
                Offered::Abandoned(_) => self.pops[number] = ABSENT,
                // A push that never returned and never came out may never have happened.
                Offered::Accepted(push) if push.ret == PENDING && self.pops[number] == UNPOPPED => {
                    self.doubtful.push(number);
                    self.pops[number] = ABSENT;
                }
                Offered::Accepted(_) => {
                    self.count += 1;
                    self.unpopped += usize::from(self.pops[number] == UNPOPPED);
                }
            }
        }
        if self.unpopped == 0 {
            self.give_to_pending_pops();
            return;
        }
        self.give_to_pending_pops();
        let missing: Vec<usize> = if history.drained || self.flawed {
            self.values().map(|(number, _)| number).filter(|number| self.pops[*number] == UNPOPPED).collect()
        } else {
            Vec::new()
        };
        for number in missing {
            self.pops[number] = ABSENT;
            self.count -= 1;
            self.lost.push(number);
        }
        self.unpopped = (0..self.numbers()).filter(|number| self.pops[*number] == UNPOPPED).count();
        self.flawed |= !self.lost.is_empty();
    }
}

#[derive(Default)]
struct Found {
    invented: Option<BufferCounterexample>,
    doubled: Option<BufferCounterexample>,
    torn: Option<BufferCounterexample>,
    refused: Option<BufferCounterexample>,
    torn_count: u64,
}

impl Found {
    fn any(&self) -> bool {
        self.invented.is_some() || self.doubled.is_some() || self.torn.is_some() || self.refused.is_some()
    }

    fn judge(
        &mut self,
        history: &BufferHistory,
        matched: &Matched<'_>,
        consumer: usize,
        popped: &Popped,
        fit: Fit,
    ) {
        let who = Who::Consumer(consumer);
        let Some(token) = popped.token else {
            self.torn_count += 1;
            self.torn.get_or_insert_with(|| BufferCounterexample {
                invariant: Invariant::Al5,
                sentence: "A pop returned bytes that are those of no item: it was torn or overwritten."
                    .to_owned(),
                operations: vec![Operation { who, did: Did::Torn, window: popped.window }],
            });
            return;
        };
        let pop = Operation { who, did: Did::Pop(token), window: popped.window };
        let (producer, sequence) = split(token);
        let log = history.producers.get(producer);
        let Some((log, offer)) = log.and_then(|log| Some((log, log.offers.get(sequence)?))) else {
            self.invented.get_or_insert_with(|| BufferCounterexample {
                invariant: Invariant::Al3,
                sentence: format!("{} came out and was never offered by anyone.", name(token)),
                operations: vec![pop],
            });
            return;
        };
        let pushed = match *offer {
            Offered::Accepted(window) => window,
            Offered::Abandoned(window) => {
                self.refused.get_or_insert_with(|| refused(token, producer, window, pop));
                return;
            }
        };
        if fit == Fit::Again {
            self.doubled.get_or_insert_with(|| {
                let value = matched.value(matched.base[producer] + sequence);
                BufferCounterexample {
                    invariant: Invariant::Al7,
                    sentence: format!("{} was pushed once and came out twice.", name(token)),
                    operations: [Some(Operation::push(&value)), Operation::pop(&value), Some(pop)]
                        .into_iter()
                        .flatten()
                        .collect(),
                }
            });
        }
        if popped.window.ret < pushed.call {
            // It was offered before only if a refusal lies between it and the producer's previous item.
            let before = log.offers[..sequence].last().map_or(0, |offer| offer.window().ret);
            let in_between = |full: &&Window| full.call >= before && full.ret <= pushed.call;
            match log.refusals().filter(in_between).find(|full| full.call <= popped.window.ret) {
                Some(full) => {
                    self.refused.get_or_insert_with(|| refused(token, producer, *full, pop));
                }
                None => {
                    let push =
                        Operation { who: Who::Producer(producer), did: Did::Push(token), window: pushed };
                    self.invented.get_or_insert_with(|| BufferCounterexample {
                        invariant: Invariant::Al3,
                        sentence: format!("{} came out before it was pushed.", name(token)),
                        operations: vec![push, pop],
                    });
                }
            }
        }
    }
}

fn refused(token: Token, producer: usize, window: Window, pop: Operation) -> BufferCounterexample {
    BufferCounterexample {
        invariant: Invariant::Cb3,
        sentence: format!("{} was refused as not fitting, and came out all the same.", name(token)),
        operations: vec![Operation { who: Who::Producer(producer), did: Did::Refused(token), window }, pop],
    }
}
