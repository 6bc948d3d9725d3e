//! The tokio channel as its users use it: tasks that await on both sides, inside a runtime. The other
//! drivers use the ends that do not wait; here the channel's own waiting is part of what is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Barrier, mpsc};
use tokio::task::JoinSet;

use crate::crew::{core_count, pin};
use crate::ledger::{BenchLedger, Tally};
use crate::trial::{Fault, Span, Trial};
use crate::workload::{Identity, Item, ItemSize, Topology, Wait, Workload, quota};

/// Whether the channel can be awaited in this workload: many may send, one receives, each in a task of its own,
/// and all of them sleep while they wait.
pub fn admits(workload: &Workload) -> bool {
    matches!(workload.topology, Topology::Spsc | Topology::Mpsc) && workload.wait == Wait::Park
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
    runtime.block_on(together::<WORDS>(*workload, items))
}

async fn together<const WORDS: usize>(workload: Workload, items: u64) -> Result<Trial, Fault> {
    let Workload { capacity, batch, .. } = workload;
    let producers = workload.ends().0;
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
            let item = |sequence| Item::new(Identity { producer, sequence });
            if batch == 1 {
                while sent < quota && sender.send(item(sent)).await.is_ok() {
                    sent += 1;
                }
            }
            // A batch that the channel could never hold would wait for ever.
            let most = batch.min(capacity) as u64;
            while sent < quota
                && let Ok(permits) = sender.reserve_many((quota - sent).min(most) as usize).await
            {
                for permit in permits {
                    permit.send(item(sent));
                    sent += 1;
                }
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
        let mut miscounted = 0;
        if batch == 1 {
            while let Some(item) = receiver.recv().await {
                tally.enter(item.identity());
            }
        } else {
            let mut come = Vec::with_capacity(batch);
            loop {
                let said = receiver.recv_many(&mut come, batch).await;
                miscounted += u64::from(said != come.len());
                if come.is_empty() {
                    break;
                }
                tally.enter_all(&come);
                come.clear();
            }
        }
        (Span { start, end: std::time::Instant::now() }, tally, miscounted)
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
    let (span, tally, miscounted) = receiver.await.map_err(panicked)?;
    spans.push(span);
    Trial::judge(&spans, BenchLedger { miscounted, ..Tally::ledger(items, vec![tally], &confirmed) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_arrives() {
        for topology in [Topology::Spsc, Topology::Mpsc] {
            for (item, batch) in ItemSize::ALL.into_iter().flat_map(|item| [1, 8, 40].map(|n| (item, n))) {
                let small =
                    Workload { capacity: 16, batch, wait: Wait::Park, ..Workload::new(topology, item) };
                assert!(admits(&small));
                let trial = run(&small, 5000).expect("a correct channel");
                assert_eq!(trial.ledger.counts.delivered, 5000);
            }
        }
    }
}
