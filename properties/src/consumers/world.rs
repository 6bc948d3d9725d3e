//! What a consumer can touch, and where it can be killed.

use stanchion_queues::Time;

use super::{Ledger, Stop};
use crate::history::Token;

/// What is behind a consumer's world.
pub(super) trait Backstage<S> {
    fn store(&mut self) -> &mut S;
    fn now(&self) -> Time;
    fn ack(&mut self);
    /// The consumer stalls until its lease has ended, and another one is given what comes and handles it.
    fn overtake(&mut self);
}

/// What befalls a consumer while it handles a delivery, before its n-th access to the world (from 0).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fate {
    pub(super) kill: Option<u8>,
    pub(super) overtaken: Option<u8>,
}

/// Everything a consumer can do while it handles one delivery. Each call is a point at which it may be
/// killed, or stall for so long that another consumer overtakes it, before it takes effect.
pub struct World<'a, S = Ledger> {
    backstage: &'a mut dyn Backstage<S>,
    handling: Token,
    fate: Fate,
    accesses: u8,
    pub(super) acked: bool,
}

impl<'a, S> World<'a, S> {
    pub(super) fn new(backstage: &'a mut dyn Backstage<S>, handling: Token, fate: Fate) -> World<'a, S> {
        World { backstage, handling, fate, accesses: 0, acked: false }
    }

    fn live_on(&mut self) -> Result<(), Stop> {
        let nth = Some(self.accesses);
        if self.fate.kill == nth {
            return Err(Stop::Killed);
        }
        self.accesses = self.accesses.saturating_add(1);
        if self.fate.overtaken == nth {
            self.backstage.overtake();
        }
        Ok(())
    }

    /// Touches the store, once: a kill comes before or after. What takes several touches (begin, insert, commit) may
    /// be cut off between any two.
    ///
    /// # Errors
    /// [`Stop::Killed`]: it was not touched.
    pub fn access<R>(&mut self, work: impl FnOnce(&mut S) -> R) -> Result<R, Stop> {
        self.live_on()?;
        Ok(work(self.backstage.store()))
    }

    /// The time, for whoever remembers for a while. It stands still while a consumer works, and not while it stalls.
    pub fn now(&self) -> Time {
        self.backstage.now()
    }

    /// Whose effects these are.
    pub(super) fn handling(&self) -> Token {
        self.handling
    }

    /// Acks the delivery. The broker's answer does not matter to a consumer: if the ack was too late, the
    /// message comes again.
    ///
    /// # Errors
    /// [`Stop::Killed`]: nothing was acked.
    pub fn ack(&mut self) -> Result<(), Stop> {
        self.live_on()?;
        self.backstage.ack();
        self.acked = true;
        Ok(())
    }
}
