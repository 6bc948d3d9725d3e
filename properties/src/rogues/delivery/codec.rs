//! Records as bytes: every number takes eight bytes, every string is preceded by its length.

use std::sync::Arc;

use stanchion_queues::{MessageId, Reason, Receipt, Time};

use super::state::{Counters, Entry, Letter, Place, Record};

const COUNTERS: u64 = 1;
const LIVE: u64 = 2;
const GONE: u64 = 3;
const DEAD: u64 = 4;
const REDRIVEN: u64 = 5;
const KNOWN: u64 = 6;

/// The bytes of the records.
pub(super) fn encode(records: &[Record]) -> Vec<u8> {
    let mut out = Writer(Vec::new());
    for record in records {
        match record {
            Record::Counters(counters) => {
                out.numbers(&[COUNTERS, counters.life, counters.next_id, counters.next_death]);
            }
            Record::Live(id, None) => out.numbers(&[GONE, id.0]),
            Record::Live(id, Some(entry)) => {
                out.numbers(&[LIVE, id.0, entry.attempts.into()]);
                out.message(entry.key.as_deref(), &entry.body);
                match entry.place {
                    Place::Waiting { from } => out.numbers(&[0, from.0]),
                    Place::Leased { receipt, session, until } => {
                        out.numbers(&[1, receipt.0 as u64, (receipt.0 >> 64) as u64, session, until.0]);
                    }
                }
            }
            Record::Dead(order, None) => out.numbers(&[REDRIVEN, *order]),
            Record::Known(message, id) => out.numbers(&[KNOWN, *message, id.0]),
            Record::Dead(order, Some(letter)) => {
                let rejected = u64::from(letter.reason == Reason::Rejected);
                out.numbers(&[DEAD, *order, letter.id.0, letter.attempts.into(), rejected]);
                out.message(letter.key.as_deref(), &letter.body);
            }
        }
    }
    out.0
}

/// The records, up to the first bytes that are none, and whether there were no such bytes.
pub(super) fn decode(bytes: &[u8]) -> (Vec<Record>, bool) {
    let mut input = Reader(bytes);
    let mut records = Vec::new();
    while !input.0.is_empty() {
        match input.record() {
            Some(record) => records.push(record),
            None => return (records, false),
        }
    }
    (records, true)
}

struct Writer(Vec<u8>);

impl Writer {
    fn numbers(&mut self, numbers: &[u64]) {
        self.0.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.numbers(&[bytes.len() as u64]);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, key: Option<&[u8]>, body: &[u8]) {
        self.numbers(&[u64::from(key.is_some())]);
        self.bytes(key.unwrap_or_default());
        self.bytes(body);
    }
}

type Bytes = Arc<[u8]>;

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn bytes(&mut self) -> Option<Bytes> {
        let len = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes.into())
    }

    fn message(&mut self) -> Option<(Option<Bytes>, Bytes)> {
        let keyed = self.number()? == 1;
        let key = self.bytes()?;
        Some((keyed.then_some(key), self.bytes()?))
    }

    fn place(&mut self) -> Option<Place> {
        if self.number()? == 0 {
            return Some(Place::Waiting { from: Time(self.number()?) });
        }
        let (low, high) = (self.number()?, self.number()?);
        let receipt = Receipt(u128::from(high) << 64 | u128::from(low));
        Some(Place::Leased { receipt, session: self.number()?, until: Time(self.number()?) })
    }

    fn record(&mut self) -> Option<Record> {
        Some(match self.number()? {
            COUNTERS => Record::Counters(Counters {
                life: self.number()?,
                next_id: self.number()?,
                next_death: self.number()?,
            }),
            GONE => Record::Live(MessageId(self.number()?), None),
            LIVE => {
                let (id, attempts) = (MessageId(self.number()?), self.small()?);
                let (key, body) = self.message()?;
                Record::Live(id, Some(Entry { key, body, attempts, place: self.place()? }))
            }
            REDRIVEN => Record::Dead(self.number()?, None),
            KNOWN => Record::Known(self.number()?, MessageId(self.number()?)),
            DEAD => {
                let (order, id) = (self.number()?, MessageId(self.number()?));
                let attempts = self.small()?;
                let reason = if self.number()? == 1 { Reason::Rejected } else { Reason::Attempts };
                let (key, body) = self.message()?;
                Record::Dead(order, Some(Letter { id, key, body, attempts, reason }))
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_a_cut_is_noticed() {
        let body: Arc<[u8]> = b"body".as_slice().into();
        let leased = Place::Leased { receipt: Receipt(u128::MAX - 5), session: 3, until: Time(9) };
        let records = [
            Record::Counters(Counters { life: 1, next_id: 2, next_death: 3 }),
            Record::Live(MessageId(1), None),
            Record::Live(
                MessageId(2),
                Some(Entry {
                    key: None,
                    body: body.clone(),
                    attempts: 4,
                    place: Place::Waiting { from: Time(7) },
                }),
            ),
            Record::Live(
                MessageId(2),
                Some(Entry { key: Some(body.clone()), body: body.clone(), attempts: 4, place: leased }),
            ),
            Record::Dead(1, None),
            Record::Known(8, MessageId(9)),
            Record::Dead(
                2,
                Some(Letter { id: MessageId(2), key: None, body, attempts: 1, reason: Reason::Rejected }),
            ),
        ];
        let bytes = encode(&records);
        assert_eq!(decode(&bytes), (records.to_vec(), true));
        let (whole, complete) = decode(&bytes[..bytes.len() - 1]);
        assert!(!complete);
        assert_eq!(whole, records[..6]);
    }
}
