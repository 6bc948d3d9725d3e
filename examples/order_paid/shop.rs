//! What a service can do, and what survives its death: its tables, and what it asked of others.

use std::collections::BTreeSet;

use stanchion::Receipt;

/// One delivery of "this order is paid".
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// Which order. It is also its price.
    pub(crate) order: u64,
    /// Proof of this delivery.
    pub(crate) receipt: Receipt,
    /// The ordinal of this delivery, from 1.
    pub(crate) attempt: u32,
}

/// The service was killed. What it did before stays done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Killed;

/// A service's database.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    /// Of what was handled already.
    pub(crate) notes: BTreeSet<u128>,
    /// One row per invoice.
    pub(crate) invoices: Vec<u64>,
    /// Named by the order.
    pub(crate) reserved: BTreeSet<u64>,
    /// How much was taken from the stock.
    pub(crate) taken: u64,
    /// The orders that make the turnover.
    pub(crate) sold: BTreeSet<u64>,
    /// A sum.
    pub(crate) turnover: u64,
    /// The order before.
    pub(crate) last: Option<u64>,
}

/// Everything that a service can touch. A service may be killed before each touch.
#[derive(Debug, Default)]
pub(crate) struct Shop {
    /// They survive the service.
    pub(crate) tables: Tables,
    /// What the mailer, who is somebody else, sent to customers.
    pub(crate) mailed: Vec<u64>,
    /// The keys that the mailer knows.
    keys: BTreeSet<u64>,
    /// How many touches are left before the service is killed; `None`: it is not.
    pub(crate) kill_after: Option<usize>,
    /// The service asked for an ack of its own.
    pub(crate) acked: bool,
    /// What happened.
    pub(crate) story: Vec<(u64, String)>,
    /// The order that is being handled.
    pub(crate) order: u64,
}

impl Shop {
    /// Adds a line to the story of an order.
    pub(crate) fn tell(&mut self, line: impl Into<String>) {
        self.story.push((self.order, line.into()));
    }

    /// Where a service can be killed.
    pub(crate) fn touch(&mut self, what: &str) -> Result<(), Killed> {
        match &mut self.kill_after {
            Some(0) => {
                self.tell(format!("is given up: KILLED before the service {what}"));
                Err(Killed)
            }
            left => {
                left.iter_mut().for_each(|left| *left -= 1);
                self.tell(format!("is handled: the service {what}"));
                Ok(())
            }
        }
    }

    /// All of it happens or nothing; `what` is how the story tells it.
    pub(crate) fn transaction<T>(
        &mut self,
        what: &str,
        work: impl FnOnce(&mut Tables) -> T,
    ) -> Result<T, Killed> {
        self.touch(what)?;
        Ok(work(&mut self.tables))
    }

    /// Asks the mailer to send a mail, once per key if there is one. The mail cannot be taken back.
    pub(crate) fn mail(&mut self, order: u64, key: Option<u64>) -> Result<(), Killed> {
        self.touch("calls the mailer")?;
        if key.is_none_or(|key| self.keys.insert(key)) {
            self.mailed.push(order);
        }
        Ok(())
    }

    /// Acks now, and not when it is done.
    pub(crate) fn ack(&mut self) -> Result<(), Killed> {
        self.touch("acks it")?;
        self.acked = true;
        Ok(())
    }
}
