//! The reference broker.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use stanchion_queues::file::storage::Storage;
use stanchion_queues::sync::{Mutex, MutexGuard};
use stanchion_queues::{
    Broker, Contract, DeadLetter, Delivery, Depth, Durability, Error, Message, MessageId, Order, Reason,
    Receipt, Refusal, Retries, Sent, Session, Settings, Settle, Settled, Settlement, Time,
};

use super::bug::{Bug, Switch};
use super::log::Log;
use super::state::{Entry, Letter, Place, Record, State};
use crate::plan::fnv1a;

/// A broker as simple as can be: one state under one lock. Every change is a record that is applied to the
/// state and, if there is a log, stored in it before the call returns. One bug may be switched on.
pub struct Reference<S: Storage> {
    core: Arc<Mutex<Core<S>>>,
}

impl<S: Storage> Clone for Reference<S> {
    fn clone(&self) -> Reference<S> {
        Reference { core: self.core.clone() }
    }
}

/// One client of a [`Reference`].
pub struct ReferenceSession<S: Storage> {
    core: Arc<Mutex<Core<S>>>,
    number: u64,
}

pub(super) struct Core<S: Storage> {
    settings: Settings,
    state: State,
    log: Option<Log<S>>,
    /// What this call changed: to be stored as one frame, so that all of it survives or none.
    batch: Vec<Record>,
    poisoned: Option<String>,
    sessions: u64,
    receipts: u64,
    switch: Switch,
    /// What was so before this call, for those that take it back.
    before: State,
    /// Some bugs put this off until the next call.
    later: Vec<Record>,
    /// Some bugs remember messages that they should forget.
    remembered: BTreeMap<MessageId, Entry>,
    /// Some bugs count what they should not.
    leaked: usize,
    /// The timers that have fired, of leases that they ended, where nothing else ends them.
    fired: BTreeSet<Receipt>,
    /// When leases that have ended were last looked for.
    swept: Time,
    /// Since when something waits for the next sync, where that is only every so often.
    unsynced: Option<Time>,
}

/// How often that is.
const EVERY: Duration = Duration::from_millis(5);

/// How often somebody sets the wall clock, for those that reckon by it, and by how much.
const SET_EVERY: Duration = Duration::from_millis(50);
const SET_BY: Duration = Duration::from_secs(60 * 60);

/// Why an attempt ended without an ack.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Nack { batch: usize, delay: Duration },
    Expiry,
    SessionLoss,
    Crash,
}

pub(super) fn lock<S: Storage>(core: &Mutex<Core<S>>) -> MutexGuard<'_, Core<S>> {
    // A panic leaves at worst a call half done, and the harness ends the run there.
    core.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: Storage> Reference<S> {
    /// A broker that forgets everything when it ends. `life` tells its receipts from those of others.
    pub(super) fn in_memory(settings: Settings, life: u64, switch: Switch) -> Reference<S> {
        let mut core = Core::new(settings, None, switch);
        core.state.counters.life = life;
        Reference { core: Arc::new(Mutex::new(core)) }
    }

    /// Opens the broker that is stored on `disk`, or a new one.
    pub(super) fn open(settings: Settings, disk: S, switch: Switch) -> Result<Reference<S>, Error> {
        let (log, records) = Log::open(disk, switch.clone())?;
        let mut core = Core::new(settings, Some(log), switch);
        records.into_iter().for_each(|record| core.state.apply(record));
        core.recover()?;
        core.before = core.state.clone();
        Ok(Reference { core: Arc::new(Mutex::new(core)) })
    }

    /// Replaces the log by a shorter one that says the same. May be called at any time.
    pub(super) fn compact(&self) {
        let mut core = lock(&self.core);
        if core.poisoned.is_none() {
            core.compact();
        }
    }

    /// Writes an empty frame behind all others, and syncs it: then damage to them is told from a torn tail.
    pub(super) fn come_to_rest(&self) {
        let mut core = lock(&self.core);
        let core = &mut *core;
        if let (None, Some(log)) = (&core.poisoned, &mut core.log) {
            core.poisoned = log.append(&[]).and_then(|()| log.sync()).err().map(|error| error.to_string());
        }
    }

    /// Loses every session: one frame for each lease, one sync for all of them.
    pub(super) fn disconnect(&self) {
        let mut core = lock(&self.core);
        for (_, id) in core.leased(|_, _| true) {
            core.end_attempt(id, Time::ZERO, End::SessionLoss);
            // A failure poisons the broker, and then the rest fails too.
            let _ = core.store_batch(|_| Ok(()));
        }
        let _ = core.log.as_mut().map(Log::sync);
    }
}

impl<S: Storage> Broker for Reference<S> {
    type Session = ReferenceSession<S>;

    fn contract(&self) -> Contract {
        let core = lock(&self.core);
        let mut promised = if core.log.is_some() { Contract::durable() } else { Contract::in_memory() };
        if core.syncs_late() {
            let killed = Durability::Process;
            let (sends, acks, counts, delays) = (killed, killed, killed, killed);
            promised = Contract { sends, acks, counts, delays, synced_every: Some(EVERY), ..promised };
        }
        if core.deduplicates() {
            promised.retries = Retries::Deduplicated;
        }
        Contract {
            order: Order::Fifo,
            damage_noticed: core.log.is_some() && !core.syncs_late(),
            capacity: Some(core.settings.capacity as u64),
            deliveries_allowed: Some(core.settings.deliveries_allowed),
            ..promised
        }
    }

    fn session(&self) -> Result<ReferenceSession<S>, Error> {
        let mut core = lock(&self.core);
        core.sessions += 1;
        Ok(ReferenceSession { core: self.core.clone(), number: core.sessions })
    }
}

impl<S: Storage> Session for ReferenceSession<S> {
    fn send(&mut self, messages: &[Message]) -> Vec<Sent> {
        lock(&self.core).send(messages)
    }

    fn receive(&mut self, max: usize, lease: Duration) -> Result<Vec<Delivery>, Error> {
        Error::check_receive(max, lease)?;
        lock(&self.core).receive(self.number, max, lease)
    }

    fn settle(&mut self, settlements: &[Settlement]) -> Vec<Settled> {
        lock(&self.core).settle(self.number, settlements)
    }

    fn extend(&mut self, receipt: Receipt, lease: Duration) -> Settled {
        lock(&self.core).extend(receipt, lease).unwrap_or_else(Settled::InDoubt)
    }

    fn dead_letters(&mut self, max: usize) -> Result<Vec<DeadLetter>, Error> {
        lock(&self.core).dead_letters(max)
    }

    fn redrive(&mut self, max: usize) -> Result<usize, Error> {
        lock(&self.core).redrive(max)
    }

    fn depth(&mut self) -> Result<Depth, Error> {
        lock(&self.core).depth()
    }
}

impl<S: Storage> ReferenceSession<S> {
    pub(super) fn core(&self) -> &Arc<Mutex<Core<S>>> {
        &self.core
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

impl<S: Storage> Drop for ReferenceSession<S> {
    fn drop(&mut self) {
        let mut core = lock(&self.core);
        core.lose(self.number);
        // Should this not be stored, the leases end with the broker all the same.
        let _ = core.commit();
    }
}

impl<S: Storage> Core<S> {
    fn new(settings: Settings, log: Option<Log<S>>, switch: Switch) -> Core<S> {
        Core {
            settings,
            state: State::default(),
            log,
            batch: Vec::new(),
            poisoned: None,
            sessions: 0,
            receipts: 0,
            switch,
            before: State::default(),
            later: Vec::new(),
            remembered: BTreeMap::new(),
            leaked: 0,
            fired: BTreeSet::new(),
            swept: Time::ZERO,
            unsynced: None,
        }
    }

    fn is(&self, bug: Bug) -> bool {
        self.switch.is(bug)
    }

    // Changing and storing.

    fn change(&mut self, record: Record) {
        self.state.apply(record.clone());
        self.batch.push(record);
    }

    fn put(&mut self, id: MessageId, entry: Entry) {
        self.change(Record::Live(id, Some(entry)));
    }

    fn remove(&mut self, id: MessageId) {
        self.change(Record::Live(id, None));
    }

    /// What every call does first: nothing if an earlier one could not be stored; else it ends the leases that
    /// have run out, and answers the time.
    pub(super) fn begin(&mut self) -> Result<Time, Error> {
        self.usable()?;
        let takes_back = [Bug::P04, Bug::SpaceStays, Bug::D19, Bug::WritesFail];
        if takes_back.into_iter().any(|bug| self.switch.has(bug)) {
            self.before = self.state.clone();
        }
        std::mem::take(&mut self.later).into_iter().for_each(|record| self.change(record));
        let now = self.settings.clock.now();
        self.sync_if_due(now)?;
        self.sweep(now);
        Ok(now)
    }

    fn syncs_late(&self) -> bool {
        self.log.is_some() && (self.switch.has(Bug::P33) || self.switch.has(Bug::SyncsLate))
    }

    fn deduplicates(&self) -> bool {
        [Bug::I11, Bug::I12, Bug::Deduplicates].into_iter().any(|bug| self.switch.has(bug))
    }

    /// What a timer would have done by now.
    fn sync_if_due(&mut self, now: Time) -> Result<(), Error> {
        if self.unsynced.is_none_or(|since| now < since + EVERY) {
            return Ok(());
        }
        self.unsynced = None;
        let synced = self.log.as_mut().map_or(Ok(()), Log::sync);
        if synced.is_err() && self.switch.is(Bug::P33) {
            self.unsynced = Some(Time::FAR_FUTURE);
            return Ok(());
        }
        self.poisoned = synced.err().map(|error| error.to_string());
        self.usable()
    }

    pub(super) fn now(&self) -> Time {
        self.settings.clock.now()
    }

    fn usable(&self) -> Result<(), Error> {
        self.poisoned.as_ref().map_or(Ok(()), |why| Err(Error::Poisoned(why.clone())))
    }

    /// What every call does last: makes durable what it changed.
    fn commit(&mut self) -> Result<(), Error> {
        if self.syncs_late() {
            self.switch.is(Bug::SyncsLate);
            let now = self.settings.clock.now();
            self.unsynced.get_or_insert(now);
            return self.store_batch(|_| Ok(()));
        }
        self.store_batch(Log::sync)
    }

    fn store_batch(&mut self, sync: impl FnOnce(&mut Log<S>) -> io::Result<()>) -> Result<(), Error> {
        self.usable()?;
        let batch = std::mem::take(&mut self.batch);
        if let Some(log) = &mut self.log
            && !batch.is_empty()
        {
            if let Err(error) = log.append(&batch) {
                let full = error.kind() == io::ErrorKind::StorageFull;
                if full && (self.switch.is(Bug::P04) || self.switch.is(Bug::SpaceStays)) {
                    self.state = self.before.clone();
                    return Err(Error::Gone(error.to_string()));
                }
                self.poisoned = Some(error.to_string());
                return self.usable();
            }
            let all_acked = self.state.live.is_empty();
            let stored = match all_acked && self.switch.is(Bug::P13) {
                true => log.store_floor().and_then(|()| sync(log)),
                false => sync(log),
            };
            if stored.is_err() && self.switch.is(Bug::SyncMoves) {
                self.compact();
                return self.usable();
            }
            self.poisoned = stored.err().map(|error| error.to_string());
            if self.poisoned.is_none() && log.wants_compaction() {
                self.compact();
            }
        }
        self.usable()
    }

    fn compact(&mut self) {
        let Some(log) = &mut self.log else { return };
        let mut snapshot = self.state.snapshot();
        let highest_acked = self.remembered.keys().last().copied();
        if let Some(highest) = highest_acked
            && self.switch.is(Bug::P19)
        {
            snapshot.retain(|record| !matches!(record, Record::Live(id, _) if *id < highest));
        }
        if self.switch.is(Bug::P21) {
            let kept = self.remembered.iter().map(|(id, entry)| Record::Live(*id, Some(entry.clone())));
            snapshot.extend(kept);
        }
        for record in &mut snapshot {
            if let Record::Live(_, Some(entry)) = record
                && matches!(entry.place, Place::Leased { .. })
                && self.switch.is(Bug::D49)
            {
                entry.body = Arc::default();
            }
        }
        if self.switch.is(Bug::D50) {
            let mut body = None;
            for record in &mut snapshot {
                if let Record::Live(_, Some(entry)) = record {
                    let own = entry.body.clone();
                    entry.body = body.replace(own).unwrap_or_else(|| entry.body.clone());
                }
            }
        }
        if let Err(error) = log.compact(&snapshot) {
            self.poisoned = Some(error.to_string());
        }
    }

    /// Ends what a crash ended: every lease. Durable when this returns.
    fn recover(&mut self) -> Result<(), Error> {
        let mut counters = self.state.counters;
        if !self.is(Bug::ReceiptRestarts) {
            counters.life += 1;
        }
        if self.is(Bug::P18) {
            counters.next_id = self.state.live.len() as u64;
        }
        self.change(Record::Counters(counters));
        for id in self.leased(|_, _| true).into_iter().map(|(_, id)| id) {
            if !self.is(Bug::LeaseSurvives) {
                self.end_attempt(id, Time::ZERO, End::Crash);
            } else if let Some(mut entry) = self.state.live.get(&id).cloned() {
                entry.place = Place::Leased { receipt: Receipt(0), session: 0, until: Time::FAR_FUTURE };
                self.put(id, entry);
            }
        }
        for entry in self.state.live.values_mut() {
            if self.switch.is(Bug::D05) {
                entry.attempts = 0;
            }
            if self.switch.is(Bug::DelayForgotten) {
                entry.place = Place::Waiting { from: Time::ZERO };
            }
        }
        if !self.state.known.is_empty() && self.switch.is(Bug::I12) {
            self.state.known.clear();
        }
        for (order, letter) in self.state.dead.clone() {
            if self.is(Bug::D30) {
                self.change(Record::Dead(order, None));
            }
            if self.is(Bug::DeadReturn) {
                self.change(Record::Dead(order, None));
                self.put(letter.id, Entry { attempts: 0, ..revived(letter) });
            }
        }
        if self.state.counters.next_id > 0 && self.is(Bug::Phantom) {
            let id = MessageId(self.state.counters.next_id);
            let place = Place::Waiting { from: Time::ZERO };
            self.put(id, Entry { key: None, body: Arc::from([0; 16]), attempts: 0, place });
        }
        if self.log.as_ref().is_some_and(Log::stays) {
            return self.store_batch(Log::sync);
        }
        self.batch.clear();
        self.compact();
        self.usable()
    }

    // The calls.

    fn send(&mut self, messages: &[Message]) -> Vec<Sent> {
        let now = match self.begin() {
            Ok(now) => now,
            Err(error) => {
                let refuse = |_| Sent::Refused(Refusal::Unavailable(error.to_string()));
                return messages.iter().map(refuse).collect();
            }
        };
        let room = self.room();
        let (mut sent, mut again): (Vec<Sent>, usize) = (Vec::new(), 0);
        for (index, message) in messages.iter().enumerate() {
            if let Some(id) = self.known(message) {
                again += 1;
                sent.push(Sent::Confirmed(id));
                continue;
            }
            let full = index - again >= room;
            if full && self.switch.has(Bug::I11) {
                self.switch.is(Bug::I11);
                self.state.counters.next_id += 1;
                self.know(message, MessageId(self.state.counters.next_id - 1));
            }
            sent.push(if full { self.refuse(now, message) } else { self.store(now, message) });
            if let Some(id) = sent.last().and_then(confirmed) {
                self.know(message, id);
            }
        }
        if messages.len() <= room && self.is(Bug::BatchReversed) {
            let ids: Vec<MessageId> = sent.iter().filter_map(confirmed).collect();
            for (&id, message) in ids.iter().zip(messages.iter().rev()) {
                if let Some(entry) = self.state.live.get(&id).cloned() {
                    let (key, body) = (message.key.clone(), message.body.clone());
                    self.put(
                        id,
                        Entry { key, body, place: Place::Waiting { from: now + message.delay }, ..entry },
                    );
                }
            }
            sent.reverse();
        }
        if messages.len() > 2 && messages.len() < room && self.is(Bug::D47) {
            let last = &messages[messages.len() - 1];
            self.store(now, last);
        }
        if messages.len() > 2 && self.is(Bug::AnswersShort) {
            sent.pop();
        }
        if messages.len() > room && self.is(Bug::RefusedStored) {
            sent.fill_with(|| Sent::Refused(Refusal::Full));
        }
        let stored = if self.is(Bug::P01) { self.store_batch(|_| Ok(())) } else { self.commit() };
        if let Err(error) = stored {
            let why = error.to_string();
            for sent in &mut sent {
                if confirmed(sent).is_some() {
                    *sent = Sent::InDoubt(Error::Poisoned(why.clone()));
                }
            }
        }
        sent
    }

    /// Under which id it was sent before, where a retry is stored once.
    fn known(&self, message: &Message) -> Option<MessageId> {
        let id = self.deduplicates().then(|| self.state.known.get(&name_of(message))).flatten().copied();
        if id.is_some() {
            self.switch.is(Bug::Deduplicates);
        }
        id
    }

    fn know(&mut self, message: &Message, id: MessageId) {
        if self.deduplicates() {
            self.change(Record::Known(name_of(message), id));
        }
    }

    /// How many messages fit.
    pub(super) fn room(&self) -> usize {
        let mut resident = self.state.live.len();
        if self.is(Bug::FullAfterNack) || self.is(Bug::RefusedTakesSlot) {
            resident += self.leaked;
        }
        if self.is(Bug::DelayedUncounted) {
            let now = self.settings.clock.now();
            resident -= self.state.live.values().filter(|entry| delayed(entry, now)).count();
        }
        if self.is(Bug::CapacityPlusOne) {
            resident = resident.saturating_sub(1);
        }
        self.settings.capacity.saturating_sub(resident)
    }

    pub(super) fn store(&mut self, now: Time, message: &Message) -> Sent {
        let id = MessageId(self.state.counters.next_id);
        let mut from = now + message.delay;
        if self.is(Bug::SendAtOnce) {
            from = now;
        }
        if self.is(Bug::DelayNarrow) {
            from = now + Duration::from_millis(u64::from(message.delay.as_millis() as u32));
        }
        if self.is(Bug::DelayCoarse) {
            from = now + Duration::from_millis(u64::try_from(message.delay.as_millis()).unwrap_or(u64::MAX));
        }
        if self.is(Bug::BodyDedup)
            && let Some((&id, _)) = self.state.live.iter().find(|(_, entry)| entry.body == message.body)
        {
            return Sent::Confirmed(id);
        }
        if message.body.is_empty() && self.is(Bug::NoBodyLost) {
            self.state.counters.next_id += 1;
            return Sent::Confirmed(id);
        }
        if from > now && self.is(Bug::DelayForEver) {
            from = Time::FAR_FUTURE;
        }
        let (mut key, body) = (message.key.clone(), message.body.clone());
        if self.is(Bug::KeyNarrow) {
            key = key.map(|key| key[..key.len() & 0xff].into());
        }
        self.put(id, Entry { key, body, attempts: 0, place: Place::Waiting { from } });
        Sent::Confirmed(id)
    }

    pub(super) fn refuse(&mut self, now: Time, message: &Message) -> Sent {
        if self.is(Bug::D46) {
            self.state.counters.next_id += 1;
            return Sent::Confirmed(MessageId(self.state.counters.next_id - 1));
        }
        if let Some(oldest) = self.state.live.keys().next().copied()
            && self.is(Bug::D51)
        {
            self.remove(oldest);
            return self.store(now, message);
        }
        if self.is(Bug::RefusedTakesSlot) {
            self.leaked += 1;
        }
        if self.is(Bug::RefusedDelivered) {
            self.store(now, message);
        }
        Sent::Refused(Refusal::Full)
    }

    fn receive(&mut self, session: u64, max: usize, lease: Duration) -> Result<Vec<Delivery>, Error> {
        let now = match self.begin() {
            Err(_) if self.switch.is(Bug::P28) => self.now(),
            begun => begun?,
        };
        let mut ready = self.ready(now);
        if self.leaked >= 2 && self.is(Bug::Jams) {
            ready.clear();
        }
        if self.is(Bug::DiesLate) {
            for id in std::mem::take(&mut ready) {
                match self.state.live.get(&id).cloned() {
                    Some(entry) if entry.attempts >= self.settings.deliveries_allowed => {
                        self.die(id, entry, Reason::Attempts);
                    }
                    _ => ready.push(id),
                }
            }
        }
        if ready.is_empty() && self.is(Bug::Shared) {
            let others = self.leased(|_, holder| holder != session);
            ready.extend(others.into_iter().map(|(_, id)| id));
        }
        let unseen = ready.split_off(max.min(ready.len()));
        let mut deliveries = Vec::new();
        for id in ready {
            deliveries.extend(self.hand_over(session, id, now + lease));
        }
        if let Some(&next) = unseen.first() {
            if self.is(Bug::D41) {
                self.hand_over(session, next, now + lease);
            }
            if self.is(Bug::D03)
                && let Some(mut entry) = self.state.live.get(&next).cloned()
            {
                entry.attempts += 1;
                self.put(next, entry);
            }
        }
        if self.write_fails() {
            self.state = self.before.clone();
            return Err(Error::Gone("what it changed could not be written".into()));
        }
        match self.commit() {
            Err(_) if self.switch.is(Bug::P28) => {}
            committed => committed?,
        }
        if deliveries.is_empty() && self.is(Bug::ErrsWhenEmpty) {
            return Err(Error::Gone("nothing there".into()));
        }
        if self.is(Bug::HandsReversed) {
            deliveries.reverse();
        }
        Ok(deliveries)
    }

    /// Whether the write of what a receive changed fails, for those of which some do.
    fn write_fails(&mut self) -> bool {
        if self.batch.is_empty() || !(self.switch.has(Bug::D19) || self.switch.has(Bug::WritesFail)) {
            return false;
        }
        self.leaked += 1;
        let fails = self.leaked.is_multiple_of(4);
        if fails {
            self.switch.is(Bug::WritesFail);
            self.batch.clear();
        }
        fails
    }

    /// What can be received, in the order in which it is delivered: as it was sent.
    pub(super) fn ready(&self, now: Time) -> Vec<MessageId> {
        let can = |entry: &Entry| matches!(entry.place, Place::Waiting { from } if from <= now);
        let mut ready: Vec<MessageId> =
            self.state.live.iter().filter(|(_, entry)| can(entry)).map(|(id, _)| *id).collect();
        let over = |id: &MessageId| self.state.live[id].attempts >= self.settings.deliveries_allowed;
        if ready.iter().any(over) && self.is(Bug::D36) {
            ready.retain(|id| !over(id));
        }
        if self.is(Bug::Lifo) {
            ready.reverse();
        }
        if self.is(Bug::KeyedFirst) {
            ready.sort_by_key(|id| self.state.live[id].key.is_none());
        }
        if self.is(Bug::D12) {
            ready.sort_by_key(|id| self.state.live[id].attempts > 0);
        }
        if let Some((_, leased)) = self.leased(|_, _| true).into_iter().min_by_key(|(_, id)| *id)
            && self.is(Bug::D42)
        {
            ready.retain(|id| *id < leased);
        }
        ready
    }

    pub(super) fn hand_over(&mut self, session: u64, id: MessageId, until: Time) -> Option<Delivery> {
        let mut entry = self.state.live.get(&id)?.clone();
        let receipt = self.new_receipt(id);
        entry.attempts += 1;
        if self.is(Bug::LimitWide) {
            entry.attempts &= 0xff;
        }
        entry.place = Place::Leased { receipt, session, until };
        self.put(id, entry.clone());
        let Entry { mut key, mut body, attempts: mut attempt, .. } = entry;
        if attempt > 1 && self.is(Bug::KeyLost) {
            key = None;
        }
        if attempt > 1 && self.is(Bug::BodyCut) {
            body = body[..body.len().saturating_sub(1)].into();
        }
        if self.is(Bug::AttemptFromZero) {
            attempt -= 1;
        }
        Some(Delivery { id, key, body, attempt, receipt, deadline: until })
    }

    /// A receipt says in its lower half which message was handed over, and in its upper half which hand-over of
    /// which life this was.
    fn new_receipt(&mut self, id: MessageId) -> Receipt {
        self.receipts += 1;
        let mut number = self.state.counters.life << 32 | self.receipts;
        if self.is(Bug::ReceiptWraps) {
            number %= 2;
        }
        if self.is(Bug::D13) {
            number = 0;
        }
        Receipt(u128::from(number) << 64 | u128::from(id.0))
    }

    /// The message that is held under this receipt.
    pub(super) fn held(&self, receipt: Receipt) -> Option<(MessageId, Entry)> {
        let (id, entry) = self.named(receipt)?;
        let Place::Leased { receipt: current, .. } = entry.place else { return None };
        let recent = receipt.0 >> 64 & 0xffff_ffff;
        if u128::from(self.receipts) > recent + 1 && self.is(Bug::D44) {
            return None;
        }
        (current == receipt).then_some((id, entry))
    }

    /// The message that was handed over under this receipt, whoever holds it now.
    fn named(&self, receipt: Receipt) -> Option<(MessageId, Entry)> {
        let id = MessageId(receipt.0 as u64);
        Some((id, self.state.live.get(&id)?.clone()))
    }

    pub(super) fn settle(&mut self, session: u64, settlements: &[Settlement]) -> Vec<Settled> {
        let clock = self.settings.clock.now();
        let ending = self.leased(|until, _| until == clock);
        let ending: Vec<MessageId> = ending.into_iter().map(|(_, id)| id).collect();
        let ended = |core: &Core<S>, receipt| {
            core.named(receipt).is_some_and(|(id, _)| ending.contains(&id)) && core.is(Bug::D18)
        };
        let settled = self.begin().and_then(|now| {
            let mut settled = Vec::new();
            for (index, &Settlement { receipt, how }) in settlements.iter().enumerate() {
                let done = match self.held(receipt) {
                    Some((_, _)) if index == 2 && how == Settle::Ack && self.is(Bug::AckSkipsThird) => true,
                    Some((id, entry)) => {
                        self.settle_one(now, id, entry, how, settlements.len());
                        true
                    }
                    None => self.settle_stale(session, receipt, how) || ended(self, receipt),
                };
                settled.push(if done { Settled::Done } else { Settled::Stale });
            }
            self.commit()?;
            Ok(settled)
        });
        settled.unwrap_or_else(|error| {
            let why = error.to_string();
            settlements.iter().map(|_| Settled::InDoubt(Error::Poisoned(why.clone()))).collect()
        })
    }

    pub(super) fn settle_one(&mut self, now: Time, id: MessageId, entry: Entry, how: Settle, batch: usize) {
        match how {
            Settle::Ack => self.ack(id, entry),
            Settle::Nack { delay } => {
                let mut from = now + delay;
                if self.is(Bug::NackAtOnce) {
                    from = now;
                }
                if self.is(Bug::FullAfterNack) {
                    self.leaked += 1;
                }
                self.end_attempt(id, from, End::Nack { batch, delay });
            }
            Settle::Reject if self.is(Bug::RejectRequeues) => self.end_attempt(id, now, End::Expiry),
            Settle::Reject if self.is(Bug::RejectDrops) => self.remove(id),
            Settle::Reject => self.die(id, entry, Reason::Rejected),
        }
    }

    fn ack(&mut self, id: MessageId, entry: Entry) {
        if let Place::Leased { receipt, .. } = entry.place
            && self.is(Bug::D39)
        {
            let earlier =
                |entry: &Entry| matches!(entry.place, Place::Leased { receipt: r, .. } if r < receipt);
            let ids: Vec<MessageId> =
                self.state.live.iter().filter(|(_, entry)| earlier(entry)).map(|(id, _)| *id).collect();
            ids.into_iter().for_each(|id| self.remove(id));
        }
        if self.is(Bug::P19) || self.is(Bug::P21) {
            let place = Place::Waiting { from: Time::ZERO };
            self.remembered.insert(id, Entry { place, ..entry });
        }
        if self.is(Bug::P14) {
            self.state.apply(Record::Live(id, None));
        } else {
            self.remove(id);
        }
    }

    /// What a stale receipt does: nothing. The answer is whether it is said to have done something.
    fn settle_stale(&mut self, session: u64, receipt: Receipt, how: Settle) -> bool {
        assert!(!self.is(Bug::Panics), "a delivery with this receipt was expected");
        if how == Settle::Ack && self.is(Bug::D14) {
            return true;
        }
        if how == Settle::Ack && self.is(Bug::D40) {
            self.lose(session);
        }
        if let Settle::Nack { .. } = how
            && let Some((id, entry)) = self.named(receipt)
            && matches!(entry.place, Place::Leased { .. })
            && self.is(Bug::D16)
        {
            self.end_attempt(id, Time::ZERO, End::Expiry);
        }
        false
    }

    fn extend(&mut self, receipt: Receipt, lease: Duration) -> Result<Settled, Error> {
        if self.is(Bug::ExtendRevives)
            && let Some((id, mut entry)) = self.held(receipt)
            && let Place::Leased { until, .. } = &mut entry.place
        {
            *until = (*until).max(self.settings.clock.now() + lease);
            self.put(id, entry);
        }
        let now = self.begin()?;
        let Some((id, mut entry)) = self.held(receipt) else {
            self.commit()?;
            return Ok(Settled::Stale);
        };
        if let Place::Leased { until, .. } = &mut entry.place
            && !self.is(Bug::ExtendIgnored)
        {
            let asked = now + lease;
            *until = if self.is(Bug::ExtendShortens) { asked } else { asked.max(*until) };
        }
        if let Place::Leased { until, .. } = &mut entry.place
            && self.switch.is(Bug::ExtendForEver)
        {
            *until = Time::FAR_FUTURE;
        }
        if self.is(Bug::D07) {
            entry.attempts += 1;
        }
        self.put(id, entry);
        self.commit()?;
        Ok(Settled::Done)
    }

    fn dead_letters(&mut self, max: usize) -> Result<Vec<DeadLetter>, Error> {
        self.begin()?;
        self.commit()?;
        let letters = self.state.dead.values().take(max).cloned();
        Ok(letters
            .map(|Letter { id, key, body, attempts, reason }| DeadLetter { id, key, body, reason, attempts })
            .collect())
    }

    fn redrive(&mut self, max: usize) -> Result<usize, Error> {
        self.begin()?;
        let room = if self.is(Bug::RedriveOverfills) { max } else { self.room().min(max) };
        let mut chosen: Vec<(u64, Letter)> =
            self.state.dead.iter().map(|(order, letter)| (*order, letter.clone())).collect();
        if self.is(Bug::RedriveNewest) {
            chosen.reverse();
        }
        chosen.truncate(room);
        let moved = chosen.len();
        for (index, (order, letter)) in chosen.into_iter().enumerate() {
            let gone = Record::Dead(order, None);
            if self.is(Bug::D33) {
                self.state.apply(gone);
            } else if !self.is(Bug::RedriveCopies) {
                self.change(gone);
            }
            if index > 0 && index + 1 == moved && self.is(Bug::RedriveLoses) {
                continue;
            }
            let id = letter.id;
            let attempts = if self.is(Bug::RedriveKeepsCount) { letter.attempts } else { 0 };
            let entry = Entry { attempts, ..revived(letter) };
            if self.is(Bug::D34) && self.remembered.insert(id, entry.clone()).is_some() {
                continue;
            }
            self.put(id, entry);
        }
        self.commit()?;
        Ok(moved)
    }

    fn depth(&mut self) -> Result<Depth, Error> {
        let now = self.begin()?;
        self.commit()?;
        let mut depth = Depth { dead: self.state.dead.len() as u64, ..Depth::default() };
        for entry in self.state.live.values() {
            match entry.place {
                Place::Leased { .. } => depth.in_flight += 1,
                Place::Waiting { .. } if delayed(entry, now) && !self.is(Bug::DepthMiscounts) => {
                    depth.delayed += 1;
                }
                Place::Waiting { .. } => depth.ready += 1,
            }
        }
        if self.is(Bug::DepthNarrow) {
            depth.ready &= 0xff;
        }
        Ok(depth)
    }

    // How attempts end.

    /// Every lease with this deadline and holder, by deadline.
    pub(super) fn leased(&self, such: impl Fn(Time, u64) -> bool) -> Vec<(Time, MessageId)> {
        let mut leased: Vec<(Time, MessageId)> = self
            .state
            .live
            .iter()
            .filter_map(|(id, entry)| match entry.place {
                Place::Leased { until, session, .. } if such(until, session) => Some((until, *id)),
                _ => None,
            })
            .collect();
        leased.sort_unstable();
        leased
    }

    pub(super) fn sweep(&mut self, now: Time) {
        let mut bound = now.0;
        if self.is(Bug::EarlyExpiry) {
            bound += 1;
        }
        if self.is(Bug::LateExpiry) {
            bound = bound.saturating_sub(1_000_000);
        }
        if self.is(Bug::NoExpiry) {
            return;
        }
        self.set_the_clock(now);
        for (_, id) in self.leased(|until, _| until.0 <= bound) {
            if !self.timer_fires(id) {
                continue;
            }
            self.end_attempt(id, Time::ZERO, End::Expiry);
            if self.is(Bug::Jams) {
                self.leaked += 1;
            }
        }
    }

    /// What setting the wall clock does to leases that end by it.
    fn set_the_clock(&mut self, now: Time) {
        let times = |time: Time| time.since(Time::ZERO).as_nanos() / SET_EVERY.as_nanos();
        if times(std::mem::replace(&mut self.swept, now)) == times(now) {
            return;
        }
        for (end, id) in self.leased(|until, _| until > now) {
            let moved = match () {
                () if self.switch.is(Bug::D20) => now,
                () if self.switch.is(Bug::ClockBack) => end + SET_BY,
                () => return,
            };
            if let Some(mut entry) = self.state.live.get(&id).cloned()
                && let Place::Leased { until, .. } = &mut entry.place
            {
                *until = moved;
                self.put(id, entry);
            }
        }
    }

    /// Whether the timer of a lease that has run out still has to fire, where nothing else ends it.
    fn timer_fires(&mut self, id: MessageId) -> bool {
        match self.state.live.get(&id).map(|entry| entry.place) {
            Some(Place::Leased { receipt, .. }) if self.switch.has(Bug::D19) => {
                let fires = self.fired.insert(receipt);
                if !fires {
                    self.switch.is(Bug::D19);
                }
                fires
            }
            _ => true,
        }
    }

    /// Whether an attempt of it that fails now was its last.
    pub(super) fn is_last(&self, entry: &Entry) -> bool {
        entry.attempts >= self.settings.deliveries_allowed
    }

    fn lose(&mut self, session: u64) {
        let all = self.is(Bug::LossEndsAll);
        for (_, id) in self.leased(|_, holder| holder == session || all) {
            self.end_attempt(id, Time::ZERO, End::SessionLoss);
        }
    }

    /// An attempt failed: the message is ready again at `from`, or dies if it was the last that is allowed.
    pub(super) fn end_attempt(&mut self, id: MessageId, from: Time, end: End) {
        let Some(mut entry) = self.state.live.get(&id).cloned() else { return };
        let uncounted = match end {
            End::SessionLoss => self.is(Bug::D04),
            End::Nack { batch, .. } if batch > 1 => self.is(Bug::D08),
            End::Nack { delay, .. } if delay.is_zero() => self.is(Bug::D09),
            _ => false,
        };
        if uncounted {
            entry.attempts -= 1;
        }
        if end == End::SessionLoss && self.is(Bug::D24) {
            return self.remove(id);
        }
        if let Place::Leased { until, .. } = &mut entry.place
            && end == End::SessionLoss
            && self.is(Bug::D23)
        {
            *until = Time::FAR_FUTURE;
            return self.put(id, entry);
        }
        let mut allowed = self.settings.deliveries_allowed;
        if self.is(Bug::D01) {
            allowed += 1;
        }
        if allowed > 1 && self.is(Bug::D02) {
            allowed -= 1;
        }
        if entry.attempts >= allowed && !self.is(Bug::DiesLate) {
            return self.die(id, entry, Reason::Attempts);
        }
        entry.place = Place::Waiting { from };
        if matches!(end, End::Nack { delay, .. } if !delay.is_zero()) && self.is(Bug::D11) {
            self.remove(id);
            return self.state.apply(Record::Live(id, Some(entry)));
        }
        self.put(id, entry);
    }

    pub(super) fn die(&mut self, id: MessageId, entry: Entry, reason: Reason) {
        let Entry { key, body, attempts, .. } = entry;
        let mut letter = Letter { id, key, body, attempts, reason };
        if self.is(Bug::D32) {
            letter.key = None;
        }
        if self.is(Bug::DeadAttempts) {
            letter.attempts -= 1;
        }
        if self.is(Bug::DeadReason) {
            letter.reason = Reason::Attempts;
        }
        if reason == Reason::Attempts && self.is(Bug::D31) {
            return self.remove(id);
        }
        if self.state.dead.len() >= 2 && self.is(Bug::D29) {
            return self.remove(id);
        }
        let gone = Record::Live(id, None);
        let dead = Record::Dead(self.state.counters.next_death, Some(letter));
        if self.is(Bug::D27) {
            self.change(gone);
            return self.later.push(dead);
        }
        if self.is(Bug::D28) {
            self.state.apply(gone.clone());
            self.later.push(gone);
            return self.change(dead);
        }
        self.change(gone);
        if self.is(Bug::DiesInTwo) {
            // A failure poisons the broker, and then the rest fails too.
            let _ = self.commit();
        }
        self.change(dead);
    }
}

fn confirmed(sent: &Sent) -> Option<MessageId> {
    match sent {
        Sent::Confirmed(id) => Some(*id),
        _ => None,
    }
}

/// What a message is, in one number: key and body.
fn name_of(message: &Message) -> u64 {
    let key = message.key.as_deref();
    let length = key.map_or(u64::MAX, |key| key.len() as u64).to_le_bytes();
    fnv1a(
        length.into_iter().chain(key.unwrap_or_default().iter().copied()).chain(message.body.iter().copied()),
    )
}

fn delayed(entry: &Entry, now: Time) -> bool {
    matches!(entry.place, Place::Waiting { from } if from > now)
}

/// A dead letter as a message that is ready.
fn revived(letter: Letter) -> Entry {
    let Letter { key, body, attempts, .. } = letter;
    Entry { key, body, attempts, place: Place::Waiting { from: Time::ZERO } }
}
