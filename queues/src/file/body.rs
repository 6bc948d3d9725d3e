//! Where the bytes of a message are, and reading them without holding anybody up.

use std::io;

use super::handles::Reader;
use super::record::{At, Payload, Read, Record, Stored};
use super::segment::Name;
use super::storage::{Storage, StorageFile};
use crate::broker::Error;

/// The bytes of one message, or where to read them.
pub(super) enum Body<S: Storage> {
    Here(Read),
    There { reader: Reader<S>, at: At, id: u64 },
}

impl<S: Storage> Body<S> {
    /// Reads it, if need be.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is damaged, or was when it was moved; [`Error::Io`] if the system refuses.
    pub(super) fn read(self, storage: &S) -> Result<Read, Error> {
        let (reader, at, id) = match self {
            Body::Here(read) => return Ok(read),
            Body::There { reader, at, id } => (reader, at, id),
        };
        let read = bytes(storage, &reader, at)?.and_then(|bytes| decode(&bytes, id)).and_then(|read| {
            if read.damaged {
                Err(format!("message {id} was damaged when it was moved here"))
            } else {
                Ok(read)
            }
        });
        read.map_err(|detail| Error::Corrupt {
            path: storage.locate(&Name::Segment(at.segment).to_string()),
            offset: at.offset.into(),
            end: Some(u64::from(at.offset) + u64::from(at.len)),
            detail,
        })
    }

    /// The record that writes it anew. A damaged message is carried along as what is left of it, and stays damaged.
    ///
    /// # Errors
    /// [`Error::Io`] if the system refuses.
    pub(super) fn anew(self, storage: &S, stored: Stored) -> Result<Record, Error> {
        let Read { key, body, damaged, .. } = match self {
            Body::Here(read) => read,
            Body::There { reader, at, id } => {
                let bytes = bytes(storage, &reader, at)?.unwrap_or_default();
                let left = |_| Read { id, key: None, body: bytes.as_slice().into(), damaged: true };
                decode(&bytes, id).unwrap_or_else(left)
            }
        };
        Ok(Record::Stored(Stored { damaged, ..stored }, Payload::Here { key, body }))
    }
}

/// The bytes of a record of a message, if the file is that long.
fn bytes<S: Storage>(storage: &S, reader: &Reader<S>, at: At) -> Result<Result<Vec<u8>, String>, Error> {
    let mut bytes = vec![0; at.len as usize];
    match reader.file().and_then(|file| file.read_at(&mut bytes, at.offset.into())) {
        Ok(()) => Ok(Ok(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Ok(Err("the file ends before".to_owned()))
        }
        Err(source) => Err(Error::Io {
            action: "read",
            path: storage.locate(&Name::Segment(at.segment).to_string()),
            source,
            remedy: "The message stays; mend that and receive it again",
        }),
    }
}

fn decode(bytes: &[u8], id: u64) -> Result<Read, String> {
    let read = Read::decode(bytes)?;
    let there = read.id;
    if there == id { Ok(read) } else { Err(format!("it holds message {there} in place of {id}")) }
}
