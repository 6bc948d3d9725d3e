//! Random histories, crashed at every call to the storage. What is known from the queue's answers must be
//! there after recovery, after a crash within recovery, and after going on and crashing again.

use std::collections::BTreeMap;
use std::io;
use std::thread;

use super::known::{Call, Fate, Held, Known, LIMIT, Outcome, token};
use super::*;
use crate::broker::{Crash, Delivery, Reason};
use crate::file::rng::Rng;
use crate::file::sim::SimFile;
use crate::file::storage::{Block, Storage};

const STEPS: usize = 30;

/// Why a history ended.
enum Stop {
    Crashed,
    Wrong(String),
}

struct Run<S: Storage> {
    disk: SimDisk,
    settings: Settings,
    queue: FileQueue<S>,
    sessions: Vec<FileSession<S>>,
    rng: Rng,
    known: Known,
    next: u64,
}

impl<S: Storage> Run<S> {
    /// The error of an operation is a crash if the machine stopped, and wrong otherwise.
    fn stop(&self, error: impl ToString) -> Stop {
        if self.disk.stopped() { Stop::Crashed } else { Stop::Wrong(error.to_string()) }
    }

    fn step(&mut self) -> Result<(), Stop> {
        let session = self.rng.below(2);
        match self.rng.below(13) {
            0..=2 => self.call(session, Run::draw_send),
            3..=5 => self.receive(session),
            6..=8 => self.call(session, Run::draw_settle),
            9 => self.expire(session),
            10 => self.lose(session),
            11 => self.redrive(session),
            _ => self.crowd(),
        }
    }

    fn draw_send(&mut self) -> Call {
        let tokens: Vec<u64> = (self.next..).take(1 + self.rng.below(3)).collect();
        self.next += tokens.len() as u64;
        let delay = if self.rng.below(4) == 0 { SECOND } else { Duration::ZERO };
        Call::Send { tokens, delay }
    }

    fn draw_settle(&mut self) -> Call {
        let many = self.known.held.len().min(1 + self.rng.below(2));
        let settled: Vec<Held> = self.known.held.drain(..many).collect();
        let how = match self.rng.below(4) {
            0 | 1 => Settle::Ack,
            2 => nack(SECOND * self.rng.below(2) as u32),
            _ => Settle::Reject,
        };
        Call::Settle { settled, how }
    }

    fn call(&mut self, session: usize, draw: fn(&mut Self) -> Call) -> Result<(), Stop> {
        let call = draw(self);
        let outcome = call.run(&mut self.sessions[session]);
        self.learn(call, outcome)
    }

    /// Several calls that share one commit.
    fn crowd(&mut self) -> Result<(), Stop> {
        // So that none of them finds anything to end first.
        self.sessions[0].depth().map_err(|e| self.stop(e))?;
        let calls: Vec<Call> = (0..2 + self.rng.below(3))
            .map(|_| if self.rng.below(2) == 0 { self.draw_send() } else { self.draw_settle() })
            .collect();
        let sessions: Result<Vec<_>, _> = calls.iter().map(|_| self.queue.session()).collect();
        let mut sessions = sessions.map_err(|e| self.stop(e))?;
        let queue = &self.queue;
        let outcomes: Vec<Outcome> = thread::scope(|scope| {
            queue.shared.hold();
            let mut running = Vec::new();
            for (call, session) in calls.iter().zip(&mut sessions) {
                let waiting = queue.shared.waiting();
                let caller = scope.spawn(move || call.run(session));
                while queue.shared.waiting() == waiting && !caller.is_finished() {
                    thread::yield_now();
                }
                running.push(caller);
            }
            queue.shared.release();
            running.into_iter().map(|call| call.join().expect("does not panic")).collect()
        });
        calls.into_iter().zip(outcomes).try_for_each(|(call, outcome)| self.learn(call, outcome))
    }

    fn learn(&mut self, call: Call, outcome: Outcome) -> Result<(), Stop> {
        match (call, outcome) {
            (Call::Send { tokens, .. }, Outcome::Sent(sent)) => self.learn_sent(tokens, sent),
            (Call::Settle { settled, how }, Outcome::Settled(outcomes)) => {
                self.learn_settled(settled, how, outcomes)
            }
            _ => unreachable!("a call is answered in kind"),
        }
    }

    fn learn_sent(&mut self, tokens: Vec<u64>, outcomes: Vec<Sent>) -> Result<(), Stop> {
        for (token, sent) in tokens.into_iter().zip(outcomes) {
            match sent {
                Sent::Confirmed(_) => self.known.becomes(token, Fate::Alive { ended: 0 }),
                Sent::Refused(why) if !self.disk.stopped() => return Err(Stop::Wrong(format!("{why:?}"))),
                Sent::Refused(_) => self.known.becomes(token, Fate::Absent),
                Sent::InDoubt(_) => {
                    self.known.becomes(token, Fate::Absent);
                    self.known.perhaps(token, Fate::Alive { ended: 0 });
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, session: usize, delivery: &Delivery) -> Result<u64, Stop> {
        let token = token(&delivery.body).map_err(Stop::Wrong)?;
        self.known.held.push(Held { token, receipt: delivery.receipt, session });
        Ok(token)
    }

    fn hand_out(&mut self, session: usize, max: usize) -> Result<Vec<Delivery>, Stop> {
        self.sessions[session].receive(max, LEASE).map_err(|error| {
            self.known.perhaps_received();
            self.stop(error)
        })
    }

    fn receive(&mut self, session: usize) -> Result<(), Stop> {
        let max = 1 + self.rng.below(3);
        for delivery in self.hand_out(session, max)? {
            let token = self.take(session, &delivery)?;
            let (known, attempt) = (self.known.fate(token), delivery.attempt);
            if known != (Fate::Alive { ended: attempt - 1 }) {
                return Err(Stop::Wrong(format!("{token} is {known:?} and delivered as attempt {attempt}")));
            }
        }
        Ok(())
    }

    fn learn_settled(&mut self, settled: Vec<Held>, how: Settle, outcomes: Vec<Settled>) -> Result<(), Stop> {
        for (held, outcome) in settled.into_iter().zip(outcomes) {
            let before = self.known.fate(held.token);
            let after = match (how, before) {
                (Settle::Ack, _) => Fate::Absent,
                (Settle::Nack { .. }, _) => before.failed(),
                (Settle::Reject, Fate::Alive { ended }) => {
                    Fate::Dead { reason: Reason::Rejected, attempts: ended + 1 }
                }
                (Settle::Reject, other) => other,
            };
            match outcome {
                Settled::Done => self.known.becomes(held.token, after),
                Settled::Stale => return Err(Stop::Wrong(format!("{} is stale", held.token))),
                Settled::InDoubt(error) => {
                    self.known.perhaps(held.token, after);
                    self.known.held.push(held);
                    if !self.disk.stopped() {
                        return Err(Stop::Wrong(error.to_string()));
                    }
                }
            }
        }
        Ok(())
    }

    /// Ends the attempts of all that `ended` says: certainly, if the machine still runs.
    fn fail(&mut self, ended: impl Fn(&Held) -> bool) {
        let (mut ended, kept): (Vec<Held>, Vec<Held>) =
            std::mem::take(&mut self.known.held).into_iter().partition(ended);
        self.known.held = kept;
        ended.sort_by_key(|held| held.token);
        for held in ended {
            let failed = self.known.fate(held.token).failed();
            if self.disk.stopped() {
                self.known.perhaps(held.token, failed);
            } else {
                self.known.becomes(held.token, failed);
            }
        }
    }

    fn expire(&mut self, session: usize) -> Result<(), Stop> {
        self.settings.clock.advance(LEASE);
        let depth = self.sessions[session].depth();
        self.fail(|_| true);
        depth.map_err(|e| self.stop(e))?;
        Ok(())
    }

    fn lose(&mut self, session: usize) -> Result<(), Stop> {
        drop(self.sessions.remove(session));
        for held in &mut self.known.held {
            // The other one is the only one now, and will be the first.
            held.session = usize::from(held.session == session);
        }
        self.fail(|held| held.session == 1);
        self.sessions.push(self.queue.session().map_err(|e| self.stop(e))?);
        Ok(())
    }

    fn redrive(&mut self, session: usize) -> Result<(), Stop> {
        let oldest: Vec<u64> = self.known.dead.iter().copied().take(2).collect();
        match self.sessions[session].redrive(2) {
            Ok(many) if many == oldest.len() => {
                for token in oldest {
                    self.known.becomes(token, Fate::Alive { ended: 0 });
                }
                Ok(())
            }
            Ok(many) => Err(Stop::Wrong(format!("{many} redriven of {oldest:?}"))),
            Err(error) => {
                for token in oldest {
                    self.known.perhaps(token, Fate::Alive { ended: 0 });
                }
                Err(self.stop(error))
            }
        }
    }

    /// Compares what is there with what may be found. Afterwards all of it is held by the first session.
    fn check(&mut self) -> Result<(), Stop> {
        self.settings.clock.advance(SECOND);
        let mut found = BTreeMap::new();
        let mut put = |token, fate| match found.insert(token, fate) {
            Some(other) => Err(Stop::Wrong(format!("{token} is there twice: {fate:?} and {other:?}"))),
            None => Ok(()),
        };
        let letters = self.sessions[0].dead_letters(1000).map_err(|e| self.stop(e))?;
        let mut dead = Vec::new();
        for letter in letters {
            let token = token(&letter.body).map_err(Stop::Wrong)?;
            dead.push(token);
            put(token, Fate::Dead { reason: letter.reason, attempts: letter.attempts })?;
        }
        let deliveries = self.hand_out(0, 1000)?;
        if !deliveries.is_sorted_by_key(|delivery| delivery.id) {
            return Err(Stop::Wrong("not in order".to_owned()));
        }
        for delivery in deliveries {
            let token = self.take(0, &delivery)?;
            put(token, Fate::Alive { ended: delivery.attempt - 1 })?;
        }
        for (token, fates) in &mut self.known.fates {
            let fate = found.remove(token).unwrap_or(Fate::Absent);
            if !fates.contains(&fate) {
                return Err(Stop::Wrong(format!("{token} is {fate:?} and should be of {fates:?}")));
            }
            *fates = vec![fate];
        }
        self.known.dead = dead;
        found.is_empty().then_some(()).ok_or_else(|| Stop::Wrong(format!("never sent: {found:?}")))
    }
}

/// What a history runs on.
struct World<S> {
    disk: fn() -> SimDisk,
    wrap: fn(SimDisk) -> S,
    /// How long segments are.
    segment: u64,
}

const SECTORS: World<SimDisk> = World { disk: SimDisk::new, wrap: |disk| disk, segment: 4 << 10 };
/// A disk of longer sectors, or a system that writes whole pages.
const PAGES: World<SimDisk> =
    World { disk: || SimDisk::in_blocks(Block::Page), segment: 32 << 10, ..SECTORS };

/// One history and where and how it is crashed.
#[derive(Clone, Copy)]
struct Trial {
    script: u64,
    /// Calls before the crash.
    calls: u64,
    crash: Crash,
    seed: u64,
}

/// Runs one trial; `Ok(false)`: the history ended before the crash.
fn trial<S: Storage>(trial: Trial, world: &World<S>) -> Result<bool, String> {
    let settings = settings(1000, LIMIT);
    let mut disk = (world.disk)();
    disk.crash_after(trial.calls);
    let wrap = world.wrap;
    let open = |disk: &SimDisk| FileQueue::open_within(wrap(disk.clone()), &settings, limits(world.segment));
    let sessions = |queue: &FileQueue<S>| -> Result<Vec<FileSession<S>>, String> {
        (0..2).map(|_| queue.session().map_err(|e| e.to_string())).collect()
    };
    let mut rng = Rng::new(trial.script);
    let (mut known, mut next) = (Known::default(), 0);

    // Three lives: the history, which is crashed at the chosen call; more of it, crashed after recovery; and
    // one that only looks.
    let mut stopped = false;
    for life in 0..3 {
        let queue = match open(&disk) {
            Ok(queue) => queue,
            Err(_) if disk.stopped() && life == 0 => {
                // The history was crashed before it began.
                stopped = true;
                disk.crash(trial.crash, trial.seed);
                continue;
            }
            Err(_) if disk.stopped() => {
                disk.crash(trial.crash, !trial.seed);
                open(&disk).map_err(|e| format!("recovers after a crash in recovery: {e}"))?
            }
            Err(error) => return Err(format!("life {life}: {error}")),
        };
        let mut run = Run {
            disk: disk.clone(),
            settings: settings.clone(),
            sessions: sessions(&queue)?,
            queue,
            rng,
            known,
            next,
        };
        let mut live = || {
            run.check()?;
            let steps = [STEPS, 4, 0][life];
            (0..steps).try_for_each(|_| run.step())
        };
        match live() {
            Ok(()) => {}
            Err(Stop::Crashed) => stopped = true,
            Err(Stop::Wrong(what)) => return Err(format!("life {life}: {what}")),
        }
        // A commit may have succeeded and the rewriting after it stopped.
        stopped |= disk.stopped();
        let crash = if life == 0 { trial.crash } else { Crash::Power };
        disk.crash(crash, trial.seed);
        if life == 0 {
            // Crashes some of the recoveries, at each of their calls.
            disk.crash_after(trial.seed % 12);
        }
        run.known.crash();
        (rng, known, next) = (run.rng, run.known, run.next);
        drop((run.sessions, run.queue));
    }
    Ok(stopped)
}

/// Crashes a history at each of its calls, in several ways; how many trials there were and what went wrong.
fn enumerate<S: Storage>(script: u64, world: &World<S>) -> (u64, Vec<String>) {
    let (mut trials, mut wrong) = (0, Vec::new());
    for calls in 0.. {
        let mut reached = false;
        for seed in 0..6 {
            let crash = if seed == 0 { Crash::Process } else { Crash::Power };
            let seed = seed + 31 * calls + 1009 * script;
            trials += 1;
            match trial(Trial { script, calls, crash, seed }, world) {
                Ok(stopped) => reached |= stopped,
                Err(what) => {
                    reached = true;
                    wrong.push(format!("script {script}, {calls} calls, {crash:?}, seed {seed}: {what}"));
                }
            }
        }
        if !reached || wrong.len() > 20 {
            break;
        }
    }
    (trials, wrong)
}

#[test]
fn nothing_known_is_lost_wherever_it_crashes() {
    let mut total = 0;
    for script in 0..12 {
        let (trials, wrong) = enumerate(script, &SECTORS);
        assert!(wrong.is_empty(), "{wrong:#?}");
        total += trials;
    }
    println!("{total} trials");
    assert!(total > 3000, "{total} trials are not all crash points");
}

#[test]
fn nothing_known_is_lost_where_whole_pages_are_written() {
    let mut total = 0;
    for script in 0..12 {
        let (trials, wrong) = enumerate(script, &PAGES);
        assert!(wrong.is_empty(), "{wrong:#?}");
        total += trials;
    }
    println!("{total} trials");
    assert!(total > 3000, "{total} trials are not all crash points");
}

#[test]
fn commits_that_share_a_page_are_caught() {
    let disk = || {
        let disk = SimDisk::in_blocks(Block::Page);
        disk.say_blocks(Block::Sector);
        disk
    };
    let caught = (0..6).filter(|script| !enumerate(*script, &World { disk, ..SECTORS }).1.is_empty()).count();
    assert_eq!(caught, 6);
}

#[test]
fn a_disk_that_lies_is_caught() {
    let disk = || {
        let disk = SimDisk::new();
        disk.lie_on_sync(true);
        disk
    };
    let caught = (0..4).filter(|script| !enumerate(*script, &World { disk, ..SECTORS }).1.is_empty()).count();
    assert_eq!(caught, 4);
}

/// Never syncs the directory.
#[derive(Clone, Debug)]
struct NamesAreNotSynced(SimDisk);

impl Storage for NamesAreNotSynced {
    type File = SimFile;

    fn create(&self, name: &str) -> io::Result<SimFile> {
        self.0.create(name)
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        self.0.open(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn names_that_are_not_synced_are_caught() {
    let world = World { disk: SECTORS.disk, wrap: NamesAreNotSynced, segment: SECTORS.segment };
    let caught = (0..4).filter(|script| !enumerate(*script, &world).1.is_empty()).count();
    assert_eq!(caught, 4);
}
