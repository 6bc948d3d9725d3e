//! Whose fault it is that a lease was broken into: what came too late or too early is not.

use stanchion_queues::{Contract, Crash, Leases, Settle};

use super::super::scripted::SECOND;
use super::super::scripts::unlimited;
use super::{KEPT, Near};
use crate::history::Outcome;
use crate::invariant::Invariant::*;

pub(super) fn harm() -> Vec<Near> {
    vec![
        Near {
            why: "a stale receipt that was used after the harm did not do it",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(11 * SECOND).receive(3, &[(1, 2, 2)]);
                s.receive(4, &[(1, 3, 3)]).settle(2, 1, Settle::Ack, Outcome::Stale)
            },
            yes: &[Al7],
            no: &[Lv2],
            says: "",
        },
        Near {
            why: "nor did one that was used before the message was leased again",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(11 * SECOND);
                s.settle(2, 1, Settle::Ack, Outcome::Stale).receive(3, &[(1, 2, 2)]).receive(4, &[(1, 3, 3)])
            },
            yes: &[Al7],
            no: &[Lv2],
            says: "",
        },
        Near {
            why: "one that was used between the two did",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(11 * SECOND).receive(3, &[(1, 2, 2)]);
                s.settle(2, 1, Settle::Ack, Outcome::Stale).receive(4, &[(1, 3, 3)])
            },
            yes: &[Lv2, Al7],
            no: &[],
            says: "event 6 used a stale receipt of it, and at event 8 it was delivered again",
        },
        Near {
            why: "an extension after the harm did not do it",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).settle(2, 1, Settle::Ack, Outcome::Stale);
                s.extend(2, 1, 20, Outcome::Done)
            },
            yes: &[Lv8],
            no: &[Lv5],
            says: "",
        },
        Near {
            why: "an ack while the first one is unfinished is no second one: the lease had run out",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).ack(3, 1).wide(0, 10).slow(11 * SECOND);
                s.advance(11 * SECOND).send(1, 2).receive(2, &[(2, 2, 1)]);
                s.settle(2, 1, Settle::Ack, Outcome::Stale).receive(4, &[(2, 3, 2)])
            },
            yes: &[Al7],
            no: &[Lv7],
            says: "",
        },
        Near {
            why: "what was returned after a crash and is gone did not go with the crash, where that keeps leases",
            contract: || Contract {
                leases: Leases { end_with_session: true, end_with_crash: false },
                ..unlimited()
            },
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).crash(Crash::Process).nack(2, 1).receive(3, &[]),
            yes: &[Or6],
            no: &[Lv10],
            says: "",
        },
        Near {
            why: "a crash after a message was held twice does not excuse it",
            contract: || Contract { deliveries_allowed: None, ..Contract::in_memory() },
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).receive(3, &[(1, 2, 2)]).crash(Crash::Power),
            yes: &[Al7],
            no: &[],
            says: "",
        },
        Near {
            why: "a crash that takes what was sent may give back what keeps its leases",
            contract: || Contract { leases: KEPT, deliveries_allowed: None, ..Contract::in_memory() },
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).crash(Crash::Power).receive(3, &[(1, 2, 2)]),
            yes: &[],
            no: &[Al7],
            says: "",
        },
    ]
}
