//! What becomes of messages that had attempts before the limit of deliveries was changed.

use super::index::{Index, falls_between};
use super::lease::Causes;
use super::tally::Tally;
use super::vanished::vanished_dying;
use crate::invariant::Invariant;
use crate::verdict::Verdict;

/// An event, and the limit from then on.
type Change = (u32, u32);

/// The last change of the limit before a tick, and the first that may not be before it.
fn around(index: &Index, tick: u64) -> (Option<Change>, Option<Change>) {
    let before = index.limited.partition_point(|&(event, _)| index.window(event).ret < tick);
    (before.checked_sub(1).map(|last| index.limited[last]), index.limited.get(before).copied())
}

/// After a change of the limit every message is deliverable or dead, and one whose attempt ends under the new limit dies if
/// it has had as many as that allows: what was above a lower limit is delivered once more at most.
pub(crate) fn limit_change(index: &Index) -> Verdict {
    if index.limited.is_empty() || index.contract.deliveries_allowed.is_none() {
        return Verdict::NotClaimed;
    }
    let mut tally = Tally::of(Invariant::Dl13);
    let reached = |delivery: u32, allowed: u32| {
        let failed = index.leases[delivery as usize].causes.any(Causes::FAILURES);
        failed && index.counts[delivery as usize].after.1 >= allowed
    };
    for (delivery, me) in index.deliveries.iter().enumerate() {
        let (_, next) = around(index, me.window.call);
        tally.tested(u64::from(next.is_some_and(|(_, allowed)| reached(delivery as u32, allowed))));
    }
    let (dying, browse) = vanished_dying(index);
    for (copy, delivery) in dying {
        let me = &index.deliveries[delivery as usize];
        let later = index.limited.iter().filter(|(event, _)| index.window(*event).ret > me.window.call);
        let Some((event, allowed)) = later.into_iter().find(|(_, allowed)| reached(delivery, *allowed))
        else {
            continue;
        };
        tally.blame(&[me.event, *event, browse], || {
            format!(
                "{} was delivered at event {}, {allowed} deliveries are allowed since event {event}, and in the end it was \
                 neither delivered nor, at event {browse}, among the dead letters",
                index.name(copy),
                me.event
            )
        });
    }
    for (delivery, next) in index.pairs() {
        let (me, again) = (&index.deliveries[delivery as usize], &index.deliveries[next as usize]);
        let (Some((event, allowed)), following) = around(index, me.window.call) else { continue };
        let (from, to) = (me.window.call, again.window.ret);
        let (count, lease) = (&index.counts[delivery as usize], &index.leases[delivery as usize]);
        let undisturbed = following.is_none_or(|(event, _)| index.window(event).call > to)
            && !index.redrive_between(from, to)
            && !falls_between(&index.falls.counts, from, to)
            && !count.unordered;
        let counted = lease.causes.only(Causes::FAILURES) && lease.counted(index.contract.counting).0 > 0;
        let sure = index.counts[next as usize].sure;
        if undisturbed && counted && sure >= allowed {
            tally.blame(&[event, me.event, again.event], || {
                format!(
                    "{allowed} deliveries are allowed since event {event}, {} was delivered at event {} after that, had \
                     failed {sure} times then, and event {} delivers it again",
                    index.name(me.copy),
                    me.event,
                    again.event
                )
            });
        }
    }
    tally.verdict()
}
