//! The ends of a queue as a worker uses them: it hands something over, and it is taken when the call returns,
//! whoever did the waiting.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;
use std::thread;

use stanchion_queues::{Buffer, Full, Pop, Push, Shape, ShapeError};

use super::counted::Counted;
use crate::blocking::Blocking;
use crate::crew::{Crew, GaveUp, Waiting};

/// Gets items in.
pub(crate) trait Sends<T>: Send {
    /// One item.
    fn send(&mut self, item: T) -> Result<(), GaveUp>;

    /// All items, from the front. What could not be sent stays.
    fn send_all(&mut self, items: &mut VecDeque<T>) -> Result<(), GaveUp>;

    /// How many calls said another number of items than they moved.
    fn miscounted(&self) -> u64;
}

/// Gets items out.
pub(crate) trait Receives<T>: Send {
    /// One item.
    fn receive(&mut self) -> Result<T, GaveUp>;

    /// At least one item and at most `max`, into `into`.
    fn receive_some(&mut self, into: &mut Vec<T>, max: usize) -> Result<(), GaveUp>;

    /// One that is left over after everybody has ended.
    fn left_over(&mut self) -> Option<T>;

    /// How many calls said another number of items than they moved.
    fn miscounted(&self) -> u64;

    /// Whether the other side is released only by this end's drop.
    const RELEASES_BY_DROP: bool;
}

/// An end of a buffer, which does not wait, in the hands of someone who does.
pub(crate) struct Polled<E> {
    end: Counted<E>,
    waiting: Waiting,
}

impl<E> Polled<E> {
    pub(crate) fn new(end: E, waiting: Waiting) -> Polled<E> {
        Polled { end: Counted::new(end), waiting }
    }
}

impl<T: Send, P: Push<T>> Sends<T> for Polled<P> {
    #[inline]
    fn send(&mut self, item: T) -> Result<(), GaveUp> {
        if let Err(Full(item)) = self.end.push(item) {
            let mut held = Some(item);
            self.waiting.until(|| match self.end.push(held.take()?) {
                Ok(()) => Some(()),
                Err(Full(item)) => {
                    held = Some(item);
                    None
                }
            })?;
        }
        self.waiting.moved(1);
        Ok(())
    }

    #[inline]
    fn send_all(&mut self, items: &mut VecDeque<T>) -> Result<(), GaveUp> {
        let mut pushed = self.end.push_many(items);
        loop {
            if pushed > 0 {
                self.waiting.moved(pushed);
            }
            if items.is_empty() {
                return Ok(());
            }
            pushed = self.waiting.until(|| Some(self.end.push_many(items)).filter(|pushed| *pushed > 0))?;
        }
    }

    fn miscounted(&self) -> u64 {
        self.end.miscounted
    }
}

impl<T: Send, C: Pop<T>> Receives<T> for Polled<C> {
    #[inline]
    fn receive(&mut self) -> Result<T, GaveUp> {
        let item = match self.end.pop() {
            Some(item) => item,
            None => wait_for(&self.waiting, || self.end.pop())?,
        };
        self.waiting.moved(1);
        Ok(item)
    }

    #[inline]
    fn receive_some(&mut self, into: &mut Vec<T>, max: usize) -> Result<(), GaveUp> {
        let mut popped = self.end.pop_many(into, max);
        if popped == 0 {
            let some = || Some(self.end.pop_many(into, max)).filter(|popped| *popped > 0);
            popped = wait_for(&self.waiting, some)?;
        }
        self.waiting.moved(popped);
        Ok(())
    }

    fn left_over(&mut self) -> Option<T> {
        self.end.pop()
    }

    fn miscounted(&self) -> u64 {
        self.end.miscounted
    }

    const RELEASES_BY_DROP: bool = false;
}

/// Waits for something to come out. What was pushed before the last producer left may have come after the last
/// look; and a buffer whose "empty" is relaxed may have to be asked more than once, but not for ever.
#[cold]
pub(super) fn wait_for<R>(waiting: &Waiting, mut look: impl FnMut() -> Option<R>) -> Result<R, GaveUp> {
    const LAST_LOOKS: usize = 100;
    let gave_up = match waiting.until(&mut look) {
        Err(GaveUp::Deserted) => GaveUp::Deserted,
        other => return other,
    };
    (0..LAST_LOOKS)
        .find_map(|_| {
            thread::yield_now();
            look()
        })
        .ok_or(gave_up)
}

/// The ends of a channel that waits itself. Whoever waits is released by the drop of the last end of the other
/// side.
pub(crate) struct ItsOwn<B: Blocking, E> {
    end: Counted<E>,
    channel: PhantomData<fn() -> B>,
}

impl<B: Blocking, E> ItsOwn<B, E> {
    fn new(end: E) -> ItsOwn<B, E> {
        ItsOwn { end: Counted::new(end), channel: PhantomData }
    }
}

impl<T: Copy + Send + 'static, B: Blocking> Sends<T> for ItsOwn<B, B::Producer<T>> {
    #[inline]
    fn send(&mut self, item: T) -> Result<(), GaveUp> {
        if B::send(&mut self.end.end, item) { Ok(()) } else { Err(GaveUp::Deserted) }
    }

    #[inline]
    fn send_all(&mut self, items: &mut VecDeque<T>) -> Result<(), GaveUp> {
        while let Some(item) = items.front() {
            self.send(*item)?;
            items.pop_front();
        }
        Ok(())
    }

    fn miscounted(&self) -> u64 {
        self.end.miscounted
    }
}

impl<T: Send + 'static, B: Blocking> Receives<T> for ItsOwn<B, B::Consumer<T>> {
    #[inline]
    fn receive(&mut self) -> Result<T, GaveUp> {
        B::receive(&mut self.end.end).ok_or(GaveUp::Deserted)
    }

    /// Waits for the first, and takes what else is there.
    #[inline]
    fn receive_some(&mut self, into: &mut Vec<T>, max: usize) -> Result<(), GaveUp> {
        into.push(self.receive()?);
        self.end.pop_many(into, max - 1);
        Ok(())
    }

    fn left_over(&mut self) -> Option<T> {
        self.end.pop()
    }

    fn miscounted(&self) -> u64 {
        self.end.miscounted
    }

    const RELEASES_BY_DROP: bool = true;
}

/// All ends of an open queue, with those who use them.
pub(crate) struct Staffed<S, R> {
    pub(crate) senders: Vec<S>,
    pub(crate) receivers: Vec<R>,
    pub(crate) crew: Arc<Crew>,
}

/// What [`polled`] opens.
type PolledEnds<B, T> = Staffed<Polled<<B as Buffer>::Producer<T>>, Polled<<B as Buffer>::Consumer<T>>>;

/// The ends of a buffer, used by workers that wait as `crew` does.
pub(crate) fn polled<B: Buffer, T: Send + 'static>(
    shape: Shape,
    crew: Arc<Crew>,
) -> Result<PolledEnds<B, T>, ShapeError> {
    let ends = B::open::<T>(shape)?;
    Ok(Staffed {
        senders: ends.producers.into_iter().map(|end| Polled::new(end, crew.producer())).collect(),
        receivers: ends.consumers.into_iter().map(|end| Polled::new(end, crew.consumer())).collect(),
        crew,
    })
}

/// What [`its_own`] opens.
type OwnEnds<B, T> = Staffed<ItsOwn<B, <B as Buffer>::Producer<T>>, ItsOwn<B, <B as Buffer>::Consumer<T>>>;

/// The ends of a channel that waits itself.
pub(crate) fn its_own<B: Blocking, T: Send + 'static>(
    shape: Shape,
    crew: Arc<Crew>,
) -> Result<OwnEnds<B, T>, ShapeError> {
    let ends = B::open::<T>(shape)?;
    Ok(Staffed {
        senders: ends.producers.into_iter().map(ItsOwn::new).collect(),
        receivers: ends.consumers.into_iter().map(ItsOwn::new).collect(),
        crew,
    })
}
