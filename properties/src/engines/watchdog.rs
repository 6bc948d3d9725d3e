//! Sees a call of a queue that never returns. The engine runs on a thread of its own and says which call it
//! makes; whoever waits for it looks now and then whether anything moves. There is no limit on how long an
//! engine may take: only on how long it may stand still inside one call of the queue.
//!
//! A thread that stands still cannot be stopped, so it is left behind. It ends with the process, and should the
//! call return after all, it goes no further.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::sequential::text_of;
use crate::finding::{Failure, Finding};
use crate::invariant::Invariant;
use crate::verdict::{Counterexample, Verdict};

/// How long nothing moves before a call is given up.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often one looks in that time. Looks are counted instead of a clock being read, so that a process that
/// was stopped for an hour has stood still for one look and not for an hour.
const LOOKS: u32 = 60;

macro_rules! calls {
    ($($call:ident $name:literal,)*) => {
        /// What is asked of a queue or a consumer under test.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Call { $(#[doc = $name] $call,)* }

        impl Call {
            const ALL: &[Call] = &[$(Call::$call),*];

            /// As it is called in the traits.
            pub fn name(self) -> &'static str {
                match self { $(Call::$call => $name),* }
            }
        }
    };
}

calls! {
    Open "open", Push "push", PushMany "push_many", Pop "pop", PopMany "pop_many", Drop "drop",
    Boot "boot", Crash "crash", Session "session", Send "send", Receive "receive", Settle "settle",
    Extend "extend", DeadLetters "dead_letters", Redrive "redrive", Depth "depth", Handle "handle",
}

/// What one thread is doing. Only that thread writes.
#[derive(Default)]
struct Pulse {
    /// Moves with every call and every return.
    beats: AtomicU64,
    /// One more than the index of the call in [`Call::ALL`]; 0: none.
    call: AtomicU8,
    /// The step of the plan.
    step: AtomicUsize,
    /// Whether somebody else was interrupted inside the queue, and may have a lock that this one waits for.
    others_inside: AtomicBool,
}

/// How a case that stands still is told.
type Tell = Box<dyn FnOnce(&Stuck) -> Failure + Send>;

#[derive(Default)]
struct Watch {
    pulses: Mutex<Vec<Arc<Pulse>>>,
    tell: Mutex<Option<Tell>>,
    given_up: AtomicBool,
}

thread_local! {
    static MINE: RefCell<Option<(Arc<Watch>, Arc<Pulse>)>> = const { RefCell::new(None) };
    /// The call that a panic came out of last.
    static PANICKED: Cell<Option<Call>> = const { Cell::new(None) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    fn enter(self: &Arc<Watch>) {
        let pulse = Arc::new(Pulse::default());
        lock(&self.pulses).push(Arc::clone(&pulse));
        MINE.set(Some((Arc::clone(self), pulse)));
    }

    /// How much has moved, and the calls that have not returned, with the step of the latest.
    fn look(&self) -> (u64, Vec<Call>, usize) {
        let (mut beats, mut calls, mut at) = (0, Vec::new(), 0);
        for pulse in lock(&self.pulses).iter() {
            beats += pulse.beats.load(Ordering::Relaxed);
            let call = usize::from(pulse.call.load(Ordering::Relaxed));
            if let Some(call) = call.checked_sub(1) {
                calls.push(Call::ALL[call]);
                at = at.max(pulse.step.load(Ordering::Relaxed));
            }
        }
        (beats, calls, at)
    }

    /// Whether what stands still may wait for somebody whom an engine has interrupted.
    fn others_inside(&self) -> bool {
        lock(&self.pulses).iter().any(|pulse| pulse.others_inside.load(Ordering::Relaxed))
    }
}

/// A call that did not return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// One per thread that waits in a call.
    pub calls: Vec<Call>,
    /// The step of the plan, from 0, if the engine has any.
    pub step: usize,
    /// How long nothing moved.
    pub patience: Duration,
    /// The promise that this breaks.
    pub breaks: Invariant,
    /// Whether it may wait for a call that was interrupted by the engine; then it breaks none.
    pub others_inside: bool,
}

impl Stuck {
    /// As in "The call `pop` never returned: nothing moved for 60s."
    pub fn sentence(&self) -> String {
        let names: Vec<String> = self.calls.iter().map(|call| format!("`{}`", call.name())).collect();
        let calls = if names.len() == 1 { "The call" } else { "Waiting for each other, the calls" };
        format!("{calls} {} never returned: nothing moved for {:?}.", names.join(", "), self.patience)
    }

    /// How it breaks its promise.
    pub fn counterexample(&self) -> Counterexample {
        Counterexample {
            invariant: self.breaks,
            sentence: self.sentence(),
            missing_licence: None,
            culprits: Vec::new(),
        }
    }
}

/// The engine interrupted a call inside the queue, and another one waits for ever for something that it has: a lock of
/// which the engine does not know. That is no mistake of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownLock;

/// Runs an engine. If a call never returns, the promise `breaks` is broken, and all others are undecided.
pub fn watch(
    patience: Duration,
    breaks: Invariant,
    engine: impl FnOnce() -> Vec<Finding> + Send + 'static,
) -> Vec<Finding> {
    try_watch(patience, breaks, engine).unwrap_or_else(|UnknownLock| {
        Finding::undecided("it holds a lock that the engine does not know of while it is interrupted", 0)
    })
}

/// The same.
///
/// # Errors
/// Nothing is known of the queue, except that its calls cannot be interrupted.
pub fn try_watch(
    patience: Duration,
    breaks: Invariant,
    engine: impl FnOnce() -> Vec<Finding> + Send + 'static,
) -> Result<Vec<Finding>, UnknownLock> {
    let (stuck, failure) = match attend(patience, breaks, engine) {
        Ok(findings) => return Ok(findings),
        Err(left) => *left,
    };
    if stuck.others_inside {
        return Err(UnknownLock);
    }
    let cases = failure.as_ref().map_or(0, |failure| failure.case + 1);
    let why = format!("{} was broken first. {}", breaks.id(), stuck.sentence());
    let mut findings = Finding::undecided(&why, cases);
    if let Some(finding) = findings.iter_mut().find(|finding| finding.invariant == breaks) {
        finding.verdict = Verdict::Broken(stuck.counterexample());
        finding.failure = failure;
    }
    Ok(findings)
}

/// Runs `work`; gives up when nothing moves and some call has not returned.
pub(crate) fn attend<T: Send + 'static>(
    patience: Duration,
    breaks: Invariant,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Box<(Stuck, Option<Failure>)>> {
    let watch = Arc::new(Watch::default());
    let (done, waiting) = channel();
    let watched = Arc::clone(&watch);
    let thread = thread::spawn(move || {
        watched.enter();
        // Nobody waits any more if it was given up.
        let _ = done.send(work());
    });
    let mut before = None;
    let result = wait(&waiting, patience, || {
        let now = watch.look();
        let moved = now.1.is_empty() || before.as_ref() != Some(&now);
        before = Some(now);
        moved
    });
    match result {
        Wait::Came(value) => Ok(value),
        Wait::Ended => match thread.join() {
            Err(panic) => resume_unwind(panic),
            Ok(()) => unreachable!("it ends without an answer only by a panic"),
        },
        Wait::Still => {
            watch.given_up.store(true, Ordering::SeqCst);
            let (_, calls, step) = watch.look();
            let others_inside = watch.others_inside();
            let stuck = Stuck { calls, step, patience, breaks, others_inside };
            let tell = lock(&watch.tell).take().filter(|_| !others_inside);
            let failure = tell.map(|tell| tell(&stuck));
            Err(Box::new((stuck, failure)))
        }
    }
}

/// What came of waiting.
pub(super) enum Wait<T> {
    /// This.
    Came(T),
    /// Nothing will come: the other side is gone.
    Ended,
    /// Nothing came, and nothing moved.
    Still,
}

/// Waits for what comes, as long as `moved` says at least once within `patience` that something moves.
pub(super) fn wait<T>(coming: &Receiver<T>, patience: Duration, mut moved: impl FnMut() -> bool) -> Wait<T> {
    let mut still = 0;
    while still < LOOKS {
        match coming.recv_timeout(patience / LOOKS) {
            Ok(value) => return Wait::Came(value),
            Err(RecvTimeoutError::Disconnected) => return Wait::Ended,
            Err(RecvTimeoutError::Timeout) => still = if moved() { 0 } else { still + 1 },
        }
    }
    Wait::Still
}

/// A new case begins; `tell` says what it is, should it stand still.
pub(crate) fn case(tell: impl FnOnce(&Stuck) -> Failure + Send + 'static) {
    MINE.with_borrow(|mine| {
        if let Some((watch, _)) = mine {
            *lock(&watch.tell) = Some(Box::new(tell));
        }
    });
}

/// The plan is at this step.
pub(crate) fn step(index: usize) {
    MINE.with_borrow(|mine| {
        if let Some((_, pulse)) = mine {
            pulse.step.store(index, Ordering::Relaxed);
        }
    });
}

/// Makes a call of the queue under test.
pub(crate) fn calling<T>(call: Call, run: impl FnOnce() -> T) -> T {
    struct Returned {
        call: Call,
        before: u8,
    }
    impl Drop for Returned {
        fn drop(&mut self) {
            if thread::panicking() {
                PANICKED.set(Some(self.call));
            }
            beat(self.before);
        }
    }
    let _returned = Returned { call, before: beat(call as u8 + 1) };
    run()
}

/// How the panic is told that this thread has just caught, and in which call of the queue it was if in one.
pub(crate) fn panic_in_words(panic: &(dyn Any + Send)) -> String {
    let call = PANICKED.take().map_or(String::new(), |call| format!(" inside `{}`", call.name()));
    format!("{call}: {:?}", text_of(panic))
}

/// Puts another call in the place of the one that this thread makes, and says which one that was: for engines that
/// make several in turns. Others may be interrupted inside the queue meanwhile.
pub(crate) fn exchange(call: u8, others_inside: bool) -> u8 {
    MINE.with_borrow(|mine| {
        let Some((_, pulse)) = mine else { return 0 };
        pulse.others_inside.store(others_inside, Ordering::Relaxed);
        let before = pulse.call.load(Ordering::Relaxed);
        pulse.call.store(call, Ordering::Relaxed);
        before
    })
}

/// Marks a move from or to a call, and says which call it was before.
fn beat(call: u8) -> u8 {
    MINE.with_borrow(|mine| {
        let Some((watch, pulse)) = mine else { return 0 };
        while watch.given_up.load(Ordering::Relaxed) {
            thread::park();
        }
        let before = pulse.call.load(Ordering::Relaxed);
        pulse.call.store(call, Ordering::Relaxed);
        pulse.beats.store(pulse.beats.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        before
    })
}

/// The watch over this thread, for the threads that it starts.
#[derive(Clone)]
pub(crate) struct Crew(Option<Arc<Watch>>);

impl Crew {
    /// Of this thread.
    pub(crate) fn of_this_thread() -> Crew {
        let watch = MINE.with_borrow(|mine| mine.as_ref().map(|(watch, _)| Arc::clone(watch)));
        if let Some(watch) = &watch {
            // Those of earlier cases are gone, and what they counted with them.
            let mine = MINE.with_borrow(|mine| mine.as_ref().map(|(_, pulse)| Arc::clone(pulse)));
            lock(&watch.pulses).retain(|pulse| mine.as_ref().is_some_and(|mine| Arc::ptr_eq(mine, pulse)));
        }
        Crew(watch)
    }

    /// To be called first in each of them.
    pub(crate) fn enter(&self) {
        if let Some(watch) = &self.0 {
            watch.enter();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(60);

    fn never() {
        loop {
            thread::park();
        }
    }

    #[test]
    fn a_call_that_never_returns_is_named_with_its_step_and_the_case_is_told() {
        let left = attend(SHORT, Invariant::Li1, || {
            case(|_| unreachable!("an earlier case"));
            case(|stuck| Failure {
                case: 7,
                seed: 0,
                plan: None,
                steps_before: stuck.step,
                steps_after: 0,
                picture: stuck.sentence(),
                lanes: None,
                replay: None,
            });
            step(3);
            calling(Call::Receive, || ());
            step(4);
            calling(Call::Pop, never);
        });
        let (stuck, failure) = *left.expect_err("it stands still");
        assert_eq!(
            stuck,
            Stuck {
                calls: vec![Call::Pop],
                step: 4,
                patience: SHORT,
                breaks: Invariant::Li1,
                others_inside: false
            }
        );
        assert_eq!(failure.map(|failure| (failure.case, failure.steps_before)), Some((7, 4)));
        assert_eq!(stuck.sentence(), "The call `pop` never returned: nothing moved for 60ms.");
    }

    #[test]
    fn whoever_moves_or_only_computes_is_left_alone() {
        let (said, heard) = channel();
        let mut looks = 0;
        let came = wait(&heard, Duration::from_millis(1), || {
            looks += 1;
            if looks == 10 * LOOKS {
                said.send(5).expect("it is heard");
            }
            // Just often enough.
            looks % LOOKS == 0
        });
        assert!(matches!(came, Wait::Came(5)));

        let (said, heard) = channel::<()>();
        let computed = attend(SHORT, Invariant::Li1, move || heard.recv_timeout(3 * SHORT).is_err());
        assert_eq!(computed.ok(), Some(true), "longer than the patience, but in no call");
        drop(said);
        assert_eq!(calling(Call::Push, || 6), 6, "nobody has to be watched");
    }

    #[test]
    fn the_threads_of_a_crew_are_seen_and_what_is_given_up_goes_no_further() {
        let (stop, stopped) = channel::<()>();
        let (told, heard) = channel();
        let left = attend(SHORT, Invariant::Li1, move || {
            let crew = Crew::of_this_thread();
            thread::scope(|scope| {
                scope.spawn(move || {
                    crew.enter();
                    calling(Call::Push, || stopped.recv().is_err());
                    let _ = told.send("it went on");
                });
            });
        });
        assert_eq!(left.expect_err("it stands still").0.calls, [Call::Push]);
        drop(stop);
        assert!(heard.recv_timeout(SHORT).is_err());
    }

    #[test]
    fn a_panic_is_handed_on() {
        let panic = std::panic::catch_unwind(|| {
            attend(SHORT, Invariant::Li1, || super::super::sequential::quietly(|| panic!("so")))
        });
        assert!(panic.is_err());
    }
}
