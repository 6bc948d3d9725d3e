//! A broker in memory over any buffer: the delivery layer is written once, so it is the buffers that are
//! compared.

mod slab;
mod state;
#[cfg(test)]
mod tests;
mod timers;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use self::state::{Stale, State};
use crate::broker::{
    Broker, DeadLetter, Delivery, Depth, Error, Message, Receipt, Refusal, Sent, Session, Settings, Settled,
    Settlement,
};
use crate::buffer::{Buffer, Full, Shape, ShapeError};
use crate::clock::{Clock, Time};
use crate::contract::{Contract, Order};
use crate::sync::{Mutex, MutexGuard};

/// Turns a buffer into a broker: leases, attempts, delays, dead letters, redrive.
///
/// One lock guards the delivery state and one end on each side of the buffer. Fresh messages stand in the
/// buffer; messages that come back stand beside it, ordered by when they were sent.
///
/// The rules, beyond those of [`Session`]:
/// * Among the ready messages, the one that was sent first is delivered first. A message that comes back
///   (returned, expired, redriven, or after its delay) stands where it stood: before everything sent after it.
/// * A lease is live while now < deadline. Leases and delays whose time has come are ended at the start of the
///   next operation, in the order of their times.
/// * Attempts are counted at hand-over. When the last one allowed ends without an ack, whether by a nack, the
///   deadline or the loss of its session, the message is a dead letter at once.
/// * Ready, in flight and delayed messages count towards the capacity, dead letters do not. Redrive moves as
///   many as fit, under their old ids, and starts their counts again.
/// * A receipt of another broker, also of one that lived before in this process, is stale.
/// * Sessions keep the queue alive: it ends when the broker and the last session are dropped.
/// * If the buffer panics, its broker is gone: sends are refused as unavailable, everything else answers
///   [`Error::Gone`].
///
/// Operations cost O(log n) a message, for n messages outside the buffer. A message in flight costs at most 64
/// bytes beside its body (`tests/leased_memory.rs`). That room is used again, and given back when the broker
/// ends.
pub struct Leased<B: Buffer> {
    shared: Arc<Shared<B>>,
    contract: Contract,
}

struct Shared<B: Buffer> {
    state: Mutex<State<B>>,
    clock: Clock,
}

/// The most that slots can be numbered for, with as many to spare.
const MOST: usize = u32::MAX as usize / 2;

impl<B: Buffer> Leased<B> {
    /// An empty broker over a new buffer of the capacity in the settings.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the settings are (see [`Settings::validate`]) or the buffer cannot hold so much.
    pub fn open(settings: &Settings) -> Result<Leased<B>, Error> {
        static LIVES: AtomicU64 = AtomicU64::new(0);
        settings.validate()?;
        let capacity = settings.capacity;
        let too_large = |most| Error::Invalid {
            what: "capacity",
            given: format!("{capacity} (the most here is {most})"),
            remedy: "ask for less",
        };
        if capacity > MOST {
            return Err(too_large(MOST));
        }
        let mut ends = B::open(Shape::new(1, 1, capacity)).map_err(|error| match error {
            ShapeError::TooLarge { most, .. } => too_large(most),
            refused => Error::Invalid {
                what: "the buffer",
                given: refused.to_string(),
                remedy: "take one that opens with one producer and one consumer",
            },
        })?;
        let (Some(producer), Some(consumer)) = (ends.producers.pop(), ends.consumers.pop()) else {
            return Err(Error::Invalid {
                what: "the buffer",
                given: "without an end on each side".into(),
                remedy: "its `open` must make as many ends as the shape asks for",
            });
        };
        let life = LIVES.fetch_add(1, Ordering::Relaxed);
        let state = State::new(producer, consumer, capacity, settings.deliveries_allowed, life);
        let contract = Contract {
            capacity: Some(capacity as u64),
            deliveries_allowed: Some(settings.deliveries_allowed),
            // There is one producer end, so its order is that of all sends.
            order: match B::CONTRACT.order {
                Order::Unordered => Order::Unordered,
                Order::PerProducer | Order::Fifo => Order::Fifo,
            },
            ..Contract::in_memory()
        };
        let shared = Shared { state: Mutex::new(state), clock: settings.clock.clone() };
        Ok(Leased { shared: Arc::new(shared), contract })
    }
}

impl<B: Buffer> fmt::Debug for Leased<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leased").field("contract", &self.contract).finish_non_exhaustive()
    }
}

impl<B: Buffer> Broker for Leased<B> {
    type Session = LeasedSession<B>;

    fn contract(&self) -> Contract {
        self.contract.clone()
    }

    fn session(&self) -> Result<LeasedSession<B>, Error> {
        let number = self.shared.lock()?.open_session();
        Ok(LeasedSession { shared: Arc::clone(&self.shared), number })
    }
}

impl<B: Buffer> Shared<B> {
    fn lock(&self) -> Result<MutexGuard<'_, State<B>>, Error> {
        self.state
            .lock()
            .map_err(|_| Error::Gone("the buffer panicked in an earlier operation: open a new broker".into()))
    }

    /// The state as of now, and now.
    fn swept(&self) -> Result<(MutexGuard<'_, State<B>>, Time), Error> {
        let mut state = self.lock()?;
        let now = self.clock.now();
        state.sweep(now);
        Ok((state, now))
    }
}

/// A session of a [`Leased`]. Dropping it ends its leases at once.
pub struct LeasedSession<B: Buffer> {
    shared: Arc<Shared<B>>,
    number: u32,
}

impl<B: Buffer> fmt::Debug for LeasedSession<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeasedSession({})", self.number)
    }
}

impl<B: Buffer> Drop for LeasedSession<B> {
    fn drop(&mut self) {
        // If the buffer panicked nobody can receive any more, so there is nobody to release the leases for.
        if let Ok((mut state, _)) = self.shared.swept() {
            state.close_session(self.number);
        }
    }
}

impl<B: Buffer> Session for LeasedSession<B> {
    fn send(&mut self, messages: &[Message]) -> Vec<Sent> {
        let mut state = match self.shared.lock() {
            Ok(state) => state,
            Err(gone) => {
                let refused = |_: &Message| Sent::Refused(Refusal::Unavailable(gone.to_string()));
                return messages.iter().map(refused).collect();
            }
        };
        // Reading the clock costs as much as the rest of a send: not if nothing depends on it.
        let timeless = state.is_timeless() && messages.iter().all(|message| message.delay.is_zero());
        let now = if timeless { Time::ZERO } else { self.shared.clock.now() };
        state.sweep(now);
        let send = |message: &Message| match state.send(message, now) {
            Ok(id) => Sent::Confirmed(id),
            Err(Full(())) => Sent::Refused(Refusal::Full),
        };
        messages.iter().map(send).collect()
    }

    fn receive(&mut self, max: usize, lease: Duration) -> Result<Vec<Delivery>, Error> {
        Error::check_receive(max, lease)?;
        let (mut state, now) = self.shared.swept()?;
        let ready = usize::try_from(state.depth().ready).unwrap_or(usize::MAX);
        let mut deliveries = Vec::with_capacity(max.min(ready));
        while deliveries.len() < max {
            match state.receive(self.number, now + lease) {
                Some(delivery) => deliveries.push(delivery),
                None => break,
            }
        }
        Ok(deliveries)
    }

    fn settle(&mut self, settlements: &[Settlement]) -> Vec<Settled> {
        let (mut state, now) = match self.shared.swept() {
            Ok(swept) => swept,
            Err(gone) => {
                let text = gone.to_string();
                return settlements.iter().map(|_| Settled::InDoubt(Error::Gone(text.clone()))).collect();
            }
        };
        let settle = |settlement: &Settlement| settled(state.settle(settlement.receipt, settlement.how, now));
        settlements.iter().map(settle).collect()
    }

    fn extend(&mut self, receipt: Receipt, lease: Duration) -> Settled {
        match self.shared.swept() {
            Ok((mut state, now)) => settled(state.extend(receipt, lease, now)),
            Err(gone) => Settled::InDoubt(gone),
        }
    }

    fn dead_letters(&mut self, max: usize) -> Result<Vec<DeadLetter>, Error> {
        Ok(self.shared.swept()?.0.dead_letters(max))
    }

    fn redrive(&mut self, max: usize) -> Result<usize, Error> {
        Ok(self.shared.swept()?.0.redrive(max))
    }

    fn depth(&mut self) -> Result<Depth, Error> {
        Ok(self.shared.swept()?.0.depth())
    }
}

fn settled(outcome: Result<(), Stale>) -> Settled {
    match outcome {
        Ok(()) => Settled::Done,
        Err(Stale) => Settled::Stale,
    }
}
