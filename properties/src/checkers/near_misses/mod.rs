//! Histories that tell a rule from its neighbours: each is blamed by the rule, or is not, where a rule with one
//! condition changed judges otherwise.

mod at_rest;
mod capacity;
mod consumers;
mod culprits;
mod emptiness;
mod harm;
mod integrity;
mod leases;
mod letters;
mod order;
mod timeline;

use stanchion_queues::{
    Contract, Count, Counting, Crash, Depth, Durability, Leases, MessageId, Reason, Refusal, Settle,
};

use super::check;
use super::scripted::{SECOND, Script, body};
use super::scripts::{Write, confirmed, history, send};
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

/// No crash and no lost session ends a lease.
const KEPT: Leases = Leases { end_with_session: false, end_with_crash: false };

/// A rejected message of which nobody was told so.
fn doubtful(s: &mut Script) -> &mut Script {
    s.send(1, 1).receive(2, &[(1, 1, 1)]).settle(2, 1, Settle::Reject, Outcome::InDoubt)
}

/// The first message among the dead letters, under an id that its send was not told.
fn shown_as_9(s: &mut Script, reason: Reason) -> &mut Script {
    let (token, id) = (Some(Token(1)), MessageId(9));
    let letter = Letter { token, id, reason, attempts: 1, key: None, body: body(1) };
    s.event(1, What::Browse { max: 100, letters: Some(vec![letter]) })
}

fn near_misses() -> Vec<Near> {
    let mut all = Vec::new();
    all.extend(at_rest::at_rest());
    all.extend(capacity::capacity());
    all.extend(capacity::the_dead());
    all.extend(at_rest::vanished());
    all.extend(integrity::integrity());
    all.extend(integrity::attempts());
    all.extend(consumers::consumers());
    all.extend(letters::letters());
    all.extend(leases::leases());
    all.extend(culprits::culprits());
    all.extend(emptiness::emptiness());
    all.extend(order::order());
    all.extend(harm::harm());
    all.extend(timeline::timeline());
    all.extend(timeline::causes());
    all
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
