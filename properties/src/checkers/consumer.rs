//! However often a message comes, its effect happens once, and before the ack.

use std::collections::{HashMap, HashSet};

use stanchion_queues::Settle;

use super::attempts::maybe_dead;
use super::index::{Index, NEVER, first_from};
use super::tables::NONE;
use super::tally::Tally;
use crate::history::{Observed, Outcome, Token, What};
use crate::invariant::Invariant;
use crate::verdict::Verdict;

fn observations<'h>(index: &Index<'h>) -> impl Iterator<Item = (u32, &'h [Observed])> {
    let events = index.events;
    index.observed.iter().filter_map(move |&number| match &events[number as usize].what {
        What::Observed { store, .. } => Some((number, store.as_slice())),
        _ => None,
    })
}

/// However often a message comes, its effect happens once.
pub(crate) fn effect_at_most_once(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Ic1);
    for (event, store) in observations(index) {
        for entry in store {
            tally.tested(u64::from(entry.effects > 0));
            if entry.effects > 1 {
                tally.blame(&[event], || {
                    format!("event {event} finds the effect of m{} {} times", entry.token.0, entry.effects)
                });
            }
        }
    }
    tally.verdict()
}

/// The effect and the record of it are there together or not at all. A record that was there and is forgotten later is
/// another matter (IC-4).
pub(crate) fn record_effect_atomic(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Ic3);
    let mut together: HashSet<Token> = HashSet::new();
    for (event, store) in observations(index) {
        for entry in store {
            tally.tested(1);
            let effective = entry.effects > 0;
            if effective && entry.recorded {
                together.insert(entry.token);
            }
            if entry.recorded != effective && !(effective && together.contains(&entry.token)) {
                tally.blame(&[event], || {
                    format!(
                        "event {event} finds m{} {}",
                        entry.token.0,
                        if entry.recorded {
                            "recorded without its effect"
                        } else {
                            "with its effect and without a record of it"
                        }
                    )
                });
            }
        }
    }
    tally.verdict()
}

/// The last observation that found a record of a token, and the next one, if that did not.
#[derive(Clone, Copy)]
struct Record {
    seen: u32,
    missed: Option<u32>,
}

/// A message is never delivered after the record of it was forgotten.
pub(crate) fn window_covers_horizon(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Ic4);
    let mut records: HashMap<Token, Record> = HashMap::new();
    let mut looked = observations(index).peekable();
    // In the order of the calls, as the events are.
    for delivery in &index.deliveries {
        let call = delivery.window.call;
        while let Some((event, store)) = looked.next_if(|(event, _)| index.window(*event).ret < call) {
            let recorded: HashSet<Token> =
                store.iter().filter(|entry| entry.recorded).map(|entry| entry.token).collect();
            for (_, record) in records.iter_mut().filter(|(token, _)| !recorded.contains(token)) {
                record.missed.get_or_insert(event);
            }
            records.extend(recorded.into_iter().map(|token| (token, Record { seen: event, missed: None })));
        }
        let token = index.token_of(delivery.copy);
        let Some(Record { seen, missed }) = records.get(&token) else { continue };
        tally.tested(1);
        if let Some(missed) = missed {
            tally.blame(&[*seen, *missed, delivery.event], || {
                format!(
                    "event {seen} finds a record of m{0}, event {missed} finds none any more, and m{0} is delivered \
                     again at event {1}",
                    token.0, delivery.event
                )
            });
        }
    }
    tally.verdict()
}

/// Two holders of one message have one effect together. A consumer's store is observed whenever it is done with a
/// delivery: a message that is delivered again before that has two holders, until the next delivery of anything.
pub(crate) fn concurrent_duplicates(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Ic6);
    let looks: Vec<(u32, &[Observed])> = observations(index).collect();
    let mut held: HashMap<u32, u32> = HashMap::new();
    for (nth, second) in index.deliveries.iter().enumerate() {
        let Some(first) = held.insert(second.copy, second.event) else { continue };
        let ends = index.window(first).ret;
        let at = looks.partition_point(|(look, _)| index.window(*look).call <= ends);
        if looks.get(at).is_some_and(|(look, _)| index.window(*look).call <= second.window.ret) {
            continue;
        }
        let next = index.deliveries.get(nth + 1).map_or(NEVER, |next| next.window.call);
        let after = looks[at..].iter().take_while(|(look, _)| index.window(*look).ret < next);
        let token = index.token_of(second.copy);
        for (event, store) in after {
            let Some(entry) = store.iter().find(|entry| entry.token == token) else { continue };
            tally.tested(1);
            if entry.effects > 1 {
                tally.blame(&[first, second.event, *event], || {
                    format!(
                        "m{} is delivered at events {first} and {}, the second time before the first was dealt with, and \
                         event {event} finds its effect {} times",
                        token.0, second.event, entry.effects
                    )
                });
            }
        }
    }
    tally.verdict()
}

/// A failed attempt leaves no record that keeps a later one from its effect.
pub(crate) fn failed_attempt_leaves_no_mark(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Ic7);
    // The last delivery of each token before an observation.
    let mut attempts: HashMap<Token, u32> = HashMap::new();
    let mut deliveries = index.deliveries.iter().peekable();
    for (event, store) in observations(index) {
        let call = index.window(event).call;
        while let Some(delivery) = deliveries.next_if(|delivery| delivery.window.ret < call) {
            attempts.insert(index.token_of(delivery.copy), delivery.event);
        }
        let effective = store.iter().filter(|entry| entry.effects > 0).count();
        tally.tested(attempts.len().saturating_sub(effective) as u64);
        for entry in store.iter().filter(|entry| entry.recorded && entry.effects == 0) {
            let Some(&attempt) = attempts.get(&entry.token) else { continue };
            tally.blame(&[attempt, event], || {
                format!(
                    "m{} is delivered at event {attempt}, and event {event} finds a record of it and no effect: the next \
                     attempt will take it for done",
                    entry.token.0
                )
            });
        }
    }
    tally.verdict()
}

/// A dead letter without effect has no record.
pub(crate) fn dead_is_not_done(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Ic9);
    let mut looked = observations(index).peekable();
    let mut last = None;
    for shown in &index.shown {
        let call = index.window(shown.event).call;
        while let Some(observed) = looked.next_if(|(event, _)| index.window(*event).ret < call) {
            last = Some(observed);
        }
        let Some((event, store)) = last else { continue };
        tally.tested(1);
        let token = index.token_of(shown.copy);
        let entry = store.iter().find(|entry| entry.token == token);
        if entry.is_some_and(|entry| entry.recorded && entry.effects == 0) {
            tally.blame(&[event, shown.event], || {
                format!(
                    "m{} is a dead letter at event {}, and event {event} finds a record of it and no effect: after a \
                     redrive it would be passed over",
                    token.0, shown.event
                )
            });
        }
    }
    tally.verdict()
}

/// A consumer acks only what has taken effect.
pub(crate) fn no_ack_without_effect(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Ic2);
    if index.observed.is_empty() {
        return tally.verdict();
    }
    // The first ack of each token that was answered "done".
    let mut acks: HashMap<Token, (u64, u32)> = HashMap::new();
    for delivery in 0..index.deliveries.len() {
        for &event in index.operations.get(delivery) {
            if let What::Settle { how: Settle::Ack, outcome: Outcome::Done, .. } =
                index.events[event as usize].what
            {
                let token = index.token_of(index.deliveries[delivery].copy);
                let ack = (index.window(event).ret, event);
                let first = acks.entry(token).or_insert(ack);
                *first = (*first).min(ack);
            }
        }
    }
    let mut in_order: Vec<(u64, u32, Token)> =
        acks.iter().map(|(&token, &(ret, event))| (ret, event, token)).collect();
    in_order.sort_unstable();
    for (event, store) in observations(index) {
        let call = index.events[event as usize].call;
        let before = in_order.partition_point(|&(ret, ..)| ret < call);
        tally.tested(before as u64);
        let effective: HashSet<Token> =
            store.iter().filter(|entry| entry.effects > 0).map(|entry| entry.token).collect();
        let missing = in_order[..before].iter().find(|(.., token)| !effective.contains(token));
        if let Some(&(_, ack, token)) = missing {
            tally.blame(&[ack, event], || {
                format!("m{} was acked at event {ack} and event {event} finds no effect of it", token.0)
            });
        }
    }
    tally.verdict()
}

/// Every message that was delivered and is not dead takes effect in the end.
pub(crate) fn effect_eventually(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Ic10);
    // Observed after everything that a consumer did.
    let active =
        |event: u32| matches!(index.events[event as usize].what, What::Deliver { .. } | What::Settle { .. });
    let last_act = (0..index.events.len() as u32).rev().find(|&event| active(event));
    let last = observations(index).last().filter(|&(event, _)| last_act.is_none_or(|act| act < event));
    let (Some(_), Some((event, store))) = (index.quiet_end(), last) else { return tally.verdict() };
    let effective: HashSet<Token> =
        store.iter().filter(|entry| entry.effects > 0).map(|entry| entry.token).collect();
    for (copy, stored) in index.copies.iter().enumerate() {
        if stored.confirmed == NONE {
            continue;
        }
        let deliveries = index.by_copy.get(copy);
        let may_be_dead =
            |&delivery: &u32| maybe_dead(index, delivery, &index.counts[delivery as usize], NEVER);
        // What was never delivered is the queue's to answer for.
        let excused = deliveries.is_empty()
            || deliveries.iter().any(may_be_dead)
            || !index.shown_of.get(copy).is_empty()
            || first_from(&index.falls.sends, index.window(stored.confirmed).call).is_some();
        if excused {
            continue;
        }
        tally.tested(1);
        let token = index.tokens[stored.token as usize];
        if !effective.contains(&token) {
            let delivered = index.deliveries[deliveries[0] as usize].event;
            tally.blame(&[delivered, event], || {
                format!(
                    "m{} was delivered at event {delivered}, is not dead, and event {event} finds no effect of it",
                    token.0
                )
            });
        }
    }
    tally.verdict()
}
