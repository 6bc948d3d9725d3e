//! What the operating system does to the numbers: on a busy machine a thread that wakes up waits for its turn, and
//! that may be longer than a sync.

use std::fs;
use std::time::Duration;

/// A raw append and sync that takes longer than this says more of the scheduler than of the disk.
pub const SUSPICIOUS: Duration = Duration::from_millis(1);

/// The scheduling class of this process, in words.
pub fn class() -> &'static str {
    fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(policy).map_or("not known", |policy| {
        match policy {
            0 => "normal; where it is permitted, `chrt -r 1` before the command gives the real-time class",
            1 => "real time, first in first out",
            2 => "real time, round robin",
            3 => "batch",
            5 => "idle",
            6 => "deadline",
            _ => "not known",
        }
    })
}

/// Field 41; the second, a name, may hold spaces and brackets.
fn policy(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(41 - 3)?.parse().ok()
}

/// The time that all cores together spent since the machine began, in ticks: all of it, and what the host took
/// for somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    all: u64,
    stolen: u64,
}

impl Cores {
    /// Until now. `None`: the system does not say.
    pub fn now() -> Option<Cores> {
        Cores::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    fn parse(stat: &str) -> Option<Cores> {
        let ticks = stat.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = ticks.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        // Guests are in the first two already.
        Some(Cores { all: ticks.iter().take(8).sum(), stolen: *ticks.get(7)? })
    }

    /// Which share was taken by the host since then.
    pub fn stolen_since(&self, then: &Cores) -> f64 {
        let all = self.all.saturating_sub(then.all).max(1);
        self.stolen.saturating_sub(then.stolen) as f64 / all as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_field_41() {
        let fields: Vec<String> = (3..=52).map(|field| field.to_string()).collect();
        assert_eq!(policy(&format!("7 (a) name)) {}", fields.join(" "))), Some(41));
        assert_eq!(policy("7 (name) S 1"), None);
        assert_ne!(class(), "");
    }

    #[test]
    fn stolen_time_is_a_share_of_what_passed() {
        let then = Cores::parse("cpu  10 0 10 70 0 0 0 10 5 5\ncpu0 1").expect("is one");
        let now = Cores::parse("cpu  20 0 20 140 0 0 0 20 9 9\n").expect("is one");
        assert_eq!((then, now.stolen_since(&then)), (Cores { all: 100, stolen: 10 }, 0.1));
        assert_eq!(Cores::parse("cpu  1 2"), None);
    }
}
