//! Group commit: whoever has something to say adds it to the open batch and waits; one of those who wait
//! leads, which is to write and sync the batch for all of them, without the lock. Who takes a ticket does not wait: of a batch
//! in which nobody does the heartbeat takes the lead, unless somebody comes to wait before it.
//!
//! Only one batch is ever unsynced. While it is, others gather in the next one; when it has ended, first one
//! of these is made the next leader, and then its own callers are released. The state changes only when a
//! batch is durable, batch after batch, so nothing is seen that a crash could take back. Until then a message
//! of which a record tells is *claimed*, and a place for a message is *reserved*: an answer that depends on
//! either waits for the batch and is decided anew. So no answer rests on what may yet fail.
//!
//! A full disk refuses messages and still takes what little everything else needs (see `log`). Any other
//! failure ends every batch, also the open one, whose records may build on those of the failed one.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::mem;
use std::sync::{Arc, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::batch::{Batch, Outcome, Woken};
use super::body::Body;
use super::failure::{self, Failure};
use super::handles::Handles;
use super::heartbeat::Bell;
use super::log::{Begun, CommitError, Log, Sizes};
use super::mistake::Mistake;
use super::recent::Recent;
use super::record::{At, Read, Record, Stored};
use super::recovery::{Opened, Recovered};
use super::segment::{End, Name};
use super::state::State;
use super::storage::Storage;
use crate::broker::Settings;
use crate::sync::{Mutex, MutexGuard, Spin};

/// A leader waits for the callers that the last commit released to come back, but no longer than that commit
/// took, and than this. Without the wait the first to come back would commit alone and make all others wait:
/// batches of one and of all but one would take turns.
const RETURN: Duration = Duration::from_micros(150);
/// After waits in vain, as many commits as this go without at most.
const BACK_OFF: u32 = 64;

/// After messages that the system does not read, as many commits as this move none at most.
const MOVES_BACK_OFF: u32 = 1 << 10;

/// How many messages are looked at in one commit for those that keep a segment.
const LOOKS: usize = 1 << 14;

/// How a queue uses its storage and memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) sizes: Sizes,
    /// How many bytes of messages are kept in memory.
    pub(super) recent: u64,
}

pub(super) struct Shared<S: Storage> {
    /// Rings when a commit has no witness.
    pub(super) bell: Arc<Bell>,
    pub(super) settings: Settings,
    pub(super) recovered: Recovered,
    /// The same as in the core.
    storage: S,
    core: Mutex<Core<S>>,
}

pub(super) struct Core<S: Storage> {
    pub(super) storage: S,
    settings: Settings,
    /// What is durable, and who holds what.
    pub(super) state: State,
    /// `None` while a leader has it.
    log: Option<Log<S>>,
    /// All segments that are needed, with their lengths.
    files: BTreeMap<u64, u64>,
    handles: Arc<Handles<S>>,
    recent: Recent,
    sizes: Sizes,
    /// Where the search goes on for messages that keep a segment, and in which.
    search: (u64, u64),
    moving: Moving,
    /// Nothing that matters was committed since the last witness.
    witnessed: bool,
    /// The bell was rung, and whoever waits for it has not gone back to waiting.
    rung: bool,
    bell: Arc<Bell>,
    /// The number of the log that this life began: part of every receipt.
    pub(super) life: u64,
    pub(super) receipts: u64,
    pub(super) sessions: u64,
    pub(super) next_id: u64,
    /// Messages below may have been handed out by a life that was killed before it could write so.
    pub(super) suspects: u64,
    /// Messages of which records tell that are not durable yet.
    claimed: HashSet<u64>,
    /// How many places those records will take.
    reserved: usize,
    open: Open,
    /// The batch that is being made durable.
    unsynced: Option<Arc<Batch>>,
    /// Whom to wake, of batches that failed, once this is not locked any more.
    wakers: Vec<Waker>,
    /// Somebody leads, or whoever comes first is to. Otherwise the open batch is empty.
    led: bool,
    returning: Returning,
    pub(super) poisoned: Option<String>,
}

/// What the next commit will say, and to whom it matters.
#[derive(Default)]
struct Open {
    batch: Arc<Batch>,
    records: Vec<Record>,
}

impl Open {
    fn say(&mut self, record: Record) {
        match (self.records.last_mut(), &record) {
            (Some(Record::Acked { first, count }), Record::Acked { first: next, count: more })
                if first.checked_add(*count) == Some(*next) =>
            {
                *count += more;
            }
            _ => self.records.push(record),
        }
    }
}

/// What a leader knows of the callers that may join it in a moment.
#[derive(Default)]
struct Returning {
    /// How many callers the batch has if all come back.
    expected: usize,
    last_commit: Duration,
    /// Doubles with each wait in vain.
    back_off: u32,
    /// Commits to go without a wait.
    skip: u32,
}

/// How the system reads messages that are to be written anew.
#[derive(Default)]
struct Moving {
    /// Doubles with each that it does not read: the disk may be slow to say so.
    back_off: u32,
    /// Commits to go without trying again.
    skip: u32,
}

/// A message that is to be written anew, and where its bytes are.
type Moved<S> = (Stored, Body<S>);

/// A leader's duty. Should it unwind instead of forgetting it, nobody may wait for ever.
struct Leading<'a, S: Storage> {
    shared: &'a Shared<S>,
}

impl<S: Storage> Drop for Leading<'_, S> {
    fn drop(&mut self) {
        let mut core = self.shared.lock();
        let failure = core.poison("a thread panicked while it committed");
        core.fail(&failure);
        let wakers = mem::take(&mut core.wakers);
        drop(core);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl<S: Storage> Shared<S> {
    pub(super) fn new(storage: S, settings: &Settings, limits: Limits, opened: Opened<S>) -> Shared<S> {
        let Opened { state, log, segments, read, recovered } = opened;
        let mut core = Core {
            handles: Handles::new(storage.clone()),
            storage,
            settings: settings.clone(),
            life: log.number(),
            receipts: 0,
            sessions: 0,
            next_id: state.next_id(),
            suspects: if recovered.unclean { state.next_id() } else { 0 },
            state,
            claimed: HashSet::new(),
            reserved: 0,
            open: Open::default(),
            unsynced: None,
            wakers: Vec::new(),
            led: false,
            returning: Returning::default(),
            files: segments,
            recent: Recent::new(limits.recent),
            sizes: limits.sizes,
            search: (0, 0),
            moving: Moving::default(),
            witnessed: true,
            rung: false,
            bell: Arc::default(),
            log: None,
            poisoned: None,
        };
        core.take_in(log, read);
        let (bell, storage) = (Arc::clone(&core.bell), core.storage.clone());
        Shared { bell, settings: settings.clone(), recovered, storage, core: Mutex::new(core) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Core<S>> {
        self.core.lock().unwrap_or_else(|panicked: PoisonError<_>| {
            let mut core = panicked.into_inner();
            core.poisoned.get_or_insert_with(|| "a thread panicked inside the queue".to_owned());
            core
        })
    }

    /// Makes the records durable, then true, along with those of other callers. With nothing to say it
    /// writes nothing.
    pub(super) fn commit(
        &self,
        mut core: MutexGuard<'_, Core<S>>,
        records: Vec<Record>,
    ) -> Result<(), Failure> {
        core.working()?;
        if records.is_empty() {
            return Ok(());
        }
        let sends = records.iter().any(Record::is_send);
        let batch = core.say(records);
        batch.join();
        let leads = !mem::replace(&mut core.led, true);
        drop(core);
        let outcome = if leads { self.lead() } else { self.follow(&batch) };
        if sends { outcome.sends } else { outcome.others }
    }

    /// The same, without waiting for it: the batch that will say so. Whoever waits first leads it, or the heartbeat does.
    pub(super) fn begin_commit(
        &self,
        mut core: MutexGuard<'_, Core<S>>,
        records: Vec<Record>,
    ) -> Result<Option<Arc<Batch>>, Failure> {
        core.working()?;
        if records.is_empty() {
            return Ok(None);
        }
        let batch = core.say(records);
        if !mem::replace(&mut core.led, true) {
            core.call();
        }
        Ok(Some(batch))
    }

    /// Leads the open batch, if nobody does.
    pub(super) fn lead_unwaited(&self) {
        let batch = Arc::clone(&self.lock().open.batch);
        if batch.take_baton() {
            self.lead();
        }
    }

    /// Waits for a batch, to which the caller belongs.
    pub(super) fn wait_for(&self, batch: &Batch) -> Outcome {
        batch.join();
        self.follow(batch)
    }

    /// Waits until all that others have said until now is durable, or has failed.
    pub(super) fn let_others_commit<'a>(
        &'a self,
        core: MutexGuard<'a, Core<S>>,
    ) -> Result<MutexGuard<'a, Core<S>>, Failure> {
        let batch =
            if core.open.records.is_empty() { &core.unsynced } else { &Some(Arc::clone(&core.open.batch)) };
        let batch = batch.clone().inspect(|batch| batch.join());
        drop(core);
        if let Some(batch) = batch {
            // Whether it failed matters to those who said it. If it broke, the queue does not work any more.
            let _ = self.follow(&batch);
        }
        let core = self.lock();
        core.working()?;
        Ok(core)
    }

    pub(super) fn makes(&self, mistake: Mistake) -> bool {
        self.storage.makes(mistake)
    }

    fn follow(&self, batch: &Batch) -> Outcome {
        let blindly = self.makes(Mistake::WaitsBlindly);
        match if blindly { batch.wait_blindly() } else { batch.wait() } {
            Woken::Lead => self.lead(),
            Woken::Ended(outcome) => outcome,
        }
    }

    /// Commits the open batch, to which the caller belongs and which nobody else leads.
    fn lead(&self) -> Outcome {
        let leading = Leading { shared: self };
        let mut core = self.gather();
        // The leader before this one gave it back, or unwound; but then all batches have ended.
        let Some(mut log) = core.log.take() else {
            mem::forget(leading);
            return core.working().into();
        };
        let Open { batch, records } = mem::take(&mut core.open);
        core.unsynced = Some(Arc::clone(&batch));
        let (housekeeping, moves) = core.housekeeping(&log, &records);
        let pending = core.state.resident() + core.reserved;
        let storage = &self.storage;
        if storage.makes(Mistake::LeadsTwice) {
            core.led = false;
        }
        drop(core);

        let mut woken = Vec::new();
        if storage.makes(Mistake::ConfirmsEarly) {
            woken = batch.release(Ok(()).into());
        }
        let started = Instant::now();
        let tried = !moves.is_empty();
        let anew = moves.into_iter().map(|(stored, body)| body.anew(storage, stored));
        let (moves, unread): (Vec<_>, Vec<_>) = anew.partition(Result::is_ok);
        let moves = moves.into_iter().filter_map(Result::ok);
        let mut records: Vec<Record> = housekeeping.into_iter().chain(moves).chain(records).collect();
        let mut written = log.commit(&mut records, pending);
        if matches!(written, Err(CommitError::Lacking(_))) && records.iter().any(Record::is_move) {
            records.retain(|record| !record.is_move());
            written = log.commit(&mut records, pending);
        }
        let mut refused = 0;
        let mut lacking = None;
        if let Err(CommitError::Lacking(error)) = written {
            refused = records.iter().filter(|record| record.is_send()).count();
            records.retain(|record| !record.is_send());
            let asked = records.iter().any(|record| !record.changes().is_empty());
            // What is given up makes room for those who try again.
            let tries = asked || records.iter().any(|record| matches!(record, Record::Released { .. }));
            written = if refused > 0 && tries {
                log.commit(&mut records, pending)
            } else {
                Err(CommitError::Lacking(failure::copy(&error)))
            };
            if !asked && matches!(written, Err(CommitError::Lacking(_))) {
                records.clear();
                written = Ok(Vec::new());
            }
            lacking = Some(error);
        }
        let mut core = self.lock();
        if tried {
            core.moving.tried(unread.is_empty());
        }
        core.reserved -= refused;
        core.returning.last_commit = started.elapsed();
        let others = core.finish(written, &mut log, &records);
        let sends = match lacking.filter(|_| refused > 0) {
            Some(error) => others.clone().and(Err(core.lacking(error, &log))),
            None => others.clone(),
        };
        let outcome = Outcome { sends, others };
        core.unsynced = None;
        if outcome.others.is_ok() {
            let retired = core.retired();
            drop(core);
            // They need not wait for what makes room. Whoever is woken may call the queue, so not before somebody else can lead.
            woken.append(&mut batch.release(outcome.clone()));
            retired.into_iter().for_each(|segment| log.retire(segment));
            log.work_ahead();
            core = self.lock();
        }
        core.log = Some(log);
        core.hand_over(batch.callers());
        woken.append(&mut core.wakers);
        drop(core);
        mem::forget(leading);
        woken.append(&mut batch.release(told(storage, outcome.clone())));
        woken.into_iter().for_each(Waker::wake);
        outcome
    }

    /// Says durably that all that was committed is durable, if nobody has said anything since: without it, damage to
    /// the last commit would look like a torn end.
    pub(super) fn witness(&self) {
        let core = self.lock();
        if !core.led {
            self.witness_within(core);
        }
    }

    fn witness_within(&self, core: MutexGuard<'_, Core<S>>) {
        if core.working().is_ok() && !core.witnessed {
            // If it fails, the queue is poisoned, or full and as good as before.
            let _ = self.commit(core, vec![Record::Witness]);
        }
    }

    /// Whether something was committed since it was asked for last, or is being committed; if not, the commit before gets
    /// its witness, and whatever is committed from then on rings the bell.
    pub(super) fn is_restless(&self, before: &mut Option<(u64, u64)>) -> bool {
        let mut core = self.lock();
        if core.witnessed || core.working().is_err() {
            core.rung = false;
            return false;
        }
        let now = core.log.as_ref().map(|log| (log.number(), log.filled()));
        // Whoever leads and still waits for others has not taken the log yet.
        if core.led || now.is_none() || mem::replace(before, now) != now {
            return true;
        }
        core.rung = false;
        let tail = core.log.as_ref().filter(|_| self.storage.makes(Mistake::WitnessesAnytime)).map(Log::tail);
        match tail {
            Some(tail) => {
                drop(core);
                self.witness_at(tail);
            }
            None => self.witness_within(core),
        }
        false
    }

    /// Waits a little for those who were released a moment ago, if there are any.
    fn gather(&self) -> MutexGuard<'_, Core<S>> {
        let mut core = self.lock();
        let batch = Arc::clone(&core.open.batch);
        let expected = core.returning.expected;
        if batch.callers() >= expected {
            return core;
        }
        if core.returning.skip > 0 {
            core.returning.skip -= 1;
            return core;
        }
        let limit = RETURN.min(core.returning.last_commit);
        drop(core);
        let mut spin = Spin::new(limit);
        while batch.callers() < expected && spin.once_more() {}
        core = self.lock();
        let Returning { back_off, skip, .. } = &mut core.returning;
        if batch.callers() < expected {
            *skip = *back_off;
            *back_off = (*back_off * 2).clamp(1, BACK_OFF);
        } else {
            *back_off = 0;
        }
        core
    }
}

impl Moving {
    fn skips(&mut self) -> bool {
        let skips = self.skip > 0;
        self.skip = self.skip.saturating_sub(1);
        skips
    }

    fn tried(&mut self, all_read: bool) {
        self.back_off = if all_read { 0 } else { (self.back_off * 2).clamp(1, MOVES_BACK_OFF) };
        self.skip = self.back_off;
    }
}

impl<S: Storage> Core<S> {
    pub(super) fn working(&self) -> Result<(), Failure> {
        self.poisoned.as_ref().map_or(Ok(()), |why| Err(Failure::Before(why.clone())))
    }

    /// Whether a record tells of this message that is not durable yet.
    pub(super) fn is_claimed(&self, id: u64) -> bool {
        self.claimed.contains(&id)
    }

    /// How many messages more there may be, when all that is reserved is taken.
    pub(super) fn room(&self) -> usize {
        self.settings.capacity.saturating_sub(self.state.resident()).saturating_sub(self.reserved())
    }

    /// Whether so many messages have room only if others do not get theirs.
    pub(super) fn room_is_uncertain(&self, many: usize) -> bool {
        self.reserved() > 0 && self.room() < many
    }

    fn reserved(&self) -> usize {
        if self.storage.makes(Mistake::ReservesNothing) { 0 } else { self.reserved }
    }

    /// Whether this changes the state before it is durable: no.
    fn applies_early(&self, record: &Record) -> bool {
        let settles = matches!(record, Record::Acked { .. } | Record::Returned { .. });
        settles && self.storage.makes(Mistake::AppliesEarly)
    }

    /// [`Mistake::WitnessesAnytime`].
    pub(super) fn witnessed_at(&mut self, segment: u64, end: End) {
        self.witnessed = true;
        if let Some(log) = &mut self.log {
            log.was_appended_to(segment, end);
        }
    }

    /// Adds these to the open batch.
    fn say(&mut self, records: Vec<Record>) -> Arc<Batch> {
        for record in &records {
            self.claimed.extend(record.changes());
            self.reserved += usize::from(record.takes_room());
            if self.applies_early(record) {
                // It fits what is there.
                let _ = self.state.apply(record);
            }
        }
        records.into_iter().for_each(|record| self.open.say(record));
        Arc::clone(&self.open.batch)
    }

    /// Has somebody lead the open batch, in which nobody waits.
    fn call(&self) {
        self.open.batch.pass_baton();
        if !self.storage.makes(Mistake::LeavesTickets) {
            self.bell.call();
        }
    }

    fn poison(&mut self, error: impl ToString) -> Failure {
        Failure::Now(self.poisoned.get_or_insert_with(|| error.to_string()).clone())
    }

    /// Makes true what was written, or fails.
    fn finish(
        &mut self,
        written: Result<Vec<Read>, CommitError>,
        log: &mut Log<S>,
        records: &[Record],
    ) -> Result<(), Failure> {
        let applied = match written {
            Err(CommitError::Lacking(error)) => Err(self.lacking(error, log)),
            Err(CommitError::Broken(error)) => Err(self.poison(error)),
            // A thread that panicked may have left anything.
            Ok(_) if self.poisoned.is_some() => Err(self.poison("")),
            Ok(read) => {
                self.take_in_segments(log);
                read.into_iter().for_each(|read| self.recent.put(read));
                self.apply(records).map_err(|impossible| self.poison(impossible))
            }
        };
        applied.inspect_err(|failure| self.fail(failure))
    }

    fn lacking(&self, error: io::Error, log: &Log<S>) -> Failure {
        Failure::Lacking(self.storage.locate(&Name::Segment(log.number()).to_string()), Arc::new(error))
    }

    /// A log that may be appended to, and messages that were just written to it.
    fn take_in(&mut self, mut log: Log<S>, read: Vec<Read>) {
        self.take_in_segments(&mut log);
        self.log = Some(log);
        read.into_iter().for_each(|read| self.recent.put(read));
    }

    fn take_in_segments(&mut self, log: &mut Log<S>) {
        let begun = log.begun().into_iter();
        self.files.extend(begun.map(|Begun { number, len }| (number, len)));
    }

    /// Where the bytes of a message are.
    pub(super) fn body(&self, id: u64, at: At) -> Body<S> {
        match self.recent.get(id) {
            Some(read) => Body::Here(read.clone()),
            None => Body::There { reader: self.handles.reader(at.segment), at, id },
        }
    }

    /// What a commit says besides what it is asked to: who was handed what, which segments are not needed any more, and
    /// the messages that keep others in use, whose bytes are still to be read.
    fn housekeeping(&mut self, log: &Log<S>, asked: &[Record]) -> (Vec<Record>, Vec<Moved<S>>) {
        let mut records = self.state.unrecorded();
        let current = log.number();
        let first = self.state.first_live().map_or(current, |(segment, _)| segment);
        // What was done early, the records that follow may say.
        if first > self.state.released() && !self.storage.makes(Mistake::AppliesEarly) {
            records.push(Record::Released { below: first });
        }
        if first == current || !self.is_sparse(first, log) || self.moving.skips() {
            return (records, Vec::new());
        }
        let sent: u64 = asked.iter().map(Record::payload_len).sum();
        let from = if self.search.0 == first { self.search.1 } else { 0 };
        let (moved, next) = self.state.to_move(first, from, 2 * sent + self.sizes.least / 4, LOOKS);
        self.search = (first, if next == from { 0 } else { next });
        let bodies = moved.into_iter().map(|(stored, at)| (stored, self.body(stored.id, at)));
        (records, bodies.collect())
    }

    fn is_sparse(&self, first: u64, log: &Log<S>) -> bool {
        let sealed: u64 = self.files.range(first..log.number()).map(|(_, len)| len).sum();
        self.sizes.is_sparse(sealed + log.filled(), self.state.live_bytes())
    }

    /// The segments that are not needed any more. What somebody is about to read stays a little longer.
    fn retired(&mut self) -> Vec<Begun> {
        let below = self.files.range(..self.state.released());
        let retired: Vec<Begun> = below
            .filter(|(number, _)| self.handles.forget(**number))
            .map(|(&number, &len)| Begun { number, len })
            .collect();
        for gone in &retired {
            self.files.remove(&gone.number);
        }
        retired
    }

    fn apply(&mut self, records: &[Record]) -> Result<(), String> {
        if records.iter().all(Record::is_upkeep) {
            self.witnessed |= !records.is_empty();
        } else {
            self.witnessed = false;
            if !mem::replace(&mut self.rung, true) {
                self.bell.ring();
            }
        }
        records.iter().try_for_each(|record| {
            for id in record.changes() {
                self.claimed.remove(&id);
                self.recent.remove(id);
            }
            self.reserved -= usize::from(record.takes_room());
            if self.applies_early(record) { Ok(()) } else { self.state.apply(record) }
        })
    }

    /// Ends every batch with this failure.
    fn fail(&mut self, failure: &Failure) {
        self.claimed.clear();
        self.reserved = 0;
        let failed = Outcome::from(Err(failure.clone()));
        if let Some(batch) = self.unsynced.take() {
            self.wakers.extend(batch.release(told(&self.storage, failed.clone())));
        }
        self.wakers.extend(mem::take(&mut self.open).batch.release(failed));
    }

    /// Passes the lead to the next batch, if there is anything in it, after a commit that had `released` callers.
    fn hand_over(&mut self, released: usize) {
        let waiting = self.open.batch.callers();
        self.returning.expected = waiting + released;
        self.led = waiting > 0 || !self.open.records.is_empty();
        if waiting > 0 {
            self.open.batch.pass_baton();
        } else if self.led {
            self.call();
        }
    }
}

/// What those are told who wait for a batch that ended so: that.
fn told<S: Storage>(storage: &S, outcome: Outcome) -> Outcome {
    if storage.makes(Mistake::ConfirmsFailed) { Ok(()).into() } else { outcome }
}

impl<S: Storage> Drop for Core<S> {
    fn drop(&mut self) {
        // A witness for the last commit: without it, damage there would look like a torn end. If it cannot be
        // written, nothing but that is lost.
        if self.working().is_ok()
            && let Some(log) = &mut self.log
        {
            // And what was said by tickets that nobody has any more.
            let mut records = self.state.unrecorded();
            records.append(&mut self.open.records);
            // Whether one of them kills whoever receives it is to be found out by the next life.
            let suspicious = self.state.first_alive().is_some_and(|id| id < self.suspects);
            records.push(if suspicious { Record::Witness } else { Record::Closed });
            let pending = self.state.resident() + self.reserved;
            if let Err(CommitError::Lacking(_)) = log.commit(&mut records, pending) {
                records.retain(|record| !record.is_send());
                let _ = log.commit(&mut records, pending);
            }
        }
    }
}

/// For tests that decide who commits together.
#[cfg(test)]
impl<S: Storage> Shared<S> {
    /// Lets callers gather as if a batch were on its way, until [`Shared::release`].
    pub(super) fn hold(&self) {
        assert!(!mem::replace(&mut self.lock().led, true), "nobody leads");
    }

    pub(super) fn release(&self) {
        self.lock().hand_over(0);
    }

    /// How many callers wait.
    pub(super) fn waiting(&self) -> usize {
        let core = self.lock();
        core.open.batch.callers() + core.unsynced.as_ref().map_or(0, |batch| batch.callers())
    }
}
