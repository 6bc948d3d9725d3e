//! A closed loop of producers, and of consumers if there are any, and the verification after it.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use stanchion_queues::Message;

use crate::Failure;
use crate::audit::Audit;
use crate::body::Maker;
use crate::store::{Client, Store};

/// What is asked of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// How many threads send, each waiting for its own confirmation before it sends again.
    pub producers: usize,
    /// How many threads take one message and remove it, again and again.
    pub consumers: usize,
    /// How many messages are in one send.
    pub batch: usize,
    /// How many bytes a body has.
    pub body: usize,
    /// When it is over.
    pub until: Until,
}

/// When a load is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Each producer made so many sends, and the consumers removed everything.
    Sends(u64),
    /// This long, by everyone's own clock.
    Elapsed(Duration),
}

/// How many messages lie ready for each consumer before the loop begins.
pub(crate) const READY: usize = 16;

/// What a store did under a load, and kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// From the first start to the last end.
    pub elapsed: Duration,
    /// How many sends of messages and removals were confirmed in that time.
    pub confirmed: u64,
    /// How long a send took in the middle.
    pub p50: Duration,
    /// 99 of 100 sends took no longer.
    pub p99: Duration,
}

impl Trial {
    /// Confirmed messages, and removals, in a second.
    pub fn rate(&self) -> f64 {
        self.confirmed as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// What one thread did.
#[derive(Default)]
struct Worked {
    span: Option<(Instant, Instant)>,
    sends: Vec<Duration>,
    sent: u64,
    removed: Vec<Arc<[u8]>>,
}

/// Who is at work.
struct Shift<'a> {
    load: &'a Load,
    start: Barrier,
    producing: AtomicUsize,
}

/// Runs the load on an empty store, and times only that. Then it opens the store again and looks for everything.
///
/// # Errors
/// What the store says, or [`crate::audit::Faults`].
pub fn run<S: Store>(load: &Load, directory: &Path) -> Result<Trial, Failure> {
    let store = S::open(directory)?;
    let mut first = store.client()?;
    let mut maker = Maker::new(load.producers, load.body);
    let mut ready = Vec::new();
    // Also where there are no consumers: files are begun, statements are prepared.
    maker.fill(&mut ready, (READY * load.consumers).max(1));
    first.send(&ready)?;
    drop(first);

    let shift = Shift {
        load,
        start: Barrier::new(load.producers + load.consumers),
        producing: AtomicUsize::new(load.producers),
    };
    let clients = |many: usize| (0..many).map(|_| store.client()).collect::<Result<Vec<_>, _>>();
    let (producers, consumers) = (clients(load.producers)?, clients(load.consumers)?);
    let worked: Vec<Worked> = thread::scope(|scope| {
        let shift = &shift;
        let producers =
            (0..).zip(producers).map(|(number, client)| scope.spawn(move || shift.produce(number, client)));
        let producers: Vec<_> = producers.collect();
        let consumers: Vec<_> =
            consumers.into_iter().map(|client| scope.spawn(move || shift.consume(client))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<Worked, Failure>>| {
            thread.join().unwrap_or_else(|_| Err("the store panicked".into()))
        };
        producers.into_iter().chain(consumers).map(join).collect::<Result<_, Failure>>()
    })?;
    drop(store);

    let mut confirmed: Vec<u64> = worked.iter().take(load.producers).map(|worked| worked.sent).collect();
    confirmed.push(maker.made());
    let removed = worked.iter().flat_map(|worked| &worked.removed);
    audit::<S>(confirmed, removed.map(|body| &**body), directory)?;
    let spans = || worked.iter().filter_map(|worked| worked.span);
    let begun = spans().map(|(begun, _)| begun).min();
    let ended = spans().map(|(_, ended)| ended).max();
    let elapsed = ended.zip(begun).map(|(ended, begun)| ended - begun).ok_or("nobody worked")?;
    let confirmed = worked.iter().map(|worked| worked.sent + worked.removed.len() as u64).sum();
    trial(elapsed, confirmed, worked.into_iter().flat_map(|worked| worked.sends).collect())
}

/// Opens a store in which each producer's messages were confirmed, so many, and looks for everything that was not
/// removed.
///
/// # Errors
/// What the store says, or [`crate::audit::Faults`].
pub fn audit<'a, S: Store>(
    confirmed: Vec<u64>,
    removed: impl IntoIterator<Item = &'a [u8]>,
    directory: &Path,
) -> Result<(), Failure> {
    let mut audit = Audit::of(confirmed);
    removed.into_iter().for_each(|body| audit.removed(body));
    S::contents(directory, &mut |body| audit.found(body))?;
    Ok(audit.close()?)
}

pub(crate) fn trial(elapsed: Duration, confirmed: u64, mut sends: Vec<Duration>) -> Result<Trial, Failure> {
    sends.sort_unstable();
    let at =
        |share: f64| sends.get(((sends.len() as f64 * share) as usize).min(sends.len().saturating_sub(1)));
    let (p50, p99) = at(0.50).zip(at(0.99)).ok_or("nothing was sent")?;
    Ok(Trial { elapsed, confirmed, p50: *p50, p99: *p99 })
}

impl Shift<'_> {
    fn is_over(&self, begun: Instant, sends: u64) -> bool {
        match self.load.until {
            Until::Sends(many) => sends >= many,
            Until::Elapsed(time) => begun.elapsed() >= time,
        }
    }

    fn produce(&self, number: usize, mut client: impl Client) -> Result<Worked, Failure> {
        /// Also when it fails: nobody waits for a producer that is gone.
        struct Leave<'a>(&'a AtomicUsize);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Release);
            }
        }
        let _leave = Leave(&self.producing);
        let mut maker = Maker::new(number, self.load.body);
        let mut batch: Vec<Message> = Vec::with_capacity(self.load.batch);
        let mut sends = Vec::with_capacity(1 << 14);
        self.start.wait();
        let begun = Instant::now();
        let mut ended = begun;
        while !self.is_over(begun, sends.len() as u64) {
            maker.fill(&mut batch, self.load.batch);
            let called = Instant::now();
            client.send(&batch)?;
            ended = Instant::now();
            sends.push(ended - called);
        }
        Ok(Worked { span: Some((begun, ended)), sends, sent: maker.made(), removed: Vec::new() })
    }

    fn consume(&self, mut client: impl Client) -> Result<Worked, Failure> {
        let mut removed = Vec::with_capacity(1 << 14);
        self.start.wait();
        let begun = Instant::now();
        let mut ended = begun;
        loop {
            let (over, drains) = match self.load.until {
                Until::Sends(_) => (self.producing.load(Ordering::Acquire) == 0, true),
                Until::Elapsed(time) => (begun.elapsed() >= time, false),
            };
            if over && !drains {
                break;
            }
            match client.consume()? {
                Some(body) => {
                    ended = Instant::now();
                    removed.push(body);
                }
                None if over => break,
                None => idle(),
            }
        }
        Ok(Worked { span: Some((begun, ended)), removed, ..Worked::default() })
    }
}

/// How a consumer waits that found nothing: in a way that leaves the cores to those who have work.
fn idle() {
    thread::sleep(Duration::from_micros(20));
}
