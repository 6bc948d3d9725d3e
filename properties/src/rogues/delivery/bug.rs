//! The bugs, as data.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::invariant::Invariant;

macro_rules! bugs {
    ($($variant:ident $id:literal $expected:ident $home:ident $what:literal;)*) => {
        /// A way in which a broker can be wrong. One at a time.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Bug {
            $(#[doc = $what] $variant,)*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Bug] = &[$(Bug::$variant),*];

            /// Its name in the bug zoo, or one of ours.
            pub fn id(self) -> &'static str {
                match self { $(Bug::$variant => $id),* }
            }

            /// What is wrong, in one sentence.
            pub fn what(self) -> &'static str {
                match self { $(Bug::$variant => $what),* }
            }

            /// The promise that it should be seen to break; `None`: it is right, though it looks as if it were not.
            pub fn expected(self) -> Option<Invariant> {
                match self { $(Bug::$variant => expected!($expected)),* }
            }

            fn home(self) -> Home {
                match self { $(Bug::$variant => Home::$home),* }
            }
        }
    };
}

macro_rules! expected {
    (Right) => {
        None
    };
    ($expected:ident) => {
        Some(Invariant::$expected)
    };
}

/// What it takes to be seen.
#[derive(Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "they are words of the table below")]
enum Home {
    /// A broker in memory.
    memory,
    /// A durable one that is crashed.
    disk,
    /// A durable one whose disk fails it in ways of its own.
    image,
}

impl Bug {
    /// Those that are wrong, as far as crashes between two calls can show.
    pub fn wrong() -> impl Iterator<Item = Bug> {
        Bug::ALL.iter().copied().filter(|bug| bug.expected().is_some() && bug.home() != Home::image)
    }

    /// What crash images are about, right or wrong.
    pub fn of_images() -> impl Iterator<Item = Bug> {
        let of = |bug: &Bug| bug.home() == Home::image || bug.durable() && bug.id().starts_with('P');
        Bug::ALL.iter().copied().filter(of)
    }

    /// Whether it is of the durable broker. The others are shown in memory.
    pub fn durable(self) -> bool {
        self.home() != Home::memory
    }
}

bugs! {
    D01 "D01" Dl3 memory "The limit is off by one: one delivery too many.";
    D02 "D02" Dl2 memory "The limit is off by one: one delivery too few.";
    D03 "D03" Dl6 memory "An attempt is counted when a message is looked at, not when it is handed over.";
    D04 "D04" Dl6 memory "The death of a consumer is not counted: a message that kills its consumer lives for ever.";
    D05 "D05" Dl5 disk "The count of attempts is kept in memory only: it starts again with the broker.";
    D07 "D07" Dl6 memory "Extending a lease counts as an attempt.";
    D08 "D08" Dl6 memory "A nack in a batch does not count, a single one does.";
    D09 "D09" Dl6 memory "A nack without a delay is a voluntary return and does not count.";
    D11 "D11" Al2 disk "A nack with a delay is kept in a timer in memory: a crash loses the message.";
    D12 "D12" Or4 memory "A returned message goes behind everything that is ready.";
    D13 "D13" Lv2 memory "The receipt is the message id: a stale ack deletes a message that another consumer holds.";
    D14 "D14" Lv8 memory "A stale ack is answered \"done\".";
    D16 "D16" Lv2 memory "A stale nack gives back a message that another consumer holds.";
    D18 "D18" Lv8 memory "An ack at the instant of the deadline is answered \"done\", and the sweep gives the message back.";
    D19 "D19" Lv3 memory "Every few receives the write of what they changed fails and is taken back, but not that the timers of ended leases have fired.";
    WritesFail "none (writes fail)" Right memory "Every few receives the write of what they changed fails, and all of it is taken back.";
    D20 "D20" Lv4 memory "Leases end by the wall clock: whenever somebody sets it ahead, all of them end.";
    ClockBack "D-clock-back" Lv3 memory "Leases end by the wall clock: whenever somebody sets it back, they go on for as long.";
    D23 "D23" Lv11 memory "A lost session leaves leases that nobody owns and that never end.";
    D24 "D24" Al2 memory "A lost session acks what it held.";
    D27 "D27" Dl4 disk "A dying message is deleted first and becomes a dead letter with the next call: a crash between loses it.";
    D28 "D28" Dl4 disk "A dying message becomes a dead letter first and is deleted with the next call: a crash between leaves both.";
    D29 "D29" Dl4 memory "Two dead letters fit; a third cannot be stored, the failure is swallowed and the message deleted.";
    D30 "D30" Dl4 disk "A restart deletes the dead letters.";
    D31 "D31" Dl4 memory "Nothing takes the dead letters: at the limit a message is dropped without a word.";
    D32 "D32" Dl7 memory "A dead letter loses its key.";
    D33 "D33" Dl8 disk "After a crash the redriven dead letters are there again.";
    D34 "D34" Dl8 memory "A message that is redriven a second time is swallowed as a duplicate.";
    D36 "D36" Dl13 disk "With a lower limit than before, what has had more attempts is passed over, and never dies.";
    D39 "D39" Al2 memory "An ack also acks every earlier delivery, those of other sessions too.";
    D40 "D40" Lv7 memory "A second ack closes the session: everything that it holds is given back.";
    D41 "D41" Or6 memory "A receive claims one message more than it hands over; that one is stranded until its lease ends.";
    D42 "D42" Or6 memory "While an earlier message is in flight, a receive does not see later ones that are ready.";
    D44 "D44" Lv8 memory "Only the two latest receipts are remembered: earlier ones that are current are refused.";
    D46 "D46" Al1 memory "What does not fit is confirmed and dropped.";
    D47 "D47" Al8 memory "The last message of a batch of three or more is sent again inside, and stored twice.";
    D49 "D49" Al5 disk "Compaction gives up the body of what is in flight: when it comes again, there is nothing in it.";
    D50 "D50" Al5 disk "Compaction gives a message the body of its neighbour.";
    D51 "D51" Al1 memory "What does not fit replaces the oldest message, which may be in flight.";
    D52 "D52" Al6 disk "Two copies of the log are kept, and after a crash the one that is behind is taken for the log.";
    I11 "I11" Ic8 memory "A send is known for a duplicate before it is stored: sent again, what found no room is confirmed.";
    I12 "I12" Ic8 disk "What was sent before is known in memory only: a retry after a crash is stored twice.";
    Deduplicates "none (deduplicates)" Right disk "A message that is sent again is stored once, also after a crash.";
    P01 "P01" Du1 disk "A send is confirmed before it is synced.";
    P02 "P02" Du1 disk "The log is created without a sync of the directory.";
    P03 "P03" Du7 image "A sync that failed is tried again, and believed.";
    P04 "P04" Du1 image "A write that found no space leaves half a frame, and the next frame goes behind it.";
    P05 "P05" Du1 disk "The length of a frame is trusted without looking at its checksum.";
    P06 "P06" Du1 image "The checksum covers the body of a frame only: with a torn header an appended frame reads as a snapshot.";
    P08 "P08" Du6 disk "A torn tail is taken for the end but not cut off: what is appended behind it is never read.";
    DiesInTwo "P-dies-in-two" Dl4 image "A dying message is deleted by one commit and becomes a dead letter by the next of the same call.";
    P09 "P09" Du5 image "Damage in the middle is taken for a torn tail: what was confirmed behind it is dropped.";
    P10 "P10" Du11 disk "A torn tail makes the opening fail.";
    P11 "P11" Dl4 image "Recovery applies what it can read of a torn batch.";
    P13 "P13" Dl4 image "The position up to which all is acked is stored before what it stands behind.";
    P14 "P14" Du3 disk "Acks are not stored: after a crash everything is replayed.";
    P15 "P15" Du6 image "The position of the next frame is stored, but synced late: after a crash what was confirmed is overwritten.";
    P18 "P18" Du1 disk "After recovery the next id is the number of survivors: ids are used again.";
    P19 "P19" Du1 disk "Compaction keeps what is above the highest acked message instead of the lowest unacked one.";
    P20 "P20" Du1 disk "Compaction removes the old file before the new one is durable.";
    P21 "P21" Du3 disk "Compaction forgets that a message was acked, but not the message.";
    P23 "P23" Du11 image "The first frame, which says how long the file is, may be durable before the file is as long.";
    P25 "P25" Du11 disk "A crash during compaction leaves a file that blocks the next opening.";
    P26 "P26" Du1 disk "An unreadable snapshot is taken for an empty one, and what it should have replaced is deleted.";
    P28 "P28" Du14 image "After a write or sync that failed nothing is confirmed, but what is in memory is still handed over.";
    P31 "P31" Du1 disk "After a compaction, syncs go to the old file.";
    P32 "P32" Du1 disk "The checksum covers the header of a frame only: a torn write keeps the one and loses the other.";
    P33 "P33" Du13 image "What syncs every so often stops at the first error, and everything is confirmed all the same.";
    P34 "P34" Du7 image "The log is closed and opened again before each sync: nobody is told of a write that was lost before.";
    SyncsLate "none (syncs late)" Right image "Everything is synced every so often, and after a sync that failed nothing is confirmed.";
    SyncMoves "none (sync moves on)" Right image "After a failed sync everything is written to another file, and only then confirmed.";
    SpaceStays "none (space stays)" Right image "A write that found no space leaves half a frame, and the next frame goes in its place.";
    OldStays "none (old stays)" Right image "Compaction leaves the old file for the next start to remove.";
    LengthBare "none (length bare)" Right image "The checksum covers the body of a frame, but not the length that says how much that is.";
    EarlyExpiry "D-early-expiry" Lv4 memory "A lease ends a nanosecond early.";
    LateExpiry "D-late-expiry" Or6 memory "A message whose lease has ended becomes ready a millisecond late.";
    NoExpiry "D-no-expiry" Lv3 memory "A lease that runs out is never noticed.";
    ExtendRevives "D-extend-revives" Lv5 memory "Extending a lease that has ended brings it back to life.";
    ExtendShortens "D-extend-shortens" Lv5 memory "Extending sets the deadline even if that is earlier.";
    ExtendIgnored "D-extend-ignored" Lv4 memory "Extending is answered \"done\" and changes nothing.";
    ReceiptWraps "D-receipt-wraps" Lv6 memory "The number in a receipt wraps after two.";
    ReceiptRestarts "D-receipt-restarts" Lv6 disk "The numbers in receipts start again with the broker.";
    NackAtOnce "D-nack-at-once" Lv12 memory "The delay of a nack is ignored.";
    SendAtOnce "D-send-at-once" Lv12 memory "The delay of a send is ignored.";
    DelayForEver "D-delay-for-ever" Lv12 memory "A delayed send is never delivered.";
    DelayForgotten "D-delay-forgotten" Lv12 disk "A restart ends every delay.";
    RejectRequeues "D-reject-requeues" Dl12 memory "A reject gives the message back.";
    RejectDrops "D-reject-drops" Dl12 memory "A reject deletes the message.";
    RedriveLoses "D-redrive-loses" Dl8 memory "Redrive loses the last of several.";
    RedriveCopies "D-redrive-copies" Dl8 memory "Redrive leaves the dead letter where it was.";
    RedriveNewest "D-redrive-newest" Dl8 memory "Redrive takes the newest dead letters.";
    RedriveKeepsCount "D-redrive-keeps-count" Dl5 memory "Redrive does not start the count again.";
    RedriveOverfills "D-redrive-overfills" Cb1 memory "Redrive does not look at the capacity.";
    DeadReturn "D-dead-return" Dl11 disk "A restart makes dead letters ready again.";
    CapacityPlusOne "D-capacity-plus-one" Cb1 memory "One message more than the capacity fits.";
    DelayedUncounted "D-delayed-uncounted" Cb1 memory "Delayed messages do not count towards the capacity.";
    FullAfterNack "D-full-after-nack" Cb2 memory "Every nack takes a slot of the capacity away.";
    RefusedStored "D-refused-stored" Cb3 memory "When a batch does not fit, all of it is refused, but what fits is stored.";
    RefusedDelivered "D-refused-delivered" Al4 memory "What does not fit is refused only after it was stored.";
    RefusedTakesSlot "D-refused-takes-slot" Cb2 memory "A refused send takes a slot of the capacity away.";
    DepthMiscounts "D-depth-miscounts" Al10 memory "Delayed messages are counted as ready.";
    BodyCut "D-body-cut" Al5 memory "A redelivered body lacks its last byte.";
    KeyLost "D-key-lost" Al5 memory "A redelivered message lacks its key.";
    Phantom "D-phantom" Al3 disk "Recovery makes a message of what was never sent.";
    AttemptFromZero "D-attempt-from-zero" Dl5 memory "Attempts are numbered from 0.";
    DeadAttempts "D-dead-attempts" Dl7 memory "A dead letter says one attempt too few.";
    DeadReason "D-dead-reason" Dl7 memory "A rejected message is said to have run out of attempts.";
    Lifo "D-lifo" Or1 memory "The newest message is delivered first.";
    BatchReversed "D-batch-reversed" Or2 memory "The messages of one batch are stored with the last one first.";
    HandsReversed "D-hands-reversed" Or1 memory "A receive of several messages hands over the newest of them first.";
    KeyedFirst "D-keyed-first" Or2 memory "Messages with a key overtake those without.";
    AckSkipsThird "D-ack-skips-third" Al6 memory "The third ack of a batch is answered \"done\" and forgotten.";
    Shared "D-shared" Lv1 memory "When nothing is ready, a receive hands over what another session holds.";
    LossEndsAll "D-loss-ends-all" Al7 memory "A lost session ends the leases of all sessions.";
    DiesLate "D-dies-late" Dl1 memory "A message that is out of attempts dies when it is next looked at.";
    ExtendForEver "D-extend-for-ever" Li2 memory "An extended lease never ends.";
    AnswersShort "D-answers-short" Al11 memory "The last outcome of a batch of three or more is left out of the answer.";
    LimitWide "D-limit-wide" Dl5 memory "The count of attempts is kept in eight bits.";
    DepthNarrow "D-depth-narrow" Al10 memory "The count of ready messages is told in eight bits.";
    DelayNarrow "D-delay-narrow" Lv12 memory "The delay of a send is kept in milliseconds of 32 bits.";
    DelayCoarse "D-delay-coarse" Lv12 memory "The delay of a send is kept in whole milliseconds.";
    BodyDedup "D-body-dedup" Al1 memory "A message whose body is that of another that is ready is confirmed and dropped.";
    KeyNarrow "D-key-narrow" Al5 memory "The length of a key is kept in eight bits.";
    NoBodyLost "D-no-body-lost" Al1 memory "A message without a body is confirmed and dropped.";
    ErrsWhenEmpty "D-errs-when-empty" Li1 memory "A receive that finds nothing fails.";
    Panics "D-panics" Li1 memory "A stale receipt makes the broker panic.";
    Jams "D-jams" Li1 memory "After two leases have run out, nothing is delivered any more.";
    LeaseSurvives "D-lease-survives" Lv10 disk "After a crash the leases of the dead go on, for ever.";
}

/// Which bug is switched on, and how often its code ran. Clones share the count.
#[derive(Clone, Debug, Default)]
pub(super) struct Switch {
    bug: Option<Bug>,
    reached: Arc<AtomicU64>,
}

impl Switch {
    pub(super) fn new(bug: Option<Bug>) -> Switch {
        Switch { bug, reached: Arc::default() }
    }

    /// Whether this bug is on. Asked where the wrong code is about to run.
    pub(super) fn is(&self, bug: Bug) -> bool {
        let on = self.bug == Some(bug);
        if on {
            self.reached.fetch_add(1, Ordering::Relaxed);
        }
        on
    }

    /// The same without counting: nothing wrong happens yet.
    pub(super) fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// How often wrong code ran.
    pub(super) fn reached(&self) -> u64 {
        self.reached.load(Ordering::Relaxed)
    }
}
