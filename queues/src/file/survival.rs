//! What a power failure leaves of what was not synced, chosen instead of drawn: for engines that go through
//! all that may be left.

use serde::{Deserialize, Serialize};

/// How much was not synced when the power failed; the call that it interrupted included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AtRisk {
    /// Sector writes, of all files.
    pub sectors: usize,
    /// How long a sector is.
    pub block: usize,
    /// Changes of length, of the file that has the most.
    pub lens: usize,
    /// Changes of the directory.
    pub names: usize,
}

/// What becomes of one sector write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SectorFate {
    /// It never reached the disk.
    Lost,
    /// It is there.
    Whole,
    /// This many of its first bytes are there; the others are as before.
    Torn(usize),
    /// Bytes that nobody wrote, from this seed.
    Garbage(u64),
}

/// What is left by a power failure.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Survival {
    /// Of each sector write, file by file in the order of their creation, in the order of writing. Those
    /// beyond the end are lost.
    pub sectors: Vec<SectorFate>,
    /// How many changes of its length each file keeps, the first ones.
    pub lens: usize,
    /// Which changes of the directory: a bit for each, the lowest for the first.
    pub names: u64,
}

impl Survival {
    /// Whether this change of the directory is there.
    pub fn keeps_name(&self, nth: usize) -> bool {
        u32::try_from(nth).is_ok_and(|nth| self.names.checked_shr(nth).is_some_and(|bits| bits & 1 == 1))
    }
}

/// What the latest crash found unfinished, in words for people.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Unfinished {
    /// The call during which the machine stopped, as in "the sync of log-0"; `None`: between two calls.
    pub call: Option<String>,
    /// The file and the number of each sector write that a power failure put at risk, in the order of
    /// [`Survival::sectors`].
    pub sectors: Vec<(String, usize)>,
    /// Each change of the directory that it put at risk, in their order.
    pub names: Vec<String>,
}

/// How a call to a disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// No space is left: half of a write is done, nothing of anything else.
    Full,
    /// The disk could not do it: the same, and a sync fails like this.
    Io(super::sim::FailSync),
    /// The system takes the next write and cannot bring it to the disk when it tries, which is at once: what was not synced
    /// of the file is lost like this. The next sync by a handle that was open by then says so; one by a handle that was opened
    /// later does not.
    Late(super::sim::FailSync),
}
