//! How much the queue holds, and whether "full" is true.

use stanchion_queues::{Answer, Batches, Refusal, Retries, Time};

use super::accounting::{Census, nameless};
use super::attempts::{dead_from, maybe_dead, surely_dead, unseen_weight};
use super::index::{Index, Moment, NEVER, Redrive, first_from};
use super::lease::Causes;
use super::tables::NONE;
use super::tally::Tally;
use super::timeline::Observers;
use crate::history::{SendOutcome, What};
use crate::invariant::Invariant;
use crate::verdict::Verdict;

/// The first tick at which a stored copy may have left the queue.
fn may_leave(index: &Index, copy: u32, stored: u64) -> u64 {
    let mut tick = first_from(&index.falls.sends, stored).map_or(NEVER, |fall| fall.call);
    if let Some(allowed) = index.least_allowed().filter(|_| unseen_weight(index) > 0) {
        tick = tick.min(index.unseen_ticks.nth_call(stored, allowed));
    }
    for &delivery in index.by_copy.get(copy as usize) {
        let lease = &index.leases[delivery as usize];
        let count = &index.counts[delivery as usize];
        if count.unordered {
            return tick.min(index.deliveries[delivery as usize].window.call);
        }
        let leaves = Causes::ACK.with(Causes::REJECT).with(Causes::UNKNOWN);
        if lease.causes.any(leaves) || maybe_dead(index, delivery, count, NEVER) {
            return tick.min(lease.from.tick);
        }
    }
    tick
}

/// The tick from which on a copy is certainly gone.
fn surely_gone(index: &Index, copy: u32, clock: &Clock) -> u64 {
    let Some(&last) = index.by_copy.get(copy as usize).last() else { return NEVER };
    let (lease, count) = (&index.leases[last as usize], &index.counts[last as usize]);
    if count.unordered {
        return NEVER;
    }
    let tick = |moment: Moment| if moment.time == Time::ZERO { moment.tick } else { clock.past(moment.time) };
    if lease.causes == Causes::ACK {
        return tick(lease.settled_from(&index.deliveries[last as usize].window));
    }
    let stays = surely_dead(index, last, count)
        && !index.redrive_between(lease.from.tick, NEVER)
        && first_from(&index.falls.any, lease.from.tick).is_none();
    if stays { tick(dead_from(index, last)) } else { NEVER }
}

/// Translates times to ticks.
struct Clock {
    /// For each event the earliest time that it or a later one showed.
    shown: Vec<Time>,
    rets: Vec<u64>,
}

impl Clock {
    fn of(index: &Index) -> Clock {
        let mut earliest = Time::FAR_FUTURE;
        let mut shown: Vec<Time> = index
            .events
            .iter()
            .rev()
            .map(|event| {
                earliest = earliest.min(event.at);
                earliest
            })
            .collect();
        shown.reverse();
        Clock { shown, rets: index.events.iter().map(|event| event.ret).collect() }
    }

    /// A tick by which `time` was certainly over.
    fn past(&self, time: Time) -> u64 {
        self.rets.get(self.shown.partition_point(|&shown| shown <= time)).copied().unwrap_or(NEVER)
    }
}

/// The queue never holds more than its capacity.
pub(crate) fn bound(index: &Index) -> Verdict {
    let Some(capacity) = index.contract.capacity else { return Verdict::NotClaimed };
    let mut tally = Tally::of(Invariant::Cb1);
    // At equal ticks an end comes before a beginning: they are concurrent.
    let mut steps: Vec<(u64, bool, u32)> = Vec::new();
    for copy in 0..index.copies.len() as u32 {
        let confirmed = index.copies[copy as usize].confirmed;
        if confirmed == NONE {
            continue;
        }
        let window = index.window(confirmed);
        // A retry may be confirmed that was stored, and gone, long before.
        let stored = match index.contract.retries {
            Retries::Stored => window.call,
            Retries::Deduplicated => index
                .stored_by(index.copies[copy as usize].token)
                .map(|send| index.events[send as usize].call)
                .min()
                .unwrap_or(window.call),
        };
        let leaves = may_leave(index, copy, stored);
        if window.ret < leaves {
            steps.push((window.ret, true, confirmed));
            steps.push((leaves, false, confirmed));
        }
    }
    steps.sort_unstable();
    let mut held = 0_u64;
    for &(_, begins, send) in &steps {
        if !begins {
            held -= 1;
            continue;
        }
        held += 1;
        tally.tested(u64::from(held == capacity));
        if held > capacity {
            tally.blame(&[send], || {
                format!(
                    "with event {send} the queue held {held} messages for certain; its capacity is {capacity}"
                )
            });
        }
    }
    blame_redrives(index, capacity, &mut tally);
    tally.verdict()
}

/// Tells of each redrive that moved more than there was room for.
fn blame_redrives(index: &Index, capacity: u64, tally: &mut Tally) {
    // What moves while others come and go may find room that was not there before.
    let alone: Vec<&Redrive> = index
        .redrives
        .iter()
        .filter(|redrive| redrive.moved.is_some_and(|moved| moved > 0) && !index.overlapped(redrive.event))
        .collect();
    if alone.is_empty() {
        return;
    }
    let observers = Observers::of(index, alone.iter().map(|redrive| redrive.event).collect());
    let census = Census::of(index, &observers);
    for (place, redrive) in alone.iter().enumerate() {
        let held = census.ready.least[place] + census.in_flight.least[place] + census.delayed.least[place];
        let moved = redrive.moved.unwrap_or(0);
        if held + moved > capacity {
            tally.blame(&[redrive.event], || {
                format!(
                    "event {} redrove {moved} messages to {held} that were there; the capacity is {capacity}",
                    redrive.event
                )
            });
        }
    }
}

/// How many messages there may have been, as a function of the tick.
struct Residents {
    starts: Vec<u64>,
    ends: Vec<u64>,
    /// A tree of maxima over the level at each start.
    tree: Vec<i64>,
}

impl Residents {
    fn of(index: &Index) -> Residents {
        let clock = Clock::of(index);
        let mut stays = Vec::new();
        for copy in 0..index.copies.len() as u32 {
            let token = index.copies[copy as usize].token;
            let sent = index.stored_by(token).map(|send| index.events[send as usize].call).min();
            let Some(sent) = sent else { continue };
            stays.push((sent, surely_gone(index, copy, &clock).max(sent)));
        }
        stays.extend(nameless(index).into_iter().map(|send| (index.events[send as usize].call, NEVER)));
        Residents::of_stays(stays)
    }

    /// From the first and the last tick of each.
    fn of_stays(stays: Vec<(u64, u64)>) -> Residents {
        let (mut starts, mut ends): (Vec<u64>, Vec<u64>) = stays.into_iter().unzip();
        starts.sort_unstable();
        ends.sort_unstable();
        let places = starts.len();
        let mut residents = Residents { starts, ends, tree: vec![0; 2 * places] };
        for place in 0..places {
            residents.tree[places + place] = residents.level(residents.starts[place]);
        }
        for node in (1..places).rev() {
            residents.tree[node] = residents.tree[2 * node].max(residents.tree[2 * node + 1]);
        }
        residents
    }

    fn level(&self, tick: u64) -> i64 {
        let started = self.starts.partition_point(|&start| start <= tick);
        let ended = self.ends.partition_point(|&end| end < tick);
        started as i64 - ended as i64
    }

    /// The most there may have been at one instant of a call.
    fn most(&self, call: u64, ret: u64) -> u64 {
        let mut most = self.level(call);
        let places = self.starts.len();
        let mut low = places + self.starts.partition_point(|&start| start <= call);
        let mut high = places + self.starts.partition_point(|&start| start <= ret);
        while low < high {
            if low % 2 == 1 {
                most = most.max(self.tree[low]);
                low += 1;
            }
            if high % 2 == 1 {
                high -= 1;
                most = most.max(self.tree[high]);
            }
            (low, high) = (low / 2, high / 2);
        }
        most.max(0) as u64
    }
}

/// An answer "full" was true at some instant of the call.
pub(crate) fn no_false_full(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Cb2);
    let capacity = index.contract.capacity;
    let mut residents = None;
    // How many answers "full" came with nothing else between them. A batch gets one.
    let mut in_a_row = 0;
    for (number, event) in index.events.iter().enumerate() {
        let What::Send { outcome: SendOutcome::Refused(Refusal::Full), token, .. } = &event.what else {
            in_a_row = 0;
            continue;
        };
        let number = number as u32;
        in_a_row += usize::from(number == 0 || !index.same_batch(number - 1, number));
        let doubtful = match index.contract.full {
            Answer::Exact => false,
            Answer::Relaxed => index.overlapped(number),
            Answer::Unreliable => in_a_row < Answer::PATIENCE || index.overlapped(number),
        };
        if doubtful {
            continue;
        }
        tally.tested(1);
        let Some(capacity) = capacity else {
            tally.blame(&[number], || {
                format!("event {number} refused m{} as full, and the queue is unbounded", token.0)
            });
            continue;
        };
        let window = index.window(number);
        let most = residents.get_or_insert_with(|| Residents::of(index)).most(window.call, window.ret);
        // Where a batch is stored as a whole or not at all, all of it must fit.
        let needed = match index.contract.batches {
            Batches::Items => 1,
            Batches::Whole => index.batch(number).len() as u64,
        };
        if most.saturating_add(needed) <= capacity {
            tally.blame(&[number], || {
                format!(
                    "event {number} refused m{} as full when there were at most {most} messages of {capacity}",
                    token.0
                )
            });
        }
    }
    if capacity.is_none() {
        // Each send is a chance to refuse, which it never may.
        tally.tested(index.sent());
    }
    tally.verdict()
}

/// A body is refused as too large if it is larger than the limit, and only then.
pub(crate) fn oversize(index: &Index) -> Verdict {
    let Some(limit) = index.contract.body_limit else { return Verdict::NotClaimed };
    let mut tally = Tally::of(Invariant::Cb6);
    for (event, sent) in index.events.iter().enumerate() {
        let What::Send { key, body, outcome, .. } = &sent.what else { continue };
        let (event, size) = (event as u32, body.size());
        tally.tested(u64::from(size >= limit.0));
        let wrong = match outcome {
            SendOutcome::Confirmed(_) => size > limit.0,
            // A key may be too large, too.
            SendOutcome::Refused(Refusal::TooLarge) => size.max(key.map_or(0, |key| key.size())) <= limit.0,
            _ => false,
        };
        if wrong {
            tally.blame(&[event], || {
                let answered = if size > limit.0 { "stored" } else { "refused as too large" };
                format!("event {event} {answered} a body of {size} bytes, and the limit is {}", limit.0)
            });
        }
    }
    tally.verdict()
}

/// A refused send leaves nothing behind.
pub(crate) fn refused_has_no_effect(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Cb3);
    if index.refuses_nothing() {
        tally.tested(index.sent());
    }
    for (token, _) in index.tokens.iter().enumerate() {
        let sends = index.sends.get(token);
        let refused = sends.iter().filter(|&&send| index.refused(send)).count();
        tally.tested(refused as u64);
        if refused == 0 || refused < sends.len() {
            continue;
        }
        let send = sends[0];
        let seen = index.copies_of.get(token).iter().map(|&copy| index.copies[copy as usize].first_seen);
        for seen in seen.filter(|&seen| index.window(seen).ret >= index.events[send as usize].call) {
            tally.blame(&[send, seen], || {
                format!("m{} was refused at event {send} and appears at event {seen}", index.tokens[token].0)
            });
        }
    }
    tally.verdict()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    #[test]
    fn the_most_there_may_have_been_is_the_highest_level_of_the_call() {
        let mut dice = Dice::new(1);
        for _ in 0..200 {
            let stays: Vec<(u64, u64)> = (0..dice.below(9))
                .map(|_| {
                    let start = dice.below(20);
                    (start, start + dice.below(6))
                })
                .collect();
            let residents = Residents::of_stays(stays.clone());
            let at =
                |tick: u64| stays.iter().filter(|&&(start, end)| start <= tick && tick <= end).count() as u64;
            for call in 0..25 {
                for ret in call..25 {
                    let most = (call..=ret).map(at).max().unwrap_or(0);
                    assert_eq!(residents.most(call, ret), most, "{stays:?}, {call} to {ret}");
                }
            }
        }
    }
}
