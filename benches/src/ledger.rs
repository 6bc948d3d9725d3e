//! What became of the items of a trial. A number from a run that lost, duplicated, invented or reordered an
//! item is not a number.

use std::fmt;

use stanchion_reports::results::Ledger;

use crate::workload::{Identity, Item};

/// What became of the items of one trial, or of several together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BenchLedger {
    /// How many items were to be moved.
    pub asked: u64,
    /// What became of them.
    pub counts: Ledger,
    /// How many of the delivered came out only after the workers had given up waiting for them.
    pub late: u64,
    /// How many deliveries of a broker could not be acked.
    pub unsettled: u64,
    /// How many calls for many items said another number than they moved.
    pub miscounted: u64,
    /// A worker waited without any progress until its patience ended.
    pub stuck: bool,
}

impl BenchLedger {
    /// Whether every item asked for was taken, and came out once, whole, in time and in the promised order, and
    /// every call said how many it moved.
    pub fn is_clean(&self) -> bool {
        let Ledger { confirmed, delivered, in_doubt, .. } = self.counts;
        self.counts.is_clean()
            && confirmed == self.asked
            && delivered == self.asked
            && in_doubt == 0
            && self.late == 0
            && self.unsettled == 0
            && self.miscounted == 0
            && !self.stuck
    }

    /// Adds the counts of another trial.
    pub fn absorb(&mut self, other: &BenchLedger) {
        self.asked += other.asked;
        self.late += other.late;
        self.unsettled += other.unsettled;
        self.miscounted += other.miscounted;
        self.stuck |= other.stuck;
        let (into, from) = (&mut self.counts, &other.counts);
        into.confirmed += from.confirmed;
        into.refused += from.refused;
        into.in_doubt += from.in_doubt;
        into.delivered += from.delivered;
        into.duplicate += from.duplicate;
        into.acked += from.acked;
        into.dead += from.dead;
        into.lost += from.lost;
        into.phantom += from.phantom;
        into.recovered += from.recovered;
        into.out_of_order += from.out_of_order;
    }
}

impl fmt::Display for BenchLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        let faults = [
            (counts.lost, "lost"),
            (counts.duplicate, "duplicated"),
            (counts.phantom, "never sent or damaged"),
            (counts.out_of_order, "out of order"),
            (counts.in_doubt, "in doubt"),
            (self.late, "late"),
            (self.unsettled, "not acked"),
            (self.miscounted, "calls miscounted"),
            (self.asked.saturating_sub(counts.confirmed + counts.in_doubt), "not taken"),
        ];
        let mut any = false;
        for (count, what) in faults.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "{}{count} {what}", if any { ", " } else { "" })?;
            any = true;
        }
        if self.stuck {
            write!(f, "{}stuck without progress", if any { ", " } else { "" })?;
            any = true;
        }
        if !any {
            f.write_str("clean")?;
        }
        write!(f, ", of {} items", self.asked)
    }
}

/// What one consumer saw. The item that was expected costs one comparison; only a jump costs more, so that
/// the ledger can be kept inside of the measured loop.
#[derive(Debug)]
pub(crate) struct Tally {
    tracks: Vec<Track>,
    ordered: bool,
    phantom: u64,
    out_of_order: u64,
}

/// The items of one producer.
#[derive(Clone, Debug)]
struct Track {
    /// Seen without a gap since the last jump: `from..next`.
    from: u64,
    next: u64,
    seen: Bits,
    duplicate: u64,
    phantom: u64,
}

impl Tally {
    /// For producers that push at most so many items each. Whether order is `ordered` is up to the contract.
    pub(crate) fn new(items: impl Iterator<Item = u64>, ordered: bool) -> Tally {
        let track = |items| Track { from: 0, next: 0, seen: Bits::new(items), duplicate: 0, phantom: 0 };
        Tally { tracks: items.map(track).collect(), ordered, phantom: 0, out_of_order: 0 }
    }

    /// Enters an item; `None`: one that does not know who it is.
    #[inline]
    pub(crate) fn enter(&mut self, identity: Option<Identity>) {
        if let Some(Identity { producer, sequence }) = identity
            && let Some(track) = self.tracks.get_mut(producer)
        {
            if sequence == track.next {
                track.next += 1;
            } else if sequence > track.next && sequence < track.seen.len {
                track.leap(sequence, 1);
            } else {
                self.out_of_order += u64::from(track.jump(sequence) && self.ordered);
            }
        } else {
            self.phantom += 1;
        }
    }

    /// Enters items in the order in which they came. Neighbours that follow each other are entered together.
    #[inline]
    pub(crate) fn enter_all<const WORDS: usize>(&mut self, mut items: &[Item<WORDS>]) {
        while let Some(first) = items.first() {
            let Some(identity) = first.identity() else {
                self.phantom += 1;
                items = &items[1..];
                continue;
            };
            let run = Item::run(items, identity);
            self.enter_run(identity, run as u64);
            items = &items[run..];
        }
    }

    /// Enters `length` items, the first of which is this one; at least that one.
    #[inline]
    fn enter_run(&mut self, identity: Identity, length: u64) {
        let Identity { producer, sequence } = identity;
        match self.tracks.get_mut(producer) {
            Some(track) if sequence == track.next => track.next += length,
            Some(track) if sequence > track.next && sequence < track.seen.len => track.leap(sequence, length),
            _ => (sequence..sequence + length)
                .for_each(|sequence| self.enter(Some(Identity { producer, sequence }))),
        }
    }

    /// The ledger of all consumers together, of producers that got so many items in.
    pub(crate) fn ledger(asked: u64, tallies: Vec<Tally>, confirmed: &[u64]) -> BenchLedger {
        let mut counts = Ledger { confirmed: confirmed.iter().sum(), ..Ledger::default() };
        for (producer, confirmed) in confirmed.iter().enumerate() {
            let mut all: Option<Bits> = None;
            for track in tallies.iter().filter_map(|tally| tally.tracks.get(producer)) {
                let mut track = track.clone();
                track.settle();
                counts.duplicate += track.duplicate;
                counts.phantom += track.phantom;
                match &mut all {
                    None => all = Some(track.seen),
                    Some(all) => counts.duplicate += all.unite(&track.seen),
                }
            }
            let seen = all.unwrap_or(Bits::new(0));
            let seen_of_confirmed = seen.count_below(*confirmed);
            counts.delivered += seen.count();
            counts.lost += confirmed - seen_of_confirmed;
            counts.phantom += seen.count() - seen_of_confirmed;
        }
        for tally in &tallies {
            counts.phantom += tally.phantom;
            counts.out_of_order += tally.out_of_order;
        }
        counts.delivered += counts.duplicate;
        BenchLedger { asked, counts, ..BenchLedger::default() }
    }
}

impl Track {
    /// Enters items from a later one on: what lies between went to other consumers, or is lost. That is the
    /// rule and no exception where many consumers share a producer, so it is quick.
    #[inline]
    fn leap(&mut self, sequence: u64, length: u64) {
        self.settle();
        (self.from, self.next) = (sequence, sequence + length);
    }

    /// Enters an item that is not after the others, or that nobody was asked for. Whether it is against the
    /// order: an earlier one, seen for the first time.
    #[cold]
    fn jump(&mut self, sequence: u64) -> bool {
        self.settle();
        if sequence >= self.seen.len {
            self.phantom += 1;
            return false;
        }
        let against = !self.seen.contains(sequence);
        self.duplicate += self.seen.insert(sequence, sequence + 1);
        against
    }

    /// Moves the run since the last jump into the set.
    #[inline]
    fn settle(&mut self) {
        let within = self.next.min(self.seen.len);
        if self.from < within {
            self.duplicate += self.seen.insert(self.from, within);
        }
        // Past the end only by items that no producer was asked for.
        self.phantom += self.next - within;
        self.next = within;
        self.from = within;
    }
}

/// A set of sequence numbers.
#[derive(Clone, Debug)]
struct Bits {
    words: Vec<u64>,
    len: u64,
}

impl Bits {
    fn new(len: u64) -> Bits {
        Bits { words: vec![0; len.div_ceil(64) as usize], len }
    }

    fn contains(&self, at: u64) -> bool {
        self.words.get((at / 64) as usize).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// Inserts `from..to` and says how many of them it held already.
    fn insert(&mut self, mut from: u64, to: u64) -> u64 {
        let mut held = 0;
        while from < to {
            let in_word = (64 - from % 64).min(to - from);
            let mask = (u64::MAX >> (64 - in_word)) << (from % 64);
            let word = &mut self.words[(from / 64) as usize];
            held += u64::from((*word & mask).count_ones());
            *word |= mask;
            from += in_word;
        }
        held
    }

    /// Adds another set and says how many elements both have.
    fn unite(&mut self, other: &Bits) -> u64 {
        self.words.iter_mut().zip(&other.words).fold(0, |both, (word, more)| {
            let shared = u64::from((*word & more).count_ones());
            *word |= more;
            both + shared
        })
    }

    fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    fn count_below(&self, limit: u64) -> u64 {
        let (whole, rest) = ((limit / 64) as usize, limit % 64);
        let full: u64 = self.words.iter().take(whole).map(|word| u64::from(word.count_ones())).sum();
        let part = self.words.get(whole).map_or(0, |word| word & ((1 << rest) - 1));
        full + u64::from(part.count_ones())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entered one by one, or in one go: the answer must be the same.
    fn ledger(asked: u64, consumers: &[&[u64]]) -> BenchLedger {
        let identity = |sequence: &u64| Identity { producer: 0, sequence: *sequence };
        let tally = |seen: &&[u64], together: bool| {
            let mut tally = Tally::new([asked].into_iter(), true);
            if together {
                let items: Vec<Item<1>> = seen.iter().map(|nth| Item::new(identity(nth))).collect();
                tally.enter_all(&items);
            } else {
                seen.iter().for_each(|sequence| tally.enter(Some(identity(sequence))));
            }
            tally
        };
        let [single, together] = [false, true].map(|together| {
            let tallies = consumers.iter().map(|seen| tally(seen, together)).collect();
            Tally::ledger(asked, tallies, &[asked])
        });
        assert_eq!(single, together);
        single
    }

    #[test]
    fn every_item_once_in_order_is_clean() {
        let all: Vec<u64> = (0..200).collect();
        let (even, odd): (Vec<u64>, Vec<u64>) = all.iter().partition(|sequence| *sequence % 2 == 0);
        for clean in [ledger(200, &[&all]), ledger(200, &[&even, &odd]), ledger(0, &[&[]])] {
            assert!(clean.is_clean(), "{clean:?}");
        }
    }

    #[test]
    fn each_fault_is_counted_as_what_it_is() {
        let faults = |consumers: &[&[u64]]| {
            let ledger = ledger(4, consumers);
            assert!(!ledger.is_clean(), "{ledger:?}");
            let Ledger { lost, duplicate, phantom, out_of_order, .. } = ledger.counts;
            (lost, duplicate, phantom, out_of_order)
        };
        assert_eq!(faults(&[&[0, 1, 3]]), (1, 0, 0, 0));
        assert_eq!(faults(&[&[]]), (4, 0, 0, 0));
        assert_eq!(faults(&[&[0, 1, 1, 2, 3]]), (0, 1, 0, 0));
        assert_eq!(faults(&[&[0, 1], &[1, 2, 3]]), (0, 1, 0, 0));
        assert_eq!(faults(&[&[0, 2, 1, 3]]), (0, 0, 0, 1));
        assert_eq!(faults(&[&[3, 2, 1, 0]]), (0, 0, 0, 3));
        assert_eq!(faults(&[&[0, 1, 2, 3, 4]]), (0, 0, 1, 0));
        assert_eq!(faults(&[&[0, 1, 2, 3, 999]]), (0, 0, 1, 0));
        assert_eq!(faults(&[&[0, 2, 3, 3, 1, 1]]), (0, 2, 0, 1));
    }

    #[test]
    fn an_item_of_nobody_is_a_phantom() {
        let mut tally = Tally::new([1].into_iter(), true);
        tally.enter(None);
        tally.enter(Some(Identity { producer: 1, sequence: 0 }));
        tally.enter(Some(Identity { producer: 0, sequence: 0 }));
        assert_eq!(Tally::ledger(1, vec![tally], &[1]).counts.phantom, 2);
    }

    #[test]
    fn delivered_without_having_been_taken_is_a_phantom() {
        let mut tally = Tally::new([4].into_iter(), true);
        (0..3).for_each(|sequence| tally.enter(Some(Identity { producer: 0, sequence })));
        let ledger = Tally::ledger(4, vec![tally], &[2]);
        assert_eq!((ledger.counts.phantom, ledger.counts.lost), (1, 0));
        assert!(ledger.to_string().contains("2 not taken"), "{ledger}");
    }

    #[test]
    fn where_no_order_is_promised_none_is_asked_for() {
        let mut tally = Tally::new([3].into_iter(), false);
        [2, 0, 1].into_iter().for_each(|sequence| tally.enter(Some(Identity { producer: 0, sequence })));
        assert!(Tally::ledger(3, vec![tally], &[3]).is_clean());
    }

    #[test]
    fn the_set_counts_like_a_list() {
        let mut bits = Bits::new(300);
        assert_eq!(bits.insert(10, 200), 0);
        assert_eq!(bits.insert(190, 210), 10);
        assert_eq!(bits.insert(63, 65), 2);
        assert_eq!((bits.count(), bits.count_below(64), bits.count_below(300)), (200, 54, 200));
        assert!(bits.contains(209) && !bits.contains(210) && !bits.contains(9) && !bits.contains(5000));
    }
}
