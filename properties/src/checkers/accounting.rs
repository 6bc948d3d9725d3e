//! Messages are conserved: in one state each, and the broker's own counts agree.

use super::dead::dead_letters;
use super::index::{Index, Moment};
use super::tables::NONE;
use super::tally::Tally;
use super::timeline::{Observers, State, Sums, spans};
use crate::history::{SendOutcome, What};
use crate::invariant::Invariant;
use crate::verdict::Verdict;
use stanchion_queues::Depth;

/// How many messages there may be in one state, at least and at most, for each observer.
pub(crate) struct Bounds {
    pub(crate) least: Vec<u64>,
    pub(crate) most: Vec<Option<u64>>,
}

/// How many messages each observer may find in each state.
pub(crate) struct Census {
    pub(crate) ready: Bounds,
    pub(crate) in_flight: Bounds,
    pub(crate) delayed: Bounds,
    pub(crate) dead: Bounds,
}

impl Census {
    /// Counts for `observers`.
    pub(crate) fn of(index: &Index, observers: &Observers) -> Census {
        let places = observers.events.len();
        let mut sums: Vec<(Sums, Sums)> = (0..3).map(|_| (Sums::new(places), Sums::new(places))).collect();
        let slot = |state: State| match state {
            State::Ready => Some(0),
            State::InFlight => Some(1),
            State::Delayed => Some(2),
            State::Dead => None,
        };
        // A copy counts once in each state that it may have, however many spans say so.
        let mut ranges: Vec<(usize, std::ops::Range<usize>)> = Vec::new();
        let mut copy = NONE;
        let flush = |ranges: &mut Vec<(usize, std::ops::Range<usize>)>, sums: &mut Vec<(Sums, Sums)>| {
            ranges.sort_unstable_by_key(|(slot, range)| (*slot, range.start));
            let mut covered = (usize::MAX, 0);
            for (slot, range) in ranges.drain(..) {
                let start = if covered.0 == slot { range.start.max(covered.1) } else { range.start };
                if start < range.end {
                    sums[slot].1.add(start..range.end, 1);
                    covered = (slot, range.end);
                }
            }
        };
        spans(index, |span| {
            if span.copy != copy {
                flush(&mut ranges, &mut sums);
                copy = span.copy;
            }
            let Some(slot) = slot(span.state) else { return };
            if span.certain {
                sums[slot].0.add(observers.covered(span.from, span.to), 1);
            } else {
                ranges.push((slot, observers.touched(span.from, span.to)));
            }
        });
        flush(&mut ranges, &mut sums);
        for send in nameless(index) {
            let window = index.window(send);
            let range = observers.touched(Moment { tick: window.call, time: window.at }, Moment::NEVER);
            sums[0].1.add(range.clone(), 1);
            if !index.delay(send).is_zero() {
                sums[2].1.add(range, 1);
            }
        }
        let hidden = observers.hidden(index);
        let mut bounds = sums.into_iter().enumerate().map(|(slot, (least, most))| {
            let least = least.finish().into_iter().zip(&hidden).map(|(least, &hidden)| {
                if slot == 0 { (least as u64).saturating_sub(hidden) } else { least as u64 }
            });
            let most = most
                .finish()
                .into_iter()
                .zip(&hidden)
                .map(|(most, &hidden)| Some(if slot == 1 { most as u64 + hidden } else { most as u64 }));
            Bounds { least: least.collect(), most: most.collect() }
        });
        let (least, most) = dead_letters(index, observers, false).into_iter().unzip();
        let mut next = || bounds.next().expect("there are three states beside the dead");
        Census { ready: next(), in_flight: next(), delayed: next(), dead: Bounds { least, most } }
    }

    /// The four states of one observer with what was answered.
    pub(crate) fn states(&self, depth: &Depth) -> [(&'static str, u64, &Bounds); 4] {
        [
            ("ready", depth.ready, &self.ready),
            ("in flight", depth.in_flight, &self.in_flight),
            ("delayed", depth.delayed, &self.delayed),
            ("dead", depth.dead, &self.dead),
        ]
    }
}

/// Sends in doubt that may have stored a copy that nothing in the history names.
pub(crate) fn nameless(index: &Index) -> Vec<u32> {
    let mut nameless = Vec::new();
    for token in 0..index.tokens.len() {
        let doubtful = |&send: &u32| {
            matches!(index.events[send as usize].what, What::Send { outcome: SendOutcome::InDoubt, .. })
        };
        let sends = index.sends.get(token).iter().copied().filter(|send| doubtful(send));
        let unconfirmed = index
            .copies_of
            .get(token)
            .iter()
            .filter(|&&copy| index.copies[copy as usize].confirmed == NONE)
            .count();
        let many = sends.clone().count();
        // One copy of one send in doubt is that send's, wherever it stands in the history.
        if !(many == 1 && unconfirmed == 1) {
            nameless.extend(sends);
        }
    }
    nameless
}

/// Every confirmed message is in exactly one state, and the broker's own counts agree.
pub(crate) fn accounting(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Al10);
    let observers = Observers::of(index, index.depths.clone());
    tally.tested(observers.events.len() as u64 + u64::from(index.false_empties().last.is_some()));
    if !observers.events.is_empty() {
        let census = Census::of(index, &observers);
        for (place, &event) in observers.events.iter().enumerate() {
            let What::Depth { depth: Some(depth) } = &index.events[event as usize].what else { continue };
            for (state, answer, bounds) in census.states(depth) {
                let (least, most) = (bounds.least[place], bounds.most[place]);
                if answer < least {
                    tally.blame(&[event], || {
                        format!("event {event} counted {answer} {state} and there were at least {least}")
                    });
                }
                if let Some(most) = most.filter(|&most| answer > most) {
                    tally.blame(&[event], || {
                        format!("event {event} counted {answer} {state} and there were at most {most}")
                    });
                }
            }
        }
    }
    for missed in &index.false_empties().lost {
        tally.blame(&[index.copies[missed.span.copy as usize].first_seen, missed.event], || {
            format!(
                "when the drain was empty at event {}, {} was neither acked nor dead nor delivered",
                missed.event,
                index.name(missed.span.copy)
            )
        });
    }
    let (nowhere, browse) = index.vanished();
    for &copy in nowhere {
        tally.blame(&[index.copies[copy as usize].first_seen, *browse], || {
            format!(
                "when the drain had come to rest, {} was neither acked nor delivered nor, at event {browse}, dead",
                index.name(copy)
            )
        });
    }
    tally.verdict()
}
