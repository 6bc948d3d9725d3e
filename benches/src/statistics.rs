//! From paired trials to an honest answer.
//!
//! The data are ratios of two trials of the same round, as logarithms: what the machine does to a whole
//! round cancels, and twice as fast is as far from equal as half as fast. The estimate is their median with
//! a percentile bootstrap interval (Efron 1979). Each interval stands for itself: nothing is corrected for
//! their number (Holm's method would be the one to use once a build is to fail on any of many comparisons).

use stanchion_reports::results::{Answer, Estimate};

/// The confidence level of every interval, as a share.
pub const LEVEL: f64 = 0.99;
/// Half the width of the zone in which throughputs count as equal, as a share.
pub const ZONE: f64 = 0.05;
/// Fewer pairs cannot give an interval of [`LEVEL`]: the interval from the least to the greatest of n
/// values covers the median with probability 1 - 2^(1-n), which exceeds 0.99 from n = 8 on.
pub const FEWEST: usize = 8;
const RESAMPLES: usize = 10_000;

/// A small source of randomness, the same on every machine (SplitMix64, Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed, the same numbers.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `limit`, which is not zero and below 2^32: the bias is below one in 2^32.
    pub fn below(&mut self, limit: usize) -> usize {
        (((self.bits() >> 32) * limit as u64) >> 32) as usize
    }

    /// Puts the elements into a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, elements: &mut [T]) {
        for last in (1..elements.len()).rev() {
            elements.swap(last, self.below(last + 1));
        }
    }
}

/// The median of a sample and its interval at [`LEVEL`]. With fewer than [`FEWEST`] values, the interval is
/// all there is: from the least to the greatest. `None`: no values.
pub fn estimate(values: &[f64], random: &mut Random) -> Option<Estimate> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (&least, &greatest) = (sorted.first()?, sorted.last()?);
    if sorted.len() < FEWEST {
        return Some(Estimate { median: median_of(&sorted), lo: least, hi: greatest, level: LEVEL });
    }
    let mut drawn = vec![0; sorted.len()];
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            drawn.fill_with(|| random.below(sorted.len()));
            // Ranks order like values, and integers are quicker to select from.
            let middle = drawn.len() / 2;
            let (below, upper, _) = drawn.select_nth_unstable(middle);
            let upper = sorted[*upper];
            if sorted.len() % 2 == 1 {
                return upper;
            }
            let lower = below.iter().max().map_or(upper, |rank| sorted[*rank]);
            f64::midpoint(lower, upper)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    let at = |share: f64| medians[((RESAMPLES - 1) as f64 * share).round() as usize];
    let tail = (1.0 - LEVEL) / 2.0;
    Some(Estimate { median: median_of(&sorted), lo: at(tail), hi: at(1.0 - tail), level: LEVEL })
}

/// The median of sorted values, of which there is at least one.
fn median_of(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// How one arm compares with the reference.
#[derive(Clone, Copy, Debug)]
pub struct Compared {
    /// The rate over the reference's: the median of all rounds, and its interval.
    pub ratio: Estimate,
    /// The answer.
    pub answer: Answer,
    /// The smallest change that could have been seen with these rounds, as a share: 0.12 is 12 %. `None`:
    /// too few rounds to see any.
    pub smallest_visible: Option<f64>,
}

/// Compares rates of one arm with rates of the reference in the same rounds, given how far the reference is
/// from itself (`control`, the interval of its A/A ratio).
///
/// The zone of equality is at least ±[`ZONE`], and reaches as far as the control does: no difference counts
/// that the reference shows against itself. "Equivalent" is said of the nominal zone only, so a wide
/// control leaves at best "too noisy to say" between them.
///
/// `None`: no rounds.
pub fn compare(pairs: &[(f64, f64)], control: Option<&Estimate>, random: &mut Random) -> Option<Compared> {
    let logs: Vec<f64> = pairs.iter().map(|(rate, reference)| (rate / reference).ln()).collect();
    let log = estimate(&logs, random)?;
    let nominal = (1.0 + ZONE).ln();
    let reach = control.map_or(0.0, |control| control.lo.ln().abs().max(control.hi.ln().abs()));
    let zone = nominal.max(reach);
    let enough = pairs.len() >= FEWEST;
    let answer = if !enough {
        Answer::TooNoisy
    } else if log.lo > zone {
        Answer::Faster
    } else if log.hi < -zone {
        Answer::Slower
    } else if log.lo > -nominal && log.hi < nominal && reach <= nominal {
        Answer::Equivalent
    } else {
        Answer::TooNoisy
    };
    // A change is seen when its interval, as wide as this one, is beyond the zone.
    let half = (log.hi - log.median).max(log.median - log.lo);
    Some(Compared {
        ratio: Estimate { median: log.median.exp(), lo: log.lo.exp(), hi: log.hi.exp(), level: log.level },
        answer,
        smallest_visible: enough.then(|| (zone + half).exp_m1()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The distribution of the bootstrapped median is known (Efron 1982): for odd n, it is at or below the
    /// k-th smallest value when more than half of n draws are, each with probability k / n.
    fn exact_ranks(n: u64, tail: f64) -> (usize, usize) {
        let at_or_below = |k: u64| -> f64 {
            let p = k as f64 / n as f64;
            let term = |j: u64| {
                let choose: f64 = (1..=j).map(|i| ((n - j + i) as f64 / i as f64).ln()).sum();
                (choose + j as f64 * p.ln() + (n - j) as f64 * (1.0 - p).ln()).exp()
            };
            if k == n { 1.0 } else { (n / 2 + 1..=n).map(term).sum() }
        };
        let quantile = |share| (1..=n).find(|k| at_or_below(*k) >= share).expect("1 is reached") as usize - 1;
        (quantile(tail), quantile(1.0 - tail))
    }

    #[test]
    fn the_interval_agrees_with_its_closed_form() {
        for n in [9, 21, 101] {
            let values: Vec<f64> = (0..n).map(|rank| rank as f64).collect();
            let (lo, hi) = exact_ranks(n, (1.0 - LEVEL) / 2.0);
            let estimate = estimate(&values, &mut Random::new(n)).expect("values");
            assert_eq!(estimate.median, (n / 2) as f64);
            // 10,000 resamples place a rank within one.
            assert!((estimate.lo - lo as f64).abs() <= 1.0, "{n}: {estimate:?}, exactly {lo}");
            assert!((estimate.hi - hi as f64).abs() <= 1.0, "{n}: {estimate:?}, exactly {hi}");
        }
    }

    #[test]
    fn few_values_give_no_more_than_their_range() {
        let seven = estimate(&[4.0, 1.0, 2.0, 3.0], &mut Random::new(0)).expect("values");
        assert_eq!((seven.lo, seven.median, seven.hi), (1.0, 2.5, 4.0));
        assert!(estimate(&[], &mut Random::new(0)).is_none());
        let pairs = vec![(2.0, 1.0); FEWEST - 1];
        let compared = compare(&pairs, None, &mut Random::new(0)).expect("pairs");
        assert_eq!((compared.answer, compared.smallest_visible), (Answer::TooNoisy, None));
    }

    #[test]
    fn equal_values_give_a_point() {
        let point = estimate(&[3.0; 20], &mut Random::new(1)).expect("values");
        assert_eq!((point.lo, point.median, point.hi), (3.0, 3.0, 3.0));
        let compared =
            compare(&[(3.0, 3.0); 20], Some(&Estimate { lo: 1.0, hi: 1.0, ..point }), &mut Random::new(1));
        assert_eq!(compared.expect("pairs").answer, Answer::Equivalent);
    }

    #[test]
    fn the_same_seed_gives_the_same_interval() {
        let values: Vec<f64> = (0..50).map(|n| f64::from(n * n % 37)).collect();
        let once = |seed| estimate(&values, &mut Random::new(seed));
        assert_eq!(once(5), once(5));
    }

    #[test]
    fn shuffling_keeps_every_element_and_reaches_every_place() {
        let mut random = Random::new(9);
        let mut firsts = [0; 5];
        for _ in 0..1000 {
            let mut elements = [0, 1, 2, 3, 4];
            random.shuffle(&mut elements);
            firsts[elements[0]] += 1;
            elements.sort_unstable();
            assert_eq!(elements, [0, 1, 2, 3, 4]);
        }
        assert!(firsts.iter().all(|count| (100..300).contains(count)), "{firsts:?}");
    }

    /// A busy machine: it drifts over the rounds, every trial scatters, and some fall into a slow mode.
    struct Machine {
        random: Random,
        round: u32,
    }

    impl Machine {
        fn new(seed: u64) -> Machine {
            Machine { random: Random::new(seed), round: 0 }
        }

        fn uniform(&mut self) -> f64 {
            (self.random.bits() >> 11) as f64 / (1u64 << 53) as f64
        }

        fn trial(&mut self, speed: f64) -> f64 {
            let scatter: f64 = (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0;
            let slow = if self.uniform() < 0.2 { -0.5 } else { 0.0 };
            let drift = 0.4 * (f64::from(self.round) / 7.0).sin();
            speed * (drift + 0.08 * scatter + slow).exp()
        }

        /// One duel of the reference, itself again, and an arm of the given speed.
        fn duel(&mut self, rounds: u32, speed: f64) -> Compared {
            let rounds: Vec<[f64; 3]> = (0..rounds)
                .map(|round| {
                    self.round = round;
                    [self.trial(1.0), self.trial(1.0), self.trial(speed)]
                })
                .collect();
            let control: Vec<(f64, f64)> = rounds.iter().map(|[a, again, _]| (*again, *a)).collect();
            let pairs: Vec<(f64, f64)> = rounds.iter().map(|[a, _, b]| (*b, *a)).collect();
            let control = compare(&control, None, &mut self.random).expect("rounds").ratio;
            compare(&pairs, Some(&control), &mut self.random).expect("rounds")
        }
    }

    #[test]
    fn identical_queues_are_hardly_ever_told_apart() {
        let mut machine = Machine::new(2024);
        let answers: Vec<Answer> = (0..400).map(|_| machine.duel(30, 1.0).answer).collect();
        let wrong = answers.iter().filter(|answer| matches!(answer, Answer::Faster | Answer::Slower)).count();
        assert!(wrong <= 8, "{wrong} of 400 comparisons of identical queues found a difference");
    }

    #[test]
    fn identical_queues_are_found_equivalent_when_there_are_rounds_enough() {
        let mut machine = Machine::new(7);
        let answers: Vec<Answer> = (0..10).map(|_| machine.duel(600, 1.0).answer).collect();
        let equivalent = answers.iter().filter(|answer| **answer == Answer::Equivalent).count();
        assert!(equivalent >= 8, "{answers:?}");
    }

    #[test]
    fn a_slowdown_larger_than_the_smallest_visible_is_found() {
        let mut machine = Machine::new(11);
        let duels: Vec<Compared> = (0..50).map(|_| machine.duel(100, 0.8)).collect();
        assert!(duels.iter().all(|duel| duel.answer != Answer::Faster));
        let promised = |duel: &&Compared| duel.smallest_visible.is_some_and(|visible| 1.25 > 1.0 + visible);
        let (promised, found) = (
            duels.iter().filter(promised).count(),
            duels.iter().filter(|duel| duel.answer == Answer::Slower).count(),
        );
        assert!(found >= 40, "20 % was found in {found} of 50 duels, and promised in {promised}");
    }
}
