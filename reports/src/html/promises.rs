//! What each queue promises, and whether it keeps it.

use maud::{Markup, html};

use super::{class, symbol};
use crate::findings::{Findings, group, group_name};
use crate::format::{count, plural};
use crate::lanes;
use crate::results::{Failure, Kill, Kind, Lanes, Queue, Results, Status};

const KINDS: [(Kind, &str); 3] =
    [(Kind::Broker, "Brokers"), (Kind::Buffer, "Buffers"), (Kind::Consumer, "Consumers")];

/// The anchor of a failing run.
fn anchor(findings: &Findings<'_>, failure: &Failure) -> Option<String> {
    let place = findings.failures().iter().position(|known| std::ptr::eq(*known, failure))?;
    Some(format!("failure-{}", place + 1))
}

/// One table for each kind of queue: promises down, queues across.
pub(super) fn matrix(findings: &Findings<'_>) -> Option<Markup> {
    let statuses = [Status::Holds, Status::Broken, Status::Vacuous, Status::Unknown, Status::NotClaimed];
    let meaning = |status| match status {
        Status::Holds => "the situation occurred, and every run kept the promise",
        Status::Broken => "a run breaks it; follow the link",
        Status::Vacuous => "the interesting situation never occurred: this is not a pass",
        Status::Unknown => "it could not be decided",
        Status::NotClaimed => "the contract does not promise it",
    };
    let tables: Vec<Markup> = KINDS
        .iter()
        .filter_map(|(kind, title)| {
            let queues = findings.of_kind(*kind);
            (!findings.promises(&queues).is_empty()).then(|| table(findings, title, &queues))
        })
        .collect();
    (!tables.is_empty()).then(|| {
        html! {
            p { "Each row is a promise, each column a queue. A cell tells what every recorded run together says." }
            ul.legend {
                @for status in statuses {
                    li { span class=(class(status)) aria-hidden="true" { (symbol(status)) } " " b { (status.word()) } ": " (meaning(status)) }
                }
            }
            @for table in tables { (table) }
            details {
                summary { "How often each promise was exercised, engine by engine" }
                (every_engine(findings))
            }
        }
    })
}

fn table(findings: &Findings<'_>, title: &str, queues: &[&Queue]) -> Markup {
    let promises = findings.promises(queues);
    html! {
        div.scroll.tall {
            table.matrix.many[queues.len() > 5] {
                thead {
                    tr {
                        th scope="col" { (title) }
                        @for queue in queues {
                            th scope="col" { span { (queue.name) small { (findings.tally(queue, None).verdict()) } } }
                        }
                    }
                }
                @for family in promises.chunk_by(|a, b| group(a.id) == group(b.id)) {
                    tbody {
                        tr.group {
                            th scope="rowgroup" colspan=(queues.len() + 1) { (group_name(group(family[0].id))) }
                        }
                        @for promise in family {
                            tr {
                                th scope="row" title=(promise.sentence) {
                                    span.id { (promise.id) }
                                    span.sentence { (promise.sentence) }
                                    span.name { (promise.name.replace('_', " ")) }
                                }
                                @for queue in queues { (cell(findings, queue, promise.id)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn cell(findings: &Findings<'_>, queue: &Queue, invariant: &str) -> Markup {
    let Some(cell) = findings.cell(&queue.name, invariant) else {
        return html! { td title="not looked at" { span.hidden { "not looked at" } } };
    };
    let words = cell.words();
    let link = (cell.status == Status::Broken)
        .then(|| findings.broken())
        .into_iter()
        .flatten()
        .find(|(property, _)| property.queue == queue.name && property.invariant == invariant)
        .and_then(|(_, failure)| anchor(findings, failure?));
    html! {
        td class=(class(cell.status)) title=(format!("{}, {invariant}: {words}", queue.name)) {
            @match (cell.status, link) {
                (Status::Broken, Some(link)) => { a href=(format!("#{link}")) { (broken()) } }
                (Status::Broken, None) => { (broken()) }
                (status, _) => {
                    span aria-hidden="true" { (symbol(status)) }
                    span.hidden { (status.word()) }
                }
            }
        }
    }
}

/// The one status that is also spelled out where there is room.
fn broken() -> Markup {
    html! { span aria-hidden="true" { (symbol(Status::Broken)) } span.word { " " (Status::Broken.word()) } }
}

fn every_engine(findings: &Findings<'_>) -> Markup {
    html! {
        div.scroll {
            table {
                thead {
                    tr {
                        th scope="col" { "Promise" } th scope="col" { "Queue" } th scope="col" { "Engine" }
                        th scope="col" { "Found" } th.n scope="col" { "Cases" } th.n scope="col" { "Events" }
                        th.n scope="col" { "Exercised" }
                    }
                }
                tbody {
                    @for promise in findings.promises(&findings.queues.iter().collect::<Vec<_>>()) {
                        @for queue in &findings.queues {
                            @for property in findings.cell(&queue.name, promise.id).map(|c| c.by_engine).unwrap_or_default() {
                                tr {
                                    th scope="row" { (promise.id) " " (promise.name.replace('_', " ")) }
                                    td { (queue.name) }
                                    td { (property.engine) }
                                    td class=(class(property.status)) {
                                        (property.status.word())
                                        @if let Some(reason) = &property.reason { ": " (reason) }
                                    }
                                    td.n { (count(property.cases)) }
                                    td.n { (count(property.events)) }
                                    td.n { (count(property.instances)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Every failing run, as a story.
pub(super) fn failures(findings: &Findings<'_>) -> Option<Markup> {
    let failures = findings.failures();
    (!failures.is_empty()).then(|| {
        html! {
            p { "Each is the smallest run that still breaks the promise. Time runs downwards: what stands below began after what stands above had ended. A dashed box is a call that nobody was told the end of; numbers mark what matters." }
            @for (i, failure) in failures.iter().enumerate() {
                article id=(format!("failure-{}", i + 1)) { (story(findings, failure)) }
            }
        }
    })
}

fn story(findings: &Findings<'_>, failure: &Failure) -> Markup {
    let queues: Vec<_> = findings.queues.iter().collect();
    let promise = findings.promises(&queues).into_iter().find(|promise| promise.id == failure.invariant);
    html! {
        p.eyebrow {
            b { (failure.queue) } " · " (failure.invariant)
            @if let Some(promise) = promise { " · promised: " (promise.sentence) }
        }
        h3 { (failure.title) }
        @if let Some(licence) = &failure.missing_licence { p { "Missing: " (licence) } }
        @match &failure.lanes {
            Some(lanes) => (drawn(failure, lanes)),
            None if failure.timeline.is_empty() => {}
            None => (text(failure)),
        }
        @if !failure.replay.is_empty() {
            h4 { "See it again" }
            pre { code { (failure.replay) } }
        }
        p.quiet.small {
            "Shrunk from " (plural(usize::try_from(failure.steps_before).unwrap_or(usize::MAX), "step"))
            " to " (count(failure.steps_after)) "."
            @if !failure.engine.is_empty() { " Engine: " (failure.engine) "." }
            @if let Some(seed) = &failure.seed { " Seed: " code { (seed) } "." }
        }
        @if !failure.plan.is_null() {
            details {
                summary { "The plan as data" }
                pre tabindex="0" { (serde_json::to_string_pretty(&failure.plan).unwrap_or_default()) }
            }
        }
    }
}

fn drawn(failure: &Failure, of: &Lanes) -> Markup {
    html! {
        figure {
            div.scroll tabindex="0" { (lanes::draw(&format!("lanes-{}", failure.id), &failure.title, of)) }
            @if !failure.timeline.is_empty() {
                details { summary { "The same as text" } (text(failure)) }
            }
        }
        @if !of.culprits.is_empty() {
            h4 { "What matters" }
            ol { @for culprit in &of.culprits { li { (culprit) } } }
        }
        @if !of.balance.is_empty() {
            h4 { "Expected, and observed" }
            div.scroll {
                table {
                    thead {
                        tr {
                            th scope="col" { "Message" } th scope="col" { "The queue said" } th scope="col" { "It ought to be" }
                            th scope="col" { "When all had ended it was" }
                        }
                    }
                    tbody {
                        @for line in &of.balance {
                            tr {
                                th scope="row" { (line.message) } td { (line.said) } td { (line.ought) }
                                @if line.differs {
                                    td.broken { span aria-hidden="true" { "✗ " } (line.was) }
                                } @else {
                                    td { (line.was) }
                                }
                            }
                        }
                    }
                }
            }
        }
        @if !of.notes.is_empty() {
            dl.notes { @for (about, words) in &of.notes { dt { (about) } dd { (words) } } }
        }
    }
}

fn text(failure: &Failure) -> Markup {
    html! { pre tabindex="0" aria-label="The run, lane by lane" { (failure.timeline.trim_end_matches('\n')) } }
}

/// One table for each kind of queue: terms down, queues across.
pub(super) fn contracts(findings: &Findings<'_>) -> Option<Markup> {
    let tables: Vec<Markup> = KINDS
        .iter()
        .filter_map(|(kind, title)| {
            let queues: Vec<_> = findings
                .of_kind(*kind)
                .into_iter()
                .filter(|queue| !queue.contract.is_empty() || !queue.note.is_empty())
                .collect();
            (!queues.is_empty()).then(|| contract_table(title, &queues))
        })
        .collect();
    (!tables.is_empty()).then(|| {
        html! {
            p { "A number means nothing without the promise behind it. These are the contracts as declared; the table above says whether they are kept." }
            @for table in tables { (table) }
        }
    })
}

fn contract_table(title: &str, queues: &[&Queue]) -> Markup {
    let mut labels: Vec<&str> = Vec::new();
    for (label, _) in queues.iter().flat_map(|queue| &queue.contract) {
        if !labels.contains(&label.as_str()) {
            labels.push(label);
        }
    }
    let value = |queue: &Queue, label: &str| {
        queue
            .contract
            .iter()
            .find(|(known, _)| known == label)
            .map_or("–".to_owned(), |(_, value)| value.clone())
    };
    html! {
        div.scroll {
            table.contract {
                thead { tr { th scope="col" { (title) } @for queue in queues { th scope="col" { (queue.name) } } } }
                tbody {
                    @for label in &labels {
                        tr { th scope="row" { (label) } @for queue in queues { td { (value(queue, label)) } } }
                    }
                    @if queues.iter().any(|queue| !queue.note.is_empty()) {
                        tr { th scope="row" { "note" } @for queue in queues { td { (queue.note) } } }
                    }
                }
            }
        }
    }
}

/// The kill table.
fn table_of_rogues(results: &Results) -> Option<Markup> {
    let all = results.rogues.len();
    let caught = results.rogues.iter().filter(|rogue| rogue.caught).count();
    let dash = |n: Option<u64>| n.map_or("–".to_owned(), count);
    (all > 0).then(|| {
        html! {
            p {
                "Queues that are wrong on purpose, one bug each. " (caught) " of " (all)
                " were caught by the invariant that must catch them, with the default budget. Reached: cases in which the wrong "
                "code ran; triggered: in which the history was other than that of the right queue."
            }
            div.scroll {
                table {
                    thead {
                        tr {
                            th scope="col" { "Bug" } th scope="col" { "What is wrong" } th scope="col" { "Must break" }
                            th scope="col" { "Caught" } th.n scope="col" { "Cases" } th.n scope="col" { "Reached" }
                            th.n scope="col" { "Triggered" } th.n scope="col" { "Steps" }
                            th scope="col" { "Engine" }
                        }
                    }
                    tbody {
                        @for rogue in &results.rogues {
                            tr {
                                th scope="row" { (rogue.bug) }
                                td { (rogue.what) }
                                td { (rogue.expected) }
                                @if rogue.caught {
                                    td.holds title=(rogue.caught_by.join(", ")) { span aria-hidden="true" { "✓ " } "caught" }
                                } @else if rogue.caught_by.is_empty() {
                                    td.broken { span aria-hidden="true" { "✗ " } "missed" }
                                } @else {
                                    td.broken { span aria-hidden="true" { "✗ " } "only by " (rogue.caught_by.join(", ")) }
                                }
                                td.n { (dash(rogue.cases)) }
                                td.n { (dash(rogue.reached)) }
                                td.n { (dash(rogue.triggered)) }
                                td.n { (dash(rogue.shrunk)) }
                                td { (rogue.engine) }
                            }
                        }
                    }
                }
            }
        }
    })
}

/// The kill table, and the matrix.
pub(super) fn rogues(results: &Results) -> Option<Markup> {
    let (rogues, kills) = (table_of_rogues(results), matrix_of_kills(results));
    (rogues.is_some() || kills.is_some())
        .then(|| html! { (rogues.unwrap_or_default()) (kills.unwrap_or_default()) })
}

/// Engine by engine.
fn broken_by(kill: &Kill) -> String {
    let mut engines: Vec<&str> = Vec::new();
    for broken in &kill.broken {
        if !engines.contains(&broken.engine.as_str()) {
            engines.push(&broken.engine);
        }
    }
    let of = |engine: &&str| {
        let of = kill.broken.iter().filter(|broken| broken.engine == *engine);
        let of: Vec<String> = of.map(|broken| format!("{} {}", broken.invariant, broken.seeds)).collect();
        format!("{engine}: {}", of.join(", "))
    };
    engines.iter().map(of).collect::<Vec<_>>().join("; ")
}

/// The same bugs whatever the seed.
fn matrix_of_kills(results: &Results) -> Option<Markup> {
    let kills = &results.kills;
    let always = kills.iter().filter(|kill| kill.caught == kill.seeds).count();
    let never = kills.iter().filter(|kill| kill.caught == 0).count();
    let slowest =
        kills.iter().filter_map(|kill| Some((kill.slowest?, kill))).max_by(|a, b| a.0.total_cmp(&b.0));
    let seconds = |value: Option<f64>| value.map_or("–".to_owned(), |seconds| format!("{seconds:.2}"));
    (!kills.is_empty()).then(|| {
        html! {
            h3 { "Whatever the seed" }
            p {
                (always) " of " (kills.len()) " are caught with every seed, " (kills.len() - always - never)
                " with some and " (never) " with none."
                @if let Some((slowest, kill)) = slowest { " The slowest took " (format!("{slowest:.1}")) " s (" (kill.bug) ")." }
                " Times are those of the machine that ran it, which may have done other things meanwhile."
            }
            details {
                summary { "Bug by bug" }
                div.scroll {
                    table {
                        thead {
                            tr {
                                th scope="col" { "Bug" } th scope="col" { "What is wrong" } th scope="col" { "Must break" }
                                th scope="col" { "Engine" } th.n scope="col" { "Seeds" } th.n scope="col" { "Cases, median" }
                                th.n scope="col" { "Seconds, median" } th.n scope="col" { "Slowest" }
                                th scope="col" { "Broken until then, with how many seeds" }
                            }
                        }
                        tbody {
                            @for kill in kills {
                                tr {
                                    th scope="row" { (kill.bug) }
                                    td { (kill.what) }
                                    td { (kill.expected) }
                                    td { (kill.engine) }
                                    td.n.broken[kill.caught < kill.seeds] { (kill.caught) " of " (kill.seeds) }
                                    td.n { (kill.cases.map_or("–".to_owned(), count)) }
                                    td.n { (seconds(kill.seconds)) }
                                    td.n { (seconds(kill.slowest)) }
                                    td { (broken_by(kill)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    })
}
