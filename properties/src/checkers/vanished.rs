//! Messages that are nowhere in the end, also where nobody was told which way they went.

use std::collections::HashSet;

use stanchion_queues::{DeadLettering, Settle};

use super::attempts::maybe_dead;
use super::index::{Index, Window, falls_between};
use super::lease::Causes;
use super::tables::NONE;
use super::timeline::Observers;
use crate::history::{Outcome, What};

/// The messages that are in neither place after a drain has come to rest, and the browse that shows so. All that was
/// still in the main queue was received by then, so what was stored for certain, and that nobody may have acked, is dead.
/// Where a settlement or a redrive is in doubt nobody can say before in which of both places a message is; that it is in
/// one of them is certain all the same.
pub(crate) fn vanished(index: &Index) -> (Vec<u32>, u32) {
    let nothing = (Vec::new(), NONE);
    if index.contract.dead_lettering == DeadLettering::Dropped {
        return nothing;
    }
    let Some(last) = index.false_empties().last else { return nothing };
    let empty = index.window(last);
    let mut browses = index.browses.iter().copied().filter(|&browse| index.shows_all(browse));
    let Some(browse) = browses.find(|&browse| index.window(browse).call > empty.ret) else { return nothing };
    let shown_at = index.window(browse);
    let disturbed = index.redrive_between(empty.call, shown_at.ret)
        || falls_between(&index.falls.any, empty.call, shown_at.ret)
        || Observers::of(index, vec![last]).hidden(index).iter().any(|&hidden| hidden > 0);
    if disturbed {
        return nothing;
    }
    let shown: HashSet<u32> =
        index.shown.iter().filter(|shown| shown.event == browse).map(|shown| shown.copy).collect();
    let is_nowhere = |&copy: &u32| {
        let confirmed = index.copies[copy as usize].confirmed;
        if confirmed == NONE || shown.contains(&copy) {
            return false;
        }
        let sent = index.window(confirmed);
        let deliveries = index.by_copy.get(copy as usize);
        sent.ret < empty.call
            && is_due(index, copy, &empty)
            && !falls_between(&index.falls.sends, sent.call, shown_at.ret)
            && !deliveries.iter().any(|&delivery| may_be_acked(index, delivery))
    };
    ((0..index.copies.len() as u32).filter(is_nowhere).collect(), browse)
}

/// Those of them that may have been dying, with their last deliveries.
pub(crate) fn vanished_dying(index: &Index) -> (Vec<(u32, u32)>, u32) {
    let (nowhere, browse) = index.vanished();
    let last = |&copy: &u32| index.by_copy.get(copy as usize).last().map(|&delivery| (copy, delivery));
    let dying =
        |&(_, delivery): &(u32, u32)| maybe_dead(index, delivery, &index.counts[delivery as usize], u64::MAX);
    (nowhere.iter().filter_map(last).filter(dying).collect(), *browse)
}

/// Whether nothing can have held the message back when a receive found nothing: no lease, and no delay of a send or a nack.
/// A drain waits for them all, but how long it waited is for the history to say.
fn is_due(index: &Index, copy: u32, empty: &Window) -> bool {
    let waits = |send: u32| {
        let delay = index.delay(send);
        !delay.is_zero() && index.window(send).until + delay >= empty.at
    };
    let is_over = |&delivery: &u32| {
        let lease = &index.leases[delivery as usize];
        // A crash may give back a lease that it undoes the end of.
        let given_back = lease.causes.any(Causes::UNKNOWN.with(Causes::UNDONE));
        let over = lease.hi < empty.at || lease.over.tick < empty.call && !given_back;
        over && (!lease.causes.any(Causes::NACK) || lease.again.1 < empty.at)
    };
    !index.stored_by(index.copies[copy as usize].token).any(waits)
        && index.by_copy.get(copy as usize).iter().all(is_over)
}

/// Whether an ack of this delivery may have been taken.
fn may_be_acked(index: &Index, delivery: u32) -> bool {
    index.operations.get(delivery as usize).iter().any(|&operation| {
        matches!(
            index.events[operation as usize].what,
            What::Settle { how: Settle::Ack, outcome, .. } if outcome != Outcome::Stale
        )
    })
}
