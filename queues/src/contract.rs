//! A contract is what a queue promises, as data. Checkers read it; nothing in the harness asks for a name.
//!
//! Claim what you keep and no less: a promise that is claimed and not kept is shown as *broken*, one that is
//! not claimed is shown as *not claimed*, never as a pass.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// In which order first deliveries come. The messages of one batch follow each other as they stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Any order. Then the bound, answers "full" and answers "empty" of a history of threads are judged each for
    /// itself: together they may be wrong where each is right.
    Unordered,
    /// Each consumer sees the items of each producer in the order in which they were sent.
    PerProducer,
    /// The real-time order of all sends: linearizable as a FIFO queue.
    Fifo,
}

/// Whether an answer ("full", "empty") has an instant within its call at which it was true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It has.
    Exact,
    /// It may be given while another operation is unfinished, though it was never true.
    Relaxed,
    /// It may be given at any time, though it was never true, but not for ever: see [`Answer::PATIENCE`].
    Unreliable,
}

impl Answer {
    /// So many [`Answer::Unreliable`] answers in a row, with nothing else between them, are believed: the last
    /// of them is true. Fewer prove nothing.
    pub const PATIENCE: usize = 32;
}

/// How many threads may use one side of a buffer at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sides {
    /// One.
    One,
    /// Any number.
    Many,
}

/// What a buffer promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BufferContract {
    /// How many producers it takes.
    pub producers: Sides,
    /// How many consumers it takes.
    pub consumers: Sides,
    /// The order in which items come out.
    pub order: Order,
    /// Whether it holds at most the capacity asked for. `false`: it never refuses.
    pub bounded: bool,
    /// Whether "full" is always true.
    pub full: Answer,
    /// Whether "empty" is always true.
    pub empty: Answer,
    /// Whether it keeps counters that [`crate::Shape::start`] sets, so that their wrap can be tested (ME-4).
    pub counters: bool,
    /// In its own words: how it makes progress, and what else a user should know.
    pub progress: &'static str,
}

impl BufferContract {
    /// A bounded FIFO for any number of threads with exact answers. Start from this:
    /// `BufferContract { producers: Sides::One, ..BufferContract::FIFO }`.
    pub const FIFO: BufferContract = BufferContract {
        producers: Sides::Many,
        consumers: Sides::Many,
        order: Order::Fifo,
        bounded: true,
        full: Answer::Exact,
        empty: Answer::Exact,
        counters: false,
        progress: "not stated",
    };
}

/// The strongest crash that something survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Durability {
    /// None: it dies with the process.
    None,
    /// The process is killed; what the operating system holds stays.
    Process,
    /// The power fails; only what was synced stays.
    Power,
}

/// Whether the end of an attempt counts towards the dead-letter limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Count {
    /// It counts.
    Yes,
    /// It does not.
    No,
    /// It may or may not: the queue does not promise.
    Maybe,
}

/// Which ends of an attempt count. A queue that counts at hand-over counts them all. Whether the attempt that
/// rejects a message is among those of its dead letter is not promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counting {
    /// The consumer returned it.
    pub nack: Count,
    /// The lease ran out.
    pub expiry: Count,
    /// The session was lost while it held the lease.
    pub session_loss: Count,
    /// The broker crashed while the lease was held.
    pub crash: Count,
}

impl Counting {
    /// Attempts are counted when handed out, so every end counts.
    pub const AT_HAND_OVER: Counting =
        Counting { nack: Count::Yes, expiry: Count::Yes, session_loss: Count::Yes, crash: Count::Yes };
}

/// What happens to a message that is out of attempts or rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeadLettering {
    /// It becomes a dead letter in one atomic step: it is never in both places, nor in neither.
    Atomic,
    /// It is dropped.
    Dropped,
}

/// What the attempt of a delivery says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attempt {
    /// One more than the attempts that were counted before it.
    Counted,
    /// The ordinal of the delivery, counted or not, from 1 since the send or since a redrive that starts the count
    /// again.
    Ordinal,
}

/// When a message that is out of attempts leaves the main path. (A rejected one leaves it at once.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Death {
    /// When its last attempt ends.
    AtOnce,
    /// When a receive comes upon it, and at the latest with one that finds fewer messages than it asked for (after
    /// the delay that it was returned with, if any). Until then it may be counted as ready or delayed, and it takes
    /// its slot of the capacity.
    NextReceive,
}

/// What becomes of a batch of sends that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Batches {
    /// What fits is stored, the rest is refused.
    Items,
    /// All of it is refused.
    Whole,
}

/// What becomes of a message that is sent again, byte for byte, because its first send was in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Retries {
    /// Each send may store it.
    Stored,
    /// It is stored once and confirmed under the same id, also after it was acked.
    Deduplicated,
}

/// When leases end other than by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leases {
    /// A lost session's leases end at once. `false`: they run until their deadline.
    pub end_with_session: bool,
    /// Leases end when the broker crashes. `false`: they are kept with their deadline.
    pub end_with_crash: bool,
}

/// Where a message that comes back stands among the ready ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Requeue {
    /// Where it stood: before everything sent after it.
    Original,
    /// Behind everything that is ready.
    Tail,
    /// Anywhere.
    Unspecified,
}

/// A number of bytes, so that limits cannot be mixed up with counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Bytes(pub u64);

/// What a broker promises.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contract {
    /// Which crash a confirmed send survives, and a delivered message, whether its send was confirmed or not.
    pub sends: Durability,
    /// A confirmed send survives a power failure too once a call was answered that began so long after it: a queue that
    /// syncs every so often. `None`: what is not promised by `sends` is never promised.
    pub synced_every: Option<Duration>,
    /// Which crash an acknowledged settlement (ack, reject) survives.
    pub acks: Durability,
    /// Which crash the count of attempts survives.
    pub counts: Durability,
    /// Which crash a delay (of a send or a nack) survives: the message does not come early after it.
    pub delays: Durability,
    /// Whether damage to what is stored, as a bit that flips while the broker is down, is noticed: it does not start
    /// or an answer names it, unless nothing that was promised is lost or changed by it.
    pub damage_noticed: bool,
    /// Whether a second process is refused while one has what it is stored in open.
    pub sole_owner: bool,
    /// The order of first deliveries without faults.
    pub order: Order,
    /// The most messages resident at once (ready, in flight and delayed; dead letters are apart).
    /// `None`: unbounded.
    pub capacity: Option<u64>,
    /// The largest body.
    pub body_limit: Option<Bytes>,
    /// Whether a refusal "full" is always true.
    pub full: Answer,
    /// Whether an empty receive is always true.
    pub empty: Answer,
    /// When leases end other than by time.
    pub leases: Leases,
    /// Whether a settlement with a stale receipt is answered [`crate::Settled::Stale`]. `false`: the answer
    /// may be `Done` though nothing was done; it must be without effect all the same.
    pub stale_refused: bool,
    /// What becomes of a message that is sent again.
    pub retries: Retries,
    /// What becomes of a batch of sends that does not fit.
    pub batches: Batches,
    /// How often a message that always fails is delivered before it leaves the main path (the limit *as
    /// deliveries*: a system that compares "returns > N" allows N + 1). `None`: for ever.
    pub deliveries_allowed: Option<u32>,
    /// Which ends of an attempt count.
    pub counting: Counting,
    /// What the attempt of a delivery says.
    pub attempt: Attempt,
    /// When a message that is out of attempts leaves the main path.
    pub death: Death,
    /// What happens to a message that is out of attempts or rejected.
    pub dead_lettering: DeadLettering,
    /// Whether redrive starts the count again.
    pub redrive_resets: bool,
    /// Where redriven messages stand among the ready ones, those of one redrive in the order of their deaths.
    pub redriven: Requeue,
    /// Where a message stands among the ready ones that was returned (its delay, if any, is over then), whose lease
    /// ran out or whose session was lost. After a crash or a redrive it has no such place.
    pub requeue: Requeue,
}

impl Contract {
    /// At least once, FIFO, in memory: everything exact, nothing survives the process, attempts counted at
    /// hand-over, leases end with their session, unbounded, without a limit of attempts. Start from this:
    /// `Contract { capacity: Some(10), ..Contract::in_memory() }`.
    pub fn in_memory() -> Contract {
        Contract {
            sends: Durability::None,
            synced_every: None,
            acks: Durability::None,
            counts: Durability::None,
            delays: Durability::None,
            damage_noticed: false,
            sole_owner: false,
            order: Order::Fifo,
            capacity: None,
            body_limit: None,
            full: Answer::Exact,
            empty: Answer::Exact,
            leases: Leases { end_with_session: true, end_with_crash: true },
            stale_refused: true,
            retries: Retries::Stored,
            batches: Batches::Items,
            deliveries_allowed: None,
            counting: Counting::AT_HAND_OVER,
            attempt: Attempt::Counted,
            death: Death::AtOnce,
            dead_lettering: DeadLettering::Atomic,
            redrive_resets: true,
            redriven: Requeue::Unspecified,
            requeue: Requeue::Original,
        }
    }

    /// The same, but every confirmed effect survives a power failure. Damage may pass unnoticed, and a second process may
    /// open it.
    pub fn durable() -> Contract {
        Contract {
            sends: Durability::Power,
            acks: Durability::Power,
            counts: Durability::Power,
            delays: Durability::Power,
            ..Contract::in_memory()
        }
    }
}
