//! The smallest part of a bounded history in which nothing but the search finds a fault.
//!
//! Answers change nothing, so they may be left out. A pop that never returned may not: it may have taken a value, and
//! without it that value would have stayed. What was over when the buffer was certainly empty may be left
//! out, and values pushed after the search had failed. Other values may be left out only where no answer "full" is
//! kept: it may need them.

use std::collections::BTreeSet;

use crate::buffer_history::{BufferHistory, ConsumerLog, Offered, Popped, ProducerLog, Tick, Window, token};
use crate::history::PENDING;
use crate::invariant::Invariant;

use super::matching::{self, Matched};
use super::picture::{BufferCounterexample, Did, Operation, Who};
use super::search::{Budget, Searched, search};
use super::tighten::tighten;
use super::{Answers, Effort, Judgement, NEVER, Value};

/// Beyond so many parts nothing is left out one by one.
const SMALL: usize = 600;
/// No attempt at leaving something out may take more than one in so many of the steps that are allowed for all.
const ATTEMPTS: u64 = 16;
/// How many operations are drawn at most.
const DRAWN: usize = 24;

#[derive(Clone)]
enum Part {
    Value(Value),
    Empty(usize, Window),
    Full(usize, Window),
    PendingPop(usize, Tick),
}

/// What is wrong with a history for which the search failed at a tick.
pub(super) fn counterexample(
    matched: &Matched<'_>,
    at: Tick,
    answers: Answers,
    effort: Effort,
) -> BufferCounterexample {
    let history = matched.history();
    let mut parts = since_empty(matched, at, answers);
    let mut steps = effort.steps;
    let mut fails = |parts: &[Part]| {
        let mut budget = Budget::new(steps.min(effort.steps / ATTEMPTS));
        // Reading it counts as well. What was given up is not left out.
        if budget.spend(parts.len() as u64).is_err() {
            return false;
        }
        let history = part_of(history, parts);
        let matched = matching::run(&history, &mut Judgement::default());
        let loose = matched.loosened();
        let loose = loose.as_ref().unwrap_or(&matched);
        let searched = search(loose, answers, effort.configurations, &mut budget);
        steps -= budget.spent();
        matches!(searched, Searched::Impossible(_))
    };
    if parts.len() <= SMALL && !fails(&parts) {
        // What was before bears on it after all: an answer that began there, or a call that never returned.
        let all = everything(matched, answers);
        if all.len() <= SMALL {
            parts = all;
        }
    }
    if parts.len() <= SMALL {
        leave_out(&mut parts, |part| matches!(part, Part::Empty(..) | Part::Full(..)), &mut fails);
        if !parts.iter().any(|part| matches!(part, Part::Full(..))) {
            leave_out(&mut parts, |part| !matches!(part, Part::PendingPop(..)), &mut fails);
        }
    }
    let empty = parts.iter().any(|part| matches!(part, Part::Empty(..)));
    let full = parts.iter().any(|part| matches!(part, Part::Full(..)));
    let invariant = match (empty, full) {
        (false, false) => Invariant::Cb1,
        (false, true) => Invariant::Cb2,
        (true, true) if answers.full => Invariant::Me1,
        (true, _) => Invariant::Or6,
    };
    let mut operations: Vec<Operation> = parts.iter().flat_map(Part::operations).collect();
    operations.sort_by_key(|operation| operation.window.call);
    let all = operations.len();
    operations.drain(..all.saturating_sub(DRAWN));
    let shown = match operations.len() {
        shown if shown < all => format!(" (the last {shown} of {all} are shown)"),
        _ => String::new(),
    };
    let sentence = format!(
        "No queue of capacity {} can have answered so: whatever the order in which these operations took effect, \
         one of them is outside its window{shown}.",
        history.capacity
    );
    BufferCounterexample { invariant, sentence, operations }
}

/// What counts between the last instant at which the buffer was certainly empty and the failure.
fn since_empty(matched: &Matched<'_>, at: Tick, answers: Answers) -> Vec<Part> {
    let history = matched.history();
    let tight = tighten(matched);
    let mut stays: Vec<(Tick, Tick, usize)> =
        matched.values().map(|(v, _)| (tight.ei[v], tight.dr[v], v)).collect();
    stays.extend(matched.doubtful.iter().map(|v| (matched.push(*v).call, NEVER, *v)));
    stays.retain(|(start, ..)| *start <= at);
    stays.sort_unstable();
    let (mut first, mut since, mut until) = (0, 0, 0);
    for (position, (start, end, _)) in stays.iter().enumerate() {
        if *start > until {
            (first, since) = (position, until);
        }
        until = until.max(*end);
    }
    let values = stays[first..].iter().map(|(.., v)| Part::Value(matched.value(*v))).collect();
    let counts = |answer: &&Window| answer.call >= since && answer.ret <= at;
    with_answers(values, history, answers, counts)
}

/// All there is.
fn everything(matched: &Matched<'_>, answers: Answers) -> Vec<Part> {
    let values = matched.values().map(|(v, _)| v).chain(matched.doubtful.iter().copied());
    let values = values.map(|v| Part::Value(matched.value(v))).collect();
    with_answers(values, matched.history(), answers, |_| true)
}

fn with_answers(
    mut parts: Vec<Part>,
    history: &BufferHistory,
    answers: Answers,
    counts: impl Fn(&&Window) -> bool,
) -> Vec<Part> {
    for (consumer, log) in history.consumers.iter().enumerate() {
        if answers.empty {
            parts.extend(log.empties.iter().filter(&counts).map(|answer| Part::Empty(consumer, *answer)));
        }
        parts.extend(log.pending.iter().map(|call| Part::PendingPop(consumer, *call)));
    }
    for (producer, log) in history.producers.iter().enumerate().filter(|_| answers.full) {
        parts.extend(log.fulls.iter().filter(&counts).map(|answer| Part::Full(producer, *answer)));
    }
    parts
}

/// Leaves out what it can, halves first.
fn leave_out(parts: &mut Vec<Part>, may: impl Fn(&Part) -> bool, mut fails: impl FnMut(&[Part]) -> bool) {
    let mut size = parts.len().next_power_of_two();
    while size > 0 {
        let candidates: Vec<usize> = (0..parts.len()).filter(|at| may(&parts[*at])).collect();
        let mut gone = BTreeSet::new();
        for some in candidates.chunks(size) {
            let without = |gone: &BTreeSet<usize>| -> Vec<Part> {
                let kept = (0..parts.len()).filter(|at| !gone.contains(at));
                kept.map(|at| parts[at].clone()).collect()
            };
            let mut tried = gone.clone();
            tried.extend(some);
            if fails(&without(&tried)) {
                gone = tried;
            }
        }
        let mut at = 0;
        parts.retain(|_| {
            at += 1;
            !gone.contains(&(at - 1))
        });
        size /= 2;
    }
}

/// A history of these parts alone, each on a thread of its own.
fn part_of(history: &BufferHistory, parts: &[Part]) -> BufferHistory {
    let mut part = BufferHistory {
        contract: history.contract,
        capacity: history.capacity,
        producers: Vec::new(),
        consumers: Vec::new(),
        drained: false,
    };
    for one in parts {
        match *one {
            Part::Value(value) => {
                let [push, pop] = [Some(Operation::push(&value)), Operation::pop(&value)];
                if let Some(Operation { window, .. }) = pop {
                    let token = Some(token(part.producers.len(), 0));
                    let pops = vec![Popped { window, token }];
                    part.consumers.push(ConsumerLog { pops, ..ConsumerLog::default() });
                }
                let offers = push.iter().map(|push| Offered::Accepted(push.window)).collect();
                part.producers.push(ProducerLog { offers, ..ProducerLog::default() });
            }
            Part::Empty(_, window) => {
                part.consumers.push(ConsumerLog { empties: vec![window], ..ConsumerLog::default() });
            }
            Part::Full(_, window) => {
                part.producers.push(ProducerLog { fulls: vec![window], ..ProducerLog::default() });
            }
            Part::PendingPop(_, call) => {
                part.consumers.push(ConsumerLog { pending: vec![call], ..ConsumerLog::default() });
            }
        }
    }
    part
}

impl Part {
    fn operations(&self) -> Vec<Operation> {
        match *self {
            Part::Value(value) => {
                [Some(Operation::push(&value)), Operation::pop(&value)].into_iter().flatten().collect()
            }
            Part::Empty(consumer, window) => {
                vec![Operation { who: Who::Consumer(consumer), did: Did::Empty, window }]
            }
            Part::Full(producer, window) => {
                vec![Operation { who: Who::Producer(producer), did: Did::Full, window }]
            }
            Part::PendingPop(consumer, call) => {
                let window = Window { call, ret: PENDING };
                vec![Operation { who: Who::Consumer(consumer), did: Did::Unreturned, window }]
            }
        }
    }
}
