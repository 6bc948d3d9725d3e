//! Brokers that do something by themselves, or wait in a way of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use stanchion_queues::buffers::MutexDeque;
use stanchion_queues::sync::{self, Condvar, JoinHandle, Mutex};
use stanchion_queues::{
    Broker, Contract, DeadLetter, Delivery, Depth, Error, Leased, Message, Receipt, Sent, Session, Settings,
    Settled, Settlement, Volatile,
};

use super::{Plan, run};
use crate::checkers;
use crate::history::What;
use crate::invariant::Invariant;
use crate::plan::case_seed;

/// How a send waits before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// For the next round of a thread that makes one every five milliseconds.
    Rounds,
    /// The same; but the thread tells nobody.
    RoundsUntold,
    /// For a flag that it looks at again and again.
    Flag,
    /// The same; but the third to take the flag keeps it.
    FlagKept,
}

const ROUND: Duration = Duration::from_millis(5);

#[derive(Default)]
struct Shared {
    /// How many rounds there were, and whether it is over.
    rounds: Mutex<(u64, bool)>,
    changed: Condvar,
    flag: AtomicBool,
    taken: AtomicUsize,
}

impl Shared {
    fn go_round(&self, tells: bool) {
        let mut rounds = self.rounds.lock().expect("nobody panicked");
        loop {
            let waited = self.changed.wait_timeout_while(rounds, ROUND, |(_, over)| !*over);
            rounds = waited.expect("nobody panicked").0;
            if rounds.1 {
                return;
            }
            rounds.0 += 1;
            if tells {
                self.changed.notify_all();
            }
        }
    }

    fn wait(&self) {
        let rounds = self.rounds.lock().expect("nobody panicked");
        let now = rounds.0;
        drop(self.changed.wait_while(rounds, |(round, _)| *round == now).expect("nobody panicked"));
    }
}

struct Waits {
    way: Way,
    inner: Leased<MutexDeque>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle>,
}

struct WaitingSession {
    way: Way,
    inner: <Leased<MutexDeque> as Broker>::Session,
    shared: Arc<Shared>,
}

type Boot = Box<dyn FnMut() -> Result<Waits, Error> + Send>;

fn hosting(way: Way) -> impl Fn(&Settings) -> Volatile<Boot> {
    move |settings| {
        let settings = settings.clone();
        Volatile::new(Box::new(move || {
            let shared = Arc::<Shared>::default();
            let its = Arc::clone(&shared);
            let rounds = matches!(way, Way::Rounds | Way::RoundsUntold);
            let start = || sync::spawn("rounds", move || its.go_round(way == Way::Rounds));
            let thread = rounds.then(start).transpose().expect("there is a thread left");
            Ok(Waits { way, inner: Leased::open(&settings)?, shared, thread })
        }))
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        if let Ok(mut rounds) = self.shared.rounds.lock() {
            rounds.1 = true;
        }
        self.shared.changed.notify_all();
        self.thread.take().into_iter().for_each(JoinHandle::join);
    }
}

impl Broker for Waits {
    type Session = WaitingSession;

    fn contract(&self) -> Contract {
        self.inner.contract()
    }

    fn session(&self) -> Result<WaitingSession, Error> {
        let (way, shared) = (self.way, Arc::clone(&self.shared));
        Ok(WaitingSession { way, inner: self.inner.session()?, shared })
    }
}

impl Session for WaitingSession {
    fn send(&mut self, messages: &[Message]) -> Vec<Sent> {
        if matches!(self.way, Way::Rounds | Way::RoundsUntold) {
            self.shared.wait();
            return self.inner.send(messages);
        }
        while self.shared.flag.swap(true, Ordering::Relaxed) {
            sync::point();
        }
        let sent = self.inner.send(messages);
        let keeps = self.way == Way::FlagKept && self.shared.taken.fetch_add(1, Ordering::Relaxed) == 2;
        self.shared.flag.store(keeps, Ordering::Relaxed);
        sent
    }

    fn receive(&mut self, max: usize, lease: Duration) -> Result<Vec<Delivery>, Error> {
        self.inner.receive(max, lease)
    }

    fn settle(&mut self, settlements: &[Settlement]) -> Vec<Settled> {
        self.inner.settle(settlements)
    }

    fn extend(&mut self, receipt: Receipt, lease: Duration) -> Settled {
        self.inner.extend(receipt, lease)
    }

    fn dead_letters(&mut self, max: usize) -> Result<Vec<DeadLetter>, Error> {
        self.inner.dead_letters(max)
    }

    fn redrive(&mut self, max: usize) -> Result<usize, Error> {
        self.inner.redrive(max)
    }

    fn depth(&mut self) -> Result<Depth, Error> {
        self.inner.depth()
    }
}

/// Which promises are seen broken in so many plans, and how often the clock was moved because all waited for that.
fn broken(way: Way, count: u64) -> (Vec<Invariant>, usize) {
    let (mut broken, mut rounds) = (Vec::new(), 0);
    for case in 0..count {
        let plan = Plan::draw(case_seed(1, "waits", case));
        let history = run(hosting(way), &plan, true).expect("it starts");
        rounds += history
            .events
            .iter()
            .filter(|event| matches!(event.what, What::Advanced { by } if by <= ROUND))
            .count();
        let verdicts = checkers::judge(&history).into_iter();
        broken.extend(verdicts.filter(|(_, verdict)| verdict.is_broken()).map(|(invariant, _)| invariant));
    }
    (broken, rounds)
}

#[test]
fn what_a_queue_starts_has_its_turns_and_time_passes_for_it() {
    let (broken, rounds) = broken(Way::Rounds, 300);
    assert!(broken.is_empty(), "{broken:?}");
    assert!(rounds > 1000, "{rounds}");
}

#[test]
fn who_looks_again_and_again_is_not_starved() {
    assert_eq!(broken(Way::Flag, 300).0, []);
}

#[test]
fn who_waits_for_ever_is_noticed_though_others_go_on_and_on() {
    assert!(broken(Way::RoundsUntold, 10).0.contains(&Invariant::Li1));
    assert!(broken(Way::FlagKept, 10).0.contains(&Invariant::Li1));
}
