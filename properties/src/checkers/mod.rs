//! The judge: pure functions from a history and its contract to verdicts.
//!
//! Every rule is a comparison of intervals. What *certainly* was so is told from what *possibly* was so, and
//! only a contradiction between certainties is a broken promise: an answer in doubt, an overlap, a deadline
//! that is just now never is. The rules are in one file per group of the catalogue; what they share (who was
//! leased when, what was counted, what was ready) is worked out once.

mod accounting;
mod at_least_once;
mod attempts;
mod batches;
mod capacity;
mod consumer;
mod dead;
mod dead_letters;
mod durability;
mod emptiness;
mod index;
mod lease;
mod leases;
mod limits;
mod liveness;
mod order;
mod retries;
mod tables;
mod tally;
mod timeline;
mod vanished;

#[cfg(test)]
mod model;
#[cfg(test)]
mod near_misses;
#[cfg(test)]
pub(crate) mod scripted;
#[cfg(test)]
mod scripts;
#[cfg(test)]
mod soundness;
#[cfg(test)]
mod speed;

use crate::history::History;
use crate::invariant::Invariant;
use crate::verdict::Verdict;

pub(crate) use self::at_least_once::lost_tokens;
pub(crate) use self::order::overtakers;
pub(crate) use index::Index;

type Checker = fn(&Index) -> Verdict;

/// Every promise about a broker, with the function that judges it, in the order of the catalogue.
const CHECKERS: &[(Invariant, Checker)] = &[
    (Invariant::Al1, at_least_once::no_loss),
    (Invariant::Al2, at_least_once::unacked_not_forgotten),
    (Invariant::Al3, at_least_once::no_phantom),
    (Invariant::Al4, at_least_once::no_refused_delivery),
    (Invariant::Al5, at_least_once::payload_integrity),
    (Invariant::Al6, at_least_once::no_resurrection),
    (Invariant::Al7, at_least_once::no_unlicensed_redelivery),
    (Invariant::Al8, at_least_once::one_copy_per_send),
    (Invariant::Al10, accounting::accounting),
    (Invariant::Al11, batches::as_asked),
    (Invariant::Dl1, dead_letters::threshold_exact),
    (Invariant::Dl2, dead_letters::not_before_threshold),
    (Invariant::Dl3, dead_letters::not_beyond_threshold),
    (Invariant::Dl4, dead_letters::move_conservation),
    (Invariant::Dl5, dead_letters::attempt_monotone),
    (Invariant::Dl6, dead_letters::count_triggers),
    (Invariant::Dl7, dead_letters::dead_letter_fidelity),
    (Invariant::Dl8, dead_letters::redrive_conservation),
    (Invariant::Dl11, dead_letters::no_dead_letter_cycle),
    (Invariant::Dl12, dead_letters::reject_is_final),
    (Invariant::Dl13, limits::limit_change),
    (Invariant::Lv1, leases::exclusive),
    (Invariant::Lv2, leases::stale_receipt_inert),
    (Invariant::Lv3, leases::expiry_delivers),
    (Invariant::Lv4, leases::no_early_expiry),
    (Invariant::Lv5, leases::extend_sound),
    (Invariant::Lv6, leases::receipt_unique),
    (Invariant::Lv7, leases::ack_idempotent),
    (Invariant::Lv8, leases::ack_truthful),
    (Invariant::Lv10, leases::lease_after_crash),
    (Invariant::Lv11, leases::session_release),
    (Invariant::Lv12, leases::delay_respected),
    (Invariant::Or1, order::fifo),
    (Invariant::Or2, order::producer_order),
    (Invariant::Or4, order::requeue_position),
    (Invariant::Or6, order::empty_is_true),
    (Invariant::Cb1, capacity::bound),
    (Invariant::Cb2, capacity::no_false_full),
    (Invariant::Cb3, capacity::refused_has_no_effect),
    (Invariant::Cb6, capacity::oversize),
    (Invariant::Ic1, consumer::effect_at_most_once),
    (Invariant::Ic2, consumer::no_ack_without_effect),
    (Invariant::Ic3, consumer::record_effect_atomic),
    (Invariant::Ic4, consumer::window_covers_horizon),
    (Invariant::Ic6, consumer::concurrent_duplicates),
    (Invariant::Ic7, consumer::failed_attempt_leaves_no_mark),
    (Invariant::Ic8, retries::producer_dedup),
    (Invariant::Ic9, consumer::dead_is_not_done),
    (Invariant::Ic10, consumer::effect_eventually),
    (Invariant::Du1, durability::confirmed_survives),
    (Invariant::Du3, durability::ack_survives),
    (Invariant::Du6, durability::recovery_idempotent),
    (Invariant::Du11, durability::recovery_total),
    (Invariant::Du12, durability::single_owner),
    (Invariant::Du13, durability::sync_policy_truthful),
    (Invariant::Du14, durability::no_read_of_non_durable),
    (Invariant::Li1, liveness::drains_after_heal),
    (Invariant::Li2, liveness::nothing_stuck),
];

/// Judges every promise about a broker.
pub fn judge(history: &History) -> Vec<(Invariant, Verdict)> {
    let index = Index::of(history);
    CHECKERS.iter().map(|&(invariant, checker)| (invariant, checker(&index))).collect()
}

/// Judges one promise and does only the work that it needs. A promise about buffers is
/// [`Verdict::NotClaimed`] by a broker.
pub fn check(invariant: Invariant, history: &History) -> Verdict {
    match CHECKERS.iter().find(|(of, _)| *of == invariant) {
        Some((_, checker)) => checker(&Index::of(history)),
        None => Verdict::NotClaimed,
    }
}
