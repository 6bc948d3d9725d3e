//! What happens between a claim and its publication. The promises that every buffer keeps are tested in
//! `buffers/tests.rs`, all interleavings in `tests/ring_loom`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::end::{Consumer, Producer, Shared};
use super::slots::Slots;

const STARTS: [usize; 2] = [0, usize::MAX];

/// A ring of one slot with two ends on each side.
fn ring(start: usize) -> ([Producer<u64>; 2], [Consumer<u64>; 2]) {
    let shared = Shared::new(Slots::new(1).expect("one slot fits"), 1, start, [false, false]);
    ([(); 2].map(|()| Producer::new(&shared)), [(); 2].map(|()| Consumer::new(&shared)))
}

/// Runs `operation` in a thread of its own and `finish` here, once the operation has begun.
fn meanwhile<R: Send>(operation: impl FnOnce() -> R + Send, finish: impl FnOnce()) -> R {
    let begun = AtomicBool::new(false);
    thread::scope(|scope| {
        let running = scope.spawn(|| {
            begun.store(true, Ordering::SeqCst);
            operation()
        });
        while !begun.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        // Room for the wrong answer to be given; the right one waits for us however long this takes.
        for _ in 0..if cfg!(miri) { 10 } else { 1_000 } {
            thread::yield_now();
        }
        finish();
        running.join().expect("the operation does not panic")
    })
}

#[test]
fn an_unfinished_pop_is_not_taken_for_a_full_ring() {
    for start in STARTS {
        let ([mut producer, _], [mut consumer, mut other]) = ring(start);
        assert_eq!(producer.push(7), Ok(()));
        let unfinished = consumer.begin();
        assert_eq!(other.pop(), None, "what is claimed is as good as popped");
        let pushed = meanwhile(|| producer.push(8), || consumer.finish(unfinished));
        assert_eq!((pushed, other.pop()), (Ok(()), Some(8)));
    }
}

#[test]
fn an_unfinished_push_is_not_in_yet_and_leaves_no_room_for_another() {
    for start in STARTS {
        let ([mut producer, mut other], [mut consumer, _]) = ring(start);
        let unfinished = producer.begin();
        assert_eq!(consumer.pop(), None);
        // Not full, because nothing is in; and no room, because it is promised. So it waits and sees.
        let pushed = meanwhile(|| other.push(8), || producer.finish(unfinished, 7));
        assert_eq!((pushed, consumer.pop(), consumer.pop()), (Err(8), Some(7), None));
    }
}

#[test]
fn a_buffer_of_things_without_a_size_has_a_bound_too() {
    let shared = Shared::new(Slots::new(3).expect("nothing fits always"), 3, usize::MAX, [true, true]);
    let (mut producer, mut consumer) = (Producer::new(&shared), Consumer::new(&shared));
    let mut items = [(); 5].into();
    assert_eq!((producer.push_many(&mut items), items.len()), (3, 2));
    let mut popped = Vec::new();
    assert_eq!((consumer.pop_many(&mut popped, usize::MAX), popped.len()), (3, 3));
}

/// What panics, and panics again when what it panicked with is dropped.
struct Twice(std::sync::Arc<AtomicUsize>);

struct Payload;

impl Drop for Payload {
    fn drop(&mut self) {
        panic!("a payload's destructor panics");
    }
}

impl Drop for Twice {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        std::panic::panic_any(Payload);
    }
}

#[test]
fn destructors_that_panic_with_what_panics_do_not_keep_others_from_running() {
    let dropped = std::sync::Arc::new(AtomicUsize::new(0));
    let shared = Shared::new(Slots::new(4).expect("fits"), 4, 0, [true, true]);
    let mut producer = Producer::new(&shared);
    for _ in 0..4 {
        assert!(producer.push(Twice(std::sync::Arc::clone(&dropped))).is_ok());
    }
    drop(shared);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(producer)));
    std::mem::forget(panicked.expect_err("the first panic goes on"));
    assert_eq!(dropped.load(Ordering::Relaxed), 4);
}

#[test]
fn such_destructors_do_not_end_the_process_while_another_panic_goes_on() {
    let dropped = std::sync::Arc::new(AtomicUsize::new(0));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let shared = Shared::new(Slots::new(4).expect("fits"), 4, 0, [true, true]);
        let mut producer = Producer::new(&shared);
        assert!(producer.push(Twice(std::sync::Arc::clone(&dropped))).is_ok());
        drop(shared);
        panic!("the first");
    }));
    assert!(panicked.is_err_and(|panic| panic.downcast_ref() == Some(&"the first")));
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}

#[test]
fn a_batch_pop_makes_room_for_what_there_is_and_not_for_all_that_could_be() {
    const MANY: usize = 1 << 16;
    for alone in [[true; 2], [false; 2]] {
        let shared = Shared::new(Slots::new(MANY).expect("fits"), MANY, usize::MAX - 1, alone);
        let (mut producer, mut consumer) = (Producer::new(&shared), Consumer::new(&shared));
        let mut popped = Vec::new();
        assert_eq!((consumer.pop_many(&mut popped, usize::MAX), popped.len()), (0, 0));
        for count in [9, 5000] {
            popped.clear();
            assert_eq!(producer.push_many(&mut (0..count).collect()), count);
            assert_eq!(consumer.pop_many(&mut popped, usize::MAX), count);
            assert!(
                popped.iter().copied().eq(0..count) && popped.capacity() < MANY / 4,
                "{}",
                popped.capacity()
            );
        }
    }
}

#[test]
fn a_batch_larger_than_any_ring_ends() {
    let shared = Shared::new(Slots::new(3).expect("nothing fits always"), 3, 0, [false, true]);
    let (mut producer, mut consumer) = (Producer::new(&shared), Consumer::new(&shared));
    let all: Box<[()]> = Box::new([(); usize::MAX]);
    let mut items = Vec::from(all).into();
    assert_eq!(producer.push_many(&mut items), 3);
    assert_eq!(consumer.pop(), Some(()));
    assert_eq!(producer.push_many(&mut items), 1);
}
