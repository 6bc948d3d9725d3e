//! What FIFO order implies for the windows: if v was pushed before w, it is popped before w, and the other way
//! round. Every linearization of the windows is one of the tightened windows.

use super::fifo::steps;
use super::matching::Matched;
use super::merge::{Greatest, Least};
use super::{NEVER, Tick};

/// Windows by number. Where there is no value every tick is [`NEVER`].
pub(super) struct Tight {
    /// Call and return of the push.
    pub(super) ei: Vec<Tick>,
    pub(super) er: Vec<Tick>,
    /// Call and return of the pop.
    pub(super) di: Vec<Tick>,
    pub(super) dr: Vec<Tick>,
}

/// When each push must have happened, and each pop.
pub(super) fn deadlines(matched: &Matched<'_>) -> (Vec<Tick>, Vec<Tick>) {
    let mut push_by = vec![NEVER; matched.numbers()];
    let mut pop_by = vec![NEVER; matched.numbers()];
    let calls = |producer| matched.pushed(producer).map(|(v, push)| (push.call, matched.pop(v).ret));
    let later = Least::new((0..matched.producers()).map(calls), matched.count, NEVER);
    for producer in 0..matched.producers() {
        let mut later = later.walk();
        for (v, push) in matched.pushed(producer) {
            push_by[v] = push.ret;
            pop_by[v] = matched.pop(v).ret.min(later(push.ret));
        }
    }
    drop(later);
    let unpopped = || matched.values().filter(|(v, _)| matched.pop(*v).ret == NEVER);
    let (mut last, mut since) = (NEVER, NEVER);
    if matched.unpopped > 0 {
        last = unpopped().map(|(_, push)| push.ret).min().unwrap_or(NEVER);
        since = matched.possible_pop();
    }
    let calls = |consumer| matched.popped(consumer).map(|v| (matched.pop(v).call, matched.push(v).ret));
    let later = Least::new((0..matched.consumers()).map(calls), matched.count, NEVER);
    for consumer in 0..matched.consumers() {
        let mut later = later.walk();
        for v in matched.popped(consumer) {
            let pop = matched.pop(v).ret;
            push_by[v] = push_by[v].min(later(pop));
            if since > pop {
                push_by[v] = push_by[v].min(last);
            }
        }
    }
    for (push, pop) in push_by.iter_mut().zip(&pop_by) {
        *push = (*push).min(*pop);
    }
    (push_by, pop_by)
}

/// All four bounds. Call only if the history without the answers "full" is linearizable.
pub(super) fn tighten(matched: &Matched<'_>) -> Tight {
    let (er, dr) = deadlines(matched);
    let mut ei = vec![NEVER; matched.numbers()];
    let mut di = vec![NEVER; matched.numbers()];
    let earlier = steps(matched);
    for producer in 0..matched.producers() {
        let mut earlier = earlier.walk();
        for (v, push) in matched.pushed(producer) {
            ei[v] = push.call;
            di[v] = matched.pop(v).call.max(push.call).max(earlier(push.call));
        }
    }
    drop(earlier);
    let returns = |consumer| matched.popped(consumer).map(|v| (matched.pop(v).ret, matched.push(v).call));
    let earlier = Greatest::new((0..matched.consumers()).map(returns), matched.count);
    for consumer in 0..matched.consumers() {
        let mut earlier = earlier.walk();
        for v in matched.popped(consumer) {
            ei[v] = ei[v].max(earlier(matched.pop(v).call));
        }
    }
    if matched.unpopped > 0 {
        let before = earlier.walk()(matched.possible_pop());
        for (v, _) in matched.values().filter(|(v, _)| matched.pop(*v).ret == NEVER) {
            ei[v] = ei[v].max(before);
        }
    }
    Tight { ei, er, di, dr }
}
