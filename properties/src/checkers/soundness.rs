//! No correct queue is ever blamed, and changed histories are.

use std::collections::BTreeMap;

use proptest::prelude::*;
use stanchion_queues::{Contract, Settle};

use super::model::{Faults, any_contract, run};
use super::{Index, judge};
use crate::dice::Dice;
use crate::history::{Event, Handle, History, Outcome, SendOutcome, What};
use crate::invariant::Invariant;
use crate::verdict::Verdict;

fn broken(history: &History) -> Vec<(Invariant, String)> {
    judge(history)
        .into_iter()
        .filter_map(|(invariant, verdict)| match verdict {
            Verdict::Broken(example) => {
                Some((invariant, format!("{} {:?}", example.sentence, example.culprits)))
            }
            _ => None,
        })
        .collect()
}

fn assert_innocent(history: &History, seed: u64) {
    let blamed = broken(history);
    if !blamed.is_empty() {
        for (number, event) in history.events.iter().enumerate() {
            eprintln!(
                "{number:4} [{} {}] {:?}-{:?} a{} {:?}",
                event.call, event.ret, event.at, event.until, event.actor.0, event.what
            );
        }
        panic!("seed {seed}, {:#?}\nblamed: {blamed:#?}", history.contract);
    }
}

/// Makes calls of different actors overlap without changing the order in which they took effect.
fn stretch(history: &History, dice: &mut Dice) -> History {
    const STEP: u64 = 1000;
    let events = &history.events;
    // Calls, as ranges of events.
    let mut calls: Vec<std::ops::Range<usize>> = Vec::new();
    for number in 0..events.len() {
        match calls.last_mut() {
            Some(last) if events[last.start].op == events[number].op => last.end = number + 1,
            _ => calls.push(number..number + 1),
        }
    }
    let barrier = |event: &Event| {
        !matches!(
            event.what,
            What::Send { .. }
                | What::Receive { .. }
                | What::Settle { .. }
                | What::Extend { .. }
                | What::Browse { .. }
                | What::Redrive { .. }
                | What::Depth { .. }
                | What::Advanced { .. }
        )
    };
    let fixed = |call: &std::ops::Range<usize>| {
        let first = &events[call.start];
        barrier(first) || matches!(first.what, What::Advanced { .. })
    };
    let receipts = |call: &std::ops::Range<usize>| -> Vec<Handle> {
        let events = events[call.clone()].iter();
        events
            .filter_map(|event| match event.what {
                What::Deliver { handle, .. } | What::Settle { handle, .. } | What::Extend { handle, .. } => {
                    Some(handle)
                }
                _ => None,
            })
            .collect()
    };
    // When each took effect. Two that know nothing of each other may share a tick: then either may come first, even
    // where the one that came last returned when the other was called.
    let mut bases: Vec<u64> = (1..=calls.len() as u64).map(|number| number * STEP).collect();
    for number in 1..calls.len() {
        let [before, call] = [&calls[number - 1], &calls[number]];
        let apart = bases[number - 1] == number as u64 * STEP
            && !fixed(before)
            && !fixed(call)
            && events[before.start].actor != events[call.start].actor
            && !receipts(before).iter().any(|handle| receipts(call).contains(handle));
        if apart && dice.one_in(4) {
            bases[number] = bases[number - 1];
        }
    }
    let mut given: BTreeMap<Handle, usize> = BTreeMap::new();
    let mut limit = vec![u64::MAX; calls.len()];
    let mut needs = vec![None; calls.len()];
    let mut latest: BTreeMap<u32, usize> = BTreeMap::new();
    for (number, call) in calls.iter().enumerate() {
        let base = bases[number];
        for event in &events[call.clone()] {
            match event.what {
                What::Deliver { handle, .. } => drop(given.insert(handle, number)),
                What::Settle { handle, .. } | What::Extend { handle, .. } => {
                    if let Some(&from) = given.get(&handle) {
                        limit[from] = limit[from].min(base - 1);
                        needs[number] = needs[number].max(Some(from));
                    }
                }
                _ => {}
            }
        }
        let actor = events[call.start].actor.0;
        if barrier(&events[call.start]) {
            limit[..number].iter_mut().for_each(|limit| *limit = (*limit).min(base - 1));
            latest.clear();
        } else if let Some(before) = latest.insert(actor, number) {
            limit[before] = limit[before].min(base - 1);
        }
    }
    let mut rets = vec![0; calls.len()];
    let mut last_of: BTreeMap<u32, u64> = BTreeMap::new();
    let mut wall = 0;
    let mut stretched: Vec<Event> = Vec::new();
    let mut clock = vec![(0, stanchion_queues::Time::ZERO)];
    for (number, call) in calls.iter().enumerate() {
        let base = bases[number];
        let first = &events[call.start];
        let earliest = (wall + 1)
            .max(last_of.get(&first.actor.0).map_or(0, |ret| ret + 1))
            .max(needs[number].map_or(0, |from: usize| rets[from] + 1));
        let (begin, end) = if fixed(call) {
            (base, base)
        } else {
            let far = dice.pick(&[1, 400, 1500, 6000]);
            let begin = base.saturating_sub(dice.below(far)).max(earliest).min(base);
            (begin, (base + dice.below(far)).min(limit[number]).max(base))
        };
        rets[number] = end;
        if barrier(first) {
            wall = end;
        }
        last_of.insert(first.actor.0, end);
        if matches!(first.what, What::Advanced { .. }) {
            clock.push((base, first.until));
        }
        stretched.extend(events[call.clone()].iter().map(|event| Event {
            call: begin,
            ret: end,
            ..event.clone()
        }));
    }
    let time = |tick: u64| clock[clock.partition_point(|&(from, _)| from <= tick) - 1].1;
    for event in &mut stretched {
        if !matches!(event.what, What::Advanced { .. }) {
            (event.at, event.until) = (time(event.call), time(event.ret));
        }
    }
    stretched.sort_by_key(|event| event.call);
    History { contract: history.contract.clone(), events: stretched }
}

fn faults(dice: &mut Dice) -> Faults {
    Faults { doubt: dice.one_in(2), crashes: dice.one_in(2), limits: dice.one_in(2) }
}

fn histories(seed: u64) -> [History; 2] {
    let mut dice = Dice::new(seed ^ 0xabcd);
    let contract = any_contract(&mut dice);
    let faults = faults(&mut dice);
    let operations = dice.pick(&[5, 20, 60, 150]);
    let history = run(contract, faults, seed, operations);
    let stretched = stretch(&history, &mut dice);
    [history, stretched]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_correct_queue_is_never_blamed(seed: u64) {
        for history in histories(seed) {
            assert_innocent(&history, seed);
        }
    }
}

/// A run may be stopped between any two calls: that is nobody's fault, and no reason for the judge to stop.
#[test]
fn a_history_that_stops_anywhere_blames_nobody() {
    for seed in 0..12 {
        for history in histories(seed) {
            let events = &history.events;
            let between_calls = (1..events.len())
                .filter(|&at| events[..at].iter().all(|before| before.ret < events[at].call));
            for end in between_calls {
                let stopped = History { contract: history.contract.clone(), events: events[..end].to_vec() };
                assert_innocent(&stopped, seed);
            }
        }
    }
}

/// A longer search for unsound rules, which shows the shortest history that is wrongly blamed.
#[test]
#[ignore = "takes a minute"]
fn a_correct_queue_is_never_blamed_for_long() {
    let mut shortest: Option<(History, u64)> = None;
    let mut blamed: BTreeMap<Invariant, u64> = BTreeMap::new();
    for seed in 0..60_000 {
        for history in histories(seed) {
            let broken = broken(&history);
            broken.iter().for_each(|(invariant, _)| *blamed.entry(*invariant).or_default() += 1);
            let shorter =
                shortest.as_ref().is_none_or(|(other, _)| history.events.len() < other.events.len());
            if !broken.is_empty() && shorter {
                shortest = Some((history, seed));
            }
        }
    }
    eprintln!("{blamed:?}");
    if let Some((history, seed)) = shortest {
        assert_innocent(&history, seed);
    }
}

#[test]
fn a_call_is_overlapped_by_what_was_unfinished_during_it() {
    for history in (0..100).flat_map(histories) {
        let index = Index::of(&history);
        for (number, event) in history.events.iter().enumerate() {
            let overlapped = history.events.iter().any(|other| {
                (other.actor, other.op) != (event.actor, event.op)
                    && other.call <= event.ret
                    && event.call <= other.ret
            });
            assert_eq!(index.overlapped(number as u32), overlapped, "event {number}");
        }
    }
}

/// How often changes of one kind are noticed, of a hundred.
fn noticed(kind: &str, mut change: impl FnMut(&mut History, &mut Dice) -> bool) -> u64 {
    let (mut changed, mut noticed) = (0, 0);
    for seed in 0..400 {
        let mut dice = Dice::new(seed);
        let contract =
            Contract { deliveries_allowed: dice.pick(&[None, Some(2), Some(3)]), ..Contract::durable() };
        let faults = Faults { doubt: false, crashes: dice.one_in(2), limits: false };
        let mut history = run(contract, faults, seed, 60);
        if change(&mut history, &mut dice) {
            changed += 1;
            noticed += u64::from(!broken(&history).is_empty());
        }
    }
    assert!(changed > 100, "{kind}: only {changed} histories could be changed");
    eprintln!("{kind}: {noticed} of {changed} noticed");
    noticed * 100 / changed
}

fn find(history: &History, dice: &mut Dice, which: impl Fn(&What) -> bool) -> Option<usize> {
    let fitting: Vec<usize> =
        (0..history.events.len()).filter(|&number| which(&history.events[number].what)).collect();
    (!fitting.is_empty()).then(|| dice.pick(&fitting))
}

fn is_delivery(what: &What) -> bool {
    matches!(what, What::Deliver { .. })
}

#[test]
fn swapped_deliveries_are_noticed() {
    let rate = noticed("swap", |history, dice| {
        let (Some(a), Some(b)) = (find(history, dice, is_delivery), find(history, dice, is_delivery)) else {
            return false;
        };
        let (one, two) = (history.events[a].what.clone(), history.events[b].what.clone());
        let (What::Deliver { token: first, .. }, What::Deliver { token: second, .. }) = (&one, &two) else {
            return false;
        };
        if first == second || history.events[a].op == history.events[b].op {
            return false;
        }
        (history.events[a].what, history.events[b].what) = (two, one);
        true
    });
    assert!(rate >= 95, "{rate}");
}

#[test]
fn dropped_deliveries_are_noticed() {
    let rate = noticed("drop", |history, dice| {
        let Some(number) = find(history, dice, is_delivery) else { return false };
        let op = history.events[number].op;
        history.events.remove(number);
        for event in &mut history.events {
            if event.op == op
                && let What::Receive { got: Some(got), .. } = &mut event.what
            {
                *got -= 1;
            }
        }
        true
    });
    assert!(rate >= 80, "{rate}");
}

#[test]
fn forgotten_messages_are_noticed() {
    let rate = noticed("forget", |history, dice| {
        let Some(number) = find(history, dice, is_delivery) else { return false };
        let What::Deliver { token: lost, .. } = history.events[number].what else { return false };
        let mut gone = std::collections::BTreeMap::new();
        history.events.retain(|event| match event.what {
            What::Deliver { token, .. } if token == lost => {
                *gone.entry(event.op).or_insert(0) += 1;
                false
            }
            _ => true,
        });
        for event in &mut history.events {
            if let What::Receive { got: Some(got), .. } = &mut event.what {
                *got -= gone.get(&event.op).copied().unwrap_or(0);
            }
        }
        true
    });
    assert_eq!(rate, 100);
}

#[test]
fn repeated_deliveries_are_noticed() {
    let rate = noticed("repeat", |history, dice| {
        let Some(number) = find(history, dice, is_delivery) else { return false };
        let mut again = history.events[number].clone();
        if let What::Deliver { handle, .. } = &mut again.what {
            handle.0 = 1 << 40;
        }
        history.events.insert(number + 1, again);
        true
    });
    assert_eq!(rate, 100);
}

#[test]
fn changed_attempts_are_noticed() {
    let rate = noticed("attempt", |history, dice| {
        let Some(number) = find(history, dice, is_delivery) else { return false };
        if let What::Deliver { attempt, .. } = &mut history.events[number].what {
            *attempt = if *attempt > 1 && dice.one_in(2) { *attempt - 1 } else { *attempt + 1 };
        }
        true
    });
    assert_eq!(rate, 100);
}

#[test]
fn changed_answers_are_noticed() {
    let rate = noticed("settled", |history, dice| {
        let settled = |what: &What| matches!(what, What::Settle { .. });
        let Some(number) = find(history, dice, settled) else { return false };
        if let What::Settle { outcome, .. } = &mut history.events[number].what {
            *outcome = if *outcome == Outcome::Done { Outcome::Stale } else { Outcome::Done };
        }
        true
    });
    assert!(rate >= 95, "{rate}");
    let rate = noticed("acked for nacked", |history, dice| {
        let nacked = |what: &What| {
            matches!(what, What::Settle { how: Settle::Nack { .. }, outcome: Outcome::Done, .. })
        };
        let Some(number) = find(history, dice, nacked) else { return false };
        if let What::Settle { how, .. } = &mut history.events[number].what {
            *how = Settle::Ack;
        }
        true
    });
    assert!(rate >= 90, "{rate}");
}

#[test]
fn changed_counts_are_noticed() {
    let rate = noticed("depth", |history, dice| {
        let counted = |what: &What| matches!(what, What::Depth { .. });
        let Some(number) = find(history, dice, counted) else { return false };
        if let What::Depth { depth: Some(depth) } = &mut history.events[number].what {
            let state = dice.pick(&[0, 1, 2, 3]);
            let place = [&mut depth.ready, &mut depth.in_flight, &mut depth.delayed, &mut depth.dead]
                .into_iter()
                .nth(state)
                .expect("four states");
            *place = if *place > 0 && dice.one_in(2) { *place - 1 } else { *place + 1 };
        }
        true
    });
    assert!(rate >= 90, "{rate}");
}

#[test]
fn refused_after_all_is_noticed() {
    let rate = noticed("refused", |history, dice| {
        let confirmed = |what: &What| matches!(what, What::Send { outcome: SendOutcome::Confirmed(_), .. });
        let Some(number) = find(history, dice, confirmed) else { return false };
        if let What::Send { outcome, .. } = &mut history.events[number].what {
            *outcome = SendOutcome::Refused(stanchion_queues::Refusal::Full);
        }
        true
    });
    assert_eq!(rate, 100);
}
