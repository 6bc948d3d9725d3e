//! Counts how often a promise was tested and keeps the first way in which it was broken.

use crate::invariant::Invariant;
use crate::verdict::{Counterexample, Verdict};

/// One checker's count.
pub(crate) struct Tally {
    invariant: Invariant,
    instances: u64,
    broken: Option<Counterexample>,
}

impl Tally {
    pub(crate) fn of(invariant: Invariant) -> Tally {
        Tally { invariant, instances: 0, broken: None }
    }

    /// The promise was tested.
    pub(crate) fn tested(&mut self, times: u64) {
        self.instances += times;
    }

    /// The promise was broken. Only the earliest violation is kept, and only its sentence is written.
    pub(crate) fn blame(&mut self, culprits: &[u32], sentence: impl FnOnce() -> String) {
        self.blame_unlicensed(culprits, || (sentence(), None));
    }

    /// The same, where something could have made it legal.
    pub(crate) fn blame_unlicensed(
        &mut self,
        culprits: &[u32],
        tell: impl FnOnce() -> (String, Option<String>),
    ) {
        let mut culprits: Vec<usize> = culprits.iter().map(|&event| event as usize).collect();
        culprits.sort_unstable();
        culprits.dedup();
        let earlier = |broken: &Counterexample| broken.culprits.last() <= culprits.last();
        if self.broken.as_ref().is_some_and(earlier) {
            return;
        }
        culprits.drain(..culprits.len().saturating_sub(4));
        let (sentence, missing_licence) = tell();
        self.broken = Some(Counterexample { invariant: self.invariant, sentence, missing_licence, culprits });
    }

    /// The verdict.
    pub(crate) fn verdict(self) -> Verdict {
        match self.broken {
            Some(counterexample) => Verdict::Broken(counterexample),
            None => Verdict::exercised(self.instances),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_violation_is_kept_with_its_last_four_culprits() {
        let mut tally = Tally::of(Invariant::Al1);
        let sentence = |sentence: &str| String::from(sentence);
        tally.blame(&[2, 6], || sentence("late"));
        tally.blame(&[5, 1, 4, 5, 3, 2], || sentence("early"));
        tally.blame(&[0, 5], || sentence("as early"));
        tally.blame(&[7], || sentence("later"));
        let Verdict::Broken(example) = tally.verdict() else { panic!("not broken") };
        assert_eq!((example.sentence.as_str(), example.culprits), ("early", vec![2, 3, 4, 5]));
    }
}
