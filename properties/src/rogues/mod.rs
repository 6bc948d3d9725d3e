//! Queues and consumers that are wrong on purpose.

pub mod consumers;
