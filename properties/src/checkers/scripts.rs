//! For every promise three histories: one that breaks it, one that nearly does, and one in which something in
//! doubt or concurrent leaves it open.

use std::time::Duration;

use stanchion_queues::{
    Answer, Attempt, Batches, Bytes, Contract, Count, Counting, Crash, DeadLettering, Death, Durability,
    Leases, MessageId, Order, Reason, Refusal, Requeue, Retries, Settle, Time,
};

use super::scripted::{SECOND, Script, body};
use super::{CHECKERS, check, judge};
use crate::history::{Digest, Handle, History, Outcome, SendOutcome, Token, What};
use crate::invariant::Invariant::{self, *};
use crate::ledger::Ledger;
use crate::verdict::Verdict;

pub(super) type Write = fn(&mut Script) -> &mut Script;

struct Case {
    of: Invariant,
    contract: fn() -> Contract,
    /// Breaks it.
    broken: Write,
    /// The events that a reader of `broken` must look at.
    culprits: &'static [usize],
    /// Nearly breaks it.
    kept: Write,
    /// How often `kept` puts it to the test.
    tested: u64,
    /// Leaves it open.
    open: Write,
}

pub(super) fn durable() -> Contract {
    Contract { deliveries_allowed: Some(2), ..Contract::durable() }
}

pub(super) fn unlimited() -> Contract {
    Contract::durable()
}

fn five() -> Contract {
    Contract { deliveries_allowed: Some(5), ..Contract::durable() }
}

fn once() -> Contract {
    Contract { retries: Retries::Deduplicated, ..durable() }
}

fn limit(script: &mut Script, deliveries_allowed: u32) -> &mut Script {
    script.event(0, What::Limited { deliveries_allowed })
}

pub(super) fn roomy(capacity: u64) -> Contract {
    Contract { capacity: Some(capacity), ..durable() }
}

pub(super) fn history(contract: Contract, write: Write) -> History {
    let mut script = Script::new(contract);
    write(&mut script);
    script.history()
}

pub(super) fn confirmed(id: u64) -> SendOutcome {
    SendOutcome::Confirmed(MessageId(id))
}

/// A send of a message of no particular kind.
pub(super) fn send(token: u64, outcome: SendOutcome) -> What {
    What::Send { token: Token(token), key: None, body: body(token), delay: Duration::ZERO, outcome }
}

pub(super) const AT_ONCE: Settle = Settle::Nack { delay: Duration::ZERO };

/// A message that is out of its two attempts.
pub(super) fn dead(script: &mut Script) -> &mut Script {
    script.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).receive(2, &[(1, 2, 2)]).nack(2, 2)
}

/// A message that was rejected.
pub(super) fn rejected(script: &mut Script) -> &mut Script {
    script.send(1, 1).receive(2, &[(1, 1, 1)]).reject(2, 1)
}

pub(super) fn deliver(script: &mut Script, change: impl FnOnce(&mut What)) -> &mut Script {
    let (now, lease) = (script.now(), 10 * SECOND);
    let mut what = What::Deliver {
        token: Some(Token(1)),
        id: MessageId(1),
        handle: Handle(1),
        attempt: 1,
        deadline: now + lease,
        lease,
        key: None,
        body: body(1),
    };
    change(&mut what);
    script.event(2, What::Receive { max: 10, got: Some(1), lease }).also(2, what)
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(integrity());
    cases.extend(dead_letters());
    cases.extend(leases());
    cases.extend(order_and_capacity());
    cases.extend(consumers_and_crashes());
    cases
}

fn integrity() -> Vec<Case> {
    vec![
        Case {
            of: Al1,
            contract: durable,
            broken: |s| s.send(1, 1).send(1, 2).receive(2, &[(2, 1, 1)]).ack(2, 1).drain(),
            culprits: &[0, 7],
            kept: |s| s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1), (2, 2, 1)]).ack(2, 1).ack(2, 2).drain(),
            tested: 2,
            open: |s| s.send_in_doubt(1, 1).drain(),
        },
        Case {
            of: Al2,
            contract: durable,
            broken: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).drain(),
            culprits: &[2, 6],
            kept: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).receive(2, &[(1, 2, 2)]).ack(2, 2).drain()
            },
            tested: 1,
            open: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]);
                s.settle(2, 1, Settle::Ack, Outcome::InDoubt).advance(20 * SECOND).drain()
            },
        },
        Case {
            of: Al3,
            contract: durable,
            broken: |s| s.receive(2, &[(1, 1, 1)]).send(1, 1),
            culprits: &[1],
            kept: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]),
            tested: 1,
            open: |s| s.receive(2, &[(1, 1, 1)]).wide(0, 5).send(1, 1),
        },
        Case {
            of: Al4,
            contract: durable,
            broken: |s| s.send_full(1, 1).receive(2, &[(1, 1, 1)]),
            culprits: &[0, 2],
            kept: |s| s.send_full(1, 1).send(1, 1).send_full(1, 2).send(1, 3).receive(2, &[(1, 1, 1)]),
            tested: 5,
            open: |s| s.send_full(1, 1).send_in_doubt(1, 1).send_full(1, 2).receive(2, &[(1, 1, 1)]),
        },
        Case {
            of: Al5,
            contract: durable,
            broken: |s| {
                s.send(1, 1);
                deliver(s, |what| {
                    if let What::Deliver { body, .. } = what {
                        *body = Digest(99);
                    }
                })
            },
            culprits: &[0, 2],
            kept: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]),
            tested: 1,
            // A token that was sent with two bodies: either may come.
            open: |s| {
                let token = Token(1);
                let (delay, outcome) = (Duration::ZERO, SendOutcome::InDoubt);
                s.event(1, What::Send { token, key: None, body: Digest(99), delay, outcome });
                s.send(1, 1);
                deliver(s, |what| {
                    if let What::Deliver { body, .. } = what {
                        *body = Digest(99);
                    }
                })
            },
        },
        Case {
            of: Al6,
            contract: durable,
            broken: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).ack(2, 1).advance(20 * SECOND).receive(2, &[(1, 2, 2)])
            },
            culprits: &[3, 6],
            // The other copy of a message that was sent twice.
            kept: |s| {
                s.send(1, 1).send_as(1, 1, Duration::ZERO, confirmed(9)).receive(2, &[(1, 1, 1)]).ack(2, 1);
                s.receive_ids(2, &[(1, 9, 2, 1)])
            },
            tested: 1,
            open: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).settle(2, 1, Settle::Ack, Outcome::InDoubt);
                s.advance(20 * SECOND).receive(2, &[(1, 2, 2)])
            },
        },
        Case {
            of: Al7,
            contract: durable,
            broken: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).receive(2, &[(1, 2, 2)]),
            culprits: &[2, 4],
            kept: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).receive(2, &[(1, 2, 2)]),
            tested: 1,
            // At its deadline a lease may be over.
            open: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(10 * SECOND).receive(2, &[(1, 2, 2)]),
        },
        Case {
            of: Al8,
            contract: durable,
            broken: |s| s.send(1, 1).receive_ids(2, &[(1, 1, 1, 1), (1, 2, 2, 1)]),
            culprits: &[0, 3],
            kept: |s| {
                s.send(1, 1).send_as(1, 1, Duration::ZERO, confirmed(2));
                s.receive_ids(2, &[(1, 1, 1, 1), (1, 2, 2, 1)])
            },
            tested: 1,
            open: |s| s.send(1, 1).send_in_doubt(1, 1).receive_ids(2, &[(1, 1, 1, 1), (1, 2, 2, 1)]),
        },
        Case {
            of: Al10,
            contract: durable,
            broken: |s| s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1)]).depth(1, [2, 1, 0, 0]),
            culprits: &[4],
            kept: |s| s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1)]).depth(1, [1, 1, 0, 0]),
            tested: 1,
            open: |s| {
                s.send(1, 1).send_in_doubt(1, 2).depth(1, [2, 0, 0, 0]).depth(1, [1, 0, 0, 0]);
                s.receive_in_doubt(2, 1).depth(1, [0, 1, 0, 0]).depth(1, [1, 1, 0, 0])
            },
        },
        Case {
            of: Al11,
            contract: durable,
            broken: |s| s.send(1, 1).send(1, 2).receive_at_most(2, 1, 10 * SECOND, &[(1, 1, 1), (2, 2, 1)]),
            culprits: &[2],
            kept: |s| s.send(1, 1).send(1, 2).receive_at_most(2, 2, 10 * SECOND, &[(1, 1, 1), (2, 2, 1)]),
            tested: 1,
            // Whoever asks for nothing is not told that there is nothing: it is refused.
            open: |s| s.send(1, 1).receive_in_doubt(2, 0).receive(2, &[(1, 1, 1)]),
        },
    ]
}

/// A body of so many bytes.
pub(super) fn sized(size: u64, outcome: SendOutcome) -> What {
    What::Send { token: Token(1), key: None, body: Digest(size << 32), delay: Duration::ZERO, outcome }
}

fn dead_letters() -> Vec<Case> {
    vec![
        Case {
            of: Dl1,
            contract: durable,
            broken: |s| dead(s).browse(1, &[(1, Reason::Attempts, 3)]),
            culprits: &[7],
            kept: |s| dead(s).browse(1, &[(1, Reason::Attempts, 2)]),
            tested: 1,
            // Seen once; the other attempt is the receive in doubt.
            open: |s| {
                s.send(1, 1).receive_in_doubt(2, 1).advance(20 * SECOND).receive(2, &[(1, 1, 2)]).nack(2, 1);
                s.browse(1, &[(1, Reason::Attempts, 2)])
            },
        },
        Case {
            of: Dl2,
            contract: durable,
            broken: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).browse(1, &[(1, Reason::Attempts, 2)])
            },
            culprits: &[0, 4],
            kept: |s| dead(s).browse(1, &[(1, Reason::Attempts, 2)]),
            tested: 1,
            open: |s| {
                s.send(1, 1).receive_in_doubt(2, 1).receive_in_doubt(2, 1).advance(20 * SECOND);
                s.browse(1, &[(1, Reason::Attempts, 2)])
            },
        },
        Case {
            of: Dl3,
            contract: durable,
            broken: |s| dead(s).receive(2, &[(1, 3, 3)]),
            culprits: &[8],
            kept: |s| {
                dead(s).redrive(1, 1, 1).receive(2, &[(1, 3, 1)]).nack(2, 3);
                s.receive(2, &[(1, 4, 2)]).nack(2, 4)
            },
            tested: 2,
            // The second nack is in doubt, and the lease has not run out: it may not have been taken.
            open: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).receive(2, &[(1, 2, 2)]);
                s.settle(2, 2, AT_ONCE, Outcome::InDoubt).event(1, What::Redrive { max: 1, moved: None });
                s.receive(2, &[(1, 3, 1)])
            },
        },
        Case {
            of: Dl4,
            contract: durable,
            broken: |s| dead(s).browse(1, &[]),
            culprits: &[5, 6, 7],
            kept: |s| dead(s).browse(1, &[(1, Reason::Attempts, 2)]).redrive(1, 1, 1).browse(1, &[]),
            tested: 1,
            open: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).settle(2, 1, Settle::Reject, Outcome::InDoubt);
                s.browse(1, &[]).browse(1, &[(1, Reason::Rejected, 1)])
            },
        },
        Case {
            of: Dl5,
            contract: durable,
            broken: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).crash(Crash::Power).receive(3, &[(1, 2, 1)]),
            culprits: &[2, 6],
            kept: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).crash(Crash::Power).receive(3, &[(1, 2, 2)]),
            tested: 2,
            open: |s| s.send(1, 1).receive_in_doubt(2, 1).advance(20 * SECOND).receive(2, &[(1, 1, 2)]),
        },
        Case {
            of: Dl6,
            contract: || Contract {
                counting: Counting {
                    session_loss: Count::No,
                    expiry: Count::Maybe,
                    ..Counting::AT_HAND_OVER
                },
                ..unlimited()
            },
            broken: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).lose(2).receive(3, &[(1, 2, 2)]),
            culprits: &[2, 5],
            kept: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).lose(2).receive(3, &[(1, 2, 1)]),
            tested: 1,
            open: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(20 * SECOND).receive(3, &[(1, 2, 1)]);
                s.advance(20 * SECOND).receive(3, &[(1, 3, 2)])
            },
        },
        Case {
            of: Dl7,
            contract: durable,
            broken: |s| rejected(s).browse(1, &[(1, Reason::Rejected, 3)]),
            culprits: &[0, 4],
            kept: |s| rejected(s).browse(1, &[(1, Reason::Rejected, 1)]),
            tested: 1,
            // Whether the rejected attempt counts is not promised.
            open: |s| rejected(s).browse(1, &[(1, Reason::Rejected, 0)]),
        },
        Case {
            of: Dl8,
            contract: unlimited,
            broken: |s| rejected(s).redrive(1, 10, 1).receive(2, &[]),
            culprits: &[2, 5],
            kept: |s| {
                rejected(s).redrive(1, 10, 1).redrive(1, 10, 0).redrive(1, 10, 0).receive(2, &[(1, 2, 1)])
            },
            tested: 1,
            open: |s| {
                rejected(s)
                    .event(1, What::Redrive { max: 10, moved: None })
                    .redrive(1, 10, 1)
                    .receive(2, &[]);
                s.event(1, What::Redrive { max: 10, moved: None }).receive(2, &[])
            },
        },
        Case {
            of: Dl11,
            contract: unlimited,
            broken: |s| {
                s.send_in_doubt(1, 1).receive(2, &[(1, 1, 1)]).settle(2, 1, Settle::Reject, Outcome::InDoubt);
                s.browse(1, &[(1, Reason::Rejected, 1)]).advance(20 * SECOND).receive(2, &[(1, 2, 2)])
            },
            culprits: &[4, 7],
            kept: |s| {
                rejected(s).browse(1, &[(1, Reason::Rejected, 1)]).redrive(1, 1, 1).receive(2, &[(1, 2, 1)])
            },
            tested: 2,
            // The redrive overlaps the browse and the receive.
            open: |s| {
                rejected(s).browse(1, &[(1, Reason::Rejected, 1)]).wide(0, 3).redrive(3, 1, 1).wide(1, 3);
                s.receive(2, &[(1, 2, 1)])
            },
        },
        Case {
            of: Dl12,
            contract: unlimited,
            broken: |s| rejected(s).browse(1, &[]),
            culprits: &[2, 3, 4],
            kept: |s| rejected(s).browse(1, &[(1, Reason::Rejected, 1)]),
            tested: 1,
            open: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).settle(2, 1, Settle::Reject, Outcome::InDoubt);
                s.browse(1, &[]).advance(20 * SECOND).receive(2, &[(1, 2, 2)])
            },
        },
        Case {
            of: Dl13,
            contract: five,
            broken: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1);
                limit(s, 2).receive(2, &[(1, 2, 2)]).nack(2, 2).receive(2, &[(1, 3, 3)])
            },
            culprits: &[4, 6, 9],
            // What was above the new limit is delivered once more.
            kept: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).receive(2, &[(1, 2, 2)]).nack(2, 2);
                limit(s, 1).receive(2, &[(1, 3, 3)]).nack(2, 3).browse(1, &[(1, Reason::Attempts, 3)])
            },
            // It may have died and been redriven.
            tested: 2,
            open: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1);
                limit(s, 2).receive(2, &[(1, 2, 2)]).nack(2, 2);
                s.event(1, What::Redrive { max: 9, moved: None }).receive(2, &[(1, 3, 1)])
            },
        },
    ]
}

fn leases() -> Vec<Case> {
    vec![
        Case {
            of: Lv1,
            contract: durable,
            broken: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).receive(3, &[(1, 2, 2)]),
            culprits: &[2, 4],
            kept: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).lose(2).receive(3, &[(1, 2, 2)]),
            tested: 1,
            // The nack overlaps the second receive.
            open: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).wide(0, 4).receive(3, &[(1, 2, 2)]),
        },
        Case {
            of: Lv2,
            contract: durable,
            broken: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(11 * SECOND).receive(3, &[(1, 2, 2)]);
                s.settle(2, 1, Settle::Ack, Outcome::Stale).settle(3, 2, Settle::Ack, Outcome::Stale)
            },
            culprits: &[5, 6, 7],
            kept: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(11 * SECOND).receive(3, &[(1, 2, 2)]);
                s.settle(2, 1, Settle::Ack, Outcome::Stale).ack(3, 2)
            },
            tested: 1,
            open: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(10 * SECOND).ack(2, 1),
        },
        Case {
            of: Lv3,
            contract: durable,
            broken: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(11 * SECOND).receive(3, &[]),
            culprits: &[2, 4],
            kept: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(9 * SECOND).receive(3, &[]);
                s.advance(2 * SECOND).receive(3, &[(1, 2, 2)])
            },
            tested: 1,
            open: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(10 * SECOND).receive(3, &[]);
                s.extend(2, 1, 10, Outcome::InDoubt).advance(SECOND).receive(3, &[])
            },
        },
        Case {
            of: Lv4,
            contract: durable,
            broken: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(9 * SECOND).receive(3, &[(1, 2, 2)]),
            culprits: &[2, 5],
            kept: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(11 * SECOND).receive(3, &[(1, 2, 2)]),
            tested: 2,
            open: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(9 * SECOND);
                s.settle(2, 1, AT_ONCE, Outcome::InDoubt).receive(3, &[(1, 2, 2)])
            },
        },
        Case {
            of: Lv5,
            contract: durable,
            broken: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(5 * SECOND).extend(2, 1, 10, Outcome::Done);
                s.advance(6 * SECOND).receive(3, &[(1, 2, 2)])
            },
            culprits: &[2, 4, 7],
            // A shorter extension changes nothing.
            kept: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).extend(2, 1, 1, Outcome::Done);
                s.advance(9 * SECOND).ack(2, 1)
            },
            tested: 1,
            open: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(5 * SECOND).extend(2, 1, 10, Outcome::InDoubt);
                s.advance(6 * SECOND).receive(3, &[(1, 2, 2)])
            },
        },
        Case {
            of: Lv6,
            contract: durable,
            broken: |s| {
                s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1)]).crash(Crash::Power).receive(3, &[(2, 1, 1)])
            },
            culprits: &[3, 7],
            kept: |s| {
                s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1)]).crash(Crash::Power).receive(3, &[(2, 2, 1)])
            },
            tested: 2,
            // What was never sent has receipts too, of its own.
            open: |s| {
                deliver(s, |what| {
                    if let What::Deliver { token, .. } = what {
                        *token = None;
                    }
                });
                s.send(1, 1).receive(2, &[(1, 2, 1)])
            },
        },
        Case {
            of: Lv7,
            contract: durable,
            broken: |s| {
                s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1), (2, 2, 1)]).ack(2, 1);
                s.settle(2, 1, Settle::Ack, Outcome::Stale).receive(3, &[(2, 3, 2)])
            },
            culprits: &[4, 6, 8],
            kept: |s| {
                s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1), (2, 2, 1)]).ack(2, 1);
                s.settle(2, 1, Settle::Ack, Outcome::Stale).nack(2, 2).receive(3, &[(2, 3, 2)])
            },
            tested: 1,
            open: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).settle(2, 1, Settle::Ack, Outcome::InDoubt);
                s.ack(2, 1).settle(2, 1, Settle::Ack, Outcome::Stale)
            },
        },
        Case {
            of: Lv8,
            contract: durable,
            broken: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(11 * SECOND).ack(2, 1),
            culprits: &[2, 4],
            kept: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(11 * SECOND);
                s.settle(2, 1, Settle::Ack, Outcome::Stale)
            },
            tested: 1,
            // At the deadline either answer is true.
            open: |s| {
                s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1), (2, 2, 1)]).advance(10 * SECOND).ack(2, 1);
                s.settle(2, 2, Settle::Ack, Outcome::Stale)
            },
        },
        Case {
            of: Lv10,
            contract: durable,
            broken: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).crash(Crash::Power).receive(3, &[]),
            culprits: &[2, 5],
            // Neither a crash before it nor what was acked before one puts it to the test.
            kept: |s| {
                s.crash(Crash::Power).send(1, 1).send(1, 2).receive(2, &[(2, 1, 1), (1, 2, 1)]).ack(2, 1);
                s.crash(Crash::Power).receive(3, &[(1, 3, 2)])
            },
            tested: 1,
            open: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).settle(2, 1, Settle::Ack, Outcome::InDoubt);
                s.crash(Crash::Power).receive(3, &[])
            },
        },
        Case {
            of: Lv11,
            contract: durable,
            broken: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).lose(2).receive(3, &[]),
            culprits: &[2, 4],
            kept: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).lose(2).receive(3, &[(1, 2, 2)]),
            tested: 1,
            open: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).lose(2).wide(0, 4).receive(3, &[]),
        },
        Case {
            of: Lv12,
            contract: durable,
            broken: |s| {
                s.send_as(1, 1, 5 * SECOND, confirmed(1)).advance(4 * SECOND).receive(2, &[(1, 1, 1)])
            },
            culprits: &[0, 3],
            kept: |s| {
                s.send_as(1, 1, 5 * SECOND, confirmed(1)).advance(4 * SECOND).receive(2, &[]);
                s.advance(2 * SECOND).receive(2, &[(1, 1, 1)])
            },
            tested: 1,
            open: |s| {
                s.send_as(1, 1, 5 * SECOND, confirmed(1)).advance(5 * SECOND).receive(2, &[]);
                s.receive(2, &[(1, 1, 1)])
            },
        },
    ]
}

fn order_and_capacity() -> Vec<Case> {
    vec![
        Case {
            of: Or1,
            contract: durable,
            broken: |s| s.send(1, 1).send(1, 2).receive(2, &[(2, 1, 1)]).receive(2, &[(1, 2, 1)]),
            culprits: &[0, 1, 3, 5],
            kept: |s| s.send(1, 1).send(1, 2).send(1, 3).receive(2, &[(1, 1, 1)]).receive(2, &[(2, 2, 1)]),
            tested: 1,
            open: |s| s.send(1, 1).wide(0, 2).send(3, 2).receive(2, &[(2, 1, 1)]).receive(2, &[(1, 2, 1)]),
        },
        Case {
            of: Or2,
            contract: || Contract { order: Order::PerProducer, ..durable() },
            broken: |s| s.send(1, 1).send(1, 2).receive(2, &[(2, 1, 1)]).receive(2, &[(1, 2, 1)]),
            culprits: &[3, 5],
            // Of two producers.
            kept: |s| {
                s.send(1, 1).send(3, 2).send(1, 3).receive(2, &[(2, 1, 1)]);
                s.receive(2, &[(1, 2, 1)]).receive(2, &[(3, 3, 1)])
            },
            tested: 1,
            // The first may have been in flight unseen.
            open: |s| {
                s.send(1, 1).send(1, 2).receive_in_doubt(2, 1).receive(2, &[(2, 1, 1)]).advance(11 * SECOND);
                s.receive(2, &[(1, 2, 2)])
            },
        },
        Case {
            of: Or4,
            contract: durable,
            broken: |s| {
                s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1)]).nack(2, 1).receive(2, &[(2, 2, 1)]);
                s.receive(2, &[(1, 3, 2)])
            },
            culprits: &[4, 6],
            kept: |s| s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1)]).nack(2, 1).receive(2, &[(1, 2, 2)]),
            tested: 1,
            open: |s| {
                s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1)]).settle(2, 1, AT_ONCE, Outcome::InDoubt);
                s.receive(2, &[(2, 2, 1)]).advance(11 * SECOND).receive(2, &[(1, 3, 2)])
            },
        },
        Case {
            of: Or4,
            contract: || Contract { requeue: Requeue::Tail, ..durable() },
            broken: |s| {
                s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1)]).nack(2, 1).receive(2, &[(1, 2, 2)]);
                s.receive(2, &[(2, 3, 1)])
            },
            culprits: &[4, 6],
            kept: |s| {
                s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1)]).nack(2, 1).receive(2, &[(2, 2, 1)]);
                s.receive(2, &[(1, 3, 2)])
            },
            tested: 1,
            // The other one is sent while the nack is under way.
            open: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).wide(0, 2).send(1, 2);
                s.receive(2, &[(1, 2, 2)]).receive(2, &[(2, 3, 1)])
            },
        },
        Case {
            of: Or6,
            contract: durable,
            broken: |s| s.send(1, 1).receive(2, &[]),
            culprits: &[0, 1],
            kept: |s| s.receive(2, &[]).send(1, 1).receive(2, &[(1, 1, 1)]).receive(3, &[]),
            tested: 2,
            open: |s| s.send(1, 1).wide(0, 2).receive(2, &[]).receive_in_doubt(3, 1).receive(2, &[]),
        },
        Case {
            of: Cb1,
            contract: || roomy(2),
            broken: |s| s.send(1, 1).send(1, 2).send(1, 3),
            culprits: &[2],
            kept: |s| s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1)]).ack(2, 1).send(1, 3),
            tested: 2,
            open: |s| {
                s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1)]).settle(2, 1, Settle::Ack, Outcome::InDoubt);
                s.send(1, 3)
            },
        },
        Case {
            of: Cb2,
            contract: || roomy(2),
            broken: |s| s.send(1, 1).send_full(1, 2),
            culprits: &[1],
            kept: |s| s.send(1, 1).send(1, 2).send_full(1, 3),
            tested: 1,
            open: |s| s.send(1, 1).send_in_doubt(1, 2).send_full(1, 3),
        },
        Case {
            of: Cb3,
            contract: || roomy(1),
            broken: |s| s.send(1, 1).send_full(1, 2).receive(2, &[(1, 1, 1), (2, 2, 1)]),
            culprits: &[1, 4],
            kept: |s| s.send(1, 1).send_full(1, 2).receive(2, &[(1, 1, 1)]),
            tested: 1,
            open: |s| {
                s.send(1, 1).send_full(1, 2).send_in_doubt(1, 2).receive(2, &[(1, 1, 1), (2, 2, 1)]);
                s.send_full(1, 3)
            },
        },
        Case {
            of: Cb6,
            contract: || Contract { body_limit: Some(Bytes(100)), ..durable() },
            broken: |s| s.event(1, sized(101, confirmed(1))),
            culprits: &[0],
            kept: |s| {
                s.event(1, sized(100, confirmed(1)));
                s.event(1, sized(101, SendOutcome::Refused(Refusal::TooLarge)))
            },
            tested: 2,
            open: |s| s.event(1, sized(101, SendOutcome::InDoubt)).event(1, sized(99, SendOutcome::InDoubt)),
        },
    ]
}

fn consumers_and_crashes() -> Vec<Case> {
    vec![
        Case {
            of: Ic1,
            contract: durable,
            broken: |s| s.observe(&[(1, 2, true)]),
            culprits: &[0],
            kept: |s| s.observe(&[(1, 1, true), (2, 0, false), (3, 1, true)]),
            tested: 2,
            open: |s| s.observe(&[(1, 0, true)]),
        },
        Case {
            of: Ic2,
            contract: durable,
            broken: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).ack(2, 1).observe(&[]),
            culprits: &[3, 4],
            kept: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).ack(2, 1).observe(&[(1, 1, true)]),
            tested: 1,
            open: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).settle(2, 1, Settle::Ack, Outcome::InDoubt).observe(&[])
            },
        },
        Case {
            of: Ic3,
            contract: durable,
            broken: |s| s.observe(&[(1, 1, false)]),
            culprits: &[0],
            kept: |s| s.observe(&[(1, 1, true), (2, 0, false)]),
            tested: 2,
            open: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).observe(&[]),
        },
        Case {
            of: Ic4,
            contract: durable,
            broken: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).observe(&[(1, 1, true)]).nack(2, 1);
                s.observe(&[(1, 1, false)]).receive(2, &[(1, 2, 2)])
            },
            culprits: &[3, 5, 7],
            kept: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).observe(&[(1, 1, true)]).nack(2, 1);
                s.receive(2, &[(1, 2, 2)]).ack(2, 2).observe(&[(1, 1, false)])
            },
            tested: 1,
            // It may have been delivered before the record was forgotten.
            open: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).observe(&[(1, 1, true)]).nack(2, 1);
                s.observe(&[(1, 1, false)]).receive(2, &[(1, 2, 2)]).wide(2, 0)
            },
        },
        Case {
            of: Ic6,
            contract: durable,
            broken: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(10 * SECOND).receive(3, &[(1, 2, 2)]);
                s.observe(&[(1, 1, true)]).ack(3, 2).observe(&[(1, 2, true)])
            },
            culprits: &[2, 5, 8],
            kept: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(10 * SECOND).receive(3, &[(1, 2, 2)]);
                s.observe(&[(1, 1, true)]).ack(3, 2).observe(&[(1, 1, true)])
            },
            tested: 2,
            // The first was done with it, so this is about IC-1 alone.
            open: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).observe(&[(1, 1, true)]).advance(10 * SECOND);
                s.receive(3, &[(1, 2, 2)]).ack(3, 2).observe(&[(1, 2, true)])
            },
        },
        Case {
            of: Ic7,
            contract: durable,
            broken: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).observe(&[(1, 0, true)]),
            culprits: &[2, 3],
            kept: |s| {
                s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1), (2, 2, 1)]);
                s.observe(&[(2, 1, true), (3, 0, false), (4, 0, false)])
            },
            tested: 1,
            open: |s| s.send(1, 1).observe(&[(1, 0, true)]).receive(2, &[(1, 1, 1)]),
        },
        Case {
            of: Ic8,
            contract: once,
            broken: |s| s.send_in_doubt(1, 1).send(1, 1).drain(),
            culprits: &[0, 1, 4],
            kept: |s| s.send_in_doubt(1, 1).send(1, 1).receive(2, &[(1, 1, 1)]).ack(2, 1).send(1, 1).drain(),
            tested: 1,
            open: |s| s.send_in_doubt(1, 1).send_in_doubt(1, 1).drain(),
        },
        Case {
            of: Ic9,
            contract: durable,
            broken: |s| rejected(s).observe(&[(1, 0, true)]).browse(3, &[(1, Reason::Rejected, 1)]),
            culprits: &[4, 5],
            kept: |s| rejected(s).observe(&[]).browse(3, &[(1, Reason::Rejected, 1)]),
            tested: 1,
            open: |s| rejected(s).browse(3, &[(1, Reason::Rejected, 1)]).observe(&[(1, 0, true)]),
        },
        Case {
            of: Ic10,
            contract: durable,
            broken: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).ack(2, 1).drain().observe(&[]),
            culprits: &[2, 8],
            kept: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).ack(2, 1).drain().observe(&[(1, 1, true)]),
            tested: 1,
            open: |s| rejected(s).drain().observe(&[]),
        },
        Case {
            of: Du1,
            contract: durable,
            broken: |s| s.send(1, 1).crash(Crash::Power).receive(2, &[]),
            culprits: &[0, 1, 3],
            kept: |s| s.send(1, 1).crash(Crash::Power).receive(2, &[(1, 1, 1)]).receive(2, &[]),
            tested: 1,
            open: |s| s.send_in_doubt(1, 1).crash(Crash::Power).receive(2, &[]),
        },
        Case {
            of: Du3,
            contract: durable,
            broken: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).ack(2, 1).crash(Crash::Power).receive(3, &[(1, 2, 2)])
            },
            culprits: &[3, 4, 7],
            kept: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).ack(2, 1).crash(Crash::Power).receive(3, &[]),
            tested: 1,
            open: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).settle(2, 1, Settle::Ack, Outcome::InDoubt);
                s.crash(Crash::Power).receive(3, &[(1, 2, 2)])
            },
        },
        Case {
            of: Du6,
            contract: durable,
            broken: |s| s.crash(Crash::Power).send(1, 1).crash(Crash::Power).receive(2, &[]),
            culprits: &[2, 3, 5],
            kept: |s| {
                s.send(1, 1).crash(Crash::Power).send(3, 2).crash(Crash::Power);
                s.receive(2, &[(1, 1, 1), (2, 2, 1)])
            },
            tested: 2,
            open: |s| s.crash(Crash::Power).send_in_doubt(1, 1).crash(Crash::Power).receive(2, &[]),
        },
        Case {
            of: Du11,
            contract: durable,
            broken: |s| {
                s.event(0, What::Crashed { crash: Crash::Power });
                s.event(0, What::Booted { error: Some("torn".into()) })
            },
            culprits: &[0, 1],
            kept: |s| s.crash(Crash::Power),
            tested: 1,
            // Nothing had crashed.
            open: |s| s.event(0, What::Booted { error: Some("no such directory".into()) }),
        },
        Case {
            of: Du12,
            contract: || Contract { sole_owner: true, ..durable() },
            broken: |s| {
                s.event(0, What::Booted { error: None });
                s.event(0, What::Intruded { error: None })
            },
            culprits: &[0, 1],
            kept: |s| s.event(0, What::Intruded { error: Some("it is open".into()) }),
            tested: 1,
            open: |s| s,
        },
        Case {
            of: Du13,
            contract: || Contract { sends: Durability::Process, synced_every: Some(SECOND), ..durable() },
            broken: |s| s.send(1, 1).advance(SECOND).depth(1, [1, 0, 0, 0]).crash(Crash::Power).drain(),
            culprits: &[0, 3, 7],
            kept: |s| {
                s.send(1, 1).advance(SECOND).depth(1, [1, 0, 0, 0]).crash(Crash::Power);
                s.receive(2, &[(1, 1, 1)]).ack(2, 1).drain()
            },
            tested: 1,
            // No call gave it the time, or it had none.
            open: |s| {
                s.send(1, 1).advance(SECOND).send(1, 2).depth(1, [2, 0, 0, 0]).crash(Crash::Power);
                s.receive(2, &[(1, 1, 1)]).ack(2, 1).send(1, 3).advance(SECOND).crash(Crash::Power).drain()
            },
        },
        Case {
            of: Du14,
            contract: durable,
            broken: |s| s.send_in_doubt(1, 1).receive(2, &[(1, 1, 1)]).crash(Crash::Power).receive(3, &[]),
            culprits: &[2, 3, 5],
            kept: |s| {
                s.crash(Crash::Power).send_in_doubt(1, 1).receive(2, &[(1, 1, 1)]);
                s.crash(Crash::Power).receive(3, &[(1, 2, 2)])
            },
            tested: 1,
            open: |s| s.send_in_doubt(1, 1).crash(Crash::Power).receive(3, &[]),
        },
        Case {
            of: Li1,
            contract: durable,
            broken: |s| s.send(1, 1).drain(),
            culprits: &[0, 3, 4],
            kept: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).ack(2, 1).drain(),
            tested: 1,
            open: |s| s.send(1, 1).event(0, What::DrainBegan).event(0, What::DrainEnded { quiet: false }),
        },
        Case {
            of: Li2,
            contract: durable,
            broken: |s| s.drain().depth(1, [0, 1, 0, 0]),
            culprits: &[2, 3, 4],
            kept: |s| s.drain().depth(1, [0, 0, 0, 0]),
            tested: 2,
            // The drain's own receive is in doubt, and so is what it holds.
            open: |s| {
                s.send(1, 1).event(0, What::DrainBegan).receive_in_doubt(3, 1).receive(3, &[]);
                s.event(0, What::DrainEnded { quiet: true }).depth(1, [0, 1, 0, 0])
            },
        },
    ]
}

#[test]
fn every_promise_can_be_broken_is_kept_by_a_near_miss_and_is_not_blamed_when_in_doubt() {
    for case in cases() {
        let of = case.of;
        let judged = |write: Write| {
            let history = history((case.contract)(), write);
            let verdict = check(of, &history);
            let all = judge(&history);
            let same = all.iter().find(|(invariant, _)| *invariant == of).map(|(_, verdict)| verdict);
            assert_eq!(same, Some(&verdict), "one promise alone and among all");
            (history, verdict)
        };
        let (events, broken) = judged(case.broken);
        let Verdict::Broken(example) = broken else { panic!("{of} should be broken: {broken:?}") };
        assert_eq!(example.invariant, of);
        assert_eq!(example.culprits, case.culprits, "{of}: {}", example.sentence);
        assert!(!example.culprits.is_empty() && example.culprits.len() <= 4, "{example:?}");
        assert!(example.culprits.is_sorted() && example.culprits.iter().all(|&e| e < events.events.len()));
        assert!(example.sentence.contains("event"), "{of}: {}", example.sentence);
        let (_, kept) = judged(case.kept);
        assert_eq!(kept, Verdict::Holds { instances: case.tested }, "{of} should hold");
        let (_, open) = judged(case.open);
        assert!(!open.is_broken(), "{of} should not be blamed: {open:?}");
    }
}

#[test]
fn every_checker_has_its_scripts() {
    for (of, _) in CHECKERS {
        assert!(cases().iter().any(|case| case.of == *of), "{of} has none");
    }
}

#[test]
fn what_a_contract_does_not_promise_is_not_claimed() {
    let nothing = Contract {
        order: Order::Unordered,
        requeue: Requeue::Unspecified,
        dead_lettering: stanchion_queues::DeadLettering::Dropped,
        ..Contract::in_memory()
    };
    let empty = History { contract: nothing, events: Vec::new() };
    for of in [Dl1, Dl2, Dl3, Dl4, Dl7, Dl8, Or1, Or2, Or4, Cb1, Du1, Du3, Du6, Du12, Du13, Du14, Me3, Me4] {
        assert_eq!(check(of, &empty), Verdict::NotClaimed, "{of}");
    }
    assert_eq!(check(Al1, &empty), Verdict::Vacuous);
}

/// Asserts who is blamed for a history, at least, and who is not.
fn assert_blamed(contract: Contract, write: Write, yes: &[Invariant], no: &[Invariant]) {
    let history = history(contract, write);
    for of in yes {
        assert!(check(*of, &history).is_broken(), "{of} should be blamed");
    }
    for of in no {
        assert!(!check(*of, &history).is_broken(), "{of}: {:?}", check(*of, &history));
    }
}

#[test]
fn the_missing_licence_is_named() {
    let broken = history(durable(), |s| s.send(1, 3).receive(2, &[(3, 5, 1)]).receive(4, &[(3, 6, 2)]));
    let Verdict::Broken(example) = check(Al7, &broken) else { panic!("not broken") };
    assert_eq!(example.sentence, "m3 was delivered at event 2 and again at event 4");
    assert_eq!(
        example.missing_licence.as_deref(),
        Some("no nack, no expiry, no lost session, no crash between the two deliveries")
    );
    assert_eq!(example.culprits, [2, 4]);
}

#[test]
fn an_ack_that_races_with_expiry_is_in_one_world() {
    // The ack overlaps the redelivery: "done" is wrong whichever came first.
    let race: Write = |s| {
        s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(10 * SECOND);
        s.ack(2, 1).wide(0, 3).receive(3, &[(1, 2, 2)])
    };
    assert_blamed(durable(), race, &[Lv8], &[Al6, Lv2]);
    let stale: Write = |s| {
        s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(10 * SECOND);
        s.settle(2, 1, Settle::Ack, Outcome::Stale).wide(0, 3).receive(3, &[(1, 2, 2)])
    };
    assert_blamed(durable(), stale, &[], &[Lv8, Al6, Al7, Lv1, Lv4]);
}

#[test]
fn a_crash_takes_what_the_contract_lets_it_take() {
    let lost: Write = |s| s.send(1, 1).crash(Crash::Process).drain();
    assert_blamed(durable(), lost, &[Al1, Du1, Or6], &[Al2]);
    assert_blamed(Contract::in_memory(), lost, &[], &[Al1, Du1, Or6, Li1]);
    let again: Write =
        |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).ack(2, 1).crash(Crash::Process).receive(3, &[(1, 2, 1)]);
    assert_blamed(durable(), again, &[Al6, Du3], &[Lv6]);
    assert_blamed(Contract::in_memory(), again, &[], &[Al6, Al7, Du3, Dl5, Lv6]);
}

#[test]
fn a_receipt_is_not_issued_again_after_a_crash_that_took_everything() {
    // The same receipt, before the crash and after it.
    let again: Write = |s| {
        s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1), (2, 2, 1)]).crash(Crash::Process).send(3, 3);
        s.receive(3, &[(3, 1, 1)]).depth(3, [0, 1, 0, 0]).ack(3, 1).drain().depth(3, [0; 4])
    };
    let blamed = judge(&history(Contract::in_memory(), again));
    let blamed: Vec<_> =
        blamed.into_iter().filter(|(_, verdict)| verdict.is_broken()).map(|(of, _)| of).collect();
    assert_eq!(blamed, [Lv6], "and nobody else is misled by it");
}

#[test]
fn leases_that_a_contract_keeps_are_kept() {
    let kept = || Contract {
        leases: Leases { end_with_session: false, end_with_crash: false },
        ..Contract::durable()
    };
    let crash: Write = |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).crash(Crash::Power).receive(3, &[(1, 2, 2)]);
    assert_blamed(kept(), crash, &[Lv10, Lv1, Al7], &[Lv11]);
    assert_blamed(durable(), crash, &[], &[Lv10, Lv1, Al7]);
    let loss: Write = |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).lose(2).receive(3, &[(1, 2, 2)]);
    assert_blamed(kept(), loss, &[Lv11, Lv1, Al7], &[Lv10]);
    let empty: Write = |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).lose(2).crash(Crash::Power).receive(3, &[]);
    assert_blamed(kept(), empty, &[], &[Lv10, Lv11, Or6]);
}

#[test]
fn answers_that_need_not_be_exact_are_judged_only_when_alone() {
    let relaxed = || Contract { empty: Answer::Relaxed, full: Answer::Relaxed, ..roomy(2) };
    let overlapped: Write = |s| s.send(1, 1).receive(3, &[]).wide(0, 2).depth(4, [1, 0, 0, 0]);
    assert_blamed(relaxed(), overlapped, &[], &[Or6]);
    assert_blamed(durable(), overlapped, &[Or6], &[]);
    let alone: Write = |s| s.send(1, 1).receive(3, &[]).send_full(1, 2);
    assert_blamed(relaxed(), alone, &[Or6, Cb2], &[]);
}

#[test]
fn answers_that_are_unreliable_are_believed_after_many_in_a_row() {
    let unreliable = || Contract { empty: Answer::Unreliable, full: Answer::Unreliable, ..roomy(2) };
    let nothing = |s: &mut Script, times: usize| {
        for _ in 0..times {
            s.receive(3, &[]);
        }
    };
    let blamed = |times: usize, interrupted: bool| {
        let mut script = Script::new(unreliable());
        script.send(1, 1).send_full(1, 2).event(0, What::DrainBegan);
        nothing(&mut script, times);
        if interrupted {
            script.depth(3, [1, 0, 0, 0]);
            nothing(&mut script, times - 1);
        }
        script.event(0, What::DrainEnded { quiet: true });
        let history = script.history();
        [Or6, Al1, Li1, Al10, Cb2].map(|of| check(of, &history).is_broken())
    };
    assert_eq!(blamed(Answer::PATIENCE, false), [true, true, true, true, false]);
    assert_eq!(blamed(Answer::PATIENCE - 1, false), [false; 5]);
    assert_eq!(blamed(Answer::PATIENCE - 1, true), [false; 5]);
}

#[test]
fn what_is_returned_by_whatever_means_takes_its_place() {
    // Two messages, the first of them out and back by one of these means.
    let means: [Write; 3] = [
        |s| s.advance(11 * SECOND),
        |s| s.lose(2),
        |s| s.settle(2, 1, Settle::Nack { delay: SECOND }, Outcome::Done).advance(2 * SECOND),
    ];
    for back in means {
        let mut script = Script::new(unlimited());
        script.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1)]);
        back(&mut script);
        let [mut overtaken, mut in_place, mut doubtful] = [(); 3].map(|()| script.clone());
        overtaken.receive(3, &[(2, 2, 1)]).receive(3, &[(1, 3, 2)]);
        assert!(check(Or4, &overtaken.history()).is_broken());
        in_place.receive(3, &[(1, 2, 2)]).receive(3, &[(2, 3, 1)]);
        assert!(matches!(check(Or4, &in_place.history()), Verdict::Holds { .. }));
        // It may be out again, unseen.
        doubtful.receive_in_doubt(3, 1).receive(3, &[(2, 2, 1)]);
        assert!(!check(Or4, &doubtful.history()).is_broken());
    }
}

#[test]
fn a_redriven_message_has_the_place_that_is_declared_and_no_other() {
    let placed = |redriven| Contract { redriven, ..unlimited() };
    // Behind a message that was sent after it.
    let back: Write = |s| {
        rejected(s).send(1, 2).redrive(1, 1, 1).receive_at_most(2, 1, 10 * SECOND, &[(2, 2, 1)]).nack(2, 2);
        s.receive_at_most(2, 1, 10 * SECOND, &[(2, 3, 2)]).receive(2, &[(1, 4, 1)])
    };
    assert_blamed(placed(Requeue::Unspecified), back, &[], &[Or4]);
    assert_blamed(placed(Requeue::Original), back, &[Or4], &[]);
    assert_blamed(placed(Requeue::Tail), back, &[], &[Or4]);
    let first: Write = |s| rejected(s).send(1, 2).redrive(1, 1, 1).receive(2, &[(1, 2, 1), (2, 3, 1)]);
    assert_blamed(placed(Requeue::Unspecified), first, &[], &[Or4]);
    assert_blamed(placed(Requeue::Original), first, &[], &[Or4]);
    let alone: Write =
        |s| rejected(s).send(1, 2).redrive(1, 1, 1).receive(2, &[(1, 2, 1)]).receive(2, &[(2, 3, 1)]);
    assert_blamed(placed(Requeue::Tail), alone, &[Or4], &[]);
    // Several come in the order of their deaths.
    let reversed: Write = |s| {
        s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1), (2, 2, 1)]).reject(2, 2).reject(2, 1);
        s.redrive(1, 5, 2).receive(2, &[(1, 3, 1)]).receive(2, &[(2, 4, 1)])
    };
    let in_order: Write = |s| {
        s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1), (2, 2, 1)]).reject(2, 2).reject(2, 1);
        s.redrive(1, 5, 2).receive(2, &[(2, 3, 1)]).receive(2, &[(1, 4, 1)])
    };
    let at_once: Write = |s| {
        s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1), (2, 2, 1)]).reject(2, 2).wide(0, 4).reject(3, 1);
        s.advance(SECOND).redrive(1, 5, 2).receive(2, &[(1, 3, 1)]).receive(2, &[(2, 4, 1)])
    };
    assert_blamed(placed(Requeue::Tail), reversed, &[Or4], &[Dl8]);
    assert_blamed(placed(Requeue::Tail), in_order, &[], &[Or4, Dl8]);
    assert_blamed(placed(Requeue::Tail), at_once, &[], &[Or4, Dl8]);
    assert_blamed(placed(Requeue::Unspecified), reversed, &[], &[Or4]);
}

#[test]
fn the_oldest_death_is_shown_first_where_it_is_told() {
    let two = |s: &mut Script, first: bool| {
        let letters = [(1, Reason::Rejected, 1), (2, Reason::Rejected, 1)];
        let letters = if first { letters } else { [letters[1], letters[0]] };
        s.browse(1, &letters);
    };
    for (order, overlap, blamed) in [(true, 0, false), (false, 0, true), (false, 4, false)] {
        let mut script = Script::new(unlimited());
        script
            .send(1, 1)
            .send(1, 2)
            .receive(2, &[(1, 1, 1), (2, 2, 1)])
            .reject(2, 1)
            .wide(0, overlap)
            .reject(3, 2);
        two(script.advance(SECOND), order);
        assert_eq!(check(Dl7, &script.history()).is_broken(), blamed, "{order} {overlap}");
    }
    // Leases that ran out unnoticed die in any order, until a browse has shown one of them.
    let mut script = Script::new(Contract { deliveries_allowed: Some(1), ..durable() });
    script.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1)]).advance(SECOND).receive(2, &[(2, 2, 1)]);
    let mut unnoticed = script.clone();
    unnoticed.advance(20 * SECOND).browse(1, &[(2, Reason::Attempts, 1), (1, Reason::Attempts, 1)]);
    assert!(!check(Dl7, &unnoticed.history()).is_broken());
    script.advance(Duration::from_millis(9_500)).browse(1, &[(1, Reason::Attempts, 1)]).advance(SECOND);
    script.browse(1, &[(2, Reason::Attempts, 1), (1, Reason::Attempts, 1)]);
    assert!(check(Dl7, &script.history()).is_broken());
}

#[test]
fn a_receipt_is_settled_once_whatever_the_order_in_a_batch() {
    let twice = |second: Outcome| {
        let mut script = Script::new(durable());
        script.send(1, 1).receive(2, &[(1, 1, 1)]).ack(2, 1);
        script.also(2, What::Settle { handle: Handle(1), how: Settle::Ack, outcome: second });
        check(Lv8, &script.history()).is_broken()
    };
    assert_eq!([Outcome::Done, Outcome::Stale, Outcome::InDoubt].map(twice), [true, false, false]);
    // A crash that keeps leases may take back the nack.
    let kept = Contract { leases: Leases { end_with_session: false, end_with_crash: false }, ..durable() };
    let crash: Write = |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).crash(Crash::Process).ack(3, 1);
    assert_blamed(kept, crash, &[], &[Lv8]);
}

#[test]
fn the_dead_move_when_it_is_declared() {
    let lazily = || Contract { death: Death::NextReceive, ..roomy(1) };
    let counted: Write = |s| dead(s).depth(1, [1, 0, 0, 0]).send_full(1, 2).browse(1, &[]).redrive(1, 5, 0);
    assert_blamed(lazily(), counted, &[], &[Al10, Cb2, Dl1, Dl4, Dl8]);
    assert_blamed(roomy(1), counted, &[Al10, Cb2, Dl1, Dl4, Dl8], &[]);
    let never: Write = |s| dead(s).receive(2, &[]).depth(1, [1, 0, 0, 0]).send_full(1, 2).browse(1, &[]);
    assert_blamed(lazily(), never, &[Al10, Cb2, Dl1, Dl4], &[]);
    let again: Write = |s| dead(s).receive(2, &[(1, 3, 3)]);
    assert_blamed(lazily(), again, &[Dl3], &[]);
    // A receive that finds as many as it asked for need not have come upon it.
    let enough: Write = |s| {
        s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1)]).nack(2, 1).receive(2, &[(1, 2, 2)]).nack(2, 2);
        s.receive_at_most(2, 1, 10 * SECOND, &[(2, 3, 1)]).browse(1, &[])
    };
    assert_blamed(Contract { death: Death::NextReceive, ..durable() }, enough, &[], &[Dl1, Dl4]);
    // Nor one before the delay that it was returned with is over.
    let delayed: Write = |s| {
        s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).receive(2, &[(1, 2, 2)]);
        s.settle(2, 2, Settle::Nack { delay: 5 * SECOND }, Outcome::Done).receive(2, &[]);
        s.depth(1, [0, 0, 1, 0]).advance(6 * SECOND)
    };
    assert_blamed(lazily(), delayed, &[], &[Al10, Dl1]);
    assert_blamed(lazily(), |s| delayed_death(s).receive(2, &[]).browse(1, &[]), &[Dl1], &[]);
}

/// A message that was returned for the last time with a delay that is over.
fn delayed_death(script: &mut Script) -> &mut Script {
    script.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).receive(2, &[(1, 2, 2)]);
    script.settle(2, 2, Settle::Nack { delay: 5 * SECOND }, Outcome::Done).advance(6 * SECOND)
}

#[test]
fn batches_are_refused_as_declared() {
    let whole = || Contract { batches: Batches::Whole, ..roomy(2) };
    let refused = |s: &mut Script, many: u64| {
        s.send_full(1, 11);
        for token in 12..11 + many {
            let (delay, outcome) = (Duration::ZERO, SendOutcome::Refused(Refusal::Full));
            s.also(1, What::Send { token: Token(token), key: None, body: body(token), delay, outcome });
        }
    };
    let blamed = |contract: Contract, many: u64| {
        let mut script = Script::new(contract);
        refused(script.send(1, 1), many);
        check(Cb2, &script.history()).is_broken()
    };
    assert_eq!([1, 2].map(|many| blamed(whole(), many)), [true, false]);
    assert_eq!([1, 2].map(|many| blamed(roomy(2), many)), [true, true]);
    let torn: Write = |s| {
        let (delay, outcome) = (Duration::ZERO, SendOutcome::Refused(Refusal::Full));
        s.send(1, 1).send(1, 2);
        s.also(1, What::Send { token: Token(3), key: None, body: body(3), delay, outcome })
    };
    assert_blamed(whole(), torn, &[Al11], &[Cb2]);
    assert_blamed(roomy(2), torn, &[], &[Al11, Cb2]);
    let apart: Write = |s| s.send(1, 1).send(1, 2).send_full(1, 3);
    assert_blamed(whole(), apart, &[], &[Al11, Cb2]);
}

#[test]
fn the_items_of_a_batch_follow_each_other() {
    let apart: Write =
        |s| s.send(1, 1).also(1, send(2, confirmed(2))).receive(2, &[(2, 1, 1)]).receive(2, &[(1, 2, 1)]);
    assert_blamed(unlimited(), apart, &[Or1, Or2], &[]);
    let at_once: Write = |s| s.send(1, 1).also(1, send(2, confirmed(2))).receive(2, &[(2, 1, 1), (1, 2, 1)]);
    assert_blamed(unlimited(), at_once, &[Or1, Or2], &[]);
    let sends_apart: Write = |s| s.send(1, 1).send(1, 2).receive(2, &[(2, 1, 1), (1, 2, 1)]);
    assert_blamed(unlimited(), sends_apart, &[Or1, Or2], &[]);
    let unordered = Contract { order: Order::Unordered, ..unlimited() };
    assert_blamed(unordered, at_once, &[], &[Or1, Or2]);
    let in_turn: Write = |s| s.send(1, 1).also(1, send(2, confirmed(2))).receive(2, &[(1, 1, 1), (2, 2, 1)]);
    assert_blamed(unlimited(), in_turn, &[], &[Or1, Or2]);
    // Of two producers, and by two consumers, there is no order but that of a queue as a whole.
    let two: Write = |s| s.send(1, 1).send(3, 2).receive(2, &[(2, 1, 1), (1, 2, 1)]);
    assert_blamed(Contract { order: Order::PerProducer, ..unlimited() }, two, &[], &[Or1, Or2]);
    assert_blamed(unlimited(), two, &[Or1], &[Or2]);
    // The first was delivered before, unseen; it was not to come yet; it may have been stored later.
    let unseen: Write = |s| {
        s.send(1, 1).also(1, send(2, confirmed(2))).receive_in_doubt(2, 1).receive(2, &[(2, 1, 1)]);
        s.advance(20 * SECOND).receive(2, &[(1, 2, 2)])
    };
    assert_blamed(unlimited(), unseen, &[], &[Or1, Or2]);
    let delayed: Write = |s| {
        let outcome = confirmed(1);
        s.event(1, What::Send { token: Token(1), key: None, body: body(1), delay: SECOND, outcome });
        s.also(1, send(2, confirmed(2))).receive(2, &[(2, 1, 1)]).advance(2 * SECOND).receive(2, &[(1, 2, 1)])
    };
    assert_blamed(unlimited(), delayed, &[], &[Or1, Or2]);
    let again: Write = |s| {
        s.send_in_doubt(1, 1).also(1, send(2, confirmed(2))).receive(2, &[(2, 1, 1)]);
        s.send(1, 1).receive(2, &[(1, 2, 1)])
    };
    assert_blamed(unlimited(), again, &[], &[Or1, Or2]);
}

#[test]
fn a_drain_that_is_only_answered_with_errors_is_blamed() {
    let ended: fn(&mut Script, Option<&str>) -> bool = |s, error| {
        s.send(1, 1).event(0, What::DrainBegan).receive_in_doubt(9, 16);
        if let Some(error) = error {
            s.event(0, What::Unanswered { error: error.into() });
        }
        check(Li1, &s.event(0, What::DrainEnded { quiet: false }).history()).is_broken()
    };
    assert!(ended(&mut Script::new(durable()), Some("nobody is at home")));
    // One whose storage has failed may fail for ever, and the engine does not say so.
    assert!(!ended(&mut Script::new(durable()), None));
}

#[test]
fn what_no_history_can_show_is_not_claimed() {
    let unclaimed = |of: Invariant, contract: Contract| {
        check(of, &History { contract, events: Vec::new() }) == Verdict::NotClaimed
    };
    let ordinal = || Contract { attempt: Attempt::Ordinal, ..durable() };
    let dropped = || Contract { dead_lettering: DeadLettering::Dropped, ..durable() };
    assert!(unclaimed(Dl6, ordinal()) && !unclaimed(Dl6, durable()));
    assert!([Dl2, Dl11].into_iter().all(|of| unclaimed(of, dropped()) && !unclaimed(of, durable())));
    // A letter that is shown all the same is judged.
    let early: Write =
        |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).browse(1, &[(1, Reason::Attempts, 1)]);
    assert_blamed(dropped(), early, &[Dl2], &[]);
}

#[test]
fn what_can_only_be_broken_is_claimed_and_put_to_the_test_by_each_chance_to_break_it() {
    // It is never full, refuses nothing, and nothing dies of its attempts.
    let free = || Contract { deliveries_allowed: None, capacity: None, ..durable() };
    for of in [Al4, Cb2, Cb3, Dl2] {
        let empty = History { contract: free(), events: Vec::new() };
        assert_eq!(check(of, &empty), Verdict::Vacuous, "{of}");
        let failed = history(free(), |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1));
        assert!(matches!(check(of, &failed), Verdict::Holds { .. }), "{of}");
    }
    assert_blamed(free(), |s| s.send_full(1, 1), &[Cb2], &[]);
    assert_blamed(free(), |s| dead(s).browse(1, &[(1, Reason::Attempts, 2)]), &[Dl2], &[]);
    // Where the first failure kills, nothing is ever returned.
    let once = || Contract { deliveries_allowed: Some(1), ..durable() };
    let empty = |contract| History { contract, events: Vec::new() };
    assert_eq!(check(Or4, &empty(once())), Verdict::NotClaimed);
    let redriven = Contract { redriven: Requeue::Tail, ..once() };
    assert_eq!(check(Or4, &empty(redriven)), Verdict::Vacuous);
    let uncounted = Counting { nack: Count::No, ..Counting::AT_HAND_OVER };
    assert_eq!(check(Or4, &empty(Contract { counting: uncounted, ..once() })), Verdict::Vacuous);
}

#[test]
fn what_is_in_neither_place_in_the_end_is_lost_whoever_was_told_what() {
    fn doubtful(s: &mut Script) -> &mut Script {
        s.send(1, 1).receive(2, &[(1, 1, 1)]).settle(2, 1, Settle::Reject, Outcome::InDoubt)
    }
    assert_blamed(
        durable(),
        |s| doubtful(s).crash(Crash::Power).drain().browse(1, &[]),
        &[Al10, Dl4],
        &[Dl8],
    );
    let shown: Write = |s| doubtful(s).crash(Crash::Power).drain().browse(1, &[(1, Reason::Rejected, 1)]);
    assert_blamed(durable(), shown, &[], &[Al10, Dl4, Dl8]);
    // Both places must have been looked at.
    assert_blamed(durable(), |s| doubtful(s).crash(Crash::Power).drain(), &[], &[Al10, Dl4]);
    assert_blamed(durable(), |s| doubtful(s).browse(1, &[]), &[], &[Al10, Dl4]);
    // What waits or is held for longer than the drain lasted is there still.
    let delayed: Write =
        |s| s.send_as(1, 1, 2000 * SECOND, SendOutcome::Confirmed(MessageId(1))).drain().browse(1, &[]);
    let returned: Write = |s| {
        s.send(1, 1).receive(2, &[(1, 1, 1)]);
        let delay = 2000 * SECOND;
        s.settle(2, 1, Settle::Nack { delay }, Outcome::Done).drain().browse(1, &[])
    };
    let held: Write =
        |s| s.send(1, 1).receive_at_most(2, 1, 2000 * SECOND, &[(1, 1, 1)]).drain().browse(1, &[]);
    for waits in [delayed, returned, held] {
        assert_blamed(durable(), waits, &[], &[Al10, Dl4]);
    }
    // It may have been acked.
    let acked: Write = |s| {
        s.send(1, 1).receive(2, &[(1, 1, 1)]).settle(2, 1, Settle::Ack, Outcome::InDoubt);
        s.settle(2, 1, Settle::Reject, Outcome::InDoubt).drain().browse(1, &[])
    };
    assert_blamed(durable(), acked, &[], &[Al10, Dl4]);
    // A crash may take what was not promised to survive it.
    let volatile = Contract { deliveries_allowed: Some(2), ..Contract::in_memory() };
    assert_blamed(volatile, |s| doubtful(s).crash(Crash::Power).drain().browse(1, &[]), &[], &[Al10, Dl4]);
    // A redrive in doubt moved it, or did not.
    let redriven: Write = |s| {
        rejected(s).event(1, What::Redrive { max: 1, moved: None }).crash(Crash::Power).drain().browse(1, &[])
    };
    assert_blamed(durable(), redriven, &[Al10, Dl4, Dl8], &[]);
    let once = || Contract { deliveries_allowed: Some(1), ..durable() };
    let lost: Write = |s| {
        s.send(1, 1).receive(2, &[(1, 1, 1)]).lose(2).event(1, What::Redrive { max: 1, moved: None });
        s.crash(Crash::Power).drain().browse(1, &[])
    };
    assert_blamed(once(), lost, &[Al10, Dl4, Dl8], &[]);
}

#[test]
fn a_crash_that_may_undo_a_redrive_may_bring_back_the_count_before_it() {
    let undone: Write = |s| {
        s.send(1, 1)
            .receive(2, &[(1, 1, 1)])
            .nack(2, 1)
            .receive(2, &[(1, 2, 2)])
            .reject(2, 2)
            .redrive(1, 1, 1);
        s.receive(2, &[(1, 3, 1)]).crash(Crash::Power).receive(3, &[(1, 4, 3)])
    };
    let process = Durability::Process;
    let modest = Contract { sends: process, acks: process, counts: process, delays: process, ..unlimited() };
    assert_blamed(modest, undone, &[], &[Dl5, Dl6]);
    assert_blamed(unlimited(), undone, &[Dl5], &[]);
    let dead_again: Write = |s| {
        dead(s).redrive(1, 1, 1).receive(2, &[(1, 3, 1)]).settle(2, 3, Settle::Ack, Outcome::InDoubt);
        s.crash(Crash::Power).drain().browse(1, &[(1, Reason::Attempts, 2)])
    };
    let modest = Contract { sends: process, acks: process, counts: process, delays: process, ..durable() };
    assert_blamed(modest, dead_again, &[], &[Dl1, Dl2]);
    assert_blamed(durable(), dead_again, &[Dl1, Dl2], &[]);
}

#[test]
fn what_is_redriven_with_its_count_may_die_again_before_anybody_receives_it() {
    let kept = |death| Contract { death, redrive_resets: false, ..roomy(1) };
    let again: Write =
        |s| dead(s).receive(2, &[]).redrive(1, 1, 1).receive(2, &[]).depth(1, [0, 0, 0, 1]).redrive(1, 1, 1);
    assert_blamed(kept(Death::NextReceive), again, &[], &[Al10, Dl1, Dl4, Dl8]);
    assert_blamed(kept(Death::AtOnce), again, &[Al10, Dl8], &[]);
    let twice: Write = |s| dead(s).receive(2, &[]).redrive(1, 1, 1).receive(2, &[]).depth(1, [0, 0, 0, 2]);
    assert_blamed(kept(Death::NextReceive), twice, &[Al10], &[]);
}

#[test]
fn an_unreliable_full_is_believed_in_the_end() {
    let contract = || Contract { full: Answer::Unreliable, ..roomy(2) };
    let blamed = |refusals: u64, whole: bool| {
        let mut script = Script::new(contract());
        script.send(1, 1);
        for token in 2..2 + refusals {
            match whole && token > 2 {
                true => script.also(1, send(token, SendOutcome::Refused(Refusal::Full))),
                false => script.send_full(1, token),
            };
        }
        check(Cb2, &script.history()).is_broken()
    };
    let patience = Answer::PATIENCE as u64;
    assert_eq!([patience - 1, patience].map(|refusals| blamed(refusals, false)), [false, true]);
    // A batch is one answer.
    assert!(!blamed(2 * patience, true));
}

#[test]
fn a_batch_has_as_many_answers_as_items() {
    fn answered(answered: u64) -> What {
        What::Miscounted { asked: 2, answered }
    }
    let short: Write = |s| s.send(1, 1).also(1, send(2, SendOutcome::InDoubt)).also(1, answered(1));
    assert_blamed(durable(), short, &[Al11], &[Al1]);
    let long: Write = |s| s.send(1, 1).also(1, send(2, confirmed(2))).also(1, answered(3));
    assert_blamed(durable(), long, &[Al11], &[]);
    let none: Write = |s| {
        let ack = What::Settle { handle: Handle(1), how: Settle::Ack, outcome: Outcome::InDoubt };
        s.send(1, 1).receive(2, &[(1, 1, 1)]).event(2, ack).also(2, answered(0))
    };
    assert_blamed(durable(), none, &[Al11], &[Lv8]);
    let Verdict::Broken(example) = check(Al11, &history(durable(), long)) else { panic!("not broken") };
    assert_eq!(example.culprits, [0, 1, 2], "the whole batch");
    // An answer that did not come at all leaves every outcome in doubt, as the recorder writes it.
    let lost: Write = |s| s.send_in_doubt(1, 1).also(1, send(2, SendOutcome::InDoubt));
    assert_blamed(durable(), lost, &[], &[Al11]);
}

#[test]
fn an_attempt_is_what_it_is_declared_to_be() {
    let counting = Counting { expiry: Count::No, ..Counting::AT_HAND_OVER };
    let said = |attempt| Contract { attempt, counting, ..durable() };
    let ordinal: Write =
        |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(11 * SECOND).receive(2, &[(1, 2, 2)]);
    let count: Write =
        |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(11 * SECOND).receive(2, &[(1, 2, 1)]);
    assert_blamed(said(Attempt::Ordinal), ordinal, &[], &[Dl5, Dl6]);
    assert_blamed(said(Attempt::Ordinal), count, &[Dl5], &[]);
    assert_blamed(said(Attempt::Counted), ordinal, &[Dl5, Dl6], &[]);
    assert_blamed(said(Attempt::Counted), count, &[], &[Dl5, Dl6]);
    // It does not tell when to die: the expiry did not count.
    let early: Write = |s| {
        s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(11 * SECOND).receive(2, &[(1, 2, 2)]).nack(2, 2);
        s.browse(1, &[(1, Reason::Attempts, 2)])
    };
    assert_blamed(said(Attempt::Ordinal), early, &[Dl1, Dl2], &[]);
    let unseen: Write = |s| s.send(1, 1).receive_in_doubt(2, 1).advance(11 * SECOND).receive(2, &[(1, 2, 2)]);
    assert_blamed(said(Attempt::Ordinal), unseen, &[], &[Dl5]);
}

#[test]
fn a_retry_is_stored_once_where_that_is_declared() {
    let copies: Write = |s| {
        s.send_in_doubt(1, 1).send_as(1, 1, Duration::ZERO, confirmed(2));
        s.receive_ids(2, &[(1, 1, 1, 1), (1, 2, 2, 1)])
    };
    assert_blamed(once(), copies, &[Al8, Ic8], &[]);
    assert_blamed(durable(), copies, &[], &[Al8, Ic8]);
    let merged: Write = |s| s.send(1, 1).send_as(1, 2, Duration::ZERO, confirmed(1));
    assert_blamed(once(), merged, &[Ic8], &[]);
    let acked: Write = |s| s.send_in_doubt(1, 1).receive(2, &[(1, 1, 1)]).ack(2, 1).send(1, 1).drain();
    assert_blamed(once(), acked, &[], &[Al1, Al8, Al10]);
    let forgotten: Write = |s| {
        s.send(1, 1).crash(Crash::Power).send_as(3, 1, Duration::ZERO, confirmed(2));
        s.receive_ids(4, &[(1, 2, 1, 1)])
    };
    assert_blamed(
        Contract { retries: Retries::Deduplicated, ..Contract::in_memory() },
        forgotten,
        &[],
        &[Al8, Ic8],
    );
    // What was refused every time and came twice, all the same.
    let refused: Write = |s| s.send_full(1, 1).receive_ids(2, &[(1, 1, 1, 1), (1, 2, 2, 1)]);
    assert_blamed(once(), refused, &[Al4, Al8], &[]);
}

#[test]
fn what_is_above_a_lower_limit_is_neither_lost_nor_judged_by_the_old_one() {
    // It is nowhere in the end.
    let stuck: Write = |s| {
        s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1);
        limit(s, 1).drain().browse(1, &[])
    };
    assert_blamed(five(), stuck, &[Dl13, Dl4], &[Dl1, Dl3]);
    let killed: Write = |s| {
        s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1);
        limit(s, 1).drain().browse(1, &[(1, Reason::Attempts, 1)])
    };
    assert_blamed(five(), killed, &[], &[Dl13, Dl4, Dl1, Dl2, Dl7, Al2]);
    // With a higher one it lives for longer.
    let raised: Write = |s| {
        limit(s, 3).send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).receive(2, &[(1, 2, 2)]).nack(2, 2);
        s.receive(2, &[(1, 3, 3)])
    };
    assert_blamed(durable(), raised, &[], &[Dl13, Dl1, Dl3]);
}

#[test]
fn a_bounded_redrive_takes_the_oldest_and_respects_the_capacity() {
    let two_dead: Write =
        |s| s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1), (2, 2, 1)]).reject(2, 1).reject(2, 2);
    let newest: Write = |s| {
        s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1), (2, 2, 1)]).reject(2, 1).reject(2, 2);
        s.redrive(1, 1, 1).receive(2, &[(2, 3, 1)])
    };
    let oldest: Write = |s| {
        s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1), (2, 2, 1)]).reject(2, 1).reject(2, 2);
        s.redrive(1, 1, 1).receive(2, &[(1, 3, 1)])
    };
    assert_blamed(unlimited(), newest, &[Dl8], &[]);
    assert_blamed(unlimited(), oldest, &[], &[Dl8]);
    let mut script = Script::new(roomy(2));
    two_dead(&mut script);
    let mut fitting = script.clone();
    script.send(1, 3).send(1, 4).redrive(1, 2, 2);
    assert!(check(Cb1, &script.history()).is_broken());
    fitting.send(1, 3).redrive(1, 2, 1);
    assert!(matches!(check(Cb1, &fitting.history()), Verdict::Holds { .. }));
    assert!(!check(Dl8, &fitting.history()).is_broken());
}

#[test]
fn an_operation_that_never_returned_may_take_effect_until_the_crash() {
    let pending: Write = |s| {
        s.send(1, 1).receive(2, &[(1, 1, 1)]).settle(2, 1, Settle::Ack, Outcome::InDoubt).pending();
        s.advance(20 * SECOND).receive(3, &[])
    };
    assert_blamed(durable(), pending, &[], &[Or6, Lv3]);
    let receive: Write =
        |s| s.send(1, 1).receive_in_doubt(2, 1).pending().advance(99 * SECOND).receive(3, &[]);
    assert_blamed(durable(), receive, &[], &[Or6, Lv3]);
    let crashed: Write =
        |s| s.send(1, 1).receive_in_doubt(2, 1).pending().crash(Crash::Power).receive(3, &[]);
    assert_blamed(durable(), crashed, &[Or6, Du1], &[]);
}

#[test]
fn a_reported_deadline_is_not_earlier_than_asked_for() {
    let early = history(durable(), |s| {
        s.send(1, 1);
        deliver(s, |what| {
            if let What::Deliver { deadline, .. } = what {
                *deadline = Time(1);
            }
        })
    });
    assert!(check(Lv4, &early).is_broken());
}

#[test]
fn a_panic_is_a_broken_promise() {
    let panicked: Write =
        |s| s.receive_in_doubt(2, 1).event(0, What::Panicked { message: "index out of bounds".into() });
    assert_blamed(durable(), panicked, &[Li1], &[Al1]);
}

#[test]
fn a_crash_in_a_drain_decides_nothing_and_stops_nobody() {
    let begun: Write = |s| {
        s.send(1, 1).send(1, 2).receive(2, &[(1, 1, 1)]).event(0, What::DrainBegan).receive_in_doubt(9, 16);
        s.pending()
    };
    let ends: [Write; 4] = [
        |s| s,
        |s| s.crash(Crash::Power),
        |s| s.event(0, What::Crashed { crash: Crash::Process }),
        |s| s.crash(Crash::Power).event(0, What::DrainEnded { quiet: false }),
    ];
    for end in ends {
        let mut script = Script::new(durable());
        for (invariant, verdict) in judge(&end(begun(&mut script)).history()) {
            assert!(!verdict.is_broken(), "{invariant}: {verdict:?}");
            // What the drain should have shown it has not shown.
            let of_drains = [Al1, Al2, Li1, Li2].contains(&invariant);
            assert!(!of_drains || !matches!(verdict, Verdict::Holds { .. }), "{invariant}: {verdict:?}");
        }
    }
}

#[test]
fn the_ledger_counts_what_is_nobodys_apart() {
    let written = history(roomy(9), |s| {
        s.send_full(1, 1)
            .send_full(1, 2)
            .send(1, 3)
            .send(1, 4)
            .receive(2, &[(3, 1, 1), (4, 2, 1), (5, 3, 1)]);
        s.reject(2, 1).reject(2, 2).browse(1, &[(3, Reason::Rejected, 1), (4, Reason::Rejected, 1)]);
        deliver(s, |what| {
            if let What::Deliver { token, handle, .. } = what {
                (*token, *handle) = (None, Handle(4));
            }
        })
    });
    let counted =
        Ledger { attempted: 4, confirmed: 2, refused: 2, delivered: 4, distinct: 2, ..Ledger::default() };
    assert_eq!(Ledger::of(&written), Ledger { dead: 2, phantom: 2, ..counted });
}

#[test]
fn the_ledger_counts() {
    let written = history(roomy(9), |s| {
        s.send(1, 1).send(1, 2).send(1, 3).send_in_doubt(1, 4).send_in_doubt(1, 5);
        s.event(
            1,
            What::Send {
                token: Token(6),
                key: None,
                body: body(6),
                delay: Duration::ZERO,
                outcome: SendOutcome::Refused(Refusal::TooLarge),
            },
        );
        s.receive(2, &[(2, 1, 1)]).receive(2, &[(1, 2, 1)]).ack(2, 1).nack(2, 2).receive(2, &[(1, 3, 2)]);
        s.reject(2, 3).receive(2, &[(4, 4, 1), (7, 5, 1)]).ack(2, 4).ack(2, 5);
        s.browse(1, &[(1, Reason::Rejected, 2)]).drain()
    });
    let ledger = Ledger::of(&written);
    assert_eq!(
        ledger,
        Ledger {
            attempted: 6,
            confirmed: 3,
            refused: 1,
            in_doubt: 2,
            delivered: 5,
            distinct: 3,
            duplicates: 1,
            acked: 3,
            dead: 1,
            lost: 1,
            phantom: 1,
            recovered: 1,
            // m2 before m1, and m4 before m3, which never came.
            out_of_order: 2,
        }
    );
    let json = serde_json::to_string(&ledger).expect("plain data");
    assert_eq!(serde_json::from_str::<Ledger>(&json).expect("the same"), ledger);
}
