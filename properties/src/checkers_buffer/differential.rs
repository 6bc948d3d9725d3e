//! The checker against the definition: on every small history, and on random ones that are right, or were right
//! before something in them was changed.

use proptest::test_runner::{RngAlgorithm, TestRng};
use rand::RngExt;
use stanchion_queues::{BufferContract, Order};

use super::picture::{Did, Operation};
use super::tests::{at, empty, full, history, pending_pop, pending_pops, pop, push};
use super::{Decided, Effort, Judgement, judge, judge_with, oracle};
use crate::buffer_history::{BufferHistory, ConsumerLog, Offered, Popped, ProducerLog, Window, split, token};
use crate::history::PENDING;
use crate::invariant::Invariant;
use crate::verdict::Verdict;

/// Calls `visit` with every arrangement of the calls and returns of `count` operations.
fn arrangements(count: usize, visit: &mut impl FnMut(&[Window])) {
    fn go(tick: u64, windows: &mut Vec<Window>, count: usize, visit: &mut impl FnMut(&[Window])) {
        if tick == 2 * count as u64 {
            return visit(windows);
        }
        // Calls are made in the order of the operations, so that no arrangement comes twice.
        if windows.len() < count {
            windows.push(at(tick, PENDING));
            go(tick + 1, windows, count, visit);
            windows.pop();
        }
        for at in 0..windows.len() {
            if windows[at].ret == PENDING {
                windows[at].ret = tick;
                go(tick + 1, windows, count, visit);
                windows[at].ret = PENDING;
            }
        }
    }
    go(0, &mut Vec::new(), count, visit);
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Push,
    PendingPush,
    Pop(usize),
    PendingPop,
    Empty,
    Full,
}

impl Kind {
    fn pushes(self) -> bool {
        matches!(self, Kind::Push | Kind::PendingPush)
    }
}

/// Each operation on a thread of its own.
fn build(contract: BufferContract, capacity: usize, kinds: &[Kind], windows: &[Window]) -> BufferHistory {
    let mut made = history(contract, capacity);
    // Producers first, so that the n-th push is that of producer n.
    for (kind, window) in kinds.iter().zip(windows) {
        match kind {
            Kind::Push => push(&mut made, *window),
            Kind::PendingPush => push(&mut made, at(window.call, PENDING)),
            _ => {}
        }
    }
    for (kind, window) in kinds.iter().zip(windows) {
        match kind {
            Kind::Push | Kind::PendingPush => {}
            Kind::Pop(value) => pop(&mut made, *value, *window),
            // Every other one is a batch of two.
            Kind::PendingPop => pending_pops(&mut made, window.call, 1 + window.call as usize % 2),
            Kind::Empty => empty(&mut made, *window),
            Kind::Full => full(&mut made, *window),
        }
    }
    made
}

/// Calls `visit` with all kinds for so many operations. Every pop is of a push, and no two of the same.
fn kinds(count: usize, of: &[Kind], chosen: &mut Vec<Kind>, visit: &mut impl FnMut(&[Kind])) {
    if chosen.len() == count {
        let pushes = chosen.iter().filter(|kind| kind.pushes()).count();
        if chosen.iter().all(|kind| !matches!(kind, Kind::Pop(value) if *value >= pushes)) {
            visit(chosen);
        }
        return;
    }
    for kind in of {
        if !matches!(kind, Kind::Pop(_)) || !chosen.contains(kind) {
            chosen.push(*kind);
            kinds(count, of, chosen, visit);
            chosen.pop();
        }
    }
}

/// The search alone, after the necessary conditions.
const SEARCH: Effort = Effort { construct: false, configurations: 20_000, steps: 100_000 };

#[derive(Default, Debug)]
struct Agreement {
    histories: u64,
    wrong: u64,
    wrong_only_when_bounded: u64,
    undecided: u64,
    constructed: u64,
    counted: u64,
    searched: u64,
    /// Broken although no single promise is.
    interplays: u64,
}

impl Agreement {
    fn compare(&mut self, history: &BufferHistory) {
        self.histories += 1;
        let judgement = judge(history);
        let right = oracle::linearizable(history, oracle::Queue::of(history));
        self.same(history, &judgement, right);
        if history.contract.bounded {
            self.same(history, &judge_with(history, SEARCH), right);
        }
        match judgement.decided {
            Some(Decided::Constructed) => self.constructed += 1,
            Some(Decided::Counted) => self.counted += 1,
            Some(Decided::Searched) => self.searched += 1,
            Some(Decided::Undecided) => self.undecided += 1,
            None => {}
        }
        self.wrong += u64::from(!right);
        self.interplays += u64::from(judgement.breaks(Invariant::Me1));
        let bounds = [Invariant::Cb1, Invariant::Cb2, Invariant::Me1];
        self.wrong_only_when_bounded +=
            u64::from(!right && judgement.broken().all(|invariant| bounds.contains(&invariant)));
    }

    fn same(&self, history: &BufferHistory, judgement: &Judgement, right: bool) {
        // A thread's own order counts where it made two calls at one tick; the definition sees ticks alone.
        if judgement.breaks(Invariant::Or2) {
            return;
        }
        if right && judgement.breaks(Invariant::Or1) {
            let queue = oracle::Queue::of(history);
            assert!(!oracle::linearizable_in_program_order(history, queue), "blamed: {history:#?}");
            return;
        }
        let undecided = judgement.decided == Some(Decided::Undecided);
        let broken: Vec<Invariant> = judgement.broken().collect();
        assert!(
            undecided || right == broken.is_empty(),
            "the definition says {right}, the checker blames {broken:?}: {history:#?}"
        );
        // What had not come out at the end is unknown to the promise of no loss alone.
        let unknown = judgement.verdicts.iter().any(|(invariant, verdict)| {
            matches!(verdict, Verdict::Unknown(_)) && *invariant != Invariant::Al1
        });
        assert!(undecided || !right || !unknown, "{:?} {history:#?}", judgement.verdicts);
        for found in &judgement.counterexamples {
            // Of the others only the parts that make it plain are drawn.
            let whole = judgement.decided == Some(Decided::Searched)
                || matches!(found.invariant, Invariant::Or1 | Invariant::Or6);
            if whole {
                let part = alone(history, &found.operations);
                let queue = oracle::Queue::of(&part);
                assert!(
                    !oracle::linearizable(&part, queue)
                        || !oracle::linearizable_in_program_order(&kept(history, &found.operations), queue),
                    "what is drawn is not wrong: {found} in {history:#?}"
                );
            }
        }
    }
}

/// The history without other pushes and pops than these, each in its thread.
fn kept(whole: &BufferHistory, operations: &[Operation]) -> BufferHistory {
    let is_kept = |did: Did| operations.iter().any(|operation| operation.did == did);
    let mut part = whole.clone();
    for (producer, log) in part.producers.iter_mut().enumerate() {
        log.fulls.clear();
        for (sequence, offer) in log.offers.iter_mut().enumerate() {
            if !is_kept(Did::Push(token(producer, sequence))) {
                *offer = Offered::Abandoned(offer.window());
            }
        }
    }
    for log in &mut part.consumers {
        log.pops.retain(|pop| pop.token.is_some_and(|token| is_kept(Did::Pop(token))));
        (log.empties, log.pending) = (Vec::new(), Vec::new());
    }
    part
}

/// These operations as a history of their own.
pub(super) fn alone(whole: &BufferHistory, operations: &[Operation]) -> BufferHistory {
    let mut part = history(whole.contract, whole.capacity);
    let pushes = operations.iter().filter_map(|operation| match operation.did {
        Did::Push(token) => Some((token, operation.window)),
        _ => None,
    });
    let pushes: Vec<_> = pushes.collect();
    for (_, window) in &pushes {
        push(&mut part, *window);
    }
    for Operation { did, window, .. } in operations {
        match did {
            Did::Pop(token) => {
                let producer = pushes.iter().position(|(pushed, _)| pushed == token);
                pop(&mut part, producer.expect("its push is drawn as well"), *window);
            }
            Did::Empty => empty(&mut part, *window),
            Did::Full => full(&mut part, *window),
            Did::Unreturned => pending_pop(&mut part, window.call),
            Did::Push(_) | Did::Refused(_) | Did::Torn => {}
        }
    }
    part
}

/// Every history of so many operations of these kinds, with all ticks apart and with neighbours equal.
fn every(counts: std::ops::RangeInclusive<usize>, of: &[Kind], capacities: &[usize]) -> Agreement {
    let mut agreement = Agreement::default();
    for count in counts {
        kinds(count, of, &mut Vec::new(), &mut |kinds| {
            arrangements(count, &mut |windows| {
                for halved in [false, true] {
                    let tick = |tick: u64| if halved { tick / 2 } else { tick };
                    let windows: Vec<Window> =
                        windows.iter().map(|window| at(tick(window.call), tick(window.ret))).collect();
                    for capacity in capacities {
                        agreement.compare(&build(BufferContract::FIFO, *capacity, kinds, &windows));
                    }
                }
            });
        });
    }
    println!("{agreement:?}");
    agreement
}

const RETURNED: [Kind; 6] = [Kind::Push, Kind::Pop(0), Kind::Pop(1), Kind::Pop(2), Kind::Empty, Kind::Full];
const ALL: [Kind; 7] =
    [Kind::Push, Kind::PendingPush, Kind::Pop(0), Kind::Pop(1), Kind::PendingPop, Kind::Empty, Kind::Full];

#[test]
fn agrees_with_the_definition_on_every_small_history() {
    let agreement = every(1..=3, &ALL, &[1, 2]);
    assert!(agreement.wrong > 1000);
    let agreement = every(4..=4, &RETURNED, &[1, 2]);
    assert!(agreement.wrong > 1000 && agreement.searched > 100);
}

#[test]
#[ignore = "takes minutes"]
fn agrees_with_the_definition_on_every_history_of_five_operations() {
    every(4..=4, &ALL, &[1, 2]);
    every(5..=5, &RETURNED, &[1, 2]);
}

fn dice(seed: u8) -> TestRng {
    TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32])
}

/// A right history, then often changed: a sequential run, each operation widened into a window.
fn random_history(dice: &mut TestRng, contract: BufferContract, most: usize) -> BufferHistory {
    let mut capacity = dice.random_range(1..4);
    let mut queue = Vec::new();
    let mut kinds = Vec::new();
    let mut pushes = 0;
    for _ in 0..dice.random_range(2..=most) {
        kinds.push(if dice.random_range(0..2) == 0 {
            if contract.bounded && queue.len() == capacity {
                Kind::Full
            } else {
                queue.push(pushes);
                pushes += 1;
                Kind::Push
            }
        } else if queue.is_empty() {
            Kind::Empty
        } else {
            let fifo = contract.order == Order::Fifo;
            Kind::Pop(queue.remove(if fifo { 0 } else { dice.random_range(0..queue.len()) }))
        });
    }
    let width = dice.random_range(1..40);
    let mut windows: Vec<Window> = (0..kinds.len() as u64)
        .map(|position| {
            let point = 40 + 10 * position;
            at(point - dice.random_range(0..width), point + dice.random_range(0..width))
        })
        .collect();
    let any = |dice: &mut TestRng| dice.random_range(0..kinds.len());
    match dice.random_range(0..9) {
        0 => {
            let (a, b) = (any(dice), any(dice));
            windows.swap(a, b);
        }
        1 => {
            let (shifted, by) = (any(dice), dice.random_range(0..40));
            windows[shifted] = at(windows[shifted].call + by, windows[shifted].ret + by);
        }
        2 => {
            let replaced = any(dice);
            if !kinds[replaced].pushes() {
                let full = contract.bounded && dice.random_range(0..2) == 0;
                kinds[replaced] = if full { Kind::Full } else { Kind::Empty };
            }
        }
        3 => {
            let narrowed = any(dice);
            let middle = dice.random_range(windows[narrowed].call..=windows[narrowed].ret);
            windows[narrowed] = at(middle, middle);
        }
        4 => {
            let (a, b) = (any(dice), any(dice));
            if let (Kind::Pop(_), Kind::Pop(_)) = (kinds[a], kinds[b]) {
                kinds.swap(a, b);
            }
        }
        5 => capacity = dice.random_range(1..4),
        6 => {
            let (a, b) = (any(dice), any(dice));
            windows[a] = windows[b];
        }
        _ => {}
    }
    if dice.random_range(0..4) == 0 {
        let coarse = dice.random_range(2..12);
        windows.iter_mut().for_each(|window| *window = at(window.call / coarse, window.ret / coarse));
    }
    // Of a pop that never returns the item is unknown; pushes come anywhere so that numbers stay what they are.
    for unreturned in [Kind::PendingPush, Kind::PendingPop] {
        let returns = |kind: &Kind| match unreturned {
            Kind::PendingPush => *kind == Kind::Push,
            _ => matches!(kind, Kind::Pop(_)),
        };
        match dice.random_range(0..6) {
            0 => kinds
                .iter_mut()
                .rev()
                .find(|kind| returns(kind))
                .into_iter()
                .for_each(|kind| *kind = unreturned),
            1 => kinds
                .iter_mut()
                .filter(|kind| returns(kind) && dice.random_range(0..3) == 0)
                .for_each(|kind| *kind = unreturned),
            _ => {}
        }
    }
    build(contract, capacity, &kinds, &windows)
}

/// The same operations on as few threads as their windows allow. Some threads then make two calls at the
/// same tick, or several in one window, as a batch does.
fn on_few_threads(apart: &BufferHistory) -> BufferHistory {
    let mut made = history(apart.contract, apart.capacity);
    let mut offers: Vec<(Window, usize)> = Vec::new();
    let mut refusals = Vec::new();
    for (producer, log) in apart.producers.iter().enumerate() {
        offers.extend(log.offers.iter().map(|offer| (offer.window(), producer)));
        refusals.extend(log.fulls.iter().copied());
    }
    offers.sort_by_key(|(window, _)| (window.call, window.ret));
    refusals.sort_by_key(|window| (window.call, window.ret));
    let mut tokens = vec![None; apart.producers.len()];
    for (window, producer) in offers {
        let free = made.producers.iter().position(|log| {
            let last = log.offers.last().map(|offer| offer.window());
            last.is_none_or(|last| last.ret <= window.call || last == window)
        });
        let thread = free.unwrap_or(made.producers.len());
        if free.is_none() {
            made.producers.push(ProducerLog::default());
        }
        let log = &mut made.producers[thread];
        tokens[producer] = Some(token(thread, log.offers.len()));
        log.offers.push(Offered::Accepted(window));
    }
    for window in refusals {
        let free = made.producers.iter().position(|log| {
            let last = log.fulls.last().map_or(0, |last| last.ret);
            last <= window.call
                && log.offers.iter().all(|offer| {
                    let offer = offer.window();
                    offer.ret <= window.call || window.ret <= offer.call
                })
        });
        match free {
            Some(thread) => made.producers[thread].fulls.push(window),
            None => full(&mut made, window),
        }
    }
    let mut pops: Vec<Popped> = Vec::new();
    let mut empties = Vec::new();
    for log in &apart.consumers {
        pops.extend(log.pops.iter().map(|pop| {
            let token = pop.token.and_then(|token| tokens[split(token).0]);
            Popped { token, ..*pop }
        }));
        empties.extend(log.empties.iter().copied());
    }
    pops.sort_by_key(|pop| (pop.window.call, pop.window.ret));
    empties.sort_by_key(|window| (window.call, window.ret));
    for pop in pops {
        let free = made.consumers.iter().position(|log| {
            log.pops.last().is_none_or(|last| last.window.ret <= pop.window.call || last.window == pop.window)
        });
        match free {
            Some(thread) => made.consumers[thread].pops.push(pop),
            None => made.consumers.push(ConsumerLog { pops: vec![pop], ..ConsumerLog::default() }),
        }
    }
    for window in empties {
        match made
            .consumers
            .iter_mut()
            .find(|log| log.empties.last().is_none_or(|last| last.ret <= window.call))
        {
            Some(log) => log.empties.push(window),
            None => empty(&mut made, window),
        }
    }
    for log in apart.consumers.iter().filter(|log| !log.pending.is_empty()) {
        made.consumers.push(log.clone());
    }
    made
}

fn random(seed: u8, count: u64, most: usize) {
    let mut dice = dice(seed);
    for bounded in [true, false] {
        let contract = BufferContract { bounded, ..BufferContract::FIFO };
        let mut agreement = Agreement::default();
        for _ in 0..count {
            let apart = random_history(&mut dice, contract, most);
            agreement.compare(&apart);
            agreement.compare(&on_few_threads(&apart));
        }
        println!("{agreement:?}");
        assert!(agreement.wrong > count / 10 && agreement.undecided < count / 1000);
        assert!(!bounded || (agreement.interplays > count / 10_000 && agreement.searched > count / 1000));
    }
}

#[test]
fn agrees_with_the_definition_on_random_histories() {
    random(1, 10_000, 9);
}

#[test]
#[ignore = "takes minutes"]
fn agrees_with_the_definition_on_a_million_random_histories() {
    for seed in 2..10 {
        random(seed, 40_000, 9);
    }
    random(10, 20_000, 13);
}

/// The windows of everything that happened.
fn windows(history: &mut BufferHistory) -> Vec<&mut Window> {
    let mut windows = Vec::new();
    for ProducerLog { offers, fulls, .. } in &mut history.producers {
        windows.extend(offers.iter_mut().map(|offer| match offer {
            Offered::Accepted(window) | Offered::Abandoned(window) => window,
        }));
        windows.extend(fulls);
    }
    for ConsumerLog { pops, empties, .. } in &mut history.consumers {
        windows.extend(pops.iter_mut().map(|pop| &mut pop.window));
        windows.extend(empties);
    }
    windows
}

/// The search alone on longer histories, where one way can cover another that took its places at other times. Right
/// ones are narrowed window by window until they are wrong, so that all are nearly the one or the other.
fn searched(seed: u8, count: u64, most: usize) {
    let mut dice = dice(seed);
    let (mut agreement, mut found) = (Agreement::default(), 0);
    for _ in 0..count {
        let mut history = on_few_threads(&random_history(&mut dice, BufferContract::FIFO, most));
        loop {
            let right = oracle::linearizable(&history, oracle::Queue::of(&history));
            let judgement = judge_with(&history, SEARCH);
            agreement.same(&history, &judgement, right);
            agreement.histories += 1;
            agreement.wrong += u64::from(!right);
            let searched = judgement.decided == Some(Decided::Searched);
            agreement.searched += u64::from(searched);
            if !right {
                found += u64::from(searched);
                break;
            }
            let mut windows = windows(&mut history);
            // In the end nothing is left to be narrowed.
            if windows.is_empty() || dice.random_range(0..200) == 0 {
                break;
            }
            let narrowed = dice.random_range(0..windows.len());
            let Window { call, ret } = *windows[narrowed];
            let by = dice.random_range(0..=ret.min(call + 40) - call);
            let later = ret == PENDING || dice.random_range(0..2) == 0;
            *windows[narrowed] = if later { at(call + by, ret) } else { at(call, ret - by) };
        }
    }
    println!("{agreement:?}, {found} found by the search alone");
    assert!(found > count / 20 && agreement.wrong > count / 2 && agreement.undecided < count / 1000);
}

#[test]
fn the_search_agrees_with_the_definition_on_longer_histories() {
    searched(13, 1_000, 20);
}

#[test]
#[ignore = "takes minutes"]
fn the_search_agrees_with_the_definition_on_many_longer_histories() {
    searched(14, 50_000, 20);
    searched(15, 2_000, 26);
}

/// What is blamed, and that what is drawn of it is wrong by itself.
fn blames(history: &BufferHistory, expected: Invariant) {
    let judgement = judge(history);
    Agreement::default().same(history, &judgement, false);
    assert_eq!(judgement.broken().collect::<Vec<_>>(), [expected]);
}

#[test]
fn a_pop_that_never_returned_is_spent_once() {
    let mut whole = history(BufferContract::FIFO, 1);
    push(&mut whole, at(0, 2));
    pending_pop(&mut whole, 1);
    push(&mut whole, at(10, 11));
    pop(&mut whole, 1, at(20, 21));
    push(&mut whole, at(30, 31));
    full(&mut whole, at(32, 33));
    push(&mut whole, at(40, 41));
    blames(&whole, Invariant::Cb1);
}

#[test]
fn an_answer_that_began_before_the_buffer_was_certainly_empty_counts() {
    let mut whole = history(BufferContract::FIFO, 2);
    for window in [at(36, 56), at(33, 64), at(95, 117), at(145, 168)] {
        push(&mut whole, window);
    }
    let pops = [at(67, 106), at(83, 124), at(115, 144), at(157, 167)];
    pops.into_iter().enumerate().for_each(|(value, window)| pop(&mut whole, value, window));
    [at(77, 105), at(105, 150)].into_iter().for_each(|window| full(&mut whole, window));
    [at(11, 67), at(151, 156), at(66, 88)].into_iter().for_each(|window| empty(&mut whole, window));
    blames(&whole, Invariant::Me1);
}

/// Whether each consumer got the items of each producer in their order.
fn in_order_for_each(history: &BufferHistory) -> bool {
    history.consumers.iter().all(|log| {
        let tokens: Vec<_> = log.pops.iter().filter_map(|pop| pop.token).map(split).collect();
        tokens.iter().enumerate().all(|(at, (producer, sequence))| {
            tokens[at..].iter().all(|(other, later)| other != producer || later >= sequence)
        })
    })
}

/// Without an order, or with that of each producer alone, the bound and the answers "empty" are exact together; answers
/// "full" are judged for themselves, and what never returned is given the benefit of the doubt.
fn unordered(seed: u8, count: u64) {
    let mut dice = dice(seed);
    for order in [Order::Unordered, Order::PerProducer] {
        let contract = BufferContract { order, ..BufferContract::FIFO };
        let (mut wrong, mut blamed, mut disordered) = (0, 0, 0);
        for _ in 0..count {
            let apart = random_history(&mut dice, contract, 9);
            for history in [on_few_threads(&apart), apart] {
                let ordered = order == Order::Unordered || in_order_for_each(&history);
                let right = oracle::linearizable(&history, oracle::Queue::of(&history)) && ordered;
                let broken: Vec<Invariant> = judge(&history).broken().collect();
                let plain =
                    !history.has_pending() && history.producers.iter().all(|log| log.fulls.is_empty());
                assert!(!right || broken.is_empty(), "{broken:?} {history:#?}");
                assert!(right || !plain || !broken.is_empty(), "missed: {history:#?}");
                assert_eq!(broken.contains(&Invariant::Or2), !ordered, "{history:#?}");
                wrong += u64::from(!right);
                blamed += u64::from(!broken.is_empty());
                disordered += u64::from(!ordered);
            }
        }
        println!(
            "{order:?}: {wrong} wrong, {blamed} blamed, {disordered} of them out of order, of {}",
            2 * count
        );
        assert!(blamed > count / 10 && (order == Order::Unordered || disordered > count / 100));
    }
}

#[test]
fn with_less_than_fifo_every_promise_is_judged_for_itself() {
    unordered(11, 10_000);
}

#[test]
#[ignore = "takes minutes"]
fn with_less_than_fifo_every_promise_is_judged_for_itself_at_length() {
    unordered(12, 100_000);
}
