//! When a message dies, what is kept of it, and how it comes back.

use std::collections::HashSet;

use stanchion_queues::{Attempt, DeadLettering, Reason, Settle, Time};

use super::accounting::Census;
use super::at_least_once::{final_ack, is_confirmed, licensed};
use super::attempts::{Count, surely_dead, unseen_between};
use super::index::{Index, Redrive, Shown, Window, falls_between};
use super::lease::Causes;
use super::tables::NONE;
use super::tally::Tally;
use super::timeline::{Cause, Observers, State, spans, spans_of};
use super::vanished::vanished_dying;
use crate::history::{Outcome, What};
use crate::invariant::Invariant;
use crate::verdict::Verdict;

/// The deliveries of a copy that were called before a tick.
fn delivered_before<'i>(index: &'i Index<'_>, copy: u32, tick: u64) -> &'i [u32] {
    let deliveries = index.by_copy.get(copy as usize);
    let before =
        deliveries.partition_point(|&delivery| index.deliveries[delivery as usize].window.call <= tick);
    &deliveries[..before]
}

/// The most attempts of a copy that may have been counted before the end of a call.
fn counted_by(index: &Index, copy: u32, call: &Window) -> u32 {
    let deliveries = delivered_before(index, copy, call.ret);
    if deliveries.is_empty() {
        let token = index.copies[copy as usize].token;
        let sent = index.stored_by(token).map(|send| index.events[send as usize].call).min();
        return unseen_between(index, sent.unwrap_or(0), call.ret);
    }
    let mut most = 0;
    for &delivery in deliveries.iter().rev() {
        let window = index.deliveries[delivery as usize].window;
        let held = &index.leases[delivery as usize].held;
        let held = call.ret < held.tick && call.until < held.time;
        let count = &index.counts[delivery as usize];
        let counted = if held { count.hi } else { count.after.1 };
        most = most.max(counted.saturating_add(unseen_between(index, window.call, call.ret)));
        // What overlaps the call may have come after it, and a crash may bring back what was so before a redrive.
        if window.ret < call.call && !falls_between(&index.falls.any, window.call, call.ret) {
            break;
        }
    }
    most
}

/// Whether attempts may stand above the limit: after a redrive that does not start the count again, or a crash
/// that may have undone a reject.
fn beyond_is_possible(index: &Index) -> bool {
    !index.contract.redrive_resets && !index.redrive_ticks.is_empty() || !index.falls.any.is_empty()
}

/// A dead letter that a browse did not show though it showed all.
struct Absent {
    delivery: u32,
    browse: u32,
}

/// Dead letters that are missing from a browse that showed all, one for each death.
fn absent(index: &Index) -> Vec<Absent> {
    let mut absent = Vec::new();
    if index.contract.dead_lettering == DeadLettering::Dropped {
        return absent;
    }
    let whole: Vec<u32> = index.browses.iter().copied().filter(|&browse| index.shows_all(browse)).collect();
    if whole.is_empty() {
        return absent;
    }
    let mut letters: Vec<Vec<u32>> = vec![Vec::new(); whole.len()];
    let mut place = 0;
    for shown in &index.shown {
        while place < whole.len() && whole[place] < shown.event {
            place += 1;
        }
        if whole.get(place) == Some(&shown.event) {
            letters[place].push(shown.copy);
        }
    }
    letters.iter_mut().for_each(|letters| letters.sort_unstable());
    let observers = Observers::of(index, whole);
    spans(index, |span| {
        if span.certain && span.state == State::Dead {
            let mut browses = observers.covered(span.from, span.to);
            if let Some(place) = browses.find(|&place| letters[place].binary_search(&span.copy).is_err()) {
                absent.push(Absent { delivery: span.after, browse: observers.events[place] });
            }
        }
    });
    absent
}

fn blame_absent(index: &Index, tally: &mut Tally, absent: &Absent) {
    let delivery = &index.deliveries[absent.delivery as usize];
    let settled = index.leases[absent.delivery as usize].settled;
    let culprits = [delivery.event, if settled == NONE { delivery.event } else { settled }, absent.browse];
    tally.blame(&culprits, || {
        let rejected = settled != NONE && index.leases[absent.delivery as usize].causes == Causes::REJECT;
        format!(
            "{} {}, and event {} showed every dead letter without it",
            index.name(delivery.copy),
            if rejected {
                format!("was rejected at event {settled}")
            } else {
                format!("was out of attempts after its delivery at event {}", delivery.event)
            },
            absent.browse
        )
    });
}

/// Tells of each delivery that comes though its message was out of attempts for certain.
fn beyond(index: &Index, allowed: u32, tally: &mut Tally) {
    for (delivery, count) in index.deliveries.iter().zip(&index.counts) {
        if count.sure >= allowed {
            tally.blame(&[delivery.event], || {
                format!(
                    "{} had failed {} times, {allowed} deliveries are allowed, and event {} delivers it again",
                    index.name(delivery.copy),
                    count.sure,
                    delivery.event
                )
            });
        }
    }
}

/// The letters of messages that died of their attempts.
fn out_of_attempts<'i>(index: &'i Index<'_>) -> impl Iterator<Item = (&'i Shown, u32)> + 'i {
    index.shown.iter().filter_map(|shown| {
        let letter = index.letter(shown);
        (letter.reason == Reason::Attempts).then_some((shown, letter.attempts))
    })
}

/// Tells of each message that died of fewer attempts than the limit.
fn too_early(index: &Index, allowed: u32, tally: &mut Tally) {
    for (shown, _) in out_of_attempts(index) {
        let most = counted_by(index, shown.copy, &index.window(shown.event));
        if most < allowed {
            tally.blame(&[index.copies[shown.copy as usize].first_seen, shown.event], || {
                format!(
                    "{} failed at most {most} times, {allowed} deliveries are allowed, and event {} shows it \
                     dead of its attempts",
                    index.name(shown.copy),
                    shown.event
                )
            });
        }
    }
}

/// A message dies of its attempts at exactly the declared number of them.
pub(crate) fn threshold_exact(index: &Index) -> Verdict {
    let (Some(least), Some(most)) = (index.least_allowed(), index.most_allowed()) else {
        return Verdict::NotClaimed;
    };
    let mut tally = Tally::of(Invariant::Dl1);
    tally.tested(at_the_limit(index, least));
    beyond(index, most, &mut tally);
    too_early(index, least, &mut tally);
    for (shown, attempts) in out_of_attempts(index) {
        if attempts < least || attempts > most && !beyond_is_possible(index) {
            let allowed = if attempts < least { least } else { most };
            tally.blame(&[shown.event], || {
                format!(
                    "event {} shows {} dead after {attempts} attempts and {allowed} are allowed",
                    shown.event,
                    index.name(shown.copy)
                )
            });
        }
    }
    for absent in absent(index) {
        if index.leases[absent.delivery as usize].causes != Causes::REJECT {
            blame_absent(index, &mut tally, &absent);
        }
    }
    tally.verdict()
}

/// How many deliveries were the last that is allowed.
fn at_the_limit(index: &Index, allowed: u32) -> u64 {
    let failed = index.counts.iter().zip(&index.leases);
    failed.filter(|(count, lease)| count.after.1 >= allowed && lease.causes.any(Causes::FAILURES)).count()
        as u64
}

/// A message does not die of its attempts before the declared number of them.
pub(crate) fn not_before_threshold(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Dl2);
    let Some(allowed) = index.least_allowed() else {
        for (shown, _) in out_of_attempts(index) {
            tally.blame(&[shown.event], || {
                let name = index.name(shown.copy);
                format!("event {} shows {name} dead of its attempts, which are not limited", shown.event)
            });
        }
        // Each attempt that fails is a chance to die, which none may.
        tally.tested(index.leases.iter().filter(|lease| lease.causes.any(Causes::FAILURES)).count() as u64);
        return unless_dropped(index, tally.verdict());
    };
    tally.tested(out_of_attempts(index).count() as u64);
    too_early(index, allowed, &mut tally);
    unless_dropped(index, tally.verdict())
}

/// Where the dead are dropped no letter says of what and when: a death that comes early is a loss, AL-2. A letter that is
/// shown all the same is judged like any other.
fn unless_dropped(index: &Index, verdict: Verdict) -> Verdict {
    let dropped = index.contract.dead_lettering == DeadLettering::Dropped;
    if dropped && verdict == Verdict::Vacuous { Verdict::NotClaimed } else { verdict }
}

/// A message is not delivered more often than its limit allows.
pub(crate) fn not_beyond_threshold(index: &Index) -> Verdict {
    let Some(allowed) = index.most_allowed() else { return Verdict::NotClaimed };
    let mut tally = Tally::of(Invariant::Dl3);
    tally.tested(at_the_limit(index, allowed));
    beyond(index, allowed, &mut tally);
    tally.verdict()
}

/// A dying message is in the main queue or among the dead letters, never in both or neither.
pub(crate) fn move_conservation(index: &Index) -> Verdict {
    if index.contract.dead_lettering == DeadLettering::Dropped {
        return Verdict::NotClaimed;
    }
    let mut tally = Tally::of(Invariant::Dl4);
    tally.tested(index.shown.len() as u64);
    for absent in absent(index) {
        blame_absent(index, &mut tally, &absent);
    }
    let mut seen = HashSet::new();
    for letters in index.shown.chunk_by(|a, b| a.event == b.event) {
        seen.clear();
        for shown in letters {
            if !seen.insert(shown.copy) {
                tally.blame(&[shown.event], || {
                    format!(
                        "event {} shows {} among the dead letters twice",
                        shown.event,
                        index.name(shown.copy)
                    )
                });
            }
        }
    }
    for shown in &index.shown {
        if let Some((state, culprit)) = alive(index, shown) {
            tally.blame(&[culprit, shown.event], || {
                format!(
                    "event {} shows {} among the dead letters and it was {state} all the while",
                    shown.event,
                    index.name(shown.copy)
                )
            });
        }
    }
    let (dying, browse) = vanished_dying(index);
    for (copy, delivery) in dying {
        let event = index.deliveries[delivery as usize].event;
        tally.blame(&[event, browse], || {
            format!(
                "{} may have died after its delivery at event {event}, and in the end it was neither delivered again \
                 nor, at event {browse}, among the dead letters",
                index.name(copy)
            )
        });
    }
    for (shown, delivery) in returned_unbidden(index) {
        let delivery = &index.deliveries[delivery as usize];
        tally.blame(&[shown.event, delivery.event], || {
            format!(
                "{} was among the dead letters at event {} and was delivered at event {} without a redrive",
                index.name(delivery.copy),
                shown.event,
                delivery.event
            )
        });
    }
    tally.verdict()
}

/// If a message that is shown dead was certainly something else meanwhile: what, and since which event.
fn alive(index: &Index, shown: &Shown) -> Option<(&'static str, u32)> {
    let window = index.window(shown.event);
    if let Some(&delivery) = delivered_before(index, shown.copy, window.ret).last()
        && let Some(ack) = final_ack(index, delivery)
    {
        let acked = index.window(ack);
        if acked.ret < window.call && !falls_between(&index.falls.acks, acked.call, window.ret) {
            return Some(("acked", ack));
        }
    }
    // What receives in doubt hide may have died meanwhile; they are bounded by the spans' own cut.
    let observer = Observers::of(index, vec![shown.event]);
    let mut found = None;
    spans_of(index, shown.copy, &mut |span| {
        if span.certain && span.state != State::Dead && !observer.covered(span.from, span.to).is_empty() {
            let state = match span.state {
                State::Ready => "ready",
                State::InFlight => "in flight",
                State::Delayed => "delayed",
                State::Dead => "dead",
            };
            let since = if span.after == NONE {
                index.copies[span.copy as usize].first_seen
            } else {
                index.deliveries[span.after as usize].event
            };
            found = Some((state, since));
        }
    });
    found
}

/// Deliveries of messages that were shown dead before, though no redrive can have brought them back.
fn returned_unbidden<'i>(index: &'i Index<'_>) -> impl Iterator<Item = (&'i Shown, u32)> + 'i {
    shown_before(index).filter(|&(shown, delivery)| {
        let (seen, back) = (index.window(shown.event).call, index.deliveries[delivery as usize].window.ret);
        !index.redrive_between(seen, back) && !falls_between(&index.falls.any, seen, back)
    })
}

/// Deliveries of messages that were shown dead before, with the last showing.
fn shown_before<'i>(index: &'i Index<'_>) -> impl Iterator<Item = (&'i Shown, u32)> + 'i {
    (0..index.copies.len()).filter(|&copy| !index.shown_of.get(copy).is_empty()).flat_map(|copy| {
        let shown = index.shown_of.get(copy);
        index.by_copy.get(copy).iter().filter_map(|&delivery| {
            let window = index.deliveries[delivery as usize].window;
            let before = shown.partition_point(|&shown| {
                index.events[index.shown[shown as usize].event as usize].call < window.call
            });
            let last = shown[..before].iter().rev().map(|&shown| &index.shown[shown as usize]);
            let last = last.take(2).find(|shown| index.window(shown.event).ret < window.call)?;
            Some((last, delivery))
        })
    })
}

/// What a delivery reports as its attempt, if it cannot be true.
fn wrong_attempts<'i>(index: &'i Index<'_>) -> impl Iterator<Item = (u32, Option<u32>, &'i Count)> + 'i {
    (0..index.copies.len()).flat_map(|copy| {
        let deliveries = index.by_copy.get(copy);
        deliveries.iter().enumerate().filter_map(|(position, &delivery)| {
            let count = index.reportable(delivery);
            let attempt = index.deliveries[delivery as usize].attempt;
            let right = attempt > 0 && (count.lo..=count.hi).contains(&(attempt - 1));
            let before = position.checked_sub(1).map(|before| deliveries[before]);
            (!right && !count.unordered).then_some((delivery, before, count))
        })
    })
}

fn blame_attempt(index: &Index, tally: &mut Tally, delivery: u32, before: Option<u32>, count: &Count) {
    let me = &index.deliveries[delivery as usize];
    let first = before.map_or(me.event, |before| index.deliveries[before as usize].event);
    tally.blame(&[first, me.event], || {
        let expected = if count.lo == count.hi {
            format!("{}", count.lo + 1)
        } else {
            format!("{} to {}", count.lo + 1, count.hi + 1)
        };
        format!(
            "{} was delivered at event {} as attempt {} and should be attempt {expected}",
            index.name(me.copy),
            me.event,
            me.attempt
        )
    });
}

/// The attempt number starts at 1, rises by one with each counted attempt and never falls.
pub(crate) fn attempt_monotone(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Dl5);
    tally.tested(index.deliveries.len() as u64);
    for (delivery, before, count) in wrong_attempts(index) {
        blame_attempt(index, &mut tally, delivery, before, count);
    }
    tally.verdict()
}

/// Exactly the declared ways of ending an attempt count.
pub(crate) fn count_triggers(index: &Index) -> Verdict {
    if index.contract.attempt == Attempt::Ordinal {
        // The number of a delivery does not tell what was counted; deaths do, and they are DL-1's.
        return Verdict::NotClaimed;
    }
    let mut tally = Tally::of(Invariant::Dl6);
    tally.tested(index.pairs().count() as u64);
    for (delivery, before, count) in wrong_attempts(index) {
        let attempt = index.deliveries[delivery as usize].attempt;
        // A number that falls was lost, not miscounted.
        if before.is_none_or(|before| attempt >= index.deliveries[before as usize].attempt) {
            blame_attempt(index, &mut tally, delivery, before, count);
        }
    }
    tally.verdict()
}

/// A dead letter keeps its id, key and body, and says why it died and after how many attempts.
pub(crate) fn dead_letter_fidelity(index: &Index) -> Verdict {
    if index.contract.dead_lettering == DeadLettering::Dropped {
        return Verdict::NotClaimed;
    }
    let mut tally = Tally::of(Invariant::Dl7);
    tally.tested(index.shown.len() as u64);
    for &(event, position) in &index.bodiless_letters {
        tally.blame(&[event], || {
            format!("letter {position} of event {event} has a body that is not that of any message")
        });
    }
    for shown in &index.shown {
        if let Some(wrong) = infidelity(index, shown) {
            tally.blame(&[index.copies[shown.copy as usize].first_seen, shown.event], || {
                format!("event {} shows {} dead {wrong}", shown.event, index.name(shown.copy))
            });
        }
    }
    for letters in index.shown.chunk_by(|a, b| a.event == b.event) {
        blame_disorder(index, letters, &mut tally);
    }
    tally.verdict()
}

/// Tells of each letter of one browse that stands behind one that died after it.
fn blame_disorder(index: &Index, letters: &[Shown], tally: &mut Tally) {
    let browse = index.window(letters[0].event);
    // The latest death among the letters before, by its tick and by its time, and whose.
    let (mut tick, mut time) = ((0, NONE), (Time::ZERO, NONE));
    for shown in letters {
        let Some(&delivery) = delivered_before(index, shown.copy, browse.ret).last() else { continue };
        let window = index.deliveries[delivery as usize].window;
        let lease = &index.leases[delivery as usize];
        let unclear = window.ret >= browse.call
            || lease.causes.is_empty()
            || falls_between(&index.falls.any, window.call, browse.ret);
        if unclear {
            continue;
        }
        let told = index.deaths().told(index, delivery);
        if let Some(told) = told.filter(|_| !index.redrive_between(window.call, browse.ret)) {
            let later = if tick.0 > told.ret { tick.1 } else { time.1 };
            if tick.0 > told.ret || time.0 > told.until {
                tally.blame(&[later, shown.event], || {
                    format!(
                        "event {} shows {} behind what died after it (see event {later})",
                        shown.event,
                        index.name(shown.copy)
                    )
                });
            }
        }
        let event = index.deliveries[delivery as usize].event;
        tick = tick.max((lease.from.tick, event));
        time = time.max((lease.from.time, event));
    }
}

fn infidelity(index: &Index, shown: &Shown) -> Option<String> {
    let letter = index.letter(shown);
    let window = index.window(shown.event);
    let copy = &index.copies[shown.copy as usize];
    let sends = index.sends.get(copy.token as usize);
    if sends.first().is_none_or(|&send| index.events[send as usize].call > window.ret) {
        return Some(String::from("and nobody had sent it"));
    }
    let same = |&send: &u32| match &index.events[send as usize].what {
        What::Send { key, body, .. } => *key == letter.key && *body == letter.body,
        _ => false,
    };
    if !sends.iter().any(same) {
        return Some(String::from("with another key or body than it was sent with"));
    }
    if copy.confirmed == NONE && copy.first_seen == shown.event {
        // Only a send in doubt can have made a copy that nobody was told of.
        let told = sends.iter().all(|&send| is_confirmed(index, send) || index.refused(send));
        if told {
            return Some(format!("under id {}, which was never given to it", letter.id.0));
        }
    }
    if letter.reason == Reason::Attempts {
        let (least, most) = (index.least_allowed()?, index.most_allowed()?);
        let wrong = letter.attempts < least || letter.attempts > most && !beyond_is_possible(index);
        let allowed = if letter.attempts < least { least } else { most };
        return wrong.then(|| format!("of {} attempts and {allowed} are allowed", letter.attempts));
    }
    let mut rejected = delivered_before(index, shown.copy, window.ret)
        .iter()
        .filter(|&&delivery| may_be_rejected(index, delivery, window.ret))
        .peekable();
    if rejected.peek().is_none() {
        return Some(String::from("as rejected and nobody had rejected it"));
    }
    let forgotten = falls_between(&index.falls.counts, 0, window.ret);
    // Whether the rejected attempt itself counts is not promised.
    let fits = |&delivery: &u32| {
        let count = &index.counts[delivery as usize];
        let reported = index.deliveries[delivery as usize].attempt;
        let (lo, hi) = match index.contract.attempt {
            Attempt::Counted => (reported.saturating_sub(1), reported),
            Attempt::Ordinal if count.unordered => return true,
            Attempt::Ordinal => (count.lo, count.hi + 1),
        };
        (lo..=hi).contains(&letter.attempts)
    };
    (!forgotten && !rejected.any(fits)).then(|| {
        format!("as rejected after {} attempts, which is not the attempt that was rejected", letter.attempts)
    })
}

/// Whether a delivery may have been rejected before a tick.
fn may_be_rejected(index: &Index, delivery: u32, tick: u64) -> bool {
    index.operations.get(delivery as usize).iter().any(|&event| {
        let event = &index.events[event as usize];
        event.call <= tick
            && matches!(event.what, What::Settle { how: Settle::Reject, outcome, .. } if outcome != Outcome::Stale)
    })
}

/// Redrive moves exactly the chosen dead letters back, each once.
pub(crate) fn redrive_conservation(index: &Index) -> Verdict {
    if index.contract.dead_lettering == DeadLettering::Dropped {
        return Verdict::NotClaimed;
    }
    let mut tally = Tally::of(Invariant::Dl8);
    tally
        .tested(index.redrives.iter().filter(|redrive| redrive.moved.is_some_and(|moved| moved > 0)).count()
            as u64);
    if index.redrives.is_empty() {
        return tally.verdict();
    }
    let met = &index.deaths().met;
    // A queue that is full may have no room for what a redrive would move.
    let room = rooms(index);
    for ((redrive, &(least, most)), room) in index.redrives.iter().zip(met).zip(room) {
        let Some(moved) = redrive.moved else { continue };
        let event = redrive.event;
        if moved > redrive.max {
            tally.blame(&[event], || {
                format!("event {event} was to redrive at most {} dead letters and moved {moved}", redrive.max)
            });
        }
        if let Some(most) = most.filter(|&most| moved > most) {
            tally.blame(&[event], || {
                format!("event {event} redrove {moved} dead letters and there were at most {most}")
            });
        }
        let due = least.min(redrive.max).min(room);
        if moved < due {
            tally.blame(&[event], || {
                format!("event {event} redrove {moved} dead letters of at most {} and there were at least {least}", redrive.max)
            });
        }
    }
    if let Some(missed) = index.false_empties().by(Cause::Redrive) {
        tally.blame(&[index.deliveries[missed.span.after as usize].event, missed.event], || {
            format!(
                "{} was dead, every dead letter was redriven, and event {} was empty",
                index.name(missed.span.copy),
                missed.event
            )
        });
    }
    for shown in &index.shown {
        let observer = Observers::of(index, vec![shown.event]);
        spans_of(index, shown.copy, &mut |span| {
            if span.certain
                && span.cause == Cause::Redrive
                && !observer.covered(span.from, span.to).is_empty()
            {
                tally.blame(&[index.deliveries[span.after as usize].event, shown.event], || {
                    format!(
                        "every dead letter was redriven and event {} still shows {}",
                        shown.event,
                        index.name(span.copy)
                    )
                });
            }
        });
    }
    for (delivery, before, count) in wrong_attempts(index) {
        if let Some(before) = before
            && surely_dead(index, before, &index.counts[before as usize])
            && count.restarted
        {
            blame_attempt(index, &mut tally, delivery, Some(before), count);
        }
    }
    let (dying, browse) = vanished_dying(index);
    for (copy, delivery) in dying {
        let from = index.leases[delivery as usize].from.tick;
        let Some(redrive) =
            index.redrives.iter().rev().find(|redrive| {
                redrive.moved != Some(0) && redrive.window.ret >= from && redrive.event < browse
            })
        else {
            continue;
        };
        tally.blame(&[redrive.event, browse], || {
            format!(
                "event {} may have redriven {}, and in the end it was neither delivered nor, at event {browse}, among the \
                 dead letters",
                redrive.event,
                index.name(copy)
            )
        });
    }
    blame_unchosen(index, &mut tally);
    // One redrive brings a message back once.
    for (delivery, next) in index.pairs() {
        if index.counts[delivery as usize].restarted && !licensed(index, delivery, next) {
            let (first, second) =
                (index.deliveries[delivery as usize].event, index.deliveries[next as usize].event);
            tally.blame(&[first, second], || {
                let name = index.name(index.deliveries[delivery as usize].copy);
                format!("{name} was redriven, delivered at event {first} and again at event {second}")
            });
        }
    }
    tally.verdict()
}

/// Tells of each message that came back by a redrive that should have taken others.
fn blame_unchosen(index: &Index, tally: &mut Tally) {
    let mut told = |delivery: u32, redrive: &Redrive, why: String| {
        let me = &index.deliveries[delivery as usize];
        tally.blame(&[redrive.event, me.event], || {
            format!(
                "event {} redrove {} dead letters, oldest death first, and event {} delivers {}, {why}",
                redrive.event,
                redrive.moved.map_or(format!("at most {}", redrive.max), |moved| moved.to_string()),
                me.event,
                index.name(me.copy)
            )
        });
    };
    // By the order in which the letters were shown before.
    for (shown, delivery) in shown_before(index) {
        let (browse, window) = (index.window(shown.event), index.deliveries[delivery as usize].window);
        let Some(redrive) = only_redrive(index, browse.call, window.ret) else { continue };
        if browse.ret < redrive.window.call
            && u64::from(shown.position) >= redrive.moved.unwrap_or(redrive.max)
            && !falls_between(&index.falls.any, browse.call, window.ret)
        {
            told(
                delivery,
                redrive,
                format!("which was number {} at event {}", shown.position + 1, shown.event),
            );
        }
    }
    // By the order in which they died, where that is told.
    let mut deaths: Vec<u64> = (0..index.deliveries.len() as u32)
        .filter_map(|delivery| index.deaths().told(index, delivery).map(|told| told.ret))
        .collect();
    deaths.sort_unstable();
    let moved = |redrive: &Redrive| redrive.moved.unwrap_or(redrive.max);
    for (delivery, next) in index.pairs() {
        if !surely_dead(index, delivery, &index.counts[delivery as usize]) {
            continue;
        }
        let from = index.leases[delivery as usize].from.tick;
        let back = index.deliveries[next as usize].window.ret;
        let Some(redrive) = only_redrive(index, from, back) else { continue };
        let before = deaths.partition_point(|&death| death < from) as u64;
        // Those that earlier redrives took are not before it any more.
        let gone = index.redrives.iter().take_while(|other| other.window.call < redrive.window.call);
        let gone = gone.map(moved).fold(0, u64::saturating_add);
        if before.saturating_sub(gone) >= moved(redrive).max(1) && !falls_between(&index.falls.any, 0, back) {
            told(next, redrive, format!("before which {} others had died", before - gone));
        }
    }
}

/// The redrive that may have moved something between two ticks, if there is exactly one.
pub(crate) fn only_redrive<'i>(index: &'i Index<'_>, from: u64, to: u64) -> Option<&'i Redrive> {
    if index.redrive_ticks.touching(from, to) != 1 {
        return None;
    }
    let called = index.redrives.partition_point(|redrive| redrive.window.call <= to);
    index.redrives[..called].iter().rev().find(|redrive| redrive.moved != Some(0))
}

/// For each redrive, how much room there certainly was.
fn rooms(index: &Index) -> Vec<u64> {
    let Some(capacity) = index.contract.capacity else { return vec![u64::MAX; index.redrives.len()] };
    let events = index.redrives.iter().map(|redrive| redrive.event).collect();
    let census = Census::of(index, &Observers::of(index, events));
    (0..index.redrives.len())
        .map(|place| {
            let resident = [&census.ready, &census.in_flight, &census.delayed]
                .iter()
                .map(|bounds| bounds.most[place].unwrap_or(u64::MAX))
                .fold(0, u64::saturating_add);
            capacity.saturating_sub(resident)
        })
        .collect()
}

/// A dead letter comes back only by redrive.
pub(crate) fn no_dead_letter_cycle(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Dl11);
    tally.tested(index.shown.len() as u64);
    let blame = |tally: &mut Tally, first: u32, delivery: u32| {
        let delivery = &index.deliveries[delivery as usize];
        tally.blame_unlicensed(&[first, delivery.event], || {
            (
                format!(
                    "{} was dead by event {first} and was delivered at event {}",
                    index.name(delivery.copy),
                    delivery.event
                ),
                Some(String::from("no redrive between the two")),
            )
        });
    };
    for (delivery, next) in index.pairs() {
        let dead = surely_dead(index, delivery, &index.counts[delivery as usize]);
        tally.tested(u64::from(dead));
        let from = index.deliveries[delivery as usize].window.call;
        let to = index.deliveries[next as usize].window.ret;
        // A death by attempts is as durable as their count; that is DL-3's to say.
        if dead && !index.redrive_between(from, to) && !falls_between(&index.falls.any, from, to) {
            let settled = index.leases[delivery as usize].settled;
            let first = if settled == NONE { index.deliveries[delivery as usize].event } else { settled };
            blame(&mut tally, first, next);
        }
    }
    for (shown, delivery) in returned_unbidden(index) {
        blame(&mut tally, shown.event, delivery);
    }
    unless_dropped(index, tally.verdict())
}

/// A rejected message goes to the dead letters at once, whatever its count.
pub(crate) fn reject_is_final(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Dl12);
    for delivery in 0..index.deliveries.len() as u32 {
        tally.tested(u64::from(index.leases[delivery as usize].causes == Causes::REJECT));
    }
    for absent in absent(index) {
        if index.leases[absent.delivery as usize].causes == Causes::REJECT {
            blame_absent(index, &mut tally, &absent);
        }
    }
    for (delivery, next) in index.pairs() {
        let lease = &index.leases[delivery as usize];
        if lease.causes != Causes::REJECT || licensed(index, delivery, next) {
            continue;
        }
        let next = &index.deliveries[next as usize];
        tally.blame(&[lease.settled.min(next.event), next.event], || {
            format!(
                "{} was rejected at event {} and delivered again at event {}",
                index.name(next.copy),
                lease.settled,
                next.event
            )
        });
    }
    // The message of a reject that is not lost to a crash died of it and of nothing else.
    for (shown, _) in out_of_attempts(index) {
        let window = index.window(shown.event);
        let Some(&delivery) = delivered_before(index, shown.copy, window.ret).last() else { continue };
        let lease = &index.leases[delivery as usize];
        if lease.causes == Causes::REJECT
            && lease.settled != NONE
            && index.window(lease.settled).ret < window.call
            && !index.redrive_between(lease.from.tick, window.ret)
        {
            tally.blame(&[lease.settled, shown.event], || {
                format!(
                    "{} was rejected at event {} and event {} shows it dead of its attempts",
                    index.name(shown.copy),
                    lease.settled,
                    shown.event
                )
            });
        }
    }
    tally.verdict()
}
