//! Other people's queues as comparators, behind the feature `peers`. Each is an adapter of a few lines, with a
//! contract that says no more than its documentation and source support.
//!
//! Where a queue answers "full" or "empty" although neither was true at any instant of the call, its contract
//! says relaxed, with the place in its source that shows it.

mod channels;
mod queues;

pub use channels::{AsyncChannel, Crossfire, Flume, Kanal};
pub use queues::{ConcurrentQueue, Locked, ParkingLotDeque, Rtrb, Slots, ThingBuf, Vacate};

/// An end of somebody else's queue.
#[derive(Clone, Debug)]
pub struct End<E>(E);
