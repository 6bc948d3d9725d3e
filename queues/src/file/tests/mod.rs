//! The queue on the simulated disk, moved by a manual clock.

mod crashes;
mod damage;
mod forged;
mod full;
mod gate;
mod group;
mod handles;
mod killed;
mod known;
mod reads;
mod rules;
mod sectors;
mod segments;
mod struck;
mod threads;
mod tickets;
mod twin;
mod weather;

use std::time::Duration;

use super::*;
use crate::broker::{Broker, Message, MessageId, Sent, Session, Settings, Settle, Settled, Settlement};
use crate::clock::Clock;
use crate::file::commit::Limits;
use crate::file::hostile::{content, files_of as image};
use crate::file::log::Sizes;

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(10);

/// Segments so short, and so little in memory, that a test gets to see all that happens in a log.
fn limits(segment: u64) -> Limits {
    Limits { sizes: Sizes { least: segment, most: 4 * segment }, recent: 600 }
}

type Queue = FileQueue<SimDisk>;

fn settings(capacity: usize, deliveries_allowed: u32) -> Settings {
    Settings { capacity, deliveries_allowed, clock: Clock::manual(), seed: 7 }
}

fn confirmed(sent: &[Sent]) -> Vec<u64> {
    sent.iter()
        .map(|sent| match sent {
            Sent::Confirmed(MessageId(id)) => *id,
            other => panic!("not confirmed: {other:?}"),
        })
        .collect()
}

fn send(session: &mut impl Session, bodies: &[&str]) -> Vec<u64> {
    let messages: Vec<Message> = bodies.iter().map(|body| Message::new(body.as_bytes())).collect();
    confirmed(&session.send(&messages))
}

fn settle(session: &mut impl Session, receipt: crate::Receipt, how: Settle) -> Settled {
    session.settle(&[Settlement { receipt, how }]).pop().expect("one outcome")
}

fn nack(delay: Duration) -> Settle {
    Settle::Nack { delay }
}

fn is_done(settled: &Settled) -> bool {
    matches!(settled, Settled::Done)
}

fn is_stale(settled: &Settled) -> bool {
    matches!(settled, Settled::Stale)
}
