//! How long an engine goes on: so many cases, or so long, or until it is interrupted. Only between two cases does it look, and
//! tell how far it is.

use std::io::{IsTerminal, stderr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::budget::Budget;

/// Whoever waits at a terminal is told after so long how far an engine is, and again and again. Most are done before.
const TELLS: Duration = Duration::from_secs(10);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// How many engines are at work.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// The numbers of the cases that are to be run: `cases` of them; or, where the budget gives a time, as many as begin within
/// it, and one at least. The wall clock decides how many there are, and nothing of what they are.
pub(crate) fn cases(
    budget: &Budget,
    queue: &str,
    engine: &'static str,
    cases: u64,
) -> impl Iterator<Item = u64> + use<> {
    let begun = Instant::now();
    let time = budget.time.filter(|_| cases > 0);
    let most = if time.is_some() { u64::MAX } else { cases };
    let mut progress =
        Progress { queue: queue.to_owned(), engine, begun, told: begun, shown: stderr().is_terminal() };
    (0..most).take_while(move |case| {
        progress.tell(*case, time, most);
        !is_interrupted() && (*case == 0 || time.is_none_or(|time| begun.elapsed() < time))
    })
}

struct Progress {
    queue: String,
    engine: &'static str,
    begun: Instant,
    told: Instant,
    shown: bool,
}

impl Progress {
    fn tell(&mut self, done: u64, time: Option<Duration>, most: u64) {
        if self.shown && self.told.elapsed() >= TELLS {
            self.told = Instant::now();
            eprintln!("{}", self.words(done, self.begun.elapsed(), time, most));
        }
    }

    fn words(&self, done: u64, passed: Duration, time: Option<Duration>, most: u64) -> String {
        let Progress { queue, engine, .. } = self;
        let of = match time {
            Some(time) => format!("cases in {} of {} s", passed.as_secs(), time.as_secs()),
            None => format!("of {most} cases in {} s", passed.as_secs()),
        };
        format!("{queue}, {engine}: {done} {of}")
    }
}

/// Whether somebody has asked to be told what was found until now.
pub(crate) fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Lets no case begin any more; whether somebody had done so before.
pub(crate) fn interrupt() -> bool {
    INTERRUPTED.swap(true, Ordering::SeqCst)
}

/// An engine at work.
#[derive(Debug)]
pub(crate) struct Running(());

impl Running {
    /// Counts one more; not after an interruption.
    pub(crate) fn begin() -> Option<Running> {
        RUNNING.fetch_add(1, Ordering::SeqCst);
        let running = Running(());
        (!is_interrupted()).then_some(running)
    }

    /// How many there are.
    pub(crate) fn how_many() -> usize {
        RUNNING.load(Ordering::SeqCst)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(budget: &Budget, most: u64) -> impl Iterator<Item = u64> {
        cases(budget, "queue", "engine", most)
    }

    #[test]
    fn there_are_as_many_as_are_asked_for_or_as_begin_in_time() {
        let counted = Budget::quick();
        assert_eq!(numbers(&counted, 3).collect::<Vec<_>>(), [0, 1, 2]);
        let none = Budget { time: Some(Duration::ZERO), ..Budget::quick() };
        assert_eq!(numbers(&none, 3).collect::<Vec<_>>(), [0], "one at least");
        assert_eq!(numbers(&none, 0).count(), 0, "unless none was asked for");
        let ages = Budget { time: Some(Duration::from_secs(1 << 40)), ..Budget::quick() };
        assert_eq!(numbers(&ages, 3).take(100).last(), Some(99), "time is in place of a number");
    }

    #[test]
    fn it_says_how_far_it_is() {
        let (queue, now) = ("ring".to_owned(), Instant::now());
        let progress = Progress { queue, engine: "sequential", begun: now, told: now, shown: false };
        let words = |time| progress.words(7, Duration::from_secs(12), time, 1000);
        assert_eq!(words(None), "ring, sequential: 7 of 1000 cases in 12 s");
        assert_eq!(words(Some(Duration::from_secs(60))), "ring, sequential: 7 cases in 12 of 60 s");
    }
}
