use stanchion_queues::file::SimHost;

use super::*;
use crate::rogues::delivery::{Bug, RogueHost};

const QUICK: Scope = Scope { images: 24, faults: true, flips: 0, lying: false, seed: 1 };

fn explored<H: ImageHost>(
    make: impl Fn(&Settings) -> H,
    plans: std::ops::Range<u64>,
    scope: Scope,
) -> Report {
    let mut report = Report::default();
    for seed in plans {
        explore(&make, &plan(seed), &Scope { seed, ..scope }, &mut report).expect("starts on an empty disk");
    }
    report
}

#[test]
fn the_file_queue_keeps_its_promises_from_every_image() {
    let report = explored(SimHost::new, 0..60, QUICK);
    println!("{} plans, {} calls, {} images", report.plans, report.calls, report.images);
    if let Some(broken) = report.broken.first() {
        panic!("{broken}");
    }
    assert!(report.images > 10_000, "{} images are not all there are", report.images);
    use Invariant::{Al1, Al3, Al6, Du1, Du3, Du6, Du11};
    for invariant in [Al1, Al3, Al6, Du1, Du3, Du6, Du11] {
        assert!(report.instances(invariant) > Some(0), "{invariant} was never put to the test");
    }
}

#[test]
fn no_flipped_bit_breaks_a_promise_silently() {
    let report = explored(SimHost::new, 0..60, Scope { images: 1, flips: 40, ..QUICK });
    println!("{} flipped bits, {} noticed", report.flips, report.noticed);
    assert!(report.flips > 2_000 && report.noticed > 100, "{report:?}");
    assert_eq!(report.unnoticed, 0, "of {} flipped bits", report.flips);
}

/// A queue that never comes to rest.
struct Restless(SimHost);

impl stanchion_queues::Host for Restless {
    type Broker = <SimHost as stanchion_queues::Host>::Broker;

    fn boot(&mut self) -> Result<Self::Broker, stanchion_queues::Error> {
        self.0.boot()
    }

    fn crash(&mut self, crash: Crash) {
        self.0.crash(crash);
    }
}

impl ImageHost for Restless {
    fn disk(&self) -> &stanchion_queues::file::SimDisk {
        self.0.disk()
    }
}

#[test]
fn a_flipped_bit_in_a_last_commit_without_witness_is_seen_to_break_promises() {
    let make = |settings: &Settings| Restless(SimHost::new(settings));
    let report = explored(make, 0..30, Scope { images: 1, flips: 40, ..QUICK });
    assert!(report.unnoticed > 0, "it passes for torn: {report:?}");
}

#[test]
fn a_disk_that_lies_is_caught() {
    for seed in 0..4 {
        let report = explored(SimHost::new, seed..seed + 1, Scope { lying: true, ..QUICK });
        assert!(!report.broken.is_empty(), "plan {seed}");
    }
}

/// The reference does not claim to know what to do when a call fails.
const WITHOUT_FAULTS: Scope = Scope { faults: false, ..QUICK };

#[test]
fn the_reference_is_not_blamed() {
    let report = explored(|settings| RogueHost::correct(true, settings), 0..60, WITHOUT_FAULTS);
    assert!(report.broken.is_empty(), "{}", report.broken[0]);
    assert!(report.images > 5_000, "{} images are not all there are", report.images);
}

/// After how many images the promise that this bug breaks was seen to be broken.
fn images_needed(bug: Bug) -> Option<u64> {
    let mut report = Report::default();
    for seed in 0..400 {
        let make = |settings: &Settings| RogueHost::new(bug, settings);
        explore(make, &plan(seed), &Scope { seed, ..WITHOUT_FAULTS }, &mut report).expect("starts");
        if report.verdicts.get(&bug.expected()).is_some_and(Verdict::is_broken) {
            let first = report.broken.iter().find(|broken| broken.invariant == bug.expected());
            return Some(first.map_or(report.images, |broken| broken.images));
        }
    }
    None
}

#[test]
fn what_is_wrong_on_disk_is_caught() {
    use Bug::{P01, P02, P05, P08, P10, P14, P18, P19, P20, P21, P25, P26, P31, P32};
    let met = [P01, P02, P05, P08, P10, P14, P18, P19, P20, P21, P25, P26, P31, P32]
        .map(|bug| (bug.id(), bug.expected().id(), images_needed(bug)));
    println!("bug, promise, images needed: {met:?}");
    assert!(met.iter().all(|(.., needed)| needed.is_some()), "{met:?}");
}
