//! A lock.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{LockResult, PoisonError, TryLockError};

use super::{DECIDED, decide, point};

/// The lock of the standard library, whose turns can be decided; see the [module](super).
#[derive(Default)]
pub struct Mutex<T: ?Sized> {
    inner: std::sync::Mutex<T>,
}

/// Holds a [`Mutex`] until it is dropped.
#[must_use = "if unused the lock is released at once"]
pub struct MutexGuard<'a, T: ?Sized> {
    pub(super) inner: std::sync::MutexGuard<'a, T>,
    // After `inner`, which is dropped first.
    pub(super) release: Release<'a, T>,
}

/// Says that a lock is free.
pub(super) struct Release<'a, T: ?Sized> {
    pub(super) mutex: &'a Mutex<T>,
}

impl<T: ?Sized> Drop for Release<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if DECIDED.get() {
            decide(|turns| turns.released(self.mutex.place()));
        }
    }
}

impl<T> Mutex<T> {
    /// A free lock around a value.
    pub const fn new(value: T) -> Mutex<T> {
        Mutex { inner: std::sync::Mutex::new(value) }
    }

    /// The value.
    ///
    /// # Errors
    /// As [`std::sync::Mutex::into_inner`].
    pub fn into_inner(self) -> LockResult<T> {
        self.inner.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Takes the lock, when it is free.
    ///
    /// # Errors
    /// As [`std::sync::Mutex::lock`]: its holder panicked.
    #[inline]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let locked = if DECIDED.get() { self.lock_in_turn() } else { self.inner.lock() };
        match locked {
            Ok(inner) => Ok(self.guard(inner)),
            Err(poisoned) => Err(PoisonError::new(self.guard(poisoned.into_inner()))),
        }
    }

    /// The value, which nobody else can see.
    ///
    /// # Errors
    /// As [`std::sync::Mutex::get_mut`].
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.inner.get_mut()
    }

    fn guard<'a>(&'a self, inner: std::sync::MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        MutexGuard { inner, release: Release { mutex: self } }
    }

    /// Where it is: that names it as long as it lives.
    fn place(&self) -> usize {
        (&raw const self.inner).cast::<()>().addr()
    }

    #[cold]
    fn lock_in_turn(&self) -> LockResult<std::sync::MutexGuard<'_, T>> {
        point();
        loop {
            match self.inner.try_lock() {
                Ok(inner) => return Ok(inner),
                Err(TryLockError::Poisoned(poisoned)) => return Err(poisoned),
                Err(TryLockError::WouldBlock) => decide(|turns| turns.wait(self.place())),
            }
        }
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
