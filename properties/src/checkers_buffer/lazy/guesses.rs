//! Guesses, and how the latest is taken back.

use super::super::replay::Step;
use super::super::walk::Place;
use super::{Inside, Lazy, Taken};

/// How many guesses can be taken back.
const GUESSES: usize = 256;
/// How many returns must be met beyond an impossible one until guesses are noted again.
const BEYOND: usize = 8;
/// How many steps are kept, beyond those of guesses, before they are replayed.
const KEPT: usize = 1024;

/// Where one of several ways was taken.
#[derive(Clone, Copy)]
pub(super) struct Guess {
    /// How many returns had passed, and how many steps were taken.
    passed: usize,
    steps: usize,
    taken: usize,
    of: usize,
}

impl Lazy<'_> {
    /// One of so many ways, the likeliest first.
    pub(super) fn choose(&mut self, of: usize) -> usize {
        if let Some(other) = self.other.take() {
            return other.min(of - 1);
        }
        // One guess at a time is taken back, however far: all that follow it are as likely as before.
        if self.stuck > 0 && self.met <= self.stuck + BEYOND {
            return 0;
        }
        if self.guesses.len() == GUESSES {
            self.guesses.pop_front();
        }
        let (passed, steps) = (self.passed.len(), self.steps.len());
        self.guesses.push_back(Guess { passed, steps, taken: 0, of });
        0
    }

    /// Goes back to the last guess that leaves another; the lists whose returns are to come again, in the order in
    /// which they had passed.
    pub(super) fn take_back(&mut self) -> Option<Vec<usize>> {
        self.budget = self.budget.checked_sub(1)?;
        (self.other, self.straight) = (None, false);
        let mut guess = self.guesses.pop_back()?;
        while guess.taken + 1 == guess.of {
            guess = self.guesses.pop_back()?;
        }
        guess.taken += 1;
        self.other = Some(guess.taken);
        self.guesses.push_back(guess);
        for Taken { step, pushed, .. } in self.steps.split_off(guess.steps).into_iter().rev() {
            match step {
                Step::Push(value) => {
                    self.heads[self.matched.producer_of(value)] = value;
                    self.queue.pop_back();
                }
                Step::Pop(value) => {
                    self.popped[value / 64] &= !(1 << (value % 64));
                    self.queue.push_front(Inside { value, step: pushed });
                }
                Step::Full(producer) => {
                    let lists = self.answer_lists(Place::Full);
                    self.answered[lists.start + producer] -= 1;
                }
                Step::Empty(consumer) => {
                    let lists = self.answer_lists(Place::Empty);
                    self.answered[lists.start + consumer] -= 1;
                }
            }
        }
        Some(self.passed.split_off(guess.passed).into_iter().map(|list| list as usize).collect())
    }

    /// Replays what no guess can change any more.
    pub(super) fn settle(&mut self) -> Option<()> {
        if self.steps.len() < KEPT {
            return Some(());
        }
        let many = self.steps.len() >= 64 * KEPT;
        // Half of the guesses are given up if there are steps without end behind them.
        if many {
            self.guesses.drain(..self.guesses.len() / 2);
        }
        let first = self.guesses.front().copied();
        let (passed, steps) =
            first.map_or((self.passed.len(), self.steps.len()), |guess| (guess.passed, guess.steps));
        // What is inside may still change places.
        let inside = self.queue.front().filter(|_| !many);
        let steps = inside.map_or(steps, |oldest| steps.min(oldest.step.saturating_sub(self.replayed)));
        if steps < KEPT {
            return Some(());
        }
        for guess in &mut self.guesses {
            guess.passed -= passed;
            guess.steps -= steps;
        }
        self.passed.drain(..passed);
        self.replay_first(steps)
    }

    pub(super) fn replay_first(&mut self, count: usize) -> Option<()> {
        self.replayed += count;
        self.steps.drain(..count).all(|Taken { at, step, .. }| self.replay.step(at, step)).then_some(())
    }
}
