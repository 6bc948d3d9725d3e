//! Histories that tell a rule from its neighbours: each is blamed by the rule, or is not, where a rule with one
//! condition changed judges otherwise.

use std::time::Duration;

use stanchion_queues::{
    Answer, Attempt, Bytes, Contract, Count, Counting, Crash, Death, Depth, Durability, Leases, MessageId,
    Order, Reason, Refusal, Requeue, Settle,
};

use super::check;
use super::scripted::{SECOND, Script, body};
use super::scripts::{
    AT_ONCE, Write, confirmed, dead, deliver, durable, history, rejected, roomy, send, sized, unlimited,
};
use crate::history::{Handle, History, Letter, Outcome, SendOutcome, Token, What};
use crate::invariant::Invariant::{self, *};
use crate::verdict::Verdict;

struct Near {
    why: &'static str,
    contract: fn() -> Contract,
    write: Write,
    /// Who is blamed for it, at least.
    yes: &'static [Invariant],
    /// Who is not.
    no: &'static [Invariant],
    /// What the first who is blamed must say.
    says: &'static str,
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
    all.extend(integrity());
    all.extend(attempts());
    all.extend(consumers());
    all.extend(letters());
    all.extend(leases());
    all.extend(culprits());
    all.extend(emptiness());
    all.extend(order());
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
fn the_dead() -> Vec<Near> {
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

/// What goes in and what comes out.
fn integrity() -> Vec<Near> {
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
fn attempts() -> Vec<Near> {
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
                leases: Leases { end_with_session: false, end_with_crash: false },
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
                leases: Leases { end_with_session: false, end_with_crash: false },
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
                let letter = Letter {
                    token: Some(Token(1)),
                    id: MessageId(9),
                    reason: Reason::Rejected,
                    attempts: 1,
                    key: None,
                    body: body(1),
                };
                s.event(1, What::Browse { max: 100, letters: Some(vec![letter]) })
            },
            yes: &[Dl7],
            no: &[],
            says: "under id 9, which was never given to it",
        },
    ]
}

/// Effects and the records of them.
fn consumers() -> Vec<Near> {
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

/// What is kept of the dead.
fn letters() -> Vec<Near> {
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
                {
                    let letter = Letter {
                        token: Some(Token(1)),
                        id: MessageId(9),
                        reason: Reason::Attempts,
                        attempts: 1,
                        key: None,
                        body: body(1),
                    };
                    s.event(1, What::Browse { max: 100, letters: Some(vec![letter]) })
                }
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
                {
                    let letter = Letter {
                        token: Some(Token(1)),
                        id: MessageId(9),
                        reason: Reason::Rejected,
                        attempts: 1,
                        key: None,
                        body: body(1),
                    };
                    s.event(1, What::Browse { max: 100, letters: Some(vec![letter]) })
                }
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
                {
                    let letter = Letter {
                        token: Some(Token(1)),
                        id: MessageId(9),
                        reason: Reason::Rejected,
                        attempts: 1,
                        key: None,
                        body: body(1),
                    };
                    s.event(1, What::Browse { max: 100, letters: Some(vec![letter]) })
                }
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
    ]
}

/// Leases and receipts.
fn leases() -> Vec<Near> {
    vec![
        Near {
            why: "nothing expires a lease that was acked",
            contract: unlimited,
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).ack(2, 1).receive(2, &[(1, 2, 2)]),
            yes: &[Al7],
            no: &[Lv4],
            says: "",
        },
        Near {
            why: "at its deadline it may have run out",
            contract: unlimited,
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(10 * SECOND).receive(2, &[(1, 2, 2)]),
            yes: &[],
            no: &[Lv4],
            says: "",
        },
        Near {
            why: "only what was extended was not held long enough because of that",
            contract: unlimited,
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).receive(3, &[(1, 2, 2)]),
            yes: &[Lv1],
            no: &[Lv5],
            says: "",
        },
        Near {
            why: "its own receipt is refused while the lease lives",
            contract: unlimited,
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).settle(2, 1, Settle::Ack, Outcome::Stale),
            yes: &[Lv8],
            no: &[],
            says: "m1 was held since event 2 and event 3 called r1 stale",
        },
        Near {
            why: "whose ack was refused is there still",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(10 * SECOND).settle(
                    2,
                    1,
                    Settle::Ack,
                    Outcome::Stale,
                );
                s.advance(SECOND).receive(3, &[])
            },
            yes: &[Lv8],
            no: &[],
            says: "event 4 called the receipt of m1 stale, and at event 6 it was gone",
        },
        Near {
            why: "whose nack was refused is not said to have been acked",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(10 * SECOND).settle(
                    2,
                    1,
                    AT_ONCE,
                    Outcome::Stale,
                );
                s.advance(SECOND).receive(3, &[])
            },
            yes: &[Lv3],
            no: &[Lv8],
            says: "",
        },
        Near {
            why: "nor whose ack was never answered",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(11 * SECOND).settle(
                    2,
                    1,
                    Settle::Ack,
                    Outcome::InDoubt,
                );
                s.advance(SECOND).receive(3, &[])
            },
            yes: &[Lv3],
            no: &[Lv8],
            says: "",
        },
        Near {
            why: "nor whose ack was refused when it was gone already",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(11 * SECOND).receive(3, &[]);
                s.settle(2, 1, Settle::Ack, Outcome::Stale)
            },
            yes: &[Lv3],
            no: &[Lv8],
            says: "",
        },
        Near {
            why: "nor whose ack was refused while it was not found",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(11 * SECOND);
                s.settle(2, 1, Settle::Ack, Outcome::Stale).wide(0, 1).receive(3, &[])
            },
            yes: &[Lv3],
            no: &[Lv8],
            says: "",
        },
        Near {
            why: "what came again was late, and not gone",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(11 * SECOND).settle(
                    2,
                    1,
                    Settle::Ack,
                    Outcome::Stale,
                );
                s.receive(3, &[]).receive(3, &[(1, 2, 2)])
            },
            yes: &[Lv3],
            no: &[Lv8],
            says: "",
        },
        Near {
            why: "a crash between two settlements may take back the first",
            contract: || Contract {
                leases: Leases { end_with_session: false, end_with_crash: false },
                ..unlimited()
            },
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).crash(Crash::Process).wide(0, 0).ack(3, 1)
            },
            yes: &[],
            no: &[Lv8],
            says: "",
        },
        Near {
            why: "a crash before both takes back neither",
            contract: || Contract {
                leases: Leases { end_with_session: false, end_with_crash: false },
                ..unlimited()
            },
            write: |s| s.crash(Crash::Process).send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).ack(3, 1),
            yes: &[Lv8],
            no: &[],
            says: "",
        },
        Near {
            why: "nor does one after both",
            contract: || Contract {
                leases: Leases { end_with_session: false, end_with_crash: false },
                ..unlimited()
            },
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).ack(3, 1).crash(Crash::Process),
            yes: &[Lv8],
            no: &[],
            says: "",
        },
        Near {
            why: "the session was lost, and its receipt serves still",
            contract: unlimited,
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).lose(2).ack(3, 1),
            yes: &[Lv11, Lv8],
            no: &[Lv10],
            says: "the session that held m1 was lost, and event 4",
        },
        Near {
            why: "it was lost later",
            contract: unlimited,
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).ack(2, 1).lose(2),
            yes: &[],
            no: &[Lv11, Lv8],
            says: "",
        },
        Near {
            why: "it may have been lost later",
            contract: unlimited,
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).lose(2).wide(0, 1).ack(3, 1),
            yes: &[],
            no: &[Lv11, Lv8],
            says: "",
        },
        Near {
            why: "the broker crashed, and its receipt serves still",
            contract: unlimited,
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).crash(Crash::Process).ack(3, 1),
            yes: &[Lv10, Lv8],
            no: &[Lv11],
            says: "the crash ended the lease of m1, and event 5",
        },
        Near {
            why: "where sessions end leases a crash that keeps them is no harm to them",
            contract: || Contract {
                leases: Leases { end_with_session: true, end_with_crash: false },
                ..unlimited()
            },
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).crash(Crash::Process).receive(3, &[(1, 2, 2)]),
            yes: &[],
            no: &[Lv10],
            says: "",
        },
        Near {
            why: "a nack that waits is not delivered before, whoever was redriven",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1), (2, 2, 1)]).reject(2, 2);
                s.settle(2, 1, Settle::Nack { delay: 5 * SECOND }, Outcome::Done)
                    .redrive(1, 1, 1)
                    .receive(2, &[(1, 3, 2)])
            },
            yes: &[Lv12],
            no: &[],
            says: "event 6 delayed m1 until",
        },
        Near {
            why: "what was extended once more is held for as long",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(9 * SECOND).extend(2, 1, 10, Outcome::Done);
                s.advance(9 * SECOND).extend(2, 1, 10, Outcome::Done).advance(9 * SECOND).ack(2, 1)
            },
            yes: &[],
            no: &[Lv8],
            says: "",
        },
        Near {
            why: "a message that is held is handed out: its licence is named",
            contract: unlimited,
            write: |s| s.send(1, 7).receive(2, &[(7, 5, 1)]).receive(3, &[(7, 6, 2)]),
            yes: &[Lv1],
            no: &[],
            says: "m7 was held as r5 since event 2 and handed out as r6 at event 4",
        },
        Near {
            why: "bytes of nobody come under a receipt that was given before",
            contract: unlimited,
            write: |s| {
                for _ in 0..3 {
                    deliver(s, |what| {
                        if let What::Deliver { token, .. } = what {
                            *token = None
                        }
                    });
                }
                s
            },
            yes: &[Lv6],
            no: &[],
            says: "r1 was issued at event 1 and again at event 3",
        },
        Near {
            why: "a receipt of such bytes is nobody's",
            contract: unlimited,
            write: |s| {
                deliver(s, |what| {
                    if let What::Deliver { token, .. } = what {
                        *token = None
                    }
                });
                s.ack(2, 1)
            },
            yes: &[Al3],
            no: &[Lv2, Lv8],
            says: "",
        },
        Near {
            why: "what makes no sense to ask hides nothing",
            contract: unlimited,
            write: |s| s.send(1, 1).receive_in_doubt(2, 0).receive(2, &[]),
            yes: &[Or6],
            no: &[],
            says: "",
        },
        Near {
            why: "the first answer that is false is told",
            contract: unlimited,
            write: |s| s.send(1, 1).receive(2, &[]).receive(2, &[]).receive(2, &[]),
            yes: &[Or6],
            no: &[],
            says: "event 1 found nothing",
        },
    ]
}

/// Who is at fault, and who is not.
fn culprits() -> Vec<Near> {
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
            contract: || Contract {
                leases: Leases { end_with_session: false, end_with_crash: false },
                ..unlimited()
            },
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

/// Which answers were empty and should not have been.
fn emptiness() -> Vec<Near> {
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

/// Which came before which.
fn order() -> Vec<Near> {
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
            contract: || Contract {
                requeue: Requeue::Unspecified,
                redriven: Requeue::Original,
                ..unlimited()
            },
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
            contract: || Contract {
                requeue: Requeue::Unspecified,
                redriven: Requeue::Original,
                ..unlimited()
            },
            write: |s| {
                rejected(s).send(1, 2).redrive(1, 1, 1).receive(2, &[(2, 2, 1)]).receive(2, &[(1, 3, 1)])
            },
            yes: &[Or4],
            no: &[],
            says: "",
        },
        Near {
            why: "unless the other may have been returned unseen",
            contract: || Contract {
                requeue: Requeue::Unspecified,
                redriven: Requeue::Original,
                ..unlimited()
            },
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
    ]
}

#[test]
fn a_rule_is_told_from_its_neighbours() {
    let mut wrong = Vec::new();
    for near in near_misses() {
        let history = history((near.contract)(), near.write);
        for of in near.yes {
            match check(*of, &history) {
                Verdict::Broken(example) if *of == near.yes[0] && !example.sentence.contains(near.says) => {
                    wrong.push(format!("{}: {of} says: {}", near.why, example.sentence));
                }
                Verdict::Broken(_) => {}
                verdict => wrong.push(format!("{}: {of} should be blamed: {verdict:?}", near.why)),
            }
        }
        for of in near.no {
            let verdict = check(*of, &history);
            if verdict.is_broken() {
                wrong.push(format!("{}: {of} should not be blamed: {verdict:?}", near.why));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn any_answer_shows_that_a_sync_had_its_time_and_nothing_else_does() {
    let contract =
        || Contract { sends: Durability::Process, synced_every: Some(SECOND), ..Contract::durable() };
    let blamed = |what: What| {
        let mut script = Script::new(contract());
        script.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).send(1, 2).advance(SECOND).event(2, what);
        check(Du13, &script.crash(Crash::Power).drain().history()).is_broken()
    };
    let settle = |outcome| What::Settle { handle: Handle(1), how: Settle::Ack, outcome };
    let extend = |outcome| What::Extend { handle: Handle(1), lease: SECOND, outcome };
    let receive = |got| What::Receive { max: 1, got, lease: SECOND };
    let answers = [
        send(3, confirmed(3)),
        receive(Some(0)),
        settle(Outcome::Stale),
        extend(Outcome::Stale),
        What::Browse { max: 1, letters: Some(Vec::new()) },
        What::Redrive { max: 1, moved: Some(0) },
        What::Depth { depth: Some(Depth::default()) },
    ];
    for answer in answers {
        assert!(blamed(answer.clone()), "{answer:?}");
    }
    let others = [
        send(3, SendOutcome::InDoubt),
        send(3, SendOutcome::Refused(Refusal::Full)),
        settle(Outcome::InDoubt),
        extend(Outcome::InDoubt),
        What::Browse { max: 1, letters: None },
        What::Redrive { max: 1, moved: None },
        What::Depth { depth: None },
        What::Lost,
    ];
    for other in others {
        assert!(!blamed(other.clone()), "{other:?}");
    }
    let synced_anyway = Contract { sends: Durability::Power, ..contract() };
    let empty = History { contract: synced_anyway, events: Vec::new() };
    assert_eq!(check(Du13, &empty), Verdict::NotClaimed);
}
