//! Which interesting situations histories contain. A promise is tested only where its situation occurs.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use stanchion_queues::Refusal;

use crate::history::{History, Outcome, SendOutcome, What};

macro_rules! coverage {
    ($($field:ident $name:literal $doc:literal;)*) => {
        /// How often each situation occurred.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Coverage {
            $(#[doc = $doc] pub $field: u64,)*
        }

        impl Coverage {
            /// The name and the number of each, in a fixed order.
            pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$(($name, self.$field)),*].into_iter()
            }
        }

        impl std::ops::AddAssign for Coverage {
            fn add_assign(&mut self, other: Coverage) {
                $(self.$field += other.$field;)*
            }
        }
    };
}

coverage! {
    deliveries "deliveries" "Messages handed to somebody.";
    redeliveries "redeliveries" "Deliveries with an attempt above 1.";
    dead_letters "dead letters" "Dead letters shown, each message once per history.";
    redriven "redriven" "Dead letters made ready again.";
    stale "stale receipts" "Settlements and extensions that were answered \"stale\".";
    extended "extended leases" "Extensions that took effect.";
    refused_full "refused, full" "Sends refused because there was no room.";
    in_doubt "in doubt" "Calls whose outcome the caller does not know.";
    sessions_lost "lost sessions" "Clients that died.";
    crashes "crashes" "Crashes of the broker.";
    empty "empty receives" "Receives that found nothing.";
}

impl Coverage {
    /// What one history contains.
    pub fn of(history: &History) -> Coverage {
        let mut seen = Coverage::default();
        let mut dead = HashSet::new();
        for event in &history.events {
            match &event.what {
                What::Deliver { attempt, .. } => {
                    seen.deliveries += 1;
                    seen.redeliveries += u64::from(*attempt > 1);
                }
                What::Browse { letters: Some(letters), .. } => {
                    dead.extend(letters.iter().map(|letter| letter.id));
                }
                What::Redrive { moved: Some(moved), .. } => seen.redriven += moved,
                What::Settle { outcome: Outcome::Stale, .. }
                | What::Extend { outcome: Outcome::Stale, .. } => {
                    seen.stale += 1;
                }
                What::Extend { outcome: Outcome::Done, .. } => seen.extended += 1,
                What::Send { outcome: SendOutcome::Refused(Refusal::Full), .. } => seen.refused_full += 1,
                What::Send { outcome: SendOutcome::InDoubt, .. }
                | What::Settle { outcome: Outcome::InDoubt, .. }
                | What::Extend { outcome: Outcome::InDoubt, .. }
                | What::Redrive { moved: None, .. } => seen.in_doubt += 1,
                // What makes no sense is refused, and nothing is in doubt.
                What::Receive { max, got: None, lease } => {
                    seen.in_doubt += u64::from(*max > 0 && !lease.is_zero());
                }
                What::Receive { got: Some(0), .. } => seen.empty += 1,
                What::Lost => seen.sessions_lost += 1,
                What::Crashed { .. } => seen.crashes += 1,
                _ => {}
            }
        }
        seen.dead_letters = dead.len() as u64;
        seen
    }
}
