//! A buffer as somebody would write it who has read only the traits: a list behind a lock.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use stanchion_queues::{Answer, Buffer, BufferContract, Ends, Full, Opened, Order, Pop, Push, Shape};

/// What the harness should say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A contract is broken: it should be blamed.
    Bug,
    /// The contract says so truthfully: it must not be blamed.
    Correct,
    /// The contract does not say whether this is allowed.
    Unclear,
}

/// What is wrong or unusual, as a number because it is a parameter of the type.
pub(crate) const PLAIN: u8 = 0;
pub(crate) const LANES: u8 = 1;
pub(crate) const STACK: u8 = 2;
pub(crate) const UNBOUNDED: u8 = 3;
pub(crate) const TRY_LOCK: u8 = 4;
pub(crate) const RANDOM_EMPTY: u8 = 5;
pub(crate) const RANDOM_FULL: u8 = 6;
pub(crate) const PUSH_MANY_LOSES: u8 = 7;
pub(crate) const PUSH_MANY_MISCOUNTS: u8 = 8;
pub(crate) const POP_MANY_REVERSES: u8 = 9;
pub(crate) const POP_MANY_MISCOUNTS: u8 = 10;
pub(crate) const POP_MANY_TOO_MANY: u8 = 11;
pub(crate) const WRONG_ITEM_BACK: u8 = 12;
pub(crate) const FULL_THEN_EMPTY: u8 = 13;
pub(crate) const CAPACITY_ROUNDS_UP: u8 = 14;
pub(crate) const PRODUCER_TAKES_ALONG: u8 = 15;
pub(crate) const LEAKS: u8 = 16;
pub(crate) const CHECK_THEN_PUSH: u8 = 17;
pub(crate) const PEEK_THEN_POP: u8 = 18;
pub(crate) const POP_MANY_CLEARS: u8 = 19;
pub(crate) const FORGETS_AFTER_MANY: u8 = 20;
pub(crate) const SWAPS_WHEN_FULL: u8 = 21;
pub(crate) const ONE_PLACE_UNUSED: u8 = 22;
pub(crate) const POP_MANY_OF_NONE: u8 = 23;
pub(crate) const PREFETCHES: u8 = 24;
pub(crate) const ONE_PLACE_OVERWRITES: u8 = 25;
pub(crate) const THIRD_LAP_LOSES: u8 = 26;
pub(crate) const POP_MANY_SKIPS_AT_THE_END: u8 = 27;
pub(crate) const PUSH_MANY_LOSES_WHAT_FILLS: u8 = 28;
pub(crate) const LEAKS_BEYOND_THE_END: u8 = 29;
pub(crate) const EMPTY_AFTER_BATCH: u8 = 30;

pub(crate) struct Listed<const Q: u8>;

struct List<T> {
    items: VecDeque<(usize, T)>,
    pushed: u64,
    popped: u64,
    was_full: bool,
    was_batch: bool,
    random: u64,
}

impl<T> List<T> {
    fn chance(&mut self) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 20).is_multiple_of(5)
    }
}

pub(crate) struct End<T, const Q: u8> {
    list: Arc<Mutex<List<T>>>,
    capacity: usize,
    number: usize,
    turn: usize,
    pushes: bool,
    /// What it took in advance.
    next: Option<T>,
}

pub(crate) const fn kind(quirk: u8) -> Kind {
    match quirk {
        PLAIN | LANES | STACK | UNBOUNDED | TRY_LOCK => Kind::Correct,
        RANDOM_EMPTY | RANDOM_FULL => Kind::Unclear,
        _ => Kind::Bug,
    }
}

impl<const Q: u8> Buffer for Listed<Q> {
    const CONTRACT: BufferContract = BufferContract {
        order: match Q {
            LANES => Order::PerProducer,
            STACK => Order::Unordered,
            _ => Order::Fifo,
        },
        bounded: Q != UNBOUNDED,
        full: if Q == TRY_LOCK || Q == RANDOM_FULL { Answer::Relaxed } else { Answer::Exact },
        empty: if Q == TRY_LOCK || Q == RANDOM_EMPTY { Answer::Relaxed } else { Answer::Exact },
        ..BufferContract::FIFO
    };
    type Producer<T: Send + 'static> = End<T, Q>;
    type Consumer<T: Send + 'static> = End<T, Q>;

    fn open<T: Send + 'static>(shape: Shape) -> Opened<End<T, Q>, End<T, Q>> {
        shape.admitted_by(&Self::CONTRACT)?;
        let list = List {
            items: VecDeque::new(),
            pushed: 0,
            popped: 0,
            was_full: false,
            was_batch: false,
            random: 88_172_645_463_325_252,
        };
        let list = Arc::new(Mutex::new(list));
        let capacity = match Q {
            CAPACITY_ROUNDS_UP => shape.capacity.next_power_of_two(),
            ONE_PLACE_UNUSED => (shape.capacity - 1).max(1),
            _ => shape.capacity,
        };
        let end =
            |number, pushes| End { list: Arc::clone(&list), capacity, number, turn: 0, pushes, next: None };
        Ok(Ends {
            producers: (0..shape.producers).map(|number| end(number, true)).collect(),
            consumers: (0..shape.consumers).map(|number| end(number, false)).collect(),
        })
    }
}

impl<T, const Q: u8> End<T, Q> {
    fn lock(&self) -> Option<MutexGuard<'_, List<T>>> {
        if Q == TRY_LOCK {
            return match self.list.try_lock() {
                Ok(list) => Some(list),
                Err(TryLockError::WouldBlock) => None,
                Err(TryLockError::Poisoned(list)) => Some(list.into_inner()),
            };
        }
        Some(self.list.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T: Send, const Q: u8> Push<T> for End<T, Q> {
    fn push(&mut self, item: T) -> Result<(), Full<T>> {
        let number = self.number;
        if Q == CHECK_THEN_PUSH {
            let Some(list) = self.lock() else { return Err(Full(item)) };
            if list.items.len() >= self.capacity {
                return Err(Full(item));
            }
            drop(list);
            std::thread::yield_now();
            if let Some(mut list) = self.lock() {
                list.items.push_back((number, item));
            }
            return Ok(());
        }
        let capacity = self.capacity;
        let Some(mut list) = self.lock() else { return Err(Full(item)) };
        if Q == RANDOM_FULL && list.chance() {
            return Err(Full(item));
        }
        if Q != UNBOUNDED && list.items.len() >= capacity {
            list.was_full = true;
            if Q == ONE_PLACE_OVERWRITES && capacity == 1 {
                list.items[0] = (number, item);
                return Ok(());
            }
            if Q == WRONG_ITEM_BACK {
                list.items.push_back((number, item));
                return Err(Full(list.items.pop_front().expect("it is full").1));
            }
            return Err(Full(item));
        }
        list.pushed += 1;
        if Q == FORGETS_AFTER_MANY && list.pushed > 5_000 && list.pushed % 64 == 0 {
            return Ok(());
        }
        if Q == THIRD_LAP_LOSES && list.pushed == 3 * capacity as u64 + 1 {
            return Ok(());
        }
        list.items.push_back((number, item));
        let len = list.items.len();
        if Q == SWAPS_WHEN_FULL && len == capacity && len > 1 {
            list.items.swap(len - 1, len - 2);
        }
        Ok(())
    }

    fn push_many(&mut self, items: &mut VecDeque<T>) -> usize {
        let mut pushed = 0;
        let several = items.len() > 1;
        while let Some(item) = items.pop_front() {
            match self.push(item) {
                Ok(()) => pushed += 1,
                Err(Full(item)) => {
                    if Q != PUSH_MANY_LOSES {
                        items.push_front(item);
                    }
                    if Q == PUSH_MANY_MISCOUNTS {
                        pushed += 1;
                    }
                    break;
                }
            }
        }
        if Q == PUSH_MANY_LOSES_WHAT_FILLS
            && several
            && pushed > 1
            && let Some(mut list) = self.lock()
            && list.items.len() == self.capacity
        {
            list.items.pop_back();
        }
        pushed
    }
}

impl<T: Send, const Q: u8> Pop<T> for End<T, Q> {
    fn pop(&mut self) -> Option<T> {
        if Q == PEEK_THEN_POP {
            // Looks whether there is something, then takes the one behind if somebody was faster.
            let before = self.lock()?.items.len();
            std::thread::yield_now();
            let mut list = self.lock()?;
            let at = usize::from(list.items.len() < before && list.items.len() > 1);
            return list.items.remove(at).map(|(_, item)| item);
        }
        if Q == PREFETCHES {
            let ready = self.next.take();
            let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
            let first = ready.or_else(|| list.items.pop_front().map(|(_, item)| item))?;
            self.next = list.items.pop_front().map(|(_, item)| item);
            return Some(first);
        }
        let turn = self.turn;
        self.turn += 1;
        let mut list = self.lock()?;
        if Q == EMPTY_AFTER_BATCH && std::mem::take(&mut list.was_batch) {
            return None;
        }
        if Q == RANDOM_EMPTY && list.chance() {
            return None;
        }
        if Q == FULL_THEN_EMPTY && std::mem::take(&mut list.was_full) {
            return None;
        }
        let at = match Q {
            STACK => list.items.len().checked_sub(1)?,
            LANES => {
                let lane = (0..3).map(|next| (turn + next) % 3);
                let mut first =
                    lane.filter_map(|lane| list.items.iter().position(|(number, _)| number % 3 == lane));
                first.next()?
            }
            _ => 0,
        };
        let item = list.items.remove(at).map(|(_, item)| item);
        list.popped += u64::from(item.is_some());
        item
    }

    fn pop_many(&mut self, into: &mut Vec<T>, max: usize) -> usize {
        if Q == POP_MANY_CLEARS {
            into.clear();
        }
        let start = into.len();
        let max = match Q {
            POP_MANY_TOO_MANY if max > 2 => max + 1,
            POP_MANY_OF_NONE => max.max(1),
            _ => max,
        };
        while into.len() - start < max {
            if Q == POP_MANY_SKIPS_AT_THE_END
                && into.len() > start
                && let Some(mut list) = self.lock()
                && list.popped % self.capacity as u64 == 0
            {
                list.items.pop_front();
            }
            match self.pop() {
                Some(item) => into.push(item),
                None => break,
            }
        }
        if Q == POP_MANY_REVERSES && into.len() - start > 2 {
            into[start..].reverse();
        }
        let popped = into.len() - start;
        if popped > 1
            && let Some(mut list) = self.lock()
        {
            list.was_batch = true;
        }
        if Q == POP_MANY_MISCOUNTS && popped < max { max } else { popped }
    }
}

impl<T, const Q: u8> Drop for End<T, Q> {
    fn drop(&mut self) {
        let Some(mut list) = self.lock() else { return };
        if Q == PRODUCER_TAKES_ALONG && self.pushes {
            let number = self.number;
            list.items.retain(|(owner, _)| *owner != number);
        }
        if Q == LEAKS_BEYOND_THE_END
            && Arc::strong_count(&self.list) == 1
            && (list.popped % self.capacity as u64) as usize + list.items.len() > self.capacity
        {
            std::mem::forget(list.items.pop_back());
        }
        if Q == LEAKS && Arc::strong_count(&self.list) == 1 {
            list.items.drain(..).for_each(std::mem::forget);
        }
    }
}
