//! The bound and the answers "full": necessary conditions on when each value may and must be inside.

use stanchion_queues::{Answer, Order};

use crate::buffer_history::{BufferHistory, Tick, Window};
use crate::invariant::Invariant;
use crate::verdict::Verdict;

use super::picture::{BufferCounterexample, Did, Operation, Who, name};
use super::{Judgement, NEVER, Value, relaxed};

/// `flawed`: some value is missing or out of order, so that FIFO order implies nothing about the others.
pub(super) fn run(
    history: &BufferHistory,
    values: &[Value],
    lost: &[Value],
    flawed: bool,
    out: &mut Judgement,
) {
    let fulls: u64 = history.producers.iter().map(|log| log.fulls.len() as u64).sum();
    if !history.contract.bounded {
        out.say(Invariant::Cb1, Verdict::NotClaimed);
        let first = first_full(history);
        let found = first.map(|(producer, window)| BufferCounterexample {
            invariant: Invariant::Cb2,
            sentence: "A buffer that claims to be unbounded answered \"full\".".to_owned(),
            operations: vec![Operation { who: Who::Producer(producer), did: Did::Full, window }],
        });
        match found {
            Some(found) => out.blame(found),
            None => out.say(Invariant::Cb2, Verdict::NotClaimed),
        }
        return;
    }
    if history.has_pending() {
        let why = "an operation never returned: it may be what filled the buffer";
        out.say(Invariant::Cb1, Verdict::Unknown(why.to_owned()));
        out.say(Invariant::Cb2, Verdict::Unknown(why.to_owned()));
        return;
    }

    let tight = if history.contract.order == Order::Fifo && !flawed {
        tighten(values)
    } else {
        values.iter().map(consistent).collect()
    };
    // What was lost may occupy a slot for ever, and may not.
    let possible: Vec<Value> = tight.iter().copied().chain(lost.iter().map(consistent)).collect();
    let filled = Filled::new(&possible, history.capacity);
    out.decide(Invariant::Cb1, over_capacity(&tight, history.capacity), filled.intervals.len() as u64);

    let mut unexcused = None;
    let excuses = (history.contract.full == Answer::Relaxed).then(|| {
        // An operation is in flight for the whole of its window, whatever follows for its effect.
        let raw: Vec<Value> = values.iter().chain(lost).copied().collect();
        relaxed::Fulls::new(history, &raw)
    });
    for (producer, log) in history.producers.iter().enumerate() {
        for answer in log.fulls.iter().filter(|answer| !filled.within(**answer)) {
            match &excuses {
                _ if history.contract.full == Answer::Unreliable => {}
                Some(excuses) if excuses.excuse(*answer) => out.lies.excused_fulls += 1,
                _ => {
                    unexcused.get_or_insert((producer, *answer));
                }
            }
        }
    }
    let found =
        unexcused.map(|(producer, answer)| false_full_witness(&possible, history.capacity, producer, answer));
    out.decide(Invariant::Cb2, found, fulls);
}

fn first_full(history: &BufferHistory) -> Option<(usize, Window)> {
    let fulls = history.producers.iter().enumerate();
    fulls
        .filter_map(|(producer, log)| Some((producer, *log.fulls.first()?)))
        .min_by_key(|(_, full)| full.call)
}

/// A value goes in before it comes out, whatever the windows say.
fn consistent(value: &Value) -> Value {
    let dr = value.dr.max(value.ei);
    Value { di: value.di.max(value.ei), er: value.er.min(dr), dr, ..*value }
}

/// The windows that FIFO order leaves. Call only if the history without "full" is linearizable.
fn tighten(values: &[Value]) -> Vec<Value> {
    let pops_before = Prefix::max(values.iter().map(|v| (v.er, v.di)));
    let pops_after = Suffix::min(values.iter().map(|v| (v.ei, v.dr)));
    let pushes_before = Prefix::max(values.iter().map(|v| (v.dr, v.ei)));
    let pushes_after = Suffix::min(values.iter().map(|v| (v.di, v.er)));
    values
        .iter()
        .map(|v| {
            let di = v.di.max(v.ei).max(pops_before.below(v.ei));
            let dr = v.dr.min(pops_after.above(v.er));
            let ei = v.ei.max(pushes_before.below(v.di));
            let er = v.er.min(dr).min(pushes_after.above(v.dr));
            Value { ei, er, di, dr, ..*v }
        })
        .collect()
}

/// max { value : key < t }
struct Prefix {
    sorted: Vec<(Tick, Tick)>,
}

impl Prefix {
    fn max(pairs: impl Iterator<Item = (Tick, Tick)>) -> Prefix {
        let mut sorted: Vec<_> = pairs.collect();
        sorted.sort_by_key(|(key, _)| *key);
        let mut best = 0;
        for (_, value) in &mut sorted {
            best = best.max(*value);
            *value = best;
        }
        Prefix { sorted }
    }

    /// 0 if there is none.
    fn below(&self, t: Tick) -> Tick {
        let count = self.sorted.partition_point(|(key, _)| *key < t);
        count.checked_sub(1).map_or(0, |last| self.sorted[last].1)
    }
}

/// min { value : key > t }
struct Suffix {
    sorted: Vec<(Tick, Tick)>,
}

impl Suffix {
    fn min(pairs: impl Iterator<Item = (Tick, Tick)>) -> Suffix {
        let mut sorted: Vec<_> = pairs.collect();
        sorted.sort_by_key(|(key, _)| *key);
        let mut best = NEVER;
        for (_, value) in sorted.iter_mut().rev() {
            best = best.min(*value);
            *value = best;
        }
        Suffix { sorted }
    }

    /// [`NEVER`] if there is none.
    fn above(&self, t: Tick) -> Tick {
        let first = self.sorted.partition_point(|(key, _)| *key <= t);
        self.sorted.get(first).map_or(NEVER, |(_, value)| *value)
    }
}

/// More than `capacity` values certainly inside at one instant.
fn over_capacity(values: &[Value], capacity: usize) -> Option<BufferCounterexample> {
    let cores = || values.iter().filter(|value| value.er < value.di);
    let mut starts: Vec<Tick> = cores().map(|value| value.er).collect();
    let mut ends: Vec<Tick> = cores().map(|value| value.di).collect();
    starts.sort();
    ends.sort();
    let mut ended = 0;
    for (started, &instant) in starts.iter().enumerate() {
        // Stays are open intervals: one that ends where another begins does not meet it.
        while ends[ended] <= instant {
            ended += 1;
        }
        let inside = started + 1 - ended;
        if inside > capacity {
            let mut witnesses: Vec<&Value> =
                cores().filter(|value| value.er <= instant && instant < value.di).collect();
            witnesses.sort_by_key(|value| value.er);
            let shown = [witnesses.first(), witnesses.last()].into_iter().flatten();
            return Some(BufferCounterexample {
                invariant: Invariant::Cb1,
                sentence: format!(
                    "{inside} items were inside just after tick {instant}, and the capacity is {capacity}: from \
                     {} to {}.",
                    witnesses.first().map_or(String::new(), |value| name(value.token)),
                    witnesses.last().map_or(String::new(), |value| name(value.token)),
                ),
                operations: shown
                    .flat_map(|value| [Some(Operation::push(value)), Operation::pop(value)])
                    .flatten()
                    .collect(),
            });
        }
    }
    None
}

/// The instants at which the buffer may have been full.
struct Filled {
    /// Closed, apart, in order.
    intervals: Vec<(Tick, Tick)>,
}

impl Filled {
    fn new(values: &[Value], capacity: usize) -> Filled {
        let mut starts: Vec<Tick> = values.iter().map(|value| value.ei).collect();
        let mut ends: Vec<Tick> = values.iter().map(|value| value.dr).collect();
        starts.sort();
        ends.sort();
        let mut intervals = Vec::new();
        let (mut started, mut began) = (0, None);
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

    fn within(&self, answer: Window) -> bool {
        let at = self.intervals.partition_point(|(_, end)| *end < answer.call);
        self.intervals.get(at).is_some_and(|(start, _)| *start <= answer.ret)
    }
}

fn false_full_witness(
    values: &[Value],
    capacity: usize,
    producer: usize,
    answer: Window,
) -> BufferCounterexample {
    // The count rises only where a window begins.
    let meets = || values.iter().filter(|value| value.ei <= answer.ret && value.dr >= answer.call);
    let mut starts: Vec<Tick> = meets().map(|value| value.ei.max(answer.call)).collect();
    let mut ends: Vec<Tick> = meets().map(|value| value.dr).collect();
    starts.sort();
    ends.sort();
    let mut ended = 0;
    let mut most = 0;
    for (started, start) in starts.iter().enumerate() {
        while ends[ended] < *start {
            ended += 1;
        }
        most = most.max(started + 1 - ended);
    }
    let full = Operation { who: Who::Producer(producer), did: Did::Full, window: answer };
    let mut operations: Vec<Operation> = meets().take(3).map(Operation::push).collect();
    operations.push(full);
    BufferCounterexample {
        invariant: Invariant::Cb2,
        sentence: format!(
            "At no instant of this answer \"full\" can more than {most} items have been inside, and the \
             capacity is {capacity}."
        ),
        operations,
    }
}
