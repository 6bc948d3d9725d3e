//! Effects and the records of them.

use stanchion_queues::Reason;

use super::super::scripted::SECOND;
use super::super::scripts::{durable, rejected};
use super::Near;
use crate::invariant::Invariant::*;

pub(super) fn consumers() -> Vec<Near> {
    vec![
        Near {
            why: "a record without its effect",
            contract: durable,
            write: |s| s.observe(&[(1, 0, true)]),
            yes: &[Ic3],
            no: &[],
            says: "recorded without its effect",
        },
        Near {
            why: "an effect that is gone while its record is there",
            contract: durable,
            write: |s| s.observe(&[(1, 1, true)]).observe(&[(1, 0, true)]),
            yes: &[Ic3],
            no: &[],
            says: "",
        },
        Near {
            why: "an effect without its record",
            contract: durable,
            write: |s| s.observe(&[(1, 1, false)]),
            yes: &[Ic3],
            no: &[],
            says: "without a record",
        },
        Near {
            why: "it may have been delivered before it was seen that the record is gone",
            contract: durable,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).observe(&[(1, 1, true)]).nack(2, 1);
                s.observe(&[(1, 1, false)]).wide(0, 1).receive(2, &[(1, 2, 2)])
            },
            yes: &[],
            no: &[Ic4],
            says: "",
        },
        Near {
            why: "it may have been seen before it was delivered",
            contract: durable,
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).wide(0, 1).observe(&[(1, 0, true)]),
            yes: &[],
            no: &[Ic7],
            says: "",
        },
        Near {
            why: "it may have died before its record was seen",
            contract: durable,
            write: |s| rejected(s).observe(&[(1, 0, true)]).wide(0, 1).browse(3, &[(1, Reason::Rejected, 1)]),
            yes: &[],
            no: &[Ic9],
            says: "",
        },
        Near {
            why: "a dead letter may have had its effect",
            contract: durable,
            write: |s| rejected(s).observe(&[(1, 1, true)]).browse(3, &[(1, Reason::Rejected, 1)]),
            yes: &[],
            no: &[Ic9],
            says: "",
        },
        Near {
            why: "it may have been seen before it was acked",
            contract: durable,
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).ack(2, 1).wide(0, 1).observe(&[]),
            yes: &[],
            no: &[Ic2],
            says: "",
        },
        Near {
            why: "of two that were acked one had no effect",
            contract: durable,
            write: |s| {
                s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1), (2, 2, 1)]).ack(2, 1).ack(2, 2);
                s.observe(&[(1, 1, true), (2, 0, false), (3, 1, true)])
            },
            yes: &[Ic2],
            no: &[],
            says: "m2 was acked at event 6",
        },
        Near {
            why: "no effect is none",
            contract: durable,
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).ack(2, 1).drain().observe(&[(1, 0, false)]),
            yes: &[Ic10],
            no: &[],
            says: "",
        },
        Near {
            why: "the first may have been done with it when the second came",
            contract: durable,
            write: |s| {
                s.send(1, 1)
                    .receive(2, &[(1, 1, 1)])
                    .advance(10 * SECOND)
                    .receive(3, &[(1, 2, 2)])
                    .wide(0, 1);
                s.observe(&[(1, 1, true)]).ack(3, 2).observe(&[(1, 2, true)])
            },
            yes: &[],
            no: &[Ic6],
            says: "",
        },
    ]
}
