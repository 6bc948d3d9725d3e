//! One run: begins the steps of a plan in their order, gives turns to those that are in flight, and crashes the
//! broker among them.

use std::cell::RefCell;
use std::mem;
use std::rc::Rc;

use stanchion_queues::sync::Point;
use stanchion_queues::{Broker, Clock, Contract, Crash, Host, Settings};

use super::plan::{CLIENTS, Interruption, Plan, Standing};
use super::stage::{Happened, Own, Pause, Stage, Task, Turn};
use super::way::Way;
use crate::engines::clients::{
    Client, Desk, Drain, Killed, Panicked, Place, Script, advance, advance_to, guard, millis, quietly,
    recorder,
};
use crate::engines::sequential::{Booted, NotStarted, Stop, boot, note_boot, start};
use crate::engines::watchdog::{self, Call, calling};
use crate::history::{HARNESS, History, What};
use crate::plan::Step;
use crate::recording::{Recorder, Ticks};

/// The names that tasks have in the schedule which are no steps: of the harness, and of the queue.
const HARNESS_TASK: u64 = 1 << 40;
const OWN_TASKS: u64 = 1 << 41;
/// After so many turns of its own tasks, and moves of the clock for them, nothing that clients wait for will come of it.
const IDLE: u32 = 1000;
/// After so many turns in which no call ended all go on in their order: whoever waits by looking again and again must
/// not have all the turns that his priority gives him.
const PATIENCE: u32 = 1000;
/// After so many nothing will come of it.
const ENDLESS: u32 = 100_000;

/// Runs a plan to its end, drains what is left and says what happened. The same plan against the same broker writes
/// the same history, byte for byte.
///
/// # Errors
/// The broker does not start before the first step.
pub fn run<H: Host>(make: impl Fn(&Settings) -> H, plan: &Plan, inside: bool) -> Result<History, NotStarted> {
    quietly(|| Run::begin(make, plan, inside).map(|run| run.finish(plan)))
}

type SessionOf<H> = <<H as Host>::Broker as Broker>::Session;
/// A client that has done its step, and whether the queue panicked in it.
type Done<S> = (Client<S>, Result<(), Panicked>);

struct Run<H: Host> {
    stage: Rc<Stage>,
    /// `None`: it is being started or crashed.
    host: Option<H>,
    broker: Option<Rc<H::Broker>>,
    desk: Rc<RefCell<Desk>>,
    harness: Recorder<Script>,
    ticks: Ticks,
    clock: Clock,
    slots: Vec<Slot<SessionOf<H>>>,
    /// What the queue does by itself.
    own: Vec<Started>,
    /// What the harness does that others have to wait for.
    mine: Option<Way>,
    killed: Killed,
    /// The step of the plan that begins next.
    next: usize,
    /// The queue panicked while the harness waited for it.
    panicked: Result<(), Panicked>,
    /// How many turns there were.
    turns: u64,
    /// How many of them, and moves of the clock, were for the queue's own tasks, since a client had one.
    idle: u32,
    /// How many turns there were since a call ended.
    barren: u32,
    /// How many priorities have fallen.
    fallen: u64,
}

/// A client: idle, or in flight.
struct Slot<S> {
    idle: Option<Client<S>>,
    busy: Option<Busy<S>>,
}

struct Busy<S> {
    task: Task<Done<S>>,
    /// Which step of the plan.
    index: usize,
    way: Way,
    /// Whether its storage has failed it.
    failed: bool,
    /// What kills the broker when it is its turn again.
    dies: Option<Crash>,
}

/// A task that the queue has started.
struct Started {
    number: usize,
    /// `None`: it has ended.
    task: Option<Own>,
    way: Way,
}

/// Who goes on.
#[derive(Clone, Copy)]
enum Whose {
    /// The next step begins.
    Begin,
    /// The client of a slot.
    Client(usize),
    /// A task of the queue.
    Own(usize),
}

impl<H: Host> Run<H> {
    fn begin(make: impl Fn(&Settings) -> H, plan: &Plan, inside: bool) -> Result<Run<H>, NotStarted> {
        let clock = Clock::manual();
        let ticks = Ticks::default();
        let killed = Killed::default();
        let slot = |_| {
            let mut client = Client::new(&ticks, &clock);
            client.live_until(&killed);
            Slot { idle: Some(client), busy: None }
        };
        // Until it has started, nothing is known of it.
        let desk = Desk::new(Contract::in_memory(), &Settings::new(), clock.clone())
            .unwrap_or_else(|why| unreachable!("{why}"));
        let mut run = Run {
            stage: Stage::new(inside, &clock),
            host: None,
            broker: None,
            desk: Rc::new(RefCell::new(desk)),
            harness: recorder(&ticks, &clock),
            slots: (0..CLIENTS).map(slot).collect(),
            own: Vec::new(),
            mine: None,
            ticks,
            clock: clock.clone(),
            killed,
            next: 0,
            panicked: Ok(()),
            turns: 0,
            idle: 0,
            barren: 0,
            fallen: 0,
        };
        let settings = plan.settings.with_clock(clock.watched());
        let (host, broker, desk) = start(make, &settings, &clock, |host| run.boot(plan, host))?;
        (run.host, run.broker) = (Some(host), Some(Rc::new(broker)));
        *run.desk.borrow_mut() = desk;
        run.harness.note(HARNESS, What::Booted { error: None });
        Ok(run)
    }

    fn finish(mut self, plan: &Plan) -> History {
        let mut ended = self.play(plan);
        if ended.is_ok() && self.desk.borrow().ails {
            ended = self.crash(plan, Crash::Process);
        }
        watchdog::step(plan.steps.len());
        let mut drainer = Client::new(&self.ticks, &self.clock);
        let mut harness = recorder(&self.ticks, &self.clock);
        if ended.is_err() {
            // What is in flight is not heard of any more.
            self.cut_off(plan);
        } else if let Some(broker) = self.broker.clone() {
            let (desk, redrive) = (Rc::clone(&self.desk), plan.redrive());
            let drained = self.attend(plan, move || {
                let place = Place { broker: &*broker, desk: &desk };
                let drained = Drain { client: &mut drainer, harness: &mut harness, place }.run(redrive);
                (drainer, harness, drained)
            });
            (drainer, harness) = (drained.0, drained.1);
            ended = drained.2.and(mem::replace(&mut self.panicked, Ok(()))).map_err(Stop::from);
        }
        let (mut clients, dropped) = self.drop_all(plan, Some(drainer));
        self.end_own(plan);
        if let Err(Stop::Panicked(message)) = ended.and(dropped.map_err(Stop::from)) {
            self.harness.note(HARNESS, What::Panicked { message });
        }
        let mut events: Vec<_> = clients.iter_mut().flat_map(Client::events).collect();
        events.extend(harness.sink.take());
        events.extend(self.harness.sink.take());
        events.sort_by_key(|event| event.call);
        History { contract: self.desk.borrow().contract.clone(), events }
    }

    fn boot(&mut self, plan: &Plan, mut host: H) -> (H, Booted<H::Broker>) {
        self.attend(plan, move || {
            let booted = boot(&mut host);
            (host, booted)
        })
    }

    /// Everybody is idle.
    fn drop_all(
        &mut self,
        plan: &Plan,
        drainer: Option<Client<SessionOf<H>>>,
    ) -> (Vec<Client<SessionOf<H>>>, Result<(), Panicked>) {
        let idle = self.slots.iter_mut().filter_map(|slot| slot.idle.take());
        let mut clients: Vec<_> = idle.chain(drainer).collect();
        let broker = self.broker.take();
        self.attend(plan, move || {
            let dropped = clients.iter_mut().map(Client::drop_session).fold(Ok(()), Result::and);
            let dropped = dropped.and(guard(|| calling(Call::Drop, || drop(broker))));
            (clients, dropped)
        })
    }

    fn play(&mut self, plan: &Plan) -> Result<(), Stop> {
        let mut begun = 0;
        loop {
            let is_over = self.next == plan.steps.len() && self.slots.iter().all(|slot| slot.busy.is_none());
            match self.whose(plan, begun).filter(|_| !is_over) {
                Some(Whose::Begin) => {
                    self.turns += 1;
                    begun = self.turns;
                    self.next += 1;
                    self.begin_step(plan, self.next - 1)?;
                }
                Some(whose) => self.turn(plan, whose)?,
                None => match self.slots.iter().position(|slot| slot.busy.is_some()) {
                    None => return Ok(()),
                    Some(_) if self.time_passes() => {}
                    Some(stuck) => drop(self.resume_client(plan, stuck, Task::doom)?),
                },
            }
        }
    }

    /// Whose turn it is; `None`: all wait. A step of a client that is in flight does not begin before that has ended.
    fn whose(&self, plan: &Plan, begun: u64) -> Option<Whose> {
        let is_idle = |slot: usize| self.slots[slot % CLIENTS].busy.is_none();
        let begins = plan.steps.get(self.next).filter(|next| next.step.session().is_none_or(is_idle));
        let begins = begins.map(|next| {
            let standing = Standing { id: next.id, point: 0, since: self.turns - begun, fell: None };
            (plan.schedule.priority(&standing), Whose::Begin)
        });
        let next = if self.next < plan.steps.len() { self.next } else { usize::MAX };
        let priority = |(way, whose): (&Way, _)| match self.barren {
            PATIENCE.. => (u64::MAX - way.stopped, whose),
            _ => (way.priority(&plan.schedule, self.turns, next), whose),
        };
        let all = begins.into_iter().chain(self.can_go_on().map(priority));
        all.max_by_key(|(priority, _)| *priority).map(|(_, whose)| whose)
    }

    /// Those who need not wait.
    fn can_go_on(&self) -> impl Iterator<Item = (&Way, Whose)> {
        let clients = self.slots.iter().enumerate();
        let clients = clients.filter_map(|(slot, of)| Some((&of.busy.as_ref()?.way, Whose::Client(slot))));
        let own = self.own.iter().enumerate().map(|(nth, own)| (&own.way, Whose::Own(nth)));
        let now = self.clock.now();
        clients.chain(own.filter(|_| self.idle < IDLE)).filter(move |(way, _)| way.can_go_on(now))
    }

    /// All who may wait for something.
    fn ways(&mut self) -> impl Iterator<Item = &mut Way> {
        let clients = self.slots.iter_mut().filter_map(|slot| Some(&mut slot.busy.as_mut()?.way));
        clients.chain(self.own.iter_mut().map(|own| &mut own.way)).chain(&mut self.mine)
    }

    /// Moves the clock to where somebody waits for it who waits for nothing else. `false`: nobody does.
    fn time_passes(&mut self) -> bool {
        let Some(until) = self.ways().filter_map(|way| way.until()).min() else { return false };
        self.idle += 1;
        let by = until.since(self.clock.now());
        if self.idle < IDLE {
            advance(&mut self.harness, &self.desk, by);
        }
        self.idle < IDLE
    }

    fn begin_step(&mut self, plan: &Plan, index: usize) -> Result<(), Stop> {
        watchdog::step(index);
        let step = &plan.steps[index].step;
        match *step {
            Step::Advance { ms } => advance(&mut self.harness, &self.desk, millis(ms)),
            Step::AdvanceTo { which, offset_ns } => {
                advance_to(&mut self.harness, &self.desk, which, offset_ns);
            }
            Step::Crash { kind } => self.crash(plan, kind)?,
            _ => {
                let Some(slot) = step.session().map(|slot| slot % CLIENTS) else { return Ok(()) };
                let (Some(mut client), Some(broker)) = (self.slots[slot].idle.take(), self.broker.clone())
                else {
                    return Ok(());
                };
                let (step, desk) = (step.clone(), Rc::clone(&self.desk));
                let task = Task::new(&self.stage, move || {
                    let result = client.perform(&step, Place { broker: &*broker, desk: &desk });
                    (client, result)
                });
                let way = Way::new(plan.steps[index].id, self.turns);
                self.slots[slot].busy = Some(Busy { task, index, way, failed: false, dies: None });
                self.turn(plan, Whose::Client(slot))?;
            }
        }
        Ok(())
    }

    /// Gives somebody a turn, or as many as he has if nobody else may go first; and what interrupts him has its way.
    fn turn(&mut self, plan: &Plan, whose: Whose) -> Result<(), Stop> {
        if let Whose::Client(slot) = whose
            && let Some(crash) = self.slots[slot].busy.as_ref().and_then(|busy| busy.dies)
        {
            return self.crash(plan, crash);
        }
        loop {
            self.turns += 1;
            let Some(Pause::At(at)) = self.resume(plan, whose)? else { return Ok(()) };
            let fallen = self.fallen + 1;
            let way = match whose {
                Whose::Client(slot) => self.slots[slot].busy.as_mut().map(|busy| &mut busy.way),
                Whose::Own(nth) => self.own.get_mut(nth).map(|own| &mut own.way),
                Whose::Begin => None,
            };
            if let Some(way) = way.filter(|way| way.falls(&plan.schedule)) {
                way.fell = Some(fallen);
                self.fallen = fallen;
            }
            let Whose::Client(slot) = whose else { return Ok(()) };
            let Some(busy) = &mut self.slots[slot].busy else { return Ok(()) };
            let step = &plan.steps[busy.index];
            let meanwhile = step.meanwhile.filter(|meanwhile| match meanwhile.event {
                Interruption::StorageFails => {
                    at == Point::Storage && meanwhile.point <= busy.way.point && !busy.failed
                }
                _ => meanwhile.point == busy.way.point,
            });
            match meanwhile {
                Some(meanwhile) => match meanwhile.event {
                    Interruption::Crash(crash) => return self.crash(plan, crash),
                    Interruption::CrashAfter { crash, others } => {
                        busy.dies = Some(crash);
                        busy.way.paused_until = self.next + others;
                        return Ok(());
                    }
                    Interruption::Stall { others } => {
                        busy.way.paused_until = self.next + others;
                        return Ok(());
                    }
                    Interruption::StorageFails => {
                        busy.failed = true;
                        self.desk.borrow_mut().ails = true;
                        self.stage.fail_storage();
                    }
                    Interruption::Pause { which, offset_ns, others } => {
                        busy.way.paused_until = self.next + others;
                        advance_to(&mut self.harness, &self.desk, which, offset_ns);
                        return Ok(());
                    }
                },
                None if step.whole => {}
                None => return Ok(()),
            }
        }
    }

    /// Lets somebody go on and says where he stops.
    fn resume(&mut self, plan: &Plan, whose: Whose) -> Result<Option<Pause>, Panicked> {
        match whose {
            Whose::Client(slot) => self.resume_client(plan, slot, Task::resume),
            Whose::Own(nth) => self.resume_own(plan, nth),
            Whose::Begin => Ok(None),
        }
    }

    fn resume_client(
        &mut self,
        plan: &Plan,
        slot: usize,
        how: impl FnOnce(Task<Done<SessionOf<H>>>) -> Turn<Done<SessionOf<H>>>,
    ) -> Result<Option<Pause>, Panicked> {
        let Some(mut busy) = self.slots[slot].busy.take() else { return Ok(None) };
        self.idle = 0;
        self.bear();
        watchdog::step(busy.index.min(plan.steps.len()));
        self.stage.wake(busy.way.leave());
        let came = how(busy.task);
        self.see(plan);
        match came {
            Turn::Paused(task, pause) => {
                busy.way.stop(pause, self.turns);
                self.slots[slot].busy = Some(Busy { task, ..busy });
                Ok(Some(pause))
            }
            Turn::Ended((client, result)) => {
                self.barren = 0;
                self.slots[slot].idle = Some(client);
                result.map(|()| None)
            }
        }
    }

    fn resume_own(&mut self, plan: &Plan, nth: usize) -> Result<Option<Pause>, Panicked> {
        let Some(task) = self.own[nth].task.take() else { return Ok(None) };
        self.idle += 1;
        let mut own = self.own.remove(nth);
        self.stage.wake(own.way.leave());
        let came = task.resume();
        if let Turn::Ended(_) = came {
            self.stage.ended(own.number);
        }
        self.see(plan);
        match came {
            Turn::Paused(task, pause) => {
                own.way.stop(pause, self.turns);
                self.own.insert(nth, Started { task: Some(task), ..own });
                Ok(Some(pause))
            }
            Turn::Ended(result) => result.map(|()| None),
        }
    }

    /// Sees what happened in a turn: who may go on, and who was started.
    fn see(&mut self, plan: &Plan) {
        for (number, task) in self.stage.started() {
            let way = Way::new(OWN_TASKS + number as u64, self.turns);
            self.own.push(Started { number, task: Some(task), way });
        }
        let (turns, next) = (self.turns, self.next);
        for happened in self.stage.happened() {
            let waiting = self.ways().filter(|way| way.waits_for(happened));
            if let Happened::Notified { all: false, .. } = happened {
                let chosen = waiting.max_by_key(|way| way.priority(&plan.schedule, turns, next));
                chosen.into_iter().for_each(Way::go_on);
            } else {
                waiting.for_each(Way::go_on);
            }
        }
    }

    /// Does something that others have no turns during, except for what it waits for, and between calls those of the
    /// queue.
    fn attend<R: 'static>(&mut self, plan: &Plan, body: impl FnOnce() -> R + 'static) -> R {
        let mut task = Task::new(&self.stage, body);
        let mut mine = Way::new(HARNESS_TASK, self.turns);
        loop {
            let is_free = mine.can_go_on(self.clock.now());
            self.mine = Some(mine);
            if !is_free && self.others_go_on(plan) {
                mine = self.mine.take().unwrap_or_else(|| unreachable!("it was put there"));
                continue;
            }
            mine = self.mine.take().unwrap_or_else(|| unreachable!("it was put there"));
            self.turns += 1;
            self.idle = 0;
            self.bear();
            self.stage.wake(mine.leave());
            let came = if is_free { task.resume() } else { task.doom() };
            self.see(plan);
            match came {
                Turn::Ended(result) => return result,
                Turn::Paused(paused, pause) => {
                    task = paused;
                    mine.stop(pause, self.turns);
                    if pause == Pause::At(Point::Line) {
                        self.barren = 0;
                        self.own_go_on(plan);
                    }
                }
            }
        }
    }

    /// One turn more in which no call ended, so far.
    fn bear(&mut self) {
        self.barren += 1;
        if self.barren == ENDLESS {
            self.stage.give_up();
        }
    }

    /// Lets somebody go on, or time pass, if that is of any use.
    fn others_go_on(&mut self, plan: &Plan) -> bool {
        let longest = self.can_go_on().min_by_key(|(way, _)| way.stopped).map(|(_, whose)| whose);
        let Some(whose) = longest else { return self.time_passes() };
        self.go_on(plan, whose);
        true
    }

    /// Lets the queue do what it can do by itself.
    fn own_go_on(&mut self, plan: &Plan) {
        let own = |(_, whose): &(&Way, Whose)| matches!(whose, Whose::Own(_));
        while let Some((_, whose)) = self.can_go_on().filter(own).min_by_key(|(way, _)| way.stopped) {
            self.go_on(plan, whose);
        }
    }

    fn go_on(&mut self, plan: &Plan, whose: Whose) {
        self.turns += 1;
        let went = self.resume(plan, whose).map(drop);
        self.panicked = mem::replace(&mut self.panicked, Ok(())).and(went);
    }

    /// Kills the broker in the middle of what is in flight, and starts it again.
    fn crash(&mut self, plan: &Plan, crash: Crash) -> Result<(), Stop> {
        let Some(mut host) = self.host.take() else { return Ok(()) };
        if !host.cuts_off_calls() {
            self.cut_off(plan);
        }
        let (host, crashed) = self.attend(plan, move || {
            let crashed = guard(|| calling(Call::Crash, || host.crash(crash)));
            (host, crashed)
        });
        mem::replace(&mut self.panicked, Ok(())).and(crashed)?;
        self.cut_off(plan);
        // A killed process drops nothing. What its remains do while they are dropped here is cut off, and that includes
        // a panic.
        let (clients, _) = self.drop_all(plan, None);
        self.end_own(plan);
        self.panicked = Ok(());
        self.desk.borrow_mut().crashed();
        self.harness.note(HARNESS, What::Crashed { crash });
        self.killed = Killed::default();
        for (slot, mut client) in self.slots.iter_mut().zip(clients) {
            client.live_until(&self.killed);
            slot.idle = Some(client);
        }
        let (host, booted) = self.boot(plan, host);
        self.host = Some(host);
        self.broker = Some(Rc::new(note_boot(booted, &mut self.harness)?));
        Ok(())
    }

    /// What is in flight never returns to its callers. As it cannot be stopped, it goes on to its end, unheard; what is
    /// on its way to the broker does not come there.
    fn cut_off(&mut self, plan: &Plan) {
        self.killed.set();
        let before = mem::replace(&mut self.panicked, Ok(()));
        while let Some(slot) = self.slots.iter().position(|slot| slot.busy.is_some()) {
            if !self.others_go_on(plan) {
                let _ = self.resume_client(plan, slot, Task::doom);
            }
        }
        self.panicked = before;
    }

    /// The queue is gone: what it has started comes to its end, or is stopped where it waits.
    fn end_own(&mut self, plan: &Plan) {
        self.idle = 0;
        self.own_go_on(plan);
        for Started { task, way, .. } in mem::take(&mut self.own) {
            if let Some(task) = task.filter(|_| way.waits()) {
                drop(task.doom());
            }
        }
    }
}
