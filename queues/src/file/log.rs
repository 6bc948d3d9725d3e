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
//! Behind the last frame the file is filled with zeroes, which were made durable ahead of their use: a commit
//! then changes no length and no allocation, which would cost it a second flush on many file systems, and it
//! is not the commit that finds the disk full.
//!
//! A log is begun under a temporary name with the whole state of the queue up to byte `begun`, synced, and
//! only then renamed to its own. Every life of a queue begins a new log (with a higher number), and so does a
//! queue whose log has grown far beyond its state. Hence nothing is ever appended behind a torn tail, what a
//! failed sync left behind is never trusted again, and at most one commit is ever unsynced.

use std::io;

use super::record::Record;
use super::rng::mix;
use super::storage::{Storage, StorageFile};

pub(super) const SECTOR: usize = 512;
pub(super) const MAGIC: [u8; 16] = *b"stanchion-queue\n";
/// The version of the format that is written here and read.
pub(super) const VERSION: u32 = 2;
/// Where the checksum of the first sector is.
pub(super) const HEADER_CRC: usize = 44;

pub(super) const FRAME_MAGIC: [u8; 4] = *b"frm\n";
pub(super) const FRAME_HEADER: usize = 32;
/// Where the checksum of a frame's header is.
pub(super) const FRAME_CRC: usize = 28;

/// How much of a snapshot is collected before it is written.
const SNAPSHOT_FRAME: usize = 1 << 20;
/// How many zeroes are written at once.
const ZEROES: u64 = 256 << 10;
/// Each time, twice as much is prepared, until it is so many times as much as at first.
const MOST_PREPARED: u64 = 16;

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
    /// How long the file is; from the end of the log on it holds durable zeroes.
    prepared: u64,
    /// How much is prepared at first, and next time.
    first_step: u64,
    step: u64,
}

/// Why a commit failed.
#[derive(Debug)]
pub(super) enum CommitError {
    /// No space; if anything had been written of it, that is durably gone again.
    Full,
    /// Anything else: it may or may not be stored, and nothing may be appended.
    Broken(io::Error),
}

impl<F: StorageFile> Log<F> {
    /// Begins log `number` with `state` under its temporary name and syncs it. `step` bytes are prepared for
    /// commits if there is space for them.
    ///
    /// # Errors
    /// What the system says; the temporary file may be left behind.
    pub(super) fn begin<S: Storage<File = F>>(
        storage: &S,
        number: u64,
        seed: u64,
        step: u64,
        state: impl Iterator<Item = Record>,
    ) -> io::Result<Log<F>> {
        let file = storage.create(&Name::Unfinished(number).to_string())?;
        let salt = mix(seed ^ mix(number));
        let mut log = Log {
            file,
            number,
            salt,
            end: SECTOR as u64,
            frames: 0,
            previous: 0,
            buffer: Vec::new(),
            prepared: 0,
            first_step: step,
            step,
        };
        log.start_frame();
        for record in state {
            record.encode(&mut log.buffer);
            if log.buffer.len() >= SNAPSHOT_FRAME {
                log.write_frame()?;
                log.start_frame();
            }
        }
        log.write_frame()?;
        log.prepared = log.end;
        if let Err(error) = log.fill(log.end + step) {
            is_full(&error).then_some(()).ok_or(error)?;
            log.file.set_len(log.end)?;
        }
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

    /// Appends the records as one frame and syncs it. A frame with messages is let in only where it leaves
    /// space for others: those make space.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub(super) fn commit(&mut self, records: &[Record]) -> Result<(), CommitError> {
        self.start_frame();
        for record in records {
            record.encode(&mut self.buffer);
        }
        let needed = self.end + self.buffer.len().next_multiple_of(SECTOR) as u64;
        let spare = if records.iter().any(Record::is_message) { self.first_step / 4 } else { 0 };
        if needed + spare > self.prepared {
            self.prepare(needed + spare)?;
        }
        let end = self.end;
        self.write_frame()
            .or_else(|error| if is_full(&error) { self.cut(end) } else { Err(CommitError::Broken(error)) })?;
        self.file.sync().map_err(CommitError::Broken)
    }

    /// Makes the file at least so long, and longer if there is space.
    fn prepare(&mut self, least: u64) -> Result<(), CommitError> {
        for to in [least.max(self.prepared + self.step), least] {
            match self.fill(to) {
                Ok(()) => {
                    self.step = (self.step * 2).min(self.first_step * MOST_PREPARED);
                    return self.file.sync().map_err(CommitError::Broken);
                }
                Err(error) if is_full(&error) => self.cut(self.prepared).or_else(|error| match error {
                    CommitError::Full => Ok(()),
                    broken @ CommitError::Broken(_) => Err(broken),
                })?,
                Err(error) => return Err(CommitError::Broken(error)),
            }
        }
        Err(CommitError::Full)
    }

    fn fill(&mut self, to: u64) -> io::Result<()> {
        let zeroes = vec![0; (to - self.prepared).min(ZEROES) as usize];
        let mut at = self.prepared;
        while at < to {
            let some = &zeroes[..(to - at).min(ZEROES) as usize];
            self.file.write_at(some, at)?;
            at += some.len() as u64;
        }
        self.prepared = to;
        Ok(())
    }

    /// The disk was full: takes back what was written behind `to`.
    fn cut(&mut self, to: u64) -> Result<(), CommitError> {
        self.prepared = to;
        self.file.set_len(to).and_then(|()| self.file.sync()).map_err(CommitError::Broken)?;
        Err(CommitError::Full)
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

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
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

pub(super) fn salted_crc(salt: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}
