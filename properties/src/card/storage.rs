//! What survives a crash, what fits, and what becomes of a message that is sent twice.

use std::time::Duration;

use stanchion_queues::{Answer, Batches, Contract, Count, Crash, Durability, Retries};

use super::lab::{
    AFTER, CAPACITY, LEASE, LONG, Lab, NACK, Seen, advance, receive, same, send, send_delayed, settle,
};
use super::{Difference, Learned, Probe};
use crate::describe::survives;
use crate::plan::{Fate, How, Step};

pub(super) const PROBES: &[Probe] = &[
    Probe("a confirmed send survives", |c| survives(c.sends).into(), sends),
    Probe("an ack survives", |c| survives(c.acks).into(), acks),
    Probe("attempt counts survive", |c| survives(c.counts).into(), counts),
    Probe("a delay survives", |c| survives(c.delays).into(), delays),
    Probe("capacity, asked for 8", capacity, takes),
    Probe("a batch that does not fit", |c| batch(c.batches).into(), batches),
    Probe("a message that is sent again", |c| retry(c.retries).into(), retries),
    Probe("the same after its ack", |c| retry(c.retries).into(), retries_after_ack),
    Probe("the same after an hour", |c| retry(c.retries).into(), retries_after_an_hour),
    Probe("the same after a crash", |c| retry(c.retries).into(), retries_after_crash),
];

/// The strongest crash after which the history still shows that it survived.
fn durability(
    lab: &Lab<'_>,
    declared: Durability,
    steps: impl Fn(Crash) -> Vec<Step>,
    survived: impl Fn(&Seen) -> bool,
) -> Learned {
    let mut learned = Durability::None;
    for (crash, strength) in [(Crash::Process, Durability::Process), (Crash::Power, Durability::Power)] {
        let steps = steps(crash);
        // What one power failure leaves may be luck.
        if !lab.always(&steps, &survived)? {
            break;
        }
        learned = strength;
    }
    let difference = match learned.cmp(&declared) {
        std::cmp::Ordering::Less => Difference::Over,
        std::cmp::Ordering::Equal => Difference::Same,
        std::cmp::Ordering::Greater => Difference::Under,
    };
    Ok((survives(learned).into(), difference))
}

fn sends(lab: &Lab<'_>) -> Learned {
    let steps = |kind| vec![send(1), Step::Crash { kind }, receive(0, 1, LONG)];
    lab.run(vec![send(1)])?.took_all()?;
    durability(lab, lab.contract.sends, steps, Seen::last_brought)
}

/// Whether the claim about what a message carries can be seen: only if the message itself survives.
fn with_message(lab: &Lab<'_>, declared: Durability) -> Result<Durability, String> {
    lab.survivable()?;
    Ok(declared.min(lab.contract.sends))
}

fn acks(lab: &Lab<'_>) -> Learned {
    let declared = with_message(lab, lab.contract.acks)?;
    let steps = |kind| {
        // Where the ack is forgotten, the lease may be kept.
        let (ack, crash) = (settle(0, How::Ack), Step::Crash { kind });
        vec![send(1), receive(0, 1, LEASE), ack, crash, advance(AFTER), receive(0, 1, LONG)]
    };
    durability(lab, declared, steps, |seen| !seen.last_brought())
}

fn counts(lab: &Lab<'_>) -> Learned {
    let declared = with_message(lab, lab.contract.counts)?;
    if lab.contract.counting.nack != Count::Yes {
        return Err("a nack does not count for certain".into());
    }
    lab.comes_back(Count::Yes)?;
    let steps = |kind| {
        let crash = Step::Crash { kind };
        vec![send(1), receive(0, 1, LEASE), settle(0, NACK), crash, advance(AFTER), receive(0, 1, LONG)]
    };
    let (learned, difference) = durability(lab, declared, steps, |seen| seen.attempts() == [1, 2])?;
    // That a nack survives is not promised, only counts are: a lease in its place ends in a way that may not count.
    let counting = lab.contract.counting;
    let end = if lab.contract.leases.end_with_crash { counting.crash } else { counting.expiry };
    let excused = difference == Difference::Over && end != Count::Yes;
    Ok((learned, if excused { Difference::Open } else { difference }))
}

fn delays(lab: &Lab<'_>) -> Learned {
    let declared = with_message(lab, lab.contract.delays)?;
    let steps = |kind| vec![send_delayed(Duration::from_secs(60)), Step::Crash { kind }, receive(0, 1, LONG)];
    durability(lab, declared, steps, |seen| !seen.last_brought())
}

fn capacity(contract: &Contract) -> String {
    contract.capacity.map_or("unbounded".into(), |most| most.to_string())
}

fn takes(lab: &Lab<'_>) -> Learned {
    if lab.contract.full == Answer::Unreliable {
        return Err("it may say \"full\" without being so".into());
    }
    let asked = lab.contract.capacity.unwrap_or(0).max(CAPACITY as u64);
    let asked = usize::try_from(asked).ok().filter(|asked| *asked <= 4096).ok_or("it is too large to try")?;
    let (sent, took) = lab.run(vec![send(1); asked * 2])?.sends()?;
    let learned = if took == sent { format!("{took}, and room") } else { took.to_string() };
    Ok((
        learned,
        match lab.contract.capacity {
            None => same(took == sent),
            Some(most) => same(took as u64 == most),
        },
    ))
}

fn batch(batches: Batches) -> &'static str {
    match batches {
        Batches::Items => "is stored as far as it fits",
        Batches::Whole => "is refused as a whole",
    }
}

fn batches(lab: &Lab<'_>) -> Learned {
    if lab.contract.full == Answer::Unreliable {
        return Err("it may say \"full\" without being so".into());
    }
    let most = lab.contract.capacity.ok_or("it is unbounded")?;
    let most = usize::try_from(most).ok().filter(|most| *most <= 4096).ok_or("it is too large to try")?;
    let (_, took) = lab.run(vec![send(most + 1)])?.sends()?;
    let learned = match took {
        0 => Batches::Whole,
        some if some == most => Batches::Items,
        some => return Ok((format!("{some} of {} were stored", most + 1), Difference::Over)),
    };
    Ok((batch(learned).into(), same(learned == lab.contract.batches)))
}

fn retry(retries: Retries) -> &'static str {
    match retries {
        Retries::Stored => "may be stored again",
        Retries::Deduplicated => "is stored once",
    }
}

fn retries(lab: &Lab<'_>) -> Learned {
    sent_again(lab, Vec::new(), 1)
}

fn retries_after_ack(lab: &Lab<'_>) -> Learned {
    sent_again(lab, vec![receive(0, 1, LONG), settle(0, How::Ack)], 0)
}

fn retries_after_an_hour(lab: &Lab<'_>) -> Learned {
    sent_again(lab, vec![advance(Duration::from_secs(3600))], 1)
}

fn retries_after_crash(lab: &Lab<'_>) -> Learned {
    let kind = lab.survivable()?;
    sent_again(lab, vec![Step::Crash { kind }], 1)
}

/// A message whose first send was in doubt is sent again after these steps; `once` copies of it come then if it was stored
/// once.
fn sent_again(lab: &Lab<'_>, meanwhile: Vec<Step>, once: usize) -> Learned {
    let first = Step::Send { session: 0, count: 1, delay_ms: 0, keyed: false, fate: Fate::ReplyLost };
    let again = Step::Retry { session: 0, which: 0, fate: Fate::Arrives };
    let steps = std::iter::once(first).chain(meanwhile).chain([again]).chain(vec![receive(1, 1, LONG); 3]);
    let came = lab.run_in_doubt(steps.collect())?.took_the_last()?.last_receives(3).len();
    let (words, learned) = match came.checked_sub(once) {
        Some(0) => ("is stored once", Retries::Deduplicated),
        Some(1) => ("is stored again", Retries::Stored),
        _ => return Err(format!("{came} copies came")),
    };
    let difference = match (lab.contract.retries, learned) {
        (Retries::Deduplicated, Retries::Stored) => Difference::Over,
        (Retries::Stored, Retries::Deduplicated) => Difference::Under,
        _ => Difference::Same,
    };
    Ok((words.into(), difference))
}
