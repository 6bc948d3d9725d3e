//! One trial: a fixed number of items, timed by those who move them.
//!
//! A trial sees what happens to its own items, in a buffer that it has opened. A mistake that comes once in so
//! many calls, or only after so many, is seen if one trial gets that far: some thousand items in a smoke test
//! (`--test`), some hundred thousand to some million in a measured trial of 30 ms, fewer through a slow queue.
//! A rarer one leaves a clean ledger and a number behind. So a number says that *these* items came out right,
//! and not that the queue is right: for that there are the checks.

use std::fmt;
use std::time::{Duration, Instant};

use stanchion_queues::{Error, ShapeError};

use crate::ledger::BenchLedger;

/// A trial whose ledger is clean. There is no other kind: see [`Fault`].
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// From the first start of any worker to the last end of any worker, each stamped by the worker itself. A
    /// controller that reads the clock after the barrier may wake when the work is long done.
    pub elapsed: Duration,
    /// What became of the items.
    pub ledger: BenchLedger,
}

impl Trial {
    /// A trial, if the ledger is clean.
    ///
    /// # Errors
    /// [`Fault::Unclean`] with the ledger.
    pub fn judge(spans: &[Span], ledger: BenchLedger) -> Result<Trial, Fault> {
        if !ledger.is_clean() {
            return Err(Fault::Unclean(Box::new(ledger)));
        }
        Ok(Trial { elapsed: Span::of_all(spans), ledger })
    }

    /// Items a second.
    pub fn rate(&self) -> f64 {
        // Below the clock's resolution there is no rate; a nanosecond keeps the number finite.
        self.ledger.asked as f64 / self.elapsed.max(Duration::from_nanos(1)).as_secs_f64()
    }
}

/// Why a trial gave no number.
#[derive(Debug)]
pub enum Fault {
    /// Items were lost, duplicated, invented, reordered or late.
    Unclean(Box<BenchLedger>),
    /// The queue panicked, with this message.
    Panicked(String),
    /// The buffer does not open.
    Shape(ShapeError),
    /// The broker does not boot, or refuses what it must do.
    Broker(Error),
    /// The surroundings of the trial could not be made: a directory, a runtime.
    Setup(std::io::Error),
    /// So many threads did not come back from the queue.
    Abandoned(usize),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Unclean(ledger) => ledger.fmt(f),
            Fault::Panicked(message) => write!(f, "it panicked: {message}"),
            Fault::Shape(error) => error.fmt(f),
            Fault::Broker(error) => error.fmt(f),
            Fault::Setup(error) => write!(f, "the trial could not be set up: {error}"),
            Fault::Abandoned(threads) => write!(f, "{threads} threads did not come back from it"),
        }
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Fault::Unclean(_) | Fault::Panicked(_) | Fault::Abandoned(_) => None,
            Fault::Shape(error) => Some(error),
            Fault::Broker(error) => Some(error),
            Fault::Setup(error) => Some(error),
        }
    }
}

impl From<ShapeError> for Fault {
    fn from(error: ShapeError) -> Fault {
        Fault::Shape(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Broker(error)
    }
}

impl Fault {
    /// What a thread that panicked left behind.
    pub(crate) fn panicked(payload: &(dyn std::any::Any + Send)) -> Fault {
        let message = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned());
        Fault::Panicked(message.unwrap_or_else(|| "without a message".into()))
    }
}

/// The time in which one worker worked, as stamped by itself.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Before its first operation.
    pub start: Instant,
    /// After its last operation.
    pub end: Instant,
}

impl Span {
    /// Does `work` and stamps it.
    #[inline]
    pub fn of<R>(work: impl FnOnce() -> R) -> (Span, R) {
        let start = Instant::now();
        let result = work();
        (Span { start, end: Instant::now() }, result)
    }

    /// From the first start to the last end.
    pub fn of_all(spans: &[Span]) -> Duration {
        let start = spans.iter().map(|span| span.start).min();
        let end = spans.iter().map(|span| span.end).max();
        start.zip(end).map_or(Duration::ZERO, |(start, end)| end - start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_lasts_from_the_first_start_to_the_last_end() {
        let at = |ms: u64| Duration::from_millis(ms);
        let zero = Instant::now();
        let span = |from, to| Span { start: zero + at(from), end: zero + at(to) };
        assert_eq!(Span::of_all(&[span(5, 9), span(2, 4), span(3, 12)]), at(10));
        assert_eq!(Span::of_all(&[]), Duration::ZERO);
    }

    #[test]
    fn an_unclean_ledger_gives_no_trial() {
        let ledger = BenchLedger { asked: 1, ..BenchLedger::default() };
        let fault = Trial::judge(&[], ledger).expect_err("nothing was delivered");
        assert_eq!(fault.to_string(), "1 not taken, of 1 items");
    }
}
