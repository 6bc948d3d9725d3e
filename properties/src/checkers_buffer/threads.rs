//! In which order each thread pushed and popped. Where operations share a window, as the items of a batch do, ticks do
//! not tell; and a linearization that is sought is found sooner where it keeps to that.

use super::NEVER;
use super::matching::Matched;
use super::tighten::Tight;

/// The consumer of a value that never came out.
const NOBODY: u32 = u32::MAX;

pub(super) struct Threads<'a> {
    matched: &'a Matched<'a>,
    /// By number.
    popped_by: Vec<u32>,
}

impl<'a> Threads<'a> {
    pub(super) fn new(matched: &'a Matched<'a>) -> Threads<'a> {
        let mut popped_by = vec![NOBODY; matched.numbers()];
        for consumer in 0..matched.consumers() {
            matched.popped(consumer).for_each(|v| popped_by[v] = consumer as u32);
        }
        Threads { matched, popped_by }
    }

    /// The values in an order in which every thread pushed and popped, and which no two ticks forbid; of several that
    /// can be next, the one with the lowest key is. `None`: there is no such order.
    pub(super) fn order<K: Copy + Ord>(&self, key: impl Fn(usize) -> K) -> Option<Vec<u32>> {
        let matched = self.matched;
        let mut pushed: Vec<_> =
            (0..matched.producers()).map(|producer| matched.pushed(producer).peekable()).collect();
        let mut popped: Vec<_> =
            (0..matched.consumers()).map(|consumer| matched.popped(consumer).peekable()).collect();
        let mut order = Vec::with_capacity(matched.count);
        loop {
            let ins = pushed.iter_mut().filter_map(|next| next.peek()).map(|(_, push)| push.ret);
            let Some(in_by) = ins.min() else { return Some(order) };
            let outs = popped.iter_mut().filter_map(|next| next.peek()).map(|v| matched.pop(*v).ret);
            let out_by = outs.min().unwrap_or(NEVER);
            let mut best: Option<(K, usize, usize)> = None;
            for (producer, next) in pushed.iter_mut().enumerate() {
                let Some(&(v, push)) = next.peek() else { continue };
                let turn = popped.get_mut(self.popped_by[v] as usize);
                let in_turn = turn.is_none_or(|next| next.peek() == Some(&v));
                if in_turn && push.call <= in_by && matched.pop(v).call <= out_by {
                    let this = (key(v), producer, v);
                    best = Some(best.map_or(this, |best| best.min(this)));
                }
            }
            let (_, producer, v) = best?;
            pushed[producer].next();
            if let Some(next) = popped.get_mut(self.popped_by[v] as usize) {
                next.next();
            }
            order.push(v as u32);
        }
    }

    /// Narrows the bounds of each value by those of its neighbours in the two threads that moved it. The order is one
    /// of [`Threads::order`].
    pub(super) fn narrow(&self, order: &[u32], tight: &mut Tight) {
        let mut before = Neighbours::new(self);
        for v in order.iter().map(|v| *v as usize) {
            for other in before.replace(v) {
                tight.ei[v] = tight.ei[v].max(tight.ei[other]);
                tight.di[v] = tight.di[v].max(tight.di[other]);
            }
        }
        let mut after = Neighbours::new(self);
        for v in order.iter().rev().map(|v| *v as usize) {
            for other in after.replace(v) {
                tight.er[v] = tight.er[v].min(tight.er[other]);
                tight.dr[v] = tight.dr[v].min(tight.dr[other]);
            }
        }
    }
}

/// The last value that was met of each thread.
struct Neighbours<'a> {
    threads: &'a Threads<'a>,
    pushed: Vec<Option<usize>>,
    popped: Vec<Option<usize>>,
}

impl<'a> Neighbours<'a> {
    fn new(threads: &'a Threads<'a>) -> Neighbours<'a> {
        let matched = threads.matched;
        Neighbours {
            threads,
            pushed: vec![None; matched.producers()],
            popped: vec![None; matched.consumers()],
        }
    }

    /// Meets a value; the last of its producer and of its consumer.
    fn replace(&mut self, v: usize) -> impl Iterator<Item = usize> {
        let pushed = self.pushed[self.threads.matched.producer_of(v)].replace(v);
        let popped = self.popped.get_mut(self.threads.popped_by[v] as usize);
        pushed.into_iter().chain(popped.and_then(|last| last.replace(v)))
    }
}
