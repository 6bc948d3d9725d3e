//! A reference broker that can be wrong in one way at a time, so that the harness can be shown to notice.
//!
//! [`Bug`] lists the ways. Each is a small condition at the place where the real mistake would be made.

mod broker;
mod bug;
mod codec;
mod host;
pub mod images;
mod log;
pub mod races;
mod state;
mod table;
#[cfg(test)]
mod tests;

pub use broker::{Reference, ReferenceSession};
pub use bug::Bug;
pub use host::RogueHost;
pub use table::{hunt, table};
