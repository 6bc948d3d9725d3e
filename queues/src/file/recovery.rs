//! Opening: what the log says becomes the state of a new life, which begins a segment of its own.

use std::collections::BTreeMap;
use std::io;

use super::body::Body as Bytes;
use super::failure::is_unreadable;
use super::handles::Handles;
use super::log::{Beginning, Log, SPARES, Sizes};
use super::reading::{Body, Next, ReadError, Reader, check_len, read_header};
use super::record::{At, Payload, Read, Record, Stored};
use super::rng::mix;
use super::segment::{End, Header, Marks, NUMBERS, Name, VERSION};
use super::state::State;
use super::storage::{Storage, StorageFile};
use crate::broker::{Error, Settings};

/// What was found when a queue was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Bytes of a commit that was never finished and hence never confirmed; they were left out.
    pub torn: u64,
    /// A life before was not closed: it was killed, the power failed, or its queue was poisoned or out of space. What it
    /// handed out last may not be written, and messages that it left are still there.
    pub unclean: bool,
}

/// A queue that has been opened.
pub(super) struct Opened<S: Storage> {
    pub(super) state: State,
    pub(super) log: Log<S>,
    /// The segments that are needed, but for the last.
    pub(super) segments: BTreeMap<u64, u64>,
    /// Messages that were just written anew.
    pub(super) read: Vec<Read>,
    pub(super) recovered: Recovered,
}

/// A segment that was found.
struct Found {
    number: u64,
    header: Header,
}

/// What the segments say.
struct Loaded {
    state: State,
    /// The last commit: it may not be durable.
    last: Body,
    /// Where the last segment ends without it.
    end: End,
    recovered: Recovered,
}

/// Recovers the state and begins a segment for the new life.
///
/// Whatever goes wrong before that changes nothing that the next attempt could stumble over.
pub(super) fn recover<S: Storage>(
    storage: &S,
    settings: &Settings,
    sizes: Sizes,
) -> Result<Opened<S>, Error> {
    let failed = |action, source| Error::Io {
        action,
        path: storage.locate(""),
        source,
        remedy: "Nothing was changed; mend that and open the queue again",
    };
    let listed = storage.list().map_err(|e| failed("list the files in", e))?;
    let names: Vec<Name> = listed.iter().filter_map(|name| Name::parse(name)).collect();
    let found = find(storage, &names)?;
    let loaded = load(storage, &found)?;

    let Loaded { mut state, last, end, recovered } = loaded;
    let marks = state.marks();
    let latest = found.last().map_or(0, |segment| segment.number);
    let number =
        Some(latest.saturating_add(1)).filter(|number| *number < NUMBERS).ok_or_else(|| Error::Corrupt {
            path: storage.locate(&Name::Segment(latest).to_string()),
            offset: 0,
            end: None,
            detail: "no number is left for a segment after this one; such a name was not given by a queue"
                .into(),
        })?;
    let adopted = last
        .records(latest, |record| state.apply(&record))
        .and_then(|()| adopt(&last, latest))
        .map_err(|error| explain(storage, latest, error));
    let mut records = adopted?;
    state.is_complete();
    if let Some(first) = found.first().filter(|first| first.number > state.released()) {
        return Err(Error::Corrupt {
            path: storage.locate(&Name::Segment(first.number - 1).to_string()),
            offset: 0,
            end: None,
            detail: "this segment is missing and was not given up; put it back".into(),
        });
    }
    let mut opening = vec![Record::Opened];
    apply_own(&mut state, &opening)?;
    opening.extend(state.used_up(settings.deliveries_allowed));
    apply_own(&mut state, &opening[1..])?;
    let first = state.first_live().map_or(number, |(segment, _)| segment);
    if first > state.released() {
        opening.push(Record::Released { below: first });
        apply_own(&mut state, &opening[opening.len() - 1..])?;
    }
    records.extend(opening);
    records.extend(moves(storage, &found, &state, sizes));

    let spares = spares(storage, &names, sizes).map_err(|e| failed("look at the spare segments in", e))?;
    let longest = found.iter().map(|segment| segment.header.len).max().unwrap_or(0);
    let beginning = Beginning { number, seed: salt_seed(settings), marks, before: end, longest, spares };
    let (log, read) = Log::begin(storage.clone(), sizes, beginning, &mut records)
        .map_err(|e| failed("begin a new segment in", e))?;
    for record in &records {
        if let Record::Stored(stored, Payload::At(at)) = record {
            state.relocate(stored.id, *at);
        }
    }

    // Also those before a gap: the first that is read was not above it.
    for name in names.iter().filter(|name| matches!(name, Name::Segment(n) if *n < state.released())) {
        // What cannot be removed is in nobody's way, and the next open tries again.
        let _ = storage.remove(&name.to_string());
    }
    let needed = found.into_iter().filter(|found| found.number >= state.released());
    let segments = needed.map(|found| (found.number, found.header.len)).collect();
    Ok(Opened { state, log, segments, read, recovered })
}

/// The spares that are as long as segments, two at most; the others are removed.
fn spares<S: Storage>(storage: &S, names: &[Name], sizes: Sizes) -> io::Result<Vec<u64>> {
    let mut useful = Vec::new();
    for name in names {
        let Name::Spare(number) = *name else { continue };
        let len = storage.open(&name.to_string())?.len()?;
        if (sizes.least..=sizes.most).contains(&len) && number < NUMBERS {
            useful.push((len, number));
        } else {
            storage.remove(&name.to_string())?;
        }
    }
    useful.sort_unstable();
    while useful.len() > SPARES {
        let (_, shortest) = useful.remove(0);
        storage.remove(&Name::Spare(shortest).to_string())?;
    }
    Ok(useful.into_iter().rev().map(|(_, number)| number).collect())
}

/// Messages to be written anew, so that lives that end before they commit anything do not fill the disk.
fn moves<S: Storage>(storage: &S, found: &[Found], state: &State, sizes: Sizes) -> Vec<Record> {
    let handles = Handles::new(storage.clone());
    let needed = found.iter().filter(|found| found.number >= state.released());
    let used: u64 = needed.map(|found| found.header.len).sum();
    let Some((first, _)) = state.first_live().filter(|_| sizes.is_sparse(used, state.live_bytes())) else {
        return Vec::new();
    };
    let (moved, _) = state.to_move(first, 0, 4 * sizes.least, usize::MAX);
    let bytes = |(stored, at): (Stored, At)| {
        let bytes = Bytes::There { reader: handles.reader(at.segment), at, id: stored.id };
        bytes.anew(storage, stored).ok()
    };
    // What the system does not read stays where it is; whoever receives it is told.
    moved.into_iter().filter_map(bytes).collect()
}

/// What a state says of itself, it can also become.
fn apply_own(state: &mut State, records: &[Record]) -> Result<(), Error> {
    records.iter().try_for_each(|record| state.apply(record)).map_err(Error::Poisoned)
}

/// The segments that follow each other up to the last. Those before a gap were given up, or else one is missed.
fn find<S: Storage>(storage: &S, names: &[Name]) -> Result<Vec<Found>, Error> {
    let mut numbers: Vec<u64> =
        names.iter().filter_map(|name| if let Name::Segment(n) = name { Some(*n) } else { None }).collect();
    numbers.sort_unstable();
    let mut found: Vec<Found> = Vec::new();
    for number in numbers.into_iter().rev() {
        if found.last().is_some_and(|next| next.number != number + 1) {
            break;
        }
        let explained = |error| explain(storage, number, error);
        let file = open(storage, number)?;
        let header = read_header(&file, number).map_err(explained)?;
        check_len(&file, &header).map_err(explained)?;
        found.push(Found { number, header });
    }
    found.reverse();
    Ok(found)
}

fn open<S: Storage>(storage: &S, number: u64) -> Result<S::File, Error> {
    let name = Name::Segment(number).to_string();
    let (action, remedy) = ("read", "Make it readable and writable");
    storage.open(&name).map_err(|source| Error::Io { action, path: storage.locate(&name), source, remedy })
}

/// Applies all that the segments say, but for the last commit.
fn load<S: Storage>(storage: &S, found: &[Found]) -> Result<Loaded, Error> {
    let none = Marks { next_id: 1, next_death: 0, released: 1 };
    let mut state = State::starting_at(found.first().map_or(none, |first| first.header.marks));
    state.reads_from(found.first().map_or(0, |first| first.number));
    let (mut last, mut end, mut recovered) = (Body::default(), End::default(), Recovered::default());
    for (nth, segment) in found.iter().enumerate() {
        let explained = |error| explain(storage, segment.number, error);
        let known = found.get(nth + 1).map(|next| next.header.before);
        let file = open(storage, segment.number)?;
        let mut reader = Reader::new(&file, segment.header, known).map_err(|e| explained(e.into()))?;
        let apply = |body: &Body, state: &mut State| {
            body.records(segment.number, |record| state.apply(&record)).map_err(explained)
        };
        if let Some(index) = reader.readable_index().map_err(|e| explained(e.into()))? {
            apply(&index, &mut state)?;
            continue;
        }
        loop {
            let before = reader.end();
            match reader.next().map_err(explained)? {
                Next::Frame(body) if known.is_some() => apply(&body, &mut state)?,
                Next::Frame(body) => {
                    apply(&last, &mut state)?;
                    (last, end) = (body, before);
                }
                Next::End { torn } => {
                    if known.is_none() {
                        recovered = closing(&last, segment.number, torn).map_err(explained)?;
                        if last.bytes.is_empty() {
                            end = reader.end();
                        }
                    }
                    break;
                }
            }
        }
    }
    Ok(Loaded { state, last, end, recovered })
}

/// Whether the last commit says that the queue was closed.
fn closing(last: &Body, segment: u64, torn: u64) -> Result<Recovered, ReadError> {
    let mut unclean = true;
    last.records(segment, |record| {
        unclean = record != Record::Closed;
        Ok(())
    })?;
    Ok(Recovered { torn, unclean })
}

/// The records of a commit with the bytes of its messages, to be written anew.
fn adopt(last: &Body, segment: u64) -> Result<Vec<Record>, ReadError> {
    let mut records = Vec::new();
    last.records(segment, |record| {
        records.push(match record {
            Record::Stored(stored, Payload::At(at)) => {
                let start = at.offset as usize - last.start();
                let Read { key, body, .. } = Read::decode(&last.bytes[start..start + at.len as usize])?;
                Record::Stored(stored, Payload::Here { key, body })
            }
            other => other,
        });
        Ok(())
    })?;
    Ok(records)
}

fn explain<S: Storage>(storage: &S, segment: u64, error: ReadError) -> Error {
    let path = storage.locate(&Name::Segment(segment).to_string());
    match error {
        ReadError::Io(source) => Error::Io {
            action: "read",
            path,
            remedy: if is_unreadable(&source) {
                "Nothing was changed; mend that and open the queue again, or salvage what can be read"
            } else {
                "Nothing was changed; mend that and open the queue again"
            },
            source,
        },
        ReadError::Version(version) => {
            let source = in_version(version);
            Error::Io { action: "read", path, source, remedy: "Open it with the program that wrote it" }
        }
        ReadError::Damaged { offset, end, detail } => Error::Corrupt { path, offset, end, detail },
    }
}

/// Why a segment of another version is not read.
pub(super) fn in_version(version: u32) -> io::Error {
    let text = format!("it has format version {version}, and this program reads version {VERSION}");
    io::Error::new(io::ErrorKind::Unsupported, text)
}

/// Segments of one directory differ by their number; this tells them from those of other directories and from
/// copies that were put back.
pub(super) fn salt_seed(settings: &Settings) -> u64 {
    settings.seed ^ mix(settings.clock.now().0)
}
