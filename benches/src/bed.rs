//! Where workers sleep who can do nothing else. Whoever wakes somebody takes him off the list: until the next one
//! lies down, all others see an empty list, and neither take its lock nor wake anybody in vain.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// A list of sleepers. Who waits longest is woken first.
#[derive(Debug, Default)]
pub(crate) struct Bed {
    /// How many are on the list. Written under its lock, read without.
    asleep: AtomicUsize,
    sleepers: Mutex<VecDeque<Thread>>,
}

impl Bed {
    /// Puts this thread on the list. It must then look once more for a reason not to sleep, and
    /// [sleep](Bed::sleep) or [get up](Bed::get_up).
    pub(crate) fn lie_down(&self) {
        let mut sleepers = self.lock();
        sleepers.push_back(thread::current());
        self.asleep.store(sleepers.len(), Ordering::Relaxed);
        drop(sleepers);
        // Either the last look sees what was changed, or who changed it sees this sleeper: see `wake`.
        fence(Ordering::SeqCst);
    }

    /// Takes this thread off the list. If somebody else has done so, that was meant for one who sleeps: it is
    /// passed on.
    pub(crate) fn get_up(&self) {
        if !self.leave() {
            self.wake(1);
        }
    }

    /// Sleeps until somebody takes this thread off the list. `false`: nobody did for so long.
    pub(crate) fn sleep(&self, patience: Duration) -> bool {
        let begun = Instant::now();
        while let Some(left) = patience.checked_sub(begun.elapsed()) {
            thread::park_timeout(left);
            // It also ends without a reason, or for one that is past.
            if !self.lock().iter().any(is_me) {
                return true;
            }
        }
        !self.leave()
    }

    /// Wakes so many, if there are so many, of those who sleep. As a rule nobody does, and then this is a fence
    /// and a look.
    #[inline]
    pub(crate) fn wake(&self, many: usize) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) > 0 {
            self.wake_the_first(many);
        }
    }

    #[cold]
    fn wake_the_first(&self, many: usize) {
        let mut sleepers = self.lock();
        let woken = many.min(sleepers.len());
        let woken: Vec<Thread> = sleepers.drain(..woken).collect();
        self.asleep.store(sleepers.len(), Ordering::Relaxed);
        drop(sleepers);
        woken.iter().for_each(Thread::unpark);
    }

    /// `false`: somebody has taken this thread off the list.
    fn leave(&self) -> bool {
        let mut sleepers = self.lock();
        let place = sleepers.iter().position(is_me);
        if let Some(place) = place {
            sleepers.remove(place);
            self.asleep.store(sleepers.len(), Ordering::Relaxed);
        }
        place.is_some()
    }

    /// A worker that panicked elsewhere leaves the list whole.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Thread>> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_me(sleeper: &Thread) -> bool {
    sleeper.id() == thread::current().id()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gets_up_after_having_been_woken_passes_it_on() {
        let bed = Bed::default();
        thread::scope(|scope| {
            bed.lie_down();
            let other = scope.spawn(|| {
                bed.lie_down();
                bed.sleep(Duration::MAX)
            });
            while bed.asleep.load(Ordering::Relaxed) < 2 {
                thread::yield_now();
            }
            bed.wake(1);
            assert_eq!(bed.asleep.load(Ordering::Relaxed), 1, "the first is this one");
            bed.get_up();
            assert!(other.join().expect("no panic"));
        });
    }

    #[test]
    fn who_is_not_woken_leaves_the_list_by_itself() {
        let bed = Bed::default();
        bed.lie_down();
        bed.get_up();
        bed.lie_down();
        // What is left of an earlier wake-up does not count as one.
        thread::current().unpark();
        assert!(!bed.sleep(Duration::from_millis(1)));
        assert_eq!((bed.asleep.load(Ordering::Relaxed), bed.lock().len()), (0, 0));
    }
}
