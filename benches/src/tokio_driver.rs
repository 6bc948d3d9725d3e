//! The tokio channel as its users use it: tasks that await on both sides, inside a runtime. The other
//! drivers use the ends that do not wait; here the channel's own waiting is part of what is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Barrier, mpsc};
use tokio::task::JoinSet;

use crate::crew::{core_count, pin};
use crate::ledger::Tally;
use crate::trial::{Fault, Span, Trial};
use crate::workload::{Identity, Item, ItemSize, Topology, Workload, quota};

/// Whether the channel can be awaited in this shape: many may send, one receives, and each in a task of its
/// own.
pub fn admits(topology: Topology) -> bool {
    matches!(topology, Topology::Spsc | Topology::Mpsc)
}

/// Moves `items` items through a fresh channel, in a fresh runtime with a pinned worker for each task or each
/// core, whichever are fewer.
///
/// # Errors
/// The runtime cannot be made, a task panicked, or the ledger is not clean.
pub fn run(workload: &Workload, items: u64) -> Result<Trial, Fault> {
    match workload.item {
        ItemSize::Word => run_with::<1>(workload, items),
        ItemSize::Line => run_with::<8>(workload, items),
        ItemSize::Lines => run_with::<32>(workload, items),
    }
}

fn run_with<const WORDS: usize>(workload: &Workload, items: u64) -> Result<Trial, Fault> {
    let workers = AtomicUsize::new(0);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workload.threads().min(core_count()))
        .on_thread_start(move || pin(workers.fetch_add(1, Ordering::Relaxed)))
        .build()
        .map_err(Fault::Setup)?;
    let (producers, capacity) = (workload.ends().0, workload.capacity);
    runtime.block_on(together::<WORDS>(producers, capacity, items))
}

async fn together<const WORDS: usize>(producers: usize, capacity: usize, items: u64) -> Result<Trial, Fault> {
    let (sender, mut receiver) = mpsc::channel::<Item<WORDS>>(capacity);
    let barrier = Arc::new(Barrier::new(producers + 1));
    let mut senders = JoinSet::new();
    for producer in 0..producers {
        let (sender, barrier) = (sender.clone(), Arc::clone(&barrier));
        let quota = quota(items, producers, producer);
        senders.spawn(async move {
            barrier.wait().await;
            let start = std::time::Instant::now();
            let mut sent = 0;
            while sent < quota && sender.send(Item::new(Identity { producer, sequence: sent })).await.is_ok()
            {
                sent += 1;
            }
            (Span { start, end: std::time::Instant::now() }, producer, sent)
        });
    }
    // The channel ends with its last sender, and with it the receiver's task.
    drop(sender);
    let mut tally = Tally::new((0..producers).map(|producer| quota(items, producers, producer)), true);
    let receiver = tokio::spawn(async move {
        barrier.wait().await;
        let start = std::time::Instant::now();
        while let Some(item) = receiver.recv().await {
            tally.enter(item.identity());
        }
        (Span { start, end: std::time::Instant::now() }, tally)
    });
    let panicked = |error: tokio::task::JoinError| match error.try_into_panic() {
        Ok(panic) => Fault::panicked(panic.as_ref()),
        Err(error) => Fault::Panicked(error.to_string()),
    };
    let mut confirmed = vec![0; producers];
    let mut spans = Vec::with_capacity(producers + 1);
    while let Some(joined) = senders.join_next().await {
        let (span, producer, sent) = joined.map_err(panicked)?;
        spans.push(span);
        confirmed[producer] = sent;
    }
    let (span, tally) = receiver.await.map_err(panicked)?;
    spans.push(span);
    Trial::judge(&spans, Tally::ledger(items, vec![tally], &confirmed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_arrives() {
        for topology in Topology::ALL.into_iter().filter(|topology| admits(*topology)) {
            for item in ItemSize::ALL {
                let workload = Workload { capacity: 16, ..Workload::new(topology, item) };
                let trial = run(&workload, 5000).expect("a correct channel");
                assert_eq!(trial.ledger.counts.delivered, 5000);
            }
        }
    }
}
