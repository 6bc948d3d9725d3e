//! Judges what happened to a buffer: pure functions from a [`BufferHistory`] to verdicts.
//!
//! A FIFO history with exact answers passes if and only if it is linearizable, by ticks; of operations of one thread that
//! share a window, as the items of a batch do, contradictions between two values are seen as well (`program_order`).
//! Without a bound that is decided by
//! one step function (Gibbons, Bruno, Phillips 2002; Henzinger, Sezgin, Vafeiadis 2013). With a bound, first a
//! linearization is constructed, by putting every operation off until it is due or else in an order settled
//! beforehand, and replayed: if that succeeds all is decided, the order and the answers "empty" included. Where it
//! fails, necessary conditions on windows that are tightened by what FIFO order implies say what is wrong; where
//! they are silent, an order is mended until it can be replayed; and where that does not succeed soon, a search decides. Construction and search each have a budget of steps that grows with the history:
//! the same history always has the same verdict, and a wrong one costs milliseconds, not minutes. A search whose
//! budget is used up gives up, and the verdict is [`Verdict::Unknown`].
//!
//! Where less is promised, each promise is decided for itself: whether too much was certainly inside at once,
//! whether enough can have been inside for an answer "full", whether nothing need have been inside for an answer
//! "empty". Only under [`Order::Fifo`] do they bear on each other beyond that.
//!
//! A relaxed answer that was never true is excused by any call of another thread that overlaps it; that is what
//! [`Answer::Relaxed`] says.
//!
//! Time is linear in the operations, but for the logarithm of the number of threads, until the search begins. Where
//! half of them are pushes, at most 45 bytes for each operation and a megabyte are in use at once, the history
//! included, if a linearization is constructed; 70 and a few megabytes if it must be searched for
//! (`examples/checker_speed`). Aimed at were 20 million operations a second, of pushes, pops and answers "empty", at any
//! length. Without a bound it is more than that on two busy cores (18 to 75); with one it was 7 to 17. With answers
//! "full" to justify on four threads a side it was 2 to 9, of which a good part goes into what is gone through more than
//! once; the search alone, where nothing can be constructed, takes 1 to 10 microseconds an operation.

mod bounded;
mod construct;
mod counting;
#[cfg(test)]
mod differential;
mod fifo;
mod lazy;
#[cfg(test)]
mod long;
mod matching;
mod mend;
mod merge;
#[cfg(test)]
mod nonsense;
#[cfg(test)]
mod oracle;
mod picture;
#[cfg(test)]
mod preempted;
mod program_order;
mod relaxed;
mod replay;
mod search;
mod shrink;
#[cfg(test)]
mod tests;
mod threads;
mod tighten;
mod walk;

use stanchion_queues::{Answer, Order};

use crate::buffer_history::{BufferHistory, ConsumerLog, Offered, ProducerLog, Tick, Window};
use crate::history::{PENDING, Token};
use crate::invariant::Invariant;
use crate::verdict::{Counterexample, Verdict};

use bounded::Built;
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

/// Which kinds of answers must fit.
#[derive(Clone, Copy, Debug)]
struct Answers {
    empty: bool,
    full: bool,
}

impl Answers {
    /// Answers "full" that must come true.
    fn fulls(self, log: &ProducerLog) -> &[Window] {
        if self.full { &log.fulls } else { &[] }
    }

    /// Answers "empty" that must come true.
    fn empties(self, log: &ConsumerLog) -> &[Window] {
        if self.empty { &log.empties } else { &[] }
    }
}

/// How hard a bounded FIFO history is tried.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Whether a linearization is constructed before there is a search.
    pub construct: bool,
    /// How many configurations the search may follow at once.
    pub configurations: usize,
    /// How many steps it may take, beyond some for each operation; and as many more to draw what is wrong.
    pub steps: u64,
}

impl Default for Effort {
    fn default() -> Effort {
        Effort { construct: true, configurations: 20_000, steps: 100_000 }
    }
}

/// How it was decided whether a bounded FIFO history fits together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// A linearization was constructed and replayed.
    Constructed,
    /// A necessary condition is broken.
    Counted,
    /// The search went through all ways.
    Searched,
    /// The search gave up.
    Undecided,
}

/// What the checkers say of one history.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// One verdict per promise.
    pub verdicts: Vec<(Invariant, Verdict)>,
    /// One for each broken promise. [`Counterexample::culprits`] are indices into its operations.
    pub counterexamples: Vec<BufferCounterexample>,
    /// Answers that were never true.
    pub lies: Lies,
    /// How the bounded FIFO was decided; `None`: the contract is another, or something else is wrong already.
    pub decided: Option<Decided>,
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
    judge_with(history, Effort::default())
}

/// [`judge`], but with this much effort.
pub fn judge_with(history: &BufferHistory, effort: Effort) -> Judgement {
    let contract = &history.contract;
    let mut out = Judgement::default();
    if let Some(window) = backwards(history) {
        let why = format!(
            "an operation was called at tick {} and returned at tick {}: the ticks of a run must come from one clock \
             that never goes back, and end before {UNRETURNED}",
            window.call, window.ret
        );
        PROMISES.iter().for_each(|invariant| out.say(*invariant, Verdict::Unknown(why.clone())));
        return out;
    }
    let matched = matching::run(history, &mut out);
    loss(history, &matched, &mut out);

    // Where everything fits into one order, most is decided.
    let built = bounded::build(&matched, effort);
    let fits = matches!(built, Built::Fits(_));
    let trailing = history.consumers.iter().any(|log| !log.trailing.is_empty());
    let steps = (!fits || trailing).then(|| fifo::steps(&matched));
    let unordered = steps.as_ref().filter(|_| !fits);

    if contract.order == Order::Fifo {
        let instances = if matched.count < 2 { 0 } else { matched.count as u64 };
        let by_ticks = unordered.and_then(|steps| fifo::order(&matched, steps));
        let broken = by_ticks.or_else(|| program_order::contradicted(&matched));
        out.decide(Invariant::Or1, broken, instances);
    } else {
        out.say(Invariant::Or1, Verdict::NotClaimed);
    }
    if contract.order == Order::Unordered {
        out.say(Invariant::Or2, Verdict::NotClaimed);
    } else {
        fifo::producer_order(history, &mut out);
    }

    let mut unexcused = None;
    for (consumer, answer) in steps.iter().flat_map(|steps| fifo::false_empties(history, steps)) {
        match contract.empty {
            // Nobody asks a buffer twice in a row and nothing else meanwhile.
            Answer::Unreliable => {}
            Answer::Relaxed if relaxed::excused(history, Who::Consumer(consumer), answer) => {
                out.lies.excused_empties += 1;
            }
            Answer::Exact | Answer::Relaxed => {
                unexcused.get_or_insert((consumer, answer));
            }
        }
    }
    drop(steps);
    let empties: u64 = history.consumers.iter().map(|log| log.answers().count() as u64).sum();
    let found = unexcused.map(|(consumer, answer)| fifo::empty_witness(&matched, consumer, answer));
    if contract.empty == Answer::Unreliable {
        out.say(Invariant::Or6, Verdict::NotClaimed);
    } else {
        out.decide(Invariant::Or6, found, empties);
    }

    bounded::run(&matched, built, effort, &mut out);
    out
}

/// What is said something of.
const PROMISES: [Invariant; 11] = {
    use Invariant::*;
    [Al1, Al3, Al5, Al7, Or1, Or2, Or6, Cb1, Cb2, Cb3, Me1]
};

/// A window that is none: nothing that follows from ticks can be said of a history with one.
fn backwards(history: &BufferHistory) -> Option<Window> {
    let is_wrong = |window: &Window| window.call > window.ret || window.call >= UNRETURNED;
    let of_producer = |log: &ProducerLog| {
        let offers = log.offers.iter().map(Offered::window).find(is_wrong);
        offers.or_else(|| log.refusals().copied().find(is_wrong))
    };
    let of_consumer = |log: &ConsumerLog| {
        let pops = log.pops.iter().map(|pop| pop.window).find(is_wrong);
        let pending = log.pending.iter().map(|call| Window { call: *call, ret: PENDING });
        pops.or_else(|| log.answers().copied().chain(pending).find(is_wrong))
    };
    let produced = history.producers.iter().find_map(of_producer);
    produced.or_else(|| history.consumers.iter().find_map(of_consumer))
}

fn loss(history: &BufferHistory, matched: &Matched, out: &mut Judgement) {
    let invariant = Invariant::Al1;
    let unpopped = matched.unpopped;
    let Some(first) = matched.lost.iter().map(|v| matched.value(*v)).min_by_key(|value| value.er) else {
        if unpopped > 0 {
            out.say(
                invariant,
                Verdict::Unknown(format!(
                    "{unpopped} items had not come out when the run ended before the buffer was drained"
                )),
            );
        } else {
            out.say(invariant, Verdict::exercised(matched.count as u64));
        }
        return;
    };
    let count = matched.lost.len();
    if !history.drained || count as u64 <= matched.torn {
        let why = format!("{count} items did not come out under their name, but others came out damaged");
        out.say(invariant, Verdict::Unknown(why));
        return;
    }
    let mut operations = vec![Operation::push(&first)];
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
