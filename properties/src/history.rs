//! What happened: the one record that every engine writes and every checker reads.
//!
//! An event is an *interval*, from call to return, on a tick that is shared by all actors. `a` happened
//! before `b` only if `a` returned before `b` was called (strictly: equal ticks are concurrent). An operation
//! that never returned has `ret == `[`PENDING`]. Beside the ticks stands the time that the broker's clock
//! showed, for leases and delays. In a single-threaded engine the intervals do not overlap and the clock
//! stands still within each.
//!
//! A batch is written as one event per item; they share the interval and [`Event::op`].

use std::time::Duration;

use serde::{Deserialize, Serialize};
use stanchion_queues::{Contract, Crash, Depth, MessageId, Reason, Refusal, Settle, Time};

/// The return tick of an operation that never returned.
pub const PENDING: u64 = u64::MAX;

/// The name of one intended message, in its body, so that identity never depends on the queue's own ids. A
/// producer that retries sends the same token again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Token(pub u64);

/// A checksum of bytes as sent or as received: their length in the upper half, CRC-32C in the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest(pub u64);

impl Digest {
    /// How many bytes they are.
    pub fn size(self) -> u64 {
        self.0 >> 32
    }
}

/// Who did it. Each session is an actor of its own and never returns after it was lost; see [`HARNESS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Actor(pub u32);

/// The actor of faults, clock moves and phases.
pub const HARNESS: Actor = Actor(0);

/// A receipt, numbered in order of first appearance: equal numbers are equal receipts. (The queue's own
/// values may differ from run to run.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Handle(pub u64);

/// Everything that happened in one run against one broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// What the broker promised.
    pub contract: Contract,
    /// What happened, sorted by `call`.
    pub events: Vec<Event>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Tick of the call.
    pub call: u64,
    /// Tick of the return, or [`PENDING`].
    pub ret: u64,
    /// The broker's clock at the call.
    pub at: Time,
    /// The broker's clock at the return ([`Time::FAR_FUTURE`] if pending).
    pub until: Time,
    /// Who.
    pub actor: Actor,
    /// Events of one batch call share this number.
    pub op: u32,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// One message was sent.
    Send {
        /// Which.
        token: Token,
        /// Its key.
        key: Option<Digest>,
        /// Its body.
        body: Digest,
        /// Not to be delivered before then.
        delay: Duration,
        /// How it ended.
        outcome: SendOutcome,
    },
    /// A receive returned. Its deliveries follow as [`What::Deliver`] with the same `op`.
    Receive {
        /// How many were asked for.
        max: u64,
        /// How many came; `None`: in doubt, any number up to `max` may have been delivered unseen, each under
        /// a lease of at most `lease`.
        got: Option<u64>,
        /// The lease asked for.
        lease: Duration,
    },
    /// One message was handed to this actor.
    Deliver {
        /// Which, read from the body; `None`: the body is not one that was ever sent.
        token: Option<Token>,
        /// The broker's name for it.
        id: MessageId,
        /// The receipt.
        handle: Handle,
        /// As reported.
        attempt: u32,
        /// As reported.
        deadline: Time,
        /// The lease asked for.
        lease: Duration,
        /// The key received.
        key: Option<Digest>,
        /// The body received.
        body: Digest,
    },
    /// One delivery was settled.
    Settle {
        /// Which.
        handle: Handle,
        /// How.
        how: Settle,
        /// What the broker said.
        outcome: Outcome,
    },
    /// A lease was extended.
    Extend {
        /// Which.
        handle: Handle,
        /// To now + this.
        lease: Duration,
        /// What the broker said.
        outcome: Outcome,
    },
    /// The dead letters were read.
    Browse {
        /// How many were asked for.
        max: u64,
        /// What was shown; `None`: it failed. Fewer than `max` means: these are all.
        letters: Option<Vec<Letter>>,
    },
    /// Dead letters were made ready again, oldest death first.
    Redrive {
        /// How many were asked for.
        max: u64,
        /// How many moved; `None`: in doubt.
        moved: Option<u64>,
    },
    /// The broker counted its messages.
    Depth {
        /// Its answer; `None`: it failed.
        depth: Option<Depth>,
    },
    /// The batch of this `op` was answered with more outcomes than it has items, or with fewer: whose they are is
    /// anybody's guess.
    Miscounted {
        /// How many items it has.
        asked: u64,
        /// How many outcomes came.
        answered: u64,
    },
    /// The actor's session began.
    Opened,
    /// The actor's session ended without settling what it held: a crashed client.
    Lost,
    /// The broker was killed. Every session is gone.
    Crashed {
        /// How.
        crash: Crash,
    },
    /// The broker was started again.
    Booted {
        /// Why it did not start.
        error: Option<String>,
    },
    /// The broker was started with another limit of deliveries than before. The one that counts is the one in force when
    /// an attempt ends.
    Limited {
        /// How many are allowed from now on.
        deliveries_allowed: u32,
    },
    /// Another process tried to open what the broker has open.
    Intruded {
        /// Why it could not; `None`: it could.
        error: Option<String>,
    },
    /// The queue panicked, in the operation before this. The history ends here: nothing it says afterwards
    /// would be evidence.
    Panicked {
        /// What it said.
        message: String,
    },
    /// The clock was moved.
    Advanced {
        /// By this.
        by: Duration,
    },
    /// Faults ended; from here on consumers receive and ack until nothing is left, and the clock is moved past
    /// every lease and delay.
    DrainBegan,
    /// The drain was answered with errors until its budget ran out, though every fault was over.
    Unanswered {
        /// The last of them.
        error: String,
    },
    /// The drain ended: nothing more came. `false`: the budget ran out before that.
    DrainEnded {
        /// Whether it came to rest.
        quiet: bool,
    },
    /// The state of a consumer's effect store was observed, while the consumer was not running.
    Observed {
        /// One entry per intent with at least one effect or a record.
        store: Vec<Observed>,
        /// Whether the consumer had been killed since the last observation.
        after_crash: bool,
    },
}

/// How a send ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SendOutcome {
    /// Stored under this id.
    Confirmed(MessageId),
    /// Definitely not stored.
    Refused(Refusal),
    /// May or may not be stored.
    InDoubt,
}

/// How a settlement or an extension ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The broker says it took effect.
    Done,
    /// The broker says the receipt was stale.
    Stale,
    /// In doubt.
    InDoubt,
}

/// A dead letter as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Which message, read from the body.
    pub token: Option<Token>,
    /// The broker's name for it.
    pub id: MessageId,
    /// Why it died.
    pub reason: Reason,
    /// Attempts counted.
    pub attempts: u32,
    /// The key shown.
    pub key: Option<Digest>,
    /// The body shown.
    pub body: Digest,
}

/// What an effect store holds for one intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// The intent: the token of the message that asked for the effect.
    pub token: Token,
    /// How often the effect is there.
    pub effects: u32,
    /// Whether a dedup record of it is there.
    pub recorded: bool,
}
