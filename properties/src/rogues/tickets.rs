//! A file queue whose sessions send and settle by ticket, item by item, so that one client has many calls open at once: right,
//! unless it makes one of the mistakes that only tickets meet.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use stanchion_queues::file::{FileQueue, FileSession, Mistake, SimDisk, SimHost, Ticket};
use stanchion_queues::sync::{self, Condvar, Mutex};
use stanchion_queues::{
    Broker, Contract, Crash, DeadLetter, Delivery, Depth, Error, Host, Message, Receipt, Sent, Session,
    Settings, Settled, Settlement,
};

/// Hosts one on a simulated disk.
#[derive(Debug)]
pub struct TicketHost(SimHost);

/// One whose sessions do everything by ticket.
#[derive(Debug)]
pub struct TicketQueue(FileQueue<SimDisk>);

/// A session of it.
#[derive(Debug)]
pub struct TicketSession {
    inner: FileSession<SimDisk>,
    calls: u64,
}

impl TicketHost {
    /// The right one.
    pub fn new(settings: &Settings) -> TicketHost {
        TicketHost(SimHost::new(settings))
    }

    /// One that makes a mistake.
    pub fn with_mistake(mistake: Mistake, settings: &Settings) -> TicketHost {
        TicketHost(SimHost::with_mistake(mistake, settings))
    }
}

impl Host for TicketHost {
    type Broker = TicketQueue;

    fn boot(&mut self) -> Result<TicketQueue, Error> {
        self.0.boot().map(TicketQueue)
    }

    fn crash(&mut self, crash: Crash) {
        self.0.crash(crash);
    }

    fn cuts_off_calls(&self) -> bool {
        self.0.cuts_off_calls()
    }

    fn simulated_disk(&self) -> Option<&SimDisk> {
        self.0.simulated_disk()
    }

    fn limit(&mut self, deliveries_allowed: u32) -> bool {
        self.0.limit(deliveries_allowed)
    }

    fn idle(&self) {
        self.0.idle();
    }
}

impl Broker for TicketQueue {
    type Session = TicketSession;

    fn contract(&self) -> Contract {
        self.0.contract()
    }

    fn session(&self) -> Result<TicketSession, Error> {
        self.0.session().map(|inner| TicketSession { inner, calls: 0 })
    }
}

/// Tells whoever awaits something to look again.
#[derive(Debug, Default)]
struct Awake {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Awake {
    fn wake(self: Arc<Awake>) {
        *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }
}

fn awaited<F: Future>(future: F) -> F::Output {
    let (mut future, awake) = (pin!(future), Arc::<Awake>::default());
    let waker = Waker::from(Arc::clone(&awake));
    loop {
        if let Poll::Ready(answer) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return answer;
        }
        let woken = awake.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let asleep = |woken: &mut bool| !*woken;
        *awake.changed.wait_while(woken, asleep).unwrap_or_else(PoisonError::into_inner) = false;
    }
}

impl TicketSession {
    /// Every other call waits for its tickets and so commits them itself, and every other awaits them, where there is somebody
    /// else to do so.
    fn answers<A: Unpin>(&mut self, tickets: VecDeque<Ticket<SimDisk, A>>) -> Vec<A> {
        self.calls += 1;
        let waits = self.calls.is_multiple_of(2) || !sync::is_decided();
        let mut answers: VecDeque<A> = VecDeque::new();
        // The last one first: what was begun before is then settled as well.
        for ticket in tickets.into_iter().rev() {
            let all = if waits { ticket.wait() } else { awaited(ticket) };
            all.into_iter().rev().for_each(|answer| answers.push_front(answer));
        }
        answers.into()
    }
}

impl Session for TicketSession {
    fn send(&mut self, messages: &[Message]) -> Vec<Sent> {
        let tickets = messages.chunks(1).map(|one| self.inner.begin_send(one)).collect();
        self.answers(tickets)
    }

    fn receive(&mut self, max: usize, lease: Duration) -> Result<Vec<Delivery>, Error> {
        self.inner.receive(max, lease)
    }

    fn settle(&mut self, settlements: &[Settlement]) -> Vec<Settled> {
        let tickets = settlements.chunks(1).map(|one| self.inner.begin_settle(one)).collect();
        self.answers(tickets)
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
