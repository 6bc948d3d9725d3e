//! Directories as somebody else might have written them, and what must be true of a queue that opens one: it
//! refuses or it works, without a panic and without waiting for ever, and delivers nothing that is not there. Tests
//! damage and forge them at random (`tests/forged.rs`); a fuzzer looks for those that reach new code (`queues/fuzz`).

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use super::commit::Limits;
use super::inspect::look;
use super::log::Sizes;
use super::rng::Rng;
use super::salvage::salvage_storage;
use super::storage::{Block, Storage, StorageFile};
use super::{FileQueue, SimDisk};
use crate::broker::{Broker, Error, Message, Session, Settle, Settlement};
use crate::{Clock, Settings};

/// Names and contents.
pub(super) type Files = Vec<(String, Vec<u8>)>;

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(10);
/// So short that a few messages fill several.
const SEGMENT: u64 = 4 << 10;
const LIMITS: Limits = Limits { sizes: Sizes { least: SEGMENT, most: 4 * SEGMENT }, recent: 600 };

fn settings() -> Settings {
    Settings { capacity: 1000, deliveries_allowed: 3, clock: Clock::manual(), seed: 7 }
}

/// Opens a queue with short segments.
pub(super) fn open(disk: &SimDisk, settings: &Settings) -> Result<FileQueue<SimDisk>, Error> {
    FileQueue::open_within(disk.clone(), settings, LIMITS)
}

/// What a queue left that had messages in every state, in several segments. All bodies are of `x`, shorter than 600.
pub(super) fn written(seed: u64) -> Files {
    let disk = SimDisk::in_blocks(if seed % 4 == 3 { Block::Page } else { Block::Sector });
    let mut rng = Rng::new(seed);
    for _ in 0..2 {
        let queue = open(&disk, &settings()).expect("opens");
        let mut session = queue.session().expect("opens");
        for _ in 0..12 {
            let body = "x".repeat(rng.below(600));
            let delay = if rng.below(4) == 0 { SECOND } else { Duration::ZERO };
            session.send(&[Message::new(body.into_bytes()).with_delay(delay)]);
            for delivery in session.receive(rng.below(3) + 1, LEASE).expect("works") {
                let nack = |delay| Settle::Nack { delay };
                let how = [Settle::Ack, nack(Duration::ZERO), nack(SECOND), Settle::Reject][rng.below(4)];
                if rng.below(3) > 0 {
                    session.settle(&[Settlement { receipt: delivery.receipt, how }]);
                }
            }
        }
    }
    files_of(&disk)
}

/// All files of a disk.
pub(super) fn files_of(disk: &SimDisk) -> Files {
    disk.list().expect("lists").into_iter().map(|name| (name.clone(), content(disk, &name))).collect()
}

/// The bytes of a file.
pub(super) fn content(disk: &SimDisk, name: &str) -> Vec<u8> {
    let file = disk.open(name).expect("opens");
    let mut bytes = vec![0; file.len().expect("has a length") as usize];
    file.read_at(&mut bytes, 0).expect("reads");
    bytes
}

/// A disk with these files.
pub(super) fn disk_of(files: &Files) -> SimDisk {
    let disk = SimDisk::new();
    for (name, bytes) in files {
        disk.create(name).expect("creates").write_durably(bytes, 0).expect("writes");
    }
    disk.sync_dir().expect("syncs");
    disk
}

/// Opens it twice and does a little of everything; the bodies that were delivered, but for those sent here.
///
/// # Errors
/// It was refused.
pub(super) fn used(disk: &SimDisk) -> Result<BTreeSet<Vec<u8>>, Error> {
    const NEW: &[u8] = b"sent by whoever opened it";
    let mut bodies = BTreeSet::new();
    for _ in 0..2 {
        let settings = settings();
        let queue = open(disk, &settings)?;
        let mut session = queue.session()?;
        settings.clock.advance(2 * SECOND);
        let _ = session.send(&[Message::new(NEW)]);
        while let Ok(deliveries) = session.receive(7, LEASE) {
            if deliveries.is_empty() {
                break;
            }
            for delivery in deliveries {
                let how = if bodies.len() % 3 == 0 { Settle::Reject } else { Settle::Ack };
                session.settle(&[Settlement { receipt: delivery.receipt, how }]);
                if &*delivery.body != NEW {
                    bodies.insert(delivery.body.to_vec());
                }
            }
        }
        let _ = session.dead_letters(100);
        let _ = session.redrive(2);
    }
    look(disk, Path::new("here"))?;
    Ok(bodies)
}

/// What a fuzzer calls: the first byte says which written directory, the others how it is edited, which is then opened
/// and used, and salvaged if it is refused.
///
/// # Panics
/// Something was delivered that is not on the disk, the error is none of damage, or salvaging failed.
pub fn try_edited(data: &[u8]) {
    static WRITTEN: LazyLock<[Files; 16]> =
        LazyLock::new(|| std::array::from_fn(|seed| written(seed as u64)));
    let Some((chosen, edits)) = data.split_first() else { return };
    let mut files = WRITTEN[usize::from(chosen % 16)].clone();
    edit(&mut files, edits);
    let disk = disk_of(&files);
    let bodies = match used(&disk) {
        Ok(bodies) => bodies,
        Err(Error::Corrupt { .. } | Error::Io { .. }) => {
            let disk = disk_of(&files);
            match salvage_storage(&disk, &settings(), LIMITS.sizes) {
                // It says that it is of another version.
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::Unsupported => return,
                salvaged => drop(salvaged.expect("saves what there is")),
            }
            used(&disk).expect("what was salvaged opens")
        }
        Err(other) => panic!("neither damage nor the system: {other}"),
    };
    for body in bodies {
        let is_there =
            |bytes: &Vec<u8>| body.is_empty() || bytes.windows(body.len()).any(|part| part == body);
        assert!(files.iter().any(|(_, bytes)| is_there(bytes)), "delivered and nowhere: {body:?}");
    }
}

/// Edits of eight bytes each: which file and how, where, and with what.
fn edit(files: &mut Files, edits: &[u8]) {
    for edit in edits.as_chunks::<8>().0 {
        let [how, a, b, c, with @ ..] = *edit;
        if files.is_empty() {
            return;
        }
        let nth = usize::from(how >> 4) % files.len();
        let bytes = &mut files[nth].1;
        let at = (usize::from(a) | usize::from(b) << 8).min(bytes.len());
        let many = |most: usize| usize::from(c).min(most);
        match how & 15 {
            0..=7 => {
                bytes.iter_mut().skip(at).zip(with).take(1 + many(3)).for_each(|(byte, new)| *byte = new)
            }
            8 | 9 => {
                bytes.iter_mut().skip(at).zip(with).for_each(|(byte, new)| *byte = byte.wrapping_add(new))
            }
            10 => bytes.iter_mut().skip(at).take(many(255)).for_each(|byte| *byte = with[0]),
            11 => bytes.truncate(at),
            12 => {
                let from = ((usize::from(with[0]) | usize::from(with[1]) << 8) * 16).min(bytes.len());
                let to = at / 512 * 512;
                let many = (512 * many(8)).min(bytes.len() - to).min(bytes.len() - from);
                bytes.copy_within(from..from + many, to);
            }
            13 => drop(files.remove(nth)),
            14 => {
                let name = files[(nth + 1) % files.len()].0.clone();
                if files.iter().all(|(other, _)| *other != format!("{name}x")) {
                    files[nth].0 = format!("{name}x");
                }
            }
            _ => {
                let other = (nth + 1 + many(15)) % files.len();
                let copied = files[other].1.clone();
                files[nth].1 = copied;
            }
        }
    }
}
