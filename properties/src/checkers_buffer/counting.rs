//! Necessary conditions of a bounded buffer: how many values are certainly inside, and how many can be.

use crate::buffer_history::Window;
use crate::invariant::Invariant;

use super::matching::Matched;
use super::picture::{BufferCounterexample, Did, Operation, Who, name};
use super::tighten::{Tight, tighten};
use super::{NEVER, Tick, Value};

/// When each value may be and must be inside, by number. `fifo`: what FIFO order implies is used, and the
/// history without the answers "full" must be linearizable.
pub(super) fn windows(matched: &Matched<'_>, fifo: bool) -> Tight {
    if fifo {
        return tighten(matched);
    }
    let none = || vec![NEVER; matched.numbers()];
    let mut tight = Tight { ei: none(), er: none(), di: none(), dr: none() };
    for (v, push) in matched.values() {
        let pop = matched.pop(v);
        // A value goes in before it comes out, whatever the windows say.
        tight.ei[v] = push.call;
        tight.dr[v] = pop.ret.max(push.call);
        tight.er[v] = push.ret.min(tight.dr[v]);
        tight.di[v] = pop.call.max(push.call);
    }
    tight
}

/// Too many values certainly inside at one instant.
pub(super) fn over_capacity(matched: &Matched<'_>, tight: &Tight) -> Option<BufferCounterexample> {
    let capacity = matched.history().capacity;
    let cores = || (0..tight.er.len()).filter(|v| tight.er[*v] < tight.di[*v]);
    let mut starts: Vec<Tick> = cores().map(|v| tight.er[v]).collect();
    let mut ends: Vec<Tick> = cores().map(|v| tight.di[v]).collect();
    starts.sort_unstable();
    ends.sort_unstable();
    // Open intervals throughout which all places are certainly taken.
    let mut taken: Vec<(Tick, Tick)> = Vec::new();
    let mut ended = 0;
    for (started, &instant) in starts.iter().enumerate() {
        // Stays are open intervals: one that ends where another begins does not meet it.
        while ends[ended] <= instant {
            ended += 1;
        }
        let inside = started + 1 - ended;
        if inside > capacity {
            let inside: Vec<usize> =
                cores().filter(|v| tight.er[*v] <= instant && instant < tight.di[*v]).collect();
            return Some(too_many(matched, inside, instant));
        }
        if inside == capacity {
            taken.push((instant, ends[ended]));
        }
    }
    if capacity == 0 {
        taken.push((0, NEVER));
    }
    // What need not stay needs a free place for an instant all the same.
    let squeezed = |v: &usize| {
        let first = tight.ei[*v].max(tight.di[*v]);
        let last = tight.er[*v].min(tight.dr[*v]);
        let before = taken.partition_point(|(start, _)| *start < first);
        tight.di[*v] <= tight.er[*v]
            && tight.ei[*v] != NEVER
            && before.checked_sub(1).is_some_and(|at| last < taken[at].1)
    };
    let v = (0..tight.er.len()).find(squeezed)?;
    let value = matched.value(v);
    Some(BufferCounterexample {
        invariant: Invariant::Cb1,
        sentence: format!(
            "{} went in and came out while all {capacity} places were taken by others.",
            name(value.token)
        ),
        operations: [Some(Operation::push(&value)), Operation::pop(&value)].into_iter().flatten().collect(),
    })
}

fn too_many(matched: &Matched<'_>, inside: Vec<usize>, instant: Tick) -> BufferCounterexample {
    let mut witnesses: Vec<Value> = inside.into_iter().map(|v| matched.value(v)).collect();
    witnesses.sort_by_key(|value| value.er);
    let shown = [witnesses.first(), witnesses.last()].into_iter().flatten();
    BufferCounterexample {
        invariant: Invariant::Cb1,
        sentence: format!(
            "{} items were inside just after tick {instant}, and the capacity is {}: from {} to {}.",
            witnesses.len(),
            matched.history().capacity,
            witnesses.first().map_or(String::new(), |value| name(value.token)),
            witnesses.last().map_or(String::new(), |value| name(value.token)),
        ),
        operations: shown
            .flat_map(|value| [Some(Operation::push(value)), Operation::pop(value)])
            .flatten()
            .collect(),
    }
}

/// The instants at which the buffer may have been full.
pub(super) struct Filled {
    /// Closed, apart, in order.
    intervals: Vec<(Tick, Tick)>,
}

impl Filled {
    pub(super) fn new(matched: &Matched<'_>, tight: &Tight) -> Filled {
        let capacity = matched.history().capacity;
        let possible = || possible(matched, tight);
        let mut starts: Vec<Tick> = possible().map(|(_, start, _)| start).collect();
        let mut ends: Vec<Tick> = possible().map(|(.., end)| end).collect();
        starts.sort_unstable();
        ends.sort_unstable();
        let mut intervals = Vec::new();
        let (mut started, mut began) = (0, None);
        if capacity == 0 {
            intervals.push((0, NEVER));
        }
        // A window that begins where another ends meets it.
        for (ended, &end) in ends.iter().enumerate() {
            while starts.get(started).is_some_and(|start| *start <= end) {
                started += 1;
                if started - ended == capacity {
                    began = Some(starts[started - 1]);
                }
            }
            if started - ended == capacity
                && let Some(began) = began.take()
            {
                intervals.push((began, end));
            }
        }
        Filled { intervals }
    }

    pub(super) fn within(&self, answer: Window) -> bool {
        let at = self.intervals.partition_point(|(_, end)| *end < answer.call);
        self.intervals.get(at).is_some_and(|(start, _)| *start <= answer.ret)
    }

    /// How often it may have become full.
    pub(super) fn times(&self) -> u64 {
        self.intervals.len() as u64
    }
}

/// Everything that can have been inside, with the first and last instant of that: what was lost may take up a
/// place for ever, and so may what was perhaps pushed.
fn possible<'a>(
    matched: &'a Matched<'_>,
    tight: &'a Tight,
) -> impl Iterator<Item = (usize, Tick, Tick)> + 'a {
    let values = (0..tight.ei.len()).map(|v| (v, tight.ei[v], tight.dr[v]));
    let missing = matched.lost.iter().copied().chain(matched.doubtful.iter().copied());
    let missing = missing.map(|v| (v, matched.push(v).call, NEVER));
    values.filter(|(_, start, _)| *start != NEVER).chain(missing)
}

/// How many of those that can have been inside are shown.
const SHOWN: usize = 4;

pub(super) fn false_full_witness(
    matched: &Matched<'_>,
    tight: &Tight,
    producer: usize,
    answer: Window,
) -> BufferCounterexample {
    let meets =
        || possible(matched, tight).filter(|(_, start, end)| *start <= answer.ret && *end >= answer.call);
    // The count rises only where a window begins.
    let mut starts: Vec<Tick> = meets().map(|(_, start, _)| start.max(answer.call)).collect();
    let mut ends: Vec<Tick> = meets().map(|(.., end)| end).collect();
    starts.sort_unstable();
    ends.sort_unstable();
    let (mut ended, mut most, mut best) = (0, 0, answer.call);
    for (started, start) in starts.iter().enumerate() {
        while ends[ended] < *start {
            ended += 1;
        }
        if started + 1 - ended > most {
            (most, best) = (started + 1 - ended, *start);
        }
    }
    let inside = meets().filter(|(_, start, end)| *start <= best && best <= *end);
    let mut operations: Vec<Operation> = inside
        .take(SHOWN)
        .flat_map(|(v, ..)| {
            let value = matched.value(v);
            [Some(Operation::push(&value)), matched.came_out(v).then(|| Operation::pop(&value)).flatten()]
        })
        .flatten()
        .collect();
    operations.push(Operation { who: Who::Producer(producer), did: Did::Full, window: answer });
    BufferCounterexample {
        invariant: Invariant::Cb2,
        sentence: format!(
            "At no instant of this answer \"full\" can more than {most} items have been inside, and the \
             capacity is {}.",
            matched.history().capacity
        ),
        operations,
    }
}
