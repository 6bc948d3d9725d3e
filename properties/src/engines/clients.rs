//! The clients of a broker in the engines that run on one thread: what they know together, and how each does its
//! steps. Whose turn it is, the engines decide.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use stanchion_queues::sync::{self, Point};
use stanchion_queues::{
    Answer, Broker, Bytes, Clock, Contract, DeadLetter, Delivery, Depth, Error, Message, MessageId, Receipt,
    Retries, Sent, Session, Settings, Settle, Settled, Settlement, Time,
};

use crate::engines::watchdog::{Call, calling};
use crate::history::{Actor, Event, HARNESS, PENDING, Token, What};
use crate::payload;
use crate::plan::{Fate, How, Odd, Step, Which, fraction};
use crate::recording::{Recorder, Sink, Ticks};

/// How many messages the drain asks for at once.
const DRAIN_BATCH: usize = 16;
/// The lease of the drain. Any: nobody else receives then.
const DRAIN_LEASE: Duration = Duration::from_millis(50);
/// The lease of a message that is acked at once. Any.
const CHURN_LEASE: Duration = Duration::from_millis(10);
/// So many errors in a row at the end of a drain are no bad luck.
const UNANSWERED: usize = 16;
/// A key whose size does not fit into 8 bits.
const LONG_KEY: usize = 300;
/// A body whose size does not fit into 16 bits.
const LARGE_BODY: usize = 70_000;
/// Bodies of a limit above this are not stored.
const MOST_STORED: usize = 1 << 20;
/// Bodies above a limit, which are not stored, may be larger; above this they are not tried out.
const MOST_REFUSED: usize = 64 << 20;

/// What a panic said.
pub(super) struct Panicked(pub(super) String);

/// Runs code of the queue under test.
pub(super) fn guard<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
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

/// Whether a broker was killed.
#[derive(Clone, Default)]
pub(super) struct Killed(Arc<AtomicBool>);

impl Killed {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The events of one client so far, and those of its call that has not returned.
#[derive(Default)]
pub(super) struct Script {
    events: Vec<Event>,
    pending: Vec<Event>,
    /// Nothing that happens after this is heard of.
    killed: Killed,
}

impl Script {
    /// Everything, with what has not returned as pending.
    pub(super) fn take(&mut self) -> Vec<Event> {
        let mut events = std::mem::take(&mut self.events);
        events.append(&mut self.pending);
        events
    }

    /// The latest that is complete.
    fn last_mut(&mut self) -> Option<&mut Event> {
        self.events.last_mut()
    }
}

impl Sink for Script {
    fn called(&mut self, pending: &[Event]) {
        if !self.killed.get() {
            self.pending.clear();
            self.pending.extend_from_slice(pending);
        }
    }

    fn returned(&mut self, events: Vec<Event>) {
        if !self.killed.get() {
            self.pending.clear();
            self.events.extend(events);
        }
    }
}

/// A session behind a line on which requests and replies get lost.
struct Line<'a, S> {
    session: &'a mut S,
    fate: Fate,
    killed: &'a Killed,
}

impl<S: Session> Line<'_, S> {
    fn ask<T>(&mut self, ask: impl FnOnce(&mut S) -> T) -> Result<T, Error> {
        sync::at(Point::Line);
        if self.killed.get() {
            return Err(Error::Gone("it was killed before it was asked".into()));
        }
        let answer = match self.fate {
            Fate::Arrives => Ok(ask(self.session)),
            Fate::ReplyLost => {
                drop(ask(self.session));
                Err(Error::Gone("the reply was lost".into()))
            }
            Fate::RequestLost => Err(Error::Gone("the request was lost".into())),
        };
        sync::at(Point::Line);
        if self.killed.get() { Err(Error::Gone("it was killed before it answered".into())) } else { answer }
    }
}

impl<S: Session> Session for Line<'_, S> {
    fn send(&mut self, messages: &[Message]) -> Vec<Sent> {
        self.ask(|session| session.send(messages)).unwrap_or_else(|lost| {
            messages.iter().map(|_| Sent::InDoubt(Error::Gone(lost.to_string()))).collect()
        })
    }

    fn receive(&mut self, max: usize, lease: Duration) -> Result<Vec<Delivery>, Error> {
        self.ask(|session| session.receive(max, lease))?
    }

    fn settle(&mut self, settlements: &[Settlement]) -> Vec<Settled> {
        self.ask(|session| session.settle(settlements)).unwrap_or_else(|lost| {
            settlements.iter().map(|_| Settled::InDoubt(Error::Gone(lost.to_string()))).collect()
        })
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

/// What all clients of a run know together.
pub(super) struct Desk {
    pub(super) contract: Contract,
    pub(super) clock: Clock,
    /// See [`fraction`].
    fraction: Duration,
    /// One for each session that is open, and one for this.
    sessions: Arc<()>,
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
    /// Whether a storage failed since the broker was started: then it may need to be started again.
    pub(super) ails: bool,
}

impl Desk {
    /// For a broker that has just started.
    ///
    /// # Errors
    /// No message of ours fits into it: the text says why.
    pub(super) fn new(contract: Contract, settings: &Settings, clock: Clock) -> Result<Desk, String> {
        if let Some(Bytes(limit)) = contract.body_limit.filter(|limit| limit.0 < payload::SMALLEST as u64) {
            return Err(format!(
                "its largest body has {limit} bytes, and a message must have {} to be told from others: declare or \
                 allow more",
                payload::SMALLEST
            ));
        }
        Ok(Desk {
            contract,
            clock,
            fraction: fraction(settings.seed),
            sessions: Arc::default(),
            actors: 0,
            tokens: 0,
            copies: 0,
            in_doubt: Vec::new(),
            receipts: Vec::new(),
            held: Vec::new(),
            due: Vec::new(),
            ails: false,
        })
    }

    /// The broker was killed, and every session with it.
    pub(super) fn crashed(&mut self) {
        self.held.clear();
        self.ails = false;
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
            Odd::EmptyKey | Odd::LongKey => payload::SMALLEST,
            // Who takes equal bodies for one message may take these.
            Odd::NoBody if self.contract.retries == Retries::Deduplicated => return None,
            Odd::NoBody => 0,
            Odd::Large => LARGE_BODY.min(limit.unwrap_or(LARGE_BODY)),
            Odd::AtLimit => up_to(MOST_STORED)?,
            Odd::OverLimit => up_to(MOST_REFUSED)? + 1,
        };
        self.tokens += 1;
        let token = Token(self.tokens);
        let body = if size > MOST_STORED { payload::unsent(size) } else { payload::encode(token, size) };
        Some((
            token,
            match odd {
                Odd::EmptyKey => Message::new(body).with_key([]),
                Odd::LongKey => Message::new(body).with_key(payload::encode(token, LONG_KEY)),
                Odd::NoBody => Message::new([]).with_key(payload::encode(token, payload::SMALLEST)),
                Odd::Large | Odd::AtLimit | Odd::OverLimit => Message::new(body),
            },
        ))
    }

    /// An answer that is too short leaves the rest in doubt.
    fn sent(&mut self, batch: Vec<(Token, Message)>, answers: Vec<Sent>) {
        // As late as the broker can have reckoned from.
        batch.iter().for_each(|(_, message)| self.due_after(message.delay));
        let answers = answers.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
        let unsure =
            batch.into_iter().zip(answers).filter(|(_, sent)| matches!(sent, None | Some(Sent::InDoubt(_))));
        self.in_doubt.extend(unsure.map(|(made, _)| made));
    }

    /// The receipts that came. `None`: in doubt.
    fn received(&mut self, answer: Result<Vec<Delivery>, Error>, lease: Duration) -> Option<Vec<Receipt>> {
        let Ok(deliveries) = answer else {
            self.due_after(lease);
            return None;
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
        Some(receipts)
    }

    fn settled(&mut self, batch: &[(Receipt, Settle)], answers: Vec<Settled>) {
        for (_, how) in batch {
            if let Settle::Nack { delay } = how {
                self.due_after(*delay);
            }
        }
        for ((receipt, _), settled) in batch.iter().zip(answers) {
            if matches!(settled, Settled::Done | Settled::Stale) {
                self.held.retain(|held| held.receipt != *receipt);
            }
        }
    }

    fn extended(&mut self, receipt: Receipt, lease: Duration, answer: Option<Settled>) {
        self.due_after(lease);
        let until = self.clock.now() + lease;
        match answer {
            Some(Settled::Done) => {
                let extended = self.held.iter_mut().filter(|held| held.receipt == receipt);
                extended.for_each(|held| held.until = held.until.max(until));
            }
            Some(Settled::Stale) => self.held.retain(|held| held.receipt != receipt),
            _ => {}
        }
    }

    /// A lease or a delay of so many milliseconds.
    fn wait(&self, ms: u64) -> Duration {
        if ms == 0 { Duration::ZERO } else { millis(ms) + self.fraction }
    }

    fn settle_of(&self, how: How) -> Settle {
        match how {
            How::Ack => Settle::Ack,
            How::Nack { delay_ms } => Settle::Nack { delay: self.wait(delay_ms) },
            How::Reject => Settle::Reject,
        }
    }

    fn more_than_all(&self) -> usize {
        2 * self.copies as usize + 16
    }

    /// The clock was moved.
    fn passed(&mut self) {
        let now = self.clock.now();
        self.due.retain(|due| *due >= now);
        self.held.retain(|held| held.until > now);
    }

    fn due_after(&mut self, wait: Duration) {
        if !wait.is_zero() {
            self.due.push(self.clock.now() + wait);
        }
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
}

/// A broker that runs, and what its clients know.
pub(super) struct Place<'a, B> {
    pub(super) broker: &'a B,
    pub(super) desk: &'a RefCell<Desk>,
}

impl<B> Clone for Place<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Place<'_, B> {}

/// One client: a session, opened when it is first needed.
pub(super) struct Client<S> {
    open: Option<Open<S>>,
    recorder: Recorder<Script>,
    /// What it was told instead of a session or of messages, the last time; see [`trouble`].
    trouble: Option<String>,
}

/// An open session, counted among those that are.
struct Open<S> {
    actor: Actor,
    session: S,
    _counted: Arc<()>,
}

/// A recorder of a run, for one client or the harness.
pub(super) fn recorder(ticks: &Ticks, clock: &Clock) -> Recorder<Script> {
    Recorder::new(ticks.clone(), clock.clone(), HARNESS, Script::default(), payload::decode)
}

impl<S: Session> Client<S> {
    pub(super) fn new(ticks: &Ticks, clock: &Clock) -> Client<S> {
        Client { open: None, recorder: recorder(ticks, clock), trouble: None }
    }

    /// The events of all its sessions.
    pub(super) fn events(&mut self) -> Vec<Event> {
        self.recorder.sink.take()
    }

    /// From now on, this says whether its broker was killed. What had not returned never will.
    pub(super) fn live_until(&mut self, killed: &Killed) {
        let script = &mut self.recorder.sink;
        let mut left = std::mem::take(&mut script.pending);
        script.events.append(&mut left);
        script.killed = killed.clone();
    }

    /// Whether its broker was killed.
    fn is_cut_off(&self) -> bool {
        self.recorder.sink.killed.get()
    }

    /// Ends its session without a word.
    pub(super) fn drop_session(&mut self) -> Result<(), Panicked> {
        let session = self.open.take();
        guard(|| calling(Call::Drop, || drop(session)))
    }

    /// Does a step that is a client's. Others do nothing.
    pub(super) fn perform<B: Broker<Session = S>>(
        &mut self,
        step: &Step,
        place: Place<'_, B>,
    ) -> Result<(), Panicked> {
        let desk = place.desk;
        match *step {
            Step::SettleEach { ref each, fate, .. } => {
                let one = |&(which, how)| {
                    let desk = desk.borrow();
                    Some((*desk.pick(which, 1).first()?, desk.settle_of(how)))
                };
                let batch: Vec<_> = each.iter().filter_map(one).collect();
                self.settle(place, &batch, fate)
            }
            Step::Churn { count, .. } => (0..count).try_for_each(|_| self.churn(place)),
            Step::Flood { count, .. } => {
                (0..count).try_for_each(|_| {
                    let message = desk.borrow_mut().new_message(false, Duration::ZERO);
                    self.send(place, vec![message], Fate::Arrives)
                })?;
                self.depth(place)
            }
            Step::Wear { count, .. } => (0..count).try_for_each(|_| {
                let receipts = self.receive(place, 1, CHURN_LEASE, Fate::Arrives)?.unwrap_or_default();
                self.settle(place, &all(&receipts, Settle::Nack { delay: Duration::ZERO }), Fate::Arrives)
            }),
            Step::Send { count, delay_ms, keyed, fate, .. } => {
                // Every other message of a batch is not delayed, so that batches are mixed.
                let delay = desk.borrow().wait(delay_ms);
                let delays = [delay, Duration::ZERO].into_iter().cycle().take(count);
                let batch = delays.map(|delay| desk.borrow_mut().new_message(keyed, delay)).collect();
                self.send(place, batch, fate)
            }
            Step::SendOdd { odd, fate, .. } => {
                let count = if odd == Odd::NoBody { 2 } else { 1 };
                let batch = (0..count).filter_map(|_| desk.borrow_mut().odd_message(odd)).collect();
                self.send(place, batch, fate)
            }
            Step::Retry { which, fate, .. } => {
                let again = {
                    let in_doubt = &mut desk.borrow_mut().in_doubt;
                    from_latest(which, in_doubt.len()).map(|index| in_doubt.remove(index))
                };
                self.send(place, again.into_iter().collect(), fate)
            }
            Step::Receive { max, lease_ms, fate, .. } => {
                let lease = desk.borrow().wait(lease_ms);
                self.receive(place, max, lease, fate).map(drop)
            }
            Step::Settle { which, count, how, fate, .. } => {
                let batch = {
                    let desk = desk.borrow();
                    all(&desk.pick(which, count), desk.settle_of(how))
                };
                self.settle(place, &batch, fate)
            }
            Step::Extend { which, lease_ms, fate, .. } => {
                let (receipts, lease) = {
                    let desk = desk.borrow();
                    (desk.pick(which, 1), desk.wait(lease_ms))
                };
                receipts.into_iter().try_for_each(|receipt| self.extend(place, receipt, lease, fate))
            }
            Step::Redrive { max, fate, .. } => {
                self.call(place, fate, |recorder, line| recorder.redrive(line, max).is_ok()).map(drop)
            }
            Step::Browse { .. } => self.browse(place),
            Step::BrowseFew { max, .. } => self.browse_few(place, max),
            Step::Depth { .. } => self.depth(place),
            Step::LoseSession { .. } => self.lose(desk),
            Step::Advance { .. } | Step::AdvanceTo { .. } | Step::Crash { .. } => Ok(()),
        }
    }

    /// Makes a call on its session, opened if need be. `None`: the broker opens none, or was killed, and whoever
    /// has no session calls nobody.
    fn call<B: Broker<Session = S>, T>(
        &mut self,
        place: Place<'_, B>,
        fate: Fate,
        call: impl FnOnce(&mut Recorder<Script>, &mut Line<'_, S>) -> T,
    ) -> Result<Option<T>, Panicked> {
        if self.is_cut_off() {
            return Ok(None);
        }
        if self.open.is_none() {
            let opened = guard(|| calling(Call::Session, || place.broker.session()))?;
            let session = match opened {
                Ok(session) if !self.is_cut_off() => session,
                refused => {
                    // Who has a limit of sessions may refuse one beside others.
                    let alone = Arc::strong_count(&place.desk.borrow().sessions) == 1;
                    self.trouble = refused.as_ref().err().filter(|_| alone).and_then(trouble);
                    // A session that came too late is cut off, and so is a panic of it.
                    let _ = guard(|| calling(Call::Drop, || drop(refused)));
                    return Ok(None);
                }
            };
            let mut desk = place.desk.borrow_mut();
            desk.actors += 1;
            let actor = Actor(desk.actors);
            self.recorder.note(actor, What::Opened);
            self.open = Some(Open { actor, session, _counted: Arc::clone(&desk.sessions) });
        }
        let Some(Open { actor, session, .. }) = &mut self.open else { return Ok(None) };
        self.recorder.become_actor(*actor);
        let killed = self.recorder.sink.killed.clone();
        let recorder = &mut self.recorder;
        Ok(Some(guard(|| call(recorder, &mut Line { session, fate, killed: &killed }))?))
    }

    /// Sends, receives and acks one message.
    fn churn<B: Broker<Session = S>>(&mut self, place: Place<'_, B>) -> Result<(), Panicked> {
        let message = place.desk.borrow_mut().new_message(false, Duration::ZERO);
        self.send(place, vec![message], Fate::Arrives)?;
        let receipts = self.receive(place, 1, CHURN_LEASE, Fate::Arrives)?.unwrap_or_default();
        self.settle(place, &all(&receipts, Settle::Ack), Fate::Arrives)
    }

    fn send<B: Broker<Session = S>>(
        &mut self,
        place: Place<'_, B>,
        batch: Vec<(Token, Message)>,
        fate: Fate,
    ) -> Result<(), Panicked> {
        if batch.is_empty() {
            return Ok(());
        }
        place.desk.borrow_mut().copies += batch.len() as u64;
        if let Some(answers) = self.call(place, fate, |recorder, line| recorder.send(line, &batch))? {
            place.desk.borrow_mut().sent(batch, answers);
        }
        Ok(())
    }

    /// The receipts that came. `None`: in doubt.
    fn receive<B: Broker<Session = S>>(
        &mut self,
        place: Place<'_, B>,
        max: usize,
        lease: Duration,
        fate: Fate,
    ) -> Result<Option<Vec<Receipt>>, Panicked> {
        let answer = self.call(place, fate, |recorder, line| recorder.receive(line, max, lease))?;
        if let Some(Err(error)) = &answer {
            self.trouble = trouble(error);
        }
        Ok(answer.and_then(|answer| place.desk.borrow_mut().received(answer, lease)))
    }

    fn settle<B: Broker<Session = S>>(
        &mut self,
        place: Place<'_, B>,
        batch: &[(Receipt, Settle)],
        fate: Fate,
    ) -> Result<(), Panicked> {
        if batch.is_empty() {
            return Ok(());
        }
        let answers = self.call(place, fate, |recorder, line| recorder.settle(line, batch))?;
        place.desk.borrow_mut().settled(batch, answers.unwrap_or_default());
        Ok(())
    }

    fn extend<B: Broker<Session = S>>(
        &mut self,
        place: Place<'_, B>,
        receipt: Receipt,
        lease: Duration,
        fate: Fate,
    ) -> Result<(), Panicked> {
        let answer = self.call(place, fate, |recorder, line| recorder.extend(line, receipt, lease))?;
        place.desk.borrow_mut().extended(receipt, lease, answer);
        Ok(())
    }

    /// Asks for more than there can be, so that what is shown is all there is.
    fn browse<B: Broker<Session = S>>(&mut self, place: Place<'_, B>) -> Result<(), Panicked> {
        let more_than_all = place.desk.borrow().more_than_all();
        self.browse_few(place, more_than_all)
    }

    fn browse_few<B: Broker<Session = S>>(
        &mut self,
        place: Place<'_, B>,
        max: usize,
    ) -> Result<(), Panicked> {
        self.call(place, Fate::Arrives, |recorder, line| drop(recorder.browse(line, max))).map(drop)
    }

    fn depth<B: Broker<Session = S>>(&mut self, place: Place<'_, B>) -> Result<(), Panicked> {
        self.call(place, Fate::Arrives, |recorder, line| drop(recorder.depth(line))).map(drop)
    }

    /// Loses its session. That has no answer, in which a broker whose storage has failed could say that it cannot store
    /// this: then it is in doubt.
    fn lose(&mut self, desk: &RefCell<Desk>) -> Result<(), Panicked> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let actor = open.actor;
        let dropped =
            self.recorder.note_while(actor, What::Lost, || guard(|| calling(Call::Drop, || drop(open))));
        if desk.borrow().ails
            && !self.is_cut_off()
            && let Some(lost) = self.recorder.sink.last_mut()
        {
            (lost.ret, lost.until) = (PENDING, Time::FAR_FUTURE);
        }
        dropped
    }
}

/// Moves the clock, and says so.
pub(super) fn advance(harness: &mut Recorder<Script>, desk: &RefCell<Desk>, by: Duration) {
    let mut desk = desk.borrow_mut();
    let at = desk.clock.now();
    if by.is_zero() || !desk.clock.advance(by) {
        return;
    }
    harness.note(HARNESS, What::Advanced { by });
    if let Some(event) = harness.sink.last_mut() {
        event.at = at;
    }
    desk.passed();
}

/// Moves the clock to an instant at which a lease or a delay ends, or just beside it.
pub(super) fn advance_to(harness: &mut Recorder<Script>, desk: &RefCell<Desk>, which: usize, offset_ns: i64) {
    let (now, mut ahead) = {
        let desk = desk.borrow();
        let now = desk.clock.now();
        (now, desk.due.iter().copied().filter(|due| *due > now).collect::<Vec<Time>>())
    };
    ahead.sort_unstable();
    ahead.dedup();
    if ahead.is_empty() {
        return;
    }
    let target = ahead[which % ahead.len()].0.saturating_add_signed(offset_ns);
    advance(harness, desk, Time(target).since(now));
}

/// Moves the clock past every lease and delay, and says whether there was one ahead.
fn advance_past_all(harness: &mut Recorder<Script>, desk: &RefCell<Desk>) -> bool {
    let (now, last) = {
        let desk = desk.borrow();
        (desk.clock.now(), desk.due.iter().copied().max())
    };
    let Some(last) = last.filter(|due| *due >= now) else { return false };
    advance(harness, desk, last.since(now) + Duration::from_nanos(1));
    true
}

/// The end of a run, when faults are over: one new client receives and acks until nothing more comes after every
/// lease and delay, then everything is counted.
pub(super) struct Drain<'a, B: Broker> {
    pub(super) client: &'a mut Client<B::Session>,
    pub(super) harness: &'a mut Recorder<Script>,
    pub(super) place: Place<'a, B>,
}

impl<B: Broker> Drain<'_, B> {
    /// With a number of messages, those of the oldest dead letters are made ready again, and then all others, and
    /// what comes is received one by one, so that it shows which they are and in which order they come.
    pub(super) fn run(&mut self, redrive: Option<&[usize]>) -> Result<(), Panicked> {
        let place = self.place;
        self.harness.note(HARNESS, What::DrainBegan);
        let mut quiet = self.until_quiet(DRAIN_BATCH)?;
        if let Some(oldest) = redrive {
            self.client.browse(place)?;
            let more_than_all = place.desk.borrow().more_than_all();
            for &max in oldest.iter().chain([&more_than_all]) {
                self.client.call(place, Fate::Arrives, |recorder, line| drop(recorder.redrive(line, max)))?;
                quiet = self.until_quiet(1)?;
            }
        }
        self.client.depth(place)?;
        self.client.browse(place)?;
        self.harness.note(HARNESS, What::DrainEnded { quiet });
        Ok(())
    }

    fn until_quiet(&mut self, batch: usize) -> Result<bool, Panicked> {
        let place = self.place;
        advance_past_all(self.harness, place.desk);
        // An answer "empty" that may be false is asked for again until it is believed.
        let unreliable = place.desk.borrow().contract.empty == Answer::Unreliable;
        let patience = if unreliable { Answer::PATIENCE } else { 1 };
        let mut found_nothing = 0;
        let mut unanswered = 0;
        // Each round takes a message away, moves the clock or asks again, so a broker that keeps its promises needs
        // fewer.
        let rounds = place.desk.borrow().more_than_all() * patience;
        for _ in 0..rounds {
            let answer = self.client.receive(place, batch, DRAIN_LEASE, Fate::Arrives)?;
            unanswered = if answer.is_none() { unanswered + 1 } else { 0 };
            match answer {
                Some(receipts) if !receipts.is_empty() => {
                    found_nothing = 0;
                    self.client.settle(place, &all(&receipts, Settle::Ack), Fate::Arrives)?;
                }
                answer => {
                    found_nothing += 1;
                    if answer.is_some() && found_nothing < patience {
                        continue;
                    }
                    found_nothing = 0;
                    let waited = advance_past_all(self.harness, place.desk);
                    if answer.is_some() && !waited {
                        return Ok(true);
                    }
                }
            }
        }
        if let Some(error) = self.client.trouble.clone().filter(|_| unanswered >= UNANSWERED) {
            self.harness.note(HARNESS, What::Unanswered { error });
        }
        Ok(false)
    }
}

/// What an error says, unless it is of a storage: one that is damaged, or has failed, excuses a broker.
fn trouble(error: &Error) -> Option<String> {
    let of_storage = matches!(error, Error::Io { .. } | Error::Corrupt { .. } | Error::Poisoned(_));
    (!of_storage).then(|| error.to_string())
}

/// A batch that settles them all in one way.
fn all(receipts: &[Receipt], how: Settle) -> Vec<(Receipt, Settle)> {
    receipts.iter().map(|&receipt| (receipt, how)).collect()
}

/// The index of the `which`-th latest of `len`.
fn from_latest(which: usize, len: usize) -> Option<usize> {
    (len > 0).then(|| len - 1 - which % len)
}

pub(super) fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
