//! The threads of a trial: pinned, started together, and patient in the same way whatever queue they use.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use core_affinity::CoreId;

/// The cores of this process. Read once, before anything is pinned: a pinned thread sees only its own.
fn cores() -> &'static [CoreId] {
    static CORES: OnceLock<Vec<CoreId>> = OnceLock::new();
    CORES.get_or_init(|| core_affinity::get_core_ids().unwrap_or_default())
}

/// How many cores there are to work on.
pub(crate) fn core_count() -> usize {
    cores().len().max(1)
}

/// Binds this thread to the core whose turn it is: worker 0 to the first, worker 1 to the second, and around.
/// Where the system refuses, the thread roams.
pub(crate) fn pin(worker: usize) {
    if let Some(core) = cores().get(worker % core_count()) {
        core_affinity::set_for_current(*core);
    }
}

/// Those on one side who are still at work. The other side asks when it has to wait.
#[derive(Debug)]
pub(crate) struct Present(AtomicUsize);

impl Present {
    pub(crate) fn new(workers: usize) -> Present {
        Present(AtomicUsize::new(workers))
    }

    /// Until this is dropped, also by a panic, one worker is present.
    pub(crate) fn stay(&self) -> impl Drop {
        struct Leave<'a>(&'a Present);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.0.fetch_sub(1, Ordering::Release);
            }
        }
        Leave(self)
    }

    pub(crate) fn nobody(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }
}

/// What to do after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Try again.
    Again,
    /// The other side has left: nothing will change any more.
    Deserted,
    /// Nothing happened for longer than anyone should wait.
    Stuck,
}

/// How a worker waits at a full or an empty queue: it spins briefly, then yields. With more threads than
/// cores it only yields, because spinning burns the time in which the other side could run.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    others: &'a Present,
    spins: u32,
    round: u32,
    since: Option<Instant>,
}

/// Rounds of spinning, each twice as long as the one before: at most 127 pauses of the processor in all.
const SPINS: u32 = 7;
/// The clock is asked once in so many yields.
const GLANCE: u32 = 1024;
/// A queue on which nothing moves for so long is stuck.
const PATIENCE: Duration = Duration::from_secs(30);

impl<'a> Waiting<'a> {
    pub(crate) fn new(threads: usize, others: &'a Present) -> Waiting<'a> {
        let spins = if threads > core_count() { 0 } else { SPINS };
        Waiting { others, spins, round: 0, since: None }
    }

    /// Something moved: the next wait starts from the beginning.
    #[inline]
    pub(crate) fn over(&mut self) {
        self.round = 0;
    }

    pub(crate) fn pause(&mut self) -> After {
        if self.others.nobody() {
            return After::Deserted;
        }
        if self.round < self.spins {
            (0..1 << self.round).for_each(|_| std::hint::spin_loop());
        } else {
            std::thread::yield_now();
        }
        if self.round == 0 {
            self.since = None;
        }
        self.round = self.round.saturating_add(1);
        if self.round.is_multiple_of(GLANCE) {
            let since = *self.since.get_or_insert_with(Instant::now);
            if since.elapsed() > PATIENCE {
                return After::Stuck;
            }
        }
        After::Again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_stops_waiting_for_those_who_have_left() {
        let others = Present::new(1);
        let mut waiting = Waiting::new(2, &others);
        let here = others.stay();
        assert_eq!(waiting.pause(), After::Again);
        drop(here);
        assert_eq!(waiting.pause(), After::Deserted);
    }

    #[test]
    fn who_panics_has_left_too() {
        let others = Present::new(1);
        let panicked = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    let _here = others.stay();
                    std::panic::resume_unwind(Box::new(()));
                })
                .join()
        });
        assert!(panicked.is_err() && others.nobody());
    }
}
