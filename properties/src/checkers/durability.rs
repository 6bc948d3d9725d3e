//! What survives a crash.

use stanchion_queues::{Crash, Durability};

use super::emptiness::Missed;
use super::index::{Fall, Index, Window, falls_between};
use super::lease::Causes;
use super::tables::NONE;
use super::tally::Tally;
use crate::history::{Event, Outcome, SendOutcome, What};
use crate::invariant::Invariant;
use crate::verdict::Verdict;

fn blame_gone(index: &Index, tally: &mut Tally, missed: &Missed, crashes: &str) {
    let send = index.copies[missed.span.copy as usize].confirmed;
    let falls = &index.falls.all;
    let before = falls.partition_point(|fall| fall.event < missed.event);
    let crash = falls[before - 1].event;
    tally.blame(&[send, crash, missed.event], || {
        format!(
            "{} was confirmed at event {send}, the broker crashed{crashes} (event {crash}), and event {} found \
             nothing",
            index.name(missed.span.copy),
            missed.event
        )
    });
}

/// How many confirmed copies lived through at least so many crashes.
fn survivors(index: &Index, crashes: usize) -> u64 {
    let falls = &index.falls.all;
    index
        .copies
        .iter()
        .filter(|copy| copy.confirmed != NONE)
        .filter(|copy| {
            let send = index.window(copy.confirmed);
            let first = falls.partition_point(|fall| fall.window.call <= send.ret);
            falls.len() > first.max(crashes - 1)
                && !falls_between(&index.falls.sends, send.call, falls[falls.len() - 1].window.ret)
        })
        .count() as u64
}

/// A confirmed send survives every crash it was promised to survive.
pub(crate) fn confirmed_survives(index: &Index) -> Verdict {
    if index.contract.sends == Durability::None {
        return Verdict::NotClaimed;
    }
    let mut tally = Tally::of(Invariant::Du1);
    tally.tested(survivors(index, 1));
    if let Some(missed) = &index.false_empties().after_crash {
        blame_gone(index, &mut tally, missed, "");
    }
    tally.verdict()
}

/// An ack survives every crash it was promised to survive.
pub(crate) fn ack_survives(index: &Index) -> Verdict {
    if index.contract.sends.min(index.contract.acks) == Durability::None {
        return Verdict::NotClaimed;
    }
    let mut tally = Tally::of(Invariant::Du3);
    let falls = &index.falls.all;
    for copy in 0..index.copies.len() {
        let deliveries = index.by_copy.get(copy);
        for (position, &delivery) in deliveries.iter().enumerate() {
            let lease = &index.leases[delivery as usize];
            let settled = lease.settled;
            if settled == NONE || !lease.causes.only(Causes::ACK.with(Causes::REJECT)) {
                continue;
            }
            let settle = index.window(settled);
            let after = falls.partition_point(|fall| fall.window.call <= settle.ret);
            let Some(fall) = falls.get(after) else { continue };
            tally.tested(1);
            let Some(&next) = deliveries.get(position + 1) else { continue };
            let next = &index.deliveries[next as usize];
            let redriven =
                lease.causes == Causes::REJECT && index.redrive_between(settle.call, next.window.ret);
            if fall.window.ret < next.window.call
                && !falls_between(&index.falls.acks, settle.call, next.window.ret)
                && !redriven
            {
                tally.blame(&[settled, fall.event, next.event], || {
                    format!(
                        "{} was settled for good at event {settled}, the broker crashed at event {}, and event \
                         {} delivered it again",
                        index.name(copy as u32),
                        fall.event,
                        next.event
                    )
                });
            }
        }
    }
    tally.verdict()
}

/// Recovering, appending and recovering again keeps the old and the new.
pub(crate) fn recovery_idempotent(index: &Index) -> Verdict {
    if index.contract.sends == Durability::None {
        return Verdict::NotClaimed;
    }
    let mut tally = Tally::of(Invariant::Du6);
    tally.tested(survivors(index, 2));
    if let Some(missed) = &index.false_empties().after_second {
        blame_gone(index, &mut tally, missed, " for at least the second time");
    }
    tally.verdict()
}

/// After any crash the queue opens again.
pub(crate) fn recovery_total(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Du11);
    for &boot in &index.boots {
        let falls = &index.falls.all;
        let before = falls.partition_point(|fall| fall.event < boot);
        let Some(fall) = before.checked_sub(1).map(|last| falls[last].event) else { continue };
        tally.tested(1);
        if let What::Booted { error: Some(error) } = &index.events[boot as usize].what {
            tally.blame(&[fall, boot], || {
                format!("the broker crashed at event {fall} and did not start again at event {boot}: {error}")
            });
        }
    }
    tally.verdict()
}

/// While a process has it open, no other can open it.
pub(crate) fn single_owner(index: &Index) -> Verdict {
    if !index.contract.sole_owner {
        return Verdict::NotClaimed;
    }
    let mut tally = Tally::of(Invariant::Du12);
    for &intrusion in &index.intrusions {
        tally.tested(1);
        if let What::Intruded { error: None } = index.events[intrusion as usize].what {
            let own = index.boots.iter().rev().find(|boot| **boot < intrusion);
            let culprits: Vec<u32> = own.copied().into_iter().chain([intrusion]).collect();
            tally.blame(&culprits, || {
                format!("one process had it open, and at event {intrusion} a second one opened it, too")
            });
        }
    }
    tally.verdict()
}

/// Whether the broker says of this call that it did what it was asked, or answers it.
fn is_answered(event: &Event) -> bool {
    match &event.what {
        What::Send { outcome, .. } => matches!(outcome, SendOutcome::Confirmed(_)),
        What::Receive { got, .. } => got.is_some(),
        What::Settle { outcome, .. } | What::Extend { outcome, .. } => *outcome != Outcome::InDoubt,
        What::Browse { letters, .. } => letters.is_some(),
        What::Redrive { moved, .. } => moved.is_some(),
        What::Depth { depth } => depth.is_some(),
        _ => false,
    }
}

/// What was confirmed, and then had a sync's time, survives a power failure. That the time has passed is certain once a
/// call was answered that began after it: a clock that is moved by hand wakes nobody.
pub(crate) fn sync_policy_truthful(index: &Index) -> Verdict {
    let Some(every) = index.contract.synced_every.filter(|_| index.contract.sends < Durability::Power) else {
        return Verdict::NotClaimed;
    };
    let mut tally = Tally::of(Invariant::Du13);
    let answers: Vec<Window> = (0..index.events.len())
        .filter(|&event| is_answered(&index.events[event]))
        .map(|event| index.window(event as u32))
        .collect();
    let power: Vec<&Fall> = index
        .falls
        .all
        .iter()
        .filter(|fall| {
            matches!(index.events[fall.event as usize].what, What::Crashed { crash: Crash::Power })
        })
        .collect();
    let last = index.false_empties().last;
    for (copy, stored) in index.copies.iter().enumerate().filter(|(_, copy)| copy.confirmed != NONE) {
        let sent = index.window(stored.confirmed);
        let begins_late = |answer: &&Window| answer.call > sent.ret && answer.at >= sent.until + every;
        let Some(synced) = answers.iter().filter(begins_late).map(|answer| answer.ret).min() else {
            continue;
        };
        let after = power.partition_point(|fall| fall.window.call <= synced);
        let Some(fall) = power.get(after) else { continue };
        if falls_between(&index.falls.sends, sent.call, synced) {
            continue;
        }
        tally.tested(1);
        let seen = !index.by_copy.get(copy).is_empty() || !index.shown_of.get(copy).is_empty();
        // Whatever a receive in doubt was given may have died since.
        if let Some(last) = last.filter(|_| !seen && index.unseen.is_empty())
            && index.window(last).call > fall.window.ret
        {
            tally.blame(&[stored.confirmed, fall.event, last], || {
                format!(
                    "{} was confirmed at event {}, a call was answered that began {every:?} later, the power \
                     failed (event {}), and event {last} found nothing",
                    index.name(copy as u32),
                    stored.confirmed,
                    fall.event
                )
            });
        }
    }
    tally.verdict()
}

/// What was delivered survives what a confirmed send survives.
pub(crate) fn no_read_of_non_durable(index: &Index) -> Verdict {
    if index.contract.sends == Durability::None {
        return Verdict::NotClaimed;
    }
    let mut tally = Tally::of(Invariant::Du14);
    let falls = &index.falls.all;
    let survived = |from: u64, to: u64| !falls_between(&index.falls.sends, from, to);
    for (delivery, lease) in index.deliveries.iter().zip(&index.leases) {
        let after = falls.partition_point(|fall| fall.window.call <= delivery.window.ret);
        let kept = falls.get(after).is_some_and(|fall| survived(delivery.window.call, fall.window.ret));
        tally.tested(u64::from(kept && !lease.causes.any(Causes::ACK.with(Causes::REJECT))));
    }
    for missed in &index.false_empties().returned {
        // What comes back later was not gone.
        if index.by_copy.get(missed.span.copy as usize).last() != Some(&missed.span.after) {
            continue;
        }
        let delivered = &index.deliveries[missed.span.after as usize];
        let after = falls.partition_point(|fall| fall.window.call <= delivered.window.ret);
        let Some(fall) = falls.get(after).filter(|fall| fall.event < missed.event) else { continue };
        tally.blame(&[delivered.event, fall.event, missed.event], || {
            format!(
                "{} was delivered at event {}, the broker crashed (event {}), and event {} found nothing",
                index.name(missed.span.copy),
                delivered.event,
                fall.event,
                missed.event
            )
        });
    }
    tally.verdict()
}
