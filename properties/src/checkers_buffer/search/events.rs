//! Calls and returns of what is searched, in order of their ticks, calls first.

use super::super::matching::Matched;
use super::super::merge::Merge;
use super::super::tighten::Tight;
use super::super::{Answers, NEVER, Tick, UNRETURNED};
use super::What;

pub(super) enum Event {
    Call(What),
    Return(What),
}

/// Values by the call and return of their pushes and pops.
pub(super) struct Sorted {
    pub(super) by_ei: Vec<u32>,
    pub(super) by_di: Vec<u32>,
    pub(super) by_er: Vec<u32>,
    pub(super) by_dr: Vec<u32>,
}

impl Sorted {
    pub(super) fn new(matched: &Matched<'_>, tight: &Tight) -> Sorted {
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
        Sorted { by_ei: by(&tight.ei), by_di, by_er: by(&tight.er), by_dr }
    }
}

pub(super) struct Events<'a> {
    matched: &'a Matched<'a>,
    tight: &'a Tight,
    sorted: &'a Sorted,
    answers: Answers,
    pending: Vec<Tick>,
    tree: Merge<Tick>,
    /// The next of each list: calls of pushes, pops and unreturned pops, calls of answers by thread, and the
    /// returns of the same.
    next: Vec<usize>,
}

impl<'a> Events<'a> {
    pub(super) fn new(
        matched: &'a Matched<'a>,
        tight: &'a Tight,
        sorted: &'a Sorted,
        answers: Answers,
    ) -> Events<'a> {
        let mut pending = matched.pending_pops.clone();
        pending.sort_unstable();
        let half = 3 + matched.consumers() + matched.producers();
        let (tree, next) = (Merge::new([], NEVER), vec![0; 2 * half]);
        let mut events = Events { matched, tight, sorted, answers, pending, tree, next };
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
                let (numbers, ticks) = if call {
                    (&self.sorted.by_ei, &self.tight.ei)
                } else {
                    (&self.sorted.by_er, &self.tight.er)
                };
                valued(numbers, ticks).map(|(v, tick)| (tick, What::Push(v)))
            }
            1 => {
                let (numbers, ticks) = if call {
                    (&self.sorted.by_di, &self.tight.di)
                } else {
                    (&self.sorted.by_dr, &self.tight.dr)
                };
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

    pub(super) fn next(&mut self) -> Option<(Tick, Event)> {
        let (tick, list) = self.tree.first()?;
        let (_, what) = self.head(list)?;
        let event = if list < self.next.len() / 2 { Event::Call(what) } else { Event::Return(what) };
        self.next[list] += 1;
        self.tree.replace(list, self.key(list));
        Some((tick, event))
    }
}
