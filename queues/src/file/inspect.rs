//! What a directory holds, for people: without opening the queue, and without changing anything.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::look::LookDir;
use super::reading::{Body, Next, ReadError, Reader, check_len, read_header};
use super::real::Mode;
use super::record::Record;
use super::recovery::in_version;
use super::segment::{End, Header, Name};
use super::state::State;
use super::storage::{Block, Storage, StorageFile};
use crate::broker::{Depth, Error, bytes};

/// How often a directory is looked at that changes meanwhile.
const LOOKS: usize = 8;

/// What a directory of a file queue holds. Its text is a table.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Which directory.
    pub path: PathBuf,
    /// Its segments, in the order of the log.
    pub segments: Vec<Segment>,
    /// Files that may become segments, and how many bytes they have together.
    pub spares: (usize, u64),
    /// What the next open finds; `None` if it finds damage.
    pub found: Option<Found>,
    /// How a queue that is opened here commits, as far as the system says without a write. `None`: it cannot be asked.
    pub mode: Option<Mode>,
    /// What looks like damage was found while somebody used the queue: he may have changed it meanwhile.
    pub in_use: bool,
}

/// What the next open finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// How many messages there are. Those in flight are ready.
    pub depth: Depth,
    /// The id that the next message gets.
    pub next_id: u64,
    /// The last life was closed, and did not just end.
    pub closed: bool,
}

/// One segment.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The file.
    pub name: String,
    /// How long it is.
    pub bytes: u64,
    /// Of what blocks its commits are; `None`: its header is damaged.
    pub block: Option<Block>,
    /// How much of it is filled, as far as it can be read.
    pub filled: u64,
    /// How many commits can be read.
    pub commits: u64,
    /// How many records of each kind these have.
    pub records: BTreeMap<&'static str, u64>,
    /// How many messages in it are still there; `None`: the log cannot be followed that far.
    pub live: Option<u64>,
    /// The bytes of a commit that was not finished.
    pub torn: u64,
    /// It was given up, and its file could not be removed or is not yet.
    pub given_up: bool,
    /// What is wrong.
    pub damage: Option<Damage>,
    /// Its index is whole: who opens the queue reads that, and comes upon damage when a message is delivered.
    pub indexed: bool,
}

/// What is wrong with a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where it begins.
    pub offset: u64,
    /// Where what cannot be trusted ends, if that is known.
    pub end: Option<u64>,
    /// What is wrong there.
    pub detail: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", bytes(self.offset, self.end), self.detail)
    }
}

/// Looks at the queue in a directory of real files. One that is in use may change meanwhile: then what is not finished
/// yet looks torn, and what looks like damage may be none ([`Inspection::in_use`]).
///
/// # Errors
/// [`Error::Io`] if the directory or a file in it cannot be read. Damage is no error here.
pub fn inspect(path: &Path) -> Result<Inspection, Error> {
    let directory = LookDir::new(path);
    let mut looks = 0;
    loop {
        looks += 1;
        let looked = look(&directory, path).map(|inspection| with_mode(inspection, path));
        match looked {
            // A segment was given up since the names were read.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound && looks < LOOKS => {}
            Ok(inspection) if inspection.segments.iter().any(|segment| segment.damage.is_some()) => {
                let in_use = directory.is_in_use();
                // Whoever changed it may have ended since.
                if in_use || looks >= LOOKS {
                    return Ok(Inspection { in_use, ..inspection });
                }
            }
            looked => return looked,
        }
    }
}

fn with_mode(inspection: Inspection, path: &Path) -> Inspection {
    // Whatever is wrong with the file is said elsewhere.
    let said_of = |segment: &Segment| Mode::said_of(&path.join(&segment.name)).ok();
    let mode = inspection.segments.last().and_then(said_of);
    Inspection { mode, ..inspection }
}

pub(super) fn look<S: Storage>(storage: &S, path: &Path) -> Result<Inspection, Error> {
    let failed = |name: &str, source| Error::Io {
        action: "read",
        path: storage.locate(name),
        source,
        remedy: "Give a directory that you may read",
    };
    let mut spares = (0, 0);
    let (mut files, mut headers) = (Vec::new(), Vec::new());
    for name in storage.list().map_err(|e| failed("", e))? {
        let Some(parsed) = Name::parse(&name) else { continue };
        let file = storage.open(&name).map_err(|e| failed(&name, e))?;
        let bytes = file.len().map_err(|e| failed(&name, e))?;
        match parsed {
            Name::Segment(number) => {
                headers.push(read_header(&file, number));
                files.push((number, name, bytes));
            }
            Name::Spare(_) => spares = (spares.0 + 1, spares.1 + bytes),
        }
    }
    // The segments that are read when the queue is opened.
    let first = (1..files.len()).rev().find(|n| files[*n].0 != files[n - 1].0 + 1).unwrap_or(0);
    let mut state = headers.get(first).and_then(|header| header.as_ref().ok()).map(|header| {
        let mut state = State::starting_at(header.marks);
        state.reads_from(header.number);
        state
    });
    let (mut segments, mut closed) = (Vec::new(), false);
    for (nth, (number, name, bytes)) in files.iter().enumerate() {
        let mut segment = Segment::new(name, *bytes);
        let next = headers.get(nth + 1).and_then(|next| next.as_ref().ok());
        let known = next.filter(|next| next.number == number + 1).map(|next| next.before);
        let read = match &headers[nth] {
            Ok(header) => {
                let file = storage.open(name).map_err(|e| failed(name, e))?;
                segment.read(&file, *header, known, state.as_mut().filter(|_| nth >= first), &mut closed)
            }
            Err(error) => Err(error.damage()),
        };
        if let Err(damage) = read {
            // Those before the first that is read do not matter.
            state = state.filter(|_| nth < first || segment.indexed);
            segment.damage = Some(damage);
        }
        segments.push(segment);
    }
    if let Some(state) = &state {
        let released = state.released();
        for (segment, (number, ..)) in segments.iter_mut().zip(&files) {
            segment.given_up = *number < released;
            segment.live = Some(state.live(*number));
        }
        let missing = files.get(first).filter(|(number, ..)| *number > released);
        if let (Some((number, ..)), Some(segment)) = (missing, segments.get_mut(first)) {
            let missing = Name::Segment(number - 1);
            let detail = format!("{missing} before it is missing and was not given up");
            segment.damage = Some(Damage { offset: 0, end: None, detail });
            segment.indexed = false;
        }
    }
    let whole = segments.iter().skip(first).all(|segment| segment.damage.is_none() || segment.indexed);
    let found =
        state.filter(|_| whole).map(|state| Found { depth: state.depth(), next_id: state.next_id(), closed });
    Ok(Inspection { path: path.to_owned(), segments, spares, found, mode: None, in_use: false })
}

impl Segment {
    fn new(name: &str, bytes: u64) -> Segment {
        Segment {
            name: name.to_owned(),
            bytes,
            block: None,
            filled: 0,
            commits: 0,
            records: BTreeMap::new(),
            live: None,
            torn: 0,
            given_up: false,
            damage: None,
            indexed: false,
        }
    }

    fn read<F: StorageFile>(
        &mut self,
        file: &F,
        header: Header,
        known: Option<End>,
        mut state: Option<&mut State>,
        closed: &mut bool,
    ) -> Result<(), Damage> {
        self.block = Some(header.block);
        check_len(file, &header).map_err(|error| error.damage())?;
        let mut reader = Reader::new(file, header, known).map_err(|error| ReadError::Io(error).damage())?;
        if let Some(index) = reader.readable_index().map_err(|error| ReadError::Io(error).damage())? {
            let mut apply = |record| state.as_deref_mut().map_or(Ok(()), |state| state.apply(&record));
            index.records(header.number, &mut apply).map_err(|error| error.damage())?;
            (self.indexed, state) = (true, None);
        }
        loop {
            match reader.next().map_err(|error| error.damage())? {
                Next::Frame(body) => {
                    self.frame(&body, header.number, state.as_deref_mut(), closed)
                        .map_err(|error| error.damage())?;
                    self.filled = reader.end().at;
                }
                Next::End { torn } => {
                    self.torn = torn;
                    return Ok(());
                }
            }
        }
    }

    fn frame(
        &mut self,
        body: &Body,
        number: u64,
        mut state: Option<&mut State>,
        closed: &mut bool,
    ) -> Result<(), ReadError> {
        self.commits += 1;
        body.records(number, |record| {
            *self.records.entry(record.kind()).or_default() += 1;
            *closed = record == Record::Closed;
            state.as_deref_mut().map_or(Ok(()), |state| state.apply(&record))
        })
    }
}

impl ReadError {
    fn damage(&self) -> Damage {
        let (offset, end, detail) = match self {
            ReadError::Io(error) => (0, None, error.to_string()),
            ReadError::Version(version) => {
                let detail = format!("{}; open it with the program that wrote it", in_version(*version));
                (16, Some(20), detail)
            }
            ReadError::Damaged { offset, end, detail } => (*offset, *end, detail.clone()),
        };
        Damage { offset, end, detail }
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inspection { path, segments, spares, found, mode, in_use } = self;
        writeln!(
            f,
            "{}: {} segments, {} spare ({} bytes)",
            path.display(),
            segments.len(),
            spares.0,
            spares.1
        )?;
        if let Some(mode) = mode {
            writeln!(f, "  commits here, as the file system says: {mode}")?;
        }
        for segment in segments {
            let Segment { name, bytes, filled, commits, .. } = segment;
            write!(f, "  {name}  {filled} of {bytes} bytes, {commits} commits")?;
            if let Some(block) = segment.block {
                write!(f, " in blocks of {}", block.bytes())?;
            }
            if let Some(live) = segment.live {
                write!(f, ", {live} messages")?;
            }
            if segment.given_up {
                write!(f, ", given up")?;
            }
            writeln!(f)?;
            if !segment.records.is_empty() {
                let records: Vec<String> =
                    segment.records.iter().map(|(kind, many)| format!("{many} {kind}")).collect();
                writeln!(f, "      {}", records.join(", "))?;
            }
            if segment.torn > 0 {
                writeln!(
                    f,
                    "      {} bytes of a commit that was not finished, and never confirmed",
                    segment.torn
                )?;
            }
            if let Some(damage) = &segment.damage {
                let what = if *in_use { "in use, and as it looks now unreadable" } else { "DAMAGED" };
                writeln!(f, "      {what} at {damage}")?;
                if segment.indexed {
                    writeln!(
                        f,
                        "      its index is whole: the queue opens, and names a damaged message when it is read"
                    )?;
                }
            }
        }
        match found {
            Some(Found { depth, next_id, closed }) => {
                let Depth { ready, delayed, dead, .. } = depth;
                let how = if *closed { "was closed" } else { "was not closed, or is in use" };
                writeln!(
                    f,
                    "  {ready} ready, {delayed} delayed, {dead} dead letters; the next id is {next_id}; it {how}"
                )
            }
            None if segments.is_empty() => writeln!(f, "  no queue"),
            None if *in_use => {
                writeln!(
                    f,
                    "  the queue is in use: look again, or when it is closed, to know if it is damaged"
                )
            }
            None => writeln!(
                f,
                "  the queue does not open: put back what is missing, restore a copy, or salvage what is whole (`salvage`)"
            ),
        }
    }
}
