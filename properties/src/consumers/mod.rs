//! Consumers under test. Messages arrive twice, late and out of order, and a consumer may die between any two
//! things it does. It is right when the final state is as if each intent had been applied once.
//!
//! A consumer does everything through a [`World`], because that is where the harness can kill it: before
//! every access to the store and before every ack. The store survives the consumer, as a database would. It may be any
//! [`Store`]; two come with the harness: a [`Ledger`], which knows transactions, and a [`Callee`], somebody else, whom
//! nothing can be taken back from.
//!
//! What an intent means is the consumer's: an [`Intent`] has a name and two small numbers. Producers send one again, and
//! dead letters are redriven, within [`HORIZON`].

mod callee;
mod check;
pub mod engine;
mod ledger;
mod plan;
mod store;
mod world;

pub use callee::Callee;
#[cfg(test)]
pub(crate) use check::played;
pub use check::{INVARIANTS, check};
pub use engine::HORIZON;
pub use ledger::{Key, Ledger, Transaction};
pub use plan::{ConsumerPlan, ConsumerStep, strategy};
pub use store::{Difference, Store};
pub use world::World;

use std::sync::Arc;

use stanchion_queues::{Message, Receipt};

use crate::history::Token;

/// What a producer wants to happen, exactly once: `amount` is added to `account`. Two intents may well ask
/// for the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Intent {
    /// Names this intent. A producer that retries sends the same name again.
    pub token: Token,
    /// What is changed.
    pub account: u8,
    /// By how much.
    pub amount: u8,
}

impl Intent {
    /// The message that asks for it.
    pub fn message(self) -> Message {
        let mut body = self.token.0.to_le_bytes().to_vec();
        body.extend([self.account, self.amount]);
        Message::new(Arc::<[u8]>::from(body))
    }

    /// Reads a body made by [`Intent::message`].
    pub fn read(body: &[u8]) -> Option<Intent> {
        let (token, rest) = body.split_first_chunk()?;
        let &[account, amount] = rest else { return None };
        Some(Intent { token: Token(u64::from_le_bytes(*token)), account, amount })
    }
}

/// A delivery as a consumer sees it.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// What it asks for.
    pub intent: Intent,
    /// Proof of this delivery; another one at each redelivery.
    pub receipt: Receipt,
    /// The ordinal of this delivery, from 1.
    pub attempt: u32,
}

/// Why handling ended early. A consumer hands this on with `?`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The consumer was killed. What it did before stays done.
    Killed,
    /// The consumer failed and gives the message back.
    Failed,
}

/// A consumer under test, of effects that go to a [`Store`].
pub trait Consumer<S = Ledger>: Send {
    /// Handles one delivery: does its effects and acks through `world`. Without an ack the message is given
    /// back.
    ///
    /// # Errors
    /// [`Stop`], handed on from `world`.
    fn handle(&mut self, arrival: &Arrival, world: &mut World<'_, S>) -> Result<(), Stop>;
}

/// A right consumer: the effect and the record of it are made in one transaction, under the name of the
/// intent, and the ack comes last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Transactional;

impl Consumer for Transactional {
    fn handle(&mut self, arrival: &Arrival, world: &mut World<'_>) -> Result<(), Stop> {
        let Intent { token, account, amount } = arrival.intent;
        world.transaction(|store| {
            if store.record(Key::from(token)) {
                store.add(account, amount);
            }
        })?;
        world.ack()
    }
}
