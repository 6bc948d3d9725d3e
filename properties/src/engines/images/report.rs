//! What came of many images together, for those who count.

use std::collections::BTreeMap;

use stanchion_queues::{Host, Settings};

use super::plan::{Blow, Plan, draw};
use super::run::{Flip, run};
use super::story;
use super::walk::{Images, Scope};
use crate::engines::sequential::NotStarted;
use crate::invariant::Invariant;
use crate::verdict::Verdict;

/// Failures shown in full, of each promise.
const SHOWN: usize = 3;

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Plans of clients.
    pub plans: u64,
    /// Disks that a broker was started from.
    pub images: u64,
    /// Of these, those after a call that failed.
    pub faults: u64,
    /// Of these, those with a flipped bit.
    pub flips: u64,
    /// Flipped bits that were noticed.
    pub noticed: u64,
    /// Flipped bits after which a promise was broken, which nobody noticed.
    pub unnoticed: u64,
    /// The verdicts of all runs together.
    pub verdicts: BTreeMap<Invariant, Verdict>,
    /// How promises were broken: the first images of each, with the pictures and after how many images.
    pub broken: Vec<(Invariant, u64, Plan, String)>,
}

impl Report {
    /// Adds what befalls a broker in the plan of a seed.
    ///
    /// # Errors
    /// The broker does not start on an empty disk.
    pub fn explore<H: Host>(
        &mut self,
        make: impl Fn(&Settings) -> H,
        seed: u64,
        scope: &Scope,
    ) -> Result<(), NotStarted> {
        self.plans += 1;
        for plan in Images::of(&make, draw(seed), *scope)? {
            let ran = run(&make, &plan)?;
            self.images += 1;
            self.faults += u64::from(
                plan.start
                    .iter()
                    .chain(plan.steps.iter().filter_map(|of| of.blow.as_ref()))
                    .any(|blow| matches!(blow, Blow::Fails { .. })),
            );
            let (verdicts, flip) = ran.judge();
            self.flips += u64::from(flip.is_some());
            self.noticed += u64::from(flip == Some(Flip::Noticed));
            self.unnoticed += u64::from(flip == Some(Flip::Silent));
            for (invariant, verdict) in verdicts {
                let shown = self.broken.iter().filter(|(known, ..)| *known == invariant).count();
                if let Verdict::Broken(how) = &verdict
                    && shown < SHOWN
                {
                    let picture = story::draw(&ran, how, &[]).text;
                    self.broken.push((invariant, self.images, plan.clone(), picture));
                }
                let so_far = self.verdicts.remove(&invariant).unwrap_or(Verdict::NotClaimed);
                self.verdicts.insert(invariant, so_far.merge(verdict));
            }
        }
        Ok(())
    }

    /// How often the situation that this promise is about occurred, if it was never broken.
    pub fn instances(&self, invariant: Invariant) -> Option<u64> {
        match self.verdicts.get(&invariant) {
            Some(Verdict::Holds { instances }) => Some(*instances),
            _ => None,
        }
    }
}
