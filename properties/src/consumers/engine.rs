//! Runs a plan against a consumer, on any broker, on one thread, on a clock that is moved by hand.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use stanchion_queues::{
    Broker, Clock, Contract, Delivery, Host, Receipt, Sent, Session, Settings, Settle, Settled, Settlement,
};

use super::{Arrival, Consumer, ConsumerPlan, ConsumerStep, Intent, Stop, Store, World};
use crate::history::{Actor, Event, HARNESS, Handle, History, Outcome, SendOutcome, Token, What};
use crate::payload::digest;

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
) -> Result<Run, stanchion_queues::Error> {
    let settings = Settings { capacity: 256, deliveries_allowed: u32::MAX, clock: Clock::manual(), seed: 0 };
    let mut host = host(&settings);
    let broker = host.boot()?;
    let mut stage = Stage {
        session: broker.session()?,
        log: Log::new(broker.contract(), settings.clock.clone()),
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
    stage.log.push(PRODUCER, What::Opened);
    stage.log.push(CONSUMER, What::Opened);
    for step in &plan.steps {
        stage.play(*step, &intents)?;
    }
    stage.drain()?;

    let mut expected: BTreeMap<u8, u64> = BTreeMap::new();
    for intent in intents.iter().filter(|intent| stage.log.confirmed.contains(&intent.token)) {
        *expected.entry(intent.account).or_default() += u64::from(intent.amount);
    }
    Ok(Run { balances: stage.store.balances().clone(), expected, history: stage.log.history })
}

struct Stage<'a, S> {
    session: S,
    log: Log,
    store: Store,
    consumer: Box<dyn Consumer>,
    make: &'a dyn Fn() -> Box<dyn Consumer>,
    stalled: Option<Delivery>,
    crashed: bool,
}

impl<S: Session> Stage<'_, S> {
    fn play(&mut self, step: ConsumerStep, intents: &[Intent]) -> Result<(), stanchion_queues::Error> {
        match step {
            ConsumerStep::Send { intent } => {
                if let Some(intent) = intents.get(usize::from(intent) % intents.len().max(1)) {
                    let message = intent.message();
                    let sent = self.session.send(std::slice::from_ref(&message));
                    self.log.sent(intent.token, &message.body, sent);
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
            ConsumerStep::Expire => self.log.advance(LEASE),
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Option<Delivery>, stanchion_queues::Error> {
        let delivery = self.session.receive(1, LEASE)?.pop();
        self.log.received(delivery.as_ref());
        Ok(delivery)
    }

    fn handle(&mut self, delivery: &Delivery, kill: Option<u8>) {
        let Some(intent) = Intent::read(&delivery.body) else { return };
        let arrival = Arrival { intent, receipt: delivery.receipt, attempt: delivery.attempt };
        let (session, log, crashed) = (&mut self.session, &mut self.log, self.crashed);
        let mut ack = |store: &Store| {
            log.observed(store, crashed);
            let settled = session.settle(&[Settlement { receipt: delivery.receipt, how: Settle::Ack }]);
            log.settled(delivery.receipt, Settle::Ack, settled);
        };
        let mut world = World::new(&mut self.store, intent.token, kill, &mut ack);
        let ended = self.consumer.handle(&arrival, &mut world);
        let acked = world.acked;
        self.crashed = ended == Err(Stop::Killed);
        if self.crashed {
            self.consumer = (self.make)();
        } else if !acked {
            let how = Settle::Nack { delay: Duration::ZERO };
            let settled = self.session.settle(&[Settlement { receipt: delivery.receipt, how }]);
            self.log.settled(delivery.receipt, how, settled);
        }
        self.log.observed(&self.store, self.crashed);
    }

    /// Without faults: whoever stalled wakes up, leases run out, and the consumer handles what comes until
    /// two rounds in a row bring nothing.
    fn drain(&mut self) -> Result<(), stanchion_queues::Error> {
        self.log.push(HARNESS, What::DrainBegan);
        if let Some(delivery) = self.stalled.take() {
            self.handle(&delivery, None);
        }
        // A wrong consumer that never acks would be given its messages for ever.
        let mut rounds = 2 * self.log.history.events.len() + 16;
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
                    self.log.advance(LEASE);
                }
            }
        }
        self.log.push(HARNESS, What::DrainEnded { quiet: quiet == 2 });
        Ok(())
    }
}

/// Writes the history.
struct Log {
    history: History,
    clock: Clock,
    tick: u64,
    op: u32,
    handles: HashMap<Receipt, Handle>,
    confirmed: BTreeSet<Token>,
}

impl Log {
    fn new(contract: Contract, clock: Clock) -> Log {
        Log {
            history: History { contract, events: Vec::new() },
            clock,
            tick: 0,
            op: 0,
            handles: HashMap::new(),
            confirmed: BTreeSet::new(),
        }
    }

    fn push(&mut self, actor: Actor, what: What) {
        self.write(actor, vec![what]);
    }

    /// One call, which may be written as several events.
    fn write(&mut self, actor: Actor, whats: Vec<What>) {
        let now = self.clock.now();
        let (call, ret) = (self.tick, self.tick + 1);
        self.tick += 2;
        self.op += 1;
        let op = self.op;
        let event = |what| Event { call, ret, at: now, until: now, actor, op, what };
        self.history.events.extend(whats.into_iter().map(event));
    }

    fn sent(&mut self, token: Token, body: &[u8], sent: Vec<Sent>) {
        let outcome = match sent.into_iter().next() {
            Some(Sent::Confirmed(id)) => {
                self.confirmed.insert(token);
                SendOutcome::Confirmed(id)
            }
            Some(Sent::Refused(refusal)) => SendOutcome::Refused(refusal),
            Some(Sent::InDoubt(_)) | None => SendOutcome::InDoubt,
        };
        self.push(
            PRODUCER,
            What::Send { token, key: None, body: digest(body), delay: Duration::ZERO, outcome },
        );
    }

    fn received(&mut self, delivery: Option<&Delivery>) {
        let got = Some(delivery.map_or(0, |_| 1));
        let mut whats = vec![What::Receive { max: 1, got, lease: LEASE }];
        whats.extend(delivery.map(|delivery| What::Deliver {
            token: Intent::read(&delivery.body).map(|intent| intent.token),
            id: delivery.id,
            handle: self.handle(delivery.receipt),
            attempt: delivery.attempt,
            deadline: delivery.deadline,
            lease: LEASE,
            key: None,
            body: digest(&delivery.body),
        }));
        self.write(CONSUMER, whats);
    }

    fn settled(&mut self, receipt: Receipt, how: Settle, settled: Vec<Settled>) {
        let outcome = match settled.into_iter().next() {
            Some(Settled::Done) => Outcome::Done,
            Some(Settled::Stale) => Outcome::Stale,
            Some(Settled::InDoubt(_)) | None => Outcome::InDoubt,
        };
        let handle = self.handle(receipt);
        self.push(CONSUMER, What::Settle { handle, how, outcome });
    }

    fn observed(&mut self, store: &Store, after_crash: bool) {
        self.push(HARNESS, What::Observed { store: store.observe(), after_crash });
    }

    fn advance(&mut self, by: Duration) {
        self.clock.advance(by);
        self.push(HARNESS, What::Advanced { by });
    }

    fn handle(&mut self, receipt: Receipt) -> Handle {
        let next = Handle(self.handles.len() as u64 + 1);
        *self.handles.entry(receipt).or_insert(next)
    }
}
