//! What a queue costs.
//!
//! A [`workload`] says what to move, a driver moves it and keeps the [`ledger`], and a [`trial`] is the
//! time it took; there is no trial without a clean ledger. A [`Comparison`] lists the queues and runs them
//! under Criterion, for the curves, and in a duel, for the question which is faster.

pub mod comparison;
mod crew;
pub mod criterion;
pub mod deliver;
pub mod driver;
pub mod duel;
pub use stanchion_reports::exit;
pub mod ledger;
pub mod machine;
#[cfg(test)]
mod mutants;
pub mod statistics;
pub mod tokio_driver;
pub mod trial;
pub mod workload;

pub use comparison::Comparison;
