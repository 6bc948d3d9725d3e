//! The harness against queues and consumers that are wrong on purpose: each must be caught by the promise it
//! breaks, within the budget of `cargo test`. Ends with the kill table.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use stanchion::file::{self, FileQueue, RealDir};
use stanchion::properties::engines::budget::Budget;
use stanchion::properties::engines::child;
use stanchion::properties::finding::Finding;
use stanchion::properties::history::What;
use stanchion::properties::invariant::Invariant;
use stanchion::properties::rogues::{self, RogueResult, Showed, matrix, zoo};
use stanchion::properties::{Suite, checkers, outcome};
use stanchion::{Error, Settings};

#[path = "../queues/tests/ring_loom.rs"]
#[allow(dead_code)]
mod ring_loom;

use ring_loom::Weakened;

type Table = fn(&Budget) -> Vec<RogueResult>;

const GROUPS: [(&str, Table); 6] = [
    ("buffers", rogues::memory::table),
    ("brokers", |budget| rogues::delivery::table(budget, checkers::judge)),
    ("races", rogues::delivery::races::table),
    ("disks", rogues::delivery::images::table),
    ("commits", rogues::commits::table),
    ("consumers", rogues::consumers::table),
];

/// More steps than this are no help to whoever has to read them.
const SMALL: usize = 24;

fn main() -> ExitCode {
    if std::env::var_os(child::CHILD).is_some() {
        let suite = Suite::new().on_disk("waits", waits::open).on_disk("ends", waits::open_one_that_ends);
        return suite.on_disk("file", file::open_dir).on_disk(TRESPASSES, trespasses).main();
    }
    let met: Arc<Mutex<Vec<RogueResult>>> = Arc::default();
    let seedless: [(&str, Table); 2] = [("orderings", orderings), ("owners", owners)];
    let groups = GROUPS.into_iter().chain(seedless);
    let mut trials: Vec<Trial> = groups
        .map(|(group, table)| {
            let met = Arc::clone(&met);
            Trial::test(format!("every_wrong_one_is_caught::{group}"), move || {
                // Not what the environment asks for: this is about the default. One that waits for ever need not be
                // waited for as long.
                let results = table(&Budget { patience: Duration::from_secs(2), ..Budget::quick() });
                let escaped = results.iter().filter(|result| !result.found).map(escape);
                let large = results.iter().filter(|result| result.shrunk > Some(SMALL)).map(large);
                let wrong: Vec<String> = escaped.chain(large).collect();
                met.lock().unwrap_or_else(PoisonError::into_inner).extend(results);
                if wrong.is_empty() { Ok(()) } else { Err(Failed::from(wrong.join("\n"))) }
            })
        })
        .collect();
    // Not part of the default: `cargo test --test rogues -- --ignored`, a quarter of an hour.
    trials.extend(GROUPS.map(|(group, table)| {
        Trial::test(format!("whatever_the_seed::{group}"), move || whatever_the_seed(group, table))
            .with_ignored_flag(true)
    }));
    trials.push(Trial::test("a_child_that_never_answers_is_caught", never_answers));
    trials.push(Trial::test("a_child_is_killed_while_it_lives", killed_alive));
    trials.push(Trial::test("a_child_that_ends_by_itself_shows_nothing", ends_by_itself));
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    let mut met = met.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if !met.is_empty() {
        met.sort_by(|a, b| a.bug.cmp(&b.bug));
        println!("{}\n{}\n{}", rogues::draw(&met), zoo::draw(), rogues::harness::draw());
        outcome::store_rogues(&met);
    }
    conclusion.exit_code()
}

/// The ring's own source under the model checker, with each memory ordering weakened to nothing. A case is a model, all
/// interleavings of it.
fn orderings(_: &Budget) -> Vec<RogueResult> {
    let met = rogues::quietly(|| ring_loom::weakened().collect::<Vec<_>>())
        .into_iter()
        .map(|Weakened { ordering, failed, tried, took }| {
            let (bug, what, expected) = match ordering {
                "publish" => ("M01", "what is published is not released", Invariant::Al5),
                "observe" => ("M02", "what is published is not acquired", Invariant::Al5),
                "turn" => {
                    ("M-turn", "who waits for its turn does not acquire the others' items", Invariant::Al5)
                }
                "answer" => ("M-answer", "answers are given without a fence", Invariant::Me1),
                "claim" => ("M-claim", "a claim does not release what came before", Invariant::Me1),
                _ => ("M-first", "the first of two loads for an answer does not acquire", Invariant::Me1),
            };
            // What is read while it is written may be half an item.
            let broken = failed.map(|(_, why)| match why.contains("Causality violation") {
                true => Invariant::Al5,
                false => Invariant::Me1,
            });
            RogueResult {
                bug: bug.into(),
                what: what.into(),
                expected,
                found: broken == Some(expected),
                cases: tried,
                shrunk: None,
                plan: None,
                engine: "loom".into(),
                also: broken.into_iter().filter(|broken| *broken != expected).collect(),
                seconds: took.as_secs_f64(),
                showed: Showed::default(),
            }
        })
        .collect();
    as_the_zoo_says(met, 'M')
}

/// The zoo says of some rows that their rogues are here.
fn as_the_zoo_says(met: Vec<RogueResult>, group: char) -> Vec<RogueResult> {
    for (id, expected) in zoo::ELSEWHERE.iter().filter(|(id, _)| id.starts_with(group)) {
        let is_here = met.iter().any(|result| result.bug == *id && result.expected == *expected);
        assert!(is_here, "{id}, which is to break {expected}, is said to be here");
    }
    met
}

const TRESPASSES: &str = "trespasses";

/// The queue on disk, in a directory whose lock is taken for one that was left behind, and removed.
fn trespasses(path: &Path, settings: &Settings) -> Result<FileQueue<RealDir>, Error> {
    // There is none the first time.
    let _ = fs::remove_file(path.join("lock"));
    file::open_dir(path, settings)
}

/// What two processes do to one directory. Threads and kills are not decided by a seed.
fn owners(budget: &Budget) -> Vec<RogueResult> {
    let begun = Instant::now();
    let findings = child::check(TRESPASSES, &trespasses, budget);
    let broken: Vec<Invariant> = findings
        .iter()
        .filter(|finding| finding.verdict.is_broken())
        .map(|finding| finding.invariant)
        .collect();
    let expected = Invariant::Du12;
    let failure = findings
        .iter()
        .find(|finding| finding.invariant == expected)
        .and_then(|finding| finding.failure.as_ref());
    let met = vec![RogueResult {
        bug: "P30".into(),
        what: "A lock is taken for one that was left behind: two processes open the same directory.".into(),
        expected,
        found: broken.contains(&expected),
        cases: failure.map_or(0, |failure| failure.case + 1),
        shrunk: None,
        plan: None,
        engine: "child process".into(),
        also: broken.into_iter().filter(|also| *also != expected).collect(),
        seconds: begun.elapsed().as_secs_f64(),
        showed: Showed::default(),
    }];
    as_the_zoo_says(met, 'P')
}

/// Ten seeds, each with four times the cases of the default.
fn whatever_the_seed(group: &str, table: Table) -> Result<(), Failed> {
    let quick = Budget::quick();
    let budget = Budget { cases: 4 * quick.cases, patience: Duration::from_secs(2), ..quick };
    let kills = matrix::over(1..=10, &budget, table);
    println!("{}", matrix::draw(&kills));
    outcome::store_matrix(group, &kills);
    let escaped: Vec<String> = kills
        .iter()
        .filter(|kill| kill.caught < kill.seeds)
        .map(|kill| {
            format!("{} ({}): caught with {} of {} seeds", kill.bug, kill.what, kill.caught, kill.seeds)
        })
        .collect();
    if escaped.is_empty() { Ok(()) } else { Err(Failed::from(escaped.join("\n"))) }
}

/// In a child process a reject waits for ever; here, where what is left is acked, nothing does.
fn never_answers() -> Result<(), Failed> {
    let budget = Budget { cases: 1, patience: Duration::from_secs(2), ..Budget::quick() };
    let findings = child::check("waits", &waits::open, &budget);
    let broken: Vec<&Finding> = findings.iter().filter(|finding| finding.verdict.is_broken()).collect();
    match broken[..] {
        [Finding { invariant: Invariant::Li1, failure: Some(failure), .. }]
            if failure.picture.contains("The call `settle` never returned: nothing moved for 2s.") =>
        {
            Ok(())
        }
        _ => Err(format!("only LI-1 was to be broken: {broken:#?}").into()),
    }
}

/// A kill that comes when all is over is none.
fn killed_alive() -> Result<(), Failed> {
    let (mut kills, mut in_flight) = (0, 0);
    for seed in 0..6 {
        let (history, _) = child::run("file", &file::open_dir, 4, seed, Duration::from_secs(10))?;
        for (at, event) in history.events.iter().enumerate() {
            if matches!(event.what, What::Crashed { .. }) {
                kills += 1;
                // What was not answered stands just before the kill.
                in_flight += usize::from(at > 0 && history.events[at - 1].ret + 1 == event.call);
            }
        }
    }
    println!("{in_flight} of {kills} kills met a call in flight");
    if kills == 24 && in_flight >= 4 {
        Ok(())
    } else {
        Err(format!("of {kills} kills {in_flight} met a call in flight").into())
    }
}

/// In a child process a reject ends the process, in good order.
fn ends_by_itself() -> Result<(), Failed> {
    let open = waits::open_one_that_ends;
    let ended = (0..20).map(|seed| child::run("ends", &open, 4, seed, Duration::from_secs(10)));
    let told = ended.filter_map(Result::err).map(|error| error.to_string()).next();
    match told {
        Some(error) if error.contains("had ended by itself before it was killed") => Ok(()),
        other => Err(format!("it was taken for a kill: {other:?}").into()),
    }
}

/// The queue on disk, with a reject that waits for ever, or ends the process.
mod waits {
    use std::path::Path;
    use std::time::Duration;

    use stanchion::file::{self, FileQueue, FileSession, RealDir};
    use stanchion::{
        Broker, Contract, DeadLetter, Delivery, Depth, Error, Message, Receipt, Sent, Session, Settings,
        Settle, Settled, Settlement,
    };

    pub(super) struct Waits(FileQueue<RealDir>, fn());
    pub(super) struct WaitingSession(FileSession<RealDir>, fn());

    pub(super) fn open(path: &Path, settings: &Settings) -> Result<Waits, Error> {
        file::open_dir(path, settings).map(|queue| Waits(queue, std::thread::park))
    }

    pub(super) fn open_one_that_ends(path: &Path, settings: &Settings) -> Result<Waits, Error> {
        file::open_dir(path, settings).map(|queue| Waits(queue, || std::process::exit(0)))
    }

    impl Broker for Waits {
        type Session = WaitingSession;

        fn contract(&self) -> Contract {
            self.0.contract()
        }

        fn session(&self) -> Result<WaitingSession, Error> {
            self.0.session().map(|session| WaitingSession(session, self.1))
        }
    }

    impl Session for WaitingSession {
        fn send(&mut self, messages: &[Message]) -> Vec<Sent> {
            self.0.send(messages)
        }

        fn receive(&mut self, max: usize, lease: Duration) -> Result<Vec<Delivery>, Error> {
            self.0.receive(max, lease)
        }

        fn settle(&mut self, settlements: &[Settlement]) -> Vec<Settled> {
            while settlements.iter().any(|settlement| settlement.how == Settle::Reject) {
                (self.1)();
            }
            self.0.settle(settlements)
        }

        fn extend(&mut self, receipt: Receipt, lease: Duration) -> Settled {
            self.0.extend(receipt, lease)
        }

        fn dead_letters(&mut self, max: usize) -> Result<Vec<DeadLetter>, Error> {
            self.0.dead_letters(max)
        }

        fn redrive(&mut self, max: usize) -> Result<usize, Error> {
            self.0.redrive(max)
        }

        fn depth(&mut self) -> Result<Depth, Error> {
            self.0.depth()
        }
    }
}

fn large(result: &RogueResult) -> String {
    let RogueResult { bug, what, shrunk, .. } = result;
    let steps = shrunk.unwrap_or_default();
    format!("{bug} ({what}): a counterexample of {steps} steps was not shrunk well enough to be read")
}

fn escape(result: &RogueResult) -> String {
    let RogueResult { bug, what, expected, cases, also, .. } = result;
    let also: Vec<&str> = also.iter().map(|invariant| invariant.id()).collect();
    format!("{bug} ({what}) was not seen to break {expected} in {cases} cases; it was seen to break {also:?}")
}
