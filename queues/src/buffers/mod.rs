//! The buffers that ship with the harness, each with the contract that its source supports.

pub mod crossbeam;
pub mod mutex_deque;
pub mod opening;
pub mod ring;
pub mod std_mpsc;
#[cfg(test)]
mod tests;
pub mod tokio_channel;

/// The references: what most Rust programs would take.
pub use self::crossbeam::{ArrayQueue, CrossbeamChannel, SegQueue};
/// The yardstick: a deque behind a lock.
pub use mutex_deque::MutexDeque;
/// Ours: a bounded ring for any number of threads, with exact answers.
pub use ring::Ring;
/// The channel of the standard library.
pub use std_mpsc::StdSyncChannel;
/// The channel of asynchronous programs, through the ends that do not wait.
pub use tokio_channel::TokioChannel;
