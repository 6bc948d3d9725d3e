//! A condition that others are told of.

use std::fmt;
use std::sync::{LockResult, PoisonError};
use std::time::Duration;

use super::mutex::{Mutex, MutexGuard};
use super::{DECIDED, decide};
use crate::clock::Time;

/// The condition variable of the standard library, whose turns can be decided; see the [module](super).
#[derive(Default)]
pub struct Condvar {
    inner: std::sync::Condvar,
}

/// Whether a wait ended because of its timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether it did.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    /// One at which nobody waits.
    pub const fn new() -> Condvar {
        Condvar { inner: std::sync::Condvar::new() }
    }

    /// Releases the lock and waits for a notice, then takes the lock again.
    ///
    /// # Errors
    /// As [`std::sync::Condvar::wait`]: somebody panicked with the lock.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        if DECIDED.get() {
            return self.wait_in_turn(guard, None).0;
        }
        let MutexGuard { inner, release } = guard;
        match self.inner.wait(inner) {
            Ok(inner) => Ok(MutexGuard { inner, release }),
            Err(poisoned) => Err(PoisonError::new(MutexGuard { inner: poisoned.into_inner(), release })),
        }
    }

    /// Waits while the condition holds.
    ///
    /// # Errors
    /// As [`std::sync::Condvar::wait_while`]: somebody panicked with the lock.
    pub fn wait_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<MutexGuard<'a, T>> {
        while condition(&mut guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// The same, but no longer than that.
    ///
    /// # Errors
    /// As [`std::sync::Condvar::wait_timeout_while`]: somebody panicked with the lock.
    pub fn wait_timeout_while<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
        condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        if DECIDED.get() {
            return self.wait_until_in_turn(guard, timeout, condition);
        }
        let MutexGuard { inner, release } = guard;
        match self.inner.wait_timeout_while(inner, timeout, condition) {
            Ok((inner, result)) => Ok((MutexGuard { inner, release }, WaitTimeoutResult(result.timed_out()))),
            Err(poisoned) => {
                let (inner, result) = poisoned.into_inner();
                let result = WaitTimeoutResult(result.timed_out());
                Err(PoisonError::new((MutexGuard { inner, release }, result)))
            }
        }
    }

    /// Lets one of those who wait go on.
    #[inline]
    pub fn notify_one(&self) {
        self.notify(false);
    }

    /// Lets all who wait go on.
    #[inline]
    pub fn notify_all(&self) {
        self.notify(true);
    }

    #[inline]
    fn notify(&self, all: bool) {
        if DECIDED.get() {
            decide(|turns| turns.notified(self.place(), all));
        } else if all {
            self.inner.notify_all();
        } else {
            self.inner.notify_one();
        }
    }

    /// Where it is: that names it as long as it lives.
    fn place(&self) -> usize {
        (&raw const self.inner).cast::<()>().addr()
    }

    /// And whether it was notified.
    #[cold]
    fn wait_in_turn<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        until: Option<Time>,
    ) -> (LockResult<MutexGuard<'a, T>>, bool) {
        let mutex: &'a Mutex<T> = guard.release.mutex;
        // There is no point between the two, so no notice can be missed.
        drop(guard);
        let notified = decide(|turns| turns.sleep(self.place(), until));
        (mutex.lock(), notified)
    }

    #[cold]
    fn wait_until_in_turn<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        timeout: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let until = decide(|turns| turns.now()) + timeout;
        let mut in_time = true;
        while condition(&mut guard) {
            if !in_time {
                return Ok((guard, WaitTimeoutResult(true)));
            }
            let (locked, notified) = self.wait_in_turn(guard, Some(until));
            in_time = notified;
            guard = locked.map_err(|poisoned| {
                PoisonError::new((poisoned.into_inner(), WaitTimeoutResult(!notified)))
            })?;
        }
        Ok((guard, WaitTimeoutResult(false)))
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
