//! What the file queue asks of its storage for each message: exact, and without noise.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use stanchion_queues::file::storage::{Block, Storage, StorageFile};
use stanchion_queues::file::{FileSession, Mode, RealDir};
use stanchion_queues::{Session, Settle, Settled, Settlement};

use crate::Failure;
use crate::body::Maker;
use crate::bounds::Bound;
use crate::store::Client;
use crate::stores::Queue;

/// How a commit begins in a segment, and the index of a full one does not: see the description of the format.
const COMMIT: &[u8] = b"frm\n";

/// A storage that counts what is asked of it.
#[derive(Clone, Debug)]
pub struct Counted<S> {
    storage: S,
    counters: Arc<Counters>,
}

/// A file of it.
#[derive(Debug)]
pub struct CountedFile<F> {
    file: F,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    syncs: AtomicU64,
    writes: AtomicU64,
    bytes: AtomicU64,
    zeroes: AtomicU64,
    /// Of each commit, how many bytes.
    commits: Mutex<Vec<u64>>,
}

/// What was asked of a storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Syncs of files and of the directory.
    pub syncs: u64,
    /// Writes that said something.
    pub writes: u64,
    /// How many bytes these had.
    pub bytes: u64,
    /// Bytes of writes of nothing but zeroes: space prepared ahead.
    pub zeroes: u64,
    /// Commits, each of which is one of the syncs. The others prepare segments, name them and end them.
    pub commits: u64,
}

/// What something took.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// For so many messages.
    pub messages: u64,
    /// In so many calls of each producer, one after the other.
    pub calls: u64,
    /// This was asked.
    pub counts: Counts,
    /// How many bytes the median commit had. Some carry messages along that are written anew.
    pub commit: u64,
    /// In this mode.
    pub mode: Option<Mode>,
}

impl Counters {
    fn commits(&self) -> MutexGuard<'_, Vec<u64>> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Storage> Counted<S> {
    /// From 0.
    pub fn new(storage: S) -> Counted<S> {
        Counted { storage, counters: Arc::default() }
    }

    /// Until now.
    pub fn counts(&self) -> Counts {
        let Counters { syncs, writes, bytes, zeroes, .. } = &*self.counters;
        Counts {
            syncs: syncs.load(Relaxed),
            writes: writes.load(Relaxed),
            bytes: bytes.load(Relaxed),
            zeroes: zeroes.load(Relaxed),
            commits: self.counters.commits().len() as u64,
        }
    }

    fn file(&self, file: io::Result<S::File>) -> io::Result<CountedFile<S::File>> {
        Ok(CountedFile { file: file?, counters: Arc::clone(&self.counters) })
    }
}

impl<S: Storage> Storage for Counted<S> {
    type File = CountedFile<S::File>;

    fn create(&self, name: &str) -> io::Result<Self::File> {
        self.file(self.storage.create(name))
    }

    fn open(&self, name: &str) -> io::Result<Self::File> {
        self.file(self.storage.open(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.storage.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.storage.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.storage.remove(name)
    }

    fn locate(&self, name: &str) -> PathBuf {
        self.storage.locate(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.counters.syncs.fetch_add(1, Relaxed);
        self.storage.sync_dir()
    }
}

impl<F: StorageFile> StorageFile for CountedFile<F> {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(into, offset)
    }

    fn data_from(&self, offset: u64) -> io::Result<Option<u64>> {
        self.file.data_from(offset)
    }

    fn ready(&self) -> io::Result<Block> {
        self.file.ready()
    }

    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<()> {
        let bytes = from.len() as u64;
        if from.iter().all(|byte| *byte == 0) {
            self.counters.zeroes.fetch_add(bytes, Relaxed);
        } else {
            self.counters.writes.fetch_add(1, Relaxed);
            self.counters.bytes.fetch_add(bytes, Relaxed);
        }
        self.file.write_at(from, offset)
    }

    fn write_durably(&self, from: &[u8], offset: u64) -> io::Result<()> {
        self.counters.writes.fetch_add(1, Relaxed);
        self.counters.bytes.fetch_add(from.len() as u64, Relaxed);
        self.counters.syncs.fetch_add(1, Relaxed);
        if from.starts_with(COMMIT) {
            self.counters.commits().push(from.len() as u64);
        }
        self.file.write_durably(from, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.counters.syncs.fetch_add(1, Relaxed);
        self.file.sync()
    }
}

/// One thing that is done again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// The first and the last part of its id.
    pub name: &'static str,
    /// How many threads send.
    pub producers: usize,
    /// How many messages in one call.
    pub batch: usize,
    /// Of how many bytes.
    pub body: usize,
    /// They are sent first, and their removal is what is counted.
    pub acks: bool,
}

/// All of them.
pub fn all() -> Vec<Case> {
    let case = |name, producers, batch, body, acks| Case { name, producers, batch, body, acks };
    vec![
        case("send", 1, 1, 100, false),
        case("send", 1, 1, 1024, false),
        case("send-batch100", 1, 100, 100, false),
        case("send-batch100", 1, 100, 1024, false),
        case("send-8", 8, 1, 100, false),
        case("send-8", 8, 1, 1024, false),
        case("send-64", 64, 1, 100, false),
        case("send-64", 64, 1, 1024, false),
        case("ack", 1, 1, 100, true),
        case("ack-batch100", 1, 100, 100, true),
    ]
}

impl Case {
    /// As in Criterion: `group/queue/parameters`.
    pub fn id(&self) -> String {
        format!("counts-{}/file/{}B", self.name, self.body)
    }

    /// Does it for so many messages, or a few more so that calls are full, and says for how many, and what it took.
    ///
    /// # Errors
    /// What the queue says, or fewer syncs than calls could share.
    pub fn count(&self, messages: usize) -> Result<Found, Failure> {
        let directory = crate::scratch()?;
        let storage = Counted::new(RealDir::open(directory.path())?);
        let queue = Queue::over(storage.clone())?;
        let calls = messages.div_ceil(self.batch * self.producers).max(1);
        let messages = calls * self.batch * self.producers;
        let before;
        if self.acks {
            let mut session = queue.session()?;
            send(&mut session, 0, self, calls)?;
            before = storage.counts();
            for _ in 0..calls {
                ack(&mut session, self.batch)?;
            }
        } else {
            before = storage.counts();
            thread::scope(|scope| {
                let senders: Vec<_> = (0..self.producers)
                    .map(|number| {
                        let queue = &queue;
                        scope.spawn(move || send(&mut queue.session()?, number, self, calls))
                    })
                    .collect();
                let join = |sender: thread::ScopedJoinHandle<'_, Result<(), Failure>>| {
                    sender.join().unwrap_or_else(|_| Err("the queue panicked".into()))
                };
                senders.into_iter().try_for_each(join)
            })?;
        }
        let after = storage.counts();
        let counts = Counts {
            syncs: after.syncs - before.syncs,
            writes: after.writes - before.writes,
            bytes: after.bytes - before.bytes,
            zeroes: after.zeroes - before.zeroes,
            commits: after.commits - before.commits,
        };
        if counts.syncs < calls as u64 {
            return Err(format!(
                "{calls} calls, one after the other, and {} syncs: not durable",
                counts.syncs
            )
            .into());
        }
        let mut sizes = storage.counters.commits()[before.commits as usize..].to_vec();
        sizes.sort_unstable();
        let commit = sizes.get(sizes.len() / 2).copied().unwrap_or(0);
        let mode = storage.storage.mode();
        Ok(Found { messages: messages as u64, calls: calls as u64, counts, commit, mode })
    }

    /// What of that is to be at most so much.
    pub fn bounds(&self, found: &Found) -> Vec<Bound> {
        let Found { messages, calls, counts, commit, mode } = found;
        let mut bounds = Vec::new();
        if self.producers == 1 {
            let flushes = counts.commits as f64 / *calls as f64;
            bounds.push(Bound { what: "flushes of a commit", most: 1.0, found: Ok(flushes) });
        }
        if self.batch > 1 && !self.acks {
            let payload = messages * self.body as u64;
            let ratio = counts.bytes as f64 / payload as f64;
            bounds.push(Bound { what: "bytes written for one of payload", most: 1.4, found: Ok(ratio) });
        }
        if self.producers == 1 && self.batch == 1 && self.body <= SMALL {
            let direct = *mode == Some(Mode::Direct(Block::Sector));
            let found = direct.then_some(*commit as f64).ok_or("no direct writes of sectors here");
            bounds.push(Bound {
                what: "bytes of the median commit of one small message",
                most: 512.0,
                found,
            });
        }
        bounds
    }
}

/// Such a body fits into a sector with all that is said of it.
const SMALL: usize = 100;

fn send<S: Storage>(
    session: &mut FileSession<S>,
    number: usize,
    case: &Case,
    calls: usize,
) -> Result<(), Failure> {
    let (mut maker, mut batch) = (Maker::new(number, case.body), Vec::new());
    for _ in 0..calls {
        maker.fill(&mut batch, case.batch);
        Client::send(session, &batch)?;
    }
    Ok(())
}

fn ack<S: Storage>(session: &mut FileSession<S>, many: usize) -> Result<(), Failure> {
    let deliveries = session.receive(many, crate::stores::LEASE)?;
    let acks: Vec<Settlement> = deliveries
        .iter()
        .map(|delivery| Settlement { receipt: delivery.receipt, how: Settle::Ack })
        .collect();
    let done = session.settle(&acks).iter().filter(|settled| matches!(settled, Settled::Done)).count();
    if done == many { Ok(()) } else { Err(format!("{done} of {many} acks were done").into()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn what_is_asked_of_a_storage_is_counted() {
        let directory = crate::scratch().expect("a directory");
        let storage = Counted::new(RealDir::open(directory.path()).expect("opens"));
        let file = storage.create("a").expect("creates");
        file.write_at(&[0; 100], 0).expect("writes");
        file.write_at(b"hello", 3).expect("writes");
        file.sync().expect("syncs");
        storage.sync_dir().expect("syncs");
        storage.open("a").expect("opens").write_at(&[0, 1], 8).expect("writes");
        assert_eq!(
            storage.counts(),
            Counts { syncs: 2, writes: 2, bytes: 7, zeroes: 100, ..Counts::default() }
        );
        let mut read = [9; 5];
        file.read_at(&mut read, 3).expect("reads");
        assert_eq!((&read, file.len().expect("has one")), (b"hello", 100));
    }

    #[test]
    fn a_file_takes_its_space_as_one_that_is_not_counted_does() {
        let directory = crate::scratch().expect("a directory");
        let storage = RealDir::open(directory.path()).expect("opens");
        storage.create("plain").and_then(|file| file.allocate(1 << 20)).expect("has space");
        Counted::new(storage).create("counted").and_then(|file| file.allocate(1 << 20)).expect("has space");
        let blocks = |name| directory.path().join(name).metadata().expect("is there").blocks();
        assert_eq!(blocks("counted"), blocks("plain"));
    }

    #[test]
    fn single_calls_sync_at_least_once_each_and_write_at_least_what_is_sent() {
        for case in all() {
            let found = case.count(500).unwrap_or_else(|failure| panic!("{case:?}: {failure}"));
            let Found { messages, counts, .. } = found;
            assert!(messages >= 500);
            assert!(counts.commits <= counts.syncs && found.commit <= counts.bytes, "{found:?}");
            // They are exact, and hold on every machine that can be asked.
            for bound in case.bounds(&found) {
                assert_ne!(bound.verdict(), "MISSED", "{case:?}: {bound}");
            }
            assert!(case.acks || counts.bytes >= messages * case.body as u64, "{case:?}: {counts:?}");
            assert!(counts.syncs <= messages * 2, "{case:?}: {counts:?}");
        }
    }

    #[test]
    fn what_is_more_than_it_is_to_be_is_missed() {
        let case = |batch, body| Case { name: "send", producers: 1, batch, body, acks: false };
        let verdicts = |case: Case, (counts, commit), mode| {
            let messages = 100 * case.batch as u64;
            let found = Found { messages, calls: 100, counts, commit, mode: Some(mode) };
            case.bounds(&found).iter().map(Bound::verdict).collect::<Vec<_>>()
        };
        let sectors = Mode::Direct(Block::Sector);
        let counts = Counts { commits: 100, bytes: 140_000, ..Counts::default() };
        let good = (counts, 512);
        assert_eq!(verdicts(case(1, 100), good, sectors), ["reached", "reached"]);
        assert_eq!(verdicts(case(1, 100), good, Mode::Buffered), ["reached", "not judged"]);
        assert_eq!(verdicts(case(1, 1024), good, sectors), ["reached"]);
        assert_eq!(verdicts(case(10, 100), good, sectors), ["reached", "reached"]);
        let bad = (Counts { commits: 101, bytes: 140_001, ..counts }, 1024);
        assert_eq!(verdicts(case(1, 100), bad, sectors), ["MISSED", "MISSED"]);
        assert_eq!(verdicts(case(10, 100), bad, sectors), ["MISSED", "MISSED"]);
    }
}
