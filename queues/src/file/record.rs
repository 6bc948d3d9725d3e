//! What the log says: the changes of the queue's state, and how each is written.
//!
//! A record is one byte of kind and its fields, little endian, without padding. Frames around records have
//! the checksums (see `log`), so that a record which does not decode was written by another program.

use std::sync::Arc;

use crate::broker::Reason;
use crate::clock::Time;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Ids below this one were given away. Only in the first frame of a log.
    NextId(u64),
    /// A message was sent; or, in the first frames of a log, it was there when the log was begun.
    Stored(Stored),
    /// The messages with these ids were handed out for an attempt more.
    Handed { first: u64, count: u64 },
    /// An attempt ended and the message may be delivered again, not before `due`.
    Returned { id: u64, attempts: u32, due: Time },
    /// Done.
    Acked { id: u64 },
    /// It became the youngest dead letter.
    Dead { id: u64, reason: Reason, attempts: u32 },
    /// The oldest dead letter became ready again, without attempts.
    Redriven { id: u64 },
    /// The queue was closed: nothing follows.
    Closed,
}

/// A message as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) id: u64,
    /// Not to be delivered before; [`Time::ZERO`]: at once.
    pub(super) due: Time,
    /// Attempts that ended.
    pub(super) attempts: u32,
    /// Whether another attempt had begun.
    pub(super) handed: bool,
    pub(super) key: Option<Arc<[u8]>>,
    pub(super) body: Arc<[u8]>,
}

const NEXT_ID: u8 = 1;
const STORED: u8 = 2;
const HANDED: u8 = 3;
const RETURNED: u8 = 4;
const ACKED: u8 = 5;
const DEAD: u8 = 6;
const REDRIVEN: u8 = 7;
const CLOSED: u8 = 8;

const HAS_KEY: u8 = 1;
const WAS_HANDED: u8 = 2;

impl Record {
    pub(super) fn encode(&self, into: &mut Vec<u8>) {
        match self {
            Record::NextId(id) => put(into, NEXT_ID, &[&id.to_le_bytes()]),
            Record::Stored(stored) => stored.encode(into),
            Record::Handed { first, count } => {
                put(into, HANDED, &[&first.to_le_bytes(), &count.to_le_bytes()]);
            }
            Record::Returned { id, attempts, due } => {
                put(into, RETURNED, &[&id.to_le_bytes(), &attempts.to_le_bytes(), &due.0.to_le_bytes()])
            }
            Record::Acked { id } => put(into, ACKED, &[&id.to_le_bytes()]),
            Record::Dead { id, reason, attempts } => {
                let reason = match reason {
                    Reason::Attempts => 0,
                    Reason::Rejected => 1,
                };
                put(into, DEAD, &[&id.to_le_bytes(), &[reason], &attempts.to_le_bytes()]);
            }
            Record::Redriven { id } => put(into, REDRIVEN, &[&id.to_le_bytes()]),
            Record::Closed => put(into, CLOSED, &[]),
        }
    }

    /// The message whose place it changes.
    pub(super) fn changes(&self) -> Option<u64> {
        match self {
            Record::Returned { id, .. }
            | Record::Acked { id }
            | Record::Dead { id, .. }
            | Record::Redriven { id } => Some(*id),
            Record::NextId(_) | Record::Stored(_) | Record::Handed { .. } | Record::Closed => None,
        }
    }

    /// Whether it holds a message.
    pub(super) fn is_message(&self) -> bool {
        matches!(self, Record::Stored(_))
    }

    /// Whether one message more counts towards the capacity.
    pub(super) fn takes_room(&self) -> bool {
        matches!(self, Record::Stored(_) | Record::Redriven { .. })
    }

    /// Takes one record off the front.
    ///
    /// # Errors
    /// The bytes are not those of a record; the text says why.
    pub(super) fn decode(from: &mut &[u8]) -> Result<Record, String> {
        let [kind] = take(from)?;
        Ok(match kind {
            NEXT_ID => Record::NextId(take_u64(from)?),
            STORED => Record::Stored(Stored::decode(from)?),
            HANDED => Record::Handed { first: take_u64(from)?, count: take_u64(from)? },
            RETURNED => Record::Returned {
                id: take_u64(from)?,
                attempts: take_u32(from)?,
                due: Time(take_u64(from)?),
            },
            ACKED => Record::Acked { id: take_u64(from)? },
            DEAD => Record::Dead {
                id: take_u64(from)?,
                reason: match take(from)? {
                    [0] => Reason::Attempts,
                    [1] => Reason::Rejected,
                    [other] => return Err(format!("a message died of an unknown reason {other}")),
                },
                attempts: take_u32(from)?,
            },
            REDRIVEN => Record::Redriven { id: take_u64(from)? },
            CLOSED => Record::Closed,
            other => return Err(format!("a record has the unknown kind {other}")),
        })
    }
}

impl Stored {
    fn encode(&self, into: &mut Vec<u8>) {
        let mut flags = 0;
        if self.key.is_some() {
            flags |= HAS_KEY;
        }
        if self.handed {
            flags |= WAS_HANDED;
        }
        let key = self.key.as_deref().unwrap_or_default();
        put(
            into,
            STORED,
            &[
                &[flags],
                &self.id.to_le_bytes(),
                &self.due.0.to_le_bytes(),
                &self.attempts.to_le_bytes(),
                &(key.len() as u32).to_le_bytes(),
                &(self.body.len() as u32).to_le_bytes(),
                key,
                &self.body,
            ],
        );
    }

    fn decode(from: &mut &[u8]) -> Result<Stored, String> {
        let [flags] = take(from)?;
        let id = take_u64(from)?;
        let due = Time(take_u64(from)?);
        let attempts = take_u32(from)?;
        let key_len = take_u32(from)? as usize;
        let body_len = take_u32(from)? as usize;
        let key = take_slice(from, key_len)?;
        let key = (flags & HAS_KEY != 0).then(|| key.into());
        let body = take_slice(from, body_len)?.into();
        Ok(Stored { id, due, attempts, handed: flags & WAS_HANDED != 0, key, body })
    }
}

fn put(into: &mut Vec<u8>, kind: u8, fields: &[&[u8]]) {
    into.push(kind);
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

    #[test]
    fn every_record_decodes_to_itself_and_no_shorter() {
        let stored = Stored {
            id: 1,
            due: Time(2),
            attempts: 3,
            handed: true,
            key: Some(b"key"[..].into()),
            body: b"body"[..].into(),
        };
        let records = [
            Record::NextId(7),
            Record::Stored(Stored { handed: false, key: None, body: b""[..].into(), ..stored.clone() }),
            Record::Stored(stored),
            Record::Handed { first: 1, count: 2 },
            Record::Returned { id: 1, attempts: 2, due: Time(3) },
            Record::Acked { id: u64::MAX },
            Record::Dead { id: 1, reason: Reason::Attempts, attempts: 5 },
            Record::Dead { id: 1, reason: Reason::Rejected, attempts: 1 },
            Record::Redriven { id: 9 },
            Record::Closed,
        ];
        for record in records {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            let mut rest = &bytes[..];
            assert_eq!(Record::decode(&mut rest), Ok(record.clone()));
            assert!(rest.is_empty());
            for shorter in 0..bytes.len() {
                Record::decode(&mut &bytes[..shorter]).expect_err("is cut off");
            }
        }
        Record::decode(&mut &[99][..]).expect_err("is an unknown kind");
    }
}
