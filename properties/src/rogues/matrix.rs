//! The kill matrix: whether a rogue is caught whatever the seed, and how soon. A bug that is caught with one seed may
//! have been met by luck.

use std::collections::BTreeMap;

use super::RogueResult;
use crate::engines::budget::Budget;
use crate::invariant::Invariant;

/// One rogue with several seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Kill {
    /// The bug's id in the zoo, or a name of ours.
    pub bug: String,
    /// What is wrong.
    pub what: String,
    /// The promise it should be seen to break.
    pub expected: Invariant,
    /// The engines that caught it, the most frequent first, with how often.
    pub engines: Vec<(String, usize)>,
    /// With so many seeds it was caught by that promise,
    pub caught: usize,
    /// of so many.
    pub seeds: usize,
    /// Cases until it was caught, sorted.
    pub cases: Vec<u64>,
    /// Seconds until it was caught, sorted.
    pub seconds: Vec<f64>,
    /// Every promise that it was seen to break until then, in the order of the catalogue, with the engine and with how many
    /// seeds.
    pub broken: Vec<(Invariant, String, usize)>,
}

/// Runs a table with each of these seeds, without shrinking.
pub fn over(
    seeds: impl IntoIterator<Item = u64>,
    budget: &Budget,
    table: impl Fn(&Budget) -> Vec<RogueResult>,
) -> Vec<Kill> {
    let mut kills: Vec<Kill> = Vec::new();
    for seed in seeds {
        for met in table(&Budget { seed, shrink_runs: 0, ..budget.clone() }) {
            let known = kills.iter().position(|kill| kill.bug == met.bug);
            let nth = known.unwrap_or_else(|| {
                kills.push(Kill::of(&met));
                kills.len() - 1
            });
            kills[nth].add(met);
        }
    }
    for kill in &mut kills {
        kill.cases.sort_unstable();
        kill.seconds.sort_by(f64::total_cmp);
        kill.broken.sort();
        kill.engines.sort_by_key(|(_, often)| std::cmp::Reverse(*often));
    }
    kills
}

impl Kill {
    fn of(met: &RogueResult) -> Kill {
        Kill {
            bug: met.bug.clone(),
            what: met.what.clone(),
            expected: met.expected,
            engines: Vec::new(),
            caught: 0,
            seeds: 0,
            cases: Vec::new(),
            seconds: Vec::new(),
            broken: Vec::new(),
        }
    }

    fn add(&mut self, met: RogueResult) {
        self.seeds += 1;
        for &invariant in met.also.iter().chain(met.found.then_some(&met.expected)) {
            let same = |(of, by, _): &&mut (Invariant, String, usize)| *of == invariant && *by == met.engine;
            match self.broken.iter_mut().find(same) {
                Some((_, _, often)) => *often += 1,
                None => self.broken.push((invariant, met.engine.clone(), 1)),
            }
        }
        if !met.found {
            return;
        }
        self.caught += 1;
        self.cases.push(met.cases);
        self.seconds.push(met.seconds);
        match self.engines.iter_mut().find(|(engine, _)| *engine == met.engine) {
            Some((_, often)) => *often += 1,
            None => self.engines.push((met.engine, 1)),
        }
    }
}

/// The matrix for a terminal, at most 100 columns, and its summary by the first letter of the bug's id.
pub fn draw(kills: &[Kill]) -> String {
    let mut text = format!(
        "{:<20}{:<7}{:<12}{:>6}{:>8}{:>8}{:>8}{:>8}  what is wrong\n{:59}median   worst  median   worst\n",
        "bug", "breaks", "caught by", "seeds", "cases", "cases", "s", "s", ""
    );
    let mut groups: BTreeMap<char, [usize; 3]> = BTreeMap::new();
    for Kill { bug, what, expected, engines, caught, seeds, cases, seconds, broken } in kills {
        let engine = engines.first().map_or("NOTHING", |(engine, _)| engine);
        let count = |value: Option<&u64>| value.map_or("-".into(), u64::to_string);
        let time = |value: Option<&f64>| value.map_or("-".into(), |seconds| format!("{seconds:.2}"));
        let line = format!(
            "{bug:<20}{:<7}{engine:<12}{caught:>3}/{seeds:<2}{:>8}{:>8}{:>8}{:>8}  {what}",
            expected.id(),
            count(cases.get(cases.len() / 2)),
            count(cases.last()),
            time(seconds.get(seconds.len() / 2)),
            time(seconds.last()),
        );
        text.extend(line.chars().take(100));
        text.push('\n');
        let others = broken.iter().filter(|(invariant, ..)| invariant != expected);
        let others: Vec<String> =
            others.map(|(invariant, _, often)| format!("{} ({often})", invariant.id())).collect();
        if !others.is_empty() {
            let line = format!("{:20}also   {}", "", others.join(", "));
            text.extend(line.chars().take(100));
            text.push('\n');
        }
        let group = groups.entry(bug.chars().next().unwrap_or('?')).or_default();
        group[if caught == seeds { 0 } else { 1 + usize::from(*caught == 0) }] += 1;
    }
    for (group, [all, some, none]) in groups {
        text += &format!("{group}: {all} with every seed, {some} with some, {none} with none\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rogues::Showed;

    /// Caught with an even seed, after as many cases as the seed says.
    fn table(budget: &Budget) -> Vec<RogueResult> {
        assert_eq!(budget.shrink_runs, 0, "shrinking takes time and finds nothing more");
        let rogue = |bug: &str, found| RogueResult {
            bug: bug.into(),
            what: "it is wrong".into(),
            expected: Invariant::Al1,
            found,
            cases: budget.seed,
            shrunk: None,
            plan: None,
            engine: "sequential".into(),
            also: vec![Invariant::Al2],
            seconds: 0.5,
            showed: Showed::default(),
        };
        vec![rogue("D1", budget.seed.is_multiple_of(2)), rogue("D2", true), rogue("M1", false)]
    }

    #[test]
    fn a_bug_met_by_luck_is_told_from_one_that_is_always_caught() {
        let kills = over(1..=4, &Budget::quick(), table);
        let caught: Vec<_> = kills.iter().map(|kill| (kill.caught, kill.seeds, kill.cases.len())).collect();
        assert_eq!(caught, [(2, 4, 2), (4, 4, 4), (0, 4, 0)]);
        let sequential = || "sequential".to_owned();
        let broken = [(Invariant::Al1, sequential(), 2), (Invariant::Al2, sequential(), 4)];
        assert_eq!(kills[0].broken, broken);
        let text = draw(&kills);
        assert!(text.contains("also   AL-2 (4)"), "{text}");
        assert!(text.contains("D: 1 with every seed, 1 with some, 0 with none"), "{text}");
        assert!(text.contains("M: 0 with every seed, 0 with some, 1 with none"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }
}
