//! The exact search: just-in-time linearization over the tightened windows (Lowe 2017). Operations take effect
//! as late as possible, at the return of one that has not; all ways of that are kept.
//!
//! Two rules keep them few, and lose none: answers take effect as soon as they are true, since they change
//! nothing; and no value is pushed before another that could take its place at both ends.

use std::collections::VecDeque;

use super::matching::Matched;
use super::merge::Merge;
use super::tighten::{Tight, tighten};
use super::{Answers, NEVER, Tick, UNRETURNED};

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Searched {
    /// There is a linearization.
    Possible,
    /// There is none, whatever comes after this tick.
    Impossible(Tick),
    /// It was given up, for this reason.
    Undecided(String),
}

/// How many operations may be open at once: a bit each.
const OPEN: usize = u128::BITS as usize;

/// An operation by its thread or value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Push(usize),
    Pop(usize),
    /// A pop that never returned, of whatever it found.
    PopAny,
    /// The thread, and which of its answers.
    Empty(usize, usize),
    Full(usize, usize),
}

/// One way in which everything so far may have happened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Configuration {
    /// Open operations that took effect.
    done: u128,
    popped: usize,
    /// Values in the order of their pushes, after those on which all agree.
    pushed: Vec<u32>,
}

struct Search<'a> {
    matched: &'a Matched<'a>,
    tight: &'a Tight,
    capacity: usize,
    /// What the operations of each bit are, and which bits are in use.
    what: Vec<What>,
    open: u128,
    empties: u128,
    fulls: u128,
    /// Pushes that need not have happened.
    doubtful: u128,
    /// Some pop takes whatever it finds, so that only values with a pop of their own are compared.
    any: bool,
    /// Values that all configurations pushed in the same order, from the `forgotten`-th on.
    agreed: VecDeque<u32>,
    forgotten: usize,
    configurations: Vec<Configuration>,
    steps: u64,
}

/// Decides whether the history has a linearization, if that takes no more than `most` configurations at once.
/// Pops that never returned must be given to nobody.
pub(super) fn search(matched: &Matched<'_>, answers: Answers, most: usize) -> Searched {
    let mut tight = tighten(matched);
    for v in &matched.doubtful {
        tight.ei[*v] = matched.push(*v).call;
        tight.er[*v] = UNRETURNED;
    }
    let mut events = Events::new(matched, &tight, answers);
    let mut search = Search {
        matched,
        tight: &tight,
        capacity: matched.history().capacity,
        what: vec![What::PopAny; OPEN],
        open: 0,
        empties: 0,
        fulls: 0,
        doubtful: 0,
        any: !matched.pending_pops.is_empty(),
        agreed: VecDeque::new(),
        forgotten: 0,
        configurations: vec![Configuration { done: 0, popped: 0, pushed: Vec::new() }],
        steps: 0,
    };
    while let Some((at, event)) = events.next() {
        match event {
            Event::Call(what) => {
                if !search.call(what) {
                    let why = format!("more than {OPEN} of them were open at once");
                    return Searched::Undecided(why);
                }
            }
            Event::Return(what) => {
                if let Err(configurations) = search.ret(what, most) {
                    let why =
                        format!("there were {configurations} ways to follow at once, of {most} allowed");
                    return Searched::Undecided(why);
                }
                if search.configurations.is_empty() {
                    return Searched::Impossible(at);
                }
                search.agree();
            }
        }
    }
    Searched::Possible
}

impl Search<'_> {
    /// `false`: too many are open.
    fn call(&mut self, what: What) -> bool {
        let at = self.open.trailing_ones() as usize;
        if at == OPEN {
            return false;
        }
        let bit = 1 << at;
        self.open |= bit;
        self.what[at] = what;
        match what {
            What::Empty(..) => self.empties |= bit,
            What::Full(..) => self.fulls |= bit,
            What::Push(v) if !self.matched.holds(v) => self.doubtful |= bit,
            _ => return true,
        }
        for at in 0..self.configurations.len() {
            let free = self.free(&self.configurations[at]);
            self.configurations[at].done |= free & bit;
        }
        true
    }

    /// Lets the operation take effect in every way. `Err`: there were too many, so many.
    fn ret(&mut self, what: What, most: usize) -> Result<(), usize> {
        let mut bits = Bits(self.open);
        let Some(at) = bits.find(|at| self.what[*at] == what) else { return Ok(()) };
        let bit = 1 << at;
        let all = std::mem::take(&mut self.configurations);
        let (mut done, mut waiting): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.done & bit != 0);
        while !waiting.is_empty() {
            let mut next = Vec::new();
            for one in &waiting {
                for step in Bits(self.open & !one.done & !self.empties & !self.fulls) {
                    self.steps += 1;
                    let Some(after) = self.step(one, step) else { continue };
                    if after.done & bit == 0 { next.push(after) } else { done.push(after) }
                }
                // A bound on time as well: so many configurations, a thousand times over.
                if done.len() + next.len() > most || self.steps > 1000 * most as u64 {
                    return Err(done.len() + next.len());
                }
            }
            distinct(&mut next);
            waiting = next;
        }
        self.steps = self.steps.saturating_sub(PER_EVENT);
        for one in &mut done {
            one.done &= !bit;
        }
        distinct(&mut done);
        self.configurations = done;
        for kind in [&mut self.open, &mut self.empties, &mut self.fulls] {
            *kind &= !bit;
        }
        Ok(())
    }

    /// The configuration after one more operation took effect, if it can.
    fn step(&self, before: &Configuration, at: usize) -> Option<Configuration> {
        let len = self.len(before);
        let mut after = match self.what[at] {
            What::Push(v) => {
                if len >= self.capacity || self.dominated(before, at, v) {
                    return None;
                }
                let mut after = before.clone();
                after.pushed.push(v as u32);
                after
            }
            What::Pop(v) => {
                if len == 0 || self.head(before) as usize != v {
                    return None;
                }
                Configuration { popped: before.popped + 1, ..before.clone() }
            }
            What::PopAny if len > 0 => {
                // Not a value that a pop of its own returned.
                if self.matched.came_out(self.head(before) as usize) {
                    return None;
                }
                Configuration { popped: before.popped + 1, ..before.clone() }
            }
            _ => return None,
        };
        after.done |= 1 << at;
        after.done |= self.free(&after);
        Some(after)
    }

    /// Whether another open push could take the place of this one: exchanging the two in any linearization
    /// leaves every state as it is and every operation within its window.
    fn dominated(&self, before: &Configuration, at: usize, w: usize) -> bool {
        let tight = self.tight;
        Bits(self.open & !before.done & !self.doubtful).any(|other| {
            let What::Push(u) = self.what[other] else { return false };
            let bounds = |v: usize| [tight.er[v], tight.di[v], tight.dr[v]];
            let (of_u, of_w) = (bounds(u), bounds(w));
            let none_later = of_u.iter().zip(of_w).all(|(u, w)| *u <= w);
            let comparable = !self.any || (self.matched.came_out(u) && self.matched.came_out(w));
            other != at && comparable && none_later && (of_u != of_w || u < w)
        })
    }

    fn len(&self, one: &Configuration) -> usize {
        self.forgotten + self.agreed.len() + one.pushed.len() - one.popped
    }

    /// What is first in the queue. Only if something is inside.
    fn head(&self, one: &Configuration) -> u32 {
        let at = one.popped - self.forgotten;
        self.agreed.get(at).copied().unwrap_or_else(|| one.pushed[at - self.agreed.len()])
    }

    /// Open answers that are true in this state.
    fn free(&self, one: &Configuration) -> u128 {
        let len = self.len(one);
        let empties = if len == 0 { self.empties } else { 0 };
        empties | if len == self.capacity { self.fulls } else { 0 }
    }

    /// Moves what all configurations pushed in the same order, and forgets what all popped.
    fn agree(&mut self) {
        let Some((first, others)) = self.configurations.split_first() else { return };
        let mut common = first.pushed.len();
        for other in others {
            let same = first.pushed.iter().zip(&other.pushed).take_while(|(a, b)| a == b).count();
            common = common.min(same);
        }
        self.agreed.extend(&first.pushed[..common]);
        for one in &mut self.configurations {
            one.pushed.drain(..common);
        }
        let popped = self.configurations.iter().map(|one| one.popped).min().unwrap_or(0);
        let gone = (popped - self.forgotten).min(self.agreed.len());
        self.agreed.drain(..gone);
        self.forgotten += gone;
    }
}

/// How many steps each event may cost without being counted.
const PER_EVENT: u64 = 64;

fn distinct(configurations: &mut Vec<Configuration>) {
    configurations.sort_unstable();
    configurations.dedup();
}

/// The positions of the bits that are set.
struct Bits(u128);

impl Iterator for Bits {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let at = self.0.trailing_zeros();
        (self.0 != 0).then(|| {
            self.0 &= self.0 - 1;
            at as usize
        })
    }
}

enum Event {
    Call(What),
    Return(What),
}

/// Calls and returns in order of their ticks, calls first.
struct Events<'a> {
    matched: &'a Matched<'a>,
    tight: &'a Tight,
    answers: Answers,
    /// Values by the call and return of their pushes and pops.
    by_ei: Vec<u32>,
    by_di: Vec<u32>,
    by_er: Vec<u32>,
    by_dr: Vec<u32>,
    pending: Vec<Tick>,
    tree: Merge<Tick>,
    /// The next of each list: calls of pushes, pops and unreturned pops, calls of answers by thread, and the
    /// returns of the same.
    next: Vec<usize>,
}

impl<'a> Events<'a> {
    fn new(matched: &'a Matched<'a>, tight: &'a Tight, answers: Answers) -> Events<'a> {
        let by = |key: &[Tick]| {
            let mut numbers: Vec<u32> =
                (0..key.len()).filter(|v| key[*v] < UNRETURNED).map(|v| v as u32).collect();
            numbers.sort_by_key(|v| key[*v as usize]);
            numbers
        };
        let (mut by_di, mut by_dr) = (by(&tight.di), by(&tight.dr));
        for popped in [&mut by_di, &mut by_dr] {
            popped.retain(|v| matched.came_out(*v as usize));
        }
        let mut pending = matched.pending_pops.clone();
        pending.sort_unstable();
        let half = 3 + matched.consumers() + matched.producers();
        let mut events = Events {
            matched,
            tight,
            answers,
            by_ei: by(&tight.ei),
            by_di,
            by_er: by(&tight.er),
            by_dr,
            pending,
            tree: Merge::new([], NEVER),
            next: vec![0; 2 * half],
        };
        events.tree = Merge::new((0..2 * half).map(|list| events.key(list)).collect::<Vec<_>>(), NEVER);
        events
    }

    /// The tick of the next event of a list, and what it is about.
    fn head(&self, list: usize) -> Option<(Tick, What)> {
        let half = self.next.len() / 2;
        let (next, call) = (self.next[list], list < half);
        let consumers = self.matched.consumers();
        let valued =
            |numbers: &[u32], ticks: &[Tick]| numbers.get(next).map(|v| (*v as usize, ticks[*v as usize]));
        match list % half {
            0 => {
                let (numbers, ticks) =
                    if call { (&self.by_ei, &self.tight.ei) } else { (&self.by_er, &self.tight.er) };
                valued(numbers, ticks).map(|(v, tick)| (tick, What::Push(v)))
            }
            1 => {
                let (numbers, ticks) =
                    if call { (&self.by_di, &self.tight.di) } else { (&self.by_dr, &self.tight.dr) };
                valued(numbers, ticks).map(|(v, tick)| (tick, What::Pop(v)))
            }
            2 => self.pending.get(next).filter(|_| call).map(|tick| (*tick, What::PopAny)),
            thread => {
                let thread = thread - 3;
                let history = self.matched.history();
                let (answers, what) = if thread < consumers {
                    (self.answers.empties(&history.consumers[thread]), What::Empty(thread, next))
                } else {
                    let producer = thread - consumers;
                    (self.answers.fulls(&history.producers[producer]), What::Full(producer, next))
                };
                let window = answers.get(next)?;
                Some((if call { window.call } else { window.ret }, what))
            }
        }
    }

    fn key(&self, list: usize) -> Tick {
        self.head(list).map_or(NEVER, |(tick, _)| tick.min(UNRETURNED))
    }

    fn next(&mut self) -> Option<(Tick, Event)> {
        let (tick, list) = self.tree.first()?;
        let (_, what) = self.head(list)?;
        let event = if list < self.next.len() / 2 { Event::Call(what) } else { Event::Return(what) };
        self.next[list] += 1;
        self.tree.replace(list, self.key(list));
        Some((tick, event))
    }
}
