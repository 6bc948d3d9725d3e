//! One test per rule.

use std::sync::Arc;

use super::*;
use crate::broker::{DeadLetter, Delivery, Depth, Error, Reason, Refusal};
use crate::file::storage::{Storage, StorageFile};

struct Rig {
    disk: SimDisk,
    settings: Settings,
    queue: Queue,
}

impl Rig {
    fn new(capacity: usize, deliveries_allowed: u32) -> Rig {
        let (disk, settings) = (SimDisk::new(), settings(capacity, deliveries_allowed));
        let queue = FileQueue::open(disk.clone(), &settings).expect("opens");
        Rig { disk, settings, queue }
    }

    fn session(&self) -> FileSession<SimDisk> {
        self.queue.session().expect("opens")
    }

    fn wait(&self, duration: Duration) {
        assert!(self.settings.clock.advance(duration));
    }

    /// The power fails; then the queue is opened again.
    fn crash(self, session: FileSession<SimDisk>) -> Rig {
        let Rig { mut disk, settings, queue } = self;
        disk.crash(crate::Crash::Power, 3);
        drop((session, queue));
        let queue = FileQueue::open(disk.clone(), &settings).expect("recovers");
        Rig { disk, settings, queue }
    }
}

fn one(session: &mut impl Session) -> Delivery {
    let mut deliveries = session.receive(1, LEASE).expect("works");
    deliveries.pop().expect("one is ready")
}

fn ids(session: &mut impl Session) -> Vec<u64> {
    session.receive(100, LEASE).expect("works").iter().map(|delivery| delivery.id.0).collect()
}

fn letters(session: &mut impl Session) -> Vec<(u64, Reason, u32)> {
    let letters = session.dead_letters(100).expect("works");
    letters.iter().map(|DeadLetter { id, reason, attempts, .. }| (id.0, *reason, *attempts)).collect()
}

/// A message kills every life that receives it; what happens `between` two of them.
fn the_end_of_a_deadly_message(between: impl Fn(Rig) -> Rig) {
    let mut rig = Rig::new(10, 3);
    let mut session = rig.session();
    assert_eq!(confirmed(&session.send(&[Message::new(&b"deadly"[..])])), [1]);
    let mut attempts = Vec::new();
    for _ in 0..10 {
        attempts.extend(session.receive(1, LEASE).expect("works").pop().map(|delivery| delivery.attempt));
        rig = between(rig.crash(session));
        session = rig.session();
    }
    // Nothing was written of the first.
    assert_eq!(attempts, [1, 1, 2, 3]);
    assert_eq!(letters(&mut session), [(1, Reason::Attempts, 3)]);
}

#[test]
fn a_message_that_kills_whoever_receives_it_becomes_a_dead_letter() {
    the_end_of_a_deadly_message(|rig| rig);
}

#[test]
fn it_does_so_also_where_lives_lie_between_that_do_not_receive_it() {
    the_end_of_a_deadly_message(|Rig { disk, settings, queue }| {
        drop(queue);
        let queue = FileQueue::open(disk.clone(), &settings).expect("opens");
        Rig { disk, settings, queue }
    });
}

#[test]
fn what_is_delivered_is_what_was_sent_in_order() {
    let rig = Rig::new(10, 5);
    let mut session = rig.session();
    let key: Arc<[u8]> = b"key"[..].into();
    let sent = session.send(&[Message::new(&b"a"[..]).with_key(Arc::clone(&key)), Message::new(&b""[..])]);
    assert_eq!(confirmed(&sent), [1, 2]);
    let deliveries = session.receive(10, LEASE).expect("works");
    let seen: Vec<_> = deliveries.iter().map(|d| (d.id.0, d.key.clone(), &d.body[..], d.attempt)).collect();
    assert_eq!(seen, [(1, Some(key), &b"a"[..], 1), (2, None, &b""[..], 1)]);
    assert!(session.receive(10, LEASE).expect("works").is_empty());
}

#[test]
fn a_first_delivery_writes_nothing_and_a_batch_of_settlements_syncs_once() {
    let rig = Rig::new(10, 5);
    let mut session = rig.session();
    // The first message has to wait for a spare segment.
    send(&mut session, &["first"]);
    let first = one(&mut session);
    assert!(is_done(&settle(&mut session, first.receipt, Settle::Ack)));
    let before = rig.disk.counts();
    send(&mut session, &["a", "b", "c"]);
    assert_eq!(rig.disk.counts().syncs, before.syncs + 1);
    let sent = rig.disk.counts();
    let deliveries = session.receive(3, LEASE).expect("works");
    session.depth().expect("works");
    assert_eq!(rig.disk.counts(), sent);
    let settlements: Vec<Settlement> =
        deliveries.iter().map(|d| Settlement { receipt: d.receipt, how: Settle::Ack }).collect();
    assert!(session.settle(&settlements).iter().all(is_done));
    assert_eq!(rig.disk.counts().syncs, sent.syncs + 1);
    assert_eq!(rig.disk.counts().bytes, sent.bytes + 512, "three acks fit into a sector");
}

#[test]
fn a_lease_is_live_before_its_deadline_and_not_at_it() {
    let rig = Rig::new(10, 5);
    let mut session = rig.session();
    send(&mut session, &["a"]);
    let first = one(&mut session);
    rig.wait(LEASE - Duration::from_nanos(1));
    assert!(ids(&mut session).is_empty());
    rig.wait(Duration::from_nanos(1));
    assert!(is_stale(&settle(&mut session, first.receipt, Settle::Ack)));
    let second = one(&mut session);
    assert_eq!((second.id, second.attempt), (first.id, 2));
    assert_ne!(second.receipt, first.receipt);
    assert!(is_stale(&settle(&mut session, first.receipt, Settle::Reject)));
    assert!(is_done(&settle(&mut session, second.receipt, Settle::Ack)));
}

#[test]
fn a_returned_message_stands_where_it_stood() {
    let rig = Rig::new(10, 5);
    let mut session = rig.session();
    send(&mut session, &["a", "b", "c"]);
    let first = one(&mut session);
    assert!(is_done(&settle(&mut session, first.receipt, nack(Duration::ZERO))));
    assert_eq!(ids(&mut session), [1, 2, 3]);
}

#[test]
fn settling_twice_is_stale_even_within_a_batch() {
    let rig = Rig::new(10, 5);
    let mut session = rig.session();
    send(&mut session, &["a", "b"]);
    let first = one(&mut session);
    let ack = Settlement { receipt: first.receipt, how: Settle::Ack };
    let outcomes = session.settle(&[ack, Settlement { receipt: crate::Receipt(99), ..ack }, ack]);
    assert!(is_done(&outcomes[0]) && is_stale(&outcomes[1]) && is_stale(&outcomes[2]), "{outcomes:?}");
    assert!(is_stale(&settle(&mut session, first.receipt, Settle::Reject)));
    assert_eq!(session.depth().expect("works"), Depth { ready: 1, ..Depth::default() });
}

#[test]
fn another_session_may_settle() {
    let rig = Rig::new(10, 5);
    let (mut holder, mut other) = (rig.session(), rig.session());
    send(&mut holder, &["a"]);
    let delivery = one(&mut holder);
    assert!(is_done(&settle(&mut other, delivery.receipt, Settle::Ack)));
    drop(holder);
    assert_eq!(other.depth().expect("works"), Depth::default());
}

#[test]
fn extending_never_shortens_and_never_revives() {
    let rig = Rig::new(10, 5);
    let mut session = rig.session();
    send(&mut session, &["a"]);
    let delivery = one(&mut session);
    assert!(is_done(&session.extend(delivery.receipt, 2 * LEASE)));
    assert!(is_done(&session.extend(delivery.receipt, SECOND)));
    rig.wait(2 * LEASE - SECOND);
    assert!(ids(&mut session).is_empty());
    rig.wait(SECOND);
    assert!(is_stale(&session.extend(delivery.receipt, LEASE)));
    assert_eq!(one(&mut session).attempt, 2);
}

#[test]
fn a_delay_holds_for_sends_and_nacks_and_over_a_crash() {
    let rig = Rig::new(10, 5);
    let mut session = rig.session();
    let delayed = Message::new(&b"later"[..]).with_delay(3 * SECOND);
    assert_eq!(confirmed(&session.send(&[delayed])), [1]);
    send(&mut session, &["now"]);
    let now = one(&mut session);
    assert_eq!(now.id.0, 2);
    assert!(is_done(&settle(&mut session, now.receipt, nack(5 * SECOND))));
    assert_eq!(session.depth().expect("works"), Depth { delayed: 2, ..Depth::default() });
    let rig = rig.crash(session);
    let mut session = rig.session();
    rig.wait(3 * SECOND - Duration::from_nanos(1));
    assert!(ids(&mut session).is_empty());
    rig.wait(Duration::from_nanos(1));
    assert_eq!(ids(&mut session), [1]);
    rig.wait(2 * SECOND);
    let back = one(&mut session);
    assert_eq!((back.id.0, back.attempt), (2, 2));
}

#[test]
fn the_last_allowed_attempt_ends_in_death_however_it_fails() {
    for (n, end) in ["nack", "expiry", "lost session"].into_iter().enumerate() {
        let rig = Rig::new(10, 2);
        let mut session = rig.session();
        send(&mut session, &["poison"]);
        for attempt in 1..=2 {
            let mut holder = rig.session();
            let delivery = one(&mut holder);
            assert_eq!(delivery.attempt, attempt);
            match n {
                0 => assert!(is_done(&settle(&mut holder, delivery.receipt, nack(Duration::ZERO)))),
                1 => rig.wait(LEASE),
                _ => drop(holder),
            }
        }
        assert_eq!(letters(&mut session), [(1, Reason::Attempts, 2)], "{end}");
        assert_eq!(session.depth().expect("works"), Depth { dead: 1, ..Depth::default() });
        let rig = rig.crash(session);
        assert_eq!(letters(&mut rig.session()), [(1, Reason::Attempts, 2)], "{end}");
    }
}

#[test]
fn a_rejected_message_dies_at_once() {
    let rig = Rig::new(10, 5);
    let mut session = rig.session();
    send(&mut session, &["bad"]);
    let delivery = one(&mut session);
    assert!(is_done(&settle(&mut session, delivery.receipt, Settle::Reject)));
    let rig = rig.crash(session);
    let mut session = rig.session();
    assert_eq!(letters(&mut session), [(1, Reason::Rejected, 1)]);
    assert!(ids(&mut session).is_empty());
}

#[test]
fn redrive_takes_the_oldest_deaths_that_fit_and_counts_anew() {
    let rig = Rig::new(2, 1);
    let mut session = rig.session();
    send(&mut session, &["a", "b"]);
    let deliveries = session.receive(2, LEASE).expect("works");
    for delivery in deliveries.iter().rev() {
        assert!(is_done(&settle(&mut session, delivery.receipt, nack(Duration::ZERO))));
    }
    assert_eq!(letters(&mut session), [(2, Reason::Attempts, 1), (1, Reason::Attempts, 1)]);
    send(&mut session, &["c"]);
    assert_eq!(session.redrive(0).expect("works"), 0);
    assert_eq!(session.redrive(9).expect("works"), 1, "one place is free");
    let rig = rig.crash(session);
    let mut session = rig.session();
    assert_eq!(letters(&mut session), [(1, Reason::Attempts, 1)]);
    let back = one(&mut session);
    assert_eq!((back.id.0, back.attempt), (2, 1));
}

#[test]
fn what_is_ready_in_flight_or_delayed_counts_towards_the_capacity() {
    let rig = Rig::new(3, 1);
    let mut session = rig.session();
    confirmed(&session.send(&[Message::new(&b"d"[..]).with_delay(SECOND)]));
    send(&mut session, &["a", "b"]);
    let delivery = one(&mut session);
    let messages = [Message::new(&b"no room"[..])];
    assert!(matches!(session.send(&messages)[0], Sent::Refused(Refusal::Full)));
    assert!(is_done(&settle(&mut session, delivery.receipt, Settle::Reject)));
    let outcomes = session.send(&[messages[0].clone(), messages[0].clone()]);
    assert_eq!(confirmed(&outcomes[..1]), [4], "a dead letter takes no room");
    assert!(matches!(outcomes[1], Sent::Refused(Refusal::Full)));
}

#[test]
fn an_oversized_message_is_refused_and_its_neighbours_are_not() {
    let rig = Rig::new(3, 1);
    let mut session = rig.session();
    let huge: Arc<[u8]> = vec![0; BODY_LIMIT.0 as usize + 1].into();
    let outcomes = session.send(&[
        Message::new(Arc::clone(&huge)),
        Message::new(&b"a"[..]),
        Message::new(&b"b"[..]).with_key(huge),
    ]);
    assert!(matches!(outcomes[0], Sent::Refused(Refusal::TooLarge)));
    assert_eq!(confirmed(&outcomes[1..2]), [1]);
    assert!(matches!(outcomes[2], Sent::Refused(Refusal::TooLarge)));
}

#[test]
fn a_session_that_is_lost_returns_what_it_held() {
    let rig = Rig::new(10, 5);
    let (mut lost, mut other) = (rig.session(), rig.session());
    send(&mut lost, &["a", "b"]);
    let kept = one(&mut other);
    assert_eq!(ids(&mut lost), [2]);
    drop(lost);
    let back = one(&mut other);
    assert_eq!((back.id.0, back.attempt), (2, 2));
    assert!(is_done(&settle(&mut other, kept.receipt, Settle::Ack)), "other sessions keep theirs");
}

#[test]
fn ended_attempts_survive_exactly_and_begun_ones_only_with_a_later_commit() {
    let rig = Rig::new(10, 9);
    let mut session = rig.session();
    send(&mut session, &["a", "b"]);
    let first = one(&mut session);
    assert!(is_done(&settle(&mut session, first.receipt, nack(Duration::ZERO))));
    let again = one(&mut session);
    let rig = rig.crash(session);
    let mut session = rig.session();
    assert!(is_stale(&settle(&mut session, again.receipt, Settle::Ack)), "leases end with the crash");
    let deliveries = session.receive(2, LEASE).expect("works");
    assert_eq!(deliveries.iter().map(|d| d.attempt).collect::<Vec<_>>(), [2, 1]);
    assert!(deliveries.iter().all(|d| d.receipt != first.receipt && d.receipt != again.receipt));
    send(&mut session, &["c"]);
    let rig = rig.crash(session);
    let deliveries = rig.session().receive(3, LEASE).expect("works");
    assert_eq!(deliveries.iter().map(|d| d.attempt).collect::<Vec<_>>(), [3, 2, 1]);
}

#[test]
fn a_message_whose_last_attempt_a_crash_ended_dies_in_recovery() {
    let rig = Rig::new(10, 1);
    let mut session = rig.session();
    send(&mut session, &["killer"]);
    one(&mut session);
    send(&mut session, &["other"]);
    let rig = rig.crash(session);
    let mut session = rig.session();
    assert_eq!(letters(&mut session), [(1, Reason::Attempts, 1)]);
    assert_eq!(ids(&mut session), [2]);
}

#[test]
fn ids_are_never_used_again() {
    let rig = Rig::new(10, 1);
    let mut session = rig.session();
    send(&mut session, &["a", "b"]);
    for delivery in session.receive(2, LEASE).expect("works") {
        assert!(is_done(&settle(&mut session, delivery.receipt, Settle::Ack)));
    }
    let rig = rig.crash(session);
    let rig = {
        let session = rig.session();
        rig.crash(session)
    };
    assert_eq!(send(&mut rig.session(), &["c"]), [3]);
}

#[test]
fn receipts_differ_between_lives() {
    let rig = Rig::new(10, 9);
    let mut session = rig.session();
    send(&mut session, &["a"]);
    let first = one(&mut session).receipt;
    let rig = rig.crash(session);
    let mut session = rig.session();
    assert!(is_stale(&settle(&mut session, first, Settle::Ack)));
    assert_ne!(one(&mut session).receipt, first);
}

#[test]
fn the_log_does_not_grow_for_ever() {
    let settings = settings(10, 3);
    let disk = SimDisk::new();
    let queue = FileQueue::open_within(disk.clone(), &settings, limits(8 << 10)).expect("opens");
    let mut session = queue.session().expect("opens");
    send(&mut session, &["stays"]);
    let kept = one(&mut session);
    let mut most = 0;
    for _ in 0..400 {
        send(&mut session, &["goes"]);
        let delivery = one(&mut session);
        assert!(is_done(&settle(&mut session, delivery.receipt, Settle::Ack)));
        let lens = disk
            .list()
            .expect("lists")
            .into_iter()
            .map(|name| disk.open(&name).expect("opens").len().expect("has a length"));
        most = most.max(lens.sum());
    }
    // Four of the least before a segment is given up; the one that is filled, one that is ready, and one more.
    assert!(most <= (4 * 8 + 3 * 32) << 10, "{most}");
    assert!(is_done(&settle(&mut session, kept.receipt, Settle::Ack)), "its lease outlived its moves");
}

#[test]
fn senseless_settings_and_arguments_are_refused() {
    for (capacity, deliveries) in [(0, 1), (1, 0)] {
        let disk = SimDisk::new();
        let refused = FileQueue::open(disk.clone(), &settings(capacity, deliveries));
        assert!(matches!(refused, Err(Error::Invalid { .. })));
        assert_eq!(disk.counts().calls, 0);
    }
    let rig = Rig::new(1, 1);
    let mut session = rig.session();
    assert!(matches!(session.receive(0, LEASE), Err(Error::Invalid { what: "max", .. })));
    assert!(matches!(session.receive(1, Duration::ZERO), Err(Error::Invalid { what: "lease", .. })));
}

#[test]
fn a_lower_limit_or_capacity_holds_for_what_is_there() {
    let rig = Rig::new(3, 9);
    let mut session = rig.session();
    send(&mut session, &["a", "b", "c"]);
    let first = one(&mut session);
    assert!(is_done(&settle(&mut session, first.receipt, nack(Duration::ZERO))));
    let Rig { disk, queue, .. } = rig;
    drop((session, queue));
    let queue = FileQueue::open(disk, &settings(1, 1)).expect("opens");
    let mut session = queue.session().expect("opens");
    assert_eq!(letters(&mut session), [(1, Reason::Attempts, 1)]);
    assert!(matches!(session.send(&[Message::new(&b"d"[..])])[0], Sent::Refused(Refusal::Full)));
    assert_eq!(ids(&mut session), [2, 3]);
}
