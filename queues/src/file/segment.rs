//! A segment: one file of the log, a header and frames.
//!
//! ```text
//! block 0   magic (16) · version u32 · number u64 · salt u64 · begun u64 · flags u8 (1 recycled, 2 the segment
//!           before has an index) · next id u64 · next death u64 · released u64 · of the segment before:
//!           end u64, frames u64, checksum of the last header u32 · length of a block u32 · length of the file u64 ·
//!           crc u32
//! block 1   the same
//! then      frames
//! ```
//!
//! All numbers are little endian, all checksums CRC-32C. A block is what the system writes as a whole; each segment says
//! how long it is. The header is written and synced before the file gets the
//! name of a segment, and never changed. It says where the segment before it ended: so whatever is missing
//! there is missed, and whatever else lies there is not taken for part of the log.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::checksum;
use super::frame::{self, Kind, Link, u32_at, u64_at};
use super::record::At;
use super::storage::{Block, StorageFile};

const MAGIC: [u8; 16] = *b"stanchion-queue\n";
/// The version of the format that is written here and read.
pub(super) const VERSION: u32 = 4;
/// Where the checksum of the header is.
const HEADER_CRC: usize = 101;
/// How long it is with that.
pub(super) const HEADER: usize = HEADER_CRC + 4;
/// Where a header may begin.
pub(super) const COPIES: [u64; 3] = [0, 512, 4096];

/// Where the first frame is.
pub(super) fn frames(block: Block) -> u64 {
    2 * block.bytes() as u64
}

const SEGMENT: &str = "log-";
const SPARE: &str = "spare-";

/// What the name of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    /// The segment with this number.
    Segment(u64),
    /// It may become the segment with this number; what it holds means nothing.
    Spare(u64),
}

impl Name {
    /// `None`: not a file of ours.
    pub(super) fn parse(name: &str) -> Option<Name> {
        let (digits, make) = match name.strip_prefix(SEGMENT) {
            Some(digits) => (digits, Name::Segment as fn(u64) -> Name),
            None => (name.strip_prefix(SPARE)?, Name::Spare as fn(u64) -> Name),
        };
        let number = u64::from_str_radix(digits, 16).ok()?;
        (make(number).to_string() == name).then(|| make(number))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Segment(number) => write!(f, "{SEGMENT}{number:016x}"),
            Name::Spare(number) => write!(f, "{SPARE}{number:016x}"),
        }
    }
}

/// No id of a message, and no number of a death, is as large as this: none was ever given.
pub(super) const NUMBERS: u64 = 1 << 62;

/// What is true of the log before a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks {
    /// Messages with smaller ids were stored before.
    pub(super) next_id: u64,
    /// So many deaths were before.
    pub(super) next_death: u64,
    /// Segments with smaller numbers are not needed.
    pub(super) released: u64,
}

/// How a segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct End {
    /// Behind its last frame.
    pub(super) at: u64,
    pub(super) link: Link,
    /// An index follows there.
    pub(super) indexed: bool,
}

/// What stands at the beginning of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) number: u64,
    pub(super) salt: u64,
    /// Frames up to here were durable before the segment had its name.
    pub(super) begun: u64,
    /// The file was used before: what is behind the frames may be anything.
    pub(super) recycled: bool,
    pub(super) marks: Marks,
    /// How the segment before ended, if there was one.
    pub(super) before: End,
    /// What its frames are made of.
    pub(super) block: Block,
    /// How long the file is.
    pub(super) len: u64,
}

impl Header {
    /// Whether a queue can have written this.
    pub(super) fn is_possible(&self) -> bool {
        let Marks { next_id, next_death, released } = self.marks;
        next_id < NUMBERS && next_death < NUMBERS && released <= self.number && self.frames() <= self.len
    }

    /// Where its first frame is.
    pub(super) fn frames(&self) -> u64 {
        frames(self.block)
    }
}

/// Why bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoHeader {
    Foreign,
    Version(u32),
    Damaged,
}

impl Header {
    /// Both copies.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut both = vec![0; self.frames() as usize];
        let (sector, copy) = both.split_at_mut(self.block.bytes());
        sector[..16].copy_from_slice(&MAGIC);
        sector[16..20].copy_from_slice(&VERSION.to_le_bytes());
        let numbers = [self.number, self.salt, self.begun];
        for (n, number) in numbers.iter().enumerate() {
            sector[20 + n * 8..28 + n * 8].copy_from_slice(&number.to_le_bytes());
        }
        let Header { marks, before, .. } = self;
        sector[44] = u8::from(self.recycled) | u8::from(before.indexed) << 1;
        let numbers = [marks.next_id, marks.next_death, marks.released, before.at, before.link.number];
        for (n, number) in numbers.iter().enumerate() {
            sector[45 + n * 8..53 + n * 8].copy_from_slice(&number.to_le_bytes());
        }
        sector[85..89].copy_from_slice(&before.link.previous.to_le_bytes());
        sector[89..93].copy_from_slice(&(self.block.bytes() as u32).to_le_bytes());
        sector[93..HEADER_CRC].copy_from_slice(&self.len.to_le_bytes());
        let crc = checksum::of(&sector[..HEADER_CRC]);
        sector[HEADER_CRC..HEADER_CRC + 4].copy_from_slice(&crc.to_le_bytes());
        copy.copy_from_slice(sector);
        both
    }

    /// Reads one copy.
    ///
    /// # Errors
    /// It is not whole.
    pub(super) fn decode(sector: &[u8; HEADER]) -> Result<Header, NoHeader> {
        if sector[..16] != MAGIC {
            return Err(NoHeader::Foreign);
        }
        let version = u32_at(sector, 16);
        if version != VERSION {
            return Err(NoHeader::Version(version));
        }
        if u32_at(sector, HEADER_CRC) != checksum::of(&sector[..HEADER_CRC]) {
            return Err(NoHeader::Damaged);
        }
        let block = match u32_at(sector, 89) {
            512 => Block::Sector,
            4096 => Block::Page,
            _ => return Err(NoHeader::Damaged),
        };
        let number = |n: usize| u64_at(sector, 45 + n * 8);
        Ok(Header {
            number: u64_at(sector, 20),
            salt: u64_at(sector, 28),
            begun: u64_at(sector, 36),
            recycled: sector[44] & 1 != 0,
            marks: Marks { next_id: number(0), next_death: number(1), released: number(2) },
            before: End {
                at: number(3),
                link: Link { number: number(4), previous: u32_at(sector, 85) },
                indexed: sector[44] & 2 != 0,
            },
            block,
            len: u64_at(sector, 93),
        })
    }
}

/// A segment to append to.
pub(super) struct Segment<F> {
    pub(super) file: Arc<F>,
    pub(super) number: u64,
    pub(super) salt: u64,
    pub(super) block: Block,
    /// How long the file is. From the end on, all of it was durably written before.
    pub(super) len: u64,
    /// What has been appended.
    pub(super) end: End,
    /// The records that are in it, as they will stand in its index.
    pub(super) index: Vec<u8>,
}

impl<F: StorageFile> Segment<F> {
    /// Appends a frame as `write` does it. Its body lies in `bytes` behind room for the header.
    ///
    /// # Errors
    /// What the system says; part of it may be there.
    pub(super) fn append(
        &mut self,
        bytes: &mut Vec<u8>,
        kind: Kind,
        write: fn(&F, &[u8], u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let crc = frame::seal(bytes, kind, self.end.link, self.salt, self.block);
        write(&self.file, bytes, self.end.at)?;
        self.end.at += bytes.len() as u64;
        self.end.link = Link { number: self.end.link.number + 1, previous: crc };
        Ok(())
    }

    /// Where a record will be that is encoded at this place of the next frame.
    pub(super) fn place(&self, in_frame: Range<usize>) -> At {
        let offset = self.end.at as usize + in_frame.start;
        At { segment: self.number, offset: offset as u32, len: in_frame.len() as u32 }
    }

    /// Whether a frame of so many bytes, with so much of the index for it, leaves room for the index and so much more.
    pub(super) fn has_room(&self, frame: u64, indexed: usize, more: u64) -> bool {
        let index = frame::filled((self.index.len() + indexed) as u64, self.block);
        index.is_some_and(|index| self.end.at + frame + index + more <= self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_copies_of_a_header_decode_to_itself_while_they_are_whole() {
        let part = |both: &[u8], at: u64| both[at as usize..][..HEADER].try_into().expect("is so long");
        for block in [Block::Sector, Block::Page] {
            let header = Header {
                number: 1,
                salt: 2,
                begun: 3,
                recycled: true,
                marks: Marks { next_id: 4, next_death: 5, released: 6 },
                before: End { at: 7, link: Link { number: 8, previous: 9 }, indexed: true },
                block,
                len: 10,
            };
            let both = header.encode();
            let copies = COPIES.into_iter().filter(|at| *at < header.frames());
            let copies: Vec<u64> =
                copies.filter(|at| Header::decode(&part(&both, *at)) == Ok(header)).collect();
            assert_eq!(copies, [0, block.bytes() as u64]);
            let mut copy = part(&both, 0);
            copy[40] ^= 1;
            assert_eq!(Header::decode(&copy), Err(NoHeader::Damaged));
            copy[16] += 1;
            assert_eq!(Header::decode(&copy), Err(NoHeader::Version(VERSION + 1)));
            copy[0] += 1;
            assert_eq!(Header::decode(&copy), Err(NoHeader::Foreign));
        }
    }

    #[test]
    fn names_are_ours_only_as_we_write_them() {
        for name in [Name::Segment(0x1f), Name::Spare(u64::MAX)] {
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
        for name in ["log-1", "log-000000000000001F", "spare-", "log-+00000000000001f", "lock"] {
            assert_eq!(Name::parse(name), None, "{name}");
        }
    }
}
