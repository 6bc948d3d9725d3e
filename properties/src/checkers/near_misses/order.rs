//! Which came before which.

use stanchion_queues::{Contract, Crash, Durability, Order, Requeue};

use super::super::scripted::SECOND;
use super::super::scripts::{confirmed, durable, rejected, send, unlimited};
use super::Near;
use crate::history::{Outcome, What};
use crate::invariant::Invariant::*;

/// Where the redriven go is told, and where the returned go is not.
fn unplaced() -> Contract {
    Contract { requeue: Requeue::Unspecified, redriven: Requeue::Original, ..unlimited() }
}

/// What was redriven goes to the tail.
fn redriven_last() -> Contract {
    Contract { redriven: Requeue::Tail, ..unlimited() }
}

pub(super) fn order() -> Vec<Near> {
    vec![
        Near {
            why: "what a lost session held goes to the tail",
            contract: || Contract { requeue: Requeue::Tail, ..unlimited() },
            write: |s| {
                s.send(1, 1).send(1, 2).receive_at_most(2, 1, 10 * SECOND, &[(1, 1, 1)]).lose(2);
                s.receive_at_most(3, 1, 10 * SECOND, &[(1, 2, 2)]).receive(3, &[(2, 3, 1)])
            },
            yes: &[Or4],
            no: &[],
            says: "",
        },
        Near {
            why: "a crash before both were sent disturbs no order",
            contract: unlimited,
            write: |s| {
                s.crash(Crash::Power).send(1, 1).send(1, 2).receive(2, &[(2, 1, 1)]).receive(2, &[(1, 2, 1)])
            },
            yes: &[Or1, Or2],
            no: &[],
            says: "",
        },
        Near {
            why: "where a return has no place a returned message may come anywhere",
            contract: unplaced,
            write: |s| {
                s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1)]).nack(2, 1).receive(2, &[(2, 2, 1)]);
                s.receive(2, &[(1, 3, 2)])
            },
            yes: &[],
            no: &[Or4],
            says: "",
        },
        Near {
            why: "what was redriven has its place all the same",
            contract: unplaced,
            write: |s| {
                rejected(s).send(1, 2).redrive(1, 1, 1).receive(2, &[(2, 2, 1)]).receive(2, &[(1, 3, 1)])
            },
            yes: &[Or4],
            no: &[],
            says: "",
        },
        Near {
            why: "unless the other may have been returned unseen",
            contract: unplaced,
            write: |s| {
                rejected(s).send(1, 2).receive_in_doubt(3, 1).advance(11 * SECOND).redrive(1, 1, 1);
                s.receive(2, &[(2, 2, 2)]).receive(2, &[(1, 3, 1)])
            },
            yes: &[],
            no: &[Or4],
            says: "",
        },
        Near {
            why: "the third of a batch before the second",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).also(1, send(2, confirmed(2))).also(1, send(3, confirmed(3)));
                s.receive(2, &[(1, 1, 1)]).receive(2, &[(3, 2, 1)]).receive(2, &[(2, 3, 1)])
            },
            yes: &[Or1, Or2],
            no: &[],
            says: "m2 was sent before m3",
        },
        Near {
            why: "the same in one receive",
            contract: unlimited,
            write: |s| s.send(1, 1).send(1, 2).send(1, 3).receive(2, &[(1, 1, 1), (3, 2, 1), (2, 3, 1)]),
            yes: &[Or1, Or2],
            no: &[],
            says: "m2 was sent before m3",
        },
        Near {
            why: "the third of a producer before its second",
            contract: || Contract { order: Order::PerProducer, ..unlimited() },
            write: |s| {
                s.send(1, 1).send(1, 2).send(1, 3);
                s.receive(2, &[(1, 1, 1)]).receive(2, &[(3, 2, 1)]).receive(2, &[(2, 3, 1)])
            },
            yes: &[Or2],
            no: &[Or1],
            says: "one producer sent m2 before m3",
        },
        Near {
            why: "whatever a producer sent twice was sent by it",
            contract: || Contract { order: Order::PerProducer, ..unlimited() },
            write: |s| {
                s.send_in_doubt(1, 1).send(1, 1).send(1, 2);
                s.receive(2, &[(2, 1, 1)]).receive(2, &[(1, 2, 1)])
            },
            yes: &[Or2],
            no: &[Or1],
            says: "",
        },
        Near {
            why: "what two producers sent has no place in the order of one",
            contract: || Contract { order: Order::PerProducer, ..unlimited() },
            write: |s| {
                s.send_in_doubt(3, 1).send(1, 1).send(1, 2);
                s.receive(2, &[(2, 1, 1)]).receive(2, &[(1, 2, 1)])
            },
            yes: &[],
            no: &[Or1, Or2],
            says: "",
        },
        Near {
            why: "a redrive of another does not excuse what comes back after its ack",
            contract: durable,
            write: |s| {
                s.send(1, 1)
                    .send(1, 2)
                    .receive(2, &[(1, 1, 1), (2, 2, 1)])
                    .ack(2, 1)
                    .reject(2, 2)
                    .redrive(1, 1, 1);
                s.crash(Crash::Power).receive(3, &[(1, 3, 2)])
            },
            yes: &[Du3],
            no: &[],
            says: "",
        },
        Near {
            why: "a crash before all was sent displaces nobody who is returned",
            contract: unlimited,
            write: |s| {
                s.crash(Crash::Power).send(1, 1).send(1, 2).receive_at_most(2, 1, 10 * SECOND, &[(1, 1, 1)]);
                s.nack(2, 1).receive_at_most(2, 1, 10 * SECOND, &[(2, 2, 1)]).receive(2, &[(1, 3, 2)])
            },
            yes: &[Or4],
            no: &[],
            says: "",
        },
        Near {
            why: "a first delivery of what may have been returned unseen has no place where a return has none",
            contract: unplaced,
            write: |s| {
                s.send(1, 1)
                    .send(1, 2)
                    .receive_at_most(2, 1, 10 * SECOND, &[(1, 1, 1)])
                    .receive_in_doubt(3, 1);
                s.extend(2, 1, 60, Outcome::Done).advance(11 * SECOND).reject(2, 1).redrive(1, 1, 1);
                s.receive_at_most(2, 1, 10 * SECOND, &[(2, 2, 2)]).receive(2, &[(1, 3, 1)])
            },
            yes: &[],
            no: &[Or4],
            says: "",
        },
        Near {
            why: "nor has a second one",
            contract: unplaced,
            write: |s| {
                s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1), (2, 2, 1)]).nack(2, 2).reject(2, 1);
                s.redrive(1, 1, 1).receive_at_most(2, 1, 10 * SECOND, &[(2, 3, 2)]).receive(2, &[(1, 4, 1)])
            },
            yes: &[],
            no: &[Or4],
            says: "",
        },
        Near {
            why: "of two that were returned to their places the first comes first",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1), (2, 2, 1)]).nack(2, 1).nack(2, 2);
                s.receive_at_most(2, 1, 10 * SECOND, &[(2, 3, 2)]).receive(2, &[(1, 4, 2)])
            },
            yes: &[Or4],
            no: &[],
            says: "",
        },
        Near {
            why: "what returns to the tail stays behind, whoever else was redriven meanwhile",
            contract: || Contract { requeue: Requeue::Tail, ..unlimited() },
            write: |s| {
                s.send(1, 3).receive(2, &[(3, 1, 1)]).reject(2, 1).send(1, 1).send(1, 2);
                s.receive_at_most(2, 1, 10 * SECOND, &[(1, 2, 1)]).nack(2, 2).redrive(1, 1, 1);
                s.receive_at_most(2, 1, 10 * SECOND, &[(1, 3, 2)]).receive(2, &[(2, 4, 1), (3, 5, 1)])
            },
            yes: &[Or4],
            no: &[],
            says: "",
        },
        Near {
            why: "what is redriven to the tail stays behind, though a crash was before",
            contract: redriven_last,
            write: |s| {
                rejected(s.crash(Crash::Power)).send(1, 2).redrive(1, 1, 1);
                s.receive_at_most(2, 1, 10 * SECOND, &[(1, 2, 1)]).receive(2, &[(2, 3, 1)])
            },
            yes: &[Or4],
            no: &[],
            says: "",
        },
        Near {
            why: "nor does a crash after it matter",
            contract: redriven_last,
            write: |s| {
                rejected(s).send(1, 2).redrive(1, 1, 1).receive_at_most(2, 1, 10 * SECOND, &[(1, 2, 1)]);
                s.receive(2, &[(2, 3, 1)]).crash(Crash::Power)
            },
            yes: &[Or4],
            no: &[],
            says: "",
        },
        Near {
            why: "a crash between may have taken back the death: then nothing was redriven",
            contract: || Contract { acks: Durability::None, ..redriven_last() },
            write: |s| {
                rejected(s).crash(Crash::Power).send(1, 2).event(1, What::Redrive { max: 1, moved: None });
                s.receive_at_most(3, 1, 10 * SECOND, &[(1, 2, 1)]).receive(3, &[(2, 3, 1)])
            },
            yes: &[],
            no: &[Or4],
            says: "",
        },
    ]
}
