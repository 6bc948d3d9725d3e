//! All messages that are stored: where each is in the log and what it waits for, in twelve bytes each.

use std::collections::BTreeMap;

use super::record::At;

/// How many ids share a chunk. A message that stays while its neighbours go keeps a whole one.
const CHUNK: u64 = 64;
/// How many bits a segment's number has here, and the number of attempts.
const SEGMENT_BITS: u32 = 24;
const ATTEMPT_BITS: u32 = 5;
/// So many attempts, or more: how many is not known here.
pub(super) const MANY: u32 = (1 << ATTEMPT_BITS) - 1;

/// What a message waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Place {
    Ready = 1,
    Delayed = 2,
    InFlight = 3,
    Dead = 4,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    offset: u32,
    len: u32,
    /// The low bits of the segment's number, above them attempts that ended, and then the place; zero: vacant.
    tag: u32,
}

struct Chunk {
    slots: [Slot; CHUNK as usize],
    used: u32,
}

/// Ids, each with where the message is and its place.
#[derive(Default)]
pub(super) struct Table {
    chunks: BTreeMap<u64, Box<Chunk>>,
    used: usize,
    /// No message is in a segment with a smaller number.
    first_segment: u64,
}

impl Slot {
    fn attempts(self) -> u32 {
        self.tag >> SEGMENT_BITS & MANY
    }

    fn place(self) -> Option<Place> {
        match self.tag >> (SEGMENT_BITS + ATTEMPT_BITS) {
            1 => Some(Place::Ready),
            2 => Some(Place::Delayed),
            3 => Some(Place::InFlight),
            4 => Some(Place::Dead),
            _ => None,
        }
    }
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.used
    }

    /// Says that no message is in a segment before this one. (At most 2^24 segments are in use at once.)
    pub(super) fn starts_at(&mut self, segment: u64) {
        self.first_segment = self.first_segment.max(segment);
    }

    /// Whether a message may be in this segment.
    pub(super) fn can_hold(&self, segment: u64) -> bool {
        segment.checked_sub(self.first_segment).is_some_and(|beyond| beyond < 1 << SEGMENT_BITS)
    }

    pub(super) fn place(&self, id: u64) -> Option<Place> {
        self.slot(id)?.place()
    }

    pub(super) fn at(&self, id: u64) -> Option<At> {
        let slot = self.slot(id)?;
        slot.place()?;
        Some(self.located(slot))
    }

    fn located(&self, slot: &Slot) -> At {
        let low = slot.tag & ((1 << SEGMENT_BITS) - 1);
        let beyond = low.wrapping_sub(self.first_segment as u32) & ((1 << SEGMENT_BITS) - 1);
        At { segment: self.first_segment + u64::from(beyond), offset: slot.offset, len: slot.len }
    }

    /// Puts a message there, or moves it; where it was.
    pub(super) fn put(&mut self, id: u64, at: At, place: Place) -> Option<At> {
        let before = self.at(id);
        let chunk = self
            .chunks
            .entry(id / CHUNK)
            .or_insert_with(|| Box::new(Chunk { slots: [Slot::default(); CHUNK as usize], used: 0 }));
        if before.is_none() {
            chunk.used += 1;
            self.used += 1;
        }
        let slot = &mut chunk.slots[(id % CHUNK) as usize];
        let segment = at.segment as u32 & ((1 << SEGMENT_BITS) - 1);
        let tag = segment | slot.attempts() << SEGMENT_BITS | (place as u32) << (SEGMENT_BITS + ATTEMPT_BITS);
        *slot = Slot { offset: at.offset, len: at.len, tag };
        before
    }

    /// How many attempts of a message ended; [`MANY`] means so many or more.
    pub(super) fn attempts(&self, id: u64) -> u32 {
        self.slot(id).map_or(0, |slot| slot.attempts())
    }

    /// Sets that.
    pub(super) fn set_attempts(&mut self, id: u64, attempts: u32) {
        if let Some(chunk) = self.chunks.get_mut(&(id / CHUNK)) {
            let slot = &mut chunk.slots[(id % CHUNK) as usize];
            if slot.place().is_some() {
                slot.tag = slot.tag & !(MANY << SEGMENT_BITS) | attempts.min(MANY) << SEGMENT_BITS;
            }
        }
    }

    pub(super) fn set_place(&mut self, id: u64, place: Place) {
        if let Some(at) = self.at(id) {
            self.put(id, at, place);
        }
    }

    /// Removes a message; where it was.
    pub(super) fn remove(&mut self, id: u64) -> Option<At> {
        let at = self.at(id)?;
        let chunk = self.chunks.get_mut(&(id / CHUNK))?;
        chunk.slots[(id % CHUNK) as usize] = Slot::default();
        chunk.used -= 1;
        self.used -= 1;
        if chunk.used == 0 {
            self.chunks.remove(&(id / CHUNK));
        }
        Some(at)
    }

    /// The messages from this id on, by id.
    pub(super) fn from(&self, id: u64) -> impl Iterator<Item = (u64, Place, At)> {
        self.chunks.range(id / CHUNK..).flat_map(move |(nth, chunk)| {
            let first = nth * CHUNK;
            let skip = id.saturating_sub(first) as usize;
            let slots = chunk.slots.iter().enumerate().skip(skip);
            slots.filter_map(move |(n, slot)| Some((first + n as u64, slot.place()?, self.located(slot))))
        })
    }

    fn slot(&self, id: u64) -> Option<&Slot> {
        self.chunks.get(&(id / CHUNK)).map(|chunk| &chunk.slots[(id % CHUNK) as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(segment: u64, offset: u32) -> At {
        At { segment, offset, len: 7 }
    }

    #[test]
    fn it_holds_what_was_put_and_frees_what_is_empty() {
        let mut table = Table::default();
        let first = (5 << 40) | 0xff_fffe;
        table.starts_at(first);
        for id in [1, 63, 64, 1000] {
            assert_eq!(table.put(id, at(first + id, id as u32), Place::Ready), None);
        }
        assert_eq!(table.put(64, at(first, 1), Place::Dead), Some(at(first + 64, 64)));
        table.set_place(63, Place::Delayed);
        for (id, attempts) in [(63, 3), (64, 1000), (2, 4)] {
            table.set_attempts(id, attempts);
        }
        table.set_place(63, Place::InFlight);
        table.put(63, at(first + 63, 63), Place::Delayed);
        assert_eq!([1, 2, 63, 64].map(|id| table.attempts(id)), [0, 0, 3, MANY]);
        let all: Vec<_> = table.from(2).collect();
        let expected = [
            (63, Place::Delayed, at(first + 63, 63)),
            (64, Place::Dead, at(first, 1)),
            (1000, Place::Ready, at(first + 1000, 1000)),
        ];
        assert_eq!(all, expected);
        assert_eq!((table.len(), table.at(2), table.remove(2)), (4, None, None));
        table.starts_at(first + 1);
        assert_eq!(table.at(1000), Some(at(first + 1000, 1000)));
        assert_eq!(table.remove(64).map(|at| at.offset), Some(1));
        assert_eq!(table.remove(1000), Some(at(first + 1000, 1000)));
        assert_eq!((table.len(), table.chunks.len()), (2, 1));
    }

    #[test]
    fn a_message_takes_so_little() {
        assert_eq!(size_of::<Slot>(), 12);
        assert!(size_of::<Chunk>() as u64 <= 13 * CHUNK);
    }
}
