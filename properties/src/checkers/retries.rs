//! What becomes of a message that is sent again.

use std::collections::HashMap;

use stanchion_queues::Retries;

use super::index::{Index, falls_between};
use super::tables::NONE;
use super::tally::Tally;
use crate::history::{SendOutcome, What};
use crate::invariant::Invariant;
use crate::verdict::Verdict;

/// Where a retry is stored once: two sends of one message make one copy, a retry that is confirmed means that it is
/// stored, and no other message passes for it.
pub(crate) fn producer_dedup(index: &Index) -> Verdict {
    if index.contract.retries != Retries::Deduplicated {
        return Verdict::NotClaimed;
    }
    let mut tally = Tally::of(Invariant::Ic8);
    for token in 0..index.tokens.len() as u32 {
        let sends: Vec<u32> = index.stored_by(token).collect();
        let &[first, again, ..] = &sends[..] else { continue };
        tally.tested(1);
        let call = index.events[first as usize].call;
        for &copy in index.copies_of.get(token as usize).iter().skip(1) {
            let seen = index.copies[copy as usize].first_seen;
            if !falls_between(&index.falls.sends, call, index.window(seen).ret) {
                tally.blame(&[first, again, seen], || {
                    format!(
                        "{} was sent at event {first} and again at event {again}, and event {seen} shows a second copy of \
                         it, with id {}",
                        index.name(copy),
                        index.copies[copy as usize].id.0
                    )
                });
            }
        }
    }
    for missed in index.false_empties().lost.iter().filter(|missed| missed.span.after == NONE) {
        let copy = &index.copies[missed.span.copy as usize];
        let Some(first) = index.stored_by(copy.token).next().filter(|&first| first != copy.confirmed) else {
            continue;
        };
        tally.blame(&[first, copy.confirmed, missed.event], || {
            format!(
                "{} was sent at event {first} and again at event {}, where it was confirmed, and never delivered: the \
                 drain was empty at event {}",
                index.name(missed.span.copy),
                copy.confirmed,
                missed.event
            )
        });
    }
    // The first that was told each id.
    let mut told: HashMap<u64, u32> = HashMap::new();
    for (number, event) in index.events.iter().enumerate() {
        let What::Send { token, outcome: SendOutcome::Confirmed(id), .. } = &event.what else { continue };
        let before = *told.entry(id.0).or_insert(number as u32);
        let What::Send { token: other, .. } = &index.events[before as usize].what else { continue };
        let call = index.events[before as usize].call;
        if other != token && !falls_between(&index.falls.sends, call, event.ret) {
            tally.blame(&[before, number as u32], || {
                format!(
                    "m{} was confirmed at event {before} as id {}, and m{}, which is another message, at event {number}",
                    other.0, id.0, token.0
                )
            });
        }
    }
    tally.verdict()
}
