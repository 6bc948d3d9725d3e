//! Sectors that the disk does not read.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use super::*;
use crate::broker::{Delivery, Error};
use crate::file::frame::HEADER;
use crate::file::hostile::{Files, disk_of};
use crate::file::inspect::look;
use crate::file::salvage::{Salvaged, salvage_storage};

const SECTOR: usize = 512;
/// Longer than what is kept in memory.
const LONG: usize = 700;

fn try_open(disk: &SimDisk) -> Result<Queue, Error> {
    FileQueue::open_within(disk.clone(), &settings(1000, 3), limits(4 << 10))
}

fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|delivery| String::from_utf8_lossy(&delivery.body).into_owned()).collect()
}

fn drained(disk: &SimDisk) -> BTreeSet<String> {
    let queue = try_open(disk).expect("opens");
    let deliveries = queue.session().expect("opens").receive(1000, LEASE).expect("works");
    bodies(&deliveries).into_iter().collect()
}

fn long(name: &str) -> String {
    format!("{name}{}", "x".repeat(LONG))
}

fn overlaps(one: &Range<usize>, other: &Range<usize>) -> bool {
    one.start < other.end && other.start < one.end
}

fn names(salvaged: &Salvaged, segment: &str, bad: &Range<usize>) -> bool {
    let gaps = salvaged.gaps.iter();
    let mut named = gaps.filter(|(named, ..)| named == segment);
    named.any(|(_, from, to)| overlaps(&(*from as usize..*to as usize), bad))
}

/// A message: its body, its segment, its own bytes, and the sector in which its commit begins.
type Written = (String, String, Range<usize>, Range<usize>);

/// A directory of several segments, and what is in it.
fn written() -> (Files, Vec<Written>) {
    let disk = SimDisk::new();
    let queue = try_open(&disk).expect("opens");
    let mut session = queue.session().expect("opens");
    let mut all = Vec::new();
    for nth in 0..6 {
        all.extend([format!("short {nth}"), long(&format!("long {nth}a")), long(&format!("long {nth}b"))]);
        send(&mut session, &[&all[3 * nth]]);
        send(&mut session, &[&all[3 * nth + 1], &all[3 * nth + 2]]);
    }
    drop((session, queue));
    let files = image(&disk);
    let place = |body: &String| {
        let mut places =
            files.iter().filter(|(name, _)| name.starts_with("log-")).filter_map(|(name, bytes)| {
                let at = bytes.windows(body.len()).position(|some| some == body.as_bytes())?;
                Some((name.clone(), at))
            });
        places.next().expect("is there")
    };
    let all = all.iter().map(|body| {
        let (name, at) = place(body);
        let first = if body.starts_with("long") {
            let (first, at) = place(&body.replace('b', "a"));
            assert_eq!(first, name, "of one frame");
            at
        } else {
            at
        };
        let begins = first / SECTOR * SECTOR;
        (body.clone(), name, at - 64..at + body.len(), begins..begins + SECTOR)
    });
    let all = all.collect();
    (files, all)
}

#[test]
fn salvage_saves_what_the_disk_reads_and_names_what_it_does_not() {
    let (files, all) = written();
    let logs: Vec<_> = files.iter().filter(|(name, _)| name.starts_with("log-")).collect();
    assert!(logs.len() > 2, "{} segments", logs.len());
    let (mut lost_some, mut tried) = (0, 0);
    for (name, bytes) in logs {
        for at in (0..bytes.len()).step_by(SECTOR) {
            let (disk, bad) = (disk_of(&files), at..at + SECTOR);
            disk.spoil(name, bad.clone()).expect("is there");
            let salvaged = salvage_storage(&disk, &settings(100, 3), limits(4 << 10).sizes);
            let salvaged = salvaged.expect("a bad sector is no reason to stop");
            let left = drained(&disk);
            tried += 1;
            for (body, segment, own, begins) in &all {
                if left.contains(body) {
                    continue;
                }
                lost_some += 1;
                let hit = overlaps(own, &bad) || overlaps(begins, &bad);
                assert!(
                    segment == name && hit,
                    "{body} in {segment} is lost with sector {at} of {name}: {salvaged}"
                );
                assert!(names(&salvaged, name, &bad), "{at} of {name}, and {body} is lost: {salvaged}");
                assert!(salvaged.copies.contains(&format!("damaged-{name}")), "{salvaged}");
            }
            for copy in &salvaged.copies {
                let copied = content(&disk, copy);
                assert!(copied[bad.clone()].iter().all(|byte| *byte == 0));
                assert!(copied[..at] == bytes[..at] && copied[bad.end..] == bytes[bad.end..]);
            }
        }
    }
    assert!(lost_some > 20 && tried > lost_some, "{lost_some} lost with {tried} sectors");
}

#[test]
fn a_segment_of_which_no_header_is_read_is_named_and_the_others_are_saved() {
    let (files, all) = written();
    let (name, bytes) = files.iter().find(|(name, _)| name.starts_with("log-")).expect("there is one");
    let disk = disk_of(&files);
    disk.spoil(name, 0..SECTOR).expect("is there");
    assert_eq!(drained(&disk_of(&files)), drained(&disk), "the other copy is enough");
    let disk = disk_of(&files);
    disk.spoil(name, 0..bytes.len()).expect("is there");
    let error = try_open(&disk).expect_err("cannot be read");
    assert!(matches!(error, Error::Io { .. }) && error.to_string().contains("salvage"), "{error}");
    let salvaged =
        salvage_storage(&disk, &settings(100, 3), limits(4 << 10).sizes).expect("saves the others");
    assert!(salvaged.gaps.contains(&(name.clone(), 0, bytes.len() as u64)), "{salvaged}");
    let others = all.iter().filter(|(_, segment, ..)| segment != name).map(|(body, ..)| body.clone());
    let others: BTreeSet<String> = others.collect();
    assert!(others.len() > 5 && others.len() < all.len());
    assert_eq!(drained(&disk), others);
}

/// Where the indexes of the segments are.
fn indexes(files: &Files) -> Vec<(String, Range<usize>)> {
    let of = |(name, bytes): &(String, Vec<u8>)| {
        let mut starts = (0..bytes.len()).step_by(SECTOR).filter(|at| bytes[*at..].starts_with(b"idx\n"));
        let start = starts.next_back().filter(|_| name.starts_with("log-"))?;
        let body = u64::from_le_bytes(bytes[start + 16..][..8].try_into().expect("is so long")) as usize;
        Some((name.clone(), start..start + (HEADER + body).next_multiple_of(SECTOR)))
    };
    files.iter().filter_map(of).collect()
}

/// Several segments with indexes of several sectors, and the bodies in them.
fn with_long_indexes() -> (Files, BTreeSet<String>) {
    let disk = SimDisk::new();
    let queue = try_open(&disk).expect("opens");
    let mut session = queue.session().expect("opens");
    let mut all: Vec<String> = (0..400).map(|nth| format!("{nth} {}", "x".repeat(40))).collect();
    for some in all.chunks(9) {
        send(&mut session, &some.iter().map(String::as_str).collect::<Vec<_>>());
    }
    for body in all.drain(..7) {
        let held = session.receive(1, LEASE).expect("works").remove(0);
        assert_eq!(held.body[..], *body.as_bytes());
        assert!(is_done(&settle(&mut session, held.receipt, Settle::Ack)));
    }
    drop((session, queue));
    (image(&disk), all.into_iter().collect())
}

#[test]
fn an_index_that_the_disk_does_not_read_is_not_needed() {
    let (mut files, all) = with_long_indexes();
    let indexes = indexes(&files);
    let intact = look(&disk_of(&files), Path::new("here")).expect("reads").found.expect("is whole");
    let mut tried = 0;
    for (name, index) in &indexes {
        for at in index.clone().step_by(SECTOR) {
            let disk = disk_of(&files);
            disk.spoil(name, at..at + SECTOR).expect("is there");
            let seen = look(&disk, Path::new("here")).expect("reads");
            assert_eq!(seen.found, Some(intact), "sector {at} of {name}: {seen}");
            assert_eq!(drained(&disk), all, "sector {at} of {name}");
            tried += 1;
        }
    }
    assert!(indexes.len() >= 3 && tried > 3 * indexes.len(), "{indexes:?}");

    // Then the frames are all there is.
    let (name, index) = &indexes[0];
    let (_, bytes) = files.iter_mut().find(|(file, _)| file == name).expect("is there");
    bytes[2 * SECTOR + HEADER] ^= 1;
    let disk = disk_of(&files);
    try_open(&disk).expect("the index is read");
    let disk = disk_of(&files);
    disk.spoil(name, index.clone()).expect("is there");
    let error = try_open(&disk).expect_err("neither can be read");
    assert!(matches!(error, Error::Corrupt { offset, .. } if offset == 2 * SECTOR as u64), "{error}");
}

/// Damages a message, or mends it.
type Damage = fn(&SimDisk, &str, usize);

/// Two ways, and whether the first mends what it damaged.
const DAMAGES: [(Damage, bool); 2] = [
    (|disk, name, at| disk.flip_bit(name, at as u64 * 8).expect("has that bit"), true),
    (|disk, name, at| disk.spoil(name, at..at + 1).expect("is there"), false),
];

/// Where each of these bodies is.
fn places(disk: &SimDisk, all: &[String]) -> Vec<(String, usize)> {
    let place = |body: &String| {
        let mut files = image(disk).into_iter();
        let found = files.find_map(|(name, bytes)| {
            let at = bytes.windows(body.len()).position(|some| some == body.as_bytes())?;
            Some((name, at))
        });
        found.expect("is there")
    };
    all.iter().map(place).collect()
}

/// The error names this message: the `nth` of all that were sent, and where it is.
fn says(error: &Error, nth: usize, (name, at): &(String, usize), flipped: bool) {
    match error {
        Error::Corrupt { path, offset, end, detail } => {
            assert!(flipped && path.to_string_lossy() == *name, "{error}");
            let body = *at as u64;
            assert!((*offset..*offset + 64).contains(&body), "{error}");
            assert!(
                (body + LONG as u64..body + LONG as u64 + 8).contains(&end.expect("is known")),
                "{error}"
            );
            assert!(detail.contains(&format!("message {}", nth + 1)), "{error}");
        }
        Error::Io { path, .. } => assert!(!flipped && path.to_string_lossy() == *name, "{error}"),
        other => panic!("{other}"),
    }
}

#[test]
fn a_message_that_cannot_be_read_is_named_once_and_holds_up_no_other() {
    for (damage, mends) in DAMAGES {
        let disk = SimDisk::new();
        let queue = try_open(&disk).expect("opens");
        let mut session = queue.session().expect("opens");
        let all: Vec<String> = (0..5).map(|nth| long(&format!("{nth} "))).collect();
        for body in &all {
            send(&mut session, &[body]);
        }
        let places = places(&disk, &all);
        for nth in [0, 2] {
            damage(&disk, &places[nth].0, places[nth].1 + 9);
        }
        let said = |received: Result<Vec<Delivery>, Error>, nth: usize| {
            says(&received.expect_err("cannot be read"), nth, &places[nth], mends);
        };
        // Each is named once, with the whole ones behind it given back.
        said(session.receive(9, LEASE), 0);
        said(session.receive(9, LEASE), 2);
        assert_eq!(session.depth().expect("works").ready, 5);
        let others = session.receive(9, LEASE).expect("is not held up");
        assert_eq!(bodies(&others), [&all[1][..], &all[3], &all[4]]);
        assert!(others.iter().all(|delivery| delivery.attempt == 1), "{others:?}");
        // Nothing else is there, and that is not said to be nothing.
        for nth in [0, 2, 0] {
            said(session.receive(1, LEASE), nth);
        }
        for delivery in &others {
            assert!(is_done(&settle(&mut session, delivery.receipt, Settle::Ack)));
        }
        send(&mut session, &["new"]);
        let new = session.receive(9, LEASE).expect("is not held up").remove(0);
        assert_eq!(&new.body[..], b"new");
        assert!(is_done(&settle(&mut session, new.receipt, Settle::Ack)));
        let depth = session.depth().expect("works");
        assert_eq!((depth.ready, depth.in_flight, depth.dead), (2, 0, 0), "still accounted for");
        if mends {
            damage(&disk, &places[2].0, places[2].1 + 9);
            let mended = session.receive(9, LEASE).expect("reads");
            assert_eq!(bodies(&mended), [&all[2][..]], "whichever is mended first");
            said(session.receive(9, LEASE), 0);
            damage(&disk, &places[0].0, places[0].1 + 9);
            assert_eq!(bodies(&session.receive(9, LEASE).expect("reads")), [&all[0][..]]);
            assert!(session.receive(9, LEASE).expect("works").is_empty());
        }
        drop((session, queue));
    }
}

#[test]
fn a_dead_letter_that_cannot_be_read_is_named_once_and_hides_no_other() {
    for (damage, mends) in DAMAGES {
        let disk = SimDisk::new();
        let queue = try_open(&disk).expect("opens");
        let mut session = queue.session().expect("opens");
        let all: Vec<String> = (0..5).map(|nth| long(&format!("{nth} "))).collect();
        for body in &all {
            send(&mut session, &[body]);
        }
        for _ in 0..3 {
            for held in session.receive(9, LEASE).expect("works") {
                assert!(is_done(&settle(&mut session, held.receipt, nack(Duration::ZERO))));
            }
        }
        let places = places(&disk, &all);
        for nth in [0, 2] {
            damage(&disk, &places[nth].0, places[nth].1 + 9);
        }
        let said = |error: Option<Error>, nth: usize| {
            says(&error.expect("cannot be read"), nth, &places[nth], mends);
        };
        let shown = |session: &mut FileSession<SimDisk>, max: usize| {
            let letters = session.dead_letters(max).expect("is not held up");
            assert!(letters.iter().all(|letter| letter.attempts == 3), "{letters:?}");
            letters.iter().map(|letter| letter.id.0 as usize - 1).collect::<Vec<_>>()
        };
        said(session.dead_letters(9).err(), 0);
        assert_eq!(shown(&mut session, 1), [1], "behind it");
        assert_eq!(shown(&mut session, 1), [1], "a look changes nothing");
        said(session.dead_letters(9).err(), 2);
        for (max, whole) in [(9, &[1, 3, 4][..]), (2, &[1, 3]), (4, &[1, 3, 4])] {
            assert_eq!(shown(&mut session, max), whole);
        }
        assert_eq!(session.depth().expect("works").dead, 5);
        if mends {
            damage(&disk, &places[2].0, places[2].1 + 9);
            assert_eq!(shown(&mut session, 3), [1, 3, 4], "nobody has tried it since");
            assert_eq!(shown(&mut session, 5), [1, 2, 3, 4], "in its place");
            assert_eq!(shown(&mut session, 2), [1, 2]);
            damage(&disk, &places[2].0, places[2].1 + 9);
            said(session.dead_letters(9).err(), 2);
        }

        // A redrive takes what has waited longest, whether it can be read or not; who receives it is told.
        assert_eq!(session.redrive(1).expect("works"), 1);
        said(session.receive(9, LEASE).err(), 0);
        assert_eq!(shown(&mut session, 9), [1, 3, 4]);
        assert_eq!(session.redrive(3).expect("works"), 3);
        said(session.receive(9, LEASE).err(), 2);
        let whole = session.receive(9, LEASE).expect("is not held up");
        assert_eq!(bodies(&whole), [&all[1][..], &all[3]]);
        assert_eq!(shown(&mut session, 9), [4]);
        let depth = session.depth().expect("works");
        assert_eq!((depth.ready, depth.in_flight, depth.dead), (2, 2, 1));
    }
}

#[test]
fn where_no_dead_letter_can_be_read_that_is_never_said_to_be_none() {
    for (damage, mends) in DAMAGES {
        let disk = SimDisk::new();
        let queue = try_open(&disk).expect("opens");
        let mut session = queue.session().expect("opens");
        let all: Vec<String> = (0..3).map(|nth| long(&format!("{nth} "))).collect();
        for body in &all {
            send(&mut session, &[body]);
        }
        for held in session.receive(2, LEASE).expect("works") {
            assert!(is_done(&settle(&mut session, held.receipt, Settle::Reject)));
        }
        let places = places(&disk, &all);
        for nth in [0, 1] {
            damage(&disk, &places[nth].0, places[nth].1 + 9);
        }
        for (max, nth) in [(9, 0), (9, 1), (9, 0), (9, 1), (1, 0), (1, 1)] {
            let error = session.dead_letters(max).expect_err("cannot be read");
            says(&error, nth, &places[nth], mends);
        }
        // It dies again: that is another death.
        assert_eq!(session.redrive(1).expect("works"), 1);
        says(&session.dead_letters(9).expect_err("cannot be read"), 1, &places[1], mends);
        let held = session.receive(1, LEASE).expect_err("cannot be read");
        says(&held, 0, &places[0], mends);
        let whole = session.receive(1, LEASE).expect("is not held up").remove(0);
        assert!(is_done(&settle(&mut session, whole.receipt, Settle::Reject)));
        let letters = session.dead_letters(9).expect("is not held up");
        assert_eq!(letters.iter().map(|letter| &letter.body[..]).collect::<Vec<_>>(), [all[2].as_bytes()]);
    }
}
