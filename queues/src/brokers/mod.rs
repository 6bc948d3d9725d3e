//! The brokers that ship with the harness and live in memory.

pub mod leased;
