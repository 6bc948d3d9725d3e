//! The exact search: just-in-time linearization over the tightened windows (Lowe 2017). Operations take effect
//! as late as possible, at the return of one that has not; all ways of that are kept.
//!
//! Four rules keep them few, and lose none: answers take effect as soon as they are true, since they change
//! nothing; no value goes in or comes out before another that could take its place at both ends; the order of what
//! is inside stays open until something comes out; and whatever has moved more than another, and can do no more, is
//! not followed.

use std::collections::VecDeque;

use super::matching::Matched;
use super::tighten::{Tight, tighten};
use super::{Answers, Tick, UNRETURNED};

mod configuration;
mod events;

use configuration::Configuration;
use events::{Event, Events, Sorted};

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

struct Search<'a> {
    matched: &'a Matched<'a>,
    tight: &'a Tight,
    sorted: &'a Sorted,
    capacity: usize,
    /// How many ways are followed at once.
    most: usize,
    budget: &'a mut Budget,
    /// What the operations of each bit are, and which bits are in use.
    what: Vec<What>,
    open: u128,
    empties: u128,
    fulls: u128,
    pops: u128,
    /// Pushes that need not have happened.
    doubtful: u128,
    /// Values whose pushes are open, with their bits, by the returns of the pushes.
    pushing: Vec<(usize, usize)>,
    /// How many pushes returned, and where the first is whose value is not out.
    returned: usize,
    first: usize,
    /// A bit for each number whose pop returned.
    out: Vec<u64>,
    /// Some pop takes whatever it finds, so that only values with a pop of their own are compared.
    any: bool,
    /// When the places were taken on which all configurations agree, from the `forgotten`-th on.
    agreed: VecDeque<Tick>,
    forgotten: usize,
    configurations: Vec<Configuration>,
}

/// Decides whether the history has a linearization, if that takes no more than `most` configurations at once, and no
/// more steps than are left. Pops that never returned must be given to nobody.
pub(super) fn search(matched: &Matched<'_>, answers: Answers, most: usize, budget: &mut Budget) -> Searched {
    let mut tight = tighten(matched);
    for v in &matched.doubtful {
        tight.ei[*v] = matched.push(*v).call;
        tight.er[*v] = UNRETURNED;
    }
    let sorted = Sorted::new(matched, &tight);
    let mut events = Events::new(matched, &tight, &sorted, answers);
    let mut search = Search {
        matched,
        tight: &tight,
        sorted: &sorted,
        capacity: matched.history().capacity,
        most,
        budget,
        what: Vec::new(),
        open: 0,
        empties: 0,
        fulls: 0,
        pops: 0,
        doubtful: 0,
        pushing: Vec::new(),
        returned: 0,
        first: 0,
        out: vec![0; matched.numbers().div_ceil(64)],
        any: !matched.pending_pops.is_empty(),
        agreed: VecDeque::new(),
        forgotten: 0,
        configurations: vec![Configuration { done: 0, popped: 0, taken: Vec::new(), pushed: Vec::new() }],
    };
    while let Some((at, event)) = events.next() {
        match event {
            Event::Call(what) => {
                if !search.call(what) {
                    return Searched::Undecided(format!("more than {OPEN} of them were open at once"));
                }
            }
            Event::Return(what) => {
                if let Err(why) = search.ret(what, at) {
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
        if at == self.what.len() {
            self.what.push(what);
        }
        self.what[at] = what;
        match what {
            What::Empty(..) => self.empties |= bit,
            What::Full(..) => self.fulls |= bit,
            What::Push(v) => {
                if !self.matched.holds(v) {
                    self.doubtful |= bit;
                }
                let by = self.tight.er[v];
                let place = self.pushing.partition_point(|(other, _)| self.tight.er[*other] <= by);
                self.pushing.insert(place, (v, at));
                return true;
            }
            What::Pop(_) => {
                self.pops |= bit;
                return true;
            }
            What::PopAny => return true,
        }
        for at in 0..self.configurations.len() {
            let free = self.free(&self.configurations[at]);
            self.configurations[at].done |= free & bit;
        }
        true
    }

    /// Lets the operation take effect in every way. `Err`: why that is given up.
    fn ret(&mut self, what: What, now: Tick) -> Result<(), String> {
        let mut bits = Bits(self.open);
        let Some(at) = bits.find(|at| self.what[*at] == what) else { return Ok(()) };
        let bit = 1 << at;
        let all = std::mem::take(&mut self.configurations);
        let (mut done, mut waiting): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.done & bit != 0);
        let none_waited = waiting.is_empty();
        while !waiting.is_empty() {
            let mut next = Vec::new();
            for one in &waiting {
                for step in Bits(self.open & !one.done & !self.empties & !self.fulls) {
                    self.budget.spend(1)?;
                    let Some(after) = self.step(one, step, now) else { continue };
                    if after.done & bit == 0 { next.push(after) } else { done.push(after) }
                }
                let ways = done.len() + next.len();
                if ways > self.most {
                    return Err(format!(
                        "there were {ways} ways to follow at once, of {} allowed",
                        self.most
                    ));
                }
            }
            distinct(&mut next);
            waiting = next;
        }
        self.close(what, bit);
        for one in &mut done {
            one.done &= !bit;
        }
        distinct(&mut done);
        if !none_waited || matches!(what, What::Empty(..) | What::Full(..)) {
            self.fewer(&mut done)?;
        }
        self.configurations = done;
        Ok(())
    }

    /// The operation is not open any more.
    fn close(&mut self, what: What, bit: u128) {
        for kind in [&mut self.open, &mut self.empties, &mut self.fulls, &mut self.pops] {
            *kind &= !bit;
        }
        match what {
            What::Push(v) => {
                self.pushing.retain(|(other, _)| *other != v);
                self.returned += 1;
            }
            What::Pop(v) => self.out[v / 64] |= 1 << (v % 64),
            What::PopAny | What::Empty(..) | What::Full(..) => {}
        }
        let is_out = |v: &u32| self.out[*v as usize / 64] >> (v % 64) & 1 == 1;
        let gone = self.sorted.by_er[self.first..self.returned].iter().take_while(|v| is_out(v)).count();
        self.first += gone;
    }

    /// Keeps the ways that no other covers, those first that moved less.
    fn fewer(&mut self, ways: &mut Vec<Configuration>) -> Result<(), String> {
        ways.sort_by_key(|one| (one.popped + one.pushed.len(), std::cmp::Reverse(one.done.count_ones())));
        let mut kept: Vec<Configuration> = Vec::with_capacity(ways.len());
        for one in ways.drain(..) {
            self.budget.spend(kept.len() as u64)?;
            if !kept.iter().any(|other| self.covers(other, &one)) {
                kept.push(one);
            }
        }
        *ways = kept;
        Ok(())
    }

    /// The configuration after one more operation took effect, if it can.
    fn step(&self, before: &Configuration, at: usize, now: Tick) -> Option<Configuration> {
        let len = self.len(before);
        let mut after = match self.what[at] {
            What::Push(v) => {
                if len >= self.capacity || self.is_pushed_later(before, at, v) {
                    return None;
                }
                let mut after = before.clone();
                after.pushed.push(now);
                after
            }
            What::Pop(v) => {
                if len == 0 || self.is_popped_later(before, v) || !self.may_lead(before, v) {
                    return None;
                }
                Configuration { popped: before.popped + 1, ..before.clone() }
            }
            What::PopAny => {
                // Of the values that no pop of their own returned, the one whose push had to return first: another
                // in its place could have been exchanged for it.
                let any = |v: &usize| !self.matched.came_out(*v) && self.fits_first(before, *v);
                let first = if len == 0 { None } else { self.inside(before).find(any) };
                let v = first.filter(|v| self.may_lead(before, *v))?;
                let mut after = Configuration { popped: before.popped + 1, ..before.clone() };
                let place = after.taken.partition_point(|other| *other < v as u32);
                after.taken.insert(place, v as u32);
                after
            }
            What::Empty(..) | What::Full(..) => return None,
        };
        after.done |= 1 << at;
        after.done |= self.free(&after);
        Some(after)
    }

    /// Open answers that are true in this state.
    fn free(&self, one: &Configuration) -> u128 {
        let len = self.len(one);
        let empties = if len == 0 { self.empties } else { 0 };
        empties | if len == self.capacity { self.fulls } else { 0 }
    }

    /// Forgets the places that are free again in all configurations, and keeps those once on which all agree.
    fn agree(&mut self) {
        let base = self.base();
        let popped = self.configurations.iter().map(|one| one.popped).min().unwrap_or(0);
        self.agreed.drain(..(popped - self.forgotten).min(self.agreed.len()));
        for one in &mut self.configurations {
            one.pushed.drain(..popped.saturating_sub(base));
        }
        self.forgotten = popped;
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
    }
}

/// How many steps may be taken: operations that are tried, and ways that are compared.
pub(super) struct Budget {
    all: u64,
    left: u64,
}

impl Budget {
    pub(super) fn new(all: u64) -> Budget {
        Budget { all, left: all }
    }

    pub(super) fn spent(&self) -> u64 {
        self.all - self.left
    }

    /// `Err`: there are not so many left.
    pub(super) fn spend(&mut self, steps: u64) -> Result<(), String> {
        let left = self.left.checked_sub(steps);
        self.left = left.unwrap_or(0);
        left.map(|_| ()).ok_or_else(|| format!("it took more than {} steps", self.all))
    }
}

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
