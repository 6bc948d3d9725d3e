//! What a commit that failed means for those who wait for it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;

use crate::broker::{Error, Refusal, Sent, Settled};

/// Why nothing was committed, or perhaps not.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// No space, or no more open files: nothing changed.
    Lacking(PathBuf, Arc<io::Error>),
    /// It failed now: anything may be stored.
    Now(String),
    /// It failed earlier: nothing of this was stored.
    Before(String),
}

impl Failure {
    pub(super) fn error(&self) -> Error {
        match self {
            Failure::Lacking(path, source) => Error::Io {
                action: "write to",
                path: path.clone(),
                source: copy(source),
                remedy: if is_full(source) {
                    "Nothing was changed; make room and try again"
                } else {
                    "Nothing was changed; let fewer files be open, or more, and try again"
                },
            },
            Failure::Now(why) | Failure::Before(why) => Error::Poisoned(why.clone()),
        }
    }

    /// Of sends that were decided, what they are as their commit failed.
    pub(super) fn of_sends(&self, outcomes: &mut [Sent]) {
        for outcome in outcomes {
            // What was full only if the others were stored is not full without them.
            let certainly_absent = !matches!(self, Failure::Now(_));
            if matches!(outcome, Sent::Confirmed(_))
                || certainly_absent && matches!(outcome, Sent::Refused(Refusal::Full))
            {
                *outcome = self.sent();
            }
        }
    }

    /// Of settlements that were decided, what they are as their commit failed.
    pub(super) fn of_settlements(&self, outcomes: &mut [Settled]) {
        for outcome in outcomes {
            if matches!(outcome, Settled::Done) {
                *outcome = Settled::InDoubt(self.error());
            }
        }
    }

    fn sent(&self) -> Sent {
        match self {
            Failure::Now(_) => Sent::InDoubt(self.error()),
            Failure::Lacking(..) | Failure::Before(_) => {
                Sent::Refused(Refusal::Unavailable(self.error().to_string()))
            }
        }
    }
}

/// Whether there is no space.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether there is no space, or no more open files: that may change, and nothing was done meanwhile.
pub(super) fn is_lacking(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    is_full(error) || matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

/// Whether the disk cannot read what is there: a bad sector, or bytes that are not those that were written.
pub(super) fn is_unreadable(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::IO | Errno::NODATA | Errno::BADMSG))
}

/// The same error once more.
pub(super) fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}
