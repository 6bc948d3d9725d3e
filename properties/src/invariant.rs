//! The names of the promises. The ids are those of the project's catalogue and never change meaning.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! invariants {
    ($($variant:ident $id:literal $name:literal $sentence:literal;)*) => {
        /// One promise.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Invariant {
            $(#[doc = $sentence] #[serde(rename = $id)] $variant,)*
        }

        impl Invariant {
            /// Every promise that can be checked, in the order of the catalogue.
            pub const ALL: &[Invariant] = &[$(Invariant::$variant),*];

            /// The id, as in "AL-1".
            pub fn id(self) -> &'static str {
                match self { $(Invariant::$variant => $id),* }
            }

            /// A short name that can be part of a test's name.
            pub fn name(self) -> &'static str {
                match self { $(Invariant::$variant => $name),* }
            }

            /// The promise in one sentence that a user could quote.
            pub fn sentence(self) -> &'static str {
                match self { $(Invariant::$variant => $sentence),* }
            }
        }
    };
}

invariants! {
    Al1 "AL-1" "no_loss" "A confirmed message is delivered, kept or declared dead, never lost.";
    Al2 "AL-2" "unacked_not_forgotten" "A message whose every attempt failed comes back or becomes a dead letter.";
    Al3 "AL-3" "no_phantom" "Nothing is delivered that was not sent before.";
    Al4 "AL-4" "no_refused_delivery" "A message whose send was refused is never delivered.";
    Al5 "AL-5" "payload_integrity" "What is delivered is, byte for byte, what was sent.";
    Al6 "AL-6" "no_resurrection" "An acked message never comes back.";
    Al7 "AL-7" "no_unlicensed_redelivery" "A message is delivered again only after something that permits it.";
    Al8 "AL-8" "one_copy_per_send" "One send makes at most one copy.";
    Al10 "AL-10" "accounting" "Every confirmed message is in exactly one state, and the queue's own counts agree.";
    Al11 "AL-11" "batches_as_asked" "A batch is answered item by item as declared, with no more than was asked for.";
    Dl1 "DL-1" "threshold_exact" "A message dies of its attempts at exactly the declared number of them.";
    Dl2 "DL-2" "not_before_threshold" "A message does not die of its attempts before the declared number of them.";
    Dl3 "DL-3" "not_beyond_threshold" "A message is not delivered more often than its limit allows.";
    Dl4 "DL-4" "move_conservation" "A dying message is in the main queue or among the dead letters, never in both or neither.";
    Dl5 "DL-5" "attempt_monotone" "The attempt number starts at 1, rises by one with each counted attempt and never falls.";
    Dl6 "DL-6" "count_triggers" "Exactly the declared ways of ending an attempt count.";
    Dl7 "DL-7" "dead_letter_fidelity" "A dead letter keeps its id, key and body, and says why it died and after how many attempts; the oldest death is shown first.";
    Dl8 "DL-8" "redrive_conservation" "Redrive moves exactly the chosen dead letters back, each once.";
    Dl11 "DL-11" "no_dead_letter_cycle" "A dead letter comes back only by redrive.";
    Dl12 "DL-12" "reject_is_final" "A rejected message goes to the dead letters at once, whatever its count.";
    Dl13 "DL-13" "limit_change" "After a change of the limit every message is deliverable or dead: what has had more attempts than a lower limit allows is delivered once more at most.";
    Lv1 "LV-1" "exclusive" "Two consumers never hold the same message at the same time.";
    Lv2 "LV-2" "stale_receipt_inert" "A stale receipt changes nothing.";
    Lv3 "LV-3" "expiry_delivers" "A message whose lease ran out is delivered again.";
    Lv4 "LV-4" "no_early_expiry" "A lease is not cut short.";
    Lv5 "LV-5" "extend_sound" "Extending sets the deadline asked for, and never revives or shortens a lease.";
    Lv6 "LV-6" "receipt_unique" "No receipt is issued twice.";
    Lv7 "LV-7" "ack_idempotent" "Acking again changes nothing, for this message or its neighbours.";
    Lv8 "LV-8" "ack_truthful" "An ack answered \"done\" is final, and one answered \"stale\" did nothing.";
    Lv10 "LV-10" "lease_after_crash" "After a crash each lease is kept or released as declared, and none is held for ever.";
    Lv11 "LV-11" "session_release" "The leases of a lost session end as declared.";
    Lv12 "LV-12" "delay_respected" "A delayed message comes neither before its time nor never.";
    Or1 "OR-1" "fifo" "First deliveries come in the order of the sends.";
    Or2 "OR-2" "producer_order" "Each consumer sees each producer's messages in the order they were sent.";
    Or4 "OR-4" "requeue_position" "A returned message takes its declared place among the ready ones.";
    Or6 "OR-6" "empty_is_true" "An answer \"empty\" was true at some instant of the call.";
    Cb1 "CB-1" "bound" "The queue never holds more than its capacity.";
    Cb2 "CB-2" "no_false_full" "An answer \"full\" was true at some instant of the call.";
    Cb3 "CB-3" "refused_has_no_effect" "A refused send leaves nothing behind.";
    Cb6 "CB-6" "oversize" "A body is refused as too large if it is larger than the limit, and only then.";
    Ic1 "IC-1" "effect_at_most_once" "However often a message comes, its effect happens once.";
    Ic2 "IC-2" "no_ack_without_effect" "A consumer acks only what has taken effect.";
    Ic3 "IC-3" "record_effect_atomic" "The effect and the record of it are there together or not at all.";
    Ic4 "IC-4" "window_covers_horizon" "A message is never delivered after the record of it was forgotten.";
    Ic6 "IC-6" "concurrent_duplicates" "Two holders of one message have one effect together.";
    Ic7 "IC-7" "failed_attempt_leaves_no_mark" "A failed attempt leaves no record that keeps a later one from its effect.";
    Ic8 "IC-8" "producer_dedup" "Where retries are stored once, a message that is sent again is one message, and a retry that is confirmed is stored.";
    Ic9 "IC-9" "dead_is_not_done" "A dead letter without effect has no record.";
    Ic10 "IC-10" "effect_eventually" "Every message that is not dead takes effect in the end.";
    Du1 "DU-1" "confirmed_survives" "A confirmed send survives every crash it was promised to survive.";
    Du3 "DU-3" "ack_survives" "An ack survives every crash it was promised to survive.";
    Du5 "DU-5" "damage_noticed" "Damage to what is stored is noticed, and nothing is silently lost or changed by it.";
    Du6 "DU-6" "recovery_idempotent" "Recovering, appending and recovering again keeps the old and the new.";
    Du7 "DU-7" "sync_error_fail_stop" "After a failed write or sync no success is reported that rests on it.";
    Du11 "DU-11" "recovery_total" "After any crash the queue opens again, or names the damage.";
    Du12 "DU-12" "single_owner" "A second process cannot open what is stored while one has it open.";
    Du13 "DU-13" "sync_policy_truthful" "With a sync every so often no more is lost to a power failure than what is younger than that.";
    Du14 "DU-14" "no_read_of_non_durable" "A message is delivered only once it survives what a confirmed send survives.";
    Li1 "LI-1" "drains_after_heal" "When faults end, everything is delivered in bounded time.";
    Li2 "LI-2" "nothing_stuck" "When all is quiet, no message is leased, delayed or invisible.";
    Me1 "ME-1" "linearizable" "All answers together are those of one queue that does one thing at a time.";
    Me3 "ME-3" "drop_once" "Every item is dropped exactly once.";
    Me4 "ME-4" "wrap_safe" "All of this also holds when internal counters wrap, at any capacity.";
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id(), self.name())
    }
}

impl FromStr for Invariant {
    type Err = String;

    fn from_str(text: &str) -> Result<Invariant, String> {
        Invariant::ALL
            .iter()
            .copied()
            .find(|invariant| invariant.id().eq_ignore_ascii_case(text) || invariant.name() == text)
            .ok_or_else(|| {
                format!(
                    "no invariant is called {text:?}: give an id as in \"AL-1\" or a name as in \"no_loss\""
                )
            })
    }
}
