//! However often a message comes, its effect happens once, and before the ack.

use std::collections::HashMap;

use stanchion_queues::Settle;

use super::attempts::maybe_dead;
use super::index::{Index, NEVER, first_from};
use super::lease::Causes;
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

/// The effect and the record of it are there together or not at all.
pub(crate) fn record_effect_atomic(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Ic3);
    for (event, store) in observations(index) {
        for entry in store {
            tally.tested(1);
            if entry.recorded != (entry.effects > 0) {
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
                let token = index.copies[index.deliveries[delivery].copy as usize].token;
                let ack = (index.window(event).ret, event);
                let first = acks.entry(index.tokens[token as usize]).or_insert(ack);
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
        let effective = |entry: &&Observed| {
            entry.effects > 0 && acks.get(&entry.token).is_some_and(|&(ret, _)| ret < call)
        };
        if store.iter().filter(effective).count() >= before {
            continue;
        }
        let missing = in_order[..before]
            .iter()
            .find(|(.., token)| !store.iter().any(|entry| entry.token == *token && entry.effects > 0));
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
    let effective: std::collections::HashSet<Token> =
        store.iter().filter(|entry| entry.effects > 0).map(|entry| entry.token).collect();
    for (copy, stored) in index.copies.iter().enumerate() {
        if stored.confirmed == NONE {
            continue;
        }
        let deliveries = index.by_copy.get(copy);
        let may_be_dead = |&delivery: &u32| {
            let causes = index.leases[delivery as usize].causes;
            causes.any(Causes::REJECT) || maybe_dead(index, delivery, &index.counts[delivery as usize], NEVER)
        };
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
