//! The persistent file queue, and the storage it stands on.
//!
//! `queue` decides what an operation does and says it in records; `log` makes records durable; `state`
//! applies them, in the running queue as in `recovery`. None of them sees a file but through [`storage`].

mod host;
mod log;
mod queue;
pub mod real;
mod record;
mod recovery;
mod rng;
pub mod sim;
mod state;
pub mod storage;
pub mod survival;
#[cfg(test)]
mod tests;

pub use host::{DirHost, SimHost};
pub use queue::{BODY_LIMIT, FileQueue, FileSession, open_dir};
pub use real::RealDir;
pub use recovery::Recovered;
pub use sim::SimDisk;
