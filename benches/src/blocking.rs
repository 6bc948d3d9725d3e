//! Channels that wait by themselves. Their users call `send` and `recv` and not the ends that do not wait, so
//! that is how they take part where the others park.

use stanchion_queues::Buffer;
use stanchion_queues::buffers::{CrossbeamChannel, StdSyncChannel};

/// A buffer that is also a channel with a waiting of its own.
pub trait Blocking: Buffer {
    /// Puts an item in; waits while the channel is full. `false`: nobody is left who could receive it.
    fn send<T: Send + 'static>(end: &mut Self::Producer<T>, item: T) -> bool;

    /// Takes the next item out; waits while the channel is empty. `None`: it is empty, and nobody is left who
    /// could send.
    fn receive<T: Send + 'static>(end: &mut Self::Consumer<T>) -> Option<T>;
}

impl Blocking for CrossbeamChannel {
    #[inline]
    fn send<T: Send + 'static>(end: &mut Self::Producer<T>, item: T) -> bool {
        end.send(item).is_ok()
    }

    #[inline]
    fn receive<T: Send + 'static>(end: &mut Self::Consumer<T>) -> Option<T> {
        end.recv().ok()
    }
}

impl Blocking for StdSyncChannel {
    #[inline]
    fn send<T: Send + 'static>(end: &mut Self::Producer<T>, item: T) -> bool {
        end.send(item).is_ok()
    }

    #[inline]
    fn receive<T: Send + 'static>(end: &mut Self::Consumer<T>) -> Option<T> {
        end.recv().ok()
    }
}
