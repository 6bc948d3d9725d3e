//! In which order messages come, and whether "empty" is true.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use stanchion_queues::{Order, Requeue, Settle};

use super::index::{Index, NEVER};
use super::lease::Causes;
use super::tables::NONE;
use super::tally::Tally;
use super::timeline::{Cause, Span, State, spans};
use crate::history::What;
use crate::invariant::Invariant;
use crate::verdict::Verdict;

/// When a copy was sent: the earliest call and the latest return of what may have stored it.
struct Sent {
    call: u64,
    ret: u64,
    delayed: bool,
}

fn sent(index: &Index, copy: u32) -> Option<Sent> {
    let stored = &index.copies[copy as usize];
    let mut sent: Option<Sent> = None;
    for send in index.stored_by(stored.token) {
        let window = index.window(send);
        let delayed = !index.delay(send).is_zero();
        sent = Some(match sent {
            None => Sent { call: window.call, ret: window.ret, delayed },
            Some(before) => Sent {
                call: before.call.min(window.call),
                ret: before.ret.max(window.ret),
                delayed: before.delayed || delayed,
            },
        });
    }
    let mut sent = sent?;
    if stored.confirmed != NONE {
        sent.ret = index.window(stored.confirmed).ret;
    }
    Some(sent)
}

/// The tick from which on a message that was there at `tick` may be leased unseen or displaced by a crash.
fn undisturbed_until(index: &Index, tick: u64) -> u64 {
    let falls = &index.falls.all;
    let fall = falls.get(falls.partition_point(|fall| fall.window.ret < tick));
    index.unseen_ticks.nth_call(tick, 1).min(fall.map_or(NEVER, |fall| fall.window.call))
}

/// Pairs of copies `(overtaken, overtaker)`: the first was sent before the second was, and the second was
/// delivered first. One pair for each overtaker.
///
/// Two messages are enough to show every break of FIFO (Henzinger, Sezgin and Vafeiadis, CONCUR 2013); the
/// largest first delivery among what was sent earlier is enough to find one.
pub(crate) fn overtakers(index: &Index) -> Vec<(u32, u32)> {
    let mut earlier: Vec<(u64, u64, u32)> = Vec::new();
    let mut later: Vec<(u64, u64, u32)> = Vec::new();
    for copy in 0..index.copies.len() as u32 {
        let Some(sent) = sent(index, copy) else { continue };
        let deliveries = index.by_copy.get(copy as usize);
        let delivered = deliveries.first().map(|&first| index.deliveries[first as usize].window.call);
        if index.copies[copy as usize].confirmed != NONE && !sent.delayed {
            let first = delivered.unwrap_or(NEVER).min(undisturbed_until(index, sent.call));
            earlier.push((sent.ret, first, copy));
        }
        let returned = deliveries.iter().map(|&delivery| index.deliveries[delivery as usize].window.ret);
        if let Some(returned) = returned.min() {
            later.push((sent.call, returned, copy));
        }
    }
    earlier.sort_unstable();
    later.sort_unstable();
    let mut pairs = Vec::new();
    let mut slowest: Option<(u64, u32)> = None;
    let mut next = 0;
    for &(call, returned, copy) in &later {
        while next < earlier.len() && earlier[next].0 < call {
            slowest = slowest.max(Some((earlier[next].1, earlier[next].2)));
            next += 1;
        }
        if let Some((first, overtaken)) = slowest.filter(|&(first, _)| first > returned) {
            debug_assert!(first > returned && overtaken != copy);
            pairs.push((overtaken, copy));
        }
    }
    pairs
}

fn first_delivery(index: &Index, copy: u32) -> Option<u32> {
    index.by_copy.get(copy as usize).first().map(|&delivery| index.deliveries[delivery as usize].event)
}

/// First deliveries come in the order of the sends.
pub(crate) fn fifo(index: &Index) -> Verdict {
    if index.contract.order != Order::Fifo {
        return Verdict::NotClaimed;
    }
    let mut tally = Tally::of(Invariant::Or1);
    let delivered = index.copies.len()
        - (0..index.copies.len()).filter(|&copy| index.by_copy.get(copy).is_empty()).count();
    tally.tested(delivered.saturating_sub(1) as u64);
    for (overtaken, overtaker) in overtakers(index) {
        let (first, second) =
            (index.copies[overtaken as usize].confirmed, index.copies[overtaker as usize].first_seen);
        let delivered = first_delivery(index, overtaker).unwrap_or(second);
        let late = first_delivery(index, overtaken);
        let culprits = [first, second, delivered, late.unwrap_or(delivered)];
        tally.blame(&culprits, || {
            let (a, b) = (index.name(overtaken), index.name(overtaker));
            let late = late.map_or(String::from("never"), |late| format!("only at event {late}"));
            format!("{a} was sent before {b}, {b} was delivered at event {delivered} and {a} {late}")
        });
    }
    tally.verdict()
}

/// Each consumer sees each producer's messages in the order they were sent.
pub(crate) fn producer_order(index: &Index) -> Verdict {
    if index.contract.order == Order::Unordered {
        return Verdict::NotClaimed;
    }
    struct First {
        between: (u32, u32),
        call: u64,
        ret: u64,
        copy: u32,
        sent: Sent,
    }
    let mut tally = Tally::of(Invariant::Or2);
    let mut firsts = Vec::new();
    for copy in 0..index.copies.len() as u32 {
        let Some(&delivery) = index.by_copy.get(copy as usize).first() else { continue };
        let Some(sent) = sent(index, copy) else { continue };
        if index.counts[delivery as usize].unordered {
            continue;
        }
        let token = index.copies[copy as usize].token;
        let mut producers = index.stored_by(token).map(|send| index.events[send as usize].actor);
        let Some(producer) = producers.next() else { continue };
        if producers.any(|other| other != producer) {
            continue;
        }
        let delivered = &index.deliveries[delivery as usize];
        let (call, ret) = (delivered.window.call, delivered.window.ret);
        firsts.push(First { between: (producer.0, delivered.actor), call, ret, copy, sent });
    }
    firsts.sort_by_key(|first| (first.between, first.call));
    for stream in firsts.chunk_by(|a, b| a.between == b.between) {
        tally.tested(stream.len() as u64 - 1);
        // The latest send among what was delivered before.
        let (mut latest, mut done): (Option<&First>, usize) = (None, 0);
        for first in stream {
            while stream[done].ret < first.call {
                if latest.is_none_or(|latest| latest.sent.call < stream[done].sent.call) {
                    latest = Some(&stream[done]);
                }
                done += 1;
            }
            let Some(before) = latest.filter(|before| before.sent.call > first.sent.ret) else { continue };
            if first.sent.delayed || undisturbed_until(index, first.sent.call) <= first.ret {
                continue;
            }
            let event = |copy: u32| first_delivery(index, copy).unwrap_or(NONE);
            tally.blame(&[event(before.copy), event(first.copy)], || {
                let (a, b) = (index.name(first.copy), index.name(before.copy));
                format!(
                    "one producer sent {a} before {b}, and one consumer received {b} at event {} and {a} at \
                     event {}",
                    event(before.copy),
                    event(first.copy)
                )
            });
        }
    }
    tally.verdict()
}

/// A returned message takes its declared place among the ready ones.
pub(crate) fn requeue_position(index: &Index) -> Verdict {
    // Where there is no order there is no place in it.
    if index.contract.order != Order::Fifo {
        return Verdict::NotClaimed;
    }
    match index.contract.requeue {
        Requeue::Unspecified => Verdict::NotClaimed,
        Requeue::Original => original_position(index),
        Requeue::Tail => tail_position(index),
    }
}

/// When a copy that is ready at once is certainly ready, in ticks, if nothing in doubt can disturb it.
fn undelayed(index: &Index, span: &Span) -> Option<(u64, u64)> {
    let plain = span.certain
        && span.state == State::Ready
        && span.from.time == stanchion_queues::Time::ZERO
        && matches!(span.cause, Cause::Fresh | Cause::Nack);
    if !plain {
        return None;
    }
    // It may have been ready, and taken unseen, before it was certainly ready.
    let earliest = if span.after == NONE {
        sent(index, span.copy)?.call
    } else {
        index.leases[span.after as usize].from.tick
    };
    Some((span.from.tick, span.to.tick.min(undisturbed_until(index, earliest))))
}

fn original_position(index: &Index) -> Verdict {
    struct Returned {
        from: u64,
        to: u64,
        sent: u64,
        copy: u32,
        nack: u32,
    }
    let mut tally = Tally::of(Invariant::Or4);
    let mut returned = Vec::new();
    spans(index, |span| {
        if span.after == NONE {
            return;
        }
        let Some((from, to)) = undelayed(index, &span) else { return };
        let Some(sent) = sent(index, span.copy).filter(|sent| !sent.delayed) else { return };
        let nack = index.leases[span.after as usize].settled;
        returned.push(Returned { from, to, sent: sent.ret, copy: span.copy, nack });
    });
    if returned.is_empty() {
        return tally.verdict();
    }
    tally.tested(returned.len() as u64);
    returned.sort_unstable_by_key(|returned| returned.from);
    let mut waiting = BinaryHeap::new();
    let mut next = 0;
    // Deliveries are in the order of their calls, as events are.
    for delivery in &index.deliveries {
        let window = delivery.window;
        while next < returned.len() && returned[next].from < window.call {
            waiting.push(Reverse((returned[next].sent, next)));
            next += 1;
        }
        while waiting.peek().is_some_and(|Reverse((_, first))| returned[*first].to <= window.call) {
            waiting.pop();
        }
        let Some(&Reverse((sent_ret, first))) = waiting.peek() else { continue };
        let first = &returned[first];
        let overtakes = sent(index, delivery.copy).is_some_and(|sent| sent_ret < sent.call);
        if overtakes && window.ret < first.to {
            tally.blame(&[first.nack, delivery.event], || {
                format!(
                    "{} was returned at event {} to its place before {}, which event {} delivered before it",
                    index.name(first.copy),
                    first.nack,
                    index.name(delivery.copy),
                    delivery.event
                )
            });
        }
    }
    tally.verdict()
}

fn tail_position(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Or4);
    let mut ready: Vec<(u64, u64, u32)> = Vec::new();
    spans(index, |span| {
        if let Some((from, to)) = undelayed(index, &span) {
            ready.push((from, to, span.copy));
        }
    });
    ready.sort_unstable();
    let mut longest: Vec<(u64, u32)> = Vec::with_capacity(ready.len());
    for &(_, to, copy) in &ready {
        let before = longest.last().copied().unwrap_or((0, copy));
        longest.push(before.max((to, copy)));
    }
    for (delivery, next) in index.pairs() {
        let lease = &index.leases[delivery as usize];
        let next = &index.deliveries[next as usize];
        if lease.causes != Causes::NACK || lease.settled == NONE || index.counts[delivery as usize].unordered
        {
            continue;
        }
        let nack = index.window(lease.settled);
        let What::Settle { how: Settle::Nack { .. }, .. } = index.events[lease.settled as usize].what else {
            continue;
        };
        tally.tested(1);
        let before = ready.partition_point(|&(from, _, _)| from < nack.call);
        let Some(&(to, copy)) = before.checked_sub(1).map(|last| &longest[last]) else { continue };
        if to > next.window.ret {
            tally.blame(&[lease.settled, next.event], || {
                format!(
                    "{} was returned at event {} behind {}, which was ready, and event {} delivered it first",
                    index.name(next.copy),
                    lease.settled,
                    index.name(copy),
                    next.event
                )
            });
        }
    }
    tally.verdict()
}

/// An answer "empty" was true at some instant of the call.
pub(crate) fn empty_is_true(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Or6);
    let found = index.false_empties();
    tally.tested(found.asked);
    if let Some(missed) = found.first {
        let since = missed.since(index);
        tally.blame(&[since, missed.event], || {
            format!(
                "event {} found nothing while {} was ready all the time (see event {since})",
                missed.event,
                index.name(missed.span.copy)
            )
        });
    }
    tally.verdict()
}
