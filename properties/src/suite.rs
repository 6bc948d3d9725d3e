//! The list of what is checked, and a test target made from it: one test per queue and promise.
//!
//! ```no_run
//! use stanchion_properties::Suite;
//! use stanchion_queues::buffers::Ring;
//!
//! fn main() -> std::process::ExitCode {
//!     Suite::new().buffer::<Ring>("ring").main()
//! }
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

pub use libtest_mimic::Arguments;
use libtest_mimic::{Failed, Trial};
use stanchion_queues::{Broker, Buffer, BufferContract, Contract, Error, Host, Leased, Settings, Volatile};
use stanchion_reports::exit;
use stanchion_reports::results::Kind;

use crate::buffer_history::BufferHistory;
use crate::consumers::Consumer;
use crate::engines::budget::Budget;
use crate::engines::explore::explore;
use crate::engines::{child, sequential_buffer, threads, threads_broker};
use crate::finding::Finding;
use crate::history::History;
use crate::invariant::Invariant;
use crate::regressions::{self, Regression};
use crate::verdict::Verdict;
use crate::{checkers, checkers_buffer, consumers, describe, outcome};

/// The engine whose plans can be saved and replayed.
const SEQUENTIAL: &str = "sequential";

/// What is checked, in the order in which it is shown.
#[derive(Default)]
pub struct Suite {
    entries: Vec<Entry>,
}

/// One queue or consumer with everything that can be done to it.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Only numbers of one class are compared.
    pub(crate) class: &'static str,
    pub(crate) contract: Vec<(String, String)>,
    pub(crate) engines: Vec<Engine>,
    live: Option<Live>,
}

/// One way of running a queue.
pub(crate) struct Engine {
    pub(crate) name: &'static str,
    /// What it decides, and whether the contract promises it.
    decides: Vec<(Invariant, bool)>,
    run: Check,
    findings: OnceLock<Vec<Finding>>,
}

type Check = Box<dyn Fn(&Budget) -> Vec<Finding> + Send + Sync>;
type Live = Box<dyn Fn(&child::Life) + Send + Sync>;

/// What came of running a saved plan again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Whether the promise is still broken.
    pub broken: bool,
    /// The run, drawn, or the sentence that it is not.
    pub picture: String,
}

impl Engine {
    /// What it found. It runs once, when somebody asks first.
    fn findings(&self, budget: &Budget) -> &[Finding] {
        self.findings.get_or_init(|| (self.run)(budget))
    }

    /// Whether the contract promises this to what the engine can see.
    pub(crate) fn decides(&self, invariant: Invariant) -> bool {
        self.decides.iter().any(|&(decided, _)| decided == invariant)
    }

    pub(crate) fn found(&self) -> Option<&[Finding]> {
        self.findings.get().map(Vec::as_slice)
    }
}

impl Suite {
    /// An empty list.
    pub fn new() -> Suite {
        Suite::default()
    }

    /// Adds a buffer. It is checked as a buffer, on one thread and on many, and as a broker, with leases,
    /// attempts and dead letters around it ([`Leased`]).
    #[must_use]
    pub fn buffer<B: Buffer>(mut self, name: &str) -> Suite {
        let entry = self.entry(name, Kind::Buffer);
        entry.contract.extend(describe::buffer(&B::CONTRACT));
        entry.engine("one thread", on_one_thread::<B>(), |budget| sequential_buffer::check::<B>(budget));
        entry.engine("threads", on_threads(B::CONTRACT), |budget| threads::check::<B>(budget));
        self.leased::<B>(name)
    }

    fn leased<B: Buffer>(self, name: &str) -> Suite {
        let kind = Kind::Buffer;
        self.broker_of_kind(name, kind, |settings: &Settings| {
            let settings = settings.clone();
            Volatile::new(move || Leased::<B>::open(&settings))
        })
    }

    /// Adds a broker. `make` gives a host for it; it is called once per run, with other settings each time.
    #[must_use]
    pub fn broker<H, F>(self, name: &str, make: F) -> Suite
    where
        H: Host,
        F: Fn(&Settings) -> H + Send + Sync + 'static,
    {
        self.broker_of_kind(name, Kind::Broker, make)
    }

    fn broker_of_kind<H, F>(mut self, name: &str, kind: Kind, make: F) -> Suite
    where
        H: Host,
        F: Fn(&Settings) -> H + Send + Sync + 'static,
    {
        let make = Arc::new(make);
        let contract = contract_of(&*make);
        let entry = self.entry(name, kind);
        entry.class = describe::class(&contract);
        if kind == Kind::Broker {
            entry.contract.extend(describe::broker(&contract));
        }
        let queue = name.to_owned();
        let (promised, sequential) = (claims(&contract), Arc::clone(&make));
        entry.engine(SEQUENTIAL, promised.clone(), move |budget| {
            let undecided = |why: String| {
                let finding = |&(invariant, _)| Finding::new(invariant, Verdict::Unknown(why.clone()), 0, 0);
                promised.iter().map(finding).collect()
            };
            match explore(&queue, &*sequential, budget, checkers::judge) {
                Ok(exploration) => exploration.findings,
                Err(error) => undecided(error.to_string()),
            }
        });
        let queue = name.to_owned();
        entry.engine("sessions on threads", claims(&contract), move |budget| {
            threads_broker::check(&queue, &*make, budget)
        });
        self
    }

    /// Adds a durable broker that lives in a directory: it is run in a child process that is killed at random
    /// moments. If `name` is in the list already, this adds to it.
    #[must_use]
    pub fn on_disk<B, F>(mut self, name: &str, open: F) -> Suite
    where
        B: Broker,
        F: Fn(&Path, &Settings) -> Result<B, Error> + Send + Sync + 'static,
    {
        let open = Arc::new(open);
        let contract = tempfile::tempdir()
            .ok()
            .and_then(|dir| open(dir.path(), &Settings::new()).ok())
            .map_or_else(Contract::durable, |broker| broker.contract());
        let entry = self.entry(name, Kind::Broker);
        let lives = Arc::clone(&open);
        entry.live = Some(Box::new(move |life| child::live(life, &*lives)));
        let queue = name.to_owned();
        entry.engine("child process", claims(&contract), move |budget| child::check(&queue, &*open, budget));
        self
    }

    /// Adds a consumer. `make` is called for each run, and again whenever the consumer was killed.
    #[must_use]
    pub fn consumer<C, F>(mut self, name: &str, make: F) -> Suite
    where
        C: Consumer + 'static,
        F: Fn() -> C + Send + Sync + 'static,
    {
        let entry = self.entry(name, Kind::Consumer);
        entry.contract.push(("promises".into(), "each intent takes effect once".into()));
        let consumer = name.to_owned();
        let decides = consumers::INVARIANTS.map(|invariant| (invariant, true)).into();
        entry.engine("consumer", decides, move |budget| {
            consumers::check(&consumer, &|| Box::new(make()) as Box<dyn Consumer>, budget)
        });
        self
    }

    fn entry(&mut self, name: &str, kind: Kind) -> &mut Entry {
        let known = self.entries.iter().position(|entry| entry.name == name);
        let at = known.unwrap_or_else(|| {
            let contract = Vec::new();
            let engines = Vec::new();
            let name = name.to_owned();
            self.entries.push(Entry { name, kind, class: "in memory", contract, engines, live: None });
            self.entries.len() - 1
        });
        &mut self.entries[at]
    }

    /// The names in the list, with what each is and claims in words.
    pub fn describe(&self) -> Vec<stanchion_reports::results::Queue> {
        self.entries.iter().map(outcome::queue).collect()
    }

    /// Runs a saved plan again on the queue it names.
    ///
    /// # Errors
    /// The file cannot be read or no broker of that name is in the list: the text says which and what to do.
    pub fn replay(&self, path: &Path) -> Result<Replayed, String> {
        let saved = Regression::load(path).map_err(|error| error.to_string())?;
        let engine = self
            .entries
            .iter()
            .find(|entry| entry.name == saved.queue)
            .and_then(|entry| entry.engines.iter().find(|engine| engine.name == SEQUENTIAL))
            .ok_or_else(|| {
                let known: Vec<&str> = self.entries.iter().map(|entry| entry.name.as_str()).collect();
                let (path, known) = (path.display(), known.join(", "));
                format!(
                    "{path} is a plan against the queue {:?}, which is not in this list: correct the name in the \
                     file, or register the queue. The list has {known}",
                    saved.queue
                )
            })?;
        let budget = Budget { replay: Some(path.to_owned()), ..Budget::quick() };
        let findings = (engine.run)(&budget);
        let finding = findings
            .into_iter()
            .find(|finding| finding.invariant == saved.invariant)
            .ok_or_else(|| format!("{} says nothing of {}", path.display(), saved.invariant))?;
        Ok(match (finding.verdict, finding.failure) {
            (Verdict::Broken(how), failure) => {
                Replayed { broken: true, picture: failure.map_or(how.sentence, |failure| failure.picture) }
            }
            (Verdict::Unknown(why), _) => return Err(why),
            _ => Replayed {
                broken: false,
                picture: format!("{} keeps {} in this plan: it is mended.", saved.queue, saved.invariant),
            },
        })
    }

    /// Checks everything as a test target would, with the arguments of this process (those of `cargo test`),
    /// and writes what was found for the report. Use it as the whole of a test target with `harness = false`.
    pub fn main(self) -> ExitCode {
        self.run(&Arguments::from_args())
    }

    /// The same with arguments of the caller's choice.
    pub fn run(self, arguments: &Arguments) -> ExitCode {
        if let Some(life) = child::life() {
            return self.live(&life);
        }
        let budget = match Budget::from_env() {
            Ok(budget) => budget,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::from(exit::USAGE);
            }
        };
        let started = outcome::Started::now("conformance");
        let suite = Arc::new(self);
        let trials = suite.trials(&budget);
        if let Some(filter) = arguments.filter.as_deref()
            && !trials.iter().any(|trial| selected(trial.name(), filter, arguments.exact))
        {
            // Not an error: `cargo test NAME` offers the name to every target of the workspace.
            eprintln!("no queue or promise matches {filter:?}; --list shows them all");
        }
        let conclusion = libtest_mimic::run(arguments, trials);
        if !arguments.list {
            outcome::conclude(&suite.entries, &budget, started);
        }
        conclusion.exit_code()
    }

    fn live(&self, life: &child::Life) -> ExitCode {
        match self.entries.iter().find(|entry| entry.name == life.queue).and_then(|entry| entry.live.as_ref())
        {
            Some(live) => {
                live(life);
                ExitCode::SUCCESS
            }
            None => {
                eprintln!("{} names {:?}, which is not in this suite", child::CHILD, life.queue);
                ExitCode::from(exit::USAGE)
            }
        }
    }

    /// The names of all tests, as in `ring::no_loss`.
    pub fn tests(&self) -> Vec<String> {
        let of = |entry: &Entry| {
            let names = entry.promised().into_keys().map(|invariant| entry.test(invariant));
            names.collect::<Vec<_>>()
        };
        self.entries.iter().flat_map(of).collect()
    }

    /// One test per queue and promise. What no engine was promised shows as ignored.
    fn trials(self: &Arc<Suite>, budget: &Budget) -> Vec<Trial> {
        let mut trials = Vec::new();
        for (at, entry) in self.entries.iter().enumerate() {
            for (invariant, claimed) in entry.promised() {
                let (suite, budget) = (Arc::clone(self), budget.clone());
                let name = entry.test(invariant);
                let trial = Trial::test(name, move || suite.entries[at].judge(invariant, &budget));
                trials.push(trial.with_kind(invariant.id()).with_ignored_flag(!claimed));
            }
        }
        trials.extend(self.saved_plans(budget));
        trials
    }

    /// Saved plans that cannot be used are a failed test: nobody would notice that they no longer protect.
    fn saved_plans(&self, budget: &Budget) -> Vec<Trial> {
        let Some(directory) = budget.regressions.as_deref().filter(|directory| directory.is_dir()) else {
            return Vec::new();
        };
        let known: Vec<&str> = self.entries.iter().map(|entry| entry.name.as_str()).collect();
        let of_known = known.iter().flat_map(|queue| regressions::of_queue(directory, queue).errors);
        let errors: Vec<String> = regressions::of_unknown_queues(directory, &known)
            .into_iter()
            .chain(of_known)
            .map(|error| error.to_string())
            .collect();
        let usable = move || if errors.is_empty() { Ok(()) } else { Err(errors.join("\n").into()) };
        vec![Trial::test("saved_plans_are_usable", usable)]
    }
}

fn selected(name: &str, filter: &str, exact: bool) -> bool {
    if exact { name == filter } else { name.contains(filter) }
}

impl Entry {
    fn engine(
        &mut self,
        name: &'static str,
        decides: Vec<(Invariant, bool)>,
        run: impl Fn(&Budget) -> Vec<Finding> + Send + Sync + 'static,
    ) {
        self.engines.push(Engine { name, decides, run: Box::new(run), findings: OnceLock::new() });
    }

    /// Every promise that some engine decides, and whether it is claimed.
    fn promised(&self) -> BTreeMap<Invariant, bool> {
        let mut promised = BTreeMap::new();
        for &(invariant, claimed) in self.engines.iter().flat_map(|engine| &engine.decides) {
            *promised.entry(invariant).or_default() |= claimed;
        }
        promised
    }

    fn test(&self, invariant: Invariant) -> String {
        format!("{}::{}", self.name, invariant.name())
    }

    /// What all engines together say of one promise.
    fn judge(&self, invariant: Invariant, budget: &Budget) -> Result<(), Failed> {
        let mut verdict = Verdict::NotClaimed;
        for engine in &self.engines {
            if !engine.decides.contains(&(invariant, true)) {
                continue;
            }
            for finding in engine.findings(budget).iter().filter(|finding| finding.invariant == invariant) {
                if let Verdict::Broken(counterexample) = &finding.verdict {
                    let picture = finding.failure.as_ref().map(|failure| failure.picture.as_str());
                    return Err(picture.unwrap_or(&counterexample.sentence).into());
                }
                verdict = verdict.merge(finding.verdict.clone());
            }
        }
        match verdict {
            Verdict::Holds { .. } => Ok(()),
            Verdict::Unknown(why) => Err(format!("undecided: {why}").into()),
            Verdict::Vacuous | Verdict::NotClaimed => Err(format!(
                "never exercised: {invariant} is claimed, but in {} plans the situation it is about never \
                 occurred. Set STANCHION_CASES to more, or claim less",
                budget.cases
            )
            .into()),
            Verdict::Broken(counterexample) => Err(counterexample.sentence.into()),
        }
    }
}

/// The contract of a broker as it is booted with ordinary settings. A broker that does not boot here will say
/// so in every plan; until then it is taken to promise what a broker in memory does.
fn contract_of<H: Host>(make: &dyn Fn(&Settings) -> H) -> Contract {
    make(&Settings::new()).boot().map_or_else(|_| Contract::in_memory(), |broker| broker.contract())
}

/// What a buffer's contract promises to the engine with one thread: without a case nothing is exercised, and
/// what is not claimed is not claimed all the same.
fn on_one_thread<B: Buffer>() -> Vec<(Invariant, bool)> {
    let none = Budget { cases: 0, ..Budget::quick() };
    sequential_buffer::check::<B>(&none)
        .into_iter()
        .map(|finding| (finding.invariant, finding.verdict != Verdict::NotClaimed))
        .collect()
}

/// What it promises to the engine with many threads.
fn on_threads(contract: BufferContract) -> Vec<(Invariant, bool)> {
    let empty = BufferHistory { contract, capacity: 1, producers: vec![], consumers: vec![], drained: true };
    let judged = checkers_buffer::judge(&empty).verdicts.into_iter();
    judged
        .map(|(invariant, verdict)| (invariant, verdict != Verdict::NotClaimed))
        .chain([(Invariant::Li1, true)])
        .collect()
}

/// What a contract promises: on an empty history a promise is either not claimed or not exercised.
fn claims(contract: &Contract) -> Vec<(Invariant, bool)> {
    let empty = History { contract: contract.clone(), events: Vec::new() };
    checkers::judge(&empty)
        .into_iter()
        .filter(|(invariant, _)| !consumers::INVARIANTS.contains(invariant))
        .map(|(invariant, verdict)| (invariant, verdict != Verdict::NotClaimed))
        .collect()
}
