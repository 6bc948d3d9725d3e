//! The clock is handed in. Nothing in a queue or a checker reads time that it was not given, so the same code
//! runs against real time and against a clock that a test moves by hand.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::sync::{self, Point};

/// An instant in nanoseconds. The system clock counts from the Unix epoch, so that instants written to disk
/// mean the same after a restart; a manual clock counts from zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Time(pub u64);

impl Time {
    /// The start of a manual clock.
    pub const ZERO: Time = Time(0);
    /// Later than every instant a clock can show.
    pub const FAR_FUTURE: Time = Time(u64::MAX);

    /// How long after `earlier` this is; zero if it is not after.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    /// Saturates: a lease of `Duration::MAX` never ends.
    fn add(self, by: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, by: Duration) -> Time {
        Time(self.0.saturating_sub(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Duration::from_nanos(self.0))
    }
}

/// Where a queue and the harness read time. Cloning shares the clock.
#[derive(Clone, Debug)]
pub enum Clock {
    /// Wall time at creation, advanced monotonically: a step of the machine's wall clock moves nothing.
    System {
        /// Wall time when the clock was made.
        epoch: Time,
        /// Monotonic time when the clock was made.
        origin: Instant,
    },
    /// Stands still until [`Clock::advance`] moves it.
    Manual(Arc<AtomicU64>),
    /// The same, and each reading is a point of [`crate::sync`], where others may go first before what was read is
    /// used.
    Watched(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's time.
    pub fn system() -> Clock {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock::System { epoch: Time::ZERO + wall, origin: Instant::now() }
    }

    /// A clock that starts at [`Time::ZERO`] and is moved by hand.
    pub fn manual() -> Clock {
        Clock::Manual(Arc::new(AtomicU64::new(0)))
    }

    /// A manual clock that shows the same time as this one, and whose readings are points of [`crate::sync`].
    #[must_use]
    pub fn watched(&self) -> Clock {
        match self {
            Clock::System { .. } => self.clone(),
            Clock::Manual(nanos) | Clock::Watched(nanos) => Clock::Watched(Arc::clone(nanos)),
        }
    }

    /// The present instant.
    #[inline]
    pub fn now(&self) -> Time {
        match self {
            Clock::System { epoch, origin } => *epoch + origin.elapsed(),
            Clock::Manual(nanos) => Time(nanos.load(Ordering::SeqCst)),
            Clock::Watched(nanos) => {
                let now = Time(nanos.load(Ordering::SeqCst));
                sync::at(Point::Clock);
                now
            }
        }
    }

    /// Moves a manual clock forward. Nobody moves the machine's time: there it answers `false`.
    pub fn advance(&self, by: Duration) -> bool {
        match self {
            Clock::System { .. } => false,
            Clock::Manual(nanos) | Clock::Watched(nanos) => {
                let next = Time(nanos.load(Ordering::SeqCst)) + by;
                nanos.store(next.0, Ordering::SeqCst);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_clock_moves_only_by_hand_and_is_shared() {
        let clock = Clock::manual();
        let shared = clock.clone();
        assert_eq!(clock.now(), Time::ZERO);
        assert!(shared.advance(Duration::from_secs(2)));
        assert_eq!(clock.now(), Time(2_000_000_000));
    }

    #[test]
    fn times_saturate_instead_of_wrapping() {
        assert_eq!(Time(5) + Duration::MAX, Time::FAR_FUTURE);
        assert_eq!(Time(5) - Duration::from_secs(1), Time::ZERO);
        assert_eq!(Time(5).since(Time(9)), Duration::ZERO);
    }
}
