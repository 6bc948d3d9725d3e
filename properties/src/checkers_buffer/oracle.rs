//! The definition itself: a history is right if some order of its operations, each within its window, is one
//! that the sequential queue could have answered. Exponential; for histories of a few operations.

use std::collections::{HashSet, VecDeque};

use crate::buffer_history::{BufferHistory, Offered, Window, token};
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

#[derive(Clone, Copy)]
struct Operation {
    window: Window,
    what: What,
    /// The operation of the same thread that comes before, if that counts.
    after: Option<usize>,
}

impl Operation {
    fn of(window: Window, what: What) -> Operation {
        Operation { window, what, after: None }
    }
}

struct Search {
    operations: Vec<Operation>,
    queue: Queue,
    seen: HashSet<(u32, Vec<Token>)>,
}

/// Whether the history is linearizable as such a queue, by ticks.
pub(super) fn linearizable(history: &BufferHistory, queue: Queue) -> bool {
    search(history, queue, false)
}

/// The same where the pushes of a thread, and its pops, keep their order at equal ticks too.
pub(super) fn linearizable_in_program_order(history: &BufferHistory, queue: Queue) -> bool {
    search(history, queue, true)
}

fn search(history: &BufferHistory, queue: Queue, program_order: bool) -> bool {
    let mut operations = Vec::new();
    let in_order = |operations: &mut Vec<Operation>, of_thread: Vec<(Window, What)>| {
        for (nth, (window, what)) in of_thread.into_iter().enumerate() {
            let after = (program_order && nth > 0).then(|| operations.len() - 1);
            operations.push(Operation { window, what, after });
        }
    };
    for (producer, log) in history.producers.iter().enumerate() {
        let pushes = log.offers.iter().enumerate().filter_map(|(sequence, offer)| match *offer {
            Offered::Accepted(window) => Some((window, What::Push(token(producer, sequence)))),
            Offered::Abandoned(_) => None,
        });
        in_order(&mut operations, pushes.collect());
        if queue.capacity.is_some() {
            operations.extend(log.fulls.iter().map(|window| Operation::of(*window, What::Full)));
        }
    }
    for log in &history.consumers {
        let pops = log.pops.iter().filter_map(|pop| Some((pop.window, What::Pop(pop.token?))));
        in_order(&mut operations, pops.collect());
        operations.extend(log.empties.iter().map(|window| Operation::of(*window, What::Empty)));
        let pending = log.pending.iter().map(|&call| Window { call, ret: PENDING });
        operations.extend(pending.map(|window| Operation::of(window, What::PopAny)));
    }
    assert!(operations.len() <= 32, "the search is for small histories");
    Search { operations, queue, seen: HashSet::new() }.run(0, &mut VecDeque::new())
}

impl Search {
    fn run(&mut self, done: u32, queue: &mut VecDeque<Token>) -> bool {
        let open: Vec<usize> = (0..self.operations.len()).filter(|at| done & (1 << at) == 0).collect();
        if open.iter().all(|at| self.operations[*at].window.ret == PENDING) {
            return true;
        }
        if !self.seen.insert((done, queue.iter().copied().collect())) {
            return false;
        }
        let deadline = open.iter().map(|at| self.operations[*at].window.ret).min().unwrap_or(PENDING);
        for at in open {
            let Operation { window, what, after } = self.operations[at];
            if window.call > deadline || after.is_some_and(|before| done & (1 << before) == 0) {
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
