//! In which order messages come, and whether "empty" is true.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use stanchion_queues::{Counting, Order, Requeue, Time};

use super::attempts::{maybe_dead, surely_dead};
use super::dead_letters::only_redrive;
use super::index::{Delivered, Index, Moment, NEVER};
use super::lease::Causes;
use super::tables::NONE;
use super::tally::Tally;
use super::timeline::{Cause, Span, State, spans};
use crate::history::Actor;
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

/// Pairs of copies `(overtaken, overtaker)` of which the sends or the first deliveries are items of one batch: these
/// follow each other as they stand in it. `apart` tells streams apart that have no order between them: by the producer
/// and the consumer, who are given.
fn overtakers_in_batches<K: Ord>(index: &Index, apart: impl Fn(Actor, u32) -> K) -> Vec<(u32, u32)> {
    let firsts: Vec<InBatch> =
        (0..index.copies.len() as u32).filter_map(|copy| in_batch(index, copy)).collect();
    let mut pairs = Vec::new();
    // Items of one send: the latest first delivery among those before.
    let mut by_send: Vec<&InBatch> = firsts.iter().collect();
    by_send.sort_unstable_by_key(|first| first.send);
    for batch in by_send.chunk_by(|a, b| index.same_batch(a.send, b.send)) {
        let mut slowest: BTreeMap<K, &InBatch> = BTreeMap::new();
        for &first in batch {
            let slowest = slowest.entry(apart(first.producer, first.consumer)).or_insert(first);
            let together = index.same_batch(first.delivery, slowest.delivery);
            let overtook = slowest.call > first.ret || together && slowest.delivery > first.delivery;
            if overtook && slowest.is_orderly() {
                pairs.push((slowest.copy, first.copy));
            }
            if (first.call, first.delivery) > (slowest.call, slowest.delivery) {
                *slowest = first;
            }
        }
    }
    // Items of one receive: the latest send among those before.
    let mut by_delivery: Vec<&InBatch> = firsts.iter().collect();
    by_delivery.sort_unstable_by_key(|first| first.delivery);
    for batch in by_delivery.chunk_by(|a, b| index.same_batch(a.delivery, b.delivery)) {
        let mut latest: BTreeMap<K, &InBatch> = BTreeMap::new();
        for &first in batch {
            let latest = latest.entry(apart(first.producer, first.consumer)).or_insert(first);
            if first.sent.ret < latest.sent.call && first.is_orderly() {
                pairs.push((first.copy, latest.copy));
            }
            if first.sent.call > latest.sent.call {
                *latest = first;
            }
        }
    }
    pairs
}

/// The first delivery of a copy that was sent once and confirmed.
struct InBatch {
    copy: u32,
    /// The event of the send.
    send: u32,
    /// The event of the delivery.
    delivery: u32,
    producer: Actor,
    consumer: u32,
    call: u64,
    ret: u64,
    sent: Sent,
    undisturbed: u64,
}

impl InBatch {
    /// Whether it had to come in its turn.
    fn is_orderly(&self) -> bool {
        !self.sent.delayed && self.undisturbed > self.ret
    }
}

fn in_batch(index: &Index, copy: u32) -> Option<InBatch> {
    let &delivery = index.by_copy.get(copy as usize).first()?;
    let stored = &index.copies[copy as usize];
    let send = stored.confirmed;
    if send == NONE
        || index.counts[delivery as usize].unordered
        || index.stored_by(stored.token).nth(1).is_some()
    {
        return None;
    }
    let sent = sent(index, copy)?;
    let delivered = &index.deliveries[delivery as usize];
    Some(InBatch {
        copy,
        send,
        delivery: delivered.event,
        producer: index.events[send as usize].actor,
        consumer: delivered.actor,
        call: delivered.window.call,
        ret: delivered.window.ret,
        undisturbed: undisturbed_until(index, sent.call),
        sent,
    })
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
    for (overtaken, overtaker) in overtakers(index).into_iter().chain(overtakers_in_batches(index, |_, _| ()))
    {
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
            tally.blame(&[event(before.copy), event(first.copy)], || swapped(index, first.copy, before.copy));
        }
    }
    for (overtaken, overtaker) in overtakers_in_batches(index, |producer, consumer| (producer, consumer)) {
        let events = [overtaker, overtaken].map(|copy| first_delivery(index, copy).unwrap_or(NONE));
        tally.blame(&events, || swapped(index, overtaken, overtaker));
    }
    tally.verdict()
}

fn swapped(index: &Index, overtaken: u32, overtaker: u32) -> String {
    let event = |copy: u32| first_delivery(index, copy).unwrap_or(NONE);
    let (a, b) = (index.name(overtaken), index.name(overtaker));
    format!(
        "one producer sent {a} before {b}, and one consumer received {b} at event {} and {a} at event {}",
        event(overtaker),
        event(overtaken)
    )
}

/// A returned message takes its declared place among the ready ones.
pub(crate) fn requeue_position(index: &Index) -> Verdict {
    // Where there is no order there is no place in it.
    if index.contract.order != Order::Fifo {
        return Verdict::NotClaimed;
    }
    // Whoever dies of its first attempt is never returned.
    let returns = index.most_allowed() != Some(1) || index.contract.counting != Counting::AT_HAND_OVER;
    let requeue = if returns { index.contract.requeue } else { Requeue::Unspecified };
    let redriven = index.contract.redriven;
    if [requeue, redriven] == [Requeue::Unspecified; 2] {
        return Verdict::NotClaimed;
    }
    let mut tally = Tally::of(Invariant::Or4);
    if [requeue, redriven].contains(&Requeue::Original) {
        original_position(index, &mut tally);
    }
    if [requeue, redriven].contains(&Requeue::Tail) {
        let mut ready = Vec::new();
        spans(index, |span| {
            if let Some((from, to)) = undisturbed(index, &span)
                && from.time == Time::ZERO
            {
                ready.push((from.tick, to, span.copy));
            }
        });
        let ready = Waiting::of(ready);
        if requeue == Requeue::Tail {
            tail_position(index, &mut tally, &ready);
        }
        if redriven == Requeue::Tail {
            redriven_to_tail(index, &mut tally, &ready);
        }
    }
    tally.verdict()
}

/// When a copy is certainly ready, and until when if nothing in doubt can disturb it.
fn undisturbed(index: &Index, span: &Span) -> Option<(Moment, u64)> {
    if !span.certain || span.state != State::Ready {
        return None;
    }
    // It may have been ready, and taken unseen, before it was certainly ready.
    let earliest = if span.after == NONE {
        sent(index, span.copy)?.call
    } else {
        index.leases[span.after as usize].from.tick
    };
    Some((span.from, span.to.tick.min(undisturbed_until(index, earliest))))
}

/// The tick from which on a copy may stand elsewhere than where its send put it: after a crash, and after a redrive
/// where the contract does not say that it returns to its place.
fn displaced_from(index: &Index, copy: u32, sent: u64) -> u64 {
    let falls = &index.falls.all;
    let fall = falls.get(falls.partition_point(|fall| fall.window.ret < sent));
    let crash = fall.map_or(NEVER, |fall| fall.window.call);
    if index.contract.redriven == Requeue::Original || index.redrive_ticks.is_empty() {
        return crash;
    }
    let unseen = index.least_allowed().map(|allowed| index.unseen_ticks.nth_call(sent, allowed));
    let died = index.by_copy.get(copy as usize).iter().copied().filter_map(|delivery| {
        maybe_dead(index, delivery, &index.counts[delivery as usize], NEVER)
            .then_some(index.deliveries[delivery as usize].window.call)
    });
    let died = died.chain(unseen).min().unwrap_or(NEVER);
    crash.min(index.redrive_ticks.nth_call(died, 1))
}

/// Whether a message has a place among the ready ones when it is delivered: where the contract does not say where a
/// returned one goes, only its first delivery has.
fn has_place(index: &Index, delivery: &Delivered, sent: u64) -> bool {
    let first = index.by_copy.get(delivery.copy as usize).first();
    index.contract.requeue != Requeue::Unspecified
        || first.is_some_and(|&first| index.deliveries[first as usize].event == delivery.event)
            && index.unseen_ticks.touching(sent, delivery.window.ret) == 0
}

/// The causes of being ready after which a copy is where its send put it, if that is declared.
fn keeps_place(index: &Index, span: &Span) -> bool {
    span.after != NONE
        && match span.cause {
            Cause::Nack | Cause::Delay | Cause::Expiry | Cause::Loss => {
                index.contract.requeue == Requeue::Original
            }
            Cause::Redrive => index.contract.redriven == Requeue::Original,
            Cause::Fresh | Cause::Crash => false,
        }
}

/// What came back to its place is delivered before what was sent after it.
fn original_position(index: &Index, tally: &mut Tally) {
    struct Returned {
        from: Moment,
        to: u64,
        sent: u64,
        copy: u32,
        /// The delivery before, or the settlement that ended it.
        event: u32,
    }
    let mut returned = Vec::new();
    spans(index, |span| {
        if !keeps_place(index, &span) {
            return;
        }
        let Some((from, to)) = undisturbed(index, &span) else { return };
        let Some(sent) = sent(index, span.copy).filter(|sent| !sent.delayed) else { return };
        let to = to.min(displaced_from(index, span.copy, sent.call));
        let settled = index.leases[span.after as usize].settled;
        let event = if settled == NONE { index.deliveries[span.after as usize].event } else { settled };
        if from.tick < to {
            returned.push(Returned { from, to, sent: sent.ret, copy: span.copy, event });
        }
    });
    tally.tested(returned.len() as u64);
    returned.sort_unstable_by_key(|returned| returned.from.tick);
    // Those whose time has not come, by that time; and those that are ready, by their places.
    let (mut early, mut waiting) = (BinaryHeap::new(), BinaryHeap::new());
    let mut next = 0;
    // Deliveries are in the order of their calls, as events are.
    for delivery in &index.deliveries {
        let window = delivery.window;
        while next < returned.len() && returned[next].from.tick < window.call {
            early.push(Reverse((returned[next].from.time, next)));
            next += 1;
        }
        while let Some(&Reverse((time, first))) = early.peek()
            && (time == Time::ZERO || time < window.at)
        {
            early.pop();
            waiting.push(Reverse((returned[first].sent, first)));
        }
        while waiting.peek().is_some_and(|Reverse((_, first))| returned[*first].to <= window.call) {
            waiting.pop();
        }
        let Some(&Reverse((sent_ret, first))) = waiting.peek() else { continue };
        let first = &returned[first];
        if window.ret >= first.to || first.from.time != Time::ZERO && first.from.time >= window.at {
            continue;
        }
        let overtakes = sent(index, delivery.copy).is_some_and(|sent| {
            sent_ret < sent.call
                && displaced_from(index, delivery.copy, sent.call) > window.ret
                && has_place(index, delivery, sent.call)
        });
        if overtakes {
            tally.blame(&[first.event, delivery.event], || {
                format!(
                    "{} came back (see event {}) to its place before {}, which event {} delivered before it",
                    index.name(first.copy),
                    first.event,
                    index.name(delivery.copy),
                    delivery.event
                )
            });
        }
    }
}

/// Certain stretches of readiness, of which one asks which lasted longest among those that began before a tick.
struct Waiting(Vec<(u64, u64, u32)>);

impl Waiting {
    fn of(mut ready: Vec<(u64, u64, u32)>) -> Waiting {
        ready.sort_unstable();
        let mut longest = (0, NONE);
        for (_, to, copy) in &mut ready {
            longest = longest.max((*to, *copy));
            (*to, *copy) = longest;
        }
        Waiting(ready)
    }

    /// Of those that began before `tick` the last to end: when, and whose it is.
    fn longest(&self, tick: u64) -> Option<(u64, u32)> {
        let before = self.0.partition_point(|&(from, _, _)| from < tick);
        before.checked_sub(1).map(|last| (self.0[last].1, self.0[last].2))
    }
}

/// What was ready all the time before it came back and after it was delivered stood before it.
fn tail_position(index: &Index, tally: &mut Tally, ready: &Waiting) {
    for (delivery, next) in index.pairs() {
        let (me, lease) = (&index.deliveries[delivery as usize], &index.leases[delivery as usize]);
        let count = &index.counts[delivery as usize];
        let next = &index.deliveries[next as usize];
        let redriven = maybe_dead(index, delivery, count, next.window.ret)
            && index.redrive_between(me.window.call, next.window.ret);
        if count.unordered || redriven {
            continue;
        }
        let back = match lease.causes {
            Causes::NACK if lease.settled != NONE => index.window(lease.settled),
            Causes::LOSS => match index.loss(me.actor) {
                Some(loss) => loss,
                None => continue,
            },
            _ => continue,
        };
        tally.tested(1);
        let event = if lease.settled == NONE { me.event } else { lease.settled };
        if let Some((to, copy)) = ready.longest(back.call)
            && to > next.window.ret
        {
            blame_overtaking(index, tally, event, (next, copy), "came back");
        }
    }
}

/// The same for what was redriven; and what one redrive moved comes in the order of deaths.
fn redriven_to_tail(index: &Index, tally: &mut Tally, ready: &Waiting) {
    // Who was redriven, by the redrive: the latest tick of its death, the end of its readiness, who.
    let mut moved: BTreeMap<u32, Vec<(u64, u64, u32)>> = BTreeMap::new();
    spans(index, |span| {
        if span.cause == Cause::Redrive
            && let Some((from, to)) = undisturbed(index, &span)
            && let Some(died) = index.deaths().told(index, span.after)
            && let Some(redrive) = only_redrive(index, died.call, from.tick)
        {
            moved.entry(redrive.event).or_default().push((died.ret, to, span.copy));
        }
    });
    let moved: BTreeMap<u32, Waiting> =
        moved.into_iter().map(|(redrive, moved)| (redrive, Waiting::of(moved))).collect();
    for (delivery, next) in index.pairs() {
        if !surely_dead(index, delivery, &index.counts[delivery as usize]) {
            continue;
        }
        let (me, next) = (&index.deliveries[delivery as usize], &index.deliveries[next as usize]);
        let from = index.leases[delivery as usize].from.tick;
        let Some(redrive) = only_redrive(index, me.window.call, next.window.ret) else { continue };
        let crash = index.falls.all.partition_point(|fall| fall.window.ret < from);
        if index.falls.all.get(crash).is_some_and(|fall| fall.window.call <= next.window.ret) {
            continue;
        }
        tally.tested(1);
        let ahead = moved.get(&redrive.event).and_then(|moved| moved.longest(from));
        for (to, copy) in ready.longest(redrive.window.call).into_iter().chain(ahead) {
            if to > next.window.ret {
                blame_overtaking(index, tally, redrive.event, (next, copy), "was redriven");
            }
        }
    }
}

fn blame_overtaking(
    index: &Index,
    tally: &mut Tally,
    event: u32,
    (next, copy): (&Delivered, u32),
    came: &str,
) {
    tally.blame(&[event, next.event], || {
        format!(
            "{} {came} (see event {event}) behind {}, which was ready, and event {} delivered it first",
            index.name(next.copy),
            index.name(copy),
            next.event
        )
    });
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
