//! Whether a store holds what it confirmed: a number from one that does not is not a number.

use std::collections::HashSet;
use std::fmt;

use crate::body::Identity;

/// What a store should hold, and what was found in it.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// How many each producer was told are stored, in its own order.
    confirmed: Vec<u64>,
    /// What was taken out again.
    removed: HashSet<Identity>,
    found: HashSet<Identity>,
    faults: Faults,
}

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Confirmed, not removed, and not there.
    pub lost: u64,
    /// There twice, or removed twice.
    pub twice: u64,
    /// Durably removed, and there all the same.
    pub back: u64,
    /// Never sent, or damaged.
    pub strange: u64,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Faults { lost, twice, back, strange } = *self;
        write!(f, "{lost} lost, {twice} twice, {back} back again, {strange} never sent or damaged: no number")
    }
}

impl std::error::Error for Faults {}

impl Audit {
    /// So many were confirmed to each producer.
    pub fn of(confirmed: Vec<u64>) -> Audit {
        Audit { confirmed, ..Audit::default() }
    }

    /// Its durable removal was confirmed.
    pub fn removed(&mut self, body: &[u8]) {
        match self.known(body) {
            Some(identity) => self.faults.twice += u64::from(!self.removed.insert(identity)),
            None => self.faults.strange += 1,
        }
    }

    /// It is in the store.
    pub fn found(&mut self, body: &[u8]) {
        match self.known(body) {
            Some(identity) => self.faults.twice += u64::from(!self.found.insert(identity)),
            None => self.faults.strange += 1,
        }
    }

    fn known(&self, body: &[u8]) -> Option<Identity> {
        let identity = Identity::of(body)?;
        let sent = self.confirmed.get(usize::try_from(identity.producer).ok()?)?;
        (identity.sequence < *sent).then_some(identity)
    }

    /// After everything was found that there is.
    ///
    /// # Errors
    /// What is wrong.
    pub fn close(self) -> Result<(), Faults> {
        let back = self.found.intersection(&self.removed).count() as u64;
        let there = (self.found.len() + self.removed.len()) as u64 - back;
        let lost = self.confirmed.iter().sum::<u64>() - there;
        let faults = Faults { lost, back, ..self.faults };
        if faults == Faults::default() { Ok(()) } else { Err(faults) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(producer: u64, sequence: u64) -> Vec<u8> {
        Identity { producer, sequence }.message(100).body.to_vec()
    }

    fn audit(removed: &[(u64, u64)], found: &[(u64, u64)]) -> Result<(), Faults> {
        let mut audit = Audit::of(vec![2, 1]);
        removed.iter().for_each(|(producer, sequence)| audit.removed(&body(*producer, *sequence)));
        found.iter().for_each(|(producer, sequence)| audit.found(&body(*producer, *sequence)));
        audit.close()
    }

    #[test]
    fn everything_is_there_once_or_was_removed() {
        assert_eq!(audit(&[], &[(0, 0), (0, 1), (1, 0)]), Ok(()));
        assert_eq!(audit(&[(0, 1)], &[(0, 0), (1, 0)]), Ok(()));
    }

    #[test]
    fn each_fault_is_told() {
        let none = Faults::default();
        assert_eq!(audit(&[], &[(0, 0), (1, 0)]), Err(Faults { lost: 1, ..none }));
        assert_eq!(audit(&[], &[(0, 0), (0, 1), (1, 0), (1, 0)]), Err(Faults { twice: 1, ..none }));
        assert_eq!(audit(&[(0, 0)], &[(0, 0), (0, 1), (1, 0)]), Err(Faults { back: 1, ..none }));
        assert_eq!(audit(&[(0, 0), (0, 0)], &[(0, 1), (1, 0)]), Err(Faults { twice: 1, ..none }));
        assert_eq!(audit(&[], &[(0, 0), (0, 1), (1, 0), (1, 1)]), Err(Faults { strange: 1, ..none }));
        assert_eq!(audit(&[], &[(0, 0), (0, 1), (1, 0), (2, 0)]), Err(Faults { strange: 1, ..none }));
        let mut damaged = Audit::of(vec![1]);
        let mut bytes = body(0, 0);
        bytes[50] ^= 4;
        damaged.found(&bytes);
        assert_eq!(damaged.close(), Err(Faults { lost: 1, strange: 1, ..none }));
    }
}
