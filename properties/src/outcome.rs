//! What a suite found, as results for the report and as a table for the terminal.

use std::time::Instant;

use stanchion_reports::results::{self, Kind, Property, Results, Run, Status};
use stanchion_reports::{fragment, terminal};

use crate::card::Line;
use crate::engines::budget::Budget;
use crate::engines::extent;
use crate::finding::Finding;
use crate::regressions;
use crate::rogues::RogueResult;
use crate::rogues::matrix::Kill;
use crate::suite::Entry;
use crate::verdict::Verdict;

/// When a run started, and where.
#[derive(Clone)]
pub(crate) struct Started {
    at: Instant,
    run: Run,
}

impl Started {
    /// The run of the target that is called `part`.
    pub(crate) fn now(part: &str) -> Started {
        Started { at: Instant::now(), run: Run::capture(part) }
    }
}

/// What an entry is and claims.
pub(crate) fn queue(entry: &Entry) -> results::Queue {
    results::Queue {
        name: entry.name.clone(),
        kind: entry.kind,
        contract: entry.contract(),
        class: entry.class().into(),
        note: String::new(),
    }
}

/// What probes learned of an entry. Of buffers only what is theirs is reported, and leases are not.
fn card(entry: &Entry) -> Option<results::Card> {
    let card = entry.card.as_ref().filter(|_| entry.kind == Kind::Broker)?.known()?;
    let line = |line: &Line| results::CardLine {
        aspect: line.aspect.into(),
        declared: line.declared.clone(),
        learned: line.learned.clone(),
        difference: line.difference,
    };
    Some(results::Card { queue: entry.name.clone(), lines: card.lines.iter().map(line).collect() })
}

/// Stores what was found, draws the report and shows the table. Where nothing ran, nothing is written.
pub(crate) fn conclude(entries: &[Entry], budget: &Budget, started: Started) {
    let mut run = started.run;
    run.duration_ns = u64::try_from(started.at.elapsed().as_nanos()).unwrap_or(u64::MAX);
    run.profile = budget.words();
    if extent::is_interrupted() {
        run.profile.push_str(", interrupted");
    }
    run.seed = Some(budget.seed.to_string());
    let mut all = Results::default();
    let mut parts = Vec::new();
    for entry in entries {
        for engine in &entry.engines {
            let Some(findings) = engine.found() else { continue };
            // A part per engine and queue: a run that is filtered replaces only what it ran again.
            let mut part = Results::of(run.clone());
            part.queues.push(queue(entry));
            for finding in findings.iter().filter(|finding| engine.decides(finding.invariant)) {
                let failure = failure(entry, engine.name, finding, budget);
                part.properties.push(property(entry, engine.name, finding, failure.as_ref()));
                part.failures.extend(failure);
            }
            all.absorb(part.clone());
            parts.push((format!("conformance.{}.{}", entry.name, engine.name), part));
        }
        if let Some(card) = card(entry) {
            let mut part = Results::of(run.clone());
            part.queues.push(queue(entry));
            part.cards.push(card);
            all.absorb(part.clone());
            parts.push((format!("conformance.{}.card", entry.name), part));
        }
    }
    if !parts.is_empty() {
        // Cards alone have nothing to tabulate.
        if !all.properties.is_empty() {
            println!("{}", terminal::table(&all, terminal::colored()));
        }
        store(&parts);
    }
}

/// Stores fragments and draws the report anew. A report that cannot be written fails no check: it is said.
pub fn store(parts: &[(String, Results)]) {
    let directory = fragment::directory();
    let stored = parts
        .iter()
        .try_for_each(|(name, results)| fragment::write(&directory, name, results).map(drop))
        .and_then(|()| fragment::render(&directory));
    match stored {
        Ok(rendered) => println!("report: {}", rendered.html.display()),
        Err(error) => eprintln!("the report could not be written: {error}"),
    }
}

/// Stores the kill table for the report.
pub fn store_rogues(met: &[RogueResult]) {
    let mut results = Results::of(Run::capture("rogues"));
    results.rogues = met.iter().map(rogue).collect();
    store(&[("rogues".into(), results)]);
}

/// Stores a group of the kill matrix for the report.
pub fn store_matrix(group: &str, kills: &[Kill]) {
    let mut results = Results::of(Run::capture("rogues"));
    results.kills = kills.iter().map(kill).collect();
    store(&[(format!("kills.{group}"), results)]);
}

fn kill(kill: &Kill) -> results::Kill {
    results::Kill {
        bug: kill.bug.clone(),
        what: kill.what.clone(),
        expected: kill.expected.id().into(),
        engine: kill.engines.first().map_or(String::new(), |(engine, _)| engine.clone()),
        caught: kill.caught as u64,
        seeds: kill.seeds as u64,
        cases: kill.cases.get(kill.cases.len() / 2).copied(),
        seconds: kill.seconds.get(kill.seconds.len() / 2).copied(),
        slowest: kill.seconds.last().copied(),
        broken: kill
            .broken
            .iter()
            .map(|(invariant, engine, seeds)| results::Broken {
                invariant: invariant.id().into(),
                engine: engine.clone(),
                seeds: *seeds as u64,
            })
            .collect(),
    }
}

fn rogue(met: &RogueResult) -> results::Rogue {
    let expected = met.found.then_some(&met.expected);
    results::Rogue {
        bug: met.bug.clone(),
        what: met.what.clone(),
        expected: met.expected.id().into(),
        caught_by: expected.into_iter().chain(&met.also).map(|invariant| invariant.id().into()).collect(),
        caught: met.found,
        cases: Some(met.cases),
        shrunk: met.shrunk.map(|steps| steps as u64),
        engine: met.engine.clone(),
        reached: met.showed.reached,
        triggered: met.showed.triggered,
    }
}

fn property(entry: &Entry, engine: &str, finding: &Finding, failure: Option<&results::Failure>) -> Property {
    let (status, instances, reason) = match &finding.verdict {
        Verdict::Holds { instances } => (Status::Holds, *instances, None),
        Verdict::Broken(counterexample) => (Status::Broken, 0, Some(counterexample.sentence.clone())),
        Verdict::Unknown(why) => (Status::Unknown, 0, Some(why.clone())),
        Verdict::Vacuous => (Status::Vacuous, 0, None),
        Verdict::NotClaimed => (Status::NotClaimed, 0, None),
    };
    Property {
        queue: entry.name.clone(),
        invariant: finding.invariant.id().into(),
        name: finding.invariant.name().into(),
        sentence: finding.invariant.sentence().into(),
        status,
        cases: finding.cases,
        events: finding.events,
        instances,
        engine: engine.into(),
        reason,
        failure: failure.map(|failure| failure.id.clone()),
    }
}

fn failure(entry: &Entry, engine: &str, finding: &Finding, budget: &Budget) -> Option<results::Failure> {
    let Verdict::Broken(counterexample) = &finding.verdict else { return None };
    let failure = finding.failure.as_ref()?;
    Some(results::Failure {
        id: format!("{}.{}.{}", entry.name, finding.invariant.id(), engine.replace(' ', "-")),
        queue: entry.name.clone(),
        invariant: finding.invariant.id().into(),
        title: counterexample.sentence.clone(),
        missing_licence: counterexample.missing_licence.clone(),
        engine: engine.into(),
        seed: Some(failure.seed.to_string()),
        steps_before: failure.steps_before as u64,
        steps_after: failure.steps_after as u64,
        timeline: failure.picture.clone(),
        lanes: failure.lanes.clone(),
        plan: failure.plan.clone().unwrap_or_default(),
        // What threads and kills decide cannot be repeated, but tried again.
        replay: failure.replay.clone().unwrap_or_else(|| {
            let (cases, seed) = (budget.cases, budget.seed);
            let test = regressions::test_line(&entry.name, finding.invariant);
            format!("STANCHION_CASES={cases} STANCHION_SEED={seed} {test}")
        }),
    })
}
