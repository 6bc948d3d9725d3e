//! Histories that tell a rule from its neighbours: each is blamed by the rule, or is not, where a rule with one
//! condition changed judges otherwise.

use std::time::Duration;

use stanchion_queues::{Bytes, Contract, Count, Counting, Crash, Death, Durability, Refusal, Settle};

use super::check;
use super::scripted::{SECOND, Script};
use super::scripts::{Write, confirmed, dead, durable, history, rejected, roomy, sized, unlimited};
use crate::history::{Outcome, SendOutcome, What};
use crate::invariant::Invariant::{self, *};

struct Near {
    why: &'static str,
    contract: fn() -> Contract,
    write: Write,
    /// Who is blamed for it, at least.
    yes: &'static [Invariant],
    /// Who is not.
    no: &'static [Invariant],
}

/// Nothing that ends an attempt counts.
const COUNTS_NOTHING: Counting =
    Counting { nack: Count::No, expiry: Count::No, session_loss: Count::No, crash: Count::No };

fn near_misses() -> Vec<Near> {
    let mut all = Vec::new();
    all.extend(at_rest());
    all.extend(capacity());
    all.extend(the_dead());
    all.extend(vanished());
    all
}

/// A drain that came to rest, or did not.
fn at_rest() -> Vec<Near> {
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
        },
        Near {
            why: "what was never delivered is lost, and not invisible",
            contract: unlimited,
            write: |s| s.send(1, 1).drain(),
            yes: &[Al1, Li1],
            no: &[Li2],
        },
        Near {
            why: "what waits for ever is invisible",
            contract: unlimited,
            write: |s| s.send_as(1, 1, 5 * SECOND, confirmed(1)).drain(),
            yes: &[Al1, Li1, Li2, Lv12],
            no: &[],
        },
        Near {
            why: "what was returned and does not come back is invisible",
            contract: unlimited,
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).drain(),
            yes: &[Al2, Li1, Li2],
            no: &[Al1],
        },
        Near {
            why: "what is counted as leased before anything new happens is stuck",
            contract: unlimited,
            write: |s| s.drain().depth(1, [0, 1, 0, 0]).send(1, 1),
            yes: &[Li2],
            no: &[],
        },
        Near {
            why: "what is ready after a drain that found nothing, with nothing held, was not found",
            contract: unlimited,
            write: |s| s.drain().depth(1, [1, 0, 0, 0]),
            yes: &[Li2],
            no: &[],
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
        },
    ]
}

/// How much there certainly is, and how much there may be.
fn capacity() -> Vec<Near> {
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
        },
        Near {
            why: "where nothing counts no delivery that nobody saw kills",
            contract: || Contract { counting: COUNTS_NOTHING, ..roomy(1) },
            write: |s| s.send(1, 1).receive_in_doubt(2, 1).receive_in_doubt(2, 1).send(1, 2),
            yes: &[Cb1],
            no: &[],
        },
        Near {
            why: "where it counts it may have",
            contract: || roomy(1),
            write: |s| s.send(1, 1).receive_in_doubt(2, 1).receive_in_doubt(2, 1).send(1, 2),
            yes: &[],
            no: &[Cb1],
        },
        Near {
            why: "what was redriven takes a place again",
            contract: || Contract { deliveries_allowed: None, ..roomy(1) },
            write: |s| rejected(s).redrive(1, 1, 1).send_full(1, 2),
            yes: &[],
            no: &[Cb2],
        },
        Near {
            why: "a crash may undo the reject",
            contract: || Contract { acks: Durability::None, ..roomy(1) },
            write: |s| rejected(s).crash(Crash::Power).send_full(1, 2),
            yes: &[],
            no: &[Cb2],
        },
        Near {
            why: "the send may have come before the ack that returned when it was called",
            contract: || roomy(1),
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).ack(2, 1).wide(0, 1).send_full(1, 2),
            yes: &[],
            no: &[Cb2],
        },
        Near {
            why: "what is small enough is not too large",
            contract: || Contract { body_limit: Some(Bytes(100)), ..durable() },
            write: |s| s.event(1, sized(100, SendOutcome::Refused(Refusal::TooLarge))),
            yes: &[Cb6],
            no: &[],
        },
    ]
}

/// How many dead letters there are.
fn the_dead() -> Vec<Near> {
    vec![
        Near {
            why: "what nobody saw cannot have died where attempts are not limited",
            contract: unlimited,
            write: |s| rejected(s).receive_in_doubt(2, 1).depth(1, [0, 0, 0, 0]),
            yes: &[Al10],
            no: &[],
        },
        Near {
            why: "nor where nothing counts",
            contract: || Contract { counting: COUNTS_NOTHING, ..durable() },
            write: |s| rejected(s).receive_in_doubt(2, 1).depth(1, [0, 0, 0, 0]),
            yes: &[Al10],
            no: &[],
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
        },
    ]
}

/// A rejected message of which nobody was told so.
fn doubtful(s: &mut Script) -> &mut Script {
    s.send(1, 1).receive(2, &[(1, 1, 1)]).settle(2, 1, Settle::Reject, Outcome::InDoubt)
}

/// A drain that waits for so long and finds nothing.
fn empty_after(s: &mut Script, wait: Duration) -> &mut Script {
    s.event(0, What::DrainBegan).advance(wait).receive(90, &[]).event(0, What::DrainEnded { quiet: true })
}

/// What is nowhere in the end, and what may be somewhere.
fn vanished() -> Vec<Near> {
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
        },
        Near {
            why: "nor a crash happen where the lease ran out",
            contract: durable,
            write: |s| doubtful(s).drain().browse(1, &[]),
            yes: &[Al10, Dl4],
            no: &[],
        },
        Near {
            why: "at its deadline the lease may hold it still",
            contract: durable,
            write: |s| empty_after(doubtful(s), 10 * SECOND).browse(1, &[]),
            yes: &[],
            no: &[Al10, Dl4],
        },
        Near {
            why: "what was returned and may have died",
            contract: may_die,
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).drain().browse(1, &[]),
            yes: &[Al10, Dl4],
            no: &[],
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
        },
        Near {
            why: "it was redriven between the two",
            contract: durable,
            write: |s| dead(s).drain().redrive(1, 1, 1).browse(1, &[]),
            yes: &[],
            no: &[Al10, Dl4],
        },
        Near {
            why: "a crash between the two may have undone its death",
            contract: || Contract { acks: Durability::None, ..unlimited() },
            write: |s| rejected(s).drain().crash(Crash::Power).browse(1, &[]),
            yes: &[],
            no: &[Al10, Dl4],
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
        },
    ]
}

#[test]
fn a_rule_is_told_from_its_neighbours() {
    for near in near_misses() {
        let history = history((near.contract)(), near.write);
        for of in near.yes {
            assert!(check(*of, &history).is_broken(), "{}: {of} should be blamed", near.why);
        }
        for of in near.no {
            let verdict = check(*of, &history);
            assert!(!verdict.is_broken(), "{}: {of} should not be blamed: {verdict:?}", near.why);
        }
    }
}
