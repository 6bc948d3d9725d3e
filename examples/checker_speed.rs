//! How fast a history of a buffer is judged, and in how much memory:
//! `cargo run --release --example checker_speed [OPERATIONS]` (ten million at most by default).
//!
//! Histories of right queues with overlapping calls, on two and on four threads a side, are judged on one core.
//! Each line is the median of five; bytes are the most in use at once, for each operation, the history included.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use stanchion::BufferContract;
use stanchion::properties::buffer_history::{
    BufferHistory, ConsumerLog, Offered, Popped, ProducerLog, Window, token,
};
use stanchion::properties::checkers_buffer::{Effort, judge_with};

/// Counts the bytes in use.
struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn taken(bytes: usize) {
    MOST.fetch_max(USED.fetch_add(bytes, Ordering::Relaxed) + bytes, Ordering::Relaxed);
}

#[allow(unsafe_code)]
// SAFETY: every call is handed on unchanged to the allocator of the system; the counters touch no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: usize = 5;
const SMALLEST: usize = 10_000;

#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    /// `None`: unbounded.
    capacity: Option<usize>,
    fulls: bool,
    construct: bool,
}

const CASES: [Case; 6] = [
    Case { name: "unbounded: steps", capacity: None, fulls: false, construct: true },
    Case { name: "1024: constructed", capacity: Some(1024), fulls: false, construct: true },
    Case { name: "64, full: constructed", capacity: Some(64), fulls: true, construct: true },
    Case { name: "4, full: constructed", capacity: Some(4), fulls: true, construct: true },
    Case { name: "64, full: searched", capacity: Some(64), fulls: true, construct: false },
    Case { name: "4, full: searched", capacity: Some(4), fulls: true, construct: false },
];

fn main() -> ExitCode {
    let most: usize = match std::env::args().nth(1).map(|text| text.parse()) {
        None => 10_000_000,
        Some(Ok(most)) => most,
        Some(Err(error)) => {
            eprintln!("the number of operations makes no sense ({error}): give one, as in 1000000");
            return ExitCode::from(2);
        }
    };
    println!(
        "{:<24}{:>8}{:>12}{:>12}{:>12}  decided by",
        "history", "threads", "operations", "M ops/s", "bytes/op"
    );
    for case in CASES {
        for threads in [2, 4] {
            let sizes = std::iter::successors(Some(SMALLEST), |size| Some(10 * size));
            for operations in sizes.take_while(|size| *size <= most) {
                if !measure(case, threads, operations) {
                    return ExitCode::FAILURE;
                }
            }
        }
    }
    ExitCode::SUCCESS
}

/// `false`: a right history was blamed.
fn measure(case: Case, threads: usize, operations: usize) -> bool {
    let before = USED.load(Ordering::Relaxed);
    let history = simulated(case, threads, operations);
    let effort = Effort { construct: case.construct, ..Effort::default() };
    MOST.store(USED.load(Ordering::Relaxed), Ordering::Relaxed);
    let mut seconds = Vec::new();
    let mut decided = None;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let judgement = judge_with(&history, effort);
        seconds.push(start.elapsed().as_secs_f64());
        if let Some(found) = judgement.counterexamples.first() {
            println!("a right history was blamed: {found}");
            return false;
        }
        decided = judgement.decided;
    }
    seconds.sort_by(f64::total_cmp);
    let bytes = MOST.load(Ordering::Relaxed) - before;
    println!(
        "{:<24}{:>8}{:>12}{:>12.1}{:>12.1}  {}",
        case.name,
        format!("{threads} x {threads}"),
        history.len(),
        history.len() as f64 / seconds[ROUNDS / 2] / 1e6,
        bytes as f64 / history.len() as f64,
        decided.map_or("steps".to_owned(), |decided| format!("{decided:?}").to_lowercase()),
    );
    true
}

/// Cheap numbers: xorshift64 (Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) % bound
    }
}

/// Ticks between the instants at which two operations take effect.
const STEP: u64 = 10;

/// One queue in sequence, each operation with a window around its instant that meets those of other threads.
fn simulated(case: Case, threads: usize, operations: usize) -> BufferHistory {
    let contract = BufferContract { bounded: case.capacity.is_some(), ..BufferContract::FIFO };
    let capacity = case.capacity.unwrap_or(usize::MAX);
    let mut producers = vec![ProducerLog::default(); threads];
    let mut consumers = vec![ConsumerLog::default(); threads];
    let mut queue = VecDeque::new();
    let mut dice = Dice(88_172_645_463_325_252);
    let mut last = vec![0; 2 * threads];
    let width = STEP * 2 * threads as u64;
    for step in 0..operations as u64 {
        let instant = width + STEP * step;
        // Phases in which one side is faster, so that the queue fills and empties.
        let filling = (step / 4096) % 2 == 0;
        let producing = dice.below(16) < if filling { 9 } else { 7 };
        let producing = producing && (case.fulls || queue.len() < capacity);
        let first = dice.below(threads as u64) as usize;
        let thread = (0..threads)
            .map(|next| (first + next) % threads + if producing { 0 } else { threads })
            .find(|thread| last[*thread] < instant);
        let Some(thread) = thread else { continue };
        let call = instant.saturating_sub(dice.below(width)).max(last[thread] + 1);
        let window = Window { call, ret: instant + dice.below(width) };
        last[thread] = window.ret;
        if producing {
            let log = &mut producers[thread];
            if queue.len() < capacity {
                queue.push_back(token(thread, log.offers.len()));
                log.offers.push(Offered::Accepted(window));
            } else {
                log.fulls.push(window);
            }
        } else {
            let log = &mut consumers[thread - threads];
            match queue.pop_front() {
                Some(token) => log.pops.push(Popped { window, token: Some(token) }),
                None => log.empties.push(window),
            }
        }
    }
    let mut tick = last.into_iter().max().unwrap_or(0);
    for token in queue.into_iter().map(Some).chain([None]) {
        tick += 2;
        let window = Window { call: tick, ret: tick + 1 };
        match token {
            Some(_) => consumers[0].pops.push(Popped { window, token }),
            None => consumers[0].empties.push(window),
        }
    }
    for log in &mut producers {
        log.offers.shrink_to_fit();
        log.fulls.shrink_to_fit();
    }
    for log in &mut consumers {
        log.pops.shrink_to_fit();
        log.empties.shrink_to_fit();
    }
    BufferHistory { contract, capacity: case.capacity.unwrap_or(1), producers, consumers, drained: true }
}
