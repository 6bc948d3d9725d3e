//! The queue: decides, commits, and only then changes its state and answers.
//!
//! One mutex guards all of it, also while a commit is synced: simple, and nothing is ever delivered that is
//! not durable. Each operation reads the clock once and first ends what time has ended.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::log::{CommitError, Log, Name};
use super::real::RealDir;
use super::record::{Record, Stored};
use super::recovery::{Recovered, recover, salt_seed};
use super::state::{Lease, State};
use super::storage::Storage;
use crate::broker::{
    Broker, DeadLetter, Delivery, Depth, Error, Message, MessageId, Reason, Receipt, Refusal, Sent, Session,
    Settings, Settle, Settled, Settlement,
};
use crate::clock::Time;
use crate::contract::{Bytes, Contract, Count, Counting};

/// The largest body, and the largest key.
pub const BODY_LIMIT: Bytes = Bytes(64 << 20);

/// A log shorter than this is not rewritten.
const REWRITE_FROM: u64 = 4 << 20;

/// A queue in files: a send is confirmed, and a settlement done, only after it is synced.
///
/// It survives the kill of its process and the loss of power. Bodies are also kept in memory. Opening it
/// writes a new log with all that is left in the old one, and so does a running queue whose log has grown to
/// twice its state; so both take time and space in proportion to what is stored.
///
/// # Attempts
/// A first delivery writes nothing. Every *ending* of an attempt that an operation brings about or notices
/// (nack, reject, expiry, loss of the session) is durable before that operation answers. That an attempt has
/// *begun* is written along with the next commit; so an attempt that a crash ended counts if anything was
/// committed after the delivery, and otherwise does not. A lease that ran out before a crash, and of which no
/// operation took notice before it, was ended by the crash.
///
/// # Failures
/// After a failed write or sync nothing is known, and nothing is confirmed: what was being committed is in
/// doubt, later sends are refused as unavailable, everything else answers [`Error::Poisoned`]. Opening the
/// queue again recovers. A full disk is not such a failure: what did not fit is durably absent, sends are
/// refused as unavailable, and once there is space the queue goes on.
pub struct FileQueue<S: Storage> {
    shared: Arc<Shared<S>>,
}

/// A session of a [`FileQueue`]. Dropping it returns what it holds, durably.
pub struct FileSession<S: Storage> {
    shared: Arc<Shared<S>>,
    number: u64,
}

struct Shared<S: Storage> {
    settings: Settings,
    recovered: Recovered,
    core: Mutex<Core<S>>,
}

struct Core<S: Storage> {
    storage: S,
    settings: Settings,
    state: State,
    log: Log<S::File>,
    /// The number of the log that this life began: part of every receipt.
    life: u64,
    receipts: u64,
    sessions: u64,
    rewrite_from: u64,
    /// How long the log may grow before it is rewritten.
    rewrite_at: u64,
    poisoned: Option<String>,
}

/// Why nothing was committed, or perhaps not.
enum Failure {
    /// No space: nothing changed.
    Full(PathBuf),
    /// It failed now: anything may be stored.
    Now(String),
    /// It failed earlier: nothing of this was stored.
    Before(String),
}

impl Failure {
    fn error(&self) -> Error {
        match self {
            Failure::Full(path) => Error::Io {
                action: "write to",
                path: path.clone(),
                source: io::ErrorKind::StorageFull.into(),
                remedy: "Nothing was changed; make room and try again",
            },
            Failure::Now(why) | Failure::Before(why) => Error::Poisoned(why.clone()),
        }
    }

    fn sent(&self) -> Sent {
        match self {
            Failure::Now(_) => Sent::InDoubt(self.error()),
            Failure::Full(_) | Failure::Before(_) => {
                Sent::Refused(Refusal::Unavailable(self.error().to_string()))
            }
        }
    }
}

impl<S: Storage> fmt::Debug for FileQueue<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = self.shared.lock();
        f.debug_struct("FileQueue")
            .field("storage", &core.storage)
            .field("depth", &core.state.depth())
            .field("poisoned", &core.poisoned)
            .finish_non_exhaustive()
    }
}

impl<S: Storage> fmt::Debug for FileSession<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSession").field("number", &self.number).finish_non_exhaustive()
    }
}

/// Opens the queue in a directory of real files, which is created if it is missing.
///
/// # Errors
/// Those of [`RealDir::open`] and of [`FileQueue::open`].
pub fn open_dir(path: &Path, settings: &Settings) -> Result<FileQueue<RealDir>, Error> {
    // So that a wrong setting leaves no trace on the disk.
    settings.validate()?;
    FileQueue::open(RealDir::open(path)?, settings)
}

impl<S: Storage> FileQueue<S> {
    /// Opens the queue that is stored there, or begins one.
    ///
    /// Files that are not the queue's own are left alone.
    ///
    /// # Errors
    /// [`Error::Invalid`] for settings that make no sense; [`Error::Corrupt`] for damage that is more than an
    /// unfinished last commit, with nothing changed; [`Error::Io`] if the system refuses, or the log was
    /// written in another format.
    pub fn open(storage: S, settings: &Settings) -> Result<FileQueue<S>, Error> {
        FileQueue::open_rewriting_from(storage, settings, REWRITE_FROM)
    }

    /// The same, with the log rewritten from another length on.
    pub(super) fn open_rewriting_from(
        storage: S,
        settings: &Settings,
        rewrite_from: u64,
    ) -> Result<FileQueue<S>, Error> {
        settings.validate()?;
        let (state, log, recovered) = recover(&storage, settings)?;
        let core = Core {
            storage,
            settings: settings.clone(),
            state,
            life: log.number(),
            receipts: 0,
            sessions: 0,
            rewrite_from,
            rewrite_at: log.end().saturating_mul(2).max(rewrite_from),
            log,
            poisoned: None,
        };
        let shared = Shared { settings: settings.clone(), recovered, core: Mutex::new(core) };
        Ok(FileQueue { shared: Arc::new(shared) })
    }

    /// What opening it found.
    pub fn recovered(&self) -> Recovered {
        self.shared.recovered
    }
}

impl<S: Storage> Broker for FileQueue<S> {
    type Session = FileSession<S>;

    fn contract(&self) -> Contract {
        Contract {
            capacity: Some(self.shared.settings.capacity as u64),
            body_limit: Some(BODY_LIMIT),
            deliveries_allowed: Some(self.shared.settings.deliveries_allowed),
            counting: Counting { crash: Count::Maybe, ..Counting::AT_HAND_OVER },
            ..Contract::durable()
        }
    }

    fn session(&self) -> Result<FileSession<S>, Error> {
        let mut core = self.shared.lock();
        core.working().map_err(|failure| failure.error())?;
        core.sessions += 1;
        Ok(FileSession { shared: Arc::clone(&self.shared), number: core.sessions })
    }
}

impl<S: Storage> Shared<S> {
    fn lock(&self) -> MutexGuard<'_, Core<S>> {
        self.core.lock().unwrap_or_else(|panicked: PoisonError<_>| {
            let mut core = panicked.into_inner();
            core.poisoned.get_or_insert_with(|| "a thread panicked inside the queue".to_owned());
            core
        })
    }
}

impl<S: Storage> Core<S> {
    fn working(&self) -> Result<(), Failure> {
        self.poisoned.as_ref().map_or(Ok(()), |why| Err(Failure::Before(why.clone())))
    }

    fn poison(&mut self, error: impl ToString) -> Failure {
        let why = error.to_string();
        self.poisoned = Some(why.clone());
        Failure::Now(why)
    }

    /// Makes the records durable, then true. With nothing to say it writes nothing.
    fn commit(&mut self, records: &[Record]) -> Result<(), Failure> {
        self.working()?;
        if records.is_empty() {
            return Ok(());
        }
        let handed = self.state.unrecorded();
        match self.log.commit(handed.iter().chain(records)) {
            Ok(()) => {}
            Err(CommitError::Full) => {
                let name = Name::Log(self.log.number()).to_string();
                return Err(Failure::Full(self.storage.locate(&name)));
            }
            Err(CommitError::Broken(error)) => return Err(self.poison(error)),
        }
        for record in handed.iter().chain(records) {
            self.state.apply(record).map_err(|impossible| self.poison(impossible))?;
        }
        if self.log.end() >= self.rewrite_at {
            self.rewrite();
        }
        Ok(())
    }

    /// Begins a new log with the present state and removes the old one.
    fn rewrite(&mut self) {
        let old = self.log.number();
        let Some(number) = old.checked_add(1) else { return };
        match Log::begin(&self.storage, number, salt_seed(&self.settings), self.state.snapshot()) {
            Ok(log) => {
                if let Err(error) = log.publish(&self.storage) {
                    // What was committed before is in both logs; but which one the next open finds is unknown.
                    self.poison(error);
                    return;
                }
                self.log = log;
                // If it stays, it is in nobody's way, and the next open tries again.
                let _ = self.storage.remove(&Name::Log(old).to_string());
                self.rewrite_at = self.log.end().saturating_mul(2).max(self.rewrite_from);
            }
            Err(_) => {
                // The old log is as good as ever; try again when it has doubled.
                let _ = self.storage.remove(&Name::Unfinished(number).to_string());
                self.rewrite_at = self.rewrite_at.saturating_mul(2);
            }
        }
    }

    /// Ends what time has ended: the first thing every operation does. Answers the present instant.
    fn sweep(&mut self) -> Result<Time, Failure> {
        self.working()?;
        let now = self.settings.clock.now();
        let expired: Vec<Record> =
            self.state.expired(now).map(|id| self.end_attempt(id, Time::ZERO)).collect();
        self.commit(&expired)?;
        self.state.promote(now);
        Ok(now)
    }

    fn end_attempt(&self, id: u64, due: Time) -> Record {
        self.state.end_attempt(id, self.settings.deliveries_allowed, due)
    }

    fn send(&mut self, messages: &[Message]) -> Result<Vec<Sent>, Failure> {
        let now = self.sweep()?;
        let mut room = self.settings.capacity.saturating_sub(self.state.resident());
        let mut records = Vec::new();
        let mut outcomes = Vec::with_capacity(messages.len());
        for message in messages {
            outcomes.push(if too_large(message) {
                Sent::Refused(Refusal::TooLarge)
            } else if room == 0 {
                Sent::Refused(Refusal::Full)
            } else {
                room -= 1;
                let id = self.state.next_id() + records.len() as u64;
                records.push(Record::Stored(Stored {
                    id,
                    due: due(now, message.delay),
                    attempts: 0,
                    handed: false,
                    key: message.key.clone(),
                    body: Arc::clone(&message.body),
                }));
                Sent::Confirmed(MessageId(id))
            });
        }
        if let Err(failure) = self.commit(&records) {
            for outcome in &mut outcomes {
                if matches!(outcome, Sent::Confirmed(_)) {
                    *outcome = failure.sent();
                }
            }
        }
        Ok(outcomes)
    }

    fn receive(&mut self, session: u64, max: usize, lease: Duration) -> Result<Vec<Delivery>, Failure> {
        let now = self.sweep()?;
        let mut deliveries = Vec::new();
        while deliveries.len() < max {
            let receipt = Receipt(u128::from(self.life) << 64 | u128::from(self.receipts));
            let lease = Lease { receipt, session, deadline: now + lease };
            let Some(delivery) = self.state.hand_out(lease) else { break };
            self.receipts += 1;
            deliveries.push(delivery);
        }
        Ok(deliveries)
    }

    fn settle(&mut self, settlements: &[Settlement]) -> Result<Vec<Settled>, Failure> {
        let now = self.sweep()?;
        let mut records = Vec::new();
        let mut settled = HashSet::new();
        let mut outcomes = Vec::with_capacity(settlements.len());
        for Settlement { receipt, how } in settlements {
            let held = self.state.held_under(*receipt).filter(|_| settled.insert(*receipt));
            outcomes.push(held.map_or(Settled::Stale, |_| Settled::Done));
            records.extend(held.map(|id| match how {
                Settle::Ack => Record::Acked { id },
                Settle::Nack { delay } => self.end_attempt(id, due(now, *delay)),
                Settle::Reject => Record::Dead {
                    id,
                    reason: Reason::Rejected,
                    attempts: self.state.attempts(id).saturating_add(1),
                },
            }));
        }
        if let Err(failure) = self.commit(&records) {
            for outcome in &mut outcomes {
                if matches!(outcome, Settled::Done) {
                    *outcome = Settled::InDoubt(failure.error());
                }
            }
        }
        Ok(outcomes)
    }

    fn extend(&mut self, receipt: Receipt, lease: Duration) -> Result<Settled, Failure> {
        let now = self.sweep()?;
        let Some(id) = self.state.held_under(receipt) else { return Ok(Settled::Stale) };
        self.state.extend(id, now + lease);
        Ok(Settled::Done)
    }

    fn redrive(&mut self, max: usize) -> Result<usize, Failure> {
        self.sweep()?;
        let room = self.settings.capacity.saturating_sub(self.state.resident());
        let records: Vec<Record> = self
            .state
            .dead_letters()
            .take(max.min(room))
            .map(|letter| Record::Redriven { id: letter.id.0 })
            .collect();
        self.commit(&records)?;
        Ok(records.len())
    }

    /// The session is lost: what it holds is returned.
    fn lose(&mut self, session: u64) -> Result<(), Failure> {
        self.sweep()?;
        let ended: Vec<Record> =
            self.state.held_by(session).map(|id| self.end_attempt(id, Time::ZERO)).collect();
        self.commit(&ended)
    }
}

fn too_large(message: &Message) -> bool {
    let key = message.key.as_deref().map_or(0, <[u8]>::len);
    message.body.len().max(key) as u64 > BODY_LIMIT.0
}

/// When a delay that begins now ends; at once if there is none.
fn due(now: Time, delay: Duration) -> Time {
    if delay.is_zero() { Time::ZERO } else { now + delay }
}

impl<S: Storage> Session for FileSession<S> {
    fn send(&mut self, messages: &[Message]) -> Vec<Sent> {
        let outcome = self.shared.lock().send(messages);
        // The sweep failed: nothing of this call was written.
        outcome.unwrap_or_else(|failure| {
            let refusal = Refusal::Unavailable(failure.error().to_string());
            messages.iter().map(|_| Sent::Refused(refusal.clone())).collect()
        })
    }

    fn receive(&mut self, max: usize, lease: Duration) -> Result<Vec<Delivery>, Error> {
        Error::check_receive(max, lease)?;
        self.shared.lock().receive(self.number, max, lease).map_err(|failure| failure.error())
    }

    fn settle(&mut self, settlements: &[Settlement]) -> Vec<Settled> {
        let outcome = self.shared.lock().settle(settlements);
        outcome
            .unwrap_or_else(|failure| settlements.iter().map(|_| Settled::InDoubt(failure.error())).collect())
    }

    fn extend(&mut self, receipt: Receipt, lease: Duration) -> Settled {
        let outcome = self.shared.lock().extend(receipt, lease);
        outcome.unwrap_or_else(|failure| Settled::InDoubt(failure.error()))
    }

    fn dead_letters(&mut self, max: usize) -> Result<Vec<DeadLetter>, Error> {
        let mut core = self.shared.lock();
        core.sweep().map_err(|failure| failure.error())?;
        Ok(core.state.dead_letters().take(max).collect())
    }

    fn redrive(&mut self, max: usize) -> Result<usize, Error> {
        self.shared.lock().redrive(max).map_err(|failure| failure.error())
    }

    fn depth(&mut self) -> Result<Depth, Error> {
        let mut core = self.shared.lock();
        core.sweep().map_err(|failure| failure.error())?;
        Ok(core.state.depth())
    }
}

impl<S: Storage> Drop for FileSession<S> {
    fn drop(&mut self) {
        // If that fails the queue is poisoned, or full and the leases run out in time.
        let _ = self.shared.lock().lose(self.number);
    }
}

impl<S: Storage> Drop for Core<S> {
    fn drop(&mut self) {
        // A witness for the last commit: without it, damage there would look like a torn end. If it cannot be
        // written, nothing but that is lost.
        let _ = self.commit(&[Record::Closed]);
    }
}
