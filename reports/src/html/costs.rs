//! What each workload costs on each queue, and which differences are real.

use maud::{Markup, html};

use crate::findings::Findings;
use crate::format::{count, percent, plural, quantity, short, significant};
use crate::results::{Answer, Better, Comparison, Measurement, Results, State};
use crate::svg::{self, Dot, Ratio};

/// What is drawn together: the same workload with the same parameters in the same unit.
struct Panel<'a> {
    workload: &'a str,
    parameters: &'a [(String, String)],
    measurements: Vec<&'a Measurement>,
    comparisons: Vec<&'a Comparison>,
}

/// One panel for each workload: who needs how much, and what can be told apart.
pub(super) fn panels(results: &Results, findings: &Findings<'_>) -> Option<Markup> {
    let panels = group(results);
    (!panels.is_empty()).then(|| {
        html! {
            p {
                "Marks are medians, lines are confidence intervals, faint dots are single trials. "
                "A queue that lost, duplicated, invented or reordered a message has no number: it is struck out. "
                "Nothing is ranked across contracts."
            }
            (limits(results))
            @for (i, panel) in panels.iter().enumerate() { (draw(&format!("c{}", i + 1), panel, findings)) }
        }
    })
}

/// What no number below can be better than, run by run.
fn limits(results: &Results) -> Markup {
    let runs: Vec<_> = results.runs.iter().filter(|run| !run.limits.is_empty()).collect();
    html! {
        @for run in runs {
            details.limits {
                summary {
                    "The limits of the run " (run.part) ": "
                    (run.limits.first().map(|limit| format!("{} {}", limit.name, quantity(limit.value, &limit.unit))).unwrap_or_default())
                    ", and more"
                }
                p { "Measured in the same run. No queue can be better than the machine, or than the driver without a queue." }
                div.scroll {
                    table {
                        thead { tr { th scope="col" { "What" } th.n scope="col" { "How much" } } }
                        tbody {
                            @for limit in &run.limits {
                                tr { th scope="row" { (limit.name) } td.n { (quantity(limit.value, &limit.unit)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn group(results: &Results) -> Vec<Panel<'_>> {
    let mut panels: Vec<Panel<'_>> = Vec::new();
    for measurement in &results.measurements {
        let known = panels.iter_mut().find(|panel| {
            panel.workload == measurement.workload
                && panel.parameters == measurement.parameters
                && panel.measurements.first().is_none_or(|first| first.unit == measurement.unit)
        });
        match known {
            Some(panel) => panel.measurements.push(measurement),
            None => panels.push(Panel {
                workload: &measurement.workload,
                parameters: &measurement.parameters,
                measurements: vec![measurement],
                comparisons: Vec::new(),
            }),
        }
    }
    for comparison in &results.comparisons {
        let known = panels
            .iter_mut()
            .find(|panel| panel.workload == comparison.workload && panel.parameters == comparison.parameters);
        match known {
            Some(panel) => panel.comparisons.push(comparison),
            None => panels.push(Panel {
                workload: &comparison.workload,
                parameters: &comparison.parameters,
                measurements: Vec::new(),
                comparisons: vec![comparison],
            }),
        }
    }
    panels
}

fn draw(id: &str, panel: &Panel<'_>, findings: &Findings<'_>) -> Markup {
    let parameters: Vec<String> =
        panel.parameters.iter().map(|(label, value)| format!("{label} {value}")).collect();
    let parameters = parameters.join(" · ");
    let title = if parameters.is_empty() {
        panel.workload.to_owned()
    } else {
        format!("{} · {parameters}", panel.workload)
    };
    html! {
        div.panel {
            h3 { (panel.workload) @if !parameters.is_empty() { " " span.quiet { (parameters) } } }
            div.figures {
                (measured(id, &title, panel, findings))
                (compared(id, &title, panel, findings))
            }
        }
    }
}

/// The place of a queue in the results, which gives it the same colour and shape in every chart.
fn series(findings: &Findings<'_>, queue: &str) -> usize {
    findings.queues.iter().position(|known| known.name == queue).unwrap_or(svg::SERIES - 1)
}

fn class<'a>(findings: &'a Findings<'_>, queue: &str) -> &'a str {
    findings.queues.iter().find(|known| known.name == queue).map_or("", |known| &known.class)
}

fn measured(id: &str, title: &str, panel: &Panel<'_>, findings: &Findings<'_>) -> Markup {
    let Some(first) = panel.measurements.first() else { return html! {} };
    let mut rows = panel.measurements.clone();
    let value = |m: &Measurement| match (m.state, m.estimate) {
        (State::Ok, Some(estimate)) if first.better == Better::Lower => estimate.median,
        (State::Ok, Some(estimate)) => -estimate.median,
        _ => f64::INFINITY,
    };
    let classes: Vec<&str> = findings.queues.iter().map(|queue| queue.class.as_str()).collect();
    let class_place = |m: &Measurement| classes.iter().position(|known| *known == class(findings, &m.queue));
    rows.sort_by(|a, b| class_place(a).cmp(&class_place(b)).then(value(a).total_cmp(&value(b))));
    let mixed = rows.iter().any(|m| class(findings, &m.queue) != class(findings, &rows[0].queue));
    let dots: Vec<Dot> = rows
        .iter()
        .map(|m| Dot {
            label: m.queue.clone(),
            group: if mixed { class(findings, &m.queue).to_owned() } else { String::new() },
            series: series(findings, &m.queue),
            interval: m.estimate.filter(|_| m.state != State::Skipped).map(|e| (e.lo, e.median, e.hi)),
            trials: m.trials.iter().map(|trial| trial.value).collect(),
            words: match (m.state, m.estimate) {
                (State::Skipped, _) => "skipped".into(),
                (_, None) => "no number".into(),
                (_, Some(estimate)) => short(estimate.median, &m.unit),
            },
            struck: m.state == State::Invalid,
        })
        .collect();
    let direction = match first.better {
        Better::Higher => ", more is better",
        Better::Lower => ", less is better",
        Better::Neither => "",
    };
    let level = rows.iter().filter_map(|m| m.estimate).map(|estimate| estimate.level).next();
    let withheld: Vec<_> = rows.iter().filter(|m| m.state != State::Ok).collect();
    let description: Vec<String> = rows
        .iter()
        .map(|m| match (m.state, m.estimate) {
            (State::Ok, Some(estimate)) => format!("{} {}", m.queue, quantity(estimate.median, &m.unit)),
            (State::Skipped, _) => format!("{} skipped", m.queue),
            _ => format!("{} withheld", m.queue),
        })
        .collect();
    html! {
        figure {
            figcaption {
                (first.unit) (direction)
                @if let Some(level) = level { "; median with " (percent(level)) " interval, every trial a dot" }
            }
            div.scroll { (svg::dots(&format!("{id}-m"), title, &format!("{}.", description.join(", ")), &first.unit, &dots)) }
            @if !withheld.is_empty() {
                ul.withheld-list {
                    @for m in &withheld {
                        li.bad[m.state == State::Invalid] {
                            b { (m.queue) } " "
                            @if let (State::Invalid, Some(estimate)) = (m.state, m.estimate) { s { (quantity(estimate.median, &m.unit)) } " " }
                            (m.reason.as_deref().unwrap_or("no reason was given"))
                        }
                    }
                }
            }
            details {
                summary { "These numbers as a table" }
                div.scroll { (measured_table(&rows)) }
            }
        }
    }
}

fn measured_table(rows: &[&Measurement]) -> Markup {
    html! {
        table {
            thead {
                tr {
                    th scope="col" { "Queue" } th.n scope="col" { "Median" } th.n scope="col" { "Interval" }
                    th.n scope="col" { "Trials" } th.n scope="col" { "Confirmed" } th.n scope="col" { "Acked" }
                    th.n scope="col" { "Lost" } th.n scope="col" { "Duplicate" } th scope="col" { "State" }
                }
            }
            tbody {
                @for m in rows {
                    tr {
                        th scope="row" { (m.queue) }
                        @match m.estimate {
                            Some(e) if m.state == State::Invalid => {
                                td.n { s { (quantity(e.median, &m.unit)) } } td.n { s { (short(e.lo, &m.unit)) " to " (short(e.hi, &m.unit)) } }
                            }
                            Some(e) => { td.n { (quantity(e.median, &m.unit)) } td.n { (short(e.lo, &m.unit)) " to " (short(e.hi, &m.unit)) } }
                            None => { td.n { "–" } td.n { "–" } }
                        }
                        td.n { (m.trials.len()) }
                        @match m.ledger {
                            Some(ledger) => {
                                @for n in [ledger.confirmed, ledger.acked, ledger.lost, ledger.duplicate] { td.n { (count(n)) } }
                            }
                            None => { @for _ in 0..4 { td.n { "–" } } }
                        }
                        td {
                            (match m.state { State::Ok => "ok", State::Invalid => "invalid", State::Skipped => "skipped" })
                            @if let Some(reason) = &m.reason { ": " (reason) }
                        }
                    }
                }
            }
        }
    }
}

/// A ratio as "1.42× (1.31 to 1.55)".
fn ratio_words(comparison: &Comparison) -> Option<String> {
    let (lo, ratio, hi) = (comparison.lo?, comparison.ratio?, comparison.hi?);
    Some(format!("{}× ({} to {})", significant(ratio), significant(lo), significant(hi)))
}

fn compared(id: &str, title: &str, panel: &Panel<'_>, findings: &Findings<'_>) -> Markup {
    let Some(first) = panel.comparisons.first() else { return html! {} };
    let mut rows = panel.comparisons.clone();
    rows.sort_by(|a, b| {
        let place = |c: &Comparison| (c.control, c.ratio.map_or(f64::INFINITY, |ratio| -ratio));
        let ((a_control, a), (b_control, b)) = (place(a), place(b));
        a_control.cmp(&b_control).then(a.total_cmp(&b))
    });
    let common = rows.iter().all(|c| c.a == first.a).then_some(&first.a);
    let label = |c: &Comparison| match (c.control, common) {
        (true, _) => format!("{} again (A/A)", c.b),
        (false, Some(_)) => c.b.clone(),
        (false, None) => format!("{} over {}", c.b, c.a),
    };
    let ratios: Vec<Ratio> = rows
        .iter()
        .map(|c| Ratio {
            label: label(c),
            series: series(findings, &c.b),
            interval: c.lo.zip(c.ratio).zip(c.hi).map(|((lo, ratio), hi)| (lo, ratio, hi)),
            words: c.verdict.words().into(),
        })
        .collect();
    let caption = match common {
        Some(a) => format!("← worse than {a} · better →"),
        None => "← worse · better →".into(),
    };
    let description: Vec<String> = rows
        .iter()
        .map(|c| {
            format!(
                "{}: {}{}",
                label(c),
                c.verdict.words(),
                ratio_words(c).map(|r| format!(", {r}")).unwrap_or_default()
            )
        })
        .collect();
    html! {
        figure {
            figcaption {
                (plural(usize::try_from(first.rounds).unwrap_or(usize::MAX), "interleaved round")) "; "
                (percent(first.level)) " intervals; within the ±" (percent(first.zone)) " band: equivalent"
            }
            div.scroll {
                (svg::forest(&format!("{id}-r"), &format!("{title}: ratios"), &format!("{}.", description.join("; ")), &caption, first.zone, &ratios))
            }
            details {
                summary { "These ratios as a table" }
                div.scroll {
                    table {
                        thead {
                            tr {
                                th scope="col" { "Queue" } th scope="col" { "Against" } th.n scope="col" { "Ratio (interval)" }
                                th scope="col" { "Verdict" } th.n scope="col" { "Smallest visible" } th.n scope="col" { "Rounds" }
                            }
                        }
                        tbody {
                            @for c in &rows {
                                tr {
                                    th scope="row" { (c.b) @if c.control { " (A/A)" } }
                                    td { (c.a) }
                                    td.n { (ratio_words(c).unwrap_or_else(|| "–".into())) }
                                    td {
                                        (c.verdict.words())
                                        @if let Some(reason) = &c.reason { ": " (reason) }
                                        @else if c.control && matches!(c.verdict, Answer::Faster | Answer::Slower) {
                                            ": the same code differs from itself, so trust no verdict of this workload"
                                        }
                                    }
                                    td.n { (c.smallest_visible.map_or("–".into(), percent)) }
                                    td.n { (c.rounds) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
