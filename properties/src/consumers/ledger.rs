//! The store that the harness ships: a small database in memory.

use std::collections::{BTreeMap, BTreeSet};

use super::{Difference, Intent, Stop, Store, World};
use crate::history::{Observed, Token};

/// The name under which a consumer records that it has done something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(pub Vec<u8>);

impl From<Token> for Key {
    fn from(token: Token) -> Key {
        Key(token.0.to_le_bytes().to_vec())
    }
}

/// Balances, and the keys of what was done. It also counts, on the harness's behalf and out of the consumer's
/// reach, which intent was being handled when something changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    balances: BTreeMap<u8, u64>,
    records: BTreeMap<Key, Token>,
    effects_of: BTreeMap<Token, u32>,
}

impl Store for Ledger {
    fn observe(&mut self) -> Vec<Observed> {
        let recorded: BTreeSet<Token> = self.records.values().copied().collect();
        let seen: BTreeSet<Token> = self.effects_of.keys().chain(&recorded).copied().collect();
        let of = |token| Observed {
            token,
            effects: self.effects_of.get(&token).copied().unwrap_or(0),
            recorded: recorded.contains(&token),
        };
        seen.into_iter().map(of).collect()
    }

    fn difference(&mut self, applied: &[Intent]) -> Option<Difference> {
        let mut due: BTreeMap<u8, u64> = BTreeMap::new();
        for intent in applied {
            *due.entry(intent.account).or_default() += u64::from(intent.amount);
        }
        let of = |balances: &BTreeMap<u8, u64>, account| balances.get(account).copied().unwrap_or(0);
        let accounts = due.keys().chain(self.balances.keys());
        let wrong = accounts.map(|account| (account, of(&due, account), of(&self.balances, account)));
        let (account, due, held) = wrong.filter(|(_, due, held)| due != held).min()?;
        let sentence = format!(
            "Each intent applied once gives account {account} a balance of {due}; at the end it has {held}."
        );
        Some(if held > due { Difference::TooMuch(sentence) } else { Difference::TooLittle(sentence) })
    }
}

/// Changes that happen together or not at all.
#[derive(Debug)]
pub struct Transaction<'a> {
    ledger: &'a mut Ledger,
    handling: Token,
}

impl Transaction<'_> {
    /// Adds to an account: the effect.
    pub fn add(&mut self, account: u8, amount: u8) {
        *self.ledger.balances.entry(account).or_default() += u64::from(amount);
        *self.ledger.effects_of.entry(self.handling).or_default() += 1;
    }

    /// Records `key`; `false` if it was recorded before.
    pub fn record(&mut self, key: Key) -> bool {
        let fresh = !self.recorded(&key);
        if fresh {
            self.ledger.records.insert(key, self.handling);
        }
        fresh
    }

    /// Whether `key` was recorded.
    pub fn recorded(&self, key: &Key) -> bool {
        self.ledger.records.contains_key(key)
    }

    /// How many keys are recorded.
    pub fn records(&self) -> usize {
        self.ledger.records.len()
    }

    /// Forgets all keys but these, as whoever cannot remember for ever does.
    pub fn retain(&mut self, keep: impl Fn(&Key) -> bool) {
        self.ledger.records.retain(|key, _| keep(key));
    }
}

impl World<'_, Ledger> {
    /// Makes several changes at once: a kill comes before or after all of them.
    ///
    /// # Errors
    /// [`Stop::Killed`]: none of them was made.
    pub fn transaction<R>(&mut self, change: impl FnOnce(&mut Transaction<'_>) -> R) -> Result<R, Stop> {
        let handling = self.handling();
        self.access(|ledger| change(&mut Transaction { ledger, handling }))
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
}
