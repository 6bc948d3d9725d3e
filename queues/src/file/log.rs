//! The log: segments, one behind the other, of which the last is appended to.
//!
//! Every life of a queue begins a new segment, and so does a log whose segment is full. Hence nothing is ever
//! appended behind a torn tail, what a failed sync left behind is never trusted again, and at most one commit is
//! ever unsynced. That one may be read by the next life without being durable, and after a failed sync no sync
//! can make it so: hence the next life writes it anew, and the header of its segment says that the one before ends
//! ahead of it.
//!
//! Segments are given up oldest first, when no message is in them. What they say besides of messages elsewhere
//! lies behind those in the log, so that it is not needed either. That they are given up is committed before they go: a
//! segment that is missing otherwise is missed. A message that would keep its segment for too long is written anew with its
//! state (`commit` says when).

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::ops::Range;
use std::sync::Arc;

use super::failure::{is_full, is_lacking};
use super::frame::{self, Kind};
use super::record::{LONGEST, Payload, Read, Record};
use super::rng::mix;
use super::segment::{End, Header, Marks, Name, Segment, frames};
use super::spare::Spare;
use super::storage::{Block, Storage, StorageFile, sync_name};

/// How long segments are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// The first one of a small queue. Each is twice as long as the one before,
    pub(super) least: u64,
    /// up to this, unless a commit needs more.
    pub(super) most: u64,
}

impl Sizes {
    /// Whether segments of so many bytes hold so little that the first is to be emptied. Whatever is written anew for
    /// this frees twice as much, so that at most half as much again is ever written, and about three times as much is in use
    /// as there are messages.
    pub(super) fn is_sparse(self, used: u64, live: u64) -> bool {
        used > live.saturating_mul(3).saturating_add(4 * self.least)
    }
}

/// How many files are kept ready.
pub(super) const SPARES: usize = 2;

/// No frame has more records than fit into so many bytes, unless it is a single one.
const FRAME: u64 = 256 << 20;

/// Room for what is said once, in blocks: that a segment is given up, and, with an eighth of its length, for the index.
const SLACK: u64 = 2;

/// How much is prepared for each byte that is appended: the next segment, twice as long, is to be ready in a quarter of
/// this one.
const WORK_AHEAD: u64 = 8;

/// Whoever waits for a spare waits for no more zeroes than this.
const WAITED_FOR: u64 = 1 << 20;

/// A commit from so many bytes on takes longer than it takes to change an allocation.
const LARGE: u64 = 32 << 10;

/// Why a commit failed.
#[derive(Debug)]
pub(super) enum CommitError {
    /// No space, or no more open files; if anything had been written of it, that is durably gone again.
    Lacking(io::Error),
    /// Anything else: it may or may not be stored, and nothing may be appended.
    Broken(io::Error),
}

pub(super) struct Log<S: Storage> {
    storage: S,
    sizes: Sizes,
    seed: u64,
    segment: Segment<S::File>,
    /// How long the longest segment is that may still be in use.
    longest: u64,
    /// All but the last are ready.
    spares: VecDeque<Spare<S::File>>,
    /// What the next spare is called.
    next_spare: u64,
    /// The latest commit was a large one.
    large: bool,
    /// There was no space for a spare as long as any segment, and none was given back since.
    tight: bool,
    /// How much has to be done for spares.
    owed: u64,
    /// What is true of all that was appended.
    marks: Marks,
    buffer: Vec<u8>,
    /// Segments that were begun since somebody asked.
    begun: Vec<Begun>,
}

/// A segment that others may read.
pub(super) struct Begun {
    pub(super) number: u64,
    pub(super) len: u64,
}

/// Which segment is begun.
pub(super) struct Beginning {
    pub(super) number: u64,
    pub(super) seed: u64,
    /// What is true of all before.
    pub(super) marks: Marks,
    pub(super) before: End,
    /// How long the longest segment before is.
    pub(super) longest: u64,
    /// Spares that are there, by their numbers.
    pub(super) spares: Vec<u64>,
}

impl<S: Storage> Log<S> {
    /// Begins a segment with these records durably and gives it its name. They are placed; their bytes are answered.
    ///
    /// # Errors
    /// What the system says; whether the segment has its name is unknown.
    pub(super) fn begin(
        storage: S,
        sizes: Sizes,
        beginning: Beginning,
        records: &mut [Record],
    ) -> io::Result<(Log<S>, Vec<Read>)> {
        let Beginning { number, seed, mut marks, before, longest, mut spares } = beginning;
        // Of a number of its own, so that no frame of this salt is in any other file.
        let spare_number = spares.iter().max().map_or(number, |max| number.max(max + 1));
        let mut spare = Spare::create(&storage, spare_number)?;
        let block = spare.block;
        let least = frames(block) + needed(records, block);
        if least > u64::from(u32::MAX) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if let Err(error) = spare.grow(sizes.least.max(least), u64::MAX) {
            is_full(&error).then_some(()).ok_or(error)?;
            // Whoever is out of space may still look at what there is.
            spare.shrink(0)?;
            if spare.grow(least, u64::MAX).is_err() {
                spare.shrink(0)?;
                for other in spares.drain(..) {
                    storage.remove(&Name::Spare(other).to_string())?;
                }
                spare.grow(least, u64::MAX)?;
            }
        }
        let salt = salt(seed, number, spare.name);
        let end = End { at: frames(block), ..End::default() };
        let len = spare.len;
        let mut segment = Segment { file: spare.file, number, salt, block, len, end, index: Vec::new() };
        let (mut buffer, mut read) = (Vec::new(), Vec::new());
        let mut rest = &mut *records;
        while !rest.is_empty() {
            let (part, behind) = rest.split_at_mut(first_part(rest));
            let places = encode(part, &mut buffer);
            read.extend(place(part, places, &segment));
            segment.append(&mut buffer, Kind::Commit, S::File::write_at)?;
            rest = behind;
        }
        let begun = segment.end.at;
        let header = Header { number, salt, begun, recycled: false, marks, before, block, len };
        give_name(&storage, spare.name, &segment.file, &header)?;
        for record in &*records {
            note(record, &mut marks, &mut segment.index);
        }
        let begun = vec![Begun { number, len }];
        let adopt = |number: u64| {
            let adopted = Spare::adopt(&storage, number);
            // If it stays, it is in nobody's way.
            adopted.inspect_err(|_| drop(storage.remove(&Name::Spare(number).to_string()))).ok()
        };
        let spares = spares.into_iter().filter_map(adopt).collect();
        let next_spare = spare_number.saturating_add(1);
        let longest = longest.max(len);
        let log = Log {
            storage,
            sizes,
            seed,
            segment,
            longest,
            spares,
            next_spare,
            large: false,
            tight: false,
            owed: 0,
            marks,
            buffer,
            begun,
        };
        Ok((log, read))
    }

    /// The number of the segment that is appended to.
    pub(super) fn number(&self) -> u64 {
        self.segment.number
    }

    /// The end of that segment, for a mistake.
    pub(super) fn tail(&self) -> Segment<S::File> {
        let Segment { number, salt, block, len, end, .. } = self.segment;
        Segment { file: Arc::clone(&self.segment.file), number, salt, block, len, end, index: Vec::new() }
    }

    /// Somebody else has appended to it, by mistake.
    pub(super) fn was_appended_to(&mut self, segment: u64, end: End) {
        if self.segment.number == segment {
            self.segment.end = end;
        }
    }

    /// How much of it is filled.
    pub(super) fn filled(&self) -> u64 {
        self.segment.end.at
    }

    /// The segments that were begun since the last call.
    pub(super) fn begun(&mut self) -> Vec<Begun> {
        mem::take(&mut self.begun)
    }

    /// Appends the records and syncs them; they are placed, and the bytes of messages are answered. Messages are
    /// let in only where they leave space for what settles them and those that are `pending`: that makes space.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub(super) fn commit(
        &mut self,
        records: &mut [Record],
        pending: usize,
    ) -> Result<Vec<Read>, CommitError> {
        let mut read = Vec::new();
        let mut rest = records;
        let mut first = true;
        loop {
            let (part, behind) = rest.split_at_mut(first_part(rest));
            read.extend(self.commit_frame(part, pending).map_err(|error| match error {
                // What was before is there.
                CommitError::Lacking(error) if !first => CommitError::Broken(error),
                other => other,
            })?);
            first = false;
            rest = behind;
            if rest.is_empty() {
                return Ok(read);
            }
        }
    }

    fn commit_frame(&mut self, records: &mut [Record], pending: usize) -> Result<Vec<Read>, CommitError> {
        let mut buffer = mem::take(&mut self.buffer);
        let places = encode(records, &mut buffer);
        let frame = buffer.len().next_multiple_of(self.segment.block.bytes()) as u64;
        let indexed = records.len() * LONGEST;
        // Nor does what nobody asked for use up the space that was kept for acks: witnesses, and who was handed what.
        let messages = records.iter().any(|record| record.is_send() || record.is_move())
            || records.iter().all(|record| matches!(record, Record::Witness | Record::Handed { .. }));
        self.large = frame >= LARGE;
        self.make_room(frame, indexed, messages.then_some(pending))?;
        let read = place(records, places, &self.segment);
        let at = self.segment.end.at;
        let appended = self.segment.append(&mut buffer, Kind::Commit, S::File::write_durably);
        self.buffer = buffer;
        match appended {
            Ok(()) => {}
            Err(error) if is_full(&error) => {
                unplace(records, read);
                return self.take_back(at, error);
            }
            Err(error) => return Err(CommitError::Broken(error)),
        }
        for record in &*records {
            note(record, &mut self.marks, &mut self.segment.index);
        }
        self.owed = self.owed.saturating_add(WORK_AHEAD * frame);
        Ok(read)
    }

    /// The space was promised, and there is none: makes sure that what was written of a frame is not taken for one.
    fn take_back<T>(&mut self, at: u64, error: io::Error) -> Result<T, CommitError> {
        let zeroes = vec![0; self.segment.block.bytes()];
        self.segment.file.write_durably(&zeroes, at).map_err(CommitError::Broken)?;
        Err(CommitError::Lacking(error))
    }

    /// A message is taken only while a spare is ready in which each message that is pending can be settled in a block of
    /// its own; or that is as long as any segment: there is space for all acks that it takes to give a segment up, if each
    /// of its messages had a block of its own. So a full disk can be drained, if what was sent in one batch is acked in one,
    /// or little is pending.
    fn make_room(&mut self, frame: u64, indexed: usize, pending: Option<usize>) -> Result<(), CommitError> {
        let block = self.segment.block;
        let reserve = pending.map(|pending| self.reserve(pending, self.longest));
        let slack = reserve.map_or(0, |reserve| reserve / 8 + SLACK * block.bytes() as u64);
        if self.segment.has_room(frame, indexed, slack) {
            return pending.map_or(Ok(()), |pending| self.have_reserve(0, pending, self.longest));
        }
        let index = frame::filled(indexed as u64, block).unwrap_or(u64::MAX);
        let needed = (frames(block) + frame).saturating_add(index).saturating_add(slack);
        self.have_spare(0, needed.next_multiple_of(block.bytes() as u64))?;
        if let Some(pending) = pending {
            let next = self.spares.front().map_or(0, |spare| spare.len);
            self.have_reserve(1, pending, self.longest.max(next))?;
        }
        self.roll()
    }

    /// A spare for what settles so many messages. Where there is space it is as long as any segment, and need not grow.
    fn have_reserve(&mut self, nth: usize, pending: usize, longest: u64) -> Result<(), CommitError> {
        if !self.tight {
            match self.have_spare(nth, longest.min(self.sizes.most)) {
                Err(CommitError::Lacking(_)) => self.tight = true,
                made => return made,
            }
        }
        self.have_spare(nth, self.reserve(pending, longest))
    }

    /// How much space is left to what settles so many messages, in steps: it seldom grows.
    fn reserve(&self, pending: usize, longest: u64) -> u64 {
        let block = self.segment.block;
        let longest = longest.min(self.sizes.most).max(self.sizes.least);
        let each = (block.bytes() + LONGEST) as u64;
        let all = (pending as u64).saturating_mul(each).saturating_add(2 * frames(block));
        let step = (longest / 8).max(self.sizes.least);
        all.div_ceil(step).saturating_mul(step).min(longest)
    }

    fn next_len(&self) -> u64 {
        (self.segment.len * 2).clamp(self.sizes.least, self.sizes.most)
    }

    /// Makes sure that this spare is ready and at least so long; it is as long as the next segment should be if there is
    /// space for that.
    fn have_spare(&mut self, nth: usize, least: u64) -> Result<(), CommitError> {
        let least = least.max(self.sizes.least);
        if self.spares.get(nth).is_some_and(|spare| spare.is_ready(least)) {
            return Ok(());
        }
        match self.grow_spare(nth, self.next_len().max(least), u64::MAX) {
            Err(CommitError::Lacking(_)) => self.grow_spare(nth, least, u64::MAX),
            made => made,
        }
    }

    /// Works on a spare, which may be a new one; gives back what it took if there is too little: what was ready stays so.
    fn grow_spare(&mut self, nth: usize, len: u64, bytes: u64) -> Result<(), CommitError> {
        let waited_for = bytes == u64::MAX;
        if nth == self.spares.len() {
            let spare = Spare::create(&self.storage, self.next_spare).map_err(lacking_or_broken)?;
            self.next_spare += 1;
            self.spares.push_back(spare);
        }
        let spare = &mut self.spares[nth];
        let ready = if spare.is_ready(1) { spare.len } else { 0 };
        let many = len.saturating_sub(spare.len) > WAITED_FOR;
        let at_once = self.large || waited_for && many;
        let grown = if at_once { spare.allocate(len) } else { spare.grow(len, bytes) };
        let Err(error) = grown else { return Ok(()) };
        let kept = ready > 0 && is_full(&error) && spare.shrink(ready).is_ok();
        if !kept && let Some(spare) = self.spares.remove(nth) {
            // If it stays, it is in nobody's way, and the next open removes it.
            let _ = self.storage.remove(&spare.name.to_string());
        }
        Err(lacking_or_broken(error))
    }

    /// Ends the segment and begins the next one in the spare.
    fn roll(&mut self) -> Result<(), CommitError> {
        let before = self.write_index()?;
        let none = || CommitError::Lacking(io::ErrorKind::StorageFull.into());
        let spare = self.spares.pop_front().ok_or_else(none)?;
        let block = spare.block;
        if block != self.segment.block {
            let other = "the file system writes in other blocks than it said before";
            return Err(CommitError::Broken(io::Error::other(other)));
        }
        let number = self.segment.number + 1;
        let Spare { name, file, len, recycled, .. } = spare;
        let salt = salt(self.seed, number, name);
        let end = End { at: frames(block), ..End::default() };
        let header = Header { number, salt, begun: end.at, recycled, marks: self.marks, before, block, len };
        give_name(&self.storage, name, &file, &header).map_err(CommitError::Broken)?;
        self.begun.push(Begun { number, len });
        self.segment = Segment { file, number, salt, block, len, end, index: Vec::new() };
        self.longest = self.longest.max(len);
        Ok(())
    }

    /// Writes what the segment holds behind it, so that who opens the queue need not read all of it. How it ended.
    fn write_index(&mut self) -> Result<End, CommitError> {
        let end = self.segment.end;
        if !self.segment.has_room(0, 0, 0) {
            return Ok(end);
        }
        let mut frame = vec![0; frame::HEADER];
        frame.append(&mut self.segment.index);
        let written = self.segment.append(&mut frame, Kind::Index, S::File::write_durably);
        written.map_err(CommitError::Broken)?;
        Ok(End { indexed: true, ..end })
    }

    /// Works ahead, so that the next segment is ready when it is needed, and another when that is begun: whoever has
    /// just committed has time for it.
    pub(super) fn work_ahead(&mut self) {
        let half = self.segment.end.at >= self.segment.len / 2;
        let wanted = 1 + usize::from(half);
        let ready = self.spares.iter().filter(|spare| spare.is_ready(self.sizes.least)).count();
        let unwritten = self.spares.iter().position(|spare| !spare.is_written()).filter(|_| !self.large);
        let work = match unwritten {
            _ if ready < wanted => Some((ready, self.next_len())),
            Some(nth) => Some((nth, self.spares[nth].len)),
            None => None,
        };
        let Some((nth, len)) = work else {
            self.owed = 0;
            return;
        };
        if self.owed >= self.sizes.least / 4 {
            let owed = mem::take(&mut self.owed);
            // Whoever needs it tries again, and says what is wrong.
            let _ = self.grow_spare(nth, len, owed);
        }
    }

    /// A segment is not needed any more, and nobody reads it: it becomes a spare, or goes.
    pub(super) fn retire(&mut self, Begun { number, len }: Begun) {
        self.tight = false;
        let wanted = self.spares.len() < SPARES && len >= self.next_len();
        if wanted {
            // If it failed, the file is gone, or its old name is, which is in nobody's way.
            if let Ok(spare) = Spare::recycle(&self.storage, number, len, self.next_spare) {
                self.spares.push_front(spare);
            }
            self.next_spare += 1;
        } else {
            let _ = self.storage.remove(&Name::Segment(number).to_string());
        }
    }
}

/// Other frames than those of this life of this file have other salts.
fn salt(seed: u64, number: u64, spare: Name) -> u64 {
    let Name::Spare(file) = spare else { return mix(seed) };
    mix(mix(seed ^ mix(number)) ^ file)
}

/// Makes a spare a segment, durably; all that is in it is synced with its header before it has the name. If that cannot be
/// made durable nobody may see it: the next life would take it for durable, and believe a sync that repeats this one.
fn give_name<S: Storage>(storage: &S, spare: Name, file: &S::File, header: &Header) -> io::Result<()> {
    file.write_at(&header.encode(), 0)?;
    file.sync()?;
    let name = Name::Segment(header.number).to_string();
    storage.rename(&spare.to_string(), &name)?;
    sync_name(storage, &name)
}

/// At most so many bytes are frames with these records.
fn needed(records: &[Record], block: Block) -> u64 {
    let mut rest = records;
    let mut needed = 0;
    while !rest.is_empty() {
        let (part, behind) = rest.split_at(first_part(rest));
        let body = part.iter().map(|record| record.payload_len() + LONGEST as u64).sum();
        needed += frame::filled(body, block).unwrap_or(u64::MAX);
        rest = behind;
    }
    needed
}

/// How many of the records go into one frame.
fn first_part(records: &[Record]) -> usize {
    let mut bytes = 0_u64;
    let fitting = records.iter().take_while(|record| {
        bytes = bytes.saturating_add(record.payload_len()).saturating_add(LONGEST as u64);
        bytes <= FRAME
    });
    fitting.count().max(1).min(records.len())
}

/// The body of a frame behind room for its header, and where in it each record is.
fn encode(records: &[Record], buffer: &mut Vec<u8>) -> Vec<Range<usize>> {
    buffer.clear();
    buffer.resize(frame::HEADER, 0);
    let place = |record: &Record| {
        let start = buffer.len();
        record.encode(buffer);
        start..buffer.len()
    };
    records.iter().map(place).collect()
}

/// Replaces the bytes of messages by the places that they get at the end of the segment.
fn place<F: StorageFile>(
    records: &mut [Record],
    places: Vec<Range<usize>>,
    segment: &Segment<F>,
) -> Vec<Read> {
    let placed = |(record, range): (&mut Record, Range<usize>)| match record {
        Record::Stored(stored, payload) => match mem::replace(payload, Payload::At(segment.place(range))) {
            Payload::Here { key, body } => Some(Read { id: stored.id, key, body, damaged: stored.damaged }),
            Payload::At(_) => None,
        },
        _ => None,
    };
    records.iter_mut().zip(places).filter_map(placed).collect()
}

/// Takes that back.
fn unplace(records: &mut [Record], read: Vec<Read>) {
    let messages = records.iter_mut().filter_map(|record| match record {
        Record::Stored(_, payload) => Some(payload),
        _ => None,
    });
    for (payload, Read { key, body, .. }) in messages.zip(read) {
        *payload = Payload::Here { key, body };
    }
}

/// What a durable record means for the log itself.
fn note(record: &Record, marks: &mut Marks, index: &mut Vec<u8>) {
    match record {
        Record::Stored(stored, _) => marks.next_id = marks.next_id.max(stored.id.saturating_add(1)),
        Record::Dead { .. } => marks.next_death += 1,
        Record::Released { below } => marks.released = marks.released.max(*below),
        _ => {}
    }
    record.encode(index);
}

fn lacking_or_broken(error: io::Error) -> CommitError {
    if is_lacking(&error) { CommitError::Lacking(error) } else { CommitError::Broken(error) }
}
