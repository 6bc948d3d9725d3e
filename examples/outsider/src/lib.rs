//! Two queues that Stanchion has never seen: one that is right, and one that is not.
pub mod forgetful;
pub mod steady;
