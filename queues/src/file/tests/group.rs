//! Many callers and one commit: what each may see, and when.

use std::thread;

use super::gate::{Gated, wait_for};
use super::*;
use crate::broker::{Crash, Delivery, Depth, Error, Reason, Receipt, Refusal};
use crate::file::sim::FailSync;
use crate::file::storage::Storage;

type Queue = FileQueue<Gated>;

fn rig(capacity: usize, limit: u32) -> (Gated, Settings, Queue) {
    let (disk, settings) = (Gated::new(), settings(capacity, limit));
    let queue = FileQueue::open(disk.clone(), &settings).expect("opens");
    (disk, settings, queue)
}

fn session(queue: &Queue) -> FileSession<Gated> {
    queue.session().expect("opens")
}

fn send_one(queue: &Queue, body: &str) -> Sent {
    session(queue).send(&[Message::new(body.as_bytes())]).remove(0)
}

fn take(session: &mut impl Session, max: usize) -> Vec<Delivery> {
    session.receive(max, LEASE).expect("works")
}

/// Sends a message and takes it: the receipt.
fn held(queue: &Queue, holder: &mut impl Session, body: &str) -> Receipt {
    confirmed(&[send_one(queue, body)]);
    take(holder, 1).remove(0).receipt
}

/// Runs `first` until its sync stands before the gate, then `meanwhile`, then opens the gate.
fn while_syncing<T: Send, U>(
    disk: &Gated,
    first: impl FnOnce() -> T + Send,
    meanwhile: impl FnOnce() -> U,
) -> (T, U) {
    thread::scope(|scope| {
        disk.close();
        let first = scope.spawn(first);
        disk.arrived();
        let meanwhile = meanwhile();
        disk.open();
        (first.join().expect("does not panic"), meanwhile)
    })
}

/// Runs `first` until its sync stands before the gate, and `second` until it waits, too.
fn both<T: Send, U: Send>(
    disk: &Gated,
    queue: &Queue,
    first: impl FnOnce() -> T + Send,
    second: impl FnOnce() -> U + Send,
    meanwhile: impl FnOnce(),
) -> (T, U) {
    thread::scope(|scope| {
        let (first, second) = while_syncing(disk, first, || {
            let second = scope.spawn(second);
            // Should it not wait, as it ought to, the test is to fail and not to hang.
            while queue.shared.waiting() < 2 && !second.is_finished() {
                thread::yield_now();
            }
            meanwhile();
            second
        });
        (first, second.join().expect("does not panic"))
    })
}

#[test]
fn callers_that_wait_share_one_sync_and_are_stored_in_order() {
    let (disk, settings, queue) = rig(100, 3);
    // The first message has to wait for a spare segment.
    let first = send_one(&queue, "first");
    let before = disk.disk.counts().syncs;
    let sent: Vec<Sent> = thread::scope(|scope| {
        let (first, others) = while_syncing(
            &disk,
            || send_one(&queue, "0"),
            || {
                let others: Vec<_> = (1..=8)
                    .map(|n| {
                        let queue = &queue;
                        let other = scope.spawn(move || send_one(queue, &n.to_string()));
                        wait_for(queue, n + 1);
                        other
                    })
                    .collect();
                others
            },
        );
        let others = others.into_iter().map(|other| other.join().expect("does not panic"));
        std::iter::once(first).chain(others).collect()
    });
    assert_eq!(disk.disk.counts().syncs, before + 2);
    assert_eq!(confirmed(&[first]), [1]);
    assert_eq!(confirmed(&sent), (2..=10).collect::<Vec<_>>());
    let mut crashed = disk.disk.clone();
    crashed.crash(Crash::Power, 1);
    let queue = FileQueue::open(crashed, &settings).expect("opens");
    let bodies: Vec<u8> =
        take(&mut queue.session().expect("opens"), 100).iter().map(|delivery| delivery.body[0]).collect();
    assert_eq!(bodies, b"f012345678");
}

#[test]
fn nothing_is_seen_before_it_is_durable_and_nobody_waits_to_look() {
    let (disk, _, queue) = rig(100, 1);
    let mut looker = session(&queue);
    let (sent, ()) = while_syncing(
        &disk,
        || send_one(&queue, "a"),
        || {
            assert_eq!(looker.depth().expect("works"), Depth::default());
            assert!(take(&mut looker, 1).is_empty());
        },
    );
    confirmed(&[sent]);
    let held = take(&mut looker, 1).remove(0);
    let mut other = session(&queue);
    let (settled, ()) = while_syncing(
        &disk,
        || settle(&mut other, held.receipt, Settle::Reject),
        || {
            assert!(looker.dead_letters(1).expect("works").is_empty());
            assert_eq!(looker.depth().expect("works"), Depth { in_flight: 1, ..Depth::default() });
        },
    );
    assert!(is_done(&settled));
    assert_eq!(looker.dead_letters(1).expect("works")[0].reason, Reason::Rejected);
}

#[test]
fn one_of_two_settlements_of_a_delivery_is_done() {
    let (disk, _, queue) = rig(100, 3);
    let mut looker = session(&queue);
    let receipt = held(&queue, &mut looker, "a");
    let ack = || settle(&mut session(&queue), receipt, Settle::Ack);
    let (first, second) = both(&disk, &queue, ack, ack, || {});
    assert!(is_done(&first) && is_stale(&second), "{first:?} {second:?}");

    let receipt = held(&queue, &mut looker, "b");
    let ack = || settle(&mut session(&queue), receipt, Settle::Ack);
    let extend = || session(&queue).extend(receipt, 2 * LEASE);
    let (first, second) = both(&disk, &queue, ack, extend, || {});
    assert!(is_done(&first) && is_stale(&second), "{first:?} {second:?}");
}

#[test]
fn who_lost_against_a_settlement_that_failed_is_not_told_that_it_is_stale() {
    let (disk, _, queue) = rig(100, 3);
    let mut looker = session(&queue);
    let receipt = held(&queue, &mut looker, "a");
    let ack = || settle(&mut session(&queue), receipt, Settle::Ack);
    let (first, second) = both(&disk, &queue, ack, ack, || disk.disk.fail_syncs(FailSync::KeepPages, 1));
    for outcome in [first, second] {
        assert!(matches!(outcome, Settled::InDoubt(Error::Poisoned(_))), "{outcome:?}");
    }
}

#[test]
fn a_settlement_in_time_holds_though_the_lease_ends_while_it_is_synced() {
    let (disk, settings, queue) = rig(100, 3);
    let mut looker = session(&queue);
    let receipt = held(&queue, &mut looker, "a");
    let ack = || settle(&mut session(&queue), receipt, Settle::Ack);
    let (acked, found) = thread::scope(|scope| {
        let (acked, found) = while_syncing(&disk, ack, || {
            settings.clock.advance(LEASE);
            let found = scope.spawn(|| take(&mut looker, 1).len());
            wait_for(&queue, 2);
            found
        });
        (acked, found.join().expect("does not panic"))
    });
    assert!(is_done(&acked));
    assert_eq!(found, 0);
    assert_eq!(looker.depth().expect("works"), Depth::default());
}

#[test]
fn two_that_notice_an_expiry_end_it_once() {
    let (disk, settings, queue) = rig(100, 3);
    let mut holder = session(&queue);
    let lost = held(&queue, &mut holder, "a");
    settings.clock.advance(LEASE);
    let look = || take(&mut session(&queue), 1).first().map(|delivery| delivery.attempt);
    let (first, second) = both(&disk, &queue, look, look, || {});
    // Whoever took it is gone by now and has returned it.
    assert!(first == Some(2) || second == Some(2), "{first:?} {second:?}");
    assert!(is_stale(&settle(&mut holder, lost, Settle::Ack)));
}

#[test]
fn a_lost_session_keeps_what_another_settled_for_it() {
    let (disk, _, queue) = rig(100, 3);
    for body in ["a", "b"] {
        confirmed(&[send_one(&queue, body)]);
    }
    let mut lost = session(&queue);
    let receipt = take(&mut lost, 2).remove(0).receipt;
    let ack = || settle(&mut session(&queue), receipt, Settle::Ack);
    let (acked, ()) = both(&disk, &queue, ack, || drop(lost), || {});
    assert!(is_done(&acked));
    let left: Vec<_> = take(&mut session(&queue), 9).iter().map(|d| (d.id.0, d.attempt)).collect();
    assert_eq!(left, [(2, 2)]);
}

#[test]
fn places_are_reserved_for_sends_on_their_way() {
    let (disk, _, queue) = rig(1, 3);
    let (first, second) = both(&disk, &queue, || send_one(&queue, "a"), || send_one(&queue, "b"), || {});
    confirmed(&[first]);
    assert!(matches!(second, Sent::Refused(Refusal::Full)), "{second:?}");
}

#[test]
fn redrives_take_the_oldest_one_after_the_other() {
    let (disk, _, queue) = rig(3, 1);
    let mut one = session(&queue);
    for body in ["a", "b"] {
        let receipt = held(&queue, &mut one, body);
        assert!(is_done(&settle(&mut one, receipt, Settle::Reject)));
    }
    let redrive = || session(&queue).redrive(1).expect("works");
    assert_eq!(both(&disk, &queue, redrive, redrive, || {}), (1, 1));
    assert_eq!(take(&mut one, 9).iter().map(|d| d.id.0).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_failed_sync_releases_everybody_in_doubt() {
    let (disk, _, queue) = rig(100, 3);
    let send = |n: usize| send_one(&queue, &n.to_string());
    let outcomes: Vec<Sent> = thread::scope(|scope| {
        let (first, others) = while_syncing(
            &disk,
            || send(0),
            || {
                let others: Vec<_> = (1..5).map(|n| scope.spawn(move || send(n))).collect();
                wait_for(&queue, 5);
                disk.disk.fail_syncs(FailSync::DropPages, 1);
                others
            },
        );
        let others = others.into_iter().map(|other| other.join().expect("does not panic"));
        std::iter::once(first).chain(others).collect()
    });
    assert!(outcomes.iter().all(|sent| matches!(sent, Sent::InDoubt(Error::Poisoned(_)))), "{outcomes:?}");
    assert!(matches!(queue.session(), Err(Error::Poisoned(_))));
}

#[test]
fn a_panic_within_a_commit_releases_everybody_in_doubt() {
    let (disk, _, queue) = rig(100, 3);
    thread::scope(|scope| {
        disk.close();
        let mut sender = session(&queue);
        let first = scope.spawn(move || sender.send(&[Message::new(&b"a"[..])]));
        disk.arrived();
        let mut sender = session(&queue);
        let second = scope.spawn(move || sender.send(&[Message::new(&b"b"[..])]));
        wait_for(&queue, 2);
        disk.open_to_panic();
        first.join().expect_err("panics");
        let second = second.join().expect("does not panic");
        assert!(matches!(second[0], Sent::InDoubt(Error::Poisoned(_))), "{second:?}");
    });
    assert!(matches!(queue.session(), Err(Error::Poisoned(_))));
}

/// Opens a queue and sends until the next send makes the next segment ready; how many it sent.
fn until_a_segment_is_prepared(settings: &Settings) -> usize {
    let disk = Gated::new();
    let queue = FileQueue::open_within(disk.clone(), settings, limits(64 << 10)).expect("opens");
    for sent in 0.. {
        let before = (disk.disk.counts().syncs, disk.list().expect("lists").len());
        confirmed(&[send_one(&queue, "before")]);
        // No other file: the sender did not have to do it first.
        if (disk.disk.counts().syncs, disk.list().expect("lists").len()) == (before.0 + 2, before.1) {
            return sent;
        }
    }
    unreachable!("segments end")
}

#[test]
fn while_the_next_segment_is_prepared_others_go_on_and_lose_nothing() {
    let (disk, settings) = (Gated::new(), settings(1000, 3));
    let sent = until_a_segment_is_prepared(&settings);
    let queue = FileQueue::open_within(disk.clone(), &settings, limits(64 << 10)).expect("opens");
    let mut looker = session(&queue);
    for _ in 0..sent {
        confirmed(&[send_one(&queue, "before")]);
    }
    let syncs = disk.disk.counts().syncs;
    thread::scope(|scope| {
        disk.close();
        let preparer = scope.spawn(|| send_one(&queue, "before"));
        disk.arrived();
        // Its own commit, and then the next segment.
        disk.pass_one();
        disk.arrived();
        assert_eq!(disk.disk.counts().syncs, syncs + 1);
        let held = take(&mut looker, 1).remove(0);
        assert_eq!(held.id.0, 1);
        let joined = scope.spawn(|| send_one(&queue, "after"));
        wait_for(&queue, 1);
        disk.open();
        confirmed(&[preparer.join().expect("does not panic"), joined.join().expect("does not panic")]);
    });
    let mut crashed = disk.disk.clone();
    crashed.crash(Crash::Power, 1);
    drop((looker, queue));
    let queue = FileQueue::open(crashed, &settings).expect("opens");
    let left = take(&mut queue.session().expect("opens"), 1000);
    assert_eq!(left.len(), sent + 2);
    assert_eq!(left[0].attempt, 2, "that it was handed out is known");
}

/// A send whose witness is due.
fn at_rest() -> (SimDisk, FileQueue<SimDisk>, FileSession<SimDisk>) {
    let disk = SimDisk::new();
    let queue = FileQueue::open(disk.clone(), &settings(100, 2)).expect("opens");
    let mut session = queue.session().expect("opens");
    send(&mut session, &["a"]);
    (disk, queue, session)
}

#[test]
fn a_queue_whose_leader_waits_for_others_has_not_come_to_rest() {
    let (disk, queue, _session) = at_rest();
    let mut before = None;
    assert!(queue.shared.is_restless(&mut before), "it was not looked at before");
    queue.shared.hold();
    assert!(queue.shared.is_restless(&mut before), "somebody leads");
    queue.shared.release();
    let syncs = disk.counts().syncs;
    assert!(!queue.shared.is_restless(&mut before));
    assert_eq!(disk.counts().syncs, syncs + 1, "the witness");
}

#[test]
fn after_a_witness_that_failed_the_next_commit_rings_again() {
    let (disk, queue, mut session) = at_rest();
    assert!(queue.shared.bell.take_ring(), "the send");
    let mut before = None;
    assert!(queue.shared.is_restless(&mut before));
    disk.fill(0);
    // What was kept for acks is not for witnesses.
    while !matches!(session.send(&[Message::new(vec![b'x'; 4000])])[0], Sent::Refused(_)) {}
    while queue.shared.is_restless(&mut before) {}
    queue.shared.bell.take_ring();
    let held = session.receive(1, LEASE).expect("works").remove(0);
    assert!(is_done(&settle(&mut session, held.receipt, Settle::Ack)));
    assert!(queue.shared.bell.take_ring(), "whether or not the one before has a witness");
}
