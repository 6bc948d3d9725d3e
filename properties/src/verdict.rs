//! What a checker answers: one of five values, never a guess.

use serde::{Deserialize, Serialize};

use crate::invariant::Invariant;

/// The answer of one checker on one history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The promise was tested this many times and kept.
    Holds {
        /// How often the interesting situation occurred.
        instances: u64,
    },
    /// The promise was broken.
    Broken(Counterexample),
    /// It could not be decided.
    Unknown(String),
    /// The interesting situation never occurred.
    Vacuous,
    /// The contract does not promise it.
    NotClaimed,
}

/// How a history breaks a promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counterexample {
    /// Which promise.
    pub invariant: Invariant,
    /// One sentence: what was promised and what happened instead, naming the messages.
    pub sentence: String,
    /// What would have made it legal and is missing from the history, if anything would: "no nack, no expiry
    /// and no lost session between the two deliveries".
    pub missing_licence: Option<String>,
    /// Indices into [`crate::history::History::events`], in order; the last is the violating event. At most
    /// four.
    pub culprits: Vec<usize>,
}

impl Verdict {
    /// The answer of two histories taken together: the worst news wins, then the most knowledge.
    pub fn merge(self, other: Verdict) -> Verdict {
        use Verdict::{Broken, Holds, NotClaimed, Unknown, Vacuous};
        match (self, other) {
            (broken @ Broken(_), _) | (_, broken @ Broken(_)) => broken,
            (unknown @ Unknown(_), _) | (_, unknown @ Unknown(_)) => unknown,
            (Holds { instances: a }, Holds { instances: b }) => Holds { instances: a + b },
            (holds @ Holds { .. }, _) | (_, holds @ Holds { .. }) => holds,
            (Vacuous, _) | (_, Vacuous) => Vacuous,
            (NotClaimed, NotClaimed) => NotClaimed,
        }
    }

    /// `Holds` if the situation occurred, else `Vacuous`.
    pub fn exercised(instances: u64) -> Verdict {
        if instances == 0 { Verdict::Vacuous } else { Verdict::Holds { instances } }
    }

    /// Whether the promise was broken.
    pub fn is_broken(&self) -> bool {
        matches!(self, Verdict::Broken(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_histories_the_worst_news_wins_and_then_the_most_knowledge() {
        let holds = |instances| Verdict::Holds { instances };
        let broken = Verdict::Broken(Counterexample {
            invariant: Invariant::Al1,
            sentence: String::new(),
            missing_licence: None,
            culprits: Vec::new(),
        });
        let worst_first =
            [broken, Verdict::Unknown(String::new()), holds(3), Verdict::Vacuous, Verdict::NotClaimed];
        for (place, worse) in worst_first.iter().enumerate() {
            for other in worst_first[place..].iter().filter(|other| **other != holds(3)) {
                assert_eq!(worse.clone().merge(other.clone()), *worse);
                assert_eq!(other.clone().merge(worse.clone()), *worse);
            }
        }
        assert_eq!(holds(3).merge(holds(2)), holds(5));
    }
}
