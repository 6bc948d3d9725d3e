//! Small tables that turn names into dense numbers and lists into groups, so that no checker hashes.

use std::collections::HashMap;

/// No index.
pub(crate) const NONE: u32 = u32::MAX;

/// Numbers names in order of first appearance. Small names cost a vector look-up, others a hash.
pub(crate) struct Dense {
    table: Vec<u32>,
    limit: u64,
    sparse: HashMap<u64, u32>,
    names: Vec<u64>,
}

impl Dense {
    /// For about `expected` names.
    pub(crate) fn new(expected: usize) -> Dense {
        Dense {
            table: Vec::new(),
            limit: 4 * expected as u64 + 1024,
            sparse: HashMap::new(),
            names: Vec::new(),
        }
    }

    /// The number of `name`, a new one if it is new.
    pub(crate) fn number(&mut self, name: u64) -> u32 {
        let slot = if name < self.limit {
            let at = name as usize;
            if at >= self.table.len() {
                self.table.resize(at + 1, NONE);
            }
            &mut self.table[at]
        } else {
            self.sparse.entry(name).or_insert(NONE)
        };
        if *slot == NONE {
            *slot = self.names.len() as u32;
            self.names.push(name);
        }
        *slot
    }

    /// The number of `name`, if it was seen.
    pub(crate) fn find(&self, name: u64) -> Option<u32> {
        let slot = if name < self.limit { self.table.get(name as usize) } else { self.sparse.get(&name) };
        slot.copied().filter(|&number| number != NONE)
    }

    /// How many names there are.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// The names, by number.
    pub(crate) fn into_names(self) -> Vec<u64> {
        self.names
    }
}

/// Lists of numbers by key, in one allocation, in the order of insertion.
#[derive(Default)]
pub(crate) struct Groups {
    starts: Vec<u32>,
    items: Vec<u32>,
}

impl Groups {
    /// Groups `(key, item)` pairs whose keys are below `keys`.
    pub(crate) fn of(keys: usize, pairs: &[(u32, u32)]) -> Groups {
        let mut starts = vec![0; keys + 1];
        for &(key, _) in pairs {
            starts[key as usize + 1] += 1;
        }
        for key in 0..keys {
            starts[key + 1] += starts[key];
        }
        let mut next = starts.clone();
        let mut items = vec![0; pairs.len()];
        for &(key, item) in pairs {
            let at = &mut next[key as usize];
            items[*at as usize] = item;
            *at += 1;
        }
        Groups { starts, items }
    }

    /// The items of `key`.
    pub(crate) fn get(&self, key: usize) -> &[u32] {
        &self.items[self.range(key)]
    }

    /// Where the items of `key` stand among all items.
    pub(crate) fn range(&self, key: usize) -> std::ops::Range<usize> {
        self.starts[key] as usize..self.starts[key + 1] as usize
    }

    /// How many items there are in all groups.
    pub(crate) fn total(&self) -> usize {
        self.items.len()
    }
}

/// Intervals of which one asks how many may touch another interval.
#[derive(Default)]
pub(crate) struct Intervals {
    calls: Vec<u64>,
    rets: Vec<u64>,
}

impl Intervals {
    /// From `(call, ret)` ticks.
    pub(crate) fn of(pairs: impl Iterator<Item = (u64, u64)>) -> Intervals {
        let (mut calls, mut rets): (Vec<u64>, Vec<u64>) = pairs.unzip();
        calls.sort_unstable();
        rets.sort_unstable();
        Intervals { calls, rets }
    }

    /// How many are not wholly before `from` or wholly after `to`.
    pub(crate) fn touching(&self, from: u64, to: u64) -> u32 {
        if self.calls.is_empty() {
            return 0;
        }
        let called = self.calls.partition_point(|&call| call <= to);
        let over = self.rets.partition_point(|&ret| ret < from);
        called.saturating_sub(over) as u32
    }

    /// The earliest tick at which `count` of those that are not wholly before `from` may have happened.
    pub(crate) fn nth_call(&self, from: u64, count: u32) -> u64 {
        if count == 0 {
            return from;
        }
        if self.calls.is_empty() {
            return u64::MAX;
        }
        let over = self.rets.partition_point(|&ret| ret < from);
        // Those that are over are no more than those that were called before `from`: the others follow them.
        self.calls.get(over + count as usize - 1).map_or(u64::MAX, |&call| call.max(from))
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_dense_or_not() {
        let mut dense = Dense::new(1);
        assert_eq!((dense.number(7), dense.number(u64::MAX), dense.number(7)), (0, 1, 0));
        assert_eq!((dense.find(u64::MAX), dense.find(8), dense.find(1 << 40)), (Some(1), None, None));
        assert_eq!(dense.into_names(), [7, u64::MAX]);
    }

    #[test]
    fn groups_keep_the_order() {
        let groups = Groups::of(3, &[(2, 5), (0, 1), (2, 4)]);
        assert_eq!((groups.get(0), groups.get(1), groups.get(2)), (&[1][..], &[][..], &[5, 4][..]));
    }

    #[test]
    fn intervals_touch_at_their_ends() {
        let intervals = Intervals::of([(1, 3), (5, 9)].into_iter());
        assert_eq!(intervals.touching(3, 4), 1);
        assert_eq!(intervals.touching(4, 4), 0);
        assert_eq!(intervals.touching(0, 5), 2);
        assert_eq!(intervals.nth_call(2, 1), 2);
        assert_eq!(intervals.nth_call(4, 1), 5);
        assert_eq!(intervals.nth_call(4, 2), u64::MAX);
    }
}
