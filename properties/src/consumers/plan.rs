//! What is done to a consumer: a list of steps, each of which makes sense after any others.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::shrink::{Plainer, Shrink};

/// How many different intents a plan may name.
pub(super) const INTENTS: u8 = 12;
/// How many most plans name: the fewer, the more often one comes again.
const FEW: u8 = 4;

/// A run against a consumer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsumerPlan {
    /// What each intent asks for: account and amount. Few values, so that different intents ask for the same.
    pub asks: Vec<(u8, u8)>,
    /// How often a message is delivered before it is a dead letter; `None`: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<u32>,
    /// What happens, in order.
    pub steps: Vec<ConsumerStep>,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ConsumerStep {
    /// The producer sends an intent; naming it again is a producer's retry.
    Send {
        /// Which, modulo their number.
        intent: u8,
    },
    /// The consumer receives one message and handles it.
    Handle {
        /// It is killed before its n-th access to the world (from 0); `None`: it lives.
        kill: Option<u8>,
        /// Before its n-th access it stalls until its lease has ended, and another consumer is given what comes and
        /// handles it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        overtaken: Option<u8>,
    },
    /// The consumer receives a message, and forgets it until [`ConsumerStep::Wake`].
    Stall,
    /// The consumer handles the message it stalled on, by now perhaps under a stale receipt.
    Wake {
        /// As in [`ConsumerStep::Handle`].
        kill: Option<u8>,
    },
    /// Every lease runs out.
    Expire,
    /// A day passes, but no more of them than the horizon has.
    Rest,
    /// Somebody looks at the dead letters and makes them ready again.
    Redrive,
}

impl Shrink for ConsumerPlan {
    type Step = ConsumerStep;
    const PLAINER: &[Plainer<ConsumerStep>] = &[plainer_steps];
    const SIMPLER: &[Plainer<ConsumerPlan>] = &[without_dead_letters];

    fn steps(&self) -> &[ConsumerStep] {
        &self.steps
    }

    fn with_steps(&self, steps: Vec<ConsumerStep>) -> ConsumerPlan {
        ConsumerPlan { steps, ..self.clone() }
    }
}

/// Nothing is ever dead.
fn without_dead_letters(plan: &ConsumerPlan) -> Vec<ConsumerPlan> {
    plan.allowed.map(|_| ConsumerPlan { allowed: None, ..plan.clone() }).into_iter().collect()
}

/// With nothing that befalls the consumer, or the same step about the first intent.
fn plainer_steps(step: &ConsumerStep) -> Vec<ConsumerStep> {
    let handle = |kill, overtaken| ConsumerStep::Handle { kill, overtaken };
    match *step {
        ConsumerStep::Send { intent: 1.. } => vec![ConsumerStep::Send { intent: 0 }],
        ConsumerStep::Handle { kill: Some(_), overtaken: None }
        | ConsumerStep::Handle { kill: None, overtaken: Some(_) } => vec![handle(None, None)],
        ConsumerStep::Handle { kill: Some(kill), overtaken: Some(overtaken) } => {
            vec![handle(None, None), handle(Some(kill), None), handle(None, Some(overtaken))]
        }
        ConsumerStep::Wake { kill: Some(_) } => vec![ConsumerStep::Wake { kill: None }],
        _ => Vec::new(),
    }
}

/// Plans of 1 to 20 steps about a few intents, and of up to 60 about more, for what is forgotten only when much else
/// was remembered.
pub fn strategy() -> impl Strategy<Value = ConsumerPlan> {
    prop_oneof![3 => plans(FEW, 20), 1 => plans(INTENTS, 60)]
}

fn plans(intents: u8, steps: usize) -> impl Strategy<Value = ConsumerPlan> {
    // Most consumers have done all after a few accesses.
    let kill = || option::of(prop_oneof![7 => 0..4u8, 1 => 4..12u8]);
    let overtaken = prop_oneof![7 => Just(None), 1 => (0..4u8).prop_map(Some)];
    let step = prop_oneof![
        3 => (0..intents).prop_map(|intent| ConsumerStep::Send { intent }),
        4 => (kill(), overtaken).prop_map(|(kill, overtaken)| ConsumerStep::Handle { kill, overtaken }),
        1 => Just(ConsumerStep::Stall),
        1 => kill().prop_map(|kill| ConsumerStep::Wake { kill }),
        2 => Just(ConsumerStep::Expire),
        1 => Just(ConsumerStep::Rest),
        1 => Just(ConsumerStep::Redrive),
    ];
    (vec((0..2u8, 1..3u8), intents as usize), option::of(1..4u32), vec(step, 1..steps))
        .prop_map(|(asks, allowed, steps)| ConsumerPlan { asks, allowed, steps })
}
