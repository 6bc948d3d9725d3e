//! The exact check of an unbounded FIFO queue by one step function,
//! M(t) = the latest call of a pop among the values whose push returned before t.
//!
//! The order is broken iff M(call of push w) > return of pop w for some w. An instant t lies in no value's
//! certain stay iff M(t) <= t, and an answer "empty" is true iff it has such an instant. Each thread's log
//! is walked once beside the steps.

use crate::buffer_history::{BufferHistory, Tick, Window, split};
use crate::invariant::Invariant;

use super::matching::Matched;
use super::merge::Greatest;
use super::picture::{BufferCounterexample, Did, Operation, Who, name};
use super::{Judgement, Value};

/// M.
pub(super) fn steps(matched: &Matched<'_>) -> Greatest {
    let returns = |producer| matched.pushed(producer).map(|(v, push)| (push.ret, matched.pop(v).call));
    Greatest::new((0..matched.producers()).map(returns), matched.count)
}

/// A value that attains M(t).
fn attains(matched: &Matched<'_>, t: Tick) -> Option<Value> {
    let before = matched.values().filter(|(_, push)| push.ret < t);
    before.map(|(number, _)| number).max_by_key(|number| matched.pop(*number).call).map(|v| matched.value(v))
}

/// The first two values that came out in the wrong order.
pub(super) fn order(matched: &Matched<'_>, steps: &Greatest) -> Option<BufferCounterexample> {
    for producer in 0..matched.producers() {
        let mut latest = steps.walk();
        for (w, push) in matched.pushed(producer) {
            if latest(push.call) > matched.pop(w).ret {
                let (v, w) = (attains(matched, push.call)?, matched.value(w));
                let mut operations = vec![Operation::push(&v), Operation::push(&w)];
                operations.extend(Operation::pop(&v));
                operations.extend(Operation::pop(&w));
                operations.sort_by_key(|operation| operation.window.call);
                let (v_name, w_name) = (name(v.token), name(w.token));
                let sentence = format!(
                    "{v_name} was in before {w_name} was pushed, yet {w_name} had come out before {v_name} \
                     was asked for."
                );
                return Some(BufferCounterexample { invariant: Invariant::Or1, sentence, operations });
            }
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
pub(super) fn false_empties(history: &BufferHistory, steps: &Greatest) -> Vec<(usize, Window)> {
    let mut found = Vec::new();
    for (consumer, log) in history.consumers.iter().enumerate() {
        let mut latest = steps.walk();
        for answer in log.answers() {
            let mut instant = answer.call;
            // Where something is inside, look again when all that was pushed by then may be gone.
            while instant <= answer.ret {
                let gone = latest(instant);
                if gone <= instant {
                    break;
                }
                instant = gone;
            }
            if instant > answer.ret {
                found.push((consumer, *answer));
            }
        }
    }
    found
}

/// The fewest values whose stays cover the answer, nearly always one.
pub(super) fn empty_witness(matched: &Matched<'_>, consumer: usize, answer: Window) -> BufferCounterexample {
    let mut operations = Vec::new();
    let mut names = Vec::new();
    let mut covered = answer.call;
    while covered <= answer.ret
        && let Some(value) = attains(matched, covered)
        && value.di > covered
    {
        operations.push(Operation::push(&value));
        operations.extend(Operation::pop(&value));
        names.push(name(value.token));
        covered = value.di;
    }
    operations.push(Operation { who: Who::Consumer(consumer), did: Did::Empty, window: answer });
    let sentence = if names.len() == 1 {
        format!("{} was inside for the whole of this answer \"empty\".", names[0])
    } else {
        format!("At every instant of this answer \"empty\" one of {} was inside.", names.join(", "))
    };
    BufferCounterexample { invariant: Invariant::Or6, sentence, operations }
}
