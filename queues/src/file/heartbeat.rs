//! A thread that leads a batch in which nobody waits, and says durably, when a queue has come to rest, that its last commit
//! is durable: see `Shared::witness`.

use std::fmt;
use std::io;
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

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Something was committed that no witness is about.
    rung: bool,
    /// A batch is to be led in which nobody waits.
    called: bool,
    over: bool,
}

impl Bell {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// Something was committed that no witness is about.
    pub(super) fn ring(&self) {
        self.set(|state| state.rung = true);
    }

    /// A batch is to be led in which nobody waits.
    pub(super) fn call(&self) {
        self.set(|state| state.called = true);
    }

    /// Waits for a ring or a call; `false`: it is over.
    fn wait(&self) -> bool {
        let silent = |state: &mut State| !(state.rung || state.called || state.over);
        let mut state = self.changed.wait_while(self.state(), silent).unwrap_or_else(PoisonError::into_inner);
        state.rung = false;
        !state.over
    }

    /// Whether it was rung; it is not any more.
    #[cfg(test)]
    pub(super) fn take_ring(&self) -> bool {
        mem::take(&mut self.state().rung)
    }

    /// Whether somebody was called; it is answered.
    fn take_call(&self) -> bool {
        mem::take(&mut self.state().called)
    }

    /// Lets time pass until somebody is called; `false`: it is over.
    fn pause(&self) -> bool {
        let quiet = |state: &mut State| !(state.called || state.over);
        let paused = self.changed.wait_timeout_while(self.state(), QUIET, quiet);
        let (state, _) = paused.unwrap_or_else(PoisonError::into_inner);
        !state.over
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
                loop {
                    if shared.bell.take_call() {
                        shared.lead_unwaited();
                    }
                    if !shared.is_restless(&mut before) {
                        break;
                    }
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
        self.bell.set(|state| state.over = true);
        // So that nothing holds the directory any more once the queue is dropped. It may be dropped by whom the thread woke.
        if let Some(thread) = self.thread.take().filter(|thread| !thread.is_current()) {
            thread.join();
        }
    }
}
