//! Calls on a session, written down as they happen: first what was asked, then what came of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stanchion_queues::{
    Clock, Delivery, Error, Message, Receipt, Sent, Session, Settle, Settled, Settlement, Time,
};

use crate::engines::watchdog::{Call, calling};
use crate::history::{Actor, Event, Handle, Letter, Outcome, PENDING, SendOutcome, Token, What};
use crate::payload::{digest, digest_sent};

/// Where events go.
pub trait Sink {
    /// A call is about to be made. If it never returns, this is how it stands in the history: pending, its
    /// outcome in doubt.
    fn called(&mut self, pending: &[Event]);
    /// It returned.
    fn returned(&mut self, events: Vec<Event>);
}

impl Sink for Vec<Event> {
    fn called(&mut self, _: &[Event]) {}

    fn returned(&mut self, events: Vec<Event>) {
        self.extend(events);
    }
}

/// The tick that all actors of a run share, and the names given to receipts.
#[derive(Clone, Debug, Default)]
pub struct Ticks {
    next: Arc<AtomicU64>,
    names: Names,
}

#[derive(Clone, Debug)]
enum Names {
    /// Numbers from 1 in order of first appearance: the same in every run.
    InOrder(Arc<Mutex<HashMap<Receipt, Handle>>>),
    /// Drawn from the value: the same in every process.
    ByValue,
}

impl Default for Names {
    fn default() -> Names {
        Names::InOrder(Arc::default())
    }
}

impl Ticks {
    /// The next tick. A chain of read-modify-writes: an earlier tick happened before a later one.
    pub fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::SeqCst)
    }

    /// What the next tick will be, if nobody else takes one.
    pub(crate) fn upcoming(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }

    /// For one of several processes that write one history: begins at `tick`, and names receipts so that
    /// equal receipts have equal names in all of them.
    pub fn across_processes(tick: u64) -> Ticks {
        Ticks { next: Arc::new(AtomicU64::new(tick)), names: Names::ByValue }
    }

    /// The name of a receipt.
    pub fn handle(&self, receipt: Receipt) -> Handle {
        let handles = match &self.names {
            Names::InOrder(handles) => handles,
            // Fibonacci hashing keeps both halves; a collision of two receipts is as likely as one in 2^64.
            Names::ByValue => {
                let (high, low) = ((receipt.0 >> 64) as u64, receipt.0 as u64);
                return Handle(high.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32) ^ low);
            }
        };
        let mut handles = handles.lock().unwrap_or_else(PoisonError::into_inner);
        let next = Handle(handles.len() as u64 + 1);
        *handles.entry(receipt).or_insert(next)
    }
}

/// Makes calls for one actor and writes them down.
pub struct Recorder<K> {
    ticks: Ticks,
    clock: Clock,
    actor: Actor,
    /// Where the events are.
    pub sink: K,
    /// How tokens are read from bodies. What has no body says in its key who it is.
    token_of: fn(&[u8]) -> Option<Token>,
}

impl<K: Sink> Recorder<K> {
    /// For one actor. `token_of` reads the token from a body.
    pub fn new(
        ticks: Ticks,
        clock: Clock,
        actor: Actor,
        sink: K,
        token_of: fn(&[u8]) -> Option<Token>,
    ) -> Recorder<K> {
        Recorder { ticks, clock, actor, sink, token_of }
    }

    /// Goes on as another actor.
    pub fn become_actor(&mut self, actor: Actor) {
        self.actor = actor;
    }

    /// The ticks, shared.
    pub fn ticks(&self) -> &Ticks {
        &self.ticks
    }

    /// Writes something that happened at once, by whomever.
    pub fn note(&mut self, actor: Actor, what: What) {
        let (call, ret, now) = (self.ticks.next(), self.ticks.next(), self.clock.now());
        let op = op(call);
        self.sink.returned(vec![Event { call, ret, at: now, until: now, actor, op, what }]);
    }

    /// The same for something that takes its time: it happened at some instant of `run`.
    pub fn note_while<R>(&mut self, actor: Actor, what: What, run: impl FnOnce() -> R) -> R {
        let (call, at) = (self.ticks.next(), self.clock.now());
        let event = |what, ret, until| Event { call, ret, at, until, actor, op: op(call), what };
        self.sink.called(&[event(what.clone(), PENDING, Time::FAR_FUTURE)]);
        let result = run();
        let (until, ret) = (self.clock.now(), self.ticks.next());
        self.sink.returned(vec![event(what, ret, until)]);
        result
    }

    /// One call: `pending` is how it stands while it has not returned, `run` makes it and says what came of
    /// it.
    fn call<R>(&mut self, pending: Vec<What>, run: impl FnOnce(&Ticks, Vec<What>) -> (Vec<What>, R)) -> R {
        let (call, at, actor) = (self.ticks.next(), self.clock.now(), self.actor);
        let event = |what, ret, until| Event { call, ret, at, until, actor, op: op(call), what };
        let open: Vec<Event> =
            pending.iter().map(|what| event(what.clone(), PENDING, Time::FAR_FUTURE)).collect();
        self.sink.called(&open);
        let (whats, result) = run(&self.ticks, pending);
        let (until, ret) = (self.clock.now(), self.ticks.next());
        self.sink.returned(whats.into_iter().map(|what| event(what, ret, until)).collect());
        result
    }

    /// Sends messages, each under its token.
    pub fn send(&mut self, session: &mut impl Session, batch: &[(Token, Message)]) -> Vec<Sent> {
        let pending = batch
            .iter()
            .map(|(token, message)| What::Send {
                token: *token,
                key: message.key.as_deref().map(digest),
                body: digest_sent(&message.body),
                delay: message.delay,
                outcome: SendOutcome::InDoubt,
            })
            .collect();
        let messages: Vec<Message> = batch.iter().map(|(_, message)| message.clone()).collect();
        self.call(pending, |_, mut whats| {
            let sent = calling(Call::Send, || session.send(&messages));
            for (what, sent) in whats.iter_mut().zip(&sent) {
                if let What::Send { outcome, .. } = what {
                    *outcome = match sent {
                        Sent::Confirmed(id) => SendOutcome::Confirmed(*id),
                        Sent::Refused(refusal) => SendOutcome::Refused(refusal.clone()),
                        Sent::InDoubt(_) => SendOutcome::InDoubt,
                    };
                }
            }
            whats.extend(miscounted(batch.len(), sent.len()));
            (whats, sent)
        })
    }

    /// Receives.
    ///
    /// # Errors
    /// As [`Session::receive`].
    pub fn receive(
        &mut self,
        session: &mut impl Session,
        max: usize,
        lease: Duration,
    ) -> Result<Vec<Delivery>, Error> {
        let token_of = self.token_of;
        let pending = vec![What::Receive { max: max as u64, got: None, lease }];
        self.call(pending, |ticks, pending| match calling(Call::Receive, || session.receive(max, lease)) {
            Ok(deliveries) => {
                let got = Some(deliveries.len() as u64);
                let mut whats = vec![What::Receive { max: max as u64, got, lease }];
                whats.extend(deliveries.iter().map(|delivery| What::Deliver {
                    token: token_of(named_by(&delivery.key, &delivery.body)),
                    id: delivery.id,
                    handle: ticks.handle(delivery.receipt),
                    attempt: delivery.attempt,
                    deadline: delivery.deadline,
                    lease,
                    key: delivery.key.as_deref().map(digest),
                    body: digest(&delivery.body),
                }));
                (whats, Ok(deliveries))
            }
            Err(error) => (pending, Err(error)),
        })
    }

    /// Settles deliveries.
    pub fn settle(&mut self, session: &mut impl Session, batch: &[(Receipt, Settle)]) -> Vec<Settled> {
        let ticks = self.ticks.clone();
        let pending = batch
            .iter()
            .map(|&(receipt, how)| What::Settle {
                handle: ticks.handle(receipt),
                how,
                outcome: Outcome::InDoubt,
            })
            .collect();
        let settlements: Vec<Settlement> =
            batch.iter().map(|&(receipt, how)| Settlement { receipt, how }).collect();
        self.call(pending, |_, mut whats| {
            let settled = calling(Call::Settle, || session.settle(&settlements));
            for (what, settled) in whats.iter_mut().zip(&settled) {
                if let What::Settle { outcome, .. } = what {
                    *outcome = outcome_of(settled);
                }
            }
            whats.extend(miscounted(batch.len(), settled.len()));
            (whats, settled)
        })
    }

    /// Extends a lease.
    pub fn extend(&mut self, session: &mut impl Session, receipt: Receipt, lease: Duration) -> Settled {
        let handle = self.ticks.handle(receipt);
        let pending = vec![What::Extend { handle, lease, outcome: Outcome::InDoubt }];
        self.call(pending, |_, _| {
            let settled = calling(Call::Extend, || session.extend(receipt, lease));
            (vec![What::Extend { handle, lease, outcome: outcome_of(&settled) }], settled)
        })
    }

    /// Reads the dead letters.
    ///
    /// # Errors
    /// As [`Session::dead_letters`].
    pub fn browse(&mut self, session: &mut impl Session, max: usize) -> Result<usize, Error> {
        let token_of = self.token_of;
        let max_shown = max as u64;
        let pending = vec![What::Browse { max: max_shown, letters: None }];
        self.call(pending, |_, pending| match calling(Call::DeadLetters, || session.dead_letters(max)) {
            Ok(letters) => {
                let shown = letters
                    .iter()
                    .map(|letter| Letter {
                        token: token_of(named_by(&letter.key, &letter.body)),
                        id: letter.id,
                        reason: letter.reason,
                        attempts: letter.attempts,
                        key: letter.key.as_deref().map(digest),
                        body: digest(&letter.body),
                    })
                    .collect();
                (vec![What::Browse { max: max_shown, letters: Some(shown) }], Ok(letters.len()))
            }
            Err(error) => (pending, Err(error)),
        })
    }

    /// Redrives dead letters.
    ///
    /// # Errors
    /// As [`Session::redrive`].
    pub fn redrive(&mut self, session: &mut impl Session, max: usize) -> Result<usize, Error> {
        let pending = vec![What::Redrive { max: max as u64, moved: None }];
        self.call(pending, |_, pending| match calling(Call::Redrive, || session.redrive(max)) {
            Ok(moved) => (vec![What::Redrive { max: max as u64, moved: Some(moved as u64) }], Ok(moved)),
            Err(error) => (pending, Err(error)),
        })
    }

    /// Counts the messages.
    ///
    /// # Errors
    /// As [`Session::depth`].
    pub fn depth(&mut self, session: &mut impl Session) -> Result<stanchion_queues::Depth, Error> {
        self.call(vec![What::Depth { depth: None }], |_, pending| {
            match calling(Call::Depth, || session.depth()) {
                Ok(depth) => (vec![What::Depth { depth: Some(depth) }], Ok(depth)),
                Err(error) => (pending, Err(error)),
            }
        })
    }
}

/// Where it stands who a message is.
fn named_by<'a>(key: &'a Option<Arc<[u8]>>, body: &'a [u8]) -> &'a [u8] {
    if body.is_empty() { key.as_deref().unwrap_or(body) } else { body }
}

/// Said of a batch that was not answered item by item.
fn miscounted(asked: usize, answered: usize) -> Option<What> {
    (asked != answered).then_some(What::Miscounted { asked: asked as u64, answered: answered as u64 })
}

fn outcome_of(settled: &Settled) -> Outcome {
    match settled {
        Settled::Done => Outcome::Done,
        Settled::Stale => Outcome::Stale,
        Settled::InDoubt(_) => Outcome::InDoubt,
    }
}

/// Ticks are unique, so a call's tick names its operation.
fn op(call: u64) -> u32 {
    call as u32
}

#[cfg(test)]
mod tests {
    use stanchion_queues::{DeadLetter, Depth, MessageId};

    use super::*;

    /// Each call takes a tick of its own.
    struct Ticking {
        ticks: Ticks,
        inside: Vec<u64>,
    }

    impl Ticking {
        fn tick(&mut self) {
            self.inside.push(self.ticks.next());
        }
    }

    impl Session for Ticking {
        fn send(&mut self, messages: &[Message]) -> Vec<Sent> {
            self.tick();
            messages.iter().map(|_| Sent::Confirmed(MessageId(0))).collect()
        }

        fn receive(&mut self, _: usize, _: Duration) -> Result<Vec<Delivery>, Error> {
            self.tick();
            Ok(Vec::new())
        }

        fn settle(&mut self, settlements: &[Settlement]) -> Vec<Settled> {
            self.tick();
            settlements.iter().map(|_| Settled::Stale).collect()
        }

        fn extend(&mut self, _: Receipt, _: Duration) -> Settled {
            self.tick();
            Settled::Stale
        }

        fn dead_letters(&mut self, _: usize) -> Result<Vec<DeadLetter>, Error> {
            self.tick();
            Ok(Vec::new())
        }

        fn redrive(&mut self, _: usize) -> Result<usize, Error> {
            self.tick();
            Ok(0)
        }

        fn depth(&mut self) -> Result<Depth, Error> {
            self.tick();
            Ok(Depth::default())
        }
    }

    /// Else an order would be claimed in which things did not happen.
    #[test]
    fn a_call_lies_between_its_ticks() {
        let (ticks, second) = (Ticks::default(), Duration::from_secs(1));
        let mut session = Ticking { ticks: ticks.clone(), inside: Vec::new() };
        let mut recorder =
            Recorder::new(ticks.clone(), Clock::manual(), Actor(1), Vec::new(), crate::payload::decode);
        recorder.send(&mut session, &[(Token(1), Message::new(*b"body"))]);
        recorder.receive(&mut session, 1, second).expect("it is well");
        recorder.settle(&mut session, &[(Receipt(1), Settle::Ack)]);
        recorder.extend(&mut session, Receipt(1), second);
        recorder.browse(&mut session, 1).expect("it is well");
        recorder.redrive(&mut session, 1).expect("it is well");
        recorder.depth(&mut session).expect("it is well");
        recorder.note_while(Actor(1), What::Lost, || session.tick());
        assert_eq!((recorder.sink.len(), session.inside.len()), (8, 8));
        for (event, inside) in recorder.sink.iter().zip(session.inside) {
            assert!(event.call < inside && inside < event.ret, "{inside} is not within {event:?}");
        }
    }
}
