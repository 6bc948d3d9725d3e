//! Real threads are clients of a broker, on the machine's clock: they send, receive under short leases, ack,
//! nack, reject, extend, hold on until leases run out, and vanish while they hold some.
//!
//! Nobody waits for "everything received": clients stop when their attempts are used up. Then one client
//! lets every lease and delay pass and drains what is left. The schedule is the machine's, so a run cannot be
//! repeated; its history can be judged again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use stanchion_queues::{Broker, Clock, Delivery, Error, Host, Message, Receipt, Sent, Settings, Settle};

use crate::dice::Dice;
use crate::finding::Finding;
use crate::history::{Actor, Event, HARNESS, History, Token, What};
use crate::payload;
use crate::recording::{Recorder, Sink, Ticks};

use super::budget::Budget;
use super::runs::judge_runs;
use super::sequential::{quietly, text_of};
use super::watchdog::{Call, Crew, calling};

/// Leases run out under a consumer that is slow, but not under every one.
const LEASES_MS: [u64; 4] = [2, 5, 20, 50];
/// No lease or delay of a client ends later than this after it was asked for.
const LONGEST: Duration = Duration::from_millis(50);
/// Nobody else receives during the drain; its leases only must not run out between a receive and its acks.
const DRAIN_LEASE: Duration = Duration::from_secs(60);
const DRAIN_BATCH: usize = 16;
/// How many receives a consumer makes per message of the run before it gives up.
const PATIENCE: usize = 20;

/// Who the clients are and how much they send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Threads that send.
    pub producers: usize,
    /// Threads that receive.
    pub consumers: usize,
    /// How many messages are sent by all producers together.
    pub messages: usize,
}

/// The name of this engine.
pub const ENGINE: &str = "sessions on threads";

/// How many plans of another engine one run here is worth.
const CASES_PER_RUN: u64 = 128;

/// Runs as much as the budget allows, each time on a host from `make`, and judges every history.
pub fn check<H: Host>(queue: &str, make: &dyn Fn(&Settings) -> H, budget: &Budget) -> Vec<Finding> {
    judge_runs(queue, ENGINE, budget, budget.cases.div_ceil(CASES_PER_RUN), |seed| {
        let settings = Settings { capacity: 16, deliveries_allowed: 3, clock: Clock::system(), seed };
        let load = Load { producers: 2, consumers: 2, messages: 200 };
        let history = run(&mut make(&settings), &settings.clock, &load, seed)?;
        Ok::<_, Error>((history, None))
    })
}

/// Boots a broker, lets clients loose on it, drains it and says what happened. `clock` is the one that the
/// broker reads.
///
/// A panic of the queue is caught and ends the history with [`What::Panicked`].
///
/// # Errors
/// The broker does not start.
pub fn run<H: Host>(host: &mut H, clock: &Clock, load: &Load, seed: u64) -> Result<History, Error> {
    let mut booted = Err(Error::Gone("nobody started it".into()));
    let panicked = guarded(|| booted = calling(Call::Boot, || host.boot().map(|it| (it.contract(), it))));
    if let Some(message) = panicked {
        return Err(Error::Gone(format!("it panicked when it was started: {message}")));
    }
    let (contract, broker) = booted?;
    let ticks = Ticks::default();
    let actors = AtomicU32::new(HARNESS.0 + 1);
    let sending = AtomicUsize::new(load.producers);
    let barrier = Barrier::new(load.producers + load.consumers);
    let crew = Crew::of_this_thread();
    let mut dice = Dice::new(seed);
    let mut client = || Client {
        broker: &broker,
        actors: &actors,
        actor: HARNESS,
        recorder: Recorder::new(
            ticks.clone(),
            clock.clone(),
            HARNESS,
            Log::default(),
            payload::decode as fn(&[u8]) -> Option<Token>,
        ),
        dice: dice.split(),
    };

    let quota = load.messages / load.producers.max(1);
    let (mut events, mut panicked) = (Vec::new(), None);
    let mut keep = |(log, panic): (Log, Option<String>)| {
        events.extend(log.returned);
        // Called and never answered: pending for ever.
        events.extend(log.open);
        panicked = panicked.take().or(panic);
    };
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for number in 0..load.producers {
            let (mut client, crew, barrier, sending) = (client(), &crew, &barrier, &sending);
            threads.push(scope.spawn(move || {
                crew.enter();
                barrier.wait();
                let panic = guarded(|| client.produce(number, quota));
                sending.fetch_sub(1, Ordering::SeqCst);
                (client.recorder.sink, panic)
            }));
        }
        for _ in 0..load.consumers {
            let (mut client, crew, barrier, sending) = (client(), &crew, &barrier, &sending);
            let attempts = PATIENCE * load.messages;
            threads.push(scope.spawn(move || {
                crew.enter();
                barrier.wait();
                let panic = guarded(|| client.consume(attempts, sending));
                (client.recorder.sink, panic)
            }));
        }
        for thread in threads {
            keep(thread.join().expect("a client catches the panics of the queue and has none of its own"));
        }
    });
    // A queue that panicked may wait for itself for ever, and what it says is no evidence.
    let mut last = client();
    if panicked.is_none() {
        panicked = guarded(|| last.drain(clock, 4 * events.len() + 1000));
    }
    if let Some(message) = panicked {
        last.recorder.note(HARNESS, What::Panicked { message });
    }
    events.extend(last.recorder.sink.open);
    events.extend(last.recorder.sink.returned);
    events.sort_by_key(|event| event.call);
    Ok(History { contract, events })
}

/// What the panic said, if there was one.
fn guarded(work: impl FnOnce()) -> Option<String> {
    quietly(|| catch_unwind(AssertUnwindSafe(work))).err().map(|panic| text_of(panic.as_ref()))
}

/// The events of one thread, and those of a call that has not returned.
#[derive(Default)]
struct Log {
    returned: Vec<Event>,
    open: Vec<Event>,
}

impl Sink for Log {
    fn called(&mut self, pending: &[Event]) {
        self.open = pending.to_vec();
    }

    fn returned(&mut self, events: Vec<Event>) {
        self.open.clear();
        self.returned.extend(events);
    }
}

struct Client<'a, B> {
    broker: &'a B,
    /// The next actor that is free.
    actors: &'a AtomicU32,
    actor: Actor,
    recorder: Recorder<Log>,
    dice: Dice,
}

impl<B: Broker> Client<'_, B> {
    fn below(&mut self, bound: u64) -> u64 {
        self.dice.below(bound)
    }

    /// Goes on as a new actor with a new session; `None`: the broker gives none.
    fn open(&mut self) -> Option<B::Session> {
        self.actor = Actor(self.actors.fetch_add(1, Ordering::SeqCst));
        self.recorder.become_actor(self.actor);
        let broker = self.broker;
        let session = self
            .recorder
            .note_while(self.actor, What::Opened, || calling(Call::Session, || broker.session()));
        session.ok()
    }

    fn lose(&mut self, session: B::Session) {
        self.recorder.note_while(self.actor, What::Lost, || calling(Call::Drop, || drop(session)));
    }

    fn produce(&mut self, number: usize, quota: usize) {
        let Some(mut session) = self.open() else { return };
        let mut sent = 0;
        while sent < quota {
            let count = (1 + self.below(4) as usize).min(quota - sent);
            let delay = if self.below(16) == 0 { 1 + self.below(5) } else { 0 };
            let batch: Vec<(Token, Message)> = (sent..sent + count)
                .map(|index| {
                    let token = Token((number * quota + index + 1) as u64);
                    let body: Arc<[u8]> = payload::encode(token, 16 + index % 100);
                    (token, Message::new(body).with_delay(Duration::from_millis(delay)))
                })
                .collect();
            let answers = self.recorder.send(&mut session, &batch);
            sent += count;
            if answers.iter().any(|answer| !matches!(answer, Sent::Confirmed(_))) {
                thread::yield_now();
            }
            if self.below(64) == 0 {
                self.lose(session);
                match self.open() {
                    Some(next) => session = next,
                    None => return,
                }
            }
        }
        self.lose(session);
    }

    fn consume(&mut self, mut attempts: usize, sending: &AtomicUsize) {
        let Some(mut session) = self.open() else { return };
        let mut held: Vec<Delivery> = Vec::new();
        while attempts > 0 {
            attempts -= 1;
            let last = sending.load(Ordering::SeqCst) == 0;
            let lease = Duration::from_millis(LEASES_MS[self.below(4) as usize]);
            let max = 1 + self.below(4) as usize;
            let received = self.recorder.receive(&mut session, max, lease).unwrap_or_default();
            if received.is_empty() {
                if last && held.is_empty() {
                    break;
                }
                thread::yield_now();
            }
            held.extend(received);
            if self.below(64) == 0 {
                self.lose(session);
                // Half of the time the receipts outlive the session: a client that came back.
                if self.below(2) == 0 {
                    held.clear();
                }
                match self.open() {
                    Some(next) => session = next,
                    None => return,
                }
            }
            self.settle_some(&mut session, &mut held);
        }
        self.lose(session);
    }

    /// Settles most of what is held, keeps some for later, and extends some of that.
    fn settle_some(&mut self, session: &mut B::Session, held: &mut Vec<Delivery>) {
        let mut batch: Vec<(Receipt, Settle)> = Vec::new();
        let mut extended: Option<Receipt> = None;
        held.retain(|delivery| {
            let how = match self.dice.below(100) {
                0..72 => Settle::Ack,
                72..84 => Settle::Nack { delay: Duration::from_millis(self.dice.below(4)) },
                84..87 => Settle::Reject,
                87..92 => {
                    extended = Some(delivery.receipt);
                    return true;
                }
                _ => return true,
            };
            batch.push((delivery.receipt, how));
            false
        });
        if !batch.is_empty() {
            self.recorder.settle(session, &batch);
        }
        if let Some(receipt) = extended {
            let lease = Duration::from_millis(LEASES_MS[self.below(4) as usize]);
            self.recorder.extend(session, receipt, lease);
        }
    }

    /// Lets every lease and delay pass, then receives and acks until nothing comes.
    fn drain(&mut self, clock: &Clock, limit: usize) {
        let Some(mut session) = self.open() else { return };
        let horizon = clock.now() + 2 * LONGEST;
        if clock.advance(2 * LONGEST) {
            self.recorder.note(HARNESS, What::Advanced { by: 2 * LONGEST });
        }
        // Not to synchronise: real time has to pass for a lease to run out.
        while clock.now() < horizon {
            thread::yield_now();
        }
        self.recorder.note(HARNESS, What::DrainBegan);
        let mut quiet = false;
        for _ in 0..limit {
            let received = self.recorder.receive(&mut session, DRAIN_BATCH, DRAIN_LEASE).unwrap_or_default();
            if received.is_empty() {
                quiet = true;
                break;
            }
            let batch: Vec<_> = received.iter().map(|delivery| (delivery.receipt, Settle::Ack)).collect();
            self.recorder.settle(&mut session, &batch);
        }
        // Refusals to answer stand in the history; there is nothing else to do about them.
        let _ = self.recorder.depth(&mut session);
        let _ = self.recorder.browse(&mut session, usize::MAX);
        self.recorder.note(HARNESS, What::DrainEnded { quiet });
    }
}

#[cfg(test)]
mod tests {
    use stanchion_queues::Settings;

    use super::*;
    use crate::checkers::judge;
    use crate::engines::testing::{Bug, hosting};
    use crate::history::Outcome;

    const LOAD: Load = Load { producers: 2, consumers: 2, messages: 600 };

    fn run_with(bug: Bug) -> History {
        let settings = Settings { capacity: 200, ..Settings::new() };
        run(&mut hosting(bug)(&settings), &settings.clock, &LOAD, 7).expect("it starts")
    }

    #[test]
    fn an_honest_broker_passes_and_every_kind_of_event_occurs() {
        let history = run_with(Bug::None);
        for (invariant, verdict) in judge(&history) {
            assert!(!verdict.is_broken(), "{invariant}: {verdict:?}");
        }
        let has = |is: fn(&What) -> bool| history.events.iter().any(|event| is(&event.what));
        assert!(has(|what| matches!(what, What::Deliver { attempt: 2.., .. })), "a redelivery");
        assert!(has(|what| matches!(what, What::Lost)), "a lost session");
        assert!(has(|what| matches!(what, What::Settle { how: Settle::Reject, .. })), "a reject");
        assert!(has(|what| matches!(what, What::Extend { outcome: Outcome::Done, .. })), "an extension");
        assert!(has(|what| matches!(what, What::DrainEnded { quiet: true })), "it came to rest");
        assert!(history.events.is_sorted_by_key(|event| event.call));
    }

    #[test]
    fn a_wrong_broker_is_seen() {
        let broken =
            judge(&run_with(Bug::AckDoesNothing)).into_iter().any(|(_, verdict)| verdict.is_broken());
        assert!(broken, "an ack that does nothing brings the message back");
        let panicked = run_with(Bug::PanicsOnThirdAttempt);
        assert!(matches!(panicked.events.last(), Some(Event { what: What::Panicked { .. }, .. })));
    }
}
