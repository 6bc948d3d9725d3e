//! Since when a message was ready for certain, and until when it may have been something else.

use stanchion_queues::{Contract, Crash, Death, Durability, Leases, Settle};

use super::super::check;
use super::super::scripted::SECOND;
use super::super::scripts::{AT_ONCE, Write, durable, history, rejected, unlimited};
use super::{COUNTS_NOTHING, KEPT, Near};
use crate::history::Outcome;
use crate::invariant::Invariant::*;
use crate::verdict::Verdict;

pub(super) fn timeline() -> Vec<Near> {
    vec![
        Near {
            why: "of two that were ready a receive in doubt hides one, and nobody can say which",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1), (2, 2, 1)]).advance(11 * SECOND);
                s.receive_in_doubt(3, 1).receive(4, &[])
            },
            yes: &[Or6],
            no: &[Lv3],
            says: "",
        },
        Near {
            why: "what nobody saw kills nothing that was sent where nothing counts",
            contract: || Contract { counting: COUNTS_NOTHING, ..durable() },
            write: |s| {
                s.send(1, 1).receive_in_doubt(2, 1).receive_in_doubt(2, 1).advance(11 * SECOND);
                s.receive(3, &[])
            },
            yes: &[Or6],
            no: &[],
            says: "",
        },
        Near {
            why: "nor what was returned",
            contract: || Contract { counting: COUNTS_NOTHING, ..durable() },
            write: |s| {
                s.send(1, 1)
                    .receive(2, &[(1, 1, 1)])
                    .nack(2, 1)
                    .receive_in_doubt(2, 1)
                    .receive_in_doubt(2, 1);
                s.advance(11 * SECOND).receive(3, &[])
            },
            yes: &[Or6],
            no: &[],
            says: "",
        },
        Near {
            why: "nor what was redriven",
            contract: || Contract { counting: COUNTS_NOTHING, ..durable() },
            write: |s| {
                rejected(s).redrive(1, 10, 1).receive_in_doubt(2, 1).receive_in_doubt(2, 1);
                s.advance(11 * SECOND).receive(3, &[])
            },
            yes: &[Or6],
            no: &[],
            says: "",
        },
        Near {
            why: "where it counts what was redriven may be dead again",
            contract: durable,
            write: |s| {
                rejected(s).redrive(1, 10, 1).receive_in_doubt(2, 1).receive_in_doubt(2, 1);
                s.advance(11 * SECOND).receive(3, &[])
            },
            yes: &[],
            no: &[Or6, Dl8],
            says: "",
        },
        Near {
            why: "a crash does not take back a nack for good where it ends the lease",
            contract: unlimited,
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).crash(Crash::Power).receive(3, &[]),
            yes: &[Or6, Du1],
            no: &[],
            says: "",
        },
        Near {
            why: "a crash before a nack takes nothing back",
            contract: || Contract { leases: KEPT, ..unlimited() },
            write: |s| s.crash(Crash::Power).send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).receive(3, &[]),
            yes: &[Or6],
            no: &[],
            says: "",
        },
        Near {
            why: "what waits after a nack is not ready",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]);
                s.settle(2, 1, Settle::Nack { delay: 5 * SECOND }, Outcome::Done).depth(1, [1, 0, 1, 0])
            },
            yes: &[Al10],
            no: &[],
            says: "counted 1 ready and there were at most 0",
        },
        Near {
            why: "what is rejected is leased or dead and never ready between, though the dead leave with a receive",
            contract: || Contract { death: Death::NextReceive, ..durable() },
            write: |s| rejected(s).wide(0, 3).depth(1, [1, 0, 0, 0]),
            yes: &[Al10],
            no: &[],
            says: "counted 1 ready and there were at most 0",
        },
        Near {
            why: "nor is what dies of its attempts at once",
            contract: || Contract { deliveries_allowed: Some(1), ..durable() },
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).wide(0, 3).depth(1, [1, 0, 0, 0]),
            yes: &[Al10],
            no: &[],
            says: "counted 1 ready and there were at most 0",
        },
        Near {
            why: "where the dead leave with a receive it may be",
            contract: || Contract { deliveries_allowed: Some(1), death: Death::NextReceive, ..durable() },
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).wide(0, 3).depth(1, [1, 0, 0, 0]),
            yes: &[],
            no: &[Al10],
            says: "",
        },
        Near {
            why: "what was dead since its lease ran out was redriven with all",
            contract: || Contract { deliveries_allowed: Some(1), ..durable() },
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(11 * SECOND).redrive(1, 10, 1).receive(3, &[])
            },
            yes: &[Or6, Dl8],
            no: &[],
            says: "",
        },
        Near {
            why: "where its lease runs out just when it is redriven it may be dead since",
            contract: || Contract { deliveries_allowed: Some(1), ..durable() },
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(10 * SECOND).redrive(1, 10, 1).receive(3, &[])
            },
            yes: &[],
            no: &[Or6],
            says: "",
        },
        Near {
            why: "what a crash may have taken is not leased by nobody",
            contract: || Contract { deliveries_allowed: None, ..Contract::in_memory() },
            write: |s| s.send(1, 1).crash(Crash::Power).depth(1, [0, 1, 0, 0]),
            yes: &[Al10],
            no: &[],
            says: "counted 1 in flight and there were at most 0",
        },
        Near {
            why: "nor is what may have died of a receive in doubt, once that one's lease is over",
            contract: durable,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).receive_in_doubt(2, 1).advance(20 * SECOND);
                s.depth(1, [0, 1, 0, 0])
            },
            yes: &[Al10],
            no: &[],
            says: "counted 1 in flight and there were at most 0",
        },
        Near {
            why: "whether or not a nack in doubt was taken, and taken back by a crash, the lease is over in time",
            contract: || Contract { leases: KEPT, ..unlimited() },
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).settle(2, 1, AT_ONCE, Outcome::InDoubt);
                s.crash(Crash::Power).advance(20 * SECOND).receive(3, &[])
            },
            yes: &[Or6, Du1],
            no: &[],
            says: "",
        },
        Near {
            why: "before its deadline it may not be",
            contract: || Contract { leases: KEPT, ..unlimited() },
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).settle(2, 1, AT_ONCE, Outcome::InDoubt);
                s.crash(Crash::Power).receive(3, &[])
            },
            yes: &[],
            no: &[Or6, Du1],
            says: "",
        },
        Near {
            why: "what a crash may have brought back from the dead may be ready",
            contract: || Contract { acks: Durability::None, ..unlimited() },
            write: |s| rejected(s).crash(Crash::Power).depth(1, [1, 0, 0, 0]),
            yes: &[],
            no: &[Al10],
            says: "",
        },
    ]
}

/// Sessions end leases, and crashes may.
fn sessions_end() -> Contract {
    Contract { leases: Leases { end_with_session: true, end_with_crash: false }, ..unlimited() }
}

/// Of several ends of a lease the first one made its message ready.
pub(super) fn causes() -> Vec<Near> {
    vec![
        Near {
            why: "a lease that had run out was not lost with its session",
            contract: unlimited,
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(20 * SECOND).lose(2).receive(3, &[]),
            yes: &[Lv3],
            no: &[Lv11],
            says: "",
        },
        Near {
            why: "nor did a crash end it",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(20 * SECOND).crash(Crash::Power).receive(3, &[])
            },
            yes: &[Lv3],
            no: &[],
            says: "",
        },
        Near {
            why: "whatever crashed before it was leased",
            contract: unlimited,
            write: |s| {
                s.crash(Crash::Power).send(1, 1).receive(2, &[(1, 1, 1)]).advance(20 * SECOND);
                s.crash(Crash::Power).receive(3, &[])
            },
            yes: &[Lv3],
            no: &[],
            says: "",
        },
        Near {
            why: "what a crash ended did not run out",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).crash(Crash::Power).advance(20 * SECOND).receive(3, &[])
            },
            yes: &[Lv10],
            no: &[Lv3, Lv11],
            says: "the broker crashed while it was leased",
        },
        Near {
            why: "a session that was lost before the crash ended it",
            contract: unlimited,
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).lose(2).crash(Crash::Power).receive(3, &[]),
            yes: &[Lv11],
            no: &[Lv3, Lv10],
            says: "its session was lost",
        },
        Near {
            why: "a crash before the session was lost ended it",
            contract: unlimited,
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).crash(Crash::Power).lose(2).receive(3, &[]),
            yes: &[Lv10],
            no: &[Lv3, Lv11],
            says: "the broker crashed while it was leased",
        },
        Near {
            why: "also where a crash may have ended it and the loss of the session did",
            contract: sessions_end,
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).crash(Crash::Power).lose(2).receive(3, &[]),
            yes: &[Lv10],
            no: &[Lv3, Lv11],
            says: "the broker crashed while it was leased",
        },
        Near {
            why: "of two ends that overlap the one that was called first is told",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).lose(2).wide(0, 1).crash(Crash::Power).receive(3, &[])
            },
            yes: &[Lv11],
            no: &[Lv3, Lv10],
            says: "its session was lost",
        },
    ]
}

#[test]
fn what_was_delivered_while_it_was_returned_was_never_ready_for_certain() {
    let overlapping: Write = |s| {
        s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).wide(0, 2).receive(3, &[(1, 2, 2)]).ack(3, 2).drain()
    };
    assert_eq!(check(Al2, &history(durable(), overlapping)), Verdict::Vacuous);
    let after: Write =
        |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).receive(3, &[(1, 2, 2)]).ack(3, 2).drain();
    assert_eq!(check(Al2, &history(durable(), after)), Verdict::Holds { instances: 1 });
}
