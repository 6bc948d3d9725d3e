//! A durable broker in a child process that is killed with SIGKILL at random moments, again and again on the
//! same directory. The child tells its parent before each call what it is about to ask, and after it what
//! came of it; so the parent knows what was confirmed, whatever the child did last.
//!
//! A killed process leaves the operating system's cache behind: this engine shows that a queue survives the
//! death of its process. What survives a power failure is shown on the simulated disk.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stanchion_queues::{Broker, Clock, Crash, Delivery, Error, Message, Settings, Settle};

use crate::dice::Dice;
use crate::engines::budget::{Budget, EnvError};
use crate::engines::runs::judge_runs;
use crate::engines::watchdog::{self, Call, Stuck, Wait, calling};
use crate::finding::Finding;
use crate::history::{Actor, Event, HARNESS, Handle, History, Token, What};
use crate::invariant::Invariant;
use crate::payload;
use crate::recording::{Recorder, Sink, Ticks};
use crate::verdict::Counterexample;

/// The environment variable that tells a process to be a child; its value is a [`Life`] as JSON.
pub const CHILD: &str = "STANCHION_CHILD";

/// Long enough that no lease runs out while a child lives, for brokers whose leases end with a crash.
const LONG_LEASE: Duration = Duration::from_secs(600);
/// Short enough to wait for, for brokers that keep leases across a crash.
const SHORT_LEASE: Duration = Duration::from_millis(200);
/// A child that nobody kills stops by itself.
const MOST_STEPS: u32 = 5_000;

/// How a Rust process ends that panicked.
const PANICKED: i32 = 101;

/// What a child is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Life {
    /// Which queue of the suite to open.
    pub queue: String,
    /// In which directory.
    pub dir: String,
    /// Decides what it does.
    pub seed: u64,
    /// The first tick, actor and token that are free.
    pub tick: u64,
    /// See `tick`.
    pub actor: u32,
    /// See `tick`.
    pub token: u64,
}

/// One line from a child.
#[derive(Debug, Serialize, Deserialize)]
enum Line {
    Called(Vec<Event>),
    Returned(Vec<Event>),
}

struct Lines;

impl Lines {
    /// A child whose parent is gone has nobody to tell and nothing to live for.
    fn say(line: &Line) {
        let told = serde_json::to_string(line)
            .map_err(std::io::Error::from)
            .and_then(|text| writeln!(std::io::stdout().lock(), "{text}"));
        if told.is_err() {
            std::process::exit(1);
        }
    }
}

impl Sink for Lines {
    fn called(&mut self, pending: &[Event]) {
        Lines::say(&Line::Called(pending.to_vec()));
    }

    fn returned(&mut self, events: Vec<Event>) {
        Lines::say(&Line::Returned(events));
    }
}

fn settings() -> Settings {
    Settings { capacity: 64, deliveries_allowed: 4, clock: Clock::system(), seed: 0 }
}

/// What a child does until it is killed. Returns after some thousand steps if nobody does.
pub fn live<B: Broker>(life: &Life, open: &dyn Fn(&Path, &Settings) -> Result<B, Error>) {
    let settings = settings();
    let mut actor = Actor(life.actor);
    let ticks = Ticks::across_processes(life.tick);
    let mut recorder = Recorder::new(ticks, settings.clock.clone(), actor, Lines, payload::decode);
    let broker = match open(Path::new(&life.dir), &settings) {
        Ok(broker) => broker,
        Err(error) => {
            recorder.note(HARNESS, What::Booted { error: Some(error.to_string()) });
            return;
        }
    };
    recorder.note(HARNESS, What::Booted { error: None });
    let Ok(mut session) = broker.session() else { return };
    recorder.note(actor, What::Opened);
    let lease = lease(&broker);
    let mut dice = Dice::new(life.seed);
    let mut token = life.token;
    let mut held: Vec<Delivery> = Vec::new();
    for _ in 0..MOST_STEPS {
        match dice.below(100) {
            0..35 => {
                let batch: Vec<(Token, Message)> = (0..=dice.below(3))
                    .map(|_| {
                        token += 1;
                        let size = 16 + dice.below(600) as usize;
                        (Token(token), Message::new(payload::encode(Token(token), size)))
                    })
                    .collect();
                recorder.send(&mut session, &batch);
            }
            35..60 => {
                let max = 1 + dice.below(3) as usize;
                held.extend(recorder.receive(&mut session, max, lease).unwrap_or_default());
            }
            60..90 => {
                if !held.is_empty() {
                    let count = 1 + dice.below(2).min(held.len() as u64 - 1);
                    let batch: Vec<_> = held
                        .drain(..count as usize)
                        .map(|delivery| {
                            let how = match dice.below(10) {
                                0..6 => Settle::Ack,
                                6..9 => Settle::Nack { delay: Duration::ZERO },
                                _ => Settle::Reject,
                            };
                            (delivery.receipt, how)
                        })
                        .collect();
                    recorder.settle(&mut session, &batch);
                }
            }
            90..94 => {
                // A refusal to answer is in the history; there is nothing else to do about it.
                let _ = recorder.redrive(&mut session, 1 + dice.below(3) as usize);
            }
            94..98 => {
                let _ = recorder.browse(&mut session, usize::MAX);
            }
            _ => {
                drop(session);
                held.clear();
                recorder.note(actor, What::Lost);
                actor = Actor(actor.0 + 1);
                recorder.become_actor(actor);
                match broker.session() {
                    Ok(next) => session = next,
                    Err(_) => return,
                }
                recorder.note(actor, What::Opened);
            }
        }
    }
}

fn lease(broker: &impl Broker) -> Duration {
    if broker.contract().leases.end_with_crash { LONG_LEASE } else { SHORT_LEASE }
}

/// The life that this process is to lead, if it is a child.
///
/// # Errors
/// Somebody else set the variable.
pub fn life() -> Result<Option<Life>, EnvError> {
    let Some(told) = std::env::var_os(CHILD) else { return Ok(None) };
    let told = told.to_string_lossy().into_owned();
    let remedy = "unset it: the harness sets it for its child processes";
    serde_json::from_str(&told).map(Some).map_err(|_| EnvError::invalid(CHILD.to_owned(), told, remedy))
}

/// How many children are killed in one run.
const LIVES: u32 = 4;
/// The name of this engine.
pub const ENGINE: &str = "child process";

/// How many plans of another engine one run here is worth.
const CASES_PER_RUN: u64 = 256;

/// Runs as much as the budget allows and judges every history.
pub fn check<B: Broker>(
    queue: &str,
    open: &dyn Fn(&Path, &Settings) -> Result<B, Error>,
    budget: &Budget,
) -> Vec<Finding> {
    let cases = budget.cases.div_ceil(CASES_PER_RUN);
    judge_runs(queue, ENGINE, budget, cases, |seed| run(queue, open, LIVES, seed, budget.patience))
}

/// Why a run gave no history.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// The child could not be started or read.
    #[error("the child process could not be run: {0}. It is this program, started again; is it still there?")]
    Io(#[from] std::io::Error),
    /// It was not killed, so nothing was put to the test.
    #[error(
        "the child process had ended by itself before it was killed, and an end in good order shows nothing of a crash: does a queue end its process?"
    )]
    NotKilled,
    /// The child wrote something that is not a line of ours.
    #[error(
        "the child process said {line:?}, which is not a line of a history ({source}): does a queue print to standard output?"
    )]
    Line {
        /// What it said.
        line: String,
        /// Why it is not one.
        source: serde_json::Error,
    },
}

/// Runs `lives` children of this program one after another on a fresh directory, kills each at a random
/// moment, then opens the directory itself and drains it. A child that says nothing for as long as `patience` is
/// the last one; with the history comes what it broke.
///
/// # Errors
/// The child could not be run. A queue that does not open again is not an error but a broken promise, and
/// stands in the history.
pub fn run<B: Broker>(
    queue: &str,
    open: &dyn Fn(&Path, &Settings) -> Result<B, Error>,
    lives: u32,
    seed: u64,
    patience: Duration,
) -> Result<(History, Option<Counterexample>), ChildError> {
    let dir = tempfile::tempdir()?;
    let mut dice = Dice::new(seed);
    let mut events: Vec<Event> = Vec::new();
    let mut stuck = None;
    for life in 0..lives {
        let life = Life {
            queue: queue.to_owned(),
            dir: dir.path().display().to_string(),
            seed: dice.next(),
            tick: next_tick(&events),
            actor: 1 + life * MOST_STEPS,
            token: u64::from(life) * 10 * u64::from(MOST_STEPS),
        };
        // Most kills fall early, where a queue is still recovering, some late.
        let lines = 1 << dice.below(9);
        let most = lines + dice.below(lines);
        stuck = one_life(&life, most, patience, &mut events)?;
        if stuck.is_some() {
            break;
        }
    }

    let settings = settings();
    let ticks = Ticks::across_processes(next_tick(&events));
    let actor = Actor(1 + lives * MOST_STEPS);
    let mut recorder = Recorder::new(ticks, settings.clock.clone(), actor, events, payload::decode);
    let contract = match calling(Call::Open, || open(dir.path(), &settings)) {
        Ok(broker) => {
            recorder.note(HARNESS, What::Booted { error: None });
            drain(&broker, actor, &mut recorder);
            let contract = broker.contract();
            if contract.sole_owner {
                let life = Life {
                    queue: queue.to_owned(),
                    dir: dir.path().display().to_string(),
                    seed: dice.next(),
                    tick: next_tick(&recorder.sink),
                    actor: actor.0 + 1,
                    token: u64::from(lives) * 10 * u64::from(MOST_STEPS),
                };
                recorder.note(HARNESS, What::Intruded { error: intrude(&life, patience)? });
            }
            contract
        }
        Err(error) => {
            recorder.note(HARNESS, What::Booted { error: Some(error.to_string()) });
            stanchion_queues::Contract::durable()
        }
    };
    let mut events = recorder.sink;
    number_receipts(&mut events);
    Ok((History { contract, events }, stuck))
}

/// Gives the receipts numbers from 1 in order of first appearance, as in other histories. (No process knows
/// what the ones before it saw, so they name receipts by value.)
fn number_receipts(events: &mut [Event]) {
    let mut numbers = HashMap::new();
    for event in events {
        if let What::Deliver { handle, .. } | What::Settle { handle, .. } | What::Extend { handle, .. } =
            &mut event.what
        {
            let next = Handle(numbers.len() as u64 + 1);
            *handle = *numbers.entry(*handle).or_insert(next);
        }
    }
}

fn next_tick(events: &[Event]) -> u64 {
    events.iter().map(|event| event.ret.max(event.call) + 1).max().unwrap_or(0)
}

/// Starts a child, kills it after `most` lines or when it says nothing for too long, and appends what it said
/// and the crash.
fn one_life(
    life: &Life,
    most: u64,
    patience: Duration,
    events: &mut Vec<Event>,
) -> Result<Option<Counterexample>, ChildError> {
    let mut child = start(life)?;
    let lines = lines_of(&mut child);
    let mut pending: Vec<Event> = Vec::new();
    let mut said = 0;
    let mut has_begun = false;
    let mut is_stuck = false;
    loop {
        let line = match watchdog::wait(&lines, patience, || false) {
            Wait::Came(line) => line?,
            Wait::Ended => break,
            Wait::Still => {
                is_stuck = true;
                child.kill()?;
                break;
            }
        };
        // A killed child may leave half a line.
        match serde_json::from_slice(&line) {
            Ok(Line::Called(open)) => pending = open,
            Ok(Line::Returned(returned)) => {
                pending.clear();
                has_begun |= returned.iter().any(|event| event.what == What::Opened);
                events.extend(returned);
            }
            Err(_) if said >= most => break,
            Err(source) => {
                child.kill()?;
                child.wait()?;
                return Err(ChildError::Line { line: String::from_utf8_lossy(&line).into_owned(), source });
            }
        }
        said += 1;
        if said == most {
            child.kill()?;
        }
    }
    let status = child.wait()?;
    // One that could not open the queue has said so. A panic is a story of its own.
    let ended = status.code().is_some_and(|code| code != PANICKED);
    if ended && (has_begun || said == 0) {
        return Err(ChildError::NotKilled);
    }
    // What was asked and not answered may have been done, but not after the kill.
    let now = settings().clock.now();
    let crash = next_tick(events).max(pending.iter().map(|event| event.call + 1).max().unwrap_or(0)) + 1;
    let stuck = is_stuck.then(|| never_returned(&pending, patience, events.len()));
    for mut event in pending {
        event.ret = crash - 1;
        event.until = now;
        events.push(event);
    }
    events.push(Event {
        call: crash,
        ret: crash + 1,
        at: now,
        until: now,
        actor: HARNESS,
        op: crash as u32,
        what: What::Crashed { crash: Crash::Process },
    });
    if status.code() == Some(PANICKED) {
        let error = Some("the process panicked instead of being killed".to_owned());
        let what = What::Booted { error };
        events.push(Event {
            call: crash + 2,
            ret: crash + 3,
            at: now,
            until: now,
            actor: HARNESS,
            op: 0,
            what,
        });
    }
    Ok(stuck)
}

fn start(life: &Life) -> Result<Child, ChildError> {
    let told = serde_json::to_string(life).map_err(std::io::Error::from)?;
    let child = Command::new(std::env::current_exe()?)
        .env(CHILD, told)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // What is typed at a terminal is not meant for it.
        .process_group(0)
        .spawn()?;
    Ok(child)
}

/// Lets a child open what this process has open; why it could not.
fn intrude(life: &Life, patience: Duration) -> Result<Option<String>, ChildError> {
    let mut child = start(life)?;
    let first = watchdog::wait(&lines_of(&mut child), patience, || false);
    child.kill()?;
    child.wait()?;
    let line = match first {
        Wait::Came(line) => line?,
        Wait::Ended => return Ok(Some("it ended without a word".into())),
        Wait::Still => return Ok(Some("it waits".into())),
    };
    let said = serde_json::from_slice(&line)
        .map_err(|source| ChildError::Line { line: String::from_utf8_lossy(&line).into_owned(), source })?;
    match said {
        Line::Returned(events) => Ok(events.into_iter().find_map(|event| match event.what {
            What::Booted { error } => error,
            _ => None,
        })),
        Line::Called(_) => Ok(None),
    }
}

/// So many lines of a child may wait to be read, and then it waits itself: it cannot come to its end before the kill.
const AHEAD: usize = 16;

/// What a child says, line by line, read on a thread of its own so that one need not wait for ever.
fn lines_of(child: &mut Child) -> Receiver<std::io::Result<Vec<u8>>> {
    let (say, lines) = sync_channel(AHEAD);
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || {
            // Nobody listens any more to what a killed child left.
            let _ = BufReader::new(stdout).split(b'\n').try_for_each(|line| say.send(line));
        });
    }
    lines
}

/// The promise that a child broke which waited in a call, or between two, until it was killed. The pending
/// events are about to stand at index `at`.
fn never_returned(pending: &[Event], patience: Duration, at: usize) -> Counterexample {
    let call = match pending.first().map(|event| &event.what) {
        Some(What::Send { .. }) => Call::Send,
        Some(What::Receive { .. }) => Call::Receive,
        Some(What::Settle { .. }) => Call::Settle,
        Some(What::Extend { .. }) => Call::Extend,
        Some(What::Browse { .. }) => Call::DeadLetters,
        Some(What::Redrive { .. }) => Call::Redrive,
        Some(What::Depth { .. }) => Call::Depth,
        // The others do not wait for an answer, so nothing is pending: it opens the queue, or a session.
        _ => Call::Open,
    };
    let stuck = Stuck { calls: vec![call], step: 0, patience, breaks: Invariant::Li1, others_inside: false };
    // Without a pending event, the crash that follows is the violation.
    Counterexample { culprits: vec![at], ..stuck.counterexample() }
}

/// Receives and acks until nothing is left.
fn drain<B: Broker>(broker: &B, actor: Actor, recorder: &mut Recorder<Vec<Event>>) {
    let Ok(mut session) = calling(Call::Session, || broker.session()) else { return };
    recorder.note(actor, What::Opened);
    recorder.note(HARNESS, What::DrainBegan);
    let lease = lease(broker);
    let waits = if lease == SHORT_LEASE { 2 } else { 0 };
    let mut waited = 0;
    let mut rounds = recorder.sink.len() + 16;
    let quiet = loop {
        rounds -= 1;
        let deliveries = recorder.receive(&mut session, 16, lease).unwrap_or_default();
        let batch: Vec<_> = deliveries.iter().map(|delivery| (delivery.receipt, Settle::Ack)).collect();
        match (batch.is_empty(), waited < waits, rounds) {
            (false, _, 1..) => drop(recorder.settle(&mut session, &batch)),
            (true, true, 1..) => {
                // Not to synchronise: real time has to pass for a lease that was kept to run out.
                std::thread::sleep(SHORT_LEASE);
                waited += 1;
            }
            (empty, ..) => break empty,
        }
    };
    // Refusals stand in the history.
    let _ = recorder.depth(&mut session);
    let _ = recorder.browse(&mut session, usize::MAX);
    recorder.note(HARNESS, What::DrainEnded { quiet });
}
