//! Group commit: whoever has something to say adds it to the open batch and waits; one of those who wait
//! leads, which is to write and sync the batch for all of them, without the lock.
//!
//! Only one batch is ever unsynced. While it is, others gather in the next one; when it has ended, first one
//! of these is made the next leader, and then its own callers are released. The state changes only when a
//! batch is durable, batch after batch, so nothing is seen that a crash could take back. Until then a message
//! of which a record tells is *claimed*, and a place for a message is *reserved*: an answer that depends on
//! either waits for the batch and is decided anew. So no answer rests on what may yet fail.
//!
//! A full disk refuses messages and still takes what little everything else needs (see `log`). Any other
//! failure ends every batch, also the open one, whose records may build on those of the failed one.

use std::collections::HashSet;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::batch::{Batch, Outcome, Woken};
use super::failure::Failure;
use super::log::{CommitError, Log, Name};
use super::record::Record;
use super::recovery::{Recovered, salt_seed};
use super::state::State;
use super::storage::Storage;
use crate::broker::Settings;

/// A leader waits for the callers that the last commit released to come back, but no longer than that commit
/// took, and than this. Without the wait the first to come back would commit alone and make all others wait:
/// batches of one and of all but one would take turns.
const RETURN: Duration = Duration::from_micros(150);
/// After waits in vain, as many commits as this go without at most.
const BACK_OFF: u32 = 64;

/// How much of a log that is rewritten from this length on is prepared for commits when it is begun.
pub(super) fn prepared_at_first(rewrite_from: u64) -> u64 {
    rewrite_from / 4
}

pub(super) struct Shared<S: Storage> {
    pub(super) settings: Settings,
    pub(super) recovered: Recovered,
    core: Mutex<Core<S>>,
}

pub(super) struct Core<S: Storage> {
    pub(super) storage: S,
    settings: Settings,
    /// What is durable, and who holds what.
    pub(super) state: State,
    /// `None` while a leader has it.
    log: Option<Log<S::File>>,
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
    /// Somebody leads, or has been told to. Otherwise the open batch is empty.
    led: bool,
    returning: Returning,
    rewrite_from: u64,
    /// How long the log may grow before it is rewritten.
    rewrite_at: u64,
    pub(super) poisoned: Option<String>,
}

/// What the next commit will say, and to whom it matters.
#[derive(Default)]
struct Open {
    batch: Arc<Batch>,
    records: Vec<Record>,
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

/// A leader's duty. Should it unwind, nobody may wait for ever.
struct Leading<'a, S: Storage> {
    shared: &'a Shared<S>,
}

impl<S: Storage> Drop for Leading<'_, S> {
    fn drop(&mut self) {
        if thread::panicking() {
            let mut core = self.shared.lock();
            let failure = core.poison("a thread panicked while it committed");
            core.fail(&failure);
        }
    }
}

impl<S: Storage> Shared<S> {
    pub(super) fn new(
        storage: S,
        settings: &Settings,
        rewrite_from: u64,
        state: State,
        log: Log<S::File>,
        recovered: Recovered,
    ) -> Shared<S> {
        let core = Core {
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
            led: false,
            returning: Returning::default(),
            rewrite_from,
            rewrite_at: log.end().saturating_mul(2).max(rewrite_from),
            log: Some(log),
            poisoned: None,
        };
        Shared { settings: settings.clone(), recovered, core: Mutex::new(core) }
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
        let sends = records.iter().any(Record::is_message);
        for record in &records {
            core.claimed.extend(record.changes());
            core.reserved += usize::from(record.takes_room());
        }
        core.open.records.extend(records);
        let batch = Arc::clone(&core.open.batch);
        batch.join();
        let leads = !mem::replace(&mut core.led, true);
        drop(core);
        let outcome = if leads { self.lead() } else { self.follow(&batch) };
        if sends { outcome.sends } else { outcome.others }
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

    fn follow(&self, batch: &Batch) -> Outcome {
        match batch.wait() {
            Woken::Lead => self.lead(),
            Woken::Ended(outcome) => outcome,
        }
    }

    /// Commits the open batch, to which the caller belongs and which nobody else leads.
    fn lead(&self) -> Outcome {
        let leading = Leading { shared: self };
        let mut core = self.gather();
        // The leader before this one gave it back, or unwound; but then all batches have ended.
        let Some(mut log) = core.log.take() else { return core.working().into() };
        let Open { batch, records } = mem::take(&mut core.open);
        core.unsynced = Some(Arc::clone(&batch));
        let mut records: Vec<Record> = core.state.unrecorded().into_iter().chain(records).collect();
        drop(core);

        let started = Instant::now();
        let mut written = log.commit(&records);
        let mut refused = 0;
        if matches!(written, Err(CommitError::Full)) {
            refused = records.iter().filter(|record| record.is_message()).count();
            records.retain(|record| !record.is_message());
            if !records.iter().any(|record| record.changes().is_some()) {
                records.clear();
                written = Ok(());
            } else if refused > 0 {
                written = log.commit(&records);
            }
        }
        let mut core = self.lock();
        core.reserved -= refused;
        core.returning.last_commit = started.elapsed();
        let others = core.finish(written, &log, &records);
        let sends = if refused > 0 { others.clone().and(Err(core.full(&log))) } else { others.clone() };
        let outcome = Outcome { sends, others };
        core.unsynced = None;
        if outcome.others.is_ok() && log.end() >= core.rewrite_at {
            // They need not wait for the rewriting.
            batch.end(outcome.clone());
            (core, log) = self.rewrite(core, log);
        }
        core.log = Some(log);
        core.hand_over(batch.callers());
        drop(core);
        drop(leading);
        batch.end(outcome.clone());
        outcome
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
        let started = Instant::now();
        while batch.callers() < expected && started.elapsed() < limit {
            thread::yield_now();
        }
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

    /// Begins a new log with the present state and removes the old one. Others go on meanwhile, except that
    /// nothing is committed.
    fn rewrite<'a>(
        &'a self,
        core: MutexGuard<'a, Core<S>>,
        log: Log<S::File>,
    ) -> (MutexGuard<'a, Core<S>>, Log<S::File>) {
        let old = log.number();
        let Some(number) = old.checked_add(1) else { return (core, log) };
        let (storage, seed) = (core.storage.clone(), salt_seed(&core.settings));
        let step = prepared_at_first(core.rewrite_from);
        let state: Vec<Record> = core.state.snapshot().collect();
        drop(core);
        let begun = Log::begin(&storage, number, seed, step, state.into_iter());
        let published = begun.map(|log| log.publish(&storage).map(|()| log));
        match published {
            Ok(Ok(new)) => {
                // If it stays, it is in nobody's way, and the next open tries again.
                let _ = storage.remove(&Name::Log(old).to_string());
                let mut core = self.lock();
                core.rewrite_at = new.end().saturating_mul(2).max(core.rewrite_from);
                (core, new)
            }
            Ok(Err(error)) => {
                // What was committed before is in both logs; but which one the next open finds is unknown.
                let mut core = self.lock();
                let failure = core.poison(error);
                core.fail(&failure);
                (core, log)
            }
            Err(_) => {
                // The old log is as good as ever; try again when it has doubled.
                let _ = storage.remove(&Name::Unfinished(number).to_string());
                let mut core = self.lock();
                core.rewrite_at = core.rewrite_at.saturating_mul(2);
                (core, log)
            }
        }
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
        self.settings.capacity.saturating_sub(self.state.resident()).saturating_sub(self.reserved)
    }

    /// Whether so many messages have room only if others do not get theirs.
    pub(super) fn room_is_uncertain(&self, many: usize) -> bool {
        self.reserved > 0 && self.room() < many
    }

    fn poison(&mut self, error: impl ToString) -> Failure {
        Failure::Now(self.poisoned.get_or_insert_with(|| error.to_string()).clone())
    }

    /// Makes true what was written, or fails.
    fn finish(
        &mut self,
        written: Result<(), CommitError>,
        log: &Log<S::File>,
        records: &[Record],
    ) -> Result<(), Failure> {
        let applied = match written {
            Err(CommitError::Full) => Err(self.full(log)),
            Err(CommitError::Broken(error)) => Err(self.poison(error)),
            // A thread that panicked may have left anything.
            Ok(()) if self.poisoned.is_some() => Err(self.poison("")),
            Ok(()) => self.apply(records).map_err(|impossible| self.poison(impossible)),
        };
        applied.inspect_err(|failure| self.fail(failure))
    }

    fn full(&self, log: &Log<S::File>) -> Failure {
        Failure::Full(self.storage.locate(&Name::Log(log.number()).to_string()))
    }

    fn apply(&mut self, records: &[Record]) -> Result<(), String> {
        records.iter().try_for_each(|record| {
            if let Some(id) = record.changes() {
                self.claimed.remove(&id);
            }
            self.reserved -= usize::from(record.takes_room());
            self.state.apply(record)
        })
    }

    /// Ends every batch with this failure.
    fn fail(&mut self, failure: &Failure) {
        self.claimed.clear();
        self.reserved = 0;
        let open = mem::take(&mut self.open).batch;
        for batch in self.unsynced.take().into_iter().chain([open]) {
            batch.end(Err(failure.clone()).into());
        }
    }

    /// Passes the lead to the next batch, if somebody waits in it, after a commit that had `released` callers.
    fn hand_over(&mut self, released: usize) {
        let waiting = self.open.batch.callers();
        self.returning.expected = waiting + released;
        self.led = waiting > 0;
        if self.led {
            self.open.batch.pass_baton();
        }
    }
}

impl<S: Storage> Drop for Core<S> {
    fn drop(&mut self) {
        // A witness for the last commit: without it, damage there would look like a torn end. If it cannot be
        // written, nothing but that is lost.
        if self.working().is_ok()
            && let Some(log) = &mut self.log
        {
            let mut records = self.state.unrecorded();
            records.push(Record::Closed);
            let _ = log.commit(&records);
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

    /// How much may be written before the log is rewritten.
    pub(super) fn until_rewritten(&self) -> u64 {
        let core = self.lock();
        core.rewrite_at.saturating_sub(core.log.as_ref().map_or(0, Log::end))
    }
}
