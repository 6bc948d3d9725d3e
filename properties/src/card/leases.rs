//! When leases end, and what a receipt is worth afterwards.

use std::time::Duration;

use stanchion_queues::Leases;

use super::lab::{AFTER, LEASE, LONG, Lab, NACK, advance, extend, receive, same, send, settle, settle_any};
use super::{Difference, Learned, Probe};
use crate::history::Outcome;
use crate::plan::{How, Step};

pub(super) const PROBES: &[Probe] = &[
    Probe("a lease is over", |_| "at its deadline".into(), at_the_deadline),
    Probe("an extended lease", |_| "lasts longer".into(), extended),
    Probe("a lost session's leases", |c| with_session(c.leases).into(), session_lost),
    Probe("leases after a crash", |c| with_crash(c.leases).into(), after_crash),
    Probe("an ack after the deadline", |c| stale(c.stale_refused).into(), ack_too_late),
    Probe("the same, delivered again meanwhile", |c| stale(c.stale_refused).into(), ack_of_another),
    Probe("a second ack", |c| stale(c.stale_refused).into(), second_ack),
    Probe("an ack after a nack", |c| stale(c.stale_refused).into(), ack_after_nack),
    Probe("extending after the deadline", |c| stale(c.stale_refused).into(), extend_too_late),
];

fn at_the_deadline(lab: &Lab<'_>) -> Learned {
    lab.comes_back(lab.contract.counting.expiry)?;
    let steps = vec![
        send(1),
        receive(0, 1, LEASE),
        advance(LEASE.saturating_sub(Duration::from_millis(1))),
        receive(1, 1, LEASE),
        advance(Duration::from_millis(1)),
        receive(1, 1, LEASE),
        advance(Duration::from_millis(1)),
        receive(1, 1, LEASE),
        advance(LONG),
        receive(1, 1, LEASE),
    ];
    let seen = lab.run(steps)?.took_all()?;
    let again = seen.receives().iter().skip(1).position(|tokens| !tokens.is_empty());
    Ok(match again {
        Some(0) => ("before its deadline".into(), Difference::Over),
        Some(1) => ("at its deadline".into(), Difference::Same),
        // Whether the very instant belongs to the lease is nothing that a client could tell from a slow clock.
        Some(2) => ("a moment after its deadline".into(), Difference::Open),
        Some(_) => ("long after its deadline".into(), Difference::Over),
        None => ("never".into(), Difference::Over),
    })
}

fn extended(lab: &Lab<'_>) -> Learned {
    let steps =
        vec![send(1), receive(0, 1, LEASE), extend(LEASE * 5), advance(LEASE * 3), receive(1, 1, LEASE)];
    let seen = lab.run(steps)?.took_all()?;
    if seen.last_answer()? == Outcome::Stale {
        return Ok(("was refused".into(), Difference::Over));
    }
    let kept = !seen.last_brought();
    Ok((if kept { "lasts longer" } else { "ends as if it had not been" }.into(), same(kept)))
}

fn with_session(leases: Leases) -> &'static str {
    if leases.end_with_session { "end at once" } else { "run on" }
}

fn session_lost(lab: &Lab<'_>) -> Learned {
    lab.comes_back(lab.contract.counting.session_loss)?;
    let steps = vec![send(1), receive(0, 1, LONG), Step::LoseSession { session: 0 }, receive(1, 1, LEASE)];
    let ended = lab.run(steps)?.took_all()?.last_brought();
    let learned = Leases { end_with_session: ended, ..lab.contract.leases };
    Ok((with_session(learned).into(), same(learned == lab.contract.leases)))
}

fn with_crash(leases: Leases) -> &'static str {
    if leases.end_with_crash { "are over" } else { "run on" }
}

fn after_crash(lab: &Lab<'_>) -> Learned {
    let kind = lab.survivable()?;
    lab.comes_back(lab.contract.counting.crash)?;
    let steps = vec![send(1), receive(0, 1, LONG), Step::Crash { kind }, receive(1, 1, LEASE)];
    let ended = lab.run(steps)?.took_all()?.last_brought();
    let learned = Leases { end_with_crash: ended, ..lab.contract.leases };
    Ok((with_crash(learned).into(), same(learned == lab.contract.leases)))
}

fn stale(refused: bool) -> &'static str {
    if refused { "is refused as stale" } else { "may be answered \"done\"" }
}

/// What the broker answered to the last use of a receipt, which was stale by then.
fn answer(lab: &Lab<'_>, steps: Vec<Step>) -> Learned {
    let refused = lab.run(steps)?.took_all()?.last_answer()? == Outcome::Stale;
    let words = if refused { "is refused as stale" } else { "is answered \"done\"" };
    let difference = match (lab.contract.stale_refused, refused) {
        (true, false) => Difference::Over,
        (false, true) => Difference::Under,
        _ => Difference::Same,
    };
    Ok((words.into(), difference))
}

fn ack_too_late(lab: &Lab<'_>) -> Learned {
    answer(lab, vec![send(1), receive(0, 1, LEASE), advance(AFTER), settle_any(0, How::Ack)])
}

fn ack_of_another(lab: &Lab<'_>) -> Learned {
    lab.comes_back(lab.contract.counting.expiry)?;
    let again = [send(1), receive(0, 1, LEASE), advance(AFTER), receive(1, 1, LONG)];
    let seen = lab.run(again.to_vec())?.took_all()?;
    if !seen.last_brought() {
        return Err("it was not delivered again".into());
    }
    answer(lab, again.into_iter().chain([settle_any(1, How::Ack)]).collect())
}

fn second_ack(lab: &Lab<'_>) -> Learned {
    answer(lab, vec![send(1), receive(0, 1, LONG), settle(0, How::Ack), settle_any(0, How::Ack)])
}

fn ack_after_nack(lab: &Lab<'_>) -> Learned {
    answer(lab, vec![send(1), receive(0, 1, LONG), settle(0, NACK), settle_any(0, How::Ack)])
}

fn extend_too_late(lab: &Lab<'_>) -> Learned {
    answer(lab, vec![send(1), receive(0, 1, LEASE), advance(AFTER), extend(LONG)])
}
