//! Who is at fault, and who is not.

use stanchion_queues::{Answer, Contract, Crash, Death, Settle};

use super::super::scripted::SECOND;
use super::super::scripts::{AT_ONCE, dead, durable, unlimited};
use super::{KEPT, Near, doubtful};
use crate::history::{Outcome, What};
use crate::invariant::Invariant::*;

pub(super) fn culprits() -> Vec<Near> {
    vec![
        Near {
            why: "a receipt that was never issued",
            contract: unlimited,
            write: |s| s.ack(2, 99),
            yes: &[Lv2],
            no: &[],
            says: "r99 was never issued",
        },
        Near {
            why: "it may have been issued unseen",
            contract: unlimited,
            write: |s| s.send(1, 1).receive_in_doubt(2, 1).ack(2, 99),
            yes: &[],
            no: &[Lv2],
            says: "",
        },
        Near {
            why: "nobody need be told that it was never issued",
            contract: || Contract { stale_refused: false, ..unlimited() },
            write: |s| s.ack(2, 99),
            yes: &[],
            no: &[Lv2],
            says: "",
        },
        Near {
            why: "it was current, though a crash took everything later",
            contract: || Contract { deliveries_allowed: None, ..Contract::in_memory() },
            write: |s| {
                s.send(1, 1)
                    .receive(2, &[(1, 1, 1)])
                    .settle(2, 1, Settle::Ack, Outcome::Stale)
                    .crash(Crash::Power)
            },
            yes: &[Lv8],
            no: &[],
            says: "",
        },
        Near {
            why: "an extension that was done at the deadline came in time",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(10 * SECOND).extend(2, 1, 10, Outcome::Done);
                s.advance(5 * SECOND).settle(2, 1, Settle::Ack, Outcome::Stale)
            },
            yes: &[Lv8],
            no: &[],
            says: "",
        },
        Near {
            why: "of two settlements that were done the first to return ended the lease",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).ack(2, 1).wide(0, 10).ack(3, 1);
                s.extend(4, 1, 10, Outcome::Done)
            },
            yes: &[Lv5],
            no: &[],
            says: "",
        },
        Near {
            why: "what never returned was called after the crash and may take effect after it",
            contract: unlimited,
            write: |s| {
                s.crash(Crash::Power).send(1, 1).receive_in_doubt(2, 1).pending().advance(99 * SECOND);
                s.receive(3, &[])
            },
            yes: &[],
            no: &[Or6, Lv3],
            says: "",
        },
        Near {
            why: "what was extended is held for longer",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(9 * SECOND).extend(2, 1, 10, Outcome::Done);
                s.advance(6 * SECOND).settle(2, 1, Settle::Ack, Outcome::Stale)
            },
            yes: &[Lv8],
            no: &[],
            says: "",
        },
        Near {
            why: "also where another extension came meanwhile",
            contract: unlimited,
            write: |s| {
                s.send(1, 1)
                    .receive(2, &[(1, 1, 1)])
                    .advance(9 * SECOND)
                    .extend(2, 1, 10, Outcome::Done)
                    .wide(0, 3);
                s.extend(3, 1, 1, Outcome::Done).advance(6 * SECOND).settle(2, 1, Settle::Ack, Outcome::Stale)
            },
            yes: &[Lv8],
            no: &[],
            says: "",
        },
        Near {
            why: "a crash that keeps leases takes back no ack",
            contract: || Contract { leases: KEPT, ..unlimited() },
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).ack(2, 1).crash(Crash::Process).advance(20 * SECOND);
                s.receive(3, &[(1, 2, 2)])
            },
            yes: &[Al7, Al6, Du3],
            no: &[],
            says: "",
        },
        Near {
            why: "of two acks that were done the first counts",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).ack(2, 1).wide(0, 5).ack(3, 1);
                s.extend(2, 1, 10, Outcome::Done)
            },
            yes: &[Lv8],
            no: &[],
            says: "",
        },
        Near {
            why: "an extension does not revive what had run out",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(11 * SECOND).extend(2, 1, 10, Outcome::Done)
            },
            yes: &[Lv5, Lv2],
            no: &[],
            says: "",
        },
        Near {
            why: "nor where nobody is told that it was stale",
            contract: || Contract { stale_refused: false, ..unlimited() },
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(11 * SECOND).extend(2, 1, 20, Outcome::Done);
                s.receive(3, &[])
            },
            yes: &[Lv3],
            no: &[],
            says: "",
        },
        Near {
            why: "the receipt before the last one serves still",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).settle(2, 1, AT_ONCE, Outcome::InDoubt);
                s.receive(3, &[(1, 2, 2)]).ack(2, 1)
            },
            yes: &[Lv8, Lv2],
            no: &[],
            says: "",
        },
        Near {
            why: "it was current, though the session was lost later",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).settle(2, 1, Settle::Ack, Outcome::Stale).lose(2)
            },
            yes: &[Lv8],
            no: &[],
            says: "",
        },
        Near {
            why: "it was current, though the broker crashed later",
            contract: unlimited,
            write: |s| {
                s.send(1, 1)
                    .receive(2, &[(1, 1, 1)])
                    .settle(2, 1, Settle::Ack, Outcome::Stale)
                    .crash(Crash::Power)
            },
            yes: &[Lv8],
            no: &[],
            says: "",
        },
        Near {
            why: "a nack that was refused permits no redelivery",
            contract: unlimited,
            write: |s| {
                s.send(1, 1)
                    .receive(2, &[(1, 1, 1)])
                    .settle(2, 1, AT_ONCE, Outcome::Stale)
                    .receive(3, &[(1, 2, 2)])
            },
            yes: &[Al7],
            no: &[],
            says: "",
        },
        Near {
            why: "a nack after the ack is no ack",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1), (2, 2, 1)]).ack(2, 1);
                s.settle(2, 1, AT_ONCE, Outcome::Stale).receive(3, &[(2, 3, 2)])
            },
            yes: &[Al7],
            no: &[Lv7],
            says: "",
        },
        Near {
            why: "an ack after the expiry is no second one",
            contract: unlimited,
            write: |s| {
                s.send(1, 1)
                    .receive(2, &[(1, 1, 1)])
                    .advance(11 * SECOND)
                    .send(1, 2)
                    .receive(2, &[(2, 2, 1)]);
                s.settle(2, 1, Settle::Ack, Outcome::Stale).receive(3, &[(2, 3, 2)])
            },
            yes: &[Al7],
            no: &[Lv7],
            says: "",
        },
        Near {
            why: "an ack before the neighbour came does it no harm",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).ack(2, 1).settle(2, 1, Settle::Ack, Outcome::Stale);
                s.send(1, 2).receive(2, &[(2, 2, 1)]).receive(3, &[(2, 3, 2)])
            },
            yes: &[Al7],
            no: &[Lv7],
            says: "",
        },
        Near {
            why: "the first false answer is told, whoever it missed",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).send(1, 2).receive(3, &[]).advance(11 * SECOND);
                s.receive(3, &[])
            },
            yes: &[Or6],
            no: &[],
            says: "event 4 found nothing while m2",
        },
        Near {
            why: "a receive that found nothing came upon the dead",
            contract: || Contract { empty: Answer::Relaxed, death: Death::NextReceive, ..durable() },
            write: |s| dead(s).receive(3, &[]).browse(1, &[]),
            yes: &[Dl1],
            no: &[],
            says: "",
        },
        Near {
            why: "unless it need not be exact because another was unfinished",
            contract: || Contract { empty: Answer::Relaxed, death: Death::NextReceive, ..durable() },
            write: |s| dead(s).receive(3, &[]).wide(0, 2).depth(4, [0, 0, 0, 0]).browse(1, &[]),
            yes: &[],
            no: &[Dl1],
            says: "",
        },
        Near {
            why: "a redrive before the death did not lose it",
            contract: durable,
            write: |s| {
                s.event(1, What::Redrive { max: 1, moved: None });
                doubtful(s).crash(Crash::Power).drain().browse(1, &[])
            },
            yes: &[Al10, Dl4],
            no: &[Dl8],
            says: "",
        },
        Near {
            why: "nor did one after it was missed",
            contract: durable,
            write: |s| {
                doubtful(s).crash(Crash::Power).drain().browse(1, &[]);
                s.event(1, What::Redrive { max: 1, moved: None })
            },
            yes: &[Al10, Dl4],
            no: &[Dl8],
            says: "",
        },
    ]
}
