//! How many attempts of a message were counted before each of its deliveries, at least and at most.

use stanchion_queues::{Attempt, Count as Counts, Counting, Death};

use super::index::{Index, Moment, falls_between};
use super::lease::Causes;

/// The count around one delivery.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    /// What may have been counted before it, given what earlier deliveries reported.
    pub(crate) lo: u32,
    pub(crate) hi: u32,
    /// What was counted before it for certain, by what happened and whatever was reported.
    pub(crate) sure: u32,
    /// What is counted once its lease has ended, if it is not acked: at least and at most, without deliveries
    /// that nobody saw.
    pub(crate) after: (u32, u32),
    /// The message may have come back from the dead before it.
    pub(crate) restarted: bool,
    /// It overlaps another delivery of the copy: which of them came first is not known.
    pub(crate) unordered: bool,
}

/// How much one delivery that nobody saw may add.
pub(crate) fn unseen_weight(index: &Index) -> u32 {
    let counting = index.contract.counting;
    let none = [counting.expiry, counting.session_loss, counting.crash, counting.nack]
        .iter()
        .all(|&count| count == Counts::No);
    u32::from(!none)
}

/// How many deliveries of a message that nobody saw may have been counted between two ticks.
pub(crate) fn unseen_between(index: &Index, from: u64, to: u64) -> u32 {
    index.unseen_ticks.touching(from, to) * unseen_weight(index)
}

/// Whether the message was dead for certain once the lease of `delivery` had ended.
pub(crate) fn surely_dead(index: &Index, delivery: u32, count: &Count) -> bool {
    let lease = &index.leases[delivery as usize];
    // An attempt that does not count kills nothing, even where a redrive left the count at the limit.
    let out_of_attempts = || {
        lease.causes.only(Causes::FAILURES)
            && index.most_allowed().is_some_and(|allowed| count.after.0 >= allowed)
            && lease.counted(index.contract.counting).0 > 0
    };
    !count.unordered && (lease.causes == Causes::REJECT || out_of_attempts())
}

/// Whether the message may have been dead once the lease of `delivery` had ended, before tick `to`.
pub(crate) fn maybe_dead(index: &Index, delivery: u32, count: &Count, to: u64) -> bool {
    let causes = index.leases[delivery as usize].causes;
    let unseen = unseen_between(index, index.deliveries[delivery as usize].window.call, to);
    causes.any(Causes::REJECT.with(Causes::UNKNOWN))
        || index.least_allowed().is_some_and(|allowed| {
            unseen > 0 && count.after.1 + unseen >= allowed
                || causes.any(Causes::FAILURES) && count.after.1 >= allowed
        })
}

/// From when on a message that surely dies of `delivery` is certainly among the dead.
pub(crate) fn dead_from(index: &Index, delivery: u32) -> Moment {
    let lease = &index.leases[delivery as usize];
    let mut from = lease.settled_from(&index.deliveries[delivery as usize].window);
    if lease.causes == Causes::REJECT || index.contract.death == Death::AtOnce {
        return from;
    }
    if lease.causes.any(Causes::NACK) {
        from.time = from.time.max(lease.again.1);
    }
    index.next_search(from)
}

/// More attempts than any history has.
const ANY: u32 = u32::MAX / 4;

/// The counts of all deliveries.
pub(crate) fn all(index: &Index) -> Vec<Count> {
    let believed = index.contract.attempt == Attempt::Counted;
    bounds(index, index.contract.counting, unseen_weight(index), believed, None)
}

/// The ordinals of all deliveries less one, where a contract reports these instead of the counts.
pub(crate) fn ordinals(index: &Index) -> Option<Vec<Count>> {
    let counts = Some(&index.counts[..]).filter(|_| index.contract.attempt == Attempt::Ordinal)?;
    Some(bounds(index, Counting::AT_HAND_OVER, 1, true, Some(counts)))
}

/// What was counted before and after each delivery if these ends of an attempt count. `believed`: the deliveries
/// report it. `counts`: what deaths go by, if it is something else.
fn bounds(
    index: &Index,
    counting: Counting,
    weight: u32,
    believed: bool,
    decisive: Option<&[Count]>,
) -> Vec<Count> {
    let unseen_between = |from, to| index.unseen_ticks.touching(from, to) * weight;
    let mut counts = vec![Count::default(); index.deliveries.len()];
    for copy in 0..index.copies.len() {
        let deliveries = index.by_copy.get(copy);
        let Some(&first) = deliveries.first() else { continue };
        let token = index.copies[copy].token;
        let sent = index.stored_by(token).map(|send| index.events[send as usize].call).min().unwrap_or(0);
        let mut count = Count {
            hi: unseen_between(sent, index.deliveries[first as usize].window.ret),
            ..Count::default()
        };
        let mut latest_return = None;
        // The most that was ever counted.
        let mut peak = 0;
        for (position, &delivery) in deliveries.iter().enumerate() {
            let (me, lease) = (&index.deliveries[delivery as usize], &index.leases[delivery as usize]);
            let follows = deliveries.get(position + 1);
            let overlapped = latest_return >= Some(me.window.call);
            count.unordered = overlapped
                || follows.is_some_and(|&next| index.deliveries[next as usize].window.call <= me.window.ret);
            latest_return = latest_return.max(Some(me.window.ret));
            let reported = me.attempt.saturating_sub(1);
            let credible = believed && (count.lo..=count.hi).contains(&reported);
            let (lo, hi) = match (count.unordered, credible) {
                (true, _) => (0, ANY),
                (false, true) => (reported, reported),
                (false, false) => (count.lo, count.hi),
            };
            let (least, most) = lease.counted(counting);
            // Of deliveries in no order none is certain to have ended before another.
            let sure = count.sure + if count.unordered { 0 } else { least };
            // A lease may outlive the crash that takes the count of the attempts before it.
            let kept = !falls_between(&index.falls.counts, me.window.call, lease.over.tick);
            count.after = (if kept { sure.max(lo + least) } else { least }, hi + most);
            counts[delivery as usize] = count;
            peak = peak.max(count.after.1);
            let Some(&next) = deliveries.get(position + 1) else { break };
            let (from, to) = (me.window.call, index.deliveries[next as usize].window.ret);
            let unseen = unseen_between(from, to);
            // A report that cannot be true is believed from then on: each wrong step is told once.
            let wrong = believed && !credible && !count.unordered;
            let (lo, hi) = if wrong { (reported, reported) } else { (lo, hi) };
            let mut then =
                Count { lo: lo + least, hi: (hi + most + unseen).min(ANY), sure, ..Count::default() };
            if falls_between(&index.falls.counts, from, to) {
                (then.lo, then.sure) = (0, 0);
            }
            if lease.causes.any(Causes::UNKNOWN) {
                (then.lo, then.sure) = (0, 0);
            }
            let decided = decisive.map_or(count, |counts| counts[delivery as usize]);
            if maybe_dead(index, delivery, &decided, to) && index.redrive_between(from, to) {
                then.restarted = true;
                if index.contract.redrive_resets {
                    (then.lo, then.sure) = (0, 0);
                    let otherwise = falls_between(&index.falls.any, from, to);
                    if surely_dead(index, delivery, &decided) && !otherwise {
                        then.hi = unseen;
                    }
                } else {
                    then.sure = 0;
                }
            }
            if falls_between(&index.falls.any, from, to) {
                // What is stored from before a redrive may be there again, with its count.
                then.hi = then.hi.max(peak.saturating_add(unseen)).min(ANY);
            }
            if count.unordered {
                (then.lo, then.sure) = (0, 0);
            }
            count = then;
        }
    }
    counts
}
