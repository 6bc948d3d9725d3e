//! A broker delivers messages under leases: at least once, again when a consumer fails, and to the dead
//! letters when it fails too often.
//!
//! Sends, receives and settlements come in batches, because one call per message can pipeline neither a
//! network nor a sync. Each item has an outcome of its own. An outcome may be *in doubt*: real sends time
//! out, and a caller who is told "failed" when the message was stored will be surprised later.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Time};
use crate::contract::Contract;
use crate::file::SimDisk;

/// Delivers messages. Implement this and [`Session`] to plug a broker in. With [`crate::sync::Mutex`] as its lock, its
/// calls are also interrupted by each other half way, in orders that a seed repeats.
pub trait Broker: Send + Sync + 'static {
    /// One client of it.
    type Session: Session + 'static;

    /// What it promises, with its settings filled in (capacity, deliveries allowed).
    fn contract(&self) -> Contract;

    /// Opens a session. Dropping a session with unsettled deliveries is what a crashed client looks like.
    ///
    /// # Errors
    /// The broker is closed, poisoned or cannot be reached.
    fn session(&self) -> Result<Self::Session, Error>;
}

/// One client of a broker. Any session may settle any receipt that is not stale.
pub trait Session: Send {
    /// Sends messages, the first one first; the answer has one outcome per message, in order. Whether some of a batch may be stored and
    /// some refused is in the contract.
    fn send(&mut self, messages: &[Message]) -> Vec<Sent>;

    /// Receives at most `max` ready messages without waiting, the one that is delivered first in front, each under a lease that ends at
    /// now + `lease`. (Whether it still holds at that very instant is not promised: no client could tell.) No message is ready: an empty vector.
    ///
    /// # Errors
    /// `max` or `lease` is zero ([`Error::Invalid`]); otherwise the outcome is in doubt: deliveries may have
    /// happened that nobody saw.
    fn receive(&mut self, max: usize, lease: Duration) -> Result<Vec<Delivery>, Error>;

    /// Settles deliveries; the answer has one outcome per settlement, in order.
    fn settle(&mut self, settlements: &[Settlement]) -> Vec<Settled>;

    /// Makes a lease end at now + `lease`, never earlier than it would have ended.
    fn extend(&mut self, receipt: Receipt, lease: Duration) -> Settled;

    /// Shows at most `max` dead letters, oldest death first, without changing them. A broker that looks at its
    /// clock only when it is called sees several leases run out at once: those may die in any order.
    ///
    /// # Errors
    /// The broker could not read them.
    fn dead_letters(&mut self, max: usize) -> Result<Vec<DeadLetter>, Error>;

    /// Makes at most `max` dead letters ready again, oldest death first, and says how many. They count towards the
    /// capacity again: as many stay dead as find no room.
    ///
    /// # Errors
    /// The outcome is in doubt: any number up to `max` may have been redriven.
    fn redrive(&mut self, max: usize) -> Result<usize, Error>;

    /// How many messages are in each state now.
    ///
    /// # Errors
    /// The broker could not count them.
    fn depth(&mut self) -> Result<Depth, Error>;
}

/// What is sent. Cloning is cheap: key and body are shared.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Groups messages; carried unchanged.
    pub key: Option<Arc<[u8]>>,
    /// The payload.
    pub body: Arc<[u8]>,
    /// Not to be delivered before now + `delay`.
    pub delay: Duration,
}

impl Message {
    /// A message without a key, ready at once.
    pub fn new(body: impl Into<Arc<[u8]>>) -> Message {
        Message { key: None, body: body.into(), delay: Duration::ZERO }
    }

    /// The same with a key.
    pub fn with_key(self, key: impl Into<Arc<[u8]>>) -> Message {
        Message { key: Some(key.into()), ..self }
    }

    /// The same, not before `delay` has passed.
    pub fn with_delay(self, delay: Duration) -> Message {
        Message { delay, ..self }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({} bytes, key {:?}, delay {:?})", self.body.len(), self.key, self.delay)
    }
}

/// The broker's own name for a stored message. Unique within a broker, also across its restarts if sends
/// survive them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageId(pub u64);

/// Proof of one delivery: opaque, never issued twice, not even after a crash that takes every message: whoever
/// kept an old one would settle the delivery of somebody else. Stale once its lease ended or it was settled. An adapter
/// whose native handles are longer keeps a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Receipt(pub u128);

/// The outcome of sending one message.
#[derive(Debug)]
pub enum Sent {
    /// Stored, as durably as the contract says.
    Confirmed(MessageId),
    /// Definitely not stored. The caller still has the message.
    Refused(Refusal),
    /// It may or may not be stored.
    InDoubt(Error),
}

/// Why a message was definitely not stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// No room.
    Full,
    /// The body or key is larger than the limit.
    TooLarge,
    /// The broker takes no more messages: closed, poisoned or out of space. The text says which.
    Unavailable(String),
}

/// One handing-over of one message to one session.
#[derive(Clone)]
pub struct Delivery {
    /// Which message.
    pub id: MessageId,
    /// As sent.
    pub key: Option<Arc<[u8]>>,
    /// As sent.
    pub body: Arc<[u8]>,
    /// One more than the attempts counted before it (which ends of an attempt count is in the contract, and so is
    /// an attempt that counts deliveries instead). Above 1 it is a redelivery.
    pub attempt: u32,
    /// Proof of this delivery.
    pub receipt: Receipt,
    /// When the lease ends.
    pub deadline: Time,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Delivery({:?}, attempt {}, until {})", self.id, self.attempt, self.deadline)
    }
}

/// What a consumer says of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Which delivery.
    pub receipt: Receipt,
    /// What of it.
    pub how: Settle,
}

/// How a delivery is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Settle {
    /// Done: never again.
    Ack,
    /// Again, not before now + `delay`.
    Nack {
        /// How long to wait.
        delay: Duration,
    },
    /// Never again: to the dead letters.
    Reject,
}

/// The outcome of a settlement or an extension.
#[derive(Debug)]
pub enum Settled {
    /// It took effect.
    Done,
    /// The receipt was stale (or never issued): nothing changed.
    Stale,
    /// It may or may not have taken effect.
    InDoubt(Error),
}

/// A message that is out of attempts or was rejected.
#[derive(Clone)]
pub struct DeadLetter {
    /// Which message.
    pub id: MessageId,
    /// As sent.
    pub key: Option<Arc<[u8]>>,
    /// As sent.
    pub body: Arc<[u8]>,
    /// Why it died.
    pub reason: Reason,
    /// How many attempts were counted when it died. Whether one that rejected it is among them is not promised.
    pub attempts: u32,
}

impl fmt::Debug for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeadLetter({:?}, {:?} after {} attempts)", self.id, self.reason, self.attempts)
    }
}

/// Why a message became a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Every allowed delivery ended without an ack.
    Attempts,
    /// A consumer rejected it.
    Rejected,
}

/// How many messages are in each state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Depth {
    /// Can be received now.
    pub ready: u64,
    /// Under a lease.
    pub in_flight: u64,
    /// Waiting for their time.
    pub delayed: u64,
    /// Dead letters.
    pub dead: u64,
}

/// Why a broker could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An argument or a setting makes no sense.
    #[error("{what} is {given}: {remedy}")]
    Invalid {
        /// Which argument.
        what: &'static str,
        /// What was given.
        given: String,
        /// What to give instead.
        remedy: &'static str,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {source}. {remedy}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
        /// What to do about it.
        remedy: &'static str,
    },
    /// Stored bytes are damaged, not merely unfinished. Nothing was changed.
    #[error("{} is damaged at {}: {detail}. Nothing was changed or deleted", path.display(), bytes(*offset, *end))]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// Where the damage begins.
        offset: u64,
        /// Where what cannot be trusted ends, if that is known: what is between may be whole in part.
        end: Option<u64>,
        /// What is wrong there, and what to do.
        detail: String,
    },
    /// Another process has the store open.
    #[error("{} is in use by process {pid}: stop it, or open another directory", path.display())]
    Owned {
        /// Which directory.
        path: PathBuf,
        /// The owner.
        pid: u32,
    },
    /// An earlier write or sync failed; nothing more is confirmed until the store is opened again.
    #[error("the store stopped after an earlier failure ({0}): open it again to recover")]
    Poisoned(String),
    /// The broker is gone: crashed, closed, or cannot be reached.
    #[error("the broker is gone: {0}")]
    Gone(String),
}

/// A place in a file, for people.
pub(crate) fn bytes(from: u64, to: Option<u64>) -> String {
    match to {
        Some(to) => format!("bytes {from}..{to}"),
        None => format!("byte {from}"),
    }
}

impl Error {
    /// Checks the arguments of a receive, the same in every broker.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `max` or `lease` is zero.
    pub fn check_receive(max: usize, lease: Duration) -> Result<(), Error> {
        if max == 0 {
            return Err(Error::Invalid {
                what: "max",
                given: "0".into(),
                remedy: "ask for at least one message",
            });
        }
        if lease.is_zero() {
            return Err(Error::Invalid {
                what: "lease",
                given: "0 s".into(),
                remedy: "a lease that has already ended protects nothing: ask for more than zero",
            });
        }
        Ok(())
    }
}

/// What the harness asks of a broker when it boots one.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The most messages resident at once (ready, in flight and delayed).
    pub capacity: usize,
    /// How many deliveries of a message that always fails, before it becomes a dead letter.
    pub deliveries_allowed: u32,
    /// Where time is read.
    pub clock: Clock,
    /// Decides what a simulated host keeps in a crash. The same seed, the same outcome.
    pub seed: u64,
}

impl Settings {
    /// A capacity of 1024, five deliveries, the machine's time.
    pub fn new() -> Settings {
        Settings { capacity: 1024, deliveries_allowed: 5, clock: Clock::system(), seed: 0 }
    }

    /// Refuses settings that no broker could honour.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the capacity or the deliveries allowed are zero.
    pub fn validate(&self) -> Result<(), Error> {
        if self.capacity == 0 {
            return Err(Error::Invalid { what: "capacity", given: "0".into(), remedy: "give at least 1" });
        }
        if self.deliveries_allowed == 0 {
            return Err(Error::Invalid {
                what: "deliveries_allowed",
                given: "0".into(),
                remedy: "a message that may never be delivered cannot be processed: give at least 1",
            });
        }
        Ok(())
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings::new()
    }
}

/// What kills a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Crash {
    /// The process is killed; what the operating system holds stays.
    Process,
    /// The power fails; of what was not synced, anything may stay.
    Power,
}

/// Where a broker lives across crashes: a process, a directory, a simulated disk, a real server.
///
/// The harness calls [`Host::crash`] *before* it drops the old broker and its sessions, so that a host can
/// cut them off first: nothing they do while being dropped may reach what survives.
pub trait Host: Send + 'static {
    /// What it runs.
    type Broker: Broker;

    /// Starts the broker from what is durable.
    ///
    /// # Errors
    /// It does not start. After a crash that is a broken promise.
    fn boot(&mut self) -> Result<Self::Broker, Error>;

    /// Kills the running broker.
    fn crash(&mut self, crash: Crash);

    /// Whether a call that is in flight during [`Host::crash`] may go on after it: nothing that it still does reaches
    /// what survives. Then the harness can crash the broker in the middle of its calls; otherwise it lets those that
    /// are in flight come to their ends first, and loses their answers.
    fn cuts_off_calls(&self) -> bool {
        false
    }

    /// The simulated disk that its boots and crashes are about, if the broker stands on one and on nothing else. Then
    /// the harness also fails the broker in every way in which a disk can, at each of the calls that it makes to it.
    fn simulated_disk(&self) -> Option<&SimDisk> {
        None
    }

    /// From the next boot on the broker allows so many deliveries ([`Settings::deliveries_allowed`]), as if it had been
    /// configured anew; what it stores stays. `false`: that cannot be changed here.
    fn limit(&mut self, deliveries_allowed: u32) -> bool {
        let _ = deliveries_allowed;
        false
    }

    /// Does what the broker does of itself when nobody calls it for a while. By default that is nothing.
    fn idle(&self) {}
}

/// A host for brokers that live in memory: each boot makes a new, empty one.
#[derive(Debug)]
pub struct Volatile<F> {
    make: F,
}

impl<B: Broker, F: FnMut() -> Result<B, Error> + Send + 'static> Volatile<F> {
    /// Boots by calling `make`.
    pub fn new(make: F) -> Volatile<F> {
        Volatile { make }
    }
}

impl<B: Broker, F: FnMut() -> Result<B, Error> + Send + 'static> Host for Volatile<F> {
    type Broker = B;

    fn boot(&mut self) -> Result<B, Error> {
        (self.make)()
    }

    fn crash(&mut self, _: Crash) {}

    fn cuts_off_calls(&self) -> bool {
        // Nothing survives.
        true
    }
}
