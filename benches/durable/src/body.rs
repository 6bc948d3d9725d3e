//! Bodies that say who they are, so that whoever finds one knows whether it is whole.

use std::sync::OnceLock;

use stanchion_benches::statistics::Random;
use stanchion_queues::Message;

/// The smallest body: its identity.
pub const LEAST: usize = 8;
const SEQUENCE_BITS: u32 = 40;
/// The largest body, and where its filling may start.
const TEMPLATE: usize = 1 << 16;

/// Noise, so that no store can compress it. Cutting a body out of it costs next to nothing.
fn template() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let mut random = Random::new(4);
        (0..2 * TEMPLATE / 8).flat_map(|_| random.bits().to_le_bytes()).collect()
    })
}

/// Who a body is: the producer, and how many it sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Which producer.
    pub producer: u64,
    /// From 0.
    pub sequence: u64,
}

impl Identity {
    fn word(self) -> u64 {
        (self.producer << SEQUENCE_BITS) | self.sequence
    }

    /// What follows the identity in a body of so many bytes.
    fn filling(self, bytes: usize) -> &'static [u8] {
        let start = (self.word().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % TEMPLATE;
        &template()[start..start + bytes.saturating_sub(LEAST).min(TEMPLATE)]
    }

    /// Its message, of so many bytes: at least [`LEAST`].
    pub fn message(self, bytes: usize) -> Message {
        let mut body = Vec::with_capacity(bytes);
        body.extend_from_slice(&self.word().to_le_bytes());
        body.extend_from_slice(self.filling(bytes));
        Message::new(body)
    }

    /// Whose body this is. `None`: nobody's, or it is damaged.
    pub fn of(body: &[u8]) -> Option<Identity> {
        let word = u64::from_le_bytes(*body.first_chunk()?);
        let sequence = word & ((1 << SEQUENCE_BITS) - 1);
        let identity = Identity { producer: word >> SEQUENCE_BITS, sequence };
        (body[LEAST..] == *identity.filling(body.len())).then_some(identity)
    }
}

/// What one producer sends.
#[derive(Clone, Debug)]
pub struct Maker {
    producer: u64,
    bytes: usize,
    made: u64,
}

impl Maker {
    /// Bodies of so many bytes.
    pub fn new(producer: usize, bytes: usize) -> Maker {
        Maker { producer: producer as u64, bytes, made: 0 }
    }

    /// How many it made.
    pub fn made(&self) -> u64 {
        self.made
    }

    /// Replaces the batch by the next one of so many messages.
    pub fn fill(&mut self, batch: &mut Vec<Message>, many: usize) {
        batch.clear();
        let sequences = self.made..self.made + many as u64;
        self.made = sequences.end;
        batch.extend(
            sequences.map(|sequence| Identity { producer: self.producer, sequence }.message(self.bytes)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_says_who_it_is_and_a_damaged_one_is_nobodys() {
        let (mut maker, mut batch) = (Maker::new(63, 100), Vec::new());
        maker.fill(&mut batch, 2);
        maker.fill(&mut batch, 3);
        assert_eq!((maker.made(), batch.len()), (5, 3));
        let sequences: Vec<_> = batch.iter().map(|message| Identity::of(&message.body)).collect();
        let expected = |sequence| Some(Identity { producer: 63, sequence });
        assert_eq!(sequences, [2, 3, 4].map(expected));
        for at in 0..100 {
            let mut body = batch[0].body.to_vec();
            body[at] ^= 1;
            assert_ne!(Identity::of(&body), expected(2), "byte {at}");
        }
        assert_eq!(Identity::of(&[1, 2, 3]), None);
    }

    #[test]
    fn the_smallest_and_large_bodies_are_bodies_too() {
        let identity = Identity { producer: 1, sequence: 7 };
        for bytes in [LEAST, LEAST + 1, 1024, 1 << 16] {
            let message = identity.message(bytes);
            assert_eq!((message.body.len(), Identity::of(&message.body)), (bytes, Some(identity)));
        }
    }
}
