//! Everyone who takes part, a small file each.

#[cfg(feature = "durable-peers")]
mod fjall;
#[cfg(feature = "durable-peers")]
mod okaywal;
mod queue;
mod raw;
#[cfg(feature = "durable-peers")]
mod redb;
mod sqlite;

#[cfg(feature = "durable-peers")]
pub use fjall::{Fjall, FjallUnsynced};
#[cfg(feature = "durable-peers")]
pub use okaywal::OkayWal;
pub use queue::Queue;
pub(crate) use queue::{LEASE, mode};
pub use raw::RawAppend;
#[cfg(feature = "durable-peers")]
pub use redb::Redb;
pub use sqlite::Sqlite;
