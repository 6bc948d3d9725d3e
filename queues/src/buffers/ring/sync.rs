//! What the ring shares memory with. The model checker's tests put their own in its place.

pub(super) use std::hint;
pub(super) use std::sync::Arc;
pub(super) use std::sync::atomic::{AtomicUsize, Ordering, fence};

pub(super) use crossbeam::utils::{Backoff, CachePadded};

/// A memory ordering with a name, so that a test can weaken each by itself.
pub(super) type Order = Ordering;

/// Names an ordering.
pub(super) const fn order(_name: &'static str, ordering: Ordering) -> Order {
    ordering
}
