//! What was found, as text.

use std::io::{self, Write};

use stanchion_benches::duel::times;
use stanchion_benches::statistics::Random;
use stanchion_reports::results::Estimate;

use crate::contest::{Contest, Fight};
use crate::entrants::Role;
use crate::load::{Trial, Until};
use crate::targets::Outcome;

/// Without decimals.
pub(crate) fn whole(value: f64) -> String {
    format!("{value:.0}")
}

fn micros(seconds: f64) -> String {
    format!("{:.0}", seconds * 1e6)
}

/// A contest.
pub(crate) fn fight(
    out: &mut impl Write,
    contest: &Contest,
    fight: &Fight,
    random: &mut Random,
) -> io::Result<()> {
    let parameters: Vec<String> =
        contest.parameters().into_iter().map(|(label, value)| format!("{label} {value}")).collect();
    let length = match fight.load.until {
        Until::Elapsed(length) => format!("{} ms", length.as_millis()),
        Until::Sends(sends) => format!("{sends} sends"),
    };
    let (name, parameters) = (contest.name, parameters.join(", "));
    writeln!(out, "\n{name}: {parameters}; {} rounds of trials of {length}", fight.rounds)?;
    writeln!(
        out,
        "  {:14}  {:>9}  {:>10}  {:>16}  {:>8}  {:>8}",
        "store", "msg/s", "file over", "99 % interval", "p50 us", "p99 us"
    )?;
    for corner in &fight.corners {
        let name = if corner.control { "A/A" } else { corner.entrant.name };
        if let Some(failure) = &corner.failure {
            writeln!(out, "  {name:14}  NO NUMBER: {failure}")?;
            continue;
        }
        let mut median =
            |of: fn(&Trial) -> f64| corner.estimate(of, random).map_or(f64::NAN, |found| found.median);
        let rate = whole(median(Trial::rate));
        let p50 = micros(median(|trial| trial.p50.as_secs_f64()));
        let p99 = micros(median(|trial| trial.p99.as_secs_f64()));
        let is_reference = corner.entrant.role == Role::Ours && !corner.control;
        let (ratio, interval) = match fight.ratio(Trial::rate, corner, Trial::rate, random) {
            _ if is_reference => ("1".into(), String::new()),
            Ok(compared) => {
                let Estimate { median, lo, hi, .. } = compared.ratio;
                (times(median), format!("{} to {}", times(lo), times(hi)))
            }
            Err(_) => ("-".into(), String::new()),
        };
        let words = match corner.entrant.role {
            _ if corner.control => "the file queue against itself: the noise",
            Role::Clock => "one producer, in every contest: the time of a sync",
            Role::Tickets => "one thread, a ticket for each producer",
            Role::Log => "a bare log, unmaintained: not ranked",
            _ => "",
        };
        writeln!(out, "  {name:14}  {rate:>9}  {ratio:>10}  {interval:>16}  {p50:>8}  {p99:>8}  {words}")?;
    }
    Ok(())
}

/// What was to be reached.
pub(crate) fn targets(out: &mut impl Write, outcomes: &[(String, Outcome)]) -> io::Result<()> {
    if outcomes.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n{:14}  {:36}  {:>7}  {:>16}  {:>13}  verdict",
        "contest", "target", "found", "99 % interval", "bound"
    )?;
    for (contest, outcome) in outcomes {
        let (found, interval) = match &outcome.found {
            Ok([median, lo, hi]) => (times(*median), format!("{} to {}", times(*lo), times(*hi))),
            Err(reason) => ("-".into(), reason.clone()),
        };
        let Outcome { what, bound, verdict, .. } = outcome;
        writeln!(out, "{contest:14}  {what:36}  {found:>7}  {interval:>16}  {bound:>13}  {verdict}")?;
    }
    writeln!(
        out,
        "Reached: the whole interval is on the right side of the bound; missed: all of it is on the other; else the rounds do\n\
         not suffice to say, allow more --time."
    )
}

/// What the numbers cannot tell.
pub(crate) fn limits(out: &mut impl Write, contests: &[Contest], stolen: Option<f64>) -> io::Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let busiest = contests.iter().map(Contest::threads).max().unwrap_or(0);
    writeln!(out, "\nWhat these numbers cannot tell:")?;
    if busiest > cores {
        writeln!(
            out,
            "- {busiest} threads on {cores} cores take turns: much of a confirmation is waiting for one."
        )?;
    }
    if let Some(stolen) = stolen {
        writeln!(out, "- The host took {:.1} % of the cores for somebody else meanwhile.", stolen * 100.0)?;
    }
    writeln!(
        out,
        "- Whether the device keeps what it says it has synced: no power was cut. Nor what other file systems cost.\n\
         - Peers have one row a message and their leases in memory: a queue made of them would cost more.\n\
         - +gc is a group commit of ours in front of a library that commits for one caller at a time.\n\
         - What a store puts off for longer than a trial is not in its rate: filter, and give more --time, for longer ones.\n\
         - They are closed loops: they say nothing of latency at a given rate. Compare ratios, in one run.\n\
         - Every number is of a store that was opened again and held what it had confirmed, once."
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::contest;
    use crate::entrants;
    use crate::load::Load;

    #[test]
    fn a_store_without_a_number_is_shown_as_such_and_a_peer_over_which_there_is_a_ratio() {
        let few = ["file", "sqlite", "raw_append"].map(|name| entrants::named(name).expect("is there"));
        let mut contest = contest::all(&few).remove(0);
        // The raw append cannot remove anything.
        contest.load = Load { consumers: 1, until: Until::Sends(3), ..contest.load };
        let mut random = Random::new(1);
        let fight = contest.fight(Duration::ZERO, &mut random);
        let mut out = Vec::new();
        super::fight(&mut out, &contest, &fight, &mut random).expect("written");
        let text = String::from_utf8(out).expect("text");
        let line = |name: &str| {
            text.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_default().to_owned()
        };
        assert!(line("raw_append").contains("NO NUMBER: a raw append cannot remove"), "{text}");
        assert!(line("sqlite").contains(" to ") && line("A/A").contains("the noise"), "{text}");
    }
}
