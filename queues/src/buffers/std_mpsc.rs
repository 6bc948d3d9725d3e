//! The bounded channel of the standard library.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use super::opening::room_for;
use crate::buffer::{Buffer, Ends, Full, Opened, Pop, Push, Shape};
use crate::contract::{BufferContract, Sides};

/// `std::sync::mpsc::sync_channel` through `try_send` and `try_recv`. Inside it is the array of
/// crossbeam-channel, hence the same answers. Once the consumer is dropped, every push is refused.
#[derive(Clone, Copy, Debug)]
pub struct StdSyncChannel;

impl Buffer for StdSyncChannel {
    const CONTRACT: BufferContract = BufferContract {
        consumers: Sides::One,
        progress: "not lock-free: an operation that is stopped half-way holds up those that come to its slot",
        ..BufferContract::FIFO
    };
    type Producer<T: Send + 'static> = SyncSender<T>;
    type Consumer<T: Send + 'static> = Receiver<T>;

    fn open<T: Send + 'static>(shape: Shape) -> Opened<SyncSender<T>, Receiver<T>> {
        shape.admitted_by(&Self::CONTRACT)?;
        room_for::<(usize, T)>(shape.capacity)?;
        let (sender, receiver) = sync_channel(shape.capacity);
        Ok(Ends { producers: vec![sender; shape.producers], consumers: vec![receiver] })
    }
}

impl<T: Send> Push<T> for SyncSender<T> {
    #[inline]
    fn push(&mut self, item: T) -> Result<(), Full<T>> {
        match self.try_send(item) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(item) | TrySendError::Disconnected(item)) => Err(Full(item)),
        }
    }
}

impl<T: Send> Pop<T> for Receiver<T> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        self.try_recv().ok()
    }
}
