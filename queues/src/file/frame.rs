//! A frame: what one commit writes, and is there wholly or not at all.
//!
//! ```text
//! magic (4) · checksum of the header before u32 · number u64 · body length u64 ·
//! checksum of the body u32 · checksum of this header u32 · body · up to a whole block
//! ```
//!
//! Frames of a segment are numbered from 0 and fill whole blocks, so that no commit ever rewrites one that
//! an earlier one made durable. Checksums of headers are seeded with the *salt* of the segment, and each
//! header has that of the frame before it, so that what another segment left in a file that is used again, or
//! what lies elsewhere in this one, never passes for a frame. What is behind the body in its last block says nothing.

use super::checksum;
use super::storage::Block;

pub(super) const HEADER: usize = 32;
/// Where the checksum of the header is.
const CRC: usize = 28;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Records of a commit.
    Commit,
    /// All records of the segment, with the places of its messages instead of their bytes.
    Index,
}

impl Kind {
    fn magic(self) -> [u8; 4] {
        match self {
            Kind::Commit => *b"frm\n",
            Kind::Index => *b"idx\n",
        }
    }
}

/// Where a frame stands among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Link {
    /// How many frames are before it.
    pub(super) number: u64,
    /// The checksum of the header before.
    pub(super) previous: u32,
}

/// The header of a frame that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) link: Link,
    pub(super) body: u64,
    body_crc: u32,
    pub(super) crc: u32,
}

/// How many bytes a frame with such a body fills.
pub(super) fn filled(body: u64, block: Block) -> Option<u64> {
    body.checked_add(HEADER as u64)?.checked_next_multiple_of(block.bytes() as u64)
}

/// Completes a frame whose body lies in `bytes` behind room for its header; answers the header's checksum.
pub(super) fn seal(bytes: &mut Vec<u8>, kind: Kind, link: Link, salt: u64, block: Block) -> u32 {
    let (head, body) = bytes.split_at_mut(HEADER);
    head[..4].copy_from_slice(&kind.magic());
    head[4..8].copy_from_slice(&link.previous.to_le_bytes());
    head[8..16].copy_from_slice(&link.number.to_le_bytes());
    head[16..24].copy_from_slice(&(body.len() as u64).to_le_bytes());
    head[24..CRC].copy_from_slice(&checksum::of(body).to_le_bytes());
    let crc = salted_crc(salt, &head[..CRC]);
    head[CRC..].copy_from_slice(&crc.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(block.bytes()), 0);
    crc
}

impl Header {
    /// `None`: this is not the header of such a frame of the segment with this salt.
    pub(super) fn parse(head: &[u8], kind: Kind, salt: u64) -> Option<Header> {
        let head = head.get(..HEADER)?;
        let crc = u32_at(head, CRC);
        (head[..4] == kind.magic() && crc == salted_crc(salt, &head[..CRC])).then(|| Header {
            link: Link { number: u64_at(head, 8), previous: u32_at(head, 4) },
            body: u64_at(head, 16),
            body_crc: u32_at(head, 24),
            crc,
        })
    }

    pub(super) fn is_of(&self, body: &[u8]) -> bool {
        checksum::of(body) == self.body_crc
    }
}

fn salted_crc(salt: u64, bytes: &[u8]) -> u32 {
    checksum::append(checksum::of(&salt.to_le_bytes()), bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}
