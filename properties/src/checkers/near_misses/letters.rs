//! What is kept of the dead.

use stanchion_queues::{Attempt, Contract, Count, Counting, MessageId, Reason, Settle};

use super::super::scripted::{SECOND, body};
use super::super::scripts::{dead, durable, rejected, unlimited};
use super::{Near, shown_as_9};
use crate::history::{Letter, Outcome, Token, What};
use crate::invariant::Invariant::*;

pub(super) fn letters() -> Vec<Near> {
    vec![
        Near {
            why: "who was rejected did not die of attempts",
            contract: unlimited,
            write: |s| rejected(s).browse(1, &[(1, Reason::Attempts, 1)]),
            yes: &[Dl12],
            no: &[],
            says: "m1 was rejected at event 3 and event 4 shows it dead of its attempts",
        },
        Near {
            why: "more attempts than are allowed, where a redrive starts the count again",
            contract: durable,
            write: |s| {
                dead(s)
                    .browse(1, &[(1, Reason::Attempts, 2)])
                    .redrive(1, 1, 0)
                    .browse(1, &[(1, Reason::Attempts, 3)])
            },
            yes: &[Dl1, Dl7],
            no: &[],
            says: "",
        },
        Near {
            why: "the same after a redrive that moved it and starts the count again",
            contract: durable,
            write: |s| dead(s).redrive(1, 1, 1).browse(1, &[(1, Reason::Attempts, 3)]),
            yes: &[Dl1, Dl7],
            no: &[],
            says: "",
        },
        Near {
            why: "where the count is kept it may stand above the limit",
            contract: || Contract { redrive_resets: false, ..durable() },
            write: |s| {
                dead(s)
                    .redrive(1, 1, 1)
                    .receive(2, &[(1, 3, 3)])
                    .nack(2, 3)
                    .browse(1, &[(1, Reason::Attempts, 3)])
            },
            yes: &[],
            no: &[Dl1, Dl7],
            says: "",
        },
        Near {
            why: "rejected, and not shown",
            contract: durable,
            write: |s| rejected(s).browse(1, &[]),
            yes: &[Dl12, Dl4],
            no: &[],
            says: "m1 was rejected at event 3, and event 4 showed",
        },
        Near {
            why: "out of attempts, and not shown",
            contract: durable,
            write: |s| dead(s).browse(1, &[]),
            yes: &[Dl1, Dl4],
            no: &[],
            says: "m1 was out of attempts after its delivery at event 5",
        },
        Near {
            why: "out of attempts by expiry, and not shown",
            contract: || Contract { deliveries_allowed: Some(1), ..durable() },
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(11 * SECOND).browse(1, &[]),
            yes: &[Dl1, Dl4],
            no: &[],
            says: "m1 was out of attempts after its delivery at event 2",
        },
        Near {
            why: "acked, and shown among the dead",
            contract: durable,
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).ack(2, 1).browse(1, &[(1, Reason::Rejected, 1)]),
            yes: &[Dl4],
            no: &[],
            says: "it was acked all the while",
        },
        Near {
            why: "it may have been shown before it was acked",
            contract: durable,
            write: |s| {
                s.send(1, 1)
                    .receive(2, &[(1, 1, 1)])
                    .settle(2, 1, Settle::Reject, Outcome::InDoubt)
                    .ack(3, 1)
                    .wide(0, 1)
                    .browse(1, &[(1, Reason::Rejected, 1)])
            },
            yes: &[],
            no: &[Dl4],
            says: "",
        },
        Near {
            why: "ready, and shown among the dead",
            contract: durable,
            write: |s| s.send(1, 1).browse(3, &[(1, Reason::Rejected, 1)]),
            yes: &[Dl4],
            no: &[],
            says: "it was ready all the while",
        },
        Near {
            why: "leased, and shown among the dead",
            contract: durable,
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).browse(3, &[(1, Reason::Rejected, 1)]),
            yes: &[Dl4],
            no: &[],
            says: "it was in flight all the while",
        },
        Near {
            why: "shown when it was called to be delivered",
            contract: unlimited,
            write: |s| {
                s.send(1, 1)
                    .receive(2, &[(1, 1, 1)])
                    .settle(2, 1, Settle::Reject, Outcome::InDoubt)
                    .advance(20 * SECOND);
                s.browse(1, &[(1, Reason::Rejected, 1)]).wide(0, 1).receive(2, &[(1, 2, 2)])
            },
            yes: &[],
            no: &[Dl11],
            says: "",
        },
        Near {
            why: "one attempt is the one that comes",
            contract: durable,
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 2)]),
            yes: &[Dl5],
            no: &[],
            says: "as attempt 2 and should be attempt 1",
        },
        Near {
            why: "no attempt is the first",
            contract: durable,
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 0)]),
            yes: &[Dl5],
            no: &[],
            says: "as attempt 0 and should be attempt 1",
        },
        Near {
            why: "one of several",
            contract: || Contract {
                counting: Counting { nack: Count::Maybe, ..Counting::AT_HAND_OVER },
                ..unlimited()
            },
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).receive(2, &[(1, 2, 5)]),
            yes: &[Dl5],
            no: &[],
            says: "should be attempt 1 to 2",
        },
        Near {
            why: "another body than was sent",
            contract: unlimited,
            write: |s| {
                rejected(s);
                {
                    let letter = Letter {
                        token: Some(Token(1)),
                        id: MessageId(1),
                        reason: Reason::Rejected,
                        attempts: 1,
                        key: None,
                        body: body(2),
                    };
                    s.event(1, What::Browse { max: 100, letters: Some(vec![letter]) })
                }
            },
            yes: &[Dl7],
            no: &[],
            says: "with another key or body",
        },
        Near {
            why: "what nobody had sent",
            contract: unlimited,
            write: |s| s.browse(1, &[(1, Reason::Rejected, 1)]).send(1, 1),
            yes: &[Dl7],
            no: &[],
            says: "and nobody had sent it",
        },
        Near {
            why: "it may be sent while it is shown",
            contract: unlimited,
            write: |s| {
                s.browse(1, &[(1, Reason::Rejected, 1)]).wide(0, 1);
                s.send(1, 1)
            },
            yes: &[Dl7],
            no: &[],
            says: "as rejected and nobody had rejected it",
        },
        Near {
            why: "an id that a send in doubt may have got",
            contract: unlimited,
            write: |s| {
                s.send_in_doubt(1, 1).send_full(3, 1).receive_in_doubt(2, 1);
                shown_as_9(s, Reason::Attempts)
            },
            yes: &[],
            no: &[Dl7],
            says: "",
        },
        Near {
            why: "an id that no send that was confirmed or refused can have got",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).send_full(3, 1);
                shown_as_9(s, Reason::Rejected)
            },
            yes: &[Dl7],
            no: &[],
            says: "under id 9, which was never given to it",
        },
        Near {
            why: "an id that was given to it at its delivery",
            contract: unlimited,
            write: |s| {
                s.send_in_doubt(1, 1).receive_ids(2, &[(1, 9, 1, 1)]).reject(2, 1);
                shown_as_9(s, Reason::Rejected)
            },
            yes: &[],
            no: &[Dl7],
            says: "",
        },
        Near {
            why: "fewer attempts than kill",
            contract: durable,
            write: |s| dead(s).browse(1, &[(1, Reason::Attempts, 1)]),
            yes: &[Dl7],
            no: &[],
            says: "of 1 attempts and 2 are allowed",
        },
        Near {
            why: "more attempts than kill",
            contract: durable,
            write: |s| dead(s).browse(1, &[(1, Reason::Attempts, 3)]),
            yes: &[Dl7],
            no: &[],
            says: "of 3 attempts and 2 are allowed",
        },
        Near {
            why: "rejected, though only ever acked",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).browse(1, &[(1, Reason::Rejected, 1)])
            },
            yes: &[Dl7],
            no: &[],
            says: "as rejected and nobody had rejected it",
        },
        Near {
            why: "rejected later",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).browse(3, &[(1, Reason::Rejected, 1)]).reject(2, 1)
            },
            yes: &[Dl7],
            no: &[],
            says: "as rejected and nobody had rejected it",
        },
        Near {
            why: "rejected with a receipt that was refused",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).settle(2, 1, Settle::Reject, Outcome::Stale);
                s.browse(3, &[(1, Reason::Rejected, 1)])
            },
            yes: &[Dl7],
            no: &[],
            says: "as rejected and nobody had rejected it",
        },
        Near {
            why: "rejected after more attempts than that was",
            contract: || Contract { attempt: Attempt::Ordinal, ..unlimited() },
            write: |s| rejected(s).browse(1, &[(1, Reason::Rejected, 5)]),
            yes: &[Dl7],
            no: &[],
            says: "as rejected after 5 attempts",
        },
        Near {
            why: "the death that was told last stands before the others",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1), (2, 2, 1)]).reject(2, 1).reject(2, 2);
                s.browse(1, &[(2, Reason::Rejected, 1), (1, Reason::Rejected, 1)])
            },
            yes: &[Dl7],
            no: &[],
            says: "shows m1 behind what died after it (see event 4)",
        },
        Near {
            why: "a redrive may have moved either of them between",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1), (2, 2, 1)]).reject(2, 1).reject(2, 2);
                s.event(1, What::Redrive { max: 1, moved: None });
                s.browse(1, &[(2, Reason::Rejected, 1), (1, Reason::Rejected, 1)])
            },
            yes: &[],
            no: &[Dl7],
            says: "",
        },
        Near {
            why: "where numbers are ordinals and the order of two deliveries is not known any count of them may be right",
            contract: || Contract { attempt: Attempt::Ordinal, ..unlimited() },
            write: |s| {
                s.send(1, 1)
                    .receive(2, &[(1, 1, 2)])
                    .wide(0, 5)
                    .receive(3, &[(1, 2, 1)])
                    .nack(3, 2)
                    .reject(2, 1);
                s.browse(1, &[(1, Reason::Rejected, 2)])
            },
            yes: &[],
            no: &[Dl7],
            says: "",
        },
    ]
}
