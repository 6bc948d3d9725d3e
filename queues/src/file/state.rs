//! The state of the queue in memory. [`State::apply`] is the only way in which anything durable changes, in
//! the running queue as in recovery; leases are not durable and change apart from it.
//!
//! A message that waits to be delivered for the first time costs what the [`Table`] says and nothing more. What is
//! rarer is kept beside it: dues, leases, attempts, deaths.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem;

use super::record::{At, Death, Payload, Record, Stored};
use super::segment::{Marks, NUMBERS};
use super::table::{MANY, Place, Table};
use crate::broker::{Depth, Reason, Receipt};
use crate::clock::Time;

/// Every message, in the order of ids, which is the order of the sends.
#[derive(Default)]
pub(super) struct State {
    table: Table,
    /// How many are ready.
    ready: usize,
    /// Whatever is ready from this id on is ready by its place alone,
    ready_from: u64,
    /// and these are ready besides;
    returned: BTreeSet<u64>,
    /// but of these somebody knows that they cannot be read. They are handed out when nothing else is.
    aside: BTreeSet<u64>,
    /// The next of them in turn is not before this one.
    aside_from: u64,
    delayed: BTreeSet<(Time, u64)>,
    dues: HashMap<u64, Time>,
    leases: HashMap<u64, Lease>,
    /// When each lease ends.
    deadlines: BTreeSet<(Time, u64)>,
    /// Who holds each message in flight.
    holders: BTreeSet<(u64, u64)>,
    receipts: HashMap<Receipt, u64>,
    /// Of the messages in flight, those of which no record says so.
    unrecorded: BTreeSet<u64>,
    /// Those of which a record says that the next attempt has begun.
    handed: BTreeSet<u64>,
    /// Attempts that ended, where there were more than the table can say.
    many_attempts: HashMap<u64, u32>,
    /// Oldest death first.
    dead: BTreeMap<u64, u64>,
    /// Deaths of those of which somebody knows that they cannot be read. They are shown behind all others.
    unread_dead: BTreeSet<u64>,
    /// The next of them in turn is not before this one.
    unread_dead_from: u64,
    deaths: HashMap<u64, Death>,
    next_death: u64,
    next_id: u64,
    /// Messages with smaller ids may be unknown: they were in segments that are gone.
    known_from: u64,
    released: u64,
    /// How much of each segment is messages.
    live: BTreeMap<u64, Live>,
}

/// Messages in a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Live {
    pub(super) messages: u64,
    pub(super) bytes: u64,
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

/// A message that was handed out, but for its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct HandedOut {
    pub(super) id: u64,
    pub(super) at: At,
    pub(super) attempt: u32,
    pub(super) lease: Lease,
}

/// A dead letter, but for its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Letter {
    pub(super) id: u64,
    /// Of its death.
    pub(super) order: u64,
    pub(super) at: At,
    pub(super) reason: Reason,
    pub(super) attempts: u32,
}

/// Where a message goes, with what is known of it there.
#[derive(Clone, Copy, Debug)]
enum To {
    Ready,
    Delayed(Time),
    InFlight(Lease),
    Dead(Death),
}

impl To {
    fn place(self) -> Place {
        match self {
            To::Ready => Place::Ready,
            To::Delayed(_) => Place::Delayed,
            To::InFlight(_) => Place::InFlight,
            To::Dead(_) => Place::Dead,
        }
    }
}

/// How a message that was sent or returned waits.
fn waiting(due: Time) -> To {
    if due == Time::ZERO { To::Ready } else { To::Delayed(due) }
}

impl State {
    /// The state before a segment with these marks: all that was stored before is unknown.
    pub(super) fn starting_at(marks: Marks) -> State {
        let Marks { next_id, next_death, released } = marks;
        State { next_death, next_id, known_from: next_id, released, ready_from: 0, ..State::default() }
    }

    pub(super) fn marks(&self) -> Marks {
        Marks { next_id: self.next_id, next_death: self.next_death, released: self.released }
    }

    /// Segments from this one on are read: see [`Table::starts_at`].
    pub(super) fn reads_from(&mut self, segment: u64) {
        self.table.starts_at(segment);
    }

    /// Parts of the log may be missing: anything may be unknown.
    pub(super) fn may_lack_anything(&mut self) {
        self.known_from = u64::MAX;
    }

    /// What a header says of the log before it.
    pub(super) fn learn(&mut self, marks: Marks) {
        self.next_id = self.next_id.max(marks.next_id);
        self.next_death = self.next_death.max(marks.next_death);
        self.released = self.released.max(marks.released);
    }

    /// Removes the messages in segments that were given up: they are done, or were moved, and what said so is missing.
    pub(super) fn forget_what_was_given_up(&mut self) {
        let gone: Vec<u64> =
            self.table.from(0).filter(|(_, _, at)| at.segment < self.released).map(|(id, ..)| id).collect();
        gone.into_iter().for_each(|id| self.remove(id));
    }

    /// Every message, as it is written elsewhere.
    pub(super) fn all(&self) -> Vec<(Stored, At)> {
        let segments: Vec<u64> = self.live.keys().copied().collect();
        segments.into_iter().flat_map(|segment| self.to_move(segment, 0, u64::MAX, usize::MAX).0).collect()
    }

    /// Everything has been read: whatever is unknown from now on is not there.
    pub(super) fn is_complete(&mut self) {
        self.known_from = 0;
    }

    /// Makes the change that the record says.
    ///
    /// # Errors
    /// It cannot follow what was before: the record is not one of this queue's.
    pub(super) fn apply(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Stored(_, Payload::Here { .. }) => return Err("a message was given no place".to_owned()),
            Record::Stored(stored, Payload::At(at)) => self.store(stored, *at)?,
            Record::Handed { first, count } => {
                let end = first.saturating_add(*count);
                let handed: Vec<u64> = self
                    .table
                    .from(*first)
                    .take_while(|(id, ..)| *id < end)
                    .filter(|(_, place, _)| *place != Place::Dead)
                    .map(|(id, ..)| id)
                    .collect();
                for id in handed {
                    self.handed.insert(id);
                    self.unrecorded.remove(&id);
                }
            }
            Record::Returned { id, attempts, due } => {
                if self.is_alive(*id)? {
                    self.set_attempts(*id, *attempts);
                    self.put(*id, waiting(*due));
                }
            }
            Record::Acked { first, count } => self.remove_run(*first, first.saturating_add(*count))?,
            Record::Dead { id, reason, attempts } => {
                let death = Death { order: self.next_death, reason: *reason };
                self.next_death += 1;
                if self.is_alive(*id)? {
                    self.set_attempts(*id, *attempts);
                    self.put(*id, To::Dead(death));
                }
            }
            Record::Redriven { id } => match self.table.place(*id) {
                Some(Place::Dead) => {
                    self.set_attempts(*id, 0);
                    self.put(*id, To::Ready);
                }
                None if *id < self.known_from => {}
                _ => return Err(format!("message {id} is redriven and is no dead letter")),
            },
            Record::Opened => {
                for id in mem::take(&mut self.handed) {
                    self.set_attempts(id, self.attempts(id).saturating_add(1));
                }
            }
            Record::Released { below } => {
                self.released = self.released.max(*below);
                if let Some((segment, live)) = self.live.range(..below).next() {
                    let many = live.messages;
                    return Err(format!("segment {segment:016x} is given up with {many} messages in it"));
                }
                self.table.starts_at(*below);
            }
            Record::Witness | Record::Closed => {}
        }
        Ok(())
    }

    fn store(&mut self, stored: &Stored, at: At) -> Result<(), String> {
        let Stored { id, due, attempts, handed, death, moved, .. } = *stored;
        let numbers = death.map_or(id, |death| id.max(death.order));
        if numbers >= NUMBERS {
            return Err(format!("message {id} has a number that was never given"));
        }
        if !self.table.can_hold(at.segment) {
            return Err(format!("message {id} is in a segment that was given up"));
        }
        if let Some(other) = death.and_then(|death| self.dead.get(&death.order)).filter(|other| **other != id)
        {
            return Err(format!("message {id} died when message {other} did"));
        }
        if moved && id >= self.known_from && self.table.place(id).is_none() {
            return Err(format!("message {id} is moved and is not there"));
        }
        let to = death.map_or_else(|| waiting(due), To::Dead);
        if !self.table.insert(id, at, to.place(), attempts) {
            if !moved {
                return Err(format!("message {id} is stored twice"));
            }
            // All else is as it was.
            self.relocate(id, at);
            return Ok(());
        }
        self.count(at, true);
        self.next_death = self.next_death.max(death.map_or(0, |death| death.order + 1));
        self.note(id, to);
        if attempts >= MANY {
            self.many_attempts.insert(id, attempts);
        }
        if handed {
            self.handed.insert(id);
        }
        self.next_id = self.next_id.max(id.saturating_add(1));
        Ok(())
    }

    /// Says that the bytes of a message, if it is still there, are in another place.
    pub(super) fn relocate(&mut self, id: u64, at: At) {
        if let Some(before) = self.table.relocate(id, at) {
            self.count(before, false);
            self.count(at, true);
        }
    }

    fn remove_run(&mut self, first: u64, end: u64) -> Result<(), String> {
        let there: Vec<u64> = self.table.from(first).map(|(id, ..)| id).take_while(|id| *id < end).collect();
        let mut expected = first.max(self.known_from);
        for id in there {
            if id >= self.known_from {
                if id != expected {
                    break;
                }
                expected += 1;
            }
            self.is_alive(id)?;
            self.remove(id);
        }
        if expected < end { self.is_alive(expected).map(|_| ()) } else { Ok(()) }
    }

    /// Whether this message is there. One that may be unknown need not be.
    fn is_alive(&self, id: u64) -> Result<bool, String> {
        match self.table.place(id) {
            Some(Place::Dead) => Err(format!("message {id} changes after its death")),
            Some(_) => Ok(true),
            None if id < self.known_from => Ok(false),
            None => Err(format!("message {id} changes and is not there")),
        }
    }

    fn set_attempts(&mut self, id: u64, attempts: u32) {
        self.table.set_attempts(id, attempts);
        if attempts < MANY {
            self.many_attempts.remove(&id);
        } else {
            self.many_attempts.insert(id, attempts);
        }
    }

    fn count(&mut self, at: At, there: bool) {
        let live = self.live.entry(at.segment).or_default();
        let bytes = u64::from(at.len);
        if there {
            live.messages += 1;
            live.bytes += bytes;
        } else {
            live.messages -= 1;
            live.bytes -= bytes;
            if live.messages == 0 {
                self.live.remove(&at.segment);
            }
        }
    }

    /// Moves a message to another place, where no record says yet that it was handed out.
    fn put(&mut self, id: u64, to: To) {
        self.handed.remove(&id);
        self.leave(id);
        self.enter(id, to);
    }

    fn remove(&mut self, id: u64) {
        self.handed.remove(&id);
        self.many_attempts.remove(&id);
        self.leave(id);
        if let Some(at) = self.table.remove(id) {
            self.count(at, false);
        }
    }

    fn leave(&mut self, id: u64) {
        match self.table.place(id) {
            Some(Place::Ready) => {
                self.ready -= 1;
                self.returned.remove(&id);
                self.aside.remove(&id);
            }
            Some(Place::Delayed) => {
                if let Some(due) = self.dues.remove(&id) {
                    self.delayed.remove(&(due, id));
                }
            }
            Some(Place::InFlight) => {
                if let Some(lease) = self.leases.remove(&id) {
                    self.deadlines.remove(&(lease.deadline, id));
                    self.holders.remove(&(lease.session, id));
                    self.receipts.remove(&lease.receipt);
                    self.unrecorded.remove(&id);
                }
            }
            Some(Place::Dead) => {
                if let Some(death) = self.deaths.remove(&id) {
                    self.dead.remove(&death.order);
                    self.unread_dead.remove(&death.order);
                }
            }
            None => {}
        }
    }

    fn enter(&mut self, id: u64, to: To) {
        self.table.set_place(id, to.place());
        self.note(id, to);
    }

    /// What is known of a message besides its place.
    fn note(&mut self, id: u64, to: To) {
        match to {
            To::Ready => {
                self.ready += 1;
                if id < self.ready_from {
                    self.returned.insert(id);
                }
            }
            To::Delayed(due) => {
                self.delayed.insert((due, id));
                self.dues.insert(id, due);
            }
            To::InFlight(lease) => {
                self.deadlines.insert((lease.deadline, id));
                self.holders.insert((lease.session, id));
                self.receipts.insert(lease.receipt, id);
                self.leases.insert(id, lease);
                self.unrecorded.insert(id);
            }
            To::Dead(death) => {
                self.dead.insert(death.order, id);
                self.deaths.insert(id, death);
            }
        }
    }

    fn first_ready(&mut self) -> Option<u64> {
        if let Some(id) = self.returned.first() {
            return Some(*id);
        }
        if self.ready == self.aside.len() {
            return None;
        }
        let first = self.table.from(self.ready_from).find(|(_, place, _)| *place == Place::Ready);
        let id = first.map(|(id, ..)| id)?;
        self.ready_from = id;
        Some(id)
    }

    /// Hands the first ready message out under this lease.
    pub(super) fn hand_out(&mut self, lease: Lease) -> Option<HandedOut> {
        let id = self.first_ready()?;
        self.hand_out_this(id, lease)
    }

    /// Hands out the next in turn of those that could not be read, perhaps only then.
    pub(super) fn hand_out_again(&mut self, lease: Lease) -> Option<HandedOut> {
        let id = *self.aside.range(self.aside_from..).next().or_else(|| self.aside.first())?;
        self.aside_from = id + 1;
        self.hand_out_this(id, lease)
    }

    fn hand_out_this(&mut self, id: u64, lease: Lease) -> Option<HandedOut> {
        self.put(id, To::InFlight(lease));
        self.ready_from = self.ready_from.max(id + 1);
        let at = self.table.at(id)?;
        Some(HandedOut { id, at, attempt: self.attempts(id).saturating_add(1), lease })
    }

    /// Takes that back: nobody came to see it.
    pub(super) fn take_back(&mut self, id: u64) {
        let handed = self.handed.contains(&id);
        self.put(id, To::Ready);
        if handed {
            self.handed.insert(id);
        }
    }

    /// Takes that back, as it could not be read: it stays ready, behind all that can be.
    pub(super) fn set_aside(&mut self, id: u64) {
        self.take_back(id);
        self.returned.remove(&id);
        self.aside.insert(id);
    }

    /// Makes the lease of this message end at `deadline`, unless it ends later anyway.
    pub(super) fn extend(&mut self, id: u64, deadline: Time) {
        if self.leases.get(&id).is_some_and(|lease| deadline > lease.deadline) {
            self.set_deadline(id, deadline);
        }
    }

    fn set_deadline(&mut self, id: u64, deadline: Time) {
        if let Some(lease) = self.leases.get_mut(&id) {
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
            self.put(id, To::Ready);
        }
    }

    /// The messages whose lease has ended, earliest first.
    pub(super) fn expired(&self, now: Time) -> impl Iterator<Item = u64> {
        self.deadlines.range(..=(now, u64::MAX)).map(|(_, id)| *id)
    }

    fn held_by(&self, session: u64) -> impl Iterator<Item = u64> {
        self.holders.range((session, 0)..=(session, u64::MAX)).map(|(_, id)| *id)
    }

    /// Ends the leases of a session that is lost.
    pub(super) fn abandon(&mut self, session: u64) {
        let held: Vec<u64> = self.held_by(session).collect();
        for id in held {
            self.set_deadline(id, Time::ZERO);
        }
    }

    /// The message in flight under this receipt.
    pub(super) fn held_under(&self, receipt: Receipt) -> Option<u64> {
        self.receipts.get(&receipt).copied()
    }

    /// The same, if the lease is live.
    pub(super) fn live_under(&self, receipt: Receipt, now: Time) -> Option<u64> {
        self.held_under(receipt).filter(|id| self.leases.get(id).is_some_and(|lease| now < lease.deadline))
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
        match self.table.attempts(id) {
            MANY => self.many_attempts.get(&id).copied().unwrap_or(MANY),
            few => few,
        }
    }

    /// Says of the messages in flight what no record says yet; before any record that says how such an attempt ends.
    pub(super) fn unrecorded(&self) -> Vec<Record> {
        Record::handed(self.unrecorded.iter().copied())
    }

    /// How those messages end that have used up their attempts.
    pub(super) fn used_up(&self, limit: u32) -> Vec<Record> {
        let tried = self.table.tried(limit).map(|id| (id, self.attempts(id)));
        let dying: Vec<(u64, u32)> = tried.filter(|(_, attempts)| *attempts >= limit).collect();
        let death = |(id, attempts)| Record::Dead { id, reason: Reason::Attempts, attempts };
        dying.into_iter().map(death).collect()
    }

    /// The dead letters, oldest death first.
    pub(super) fn dead_letters(&self) -> impl Iterator<Item = Letter> {
        self.dead.keys().filter_map(|order| self.dead_letter(*order))
    }

    /// The same but for those that could not be read, which follow behind them in turn.
    pub(super) fn dead_letters_to_show(&self) -> impl Iterator<Item = Letter> {
        let others = self.dead.keys().filter(|order| !self.unread_dead.contains(order));
        let from = self.unread_dead_from;
        let unread = self.unread_dead.range(from..).chain(self.unread_dead.range(..from));
        others.chain(unread).filter_map(|order| self.dead_letter(*order))
    }

    fn dead_letter(&self, order: u64) -> Option<Letter> {
        let id = *self.dead.get(&order)?;
        let reason = self.deaths.get(&id)?.reason;
        Some(Letter { id, order, at: self.table.at(id)?, reason, attempts: self.attempts(id) })
    }

    /// Somebody is told that the letter of this death cannot be read.
    pub(super) fn could_not_show(&mut self, order: u64) {
        self.unread_dead_from = order + 1;
        if self.dead.contains_key(&order) {
            self.unread_dead.insert(order);
        }
    }

    /// Whether somebody was.
    pub(super) fn is_known_unread(&self, order: u64) -> bool {
        self.unread_dead.contains(&order)
    }

    /// Says of this death that its letter can be read.
    pub(super) fn could_show(&mut self, order: u64) {
        self.unread_dead.remove(&order);
    }

    pub(super) fn oldest_dead(&self) -> Option<u64> {
        self.dead.first_key_value().map(|(_, id)| *id)
    }

    /// The id that the next message gets.
    pub(super) fn next_id(&self) -> u64 {
        self.next_id
    }

    pub(super) fn depth(&self) -> Depth {
        Depth {
            ready: self.ready as u64,
            in_flight: self.leases.len() as u64,
            delayed: self.delayed.len() as u64,
            dead: self.dead.len() as u64,
        }
    }

    /// The oldest message that is no dead letter.
    pub(super) fn first_alive(&self) -> Option<u64> {
        self.table.from(0).find(|(_, place, _)| *place != Place::Dead).map(|(id, ..)| id)
    }

    /// How many messages count towards the capacity.
    pub(super) fn resident(&self) -> usize {
        self.table.len() - self.dead.len()
    }

    /// The first segment that is needed and has messages.
    pub(super) fn first_live(&self) -> Option<(u64, Live)> {
        self.live.first_key_value().map(|(segment, live)| (*segment, *live))
    }

    /// How many messages are in this segment.
    pub(super) fn live(&self, segment: u64) -> u64 {
        self.live.get(&segment).map_or(0, |live| live.messages)
    }

    /// How many bytes of the log are messages.
    pub(super) fn live_bytes(&self) -> u64 {
        self.live.values().map(|live| live.bytes).sum()
    }

    /// Segments with smaller numbers are given up.
    pub(super) fn released(&self) -> u64 {
        self.released
    }

    /// Messages of this segment from id `from` on, as they are written elsewhere unless they turn out to be damaged: about
    /// `bytes`, and not looking at more than `looks` ids; and where to go on.
    pub(super) fn to_move(
        &self,
        segment: u64,
        from: u64,
        bytes: u64,
        looks: usize,
    ) -> (Vec<(Stored, At)>, u64) {
        let (mut moves, mut taken, mut next) = (Vec::new(), 0, from);
        for (id, place, at) in self.table.from(from).take(looks) {
            if taken >= bytes {
                break;
            }
            next = id + 1;
            if at.segment == segment {
                taken += u64::from(at.len);
                let due = if place == Place::Delayed { self.dues.get(&id).copied() } else { None };
                let handed = place == Place::InFlight || self.handed.contains(&id);
                let stored = Stored {
                    id,
                    due: due.unwrap_or(Time::ZERO),
                    attempts: self.attempts(id),
                    handed,
                    death: self.deaths.get(&id).copied(),
                    moved: true,
                    damaged: false,
                };
                moves.push((stored, at));
            }
        }
        (moves, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_go_on_for_ever() {
        let mut state = State::starting_at(Marks { next_id: 1, next_death: 0, released: 1 });
        state.reads_from(1);
        let stored = Stored {
            id: 1,
            due: Time::ZERO,
            attempts: 0,
            handed: false,
            death: None,
            moved: false,
            damaged: false,
        };
        // Many more than the table tells apart at once.
        for segment in (0..5).map(|nth| 1 + nth * ((1 << 23) + 12_345)) {
            let at = At { segment, offset: 1024, len: 9 };
            let again = Stored { moved: segment > 1, ..stored };
            state.apply(&Record::Stored(again, Payload::At(at))).expect("follows");
            state.apply(&Record::Released { below: segment }).expect("nothing is before");
            assert_eq!(state.to_move(segment, 0, u64::MAX, usize::MAX).0.len(), 1);
            assert_eq!(state.all()[0].1, at);
        }
        let at = At { segment: 7, offset: 1024, len: 9 };
        let earlier = Record::Stored(Stored { id: 2, ..stored }, Payload::At(at));
        state.apply(&earlier).expect_err("is in one that was given up long ago");
    }
}
