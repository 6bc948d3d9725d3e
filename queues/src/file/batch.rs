//! The callers that share one commit: where they wait, and how one of them comes to lead it.

use std::mem;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use super::failure::Failure;
use crate::sync::{Condvar, Mutex, MutexGuard};

/// One commit as those see it who wait for it.
#[derive(Debug, Default)]
pub(super) struct Batch {
    callers: AtomicUsize,
    seen: Mutex<Seen>,
    pub(super) changed: Condvar,
}

/// What those see who look at it.
#[derive(Debug, Default)]
pub(super) struct Seen {
    progress: Progress,
    /// Whom to tell of its end who does not wait.
    wakers: Vec<Waker>,
}

#[derive(Debug, Default)]
enum Progress {
    #[default]
    Open,
    /// Whoever comes first is to lead it.
    Baton,
    Ended(Outcome),
}

impl Seen {
    /// Whether whoever asks is to lead it now.
    fn take_baton(&mut self) -> bool {
        let lies = matches!(self.progress, Progress::Baton);
        if lies {
            self.progress = Progress::Open;
        }
        lies
    }

    /// How it ended, if it has.
    fn ended(&self) -> Option<Outcome> {
        match &self.progress {
            Progress::Ended(outcome) => Some(outcome.clone()),
            Progress::Open | Progress::Baton => None,
        }
    }
}

/// How a commit ended.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// For those who sent messages: these may have found no space where all else did.
    pub(super) sends: Result<(), Failure>,
    /// For all others.
    pub(super) others: Result<(), Failure>,
}

impl From<Result<(), Failure>> for Outcome {
    fn from(all: Result<(), Failure>) -> Outcome {
        Outcome { sends: all.clone(), others: all }
    }
}

/// What ends a caller's wait.
pub(super) enum Woken {
    Lead,
    Ended(Outcome),
}

impl Batch {
    /// One caller more.
    pub(super) fn join(&self) {
        self.callers.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn callers(&self) -> usize {
        self.callers.load(Ordering::Relaxed)
    }

    /// Makes one of its callers lead it.
    pub(super) fn pass_baton(&self) {
        self.seen().progress = Progress::Baton;
        self.changed.notify_one();
    }

    /// Whether the caller is to lead it now.
    pub(super) fn take_baton(&self) -> bool {
        self.seen().take_baton()
    }

    /// Releases those who wait: whom to wake when no lock of the queue is held any more, and somebody else can lead, for
    /// whoever is woken may call the queue there and then.
    pub(super) fn release(&self, outcome: Outcome) -> Vec<Waker> {
        let mut seen = self.seen();
        seen.progress = Progress::Ended(outcome);
        let wakers = mem::take(&mut seen.wakers);
        drop(seen);
        self.changed.notify_all();
        wakers
    }

    /// How it ended, if it has.
    pub(super) fn ended(&self) -> Option<Outcome> {
        self.seen().ended()
    }

    /// The same; if it has not, this waker is told of its end. A place is one waker's from its first look on.
    pub(super) fn ended_or_wake(&self, place: &mut Option<usize>, waker: &Waker) -> Option<Outcome> {
        // What a waker does when it is cloned or dropped is not ours: it does so under no lock.
        let mut waker = waker.clone();
        let mut seen = self.seen();
        let ended = seen.ended();
        if ended.is_none() {
            match place {
                Some(place) => mem::swap(&mut seen.wakers[*place], &mut waker),
                None => {
                    *place = Some(seen.wakers.len());
                    seen.wakers.push(mem::replace(&mut waker, Waker::noop().clone()));
                }
            }
        }
        drop(seen);
        ended
    }

    pub(super) fn wait(&self) -> Woken {
        let mut seen = self.seen();
        loop {
            if seen.take_baton() {
                return Woken::Lead;
            }
            if let Some(outcome) = seen.ended() {
                return Woken::Ended(outcome);
            }
            seen = self.changed.wait(seen).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether it has not ended, and nobody is to lead it.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.seen().progress, Progress::Open)
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
