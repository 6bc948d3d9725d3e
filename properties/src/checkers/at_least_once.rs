//! What goes in must come out, unchanged, and nothing else may.

use stanchion_queues::Retries;

use super::attempts::maybe_dead;
use super::index::{Index, NEVER, falls_between};
use super::lease::{Causes, causes_between};
use super::tables::NONE;
use super::tally::Tally;
use super::timeline::Cause;
use crate::history::{SendOutcome, Token, What};
use crate::invariant::Invariant;
use crate::verdict::Verdict;

/// A confirmed message is delivered or declared dead before a drain ends empty.
pub(crate) fn no_loss(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Al1);
    let found = index.false_empties();
    if let Some(last) = found.last {
        let end = index.window(last).call;
        tally.tested(confirmed(index).filter(|&send| index.window(send).ret < end).count() as u64);
    }
    for missed in found.lost.iter().filter(|missed| missed.span.after == NONE) {
        let copy = missed.span.copy;
        let send = index.copies[copy as usize].confirmed;
        tally.blame(&[send, missed.event], || {
            format!(
                "{} was confirmed at event {send} and never delivered: the drain was empty at event {}{}",
                index.name(copy),
                missed.event,
                neighbourhood(index, copy)
            )
        });
    }
    tally.verdict()
}

/// Where a lost message stands among the delivered ones of its producer.
fn neighbourhood(index: &Index, copy: u32) -> String {
    let send = index.copies[copy as usize].confirmed;
    let producer = index.events[send as usize].actor;
    let (mut before, mut after) = (false, false);
    for (other, stored) in index.copies.iter().enumerate() {
        let sent = stored.confirmed;
        if sent == NONE || index.events[sent as usize].actor != producer {
            continue;
        }
        if !index.by_copy.get(other).is_empty() {
            before |= sent < send;
            after |= sent > send;
        }
    }
    let place = match (before, after) {
        (true, true) => "in the middle of",
        (false, true) => "before all",
        (true, false) => "after all",
        (false, false) => return String::new(),
    };
    format!("; it stands {place} what its producer sent and was delivered")
}

fn confirmed<'i>(index: &'i Index) -> impl Iterator<Item = u32> + 'i {
    index.copies.iter().map(|copy| copy.confirmed).filter(|&send| send != NONE)
}

/// A message whose every attempt failed comes back or becomes a dead letter before a drain ends empty.
pub(crate) fn unacked_not_forgotten(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Al2);
    let found = index.false_empties();
    if found.last.is_some() {
        tally.tested(found.ready_by[Cause::Nack as usize..].iter().sum());
    }
    for missed in found.lost.iter().filter(|missed| missed.span.after != NONE) {
        let delivery = index.deliveries[missed.span.after as usize].event;
        tally.blame(&[delivery, missed.event], || {
            format!(
                "{} was delivered at event {delivery}, {}, and was never seen again: the drain was empty at \
                 event {}",
                index.name(missed.span.copy),
                ready_because(missed.span.cause),
                missed.event
            )
        });
    }
    tally.verdict()
}

/// Why a delivered message was ready again, as part of a sentence.
pub(crate) fn ready_because(cause: Cause) -> &'static str {
    match cause {
        Cause::Fresh => "was sent",
        Cause::Delay => "waited out its delay",
        Cause::Nack => "was returned",
        Cause::Expiry => "its lease ran out",
        Cause::Loss => "its session was lost",
        Cause::Crash => "the broker crashed while it was leased",
        Cause::Redrive => "died and was redriven",
    }
}

/// The tokens that a drain that came to rest did not deliver.
pub(crate) fn lost_tokens(index: &Index) -> Vec<Token> {
    let lost = &index.false_empties().lost;
    let mut tokens: Vec<_> = lost.iter().map(|missed| index.token_of(missed.span.copy)).collect();
    tokens.sort_unstable();
    tokens.dedup();
    tokens
}

/// Every delivery must come from somewhere: a send that was called before it returned.
pub(crate) fn no_phantom(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Al3);
    tally.tested(index.deliveries.len() as u64);
    for &event in &index.bodiless {
        tally.blame(&[event], || format!("event {event} delivered a body that was never sent"));
    }
    for delivery in &index.deliveries {
        let token = index.copies[delivery.copy as usize].token;
        let first = index.sends.get(token as usize).first();
        if first.is_none_or(|&send| index.events[send as usize].call > delivery.window.ret) {
            tally.blame(&[delivery.event], || {
                let name = index.name(delivery.copy);
                format!("{name} was delivered at event {} before anybody sent it", delivery.event)
            });
        }
    }
    tally.verdict()
}

/// For each token, the first call of a send that may have stored it.
fn first_stored(index: &Index) -> Vec<u64> {
    (0..index.tokens.len() as u32)
        .map(|token| index.stored_by(token).next().map_or(NEVER, |send| index.events[send as usize].call))
        .collect()
}

/// What was refused is never delivered.
pub(crate) fn no_refused_delivery(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Al4);
    let stored = first_stored(index);
    if index.refuses_nothing() {
        tally.tested(index.sent());
    }
    for (token, &stored) in stored.iter().enumerate() {
        tally.tested(u64::from(stored == NEVER && !index.sends.get(token).is_empty()));
    }
    for delivery in &index.deliveries {
        let token = index.copies[delivery.copy as usize].token as usize;
        if stored[token] <= delivery.window.ret {
            continue;
        }
        let refused = index.sends.get(token).first();
        if let Some(&send) = refused.filter(|&&send| index.events[send as usize].call <= delivery.window.ret)
        {
            tally.blame(&[send, delivery.event], || {
                let name = index.name(delivery.copy);
                format!("{name} was refused at event {send} and delivered at event {}", delivery.event)
            });
        }
    }
    tally.verdict()
}

/// What comes out is, byte for byte, what went in, under the id it was confirmed with.
pub(crate) fn payload_integrity(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Al5);
    tally.tested(index.deliveries.len() as u64);
    for &event in &index.bodiless {
        tally.blame(&[event], || format!("event {event} delivered bytes that are not those of any message"));
    }
    for delivery in &index.deliveries {
        let What::Deliver { key, body, .. } = &index.events[delivery.event as usize].what else { continue };
        let token = index.copies[delivery.copy as usize].token as usize;
        let sends = index.sends.get(token);
        let same = |&send: &u32| match &index.events[send as usize].what {
            What::Send { key: sent_key, body: sent, .. } => sent == body && sent_key == key,
            _ => false,
        };
        if let Some(&send) = sends.first()
            && !sends.iter().any(same)
        {
            tally.blame(&[send, delivery.event], || {
                let name = index.name(delivery.copy);
                format!(
                    "{name} was sent at event {send} and came out at event {} with another key or body",
                    delivery.event
                )
            });
        }
    }
    for (copy, owner) in usurped(index) {
        let send = index.copies[owner as usize].confirmed;
        let delivered = &index.deliveries[index.by_copy.get(copy as usize)[0] as usize];
        if index.window(send).call > delivered.window.ret
            || falls_between(&index.falls.sends, index.window(send).call, delivered.window.ret)
        {
            continue;
        }
        tally.blame(&[send, delivered.event], || {
            format!(
                "id {} was confirmed for {} at event {send} and delivered with the body of {} at event {}",
                index.copies[copy as usize].id.0,
                index.name(owner),
                index.name(copy),
                delivered.event
            )
        });
    }
    tally.verdict()
}

/// Copies that were delivered, with another token's copy that was confirmed with the same id.
fn usurped(index: &Index) -> Vec<(u32, u32)> {
    let mut copies: Vec<(u64, u32)> =
        index.copies.iter().enumerate().map(|(copy, stored)| (stored.id.0, copy as u32)).collect();
    copies.sort_unstable();
    let mut pairs = Vec::new();
    for same in copies.chunk_by(|a, b| a.0 == b.0) {
        let Some(&(_, owner)) = same.iter().find(|(_, copy)| index.copies[*copy as usize].confirmed != NONE)
        else {
            continue;
        };
        for &(_, copy) in same {
            if copy != owner && !index.by_copy.get(copy as usize).is_empty() {
                pairs.push((copy, owner));
            }
        }
    }
    pairs
}

/// An acked message never comes back.
pub(crate) fn no_resurrection(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Al6);
    for copy in 0..index.copies.len() {
        let mut acked = NONE;
        for &delivery in index.by_copy.get(copy) {
            let me = &index.deliveries[delivery as usize];
            if acked != NONE {
                let ack = index.window(acked);
                if ack.ret < me.window.call && !falls_between(&index.falls.acks, ack.call, me.window.ret) {
                    tally.blame(&[acked, me.event], || {
                        let name = index.name(copy as u32);
                        format!("{name} was acked at event {acked} and delivered again at event {}", me.event)
                    });
                }
            }
            if let Some(ack) = final_ack(index, delivery) {
                tally.tested(1);
                acked = ack;
            }
        }
    }
    tally.verdict()
}

/// The ack that was answered "done" and took effect.
pub(crate) fn final_ack(index: &Index, delivery: u32) -> Option<u32> {
    let lease = &index.leases[delivery as usize];
    (lease.settled != NONE && lease.causes.any(Causes::ACK)).then_some(lease.settled)
}

/// Whether something permits that `next`, of the same copy, follows `delivery`.
pub(crate) fn licensed(index: &Index, delivery: u32, next: u32) -> bool {
    let (first, second) =
        (index.deliveries[delivery as usize].window, index.deliveries[next as usize].window);
    let permits = |earlier: u32, causes: Causes, until: u64| {
        causes.any(Causes::FAILURES.with(Causes::UNKNOWN).with(Causes::UNDONE))
            || maybe_dead(index, earlier, &index.counts[earlier as usize], until)
                && index.redrive_between(index.deliveries[earlier as usize].window.call, until)
    };
    if first.ret < second.call {
        return permits(delivery, index.leases[delivery as usize].causes, second.ret);
    }
    permits(delivery, causes_between(index, delivery, next), second.ret)
        || permits(next, causes_between(index, next, delivery), first.ret)
}

/// A message is delivered again only after something that permits it.
pub(crate) fn no_unlicensed_redelivery(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Al7);
    for (delivery, next) in index.pairs() {
        tally.tested(1);
        if !licensed(index, delivery, next) {
            let (first, second) =
                (index.deliveries[delivery as usize].event, index.deliveries[next as usize].event);
            let settled = index.leases[delivery as usize].settled;
            let culprits = [first, if settled == NONE { first } else { settled }, second];
            tally.blame_unlicensed(&culprits, || {
                let name = index.name(index.deliveries[delivery as usize].copy);
                (
                    format!("{name} was delivered at event {first} and again at event {second}"),
                    Some(missing_licence(index, settled)),
                )
            });
        }
    }
    tally.verdict()
}

/// What would have permitted a redelivery.
pub(crate) fn missing_licence(index: &Index, settled: u32) -> String {
    if settled != NONE {
        return format!("event {settled} had settled it, and nothing takes that back");
    }
    let mut missing = String::from("no nack, no expiry");
    if index.contract.leases.end_with_session {
        missing.push_str(", no lost session");
    }
    if index.contract.leases.end_with_crash {
        missing.push_str(", no crash");
    }
    missing.push_str(" between the two deliveries");
    missing
}

/// One send makes at most one copy.
pub(crate) fn one_copy_per_send(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Al8);
    for token in 0..index.tokens.len() {
        let copies = index.copies_of.get(token);
        tally.tested(u64::from(!copies.is_empty()));
        if copies.len() < 2 || index.sends.get(token).is_empty() {
            continue;
        }
        let calls: Vec<u64> =
            index.stored_by(token as u32).map(|send| index.events[send as usize].call).collect();
        let mut seen: Vec<(u64, u32, u32)> = copies
            .iter()
            .map(|&copy| {
                let event = index.copies[copy as usize].first_seen;
                (index.window(event).ret, event, copy)
            })
            .collect();
        seen.sort_unstable();
        for (position, &(ret, seen_at, copy)) in seen.iter().enumerate().skip(1) {
            let sends = calls.partition_point(|&call| call <= ret);
            let once = || {
                index.contract.retries == Retries::Deduplicated
                    && !falls_between(&index.falls.sends, calls[0], ret)
            };
            if sends <= position || once() {
                let before = seen[position - 1].1;
                let seen = seen_at;
                tally.blame(&[before, seen], || {
                    format!(
                        "{} was sent {sends} times and event {seen} shows copy number {}, with id {}",
                        index.name(copy),
                        position + 1,
                        index.copies[copy as usize].id.0
                    )
                });
            }
        }
    }
    tally.verdict()
}

/// Whether an event is a send that was confirmed.
pub(crate) fn is_confirmed(index: &Index, event: u32) -> bool {
    matches!(index.events[event as usize].what, What::Send { outcome: SendOutcome::Confirmed(_), .. })
}
