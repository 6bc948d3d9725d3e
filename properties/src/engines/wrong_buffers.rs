//! Buffers that are wrong on purpose, against the engine with threads: each kind of bug must be seen.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stanchion_queues::{Buffer, BufferContract, Ends, Full, Opened, Pop, Push, Shape};

use crate::engines::budget::Budget;
use crate::engines::threads;
use crate::invariant::Invariant;
use crate::rogues::forged::twin;
use crate::rogues::memory::{Bug, SeededRing, with_bug};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Right,
    Drops,
    Doubles,
    Swaps,
    EmptyTooEarly,
    HoldsOneMore,
    HoldsOneLess,
    BatchLosesWhereItWraps,
    BatchDoublesWhereItWraps,
    BatchBeyondCapacityLoses,
    RestOfBatchIsReversed,
    AppendOverwrites,
    AppendClears,
    LosesAfterManyItems,
}

thread_local! {
    /// What is wrong with the lists that this thread opens.
    static KIND: Cell<Kind> = const { Cell::new(Kind::Right) };
}

/// A bug happens in one of so many operations.
const NOW_AND_THEN: usize = 50;

/// A list behind a lock, with the bug that [`KIND`] says.
struct Wrong;

struct List<T> {
    items: VecDeque<T>,
    /// Pushed so far; modulo the capacity it is where a ring would be.
    pushed: usize,
    popped: usize,
    capacity: usize,
    kind: Kind,
}

struct End<T>(Arc<Mutex<List<T>>>);

impl Buffer for Wrong {
    const CONTRACT: BufferContract = BufferContract::FIFO;
    type Producer<T: Send + 'static> = End<T>;
    type Consumer<T: Send + 'static> = End<T>;

    fn open<T: Send + 'static>(shape: Shape) -> Opened<End<T>, End<T>> {
        shape.admitted_by(&Self::CONTRACT)?;
        let (items, capacity, kind) = (VecDeque::new(), shape.capacity, KIND.get());
        let list = List { items, pushed: 0, popped: 0, capacity, kind };
        let list = Arc::new(Mutex::new(list));
        let ends = |count| (0..count).map(|_| End(Arc::clone(&list))).collect();
        Ok(Ends { producers: ends(shape.producers), consumers: ends(shape.consumers) })
    }
}

impl<T: 'static> End<T> {
    fn lock(&self) -> MutexGuard<'_, List<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: 'static> List<T> {
    fn push(&mut self, item: T) -> Result<(), Full<T>> {
        let room = match self.kind {
            Kind::HoldsOneMore => self.capacity + 1,
            Kind::HoldsOneLess => (self.capacity - 1).max(1),
            _ => self.capacity,
        };
        if self.items.len() >= room {
            return Err(Full(item));
        }
        self.pushed += 1;
        let drops = match self.kind {
            Kind::Drops => self.pushed.is_multiple_of(NOW_AND_THEN),
            Kind::LosesAfterManyItems => self.pushed > 20_000 && self.pushed.is_multiple_of(NOW_AND_THEN),
            _ => false,
        };
        if !drops {
            self.items.push_back(item);
        }
        Ok(())
    }

    fn pop(&mut self) -> Option<T> {
        self.popped += 1;
        let now = self.popped.is_multiple_of(NOW_AND_THEN);
        if now && self.kind == Kind::EmptyTooEarly {
            return None;
        }
        if now && self.kind == Kind::Swaps && self.items.len() > 1 {
            self.items.swap(0, 1);
        }
        let item = self.items.pop_front()?;
        if now && self.kind == Kind::Doubles {
            self.items.extend(twin(&item));
        }
        Some(item)
    }
}

impl<T: Send + 'static> Push<T> for End<T> {
    fn push(&mut self, item: T) -> Result<(), Full<T>> {
        self.lock().push(item)
    }

    fn push_many(&mut self, items: &mut VecDeque<T>) -> usize {
        let mut list = self.lock();
        let mut pushed = 0;
        while let Some(item) = items.pop_front() {
            // The place of a ring's slots where a batch goes on at the other end.
            let at_the_end = pushed > 0 && (list.pushed + 1).is_multiple_of(list.capacity);
            match list.push(item) {
                Ok(()) => pushed += 1,
                Err(Full(item)) => {
                    items.push_front(item);
                    break;
                }
            }
            if at_the_end && list.capacity > 1 {
                if list.kind == Kind::BatchLosesWhereItWraps {
                    list.items.pop_back();
                }
                if list.kind == Kind::BatchDoublesWhereItWraps {
                    let copy = list.items.back().and_then(twin);
                    list.items.extend(copy);
                }
            }
        }
        if list.kind == Kind::BatchBeyondCapacityLoses
            && pushed == list.capacity
            && items.len() > list.capacity
        {
            items.pop_front();
        }
        if list.kind == Kind::RestOfBatchIsReversed && items.len() > 1 {
            items.make_contiguous().reverse();
        }
        pushed
    }
}

impl<T: Send + 'static> Pop<T> for End<T> {
    fn pop(&mut self) -> Option<T> {
        self.lock().pop()
    }

    fn pop_many(&mut self, into: &mut Vec<T>, max: usize) -> usize {
        let mut list = self.lock();
        if list.kind == Kind::AppendClears && !list.items.is_empty() {
            into.clear();
        }
        let mut popped = 0;
        while popped < max
            && let Some(item) = list.pop()
        {
            match into.get_mut(popped) {
                Some(place) if list.kind == Kind::AppendOverwrites => *place = item,
                _ => into.push(item),
            }
            popped += 1;
        }
        popped
    }
}

/// The round in which the engine first sees a promise broken, from 1, and what else it sees.
fn first_seen<B: Buffer>(expected: Invariant) -> Result<u64, Vec<Invariant>> {
    let findings = threads::check::<B>(&Budget::quick());
    let broken = || findings.iter().filter(|finding| finding.verdict.is_broken());
    let found = broken().find(|finding| finding.invariant == expected);
    found
        .and_then(|finding| finding.failure.as_ref())
        .map(|failure| failure.case + 1)
        .ok_or_else(|| broken().map(|finding| finding.invariant).collect())
}

fn is_seen<B: Buffer>(what: &str, expected: Invariant) {
    match first_seen::<B>(expected) {
        Ok(round) => println!("{what:<48} {expected} in round {round}"),
        Err(others) => panic!("{what}: {expected} was not seen to be broken, only {others:?}"),
    }
}

fn are_seen(table: &[(Kind, Invariant)]) {
    for &(kind, expected) in table {
        KIND.set(kind);
        is_seen::<Wrong>(&format!("{kind:?}"), expected);
    }
}

#[test]
fn what_is_right_is_not_blamed() {
    KIND.set(Kind::Right);
    let report = threads::observe::<Wrong>(&Budget::quick());
    println!("{} rounds, {} operations, {}", report.rounds, report.operations, report.clock);
    for finding in report.findings {
        assert!(!finding.verdict.is_broken(), "{finding:?}");
    }
}

#[test]
fn each_kind_of_bug_is_seen() {
    are_seen(&[
        (Kind::Drops, Invariant::Al1),
        (Kind::Doubles, Invariant::Al7),
        (Kind::Swaps, Invariant::Or2),
        (Kind::Swaps, Invariant::Or1),
        (Kind::EmptyTooEarly, Invariant::Or6),
        (Kind::HoldsOneMore, Invariant::Cb1),
        (Kind::HoldsOneLess, Invariant::Cb2),
    ]);
}

#[test]
fn what_is_wrong_with_batches_only_is_seen() {
    are_seen(&[
        (Kind::BatchLosesWhereItWraps, Invariant::Al1),
        (Kind::BatchDoublesWhereItWraps, Invariant::Al7),
        (Kind::BatchBeyondCapacityLoses, Invariant::Cb3),
        (Kind::RestOfBatchIsReversed, Invariant::Cb3),
        (Kind::AppendOverwrites, Invariant::Al1),
        (Kind::AppendClears, Invariant::Al1),
    ]);
}

#[test]
fn what_goes_wrong_after_thousands_of_items_is_seen() {
    are_seen(&[(Kind::LosesAfterManyItems, Invariant::Al1)]);
}

/// Bugs that need two threads to meet; the ring gives up its time slice where they do.
#[test]
fn races_are_seen() {
    for bug in [Bug::M03, Bug::M04, Bug::M19, Bug::LostUpdate] {
        let expected = bug.expected().expect("it breaks something");
        with_bug(bug, || is_seen::<SeededRing<0>>(bug.what(), expected));
    }
}
