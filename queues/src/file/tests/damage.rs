//! Failing, full and rotten disks, and directories that hold something else.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;

use super::gate::wait_for;
use super::*;
use crate::broker::{Crash, Delivery, Error, Host, Refusal};
use crate::file::hostile::disk_of;
use crate::file::inspect::{inspect, look};
use crate::file::salvage::salvage_storage;
use crate::file::segment::{End, Header, Marks};
use crate::file::sim::FailSync;
use crate::file::storage::{Block, Storage, StorageFile};
use crate::file::survival::Fault;

fn open(disk: &SimDisk) -> Queue {
    try_open(disk).expect("opens")
}

/// With little prepared, so that a log is short.
fn try_open(disk: &SimDisk) -> Result<Queue, Error> {
    FileQueue::open_within(disk.clone(), &settings(100, 3), limits(4 << 10))
}

/// What is there, as bodies, without settling it.
fn bodies(queue: &Queue) -> Vec<String> {
    let deliveries = queue.session().expect("opens").receive(100, LEASE).expect("works");
    deliveries.iter().map(|d| String::from_utf8_lossy(&d.body).into_owned()).collect()
}

fn log_of(disk: &SimDisk) -> (String, u64) {
    let names = disk.list().expect("lists");
    let segments: Vec<&String> = names.iter().filter(|name| name.starts_with("log-")).collect();
    let [name] = &segments[..] else { panic!("one segment: {names:?}") };
    ((*name).clone(), disk.open(name).expect("opens").len().expect("has a length"))
}

/// How long all files are.
fn used(disk: &SimDisk) -> u64 {
    image(disk).iter().map(|(_, bytes)| bytes.len() as u64).sum()
}

/// Fills the disk, and what the queue has left of it, with messages; how many there were.
fn fill_with_messages(disk: &SimDisk, session: &mut impl Session) -> usize {
    disk.fill(used(disk));
    let message = [Message::new(vec![b'x'; 700])];
    (0..)
        .find(|_| match session.send(&message).remove(0) {
            Sent::Confirmed(_) => false,
            Sent::Refused(Refusal::Unavailable(_)) => true,
            other => panic!("{other:?}"),
        })
        .expect("the disk ends")
}

/// Where what is prepared for later commits begins.
fn end_of(log: &[u8]) -> u64 {
    let used = log.chunks(512).rposition(|sector| sector.iter().any(|byte| *byte != 0));
    used.map_or(0, |last| (last as u64 + 1) * 512)
}

#[test]
fn a_failed_sync_stops_the_queue_until_it_is_opened_again() {
    for (how, crash) in
        [FailSync::KeepPages, FailSync::DropPages].into_iter().flat_map(|how| [(how, false), (how, true)])
    {
        let mut disk = SimDisk::new();
        let queue = open(&disk);
        let mut session = queue.session().expect("opens");
        send(&mut session, &["before"]);
        let held = session.receive(1, LEASE).expect("works").remove(0);
        disk.fail_syncs(how, 1);
        let message = [Message::new(&b"doubt"[..])];
        assert!(matches!(session.send(&message)[0], Sent::InDoubt(Error::Poisoned(_))));
        assert!(matches!(&session.send(&message)[0], Sent::Refused(Refusal::Unavailable(_))));
        assert!(matches!(
            settle(&mut session, held.receipt, Settle::Ack),
            Settled::InDoubt(Error::Poisoned(_))
        ));
        assert!(matches!(session.extend(held.receipt, LEASE), Settled::InDoubt(Error::Poisoned(_))));
        assert!(matches!(session.receive(1, LEASE), Err(Error::Poisoned(_))));
        assert!(matches!(session.redrive(1), Err(Error::Poisoned(_))));
        assert!(matches!(session.depth(), Err(Error::Poisoned(_))));
        assert!(matches!(session.dead_letters(1), Err(Error::Poisoned(_))));
        assert!(matches!(queue.session(), Err(Error::Poisoned(_))));
        if crash {
            disk.crash(Crash::Power, 5);
        }
        drop((session, queue));
        let queue = open(&disk);
        send(&mut queue.session().expect("opens"), &["after"]);
        disk.crash(Crash::Power, 6);
        drop(queue);
        let left = bodies(&open(&disk));
        let without_doubt: Vec<_> = left.iter().filter(|body| *body != "doubt").collect();
        assert_eq!(without_doubt, ["before", "after"], "{how:?}, crash: {crash}");
    }
}

/// A queue that rolls and recycles segments, on a disk of which one call fails, and the power later.
fn with_a_failed_call(calls: u64, fault: Fault, seed: u64) -> bool {
    let mut disk = SimDisk::new();
    disk.fail_after(calls, fault);
    let mut expected = Vec::new();
    // The first life is struck, or the opening of the second, which does little: what was left is still needed.
    for (life, many) in [40, 1].into_iter().enumerate() {
        let Some(queue) = (0..2).find_map(|_| try_open(&disk).ok()) else { panic!("only one call fails") };
        let mut session = queue.session().expect("opens");
        for nth in 0..many {
            let body = format!("{life}/{nth}{}", "x".repeat(300));
            match session.send(&[Message::new(body.as_bytes())]).remove(0) {
                Sent::Confirmed(_) => expected.push((body, true)),
                Sent::InDoubt(_) => expected.push((body, false)),
                Sent::Refused(_) => {}
            }
            if nth % 3 > 0
                && let Ok(held) = session.receive(1, LEASE)
            {
                let settled = settle(&mut session, held[0].receipt, Settle::Ack);
                let body = String::from_utf8_lossy(&held[0].body);
                if is_done(&settled) {
                    expected.retain(|(other, _)| *other != body);
                } else {
                    expected
                        .iter_mut()
                        .filter(|(other, _)| *other == body)
                        .for_each(|(_, sure)| *sure = false);
                }
            }
        }
    }
    let reached = !disk.fault_pending();
    disk.fail_after(u64::MAX, fault);
    disk.crash(Crash::Power, seed);
    let left = bodies(&open(&disk));
    for (body, sure) in &expected {
        assert!(!sure || left.contains(body), "{}… is lost, {calls} {fault:?} {seed}", &body[..4]);
    }
    assert!(left.iter().all(|body| expected.iter().any(|(other, _)| other == body)));
    reached
}

#[test]
fn what_a_failed_call_left_behind_is_not_trusted_by_later_lives() {
    let pages = [FailSync::KeepPages, FailSync::DropPages];
    let faults = pages.into_iter().flat_map(|pages| [Fault::Io(pages), Fault::Late(pages)]);
    let faults = faults.chain([Fault::Full]);
    for fault in faults {
        let reached = (0..).take_while(|calls| {
            (0..6).map(|seed| with_a_failed_call(*calls, fault, seed + 17 * calls)).fold(true, |a, b| a & b)
        });
        let reached = reached.count();
        assert!(reached > 50, "{reached} calls are not all there are");
    }
}

#[test]
fn a_settlement_whose_sync_fails_is_in_doubt() {
    let disk = SimDisk::new();
    let queue = open(&disk);
    let mut session = queue.session().expect("opens");
    send(&mut session, &["a"]);
    let held = session.receive(1, LEASE).expect("works").remove(0);
    disk.fail_syncs(FailSync::KeepPages, 1);
    let stale = Settlement { receipt: crate::Receipt(1), how: Settle::Ack };
    let outcomes = session.settle(&[Settlement { receipt: held.receipt, ..stale }, stale]);
    assert!(matches!(outcomes[0], Settled::InDoubt(Error::Poisoned(_))));
    assert!(is_stale(&outcomes[1]));
}

/// How many nacks were done, which delivery was the first whose nack was not, and what that was answered.
fn nack_until_refused(session: &mut FileSession<SimDisk>, lease: Duration) -> (u64, Delivery, Settled) {
    let mut nacked = 0;
    loop {
        let held = session.receive(1, lease).expect("works").remove(0);
        match settle(session, held.receipt, nack(Duration::ZERO)) {
            Settled::Done => nacked += 1,
            other => return (nacked, held, other),
        }
    }
}

#[test]
fn a_full_disk_refuses_messages_and_settles_and_goes_on_when_there_is_room() {
    let mut disk = SimDisk::new();
    let settings = settings(100, u32::MAX);
    let queue = FileQueue::open_within(disk.clone(), &settings, limits(4 << 10)).expect("opens");
    let mut session = queue.session().expect("opens");
    send(&mut session, &["a", "b"]);
    let mut sent = 2 + fill_with_messages(&disk, &mut session);
    let full = used(&disk);
    for room in [0, 1, 511, 600] {
        disk.fill(full + room);
        let big = Message::new(vec![b'x'; 700]);
        assert!(matches!(&session.send(&[big])[0], Sent::Refused(Refusal::Unavailable(_))));
        assert_eq!(used(&disk), full, "the part that fitted is gone");
    }
    disk.fill(full);
    let (nacked, held, refused) = nack_until_refused(&mut session, LEASE);
    assert!(nacked > 0, "some space is kept for these");
    assert!(matches!(refused, Settled::InDoubt(Error::Io { .. })), "and used up: {refused:?}");
    assert_eq!(used(&disk), full);
    disk.fill(u64::MAX);
    assert!(is_done(&settle(&mut session, held.receipt, Settle::Ack)), "nothing had changed");
    send(&mut session, &["c"]);
    sent -= 1;
    disk.crash(Crash::Power, 1);
    drop((session, queue));
    let left = bodies(&FileQueue::open(disk, &settings).expect("opens"));
    assert_eq!((left.len(), left.last().map(String::as_str)), (sent + 1, Some("c")));
}

#[test]
fn a_full_disk_can_be_emptied_by_acks() {
    // Also in a life after one that was killed, which writes who was handed what.
    let ways = [(false, false), (true, false), (false, true)];
    for (sent, (rests, killed)) in (20..60).flat_map(|sent| ways.map(|way| (sent, way))) {
        let mut disk = SimDisk::new();
        let mut queue = open(&disk);
        let mut session = queue.session().expect("opens");
        // Of which no two fit into a sector: so that an ack takes no more space than a message.
        let body = "x".repeat(300);
        for _ in 0..sent {
            send(&mut session, &[&body]);
        }
        let sent = sent + fill_with_messages(&disk, &mut session);
        if killed {
            disk.crash(Crash::Process, 1);
            // A life begins with a segment of its own.
            disk.fill(used(&disk) + (4 << 10));
            queue = open(&disk);
            session = queue.session().expect("opens");
            disk.fill(used(&disk));
        }
        for _ in 0..sent {
            let held = session.receive(1, LEASE).expect("works").remove(0);
            let settled = settle(&mut session, held.receipt, Settle::Ack);
            assert!(is_done(&settled), "{} of {sent}: {settled:?}", held.id.0);
            if rests {
                queue.shared.witness();
            }
        }
        send(&mut session, &["the acks made room"]);
        disk.fill(u64::MAX);
        send(&mut session, &["there is room again"]);
    }
}

/// How many calls find space on a full disk whose messages were sent in batches, and how many a segment has blocks for.
fn settled_when_full(
    block: Block,
    mut settle_one: impl FnMut(&Queue, &mut FileSession<SimDisk>) -> bool,
) -> (u64, u64) {
    let disk = SimDisk::in_blocks(block);
    let limits = limits(8 * block.bytes() as u64);
    let queue = FileQueue::open_within(disk.clone(), &settings(100_000, 1000), limits).expect("opens");
    let mut session = queue.session().expect("opens");
    let batch = vec![Message::new(&b"small"[..]); 20];
    (0..60).for_each(|_| drop(confirmed(&session.send(&batch))));
    disk.fill(used(&disk));
    while matches!(session.send(&batch)[0], Sent::Confirmed(_)) {}
    let lens =
        image(&disk).into_iter().filter(|(name, _)| name.starts_with("log-")).map(|(_, bytes)| bytes.len());
    let longest = lens.max().expect("has segments") as u64;
    let settled = (0..10_000).take_while(|_| settle_one(&queue, &mut session)).count() as u64;
    // Each takes a block, and its place in the index.
    (settled, longest / (block.bytes() as u64 + 25))
}

#[test]
fn a_full_disk_takes_as_many_settlements_of_any_kind_as_a_segment_has_blocks() {
    for block in [Block::Sector, Block::Page] {
        for how in [Settle::Ack, nack(Duration::ZERO), nack(1000 * SECOND), Settle::Reject] {
            let (settled, promised) = settled_when_full(block, |_, session| {
                let held = session.receive(1, LEASE).expect("works").remove(0);
                is_done(&settle(session, held.receipt, how))
            });
            assert!(settled + 4 >= promised, "{settled} of {promised}: {how:?}");
        }
        let (expired, promised) = settled_when_full(block, |queue, session| {
            session.receive(1, LEASE).is_ok() && {
                assert!(queue.shared.settings.clock.advance(LEASE));
                session.depth().is_ok()
            }
        });
        assert!(expired + 4 >= promised, "{expired} of {promised} expired");
        // All that are held, in one call.
        let (calls, _) = settled_when_full(block, |_, session| {
            let held = session.receive(100, LEASE).expect("works");
            let acks: Vec<Settlement> =
                held.iter().map(|held| Settlement { receipt: held.receipt, how: Settle::Ack }).collect();
            session.settle(&acks).iter().all(is_done)
        });
        assert_eq!(calls, 10_000, "acks of many make room");
    }
}

/// A queue on a full disk that has used up what was kept for settlements, and whom it answered so, holding what.
fn with_nothing_left(lease: Duration) -> (SimDisk, Queue, FileSession<SimDisk>, Delivery) {
    let disk = SimDisk::new();
    let settings = settings(100, u32::MAX);
    let queue = FileQueue::open_within(disk.clone(), &settings, limits(4 << 10)).expect("opens");
    let mut session = queue.session().expect("opens");
    send(&mut session, &["a", "b"]);
    fill_with_messages(&disk, &mut session);
    let (_, held, refused) = nack_until_refused(&mut session, lease);
    assert!(matches!(refused, Settled::InDoubt(Error::Io { .. })), "{refused:?}");
    (disk, queue, session, held)
}

#[test]
fn what_a_session_held_that_was_lost_on_a_full_disk_is_returned_when_there_is_room() {
    let (disk, queue, session, held) = with_nothing_left(Duration::MAX);
    drop(session);
    let mut other = queue.session().expect("opens");
    assert!(matches!(other.depth(), Err(Error::Io { .. })), "its lease has ended, and nobody can say so");
    disk.fill(u64::MAX);
    let again = other.receive(1, LEASE).expect("works").remove(0);
    assert_eq!((again.id, again.attempt), (held.id, held.attempt + 1));
}

#[test]
fn a_lease_that_ended_is_not_passed_over_while_its_settlement_finds_no_space() {
    let (_, queue, mut session, held) = with_nothing_left(LEASE);
    let how = nack(Duration::ZERO);
    let ticket = session.begin_settle(&[Settlement { receipt: held.receipt, how }]);
    assert!(queue.shared.settings.clock.advance(LEASE));
    let looked = queue.session().expect("opens").depth();
    assert!(matches!(looked, Err(Error::Io { .. })), "{looked:?}");
    assert!(matches!(ticket.wait()[..], [Settled::InDoubt(_)]));
}

#[test]
fn a_queue_on_a_full_disk_is_closed_also_where_what_was_begun_finds_no_space() {
    let disk = SimDisk::new();
    let queue = open(&disk);
    let mut session = queue.session().expect("opens");
    send(&mut session, &["a"]);
    let many = 1 + fill_with_messages(&disk, &mut session);
    drop(session.begin_send(&[Message::new(vec![b'x'; 700])]));
    drop((session, queue));
    disk.fill(u64::MAX);
    let queue = open(&disk);
    assert!(!queue.recovered().unclean);
    assert_eq!(bodies(&queue).len(), many, "what found no space is not there");
}

#[test]
fn what_comes_to_rest_uses_up_no_space_that_is_kept_for_settlements() {
    let (settled, promised) = settled_when_full(Block::Sector, |queue, session| {
        let held = session.receive(1, LEASE).expect("works").remove(0);
        // Whoever works on a message for a while.
        queue.shared.witness();
        is_done(&settle(session, held.receipt, nack(Duration::ZERO)))
    });
    assert!(settled + 4 >= promised, "{settled} of {promised}");
}

#[test]
fn a_full_disk_that_was_emptied_at_once_takes_messages_again() {
    let disk = SimDisk::new();
    let queue = open(&disk);
    let mut session = queue.session().expect("opens");
    (0..40).for_each(|_| drop(send(&mut session, &[&"x".repeat(700)])));
    fill_with_messages(&disk, &mut session);
    let held = session.receive(1000, LEASE).expect("works");
    let acks: Vec<Settlement> =
        held.iter().map(|held| Settlement { receipt: held.receipt, how: Settle::Ack }).collect();
    assert!(session.settle(&acks).iter().all(is_done));
    let message = [Message::new(vec![b'x'; 700])];
    let sent: Vec<Sent> = (0..3).flat_map(|_| session.send(&message)).collect();
    assert!(matches!(sent[2], Sent::Confirmed(_)), "nothing is there, and there is no room: {sent:?}");
}

#[test]
fn who_shares_a_commit_with_messages_that_find_no_space_is_not_refused() {
    let disk = SimDisk::new();
    let queue = open(&disk);
    let mut sessions: Vec<_> = (0..2).map(|_| queue.session().expect("opens")).collect();
    send(&mut sessions[0], &["a"]);
    let receipt = sessions[0].receive(1, LEASE).expect("works").remove(0).receipt;
    let filled = 1 + fill_with_messages(&disk, &mut sessions[0]);
    let [sender, settler] = &mut sessions[..] else { panic!("two") };
    let (sent, settled) = thread::scope(|scope| {
        queue.shared.hold();
        let sender = scope.spawn(|| sender.send(&[Message::new(vec![b'x'; 700])]).remove(0));
        let settler = scope.spawn(|| settle(settler, receipt, Settle::Ack));
        wait_for(&queue, 2);
        queue.shared.release();
        (sender.join().expect("does not panic"), settler.join().expect("does not panic"))
    });
    assert!(matches!(sent, Sent::Refused(Refusal::Unavailable(_))), "{sent:?}");
    assert!(is_done(&settled), "{settled:?}");
    disk.fill(u64::MAX);
    let room = 100 - (filled - 1);
    let all = vec![Message::new(&b"b"[..]); room + 1];
    let outcomes = sessions[0].send(&all);
    assert_eq!(confirmed(&outcomes[..room]).len(), room, "the refused one has given its place back");
    assert!(matches!(outcomes[room], Sent::Refused(Refusal::Full)));
}

/// A closed queue with several commits, and where its log ends.
fn closed() -> (SimDisk, String, u64) {
    let disk = SimDisk::new();
    drop(open(&disk));
    let settings = settings(100, 3);
    let queue = FileQueue::open_within(disk.clone(), &settings, limits(10 << 10)).expect("opens");
    let mut session = queue.session().expect("opens");
    send(&mut session, &["a", "b"]);
    let held = session.receive(1, LEASE).expect("works").remove(0);
    assert!(is_done(&settle(&mut session, held.receipt, Settle::Ack)));
    send(&mut session, &["c"]);
    drop((session, queue));
    let (name, _) = log_of(&disk);
    let end = end_of(&image(&disk)[0].1);
    (disk, name, end)
}

#[test]
fn a_flipped_bit_is_reported_or_harmless_and_nothing_is_changed() {
    let (disk, name, end) = closed();
    let intact = image(&disk);
    let len = log_of(&disk).1;
    assert!(len > end);
    let mut reported = 0;
    let (mut header, mut padding, mut close, mut prepared) = (0, 0, 0, 0);
    for bit in 0..len * 8 {
        disk.flip_bit(&name, bit).expect("has that bit");
        let damaged = image(&disk);
        match try_open(&disk) {
            Err(error @ Error::Corrupt { .. }) => {
                let Error::Corrupt { path, offset, end, .. } = &error else { unreachable!() };
                assert_eq!(path, Path::new(&name));
                let end = end.expect("another frame is behind it");
                assert!((*offset..end).contains(&(bit / 8)) && end <= offset + 512, "bit {bit}: {error}");
                let said = format!("is damaged at bytes {offset}..{end}: ");
                assert!(error.to_string().contains(&said), "{error}");
                reported += 1;
            }
            Err(other) => panic!("bit {bit}: {other}"),
            Ok(queue) => {
                assert_eq!(bodies(&queue), ["b", "c"], "bit {bit}");
                let torn = queue.recovered().torn;
                drop(queue);
                // It was in one of the headers, in padding, or in the last frame, which says only that the queue was
                // closed, or behind.
                if bit / 8 < 1024 {
                    header += 1;
                } else if bit / 8 < end - 512 {
                    padding += 1;
                    assert_eq!(torn, 0);
                } else if bit / 8 < end {
                    close += 1;
                } else {
                    prepared += 1;
                    assert_eq!(torn, (bit / 8 - end) / 512 * 512 + 512);
                }
                // Put the old log back, as the old life left it.
                for name in disk.list().expect("lists") {
                    disk.remove(&name).expect("removes");
                }
                let file = disk.create(&name).expect("creates");
                file.write_at(&intact[0].1, 0).expect("writes");
                continue;
            }
        }
        assert_eq!(image(&disk), damaged);
        disk.flip_bit(&name, bit).expect("has that bit");
    }
    let harmless = [header, padding, close, prepared];
    assert!(reported > 500 && harmless.iter().all(|bits| *bits > 1000), "{reported} {harmless:?}");
}

#[test]
fn a_log_that_was_cut_is_missing_its_end_or_reported() {
    let (disk, name, len) = closed();
    let file = disk.open(&name).expect("opens");
    let whole = file.len().expect("has a length");
    let bytes = image(&disk).remove(0).1;
    // In what is prepared, at the end of the last commit, and within what it was begun with.
    for to in [whole - 1, len, len - 1, 1040, 600] {
        file.set_len(to).expect("cuts");
        let cut = try_open(&disk);
        assert!(
            matches!(cut, Err(Error::Corrupt { offset, end: Some(end), .. }) if (offset, end) == (to, whole)),
            "cut to {to}: {cut:?}"
        );
        let look = look(&disk, Path::new("here")).expect("reads");
        assert_eq!(look.segments[0].damage.as_ref().map(|damage| damage.offset), Some(to));
        let saved = disk_of(&image(&disk));
        let salvaged =
            salvage_storage(&saved, &settings(100, 3), limits(4 << 10).sizes).expect("saves what there is");
        assert!(salvaged.gaps.contains(&(name.clone(), to, whole)), "{salvaged}");
        if to >= len {
            assert_eq!(bodies(&open(&saved)), ["b", "c"]);
        }
        file.write_at(&bytes, 0).expect("mends it");
    }
    file.set_len(1040).expect("cuts");
    file.set_len(whole).expect("grows with zeroes");
    let cut = try_open(&disk);
    assert!(matches!(cut, Err(Error::Corrupt { offset: 1024, .. })), "{cut:?}");
    file.set_len(0).expect("cuts");
    assert!(matches!(try_open(&disk), Err(Error::Corrupt { offset: 0, .. })));
}

#[test]
fn either_copy_of_a_header_is_enough_wherever_it_lies() {
    for block in [Block::Sector, Block::Page] {
        let disk = SimDisk::in_blocks(block);
        let settings = settings(100, 3);
        let queue = FileQueue::open_within(disk.clone(), &settings, limits(64 << 10)).expect("opens");
        send(&mut queue.session().expect("opens"), &["a"]);
        drop(queue);
        let (name, _) = log_of(&disk);
        let (whole, copy) = (image(&disk), block.bytes() as u64);
        for (damaged, opens) in
            [(&[0][..], true), (&[copy], true), (&[0, copy], false), (&[0, 512, 4096], false)]
        {
            let disk = disk_of(&whole);
            let file = disk.open(&name).expect("opens");
            damaged.iter().for_each(|at| file.write_at(&[7; 512], *at).expect("writes"));
            match try_open(&disk) {
                Ok(queue) => assert!(opens && bodies(&queue) == ["a"], "{block:?}: {damaged:?}"),
                Err(error) => assert!(!opens && matches!(error, Error::Corrupt { .. }), "{error}"),
            }
        }
    }
}

#[test]
fn frames_of_another_log_are_not_taken_for_ours() {
    let (disk, name, end) = closed();
    let stale = image(&disk).remove(0).1;
    let mut other = settings(100, 3);
    other.clock.advance(SECOND);
    other.seed = 8;
    for name in disk.list().expect("lists") {
        disk.remove(&name).expect("removes");
    }
    // The same history at another time: every frame has its twin at the same place.
    let open = || FileQueue::open_within(disk.clone(), &other, limits(10 << 10));
    drop(open().expect("opens"));
    let queue = open().expect("opens");
    let (twin, begun) = (log_of(&disk).0, end_of(&image(&disk)[0].1));
    assert_eq!(twin, name);
    disk.open(&twin).expect("opens").write_at(&stale[begun as usize..], begun).expect("writes");
    std::mem::forget(queue);
    let queue = open().expect("opens: it looks like a torn end");
    assert_eq!(queue.recovered().torn, end - begun);
    assert!(bodies(&queue).is_empty());
}

#[test]
fn foreign_files_are_left_alone_and_a_foreign_log_is_named() {
    let disk = SimDisk::new();
    for name in ["notes.txt", "log-1", "log-xyz", "LOG-0000000000000001", "log-0000000000000001.bak"] {
        disk.create(name).expect("creates").write_at(b"mine", 0).expect("writes");
    }
    let queue = open(&disk);
    send(&mut queue.session().expect("opens"), &["a"]);
    drop(queue);
    assert_eq!(bodies(&open(&disk)), ["a"]);
    assert_eq!(image(&disk).iter().filter(|(_, bytes)| bytes == b"mine").count(), 5);

    for bytes in [vec![b'?'; 1000], vec![], vec![0; 2000]] {
        let disk = SimDisk::new();
        disk.create("log-0000000000000009").expect("creates").write_at(&bytes, 0).expect("writes");
        let error = FileQueue::open(disk.clone(), &settings(1, 1)).expect_err("is not a log");
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains("log-0000000000000009"), "{error}");
        assert_eq!(image(&disk), [("log-0000000000000009".to_owned(), bytes)]);
    }
    let disk = SimDisk::new();
    let marks = Marks { next_id: 1, next_death: 0, released: u64::MAX };
    let (block, before) = (Block::Sector, End::default());
    let header =
        Header { number: u64::MAX, salt: 1, begun: 1024, recycled: false, marks, before, block, len: 1024 };
    disk.create("log-ffffffffffffffff").expect("creates").write_at(&header.encode(), 0).expect("writes");
    let error = FileQueue::open(disk, &settings(1, 1)).expect_err("is the last number");
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    let disk = SimDisk::new();
    let last = Header { number: u64::MAX - 1, marks: Marks { released: u64::MAX - 1, ..marks }, ..header };
    disk.create("log-fffffffffffffffe").expect("creates").write_at(&last.encode(), 0).expect("writes");
    let error = try_open(&disk).expect_err("few numbers are left").to_string();
    assert!(error.contains("no number is left"), "{error}");
}

#[test]
fn a_log_of_another_version_or_another_name_is_refused() {
    let (disk, name, _) = closed();
    // Of version 3.
    let flip = || {
        for (byte, bit) in [16, 512 + 16].into_iter().flat_map(|byte| (0..3).map(move |bit| (byte, bit))) {
            disk.flip_bit(&name, byte * 8 + bit).expect("has that bit");
        }
    };
    flip();
    let error =
        FileQueue::open(disk.clone(), &settings(1, 1)).expect_err("is of another version").to_string();
    for said in ["format version 3", "reads version 4", &name, "Open it with the program that wrote it"] {
        assert!(error.contains(said), "does not say {said:?}: {error}");
    }
    let before = image(&disk);
    let error = salvage_storage(&disk, &settings(1, 1), limits(4 << 10).sizes)
        .expect_err("is not damaged")
        .to_string();
    for said in ["format version 3", &name, "program that wrote it"] {
        assert!(error.contains(said), "does not say {said:?}: {error}");
    }
    assert_eq!(image(&disk), before);
    let look = look(&disk, Path::new("here")).expect("reads").to_string();
    assert!(look.contains("program that wrote it"), "{look}");
    flip();
    disk.rename(&name, "log-0000000000000077").expect("renames");
    let error = FileQueue::open(disk, &settings(1, 1)).expect_err("was renamed").to_string();
    assert!(error.contains("0000000000000002"), "{error}");
}

#[test]
fn a_directory_of_real_files_is_reopened_and_has_one_owner() {
    let temp = tempfile::tempdir().expect("a directory");
    let path = temp.path().join("queue");
    let settings = Settings { clock: crate::Clock::system(), ..settings(10, 3) };
    let queue = open_dir(&path, &settings).expect("opens");
    let mut session = queue.session().expect("opens");
    send(&mut session, &["a", "b"]);
    let held = session.receive(1, LEASE).expect("works").remove(0);
    assert!(is_done(&settle(&mut session, held.receipt, Settle::Ack)));
    let error = open_dir(&path, &settings).expect_err("is owned");
    assert!(matches!(error, Error::Owned { pid, .. } if pid == std::process::id()), "{error}");
    drop(queue);
    open_dir(&path, &settings).expect_err("a session keeps the queue open");
    drop(session);
    let queue = open_dir(&path, &settings).expect("opens");
    let delivery = queue.session().expect("opens").receive(9, LEASE).expect("works").remove(0);
    assert_eq!(&delivery.body[..], b"b");
}

#[test]
fn a_queue_in_real_files_that_comes_to_rest_has_a_witness_for_its_last_commit() {
    let temp = tempfile::tempdir().expect("a directory");
    let settings = Settings { clock: crate::Clock::system(), ..settings(10, 3) };
    let queue = open_dir(temp.path(), &settings).expect("opens");
    send(&mut queue.session().expect("opens"), &["last"]);
    let segment = temp.path().join("log-0000000000000001");
    let frames = || {
        let bytes = fs::read(&segment).expect("reads");
        bytes.chunks(512).filter(|sector| sector.starts_with(b"frm\n")).count()
    };
    // What the queue was opened with, the message, and the witness.
    while frames() < 3 {
        thread::yield_now();
    }
    drop(queue);
    open_dir(temp.path(), &settings).expect("nobody holds the directory any more");
}

#[test]
fn what_looks_damaged_while_it_is_used_is_said_to_be_in_use() {
    let temp = tempfile::tempdir().expect("a directory");
    let settings = Settings { clock: crate::Clock::system(), ..settings(10, 3) };
    let queue = open_dir(temp.path(), &settings).expect("opens");
    let mut session = queue.session().expect("opens");
    send(&mut session, &["first"]);
    send(&mut session, &["second"]);
    let look = || inspect(temp.path()).expect("reads");
    assert!(!look().in_use && look().found.is_some());
    let segment = temp.path().join("log-0000000000000001");
    let bytes = fs::read(&segment).expect("reads");
    let at = bytes.windows(5).position(|five| five == b"first").expect("is there");
    fs::File::options()
        .write(true)
        .open(&segment)
        .and_then(|file| file.write_all_at(b"other", at as u64))
        .expect("damages it");
    let looked = look();
    let text = looked.to_string();
    assert!(looked.in_use && text.contains("in use") && !text.contains("DAMAGED"), "{text}");
    drop((session, queue));
    let looked = look();
    let text = looked.to_string();
    assert!(!looked.in_use && text.contains("DAMAGED"), "{text}");
}

#[test]
fn a_look_at_real_files_says_how_commits_are_made_and_writes_nothing() {
    for buffered in [false, true] {
        let temp = tempfile::tempdir().expect("a directory");
        let directory = RealDir::open(temp.path()).expect("opens");
        assert_eq!(directory.mode(), None, "nobody has asked");
        let directory = if buffered { directory.buffered() } else { directory };
        let queue = FileQueue::open(directory, &settings(10, 3)).expect("opens");
        let mode = queue.storage().mode().expect("was asked");
        drop(queue);
        let all = || {
            let files =
                fs::read_dir(temp.path()).expect("lists").map(|entry| entry.expect("is there").path());
            let mut files: Vec<_> = files
                .map(|path| {
                    (fs::read(&path).expect("reads"), path.metadata().expect("has it").modified().ok(), path)
                })
                .collect();
            files.sort();
            files
        };
        let before = all();
        let looked = inspect(temp.path()).expect("reads");
        assert!(all() == before);
        let text = looked.to_string();
        assert_eq!(looked.segments[0].block, Some(mode.block()));
        assert!(text.contains(&format!("in blocks of {}", mode.block().bytes())), "{text}");
        // Where writes are refused that the file system says it takes, a look cannot know.
        let said = looked.mode.expect("can be asked");
        assert!(said == mode || mode == Mode::Buffered, "{said:?} {mode:?}");
        assert!(text.contains(&format!("commits here, as the file system says: {said}")), "{text}");
    }
}

#[test]
fn bad_places_are_named_and_nothing_is_left_there() {
    let temp = tempfile::tempdir().expect("a directory");
    let file = temp.path().join("file");
    fs::write(&file, "mine").expect("writes");
    let error = open_dir(&file, &settings(1, 1)).expect_err("is a file").to_string();
    assert!(error.contains("not a directory") || error.contains("Not a directory"), "{error}");
    let fresh = temp.path().join("fresh");
    open_dir(&fresh, &settings(0, 1)).expect_err("has no capacity");
    assert!(!fresh.exists());
    fs::create_dir(&fresh).expect("creates");
    fs::write(fresh.join("log-0000000000000001"), "garbage").expect("writes");
    let error = open_dir(&fresh, &settings(1, 1)).expect_err("holds garbage").to_string();
    assert!(error.contains("log-0000000000000001") && error.contains("fresh"), "{error}");
    assert_eq!(fs::read(fresh.join("log-0000000000000001")).expect("reads"), b"garbage");
    let error = open_dir(Path::new("/proc/queue"), &settings(1, 1)).expect_err("cannot be created");
    assert!(matches!(&error, Error::Io { path, .. } if path == Path::new("/proc/queue")), "{error}");
}

#[test]
fn hosts_keep_what_is_durable_and_cut_the_old_queue_off() -> io::Result<()> {
    fn check(mut host: impl Host) {
        let queue = host.boot().expect("boots");
        let mut session = queue.session().expect("opens");
        send(&mut session, &["a"]);
        session.receive(1, LEASE).expect("works");
        host.crash(Crash::Process);
        let message = [Message::new(&b"too late"[..])];
        assert!(!matches!(session.send(&message)[0], Sent::Confirmed(_)));
        drop((session, queue));
        let queue = host.boot().expect("boots again");
        let mut session = queue.session().expect("opens");
        let deliveries = session.receive(9, LEASE).expect("works");
        assert_eq!(deliveries.iter().map(|d| &d.body[..]).collect::<Vec<_>>(), [b"a"]);
        drop((session, queue));
        host.boot().expect("boots after a clean end, too");
    }
    let settings = settings(10, 3);
    check(SimHost::new(&settings));
    let temp = tempfile::tempdir()?;
    check(DirHost::new(temp.path().join("queue"), &settings));
    Ok(())
}
