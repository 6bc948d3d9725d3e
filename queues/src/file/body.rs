//! Where the bytes of a message are, and reading them without holding anybody up.

use std::sync::Arc;

use super::record::{At, Payload, Read, Record, Stored};
use super::segment::Name;
use super::storage::{Storage, StorageFile};
use crate::broker::Error;

/// The bytes of one message, or where to read them.
pub(super) enum Body<F> {
    Here(Read),
    There { file: Arc<F>, at: At, id: u64 },
}

impl<F: StorageFile> Body<F> {
    /// Reads it, if need be.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is damaged, [`Error::Io`] if the system refuses.
    pub(super) fn read<S: Storage<File = F>>(self, storage: &S) -> Result<Read, Error> {
        let (file, at, id) = match self {
            Body::Here(read) => return Ok(read),
            Body::There { file, at, id } => (file, at, id),
        };
        let path = || storage.locate(&Name::Segment(at.segment).to_string());
        let mut bytes = vec![0; at.len as usize];
        file.read_at(&mut bytes, at.offset.into()).map_err(|source| Error::Io {
            action: "read",
            path: path(),
            source,
            remedy: "The message stays; mend that and receive it again",
        })?;
        let read = Read::decode(&bytes).and_then(|read| {
            let there = read.id;
            if there == id { Ok(read) } else { Err(format!("it holds message {there} in place of {id}")) }
        });
        read.map_err(|detail| Error::Corrupt { path: path(), offset: at.offset.into(), detail })
    }
}

/// The record that writes a message of this file anew; `None`: it cannot be read.
pub(super) fn anew<S: Storage>(storage: &S, file: &Arc<S::File>, stored: Stored, at: At) -> Option<Record> {
    let body = Body::There { file: Arc::clone(file), at, id: stored.id };
    let Read { key, body, .. } = body.read(storage).ok()?;
    Some(Record::Stored(stored, Payload::Here { key, body }))
}
