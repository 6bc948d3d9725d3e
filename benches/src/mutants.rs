//! Buffers, and a broker, that are wrong on purpose, to show that the ledger can tell.

use std::any::Any;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};

use std::time::Duration;

use stanchion_queues::{
    Broker, Buffer, BufferContract, Contract, DeadLetter, Delivery, Depth, Ends, Error, Full, Message,
    MessageId, Opened, Pop, Push, Receipt, Sent, Session, Settled, Settlement, Shape, Time,
};

use crate::comparison::{SMOKE_ITEMS, SMOKE_MESSAGES};
use crate::workload::Item;

/// A locked deque that makes one mistake.
pub(crate) struct Wrong<M>(PhantomData<M>);

pub(crate) type Forgetful = Wrong<Forget>;
pub(crate) type Duplicating = Wrong<Repeat>;
pub(crate) type Reordering = Wrong<Overtake>;
pub(crate) type Torn = Wrong<Tear>;
pub(crate) type Endless = Wrong<Stick>;
pub(crate) type BatchForgetful = Wrong<ForgetLast>;
pub(crate) type BatchReordering = Wrong<Flip>;
pub(crate) type MoreSaidToBePopped = Wrong<Miscount<false, true>>;
pub(crate) type NoneSaidToBePopped = Wrong<Miscount<false, false>>;
pub(crate) type MoreSaidToBePushed = Wrong<Miscount<true, true>>;
pub(crate) type NoneSaidToBePushed = Wrong<Miscount<true, false>>;

/// Keeps and hands out items; `nth` counts the items kept.
pub(crate) trait Mistake: Send + 'static {
    /// What becomes of a batch on its way in.
    fn batch<T: 'static>(_items: &mut VecDeque<T>) {}

    fn keep<T: 'static>(items: &mut VecDeque<T>, item: T, _nth: u64) {
        items.push_back(item);
    }

    fn give<T: 'static>(items: &mut VecDeque<T>) -> Option<T> {
        items.pop_front()
    }

    /// What a call says that has put so many items in.
    fn say_pushed(moved: usize) -> usize {
        moved
    }

    /// What a call says that has taken so many items out.
    fn say_popped(moved: usize) -> usize {
        moved
    }
}

/// How often a mistake is made. Prime, so that it does not keep step with capacities and threads.
const NTH: u64 = 97;
/// The same of a broker.
const NTH_MESSAGE: u64 = 100;

// Counted from a fresh buffer, by no more than one trial moves: the smallest must meet every mistake, and more
// than once.
const _: () = assert!(10 * NTH < SMOKE_ITEMS && 4 * NTH_MESSAGE < SMOKE_MESSAGES);

/// Forgets an item.
pub(crate) struct Forget;

impl Mistake for Forget {
    fn keep<T: 'static>(items: &mut VecDeque<T>, item: T, nth: u64) {
        if !nth.is_multiple_of(NTH) {
            items.push_back(item);
        }
    }
}

/// Keeps an item twice.
pub(crate) struct Repeat;

impl Mistake for Repeat {
    fn keep<T: 'static>(items: &mut VecDeque<T>, item: T, nth: u64) {
        if nth.is_multiple_of(NTH) {
            items.extend(copy_of(&item));
        }
        items.push_back(item);
    }
}

/// Lets an item jump the queue.
pub(crate) struct Overtake;

impl Mistake for Overtake {
    fn keep<T: 'static>(items: &mut VecDeque<T>, item: T, nth: u64) {
        if nth.is_multiple_of(NTH) { items.push_front(item) } else { items.push_back(item) }
    }
}

/// Damages an item of 64 bytes.
pub(crate) struct Tear;

impl Mistake for Tear {
    fn keep<T: 'static>(items: &mut VecDeque<T>, mut item: T, nth: u64) {
        if nth.is_multiple_of(NTH)
            && let Some(item) = (&mut item as &mut dyn Any).downcast_mut::<Item<8>>()
        {
            item.damage();
        }
        items.push_back(item);
    }
}

/// Hands out its first item for ever.
pub(crate) struct Stick;

impl Mistake for Stick {
    fn give<T: 'static>(items: &mut VecDeque<T>) -> Option<T> {
        copy_of(items.front()?)
    }
}

/// Forgets the last item of a batch.
pub(crate) struct ForgetLast;

impl Mistake for ForgetLast {
    fn batch<T: 'static>(items: &mut VecDeque<T>) {
        items.pop_back();
    }
}

/// Turns a batch around.
pub(crate) struct Flip;

impl Mistake for Flip {
    fn batch<T: 'static>(items: &mut VecDeque<T>) {
        items.make_contiguous().reverse();
    }
}

/// Moves every item, and says one more than it moved, or none.
pub(crate) struct Miscount<const PUSHED: bool, const MORE: bool>;

impl<const PUSHED: bool, const MORE: bool> Miscount<PUSHED, MORE> {
    fn say(moved: usize) -> usize {
        if MORE { moved + 1 } else { 0 }
    }
}

impl<const PUSHED: bool, const MORE: bool> Mistake for Miscount<PUSHED, MORE> {
    fn say_pushed(moved: usize) -> usize {
        if PUSHED { Self::say(moved) } else { moved }
    }

    fn say_popped(moved: usize) -> usize {
        if PUSHED { moved } else { Self::say(moved) }
    }
}

/// The trait promises no more than that items can be moved, but what the driver moves are plain words.
fn copy_of<T: 'static>(item: &T) -> Option<T> {
    fn of<T: 'static, const WORDS: usize>(item: &T) -> Option<T> {
        let copy: Box<dyn Any> = Box::new(*(item as &dyn Any).downcast_ref::<Item<WORDS>>()?);
        copy.downcast().ok().map(|copy| *copy)
    }
    of::<T, 1>(item).or_else(|| of::<T, 8>(item)).or_else(|| of::<T, 32>(item))
}

pub(crate) struct End<T, M> {
    state: Arc<Mutex<(VecDeque<T>, u64)>>,
    capacity: usize,
    mistake: PhantomData<M>,
}

impl<T, M> Clone for End<T, M> {
    fn clone(&self) -> End<T, M> {
        End { state: Arc::clone(&self.state), capacity: self.capacity, mistake: PhantomData }
    }
}

impl<M: Mistake> Buffer for Wrong<M> {
    const CONTRACT: BufferContract = BufferContract::FIFO;
    type Producer<T: Send + 'static> = End<T, M>;
    type Consumer<T: Send + 'static> = End<T, M>;

    fn open<T: Send + 'static>(shape: Shape) -> Opened<End<T, M>, End<T, M>> {
        shape.admitted_by(&Self::CONTRACT)?;
        let state = Arc::new(Mutex::new((VecDeque::new(), 0)));
        let end = End { state, capacity: shape.capacity, mistake: PhantomData };
        Ok(Ends { producers: vec![end.clone(); shape.producers], consumers: vec![end; shape.consumers] })
    }
}

impl<T: Send + 'static, M: Mistake> Push<T> for End<T, M> {
    fn push(&mut self, item: T) -> Result<(), Full<T>> {
        let (items, nth) = &mut *self.state.lock().expect("no mistake panics");
        if items.len() >= self.capacity {
            return Err(Full(item));
        }
        *nth += 1;
        M::keep(items, item, *nth);
        Ok(())
    }

    /// All that fit, under one lock.
    fn push_many(&mut self, batch: &mut VecDeque<T>) -> usize {
        let (items, nth) = &mut *self.state.lock().expect("no mistake panics");
        let fitting = batch.len().min(self.capacity.saturating_sub(items.len()));
        let mut taken: VecDeque<T> = batch.drain(..fitting).collect();
        if fitting > 1 {
            M::batch(&mut taken);
        }
        for item in taken {
            *nth += 1;
            M::keep(items, item, *nth);
        }
        M::say_pushed(fitting)
    }
}

impl<T: Send + 'static, M: Mistake> Pop<T> for End<T, M> {
    fn pop(&mut self) -> Option<T> {
        M::give(&mut self.state.lock().expect("no mistake panics").0)
    }

    fn pop_many(&mut self, into: &mut Vec<T>, max: usize) -> usize {
        let items = &mut self.state.lock().expect("no mistake panics").0;
        let before = into.len();
        into.extend((0..max).map_while(|_| M::give(items)));
        M::say_popped(into.len() - before)
    }
}

/// What is wrong with a [`TestBroker`], of every [`NTH_MESSAGE`]th message or of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Nothing,
    Forgets,
    Repeats,
    Damages,
    IgnoresAcks,
}

/// A broker for one session that only sends, receives and acks.
#[derive(Clone, Debug)]
pub(crate) struct TestBroker {
    fault: Fault,
    ready: VecDeque<(MessageId, Message)>,
    sent: u64,
}

impl TestBroker {
    pub(crate) fn new(fault: Fault) -> TestBroker {
        TestBroker { fault, ready: VecDeque::new(), sent: 0 }
    }

    fn store(&mut self, mut message: Message) -> MessageId {
        self.sent += 1;
        let id = MessageId(self.sent);
        let wrong = if self.sent.is_multiple_of(NTH_MESSAGE) { self.fault } else { Fault::Nothing };
        if wrong == Fault::Damages {
            let mut body = message.body.to_vec();
            body[9] ^= 1;
            message.body = body.into();
        }
        if wrong != Fault::Forgets {
            self.ready.push_back((id, message.clone()));
        }
        if wrong == Fault::Repeats {
            self.ready.push_front((id, message));
        }
        id
    }
}

impl Broker for TestBroker {
    type Session = TestBroker;

    fn contract(&self) -> Contract {
        Contract::in_memory()
    }

    fn session(&self) -> Result<TestBroker, Error> {
        Ok(self.clone())
    }
}

impl Session for TestBroker {
    fn send(&mut self, messages: &[Message]) -> Vec<Sent> {
        messages.iter().map(|message| Sent::Confirmed(self.store(message.clone()))).collect()
    }

    fn receive(&mut self, max: usize, _: Duration) -> Result<Vec<Delivery>, Error> {
        let taken = self.ready.drain(..max.min(self.ready.len()));
        let delivery = |(id, message): (MessageId, Message)| Delivery {
            id,
            key: message.key,
            body: message.body,
            attempt: 1,
            receipt: Receipt(id.0.into()),
            deadline: Time::FAR_FUTURE,
        };
        Ok(taken.map(delivery).collect())
    }

    fn settle(&mut self, settlements: &[Settlement]) -> Vec<Settled> {
        let stale = self.fault == Fault::IgnoresAcks;
        settlements.iter().map(|_| if stale { Settled::Stale } else { Settled::Done }).collect()
    }

    fn extend(&mut self, _: Receipt, _: Duration) -> Settled {
        Settled::Stale
    }

    fn dead_letters(&mut self, _: usize) -> Result<Vec<DeadLetter>, Error> {
        Ok(Vec::new())
    }

    fn redrive(&mut self, _: usize) -> Result<usize, Error> {
        Ok(0)
    }

    fn depth(&mut self) -> Result<Depth, Error> {
        Ok(Depth { ready: self.ready.len() as u64, ..Depth::default() })
    }
}
