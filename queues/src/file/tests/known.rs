//! What the answers of a queue say of what may be found after a crash, and calls that teach it.

use std::collections::BTreeMap;

use super::*;
use crate::broker::{Reason, Receipt};

pub(super) const LIMIT: u32 = 2;

/// What may be found of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Absent,
    Alive { ended: u32 },
    Dead { reason: Reason, attempts: u32 },
}

impl Fate {
    /// After one attempt more that was not successful.
    pub(super) fn failed(self) -> Fate {
        match self {
            Fate::Alive { ended } if ended + 1 < LIMIT => Fate::Alive { ended: ended + 1 },
            Fate::Alive { ended } => Fate::Dead { reason: Reason::Attempts, attempts: ended + 1 },
            other => other,
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Held {
    pub(super) token: u64,
    pub(super) receipt: Receipt,
    pub(super) session: usize,
}

/// What several callers may do at once.
pub(super) enum Call {
    Send { tokens: Vec<u64>, delay: Duration },
    Settle { settled: Vec<Held>, how: Settle },
}

pub(super) enum Outcome {
    Sent(Vec<Sent>),
    Settled(Vec<Settled>),
}

impl Call {
    pub(super) fn run(&self, session: &mut impl Session) -> Outcome {
        match self {
            Call::Send { tokens, delay } => {
                let messages: Vec<Message> =
                    tokens.iter().map(|token| body(*token).with_delay(*delay)).collect();
                Outcome::Sent(session.send(&messages))
            }
            Call::Settle { settled, how } => {
                let settlements: Vec<Settlement> =
                    settled.iter().map(|held| Settlement { receipt: held.receipt, how: *how }).collect();
                Outcome::Settled(session.settle(&settlements))
            }
        }
    }
}

/// What is known of a queue from its answers alone.
#[derive(Default)]
pub(super) struct Known {
    /// Of each message, what may be found.
    pub(super) fates: BTreeMap<u64, Vec<Fate>>,
    pub(super) held: Vec<Held>,
    /// Oldest death first.
    pub(super) dead: Vec<u64>,
}

impl Known {
    pub(super) fn fate(&self, token: u64) -> Fate {
        self.fates[&token][0]
    }

    pub(super) fn becomes(&mut self, token: u64, fate: Fate) {
        self.dead.retain(|dead| *dead != token);
        if matches!(fate, Fate::Dead { .. }) {
            self.dead.push(token);
        }
        self.fates.insert(token, vec![fate]);
    }

    pub(super) fn perhaps(&mut self, token: u64, fate: Fate) {
        self.fates.entry(token).or_default().push(fate);
    }

    /// A receive failed: whatever nobody holds may have been handed out unseen.
    pub(super) fn perhaps_received(&mut self) {
        for (token, fates) in &mut self.fates {
            if self.held.iter().all(|held| held.token != *token) {
                let failed: Vec<Fate> = fates.iter().map(|fate| fate.failed()).collect();
                fates.extend(failed);
            }
        }
    }

    /// Attempts that the crash ended may count.
    pub(super) fn crash(&mut self) {
        for held in std::mem::take(&mut self.held) {
            let fates = self.fates.entry(held.token).or_default();
            let failed = fates[0].failed();
            fates.push(failed);
        }
    }
}

pub(super) fn body(token: u64) -> Message {
    let filler = if token.is_multiple_of(5) { 900 } else { 3 };
    Message::new(format!("{token}:{}", "x".repeat(filler)).into_bytes())
}

pub(super) fn token(delivery: &[u8]) -> Result<u64, String> {
    let text = String::from_utf8_lossy(delivery);
    let token = text.split(':').next().and_then(|digits| digits.parse().ok());
    token.filter(|token| *body(*token).body == *delivery).ok_or_else(|| format!("phantom {text:?}"))
}
