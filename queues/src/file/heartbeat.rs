//! A thread that says durably, when a queue has come to rest, that its last commit is durable: see
//! `Shared::witness`.

use std::fmt;
use std::io;
#[cfg(test)]
use std::mem;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::commit::Shared;
use super::storage::Storage;
use crate::sync::{self, Condvar, JoinHandle, Mutex, MutexGuard};

/// A queue has come to rest when nothing was committed for so long.
const QUIET: Duration = Duration::from_millis(5);

/// Tells the thread that there is something to do, or that it is over.
#[derive(Debug, Default)]
pub(super) struct Bell {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Silent,
    Rung,
    Over,
}

impl Bell {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, to: State) {
        let mut state = self.state();
        if *state != State::Over {
            *state = to;
            self.changed.notify_all();
        }
    }

    /// Something was committed that no witness is about.
    pub(super) fn ring(&self) {
        self.set(State::Rung);
    }

    /// Waits for a ring; `false`: it is over.
    fn wait(&self) -> bool {
        let silent = |state: &mut State| *state == State::Silent;
        let mut state = self.changed.wait_while(self.state(), silent).unwrap_or_else(PoisonError::into_inner);
        if *state == State::Over {
            return false;
        }
        *state = State::Silent;
        true
    }

    /// Whether it was rung; it is not any more.
    #[cfg(test)]
    pub(super) fn take_ring(&self) -> bool {
        let mut state = self.state();
        mem::replace(&mut *state, State::Silent) == State::Rung
    }

    /// Lets time pass; `false`: it is over.
    fn pause(&self) -> bool {
        let over = |state: &mut State| *state != State::Over;
        let paused = self.changed.wait_timeout_while(self.state(), QUIET, over);
        let (state, _) = paused.unwrap_or_else(PoisonError::into_inner);
        *state != State::Over
    }
}

/// The running thread; it ends when this is dropped.
pub(super) struct Heartbeat {
    bell: Arc<Bell>,
    thread: Option<JoinHandle>,
}

impl fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heartbeat").finish_non_exhaustive()
    }
}

impl Heartbeat {
    /// # Errors
    /// The system has no thread left.
    pub(super) fn start<S: Storage>(shared: Arc<Shared<S>>) -> io::Result<Heartbeat> {
        let bell = Arc::clone(&shared.bell);
        let thread = sync::spawn("stanchion-heartbeat", move || {
            while shared.bell.wait() {
                let mut before = None;
                while shared.is_restless(&mut before) {
                    if !shared.bell.pause() {
                        return;
                    }
                }
            }
        })?;
        Ok(Heartbeat { bell, thread: Some(thread) })
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.bell.set(State::Over);
        if let Some(thread) = self.thread.take() {
            // So that nothing holds the directory any more once the queue is dropped.
            thread.join();
        }
    }
}
