//! How much there is, of the living and of the dead.

use stanchion_queues::{Bytes, Contract, Crash, Durability, Refusal};

use super::super::scripted::SECOND;
use super::super::scripts::{confirmed, durable, rejected, roomy, sized, unlimited};
use super::{COUNTS_NOTHING, Near};
use crate::history::SendOutcome;
use crate::invariant::Invariant::*;

/// How much there certainly is, and how much there may be.
pub(super) fn capacity() -> Vec<Near> {
    vec![
        Near {
            why: "a redrive to what is leased and what waits",
            contract: || Contract { deliveries_allowed: None, ..roomy(2) },
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).reject(2, 1).send(1, 2).receive(2, &[(2, 2, 1)]);
                s.send_as(1, 3, 50 * SECOND, confirmed(3)).redrive(1, 1, 1)
            },
            yes: &[Cb1],
            no: &[],
            says: "",
        },
        Near {
            why: "where nothing counts no delivery that nobody saw kills",
            contract: || Contract { counting: COUNTS_NOTHING, ..roomy(1) },
            write: |s| s.send(1, 1).receive_in_doubt(2, 1).receive_in_doubt(2, 1).send(1, 2),
            yes: &[Cb1],
            no: &[],
            says: "",
        },
        Near {
            why: "where it counts it may have",
            contract: || roomy(1),
            write: |s| s.send(1, 1).receive_in_doubt(2, 1).receive_in_doubt(2, 1).send(1, 2),
            yes: &[],
            no: &[Cb1],
            says: "",
        },
        Near {
            why: "what was redriven takes a place again",
            contract: || Contract { deliveries_allowed: None, ..roomy(1) },
            write: |s| rejected(s).redrive(1, 1, 1).send_full(1, 2),
            yes: &[],
            no: &[Cb2],
            says: "",
        },
        Near {
            why: "a crash may undo the reject",
            contract: || Contract { acks: Durability::None, ..roomy(1) },
            write: |s| rejected(s).crash(Crash::Power).send_full(1, 2),
            yes: &[],
            no: &[Cb2],
            says: "",
        },
        Near {
            why: "the send may have come before the ack that returned when it was called",
            contract: || roomy(1),
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).ack(2, 1).wide(0, 1).send_full(1, 2),
            yes: &[],
            no: &[Cb2],
            says: "",
        },
        Near {
            why: "what is small enough is not too large",
            contract: || Contract { body_limit: Some(Bytes(100)), ..durable() },
            write: |s| s.event(1, sized(100, SendOutcome::Refused(Refusal::TooLarge))),
            yes: &[Cb6],
            no: &[],
            says: "",
        },
    ]
}

/// How many dead letters there are.
pub(super) fn the_dead() -> Vec<Near> {
    vec![
        Near {
            why: "what nobody saw cannot have died where attempts are not limited",
            contract: unlimited,
            write: |s| rejected(s).receive_in_doubt(2, 1).depth(1, [0, 0, 0, 0]),
            yes: &[Al10],
            no: &[],
            says: "",
        },
        Near {
            why: "nor where nothing counts",
            contract: || Contract { counting: COUNTS_NOTHING, ..durable() },
            write: |s| rejected(s).receive_in_doubt(2, 1).depth(1, [0, 0, 0, 0]),
            yes: &[Al10],
            no: &[],
            says: "",
        },
        Near {
            why: "a redrive moves all that there are",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1), (2, 2, 1)]).reject(2, 1).reject(2, 2);
                s.redrive(1, 10, 1)
            },
            yes: &[Dl8],
            no: &[],
            says: "",
        },
    ]
}
