//! Lives of a queue on a disk on which everything goes wrong now and then, at once: it is full, or no file can be
//! opened, calls fail, the power does, and its blocks are other ones than in the life before.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::catch_unwind;
use std::path::Path;
use std::time::Instant;

use super::*;
use crate::broker::{Crash, Receipt};
use crate::file::hostile::disk_of;
use crate::file::inspect::look;
use crate::file::rng::Rng;
use crate::file::salvage::salvage_storage;
use crate::file::segment::Name;
use crate::file::sim::FailSync;
use crate::file::storage::{Block, Storage, StorageFile};
use crate::file::survival::Fault;

/// What is known of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// It was confirmed, and nobody was told that it is done.
    There,
    /// Somebody was told nothing.
    Perhaps,
    /// It was refused, or is done.
    Gone,
}

struct Lives {
    disk: SimDisk,
    /// It has long sectors.
    pages: bool,
    rng: Rng,
    known: BTreeMap<u64, Known>,
    held: Vec<(u64, Receipt)>,
    /// What happened, for people.
    log: Vec<String>,
    seen: Seen,
}

/// What was seen in some histories, to know that they were about something.
#[derive(Clone, Debug, Default)]
struct Seen {
    lives: u64,
    crashes: u64,
    messages: u64,
    /// Of each segment, how many moves were seen in it.
    moves: BTreeMap<u64, u64>,
    /// The same of earlier histories.
    moved: u64,
    segments: u64,
}

impl Seen {
    fn add(&mut self, other: &Seen) {
        self.lives += other.lives;
        self.crashes += other.crashes;
        self.messages += other.messages;
        self.moved += other.moves.values().sum::<u64>() + other.moved;
        self.segments += other.moves.last_key_value().map_or(0, |(last, _)| *last) + other.segments;
    }

    fn look(&mut self, disk: &SimDisk) {
        for segment in look(disk, Path::new("here")).expect("reads").segments {
            if let Some(Name::Segment(number)) = Name::parse(&segment.name) {
                let moves = self.moves.entry(number).or_default();
                *moves = segment.records.get("moved").copied().unwrap_or(0).max(*moves);
            }
        }
    }
}

fn body(token: u64, len: usize) -> Vec<u8> {
    let mut body = token.to_le_bytes().to_vec();
    body.resize(8 + len, token as u8);
    body
}

/// Which message this is the body of.
fn token(body: &[u8]) -> u64 {
    let (token, rest) = body.split_first_chunk().expect("has a token");
    let token = u64::from_le_bytes(*token);
    assert!(rest.iter().all(|byte| *byte == token as u8), "message {token} was changed");
    token
}

fn open_on(disk: &SimDisk, segment: u64) -> Result<Queue, crate::Error> {
    FileQueue::open_within(disk.clone(), &settings(1000, u32::MAX), limits(segment))
}

impl Lives {
    fn new(seed: u64) -> Lives {
        let rng = Rng::new(seed);
        let pages = seed.is_multiple_of(4);
        let disk = SimDisk::in_blocks(if pages { Block::Page } else { Block::Sector });
        Lives {
            disk,
            pages,
            rng,
            known: BTreeMap::new(),
            held: Vec::new(),
            log: Vec::new(),
            seen: Seen::default(),
        }
    }

    fn fair_weather(&self) {
        self.disk.fill(u64::MAX);
        self.disk.open_at_most(usize::MAX);
        self.disk.fail_after(u64::MAX, Fault::Full);
        self.disk.crash_after(u64::MAX);
    }

    fn open(&self) -> Result<Queue, crate::Error> {
        open_on(&self.disk, if self.log.len().is_multiple_of(2) { 4 << 10 } else { 16 << 10 })
    }

    /// Everything that is there is what is known.
    fn check(&mut self, session: &mut FileSession<SimDisk>) {
        let deliveries = session.receive(10_000, LEASE).expect("works");
        let letters = session.dead_letters(10_000).expect("works");
        self.held = deliveries.iter().map(|delivery| (token(&delivery.body), delivery.receipt)).collect();
        let there: Vec<u64> = self
            .held
            .iter()
            .map(|(token, _)| *token)
            .chain(letters.iter().map(|letter| token(&letter.body)))
            .collect();
        let once: BTreeSet<u64> = there.iter().copied().collect();
        assert_eq!(there.len(), once.len(), "some are there twice: {there:?}\n{}", self.log.join("\n"));
        for token in &once {
            assert!(self.known.contains_key(token), "{token} was invented");
        }
        for (token, known) in &mut self.known {
            let is = once.contains(token);
            let allowed = match known {
                Known::There => is,
                Known::Perhaps => true,
                Known::Gone => !is,
            };
            assert!(allowed, "message {token} is {known:?}, and there: {is}\n{}", self.log.join("\n"));
            *known = if is { Known::There } else { Known::Gone };
        }
    }

    /// A copy with a flipped bit is refused, or something says that it is damaged, or nothing is missing; and a look says
    /// beforehand whether it opens.
    fn rot(&mut self) {
        let files = image(&self.disk);
        let segments: Vec<&(String, Vec<u8>)> =
            files.iter().filter(|(name, _)| name.starts_with("log-")).collect();
        let (name, bytes) = segments[self.rng.below(segments.len())];
        let filled = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        let bit = self.rng.below(8 * (filled + 1)) as u64;
        let disk = disk_of(&files);
        disk.flip_bit(name, bit).expect("has that bit");
        let seen = look(&disk, Path::new("here")).expect("reads");
        let opened = open_on(&disk, 4 << 10);
        let said = |what: &str| format!("{what}, {name}, byte {}\n{seen}\n{}", bit / 8, self.log.join("\n"));
        assert_eq!(
            opened.is_ok(),
            seen.found.is_some(),
            "{} {:?}",
            said("a look says something else"),
            opened.err()
        );
        let queue = match opened {
            Ok(queue) => queue,
            Err(crate::Error::Corrupt { .. }) => {
                salvage_storage(&disk, &settings(1000, u32::MAX), limits(4 << 10).sizes)
                    .expect("saves the rest");
                open_on(&disk, 4 << 10).expect("is salvaged")
            }
            Err(crate::Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::Unsupported => {
                return;
            }
            Err(other) => panic!("{}: {other}", said("neither")),
        };
        let mut session = queue.session().expect("opens");
        let (ready, dead) = (session.receive(10_000, LEASE), session.dead_letters(10_000));
        if seen.found.is_none() {
            let invented =
                ready.expect("is whole").iter().map(|d| token(&d.body)).find(|t| !self.known.contains_key(t));
            assert_eq!(invented, None, "{}", said("salvaged"));
            return;
        }
        let (Ok(ready), Ok(dead)) = (ready, dead) else { return };
        let there = ready.iter().map(|d| token(&d.body)).chain(dead.iter().map(|d| token(&d.body)));
        let there: BTreeSet<u64> = there.collect();
        for (token, known) in &self.known {
            assert_eq!(
                *known == Known::There,
                there.contains(token),
                "{}",
                said(&format!("message {token} is {known:?}"))
            );
        }
    }

    fn weather(&mut self) {
        let used: u64 = image_len(&self.disk);
        match self.rng.below(14) {
            0 => self.disk.fill(used + self.rng.below(20_000) as u64),
            1 => self.disk.fill(used + self.rng.below(2_000) as u64),
            2 | 3 => self.disk.fill(u64::MAX),
            4 => self.disk.open_at_most(self.rng.below(5)),
            5 | 6 => self.disk.open_at_most(usize::MAX),
            7 => {
                let faults = [Fault::Full, Fault::Io(FailSync::KeepPages), Fault::Io(FailSync::DropPages)];
                let many = if self.rng.below(3) == 0 { 3 } else { 1 };
                let fault = faults[self.rng.below(many)];
                self.disk.fail_after(self.rng.below(30) as u64, fault);
            }
            8 if self.rng.below(3) == 0 => self.disk.crash_after(self.rng.below(40) as u64),
            _ => {}
        }
    }

    fn step(&mut self, queue: &Queue, session: &mut FileSession<SimDisk>) {
        self.weather();
        match self.rng.below(10) {
            0..=3 => {
                let first = self.known.len() as u64;
                let many = 1 + self.rng.below(3) as u64;
                let len = [10, 200, 430, 700, 3000, 9000][self.rng.below(6)];
                let messages: Vec<Message> =
                    (first..first + many).map(|token| Message::new(body(token, len))).collect();
                for (token, sent) in (first..).zip(session.send(&messages)) {
                    let known = match &sent {
                        Sent::Confirmed(_) => Known::There,
                        Sent::InDoubt(_) => Known::Perhaps,
                        Sent::Refused(_) => Known::Gone,
                    };
                    self.log.push(format!("{token} of {len} is {sent:?}"));
                    self.known.insert(token, known);
                }
            }
            4 | 5 => {
                let max = 1 + self.rng.below(5);
                if let Ok(deliveries) = session.receive(max, LEASE) {
                    self.held
                        .extend(deliveries.iter().map(|delivery| (token(&delivery.body), delivery.receipt)));
                }
            }
            6..=8 => {
                let many = (1 + self.rng.below(4) * self.rng.below(6)).min(self.held.len());
                let from = self.rng.below(self.held.len() - many + 1);
                let settled: Vec<(u64, Receipt)> = self.held.drain(from..from + many).collect();
                let how = [Settle::Ack, Settle::Ack, Settle::Ack, nack(Duration::ZERO), Settle::Reject]
                    [self.rng.below(5)];
                let settlements: Vec<Settlement> =
                    settled.iter().map(|(_, receipt)| Settlement { receipt: *receipt, how }).collect();
                for ((token, _), settled) in settled.iter().zip(session.settle(&settlements)) {
                    self.log.push(format!("{token} {how:?} is {settled:?}"));
                    let known = match (how, settled) {
                        (Settle::Ack, Settled::Done) => Known::Gone,
                        (Settle::Ack, Settled::InDoubt(crate::Error::Io { .. })) => Known::There,
                        (Settle::Ack, Settled::InDoubt(_)) => Known::Perhaps,
                        _ => continue,
                    };
                    self.known.insert(*token, known);
                }
            }
            _ => queue.shared.witness(),
        }
    }

    fn crash(&mut self) {
        let crash = [Crash::Process, Crash::Power][self.rng.below(2)];
        self.log.push(format!("{crash:?}"));
        self.seen.crashes += 1;
        self.disk.crash(crash, self.rng.next());
    }

    fn live(&mut self) {
        // Sectors may be written as if they were longer, and not the other way round.
        let block = [Block::Sector, Block::Page][self.rng.below(2)];
        self.disk.say_blocks(if self.pages { Block::Page } else { block });
        if self.rng.below(2) == 0 {
            self.weather();
        }
        let queue = self.open().unwrap_or_else(|error| {
            self.log.push(format!("not opened: {error}"));
            if self.disk.stopped() || self.rng.below(2) == 0 {
                self.crash();
            }
            self.fair_weather();
            self.open().unwrap_or_else(|error| panic!("{error}\n{}", self.log.join("\n")))
        });
        self.fair_weather();
        let Ok(mut session) = queue.session() else { return };
        if !self.disk.stopped() {
            self.check(&mut session);
            queue.shared.witness();
            (0..2).for_each(|_| self.rot());
        }
        (0..self.rng.below(80)).for_each(|_| self.step(&queue, &mut session));
        let ends = self.rng.below(3) > 0;
        if ends {
            self.crash();
        }
        drop((session, queue));
        if !ends && (self.disk.stopped() || self.rng.below(2) == 0) {
            self.crash();
        }
        self.fair_weather();
        self.seen.lives += 1;
        self.seen.messages = self.known.len() as u64;
        if !self.disk.stopped() {
            self.seen.look(&self.disk);
        }
    }
}

fn image_len(disk: &SimDisk) -> u64 {
    let Ok(names) = disk.list() else { return 0 };
    names.iter().map(|name| disk.open(name).and_then(|file| file.len()).unwrap_or(0)).sum()
}

/// The seeds of those whose lives are not what is known of them.
fn odd(seeds: std::ops::Range<u64>, lies: bool) -> Vec<u64> {
    let lived = |seed: &u64| {
        let mut lives = Lives::new(*seed);
        lives.disk.lie_on_sync(lies);
        (0..8).for_each(|_| lives.live());
    };
    seeds.filter(|seed| catch_unwind(|| lived(seed)).is_err()).collect()
}

#[test]
fn nothing_known_is_lost_or_comes_back_in_any_weather() {
    assert_eq!(odd(0..200, false), []);
}

#[test]
fn a_disk_that_lies_is_caught_in_any_weather() {
    let caught = odd(0..20, true).len();
    assert!(caught > 10, "{caught}");
}

const SECONDS: &str = "STANCHION_WEATHER_SECONDS";
const SEED: &str = "STANCHION_WEATHER_SEED";

/// Long histories for as long as they are given:
/// `STANCHION_WEATHER_SECONDS=300 STANCHION_WEATHER_SEED=1 cargo test --release -p stanchion-queues --lib -- --ignored --nocapture
/// long_histories`.
#[test]
#[ignore = "takes as long as it is given: see .ci/long"]
fn nothing_known_is_lost_or_comes_back_in_long_histories() {
    let given = |name: &str, default: u64| {
        let number =
            |text: String| text.parse().unwrap_or_else(|_| panic!("{name} is {text}: give a number"));
        std::env::var(name).map_or(default, number)
    };
    let (seconds, first) = (given(SECONDS, 10), given(SEED, 1000));
    let (begun, mut seen, mut broken, mut histories) = (Instant::now(), Seen::default(), Vec::new(), 0);
    for seed in first.. {
        // Always one, so that it cannot pass by having done nothing.
        if histories > 0 && begun.elapsed() >= Duration::from_secs(seconds) {
            break;
        }
        let lived = catch_unwind(|| {
            let mut lives = Lives::new(seed);
            let many = 8 + lives.rng.below(93);
            (0..many).for_each(|_| lives.live());
            lives.seen
        });
        match lived {
            Ok(lived) => seen.add(&lived),
            Err(_) => broken.push(seed),
        }
        histories += 1;
    }
    let Seen { lives, crashes, messages, moved, segments, .. } = seen;
    let took = begun.elapsed().as_secs();
    println!(
        "{histories} histories from seed {first} in {took} s: {lives} lives, {crashes} crashes, {messages} messages, \
         {segments} segments, {moved} messages moved, {} broken",
        broken.len()
    );
    assert_eq!(broken, []);
    assert!(crashes > 0 && segments > lives && moved > 0, "these were about nothing");
}
