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
}

impl Shrink for ConsumerPlan {
    type Step = ConsumerStep;
    const PLAINER: &[Plainer<ConsumerStep>] = &[plainer_steps];
    const SIMPLER: &[Plainer<ConsumerPlan>] = &[];

    fn steps(&self) -> &[ConsumerStep] {
        &self.steps
    }

    fn with_steps(&self, steps: Vec<ConsumerStep>) -> ConsumerPlan {
        ConsumerPlan { steps, ..self.clone() }
    }
}

/// Without the kill, or the same step about the first intent.
fn plainer_steps(step: &ConsumerStep) -> Vec<ConsumerStep> {
    match *step {
        ConsumerStep::Send { intent: 1.. } => vec![ConsumerStep::Send { intent: 0 }],
        ConsumerStep::Handle { kill: Some(_) } => vec![ConsumerStep::Handle { kill: None }],
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
    let step = prop_oneof![
        3 => (0..intents).prop_map(|intent| ConsumerStep::Send { intent }),
        4 => kill().prop_map(|kill| ConsumerStep::Handle { kill }),
        1 => Just(ConsumerStep::Stall),
        1 => kill().prop_map(|kill| ConsumerStep::Wake { kill }),
        2 => Just(ConsumerStep::Expire),
    ];
    (vec((0..2u8, 1..3u8), intents as usize), vec(step, 1..steps))
        .prop_map(|(asks, steps)| ConsumerPlan { asks, steps })
}
