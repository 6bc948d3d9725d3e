//! Many threads at once, left to the scheduler: nobody waits for ever, nothing is lost or done twice.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::*;
use crate::broker::{Crash, Depth, Refusal};
use crate::file::rng::Rng;

const PRODUCERS: u64 = 4;
const EACH: u64 = 150;

#[test]
fn every_message_is_acked_once_by_whatever_threads() {
    for seed in 0..8 {
        let settings = settings(16, u32::MAX);
        let mut disk = SimDisk::new();
        let queue = FileQueue::open_within(disk.clone(), &settings, limits(16 << 10)).expect("opens");
        let acked: Mutex<BTreeMap<Vec<u8>, usize>> = Mutex::default();
        let done = AtomicUsize::new(0);
        thread::scope(|scope| {
            for producer in 0..PRODUCERS {
                let queue = &queue;
                scope.spawn(move || {
                    let mut session = queue.session().expect("opens");
                    for n in 0..EACH {
                        let message = [Message::new((producer * EACH + n).to_le_bytes())];
                        loop {
                            match session.send(&message).remove(0) {
                                Sent::Confirmed(_) => break,
                                Sent::Refused(Refusal::Full) => thread::yield_now(),
                                other => panic!("{other:?}"),
                            }
                        }
                    }
                });
            }
            for consumer in 0..4 {
                let (queue, acked, done) = (&queue, &acked, &done);
                scope.spawn(move || {
                    let mut rng = Rng::new(seed * 4 + consumer);
                    let mut session = queue.session().expect("opens");
                    while done.load(Ordering::Relaxed) < (PRODUCERS * EACH) as usize {
                        if rng.below(20) == 0 {
                            // What it holds is returned.
                            session = queue.session().expect("opens");
                        }
                        for delivery in session.receive(1 + rng.below(3), LEASE).expect("works") {
                            match rng.below(4) {
                                0 => assert!(is_done(&settle(
                                    &mut session,
                                    delivery.receipt,
                                    nack(Duration::ZERO)
                                ))),
                                1 if rng.below(4) == 0 => {}
                                _ => {
                                    assert!(is_done(&settle(&mut session, delivery.receipt, Settle::Ack)));
                                    *acked
                                        .lock()
                                        .expect("no panic")
                                        .entry(delivery.body.to_vec())
                                        .or_default() += 1;
                                    done.fetch_add(1, Ordering::Relaxed);
                                }
                            }
                        }
                    }
                });
            }
        });
        let acked = acked.into_inner().expect("no panic");
        assert_eq!(acked.len() as u64, PRODUCERS * EACH);
        assert!(acked.values().all(|times| *times == 1));
        disk.crash(Crash::Power, seed);
        drop(queue);
        let queue = FileQueue::open(disk, &settings).expect("opens");
        assert_eq!(queue.session().expect("opens").depth().expect("works"), Depth::default());
    }
}
