//! What ticks cannot tell: the order of operations of one thread that share a window, as the items of a batch do. Two
//! conditions that follow from it, each one walk over the logs of one side; so what is blamed here is wrong, and what
//! is not may still be so where a bound, or pops that never returned, bear on it.

use crate::invariant::Invariant;

use super::matching::Matched;
use super::picture::{BufferCounterexample, Operation, name};
use super::{NEVER, UNRETURNED};

/// Two values of a history without flaw, of which a thread says which one came first, and the other side the opposite.
pub(super) fn contradicted(matched: &Matched<'_>) -> Option<BufferCounterexample> {
    if matched.flawed {
        return None;
    }
    pushes(matched).or_else(|| pops(matched))
}

/// What a producer pushed first came out last.
fn pushes(matched: &Matched<'_>) -> Option<BufferCounterexample> {
    for producer in 0..matched.producers() {
        let mut last = None;
        for (w, push) in matched.pushed(producer) {
            let pop = matched.pop(w);
            // Which value a pop took that never returned is not known, nor whether such a push came before the next.
            if push.ret == UNRETURNED
                || pop.ret == UNRETURNED
                || !matched.pending_pops.is_empty() && pop.ret == NEVER
            {
                continue;
            }
            if let Some((v, asked)) = last
                && asked > pop.ret
            {
                return Some(told(matched, v, w, "had been pushed before it by the same producer"));
            }
            if last.is_none_or(|(_, asked)| pop.call > asked) {
                last = Some((w, pop.call));
            }
        }
    }
    None
}

/// What a consumer took first went in last.
fn pops(matched: &Matched<'_>) -> Option<BufferCounterexample> {
    for consumer in 0..matched.consumers() {
        let mut last = None;
        let returned = matched.popped(consumer).filter(|w| matched.pop(*w).ret != UNRETURNED);
        for w in returned {
            let push = matched.push(w);
            if let Some((v, offered)) = last
                && offered > push.ret
            {
                return Some(told(
                    matched,
                    w,
                    v,
                    "was in before it was pushed, yet was taken after it by the same consumer",
                ));
            }
            if last.is_none_or(|(_, offered)| push.call > offered) {
                last = Some((w, push.call));
            }
        }
    }
    None
}

/// `first` should have come out before `second`.
fn told(matched: &Matched<'_>, first: usize, second: usize, why: &str) -> BufferCounterexample {
    let (first, second) = (matched.value(first), matched.value(second));
    let mut operations = vec![Operation::push(&first), Operation::push(&second)];
    operations.extend(Operation::pop(&first));
    operations.extend(Operation::pop(&second));
    operations.sort_by_key(|operation| operation.window.call);
    let sentence = format!("{} came out before {}, which {why}.", name(second.token), name(first.token));
    BufferCounterexample { invariant: Invariant::Or1, sentence, operations }
}
