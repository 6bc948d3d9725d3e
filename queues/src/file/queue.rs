//! The queue as its callers see it: opening it, its contract and its sessions.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::commit::{Limits, Shared};
use super::failure::Failure;
use super::heartbeat::Heartbeat;
use super::log::Sizes;
use super::real::RealDir;
use super::recovery::{Recovered, recover};
use super::storage::Storage;
use super::ticket::{Begun, Ticket};
use crate::broker::{
    Broker, DeadLetter, Delivery, Depth, Error, Message, Receipt, Refusal, Sent, Session, Settings, Settled,
    Settlement,
};
use crate::contract::{Bytes, Contract, Count, Counting};

/// The largest body, and the largest key.
pub const BODY_LIMIT: Bytes = Bytes(64 << 20);

pub(super) const LIMITS: Limits =
    Limits { sizes: Sizes { least: 256 << 10, most: 64 << 20 }, recent: 64 << 20 };

/// A queue in files: a send is confirmed, and a settlement done, only after it is synced.
///
/// It survives the kill of its process and the loss of power. Sessions of many threads share syncs: whoever
/// comes while one is on its way is in the next. Its log is a chain of segments (their format is in
/// `queues/FILE_FORMAT.md`): those that hold nothing any more are used again, and those that hold little are emptied, so that the
/// disk holds about three times what is stored, or four segments. A message that waits takes some fifteen bytes of memory;
/// the latest bodies are kept besides (64 MiB of them), others are read back. Opening it reads the indexes of full
/// segments and the frames of the last one, begins a new segment, and checks a body only when it is delivered.
///
/// # Tickets
/// [`FileSession::begin_send`] and [`FileSession::begin_settle`] do not wait for the sync: their [`Ticket`] can be waited for
/// later or awaited. So one thread has as many on their way as it likes, in the same commits as everybody else.
///
/// # Leases
/// A lease ends with its session and with the process: nobody is left who could hold it. So neither a lease nor what was
/// added to one is written, and after a restart what was in flight is ready at once. What restarts keep is what they would
/// change: attempts, and delays. Where a full disk has no space left to say that a session was lost, what it held is ready as
/// soon as there is.
///
/// # Attempts
/// A first delivery writes nothing. Every *ending* of an attempt that an operation brings about or notices
/// (nack, reject, expiry, loss of the session) is durable before that operation answers. That an attempt has
/// *begun* is written along with the next commit; so an attempt that a crash ended counts if a commit
/// began after the delivery and succeeded, and otherwise does not (but for one that the crash cut off, if it is found to be
/// whole). A lease that ran out before a crash, and of which no
/// operation took notice before it, was ended by the crash.
///
/// A message that kills every process that receives it comes to its end all the same: after a life that was not
/// closed, the messages that it left behind are delivered only when a record says so, which costs their receive a
/// commit; also in later lives, until none of them is left. So only the first such death goes uncounted, and those on a disk
/// so full that no message would be taken.
///
/// # Failures
/// After a failed write or sync nothing is known, and nothing is confirmed: what was being committed is in
/// doubt, later sends are refused as unavailable, everything else answers [`Error::Poisoned`]. Opening the
/// queue again recovers. A full disk is not such a failure: what did not fit is durably absent, sends are
/// refused as unavailable, and once there is space the queue goes on; nor is a process that may open no more files. (A queue
/// has some twenty open, however many segments it has.) Sends leave space for settlements:
/// enough for each message that waits or is in flight to be settled in a call of its own, but no more than a segment as long as
/// the longest (64 MiB at most). That is enough for some 120 000 calls that settle, or notice that leases ran out, whatever
/// they settle and however many messages each, where commits are of sectors, and for 16 000 where they are of pages
/// ([`Block`](super::storage::Block)). Acks make room as they go. So messages that were sent one by one can be acked one by
/// one, in about their order (those that are redriven meanwhile come on top); where more of them wait that were sent in batches, they may have to be acked in batches: space
/// for each of them singly would be up to forty times what they take themselves. When that space is used up settlements
/// are in doubt with [`Error::Io`], nothing changed, and they work again once there is room.
///
/// A message whose stored bytes are damaged is not delivered, and holds up no other. The first receive that comes upon it
/// answers [`Error::Corrupt`], with its segment, its place there and its number (or [`Error::Io`] where the disk does not read
/// it), and gives back whatever else it took. From then on, until the queue is opened again, it stands behind all that
/// can be read: receives deliver the others, and one that finds nothing else tries it again and answers the error
/// again, never "empty". It is still counted as ready, and takes its slot of the capacity. With dead letters it is the same: the first look that comes
/// upon a damaged one answers the error; later ones show the others, try it again where they were asked for more than
/// those, and answer the error again where there are no others, never "none". A redrive reads nothing: it takes damaged ones along,
/// and the receive that comes upon one says so. When its segment is given up, what is left of it is carried along, and from then on it stays
/// damaged; `salvage` leaves it out, and says so.
pub struct FileQueue<S: Storage> {
    /// Ends before the queue does.
    heartbeat: Option<Arc<Heartbeat>>,
    pub(super) shared: Arc<Shared<S>>,
}

/// A session of a [`FileQueue`]. Dropping it returns what it holds, durably where there is space.
pub struct FileSession<S: Storage> {
    heartbeat: Option<Arc<Heartbeat>>,
    shared: Arc<Shared<S>>,
    number: u64,
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
/// While it is open, a thread of its own writes (a block, and syncs it) whenever nothing was committed for
/// five milliseconds: only then is damage to the last commit known from a commit that was torn when the power failed.
///
/// # Errors
/// Those of [`RealDir::open`] and of [`FileQueue::open`].
pub fn open_dir(path: &Path, settings: &Settings) -> Result<FileQueue<RealDir>, Error> {
    // So that a wrong setting leaves no trace on the disk.
    settings.validate()?;
    open_taken(RealDir::open(path)?, settings)
}

/// The same for a directory that is already taken.
pub(super) fn open_taken(directory: RealDir, settings: &Settings) -> Result<FileQueue<RealDir>, Error> {
    let mut queue = FileQueue::open(directory, settings)?;
    queue.start_heartbeat()?;
    Ok(queue)
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
        FileQueue::open_within(storage, settings, LIMITS)
    }

    /// The same, within other limits.
    pub(super) fn open_within(
        storage: S,
        settings: &Settings,
        limits: Limits,
    ) -> Result<FileQueue<S>, Error> {
        settings.validate()?;
        let opened = recover(&storage, settings, limits.sizes)?;
        let shared = Arc::new(Shared::new(storage, settings, limits, opened));
        Ok(FileQueue { heartbeat: None, shared })
    }

    /// From now on it says durably, whenever it has come to rest, that its last commit is durable.
    pub(super) fn start_heartbeat(&mut self) -> Result<(), Error> {
        let heartbeat = Heartbeat::start(Arc::clone(&self.shared)).map_err(|source| Error::Io {
            action: "start a thread for",
            path: self.storage().locate(""),
            source,
            remedy: "Let fewer threads run, or more",
        })?;
        self.heartbeat = Some(Arc::new(heartbeat));
        Ok(())
    }

    /// Where it is stored, for what that can tell: as the [`Mode`](super::Mode) of a [`RealDir`].
    pub fn storage(&self) -> S {
        self.shared.lock().storage.clone()
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
            damage_noticed: true,
            sole_owner: true,
            counting: Counting { crash: Count::Maybe, ..Counting::AT_HAND_OVER },
            ..Contract::durable()
        }
    }

    fn session(&self) -> Result<FileSession<S>, Error> {
        let mut core = self.shared.lock();
        core.working().map_err(|failure| failure.error())?;
        core.sessions += 1;
        let (heartbeat, shared) = (self.heartbeat.clone(), Arc::clone(&self.shared));
        Ok(FileSession { heartbeat, shared, number: core.sessions })
    }
}

impl<S: Storage> FileSession<S> {
    /// [`Session::send`] without the wait for its commit: a message has its place in the order when this returns, and is
    /// seen by nobody before it is durable. This waits only where its answer depends on what is not durable yet: leases
    /// that ran out just now, or a queue that is full if all on their way arrive. Where a full disk refuses it, it is not
    /// tried again, as [`Session::send`] does where the same commit made room.
    pub fn begin_send(&mut self, messages: &[Message]) -> Ticket<S, Sent> {
        let begun = self.shared.begin_send(messages);
        let begun =
            begun.unwrap_or_else(|failure| Begun { batch: None, answers: refused(&failure, messages) });
        Ticket::of_sends(&self.shared, self.heartbeat.as_ref(), begun)
    }

    /// [`Session::settle`] without the wait for its commit. Until then the deliveries are neither settled nor free: whoever
    /// settles one of them again, or extends it, waits for that commit, and so does the end of its lease.
    pub fn begin_settle(&mut self, settlements: &[Settlement]) -> Ticket<S, Settled> {
        let begun = self.shared.begin_settle(settlements);
        let begun =
            begun.unwrap_or_else(|failure| Begun { batch: None, answers: in_doubt(&failure, settlements) });
        Ticket::of_settlements(&self.shared, self.heartbeat.as_ref(), begun)
    }
}

/// The sweep failed: nothing of this call was written.
fn refused(failure: &Failure, messages: &[Message]) -> Vec<Sent> {
    let refusal = Refusal::Unavailable(failure.error().to_string());
    messages.iter().map(|_| Sent::Refused(refusal.clone())).collect()
}

fn in_doubt(failure: &Failure, settlements: &[Settlement]) -> Vec<Settled> {
    settlements.iter().map(|_| Settled::InDoubt(failure.error())).collect()
}

impl<S: Storage> Session for FileSession<S> {
    fn send(&mut self, messages: &[Message]) -> Vec<Sent> {
        self.shared.send(messages).unwrap_or_else(|failure| refused(&failure, messages))
    }

    fn receive(&mut self, max: usize, lease: Duration) -> Result<Vec<Delivery>, Error> {
        Error::check_receive(max, lease)?;
        self.shared.receive(self.number, max, lease)
    }

    fn settle(&mut self, settlements: &[Settlement]) -> Vec<Settled> {
        self.shared.settle(settlements).unwrap_or_else(|failure| in_doubt(&failure, settlements))
    }

    fn extend(&mut self, receipt: Receipt, lease: Duration) -> Settled {
        let outcome = self.shared.extend(receipt, lease);
        outcome.unwrap_or_else(|failure| Settled::InDoubt(failure.error()))
    }

    fn dead_letters(&mut self, max: usize) -> Result<Vec<DeadLetter>, Error> {
        self.shared.dead_letters(max)
    }

    fn redrive(&mut self, max: usize) -> Result<usize, Error> {
        self.shared.redrive(max).map_err(|failure| failure.error())
    }

    fn depth(&mut self) -> Result<Depth, Error> {
        let (core, _) = self.shared.sweep().map_err(|failure| failure.error())?;
        Ok(core.state.depth())
    }
}

impl<S: Storage> Drop for FileSession<S> {
    fn drop(&mut self) {
        // If that fails the queue is poisoned, or full and whoever looks next says so.
        let _ = self.shared.lose(self.number);
    }
}
