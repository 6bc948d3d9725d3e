//! Channels: through the ends that do not wait, as every buffer, and through their own waiting.

use stanchion_queues::buffers::opening::{ends, room_for};
use stanchion_queues::{Answer, Buffer, BufferContract, Full, Opened, Pop, Push, Shape, ShapeError};

use super::End;
use crate::blocking::Blocking;

/// `kanal::bounded`: a deque behind a lock of its own; a sender hands an item to a waiting receiver directly.
#[derive(Clone, Copy, Debug)]
pub struct Kanal;

impl Buffer for Kanal {
    const CONTRACT: BufferContract = BufferContract {
        progress: "blocking: one operation at a time, behind a lock that spins, yields, then sleeps",
        ..BufferContract::FIFO
    };
    type Producer<T: Send + 'static> = End<kanal::Sender<T>>;
    type Consumer<T: Send + 'static> = End<kanal::Receiver<T>>;

    fn open<T: Send + 'static>(shape: Shape) -> Opened<Self::Producer<T>, Self::Consumer<T>> {
        shape.admitted_by(&Self::CONTRACT)?;
        room_for::<T>(shape.capacity)?;
        let (sender, receiver) = kanal::bounded(shape.capacity);
        Ok(ends(shape, || End(sender.clone()), || End(receiver.clone())))
    }
}

impl<T: Send> Push<T> for End<kanal::Sender<T>> {
    #[inline]
    fn push(&mut self, item: T) -> Result<(), Full<T>> {
        let mut held = Some(item);
        let _ = self.0.try_send_option(&mut held);
        held.map_or(Ok(()), |item| Err(Full(item)))
    }
}

impl<T: Send> Pop<T> for End<kanal::Receiver<T>> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        self.0.try_recv().ok().flatten()
    }
}

impl Blocking for Kanal {
    #[inline]
    fn send<T: Send + 'static>(end: &mut Self::Producer<T>, item: T) -> bool {
        end.0.send(item).is_ok()
    }

    #[inline]
    fn receive<T: Send + 'static>(end: &mut Self::Consumer<T>) -> Option<T> {
        end.0.recv().ok()
    }
}

/// `flume::bounded`: a deque behind the standard library's lock.
#[derive(Clone, Copy, Debug)]
pub struct Flume;

impl Buffer for Flume {
    const CONTRACT: BufferContract = BufferContract {
        progress: "blocking: one operation at a time, behind a lock",
        ..BufferContract::FIFO
    };
    type Producer<T: Send + 'static> = End<flume::Sender<T>>;
    type Consumer<T: Send + 'static> = End<flume::Receiver<T>>;

    fn open<T: Send + 'static>(shape: Shape) -> Opened<Self::Producer<T>, Self::Consumer<T>> {
        shape.admitted_by(&Self::CONTRACT)?;
        room_for::<T>(shape.capacity)?;
        let (sender, receiver) = flume::bounded(shape.capacity);
        Ok(ends(shape, || End(sender.clone()), || End(receiver.clone())))
    }
}

impl<T: Send> Push<T> for End<flume::Sender<T>> {
    #[inline]
    fn push(&mut self, item: T) -> Result<(), Full<T>> {
        self.0.try_send(item).map_err(|refused| Full(refused.into_inner()))
    }
}

impl<T: Send> Pop<T> for End<flume::Receiver<T>> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        self.0.try_recv().ok()
    }
}

impl Blocking for Flume {
    #[inline]
    fn send<T: Send + 'static>(end: &mut Self::Producer<T>, item: T) -> bool {
        end.0.send(item).is_ok()
    }

    #[inline]
    fn receive<T: Send + 'static>(end: &mut Self::Consumer<T>) -> Option<T> {
        end.0.recv().ok()
    }
}

/// `crossfire::mpmc::bounded_blocking`: the ring of crossbeam's `ArrayQueue` with its own waiting.
#[derive(Clone, Copy, Debug)]
pub struct Crossfire;

impl Buffer for Crossfire {
    const CONTRACT: BufferContract = BufferContract {
        progress: "not lock-free: an operation that is stopped half-way holds up those that come to its slot",
        ..BufferContract::FIFO
    };
    type Producer<T: Send + 'static> = End<crossfire::MTx<crossfire::mpmc::Array<T>>>;
    type Consumer<T: Send + 'static> = End<crossfire::MRx<crossfire::mpmc::Array<T>>>;

    fn open<T: Send + 'static>(shape: Shape) -> Opened<Self::Producer<T>, Self::Consumer<T>> {
        /// It asserts that its bound fits 32 bits.
        const MOST: usize = u32::MAX as usize;
        shape.admitted_by(&Self::CONTRACT)?;
        if shape.capacity > MOST {
            return Err(ShapeError::TooLarge { capacity: shape.capacity, most: MOST });
        }
        room_for::<(usize, T)>(shape.capacity)?;
        let (sender, receiver) = crossfire::mpmc::bounded_blocking(shape.capacity);
        Ok(ends(shape, || End(sender.clone()), || End(receiver.clone())))
    }
}

impl<T: Send + 'static> Push<T> for End<crossfire::MTx<crossfire::mpmc::Array<T>>> {
    #[inline]
    fn push(&mut self, item: T) -> Result<(), Full<T>> {
        self.0.try_send(item).map_err(|refused| Full(refused.into_inner()))
    }
}

impl<T: Send + 'static> Pop<T> for End<crossfire::MRx<crossfire::mpmc::Array<T>>> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        self.0.try_recv().ok()
    }
}

impl Blocking for Crossfire {
    #[inline]
    fn send<T: Send + 'static>(end: &mut Self::Producer<T>, item: T) -> bool {
        end.0.send(item).is_ok()
    }

    #[inline]
    fn receive<T: Send + 'static>(end: &mut Self::Consumer<T>) -> Option<T> {
        end.0.recv().ok()
    }
}

/// `async_channel::bounded`: a `concurrent_queue` (see [`super::ConcurrentQueue`]) with an event count on each
/// side.
#[derive(Clone, Copy, Debug)]
pub struct AsyncChannel;

impl Buffer for AsyncChannel {
    const CONTRACT: BufferContract = BufferContract {
        full: Answer::Relaxed,
        progress: "not lock-free: an operation that is stopped half-way holds up those that come to its slot; \
                   with a capacity of 1, \"full\" may be untrue while a pop is unfinished",
        ..BufferContract::FIFO
    };
    type Producer<T: Send + 'static> = End<async_channel::Sender<T>>;
    type Consumer<T: Send + 'static> = End<async_channel::Receiver<T>>;

    fn open<T: Send + 'static>(shape: Shape) -> Opened<Self::Producer<T>, Self::Consumer<T>> {
        shape.admitted_by(&Self::CONTRACT)?;
        room_for::<(usize, T)>(shape.capacity)?;
        let (sender, receiver) = async_channel::bounded(shape.capacity);
        Ok(ends(shape, || End(sender.clone()), || End(receiver.clone())))
    }
}

impl<T: Send> Push<T> for End<async_channel::Sender<T>> {
    #[inline]
    fn push(&mut self, item: T) -> Result<(), Full<T>> {
        self.0.try_send(item).map_err(|refused| Full(refused.into_inner()))
    }
}

impl<T: Send> Pop<T> for End<async_channel::Receiver<T>> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        self.0.try_recv().ok()
    }
}

impl Blocking for AsyncChannel {
    #[inline]
    fn send<T: Send + 'static>(end: &mut Self::Producer<T>, item: T) -> bool {
        end.0.send_blocking(item).is_ok()
    }

    #[inline]
    fn receive<T: Send + 'static>(end: &mut Self::Consumer<T>) -> Option<T> {
        end.0.recv_blocking().ok()
    }
}
