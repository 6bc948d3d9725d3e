//! What it takes to judge a long history: memory that grows as the history does, and no faster.
//!
//! A test target of its own, because it counts what the whole process allocates; one test, because tests of one
//! target run side by side.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use stanchion_properties::checkers;
use stanchion_properties::history::{
    Actor, Digest, Event, HARNESS, Handle, History, Outcome, SendOutcome, Token, What,
};
use stanchion_properties::invariant::Invariant;
use stanchion_properties::verdict::Verdict;
use stanchion_queues::{Contract, MessageId, Settle, Time};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the promises of the trait.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above; the memory came from the same allocator.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const LEASE: Duration = Duration::from_secs(10);

/// So many messages, each sent, received and acked, and a drain that finds nothing.
fn history(messages: u64) -> History {
    let mut events = Vec::new();
    let mut tick = 0;
    let mut call = |actor, whats: Vec<What>| {
        let (call, ret) = (tick, tick + 1);
        tick += 2;
        let event =
            |what| Event { call, ret, at: Time::ZERO, until: Time::ZERO, actor, op: call as u32, what };
        events.extend(whats.into_iter().map(event));
    };
    for number in 1..=messages {
        let (token, id, handle) = (Token(number), MessageId(number), Handle(number));
        let (key, body) = (None, Digest(number));
        let outcome = SendOutcome::Confirmed(id);
        call(Actor(1), vec![What::Send { token, key, body, delay: Duration::ZERO, outcome }]);
        let got = What::Receive { max: 1, got: Some(1), lease: LEASE };
        let deadline = Time::ZERO + LEASE;
        let (token, lease) = (Some(token), LEASE);
        let delivery = What::Deliver { token, id, handle, attempt: 1, deadline, lease, key, body };
        call(Actor(2), vec![got, delivery]);
        call(Actor(2), vec![What::Settle { handle, how: Settle::Ack, outcome: Outcome::Done }]);
    }
    call(HARNESS, vec![What::DrainBegan]);
    call(Actor(3), vec![What::Receive { max: 1, got: Some(0), lease: LEASE }]);
    call(HARNESS, vec![What::DrainEnded { quiet: true }]);
    History { contract: Contract { capacity: Some(64), ..Contract::durable() }, events }
}

/// The most bytes for each event that were in use at once while it was judged, the history not counted.
fn bytes_for_each_event(messages: u64) -> usize {
    let history = history(messages);
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let verdicts = checkers::judge(&history);
    let most = PEAK.load(Ordering::Relaxed) - before;
    let loss = verdicts.iter().find(|(invariant, _)| *invariant == Invariant::Al1);
    let all = Verdict::Holds { instances: messages };
    assert_eq!(loss.map(|(_, verdict)| verdict), Some(&all), "not all of it was judged");
    assert!(verdicts.iter().all(|(_, verdict)| !verdict.is_broken()));
    most / history.events.len()
}

#[test]
fn memory_grows_no_faster_than_the_history() {
    let (short, long) = (bytes_for_each_event(5_000), bytes_for_each_event(100_000));
    println!("{short} bytes for each of 20 003 events, {long} for each of 400 003");
    // Tables grow by doubling, so that either may be caught just before or just behind that.
    assert!(long <= 2 * short, "{short} bytes for each event of a short history, {long} of a long one");
    assert!(long <= 320, "{long} bytes for each event");
}
