//! A plan: what the clients of a broker do and which faults they meet, as data. It is generated, executed,
//! shrunk, saved and replayed.
//!
//! Every step has a meaning in every state: what it refers to is counted modulo what there is, and a step
//! that finds nothing to refer to does nothing. So any subset of the steps of a plan is a plan, and deleting
//! steps is all that shrinking needs.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::{BoxedStrategy, Union};
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
    /// Whether the drain at the end redrives all dead letters and drains again.
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
        /// Whether they carry keys.
        #[serde(default, skip_serializing_if = "is_default")]
        keyed: bool,
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

impl Step {
    /// Whether the call gets through, for the steps that are calls which can be in doubt.
    pub fn fate_mut(&mut self) -> Option<&mut Fate> {
        match self {
            Step::Send { fate, .. }
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

/// One of the deliveries seen so far, the latest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// Of those that look current to the clients, or of all if none does.
    Current(usize),
    /// Of all that were ever seen.
    Any(usize),
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

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What a plan is rich in. Each reaches situations that the others rarely do.
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
}

impl Mix {
    /// Every mix.
    pub const ALL: [Mix; 6] = [Mix::Calm, Mix::Faults, Mix::Poison, Mix::Stale, Mix::Crash, Mix::Full];

    fn recipe(self) -> Recipe {
        let even = Recipe {
            send: 10,
            retry: 2,
            receive: 12,
            settle: 12,
            extend: 2,
            redrive: 1,
            browse: 1,
            depth: 1,
            advance: 5,
            advance_to: 3,
            lose: 2,
            crash: 0,
            lost: 5,
            stale: 15,
            ack: 60,
            nack: 30,
            reject: 10,
            tight: false,
        };
        match self {
            Mix::Calm => Recipe { retry: 0, depth: 2, lose: 0, lost: 0, ..even },
            Mix::Faults => Recipe { retry: 4, lose: 3, crash: 1, lost: 30, ..even },
            Mix::Poison => Recipe {
                send: 5,
                receive: 16,
                settle: 14,
                redrive: 4,
                browse: 2,
                advance: 10,
                ack: 10,
                nack: 65,
                reject: 25,
                ..even
            },
            Mix::Stale => {
                Recipe { send: 6, settle: 16, extend: 5, advance: 6, advance_to: 8, stale: 60, ..even }
            }
            Mix::Crash => Recipe { crash: 6, lost: 10, redrive: 2, browse: 2, ..even },
            Mix::Full => Recipe { send: 24, receive: 8, settle: 8, depth: 2, tight: true, ..even },
        }
    }
}

/// Weights of the steps and, in per cent or relative to each other, of their arguments.
#[derive(Clone, Copy)]
struct Recipe {
    send: u32,
    retry: u32,
    receive: u32,
    settle: u32,
    extend: u32,
    redrive: u32,
    browse: u32,
    depth: u32,
    advance: u32,
    advance_to: u32,
    lose: u32,
    crash: u32,
    /// Per cent of the calls of which a request or a reply is lost.
    lost: u32,
    /// Per cent of the settlements that take any receipt instead of a current one.
    stale: u32,
    ack: u32,
    nack: u32,
    reject: u32,
    /// Whether the capacity is 1 to 3.
    tight: bool,
}

/// A choice among strategies by weight; those of weight zero never.
fn weighted<T: std::fmt::Debug + 'static>(options: Vec<(u32, BoxedStrategy<T>)>) -> BoxedStrategy<T> {
    Union::new_weighted(options.into_iter().filter(|(weight, _)| *weight > 0).collect()).boxed()
}

/// Few values, so that deadlines coincide.
fn millis() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![Just(10u64), Just(20), Just(30)]
}

fn delay() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![3 => Just(0u64), 1 => Just(10), 1 => Just(20)]
}

fn session() -> impl Strategy<Value = usize> + Clone {
    prop_oneof![3 => Just(0usize), 3 => Just(1), 1 => Just(2)]
}

fn few() -> impl Strategy<Value = usize> + Clone {
    prop_oneof![4 => Just(1usize), 2 => Just(2), 1 => Just(3), 1 => Just(4)]
}

impl Recipe {
    fn fate(&self) -> BoxedStrategy<Fate> {
        let lost = self.lost;
        weighted(vec![
            (100 - lost, Just(Fate::Arrives).boxed()),
            (lost, prop_oneof![Just(Fate::ReplyLost), Just(Fate::RequestLost)].boxed()),
        ])
    }

    fn which(&self) -> BoxedStrategy<Which> {
        weighted(vec![
            (100 - self.stale, (0..4usize).prop_map(Which::Current).boxed()),
            (self.stale, (0..12usize).prop_map(Which::Any).boxed()),
        ])
    }

    fn how(&self) -> BoxedStrategy<How> {
        weighted(vec![
            (self.ack, Just(How::Ack).boxed()),
            (self.nack, delay().prop_map(|delay_ms| How::Nack { delay_ms }).boxed()),
            (self.reject, Just(How::Reject).boxed()),
        ])
    }

    fn step(&self) -> BoxedStrategy<Step> {
        let fate = self.fate();
        weighted(vec![
            (
                self.send,
                (session(), few(), delay(), any::<bool>(), fate.clone())
                    .prop_map(|(session, count, delay_ms, keyed, fate)| Step::Send {
                        session,
                        count,
                        delay_ms,
                        keyed,
                        fate,
                    })
                    .boxed(),
            ),
            (
                self.retry,
                (session(), 0..3usize, fate.clone())
                    .prop_map(|(session, which, fate)| Step::Retry { session, which, fate })
                    .boxed(),
            ),
            (
                self.receive,
                (session(), few(), millis(), fate.clone())
                    .prop_map(|(session, max, lease_ms, fate)| Step::Receive { session, max, lease_ms, fate })
                    .boxed(),
            ),
            (
                self.settle,
                (session(), self.which(), few(), self.how(), fate.clone())
                    .prop_map(|(session, which, count, how, fate)| Step::Settle {
                        session,
                        which,
                        count,
                        how,
                        fate,
                    })
                    .boxed(),
            ),
            (
                self.extend,
                (session(), self.which(), millis(), fate.clone())
                    .prop_map(|(session, which, lease_ms, fate)| Step::Extend {
                        session,
                        which,
                        lease_ms,
                        fate,
                    })
                    .boxed(),
            ),
            (
                self.redrive,
                (session(), few(), fate)
                    .prop_map(|(session, max, fate)| Step::Redrive { session, max, fate })
                    .boxed(),
            ),
            (self.browse, session().prop_map(|session| Step::Browse { session }).boxed()),
            (self.depth, session().prop_map(|session| Step::Depth { session }).boxed()),
            (
                self.advance,
                prop_oneof![1 => Just(5u64), 4 => millis()].prop_map(|ms| Step::Advance { ms }).boxed(),
            ),
            (
                self.advance_to,
                (0..3usize, -1..=1i64)
                    .prop_map(|(which, offset_ns)| Step::AdvanceTo { which, offset_ns })
                    .boxed(),
            ),
            (self.lose, session().prop_map(|session| Step::LoseSession { session }).boxed()),
            (
                self.crash,
                prop_oneof![Just(Crash::Process), Just(Crash::Power)]
                    .prop_map(|kind| Step::Crash { kind })
                    .boxed(),
            ),
        ])
    }

    fn settings(&self) -> BoxedStrategy<PlanSettings> {
        let roomy = u32::from(!self.tight);
        let capacity = weighted(vec![
            (4, (1..=3usize).boxed()),
            (3 * roomy, (4..=12usize).boxed()),
            (2 * roomy, Just(64usize).boxed()),
        ]);
        let deliveries_allowed = prop_oneof![1 => Just(1u32), 3 => Just(2), 2 => Just(3), 1 => Just(4)];
        (capacity, deliveries_allowed, any::<u64>())
            .prop_map(|(capacity, deliveries_allowed, seed)| PlanSettings {
                capacity,
                deliveries_allowed,
                seed,
            })
            .boxed()
    }
}

/// Plans of one mix, 20 to 60 steps long.
pub fn plans_of(mix: Mix) -> BoxedStrategy<Plan> {
    let recipe = mix.recipe();
    (recipe.settings(), vec(recipe.step(), 20..=60), prop::bool::weighted(0.25))
        .prop_map(|(settings, steps, redrive_at_end)| Plan { settings, steps, redrive_at_end })
        .boxed()
}

/// Plans of all mixes.
pub fn plans() -> BoxedStrategy<Plan> {
    Union::new(Mix::ALL.map(plans_of)).boxed()
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
    use proptest::strategy::ValueTree;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..].copy_from_slice(&splitmix(seed).to_le_bytes());
    let config = Config { failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::XorShift, &bytes));
    strategy.new_tree(&mut runner).expect("no strategy here filters, and only filters can fail").current()
}

/// Draws plans.
pub struct Plans {
    strategies: [BoxedStrategy<Plan>; Mix::ALL.len()],
}

impl Default for Plans {
    fn default() -> Plans {
        Plans { strategies: Mix::ALL.map(plans_of) }
    }
}

impl Plans {
    /// The plan of a seed: always the same one. Mixes take turns by seed.
    pub fn draw(&self, seed: u64) -> Plan {
        let mix = (seed % Mix::ALL.len() as u64) as usize;
        draw(&self.strategies[mix], seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_names_one_plan_and_seeds_differ() {
        let plans = Plans::default();
        let drawn: Vec<Plan> = (0..50).map(|seed| plans.draw(seed)).collect();
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
        let plans = Plans::default();
        for seed in 0..100 {
            let plan = plans.draw(seed);
            let json = serde_json::to_string(&plan).expect("a plan is plain data");
            assert_eq!(serde_json::from_str::<Plan>(&json).expect("just written"), plan);
        }
        assert!(serde_json::from_str::<Plan>(&json.replace("count", "cuont")).is_err(), "typos are errors");
    }

    #[test]
    fn calm_plans_have_no_faults_and_full_ones_little_room() {
        let plans = Plans::default();
        for seed in 0..600u64 {
            let mut plan = plans.draw(seed);
            match Mix::ALL[(seed % 6) as usize] {
                Mix::Calm => assert!(plan.steps.iter_mut().all(|step| {
                    step.fate_mut().is_none_or(|fate| *fate == Fate::Arrives)
                        && !matches!(step, Step::Crash { .. } | Step::LoseSession { .. })
                })),
                Mix::Full => assert!(plan.settings.capacity <= 3),
                _ => {}
            }
        }
    }
}
