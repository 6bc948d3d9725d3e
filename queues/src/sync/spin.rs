//! Looking again and again.

use std::thread;
use std::time::{Duration, Instant};

use super::{DECIDED, point};

/// How often others may go first in a simulation, where no time passes meanwhile.
const TURNS: u32 = 4;

/// Lets others go first again and again, but not for long.
#[derive(Debug)]
pub struct Spin {
    started: Instant,
    limit: Duration,
    turns: u32,
}

impl Spin {
    /// For no longer than that; in a simulation, for a few turns.
    pub fn new(limit: Duration) -> Spin {
        Spin { started: Instant::now(), limit, turns: 0 }
    }

    /// Lets others go first. `false`: it was long enough.
    pub fn once_more(&mut self) -> bool {
        if DECIDED.get() {
            self.turns += 1;
            point();
            return self.turns <= TURNS;
        }
        let in_time = self.started.elapsed() < self.limit;
        if in_time {
            thread::yield_now();
        }
        in_time
    }
}
