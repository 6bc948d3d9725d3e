//! What was found about queues, as data, and the pages drawn from it.
//!
//! This crate knows no queue: whoever checks or measures fills in [`results::Results`], stores it with
//! [`fragment::write`], and [`fragment::render`] draws everything that was stored.

pub mod environment;
pub mod exit;
mod findings;
mod format;
pub mod fragment;
pub mod html;
mod lanes;
pub mod markdown;
pub mod results;
mod svg;
pub mod terminal;
