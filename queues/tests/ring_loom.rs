//! All interleavings of a few threads on a tiny ring, and all values that the memory model lets them read.
//!
//! The ring's own source is compiled here with loom's atomics in place of the standard library's, and with cells
//! that notice two threads in one slot. Counters start at their maximum, so that they wrap in every model. Each
//! model is exhaustive up to [`PREEMPTIONS`] switches away from a thread that could have gone on, and up to
//! [`WAITS`] looks of an operation that waits; within these bounds every result must be one of a bounded FIFO queue
//! whose operations happen one after the other.
//!
//! Then each memory ordering is weakened by itself, and some model must fail.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

#[path = "../src/buffers/ring/end.rs"]
#[allow(dead_code, unreachable_pub)]
mod end;
#[path = "../src/buffers/ring/orders.rs"]
mod orders;

use end::{Consumer, Producer, Shared};
use slots::Slots;

/// With two threads; three threads get one less.
const PREEMPTIONS: usize = 3;
/// How often an operation waits for somebody else before the rest of the run is explored no further.
const WAITS: usize = 2;

/// What the ring shares memory with: loom's.
mod sync {
    use std::cell::Cell;
    pub(crate) use std::sync::atomic::Ordering;

    pub(crate) use loom::sync::Arc;

    /// It does not matter here what lies on which cache line.
    pub(crate) struct CachePadded<T>(T);

    impl<T> CachePadded<T> {
        pub(crate) fn new(inner: T) -> CachePadded<T> {
            CachePadded(inner)
        }
    }

    impl<T> std::ops::Deref for CachePadded<T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.0
        }
    }

    /// A pause changes nothing here.
    pub(crate) mod hint {
        pub(crate) fn spin_loop() {}
    }

    thread_local! {
        /// The ordering that is weakened to nothing. Loom runs its threads on the thread of the test.
        pub(crate) static WEAKENED: Cell<&'static str> = const { Cell::new("") };
    }

    #[derive(Clone, Copy)]
    pub(crate) struct Order {
        pub(crate) name: &'static str,
        pub(crate) ordering: Ordering,
    }

    pub(crate) const fn order(name: &'static str, ordering: Ordering) -> Order {
        Order { name, ordering }
    }

    impl Order {
        fn now(self) -> Ordering {
            if WEAKENED.get() == self.name { Ordering::Relaxed } else { self.ordering }
        }
    }

    pub(crate) struct AtomicUsize(loom::sync::atomic::AtomicUsize);

    impl AtomicUsize {
        pub(crate) fn new(value: usize) -> AtomicUsize {
            AtomicUsize(loom::sync::atomic::AtomicUsize::new(value))
        }

        pub(crate) fn load(&self, order: Order) -> usize {
            self.0.load(order.now())
        }

        pub(crate) fn store(&self, value: usize, order: Order) {
            self.0.store(value, order.now());
        }

        pub(crate) fn compare_exchange_weak(
            &self,
            current: usize,
            new: usize,
            success: Order,
            failure: Order,
        ) -> Result<usize, usize> {
            self.0.compare_exchange_weak(current, new, success.now(), failure.now())
        }
    }

    pub(crate) fn fence(order: Order) {
        if order.now() != Ordering::Relaxed {
            loom::sync::atomic::fence(order.now());
        }
    }

    /// Somebody else must run before it makes sense to look again. Loom counts no preemption when a thread gives
    /// way, so two that wait for a third could give way to each other for ever: after [`WAITS`] times in one
    /// operation the run goes on as a fair scheduler would, without alternatives.
    ///
    /// [`WAITS`]: super::WAITS
    pub(crate) struct Backoff(Cell<usize>);

    impl Backoff {
        pub(crate) fn new() -> Backoff {
            Backoff(Cell::new(0))
        }

        pub(crate) fn spin(&self) {
            self.snooze();
        }

        pub(crate) fn snooze(&self) {
            self.0.set(self.0.get() + 1);
            if self.0.get() == super::WAITS {
                loom::skip_branch();
            }
            loom::thread::yield_now();
        }
    }
}

/// Where the items lie: one watched cell each.
mod slots {
    use std::mem::ManuallyDrop;

    use loom::cell::UnsafeCell;

    /// As the real ones, they do not drop what is left in them.
    pub(crate) struct Slots<T>(Vec<UnsafeCell<Option<ManuallyDrop<T>>>>);

    #[allow(unsafe_code)]
    // SAFETY: loom's cells fail the test when two threads use one at the same time.
    unsafe impl<T: Send> Sync for Slots<T> {}

    #[allow(unsafe_code)]
    impl<T> Slots<T> {
        pub(crate) fn new(capacity: usize) -> Slots<T> {
            Slots((0..capacity.next_power_of_two()).map(|_| UnsafeCell::new(None)).collect())
        }

        fn at(&self, position: usize) -> &UnsafeCell<Option<ManuallyDrop<T>>> {
            &self.0[position & (self.0.len() - 1)]
        }

        pub(crate) unsafe fn write(&self, position: usize, item: T) {
            self.at(position).with_mut(|slot| {
                // SAFETY: loom has checked that nobody else is in this cell.
                let before = unsafe { slot.replace(Some(ManuallyDrop::new(item))) };
                assert!(before.is_none(), "an item was overwritten");
            });
        }

        pub(crate) unsafe fn read(&self, position: usize) -> T {
            self.at(position).with_mut(|slot| {
                // SAFETY: loom has checked that nobody else is in this cell.
                let item = unsafe { slot.replace(None) };
                ManuallyDrop::into_inner(item.expect("a vacant slot was read"))
            })
        }

        pub(crate) unsafe fn write_run(&self, position: usize, items: &[T]) {
            for (at, item) in items.iter().enumerate() {
                // SAFETY: the caller forgets the items, so they are moved and not copied.
                unsafe { self.write(position.wrapping_add(at), std::ptr::read(item)) };
            }
        }

        pub(crate) unsafe fn read_run(&self, position: usize, count: usize, into: &mut Vec<T>) {
            // SAFETY: as the caller promises.
            into.extend((0..count).map(|at| unsafe { self.read(position.wrapping_add(at)) }));
        }
    }
}

/// What one thread does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Push(u64),
    Pop,
    PushMany(u64, usize),
    PopMany(usize),
    /// Tells the others, outside the ring, that what came before is done.
    Raise,
    /// Asks whether somebody has told.
    Raised,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
enum Did {
    Push(u64, bool),
    Pop(Option<u64>),
    /// The items offered, and how many went in.
    PushMany(Vec<u64>, usize),
    /// At most so many, and what came.
    PopMany(usize, Vec<u64>),
    Raise,
    /// If not, that says nothing: the news may be on their way.
    Raised(bool),
}

/// One thread's ends.
struct Client {
    producer: Producer<u64>,
    consumer: Consumer<u64>,
    flag: Arc<AtomicBool>,
}

impl Client {
    fn run(&mut self, op: Op) -> Did {
        match op {
            Op::Push(item) => Did::Push(item, self.producer.push(item).is_ok()),
            Op::Pop => Did::Pop(self.consumer.pop()),
            Op::PushMany(first, count) => {
                let items: Vec<u64> = (first..first + count as u64).collect();
                let mut rest: VecDeque<u64> = items.clone().into();
                let pushed = self.producer.push_many(&mut rest);
                assert_eq!(rest, &items[pushed..], "what did not fit comes back, in order");
                Did::PushMany(items, pushed)
            }
            Op::PopMany(max) => {
                let mut popped = Vec::new();
                self.consumer.pop_many(&mut popped, max);
                Did::PopMany(max, popped)
            }
            Op::Raise => {
                self.flag.store(true, Ordering::Release);
                Did::Raise
            }
            Op::Raised => Did::Raised(self.flag.load(Ordering::Acquire)),
        }
    }
}

/// The threads of one model: what each does on a ring of this capacity that holds `inside` to begin with.
#[derive(Clone)]
struct Model {
    capacity: usize,
    inside: usize,
    /// Whether one end pushes and one pops: the first thread has the one, the second has the other.
    alone: [bool; 2],
    threads: Vec<Vec<Op>>,
}

impl Model {
    /// Any thread may push and pop.
    fn shared(capacity: usize, inside: usize, threads: &[&[Op]]) -> Model {
        let threads = threads.iter().map(|ops| ops.to_vec()).collect();
        Model { capacity, inside, alone: [false; 2], threads }
    }

    fn alone(self, producer: bool, consumer: bool) -> Model {
        Model { alone: [producer, consumer], ..self }
    }

    /// Runs all interleavings.
    fn check(&self) {
        let model = self.clone();
        let mut builder = Builder::new();
        builder.preemption_bound = Some(PREEMPTIONS + 2 - self.threads.len());
        builder.max_branches = 10_000;
        builder.check(move || model.once());
    }

    fn once(&self) {
        let shared = Shared::new(Slots::new(self.capacity), self.capacity, usize::MAX, self.alone);
        let flag = Arc::new(AtomicBool::new(false));
        let client = || Client {
            producer: Producer::new(&shared),
            consumer: Consumer::new(&shared),
            flag: Arc::clone(&flag),
        };
        // Each end is made once: an end that is alone keeps its position to itself.
        let mut clients: Vec<Client> = self.threads.iter().map(|_| client()).collect();
        for item in 0..self.inside as u64 {
            assert!(clients[0].producer.push(item).is_ok());
        }
        // The first thread only waits: loom takes all that it does for known to those that it spawned.
        let threads: Vec<_> = self
            .threads
            .iter()
            .cloned()
            .zip(clients)
            .map(|(ops, mut client)| {
                thread::spawn(move || ops.into_iter().map(|op| client.run(op)).collect::<Vec<Did>>())
            })
            .collect();
        let histories: Vec<Vec<Did>> =
            threads.into_iter().map(|thread| thread.join().expect("no operation panics")).collect();
        let inside: VecDeque<u64> = (0..self.inside as u64).collect();
        assert!(
            explained(&histories, inside, self.capacity),
            "no order of these explains them: {histories:?}"
        );
    }
}

/// Whether the operations, one after the other in some order that keeps each thread's, are those of a bounded
/// FIFO queue. A batch is a run of single operations, since nobody claims that it is one.
fn explained(histories: &[Vec<Did>], inside: VecDeque<u64>, capacity: usize) -> bool {
    let steps: Vec<Vec<Did>> = histories.iter().map(|dids| dids.iter().flat_map(singles).collect()).collect();
    fn search(steps: &[&[Did]], inside: &VecDeque<u64>, raised: bool, capacity: usize) -> bool {
        steps.iter().all(|rest| rest.is_empty())
            || (0..steps.len()).any(|thread| {
                let Some((did, rest)) = steps[thread].split_first() else { return false };
                let mut next = inside.clone();
                let mut told = raised;
                let possible = match did {
                    Did::Push(item, true) => {
                        next.push_back(*item);
                        next.len() <= capacity
                    }
                    Did::Push(_, false) => next.len() == capacity,
                    Did::Pop(popped) => next.pop_front() == *popped,
                    Did::Raise => {
                        told = true;
                        true
                    }
                    Did::Raised(seen) => raised || !seen,
                    Did::PushMany(..) | Did::PopMany(..) => unreachable!("batches are taken apart"),
                };
                let mut after = steps.to_vec();
                after[thread] = rest;
                possible && search(&after, &next, told, capacity)
            })
    }
    search(&steps.iter().map(Vec::as_slice).collect::<Vec<_>>(), &inside, false, capacity)
}

/// The single operations of a batch. One that went in short ends with "full"; one that brought nothing is "empty".
fn singles(did: &Did) -> Vec<Did> {
    match did {
        Did::PushMany(items, pushed) => {
            let full = items.get(*pushed).map(|item| Did::Push(*item, false));
            items[..*pushed].iter().map(|item| Did::Push(*item, true)).chain(full).collect()
        }
        Did::PopMany(_, popped) if popped.is_empty() => vec![Did::Pop(None)],
        Did::PopMany(_, popped) => popped.iter().map(|item| Did::Pop(Some(*item))).collect(),
        single => vec![single.clone()],
    }
}

use Op::{Pop, PopMany, Push, PushMany, Raise, Raised};

/// By name: every shape, every operation, full, empty, wrap and batches that do not fit.
fn models() -> Vec<(&'static str, Model)> {
    let spsc =
        |capacity, inside, threads: &[&[Op]]| Model::shared(capacity, inside, threads).alone(true, true);
    vec![
        ("spsc, one slot", spsc(1, 0, &[&[Push(10), Push(11), Push(12)], &[Pop, Pop, Pop]])),
        ("spsc, two slots", spsc(2, 1, &[&[Push(10), Push(11), Push(12)], &[Pop, Pop, Pop]])),
        ("spsc, batches", spsc(3, 1, &[&[PushMany(10, 3), Push(20)], &[PopMany(2), PopMany(4)]])),
        ("spmc, one slot", Model::shared(1, 1, &[&[Push(10), Push(11)], &[Pop], &[Pop]]).alone(true, false)),
        (
            "spmc, batches",
            Model::shared(2, 1, &[&[PushMany(10, 2)], &[PopMany(2)], &[Pop]]).alone(true, false),
        ),
        ("mpsc, one slot", Model::shared(1, 0, &[&[Pop, Pop], &[Push(10)], &[Push(20)]]).alone(false, true)),
        (
            "mpsc, batches",
            Model::shared(2, 1, &[&[PopMany(3)], &[PushMany(10, 2)], &[Push(20)]]).alone(false, true),
        ),
        ("mpmc, one slot", Model::shared(1, 0, &[&[Push(10), Pop], &[Push(20), Pop]])),
        ("mpmc, one slot, full", Model::shared(1, 1, &[&[Pop, Push(10)], &[Push(20), Pop]])),
        ("mpmc, two slots", Model::shared(2, 2, &[&[Pop, Push(10)], &[Pop, Push(20)]])),
        ("mpmc, two slots, empty", Model::shared(2, 0, &[&[Push(10), Pop], &[Push(20), Pop]])),
        ("mpmc, three threads", Model::shared(2, 1, &[&[Push(10)], &[Push(20)], &[Pop]])),
        ("mpmc, one after the other", Model::shared(2, 1, &[&[Push(10)], &[Push(30), Pop], &[Pop]])),
        ("mpmc, batches", Model::shared(2, 1, &[&[PushMany(10, 2), PopMany(2)], &[PopMany(1), Push(20)]])),
        ("mpmc, batches and three slots", Model::shared(3, 1, &[&[PushMany(10, 2)], &[PushMany(20, 2)]])),
        ("mpmc, never empty", Model::shared(2, 1, &[&[Push(10), Pop, Push(11), Pop], &[Pop]])),
        ("spsc, pushed and told", spsc(2, 0, &[&[Push(10), Raise], &[Raised, Pop]])),
        ("spsc, popped and told", spsc(1, 1, &[&[Raised, Push(10)], &[Pop, Raise]])),
        ("mpmc, pushed and told", Model::shared(2, 0, &[&[Push(10), Raise], &[Raised, Pop], &[Push(20)]])),
        ("mpmc, popped and told", Model::shared(2, 2, &[&[Pop, Raise], &[Raised, Push(10)], &[Pop]])),
    ]
}

/// Two threads, two rings of one slot: each pushes into its own and asks whether the other's is empty; or each pops
/// from its own and asks whether the other's is full. Both cannot be.
fn store_buffering(alone: bool, inside: bool) {
    loom::model(move || {
        let ring = || Shared::<u64>::new(Slots::new(1), 1, usize::MAX, [alone; 2]);
        let (mine, yours) = (ring(), ring());
        let (mut my_pushes, mut your_pushes) = (Producer::new(&mine), Producer::new(&yours));
        let (mut my_pops, mut your_pops) = (Consumer::new(&mine), Consumer::new(&yours));
        if inside {
            assert!(my_pushes.push(1).is_ok() && your_pushes.push(2).is_ok());
            let other = thread::spawn(move || {
                assert_eq!(your_pops.pop(), Some(2));
                my_pushes.push(20)
            });
            assert_eq!(my_pops.pop(), Some(1));
            let seen = (your_pushes.push(10).is_err(), other.join().expect("no operation panics").is_err());
            assert_ne!(seen, (true, true), "both popped, and both found the other's ring full");
        } else {
            let other = thread::spawn(move || {
                assert!(your_pushes.push(2).is_ok());
                my_pops.pop()
            });
            assert!(my_pushes.push(1).is_ok());
            let seen = (your_pops.pop(), other.join().expect("no operation panics"));
            assert_ne!(seen, (None, None), "both pushed, and both found the other's ring empty");
        }
    });
}

/// All of them, by name.
const STORE_BUFFERING: [(&str, bool, bool); 4] = [
    ("two spsc rings, empty", true, false),
    ("two spsc rings, full", true, true),
    ("two mpmc rings, empty", false, false),
    ("two mpmc rings, full", false, true),
];

/// Items that are dropped with the ring, and items that are not: loom counts its own `Arc`s.
fn nothing_leaks() {
    loom::model(|| {
        let shared = Shared::new(Slots::new(2), 2, usize::MAX, [false; 2]);
        let (mut one, mut other) = (Producer::new(&shared), Producer::new(&shared));
        let mut consumer = Consumer::new(&shared);
        drop(shared);
        let item = loom::sync::Arc::new(());
        let theirs = item.clone();
        let pusher = thread::spawn(move || {
            let _ = other.push(theirs);
        });
        let _ = one.push(item);
        drop((one, consumer.pop(), consumer));
        pusher.join().expect("no operation panics");
    });
}

#[test]
fn every_interleaving_is_that_of_a_bounded_fifo_queue() {
    for (name, model) in models() {
        eprintln!("{name}");
        model.check();
    }
}

#[test]
fn an_answer_is_true_across_two_rings() {
    for (name, alone, inside) in STORE_BUFFERING {
        eprintln!("{name}");
        store_buffering(alone, inside);
    }
}

#[test]
fn every_item_is_dropped() {
    nothing_leaks();
    let leaks = || {
        loom::model(|| {
            let shared = Shared::new(Slots::new(2), 2, usize::MAX, [true; 2]);
            let mut producer = Producer::new(&shared);
            let _ = producer.push(loom::sync::Arc::new(()));
            // The ring is never dropped.
            std::mem::forget((shared, producer));
        });
    };
    failure(leaks).expect("what is not dropped is noticed");
}

/// An ordering that was weakened to nothing, and what came of it.
pub(crate) struct Weakened {
    pub(crate) ordering: &'static str,
    /// The model that failed, and how: the first of those tried. `None`: none did.
    pub(crate) failed: Option<(&'static str, String)>,
    /// How many models were tried.
    pub(crate) tried: u64,
    pub(crate) took: Duration,
}

/// Weakens each of these orderings by itself. The first two are the zoo's M01 and M02.
pub(crate) fn weakened() -> impl Iterator<Item = Weakened> {
    ["publish", "observe", "turn", "answer", "claim", "first"].into_iter().map(|ordering| {
        sync::WEAKENED.set(ordering);
        let begun = Instant::now();
        let (mut tried, mut failed) = (0, None);
        let mut fails = |name: &'static str, check: &dyn Fn()| {
            tried += 1;
            failed = failure(check).map(|why| (name, why));
            failed.is_some()
        };
        let _ = models().iter().any(|(name, model)| fails(name, &|| model.check()))
            || STORE_BUFFERING
                .iter()
                .any(|(name, alone, inside)| fails(name, &|| store_buffering(*alone, *inside)));
        sync::WEAKENED.set("");
        Weakened { ordering, failed, tried, took: begun.elapsed() }
    })
}

#[test]
fn every_ordering_is_needed() {
    use orders::{ANSWER, CLAIM, FIRST, GUESS, OBSERVE, PUBLISH, SECOND, TURN};
    let strong = |order: &&sync::Order| order.ordering != sync::Ordering::Relaxed;
    let all = [PUBLISH, OBSERVE, TURN, ANSWER, CLAIM, FIRST, SECOND, GUESS];
    let strong = all.iter().filter(strong).map(|order| order.name);
    let weakened: Vec<Weakened> = weakened().collect();
    assert!(strong.eq(weakened.iter().map(|weakened| weakened.ordering)));
    for Weakened { ordering, failed, tried, took } in weakened {
        let (model, why) = failed.unwrap_or_else(|| panic!("{ordering} was weakened, and nothing failed"));
        let why = why.lines().next().unwrap_or_default();
        println!("{ordering:<8} weakened: fails in \"{model}\" (model {tried}, {took:.1?}): {why}");
    }
}

/// What went wrong, if something did.
fn failure(check: impl Fn()) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(check)).err()?;
    let text = panic
        .downcast::<String>()
        .map_or_else(|panic| panic.downcast::<&str>().map(|text| (*text).to_owned()), |text| Ok(*text));
    let text = text.unwrap_or_else(|_| "a panic without words".to_owned());
    assert!(!text.contains("maximum number of branches"), "the model is too large: {text}");
    Some(text)
}
