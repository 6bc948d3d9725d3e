//! What the machine itself costs, to print beside a table: how far apart two cores are decides how fast
//! anything can pass between them, and it may change from hour to hour under a hypervisor.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use stanchion_reports::results::Limit;

use crate::crew::{core_count, pin};
use crate::ledger::Tally;
use crate::trial::Span;
use crate::workload::Identity;

/// What the machine itself costs.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// How many cores there are to work on.
    pub cores: usize,
    /// A cache line from the first core to the second and back. `None`: there is one core.
    pub round_trip_ns: Option<f64>,
    /// A compare-and-swap that nobody contends.
    pub cas_ns: f64,
    /// A fetch-and-add that nobody contends.
    pub fetch_add_ns: f64,
    /// Copying memory that fits no cache, counting each byte once.
    pub copy_bytes_per_s: f64,
    /// Entering one expected item into the ledger, which happens inside of the measured loop.
    pub ledger_ns: f64,
}

impl Machine {
    /// Measures, in a few milliseconds on an idle machine.
    pub fn measure() -> Machine {
        let cores = core_count();
        let round_trip_ns = (cores > 1).then(round_trip);
        thread::scope(|scope| {
            let alone = scope.spawn(|| {
                pin(0);
                let (cas_ns, fetch_add_ns, ledger_ns) = (cas(), fetch_add(), ledger());
                Machine { cores, round_trip_ns, cas_ns, fetch_add_ns, copy_bytes_per_s: copy(), ledger_ns }
            });
            alone.join().expect("it only counts")
        })
    }

    /// How far apart the two cores are, in a word. Between runs it may be another one, and then the numbers do
    /// not compare.
    pub fn distance(&self) -> &'static str {
        match self.round_trip_ns {
            None => "one core",
            Some(ns) if ns < NEAR_NS => "near",
            Some(ns) if ns > FAR_NS => "far",
            Some(_) => "between near and far",
        }
    }

    /// All of it for the report.
    pub fn limits(&self) -> Vec<Limit> {
        let limit = |name: &str, value, unit: &str| Limit { name: name.into(), value, unit: unit.into() };
        let trip = format!("cache line there and back ({})", self.distance());
        let trip = self.round_trip_ns.map(|ns| limit(&trip, ns, "ns"));
        trip.into_iter()
            .chain([
                limit("compare-and-swap, uncontended", self.cas_ns, "ns"),
                limit("fetch-and-add, uncontended", self.fetch_add_ns, "ns"),
                limit("copying memory", self.copy_bytes_per_s, "B/s"),
                limit("one item in the ledger", self.ledger_ns, "ns"),
            ])
            .collect()
    }
}

/// A round trip below this: the cores share a cache.
const NEAR_NS: f64 = 75.0;
/// A round trip above this: they do not.
const FAR_NS: f64 = 130.0;

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

fn fetch_add() -> f64 {
    let word = AtomicU64::new(0);
    least_ns(|| {
        let (span, ()) = Span::of(|| {
            for _ in 0..REPEATS {
                black_box(&word).fetch_add(1, Ordering::AcqRel);
            }
        });
        span.end - span.start
    })
}

/// Bytes a second.
fn copy() -> f64 {
    /// More than the last cache of most machines, and still quick.
    const BYTES: usize = 32 << 20;
    let (from, mut to) = (vec![1_u8; BYTES], vec![0_u8; BYTES]);
    let times = (0..TRIES).map(|_| {
        let (span, ()) = Span::of(|| to.copy_from_slice(black_box(&from)));
        black_box(&to);
        span.end - span.start
    });
    BYTES as f64 / times.min().unwrap_or_default().as_secs_f64().max(1e-9)
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
    fn the_distance_of_the_cores_has_a_word() {
        let machine = Machine::measure();
        let of = |round_trip_ns| Machine { round_trip_ns, ..machine }.distance();
        assert_eq!(
            [None, Some(60.0), Some(100.0), Some(140.0)].map(of),
            ["one core", "near", "between near and far", "far"]
        );
    }

    #[test]
    fn everything_costs_something_and_nothing_costs_much() {
        let machine = Machine::measure();
        assert!(machine.cores >= 1);
        assert_eq!(machine.round_trip_ns.is_some(), machine.cores > 1);
        let limits = machine.limits();
        assert_eq!(limits.len(), if machine.cores > 1 { 5 } else { 4 });
        assert!(limits.iter().all(|limit| limit.value > 0.0 && limit.value.is_finite()), "{machine:?}");
    }
}
