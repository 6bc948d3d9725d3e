//! Long histories of right queues that are full and empty half of the time, all threads busy. Too long for the
//! definition; but none may be blamed, and each must be decided.

use std::collections::VecDeque;

use proptest::test_runner::{RngAlgorithm, TestRng};
use rand::RngExt;
use stanchion_queues::BufferContract;

use super::{Decided, Effort, judge_with};
use crate::buffer_history::{BufferHistory, ConsumerLog, Offered, Popped, ProducerLog, Window, token};

/// Ticks between the instants at which two operations take effect.
const STEP: u64 = 10;

/// One queue in sequence, each operation with a window around its instant that meets those of all other threads.
fn busy(seed: u8, capacity: usize, threads: usize, operations: u64) -> BufferHistory {
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
        if producing {
            let log = &mut producers[thread];
            if queue.len() < capacity {
                queue.push_back(token(thread, log.offers.len()));
                log.offers.push(Offered::Accepted(window));
            } else {
                log.fulls.push(window);
            }
        } else {
            let log = &mut consumers[thread - threads];
            match queue.pop_front() {
                Some(token) => log.pops.push(Popped { window, token: Some(token) }),
                None => log.empties.push(window),
            }
        }
    }
    BufferHistory { contract: BufferContract::FIFO, capacity, producers, consumers, drained: false }
}

fn decided(construct: bool, by: Decided, cases: &[(u8, usize, usize, u64)]) {
    for &(seed, capacity, threads, operations) in cases {
        let history = busy(seed, capacity, threads, operations);
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

/// Here all of the few ways that are followed at first end now and then.
#[test]
fn a_right_queue_under_load_is_decided_by_the_search_alone() {
    decided(false, Decided::Searched, &[(5, 8, 3, 2_500), (1, 16, 4, 1_000), (6, 24, 4, 1_000)]);
}
