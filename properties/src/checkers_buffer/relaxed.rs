//! What excuses a false answer where the contract admits it: an operation in flight that may hide the truth.
//!
//! In a ring whose slots carry their own sequence a push that was overtaken between claiming and publishing
//! its slot hides everything behind it, and a pop that has not released its slot blocks the tail.

use stanchion_queues::Order;

use crate::buffer_history::{BufferHistory, Offered, Tick, Window};

use super::fifo::Steps;
use super::{NEVER, UNRETURNED, Value};

/// Excuses for "empty".
pub(super) struct Empties {
    /// Operations in flight that may hide what is inside: from when on, sorted, with the latest return so far.
    hiding: Vec<(Tick, Tick)>,
}

impl Empties {
    /// In a FIFO, a push hides what was pushed after it began; everything pushed before it began must be
    /// gone. Without an order any operation may hide anything.
    pub(super) fn new(history: &BufferHistory, steps: &Steps) -> Empties {
        let fifo = history.contract.order == Order::Fifo;
        let offers = history.producers.iter().flat_map(|log| &log.offers);
        let pushes = offers.filter_map(|offer| match offer {
            Offered::Accepted(window) => Some(*window),
            Offered::Abandoned(_) => None,
        });
        let mut hiding: Vec<(Tick, Tick)> = pushes
            .map(|push| {
                let gone = if fifo { steps.at(push.call).map_or(0, |(di, _)| di) } else { 0 };
                (push.call.max(gone), push.ret.min(UNRETURNED))
            })
            .filter(|(from, ret)| from <= ret)
            .collect();
        if !fifo {
            hiding.extend(in_flight_pops(history));
        }
        hiding.sort_unstable();
        let mut latest = 0;
        for (_, ret) in &mut hiding {
            latest = latest.max(*ret);
            *ret = latest;
        }
        Empties { hiding }
    }

    pub(super) fn excuse(&self, answer: Window) -> bool {
        let count = self.hiding.partition_point(|(from, _)| *from <= answer.ret);
        count.checked_sub(1).is_some_and(|last| self.hiding[last].1 >= answer.call)
    }
}

fn in_flight_pops(history: &BufferHistory) -> impl Iterator<Item = (Tick, Tick)> {
    history.consumers.iter().flat_map(|log| {
        let returned = log.pops.iter().map(|pop| (pop.window.call, pop.window.ret.min(UNRETURNED)));
        returned.chain(log.pending.map(|call| (call, UNRETURNED)))
    })
}

/// Excuses for "full".
pub(super) struct Fulls {
    capacity: usize,
    /// Windows of pops, one list per consumer, sorted, with the calls of their pushes.
    pops: Vec<Vec<(Window, Tick)>>,
    push_calls: Vec<Tick>,
    push_returns: Vec<Tick>,
    pop_returns: Vec<Tick>,
    fifo: bool,
}

impl Fulls {
    pub(super) fn new(history: &BufferHistory, values: &[Value]) -> Fulls {
        let mut pops = vec![Vec::new(); history.consumers.len()];
        for value in values.iter().filter(|value| value.di != NEVER) {
            pops[value.consumer].push((Window { call: value.di, ret: value.dr }, value.ei));
        }
        for pops in &mut pops {
            pops.sort_unstable_by_key(|(window, _)| (window.ret, window.call));
        }
        Fulls {
            capacity: history.capacity,
            pops,
            push_calls: sorted(values.iter().map(|value| value.ei)),
            push_returns: sorted(values.iter().map(|value| value.er)),
            pop_returns: sorted(values.iter().map(|value| value.dr)),
            fifo: history.contract.order == Order::Fifo,
        }
    }

    /// A pop in flight may not have released its slot although the tail has come round to it.
    pub(super) fn excuse(&self, answer: Window) -> bool {
        self.pops.iter().any(|pops| {
            let first = pops.partition_point(|(pop, _)| pop.ret < answer.call);
            pops[first..]
                .iter()
                // Windows of one consumer do not overlap, so their calls rise as their returns do.
                .take_while(|(pop, _)| pop.call <= answer.ret)
                .any(|(pop, pushed)| {
                    let instant = answer.ret.min(pop.ret);
                    let tail = self.push_calls.partition_point(|call| *call <= instant);
                    let before_by_push = self.push_returns.partition_point(|ret| ret < pushed);
                    let before_by_pop = self.pop_returns.partition_point(|ret| *ret < pop.call);
                    let slot = before_by_push.max(before_by_pop);
                    pop.call <= instant && (!self.fifo || tail >= slot + self.capacity)
                })
        })
    }
}

fn sorted(ticks: impl Iterator<Item = Tick>) -> Vec<Tick> {
    let mut ticks: Vec<Tick> = ticks.collect();
    ticks.sort();
    ticks
}
