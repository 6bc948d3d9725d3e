//! Where messages stand that have left the buffer: one slot each, addressed by number.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

/// A message as it stands in the buffer. `id` is also its place in the order of the sends.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) id: u64,
    pub(super) key: Option<Arc<[u8]>>,
    pub(super) body: Arc<[u8]>,
}

/// No slot, no session.
pub(super) const NONE: u32 = u32::MAX;

/// A message outside the buffer, and what is known of its deliveries.
#[derive(Debug)]
pub(super) struct Slot {
    stored: Option<Stored>,
    /// How often the message was handed over (since it was sent or redriven).
    pub(super) attempts: u32,
    /// How often a message was handed over from this slot: tells the receipts of a slot apart.
    pub(super) generation: u32,
    /// The session that holds the lease; [`NONE`] if the message is not in flight.
    pub(super) holder: u32,
    /// In flight: where it stands among what the holder holds. Vacant: the next vacant slot.
    pub(super) place: u32,
}

// A million messages in flight must not cost more than 64 bytes each beside their bodies.
const _: () = assert!(size_of::<Slot>() <= 56);

impl Slot {
    #[inline]
    pub(super) fn stored(&self) -> &Stored {
        self.stored.as_ref().expect("only occupied slots are referred to by number")
    }
}

/// Grows by small blocks, so that it neither copies nor leaves much room unused. Room is used again but not
/// given back before the broker ends.
#[derive(Debug)]
pub(super) struct Slab {
    blocks: Vec<Box<[Slot]>>,
    vacant: u32,
}

const BLOCK: usize = 64;

impl Slab {
    pub(super) fn new() -> Slab {
        Slab { blocks: Vec::new(), vacant: NONE }
    }

    /// Puts a message into a vacant slot that can be handed over from at least once more.
    #[inline]
    pub(super) fn insert(&mut self, stored: Stored, attempts: u32) -> u32 {
        if self.vacant == NONE {
            self.grow();
        }
        let number = self.vacant;
        let slot = &mut self[number];
        let next = slot.place;
        slot.stored = Some(stored);
        slot.attempts = attempts;
        self.vacant = next;
        number
    }

    /// Takes a message that is not in flight out. Its slot is used again, unless its generations are used up:
    /// then it stays vacant for ever, because a receipt must never be issued twice.
    #[inline]
    pub(super) fn remove(&mut self, number: u32) -> Stored {
        let vacant = self.vacant;
        let slot = &mut self[number];
        debug_assert_eq!(slot.holder, NONE);
        let stored = slot.stored.take().expect("only occupied slots are referred to by number");
        if slot.generation < u32::MAX {
            slot.place = vacant;
            self.vacant = number;
        }
        stored
    }

    /// The slot if a number that came from outside means one.
    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&Slot> {
        self.blocks.get(number as usize / BLOCK).map(|block| &block[number as usize % BLOCK])
    }

    #[cold]
    fn grow(&mut self) {
        let first = self.blocks.len() * BLOCK;
        let slots = (1..=BLOCK).map(|next| Slot {
            stored: None,
            attempts: 0,
            generation: 0,
            holder: NONE,
            place: if next < BLOCK { number(first + next) } else { NONE },
        });
        self.blocks.push(slots.collect());
        self.vacant = number(first);
    }
}

fn number(slot: usize) -> u32 {
    u32::try_from(slot).expect("the capacity is limited at open, so that slots have numbers of 32 bits")
}

impl Index<u32> for Slab {
    type Output = Slot;

    #[inline]
    fn index(&self, number: u32) -> &Slot {
        &self.blocks[number as usize / BLOCK][number as usize % BLOCK]
    }
}

impl IndexMut<u32> for Slab {
    #[inline]
    fn index_mut(&mut self, number: u32) -> &mut Slot {
        &mut self.blocks[number as usize / BLOCK][number as usize % BLOCK]
    }
}
