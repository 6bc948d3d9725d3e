use std::ops::Range;

use stanchion_queues::file::storage::Block;
use stanchion_queues::file::{SimDisk, SimHost};
use stanchion_queues::{Broker, Contract, Crash, Durability, Error};

use super::*;
use crate::engines::testing;
use crate::finding::Failure;
use crate::invariant::Invariant;
use crate::regressions;
use crate::rogues::delivery::{Bug, RogueHost};
use crate::rogues::tickets::TicketHost;
use crate::verdict::Verdict;

const QUICK: Scope = Scope { images: 24, faults: true, flips: 0, lying: false, seed: 1 };

fn explored<H: Host>(make: impl Fn(&Settings) -> H, plans: Range<u64>, scope: Scope) -> Report {
    let mut report = Report::default();
    for seed in plans {
        report.explore(&make, seed, &Scope { seed, ..scope }).expect("starts on an empty disk");
    }
    report
}

fn blameless(report: &Report) {
    if let Some((_, _, plan, picture)) = report.broken.first() {
        panic!("{picture}{}", serde_json::to_string(plan).expect("plain data"));
    }
}

#[test]
fn the_file_queue_keeps_its_promises_from_every_image() {
    let report = explored(SimHost::new, 0..60, QUICK);
    println!("{} plans, {} images, {} with a failed call", report.plans, report.images, report.faults);
    blameless(&report);
    assert!(report.images > 10_000, "{} images are not all there are", report.images);
    assert!(report.faults > 3_000, "only {} calls failed", report.faults);
    use Invariant::{Al1, Al3, Al6, Du1, Du3, Du6, Du7, Du11, Du14};
    for invariant in [Al1, Al3, Al6, Du1, Du3, Du6, Du7, Du11, Du14] {
        assert!(report.instances(invariant) > Some(0), "{invariant} was never put to the test");
    }
}

#[test]
fn it_keeps_them_where_whole_pages_are_written() {
    let report = explored(SimHost::in_pages, 0..20, QUICK);
    println!("{} plans, {} images, {} with a failed call", report.plans, report.images, report.faults);
    blameless(&report);
    assert!(report.images > 3_000, "{} images are not all there are", report.images);
}

#[test]
fn it_keeps_them_where_all_is_said_by_ticket() {
    let report = explored(TicketHost::new, 0..20, QUICK);
    println!("{} plans, {} images, {} with a failed call", report.plans, report.images, report.faults);
    blameless(&report);
    assert!(report.images > 3_000, "{} images are not all there are", report.images);
}

#[test]
fn commits_that_share_a_page_are_seen_to_break_promises() {
    let make = |settings: &Settings| {
        let host = SimHost::in_pages(settings);
        host.disk().say_blocks(Block::Sector);
        host
    };
    let report = explored(make, 0..20, QUICK);
    println!("{} images, {} of them broken", report.images, report.broken.len());
    assert!(!report.broken.is_empty(), "a torn page takes commits along that were confirmed before");
}

#[test]
fn no_flipped_bit_breaks_a_promise_silently() {
    let report = explored(SimHost::new, 0..60, Scope { images: 1, flips: 40, ..QUICK });
    println!("{} flipped bits, {} noticed", report.flips, report.noticed);
    blameless(&report);
    assert!(report.flips > 2_000 && report.noticed > 50, "{report:?}");
    assert_eq!(report.unnoticed, 0, "of {} flipped bits", report.flips);
}

/// A queue that never comes to rest.
struct Restless(SimHost);

impl Host for Restless {
    type Broker = <SimHost as Host>::Broker;

    fn boot(&mut self) -> Result<Self::Broker, Error> {
        self.0.boot()
    }

    fn crash(&mut self, crash: Crash) {
        self.0.crash(crash);
    }

    fn simulated_disk(&self) -> Option<&SimDisk> {
        self.0.simulated_disk()
    }
}

#[test]
fn a_flipped_bit_in_a_last_commit_without_witness_is_seen_to_break_promises() {
    let make = |settings: &Settings| Restless(SimHost::new(settings));
    let report = explored(make, 0..30, Scope { images: 1, flips: 40, ..QUICK });
    assert!(report.unnoticed > 0, "it passes for torn: {report:?}");
    assert!(report.verdicts[&Invariant::Du5].is_broken());
}

#[test]
fn a_disk_that_lies_is_caught() {
    for seed in 0..4 {
        let report = explored(SimHost::new, seed..seed + 1, Scope { lying: true, ..QUICK });
        assert!(!report.broken.is_empty(), "plan {seed}");
    }
}

#[test]
fn the_reference_is_not_blamed() {
    let report = explored(|settings| RogueHost::correct(true, settings), 0..60, QUICK);
    blameless(&report);
    assert!(report.images > 5_000, "{} images are not all there are", report.images);
}

/// A queue that claims to survive the death of its process, and no more.
struct Modest(RogueHost);

struct ModestBroker(<RogueHost as Host>::Broker);

impl Host for Modest {
    type Broker = ModestBroker;

    fn boot(&mut self) -> Result<ModestBroker, Error> {
        self.0.boot().map(ModestBroker)
    }

    fn crash(&mut self, crash: Crash) {
        self.0.crash(crash);
    }

    fn simulated_disk(&self) -> Option<&SimDisk> {
        self.0.simulated_disk()
    }
}

impl Broker for ModestBroker {
    type Session = <<RogueHost as Host>::Broker as Broker>::Session;

    fn contract(&self) -> Contract {
        let process = Durability::Process;
        let promised = self.0.contract();
        Contract {
            sends: process,
            acks: process,
            counts: process,
            delays: process,
            damage_noticed: false,
            ..promised
        }
    }

    fn session(&self) -> Result<Self::Session, Error> {
        self.0.session()
    }
}

#[test]
fn what_survives_a_kill_need_not_survive_a_power_failure_in_the_restart() {
    let make = |settings: &Settings| Modest(RogueHost::new(Bug::P01, settings));
    let report = explored(make, 0..60, QUICK);
    blameless(&report);
    let make = |settings: &Settings| RogueHost::new(Bug::P01, settings);
    assert!(!explored(make, 0..4, QUICK).broken.is_empty(), "it does lose what it does not sync");
}

#[test]
fn a_queue_without_a_simulated_disk_has_no_images() {
    let exploration = explore("test", testing::hosting(testing::Bug::None), &Budget::quick());
    let exploration = exploration.expect("it starts");
    for finding in exploration.findings {
        assert!(matches!(finding.verdict, Verdict::Unknown(_)), "{finding:?}");
    }
}

fn broken(exploration: &Exploration, invariant: Invariant) -> &Failure {
    let finding = exploration.findings.iter().find(|finding| finding.invariant == invariant);
    let finding = finding.expect("judged");
    assert!(finding.verdict.is_broken(), "{finding:?}");
    finding.failure.as_ref().expect("a broken promise has a failure")
}

#[test]
fn a_failing_image_is_shrunk_told_saved_and_run_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let budget = Budget { cases: 200, regressions: Some(directory.path().into()), ..Budget::quick() };
    let make = |settings: &Settings| RogueHost::new(Bug::P01, settings);
    let first = explore("test", make, &budget).expect("it starts");
    assert!(first.errors.is_empty());
    let found = broken(&first, Invariant::Du1);
    println!("{}", found.picture);
    // A send, and the failure of the power.
    assert!(found.steps_after <= 2, "{}", found.picture);

    let loaded = regressions::of_queue(directory.path(), "test");
    let saved = loaded.regressions.iter().find(|(_, saved)| saved.invariant == Invariant::Du1);
    let (path, saved) = saved.expect("saved");
    assert_eq!(found.plan, serde_json::to_value(&saved.plan).ok());
    assert_eq!(found.replay, Some(regressions::replay_line(path, "test", Invariant::Du1)));
    let replay = Budget { replay: Some(path.clone()), ..budget.clone() };
    for _ in 0..100 {
        let again = explore("test", make, &replay).expect("it starts");
        assert!(broken(&again, Invariant::Du1).picture.contains("DU-1 is broken"));
        let mended = explore("test", |settings: &Settings| RogueHost::correct(true, settings), &replay);
        assert!(mended.expect("it starts").findings.iter().all(|finding| !finding.verdict.is_broken()));
    }
    // Without a case of its own, the next run finds it all the same.
    let again = explore("test", make, &Budget { cases: 0, ..budget }).expect("it starts");
    assert_eq!(broken(&again, Invariant::Du1).steps_after, found.steps_after);
}

#[test]
fn a_success_that_rests_on_a_failed_call_is_told_with_that_call() {
    let budget = Budget { cases: 200, ..Budget::quick() };
    for (bug, failed, how) in [
        // A write that was lost later fails the sync, too.
        (Bug::P03, "the ", "could not"),
        (Bug::P34, "the write of ", "the system took it and could not bring it to the disk"),
    ] {
        let make = |settings: &Settings| RogueHost::new(bug, settings);
        let exploration = explore("test", make, &budget).expect("it starts");
        let picture = &broken(&exploration, Invariant::Du7).picture;
        let says = |what: &str| assert!(picture.contains(what), "{what}: {picture}");
        says("DU-7 is broken");
        says(&format!("\n{failed}"));
        says(" failed, and after that m1 was confirmed");
        // Lines are broken where they are full.
        assert!(picture.replace("\n        ", " ").contains(how), "{how}: {picture}");
        assert!(!picture.contains("version"), "that is no value that others can stand for: {picture}");
    }
}

#[test]
fn any_subset_of_an_image_is_an_image_and_the_file_queue_is_never_blamed() {
    use crate::shrink::Shrink;
    let mut tried = 0;
    for seed in 0..12 {
        let images = Images::of(SimHost::new, plan::draw(seed), Scope { images: 3, flips: 4, seed, ..QUICK });
        for (nth, whole) in images.expect("it starts").enumerate().step_by(7) {
            for keep in 1..4 {
                let steps = whole.steps.iter().enumerate();
                let steps = steps.filter(|(index, _)| (index * 5 + nth) % 4 != keep);
                let plan = whole.with_steps(steps.map(|(_, step)| step.clone()).collect());
                let json = serde_json::to_string(&plan).expect("plain data");
                assert_eq!(serde_json::from_str::<Plan>(&json).expect("just written"), plan);
                let ran = run(SimHost::new, &plan).expect("it starts");
                let broken = ran.judge().0.into_iter().find(|(_, verdict)| verdict.is_broken());
                assert!(broken.is_none(), "{broken:?} in {json}");
                tried += 1;
            }
        }
    }
    assert!(tried > 500, "{tried}");
}
