//! How far a task has come, and whether it can go on.

use stanchion_queues::Time;

use super::plan::{Schedule, Standing};
use super::stage::{Await, Happened, Pause};

/// A task as those see it who decide whose turn it is.
pub(super) struct Way {
    /// Its name in the schedule.
    id: u64,
    /// At which point it is.
    pub(super) point: u64,
    /// In which turn it came there.
    pub(super) stopped: u64,
    /// In which place from the end it was put, if it fell.
    pub(super) fell: Option<u64>,
    /// Until this step of the plan has begun, everybody else goes first.
    pub(super) paused_until: usize,
    waits: Option<Await>,
}

impl Way {
    /// Of a task that has not begun.
    pub(super) fn new(id: u64, turn: u64) -> Way {
        Way { id, point: 0, stopped: turn, fell: None, paused_until: 0, waits: None }
    }

    /// It has come to a stop in this turn.
    pub(super) fn stop(&mut self, why: Pause, turn: u64) {
        self.stopped = turn;
        match why {
            Pause::At(_) => self.point += 1,
            Pause::Waits(what) => self.waits = Some(what),
        }
    }

    /// Whether it need not wait, or not any longer.
    pub(super) fn can_go_on(&self, now: Time) -> bool {
        match self.waits {
            None => true,
            Some(Await::Notice(_, Some(until))) => until <= now,
            Some(_) => false,
        }
    }

    /// When it can go on at the latest, if that is known.
    pub(super) fn until(&self) -> Option<Time> {
        if let Some(Await::Notice(_, until)) = self.waits { until } else { None }
    }

    /// It goes on now. Whether what it waited for has happened, and not only its time has come.
    pub(super) fn leave(&mut self) -> bool {
        self.waits.take().is_none()
    }

    /// Whether it waits for this.
    pub(super) fn waits_for(&self, happened: Happened) -> bool {
        match (self.waits, happened) {
            (Some(Await::Lock(lock)), Happened::Released(released)) => lock == released,
            (Some(Await::Notice(mine, _)), Happened::Notified { condition, .. }) => mine == condition,
            (Some(Await::End(task)), Happened::Ended(ended)) => task == ended,
            _ => false,
        }
    }

    /// What it waited for has happened.
    pub(super) fn go_on(&mut self) {
        self.waits = None;
    }

    /// Whether it waits for anything.
    pub(super) fn waits(&self) -> bool {
        self.waits.is_some()
    }

    /// Whether its priority falls here.
    pub(super) fn falls(&self, schedule: &Schedule) -> bool {
        schedule.falls(self.id, self.point)
    }

    /// Its priority when this step of the plan begins next.
    pub(super) fn priority(&self, schedule: &Schedule, turn: u64, next: usize) -> u64 {
        let fell = if next < self.paused_until { Some(u64::MAX >> 2) } else { self.fell };
        schedule.priority(&Standing { id: self.id, point: self.point, since: turn - self.stopped, fell })
    }
}
