//! One list of queues, for the checks and for the benches.

use std::path::Path;
use std::process::ExitCode;

use stanchion_benches::Comparison;
use stanchion_benches::blocking::Blocking;
use stanchion_properties::card::Card;
use stanchion_properties::consumers::{Consumer, Store};
use stanchion_properties::engines::budget::Budget;
use stanchion_properties::suite as checks;
use stanchion_queues::any::AnyHost;
use stanchion_queues::{Broker, Buffer, Error, Host, Leased, Settings, Volatile};
use stanchion_reports::exit;
use stanchion_reports::results::Queue;

/// What is checked and measured, in the order in which it is shown.
#[derive(Default)]
pub struct Suite {
    checks: checks::Suite,
    benches: Comparison,
}

impl Suite {
    /// An empty list.
    pub fn new() -> Suite {
        Suite::default()
    }

    /// Adds a buffer. It is checked and measured as a buffer, and as a broker with leases around it
    /// ([`Leased`]).
    #[must_use]
    pub fn buffer<B: Buffer>(mut self, name: &str) -> Suite {
        self.checks = self.checks.buffer::<B>(name);
        self.benches = self.benches.buffer::<B>(name).broker(name, |settings: &Settings| {
            let settings = settings.clone();
            Volatile::new(move || Leased::<B>::open(&settings))
        });
        self
    }

    /// Adds a broker. `make` gives a host for it; it is called once per run, with other settings each time.
    #[must_use]
    pub fn broker<H, F>(mut self, name: &str, make: F) -> Suite
    where
        H: Host,
        F: Fn(&Settings) -> H + Clone + Send + Sync + 'static,
    {
        self.checks = self.checks.broker(name, make.clone());
        self.benches = self.benches.broker(name, make);
        self
    }

    /// Adds a durable broker: on a host that can lose power, simulated as a rule, for the plans; and in a
    /// directory, for the child processes that are killed and for the benches.
    #[must_use]
    pub fn durable<H, F, B, O>(mut self, name: &str, make: F, open: O) -> Suite
    where
        H: Host,
        F: Fn(&Settings) -> H + Send + Sync + 'static,
        B: Broker,
        O: Fn(&Path, &Settings) -> Result<B, Error> + Clone + Send + Sync + 'static,
    {
        self.checks = self.checks.broker(name, make).on_disk(name, open.clone());
        self.benches = self.benches.on_disk(name, open);
        self
    }

    /// Adds a consumer whose effects go to a store of its own: `store` makes an empty one for each run, and `make` a
    /// consumer of it, anew after each kill. It is checked only.
    #[must_use]
    pub fn consumer_of<S, C, O, F>(mut self, name: &str, store: O, make: F) -> Suite
    where
        S: Store,
        C: Consumer<S> + 'static,
        O: Fn() -> S + Send + Sync + 'static,
        F: Fn(&mut S) -> C + Send + Sync + 'static,
    {
        self.checks = self.checks.consumer_of(name, store, make);
        self
    }

    /// Adds a consumer of the ledger that the harness ships; it is checked only.
    #[must_use]
    pub fn consumer<C, F>(mut self, name: &str, make: F) -> Suite
    where
        C: Consumer + 'static,
        F: Fn() -> C + Send + Sync + 'static,
    {
        self.checks = self.checks.consumer(name, make);
        self
    }

    /// Measures a channel that waits by itself, through its own waiting, under this name: it takes part where the
    /// others park.
    #[must_use]
    pub fn blocking<B: Blocking>(mut self, name: &str) -> Suite {
        self.benches = self.benches.blocking::<B>(name);
        self
    }

    /// Measures the tokio channel as its users use it, awaiting on both sides inside a runtime, under this
    /// name.
    #[must_use]
    pub fn tokio_awaited(mut self, name: &str) -> Suite {
        self.benches = self.benches.tokio_awaited(name);
        self
    }

    /// Names the queue that all others are compared with; without it, the first.
    #[must_use]
    pub fn reference(mut self, name: &str) -> Suite {
        self.benches = self.benches.reference(name);
        self
    }

    /// The names in the list, with what each is and claims in words.
    pub fn describe(&self) -> Vec<Queue> {
        self.checks.describe()
    }

    /// The names of all tests, as in `ring::no_loss`.
    pub fn tests(&self) -> Vec<String> {
        self.checks.tests()
    }

    /// The same, with the tests that say whether the saved plans of this budget can be used.
    pub fn tests_with(&self, budget: &Budget) -> Vec<String> {
        self.checks.tests_with(budget)
    }

    /// The brokers in the list, with what makes hosts of each for given settings: for whoever has something of his own to
    /// try with all of them. Buffers are among them as [`Leased`](crate::Leased) makes brokers of them.
    pub fn brokers(&self) -> impl Iterator<Item = (&str, &(dyn Fn(&Settings) -> AnyHost + Send + Sync))> {
        self.checks.brokers()
    }

    /// The brokers in the list that can be probed, buffers among them as [`Leased`](crate::Leased) makes brokers of
    /// them.
    pub fn probed(&self) -> impl Iterator<Item = &str> {
        self.checks.probed()
    }

    /// What probes learn of one of them, or why they learn nothing. `None`: there is none of that name.
    pub fn card(&self, name: &str, budget: &Budget) -> Option<&Result<Card, String>> {
        self.checks.card(name, budget)
    }

    /// Runs a saved plan again on the queue it names.
    ///
    /// # Errors
    /// The file cannot be read or no broker of that name is in the list: the text says which and what to do.
    pub fn replay(&self, path: &Path, budget: &Budget) -> Result<checks::Replayed, String> {
        self.checks.replay(path, budget)
    }

    /// Checks everything, as the whole of a test target with `harness = false`.
    pub fn main(self) -> ExitCode {
        self.checks.main()
    }

    /// The same with arguments of the caller's choice.
    pub fn run(self, arguments: &checks::Arguments) -> ExitCode {
        self.checks.run(arguments)
    }

    /// Measures everything with Criterion, as the whole of a bench target with `harness = false`.
    pub fn bench(self) -> ExitCode {
        in_good_environment(|| self.benches.criterion_main())
    }

    /// Measures the buffer of this name against what a ring is to reach, as the whole of a bench target with
    /// `harness = false`.
    pub fn ring_targets(self, ring: &str) -> ExitCode {
        in_good_environment(|| self.benches.targets_main(ring))
    }

    /// Measures all queues in interleaved rounds, as the whole of a bench target with `harness = false`.
    pub fn duel(self) -> ExitCode {
        in_good_environment(|| self.benches.duel_main())
    }
}

/// A bench reads few of the variables; a misspelt one would look as if it were obeyed all the same.
fn in_good_environment(bench: impl FnOnce() -> ExitCode) -> ExitCode {
    match Budget::from_env() {
        Ok(_) => bench(),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(exit::USAGE)
        }
    }
}
