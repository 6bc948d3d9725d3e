//! Finds the push of every pop: what was invented, doubled, damaged or refused, and what is missing.

use crate::buffer_history::{BufferHistory, Offered, Popped, Tick, Window, split, token};
use crate::history::PENDING;
use crate::invariant::Invariant;

use super::picture::{BufferCounterexample, Did, Operation, Who, name};
use super::{Judgement, NEVER, UNRETURNED, Value};

/// Pushes with their pops.
pub(super) struct Matched {
    /// Values to be judged further, producer by producer in program order. Those that never came out are
    /// among them only if they may still be inside.
    pub(super) values: Vec<Value>,
    /// Values that never came out and cannot be said to be inside.
    pub(super) lost: Vec<Value>,
    /// How many pops returned bytes that are no item.
    pub(super) torn: u64,
    /// Something else than order, "empty" and "full" is already wrong.
    pub(super) flawed: bool,
}

pub(super) fn run(history: &BufferHistory, out: &mut Judgement) -> Matched {
    let mut pop_of: Vec<Vec<Option<(usize, Window)>>> =
        history.producers.iter().map(|log| vec![None; log.offers.len()]).collect();
    let mut found = Found::default();
    let mut pops = 0;
    for (consumer, log) in history.consumers.iter().enumerate() {
        for popped in &log.pops {
            pops += 1;
            found.judge(history, &mut pop_of, consumer, popped);
        }
    }
    let refusals: u64 = history.producers.iter().map(|log| log.fulls.len() as u64).sum();
    let flawed = found.any();
    let torn = found.torn_count;
    out.decide(Invariant::Al3, found.invented, pops);
    out.decide(Invariant::Al5, found.torn, pops);
    out.decide(Invariant::Al7, found.doubled, pops);
    if history.contract.bounded {
        out.decide(Invariant::Cb3, found.refused, refusals);
    } else {
        out.say(Invariant::Cb3, crate::verdict::Verdict::NotClaimed);
    }

    let mut values = values(history, &pop_of);
    give_to_pending_pops(history, &mut values);
    // What is missing after a drain is lost; what is missing after a pop of something else may be what that
    // pop took. Neither may be held against the order or the answers: any subset of the values of a FIFO
    // history is again a FIFO history.
    let lost = if history.drained || flawed {
        let lost = values.iter().filter(|value| value.di == NEVER).copied().collect();
        values.retain(|value| value.di != NEVER);
        lost
    } else {
        Vec::new()
    };
    Matched { flawed: flawed || !lost.is_empty(), values, lost, torn }
}

#[derive(Default)]
struct Found {
    invented: Option<BufferCounterexample>,
    doubled: Option<BufferCounterexample>,
    torn: Option<BufferCounterexample>,
    refused: Option<BufferCounterexample>,
    torn_count: u64,
}

impl Found {
    fn any(&self) -> bool {
        self.invented.is_some() || self.doubled.is_some() || self.torn.is_some() || self.refused.is_some()
    }

    fn judge(
        &mut self,
        history: &BufferHistory,
        pop_of: &mut [Vec<Option<(usize, Window)>>],
        consumer: usize,
        popped: &Popped,
    ) {
        let who = Who::Consumer(consumer);
        let Some(token) = popped.token else {
            self.torn_count += 1;
            self.torn.get_or_insert_with(|| BufferCounterexample {
                invariant: Invariant::Al5,
                sentence: "A pop returned bytes that are those of no item: it was torn or overwritten."
                    .to_owned(),
                operations: vec![Operation { who, did: Did::Torn, window: popped.window }],
            });
            return;
        };
        let pop = Operation { who, did: Did::Pop(token), window: popped.window };
        let (producer, sequence) = split(token);
        let log = history.producers.get(producer);
        let Some((log, offer)) = log.and_then(|log| Some((log, log.offers.get(sequence)?))) else {
            self.invented.get_or_insert_with(|| BufferCounterexample {
                invariant: Invariant::Al3,
                sentence: format!("{} came out and was never offered by anyone.", name(token)),
                operations: vec![pop],
            });
            return;
        };
        let pushed = match *offer {
            Offered::Accepted(window) => window,
            Offered::Abandoned(window) => {
                self.refused.get_or_insert_with(|| refused(token, producer, window, pop));
                return;
            }
        };
        if popped.window.ret < pushed.call {
            // It was offered before only if a refusal lies between it and the producer's previous item.
            let before = log.offers[..sequence].last().map_or(0, |offer| match *offer {
                Offered::Accepted(window) | Offered::Abandoned(window) => window.ret,
            });
            let refusal = log.fulls.iter().rev().find(|full| full.call >= before && full.ret <= pushed.call);
            match refusal {
                Some(full) if full.call <= popped.window.ret => {
                    self.refused.get_or_insert_with(|| refused(token, producer, *full, pop));
                }
                _ => {
                    let push =
                        Operation { who: Who::Producer(producer), did: Did::Push(token), window: pushed };
                    self.invented.get_or_insert_with(|| BufferCounterexample {
                        invariant: Invariant::Al3,
                        sentence: format!("{} came out before it was pushed.", name(token)),
                        operations: vec![push, pop],
                    });
                }
            }
        }
        match &mut pop_of[producer][sequence] {
            none @ None => *none = Some((consumer, popped.window)),
            Some((first, window)) => {
                let (first, window) = (*first, *window);
                self.doubled.get_or_insert_with(|| BufferCounterexample {
                    invariant: Invariant::Al7,
                    sentence: format!("{} was pushed once and came out twice.", name(token)),
                    operations: vec![
                        Operation { who: Who::Producer(producer), did: Did::Push(token), window: pushed },
                        Operation { who: Who::Consumer(first), did: Did::Pop(token), window },
                        pop,
                    ],
                });
            }
        }
    }
}

fn refused(
    token: crate::history::Token,
    producer: usize,
    window: Window,
    pop: Operation,
) -> BufferCounterexample {
    BufferCounterexample {
        invariant: Invariant::Cb3,
        sentence: format!("{} was refused as not fitting, and came out all the same.", name(token)),
        operations: vec![Operation { who: Who::Producer(producer), did: Did::Refused(token), window }, pop],
    }
}

fn values(history: &BufferHistory, pop_of: &[Vec<Option<(usize, Window)>>]) -> Vec<Value> {
    let mut values = Vec::with_capacity(pop_of.iter().map(Vec::len).sum());
    for (producer, log) in history.producers.iter().enumerate() {
        for (sequence, offer) in log.offers.iter().enumerate() {
            let Offered::Accepted(push) = *offer else { continue };
            let pop = pop_of[producer][sequence];
            // A push that never returned and never came out may never have happened.
            if push.ret == PENDING && pop.is_none() {
                continue;
            }
            let (consumer, di, dr) =
                pop.map_or((0, NEVER, NEVER), |(consumer, window)| (consumer, window.call, ret(window)));
            let token = token(producer, sequence);
            values.push(Value { token, ei: push.call, er: ret(push), di, dr, consumer });
        }
    }
    values
}

fn ret(window: Window) -> Tick {
    window.ret.min(UNRETURNED)
}

/// Pops that never returned may each have taken one value. The earliest calls take the values pushed first;
/// any other choice leaves more that is certainly inside.
fn give_to_pending_pops(history: &BufferHistory, values: &mut [Value]) {
    let mut pending: Vec<(Tick, usize)> = history
        .consumers
        .iter()
        .enumerate()
        .filter_map(|(consumer, log)| log.pending.map(|call| (call, consumer)))
        .collect();
    if pending.is_empty() {
        return;
    }
    pending.sort_unstable();
    let mut unpopped: Vec<usize> = (0..values.len()).filter(|&at| values[at].di == NEVER).collect();
    unpopped.sort_by_key(|&at| values[at].er);
    for (&(call, consumer), at) in pending.iter().zip(unpopped) {
        values[at] = Value { di: call, dr: UNRETURNED, consumer, ..values[at] };
    }
}
