//! A process with several threads that send and several that receive is killed, again and again on the same directory.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use super::*;
use crate::file::rng::Rng;
use crate::file::storage::Storage;

const DIRECTORY: &str = "STANCHION_TEST_KILLED_WITH_THREADS";
/// It says what was done before it was.
pub(super) const BOASTS: &str = "STANCHION_TEST_KILLED_WHILE_BOASTING";
const LIVES: u64 = 12;
const THREADS: usize = 3;
/// What is said of a message, in this order: of those that are settled, what came of it is one of two.
const STEPS: [&str; 6] = ["sending", "sent", "acking", "acked", "rejecting", "rejected"];

/// With segments so short that all that happens to them happens.
fn open(path: &Path) -> FileQueue<RealDir> {
    let settings = Settings { clock: Clock::system(), ..settings(100_000, u32::MAX) };
    let limits = limits(32 << 10);
    let mut queue =
        FileQueue::open_within(RealDir::open(path).expect("opens"), &settings, limits).expect("opens");
    queue.start_heartbeat().expect("starts");
    queue
}

pub(super) fn say(mut what: &str, tokens: &[String]) {
    if std::env::var_os(BOASTS).is_some() {
        what = match what {
            "sending" => "sent",
            "acking" => "acked",
            "rejecting" => "rejected",
            other => other,
        };
    }
    let mut out = std::io::stdout().lock();
    // Nobody listens any more: it is about to be killed.
    let _ = writeln!(out, "\n{what} {}", tokens.join(" ")).and_then(|()| out.flush());
}

/// Not a test of its own: the child of the next one. Only its end ends it.
#[test]
fn one_that_is_killed() {
    let Some(path) = std::env::var_os(DIRECTORY) else { return };
    let queue = open(Path::new(&path));
    let life = std::process::id();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let queue = &queue;
            scope.spawn(move || {
                let mut session = queue.session().expect("opens");
                for n in 0_u64.. {
                    let many = if n.is_multiple_of(5) { 4 } else { 1 };
                    let tokens: Vec<String> = (0..many).map(|m| format!("{life}.{thread}.{n}.{m}")).collect();
                    say("sending", &tokens);
                    let body =
                        |token: &String| Message::new(format!("{token} {}", "x".repeat(200)).into_bytes());
                    confirmed(&session.send(&tokens.iter().map(body).collect::<Vec<_>>()));
                    say("sent", &tokens);
                }
            });
            scope.spawn(move || {
                let mut session = queue.session().expect("opens");
                let mut rng = Rng::new(thread as u64);
                loop {
                    let held = session.receive(1 + rng.below(4), 60 * SECOND).expect("works");
                    let how = if rng.below(2) == 0 { nack(Duration::ZERO) } else { Settle::Ack };
                    let tokens: Vec<String> = held.iter().map(|delivery| token(&delivery.body)).collect();
                    if tokens.is_empty() {
                        thread::yield_now();
                        continue;
                    }
                    let acks = matches!(how, Settle::Ack);
                    if acks {
                        say("acking", &tokens);
                    }
                    let settlements: Vec<Settlement> =
                        held.iter().map(|delivery| Settlement { receipt: delivery.receipt, how }).collect();
                    assert!(session.settle(&settlements).iter().all(is_done));
                    if acks {
                        say("acked", &tokens);
                    }
                }
            });
        }
    });
}

pub(super) fn token(body: &[u8]) -> String {
    String::from_utf8_lossy(body).split(' ').next().unwrap_or_default().to_owned()
}

/// What was said of each message: the furthest.
#[derive(Clone, Debug, Default)]
pub(super) struct Said(BTreeMap<String, usize>);

impl Said {
    /// Hears a line; whether it is about messages.
    pub(super) fn hear(&mut self, line: &str) -> bool {
        let Some((what, tokens)) = line.split_once(' ') else { return false };
        let Some(step) = STEPS.iter().position(|step| *step == what) else { return false };
        for token in tokens.split(' ') {
            let furthest = self.0.entry(token.to_owned()).or_default();
            *furthest = step.max(*furthest);
        }
        true
    }

    pub(super) fn furthest(&self, what: &str) -> usize {
        self.0.values().filter(|step| STEPS[**step] == what).count()
    }

    /// What is wrong with a queue that holds these messages and these dead letters.
    pub(super) fn wrong(&self, ready: &[String], dead: &[String]) -> Vec<String> {
        let all: Vec<&String> = ready.iter().chain(dead).collect();
        let [there, died] = [ready, dead].map(|tokens| tokens.iter().collect::<BTreeSet<_>>());
        let is = |token| (there.contains(token), died.contains(token));
        let mut wrong: Vec<String> = self
            .0
            .iter()
            .filter_map(|(token, step)| {
                let allowed: &[(bool, bool)] = match STEPS[*step] {
                    "sending" | "acking" => &[(false, false), (true, false)],
                    "sent" => &[(true, false)],
                    "acked" => &[(false, false)],
                    "rejecting" => &[(true, false), (false, true)],
                    _ => &[(false, true)],
                };
                let is = is(token);
                let words = || format!("{token}: {}, and ready, dead: {is:?}", STEPS[*step]);
                (!allowed.contains(&is)).then(words)
            })
            .collect();
        let invented = all.iter().filter(|token| !self.0.contains_key(**token));
        wrong.extend(invented.map(|token| format!("{token} was never sent")));
        let once: BTreeSet<&&String> = all.iter().collect();
        wrong.extend((once.len() < all.len()).then(|| "some are there twice".to_owned()));
        wrong
    }
}

/// What is wrong with what this queue holds.
pub(super) fn wrong<S: Storage>(queue: &FileQueue<S>, said: &Said) -> Vec<String> {
    let mut session = queue.session().expect("opens");
    let ready = session.receive(100_000, LEASE).expect("works");
    let ready: Vec<String> = ready.iter().map(|delivery| token(&delivery.body)).collect();
    let dead = session.dead_letters(100_000).expect("works");
    let dead: Vec<String> = dead.iter().map(|letter| token(&letter.body)).collect();
    said.wrong(&ready, &dead)
}

/// What was wrong after many kills.
fn killed(boasts: bool) -> Vec<String> {
    let temp = tempfile::tempdir().expect("a directory");
    let mut rng = Rng::new(7);
    let mut said = Said::default();
    for _ in 0..LIVES {
        let mut child = Command::new(std::env::current_exe().expect("is a file"))
            .args(["--exact", "file::tests::killed::one_that_is_killed", "--nocapture"])
            .env(DIRECTORY, temp.path())
            .envs(boasts.then_some((BOASTS, "1")))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(child.stdout.take().expect("is piped")).lines();
        let mut kill_after = 200 + rng.below(2_000);
        // After the kill, what it had said is still read.
        while let Some(Ok(line)) = lines.next() {
            said.hear(&line);
            if kill_after == 0 {
                child.kill().expect("is running");
            }
            kill_after = kill_after.checked_sub(1).unwrap_or(usize::MAX);
        }
        assert!(!child.wait().expect("ends").success(), "it was killed");
    }
    let doubt = said.furthest("sending") + said.furthest("acking") + said.furthest("rejecting");
    let (acked, sent) = (said.furthest("acked"), said.furthest("sent"));
    println!("{acked} acked, {sent} confirmed and there, {doubt} in doubt");
    assert!(acked > 100, "it did nothing");
    wrong(&open(temp.path()), &said)
}

#[test]
fn what_threads_of_a_killed_process_were_told_is_there() {
    let wrong = killed(false);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_process_that_says_things_too_early_is_caught() {
    assert!(!killed(true).is_empty());
}
