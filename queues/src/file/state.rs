//! The state of the queue in memory. [`State::apply`] is the only way in which anything durable changes, in
//! the running queue as in recovery; leases are not durable and change apart from it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::mem;
use std::sync::Arc;

use super::record::{Record, Stored};
use crate::broker::{DeadLetter, Delivery, Depth, MessageId, Reason, Receipt};
use crate::clock::Time;

/// Every message, in the order of ids, which is the order of the sends.
pub(super) struct State {
    messages: BTreeMap<u64, Entry>,
    ready: BTreeSet<u64>,
    delayed: BTreeSet<(Time, u64)>,
    /// Of the messages in flight, when each lease ends.
    deadlines: BTreeSet<(Time, u64)>,
    /// Of the messages in flight, who holds each.
    holders: BTreeSet<(u64, u64)>,
    receipts: HashMap<Receipt, u64>,
    /// Of the messages in flight, those of which no record says so.
    unrecorded: BTreeSet<u64>,
    /// Oldest death first.
    dead: VecDeque<u64>,
    next_id: u64,
}

struct Entry {
    key: Option<Arc<[u8]>>,
    body: Arc<[u8]>,
    /// Attempts that ended.
    attempts: u32,
    /// Whether a record says that the next attempt has begun.
    handed: bool,
    place: Place,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Ready,
    Delayed(Time),
    InFlight(Lease),
    Dead(Reason),
}

/// One delivery's claim on a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) receipt: Receipt,
    /// Who holds it.
    pub(super) session: u64,
    /// It is live while now is before this.
    pub(super) deadline: Time,
}

/// How a message that was sent or returned waits.
fn waiting(due: Time) -> Place {
    if due == Time::ZERO { Place::Ready } else { Place::Delayed(due) }
}

impl State {
    pub(super) fn new() -> State {
        State {
            messages: BTreeMap::new(),
            ready: BTreeSet::new(),
            delayed: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            holders: BTreeSet::new(),
            receipts: HashMap::new(),
            unrecorded: BTreeSet::new(),
            dead: VecDeque::new(),
            next_id: 1,
        }
    }

    /// Makes the change that the record says.
    ///
    /// # Errors
    /// It cannot follow what was before: the record is not one of this queue's.
    pub(super) fn apply(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::NextId(id) => self.next_id = self.next_id.max(*id),
            Record::Stored(stored) => self.store(stored)?,
            Record::Handed { first, count } => {
                for (id, entry) in self.messages.range_mut(*first..first.saturating_add(*count)) {
                    entry.handed = true;
                    self.unrecorded.remove(id);
                }
            }
            Record::Returned { id, attempts, due } => {
                self.alive(*id)?.attempts = *attempts;
                self.put(*id, waiting(*due));
            }
            Record::Acked { id } => {
                let place = self.alive(*id)?.place;
                self.leave(*id, place);
                self.messages.remove(id);
            }
            Record::Dead { id, reason, attempts } => {
                self.alive(*id)?.attempts = *attempts;
                self.put(*id, Place::Dead(*reason));
            }
            Record::Redriven { id } => {
                if self.oldest_dead() != Some(*id) {
                    return Err(format!("message {id} is redriven and is not the oldest dead letter"));
                }
                if let Some(entry) = self.messages.get_mut(id) {
                    entry.attempts = 0;
                }
                self.put(*id, Place::Ready);
            }
            Record::Closed => {}
        }
        Ok(())
    }

    fn store(&mut self, stored: &Stored) -> Result<(), String> {
        let Stored { id, due, attempts, handed, key, body } = stored;
        if self.messages.contains_key(id) {
            return Err(format!("message {id} is stored twice"));
        }
        let place = waiting(*due);
        let (key, body) = (key.clone(), Arc::clone(body));
        self.messages.insert(*id, Entry { key, body, attempts: *attempts, handed: *handed, place });
        self.enter(*id, place);
        self.next_id = self.next_id.max(id.saturating_add(1));
        Ok(())
    }

    fn alive(&mut self, id: u64) -> Result<&mut Entry, String> {
        match self.messages.get_mut(&id) {
            Some(Entry { place: Place::Dead(_), .. }) => Err(format!("message {id} changes after its death")),
            Some(entry) => Ok(entry),
            None => Err(format!("message {id} changes and is not there")),
        }
    }

    /// Moves a message to another place, where no record says yet that it was handed out.
    fn put(&mut self, id: u64, place: Place) {
        if let Some(entry) = self.messages.get_mut(&id) {
            entry.handed = false;
            let old = mem::replace(&mut entry.place, place);
            self.leave(id, old);
            self.enter(id, place);
        }
    }

    fn leave(&mut self, id: u64, place: Place) {
        match place {
            Place::Ready => {
                self.ready.remove(&id);
            }
            Place::Delayed(due) => {
                self.delayed.remove(&(due, id));
            }
            Place::InFlight(lease) => {
                self.deadlines.remove(&(lease.deadline, id));
                self.holders.remove(&(lease.session, id));
                self.receipts.remove(&lease.receipt);
                self.unrecorded.remove(&id);
            }
            // Only the oldest dead letter leaves.
            Place::Dead(_) => {
                self.dead.pop_front();
            }
        }
    }

    fn enter(&mut self, id: u64, place: Place) {
        match place {
            Place::Ready => {
                self.ready.insert(id);
            }
            Place::Delayed(due) => {
                self.delayed.insert((due, id));
            }
            Place::InFlight(lease) => {
                self.deadlines.insert((lease.deadline, id));
                self.holders.insert((lease.session, id));
                self.receipts.insert(lease.receipt, id);
                self.unrecorded.insert(id);
            }
            Place::Dead(_) => self.dead.push_back(id),
        }
    }

    /// Hands the first ready message out under this lease.
    pub(super) fn hand_out(&mut self, lease: Lease) -> Option<Delivery> {
        let id = *self.ready.first()?;
        self.put(id, Place::InFlight(lease));
        let entry = self.messages.get(&id)?;
        Some(Delivery {
            id: MessageId(id),
            key: entry.key.clone(),
            body: Arc::clone(&entry.body),
            attempt: entry.attempts.saturating_add(1),
            receipt: lease.receipt,
            deadline: lease.deadline,
        })
    }

    /// Makes the lease of this message end at `deadline`, unless it ends later anyway.
    pub(super) fn extend(&mut self, id: u64, deadline: Time) {
        if let Some(Entry { place: Place::InFlight(lease), .. }) = self.messages.get_mut(&id)
            && deadline > lease.deadline
        {
            self.deadlines.remove(&(lease.deadline, id));
            self.deadlines.insert((deadline, id));
            lease.deadline = deadline;
        }
    }

    /// Makes ready what was delayed until now.
    pub(super) fn promote(&mut self, now: Time) {
        while let Some(&(due, id)) = self.delayed.first()
            && due <= now
        {
            self.put(id, Place::Ready);
        }
    }

    /// The messages whose lease has ended, earliest first.
    pub(super) fn expired(&self, now: Time) -> impl Iterator<Item = u64> {
        self.deadlines.range(..=(now, u64::MAX)).map(|(_, id)| *id)
    }

    /// The messages that a session holds.
    pub(super) fn held_by(&self, session: u64) -> impl Iterator<Item = u64> {
        self.holders.range((session, 0)..=(session, u64::MAX)).map(|(_, id)| *id)
    }

    /// The message in flight under this receipt.
    pub(super) fn held_under(&self, receipt: Receipt) -> Option<u64> {
        self.receipts.get(&receipt).copied()
    }

    /// The same, if the lease is live.
    pub(super) fn live_under(&self, receipt: Receipt, now: Time) -> Option<u64> {
        self.held_under(receipt).filter(|id| match self.messages.get(id) {
            Some(Entry { place: Place::InFlight(lease), .. }) => now < lease.deadline,
            _ => false,
        })
    }

    /// How the present attempt of this message ends without success: it is returned, or, if it was the
    /// `limit`th, it dies.
    pub(super) fn end_attempt(&self, id: u64, limit: u32, due: Time) -> Record {
        let attempts = self.attempts(id).saturating_add(1);
        if attempts >= limit {
            Record::Dead { id, reason: Reason::Attempts, attempts }
        } else {
            Record::Returned { id, attempts, due }
        }
    }

    /// How many attempts of this message ended.
    pub(super) fn attempts(&self, id: u64) -> u32 {
        self.messages.get(&id).map_or(0, |entry| entry.attempts)
    }

    /// Says of the messages in flight what no record says yet.
    pub(super) fn unrecorded(&self) -> Vec<Record> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for &id in &self.unrecorded {
            match runs.last_mut() {
                Some((first, count)) if *first + *count == id => *count += 1,
                _ => runs.push((id, 1)),
            }
        }
        runs.into_iter().map(|(first, count)| Record::Handed { first, count }).collect()
    }

    /// Ends what did not survive: every attempt that a record says had begun counts as ended, and whatever has
    /// used up its attempts dies.
    pub(super) fn recover(&mut self, limit: u32) {
        let ended: Vec<(u64, u32)> = self
            .messages
            .iter()
            .filter(|(_, entry)| !matches!(entry.place, Place::Dead(_)))
            .map(|(id, entry)| (*id, entry.attempts.saturating_add(u32::from(entry.handed))))
            .collect();
        for (id, attempts) in ended {
            if let Some(entry) = self.messages.get_mut(&id) {
                entry.attempts = attempts;
                entry.handed = false;
            }
            if attempts >= limit {
                self.put(id, Place::Dead(Reason::Attempts));
            }
        }
    }

    /// Records that make this state out of an empty one.
    pub(super) fn snapshot(&self) -> impl Iterator<Item = Record> {
        let stored = |id: u64, entry: &Entry| Stored {
            id,
            due: if let Place::Delayed(due) = entry.place { due } else { Time::ZERO },
            attempts: entry.attempts,
            handed: matches!(entry.place, Place::InFlight(_)),
            key: entry.key.clone(),
            body: Arc::clone(&entry.body),
        };
        let alive = self
            .messages
            .iter()
            .filter(|(_, entry)| !matches!(entry.place, Place::Dead(_)))
            .map(move |(id, entry)| Record::Stored(stored(*id, entry)));
        let dead = self.dead().flat_map(move |(id, entry, reason)| {
            let attempts = entry.attempts;
            [Record::Stored(stored(id, entry)), Record::Dead { id, reason, attempts }]
        });
        std::iter::once(Record::NextId(self.next_id)).chain(alive).chain(dead)
    }

    fn dead(&self) -> impl Iterator<Item = (u64, &Entry, Reason)> {
        self.dead.iter().filter_map(|id| match self.messages.get(id) {
            Some(entry @ Entry { place: Place::Dead(reason), .. }) => Some((*id, entry, *reason)),
            _ => None,
        })
    }

    /// The dead letters, oldest death first.
    pub(super) fn dead_letters(&self) -> impl Iterator<Item = DeadLetter> {
        self.dead().map(|(id, entry, reason)| DeadLetter {
            id: MessageId(id),
            key: entry.key.clone(),
            body: Arc::clone(&entry.body),
            reason,
            attempts: entry.attempts,
        })
    }

    pub(super) fn oldest_dead(&self) -> Option<u64> {
        self.dead.front().copied()
    }

    /// The id that the next message gets.
    pub(super) fn next_id(&self) -> u64 {
        self.next_id
    }

    pub(super) fn depth(&self) -> Depth {
        Depth {
            ready: self.ready.len() as u64,
            in_flight: self.deadlines.len() as u64,
            delayed: self.delayed.len() as u64,
            dead: self.dead.len() as u64,
        }
    }

    /// How many messages count towards the capacity.
    pub(super) fn resident(&self) -> usize {
        self.messages.len() - self.dead.len()
    }
}
