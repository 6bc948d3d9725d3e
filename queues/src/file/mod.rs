//! The persistent file queue, and the storage it stands on.

pub mod storage;
