//! Which answers were empty and should not have been.

use std::time::Duration;

use stanchion_queues::{Contract, Death};

use super::super::scripted::SECOND;
use super::super::scripts::{confirmed, dead, durable, unlimited};
use super::Near;
use crate::history::What;
use crate::invariant::Invariant::*;

pub(super) fn emptiness() -> Vec<Near> {
    vec![
        Near {
            why: "what a receive in doubt may hold is not missed while it may",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive_in_doubt(2, 1).receive(3, &[]).advance(11 * SECOND);
                s.receive(3, &[])
            },
            yes: &[Or6],
            no: &[],
            says: "event 4 found nothing while m1 was ready all the time (see event 0)",
        },
        Near {
            why: "the same of what waited",
            contract: unlimited,
            write: |s| {
                s.send_as(1, 1, SECOND, confirmed(1))
                    .advance(2 * SECOND)
                    .receive_in_doubt(2, 1)
                    .receive(3, &[]);
                s.advance(11 * SECOND).receive(3, &[])
            },
            yes: &[Lv12],
            no: &[],
            says: "event 5 was empty",
        },
        Near {
            why: "of two that waited the second is missed first",
            contract: unlimited,
            write: |s| {
                s.send_as(1, 1, 10 * SECOND, confirmed(1))
                    .send_as(1, 2, SECOND, confirmed(2))
                    .advance(2 * SECOND);
                s.receive(3, &[]).advance(20 * SECOND).receive(3, &[])
            },
            yes: &[Lv12],
            no: &[],
            says: "m2 was sent at event 1 and waited out its delay, was not dead, and event 3 was empty",
        },
        Near {
            why: "of two that waited the first is missed first",
            contract: unlimited,
            write: |s| {
                s.send_as(1, 1, SECOND, confirmed(1))
                    .send_as(1, 2, 10 * SECOND, confirmed(2))
                    .advance(2 * SECOND);
                s.receive(3, &[]).advance(20 * SECOND).receive(3, &[])
            },
            yes: &[Lv12],
            no: &[],
            says: "m1 was sent at event 0 and waited out its delay, was not dead, and event 3 was empty",
        },
        Near {
            why: "one that was sent and one that waited are missed each for its own cause",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).send_as(1, 2, SECOND, confirmed(2)).receive(3, &[]).advance(2 * SECOND);
                s.receive(3, &[])
            },
            yes: &[Lv12],
            no: &[],
            says: "m2 was sent at event 1 and waited out its delay, was not dead, and event 4 was empty",
        },
        Near {
            why: "a receive after the drain is not the drain's",
            contract: unlimited,
            write: |s| {
                s.event(0, What::DrainBegan).event(0, What::DrainEnded { quiet: true });
                s.send(1, 1).receive(3, &[])
            },
            yes: &[Or6],
            no: &[Al1, Li1],
            says: "",
        },
        Near {
            why: "nor is one before it",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(3, &[]);
                s.event(0, What::DrainBegan).event(0, What::DrainEnded { quiet: true })
            },
            yes: &[Or6],
            no: &[Al1, Li1],
            says: "",
        },
        Near {
            why: "what was missed before may be held when the drain finds nothing",
            contract: unlimited,
            write: |s| {
                s.send(1, 1)
                    .receive(3, &[])
                    .event(0, What::DrainBegan)
                    .receive_in_doubt(3, 1)
                    .receive(3, &[]);
                s.event(0, What::DrainEnded { quiet: true })
            },
            yes: &[Or6],
            no: &[Al1, Li1],
            says: "",
        },
        Near {
            why: "what asks for no lease hides nothing",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).event(2, What::Receive { max: 5, got: None, lease: Duration::ZERO });
                s.receive(3, &[])
            },
            yes: &[Or6],
            no: &[],
            says: "",
        },
        Near {
            why: "a receive that found fewer than it asked for came upon the dead",
            contract: || Contract { death: Death::NextReceive, ..durable() },
            write: |s| dead(s).send(1, 2).receive(3, &[(2, 3, 1)]).browse(1, &[]),
            yes: &[Dl1],
            no: &[],
            says: "",
        },
    ]
}
