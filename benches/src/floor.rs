//! How fast the driver would be without a queue: the loops of the producers and the consumers, making, checking
//! and entering every item, with ends that keep nothing. No table can show more than this.

use std::collections::VecDeque;
use std::hint::black_box;

use stanchion_queues::{Full, Pop, Push};

use crate::crew::{Crew, core_count};
use crate::driver::ends::Polled;
use crate::driver::workers::Workers;
use crate::driver::{Sink, Source, flow};
use crate::ledger::Tally;
use crate::workload::{Identity, Item, ItemSize, Topology, Workload};

/// So many items, so many times; the least counts, because everything that disturbs makes it longer.
const ITEMS: u64 = 100_000;
const TRIES: usize = 5;

/// Items a second that the driver can make and check in this workload, at most. `None`: it does not matter,
/// because one item is on its way at a time.
pub(crate) fn rate(workload: &Workload) -> Option<f64> {
    let (push_ns, pop_ns) = match workload.item {
        ItemSize::Word => costs_ns::<1>(workload)?,
        ItemSize::Line => costs_ns::<8>(workload)?,
        ItemSize::Lines => costs_ns::<32>(workload)?,
    };
    let (producers, consumers) = workload.ends();
    let cores = core_count().min(workload.threads());
    let shared = (push_ns + pop_ns) / cores as f64;
    let ns = match workload.topology {
        Topology::Seq | Topology::Pairs => shared,
        Topology::PingPong => return None,
        _ => shared.max(push_ns / producers as f64).max(pop_ns / consumers as f64),
    };
    Some(1e9 / ns)
}

/// An item made, and one checked and entered, in nanoseconds.
fn costs_ns<const WORDS: usize>(workload: &Workload) -> Option<(f64, f64)> {
    let batch = workload.batch;
    let crew = Crew::new(1, 1, workload.threads(), workload.wait);
    let mut worker = Workers::new();
    worker.start(0, move || {
        let push = least_ns(|| {
            let mut end = Polled::new(Nothing(0), crew.producer());
            flow::produce::<WORDS>(&mut end, Source::new(0, ITEMS, batch)).nanoseconds()
        });
        let pop = least_ns(|| {
            let mut end = Polled::new(Nothing(0), crew.consumer());
            let sink = Sink::<WORDS>::new(Tally::new(std::iter::once(ITEMS), true), batch);
            flow::consume(&mut end, ITEMS, sink).nanoseconds()
        });
        (push, pop)
    });
    worker.join().ok()?.pop()
}

fn least_ns(mut time: impl FnMut() -> f64) -> f64 {
    (0..TRIES).map(|_| time()).fold(f64::INFINITY, f64::min).max(1.0) / ITEMS as f64
}

/// Takes everything and keeps nothing; gives the items in order, out of nowhere. Knows which is next.
struct Nothing(u64);

impl Nothing {
    #[inline]
    fn next<const WORDS: usize>(&mut self, many: usize) -> impl Iterator<Item = Item<WORDS>> + use<WORDS> {
        let from = self.0;
        self.0 += many as u64;
        (from..self.0).map(|sequence| Item::new(Identity { producer: 0, sequence }))
    }
}

impl<const WORDS: usize> Push<Item<WORDS>> for Nothing {
    #[inline]
    fn push(&mut self, item: Item<WORDS>) -> Result<(), Full<Item<WORDS>>> {
        black_box(&item);
        Ok(())
    }

    #[inline]
    fn push_many(&mut self, items: &mut VecDeque<Item<WORDS>>) -> usize {
        black_box(items.as_slices());
        let many = items.len();
        items.clear();
        many
    }
}

impl<const WORDS: usize> Pop<Item<WORDS>> for Nothing {
    #[inline]
    fn pop(&mut self) -> Option<Item<WORDS>> {
        let item = self.next(1).next()?;
        black_box(&item);
        Some(item)
    }

    #[inline]
    fn pop_many(&mut self, into: &mut Vec<Item<WORDS>>, max: usize) -> usize {
        into.extend(self.next(max));
        black_box(into.as_slice());
        max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flow_has_a_floor() {
        for topology in Topology::ALL {
            for item in ItemSize::ALL {
                let rates =
                    [1, 8, 256].map(|batch| rate(&Workload { batch, ..Workload::new(topology, item) }));
                let finite = rates.iter().flatten().all(|rate| rate.is_finite() && *rate > 0.0);
                assert!(
                    finite && rates.iter().all(|rate| rate.is_some() == (topology != Topology::PingPong))
                );
            }
        }
    }
}
