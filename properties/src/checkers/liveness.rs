//! When faults end, everything comes to rest.

use super::accounting::Census;
use super::index::Index;
use super::tables::NONE;
use super::tally::Tally;
use super::timeline::{Cause, Observers};
use crate::history::What;
use crate::invariant::Invariant;
use crate::verdict::Verdict;

/// When faults end, everything is delivered in bounded time. A queue that panicked delivers nothing more.
pub(crate) fn drains_after_heal(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Li1);
    if let Some(panic) = index.panicked
        && let What::Panicked { message } = &index.events[panic as usize].what
    {
        let during = panic.saturating_sub(1);
        tally.blame(&[during, panic], || format!("the queue panicked at event {panic}: {message}"));
        return tally.verdict();
    }
    let Some(end) = index.drain_ended else { return tally.verdict() };
    tally.tested(1);
    for missed in &index.false_empties().lost {
        tally.blame(&[index.copies[missed.span.copy as usize].first_seen, missed.event, end], || {
            format!(
                "the drain ended at event {end} without {}, which was there",
                index.name(missed.span.copy)
            )
        });
    }
    if index.quiet_end().is_some() {
        return tally.verdict();
    }
    if let Some(unanswered) = index.unanswered
        && let What::Unanswered { error } = &index.events[unanswered as usize].what
    {
        tally.blame(&[unanswered], || {
            format!(
                "faults were over, and the drain was answered with errors until event {unanswered}: {error}"
            )
        });
    }
    // What comes back although the drain had acked it never lets a drain end.
    let began = index.drain_began.unwrap_or(end);
    for (delivery, next) in index.pairs() {
        let next = &index.deliveries[next as usize];
        let ack = super::at_least_once::final_ack(index, delivery).filter(|&ack| ack > began);
        if let Some(ack) = ack.filter(|&ack| index.window(ack).ret < next.window.call) {
            tally.blame(&[ack, next.event, end], || {
                format!(
                    "the drain did not end: it acked {} at event {ack} and event {} delivered it again",
                    index.name(next.copy),
                    next.event
                )
            });
        }
    }
    match tally.verdict() {
        broken @ Verdict::Broken(_) => broken,
        _ => Verdict::Unknown(format!("the drain's budget ran out at event {end} before it came to rest")),
    }
}

/// When all is quiet, no message is leased, delayed or invisible.
pub(crate) fn nothing_stuck(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Li2);
    let Some(end) = index.quiet_end() else { return tally.verdict() };
    let found = index.false_empties();
    tally.tested(u64::from(found.last.is_some()));
    for missed in &found.lost {
        if missed.span.after == NONE && missed.span.cause != Cause::Delay {
            continue;
        }
        let since = missed.since(index);
        tally.blame(&[since, missed.event], || {
            format!(
                "{} has been invisible since event {since}: {}, and the drain was empty at event {}",
                index.name(missed.span.copy),
                super::at_least_once::ready_because(missed.span.cause),
                missed.event
            )
        });
    }
    let Some(last) = found.last else { return tally.verdict() };
    let moves = |event: u32| {
        matches!(
            index.events[event as usize].what,
            What::Send { .. }
                | What::Deliver { .. }
                | What::Redrive { .. }
                | What::Receive { .. }
                | What::Crashed { .. }
                | What::Settle { .. }
                | What::Lost
        )
    };
    let disturbed = (last + 1..index.events.len() as u32).find(|&event| moves(event));
    let events: Vec<u32> = index
        .depths
        .iter()
        .copied()
        .filter(|&depth| depth > last && disturbed.is_none_or(|other| depth < other))
        .collect();
    if events.is_empty() {
        return tally.verdict();
    }
    let held = Census::of(index, &Observers::of(index, vec![last]));
    // Where nothing was leased or delayed when the drain found nothing, nothing can have become ready since.
    let idle = held.in_flight.most[0] == Some(0) && held.delayed.most[0] == Some(0);
    let observers = Observers::of(index, events);
    let census = Census::of(index, &observers);
    for (place, &event) in observers.events.iter().enumerate() {
        let What::Depth { depth: Some(depth) } = &index.events[event as usize].what else { continue };
        tally.tested(1);
        let (leased, delayed) = (census.in_flight.most[place], census.delayed.most[place]);
        for (state, answer, most) in [
            ("in flight", depth.in_flight, leased.unwrap_or(u64::MAX)),
            ("delayed", depth.delayed, delayed.unwrap_or(u64::MAX)),
            ("ready", depth.ready, if idle { 0 } else { u64::MAX }),
        ] {
            if answer > most {
                tally.blame(&[last, end, event], || {
                    format!(
                        "the drain found nothing at event {last} and event {event} still counts {answer} {state}"
                    )
                });
            }
        }
    }
    tally.verdict()
}
