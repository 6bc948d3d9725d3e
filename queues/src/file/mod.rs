//! The persistent file queue, and the storage it stands on.

pub mod real;
mod rng;
pub mod sim;
pub mod storage;

pub use real::RealDir;
pub use sim::SimDisk;
