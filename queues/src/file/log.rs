//! The log: a file of frames, each of which is one commit and is there wholly or not at all.
//!
//! ```text
//! sector 0   magic (16) · version u32 · number u64 · salt u64 · begun u64 · crc u32
//! frame      magic (4) · crc of the previous frame's header u32 · number u64 · body length u64 ·
//!            crc of the body u32 · crc of this header u32 · records · zeroes up to a whole sector
//! ```
//!
//! All numbers are little endian, all checksums CRC-32C. Frames are numbered from 0 and padded to whole
//! sectors, so that no commit ever rewrites a sector that an earlier one made durable. Header checksums are
//! seeded with the *salt* of this log, and each header carries that of the frame before it, so that bytes of
//! another log, or of another place in this one, never pass for a frame.
//!
//! A log is begun under a temporary name with the whole state of the queue up to byte `begun`, synced, and
//! only then renamed to its own. Every life of a queue begins a new log (with a higher number), and so does a
//! queue whose log has grown far beyond its state. Hence nothing is ever appended behind a torn tail, what a
//! failed sync left behind is never trusted again, and at most one commit is ever unsynced.

use std::io;

use super::record::Record;
use super::rng::mix;
use super::storage::{Storage, StorageFile};

const SECTOR: usize = 512;
const MAGIC: [u8; 16] = *b"stanchion-queue\n";
/// The version of the format that is written here and read.
pub(super) const VERSION: u32 = 1;
/// Where the checksum of the first sector is.
const HEADER_CRC: usize = 44;

const FRAME_MAGIC: [u8; 4] = *b"frm\n";
const FRAME_HEADER: usize = 32;
/// Where the checksum of a frame's header is.
const FRAME_CRC: usize = 28;

/// How much of a snapshot is collected before it is written.
const SNAPSHOT_FRAME: usize = 1 << 20;
/// How much is read at once when looking for frames behind a damaged place.
const SCAN: usize = 256 * SECTOR;

const PREFIX: &str = "log-";
const UNFINISHED: &str = ".new";

/// What the name of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// The log with this number.
    Log(u64),
    /// A log that was being begun.
    Unfinished(u64),
}

impl Name {
    /// `None`: not a file of ours.
    pub(super) fn parse(name: &str) -> Option<Name> {
        let rest = name.strip_prefix(PREFIX)?;
        let (digits, make) = match rest.strip_suffix(UNFINISHED) {
            Some(digits) => (digits, Name::Unfinished as fn(u64) -> Name),
            None => (rest, Name::Log as fn(u64) -> Name),
        };
        let number = u64::from_str_radix(digits, 16).ok()?;
        (make(number).to_string() == name).then(|| make(number))
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Name::Log(number) => write!(f, "{PREFIX}{number:016x}"),
            Name::Unfinished(number) => write!(f, "{PREFIX}{number:016x}{UNFINISHED}"),
        }
    }
}

/// A log to append to.
pub(super) struct Log<F> {
    file: F,
    number: u64,
    salt: u64,
    /// Where the next frame goes.
    end: u64,
    frames: u64,
    previous: u32,
    buffer: Vec<u8>,
}

/// Why a commit failed.
#[derive(Debug)]
pub(super) enum CommitError {
    /// No space; what had been written of it is durably gone again.
    Full,
    /// Anything else: it may or may not be stored, and nothing may be appended.
    Broken(io::Error),
}

impl<F: StorageFile> Log<F> {
    /// Begins log `number` with `state` under its temporary name and syncs it.
    ///
    /// # Errors
    /// What the system says; the temporary file may be left behind.
    pub(super) fn begin<S: Storage<File = F>>(
        storage: &S,
        number: u64,
        seed: u64,
        state: impl Iterator<Item = Record>,
    ) -> io::Result<Log<F>> {
        let file = storage.create(&Name::Unfinished(number).to_string())?;
        let salt = mix(seed ^ mix(number));
        let mut log =
            Log { file, number, salt, end: SECTOR as u64, frames: 0, previous: 0, buffer: Vec::new() };
        log.start_frame();
        for record in state {
            record.encode(&mut log.buffer);
            if log.buffer.len() >= SNAPSHOT_FRAME {
                log.write_frame()?;
                log.start_frame();
            }
        }
        log.write_frame()?;
        log.file.write_at(&header(number, salt, log.end), 0)?;
        log.file.sync()?;
        Ok(log)
    }

    /// Gives a begun log its own name, durably.
    ///
    /// # Errors
    /// What the system says; which log the next open finds is unknown, and both say the same.
    pub(super) fn publish<S: Storage>(&self, storage: &S) -> io::Result<()> {
        storage.rename(&Name::Unfinished(self.number).to_string(), &Name::Log(self.number).to_string())?;
        storage.sync_dir()
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Its length in bytes.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Appends the records as one frame and syncs it.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub(super) fn commit<'a>(
        &mut self,
        records: impl Iterator<Item = &'a Record>,
    ) -> Result<(), CommitError> {
        self.start_frame();
        for record in records {
            record.encode(&mut self.buffer);
        }
        let end = self.end;
        self.write_frame().or_else(|error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                let cut = self.file.set_len(end).and_then(|()| self.file.sync());
                cut.map_err(CommitError::Broken).and(Err(CommitError::Full))
            }
            _ => Err(CommitError::Broken(error)),
        })?;
        self.file.sync().map_err(CommitError::Broken)
    }

    fn start_frame(&mut self) {
        self.buffer.clear();
        self.buffer.resize(FRAME_HEADER, 0);
    }

    fn write_frame(&mut self) -> io::Result<()> {
        let (head, body) = self.buffer.split_at_mut(FRAME_HEADER);
        head[..4].copy_from_slice(&FRAME_MAGIC);
        head[4..8].copy_from_slice(&self.previous.to_le_bytes());
        head[8..16].copy_from_slice(&self.frames.to_le_bytes());
        head[16..24].copy_from_slice(&(body.len() as u64).to_le_bytes());
        head[24..28].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
        let crc = salted_crc(self.salt, &head[..FRAME_CRC]);
        head[FRAME_CRC..].copy_from_slice(&crc.to_le_bytes());
        self.buffer.resize(self.buffer.len().next_multiple_of(SECTOR), 0);
        self.file.write_at(&self.buffer, self.end)?;
        self.end += self.buffer.len() as u64;
        self.frames += 1;
        self.previous = crc;
        Ok(())
    }
}

fn header(number: u64, salt: u64, begun: u64) -> [u8; SECTOR] {
    let mut sector = [0; SECTOR];
    sector[..16].copy_from_slice(&MAGIC);
    sector[16..20].copy_from_slice(&VERSION.to_le_bytes());
    sector[20..28].copy_from_slice(&number.to_le_bytes());
    sector[28..36].copy_from_slice(&salt.to_le_bytes());
    sector[36..44].copy_from_slice(&begun.to_le_bytes());
    let crc = crc32c::crc32c(&sector[..HEADER_CRC]);
    sector[HEADER_CRC..HEADER_CRC + 4].copy_from_slice(&crc.to_le_bytes());
    sector
}

fn salted_crc(salt: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

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
/// The first invalid frame is the torn end of the log only if it lies behind the state that the log was begun
/// with and no frame of this log lies behind it; since at most one commit is ever unsynced, that one was
/// never confirmed. Anything else is damage.
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
                if let Some(later) = self.later_frame()? {
                    return damaged(self.at, format!("{detail}, but a commit at byte {later} follows"));
                }
                Ok(Next::End { torn: self.len.saturating_sub(self.at) })
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

    /// Where, behind this place, the first header of a frame of this log lies.
    fn later_frame(&self) -> io::Result<Option<u64>> {
        let mut at = self.at + SECTOR as u64;
        let mut chunk = Vec::new();
        while at + SECTOR as u64 <= self.len {
            let whole = (self.len - at).min(SCAN as u64) as usize / SECTOR * SECTOR;
            chunk.resize(whole, 0);
            self.file.read_at(&mut chunk, at)?;
            let found = chunk.chunks(SECTOR).position(|sector| self.is_header(&sector[..FRAME_HEADER]));
            if let Some(nth) = found {
                return Ok(Some(at + (nth * SECTOR) as u64));
            }
            at += whole as u64;
        }
        Ok(None)
    }
}
