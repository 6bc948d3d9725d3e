use stanchion_queues::{Answer, BufferContract, Order};

use super::{Judgement, judge};
use crate::buffer_history::{BufferHistory, ConsumerLog, Offered, Popped, ProducerLog, Window, token};
use crate::history::PENDING;
use crate::invariant::Invariant;

pub(super) fn history(contract: BufferContract, capacity: usize) -> BufferHistory {
    BufferHistory { contract, capacity, producers: Vec::new(), consumers: Vec::new(), drained: false }
}

pub(super) fn at(call: u64, ret: u64) -> Window {
    Window { call, ret }
}

/// Each operation on a thread of its own, so that any windows are possible.
pub(super) fn push(history: &mut BufferHistory, window: Window) {
    let log = ProducerLog { offers: vec![Offered::Accepted(window)], ..ProducerLog::default() };
    history.producers.push(log);
}

pub(super) fn full(history: &mut BufferHistory, window: Window) {
    history.producers.push(ProducerLog { fulls: vec![window], ..ProducerLog::default() });
}

pub(super) fn pop(history: &mut BufferHistory, producer: usize, window: Window) {
    let popped = Popped { window, token: Some(token(producer, 0)) };
    history.consumers.push(ConsumerLog { pops: vec![popped], ..ConsumerLog::default() });
}

pub(super) fn empty(history: &mut BufferHistory, window: Window) {
    history.consumers.push(ConsumerLog { empties: vec![window], ..ConsumerLog::default() });
}

pub(super) fn pending_pop(history: &mut BufferHistory, call: u64) {
    pending_pops(history, call, 1);
}

/// A batch of so many that never returned.
pub(super) fn pending_pops(history: &mut BufferHistory, call: u64, most: usize) {
    history.consumers.push(ConsumerLog { pending: vec![call; most], ..ConsumerLog::default() });
}

fn broken(judgement: &Judgement) -> Vec<Invariant> {
    let mut broken: Vec<Invariant> = judgement.broken().collect();
    broken.sort();
    broken
}

const UNBOUNDED: BufferContract = BufferContract { bounded: false, ..BufferContract::FIFO };

#[test]
fn each_violation_is_named_and_drawn() {
    let fifo = BufferContract::FIFO;
    let mut invented = history(fifo, 4);
    pop(&mut invented, 0, at(0, 1));
    assert_eq!(broken(&judge(&invented)), [Invariant::Al3]);

    let mut early = history(fifo, 4);
    push(&mut early, at(2, 3));
    pop(&mut early, 0, at(0, 1));
    assert_eq!(broken(&judge(&early)), [Invariant::Al3]);

    let mut torn = history(fifo, 4);
    push(&mut torn, at(0, 1));
    torn.consumers.push(ConsumerLog {
        pops: vec![Popped { window: at(2, 3), token: None }],
        empties: vec![at(4, 5)],
        ..ConsumerLog::default()
    });
    torn.drained = true;
    assert_eq!(broken(&judge(&torn)), [Invariant::Al5]);

    let mut doubled = history(fifo, 4);
    push(&mut doubled, at(0, 1));
    pop(&mut doubled, 0, at(2, 3));
    pop(&mut doubled, 0, at(4, 5));
    assert_eq!(broken(&judge(&doubled)), [Invariant::Al7]);

    let mut lost = history(fifo, 4);
    push(&mut lost, at(0, 1));
    empty(&mut lost, at(2, 3));
    lost.drained = true;
    let judgement = judge(&lost);
    assert_eq!(broken(&judgement), [Invariant::Al1]);
    assert_eq!(
        judgement.counterexamples[0].to_string().lines().skip(1).collect::<Vec<_>>(),
        [
            "  producer 0  push p0#0                 +0 .. +1      |[===]",
            "  consumer 0  pop -> empty              +2 .. +3      |        [===]",
        ]
    );

    let mut reordered = history(fifo, 4);
    push(&mut reordered, at(0, 1));
    push(&mut reordered, at(2, 3));
    pop(&mut reordered, 1, at(4, 5));
    pop(&mut reordered, 0, at(6, 7));
    assert_eq!(broken(&judge(&reordered)), [Invariant::Or1]);

    let mut false_empty = history(fifo, 4);
    push(&mut false_empty, at(0, 1));
    empty(&mut false_empty, at(2, 3));
    pop(&mut false_empty, 0, at(4, 5));
    assert_eq!(broken(&judge(&false_empty)), [Invariant::Or6]);

    let mut over = history(fifo, 1);
    push(&mut over, at(0, 1));
    push(&mut over, at(2, 3));
    pop(&mut over, 0, at(4, 5));
    assert_eq!(broken(&judge(&over)), [Invariant::Cb1]);

    let mut false_full = history(fifo, 2);
    push(&mut false_full, at(0, 1));
    full(&mut false_full, at(2, 3));
    assert_eq!(broken(&judge(&false_full)), [Invariant::Cb2]);
    false_full.contract.bounded = false;
    assert_eq!(broken(&judge(&false_full)), [Invariant::Cb2], "an unbounded buffer is never full");

    let mut refused = history(fifo, 1);
    push(&mut refused, at(0, 1));
    refused.producers.push(ProducerLog {
        offers: vec![Offered::Abandoned(at(2, 3))],
        fulls: vec![at(2, 3)],
        ..ProducerLog::default()
    });
    pop(&mut refused, 0, at(4, 5));
    pop(&mut refused, 1, at(6, 7));
    assert_eq!(broken(&judge(&refused)), [Invariant::Cb3]);

    // Refused, came out, and only then accepted.
    let mut leftover = history(fifo, 1);
    leftover.producers.push(ProducerLog {
        offers: vec![Offered::Accepted(at(6, 7))],
        fulls: vec![at(2, 3)],
        ..ProducerLog::default()
    });
    pop(&mut leftover, 0, at(4, 5));
    assert!(judge(&leftover).breaks(Invariant::Cb3));
}

#[test]
fn producer_order_is_judged_where_no_more_is_promised() {
    let contract = BufferContract { order: Order::PerProducer, ..BufferContract::FIFO };
    let mut swapped = history(contract, 4);
    let windows = [at(0, 1), at(2, 3)];
    let offers = windows.map(Offered::Accepted).to_vec();
    swapped.producers.push(ProducerLog { offers, ..ProducerLog::default() });
    let pops = [(1, at(4, 5)), (0, at(6, 7))]
        .map(|(sequence, window)| Popped { window, token: Some(token(0, sequence)) })
        .to_vec();
    swapped.consumers.push(ConsumerLog { pops, ..ConsumerLog::default() });
    assert_eq!(broken(&judge(&swapped)), [Invariant::Or2]);
    swapped.contract.order = Order::Unordered;
    assert_eq!(broken(&judge(&swapped)), []);
    // Two producers may overtake each other.
    let mut apart = history(contract, 4);
    push(&mut apart, at(0, 1));
    push(&mut apart, at(2, 3));
    pop(&mut apart, 1, at(4, 5));
    pop(&mut apart, 0, at(6, 7));
    assert_eq!(broken(&judge(&apart)), []);
}

#[test]
fn relaxed_answers_need_an_excuse() {
    let relaxed = BufferContract { empty: Answer::Relaxed, full: Answer::Relaxed, ..BufferContract::FIFO };
    let mut hidden = history(relaxed, 4);
    push(&mut hidden, at(0, 20));
    push(&mut hidden, at(2, 3));
    empty(&mut hidden, at(4, 5));
    pop(&mut hidden, 0, at(22, 23));
    pop(&mut hidden, 1, at(24, 25));
    let judgement = judge(&hidden);
    assert_eq!(broken(&judgement), [], "the push in flight hides what came after it");
    assert_eq!(judgement.lies.excused_empties, 1);
    hidden.contract.empty = Answer::Exact;
    assert_eq!(broken(&judge(&hidden)), [Invariant::Or6]);
    hidden.contract.empty = Answer::Relaxed;
    hidden.producers[0].offers[0] = Offered::Accepted(at(0, 1));
    assert_eq!(broken(&judge(&hidden)), [Invariant::Or6], "nothing is in flight");

    let mut blocked = history(relaxed, 2);
    for tick in [0, 2] {
        push(&mut blocked, at(tick, tick + 1));
    }
    pop(&mut blocked, 0, at(4, 20));
    pop(&mut blocked, 1, at(6, 7));
    full(&mut blocked, at(8, 9));
    let judgement = judge(&blocked);
    assert_eq!(broken(&judgement), [], "the first pop may not have released its slot");
    blocked.consumers[0].pops[0].window = at(4, 5);
    assert_eq!(broken(&judge(&blocked)), [Invariant::Cb2]);
}

#[test]
fn what_never_returned_may_have_happened_or_not() {
    let mut pushed = history(UNBOUNDED, 1);
    push(&mut pushed, at(0, PENDING));
    pop(&mut pushed, 0, at(2, 3));
    assert_eq!(broken(&judge(&pushed)), []);
    let mut taken = history(UNBOUNDED, 1);
    push(&mut taken, at(0, 1));
    pending_pop(&mut taken, 2);
    empty(&mut taken, at(4, 5));
    taken.drained = true;
    assert_eq!(broken(&judge(&taken)), []);
    taken.consumers[0].pending.clear();
    assert_eq!(broken(&judge(&taken)), [Invariant::Al1]);
    // A batch of two may have taken two, and no more.
    let mut batch = history(UNBOUNDED, 1);
    (0..2).for_each(|n| push(&mut batch, at(2 * n, 2 * n + 1)));
    pending_pops(&mut batch, 5, 2);
    empty(&mut batch, at(7, 8));
    batch.drained = true;
    assert_eq!(broken(&judge(&batch)), []);
    batch.consumers[0].pending.pop();
    assert_eq!(broken(&judge(&batch)), [Invariant::Al1]);
}

/// What a ring of acquire and release did on a processor with a store buffer: it looked at the consumer's cursor
/// before its own store of the third item could be seen.
#[test]
fn an_answer_behind_an_item_of_its_own_window_is_judged_by_what_was_inside() {
    let accepted = |call, ret| Offered::Accepted(at(call, ret));
    let popped = |sequence, call, ret| Popped { window: at(call, ret), token: Some(token(0, sequence)) };
    let seen = |pop| {
        let mut seen = history(BufferContract::FIFO, 2);
        let offers = vec![accepted(0, 4), accepted(5, 9), accepted(10, 20)];
        seen.producers.push(ProducerLog { offers, trailing: vec![at(10, 20)], ..ProducerLog::default() });
        let pops = vec![popped(0, 3, 8), pop, popped(2, 30, 31)];
        seen.consumers.push(ConsumerLog { pops, empties: vec![at(15, 18)], ..ConsumerLog::default() });
        seen
    };
    let mut buffered = seen(popped(1, 9, 14));
    assert_eq!(broken(&judge(&buffered)), []);
    // With a fence between the two, both of them have an instant.
    buffered.producers[0].fulls = std::mem::take(&mut buffered.producers[0].trailing);
    assert_eq!(broken(&judge(&buffered)), [Invariant::Me1]);
    // The second was out before the third was called, so two were never inside.
    let judgement = judge(&seen(popped(1, 6, 8)));
    assert_eq!(broken(&judgement), [Invariant::Cb2]);

    // The same on the other side: what this thread took is not held against its answer, and all else is.
    let mut behind = history(BufferContract::FIFO, 2);
    behind.producers.push(ProducerLog { offers: vec![accepted(0, 1)], ..ProducerLog::default() });
    let pops = vec![popped(0, 10, 20)];
    behind.consumers.push(ConsumerLog { pops, trailing: vec![at(10, 20)], ..ConsumerLog::default() });
    assert_eq!(broken(&judge(&behind)), []);
    behind.producers[0].offers.push(accepted(2, 3));
    assert_eq!(broken(&judge(&behind)), [Invariant::Or6]);
}

/// The items of a batch share its window, in their order.
#[test]
fn what_is_in_one_batch_keeps_its_order() {
    let popped = |sequence, window| Popped { window, token: Some(token(0, sequence)) };
    let by = |pops: Vec<Popped>| ConsumerLog { pops, ..ConsumerLog::default() };
    let offers = vec![Offered::Accepted(at(0, 1)); 2];
    let mut pushed = history(UNBOUNDED, 2);
    pushed.producers.push(ProducerLog { offers, ..ProducerLog::default() });
    pushed.consumers.push(by(vec![popped(1, at(20, 21))]));
    assert_eq!(broken(&judge(&pushed)), [Invariant::Or1], "the first is still inside");
    let mut second = pushed.clone();
    second.consumers.push(by(vec![popped(0, at(30, 31))]));
    assert_eq!(broken(&judge(&second)), [Invariant::Or1]);
    second.consumers[1].pops[0].window = at(21, 31);
    assert_eq!(broken(&judge(&second)), [], "it may have been taken at the same time");
    // A pop that never returned may have taken it.
    pending_pop(&mut pushed, 2);
    assert_eq!(broken(&judge(&pushed)), []);

    let mut apart = history(UNBOUNDED, 2);
    (0..2).for_each(|n| push(&mut apart, at(5 * n, 5 * n + 1)));
    let of = |producer| Popped { window: at(10, 11), token: Some(token(producer, 0)) };
    apart.consumers.push(by(vec![of(1), of(0)]));
    assert_eq!(broken(&judge(&apart)), [Invariant::Or1]);
    apart.consumers[0].pops.reverse();
    assert_eq!(broken(&judge(&apart)), []);
}
