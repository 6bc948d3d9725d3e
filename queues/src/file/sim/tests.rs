use super::*;
use crate::clock::Time;
use crate::sync::{Point, Turns, with_turns};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

const SECTOR: usize = 512;

fn content(disk: &SimDisk, name: &str) -> Vec<u8> {
    let file = disk.open(name).expect("opens");
    let mut bytes = vec![0; file.len().expect("has a length") as usize];
    file.read_at(&mut bytes, 0).expect("reads");
    bytes
}

fn durable_file(disk: &SimDisk, bytes: &[u8]) -> SimFile {
    let file = disk.create("a").expect("creates");
    file.write_at(bytes, 0).expect("writes");
    file.sync().expect("syncs");
    disk.sync_dir().expect("syncs");
    file
}

#[test]
fn what_is_synced_survives_and_old_handles_die() {
    for (crash, seed) in [(Crash::Process, 1), (Crash::Power, 2)] {
        let mut disk = SimDisk::new();
        let other = disk.clone();
        let file = durable_file(&disk, b"kept");
        disk.crash(crash, seed);
        assert!(file.len().is_err() && file.write_at(b"x", 0).is_err() && file.sync().is_err());
        assert!(other.list().is_err() && other.create("b").is_err());
        assert_eq!(content(&disk, "a"), b"kept");
    }
}

#[test]
fn a_killed_process_loses_nothing_written_and_a_power_failure_may() {
    let mut disk = SimDisk::new();
    let file = disk.create("a").expect("creates");
    file.write_at(b"written", 0).expect("writes");
    disk.crash(Crash::Process, 0);
    assert_eq!(content(&disk, "a"), b"written");
    let names: BTreeSet<bool> = (0..32)
        .map(|seed| {
            let mut disk = SimDisk::new();
            disk.create("a").expect("creates");
            disk.crash(Crash::Power, seed);
            disk.open("a").is_ok()
        })
        .collect();
    assert_eq!(names.len(), 2, "an unsynced name is sometimes kept and sometimes lost");
}

#[test]
fn unsynced_sectors_survive_in_every_combination_and_sometimes_damaged() {
    let mut seen = BTreeSet::new();
    let mut damaged = 0;
    for seed in 0..400 {
        let mut disk = SimDisk::new();
        let file = durable_file(&disk, &[b'.'; 3 * SECTOR]);
        for sector in 0..3 {
            file.write_at(&[b'x'; SECTOR], (sector * SECTOR) as u64).expect("writes");
        }
        disk.crash(Crash::Power, seed);
        let bytes = content(&disk, "a");
        assert_eq!(bytes.len(), 3 * SECTOR);
        let whole = |sector: &[u8]| sector.iter().all(|b| *b == b'x') || sector.iter().all(|b| *b == b'.');
        let torn = bytes.chunks(SECTOR).filter(|sector| !whole(sector)).count();
        assert!(torn <= 1);
        damaged += torn;
        seen.insert(bytes.iter().step_by(SECTOR).map(|b| *b == b'x').collect::<Vec<_>>());
    }
    assert_eq!(seen.len(), 8);
    assert!(damaged > 50, "{damaged}");
}

#[test]
fn a_power_failure_leaves_what_was_chosen() {
    use SectorFate::{Garbage, Lost, Torn, Whole};
    let mut disk = SimDisk::new();
    let file = durable_file(&disk, &[b'.'; 4 * SECTOR]);
    file.write_at(&[b'x'; 4 * SECTOR], 0).expect("writes");
    file.set_len(4 * SECTOR as u64 + 1).expect("grows");
    disk.create("b").expect("creates");
    disk.keep(Survival { sectors: vec![Whole, Lost, Torn(2), Garbage(7)], lens: 1, names: 0 });
    disk.crash(Crash::Power, 0);
    assert_eq!(disk.risked(), AtRisk { sectors: 4, block: SECTOR, lens: 1, names: 1 });
    assert_eq!(disk.list().expect("lists"), ["a"]);
    let bytes = content(&disk, "a");
    let sectors: Vec<&[u8]> = bytes.chunks(SECTOR).collect();
    assert_eq!(
        (bytes.len(), sectors[0], sectors[1]),
        (4 * SECTOR + 1, &[b'x'; SECTOR][..], &[b'.'; SECTOR][..])
    );
    assert_eq!(sectors[2][..3], *b"xx.");
    assert!(sectors[3].iter().any(|byte| !b"x.".contains(byte)));
}

#[test]
fn the_chosen_call_fails_and_no_other() {
    for (fault, kind) in
        [(Fault::Full, io::ErrorKind::StorageFull), (Fault::Io(FailSync::DropPages), io::ErrorKind::Other)]
    {
        let disk = SimDisk::new();
        let file = durable_file(&disk, b"....");
        disk.fail_after(1, fault);
        file.write_at(b"a", 0).expect("it is the next one's turn");
        assert!(disk.fault_pending());
        assert_eq!(file.write_at(b"bcde", 0).expect_err("is its turn").kind(), kind);
        assert_eq!((content(&disk, "a").as_slice(), disk.fault_pending()), (&b"bc.."[..], false));
        file.sync().expect("was only the one");
        disk.fail_after(0, fault);
        assert_eq!(file.sync().expect_err("fails too").kind(), kind);
    }
}

#[test]
fn a_disk_of_pages_writes_and_damages_what_lies_beside_what_is_new() {
    let mut touched = BTreeSet::new();
    for seed in 0..200 {
        let mut disk = SimDisk::in_blocks(Block::Page);
        let file = durable_file(&disk, &[b'.'; 3 * 4096]);
        assert_eq!(file.ready().expect("is alive"), Block::Page);
        file.write_at(b"x", 5000).expect("writes");
        disk.crash(Crash::Power, seed);
        let bytes = content(&disk, "a");
        let pages: Vec<&[u8]> = bytes.chunks(4096).collect();
        assert!([pages[0], pages[2]].iter().all(|page| page.iter().all(|byte| *byte == b'.')));
        let others =
            pages[1].iter().enumerate().filter(|(n, byte)| *n != 5000 - 4096 && **byte != b'.').count();
        touched.insert((pages[1][5000 - 4096] == b'x', others > 3000));
        assert_eq!(disk.risked().block, 4096);
    }
    assert!(
        touched.is_superset(&BTreeSet::from([(true, false), (false, false), (false, true)])),
        "{touched:?}"
    );
}

#[test]
fn length_and_data_survive_independently() {
    let mut lengths = BTreeSet::new();
    let mut hole = false;
    for seed in 0..200 {
        let mut disk = SimDisk::new();
        let file = durable_file(&disk, b"");
        file.write_at(&[b'x'; 600], 0).expect("writes");
        disk.crash(Crash::Power, seed);
        let bytes = content(&disk, "a");
        lengths.insert(bytes.len());
        hole |= !bytes.is_empty() && bytes[0] == 0;
    }
    assert_eq!(lengths, BTreeSet::from([0, 600]));
    assert!(hole, "a length without its data reads as zeroes");
}

#[test]
fn the_same_seed_keeps_the_same() {
    let image = |seed| {
        let mut disk = SimDisk::new();
        let file = durable_file(&disk, b"");
        file.write_at(&[7; 5000], 0).expect("writes");
        disk.crash(Crash::Power, seed);
        content(&disk, "a")
    };
    assert!((0..50).all(|seed| image(seed) == image(seed)));
    assert!((0..50).any(|seed| image(seed) != image(seed + 1)));
}

#[test]
fn renames_need_the_directory_sync() {
    let outcomes: BTreeSet<String> = (0..64)
        .map(|seed| {
            let mut disk = SimDisk::new();
            durable_file(&disk, b"1");
            disk.rename("a", "b").expect("renames");
            disk.crash(Crash::Power, seed);
            disk.list().expect("lists").join(",")
        })
        .collect();
    assert_eq!(outcomes, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
}

#[test]
fn a_failed_sync_is_not_repaired_by_a_second_one() {
    for how in [FailSync::KeepPages, FailSync::DropPages] {
        let lost = (0..32).any(|seed| {
            let mut disk = SimDisk::new();
            let file = durable_file(&disk, b"old");
            disk.fail_syncs(how, 1);
            for _ in 0..seed {
                // Moves the disk's own generator on, so that other parts are written.
                disk.disk().rng.next();
            }
            file.write_at(b"new", 0).expect("writes");
            file.sync().expect_err("fails once");
            let seen = content(&disk, "a");
            assert!(how == FailSync::DropPages || seen == b"new");
            file.sync().expect("and then pretends");
            disk.crash(Crash::Power, seed);
            content(&disk, "a") == b"old"
        });
        assert!(lost, "{how:?}");
    }
}

#[test]
fn a_sync_that_fails_for_want_of_space_forgets_what_it_did_not_write() {
    let left: BTreeSet<Vec<u8>> = (0..40)
        .map(|seed| {
            let mut disk = SimDisk::new();
            let file = durable_file(&disk, b"old");
            (0..seed).for_each(|_| {
                disk.disk().rng.next();
            });
            file.write_at(b"new", 0).expect("writes");
            disk.fail_after(0, Fault::Full);
            assert_eq!(file.sync().expect_err("is full").kind(), io::ErrorKind::StorageFull);
            file.sync().expect("and then pretends");
            disk.crash(Crash::Power, seed);
            content(&disk, "a")
        })
        .collect();
    assert_eq!(left, BTreeSet::from([b"new".to_vec(), b"old".to_vec()]));
}

#[test]
fn a_failed_sync_of_the_directory_is_not_repaired_by_a_second_one() {
    for fault in [Fault::Io(FailSync::KeepPages), Fault::Full] {
        let left: BTreeSet<String> = (0..60)
            .map(|seed| {
                let mut disk = SimDisk::new();
                durable_file(&disk, b"1");
                (0..seed).for_each(|_| {
                    disk.disk().rng.next();
                });
                disk.create("b").expect("creates");
                disk.rename("a", "c").expect("renames");
                disk.fail_after(0, fault);
                disk.sync_dir().expect_err("fails once");
                assert_eq!(disk.list().expect("lists"), ["b", "c"]);
                disk.sync_dir().expect("and then pretends");
                disk.rename("b", "d").expect("renames");
                disk.sync_dir().expect("this one is new");
                disk.crash(Crash::Power, seed);
                disk.list().expect("lists").join(",")
            })
            .collect();
        assert_eq!(left, BTreeSet::from(["a,d", "c,d"].map(str::to_owned)), "{fault:?}");
    }
}

#[test]
fn any_changes_of_the_directory_may_be_lost() {
    let changed = || {
        let disk = SimDisk::new();
        drop(durable_file(&disk, b"1"));
        disk.create("b").expect("creates");
        disk.rename("b", "c").expect("renames");
        disk.remove("a").expect("removes");
        disk
    };
    let left = |mut disk: SimDisk, seed| {
        disk.crash(Crash::Power, seed);
        disk.list().expect("lists").join(",")
    };
    let chosen = (0..8).map(|names| {
        let disk = changed();
        disk.keep(Survival { names, ..Survival::default() });
        left(disk, 0)
    });
    assert_eq!(chosen.collect::<Vec<_>>(), ["a", "a,b", "a,c", "a,c", "", "b", "c", "c"]);
    let drawn: BTreeSet<String> = (0..200).map(|seed| left(changed(), seed)).collect();
    assert_eq!(drawn.len(), 6, "{drawn:?}");
}

#[test]
fn a_lying_disk_forgets_what_it_synced() {
    let forgot = (0..16).any(|seed| {
        let mut disk = SimDisk::new();
        disk.lie_on_sync(true);
        durable_file(&disk, b"gone");
        disk.crash(Crash::Power, seed);
        disk.list().expect("lists").is_empty()
    });
    assert!(forgot);
}

#[test]
fn a_full_disk_takes_part_of_a_write() {
    let disk = SimDisk::new();
    let file = durable_file(&disk, b"123");
    disk.fill(5);
    let error = file.write_at(b"abcdef", 3).expect_err("is full");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(content(&disk, "a"), b"123ab");
    assert_eq!(file.set_len(6).expect_err("is full").kind(), io::ErrorKind::StorageFull);
    file.set_len(2).expect("shrinks");
    disk.fill(u64::MAX);
    file.write_at(b"xyz", 2).expect("has room again");
    assert_eq!(content(&disk, "a"), b"12xyz");
}

#[test]
fn the_machine_stops_during_the_chosen_call() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..64 {
        let mut disk = SimDisk::new();
        let file = durable_file(&disk, b"----");
        disk.crash_after(1);
        file.write_at(b"a", 0).expect("one call is left");
        file.write_at(b"bc", 1).expect_err("stops here");
        assert!(disk.stopped());
        file.sync().expect_err("and stays stopped");
        disk.crash(Crash::Process, seed);
        assert!(!disk.stopped());
        outcomes.insert(content(&disk, "a"));
    }
    assert_eq!(outcomes, BTreeSet::from([b"a---".to_vec(), b"ab--".to_vec(), b"abc-".to_vec()]));
}

#[test]
fn bits_flip_in_what_is_durable() {
    let mut disk = SimDisk::new();
    durable_file(&disk, b"\x00\x00");
    disk.flip_bit("a", 9).expect("has that bit");
    assert!(disk.flip_bit("a", 16).is_err() && disk.flip_bit("b", 0).is_err());
    disk.crash(Crash::Power, 0);
    assert_eq!(content(&disk, "a"), b"\x00\x02");
}

#[test]
fn calls_are_counted() {
    let disk = SimDisk::new();
    durable_file(&disk, b"123");
    assert_eq!(disk.counts(), Counts { calls: 4, writes: 1, bytes: 3, syncs: 1, dir_syncs: 1 });
}

#[test]
fn a_removed_file_is_forgotten_once_nobody_can_reach_it() {
    let disk = SimDisk::new();
    let file = durable_file(&disk, b"123");
    disk.remove("a").expect("removes");
    disk.sync_dir().expect("syncs");
    assert_eq!(file.len().expect("an open file outlives its name"), 3);
    drop(file);
    assert!(disk.disk().inodes.is_empty());
}

#[test]
fn what_a_crash_found_unfinished_is_told_in_words() {
    let mut disk = SimDisk::new();
    let file = durable_file(&disk, &[b'.'; 3 * SECTOR]);
    file.write_at(&[b'x'; SECTOR], SECTOR as u64).expect("writes");
    disk.create("b").expect("creates");
    disk.crash_after(0);
    file.write_at(b"y", 0).expect_err("the machine stops");
    disk.crash(Crash::Power, 1);
    let unfinished = disk.unfinished();
    assert_eq!(unfinished.call.as_deref(), Some("the write of 1 bytes at 0 of a"));
    // The write that was interrupted is at risk as well.
    assert_eq!(unfinished.sectors, [("a".to_owned(), 1), ("a".to_owned(), 0)]);
    assert_eq!(unfinished.names, ["the creation of b"]);
    assert_eq!(disk.risked(), AtRisk { sectors: 2, block: SECTOR, lens: 0, names: 1 });

    disk.fail_after(0, Fault::Full);
    disk.sync_dir().expect_err("it fails");
    assert_eq!(disk.failed().as_deref(), Some("the sync of the directory"));
    disk.crash(Crash::Process, 1);
    assert_eq!(disk.unfinished(), Unfinished::default());
}

/// Does something while a call of a disk is in flight, once.
struct Meanwhile(RefCell<Option<Box<dyn FnOnce()>>>);

impl Turns for Meanwhile {
    fn point(&self, _: Point) {
        if let Some(what) = self.0.take() {
            what();
        }
    }
    fn wait(&self, _: usize) {}
    fn released(&self, _: usize) {}
    fn sleep(&self, _: usize, _: Option<Time>) -> bool {
        true
    }
    fn notified(&self, _: usize, _: bool) {}
    fn now(&self) -> Time {
        Time::ZERO
    }
    fn spawn(&self, _: Box<dyn FnOnce()>) -> usize {
        0
    }
    fn join(&self, _: usize) {}
}

fn meanwhile<R>(what: impl FnOnce() + 'static, call: impl FnOnce() -> R) -> R {
    with_turns(Rc::new(Meanwhile(RefCell::new(Some(Box::new(what))))), call)
}

#[test]
fn a_call_in_flight_during_a_crash_fails_and_has_been_done_fully_partly_or_not_at_all() {
    for crash in [Crash::Process, Crash::Power] {
        let left: BTreeSet<usize> = (0..60)
            .map(|seed| {
                let disk = SimDisk::new();
                let file = durable_file(&disk, &[1; 4 * SECTOR]);
                let mut other = disk.clone();
                let told = Rc::new(RefCell::new(None));
                let tell = Rc::clone(&told);
                let written = meanwhile(
                    move || {
                        other.crash(crash, seed);
                        tell.replace(Some(other));
                    },
                    || file.write_at(&[2; 4 * SECTOR], 0),
                );
                assert!(written.is_err() && disk.list().is_err(), "this life is over");
                let disk = told.take().expect("it crashed");
                content(&disk, "a").iter().filter(|byte| **byte == 2).count()
            })
            .collect();
        assert!(left.contains(&0) && left.contains(&(4 * SECTOR)) && left.len() > 3, "{crash:?}: {left:?}");
    }
}

#[test]
fn a_sync_is_of_what_was_written_before_it_began() {
    let mut disk = SimDisk::new();
    let file = Rc::new(durable_file(&disk, &[0; SECTOR]));
    file.write_at(&[1; SECTOR], 0).expect("writes");
    let later = Rc::clone(&file);
    meanwhile(move || later.write_at(&[2; SECTOR], 0).expect("writes"), || file.sync()).expect("syncs");
    disk.keep(Survival::default());
    disk.crash(Crash::Power, 1);
    assert_eq!(content(&disk, "a"), [1; SECTOR], "the first is durable, and the second lost");
}

#[test]
fn whoever_had_a_file_open_is_told_of_a_write_that_was_lost_and_whoever_opens_it_later_is_not() {
    for (how, shown) in [(FailSync::KeepPages, b"new."), (FailSync::DropPages, b"....")] {
        let mut disk = SimDisk::new();
        let file = durable_file(&disk, b"....");
        let other = disk.open("a").expect("opens");
        disk.fail_after(1, Fault::Late(how));
        file.write_at(b"n", 0).expect("it is the next one's turn");
        file.sync().expect("is no write");
        file.write_at(b"new", 0).expect("the system takes it");
        assert!(!disk.fault_pending());
        assert_eq!(disk.failed().expect("one failed"), "the write of 3 bytes at 0 of a");
        let later = disk.open("a").expect("opens");
        later.sync().expect("is not told");
        file.sync().expect_err("is told");
        file.sync().expect("once");
        other.sync().expect_err("is told too");
        // Any part of a sector write may have reached the disk: it is there whole, or not at all.
        let now = content(&disk, "a");
        assert!(now == shown || now == b"new.", "{now:?}");
        disk.crash(Crash::Power, 1);
        let left = content(&disk, "a");
        assert!(left == b"n..." || left == b"new.", "{left:?}");
    }
    let lost = (0..32_u8).filter(|nth| {
        let mut disk = SimDisk::new();
        let file = durable_file(&disk, b"....");
        // What is drawn follows from what was drawn before.
        for turn in 0..=*nth {
            disk.fail_after(0, Fault::Late(FailSync::KeepPages));
            file.write_at(&[turn], 0).expect("the system takes it");
        }
        drop(file);
        disk.open("a").and_then(|file| file.sync()).expect("nobody is told");
        disk.crash(Crash::Power, 1);
        content(&disk, "a")[0] != *nth
    });
    assert!(lost.count() > 0, "never is it lost");
}

#[test]
fn a_bad_sector_cannot_be_read_whatever_comes() {
    let mut disk = SimDisk::new();
    let file = durable_file(&disk, &[b'.'; 3 * SECTOR]);
    disk.spoil("a", SECTOR..2 * SECTOR).expect("is there");
    disk.spoil("b", 0..1).expect_err("is not there");
    let read =
        |disk: &SimDisk, from: usize, many: usize| disk.open("a")?.read_at(&mut vec![0; many], from as u64);
    for life in 0..2 {
        for (from, many, whole) in [
            (0, SECTOR, true),
            (0, SECTOR + 1, false),
            (2 * SECTOR - 1, 9, false),
            (2 * SECTOR, SECTOR, true),
        ] {
            let read = read(&disk, from, many);
            assert_eq!(read.is_ok(), whole, "{from} {many}");
            assert!(read.is_ok_and(|()| whole) || !whole);
        }
        disk.crash(Crash::Power, life);
    }
    let error = read(&disk, SECTOR, 1).expect_err("is bad");
    assert_eq!(error.raw_os_error(), Some(Errno::IO.raw_os_error()));
    drop(file);
}
