//! Where the results come from, and what they cannot tell.

use maud::{Markup, html};

use crate::environment::Environment;
use crate::format::{duration, instant, percent, quantity, significant};
use crate::fragment::Merged;
use crate::results::{Answer, Comparison, Results};

const METHOD: [&str; 8] = [
    "Every engine writes a history of invocations and returns; pure checkers judge it. No checker asks a queue's name.",
    "A promise is checked only if the contract claims it, and holds only if the situation it speaks of occurred.",
    "A failing plan is shrunk until no step can go, then stored and run first next time.",
    "Workers stamp their own times; a trial's time is the last end minus the first start.",
    "Queues are compared only from interleaved trials: each round runs every queue once, in random order.",
    "One queue runs twice in each round (A/A), so that the noise of the machine is in the picture.",
    "Ratios are medians of paired logarithms with bootstrap intervals; a verdict needs the whole interval beyond the band, or within it.",
    "Every trial ends in a ledger; a number from a run that lost a confirmed message is not a number.",
];

const LIMITS: [&str; 4] = [
    "That a promise holds means that no run broke it, not that none can.",
    "Trials on a shared machine tell ratios, not absolute speed; another processor can order the queues differently.",
    "A killed process keeps the operating system's cache; only a simulated disk shows what a power failure leaves.",
    "A virtual disk may answer a sync before the bytes are safe. Nothing here can see that.",
];

/// Environment, controls, method and limits.
pub(super) fn section(merged: &Merged) -> Option<Markup> {
    let results = &merged.results;
    let doubts = doubts(merged);
    Some(html! {
        p { "Where the results come from, and what they cannot tell." }
        @if !doubts.is_empty() {
            ul.news { @for doubt in &doubts { li.warn { (doubt) } } }
        }
        (environment(results))
        (runs(results))
        (controls(results))
        div.columns {
            div { h3 { "The method in eight lines" } ol { @for line in METHOD { li { (line) } } } }
            div { h3 { "What this page cannot tell" } ul { @for line in LIMITS { li { (line) } } } }
        }
    })
}

/// Reasons to be careful that follow from the results themselves.
fn doubts(merged: &Merged) -> Vec<String> {
    let runs = &merged.results.runs;
    let mut doubts: Vec<String> = Vec::new();
    let mut revisions: Vec<_> = runs.iter().filter_map(|run| run.git.as_ref()).map(|git| &git.rev).collect();
    revisions.sort_unstable();
    revisions.dedup();
    if revisions.len() > 1 {
        doubts.push("The parts come from different revisions; run them again to see one state.".into());
    }
    if runs.iter().filter_map(|run| run.git.as_ref()).any(|git| git.dirty) {
        doubts.push("Some sources had local changes, so the revision does not name what ran.".into());
    }
    let same_machine = |a: &Environment, b: &Environment| {
        (&a.cpu_model, a.cores_logical, &a.arch) == (&b.cpu_model, b.cores_logical, &b.arch)
    };
    if runs.iter().any(|run| !same_machine(&run.environment, &runs[0].environment)) {
        doubts.push("The parts ran on different machines.".into());
    }
    let measured = !merged.results.measurements.is_empty();
    if measured && runs.iter().all(|run| run.environment.debug_assertions) {
        doubts.push("The numbers come from a build with debug assertions.".into());
    }
    for skipped in &merged.skipped {
        doubts.push(format!("The file {:?} was passed over: {}.", skipped.file, skipped.reason));
    }
    doubts
}

fn environment(results: &Results) -> Markup {
    let Some(run) = results.runs.iter().max_by_key(|run| run.started_unix_ms) else { return html! {} };
    let e = &run.environment;
    let maybe = |value: Option<bool>, yes: &str, no: &str| {
        value.map(|value| if value { yes.to_owned() } else { no.to_owned() })
    };
    let cores = e.cores_allowed.or(e.cores_logical).map(|allowed| {
        let of = e.cores_logical.filter(|logical| *logical != allowed).map(|n| format!(" of {n}"));
        let physical = e.cores_physical.map(|n| format!(", {n} physical"));
        format!("{allowed}{} usable{}", of.unwrap_or_default(), physical.unwrap_or_default())
    });
    let build = [e.target.clone(), e.opt_level.as_ref().map(|level| format!("opt-level {level}"))];
    let build: Vec<String> = build
        .into_iter()
        .flatten()
        .chain([format!("debug assertions {}", if e.debug_assertions { "on" } else { "off" })])
        .collect();
    let underneath = [
        maybe(e.virtual_machine, "virtual machine", "no hypervisor"),
        maybe(e.container, "container", "no container"),
    ];
    let underneath: Vec<String> = underneath.into_iter().flatten().collect();
    let facts: [(&str, Option<String>); 10] = [
        ("System", Some(format!("{} {} {}", e.os, e.kernel.as_deref().unwrap_or(""), e.arch))),
        ("Processor", e.cpu_model.clone()),
        ("Cores", cores),
        ("Memory", e.memory_bytes.map(|bytes| quantity(bytes as f64, "B"))),
        ("Underneath", (!underneath.is_empty()).then(|| underneath.join(", "))),
        ("Clock source", e.clock_source.clone()),
        ("Governor", e.governor.clone()),
        ("Compiler", e.rustc.clone()),
        ("Build", Some(build.join(", "))),
        ("Fingerprint", Some(e.fingerprint.clone())),
    ];
    html! {
        h3 { "The machine" }
        dl.facts {
            @for (name, fact) in facts {
                dt { (name) }
                dd { (fact.filter(|fact| !fact.trim().is_empty()).unwrap_or_else(|| "unknown".into())) }
            }
        }
    }
}

fn runs(results: &Results) -> Markup {
    html! {
        @if !results.runs.is_empty() {
            h3 { "The runs" }
            div.scroll {
                table {
                    thead {
                        tr {
                            th scope="col" { "Part" } th scope="col" { "Started" } th.n scope="col" { "Took" }
                            th scope="col" { "Budget" } th scope="col" { "Seed" } th scope="col" { "Revision" }
                            th scope="col" { "Build" } th scope="col" { "Command" }
                        }
                    }
                    tbody {
                        @for run in &results.runs {
                            tr {
                                th scope="row" { (run.part) }
                                td { (instant(run.started_unix_ms)) }
                                td.n { (duration(run.duration_ns)) }
                                td { (run.profile) }
                                td { code { (run.seed.as_deref().unwrap_or("–")) } }
                                td {
                                    @match &run.git {
                                        Some(git) => { code { (git.rev) } @if git.dirty { " + changes" } }
                                        None => { "unknown" }
                                    }
                                }
                                td { (if run.environment.debug_assertions { "checked" } else { "release" }) }
                                td { code { (run.command) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What the same code, measured twice, says about the machine.
fn controls(results: &Results) -> Markup {
    let controls: Vec<&Comparison> =
        results.comparisons.iter().filter(|comparison| comparison.control).collect();
    let false_alarms =
        controls.iter().filter(|control| matches!(control.verdict, Answer::Faster | Answer::Slower)).count();
    html! {
        @if !controls.is_empty() {
            h3 { "The same code, measured twice" }
            p {
                @if false_alarms == 0 {
                    "No A/A control was called different from itself."
                } @else {
                    (false_alarms) " of " (controls.len()) " A/A controls differ from themselves: do not trust the verdicts of those workloads."
                }
            }
            div.scroll {
                table {
                    thead {
                        tr {
                            th scope="col" { "Workload" } th scope="col" { "Queue" } th.n scope="col" { "Ratio" }
                            th.n scope="col" { "Interval" } th.n scope="col" { "Smallest visible" } th scope="col" { "Verdict" }
                        }
                    }
                    tbody {
                        @for control in &controls {
                            @let number = |value: Option<f64>| value.map_or("–".to_owned(), significant);
                            tr {
                                th scope="row" {
                                    (control.workload)
                                    @for (label, value) in &control.parameters { " · " (label) " " (value) }
                                }
                                td { (control.b) }
                                td.n { (number(control.ratio)) }
                                td.n { (number(control.lo)) " to " (number(control.hi)) }
                                td.n { (control.smallest_visible.map_or("–".into(), percent)) }
                                td { (control.verdict.words()) }
                            }
                        }
                    }
                }
            }
        }
    }
}
