//! The bench target: reads the command line, runs, prints the tables, and stores the fragment "durable_targets" for
//! the report. It can be run in parts: every part has an id, and the filter chooses.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use stanchion_benches::duel::{self, Mode, Options, Selection, Usage, times};
use stanchion_benches::exit;
use stanchion_benches::machine::Machine;
use stanchion_benches::statistics::Random;
use stanchion_reports::results::Limit;

use crate::Failure;
use crate::child;
use crate::contest::{self, Contest};
use crate::counts;
use crate::entrants::{self, Entrant, Role};
use crate::load::{Load, Until};
use crate::record;
use crate::recovery;
use crate::scheduling::{self, Cores, SUSPICIOUS};
use crate::stores;
use crate::syncs;
use crate::table;
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
        match stores::mode() {
            Ok(mode) => writeln!(out, "the file queue commits by {mode}")?,
            Err(failure) => writeln!(out, "how the file queue commits is not known: {failure}")?,
        }
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
            table::fight(out, contest, &fight, &mut random)?;
            broken |= fight.corners.iter().any(|corner| corner.failure.is_some());
            for target in targets::of(contest) {
                let outcome = target.judge(&fight, &mut random);
                outcomes.push((format!("{} {} B", contest.name, contest.load.body), outcome));
            }
            record::add(&mut found, contest, &fight, &mut random);
        }
        broken |= self.print_recovery(out)?;
        table::targets(out, &outcomes)?;
        let stolen = cores.zip(Cores::now()).map(|(then, now)| now.stolen_since(&then));
        table::limits(out, &self.contests, stolen)?;
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
            let rate = entrant.trial(&load).map_or("-".into(), |trial| table::whole(trial.rate()));
            let words = if counted.is_durable() { "" } else { "DOES NOT SYNC: not ranked" };
            writeln!(
                out,
                "  {:14}  {:>6}  {:>16}  {rate:>9}  {words}",
                entrant.name,
                times(counted.syncs),
                times(counted.ranges)
            )?;
            if entrant.role == Role::Ours {
                writeln!(out, "{}", counted.bound())?;
            }
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
                Ok(found) => {
                    let counts::Found { messages, counts, .. } = found;
                    let each = |count: u64| times(count as f64 / messages as f64);
                    writeln!(
                        out,
                        "  {:28}  {messages:>8}  {:>7}  {:>7}  {:>7}  {:>14}",
                        case.id(),
                        each(counts.syncs),
                        each(counts.writes),
                        table::whole(counts.bytes as f64 / messages as f64),
                        table::whole(counts.zeroes as f64 / messages as f64),
                    )?;
                    case.bounds(&found).iter().try_for_each(|bound| writeln!(out, "{bound}"))?;
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
                    case.bounds(&recovered).iter().try_for_each(|bound| writeln!(out, "{bound}"))?;
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
}
