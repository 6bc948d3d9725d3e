//! A process with several threads that send and several that receive kills itself at a chosen call of its storage:
//! before the call, within a write, or when the call is done and nobody knows of it yet.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use rustix::process::{Signal, getpid, kill_process};

use super::killed::{BOASTS, Said, say, token, wrong};
use super::*;
use crate::file::real::RealFile;
use crate::file::storage::{Block, Storage, StorageFile};

const DIRECTORY: &str = "STANCHION_TEST_STRUCK_IN";
/// A moment and a number: of the call, or of the write within which it happens.
const POINT: &str = "STANCHION_TEST_STRUCK_AT";
const THREADS: usize = 2;
/// How often each thread sends. One call in four is of several messages.
const SENDS: usize = 24;
/// Messages that one thread sends.
const MESSAGES: usize = SENDS + 2 * (SENDS / 4);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Before,
    Within,
    After,
}

const MOMENTS: [Moment; 3] = [Moment::Before, Moment::Within, Moment::After];

/// When a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    moment: Moment,
    number: u64,
}

impl Point {
    fn parse(text: &str) -> Point {
        let (moment, number) = text.split_once(' ').expect("two words");
        let moment = MOMENTS.into_iter().find(|known| format!("{known:?}") == moment).expect("is one");
        Point { moment, number: number.parse().expect("a number") }
    }
}

/// Real files, and what was asked of them.
#[derive(Clone, Debug)]
struct Struck {
    directory: RealDir,
    point: Option<Point>,
    calls: Arc<AtomicU64>,
    writes: Arc<AtomicU64>,
}

#[derive(Debug)]
struct StruckFile {
    file: RealFile,
    storage: Struck,
}

fn die() -> ! {
    kill_process(getpid(), Signal::KILL).expect("may kill itself");
    // The system may let another thread have the signal first.
    loop {
        thread::park();
    }
}

impl Struck {
    fn call<T>(&self, call: impl FnOnce() -> T) -> T {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        let dies = |moment| self.point == Some(Point { moment, number });
        if dies(Moment::Before) {
            die();
        }
        let done = call();
        if dies(Moment::After) {
            die();
        }
        done
    }

    fn write(
        &self,
        file: &RealFile,
        from: &[u8],
        offset: u64,
        write: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let number = self.writes.fetch_add(1, Ordering::SeqCst);
        if self.point == Some(Point { moment: Moment::Within, number }) {
            file.write_at(&from[..from.len() / 2], offset)?;
            die();
        }
        self.call(write)
    }

    fn file(&self, file: io::Result<RealFile>) -> io::Result<StruckFile> {
        Ok(StruckFile { file: file?, storage: self.clone() })
    }
}

impl Storage for Struck {
    type File = StruckFile;

    fn create(&self, name: &str) -> io::Result<StruckFile> {
        self.file(self.call(|| self.directory.create(name)))
    }

    fn open(&self, name: &str) -> io::Result<StruckFile> {
        self.file(self.call(|| self.directory.open(name)))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.call(|| self.directory.list())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.call(|| self.directory.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.call(|| self.directory.remove(name))
    }

    fn locate(&self, name: &str) -> PathBuf {
        self.directory.locate(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.call(|| self.directory.sync_dir())
    }
}

impl StorageFile for StruckFile {
    fn len(&self) -> io::Result<u64> {
        self.storage.call(|| self.file.len())
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        self.storage.call(|| self.file.read_at(into, offset))
    }

    fn data_from(&self, offset: u64) -> io::Result<Option<u64>> {
        self.storage.call(|| self.file.data_from(offset))
    }

    fn ready(&self) -> io::Result<Block> {
        self.storage.call(|| self.file.ready())
    }

    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<()> {
        self.storage.write(&self.file, from, offset, || self.file.write_at(from, offset))
    }

    fn write_durably(&self, from: &[u8], offset: u64) -> io::Result<()> {
        self.storage.write(&self.file, from, offset, || self.file.write_durably(from, offset))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.storage.call(|| self.file.set_len(len))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.storage.call(|| self.file.allocate(len))
    }

    fn sync(&self) -> io::Result<()> {
        self.storage.call(|| self.file.sync())
    }
}

/// Opens it with segments so short that all that happens to them happens.
fn open<S: Storage>(storage: S) -> FileQueue<S> {
    let settings = Settings { clock: Clock::system(), ..settings(1000, u32::MAX) };
    FileQueue::open_within(storage, &settings, limits(8 << 10)).expect("opens")
}

fn produce<S: Storage>(queue: &FileQueue<S>, name: &str) {
    let mut session = queue.session().expect("opens");
    for n in 0..SENDS {
        let many = if n % 4 == 3 { 3 } else { 1 };
        let tokens: Vec<String> = (0..many).map(|m| format!("{name}.{n}.{m}")).collect();
        say("sending", &tokens);
        let body = |token: &String| Message::new(format!("{token} {}", "x".repeat(n * 50)).into_bytes());
        confirmed(&session.send(&tokens.iter().map(body).collect::<Vec<_>>()));
        say("sent", &tokens);
    }
}

/// Takes part until all that this life sends, and as many, are settled, but for a third, which is returned once or more.
fn consume<S: Storage>(queue: &FileQueue<S>, thread: usize, settled: &AtomicUsize) {
    let mut session = queue.session().expect("opens");
    for n in thread.. {
        if settled.load(Ordering::SeqCst) >= THREADS * MESSAGES * 2 / 3 {
            return;
        }
        let held = session.receive(1 + n % 3, 60 * SECOND).expect("works");
        let tokens: Vec<String> = held.iter().map(|delivery| token(&delivery.body)).collect();
        if tokens.is_empty() {
            thread::yield_now();
            continue;
        }
        let (how, before, after) = match n % 7 {
            2 | 5 => (nack(Duration::ZERO), None, None),
            3 => (Settle::Reject, Some("rejecting"), Some("rejected")),
            _ => (Settle::Ack, Some("acking"), Some("acked")),
        };
        before.into_iter().for_each(|what| say(what, &tokens));
        let settlements: Vec<Settlement> =
            held.iter().map(|delivery| Settlement { receipt: delivery.receipt, how }).collect();
        assert!(session.settle(&settlements).iter().all(is_done));
        if let Some(what) = after {
            say(what, &tokens);
            settled.fetch_add(held.len(), Ordering::SeqCst);
        }
    }
}

/// Not a test of its own: the child of the next ones.
#[test]
fn one_that_is_struck() {
    let Some(path) = std::env::var_os(DIRECTORY) else { return };
    let point = std::env::var(POINT).ok().map(|text| Point::parse(&text));
    let directory = RealDir::open(Path::new(&path)).expect("opens");
    let storage = Struck { directory, point, calls: Arc::default(), writes: Arc::default() };
    let mut queue = open(storage.clone());
    queue.start_heartbeat().expect("starts");
    let (life, settled) = (std::process::id(), AtomicUsize::new(0));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (queue, settled) = (&queue, &settled);
            scope.spawn(move || produce(queue, &format!("{life}.{thread}")));
            scope.spawn(move || consume(queue, thread, settled));
        }
    });
    drop(queue);
    let [calls, writes] = [&storage.calls, &storage.writes].map(|count| count.load(Ordering::SeqCst));
    let mut out = io::stdout().lock();
    writeln!(out, "\nmade {calls} {writes}").expect("somebody listens");
}

/// How many calls and writes a life makes that ends by itself; `None`: it was struck.
fn live(directory: &Path, point: Option<Point>, boasts: bool, said: &mut Said) -> Option<(u64, u64)> {
    let mut child = Command::new(std::env::current_exe().expect("is a file"))
        .args(["--exact", "file::tests::struck::one_that_is_struck", "--nocapture"])
        .env(DIRECTORY, directory)
        .envs(point.map(|Point { moment, number }| (POINT, format!("{moment:?} {number}"))))
        .envs(boasts.then_some((BOASTS, "1")))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut made = None;
    for line in BufReader::new(child.stdout.take().expect("is piped")).lines() {
        let line = line.expect("is text");
        if let Some((calls, writes)) = line.strip_prefix("made ").and_then(|rest| rest.split_once(' ')) {
            let number = |text: &str| text.parse().expect("a number");
            made = Some((number(calls), number(writes)));
        }
        said.hear(&line);
    }
    let status = child.wait().expect("ends");
    let struck = status.signal() == Some(Signal::KILL.as_raw());
    assert!(if struck { made.is_none() } else { status.success() }, "{point:?}: {status}");
    made
}

/// A directory that a life left, what it said, and how many calls and writes another one makes there.
struct Before {
    directory: tempfile::TempDir,
    said: Said,
    made: (u64, u64),
}

impl Before {
    fn new() -> Before {
        let (directory, mut said) = (tempfile::tempdir().expect("a directory"), Said::default());
        live(directory.path(), None, false, &mut said).expect("ends by itself");
        let mut before = Before { directory, said, made: (0, 0) };
        let (made, wrong) = before.then(None, false);
        assert_eq!(wrong, [""; 0]);
        before.made = made.expect("ends by itself");
        before
    }

    fn numbers(&self, moment: Moment) -> u64 {
        if moment == Moment::Within { self.made.1 } else { self.made.0 }
    }

    /// Another life on a copy of it, and what is wrong after that.
    fn then(&self, point: Option<Point>, boasts: bool) -> (Option<(u64, u64)>, Vec<String>) {
        let copy = tempfile::tempdir().expect("a directory");
        for entry in fs::read_dir(self.directory.path()).expect("lists") {
            let entry = entry.expect("is there");
            fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("copies");
        }
        let mut said = self.said.clone();
        let made = live(copy.path(), point, boasts, &mut said);
        let queue = open(RealDir::open(copy.path()).expect("opens"));
        let wrong = wrong(&queue, &said).into_iter().map(|wrong| format!("{point:?}: {wrong}"));
        let wrong = wrong.collect();
        send(&mut queue.session().expect("opens"), &["it goes on"]);
        (made, wrong)
    }
}

/// What is wrong after deaths at so many points of each kind, and at how many of them it died.
fn struck(before: &Before, points: u64, boasts: bool) -> (Vec<String>, u64) {
    let (mut all, mut deaths) = (Vec::new(), 0);
    for moment in MOMENTS {
        let numbers = before.numbers(moment);
        for nth in 0..points {
            let (made, wrong) = before.then(Some(Point { moment, number: nth * numbers / points }), boasts);
            all.extend(wrong);
            deaths += u64::from(made.is_none());
        }
    }
    (all, deaths)
}

#[test]
fn what_a_process_was_told_that_dies_at_a_call_of_its_storage_is_there() {
    let (wrong, deaths) = struck(&Before::new(), 12, false);
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(deaths > 24, "{deaths}");
}

/// The same at every call.
#[test]
#[ignore = "takes minutes: see .ci/long"]
fn what_a_process_was_told_that_dies_at_any_call_of_its_storage_is_there() {
    let before = Before::new();
    let (mut all, mut deaths) = (Vec::new(), [0_u64; 3]);
    for (moment, deaths) in MOMENTS.into_iter().zip(&mut deaths) {
        // Threads take turns as they like: a life makes more calls than another.
        for number in 0.. {
            let (made, wrong) = before.then(Some(Point { moment, number }), false);
            all.extend(wrong);
            *deaths += u64::from(made.is_none());
            if made.is_some() && number >= before.numbers(moment) {
                break;
            }
        }
    }
    println!("{deaths:?} deaths before, within and after calls");
    assert!(all.is_empty(), "{all:#?}");
    assert!(deaths.into_iter().all(|many| many > 20), "{deaths:?}");
}

#[test]
fn a_process_that_says_things_too_early_is_caught_when_it_dies_at_a_call() {
    let (wrong, _) = struck(&Before::new(), 4, true);
    assert!(!wrong.is_empty());
}
