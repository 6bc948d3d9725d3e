//! Stanchion tells the truth about message queues.
pub use stanchion_properties as properties;
pub use stanchion_queues as queues;
