//! The yardstick: the simplest correct queue.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::opening::{ends, room_for};
use crate::buffer::{Buffer, Full, Opened, Pop, Push, Shape};
use crate::contract::BufferContract;

/// A `VecDeque` behind the standard library's mutex. Whatever is slower than this has no excuse.
#[derive(Clone, Copy, Debug)]
pub struct MutexDeque;

impl Buffer for MutexDeque {
    const CONTRACT: BufferContract = BufferContract {
        progress: "blocking: one operation at a time, and a thread that is descheduled inside it holds up all",
        ..BufferContract::FIFO
    };
    type Producer<T: Send + 'static> = End<T>;
    type Consumer<T: Send + 'static> = End<T>;

    fn open<T: Send + 'static>(shape: Shape) -> Opened<End<T>, End<T>> {
        shape.admitted_by(&Self::CONTRACT)?;
        room_for::<T>(shape.capacity)?;
        let end = End {
            items: Arc::new(Mutex::new(VecDeque::with_capacity(shape.capacity))),
            capacity: shape.capacity,
        };
        Ok(ends(shape, || end.clone(), || end.clone()))
    }
}

/// An end of a [`MutexDeque`]: it pushes and pops.
#[derive(Debug)]
pub struct End<T> {
    items: Arc<Mutex<VecDeque<T>>>,
    /// Kept here because a deque may allocate more than it was asked for.
    capacity: usize,
}

impl<T> Clone for End<T> {
    fn clone(&self) -> End<T> {
        End { items: Arc::clone(&self.items), capacity: self.capacity }
    }
}

impl<T> End<T> {
    /// Nothing that runs under the lock can panic half-way, so a poisoned deque is still whole.
    fn lock(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send> Push<T> for End<T> {
    fn push(&mut self, item: T) -> Result<(), Full<T>> {
        let mut items = self.lock();
        if items.len() == self.capacity {
            return Err(Full(item));
        }
        items.push_back(item);
        Ok(())
    }
}

impl<T: Send> Pop<T> for End<T> {
    fn pop(&mut self) -> Option<T> {
        self.lock().pop_front()
    }
}
