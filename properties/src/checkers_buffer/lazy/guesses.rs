//! Guesses, and how the latest is taken back.

use super::super::replay::Step;
use super::super::walk::Place;
use super::{Inside, Lazy, Taken};

/// How many guesses can be taken back.
const GUESSES: usize = 256;
/// How many returns must be met beyond an impossible one until guesses are noted again.
const BEYOND: usize = 8;
/// After how many guesses that were all wrong one by one, or all right, ways are taken by chance, and how often.
const SHAKEN: [(usize, usize); 4] = [(8, 64), (24, 128), (64, 512), (192, 512)];
/// How often all that is remembered is gone through once more where nothing helped.
pub(super) const AGAIN: usize = 3;
/// How many steps are kept, beyond those of guesses, before they are replayed.
const KEPT: usize = 1024;

/// Where one of several ways was taken.
#[derive(Clone, Copy)]
pub(super) struct Guess {
    met: usize,
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
        if self.is_shaken() {
            return self.dice.below(of);
        }
        // One guess at a time is taken back, however far: all that follow it are as likely as before.
        if self.stuck > 0 && self.met <= self.stuck + BEYOND {
            return 0;
        }
        self.note(of);
        0
    }

    /// Notes a place to go back to where nothing was guessed for a while.
    pub(super) fn note_place(&mut self) {
        if self.stuck == 0 || self.met > self.stuck + BEYOND {
            self.note(1);
        }
        if self.stuck > 0 && self.met > self.stuck + BEYOND {
            self.again = AGAIN;
        }
    }

    fn note(&mut self, of: usize) {
        self.given_up = 0;
        if self.guesses.len() == GUESSES {
            self.guesses.pop_front();
        }
        let (passed, steps) = (self.passed.len(), self.steps.len());
        self.guesses.push_back(Guess { met: self.met, passed, steps, taken: 0, of });
    }

    /// The last guess that leaves another, or from which on ways are taken by chance.
    fn last_open(&mut self) -> Option<Guess> {
        if self.is_shaken() && self.tries > 0 {
            self.tries -= 1;
            return self.guesses.back().copied();
        }
        self.shaken = false;
        loop {
            let mut guess = self.guesses.pop_back()?;
            if guess.taken + 1 < guess.of {
                guess.taken += 1;
                self.other = Some(guess.taken);
                self.guesses.push_back(guess);
                return Some(guess);
            }
            // From here on all was tried.
            if guess.of == 0 {
                if self.guesses.is_empty() && self.again > 0 {
                    return Some(self.begin_again(guess));
                }
                continue;
            }
            self.given_up += 1;
            let [.., (_, most)] = SHAKEN;
            let last = self.guesses.is_empty().then_some(most);
            let enough =
                SHAKEN.iter().find(|(guesses, _)| *guesses == self.given_up).map(|(_, tries)| *tries);
            if let Some(tries) = last.or(enough) {
                // No single guess since then was to blame.
                (self.shaken, self.tries) = (true, tries);
                self.guesses.push_back(Guess { taken: 0, of: 0, ..guess });
                return Some(guess);
            }
        }
    }

    /// Goes through all since then once more: chance is another one.
    fn begin_again(&mut self, from: Guess) -> Guess {
        self.again -= 1;
        (self.stuck, self.given_up) = (0, 0);
        let from = Guess { taken: 0, of: 1, ..from };
        self.guesses.push_back(from);
        from
    }

    /// Whether one of several ways is taken by chance.
    #[inline]
    pub(super) fn is_shaken(&mut self) -> bool {
        self.shaken &= self.met <= self.stuck + BEYOND;
        self.shaken
    }

    /// One in so many, if nothing else helped.
    #[inline]
    pub(super) fn by_chance(&mut self, of: usize) -> bool {
        self.is_shaken() && self.dice.below(of) == 0
    }

    /// Goes back to the last guess that leaves another; the lists whose returns are to come again, in the order in
    /// which they had passed.
    pub(super) fn take_back(&mut self) -> Option<Vec<usize>> {
        (self.other, self.straight) = (None, false);
        let guess = self.last_open()?;
        self.budget = self.budget.checked_sub(1 + self.met - guess.met)?;
        while self.steps.len() > guess.steps
            && let Some(Taken { step, pushed, .. }) = self.steps.pop_back()
        {
            match step {
                Step::Push(value) => {
                    let producer = self.matched.producer_of(value);
                    self.heads[producer] = self.head_from(producer, value);
                    self.queue.pop_back();
                }
                Step::Pop(value) => {
                    self.popped[value / 64] &= !(1 << (value % 64));
                    let (push, pop) = (self.matched.push(value), self.matched.pop(value));
                    self.queue.push_front(Inside { value, step: pushed, push, pop });
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
        [Place::Full, Place::Empty].into_iter().for_each(|place| self.note_answers(place));
        Some(self.passed.split_off(guess.passed).into_iter().map(|list| list as usize).collect())
    }

    /// Replays what no guess can change any more.
    pub(super) fn settle(&mut self) -> Option<()> {
        if self.steps.len() < KEPT {
            return Some(());
        }
        let many = self.steps.len() >= 8 * KEPT;
        // Half of the guesses are given up if there are steps without end behind them.
        if many {
            self.guesses.drain(..self.guesses.len().div_ceil(2));
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

/// Cheap numbers, the same each time: xorshift64 (Marsaglia 2003).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new() -> Dice {
        Dice(88_172_645_463_325_252)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 32) % bound as u64) as usize
    }
}
