//! Runs a plan against a consumer, on any broker, on one thread, on a clock that is moved by hand.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use stanchion_queues::{
    Broker, Clock, Delivery, Error, Host, Receipt, Sent, Session, Settings, Settle, Time,
};

use super::world::{Backstage, Fate};
use super::{Arrival, Consumer, ConsumerPlan, ConsumerStep, Difference, Intent, Stop, Store, World};
use crate::engines::sequential::{quietly, text_of};
use crate::engines::watchdog::{self, Call, calling};
use crate::history::{Actor, Event, HARNESS, History, Token, What};
use crate::recording::{Recorder, Ticks};

/// For how long a consumer is given a message.
pub(crate) const LEASE: Duration = Duration::from_secs(10);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// For so long producers send again what they are not sure of, and dead letters wait: whoever remembers what it did must
/// do so for longer.
pub const HORIZON: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// More dead letters than there can be.
const ALL: usize = 1024;
/// How often dead letters are made ready again at the end: a consumer that always fails would go on for ever.
const REDRIVES: u32 = 2;
const PRODUCER: Actor = Actor(1);
const CONSUMER: Actor = Actor(2);
/// The one that overtakes it.
const OTHER: Actor = Actor(3);

/// What a run leaves behind.
#[derive(Clone, Debug)]
pub struct Run {
    /// Everything that happened.
    pub history: History,
    /// How the state at the end is not that after each confirmed intent was applied once, if it is not. An intent that
    /// is still dead at the end need not have been.
    pub difference: Option<Difference>,
    /// What the consumer said when it panicked. The run ended there, so the state says nothing.
    pub panicked: Option<String>,
}

/// Runs `plan` with a fresh consumer from `consumer` (made anew after each kill, as a restarted process
/// would be), whose effects go to `store`, on a broker booted by a host from `host`.
///
/// # Errors
/// The broker does not boot, or refuses what a broker must do.
pub fn run<H: Host, S: Store>(
    host: impl FnOnce(&Settings) -> H,
    store: S,
    consumer: &dyn Fn(&mut S) -> Box<dyn Consumer<S>>,
    plan: &ConsumerPlan,
) -> Result<Run, Error> {
    let deliveries_allowed = plan.allowed.unwrap_or(u32::MAX);
    let settings = Settings { capacity: 256, deliveries_allowed, clock: Clock::manual(), seed: 0 };
    let mut host = host(&settings);
    let broker = host.boot()?;
    let mut stage = Stage {
        session: broker.session()?,
        log: Recorder::new(Ticks::default(), settings.clock.clone(), CONSUMER, Vec::new(), token_of),
        clock: settings.clock.clone(),
        confirmed: BTreeSet::new(),
        store,
        rested: Duration::ZERO,
        consumer: None,
        handling: None,
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
    stage.log.note(OTHER, What::Opened);
    let played = quietly(|| catch_unwind(AssertUnwindSafe(|| stage.play_all(plan, &intents))));
    let panicked = match played {
        Ok(ended) => {
            ended?;
            None
        }
        Err(panic) => Some(text_of(&*panic)),
    };

    let difference = if panicked.is_none() { stage.difference(&intents)? } else { None };
    let history = History { contract: broker.contract(), events: stage.log.sink };
    Ok(Run { history, difference, panicked })
}

struct Stage<'a, S, K> {
    session: K,
    log: Recorder<Vec<Event>>,
    clock: Clock,
    confirmed: BTreeSet<Token>,
    store: S,
    rested: Duration,
    /// `None`: it is handling something, or has yet to be made.
    consumer: Option<Box<dyn Consumer<S>>>,
    /// What the consumer is handling.
    handling: Option<Receipt>,
    make: &'a dyn Fn(&mut S) -> Box<dyn Consumer<S>>,
    stalled: Option<Delivery>,
    crashed: bool,
}

impl<S: Store, K: Session> Stage<'_, S, K> {
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
            ConsumerStep::Handle { kill, overtaken } => {
                if let Some(delivery) = self.receive()? {
                    self.handle(&delivery, Fate { kill, overtaken });
                }
            }
            ConsumerStep::Stall => {
                if self.stalled.is_none() {
                    self.stalled = self.receive()?;
                }
            }
            ConsumerStep::Wake { kill } => {
                if let Some(delivery) = self.stalled.take() {
                    self.handle(&delivery, Fate { kill, overtaken: None });
                }
            }
            ConsumerStep::Expire => self.advance(LEASE),
            ConsumerStep::Rest => {
                // Leases that run out take time as well: all together stays within the horizon.
                if self.rested + DAY < HORIZON {
                    self.rested += DAY;
                    self.advance(DAY);
                }
            }
            ConsumerStep::Redrive => {
                self.redrive()?;
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Option<Delivery>, Error> {
        Ok(self.log.receive(&mut self.session, 1, LEASE)?.pop())
    }

    fn advance(&mut self, by: Duration) {
        self.clock.advance(by);
        self.log.note(HARNESS, What::Advanced { by });
    }

    /// Which messages are dead, by what their letters show.
    fn dead(&mut self) -> Result<BTreeSet<Token>, Error> {
        self.log.browse(&mut self.session, ALL)?;
        let shown = match self.log.sink.last().map(|event| &event.what) {
            Some(What::Browse { letters: Some(letters), .. }) => letters.as_slice(),
            _ => &[],
        };
        Ok(shown.iter().filter_map(|letter| letter.token).collect())
    }

    /// Whether some dead letters were made ready again.
    fn redrive(&mut self) -> Result<bool, Error> {
        Ok(!self.dead()?.is_empty() && self.log.redrive(&mut self.session, ALL)? > 0)
    }

    /// What is still dead may have been applied or not: the store tells.
    fn difference(&mut self, intents: &[Intent]) -> Result<Option<Difference>, Error> {
        let dead = self.dead()?;
        let seen = self.store.observe();
        let applied = |token: &Token| seen.iter().any(|seen| seen.token == *token && seen.effects > 0);
        let due = |token: &Token| self.confirmed.contains(token) && (!dead.contains(token) || applied(token));
        let due: Vec<Intent> = intents.iter().filter(|intent| due(&intent.token)).copied().collect();
        let missing = due.iter().find(|intent| !applied(&intent.token)).map(|Intent { token, .. }| {
            let sentence =
                format!("m{} is confirmed and not dead, and at the end no effect of it is there.", token.0);
            Difference::TooLittle(sentence)
        });
        Ok(self.store.difference(&due).or(missing))
    }

    fn handle(&mut self, delivery: &Delivery, fate: Fate) {
        let Some(intent) = Intent::read(&delivery.body) else { return };
        let arrival = Arrival { intent, receipt: delivery.receipt, attempt: delivery.attempt };
        let mut consumer = self.consumer.take().unwrap_or_else(|| (self.make)(&mut self.store));
        let before = self.handling.replace(delivery.receipt);
        let mut world = World::new(self, intent.token, fate);
        let ended = calling(Call::Handle, || consumer.handle(&arrival, &mut world));
        let acked = world.acked;
        self.handling = before;
        self.crashed = ended == Err(Stop::Killed);
        if self.crashed {
            // With it go its memory and its connections.
            drop(consumer);
        } else {
            self.consumer = Some(consumer);
            if !acked {
                let how = Settle::Nack { delay: Duration::ZERO };
                self.log.settle(&mut self.session, &[(delivery.receipt, how)]);
            }
        }
        self.observe();
    }

    fn observe(&mut self) {
        let store = self.store.observe();
        self.log.note(HARNESS, What::Observed { store, after_crash: self.crashed });
    }

    /// Without faults: whoever stalled wakes up, leases run out, dead letters are made ready again, and the consumer
    /// handles what comes until two rounds in a row bring nothing.
    fn drain(&mut self) -> Result<(), Error> {
        self.log.note(HARNESS, What::DrainBegan);
        if let Some(delivery) = self.stalled.take() {
            self.handle(&delivery, Fate::default());
        }
        // A wrong consumer that never acks would be given its messages for ever.
        let mut rounds = 2 * self.log.sink.len() + 16;
        let (mut quiet, mut redrives) = (0, REDRIVES);
        while quiet < 2 && rounds > 0 {
            rounds -= 1;
            match self.receive()? {
                Some(delivery) => {
                    quiet = 0;
                    self.handle(&delivery, Fate::default());
                }
                None => {
                    quiet += 1;
                    self.advance(LEASE);
                    if quiet == 2 && redrives > 0 && self.redrive()? {
                        (quiet, redrives) = (0, redrives - 1);
                    }
                }
            }
        }
        self.log.note(HARNESS, What::DrainEnded { quiet: quiet == 2 });
        Ok(())
    }
}

impl<S: Store, K: Session> Backstage<S> for Stage<'_, S, K> {
    fn store(&mut self) -> &mut S {
        &mut self.store
    }

    fn now(&self) -> Time {
        self.clock.now()
    }

    fn ack(&mut self) {
        self.observe();
        if let Some(receipt) = self.handling {
            self.log.settle(&mut self.session, &[(receipt, Settle::Ack)]);
        }
    }

    fn overtake(&mut self) {
        self.advance(LEASE);
        self.log.become_actor(OTHER);
        // A broker that refuses is found out when the first consumer goes on.
        if let Ok(Some(delivery)) = self.receive() {
            self.handle(&delivery, Fate::default());
        }
        self.log.become_actor(CONSUMER);
        self.consumer = None;
    }
}

fn token_of(body: &[u8]) -> Option<Token> {
    Intent::read(body).map(|intent| intent.token)
}
