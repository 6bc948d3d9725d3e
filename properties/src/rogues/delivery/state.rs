//! What the reference broker knows, and the only ways in which it changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use stanchion_queues::{MessageId, Reason, Receipt, Time};

/// Messages and dead letters. Whatever changes them is a [`Record`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Resident messages. Ids are given in the order of sends, so a walk is in FIFO order, and a message that
    /// is given back stands where it stood.
    pub(super) live: BTreeMap<MessageId, Entry>,
    /// Dead letters by the ordinal of their death.
    pub(super) dead: BTreeMap<u64, Letter>,
    /// Under which id a message was stored, by what it is, where a retry is stored once.
    pub(super) known: BTreeMap<u64, MessageId>,
    pub(super) counters: Counters,
}

/// What must never be used twice, not even after a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    /// How often the broker was started.
    pub(super) life: u64,
    pub(super) next_id: u64,
    pub(super) next_death: u64,
}

/// A resident message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: Option<Arc<[u8]>>,
    pub(super) body: Arc<[u8]>,
    pub(super) attempts: u32,
    pub(super) place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Ready from then on; delayed before.
    Waiting { from: Time },
    /// In flight, while now < `until`.
    Leased { receipt: Receipt, session: u64, until: Time },
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Letter {
    pub(super) id: MessageId,
    pub(super) key: Option<Arc<[u8]>>,
    pub(super) body: Arc<[u8]>,
    pub(super) attempts: u32,
    pub(super) reason: Reason,
}

/// One change: what stands at a place from now on, or that nothing does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Counters(Counters),
    Live(MessageId, Option<Entry>),
    Dead(u64, Option<Letter>),
    Known(u64, MessageId),
}

impl State {
    pub(super) fn apply(&mut self, record: Record) {
        match record {
            Record::Counters(counters) => self.counters = counters,
            Record::Live(id, Some(entry)) => {
                self.counters.next_id = self.counters.next_id.max(id.0 + 1);
                self.live.insert(id, entry);
            }
            Record::Live(id, None) => drop(self.live.remove(&id)),
            Record::Dead(order, Some(letter)) => {
                self.counters.next_death = self.counters.next_death.max(order + 1);
                self.dead.insert(order, letter);
            }
            Record::Dead(order, None) => drop(self.dead.remove(&order)),
            Record::Known(message, id) => drop(self.known.insert(message, id)),
        }
    }

    /// The records that make this state out of nothing.
    pub(super) fn snapshot(&self) -> Vec<Record> {
        let live = self.live.iter().map(|(id, entry)| Record::Live(*id, Some(entry.clone())));
        let dead = self.dead.iter().map(|(order, letter)| Record::Dead(*order, Some(letter.clone())));
        let known = self.known.iter().map(|(message, id)| Record::Known(*message, *id));
        std::iter::once(Record::Counters(self.counters)).chain(live).chain(dead).chain(known).collect()
    }
}
