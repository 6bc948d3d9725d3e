//! Ways of running a queue and writing down what happened.

pub mod budget;
pub(crate) mod cases;
pub mod child;
pub mod explore;
pub mod recorder;
mod runs;
pub mod sequential;
pub mod sequential_buffer;
#[cfg(test)]
pub(crate) mod testing;
pub mod threads;
pub mod threads_broker;
pub mod watchdog;
