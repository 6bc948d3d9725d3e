//! What outlives a consumer: its database, or somebody else's system.

use crate::consumers::Intent;
use crate::history::Observed;

/// What a consumer changes, and what is asked of it about that: a database behind any driver, a file, a service of
/// somebody else. The harness keeps it while consumers come and go. A consumer that needs a connection of its own makes
/// one from the store when it is made; when it is killed it is dropped, and the connection with it.
pub trait Store {
    /// What is there of each intent that left something: how often its effect is, and whether a record of it is. Only
    /// what is committed counts: of a database, read it through a connection that is not the consumer's.
    ///
    /// A consumer without records (its effect itself says that it happened, as a row named by the intent does) has one
    /// recorded wherever there is an effect.
    fn observe(&mut self) -> Vec<Observed>;

    /// Whether the state is other than if each of these intents had been applied once, and nothing else. What
    /// [`Store::observe`] can count need not be compared again; a sum that does not know of what can.
    fn difference(&mut self, applied: &[Intent]) -> Option<Difference> {
        let _ = applied;
        None
    }
}

/// How the state at the end is not what it should be, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Something was applied again, or was never asked for.
    TooMuch(String),
    /// Something was not applied.
    TooLittle(String),
}
