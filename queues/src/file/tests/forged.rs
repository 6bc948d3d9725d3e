//! Directories that no queue wrote: damaged at random, and forged so that every checksum holds. Opening one never
//! panics and never hangs; what is delivered from a damaged one was sent.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::*;
use crate::broker::{Crash, Depth, Error};
use crate::file::frame::{self, Header as FrameHeader, Kind, Link};
use crate::file::hostile::{Files, disk_of, open, try_edited, used, written};
use crate::file::inspect::look;
use crate::file::queue::LIMITS;
use crate::file::rng::Rng;
use crate::file::salvage::salvage_storage;
use crate::file::segment::{self, Header, Name};
use crate::file::storage::Block;

/// Of most of the directories.
const SECTOR: usize = 512;

/// Damage as disks and people do it.
fn damage(files: &mut Files, rng: &mut Rng) {
    let nth = rng.below(files.len());
    let len = files[nth].1.len();
    match rng.below(6) {
        0 => {
            let at = rng.below(len);
            files[nth].1[at] ^= 1 << rng.below(8);
        }
        1 => {
            let (from, many) = (rng.below(len), 1 + rng.below(700));
            files[nth].1[from..len.min(from + many)].fill_with(|| rng.next() as u8);
        }
        2 => {
            let (from, many) = (rng.below(len), 1 + rng.below(3000));
            files[nth].1[from..len.min(from + many)].fill(0);
        }
        3 => files[nth].1.truncate(rng.below(len)),
        4 => {
            files.remove(nth);
        }
        _ => {
            let other = files[rng.below(files.len())].1.clone();
            let (from, to) = (rng.below(other.len()) / SECTOR * SECTOR, rng.below(len) / SECTOR * SECTOR);
            let many = (other.len() - from).min(len - to).min(SECTOR * (1 + rng.below(4)));
            files[nth].1[to..to + many].copy_from_slice(&other[from..from + many]);
        }
    }
}

/// Changes what a segment says, so that all checksums hold.
fn forge(files: &mut Files, rng: &mut Rng) {
    let segments: Vec<usize> = (0..files.len()).filter(|n| is_segment(&files[*n].0)).collect();
    let bytes = &mut files[segments[rng.below(segments.len())]].1;
    let copy = bytes[..segment::HEADER].try_into().expect("is so long");
    let Ok(mut header) = Header::decode(copy) else { return };
    match rng.below(10) {
        0 => header.marks.next_id = odd(rng),
        1 => header.marks.released = odd(rng),
        2 => header.marks.next_death = odd(rng),
        3 => header.before.at = odd(rng),
        4 => header.begun = odd(rng),
        5 => header.len = odd(rng),
        6 => header.block = if header.block == Block::Page { Block::Sector } else { Block::Page },
        _ => return reseal(bytes, &header, rng),
    }
    let both = header.encode();
    let many = both.len().min(bytes.len());
    bytes[..many].copy_from_slice(&both[..many]);
}

fn is_segment(name: &str) -> bool {
    matches!(Name::parse(name), Some(Name::Segment(_)))
}

fn odd(rng: &mut Rng) -> u64 {
    [0, 1, rng.next() % 64, rng.next() % 8192, u64::from(u32::MAX), rng.next(), u64::MAX][rng.below(7)]
}

/// Changes the body of one frame, and all headers from there on.
fn reseal(bytes: &mut [u8], segment: &Header, rng: &mut Rng) {
    let Header { salt, block, .. } = *segment;
    let (mut at, mut link) = (segment.frames() as usize, Link::default());
    let chosen = rng.below(12) as u64;
    while at + SECTOR <= bytes.len() {
        let kind = [Kind::Commit, Kind::Index]
            .into_iter()
            .find(|kind| FrameHeader::parse(&bytes[at..], *kind, salt).is_some());
        let Some(kind) = kind else { return };
        let header = FrameHeader::parse(&bytes[at..], kind, salt).expect("is one");
        let filled = frame::filled(header.body, block).expect("is short") as usize;
        let mut frame = bytes[at..at + frame::HEADER + header.body as usize].to_vec();
        if link.number >= chosen && frame.len() > frame::HEADER {
            for _ in 0..1 + rng.below(3) {
                let place = frame::HEADER + rng.below(frame.len() - frame::HEADER);
                match rng.below(3) {
                    0 => frame[place] = rng.next() as u8,
                    1 => frame[place] ^= 1 << rng.below(8),
                    _ => frame[place..].iter_mut().take(8).for_each(|byte| *byte = 255),
                }
            }
        }
        let crc = frame::seal(&mut frame, kind, link, salt, block);
        bytes[at..at + filled].copy_from_slice(&frame);
        link = Link { number: link.number + 1, previous: crc };
        at += filled;
    }
}

fn tried(files: &Files, what: &str, seed: u64) -> Result<BTreeSet<Vec<u8>>, Error> {
    catch_unwind(AssertUnwindSafe(|| used(&disk_of(files))))
        .unwrap_or_else(|_| panic!("{what} directory of seed {seed}: a panic"))
}

#[test]
fn a_damaged_directory_opens_or_is_refused_and_invents_nothing() {
    let (mut opened, mut refused, mut saved) = (0, 0, 0);
    for seed in 0..1500 {
        let mut files = written(seed % 20);
        let mut rng = Rng::new(seed);
        for _ in 0..1 + rng.below(3) {
            if !files.is_empty() {
                damage(&mut files, &mut rng);
            }
        }
        match tried(&files, "damaged", seed) {
            Ok(bodies) => {
                opened += 1;
                let invented = bodies.iter().find(|body| {
                    body[..] != *b"new" && (body.iter().any(|byte| *byte != b'x') || body.len() >= 600)
                });
                assert_eq!(invented, None, "seed {seed}");
            }
            Err(Error::Corrupt { .. } | Error::Io { .. }) => {
                refused += 1;
                saved += usize::from(check_salvaged(&files, seed));
            }
            Err(other) => panic!("seed {seed}: {other}"),
        }
    }
    assert!(opened > 100 && refused > 100 && saved > 50, "{opened} opened, {refused} refused, {saved} saved");
}

/// Salvages a damaged directory; whether anything was there to be saved.
fn check_salvaged(files: &Files, seed: u64) -> bool {
    let disk = disk_of(files);
    let salvaged =
        salvage_storage(&disk, &settings(1000, 3), limits(4 << 10).sizes).expect("saves what there is");
    for copy in &salvaged.copies {
        let original = files.iter().find(|(name, _)| copy.ends_with(name.as_str())).expect("was there");
        assert_eq!(
            image(&disk).iter().find(|(name, _)| name == copy).map(|(_, bytes)| bytes),
            Some(&original.1)
        );
    }
    assert_eq!(
        look(&disk, Path::new("here")).expect("reads").found.map(|found| {
            let Depth { ready, delayed, dead, .. } = found.depth;
            ready + delayed + dead
        }),
        Some(salvaged.messages),
        "seed {seed}"
    );
    let bodies = tried(&image(&disk), "salvaged", seed).expect("opens");
    assert!(
        bodies.iter().all(|body| body[..] == *b"new" || body.iter().all(|byte| *byte == b'x')),
        "seed {seed}"
    );
    salvaged.messages > 0
}

#[test]
fn a_forged_directory_neither_panics_nor_hangs() {
    let (mut opened, mut refused) = (0, 0);
    for seed in 0..3000 {
        let mut files = written(seed % 20);
        let mut rng = Rng::new(seed);
        for _ in 0..1 + rng.below(3) {
            forge(&mut files, &mut rng);
        }
        match tried(&files, "forged", seed) {
            Ok(_) => opened += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(opened > 100 && refused > 100, "{opened} opened, {refused} refused");
}

/// A closed queue of ten messages, the first five of which share a commit, and where in it that is.
fn ten() -> (SimDisk, String, u64) {
    let disk = SimDisk::new();
    let queue = FileQueue::open(disk.clone(), &settings(1000, 3)).expect("opens");
    let mut session = queue.session().expect("opens");
    send(&mut session, &["0", "1", "2", "3", "4"]);
    let held = session.receive(1, LEASE).expect("works").remove(0);
    assert!(is_done(&settle(&mut session, held.receipt, Settle::Reject)));
    (5..10).for_each(|n| drop(send(&mut session, &[&n.to_string()])));
    drop((session, queue));
    let (name, bytes) = image(&disk).remove(0);
    let frames = (0..bytes.len()).step_by(SECTOR).filter(|at| bytes[*at..].starts_with(b"frm\n"));
    let at = frames.skip(1).map(|at| at as u64).next().expect("the first message");
    (disk, name, at)
}

fn left(disk: &SimDisk) -> (Vec<u64>, u64) {
    let queue = FileQueue::open(disk.clone(), &settings(1000, 3)).expect("opens");
    let mut session = queue.session().expect("opens");
    let ids = session.receive(100, LEASE).expect("works").iter().map(|delivery| delivery.id.0).collect();
    (ids, session.depth().expect("works").dead)
}

#[test]
fn what_is_whole_is_saved_wherever_it_lies_and_salvaging_may_be_interrupted() {
    let (disk, name, at) = ten();
    // In the body of the second message, which shares its commit with four others.
    disk.flip_bit(&name, (at + 32 + 2 * 19 - 1) * 8).expect("has that bit");
    let damaged = image(&disk);
    let mut calls = 0;
    loop {
        let mut disk = disk_of(&damaged);
        disk.crash_after(calls);
        let settings = settings(1000, 3);
        let interrupted = salvage_storage(&disk, &settings, LIMITS.sizes).is_err();
        disk.crash(Crash::Power, calls);
        if open(&disk, &settings).is_err() {
            let salvaged = salvage_storage(&disk, &settings, LIMITS.sizes).expect("saves what there is");
            assert_eq!((salvaged.messages, salvaged.unreadable, salvaged.gaps.len()), (9, 0, 1));
            assert!(salvaged.to_string().contains(&format!("kept damaged-{name}")), "{salvaged}");
        }
        // The first one's death is not in what is damaged.
        assert_eq!(left(&disk), (vec![3, 4, 5, 6, 7, 8, 9, 10], 1), "after {calls} calls");
        if !interrupted {
            break;
        }
        calls += 1;
    }
    assert!(calls > 8, "{calls} calls are not all there are");
}

#[test]
fn what_a_fuzzer_edits_neither_panics_nor_hangs_nor_invents() {
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let edits: Vec<u8> = (0..1 + 8 * rng.below(5)).map(|_| rng.next() as u8).collect();
        try_edited(&edits);
    }
}

/// The second message of five in one commit takes on every kind of record, with what follows as its fields.
#[test]
fn salvaging_reads_a_damaged_frame_without_believing_it() {
    let (disk, name, at) = ten();
    let undamaged = image(&disk);
    for kind in 0..=255 {
        let mut files = undamaged.clone();
        let bytes =
            files.iter_mut().find(|(file, _)| *file == name).map(|(_, bytes)| bytes).expect("is there");
        let start = at as usize + frame::HEADER + 19;
        assert_eq!(bytes[start], 1, "a message begins here");
        bytes[start] = kind;
        if kind == 1 {
            continue;
        }
        let disk = disk_of(&files);
        let salvaged = salvage_storage(&disk, &settings(1000, 3), LIMITS.sizes).expect("saves what there is");
        assert!((6..10).contains(&salvaged.messages), "kind {kind}: {salvaged}");
    }
}
