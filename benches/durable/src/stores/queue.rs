//! The file queue: what is stored can be received, acked and dead-lettered, and torn tails are told from damage.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stanchion_queues::file::storage::Storage;
use stanchion_queues::file::{FileQueue, FileSession, Mode, RealDir};
use stanchion_queues::{Broker, Message, Sent, Session, Settings, Settle, Settled, Settlement};

use crate::Failure;
use crate::store::{Client, Store};

/// So long that it never ends in a trial.
pub(crate) const LEASE: Duration = Duration::from_secs(3600);

/// The file queue over any storage.
#[derive(Debug)]
pub struct Queue<S: Storage = RealDir>(FileQueue<S>);

/// How it commits where all stores of a run are.
///
/// # Errors
/// Those of opening it; or it has not found out.
pub(crate) fn mode() -> Result<Mode, Failure> {
    let directory = crate::scratch()?;
    let queue = Queue::open(directory.path())?;
    queue.0.storage().mode().ok_or_else(|| "it was not asked of the file system".into())
}

impl<S: Storage> Queue<S> {
    /// Opens the queue that is stored there.
    ///
    /// # Errors
    /// Those of [`FileQueue::open`].
    pub fn over(storage: S) -> Result<Queue<S>, Failure> {
        let settings = Settings { capacity: 1 << 24, ..Settings::new() };
        Ok(Queue(FileQueue::open(storage, &settings)?))
    }

    /// A session of it.
    ///
    /// # Errors
    /// Those of [`Broker::session`].
    pub fn session(&self) -> Result<FileSession<S>, Failure> {
        Ok(self.0.session()?)
    }
}

impl Store for Queue {
    type Client = FileSession<RealDir>;

    fn open(directory: &Path) -> Result<Queue, Failure> {
        Queue::over(RealDir::open(directory)?)
    }

    fn client(&self) -> Result<FileSession<RealDir>, Failure> {
        self.session()
    }

    fn contents(directory: &Path, visit: &mut dyn FnMut(&[u8])) -> Result<(), Failure> {
        let mut session = Queue::open(directory)?.session()?;
        let depth = session.depth()?;
        let rest = depth.in_flight + depth.delayed + depth.dead;
        if rest > 0 {
            return Err(format!("{rest} messages cannot be received: {depth:?}").into());
        }
        let ready = usize::try_from(depth.ready)?;
        if ready > 0 {
            session.receive(ready, LEASE)?.iter().for_each(|delivery| visit(&delivery.body));
        }
        Ok(())
    }
}

impl<S: Storage> Client for FileSession<S> {
    fn send(&mut self, messages: &[Message]) -> Result<(), Failure> {
        let sent = Session::send(self, messages);
        match sent.into_iter().find(|sent| !matches!(sent, Sent::Confirmed(_))) {
            None => Ok(()),
            Some(other) => Err(format!("a send was not confirmed: {other:?}").into()),
        }
    }

    fn consume(&mut self) -> Result<Option<Arc<[u8]>>, Failure> {
        let Some(delivery) = self.receive(1, LEASE)?.pop() else { return Ok(None) };
        let ack = Settlement { receipt: delivery.receipt, how: Settle::Ack };
        match self.settle(&[ack]).pop() {
            Some(Settled::Done) => Ok(Some(delivery.body)),
            other => Err(format!("an ack was not done: {other:?}").into()),
        }
    }
}
