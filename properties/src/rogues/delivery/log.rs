//! One log file: frames of records, each with its length and a checksum.
//!
//! The header of a frame has a sector of its own, and the body begins on the next one. A crash may damage the
//! sectors that were not synced, and no other: a frame that shared a sector with the frame before could take that
//! one with it. The file is filled with zeroes from the start, so that a sync need not make a length durable;
//! behind the last frame there are only zeroes, unless a frame was torn.
//!
//! A frame says how much was synced when it was written. So a frame that is not whole was torn if no frame says that
//! it was synced, and is damaged otherwise.
//!
//! Compaction starts the next file with a snapshot and removes the others only when that is durable.
//! So the newest file whose first frame is whole is the log, and what is newer than that is the beginning of a
//! compaction that was not finished. Opening goes on in a new file, too: after a sync that failed, what is read need
//! not be on the disk.

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
/// What a frame is, at this place in its header.
const KIND: usize = 32;
const APPENDED: u8 = 1;
const SNAPSHOT: u8 = 2;
/// Files that some bugs keep beside the log: a number and a position in the file with that number.
const FLOOR: &str = "floor";
const POSITION: &str = "position";

#[derive(Debug)]
pub(super) struct Log<S: Storage> {
    disk: S,
    file: S::File,
    number: u64,
    /// Of all files.
    highest: u64,
    end: u64,
    /// How much of it is synced.
    synced: u64,
    frames: u32,
    /// Nothing was read from the disk.
    fresh: bool,
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
        let highest = numbers.first().copied().unwrap_or_default();
        if numbers.len() > 1 && switch.is(Bug::D52) {
            numbers.reverse();
        }
        for &number in &numbers {
            let name = name(number);
            let file = disk.open(&name).map_err(|source| failed("open", &name, source))?;
            let bytes = read_all(&file).map_err(|source| failed("read", &name, source))?;
            let floor = position(&disk, FLOOR, number, &switch, Bug::P13).unwrap_or_default();
            let found = read_frames(&bytes, &switch, &name, floor)?;
            if found.frames == 0 && !switch.is(Bug::P26) {
                if switch.is(Bug::P25) {
                    return Err(failed("create", &name, io::ErrorKind::AlreadyExists.into()));
                }
                continue;
            }
            if found.frames > 0 && (bytes.len() as u64) < LENGTH {
                return Err(corrupt(&name, bytes.len() as u64, "the file is shorter than it says"));
            }
            let (end, frames) = (found.end, found.frames);
            let mut log = Log {
                disk,
                file,
                number,
                highest,
                end,
                synced: end,
                frames,
                fresh: false,
                switch,
                previous: None,
            };
            if log.stays() {
                let written = bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count();
                log.clean(written as u64).map_err(|source| failed("clean up", &name, source))?;
            }
            return Ok((log, found.records));
        }
        for &number in &numbers {
            let name = name(number);
            disk.remove(&name).map_err(|source| failed("remove", &name, source))?;
        }
        let begun = Log::begin(disk, 0, &[Record::Counters(Default::default())], switch);
        let mut log = begun.map_err(|source| failed("create", &name(0), source))?;
        log.fresh = true;
        Ok((log, Vec::new()))
    }

    /// Whether an opened log goes on where it ends. It may if it is new.
    pub(super) fn stays(&self) -> bool {
        self.fresh || [Bug::P08, Bug::P13, Bug::P15].iter().any(|bug| self.switch.has(*bug))
    }

    /// Wipes a torn tail, which ends at `written`, and removes every other file.
    fn clean(&mut self, written: u64) -> io::Result<()> {
        if self.end < written {
            if self.switch.is(Bug::P08) {
                self.end = written.next_multiple_of(SECTOR as u64);
            } else {
                self.file.write_at(&vec![0; (written - self.end) as usize], self.end)?;
                self.file.sync()?;
            }
        }
        if let Some(end) = position(&self.disk, POSITION, self.number, &self.switch, Bug::P15) {
            self.end = self.end.min(end);
        }
        self.remove_others()
    }

    /// A new file that starts with these records, durable when this returns.
    fn begin(disk: S, number: u64, records: &[Record], switch: Switch) -> io::Result<Log<S>> {
        let file = disk.create(&name(number))?;
        if switch.is(Bug::P23) {
            file.set_len(2 * SECTOR as u64)?;
            file.sync()?;
            file.set_len(LENGTH)?;
        } else {
            file.set_len(LENGTH)?;
            file.sync()?;
        }
        let (highest, fresh) = (number, false);
        let mut log =
            Log { disk, file, number, highest, end: 0, synced: 0, frames: 0, fresh, switch, previous: None };
        log.append(records)?;
        if number > 0 && log.switch.is(Bug::P20) {
            log.disk.sync_dir()?;
            log.remove_others()?;
        }
        log.file.sync()?;
        log.synced = log.end;
        if !log.switch.is(Bug::P02) {
            log.disk.sync_dir()?;
        }
        Ok(log)
    }

    fn remove_others(&self) -> io::Result<()> {
        let own = name(self.number);
        for other in self.disk.list()?.iter().filter(|name| name.starts_with("log-") && **name != own) {
            self.disk.remove(other)?;
        }
        self.disk.sync_dir()
    }

    /// Writes one frame. Not durable before [`Log::sync`].
    pub(super) fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let body = codec::encode(records);
        let len = u32::try_from(body.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut header = [0; SECTOR];
        header[..4].copy_from_slice(&len.to_le_bytes());
        header[8..16].copy_from_slice(&self.synced.to_le_bytes());
        header[KIND] = if self.frames == 0 { SNAPSHOT } else { APPENDED };
        let checksum = checksum(&header, &body, &self.switch);
        header[4..8].copy_from_slice(&checksum.to_le_bytes());
        let mut frame = Vec::from(header);
        frame.extend_from_slice(&body);
        frame.resize(frame.len().next_multiple_of(SECTOR), 0);
        if let Err(error) = self.file.write_at(&frame, self.end) {
            if error.kind() == io::ErrorKind::StorageFull && self.switch.is(Bug::P04) {
                self.end += (frame.len() / 2).next_multiple_of(SECTOR) as u64;
            }
            return Err(error);
        }
        self.end += frame.len() as u64;
        self.frames += 1;
        if self.switch.is(Bug::P15) {
            self.store(POSITION, self.end, false)?;
        }
        Ok(())
    }

    /// Says that all messages up to here are acked, durably.
    pub(super) fn store_floor(&self) -> io::Result<()> {
        self.store(FLOOR, self.end, true)
    }

    fn store(&self, beside: &str, position: u64, durably: bool) -> io::Result<()> {
        let is_there = self.disk.list()?.iter().any(|name| name == beside);
        let file = if is_there { self.disk.open(beside)? } else { self.disk.create(beside)? };
        let mut bytes = [self.number.to_le_bytes(), position.to_le_bytes()].concat();
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        file.write_at(&bytes, 0)?;
        if durably || !is_there {
            file.sync()?;
            self.disk.sync_dir()?;
        }
        Ok(())
    }

    /// Makes all frames durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.switch.is(Bug::P34) {
            self.file = self.disk.open(&name(self.number))?;
        }
        match &self.previous {
            Some(previous) if self.switch.is(Bug::P31) => previous.sync()?,
            _ => match self.file.sync() {
                Err(_) if self.switch.is(Bug::P03) => self.file.sync()?,
                synced => synced?,
            },
        }
        self.synced = self.end;
        Ok(())
    }

    pub(super) fn wants_compaction(&self) -> bool {
        self.frames >= COMPACT_AFTER
    }

    /// Goes on in a new file that starts with `snapshot`.
    pub(super) fn compact(&mut self, snapshot: &[Record]) -> io::Result<()> {
        let next = Log::begin(self.disk.clone(), self.highest + 1, snapshot, self.switch.clone())?;
        let old = std::mem::replace(self, next);
        let stay = [Bug::P20, Bug::OldStays, Bug::D52];
        if !stay.into_iter().any(|bug| self.switch.is(bug)) {
            self.remove_others()?;
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

/// Up to the first frame that is not whole. What was live before `floor` is acked.
fn read_frames(bytes: &[u8], switch: &Switch, name: &str, floor: u64) -> Result<Found, Error> {
    let mut found = Found { records: Vec::new(), frames: 0, end: 0 };
    while let Some(rest) = bytes.get(found.end as usize..).filter(|rest| rest.iter().any(|byte| *byte != 0)) {
        let Some(frame) = frame(rest, switch) else {
            if switch.is(Bug::P10) {
                return Err(corrupt(name, found.end, "a frame is not whole"));
            }
            // What it appends behind a torn tail would otherwise say of that that it was synced.
            let looks = !switch.has(Bug::P08) && !switch.is(Bug::P09);
            if looks && is_damaged(rest, found.end, switch) {
                return Err(corrupt(name, found.end, "a frame that was synced is not whole"));
            }
            if found.frames > 0 && switch.is(Bug::P11) {
                let (records, _) = codec::decode(rest.get(SECTOR..).unwrap_or_default());
                found.records.extend(records);
            }
            break;
        };
        let (records, complete) = codec::decode(frame.body);
        if !complete && !switch.is(Bug::P05) && !switch.is(Bug::P32) {
            return Err(corrupt(name, found.end, "a frame is whole but its records are not"));
        }
        if frame.kind != APPENDED {
            found.records.clear();
        }
        let acked = records.iter().filter_map(|record| match record {
            Record::Live(id, Some(_)) if found.end < floor => Some(Record::Live(*id, None)),
            _ => None,
        });
        let acked: Vec<Record> = acked.collect();
        found.records.extend(records.into_iter().chain(acked));
        found.frames += 1;
        found.end += frame.len as u64;
    }
    Ok(found)
}

/// Whether some frame says that what begins here, at `at`, was synced.
fn is_damaged(rest: &[u8], at: u64, switch: &Switch) -> bool {
    let starts = (SECTOR..rest.len()).step_by(SECTOR);
    starts.filter_map(|start| frame(&rest[start..], switch)).any(|later| later.synced > at)
}

struct Frame<'a> {
    /// With its header.
    len: usize,
    synced: u64,
    kind: u8,
    body: &'a [u8],
}

/// The first frame, if it is whole.
fn frame<'a>(bytes: &'a [u8], switch: &Switch) -> Option<Frame<'a>> {
    let (header, rest) = bytes.split_first_chunk::<SECTOR>()?;
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let synced = u64::from(number(8)) | u64::from(number(12)) << 32;
    let body = rest.get(..number(0) as usize)?;
    let kind = header[KIND];
    let valid = number(4) == checksum(header, body, switch) || (!body.is_empty() && switch.is(Bug::P05));
    let known = matches!(kind, APPENDED | SNAPSHOT) || switch.is(Bug::P06) || switch.has(Bug::P05);
    let len = SECTOR + body.len().next_multiple_of(SECTOR);
    (valid && known).then_some(Frame { len, synced, kind, body })
}

/// Of a frame, whatever its header says of the checksum.
fn checksum(header: &[u8; SECTOR], body: &[u8], switch: &Switch) -> u32 {
    let mut of = 0;
    if !switch.is(Bug::LengthBare) {
        of = crc32c::crc32c_append(of, &header[..4]);
    }
    if !switch.is(Bug::P06) {
        of = crc32c::crc32c_append(of, &header[8..=KIND]);
    }
    if !switch.is(Bug::P32) {
        of = crc32c::crc32c_append(of, body);
    }
    of
}

/// What a file beside the log says, if there is one and this bug reads it.
fn position<S: Storage>(disk: &S, beside: &str, number: u64, switch: &Switch, reads: Bug) -> Option<u64> {
    if !switch.is(reads) {
        return None;
    }
    let bytes = read_all(&disk.open(beside).ok()?).ok()?;
    let (told, rest) = bytes.split_at_checked(16)?;
    let (of, position) = told.split_first_chunk()?;
    let (position, _) = position.split_first_chunk()?;
    let whole = rest.get(..4) == Some(&crc32c::crc32c(told).to_le_bytes());
    (whole && u64::from_le_bytes(*of) == number).then_some(u64::from_le_bytes(*position))
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
    Error::Corrupt { path: PathBuf::from(name), offset, end: None, detail: detail.into() }
}
