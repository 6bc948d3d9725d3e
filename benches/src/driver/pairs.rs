//! Each thread pushes and pops in turn, all on one buffer: no thread depends on another, so what is seen is
//! contention and not waiting.

use std::collections::VecDeque;
use std::sync::{Arc, Barrier};

use stanchion_queues::{Ends, Full, Pop, Push};

use super::counted::Counted;
use super::ends::wait_for;
use super::workers::Workers;
use super::{Sink, Source, Worked, drain};
use crate::crew::{Crew, GaveUp, Waiting};
use crate::ledger::{BenchLedger, Tally};
use crate::trial::{Fault, Span, Trial};
use crate::workload::{Identity, Item, Workload, quota};

/// Moves `items` items, each thread pushing and popping its part of them.
pub(super) fn run<const WORDS: usize, P, C>(
    ends: Ends<P, C>,
    crew: &Arc<Crew>,
    workload: &Workload,
    items: u64,
    ordered: bool,
) -> Result<Trial, Fault>
where
    P: Push<Item<WORDS>> + 'static,
    C: Pop<Item<WORDS>> + 'static,
{
    let threads = ends.producers.len();
    let barrier = Arc::new(Barrier::new(threads));
    let batch = workload.batch;
    let mut workers = Workers::new();
    for (index, (producer, consumer)) in ends.producers.into_iter().zip(ends.consumers).enumerate() {
        let (crew, barrier) = (Arc::clone(crew), Arc::clone(&barrier));
        workers.start(index, move || {
            let quota_of = |index| quota(items, threads, index);
            let source = Source::new(index, quota_of(index), batch);
            let sink = Sink::new(Tally::new((0..threads).map(quota_of), ordered), batch);
            let (producer, consumer) = (Counted::new(producer), Counted::new(consumer));
            let mut player = Player { producer, consumer, source, sink, popped: 0, waiting: crew.consumer() };
            let pushing = crew.stay_pushing();
            barrier.wait();
            let (span, gave_up) = Span::of(|| {
                player.take_turns().and_then(|()| {
                    drop(pushing);
                    player.take_the_rest()
                })
            });
            let Player { producer, consumer, source, sink, .. } = player;
            let miscounted = producer.miscounted + consumer.miscounted;
            let result = (source.sent(), sink.tally);
            (Worked { span, gave_up: gave_up.err(), miscounted, result }, consumer)
        });
    }
    let played = workers.join()?;
    let spans: Vec<Span> = played.iter().map(|(worked, _)| worked.span).collect();
    let stuck = played.iter().any(|(worked, _)| worked.is_stuck());
    let miscounted = played.iter().map(|(worked, _)| worked.miscounted).sum();
    let confirmed: Vec<u64> = played.iter().map(|(worked, _)| worked.result.0).collect();
    let mut late = 0;
    let tallies = played
        .into_iter()
        .map(|(worked, mut consumer)| {
            let (_, mut tally) = worked.result;
            late += drain(|| consumer.pop(), &mut tally, items);
            tally
        })
        .collect();
    Trial::judge(&spans, BenchLedger { late, stuck, miscounted, ..Tally::ledger(items, tallies, &confirmed) })
}

/// One thread.
struct Player<P, C, const WORDS: usize> {
    producer: Counted<P>,
    consumer: Counted<C>,
    source: Source<WORDS>,
    sink: Sink<WORDS>,
    popped: u64,
    waiting: Waiting,
}

impl<const WORDS: usize, P: Push<Item<WORDS>>, C: Pop<Item<WORDS>>> Player<P, C, WORDS> {
    /// Pushes everything, and pops as much after each push. A correct buffer is never full here; with a wrong
    /// one, who finds it full makes room, whatever its quota.
    fn take_turns(&mut self) -> Result<(), GaveUp> {
        if self.source.batch > 1 {
            while self.source.refill() {
                self.producer.push_many(&mut self.source.pending);
                if !self.source.pending.is_empty() {
                    self.push_the_rest()?;
                }
                self.pop();
            }
            return Ok(());
        }
        while self.source.next < self.source.end {
            let (producer, sequence) = (self.source.producer, self.source.next);
            self.source.next += 1;
            if let Err(Full(item)) = self.producer.push(Item::new(Identity { producer, sequence })) {
                self.source.pending = VecDeque::from([item]);
                self.push_the_rest()?;
            }
            self.pop();
        }
        Ok(())
    }

    /// Pops what it has pushed and not popped yet, or what others have left.
    fn take_the_rest(&mut self) -> Result<(), GaveUp> {
        while self.popped < self.source.end {
            if !self.pop() {
                let Player { consumer, waiting, sink, popped, .. } = self;
                let item = wait_for(waiting, || consumer.pop())?;
                sink.tally.enter(item.identity());
                *popped += 1;
            }
        }
        Ok(())
    }

    /// Pops at most a batch. `false`: nothing was there.
    #[inline]
    fn pop(&mut self) -> bool {
        let before = self.popped;
        if self.sink.batch == 1 {
            if let Some(item) = self.consumer.pop() {
                self.sink.tally.enter(item.identity());
                self.popped += 1;
            }
        } else {
            self.consumer.pop_many(&mut self.sink.come, self.sink.batch);
            self.popped += self.sink.enter();
        }
        self.popped > before
    }

    /// Pushes what is pending, making room for it.
    #[cold]
    fn push_the_rest(&mut self) -> Result<(), GaveUp> {
        let Player { producer, consumer, source, sink, popped, waiting } = self;
        while !source.pending.is_empty() {
            let mut step = || {
                let pushed = producer.push_many(&mut source.pending) > 0;
                if !pushed && let Some(item) = consumer.pop() {
                    sink.tally.enter(item.identity());
                    *popped += 1;
                    return Some(());
                }
                pushed.then_some(())
            };
            if step().is_none() {
                waiting.until(&mut step)?;
            }
        }
        Ok(())
    }
}
