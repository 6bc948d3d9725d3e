//! How small the harness makes what it finds, against plans that were made as small as can be by hand
//! (`by_hand.json`).
//!
//! The size of a plan is its number of steps, and one that stands for many calls (churn, wear, flood) is counted as
//! those: a plan is not smaller for what it calls them.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use stanchion_queues::Settings;
use stanchion_queues::file::Mistake;

use super::delivery::races::{self, Race};
use super::delivery::{self, RogueHost};
use super::{Hunt, Seen, commits, consumers, memory};
use crate::checkers;
use crate::consumers::{Ledger, played};
use crate::engines::budget::Budget;
use crate::engines::{images, sequential, simulated};
use crate::history::History;
use crate::invariant::Invariant;
use crate::plan::case_seed;

/// Of each engine a few that are found soon.
const SOON: [&str; 12] =
    ["D01", "D08", "D13", "D16", "D34", "D40", "P01", "race-receive", "race-settle", "I03", "M13", "M-swap"];

/// A rogue, and the smallest plan that breaks the promise which it is known for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ByHand {
    engine: String,
    bug: String,
    plan: Value,
}

fn all() -> Vec<ByHand> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/rogues/by_hand.json");
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

enum Rogue {
    Delivery(delivery::Bug),
    Image(delivery::Bug),
    Race(Race),
    Commit(Mistake),
    Consumer(consumers::Bug),
    Buffer(memory::Bug),
}

fn named<T: Copy>(all: &[T], is: impl Fn(T) -> bool) -> Option<T> {
    all.iter().copied().find(|one| is(*one))
}

fn read<P: DeserializeOwned>(plan: &Value) -> P {
    serde_json::from_value(plan.clone()).unwrap_or_else(|error| panic!("{error} in {plan}"))
}

/// What came of a run: whether the promise was broken, and all that was seen.
type Told = (bool, String);

fn seen(history: &History, promise: Invariant) -> Told {
    let all = serde_json::to_string(history).expect("a history is plain data");
    (checkers::check(promise, history).is_broken(), all)
}

impl ByHand {
    fn rogue(&self) -> Rogue {
        let bug = self.bug.as_str();
        let of_delivery = || named(delivery::Bug::ALL, |one| one.id() == bug);
        let found = match self.engine.as_str() {
            "sequential" => of_delivery().map(Rogue::Delivery),
            "crash images" => of_delivery().map(Rogue::Image),
            "simulated" => named(&Race::ALL, |one| one.id() == bug)
                .map(Rogue::Race)
                .or_else(|| named(&Mistake::ALL, |one| commits::described(one).0 == bug).map(Rogue::Commit)),
            "consumer" => named(&consumers::Bug::ALL, |one| one.id() == bug).map(Rogue::Consumer),
            "buffer" => named(&memory::Bug::ALL, |one| one.id() == bug).map(Rogue::Buffer),
            _ => None,
        };
        found.unwrap_or_else(|| panic!("no rogue of {:?} is called {bug:?}", self.engine))
    }

    /// The same without one of its steps, each in turn.
    fn without_one(&self) -> impl Iterator<Item = Value> {
        let steps = self.plan["steps"].as_array().map_or(0, Vec::len);
        (0..steps).map(|step| {
            let mut plan = self.plan.clone();
            plan["steps"].as_array_mut().expect("a list of steps").remove(step);
            plan
        })
    }
}

impl Rogue {
    /// Whether it is seen to break its promise in a run of this plan.
    fn fails(&self, plan: &Value) -> bool {
        self.run(plan).0
    }

    fn run(&self, plan: &Value) -> Told {
        match *self {
            Rogue::Delivery(bug) => {
                let make = |settings: &Settings| RogueHost::new(bug, settings);
                let history = sequential::run(make, &read(plan)).expect("it starts");
                seen(&history, bug.expected().expect("it is wrong"))
            }
            Rogue::Image(bug) => {
                let make = |settings: &Settings| RogueHost::new(bug, settings);
                let ran = images::run(make, &read(plan)).expect("it starts");
                let (verdicts, _) = ran.judge();
                let expected = bug.expected().expect("it is wrong");
                let broken = verdicts.iter().any(|(of, verdict)| *of == expected && verdict.is_broken());
                (broken, seen(&ran.history, expected).1)
            }
            Rogue::Race(race) => {
                let history = simulated::run(races::hosting(race), &read(plan), true).expect("it starts");
                seen(&history, race.expected().expect("it is wrong"))
            }
            Rogue::Commit(mistake) => {
                let history = simulated::run(commits::hosting(mistake), &read(plan), true);
                seen(&history.expect("it starts"), commits::described(mistake).2)
            }
            Rogue::Consumer(bug) => {
                let make = |_: &mut Ledger| Box::new(consumers::Rogue::new(bug)) as _;
                let (verdict, history) = played(&Ledger::default, &make, bug.expected(), &read(plan));
                (verdict.is_broken(), serde_json::to_string(&history).expect("a history is plain data"))
            }
            Rogue::Buffer(bug) => {
                let breach = memory::broken_by(bug, &read(plan));
                let broken = breach.as_ref().map(|breach| breach.invariant);
                (broken == bug.expected(), format!("{breach:?}"))
            }
        }
    }

    /// The smallest plan that the harness finds with this seed.
    fn hunt(&self, seed: u64) -> Option<Value> {
        let budget = &Budget { seed, ..Budget::quick() };
        let found = match *self {
            Rogue::Delivery(bug) => delivery::hunt(bug, budget, checkers::judge),
            Rogue::Image(bug) => delivery::images::hunt(bug, budget),
            Rogue::Race(race) => Some(
                Hunt {
                    bug: race.id(),
                    what: race.what(),
                    expected: race.expected().expect("it is wrong"),
                    engine: "simulated",
                    shrink_runs: budget.shrink_runs,
                }
                .run(
                    (0..budget.cases).map(|case| simulated::Plan::draw(case_seed(seed, race.id(), case))),
                    |plan| {
                        let history = simulated::run(races::hosting(race), plan, true).expect("it starts");
                        Seen { verdicts: checkers::judge(&history), history, reached: None }
                    },
                    None,
                ),
            ),
            Rogue::Commit(mistake) => Some(commits::hunt(mistake, budget)),
            Rogue::Consumer(bug) => Some(consumers::catch(bug, budget)),
            Rogue::Buffer(bug) => memory::caught(bug, budget),
        };
        let plan = found?.plan?;
        // One that is saved says first whose it is.
        let saved = plan.as_object().filter(|of| !of.contains_key("steps"));
        saved.and_then(|of| of.values().next().cloned()).or(Some(plan))
    }
}

/// Steps, with those that stand for several calls as many.
fn size(plan: &Value) -> u64 {
    let steps = plan["steps"].as_array().map_or(&[][..], Vec::as_slice);
    let calls = |step: &Value| {
        let step = step.get("step").unwrap_or(step);
        let of = |name, each, more| step[name]["count"].as_u64().map(|count| each * count + more);
        of("churn", 3, 0).or_else(|| of("wear", 2, 0)).or_else(|| of("flood", 1, 1)).unwrap_or(1)
    };
    steps.iter().map(calls).sum()
}

#[test]
fn each_plan_made_by_hand_fails_and_none_of_its_steps_can_be_spared() {
    let mut wrong = Vec::new();
    for made in all() {
        let rogue = made.rogue();
        if !rogue.fails(&made.plan) {
            wrong.push(format!("{} {}: the plan does not fail", made.engine, made.bug));
        }
        let spared: Vec<usize> = made
            .without_one()
            .enumerate()
            .filter(|(_, plan)| rogue.fails(plan))
            .map(|(step, _)| step)
            .collect();
        if !spared.is_empty() {
            wrong.push(format!("{} {}: steps {spared:?} can be spared", made.engine, made.bug));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Lets the harness find and shrink with each of these seeds; how many times as large as by hand each plan is.
/// Whatever it finds is run again from its text, twice: it fails again, in the same way to the last byte.
fn ratios(seeds: &[u64], of: impl Fn(&ByHand) -> bool) -> Vec<f64> {
    println!("{:<14}{:<23}{:>8}  {:<24}{:>6}", "engine", "bug", "by hand", "by the harness", "worst");
    let mut ratios = Vec::new();
    for made in all().into_iter().filter(of) {
        let rogue = made.rogue();
        let by_hand = size(&made.plan);
        let mut sizes = Vec::new();
        for seed in seeds {
            let found = rogue.hunt(*seed);
            let found = found.unwrap_or_else(|| panic!("{} was not caught with seed {seed}", made.bug));
            let text = serde_json::to_string(&found).expect("a plan is plain data");
            let again = || rogue.run(&serde_json::from_str(&text).expect("it was just written"));
            let (first, second) = (again(), again());
            assert!(first.0, "{}, seed {seed}: run again it does not fail: {text}", made.bug);
            assert_eq!(first, second, "{}, seed {seed}: run again it differs: {text}", made.bug);
            if size(&found) != by_hand {
                println!("    {text}");
            }
            sizes.push(size(&found));
        }
        let worst = sizes.iter().copied().max().unwrap_or_default() as f64 / by_hand as f64;
        let told: Vec<String> = sizes.iter().map(u64::to_string).collect();
        println!("{:<14}{:<23}{by_hand:>8}  {:<24}{worst:>6.2}", made.engine, made.bug, told.join(" "));
        ratios.extend(sizes.iter().map(|size| *size as f64 / by_hand as f64));
    }
    ratios.sort_by(f64::total_cmp);
    ratios
}

/// The median and the worst of sorted ratios, told.
fn median(ratios: &[f64]) -> f64 {
    let median = ratios[ratios.len() / 2];
    println!(
        "{} plans, each run again twice: median {median:.2} of the size by hand, worst {:.2}",
        ratios.len(),
        ratios[ratios.len() - 1]
    );
    median
}

#[test]
fn what_fails_is_shrunk_to_what_a_person_would_write() {
    assert!(median(&ratios(&[1], |made| SOON.contains(&made.bug.as_str()))) <= 1.3);
}

/// `cargo test -p stanchion-properties --lib -- --ignored --nocapture by_hand`
#[test]
#[ignore = "minutes"]
fn what_fails_is_shrunk_whatever_the_seed() {
    let ratios = ratios(&[1, 2, 3, 4], |_| true);
    assert!(ratios.len() >= 100, "{} plans", ratios.len());
    assert!(median(&ratios) <= 1.3);
}
