//! A million messages in flight: what each costs in memory, and that ending them all at once is possible.
//!
//! A test target of its own, because it counts what the whole process allocates; one test, because tests of one
//! target run side by side.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::Duration;

use stanchion_queues::buffers::Ring;
use stanchion_queues::{
    Broker, Clock, Depth, Leased, Message, Sent, Session, Settings, Settle, Settled, Settlement,
};

struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);

fn count(bytes: usize, sign: isize) {
    LIVE.fetch_add(sign * isize::try_from(bytes).expect("layouts are smaller than that"), Ordering::Relaxed);
}

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the promises of the trait.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: as above; the memory came from the same allocator.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MILLION: usize = 1_000_000;
const BATCH: usize = 1_000;
const LEASE: Duration = Duration::from_secs(10);

#[test]
fn a_million_in_flight_cost_at_most_64_bytes_each_beside_the_body_and_can_end_at_once() {
    let clock = Clock::manual();
    let settings = Settings { capacity: MILLION, deliveries_allowed: 3, clock: clock.clone(), seed: 0 };
    let broker = Leased::<Ring>::open(&settings).expect("the settings are valid");
    let mut session = broker.session().expect("the broker is open");
    let body: Arc<[u8]> = Arc::from([7; 16]);
    let batch = vec![Message::new(Arc::clone(&body)); BATCH];
    // The buffer's own room is allocated at open, whatever is in flight.
    let before = LIVE.load(Ordering::Relaxed);
    for _ in 0..MILLION / BATCH {
        assert!(session.send(&batch).iter().all(|sent| matches!(sent, Sent::Confirmed(_))));
    }
    take_all(&mut session, 1);
    let handle = size_of::<Arc<[u8]>>() as f64;
    let each = (LIVE.load(Ordering::Relaxed) - before) as f64 / MILLION as f64;
    println!("{each:.1} bytes a message in flight, {handle} of them the handle of its body");
    assert!(each > handle, "a count that misses the slots proves nothing");
    assert!(each - handle <= 64.0, "{each} bytes");
    assert_eq!(depth(&mut session), Depth { in_flight: MILLION as u64, ..Depth::default() });

    clock.advance(LEASE);
    assert_eq!(depth(&mut session), Depth { ready: MILLION as u64, ..Depth::default() });

    let mut lost = broker.session().expect("the broker is open");
    take_all(&mut lost, 2);
    drop(lost);
    assert_eq!(depth(&mut session), Depth { ready: MILLION as u64, ..Depth::default() });

    // Settled in an order that is neither that of the deliveries nor that of the deadlines.
    let receipts = take_all(&mut session, 3);
    let stride = 7_919;
    for at in 0..MILLION / 2 {
        let receipt = receipts[at * stride % MILLION];
        let settled = session.settle(&[Settlement { receipt, how: Settle::Ack }]);
        assert!(matches!(settled[..], [Settled::Done]));
    }
    drop(session);
    let mut session = broker.session().expect("the broker is open");
    assert_eq!(depth(&mut session), Depth { dead: MILLION as u64 / 2, ..Depth::default() });
    assert_eq!(session.redrive(MILLION).expect("the broker is open"), MILLION / 2);
    drop((session, broker, batch));
    assert_eq!(Arc::strong_count(&body), 1, "nothing keeps a body when the broker is gone");
}

/// Receives everything that is ready, in order, each at this attempt, under leases of equal length.
fn take_all(session: &mut impl Session, attempt: u32) -> Vec<stanchion_queues::Receipt> {
    let mut receipts = Vec::with_capacity(if attempt == 3 { MILLION } else { 0 });
    let mut expected = 0..;
    loop {
        let deliveries = session.receive(BATCH, LEASE).expect("the arguments are valid");
        if deliveries.is_empty() {
            return receipts;
        }
        for delivery in deliveries {
            assert_eq!(Some(delivery.id.0), expected.next());
            assert_eq!(delivery.attempt, attempt);
            if attempt == 3 {
                receipts.push(delivery.receipt);
            }
        }
    }
}

fn depth(session: &mut impl Session) -> Depth {
    session.depth().expect("the broker is open")
}
