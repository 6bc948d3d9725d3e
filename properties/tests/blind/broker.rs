//! A broker as somebody would write it who has read only the traits: a list of messages, each with its state.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use stanchion_queues::sync::{Mutex, MutexGuard};
use stanchion_queues::{
    Answer, Attempt, Batches, Broker, Bytes, Contract, Count, Counting, Crash, DeadLetter, DeadLettering,
    Death, Delivery, Depth, Durability, Error, Host, Message, MessageId, Order, Reason, Receipt, Refusal,
    Requeue, Retries, Sent, Session, Settings, Settle, Settled, Settlement, Time,
};

use crate::quirks::Quirk as Q;

#[derive(Clone, Copy, PartialEq)]
enum State {
    Ready,
    Delayed(Time),
    Leased(Time),
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Nack(Duration),
    Expiry,
    Loss,
    Crash,
}

#[derive(Clone)]
struct Entry {
    id: u64,
    key: Option<Arc<[u8]>>,
    body: Arc<[u8]>,
    state: State,
    receipt: Option<u128>,
    /// Who received it last, and when, and until when at first.
    owner: u64,
    received: Time,
    first_until: Time,
    /// Deliveries, and those of them that do not count.
    handed: u32,
    uncounted: u32,
    sender: u64,
    nacked: bool,
    sent: Time,
    extended: bool,
    /// Attempts of lives before a redrive, and every receipt so far.
    past: u32,
    issued: Vec<u128>,
}

impl Entry {
    fn counted(&self) -> u32 {
        self.handed - self.uncounted
    }
}

struct Dead {
    entry: Entry,
    reason: Reason,
    attempts: u32,
}

struct Store {
    quirk: Q,
    settings: Settings,
    entries: Vec<Entry>,
    dead: Vec<Dead>,
    ever_dead: Vec<u64>,
    redriven: Vec<(u64, u32)>,
    known: Vec<(Arc<[u8]>, u64)>,
    latest_reject: Option<u64>,
    latest_ack: Option<Entry>,
    latest_nack: Option<Entry>,
    ever_redriven: Vec<u64>,
    batch_tail: Option<u64>,
    next_id: u64,
    receipts: Arc<AtomicU64>,
    sessions: u64,
    live: u64,
    epoch: u64,
    /// Slots lost, or won, by mistake.
    leaked: i64,
    acked_unswept: usize,
    stale_seen: bool,
    turn: u64,
    random: u64,
}

impl Store {
    fn new(quirk: Q, settings: &Settings, receipts: Arc<AtomicU64>) -> Store {
        Store {
            quirk,
            settings: settings.clone(),
            entries: Vec::new(),
            dead: Vec::new(),
            ever_dead: Vec::new(),
            redriven: Vec::new(),
            known: Vec::new(),
            latest_reject: None,
            latest_ack: None,
            latest_nack: None,
            ever_redriven: Vec::new(),
            batch_tail: None,
            next_id: 1,
            receipts,
            sessions: 0,
            live: 0,
            epoch: 0,
            leaked: 0,
            acked_unswept: 0,
            stale_seen: false,
            turn: 0,
            random: settings.seed | 1,
        }
    }

    fn is(&self, quirk: Q) -> bool {
        self.quirk == quirk
    }

    fn now(&self) -> Time {
        self.settings.clock.now()
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 20).is_multiple_of(one_in)
    }

    /// Fails now and then, if it is wrong in this way.
    fn fails(&mut self, quirk: Q, one_in: u64) -> Result<(), Error> {
        if self.is(quirk) && self.chance(one_in) { Err(Error::Gone("timed out".into())) } else { Ok(()) }
    }

    fn limit(&self) -> u32 {
        match self.quirk {
            Q::ReturnsCounted => self.settings.deliveries_allowed + 1,
            Q::NoLimit => u32::MAX,
            _ => self.settings.deliveries_allowed,
        }
    }

    fn room(&self) -> i64 {
        if self.is(Q::Unbounded) {
            return i64::MAX;
        }
        let in_flight = self.entries.iter().filter(|entry| matches!(entry.state, State::Leased(_))).count();
        let mut used = self.entries.len() as i64 + self.leaked + self.acked_unswept as i64;
        if self.is(Q::InFlightFree) {
            used -= in_flight as i64;
        }
        if self.is(Q::DelayedFree) {
            let delayed = self.entries.iter().filter(|entry| matches!(entry.state, State::Delayed(_)));
            used -= delayed.count() as i64;
        }
        if self.is(Q::DeadCounted) {
            used += self.dead.len() as i64;
        }
        self.settings.capacity as i64 - used
    }

    fn bury(&mut self, at: usize, reason: Reason) {
        let mut entry = self.entries.remove(at);
        if !self.is(Q::RedriveRevivesReceipt) {
            entry.receipt = None;
        }
        if self.is(Q::DeadKeysShift)
            && let Some(before) = self.dead.last()
        {
            entry.key = before.entry.key.clone();
        }
        if self.is(Q::SecondLifeForgotten)
            && reason == Reason::Rejected
            && self.ever_redriven.contains(&entry.id)
        {
            return;
        }
        let mut attempts = entry.counted();
        let mut reason = reason;
        if self.is(Q::SecondDeathAdds) {
            attempts += entry.past;
        }
        if self.is(Q::RejectAtLimitRenamed) && attempts >= self.limit() {
            reason = Reason::Attempts;
        }
        if self.is(Q::DeadAttemptsOfLimit) && reason == Reason::Rejected {
            attempts = self.limit();
        }
        if self.is(Q::RejectUncounted) && reason == Reason::Rejected {
            attempts -= 1;
        }
        if (self.is(Q::RejectKeepsSlot) && reason == Reason::Rejected)
            || (self.is(Q::DeathKeepsSlot) && reason == Reason::Attempts)
        {
            self.leaked += 1;
        }
        let again = self.ever_dead.contains(&entry.id);
        self.ever_dead.push(entry.id);
        if matches!(self.quirk, Q::DeadDropped | Q::LazyTailDropped) || (self.is(Q::DiesOnce) && again) {
            return;
        }
        if self.is(Q::DeadBodyCut) {
            entry.body = entry.body[..entry.body.len() - 1].into();
        }
        if reason == Reason::Rejected {
            self.latest_reject = Some(entry.id);
        }
        let dead = Dead { entry, reason, attempts };
        if self.is(Q::RejectReversed) && reason == Reason::Rejected {
            self.dead.insert(0, dead);
        } else {
            self.dead.push(dead);
        }
        if self.is(Q::DeadKeepsFour) && self.dead.len() > 4 {
            self.dead.remove(0);
        }
    }

    /// An attempt ended without an ack. Whether the message died.
    fn end(&mut self, at: usize, how: End, look: bool) -> bool {
        let (now, limit, quirk) = (self.now(), self.limit(), self.quirk);
        let forgiven = match (quirk, how) {
            (Q::ExpiryUncounted | Q::ExpiryUncountedOrdinal, End::Expiry)
            | (Q::LossUncounted, End::Loss)
            | (Q::NackUncounted, End::Nack(_))
            | (Q::NothingCounts, _)
            | (Q::CrashForgetsHeld, End::Crash)
            | (Q::CrashUncounted, End::Crash) => true,
            (Q::ExpiryMaybe, End::Expiry) | (Q::CrashMaybe, End::Crash) => self.chance(2),
            _ => false,
        };
        let entry = &mut self.entries[at];
        entry.uncounted += u32::from(forgiven);
        let keeps = quirk == Q::NackKeepsReceipt && matches!(how, End::Nack(delay) if !delay.is_zero());
        if !keeps && quirk != Q::ExtendMovesDelay {
            entry.receipt = None;
        }
        let delayed = matches!(how, End::Nack(delay) if !delay.is_zero());
        let spared = match quirk {
            Q::NackSparesLast => delayed,
            Q::LossSpares => how == End::Loss,
            Q::CrashSpares => how == End::Crash,
            Q::DepthSpares => !look,
            Q::LazyDeath | Q::LazyWhole | Q::LazyTailDropped => true,
            _ => false,
        };
        let limit = limit.saturating_add(u32::from(quirk == Q::SecondLifeLonger && entry.past > 0));
        if entry.counted() >= limit && !spared {
            if quirk == Q::DeathByExpiryDropped && how == End::Expiry {
                self.entries.remove(at);
                return true;
            }
            self.bury(at, Reason::Attempts);
            return true;
        }
        entry.nacked = matches!(how, End::Nack(_));
        entry.state = match how {
            End::Nack(delay) if delay.is_zero() => State::Ready,
            End::Nack(delay) => State::Delayed(match quirk {
                Q::NackFromDeadline => entry.first_until + delay,
                Q::NackFromReceive => entry.received + delay,
                _ => now + delay,
            }),
            End::Expiry if quirk == Q::ExpiryBacksOff => State::Delayed(now + Duration::from_millis(5)),
            End::Loss if quirk == Q::LossWaits => State::Delayed(entry.first_until),
            _ => State::Ready,
        };
        if quirk == Q::NackResets && delayed {
            entry.uncounted = entry.handed;
        }
        if quirk == Q::NackOfLostMessage && delayed && entry.handed > 1 && entry.key.is_some() {
            entry.key = Some(Arc::from(&b"retry"[..]));
        }
        let tail = match quirk {
            Q::RequeueTail | Q::TailOutlives | Q::LazyTailDropped => true,
            Q::RequeueMixed => how == End::Expiry,
            Q::LossToTail => how == End::Loss,
            Q::ExpiryToTail => how == End::Expiry,
            Q::NackDelayedToTail => delayed,
            _ => false,
        };
        if tail {
            let entry = self.entries.remove(at);
            self.entries.push(entry);
        }
        false
    }

    /// Ends what has ended by now.
    fn sweep(&mut self, look: bool) {
        let (now, quirk) = (self.now(), self.quirk);
        let mut at = 0;
        if self.is(Q::DelayMeetsDeadline) {
            let ends: Vec<Time> = self
                .entries
                .iter()
                .filter_map(|entry| match entry.state {
                    State::Leased(until) if until <= now => Some(until),
                    _ => None,
                })
                .collect();
            for entry in &mut self.entries {
                if let State::Delayed(until) = &mut entry.state
                    && ends.contains(until)
                {
                    *until = *until + Duration::from_millis(1);
                }
            }
        }
        while at < self.entries.len() {
            if matches!(self.entries[at].state, State::Delayed(until) if until <= now) {
                self.entries[at].state = State::Ready;
                self.entries[at].receipt = None;
                if self.is(Q::DelayedSendToTail) && self.entries[at].handed == 0 {
                    let entry = self.entries.remove(at);
                    self.entries.push(entry);
                    continue;
                }
                if self.is(Q::DelayedDropped) && self.room() == 0 && !self.entries[at].nacked {
                    self.entries.remove(at);
                    continue;
                }
            }
            at += 1;
        }
        let mut ended: Vec<(Time, u64)> = self
            .entries
            .iter()
            .filter_map(|entry| match entry.state {
                State::Leased(until) if until == now && quirk == Q::DeadlineInclusive => None,
                State::Leased(until) if until <= now => Some((until, entry.id)),
                _ => None,
            })
            .collect();
        if self.is(Q::ExpirySwaps) && ended.len() > 1 {
            let place = |id| self.entries.iter().position(|entry| entry.id == id).expect("it is there");
            let (first, second) = (place(ended[0].1), place(ended[1].1));
            self.entries.swap(first, second);
        }
        if !self.is(Q::DeathInStoreOrder) && !self.is(Q::SweepSkipsNext) {
            ended.sort_by_key(|&(until, _)| until);
        }
        let mut skip = None;
        for (_, id) in ended {
            let Some(at) = self.entries.iter().position(|entry| entry.id == id) else { continue };
            if self.is(Q::SweepSkipsNext) && skip == Some(at) {
                skip = None;
                continue;
            }
            skip = self.end(at, End::Expiry, look).then_some(at);
        }
    }

    fn send(&mut self, sender: u64, messages: &[Message]) -> Vec<Sent> {
        if !self.is(Q::SendUnswept) {
            self.sweep(true);
        }
        let full = || Sent::Refused(Refusal::Full);
        if matches!(self.quirk, Q::AllOrNothing | Q::LazyWhole | Q::WholeUnreliable)
            && self.room() < messages.len() as i64
        {
            return messages.iter().map(|_| full()).collect();
        }
        if self.is(Q::WholeUnreliable) && self.chance(8) {
            return messages.iter().map(|_| full()).collect();
        }
        let mut outcomes: Vec<Sent> = Vec::new();
        let room_at_first = self.room() > 0;
        for message in messages {
            if self.is(Q::RetriesDeduplicated)
                && let Some((_, id)) = self.known.iter().find(|(body, _)| *body == message.body)
            {
                outcomes.push(Sent::Confirmed(MessageId(*id)));
                continue;
            }
            let limit = BODY_LIMIT.0 as usize;
            if self.is(Q::LimitKept) && message.body.len() > limit {
                outcomes.push(Sent::Refused(Refusal::TooLarge));
                continue;
            }
            if self.is(Q::FullDropsDelayed) && self.room() <= 0 {
                let delayed = |entry: &Entry| matches!(entry.state, State::Delayed(_));
                if let Some(at) = self.entries.iter().position(delayed) {
                    self.entries.remove(at);
                }
            }
            if self.is(Q::CapacityOneReplaces)
                && self.settings.capacity == 1
                && self.entries.first().is_some_and(|entry| entry.state == State::Ready)
            {
                self.entries.clear();
            }
            let unlooked = self.is(Q::BatchOverfills) && room_at_first;
            if (self.room() <= 0 && !unlooked) || (self.is(Q::FullRelaxed) && self.chance(8)) {
                outcomes.push(full());
                continue;
            }
            if self.is(Q::Unavailable) && self.chance(8) {
                outcomes.push(Sent::Refused(Refusal::Unavailable("busy".into())));
                continue;
            }
            let doubt = self.is(Q::SendInDoubt) && self.chance(4);
            if doubt && self.chance(2) {
                outcomes.push(Sent::InDoubt(Error::Gone("timed out".into())));
                continue;
            }
            let id = match self.quirk {
                Q::OddNames => u64::MAX / 2 - self.next_id * 7,
                Q::IdByte => self.next_id % 256,
                _ => self.next_id,
            };
            self.next_id += 1;
            let (now, keyed) = (self.now(), message.key.is_some());
            if self.is(Q::KeyCompacts) && keyed {
                let same = |entry: &Entry| entry.key == message.key && entry.state == State::Ready;
                self.entries.retain(|entry| !same(entry));
            }
            let delay = if self.is(Q::BatchOneDelay) { messages[0].delay } else { message.delay };
            let mut ready = now + delay;
            if self.is(Q::DelayTruncated) {
                ready = Time(ready.0 / 1_000_000 * 1_000_000);
            }
            self.known.push((message.body.clone(), id));
            let mut key = message.key.clone();
            if self.is(Q::BatchKeys) && key.is_none() && !outcomes.is_empty() {
                key = self.entries.last().and_then(|entry| entry.key.clone());
            }
            let cut = self.is(Q::LargeBodyCut) && message.body.len() > 65_536;
            self.entries.push(Entry {
                id,
                key: key.filter(|key| !(self.is(Q::EmptyKeyLost) && key.is_empty())),
                body: if cut { message.body[..65_536].into() } else { message.body.clone() },
                state: if delay.is_zero() { State::Ready } else { State::Delayed(ready) },
                receipt: None,
                owner: 0,
                received: now,
                first_until: now,
                handed: 0,
                uncounted: 0,
                sender,
                nacked: false,
                sent: now,
                extended: false,
                past: 0,
                issued: Vec::new(),
            });
            outcomes.push(if doubt {
                Sent::InDoubt(Error::Gone("timed out".into()))
            } else {
                Sent::Confirmed(MessageId(id))
            });
        }
        self.batch_tail = (messages.len() > 1).then(|| self.entries.last().map(|entry| entry.id)).flatten();
        if self.is(Q::IdsOfBatchEqual) {
            let last = MessageId(self.next_id - 1);
            for outcome in &mut outcomes {
                if let Sent::Confirmed(id) = outcome {
                    *id = last;
                }
            }
        }
        if self.is(Q::OutcomesShifted) && outcomes.iter().any(|sent| matches!(sent, Sent::Refused(_))) {
            outcomes.rotate_right(1);
        }
        outcomes
    }

    /// Which to hand over, in which order.
    fn choose(&mut self, max: usize) -> Vec<u64> {
        if matches!(self.quirk, Q::LazyDeath | Q::LazyWhole | Q::LazyTailDropped) {
            let limit = self.limit();
            while let Some(at) =
                self.entries.iter().position(|entry| entry.state == State::Ready && entry.counted() >= limit)
            {
                self.bury(at, Reason::Attempts);
            }
        }
        let mut ready: Vec<&Entry> =
            self.entries.iter().filter(|entry| entry.state == State::Ready).collect();
        if self.is(Q::KeyBlocks) {
            let leased = |key: &Option<Arc<[u8]>>| {
                self.entries.iter().any(|entry| matches!(entry.state, State::Leased(_)) && entry.key == *key)
            };
            ready.retain(|entry| entry.key.is_none() || !leased(&entry.key));
        }
        if self.is(Q::KeyLanes) {
            ready.sort_by_key(|entry| entry.key.clone());
        }
        if self.is(Q::NewestFirst) {
            ready.reverse();
        }
        if self.is(Q::PerProducer) {
            let turn = self.turn;
            ready.sort_by_key(|entry| entry.sender.wrapping_sub(turn) % 5);
        }
        let mut ids: Vec<u64> = ready.iter().map(|entry| entry.id).collect();
        self.turn += 1;
        if self.is(Q::AnyOrder) {
            for at in (1..ids.len()).rev() {
                if self.chance(2) {
                    ids.swap(at, at / 2);
                }
            }
        }
        if self.is(Q::EverySecond) && ids.len() > 1 {
            ids = ids.into_iter().step_by(2).collect();
        }
        let max = match self.quirk {
            Q::OneAtATime => 1,
            Q::MaxPlusOne if max > 1 => max + 1,
            _ => max,
        };
        ids.truncate(max);
        ids
    }

    fn receive(&mut self, owner: u64, max: usize, lease: Duration) -> Result<Vec<Delivery>, Error> {
        if !(self.is(Q::MaxZero) || self.is(Q::LeaseZero)) {
            Error::check_receive(max, lease)?;
        }
        self.sweep(true);
        self.acked_unswept = 0;
        if matches!(self.quirk, Q::EmptyRelaxed | Q::WholeUnreliable) && self.chance(6) {
            return Ok(Vec::new());
        }
        if std::mem::take(&mut self.stale_seen) && self.is(Q::StaleThenEmpty) {
            return Ok(Vec::new());
        }
        let ids = self.choose(max);
        if self.is(Q::LoneDelivery) && ids.len() > 2 && self.entries.iter().any(|entry| entry.handed > 1) {
            let last = *ids.last().expect("more than two");
            let at = self.entries.iter().position(|entry| entry.id == last).expect("just chosen");
            self.hand_over(last, owner, lease);
            self.entries[at].state = State::Leased(self.now() + lease);
            return Ok(ids[..ids.len() - 1]
                .iter()
                .copied()
                .map(|id| self.hand_over(id, owner, lease))
                .collect());
        }
        let doubt = self.is(Q::ReceiveInDoubt) && self.chance(6);
        if doubt && self.chance(2) {
            return Err(Error::Gone("timed out".into()));
        }
        let mut handed: Vec<Delivery> = ids.into_iter().map(|id| self.hand_over(id, owner, lease)).collect();
        if self.is(Q::BatchReceipts) && handed.len() > 2 {
            let (first, second) = (handed[0].receipt, handed[1].receipt);
            (handed[0].receipt, handed[1].receipt) = (second, first);
        }
        if doubt { Err(Error::Gone("timed out".into())) } else { Ok(handed) }
    }

    fn hand_over(&mut self, id: u64, owner: u64, lease: Duration) -> Delivery {
        let (now, quirk) = (self.now(), self.quirk);
        let capped = lease.min(Duration::from_millis(20));
        let (mut until, mut shown) = (now + lease, now + lease);
        match quirk {
            Q::LeaseCapped => (until, shown) = (now + capped, now + capped),
            Q::LeaseCappedSilently => until = now + capped,
            Q::LeaseOverflows if lease > Duration::from_secs(3600) => until = now,
            Q::LeaseFromSend => {
                let sent = self.entries.iter().find(|entry| entry.id == id).expect("just chosen").sent;
                until = (sent + lease).max(Time(now.0 + 1));
            }
            Q::LeaseTruncated => until = Time(until.0 / 1_000_000 * 1_000_000),
            _ => {}
        }
        let serial = self.receipts.fetch_add(1, Ordering::Relaxed);
        let at = self.entries.iter().position(|entry| entry.id == id).expect("it was just chosen");
        let entry = &mut self.entries[at];
        entry.handed += 1;
        if quirk == Q::DeadlineWrong && entry.handed > 1 {
            shown = Time(shown.0 - 1);
        }
        let receipt = match quirk {
            Q::ReceiptFromDeadline => u128::from(id) << 64 | u128::from(until.0),
            Q::ReceiptFromAttempt => u128::from(id) << 64 | u128::from(entry.handed),
            Q::ReceiptFromSession => u128::from(id) << 64 | u128::from(owner),
            Q::OddNames => u128::from(serial).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835),
            _ => u128::from(serial),
        };
        entry.receipt = Some(receipt);
        entry.issued.push(receipt);
        entry.extended = false;
        entry.state = State::Leased(until);
        (entry.owner, entry.received, entry.first_until) = (owner, now, until);
        let delivery = Delivery {
            id: MessageId(id),
            key: entry.key.clone(),
            body: entry.body.clone(),
            attempt: if matches!(quirk, Q::ExpiryUncountedOrdinal | Q::NothingCounts) {
                entry.handed
            } else {
                entry.counted()
            },
            receipt: Receipt(receipt),
            deadline: shown,
        };
        if quirk == Q::SixAtMost {
            let held = |entry: &&Entry| matches!(entry.state, State::Leased(_)) && entry.owner == owner;
            if self.entries.iter().filter(held).count() > 6 {
                let first = self.entries.iter().position(|entry| held(&entry)).expect("there are seven");
                self.end(first, End::Expiry, true);
            }
        }
        delivery
    }

    fn find(&self, receipt: Receipt) -> Option<usize> {
        self.entries.iter().position(|entry| entry.receipt == Some(receipt.0))
    }

    /// The message that this receipt was once for, if it is leased under another one.
    fn leased_again(&self, receipt: Receipt) -> Option<usize> {
        self.entries
            .iter()
            .position(|entry| entry.issued.contains(&receipt.0) && matches!(entry.state, State::Leased(_)))
    }

    fn stale(&mut self) -> Settled {
        self.stale_seen = true;
        if matches!(self.quirk, Q::StaleSilent | Q::SilentOutlives) { Settled::Done } else { Settled::Stale }
    }

    fn settle(&mut self, who: u64, settlements: &[Settlement]) -> Vec<Settled> {
        let late = settlements.iter().all(|one| match self.quirk {
            Q::AckLate => one.how == Settle::Ack,
            Q::NackLate => matches!(one.how, Settle::Nack { .. }),
            Q::RejectLate => one.how == Settle::Reject,
            _ => false,
        });
        // Leases that have ended stay as they are until somebody receives.
        if !late {
            self.sweep(true);
        }
        if self.is(Q::BatchShifted) && settlements.iter().all(|one| one.how == Settle::Ack) {
            let places: Vec<_> = settlements.iter().map(|one| self.find(one.receipt)).collect();
            return places
                .into_iter()
                .map(|at| match at {
                    Some(at) if at < self.entries.len() => {
                        self.entries.remove(at);
                        Settled::Done
                    }
                    Some(_) => Settled::Done,
                    None => self.stale(),
                })
                .collect();
        }
        let longest = settlements
            .iter()
            .filter_map(|one| match one.how {
                Settle::Nack { delay } => Some(delay),
                _ => None,
            })
            .max();
        let mut aborted = false;
        let mut rejected = false;
        let mut answers = Vec::new();
        for (nth, one) in settlements.iter().enumerate() {
            if aborted && self.is(Q::BatchStaleAborts) {
                answers.push(Settled::Stale);
                continue;
            }
            if aborted && self.is(Q::BatchStaleSilent) {
                answers.push(Settled::Done);
                continue;
            }
            if self.is(Q::BatchTwice) && settlements[..nth].iter().any(|before| before.receipt == one.receipt)
            {
                answers.push(Settled::Done);
                continue;
            }
            let doubt = self.is(Q::SettleInDoubt) && self.chance(4);
            if doubt && self.chance(2) {
                answers.push(Settled::InDoubt(Error::Gone("timed out".into())));
                continue;
            }
            let how = if self.is(Q::BatchMixed) { settlements[0].how } else { one.how };
            let superseded = match self.quirk {
                Q::StaleAckTaken => how == Settle::Ack,
                Q::StaleNackTaken => matches!(how, Settle::Nack { .. }),
                _ => false,
            };
            let Some(at) =
                self.find(one.receipt).or_else(|| superseded.then(|| self.leased_again(one.receipt))?)
            else {
                if self.is(Q::StaleNackCounts) && matches!(how, Settle::Nack { .. }) {
                    // The serial tells whose it was: whoever is ready and was handed over before.
                    if let Some(entry) =
                        self.entries.iter_mut().find(|entry| entry.state == State::Ready && entry.handed > 0)
                    {
                        entry.handed += 1;
                    }
                }
                aborted = true;
                answers.push(self.stale());
                continue;
            };
            if self.is(Q::AckByOtherRefused) && self.entries[at].owner != who {
                answers.push(Settled::Stale);
                continue;
            }
            match how {
                Settle::Ack => {
                    self.latest_ack = Some(self.entries[at].clone());
                    if self.is(Q::AckFreesLate) {
                        self.acked_unswept += 1;
                    }
                    if self.is(Q::AckOfKeyedAcksKey)
                        && let Some(key) = self.entries[at].key.clone()
                    {
                        let id = self.entries[at].id;
                        self.entries.retain(|entry| {
                            entry.id == id || entry.key.as_ref() != Some(&key) || entry.state != State::Ready
                        });
                        let at = self.entries.iter().position(|entry| entry.id == id).expect("kept");
                        self.entries.remove(at);
                    } else if self.is(Q::AckCumulative) {
                        let (owner, upto) = (self.entries[at].owner, self.entries[at].receipt);
                        self.entries.retain(|entry| {
                            !(matches!(entry.state, State::Leased(_))
                                && entry.owner == owner
                                && entry.receipt <= upto)
                        });
                    } else if self.is(Q::AckSwaps) {
                        self.entries.swap_remove(at);
                    } else {
                        self.entries.remove(at);
                    }
                }
                Settle::Nack { delay } => {
                    self.latest_nack = Some(self.entries[at].clone());
                    let delay = if self.is(Q::BatchDelays) { longest.unwrap_or(delay) } else { delay };
                    let ignored = self.is(Q::BatchIgnoresDelays) && settlements.len() > 1;
                    let delay = if ignored { Duration::ZERO } else { delay };
                    self.end(at, End::Nack(delay), true);
                }
                Settle::Reject if self.is(Q::RejectsAtMostThree) && self.dead.len() >= 3 => {
                    answers.push(Settled::Stale);
                    continue;
                }
                Settle::Reject if self.is(Q::BatchRejectAcks) && rejected => {
                    self.entries.remove(at);
                }
                Settle::Reject => {
                    rejected = true;
                    if self.is(Q::RejectNeedsAttempts) && self.entries[at].handed == 1 && self.limit() > 2 {
                        self.end(at, End::Nack(Duration::ZERO), true);
                    } else {
                        self.bury(at, Reason::Rejected);
                    }
                }
            }
            answers.push(if doubt {
                Settled::InDoubt(Error::Gone("timed out".into()))
            } else {
                Settled::Done
            });
        }
        answers
    }

    fn extend(&mut self, who: u64, receipt: Receipt, lease: Duration) -> Settled {
        if !self.is(Q::ExtendRevives) {
            self.sweep(true);
        }
        let Some(mut at) = self.find(receipt) else {
            let now = self.now();
            if self.is(Q::StaleExtends)
                && let Some(at) = self.leased_again(receipt)
                && let State::Leased(until) = &mut self.entries[at].state
            {
                *until = (*until).max(now + lease);
            }
            return self.stale();
        };
        if self.is(Q::ExtendFirst) {
            let owner = self.entries[at].owner;
            let leased = |entry: &Entry| matches!(entry.state, State::Leased(_)) && entry.owner == owner;
            at = self.entries.iter().position(leased).unwrap_or(at);
        }
        let (now, quirk) = (self.now(), self.quirk);
        let doubt = self.is(Q::ExtendInDoubt) && self.chance(3);
        if doubt && self.chance(2) {
            return Settled::InDoubt(Error::Gone("timed out".into()));
        }
        if quirk == Q::ExtendExtendsAll {
            let owner = self.entries[at].owner;
            for entry in self.entries.iter_mut().filter(|entry| entry.owner == owner) {
                if let State::Leased(until) = &mut entry.state {
                    *until = (*until).max(now + lease);
                }
            }
        }
        if quirk == Q::ExtendNeedsNew {
            let serial = self.receipts.fetch_add(1, Ordering::Relaxed);
            self.entries[at].receipt = Some(u128::from(serial));
        }
        let entry = &mut self.entries[at];
        match &mut entry.state {
            State::Leased(until) if quirk == Q::ExtendOnce && entry.first_until != *until => {
                let _ = until;
            }
            State::Leased(_) if quirk == Q::ExtendLongIgnored && lease > Duration::from_secs(3600) => {}
            State::Leased(until) if quirk == Q::ExtendAdds => *until = *until + lease,
            State::Leased(until) => *until = (*until).max(now + lease),
            State::Delayed(until) if quirk == Q::ExtendMovesDelay => *until = (*until).max(now + lease),
            _ => return Settled::Stale,
        }
        entry.extended = true;
        if quirk == Q::ExtendResetsCount {
            entry.uncounted = entry.handed - 1;
        }
        if quirk == Q::ExtendTakesOver {
            entry.owner = who;
        }
        if doubt { Settled::InDoubt(Error::Gone("timed out".into())) } else { Settled::Done }
    }

    fn dead_letters(&mut self, max: usize) -> Vec<DeadLetter> {
        self.sweep(true);
        let shown = if self.is(Q::BrowseIgnoresMax) { self.dead.len() } else { max.min(self.dead.len()) };
        let letters = self.dead[..shown]
            .iter()
            .map(|dead| DeadLetter {
                id: MessageId(dead.entry.id),
                key: dead.entry.key.clone(),
                body: dead.entry.body.clone(),
                reason: dead.reason,
                attempts: dead.attempts,
            })
            .collect();
        if self.is(Q::BrowseEndsLease)
            && let Some(at) = self.entries.iter().position(|entry| matches!(entry.state, State::Leased(_)))
        {
            self.end(at, End::Expiry, true);
        }
        if self.is(Q::BrowseTakes) && max < self.dead.len() {
            self.dead.drain(..shown);
        }
        letters
    }

    fn redrive(&mut self, max: usize) -> usize {
        self.sweep(true);
        if self.is(Q::RedriveRejectedOnly) && self.dead.iter().any(|dead| dead.reason == Reason::Rejected) {
            self.dead.sort_by_key(|dead| dead.reason == Reason::Attempts);
        }
        let room = usize::try_from(self.room()).unwrap_or(0);
        let room = if self.is(Q::RedriveRoomOnce) && room > 0 { usize::MAX } else { room };
        let moved = max.min(self.dead.len()).min(room);
        let moved = if self.is(Q::RedriveLeavesLast) && moved > 1 { moved - 1 } else { moved };
        if self.is(Q::RedriveEndsLeases) && moved > 0 {
            for entry in &mut self.entries {
                if matches!(entry.state, State::Leased(_)) {
                    (entry.state, entry.receipt) = (State::Ready, None);
                }
            }
        }
        let mut chosen: Vec<Dead> = self.dead.drain(..moved).collect();
        if self.is(Q::RedriveReversed) {
            chosen.reverse();
        }
        self.redriven.clear();
        for (nth, dead) in chosen.into_iter().enumerate() {
            let mut entry = dead.entry;
            entry.state = State::Ready;
            entry.nacked = false;
            entry.past += entry.counted();
            self.redriven.push((entry.id, entry.counted()));
            self.ever_redriven.push(entry.id);
            let keeps = self.is(Q::RedriveKeepsCount) || (self.is(Q::RedriveResetsFirst) && nth > 0);
            if !keeps {
                (entry.handed, entry.uncounted) = (u32::from(self.is(Q::RedriveStartsAtOne)), 0);
            }
            if self.is(Q::RedriveDropsKey) {
                entry.key = None;
            }
            if self.is(Q::RedriveNewId) {
                entry.id = self.next_id;
                self.next_id += 1;
            }
            if self.is(Q::RedriveTakesNoSlot) {
                self.leaked -= 1;
            }
            if self.is(Q::RedriveToHead) {
                self.entries.insert(0, entry);
            } else if matches!(self.quirk, Q::RedriveToPlace | Q::LazyWhole) {
                let place = self.entries.iter().position(|other| other.id > entry.id);
                self.entries.insert(place.unwrap_or(self.entries.len()), entry);
            } else {
                self.entries.push(entry);
            }
        }
        if self.is(Q::RedriveSaysMax) { max } else { moved }
    }

    fn depth(&mut self) -> Depth {
        if !self.is(Q::DepthUnswept) {
            self.sweep(false);
        }
        let mut depth = Depth { dead: self.dead.len() as u64, ..Depth::default() };
        if self.is(Q::DepthBoundary) {
            let now = self.now();
            for entry in &mut self.entries {
                if let State::Leased(until) = entry.state
                    && until.since(now) <= Duration::from_nanos(1)
                {
                    entry.state = State::Ready;
                }
            }
        }
        if self.is(Q::DepthKnowsNoDead) && !self.redriven.is_empty() {
            depth.dead = 0;
        }
        for entry in &self.entries {
            match entry.state {
                State::Ready => depth.ready += 1,
                State::Delayed(_) if entry.nacked && self.quirk == Q::DelayedNackReady => depth.ready += 1,
                State::Delayed(_) if !entry.nacked && self.quirk == Q::DelayedSendReady => depth.ready += 1,
                State::Delayed(_) => depth.delayed += 1,
                State::Leased(_) => depth.in_flight += 1,
            }
        }
        depth
    }

    fn lose(&mut self, session: u64) {
        self.live -= 1;
        if self.is(Q::LossEndsDelays) {
            for entry in &mut self.entries {
                if entry.nacked && entry.owner == session && matches!(entry.state, State::Delayed(_)) {
                    entry.state = State::Ready;
                }
            }
        }
        if [
            Q::LeasesOutliveSessions,
            Q::CrashForgetsExtension,
            Q::CrashRefusesReceipts,
            Q::LeasesOutliveAll,
            Q::NackForgotten,
            Q::TailOutlives,
            Q::SilentOutlives,
        ]
        .contains(&self.quirk)
        {
            return;
        }
        self.sweep(true);
        let held = |entry: &&Entry| {
            matches!(entry.state, State::Leased(_))
                && entry.owner == session
                && !(self.is(Q::LossSparesExtended) && entry.extended)
        };
        let mut ids: Vec<u64> = self.entries.iter().filter(held).map(|entry| entry.id).collect();
        if self.is(Q::LossFirstOnly) {
            ids.truncate(1);
        }
        for id in ids {
            if let Some(at) = self.entries.iter().position(|entry| entry.id == id) {
                self.end(at, End::Loss, true);
            }
        }
    }

    fn crash(&mut self, crash: Crash) {
        self.sweep(true);
        self.epoch += 1;
        self.live = 0;
        let now = self.now();
        for entry in &mut self.entries {
            let (leased, delayed) =
                (matches!(entry.state, State::Leased(_)), matches!(entry.state, State::Delayed(_)));
            match self.quirk {
                Q::CrashForgetsExtension if leased => entry.state = State::Leased(entry.first_until),
                Q::CrashRefusesReceipts => entry.receipt = None,
                Q::CrashRestartsDelays if delayed => {
                    entry.state = State::Delayed(now + Duration::from_millis(20))
                }
                Q::DelaysForgotten if delayed => entry.state = State::Ready,
                Q::CrashForgetsNack if delayed && entry.nacked => entry.state = State::Ready,
                Q::CrashLosesDelayedKeys if delayed => entry.key = None,
                Q::CountsForgotten => entry.uncounted = entry.handed,
                _ => {}
            }
        }
        let kept = [
            Q::LeasesOutliveCrash,
            Q::CrashForgetsExtension,
            Q::CrashRefusesReceipts,
            Q::LeasesOutliveAll,
            Q::NackForgotten,
            Q::TailOutlives,
            Q::SilentOutlives,
        ]
        .contains(&self.quirk);
        if self.is(Q::CrashCountsTwice) {
            for entry in self.entries.iter_mut().filter(|entry| matches!(entry.state, State::Leased(_))) {
                entry.handed += u32::from(entry.handed > 1);
            }
        }
        if !kept {
            let held = |entry: &&Entry| matches!(entry.state, State::Leased(_));
            let ids: Vec<u64> = self.entries.iter().filter(held).map(|entry| entry.id).collect();
            for id in ids {
                if let Some(at) = self.entries.iter().position(|entry| entry.id == id) {
                    self.end(at, End::Crash, true);
                }
            }
        }
        match self.quirk {
            Q::CrashReorders => self.entries.reverse(),
            Q::CrashReceiptsRestart => self.receipts.store(1, Ordering::Relaxed),
            Q::CrashLosesBatchTail if crash == Crash::Power => {
                let tail = self.batch_tail.take();
                self.entries.retain(|entry| entry.handed > 0 || Some(entry.id) != tail);
            }
            Q::CrashHalvesRedrive if crash == Crash::Power && self.redriven.len() > 1 => {
                let last = self.redriven.last().map(|&(id, _)| id);
                self.entries.retain(|entry| entry.handed > 0 || Some(entry.id) != last);
            }
            Q::ProcessOnly if crash == Crash::Power => {
                self.entries.clear();
                self.dead.clear();
            }
            Q::IdsJump => self.next_id += 1000,
            Q::CrashKeepsTwoDead => self.dead.truncate(2),
            Q::CrashUndoesAck | Q::AcksOutliveProcess if crash == Crash::Power => {
                if let Some(mut entry) = self.latest_ack.take() {
                    if self.is(Q::AcksOutliveProcess) {
                        // The crash ended the lease, too.
                        entry.receipt = None;
                    }
                    entry.state = State::Ready;
                    self.entries.insert(0, entry);
                }
            }
            Q::CrashCopiesDead => {
                if let Some(dead) = self.dead.last() {
                    let mut entry = dead.entry.clone();
                    entry.state = State::Ready;
                    self.entries.push(entry);
                }
            }
            Q::NackForgotten => {
                // As if it had not come: the lease goes on, unless the message was delivered or died since.
                if let Some(before) = self.latest_nack.take()
                    && let Some(entry) = self.entries.iter_mut().find(|entry| {
                        entry.id == before.id
                            && entry.handed == before.handed
                            && !matches!(entry.state, State::Leased(_))
                    })
                {
                    *entry = before;
                }
            }
            Q::CrashRenumbers => {
                let living = self.entries.iter().map(|entry| entry.id);
                self.next_id =
                    living.chain(self.dead.iter().map(|dead| dead.entry.id)).max().unwrap_or(0) + 1;
            }
            Q::CrashDeadReversed => self.dead.reverse(),
            Q::CrashDeadForgetsWhy => {
                self.dead.iter_mut().for_each(|dead| dead.reason = Reason::Attempts);
            }
            Q::CrashForgetsReject if crash == Crash::Power => {
                let latest = self.latest_reject.take();
                if let Some(at) = self.dead.iter().position(|dead| Some(dead.entry.id) == latest) {
                    let mut entry = self.dead.remove(at).entry;
                    entry.state = State::Ready;
                    self.entries.insert(0, entry);
                }
            }
            Q::CrashForgetsRedrive => {
                for (id, count) in &self.redriven {
                    for entry in &mut self.entries {
                        if entry.id == *id && entry.handed == 0 {
                            entry.handed = *count;
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

/// The body limit of those that declare one.
const BODY_LIMIT: Bytes = Bytes(1024);

/// A broker, and a session of it.
pub(crate) struct Blind {
    store: Arc<Mutex<Store>>,
}

pub(crate) struct Client {
    store: Arc<Mutex<Store>>,
    number: u64,
    epoch: u64,
}

fn lock(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Broker for Blind {
    type Session = Client;

    fn contract(&self) -> Contract {
        let store = lock(&self.store);
        let base = if store.quirk.durable() { Contract::durable() } else { Contract::in_memory() };
        let mut contract = Contract {
            capacity: Some(store.settings.capacity as u64),
            deliveries_allowed: Some(store.limit()),
            ..base
        };
        match store.quirk {
            Q::ExpiryUncounted => contract.counting.expiry = Count::No,
            Q::ExpiryUncountedOrdinal => {
                contract.counting.expiry = Count::No;
                contract.attempt = Attempt::Ordinal;
            }
            Q::NothingCounts => {
                let no = Count::No;
                contract.counting = Counting { nack: no, expiry: no, session_loss: no, crash: no };
                contract.attempt = Attempt::Ordinal;
            }
            Q::TailOutlives => {
                contract.requeue = Requeue::Tail;
                contract.redriven = Requeue::Tail;
                contract.leases.end_with_session = false;
            }
            Q::LazyTailDropped => {
                contract.death = Death::NextReceive;
                contract.dead_lettering = DeadLettering::Dropped;
                contract.requeue = Requeue::Tail;
            }
            Q::ProcessOnly => {
                let process = Durability::Process;
                (contract.sends, contract.acks) = (process, process);
                (contract.counts, contract.delays) = (process, process);
            }
            Q::AcksOutliveProcess => contract.acks = Durability::Process,
            Q::WholeUnreliable => {
                contract.batches = Batches::Whole;
                (contract.full, contract.empty) = (Answer::Unreliable, Answer::Unreliable);
            }
            Q::SilentOutlives => {
                contract.stale_refused = false;
                contract.leases.end_with_session = false;
                contract.leases.end_with_crash = false;
            }
            Q::KeyLanes => contract.order = Order::Unordered,
            Q::RequeueMixed => contract.requeue = Requeue::Unspecified,
            Q::LazyDeath => contract.death = Death::NextReceive,
            Q::AllOrNothing => contract.batches = Batches::Whole,
            Q::LazyWhole => {
                contract.death = Death::NextReceive;
                contract.batches = Batches::Whole;
                contract.redriven = Requeue::Original;
            }
            Q::RetriesDeduplicated => contract.retries = Retries::Deduplicated,
            Q::RedriveReversed => contract.redriven = Requeue::Tail,
            Q::RedriveToPlace => contract.redriven = Requeue::Original,
            Q::LossUncounted => contract.counting.session_loss = Count::No,
            Q::NackUncounted => contract.counting.nack = Count::No,
            Q::ExpiryMaybe => contract.counting.expiry = Count::Maybe,
            Q::CrashUncounted => contract.counting.crash = Count::No,
            Q::CrashMaybe => contract.counting.crash = Count::Maybe,
            Q::LeasesOutliveSessions => contract.leases.end_with_session = false,
            Q::LeasesOutliveCrash
            | Q::LeasesOutliveAll
            | Q::NackForgotten
            | Q::CrashForgetsExtension
            | Q::CrashRefusesReceipts => {
                contract.leases.end_with_crash = false;
                contract.leases.end_with_session = store.quirk == Q::LeasesOutliveCrash;
            }
            Q::StaleSilent => contract.stale_refused = false,
            Q::RequeueTail => contract.requeue = Requeue::Tail,
            Q::AnyOrder | Q::NewestFirst => contract.order = Order::Unordered,
            Q::PerProducer => contract.order = Order::PerProducer,
            Q::EmptyRelaxed => contract.empty = Answer::Unreliable,
            Q::FullRelaxed => contract.full = Answer::Unreliable,
            Q::DeadDropped => contract.dead_lettering = DeadLettering::Dropped,
            Q::RedriveKeepsCount => contract.redrive_resets = false,
            Q::NoLimit => contract.deliveries_allowed = None,
            Q::Unbounded => contract.capacity = None,
            Q::AcksForgotten => contract.acks = Durability::None,
            Q::CountsForgotten => contract.counts = Durability::None,
            Q::DelaysForgotten => contract.delays = Durability::None,
            Q::LimitIgnored | Q::LimitKept => contract.body_limit = Some(BODY_LIMIT),
            _ => {}
        }
        if matches!(store.quirk, Q::AnyOrder | Q::NewestFirst | Q::KeyLanes) {
            contract.requeue = Requeue::Unspecified;
        }
        contract
    }

    fn session(&self) -> Result<Client, Error> {
        let mut store = lock(&self.store);
        if store.is(Q::TwoSessions) && store.live >= 2 {
            return Err(Error::Gone("too many sessions".into()));
        }
        store.sessions += 1;
        store.live += 1;
        let number = if store.is(Q::LossNumberReused) { store.live } else { store.sessions };
        Ok(Client { store: Arc::clone(&self.store), number, epoch: store.epoch })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut store = lock(&self.store);
        if store.epoch == self.epoch {
            store.lose(self.number);
        }
    }
}

impl Session for Client {
    fn send(&mut self, messages: &[Message]) -> Vec<Sent> {
        lock(&self.store).send(self.number, messages)
    }

    fn receive(&mut self, max: usize, lease: Duration) -> Result<Vec<Delivery>, Error> {
        if lock(&self.store).is(Q::Racy) {
            Error::check_receive(max, lease)?;
            let ids = {
                let mut store = lock(&self.store);
                store.sweep(true);
                store.choose(max)
            };
            std::thread::yield_now();
            let mut store = lock(&self.store);
            return Ok(ids
                .into_iter()
                .filter(|id| store.entries.iter().any(|entry| entry.id == *id))
                .collect::<Vec<_>>()
                .into_iter()
                .map(|id| store.hand_over(id, self.number, lease))
                .collect());
        }
        lock(&self.store).receive(self.number, max, lease)
    }

    fn settle(&mut self, settlements: &[Settlement]) -> Vec<Settled> {
        lock(&self.store).settle(self.number, settlements)
    }

    fn extend(&mut self, receipt: Receipt, lease: Duration) -> Settled {
        lock(&self.store).extend(self.number, receipt, lease)
    }

    fn dead_letters(&mut self, max: usize) -> Result<Vec<DeadLetter>, Error> {
        let mut store = lock(&self.store);
        store.fails(Q::LooksFail, 3)?;
        Ok(store.dead_letters(max))
    }

    fn redrive(&mut self, max: usize) -> Result<usize, Error> {
        let mut store = lock(&self.store);
        store.fails(Q::RedriveInDoubt, 4)?;
        let moved = store.redrive(max);
        store.fails(Q::RedriveInDoubt, 4)?;
        Ok(moved)
    }

    fn depth(&mut self) -> Result<Depth, Error> {
        let mut store = lock(&self.store);
        store.fails(Q::LooksFail, 3)?;
        Ok(store.depth())
    }
}

/// Where it lives: what is durable is simply kept.
pub(crate) struct Home {
    quirk: Q,
    settings: Settings,
    store: Option<Arc<Mutex<Store>>>,
    receipts: Arc<AtomicU64>,
}

impl Home {
    pub(crate) fn new(quirk: Q, settings: &Settings) -> Home {
        Home { quirk, settings: settings.clone(), store: None, receipts: Arc::new(AtomicU64::new(1)) }
    }
}

impl Host for Home {
    type Broker = Blind;

    fn boot(&mut self) -> Result<Blind, Error> {
        if self.quirk == Q::ReceiptsRestart {
            self.receipts = Arc::new(AtomicU64::new(1));
        }
        let fresh =
            || Arc::new(Mutex::new(Store::new(self.quirk, &self.settings, Arc::clone(&self.receipts))));
        let store = self.store.get_or_insert_with(fresh);
        Ok(Blind { store: Arc::clone(store) })
    }

    fn crash(&mut self, crash: Crash) {
        if let Some(store) = &self.store {
            let mut locked = lock(store);
            if self.quirk.durable() {
                locked.crash(crash);
            } else {
                locked.epoch += 1;
            }
        }
        if !self.quirk.durable() {
            self.store = None;
        }
    }
}
