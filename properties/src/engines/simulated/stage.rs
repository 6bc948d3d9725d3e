//! Tasks that are given turns: coroutines on one thread, interrupted where the queue takes one of our locks, reads
//! its clock, asks its storage or says that others may go first, and on the way to it and back; those of clients, and
//! those that the queue starts by itself.

use std::cell::{Cell, RefCell};
use std::ptr;
use std::rc::{Rc, Weak};
use std::thread;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use stanchion_queues::sync::{Point, Turns, with_turns};
use stanchion_queues::{Clock, Time};

use crate::engines::clients::{Panicked, guard};
use crate::engines::watchdog;

/// As large as the stacks of ordinary threads. What is not used takes no memory.
const STACK: usize = 2 << 20;

/// Why a task stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// Others may go first.
    At(Point),
    /// Others must go first.
    Waits(Await),
}

/// What a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Await {
    /// A lock, which somebody has.
    Lock(usize),
    /// A notice at this condition, or an instant.
    Notice(usize, Option<Time>),
    /// The end of a task that the queue has started.
    End(usize),
}

/// What may let others go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happened {
    Released(usize),
    Notified { condition: usize, all: bool },
    Ended(usize),
}

/// A task that the queue has started.
pub(super) type Own = Task<Result<(), Panicked>>;

type Switch = Yielder<(), Pause>;

/// Where tasks run, one at a time.
pub(super) struct Stage {
    /// The way out of the task that runs; null between tasks.
    running: Cell<*const Switch>,
    /// Whether tasks are interrupted inside the queue at all.
    inside: bool,
    /// Whether the queue has shown that its locks are ours. Where it has others, whoever reads the clock may hold one.
    takes_part: Cell<bool>,
    clock: Clock,
    happened: RefCell<Vec<Happened>>,
    /// Tasks that the queue has started since somebody asked, and how many there ever were.
    started: RefCell<Vec<(usize, Own)>>,
    count: Cell<usize>,
    ended: RefCell<Vec<usize>>,
    /// Itself, for tasks that others start.
    stage: Weak<Stage>,
    /// Whether the task that runs next was notified, if it waits for that.
    notified: Cell<bool>,
    /// Whether nothing will come of further turns.
    given_up: Cell<bool>,
    /// Whether the task that waits next waits in vain.
    doomed: Cell<bool>,
    /// Whether the storage fails the call in front of which the task stands that runs next.
    failing: Cell<bool>,
    /// How many tasks are interrupted inside the queue.
    interrupted: Cell<usize>,
}

impl Stage {
    pub(super) fn new(inside: bool, clock: &Clock) -> Rc<Stage> {
        Rc::new_cyclic(|stage| Stage {
            running: Cell::new(ptr::null()),
            inside,
            takes_part: Cell::new(false),
            clock: clock.clone(),
            happened: RefCell::default(),
            started: RefCell::default(),
            count: Cell::new(0),
            ended: RefCell::default(),
            stage: Weak::clone(stage),
            notified: Cell::new(false),
            given_up: Cell::new(false),
            doomed: Cell::new(false),
            failing: Cell::new(false),
            interrupted: Cell::new(0),
        })
    }

    /// Makes the storage fail the call in front of which the task stands that runs next.
    pub(super) fn fail_storage(&self) {
        self.failing.set(true);
    }

    /// What happened since it was asked last.
    pub(super) fn happened(&self) -> Vec<Happened> {
        self.happened.take()
    }

    /// The tasks that the queue has started since it was asked last.
    pub(super) fn started(&self) -> Vec<(usize, Own)> {
        self.started.take()
    }

    /// A task that the queue has started has come to its end.
    pub(super) fn ended(&self, own: usize) {
        self.ended.borrow_mut().push(own);
        self.happened.borrow_mut().push(Happened::Ended(own));
    }

    /// Whether the task that runs next was notified, if it waits for that; otherwise its time has come.
    pub(super) fn wake(&self, notified: bool) {
        self.notified.set(notified);
    }

    /// Nothing will come of further turns: whoever is interrupted inside the queue panics there.
    pub(super) fn give_up(&self) {
        self.given_up.set(true);
    }

    fn wait_for(&self, what: Await) {
        self.pause(Pause::Waits(what));
        assert!(!self.doomed.take(), "every call in flight waits for another one, for ever");
    }

    fn pause(&self, why: Pause) {
        let running = self.running.get();
        if running.is_null() {
            return;
        }
        // SAFETY: whoever comes by here is the task that runs, as there is one thread and turns are decided by this
        // stage only while a task runs. `running` points to that task's own switch: the task set it when it began,
        // or `Task::resume` put it back. The switch lives on the task's stack until its body has returned.
        #[allow(unsafe_code)]
        let switch = unsafe { &*running };
        switch.suspend(why);
    }
}

impl Turns for Stage {
    fn point(&self, at: Point) {
        let counts = match at {
            Point::Line => true,
            Point::Queue => {
                self.takes_part.set(true);
                self.inside
            }
            Point::Clock | Point::Storage => self.inside && self.takes_part.get(),
        };
        // Nobody else may panic while this one unwinds: two panics at once end the process.
        if counts && !thread::panicking() {
            self.pause(Pause::At(at));
            assert!(
                !self.given_up.get() || at == Point::Line,
                "calls go on and on, and none comes to its end"
            );
        }
    }

    fn wait(&self, lock: usize) {
        self.wait_for(Await::Lock(lock));
    }

    fn released(&self, lock: usize) {
        self.happened.borrow_mut().push(Happened::Released(lock));
    }

    fn sleep(&self, condition: usize, until: Option<Time>) -> bool {
        self.takes_part.set(true);
        self.wait_for(Await::Notice(condition, until));
        self.notified.get()
    }

    fn notified(&self, condition: usize, all: bool) {
        self.happened.borrow_mut().push(Happened::Notified { condition, all });
    }

    fn now(&self) -> Time {
        self.clock.now()
    }

    fn spawn(&self, body: Box<dyn FnOnce()>) -> usize {
        let number = self.count.get() + 1;
        self.count.set(number);
        if let Some(stage) = self.stage.upgrade() {
            self.started.borrow_mut().push((number, Task::new(&stage, move || guard(body))));
        }
        number
    }

    fn join(&self, spawned: usize) {
        while !self.ended.borrow().contains(&spawned) {
            self.wait_for(Await::End(spawned));
        }
    }

    fn storage_fails(&self) -> bool {
        self.point(Point::Storage);
        self.failing.take()
    }
}

/// Work that is done in turns.
pub(super) struct Task<R> {
    stage: Rc<Stage>,
    coroutine: Coroutine<(), Pause, R>,
    /// Its way out, once it has begun.
    switch: *const Switch,
    /// The call of the queue that it is in, for the watchdog.
    call: u8,
    /// Whether it is interrupted inside the queue, where it may have locks of any kind.
    is_inside: bool,
}

thread_local! {
    /// Stacks of tasks that have ended, to be used again.
    static STACKS: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
}

impl<R: 'static> Task<R> {
    /// Begins with its first turn.
    pub(super) fn new(stage: &Rc<Stage>, body: impl FnOnce() -> R + 'static) -> Task<R> {
        let stack = STACKS.with_borrow_mut(Vec::pop);
        let stack =
            stack.unwrap_or_else(|| DefaultStack::new(STACK).expect("there is memory for another stack"));
        let on = Rc::clone(stage);
        let coroutine = Coroutine::with_stack(stack, move |switch: &Switch, ()| {
            on.running.set(switch);
            body()
        });
        Task { stage: Rc::clone(stage), coroutine, switch: ptr::null(), call: 0, is_inside: false }
    }

    /// Gives it a turn: until it stops, or to its end.
    pub(super) fn resume(mut self) -> Turn<R> {
        let others = self.stage.interrupted.get() - usize::from(self.is_inside);
        let before = watchdog::exchange(self.call, others > 0);
        self.stage.running.set(self.switch);
        let turns = Rc::clone(&self.stage) as Rc<dyn Turns>;
        let result = with_turns(turns, || self.coroutine.resume(()));
        self.switch = self.stage.running.replace(ptr::null());
        self.call = watchdog::exchange(before, false);
        self.is_inside = matches!(&result, CoroutineResult::Yield(why) if *why != Pause::At(Point::Line));
        self.stage.interrupted.set(others + usize::from(self.is_inside));
        match result {
            CoroutineResult::Yield(why) => Turn::Paused(self, why),
            CoroutineResult::Return(result) => {
                let stack = self.coroutine.into_stack();
                STACKS.with_borrow_mut(|stacks| stacks.push(stack));
                Turn::Ended(result)
            }
        }
    }

    /// The same for one that waits for what will never happen: its call panics.
    pub(super) fn doom(self) -> Turn<R> {
        self.stage.doomed.set(true);
        self.resume()
    }
}

/// What came of a turn.
pub(super) enum Turn<R> {
    Paused(Task<R>, Pause),
    Ended(R),
}
