//! Group commit in front of a store that commits one caller at a time: whoever comes while a commit is on its
//! way is in the next, and one of those who wait leads. It is what a careful user would put in front of a
//! library that has none, so it is the fairest form of such a peer.

use std::fmt;
use std::mem;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::store::{Change, Table};

/// A leader waits for the callers that the last commit released to come back, but no longer than that commit
/// took, and than this. Without the wait batches of one and of all but one would take turns.
const RETURN: Duration = Duration::from_micros(150);

/// A table whose commits are shared.
#[derive(Debug)]
pub struct Grouped<T> {
    table: T,
    group: Mutex<Group>,
}

#[derive(Debug, Default)]
struct Group {
    cohort: Arc<Cohort>,
    changes: Vec<Change>,
    /// Somebody leads, or has been told to. Otherwise nobody waits.
    led: bool,
    /// How many callers the next commit has if all come back.
    expected: usize,
    last_commit: Duration,
}

/// Those who commit together.
#[derive(Debug, Default)]
struct Cohort {
    callers: AtomicUsize,
    turn: Mutex<Turn>,
    turned: Condvar,
}

#[derive(Debug, Default)]
enum Turn {
    #[default]
    Wait,
    Lead,
    Ended(Result<(), Failed>),
}

/// A failure that many share.
#[derive(Clone, Debug)]
struct Failed(Arc<str>);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

impl Cohort {
    /// `None`: the caller is to lead.
    fn wait(&self) -> Option<Result<(), Failed>> {
        let mut turn = lock(&self.turn);
        loop {
            match &*turn {
                Turn::Wait => turn = self.turned.wait(turn).unwrap_or_else(PoisonError::into_inner),
                Turn::Lead => {
                    *turn = Turn::Wait;
                    return None;
                }
                Turn::Ended(outcome) => return Some(outcome.clone()),
            }
        }
    }

    fn pass_baton(&self) {
        *lock(&self.turn) = Turn::Lead;
        self.turned.notify_one();
    }

    fn end(&self, outcome: Result<(), Failed>) {
        *lock(&self.turn) = Turn::Ended(outcome);
        self.turned.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends a cohort even if the table panics: nobody may wait for ever.
struct Leading<'a> {
    group: &'a Mutex<Group>,
    cohort: Arc<Cohort>,
    outcome: Result<(), Failed>,
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        let mut group = lock(self.group);
        let waiting = group.cohort.callers.load(Ordering::Relaxed);
        group.expected = waiting + self.cohort.callers.load(Ordering::Relaxed);
        group.led = waiting > 0;
        if group.led {
            group.cohort.pass_baton();
        }
        drop(group);
        self.cohort.end(self.outcome.clone());
    }
}

impl<T: Table> Grouped<T> {
    fn lead(&self) -> Result<(), Failed> {
        let mut group = self.gather();
        let (cohort, changes) = (mem::take(&mut group.cohort), mem::take(&mut group.changes));
        drop(group);
        let panicked = Err(Failed("a caller panicked while it committed for this one".into()));
        let mut leading = Leading { group: &self.group, cohort, outcome: panicked };
        let started = Instant::now();
        let outcome = self.table.commit(&changes).map_err(|failure| Failed(failure.to_string().into()));
        lock(&self.group).last_commit = started.elapsed();
        leading.outcome = outcome.clone();
        outcome
    }

    /// Waits a little for those who were released a moment ago.
    fn gather(&self) -> MutexGuard<'_, Group> {
        let group = lock(&self.group);
        let (cohort, expected) = (Arc::clone(&group.cohort), group.expected);
        let limit = RETURN.min(group.last_commit);
        drop(group);
        let started = Instant::now();
        while cohort.callers.load(Ordering::Relaxed) < expected && started.elapsed() < limit {
            thread::yield_now();
        }
        lock(&self.group)
    }
}

impl<T: Table> Table for Grouped<T> {
    fn open(directory: &Path) -> Result<Grouped<T>, Failure> {
        Ok(Grouped { table: T::open(directory)?, group: Mutex::default() })
    }

    fn commit(&self, changes: &[Change]) -> Result<(), Failure> {
        let mut group = lock(&self.group);
        group.changes.extend_from_slice(changes);
        let cohort = Arc::clone(&group.cohort);
        cohort.callers.fetch_add(1, Ordering::Relaxed);
        let leads = !mem::replace(&mut group.led, true);
        drop(group);
        let ended = if leads { None } else { cohort.wait() };
        Ok(ended.unwrap_or_else(|| self.lead())?)
    }

    fn rows(&self, visit: &mut dyn FnMut(u64, &[u8])) -> Result<(), Failure> {
        self.table.rows(visit)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Counts, and lets a test decide when a commit ends.
    struct Held {
        begun: Mutex<Sender<usize>>,
        end: Mutex<Receiver<Result<(), &'static str>>>,
    }

    impl Table for Held {
        fn open(_: &Path) -> Result<Held, Failure> {
            Err("it is made by hand".into())
        }

        fn commit(&self, changes: &[Change]) -> Result<(), Failure> {
            lock(&self.begun).send(changes.len())?;
            Ok(lock(&self.end).recv()??)
        }

        fn rows(&self, _: &mut dyn FnMut(u64, &[u8])) -> Result<(), Failure> {
            Ok(())
        }
    }

    fn held() -> (Grouped<Held>, Receiver<usize>, Sender<Result<(), &'static str>>) {
        let ((begun, sizes), (end, ends)) = (channel(), channel());
        let table = Held { begun: Mutex::new(begun), end: Mutex::new(ends) };
        (Grouped { table, group: Mutex::default() }, sizes, end)
    }

    fn waiting(table: &Grouped<Held>) -> usize {
        lock(&table.group).cohort.callers.load(Ordering::Relaxed)
    }

    /// One commit that is held, and eight callers who come meanwhile; what the second is told to end with.
    fn eight_behind_one(end: Result<(), &'static str>) -> Vec<Result<(), String>> {
        let (table, sizes, ends) = held();
        let one = [Change::Delete(0)];
        thread::scope(|scope| {
            let commit = || table.commit(&one).map_err(|failure| failure.to_string());
            let first = scope.spawn(commit);
            assert_eq!(sizes.recv(), Ok(1));
            let rest: Vec<_> = (0..8).map(|_| scope.spawn(commit)).collect();
            while waiting(&table) < 8 {
                thread::yield_now();
            }
            ends.send(Ok(())).expect("it waits");
            assert_eq!(first.join().expect("ends"), Ok(()));
            assert_eq!(sizes.recv(), Ok(8), "one commit for all of them");
            ends.send(end).expect("it waits");
            rest.into_iter().map(|caller| caller.join().expect("ends")).collect()
        })
    }

    #[test]
    fn callers_who_come_during_a_commit_share_the_next_one_and_its_outcome() {
        assert_eq!(eight_behind_one(Ok(())), vec![Ok(()); 8]);
        assert_eq!(eight_behind_one(Err("disk on fire")), vec![Err("disk on fire".to_owned()); 8]);
    }

    #[test]
    fn a_failure_is_that_of_its_own_commit_only() {
        let (table, _sizes, ends) = held();
        ends.send(Err("once")).expect("is kept");
        ends.send(Ok(())).expect("is kept");
        assert_eq!(table.commit(&[]).expect_err("failed").to_string(), "once");
        table.commit(&[]).expect("is another commit");
    }

    #[test]
    fn nobody_waits_for_ever_for_a_leader_that_panics() {
        struct Panics(Barrier);
        impl Table for Panics {
            fn open(_: &Path) -> Result<Panics, Failure> {
                Err("it is made by hand".into())
            }
            fn commit(&self, _: &[Change]) -> Result<(), Failure> {
                self.0.wait();
                self.0.wait();
                panic!("on purpose")
            }
            fn rows(&self, _: &mut dyn FnMut(u64, &[u8])) -> Result<(), Failure> {
                Ok(())
            }
        }
        let table = Grouped { table: Panics(Barrier::new(2)), group: Mutex::default() };
        thread::scope(|scope| {
            let commit = || table.commit(&[]);
            let leader = scope.spawn(commit);
            table.table.0.wait();
            let follower = scope.spawn(commit);
            while lock(&table.group).cohort.callers.load(Ordering::Relaxed) < 1 {
                thread::yield_now();
            }
            table.table.0.wait();
            assert!(leader.join().is_err());
            // Now it is the follower's turn, and it panics too; it is not left waiting.
            table.table.0.wait();
            table.table.0.wait();
            assert!(follower.join().is_err());
        });
    }
}
