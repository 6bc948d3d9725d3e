//! The bound and the answers "full": three stages for a FIFO, counting for everything else.

use stanchion_queues::{Answer, BufferContract, Order};

use crate::buffer_history::{BufferHistory, ProducerLog, Window};
use crate::invariant::Invariant;
use crate::verdict::Verdict;

use super::construct::first_order;
use super::counting::{Filled, false_full_witness, over_capacity, windows};
use super::lazy::lazily;
use super::matching::Matched;
use super::mend::mended;
use super::picture::{BufferCounterexample, Did, Operation, Who};
use super::search::{Budget, Searched, search};
use super::tighten::Tight;
use super::{Answers, Decided, Effort, Judgement, relaxed, shrink};

/// Whether everything fits into one order that is found at once.
#[derive(Clone, Copy)]
pub(super) enum Built {
    /// The contract does not say that it must, or something is wrong already.
    Unasked,
    /// None was found, which says nothing.
    NotFound,
    /// With this, it became full so often.
    Fits(u64),
}

pub(super) fn build(matched: &Matched<'_>, effort: Effort) -> Built {
    let history = matched.history();
    if !history.contract.bounded || !claims_all(history) || matched.flawed || !effort.construct {
        return Built::Unasked;
    }
    constructed(matched, Answers { empty: true, full: true }).map_or(Built::NotFound, Built::Fits)
}

pub(super) fn run(matched: &Matched<'_>, built: Built, effort: Effort, out: &mut Judgement) {
    let history = matched.history();
    let contract = &history.contract;
    if !contract.bounded {
        out.say(Invariant::Cb1, Verdict::NotClaimed);
        // Each push is a chance to refuse, which it never may.
        let pushed: u64 = history.producers.iter().map(|log| log.offers.len() as u64).sum();
        out.decide(Invariant::Cb2, first_full(history), pushed);
        linearizable(history, None, matched.count as u64, out);
        return;
    }
    let fulls: u64 = history.producers.iter().map(|log| log.refusals().count() as u64).sum();
    let trailing = trailing(matched, out);
    // Where a value is missing or out of order, FIFO order implies nothing about the others.
    let fifo = contract.order == Order::Fifo && !matched.flawed && !out.breaks(Invariant::Or1);
    let answers = Answers {
        empty: contract.empty == Answer::Exact && !out.breaks(Invariant::Or6),
        full: contract.full == Answer::Exact,
    };
    let fills = match built {
        Built::Fits(fills) => Some(fills),
        Built::NotFound if answers.empty => None,
        Built::Unasked | Built::NotFound => {
            let asked = fifo && effort.construct && answers.full;
            asked.then(|| constructed(matched, answers)).flatten()
        }
    };
    if let Some(fills) = fills {
        out.decided = Some(Decided::Constructed);
        out.say(Invariant::Cb1, Verdict::exercised(fills));
        fulls_are_true(contract, trailing, fulls, out);
        linearizable(history, None, matched.count as u64, out);
        return;
    }

    let loose = matched.loosened();
    let loose = loose.as_ref().unwrap_or(matched);
    let tight = windows(loose, fifo);
    let over = over_capacity(loose, &tight);
    let filled = Filled::new(loose, &tight);
    let false_full = false_full(loose, &tight, &filled, |log| &log.fulls, out);
    drop(tight);
    let fits = if !fifo {
        Fits::Unasked
    } else if over.is_some() || (answers.full && false_full.is_some()) {
        out.decided = Some(Decided::Counted);
        Fits::Unasked
    } else {
        decide(matched, loose, answers, effort, out)
    };
    let (mut bound, mut whole) = (over, None);
    let mut undecided = None;
    let mut blamed = false_full.or(trailing);
    match fits {
        Fits::Unasked | Fits::Yes => {}
        Fits::No(found) => match found.invariant {
            Invariant::Cb1 => bound = Some(found),
            Invariant::Cb2 => blamed = Some(found),
            Invariant::Or6 => out.blame(found),
            _ => whole = Some(found),
        },
        Fits::Unknown(why) => undecided = Some(why),
    }
    let exact = claims_all(history);
    match undecided.as_ref().filter(|_| !exact) {
        Some(why) => out.say(Invariant::Cb1, Verdict::Unknown(why.clone())),
        None => out.decide(Invariant::Cb1, bound, filled.times()),
    }
    fulls_are_true(contract, blamed, fulls, out);
    match undecided.filter(|_| exact) {
        Some(why) => out.say(Invariant::Me1, Verdict::Unknown(why)),
        None => linearizable(history, whole, matched.count as u64, out),
    }
}

/// A trailing answer "full" during which too few can have been inside. What FIFO order implies is not used: an
/// item counts as inside from the call that moved it.
fn trailing(matched: &Matched<'_>, out: &mut Judgement) -> Option<BufferCounterexample> {
    if matched.history().producers.iter().all(|log| log.trailing.is_empty()) {
        return None;
    }
    let loose = matched.loosened();
    let loose = loose.as_ref().unwrap_or(matched);
    let plain = windows(loose, false);
    false_full(loose, &plain, &Filled::new(loose, &plain), |log| &log.trailing, out)
}

/// A single answer that may be given at any time promises nothing.
fn fulls_are_true(
    contract: &BufferContract,
    false_full: Option<BufferCounterexample>,
    fulls: u64,
    out: &mut Judgement,
) {
    if contract.full == Answer::Unreliable && false_full.is_none() {
        out.say(Invariant::Cb2, Verdict::NotClaimed);
    } else {
        out.decide(Invariant::Cb2, false_full, fulls);
    }
}

/// One of these answers during which too few can have been inside, and for which there is no excuse.
fn false_full(
    matched: &Matched<'_>,
    windows: &Tight,
    filled: &Filled,
    answers: impl Fn(&ProducerLog) -> &[Window],
    out: &mut Judgement,
) -> Option<BufferCounterexample> {
    let history = matched.history();
    let mut unexcused = None;
    for (producer, log) in history.producers.iter().enumerate() {
        for answer in answers(log).iter().filter(|answer| !filled.within(**answer)) {
            match history.contract.full {
                // Nobody asks a buffer twice in a row and nothing else meanwhile.
                Answer::Unreliable => {}
                Answer::Relaxed if relaxed::excused(history, Who::Producer(producer), *answer) => {
                    out.lies.excused_fulls += 1;
                }
                Answer::Exact | Answer::Relaxed => {
                    unexcused.get_or_insert((producer, *answer));
                }
            }
        }
    }
    let (producer, answer) = unexcused?;
    Some(false_full_witness(matched, windows, producer, answer))
}

/// How often the queue became full in a linearization that is found at once, if one is.
fn constructed(matched: &Matched<'_>, answers: Answers) -> Option<u64> {
    lazily(matched, answers).or_else(|| first_order(matched, answers))
}

/// Whether the values and the answers that must be true fit together.
enum Fits {
    Unasked,
    Yes,
    No(BufferCounterexample),
    Unknown(String),
}

/// How many steps of the search each operation adds to those that are allowed.
const STEPS_PER_OPERATION: u64 = 64;

/// How often an order is mended before the search: enough for most histories, and milliseconds.
const FEW_ROUNDS: u64 = 64;
/// How many values may be put in order, where the search gave up, for each step that it was allowed.
const VALUES_PER_STEP: u64 = 32;

fn decide(
    matched: &Matched<'_>,
    loose: &Matched<'_>,
    answers: Answers,
    effort: Effort,
    out: &mut Judgement,
) -> Fits {
    // With exact answers the likeliest were tried before.
    let likeliest = || (!answers.full).then(|| constructed(matched, answers)).flatten();
    if effort.construct && likeliest().or_else(|| mended(matched, answers, FEW_ROUNDS)).is_some() {
        out.decided = Some(Decided::Constructed);
        return Fits::Yes;
    }
    out.decided = Some(Decided::Searched);
    let operations = matched.history().len() as u64;
    let mut budget = Budget::new(effort.steps.saturating_add(STEPS_PER_OPERATION * operations));
    let many_rounds = VALUES_PER_STEP * effort.steps / (matched.count as u64).max(1);
    match search(loose, answers, effort.configurations, &mut budget) {
        Searched::Possible => Fits::Yes,
        Searched::Impossible(at) => Fits::No(shrink::counterexample(loose, at, answers, effort)),
        Searched::Undecided(_) if effort.construct && mended(matched, answers, many_rounds).is_some() => {
            out.decided = Some(Decided::Constructed);
            Fits::Yes
        }
        Searched::Undecided(why) => {
            out.decided = Some(Decided::Undecided);
            Fits::Unknown(format!(
                "whether {operations} operations fit into one queue of capacity {} was given up: {why}",
                matched.history().capacity,
            ))
        }
    }
}

/// Whether the contract says that the history as a whole is that of one FIFO queue.
fn claims_all(history: &BufferHistory) -> bool {
    let contract = &history.contract;
    contract.order == Order::Fifo
        && contract.empty == Answer::Exact
        && (contract.full == Answer::Exact || !contract.bounded)
}

/// The promise about the whole is broken by what no other promise is about; where another is broken, nothing is
/// said of it.
fn linearizable(
    history: &BufferHistory,
    found: Option<BufferCounterexample>,
    instances: u64,
    out: &mut Judgement,
) {
    let other = out.broken().next();
    if !claims_all(history) {
        out.say(Invariant::Me1, Verdict::NotClaimed);
    } else if let Some(found) = found {
        out.blame(found);
    } else if let Some(other) = other {
        let why = format!("{} is broken, and says more", other.id());
        out.say(Invariant::Me1, Verdict::Unknown(why));
    } else {
        out.say(Invariant::Me1, Verdict::exercised(instances));
    }
}

fn first_full(history: &BufferHistory) -> Option<BufferCounterexample> {
    let fulls = history.producers.iter().enumerate();
    let (producer, window): (usize, Window) = fulls
        .flat_map(|(producer, log)| log.refusals().map(move |full| (producer, *full)))
        .min_by_key(|(_, full)| full.call)?;
    Some(BufferCounterexample {
        invariant: Invariant::Cb2,
        sentence: "A buffer that claims to be unbounded answered \"full\".".to_owned(),
        operations: vec![Operation { who: Who::Producer(producer), did: Did::Full, window }],
    })
}
