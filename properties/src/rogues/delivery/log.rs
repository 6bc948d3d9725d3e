//! One log file: frames of records, each with its length and a checksum.
//!
//! The header of a frame has a sector of its own, and the body begins on the next one. A crash may damage the
//! sectors that were not synced, and no other: a frame that shared a sector with the frame before could take that
//! one with it. The file is filled with zeroes from the start, so that a sync need not make a length durable;
//! behind the last frame there are only zeroes, unless a frame was torn.
//!
//! Compaction starts the next file with a snapshot and removes the old file only when the new one is durable.
//! So the newest file whose first frame is whole is the log, and what is newer than that is the beginning of a
//! compaction that was not finished.

use std::io;
use std::path::PathBuf;

use stanchion_queues::Error;
use stanchion_queues::file::storage::{Storage, StorageFile};

use super::bug::{Bug, Switch};
use super::codec;
use super::state::Record;

const SECTOR: usize = 512;
/// The length of a new file. It grows when that is not enough.
const LENGTH: u64 = 64 * SECTOR as u64;
/// Frames after which the log is compacted: small, so that short runs meet it.
const COMPACT_AFTER: u32 = 12;

#[derive(Debug)]
pub(super) struct Log<S: Storage> {
    disk: S,
    file: S::File,
    number: u64,
    end: u64,
    frames: u32,
    switch: Switch,
    /// What [`Bug::P31`] syncs.
    previous: Option<S::File>,
}

impl<S: Storage> Log<S> {
    /// Opens the log, or begins one, and answers the records in it.
    pub(super) fn open(disk: S, switch: Switch) -> Result<(Log<S>, Vec<Record>), Error> {
        let numbers = disk.list().map_err(|source| failed("list", "", source))?;
        let numbers = numbers.iter().filter_map(|name| name.strip_prefix("log-")?.parse().ok());
        let mut numbers: Vec<u64> = numbers.collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        for &number in &numbers {
            let name = name(number);
            let file = disk.open(&name).map_err(|source| failed("open", &name, source))?;
            let bytes = read_all(&file).map_err(|source| failed("read", &name, source))?;
            let found = read_frames(&bytes, &switch, &name)?;
            if found.frames == 0 && !switch.is(Bug::P26) {
                if switch.is(Bug::P25) {
                    return Err(failed("create", &name, io::ErrorKind::AlreadyExists.into()));
                }
                continue;
            }
            let mut log = Log { disk, file, number, end: found.end, frames: 0, switch, previous: None };
            log.frames = found.frames;
            let written = bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count();
            log.clean(&numbers, written as u64).map_err(|source| failed("clean up", &name, source))?;
            return Ok((log, found.records));
        }
        for &number in &numbers {
            let name = name(number);
            disk.remove(&name).map_err(|source| failed("remove", &name, source))?;
        }
        let begun = Log::begin(disk, 0, &[Record::Counters(Default::default())], switch);
        Ok((begun.map_err(|source| failed("create", &name(0), source))?, Vec::new()))
    }

    /// Wipes a torn tail, which ends at `written`, and removes every other file.
    fn clean(&mut self, numbers: &[u64], written: u64) -> io::Result<()> {
        if self.end < written {
            if self.switch.is(Bug::P08) {
                self.end = written.next_multiple_of(SECTOR as u64);
            } else {
                self.file.write_at(&vec![0; (written - self.end) as usize], self.end)?;
                self.file.sync()?;
            }
        }
        for &number in numbers.iter().filter(|&&number| number != self.number) {
            self.disk.remove(&name(number))?;
        }
        self.disk.sync_dir()
    }

    /// A new file that starts with these records, durable when this returns.
    fn begin(disk: S, number: u64, records: &[Record], switch: Switch) -> io::Result<Log<S>> {
        let file = disk.create(&name(number))?;
        file.set_len(LENGTH)?;
        file.sync()?;
        let mut log = Log { disk, file, number, end: 0, frames: 0, switch, previous: None };
        log.append(records)?;
        if number > 0 && log.switch.is(Bug::P20) {
            log.disk.sync_dir()?;
            log.disk.remove(&name(number - 1))?;
            log.disk.sync_dir()?;
        }
        log.file.sync()?;
        if !log.switch.is(Bug::P02) {
            log.disk.sync_dir()?;
        }
        Ok(log)
    }

    /// Writes one frame. Not durable before [`Log::sync`].
    pub(super) fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let body = codec::encode(records);
        let len = u32::try_from(body.len()).map_err(|_| io::ErrorKind::InvalidInput)?.to_le_bytes();
        let mut frame = Vec::from(len);
        frame.extend_from_slice(&checksum(&len, &body, &self.switch).to_le_bytes());
        frame.resize(SECTOR, 0);
        frame.extend_from_slice(&body);
        frame.resize(frame.len().next_multiple_of(SECTOR), 0);
        self.file.write_at(&frame, self.end)?;
        self.end += frame.len() as u64;
        self.frames += 1;
        Ok(())
    }

    /// Makes all frames durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        match &self.previous {
            Some(previous) if self.switch.is(Bug::P31) => previous.sync(),
            _ => self.file.sync(),
        }
    }

    pub(super) fn wants_compaction(&self) -> bool {
        self.frames >= COMPACT_AFTER
    }

    /// Goes on in a new file that starts with `snapshot`.
    pub(super) fn compact(&mut self, snapshot: &[Record]) -> io::Result<()> {
        let next = Log::begin(self.disk.clone(), self.number + 1, snapshot, self.switch.clone())?;
        let old = std::mem::replace(self, next);
        if !self.switch.is(Bug::P20) {
            self.disk.remove(&name(old.number))?;
            self.disk.sync_dir()?;
        }
        self.previous = Some(old.file);
        Ok(())
    }
}

struct Found {
    records: Vec<Record>,
    frames: u32,
    /// Where the last whole frame ends.
    end: u64,
}

fn read_frames(bytes: &[u8], switch: &Switch, name: &str) -> Result<Found, Error> {
    let mut found = Found { records: Vec::new(), frames: 0, end: 0 };
    while let Some(rest) = bytes.get(found.end as usize..).filter(|rest| rest.iter().any(|byte| *byte != 0)) {
        let Some((len, body)) = frame(rest, switch) else {
            if switch.is(Bug::P10) {
                return Err(corrupt(name, found.end, "a frame is not whole"));
            }
            break;
        };
        let (records, complete) = codec::decode(body);
        if !complete && !switch.is(Bug::P05) && !switch.is(Bug::P32) {
            return Err(corrupt(name, found.end, "a frame is whole but its records are not"));
        }
        found.records.extend(records);
        found.frames += 1;
        found.end += len as u64;
    }
    Ok(found)
}

/// The first frame's length and its body, if it is whole.
fn frame<'a>(bytes: &'a [u8], switch: &Switch) -> Option<(usize, &'a [u8])> {
    let (header, rest) = bytes.split_at_checked(SECTOR)?;
    let (len, header) = header.split_first_chunk()?;
    let (stored, _) = header.split_first_chunk()?;
    let body = rest.get(..u32::from_le_bytes(*len) as usize)?;
    let valid = u32::from_le_bytes(*stored) == checksum(len, body, switch)
        || (!body.is_empty() && switch.is(Bug::P05));
    valid.then_some((SECTOR + body.len().next_multiple_of(SECTOR), body))
}

fn checksum(len: &[u8], body: &[u8], switch: &Switch) -> u32 {
    let covered = if switch.is(Bug::P32) { &[] } else { body };
    crc32c::crc32c_append(crc32c::crc32c(len), covered)
}

fn read_all(file: &impl StorageFile) -> io::Result<Vec<u8>> {
    let len = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; len];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn name(number: u64) -> String {
    format!("log-{number}")
}

fn failed(action: &'static str, name: &str, source: io::Error) -> Error {
    Error::Io { action, path: PathBuf::from(name), source, remedy: "Look at the disk" }
}

fn corrupt(name: &str, offset: u64, detail: &str) -> Error {
    Error::Corrupt { path: PathBuf::from(name), offset, detail: detail.into() }
}
