//! The threads of a trial.

use std::any::Any;
use std::convert::Infallible;
use std::marker::PhantomData;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::crew::pin;
use crate::trial::Fault;

/// Some threads, each pinned to a core, that leave a result behind.
pub(crate) struct Workers<R> {
    threads: Threads,
    results: PhantomData<fn() -> R>,
}

/// The same whatever they do and leave behind: threads are made once for all queues, not once for each, which
/// is a good part of the time it takes to build a suite.
struct Threads {
    handles: Vec<JoinHandle<Left>>,
    /// Nothing is ever sent: it ends with the last worker.
    alive: Sender<Infallible>,
    ended: Receiver<Infallible>,
}

/// What a thread leaves behind.
type Left = Box<dyn Any + Send>;

/// Workers give up after [`crate::crew::PATIENCE`]. Who has not ended after much longer is inside of a queue
/// that does not return.
const LONGEST: Duration = Duration::from_secs(120);

impl<R: Send + 'static> Workers<R> {
    pub(crate) fn new() -> Workers<R> {
        let (alive, ended) = channel();
        Workers { threads: Threads { handles: Vec::new(), alive, ended }, results: PhantomData }
    }

    /// Starts a worker on this core.
    pub(crate) fn start(&mut self, core: usize, work: impl FnOnce() -> R + Send + 'static) {
        self.threads.start(core, Box::new(|| Box::new(work())));
    }

    /// Waits for all of them.
    ///
    /// # Errors
    /// One panicked, or does not come back: the thread is left behind.
    pub(crate) fn join(self) -> Result<Vec<R>, Fault> {
        self.join_within(LONGEST)
    }

    fn join_within(self, longest: Duration) -> Result<Vec<R>, Fault> {
        let left = self.threads.join_within(longest)?;
        Ok(left.into_iter().filter_map(|left| left.downcast().ok()).map(|left| *left).collect())
    }
}

impl Threads {
    fn start(&mut self, core: usize, work: Box<dyn FnOnce() -> Left + Send>) {
        let alive = self.alive.clone();
        self.handles.push(thread::spawn(move || {
            let _alive = alive;
            pin(core);
            work()
        }));
    }

    fn join_within(self, longest: Duration) -> Result<Vec<Left>, Fault> {
        let Threads { handles, alive, ended } = self;
        drop(alive);
        if ended.recv_timeout(longest) == Err(RecvTimeoutError::Timeout) {
            return Err(Fault::Abandoned(handles.iter().filter(|handle| !handle.is_finished()).count()));
        }
        handles
            .into_iter()
            .map(|handle| handle.join().map_err(|panic| Fault::panicked(panic.as_ref())))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_starting_and_a_panic_is_a_fault() {
        let mut workers = Workers::new();
        (0..5).for_each(|nth| workers.start(nth, move || nth));
        assert_eq!(workers.join().expect("no panic"), [0, 1, 2, 3, 4]);
        let mut workers = Workers::new();
        workers.start(0, || panic!("as told"));
        assert!(matches!(workers.join(), Err(Fault::Panicked(told)) if told == "as told"));
    }

    #[test]
    fn who_never_comes_back_is_left_behind() {
        let (keep, wait) = channel::<()>();
        let mut workers = Workers::new();
        workers.start(0, || ());
        workers.start(1, move || {
            let _ = wait.recv();
        });
        assert!(matches!(workers.join_within(Duration::from_millis(50)), Err(Fault::Abandoned(1 | 2))));
        drop(keep);
    }
}
