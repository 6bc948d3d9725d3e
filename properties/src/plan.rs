//! A plan: what the clients of a broker do and which faults they meet, as data. It is generated, executed,
//! shrunk, saved and replayed.
//!
//! Every step has a meaning in every state: what it refers to is counted modulo what there is, and a step
//! that finds nothing to refer to does nothing. So any subset of the steps of a plan is a plan, and deleting
//! steps is all that shrinking needs.

use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::{NewTree, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde::{Deserialize, Serialize};
use stanchion_queues::{Clock, Crash, Settings};

/// How many sessions a plan uses at once.
pub const SESSIONS: usize = 3;

/// What to do to a broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// How the broker is set up.
    pub settings: PlanSettings,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// Whether the drain at the end redrives all dead letters (in every second plan the oldest before the others)
    /// and drains again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub redrive_at_end: bool,
}

/// The settings that a plan asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanSettings {
    /// See [`Settings::capacity`].
    pub capacity: usize,
    /// See [`Settings::deliveries_allowed`].
    pub deliveries_allowed: u32,
    /// See [`Settings::seed`].
    pub seed: u64,
}

impl PlanSettings {
    /// The same for a broker that reads `clock`.
    pub fn with_clock(&self, clock: Clock) -> Settings {
        Settings {
            capacity: self.capacity,
            deliveries_allowed: self.deliveries_allowed,
            clock,
            seed: self.seed,
        }
    }
}

/// One thing that a client does or that befalls it. Sessions are slots, modulo [`SESSIONS`]: a slot without a
/// session opens one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Sends new messages in one batch.
    Send {
        /// By whom.
        session: usize,
        /// How many.
        count: usize,
        /// Not to be delivered before that many milliseconds have passed.
        #[serde(default, skip_serializing_if = "is_default")]
        delay_ms: u64,
        /// Whether most of them carry keys.
        #[serde(default, skip_serializing_if = "is_default")]
        keyed: bool,
        /// Whether the call gets through.
        #[serde(default, skip_serializing_if = "is_default")]
        fate: Fate,
    },
    /// Sends one message that is unusual.
    SendOdd {
        /// By whom.
        session: usize,
        /// In which way.
        odd: Odd,
        /// Whether the call gets through.
        #[serde(default, skip_serializing_if = "is_default")]
        fate: Fate,
    },
    /// Sends a message again whose send is in doubt.
    Retry {
        /// By whom.
        session: usize,
        /// Which of those in doubt, the latest first.
        which: usize,
        /// Whether the call gets through.
        #[serde(default, skip_serializing_if = "is_default")]
        fate: Fate,
    },
    /// Receives.
    Receive {
        /// By whom.
        session: usize,
        /// At most how many.
        max: usize,
        /// The lease, in milliseconds.
        lease_ms: u64,
        /// Whether the call gets through.
        #[serde(default, skip_serializing_if = "is_default")]
        fate: Fate,
    },
    /// Settles deliveries in one batch.
    Settle {
        /// By whom.
        session: usize,
        /// The first of them.
        which: Which,
        /// How many; the others are its neighbours.
        count: usize,
        /// How.
        how: How,
        /// Whether the call gets through.
        #[serde(default, skip_serializing_if = "is_default")]
        fate: Fate,
    },
    /// Settles deliveries in one batch, each in its own way. One may be there twice.
    SettleEach {
        /// By whom.
        session: usize,
        /// Which, and how.
        each: Vec<(Which, How)>,
        /// Whether the call gets through.
        #[serde(default, skip_serializing_if = "is_default")]
        fate: Fate,
    },
    /// Sends, receives and acks one message after another.
    Churn {
        /// By whom.
        session: usize,
        /// How many.
        count: usize,
    },
    /// Sends messages one by one, and asks for the counts.
    Flood {
        /// By whom.
        session: usize,
        /// How many.
        count: usize,
    },
    /// Receives a message and returns it at once, again and again.
    Wear {
        /// By whom.
        session: usize,
        /// How often.
        count: usize,
    },
    /// Extends a lease.
    Extend {
        /// By whom.
        session: usize,
        /// Of which delivery.
        which: Which,
        /// To this many milliseconds from now.
        lease_ms: u64,
        /// Whether the call gets through.
        #[serde(default, skip_serializing_if = "is_default")]
        fate: Fate,
    },
    /// Makes dead letters ready again.
    Redrive {
        /// By whom.
        session: usize,
        /// At most how many.
        max: usize,
        /// Whether the call gets through.
        #[serde(default, skip_serializing_if = "is_default")]
        fate: Fate,
    },
    /// Reads all dead letters.
    Browse {
        /// By whom.
        session: usize,
    },
    /// Reads the oldest dead letters.
    BrowseFew {
        /// By whom.
        session: usize,
        /// At most how many.
        max: usize,
    },
    /// Asks for the counts.
    Depth {
        /// By whom.
        session: usize,
    },
    /// Moves the clock.
    Advance {
        /// By that many milliseconds.
        ms: u64,
    },
    /// Moves the clock to an instant at which a lease or a delay ends, or just beside it.
    AdvanceTo {
        /// Which of those ahead, the nearest first.
        which: usize,
        /// That many nanoseconds beside it.
        #[serde(default, skip_serializing_if = "is_default")]
        offset_ns: i64,
    },
    /// A client dies with what it holds.
    LoseSession {
        /// Which.
        session: usize,
    },
    /// The broker dies and is started again.
    Crash {
        /// Of what.
        kind: Crash,
    },
}

/// How many dead letters the drain redrives before it redrives all of them, if it does.
pub(crate) fn redrive(at_end: bool, seed: u64) -> Option<&'static [usize]> {
    let oldest_first = !seed.is_multiple_of(2);
    at_end.then_some(if oldest_first { &[1] } else { &[] })
}

/// The seed of a plan in which the first start after a crash allows one delivery.
pub(crate) const LIMITED: u64 = 3 << 61;

/// The limit of deliveries with which a broker that allowed so many is started again, in the plans that change it: lower by
/// turns, and as it was. That is every eighth plan that is drawn; seeds given by hand are small and change nothing.
pub(crate) fn limit_after(seed: u64, allowed: u32, crashes: u32) -> Option<u32> {
    let lower = 1 + (seed >> 8) as u32 % allowed.clamp(1, 3);
    (seed >> 61 == LIMITED >> 61).then_some(if crashes % 2 == 1 { lower } else { allowed })
}

/// What is added to every lease and delay of a plan: in every eighth plan they are no whole milliseconds.
pub(crate) fn fraction(seed: u64) -> Duration {
    Duration::from_nanos(if seed % 8 == 7 { 300_001 } else { 0 })
}

/// The session of a step, as it was borrowed.
macro_rules! session_of {
    ($step:expr) => {
        match $step {
            Step::Send { session, .. }
            | Step::Retry { session, .. }
            | Step::Receive { session, .. }
            | Step::Settle { session, .. }
            | Step::Extend { session, .. }
            | Step::Redrive { session, .. }
            | Step::SendOdd { session, .. }
            | Step::SettleEach { session, .. }
            | Step::Churn { session, .. }
            | Step::Flood { session, .. }
            | Step::Wear { session, .. }
            | Step::Browse { session }
            | Step::BrowseFew { session, .. }
            | Step::Depth { session }
            | Step::LoseSession { session } => Some(session),
            Step::Advance { .. } | Step::AdvanceTo { .. } | Step::Crash { .. } => None,
        }
    };
}

impl Step {
    /// The slot of the session that does it, if it is one that a client does.
    pub(crate) fn session(&self) -> Option<usize> {
        session_of!(self).copied()
    }

    /// The same, to be changed.
    pub(crate) fn session_mut(&mut self) -> Option<&mut usize> {
        session_of!(self)
    }

    /// Whether the call gets through, for the steps that are calls which can be in doubt.
    pub fn fate_mut(&mut self) -> Option<&mut Fate> {
        match self {
            Step::Send { fate, .. }
            | Step::SendOdd { fate, .. }
            | Step::SettleEach { fate, .. }
            | Step::Retry { fate, .. }
            | Step::Receive { fate, .. }
            | Step::Settle { fate, .. }
            | Step::Extend { fate, .. }
            | Step::Redrive { fate, .. } => Some(fate),
            _ => None,
        }
    }
}

/// Whether a call gets through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It arrives, and so does the reply.
    #[default]
    Arrives,
    /// The broker does it, the caller does not hear of it: in doubt.
    ReplyLost,
    /// The broker never hears of it, and the caller cannot know that: in doubt.
    RequestLost,
}

/// In which way a message is unusual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Odd {
    /// It has a key without a byte.
    EmptyKey,
    /// It has a key of more bytes than eight bits count.
    LongKey,
    /// It has no body. Who it is, its key says. Two are sent, so that two bodies are equal.
    NoBody,
    /// Its body is larger than 64 KiB.
    Large,
    /// Its body is as large as the contract allows. (Not sent where that is nothing or more than a mebibyte.)
    AtLimit,
    /// Its body is a byte larger than that. (Not sent where the limit is nothing or more than 64 mebibytes.)
    OverLimit,
}

/// One of the deliveries seen so far, the latest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// Of those that look current to the clients, or of all if none does.
    Current(usize),
    /// Of all that were ever seen.
    Any(usize),
    /// Of earlier deliveries of messages whose latest looks current, or of all if there is none: what is done under
    /// one of them could befall somebody else's delivery.
    Superseded(usize),
}

/// How deliveries are settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Done.
    Ack,
    /// Again, after that many milliseconds.
    Nack {
        /// The delay.
        delay_ms: u64,
    },
    /// Never again.
    Reject,
}

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What a plan is rich in. Each reaches situations that the others rarely do. A mix is a proptest strategy for
/// its plans; they are shrunk by [`mod@crate::shrink`], which knows what may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// No faults.
    Calm,
    /// Lost requests, replies and sessions, now and then a crash.
    Faults,
    /// Deliveries that fail again and again, dead letters, redrive.
    Poison,
    /// Receipts used too late, leases that end at the same instant.
    Stale,
    /// Crashes.
    Crash,
    /// A broker of capacity 1 to 3 that is sent more than it holds.
    Full,
    /// Leases that are extended again and again.
    Held,
}

impl Strategy for Mix {
    type Tree = Just<Plan>;
    type Value = Plan;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Mix> {
        Ok(Just(self.plan(runner.rng())))
    }
}

impl Mix {
    /// Every mix.
    pub const ALL: [Mix; 7] =
        [Mix::Calm, Mix::Faults, Mix::Poison, Mix::Stale, Mix::Crash, Mix::Full, Mix::Held];

    /// A plan, 20 to 60 steps long.
    fn plan(self, rng: &mut TestRng) -> Plan {
        let mut recipe = self.recipe();
        let settings = recipe.settings(rng);
        // Where much fits in, or much is allowed, counts grow large only if something makes them.
        recipe.steps.flood += 2 * u32::from(settings.capacity >= MUCH);
        recipe.steps.wear += 2 * u32::from(settings.deliveries_allowed as usize >= MUCH);
        let length = rng.random_range(20..=60);
        let mut steps = Vec::with_capacity(length);
        while steps.len() < length {
            let step = recipe.step(rng);
            let struck = recipe.may_be_struck(&step) && rng.random_ratio(recipe.strike, 100);
            steps.push(step);
            if struck {
                steps.push(crash(rng));
            }
        }
        Plan { settings, steps, redrive_at_end: rng.random_ratio(1, 4) }
    }

    fn recipe(self) -> Recipe {
        let even = Recipe {
            steps: Steps {
                send: 20,
                odd: 1,
                retry: 4,
                receive: 24,
                settle: 22,
                each: 4,
                churn: 0,
                flood: 0,
                wear: 0,
                extend: 8,
                redrive: 2,
                browse: 2,
                browse_few: 1,
                depth: 2,
                advance: 10,
                advance_to: 6,
                lose: 4,
                crash: 0,
            },
            lost: 5,
            stale: 15,
            ack: 60,
            nack: 30,
            reject: 10,
            strike: 0,
            tight: false,
        };
        let steps = even.steps;
        match self {
            Mix::Calm => {
                Recipe { steps: Steps { retry: 0, churn: 1, depth: 4, lose: 0, ..steps }, lost: 0, ..even }
            }
            Mix::Faults => Recipe { steps: Steps { retry: 8, lose: 6, crash: 2, ..steps }, lost: 30, ..even },
            Mix::Poison => Recipe {
                steps: Steps {
                    send: 10,
                    receive: 32,
                    settle: 26,
                    redrive: 8,
                    browse: 4,
                    browse_few: 3,
                    advance: 20,
                    ..steps
                },
                ack: 10,
                nack: 65,
                reject: 25,
                ..even
            },
            Mix::Stale => Recipe {
                steps: Steps { send: 12, settle: 30, extend: 12, advance: 12, advance_to: 16, ..steps },
                stale: 60,
                ..even
            },
            Mix::Crash => Recipe {
                steps: Steps { crash: 8, redrive: 12, browse: 4, browse_few: 2, ..steps },
                strike: 20,
                lost: 10,
                ack: 35,
                nack: 35,
                reject: 30,
                ..even
            },
            Mix::Full => Recipe {
                steps: Steps { send: 48, flood: 1, receive: 16, settle: 16, depth: 4, ..steps },
                tight: true,
                ..even
            },
            Mix::Held => Recipe {
                steps: Steps { send: 8, settle: 8, extend: 40, advance: 30, lose: 2, ..steps },
                stale: 25,
                ..even
            },
        }
    }
}

/// Weights of the steps.
#[derive(Clone, Copy)]
struct Steps {
    send: u32,
    odd: u32,
    retry: u32,
    receive: u32,
    settle: u32,
    each: u32,
    churn: u32,
    flood: u32,
    wear: u32,
    extend: u32,
    redrive: u32,
    browse: u32,
    browse_few: u32,
    depth: u32,
    advance: u32,
    advance_to: u32,
    lose: u32,
    crash: u32,
}

/// How the plans of a mix are made.
#[derive(Clone, Copy)]
struct Recipe {
    steps: Steps,
    /// Per cent of the calls of which a request or a reply is lost.
    lost: u32,
    /// Per cent of the settlements and extensions that take any receipt instead of a current one.
    stale: u32,
    /// Weights of the ways to settle.
    ack: u32,
    nack: u32,
    reject: u32,
    /// Per cent of the steps that change what is stored after which the broker crashes at once: there a crash has
    /// most to take away.
    strike: u32,
    /// Whether the capacity is 1 to 3.
    tight: bool,
}

/// One of the values, by weight.
fn choose<T: Copy>(rng: &mut TestRng, options: &[(u32, T)]) -> T {
    let total: u32 = options.iter().map(|(weight, _)| weight).sum();
    let mut ticket = rng.random_range(0..total);
    for &(weight, value) in options {
        match ticket.checked_sub(weight) {
            Some(rest) => ticket = rest,
            None => return value,
        }
    }
    unreachable!("the ticket is below the total of the weights")
}

fn crash(rng: &mut TestRng) -> Step {
    // A loss of power leaves more to be found: it tears what was not synced.
    Step::Crash { kind: choose(rng, &[(1, Crash::Process), (2, Crash::Power)]) }
}

/// Few values, so that deadlines coincide.
fn millis(rng: &mut TestRng) -> u64 {
    choose(rng, &[(1, 10), (1, 20), (1, 30)])
}

/// Six days and a hundred: where units and widths are mixed up, these overflow. What 16 bits keep of their milliseconds,
/// 32 bits of their micro- and nanoseconds, and for the longer one 32 bits of its milliseconds, is 5 ms, so that it is seen.
const LONG_MS: [u64; 2] = [(1 << 29) + 5, (1 << 33) + 5];

/// Now and then one that is long, so long that only the drain sees its end.
fn lease(rng: &mut TestRng) -> u64 {
    let [days, months] = LONG_MS;
    let usual = millis(rng);
    choose(rng, &[(40, usual), (1, days), (1, months)])
}

/// More than a byte counts, but not often: it is as many calls.
const MUCH: usize = 300;

fn some_or_many(rng: &mut TestRng) -> usize {
    choose(rng, &[(3, 40), (1, MUCH)])
}

/// The same, or none at all, which is to be refused.
fn lease_or_none(rng: &mut TestRng) -> u64 {
    let usual = lease(rng);
    choose(rng, &[(40, usual), (1, 0)])
}

fn few_or_none(rng: &mut TestRng) -> usize {
    let few = few(rng);
    choose(rng, &[(40, few), (1, 0)])
}

fn delay(rng: &mut TestRng) -> u64 {
    let [days, months] = LONG_MS;
    choose(rng, &[(60, 0), (20, 10), (20, 20), (1, days), (1, months)])
}

fn session(rng: &mut TestRng) -> usize {
    choose(rng, &[(3, 0), (3, 1), (1, 2)])
}

fn few(rng: &mut TestRng) -> usize {
    choose(rng, &[(4, 1), (2, 2), (1, 3), (1, 4)])
}

impl Recipe {
    fn fate(&self, rng: &mut TestRng) -> Fate {
        if !rng.random_ratio(self.lost, 100) {
            Fate::Arrives
        } else if rng.random() {
            Fate::ReplyLost
        } else {
            Fate::RequestLost
        }
    }

    fn may_be_struck(&self, step: &Step) -> bool {
        let changes = matches!(
            step,
            Step::Send { .. } | Step::Settle { .. } | Step::SettleEach { .. } | Step::Redrive { .. }
        );
        changes && self.strike > 0
    }

    fn which(&self, rng: &mut TestRng) -> Which {
        if rng.random_ratio(self.stale, 100) {
            let which = rng.random_range(0..12);
            if rng.random() { Which::Superseded(which) } else { Which::Any(which) }
        } else {
            Which::Current(rng.random_range(0..4))
        }
    }

    fn how(&self, rng: &mut TestRng) -> How {
        let delay_ms = delay(rng);
        choose(rng, &[(self.ack, How::Ack), (self.nack, How::Nack { delay_ms }), (self.reject, How::Reject)])
    }

    fn each(&self, rng: &mut TestRng) -> Vec<(Which, How)> {
        let mut each: Vec<(Which, How)> = Vec::new();
        for _ in 0..rng.random_range(2..=4) {
            let again = each.last().map(|&(which, _)| which).filter(|_| rng.random_ratio(1, 4));
            each.push((again.unwrap_or_else(|| self.which(rng)), self.how(rng)));
        }
        each
    }

    fn step(&self, rng: &mut TestRng) -> Step {
        type Draw = fn(&Recipe, &mut TestRng, usize) -> Step;
        let steps = &self.steps;
        let draw = choose::<Draw>(
            rng,
            &[
                (steps.send, |recipe, rng, session| Step::Send {
                    session,
                    count: few(rng),
                    delay_ms: delay(rng),
                    keyed: rng.random(),
                    fate: recipe.fate(rng),
                }),
                (steps.odd, |recipe, rng, session| Step::SendOdd {
                    session,
                    odd: choose(
                        rng,
                        &[
                            (4, Odd::EmptyKey),
                            (2, Odd::LongKey),
                            (2, Odd::NoBody),
                            (1, Odd::Large),
                            (1, Odd::AtLimit),
                            (1, Odd::OverLimit),
                        ],
                    ),
                    fate: recipe.fate(rng),
                }),
                (steps.retry, |recipe, rng, session| Step::Retry {
                    session,
                    which: rng.random_range(0..3),
                    fate: recipe.fate(rng),
                }),
                (steps.receive, |recipe, rng, session| Step::Receive {
                    session,
                    max: few_or_none(rng),
                    lease_ms: lease_or_none(rng),
                    fate: recipe.fate(rng),
                }),
                (steps.settle, |recipe, rng, session| Step::Settle {
                    session,
                    which: recipe.which(rng),
                    count: few(rng),
                    how: recipe.how(rng),
                    fate: recipe.fate(rng),
                }),
                (steps.each, |recipe, rng, session| Step::SettleEach {
                    session,
                    each: recipe.each(rng),
                    fate: recipe.fate(rng),
                }),
                (steps.churn, |_, rng, session| Step::Churn {
                    session,
                    count: choose(rng, &[(5, 8), (1, MUCH)]),
                }),
                (steps.flood, |_, rng, session| Step::Flood { session, count: some_or_many(rng) }),
                (steps.wear, |_, rng, session| Step::Wear { session, count: some_or_many(rng) }),
                (steps.extend, |recipe, rng, session| Step::Extend {
                    session,
                    which: recipe.which(rng),
                    lease_ms: lease(rng),
                    fate: recipe.fate(rng),
                }),
                (steps.redrive, |recipe, rng, session| Step::Redrive {
                    session,
                    max: few(rng),
                    fate: recipe.fate(rng),
                }),
                (steps.browse, |_, _, session| Step::Browse { session }),
                (steps.browse_few, |_, rng, session| Step::BrowseFew { session, max: few(rng) }),
                (steps.depth, |_, _, session| Step::Depth { session }),
                (steps.advance, |_, rng, _| Step::Advance {
                    ms: choose(rng, &[(3, 5), (4, 10), (4, 20), (4, 30)]),
                }),
                (steps.advance_to, |_, rng, _| Step::AdvanceTo {
                    which: rng.random_range(0..3),
                    offset_ns: rng.random_range(-1..=1),
                }),
                (steps.lose, |_, _, session| Step::LoseSession { session }),
                (steps.crash, |_, rng, _| crash(rng)),
            ],
        );
        let session = session(rng);
        draw(self, rng, session)
    }

    fn settings(&self, rng: &mut TestRng) -> PlanSettings {
        let roomy = u32::from(!self.tight);
        let small = rng.random_range(1..=3);
        let medium = rng.random_range(4..=12);
        PlanSettings {
            capacity: choose(
                rng,
                &[(80, small), (60 * roomy, medium), (40 * roomy, 64), (5 * roomy, MUCH + MUCH / 2)],
            ),
            deliveries_allowed: choose(rng, &[(20, 1), (60, 2), (40, 3), (20, 4), (5, MUCH as u32)]),
            seed: rng.random(),
        }
    }
}

/// Where plans come from: some mixes, all of them by default.
#[derive(Clone, Copy, Debug)]
pub struct Plans<'a> {
    mixes: &'a [Mix],
}

impl Default for Plans<'_> {
    fn default() -> Self {
        Plans { mixes: &Mix::ALL }
    }
}

impl<'a> Plans<'a> {
    /// Plans of these mixes only; `None` if there are none.
    pub fn of(mixes: &'a [Mix]) -> Option<Plans<'a>> {
        (!mixes.is_empty()).then_some(Plans { mixes })
    }

    /// The plan of a seed: always the same one. The seed chooses the mix, too.
    pub fn draw(&self, seed: u64) -> Plan {
        draw(&self.mixes[(seed % self.mixes.len() as u64) as usize], seed)
    }
}

/// The seed of one case. It depends on nothing but these three, so a filter or an added queue changes no
/// other case. (FNV-1a over the parts, finished by a step of SplitMix64: stable across versions of Rust, unlike the
/// standard library's hashers.)
pub fn case_seed(run_seed: u64, queue: &str, index: u64) -> u64 {
    let parts = [&run_seed.to_le_bytes()[..], queue.as_bytes(), &index.to_le_bytes()[..]];
    splitmix(fnv1a(parts.into_iter().flatten().copied()))
}

/// FNV-1a with 64 bits.
pub(crate) fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes
        .into_iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The output function of SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) fn splitmix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What a strategy gives for a seed: always the same.
///
/// # Panics
/// If the strategy filters and rejects too much; none of ours filters.
pub(crate) fn draw<S: Strategy>(strategy: &S, seed: u64) -> S::Value {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..].copy_from_slice(&splitmix(seed).to_le_bytes());
    let config = Config { failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::XorShift, &bytes));
    strategy.new_tree(&mut runner).expect("no strategy here filters, and only filters can fail").current()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_names_one_plan_and_seeds_differ() {
        let drawn: Vec<Plan> = (0..50).map(|seed| Plans::default().draw(seed)).collect();
        assert!((0..50).all(|seed| Plans::default().draw(seed) == drawn[seed as usize]));
        assert!(drawn.windows(2).all(|pair| pair[0] != pair[1]));
        assert_ne!(case_seed(1, "ring", 0), case_seed(1, "ring", 1));
        assert_ne!(case_seed(1, "ring", 0), case_seed(1, "file", 0));
        assert_ne!(case_seed(1, "ring", 0), case_seed(2, "ring", 0));
    }

    #[test]
    fn case_seeds_are_the_same_in_every_version() {
        // Saved seeds and tables of kills refer to these: a change here is a change of every case.
        assert_eq!(case_seed(1, "ring", 0), 1_854_285_170_776_046_393);
    }

    #[test]
    fn a_plan_survives_json_and_reads_well() {
        let plan = Plan {
            settings: PlanSettings { capacity: 2, deliveries_allowed: 3, seed: 4 },
            steps: vec![
                Step::Send { session: 0, count: 1, delay_ms: 0, keyed: false, fate: Fate::Arrives },
                Step::Settle {
                    session: 1,
                    which: Which::Any(3),
                    count: 1,
                    how: How::Nack { delay_ms: 10 },
                    fate: Fate::ReplyLost,
                },
                Step::Crash { kind: Crash::Power },
            ],
            redrive_at_end: false,
        };
        let json = serde_json::to_string(&plan).expect("a plan is plain data");
        assert_eq!(
            json,
            r#"{"settings":{"capacity":2,"deliveries_allowed":3,"seed":4},"steps":[{"send":{"session":0,"count":1}},{"settle":{"session":1,"which":{"any":3},"count":1,"how":{"nack":{"delay_ms":10}},"fate":"reply_lost"}},{"crash":{"kind":"Power"}}]}"#
        );
        assert_eq!(serde_json::from_str::<Plan>(&json).expect("just written"), plan);
        for seed in 0..100 {
            let plan = Plans::default().draw(seed);
            let json = serde_json::to_string(&plan).expect("a plan is plain data");
            assert_eq!(serde_json::from_str::<Plan>(&json).expect("just written"), plan);
        }
        assert!(serde_json::from_str::<Plan>(&json.replace("count", "cuont")).is_err(), "typos are errors");
    }

    #[test]
    fn calm_plans_have_no_faults_and_full_ones_little_room() {
        let calm = Plans::of(&[Mix::Calm]).expect("one mix");
        let full = Plans::of(&[Mix::Full]).expect("one mix");
        for seed in 0..100 {
            assert!(calm.draw(seed).steps.iter_mut().all(|step| {
                step.fate_mut().is_none_or(|fate| *fate == Fate::Arrives)
                    && !matches!(step, Step::Crash { .. } | Step::LoseSession { .. })
            }));
            assert!(full.draw(seed).settings.capacity <= 3);
        }
        assert!(Plans::of(&[]).is_none());
    }
}
