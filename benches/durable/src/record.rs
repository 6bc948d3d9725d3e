//! What was found, for the report.

use stanchion_benches::statistics::{self, Random, ZONE};
use stanchion_reports::results::{Answer, Better, Comparison, Measurement, Results, State, Trial as Value};

use crate::contest::{Contest, Corner, Fight};
use crate::entrants::{Entrant, Role};
use crate::load::Trial;

/// Adds a contest.
pub(crate) fn add(found: &mut Results, contest: &Contest, fight: &Fight, random: &mut Random) {
    let workload = format!("durable {}", contest.name);
    let reference = fight.ours().map_or("", |ours| ours.entrant.name);
    for corner in fight.corners.iter().filter(|corner| !corner.control) {
        let measurement = |unit: &str, better, of: fn(&Trial) -> f64, random: &mut Random| Measurement {
            workload: workload.clone(),
            parameters: contest.parameters(),
            queue: name(&corner.entrant),
            unit: unit.into(),
            better,
            trials: (0..)
                .zip(corner.trials.iter().zip(&corner.places))
                .map(|(round, (trial, place))| Value { round, order: *place, value: of(trial) })
                .collect(),
            estimate: corner.estimate(of, random),
            ledger: None,
            state: if corner.failure.is_some() { State::Invalid } else { State::Ok },
            reason: corner.failure.as_ref().map(ToString::to_string),
        };
        found.measurements.push(measurement("items/s", Better::Higher, Trial::rate, random));
        let p99 = |trial: &Trial| trial.p99.as_nanos() as f64;
        found.measurements.push(Measurement {
            workload: format!("{workload}, p99 of a send"),
            ..measurement("ns", Better::Lower, p99, random)
        });
    }
    let compared = |corner: &Corner| corner.control || corner.entrant.role == Role::Peer;
    for corner in fight.corners.iter().filter(|corner| compared(corner)) {
        let mut comparison = Comparison {
            workload: workload.clone(),
            parameters: contest.parameters(),
            a: reference.into(),
            b: corner.entrant.name.into(),
            control: corner.control,
            level: statistics::LEVEL,
            zone: ZONE,
            rounds: fight.rounds,
            ..Comparison::default()
        };
        match fight.ratio(Trial::rate, corner, Trial::rate, random) {
            Err(reason) => comparison.reason = Some(reason),
            // There it is the other queue over the reference.
            Ok(ours) => {
                comparison.ratio = Some(1.0 / ours.ratio.median);
                (comparison.lo, comparison.hi) = (Some(1.0 / ours.ratio.hi), Some(1.0 / ours.ratio.lo));
                comparison.smallest_visible = ours.smallest_visible;
                comparison.verdict = match ours.answer {
                    Answer::Faster => Answer::Slower,
                    Answer::Slower => Answer::Faster,
                    other => other,
                };
                comparison.reason = ours
                    .smallest_visible
                    .is_none()
                    .then(|| format!("fewer than {} rounds, allow more --time", statistics::FEWEST));
            }
        }
        found.comparisons.push(comparison);
    }
}

/// As the report calls it, where nothing else says what it is.
fn name(entrant: &Entrant) -> String {
    match entrant.role {
        Role::Clock => format!("{}, one producer", entrant.name),
        Role::Log => format!("{}, a bare log", entrant.name),
        Role::Tickets => "file, one thread with tickets".into(),
        Role::Ours | Role::Peer | Role::Unsynced => entrant.name.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::contest;
    use crate::entrants;
    use crate::load::{Load, Until};

    #[test]
    fn a_store_without_a_number_is_stored_as_such_and_who_is_not_ranked_is_not_compared() {
        let few = ["file", "sqlite", "sqlite+gc", "raw_append"];
        let few = few.map(|name| entrants::named(name).expect("is there"));
        let mut contest = contest::all(&few).remove(0);
        // The raw append cannot remove anything.
        contest.load = Load { consumers: 1, until: Until::Sends(3), ..contest.load };
        let mut random = Random::new(1);
        let mut fight = contest.fight(Duration::ZERO, &mut random);
        fight.corners[2].failure = Some("1 lost".into());
        let mut found = Results::default();
        add(&mut found, &contest, &fight, &mut random);
        let invalid: Vec<&str> = found
            .measurements
            .iter()
            .filter(|measured| measured.state == State::Invalid && measured.estimate.is_none())
            .map(|measured| measured.queue.as_str())
            .collect();
        assert_eq!(found.measurements.len(), 8);
        assert_eq!(
            invalid,
            ["sqlite+gc", "sqlite+gc", "raw_append, one producer", "raw_append, one producer"]
        );
        let compared: Vec<(&str, bool, bool)> = found
            .comparisons
            .iter()
            .map(|comparison| (comparison.b.as_str(), comparison.control, comparison.ratio.is_some()))
            .collect();
        assert_eq!(compared, [("sqlite", false, true), ("sqlite+gc", false, false), ("file", true, true)]);
        assert_eq!(found.comparisons[1].verdict, Answer::NotComparable);
    }
}
