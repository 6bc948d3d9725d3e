//! What was found about queues, as data, and the pages drawn from it.
//!
//! This crate knows no queue: whoever checks or measures fills in [`results::Results`], stores it with
//! [`fragment::write`], and [`fragment::merge`] puts everything together that was stored.

pub mod environment;
pub mod fragment;
pub mod results;
