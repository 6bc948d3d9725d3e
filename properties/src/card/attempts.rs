//! How attempts are counted, and what becomes of a message that is out of them.

use std::time::Duration;

use stanchion_queues::{Attempt, Contract, Count, DeadLettering, Death, Durability};

use super::lab::{
    AFTER, ALLOWED, CAPACITY, LEASE, LONG, Lab, NACK, Seen, advance, receive, redrive, same, send, settle,
};
use super::{Difference, Learned, Probe};
use crate::plan::{How, Step};

pub(super) const PROBES: &[Probe] = &[
    Probe("deliveries, each nacked", |c| limit(c, c.counting.nack), nacked),
    Probe("deliveries, each lease running out", |c| limit(c, c.counting.expiry), expired),
    Probe("deliveries, each session lost", |c| limit(c, c.counting.session_loss), lost),
    Probe("deliveries, each ended by a crash", |c| limit(c, c.counting.crash), crashed),
    Probe("the attempt of a delivery says", attempt, reads_attempt),
    Probe("a message out of attempts", |c| dead(c, "after its deliveries"), out_of_attempts),
    Probe("a rejected message", |c| dead(c, "at once"), rejected),
    Probe("deliveries above a limit that was lowered", above, above_the_limit),
    Probe("a message out of attempts leaves", |c| leaves(c.death).into(), when_it_leaves),
    Probe("after a redrive, attempts", |c| starts(c.redrive_resets).into(), after_redrive),
];

/// More deliveries than this prove that nothing counts them.
const MANY: u32 = 12;
/// Limits above this are not tried.
const MOST: u32 = 32;

/// How many deliveries to try: more than it allows.
fn most(lab: &Lab<'_>) -> Result<u32, String> {
    match lab.allowed() {
        None => Ok(MANY),
        Some(allowed) if allowed <= MOST => Ok(MANY.max(allowed * 2)),
        Some(allowed) => Err(format!("{allowed} deliveries are too many to try")),
    }
}

fn limit(contract: &Contract, count: Count) -> String {
    match (contract.deliveries_allowed, count) {
        (None, _) => "any number".into(),
        (Some(allowed), Count::Yes) => allowed.to_string(),
        (Some(_), Count::No) => "any number".into(),
        (Some(allowed), Count::Maybe) => format!("{allowed} or more"),
    }
}

/// Sends one message and lets each of its deliveries end in the same way.
fn ending(lab: &Lab<'_>, lease: Duration, end: &[Step]) -> Result<Seen, String> {
    let mut steps = vec![send(1)];
    for _ in 0..most(lab)? {
        steps.push(receive(0, 1, lease));
        steps.extend_from_slice(end);
    }
    steps.push(Step::Browse { session: 0 });
    lab.run(steps)?.took_all()
}

/// Compares the number of deliveries with the limit.
fn threshold(lab: &Lab<'_>, count: Count, seen: &Seen) -> Learned {
    let deliveries = u32::try_from(seen.attempts().len()).unwrap_or(u32::MAX);
    let endless = deliveries == most(lab)?;
    let learned = if endless { format!("{deliveries}, and no end") } else { deliveries.to_string() };
    let difference = match (lab.allowed(), count) {
        (None, _) | (Some(_), Count::No) => same(endless),
        (Some(allowed), Count::Yes) => same(deliveries == allowed),
        (Some(allowed), Count::Maybe) if deliveries < allowed => Difference::Over,
        (Some(_), Count::Maybe) => Difference::Open,
    };
    Ok((learned, difference))
}

fn nacked(lab: &Lab<'_>) -> Learned {
    let seen = ending(lab, LONG, &[settle(0, NACK)])?;
    threshold(lab, lab.contract.counting.nack, &seen)
}

fn expired(lab: &Lab<'_>) -> Learned {
    let seen = ending(lab, LEASE, &[advance(AFTER)])?;
    threshold(lab, lab.contract.counting.expiry, &seen)
}

fn lost(lab: &Lab<'_>) -> Learned {
    if !lab.contract.leases.end_with_session {
        return Err("leases outlive their session".into());
    }
    let seen = ending(lab, LONG, &[Step::LoseSession { session: 0 }])?;
    threshold(lab, lab.contract.counting.session_loss, &seen)
}

fn crashed(lab: &Lab<'_>) -> Learned {
    let kind = lab.survivable()?;
    if !lab.contract.leases.end_with_crash {
        return Err("leases outlive a crash".into());
    }
    let seen = ending(lab, LONG, &[Step::Crash { kind }])?;
    // A count that a crash takes away may be any number afterwards.
    let kept = lab.contract.counts >= Durability::Process;
    threshold(lab, if kept { lab.contract.counting.crash } else { Count::Maybe }, &seen)
}

fn attempt(contract: &Contract) -> String {
    match contract.attempt {
        Attempt::Counted => "one more than were counted".into(),
        Attempt::Ordinal => "its ordinal".into(),
    }
}

/// By an end that does not count: only there do the two differ.
fn reads_attempt(lab: &Lab<'_>) -> Learned {
    let counting = lab.contract.counting;
    let free = |count| count == Count::No;
    let end = if free(counting.nack) {
        vec![settle(0, NACK)]
    } else if free(counting.expiry) {
        vec![advance(AFTER)]
    } else if free(counting.session_loss) && lab.contract.leases.end_with_session {
        vec![Step::LoseSession { session: 0 }]
    } else {
        let seen = ending(lab, LEASE, &[settle(0, NACK)])?;
        let rising = (1..).zip(seen.attempts()).all(|(ordinal, attempt)| ordinal == attempt);
        let learned = if rising { "1, 2, …: every delivery counts" } else { "not 1, 2, …" };
        let open = counting.nack == Count::Maybe && lab.contract.attempt == Attempt::Counted;
        return Ok((learned.into(), if open && !rising { Difference::Open } else { same(rising) }));
    };
    let attempts = ending(lab, LEASE, &end)?.attempts();
    let learned = match attempts[..] {
        [1, 1, ..] => Attempt::Counted,
        [1, 2, ..] => Attempt::Ordinal,
        _ => return Err(format!("its attempts were {attempts:?}")),
    };
    let words = attempt(&Contract { attempt: learned, ..lab.contract.clone() });
    Ok((words, same(learned == lab.contract.attempt)))
}

fn dead(contract: &Contract, when: &str) -> String {
    match (contract.dead_lettering, contract.deliveries_allowed) {
        (_, None) if when != "at once" => "there is none".into(),
        (DeadLettering::Atomic, _) => "becomes a dead letter".into(),
        (DeadLettering::Dropped, _) => "is dropped".into(),
    }
}

fn fate(lab: &Lab<'_>, seen: &Seen) -> Learned {
    let (learned, words) = match seen.letters()? {
        [] => (DeadLettering::Dropped, "is dropped".to_owned()),
        [letter] => {
            (DeadLettering::Atomic, format!("becomes a dead letter, {} attempts counted", letter.attempts))
        }
        more => return Err(format!("one message became {} dead letters", more.len())),
    };
    let difference = match (lab.contract.dead_lettering, learned) {
        (DeadLettering::Atomic, DeadLettering::Dropped) => Difference::Over,
        (DeadLettering::Dropped, DeadLettering::Atomic) => Difference::Under,
        _ => Difference::Same,
    };
    Ok((words, difference))
}

/// An end of an attempt that counts.
fn counted(lab: &Lab<'_>) -> Result<Step, String> {
    let counting = lab.contract.counting;
    match (counting.nack, counting.expiry) {
        (Count::Yes, _) => Ok(settle(0, NACK)),
        (_, Count::Yes) => Ok(advance(AFTER)),
        _ => Err("neither nacks nor expired leases count for certain".into()),
    }
}

fn above(contract: &Contract) -> String {
    match contract.deliveries_allowed {
        Some(_) => "one more at most".into(),
        None => "there is no limit".into(),
    }
}

/// Two deliveries of three fail, then it is started again with a limit of one: see [`Invariant::Dl13`].
///
/// [`Invariant::Dl13`]: crate::invariant::Invariant::Dl13
fn above_the_limit(lab: &Lab<'_>) -> Learned {
    let kind = lab.survivable()?;
    if lab.allowed().is_none_or(|allowed| allowed < ALLOWED) || lab.contract.counts < Durability::Process {
        return Err("the limit or the counts do not stand".into());
    }
    let fails = [receive(0, 1, LEASE), counted(lab)?];
    let mut steps = vec![send(1)];
    steps.extend([fails.clone(), fails.clone()].concat());
    steps.push(Step::Crash { kind });
    steps.extend(vec![fails; 4].concat());
    steps.push(Step::Browse { session: 0 });
    let seen = lab.run_limited(steps)?.took_all()?;
    let dies = lab.contract.dead_lettering == DeadLettering::Dropped || !seen.letters()?.is_empty();
    match seen.after_limit() {
        None => Err("its limit cannot be changed here".into()),
        Some(more) if !dies => Ok((format!("{more} more, and it does not die"), Difference::Over)),
        Some(0) => Ok(("none: it dies at once".into(), Difference::Same)),
        Some(1) => Ok(("one more".into(), Difference::Same)),
        Some(more) => Ok((format!("{more} more"), Difference::Over)),
    }
}

/// Such ends, as often as the limit says, so that the message dies.
fn to_death(lab: &Lab<'_>) -> Result<Vec<Step>, String> {
    let allowed = lab.allowed().ok_or("it allows any number of deliveries")?;
    most(lab)?;
    let end = counted(lab)?;
    let mut steps = vec![send(1)];
    steps.extend((0..allowed).flat_map(|_| [receive(0, 1, LEASE), end.clone()]));
    Ok(steps)
}

fn out_of_attempts(lab: &Lab<'_>) -> Learned {
    let mut steps = to_death(lab)?;
    // Some take it off the main path when a receive comes upon it.
    steps.extend([receive(1, CAPACITY, LEASE), Step::Browse { session: 0 }]);
    fate(lab, &lab.run(steps)?.took_all()?)
}

fn rejected(lab: &Lab<'_>) -> Learned {
    let steps = vec![send(1), receive(0, 1, LEASE), settle(0, How::Reject), Step::Browse { session: 0 }];
    fate(lab, &lab.run(steps)?.took_all()?)
}

fn leaves(death: Death) -> &'static str {
    match death {
        Death::AtOnce => "when its last attempt ends",
        Death::NextReceive => "when a receive comes upon it",
    }
}

fn when_it_leaves(lab: &Lab<'_>) -> Learned {
    let mut steps = to_death(lab)?;
    steps.push(Step::Depth { session: 0 });
    let depth = lab.run(steps)?.took_all()?.depth()?;
    let gone = depth.ready + depth.delayed + depth.in_flight == 0;
    let learned = if gone { Death::AtOnce } else { Death::NextReceive };
    let difference = match (lab.contract.death, learned) {
        (Death::AtOnce, Death::NextReceive) => Difference::Over,
        (Death::NextReceive, Death::AtOnce) => Difference::Under,
        _ => Difference::Same,
    };
    Ok((leaves(learned).into(), difference))
}

fn starts(resets: bool) -> &'static str {
    if resets { "start again" } else { "go on" }
}

fn after_redrive(lab: &Lab<'_>) -> Learned {
    if lab.contract.dead_lettering == DeadLettering::Dropped {
        return Err("there are no dead letters".into());
    }
    let mut steps = to_death(lab)?;
    steps.extend([receive(1, CAPACITY, LEASE), redrive(CAPACITY)]);
    let before = steps.len();
    steps.push(receive(1, 1, LEASE));
    let all = lab.run(steps.clone())?.took_all()?.attempts();
    steps.truncate(before);
    let dead = lab.run(steps)?.took_all()?.attempts().len();
    match all[dead..] {
        [] if !lab.contract.redrive_resets => {
            Ok(("go on: it dies again undelivered".into(), Difference::Same))
        }
        [] => Ok(("it was not delivered again".into(), Difference::Over)),
        [attempt, ..] => {
            let resets = attempt == 1;
            Ok((format!("{}, at {attempt}", starts(resets)), same(resets == lab.contract.redrive_resets)))
        }
    }
}
