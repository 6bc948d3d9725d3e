//! What a queue must keep. Engines drive queues and write histories; checkers are pure functions from a
//! history and a contract to a verdict. A checker never runs a queue, and a queue never knows it is tested.

mod balance;
pub mod buffer_history;
pub mod card;
pub mod catalogue;
pub mod checkers;
pub mod checkers_buffer;
pub mod consumers;
pub mod coverage;
mod describe;
mod dice;
pub mod engines;
pub mod finding;
pub mod history;
mod indifferent;
pub mod invariant;
pub mod ledger;
pub mod outcome;
pub mod payload;
pub mod plan;
pub mod recording;
pub mod regressions;
pub mod rogues;
pub mod shrink;
pub mod suite;
pub mod timeline;
pub mod verdict;

pub use suite::Suite;
