//! A process with several threads that send and several that receive is killed, again and again on the same directory.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use super::*;
use crate::file::rng::Rng;

const DIRECTORY: &str = "STANCHION_TEST_KILLED_WITH_THREADS";
/// It says what was done before it was.
const BOASTS: &str = "STANCHION_TEST_KILLED_WHILE_BOASTING";
const LIVES: u64 = 12;
const THREADS: usize = 3;
/// What is said of a message, in this order.
const STEPS: [&str; 4] = ["sending", "sent", "acking", "acked"];

/// With segments so short that all that happens to them happens.
fn open(path: &Path) -> FileQueue<RealDir> {
    let settings = Settings { clock: Clock::system(), ..settings(100_000, u32::MAX) };
    let limits = limits(32 << 10);
    let mut queue =
        FileQueue::open_within(RealDir::open(path).expect("opens"), &settings, limits).expect("opens");
    queue.start_heartbeat().expect("starts");
    queue
}

fn say(mut what: &str, tokens: &[String]) {
    if std::env::var_os(BOASTS).is_some() {
        what = match what {
            "sending" => "sent",
            "acking" => "acked",
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

fn token(body: &[u8]) -> String {
    String::from_utf8_lossy(body).split(' ').next().unwrap_or_default().to_owned()
}

/// What was wrong after many kills.
fn killed(boasts: bool) -> Vec<String> {
    let temp = tempfile::tempdir().expect("a directory");
    let mut rng = Rng::new(7);
    // Of each token, the furthest that was said of it.
    let mut said: BTreeMap<String, usize> = BTreeMap::new();
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
            if let Some((what, tokens)) = line.split_once(' ')
                && let Some(step) = STEPS.iter().position(|step| *step == what)
            {
                for token in tokens.split(' ') {
                    let furthest = said.entry(token.to_owned()).or_default();
                    *furthest = step.max(*furthest);
                }
            }
            if kill_after == 0 {
                child.kill().expect("is running");
            }
            kill_after = kill_after.checked_sub(1).unwrap_or(usize::MAX);
        }
        assert!(!child.wait().expect("ends").success(), "it was killed");
    }
    let queue = open(temp.path());
    let left = queue.session().expect("opens").receive(100_000, LEASE).expect("works");
    let left: Vec<String> = left.iter().map(|delivery| token(&delivery.body)).collect();
    let there: BTreeSet<&String> = left.iter().collect();
    let of =
        |step: usize| said.iter().filter(move |(_, furthest)| **furthest == step).map(|(token, _)| token);
    let [sending, sent, acking, acked] = [0, 1, 2, 3].map(of);
    let (sent, acked): (Vec<&String>, Vec<&String>) = (sent.collect(), acked.collect());
    let doubt = sending.count() + acking.count();
    println!("{} acked, {} confirmed and there, {doubt} in doubt", acked.len(), sent.len());
    assert!(acked.len() > 100, "it did nothing");

    let lost = sent.iter().filter(|token| !there.contains(**token)).map(|token| format!("{token} is lost"));
    let revived =
        acked.iter().filter(|token| there.contains(**token)).map(|token| format!("{token} is back"));
    let invented = there.iter().filter(|token| !said.contains_key(**token));
    let wrong = lost.chain(revived).chain(invented.map(|token| format!("{token} was never sent")));
    let twice = (there.len() < left.len()).then(|| "some are there twice".to_owned());
    wrong.chain(twice).collect()
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
