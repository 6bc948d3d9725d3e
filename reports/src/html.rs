//! The page: one file that asks for nothing else, needs no script, and follows the reader's theme.

mod cards;
mod costs;
mod promises;
mod trust;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::findings::Findings;
use crate::format::{count, instant, percent, plural};
use crate::fragment::Merged;
use crate::results::{Results, Status};

/// The style of the page.
pub(crate) const STYLE: &str = include_str!("style.css");

/// Draws the page. Every text from the results is escaped.
pub fn page(merged: &Merged) -> String {
    let results = &merged.results;
    let findings = Findings::of(results);
    let sections: Vec<(&str, &str, Markup)> = [
        ("promises", "Does it keep its promises?", promises::matrix(&findings)),
        ("failures", "The smallest failing runs", promises::failures(&findings)),
        ("contracts", "What does each one claim?", promises::contracts(&findings)),
        ("cards", "What does each one do?", cards::section(results)),
        ("costs", "What does it cost?", costs::panels(results, &findings)),
        ("rogues", "Would a bug be noticed?", promises::rogues(results)),
        ("trust", "Can you trust this page?", trust::section(merged)),
    ]
    .into_iter()
    .filter_map(|(id, title, body)| Some((id, title, body?)))
    .collect();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (findings.headline()) " Stanchion" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    p.eyebrow { "Stanchion · " (provenance(results)) }
                    h1 { (findings.headline()) }
                    (news(&findings))
                    (tiles(results, &findings))
                    nav aria-label="Sections" {
                        ul { @for (id, title, _) in &sections { li { a href=(format!("#{id}")) { (title) } } } }
                    }
                }
                main {
                    @for (id, title, body) in &sections {
                        section id=(id) aria-labelledby=(format!("{id}-title")) {
                            h2 id=(format!("{id}-title")) { (title) }
                            (body)
                        }
                    }
                }
                footer {
                    "The same results, for machines: " a href="results.json" { "results.json" }
                    ", schema " (results.schema) "."
                }
            }
        }
    };
    page.into_string()
}

/// When, and of which sources.
fn provenance(results: &Results) -> String {
    let Some(latest) = results.runs.iter().max_by_key(|run| run.started_unix_ms) else {
        return "no run is recorded".into();
    };
    let mut text = instant(latest.started_unix_ms);
    if let Some(git) = &latest.git {
        let dirty = if git.dirty { " with local changes" } else { "" };
        text.push_str(&format!(" · revision {}{dirty}", git.rev));
    }
    text
}

fn news(findings: &Findings<'_>) -> Markup {
    let total = findings.total();
    html! {
        ul.news {
            @for (i, sentence) in findings.news().iter().enumerate() {
                @let mood = match () {
                    () if i == 0 && total.broken > 0 => "bad",
                    () if sentence.starts_with("Nothing is broken") => "good",
                    () => "warn",
                };
                li class=(mood) { (sentence) }
            }
        }
    }
}

/// Four numbers that a reader looks for first.
fn tiles(results: &Results, findings: &Findings<'_>) -> Markup {
    let total = findings.total();
    let sum = |number: fn(&crate::results::Property) -> u64| {
        count(results.properties.iter().map(number).fold(0, u64::saturating_add))
    };
    let caught = results.rogues.iter().filter(|rogue| rogue.caught).count();
    let noise = results
        .comparisons
        .iter()
        .filter(|comparison| comparison.control)
        .filter_map(|control| Some((control.lo? - 1.0).abs().max((control.hi? - 1.0).abs())))
        .fold(None, |widest: Option<f64>, width| Some(widest.map_or(width, |widest| widest.max(width))));
    let tiles: Vec<(&str, String, String)> = [
        (total.claimed() > 0).then(|| {
            let rest =
                [(total.broken, "broken"), (total.unknown, "unknown"), (total.vacuous, "never exercised")];
            let rest: Vec<String> =
                rest.iter().filter(|(n, _)| *n > 0).map(|(n, w)| format!("{n} {w}")).collect();
            let rest = if rest.is_empty() { "none broken".into() } else { rest.join(", ") };
            ("Promises kept", format!("{} of {}", total.holds, total.claimed()), rest)
        }),
        (!results.properties.is_empty()).then(|| {
            ("Events judged", sum(|property| property.events), format!("in {} cases", sum(|p| p.cases)))
        }),
        (!results.rogues.is_empty()).then(|| {
            let all = results.rogues.len();
            let missed = if caught == all {
                "by the invariant named".into()
            } else {
                format!("{} not by the invariant named", all - caught)
            };
            ("Bugs on purpose caught", format!("{caught} of {all}"), missed)
        }),
        noise.map(|noise| {
            let controls = results.comparisons.iter().filter(|comparison| comparison.control).count();
            (
                "Noise of this machine",
                format!("±{}", percent(noise)),
                format!("widest of {}", plural(controls, "A/A control")),
            )
        }),
    ]
    .into_iter()
    .flatten()
    .collect();
    html! {
        @if !tiles.is_empty() {
            dl.tiles { @for (name, number, rest) in &tiles { div { dt { (name) } dd { (number) } dd { (rest) } } } }
        }
    }
}

/// A sign for a status; it never stands without words for those who cannot see it.
fn symbol(status: Status) -> &'static str {
    match status {
        Status::Holds => "✓",
        Status::Broken => "✗",
        Status::Unknown => "?",
        Status::Vacuous => "○",
        Status::NotClaimed => "–",
    }
}

/// The class of a status in the style sheet.
fn class(status: Status) -> &'static str {
    match status {
        Status::Holds => "holds",
        Status::Broken => "broken",
        Status::Unknown => "unknown",
        Status::Vacuous => "vacuous",
        Status::NotClaimed => "not_claimed",
    }
}

#[cfg(test)]
mod tests {
    use super::STYLE;

    /// The value of a variable in the light (first) or the dark (second) theme.
    fn color(name: &str, theme: usize) -> [f64; 3] {
        let key = format!("--{name}: #");
        let hex = STYLE.split(&key).nth(theme + 1).unwrap_or_else(|| panic!("no {name} in theme {theme}"));
        [0, 2, 4].map(|at| f64::from(u8::from_str_radix(&hex[at..at + 2], 16).expect("a colour")) / 255.0)
    }

    /// The contrast of two colours as WCAG 2.2 defines it.
    fn contrast(a: [f64; 3], b: [f64; 3]) -> f64 {
        let linear = |c: f64| if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) };
        let luminance = |[r, g, b]: [f64; 3]| 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
        let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
        a.max(b) / a.min(b)
    }

    #[test]
    fn contrast_is_computed_as_defined() {
        assert!((contrast([0.0; 3], [1.0; 3]) - 21.0).abs() < 1e-9);
        // The grey that is known to be just too light for text on white.
        let grey = [f64::from(0x77u8) / 255.0; 3];
        assert!((4.4..4.5).contains(&contrast(grey, [1.0; 3])));
    }

    #[test]
    fn text_and_marks_can_be_seen_in_both_themes() {
        for theme in [0, 1] {
            let check = |front: &str, back: &str, least: f64| {
                let seen = contrast(color(front, theme), color(back, theme));
                assert!(seen >= least, "{front} on {back} in theme {theme}: {seen:.2}");
            };
            for back in ["paper", "card"] {
                for text in ["ink", "muted", "link", "good", "bad", "warn"] {
                    check(text, back, 4.5);
                }
                for mark in ["s0", "s1", "s2", "s3", "s4", "s5"] {
                    check(mark, back, 3.0);
                }
            }
            check("bad", "bad-wash", 4.5);
            check("warn", "warn-wash", 4.5);
            for mark in ["s0", "s1", "s2", "s3", "s4", "s5"] {
                check(mark, "zone", 3.0);
            }
        }
    }
}
