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
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::thread;
use std::time::Duration;

pub use libtest_mimic::Arguments;
use libtest_mimic::{Failed, Trial};
use stanchion_queues::any::AnyHost;
use stanchion_queues::{
    Broker, Buffer, BufferContract, Contract, Durability, Error, Host, Leased, Settings, Volatile,
};
use stanchion_reports::exit;
use stanchion_reports::results::Kind;

use crate::buffer_history::BufferHistory;
use crate::card::{Asked, Card};
use crate::consumers::{Consumer, ConsumerPlan, Ledger, Store};
use crate::engines::budget::Budget;
use crate::engines::explore::explore;
use crate::engines::extent::{self, Running};
use crate::engines::sequential::quietly;
use crate::engines::watchdog::{self, Call, UnknownLock, calling};
use crate::engines::{child, images, sequential_buffer, simulated, threads, threads_broker};
use crate::finding::Finding;
use crate::history::History;
use crate::invariant::Invariant;
use crate::plan::Plan;
use crate::regressions::{self, Keep, Regression, RegressionError};
use crate::verdict::Verdict;
use crate::{checkers, checkers_buffer, consumers, describe, outcome};

/// What is checked, in the order in which it is shown.
#[derive(Default)]
pub struct Suite {
    entries: Vec<Entry>,
}

/// One queue or consumer with everything that can be done to it.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    words: Vec<(String, String)>,
    /// What it promises as a broker, if it is one.
    broker: Option<Promised>,
    pub(crate) engines: Vec<Engine>,
    live: Option<Live>,
    /// Hosts of it, if it is a broker.
    hosts: Option<Hosts>,
    /// What probes learn of it, if it is a broker that can be probed.
    pub(crate) card: Option<Asked>,
}

/// One way of running a queue.
pub(crate) struct Engine {
    pub(crate) name: &'static str,
    /// The promise that a call breaks which never returns.
    liveness: Invariant,
    decides: Lazy<Vec<(Invariant, bool)>>,
    run: Check,
    /// Somebody runs it, or has.
    begun: AtomicBool,
    findings: OnceLock<Vec<Finding>>,
}

type Check = Arc<dyn Fn(&Budget) -> Vec<Finding> + Send + Sync>;
type Live = Box<dyn Fn(&child::Life) + Send + Sync>;
type Hosts = Box<dyn Fn(&Settings) -> AnyHost + Send + Sync>;
/// Worked out when somebody asks: to learn what a broker promises, it is started.
type Lazy<T> = LazyLock<T, Box<dyn FnOnce() -> T + Send>>;
type Promised = Arc<Lazy<Contract>>;

fn lazy<T>(make: impl FnOnce() -> T + Send + 'static) -> Lazy<T> {
    LazyLock::new(Box::new(make))
}

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
        if let Some(found) = self.findings.get() {
            return found;
        }
        let Some(_running) = Running::begin() else { wait_for_the_end() };
        self.begun.store(true, Ordering::Relaxed);
        self.findings.get_or_init(|| self.run(budget))
    }

    fn run(&self, budget: &Budget) -> Vec<Finding> {
        let attempt = |budget: Budget| {
            let run = Arc::clone(&self.run);
            watchdog::try_watch(budget.patience, self.liveness, move || run(&budget))
        };
        let whole = |UnknownLock| {
            eprintln!(
                "note: in the engine {:?} calls of this queue are not interrupted inside: it holds a lock meanwhile \
                 of which the engine does not know. With `stanchion_queues::sync::Mutex` in place of it they are",
                self.name
            );
            attempt(Budget { interrupts: false, ..budget.clone() })
        };
        let done = attempt(budget.clone()).or_else(whole);
        done.unwrap_or_else(|UnknownLock| Finding::undecided("no call of it could be made in turns", 0))
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
        entry.words.extend(describe::buffer(&B::CONTRACT));
        let queue = name.to_owned();
        let promised = || sequential_buffer::promised(&B::CONTRACT);
        entry.engine(sequential_buffer::Plan::ENGINE, promised, move |budget| {
            sequential_buffer::check::<B>(&queue, budget)
        });
        entry.engine(threads::ENGINE, || on_threads(B::CONTRACT), |budget| threads::check::<B>(budget));
        self.leased::<B>(name)
    }

    fn leased<B: Buffer>(self, name: &str) -> Suite {
        let kind = Kind::Buffer;
        self.broker_of_kind(name, kind, |settings: &Settings| {
            let settings = settings.clone();
            Volatile::new(move || Leased::<B>::open(&settings))
        })
    }

    /// Adds a broker. `make` gives a host for it; it is called once per run, with other settings each time. If the host
    /// shows a simulated disk ([`Host::simulated_disk`]), that is failed in every way, at every call. One that
    /// lives in memory needs no host of its own:
    ///
    /// ```
    /// use stanchion_properties::Suite;
    /// use stanchion_queues::buffers::MutexDeque;
    /// use stanchion_queues::{Leased, Settings, Volatile};
    ///
    /// let suite = Suite::new().broker("mine", |settings: &Settings| {
    ///     let settings = settings.clone();
    ///     Volatile::new(move || Leased::<MutexDeque>::open(&settings))
    /// });
    /// assert!(suite.tests().contains(&"mine::no_loss".to_owned()));
    /// ```
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
        let starts = Arc::clone(&make);
        let promised = promised(Contract::in_memory, move || {
            starts(&Settings::new()).boot().map(|broker| broker.contract()).ok()
        });
        let entry = self.entry(name, kind);
        entry.broker = Some(Arc::clone(&promised));
        entry.card = Some(Asked::of(Arc::clone(&make)));
        let hosts = Arc::clone(&make);
        entry.hosts = Some(Box::new(move |settings| AnyHost::new(hosts(settings))));
        let (queue, sequential, claimed) = (name.to_owned(), Arc::clone(&make), Arc::clone(&promised));
        entry.engine(
            Plan::ENGINE,
            move || claims(&claimed),
            move |budget| match explore(&queue, &*sequential, budget, checkers::judge) {
                Ok(exploration) => exploration.findings,
                Err(error) => Finding::undecided(&error.to_string(), 0),
            },
        );
        let (queue, simulated, claimed) = (name.to_owned(), Arc::clone(&make), Arc::clone(&promised));
        entry.engine(
            simulated::Plan::ENGINE,
            move || claims(&claimed),
            move |budget| match simulated::explore(&queue, &*simulated, budget) {
                Ok(exploration) => exploration.findings,
                Err(error) => Finding::undecided(&error.to_string(), 0),
            },
        );
        let (queue, struck, claimed) = (name.to_owned(), Arc::clone(&make), Arc::clone(&promised));
        let shows = Arc::clone(&make);
        entry.engine(
            images::Plan::ENGINE,
            move || if has_simulated_disk(shows) { claims_of_disk(&claimed) } else { Vec::new() },
            move |budget| match images::explore(&queue, &*struck, budget) {
                Ok(exploration) => exploration.findings,
                Err(error) => Finding::undecided(&error.to_string(), 0),
            },
        );
        let queue = name.to_owned();
        entry.engine(
            threads_broker::ENGINE,
            move || claims(&promised),
            move |budget| threads_broker::check(&queue, &*make, budget),
        );
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
        let opens = Arc::clone(&open);
        let promised = promised(Contract::durable, move || {
            let directory = tempfile::tempdir().ok()?;
            opens(directory.path(), &Settings::new()).map(|broker| broker.contract()).ok()
        });
        let entry = self.entry(name, Kind::Broker);
        entry.broker.get_or_insert_with(|| Arc::clone(&promised));
        let lives = Arc::clone(&open);
        entry.live = Some(Box::new(move |life| child::live(life, &*lives)));
        let queue = name.to_owned();
        entry.engine(
            child::ENGINE,
            move || claims_of_processes(&promised),
            move |budget| child::check(&queue, &*open, budget),
        );
        self
    }

    /// Adds a consumer of the ledger that the harness ships. `make` is called for each run, and again whenever the
    /// consumer was killed.
    #[must_use]
    pub fn consumer<C, F>(self, name: &str, make: F) -> Suite
    where
        C: Consumer + 'static,
        F: Fn() -> C + Send + Sync + 'static,
    {
        self.consumer_of(name, Ledger::default, move |_| make())
    }

    /// Adds a consumer whose effects go to a store of its own. `store` is called for each run and makes an empty one;
    /// `make` is given it, for a connection perhaps, and called as for [`Suite::consumer`].
    #[must_use]
    pub fn consumer_of<S, C, O, F>(mut self, name: &str, store: O, make: F) -> Suite
    where
        S: Store,
        C: Consumer<S> + 'static,
        O: Fn() -> S + Send + Sync + 'static,
        F: Fn(&mut S) -> C + Send + Sync + 'static,
    {
        let entry = self.entry(name, Kind::Consumer);
        entry.words.push(("promises".into(), "each intent takes effect once".into()));
        let consumer = name.to_owned();
        let decides = || consumers::INVARIANTS.map(|invariant| (invariant, true)).into();
        entry.engine(ConsumerPlan::ENGINE, decides, move |budget| {
            let make = |store: &mut S| Box::new(make(store)) as Box<dyn Consumer<S>>;
            consumers::check(&consumer, &store, &make, budget)
        });
        if let Some(engine) = entry.engines.last_mut() {
            engine.liveness = Invariant::Ic10;
        }
        self
    }

    fn entry(&mut self, name: &str, kind: Kind) -> &mut Entry {
        let known = self.entries.iter().position(|entry| entry.name == name);
        let at = known.unwrap_or_else(|| {
            let (name, words, engines) = (name.to_owned(), Vec::new(), Vec::new());
            let (broker, live, hosts, card) = (None, None, None, None);
            self.entries.push(Entry { name, kind, words, broker, engines, live, hosts, card });
            self.entries.len() - 1
        });
        &mut self.entries[at]
    }

    /// The names in the list, with what each is and claims in words.
    pub fn describe(&self) -> Vec<stanchion_reports::results::Queue> {
        self.entries.iter().map(outcome::queue).collect()
    }

    /// The brokers in the list, with what makes hosts of each for given settings: for whoever has something of his own to
    /// try with all of them. Buffers are among them as [`Leased`] makes brokers of them.
    pub fn brokers(&self) -> impl Iterator<Item = (&str, &(dyn Fn(&Settings) -> AnyHost + Send + Sync))> {
        self.entries.iter().filter_map(|entry| Some((entry.name.as_str(), &**entry.hosts.as_ref()?)))
    }

    /// The brokers in the list that can be probed, buffers among them as [`Leased`] makes brokers of them.
    pub fn probed(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter(|entry| entry.card.is_some()).map(|entry| entry.name.as_str())
    }

    /// What probes learn of one of them, or why they learn nothing. `None`: there is none of that name.
    pub fn card(&self, name: &str, budget: &Budget) -> Option<&Result<Card, String>> {
        let entry = self.entries.iter().find(|entry| entry.name == name)?;
        Some(entry.card.as_ref()?.card(budget.patience))
    }

    /// Runs a saved plan again on the queue it names.
    ///
    /// # Errors
    /// The file cannot be read or no broker of that name is in the list: the text says which and what to do.
    pub fn replay(&self, path: &Path, budget: &Budget) -> Result<Replayed, String> {
        let saved = Regression::load(path).map_err(|error| error.to_string())?;
        let engine = self
            .entries
            .iter()
            .find(|entry| entry.name == saved.queue)
            .and_then(|entry| entry.engines.iter().find(|engine| engine.name == saved.plan.engine()))
            .ok_or_else(|| {
                let known: Vec<&str> = self.entries.iter().map(|entry| entry.name.as_str()).collect();
                let (file, path, known) = (path, path.display(), known.join(", "));
                format!(
                    "{path} is a plan against the queue {:?} for the engine {:?}, which is not in this list: \
                     correct the name in the file, register the queue, or, in the crate whose tests run it, give \
                     {}. The list has {known}",
                    saved.queue,
                    saved.plan.engine(),
                    regressions::replay_line(file, &saved.queue, saved.invariant)
                )
            })?;
        let findings = engine.run(&Budget { replay: Some(path.to_owned()), ..budget.clone() });
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
        let (life, mut budget) = match child::life().and_then(|life| Ok((life, Budget::from_env()?))) {
            Ok(asked) => asked,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::from(exit::USAGE);
            }
        };
        if let Some(life) = life {
            return self.live(&life);
        }
        if let Some(path) = budget.regressions.as_deref().filter(|path| path.exists() && !path.is_dir()) {
            eprintln!(
                "{} is to hold the saved failing plans, but is not a directory: move it away, or name another \
                 directory in STANCHION_REGRESSIONS",
                path.display()
            );
            return ExitCode::from(exit::USAGE);
        }
        let suite = Arc::new(self);
        if let Some(path) = budget.replay.take() {
            return suite.run_again(path, budget, arguments);
        }
        let started = outcome::Started::now("conformance");
        suite.conclude_if_interrupted(&budget, &started);
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

    /// Whoever interrupts a run is told what was found until then: when the cases that are being run have ended, or, if it
    /// is interrupted once more, not at all. Where somebody else waits for that signal in this process, it stays theirs.
    fn conclude_if_interrupted(self: &Arc<Suite>, budget: &Budget, started: &outcome::Started) {
        let (suite, budget, started) = (Arc::clone(self), budget.clone(), started.clone());
        let interrupted = move || {
            if extent::interrupt() {
                process::exit(exit::INTERRUPTED.into());
            }
            eprintln!(
                "\ninterrupted: the cases that are being run are ended, then the report is drawn (once more: at once)"
            );
            let (suite, budget, started) = (Arc::clone(&suite), budget.clone(), started.clone());
            thread::spawn(move || {
                while Running::how_many() > 0 {
                    thread::sleep(LOOK);
                }
                outcome::conclude(&suite.entries, &budget, started);
                process::exit(exit::INTERRUPTED.into());
            });
        };
        // It is the one way in which this can fail.
        let _ = ctrlc::set_handler(interrupted);
    }

    /// Runs a saved plan as the only test. Of a queue that is not in this suite it is passed over: it may well be
    /// in that of another test target, and `cargo test` runs them all.
    fn run_again(self: Arc<Suite>, path: PathBuf, budget: Budget, arguments: &Arguments) -> ExitCode {
        let saved = match Regression::load(&path) {
            Ok(saved) => saved,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::from(exit::USAGE);
            }
        };
        let mut trials = Vec::new();
        match self.entries.iter().find(|entry| entry.name == saved.queue) {
            Some(entry) => {
                let (name, suite) = (entry.test(saved.invariant), Arc::clone(&self));
                trials.push(Trial::test(name, move || match suite.replay(&path, &budget)? {
                    Replayed { broken: true, picture } => Err(picture.into()),
                    Replayed { broken: false, picture } => {
                        println!("{picture}");
                        Ok(())
                    }
                }));
            }
            None => {
                eprintln!("{} is of the queue {:?}, which is not in this suite", path.display(), saved.queue)
            }
        }
        libtest_mimic::run(arguments, trials).exit_code()
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
            let card = entry.card.as_ref().map(|_| entry.card_test());
            names.chain(card).collect::<Vec<_>>()
        };
        self.entries.iter().flat_map(of).collect()
    }

    /// The same, with the tests that say whether the saved plans of this budget can be used.
    pub fn tests_with(&self, budget: &Budget) -> Vec<String> {
        let saved = self.saved_plans(budget).into_iter().map(|trial| trial.name().to_owned());
        self.tests().into_iter().chain(saved).collect()
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
            if entry.card.is_some() {
                let (suite, patience) = (Arc::clone(self), budget.patience);
                let trial = Trial::test(entry.card_test(), move || suite.entries[at].probe(patience));
                trials.push(trial.with_kind("card"));
            }
        }
        trials.extend(self.saved_plans(budget));
        trials
    }

    /// Saved plans that cannot be used are a failed test: nobody would notice that they no longer protect.
    fn saved_plans(&self, budget: &Budget) -> Vec<Trial> {
        let Some(directory) = budget.regressions.as_deref().filter(|directory| directory.exists()) else {
            return Vec::new();
        };
        let known: Vec<&str> = self.entries.iter().map(|entry| entry.name.as_str()).collect();
        let strange = regressions::of_unknown_queues(directory, &known);
        let trial = |name: String, errors: Vec<RegressionError>| {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            let usable = move || if errors.is_empty() { Ok(()) } else { Err(errors.join("\n").into()) };
            Trial::test(name, usable)
        };
        let of_known = known.iter().filter(|queue| regressions::has_any(directory, queue)).map(|queue| {
            let errors = regressions::of_queue(directory, queue).errors;
            trial(format!("{queue}::saved_plans_are_usable"), errors)
        });
        std::iter::once(trial("saved_plans_are_usable".into(), strange)).chain(of_known).collect()
    }
}

/// How often those who wait for an interrupted run look whether it has ended.
const LOOK: Duration = Duration::from_millis(20);

/// The process ends in a moment, and what would be done now is not.
fn wait_for_the_end() -> ! {
    loop {
        thread::park();
    }
}

fn selected(name: &str, filter: &str, exact: bool) -> bool {
    if exact { name == filter } else { name.contains(filter) }
}

impl Entry {
    fn engine(
        &mut self,
        name: &'static str,
        decides: impl FnOnce() -> Vec<(Invariant, bool)> + Send + 'static,
        run: impl Fn(&Budget) -> Vec<Finding> + Send + Sync + 'static,
    ) {
        let (liveness, decides) = (Invariant::Li1, lazy(decides));
        let (begun, findings) = (AtomicBool::new(false), OnceLock::new());
        self.engines.push(Engine { name, liveness, decides, run: Arc::new(run), begun, findings });
    }

    /// What it promises, in words.
    pub(crate) fn contract(&self) -> Vec<(String, String)> {
        let mut words = self.words.clone();
        if let (Kind::Broker, Some(contract)) = (self.kind, &self.broker) {
            words.extend(describe::broker(contract));
        }
        words
    }

    /// Only numbers of one class are compared.
    pub(crate) fn class(&self) -> &'static str {
        self.broker.as_ref().map_or("in memory", |contract| describe::class(contract))
    }

    /// Every promise that some engine decides, and whether it is claimed.
    fn promised(&self) -> BTreeMap<Invariant, bool> {
        let mut promised = BTreeMap::new();
        for &(invariant, claimed) in self.engines.iter().flat_map(|engine| engine.decides.iter()) {
            *promised.entry(invariant).or_default() |= claimed;
        }
        promised
    }

    fn test(&self, invariant: Invariant) -> String {
        format!("{}::{}", self.name, invariant.name())
    }

    fn card_test(&self) -> String {
        format!("{}::does_as_declared", self.name)
    }

    /// Whether probes learn what the contract declares, or more. A broker that cannot be probed, as it does not
    /// start or never answers, breaks promises of its own.
    fn probe(&self, patience: Duration) -> Result<(), Failed> {
        let broken = match self.card.as_ref().map(|asked| asked.card(patience)) {
            Some(Ok(card)) => card.broken(),
            Some(Err(why)) => vec![why.clone()],
            None => Vec::new(),
        };
        if broken.is_empty() { Ok(()) } else { Err(broken.join("\n").into()) }
    }

    /// What all engines together say of one promise.
    fn judge(&self, invariant: Invariant, budget: &Budget) -> Result<(), Failed> {
        let mut verdict = Verdict::NotClaimed;
        let deciding = || self.engines.iter().filter(|engine| engine.decides.contains(&(invariant, true)));
        // Other tests of this queue run at the same time: each begins with an engine that nobody runs.
        for engine in deciding().filter(|engine| !engine.begun.swap(true, Ordering::Relaxed)) {
            engine.findings(budget);
        }
        for engine in deciding() {
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
                "never exercised: {invariant} is claimed, but in {} the situation it is about never \
                 occurred. Set STANCHION_CASES to more, or claim less",
                budget.words()
            )
            .into()),
            Verdict::Broken(counterexample) => Err(counterexample.sentence.into()),
        }
    }
}

/// The contract of a broker as `start` starts it, with ordinary settings. One that does not start here, or
/// panics, or never returns, will do so in every plan, and there it is said; until then it is taken to promise
/// what is usual.
fn promised(usual: fn() -> Contract, start: impl FnOnce() -> Option<Contract> + Send + 'static) -> Promised {
    Arc::new(lazy(move || {
        let started = watchdog::attend(watchdog::PATIENCE, Invariant::Li1, || {
            quietly(|| catch_unwind(AssertUnwindSafe(|| calling(Call::Boot, start))))
        });
        match started {
            Ok(Ok(Some(contract))) => contract,
            _ => usual(),
        }
    }))
}

/// Whether the disk of its hosts can be failed. A host that cannot even be made shows that in every other engine.
fn has_simulated_disk<H: Host>(make: Arc<impl Fn(&Settings) -> H + Send + Sync + 'static>) -> bool {
    let shown = move || {
        quietly(|| catch_unwind(AssertUnwindSafe(|| make(&Settings::new()).simulated_disk().is_some())))
    };
    matches!(watchdog::attend(watchdog::PATIENCE, Invariant::Li1, shown), Ok(Ok(true)))
}

/// What a contract promises of a disk that fails.
fn claims_of_disk(contract: &Contract) -> Vec<(Invariant, bool)> {
    let mut claims = claims(contract);
    claims.retain(|(invariant, _)| !images::UNTOUCHED.contains(invariant));
    claims.push((Invariant::Du5, contract.damage_noticed));
    claims.push((Invariant::Du7, contract.sends != Durability::None));
    claims
}

/// What it promises to whoever opens it in another process.
fn claims_of_processes(contract: &Contract) -> Vec<(Invariant, bool)> {
    let mut claims = claims(contract);
    claims.push((Invariant::Du12, contract.sole_owner));
    claims
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
        .filter(|(invariant, _)| !consumers::INVARIANTS.contains(invariant) && *invariant != Invariant::Du12)
        .map(|(invariant, verdict)| (invariant, verdict != Verdict::NotClaimed))
        .collect()
}

#[cfg(test)]
mod tests {
    use stanchion_queues::brokers::leased::LeasedSession;
    use stanchion_queues::buffers::MutexDeque;
    use stanchion_queues::{
        DeadLetter, Delivery, Depth, Message, Receipt, Sent, Session, Settled, Settlement,
    };

    use super::*;
    use crate::engines::testing::{Bug, hosting};

    fn stuck() -> Suite {
        Suite::new().broker("stuck", hosting(Bug::ReceiveNeverReturns))
    }

    /// Nothing moves for this long, and nothing ever will: it matters only to how long the test takes.
    const SHORT: Duration = Duration::from_millis(300);

    fn finding<'a>(suite: &'a Suite, engine: &str, budget: &Budget) -> &'a Finding {
        let engine = suite.entries[0].engines.iter().find(|known| known.name == engine).expect("registered");
        let mut findings = engine.findings(budget).iter();
        findings.find(|finding| finding.verdict.is_broken()).expect("a promise is broken")
    }

    #[test]
    fn a_call_that_never_returns_is_a_broken_promise_and_its_plan_is_saved_and_replayed() {
        let directory = tempfile::tempdir().expect("a directory");
        let budget =
            Budget { patience: SHORT, regressions: Some(directory.path().into()), ..Budget::quick() };
        let suite = stuck();
        let found = finding(&suite, "sequential", &budget);
        assert_eq!(found.invariant, Invariant::Li1);
        let failure = found.failure.as_ref().expect("told");
        for shown in
            ["LI-1 is broken", "`receive` never returned: nothing moved for 300ms", ">> ", "Replay: "]
        {
            assert!(failure.picture.contains(shown), "{}", failure.picture);
        }
        let error = suite.entries[0].judge(Invariant::Li1, &budget).expect_err("it is a failed test");
        assert!(error.message().is_some_and(|message| message.contains("never returned")), "{error:?}");
        let error = suite.entries[0].judge(Invariant::Al1, &budget).expect_err("so is what it hides");
        assert!(error.message().is_some_and(|message| message.contains("LI-1 was broken first")));

        let saved = regressions::of_queue(directory.path(), "stuck").regressions;
        assert_eq!(saved.len(), 2, "one of each engine that can run it again: {saved:?}");
        for (path, _) in saved {
            let again = stuck().replay(&path, &budget).expect("it can be replayed");
            assert!(again.broken && again.picture.contains("never returned"), "{}", again.picture);
            let mended = Suite::new().broker("stuck", hosting(Bug::None));
            assert!(!mended.replay(&path, &budget).expect("it can be replayed").broken);
        }
    }

    #[test]
    fn a_queue_on_a_simulated_disk_meets_its_images_and_a_failing_one_is_a_finding_like_any_other() {
        use crate::rogues::delivery::{Bug, RogueHost};
        let directory = tempfile::tempdir().expect("a directory");
        let budget = Budget { cases: 100, regressions: Some(directory.path().into()), ..Budget::quick() };
        let wrong = Suite::new().broker("disk", |settings: &Settings| RogueHost::new(Bug::P09, settings));
        // No other engine lets bits flip.
        let error = wrong.entries[0].judge(Invariant::Du5, &budget).expect_err("nobody notices");
        let message = error.message().unwrap_or_default();
        for told in ["DU-5 is broken", "Before: ", "flipped.", "After:  ", "Why:    ", "Replay: "] {
            assert!(message.contains(told), "{message}");
        }
        let saved = regressions::of_queue(directory.path(), "disk").regressions;
        let [(path, saved)] = &saved[..] else { panic!("one plan is saved: {saved:?}") };
        assert_eq!(saved.plan.engine(), "crash images");
        let again = wrong.replay(path, &budget).expect("it can be replayed");
        assert!(again.broken && again.picture.contains("nobody said so"), "{}", again.picture);
        let right = Suite::new().broker("disk", |settings: &Settings| RogueHost::correct(true, settings));
        assert!(!right.replay(path, &budget).expect("it can be replayed").broken);
        // It is tried first, and there is nothing else to try.
        let few = Budget { cases: 0, ..budget.clone() };
        let first = Suite::new().broker("disk", |settings: &Settings| RogueHost::new(Bug::P09, settings));
        assert!(first.entries[0].judge(Invariant::Du5, &few).is_err());

        // What lives in memory promises nothing of disks.
        let none = stuck();
        assert!(none.entries[0].engines.iter().all(|engine| !engine.decides(Invariant::Du5)));
    }

    /// A broker of ours behind a lock of another kind, which it holds while its clock is read.
    struct Behind(Arc<std::sync::Mutex<Leased<MutexDeque>>>);
    struct BehindSession(Arc<std::sync::Mutex<Leased<MutexDeque>>>, LeasedSession<MutexDeque>);

    impl Broker for Behind {
        type Session = BehindSession;

        fn contract(&self) -> Contract {
            self.0.lock().expect("nobody panics").contract()
        }

        fn session(&self) -> Result<BehindSession, Error> {
            Ok(BehindSession(Arc::clone(&self.0), self.0.lock().expect("nobody panics").session()?))
        }
    }

    macro_rules! behind {
        ($($call:ident($($name:ident: $of:ty),*) -> $answer:ty;)*) => {
            impl Session for BehindSession {
                $(fn $call(&mut self, $($name: $of),*) -> $answer {
                    let _held = self.0.lock();
                    self.1.$call($($name),*)
                })*
            }
        };
    }

    behind! {
        send(messages: &[Message]) -> Vec<Sent>;
        receive(max: usize, lease: Duration) -> Result<Vec<Delivery>, Error>;
        settle(settlements: &[Settlement]) -> Vec<Settled>;
        extend(receipt: Receipt, lease: Duration) -> Settled;
        dead_letters(max: usize) -> Result<Vec<DeadLetter>, Error>;
        redrive(max: usize) -> Result<usize, Error>;
        depth() -> Result<Depth, Error>;
    }

    #[test]
    fn a_lock_of_which_the_engine_does_not_know_is_no_broken_promise() {
        let directory = tempfile::tempdir().expect("a directory");
        let budget =
            Budget { patience: SHORT, regressions: Some(directory.path().into()), ..Budget::quick() };
        let suite = Suite::new().broker("behind", |settings: &Settings| {
            let settings = settings.clone();
            Volatile::new(move || Ok(Behind(Arc::new(std::sync::Mutex::new(Leased::open(&settings)?)))))
        });
        let engine = suite.entries[0].engines.iter().find(|engine| engine.name == "simulated");
        for finding in engine.expect("registered").findings(&budget) {
            assert!(!matches!(finding.verdict, Verdict::Broken(_) | Verdict::Unknown(_)), "{finding:?}");
            assert_eq!(finding.cases, budget.cases);
        }
        assert!(regressions::of_queue(directory.path(), "behind").regressions.is_empty());
    }

    #[test]
    fn a_client_thread_that_never_returns_is_a_broken_promise() {
        let budget = Budget { cases: 1, patience: SHORT, ..Budget::quick() };
        let suite = stuck();
        let found = finding(&suite, "sessions on threads", &budget);
        assert_eq!(found.invariant, Invariant::Li1);
        let picture = &found.failure.as_ref().expect("told").picture;
        assert!(picture.contains("`receive`") && picture.contains("never returned"), "{picture}");
    }

    #[test]
    fn a_consumer_that_never_returns_breaks_its_own_promise() {
        struct Waits;
        impl Consumer for Waits {
            fn handle(
                &mut self,
                _: &consumers::Arrival,
                _: &mut consumers::World<'_>,
            ) -> Result<(), consumers::Stop> {
                loop {
                    std::thread::park();
                }
            }
        }
        let suite = Suite::new().consumer("waits", || Waits);
        let found = finding(&suite, "consumer", &Budget { patience: SHORT, ..Budget::quick() });
        assert_eq!(found.invariant, Invariant::Ic10);
        let picture = &found.failure.as_ref().expect("told").picture;
        assert!(picture.contains("The call `handle` never returned"), "{picture}");
    }

    #[test]
    fn a_broker_that_does_not_start_panics_or_never_returns_is_registered_all_the_same() {
        for bug in [Bug::NeverBoots, Bug::None] {
            assert!(Suite::new().broker("odd", hosting(bug)).tests().contains(&"odd::no_loss".into()));
        }
        let host = |_: &Settings| {
            Volatile::new(|| -> Result<Leased<MutexDeque>, Error> { panic!("it panics when it starts") })
        };
        let suite = Suite::new().broker("odd", host);
        let error = suite.entries[0].judge(Invariant::Al1, &Budget::quick()).expect_err("it does not start");
        assert!(
            error.message().is_some_and(|message| message.contains("panics when it starts")),
            "{error:?}"
        );
    }

    #[test]
    fn a_claimed_promise_whose_situation_never_occurs_is_a_failed_test() {
        let mut suite = Suite::new();
        let idle = |_: &Budget| vec![Finding::new(Invariant::Al1, Verdict::Vacuous, 7, 0)];
        suite.entry("idle", Kind::Broker).engine("idle", || vec![(Invariant::Al1, true)], idle);
        let error = suite.entries[0].judge(Invariant::Al1, &Budget::quick()).expect_err("nothing was tested");
        let message = error.message().unwrap_or_default();
        assert!(message.contains("never exercised") && message.contains("AL-1"), "{message}");
        let gave_up = |_: &Budget| Finding::undecided("its budget ran out", 7);
        let mut undecided = Suite::new();
        undecided.entry("long", Kind::Broker).engine("gives up", || vec![(Invariant::Al1, true)], gave_up);
        let error =
            undecided.entries[0].judge(Invariant::Al1, &Budget::quick()).expect_err("nothing is known");
        assert!(error.message().is_some_and(|message| message.contains("its budget ran out")), "{error:?}");
        suite.entries[0].engine(
            "busy",
            || vec![(Invariant::Al1, true)],
            |_| vec![Finding::new(Invariant::Al1, Verdict::Holds { instances: 1 }, 7, 9)],
        );
        assert!(suite.entries[0].judge(Invariant::Al1, &Budget::quick()).is_ok(), "one engine is enough");
    }

    #[test]
    fn what_cannot_be_replayed_is_said_with_a_remedy() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("saved.json");
        let error = stuck().replay(&path, &Budget::quick()).expect_err("there is no file");
        assert!(error.contains("saved.json") && error.contains("Make it readable"), "{error}");
        let saved = r#"{"format":2,"queue":"other","invariant":"AL-1","sentence":"","case":0,"seed":0,"steps_before":0,
            "steps_after":0,"plan":{"consumer":{"asks":[],"steps":[]}}}"#;
        std::fs::write(&path, saved).expect("writable");
        let error = stuck().replay(&path, &Budget::quick()).expect_err("another queue");
        assert!(
            error.contains("\"other\"")
                && error.contains("saved.json cargo test other::no_loss")
                && error.contains("The list has stuck"),
            "{error}"
        );
    }
}
