//! The bench target: reads the command line, runs, prints the tables, and stores the fragment "durable_targets" for
//! the report. It can be run in parts: every part has an id, and the filter chooses.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use stanchion_benches::duel::{self, Mode, Options, Selection, Usage, times};
use stanchion_benches::exit;
use stanchion_benches::machine::Machine;
use stanchion_benches::statistics::{self, Random, ZONE};
use stanchion_reports::results::{
    Answer, Better, Comparison, Estimate, Limit, Measurement, State, Trial as Value,
};

use crate::Failure;
use crate::child;
use crate::contest::{self, Contest, Corner, Fight};
use crate::counts;
use crate::entrants::{self, Entrant, Role};
use crate::load::{Load, Trial, Until};
use crate::recovery;
use crate::scheduling::{self, Cores, SUSPICIOUS};
use crate::syncs;
use crate::targets::{self, Outcome};

const PART: &str = "durable_targets";
const HELP: &str = "\
Compares the file queue with its durable peers in interleaved rounds, and with what it is to reach.

usage: cargo bench --features durable-peers --bench durable_targets -- [FLAGS] [FILTER]

  FILTER          only parts whose id contains it; the file queue and the raw append always take part
  --exact         the filter is a whole id
  --list          say what there is, and end
  --test          run everything once, very small, to see that it works
  --quick         20 seconds in place of 240, and small backlogs only
  --time SECONDS  the budget for everything together, but the recovery takes what it takes; with plenty of it,
                  trials are longer: up to a second each
  --seed NUMBER   decides the order of trials; the default is another one in every run

exit codes: 0 measured, also where a target is missed; 1 not stored, 2 a bad flag, 4 nothing matches, 10 a store did
not hold what it confirmed";

/// What a run consists of, as far as it was asked for.
struct Parts {
    syncs: Vec<Entrant>,
    counts: Vec<counts::Case>,
    contests: Vec<Contest>,
    recovery: Vec<recovery::Case>,
}

/// The whole of the target.
pub fn main() -> ExitCode {
    if let Some(done) = child::if_asked() {
        return match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                eprintln!("{failure}");
                ExitCode::from(exit::INTERNAL)
            }
        };
    }
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) if options.selection != Selection::default() => {
            eprintln!("this target chooses by id only: give a filter, as in p8/sqlite; --list shows the ids");
            return ExitCode::from(exit::USAGE);
        }
        Ok(options) => options,
        Err(Usage::Help(_)) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(usage) => {
            eprintln!("{usage}");
            return ExitCode::from(exit::USAGE);
        }
    };
    let code = run(&options, &mut io::stdout().lock()).unwrap_or_else(|error| {
        eprintln!("the targets could not be reported: {error}");
        exit::INTERNAL
    });
    ExitCode::from(code)
}

/// Runs what is asked for, and answers with an exit code: see [`exit`].
fn run(options: &Options, out: &mut impl Write) -> io::Result<u8> {
    let parts = Parts::chosen(options);
    if parts.ids().next().is_none() {
        eprintln!("no part matches {}: --list shows what there is", options.asked());
        return Ok(exit::NOTHING_SELECTED);
    }
    match options.mode {
        Mode::List => parts.ids().try_for_each(|id| writeln!(out, "{id}: benchmark")).map(|()| 0),
        Mode::Test => parts.smoke(out),
        Mode::Measure => parts.measure(options, out),
    }
}

fn syncs_id(entrant: &Entrant) -> String {
    format!("syncs/{}/100B", entrant.name)
}

impl Parts {
    fn chosen(options: &Options) -> Parts {
        let entrants = entrants::all();
        let mut contests = contest::all(&entrants);
        for contest in &mut contests {
            let chosen: Vec<bool> =
                contest.entrants.iter().map(|entrant| options.selects(&contest.id(entrant))).collect();
            let any = chosen.contains(&true);
            let mut chosen = chosen.into_iter();
            contest.entrants.retain(|entrant| {
                let chosen = chosen.next().unwrap_or(false);
                chosen || any && matches!(entrant.role, Role::Ours | Role::Clock)
            });
        }
        contests.retain(|contest| !contest.entrants.is_empty());
        let mut recovery = recovery::all(&entrants);
        recovery.retain(|case| !options.quick || case.backlog <= QUICK_BACKLOG);
        Parts {
            syncs: entrants.into_iter().filter(|entrant| options.selects(&syncs_id(entrant))).collect(),
            counts: counts::all().into_iter().filter(|case| options.selects(&case.id())).collect(),
            contests,
            recovery: recovery.into_iter().filter(|case| options.selects(&case.id())).collect(),
        }
    }

    fn ids(&self) -> impl Iterator<Item = String> {
        let contests = self
            .contests
            .iter()
            .flat_map(|contest| contest.entrants.iter().map(|entrant| contest.id(entrant)));
        (self.syncs.iter().map(syncs_id))
            .chain(self.counts.iter().map(counts::Case::id))
            .chain(contests)
            .chain(self.recovery.iter().map(recovery::Case::id))
    }

    /// Everything once, very small.
    fn smoke(&self, out: &mut impl Write) -> io::Result<u8> {
        let mut code = 0;
        let mut tell = |id: String, done: Result<(), Failure>| {
            let verdict = match done {
                Ok(()) => "ok".to_owned(),
                Err(failure) => {
                    code = exit::BROKEN;
                    format!("FAILED: {failure}")
                }
            };
            writeln!(out, "Testing {id} ... {verdict}")
        };
        match syncs::can_look() {
            Ok(()) => {
                for entrant in &self.syncs {
                    tell(syncs_id(entrant), syncs::check(entrant))?;
                }
            }
            Err(failure) => eprintln!("not tested: syncs: {failure}"),
        }
        for case in &self.counts {
            tell(case.id(), case.count(200).map(drop))?;
        }
        for contest in &self.contests {
            for entrant in &contest.entrants {
                let load = Load { until: Until::Sends(2), ..contest.load };
                tell(contest.id(entrant), entrant.trial(&load).map(drop))?;
            }
        }
        for case in &self.recovery {
            tell(case.id(), recovery::Case { backlog: 100, ..*case }.run().map(drop))?;
        }
        Ok(code)
    }

    fn measure(mut self, options: &Options, out: &mut impl Write) -> io::Result<u8> {
        let begun = Instant::now();
        let cores = Cores::now();
        let mut random = Random::new(options.seed);
        let mut found = duel::results_of(PART, options, &Machine::measure());
        writeln!(out, "\ndurable targets, about {} s, seed {}", options.time.as_secs(), options.seed)?;
        writeln!(out, "scheduling class: {}", scheduling::class())?;
        warn_of_the_scheduler(&mut found.runs[0].limits, out)?;
        self.exclude_who_does_not_sync(out)?;
        self.print_counts(out)?;
        let mut outcomes: Vec<(String, Outcome)> = Vec::new();
        let mut broken = false;
        // What the recovery takes is not known before; it is given a fifth.
        let reserved = if self.recovery.is_empty() { Duration::ZERO } else { options.time / 5 };
        for (index, contest) in self.contests.iter().enumerate() {
            let left = options.time.saturating_sub(reserved + begun.elapsed());
            let budget = left / u32::try_from(self.contests.len() - index).unwrap_or(u32::MAX);
            eprintln!("{} {} B for about {} s", contest.name, contest.load.body, budget.as_secs());
            let fight = contest.fight(budget, &mut random);
            print_fight(out, contest, &fight, &mut random)?;
            broken |= fight.corners.iter().any(|corner| corner.failure.is_some());
            for target in targets::of(contest) {
                let outcome = target.judge(&fight, &mut random);
                outcomes.push((format!("{} {} B", contest.name, contest.load.body), outcome));
            }
            add(&mut found, contest, &fight, &mut random);
        }
        broken |= self.print_recovery(out)?;
        print_targets(out, &outcomes)?;
        let stolen = cores.zip(Cores::now()).map(|(then, now)| now.stolen_since(&then));
        print_limits(out, &self.contests, stolen)?;
        let stored = duel::store(PART, &mut found, begun, out)?;
        Ok(if broken { exit::BROKEN } else { stored })
    }

    /// Whoever is said to sync, and does not, is not compared.
    fn exclude_who_does_not_sync(&mut self, out: &mut impl Write) -> io::Result<()> {
        if self.syncs.is_empty() {
            return Ok(());
        }
        if let Err(failure) = syncs::can_look() {
            return writeln!(out, "\nsyncs not counted, peers taken at their word: {failure}");
        }
        writeln!(out, "\nsync calls of one send, by one producer, counted by strace; and its rate")?;
        writeln!(out, "  {:14}  {:>6}  {:>16}  {:>9}", "store", "syncs", "sync_file_range", "msg/s")?;
        for entrant in &self.syncs {
            let counted = match syncs::count(entrant) {
                Ok(counted) => counted,
                Err(failure) => {
                    writeln!(out, "  {:14}  not counted: {failure}", entrant.name)?;
                    continue;
                }
            };
            let load =
                Load { producers: 1, consumers: 0, batch: 1, body: 100, until: Until::Elapsed(GLANCE) };
            let rate = entrant.trial(&load).map_or("-".into(), |trial| whole(trial.rate()));
            let words = if counted.is_durable() { "" } else { "DOES NOT SYNC: not ranked" };
            writeln!(
                out,
                "  {:14}  {:>6}  {:>16}  {rate:>9}  {words}",
                entrant.name,
                times(counted.syncs),
                times(counted.ranges)
            )?;
            if !counted.is_durable() {
                for contest in &mut self.contests {
                    contest.entrants.retain(|taking_part| taking_part.name != entrant.name);
                }
            }
        }
        Ok(())
    }

    fn print_counts(&self, out: &mut impl Write) -> io::Result<()> {
        if self.counts.is_empty() {
            return Ok(());
        }
        writeln!(out, "\nwhat the file queue asks of its storage for each message (exact counts)")?;
        writeln!(
            out,
            "  {:28}  {:>8}  {:>7}  {:>7}  {:>7}  {:>14}",
            "case", "messages", "syncs", "writes", "bytes", "zeroes ahead"
        )?;
        for case in &self.counts {
            match case.count(COUNTED) {
                Ok((messages, counts)) => {
                    let each = |count: u64| times(count as f64 / messages as f64);
                    writeln!(
                        out,
                        "  {:28}  {messages:>8}  {:>7}  {:>7}  {:>7}  {:>14}",
                        case.id(),
                        each(counts.syncs),
                        each(counts.writes),
                        whole(counts.bytes as f64 / messages as f64),
                        whole(counts.zeroes as f64 / messages as f64),
                    )?;
                }
                Err(failure) => writeln!(out, "  {:28}  NO NUMBER: {failure}", case.id())?,
            }
        }
        Ok(())
    }

    /// Says whether somebody lost something.
    fn print_recovery(&self, out: &mut impl Write) -> io::Result<bool> {
        let mut broken = false;
        if self.recovery.is_empty() {
            return Ok(false);
        }
        writeln!(
            out,
            "\nuntil everything pending is known again after a kill; cold: its files were dropped from the cache (fadvise)"
        )?;
        writeln!(out, "  {:28}  {:>9}  {:>9}  {:>12}", "case", "warm ms", "cold ms", "read cold")?;
        for case in &self.recovery {
            match case.run() {
                Ok(recovered) => {
                    let ms = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
                    let read = recovered
                        .cold
                        .read
                        .map_or("not known".into(), |bytes| format!("{} MiB", bytes >> 20));
                    let (warm, cold) = (ms(recovered.warm), ms(recovered.cold.took));
                    writeln!(out, "  {:28}  {warm:>9}  {cold:>9}  {read:>12}", case.id())?;
                }
                Err(failure) => {
                    broken = true;
                    writeln!(out, "  {:28}  NO NUMBER: {failure}", case.id())?;
                }
            }
        }
        Ok(broken)
    }
}

/// The most that is filled where there is little time.
const QUICK_BACKLOG: u64 = 10_000;
/// How long a look at a rate takes.
const GLANCE: Duration = Duration::from_millis(100);
/// How many messages are counted in each case.
const COUNTED: usize = 6400;

/// How long a raw append and its sync take, before anything else.
fn warn_of_the_scheduler(limits: &mut Vec<Limit>, out: &mut impl Write) -> io::Result<()> {
    let load = Load { producers: 1, consumers: 0, batch: 1, body: 100, until: Until::Sends(101) };
    let trial = match entrants::named(entrants::CLOCK).and_then(|clock| clock.trial(&load)) {
        Ok(trial) => trial,
        Err(failure) => return writeln!(out, "a raw append could not be measured: {failure}"),
    };
    writeln!(
        out,
        "a raw append of 100 B and its fdatasync take {:?} (median; p99 {:?})",
        trial.p50, trial.p99
    )?;
    limits.push(Limit {
        name: "a raw append of 100 B and its fdatasync".into(),
        value: trial.p50.as_nanos() as f64,
        unit: "ns".into(),
    });
    if trial.p50 > SUSPICIOUS {
        writeln!(
            out,
            "WARNING: that is above 1 ms: you are measuring the scheduler, or a slow disk, and not the stores"
        )?;
    }
    Ok(())
}

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

fn micros(seconds: f64) -> String {
    format!("{:.0}", seconds * 1e6)
}

fn print_fight(
    out: &mut impl Write,
    contest: &Contest,
    fight: &Fight,
    random: &mut Random,
) -> io::Result<()> {
    let parameters: Vec<String> =
        contest.parameters().into_iter().map(|(label, value)| format!("{label} {value}")).collect();
    let length = match fight.load.until {
        Until::Elapsed(length) => format!("{} ms", length.as_millis()),
        Until::Sends(sends) => format!("{sends} sends"),
    };
    let (name, parameters) = (contest.name, parameters.join(", "));
    writeln!(out, "\n{name}: {parameters}; {} rounds of trials of {length}", fight.rounds)?;
    writeln!(
        out,
        "  {:14}  {:>9}  {:>10}  {:>16}  {:>8}  {:>8}",
        "store", "msg/s", "file over", "99 % interval", "p50 us", "p99 us"
    )?;
    for corner in &fight.corners {
        let name = if corner.control { "A/A" } else { corner.entrant.name };
        if let Some(failure) = &corner.failure {
            writeln!(out, "  {name:14}  NO NUMBER: {failure}")?;
            continue;
        }
        let mut median =
            |of: fn(&Trial) -> f64| corner.estimate(of, random).map_or(f64::NAN, |found| found.median);
        let rate = whole(median(Trial::rate));
        let p50 = micros(median(|trial| trial.p50.as_secs_f64()));
        let p99 = micros(median(|trial| trial.p99.as_secs_f64()));
        let is_reference = corner.entrant.role == Role::Ours && !corner.control;
        let (ratio, interval) = match fight.ratio(Trial::rate, corner, Trial::rate, random) {
            _ if is_reference => ("1".into(), String::new()),
            Ok(compared) => {
                let Estimate { median, lo, hi, .. } = compared.ratio;
                (times(median), format!("{} to {}", times(lo), times(hi)))
            }
            Err(_) => ("-".into(), String::new()),
        };
        let words = match corner.entrant.role {
            _ if corner.control => "the file queue against itself: the noise",
            Role::Clock => "one producer, in every contest: the time of a sync",
            Role::Log => "a bare log, unmaintained: not ranked",
            _ => "",
        };
        writeln!(out, "  {name:14}  {rate:>9}  {ratio:>10}  {interval:>16}  {p50:>8}  {p99:>8}  {words}")?;
    }
    Ok(())
}

fn print_targets(out: &mut impl Write, outcomes: &[(String, Outcome)]) -> io::Result<()> {
    if outcomes.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n{:14}  {:36}  {:>7}  {:>16}  {:>13}  verdict",
        "contest", "target", "found", "99 % interval", "bound"
    )?;
    for (contest, outcome) in outcomes {
        let (found, interval) = match &outcome.found {
            Ok([median, lo, hi]) => (times(*median), format!("{} to {}", times(*lo), times(*hi))),
            Err(reason) => ("-".into(), reason.clone()),
        };
        let Outcome { what, bound, verdict, .. } = outcome;
        writeln!(out, "{contest:14}  {what:36}  {found:>7}  {interval:>16}  {bound:>13}  {verdict}")?;
    }
    writeln!(
        out,
        "Reached: the whole interval is on the right side of the bound; missed: all of it is on the other; else the rounds do\n\
         not suffice to say, allow more --time."
    )
}

/// What the numbers cannot tell.
fn print_limits(out: &mut impl Write, contests: &[Contest], stolen: Option<f64>) -> io::Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let busiest = contests.iter().map(Contest::threads).max().unwrap_or(0);
    writeln!(out, "\nWhat these numbers cannot tell:")?;
    if busiest > cores {
        writeln!(
            out,
            "- {busiest} threads on {cores} cores take turns: much of a confirmation is waiting for one."
        )?;
    }
    if let Some(stolen) = stolen {
        writeln!(out, "- The host took {:.1} % of the cores for somebody else meanwhile.", stolen * 100.0)?;
    }
    writeln!(
        out,
        "- Whether the device keeps what it says it has synced: no power was cut. Nor what other file systems cost.\n\
         - Peers have one row a message and their leases in memory: a queue made of them would cost more.\n\
         - +gc is a group commit of ours in front of a library that commits for one caller at a time.\n\
         - What a store puts off for longer than a trial is not in its rate: filter, and give more --time, for longer ones.\n\
         - They are closed loops: they say nothing of latency at a given rate. Compare ratios, in one run.\n\
         - Every number is of a store that was opened again and held what it had confirmed, once."
    )
}

fn add(
    found: &mut stanchion_reports::results::Results,
    contest: &Contest,
    fight: &Fight,
    random: &mut Random,
) {
    let workload = format!("durable {}", contest.name);
    let reference = fight.ours().map_or("", |ours| ours.entrant.name);
    for corner in fight.corners.iter().filter(|corner| !corner.control) {
        let measurement = |unit: &str, better, of: fn(&Trial) -> f64, random: &mut Random| Measurement {
            workload: workload.clone(),
            parameters: contest.parameters(),
            queue: corner.entrant.name.into(),
            unit: unit.into(),
            better,
            trials: (0..)
                .zip(corner.trials.iter().zip(&corner.places))
                .map(|(round, (trial, place))| Value { round, order: *place, value: of(trial) })
                .collect(),
            estimate: corner.estimate(of, random),
            ledger: None,
            state: if corner.failure.is_some() { State::Invalid } else { State::Ok },
            reason: corner.failure.as_ref().map(ToString::to_string),
        };
        found.measurements.push(measurement("items/s", Better::Higher, Trial::rate, random));
        let p99 = |trial: &Trial| trial.p99.as_nanos() as f64;
        found.measurements.push(Measurement {
            workload: format!("{workload}, p99 of a send"),
            ..measurement("ns", Better::Lower, p99, random)
        });
    }
    let compared = |corner: &Corner| corner.control || corner.entrant.role != Role::Ours;
    for corner in fight.corners.iter().filter(|corner| compared(corner)) {
        let mut comparison = Comparison {
            workload: workload.clone(),
            parameters: contest.parameters(),
            a: reference.into(),
            b: corner.entrant.name.into(),
            control: corner.control,
            level: statistics::LEVEL,
            zone: ZONE,
            rounds: fight.rounds,
            ..Comparison::default()
        };
        match fight.ratio(Trial::rate, corner, Trial::rate, random) {
            Err(reason) => comparison.reason = Some(reason),
            // There it is the other queue over the reference.
            Ok(ours) => {
                comparison.ratio = Some(1.0 / ours.ratio.median);
                (comparison.lo, comparison.hi) = (Some(1.0 / ours.ratio.hi), Some(1.0 / ours.ratio.lo));
                comparison.smallest_visible = ours.smallest_visible;
                comparison.verdict = match ours.answer {
                    Answer::Faster => Answer::Slower,
                    Answer::Slower => Answer::Faster,
                    other => other,
                };
                comparison.reason = ours
                    .smallest_visible
                    .is_none()
                    .then(|| format!("fewer than {} rounds, allow more --time", statistics::FEWEST));
            }
        }
        found.comparisons.push(comparison);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(arguments: &str) -> (u8, String) {
        let arguments = arguments.split_whitespace().map(str::to_owned);
        let options = Options::parse(arguments).expect("good arguments");
        let mut out = Vec::new();
        let code = run(&options, &mut out).expect("written");
        (code, String::from_utf8(out).expect("text"))
    }

    #[test]
    fn a_filter_keeps_those_that_everyone_is_compared_with() {
        let (code, listed) = told("--bench --list p8/sqlite/100B");
        assert_eq!(code, 0);
        let ids: Vec<&str> = listed.lines().collect();
        assert_eq!(
            ids,
            ["p8/file/100B: benchmark", "p8/raw_append/100B: benchmark", "p8/sqlite/100B: benchmark"]
        );
        assert_eq!(told("--bench --list nonsense").0, exit::NOTHING_SELECTED);
        let backlogs = |arguments: &str| told(arguments).1.lines().count();
        assert_eq!((backlogs("--list recovery/file"), backlogs("--list --quick recovery/file")), (6, 2));
    }

    #[test]
    fn the_smoke_test_runs_what_is_asked_for() {
        let (code, told) = told("--test b100/file/100B");
        assert_eq!(code, 0, "{told}");
        let lines: Vec<&str> = told.lines().collect();
        let expected = ["Testing b100/file/100B ... ok", "Testing b100/raw_append/100B ... ok"];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_store_without_a_number_is_shown_as_such_and_a_peer_over_which_there_is_a_ratio() {
        let few = ["file", "sqlite", "raw_append"].map(|name| entrants::named(name).expect("is there"));
        let mut contest = contest::all(&few).remove(0);
        // The raw append cannot remove anything.
        contest.load = Load { consumers: 1, until: Until::Sends(3), ..contest.load };
        let mut random = Random::new(1);
        let fight = contest.fight(Duration::ZERO, &mut random);
        let mut out = Vec::new();
        print_fight(&mut out, &contest, &fight, &mut random).expect("written");
        let text = String::from_utf8(out).expect("text");
        let line = |name: &str| {
            text.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_default().to_owned()
        };
        assert!(line("raw_append").contains("NO NUMBER: a raw append cannot remove"), "{text}");
        assert!(line("sqlite").contains(" to ") && line("A/A").contains("the noise"), "{text}");
        let mut found = stanchion_reports::results::Results::default();
        add(&mut found, &contest, &fight, &mut random);
        assert_eq!((found.measurements.len(), found.comparisons.len()), (6, 3));
        let invalid = found.measurements.iter().filter(|measured| measured.state == State::Invalid);
        assert!(
            invalid.clone().count() == 2 && invalid.clone().all(|measured| measured.queue == "raw_append")
        );
        let nobody =
            found.comparisons.iter().find(|comparison| comparison.b == "raw_append").expect("is there");
        assert_eq!((nobody.verdict, nobody.ratio), (Answer::NotComparable, None));
    }
}
