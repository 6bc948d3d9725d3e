//! The sequential engine: one thread, a clock moved by hand, up to three sessions, and every fault of a
//! [`Plan`]. The same plan against the same broker writes the same history, byte for byte.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::time::Duration;

use stanchion_queues::{
    Broker, Clock, Contract, Crash, Error, Host, Message, Receipt, Sent, Session, Settings, Settle, Settled,
    Time,
};

use crate::history::{Actor, Event, HARNESS, Handle, History, Outcome, PENDING, SendOutcome, Token, What};
use crate::invariant::Invariant;
use crate::payload;
use crate::plan::{Fate, How, Plan, SESSIONS, Step, Which};
use crate::recording::{Recorder, Sink, Ticks};
use crate::verdict::{Counterexample, Verdict};

/// How many messages the drain asks for at once.
const DRAIN_BATCH: usize = 16;
/// The lease of the drain. Any: nobody else receives then.
const DRAIN_LEASE: Duration = Duration::from_millis(50);

/// The broker of a plan did not start even once, so there is nothing to judge.
#[derive(Debug, thiserror::Error)]
#[error("the broker does not start with capacity {capacity} and {deliveries_allowed} deliveries allowed: {why}")]
pub struct NotStarted {
    /// The capacity asked for.
    pub capacity: usize,
    /// The deliveries allowed.
    pub deliveries_allowed: u32,
    /// What the broker said.
    pub why: String,
}

/// Runs a plan to its end, drains what is left and says what happened.
///
/// A panic of the queue is caught and ends the history with [`What::Panicked`]; a broker that does not start
/// after a crash ends it with [`What::Booted`] and its error.
///
/// # Errors
/// The broker does not start before the first step.
pub fn run<H: Host>(make: impl Fn(&Settings) -> H, plan: &Plan) -> Result<History, NotStarted> {
    quietly(|| Run::begin(make, plan).map(|run| run.finish(plan)))
}

/// How a history in which the queue panicked breaks a promise, whatever the checkers say of it: a queue that
/// panics delivers nothing more.
pub fn panic_in(history: &History) -> Option<(Invariant, Verdict)> {
    let (last, event) = history.events.iter().enumerate().next_back()?;
    let What::Panicked { message } = &event.what else { return None };
    let during = last.checked_sub(1);
    let counterexample = Counterexample {
        invariant: Invariant::Li1,
        sentence: format!("The queue panicked: {message}."),
        missing_licence: None,
        culprits: during.into_iter().chain([last]).collect(),
    };
    Some((Invariant::Li1, Verdict::Broken(counterexample)))
}

/// What a panic said.
struct Panicked(String);

/// Runs code of the queue under test.
fn guard<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
    // Nothing of the queue is used after it panicked, except to be dropped, again under guard.
    panic::catch_unwind(AssertUnwindSafe(call)).map_err(|payload| Panicked(text_of(payload.as_ref())))
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".into())
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `body` without the panics of this thread being printed: they are in the history, and a search meets
/// the same one hundreds of times.
fn quietly<T>(body: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                previous(info);
            }
        }));
    });
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            QUIET.set(self.0);
        }
    }
    let _restore = Restore(QUIET.replace(true));
    body()
}

/// The events so far, and those of a call that has not returned.
#[derive(Default)]
struct Script {
    events: Vec<Event>,
    pending: Vec<Event>,
}

impl Sink for Script {
    fn called(&mut self, pending: &[Event]) {
        self.pending.clear();
        self.pending.extend_from_slice(pending);
    }

    fn returned(&mut self, events: Vec<Event>) {
        self.pending.clear();
        self.events.extend(events);
    }
}

/// A message that was made, so that it can be sent again byte for byte.
#[derive(Clone)]
struct Made {
    token: Token,
    message: Message,
}

/// One delivery as its clients see it.
#[derive(Clone, Copy)]
struct Held {
    receipt: Receipt,
    until: Time,
}

/// Why a run stops before its end.
enum Stop {
    Panicked(String),
    DidNotBoot,
}

impl From<Panicked> for Stop {
    fn from(Panicked(message): Panicked) -> Stop {
        Stop::Panicked(message)
    }
}

/// Calls that a fault may put in doubt, on one session.
type Calls<'a, S> = &'a mut dyn FnMut(&mut Recorder<Script>, &mut S);

struct Run<H: Host> {
    host: H,
    broker: Option<H::Broker>,
    sessions: [Option<(Actor, <H::Broker as Broker>::Session)>; SESSIONS],
    clock: Clock,
    contract: Contract,
    recorder: Recorder<Script>,
    actors: u32,
    tokens: u64,
    /// How many copies may exist at most, so that the drain is bounded.
    copies: u64,
    in_doubt: Vec<Made>,
    /// Every receipt, in order of first appearance.
    receipts: Vec<Receipt>,
    /// Those that look current to the clients.
    held: Vec<Held>,
    /// When leases and delays end.
    due: Vec<Time>,
}

impl<H: Host> Run<H> {
    fn begin(make: impl Fn(&Settings) -> H, plan: &Plan) -> Result<Run<H>, NotStarted> {
        let clock = Clock::manual();
        let settings = plan.settings.with_clock(clock.clone());
        let refuse = |why: String| NotStarted {
            capacity: settings.capacity,
            deliveries_allowed: settings.deliveries_allowed,
            why,
        };
        let panicked = |Panicked(message)| refuse(format!("it panicked: {message}"));
        let mut host = guard(|| make(&settings)).map_err(panicked)?;
        let booted = guard(|| host.boot().map(|broker| (broker.contract(), broker))).map_err(panicked)?;
        let (contract, broker) = booted.map_err(|error| refuse(error.to_string()))?;
        let script = Script { events: Vec::with_capacity(plan.steps.len() * 4 + 16), pending: Vec::new() };
        let mut recorder =
            Recorder::new(Ticks::default(), clock.clone(), HARNESS, script, payload::decode);
        recorder.note(HARNESS, What::Booted { error: None });
        Ok(Run {
            host,
            broker: Some(broker),
            sessions: [const { None }; SESSIONS],
            clock,
            contract,
            recorder,
            actors: 0,
            tokens: 0,
            copies: 0,
            in_doubt: Vec::new(),
            receipts: Vec::new(),
            held: Vec::new(),
            due: Vec::new(),
        })
    }

    fn finish(mut self, plan: &Plan) -> History {
        let mut ended = plan.steps.iter().try_for_each(|step| self.step(step));
        if ended.is_ok() {
            ended = self.drain(plan.redrive_at_end);
        }
        let clean = self.drop_all();
        if ended.is_ok() {
            ended = clean;
        }
        let Script { mut events, pending } = std::mem::take(&mut self.recorder.sink);
        events.extend(pending);
        if let Err(Stop::Panicked(message)) = ended {
            self.recorder.note(HARNESS, What::Panicked { message });
            events.append(&mut self.recorder.sink.events);
        }
        History { contract: self.contract, events }
    }

    /// Sessions first: they borrow from the broker in spirit.
    fn drop_all(&mut self) -> Result<(), Stop> {
        let sessions: Vec<_> = self.sessions.iter_mut().filter_map(Option::take).collect();
        let mut result = Ok(());
        for (_, session) in sessions {
            result = result.and(guard(|| drop(session)));
        }
        let broker = self.broker.take();
        result.and(guard(|| drop(broker))).map_err(Stop::from)
    }

    fn step(&mut self, step: &Step) -> Result<(), Stop> {
        match *step {
            Step::Send { session, count, delay_ms, keyed, fate } => {
                let batch: Vec<Made> = (0..count).map(|_| self.make_message(keyed, delay_ms)).collect();
                self.send(session, fate, batch)
            }
            Step::Retry { session, which, fate } => {
                let Some(index) = from_latest(which, self.in_doubt.len()) else { return Ok(()) };
                let made = self.in_doubt.remove(index);
                self.send(session, fate, vec![made])
            }
            Step::Receive { session, max, lease_ms, fate } => {
                self.receive(session, max, millis(lease_ms), fate).map(drop)
            }
            Step::Settle { session, which, count, how, fate } => {
                let receipts = self.pick(which, count);
                self.settle(session, receipts, settle_of(how), fate).map(drop)
            }
            Step::Extend { session, which, lease_ms, fate } => {
                self.extend(session, which, millis(lease_ms), fate)
            }
            Step::Redrive { session, max, fate } => self.redrive(session, max, fate),
            Step::Browse { session } => self.browse(session),
            Step::Depth { session } => self.depth(session),
            Step::Advance { ms } => {
                self.advance(millis(ms));
                Ok(())
            }
            Step::AdvanceTo { which, offset_ns } => {
                self.advance_to(which, offset_ns);
                Ok(())
            }
            Step::LoseSession { session } => self.lose(session),
            Step::Crash { kind } => self.crash(kind),
        }
    }

    /// Makes calls on the session of a slot, opened if need be. A broker that opens none leaves the step
    /// undone: whoever has no session cannot call. Answers whether the calls were recorded as they were.
    fn call(&mut self, slot: usize, fate: Fate, pending: Vec<What>, call: Calls<'_, SessionOf<H>>) -> Result<bool, Stop> {
        let Some(broker) = &self.broker else { return Ok(false) };
        let slot = &mut self.sessions[slot % SESSIONS];
        if slot.is_none() {
            let Ok(session) = guard(|| broker.session())? else { return Ok(false) };
            self.actors += 1;
            let actor = Actor(self.actors);
            self.recorder.note(actor, What::Opened);
            *slot = Some((actor, session));
        }
        let Some((actor, session)) = slot else { return Ok(false) };
        self.recorder.become_actor(*actor);
        todo!()
    }
}
