//! The exact check of an unbounded FIFO queue by one step function,
//! M(t) = the latest call of a pop among the values whose push returned before t.
//!
//! The order is broken iff M(call of push w) > return of pop w for some w. An instant t lies in no value's
//! certain stay iff M(t) <= t, and an answer "empty" is true iff it has such an instant.

use crate::buffer_history::{BufferHistory, Tick, Window, split};
use crate::invariant::Invariant;

use super::picture::{BufferCounterexample, Did, Operation, Who, name};
use super::{Judgement, Value};

/// M, as steps in order of `er`.
pub(super) struct Steps {
    returns: Vec<Tick>,
    /// The latest pop call so far, and whose it is.
    latest: Vec<(Tick, u32)>,
}

impl Steps {
    pub(super) fn new(values: &[Value]) -> Steps {
        let mut sorted: Vec<(Tick, Tick, u32)> =
            values.iter().enumerate().map(|(at, value)| (value.er, value.di, at as u32)).collect();
        // The values of each producer are sorted already, and this sort merges runs.
        sorted.sort_by_key(|(er, ..)| *er);
        let mut best = (0, u32::MAX);
        let latest = sorted
            .iter()
            .map(|&(_, di, at)| {
                if best.1 == u32::MAX || di > best.0 {
                    best = (di, at);
                }
                best
            })
            .collect();
        Steps { returns: sorted.into_iter().map(|(er, ..)| er).collect(), latest }
    }

    /// M(t) with the value that attains it; `None`: no push returned before t.
    pub(super) fn at(&self, t: Tick) -> Option<(Tick, usize)> {
        self.before(self.returns.partition_point(|er| *er < t))
    }

    fn before(&self, count: usize) -> Option<(Tick, usize)> {
        count.checked_sub(1).map(|last| (self.latest[last].0, self.latest[last].1 as usize))
    }
}

/// The first two values that came out in the wrong order.
pub(super) fn order(values: &[Value], steps: &Steps) -> Option<BufferCounterexample> {
    let (mut count, mut last) = (0, 0);
    for w in values {
        // Calls rise within a producer: one walk along the steps for each.
        if w.ei < last {
            count = 0;
        }
        last = w.ei;
        while steps.returns.get(count).is_some_and(|er| *er < w.ei) {
            count += 1;
        }
        if let Some((di, at)) = steps.before(count)
            && di > w.dr
        {
            let v = &values[at];
            let mut operations = vec![Operation::push(v), Operation::push(w)];
            operations.extend(Operation::pop(v));
            operations.extend(Operation::pop(w));
            operations.sort_by_key(|operation| operation.window.call);
            let (v_name, w_name) = (name(v.token), name(w.token));
            let sentence = format!(
                "{v_name} was in before {w_name} was pushed, yet {w_name} had come out before {v_name} was \
                 asked for."
            );
            return Some(BufferCounterexample { invariant: Invariant::Or1, sentence, operations });
        }
    }
    None
}

/// Each consumer must see each producer's items in their order.
pub(super) fn producer_order(history: &BufferHistory, out: &mut Judgement) {
    let mut instances = 0;
    for (consumer, log) in history.consumers.iter().enumerate() {
        let mut last: Vec<Option<(usize, Operation)>> = vec![None; history.producers.len()];
        for popped in &log.pops {
            let Some(token) = popped.token else { continue };
            let (producer, sequence) = split(token);
            let Some(last) = last.get_mut(producer) else { continue };
            let this =
                Operation { who: Who::Consumer(consumer), did: Did::Pop(token), window: popped.window };
            if let Some((before, earlier)) = last {
                instances += 1;
                if sequence < *before {
                    let Did::Pop(later_token) = earlier.did else { continue };
                    out.blame(BufferCounterexample {
                        invariant: Invariant::Or2,
                        sentence: format!(
                            "Consumer {consumer} received {} and then {}, which the same producer had pushed \
                             before it.",
                            name(later_token),
                            name(token)
                        ),
                        operations: vec![*earlier, this],
                    });
                    return;
                }
            }
            *last = Some((sequence, this));
        }
    }
    out.say(Invariant::Or2, crate::verdict::Verdict::exercised(instances));
}

/// Answers "empty" during the whole of which some value was certainly inside, with their consumer.
pub(super) fn false_empties(history: &BufferHistory, values: &[Value]) -> Vec<(usize, Window)> {
    let gaps = gaps(values);
    let mut found = Vec::new();
    for (consumer, log) in history.consumers.iter().enumerate() {
        let mut at = 0;
        for answer in &log.empties {
            while gaps[at].1 < answer.call {
                at += 1;
            }
            if gaps[at].0 > answer.ret {
                found.push((consumer, *answer));
            }
        }
    }
    found
}

/// The closed intervals in which no value is certainly inside, in order; the last has no end.
fn gaps(values: &[Value]) -> Vec<(Tick, Tick)> {
    let mut cores: Vec<(Tick, Tick)> =
        values.iter().filter(|value| value.di > value.er).map(|value| (value.er, value.di)).collect();
    cores.sort();
    let mut gaps = Vec::new();
    let mut end = 0;
    for (er, di) in cores {
        if er >= end {
            gaps.push((end, er));
        }
        end = end.max(di);
    }
    gaps.push((end, Tick::MAX));
    gaps
}

/// The fewest values whose stays cover the answer, nearly always one.
pub(super) fn empty_witness(
    steps: &Steps,
    values: &[Value],
    consumer: usize,
    answer: Window,
) -> BufferCounterexample {
    let mut operations = Vec::new();
    let mut names = Vec::new();
    let mut covered = answer.call;
    while covered <= answer.ret
        && let Some((di, at)) = steps.at(covered)
        && di > covered
    {
        operations.push(Operation::push(&values[at]));
        operations.extend(Operation::pop(&values[at]));
        names.push(name(values[at].token));
        covered = di;
    }
    operations.push(Operation { who: Who::Consumer(consumer), did: Did::Empty, window: answer });
    let sentence = if names.len() == 1 {
        format!("{} was inside for the whole of this answer \"empty\".", names[0])
    } else {
        format!("At every instant of this answer \"empty\" one of {} was inside.", names.join(", "))
    };
    BufferCounterexample { invariant: Invariant::Or6, sentence, operations }
}
