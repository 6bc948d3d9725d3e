use std::time::Instant;

use stanchion_queues::buffers::MutexDeque;
use stanchion_queues::file::SimHost;
use stanchion_queues::{Crash, Error, Leased, Refusal, Volatile};

use super::*;
use crate::engines::testing::{Bug, hosting};
use crate::history::{Event, History, PENDING, SendOutcome, What};
use crate::invariant::Invariant;
use crate::plan::{Fate, PlanSettings, Step, case_seed, splitmix};
use crate::rogues::delivery::RogueHost;
use crate::rogues::delivery::races::{self, Race};
use crate::rogues::tickets::TicketHost;
use crate::shrink::Shrink;
use crate::suite::Suite;

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
        let json = || serde_json::to_vec(&ran(SimHost::new, &plan)).expect("a history is plain data");
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

#[test]
fn steps_that_are_whole_do_not_overlap() {
    for mut plan in plans(50) {
        for step in &mut plan.steps {
            (step.whole, step.meanwhile) = (true, None);
        }
        assert_eq!(overlaps(&ran(leased, &plan)), 0);
    }
}

/// A send that is struck at its `point`-th point.
fn struck_send(point: u64) -> History {
    let send = Step::Send { session: 0, count: 1, delay_ms: 0, keyed: false, fate: Fate::Arrives };
    let meanwhile = Some(Meanwhile { point, event: Interruption::Crash(Crash::Power) });
    // With such a seed its host does nothing in a crash but crash.
    let seed = (0..).find(|seed| splitmix(seed ^ 1).is_multiple_of(8)).expect("one in eight");
    let plan = Plan {
        settings: PlanSettings { capacity: 4, deliveries_allowed: 2, seed },
        schedule: Schedule { seed: 0, strategy: Strategy::Uniform },
        steps: vec![Move { id: 0, step: send, whole: false, meanwhile }],
        redrive_at_end: false,
    };
    ran(|settings| RogueHost::correct(true, settings), &plan)
}

#[test]
fn a_crash_in_the_middle_of_a_call_leaves_it_pending_and_takes_only_what_was_not_done() {
    let came = |point| {
        let events = struck_send(point).events;
        let pending = events.iter().any(|event| event.ret == PENDING);
        (pending, events.iter().any(|event| matches!(event.what, What::Deliver { .. })))
    };
    let came: Vec<(bool, bool)> = (1..=20).map(came).collect();
    // A lock for the session, the way there, a lock, the clock: nothing is stored yet.
    assert_eq!(came[..4], [(false, false), (true, false), (true, false), (true, false)]);
    // Then the storage, where a power failure may leave it or not, and the way back, where it must be there.
    let way_back = came.iter().rposition(|(pending, _)| *pending).expect("it was in flight at some points");
    assert!(way_back > 5 && came[way_back..].iter().all(|(_, delivered)| *delivered), "{came:?}");
}

#[test]
fn a_storage_fails_in_the_middle_of_calls_and_is_healed_before_the_end() {
    let (mut refused, mut quiet) = (0, 0);
    for plan in plans(300) {
        let fails =
            |step: &Move| matches!(step.meanwhile, Some(Meanwhile { event: Interruption::StorageFails, .. }));
        if plan.steps.iter().any(fails) {
            let history = ran(|settings| RogueHost::correct(true, settings), &plan);
            let unavailable = |event: &&Event| {
                matches!(
                    event.what,
                    What::Send { outcome: SendOutcome::Refused(Refusal::Unavailable(_)), .. }
                )
            };
            refused += history.events.iter().filter(unavailable).count();
            quiet += usize::from(
                history.events.last().is_some_and(|last| last.what == What::DrainEnded { quiet: true }),
            );
        }
    }
    assert!(refused > 20 && quiet > 20, "{refused} sends were refused, {quiet} runs came to rest");
}

#[test]
fn a_panic_of_one_call_ends_the_run_with_those_of_others_pending() {
    let panicked = plans(500).map(|plan| ran(hosting(Bug::PanicsOnThirdAttempt), &plan)).find(|history| {
        let pending = history.events.iter().filter(|event| event.ret == PENDING).count();
        matches!(history.events.last(), Some(last) if matches!(last.what, What::Panicked { .. }))
            && pending > 1
    });
    let judged = checkers::judge(&panicked.expect("some plan reaches it"));
    assert!(judged.iter().any(|(invariant, verdict)| *invariant == Invariant::Li1 && verdict.is_broken()));
}

#[test]
fn a_race_is_saved_small_and_replayed_exactly() {
    let directory = tempfile::tempdir().expect("a directory");
    let budget = Budget { cases: 100, regressions: Some(directory.path().into()), ..Budget::quick() };
    let exploration = explore("racy", races::hosting(Race::ReceiveTakes), &budget).expect("it starts");
    let mut finding = exploration.findings.into_iter();
    let finding = finding.find(|finding| finding.invariant == Invariant::Lv1).expect("it is judged");
    let failure = finding.failure.expect("it is broken");
    println!("{}", failure.picture);
    assert!(failure.steps_after <= 5 && failure.picture.contains("Replay: STANCHION_REPLAY="));
    let path =
        failure.replay.as_deref().and_then(|line| line.strip_prefix("STANCHION_REPLAY=")).expect("saved");
    let path = std::path::Path::new(path.split(' ').next().expect("a path"));
    let suite = || Suite::new().broker("racy", races::hosting(Race::ReceiveTakes));
    let again = [suite(), suite()].map(|suite| suite.replay(path, &budget).expect("it can be replayed"));
    assert!(again[0].broken && again[0] == again[1]);
    let lanes = |picture: &str| picture.split("Seed: ").next().map(str::to_owned);
    assert_eq!(lanes(&again[0].picture), lanes(&failure.picture));
    let mended = Suite::new().broker("racy", races::hosting(Race::ReceiveLooksAgain));
    assert!(!mended.replay(path, &budget).expect("it can be replayed").broken);
}

#[test]
fn plans_survive_json_and_faults_are_switched_on_run_by_run() {
    let crashes = |step: &Move| {
        let event = step.meanwhile.map(|meanwhile| meanwhile.event);
        matches!(step.step, Step::Crash { .. })
            || matches!(event, Some(Interruption::Crash(_) | Interruption::CrashAfter { .. }))
    };
    let lost = |step: &Move| step.step.clone().fate_mut().is_some_and(|fate| *fate != Fate::Arrives);
    let (mut crashing, mut losing, mut neither) = (0, 0, 0);
    for plan in plans(400) {
        let json = serde_json::to_string(&plan).expect("a plan is plain data");
        assert_eq!(serde_json::from_str::<Plan>(&json).expect("just written"), plan);
        let (crashes, loses) = (plan.steps.iter().any(crashes), plan.steps.iter().any(lost));
        crashing += usize::from(crashes);
        losing += usize::from(loses);
        neither += usize::from(!crashes && !loses);
    }
    assert!(crashing > 100 && losing > 100 && neither > 50, "{crashing} {losing} {neither}");
}

#[test]
fn uniform_turns_are_uniform_and_few_priorities_fall() {
    let uniform = Schedule { seed: 7, strategy: Strategy::Uniform };
    let first = |since| {
        let priority = |id| uniform.priority(&plan::Standing { id, point: 1, since, fell: None });
        (0..4).max_by_key(|&id| priority(id))
    };
    for id in 0..4 {
        let often = (0..4000).filter(|&since| first(since) == Some(id)).count();
        assert!((900..1100).contains(&often), "{id}: {often}");
    }
    let pct = Schedule { seed: 7, strategy: Strategy::Pct { one_in: 100 } };
    let fell = (0..1000).flat_map(|id| (1..=10).map(move |point| (id, point)));
    let fell = fell.filter(|&(id, point)| pct.falls(id, point)).count();
    assert!((70..130).contains(&fell), "{fell} of 10 000 points");
}

/// `cargo test --release -p stanchion-properties --lib -- --ignored --nocapture plans_a_second`
#[test]
#[ignore = "a measurement"]
fn plans_a_second() {
    let exactly = |plan: Plan| (plan.steps.len() >= 50).then(|| plan.with_steps(plan.steps[..50].to_vec()));
    let plans: Vec<Plan> = plans(40_000).filter_map(exactly).collect();
    let began = Instant::now();
    let events: usize = plans.iter().map(|plan| ran(leased, plan).events.len()).sum();
    let run = began.elapsed();
    let began = Instant::now();
    for plan in &plans {
        let broken = checkers::judge(&ran(leased, plan)).iter().any(|(_, verdict)| verdict.is_broken());
        assert!(!broken);
    }
    let judged = began.elapsed();
    let a_second = |time: std::time::Duration| plans.len() as f64 / time.as_secs_f64();
    println!(
        "{} plans of 50 steps, {events} events: {:.0} plans a second, {:.0} with their verdicts",
        plans.len(),
        a_second(run),
        a_second(judged)
    );
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
    all.extend(blamed(SimHost::new, "file", 2000));
    all.extend(blamed(TicketHost::new, "file by ticket", 1000));
    assert!(all.is_empty(), "{} blamed: {:#?}", all.len(), &all[..all.len().min(5)]);
}

/// `cargo test --release -p stanchion-properties --lib -- --ignored --nocapture the_file_queue_is_not_blamed`
#[test]
#[ignore = "minutes"]
fn the_file_queue_is_not_blamed_in_very_many_plans() {
    let mut all = blamed(SimHost::new, "file", 300_000);
    all.extend(blamed(TicketHost::new, "file by ticket", 100_000));
    assert!(all.is_empty(), "{} blamed: {:#?}", all.len(), &all[..all.len().min(5)]);
}
