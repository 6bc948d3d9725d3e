//! What survives a crash.

use stanchion_queues::Durability;

use super::emptiness::Missed;
use super::index::{Index, falls_between};
use super::lease::Causes;
use super::tables::NONE;
use super::tally::Tally;
use crate::history::What;
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
