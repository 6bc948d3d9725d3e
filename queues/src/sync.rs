//! A lock whose turns can be decided by somebody else.
//!
//! [`Mutex`] is the standard library's, and costs one look at a thread-local flag more. Under the simulated engine of
//! the harness, where the clients of a broker are coroutines on one thread, each [`Mutex::lock`] is a *point*: another
//! client may go first there, and whoever finds the lock taken waits until its holder has had its turns. So a broker
//! that is written with it is interleaved inside its operations, in every order that a seed asks for:
//!
//! ```
//! use stanchion_queues::sync::Mutex; // in place of std::sync::Mutex
//! ```
//!
//! A broker that looks at something without a lock, as at an atomic, says so with [`point`].
//!
//! Whoever takes part holds no other kind of lock across a point: not across the `lock` of one of these, not across
//! [`point`], and not across a reading of its clock, which is a point as well. (Its holder could not be given a turn
//! while somebody else waits for it, as the one thread waits.)

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::{LockResult, PoisonError, TryLockError};

/// Where another client may go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Before a lock is taken, or where the queue says so itself.
    Queue,
    /// After the clock was read, and before what was read is used.
    Clock,
    /// Before the storage does what it is asked.
    Storage,
    /// On the way to the broker, or back.
    Line,
}

/// Who decides whose turn it is.
pub trait Turns {
    /// Others may go first.
    fn point(&self, at: Point);
    /// Lets others go first until this lock is released.
    fn wait(&self, lock: usize);
    /// This lock is free.
    fn released(&self, lock: usize);
    /// Others may go first before the storage does what it is asked. Whether it fails to.
    fn storage_fails(&self) -> bool {
        self.point(Point::Storage);
        false
    }
}

thread_local! {
    static DECIDED: Cell<bool> = const { Cell::new(false) };
    static TURNS: RefCell<Option<Rc<dyn Turns>>> = const { RefCell::new(None) };
}

/// Runs `body` with all turns on this thread decided by `turns`.
pub fn with_turns<R>(turns: Rc<dyn Turns>, body: impl FnOnce() -> R) -> R {
    struct Restore(Option<Rc<dyn Turns>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            let before = self.0.take();
            DECIDED.set(before.is_some());
            TURNS.set(before);
        }
    }
    let _restore = Restore(TURNS.replace(Some(turns)));
    DECIDED.set(true);
    body()
}

/// Another client may go first here. Outside of a simulation it does nothing.
#[inline]
pub fn point() {
    at(Point::Queue);
}

/// The same, of another kind.
#[inline]
pub fn at(point: Point) {
    if DECIDED.get() {
        decide(|turns| turns.point(point));
    }
}

/// Another client may go first before a storage does what it is asked. Outside of a simulation it does nothing.
///
/// # Errors
/// The simulation has it that the storage fails.
pub fn before_storage() -> io::Result<()> {
    let fails = DECIDED.get() && decide(|turns| turns.storage_fails());
    if fails { Err(io::Error::other("a simulated failure of the storage")) } else { Ok(()) }
}

#[cold]
fn decide<R: Default>(what: impl FnOnce(&dyn Turns) -> R) -> R {
    // Not borrowed meanwhile: whoever goes first may come by here as well.
    TURNS.with_borrow(Option::clone).map_or_else(R::default, |turns| what(&*turns))
}

/// The lock of the standard library, whose turns can be decided; see the [module](self).
#[derive(Default)]
pub struct Mutex<T: ?Sized> {
    inner: std::sync::Mutex<T>,
}

/// Holds a [`Mutex`] until it is dropped.
#[must_use = "if unused the lock is released at once"]
pub struct MutexGuard<'a, T: ?Sized> {
    inner: std::sync::MutexGuard<'a, T>,
    // After `inner`, which is dropped first.
    _release: Release,
}

/// Says that a lock is free.
struct Release {
    lock: usize,
}

impl Drop for Release {
    #[inline]
    fn drop(&mut self) {
        if DECIDED.get() {
            decide(|turns| turns.released(self.lock));
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
        MutexGuard { inner, _release: Release { lock: self.place() } }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;
    use crate::clock::Clock;

    /// Writes down what it is asked.
    #[derive(Default)]
    struct Script(RefCell<Vec<String>>);

    impl Turns for Script {
        fn point(&self, at: Point) {
            self.0.borrow_mut().push(format!("{at:?}"));
        }

        fn wait(&self, _: usize) {
            unreachable!("nobody else has a lock");
        }

        fn released(&self, _: usize) {
            self.0.borrow_mut().push("released".into());
        }
    }

    #[test]
    fn locks_and_watched_clocks_are_points_where_turns_are_decided_and_nowhere_else() {
        let (mutex, clock) = (Mutex::new(1), Clock::manual());
        let script = Rc::new(Script::default());
        let use_all = || {
            *mutex.lock().expect("nobody panicked") += 1;
            clock.watched().now();
            clock.now();
            before_storage().expect("nobody makes it fail");
            point();
        };
        use_all();
        with_turns(Rc::clone(&script) as Rc<dyn Turns>, use_all);
        use_all();
        assert_eq!(*script.0.borrow(), ["Queue", "released", "Clock", "Storage", "Queue"]);
        assert_eq!(mutex.into_inner().expect("nobody panicked"), 4);
    }

    #[test]
    fn a_watched_clock_is_the_same_clock() {
        let clock = Clock::manual();
        let watched = clock.watched();
        assert!(watched.advance(std::time::Duration::from_nanos(3)));
        assert_eq!((clock.now(), watched.now()), (crate::Time(3), crate::Time(3)));
    }

    #[test]
    fn threads_exclude_each_other_and_a_panic_poisons() {
        let count = Arc::new(Mutex::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| *count.lock().expect("nobody panicked") += 1));
            }
        });
        assert_eq!(*count.lock().expect("nobody panicked"), 4000);
        let held = Arc::clone(&count);
        let panicked = thread::spawn(move || {
            let _guard = held.lock();
            std::panic::resume_unwind(Box::new("with the lock"));
        });
        assert!(panicked.join().is_err() && count.lock().is_err());
    }
}
