//! Looks for a linearization of a bounded history: an order of the values, the earliest instants that the order
//! and the capacity leave, and for each answer the first state in which it can be true. Whatever comes of it is
//! replayed; a mistake here costs time, never truth.

use super::matching::Matched;
use super::merge::{Merge, merge};
use super::replay::{Replay, Step};
use super::tighten::{Tight, deadlines, tighten};
use super::{Answers, NEVER, Tick};

/// How often the queue became full in the linearization that was found, if one was. The order tried is that of
/// the latest instants of the pushes.
pub(super) fn first_order(matched: &Matched<'_>, answers: Answers) -> Option<u64> {
    let (push_by, pop_by) = deadlines(matched);
    let key = |v: usize| u128::from(push_by[v]) << 64 | u128::from(pop_by[v]);
    let mut order = Vec::with_capacity(matched.count);
    let keyed = |producer| matched.pushed(producer).map(|(v, _)| (key(v), v as u32));
    if !merge((0..matched.producers()).map(keyed), u128::MAX, |_, v| order.push(v)) {
        order.sort_by_key(|v| key(*v as usize));
    }
    let er = ranked(&order, push_by);
    let dr = ranked(&order, pop_by);
    let ei = order.iter().map(|v| matched.push(*v as usize).call).collect();
    let di = order.iter().map(|v| matched.pop(*v as usize).call).collect();
    Schedule { matched, order, ei, er, di, dr }.replay(answers)
}

/// Weights of the tightened bounds of pushes and pops. Every combination keeps the order that FIFO demands.
const WEIGHTS: [[u128; 4]; 6] =
    [[0, 0, 1, 0], [0, 0, 0, 1], [0, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1], [2, 1, 1, 3]];

/// The same for other orders.
pub(super) fn other_orders(matched: &Matched<'_>, answers: Answers) -> Option<u64> {
    WEIGHTS.iter().find_map(|weights| {
        let Tight { ei, er, di, dr } = tighten(matched);
        let key = |v: usize| {
            let bounds = [ei[v], er[v], di[v], dr[v]];
            bounds.iter().zip(weights).map(|(bound, weight)| u128::from(*bound) * weight).sum::<u128>()
        };
        let mut order: Vec<u32> = matched.values().map(|(v, _)| v as u32).collect();
        order.sort_by_key(|v| key(*v as usize));
        let ei = ranked(&order, ei);
        let er = ranked(&order, er);
        let di = ranked(&order, di);
        let dr = ranked(&order, dr);
        Schedule { matched, order, ei, er, di, dr }.replay(answers)
    })
}

fn ranked(order: &[u32], by_number: Vec<Tick>) -> Vec<Tick> {
    order.iter().map(|v| by_number[*v as usize]).collect()
}

/// Windows by rank in the order tried.
struct Schedule<'a> {
    matched: &'a Matched<'a>,
    order: Vec<u32>,
    ei: Vec<Tick>,
    er: Vec<Tick>,
    di: Vec<Tick>,
    dr: Vec<Tick>,
}

/// Where one thread's answers stand.
#[derive(Clone, Copy, Default)]
struct Asked {
    next: usize,
    /// The fewest pops before the next can be true.
    level: usize,
}

impl Schedule<'_> {
    fn replay(mut self, answers: Answers) -> Option<u64> {
        if !self.propagate() {
            return None;
        }
        let producers = self.matched.producers();
        let mut asked = vec![Asked::default(); producers + self.matched.consumers()];
        let mut heads = Vec::with_capacity(asked.len());
        for (list, asked) in asked.iter_mut().enumerate() {
            heads.push(self.earliest(list, asked, answers)?);
        }
        let mut tree = Merge::new(heads, NEVER);
        let mut run =
            Run { schedule: &self, replay: Replay::new(self.matched), now: 0, pushed: 0, popped: 0 };
        while let Some((_, list)) = tree.first() {
            let level = asked[list].level.max(run.popped);
            let (call, step) = if list < producers {
                let level = level.max(run.pushed.saturating_sub(self.capacity()));
                run.advance(level + self.capacity(), level)?;
                (self.matched.history().producers[list].fulls[asked[list].next].call, Step::Full(list))
            } else {
                let level = level.max(run.pushed);
                run.advance(level, level)?;
                let consumer = list - producers;
                let answer = self.matched.history().consumers[consumer].empties[asked[list].next];
                (answer.call, Step::Empty(consumer))
            };
            run.now = run.now.max(call);
            if !run.replay.step(run.now, step) {
                return None;
            }
            asked[list].next += 1;
            tree.replace(list, self.earliest(list, &mut asked[list], answers)?);
        }
        run.advance(self.order.len(), self.order.len() - self.matched.unpopped)?;
        run.replay.end(answers)
    }

    fn capacity(&self) -> usize {
        // No more than there can be offers, so that ranks do not overflow.
        self.matched.history().capacity.min(u32::MAX as usize)
    }

    /// Narrows the windows to what order and capacity leave; `false`: nothing.
    fn propagate(&mut self) -> bool {
        let (count, capacity) = (self.order.len(), self.capacity());
        if capacity == 0 {
            return count == 0;
        }
        let Schedule { ei, er, di, dr, .. } = self;
        let (mut push, mut pop) = (0, 0);
        for at in 0..count {
            push = push.max(ei[at]);
            if at >= capacity {
                push = push.max(di[at - capacity]);
            }
            pop = pop.max(di[at]).max(push);
            (ei[at], di[at]) = (push, pop);
        }
        let (mut push, mut pop) = (NEVER, NEVER);
        let mut possible = true;
        for at in (0..count).rev() {
            pop = pop.min(dr[at]);
            if at + capacity < count {
                pop = pop.min(er[at + capacity]);
            }
            push = push.min(er[at]).min(pop);
            (er[at], dr[at]) = (push, pop);
            possible &= ei[at] <= push && di[at] <= pop;
        }
        possible
    }

    /// The earliest instant of a thread's next answer, [`NEVER`] if it has no more. `None`: it can not be true.
    fn earliest(&self, list: usize, asked: &mut Asked, answers: Answers) -> Option<Tick> {
        let history = self.matched.history();
        let producers = history.producers.len();
        let rises = |deadlines: &[Tick], level: &mut usize, call: Tick| {
            while deadlines.get(*level).is_some_and(|deadline| *deadline < call) {
                *level += 1;
            }
        };
        if list < producers {
            let next = history.producers[list].fulls.get(asked.next).filter(|_| answers.full);
            let Some(answer) = next else { return Some(NEVER) };
            rises(&self.dr, &mut asked.level, answer.call);
            let last = (asked.level + self.capacity()).checked_sub(1)?;
            Some(answer.call.max(*self.ei.get(last)?))
        } else {
            let next = history.consumers[list - producers].empties.get(asked.next).filter(|_| answers.empty);
            let Some(answer) = next else { return Some(NEVER) };
            rises(&self.er, &mut asked.level, answer.call);
            let gone = asked.level.checked_sub(1).map_or(0, |last| self.di[last]);
            Some(answer.call.max(gone)).filter(|earliest| *earliest != NEVER)
        }
    }
}

/// A schedule being replayed, each step as early as it can be.
struct Run<'a> {
    schedule: &'a Schedule<'a>,
    replay: Replay<'a>,
    now: Tick,
    pushed: usize,
    popped: usize,
}

impl Run<'_> {
    /// Makes steps until so many values went in and came out; `None`: a step is not possible.
    fn advance(&mut self, pushed: usize, popped: usize) -> Option<()> {
        let Schedule { ei, di, order, .. } = self.schedule;
        let pushed = (pushed <= order.len()).then_some(pushed)?;
        while self.pushed < pushed || self.popped < popped {
            let may_push = self.pushed < pushed && self.pushed - self.popped < self.schedule.capacity();
            let may_pop = self.popped < popped && self.popped < self.pushed;
            let push = if may_push { self.now.max(ei[self.pushed]) } else { NEVER };
            let pop = if may_pop { self.now.max(di[self.popped]) } else { NEVER };
            self.now = push.min(pop);
            let step = if may_push && push <= pop {
                self.pushed += 1;
                Step::Push(order[self.pushed - 1] as usize)
            } else if may_pop {
                self.popped += 1;
                Step::Pop(order[self.popped - 1] as usize)
            } else {
                return None;
            };
            if !self.replay.step(self.now, step) {
                return None;
            }
        }
        Some(())
    }
}
