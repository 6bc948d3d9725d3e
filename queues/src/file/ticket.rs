//! The answer to a call that does not wait for its commit.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::batch::{Batch, Outcome};
use super::commit::Shared;
use super::failure::Failure;
use super::heartbeat::Heartbeat;
use super::mistake::Mistake;
use super::storage::Storage;
use crate::broker::{Sent, Settled};

/// What [`FileSession::begin_send`](super::FileSession::begin_send) and
/// [`begin_settle`](super::FileSession::begin_settle) answer at once: the promise of one outcome per item, in order, once
/// they are durable or have failed. Many of them share a commit, and one thread can have many of them open:
///
/// ```
/// use std::collections::VecDeque;
/// use stanchion_queues::file::open_dir;
/// use stanchion_queues::{Broker, Message, Sent, Settings};
///
/// # let directory = tempfile::tempdir()?;
/// let queue = open_dir(directory.path(), &Settings::new())?;
/// let mut session = queue.session()?;
/// let mut open = VecDeque::new();
/// for number in 0..1000 {
///     if open.len() == 64 {
///         let oldest: stanchion_queues::file::Ticket<_, Sent> = open.pop_front().expect("64 of them");
///         assert!(matches!(oldest.wait()[..], [Sent::Confirmed(_)]));
///     }
///     open.push_back(session.begin_send(&[Message::new(format!("order {number}").as_bytes())]));
/// }
/// for ticket in open {
///     assert!(matches!(ticket.wait()[..], [Sent::Confirmed(_)]));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Wait for it with [`Ticket::wait`], look with [`Ticket::is_settled`], or `.await` it: it needs no runtime, and blocks
/// none. A ticket that is dropped takes nothing back: what it is about is committed with what comes next, and whether it
/// was, nobody learns. A process that ends before has perhaps not stored it.
///
/// Who commits, if nobody waits: the thread of a queue that [`open_dir`](super::open_dir) opened. One that
/// [`FileQueue::open`](super::FileQueue::open) opened on a storage of yours has none, and commits when somebody waits for a
/// ticket or makes any other call that commits.
#[must_use = "until it has been waited for, nothing is known to be durable"]
pub struct Ticket<S: Storage, A> {
    shared: Arc<Shared<S>>,
    /// Its thread commits what nobody waits for.
    _heartbeat: Option<Arc<Heartbeat>>,
    /// `None`: nothing was left to commit.
    batch: Option<Arc<Batch>>,
    /// Of which kind it is in an [`Outcome`].
    sends: bool,
    /// What they are if the batch is made durable.
    answers: Vec<A>,
    failed: fn(&Failure, &mut [A]),
    /// Where the batch keeps the waker.
    place: Option<usize>,
}

/// What a call decided, and the batch that makes it true.
pub(super) struct Begun<A> {
    pub(super) batch: Option<Arc<Batch>>,
    pub(super) answers: Vec<A>,
}

impl<S: Storage, A> Ticket<S, A> {
    fn new(
        shared: &Arc<Shared<S>>,
        heartbeat: Option<&Arc<Heartbeat>>,
        begun: Begun<A>,
        sends: bool,
        failed: fn(&Failure, &mut [A]),
    ) -> Ticket<S, A> {
        let Begun { batch, answers } = begun;
        let (shared, _heartbeat) = (Arc::clone(shared), heartbeat.cloned());
        Ticket { shared, _heartbeat, batch, sends, answers, failed, place: None }
    }

    /// Waits until it is settled, and commits for all who share the commit if nobody else does: one outcome per item, in
    /// order, those of [`Session::send`](crate::Session::send) and [`Session::settle`](crate::Session::settle).
    pub fn wait(mut self) -> Vec<A> {
        let outcome = self.batch.as_ref().map(|batch| self.shared.wait_for(batch));
        self.answers(outcome)
    }

    /// Whether [`Ticket::wait`] would answer at once.
    pub fn is_settled(&self) -> bool {
        self.batch.as_ref().is_none_or(|batch| batch.ended().is_some())
    }

    fn answers(&mut self, outcome: Option<Outcome>) -> Vec<A> {
        let mut answers = mem::take(&mut self.answers);
        let outcome = outcome.map_or(Ok(()), |ended| if self.sends { ended.sends } else { ended.others });
        if let Err(failure) = outcome {
            (self.failed)(&failure, &mut answers);
        }
        answers
    }
}

impl<S: Storage> Ticket<S, Sent> {
    pub(super) fn of_sends(
        shared: &Arc<Shared<S>>,
        heartbeat: Option<&Arc<Heartbeat>>,
        begun: Begun<Sent>,
    ) -> Ticket<S, Sent> {
        Ticket::new(shared, heartbeat, begun, true, Failure::of_sends)
    }
}

impl<S: Storage> Ticket<S, Settled> {
    pub(super) fn of_settlements(
        shared: &Arc<Shared<S>>,
        heartbeat: Option<&Arc<Heartbeat>>,
        begun: Begun<Settled>,
    ) -> Ticket<S, Settled> {
        Ticket::new(shared, heartbeat, begun, false, Failure::of_settlements)
    }
}

impl<S: Storage, A: Unpin> Future for Ticket<S, A> {
    type Output = Vec<A>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Vec<A>> {
        let Ticket { shared, batch, place, .. } = &mut *self;
        let outcome = match batch {
            Some(batch) if !shared.makes(Mistake::AnswersTickets) => {
                match batch.ended_or_wake(place, context.waker()) {
                    None => return Poll::Pending,
                    ended => ended,
                }
            }
            _ => None,
        };
        Poll::Ready(self.answers(outcome))
    }
}

impl<S: Storage, A> fmt::Debug for Ticket<S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (items, settled) = (self.answers.len(), self.is_settled());
        f.debug_struct("Ticket").field("items", &items).field("settled", &settled).finish_non_exhaustive()
    }
}
