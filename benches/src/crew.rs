//! The threads of a trial: pinned, started together, and patient in the same way whatever queue they use.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use core_affinity::CoreId;

use crate::bed::Bed;
use crate::workload::Wait;

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

/// The two sides of a buffer under test: who is still at work on each, and where each sleeps.
#[derive(Debug)]
pub(crate) struct Crew {
    pushing: Side,
    popping: Side,
    wait: Wait,
    /// Rounds of brief spinning. None with more threads than cores: spinning burns the time in which the other
    /// side could run.
    spins: u32,
}

impl Crew {
    /// For so many producers and consumers, on so many threads in all.
    pub(crate) fn new(producers: usize, consumers: usize, threads: usize, wait: Wait) -> Arc<Crew> {
        let spins = if threads > core_count() { 0 } else { SPINS };
        Arc::new(Crew { pushing: Side::new(producers), popping: Side::new(consumers), wait, spins })
    }

    /// Until this is dropped, also by a panic, one producer is present.
    pub(crate) fn stay_pushing(self: &Arc<Crew>) -> impl Drop + use<> {
        Stay { crew: Arc::clone(self), side: |crew| &crew.pushing }
    }

    /// Until this is dropped, also by a panic, one consumer is present.
    pub(crate) fn stay_popping(self: &Arc<Crew>) -> impl Drop + use<> {
        Stay { crew: Arc::clone(self), side: |crew| &crew.popping }
    }

    /// How a producer waits.
    pub(crate) fn producer(self: &Arc<Crew>) -> Waiting {
        Waiting { crew: Arc::clone(self), pushes: true }
    }

    /// How a consumer waits.
    pub(crate) fn consumer(self: &Arc<Crew>) -> Waiting {
        Waiting { crew: Arc::clone(self), pushes: false }
    }

    #[cfg(test)]
    pub(crate) fn nobody(&self) -> bool {
        self.pushing.nobody() && self.popping.nobody()
    }
}

/// One side of a buffer.
#[derive(Debug)]
struct Side {
    present: AtomicUsize,
    /// Where those of this side sleep who wait for the other one.
    bed: Bed,
}

impl Side {
    fn new(workers: usize) -> Side {
        Side { present: AtomicUsize::new(workers), bed: Bed::default() }
    }

    fn nobody(&self) -> bool {
        self.present.load(Ordering::Acquire) == 0
    }
}

struct Stay {
    crew: Arc<Crew>,
    side: fn(&Crew) -> &Side,
}

impl Drop for Stay {
    fn drop(&mut self) {
        (self.side)(&self.crew).present.fetch_sub(1, Ordering::Release);
        // Those who wait for this side look again whether anybody is left.
        self.crew.pushing.bed.wake(usize::MAX);
        self.crew.popping.bed.wake(usize::MAX);
    }
}

/// Why a worker gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GaveUp {
    /// The other side has left: nothing will change any more.
    Deserted,
    /// Nothing happened for longer than anyone should wait.
    Stuck,
}

/// How a worker waits at a full or an empty buffer.
#[derive(Debug)]
pub(crate) struct Waiting {
    crew: Arc<Crew>,
    pushes: bool,
}

/// Rounds of brief spinning, each twice as long as the one before: at most 127 pauses of the processor in all.
const SPINS: u32 = 7;
/// Who is about to sleep yields so often before: where threads outnumber cores, the other side mostly needs no
/// more than the core. With the rounds of spinning, these are the steps of crossbeam's `Backoff`.
const YIELDS: u32 = 4;
/// The clock is asked once in so many rounds.
const GLANCE: u32 = 1024;
/// A queue on which nothing moves for so long is stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

impl Waiting {
    /// So many items went through: as many of the other side can go on. Nobody sleeps as a rule, and then this
    /// is a fence and a look.
    #[inline]
    pub(crate) fn moved(&self, items: usize) {
        if self.crew.wait == Wait::Park {
            let others = if self.pushes { &self.crew.popping } else { &self.crew.pushing };
            others.bed.wake(items);
        }
    }

    /// Attempts, which has just failed, again and again until it succeeds.
    ///
    /// # Errors
    /// It never will.
    #[cold]
    pub(crate) fn until<R>(&self, mut attempt: impl FnMut() -> Option<R>) -> Result<R, GaveUp> {
        let (own, others) = if self.pushes {
            (&self.crew.pushing, &self.crew.popping)
        } else {
            (&self.crew.popping, &self.crew.pushing)
        };
        let mut since = None;
        for round in 0_u32.. {
            if others.nobody() {
                return Err(GaveUp::Deserted);
            }
            if round < self.crew.spins {
                (0..1 << round).for_each(|_| std::hint::spin_loop());
            } else {
                match self.crew.wait {
                    Wait::Spin => (0..1 << SPINS).for_each(|_| std::hint::spin_loop()),
                    Wait::Yield => thread::yield_now(),
                    Wait::Park if round < self.crew.spins + YIELDS => thread::yield_now(),
                    Wait::Park => {
                        own.bed.lie_down();
                        // Whoever moves something from here on, or leaves, wakes this worker.
                        let done = attempt();
                        if done.is_some() || others.nobody() {
                            own.bed.get_up();
                            return done.ok_or(GaveUp::Deserted);
                        }
                        if !own.bed.sleep(PATIENCE) {
                            return Err(GaveUp::Stuck);
                        }
                    }
                }
            }
            if let Some(done) = attempt() {
                return Ok(done);
            }
            if round % GLANCE == GLANCE - 1 && since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                break;
            }
        }
        Err(GaveUp::Stuck)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_tries_again_until_it_succeeds_or_the_others_have_left() {
        for wait in [Wait::Spin, Wait::Yield] {
            for threads in [2, 1000] {
                let crew = Crew::new(1, 1, threads, wait);
                let (here, waiting) = (crew.stay_pushing(), crew.consumer());
                let mut attempts = 0;
                let third = || {
                    attempts += 1;
                    (attempts == 3).then_some(())
                };
                assert_eq!(waiting.until(third), Ok(()));
                drop(here);
                assert_eq!(waiting.until(|| None::<()>), Err(GaveUp::Deserted));
            }
        }
    }

    #[test]
    fn a_sleeper_is_woken_by_what_moves_and_by_the_last_who_leaves() {
        let crew = Crew::new(1, 2, 1000, Wait::Park);
        let there = AtomicUsize::new(0);
        thread::scope(|scope| {
            let here = crew.stay_pushing();
            let take = || {
                let less = |items: usize| items.checked_sub(1);
                there.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).ok()
            };
            let [first, second] = [crew.consumer(), crew.consumer()].map(|waiting| {
                scope.spawn(move || {
                    let taken = waiting.until(take);
                    (taken.is_ok(), waiting.until(|| None::<()>))
                })
            });
            // Both wait, or will: two items, told of once, wake both.
            there.store(2, Ordering::SeqCst);
            crew.producer().moved(2);
            while there.load(Ordering::SeqCst) > 0 {
                thread::yield_now();
            }
            drop(here);
            for consumer in [first, second] {
                assert_eq!(consumer.join().expect("no panic"), (true, Err(GaveUp::Deserted)));
            }
        });
    }

    #[test]
    fn who_panics_has_left_too() {
        let crew = Crew::new(1, 0, 2, Wait::Yield);
        let panicked = thread::scope(|scope| {
            let crew = &crew;
            scope
                .spawn(move || {
                    let _here = crew.stay_pushing();
                    std::panic::resume_unwind(Box::new(()));
                })
                .join()
        });
        assert!(panicked.is_err() && crew.nobody());
    }
}
