//! Interleaved rounds: in every round each store has one trial, in random order, and the file queue has two: what
//! it differs from itself is the noise of the machine.

use std::time::{Duration, Instant};

use stanchion_benches::statistics::{self, Compared, Random};
use stanchion_reports::results::Estimate;

use crate::Failure;
use crate::entrants::{self, Entrant, Role};
use crate::load::{Load, Trial, Until};

/// The least a trial takes: some hundred syncs where a sync takes a fraction of a millisecond.
const SHORTEST: Duration = Duration::from_millis(80);
/// Time beyond what [`ROUNDS`] of the shortest trials take makes them longer, up to this: what a store puts off
/// shows only in long ones.
const LONGEST: Duration = Duration::from_secs(1);
const ROUNDS: u32 = 20;
const MOST_ROUNDS: u32 = 500;
/// The sizes of bodies.
pub const BODIES: [usize; 2] = [100, 1024];

/// One load, and everyone who takes part in it.
#[derive(Clone)]
pub struct Contest {
    /// Its short name: "p8" for eight producers, "b100x8" for eight of batches, "8+8" with consumers.
    pub name: &'static str,
    /// What is asked.
    pub load: Load,
    /// In the order of the table.
    pub entrants: Vec<Entrant>,
}

/// All contests among these.
pub fn all(entrants: &[Entrant]) -> Vec<Contest> {
    let shapes = [
        ("p1", 1, 0, 1),
        ("p8", 8, 0, 1),
        ("p64", 64, 0, 1),
        ("b100", 1, 0, 100),
        ("b100x8", 8, 0, 100),
        ("8+8", 8, 8, 1),
    ];
    let of = |(name, producers, consumers, batch), body| {
        let takes_part = |entrant: &&Entrant| match entrant.role {
            Role::Unsynced => false,
            // They cannot remove anything.
            Role::Clock | Role::Log => consumers == 0,
            Role::Ours | Role::Peer | Role::Tickets => true,
        };
        let by_ticket = (producers > 1 && consumers == 0).then(entrants::tickets);
        Contest {
            name,
            load: Load { producers, consumers, batch, body, until: Until::Elapsed(SHORTEST) },
            entrants: entrants.iter().filter(takes_part).copied().chain(by_ticket).collect(),
        }
    };
    BODIES.iter().flat_map(|body| shapes.map(|shape| of(shape, *body))).collect()
}

impl Contest {
    /// The id of one that takes part, as in Criterion: `group/queue/parameters`.
    pub fn id(&self, entrant: &Entrant) -> String {
        format!("{}/{}/{}B", self.name, entrant.name, self.load.body)
    }

    /// What was asked, for people.
    pub fn parameters(&self) -> Vec<(String, String)> {
        let of = |label: &str, value: usize| (label.to_owned(), value.to_string());
        vec![
            ("body".into(), format!("{} B", self.load.body)),
            of("producers", self.load.producers),
            of("consumers", self.load.consumers),
            of("batch", self.load.batch),
        ]
    }

    /// Whether so many threads share so few cores that the order of their turns decides.
    pub fn threads(&self) -> usize {
        self.load.producers + self.load.consumers
    }

    /// Fights for about so long. The number of rounds is fixed before the first that counts.
    pub fn fight(&self, budget: Duration, random: &mut Random) -> Fight {
        let ours = self.entrants.iter().filter(|entrant| entrant.role == Role::Ours);
        let corner = |control| {
            move |entrant: &Entrant| Corner {
                entrant: *entrant,
                control,
                trials: Vec::new(),
                places: Vec::new(),
                failure: None,
            }
        };
        let mut corners: Vec<Corner> =
            self.entrants.iter().map(corner(false)).chain(ours.map(corner(true))).collect();
        let mut load = self.load;
        if let Until::Elapsed(shortest) = &mut load.until {
            let affordable = budget / (ROUNDS * u32::try_from(corners.len()).unwrap_or(u32::MAX));
            *shortest = affordable.clamp(SHORTEST, LONGEST);
        }
        let begun = Instant::now();
        // It warms up, and shows what a round costs with everything around it: opening, and looking again.
        for corner in &mut corners {
            corner.fight(&load, 0);
            corner.trials.clear();
            corner.places.clear();
        }
        let round = begun.elapsed().as_nanos().max(1);
        let left = budget.saturating_sub(begun.elapsed()).as_nanos();
        let rounds = u32::try_from(left / round).unwrap_or(MOST_ROUNDS).clamp(1, MOST_ROUNDS);
        for _ in 0..rounds {
            let mut order: Vec<usize> = (0..corners.len()).collect();
            random.shuffle(&mut order);
            for (place, index) in (0..).zip(order) {
                corners[index].fight(&load, place);
            }
        }
        Fight { corners, rounds, load }
    }
}

/// What one store did in all rounds.
pub struct Corner {
    /// Who.
    pub entrant: Entrant,
    /// The file queue, measured a second time.
    pub control: bool,
    /// One for each round, unless it failed.
    pub trials: Vec<Trial>,
    /// The place of each in its round.
    pub places: Vec<u32>,
    /// Why it gave no number.
    pub failure: Option<Failure>,
}

impl Corner {
    /// One trial, unless an earlier one gave no number.
    fn fight(&mut self, load: &Load, place: u32) {
        if self.failure.is_none() {
            match self.entrant.trial(load) {
                Ok(trial) => {
                    self.trials.push(trial);
                    self.places.push(place);
                }
                Err(failure) => self.failure = Some(failure),
            }
        }
    }

    /// What all its trials say of this together. `None`: it gave no number.
    pub fn estimate(&self, of: impl Fn(&Trial) -> f64, random: &mut Random) -> Option<Estimate> {
        let values: Vec<f64> = self.trials.iter().map(of).collect();
        if self.failure.is_some() { None } else { statistics::estimate(&values, random) }
    }
}

/// A contest, fought.
pub struct Fight {
    /// The control is the last.
    pub corners: Vec<Corner>,
    /// How many rounds counted.
    pub rounds: u32,
    /// What was asked of each in the end.
    pub load: Load,
}

impl Fight {
    /// The file queue's first corner.
    pub fn ours(&self) -> Option<&Corner> {
        self.with(|corner| corner.entrant.role == Role::Ours && !corner.control)
    }

    /// The first corner of this kind.
    pub fn with(&self, of: impl Fn(&Corner) -> bool) -> Option<&Corner> {
        self.corners.iter().find(|corner| of(corner))
    }

    /// How the file queue's trials compare with those of another in the same rounds: `ours` over `theirs`. The
    /// zone of equality reaches as far as the file queue's rates differ from themselves.
    ///
    /// # Errors
    /// Why there is no number.
    pub fn ratio(
        &self,
        ours: impl Fn(&Trial) -> f64,
        other: &Corner,
        theirs: impl Fn(&Trial) -> f64,
        random: &mut Random,
    ) -> Result<Compared, String> {
        let reference = self.ours().ok_or("the file queue did not take part")?;
        for corner in [reference, other] {
            if let Some(failure) = &corner.failure {
                return Err(format!("{}: {failure}", corner.entrant.name));
            }
        }
        let rates = |corner: &Corner| corner.trials.iter().map(Trial::rate).collect::<Vec<f64>>();
        let control = self.with(|corner| corner.control).filter(|_| !other.control).and_then(|control| {
            let pairs: Vec<_> = rates(control).into_iter().zip(rates(reference)).collect();
            Some(statistics::compare(&pairs, None, random)?.ratio)
        });
        let pairs: Vec<(f64, f64)> =
            reference.trials.iter().map(ours).zip(other.trials.iter().map(theirs)).collect();
        statistics::compare(&pairs, control.as_ref(), random).ok_or_else(|| "there were no rounds".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entrants;

    #[test]
    fn contests_are_of_those_who_can_take_part() {
        let contests = all(&entrants::all());
        assert_eq!(contests.len(), 2 * 6);
        for contest in &contests {
            let has = |role| contest.entrants.iter().any(|entrant| entrant.role == role);
            assert!(has(Role::Ours) && has(Role::Peer) && !has(Role::Unsynced));
            assert_eq!(has(Role::Clock), contest.load.consumers == 0, "{}", contest.name);
        }
        let ids: Vec<String> = contests
            .iter()
            .flat_map(|contest| contest.entrants.iter().map(|entrant| contest.id(entrant)))
            .collect();
        assert!(ids.iter().any(|id| id == "b100x8/sqlite+gc/1024B"), "{ids:?}");
    }

    #[test]
    fn every_round_has_one_trial_of_each_and_the_file_queue_has_two() {
        let few = ["file", "sqlite"].map(|name| entrants::named(name).expect("is there"));
        let mut contest = all(&few).remove(0);
        contest.load.until = Until::Sends(3);
        let mut random = Random::new(1);
        let fight = contest.fight(Duration::from_millis(300), &mut random);
        assert!(fight.rounds >= 1);
        assert_eq!(fight.corners.len(), 3);
        for corner in &fight.corners {
            assert_eq!((corner.trials.len(), corner.failure.is_none()), (fight.rounds as usize, true));
            assert_eq!(corner.places.len(), corner.trials.len());
        }
        let sqlite = fight.with(|corner| corner.entrant.role == Role::Peer).expect("took part");
        fight.ratio(Trial::rate, sqlite, Trial::rate, &mut random).expect("a number");
    }

    #[test]
    fn whoever_fails_gives_no_number_and_the_others_do() {
        let few = ["file", "sqlite", "raw_append"].map(|name| entrants::named(name).expect("is there"));
        let mut contest = all(&few).remove(0);
        // The raw append cannot remove anything.
        contest.load = Load { consumers: 1, until: Until::Sends(3), ..contest.load };
        let mut random = Random::new(1);
        let fight = contest.fight(Duration::ZERO, &mut random);
        for corner in &fight.corners {
            assert_eq!(corner.failure.is_some(), corner.entrant.role == Role::Clock);
            assert_eq!(corner.estimate(Trial::rate, &mut random).is_some(), corner.failure.is_none());
            let ratio = fight.ratio(Trial::rate, corner, Trial::rate, &mut random);
            assert_eq!(ratio.is_ok(), corner.failure.is_none());
        }
    }
}
