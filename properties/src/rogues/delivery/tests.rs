//! The reference keeps each rule; each switch changes what is seen.

use std::cell::RefCell;
use std::time::Duration;

use stanchion_queues::file::SimDisk;
use stanchion_queues::{
    Broker, Clock, Contract, Crash, Delivery, Depth, Error, Host, Message, MessageId, Reason, Receipt,
    Refusal, Sent, Session, Settings, Settle, Settled, Settlement,
};

use super::broker::{Reference, ReferenceSession};
use super::bug::{Bug, Switch};
use super::host::RogueHost;
use crate::checkers;
use crate::engines::budget::Budget;
use crate::engines::sequential;
use crate::history::{History, What};
use crate::invariant::Invariant;
use crate::plan::{Plan, Plans, case_seed, limit_after};
use crate::verdict::{Counterexample, Verdict};

const LEASE: Duration = Duration::from_millis(10);
const ONE: Duration = Duration::from_nanos(1);

/// A running broker and one session of it.
struct Bench {
    host: RogueHost,
    clock: Clock,
    broker: Reference<SimDisk>,
    session: Option<ReferenceSession<SimDisk>>,
}

impl Bench {
    fn new(durable: bool) -> Bench {
        let clock = Clock::manual();
        let settings = Settings { capacity: 4, deliveries_allowed: 2, clock: clock.clone(), seed: 7 };
        let mut host = RogueHost::correct(durable, &settings);
        let broker = host.boot().expect("a new disk opens");
        let session = broker.session().ok();
        Bench { host, clock, broker, session }
    }

    fn session(&mut self) -> &mut ReferenceSession<SimDisk> {
        self.session.as_mut().expect("a session is open")
    }

    fn send(&mut self, bodies: &[&str]) -> Vec<Sent> {
        let messages: Vec<Message> =
            bodies.iter().map(|body| Message::new(body.as_bytes()).with_key(*b"key")).collect();
        self.session().send(&messages)
    }

    fn receive(&mut self, max: usize) -> Vec<Delivery> {
        self.session().receive(max, LEASE).expect("the broker is well")
    }

    fn bodies(&mut self, max: usize) -> Vec<String> {
        self.receive(max).iter().map(text).collect()
    }

    fn settle(&mut self, receipt: Receipt, how: Settle) -> bool {
        match self.session().settle(&[Settlement { receipt, how }])[..] {
            [Settled::Done] => true,
            [Settled::Stale] => false,
            ref other => panic!("one certain answer was expected: {other:?}"),
        }
    }

    fn depth(&mut self) -> [u64; 4] {
        let Depth { ready, in_flight, delayed, dead } = self.session().depth().expect("the broker is well");
        [ready, in_flight, delayed, dead]
    }

    fn letters(&mut self) -> Vec<(MessageId, Reason, u32)> {
        let letters = self.session().dead_letters(9).expect("the broker is well");
        assert!(letters.iter().all(|letter| letter.key.as_deref() == Some(b"key")));
        letters.iter().map(|letter| (letter.id, letter.reason, letter.attempts)).collect()
    }

    fn lose(&mut self) {
        self.session = None;
        self.session = self.broker.session().ok();
    }

    fn crash(&mut self, crash: Crash) {
        self.host.crash(crash);
        self.session = None;
        self.broker = self.host.boot().expect("it opens after a crash");
        self.session = self.broker.session().ok();
    }
}

fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.body.to_vec()).expect("bodies are text here")
}

const NACK: Settle = Settle::Nack { delay: Duration::ZERO };

/// Runs a test in memory and on a disk.
fn both(test: impl Fn(&mut Bench)) {
    test(&mut Bench::new(false));
    test(&mut Bench::new(true));
}

#[test]
fn delivers_what_was_sent_in_the_order_of_the_sends_under_leases() {
    both(|bench| {
        bench.send(&["a", "b", "c"]);
        let got = bench.receive(2);
        assert_eq!(got.iter().map(text).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((got[0].attempt, got[0].deadline), (1, bench.clock.now() + LEASE));
        assert_eq!(got[0].key.as_deref(), Some(b"key".as_slice()));
        assert_eq!(bench.depth(), [1, 2, 0, 0]);
        assert!(bench.settle(got[0].receipt, Settle::Ack));
        assert_eq!(bench.bodies(9), ["c"]);
        assert_eq!(bench.depth(), [0, 2, 0, 0]);
    });
}

#[test]
fn a_lease_is_live_before_its_deadline_and_over_at_it() {
    both(|bench| {
        bench.send(&["a"]);
        let first = bench.receive(1)[0].receipt;
        bench.clock.advance(LEASE - ONE);
        assert!(bench.receive(1).is_empty());
        bench.clock.advance(ONE);
        assert!(!bench.settle(first, Settle::Ack));
        let second = bench.receive(1);
        assert_eq!(second[0].attempt, 2);
        assert!(!bench.settle(first, Settle::Ack), "the receipt of an earlier delivery is stale");
        assert!(bench.settle(second[0].receipt, Settle::Ack));
        assert!(!bench.settle(second[0].receipt, Settle::Ack), "a settled receipt is stale");
    });
}

#[test]
fn a_returned_message_stands_where_it_stood_and_a_delay_is_kept_to_the_nanosecond() {
    both(|bench| {
        bench.send(&["a", "b"]);
        let a = bench.receive(1)[0].receipt;
        assert!(bench.settle(a, NACK));
        let a = bench.receive(1);
        assert_eq!(text(&a[0]), "a");
        bench.session().send(&[Message::new(*b"late").with_delay(LEASE)]);
        assert_eq!(bench.depth(), [1, 1, 1, 0]);
        bench.clock.advance(LEASE - ONE);
        assert_eq!(bench.bodies(9), ["b"]);
        bench.clock.advance(ONE);
        assert_eq!(bench.bodies(9), ["late"]);
    });
}

#[test]
fn the_last_attempt_that_fails_kills_however_it_ends_and_a_reject_kills_at_once() {
    both(|bench| {
        bench.send(&["nack", "expire", "lose", "reject"]);
        for delivery in bench.receive(3) {
            assert!(bench.settle(delivery.receipt, NACK));
        }
        let second = bench.receive(3);
        assert!(bench.settle(second[0].receipt, Settle::Nack { delay: LEASE }));
        bench.clock.advance(LEASE - ONE);
        assert!(matches!(bench.session().extend(second[2].receipt, LEASE), Settled::Done));
        bench.clock.advance(ONE);
        assert_eq!(bench.letters().len(), 2);
        bench.lose();
        let reject = bench.receive(1)[0].receipt;
        assert!(bench.settle(reject, Settle::Reject));
        let reasons: Vec<_> = bench.letters().into_iter().map(|(id, why, n)| (id.0, why, n)).collect();
        let attempts = |id| (id, Reason::Attempts, 2);
        assert_eq!(reasons, [attempts(0), attempts(1), attempts(2), (3, Reason::Rejected, 1)]);
        assert_eq!(bench.depth(), [0, 0, 0, 4]);
    });
}

#[test]
fn redrive_moves_the_oldest_deaths_that_fit_under_their_ids_and_counts_anew() {
    both(|bench| {
        bench.send(&["a", "b"]);
        for delivery in bench.receive(2) {
            bench.settle(delivery.receipt, Settle::Reject);
        }
        bench.send(&["c", "d", "e"]);
        assert_eq!(bench.session().redrive(9).expect("the broker is well"), 1);
        let got = bench.receive(1);
        assert_eq!((got[0].id, got[0].attempt, text(&got[0])), (MessageId(0), 1, "a".into()));
        assert_eq!(bench.letters(), [(MessageId(1), Reason::Rejected, 1)]);
    });
}

#[test]
fn extend_neither_shortens_nor_revives() {
    both(|bench| {
        bench.send(&["a"]);
        let receipt = bench.receive(1)[0].receipt;
        assert!(matches!(bench.session().extend(receipt, LEASE * 2), Settled::Done));
        assert!(matches!(bench.session().extend(receipt, LEASE), Settled::Done));
        bench.clock.advance(LEASE * 2 - ONE);
        assert!(bench.receive(1).is_empty());
        bench.clock.advance(ONE);
        assert!(matches!(bench.session().extend(receipt, LEASE), Settled::Stale));
        assert_eq!(bench.bodies(1), ["a"]);
    });
}

#[test]
fn capacity_counts_ready_in_flight_and_delayed_and_each_message_has_its_own_outcome() {
    both(|bench| {
        bench.send(&["a", "b"]);
        bench.receive(1);
        bench.session().send(&[Message::new(*b"late").with_delay(LEASE)]);
        let sent = bench.send(&["d", "e"]);
        assert!(matches!(sent[..], [Sent::Confirmed(_), Sent::Refused(Refusal::Full)]));
        assert_eq!(bench.depth(), [2, 1, 1, 0]);
    });
}

#[test]
fn a_crash_ends_leases_and_nothing_else_and_receipts_stay_unique() {
    for crash in [Crash::Process, Crash::Power] {
        let mut bench = Bench::new(true);
        bench.send(&["leased", "acked", "returned", "dead"]);
        let got = bench.receive(4);
        bench.settle(got[1].receipt, Settle::Ack);
        bench.settle(got[2].receipt, Settle::Nack { delay: LEASE });
        bench.settle(got[3].receipt, Settle::Reject);
        for _ in 0..2 {
            bench.crash(crash);
        }
        assert_eq!(bench.depth(), [1, 0, 1, 1]);
        let again = bench.receive(9);
        assert_eq!((text(&again[0]), again[0].attempt), ("leased".into(), 2));
        assert!(got.iter().all(|old| old.receipt != again[0].receipt));
        bench.crash(crash);
        assert_eq!(bench.depth(), [0, 0, 1, 2], "the crash was the last attempt that is allowed");
        bench.clock.advance(LEASE);
        assert_eq!(bench.bodies(9), ["returned"]);
    }
}

#[test]
fn after_a_failed_sync_nothing_is_promised_until_it_is_opened_again() {
    let clock = Clock::manual();
    let settings = Settings { clock, ..Settings::new() };
    let mut disk = SimDisk::new();
    let open = |disk: &SimDisk| Reference::open(settings.clone(), disk.clone(), Switch::default());
    let broker = open(&disk).expect("a new disk opens");
    let mut session = broker.session().expect("it is open");
    disk.fail_syncs(stanchion_queues::file::sim::FailSync::DropPages, 1);
    assert!(matches!(session.send(&[Message::new(*b"a")])[..], [Sent::InDoubt(Error::Poisoned(_))]));
    assert!(matches!(session.send(&[Message::new(*b"b")])[..], [Sent::Refused(Refusal::Unavailable(_))]));
    assert!(session.receive(1, LEASE).is_err());
    disk.crash(Crash::Power, 1);
    let mut session = open(&disk).expect("it recovers").session().expect("it is open");
    assert!(session.depth().expect("it is well").ready <= 1);
}

/// What a broker is to its clients that forgets nothing in a crash, because it is never crashed.
struct Ideal {
    settings: Settings,
    running: Option<Reference<SimDisk>>,
    boots: u64,
}

impl Host for Ideal {
    type Broker = Reference<SimDisk>;

    fn boot(&mut self) -> Result<Reference<SimDisk>, Error> {
        self.boots += 1;
        let fresh = || Reference::in_memory(self.settings.clone(), self.boots, Switch::default());
        Ok(self.running.get_or_insert_with(fresh).clone())
    }

    fn crash(&mut self, _: Crash) {
        if let Some(running) = &self.running {
            running.disconnect();
        }
    }
}

fn plans(count: u64) -> impl Iterator<Item = Plan> {
    let plans = Plans::default();
    (0..count).map(move |index| plans.draw(case_seed(1, "reference", index)))
}

fn crashes(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| matches!(step, crate::plan::Step::Crash { .. }))
}

#[test]
fn on_a_disk_it_does_what_it_does_in_memory_and_crashes_take_nothing_away() {
    let mut crashed = 0;
    // A broker that goes on knows of no other limit.
    let limited = |plan: &Plan| limit_after(plan.settings.seed, 1, 1).is_some();
    for plan in plans(700).filter(|plan| !limited(plan)) {
        let durable =
            sequential::run(|settings| RogueHost::correct(true, settings), &plan).expect("it starts");
        let ideal = |settings: &Settings| Ideal { settings: settings.clone(), running: None, boots: 0 };
        let ideal = sequential::run(ideal, &plan).expect("it starts");
        crashed += u32::from(crashes(&plan));
        assert_eq!(durable.events, ideal.events, "{plan:?}");
    }
    assert!(crashed > 50, "only {crashed} plans had a crash");
}

#[test]
fn the_contract_says_what_survives() {
    for durable in [false, true] {
        let bench = Bench::new(durable);
        let promised = if durable { Contract::durable() } else { Contract::in_memory() };
        let expected =
            Contract { capacity: Some(4), deliveries_allowed: Some(2), damage_noticed: durable, ..promised };
        assert_eq!(bench.broker.contract(), expected);
    }
}

/// What a broker with a bug does, and how often the bug's code ran.
fn rogue(bug: Bug, plan: &Plan) -> (History, u64) {
    let switch = RefCell::new(Switch::default());
    let make = |settings: &Settings| {
        let host = RogueHost::new(bug, settings);
        switch.replace(host.switch().clone());
        host
    };
    let history = sequential::run(make, plan).expect("it starts");
    let reached = switch.borrow().reached();
    (history, reached)
}

#[test]
fn every_switch_changes_what_is_seen() {
    let mut silent = Vec::new();
    for bug in Bug::wrong() {
        let mut reached = 0;
        let seen = plans(2_000).position(|plan| {
            let (history, ran) = rogue(bug, &plan);
            reached += ran;
            let right = sequential::run(|settings| RogueHost::twin(bug, settings), &plan);
            history.events != right.expect("it starts").events
        });
        println!("{:24} {seen:?} reached {reached}", bug.id());
        if seen.is_none() {
            silent.push((bug, reached));
        }
    }
    assert!(silent.is_empty(), "these change nothing: {silent:?}");
}

#[test]
fn ids_are_unique() {
    for (index, bug) in Bug::ALL.iter().enumerate() {
        assert!(Bug::ALL[..index].iter().all(|other| other.id() != bug.id()), "{} is there twice", bug.id());
        assert!(bug.what().ends_with('.'));
    }
}

#[test]
fn the_harness_sees_no_broken_history_without_a_bug() {
    for plan in plans(100) {
        let history =
            sequential::run(|settings| RogueHost::correct(true, settings), &plan).expect("it starts");
        let failed = history.events.iter().find(|event| {
            matches!(
                event.what,
                What::Panicked { .. } | What::Booted { error: Some(_) } | What::Depth { depth: None }
            )
        });
        assert_eq!(failed, None);
    }
}

#[test]
fn what_only_looks_wrong_in_memory_or_over_crashes_is_not_blamed() {
    for right in [Bug::WritesFail, Bug::Deduplicates] {
        let mut reached = 0;
        for plan in plans(1_500) {
            let (history, ran) = rogue(right, &plan);
            reached += ran;
            for (invariant, verdict) in checkers::judge(&history) {
                assert!(!verdict.is_broken(), "{right:?}: {invariant}: {verdict:?} {plan:?}");
            }
        }
        assert!(reached > 100, "{right:?} was reached {reached} times");
    }
}

#[test]
fn a_limit_that_changes_is_met_whatever_the_seed() {
    for seed in 1..=3 {
        let line = super::hunt(Bug::D36, &Budget { seed, ..Budget::quick() }, checkers::judge);
        let line = line.expect("it is wrong");
        println!("{line:?}");
        assert!(line.found && line.shrunk <= Some(8), "seed {seed}: {line:?}");
    }
}

#[test]
fn another_limit_after_a_restart_is_exercised_and_the_reference_is_not_blamed_for_it() {
    let mut exercised = 0;
    for plan in plans(4_000) {
        let history =
            sequential::run(|settings| RogueHost::correct(true, settings), &plan).expect("it starts");
        if let Verdict::Holds { instances } = checkers::check(Invariant::Dl13, &history) {
            exercised += instances;
        }
    }
    assert!(exercised > 20, "only {exercised} messages had as many attempts as a new limit allows");
}

/// A judge of one promise: a broker that was stopped starts again.
fn starts_again(history: &History) -> Vec<(Invariant, Verdict)> {
    let refused = |event: &crate::history::Event| matches!(event.what, What::Booted { error: Some(_) });
    let verdict = match history.events.iter().position(refused) {
        Some(at) => Verdict::Broken(Counterexample {
            invariant: Invariant::Du11,
            sentence: "It did not start.".into(),
            missing_licence: None,
            culprits: vec![at],
        }),
        None => Verdict::exercised(1),
    };
    vec![(Invariant::Du11, verdict)]
}

#[test]
fn the_table_says_what_was_found_how_soon_and_how_small() {
    let line = super::hunt(Bug::P10, &Budget::quick(), starts_again).expect("it is wrong");
    assert!(line.found && line.cases <= 256, "{line:?}");
    assert_eq!((line.expected, &*line.bug, line.also.len()), (Invariant::Du11, "P10", 0));
    assert!(line.shrunk.is_some_and(|steps| steps <= 8), "{line:?}");
    let few = Budget { cases: 20, ..Budget::quick() };
    let line = super::hunt(Bug::D01, &few, starts_again).expect("it is wrong");
    assert_eq!((line.found, line.cases, line.shrunk), (false, 20, None));
    assert_eq!(super::table(&Budget { cases: 1, ..few }, starts_again).len(), Bug::wrong().count());
}

#[test]
fn nothing_blames_the_reference() {
    for durable in [false, true] {
        for plan in plans(1_000) {
            let history =
                sequential::run(|settings| RogueHost::correct(durable, settings), &plan).expect("it starts");
            for (invariant, verdict) in checkers::judge(&history) {
                assert!(!verdict.is_broken(), "{invariant}: {verdict:?}");
            }
        }
    }
}
