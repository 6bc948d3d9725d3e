//! A broker for the tests of the engine: the simplest honest one, in memory, with bugs to switch on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stanchion_queues::{
    Broker, Contract, DeadLetter, Delivery, Depth, Error, Message, MessageId, Reason, Receipt, Refusal, Sent,
    Session, Settings, Settle, Settled, Settlement, Time, Volatile,
};

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Nothing.
    None,
    /// An ack is answered "done" and does nothing.
    AckDoesNothing,
    /// A message that is returned by an old receipt is lost.
    StaleNackLoses,
    /// The second redelivery panics.
    PanicsOnThirdAttempt,
    /// It starts only once.
    BootsOnce,
    /// It never starts.
    NeverBoots,
    /// An expired lease panics when the session that held it is dropped.
    PanicsOnDrop,
    /// A redelivery waits for what never comes.
    ReceiveNeverReturns,
}

#[derive(Clone)]
struct Stored {
    message: Message,
    attempts: u32,
    place: Place,
}

#[derive(Clone, Copy)]
enum Place {
    Ready { from: Time },
    Leased { receipt: Receipt, until: Time, session: u64 },
}

struct State {
    settings: Settings,
    bug: Bug,
    /// Distinguishes receipts of this broker from those of one that stood in its place before.
    boot: u64,
    next: u64,
    sessions: u64,
    messages: BTreeMap<u64, Stored>,
    dead: Vec<DeadLetter>,
}

static BOOTS: AtomicU64 = AtomicU64::new(0);

pub(crate) struct Honest(Arc<Mutex<State>>);

pub(crate) struct HonestSession {
    state: Arc<Mutex<State>>,
    number: u64,
}

type Boot = Box<dyn FnMut() -> Result<Honest, Error> + Send>;

/// A host of such brokers.
pub(crate) fn hosting(bug: Bug) -> impl Fn(&Settings) -> Volatile<Boot> {
    move |settings| {
        let settings = settings.clone();
        let mut boots = 0;
        let boot: Boot = Box::new(move || {
            boots += 1;
            if bug == Bug::NeverBoots || (bug == Bug::BootsOnce && boots > 1) {
                return Err(Error::Gone("the cable is cut".into()));
            }
            Ok(Honest(Arc::new(Mutex::new(State {
                settings: settings.clone(),
                bug,
                boot: BOOTS.fetch_add(1, Ordering::Relaxed),
                next: 0,
                sessions: 0,
                messages: BTreeMap::new(),
                dead: Vec::new(),
            }))))
        });
        Volatile::new(boot)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Broker for Honest {
    type Session = HonestSession;

    fn contract(&self) -> Contract {
        let state = lock(&self.0);
        Contract {
            capacity: Some(state.settings.capacity as u64),
            deliveries_allowed: Some(state.settings.deliveries_allowed),
            ..Contract::in_memory()
        }
    }

    fn session(&self) -> Result<HonestSession, Error> {
        let mut state = lock(&self.0);
        state.sessions += 1;
        Ok(HonestSession { state: self.0.clone(), number: state.sessions })
    }
}

impl State {
    fn now(&self) -> Time {
        self.settings.clock.now()
    }

    /// Ends a lease: back to the ready ones, or dead.
    fn fail(&mut self, id: u64, reason: Option<Reason>, from: Time) {
        let Some(stored) = self.messages.get_mut(&id) else { return };
        let out = stored.attempts >= self.settings.deliveries_allowed;
        let reason = reason.or(out.then_some(Reason::Attempts));
        stored.place = Place::Ready { from };
        let Some(reason) = reason else { return };
        if let Some(Stored { message, attempts, .. }) = self.messages.remove(&id) {
            self.dead.push(DeadLetter {
                id: MessageId(id),
                key: message.key,
                body: message.body,
                reason,
                attempts,
            });
        }
    }

    fn fail_where(&mut self, ended: impl Fn(&Place) -> bool) {
        let now = self.now();
        let ended: Vec<u64> =
            self.messages.iter().filter(|(_, stored)| ended(&stored.place)).map(|(id, _)| *id).collect();
        for id in ended {
            self.fail(id, None, now);
        }
    }

    fn expire(&mut self) {
        let now = self.now();
        self.fail_where(|place| matches!(place, Place::Leased { until, .. } if *until <= now));
    }

    fn holder(&self, wanted: Receipt) -> Option<u64> {
        let held =
            |stored: &Stored| matches!(stored.place, Place::Leased { receipt, .. } if receipt == wanted);
        self.messages.iter().find(|(_, stored)| held(stored)).map(|(id, _)| *id)
    }
}

impl Session for HonestSession {
    fn send(&mut self, messages: &[Message]) -> Vec<Sent> {
        let mut state = lock(&self.state);
        let mut sent = Vec::new();
        state.expire();
        for message in messages {
            if state.messages.len() >= state.settings.capacity {
                sent.push(Sent::Refused(Refusal::Full));
                continue;
            }
            let id = state.next;
            state.next += 1;
            let place = Place::Ready { from: state.now() + message.delay };
            state.messages.insert(id, Stored { message: message.clone(), attempts: 0, place });
            sent.push(Sent::Confirmed(MessageId(id)));
        }
        sent
    }

    fn receive(&mut self, max: usize, lease: Duration) -> Result<Vec<Delivery>, Error> {
        Error::check_receive(max, lease)?;
        let mut state = lock(&self.state);
        state.expire();
        let now = state.now();
        let State { messages, next, boot, bug, .. } = &mut *state;
        let ready = messages
            .iter_mut()
            .filter(|(_, stored)| matches!(stored.place, Place::Ready { from } if from <= now));
        let mut deliveries = Vec::new();
        for (id, stored) in ready.take(max) {
            *next += 1;
            let receipt = Receipt(u128::from(*boot) << 64 | u128::from(*next));
            stored.attempts += 1;
            if *bug == Bug::ReceiveNeverReturns && stored.attempts > 1 {
                loop {
                    std::thread::park();
                }
            }
            assert!(
                *bug != Bug::PanicsOnThirdAttempt || stored.attempts < 3,
                "no third attempt was foreseen"
            );
            let deadline = now + lease;
            stored.place = Place::Leased { receipt, until: deadline, session: self.number };
            deliveries.push(Delivery {
                id: MessageId(*id),
                key: stored.message.key.clone(),
                body: stored.message.body.clone(),
                attempt: stored.attempts,
                receipt,
                deadline,
            });
        }
        Ok(deliveries)
    }

    fn settle(&mut self, settlements: &[Settlement]) -> Vec<Settled> {
        let mut state = lock(&self.state);
        state.expire();
        let mut settled = Vec::new();
        for settlement in settlements {
            let Some(id) = state.holder(settlement.receipt) else {
                if let (Bug::StaleNackLoses, Settle::Nack { .. }) = (state.bug, settlement.how) {
                    state.messages.pop_first();
                }
                settled.push(Settled::Stale);
                continue;
            };
            match settlement.how {
                Settle::Ack if state.bug == Bug::AckDoesNothing => {}
                Settle::Ack => drop(state.messages.remove(&id)),
                Settle::Nack { delay } => {
                    let from = state.now() + delay;
                    state.fail(id, None, from);
                }
                Settle::Reject => {
                    let now = state.now();
                    state.fail(id, Some(Reason::Rejected), now);
                }
            }
            settled.push(Settled::Done);
        }
        settled
    }

    fn extend(&mut self, receipt: Receipt, lease: Duration) -> Settled {
        let mut state = lock(&self.state);
        state.expire();
        let longer = state.now() + lease;
        let Some(id) = state.holder(receipt) else { return Settled::Stale };
        if let Some(Stored { place: Place::Leased { until, .. }, .. }) = state.messages.get_mut(&id) {
            *until = longer.max(*until);
        }
        Settled::Done
    }

    fn dead_letters(&mut self, max: usize) -> Result<Vec<DeadLetter>, Error> {
        let mut state = lock(&self.state);
        state.expire();
        Ok(state.dead.iter().take(max).cloned().collect())
    }

    fn redrive(&mut self, max: usize) -> Result<usize, Error> {
        let mut state = lock(&self.state);
        state.expire();
        let room = state.settings.capacity.saturating_sub(state.messages.len());
        let moved = max.min(room).min(state.dead.len());
        let from = state.now();
        for letter in state.dead.drain(..moved).collect::<Vec<_>>() {
            let message = Message { key: letter.key, body: letter.body, delay: Duration::ZERO };
            let stored = Stored { message, attempts: 0, place: Place::Ready { from } };
            state.messages.insert(letter.id.0, stored);
        }
        Ok(moved)
    }

    fn depth(&mut self) -> Result<Depth, Error> {
        let mut state = lock(&self.state);
        state.expire();
        let now = state.now();
        let mut depth = Depth { dead: state.dead.len() as u64, ..Depth::default() };
        for stored in state.messages.values() {
            match stored.place {
                Place::Ready { from } if from <= now => depth.ready += 1,
                Place::Ready { .. } => depth.delayed += 1,
                Place::Leased { .. } => depth.in_flight += 1,
            }
        }
        Ok(depth)
    }
}

impl Drop for HonestSession {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        let mine = self.number;
        let now = state.now();
        let held = |place: &Place| matches!(place, Place::Leased { session, .. } if *session == mine);
        let late =
            |place: &Place| held(place) && matches!(place, Place::Leased { until, .. } if *until <= now);
        let panics =
            state.bug == Bug::PanicsOnDrop && state.messages.values().any(|stored| late(&stored.place));
        state.fail_where(held);
        drop(state);
        assert!(!panics, "a lease ran out under a session that was lost");
    }
}
