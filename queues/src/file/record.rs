//! What the log says: the changes of the queue's state, and how each is written.
//!
//! A record is one byte of kind and its fields, little endian, without padding. Frames around records have
//! checksums (see `frame`), so that a record which does not decode was written by another program. A message
//! has a checksum of its own besides, for it is read again when it is delivered.

use std::ops::Range;
use std::sync::Arc;

use super::checksum;
use crate::broker::Reason;
use crate::clock::Time;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// A message was sent; or, if it was there already, its bytes are here now.
    Stored(Stored, Payload),
    /// The messages with these ids were handed out for an attempt more.
    Handed { first: u64, count: u64 },
    /// An attempt ended and the message may be delivered again, not before `due`.
    Returned { id: u64, attempts: u32, due: Time },
    /// These are done.
    Acked { first: u64, count: u64 },
    /// It became the youngest dead letter.
    Dead { id: u64, reason: Reason, attempts: u32 },
    /// A dead letter became ready again, without attempts.
    Redriven { id: u64 },
    /// A life began: every attempt that a record says had begun has ended.
    Opened,
    /// No message is in the segments below this one, and nothing in them matters any more.
    Released { below: u64 },
    /// Nothing but that all before it is durable.
    Witness,
    /// The queue was closed, with no message left of a life that was not: nothing follows in this life.
    Closed,
}

/// A message as it is written, but for its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) id: u64,
    /// Not to be delivered before; [`Time::ZERO`]: at once.
    pub(super) due: Time,
    /// Attempts that ended.
    pub(super) attempts: u32,
    /// Whether another attempt had begun.
    pub(super) handed: bool,
    /// It is a dead letter.
    pub(super) death: Option<Death>,
    /// It was stored before, in a segment that is to be given up.
    pub(super) moved: bool,
    /// It was damaged there: its bytes are what was left of its record, for people. It is never delivered.
    pub(super) damaged: bool,
}

/// How a message died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Death {
    /// Deaths are numbered in their order.
    pub(super) order: u64,
    pub(super) reason: Reason,
}

/// The bytes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    Here { key: Option<Arc<[u8]>>, body: Arc<[u8]> },
    At(At),
}

/// Where in the log a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) segment: u64,
    /// Where its record begins.
    pub(super) offset: u32,
    /// How long its record is.
    pub(super) len: u32,
}

const STORED: u8 = 1;
const PLACED: u8 = 2;
const HANDED: u8 = 3;
const RETURNED: u8 = 4;
const ACKED: u8 = 5;
const DEAD: u8 = 6;
const REDRIVEN: u8 = 7;
const OPENED: u8 = 8;
const RELEASED: u8 = 9;
const WITNESS: u8 = 10;
const CLOSED: u8 = 11;

const HAS_KEY: u8 = 1;
const HAS_DUE: u8 = 2;
const HAS_ATTEMPTS: u8 = 4;
const WAS_HANDED: u8 = 8;
const IS_DEAD: u8 = 16;
const WAS_MOVED: u8 = 32;
const IS_DAMAGED: u8 = 64;

/// The longest record without the bytes of a message; those of a message in an index are no longer.
pub(super) const LONGEST: usize = 48;

impl Record {
    pub(super) fn encode(&self, into: &mut Vec<u8>) {
        match self {
            Record::Stored(stored, Payload::Here { key, body }) => stored.encode(key.as_deref(), body, into),
            Record::Stored(stored, Payload::At(at)) => {
                stored.encode_head(PLACED, 0, into);
                put(into, &[&at.offset.to_le_bytes(), &at.len.to_le_bytes()]);
            }
            Record::Handed { first, count } => {
                put(into, &[&[HANDED], &first.to_le_bytes(), &count.to_le_bytes()]);
            }
            Record::Returned { id, attempts, due } => {
                let fields: [&[u8]; 4] =
                    [&[RETURNED], &id.to_le_bytes(), &attempts.to_le_bytes(), &due.0.to_le_bytes()];
                put(into, &fields);
            }
            Record::Acked { first, count } => {
                put(into, &[&[ACKED], &first.to_le_bytes(), &count.to_le_bytes()]);
            }
            Record::Dead { id, reason, attempts } => {
                put(into, &[&[DEAD], &id.to_le_bytes(), &[code(*reason)], &attempts.to_le_bytes()]);
            }
            Record::Redriven { id } => put(into, &[&[REDRIVEN], &id.to_le_bytes()]),
            Record::Opened => into.push(OPENED),
            Record::Released { below } => put(into, &[&[RELEASED], &below.to_le_bytes()]),
            Record::Witness => into.push(WITNESS),
            Record::Closed => into.push(CLOSED),
        }
    }

    /// What it says, in a word or two.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Record::Stored(Stored { damaged: true, .. }, _) => "moved damaged",
            Record::Stored(Stored { moved: true, .. }, _) => "moved",
            Record::Stored(..) => "stored",
            Record::Handed { .. } => "handed out",
            Record::Returned { .. } => "returned",
            Record::Acked { .. } => "acked",
            Record::Dead { .. } => "dead",
            Record::Redriven { .. } => "redriven",
            Record::Opened => "opened",
            Record::Released { .. } => "given up",
            Record::Witness => "witness",
            Record::Closed => "closed",
        }
    }

    /// The messages whose place it changes.
    pub(super) fn changes(&self) -> Range<u64> {
        match self {
            Record::Returned { id, .. } | Record::Dead { id, .. } | Record::Redriven { id } => {
                *id..id.saturating_add(1)
            }
            Record::Acked { first, count } => *first..first.saturating_add(*count),
            Record::Stored(..)
            | Record::Handed { .. }
            | Record::Opened
            | Record::Released { .. }
            | Record::Witness
            | Record::Closed => 0..0,
        }
    }

    /// Says that these were handed out.
    pub(super) fn handed(ids: impl Iterator<Item = u64>) -> Vec<Record> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for id in ids {
            match runs.last_mut() {
                Some((first, count)) if *first + *count == id => *count += 1,
                _ => runs.push((id, 1)),
            }
        }
        runs.into_iter().map(|(first, count)| Record::Handed { first, count }).collect()
    }

    /// Whether it is a message that somebody sends.
    pub(super) fn is_send(&self) -> bool {
        matches!(self, Record::Stored(Stored { moved: false, .. }, _))
    }

    /// Whether it moves a message to another place in the log.
    pub(super) fn is_move(&self) -> bool {
        matches!(self, Record::Stored(Stored { moved: true, .. }, _))
    }

    /// Whether it says nothing that anybody was told.
    pub(super) fn is_upkeep(&self) -> bool {
        let upkeep = matches!(
            self,
            Record::Handed { .. } | Record::Released { .. } | Record::Witness | Record::Closed
        );
        upkeep || self.is_move()
    }

    /// How many bytes of a message it holds.
    pub(super) fn payload_len(&self) -> u64 {
        match self {
            Record::Stored(_, Payload::Here { key, body }) => {
                (body.len() + key.as_ref().map_or(0, |key| key.len())) as u64
            }
            _ => 0,
        }
    }

    /// Whether one message more counts towards the capacity.
    pub(super) fn takes_room(&self) -> bool {
        self.is_send() || matches!(self, Record::Redriven { .. })
    }

    /// Takes one record off the front of bytes that lie at `offset` of a segment; a message stays where it is.
    ///
    /// # Errors
    /// The bytes are not those of a record; the text says why.
    pub(super) fn decode(from: &mut &[u8], segment: u64, offset: usize) -> Result<Record, String> {
        let whole = *from;
        let [kind] = take(from)?;
        Ok(match kind {
            STORED => {
                let (stored, flags) = Stored::decode_head(from)?;
                let key = if flags & HAS_KEY != 0 { take_u32(from)? as usize } else { 0 };
                let body = take_u32(from)? as usize;
                take_u32(from)?;
                take_slice(from, key.saturating_add(body))?;
                let place = |n: usize| u32::try_from(n).map_err(|_| "a segment is too long".to_owned());
                let (offset, len) = (place(offset)?, place(whole.len() - from.len())?);
                Record::Stored(stored, Payload::At(At { segment, offset, len }))
            }
            PLACED => {
                let (stored, _) = Stored::decode_head(from)?;
                let (offset, len) = (take_u32(from)?, take_u32(from)?);
                Record::Stored(stored, Payload::At(At { segment, offset, len }))
            }
            HANDED => Record::Handed { first: take_u64(from)?, count: take_u64(from)? },
            RETURNED => Record::Returned {
                id: take_u64(from)?,
                attempts: take_u32(from)?,
                due: Time(take_u64(from)?),
            },
            ACKED => Record::Acked { first: take_u64(from)?, count: take_u64(from)? },
            DEAD => {
                Record::Dead { id: take_u64(from)?, reason: take_reason(from)?, attempts: take_u32(from)? }
            }
            REDRIVEN => Record::Redriven { id: take_u64(from)? },
            OPENED => Record::Opened,
            RELEASED => Record::Released { below: take_u64(from)? },
            WITNESS => Record::Witness,
            CLOSED => Record::Closed,
            other => return Err(format!("a record has the unknown kind {other}")),
        })
    }
}

impl Stored {
    fn encode_head(&self, kind: u8, more: u8, into: &mut Vec<u8>) {
        let mut flags = more;
        let mut flag = |bit, set: bool| {
            if set {
                flags |= bit;
            }
        };
        flag(HAS_DUE, self.due != Time::ZERO);
        flag(HAS_ATTEMPTS, self.attempts > 0);
        flag(WAS_HANDED, self.handed);
        flag(IS_DEAD, self.death.is_some());
        flag(WAS_MOVED, self.moved);
        flag(IS_DAMAGED, self.damaged);
        put(into, &[&[kind, flags], &self.id.to_le_bytes()]);
        if self.due != Time::ZERO {
            put(into, &[&self.due.0.to_le_bytes()]);
        }
        if self.attempts > 0 {
            put(into, &[&self.attempts.to_le_bytes()]);
        }
        if let Some(Death { order, reason }) = self.death {
            put(into, &[&[code(reason)], &order.to_le_bytes()]);
        }
    }

    fn decode_head(from: &mut &[u8]) -> Result<(Stored, u8), String> {
        let [flags] = take(from)?;
        let id = take_u64(from)?;
        let due = if flags & HAS_DUE != 0 { Time(take_u64(from)?) } else { Time::ZERO };
        let attempts = if flags & HAS_ATTEMPTS != 0 { take_u32(from)? } else { 0 };
        let death = if flags & IS_DEAD != 0 {
            let reason = take_reason(from)?;
            Some(Death { order: take_u64(from)?, reason })
        } else {
            None
        };
        let (handed, moved) = (flags & WAS_HANDED != 0, flags & WAS_MOVED != 0);
        let damaged = flags & IS_DAMAGED != 0;
        Ok((Stored { id, due, attempts, handed, death, moved, damaged }, flags))
    }

    fn encode(&self, key: Option<&[u8]>, body: &[u8], into: &mut Vec<u8>) {
        let start = into.len();
        self.encode_head(STORED, if key.is_some() { HAS_KEY } else { 0 }, into);
        if let Some(key) = key {
            put(into, &[&(key.len() as u32).to_le_bytes()]);
        }
        put(into, &[&(body.len() as u32).to_le_bytes()]);
        let crc = checksum(&into[start..], key.unwrap_or_default(), body);
        put(into, &[&crc.to_le_bytes(), key.unwrap_or_default(), body]);
    }
}

/// A message that was read from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) id: u64,
    pub(super) key: Option<Arc<[u8]>>,
    pub(super) body: Arc<[u8]>,
    /// It was damaged when it was moved.
    pub(super) damaged: bool,
}

impl Read {
    /// What the whole bytes of a message's record hold.
    ///
    /// # Errors
    /// They are not those of a message, or its checksum does not hold; the text says which.
    pub(super) fn decode(bytes: &[u8]) -> Result<Read, String> {
        let mut rest = bytes;
        let from = &mut rest;
        if take(from)? != [STORED] {
            return Err("there is no message".to_owned());
        }
        let (Stored { id, .. }, flags) = Stored::decode_head(from)?;
        let key_len = if flags & HAS_KEY != 0 { take_u32(from)? as usize } else { 0 };
        let body_len = take_u32(from)? as usize;
        let head = &bytes[..bytes.len() - from.len()];
        let crc = take_u32(from)?;
        let (key, body) = (take_slice(from, key_len)?, take_slice(from, body_len)?);
        if crc != checksum(head, key, body) {
            return Err(format!("the checksum of message {id} does not hold"));
        }
        let key = (flags & HAS_KEY != 0).then(|| key.into());
        Ok(Read { id, key, body: body.into(), damaged: flags & IS_DAMAGED != 0 })
    }
}

fn checksum(head: &[u8], key: &[u8], body: &[u8]) -> u32 {
    checksum::append(checksum::append(checksum::of(head), key), body)
}

fn code(reason: Reason) -> u8 {
    match reason {
        Reason::Attempts => 0,
        Reason::Rejected => 1,
    }
}

fn take_reason(from: &mut &[u8]) -> Result<Reason, String> {
    match take(from)? {
        [0] => Ok(Reason::Attempts),
        [1] => Ok(Reason::Rejected),
        [other] => Err(format!("a message died of an unknown reason {other}")),
    }
}

fn put(into: &mut Vec<u8>, fields: &[&[u8]]) {
    for field in fields {
        into.extend_from_slice(field);
    }
}

fn take_slice<'a>(from: &mut &'a [u8], len: usize) -> Result<&'a [u8], String> {
    let (taken, rest) =
        from.split_at_checked(len).ok_or_else(|| "a record ends before its length".to_owned())?;
    *from = rest;
    Ok(taken)
}

fn take<const N: usize>(from: &mut &[u8]) -> Result<[u8; N], String> {
    let (taken, rest) =
        from.split_first_chunk().ok_or_else(|| "a record ends before its length".to_owned())?;
    *from = rest;
    Ok(*taken)
}

fn take_u64(from: &mut &[u8]) -> Result<u64, String> {
    take(from).map(u64::from_le_bytes)
}

fn take_u32(from: &mut &[u8]) -> Result<u32, String> {
    take(from).map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(full: bool) -> Stored {
        let death = Some(Death { order: 9, reason: Reason::Rejected }).filter(|_| full);
        let (due, attempts) = if full { (Time(2), 3) } else { (Time::ZERO, 0) };
        Stored { id: 1, due, attempts, handed: full, death, moved: full, damaged: full }
    }

    #[test]
    fn every_record_decodes_to_itself_and_no_shorter() {
        let at = Payload::At(At { segment: 4, offset: 5, len: 6 });
        let records = [
            Record::Stored(stored(false), at.clone()),
            Record::Stored(stored(true), at),
            Record::Handed { first: 1, count: 2 },
            Record::Returned { id: 1, attempts: 2, due: Time(3) },
            Record::Acked { first: u64::MAX, count: 1 },
            Record::Dead { id: 1, reason: Reason::Attempts, attempts: 5 },
            Record::Dead { id: 1, reason: Reason::Rejected, attempts: 1 },
            Record::Redriven { id: 9 },
            Record::Opened,
            Record::Released { below: 7 },
            Record::Witness,
            Record::Closed,
        ];
        for record in records {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            assert!(bytes.len() <= LONGEST);
            let mut rest = &bytes[..];
            assert_eq!(Record::decode(&mut rest, 4, 0), Ok(record.clone()));
            assert!(rest.is_empty());
            for shorter in 0..bytes.len() {
                Record::decode(&mut &bytes[..shorter], 4, 0).expect_err("is cut off");
            }
        }
        Record::decode(&mut &[99][..], 4, 0).expect_err("is an unknown kind");
    }

    #[test]
    fn a_message_decodes_to_its_place_and_its_bytes_to_itself() {
        for (full, key) in [(false, None), (true, Some(&b"key"[..]))] {
            let (key, body): (Option<Arc<[u8]>>, Arc<[u8]>) = (key.map(Arc::from), b"body"[..].into());
            let mut bytes = Vec::new();
            Record::Stored(stored(full), Payload::Here { key: key.clone(), body: Arc::clone(&body) })
                .encode(&mut bytes);
            let at = At { segment: 4, offset: 100, len: bytes.len() as u32 };
            let placed = Record::Stored(stored(full), Payload::At(at));
            assert_eq!(Record::decode(&mut &bytes[..], 4, 100), Ok(placed));
            assert_eq!(Read::decode(&bytes), Ok(Read { id: 1, key, body, damaged: full }));
            for shorter in 0..bytes.len() {
                Record::decode(&mut &bytes[..shorter], 4, 100).expect_err("is cut off");
                Read::decode(&bytes[..shorter]).expect_err("is cut off");
            }
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                Read::decode(&bytes).expect_err("is damaged");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
}
