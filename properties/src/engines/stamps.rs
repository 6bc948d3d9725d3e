//! Where ticks come from.
//!
//! A window must contain the effects of its operation: a tick may be early at a call and late at a return,
//! never the other way round. What starts late or ends early blames buffers that are right.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::buffer_history::Tick;

use super::skew::Skew;
#[cfg(target_arch = "x86_64")]
use super::tsc;

/// Where ticks come from. They are above 0 and never fall within a thread.
pub trait Stamps: Sync {
    /// Not after anything that the operation does next.
    fn call(&self) -> Tick;
    /// Not before anything that the operation did.
    fn ret(&self) -> Tick;
    /// The return of one operation and the call of the next.
    fn between(&self) -> Tick;
}

/// One counter that all threads count up: sound on every memory model, because a chain of read-modify-writes
/// orders what lies before and after each. It is also a barrier that the threads share beside the buffer, and
/// may hide what a laxer stamp would show.
#[derive(Debug)]
pub struct Counter(AtomicU64);

impl Default for Counter {
    fn default() -> Self {
        Counter(AtomicU64::new(1))
    }
}

impl Stamps for Counter {
    #[inline]
    fn call(&self) -> Tick {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    #[inline]
    fn ret(&self) -> Tick {
        self.call()
    }

    #[inline]
    fn between(&self) -> Tick {
        self.call()
    }
}

/// The time stamp counter behind fences. Sound if the counters of all cores agree so well that no message
/// between cores arrives, by their stamps, before it was sent: see [`Skew`].
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Fenced;

#[cfg(target_arch = "x86_64")]
impl Stamps for Fenced {
    #[inline(always)]
    fn call(&self) -> Tick {
        tsc::start()
    }

    #[inline(always)]
    fn ret(&self) -> Tick {
        tsc::end()
    }

    #[inline(always)]
    fn between(&self) -> Tick {
        tsc::between()
    }
}

/// The time stamp counter without fences: wrong, and here to show that wrong stamps are noticed.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Unfenced;

#[cfg(target_arch = "x86_64")]
impl Stamps for Unfenced {
    #[inline(always)]
    fn call(&self) -> Tick {
        tsc::unfenced()
    }

    #[inline(always)]
    fn ret(&self) -> Tick {
        tsc::unfenced()
    }

    #[inline(always)]
    fn between(&self) -> Tick {
        tsc::unfenced()
    }
}

/// The best stamps that this machine has.
#[derive(Debug)]
pub enum Clock {
    /// The time stamp counter, and how well the cores agree on it.
    #[cfg(target_arch = "x86_64")]
    TimeStamps(Skew),
    /// One shared counter, and why not the time stamp counter.
    Counter(Counter, String),
}

/// How many exchanges a detection makes. Some milliseconds.
const EXCHANGES: u64 = 20_000;

impl Clock {
    /// Time stamps if processor, kernel and a measurement say that all cores agree; else the counter. Measured
    /// once per process.
    pub fn detect() -> Clock {
        static USABLE: OnceLock<Result<Skew, String>> = OnceLock::new();
        match USABLE.get_or_init(usable) {
            #[cfg(target_arch = "x86_64")]
            Ok(skew) => Clock::TimeStamps(*skew),
            #[cfg(not(target_arch = "x86_64"))]
            Ok(_) => unreachable!("nothing is usable here"),
            Err(why) => Clock::counter(why.clone()),
        }
    }

    /// The counter.
    pub fn counter(why: impl Into<String>) -> Clock {
        Clock::Counter(Counter::default(), why.into())
    }

    /// Measures again. What was stamped since the detection stands only if the cores still agree.
    ///
    /// # Errors
    /// Why these stamps were not sound.
    pub fn confirm(&mut self) -> Result<(), String> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Clock::TimeStamps(skew) => {
                *skew = skew.and(Skew::measure(&Fenced, EXCHANGES / 10));
                skew.check()
            }
            Clock::Counter(..) => Ok(()),
        }
    }

    /// Whether this is the counter.
    pub fn is_counter(&self) -> bool {
        matches!(self, Clock::Counter(..))
    }
}

#[cfg(target_arch = "x86_64")]
fn usable() -> Result<Skew, String> {
    let read = |path: &str| std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let cpus = read("/proc/cpuinfo")?;
    let source = read("/sys/devices/system/clocksource/clocksource0/current_clocksource")?;
    trusted(&cpus, &source)?;
    let skew = Skew::measure(&Fenced, EXCHANGES);
    skew.check()?;
    Ok(skew)
}

#[cfg(not(target_arch = "x86_64"))]
fn usable() -> Result<Skew, String> {
    Err(format!("stamps of {} were never measured", std::env::consts::ARCH))
}

/// Whether the processor says that its counter never changes its pace or stops, and the kernel keeps its own
/// time by it. The texts are those of `/proc/cpuinfo` and of the clock source in sysfs.
#[cfg(target_arch = "x86_64")]
fn trusted(cpus: &str, source: &str) -> Result<(), String> {
    let mut flags = cpus.lines().filter(|line| line.starts_with("flags")).peekable();
    if flags.peek().is_none() {
        return Err("/proc/cpuinfo lists no flags".to_owned());
    }
    for flag in ["constant_tsc", "nonstop_tsc"] {
        if !flags.clone().all(|line| line.split_whitespace().any(|word| word == flag)) {
            return Err(format!("a processor lacks {flag}"));
        }
    }
    match source.trim() {
        "tsc" => Ok(()),
        other => Err(format!("the kernel keeps time by {other}, not by tsc")),
    }
}

impl Stamps for Clock {
    #[inline]
    fn call(&self) -> Tick {
        match self {
            #[cfg(target_arch = "x86_64")]
            Clock::TimeStamps(_) => Fenced.call(),
            Clock::Counter(counter, _) => counter.call(),
        }
    }

    #[inline]
    fn ret(&self) -> Tick {
        match self {
            #[cfg(target_arch = "x86_64")]
            Clock::TimeStamps(_) => Fenced.ret(),
            Clock::Counter(counter, _) => counter.ret(),
        }
    }

    #[inline]
    fn between(&self) -> Tick {
        match self {
            #[cfg(target_arch = "x86_64")]
            Clock::TimeStamps(_) => Fenced.between(),
            Clock::Counter(counter, _) => counter.between(),
        }
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(target_arch = "x86_64")]
            Clock::TimeStamps(skew) => {
                write!(f, "time stamp counter, constant and trusted by the kernel; {skew}")
            }
            Clock::Counter(_, why) => write!(f, "one shared counter: {why}"),
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn stamps_never_fall_within_a_thread() {
        let mut last = 0;
        for _ in 0..1000 {
            for tick in [Fenced.between(), Fenced.ret(), Fenced.between()] {
                assert!(tick >= last && tick > 0);
                last = tick;
            }
        }
    }

    #[test]
    fn a_counter_is_trusted_only_if_processor_and_kernel_say_so() {
        let good = "processor : 0\nflags : fpu tsc constant_tsc nonstop_tsc\n";
        assert_eq!(trusted(good, "tsc\n"), Ok(()));
        let refused = |cpus: &str, source: &str| trusted(cpus, source).expect_err("not to be trusted");
        assert!(refused(good, "kvm-clock\n").contains("kvm-clock"));
        assert!(refused(&good.replace("nonstop_tsc", ""), "tsc").contains("nonstop_tsc"));
        let second_is_worse = format!("{good}processor : 1\nflags : fpu tsc nonstop_tsc\n");
        assert!(refused(&second_is_worse, "tsc").contains("constant_tsc"));
        assert!(refused("", "tsc").contains("no flags"));
    }
}
