//! All messages that are stored: where each is in the log and what it waits for, in twelve bytes each.

use std::collections::BTreeMap;

use super::record::At;

/// How many ids share a chunk. A message that stays while its neighbours go keeps a whole one.
const CHUNK: u64 = 64;
/// How many bits a segment's number has here, and the number of attempts.
const SEGMENT_BITS: u32 = 24;
const ATTEMPT_BITS: u32 = 5;
const MOST_SEGMENT: u32 = (1 << SEGMENT_BITS) - 1;
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
    fn segment(self) -> u32 {
        self.tag & MOST_SEGMENT
    }

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

    fn with(place: Place, attempts: u32, at: At) -> Slot {
        let segment = at.segment as u32 & MOST_SEGMENT;
        let attempts = attempts.min(MANY) << SEGMENT_BITS;
        let tag = (place as u32) << (SEGMENT_BITS + ATTEMPT_BITS) | attempts | segment;
        Slot { offset: at.offset, len: at.len, tag }
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
        self.slot(id).map(|slot| self.located(slot))
    }

    fn located(&self, slot: &Slot) -> At {
        let beyond = slot.segment().wrapping_sub(self.first_segment as u32) & MOST_SEGMENT;
        At { segment: self.first_segment + u64::from(beyond), offset: slot.offset, len: slot.len }
    }

    /// Takes a message in, of which so many attempts ended; `false`: it is there already, and all stays as it is.
    pub(super) fn insert(&mut self, id: u64, at: At, place: Place, attempts: u32) -> bool {
        // Almost always it is the youngest.
        let chunk = match self.chunks.last_entry() {
            Some(last) if *last.key() == id / CHUNK => last.into_mut(),
            _ => self
                .chunks
                .entry(id / CHUNK)
                .or_insert_with(|| Box::new(Chunk { slots: [Slot::default(); CHUNK as usize], used: 0 })),
        };
        let slot = &mut chunk.slots[(id % CHUNK) as usize];
        let vacant = slot.place().is_none();
        if vacant {
            *slot = Slot::with(place, attempts, at);
            chunk.used += 1;
            self.used += 1;
        }
        vacant
    }

    /// Moves a message, if it is there; where it was.
    pub(super) fn relocate(&mut self, id: u64, at: At) -> Option<At> {
        let before = self.at(id)?;
        let slot = self.slot_mut(id)?;
        *slot = Slot::with(slot.place()?, slot.attempts(), at);
        Some(before)
    }

    /// How many attempts of a message ended; [`MANY`] means so many or more.
    pub(super) fn attempts(&self, id: u64) -> u32 {
        self.slot(id).map_or(0, |slot| slot.attempts())
    }

    /// Sets that.
    pub(super) fn set_attempts(&mut self, id: u64, attempts: u32) {
        if let Some(slot) = self.slot_mut(id) {
            slot.tag = slot.tag & !(MANY << SEGMENT_BITS) | attempts.min(MANY) << SEGMENT_BITS;
        }
    }

    pub(super) fn set_place(&mut self, id: u64, place: Place) {
        if let Some(slot) = self.slot_mut(id) {
            let below = (1 << (SEGMENT_BITS + ATTEMPT_BITS)) - 1;
            slot.tag = slot.tag & below | (place as u32) << (SEGMENT_BITS + ATTEMPT_BITS);
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
        self.slots(id).filter_map(|(id, slot)| Some((id, slot.place()?, self.located(slot))))
    }

    /// Those that are not dead and of which at least so many attempts ended, or [`MANY`].
    pub(super) fn tried(&self, attempts: u32) -> impl Iterator<Item = u64> {
        let tried = move |slot: &Slot| {
            slot.attempts() >= attempts.min(MANY) && slot.place().is_some_and(|place| place != Place::Dead)
        };
        self.slots(0).filter(move |(_, slot)| tried(slot)).map(|(id, _)| id)
    }

    fn slots(&self, id: u64) -> impl Iterator<Item = (u64, &Slot)> {
        self.chunks.range(id / CHUNK..).flat_map(move |(nth, chunk)| {
            let first = nth * CHUNK;
            let skip = id.saturating_sub(first) as usize;
            chunk.slots.iter().enumerate().skip(skip).map(move |(n, slot)| (first + n as u64, slot))
        })
    }

    /// That of a message that is there.
    fn slot(&self, id: u64) -> Option<&Slot> {
        let slot = &self.chunks.get(&(id / CHUNK))?.slots[(id % CHUNK) as usize];
        Some(slot).filter(|slot| slot.place().is_some())
    }

    fn slot_mut(&mut self, id: u64) -> Option<&mut Slot> {
        let slot = &mut self.chunks.get_mut(&(id / CHUNK))?.slots[(id % CHUNK) as usize];
        Some(slot).filter(|slot| slot.place().is_some())
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
            assert!(table.insert(id, at(first + id, id as u32), Place::Ready, 0));
        }
        assert!(!table.insert(64, at(first, 9), Place::Delayed, 9), "it is there");
        assert_eq!(table.relocate(64, at(first, 1)), Some(at(first + 64, 64)));
        assert_eq!(table.relocate(65, at(first, 1)), None);
        table.set_place(64, Place::Dead);
        table.set_place(63, Place::Delayed);
        for (id, attempts) in [(63, 3), (64, 1000), (2, 4)] {
            table.set_attempts(id, attempts);
        }
        table.set_place(63, Place::InFlight);
        table.relocate(63, at(first + 63, 63));
        table.set_place(63, Place::Delayed);
        assert_eq!([1, 2, 63, 64].map(|id| table.attempts(id)), [0, 0, 3, MANY]);
        assert!(table.insert(66, at(first, 2), Place::Ready, 1000));
        assert_eq!(
            [3, 4, 1000].map(|least| table.tried(least).collect::<Vec<u64>>()),
            [vec![63, 66], vec![66], vec![66]]
        );
        assert_eq!(table.remove(66), Some(at(first, 2)));
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
