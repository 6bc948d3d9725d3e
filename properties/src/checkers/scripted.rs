//! Writes histories by hand, one line per event. Each call takes two ticks and no time unless told otherwise.

use std::time::Duration;

use stanchion_queues::{Contract, Crash, Depth, MessageId, Reason, Refusal, Settle, Time};

use crate::history::{
    Actor, Digest, Event, HARNESS, Handle, History, Letter, Observed, Outcome, PENDING, SendOutcome, Token,
    What,
};

/// A second.
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A history in the making.
#[derive(Clone)]
pub(crate) struct Script {
    contract: Contract,
    events: Vec<Event>,
    tick: u64,
    now: Time,
    op: u32,
}

/// The body that a token is sent with.
pub(crate) fn body(token: u64) -> Digest {
    Digest(token.wrapping_mul(7) + 1)
}

/// One delivery: token, handle, attempt. The id is the token's own number.
pub(crate) type Got = (u64, u64, u32);

impl Script {
    pub(crate) fn new(contract: Contract) -> Script {
        Script { contract, events: Vec::new(), tick: 0, now: Time::ZERO, op: 0 }
    }

    /// How many events there are.
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn now(&self) -> Time {
        self.now
    }

    /// Adds one event with an interval of its own.
    pub(crate) fn event(&mut self, actor: u32, what: What) -> &mut Script {
        self.tick += 2;
        self.op += 1;
        self.also(actor, what)
    }

    /// Adds one event that shares the interval of the one before it.
    pub(crate) fn also(&mut self, actor: u32, what: What) -> &mut Script {
        self.events.push(Event {
            call: self.tick,
            ret: self.tick + 1,
            at: self.now,
            until: self.now,
            actor: Actor(actor),
            op: self.op,
            what,
        });
        self
    }

    /// Makes the last call (all events of its batch) begin so many ticks earlier and end so many later.
    pub(crate) fn wide(&mut self, earlier: u64, later: u64) -> &mut Script {
        for event in self.events.iter_mut().rev().take_while(|event| event.op == self.op) {
            (event.call, event.ret) = (event.call - earlier, event.ret + later);
        }
        self
    }

    /// Makes the last call (all events of its batch) end so much later on the broker's clock.
    pub(crate) fn slow(&mut self, by: Duration) -> &mut Script {
        for event in self.events.iter_mut().rev().take_while(|event| event.op == self.op) {
            event.until = event.until + by;
        }
        self
    }

    /// Makes the last call one that never returned.
    pub(crate) fn pending(&mut self) -> &mut Script {
        for event in self.events.iter_mut().rev().take_while(|event| event.op == self.op) {
            (event.ret, event.until) = (PENDING, Time::FAR_FUTURE);
        }
        self
    }

    /// A confirmed send under an id that equals the token.
    pub(crate) fn send(&mut self, actor: u32, token: u64) -> &mut Script {
        self.send_as(actor, token, Duration::ZERO, SendOutcome::Confirmed(MessageId(token)))
    }

    pub(crate) fn send_as(
        &mut self,
        actor: u32,
        token: u64,
        delay: Duration,
        outcome: SendOutcome,
    ) -> &mut Script {
        let what = What::Send { token: Token(token), key: None, body: body(token), delay, outcome };
        self.event(actor, what)
    }

    pub(crate) fn send_in_doubt(&mut self, actor: u32, token: u64) -> &mut Script {
        self.send_as(actor, token, Duration::ZERO, SendOutcome::InDoubt)
    }

    pub(crate) fn send_full(&mut self, actor: u32, token: u64) -> &mut Script {
        self.send_as(actor, token, Duration::ZERO, SendOutcome::Refused(Refusal::Full))
    }

    /// A receive with a lease of ten seconds.
    pub(crate) fn receive(&mut self, actor: u32, got: &[Got]) -> &mut Script {
        let got: Vec<_> =
            got.iter().map(|&(token, handle, attempt)| (token, token, handle, attempt)).collect();
        self.receive_ids(actor, &got)
    }

    /// The same with ids: token, id, handle, attempt.
    pub(crate) fn receive_ids(&mut self, actor: u32, got: &[(u64, u64, u64, u32)]) -> &mut Script {
        let lease = 10 * SECOND;
        self.event(actor, What::Receive { max: 10, got: Some(got.len() as u64), lease });
        for &(token, id, handle, attempt) in got {
            let deadline = self.now + lease;
            self.also(
                actor,
                What::Deliver {
                    token: Some(Token(token)),
                    id: MessageId(id),
                    handle: Handle(handle),
                    attempt,
                    deadline,
                    lease,
                    key: None,
                    body: body(token),
                },
            );
        }
        self
    }

    /// A receive of at most `max` with this lease.
    pub(crate) fn receive_at_most(
        &mut self,
        actor: u32,
        max: u64,
        lease: Duration,
        got: &[Got],
    ) -> &mut Script {
        self.receive(actor, got);
        let (op, now) = (self.op, self.now);
        for event in self.events.iter_mut().rev().take_while(|event| event.op == op) {
            match &mut event.what {
                What::Receive { max: asked, lease: held, .. } => (*asked, *held) = (max, lease),
                What::Deliver { lease: held, deadline, .. } => (*held, *deadline) = (lease, now + lease),
                _ => {}
            }
        }
        self
    }

    pub(crate) fn receive_in_doubt(&mut self, actor: u32, max: u64) -> &mut Script {
        self.event(actor, What::Receive { max, got: None, lease: 10 * SECOND })
    }

    pub(crate) fn settle(&mut self, actor: u32, handle: u64, how: Settle, outcome: Outcome) -> &mut Script {
        self.event(actor, What::Settle { handle: Handle(handle), how, outcome })
    }

    pub(crate) fn ack(&mut self, actor: u32, handle: u64) -> &mut Script {
        self.settle(actor, handle, Settle::Ack, Outcome::Done)
    }

    pub(crate) fn nack(&mut self, actor: u32, handle: u64) -> &mut Script {
        self.settle(actor, handle, Settle::Nack { delay: Duration::ZERO }, Outcome::Done)
    }

    pub(crate) fn reject(&mut self, actor: u32, handle: u64) -> &mut Script {
        self.settle(actor, handle, Settle::Reject, Outcome::Done)
    }

    pub(crate) fn extend(&mut self, actor: u32, handle: u64, seconds: u32, outcome: Outcome) -> &mut Script {
        self.event(actor, What::Extend { handle: Handle(handle), lease: seconds * SECOND, outcome })
    }

    /// A browse of at most 100: token, reason, attempts.
    pub(crate) fn browse(&mut self, actor: u32, letters: &[(u64, Reason, u32)]) -> &mut Script {
        let letters = letters
            .iter()
            .map(|&(token, reason, attempts)| Letter {
                token: Some(Token(token)),
                id: MessageId(token),
                reason,
                attempts,
                key: None,
                body: body(token),
            })
            .collect();
        self.event(actor, What::Browse { max: 100, letters: Some(letters) })
    }

    pub(crate) fn redrive(&mut self, actor: u32, max: u64, moved: u64) -> &mut Script {
        self.event(actor, What::Redrive { max, moved: Some(moved) })
    }

    /// Ready, in flight, delayed, dead.
    pub(crate) fn depth(&mut self, actor: u32, states: [u64; 4]) -> &mut Script {
        let [ready, in_flight, delayed, dead] = states;
        self.event(actor, What::Depth { depth: Some(Depth { ready, in_flight, delayed, dead }) })
    }

    pub(crate) fn advance(&mut self, by: Duration) -> &mut Script {
        self.event(HARNESS.0, What::Advanced { by });
        self.now = self.now + by;
        self.events.last_mut().expect("just added").until = self.now;
        self
    }

    pub(crate) fn lose(&mut self, actor: u32) -> &mut Script {
        self.event(actor, What::Lost)
    }

    /// A crash and a boot.
    pub(crate) fn crash(&mut self, crash: Crash) -> &mut Script {
        self.event(HARNESS.0, What::Crashed { crash }).event(HARNESS.0, What::Booted { error: None })
    }

    /// A drain that finds nothing.
    pub(crate) fn drain(&mut self) -> &mut Script {
        self.event(HARNESS.0, What::DrainBegan)
            .advance(1000 * SECOND)
            .receive(90, &[])
            .event(HARNESS.0, What::DrainEnded { quiet: true })
    }

    /// Entries of an effect store: token, effects, recorded.
    pub(crate) fn observe(&mut self, store: &[(u64, u32, bool)]) -> &mut Script {
        let store = store
            .iter()
            .map(|&(token, effects, recorded)| Observed { token: Token(token), effects, recorded })
            .collect();
        self.event(HARNESS.0, What::Observed { store, after_crash: false })
    }

    /// The history, its events in the order of their calls.
    pub(crate) fn history(&self) -> History {
        let mut events = self.events.clone();
        events.sort_by_key(|event| event.call);
        History { contract: self.contract.clone(), events }
    }
}
