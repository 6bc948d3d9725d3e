//! Items flow one way: one thread fills and drains, or each end has a thread of its own.

use std::sync::{Arc, Barrier};

use stanchion_queues::{Ends, Pop, Push};

use super::counted::Counted;
use super::ends::{Receives, Sends, Staffed};
use super::workers::Workers;
use super::{Sink, Source, Worked, drain};
use crate::crew::{Crew, GaveUp};
use crate::ledger::{BenchLedger, Tally};
use crate::trial::{Fault, Span, Trial};
use crate::workload::{Identity, Item, Workload, quota};

/// One thread fills the buffer and drains it in turn.
pub(super) fn alone<const WORDS: usize, P, C>(
    mut ends: Ends<P, C>,
    workload: &Workload,
    items: u64,
    ordered: bool,
) -> Result<Trial, Fault>
where
    P: Push<Item<WORDS>> + 'static,
    C: Pop<Item<WORDS>> + 'static,
{
    let (capacity, batch) = (workload.capacity as u64, workload.batch);
    let mut worker = Workers::new();
    worker.start(0, move || {
        let mut producer = Counted::new(ends.producers.swap_remove(0));
        let mut consumer = Counted::new(ends.consumers.swap_remove(0));
        let tally = Tally::new(std::iter::once(items), ordered);
        let mut source = Source::new(0, items, batch);
        let mut sink = Sink::new(tally, batch);
        let (span, pushed) = Span::of(|| {
            if batch == 1 {
                return singly(&mut producer, &mut consumer, &mut sink.tally, items, capacity);
            }
            loop {
                let before = source.sent();
                let most = before + capacity;
                while source.sent() < most && source.refill() && producer.push_many(&mut source.pending) > 0 {
                }
                let mut there = source.sent() - before;
                if there == 0 {
                    return before;
                }
                while there > 0 {
                    consumer.pop_many(&mut sink.come, batch);
                    match sink.enter() {
                        0 => break,
                        come => there = there.saturating_sub(come),
                    }
                }
            }
        });
        let late = drain(|| consumer.pop(), &mut sink.tally, items);
        let miscounted = producer.miscounted + consumer.miscounted;
        (span, pushed, sink.tally, late, miscounted)
    });
    let (span, pushed, tally, late, miscounted) = worker.join()?.swap_remove(0);
    Trial::judge(&[span], BenchLedger { late, miscounted, ..Tally::ledger(items, vec![tally], &[pushed]) })
}

/// The same with single items; says how many went in.
#[inline]
fn singly<const WORDS: usize>(
    producer: &mut impl Push<Item<WORDS>>,
    consumer: &mut impl Pop<Item<WORDS>>,
    tally: &mut Tally,
    items: u64,
    capacity: u64,
) -> u64 {
    let mut pushed = 0;
    while pushed < items {
        let mut fill = pushed..items.min(pushed + capacity);
        let full = fill.find(|sequence| {
            producer.push(Item::new(Identity { producer: 0, sequence: *sequence })).is_err()
        });
        let filled = full.unwrap_or(fill.end);
        if filled == pushed {
            break;
        }
        (pushed..filled).map_while(|_| consumer.pop()).for_each(|item| tally.enter(item.identity()));
        pushed = filled;
    }
    pushed
}

/// Producers and consumers, each on a thread of its own.
pub(super) fn together<const WORDS: usize, S, R>(
    queue: Staffed<S, R>,
    batch: usize,
    items: u64,
    ordered: bool,
    controller: impl FnOnce(&Crew),
) -> Result<Trial, Fault>
where
    S: Sends<Item<WORDS>> + 'static,
    R: Receives<Item<WORDS>> + 'static,
{
    let Staffed { senders, receivers, crew } = queue;
    let (producers, consumers) = (senders.len(), receivers.len());
    let barrier = Arc::new(Barrier::new(producers + consumers));
    let mut pushers = Workers::new();
    for (producer, mut sender) in senders.into_iter().enumerate() {
        let (crew, barrier) = (Arc::clone(&crew), Arc::clone(&barrier));
        pushers.start(producer, move || {
            let _here = crew.stay_pushing();
            let source = Source::new(producer, quota(items, producers, producer), batch);
            barrier.wait();
            produce(&mut sender, source)
        });
    }
    let mut poppers = Workers::new();
    for (consumer, mut receiver) in receivers.into_iter().enumerate() {
        let (crew, barrier) = (Arc::clone(&crew), Arc::clone(&barrier));
        poppers.start(producers + consumer, move || {
            let _here = crew.stay_popping();
            let expected = (0..producers).map(|producer| quota(items, producers, producer));
            let sink = Sink::new(Tally::new(expected, ordered), batch);
            barrier.wait();
            let worked = consume(&mut receiver, quota(items, consumers, consumer), sink);
            (worked, (!R::RELEASES_BY_DROP).then_some(receiver))
        });
    }
    controller(&crew);
    let (pushed, popped) = (pushers.join()?, poppers.join()?);

    let spans: Vec<Span> =
        pushed.iter().map(|worked| worked.span).chain(popped.iter().map(|(worked, _)| worked.span)).collect();
    let stuck = pushed.iter().any(Worked::is_stuck) || popped.iter().any(|(worked, _)| worked.is_stuck());
    let miscounted = pushed.iter().map(|worked| worked.miscounted).sum::<u64>()
        + popped.iter().map(|(worked, _)| worked.miscounted).sum::<u64>();
    let confirmed: Vec<u64> = pushed.into_iter().map(|worked| worked.result).collect();
    let mut late = 0;
    let tallies = popped
        .into_iter()
        .map(|(worked, receiver)| {
            let mut tally = worked.result;
            if let Some(mut receiver) = receiver {
                late += drain(|| receiver.left_over(), &mut tally, items);
            }
            tally
        })
        .collect();
    Trial::judge(&spans, BenchLedger { late, stuck, miscounted, ..Tally::ledger(items, tallies, &confirmed) })
}

/// Sends all items of the source; the result says how many went in.
pub(crate) fn produce<const WORDS: usize>(
    sender: &mut impl Sends<Item<WORDS>>,
    mut source: Source<WORDS>,
) -> Worked<u64> {
    let (span, (result, gave_up)) = Span::of(|| {
        if source.batch == 1 {
            let producer = source.producer;
            for sequence in 0..source.end {
                if let Err(gave_up) = sender.send(Item::new(Identity { producer, sequence })) {
                    return (sequence, Some(gave_up));
                }
            }
            return (source.end, None);
        }
        while source.refill() {
            if let Err(gave_up) = sender.send_all(&mut source.pending) {
                return (source.sent(), Some(gave_up));
            }
        }
        (source.end, None)
    });
    Worked { span, gave_up, miscounted: sender.miscounted(), result }
}

/// Receives `quota` items into the tally.
pub(crate) fn consume<const WORDS: usize>(
    receiver: &mut impl Receives<Item<WORDS>>,
    quota: u64,
    mut sink: Sink<WORDS>,
) -> Worked<Tally> {
    let (span, gave_up) = Span::of(|| {
        let result: Result<(), GaveUp> = if sink.batch == 1 {
            (0..quota).try_for_each(|_| receiver.receive().map(|item| sink.tally.enter(item.identity())))
        } else {
            let mut left = quota;
            loop {
                if left == 0 {
                    break Ok(());
                }
                let most = usize::try_from(left).map_or(sink.batch, |left| left.min(sink.batch));
                if let Err(gave_up) = receiver.receive_some(&mut sink.come, most) {
                    break Err(gave_up);
                }
                left = left.saturating_sub(sink.enter());
            }
        };
        result.err()
    });
    Worked { span, gave_up, miscounted: receiver.miscounted(), result: sink.tally }
}
