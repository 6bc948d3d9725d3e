//! What a consumer can touch, and where it can be killed.

use std::collections::{BTreeMap, BTreeSet};

use crate::consumers::Stop;
use crate::history::{Observed, Token};

/// The name under which a consumer records that it has done something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(pub Vec<u8>);

impl From<Token> for Key {
    fn from(token: Token) -> Key {
        Key(token.0.to_le_bytes().to_vec())
    }
}

/// The database of a consumer: balances, and the keys of what was done. It also counts, on the harness's
/// behalf and out of the consumer's reach, which intent was being handled when something changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    balances: BTreeMap<u8, u64>,
    records: BTreeSet<Key>,
    effects_of: BTreeMap<Token, u32>,
    recorded_by: BTreeMap<Key, Token>,
}

impl Store {
    /// The balances, without empty accounts.
    pub fn balances(&self) -> &BTreeMap<u8, u64> {
        &self.balances
    }

    /// What is there, per intent.
    pub fn observe(&self) -> Vec<Observed> {
        let mut seen: BTreeMap<Token, Observed> = BTreeMap::new();
        let empty = |token| Observed { token, effects: 0, recorded: false };
        for (&token, &effects) in &self.effects_of {
            seen.entry(token).or_insert_with(|| empty(token)).effects = effects;
        }
        for &token in self.recorded_by.values() {
            seen.entry(token).or_insert_with(|| empty(token)).recorded = true;
        }
        seen.into_values().collect()
    }

    /// How often the effect of `token` is there.
    pub fn effects_of(&self, token: Token) -> u32 {
        self.effects_of.get(&token).copied().unwrap_or(0)
    }
}

/// Changes that happen together or not at all.
#[derive(Debug)]
pub struct Transaction<'a> {
    store: &'a mut Store,
    handling: Token,
}

impl Transaction<'_> {
    /// Adds to an account: the effect.
    pub fn add(&mut self, account: u8, amount: u8) {
        *self.store.balances.entry(account).or_default() += u64::from(amount);
        *self.store.effects_of.entry(self.handling).or_default() += 1;
    }

    /// Records `key`; `false` if it was recorded before.
    pub fn record(&mut self, key: Key) -> bool {
        let fresh = self.store.records.insert(key.clone());
        if fresh {
            self.store.recorded_by.insert(key, self.handling);
        }
        fresh
    }

    /// Whether `key` was recorded.
    pub fn recorded(&self, key: &Key) -> bool {
        self.store.records.contains(key)
    }
}

/// Everything a consumer can do while it handles one delivery. Each call is a point at which it may be
/// killed, before it takes effect.
pub struct World<'a> {
    store: &'a mut Store,
    handling: Token,
    steps_left: Option<u8>,
    ack: &'a mut dyn FnMut(&Store),
    pub(super) acked: bool,
}

impl<'a> World<'a> {
    pub(super) fn new(
        store: &'a mut Store,
        handling: Token,
        steps_left: Option<u8>,
        ack: &'a mut dyn FnMut(&Store),
    ) -> World<'a> {
        World { store, handling, steps_left, ack, acked: false }
    }

    fn live_on(&mut self) -> Result<(), Stop> {
        match &mut self.steps_left {
            Some(0) => Err(Stop::Killed),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Makes several changes at once: a kill comes before or after all of them.
    ///
    /// # Errors
    /// [`Stop::Killed`]: none of them was made.
    pub fn transaction<R>(&mut self, change: impl FnOnce(&mut Transaction<'_>) -> R) -> Result<R, Stop> {
        self.live_on()?;
        Ok(change(&mut Transaction { store: self.store, handling: self.handling }))
    }

    /// Adds to an account, at once and on its own.
    ///
    /// # Errors
    /// [`Stop::Killed`]: it was not added.
    pub fn add(&mut self, account: u8, amount: u8) -> Result<(), Stop> {
        self.transaction(|store| store.add(account, amount))
    }

    /// Records `key`, at once and on its own; `false` if it was recorded before.
    ///
    /// # Errors
    /// [`Stop::Killed`]: it was not recorded.
    pub fn record(&mut self, key: Key) -> Result<bool, Stop> {
        self.transaction(|store| store.record(key))
    }

    /// Whether `key` was recorded.
    ///
    /// # Errors
    /// [`Stop::Killed`].
    pub fn recorded(&mut self, key: &Key) -> Result<bool, Stop> {
        self.transaction(|store| store.recorded(key))
    }

    /// Acks the delivery. The broker's answer does not matter to a consumer: if the ack was too late, the
    /// message comes again.
    ///
    /// # Errors
    /// [`Stop::Killed`]: nothing was acked.
    pub fn ack(&mut self) -> Result<(), Stop> {
        self.live_on()?;
        (self.ack)(self.store);
        self.acked = true;
        Ok(())
    }
}
