//! The simplest correct broker, run by random operations, in one thread, writing the history as it goes.
//!
//! It decides at random whatever a contract leaves open: whether an operation in doubt took effect, what a
//! crash takes that it was allowed to take, whether a deadline that is just now has passed.

use std::time::Duration;

use stanchion_queues::{
    Answer, Attempt, Batches, Contract, Count, Counting, Crash, DeadLettering, Death, Depth, Durability,
    Leases, MessageId, Order, Reason, Refusal, Requeue, Retries, Settle, Time,
};

use super::scripted::{SECOND, Script, body};
use crate::dice::Dice;
use crate::history::{Handle, History, Letter, Outcome, SendOutcome, Token, What};

#[derive(Clone, Copy, PartialEq)]
enum State {
    Ready,
    Leased {
        handle: u64,
        deadline: Time,
        actor: u32,
    },
    Delayed {
        until: Time,
    },
    Dead {
        reason: Reason,
        death: u64,
    },
    Acked,
    /// Dropped, out of attempts.
    Dropped,
}

#[derive(Clone)]
struct Stored {
    token: u64,
    id: u64,
    since: Time,
    place: u64,
    counted: u32,
    handed: u32,
    /// Out of attempts; the next receive that comes upon it kills it.
    doomed: bool,
    state: State,
}

/// How a run goes wrong.
#[derive(Clone, Copy)]
pub(crate) struct Faults {
    pub(crate) doubt: bool,
    pub(crate) crashes: bool,
    /// Now and then it is started again with another limit.
    pub(crate) limits: bool,
}

struct Model {
    contract: Contract,
    dice: Dice,
    script: Script,
    faults: Faults,
    stored: Vec<Stored>,
    actors: Vec<u32>,
    next_actor: u32,
    next_token: u64,
    next_id: u64,
    next_handle: u64,
    next_place: u64,
    deaths: u64,
    /// Receipts that consumers know.
    known: Vec<(u64, u32)>,
    retries: Vec<u64>,
    /// Whether a deadline that is just now has passed.
    eager: bool,
    /// How many receives in a row found nothing.
    nothing: usize,
}

/// A contract with every choice made at random.
pub(crate) fn any_contract(dice: &mut Dice) -> Contract {
    let durabilities = [Durability::None, Durability::Process, Durability::Power];
    let counts = [Count::Yes, Count::Yes, Count::No, Count::Maybe];
    let durable = dice.one_in(2);
    let places = [Requeue::Original, Requeue::Tail, Requeue::Unspecified];
    let answers = [Answer::Exact, Answer::Exact, Answer::Exact, Answer::Unreliable];
    let durability = |dice: &mut Dice| {
        if durable { Durability::Power } else { dice.pick(&durabilities) }
    };
    Contract {
        sends: durability(dice),
        acks: durability(dice),
        counts: durability(dice),
        delays: durability(dice),
        synced_every: dice.pick(&[None, Some(3 * SECOND)]),
        sole_owner: dice.one_in(2),
        order: dice.pick(&[Order::Fifo, Order::Fifo, Order::PerProducer, Order::Unordered]),
        capacity: dice.pick(&[None, Some(2), Some(5)]),
        leases: Leases { end_with_session: dice.one_in(2), end_with_crash: dice.one_in(2) },
        stale_refused: !dice.one_in(4),
        deliveries_allowed: dice.pick(&[None, Some(1), Some(2), Some(3)]),
        counting: if dice.one_in(2) {
            Counting::AT_HAND_OVER
        } else {
            Counting {
                nack: dice.pick(&counts),
                expiry: dice.pick(&counts),
                session_loss: dice.pick(&counts),
                crash: dice.pick(&counts),
            }
        },
        dead_lettering: dice.pick(&[DeadLettering::Atomic, DeadLettering::Atomic, DeadLettering::Dropped]),
        redrive_resets: !dice.one_in(3),
        requeue: dice.pick(&places),
        redriven: dice.pick(&places),
        empty: dice.pick(&answers),
        full: dice.pick(&answers),
        retries: dice.pick(&[Retries::Stored, Retries::Stored, Retries::Deduplicated]),
        batches: dice.pick(&[Batches::Items, Batches::Items, Batches::Whole]),
        attempt: dice.pick(&[Attempt::Counted, Attempt::Counted, Attempt::Ordinal]),
        death: dice.pick(&[Death::AtOnce, Death::AtOnce, Death::NextReceive]),
        ..Contract::in_memory()
    }
}

/// Runs so many operations, then drains.
pub(crate) fn run(contract: Contract, faults: Faults, seed: u64, operations: usize) -> History {
    let mut dice = Dice::new(seed);
    let eager = dice.one_in(2);
    let mut model = Model {
        script: Script::new(contract.clone()),
        contract,
        dice,
        faults,
        stored: Vec::new(),
        actors: vec![1, 2, 3],
        next_actor: 4,
        next_token: 1,
        next_id: 1,
        next_handle: 1,
        next_place: 1,
        deaths: 0,
        known: Vec::new(),
        retries: Vec::new(),
        eager,
        nothing: 0,
    };
    for actor in 1..=3 {
        model.script.event(actor, What::Opened);
    }
    for _ in 0..operations {
        model.step();
    }
    model.drain();
    model.script.history()
}

impl Model {
    fn now(&self) -> Time {
        self.script.now()
    }

    /// Whether an operation loses its answer, and whether it takes effect all the same.
    fn doubt(&mut self) -> (bool, bool) {
        let doubt = self.faults.doubt && self.dice.one_in(8);
        (doubt, !doubt || self.dice.one_in(2))
    }

    fn step(&mut self) {
        let actor = self.dice.pick(&self.actors.clone());
        let choice = self.dice.below(24);
        // Nobody can tell whether a broker looks at its clock before it dies.
        if choice < 22 || self.dice.one_in(2) {
            self.sweep();
        }
        match choice {
            0..=5 => self.send(actor),
            6..=11 => self.receive(actor),
            12..=15 => self.settle(actor),
            16 => self.extend(actor),
            17 => self.browse(actor),
            18 if self.dice.one_in(2) => self.redrive(actor),
            18 | 19 => self.depth(actor),
            20 | 21 => {
                let by = self.dice.pick(&[1, 2, 4, 5, 6, 10, 11]) * SECOND;
                self.script.advance(by);
            }
            22 => self.lose(actor),
            _ if self.faults.crashes && self.dice.one_in(2) => self.crash(),
            _ => {}
        }
    }

    fn sweep(&mut self) {
        let now = self.now();
        let eager = self.eager;
        let over = |time: Time| time < now || eager && time == now;
        let mut expired: Vec<(Time, usize)> = Vec::new();
        for (at, stored) in self.stored.iter_mut().enumerate() {
            match stored.state {
                State::Leased { deadline, .. } if over(deadline) => expired.push((deadline, at)),
                State::Delayed { until } if over(until) => stored.state = State::Ready,
                _ => {}
            }
        }
        // What ran out since it last looked may be seen in any order.
        expired.sort_unstable();
        if self.dice.one_in(2) {
            expired.reverse();
        }
        for (_, at) in expired {
            self.fail(at, self.contract.counting.expiry, Duration::ZERO);
        }
    }

    /// Ends an attempt of a leased message without an ack.
    fn fail(&mut self, at: usize, count: Count, delay: Duration) {
        let counts = match count {
            Count::Yes => true,
            Count::No => false,
            Count::Maybe => self.dice.one_in(2),
        };
        let now = self.now();
        self.stored[at].counted += u32::from(counts);
        if self.contract.deliveries_allowed.is_some_and(|allowed| self.stored[at].counted >= allowed)
            && counts
        {
            if self.contract.death == Death::AtOnce {
                return self.kill(at, Reason::Attempts);
            }
            self.stored[at].doomed = true;
        }
        self.requeue(at, self.contract.requeue);
        if !delay.is_zero() {
            self.stored[at].state = State::Delayed { until: now + delay };
        }
    }

    fn requeue(&mut self, at: usize, to: Requeue) {
        let place = match to {
            Requeue::Original => self.stored[at].id,
            Requeue::Tail => self.place(),
            Requeue::Unspecified => self.dice.below(self.next_place + 1),
        };
        self.stored[at].place = place;
        self.stored[at].state = State::Ready;
    }

    fn place(&mut self) -> u64 {
        self.next_place += 1;
        self.next_place
    }

    fn kill(&mut self, at: usize, reason: Reason) {
        self.deaths += 1;
        self.stored[at].doomed = false;
        self.stored[at].state = match self.contract.dead_lettering {
            DeadLettering::Atomic => State::Dead { reason, death: self.deaths },
            DeadLettering::Dropped if reason == Reason::Attempts => State::Dropped,
            DeadLettering::Dropped => State::Acked,
        };
    }

    fn resident(&self) -> u64 {
        let gone =
            |stored: &&Stored| !matches!(stored.state, State::Dead { .. } | State::Acked | State::Dropped);
        self.stored.iter().filter(gone).count() as u64
    }

    fn send(&mut self, actor: u32) {
        let items = 1 + self.dice.below(3);
        let room =
            self.contract.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.resident()));
        let refused = self.contract.batches == Batches::Whole && items > room;
        for item in 0..items {
            let token = if !self.retries.is_empty() && self.dice.one_in(3) {
                let at = self.dice.below(self.retries.len() as u64) as usize;
                self.retries.swap_remove(at)
            } else {
                self.next_token += 1;
                self.next_token
            };
            let delay = if self.dice.one_in(5) { 5 * SECOND } else { Duration::ZERO };
            let (doubt, effect) = self.doubt();
            let full = self.contract.capacity.is_some_and(|capacity| self.resident() >= capacity);
            let lie = self.contract.full == Answer::Unreliable
                && self.contract.batches == Batches::Items
                && self.dice.one_in(8);
            let mut outcome = SendOutcome::Refused(Refusal::Full);
            let known = self.stored.iter().find(|stored| stored.token == token).map(|stored| stored.id);
            if let Some(id) = known.filter(|_| self.contract.retries == Retries::Deduplicated && !refused) {
                outcome = SendOutcome::Confirmed(MessageId(id));
            } else if effect && !full && !refused && !lie {
                let (id, place) = (self.next_id, self.place().max(self.next_id));
                self.next_place = place;
                self.next_id = place.max(self.next_id) + 1;
                let until = self.now() + delay;
                let state = if delay.is_zero() { State::Ready } else { State::Delayed { until } };
                let since = self.now();
                let (counted, handed, doomed) = (0, 0, false);
                self.stored.push(Stored { token, id, since, place, counted, handed, doomed, state });
                outcome = SendOutcome::Confirmed(MessageId(id));
            }
            if doubt {
                outcome = SendOutcome::InDoubt;
            }
            if outcome == SendOutcome::InDoubt || self.dice.one_in(20) {
                self.retries.push(token);
            }
            let what = What::Send { token: Token(token), key: None, body: body(token), delay, outcome };
            if item == 0 {
                self.script.event(actor, what);
            } else {
                self.script.also(actor, what);
            }
        }
    }

    fn receive(&mut self, actor: u32) {
        let (max, lease) = (1 + self.dice.below(3), self.dice.pick(&[5, 10]) * SECOND);
        let (doubt, effect) = self.doubt();
        let mut ready: Vec<(u64, usize)> = self
            .stored
            .iter()
            .enumerate()
            .filter(|(_, stored)| stored.state == State::Ready)
            .map(|(at, stored)| (stored.place, at))
            .collect();
        ready.sort_unstable();
        match self.contract.order {
            Order::Fifo => {}
            // Each producer's in order, and nothing between them: the same order is one of those.
            Order::PerProducer => {}
            Order::Unordered => {
                for last in (1..ready.len()).rev() {
                    let other = self.dice.below(last as u64 + 1) as usize;
                    ready.swap(last, other);
                }
            }
        }
        let lie = self.contract.empty == Answer::Unreliable
            && self.nothing + 1 < Answer::PATIENCE
            && self.dice.one_in(3);
        let mut chosen = Vec::new();
        for (place, at) in ready {
            if !effect || lie || chosen.len() as u64 == max {
                break;
            }
            if self.stored[at].doomed {
                self.kill(at, Reason::Attempts);
            } else {
                chosen.push((place, at));
            }
        }
        let ready = chosen;
        self.nothing = if ready.is_empty() && !doubt { self.nothing + 1 } else { 0 };
        let deadline = self.now() + lease;
        let got = (!doubt).then_some(ready.len() as u64);
        self.script.event(actor, What::Receive { max, got, lease });
        for (_, at) in ready {
            let handle = self.next_handle;
            self.next_handle += 1;
            let stored = &mut self.stored[at];
            stored.state = State::Leased { handle, deadline, actor };
            stored.handed += 1;
            let attempt = match self.contract.attempt {
                Attempt::Counted => stored.counted + 1,
                Attempt::Ordinal => stored.handed,
            };
            if !doubt {
                self.known.push((handle, actor));
                let what = What::Deliver {
                    token: Some(Token(stored.token)),
                    id: MessageId(stored.id),
                    handle: Handle(handle),
                    attempt,
                    deadline,
                    lease,
                    key: None,
                    body: body(stored.token),
                };
                self.script.also(actor, what);
            }
        }
    }

    fn holder(&self, handle: u64) -> Option<usize> {
        self.stored
            .iter()
            .position(|stored| matches!(stored.state, State::Leased { handle: held, .. } if held == handle))
    }

    fn handle(&mut self) -> Option<u64> {
        // Recent receipts more often than old ones.
        let last = self.known.len() as u64;
        if last == 0 {
            return None;
        }
        let back = if self.dice.one_in(4) { self.dice.below(last) } else { self.dice.below(last.min(3)) };
        Some(self.known[(last - 1 - back) as usize].0)
    }

    /// What a caller is told.
    fn told(&self, doubt: bool, effect: bool, refused: bool) -> Outcome {
        match (doubt, effect) {
            (true, _) => Outcome::InDoubt,
            (false, true) => Outcome::Done,
            (false, false) if refused => Outcome::Stale,
            (false, false) => Outcome::Done,
        }
    }

    fn settle(&mut self, actor: u32) {
        for item in 0..1 + self.dice.below(2) {
            let Some(handle) = self.handle() else { return };
            let how = match self.dice.below(8) {
                0..=2 => Settle::Ack,
                3..=5 => Settle::Nack { delay: Duration::ZERO },
                6 => Settle::Nack { delay: 5 * SECOND },
                _ => Settle::Reject,
            };
            let (doubt, effect) = self.doubt();
            let holder = self.holder(handle);
            if let Some(at) = holder.filter(|_| effect) {
                match how {
                    Settle::Ack => self.stored[at].state = State::Acked,
                    Settle::Nack { delay } => self.fail(at, self.contract.counting.nack, delay),
                    Settle::Reject => {
                        self.stored[at].counted += 1;
                        self.kill(at, Reason::Rejected);
                    }
                }
            }
            let refused = self.contract.stale_refused || self.dice.one_in(2);
            let outcome = self.told(doubt, holder.is_some(), refused);
            let what = What::Settle { handle: Handle(handle), how, outcome };
            if item == 0 {
                self.script.event(actor, what);
            } else {
                self.script.also(actor, what);
            }
        }
    }

    fn extend(&mut self, actor: u32) {
        let Some(handle) = self.handle() else { return };
        let lease = self.dice.pick(&[3, 8]) * SECOND;
        let (doubt, effect) = self.doubt();
        let holder = self.holder(handle);
        let until = self.now() + lease;
        if let Some(at) = holder.filter(|_| effect)
            && let State::Leased { deadline, .. } = &mut self.stored[at].state
        {
            *deadline = until.max(*deadline);
        }
        let refused = self.contract.stale_refused || self.dice.one_in(2);
        let outcome = self.told(doubt, holder.is_some(), refused);
        self.script.event(actor, What::Extend { handle: Handle(handle), lease, outcome });
    }

    fn dead(&self) -> Vec<usize> {
        let mut dead: Vec<(u64, usize)> = self
            .stored
            .iter()
            .enumerate()
            .filter_map(|(at, stored)| match stored.state {
                State::Dead { death, .. } => Some((death, at)),
                _ => None,
            })
            .collect();
        dead.sort_unstable();
        dead.into_iter().map(|(_, at)| at).collect()
    }

    fn browse(&mut self, actor: u32) {
        let max = self.dice.pick(&[1, 2, 100]);
        let letters = self
            .dead()
            .into_iter()
            .take(max as usize)
            .map(|at| {
                let stored = &self.stored[at];
                let State::Dead { reason, .. } = stored.state else {
                    unreachable!("only the dead are listed")
                };
                Letter {
                    token: Some(Token(stored.token)),
                    id: MessageId(stored.id),
                    reason,
                    attempts: stored.counted,
                    key: None,
                    body: body(stored.token),
                }
            })
            .collect();
        self.script.event(actor, What::Browse { max, letters: Some(letters) });
    }

    fn redrive(&mut self, actor: u32) {
        let max = self.dice.pick(&[1, 2, 100]);
        let (doubt, effect) = self.doubt();
        let mut dead = self.dead();
        let room = self.contract.capacity.map_or(max, |capacity| capacity.saturating_sub(self.resident()));
        dead.truncate(if effect { max.min(room) as usize } else { 0 });
        for &at in &dead {
            if self.contract.redrive_resets {
                (self.stored[at].counted, self.stored[at].handed) = (0, 0);
            }
            self.requeue(at, self.contract.redriven);
        }
        self.script.event(actor, What::Redrive { max, moved: (!doubt).then_some(dead.len() as u64) });
    }

    fn depth(&mut self, actor: u32) {
        self.sweep();
        let mut depth = Depth::default();
        for stored in &self.stored {
            match stored.state {
                State::Ready => depth.ready += 1,
                State::Leased { .. } => depth.in_flight += 1,
                State::Delayed { .. } => depth.delayed += 1,
                State::Dead { .. } => depth.dead += 1,
                State::Acked | State::Dropped => {}
            }
        }
        self.script.event(actor, What::Depth { depth: Some(depth) });
    }

    fn lose(&mut self, actor: u32) {
        if self.contract.leases.end_with_session {
            for at in 0..self.stored.len() {
                if matches!(self.stored[at].state, State::Leased { actor: holder, .. } if holder == actor) {
                    self.fail(at, self.contract.counting.session_loss, Duration::ZERO);
                }
            }
        }
        self.script.lose(actor);
        self.replace(actor);
    }

    fn replace(&mut self, actor: u32) {
        let new = self.next_actor;
        self.next_actor += 1;
        for name in &mut self.actors {
            if *name == actor {
                *name = new;
            }
        }
        self.script.event(new, What::Opened);
    }

    fn crash(&mut self) {
        let crash = self.dice.pick(&[Crash::Process, Crash::Power]);
        let needed = if crash == Crash::Process { Durability::Process } else { Durability::Power };
        let survives = |promise: Durability| promise >= needed;
        let contract = self.contract.clone();
        for at in 0..self.stored.len() {
            if let State::Leased { .. } = self.stored[at].state
                && contract.leases.end_with_crash
            {
                self.fail(at, contract.counting.crash, Duration::ZERO);
            }
            let reason = match self.stored[at].state {
                State::Dead { reason, .. } => Some(reason),
                _ => None,
            };
            let settled = self.stored[at].state == State::Acked || reason == Some(Reason::Rejected);
            if settled && !survives(contract.acks) && self.dice.one_in(2) {
                self.requeue(at, Requeue::Unspecified);
            }
            if !survives(contract.counts) && self.stored[at].counted > 0 && self.dice.one_in(2) {
                self.stored[at].counted = self.dice.below(self.stored[at].counted.into()) as u32;
                self.stored[at].handed = self.dice.below(self.stored[at].handed.into()) as u32;
                self.stored[at].doomed = false;
                if reason == Some(Reason::Attempts) || self.stored[at].state == State::Dropped {
                    self.requeue(at, Requeue::Unspecified);
                }
            }
            if matches!(self.stored[at].state, State::Delayed { .. })
                && !survives(contract.delays)
                && self.dice.one_in(2)
            {
                self.stored[at].state = State::Ready;
            }
        }
        if !survives(contract.sends) {
            let all = contract.sends == Durability::None;
            let now = self.now();
            let synced =
                |stored: &Stored| contract.synced_every.is_some_and(|every| stored.since + every <= now);
            let dice = &mut self.dice;
            self.stored.retain(|stored| synced(stored) || !all && dice.one_in(2));
        }
        // What stood where is nobody's promise after a crash.
        if self.dice.one_in(2) {
            for at in 0..self.stored.len() {
                self.stored[at].place = self.dice.below(self.next_place + 1);
            }
        }
        self.script.crash(crash);
        if self.faults.limits && self.contract.deliveries_allowed.is_some() && self.dice.one_in(3) {
            self.limit();
        }
        for actor in self.actors.clone() {
            self.replace(actor);
        }
    }

    /// It is started with another limit. What has had more attempts may die at once, or after one more.
    fn limit(&mut self) {
        let allowed = self.dice.pick(&[1, 2, 3, 4]);
        self.contract.deliveries_allowed = Some(allowed);
        self.script.event(0, What::Limited { deliveries_allowed: allowed });
        if self.dice.one_in(2) {
            return;
        }
        for at in 0..self.stored.len() {
            let waits = matches!(self.stored[at].state, State::Ready | State::Delayed { .. });
            if waits && self.stored[at].counted >= allowed {
                self.kill(at, Reason::Attempts);
            }
        }
    }

    fn drain(&mut self) {
        self.faults = Faults { doubt: false, crashes: false, limits: false };
        let actor = self.actors[0];
        self.script.event(0, What::DrainBegan);
        loop {
            self.script.advance(100 * SECOND);
            self.sweep();
            let before = self.known.len();
            self.receive(actor);
            if self.known.len() == before {
                let patience = if self.contract.empty == Answer::Unreliable { Answer::PATIENCE } else { 1 };
                if (1..patience).all(|_| {
                    self.receive(actor);
                    self.known.len() == before
                }) {
                    break;
                }
            }
            for known in before..self.known.len() {
                let handle = self.known[known].0;
                let at = self.holder(handle).expect("it was just delivered");
                self.stored[at].state = State::Acked;
                self.script.ack(actor, handle);
            }
        }
        self.browse(actor);
        self.depth(actor);
        self.script.event(0, What::DrainEnded { quiet: true });
        self.depth(actor);
        self.browse(actor);
    }
}
