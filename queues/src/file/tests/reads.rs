//! Reads that fail once and work the next time, each in turn.

use std::collections::BTreeSet;

use super::*;
use crate::broker::{DeadLetter, Delivery, Error};
use crate::file::failure::is_unreadable;
use crate::file::hostile::{Files, disk_of};

/// Longer than what is kept in memory.
const LONG: usize = 700;

fn try_open(disk: &SimDisk) -> Result<Queue, Error> {
    FileQueue::open_within(disk.clone(), &settings(1000, 3), limits(4 << 10))
}

fn open(disk: &SimDisk) -> Queue {
    try_open(disk).expect("opens")
}

fn body(id: u64) -> String {
    format!("{id} {}", "x".repeat(LONG))
}

/// What the system says was not read.
fn is_transient<T: std::fmt::Debug>(result: &Result<T, Error>) -> bool {
    match result {
        Err(Error::Io { source, .. }) => is_unreadable(source),
        Err(other) => panic!("{other}"),
        Ok(_) => false,
    }
}

/// Several segments, some with an index, a spare, ready messages and dead letters.
fn written() -> Files {
    let disk = SimDisk::new();
    let queue = open(&disk);
    let mut session = queue.session().expect("opens");
    for id in 1..=20 {
        send(&mut session, &[&body(id)]);
    }
    for delivery in session.receive(6, LEASE).expect("works") {
        let how = if delivery.id.0 % 2 == 0 { Settle::Ack } else { Settle::Reject };
        assert!(is_done(&settle(&mut session, delivery.receipt, how)));
    }
    drop((session, queue));
    let files = image(&disk);
    assert!(files.iter().any(|(name, _)| name.starts_with("spare-")) && files.len() > 4);
    files
}

fn ready() -> BTreeSet<u64> {
    (7..=20).collect()
}

fn checked(deliveries: &[Delivery]) -> BTreeSet<u64> {
    for delivery in deliveries {
        assert_eq!(delivery.body[..], *body(delivery.id.0).as_bytes());
        assert_eq!(delivery.attempt, 1);
    }
    deliveries.iter().map(|delivery| delivery.id.0).collect()
}

fn letters(shown: &[DeadLetter]) -> Vec<u64> {
    for letter in shown {
        assert_eq!(letter.body[..], *body(letter.id.0).as_bytes());
    }
    shown.iter().map(|letter| letter.id.0).collect()
}

#[test]
fn a_read_that_fails_while_a_queue_is_opened_changes_nothing() {
    let files = written();
    let (mut refused, mut opened) = (0, 0);
    for calls in 0.. {
        let disk = disk_of(&files);
        let before = image(&disk);
        disk.fail_read_after(calls);
        let tried = try_open(&disk);
        let reached = !disk.read_fault_pending();
        disk.fail_read_after(u64::MAX);
        let queue = match tried {
            Err(error) => {
                assert!(reached && is_transient(&Err::<(), _>(error)));
                assert!(image(&disk) == before, "read {calls}");
                refused += 1;
                open(&disk)
            }
            Ok(queue) => {
                opened += u64::from(reached);
                queue
            }
        };
        let mut session = queue.session().expect("opens");
        let deliveries = session.receive(100, LEASE).expect("works");
        assert_eq!(checked(&deliveries), ready(), "read {calls}");
        assert_eq!(letters(&session.dead_letters(100).expect("works")), [1, 3, 5], "read {calls}");
        if !reached {
            break;
        }
    }
    assert!(refused > 20 && opened > 2, "{refused} refused, {opened} of no matter");
}

#[test]
fn a_read_that_fails_while_messages_are_received_or_shown_loses_none() {
    let files = written();
    for max in [1, 3, 100] {
        let mut failed = 0;
        for calls in 0.. {
            let disk = disk_of(&files);
            let queue = open(&disk);
            let mut session = queue.session().expect("opens");
            disk.fail_read_after(calls);
            let (mut there, mut errors) = (BTreeSet::new(), 0);
            loop {
                let depth = session.depth().expect("works");
                let received = session.receive(max, LEASE);
                if is_transient(&received) {
                    errors += 1;
                    assert_eq!(session.depth().expect("works"), depth, "nobody holds what nobody was given");
                    continue;
                }
                let deliveries = received.expect("works");
                if deliveries.is_empty() {
                    break;
                }
                let got = checked(&deliveries);
                assert!(got.len() == deliveries.len() && got.is_disjoint(&there), "read {calls}");
                there.extend(got);
            }
            assert_eq!(there, ready(), "read {calls}");
            for max in [max, 100, 100] {
                let shown = session.dead_letters(max);
                errors += u64::from(is_transient(&shown));
                if let Ok(shown) = shown {
                    assert_eq!(letters(&shown), [1, 3, 5][..max.min(3)], "read {calls}");
                }
            }
            let reached = !disk.read_fault_pending();
            disk.fail_read_after(u64::MAX);
            assert_eq!(letters(&session.dead_letters(100).expect("works")), [1, 3, 5], "read {calls}");
            assert_eq!(errors, u64::from(reached), "read {calls}: said once");
            failed += errors;
            if !reached {
                break;
            }
        }
        assert!(failed > 14, "{failed}");
    }
}

#[test]
fn who_was_to_be_handed_out_beside_what_could_not_be_read_has_no_attempt_more() {
    let mut disk = SimDisk::new();
    let settings = settings(10, 1);
    let opened = |disk: &SimDisk| FileQueue::open(disk.clone(), &settings).expect("opens");
    let queue = opened(&disk);
    let mut session = queue.session().expect("opens");
    (0..3).for_each(|nth| drop(send(&mut session, &[&body(nth)])));
    // After that a hand-out is written before anybody sees it: it may be one that kills.
    disk.crash(crate::Crash::Process, 1);
    let queue = opened(&disk);
    disk.fail_read_after(0);
    let received = queue.session().expect("opens").receive(2, LEASE);
    assert!(is_transient(&received), "{received:?}");
    drop(queue);
    let depth = opened(&disk).session().expect("opens").depth().expect("works");
    assert_eq!((depth.ready, depth.dead), (3, 0), "nobody was given any of them");
}

/// A life in which segments are rolled, emptied and given up, of which one read fails.
fn with_a_failed_read(calls: u64) -> bool {
    let mut disk = SimDisk::new();
    disk.fail_read_after(calls);
    let mut expected = BTreeSet::new();
    for _ in 0..2 {
        let queue = (0..2).find_map(|_| try_open(&disk).ok()).expect("only one call fails");
        let mut session = queue.session().expect("opens");
        for nth in 0..40 {
            expected.extend(send(&mut session, &[&"x".repeat(LONG)]));
            let received = session.receive(2, LEASE);
            if is_transient(&received) {
                continue;
            }
            for delivery in received.expect("works") {
                // The very first stays, and so is moved.
                let how = if nth == 0 { nack(1000 * SECOND) } else { Settle::Ack };
                assert!(is_done(&settle(&mut session, delivery.receipt, how)));
                if nth > 0 {
                    expected.remove(&delivery.id.0);
                }
            }
        }
        drop(session);
    }
    let reached = !disk.read_fault_pending();
    disk.fail_read_after(u64::MAX);
    disk.crash(crate::Crash::Power, calls);
    let queue = open(&disk);
    assert!(queue.shared.settings.clock.advance(1000 * SECOND));
    let left = queue.session().expect("opens").receive(1000, LEASE).expect("works");
    assert_eq!(left.iter().map(|delivery| delivery.id.0).collect::<BTreeSet<_>>(), expected, "read {calls}");
    reached
}

#[test]
fn a_read_that_fails_in_the_life_of_a_queue_loses_nothing() {
    let reached = (0..).take_while(|calls| with_a_failed_read(*calls)).count();
    assert!(reached > 100, "{reached} reads are not all there are");
}
