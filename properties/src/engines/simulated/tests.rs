use std::time::Instant;

use stanchion_queues::buffers::MutexDeque;
use stanchion_queues::file::SimHost;
use stanchion_queues::{Error, Leased, Volatile};

use super::*;
use crate::engines::testing::{Bug, hosting};
use crate::history::{History, PENDING, What};
use crate::plan::case_seed;
use crate::rogues::delivery::RogueHost;

type Boot = Box<dyn FnMut() -> Result<Leased<MutexDeque>, Error> + Send>;

fn leased(settings: &Settings) -> Volatile<Boot> {
    let settings = settings.clone();
    Volatile::new(Box::new(move || Leased::open(&settings)))
}

fn plans(count: u64) -> impl Iterator<Item = Plan> {
    (0..count).map(|case| Plan::draw(case_seed(1, "simulated", case)))
}

fn ran<H: Host>(make: impl Fn(&Settings) -> H, plan: &Plan) -> History {
    run(make, plan, true).expect("it starts")
}

/// How many calls began while another was in flight.
fn overlaps(history: &History) -> usize {
    let calls = || history.events.iter().filter(|event| event.call < event.ret);
    calls().filter(|one| calls().any(|other| other.call < one.call && one.call < other.ret)).count()
}

#[test]
fn the_same_plan_writes_the_same_history_byte_for_byte() {
    for plan in plans(200) {
        let json = || serde_json::to_vec(&ran(leased, &plan)).expect("a history is plain data");
        assert_eq!(json(), json());
        let json = || serde_json::to_vec(&ran(hosting(Bug::None), &plan)).expect("a history is plain data");
        assert_eq!(json(), json());
    }
}

#[test]
fn calls_overlap_and_crashes_strike_them_in_flight() {
    let (mut overlapping, mut pending, mut crashes, mut events) = (0, 0, 0, 0);
    for plan in plans(500) {
        let history = ran(leased, &plan);
        events += history.events.len();
        overlapping += overlaps(&history);
        pending += history.events.iter().filter(|event| event.ret == PENDING).count();
        crashes += history.events.iter().filter(|event| matches!(event.what, What::Crashed { .. })).count();
    }
    println!("{events} events, {overlapping} overlap, {crashes} crashes, {pending} pending");
    assert!(overlapping > 1000 && crashes > 100 && pending > 100);
}

fn blamed<H: Host>(make: impl Fn(&Settings) -> H, name: &str, count: u64) -> Vec<String> {
    let mut events = 0;
    let mut blamed = Vec::new();
    let began = Instant::now();
    for (case, plan) in plans(count).enumerate() {
        let history = ran(&make, &plan);
        events += history.events.len();
        for (invariant, verdict) in checkers::judge(&history) {
            if verdict.is_broken() {
                blamed.push(format!("{name}, case {case}: {invariant}: {verdict:?}"));
            }
        }
    }
    println!("{name}: {count} plans, {events} events, {:?}", began.elapsed());
    blamed
}

#[test]
fn what_is_right_is_not_blamed() {
    let mut all = blamed(leased, "leased", 2000);
    all.extend(blamed(hosting(Bug::None), "one that takes no part", 500));
    all.extend(blamed(|settings| RogueHost::correct(false, settings), "reference in memory", 1000));
    all.extend(blamed(|settings| RogueHost::correct(true, settings), "reference on disk", 1000));
    all.extend(blamed(SimHost::new, "file", 300));
    assert!(all.is_empty(), "{} blamed: {:#?}", all.len(), &all[..all.len().min(5)]);
}
