//! The definition itself: a history is right if some order of its operations, each within its window, is one
//! that the sequential queue could have answered. Exponential; for histories of a few operations.

use std::collections::{HashSet, VecDeque};

use crate::buffer_history::{BufferHistory, Offered, Window};
use crate::history::{PENDING, Token};

#[derive(Clone, Copy)]
enum What {
    Push(Token),
    Pop(Token),
    PopAny,
    Empty,
    Full,
}

/// The sequential object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    /// Answers "full" count only if there is a bound.
    pub(super) capacity: Option<usize>,
    /// Any item may come out, not just the first.
    pub(super) bag: bool,
}

impl Queue {
    /// What the contract promises.
    pub(super) fn of(history: &BufferHistory) -> Queue {
        let contract = &history.contract;
        Queue {
            capacity: contract.bounded.then_some(history.capacity),
            bag: contract.order != stanchion_queues::Order::Fifo,
        }
    }
}

struct Search {
    operations: Vec<(Window, What)>,
    queue: Queue,
    seen: HashSet<(u32, Vec<Token>)>,
}

/// Whether the history is linearizable as such a queue.
pub(super) fn linearizable(history: &BufferHistory, queue: Queue) -> bool {
    let mut operations = Vec::new();
    for (producer, log) in history.producers.iter().enumerate() {
        for (sequence, offer) in log.offers.iter().enumerate() {
            if let Offered::Accepted(window) = *offer {
                operations.push((window, What::Push(crate::buffer_history::token(producer, sequence))));
            }
        }
        if queue.capacity.is_some() {
            operations.extend(log.fulls.iter().map(|window| (*window, What::Full)));
        }
    }
    for log in &history.consumers {
        operations.extend(log.pops.iter().filter_map(|pop| Some((pop.window, What::Pop(pop.token?)))));
        operations.extend(log.empties.iter().map(|window| (*window, What::Empty)));
        operations.extend(log.pending.iter().map(|&call| (Window { call, ret: PENDING }, What::PopAny)));
    }
    assert!(operations.len() <= 32, "the search is for small histories");
    Search { operations, queue, seen: HashSet::new() }.run(0, &mut VecDeque::new())
}

impl Search {
    fn run(&mut self, done: u32, queue: &mut VecDeque<Token>) -> bool {
        let open: Vec<usize> = (0..self.operations.len()).filter(|at| done & (1 << at) == 0).collect();
        if open.iter().all(|at| self.operations[*at].0.ret == PENDING) {
            return true;
        }
        if !self.seen.insert((done, queue.iter().copied().collect())) {
            return false;
        }
        let deadline = open.iter().map(|at| self.operations[*at].0.ret).min().unwrap_or(PENDING);
        for at in open {
            let (window, what) = self.operations[at];
            if window.call > deadline {
                continue;
            }
            let mut next = queue.clone();
            let legal = match what {
                What::Push(token) => {
                    next.push_back(token);
                    self.queue.capacity.is_none_or(|capacity| queue.len() < capacity)
                }
                What::Pop(token) => {
                    let at = next.iter().position(|inside| *inside == token);
                    at.is_some_and(|at| (self.queue.bag || at == 0) && next.remove(at).is_some())
                }
                What::PopAny => {
                    let choices = if self.queue.bag { queue.len() } else { queue.len().min(1) };
                    let mut right = false;
                    for choice in 0..choices {
                        let mut next = queue.clone();
                        next.remove(choice);
                        right = right || self.run(done | 1 << at, &mut next);
                    }
                    if right {
                        return true;
                    }
                    continue;
                }
                What::Empty => queue.is_empty(),
                What::Full => self.queue.capacity == Some(queue.len()),
            };
            if legal && self.run(done | 1 << at, &mut next) {
                return true;
            }
        }
        false
    }
}
