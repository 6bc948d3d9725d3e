//! The state of delivery: what is ready, in flight, delayed and dead.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::slab::{NONE, Slab, Stored};
use super::timers::Timers;
use crate::broker::{DeadLetter, Delivery, Depth, Message, MessageId, Reason, Receipt, Settle};
use crate::buffer::{Buffer, Full, Pop, Push};
use crate::clock::Time;

/// Everything behind the lock of one broker. Times are handed in, each operation's once; every operation
/// that reads or changes the state of a message comes after [`State::sweep`] with the same time.
pub(super) struct State<B: Buffer> {
    producer: B::Producer<Stored>,
    consumer: B::Consumer<Stored>,
    /// How many messages stand in the buffer and in `head`.
    queued: usize,
    /// The buffer's head, taken out to be compared with the returned messages.
    head: Option<Stored>,
    /// Every message that is neither queued nor dead.
    slab: Slab,
    /// Those in flight, until their leases end, and those delayed.
    timers: Timers,
    delayed: usize,
    /// Those ready again, by the order in which they were sent.
    returned: BTreeMap<u64, u32>,
    /// Oldest death first.
    dead: VecDeque<DeadLetter>,
    /// By session: the slots it holds leases on, in no order.
    held: Vec<Vec<u32>>,
    vacant_sessions: Vec<u32>,
    next_id: u64,
    /// Tells the receipts of this broker from those of all others in the process.
    life: u64,
    capacity: usize,
    deliveries_allowed: u32,
}

/// The receipt was stale.
#[derive(Debug)]
pub(super) struct Stale;

impl<B: Buffer> State<B> {
    pub(super) fn new(
        producer: B::Producer<Stored>,
        consumer: B::Consumer<Stored>,
        capacity: usize,
        deliveries_allowed: u32,
        life: u64,
    ) -> State<B> {
        State {
            producer,
            consumer,
            queued: 0,
            head: None,
            slab: Slab::new(),
            timers: Timers::default(),
            delayed: 0,
            returned: BTreeMap::new(),
            dead: VecDeque::new(),
            held: Vec::new(),
            vacant_sessions: Vec::new(),
            next_id: 0,
            life,
            capacity,
            deliveries_allowed,
        }
    }

    /// Whether nothing waits for its time, so that a sweep would do nothing at any time.
    pub(super) fn is_timeless(&self) -> bool {
        self.timers.len() == 0
    }

    /// Ends the leases and delays whose time has come, in the order of their times; at the same time, in the
    /// order of the sends.
    #[inline]
    pub(super) fn sweep(&mut self, now: Time) {
        if let Some(first) = self.timers.pop_due(now) {
            self.end_due(first, now);
        }
    }

    #[cold]
    fn end_due(&mut self, first: (Time, u32), now: Time) {
        let mut due = Vec::new();
        let mut next = Some(first);
        while let Some((time, slot)) = next {
            due.push((time, self.slab[slot].stored().id, slot));
            next = self.timers.pop_due(now);
        }
        due.sort_unstable();
        for (_, id, slot) in due {
            if self.slab[slot].holder == NONE {
                self.delayed -= 1;
                self.returned.insert(id, slot);
            } else {
                self.let_go(slot);
                self.end_attempt(slot, None);
            }
        }
    }

    /// Admits a message, or says that there is no room.
    #[inline]
    pub(super) fn send(&mut self, message: &Message, now: Time) -> Result<MessageId, Full<()>> {
        if self.resident() >= self.capacity {
            return Err(Full(()));
        }
        let id = self.next_id;
        let stored = Stored { id, key: message.key.clone(), body: message.body.clone() };
        if message.delay.is_zero() {
            self.producer.push(stored).map_err(|_| Full(()))?;
            self.queued += 1;
        } else {
            let slot = self.slab.insert(stored, 0);
            self.delay(slot, now + message.delay);
        }
        self.next_id += 1;
        Ok(MessageId(id))
    }

    /// Hands over the ready message that was sent first.
    #[inline]
    pub(super) fn receive(&mut self, session: u32, deadline: Time) -> Option<Delivery> {
        let slot = self.next_ready()?;
        let held = &mut self.held[session as usize];
        let place = u32::try_from(held.len()).expect("a session holds no more leases than there are slots");
        held.push(slot);
        self.timers.insert(slot, deadline);
        let entry = &mut self.slab[slot];
        entry.attempts += 1;
        entry.generation += 1;
        entry.holder = session;
        entry.place = place;
        let stored = entry.stored();
        Some(Delivery {
            id: MessageId(stored.id),
            key: stored.key.clone(),
            body: stored.body.clone(),
            attempt: entry.attempts,
            receipt: receipt(self.life, entry.generation, slot),
            deadline,
        })
    }

    /// Moves the ready message that was sent first into a slot from which it can be handed over.
    #[inline]
    fn next_ready(&mut self) -> Option<u32> {
        if let Some((&id, &slot)) = self.returned.first_key_value() {
            if self.head.is_none() {
                self.head = self.consumer.pop();
            }
            if self.head.as_ref().is_none_or(|head| id < head.id) {
                self.returned.pop_first();
                return Some(self.renewed(slot));
            }
        }
        let stored = self.head.take().or_else(|| self.consumer.pop())?;
        self.queued -= 1;
        Some(self.slab.insert(stored, 0))
    }

    /// The same message in a slot that has generations left.
    fn renewed(&mut self, slot: u32) -> u32 {
        if self.slab[slot].generation < u32::MAX {
            return slot;
        }
        let attempts = self.slab[slot].attempts;
        let stored = self.slab.remove(slot);
        self.slab.insert(stored, attempts)
    }

    #[inline]
    pub(super) fn settle(&mut self, receipt: Receipt, how: Settle, now: Time) -> Result<(), Stale> {
        let slot = self.leased(receipt)?;
        self.timers.remove(slot);
        self.let_go(slot);
        match how {
            Settle::Ack => drop(self.slab.remove(slot)),
            Settle::Nack { delay } => self.end_attempt(slot, (!delay.is_zero()).then(|| now + delay)),
            Settle::Reject => self.bury(slot, Reason::Rejected),
        }
        Ok(())
    }

    pub(super) fn extend(&mut self, receipt: Receipt, lease: Duration, now: Time) -> Result<(), Stale> {
        let slot = self.leased(receipt)?;
        let deadline = now + lease;
        if deadline > self.timers.time(slot) {
            self.timers.set(slot, deadline);
        }
        Ok(())
    }

    pub(super) fn dead_letters(&self, max: usize) -> Vec<DeadLetter> {
        self.dead.iter().take(max).cloned().collect()
    }

    /// Makes the oldest dead letters ready again, as many as fit.
    pub(super) fn redrive(&mut self, max: usize) -> usize {
        let many = max.min(self.dead.len()).min(self.capacity - self.resident());
        for DeadLetter { id: MessageId(id), key, body, .. } in self.dead.drain(..many) {
            let slot = self.slab.insert(Stored { id, key, body }, 0);
            self.returned.insert(id, slot);
        }
        many
    }

    pub(super) fn depth(&self) -> Depth {
        Depth {
            ready: (self.queued + self.returned.len()) as u64,
            in_flight: (self.timers.len() - self.delayed) as u64,
            delayed: self.delayed as u64,
            dead: self.dead.len() as u64,
        }
    }

    /// The number under which a new session holds leases.
    pub(super) fn open_session(&mut self) -> u32 {
        if let Some(session) = self.vacant_sessions.pop() {
            return session;
        }
        self.held.push(Vec::new());
        u32::try_from(self.held.len() - 1).expect("four billion sessions do not fit into memory")
    }

    /// Ends the attempts whose leases a session holds, in the order of the sends.
    pub(super) fn close_session(&mut self, session: u32) {
        let mut held = std::mem::take(&mut self.held[session as usize]);
        held.sort_unstable_by_key(|&slot| self.slab[slot].stored().id);
        for slot in held {
            self.timers.remove(slot);
            self.slab[slot].holder = NONE;
            self.end_attempt(slot, None);
        }
        self.vacant_sessions.push(session);
    }

    /// Makes the present generation of a slot its last.
    #[cfg(test)]
    pub(super) fn exhaust(&mut self, slot: u32) {
        self.slab[slot].generation = u32::MAX;
    }

    /// How many messages count towards the capacity.
    fn resident(&self) -> usize {
        self.queued + self.returned.len() + self.timers.len()
    }

    /// The slot whose lease the receipt proves.
    #[inline]
    fn leased(&self, receipt: Receipt) -> Result<u32, Stale> {
        let Receipt(bits) = receipt;
        let (life, generation, slot) = ((bits >> 64) as u64, (bits >> 32) as u32, bits as u32);
        match self.slab.get(slot) {
            Some(entry) if life == self.life && entry.generation == generation && entry.holder != NONE => {
                Ok(slot)
            }
            _ => Err(Stale),
        }
    }

    /// Strikes a lease off its holder's list.
    #[inline]
    fn let_go(&mut self, slot: u32) {
        let entry = &mut self.slab[slot];
        let (holder, place) = (std::mem::replace(&mut entry.holder, NONE), entry.place);
        let held = &mut self.held[holder as usize];
        held.swap_remove(place as usize);
        if let Some(&moved) = held.get(place as usize) {
            self.slab[moved].place = place;
        }
    }

    /// After an attempt that failed: dead if it was the last one allowed, else delayed or ready.
    fn end_attempt(&mut self, slot: u32, not_before: Option<Time>) {
        let entry = &self.slab[slot];
        if entry.attempts >= self.deliveries_allowed {
            self.bury(slot, Reason::Attempts);
        } else if let Some(time) = not_before {
            self.delay(slot, time);
        } else {
            self.returned.insert(entry.stored().id, slot);
        }
    }

    fn delay(&mut self, slot: u32, until: Time) {
        self.timers.insert(slot, until);
        self.delayed += 1;
    }

    fn bury(&mut self, slot: u32, reason: Reason) {
        let attempts = self.slab[slot].attempts;
        let Stored { id, key, body } = self.slab.remove(slot);
        self.dead.push_back(DeadLetter { id: MessageId(id), key, body, reason, attempts });
    }
}

/// Of the 128 bits: the broker's life, the slot's generation, the slot.
fn receipt(life: u64, generation: u32, slot: u32) -> Receipt {
    Receipt(u128::from(life) << 64 | u128::from(generation) << 32 | u128::from(slot))
}
