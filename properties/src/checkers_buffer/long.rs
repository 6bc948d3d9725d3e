//! Long histories of queues that are full and empty half of the time, all threads busy. Too long for the definition;
//! but no right one may be blamed, and each must be decided.

use std::collections::VecDeque;

use proptest::test_runner::{RngAlgorithm, TestRng};
use rand::RngExt;
use stanchion_queues::BufferContract;

use super::differential::alone;
use super::{Decided, Effort, judge, judge_with};
use crate::buffer_history::{BufferHistory, ConsumerLog, Offered, Popped, ProducerLog, Window, token};
use crate::invariant::Invariant;
use crate::verdict::Verdict;

/// Ticks between the instants at which two operations take effect.
const STEP: u64 = 10;

/// One in so many answers of a queue that lies.
const LIES: u32 = 50;

/// One queue in sequence, each operation with a window around its instant that meets those of all other threads. If it
/// lies, it sometimes answers "empty" or "full" when one place too many or too few is taken.
fn busy(seed: u8, capacity: usize, threads: usize, operations: u64, lies: bool) -> BufferHistory {
    let mut dice = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut producers = vec![ProducerLog::default(); threads];
    let mut consumers = vec![ConsumerLog::default(); threads];
    let mut queue = VecDeque::new();
    let mut last = vec![0; 2 * threads];
    let width = STEP * 2 * threads as u64;
    for step in 0..operations {
        let instant = width + STEP * step;
        let filling = (step / 512).is_multiple_of(2);
        let producing = dice.random_range(0..16) < if filling { 9 } else { 7 };
        let first = dice.random_range(0..threads);
        let thread = (0..threads)
            .map(|next| (first + next) % threads + if producing { 0 } else { threads })
            .find(|thread| last[*thread] < instant);
        let Some(thread) = thread else { continue };
        let call = (instant - dice.random_range(0..width)).max(last[thread] + 1);
        let window = Window { call, ret: instant + dice.random_range(0..width) };
        last[thread] = window.ret;
        let lie = usize::from(lies && dice.random_range(0..LIES) == 0);
        if producing {
            let log = &mut producers[thread];
            if queue.len() + lie < capacity {
                queue.push_back(token(thread, log.offers.len()));
                log.offers.push(Offered::Accepted(window));
            } else {
                log.fulls.push(window);
            }
        } else {
            let log = &mut consumers[thread - threads];
            match if queue.len() > lie { queue.pop_front() } else { None } {
                Some(token) => log.pops.push(Popped { window, token: Some(token) }),
                None => log.empties.push(window),
            }
        }
    }
    BufferHistory { contract: BufferContract::FIFO, capacity, producers, consumers, drained: false }
}

fn decided(construct: bool, by: Decided, cases: &[(u8, usize, usize, u64)]) {
    for &(seed, capacity, threads, operations) in cases {
        let history = busy(seed, capacity, threads, operations, false);
        assert!(history.producers.iter().map(|log| log.fulls.len()).sum::<usize>() as u64 > operations / 200);
        let judgement = judge_with(&history, Effort { construct, ..Effort::default() });
        assert!(judgement.counterexamples.is_empty(), "blamed: {}", judgement.counterexamples[0]);
        assert_eq!(judgement.decided, Some(by), "seed {seed}, capacity {capacity}, {threads} threads a side");
    }
}

#[test]
fn a_right_queue_under_load_is_decided_by_construction() {
    decided(
        true,
        Decided::Constructed,
        &[(1, 4, 2, 20_000), (2, 4, 4, 20_000), (3, 32, 2, 20_000), (4, 32, 4, 20_000)],
    );
}

#[test]
fn a_right_queue_under_load_is_decided_by_the_search_alone() {
    decided(
        false,
        Decided::Searched,
        &[(5, 8, 3, 2_500), (1, 4, 4, 2_500), (6, 2, 4, 2_500), (7, 32, 2, 2_500)],
    );
}

/// Single answers that were possible one by one, and not all together.
#[test]
fn a_queue_that_lies_under_load_is_found_out_by_the_search() {
    for (seed, capacity, threads) in [(4, 1, 2), (7, 2, 2), (42, 1, 4), (46, 2, 4), (82, 3, 2), (99, 3, 4)] {
        let history = busy(seed, capacity, threads, 1_000, true);
        let judgement = judge(&history);
        assert_eq!(judgement.decided, Some(Decided::Searched), "seed {seed}");
        assert_eq!(judgement.broken().collect::<Vec<_>>(), [Invariant::Me1], "seed {seed}");
        let drawn = alone(&history, &judgement.counterexamples[0].operations);
        assert!(judge(&drawn).broken().next().is_some(), "what is drawn is not wrong: {seed}");
        // Whoever may not look for what could be left out draws more, and blames it all the same.
        let judgement = judge_with(&history, Effort { steps: 0, ..Effort::default() });
        assert!(judgement.broken().next().is_some(), "seed {seed}");
    }
}

#[test]
fn what_the_search_gives_up_is_neither_right_nor_wrong() {
    let history = busy(1, 16, 4, 1_000, false);
    for (effort, why) in [
        (Effort { configurations: usize::MAX, ..Effort::default() }, "steps"),
        (Effort { configurations: 10, ..Effort::default() }, "ways"),
    ] {
        let judgement = judge_with(&history, Effort { construct: false, ..effort });
        assert_eq!(judgement.decided, Some(Decided::Undecided));
        assert!(judgement.broken().next().is_none());
        let verdicts = judgement.verdicts.iter();
        let [Verdict::Unknown(said)] =
            verdicts.filter(|(of, _)| *of == Invariant::Me1).map(|(_, verdict)| verdict).collect::<Vec<_>>()
                [..]
        else {
            panic!("not unknown: {:?}", judgement.verdicts)
        };
        assert!(said.contains(why), "{said}");
    }
}
