//! What the machine itself costs, to print beside a table: how far apart two cores are decides how fast
//! anything can pass between them, and it may change from hour to hour under a hypervisor.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::crew::{core_count, pin};
use crate::ledger::Tally;
use crate::trial::Span;
use crate::workload::Identity;

/// What the machine itself costs, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// How many cores there are to work on.
    pub cores: usize,
    /// A cache line from the first core to the second and back. `None`: there is one core.
    pub round_trip_ns: Option<f64>,
    /// A compare-and-swap that nobody contends.
    pub cas_ns: f64,
    /// Entering one expected item into the ledger, which happens inside of the measured loop.
    pub ledger_ns: f64,
}

impl Machine {
    /// Measures, in a few milliseconds on an idle machine.
    pub fn measure() -> Machine {
        let (cas_ns, ledger_ns) = thread::scope(|scope| {
            let alone = scope.spawn(|| {
                pin(0);
                (cas(), ledger())
            });
            alone.join().expect("it only counts")
        });
        let cores = core_count();
        Machine { cores, round_trip_ns: (cores > 1).then(round_trip), cas_ns, ledger_ns }
    }
}

const REPEATS: u64 = 20_000;
/// The least of so many: everything that disturbs makes it longer.
const TRIES: usize = 5;

fn least_ns(mut time: impl FnMut() -> Duration) -> f64 {
    let least = (0..TRIES).map(|_| time()).min().unwrap_or_default();
    least.as_nanos() as f64 / REPEATS as f64
}

fn cas() -> f64 {
    let word = AtomicU64::new(0);
    least_ns(|| {
        let (span, ()) = Span::of(|| {
            for count in 0..REPEATS {
                let _ = black_box(&word).compare_exchange(
                    word.load(Ordering::Relaxed),
                    count,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                );
            }
        });
        span.end - span.start
    })
}

fn ledger() -> f64 {
    least_ns(|| {
        let mut tally = Tally::new(std::iter::once(REPEATS), true);
        let (span, ()) = Span::of(|| {
            for sequence in 0..REPEATS {
                tally.enter(black_box(Some(Identity { producer: 0, sequence })));
            }
        });
        black_box(&tally);
        span.end - span.start
    })
}

fn round_trip() -> f64 {
    least_ns(|| {
        let ball = &AtomicU64::new(0);
        let barrier = &Barrier::new(2);
        // One side serves even numbers, the other odd ones. Waiting yields now and then: another process
        // may be on the core of the other side.
        let play = move |core: usize| {
            pin(core);
            barrier.wait();
            let (span, ()) = Span::of(|| {
                for turn in 0..REPEATS {
                    let mine = 2 * turn + core as u64;
                    let mut looks = 0_u32;
                    while ball.load(Ordering::Acquire) != mine {
                        looks += 1;
                        if looks.is_multiple_of(10_000) {
                            thread::yield_now();
                        }
                        std::hint::spin_loop();
                    }
                    ball.store(mine + 1, Ordering::Release);
                }
            });
            span
        };
        let spans = thread::scope(|scope| {
            [scope.spawn(move || play(0)), scope.spawn(move || play(1))]
                .map(|side| side.join().expect("it only counts"))
        });
        Span::of_all(&spans)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_costs_something_and_nothing_costs_much() {
        let machine = Machine::measure();
        assert!(machine.cores >= 1);
        assert_eq!(machine.round_trip_ns.is_some(), machine.cores > 1);
        let costs = [Some(machine.cas_ns), Some(machine.ledger_ns), machine.round_trip_ns];
        assert!(costs.into_iter().flatten().all(|ns| ns > 0.0 && ns.is_finite()), "{machine:?}");
    }
}
