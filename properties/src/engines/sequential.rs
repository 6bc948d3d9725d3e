//! The sequential engine: one thread, a clock moved by hand, up to three sessions, and every fault of a
//! [`Plan`]. The same plan against the same broker writes the same history, byte for byte.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::time::Duration;

use stanchion_queues::{
    Answer, Broker, Bytes, Clock, Contract, Crash, DeadLetter, Delivery, Depth, Error, Host, Message,
    MessageId, Receipt, Sent, Session, Settings, Settle, Settled, Settlement, Time,
};

use crate::engines::watchdog::{self, Call, calling};
use crate::history::{Actor, Event, HARNESS, History, Token, What};
use crate::payload;
use crate::plan::{Fate, How, Odd, Plan, SESSIONS, Step, Which};
use crate::recording::{Recorder, Sink, Ticks};

/// How many messages the drain asks for at once.
const DRAIN_BATCH: usize = 16;
/// The lease of the drain. Any: nobody else receives then.
const DRAIN_LEASE: Duration = Duration::from_millis(50);
/// The lease of a message that is acked at once. Any.
const CHURN_LEASE: Duration = Duration::from_millis(10);
/// A body whose size does not fit into 16 bits.
const LARGE_BODY: usize = 70_000;
/// Bodies of a limit above this are not stored.
const MOST_STORED: usize = 1 << 20;
/// Bodies above a limit, which are not stored, may be larger; above this they are not tried out.
const MOST_REFUSED: usize = 64 << 20;
/// The slot of the session that drains: none of a plan's.
const DRAIN: usize = SESSIONS;

/// The broker of a plan did not start even once, so there is nothing to judge.
#[derive(Debug, thiserror::Error)]
#[error(
    "the broker does not start with capacity {capacity} and {deliveries_allowed} deliveries allowed: {why}"
)]
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

/// What a panic said.
struct Panicked(String);

/// Runs code of the queue under test.
fn guard<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
    // Nothing of the queue is used after it panicked, except to be dropped, again under guard.
    panic::catch_unwind(AssertUnwindSafe(call)).map_err(|payload| Panicked(text_of(payload.as_ref())))
}

/// What a panic said.
pub(crate) fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".into())
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `body` without the panics of this thread being printed: they are in the history, and a search meets
/// the same one hundreds of times.
pub(crate) fn quietly<T>(body: impl FnOnce() -> T) -> T {
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

/// A session behind a line on which requests and replies get lost.
struct Line<'a, S> {
    session: &'a mut S,
    fate: Fate,
}

impl<S: Session> Line<'_, S> {
    fn ask<T>(&mut self, ask: impl FnOnce(&mut S) -> T) -> Result<T, Error> {
        match self.fate {
            Fate::Arrives => Ok(ask(self.session)),
            Fate::ReplyLost => {
                drop(ask(self.session));
                Err(Error::Gone("the reply was lost".into()))
            }
            Fate::RequestLost => Err(Error::Gone("the request was lost".into())),
        }
    }
}

impl<S: Session> Session for Line<'_, S> {
    fn send(&mut self, messages: &[Message]) -> Vec<Sent> {
        // An answer that is too short leaves the rest in doubt, an empty one everything.
        self.ask(|session| session.send(messages)).unwrap_or_default()
    }

    fn receive(&mut self, max: usize, lease: Duration) -> Result<Vec<Delivery>, Error> {
        self.ask(|session| session.receive(max, lease))?
    }

    fn settle(&mut self, settlements: &[Settlement]) -> Vec<Settled> {
        self.ask(|session| session.settle(settlements)).unwrap_or_default()
    }

    fn extend(&mut self, receipt: Receipt, lease: Duration) -> Settled {
        self.ask(|session| session.extend(receipt, lease)).unwrap_or_else(Settled::InDoubt)
    }

    fn dead_letters(&mut self, max: usize) -> Result<Vec<DeadLetter>, Error> {
        self.ask(|session| session.dead_letters(max))?
    }

    fn redrive(&mut self, max: usize) -> Result<usize, Error> {
        self.ask(|session| session.redrive(max))?
    }

    fn depth(&mut self) -> Result<Depth, Error> {
        self.ask(Session::depth)?
    }
}

/// One delivery as its clients see it.
#[derive(Clone, Copy)]
struct Held {
    receipt: Receipt,
    id: MessageId,
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

struct Run<H: Host> {
    host: H,
    broker: Option<H::Broker>,
    sessions: [Option<(Actor, SessionOf<H>)>; SESSIONS + 1],
    clock: Clock,
    contract: Contract,
    recorder: Recorder<Script>,
    actors: u32,
    /// How many messages were made: the last token.
    tokens: u64,
    /// How many sends were tried: as many copies there are at most.
    copies: u64,
    /// The messages whose sends are in doubt, to be sent again byte for byte.
    in_doubt: Vec<(Token, Message)>,
    /// Every receipt, in order of first appearance, and of which message.
    receipts: Vec<(Receipt, MessageId)>,
    /// Those that look current to the clients.
    held: Vec<Held>,
    /// When leases and delays end.
    due: Vec<Time>,
}

type SessionOf<H> = <<H as Host>::Broker as Broker>::Session;

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
        let booted = guard(|| calling(Call::Boot, || host.boot().map(|broker| (broker.contract(), broker))))
            .map_err(panicked)?;
        let (contract, broker) = booted.map_err(|error| refuse(error.to_string()))?;
        if let Some(Bytes(limit)) = contract.body_limit.filter(|limit| limit.0 < payload::SMALLEST as u64) {
            return Err(refuse(format!(
                "its largest body has {limit} bytes, and a message must have {} to be told from others: declare or \
                 allow more",
                payload::SMALLEST
            )));
        }
        let script = Script { events: Vec::with_capacity(plan.steps.len() * 4 + 16), pending: Vec::new() };
        let mut recorder = Recorder::new(Ticks::default(), clock.clone(), HARNESS, script, payload::decode);
        recorder.note(HARNESS, What::Booted { error: None });
        Ok(Run {
            host,
            broker: Some(broker),
            sessions: [const { None }; SESSIONS + 1],
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
        let mut ended = plan.steps.iter().enumerate().try_for_each(|(index, step)| {
            watchdog::step(index);
            self.step(step)
        });
        watchdog::step(plan.steps.len());
        if ended.is_ok() {
            ended = self.drain(plan);
        }
        let dropped = self.drop_all();
        let Script { mut events, pending } = std::mem::take(&mut self.recorder.sink);
        events.extend(pending);
        if let Err(Stop::Panicked(message)) = ended.and(dropped) {
            self.recorder.note(HARNESS, What::Panicked { message });
            events.append(&mut self.recorder.sink.events);
        }
        History { contract: self.contract, events }
    }

    fn drop_all(&mut self) -> Result<(), Stop> {
        let sessions = std::mem::replace(&mut self.sessions, [const { None }; SESSIONS + 1]);
        let broker = self.broker.take();
        let sessions = sessions
            .into_iter()
            .flatten()
            .map(|(_, session)| guard(|| calling(Call::Drop, || drop(session))));
        let dropped = sessions.fold(Ok(()), Result::and);
        Ok(dropped.and(guard(|| calling(Call::Drop, || drop(broker))))?)
    }

    fn step(&mut self, step: &Step) -> Result<(), Stop> {
        match *step {
            Step::SettleEach { session, ref each, fate } => {
                let one = |&(which, how)| Some((*self.pick(which, 1).first()?, settle_of(how)));
                let batch: Vec<_> = each.iter().filter_map(one).collect();
                self.settle(session % SESSIONS, &batch, fate)
            }
            Step::Churn { session, count } => (0..count).try_for_each(|_| self.churn(session % SESSIONS)),
            Step::Send { session, count, delay_ms, keyed, fate } => {
                // Every other message of a batch is not delayed, so that batches are mixed.
                let delays = [millis(delay_ms), Duration::ZERO].into_iter().cycle();
                let batch = delays.take(count).map(|delay| self.new_message(keyed, delay)).collect();
                self.send(session % SESSIONS, batch, fate)
            }
            Step::SendOdd { session, odd, fate } => {
                let batch = self.odd_message(odd).into_iter().collect();
                self.send(session % SESSIONS, batch, fate)
            }
            Step::Retry { session, which, fate } => {
                let Some(index) = from_latest(which, self.in_doubt.len()) else { return Ok(()) };
                let again = self.in_doubt.remove(index);
                self.send(session % SESSIONS, vec![again], fate)
            }
            Step::Receive { session, max, lease_ms, fate } => {
                self.receive(session % SESSIONS, max, millis(lease_ms), fate).map(drop)
            }
            Step::Settle { session, which, count, how, fate } => {
                let batch = all(&self.pick(which, count), settle_of(how));
                self.settle(session % SESSIONS, &batch, fate)
            }
            Step::Extend { session, which, lease_ms, fate } => self
                .pick(which, 1)
                .into_iter()
                .try_for_each(|receipt| self.extend(session % SESSIONS, receipt, millis(lease_ms), fate)),
            Step::Redrive { session, max, fate } => self
                .call(session % SESSIONS, fate, |recorder, line| recorder.redrive(line, max).is_ok())
                .map(drop),
            Step::Browse { session } => self.browse(session % SESSIONS),
            Step::BrowseFew { session, max } => self.browse_few(session % SESSIONS, max),
            Step::Depth { session } => self.depth(session % SESSIONS),
            Step::Advance { ms } => {
                self.advance(millis(ms));
                Ok(())
            }
            Step::AdvanceTo { which, offset_ns } => {
                self.advance_to(which, offset_ns);
                Ok(())
            }
            Step::LoseSession { session } => self.lose(session % SESSIONS),
            Step::Crash { kind } => self.crash(kind),
        }
    }

    /// Makes a call on the session of a slot, opened if need be. `None`: the broker opens none, and whoever
    /// has no session calls nobody.
    fn call<T>(
        &mut self,
        slot: usize,
        fate: Fate,
        call: impl FnOnce(&mut Recorder<Script>, &mut Line<'_, SessionOf<H>>) -> T,
    ) -> Result<Option<T>, Stop> {
        let slot = &mut self.sessions[slot];
        let (actor, session) = match slot {
            Some(open) => open,
            None => {
                let Some(broker) = &self.broker else { return Ok(None) };
                let Ok(session) = guard(|| calling(Call::Session, || broker.session()))? else {
                    return Ok(None);
                };
                self.actors += 1;
                let actor = Actor(self.actors);
                self.recorder.note(actor, What::Opened);
                slot.insert((actor, session))
            }
        };
        self.recorder.become_actor(*actor);
        let recorder = &mut self.recorder;
        Ok(Some(guard(|| call(recorder, &mut Line { session, fate }))?))
    }

    fn new_message(&mut self, keyed: bool, delay: Duration) -> (Token, Message) {
        self.tokens += 1;
        let token = Token(self.tokens);
        // Sizes differ a little, so that records are not all aligned alike.
        let size = payload::SMALLEST + (self.tokens % 5) as usize;
        let body = payload::encode(token, self.body_limit().map_or(size, |limit| size.min(limit)));
        let message = Message::new(body).with_delay(delay);
        // One message in four lacks the key, so that batches are mixed.
        let keyed = keyed && !self.tokens.is_multiple_of(4);
        (token, if keyed { message.with_key([b'k', (self.tokens % 3) as u8]) } else { message })
    }

    /// The largest body that its contract admits.
    fn body_limit(&self) -> Option<usize> {
        self.contract.body_limit.and_then(|Bytes(limit)| usize::try_from(limit).ok())
    }

    /// `None`: the contract gives no such message a meaning.
    fn odd_message(&mut self, odd: Odd) -> Option<(Token, Message)> {
        let limit = self.body_limit();
        let up_to = |most| limit.filter(|limit| (payload::SMALLEST..=most).contains(limit));
        let size = match odd {
            Odd::EmptyKey => payload::SMALLEST,
            Odd::Large => LARGE_BODY.min(limit.unwrap_or(LARGE_BODY)),
            Odd::AtLimit => up_to(MOST_STORED)?,
            Odd::OverLimit => up_to(MOST_REFUSED)? + 1,
        };
        self.tokens += 1;
        let token = Token(self.tokens);
        let body = if size > MOST_STORED { payload::unsent(size) } else { payload::encode(token, size) };
        let message = Message::new(body);
        Some((token, if odd == Odd::EmptyKey { message.with_key([]) } else { message }))
    }

    /// Sends, receives and acks one message.
    fn churn(&mut self, slot: usize) -> Result<(), Stop> {
        let message = self.new_message(false, Duration::ZERO);
        self.send(slot, vec![message], Fate::Arrives)?;
        let receipts = self.receive(slot, 1, CHURN_LEASE, Fate::Arrives)?.unwrap_or_default();
        self.settle(slot, &all(&receipts, Settle::Ack), Fate::Arrives)
    }

    fn send(&mut self, slot: usize, batch: Vec<(Token, Message)>, fate: Fate) -> Result<(), Stop> {
        if batch.is_empty() {
            return Ok(());
        }
        for (_, message) in &batch {
            self.copies += 1;
            self.due_after(message.delay);
        }
        let Some(sent) = self.call(slot, fate, |recorder, line| recorder.send(line, &batch))? else {
            return Ok(());
        };
        let answers = sent.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
        let unsure =
            batch.into_iter().zip(answers).filter(|(_, sent)| matches!(sent, None | Some(Sent::InDoubt(_))));
        self.in_doubt.extend(unsure.map(|(made, _)| made));
        Ok(())
    }

    /// The receipts that came. `None`: in doubt.
    fn receive(
        &mut self,
        slot: usize,
        max: usize,
        lease: Duration,
        fate: Fate,
    ) -> Result<Option<Vec<Receipt>>, Stop> {
        let Some(answer) = self.call(slot, fate, |recorder, line| recorder.receive(line, max, lease))? else {
            return Ok(None);
        };
        let Ok(deliveries) = answer else {
            self.due_after(lease);
            return Ok(None);
        };
        if !deliveries.is_empty() {
            self.due_after(lease);
        }
        let until = self.clock.now() + lease;
        let receipts: Vec<Receipt> = deliveries.iter().map(|delivery| delivery.receipt).collect();
        for &Delivery { receipt, id, .. } in &deliveries {
            if !self.receipts.iter().any(|(known, _)| *known == receipt) {
                self.receipts.push((receipt, id));
            }
            self.held.push(Held { receipt, id, until });
        }
        Ok(Some(receipts))
    }

    fn settle(&mut self, slot: usize, batch: &[(Receipt, Settle)], fate: Fate) -> Result<(), Stop> {
        if batch.is_empty() {
            return Ok(());
        }
        for (_, how) in batch {
            if let Settle::Nack { delay } = how {
                self.due_after(*delay);
            }
        }
        let settled = self.call(slot, fate, |recorder, line| recorder.settle(line, batch))?;
        for ((receipt, _), settled) in batch.iter().zip(settled.unwrap_or_default()) {
            if matches!(settled, Settled::Done | Settled::Stale) {
                self.held.retain(|held| held.receipt != *receipt);
            }
        }
        Ok(())
    }

    fn extend(&mut self, slot: usize, receipt: Receipt, lease: Duration, fate: Fate) -> Result<(), Stop> {
        self.due_after(lease);
        let settled = self.call(slot, fate, |recorder, line| recorder.extend(line, receipt, lease))?;
        let until = self.clock.now() + lease;
        match settled {
            Some(Settled::Done) => {
                let extended = self.held.iter_mut().filter(|held| held.receipt == receipt);
                extended.for_each(|held| held.until = held.until.max(until));
            }
            Some(Settled::Stale) => self.held.retain(|held| held.receipt != receipt),
            _ => {}
        }
        Ok(())
    }

    /// Asks for more than there can be, so that what is shown is all there is.
    fn browse(&mut self, slot: usize) -> Result<(), Stop> {
        self.browse_few(slot, self.more_than_all())
    }

    fn browse_few(&mut self, slot: usize, max: usize) -> Result<(), Stop> {
        self.call(slot, Fate::Arrives, |recorder, line| drop(recorder.browse(line, max))).map(drop)
    }

    fn depth(&mut self, slot: usize) -> Result<(), Stop> {
        self.call(slot, Fate::Arrives, |recorder, line| drop(recorder.depth(line))).map(drop)
    }

    fn more_than_all(&self) -> usize {
        2 * self.copies as usize + 16
    }

    fn lose(&mut self, slot: usize) -> Result<(), Stop> {
        let Some((actor, session)) = self.sessions[slot].take() else { return Ok(()) };
        let dropped = guard(|| calling(Call::Drop, || drop(session)));
        self.recorder.note(actor, What::Lost);
        Ok(dropped?)
    }

    fn crash(&mut self, crash: Crash) -> Result<(), Stop> {
        guard(|| calling(Call::Crash, || self.host.crash(crash)))?;
        // A killed process drops nothing. What its remains do while they are dropped here is cut off, and
        // that includes a panic.
        let _ = self.drop_all();
        self.held.clear();
        self.recorder.note(HARNESS, What::Crashed { crash });
        let (error, result) = match guard(|| calling(Call::Boot, || self.host.boot())) {
            Ok(Ok(broker)) => {
                self.broker = Some(broker);
                (None, Ok(()))
            }
            Ok(Err(error)) => (Some(error.to_string()), Err(Stop::DidNotBoot)),
            Err(Panicked(message)) => (Some(format!("it panicked: {message}")), Err(Stop::Panicked(message))),
        };
        self.recorder.note(HARNESS, What::Booted { error });
        result
    }

    fn advance(&mut self, by: Duration) {
        let at = self.clock.now();
        if by.is_zero() || !self.clock.advance(by) {
            return;
        }
        self.recorder.note(HARNESS, What::Advanced { by });
        if let Some(event) = self.recorder.sink.events.last_mut() {
            event.at = at;
        }
        let now = self.clock.now();
        self.due.retain(|due| *due >= now);
        self.held.retain(|held| held.until > now);
    }

    fn advance_to(&mut self, which: usize, offset_ns: i64) {
        let now = self.clock.now();
        let mut ahead: Vec<Time> = self.due.iter().copied().filter(|due| *due > now).collect();
        ahead.sort_unstable();
        ahead.dedup();
        if ahead.is_empty() {
            return;
        }
        let target = ahead[which % ahead.len()].0.saturating_add_signed(offset_ns);
        self.advance(Time(target).since(now));
    }

    fn due_after(&mut self, wait: Duration) {
        if !wait.is_zero() {
            self.due.push(self.clock.now() + wait);
        }
    }

    /// Moves the clock past every lease and delay, and says whether there was one ahead.
    fn advance_past_all(&mut self) -> bool {
        let now = self.clock.now();
        let Some(last) = self.due.iter().copied().max().filter(|due| *due >= now) else { return false };
        self.advance(last.since(now) + Duration::from_nanos(1));
        true
    }

    /// At most `count` neighbouring receipts.
    fn pick(&self, which: Which, count: usize) -> Vec<Receipt> {
        let all = || self.receipts.iter().map(|(receipt, _)| *receipt).collect();
        let overtaken = |&(receipt, id): &(Receipt, MessageId)| {
            self.held.iter().any(|held| held.id == id && held.receipt != receipt).then_some(receipt)
        };
        let (first, mut among): (usize, Vec<Receipt>) = match which {
            Which::Current(first) => (first, self.held.iter().map(|held| held.receipt).collect()),
            Which::Superseded(first) => (first, self.receipts.iter().filter_map(overtaken).collect()),
            Which::Any(first) => (first, all()),
        };
        if among.is_empty() {
            among = all();
        }
        let len = among.len();
        (0..count.min(len)).filter_map(|next| Some(among[from_latest(first % len + next, len)?])).collect()
    }

    /// Faults are over: one new session receives and acks until nothing more comes after every lease and
    /// delay, then everything is counted.
    fn drain(&mut self, plan: &Plan) -> Result<(), Stop> {
        self.recorder.note(HARNESS, What::DrainBegan);
        let mut quiet = self.drain_until_quiet(DRAIN_BATCH)?;
        if plan.redrive_at_end {
            // All at once, or in every second plan the oldest first; received one by one, so that it shows which they
            // are and in which order they come.
            self.browse(DRAIN)?;
            let oldest = (!plan.settings.seed.is_multiple_of(2)).then_some(1);
            for max in oldest.into_iter().chain([self.more_than_all()]) {
                self.call(DRAIN, Fate::Arrives, |recorder, line| drop(recorder.redrive(line, max)))?;
                quiet = self.drain_until_quiet(1)?;
            }
        }
        self.depth(DRAIN)?;
        self.browse(DRAIN)?;
        self.recorder.note(HARNESS, What::DrainEnded { quiet });
        Ok(())
    }

    fn drain_until_quiet(&mut self, batch: usize) -> Result<bool, Stop> {
        self.advance_past_all();
        // An answer "empty" that may be false is asked for again until it is believed.
        let patience = if self.contract.empty == Answer::Unreliable { Answer::PATIENCE } else { 1 };
        let mut found_nothing = 0;
        // Each round takes a message away, moves the clock or asks again, so a broker that keeps its promises needs
        // fewer.
        for _ in 0..self.more_than_all() * patience {
            match self.receive(DRAIN, batch, DRAIN_LEASE, Fate::Arrives)? {
                Some(receipts) if !receipts.is_empty() => {
                    found_nothing = 0;
                    self.settle(DRAIN, &all(&receipts, Settle::Ack), Fate::Arrives)?;
                }
                answer => {
                    found_nothing += 1;
                    if answer.is_some() && found_nothing < patience {
                        continue;
                    }
                    found_nothing = 0;
                    let waited = self.advance_past_all();
                    if answer.is_some() && !waited {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }
}

/// A batch that settles them all in one way.
fn all(receipts: &[Receipt], how: Settle) -> Vec<(Receipt, Settle)> {
    receipts.iter().map(|&receipt| (receipt, how)).collect()
}

/// The index of the `which`-th latest of `len`.
fn from_latest(which: usize, len: usize) -> Option<usize> {
    (len > 0).then(|| len - 1 - which % len)
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn settle_of(how: How) -> Settle {
    match how {
        How::Ack => Settle::Ack,
        How::Nack { delay_ms } => Settle::Nack { delay: millis(delay_ms) },
        How::Reject => Settle::Reject,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::{self, judge};
    use crate::engines::testing::{Bug, hosting};
    use crate::history::{Outcome, PENDING};
    use crate::invariant::Invariant;
    use crate::plan::{PlanSettings, Plans};
    use crate::verdict::Verdict;

    fn plan(steps: Vec<Step>) -> Plan {
        let settings = PlanSettings { capacity: 4, deliveries_allowed: 3, seed: 0 };
        Plan { settings, steps, redrive_at_end: false }
    }

    fn send(fate: Fate) -> Step {
        Step::Send { session: 0, count: 1, delay_ms: 0, keyed: false, fate }
    }

    fn receive(fate: Fate) -> Step {
        Step::Receive { session: 0, max: 1, lease_ms: 10, fate }
    }

    fn whats(bug: Bug, steps: Vec<Step>) -> Vec<What> {
        let history = run(hosting(bug), &plan(steps)).expect("it starts");
        history.events.into_iter().map(|event| event.what).collect()
    }

    #[test]
    fn the_same_plan_writes_the_same_history_byte_for_byte() {
        for seed in 0..200 {
            let plan = Plans::default().draw(seed);
            let json = || {
                let history = run(hosting(Bug::None), &plan).expect("it starts");
                serde_json::to_vec(&history).expect("a history is plain data")
            };
            assert_eq!(json(), json());
        }
    }

    #[test]
    fn any_subset_of_a_plan_is_a_plan_and_an_honest_broker_is_never_blamed() {
        for seed in 0..300 {
            let whole = Plans::default().draw(seed);
            for keep in 1..4usize {
                let steps = whole.steps.iter().enumerate();
                let steps = steps.filter(|(index, _)| keep == 1 || index * 7 % 5 < keep);
                let plan = Plan { steps: steps.map(|(_, step)| step.clone()).collect(), ..whole.clone() };
                let history = run(hosting(Bug::None), &plan).expect("it starts");
                assert!(judge(&history).iter().all(|(_, verdict)| !verdict.is_broken()), "{plan:?}");
                assert_eq!(
                    history.events.last().map(|event| &event.what),
                    Some(&What::DrainEnded { quiet: true })
                );
            }
        }
    }

    #[test]
    fn events_are_disjoint_intervals_and_the_clock_moves_only_by_hand() {
        for seed in 0..100 {
            let history = run(hosting(Bug::None), &Plans::default().draw(seed)).expect("it starts");
            for pair in history.events.windows(2) {
                let [a, b] = pair else { unreachable!("windows of two") };
                assert!(a.ret < b.call || (a.op, a.call, a.ret) == (b.op, b.call, b.ret));
                assert_eq!(a.until, b.at.max(a.at), "time passes within advances only");
            }
            for event in &history.events {
                match event.what {
                    What::Advanced { by } => assert_eq!(event.until.since(event.at), by),
                    _ => assert_eq!(event.at, event.until),
                }
            }
        }
    }

    #[test]
    fn a_lost_reply_hides_what_was_done_and_a_lost_request_does_nothing() {
        use crate::history::SendOutcome::InDoubt;
        let sent = |fate| {
            let whats = whats(Bug::None, vec![send(fate)]);
            assert!(whats.iter().any(|what| matches!(what, What::Send { outcome: InDoubt, .. })));
            whats.iter().filter(|what| matches!(what, What::Deliver { .. })).count()
        };
        assert_eq!((sent(Fate::ReplyLost), sent(Fate::RequestLost)), (1, 0));

        let received = |fate| {
            let whats = whats(Bug::None, vec![send(Fate::Arrives), receive(fate)]);
            assert!(whats.iter().any(|what| matches!(what, What::Receive { got: None, .. })));
            whats.into_iter().find_map(|what| match what {
                What::Deliver { attempt, .. } => Some(attempt),
                _ => None,
            })
        };
        assert_eq!((received(Fate::ReplyLost), received(Fate::RequestLost)), (Some(2), Some(1)));
    }

    #[test]
    fn sessions_are_numbered_once_and_never_return() {
        let lose = Step::LoseSession { session: 0 };
        let crash = Step::Crash { kind: Crash::Power };
        let steps = vec![send(Fate::Arrives), lose, send(Fate::Arrives), crash, send(Fate::Arrives)];
        let history = run(hosting(Bug::None), &plan(steps)).expect("it starts");
        let opened = history.events.iter().filter(|event| event.what == What::Opened);
        // The last one is the drain's.
        assert_eq!(opened.map(|event| event.actor.0).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn a_late_ack_is_stale_and_a_retry_sends_the_same_bytes() {
        let ack = Step::Settle {
            session: 1,
            which: Which::Current(0),
            count: 1,
            how: How::Ack,
            fate: Fate::Arrives,
        };
        let to_deadline = Step::AdvanceTo { which: 0, offset_ns: 0 };
        let whats_of = whats(Bug::None, vec![send(Fate::Arrives), receive(Fate::Arrives), to_deadline, ack]);
        assert!(whats_of.iter().any(|what| matches!(what, What::Settle { outcome: Outcome::Stale, .. })));

        let retry = Step::Retry { session: 0, which: 0, fate: Fate::Arrives };
        let whats_of = whats(Bug::None, vec![send(Fate::ReplyLost), retry]);
        let sends: Vec<_> = whats_of
            .iter()
            .filter_map(|what| match what {
                What::Send { token, body, .. } => Some((token, body)),
                _ => None,
            })
            .collect();
        assert!(matches!(sends[..], [first, second] if first == second));
    }

    #[test]
    fn a_panic_of_the_queue_is_a_broken_promise_and_not_a_crash_of_the_harness() {
        let nack = Step::Settle {
            session: 0,
            which: Which::Current(0),
            count: 1,
            how: How::Nack { delay_ms: 0 },
            fate: Fate::Arrives,
        };
        let round = [receive(Fate::Arrives), nack];
        let steps = [vec![send(Fate::Arrives)], round.to_vec(), round.to_vec()].concat();
        let history = run(hosting(Bug::PanicsOnThirdAttempt), &plan(steps)).expect("it starts");
        let [.., during, last] = &history.events[..] else { panic!("too short") };
        assert!(matches!(during.what, What::Receive { got: None, .. }));
        assert_eq!(during.ret, PENDING);
        assert!(matches!(&last.what, What::Panicked { message } if message.contains("third attempt")));
        let Verdict::Broken(how) = checkers::check(Invariant::Li1, &history) else {
            panic!("no broken promise")
        };
        assert!(how.sentence.contains("no third attempt was foreseen"));
    }

    #[test]
    fn a_stale_nack_reaches_the_broker() {
        let nack = Step::Settle {
            session: 1,
            which: Which::Any(0),
            count: 1,
            how: How::Nack { delay_ms: 0 },
            fate: Fate::Arrives,
        };
        let steps = vec![
            send(Fate::Arrives),
            receive(Fate::Arrives),
            Step::Advance { ms: 10 },
            send(Fate::Arrives),
            nack,
        ];
        let history = run(hosting(Bug::StaleNackLoses), &plan(steps)).expect("it starts");
        let delivered = history.events.iter().filter(|event| matches!(event.what, What::Deliver { .. }));
        assert_eq!(delivered.count(), 2, "the first, which is lost then, and the second in the drain");
    }

    #[test]
    fn a_panic_while_a_session_is_dropped_is_caught_too() {
        let steps = vec![
            send(Fate::Arrives),
            receive(Fate::Arrives),
            Step::Advance { ms: 10 },
            Step::LoseSession { session: 0 },
        ];
        let whats = whats(Bug::PanicsOnDrop, steps);
        assert!(matches!(&whats[whats.len() - 2..], [What::Lost, What::Panicked { .. }]));
    }

    #[test]
    fn a_broker_that_does_not_boot_is_an_error_before_and_a_fact_after_a_crash() {
        let steps = vec![Step::Crash { kind: Crash::Process }, send(Fate::Arrives)];
        let error = run(hosting(Bug::NeverBoots), &plan(steps.clone())).expect_err("it never starts");
        assert!(error.to_string().contains("capacity 4") && error.to_string().contains("the cable is cut"));
        let whats = whats(Bug::BootsOnce, steps);
        assert!(
            matches!(&whats[..], [_, What::Crashed { .. }, What::Booted { error: Some(error) }] if error.contains("cable"))
        );
    }
}
