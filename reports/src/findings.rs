//! What the results say, in words: the one place that decides what a headline may claim.

use std::cmp::Ordering;

use crate::format::plural;
use crate::results::{Failure, Kind, Property, Queue, Results, State, Status};

/// The families of promises, in the order of the catalogue.
const GROUPS: [(&str, &str); 9] = [
    ("AL", "At least once"),
    ("DL", "Dead letters"),
    ("LV", "Leases and visibility"),
    ("OR", "Order"),
    ("CB", "Capacity and backpressure"),
    ("IC", "Idempotent consumer"),
    ("DU", "Durability"),
    ("LI", "Liveness"),
    ("ME", "Memory"),
];

/// The letters before the dash of an invariant's id.
pub(crate) fn group(id: &str) -> &str {
    id.split('-').next().unwrap_or(id)
}

/// The family's name in words, or its letters.
pub(crate) fn group_name(letters: &str) -> &str {
    GROUPS.iter().find(|(known, _)| *known == letters).map_or(letters, |(_, name)| name)
}

/// The order of the catalogue: by family, then by number; what is not in the catalogue comes last.
pub(crate) fn catalogue_order(a: &str, b: &str) -> Ordering {
    let key = |id: &str| {
        let family = GROUPS.iter().position(|(letters, _)| *letters == group(id)).unwrap_or(GROUPS.len());
        let number =
            id.split_once('-').and_then(|(_, number)| number.parse::<u32>().ok()).unwrap_or(u32::MAX);
        (family, number)
    };
    key(a).cmp(&key(b)).then_with(|| a.cmp(b))
}

/// One promise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promise<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) sentence: &'a str,
}

/// What all engines found about one promise of one queue.
pub(crate) struct Cell<'a> {
    /// The worst news of all engines.
    pub(crate) status: Status,
    /// The worst news first.
    pub(crate) by_engine: Vec<&'a Property>,
}

impl Cell<'_> {
    /// "holds (sequential: holds, 64 cases, 310 times; threads: never exercised)".
    pub(crate) fn words(&self) -> String {
        use crate::format::count;
        let mut text = self.status.word().to_owned();
        for (i, property) in self.by_engine.iter().enumerate() {
            text.push_str(if i == 0 { " (" } else { "; " });
            if !property.engine.is_empty() {
                text.push_str(&format!("{}: ", property.engine));
            }
            text.push_str(property.status.word());
            if property.cases > 0 {
                let cases = usize::try_from(property.cases).unwrap_or(usize::MAX);
                text.push_str(&format!(", {}", plural(cases, "case")));
            }
            if property.instances > 0 {
                text.push_str(&format!(", exercised {} times", count(property.instances)));
            }
            if let Some(reason) = &property.reason {
                text.push_str(&format!(", {reason}"));
            }
        }
        if !self.by_engine.is_empty() {
            text.push(')');
        }
        text
    }
}

/// How many promises of one queue came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) holds: usize,
    pub(crate) broken: usize,
    pub(crate) unknown: usize,
    pub(crate) vacuous: usize,
    pub(crate) not_claimed: usize,
}

impl Tally {
    fn add(&mut self, status: Status) {
        *match status {
            Status::Holds => &mut self.holds,
            Status::Broken => &mut self.broken,
            Status::Unknown => &mut self.unknown,
            Status::Vacuous => &mut self.vacuous,
            Status::NotClaimed => &mut self.not_claimed,
        } += 1;
    }

    pub(crate) fn claimed(self) -> usize {
        self.holds + self.broken + self.unknown + self.vacuous
    }

    /// What these promises came to, in few words.
    pub(crate) fn verdict(self) -> String {
        match self {
            Tally { broken, .. } if broken > 0 => format!("breaks {broken}"),
            Tally { unknown, .. } if unknown > 0 => format!("{unknown} unknown"),
            Tally { holds: 0, .. } => "not tested".into(),
            Tally { vacuous, .. } if vacuous > 0 => "keeps what was tested".into(),
            _ => "keeps all".into(),
        }
    }
}

/// Everything that pages say about promises.
pub(crate) struct Findings<'a> {
    results: &'a Results,
    /// Every queue that is described or judged, in the order of the results.
    pub(crate) queues: Vec<Queue>,
}

impl<'a> Findings<'a> {
    pub(crate) fn of(results: &'a Results) -> Findings<'a> {
        let mut queues = results.queues.clone();
        for property in &results.properties {
            if !queues.iter().any(|queue| queue.name == property.queue) {
                queues.push(Queue { name: property.queue.clone(), ..Queue::default() });
            }
        }
        Findings { results, queues }
    }

    /// The queues of one kind.
    pub(crate) fn of_kind(&self, kind: Kind) -> Vec<&Queue> {
        self.queues.iter().filter(|queue| queue.kind == kind).collect()
    }

    /// The promises that were looked at for any of these queues, in the order of the catalogue.
    pub(crate) fn promises(&self, queues: &[&Queue]) -> Vec<Promise<'a>> {
        let mut promises: Vec<Promise<'a>> = Vec::new();
        for property in &self.results.properties {
            let concerned = queues.iter().any(|queue| queue.name == property.queue);
            if concerned && !promises.iter().any(|known| known.id == property.invariant) {
                promises.push(Promise {
                    id: &property.invariant,
                    name: &property.name,
                    sentence: &property.sentence,
                });
            }
        }
        promises.sort_by(|a, b| catalogue_order(a.id, b.id));
        promises
    }

    /// What all engines found about one promise of one queue; `None` if none looked.
    pub(crate) fn cell(&self, queue: &str, invariant: &str) -> Option<Cell<'a>> {
        let mut by_engine: Vec<&Property> = self
            .results
            .properties
            .iter()
            .filter(|property| property.queue == queue && property.invariant == invariant)
            .collect();
        by_engine.sort_by_key(|property| property.status.rank());
        Some(Cell { status: by_engine.first()?.status, by_engine })
    }

    /// How many promises of `queue` came to what; of the family `letters` only, if given.
    pub(crate) fn tally(&self, queue: &Queue, letters: Option<&str>) -> Tally {
        let mut tally = Tally::default();
        for promise in self.promises(&[queue]) {
            if letters.is_none_or(|letters| letters == group(promise.id))
                && let Some(cell) = self.cell(&queue.name, promise.id)
            {
                tally.add(cell.status);
            }
        }
        tally
    }

    /// All promises of all queues.
    pub(crate) fn total(&self) -> Tally {
        self.queues.iter().map(|queue| self.tally(queue, None)).fold(Tally::default(), |sum, tally| Tally {
            holds: sum.holds + tally.holds,
            broken: sum.broken + tally.broken,
            unknown: sum.unknown + tally.unknown,
            vacuous: sum.vacuous + tally.vacuous,
            not_claimed: sum.not_claimed + tally.not_claimed,
        })
    }

    /// The families that occur, in the order of the catalogue.
    pub(crate) fn groups(&self) -> Vec<&'a str> {
        let mut groups: Vec<&str> = Vec::new();
        for promise in self.promises(&self.queues.iter().collect::<Vec<_>>()) {
            if !groups.contains(&group(promise.id)) {
                groups.push(group(promise.id));
            }
        }
        groups
    }

    /// The failures, in the order of the catalogue.
    pub(crate) fn failures(&self) -> Vec<&'a Failure> {
        let mut failures: Vec<&Failure> = self.results.failures.iter().collect();
        failures
            .sort_by(|a, b| catalogue_order(&a.invariant, &b.invariant).then_with(|| a.queue.cmp(&b.queue)));
        failures
    }

    /// Broken promises, in the order of the catalogue, each with its failing run if one is stored.
    pub(crate) fn broken(&self) -> Vec<(&'a Property, Option<&'a Failure>)> {
        let mut broken: Vec<_> = self
            .results
            .properties
            .iter()
            .filter(|property| property.status == Status::Broken)
            .map(|property| {
                let failure = self.results.failures.iter().find(|failure| {
                    property.failure.as_ref() == Some(&failure.id)
                        || property.failure.is_none()
                            && (&property.queue, &property.invariant) == (&failure.queue, &failure.invariant)
                });
                (property, failure)
            })
            .collect();
        broken.sort_by(|(a, _), (b, _)| {
            catalogue_order(&a.invariant, &b.invariant).then_with(|| a.queue.cmp(&b.queue))
        });
        broken
    }

    /// "3 of 4 queues keep every promise they make." What was not decided or never occurred is not called kept.
    /// Consumers are counted only where there are no queues.
    pub(crate) fn headline(&self) -> String {
        let tallies = |consumers: bool| -> Vec<Tally> {
            self.queues
                .iter()
                .filter(|queue| (queue.kind == Kind::Consumer) == consumers)
                .map(|queue| self.tally(queue, None))
                .filter(|tally| tally.claimed() > 0)
                .collect()
        };
        let (tallies, one) = match (tallies(false), tallies(true)) {
            (queues, consumers) if queues.is_empty() => (consumers, "consumer"),
            (queues, _) => (queues, "queue"),
        };
        let kept: Vec<_> =
            tallies.iter().filter(|t| t.broken == 0 && t.unknown == 0 && t.holds > 0).collect();
        let exercised = kept.iter().all(|tally| tally.vacuous == 0);
        let (its, their) = match exercised {
            true => ("it makes", "they make"),
            false => ("that was put to the test", "that was put to the test"),
        };
        let all = plural(tallies.len(), one);
        match (kept.len(), tallies.len()) {
            (_, 0) => "No promise was tested.".into(),
            (0, 1) => format!("The one {one} does not keep every promise it makes."),
            (1, 1) => format!("The one {one} keeps every promise {its}."),
            (0, _) => format!("None of {all} keeps every promise it makes."),
            (1, _) => format!("1 of {all} keeps every promise {its}."),
            (n, m) if n == m => format!("All {all} keep every promise {their}."),
            (n, _) => format!("{n} of {all} keep every promise {their}."),
        }
    }

    /// The worst news first, one sentence each; never empty.
    pub(crate) fn news(&self) -> Vec<String> {
        let mut news = Vec::new();
        let broken = self.broken();
        if let Some((property, failure)) = broken.first() {
            let what = failure.map_or(&property.sentence, |failure| &failure.title);
            let more = match broken.len() {
                1 => String::new(),
                n => format!(" ({} broken in all)", plural(n, "promise")),
            };
            news.push(format!("{} breaks {}: {what}{more}", property.queue, property.invariant));
        }
        let missed: Vec<_> = self.results.rogues.iter().filter(|rogue| !rogue.caught).collect();
        let unnoticed = missed.iter().filter(|rogue| rogue.caught_by.is_empty()).count();
        if unnoticed > 0 {
            news.push(format!("{} made on purpose went unnoticed.", plural(unnoticed, "bug")));
        }
        if missed.len() > unnoticed {
            let others = plural(missed.len() - unnoticed, "bug");
            news.push(format!("{others} made on purpose broke another promise than the one named."));
        }
        let invalid = self.results.measurements.iter().filter(|m| m.state == State::Invalid).count();
        if invalid > 0 {
            news.push(format!(
                "{} withheld, because the run that gave it was not clean.",
                plural(invalid, "number")
            ));
        }
        let total = self.total();
        if total.unknown > 0 {
            news.push(format!("{} could not be decided.", plural(total.unknown, "promise")));
        }
        if total.vacuous > 0 {
            news.push(format!(
                "{} never put to the test: the interesting situation did not occur.",
                plural(total.vacuous, "promise")
            ));
        }
        if news.is_empty() && total.claimed() > 0 {
            news.push("Nothing is broken and nothing is left undecided.".into());
        } else if news.is_empty() {
            news.push("Run the checks first: there is nothing to judge here.".into());
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(found: &[(&str, Status)]) -> Results {
        let properties = found.iter().enumerate().map(|(i, (queue, status))| Property {
            queue: (*queue).into(),
            invariant: format!("AL-{}", i + 1),
            status: *status,
            ..Property::default()
        });
        Results { properties: properties.collect(), ..Results::default() }
    }

    fn headline(found: &[(&str, Status)]) -> String {
        Findings::of(&results(found)).headline()
    }

    #[test]
    fn the_headline_claims_no_more_than_was_seen() {
        use Status::{Broken, Holds, NotClaimed, Unknown, Vacuous};
        assert_eq!(headline(&[]), "No promise was tested.");
        assert_eq!(headline(&[("a", NotClaimed)]), "No promise was tested.");
        assert_eq!(
            headline(&[("a", Holds), ("b", Broken), ("c", Holds)]),
            "2 of 3 queues keep every promise they make."
        );
        assert_eq!(headline(&[("a", Holds), ("b", Holds)]), "All 2 queues keep every promise they make.");
        assert_eq!(headline(&[("a", Holds), ("b", Unknown)]), "1 of 2 queues keeps every promise it makes.");
        assert_eq!(headline(&[("a", Holds)]), "The one queue keeps every promise it makes.");
        assert_eq!(headline(&[("a", Vacuous)]), "The one queue does not keep every promise it makes.");
        assert_eq!(
            headline(&[("a", Vacuous), ("b", Broken)]),
            "None of 2 queues keeps every promise it makes."
        );
        assert_eq!(
            headline(&[("a", Holds), ("a", Vacuous)]),
            "The one queue keeps every promise that was put to the test."
        );
    }

    #[test]
    fn across_engines_the_worst_news_wins_and_knowledge_beats_its_absence() {
        let mut results = results(&[("a", Status::Vacuous), ("a", Status::Holds)]);
        for property in &mut results.properties {
            property.invariant = "AL-1".into();
        }
        let status = |results: &Results| Findings::of(results).cell("a", "AL-1").map(|cell| cell.status);
        assert_eq!(status(&results), Some(Status::Holds));
        results.properties[0].status = Status::Broken;
        assert_eq!(status(&results), Some(Status::Broken));
    }

    #[test]
    fn promises_follow_the_catalogue() {
        let mut ids = ["ME-4", "AL-10", "XX-1", "AL-2", "DL-1"];
        ids.sort_by(|a, b| catalogue_order(a, b));
        assert_eq!(ids, ["AL-2", "AL-10", "DL-1", "ME-4", "XX-1"]);
    }

    #[test]
    fn the_worst_news_comes_first() {
        let mut results = results(&[("a", Status::Vacuous), ("b", Status::Broken)]);
        results.properties[1].sentence = "It is kept.".into();
        let findings = Findings::of(&results);
        assert_eq!(findings.news()[0], "b breaks AL-2: It is kept.");
        assert_eq!(findings.news().len(), 2);
    }
}
