//! The counts drawn from a history: what went in, what came out, and what did neither.

use serde::{Deserialize, Serialize};
use stanchion_queues::Settle;

use crate::checkers::{Index, lost_tokens, overtakers};
use crate::history::{History, Outcome, SendOutcome, Token, What};

/// The counts of one history. Messages are told apart by token: two sends of one token are one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// Messages that were sent at least once.
    pub attempted: u64,
    /// Messages of which a send was confirmed.
    pub confirmed: u64,
    /// Messages whose every send was refused.
    pub refused: u64,
    /// Messages that were neither confirmed nor refused.
    pub in_doubt: u64,
    /// Deliveries.
    pub delivered: u64,
    /// Messages that were delivered at least once.
    pub distinct: u64,
    /// Deliveries beyond the first of each message.
    pub duplicates: u64,
    /// Messages of which an ack was answered "done".
    pub acked: u64,
    /// Messages among the dead letters when they were last read.
    pub dead: u64,
    /// Confirmed messages that were there when a drain found nothing more.
    pub lost: u64,
    /// Deliveries of what nobody had sent.
    pub phantom: u64,
    /// Messages in doubt that were delivered.
    pub recovered: u64,
    /// Messages that were first delivered before one that was sent earlier.
    pub out_of_order: u64,
}

impl Ledger {
    /// Draws the counts from a history.
    pub fn of(history: &History) -> Ledger {
        let index = Index::of(history);
        let mut ledger = Ledger::default();
        for token in 0..index.tokens.len() {
            let (mut sent, mut confirmed, mut refused) = (0_u64, false, 0);
            for &send in index.sends.get(token) {
                sent += 1;
                if let What::Send { outcome, .. } = &history.events[send as usize].what {
                    confirmed |= matches!(outcome, SendOutcome::Confirmed(_));
                    refused += u64::from(matches!(outcome, SendOutcome::Refused(_)));
                }
            }
            let in_doubt = !confirmed && refused < sent;
            let (mut deliveries, mut acked) = (0, false);
            for &copy in index.copies_of.get(token) {
                for &delivery in index.by_copy.get(copy as usize) {
                    deliveries += 1;
                    acked |= index.operations.get(delivery as usize).iter().any(|&event| {
                        matches!(
                            history.events[event as usize].what,
                            What::Settle { how: Settle::Ack, outcome: Outcome::Done, .. }
                        )
                    });
                }
            }
            ledger.attempted += u64::from(sent > 0);
            ledger.confirmed += u64::from(confirmed);
            ledger.refused += u64::from(sent > 0 && refused == sent);
            ledger.in_doubt += u64::from(in_doubt);
            ledger.delivered += deliveries;
            ledger.acked += u64::from(acked);
            if sent == 0 {
                ledger.phantom += deliveries;
            } else if deliveries > 0 {
                ledger.distinct += 1;
                ledger.duplicates += deliveries - 1;
                ledger.recovered += u64::from(in_doubt);
            }
        }
        let bodiless = index.bodiless.len() as u64;
        ledger.delivered += bodiless;
        ledger.phantom += bodiless;
        ledger.dead = dead(history);
        ledger.lost = lost_tokens(&index).len() as u64;
        ledger.out_of_order = overtakers(&index).len() as u64;
        ledger
    }
}

fn dead(history: &History) -> u64 {
    let last = history.events.iter().rev().find_map(|event| match &event.what {
        What::Browse { letters: Some(letters), .. } => Some(letters),
        _ => None,
    });
    let mut tokens: Vec<Token> = last.into_iter().flatten().filter_map(|letter| letter.token).collect();
    tokens.sort_unstable();
    tokens.dedup();
    tokens.len() as u64
}
