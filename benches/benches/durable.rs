//! What a confirmed send costs when it survives the power: the file queue beside a raw append with
//! `fdatasync`, which only what need not let its file grow with each append can beat (as the queue does, whose
//! log is prepared ahead), and beside SQLite (WAL, synchronous FULL), which everybody has.
//!
//! One producer, bodies of 100 B and 1 KiB, one or a hundred a sync. After every sample the store is opened
//! again and what it holds is counted: a store that holds less than it confirmed gives no number.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput, measurement::WallTime};
use stanchion_queues::file::{FileQueue, FileSession, RealDir, open_dir};
use stanchion_queues::{Broker, Message, Sent, Session, Settings};

/// Why a store could not be measured.
type Failure = Box<dyn std::error::Error>;

/// Something that keeps bodies in a directory.
trait Store: Sized {
    /// Opens the store of this directory, which may be empty.
    fn open(directory: &Path) -> Result<Self, Failure>;

    /// Stores all of these; when it returns, they survive the power.
    fn store(&mut self, bodies: &[Message]) -> Result<(), Failure>;

    /// How many bodies the directory holds, counted by someone who has just come.
    fn count(directory: &Path, body_bytes: usize) -> Result<u64, Failure>;
}

/// The simplest: bytes behind bytes in one file, and a sync. It knows neither where a body ends nor whether it
/// is whole.
struct RawAppend {
    file: File,
    buffer: Vec<u8>,
}

impl RawAppend {
    fn path(directory: &Path) -> PathBuf {
        directory.join("raw")
    }
}

impl Store for RawAppend {
    fn open(directory: &Path) -> Result<RawAppend, Failure> {
        let file = File::options().create(true).append(true).open(RawAppend::path(directory))?;
        File::open(directory)?.sync_all()?;
        Ok(RawAppend { file, buffer: Vec::new() })
    }

    fn store(&mut self, bodies: &[Message]) -> Result<(), Failure> {
        self.buffer.clear();
        bodies.iter().for_each(|message| self.buffer.extend_from_slice(&message.body));
        self.file.write_all(&self.buffer)?;
        Ok(self.file.sync_data()?)
    }

    fn count(directory: &Path, body_bytes: usize) -> Result<u64, Failure> {
        let mut stored = Vec::new();
        File::open(RawAppend::path(directory))?.read_to_end(&mut stored)?;
        Ok((stored.len() / body_bytes) as u64)
    }
}

/// A table with a row for each body, one transaction for each sync.
struct Sqlite(rusqlite::Connection);

impl Store for Sqlite {
    fn open(directory: &Path) -> Result<Sqlite, Failure> {
        let connection = rusqlite::Connection::open(directory.join("sqlite"))?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.execute_batch(
            "create table if not exists messages (id integer primary key, body blob not null) strict",
        )?;
        Ok(Sqlite(connection))
    }

    fn store(&mut self, bodies: &[Message]) -> Result<(), Failure> {
        let transaction = self.0.transaction()?;
        {
            let mut insert = transaction.prepare_cached("insert into messages (body) values (?)")?;
            for message in bodies {
                insert.execute([&*message.body])?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn count(directory: &Path, body_bytes: usize) -> Result<u64, Failure> {
        let Sqlite(connection) = Sqlite::open(directory)?;
        let whole = "select count(*) from messages where length(body) = ?";
        let rows: i64 = connection.query_row(whole, [i64::try_from(body_bytes)?], |row| row.get(0))?;
        Ok(u64::try_from(rows)?)
    }
}

/// The file queue: what is stored can be received, acked and dead-lettered, and torn tails are told from
/// damage.
struct Queue {
    session: FileSession<RealDir>,
    /// Keeps the directory.
    _queue: FileQueue<RealDir>,
}

impl Queue {
    fn settings() -> Settings {
        Settings { capacity: 1 << 24, ..Settings::new() }
    }
}

impl Store for Queue {
    fn open(directory: &Path) -> Result<Queue, Failure> {
        let queue = open_dir(directory, &Queue::settings())?;
        Ok(Queue { session: queue.session()?, _queue: queue })
    }

    fn store(&mut self, bodies: &[Message]) -> Result<(), Failure> {
        let sent = self.session.send(bodies);
        match sent.into_iter().find(|sent| !matches!(sent, Sent::Confirmed(_))) {
            None => Ok(()),
            Some(other) => Err(format!("a send was not confirmed: {other:?}").into()),
        }
    }

    fn count(directory: &Path, _: usize) -> Result<u64, Failure> {
        Ok(Queue::open(directory)?.session.depth()?.ready)
    }
}

/// Stores `calls` batches in an empty store, and times only that. Then it opens the store again and counts.
fn sample<S: Store>(batch: &[Message], calls: u64) -> Result<Duration, Failure> {
    let directory = scratch()?;
    let mut store = S::open(directory.path())?;
    let begun = Instant::now();
    for _ in 0..calls {
        store.store(batch)?;
    }
    let elapsed = begun.elapsed();
    drop(store);
    let confirmed = calls * batch.len() as u64;
    let body_bytes = batch.first().map_or(1, |message| message.body.len());
    let stored = S::count(directory.path(), body_bytes)?;
    if stored != confirmed {
        return Err(format!("{confirmed} were confirmed and {stored} are stored: no number").into());
    }
    Ok(elapsed)
}

/// An empty directory on the disk of the build: a temporary directory may be in memory, where nothing is
/// synced.
fn scratch() -> io::Result<tempfile::TempDir> {
    let parent = stanchion_reports::fragment::directory();
    std::fs::create_dir_all(&parent)?;
    tempfile::Builder::new().prefix("durable-").tempdir_in(parent)
}

fn message(body_bytes: usize, nth: usize) -> Message {
    let mixed = |at: usize| (at.wrapping_mul(0x9e37_79b9) >> 7) as u8 ^ nth as u8;
    Message::new((0..body_bytes).map(mixed).collect::<Vec<u8>>())
}

fn bench<S: Store>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, body_bytes: usize, batch: usize) {
    let messages: Vec<Message> = (0..batch).map(|nth| message(body_bytes, nth)).collect();
    group.throughput(Throughput::Elements(batch as u64));
    let id = BenchmarkId::new(name, format!("batch{batch}-{body_bytes}B"));
    group.bench_function(id, |bencher| {
        bencher.iter_custom(|calls| match sample::<S>(&messages, calls) {
            Ok(elapsed) => elapsed,
            Err(failure) => panic!("{name}: {failure}"),
        });
    });
}

/// One append and sync, measured before anything else: on some disks it is slower than what is to be
/// compared.
fn floor() -> Result<Duration, Failure> {
    const TRIES: usize = 51;
    let directory = scratch()?;
    let mut store = RawAppend::open(directory.path())?;
    let one = [message(100, 0)];
    let mut times = Vec::with_capacity(TRIES);
    for _ in 0..TRIES {
        let begun = Instant::now();
        store.store(&one)?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(times[TRIES / 2])
}

fn main() -> Result<(), Failure> {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(2000))
        .sample_size(10)
        .nresamples(10_000)
        .without_plots()
        .configure_from_args();
    let p50 = floor()?;
    eprintln!("one append of 100 B and its fdatasync take {p50:?} (median) on this disk");
    if p50 > Duration::from_millis(1) {
        eprintln!(
            "WARNING: that is above 1 ms: you are measuring the scheduler, or a slow disk, and not the stores"
        );
    }
    let mut group = criterion.benchmark_group("durable");
    group.sampling_mode(SamplingMode::Flat);
    for body_bytes in [100, 1024] {
        for batch in [1, 100] {
            bench::<RawAppend>(&mut group, "raw_append", body_bytes, batch);
            bench::<Sqlite>(&mut group, "sqlite", body_bytes, batch);
            bench::<Queue>(&mut group, "file", body_bytes, batch);
        }
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}
