//! What a queue costs.
//!
//! A [`workload`] says what to move, a driver moves it and keeps the [`ledger`], and a [`trial`] is the
//! time it took; there is no trial without a clean ledger. Beside every table stand the limits: what the
//! [`machine`] costs, and how fast the driver would be without a queue. A [`Comparison`] lists the queues and runs them
//! under Criterion, for the curves, and in a duel, for the question which is faster.

mod bed;
pub mod blocking;
pub mod comparison;
mod crew;
pub mod criterion;
pub mod deliver;
pub mod driver;
pub mod duel;
pub use stanchion_reports::exit;
mod floor;
pub mod ledger;
pub mod machine;
#[cfg(test)]
mod mutants;
#[cfg(feature = "peers")]
pub mod peers;
pub mod statistics;
pub mod tokio_driver;
pub mod trial;
pub mod workload;

pub use comparison::Comparison;
