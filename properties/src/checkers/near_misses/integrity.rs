//! What goes in and what comes out, and how often.

use std::time::Duration;

use stanchion_queues::{Bytes, Contract, Count, Counting, Crash, Durability, Reason, Refusal};

use super::super::scripted::SECOND;
use super::super::scripts::{confirmed, dead, durable, rejected, sized, unlimited};
use super::{KEPT, Near, shown_as_9};
use crate::history::{SendOutcome, What};
use crate::invariant::Invariant::*;

/// What goes in and what comes out.
pub(super) fn integrity() -> Vec<Near> {
    vec![
        Near {
            why: "lost between two that came",
            contract: unlimited,
            write: |s| {
                s.send(1, 1)
                    .send(1, 2)
                    .send(1, 3)
                    .receive(2, &[(1, 1, 1), (3, 2, 1)])
                    .ack(2, 1)
                    .ack(2, 2)
                    .drain()
            },
            yes: &[Al1],
            no: &[],
            says: "m2 was confirmed at event 1 and never delivered: the drain was empty at event 10; it stands in the middle of",
        },
        Near {
            why: "lost before those that came",
            contract: unlimited,
            write: |s| s.send(1, 1).send(1, 2).receive(2, &[(2, 1, 1)]).ack(2, 1).drain(),
            yes: &[Al1],
            no: &[],
            says: "it stands before all what its producer sent",
        },
        Near {
            why: "lost after those that came",
            contract: unlimited,
            write: |s| s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1)]).ack(2, 1).drain(),
            yes: &[Al1],
            no: &[],
            says: "it stands after all what its producer sent",
        },
        Near {
            why: "lost alone, whatever another producer sent",
            contract: unlimited,
            write: |s| {
                s.send(3, 1).send(1, 2).send(3, 3).send_in_doubt(1, 4);
                s.receive(2, &[(1, 1, 1), (3, 2, 1), (4, 3, 1)]).ack(2, 1).ack(2, 2).ack(2, 3);
                s.event(0, What::DrainBegan).receive(90, &[]).event(0, What::DrainEnded { quiet: true })
            },
            yes: &[Al1],
            no: &[],
            says: "the drain was empty at event 12",
        },
        Near {
            why: "lost after it was returned",
            contract: unlimited,
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).drain(),
            yes: &[Al2],
            no: &[Al1],
            says: ", was returned, and was never seen again",
        },
        Near {
            why: "the id that was confirmed for one comes with the body of another",
            contract: unlimited,
            write: |s| {
                s.send_as(1, 1, Duration::ZERO, confirmed(9)).send(1, 2).receive_ids(2, &[(2, 9, 1, 1)])
            },
            yes: &[Al5],
            no: &[],
            says: "id 9 was confirmed for m1 at event 0 and delivered with the body of m2",
        },
        Near {
            why: "each comes under its own id, whichever was stored first",
            contract: unlimited,
            write: |s| {
                s.send_as(1, 1, Duration::ZERO, confirmed(9))
                    .send(1, 2)
                    .receive_ids(2, &[(1, 9, 1, 1), (2, 2, 2, 1)])
            },
            yes: &[],
            no: &[Al5],
            says: "",
        },
        Near {
            why: "after a crash that took the message its id may be given again",
            contract: || Contract { deliveries_allowed: None, ..Contract::in_memory() },
            write: |s| s.send(1, 1).crash(Crash::Power).send_in_doubt(3, 2).receive_ids(4, &[(2, 1, 1, 1)]),
            yes: &[],
            no: &[Al5],
            says: "",
        },
        Near {
            why: "what came before the id was confirmed for another is not that one's",
            contract: unlimited,
            write: |s| s.send_in_doubt(1, 2).receive_ids(2, &[(2, 1, 1, 1)]).send(1, 1),
            yes: &[],
            no: &[Al5],
            says: "",
        },
        Near {
            why: "nor what came when the send was called",
            contract: unlimited,
            write: |s| s.send_in_doubt(1, 2).receive_ids(2, &[(2, 1, 1, 1)]).wide(0, 3).send(1, 1),
            yes: &[Al5],
            no: &[],
            says: "",
        },
        Near {
            why: "the ack may have come after the redelivery that was called when it returned",
            contract: unlimited,
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).ack(2, 1).wide(0, 1).receive(2, &[(1, 2, 2)]),
            yes: &[Lv8],
            no: &[Al6],
            says: "",
        },
        Near {
            why: "a death alone permits no redelivery",
            contract: unlimited,
            write: |s| rejected(s).receive(2, &[(1, 2, 1)]),
            yes: &[Al7, Dl12],
            no: &[],
            says: "",
        },
        Near {
            why: "nor does a redrive of another",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1), (2, 2, 1)]).ack(2, 1).reject(2, 2);
                s.redrive(1, 1, 1).receive(2, &[(1, 3, 2)])
            },
            yes: &[Al7],
            no: &[],
            says: "",
        },
        Near {
            why: "nor where the attempt that was acked was the last that is allowed",
            contract: || Contract { deliveries_allowed: Some(1), ..durable() },
            write: |s| {
                s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1), (2, 2, 1)]).ack(2, 1).reject(2, 2);
                s.redrive(1, 1, 1).receive(2, &[(1, 3, 1)])
            },
            yes: &[Al7],
            no: &[],
            says: "",
        },
        Near {
            why: "what nobody sent is no copy too many",
            contract: unlimited,
            write: |s| s.receive_ids(2, &[(1, 1, 1, 1), (1, 2, 2, 1)]),
            yes: &[Al3],
            no: &[Al8],
            says: "",
        },
        Near {
            why: "three copies of one send",
            contract: unlimited,
            write: |s| s.send(1, 1).receive_ids(2, &[(1, 1, 1, 1), (1, 2, 2, 1), (1, 3, 3, 1)]),
            yes: &[Al8],
            no: &[],
            says: "was sent 1 times",
        },
        Near {
            why: "a send in doubt may have left something that waits",
            contract: unlimited,
            write: |s| s.send_as(1, 1, 5 * SECOND, SendOutcome::InDoubt).depth(1, [0, 0, 1, 0]),
            yes: &[],
            no: &[Al10],
            says: "",
        },
        Near {
            why: "of two sends in doubt one may be unseen",
            contract: unlimited,
            write: |s| {
                s.send_in_doubt(1, 1).send_in_doubt(1, 1).receive(2, &[(1, 1, 1)]).depth(1, [1, 1, 0, 0])
            },
            yes: &[],
            no: &[Al10],
            says: "",
        },
        Near {
            why: "of one none is",
            contract: unlimited,
            write: |s| s.send_in_doubt(1, 1).receive(2, &[(1, 1, 1)]).depth(1, [1, 1, 0, 0]),
            yes: &[Al10],
            no: &[],
            says: "counted 1 ready and there were at most 0",
        },
        Near {
            why: "more messages than were asked for",
            contract: unlimited,
            write: |s| s.send(1, 1).send(1, 2).receive_at_most(2, 1, 10 * SECOND, &[(1, 1, 1), (2, 2, 1)]),
            yes: &[Al11],
            no: &[],
            says: "event 2 asked for at most 1 messages and received 2",
        },
        Near {
            why: "a lease of no time is to be refused",
            contract: unlimited,
            write: |s| s.send(1, 1).receive_at_most(2, 1, Duration::ZERO, &[(1, 1, 1)]),
            yes: &[Al11],
            no: &[],
            says: "which is to be refused",
        },
        Near {
            why: "too large, and stored",
            contract: || Contract { body_limit: Some(Bytes(100)), ..durable() },
            write: |s| s.event(1, sized(101, confirmed(1))),
            yes: &[Cb6],
            no: &[],
            says: "event 0 stored a body of 101 bytes",
        },
        Near {
            why: "as large as is allowed, and refused",
            contract: || Contract { body_limit: Some(Bytes(100)), ..durable() },
            write: |s| s.event(1, sized(100, SendOutcome::Refused(Refusal::TooLarge))),
            yes: &[Cb6],
            no: &[],
            says: "event 0 refused as too large a body of 100 bytes",
        },
    ]
}

/// What was counted.
pub(super) fn attempts() -> Vec<Near> {
    vec![
        Near {
            why: "a count that a crash may have taken and did not",
            contract: || Contract { counts: Durability::Process, ..durable() },
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).crash(Crash::Power).receive(3, &[(1, 2, 2)]);
                s.nack(3, 2).browse(1, &[])
            },
            yes: &[Dl1, Dl4],
            no: &[],
            says: "",
        },
        Near {
            why: "a number that fell is believed from then on",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).receive(2, &[(1, 2, 2)]).nack(2, 2);
                s.receive(2, &[(1, 3, 1)]).nack(2, 3).receive(2, &[(1, 4, 2)])
            },
            yes: &[Dl5],
            no: &[Dl6],
            says: "",
        },
        Near {
            why: "a crash that keeps leases may take back the nack with what it counted",
            contract: || Contract {
                leases: KEPT,
                counting: Counting { expiry: Count::No, ..Counting::AT_HAND_OVER },
                deliveries_allowed: None,
                ..Contract::durable()
            },
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).crash(Crash::Process).advance(20 * SECOND);
                s.receive(3, &[(1, 2, 1)])
            },
            yes: &[],
            no: &[Dl5, Dl6],
            says: "",
        },
        Near {
            why: "and then the message may come again",
            contract: || Contract {
                leases: KEPT,
                counting: Counting { expiry: Count::No, ..Counting::AT_HAND_OVER },
                deliveries_allowed: Some(1),
                ..Contract::durable()
            },
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).crash(Crash::Process).advance(20 * SECOND);
                s.receive(3, &[(1, 2, 1)])
            },
            yes: &[],
            no: &[Dl3],
            says: "",
        },
        Near {
            why: "a redrive that starts the count again starts it at one",
            contract: durable,
            write: |s| dead(s).redrive(1, 1, 1).receive(2, &[(1, 3, 3)]),
            yes: &[Dl5, Dl8],
            no: &[],
            says: "",
        },
        Near {
            why: "without a redrive nobody was redriven",
            contract: || Contract { counts: Durability::None, deliveries_allowed: None, ..durable() },
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).crash(Crash::Power).receive(3, &[(1, 2, 1)]);
                s.receive(3, &[(1, 3, 2)])
            },
            yes: &[Al7],
            no: &[Dl8],
            says: "",
        },
        Near {
            why: "a letter with an id that nobody was told",
            contract: unlimited,
            write: |s| {
                rejected(s);
                shown_as_9(s, Reason::Rejected)
            },
            yes: &[Dl7],
            no: &[],
            says: "under id 9, which was never given to it",
        },
        Near {
            why: "a crash that keeps leases may take back two nacks as well as one, and then the lease runs out",
            contract: || Contract {
                leases: KEPT,
                stale_refused: false,
                counting: Counting { nack: Count::No, ..Counting::AT_HAND_OVER },
                ..unlimited()
            },
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).wide(0, 2).nack(3, 1).crash(Crash::Process);
                s.advance(20 * SECOND).receive(4, &[(1, 2, 2)])
            },
            yes: &[],
            no: &[Dl5, Dl6],
            says: "",
        },
    ]
}
