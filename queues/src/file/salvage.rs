//! What can be saved of a damaged log.

use std::fmt;
use std::io;
use std::path::Path;

use super::body::Body;
use super::failure::is_unreadable;
use super::frame::{self, HEADER, Header as FrameHeader, Kind};
use super::handles::Handles;
use super::log::{Beginning, Log, Sizes};
use super::queue::LIMITS;
use super::reading::{Body as Frame, ReadError, Reader, read_header};
use super::real::RealDir;
use super::record::{At, Payload, Read, Record};
use super::recovery::{in_version, salt_seed};
use super::segment::{End, Header, Marks, Name};
use super::state::State;
use super::storage::{Block, Storage, StorageFile, sync_name};
use crate::broker::{Error, Settings, bytes};

/// What was saved, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Copies of the damaged segments, which nobody removes.
    pub copies: Vec<String>,
    /// Messages that were saved.
    pub messages: u64,
    /// Messages that were stored, and whose bytes are damaged.
    pub unreadable: u64,
    /// Places where something else was: of each, the segment, and where it begins and ends.
    pub gaps: Vec<(String, u64, u64)>,
}

impl fmt::Display for Salvaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} messages saved, {} could not be read", self.messages, self.unreadable)?;
        for (segment, from, to) in &self.gaps {
            writeln!(f, "  {segment}: nothing readable at {}", bytes(*from, Some(*to)))?;
        }
        for copy in &self.copies {
            writeln!(f, "  kept {copy}")?;
        }
        Ok(())
    }
}

/// Saves what is whole in the queue of a directory of real files, which nobody may have open, so that it opens again.
///
/// Every commit that is whole counts, wherever it lies, and every message whose bytes are whole. What else was in a damaged
/// commit is forgotten: a send is lost, an ack or a death is not known (the message comes again), an attempt may not
/// count. What the disk does not read (a bad sector) is as good as damaged, and zeroes in the copy. Damaged segments are copied first, as `damaged-` and their name; nobody removes these.
///
/// # Errors
/// Those of opening it (as that it is of another version), but for damage; nothing was removed then. [`Error::Io`] if what is left is larger than 4 GiB.
pub fn salvage(path: &Path, settings: &Settings) -> Result<Salvaged, Error> {
    settings.validate()?;
    salvage_storage(&RealDir::open(path)?, settings, LIMITS.sizes)
}

struct Segment {
    number: u64,
    header: Option<Header>,
}

pub(super) fn salvage_storage<S: Storage>(
    storage: &S,
    settings: &Settings,
    sizes: Sizes,
) -> Result<Salvaged, Error> {
    let failed = |source| Error::Io {
        action: "salvage the queue in",
        path: storage.locate(""),
        source,
        remedy: "Nothing was removed; mend that and try again",
    };
    let listed = storage.list().map_err(failed)?;
    let names: Vec<Name> = listed.iter().filter_map(|name| Name::parse(name)).collect();
    let mut segments = Vec::new();
    for name in &names {
        if let Name::Segment(number) = *name {
            let file = storage.open(&name.to_string()).map_err(failed)?;
            let header = match read_header(&file, number) {
                Ok(header) => Some(header),
                Err(ReadError::Damaged { .. }) => None,
                Err(ReadError::Io(error)) if is_unreadable(&error) => None,
                Err(ReadError::Io(error)) => return Err(failed(error)),
                Err(ReadError::Version(version)) => return Err(other_version(storage, name, version)),
            };
            segments.push(Segment { number, header });
        }
    }
    segments.sort_by_key(|segment| segment.number);
    let all: Vec<u64> = segments.iter().map(|segment| segment.number).collect();
    // Nothing in those that were given up matters; and they may be too many numbers away for one table.
    let headers = segments.iter().filter_map(|segment| segment.header);
    let released = headers.map(|header| header.marks.released).max().unwrap_or(0);
    segments.retain(|segment| segment.number >= released);

    let mut salvaged = Salvaged::default();
    let state = read_all(storage, &segments, &mut salvaged).map_err(failed)?;
    let mut records = Vec::new();
    let handles = Handles::new(storage.clone());
    for (stored, at) in state.all() {
        let reader = handles.reader(at.segment);
        reader.file().map_err(failed)?;
        let body = Body::There { reader, at, id: stored.id };
        match body.read(storage).ok() {
            Some(Read { key, body, .. }) => records.push(Record::Stored(stored, Payload::Here { key, body })),
            None => {
                let (from, segment) = (u64::from(at.offset), Name::Segment(at.segment).to_string());
                salvaged.gaps.push((segment, from, from + u64::from(at.len)));
                salvaged.unreadable += 1;
            }
        }
    }
    salvaged.messages = records.len() as u64;
    for Segment { number, .. } in &segments {
        let name = Name::Segment(*number).to_string();
        if salvaged.gaps.iter().any(|(damaged, ..)| *damaged == name) {
            let copy = format!("damaged-{name}");
            if !listed.contains(&copy) {
                storage.open(&name).and_then(|file| keep_copy(storage, &file, &copy)).map_err(failed)?;
            }
            salvaged.copies.push(copy);
        }
    }

    records.push(Record::Witness);
    // A number is left out: whoever opens the queue reads nothing from before the gap.
    let latest = all.last().copied().unwrap_or(0);
    let number = latest.checked_add(2).ok_or_else(|| failed(io::ErrorKind::InvalidFilename.into()))?;
    for name in names.iter().filter(|name| matches!(name, Name::Spare(_))) {
        storage.remove(&name.to_string()).map_err(failed)?;
    }
    let marks = Marks { released: number, ..state.marks() };
    let seed = salt_seed(settings);
    let (before, spares) = (End::default(), Vec::new());
    let beginning = Beginning { number, seed, marks, before, longest: 0, spares };
    Log::begin(storage.clone(), sizes, beginning, &mut records).map_err(failed)?;
    for number in all {
        // What cannot be removed is in nobody's way.
        let _ = storage.remove(&Name::Segment(number).to_string());
    }
    Ok(salvaged)
}

/// Whoever wrote it can read it; here it would be taken for nothing but damage.
fn other_version<S: Storage>(storage: &S, name: &Name, version: u32) -> Error {
    Error::Io {
        action: "salvage",
        path: storage.locate(&name.to_string()),
        source: in_version(version),
        remedy: "Nothing was changed; open it with the program that wrote it, or, if none did, move this file away",
    }
}

/// The state that all whole commits make.
fn read_all<S: Storage>(storage: &S, segments: &[Segment], salvaged: &mut Salvaged) -> io::Result<State> {
    let mut state = State::starting_at(Marks { next_id: 1, next_death: 0, released: 1 });
    state.reads_from(segments.first().map_or(0, |segment| segment.number));
    state.may_lack_anything();
    let mut missing = Vec::new();
    for (nth, Segment { number, header }) in segments.iter().enumerate() {
        let name = Name::Segment(*number).to_string();
        let file = storage.open(&name)?;
        let Some(header) = header else {
            salvaged.gaps.push((name, 0, file.len()?));
            continue;
        };
        state.learn(header.marks);
        let next = segments.get(nth + 1);
        missing.extend(next.filter(|next| next.number > number + 1).map(|next| next.number - 1));
        let next = next.filter(|next| next.number == number + 1).and_then(|next| next.header);
        let known = next.map(|next| next.before);
        let len = file.len()?;
        if len < header.len {
            salvaged.gaps.push((name.clone(), len, header.len));
        }
        let mut apply = |record: &Record| {
            // What makes no sense now would have made sense after what is missing.
            let _ = state.apply(record);
        };
        let index = match Reader::new(&file, *header, known)?.index() {
            Err(error) if is_unreadable(&error) => {
                salvaged.gaps.push((name.clone(), known.map_or(0, |known| known.at), len));
                None
            }
            index => index?,
        };
        match index {
            Some(index) => each(&index, *number, &mut apply),
            None => read_frames(&file, *header, known, &mut apply, |from, to| {
                salvaged.gaps.push((name.clone(), from, to));
            })?,
        }
    }
    for number in missing.into_iter().filter(|number| *number >= state.released()) {
        salvaged.gaps.push((Name::Segment(number).to_string(), 0, 0));
    }
    state.forget_what_was_given_up();
    Ok(state)
}

fn each(frame: &Frame, segment: u64, apply: &mut impl FnMut(&Record)) {
    // Its records end where one cannot be decoded.
    let _ = frame.records(segment, |record| {
        apply(&record);
        Ok(())
    });
}

/// All whole frames of a segment, wherever they lie; and of those that are not, the messages that are.
fn read_frames<F: StorageFile>(
    file: &F,
    header: Header,
    known: Option<End>,
    apply: &mut impl FnMut(&Record),
    mut gap: impl FnMut(u64, u64),
) -> io::Result<()> {
    let len = file.len()?;
    let end = known.map_or(len, |known| known.at.min(len));
    let (mut at, mut whole_to) = (header.frames(), header.frames());
    // Where the last place ends that the disk does not read.
    let mut unread_to = 0;
    let block = header.block.bytes() as u64;
    while at < end {
        let found = match frame_at(file, &header, at, len, &mut unread_to) {
            Err(error) if is_unreadable(&error) => {
                unread_to = at + block;
                None
            }
            found => found?,
        };
        match found {
            Some((frame, true)) => {
                if at > whole_to {
                    gap(whole_to, at);
                }
                each(&frame, header.number, apply);
                at += frame::filled(frame.bytes.len() as u64, header.block).unwrap_or(block);
                whole_to = at;
            }
            Some((frame, false)) => {
                each(&frame, header.number, &mut |record| {
                    // What is damaged may say that it lies anywhere.
                    if let Record::Stored(_, Payload::At(At { offset, len, .. })) = record
                        && let Some(start) = (*offset as usize).checked_sub(frame.start())
                        && let Some(bytes) = frame.bytes.get(start..start.saturating_add(*len as usize))
                        && Read::decode(bytes).is_ok()
                    {
                        apply(record);
                    }
                });
                at += block;
            }
            None => at += block,
        }
    }
    let end = if known.is_some() { end } else { unread_to };
    if end > whole_to {
        gap(whole_to, end);
    }
    Ok(())
}

/// The frame of this segment that begins here, and whether its body is whole. One that is not all read moves `unread_to` to
/// its end.
fn frame_at<F: StorageFile>(
    file: &F,
    segment: &Header,
    at: u64,
    len: u64,
    unread_to: &mut u64,
) -> io::Result<Option<(Frame, bool)>> {
    let Header { salt, block, .. } = *segment;
    let mut head = [0; HEADER];
    if len - at < block.bytes() as u64 {
        return Ok(None);
    }
    file.read_at(&mut head, at)?;
    let header = FrameHeader::parse(&head, Kind::Commit, salt);
    let fits =
        |header: &FrameHeader| frame::filled(header.body, block).is_some_and(|filled| filled <= len - at);
    let Some(header) = header.filter(fits) else { return Ok(None) };
    let mut bytes = vec![0; header.body as usize];
    if !read_what_there_is(file, &mut bytes, at + HEADER as u64)? {
        *unread_to = at + frame::filled(header.body, block).unwrap_or(0);
    }
    let whole = header.is_of(&bytes);
    Ok(Some((Frame { bytes, frame: at }, whole)))
}

/// Fills `into`, with zeroes where the disk does not read what is there; whether it reads all.
fn read_what_there_is<F: StorageFile>(file: &F, into: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_at(into, offset) {
        Err(error) if is_unreadable(&error) => {}
        read => return read.map(|()| true),
    }
    let mut rest = into;
    let mut at = offset;
    while !rest.is_empty() {
        let sector = Block::Sector.bytes() as u64;
        let many = (sector - at % sector).min(rest.len() as u64);
        let (here, behind) = rest.split_at_mut(many as usize);
        match file.read_at(here, at) {
            Err(error) if is_unreadable(&error) => here.fill(0),
            read => read?,
        }
        (rest, at) = (behind, at + many);
    }
    Ok(false)
}

fn keep_copy<S: Storage>(storage: &S, file: &S::File, name: &str) -> io::Result<()> {
    const CHUNK: u64 = 1 << 20;
    let unfinished = format!("{name}.unfinished");
    if storage.list()?.contains(&unfinished) {
        storage.remove(&unfinished)?;
    }
    let copy = storage.create(&unfinished)?;
    let len = file.len()?;
    for at in (0..len).step_by(CHUNK as usize) {
        let mut bytes = vec![0; (len - at).min(CHUNK) as usize];
        read_what_there_is(file, &mut bytes, at)?;
        copy.write_at(&bytes, at)?;
    }
    copy.sync()?;
    storage.rename(&unfinished, name)?;
    sync_name(storage, name)
}
