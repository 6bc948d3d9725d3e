//! What a commit that failed means for those who wait for it.

use std::io;
use std::path::PathBuf;

use crate::broker::{Error, Refusal, Sent};

/// Why nothing was committed, or perhaps not.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// No space: nothing changed.
    Full(PathBuf),
    /// It failed now: anything may be stored.
    Now(String),
    /// It failed earlier: nothing of this was stored.
    Before(String),
}

impl Failure {
    pub(super) fn error(&self) -> Error {
        match self {
            Failure::Full(path) => Error::Io {
                action: "write to",
                path: path.clone(),
                source: io::ErrorKind::StorageFull.into(),
                remedy: "Nothing was changed; make room and try again",
            },
            Failure::Now(why) | Failure::Before(why) => Error::Poisoned(why.clone()),
        }
    }

    pub(super) fn sent(&self) -> Sent {
        match self {
            Failure::Now(_) => Sent::InDoubt(self.error()),
            Failure::Full(_) | Failure::Before(_) => {
                Sent::Refused(Refusal::Unavailable(self.error().to_string()))
            }
        }
    }
}
