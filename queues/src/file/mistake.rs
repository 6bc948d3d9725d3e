//! Mistakes that the queue makes on purpose, so that a harness can be shown to notice them: races of the commit, that is,
//! which with one caller after another are none. Only a simulated disk asks for one ([`Storage::makes`]); for any other
//! storage the compiler leaves nothing of them.

use std::sync::PoisonError;

use super::batch::{Batch, Woken};
use super::commit::Shared;
use super::frame::{HEADER, Kind};
use super::record::Record;
use super::segment::Segment;
use super::storage::{Storage, StorageFile};

/// A way in which a commit can be wrong. One at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Those who wait for a batch are told that it is durable before it is synced.
    ConfirmsEarly,
    /// Those who wait for a batch that failed are told that it is durable.
    ConfirmsFailed,
    /// Whoever waits for a batch looks, and then waits without looking again: a notice between the two is missed.
    WaitsBlindly,
    /// A settlement changes the state before it is durable, and others act on what they see.
    AppliesEarly,
    /// The heartbeat appends its record where the log ended when it last looked, whoever commits meanwhile.
    WitnessesAnytime,
    /// The lead is free again as soon as a batch is taken: a second leader finds nothing to lead, and answers "done".
    LeadsTwice,
    /// Places that sends on their way will take are not reserved.
    ReservesNothing,
    /// A batch in which nobody waits, as all of it was said by ticket, is left lying.
    LeavesTickets,
    /// Who asks a ticket is told that all of it is durable, without a look at its batch.
    AnswersTickets,
}

impl Mistake {
    /// All of them.
    pub const ALL: [Mistake; 9] = [
        Mistake::ConfirmsEarly,
        Mistake::ConfirmsFailed,
        Mistake::WaitsBlindly,
        Mistake::AppliesEarly,
        Mistake::WitnessesAnytime,
        Mistake::LeadsTwice,
        Mistake::ReservesNothing,
        Mistake::LeavesTickets,
        Mistake::AnswersTickets,
    ];
}

impl Batch {
    /// [`Mistake::WaitsBlindly`].
    pub(super) fn wait_blindly(&self) -> Woken {
        if self.is_open() {
            let seen = self.seen();
            drop(self.changed.wait(seen).unwrap_or_else(PoisonError::into_inner));
        }
        self.wait()
    }
}

impl<S: Storage> Shared<S> {
    /// [`Mistake::WitnessesAnytime`].
    pub(super) fn witness_at(&self, mut tail: Segment<S::File>) {
        let mut frame = vec![0; HEADER];
        Record::Witness.encode(&mut frame);
        if tail.append(&mut frame, Kind::Commit, S::File::write_durably).is_ok() {
            self.lock().witnessed_at(tail.number, tail.end);
        }
    }
}
