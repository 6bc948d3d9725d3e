//! The summary for a pull request: at most 60 lines, failures first.

use crate::findings::{Findings, Tally, group_name};
use crate::format::{percent, plural, significant};
use crate::fragment::Merged;
use crate::results::{Answer, Comparison};

const FAILURES: usize = 4;
const QUEUES: usize = 14;
const COMPARISONS: usize = 8;

/// Draws the summary, in GitHub's Markdown.
pub fn summary(merged: &Merged) -> String {
    let results = &merged.results;
    let findings = Findings::of(results);
    let mut lines = vec![format!("## {}", text(&findings.headline())), String::new()];
    lines.push(findings.news().iter().map(|sentence| text(sentence)).collect::<Vec<_>>().join(" "));
    let failures = findings.failures();
    for failure in failures.iter().take(FAILURES) {
        lines.push(String::new());
        lines.push(format!(
            "**{} breaks {}**: {}{}",
            text(&failure.queue),
            text(&failure.invariant),
            text(&failure.title),
            failure.seed.as_ref().map(|seed| format!(" Seed {}.", code(seed))).unwrap_or_default()
        ));
        lines.extend([
            "```sh".into(),
            failure.replay.replace(['\n', '\r'], " ").replace("```", ""),
            "```".into(),
        ]);
    }
    more(&mut lines, failures.len(), FAILURES, "failing run");
    promises(&mut lines, &findings);
    comparisons(&mut lines, &results.comparisons);
    if !results.rogues.is_empty() {
        let caught = results.rogues.iter().filter(|rogue| rogue.caught).count();
        lines.push(String::new());
        lines.push(format!("Bugs on purpose: {caught} of {} caught.", results.rogues.len()));
    }
    if let Some(run) = results.runs.iter().max_by_key(|run| run.started_unix_ms) {
        let e = &run.environment;
        let facts = [
            e.cpu_model.clone(),
            e.cores_allowed.map(|n| plural(usize::try_from(n).unwrap_or(usize::MAX), "core")),
            Some(format!("{} {}", e.os, e.arch)),
            e.rustc.clone(),
            run.git
                .as_ref()
                .map(|git| format!("revision {}{}", git.rev, if git.dirty { " + changes" } else { "" })),
        ];
        lines.push(String::new());
        lines.push(text(&facts.into_iter().flatten().collect::<Vec<_>>().join(" · ")));
    }
    if !merged.skipped.is_empty() {
        let files: Vec<_> = merged.skipped.iter().take(8).map(|skipped| code(&skipped.file)).collect();
        lines.push(String::new());
        lines.push(format!("Passed over, because not fragments: {}.", files.join(", ")));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn promises(lines: &mut Vec<String>, findings: &Findings<'_>) {
    let groups = findings.groups();
    if groups.is_empty() {
        return;
    }
    lines.push(String::new());
    let names: Vec<_> = groups.iter().map(|letters| text(group_name(letters))).collect();
    lines.push(format!("| queue | {} | verdict |", names.join(" | ")));
    lines.push(format!("|---|{}---|", "---|".repeat(groups.len())));
    for queue in findings.queues.iter().take(QUEUES) {
        let cells: Vec<_> = groups.iter().map(|letters| kept(findings.tally(queue, Some(letters)))).collect();
        let verdict = findings.tally(queue, None).verdict();
        lines.push(format!("| {} | {} | {verdict} |", text(&queue.name), cells.join(" | ")));
    }
    more(lines, findings.queues.len(), QUEUES, "queue");
}

fn kept(tally: Tally) -> String {
    match tally.claimed() {
        0 => "–".into(),
        claimed if tally.broken > 0 => format!("**{} of {claimed}, {} broken**", tally.holds, tally.broken),
        claimed => format!("{} of {claimed}", tally.holds),
    }
}

fn comparisons(lines: &mut Vec<String>, all: &[Comparison]) {
    let of = |answers: &[Answer]| -> Vec<&Comparison> {
        all.iter().filter(|comparison| !comparison.control && answers.contains(&comparison.verdict)).collect()
    };
    let mut changed = of(&[Answer::Faster, Answer::Slower]);
    let size = |c: &Comparison| c.ratio.filter(|ratio| *ratio > 0.0).map_or(0.0, |ratio| ratio.ln().abs());
    changed.sort_by(|a, b| size(b).total_cmp(&size(a)));
    if !changed.is_empty() {
        lines.push(String::new());
        lines.push("| workload | queue | against | verdict | ratio | interval |".into());
        lines.push("|---|---|---|---|---|---|".into());
        let number = |value: Option<f64>| value.map_or("–".to_owned(), significant);
        for c in changed.iter().take(COMPARISONS) {
            let parameters: Vec<_> =
                c.parameters.iter().map(|(label, value)| format!("{label} {value}")).collect();
            let workload = [&[c.workload.clone()][..], &parameters].concat().join(" · ");
            lines.push(format!(
                "| {} | {} | {} | {} | {}× | {} to {} |",
                text(&workload),
                text(&c.b),
                text(&c.a),
                c.verdict.words(),
                number(c.ratio),
                number(c.lo),
                number(c.hi)
            ));
        }
        more(lines, changed.len(), COMPARISONS, "such comparison");
    }
    let (equivalent, noisy) = (of(&[Answer::Equivalent]).len(), of(&[Answer::TooNoisy]));
    if equivalent + noisy.len() > 0 {
        let visible = noisy.iter().filter_map(|c| c.smallest_visible).fold(0.0, f64::max);
        let hint = if visible > 0.0 {
            format!(" (smallest visible change up to {})", percent(visible))
        } else {
            String::new()
        };
        lines.push(String::new());
        lines.push(format!("{equivalent} equivalent, {} too noisy to say{hint}.", noisy.len()));
    }
}

fn more(lines: &mut Vec<String>, all: usize, shown: usize, one: &str) {
    if all > shown {
        lines.extend([String::new(), format!("And {} more in the report.", plural(all - shown, one))]);
    }
}

/// Text that Markdown takes as it is, on one line.
fn text(raw: &str) -> String {
    let mut safe = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            '\n' | '\r' => safe.push(' '),
            '<' => safe.push_str("&lt;"),
            '&' => safe.push_str("&amp;"),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '~' | '#' => safe.extend(['\\', c]),
            c => safe.push(c),
        }
    }
    safe
}

fn code(raw: &str) -> String {
    format!("`{}`", raw.replace('`', "'").replace(['\n', '\r'], " ").replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_in_its_cell() {
        assert_eq!(text("a|b\n<c>_d_"), r"a\|b &lt;c>\_d\_");
    }
}
