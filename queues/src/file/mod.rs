//! The persistent file queue, and the storage it stands on.
//!
//! `queue` is what callers see; `decide` decides what an operation does and says it in records; `commit`
//! gathers the records of many callers (who wait in a `batch`), and `log` makes them durable with one sync;
//! `state` applies them, in the running queue as in `recovery`. None sees a file but through [`storage`].

mod batch;
mod body;
mod checksum;
mod commit;
mod decide;
mod direct;
mod failure;
mod frame;
mod handles;
mod heartbeat;
mod host;
#[cfg(any(test, fuzzing))]
pub mod hostile;
pub mod inspect;
mod log;
mod look;
mod mistake;
mod queue;
mod reading;
pub mod real;
mod recent;
mod record;
mod recovery;
mod rng;
pub mod salvage;
mod segment;
pub mod sim;
mod spare;
mod state;
pub mod storage;
pub mod survival;
mod table;
#[cfg(test)]
mod tests;
mod ticket;

pub use host::{DirHost, SimHost};
#[doc(hidden)]
pub use mistake::Mistake;
pub use queue::{BODY_LIMIT, FileQueue, FileSession, open_dir};
pub use real::{Mode, RealDir};
pub use recovery::Recovered;
pub use sim::SimDisk;
pub use ticket::Ticket;
