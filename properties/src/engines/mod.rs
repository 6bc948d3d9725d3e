//! Ways of running a queue and writing down what happened.

pub mod budget;
pub(crate) mod cases;
pub mod child;
mod clients;
pub mod explore;
pub(crate) mod extent;
pub mod images;
pub mod recorder;
pub mod round;
mod runs;
pub mod sequential;
pub mod sequential_buffer;
pub mod simulated;
pub mod skew;
pub mod stamps;
#[cfg(test)]
pub(crate) mod testing;
pub mod threads;
pub mod threads_broker;
#[cfg(target_arch = "x86_64")]
mod tsc;
pub mod watchdog;
#[cfg(test)]
mod wrong_buffers;
