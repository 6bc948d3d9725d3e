//! The table at the end of `cargo test`: words before colours, at most 100 columns.

use std::env;
use std::io::{IsTerminal, stdout};

use crate::findings::{Findings, Tally};
use crate::results::Results;

/// The widest line. Only a replay command may be longer, because it must be pasted in one piece.
const COLUMNS: usize = 100;
/// The widest name of a queue.
const NAME: usize = 20;

/// Whether standard output takes colours: `CLICOLOR_FORCE` says yes, `NO_COLOR` no, `TERM=dumb` no; else a terminal does.
pub fn colored() -> bool {
    wants_color(|name| env::var(name).ok(), stdout().is_terminal())
}

fn wants_color(variable: impl Fn(&str) -> Option<String>, terminal: bool) -> bool {
    let set = |name| variable(name).is_some_and(|value| !value.is_empty() && value != "0");
    // no-color.org: any value but the empty one, "0" included.
    let no_color = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = variable("TERM").is_some_and(|term| term == "dumb");
    !no_color && (set("CLICOLOR_FORCE") || terminal && !dumb)
}

/// Draws queues against families of promises ("11/12" is 11 kept of 12 claimed), then each broken promise with its
/// sentence and the command that shows it again, then the headline.
pub fn table(results: &Results, color: bool) -> String {
    let paint = |text: String, code: &str| {
        if color { format!("\x1b[{code}m{text}\x1b[0m") } else { text }
    };
    let findings = Findings::of(results);
    let groups = findings.groups();
    let mut out = String::new();
    if !groups.is_empty() {
        let names: Vec<String> = findings.queues.iter().map(|queue| fit(&queue.name, NAME)).collect();
        let name_width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("queue".len());
        out.push_str(&format!("{:name_width$}", "queue"));
        for letters in &groups {
            out.push_str(&format!("{:>7}", fit(letters, 6)));
        }
        out.push_str("  verdict\n");
        for (queue, name) in findings.queues.iter().zip(&names) {
            let total = findings.tally(queue, None);
            if total == Tally::default() {
                continue;
            }
            out.push_str(&format!("{name:name_width$}"));
            for letters in &groups {
                let tally = findings.tally(queue, Some(letters));
                let cell = format!("{:>7}", cell(tally));
                out.push_str(&match tally {
                    Tally { broken: 1.., .. } => paint(cell, "1;31"),
                    Tally { unknown: 1.., .. } | Tally { vacuous: 1.., .. } => paint(cell, "33"),
                    _ => cell,
                });
            }
            let verdict = total.verdict();
            let code = match total {
                Tally { broken: 1.., .. } => "1;31",
                Tally { unknown: 1.., .. } | Tally { vacuous: 1.., .. } => "33",
                _ => "32",
            };
            out.push_str(&format!("  {}\n", paint(verdict, code)));
        }
        out.push_str("kept/claimed; ! broken, ? unknown, ~ never exercised, - not claimed\n");
    }
    for (property, failure) in findings.broken() {
        let title = format!("BROKEN {} {} {}", property.queue, property.invariant, property.name);
        out.push_str(&format!("\n{}\n", paint(fit(&title, COLUMNS), "1;31")));
        out.push_str(&wrap(&format!("promised: {}", property.sentence)));
        if let Some(failure) = failure {
            out.push_str(&wrap(&format!("happened: {}", failure.title)));
            if let Some(licence) = &failure.missing_licence {
                out.push_str(&wrap(&format!("missing: {licence}")));
            }
            out.push_str(&format!("  replay: {}\n", failure.replay));
        }
    }
    out.push_str(&format!("\n{}\n", paint(findings.headline(), "1")));
    out
}

fn cell(tally: Tally) -> String {
    let mark = match tally {
        Tally { broken: 1.., .. } => "!",
        Tally { unknown: 1.., .. } => "?",
        Tally { vacuous: 1.., .. } => "~",
        _ => "",
    };
    match tally.claimed() {
        0 => "-".into(),
        claimed => format!("{}/{claimed}{mark}", tally.holds),
    }
}

/// At most `width` characters, with two dots where some are missing; control characters are replaced.
fn fit(text: &str, width: usize) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().count() <= width {
        return text;
    }
    text.chars().take(width.saturating_sub(2)).chain("..".chars()).collect()
}

/// Indented lines of at most [`COLUMNS`]; a word that is too long for a line is cut.
fn wrap(text: &str) -> String {
    let mut out = String::new();
    let mut line = String::from(" ");
    for word in text.split_whitespace() {
        let word = fit(word, COLUMNS - 4);
        if line.chars().count() + 1 + word.chars().count() > COLUMNS {
            out.push_str(&line);
            out.push('\n');
            line = String::from("   ");
        }
        line.push(' ');
        line.push_str(&word);
    }
    out + &line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_a_choice() {
        let with = |pairs: &'static [(&str, &str)], terminal| {
            wants_color(
                |name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()),
                terminal,
            )
        };
        assert!(with(&[], true));
        assert!(!with(&[], false));
        assert!(!with(&[("NO_COLOR", "1")], true));
        assert!(with(&[("NO_COLOR", "")], true));
        assert!(!with(&[("TERM", "dumb")], true));
        assert!(with(&[("CLICOLOR_FORCE", "1")], false));
        assert!(!with(&[("CLICOLOR_FORCE", "0")], false));
        assert!(!with(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false));
    }

    #[test]
    fn long_texts_are_folded_or_cut() {
        let text = wrap(&format!("promised: {} {}", "word ".repeat(60), "x".repeat(300)));
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
        assert!(text.lines().count() > 3);
        assert_eq!(fit("tokio_channel", 8), "tokio_..");
    }
}
