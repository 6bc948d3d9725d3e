//! What can be plugged into Stanchion: the traits a queue implements, the contract it declares, and the
//! queues that ship with the harness.
//!
//! A [`Buffer`] holds items between threads and never waits. A [`Broker`] delivers messages under leases.
//! [`Leased`] turns any buffer into a broker. A [`Host`] is where a broker lives across crashes.

pub mod any;
pub mod broker;
pub mod brokers;
pub mod buffer;
pub mod buffers;
pub mod clock;
pub mod contract;
pub mod file;
pub mod sync;

pub use broker::{
    Broker, Crash, DeadLetter, Delivery, Depth, Error, Host, Message, MessageId, Reason, Receipt, Refusal,
    Sent, Session, Settings, Settle, Settled, Settlement, Volatile,
};
pub use brokers::leased::Leased;
pub use buffer::{Buffer, Ends, Full, Opened, Pop, Push, Shape, ShapeError};
pub use clock::{Clock, Time};
pub use contract::{
    Answer, Attempt, Batches, BufferContract, Bytes, Contract, Count, Counting, DeadLettering, Death,
    Durability, Leases, Order, Requeue, Retries, Sides,
};
