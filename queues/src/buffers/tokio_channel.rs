//! The bounded channel of tokio, through the methods that do not wait.

use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::buffer::{Buffer, Ends, Full, Opened, Pop, Push, Shape, ShapeError};
use crate::contract::{Answer, BufferContract, Sides};

/// `tokio::sync::mpsc::channel` through `try_send` and `try_recv`. Once the consumer is dropped, every push
/// is refused.
///
/// A send first takes a permit and then claims a place in the list (`sync/mpsc/bounded.rs`, `list.rs`), and an
/// empty receive looks only at the claimed places. A thread that was refused because another one holds the
/// last permit can therefore find the channel empty: "full" was not true. So only "empty" is exact.
#[derive(Clone, Copy, Debug)]
pub struct TokioChannel;

impl Buffer for TokioChannel {
    const CONTRACT: BufferContract = BufferContract {
        consumers: Sides::One,
        full: Answer::Relaxed,
        progress: "not lock-free: a receive parks its thread while the send that claimed the head is unfinished",
        ..BufferContract::FIFO
    };
    type Producer<T: Send + 'static> = Sender<T>;
    type Consumer<T: Send + 'static> = Receiver<T>;

    fn open<T: Send + 'static>(shape: Shape) -> Opened<Sender<T>, Receiver<T>> {
        shape.admitted_by(&Self::CONTRACT)?;
        if shape.capacity > Semaphore::MAX_PERMITS {
            return Err(ShapeError::TooLarge { capacity: shape.capacity, most: Semaphore::MAX_PERMITS });
        }
        let (sender, receiver) = channel(shape.capacity);
        Ok(Ends { producers: vec![sender; shape.producers], consumers: vec![receiver] })
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
