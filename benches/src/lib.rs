//! What a queue costs.
//!
//! A [`workload`] says what to move, a driver moves it and keeps the [`ledger`], and a [`trial`] is the time it took;
//! there is no trial without a clean ledger.

mod crew;
pub mod deliver;
pub mod driver;
pub mod ledger;
#[cfg(test)]
mod mutants;
pub mod statistics;
pub mod tokio_driver;
pub mod trial;
pub mod workload;
