//! Locks, conditions and threads whose turns can be decided by somebody else.
//!
//! [`Mutex`] and [`Condvar`] are the standard library's, and cost one look at a thread-local flag more. Under the
//! simulated engine of the harness, where the clients of a broker are coroutines on one thread, each [`Mutex::lock`] is
//! a *point*: another client may go first there, and whoever finds the lock taken waits until its holder has had its
//! turns. Whoever waits at a [`Condvar`] goes on when it is notified, or when a clock that is moved by hand has come to
//! the end of its patience. So a broker that is written with them is interleaved inside its operations, in every order
//! that a seed asks for:
//!
//! ```
//! use stanchion_queues::sync::{Condvar, Mutex}; // in place of those of std::sync
//! ```
//!
//! A broker that looks at something without a lock, as at an atomic, says so with [`point`]; one that looks again and
//! again does so by [`Spin`], and one with a thread of its own starts it with [`spawn`].
//!
//! Whoever takes part holds no other kind of lock across a point: not across the `lock` of one of these, not across
//! [`point`], and not across a reading of its clock, which is a point as well. (Its holder could not be given a turn
//! while somebody else waits for it, as the one thread waits.)

mod condvar;
mod mutex;
mod spin;
#[cfg(test)]
mod tests;
mod thread;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

pub use condvar::{Condvar, WaitTimeoutResult};
pub use mutex::{Mutex, MutexGuard};
pub use spin::Spin;
pub use thread::{JoinHandle, spawn};

use crate::clock::Time;

/// Where another client may go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Before a lock is taken, or where the queue says so itself.
    Queue,
    /// After the clock was read, and before what was read is used.
    Clock,
    /// While the storage is about to do what it is asked.
    Storage,
    /// On the way to the broker, or back.
    Line,
}

/// Who decides whose turn it is. Locks and conditions are named by where they are.
pub trait Turns {
    /// Others may go first.
    fn point(&self, at: Point);
    /// Lets others go first until this lock is released.
    fn wait(&self, lock: usize);
    /// This lock is free.
    fn released(&self, lock: usize);
    /// Lets others go first until this condition is notified, or that instant has come; whether it was notified.
    fn sleep(&self, condition: usize, until: Option<Time>) -> bool;
    /// Whoever sleeps at this condition may go on: one of them, or all.
    fn notified(&self, condition: usize, all: bool);
    /// The instant.
    fn now(&self) -> Time;
    /// Does this in turns of its own. What to call it.
    fn spawn(&self, body: Box<dyn FnOnce()>) -> usize;
    /// Lets others go first until that is done.
    fn join(&self, spawned: usize);
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

/// Whether turns on this thread are decided by somebody.
#[inline]
pub fn is_decided() -> bool {
    DECIDED.get()
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

/// Another client may go first before a storage does what it is asked; whether it then fails to. Outside of a
/// simulation it does nothing.
#[inline]
pub fn storage_fails() -> bool {
    DECIDED.get() && decide(|turns| turns.storage_fails())
}

#[cold]
fn decide<R: Default>(what: impl FnOnce(&dyn Turns) -> R) -> R {
    // Not borrowed meanwhile: whoever goes first may come by here as well.
    TURNS.with_borrow(Option::clone).map_or_else(R::default, |turns| what(&*turns))
}
