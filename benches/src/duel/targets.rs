//! What a ring is to reach against its peers. One table: the case, the ratio to the best of its rivals with its
//! interval, the target, and whether it is reached.

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use stanchion_reports::results;

use super::{Fight, Mode, Options, Usage, add, results_of, store, table};
use crate::comparison::{Comparison, Contest};
use crate::exit;
use crate::floor;
use crate::machine::Machine;
use crate::statistics::Random;
use crate::workload::{ItemSize, Topology, Wait, Workload};

/// One case.
struct Target {
    workload: Workload,
    /// The names of those it is compared with; the best of them counts.
    rivals: &'static [&'static str],
    /// At least so many times as good as the best rival.
    at_least: f64,
}

const ARRAY_QUEUE: &[&str] = &["crossbeam_array_queue"];
const RTRB: &[&str] = &["rtrb"];
const BLOCKING: &[&str] = &[
    "crossbeam_channel_blocking",
    "std_sync_channel_blocking",
    "crossfire_blocking",
    "kanal_blocking",
    "flume_blocking",
    "async_channel_blocking",
];

/// Where there is one producer and one consumer, a ring is to be level with the best ring for that; elsewhere
/// ahead of crossbeam's, and by far with batches; and level with channels that sleep when threads outnumber
/// cores.
///
/// # What two cores do not reach
/// Both cases have more threads than cores and move single items among several ends of a side. There a thread can lose
/// its core between its claim and its publication, and the next of its side must wait until it has a core again;
/// a queue with a stamp for each slot lets the next one finish (the likely reason; how long they wait was not measured).
/// - 2 to 1, single: 0.90 (0.86 to 0.95) of ArrayQueue in the last run, 0.60 (0.58 to 0.63) in the one before, with the
///   cores 113 to 116 ns apart. The two cursors of a side on lines of their own gained a tenth of that, not the rest.
/// - 2 to 2, single, parked: 0.84 (0.79 to 0.91) of crossfire in the last run, 0.65 (0.62 to 0.71) before, as little as with
///   yielding. Without the fence that every wake-up needs, which would be wrong, it was 0.75 where it was 0.71 with it; a
///   locked exchange in its place changed nothing; 0 and 1024 yields before sleeping were worse than 4, and 16 the same.
///
/// Where it is level with rtrb, single items of 8 and 256 bytes from one thread to another, a run may say either: 0.90 to
/// 1.05 of 8 bytes, 0.90 to 1.01 of 256 in seven runs.
fn all() -> Vec<Target> {
    use ItemSize::Word;
    let target = |workload, rivals, at_least| Target { workload, rivals, at_least };
    let of = |topology, item, batch| Workload { batch, ..Workload::new(topology, item) };
    let mut targets = Vec::new();
    for item in ItemSize::ALL {
        targets.extend([1, 32, 256].map(|batch| target(of(Topology::Spsc, item, batch), RTRB, 1.0)));
    }
    for (batch, at_least) in [(1, 1.0), (8, 2.0), (32, 5.0), (256, 10.0)] {
        targets.push(target(of(Topology::Pairs, Word, batch), ARRAY_QUEUE, at_least));
    }
    for topology in [Topology::Mpsc, Topology::Spmc] {
        let two = |batch| Workload { many: 2, ..of(topology, Word, batch) };
        targets
            .extend([(1, 1.0), (32, 5.0)].map(|(batch, at_least)| target(two(batch), ARRAY_QUEUE, at_least)));
    }
    let four = Workload { many: 2, wait: Wait::Park, ..of(Topology::Mpmc, Word, 1) };
    targets.push(target(four, BLOCKING, 1.0));
    targets.push(target(of(Topology::PingPong, Word, 1), ARRAY_QUEUE, 1.0));
    targets
}

impl Comparison {
    /// The whole of a bench target that measures the buffer of this name against what a ring is to reach. It
    /// reads the command line of a duel, prints a table, and stores the fragment "ring_targets". That a target
    /// is missed is a finding and not a failure; for exit codes see [`exit`].
    pub fn targets_main(&self, ring: &str) -> ExitCode {
        let options = match Options::parse(std::env::args().skip(1)) {
            Ok(options) => options,
            Err(Usage::Help(text)) => {
                println!("{}", text.replace("--bench duel", "--features peers --bench ring_targets"));
                return ExitCode::SUCCESS;
            }
            Err(usage) => {
                eprintln!("{usage}");
                return ExitCode::from(exit::USAGE);
            }
        };
        ExitCode::from(self.targets(ring, &options, &mut std::io::stdout().lock()))
    }

    fn targets(&self, ring: &str, options: &Options, out: &mut impl Write) -> u8 {
        let cases: Vec<(Target, Contest<'_>)> = all()
            .into_iter()
            .filter_map(|target| {
                let contest = self.case(ring, &target)?;
                contest
                    .subjects
                    .iter()
                    .any(|subject| options.selects(&contest.id(subject)))
                    .then_some((target, contest))
            })
            .collect();
        if cases.is_empty() {
            eprintln!("no target of {ring} matches {}: --list shows what there is", options.asked());
            return exit::NOTHING_SELECTED;
        }
        let contests = || cases.iter().map(|(_, contest)| contest);
        let done = match options.mode {
            Mode::List => super::list(contests(), out).map(|()| 0),
            Mode::Test => super::smoke(contests(), out),
            Mode::Measure => measure(&cases, options, out),
        };
        done.unwrap_or_else(|error| {
            eprintln!("the targets could not be reported: {error}");
            exit::INTERNAL
        })
    }

    /// The ring, as the reference, and those of its rivals that there are. `None`: there are none.
    fn case(&self, ring: &str, target: &Target) -> Option<Contest<'_>> {
        let mut contest = self.buffers_in(target.workload);
        let takes_part = |name: &str| name == ring || target.rivals.contains(&name);
        contest.refer_to(ring);
        let chosen: Vec<bool> = contest.subjects.iter().map(|subject| takes_part(subject.name)).collect();
        contest.keep(&chosen);
        let reference = contest.subjects.get(contest.reference)?.name;
        (reference == ring && contest.subjects.len() > 1).then_some(contest)
    }
}

fn measure(cases: &[(Target, Contest<'_>)], options: &Options, out: &mut impl Write) -> std::io::Result<u8> {
    let begun = Instant::now();
    let mut random = Random::new(options.seed);
    let machine = Machine::measure();
    let mut found = results_of("ring_targets", options, &machine);
    table::head(out, options, &machine)?;
    let ring = cases.iter().find_map(|(_, contest)| contest.subjects.get(contest.reference));
    writeln!(
        out,
        "\n{:30}  {:>10}  {:>10}  {:>6}  {:>14}  {:>6}  verdict ({} against the best rival)",
        "case",
        ring.map_or("", |ring| ring.name),
        "rival",
        "ratio",
        "99 % interval",
        "target",
        ring.map_or("", |ring| ring.name),
    )?;
    for (index, (target, contest)) in cases.iter().enumerate() {
        let budget = options.share(begun, cases.len() - index);
        eprintln!("{} {} for about {} s", contest.workload, contest.label, budget.as_secs());
        let fight = Fight::run(contest, budget, &mut random);
        let (measurements, comparisons) = fight.report(&mut random);
        let case = format!("{} {}", contest.workload, contest.label);
        let ring = contest.subjects[contest.reference].name;
        let value = |name: &str| {
            let measured = measurements.iter().find(|measured| measured.queue == name);
            let median = measured.and_then(|measured| measured.estimate).map(|estimate| estimate.median);
            median.map_or("-".into(), |median| table::amount(contest, median))
        };
        match best(&comparisons) {
            Some(rival) => {
                let (ratio, lo, hi) = inverse(rival);
                writeln!(
                    out,
                    "{case:30}  {:>10}  {:>10}  {:>6}  {:>14}  {:>6}  {}: {} after {} rounds",
                    value(ring),
                    value(&rival.b),
                    table::times(ratio),
                    format!("{} to {}", table::times(lo), table::times(hi)),
                    table::times(target.at_least),
                    verdict(target.at_least, lo, hi),
                    rival.b,
                    rival.rounds
                )?;
            }
            None => writeln!(out, "{case:30}  NO NUMBER")?,
        }
        // The best of those that are left may not be the best there is.
        for (rival, reason) in left_out(&comparisons) {
            writeln!(out, "{:30}  {rival} is not compared: {reason}", "")?;
        }
        let floor = floor::rate(&target.workload);
        add(&mut found, contest, measurements, comparisons, floor);
    }
    writeln!(
        out,
        "\nRates in M items/s, ping_pong in ns. Reached: the whole interval is at or above the target; missed: all of it is\n\
         below; else the rounds do not suffice to say, allow more --time."
    )?;
    store("ring_targets", &mut found, begun, out)
}

/// The rival that is best relative to the ring.
fn best(comparisons: &[results::Comparison]) -> Option<&results::Comparison> {
    comparisons
        .iter()
        .filter(|comparison| !comparison.control)
        .filter_map(|comparison| Some((comparison.ratio?, comparison)))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, comparison)| comparison)
}

/// Rivals without a number, and why.
fn left_out(comparisons: &[results::Comparison]) -> impl Iterator<Item = (&str, &str)> {
    let left_out = comparisons.iter().filter(|comparison| !comparison.control && comparison.ratio.is_none());
    left_out
        .map(|comparison| (comparison.b.as_str(), comparison.reason.as_deref().unwrap_or("no reason given")))
}

/// The ring relative to the rival, where the comparison is of the rival relative to the ring.
fn inverse(rival: &results::Comparison) -> (f64, f64, f64) {
    let inverse = |ratio: Option<f64>| 1.0 / ratio.unwrap_or(f64::NAN);
    (inverse(rival.ratio), inverse(rival.hi), inverse(rival.lo))
}

/// What an interval says of a ratio that is to be at least so much, in a word.
pub fn verdict(at_least: f64, lo: f64, hi: f64) -> &'static str {
    if lo >= at_least {
        "reached"
    } else if hi < at_least {
        "MISSED"
    } else {
        "too noisy to say"
    }
}

#[cfg(test)]
mod tests {
    use stanchion_queues::buffers::{ArrayQueue, CrossbeamChannel, MutexDeque, Ring};

    use super::*;

    #[test]
    fn every_target_makes_sense_and_names_rivals() {
        let targets = all();
        assert_eq!(targets.len(), 9 + 4 + 4 + 1 + 1);
        assert!(targets.iter().all(|target| target.workload.is_sensible() && !target.rivals.is_empty()));
    }

    #[test]
    fn the_verdict_needs_the_whole_interval() {
        assert_eq!(verdict(1.0, 1.0, 1.2), "reached");
        assert_eq!(verdict(1.0, 0.9, 0.99), "MISSED");
        assert_eq!(verdict(1.0, 0.9, 1.2), "too noisy to say");
        // Nothing was compared.
        assert_eq!(verdict(1.0, f64::NAN, f64::NAN), "too noisy to say");
    }

    #[test]
    fn the_best_rival_counts_and_the_ratio_is_the_rings() {
        let comparison = |b: &str, ratio, control| results::Comparison {
            b: b.into(),
            ratio: Some(ratio),
            lo: Some(ratio / 2.0),
            hi: Some(ratio * 2.0),
            control,
            ..results::Comparison::default()
        };
        let comparisons = [
            comparison("again", 9.0, true),
            comparison("slow", 0.25, false),
            comparison("quick", 0.5, false),
            results::Comparison {
                ratio: None,
                reason: Some("lost items".into()),
                ..comparison("broken", 1.0, false)
            },
        ];
        let rival = best(&comparisons).expect("two are valid");
        assert_eq!((rival.b.as_str(), inverse(rival)), ("quick", (2.0, 1.0, 4.0)));
        assert!(left_out(&comparisons).eq([("broken", "lost items")]));
    }

    #[test]
    fn cases_without_rivals_are_left_out_and_the_ring_is_the_reference() {
        let comparison = Comparison::new()
            .buffer::<MutexDeque>("deque")
            .buffer::<Ring>("ring")
            .buffer::<ArrayQueue>("crossbeam_array_queue")
            .blocking::<CrossbeamChannel>("crossbeam_channel_blocking");
        let arguments = ["--bench", "--list"].map(str::to_owned);
        let options = Options::parse(arguments.into_iter()).expect("good");
        let mut out = Vec::new();
        assert_eq!(comparison.targets("ring", &options, &mut out), 0);
        let listed = String::from_utf8(out).expect("text");
        assert!(!listed.contains("/deque/") && !listed.contains("spsc/"), "{listed}");
        assert_eq!(listed.lines().filter(|line| line.contains("/ring/")).count(), 4 + 4 + 1 + 1);
        assert!(listed.contains("mpmc/crossbeam_channel_blocking/2x2-8B-park"), "{listed}");
        assert_eq!(comparison.targets("nobody", &options, &mut Vec::new()), exit::NOTHING_SELECTED);
    }
}
