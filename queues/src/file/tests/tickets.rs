//! Calls that do not wait for their commit, and who commits them.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use super::gate::Gated;
use super::*;
use crate::broker::{Crash, Depth, Error, Refusal};
use crate::file::sim::FailSync;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Unpark>) {
        self.0.unpark();
    }
}

/// Looks whenever it is woken.
fn awaited<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => thread::park(),
        }
    }
}

fn message(text: impl ToString) -> [Message; 1] {
    [Message::new(text.to_string().into_bytes())]
}

fn opened(disk: &SimDisk, capacity: usize) -> Queue {
    FileQueue::open(disk.clone(), &settings(capacity, 3)).expect("opens")
}

fn ack(receipt: crate::Receipt) -> [Settlement; 1] {
    [Settlement { receipt, how: Settle::Ack }]
}

#[test]
fn many_tickets_share_one_sync_and_keep_their_order() {
    let disk = SimDisk::new();
    let queue = opened(&disk, 1000);
    let mut session = queue.session().expect("opens");
    // The first message has to wait for a spare segment.
    send(&mut session, &["first"]);
    let before = disk.counts().syncs;
    let tickets: Vec<_> = (0..100).map(|n| session.begin_send(&message(n))).collect();
    assert_eq!(disk.counts().syncs, before);
    assert_eq!(session.depth().expect("works").ready, 1, "nobody sees what is not durable");
    assert!(tickets.iter().all(|ticket| !ticket.is_settled()));
    let ids: Vec<u64> = tickets.into_iter().rev().flat_map(|ticket| confirmed(&ticket.wait())).collect();
    assert_eq!(disk.counts().syncs, before + 1);
    assert_eq!(ids, (2..102).rev().collect::<Vec<u64>>());

    let receipts = session.receive(101, LEASE).expect("works").into_iter().map(|held| held.receipt);
    let tickets: Vec<_> = receipts.map(|receipt| session.begin_settle(&ack(receipt))).collect();
    let settled = tickets.into_iter().flat_map(Ticket::wait).filter(is_done).count();
    assert_eq!((settled, disk.counts().syncs), (101, before + 2));
    let mut crashed = disk.clone();
    crashed.crash(Crash::Power, 1);
    let queue = opened(&crashed, 1000);
    assert_eq!(queue.session().expect("opens").depth().expect("works"), Depth::default());
}

#[test]
fn whoever_waits_commits_what_was_begun_before() {
    let disk = SimDisk::new();
    let queue = opened(&disk, 10);
    let mut session = queue.session().expect("opens");
    send(&mut session, &["first"]);
    let before = disk.counts().syncs;
    let ticket = session.begin_send(&message("begun"));
    send(&mut session, &["waited for"]);
    assert!(ticket.is_settled());
    assert_eq!(disk.counts().syncs, before + 1);
    assert_eq!(confirmed(&awaited(ticket)), [2]);
}

#[test]
fn the_heartbeat_commits_what_nobody_waits_for() {
    let mut queue = opened(&SimDisk::new(), 1000);
    queue.start_heartbeat().expect("starts");
    let mut session = queue.session().expect("opens");
    for n in 0..200 {
        let (one, other) = (session.begin_send(&message(n)), session.begin_send(&message(n)));
        assert_eq!(confirmed(&awaited(other)), [2 * n + 2]);
        assert!(one.is_settled());
        assert_eq!(confirmed(&awaited(one)), [2 * n + 1]);
    }
    let forgotten = session.begin_send(&message("forgotten"));
    drop(forgotten);
    while session.depth().expect("works").ready < 401 {
        thread::yield_now();
    }
}

#[test]
fn tickets_outlive_their_session_and_their_queue() {
    let disk = SimDisk::new();
    let mut queue = opened(&disk, 10);
    queue.start_heartbeat().expect("starts");
    let mut session = queue.session().expect("opens");
    let (waited, looked) = (session.begin_send(&message("a")), session.begin_send(&message("b")));
    drop((session, queue));
    assert_eq!((confirmed(&awaited(looked)), confirmed(&waited.wait())), (vec![2], vec![1]));
    assert_eq!(opened(&disk, 10).session().expect("opens").depth().expect("works").ready, 2);
}

#[test]
fn what_is_begun_when_all_is_dropped_is_written_at_the_end() {
    let disk = SimDisk::new();
    let queue = opened(&disk, 10);
    let mut session = queue.session().expect("opens");
    send(&mut session, &["acked"]);
    let held = session.receive(1, LEASE).expect("works").remove(0);
    drop((session.begin_send(&message("begun")), session.begin_settle(&ack(held.receipt))));
    drop((session, queue));
    let queue = opened(&disk, 10);
    let mut session = queue.session().expect("opens");
    assert_eq!(session.depth().expect("works"), Depth { ready: 1, ..Depth::default() });
    assert_eq!(session.receive(1, LEASE).expect("works")[0].body[..], *b"begun");
}

#[test]
fn an_attempt_whose_end_is_on_its_way_is_not_said_to_have_begun() {
    let (mut disk, settings) = (SimDisk::new(), settings(10, 3));
    let opened = |disk: &SimDisk| FileQueue::open(disk.clone(), &settings).expect("opens");
    let queue = opened(&disk);
    let suspect = Message::new(&b"a suspect"[..]).with_delay(SECOND);
    confirmed(&queue.session().expect("opens").send(&[suspect]));
    disk.crash(Crash::Process, 1);

    let queue = opened(&disk);
    let (mut one, mut other) = (queue.session().expect("opens"), queue.session().expect("opens"));
    send(&mut one, &["returned"]);
    let held = one.receive(1, LEASE).expect("works").remove(0);
    assert!(settings.clock.advance(SECOND));
    let how = nack(Duration::ZERO);
    let returned = one.begin_settle(&[Settlement { receipt: held.receipt, how }]);
    // The last life was killed, so this is delivered only when a record says so: in the same commit, behind the other.
    assert_eq!(other.receive(1, LEASE).expect("works")[0].body[..], *b"a suspect");
    assert!(returned.wait().iter().all(is_done));
    disk.crash(Crash::Process, 1);

    let mut session = opened(&disk).session().expect("opens");
    let attempts: Vec<u32> =
        session.receive(2, LEASE).expect("works").into_iter().map(|held| held.attempt).collect();
    assert_eq!(attempts, [2, 2], "each was delivered once before");
}

#[test]
fn what_is_not_durable_when_the_power_fails_was_not_confirmed() {
    let disk = SimDisk::new();
    let queue = opened(&disk, 10);
    let mut session = queue.session().expect("opens");
    let ticket = session.begin_send(&message("begun"));
    let mut crashed = disk.clone();
    crashed.crash(Crash::Power, 1);
    assert!(matches!(ticket.wait()[..], [Sent::InDoubt(_)]), "the disk is another one now");
    assert_eq!(opened(&crashed, 10).session().expect("opens").depth().expect("works"), Depth::default());
}

#[test]
fn a_failed_sync_leaves_every_ticket_in_doubt() {
    let disk = SimDisk::new();
    let queue = opened(&disk, 10);
    let mut session = queue.session().expect("opens");
    send(&mut session, &["held"]);
    let held = session.receive(1, LEASE).expect("works").remove(0);
    disk.fail_syncs(FailSync::DropPages, 1);
    let (sent, settled) = (session.begin_send(&message("a")), session.begin_settle(&ack(held.receipt)));
    assert!(matches!(settled.wait()[..], [Settled::InDoubt(Error::Poisoned(_))]));
    assert!(matches!(awaited(sent)[..], [Sent::InDoubt(Error::Poisoned(_))]));
    let refused = session.begin_send(&message("b"));
    assert!(refused.is_settled());
    assert!(matches!(refused.wait()[..], [Sent::Refused(Refusal::Unavailable(_))]));
    let refused = session.begin_settle(&ack(held.receipt));
    assert!(matches!(refused.wait()[..], [Settled::InDoubt(Error::Poisoned(_))]));
}

/// Sends something as soon as it is woken, and ends a session that holds a message.
struct Calls(Queue, Mutex<Option<FileSession<SimDisk>>>, AtomicU64);

impl Wake for Calls {
    fn wake(self: Arc<Calls>) {
        drop(self.1.lock().expect("nobody panicked").take());
        let sent = self.0.session().map(|mut session| session.send(&message("woken")));
        let works = matches!(sent.as_deref(), Ok([Sent::Confirmed(_)]));
        self.2.fetch_add(1 + u64::from(works), Ordering::Relaxed);
    }
}

#[test]
fn whoever_is_woken_may_call_the_queue_there_and_then() {
    for fails in [false, true] {
        let disk = SimDisk::new();
        let queue = opened(&disk, 10);
        let (mut session, mut holder) = (queue.session().expect("opens"), queue.session().expect("opens"));
        send(&mut session, &["first"]);
        assert_eq!(holder.receive(1, LEASE).expect("works").len(), 1);
        let awake = Arc::new(Calls(queue, Mutex::new(Some(holder)), AtomicU64::new(0)));
        let waker = Waker::from(Arc::clone(&awake));
        let mut looked = session.begin_send(&message("a"));
        assert!(pin!(&mut looked).poll(&mut Context::from_waker(&waker)).is_pending());
        disk.fail_syncs(FailSync::DropPages, u64::from(fails));
        drop(session.begin_send(&message("b")).wait());
        assert_eq!(awake.2.load(Ordering::Relaxed), if fails { 1 } else { 2 }, "woken once");
        let ready = session.depth().map(|depth| depth.ready).ok();
        assert_eq!(ready, Some(4).filter(|_| !fails), "the one that was held too");
    }
}

#[test]
fn a_panic_of_the_storage_ends_every_ticket() {
    let disk = Gated::new();
    let queue = FileQueue::open(disk.clone(), &settings(10, 3)).expect("opens");
    let mut session = queue.session().expect("opens");
    send(&mut session, &["first"]);
    let (waited, looked) = (session.begin_send(&message("a")), session.begin_send(&message("b")));
    let panicked = thread::scope(|scope| {
        disk.close();
        let waiting = scope.spawn(|| waited.wait());
        disk.arrived();
        disk.open_to_panic();
        waiting.join()
    });
    assert!(panicked.is_err());
    assert!(matches!(awaited(looked)[..], [Sent::InDoubt(Error::Poisoned(_))]));
}

#[test]
fn a_full_disk_refuses_the_sends_of_a_batch_and_takes_its_settlements() {
    let disk = SimDisk::new();
    let queue = opened(&disk, 100_000);
    let mut session = queue.session().expect("opens");
    send(&mut session, &["held"]);
    let held = session.receive(1, LEASE).expect("works").remove(0);
    disk.fill(0);
    let big = || [Message::new(vec![b'x'; 10_000])];
    while let [Sent::Confirmed(_)] = session.send(&big())[..] {}
    let (sent, settled) = (session.begin_send(&big()), session.begin_settle(&ack(held.receipt)));
    assert!(matches!(settled.wait()[..], [Settled::Done]));
    assert!(matches!(sent.wait()[..], [Sent::Refused(Refusal::Unavailable(_))]));
}

#[test]
fn a_ticket_holds_its_places_and_its_deliveries() {
    let queue = opened(&SimDisk::new(), 3);
    let mut session = queue.session().expect("opens");
    send(&mut session, &["held"]);
    let held = session.receive(1, LEASE).expect("works").remove(0);
    let settled = session.begin_settle(&ack(held.receipt));
    let again = session.begin_settle(&ack(held.receipt));
    assert!(settled.is_settled(), "what follows depends on it");
    assert!(is_stale(&again.wait()[0]) && is_done(&settled.wait()[0]));

    let sent: Vec<_> = (0..4).map(|n| session.begin_send(&message(n))).collect();
    let outcomes: Vec<Sent> = sent.into_iter().flat_map(Ticket::wait).collect();
    assert_eq!(confirmed(&outcomes[..3]), [2, 3, 4]);
    assert!(matches!(outcomes[3], Sent::Refused(Refusal::Full)));
    assert!(session.begin_send(&[]).wait().is_empty());
}

/// Threads that send by ticket in windows, each awaiting its tickets or waiting for them, and one that acks by ticket.
#[test]
fn threads_with_windows_lose_and_double_nothing() {
    const EACH: u64 = 2000;
    let mut queue = opened(&SimDisk::new(), 100_000);
    queue.start_heartbeat().expect("starts");
    thread::scope(|scope| {
        for producer in 0..3_u64 {
            let mut session = queue.session().expect("opens");
            scope.spawn(move || {
                let mut open = std::collections::VecDeque::new();
                for n in 0..EACH {
                    open.push_back(session.begin_send(&message(format!("{producer} {n}"))));
                    if open.len() > [1, 7, 64][producer as usize] {
                        let oldest = open.pop_front().expect("not empty");
                        confirmed(&if n % 3 == 0 { awaited(oldest) } else { oldest.wait() });
                    }
                }
                open.into_iter().for_each(|ticket| drop(confirmed(&ticket.wait())));
            });
        }
        let mut next = [0; 3];
        let mut session = queue.session().expect("opens");
        let mut open = Vec::new();
        while next != [EACH; 3] {
            for held in session.receive(10, LEASE).expect("works") {
                let text = String::from_utf8_lossy(&held.body).into_owned();
                let (producer, n) = text.split_once(' ').expect("two numbers");
                let expected = &mut next[producer.parse::<usize>().expect("a number")];
                assert_eq!(n.parse(), Ok(*expected));
                *expected += 1;
                open.push(session.begin_settle(&ack(held.receipt)));
            }
        }
        assert!(open.into_iter().all(|ticket| is_done(&ticket.wait()[0])));
        assert_eq!(session.depth().expect("works"), Depth::default());
    });
}
