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

struct Search {
    operations: Vec<(Window, What)>,
    capacity: Option<usize>,
    seen: HashSet<(u32, Vec<Token>)>,
}

/// Whether the history is linearizable as a FIFO queue. Answers "full" count only if it is `bounded`.
pub(super) fn linearizable(history: &BufferHistory, bounded: bool) -> bool {
    let mut operations = Vec::new();
    for (producer, log) in history.producers.iter().enumerate() {
        for (sequence, offer) in log.offers.iter().enumerate() {
            if let Offered::Accepted(window) = *offer {
                operations.push((window, What::Push(crate::buffer_history::token(producer, sequence))));
            }
        }
        if bounded {
            operations.extend(log.fulls.iter().map(|window| (*window, What::Full)));
        }
    }
    for log in &history.consumers {
        operations.extend(log.pops.iter().filter_map(|pop| Some((pop.window, What::Pop(pop.token?)))));
        operations.extend(log.empties.iter().map(|window| (*window, What::Empty)));
        operations.extend(log.pending.map(|call| (Window { call, ret: PENDING }, What::PopAny)));
    }
    assert!(operations.len() <= 32, "the search is for small histories");
    let capacity = bounded.then_some(history.capacity);
    Search { operations, capacity, seen: HashSet::new() }.run(0, &mut VecDeque::new())
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
                    self.capacity.is_none_or(|capacity| queue.len() < capacity)
                }
                What::Pop(token) => next.pop_front() == Some(token),
                What::PopAny => next.pop_front().is_some(),
                What::Empty => queue.is_empty(),
                What::Full => self.capacity == Some(queue.len()),
            };
            if legal && self.run(done | 1 << at, &mut next) {
                return true;
            }
        }
        false
    }
}
