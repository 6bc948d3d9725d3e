//! Replays a linearization step by step. This is the only part that is trusted when a bounded history is
//! called linearizable: how the steps were found does not matter.

use std::collections::VecDeque;

use crate::buffer_history::{Tick, Window};

use super::matching::Matched;
use super::{Answers, NEVER};

/// One operation taking effect.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// The value with this number goes in.
    Push(usize),
    /// It comes out.
    Pop(usize),
    /// The consumer's next answer "empty".
    Empty(usize),
    /// The producer's next answer "full".
    Full(usize),
}

/// The sequential queue.
pub(super) struct Replay<'a> {
    matched: &'a Matched<'a>,
    now: Tick,
    queue: VecDeque<usize>,
    /// A bit for each number that was pushed.
    pushed: Vec<u64>,
    pushes: usize,
    pops: usize,
    empties: Vec<usize>,
    fulls: Vec<usize>,
    /// How often the last place was taken.
    fills: u64,
}

impl<'a> Replay<'a> {
    pub(super) fn new(matched: &'a Matched<'a>) -> Replay<'a> {
        Replay {
            matched,
            now: 0,
            queue: VecDeque::new(),
            pushed: vec![0; matched.numbers().div_ceil(64)],
            pushes: 0,
            pops: 0,
            empties: vec![0; matched.consumers()],
            fulls: vec![0; matched.producers()],
            fills: 0,
        }
    }

    /// Whether the queue answers so in this state, at an instant within the window of the operation.
    #[inline]
    pub(super) fn step(&mut self, at: Tick, step: Step) -> bool {
        let history = self.matched.history();
        let (window, legal) = match step {
            Step::Push(value) => {
                let bit = 1 << (value % 64);
                let again = self.pushed[value / 64] & bit != 0;
                self.pushed[value / 64] |= bit;
                self.pushes += 1;
                self.queue.push_back(value);
                self.fills += u64::from(self.queue.len() == history.capacity);
                let once = self.matched.holds(value) && !again;
                (Some(self.matched.push(value)), once && self.queue.len() <= history.capacity)
            }
            Step::Pop(value) => {
                self.pops += 1;
                (Some(self.matched.pop(value)), self.queue.pop_front() == Some(value))
            }
            Step::Empty(consumer) => {
                let answer = history.consumers[consumer].empties.get(self.empties[consumer]).copied();
                self.empties[consumer] += 1;
                (answer, self.queue.is_empty())
            }
            Step::Full(producer) => {
                let answer = history.producers[producer].fulls.get(self.fulls[producer]).copied();
                self.fulls[producer] += 1;
                (answer, self.queue.len() == history.capacity)
            }
        };
        let in_time = |Window { call, ret }: Window| self.now <= at && call <= at && at <= ret && at < NEVER;
        let right = legal && window.is_some_and(in_time);
        self.now = at;
        right
    }

    /// Whether every value, and every answer of the kinds asked for, had its turn. If so, how often the queue
    /// became full.
    pub(super) fn end(&self, answers: Answers) -> Option<u64> {
        let history = self.matched.history();
        let empties = history.consumers.iter().map(|log| log.empties.len()).zip(&self.empties);
        let fulls = history.producers.iter().map(|log| log.fulls.len()).zip(&self.fulls);
        let complete = self.pushes == self.matched.count
            && self.pops == self.matched.count - self.matched.unpopped
            && (!answers.empty || empties.into_iter().all(|(all, done)| all == *done))
            && (!answers.full || fulls.into_iter().all(|(all, done)| all == *done));
        complete.then_some(self.fills)
    }
}
