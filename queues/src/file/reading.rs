//! Reading a log from its beginning, and telling its end from damage.

use std::io;

use super::log::{
    FRAME_CRC, FRAME_HEADER, FRAME_MAGIC, HEADER_CRC, MAGIC, SECTOR, VERSION, salted_crc, u32_at, u64_at,
};
use super::record::Record;
use super::storage::StorageFile;

/// How much is read at once when looking at what is behind the last frame.
const SCAN: usize = 256 * SECTOR;

/// How a log ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// How many bytes of an unfinished commit lie behind the last whole one.
    pub(super) torn: u64,
}

/// Why a log could not be read.
#[derive(Debug)]
pub(super) enum ReadError {
    Io(io::Error),
    /// It was written by another version of this program.
    Version(u32),
    Damaged {
        offset: u64,
        detail: String,
    },
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        ReadError::Io(error)
    }
}

fn damaged<T>(offset: u64, detail: impl Into<String>) -> Result<T, ReadError> {
    Err(ReadError::Damaged { offset, detail: detail.into() })
}

/// Reads log `number` from its beginning and hands out its records in order.
///
/// Where no frame follows, the log ends if this is behind the state that it was begun with and no frame of it
/// lies further on. Zeroes there were prepared for later commits; anything else is a torn commit, which was
/// never confirmed, since at most one is ever unsynced. A place with a frame behind it is damaged.
///
/// # Errors
/// See [`ReadError`]; `each` says why a record makes no sense.
pub(super) fn read<F: StorageFile>(
    file: &F,
    number: u64,
    mut each: impl FnMut(Record) -> Result<(), String>,
) -> Result<Tail, ReadError> {
    let len = file.len()?;
    let (salt, begun) = read_header(file, number, len)?;
    let mut reader = Reader { file, len, salt, begun, at: SECTOR as u64, frames: 0, previous: 0 };
    let mut body = Vec::new();
    loop {
        let at = reader.at;
        match reader.next(&mut body)? {
            Next::Frame => {
                let mut rest = &body[..];
                while !rest.is_empty() {
                    if let Err(detail) = Record::decode(&mut rest).and_then(&mut each) {
                        return damaged(at, format!("{detail}, though its checksum holds"));
                    }
                }
            }
            Next::End { torn } => return Ok(Tail { torn }),
        }
    }
}

/// The salt of a log, and how long it was when it was begun.
fn read_header<F: StorageFile>(file: &F, number: u64, len: u64) -> Result<(u64, u64), ReadError> {
    let mut sector = [0; SECTOR];
    if len < SECTOR as u64 {
        return damaged(len, "it ends within its header");
    }
    file.read_at(&mut sector, 0)?;
    if sector[..16] != MAGIC {
        return damaged(0, "it does not begin as a log of this queue does; if it is none, move it away");
    }
    let version = u32_at(&sector, 16);
    if version != VERSION {
        return Err(ReadError::Version(version));
    }
    if u32_at(&sector, HEADER_CRC) != crc32c::crc32c(&sector[..HEADER_CRC]) {
        return damaged(16, "the checksum of its header does not hold");
    }
    let written = u64_at(&sector, 20);
    if written != number {
        return damaged(20, format!("it says that it is log {written:016x}; give it back that name"));
    }
    Ok((u64_at(&sector, 28), u64_at(&sector, 36)))
}

struct Reader<'a, F> {
    file: &'a F,
    len: u64,
    salt: u64,
    begun: u64,
    at: u64,
    frames: u64,
    previous: u32,
}

enum Rest {
    /// A frame of this log.
    Frame(u64),
    /// Zeroes behind so many bytes.
    Torn(u64),
}

enum Next {
    Frame,
    End { torn: u64 },
}

impl<F: StorageFile> Reader<'_, F> {
    /// Reads the body of the next frame.
    fn next(&mut self, body: &mut Vec<u8>) -> Result<Next, ReadError> {
        match self.frame(body)? {
            Ok((padded, crc)) => {
                self.at += padded;
                self.frames += 1;
                self.previous = crc;
                Ok(Next::Frame)
            }
            Err(detail) => {
                if self.at < self.begun {
                    return damaged(self.at, format!("{detail}, in the state that the log was begun with"));
                }
                match self.rest()? {
                    Rest::Frame(later) => {
                        damaged(self.at, format!("{detail}, but a commit at byte {later} follows"))
                    }
                    Rest::Torn(torn) => Ok(Next::End { torn }),
                }
            }
        }
    }

    /// The length and the header's checksum of the frame here; or what is wrong with it.
    fn frame(&self, body: &mut Vec<u8>) -> io::Result<Result<(u64, u32), &'static str>> {
        let left = self.len.saturating_sub(self.at);
        if left < SECTOR as u64 {
            return Ok(Err("the file ends"));
        }
        let mut head = [0; FRAME_HEADER];
        self.file.read_at(&mut head, self.at)?;
        if !self.is_header(&head) {
            return Ok(Err("a frame's header is not whole"));
        }
        if u32_at(&head, 4) != self.previous || u64_at(&head, 8) != self.frames {
            return Ok(Err("a frame does not follow the one before it"));
        }
        let body_len = u64_at(&head, 16);
        let padded = body_len.saturating_add(FRAME_HEADER as u64).checked_next_multiple_of(SECTOR as u64);
        let Some(padded) = padded.filter(|padded| *padded <= left) else {
            return Ok(Err("the file ends within a frame"));
        };
        // It fits into the file; where that is larger than memory there is nothing to recover into.
        body.resize(body_len as usize, 0);
        self.file.read_at(body, self.at + FRAME_HEADER as u64)?;
        if crc32c::crc32c(body) != u32_at(&head, 24) {
            return Ok(Err("a frame's body is not whole"));
        }
        Ok(Ok((padded, u32_at(&head, FRAME_CRC))))
    }

    fn is_header(&self, head: &[u8]) -> bool {
        head[..4] == FRAME_MAGIC && u32_at(head, FRAME_CRC) == salted_crc(self.salt, &head[..FRAME_CRC])
    }

    /// What is here and behind, where no frame follows.
    fn rest(&self) -> io::Result<Rest> {
        let (mut at, mut torn) = (self.at, 0);
        let mut chunk = Vec::new();
        while at < self.len {
            chunk.resize((self.len - at).min(SCAN as u64) as usize, 0);
            self.file.read_at(&mut chunk, at)?;
            for (nth, sector) in chunk.chunks(SECTOR).enumerate() {
                let here = at + (nth * SECTOR) as u64;
                // A header here has already been found to be followed by too little.
                if here > self.at && sector.len() == SECTOR && self.is_header(&sector[..FRAME_HEADER]) {
                    return Ok(Rest::Frame(here));
                }
                if sector.iter().any(|byte| *byte != 0) {
                    torn = here + sector.len() as u64 - self.at;
                }
            }
            at += chunk.len() as u64;
        }
        Ok(Rest::Torn(torn))
    }
}
