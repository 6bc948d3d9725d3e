//! When everything has come to rest, and what is nowhere then.

use std::time::Duration;

use stanchion_queues::{Contract, Count, Counting, Crash, Death, Durability, Settle};

use super::super::scripted::{SECOND, Script};
use super::super::scripts::{confirmed, dead, durable, rejected, unlimited};
use super::{Near, doubtful};
use crate::history::{Outcome, What};
use crate::invariant::Invariant::*;

/// A drain that came to rest, or did not.
pub(super) fn at_rest() -> Vec<Near> {
    vec![
        Near {
            why: "a drain never ends because what it acked comes back",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).event(0, What::DrainBegan).receive(2, &[(1, 1, 1)]).ack(2, 1);
                s.receive(2, &[(1, 2, 1)]).event(0, What::DrainEnded { quiet: false })
            },
            yes: &[Li1],
            no: &[],
            says: "",
        },
        Near {
            why: "the ack may have come after the redelivery",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).event(0, What::DrainBegan).receive(2, &[(1, 1, 1)]).ack(2, 1).wide(0, 1);
                s.receive(2, &[(1, 2, 1)]).event(0, What::DrainEnded { quiet: false })
            },
            yes: &[],
            no: &[Li1],
            says: "",
        },
        Near {
            why: "what was acked before the drain is not why it does not end",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).ack(2, 1).event(0, What::DrainBegan);
                s.receive(2, &[(1, 2, 1)]).event(0, What::DrainEnded { quiet: false })
            },
            yes: &[Al6],
            no: &[Li1],
            says: "",
        },
        Near {
            why: "what was never delivered is lost, and not invisible",
            contract: unlimited,
            write: |s| s.send(1, 1).drain(),
            yes: &[Al1, Li1],
            no: &[Li2],
            says: "",
        },
        Near {
            why: "what waits for ever is invisible",
            contract: unlimited,
            write: |s| s.send_as(1, 1, 5 * SECOND, confirmed(1)).drain(),
            yes: &[Al1, Li1, Li2, Lv12],
            no: &[],
            says: "",
        },
        Near {
            why: "what was returned and does not come back is invisible",
            contract: unlimited,
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).drain(),
            yes: &[Al2, Li1, Li2],
            no: &[Al1],
            says: "",
        },
        Near {
            why: "what is counted as leased before anything new happens is stuck",
            contract: unlimited,
            write: |s| s.drain().depth(1, [0, 1, 0, 0]).send(1, 1),
            yes: &[Li2],
            no: &[],
            says: "",
        },
        Near {
            why: "what is ready after a drain that found nothing, with nothing held, was not found",
            contract: unlimited,
            write: |s| s.drain().depth(1, [1, 0, 0, 0]),
            yes: &[Li2],
            no: &[],
            says: "",
        },
        Near {
            why: "what a receive in doubt held while the drain found nothing comes back later",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).event(0, What::DrainBegan).receive_in_doubt(3, 1).receive(3, &[]);
                s.event(0, What::DrainEnded { quiet: true }).advance(20 * SECOND).depth(1, [1, 0, 0, 0])
            },
            yes: &[],
            no: &[Li1, Li2, Al1, Al10],
            says: "",
        },
    ]
}

/// A drain that waits for so long and finds nothing.
fn empty_after(s: &mut Script, wait: Duration) -> &mut Script {
    s.event(0, What::DrainBegan).advance(wait).receive(90, &[]).event(0, What::DrainEnded { quiet: true })
}

/// What is nowhere in the end, and what may be somewhere.
pub(super) fn vanished() -> Vec<Near> {
    let may_die = || Contract {
        deliveries_allowed: Some(1),
        counting: Counting { nack: Count::Maybe, ..Counting::AT_HAND_OVER },
        ..durable()
    };
    vec![
        Near {
            why: "no time need pass where nothing waits",
            contract: durable,
            write: |s| empty_after(doubtful(s).crash(Crash::Power), Duration::ZERO).browse(1, &[]),
            yes: &[Al10, Dl4],
            no: &[],
            says: "",
        },
        Near {
            why: "nor a crash happen where the lease ran out",
            contract: durable,
            write: |s| doubtful(s).drain().browse(1, &[]),
            yes: &[Al10, Dl4],
            no: &[],
            says: "",
        },
        Near {
            why: "at its deadline the lease may hold it still",
            contract: durable,
            write: |s| empty_after(doubtful(s), 10 * SECOND).browse(1, &[]),
            yes: &[],
            no: &[Al10, Dl4],
            says: "",
        },
        Near {
            why: "what was returned and may have died",
            contract: may_die,
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).drain().browse(1, &[]),
            yes: &[Al10, Dl4],
            no: &[],
            says: "",
        },
        Near {
            why: "when its delay is over it may wait still",
            contract: may_die,
            write: |s| {
                let delay = 5 * SECOND;
                s.send(1, 1).receive(2, &[(1, 1, 1)]);
                let s = s.settle(2, 1, Settle::Nack { delay }, Outcome::Done);
                empty_after(s, 5 * SECOND).browse(1, &[])
            },
            yes: &[],
            no: &[Al10, Dl4],
            says: "",
        },
        Near {
            why: "it may have been returned after the receive that was called when the nack returned",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).event(0, What::DrainBegan).nack(2, 1).wide(0, 1);
                s.receive(90, &[]).event(0, What::DrainEnded { quiet: true }).browse(1, &[])
            },
            yes: &[],
            no: &[Al10, Dl4],
            says: "",
        },
        Near {
            why: "it may have been stored after the receive that was called when the send returned",
            contract: unlimited,
            write: |s| {
                s.event(0, What::DrainBegan).send(1, 1).wide(0, 1).receive(90, &[]);
                s.event(0, What::DrainEnded { quiet: true }).browse(1, &[])
            },
            yes: &[],
            no: &[Al10, Dl4],
            says: "",
        },
        Near {
            why: "it was redriven between the two",
            contract: durable,
            write: |s| dead(s).drain().redrive(1, 1, 1).browse(1, &[]),
            yes: &[],
            no: &[Al10, Dl4],
            says: "",
        },
        Near {
            why: "a crash between the two may have undone its death",
            contract: || Contract { acks: Durability::None, ..unlimited() },
            write: |s| rejected(s).drain().crash(Crash::Power).browse(1, &[]),
            yes: &[],
            no: &[Al10, Dl4],
            says: "",
        },
        Near {
            why: "a receive in doubt may hold it",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).event(0, What::DrainBegan).receive_in_doubt(3, 1).receive(90, &[]);
                s.event(0, What::DrainEnded { quiet: true }).browse(1, &[])
            },
            yes: &[],
            no: &[Al10, Dl4],
            says: "",
        },
        Near {
            why: "the receive may have killed it after the browse that was called when it returned",
            contract: || Contract { death: Death::NextReceive, ..durable() },
            write: |s| {
                dead(s).event(0, What::DrainBegan).receive(90, &[]).wide(0, 1).browse(1, &[]);
                s.event(0, What::DrainEnded { quiet: true })
            },
            yes: &[],
            no: &[Al10, Dl1, Dl4],
            says: "",
        },
    ]
}
