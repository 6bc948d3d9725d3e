//! The command line of a duel. It speaks like Criterion's, because `cargo bench -- FLAGS` says the same to
//! every target.

use std::fmt;
use std::time::{Duration, Instant};

use super::Selection;

/// What to run, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What to do.
    pub mode: Mode,
    /// Only ids that contain this; the reference stays.
    pub filter: Option<String>,
    /// The filter must be the whole id.
    pub exact: bool,
    /// Which workloads and queues.
    pub selection: Selection,
    /// Much less time.
    pub quick: bool,
    /// The budget for everything together. It fixes the number of rounds before the first.
    pub time: Duration,
    /// Decides the order of trials and the resamples.
    pub seed: u64,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Measure and compare.
    Measure,
    /// Run each once, to see that it works.
    Test,
    /// Say what there is.
    List,
}

/// Why the command line was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Help was asked for; here it is.
    Help(&'static str),
    /// No such flag.
    Unknown(String),
    /// This flag needs a value.
    Missing(&'static str),
    /// The value of a flag makes no sense.
    Value {
        /// Which flag.
        flag: &'static str,
        /// What was given.
        given: String,
        /// What is expected.
        expected: &'static str,
    },
    /// A second filter.
    Filters(String, String),
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Usage::Help(text) => f.write_str(text),
            Usage::Unknown(flag) => write!(f, "no such flag: {flag}; --help shows those there are"),
            Usage::Missing(flag) => write!(f, "{flag} needs a value; --help shows which"),
            Usage::Value { flag, given, expected } => write!(f, "{flag} is {given:?}: give {expected}"),
            Usage::Filters(first, second) => {
                write!(f, "two filters, {first:?} and {second:?}: give one part of an id; --list shows them")
            }
        }
    }
}

impl std::error::Error for Usage {}

const HELP: &str = "\
Compares queues in interleaved rounds.

usage: cargo bench --bench duel -- [FLAGS] [FILTER]

  FILTER          only ids that contain it; the reference always takes part
  --exact         the filter is a whole id
  --workload A,B  seq, spsc, mpsc, spmc, mpmc, pairs, ping_pong, deliver
  --batch N,M     items in one call; 1 are single calls
  --wait A,B      at full and empty: spin, yield, park
  --item N,M      bytes of an item: 8, 64, 256
  --queue A,B     only these queues, by their whole names
  --reference A   the queue that the others are compared with, where it takes part
  --list          say what there is, and end
  --test          run each once, to see that it works
  --quick         20 seconds in place of 240
  --time SECONDS  the budget for everything together
  --seed NUMBER   decides the order of trials; the default is another one in every run

Without any of workload, batch, wait and item, a choice is run: spsc and pairs with 8 and 64 bytes, mpsc, mpmc
(parking) and ping_pong with 8, all single and in batches of 32, and deliver. With any of them, all
combinations that make sense; what is not given is then every workload, single items, yield, 8 bytes.
For one pair of queues over a range: --queue ring --reference rtrb --workload spsc --batch 1,32,256 --item 8,64,256

exit codes: 0 measured, 1 not stored, 2 a bad flag, 4 nothing matches, 10 a ledger was not clean";

const STANDARD: Duration = Duration::from_secs(240);
const QUICK: Duration = Duration::from_secs(20);

impl Options {
    /// Reads arguments, without the program's name. Without `--bench`, which `cargo bench` adds and `cargo
    /// test` does not, everything is run once: as in Criterion.
    ///
    /// # Errors
    /// What is wrong with them, or the help.
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Options, Usage> {
        let (mut bench, mut test, mut list, mut exact, mut quick) = (false, false, false, false, false);
        let (mut filter, mut time, mut seed) = (None::<String>, None, None);
        let mut selection = Selection::default();
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let (flag, attached) = match argument.split_once('=') {
                Some((flag, value)) if flag.starts_with("--") => (flag, Some(value.to_owned())),
                _ => (argument.as_str(), None),
            };
            let mut value = |flag| attached.clone().or_else(|| arguments.next()).ok_or(Usage::Missing(flag));
            match flag {
                "--time" => time = Some(seconds(value("--time")?)?),
                "--seed" => seed = Some(number(value("--seed")?)?),
                "--workload" => selection.name_workloads(&value("--workload")?)?,
                "--batch" => selection.name_batches(&value("--batch")?)?,
                "--wait" => selection.name_waits(&value("--wait")?)?,
                "--item" => selection.name_items(&value("--item")?)?,
                "--queue" => selection.queues = value("--queue")?.split(',').map(str::to_owned).collect(),
                "--reference" => selection.reference = Some(value("--reference")?),
                _ if attached.is_some() => return Err(Usage::Unknown(argument)),
                "--bench" => bench = true,
                "--test" => test = true,
                "--list" => list = true,
                "--exact" => exact = true,
                "--quick" => quick = true,
                "--help" | "-h" => return Err(Usage::Help(HELP)),
                // Said to every target alike; there is nothing here that they could change.
                "--noplot" | "-n" | "--nocapture" | "--show-output" | "--quiet" | "--verbose" | "-v" => {}
                _ if flag.starts_with('-') => return Err(Usage::Unknown(argument)),
                _ => {
                    if let Some(first) = filter.replace(argument.clone()) {
                        return Err(Usage::Filters(first, argument));
                    }
                }
            }
        }
        let mode = if list {
            Mode::List
        } else if test || !bench {
            Mode::Test
        } else {
            Mode::Measure
        };
        let time = time.unwrap_or(if quick { QUICK } else { STANDARD });
        Ok(Options { mode, filter, exact, selection, quick, time, seed: seed.unwrap_or_else(fresh_seed) })
    }

    /// What was asked for, to be told when nothing matches it.
    pub fn asked(&self) -> String {
        let filter = self.filter.as_deref().map(|filter| format!("{filter:?}"));
        let parts: Vec<String> = filter.into_iter().chain(self.selection.asked()).collect();
        if parts.is_empty() { "an empty list of queues".into() } else { parts.join(" and ") }
    }

    /// An equal share of what is left of the budget, for one of so many that are still to come.
    pub(crate) fn share(&self, begun: Instant, to_come: usize) -> Duration {
        self.time.saturating_sub(begun.elapsed()) / u32::try_from(to_come.max(1)).unwrap_or(u32::MAX)
    }

    /// Whether the filter lets this id through.
    pub fn selects(&self, id: &str) -> bool {
        match &self.filter {
            None => true,
            Some(filter) if self.exact => id == filter,
            Some(filter) => id.contains(filter.as_str()),
        }
    }
}

fn seconds(given: String) -> Result<Duration, Usage> {
    given
        .parse()
        .ok()
        .filter(|seconds| *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or(Usage::Value { flag: "--time", given, expected: "seconds above zero, as in 60" })
}

fn number(given: String) -> Result<u64, Usage> {
    given.parse().map_err(|_| Usage::Value { flag: "--seed", given, expected: "a whole number, as printed" })
}

/// Another one in every run, and short enough to be typed.
fn fresh_seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::from(since.subsec_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<Options, Usage> {
        Options::parse(arguments.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn cargo_bench_measures_and_cargo_test_only_tries() {
        let mode = |arguments| parse(arguments).expect("good").mode;
        assert_eq!(mode("--bench"), Mode::Measure);
        assert_eq!(mode(""), Mode::Test);
        assert_eq!(mode("--test --bench"), Mode::Test);
        assert_eq!(mode("--list --bench"), Mode::List);
    }

    #[test]
    fn values_are_read_in_both_spellings() {
        let options = parse("--bench spsc/ring --time 2.5 --seed=7 --quick --noplot").expect("good");
        assert_eq!((options.time, options.seed), (Duration::from_millis(2500), 7));
        assert!(options.selects("spsc/ring/1x1-8B") && !options.selects("mpmc/ring/2x2-8B"));
        assert_eq!(parse("--quick").expect("good").time, QUICK);
        let exact = parse("--exact spsc/ring").expect("good");
        assert!(!exact.selects("spsc/ring/1x1-8B") && exact.selects("spsc/ring"));
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_named() {
        for (arguments, named) in [
            ("--frobnicate", "--frobnicate"),
            ("--bench=yes", "--bench=yes"),
            ("--time", "--time"),
            ("--time soon", "soon"),
            ("--time 0", "--time"),
            ("--time -3", "-3"),
            ("--time nan", "nan"),
            ("--time 1e300", "1e300"),
            ("--seed 0x7", "0x7"),
            ("--workload spsc,nonsense", "nonsense"),
            ("--batch 0", "--batch"),
            ("--batch 8,many", "many"),
            ("--batch 99999999", "99999999"),
            ("--wait forever", "forever"),
            ("--item 7", "7"),
            ("--queue", "--queue"),
            ("one two", "two"),
        ] {
            let usage = parse(arguments).expect_err(arguments);
            assert!(usage.to_string().contains(named), "{usage}");
        }
        assert_eq!(parse("--help"), Err(Usage::Help(HELP)));
    }
}
