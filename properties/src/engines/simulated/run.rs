//! One run: begins the steps of a plan in their order, gives turns to those that are in flight, and crashes the
//! broker among them.

use std::cell::RefCell;
use std::rc::Rc;

use stanchion_queues::sync::Point;
use stanchion_queues::{Broker, Clock, Crash, Host, Settings};

use super::plan::{CLIENTS, Interruption, Plan, Standing};
use super::stage::{Pause, Stage, Task, Turn};
use crate::engines::clients::{
    Client, Desk, Drain, Killed, Panicked, Place, Script, advance, advance_to, guard, millis, quietly,
    recorder,
};
use crate::engines::sequential::{NotStarted, Stop, reboot, start};
use crate::engines::watchdog::{self, Call, calling};
use crate::history::{HARNESS, History, What};
use crate::plan::Step;
use crate::recording::{Recorder, Ticks};

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
    /// `None`: it is being crashed.
    host: Option<H>,
    broker: Option<Rc<H::Broker>>,
    desk: Rc<RefCell<Desk>>,
    harness: Recorder<Script>,
    ticks: Ticks,
    clock: Clock,
    slots: Vec<Slot<SessionOf<H>>>,
    killed: Killed,
    /// The step of the plan that begins next.
    next: usize,
    /// Whether a storage failed since the broker was started: then it may need to be started again.
    ails: bool,
    /// How many turns there were.
    turns: u64,
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
    /// At which point of its way it is.
    point: u64,
    /// When it came there.
    stopped: u64,
    fell: Option<u64>,
    /// Until this step of the plan has begun, everybody else goes first.
    paused_until: usize,
    /// Whether its storage has failed it.
    failed: bool,
    /// The lock it waits for.
    waits: Option<usize>,
}

/// Who goes on.
enum Whose {
    /// The next step begins.
    Begin,
    /// The client of a slot.
    Client(usize),
    /// Everybody waits for a lock.
    Nobody,
}

impl<H: Host> Run<H> {
    fn begin(make: impl Fn(&Settings) -> H, plan: &Plan, inside: bool) -> Result<Run<H>, NotStarted> {
        let clock = Clock::manual();
        let (host, broker, desk) = start(make, &plan.settings.with_clock(clock.watched()), &clock)?;
        let ticks = Ticks::default();
        let mut harness = recorder(&ticks, &clock);
        harness.note(HARNESS, What::Booted { error: None });
        let killed = Killed::default();
        let slot = |_| {
            let mut client = Client::new(&ticks, &clock);
            client.live_until(&killed);
            Slot { idle: Some(client), busy: None }
        };
        Ok(Run {
            stage: Stage::new(inside),
            host: Some(host),
            broker: Some(Rc::new(broker)),
            desk: Rc::new(RefCell::new(desk)),
            harness,
            slots: (0..CLIENTS).map(slot).collect(),
            ticks,
            clock,
            killed,
            next: 0,
            ails: false,
            turns: 0,
            fallen: 0,
        })
    }

    fn finish(mut self, plan: &Plan) -> History {
        let mut ended = self.play(plan);
        if ended.is_ok() && self.ails {
            ended = self.crash(plan, Crash::Process);
        }
        watchdog::step(plan.steps.len());
        let mut drainer = Client::new(&self.ticks, &self.clock);
        if ended.is_err() {
            // What is in flight is not heard of any more.
            self.cut_off(plan);
        } else if let Some(broker) = &self.broker {
            let place = Place { broker: &**broker, desk: &self.desk };
            let mut drain = Drain { client: &mut drainer, harness: &mut self.harness, place };
            ended = drain.run(plan.redrive()).map_err(Stop::from);
        }
        let dropped = self.drop_all().and(drainer.drop_session());
        if let Err(Stop::Panicked(message)) = ended.and(dropped.map_err(Stop::from)) {
            self.harness.note(HARNESS, What::Panicked { message });
        }
        let clients = self.slots.iter_mut().filter_map(|slot| slot.idle.as_mut());
        let mut events: Vec<_> = clients.chain([&mut drainer]).flat_map(Client::events).collect();
        events.extend(self.harness.sink.take());
        events.sort_by_key(|event| event.call);
        History { contract: self.desk.borrow().contract.clone(), events }
    }

    /// Everybody is idle.
    fn drop_all(&mut self) -> Result<(), Panicked> {
        let clients = self.slots.iter_mut().filter_map(|slot| slot.idle.as_mut());
        let dropped = clients.map(Client::drop_session).fold(Ok(()), Result::and);
        let broker = self.broker.take();
        dropped.and(guard(|| calling(Call::Drop, || drop(broker))))
    }

    fn play(&mut self, plan: &Plan) -> Result<(), Stop> {
        let mut begun = 0;
        loop {
            match self.whose(plan, begun) {
                Whose::Begin => {
                    self.turns += 1;
                    begun = self.turns;
                    self.next += 1;
                    self.begin_step(plan, self.next - 1)?;
                }
                Whose::Client(slot) => self.turn(plan, slot)?,
                Whose::Nobody => match self.first(|_| true) {
                    Some(stuck) => drop(self.resume(plan, stuck, Task::doom)?),
                    None => return Ok(()),
                },
            }
        }
    }

    /// Whose turn it is. A step of a client that is in flight does not begin before that has ended.
    fn whose(&self, plan: &Plan, begun: u64) -> Whose {
        let is_idle = |slot: usize| self.slots[slot % CLIENTS].busy.is_none();
        let begins = plan.steps.get(self.next).filter(|next| next.step.session().is_none_or(is_idle));
        let begins = begins.map(|next| {
            let standing = Standing { id: next.id, point: 0, since: self.turns - begun, fell: None };
            (plan.schedule.priority(&standing), Whose::Begin)
        });
        let clients = self.slots.iter().enumerate().filter_map(|(slot, of)| {
            let busy = of.busy.as_ref().filter(|busy| busy.waits.is_none())?;
            let id = plan.steps[busy.index].id;
            let since = self.turns - busy.stopped;
            let pauses = self.next < busy.paused_until.min(plan.steps.len());
            let fell = if pauses { Some(u64::MAX >> 2) } else { busy.fell };
            let standing = Standing { id, point: busy.point, since, fell };
            Some((plan.schedule.priority(&standing), Whose::Client(slot)))
        });
        let all = begins.into_iter().chain(clients);
        all.max_by_key(|(priority, _)| *priority).map_or(Whose::Nobody, |(_, whose)| whose)
    }

    /// The first client in flight that is so.
    fn first(&self, such: impl Fn(&Busy<SessionOf<H>>) -> bool) -> Option<usize> {
        self.slots.iter().position(|slot| slot.busy.as_ref().is_some_and(&such))
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
                let stopped = self.turns;
                let busy = Busy {
                    task,
                    index,
                    point: 0,
                    stopped,
                    fell: None,
                    paused_until: 0,
                    failed: false,
                    waits: None,
                };
                self.slots[slot].busy = Some(busy);
                self.turn(plan, slot)?;
            }
        }
        Ok(())
    }

    /// Gives a client a turn, or as many as it has if nobody else may go first; and what interrupts it has its way.
    fn turn(&mut self, plan: &Plan, slot: usize) -> Result<(), Stop> {
        loop {
            self.turns += 1;
            let Some(Pause::At(at)) = self.resume(plan, slot, Task::resume)? else { return Ok(()) };
            let Some(busy) = &mut self.slots[slot].busy else { return Ok(()) };
            let step = &plan.steps[busy.index];
            if plan.schedule.falls(step.id, busy.point) {
                self.fallen += 1;
                busy.fell = Some(self.fallen);
            }
            let meanwhile = step.meanwhile.filter(|meanwhile| match meanwhile.event {
                Interruption::StorageFails => {
                    at == Point::Storage && meanwhile.point <= busy.point && !busy.failed
                }
                _ => meanwhile.point == busy.point,
            });
            match meanwhile {
                Some(meanwhile) => match meanwhile.event {
                    Interruption::Crash(crash) => return self.crash(plan, crash),
                    Interruption::StorageFails => {
                        (busy.failed, self.ails) = (true, true);
                        self.stage.fail_storage();
                    }
                    Interruption::Pause { which, offset_ns, others } => {
                        busy.paused_until = self.next + others;
                        advance_to(&mut self.harness, &self.desk, which, offset_ns);
                        return Ok(());
                    }
                },
                None if step.whole => {}
                None => return Ok(()),
            }
        }
    }

    /// Lets the client of a slot go on and says where it stops.
    fn resume(
        &mut self,
        plan: &Plan,
        slot: usize,
        how: impl FnOnce(Task<Done<SessionOf<H>>>) -> Turn<Done<SessionOf<H>>>,
    ) -> Result<Option<Pause>, Panicked> {
        let Some(busy) = self.slots[slot].busy.take() else { return Ok(None) };
        watchdog::step(busy.index.min(plan.steps.len()));
        let came = how(busy.task);
        for lock in self.stage.freed() {
            let waiting = self.slots.iter_mut().filter_map(|slot| slot.busy.as_mut());
            waiting.filter(|busy| busy.waits == Some(lock)).for_each(|busy| busy.waits = None);
        }
        match came {
            Turn::Paused(task, pause) => {
                let waits = if let Pause::Waits(lock) = pause { Some(lock) } else { None };
                let point = busy.point + u64::from(waits.is_none());
                let stopped = self.turns;
                self.slots[slot].busy = Some(Busy { task, waits, point, stopped, ..busy });
                Ok(Some(pause))
            }
            Turn::Ended((client, result)) => {
                self.slots[slot].idle = Some(client);
                result.map(|()| None)
            }
        }
    }

    /// Kills the broker in the middle of what is in flight, and starts it again.
    fn crash(&mut self, plan: &Plan, crash: Crash) -> Result<(), Stop> {
        let Some(mut host) = self.host.take() else { return Ok(()) };
        if !host.cuts_off_calls() {
            self.cut_off(plan);
        }
        let mut task = Task::new(&self.stage, move || {
            let crashed = guard(|| calling(Call::Crash, || host.crash(crash)));
            (host, crashed)
        });
        let mut panicked = Ok(());
        let (host, crashed) = loop {
            match task.resume() {
                Turn::Ended(ended) => break ended,
                Turn::Paused(paused, Pause::At(_)) => task = paused,
                // What it waits for, somebody has who is in flight.
                Turn::Paused(paused, Pause::Waits(_)) => match self.first(|busy| busy.waits.is_none()) {
                    Some(slot) => {
                        task = paused;
                        panicked = panicked.and(self.resume(plan, slot, Task::resume).map(drop));
                    }
                    None => match paused.doom() {
                        Turn::Ended(ended) => break ended,
                        Turn::Paused(paused, _) => task = paused,
                    },
                },
            }
        };
        self.host = Some(host);
        panicked.and(crashed)?;
        self.cut_off(plan);
        // A killed process drops nothing. What its remains do while they are dropped here is cut off, and that includes
        // a panic.
        let _ = self.drop_all();
        self.desk.borrow_mut().crashed();
        self.harness.note(HARNESS, What::Crashed { crash });
        self.ails = false;
        self.killed = Killed::default();
        for client in self.slots.iter_mut().filter_map(|slot| slot.idle.as_mut()) {
            client.live_until(&self.killed);
        }
        if let Some(host) = &mut self.host {
            self.broker = Some(Rc::new(reboot(host, &mut self.harness)?));
        }
        Ok(())
    }

    /// What is in flight never returns to its callers. As it cannot be stopped, it goes on to its end, unheard; what is
    /// on its way to the broker does not come there.
    fn cut_off(&mut self, plan: &Plan) {
        self.killed.set();
        while let Some(slot) = self.first(|_| true) {
            let _ = match self.first(|busy| busy.waits.is_none()) {
                Some(free) => self.resume(plan, free, Task::resume),
                None => self.resume(plan, slot, Task::doom),
            };
        }
    }
}
