//! The callers that share one commit: where they wait, and how one of them comes to lead it.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::failure::Failure;
use crate::sync::{Condvar, Mutex, MutexGuard};

/// One commit as those see it who wait for it.
#[derive(Debug, Default)]
pub(super) struct Batch {
    callers: AtomicUsize,
    progress: Mutex<Progress>,
    pub(super) changed: Condvar,
}

#[derive(Debug, Default)]
pub(super) enum Progress {
    #[default]
    Open,
    /// One of its callers is to lead it, and has not taken notice yet.
    Baton,
    Ended(Outcome),
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
        *self.progress() = Progress::Baton;
        self.changed.notify_one();
    }

    /// Releases all of its callers.
    pub(super) fn end(&self, outcome: Outcome) {
        *self.progress() = Progress::Ended(outcome);
        self.changed.notify_all();
    }

    pub(super) fn wait(&self) -> Woken {
        let mut progress = self.progress();
        loop {
            match &*progress {
                Progress::Open => {}
                Progress::Baton => {
                    *progress = Progress::Open;
                    return Woken::Lead;
                }
                Progress::Ended(outcome) => return Woken::Ended(outcome.clone()),
            }
            progress = self.changed.wait(progress).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether it has not ended, and nobody is to lead it.
    pub(super) fn is_open(&self) -> bool {
        matches!(*self.progress(), Progress::Open)
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
