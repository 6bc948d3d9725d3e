//! What the file queue is to reach beside its peers, and whether it does.

use stanchion_benches::duel::{times, verdict};
use stanchion_benches::statistics::{FEWEST, Random};

use crate::contest::{Contest, Corner, Fight};
use crate::entrants::{CLOCK, Role};
use crate::load::Trial;

/// One thing to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// At least so many times the rate of the store of this name.
    Rate(&'static str, f64),
    /// At least so many times the rate of the best peer.
    BestPeer(f64),
    /// The 99th percentile of a send is at most so many times the median of a raw append and its sync.
    Syncs(f64),
    /// The 99th percentile of a send is at most so many times its median.
    Spread(f64),
}

/// What is to be reached in this contest.
pub fn of(contest: &Contest) -> Vec<Target> {
    use Target::{BestPeer, Rate, Spread, Syncs};
    let kibibyte = contest.load.body == 1024;
    let times_sqlite = |times| kibibyte.then_some(Rate("sqlite", times));
    match contest.name {
        "p1" => vec![Rate(CLOCK, 0.85)],
        "p8" => {
            [BestPeer(1.0), Rate("sqlite+gc", 2.0), Syncs(3.0)].into_iter().chain(times_sqlite(8.0)).collect()
        }
        "p64" => [BestPeer(1.0), Rate("sqlite+gc", 2.0), Spread(3.0)]
            .into_iter()
            .chain(times_sqlite(20.0))
            .collect(),
        "b100" | "b100x8" => vec![BestPeer(1.0)],
        _ => Vec::new(),
    }
}

/// What came of a target.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What was compared with what.
    pub what: String,
    /// The ratio, and its interval.
    pub found: Result<[f64; 3], String>,
    /// "at least 2".
    pub bound: String,
    /// Reached, missed, or why that cannot be said.
    pub verdict: &'static str,
}

impl Target {
    /// Whether it was reached.
    pub fn judge(self, fight: &Fight, random: &mut Random) -> Outcome {
        let mut outcome = self.compare(fight, random);
        if outcome.found.is_ok() && (fight.rounds as usize) < FEWEST {
            outcome.verdict = "too few rounds to say";
        }
        outcome
    }

    fn compare(self, fight: &Fight, random: &mut Random) -> Outcome {
        let p99 = |trial: &Trial| trial.p99.as_secs_f64();
        let p50 = |trial: &Trial| trial.p50.as_secs_f64();
        let named = |name: &str| {
            let corner = fight.with(|corner| corner.entrant.name == name && !corner.control);
            corner.ok_or_else(|| format!("{name} did not take part"))
        };
        match self {
            Target::Rate(name, least) => {
                let found =
                    named(name).and_then(|other| ratio(fight, Trial::rate, other, Trial::rate, random));
                at_least(format!("rate over {name}"), found, least)
            }
            Target::BestPeer(least) => {
                let peers = fight.corners.iter().filter(|corner| corner.entrant.role == Role::Peer);
                let compared = peers.filter_map(|peer| {
                    let found = ratio(fight, Trial::rate, peer, Trial::rate, random).ok()?;
                    Some((peer.entrant.name, found))
                });
                match compared.min_by(|(_, a), (_, b)| a[0].total_cmp(&b[0])) {
                    Some((name, found)) => {
                        at_least(format!("rate over the best peer, {name}"), Ok(found), least)
                    }
                    None => {
                        at_least("rate over the best peer".into(), Err("no peer gave a number".into()), least)
                    }
                }
            }
            Target::Syncs(most) => {
                let found = named(CLOCK).and_then(|clock| ratio(fight, p99, clock, p50, random));
                at_most("p99 of a send over a raw sync".into(), found, most)
            }
            Target::Spread(most) => {
                let ours = fight.ours().ok_or_else(|| "the file queue did not take part".to_owned());
                let found = ours.and_then(|ours| ratio(fight, p99, ours, p50, random));
                at_most("p99 of a send over its p50".into(), found, most)
            }
        }
    }
}

fn ratio(
    fight: &Fight,
    ours: impl Fn(&Trial) -> f64,
    other: &Corner,
    theirs: impl Fn(&Trial) -> f64,
    random: &mut Random,
) -> Result<[f64; 3], String> {
    let ratio = fight.ratio(ours, other, theirs, random)?.ratio;
    Ok([ratio.median, ratio.lo, ratio.hi])
}

fn at_least(what: String, found: Result<[f64; 3], String>, least: f64) -> Outcome {
    let verdict = found.as_ref().map_or("NO NUMBER", |[_, lo, hi]| verdict(least, *lo, *hi));
    Outcome { what, found, bound: format!("at least {}", times(least)), verdict }
}

fn at_most(what: String, found: Result<[f64; 3], String>, most: f64) -> Outcome {
    let verdict = found.as_ref().map_or("NO NUMBER", |[_, lo, hi]| verdict(1.0 / most, 1.0 / hi, 1.0 / lo));
    Outcome { what, found, bound: format!("at most {}", times(most)), verdict }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::contest;
    use crate::entrants::{self, OURS};

    /// Rounds in which everyone has this rate; sends take `p50` and `p99` microseconds.
    fn fight(corners: &[(&str, f64, u64, u64)]) -> Fight {
        let rounds = 10;
        let corner = |(name, rate, p50, p99): &(&str, f64, u64, u64)| {
            let (p50, p99) = (Duration::from_micros(*p50), Duration::from_micros(*p99));
            let trial = Trial { elapsed: Duration::from_secs(1), confirmed: *rate as u64, p50, p99 };
            Corner {
                entrant: entrants::named(name).expect("is there"),
                control: false,
                trials: vec![trial; rounds],
                places: vec![0; rounds],
                failure: None,
            }
        };
        let load = contest::all(&entrants::all())[0].load;
        Fight { corners: corners.iter().map(corner).collect(), rounds: rounds as u32, load }
    }

    fn judge(target: Target, fight: &Fight) -> Outcome {
        target.judge(fight, &mut Random::new(1))
    }

    #[test]
    fn rates_and_times_are_judged_in_their_own_direction() {
        let fight =
            fight(&[(OURS, 80_000.0, 100, 250), (CLOCK, 10_000.0, 100, 150), ("sqlite", 10_000.0, 1, 1)]);
        for (target, words, verdict) in [
            (Target::Rate("sqlite", 7.9), "rate over sqlite", "reached"),
            (Target::Rate("sqlite", 8.1), "rate over sqlite", "MISSED"),
            (Target::BestPeer(1.0), "rate over the best peer, sqlite", "reached"),
            (Target::Syncs(2.6), "p99 of a send over a raw sync", "reached"),
            (Target::Syncs(2.4), "p99 of a send over a raw sync", "MISSED"),
            (Target::Spread(2.6), "p99 of a send over its p50", "reached"),
            (Target::Spread(2.4), "p99 of a send over its p50", "MISSED"),
        ] {
            let outcome = judge(target, &fight);
            assert_eq!((outcome.what.as_str(), outcome.verdict), (words, verdict), "{target:?}");
        }
    }

    #[test]
    fn few_rounds_say_nothing() {
        let mut fight = fight(&[(OURS, 80_000.0, 1, 1), ("sqlite", 10_000.0, 1, 1)]);
        assert_eq!(judge(Target::BestPeer(9.0), &fight).verdict, "MISSED");
        fight.rounds = 7;
        assert_eq!(judge(Target::BestPeer(9.0), &fight).verdict, "too few rounds to say");
    }

    #[test]
    fn the_best_peer_counts_and_who_gave_no_number_does_not() {
        let mut fight =
            fight(&[(OURS, 50_000.0, 1, 1), ("sqlite", 10_000.0, 1, 1), ("sqlite+gc", 40_000.0, 1, 1)]);
        assert_eq!(judge(Target::BestPeer(1.0), &fight).what, "rate over the best peer, sqlite+gc");
        fight.corners[2].failure = Some("1 lost".into());
        assert_eq!(judge(Target::BestPeer(1.0), &fight).what, "rate over the best peer, sqlite");
        let outcome = judge(Target::Rate("sqlite+gc", 2.0), &fight);
        assert_eq!((outcome.verdict, outcome.found), ("NO NUMBER", Err("sqlite+gc: 1 lost".into())));
        fight.corners[0].failure = Some("2 lost".into());
        assert_eq!(judge(Target::BestPeer(1.0), &fight).verdict, "NO NUMBER");
        assert_eq!(judge(Target::Syncs(1.0), &fight).verdict, "NO NUMBER");
    }

    #[test]
    fn every_contest_of_sends_has_targets_that_name_who_takes_part() {
        for contest in contest::all(&entrants::all()) {
            let targets = of(&contest);
            assert_eq!(targets.is_empty(), contest.load.consumers > 0, "{}", contest.name);
            for target in targets {
                if let Target::Rate(name, _) = target {
                    assert!(contest.entrants.iter().any(|entrant| entrant.name == name), "{name}");
                }
            }
        }
    }
}
