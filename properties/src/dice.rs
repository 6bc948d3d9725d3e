//! Cheap numbers for engines and tests that are not plans.

/// Numbers from a seed: xorshift64 (Marsaglia 2003), always the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Similar seeds give dissimilar numbers.
    pub(crate) fn new(seed: u64) -> Dice {
        // The state must not be zero.
        Dice(crate::plan::splitmix(seed) | 1)
    }

    /// Any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`; 0 if there is none.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound.max(1)
    }

    /// True once in `many`, which is not 0.
    pub(crate) fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    /// One of these, which are not none.
    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// Other dice, for another thread.
    pub(crate) fn split(&mut self) -> Dice {
        Dice::new(self.next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_always_the_same_numbers_below_the_bound_and_all_of_them() {
        let thrown = |seed| {
            let mut dice = Dice::new(seed);
            (0..200).map(|_| dice.below(6)).collect::<Vec<_>>()
        };
        assert_eq!(thrown(1), thrown(1));
        assert_ne!(thrown(1), thrown(2));
        for face in 0..6 {
            assert!(thrown(0).contains(&face));
        }
        assert!(thrown(0).iter().all(|face| *face < 6));
        let mut dice = Dice::new(1);
        assert_ne!(dice.split().next(), dice.next());
    }
}
