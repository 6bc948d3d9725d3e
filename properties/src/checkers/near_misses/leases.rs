//! Leases and receipts.

use stanchion_queues::{Contract, Crash, Leases, Settle};

use super::super::scripted::SECOND;
use super::super::scripts::{AT_ONCE, deliver, unlimited};
use super::{KEPT, Near};
use crate::history::{Outcome, What};
use crate::invariant::Invariant::*;

pub(super) fn leases() -> Vec<Near> {
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
            contract: || Contract { leases: KEPT, ..unlimited() },
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).crash(Crash::Process).wide(0, 0).ack(3, 1)
            },
            yes: &[],
            no: &[Lv8],
            says: "",
        },
        Near {
            why: "a crash before both takes back neither",
            contract: || Contract { leases: KEPT, ..unlimited() },
            write: |s| s.crash(Crash::Process).send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).ack(3, 1),
            yes: &[Lv8],
            no: &[],
            says: "",
        },
        Near {
            why: "nor does one after both",
            contract: || Contract { leases: KEPT, ..unlimited() },
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
        Near {
            why: "two hold a message, whichever of them came first",
            contract: unlimited,
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).wide(0, 3).receive(3, &[(1, 2, 2)]),
            yes: &[Lv1],
            no: &[],
            says: "",
        },
        Near {
            why: "one may have returned it before the other came",
            contract: unlimited,
            write: |s| {
                s.send(1, 1)
                    .receive(2, &[(1, 1, 1)])
                    .wide(0, 5)
                    .receive(3, &[(1, 2, 2)])
                    .wide(0, 2)
                    .nack(3, 2);
                s
            },
            yes: &[],
            no: &[Lv1],
            says: "",
        },
        Near {
            why: "a message that is held is handed out to one whose session is lost meanwhile",
            contract: unlimited,
            write: |s| s.send(1, 1).receive(2, &[(1, 1, 1)]).receive(3, &[(1, 2, 2)]).wide(0, 2).lose(3),
            yes: &[Lv1],
            no: &[],
            says: "",
        },
        Near {
            why: "of two settlements at once one found the receipt stale, whatever crashed before",
            contract: unlimited,
            write: |s| {
                s.crash(Crash::Process).send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).wide(0, 2).ack(3, 1)
            },
            yes: &[Lv8],
            no: &[],
            says: "was settled as \"done\" at event 5 and again at event 6",
        },
        Near {
            why: "nor does it matter what crashed after both",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).nack(2, 1).wide(0, 2).ack(3, 1).crash(Crash::Process)
            },
            yes: &[Lv8],
            no: &[],
            says: "was settled as \"done\" at event 3 and again at event 4",
        },
        Near {
            why: "an extension that was done proves the lease, also to what is refused while it is unfinished",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(9 * SECOND);
                s.extend(2, 1, 10, Outcome::Done).wide(0, 4).slow(3 * SECOND).advance(3 * SECOND);
                s.settle(3, 1, Settle::Ack, Outcome::Stale)
            },
            yes: &[Lv8],
            no: &[],
            says: "",
        },
        Near {
            why: "one in doubt proves nothing",
            contract: unlimited,
            write: |s| {
                s.send(1, 1).receive(2, &[(1, 1, 1)]).advance(9 * SECOND);
                s.extend(2, 1, 10, Outcome::InDoubt).wide(0, 4).slow(3 * SECOND).advance(3 * SECOND);
                s.settle(3, 1, Settle::Ack, Outcome::Stale)
            },
            yes: &[],
            no: &[Lv8],
            says: "",
        },
    ]
}
