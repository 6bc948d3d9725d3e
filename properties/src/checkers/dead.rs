//! How many dead letters there may be, and which redrives must have moved all of them.

use stanchion_queues::{DeadLettering, Death};

use super::attempts::{dead_from, maybe_dead, surely_dead, unseen_weight};
use super::index::{Index, Moment, Redrive, Window, falls_between};
use super::tables::NONE;
use super::timeline::{Observers, Sums};

/// A redrive that may have moved something.
pub(crate) struct Moved {
    pub(crate) window: Window,
    /// It moved every dead letter there was.
    pub(crate) all: bool,
}

/// What is known of deaths and redrives.
pub(crate) struct Deaths {
    moves: Vec<Moved>,
    order: Observers,
    /// The browses that showed every dead letter.
    browses: Observers,
    /// How many dead letters each redrive met, at least and at most (`None`: it cannot be told), in the order
    /// of [`Index::redrives`].
    pub(crate) met: Vec<(u64, Option<u64>)>,
}

impl Deaths {
    /// Works them out, redrive by redrive.
    pub(crate) fn of(index: &Index) -> Deaths {
        let events = index.redrives.iter().map(|redrive| redrive.event).collect();
        let met = dead_letters(index, &Observers::of(index, events), true);
        let moves: Vec<_> =
            index.redrives.iter().zip(&met).filter(|(redrive, _)| redrive.moved != Some(0)).collect();
        let order = moves.iter().map(|(redrive, _)| redrive.event).collect();
        let moves = moves
            .iter()
            .map(|(redrive, (_, most))| Moved {
                window: redrive.window,
                all: most.is_some_and(|most| bounds(redrive).0 >= most),
            })
            .collect();
        let whole = index.browses.iter().copied().filter(|&browse| index.shows_all(browse)).collect();
        Deaths { moves, order: Observers::of(index, order), browses: Observers::of(index, whole), met }
    }

    /// The call by whose return the death of a message after `delivery`, which is certain, stands in the order of
    /// deaths: the settlement that killed it, else a browse that had to show it. (Of leases that ran out or were
    /// lost, a broker that looks at its clock only when it is called sees several at once.)
    pub(crate) fn told(&self, index: &Index, delivery: u32) -> Option<Window> {
        if !surely_dead(index, delivery, &index.counts[delivery as usize]) {
            return None;
        }
        let lease = &index.leases[delivery as usize];
        let from = dead_from(index, delivery);
        if lease.settled != NONE && from.tick == lease.over.tick {
            return Some(index.window(lease.settled));
        }
        let first = self.browses.covered(from, Moment::NEVER).start;
        self.browses.events.get(first).map(|&browse| index.window(browse))
    }

    /// The first redrive that may have moved what may have died at `from`.
    pub(crate) fn first_after(&self, from: Moment) -> Option<&Moved> {
        self.moves.get(self.order.touched(from, Moment::NEVER).start)
    }
}

fn bounds(redrive: &Redrive) -> (u64, u64) {
    redrive.moved.map_or((0, redrive.max), |moved| (moved, moved))
}

/// How many dead letters each observer may have met: deaths before it less redrives before it. `redriving`:
/// the observers are the redrives themselves, which meet what they move.
pub(crate) fn dead_letters(index: &Index, observers: &Observers, redriving: bool) -> Vec<(u64, Option<u64>)> {
    let places = observers.events.len();
    if places == 0 || index.contract.dead_lettering == DeadLettering::Dropped {
        return vec![(0, None); places];
    }
    let (mut least, mut most) = (Sums::new(places), Sums::new(places));
    for (delivery, count) in index.counts.iter().enumerate() {
        let lease = &index.leases[delivery];
        let delivery = delivery as u32;
        if maybe_dead(index, delivery, count, u64::MAX) {
            most.add(observers.touched(lease.from, Moment::NEVER), 1);
            if surely_dead(index, delivery, count) {
                least.add(observers.covered(dead_from(index, delivery), Moment::NEVER), 1);
            }
        }
    }
    // What keeps its count may die again with a receive that comes upon it, or a start with a lower limit, and nobody sees
    // that.
    let dies_again = !index.contract.redrive_resets
        && (index.contract.death == Death::NextReceive || !index.limited.is_empty())
        && index.contract.deliveries_allowed.is_some();
    for redrive in &index.redrives {
        let (lo, hi) = bounds(redrive);
        let call = Moment { tick: redrive.window.call, time: redrive.window.at };
        let ret = Moment { tick: redrive.window.ret, time: stanchion_queues::Time::ZERO };
        least.add(observers.touched(call, Moment::NEVER), -(hi.min(1 << 40) as i64));
        if !dies_again {
            most.add(observers.covered(ret, Moment::NEVER), -(lo.min(1 << 40) as i64));
        }
    }
    let dies_unseen = index.contract.deliveries_allowed.is_some() && unseen_weight(index) > 0;
    let mut redrives = index.redrives.iter();
    let sums = least.finish().into_iter().zip(most.finish());
    observers
        .events
        .iter()
        .zip(sums)
        .map(|(&event, (least, most))| {
            let window = index.window(event);
            let least = least
                + redrives.next().filter(|_| redriving).map_or(0, |own| bounds(own).1.min(1 << 40) as i64);
            let uncertain = falls_between(&index.falls.any, 0, window.ret)
                || dies_unseen && index.unseen_ticks.touching(0, window.ret) > 0;
            if uncertain { (0, None) } else { (least.max(0) as u64, Some(most.max(0) as u64)) }
        })
        .collect()
}
