//! Looks for a linearization of a bounded history: an order of the values, the instants that the order and the
//! capacity leave, and a walk through them on which every answer is true at some instant of its call. Whatever
//! comes of it is replayed; a mistake here costs time, never truth.

use super::matching::Matched;
use super::merge::merge;
use super::tighten::deadlines;
use super::walk::Walk;
use super::{Answers, NEVER, Tick};

/// How often the queue became full in the linearization that was found, if one was. The order tried is that of
/// the latest instants of the pushes.
pub(super) fn first_order(matched: &Matched<'_>, answers: Answers) -> Option<u64> {
    if matched.capacity() == 0 {
        return None;
    }
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
    let mut schedule = Schedule { matched, order, ei, er, di, dr };
    if !schedule.propagate().is_empty() {
        return None;
    }
    Walk::new(&schedule, answers).run().ok()
}

/// By rank what is by number.
pub(super) fn ranked(order: &[u32], by_number: impl AsRef<[Tick]>) -> Vec<Tick> {
    order.iter().map(|v| by_number.as_ref()[*v as usize]).collect()
}

/// Windows by rank in the order tried.
pub(super) struct Schedule<'a> {
    pub(super) matched: &'a Matched<'a>,
    pub(super) order: Vec<u32>,
    pub(super) ei: Vec<Tick>,
    pub(super) er: Vec<Tick>,
    pub(super) di: Vec<Tick>,
    pub(super) dr: Vec<Tick>,
}

impl Schedule<'_> {
    /// Narrows the windows to what order and capacity, which is not 0, leave; the ranks for which that is nothing,
    /// the last first.
    pub(super) fn propagate(&mut self) -> Vec<usize> {
        let (count, capacity) = (self.order.len(), self.matched.capacity());
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
        let mut impossible = Vec::new();
        for at in (0..count).rev() {
            pop = pop.min(dr[at]);
            if at + capacity < count {
                pop = pop.min(er[at + capacity]);
            }
            push = push.min(er[at]).min(pop);
            (er[at], dr[at]) = (push, pop);
            if ei[at] > push || di[at] > pop {
                impossible.push(at);
            }
        }
        impossible
    }
}
