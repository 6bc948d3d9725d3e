//! Moves items through a buffer, from the ends that push to the ends that pop, and keeps the ledger.
//!
//! Ends are made and threads pinned before the barrier. The number of items is fixed: every producer and
//! every consumer has a quota, so that no counter is shared in the measured loop. Those who wait for a side
//! that has left give up, so that a lossy buffer ends in the ledger and not in a hang.

pub(crate) mod counted;
pub(crate) mod ends;
pub(crate) mod flow;
mod pairs;
mod ping_pong;
pub(crate) mod workers;

use std::collections::VecDeque;
use std::sync::Arc;

use stanchion_queues::{Buffer, Order};

use crate::blocking::Blocking;
use crate::crew::{Crew, GaveUp};
use crate::ledger::Tally;
use crate::trial::{Fault, Span, Trial};
use crate::workload::{Identity, Item, ItemSize, Topology, Workload};

use ends::{its_own, polled};

/// Moves `items` items through a fresh buffer, or sends `items` items there and back.
///
/// # Errors
/// The buffer does not open in this shape, it panicked, or its ledger is not clean.
pub fn run<B: Buffer>(workload: &Workload, items: u64) -> Result<Trial, Fault> {
    run_beside::<B>(workload, items, |_| ())
}

/// The same, while the controller does something else: it has no part in the timing. It is told who is
/// present.
pub(crate) fn run_beside<B: Buffer>(
    workload: &Workload,
    items: u64,
    controller: impl FnOnce(&Crew),
) -> Result<Trial, Fault> {
    match workload.item {
        ItemSize::Word => run_with::<B, 1>(workload, items, controller),
        ItemSize::Line => run_with::<B, 8>(workload, items, controller),
        ItemSize::Lines => run_with::<B, 32>(workload, items, controller),
    }
}

fn run_with<B: Buffer, const WORDS: usize>(
    workload: &Workload,
    items: u64,
    controller: impl FnOnce(&Crew),
) -> Result<Trial, Fault> {
    let shape = workload.shape();
    let ordered = B::CONTRACT.order != Order::Unordered;
    let open = || polled::<B, Item<WORDS>>(shape, crew(workload));
    match workload.topology {
        Topology::Seq => flow::alone::<WORDS, _, _>(B::open(shape)?, workload, items, ordered),
        Topology::Pairs => {
            pairs::run::<WORDS, _, _>(B::open(shape)?, &crew(workload), workload, items, ordered)
        }
        Topology::PingPong => ping_pong::run([open()?, open()?], items, ordered),
        _ => flow::together(open()?, workload.batch, items, ordered, controller),
    }
}

/// As [`run`], but who cannot go on waits in the channel, in its own way.
///
/// # Errors
/// As of [`run`]; and [`Fault::Abandoned`] if the channel does not wake somebody.
pub fn run_blocking<B: Blocking>(workload: &Workload, items: u64) -> Result<Trial, Fault> {
    match workload.item {
        ItemSize::Word => run_blocking_with::<B, 1>(workload, items),
        ItemSize::Line => run_blocking_with::<B, 8>(workload, items),
        ItemSize::Lines => run_blocking_with::<B, 32>(workload, items),
    }
}

fn run_blocking_with<B: Blocking, const WORDS: usize>(
    workload: &Workload,
    items: u64,
) -> Result<Trial, Fault> {
    let ordered = B::CONTRACT.order != Order::Unordered;
    let open = || its_own::<B, Item<WORDS>>(workload.shape(), crew(workload));
    match workload.topology {
        // Nobody waits in these.
        Topology::Seq | Topology::Pairs => run_with::<B, WORDS>(workload, items, |_| ()),
        Topology::PingPong => ping_pong::run([open()?, open()?], items, ordered),
        _ => flow::together(open()?, workload.batch, items, ordered, |_| ()),
    }
}

fn crew(workload: &Workload) -> Arc<Crew> {
    let (producers, consumers) = workload.ends();
    Crew::new(producers, consumers, workload.threads(), workload.wait)
}

/// What one worker leaves behind.
pub(crate) struct Worked<R> {
    span: Span,
    gave_up: Option<GaveUp>,
    /// How many calls said another number of items than they moved.
    miscounted: u64,
    result: R,
}

impl<R> Worked<R> {
    /// How long it worked.
    pub(crate) fn nanoseconds(&self) -> f64 {
        (self.span.end - self.span.start).as_nanos() as f64
    }

    fn is_stuck(&self) -> bool {
        self.gave_up == Some(GaveUp::Stuck)
    }
}

/// The items of one producer, a batch at a time.
pub(crate) struct Source<const WORDS: usize> {
    producer: usize,
    next: u64,
    end: u64,
    batch: usize,
    /// Made and not yet sent.
    pending: VecDeque<Item<WORDS>>,
}

impl<const WORDS: usize> Source<WORDS> {
    pub(crate) fn new(producer: usize, items: u64, batch: usize) -> Source<WORDS> {
        Source { producer, next: 0, end: items, batch, pending: VecDeque::with_capacity(batch) }
    }

    /// Makes the next batch once the last one is gone. `false`: there is none.
    #[inline]
    fn refill(&mut self) -> bool {
        if !self.pending.is_empty() {
            return true;
        }
        // So that the batch lies in one piece.
        self.pending.clear();
        let (producer, from) = (self.producer, self.next);
        self.next = self.end.min(from + self.batch as u64);
        self.pending.extend((from..self.next).map(|sequence| Item::new(Identity { producer, sequence })));
        from < self.next
    }

    /// How many items are gone.
    fn sent(&self) -> u64 {
        self.next - self.pending.len() as u64
    }
}

/// Takes what comes out into the tally, a batch at a time.
pub(crate) struct Sink<const WORDS: usize> {
    tally: Tally,
    come: Vec<Item<WORDS>>,
    batch: usize,
}

impl<const WORDS: usize> Sink<WORDS> {
    pub(crate) fn new(tally: Tally, batch: usize) -> Sink<WORDS> {
        Sink { tally, come: Vec::with_capacity(batch), batch }
    }

    /// Enters what has come, and says how much that is.
    #[inline]
    fn enter(&mut self) -> u64 {
        let come = self.come.len() as u64;
        self.tally.enter_all(&self.come);
        self.come.clear();
        come
    }
}

/// Takes out what the workers left behind, and says how much that was. A buffer that never ends gives at most
/// `limit` and one.
fn drain<const WORDS: usize>(
    mut left_over: impl FnMut() -> Option<Item<WORDS>>,
    tally: &mut Tally,
    limit: u64,
) -> u64 {
    let mut late = 0;
    while late <= limit
        && let Some(item) = left_over()
    {
        tally.enter(item.identity());
        late += 1;
    }
    late
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use stanchion_queues::buffers::{ArrayQueue, CrossbeamChannel, MutexDeque, Ring, StdSyncChannel};

    use super::*;
    use crate::ledger::BenchLedger;
    use crate::mutants::{
        BatchForgetful, BatchReordering, Duplicating, Endless, Forgetful, MoreSaidToBePopped,
        MoreSaidToBePushed, NoneSaidToBePopped, NoneSaidToBePushed, Reordering, Torn,
    };
    use crate::workload::Wait;

    const ITEMS: u64 = 5000;

    fn small(topology: Topology, item: ItemSize) -> Workload {
        Workload { capacity: 16, ..Workload::new(topology, item) }
    }

    /// A batch that fits, and one that does not.
    const BATCHES: [usize; 3] = [1, 8, 40];

    fn all_small(item: ItemSize) -> impl Iterator<Item = Workload> {
        let waits = move |workload: Workload| Wait::ALL.map(|wait| Workload { wait, ..workload });
        let batches = move |workload: Workload| BATCHES.map(|batch| Workload { batch, ..workload });
        Topology::ALL
            .into_iter()
            .map(move |topology| small(topology, item))
            .flat_map(waits)
            .flat_map(batches)
            .filter(Workload::is_sensible)
    }

    fn clean(workload: &Workload, trial: Result<Trial, Fault>) {
        let trial = trial.unwrap_or_else(|fault| panic!("{workload:?}: {fault}"));
        assert_eq!(trial.ledger.counts.delivered, ITEMS, "{workload:?}");
        assert!(trial.elapsed > Duration::ZERO);
    }

    #[test]
    fn right_buffers_are_clean_in_every_shape_and_size_and_however_they_are_waited_for() {
        for workload in ItemSize::ALL.into_iter().flat_map(all_small) {
            clean(&workload, run::<MutexDeque>(&workload, ITEMS));
            clean(&workload, run::<Ring>(&workload, ITEMS));
            clean(&workload, run::<ArrayQueue>(&workload, ITEMS));
            if workload.admitted_by(&StdSyncChannel::CONTRACT) {
                clean(&workload, run::<StdSyncChannel>(&workload, ITEMS));
            }
        }
    }

    #[test]
    fn channels_that_wait_themselves_are_clean_too() {
        for workload in all_small(ItemSize::Word).filter(|workload| workload.wait == Wait::Park) {
            clean(&workload, run_blocking::<CrossbeamChannel>(&workload, ITEMS));
            if workload.admitted_by(&StdSyncChannel::CONTRACT) {
                clean(&workload, run_blocking::<StdSyncChannel>(&workload, ITEMS));
            }
        }
    }

    #[test]
    fn a_few_items_are_moved_as_well_as_many() {
        for items in [0, 1, 2, 3] {
            for topology in Topology::ALL {
                let trial = run::<MutexDeque>(&small(topology, ItemSize::Word), items).expect("clean");
                assert_eq!(trial.ledger.counts.delivered, items);
            }
        }
    }

    fn fault<B: Buffer>(topology: Topology, batch: usize) -> BenchLedger {
        let workload = Workload { batch, ..small(topology, ItemSize::Line) };
        match run::<B>(&workload, ITEMS) {
            Err(Fault::Unclean(ledger)) => *ledger,
            other => panic!("{workload:?}: expected an unclean ledger, got {other:?}"),
        }
    }

    /// Where a lost item is one that others do not wait for.
    fn flows() -> impl Iterator<Item = Topology> {
        Topology::ALL.into_iter().filter(|topology| *topology != Topology::PingPong)
    }

    #[test]
    fn the_ledger_names_each_mutant_and_withholds_its_number() {
        for batch in BATCHES {
            for topology in flows() {
                assert!(fault::<Forgetful>(topology, batch).counts.lost > 0);
                assert!(fault::<Duplicating>(topology, batch).counts.duplicate > 0);
                assert!(fault::<Torn>(topology, batch).counts.phantom > 0);
            }
            assert!(fault::<Reordering>(Topology::Seq, batch).counts.out_of_order > 0);
            assert!(fault::<Endless>(Topology::Spsc, batch).counts.duplicate > 0);
        }
        assert!(fault::<Duplicating>(Topology::PingPong, 1).counts.duplicate > 0);
        assert!(fault::<Torn>(Topology::PingPong, 1).counts.phantom > 0);
    }

    #[test]
    fn a_mistake_in_batches_only_is_found_by_batches_only() {
        for topology in flows() {
            for batch in [8, 40] {
                assert!(fault::<BatchForgetful>(topology, batch).counts.lost > 0);
                assert!(fault::<BatchReordering>(topology, batch).counts.out_of_order > 0);
            }
            let single = small(topology, ItemSize::Word);
            clean(&single, run::<BatchForgetful>(&single, ITEMS));
            clean(&single, run::<BatchReordering>(&single, ITEMS));
        }
    }

    #[test]
    fn a_wrong_count_gives_no_number_and_is_named_though_every_item_comes() {
        fn only_miscounted<B: Buffer>(topology: Topology, batch: usize) {
            let ledger = fault::<B>(topology, batch);
            assert_eq!(ledger.counts.delivered, ITEMS);
            assert!(ledger.to_string().contains("calls miscounted"), "{ledger}");
            assert!(BenchLedger { miscounted: 0, ..ledger }.is_clean(), "{topology:?} {batch}: {ledger}");
        }
        for topology in flows() {
            for batch in [8, 40] {
                only_miscounted::<MoreSaidToBePopped>(topology, batch);
                only_miscounted::<NoneSaidToBePopped>(topology, batch);
                only_miscounted::<MoreSaidToBePushed>(topology, batch);
                only_miscounted::<NoneSaidToBePushed>(topology, batch);
            }
            let single = small(topology, ItemSize::Word);
            clean(&single, run::<MoreSaidToBePopped>(&single, ITEMS));
            clean(&single, run::<NoneSaidToBePushed>(&single, ITEMS));
        }
    }

    #[test]
    fn a_shape_that_the_contract_does_not_admit_is_refused() {
        let fault =
            run::<StdSyncChannel>(&small(Topology::Mpmc, ItemSize::Word), 1).expect_err("one consumer");
        assert!(matches!(fault, Fault::Shape(_)), "{fault}");
    }

    #[test]
    fn a_controller_that_dawdles_changes_nothing() {
        let workload = small(Topology::Spsc, ItemSize::Word);
        let begun = Instant::now();
        let mut done = begun;
        let trial = run_beside::<MutexDeque>(&workload, 100, |crew| {
            while !crew.nobody() {
                thread::yield_now();
            }
            done = Instant::now();
            // So long that a clock stopped by the controller could not show less than the workers took.
            while done.elapsed() < 2 * (done - begun) {
                thread::yield_now();
            }
        })
        .expect("clean");
        assert!(trial.elapsed <= done - begun, "{:?} of {:?}", trial.elapsed, done - begun);
    }
}
