//! A bounded ring behind a lock, right or with one seeded bug. Where a bug needs a race, the ring gives up its
//! lock and its time slice in the middle of an operation, so that the race is not a matter of luck.

use std::cell::Cell;
use std::collections::VecDeque;
use std::mem::{self, ManuallyDrop};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use stanchion_queues::{Answer, Buffer, BufferContract, Ends, Full, Opened, Order, Pop, Push, Shape};

use crate::engines::budget::Budget;
use crate::engines::watchdog::watch;
use crate::engines::{sequential_buffer, threads};
use crate::finding::Finding;
use crate::invariant::Invariant;

use super::forged::{torn, twin};
use super::nodes::{NodeQueue, RECLAIMED, TAGGED, UNTAGGED};
use super::{RogueResult, Showed};

/// What is wrong with the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Nothing.
    None,
    /// Nothing, but slots are claimed before they are filled, and the contract says that "empty" may be false
    /// meanwhile.
    HonestlyRelaxed,
    /// A slot is published when half of the item is in it.
    M03,
    /// A slot is published before the item is in it, and a pop that finds nothing there passes over it.
    PublishedEarly,
    /// A slot is given free before its item is moved out.
    M04,
    /// A node that was freed and used again is taken for the one it was. The zoo says that this reorders; items move
    /// here and are not copied, so the nodes between the old place and the new are lost first.
    M09,
    /// A node is given free while the pop that took it still has to move its item out. That is no read of freed memory
    /// here, where no code is unsafe: another item is in the node by then, or none.
    M10,
    /// The same nodes, told apart by how often they were used: right.
    TaggedNodes,
    /// What is inside at the end is dropped by two who both think it theirs.
    M11,
    /// A batch pop takes the same item twice and forgets another.
    M12,
    /// A batch pop forgets one of its items.
    BatchForgets,
    /// A batch pop forgets what comes after its sixteenth item.
    LongBatch,
    /// Once the tail has passed the end of the ring, full looks like room.
    M13,
    /// Positions are taken modulo a capacity that does not divide the counters' range.
    M15,
    /// The length comes from two loads at different times, and underflows to "full".
    M16,
    /// "Empty" while a later slot is complete and an earlier one only claimed, though the contract says that
    /// "empty" is true.
    M19,
    /// A push claims a slot and panics before it has filled it. None of the caller's code runs in there, so the
    /// panic is the queue's own; what comes later waits behind the slot.
    M20,
    /// A batch pop that finds fewer items than it was asked for gives up, and drops those that it has. (No call here is
    /// awaited, so none is cancelled half way; it gives up by itself.)
    M21,
    /// Two producers that find the same free slot both write to it.
    LostUpdate,
    /// Every fifth pop takes the second item first.
    Swap,
    /// The same, where only the order of each producer is promised.
    ProducerSwap,
    /// Full one item early.
    EarlyFull,
    /// Full one item late.
    LateFull,
    /// Every fifth pop says "empty".
    EarlyEmpty,
    /// A pop keeps its place until it returns, though others find the ring empty meanwhile.
    KeepsPlace,
    /// A batch push keeps the first item that it refuses and lets it in later.
    KeepsRefused,
    /// What is inside when the ends are dropped is forgotten.
    Leak,
    /// A push panics now and then.
    Panic,
    /// A pop that finds nothing waits for ever.
    Waits,
}

impl Bug {
    /// All of them, the right ones first.
    pub const ALL: [Bug; 29] = [
        Bug::None,
        Bug::HonestlyRelaxed,
        Bug::TaggedNodes,
        Bug::M03,
        Bug::PublishedEarly,
        Bug::M04,
        Bug::M09,
        Bug::M10,
        Bug::M11,
        Bug::M12,
        Bug::BatchForgets,
        Bug::LongBatch,
        Bug::M13,
        Bug::M15,
        Bug::M16,
        Bug::M19,
        Bug::M20,
        Bug::M21,
        Bug::LostUpdate,
        Bug::Swap,
        Bug::ProducerSwap,
        Bug::EarlyFull,
        Bug::LateFull,
        Bug::EarlyEmpty,
        Bug::KeepsPlace,
        Bug::KeepsRefused,
        Bug::Leak,
        Bug::Panic,
        Bug::Waits,
    ];

    /// Its name in the zoo, or one of ours.
    pub const fn id(self) -> &'static str {
        match self {
            Bug::None => "none",
            Bug::HonestlyRelaxed => "none (relaxed)",
            Bug::M03 => "M03",
            Bug::PublishedEarly => "M-published-early",
            Bug::M04 => "M04",
            Bug::M09 => "M09",
            Bug::M10 => "M10",
            Bug::TaggedNodes => "none (nodes)",
            Bug::M11 => "M11",
            Bug::M12 => "M12",
            Bug::BatchForgets => "M-batch-forgets",
            Bug::LongBatch => "M-long-batch",
            Bug::M13 => "M13",
            Bug::M15 => "M15",
            Bug::M16 => "M16",
            Bug::M19 => "M19",
            Bug::M20 => "M20",
            Bug::M21 => "M21",
            Bug::LostUpdate => "M-lost-update",
            Bug::Swap => "M-swap",
            Bug::ProducerSwap => "M-producer-swap",
            Bug::EarlyFull => "M-early-full",
            Bug::LateFull => "M-late-full",
            Bug::EarlyEmpty => "M-early-empty",
            Bug::KeepsPlace => "M-keeps-place",
            Bug::KeepsRefused => "M-keeps-refused",
            Bug::Leak => "M-leak",
            Bug::Panic => "M-panic",
            Bug::Waits => "M-waits",
        }
    }

    /// What is wrong.
    pub const fn what(self) -> &'static str {
        match self {
            Bug::None => "nothing",
            Bug::HonestlyRelaxed => "nothing: \"empty\" may be false during a push, and the contract says so",
            Bug::M03 => "a slot is published when half of the item is in it",
            Bug::PublishedEarly => "a slot is published before the item is in it, and then passed over",
            Bug::M04 => "a slot is given free before the item is moved out",
            Bug::M09 => "a node that was freed and used again passes for the one it was (ABA)",
            Bug::M10 => "a node is given free and used again while a pop still reads it",
            Bug::TaggedNodes => "nothing: nodes are used again under another tag",
            Bug::M11 => "what is inside at the end is dropped twice",
            Bug::M12 => "a batch pop takes an item twice and forgets another",
            Bug::BatchForgets => "a batch pop forgets an item",
            Bug::LongBatch => "a batch pop forgets what comes after its sixteenth item",
            Bug::M13 => "full looks like room once the tail has wrapped",
            Bug::M15 => "a capacity that is no power of two breaks when the counters overflow",
            Bug::M16 => "the length is read in two steps and underflows to \"full\"",
            Bug::M19 => "\"empty\" while an earlier slot is claimed and a later one is complete",
            Bug::M20 => "a push panics between its claim and its publication, and the queue jams",
            Bug::M21 => "a batch pop that gives up half way drops what it has",
            Bug::LostUpdate => "two producers write to the same slot",
            Bug::Swap => "neighbours are swapped",
            Bug::ProducerSwap => "neighbours of one producer are swapped",
            Bug::EarlyFull => "full one item early",
            Bug::LateFull => "full one item late",
            Bug::EarlyEmpty => "\"empty\" now and then without being so",
            Bug::KeepsPlace => "\"empty\" to one and \"full\" to another while a pop is on its way",
            Bug::KeepsRefused => "a batch push keeps an item that it refused",
            Bug::Leak => "what is inside at the end is never dropped",
            Bug::Panic => "a push panics now and then",
            Bug::Waits => "a pop that finds nothing waits for ever",
        }
    }

    /// The promise that it breaks; `None`: it breaks none.
    pub const fn expected(self) -> Option<Invariant> {
        Some(match self {
            Bug::None | Bug::HonestlyRelaxed | Bug::TaggedNodes => return None,
            Bug::M03 => Invariant::Al5,
            Bug::M12 => Invariant::Al7,
            Bug::PublishedEarly
            | Bug::M04
            | Bug::M09
            | Bug::M10
            | Bug::M21
            | Bug::BatchForgets
            | Bug::LongBatch
            | Bug::LostUpdate => Invariant::Al1,
            Bug::M13 | Bug::LateFull => Invariant::Cb1,
            Bug::M15 => Invariant::Me4,
            Bug::M16 | Bug::EarlyFull => Invariant::Cb2,
            Bug::M19 | Bug::EarlyEmpty => Invariant::Or6,
            Bug::Swap => Invariant::Or1,
            Bug::ProducerSwap => Invariant::Or2,
            Bug::KeepsPlace => Invariant::Me1,
            Bug::KeepsRefused => Invariant::Cb3,
            Bug::M11 | Bug::Leak => Invariant::Me3,
            Bug::M20 | Bug::Panic | Bug::Waits => Invariant::Li1,
        })
    }
}

thread_local! {
    /// What is wrong with the rings that this thread opens. A type per bug would say the same, and be compiled
    /// as often as there are bugs.
    static BUG: Cell<Bug> = const { Cell::new(Bug::None) };
}

/// A ring with the bug that [`with_bug`] says, and the promise that the bug is measured against.
#[derive(Clone, Copy, Debug)]
pub struct SeededRing<const PROMISE: u8>;

/// Exact answers, FIFO.
const EXACT: u8 = 0;
/// Exact answers, order per producer.
const PER_PRODUCER: u8 = 1;
/// FIFO, and "empty" may be false.
const RELAXED: u8 = 2;

/// Runs `body` with rings that have this bug when they are opened on this thread.
pub fn with_bug<R>(bug: Bug, body: impl FnOnce() -> R) -> R {
    struct Restore(Bug);
    impl Drop for Restore {
        fn drop(&mut self) {
            BUG.set(self.0);
        }
    }
    let _restore = Restore(BUG.replace(bug));
    body()
}

impl<const PROMISE: u8> Buffer for SeededRing<PROMISE> {
    const CONTRACT: BufferContract = BufferContract {
        order: if PROMISE == PER_PRODUCER { Order::PerProducer } else { Order::Fifo },
        empty: if PROMISE == RELAXED { Answer::Relaxed } else { Answer::Exact },
        counters: true,
        progress: "one lock",
        ..BufferContract::FIFO
    };
    type Producer<T: Send + 'static> = End<T>;
    type Consumer<T: Send + 'static> = End<T>;

    fn open<T: Send + 'static>(shape: Shape) -> Opened<End<T>, End<T>> {
        shape.admitted_by(&Self::CONTRACT)?;
        let slots = (0..shape.capacity + 1).map(|_| None).collect();
        let ring = Ring {
            slots,
            capacity: shape.capacity,
            start: shape.start,
            head: shape.start,
            tail: shape.start,
            calls: 0,
            leaving: 0,
            kept: None,
            last: None,
            bug: BUG.get(),
        };
        let ring = Arc::new(Mutex::new(ring));
        let ends = |count| (0..count).map(|_| End { ring: Arc::clone(&ring) }).collect();
        Ok(Ends { producers: ends(shape.producers), consumers: ends(shape.consumers) })
    }
}

#[derive(Debug)]
struct Ring<T: 'static> {
    /// One more than the capacity, for the bug that uses it.
    slots: Vec<Option<T>>,
    capacity: usize,
    start: usize,
    /// Counts pops, from `start`, and wraps.
    head: usize,
    /// Counts pushes, from `start`, and wraps.
    tail: usize,
    calls: usize,
    /// Pops that have their item and not returned.
    leaving: usize,
    kept: Option<T>,
    /// A second one of the item that was pushed last, which is nobody's to drop.
    last: Option<ManuallyDrop<T>>,
    bug: Bug,
}

impl<T: 'static> Ring<T> {
    fn slots_used(&self) -> usize {
        self.capacity + usize::from(self.bug == Bug::LateFull)
    }

    fn slot(&mut self, counter: usize) -> &mut Option<T> {
        let position = if self.bug == Bug::M15 { counter } else { counter.wrapping_sub(self.start) };
        let at = position % self.slots_used();
        &mut self.slots[at]
    }

    fn len(&self) -> usize {
        self.tail.wrapping_sub(self.head)
    }

    fn is_full(&self) -> bool {
        match self.bug {
            Bug::EarlyFull => self.len() >= self.capacity.saturating_sub(1).max(1),
            Bug::M13 => {
                let head = self.head.wrapping_sub(self.start) % self.capacity;
                let tail = self.tail.wrapping_sub(self.start) % self.capacity;
                // Head and tail at the same slot means full or empty; this takes it for empty.
                self.len() > 0 && head == 0 && tail == 0
            }
            _ => self.len() + self.leaving >= self.slots_used(),
        }
    }

    fn put(&mut self, item: T) {
        let tail = self.tail;
        *self.slot(tail) = Some(item);
        self.tail = tail.wrapping_add(1);
    }

    fn take(&mut self) -> Option<T> {
        if self.len() == 0 {
            return None;
        }
        let head = self.head;
        if matches!(self.bug, Bug::M19 | Bug::M20 | Bug::HonestlyRelaxed) && self.slot(head).is_none() {
            return None;
        }
        self.calls += 1;
        if self.calls.is_multiple_of(5) {
            match self.bug {
                Bug::EarlyEmpty => return None,
                Bug::Swap | Bug::ProducerSwap if self.len() > 1 => {
                    let first = self.slot(head).take();
                    let second = mem::replace(self.slot(head.wrapping_add(1)), first);
                    *self.slot(head) = second;
                }
                _ => {}
            }
        }
        self.head = head.wrapping_add(1);
        let item = self.slot(head).take();
        if let Some(kept) = self.kept.take() {
            self.put(kept);
        }
        item
    }
}

impl<T: 'static> Drop for Ring<T> {
    fn drop(&mut self) {
        match self.bug {
            Bug::Leak => mem::forget(mem::take(&mut self.slots)),
            Bug::M11 => drop(self.slots.iter().flatten().map(twin).collect::<Vec<_>>()),
            _ => {}
        }
    }
}

/// One end of a [`SeededRing`], of either side.
#[derive(Debug)]
pub struct End<T: 'static> {
    ring: Arc<Mutex<Ring<T>>>,
}

impl<T: 'static> End<T> {
    fn lock(&self) -> MutexGuard<'_, Ring<T>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static> Push<T> for End<T> {
    fn push(&mut self, item: T) -> Result<(), Full<T>> {
        let mut ring = self.lock();
        if ring.bug == Bug::M16 {
            let tail = ring.tail;
            drop(ring);
            thread::yield_now();
            ring = self.lock();
            if tail.wrapping_sub(ring.head) >= ring.capacity {
                return Err(Full(item));
            }
        }
        if ring.is_full() {
            return Err(Full(item));
        }
        match ring.bug {
            Bug::M03 => {
                let claimed = ring.tail;
                ring.tail = claimed.wrapping_add(1);
                let old = ring.last.take();
                *ring.slot(claimed) = old.and_then(|old| torn(&item, &old)).or_else(|| twin(&item));
                ring.last = twin(&item).map(ManuallyDrop::new);
                drop(ring);
                thread::yield_now();
                // Whoever came before this has moved out what there was.
                match self.lock().slot(claimed) {
                    Some(half) => mem::forget(mem::replace(half, item)),
                    None => mem::forget(item),
                }
            }
            Bug::PublishedEarly | Bug::M19 | Bug::HonestlyRelaxed => {
                let claimed = ring.tail;
                ring.tail = claimed.wrapping_add(1);
                drop(ring);
                thread::yield_now();
                *self.lock().slot(claimed) = Some(item);
            }
            Bug::LostUpdate => {
                let found = ring.tail;
                drop(ring);
                thread::yield_now();
                let mut ring = self.lock();
                *ring.slot(found) = Some(item);
                if ring.tail == found {
                    ring.tail = found.wrapping_add(1);
                }
            }
            Bug::M20 => {
                ring.calls += 1;
                let claimed = ring.tail;
                ring.tail = claimed.wrapping_add(1);
                assert!(!ring.calls.is_multiple_of(7), "a seeded panic");
                *ring.slot(claimed) = Some(item);
            }
            Bug::Panic => {
                ring.calls += 1;
                assert!(!ring.calls.is_multiple_of(7), "a seeded panic");
                ring.put(item);
            }
            _ => ring.put(item),
        }
        Ok(())
    }

    fn push_many(&mut self, items: &mut VecDeque<T>) -> usize {
        let mut pushed = 0;
        while let Some(item) = items.pop_front() {
            if let Err(Full(item)) = self.push(item) {
                let mut ring = self.lock();
                if ring.bug == Bug::KeepsRefused && ring.kept.is_none() {
                    ring.kept = Some(item);
                } else {
                    items.push_front(item);
                }
                break;
            }
            pushed += 1;
        }
        pushed
    }
}

impl<T: Send + 'static> Pop<T> for End<T> {
    fn pop(&mut self) -> Option<T> {
        let mut ring = self.lock();
        while ring.bug == Bug::Waits && ring.len() == 0 {
            drop(ring);
            thread::park();
            ring = self.lock();
        }
        if ring.bug == Bug::KeepsPlace {
            let item = ring.take()?;
            ring.leaving += 1;
            drop(ring);
            thread::yield_now();
            self.lock().leaving -= 1;
            return Some(item);
        }
        if ring.bug != Bug::M04 {
            return ring.take();
        }
        if ring.len() == 0 {
            return None;
        }
        let freed = ring.head;
        ring.head = freed.wrapping_add(1);
        drop(ring);
        thread::yield_now();
        self.lock().slot(freed).take()
    }

    fn pop_many(&mut self, into: &mut Vec<T>, max: usize) -> usize {
        let before = into.len();
        while into.len() - before < max {
            let Some(item) = self.pop() else { break };
            into.push(item);
            if into.len() - before == 16 && self.lock().bug == Bug::LongBatch {
                mem::forget(self.pop());
            }
            if into.len() - before == 2 {
                let bug = self.lock().bug;
                if matches!(bug, Bug::M12 | Bug::BatchForgets) {
                    mem::forget(self.pop());
                }
                if bug == Bug::M12 {
                    into.extend(into.last().and_then(twin));
                }
            }
        }
        let got = into.len() - before;
        if got > 1 && got < max && self.lock().bug == Bug::M21 {
            into.truncate(before);
        }
        into.len() - before
    }
}

type Engine = (&'static str, fn(&Budget) -> Vec<Finding>);

/// The engines, the sequential one first: its counterexamples can be replayed.
fn engines(bug: Bug) -> [Engine; 2] {
    fn on<B: Buffer>() -> [Engine; 2] {
        [
            ("sequential", |budget| sequential_buffer::check::<B>("seeded", budget)),
            ("threads", threads::check::<B>),
        ]
    }
    match bug {
        Bug::ProducerSwap => on::<SeededRing<PER_PRODUCER>>(),
        Bug::M09 => on::<NodeQueue<UNTAGGED>>(),
        Bug::M10 => on::<NodeQueue<RECLAIMED>>(),
        Bug::TaggedNodes => on::<NodeQueue<TAGGED>>(),
        Bug::HonestlyRelaxed => on::<SeededRing<RELAXED>>(),
        _ => on::<SeededRing<EXACT>>(),
    }
}

pub(super) fn caught(bug: Bug, budget: &Budget) -> Option<RogueResult> {
    let expected = bug.expected()?;
    let mut result = RogueResult {
        seconds: 0.0,
        showed: Showed::default(),
        bug: bug.id().to_owned(),
        what: bug.what().to_owned(),
        expected,
        found: false,
        cases: 0,
        shrunk: None,
        plan: None,
        engine: "none".to_owned(),
        also: Vec::new(),
    };
    for (engine, check) in engines(bug) {
        let mut tried = budget.cases;
        let given = Budget { until: Some(expected), ..budget.clone() };
        let findings = watch(budget.patience, Invariant::Li1, move || with_bug(bug, || check(&given)));
        for finding in findings.into_iter().filter(|finding| finding.verdict.is_broken()) {
            if finding.invariant != expected {
                result.also.push(finding.invariant);
                continue;
            }
            result.found = true;
            result.engine = engine.to_owned();
            tried = finding.cases;
            // Threads are not replayed, and what they do does not shrink.
            let failure = finding.failure.filter(|failure| failure.plan.is_some());
            result.shrunk = failure.as_ref().map(|failure| failure.steps_after);
            result.plan = failure.and_then(|failure| failure.plan);
        }
        result.cases += tried;
        if result.found {
            break;
        }
    }
    result.also.sort();
    result.also.dedup();
    Some(result)
}

/// How this plan breaks a promise with one thread.
#[cfg(test)]
pub(super) fn broken_by(bug: Bug, plan: &sequential_buffer::Plan) -> Option<sequential_buffer::Breach> {
    let judged = match bug {
        Bug::ProducerSwap => sequential_buffer::judged::<SeededRing<PER_PRODUCER>>,
        _ => sequential_buffer::judged::<SeededRing<EXACT>>,
    };
    with_bug(bug, || judged(plan)).err()
}

/// Runs every seeded bug against the engines, and says which were caught and how soon.
pub fn table(budget: &Budget) -> Vec<RogueResult> {
    Bug::ALL.into_iter().filter_map(|bug| RogueResult::timed(|| caught(bug, budget))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Verdict;

    #[test]
    fn what_is_right_is_never_blamed() {
        let budget = Budget::quick();
        let right = [Bug::None, Bug::HonestlyRelaxed, Bug::TaggedNodes];
        for (bug, (engine, check)) in
            right.into_iter().flat_map(|bug| engines(bug).map(|engine| (bug, engine)))
        {
            for finding in with_bug(bug, || check(&budget)) {
                println!("{engine:<10} {:<6} {:?}", finding.invariant.id(), finding.verdict);
                let right = match finding.verdict {
                    Verdict::Holds { .. } => true,
                    // Answers that may be false do not fit into one FIFO queue.
                    Verdict::NotClaimed => match bug {
                        Bug::HonestlyRelaxed => finding.invariant == Invariant::Me1,
                        // Nodes have no counters that wrap.
                        Bug::TaggedNodes => finding.invariant == Invariant::Me4,
                        _ => false,
                    },
                    _ => false,
                };
                assert!(right, "{engine}: {finding:?}");
            }
        }
    }

    #[test]
    fn a_panic_is_told_with_the_call_it_came_out_of() {
        let budget = Budget { cases: 100, ..Budget::quick() };
        for (engine, check) in engines(Bug::Panic) {
            let findings = with_bug(Bug::Panic, || check(&budget));
            let sentence = findings.iter().find_map(|finding| match &finding.verdict {
                Verdict::Broken(found) if finding.invariant == Invariant::Li1 => Some(&found.sentence),
                _ => None,
            });
            let sentence = sentence.expect(engine);
            assert!(sentence.contains("inside `push"), "{engine}: {sentence}");
        }
    }
}
