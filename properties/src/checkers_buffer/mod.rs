//! Judges what happened to a buffer: pure functions from a [`BufferHistory`] to verdicts.
//!
//! Order, loss and "empty" are decided exactly: a history of an unbounded FIFO queue passes if and only if it
//! is linearizable (Gibbons, Bruno, Phillips 2002; Henzinger, Sezgin, Vafeiadis 2013). "Full" and the bound
//! are checked by necessary conditions on windows that are tightened by what FIFO order implies: what they
//! report is always wrong, what they miss needs an interplay of full and empty answers. O(n log n).

mod bounded;
mod fifo;
mod matching;
#[cfg(test)]
mod oracle;
mod picture;
mod relaxed;
#[cfg(test)]
mod tests;

use stanchion_queues::{Answer, Order};

use crate::buffer_history::{BufferHistory, Tick, Window};
use crate::history::{PENDING, Token};
use crate::invariant::Invariant;
use crate::verdict::{Counterexample, Verdict};

use fifo::Steps;
use matching::Matched;
pub use picture::{BufferCounterexample, Did, Operation, Who};

/// Beyond every return: when a value that never came out is popped.
const NEVER: Tick = u64::MAX;
/// The return of an operation that never returned: after every tick, before [`NEVER`].
const UNRETURNED: Tick = u64::MAX - 1;

/// One accepted item: when it went in and when it came out.
#[derive(Clone, Copy, Debug)]
struct Value {
    token: Token,
    /// Call and return of the push.
    ei: Tick,
    er: Tick,
    /// Call and return of the pop; both [`NEVER`] if there was none.
    di: Tick,
    dr: Tick,
    /// Who popped it.
    consumer: usize,
}

/// What the checkers say of one history.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// One verdict per promise.
    pub verdicts: Vec<(Invariant, Verdict)>,
    /// One for each broken promise. [`Counterexample::culprits`] are indices into its operations.
    pub counterexamples: Vec<BufferCounterexample>,
    /// Answers that were never true.
    pub lies: Lies,
}

/// Answers that were never true at any instant of their call: a measure of quality where the contract allows
/// them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lies {
    /// False "empty" that an unfinished push explains.
    pub excused_empties: u64,
    /// False "full" that an unfinished pop explains.
    pub excused_fulls: u64,
}

impl Judgement {
    /// Whether this promise was broken.
    pub fn breaks(&self, invariant: Invariant) -> bool {
        self.verdicts.iter().any(|(of, verdict)| *of == invariant && verdict.is_broken())
    }

    /// The broken promises, in the order in which they were checked.
    pub fn broken(&self) -> impl Iterator<Item = Invariant> {
        self.verdicts.iter().filter(|(_, verdict)| verdict.is_broken()).map(|(invariant, _)| *invariant)
    }

    fn say(&mut self, invariant: Invariant, verdict: Verdict) {
        self.verdicts.push((invariant, verdict));
    }

    fn blame(&mut self, found: BufferCounterexample) {
        let verdict = Verdict::Broken(Counterexample {
            invariant: found.invariant,
            sentence: found.sentence.clone(),
            missing_licence: None,
            culprits: (0..found.operations.len()).collect(),
        });
        self.verdicts.push((found.invariant, verdict));
        self.counterexamples.push(found);
    }

    /// Blames the first violation, or says how often the promise was tested.
    fn decide(&mut self, invariant: Invariant, found: Option<BufferCounterexample>, instances: u64) {
        match found {
            Some(found) => self.blame(found),
            None => self.say(invariant, Verdict::exercised(instances)),
        }
    }
}

/// Judges every promise that a buffer can keep.
pub fn judge(history: &BufferHistory) -> Judgement {
    let contract = &history.contract;
    let mut out = Judgement { verdicts: Vec::new(), counterexamples: Vec::new(), lies: Lies::default() };
    let matched = matching::run(history, &mut out);
    let Matched { values, lost, .. } = &matched;
    loss(history, &matched, &mut out);

    let steps = Steps::new(values);
    if contract.order == Order::Fifo {
        let instances = if values.len() < 2 { 0 } else { values.len() as u64 };
        out.decide(Invariant::Or1, fifo::order(values, &steps), instances);
    } else {
        out.say(Invariant::Or1, Verdict::NotClaimed);
    }
    if contract.order == Order::Unordered {
        out.say(Invariant::Or2, Verdict::NotClaimed);
    } else {
        fifo::producer_order(history, &mut out);
    }

    let false_empties = fifo::false_empties(history, values);
    let empties: u64 = history.consumers.iter().map(|log| log.empties.len() as u64).sum();
    let unexcused = match contract.empty {
        Answer::Exact => false_empties.first().copied(),
        // Nobody asks a buffer twice in a row and nothing else meanwhile.
        Answer::Unreliable => None,
        Answer::Relaxed => {
            let excuses = relaxed::Empties::new(history, &steps);
            let mut unexcused = false_empties.iter().filter(|(_, answer)| !excuses.excuse(*answer));
            let first = unexcused.next().copied();
            out.lies.excused_empties =
                (false_empties.len() - usize::from(first.is_some()) - unexcused.count()) as u64;
            first
        }
    };
    let found = unexcused.map(|(consumer, answer)| fifo::empty_witness(&steps, values, consumer, answer));
    out.decide(Invariant::Or6, found, empties);

    bounded::run(history, values, lost, matched.flawed || out.breaks(Invariant::Or1), &mut out);
    out
}

fn loss(history: &BufferHistory, matched: &Matched, out: &mut Judgement) {
    let invariant = Invariant::Al1;
    let unpopped = matched.values.iter().filter(|value| value.di == NEVER).count();
    let Some(first) = matched.lost.iter().min_by_key(|value| value.er) else {
        if unpopped > 0 {
            out.say(
                invariant,
                Verdict::Unknown(format!(
                    "{unpopped} items had not come out when the run ended before the buffer was drained"
                )),
            );
        } else {
            out.say(invariant, Verdict::exercised(matched.values.len() as u64));
        }
        return;
    };
    let count = matched.lost.len();
    if !history.drained || count as u64 <= matched.torn {
        let why = format!("{count} items did not come out under their name, but others came out damaged");
        out.say(invariant, Verdict::Unknown(why));
        return;
    }
    let mut operations = vec![Operation::push(first)];
    let last = history
        .consumers
        .iter()
        .enumerate()
        .filter_map(|(consumer, log)| log.empties.last().map(|window| (consumer, *window)))
        .max_by_key(|(_, window)| window.call);
    if let Some((consumer, window)) = last {
        operations.push(Operation { who: Who::Consumer(consumer), did: Did::Empty, window });
    }
    let sentence = format!(
        "{} was accepted and never came out, though in the end the buffer was drained until it answered \
         \"empty\" ({count} lost in all).",
        picture::name(first.token)
    );
    out.blame(BufferCounterexample { invariant, sentence, operations });
}

impl Operation {
    fn push(value: &Value) -> Operation {
        let (producer, _) = crate::buffer_history::split(value.token);
        Operation {
            who: Who::Producer(producer),
            did: Did::Push(value.token),
            window: window(value.ei, value.er),
        }
    }

    /// `None` if it never came out.
    fn pop(value: &Value) -> Option<Operation> {
        (value.di != NEVER).then(|| Operation {
            who: Who::Consumer(value.consumer),
            did: Did::Pop(value.token),
            window: window(value.di, value.dr),
        })
    }
}

fn window(call: Tick, ret: Tick) -> Window {
    Window { call, ret: if ret >= UNRETURNED { PENDING } else { ret } }
}
