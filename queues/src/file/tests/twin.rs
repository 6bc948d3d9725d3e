//! Without crashes the file queue answers as the broker in memory over the yardstick does.

use super::*;
use crate::Leased;
use crate::broker::Receipt;
use crate::buffers::MutexDeque;
use crate::clock::Time;
use crate::file::rng::Rng;

/// One operation; receipts are named by the order in which they were handed out.
#[derive(Clone, Debug)]
enum Op {
    Send { bodies: Vec<u64>, delay: Duration },
    Receive { session: usize, max: usize },
    Settle { receipts: Vec<usize>, how: Settle },
    Extend { receipt: usize, lease: Duration },
    Lose { session: usize },
    Redrive { max: usize },
    Look,
    Wait(Duration),
}

fn draw(rng: &mut Rng, next: &mut u64, receipts: usize) -> Op {
    let seconds = |rng: &mut Rng, below| SECOND * rng.below(below) as u32;
    match rng.below(14) {
        0..=2 => {
            let bodies: Vec<u64> = (*next..).take(1 + rng.below(3)).collect();
            *next += bodies.len() as u64;
            Op::Send { bodies, delay: seconds(rng, 4).saturating_sub(SECOND) }
        }
        3..=5 => Op::Receive { session: rng.below(2), max: 1 + rng.below(3) },
        6..=8 if receipts > 0 => {
            let how = match rng.below(4) {
                0 | 1 => nack(seconds(rng, 3)),
                2 => Settle::Ack,
                _ => Settle::Reject,
            };
            let recent = receipts.saturating_sub(6);
            let named = (0..1 + rng.below(2)).map(|_| recent + rng.below(receipts - recent)).collect();
            Op::Settle { receipts: named, how }
        }
        9 if receipts > 0 => Op::Extend { receipt: rng.below(receipts), lease: seconds(rng, 20) },
        10 => Op::Lose { session: rng.below(2) },
        11 => Op::Redrive { max: rng.below(3) },
        12 => Op::Wait(seconds(rng, 12)),
        _ => Op::Look,
    }
}

/// A broker that is told operations and answers in text, without ids and receipts.
struct Twin<B: Broker> {
    broker: B,
    sessions: Vec<B::Session>,
    receipts: Vec<Receipt>,
}

impl<B: Broker> Twin<B> {
    fn new(broker: B) -> Twin<B> {
        let sessions = (0..2).map(|_| broker.session().expect("opens")).collect();
        Twin { broker, sessions, receipts: Vec::new() }
    }

    fn answer(&mut self, op: &Op) -> String {
        let first = &mut self.sessions[0];
        match op {
            Op::Send { bodies, delay } => {
                let message = |body: &u64| Message::new(body.to_le_bytes()).with_delay(*delay);
                let sent = first.send(&bodies.iter().map(message).collect::<Vec<_>>());
                let outcomes = sent.iter().map(|sent| match sent {
                    Sent::Confirmed(_) => "confirmed".to_owned(),
                    other => format!("{other:?}"),
                });
                format!("{:?}", outcomes.collect::<Vec<_>>())
            }
            Op::Receive { session, max } => {
                let deliveries = self.sessions[*session].receive(*max, LEASE).expect("works");
                self.receipts.extend(deliveries.iter().map(|delivery| delivery.receipt));
                let seen: Vec<(&[u8], u32, Time)> =
                    deliveries.iter().map(|d| (&d.body[..], d.attempt, d.deadline)).collect();
                format!("{seen:?}")
            }
            Op::Settle { receipts, how } => {
                let settlement = |named: &usize| Settlement { receipt: self.receipts[*named], how: *how };
                format!("{:?}", first.settle(&receipts.iter().map(settlement).collect::<Vec<_>>()))
            }
            Op::Extend { receipt, lease } => format!("{:?}", first.extend(self.receipts[*receipt], *lease)),
            Op::Lose { session } => {
                self.sessions[*session] = self.broker.session().expect("opens");
                String::new()
            }
            Op::Redrive { max } => format!("{:?}", first.redrive(*max)),
            Op::Wait(_) => String::new(),
            Op::Look => {
                let letters = first.dead_letters(100).expect("works");
                let dead: Vec<_> = letters.iter().map(|l| (&l.body[..], l.reason, l.attempts)).collect();
                format!("{:?} {dead:?}", first.depth().expect("works"))
            }
        }
    }
}

#[test]
fn it_answers_as_the_broker_in_memory_does() {
    let mut refused = 0;
    let mut died = 0;
    for seed in 0..400 {
        let settings = settings(4, 3);
        let queue = FileQueue::open_within(SimDisk::new(), &settings, limits(4 << 10)).expect("opens");
        let mut durable = Twin::new(queue);
        let mut memory = Twin::new(Leased::<MutexDeque>::open(&settings).expect("opens"));
        let (mut rng, mut next, mut history) = (Rng::new(seed), 0, Vec::new());
        for _ in 0..80 {
            let op = draw(&mut rng, &mut next, memory.receipts.len());
            if let Op::Wait(duration) = op {
                settings.clock.advance(duration);
            }
            let (one, other) = (durable.answer(&op), memory.answer(&op));
            refused += usize::from(one.contains("Full"));
            died += usize::from(one.contains("Attempts"));
            history.push(op);
            assert_eq!(one, other, "seed {seed}: {history:#?}");
        }
    }
    assert!(refused > 100 && died > 100, "{refused} {died}");
}
