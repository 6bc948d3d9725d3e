//! What each operation decides, for one instant for which it has ended what time has ended; answers follow from what is
//! durable, and are given only when what they say is durable too.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::commit::{Core, Shared};
use super::failure::{Failure, is_unreadable};
use super::queue::BODY_LIMIT;
use super::record::{Payload, Read, Record, Stored};
use super::state::{HandedOut, Lease, Letter};
use super::storage::Storage;
use super::ticket::Begun;
use crate::broker::{
    DeadLetter, Delivery, Error, Message, MessageId, Reason, Receipt, Refusal, Sent, Settle, Settled,
    Settlement,
};
use crate::clock::Time;
use crate::sync::MutexGuard;

/// What is to be said, and what it answers when that is durable.
type Decided<'a, S, A> = (MutexGuard<'a, Core<S>>, Vec<Record>, Vec<A>);

impl<S: Storage> Shared<S> {
    /// Ends what time has ended: the first thing every operation does. Answers the instant for which the
    /// operation decides.
    pub(super) fn sweep(&self) -> Result<(MutexGuard<'_, Core<S>>, Time), Failure> {
        loop {
            let mut core = self.lock();
            core.working()?;
            let now = self.settings.clock.now();
            let expired: Vec<u64> = core.state.expired(now).collect();
            if expired.is_empty() {
                core.state.promote(now);
                return Ok((core, now));
            }
            let records: Vec<Record> = expired
                .into_iter()
                .filter(|id| !core.is_claimed(*id))
                .map(|id| self.end_attempt(&core, id, Time::ZERO))
                .collect();
            if records.is_empty() {
                // Somebody else is about to end them, or settled them in time.
                self.let_others_commit(core).map(drop)?;
            } else {
                self.commit(core, records)?;
            }
        }
    }

    fn end_attempt(&self, core: &Core<S>, id: u64, due: Time) -> Record {
        core.state.end_attempt(id, self.settings.deliveries_allowed, due)
    }

    pub(super) fn send(&self, messages: &[Message]) -> Result<Vec<Sent>, Failure> {
        let (outcomes, room_was_made) = self.send_once(messages)?;
        if room_was_made { self.send_once(messages).map(|(outcomes, _)| outcomes) } else { Ok(outcomes) }
    }

    /// And whether all of it was refused for want of space, of which the same commit made some.
    fn send_once(&self, messages: &[Message]) -> Result<(Vec<Sent>, bool), Failure> {
        let (core, records, mut outcomes) = self.decide_sends(messages)?;
        let released = core.state.released();
        let mut room_was_made = false;
        if let Err(failure) = self.commit(core, records) {
            let lacking = matches!(failure, Failure::Lacking(..));
            room_was_made = lacking && self.lock().state.released() > released;
            failure.of_sends(&mut outcomes);
        }
        Ok((outcomes, room_was_made))
    }

    pub(super) fn begin_send(&self, messages: &[Message]) -> Result<Begun<Sent>, Failure> {
        let (core, records, answers) = self.decide_sends(messages)?;
        Ok(Begun { batch: self.begin_commit(core, records)?, answers })
    }

    fn decide_sends(&self, messages: &[Message]) -> Result<Decided<'_, S, Sent>, Failure> {
        let (mut core, now) = self.sweep()?;
        let sized = messages.iter().filter(|message| !too_large(message)).count();
        core = self.wait_while(core, |core| core.room_is_uncertain(sized))?;
        let mut room = core.room();
        let mut records = Vec::new();
        let mut outcomes = Vec::with_capacity(messages.len());
        for message in messages {
            outcomes.push(if too_large(message) {
                Sent::Refused(Refusal::TooLarge)
            } else if room == 0 {
                Sent::Refused(Refusal::Full)
            } else {
                room -= 1;
                let id = core.next_id;
                core.next_id += 1;
                let due = due(now, message.delay);
                let (handed, death, moved, damaged) = (false, None, false, false);
                let stored = Stored { id, due, attempts: 0, handed, death, moved, damaged };
                let payload = Payload::Here { key: message.key.clone(), body: Arc::clone(&message.body) };
                records.push(Record::Stored(stored, payload));
                Sent::Confirmed(MessageId(id))
            });
        }
        Ok((core, records, outcomes))
    }

    pub(super) fn receive(&self, session: u64, max: usize, lease: Duration) -> Result<Vec<Delivery>, Error> {
        let (mut core, now) = self.sweep().map_err(|failure| failure.error())?;
        let mut handed: Vec<HandedOut> = Vec::new();
        let mut bodies = Vec::new();
        while handed.len() < max {
            let receipt = Receipt(u128::from(core.life) << 64 | u128::from(core.receipts));
            let lease = Lease { receipt, session, deadline: now + lease };
            let next = core.state.hand_out(lease);
            // Where nothing else is there, an answer "empty" would pass over what cannot be read.
            let next = next.or_else(|| handed.is_empty().then(|| core.state.hand_out_again(lease)).flatten());
            let Some(out) = next else { break };
            core.receipts += 1;
            bodies.push(core.body(out.id, out.at));
            handed.push(out);
        }
        let suspicious = handed.iter().any(|out| out.id < core.suspects);
        let storage = core.storage.clone();
        drop(core);
        let mut read = Vec::with_capacity(bodies.len());
        let failed = bodies.into_iter().find_map(|body| match body.read(&storage) {
            Ok(whole) => {
                read.push(whole);
                None
            }
            Err(error) => Some(error),
        });
        match failed {
            None => {
                if suspicious {
                    self.say_handed(&handed).map_err(|failure| failure.error())?;
                }
                let all = handed.into_iter().zip(read);
                Ok(all
                    .map(|(HandedOut { id, attempt, lease, .. }, Read { key, body, .. })| Delivery {
                        id: MessageId(id),
                        key,
                        body,
                        attempt,
                        receipt: lease.receipt,
                        deadline: lease.deadline,
                    })
                    .collect())
            }
            // It is said once, and then holds up nobody: the next receive begins with what can be read.
            Some(error) => {
                let damaged = handed.get(read.len()).map(|out| out.id).filter(|_| stays(&error));
                let mut core = self.lock();
                for HandedOut { id, lease, .. } in handed {
                    if core.state.held_under(lease.receipt) != Some(id) || core.is_claimed(id) {
                        continue;
                    }
                    if damaged == Some(id) {
                        core.state.set_aside(id);
                    } else {
                        core.state.take_back(id);
                    }
                }
                Err(error)
            }
        }
    }

    /// One of these may have killed the last life: if it kills this one too, that must count.
    fn say_handed(&self, handed: &[HandedOut]) -> Result<(), Failure> {
        let core = self.lock();
        // How the attempt of any other ends is said already, and would be undone by what comes behind it.
        let held = |out: &&HandedOut| {
            core.state.held_under(out.lease.receipt) == Some(out.id) && !core.is_claimed(out.id)
        };
        let records = Record::handed(handed.iter().filter(held).map(|out| out.id));
        match self.commit(core, records) {
            // Without space it is delivered all the same: acks make room.
            Ok(()) | Err(Failure::Lacking(..)) => Ok(()),
            broken => broken,
        }
    }

    pub(super) fn dead_letters(&self, max: usize) -> Result<Vec<DeadLetter>, Error> {
        let (core, _) = self.sweep().map_err(|failure| failure.error())?;
        let letters: Vec<Letter> = core.state.dead_letters_to_show().take(max).collect();
        let bodies: Vec<_> = letters.iter().map(|letter| core.body(letter.id, letter.at)).collect();
        let storage = core.storage.clone();
        drop(core);
        let (mut shown, mut unread) = (Vec::with_capacity(letters.len()), None);
        for (Letter { id, order, reason, attempts, .. }, body) in letters.into_iter().zip(bodies) {
            match body.read(&storage) {
                Ok(Read { key, body, .. }) => {
                    shown.push((order, DeadLetter { id: MessageId(id), key, body, reason, attempts }));
                }
                Err(error) if stays(&error) && self.lock().state.is_known_unread(order) => {
                    unread.get_or_insert((order, error));
                }
                // It is said once, and then holds up nobody: the next look begins with what can be read.
                Err(error) => {
                    if stays(&error) {
                        self.lock().state.could_not_show(order);
                    }
                    return Err(error);
                }
            }
        }
        let mut core = self.lock();
        shown.iter().for_each(|(order, _)| core.state.could_show(*order));
        // Where nothing else is there, an answer "none" would pass over what cannot be read.
        if let Some((order, error)) = unread.filter(|_| shown.is_empty()) {
            core.state.could_not_show(order);
            return Err(error);
        }
        shown.sort_unstable_by_key(|(order, _)| *order);
        Ok(shown.into_iter().map(|(_, letter)| letter).collect())
    }

    pub(super) fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, Failure> {
        let (core, records, mut outcomes) = self.decide_settlements(settlements)?;
        if let Err(failure) = self.commit(core, records) {
            failure.of_settlements(&mut outcomes);
        }
        Ok(outcomes)
    }

    pub(super) fn begin_settle(&self, settlements: &[Settlement]) -> Result<Begun<Settled>, Failure> {
        let (core, records, answers) = self.decide_settlements(settlements)?;
        Ok(Begun { batch: self.begin_commit(core, records)?, answers })
    }

    fn decide_settlements(&self, settlements: &[Settlement]) -> Result<Decided<'_, S, Settled>, Failure> {
        let (core, now) = self.sweep()?;
        let core = self.wait_while(core, |core| {
            settlements.iter().any(|settlement| core.is_claimed_under(settlement.receipt))
        })?;
        let mut records = Vec::new();
        let mut settled = HashSet::new();
        let mut outcomes = Vec::with_capacity(settlements.len());
        for Settlement { receipt, how } in settlements {
            let held = core.state.live_under(*receipt, now).filter(|_| settled.insert(*receipt));
            outcomes.push(held.map_or(Settled::Stale, |_| Settled::Done));
            records.extend(held.map(|id| match how {
                Settle::Ack => Record::Acked { first: id, count: 1 },
                Settle::Nack { delay } => self.end_attempt(&core, id, due(now, *delay)),
                Settle::Reject => Record::Dead {
                    id,
                    reason: Reason::Rejected,
                    attempts: core.state.attempts(id).saturating_add(1),
                },
            }));
        }
        Ok((core, records, outcomes))
    }

    pub(super) fn extend(&self, receipt: Receipt, lease: Duration) -> Result<Settled, Failure> {
        let (core, now) = self.sweep()?;
        let mut core = self.wait_while(core, |core| core.is_claimed_under(receipt))?;
        let Some(id) = core.state.live_under(receipt, now) else { return Ok(Settled::Stale) };
        core.state.extend(id, now + lease);
        Ok(Settled::Done)
    }

    pub(super) fn redrive(&self, max: usize) -> Result<usize, Failure> {
        let (core, _) = self.sweep()?;
        let core = self.wait_while(core, |core| {
            core.state.oldest_dead().is_some_and(|id| core.is_claimed(id))
                || core.room_is_uncertain(max.min(core.state.depth().dead as usize))
        })?;
        let room = core.room();
        let records: Vec<Record> = core
            .state
            .dead_letters()
            .take(max.min(room))
            .map(|letter| Record::Redriven { id: letter.id })
            .collect();
        let many = records.len();
        self.commit(core, records).map(|()| many)
    }

    /// The session is lost: what it holds is returned; where there is no space to say so, as soon as there is.
    pub(super) fn lose(&self, session: u64) -> Result<(), Failure> {
        let swept = self.sweep().map(drop);
        self.lock().state.abandon(session);
        swept.and_then(|()| self.sweep().map(drop))
    }

    /// Waits, batch by batch, while the answer depends on what is not durable yet.
    fn wait_while<'a>(
        &'a self,
        mut core: MutexGuard<'a, Core<S>>,
        depends: impl Fn(&Core<S>) -> bool,
    ) -> Result<MutexGuard<'a, Core<S>>, Failure> {
        while depends(&core) {
            core = self.let_others_commit(core)?;
        }
        Ok(core)
    }
}

impl<S: Storage> Core<S> {
    fn is_claimed_under(&self, receipt: Receipt) -> bool {
        self.state.held_under(receipt).is_some_and(|id| self.is_claimed(id))
    }
}

/// Whether the bytes of a message are at fault, and not the moment.
fn stays(error: &Error) -> bool {
    match error {
        Error::Corrupt { .. } => true,
        Error::Io { source, .. } => is_unreadable(source),
        _ => false,
    }
}

fn too_large(message: &Message) -> bool {
    let key = message.key.as_deref().map_or(0, <[u8]>::len);
    message.body.len().max(key) as u64 > BODY_LIMIT.0
}

/// When a delay that begins now ends; at once if there is none.
fn due(now: Time, delay: Duration) -> Time {
    if delay.is_zero() { Time::ZERO } else { now + delay }
}
