//! Reading a segment, and telling its end from damage.

use std::io;

use super::failure::is_unreadable;
use super::frame::{self, HEADER, Header as FrameHeader, Kind, Link};
use super::record::Record;
use super::segment::{self, COPIES, End, Header, NoHeader};
use super::storage::StorageFile;

/// How much is read at once when looking at what is behind the last frame.
const SCAN: usize = 128 << 10;

/// Why a segment could not be read.
#[derive(Debug)]
pub(super) enum ReadError {
    Io(io::Error),
    /// It was written by another version of this program.
    Version(u32),
    Damaged {
        offset: u64,
        /// Where what cannot be trusted ends, if that is known.
        end: Option<u64>,
        detail: String,
    },
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        ReadError::Io(error)
    }
}

fn damaged<T>(offset: u64, end: impl Into<Option<u64>>, detail: impl Into<String>) -> Result<T, ReadError> {
    Err(ReadError::Damaged { offset, end: end.into(), detail: detail.into() })
}

/// Behind what the checksum of a header is of.
const HEADER_END: u64 = segment::HEADER as u64;

/// Reads the header of segment `number`.
///
/// # Errors
/// See [`ReadError`].
pub(super) fn read_header<F: StorageFile>(file: &F, number: u64) -> Result<Header, ReadError> {
    let header = match read_copies(file, number)? {
        Ok(header) => header,
        Err(NoHeader::Version(version)) => return Err(ReadError::Version(version)),
        Err(NoHeader::Foreign) => {
            return damaged(
                0,
                16,
                "it does not begin as a segment of this queue does; if it is none, move it away",
            );
        }
        Err(NoHeader::Damaged) => {
            return damaged(16, HEADER_END, "the checksums of both its headers do not hold");
        }
    };
    if header.number != number {
        let written = header.number;
        return damaged(20, 28, format!("it says that it is segment {written:016x}; give it back that name"));
    }
    if !header.is_possible() {
        return damaged(45, HEADER_END, "its header says what no queue says, though its checksum holds");
    }
    Ok(header)
}

/// The first copy of the header that is whole. Another than the very first may be left from an earlier life of the file.
fn read_copies<F: StorageFile>(file: &F, number: u64) -> Result<Result<Header, NoHeader>, ReadError> {
    let len = file.len()?;
    let mut first = Err(NoHeader::Damaged);
    let mut unread = None;
    for at in COPIES {
        let mut copy = [0; segment::HEADER];
        if len < at + copy.len() as u64 {
            if at == 0 {
                return damaged(len, HEADER_END, "it ends within its header");
            }
            break;
        }
        match file.read_at(&mut copy, at) {
            Err(error) if is_unreadable(&error) => {
                unread = Some(error);
                continue;
            }
            read => read?,
        }
        let decoded = Header::decode(&copy);
        if at == 0 {
            first = decoded;
            if first.is_ok() {
                break;
            }
        }
        if decoded.is_ok_and(|header| at == header.block.bytes() as u64 && header.number == number) {
            return Ok(decoded);
        }
    }
    // Nobody knows what it says.
    match unread.filter(|_| first.is_err()) {
        Some(error) => Err(error.into()),
        None => Ok(first),
    }
}

/// Makes sure that nothing was cut off a file.
///
/// # Errors
/// It is shorter than its header says.
pub(super) fn check_len<F: StorageFile>(file: &F, header: &Header) -> Result<(), ReadError> {
    let len = file.len()?;
    if len < header.len {
        let whole = header.len;
        return damaged(
            len,
            whole,
            format!("it ends here, and its header says that it is {whole} bytes long"),
        );
    }
    Ok(())
}

/// The body of a frame and where it lies.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    /// Where the frame begins.
    pub(super) frame: u64,
}

impl Body {
    /// Hands out its records in order.
    ///
    /// # Errors
    /// One cannot be decoded, or `each` says why it makes no sense.
    pub(super) fn records(
        &self,
        segment: u64,
        mut each: impl FnMut(Record) -> Result<(), String>,
    ) -> Result<(), ReadError> {
        let mut rest = &self.bytes[..];
        while !rest.is_empty() {
            let at = self.start() + self.bytes.len() - rest.len();
            if let Err(detail) = Record::decode(&mut rest, segment, at).and_then(&mut each) {
                let end = (self.start() + self.bytes.len()) as u64;
                return damaged(self.frame, end, format!("{detail}, though its checksum holds"));
            }
        }
        Ok(())
    }

    /// Where its bytes begin.
    pub(super) fn start(&self) -> usize {
        self.frame as usize + HEADER
    }
}

/// What is behind a frame.
#[derive(Debug)]
pub(super) enum Next {
    Frame(Body),
    /// Nothing but so many bytes of a commit that was not finished.
    End {
        torn: u64,
    },
}

/// What is wrong where a frame should be.
struct Wrong {
    detail: &'static str,
    /// Where it ends, if its header says so.
    end: Option<u64>,
}

/// Reads the frames of a segment one by one.
pub(super) struct Reader<'a, F> {
    file: &'a F,
    header: Header,
    len: u64,
    /// Where it is known to end.
    known: Option<End>,
    /// Up to where it was read.
    end: End,
}

enum Rest {
    /// A frame of this segment.
    Frame(u64),
    /// Nothing, behind so many bytes of something.
    Torn(u64),
}

impl<'a, F: StorageFile> Reader<'a, F> {
    /// `known`: what the header of the next segment says, if there is one.
    ///
    /// # Errors
    /// The length cannot be read.
    pub(super) fn new(file: &'a F, header: Header, known: Option<End>) -> io::Result<Reader<'a, F>> {
        let end = End { at: header.frames(), ..End::default() };
        Ok(Reader { file, header, len: file.len()?.min(header.len), known, end })
    }

    /// How far it has read.
    pub(super) fn end(&self) -> End {
        self.end
    }

    /// The body of the next frame.
    ///
    /// Where a segment is known to end, it has frames up to there. Otherwise it ends where no frame follows, if this is
    /// behind what it was begun with and no frame of it lies further on, but for its index. What is there was prepared for
    /// later commits, or belongs to a torn one, which was never confirmed, since at most one is ever unsynced.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub(super) fn next(&mut self) -> Result<Next, ReadError> {
        if let Some(known) = self.known.filter(|known| self.end.at >= known.at) {
            if (self.end.at, self.end.link) != (known.at, known.link) {
                let end = Some(self.end.at).filter(|end| *end > known.at);
                return damaged(
                    end.map_or(self.end.at, |_| known.at),
                    end,
                    "it does not end as the segment behind it says",
                );
            }
            return Ok(Next::End { torn: 0 });
        }
        match self.frame(Kind::Commit)? {
            Ok((body, after)) => {
                self.end = after;
                Ok(Next::Frame(body))
            }
            Err(Wrong { detail, end }) => {
                let at = self.end.at;
                if at < self.header.begun {
                    let end = end.unwrap_or(self.header.begun);
                    return damaged(at, end, format!("{detail}, in what the segment was begun with"));
                }
                if let Some(known) = self.known {
                    let last = known.at;
                    return damaged(
                        at,
                        end.unwrap_or(last),
                        format!("{detail}, and the segment behind it says that it ends at {last}"),
                    );
                }
                match self.rest()? {
                    Rest::Frame(later) => damaged(
                        at,
                        end.unwrap_or(later),
                        format!("{detail}, but what was written later follows at byte {later}"),
                    ),
                    Rest::Torn(torn) => Ok(Next::End { torn }),
                }
            }
        }
    }

    /// The index of a segment that is known to have one; `None`: it is not whole, or the disk does not read it. The frames
    /// say the same.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn readable_index(&self) -> io::Result<Option<Body>> {
        match self.index() {
            Err(error) if is_unreadable(&error) => Ok(None),
            index => index,
        }
    }

    /// The same where it matters what the disk does not read.
    ///
    /// # Errors
    /// The file, or this part of it, cannot be read.
    pub(super) fn index(&self) -> io::Result<Option<Body>> {
        let Some(end) = self.known.filter(|known| known.indexed) else { return Ok(None) };
        let there = Reader { file: self.file, end, ..*self };
        Ok(there.frame(Kind::Index)?.ok().map(|(body, _)| body))
    }

    /// The frame here and where the next one is; or what is wrong with it.
    fn frame(&self, kind: Kind) -> io::Result<Result<(Body, End), Wrong>> {
        let wrong = |detail| Ok(Err(Wrong { detail, end: None }));
        let at = self.end.at;
        let left = self.len.saturating_sub(at);
        if left < self.header.block.bytes() as u64 {
            return wrong("the file ends");
        }
        let mut head = [0; HEADER];
        self.file.read_at(&mut head, at)?;
        let Some(header) = FrameHeader::parse(&head, kind, self.header.salt) else {
            return wrong("a frame's header is not whole");
        };
        if header.link != self.end.link {
            return wrong("a frame does not follow the one before it");
        }
        let Some(filled) = self.filled(&header).filter(|filled| *filled <= left) else {
            return wrong("the file ends within a frame");
        };
        // It fits into the file; where that is larger than memory there is nothing to recover into.
        let mut bytes = vec![0; header.body as usize];
        self.file.read_at(&mut bytes, at + HEADER as u64)?;
        if !header.is_of(&bytes) {
            return Ok(Err(Wrong { detail: "a frame's body is not whole", end: Some(at + filled) }));
        }
        let link = Link { number: header.link.number + 1, previous: header.crc };
        Ok(Ok((Body { bytes, frame: at }, End { at: at + filled, link, indexed: false })))
    }

    fn filled(&self, header: &FrameHeader) -> Option<u64> {
        frame::filled(header.body, self.header.block)
    }

    /// What is here and behind, where no frame follows.
    fn rest(&self) -> io::Result<Rest> {
        let start = self.end.at;
        let (mut at, mut torn) = (start, 0);
        let block = self.header.block.bytes();
        let mut chunk = Vec::new();
        while let Some(data) = self.file.data_from(at)?.filter(|data| *data < self.len) {
            at = data / block as u64 * block as u64;
            chunk.resize((self.len - at).min(SCAN as u64) as usize, 0);
            self.file.read_at(&mut chunk, at)?;
            for (nth, some) in chunk.chunks(block).enumerate() {
                let here = at + (nth * block) as u64;
                let header = FrameHeader::parse(some, Kind::Commit, self.header.salt);
                // It was written when all that is before it was durable.
                let index = FrameHeader::parse(some, Kind::Index, self.header.salt);
                if index.is_some_and(|index| index.link != self.end.link) {
                    return Ok(Rest::Frame(here));
                }
                match header {
                    // It has already been found to be followed by too little.
                    Some(header) if here == start => {
                        torn = self.filled(&header).unwrap_or(u64::MAX).min(self.len - start);
                    }
                    Some(_) => return Ok(Rest::Frame(here)),
                    // What an earlier use of the file left cannot be told from a torn commit.
                    None if !self.header.recycled && some.iter().any(|byte| *byte != 0) => {
                        torn = torn.max(here + some.len() as u64 - start);
                    }
                    None => {}
                }
            }
            at += chunk.len() as u64;
        }
        Ok(Rest::Torn(torn))
    }
}
