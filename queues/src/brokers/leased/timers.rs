//! When each slot's time comes: the end of a lease, or of a delay.

use crate::clock::Time;

/// A heap of slots by time, in which a slot can be found, moved and removed: O(log n) each.
///
/// Four children a node halve the depth of a binary heap, and one node's children share a cache line; at a
/// million leases that matters more than the added comparisons.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: Vec<Entry>,
    /// Where each slot stands in the heap; meaningless for a slot without a timer.
    positions: Vec<u32>,
}

/// Packed, because four bytes of padding are four million at a million leases.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed(4))]
struct Entry {
    time: Time,
    slot: u32,
}

const CHILDREN: usize = 4;

impl Timers {
    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Sets the timer of a slot that has none.
    #[inline]
    pub(super) fn insert(&mut self, slot: u32, time: Time) {
        if self.positions.len() <= slot as usize {
            self.positions.resize(slot as usize + 1, 0);
        }
        let at = self.heap.len();
        self.heap.push(Entry { time, slot });
        self.sift_up(at);
    }

    /// Removes the timer of a slot that has one.
    #[inline]
    pub(super) fn remove(&mut self, slot: u32) {
        let at = self.positions[slot as usize] as usize;
        self.heap.swap_remove(at);
        if at < self.heap.len() {
            self.restore(at);
        }
    }

    /// When the time of a slot that has a timer comes.
    #[inline]
    pub(super) fn time(&self, slot: u32) -> Time {
        self.time_at(self.positions[slot as usize] as usize)
    }

    /// By value, because nobody may refer to a packed field.
    fn time_at(&self, at: usize) -> Time {
        self.heap[at].time
    }

    /// Moves the timer of a slot that has one.
    pub(super) fn set(&mut self, slot: u32, time: Time) {
        let at = self.positions[slot as usize] as usize;
        self.heap[at].time = time;
        self.restore(at);
    }

    /// Removes and returns the earliest timer whose time has come.
    #[inline]
    pub(super) fn pop_due(&mut self, now: Time) -> Option<(Time, u32)> {
        let Entry { time, slot } = *self.heap.first()?;
        if time > now {
            return None;
        }
        self.remove(slot);
        Some((time, slot))
    }

    /// Moves the entry at `at`, the only one that may be out of order, to where it belongs.
    fn restore(&mut self, at: usize) {
        if self.sift_up(at) == at {
            self.sift_down(at);
        }
    }

    #[inline]
    fn sift_up(&mut self, mut at: usize) -> usize {
        let entry = self.heap[at];
        let time = entry.time;
        while at > 0 {
            let parent = (at - 1) / CHILDREN;
            if self.time_at(parent) <= time {
                break;
            }
            self.place(at, self.heap[parent]);
            at = parent;
        }
        self.place(at, entry);
        at
    }

    fn sift_down(&mut self, mut at: usize) {
        let entry = self.heap[at];
        let time = entry.time;
        loop {
            let first = at * CHILDREN + 1;
            let children = first..(first + CHILDREN).min(self.heap.len());
            let Some(child) = children.min_by_key(|&child| self.time_at(child)) else { break };
            if self.time_at(child) >= time {
                break;
            }
            self.place(at, self.heap[child]);
            at = child;
        }
        self.place(at, entry);
    }

    #[inline]
    fn place(&mut self, at: usize, entry: Entry) {
        self.heap[at] = entry;
        self.positions[entry.slot as usize] =
            u32::try_from(at).expect("there are no more timers than slots, whose numbers have 32 bits");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use proptest::test_runner::Config;

    use super::*;

    #[derive(Clone, Debug)]
    enum Op {
        Put(u32, u64),
        Remove(u32),
        Pop(u64),
    }

    proptest! {
        #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

        #[test]
        fn agrees_with_a_map(ops in proptest::collection::vec(prop_oneof![
            3 => (0..60_u32, 0..40_u64).prop_map(|(slot, time)| Op::Put(slot, time)),
            1 => (0..60_u32).prop_map(Op::Remove),
            1 => (0..40_u64).prop_map(Op::Pop),
        ], 0..300)) {
            let (mut timers, mut model) = (Timers::default(), BTreeMap::new());
            for op in ops {
                match op {
                    Op::Put(slot, time) => match model.insert(slot, Time(time)) {
                        Some(_) => timers.set(slot, Time(time)),
                        None => timers.insert(slot, Time(time)),
                    },
                    Op::Remove(slot) => if model.remove(&slot).is_some() {
                        timers.remove(slot);
                    },
                    Op::Pop(now) => {
                        let earliest = model.values().min().copied().filter(|&time| time <= Time(now));
                        let popped = timers.pop_due(Time(now));
                        prop_assert_eq!(popped.map(|(time, _)| time), earliest);
                        if let Some((time, slot)) = popped {
                            prop_assert_eq!(model.remove(&slot), Some(time));
                        }
                    }
                }
                prop_assert_eq!(timers.len(), model.len());
                for (&slot, &time) in &model {
                    prop_assert_eq!(timers.time(slot), time);
                }
            }
        }
    }
}
