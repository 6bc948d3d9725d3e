//! The queues of crossbeam: the references that every comparison needs.

use std::sync::Arc;

use ::crossbeam::channel::{Receiver, Sender, bounded};
use ::crossbeam::queue;

use super::opening::{ends, room_for};
use crate::buffer::{Buffer, Full, Opened, Pop, Push, Shape};
use crate::contract::BufferContract;

/// `crossbeam::queue::ArrayQueue`: a bounded ring with a sequence per slot.
#[derive(Clone, Copy, Debug)]
pub struct ArrayQueue;

impl Buffer for ArrayQueue {
    const CONTRACT: BufferContract = BufferContract {
        progress: "not lock-free: an operation that is stopped half-way holds up those that come to its slot",
        ..BufferContract::FIFO
    };
    type Producer<T: Send + 'static> = Arc<queue::ArrayQueue<T>>;
    type Consumer<T: Send + 'static> = Arc<queue::ArrayQueue<T>>;

    fn open<T: Send + 'static>(shape: Shape) -> Opened<Self::Producer<T>, Self::Consumer<T>> {
        shape.admitted_by(&Self::CONTRACT)?;
        room_for::<(usize, T)>(shape.capacity)?;
        let queue = Arc::new(queue::ArrayQueue::new(shape.capacity));
        Ok(ends(shape, || Arc::clone(&queue), || Arc::clone(&queue)))
    }
}

impl<T: Send> Push<T> for Arc<queue::ArrayQueue<T>> {
    #[inline]
    fn push(&mut self, item: T) -> Result<(), Full<T>> {
        queue::ArrayQueue::push(self, item).map_err(Full)
    }
}

impl<T: Send> Pop<T> for Arc<queue::ArrayQueue<T>> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        queue::ArrayQueue::pop(self)
    }
}

/// `crossbeam::queue::SegQueue`: an unbounded list of blocks. It ignores the capacity and never refuses.
#[derive(Clone, Copy, Debug)]
pub struct SegQueue;

impl Buffer for SegQueue {
    const CONTRACT: BufferContract = BufferContract {
        bounded: false,
        progress: "not lock-free: an operation that is stopped half-way holds up pops that come to its slot, \
                   and all that come while it links a new block; memory grows with the backlog",
        ..BufferContract::FIFO
    };
    type Producer<T: Send + 'static> = Arc<queue::SegQueue<T>>;
    type Consumer<T: Send + 'static> = Arc<queue::SegQueue<T>>;

    fn open<T: Send + 'static>(shape: Shape) -> Opened<Self::Producer<T>, Self::Consumer<T>> {
        shape.admitted_by(&Self::CONTRACT)?;
        let queue = Arc::new(queue::SegQueue::new());
        Ok(ends(shape, || Arc::clone(&queue), || Arc::clone(&queue)))
    }
}

impl<T: Send> Push<T> for Arc<queue::SegQueue<T>> {
    #[inline]
    fn push(&mut self, item: T) -> Result<(), Full<T>> {
        queue::SegQueue::push(self, item);
        Ok(())
    }
}

impl<T: Send> Pop<T> for Arc<queue::SegQueue<T>> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        queue::SegQueue::pop(self)
    }
}

/// `crossbeam::channel::bounded` through `try_send` and `try_recv`. Once all consumers are dropped, every
/// push is refused.
#[derive(Clone, Copy, Debug)]
pub struct CrossbeamChannel;

impl Buffer for CrossbeamChannel {
    const CONTRACT: BufferContract = BufferContract {
        progress: "not lock-free: an operation that is stopped half-way holds up those that come to its slot",
        ..BufferContract::FIFO
    };
    type Producer<T: Send + 'static> = Sender<T>;
    type Consumer<T: Send + 'static> = Receiver<T>;

    fn open<T: Send + 'static>(shape: Shape) -> Opened<Sender<T>, Receiver<T>> {
        shape.admitted_by(&Self::CONTRACT)?;
        room_for::<(usize, T)>(shape.capacity)?;
        let (sender, receiver) = bounded(shape.capacity);
        Ok(ends(shape, || sender.clone(), || receiver.clone()))
    }
}

impl<T: Send> Push<T> for Sender<T> {
    #[inline]
    fn push(&mut self, item: T) -> Result<(), Full<T>> {
        self.try_send(item).map_err(|refused| Full(refused.into_inner()))
    }
}

impl<T: Send> Pop<T> for Receiver<T> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        self.try_recv().ok()
    }
}
