//! Queues that do not wait.

use std::collections::VecDeque;
use std::sync::Arc;

use stanchion_queues::buffers::opening::{ends, room_for};
use stanchion_queues::{Answer, Buffer, BufferContract, Ends, Full, Opened, Pop, Push, Shape, Sides};

use sync_wrapper::SyncWrapper;

use super::End;

/// `rtrb`: a ring for one producer and one consumer, each of which keeps a copy of the other one's cursor.
/// Batches go through its chunks.
#[derive(Clone, Copy, Debug)]
pub struct Rtrb;

impl Buffer for Rtrb {
    const CONTRACT: BufferContract = BufferContract {
        producers: Sides::One,
        consumers: Sides::One,
        progress: "wait-free",
        ..BufferContract::FIFO
    };
    type Producer<T: Send + 'static> = End<rtrb::Producer<T>>;
    type Consumer<T: Send + 'static> = End<rtrb::Consumer<T>>;

    fn open<T: Send + 'static>(shape: Shape) -> Opened<Self::Producer<T>, Self::Consumer<T>> {
        shape.admitted_by(&Self::CONTRACT)?;
        room_for::<T>(shape.capacity)?;
        let (producer, consumer) = rtrb::RingBuffer::new(shape.capacity);
        Ok(Ends { producers: vec![End(producer)], consumers: vec![End(consumer)] })
    }
}

impl<T: Send> Push<T> for End<rtrb::Producer<T>> {
    #[inline]
    fn push(&mut self, item: T) -> Result<(), Full<T>> {
        self.0.push(item).map_err(|rtrb::PushError::Full(item)| Full(item))
    }

    #[inline]
    fn push_many(&mut self, items: &mut VecDeque<T>) -> usize {
        // The cursor's copy tells as a rule; asking for the cursor itself costs a cache line.
        let mut room = self.0.cached_slots();
        if room < items.len() {
            room = self.0.slots();
        }
        let Ok(chunk) = self.0.write_chunk_uninit(room.min(items.len())) else { return 0 };
        let fitting = chunk.len();
        chunk.fill_from_iter(items.drain(..fitting))
    }
}

impl<T: Send> Pop<T> for End<rtrb::Consumer<T>> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        self.0.pop().ok()
    }

    #[inline]
    fn pop_many(&mut self, into: &mut Vec<T>, max: usize) -> usize {
        let mut there = self.0.cached_slots();
        if there < max {
            there = self.0.slots();
        }
        let Ok(chunk) = self.0.read_chunk(there.min(max)) else { return 0 };
        let come = chunk.len();
        into.extend(chunk);
        come
    }
}

/// `concurrent_queue::ConcurrentQueue::bounded`.
///
/// With a capacity of 1 it is another queue (`src/single.rs`): a push that meets an unfinished pop answers full,
/// and the pop's place has been seen empty by then. With any other capacity both answers are checked behind a
/// fence, as in crossbeam (`src/bounded.rs`).
#[derive(Clone, Copy, Debug)]
pub struct ConcurrentQueue;

impl Buffer for ConcurrentQueue {
    const CONTRACT: BufferContract = BufferContract {
        full: Answer::Relaxed,
        progress: "not lock-free: an operation that is stopped half-way holds up those that come to its slot; \
                   with a capacity of 1, \"full\" may be untrue while a pop is unfinished",
        ..BufferContract::FIFO
    };
    type Producer<T: Send + 'static> = End<Arc<concurrent_queue::ConcurrentQueue<T>>>;
    type Consumer<T: Send + 'static> = End<Arc<concurrent_queue::ConcurrentQueue<T>>>;

    fn open<T: Send + 'static>(shape: Shape) -> Opened<Self::Producer<T>, Self::Consumer<T>> {
        shape.admitted_by(&Self::CONTRACT)?;
        room_for::<(usize, T)>(shape.capacity)?;
        let queue = Arc::new(concurrent_queue::ConcurrentQueue::bounded(shape.capacity));
        Ok(ends(shape, || End(Arc::clone(&queue)), || End(Arc::clone(&queue))))
    }
}

impl<T: Send> Push<T> for End<Arc<concurrent_queue::ConcurrentQueue<T>>> {
    #[inline]
    fn push(&mut self, item: T) -> Result<(), Full<T>> {
        self.0.push(item).map_err(|refused| Full(refused.into_inner()))
    }
}

impl<T: Send> Pop<T> for End<Arc<concurrent_queue::ConcurrentQueue<T>>> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        self.0.pop().ok()
    }
}

/// `thingbuf::ThingBuf`: a ring of slots that are made once and used again, so an item is an option in a slot.
///
/// A pop that finds its slot claimed by an unfinished push gives up after a while and answers empty, and a push
/// that finds an item of the last lap in its slot answers full though the pop of it has begun (`pop_ref` and
/// `push_ref` in `src/lib.rs`).
///
/// Version 0.1.6 breaks even that (CB-2, seen in nearly every run of the checks): a push that meets a slot which a pop
/// still holds skips it, and a skipped slot counts as taken until the pops have come round to it. So a ring of three
/// that holds two answers full, with no other call near. It claims what its documentation says, a bounded queue of so
/// many items, and the report shows what it breaks.
#[derive(Clone, Copy, Debug)]
pub struct ThingBuf;

impl Buffer for ThingBuf {
    const CONTRACT: BufferContract = BufferContract {
        full: Answer::Relaxed,
        empty: Answer::Relaxed,
        progress: "not lock-free: an operation that is stopped half-way holds up those that come to its slot",
        ..BufferContract::FIFO
    };
    type Producer<T: Send + 'static> = End<Arc<Slots<T>>>;
    type Consumer<T: Send + 'static> = End<Arc<Slots<T>>>;

    fn open<T: Send + 'static>(shape: Shape) -> Opened<Self::Producer<T>, Self::Consumer<T>> {
        shape.admitted_by(&Self::CONTRACT)?;
        room_for::<(usize, Option<T>)>(shape.capacity)?;
        let queue = Arc::new(thingbuf::ThingBuf::with_recycle(shape.capacity, Vacate));
        Ok(ends(shape, || End(Arc::clone(&queue)), || End(Arc::clone(&queue))))
    }
}

/// The ring of a [`ThingBuf`].
pub type Slots<T> = thingbuf::ThingBuf<Option<SyncWrapper<T>>, Vacate>;

/// How a slot is made and used again: vacant.
#[derive(Clone, Copy, Debug)]
pub struct Vacate;

impl<T> thingbuf::Recycle<Option<T>> for Vacate {
    fn new_element(&self) -> Option<T> {
        None
    }

    fn recycle(&self, slot: &mut Option<T>) {
        *slot = None;
    }
}

impl<T: Send> Push<T> for End<Arc<Slots<T>>> {
    #[inline]
    fn push(&mut self, item: T) -> Result<(), Full<T>> {
        match self.0.push_ref() {
            Ok(mut slot) => {
                *slot = Some(SyncWrapper::new(item));
                Ok(())
            }
            Err(_) => Err(Full(item)),
        }
    }
}

impl<T: Send> Pop<T> for End<Arc<Slots<T>>> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        self.0.pop_ref().and_then(|mut slot| slot.take()).map(SyncWrapper::into_inner)
    }
}

/// A `VecDeque` behind `parking_lot::Mutex`. A batch takes the lock once.
#[derive(Clone, Copy, Debug)]
pub struct ParkingLotDeque;

impl Buffer for ParkingLotDeque {
    const CONTRACT: BufferContract = BufferContract {
        progress: "blocking: one operation at a time, and a thread that is descheduled inside it holds up all",
        ..BufferContract::FIFO
    };
    type Producer<T: Send + 'static> = End<Arc<Locked<T>>>;
    type Consumer<T: Send + 'static> = End<Arc<Locked<T>>>;

    fn open<T: Send + 'static>(shape: Shape) -> Opened<Self::Producer<T>, Self::Consumer<T>> {
        shape.admitted_by(&Self::CONTRACT)?;
        room_for::<T>(shape.capacity)?;
        let items = parking_lot::Mutex::new(VecDeque::with_capacity(shape.capacity));
        let locked = Arc::new(Locked { items, capacity: shape.capacity });
        Ok(ends(shape, || End(Arc::clone(&locked)), || End(Arc::clone(&locked))))
    }
}

/// The deque of a [`ParkingLotDeque`].
#[derive(Debug)]
pub struct Locked<T> {
    items: parking_lot::Mutex<VecDeque<T>>,
    capacity: usize,
}

impl<T: Send> Push<T> for End<Arc<Locked<T>>> {
    #[inline]
    fn push(&mut self, item: T) -> Result<(), Full<T>> {
        let mut items = self.0.items.lock();
        if items.len() == self.0.capacity {
            return Err(Full(item));
        }
        items.push_back(item);
        Ok(())
    }

    fn push_many(&mut self, batch: &mut VecDeque<T>) -> usize {
        let mut items = self.0.items.lock();
        let fitting = batch.len().min(self.0.capacity - items.len());
        items.extend(batch.drain(..fitting));
        fitting
    }
}

impl<T: Send> Pop<T> for End<Arc<Locked<T>>> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        self.0.items.lock().pop_front()
    }

    fn pop_many(&mut self, into: &mut Vec<T>, max: usize) -> usize {
        let mut items = self.0.items.lock();
        let come = max.min(items.len());
        into.extend(items.drain(..come));
        come
    }
}
