//! A lease is exclusive, lasts as long as it was asked for, ends when it must, and a receipt means one
//! delivery.

use stanchion_queues::{Settle, Time};

use super::at_least_once::{final_ack, licensed, missing_licence, ready_because};
use super::attempts::maybe_dead;
use super::emptiness::Missed;
use super::index::{Index, falls_between};
use super::lease::{Causes, Standing};
use super::tables::{Groups, NONE};
use super::tally::Tally;
use super::timeline::Cause;
use crate::history::{Outcome, What};
use crate::invariant::Invariant;
use crate::verdict::Verdict;

/// Every settlement and extension: its delivery, its event, where its receipt stood.
fn operations<'i>(index: &'i Index<'_>) -> impl Iterator<Item = (u32, u32, Standing)> + 'i {
    (0..index.deliveries.len()).flat_map(|delivery| {
        let range = index.operations.range(delivery);
        let events = index.operations.get(delivery).iter().copied();
        events.zip(&index.standings[range]).map(move |(event, &standing)| (delivery as u32, event, standing))
    })
}

fn is_settle(index: &Index, event: u32) -> bool {
    matches!(index.events[event as usize].what, What::Settle { .. })
}

fn is_ack(index: &Index, event: u32) -> bool {
    matches!(index.events[event as usize].what, What::Settle { how: Settle::Ack, .. })
}

fn event_of(index: &Index, delivery: u32) -> u32 {
    index.deliveries[delivery as usize].event
}

fn name_of(index: &Index, delivery: u32) -> String {
    index.name(index.deliveries[delivery as usize].copy)
}

/// Pairs of deliveries that nothing permits.
fn unlicensed<'i>(index: &'i Index<'_>) -> impl Iterator<Item = (u32, u32)> + 'i {
    index.pairs().filter(|&(delivery, next)| !licensed(index, delivery, next))
}

/// Two consumers never hold the same message at the same time.
pub(crate) fn exclusive(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Lv1);
    for (delivery, next) in index.pairs() {
        tally.tested(1);
        let (first, second) =
            (&index.deliveries[delivery as usize].window, &index.deliveries[next as usize].window);
        let shared = [delivery, next].into_iter().all(|holder| {
            let held = index.leases[holder as usize].held;
            first.ret.max(second.ret) < held.tick && first.until.max(second.until) < held.time
        });
        // A message that comes again while it is held: the second lease lives at its return or never.
        let held = index.leases[delivery as usize].held;
        let taken = second.ret < held.tick && second.until < held.time && first.ret < second.call;
        if shared || taken {
            let (a, b) = (event_of(index, delivery), event_of(index, next));
            tally.blame_unlicensed(&[a, b], || {
                (
                    format!(
                        "{} was held as {} since event {a} and handed out as {} at event {b}",
                        name_of(index, delivery),
                        index.receipt(a),
                        index.receipt(b)
                    ),
                    Some(missing_licence(index, NONE)),
                )
            });
        }
    }
    tally.verdict()
}

/// What a broken lease looks like from outside: the delivery that suffered, and when it showed.
struct Harm {
    delivery: u32,
    event: u32,
    what: &'static str,
}

/// Deliveries whose lease was broken into: redelivered unlicensed, refused though current, or lost.
fn harms(index: &Index) -> Vec<Harm> {
    let mut harms: Vec<Harm> = unlicensed(index)
        .map(|(delivery, next)| Harm {
            delivery,
            event: event_of(index, next),
            what: "it was delivered again",
        })
        .collect();
    for (delivery, event, standing) in operations(index) {
        if standing == Standing::Current && index.outcome(event) == Some(Outcome::Stale) {
            harms.push(Harm { delivery, event, what: "its own receipt was refused" });
        }
    }
    for missed in &index.false_empties().returned {
        harms.push(Harm { delivery: missed.span.after, event: missed.event, what: "it was gone" });
    }
    harms
}

/// A stale receipt changes nothing.
pub(crate) fn stale_receipt_inert(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Lv2);
    let mut stale = Vec::new();
    for (delivery, event, standing) in operations(index) {
        if standing != Standing::Stale {
            continue;
        }
        tally.tested(1);
        stale.push((index.deliveries[delivery as usize].copy, event));
        if index.contract.stale_refused && index.done(event) {
            tally.blame(&[event_of(index, delivery), event], || {
                format!(
                    "{} of {} was stale and event {event} was answered \"done\"",
                    index.receipt(event),
                    name_of(index, delivery)
                )
            });
        }
    }
    let certain = index.unseen_ticks.is_empty() && index.bodiless.is_empty();
    for &event in index.strays.iter().filter(|_| certain) {
        tally.tested(1);
        if index.contract.stale_refused && index.done(event) {
            tally.blame(&[event], || {
                format!("{} was never issued and event {event} was answered \"done\"", index.receipt(event))
            });
        }
    }
    if !stale.is_empty() {
        let stale = Groups::of(index.copies.len(), &stale);
        for harm in harms(index) {
            let copy = index.deliveries[harm.delivery as usize].copy;
            let since = index.deliveries[harm.delivery as usize].window.call;
            let until = index.window(harm.event).ret;
            let own = index.operations.get(harm.delivery as usize);
            let culprit = stale.get(copy as usize).iter().find(|&&event| {
                let call = index.events[event as usize].call;
                since <= call && call <= until && event != harm.event && !own.contains(&event)
            });
            if let Some(&culprit) = culprit {
                tally.blame(&[event_of(index, harm.delivery), culprit, harm.event], || {
                    format!(
                        "{} was held since event {}, event {culprit} used a stale receipt of it, and at event \
                         {} {}",
                        name_of(index, harm.delivery),
                        event_of(index, harm.delivery),
                        harm.event,
                        harm.what
                    )
                });
            }
        }
    }
    tally.verdict()
}

fn blame_missed(index: &Index, tally: &mut Tally, missed: &Missed) {
    let span = missed.span;
    let copy = &index.copies[span.copy as usize];
    let first = if span.after == NONE { copy.confirmed } else { event_of(index, span.after) };
    tally.blame(&[first, missed.event], || {
        format!(
            "{} {}, was not dead, and event {} was empty all the same",
            index.name(span.copy),
            if span.after == NONE {
                format!("was sent at event {first} and {}", ready_because(span.cause))
            } else {
                format!("was delivered at event {first}, {}", ready_because(span.cause))
            },
            missed.event
        )
    });
}

/// A message whose lease ran out is delivered again.
pub(crate) fn expiry_delivers(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Lv3);
    let found = index.false_empties();
    let redelivered = index.pairs().filter(|&(delivery, _)| {
        let causes = index.leases[delivery as usize].causes;
        causes == Causes::EXPIRY
    });
    tally.tested(redelivered.count() as u64);
    if let Some(missed) = found.by(Cause::Expiry) {
        blame_missed(index, &mut tally, &missed);
    }
    tally.verdict()
}

/// A lease is not cut short.
pub(crate) fn no_early_expiry(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Lv4);
    for (delivery, me) in index.deliveries.iter().enumerate() {
        tally.tested(1);
        let What::Deliver { deadline, .. } = index.events[me.event as usize].what else { continue };
        if deadline < me.window.at + me.lease {
            tally.blame(&[me.event], || {
                format!(
                    "{} was to be leased for {:?} at {} and event {} says until {deadline}",
                    name_of(index, delivery as u32),
                    me.lease,
                    me.window.at,
                    me.event
                )
            });
        }
    }
    for (delivery, next) in unlicensed(index) {
        let lease = &index.leases[delivery as usize];
        let next = &index.deliveries[next as usize];
        if lease.causes.is_empty() && next.window.until < lease.lo {
            tally.blame_unlicensed(&[event_of(index, delivery), next.event], || {
                (
                    format!(
                        "{} was leased until {} at event {} and handed out again at {} at event {}",
                        name_of(index, delivery),
                        lease.lo,
                        event_of(index, delivery),
                        next.window.until,
                        next.event
                    ),
                    Some(missing_licence(index, NONE)),
                )
            });
        }
    }
    tally.verdict()
}

/// Extending sets the deadline asked for, and never revives or shortens a lease.
pub(crate) fn extend_sound(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Lv5);
    for (delivery, event, standing) in operations(index) {
        if is_settle(index, event) {
            continue;
        }
        tally.tested(1);
        let outcome = index.outcome(event);
        if outcome == Some(Outcome::Done) && standing == Standing::Stale && index.contract.stale_refused {
            tally.blame(&[event_of(index, delivery), event], || {
                format!("the lease of {} was over and event {event} extended it", name_of(index, delivery))
            });
        }
        if outcome == Some(Outcome::Stale) && standing == Standing::Current {
            tally.blame(&[event_of(index, delivery), event], || {
                format!(
                    "the lease of {} was alive and event {event} could not extend it",
                    name_of(index, delivery)
                )
            });
        }
    }
    for harm in harms(index) {
        let lease = &index.leases[harm.delivery as usize];
        let extension = index
            .operations
            .get(harm.delivery as usize)
            .iter()
            .copied()
            .find(|&event| !is_settle(index, event) && index.done(event) && event < harm.event);
        // What the extension does not explain is not its fault.
        if let Some(extension) = extension.filter(|_| lease.extended) {
            tally.blame(&[event_of(index, harm.delivery), extension, harm.event], || {
                format!(
                    "event {extension} extended the lease of {}, and at event {} {}",
                    name_of(index, harm.delivery),
                    harm.event,
                    harm.what
                )
            });
        }
    }
    tally.verdict()
}

/// No receipt is issued twice.
pub(crate) fn receipt_unique(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Lv6);
    tally.tested(index.handles);
    for &(first, second) in &index.reissued {
        tally.blame(&[first, second], || {
            format!("{} was issued at event {first} and again at event {second}", index.receipt(second))
        });
    }
    tally.verdict()
}

/// Acking again changes nothing, for this message or its neighbours.
pub(crate) fn ack_idempotent(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Lv7);
    let mut repeated: Vec<(u32, u32)> = Vec::new();
    for (delivery, event, standing) in operations(index) {
        if standing == Standing::Stale
            && is_ack(index, event)
            && final_ack(index, delivery)
                .is_some_and(|ack| ack != event && index.window(ack).ret < index.events[event as usize].call)
        {
            tally.tested(1);
            repeated.push((index.events[event as usize].actor.0, event));
        }
    }
    if repeated.is_empty() {
        return tally.verdict();
    }
    repeated.sort_unstable();
    for harm in harms(index) {
        let me = &index.deliveries[harm.delivery as usize];
        let actor = index.events[me.event as usize].actor.0;
        let until = index.window(harm.event).ret;
        let start = repeated.partition_point(|&repeat| repeat < (actor, me.event));
        if let Some(&(by, event)) = repeated.get(start)
            && by == actor
            && index.events[event as usize].call <= until
        {
            tally.blame(&[me.event, event, harm.event], || {
                format!(
                    "event {event} acked again what was acked, and at event {} {} paid for it: {}",
                    harm.event,
                    name_of(index, harm.delivery),
                    harm.what
                )
            });
        }
    }
    tally.verdict()
}

/// An answer "done" is final, and an answer "stale" did nothing.
pub(crate) fn ack_truthful(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Lv8);
    for (delivery, event, standing) in operations(index) {
        if !is_settle(index, event) {
            continue;
        }
        tally.tested(u64::from(standing != Standing::Unclear));
        let first = event_of(index, delivery);
        match (standing, index.outcome(event)) {
            (Standing::Stale, Some(Outcome::Done)) if index.contract.stale_refused => {
                tally.blame(&[first, event], || {
                    format!(
                        "event {event} settled {} as \"done\" with {}, which was stale",
                        name_of(index, delivery),
                        index.receipt(event)
                    )
                });
            }
            (Standing::Current, Some(Outcome::Stale)) => tally.blame(&[first, event], || {
                format!(
                    "{} was held since event {first} and event {event} called {} stale",
                    name_of(index, delivery),
                    index.receipt(event)
                )
            }),
            _ => {}
        }
    }
    if index.contract.stale_refused {
        blame_settled_twice(index, &mut tally);
    }
    for (delivery, next) in index.pairs() {
        // Before the redelivery it was final; after it, the receipt was stale: "done" is wrong in both worlds.
        let (me, other) = (&index.deliveries[delivery as usize], &index.deliveries[next as usize]);
        let Some(ack) = final_ack(index, delivery).filter(|_| me.window.ret < other.window.call) else {
            continue;
        };
        if !falls_between(&index.falls.acks, index.window(ack).call, other.window.ret) {
            tally.blame(&[me.event, ack, other.event], || {
                format!(
                    "event {ack} acked {} as \"done\" and event {} delivered it again",
                    name_of(index, delivery),
                    other.event
                )
            });
        }
    }
    for missed in &index.false_empties().returned {
        // What comes later was late and not gone.
        if index.by_copy.get(missed.span.copy as usize).last() != Some(&missed.span.after) {
            continue;
        }
        let refused = index.operations.get(missed.span.after as usize).iter().copied().find(|&event| {
            is_ack(index, event)
                && index.outcome(event) == Some(Outcome::Stale)
                && index.window(event).ret < index.window(missed.event).call
        });
        if let Some(refused) = refused {
            tally.blame(&[event_of(index, missed.span.after), refused, missed.event], || {
                format!(
                    "event {refused} called the receipt of {} stale, and at event {} it was gone all the same",
                    index.name(missed.span.copy),
                    missed.event
                )
            });
        }
    }
    tally.verdict()
}

/// Tells of each receipt that was settled twice: whichever came first, the other one found it stale.
fn blame_settled_twice(index: &Index, tally: &mut Tally) {
    for delivery in 0..index.deliveries.len() {
        let operations = index.operations.get(delivery);
        if operations.len() < 2 {
            continue;
        }
        let mut done =
            operations.iter().copied().filter(|&event| is_settle(index, event) && index.done(event));
        let (Some(first), Some(second)) = (done.next(), done.next()) else { continue };
        // A crash may take back a settlement and keep the lease.
        let crash =
            index.falls.all.partition_point(|fall| fall.window.ret < index.events[first as usize].call);
        if index.falls.all.get(crash).is_none_or(|fall| fall.window.call > index.window(second).ret) {
            tally.blame(&[first, second], || {
                format!(
                    "{} was settled as \"done\" at event {first} and again at event {second}",
                    index.receipt(second)
                )
            });
        }
    }
}

/// After a crash each lease is kept or released as declared, and none is held for ever.
pub(crate) fn lease_after_crash(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Lv10);
    for (delivery, me) in index.deliveries.iter().enumerate() {
        let lease = &index.leases[delivery];
        let last = if lease.settled == NONE { u64::MAX } else { lease.over.tick };
        let crossed = index.falls.all.partition_point(|fall| fall.window.call <= me.window.ret);
        tally.tested(u64::from(
            index
                .falls
                .all
                .get(crossed)
                .is_some_and(|fall| fall.window.call < last && fall.window.at <= lease.hi),
        ));
    }
    for cause in [Cause::Crash, Cause::Expiry] {
        if let Some(missed) = index.false_empties().by(cause) {
            let held = index.window(event_of(index, missed.span.after)).ret;
            if falls_since(index, held, missed.event) {
                blame_missed(index, &mut tally, &missed);
            }
        }
    }
    let leases = index.contract.leases;
    if !leases.end_with_crash && !leases.end_with_session {
        for harm in harms(index) {
            let me = &index.deliveries[harm.delivery as usize];
            if falls_since(index, me.window.ret, harm.event) {
                tally.blame(&[me.event, harm.event], || {
                    format!(
                        "{} was held since event {}, a crash does not end that, and at event {} {}",
                        name_of(index, harm.delivery),
                        me.event,
                        harm.event,
                        harm.what
                    )
                });
            }
        }
    }
    if leases.end_with_crash {
        for (delivery, event, standing) in operations(index) {
            let me = &index.deliveries[delivery as usize];
            if standing == Standing::Stale
                && index.contract.stale_refused
                && index.done(event)
                && falls_since(index, me.window.ret, event)
            {
                tally.blame(&[me.event, event], || {
                    format!(
                        "the crash ended the lease of {}, and event {event} was answered \"done\"",
                        name_of(index, delivery)
                    )
                });
            }
        }
    }
    tally.verdict()
}

/// Whether the broker crashed after a tick and before an event.
fn falls_since(index: &Index, tick: u64, event: u32) -> bool {
    let falls = &index.falls.all;
    let after = falls.partition_point(|fall| fall.window.call <= tick);
    falls.get(after).is_some_and(|fall| fall.window.ret < index.events[event as usize].call)
}

/// The leases of a lost session end as declared.
pub(crate) fn session_release(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Lv11);
    let ends = index.contract.leases.end_with_session;
    for (delivery, me) in index.deliveries.iter().enumerate() {
        let held = index.leases[delivery].settled == NONE;
        tally.tested(u64::from(held && index.loss(me.actor).is_some()));
    }
    if let Some(missed) = index.false_empties().by(Cause::Loss) {
        blame_missed(index, &mut tally, &missed);
    }
    if ends {
        for (delivery, event, standing) in operations(index) {
            let me = &index.deliveries[delivery as usize];
            let lost = index.loss(me.actor).filter(|loss| loss.ret < index.events[event as usize].call);
            if lost.is_some()
                && standing == Standing::Stale
                && index.contract.stale_refused
                && index.done(event)
            {
                tally.blame(&[me.event, event], || {
                    format!(
                        "the session that held {} was lost, and event {event} was answered \"done\"",
                        name_of(index, delivery)
                    )
                });
            }
        }
    } else {
        for harm in harms(index) {
            let me = &index.deliveries[harm.delivery as usize];
            let until = index.window(harm.event).ret;
            if index.loss(me.actor).is_some_and(|loss| loss.call <= until) {
                tally.blame(&[me.event, harm.event], || {
                    format!(
                        "{} was held since event {}, the loss of the session does not end that, and at event \
                         {} {}",
                        name_of(index, harm.delivery),
                        me.event,
                        harm.event,
                        harm.what
                    )
                });
            }
        }
    }
    tally.verdict()
}

/// A delayed message comes neither before its time nor never.
pub(crate) fn delay_respected(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Lv12);
    for copy in 0..index.copies.len() {
        let deliveries = index.by_copy.get(copy);
        let Some(&first) = deliveries.first() else { continue };
        let first = &index.deliveries[first as usize];
        let token = index.copies[copy].token;
        let due = index
            .stored_by(token)
            .filter(|&send| index.events[send as usize].call <= first.window.ret)
            .map(|send| (index.window(send).at + index.delay(send), send))
            .min();
        let Some((due, send)) = due.filter(|&(_, send)| !index.delay(send).is_zero()) else { continue };
        tally.tested(1);
        for &delivery in deliveries {
            let me = &index.deliveries[delivery as usize];
            blame_early(index, &mut tally, due, send, me);
            if me.window.until >= due {
                break;
            }
        }
    }
    for (delivery, next) in index.pairs() {
        let lease = &index.leases[delivery as usize];
        let me = &index.deliveries[delivery as usize];
        let count = &index.counts[delivery as usize];
        let next = &index.deliveries[next as usize];
        // What died of the nack and was brought back does not wait.
        let redriven = maybe_dead(index, delivery, count, next.window.ret)
            && (index.redrive_between(me.window.call, next.window.ret)
                || falls_between(&index.falls.any, me.window.call, next.window.ret));
        if lease.causes != Causes::NACK || me.window.ret >= next.window.call || redriven {
            continue;
        }
        tally.tested(u64::from(lease.again.0 > Time::ZERO));
        let nack = if lease.settled == NONE { me.event } else { lease.settled };
        blame_early(index, &mut tally, lease.again.0, nack, next);
    }
    if let Some(missed) = index.false_empties().by(Cause::Delay) {
        blame_missed(index, &mut tally, &missed);
    }
    tally.verdict()
}

fn blame_early(index: &Index, tally: &mut Tally, due: Time, asked: u32, delivered: &super::index::Delivered) {
    let early = delivered.window.until < due
        && !falls_between(&index.falls.delays, index.window(asked).call, delivered.window.ret);
    if early {
        tally.blame(&[asked, delivered.event], || {
            format!(
                "event {asked} delayed {} until {due} and event {} delivered it at {}",
                index.name(delivered.copy),
                delivered.event,
                delivered.window.until
            )
        });
    }
}
