//! Which queue is faster? Every queue has one trial in every round, in random order, and the reference has
//! two: what the reference differs from itself is the noise of the machine, and no smaller difference
//! counts.
//!
//! Running all of A and then all of B calls identical code different in up to a third of all cases on a
//! busy machine, whatever test is applied to the numbers. Interleaving is the cure. The number of rounds is
//! fixed before the first, so that nobody stops when the result pleases.

mod options;
mod selection;
mod table;
mod targets;

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use stanchion_reports::fragment;
use stanchion_reports::results::{self, Better, Estimate, Limit, Measurement, Results, Run, State};

pub use options::{Mode, Options, Usage};
pub use selection::Selection;
pub use table::times;
pub use targets::verdict;

use crate::comparison::{Comparison, Contest, Subject};
use crate::deliver::Delivering;
use crate::exit;
use crate::floor;
use crate::ledger::BenchLedger;
use crate::machine::Machine;
use crate::statistics::{self, Random, ZONE};
use crate::trial::{Fault, Trial};

/// How long a trial should take: long enough that starting threads does not show, short enough for many
/// rounds.
const TRIAL: Duration = Duration::from_millis(30);
/// Shorter trials are not trusted to say how many items fill [`TRIAL`].
const CALIBRATED: Duration = Duration::from_millis(8);
const MOST_ROUNDS: u64 = 2000;

impl Comparison {
    /// The whole of a duel bench target: reads the command line, runs, prints the tables, and stores the
    /// fragment "duel" for the report. For exit codes see [`exit`].
    pub fn duel_main(&self) -> ExitCode {
        let options = match Options::parse(std::env::args().skip(1)) {
            Ok(options) => options,
            Err(Usage::Help(text)) => {
                println!("{text}");
                return ExitCode::SUCCESS;
            }
            Err(usage) => {
                eprintln!("{usage}");
                return ExitCode::from(exit::USAGE);
            }
        };
        ExitCode::from(self.duel(&options, &mut std::io::stdout().lock()))
    }

    /// Runs the duel, prints its tables, and answers with an exit code: see [`exit`].
    pub fn duel(&self, options: &Options, out: &mut impl Write) -> u8 {
        let contests = self.selected(options);
        if contests.is_empty() {
            eprintln!(
                "nothing to compare matches {}: `cargo bench --bench duel -- --list` shows what there is",
                options.asked()
            );
            return exit::NOTHING_SELECTED;
        }
        let done = match options.mode {
            Mode::List => list(&contests, out).map(|()| 0),
            Mode::Test => smoke(&contests, out),
            Mode::Measure => measure(&contests, options, out),
        };
        done.unwrap_or_else(|error| {
            eprintln!("the duel could not be reported: {error}");
            exit::INTERNAL
        })
    }

    /// What is run: where the selection matches, with the reference, without which nothing can be said.
    fn selected(&self, options: &Options) -> Vec<Contest<'_>> {
        let selection = &options.selection;
        let mut contests: Vec<Contest<'_>> =
            selection.workloads().into_iter().map(|workload| self.buffers_in(workload)).collect();
        if selection.has_deliveries() {
            contests.extend([Delivering::SINGLE, Delivering::BATCH].map(|how| self.brokers_in(how)));
        }
        for contest in &mut contests {
            if let Some(reference) = &selection.reference {
                contest.refer_to(reference);
            }
            let chosen = |contest: &Contest<'_>, subject: &Subject<'_>| {
                options.selects(&contest.id(subject)) && selection.has_queue(subject.name)
            };
            let matches: Vec<bool> =
                contest.subjects.iter().map(|subject| chosen(contest, subject)).collect();
            contest.keep(&matches);
        }
        contests.retain(|contest| !contest.subjects.is_empty());
        contests
    }
}

fn list<'a>(
    contests: impl IntoIterator<Item = &'a Contest<'a>>,
    out: &mut impl Write,
) -> std::io::Result<()> {
    for contest in contests {
        for subject in &contest.subjects {
            writeln!(out, "{}: benchmark", contest.id(subject))?;
        }
    }
    Ok(())
}

/// One small trial of everyone.
fn smoke<'a>(
    contests: impl IntoIterator<Item = &'a Contest<'a>>,
    out: &mut impl Write,
) -> std::io::Result<u8> {
    let mut code = 0;
    for contest in contests {
        for subject in &contest.subjects {
            let verdict = match (subject.run)(contest.smoke()) {
                Ok(_) => "ok".to_owned(),
                Err(fault) => {
                    code = exit::BROKEN;
                    format!("FAILED: {fault}")
                }
            };
            writeln!(out, "Testing {} ... {verdict}", contest.id(subject))?;
        }
    }
    Ok(code)
}

fn measure(contests: &[Contest<'_>], options: &Options, out: &mut impl Write) -> std::io::Result<u8> {
    let begun = Instant::now();
    let mut random = Random::new(options.seed);
    let machine = Machine::measure();
    let mut found = results_of("duel", options, &machine);
    table::head(out, options, &machine)?;
    for (index, contest) in contests.iter().enumerate() {
        let budget = options.share(begun, contests.len() - index);
        eprintln!("{} {} for about {} s", contest.workload, contest.label, budget.as_secs());
        let fight = Fight::run(contest, budget, &mut random);
        let (measurements, comparisons) = fight.report(&mut random);
        let floor = contest.asks.as_ref().and_then(floor::rate);
        table::body(out, contest, &measurements, &comparisons, floor)?;
        add(&mut found, contest, measurements, comparisons, floor);
    }
    table::foot(out, &machine, contests)?;
    store("duel", &mut found, begun, out)
}

/// An empty fragment of this part.
pub fn results_of(part: &str, options: &Options, machine: &Machine) -> Results {
    Results::of(Run {
        seed: Some(options.seed.to_string()),
        profile: if options.quick { "quick" } else { "standard" }.into(),
        limits: machine.limits(),
        ..Run::capture(part)
    })
}

/// Adds what one contest gave, and how fast the driver would be in it without a queue.
fn add(
    found: &mut Results,
    contest: &Contest<'_>,
    measurements: Vec<Measurement>,
    comparisons: Vec<results::Comparison>,
    floor: Option<f64>,
) {
    found.measurements.extend(measurements);
    found.comparisons.extend(comparisons);
    let name = format!("the driver without a queue, {} {}", contest.workload, contest.label);
    let limit = floor.map(|value| Limit { name, value, unit: "items/s".into() });
    found.runs.iter_mut().for_each(|run| run.limits.extend(limit.clone()));
}

/// Stores the fragment, draws the report, and answers with an exit code: see [`exit`].
///
/// # Errors
/// They cannot be written.
pub fn store(part: &str, found: &mut Results, begun: Instant, out: &mut impl Write) -> std::io::Result<u8> {
    for run in &mut found.runs {
        run.duration_ns = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    }
    let directory = fragment::directory();
    let rendered = fragment::write(&directory, part, found)
        .and_then(|_| fragment::render(&directory))
        .map_err(std::io::Error::other)?;
    writeln!(out, "report: {}", rendered.html.display())?;
    let broken = found.measurements.iter().any(|measurement| measurement.state == State::Invalid);
    Ok(if broken { exit::BROKEN } else { 0 })
}

/// What a queue did in all rounds.
struct Corner<'a> {
    subject: &'a Subject<'a>,
    /// The reference, measured a second time.
    control: bool,
    /// How many items each of its trials moves.
    items: u64,
    trials: Vec<results::Trial>,
    ledger: BenchLedger,
    fault: Option<Fault>,
}

/// One contest, fought.
struct Fight<'a> {
    contest: &'a Contest<'a>,
    /// In the order of the contest; the control is the last.
    corners: Vec<Corner<'a>>,
    rounds: u32,
}

impl<'a> Fight<'a> {
    fn run(contest: &'a Contest<'a>, budget: Duration, random: &mut Random) -> Fight<'a> {
        let begun = Instant::now();
        let control = contest.subjects.get(contest.reference).map(|subject| (subject, true));
        let mut corners: Vec<Corner<'a>> = contest
            .subjects
            .iter()
            .map(|subject| (subject, false))
            .chain(control)
            .map(|(subject, control)| Corner {
                subject,
                control,
                items: 0,
                trials: Vec::new(),
                ledger: BenchLedger::default(),
                fault: None,
            })
            .collect();
        // Everything a round takes counts, also what is not measured: making threads, filling pools.
        let mut round = Duration::ZERO;
        for corner in &mut corners {
            match calibrate(contest, corner.subject) {
                Ok((items, took)) => {
                    corner.items = items;
                    round += took;
                }
                Err(fault) => corner.fail(fault),
            }
        }
        let left = budget.saturating_sub(begun.elapsed()).as_nanos();
        let affordable = u64::try_from(left / round.as_nanos().max(1)).unwrap_or(u64::MAX);
        let rounds = affordable.clamp(1, MOST_ROUNDS) as u32;
        for round in 0..rounds {
            let mut order: Vec<usize> = (0..corners.len()).collect();
            random.shuffle(&mut order);
            for (place, index) in (0..).zip(order) {
                corners[index].fight(contest, round, place);
            }
        }
        Fight { contest, corners, rounds }
    }

    /// The measurements of every queue, and the comparisons with the reference; the control is the first of
    /// these.
    fn report(&self, random: &mut Random) -> (Vec<Measurement>, Vec<results::Comparison>) {
        let fighters = self.corners.iter().filter(|corner| !corner.control);
        let measurements = fighters.map(|corner| self.measurement(corner, random)).collect();
        let mut comparisons = Vec::new();
        let Some(control) = self.corners.iter().find(|corner| corner.control) else {
            return (measurements, comparisons);
        };
        let reference = &self.corners[self.contest.reference];
        let noise = self.compare(control, reference, None, random);
        let interval = noise.lo.zip(noise.hi).map(|(lo, hi)| Estimate { lo, hi, ..Estimate::default() });
        comparisons.push(noise);
        for (index, corner) in self.corners.iter().enumerate() {
            if !corner.control && index != self.contest.reference {
                comparisons.push(self.compare(corner, reference, interval.as_ref(), random));
            }
        }
        (measurements, comparisons)
    }

    fn measurement(&self, corner: &Corner<'_>, random: &mut Random) -> Measurement {
        let values: Vec<f64> = corner.trials.iter().map(|trial| trial.value).collect();
        let estimate = if corner.fault.is_none() { statistics::estimate(&values, random) } else { None };
        let (unit, better) = self.contest.unit();
        Measurement {
            workload: self.contest.workload.into(),
            parameters: self.contest.parameters.clone(),
            queue: corner.subject.name.into(),
            unit: unit.into(),
            better,
            trials: corner.trials.clone(),
            estimate,
            ledger: Some(corner.ledger.counts),
            state: if corner.fault.is_some() { State::Invalid } else { State::Ok },
            reason: corner.fault.as_ref().map(Fault::to_string),
        }
    }

    /// In the order in which the ratio is above one if the first trial is the better.
    fn better_first(&self, b: &results::Trial, a: &results::Trial) -> (f64, f64) {
        match self.contest.unit().1 {
            Better::Lower => (a.value, b.value),
            _ => (b.value, a.value),
        }
    }

    fn compare(
        &self,
        corner: &Corner<'_>,
        reference: &Corner<'_>,
        control: Option<&Estimate>,
        random: &mut Random,
    ) -> results::Comparison {
        let mut comparison = results::Comparison {
            workload: self.contest.workload.into(),
            parameters: self.contest.parameters.clone(),
            a: reference.subject.name.into(),
            b: corner.subject.name.into(),
            control: corner.control,
            level: statistics::LEVEL,
            zone: ZONE,
            rounds: self.rounds,
            ..results::Comparison::default()
        };
        if let Some(faulty) = [reference, corner].into_iter().find(|corner| corner.fault.is_some()) {
            comparison.reason =
                faulty.fault.as_ref().map(|fault| format!("{}: {fault}", faulty.subject.name));
            return comparison;
        }
        // Without a fault, every round has a trial of each.
        let pairs: Vec<(f64, f64)> =
            corner.trials.iter().zip(&reference.trials).map(|(b, a)| self.better_first(b, a)).collect();
        if let Some(compared) = statistics::compare(&pairs, control, random) {
            comparison.ratio = Some(compared.ratio.median);
            comparison.lo = Some(compared.ratio.lo);
            comparison.hi = Some(compared.ratio.hi);
            comparison.smallest_visible = compared.smallest_visible;
            comparison.verdict = compared.answer;
            comparison.reason = compared
                .smallest_visible
                .is_none()
                .then(|| format!("fewer than {} rounds, allow more --time", statistics::FEWEST));
        }
        comparison
    }
}

impl Corner<'_> {
    /// One trial, unless an earlier one gave no number: a wrong queue need not be measured any further.
    fn fight(&mut self, contest: &Contest<'_>, round: u32, order: u32) {
        if self.fault.is_some() {
            return;
        }
        match (self.subject.run)(self.items) {
            Ok(trial) => {
                self.ledger.absorb(&trial.ledger);
                self.trials.push(results::Trial { round, order, value: contest.value(&trial) });
            }
            Err(fault) => self.fail(fault),
        }
    }

    fn fail(&mut self, fault: Fault) {
        if let Fault::Unclean(ledger) = &fault {
            self.ledger.absorb(ledger);
        }
        self.fault = Some(fault);
    }
}

/// How many items fill a trial, and how long such a trial takes with everything around it.
fn calibrate(contest: &Contest<'_>, subject: &Subject<'_>) -> Result<(u64, Duration), Fault> {
    let mut items = contest.smoke().min(contest.most);
    loop {
        let begun = Instant::now();
        let trial: Trial = (subject.run)(items)?;
        let overhead = begun.elapsed().saturating_sub(trial.elapsed);
        if trial.elapsed < CALIBRATED && items < contest.most {
            items = (items * 4).min(contest.most);
            continue;
        }
        let filling = items as f64 * TRIAL.as_secs_f64() / trial.elapsed.as_secs_f64().max(1e-9);
        let steps = (filling as u64).min(contest.most).div_ceil(contest.step).max(1);
        let chosen = steps * contest.step;
        let lasting = trial.elapsed.mul_f64(chosen as f64 / items as f64);
        return Ok((chosen, lasting + overhead));
    }
}

#[cfg(test)]
mod tests {
    use stanchion_queues::Volatile;
    use stanchion_queues::buffers::{MutexDeque, Ring};
    use stanchion_reports::results::Answer;

    use super::*;
    use crate::mutants::{Fault as Wrong, Forgetful, TestBroker};

    fn comparison() -> Comparison {
        let broker = |wrong| move |_: &_| Volatile::new(move || Ok(TestBroker::new(wrong)));
        Comparison::new()
            .buffer::<MutexDeque>("deque")
            .buffer::<Ring>("ring")
            .buffer::<Forgetful>("forgetful")
            .broker("memory", broker(Wrong::Nothing))
            .broker("repeats", broker(Wrong::Repeats))
            .reference("ring")
    }

    fn options(arguments: &str) -> Options {
        Options::parse(arguments.split_whitespace().map(str::to_owned)).expect("good arguments")
    }

    fn run(arguments: &str) -> (u8, String) {
        let mut out = Vec::new();
        let code = comparison().duel(&options(arguments), &mut out);
        (code, String::from_utf8(out).expect("text"))
    }

    #[test]
    fn a_filter_keeps_the_reference_and_one_that_matches_nothing_is_an_error() {
        let (code, listed) = run("--bench --list spsc/deque");
        assert_eq!(code, 0);
        let lines: Vec<&str> = listed.lines().collect();
        assert_eq!(lines[..2], ["spsc/deque/1x1-8B: benchmark", "spsc/ring/1x1-8B: benchmark"], "{listed}");
        assert!(lines.iter().all(|line| line.starts_with("spsc/")), "{listed}");
        assert_eq!(run("--bench --list nonsense").0, exit::NOTHING_SELECTED);
    }

    #[test]
    fn queues_and_the_reference_can_be_named() {
        let ids = |arguments: &str| {
            let (code, listed) = run(&format!("--bench --list --workload spsc --batch 8 {arguments}"));
            assert_eq!(code, 0, "{arguments}");
            listed.lines().filter_map(|line| line.split('/').nth(1)).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(ids("--queue ring"), ["ring"]);
        assert_eq!(ids("--queue ring --reference deque"), ["deque", "ring"]);
        assert_eq!(ids("--queue deque,forgetful"), ["deque", "ring", "forgetful"]);
        assert_eq!(run("--bench --list --queue nobody").0, exit::NOTHING_SELECTED);
    }

    #[test]
    fn the_smoke_test_names_who_is_wrong() {
        // Without ping_pong, where whoever loses an item waits until its patience ends.
        for (filter, wrong, fault) in [("spsc/", "forgetful", "lost"), ("deliver/", "repeats", "duplicated")]
        {
            let (code, told) = run(filter);
            assert_eq!(code, exit::BROKEN);
            for line in told.lines() {
                let failed = line.contains("FAILED") && line.contains(fault);
                assert_eq!(failed, line.contains(wrong), "{line}");
                assert_eq!(line.contains("... ok"), !line.contains(wrong), "{line}");
            }
        }
    }

    #[test]
    fn every_round_has_one_trial_of_each_in_an_order_of_its_own_and_wrong_queues_have_no_number() {
        let comparison = comparison();
        let contests = comparison.selected(&options("--bench spsc"));
        let fight = Fight::run(&contests[0], Duration::from_millis(1500), &mut Random::new(3));
        let (measurements, comparisons) = fight.report(&mut Random::new(4));
        for measurement in &measurements {
            let valid = measurement.queue != "forgetful";
            assert_eq!(measurement.state == State::Ok, valid);
            assert_eq!(measurement.estimate.is_some(), valid);
            assert_eq!(measurement.ledger.expect("always").is_clean(), valid);
            if valid {
                let rounds: Vec<u32> = measurement.trials.iter().map(|trial| trial.round).collect();
                assert_eq!(rounds, (0..fight.rounds).collect::<Vec<_>>());
            }
        }
        let orders: std::collections::HashSet<u32> =
            measurements[0].trials.iter().map(|trial| trial.order).collect();
        assert!(fight.rounds < 4 || orders.len() > 1, "{orders:?}");
        assert!(comparisons[0].control && comparisons[0].a == "ring" && comparisons[0].b == "ring");
        assert!(comparisons.iter().skip(1).all(|comparison| comparison.a == "ring" && !comparison.control));
        let of = |name: &str| comparisons.iter().find(|comparison| comparison.b == name).expect("compared");
        assert_eq!(of("forgetful").verdict, Answer::NotComparable);
        assert!(of("forgetful").reason.as_ref().is_some_and(|reason| reason.contains("lost")));
        assert!(of("deque").ratio.is_some());
    }

    #[test]
    fn a_wrong_reference_leaves_nothing_to_compare() {
        let comparison = comparison().reference("forgetful");
        let contests = comparison.selected(&options("--bench spsc"));
        let fight = Fight::run(&contests[0], Duration::ZERO, &mut Random::new(3));
        let (_, comparisons) = fight.report(&mut Random::new(4));
        assert_eq!(fight.rounds, 1);
        assert!(comparisons.iter().all(|comparison| comparison.verdict == Answer::NotComparable));
    }
}
