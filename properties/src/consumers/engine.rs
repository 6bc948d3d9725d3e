//! Runs a plan against a consumer, on any broker, on one thread, on a clock that is moved by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use stanchion_queues::{Broker, Clock, Delivery, Error, Host, Sent, Session, Settings, Settle};

use super::{Arrival, Consumer, ConsumerPlan, ConsumerStep, Intent, Stop, Store, World};
use crate::engines::sequential::{quietly, text_of};
use crate::engines::watchdog::{self, Call, calling};
use crate::history::{Actor, Event, HARNESS, History, Token, What};
use crate::recording::{Recorder, Ticks};

const LEASE: Duration = Duration::from_secs(10);
const PRODUCER: Actor = Actor(1);
const CONSUMER: Actor = Actor(2);

/// What a run leaves behind.
#[derive(Clone, Debug)]
pub struct Run {
    /// Everything that happened.
    pub history: History,
    /// The balances at the end.
    pub balances: BTreeMap<u8, u64>,
    /// The balances if each confirmed intent had been applied once.
    pub expected: BTreeMap<u8, u64>,
    /// What the consumer said when it panicked. The run ended there, so the balances say nothing.
    pub panicked: Option<String>,
}

/// Runs `plan` with a fresh consumer from `consumer` (made anew after each kill, as a restarted process
/// would be) on a broker booted by a host from `host`.
///
/// # Errors
/// The broker does not boot, or refuses what a broker must do.
pub fn run<H: Host>(
    host: impl FnOnce(&Settings) -> H,
    consumer: &dyn Fn() -> Box<dyn Consumer>,
    plan: &ConsumerPlan,
) -> Result<Run, Error> {
    let settings = Settings { capacity: 256, deliveries_allowed: u32::MAX, clock: Clock::manual(), seed: 0 };
    let mut host = host(&settings);
    let broker = host.boot()?;
    let mut stage = Stage {
        session: broker.session()?,
        log: Recorder::new(Ticks::default(), settings.clock.clone(), CONSUMER, Vec::new(), token_of),
        clock: settings.clock.clone(),
        confirmed: BTreeSet::new(),
        store: Store::default(),
        consumer: consumer(),
        make: consumer,
        stalled: None,
        crashed: false,
    };
    let intents: Vec<Intent> = plan
        .asks
        .iter()
        .zip(1..)
        .map(|(&(account, amount), name)| Intent { token: Token(name), account, amount })
        .collect();
    stage.log.note(PRODUCER, What::Opened);
    stage.log.note(CONSUMER, What::Opened);
    let played = quietly(|| catch_unwind(AssertUnwindSafe(|| stage.play_all(plan, &intents))));
    let panicked = match played {
        Ok(ended) => {
            ended?;
            None
        }
        Err(panic) => Some(text_of(&*panic)),
    };

    let mut expected: BTreeMap<u8, u64> = BTreeMap::new();
    for intent in intents.iter().filter(|intent| stage.confirmed.contains(&intent.token)) {
        *expected.entry(intent.account).or_default() += u64::from(intent.amount);
    }
    let history = History { contract: broker.contract(), events: stage.log.sink };
    Ok(Run { balances: stage.store.balances().clone(), expected, panicked, history })
}

struct Stage<'a, S> {
    session: S,
    log: Recorder<Vec<Event>>,
    clock: Clock,
    confirmed: BTreeSet<Token>,
    store: Store,
    consumer: Box<dyn Consumer>,
    make: &'a dyn Fn() -> Box<dyn Consumer>,
    stalled: Option<Delivery>,
    crashed: bool,
}

impl<S: Session> Stage<'_, S> {
    fn play_all(&mut self, plan: &ConsumerPlan, intents: &[Intent]) -> Result<(), Error> {
        for (index, step) in plan.steps.iter().enumerate() {
            watchdog::step(index);
            self.play(*step, intents)?;
        }
        watchdog::step(plan.steps.len());
        self.drain()
    }

    fn play(&mut self, step: ConsumerStep, intents: &[Intent]) -> Result<(), Error> {
        match step {
            ConsumerStep::Send { intent } => {
                if let Some(intent) = intents.get(usize::from(intent) % intents.len().max(1)) {
                    self.log.become_actor(PRODUCER);
                    let sent = self.log.send(&mut self.session, &[(intent.token, intent.message())]);
                    self.log.become_actor(CONSUMER);
                    if let [Sent::Confirmed(_)] = sent.as_slice() {
                        self.confirmed.insert(intent.token);
                    }
                }
            }
            ConsumerStep::Handle { kill } => {
                if let Some(delivery) = self.receive()? {
                    self.handle(&delivery, kill);
                }
            }
            ConsumerStep::Stall => {
                if self.stalled.is_none() {
                    self.stalled = self.receive()?;
                }
            }
            ConsumerStep::Wake { kill } => {
                if let Some(delivery) = self.stalled.take() {
                    self.handle(&delivery, kill);
                }
            }
            ConsumerStep::Expire => self.advance(),
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Option<Delivery>, Error> {
        Ok(self.log.receive(&mut self.session, 1, LEASE)?.pop())
    }

    fn advance(&mut self) {
        self.clock.advance(LEASE);
        self.log.note(HARNESS, What::Advanced { by: LEASE });
    }

    fn handle(&mut self, delivery: &Delivery, kill: Option<u8>) {
        let Some(intent) = Intent::read(&delivery.body) else { return };
        let arrival = Arrival { intent, receipt: delivery.receipt, attempt: delivery.attempt };
        let (session, log, crashed) = (&mut self.session, &mut self.log, self.crashed);
        let mut ack = |store: &Store| {
            log.note(HARNESS, What::Observed { store: store.observe(), after_crash: crashed });
            log.settle(session, &[(delivery.receipt, Settle::Ack)]);
        };
        let mut world = World::new(&mut self.store, intent.token, kill, &mut ack);
        let ended = calling(Call::Handle, || self.consumer.handle(&arrival, &mut world));
        let acked = world.acked;
        self.crashed = ended == Err(Stop::Killed);
        if self.crashed {
            self.consumer = (self.make)();
        } else if !acked {
            let how = Settle::Nack { delay: Duration::ZERO };
            self.log.settle(&mut self.session, &[(delivery.receipt, how)]);
        }
        self.log.note(HARNESS, What::Observed { store: self.store.observe(), after_crash: self.crashed });
    }

    /// Without faults: whoever stalled wakes up, leases run out, and the consumer handles what comes until
    /// two rounds in a row bring nothing.
    fn drain(&mut self) -> Result<(), Error> {
        self.log.note(HARNESS, What::DrainBegan);
        if let Some(delivery) = self.stalled.take() {
            self.handle(&delivery, None);
        }
        // A wrong consumer that never acks would be given its messages for ever.
        let mut rounds = 2 * self.log.sink.len() + 16;
        let mut quiet = 0;
        while quiet < 2 && rounds > 0 {
            rounds -= 1;
            match self.receive()? {
                Some(delivery) => {
                    quiet = 0;
                    self.handle(&delivery, None);
                }
                None => {
                    quiet += 1;
                    self.advance();
                }
            }
        }
        self.log.note(HARNESS, What::DrainEnded { quiet: quiet == 2 });
        Ok(())
    }
}

fn token_of(body: &[u8]) -> Option<Token> {
    Intent::read(body).map(|intent| intent.token)
}
