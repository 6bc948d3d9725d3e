//! A log of many segments: what is given up, what is moved, what is missed, what is read back.

use std::path::Path;

use super::gate::Gated;
use super::*;
use crate::broker::{Crash, Delivery, Error, Reason};
use crate::file::inspect::look;
use crate::file::salvage::salvage_storage;
use crate::file::segment::{End, Header, Marks, Name};
use crate::file::storage::{Block, Storage, StorageFile};

fn open(disk: &SimDisk) -> Queue {
    try_open(disk).expect("opens")
}

fn try_open(disk: &SimDisk) -> Result<Queue, Error> {
    FileQueue::open_within(disk.clone(), &settings(1000, 2), limits(4 << 10))
}

fn segments(disk: &SimDisk) -> Vec<u64> {
    let names = disk.list().expect("lists");
    let number = |name: &String| match Name::parse(name) {
        Some(Name::Segment(number)) => Some(number),
        _ => None,
    };
    names.iter().filter_map(number).collect()
}

fn receive(session: &mut impl Session, max: usize) -> Vec<Delivery> {
    session.receive(max, LEASE).expect("works")
}

fn ids(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(|delivery| delivery.id.0).collect()
}

/// Sends messages, each of which fills a sector, until there are so many segments.
fn grow(disk: &SimDisk, session: &mut impl Session, many: usize) {
    while segments(disk).len() < many {
        send(session, &[&"x".repeat(450)]);
    }
}

/// Sends a message, receives it and acks it, so many times.
fn churn(session: &mut impl Session, times: usize) {
    for _ in 0..times {
        send(session, &["goes"]);
        let goes = receive(session, 1).remove(0);
        assert_eq!(&goes.body[..], b"goes");
        assert!(is_done(&settle(session, goes.receipt, Settle::Ack)));
    }
}

#[test]
fn messages_that_stay_are_moved_with_all_that_is_known_of_them() {
    let mut disk = SimDisk::new();
    let queue = open(&disk);
    let mut session = queue.session().expect("opens");
    send(&mut session, &["dies second", "dies first", "failed once", "in flight"]);
    let held = receive(&mut session, 4);
    for (nth, how) in [(1, Settle::Reject), (0, Settle::Reject), (2, nack(1000 * SECOND))] {
        assert!(is_done(&settle(&mut session, held[nth].receipt, how)));
    }
    let first = segments(&disk)[0];
    churn(&mut session, 300);
    assert!(segments(&disk)[0] > first + 10, "{:?}", segments(&disk));
    assert!(segments(&disk).len() < 5, "{:?}", segments(&disk));
    assert!(is_done(&session.extend(held[3].receipt, LEASE)), "its lease outlived the moves");
    disk.crash(Crash::Power, 1);
    drop((session, queue));

    let queue = open(&disk);
    let mut session = queue.session().expect("opens");
    let letters = session.dead_letters(9).expect("works");
    let letters: Vec<_> = letters.iter().map(|l| (l.id.0, &l.body[..], l.reason, l.attempts)).collect();
    let expected: [(u64, &[u8], Reason, u32); 2] =
        [(2, b"dies first", Reason::Rejected, 1), (1, b"dies second", Reason::Rejected, 1)];
    assert_eq!(letters, expected);
    assert_eq!(ids(&receive(&mut session, 9)), [4]);
    churn_clock(&queue, 1000 * SECOND);
    let left = receive(&mut session, 9);
    let left: Vec<_> = left.iter().map(|d| (d.id.0, &d.body[..], d.attempt)).collect();
    assert_eq!(left, [(3, &b"failed once"[..], 2)], "the other one died of its second attempt");
    churn(&mut session, 1);
    assert!(send(&mut session, &["new"])[0] > 300, "ids go on");
}

fn churn_clock(queue: &Queue, duration: Duration) {
    assert!(queue.shared.settings.clock.advance(duration));
}

#[test]
fn a_queue_that_is_killed_over_and_over_does_not_fill_the_disk() {
    let mut disk = SimDisk::new();
    let queue = open(&disk);
    send(&mut queue.session().expect("opens"), &["stays"]);
    drop(queue);
    for life in 0..100 {
        let queue = open(&disk);
        disk.crash(Crash::Process, life);
        drop(queue);
        assert!(segments(&disk).len() < 9, "{:?}", segments(&disk));
    }
    assert_eq!(ids(&receive(&mut open(&disk).session().expect("opens"), 9)), [1]);
}

#[test]
fn a_segment_that_is_missing_is_missed_and_one_that_was_given_up_is_not() {
    let disk = SimDisk::new();
    let queue = open(&disk);
    let mut session = queue.session().expect("opens");
    grow(&disk, &mut session, 2);
    let given_up = Name::Segment(1).to_string();
    let copy = content(&disk, &given_up);
    while segments(&disk)[0] == 1 {
        let receipt = receive(&mut session, 1).remove(0).receipt;
        assert!(is_done(&settle(&mut session, receipt, Settle::Ack)));
    }
    grow(&disk, &mut session, 4);
    drop((session, queue));
    let all = segments(&disk);
    for missing in &all[..all.len() - 1] {
        let name = Name::Segment(*missing).to_string();
        let bytes = content(&disk, &name);
        disk.remove(&name).expect("removes");
        let error = try_open(&disk).expect_err("one is missing");
        assert!(error.to_string().contains(&name) && error.to_string().contains("missing"), "{error}");
        disk.create(&name).expect("creates").write_at(&bytes, 0).expect("writes");
    }
    disk.create(&given_up).expect("creates").write_at(&copy, 0).expect("writes");
    let left = receive(&mut open(&disk).session().expect("opens"), 1000);
    assert!(left[0].id.0 > 1);
    assert!(!segments(&disk).contains(&1), "it was removed for good");
}

/// A closed queue of several segments, of which the first is whole.
fn several() -> (SimDisk, String, usize) {
    let disk = SimDisk::new();
    let queue = open(&disk);
    let mut session = queue.session().expect("opens");
    grow(&disk, &mut session, 4);
    let first = segments(&disk)[0];
    let many = session.depth().expect("works").ready as usize;
    drop((session, queue));
    (disk, Name::Segment(first).to_string(), many)
}

#[test]
fn who_opens_a_queue_does_not_read_what_is_indexed_and_reads_it_if_the_index_is_damaged() {
    let (disk, name, many) = several();
    let bytes = content(&disk, &name);
    let index = bytes.windows(4).rposition(|four| four == b"idx\n").expect("has an index");
    for bit in 0..2048 {
        let disk = copy(&disk);
        disk.flip_bit(&name, index as u64 * 8 + bit).expect("has that bit");
        assert_eq!(receive(&mut open(&disk).session().expect("opens"), 1000).len(), many);
    }
    // Both: then something is missing.
    disk.flip_bit(&name, index as u64 * 8).expect("has that bit");
    let first = bytes.windows(4).position(|four| four == b"frm\n").expect("has a frame");
    disk.flip_bit(&name, first as u64 * 8 + 1).expect("has that bit");
    let error = try_open(&disk).expect_err("is damaged");
    assert!(matches!(error, Error::Corrupt { offset, .. } if offset == first as u64), "{error}");
}

fn copy(disk: &SimDisk) -> SimDisk {
    let copied = SimDisk::new();
    for name in disk.list().expect("lists") {
        copied.create(&name).expect("creates").write_at(&content(disk, &name), 0).expect("writes");
    }
    copied
}

#[test]
fn a_damaged_message_is_not_delivered_and_is_named() {
    let (disk, name, many) = several();
    let bytes = content(&disk, &name);
    let body = bytes.windows(9).position(|nine| nine == b"xxxxxxxxx").expect("has a body");
    disk.flip_bit(&name, body as u64 * 8).expect("has that bit");
    let queue = open(&disk);
    let mut session = queue.session().expect("opens");
    let depth = session.depth().expect("works");
    let damaged = |session: &mut FileSession<SimDisk>| {
        let error = session.receive(2, LEASE).expect_err("is damaged");
        assert!(matches!(&error, Error::Corrupt { path, .. } if path.to_string_lossy() == name), "{error}");
    };
    damaged(&mut session);
    assert_eq!(session.depth().expect("works"), depth, "nobody holds what nobody was given");
    send(&mut session, &["the queue goes on"]);
    let others = receive(&mut session, 1000);
    assert_eq!(others.len(), many);
    damaged(&mut session);
    disk.flip_bit(&name, body as u64 * 8).expect("has that bit");
    let deliveries = [others, receive(&mut session, 1000)].concat();
    assert_eq!(deliveries.len(), many + 1);
    assert!(deliveries.iter().all(|delivery| delivery.attempt == 1));
}

/// How many segments and bytes there are.
fn space(disk: &SimDisk) -> (usize, usize) {
    let bytes = image(disk).iter().map(|(_, bytes)| bytes.len()).sum();
    (segments(disk).len(), bytes)
}

fn says_damaged(error: Result<impl Sized, Error>, id: u64) {
    let error = error.err().expect("is damaged");
    assert!(matches!(&error, Error::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains(&format!("message {id}")), "{error}");
}

#[test]
fn a_damaged_message_keeps_no_space_and_stays_damaged() {
    let mut disk = SimDisk::new();
    let queue = open(&disk);
    let mut session = queue.session().expect("opens");
    send(&mut session, &["whole and waiting", "rejected", "waiting for long"]);
    let held = receive(&mut session, 3);
    for (nth, how) in [(0, nack(1000 * SECOND)), (1, Settle::Reject), (2, nack(2000 * SECOND))] {
        assert!(is_done(&settle(&mut session, held[nth].receipt, how)));
    }
    // So that they are not in memory.
    drop((session, queue));
    let queue = open(&disk);
    for (name, bytes) in image(&disk) {
        for text in [&b"rejected"[..], b"for long"] {
            if let Some(at) = bytes.windows(8).position(|eight| eight == text) {
                disk.flip_bit(&name, at as u64 * 8).expect("has that bit");
            }
        }
    }
    let mut session = queue.session().expect("opens");
    says_damaged(session.dead_letters(9), 2);
    let first = segments(&disk)[0];
    churn(&mut session, 300);
    assert!(segments(&disk)[0] > first + 10, "{:?}", segments(&disk));
    says_damaged(session.dead_letters(9), 2);
    disk.crash(Crash::Power, 1);
    drop((session, queue));
    // Lives that commit nothing move them too.
    for life in 0..40 {
        drop(open(&disk));
        disk.crash(Crash::Process, life);
    }
    assert!(space(&disk) < (9, 70_000), "{:?}", space(&disk));
    let queue = open(&disk);
    let mut session = queue.session().expect("opens");
    says_damaged(session.dead_letters(9), 2);
    churn_clock(&queue, 1000 * SECOND);
    assert_eq!(&receive(&mut session, 1)[0].body[..], b"whole and waiting");
    churn_clock(&queue, 1000 * SECOND);
    let depth = session.depth().expect("works");
    says_damaged(session.receive(9, LEASE), 3);
    assert_eq!(session.depth().expect("works"), depth, "nobody holds what nobody was given");
    drop((session, queue));

    let salvaged = salvage_storage(&disk, &settings(1000, 2), limits(4 << 10).sizes).expect("saves the rest");
    assert_eq!((salvaged.messages, salvaged.unreadable), (1, 2), "{salvaged}");
    let queue = open(&disk);
    let mut session = queue.session().expect("opens");
    let letters = session.dead_letters(9).expect("is not there any more");
    assert_eq!(letters.iter().map(|letter| letter.id.0).collect::<Vec<_>>(), [1], "of its second attempt");
}

#[test]
fn what_the_system_does_not_read_stays_and_is_moved_when_it_does() {
    let disk = Gated::new();
    let queue = FileQueue::open_within(disk.clone(), &settings(1000, 2), limits(4 << 10)).expect("opens");
    let mut session = queue.session().expect("opens");
    send(&mut session, &["stays"]);
    let stays = receive(&mut session, 1).remove(0);
    assert!(is_done(&settle(&mut session, stays.receipt, nack(1000 * SECOND))));
    drop((session, queue));
    let queue = FileQueue::open_within(disk.clone(), &settings(1000, 2), limits(4 << 10)).expect("opens");
    let mut session = queue.session().expect("opens");
    let first = segments(&disk.disk)[0];
    disk.blind(true);
    churn(&mut session, 100);
    assert_eq!(segments(&disk.disk)[0], first);
    disk.blind(false);
    churn(&mut session, 300);
    assert!(segments(&disk.disk)[0] > first + 10 && segments(&disk.disk).len() < 6);
    assert!(queue.shared.settings.clock.advance(1000 * SECOND));
    assert_eq!(&receive(&mut session, 1)[0].body[..], b"stays");
}

#[test]
fn after_a_witness_damage_to_the_last_commit_is_not_taken_for_a_torn_end() {
    let disk = SimDisk::new();
    // One segment is enough.
    let queue = FileQueue::open(disk.clone(), &settings(10, 2)).expect("opens");
    let mut session = queue.session().expect("opens");
    send(&mut session, &["a"]);
    send(&mut session, &["last"]);
    let without = copy(&disk);
    let counts = disk.counts();
    queue.shared.witness();
    assert_eq!(disk.counts().syncs, counts.syncs + 1);
    queue.shared.witness();
    assert_eq!(disk.counts().syncs, counts.syncs + 1, "once is enough");
    let with = copy(&disk);
    let name = Name::Segment(segments(&disk)[0]).to_string();
    let body = content(&disk, &name).windows(4).position(|four| four == b"last").expect("is there");
    for (disk, noticed) in [(without, false), (with, true)] {
        disk.flip_bit(&name, body as u64 * 8).expect("has that bit");
        match try_open(&disk) {
            Err(error) => assert!(noticed && matches!(error, Error::Corrupt { .. }), "{error}"),
            Ok(queue) => {
                assert!(!noticed && queue.recovered().torn > 0);
                assert_eq!(receive(&mut queue.session().expect("opens"), 9).len(), 1);
            }
        }
    }
}

#[test]
fn files_are_used_again() {
    let disk = SimDisk::new();
    let queue = open(&disk);
    let mut session = queue.session().expect("opens");
    churn(&mut session, 200);
    let bytes = disk.counts().bytes;
    churn(&mut session, 200);
    let bytes = disk.counts().bytes - bytes;
    // A frame for each send and each ack; headers and indexes besides; no zeroes.
    assert!(bytes < 400 * 512 * 13 / 10, "{bytes}");
}

#[test]
fn the_first_sender_does_not_wait_for_a_segment_to_be_written() {
    const MIB: u64 = 1 << 20;
    let sizes = Sizes { least: 64 << 10, most: 4 * MIB };
    let open = |disk: &SimDisk| {
        FileQueue::open_within(disk.clone(), &settings(100_000, 2), Limits { sizes, recent: 0 })
            .expect("opens")
    };
    let spares = |disk: &SimDisk| -> Vec<(String, u64)> {
        let files = image(disk).into_iter().filter(|(name, _)| name.starts_with("spare-"));
        files.map(|(name, bytes)| (name, bytes.len() as u64)).collect()
    };
    let disk = SimDisk::new();
    let queue = open(&disk);
    let mut session = queue.session().expect("opens");
    let batch: Vec<Message> = (0..20).map(|_| Message::new(vec![b'x'; 1000])).collect();
    while !spares(&disk).iter().any(|(_, len)| *len == 4 * MIB) {
        confirmed(&session.send(&batch));
    }
    drop((session, queue));
    for keeps in [true, false] {
        if !keeps {
            spares(&disk).iter().for_each(|(name, _)| disk.remove(name).expect("removes"));
        }
        let queue = open(&disk);
        let mut session = queue.session().expect("opens");
        let (before, taken) = (disk.counts().bytes, space(&disk).1);
        send(&mut session, &["first"]);
        let (written, taken) = (disk.counts().bytes - before, space(&disk).1 - taken);
        assert!(written < 2 * MIB, "{written} bytes, keeps: {keeps}");
        assert_eq!(taken as u64 >= 4 * MIB, !keeps, "what is kept is used: {taken}");
        // What was taken in haste is written while nobody waits.
        while disk.counts().bytes - before < 2 * MIB && !keeps {
            send(&mut session, &["another"]);
        }
        let syncs = disk.counts().syncs;
        (0..500).for_each(|_| drop(send(&mut session, &["one more"])));
        let syncs = disk.counts().syncs - syncs;
        assert!(syncs < 520, "{syncs}: the space for acks does not grow with each message");
        drop((session, queue));
    }
}

#[test]
fn spares_of_any_kind_are_used_or_removed_and_never_read() {
    let (disk, _, many) = several();
    let stale = image(&disk).into_iter().rfind(|(name, _)| name.starts_with("log-")).expect("is there").1;
    let whole = image(&disk);
    let long = vec![b'?'; 1 << 20];
    for (number, bytes) in [(7, stale.clone()), (u64::MAX, stale), (1, long), (900, Vec::new())] {
        let disk = crate::file::hostile::disk_of(&whole);
        let name = Name::Spare(number).to_string();
        disk.create(&name).expect("creates").write_at(&bytes, 0).expect("writes");
        for _ in 0..3 {
            let queue = open(&disk);
            let mut session = queue.session().expect("opens");
            assert_eq!(session.depth().expect("works").ready as usize, many);
            drop((session, queue));
        }
        let queue = open(&disk);
        let mut session = queue.session().expect("opens");
        let all = segments(&disk).len();
        grow(&disk, &mut session, all + 3);
        let depth = session.depth().expect("works");
        drop((session, queue));
        let queue = open(&disk);
        assert_eq!(queue.session().expect("opens").depth().expect("works"), depth);
        assert!(image(&disk).iter().filter(|(name, _)| name.starts_with("spare-")).count() <= 3);
    }
}

#[test]
fn a_look_says_what_there_is_and_what_is_wrong_and_changes_nothing() {
    let (disk, name, many) = several();
    let before: Vec<_> = disk.list().expect("lists").iter().map(|name| content(&disk, name)).collect();
    let counts = disk.counts();
    let look = || look(&disk, Path::new("here")).expect("reads");
    let inspection = look();
    let found = inspection.found.expect("is whole");
    assert_eq!((found.depth.ready as usize, found.next_id as usize, found.closed), (many, many + 1, true));
    assert_eq!(inspection.segments.iter().filter_map(|segment| segment.live).sum::<u64>() as usize, many);
    let text = inspection.to_string();
    for said in ["here: 4 segments", &name, "stored", "1 closed", &format!("{many} ready"), "it was closed"] {
        assert!(text.contains(said), "does not say {said:?}:\n{text}");
    }
    assert_eq!(disk.counts(), counts, "nothing was changed");

    // Who opens the queue reads the index; without it, what is damaged.
    let index = before[0].windows(4).rposition(|four| four == b"idx\n").expect("has an index") as u64;
    disk.flip_bit(&name, (2 * 512 + 10) * 8).expect("has that bit");
    for (found, last) in [(Some(found), "it was closed"), (None, "the queue does not open")] {
        let inspection = look();
        let text = inspection.to_string();
        assert_eq!(inspection.found, found, "{text}");
        assert_eq!(inspection.segments[0].damage.as_ref().map(|damage| damage.offset), Some(1024));
        assert!(text.contains("DAMAGED at bytes 1024..1536: ") && text.contains(last), "{text}");
        assert_eq!(text.contains("its index is whole"), found.is_some(), "{text}");
        assert_eq!(try_open(&copy(&disk)).is_ok(), found.is_some());
        disk.flip_bit(&name, index * 8).expect("has that bit");
    }
    disk.flip_bit(&name, (2 * 512 + 10) * 8).expect("has that bit");

    disk.remove(&name).expect("removes");
    let text = look().to_string();
    assert!(text.contains(&format!("{name} before it is missing")), "{text}");
    disk.create(&name).expect("creates").write_at(&before[0], 0).expect("writes");
    assert_eq!(look().found, Some(found));
    let empty = crate::file::inspect::look(&SimDisk::new(), Path::new("here")).expect("reads");
    assert!(empty.to_string().contains("no queue"), "{empty}");
}

#[test]
fn an_index_is_a_witness_of_the_last_commit() {
    let disk = SimDisk::new();
    let queue = open(&disk);
    let mut session = queue.session().expect("opens");
    grow(&disk, &mut session, 2);
    let many = session.depth().expect("works").ready as usize;
    // The power fails before the second segment has its name: what the first one says was confirmed, and is indexed.
    let left = || {
        let copy = copy(&disk);
        let later =
            copy.list().expect("lists").into_iter().filter(|name| *name != Name::Segment(1).to_string());
        later.for_each(|name| copy.remove(&name).expect("removes"));
        copy
    };
    let name = Name::Segment(1).to_string();
    let bytes = content(&disk, &name);
    let position = |four: &[u8]| bytes.windows(4).rposition(|some| some == four).expect("is there") as u64;
    let (last, index) = (position(b"frm\n"), position(b"idx\n"));
    for byte in (0..40).chain([200]) {
        let disk = left();
        disk.flip_bit(&name, (last + byte) * 8).expect("has that bit");
        let error = try_open(&disk).expect_err("a confirmed commit is damaged");
        assert!(matches!(error, Error::Corrupt { offset, .. } if offset == last), "byte {byte}: {error}");
    }
    for byte in 0..600 {
        let disk = left();
        disk.flip_bit(&name, (index + byte) * 8).expect("has that bit");
        let messages = receive(&mut open(&disk).session().expect("opens"), 1000);
        assert_eq!(messages.len(), many - 1, "byte {byte} of the index is not needed");
    }
}

/// What a queue wrote into its first segment, which it has given up since, and its disk.
fn given_up() -> (Vec<u8>, SimDisk) {
    let disk = SimDisk::new();
    let queue = open(&disk);
    let mut session = queue.session().expect("opens");
    grow(&disk, &mut session, 2);
    let first = content(&disk, &Name::Segment(1).to_string());
    while segments(&disk)[0] < 4 {
        let receipt = receive(&mut session, 1).remove(0).receipt;
        assert!(is_done(&settle(&mut session, receipt, Settle::Ack)));
        send(&mut session, &[&"x".repeat(450)]);
    }
    drop((session, queue));
    (first, disk)
}

#[test]
fn what_was_given_up_is_removed_also_below_a_gap() {
    let (first, disk) = given_up();
    let depth = open(&disk).session().expect("opens").depth().expect("works");
    disk.create(&Name::Segment(1).to_string()).expect("creates").write_at(&first, 0).expect("writes");
    assert_eq!(open(&disk).session().expect("opens").depth().expect("works"), depth);
    assert!(!segments(&disk).contains(&1), "{:?}", segments(&disk));
}

#[test]
fn what_was_given_up_long_ago_takes_nothing_along_when_the_rest_is_salvaged() {
    let (first, _) = given_up();
    let disk = SimDisk::new();
    // As many segments later as the table can tell apart at once.
    let number = 1 << 24;
    let marks = Marks { next_id: 1000, next_death: 0, released: number };
    let (block, before) = (Block::Sector, End::default());
    let header = Header { number, salt: 1, begun: 1024, recycled: false, marks, before, block, len: 1024 };
    let file = disk.create(&Name::Segment(number).to_string()).expect("creates");
    file.write_at(&header.encode(), 0).expect("writes");
    let queue = open(&disk);
    send(&mut queue.session().expect("opens"), &["stays"]);
    drop(queue);
    disk.create(&Name::Segment(1).to_string()).expect("creates").write_at(&first, 0).expect("writes");
    let salvaged = salvage_storage(&disk, &settings(1000, 2), limits(4 << 10).sizes).expect("saves all");
    assert_eq!((salvaged.messages, salvaged.unreadable, salvaged.gaps.len()), (1, 0, 0), "{salvaged}");
    assert!(!segments(&disk).contains(&1), "{:?}", segments(&disk));
    assert_eq!(&receive(&mut open(&disk).session().expect("opens"), 9)[0].body[..], b"stays");
}
