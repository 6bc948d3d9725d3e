//! Somebody else's system, whom a consumer calls and who cannot be asked to forget.

use std::collections::{BTreeMap, BTreeSet};

use super::{Key, Stop, Store, World};
use crate::history::{Observed, Token};

/// Sends mails, charges cards, opens doors: what it has done cannot be undone, and no transaction includes it. All it
/// offers is to do what has the same idempotency key once.
#[derive(Clone, Debug, Default)]
pub struct Callee {
    keys: BTreeSet<Key>,
    calls: BTreeMap<Token, u32>,
}

impl Store for Callee {
    fn observe(&mut self) -> Vec<Observed> {
        let calls = self.calls.iter();
        calls.map(|(&token, &effects)| Observed { token, effects, recorded: true }).collect()
    }
}

impl World<'_, Callee> {
    /// Calls; under a key that was used before, nothing happens again.
    ///
    /// # Errors
    /// [`Stop::Killed`]: it was not called.
    pub fn call(&mut self, key: Option<Key>) -> Result<(), Stop> {
        let handling = self.handling();
        self.access(|callee| {
            if key.is_none_or(|key| callee.keys.insert(key)) {
                *callee.calls.entry(handling).or_default() += 1;
            }
        })
    }
}
