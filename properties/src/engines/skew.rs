//! How far the clocks of two cores are apart: messages there and back, stamped at both ends.
//!
//! Why this decides soundness: shift what each core does by the error of its clock. No thread can tell
//! the difference as long as no message arrives before it was sent, so the shifted run is one that the buffer
//! could have had, with exact stamps, and a buffer that is right is right in it, too (the shifting argument of
//! Lundelius and Lynch, 1984). So nothing need be added to any tick while the shortest message between two
//! cores takes longer than their clocks differ, and that is what is measured, with the stamps that the recorder
//! uses.

use std::fmt;
use std::hint;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use core_affinity::CoreId;

use super::stamps::Stamps;

/// What a measurement found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew {
    /// How many pairs of cores were measured.
    pub pairs: usize,
    /// How many there are: of a machine with many cores it is a sample.
    pub of_pairs: usize,
    /// How many messages were exchanged in each direction, over all pairs.
    pub exchanges: u64,
    /// The least number of ticks by which a message arrived after it was sent. Below 0: some arrived before,
    /// and the clocks are apart by at least that.
    pub shortest: i64,
    /// The clocks of no pair that was measured are further apart than this many ticks.
    pub bound: i64,
}

/// More pairs than these are not measured: machines with many cores would take seconds.
const MOST_PAIRS: usize = 120;
/// Spins before the other side is taken to be off its core.
const SPINS: u32 = 20_000;

impl Skew {
    /// Exchanges about so many messages between the cores that this process may use, two at a time.
    pub fn measure(stamps: &impl Stamps, exchanges: u64) -> Skew {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        let all = cores.iter().enumerate().flat_map(|(at, one)| {
            let others = &cores[at + 1..];
            others.iter().map(move |other| (*one, *other))
        });
        let pairs: Vec<(CoreId, CoreId)> = all.collect();
        let of_pairs = pairs.len();
        // Every so many-th, so that all cores are among them.
        let pairs: Vec<_> = pairs.iter().step_by(pairs.len().div_ceil(MOST_PAIRS).max(1)).collect();
        let each = exchanges.div_ceil(pairs.len().max(1) as u64);
        let mut skew = Skew { pairs: pairs.len(), of_pairs, exchanges: 0, shortest: i64::MAX, bound: 0 };
        for (one, other) in pairs {
            let [there, back] = exchange(stamps, *one, *other, each);
            skew.exchanges += each;
            skew.shortest = skew.shortest.min(there).min(back);
            // What arrived after so many ticks cannot have been sent by a clock that is further behind.
            skew.bound = skew.bound.max(there.abs()).max(back.abs());
        }
        skew
    }

    /// What two measurements of the same clocks say together.
    #[must_use]
    pub fn and(self, later: Skew) -> Skew {
        Skew {
            pairs: self.pairs.max(later.pairs),
            of_pairs: self.of_pairs.max(later.of_pairs),
            exchanges: self.exchanges + later.exchanges,
            shortest: self.shortest.min(later.shortest),
            bound: self.bound.min(later.bound),
        }
    }

    /// Whether the stamps of all cores can be compared.
    ///
    /// # Errors
    /// By how much they cannot.
    pub fn check(&self) -> Result<(), String> {
        if self.shortest >= 0 {
            return Ok(());
        }
        Err(format!(
            "the clocks of two cores differ: of {} messages one arrived {} ticks before it was sent",
            self.exchanges, -self.shortest
        ))
    }
}

impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pairs == 0 {
            return f.write_str("one core, so one clock");
        }
        let sampled =
            if self.pairs < self.of_pairs { format!(" (of {})", self.of_pairs) } else { String::new() };
        write!(
            f,
            "the clocks of {}{sampled} pair{} of cores differ by at most {} ticks, and the fastest of {} messages \
             each way arrived {} ticks after it was sent",
            self.pairs,
            if self.of_pairs == 1 { "" } else { "s" },
            self.bound,
            self.exchanges,
            self.shortest
        )
    }
}

/// A stamp in flight, with the parity of its round, on a cache line of its own.
#[repr(align(128))]
#[derive(Default)]
struct Mailbox(AtomicU64);

impl Mailbox {
    fn send(&self, stamps: &impl Stamps, round: u64) {
        self.0.store(stamps.call() << 1 | round & 1, Ordering::Release);
    }

    /// How many ticks the message took.
    fn receive(&self, stamps: &impl Stamps, round: u64) -> i64 {
        let mut spins = 0;
        loop {
            let message = self.0.load(Ordering::Acquire);
            if message & 1 == round & 1 {
                return stamps.ret().wrapping_sub(message >> 1) as i64;
            }
            spins += 1;
            if spins % SPINS == 0 {
                thread::yield_now();
            }
            hint::spin_loop();
        }
    }
}

/// The least number of ticks there and back.
fn exchange(stamps: &impl Stamps, one: CoreId, other: CoreId, rounds: u64) -> [i64; 2] {
    let (ask, answer) = (Mailbox::default(), Mailbox::default());
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            // Where a thread cannot be pinned the measurement is of other cores, and true of those.
            core_affinity::set_for_current(one);
            let rounds = (1..=rounds).map(|round| {
                ask.send(stamps, round);
                answer.receive(stamps, round)
            });
            rounds.min()
        });
        let answering = scope.spawn(|| {
            core_affinity::set_for_current(other);
            let rounds = (1..=rounds).map(|round| {
                let took = ask.receive(stamps, round);
                answer.send(stamps, round);
                took
            });
            rounds.min()
        });
        [answering, asking].map(|thread| thread.join().expect("nothing here panics").unwrap_or(i64::MAX))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::thread::ThreadId;

    use super::*;
    use crate::buffer_history::Tick;
    use crate::engines::stamps::Counter;

    /// A clock that is behind on every thread but the first that reads it.
    struct Behind {
        counter: Counter,
        first: Mutex<Option<ThreadId>>,
        by: Tick,
    }

    impl Stamps for Behind {
        fn call(&self) -> Tick {
            let current = thread::current().id();
            let first = *self.first.lock().expect("nothing panics with it").get_or_insert(current);
            let now = self.counter.call() + 10_000;
            if first == current { now } else { now - self.by }
        }

        fn ret(&self) -> Tick {
            self.call()
        }

        fn between(&self) -> Tick {
            self.call()
        }
    }

    fn measure(by: Tick) -> Skew {
        Skew::measure(&Behind { counter: Counter::default(), first: Mutex::default(), by }, 200)
    }

    #[test]
    fn clocks_that_differ_more_than_messages_take_are_refused() {
        let agreeing = measure(0);
        assert_eq!(agreeing.check(), Ok(()));
        let apart = measure(1000);
        if apart.pairs > 0 {
            assert!(apart.bound >= 900, "{apart}");
            assert!(apart.check().is_err_and(|why| why.contains("before it was sent")), "{apart}");
            assert!(agreeing.and(apart).check().is_err(), "one bad measurement is enough");
        }
    }
}
