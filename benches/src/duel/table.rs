//! A duel as text: at most 100 columns, words before signs.

use std::io::{self, Write};

use stanchion_reports::results::{Answer, Better, Comparison, Measurement, State};

use super::Options;
use crate::comparison::Contest;
use crate::machine::Machine;

/// Before the first contest: what the machine costs, and how to do it again.
pub(super) fn head(out: &mut impl Write, options: &Options, machine: &Machine) -> io::Result<()> {
    writeln!(out, "\nduel of about {} s, seed {}", options.time.as_secs(), options.seed)?;
    limits(out, machine)
}

/// What no table can be better than.
pub(super) fn limits(out: &mut impl Write, machine: &Machine) -> io::Result<()> {
    let distance = match machine.round_trip_ns {
        Some(ns) => {
            format!("a cache line goes there and back in {ns:.0} ns: the two are {}", machine.distance())
        }
        None => "one core: threads only take turns".into(),
    };
    writeln!(
        out,
        "machine: {} cores; {distance}\n         \
         uncontended: compare-and-swap {:.1} ns, fetch-and-add {:.1} ns; memory is copied at {:.1} GB/s",
        machine.cores,
        machine.cas_ns,
        machine.fetch_add_ns,
        machine.copy_bytes_per_s / 1e9
    )
}

/// One contest.
pub(super) fn body(
    out: &mut impl Write,
    contest: &Contest<'_>,
    measurements: &[Measurement],
    comparisons: &[Comparison],
    floor: Option<f64>,
) -> io::Result<()> {
    let parameters: Vec<String> =
        contest.parameters.iter().map(|(label, value)| format!("{label} {value}")).collect();
    let rounds = comparisons.first().map_or(0, |comparison| comparison.rounds);
    writeln!(out, "\n{}: {}; {rounds} rounds", contest.workload, parameters.join(", "))?;
    let names = measurements.iter().map(|measurement| measurement.queue.chars().count());
    let width = names.max().unwrap_or(0).max("queue".len());
    writeln!(
        out,
        "  {:width$}  {:>9}  {:>7}  {:>18}  verdict",
        "queue",
        if contest.unit().1 == Better::Lower { "ns" } else { "M items/s" },
        "ratio",
        "99 % interval"
    )?;
    for measurement in measurements {
        let of = |control| {
            comparisons.iter().find(|known| known.b == measurement.queue && known.control == control)
        };
        let rate = match (measurement.state, &measurement.estimate) {
            (State::Ok, Some(estimate)) => amount(contest, estimate.median),
            _ => "-".into(),
        };
        let (ratio, interval) = of(false).map_or(("1".into(), String::new()), figures);
        let words = match (&measurement.reason, of(false)) {
            (Some(reason), _) => format!("NO NUMBER: {reason}"),
            (None, None) => "the reference".into(),
            (None, Some(comparison)) => verdict(comparison),
        };
        writeln!(out, "  {:width$}  {rate:>9}  {ratio:>7}  {interval:>18}  {words}", measurement.queue)?;
    }
    for control in comparisons.iter().filter(|comparison| comparison.control) {
        let (ratio, interval) = figures(control);
        writeln!(
            out,
            "  {:width$}  {:>9}  {ratio:>7}  {interval:>18}  the reference against itself: the noise",
            "A/A", ""
        )?;
    }
    if let Some(floor) = floor {
        writeln!(
            out,
            "  {:width$}  {:>9}  the driver without a queue: no row can be above",
            "",
            millions(floor)
        )?;
    }
    Ok(())
}

/// After the last contest: what the numbers cannot tell.
pub(super) fn foot(out: &mut impl Write, machine: &Machine, contests: &[Contest<'_>]) -> io::Result<()> {
    writeln!(out, "\nWhat these numbers cannot tell:")?;
    let busiest = contests.iter().map(|contest| contest.threads).max().unwrap_or(0);
    if busiest > machine.cores {
        writeln!(
            out,
            "- {busiest} threads on {} cores are oversubscribed: that shows waiting, not contention.",
            machine.cores
        )?;
    }
    writeln!(
        out,
        "- They hold for this run: the distance of virtual cores changes from hour to hour. Compare ratios.\n\
         - They are closed loops, as fast as it goes: they say nothing of latency at a given rate.\n\
         - Every item is made, checked and entered into a ledger (about {:.1} ns) in the measured time, on all queues.\n\
         - Each interval stands for itself, not corrected for their number (Holm): 1 in 100 may miss.\n\
         - A difference counts when its whole interval is beyond 5 % and beyond what A/A shows.",
        machine.ledger_ns
    )
}

fn figures(comparison: &Comparison) -> (String, String) {
    match (comparison.ratio, comparison.lo, comparison.hi) {
        (Some(ratio), Some(lo), Some(hi)) => (times(ratio), format!("{} to {}", times(lo), times(hi))),
        _ => ("-".into(), String::new()),
    }
}

fn verdict(comparison: &Comparison) -> String {
    let words = comparison.verdict.words();
    match (comparison.verdict, &comparison.reason, comparison.smallest_visible) {
        (_, Some(reason), _) => format!("{words}: {reason}"),
        (Answer::TooNoisy, None, Some(visible)) => {
            format!("{words} (could see {:.0} %)", visible * 100.0)
        }
        _ => words.into(),
    }
}

/// Two decimals for what is about equal, two or three digits for all else.
pub fn times(ratio: f64) -> String {
    let decimals = match ratio {
        r if r >= 100.0 => 0,
        r if r >= 10.0 => 1,
        r if r >= 0.1 => 2,
        r if r >= 0.01 => 3,
        r if r >= 0.001 => 4,
        _ => 5,
    };
    format!("{ratio:.decimals$}")
}

/// A number of the contest: nanoseconds, or millions a second.
pub(super) fn amount(contest: &Contest<'_>, value: f64) -> String {
    if contest.unit().1 == Better::Lower { format!("{value:.0}") } else { millions(value) }
}

fn millions(rate: f64) -> String {
    let millions = rate / 1e6;
    let decimals = match millions {
        m if m >= 100.0 => 0,
        m if m >= 10.0 => 1,
        m if m >= 0.1 => 2,
        _ => 5,
    };
    format!("{millions:.decimals$}")
}

#[cfg(test)]
mod tests {
    use stanchion_reports::results::Estimate;

    use super::*;

    fn comparison(b: &str, control: bool, ratio: f64, verdict: Answer) -> Comparison {
        Comparison {
            a: "array_queue".into(),
            b: b.into(),
            control,
            ratio: Some(ratio),
            lo: Some(ratio * 0.9),
            hi: Some(ratio * 1.1),
            smallest_visible: Some(0.17),
            rounds: 40,
            verdict,
            ..Comparison::default()
        }
    }

    fn measurement(queue: &str, median: f64) -> Measurement {
        let estimate = Some(Estimate { median, ..Estimate::default() });
        Measurement { queue: queue.into(), estimate, ..Measurement::default() }
    }

    #[test]
    fn a_table_says_in_words_what_was_found() {
        let contest = Contest {
            workload: "spsc",
            label: "1x1-8B".into(),
            parameters: vec![("item".into(), "8 B".into())],
            step: 1,
            most: 1,
            asks: None,
            threads: 2,
            subjects: Vec::new(),
            reference: 0,
        };
        let measurements = [
            measurement("array_queue", 52_340_000.0),
            measurement("ring", 104_600_000.0),
            measurement("deque", 50_000_000.0),
            Measurement {
                state: State::Invalid,
                reason: Some("3 lost, of 100 items".into()),
                ..measurement("leaky", 1e9)
            },
        ];
        let leaky = Comparison {
            reason: Some("leaky: 3 lost".into()),
            ..comparison("leaky", false, 1.0, Answer::NotComparable)
        };
        let comparisons = [
            comparison("array_queue", true, 1.0, Answer::TooNoisy),
            comparison("ring", false, 2.0, Answer::Faster),
            comparison("deque", false, 0.95, Answer::TooNoisy),
            Comparison { ratio: None, ..leaky },
        ];
        let mut out = Vec::new();
        body(&mut out, &contest, &measurements, &comparisons, Some(9.5e8)).expect("written");
        let expected = "
spsc: item 8 B; 40 rounds
  queue        M items/s    ratio       99 % interval  verdict
  array_queue       52.3        1                      the reference
  ring               105     2.00        1.80 to 2.20  faster
  deque             50.0     0.95        0.85 to 1.04  too noisy to say (could see 17 %)
  leaky                -        -                      NO NUMBER: 3 lost, of 100 items
  A/A                        1.00        0.90 to 1.10  the reference against itself: the noise
                     950  the driver without a queue: no row can be above
";
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }

    #[test]
    fn slow_queues_keep_their_digits() {
        assert_eq!([412.0, 1_500_000.0].map(millions), ["0.00041", "1.50"]);
        assert_eq!([0.00014, 0.123, 12.34, 123.4].map(times), ["0.00014", "0.12", "12.3", "123"]);
    }
}
