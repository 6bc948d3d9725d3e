//! What every page must be, whatever the results.

mod common;

use stanchion_reports::fragment::{Merged, Skipped};
use stanchion_reports::results::{Measurement, Property, Queue, Results, State, Status};
use stanchion_reports::{html, markdown, terminal};

fn merged(results: Results) -> Merged {
    Merged { results, skipped: vec![Skipped { file: "torn.json".into(), reason: "not JSON".into() }] }
}

fn rich() -> Merged {
    merged(common::results())
}

/// The elements of that name, from tag to tag.
fn elements<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}"), format!("</{name}>"));
    page.split(&open).skip(1).map(|rest| rest.split(&close).next().unwrap_or(rest)).collect()
}

/// Whatever would make a browser ask for something else or run something.
fn requests(page: &str) -> Vec<&str> {
    ["http:", "https:", "src=", "<script", "<link", "@import", "url(", "<iframe", "<img", "javascript:"]
        .into_iter()
        .filter(|forbidden| page.contains(forbidden))
        .collect()
}

#[test]
fn the_page_asks_for_nothing_else() {
    assert_eq!(requests(&html::page(&rich())), Vec::<&str>::new());
    assert_eq!(requests("<img src='https://x'>"), ["https:", "src=", "<img"]);
}

#[test]
fn every_tag_that_opens_closes() {
    let page = html::page(&rich());
    let void = ["meta", "!DOCTYPE"];
    let mut open = Vec::new();
    // The style has no tags, and text has no raw angle brackets because it is escaped.
    for tag in page.split('<').skip(1) {
        let tag = tag.split_once('>').expect("a tag ends").0;
        let name = tag.split_whitespace().next().expect("a tag has a name");
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None if void.contains(&name) => {}
            None => open.push(name),
        }
    }
    assert_eq!(open, Vec::<&str>::new());
}

#[test]
fn ids_are_unique_and_links_lead_somewhere() {
    let page = html::page(&rich());
    let values = |key: &str| -> Vec<String> {
        page.split(key).skip(1).map(|rest| rest.split('"').next().unwrap_or_default().to_owned()).collect()
    };
    let mut ids = values(" id=\"");
    for link in values(" href=\"#") {
        assert!(ids.contains(&link), "#{link} leads nowhere");
    }
    assert!(values(" href=\"#failure-").len() >= 2, "broken cells link to their failing runs");
    let all = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all);
}

#[test]
fn every_picture_has_a_title_a_description_and_says_it_again_in_text() {
    let page = html::page(&rich());
    let pictures = elements(&page, "svg");
    assert!(pictures.len() >= 6);
    for picture in pictures {
        assert!(picture.contains("role=\"img\"") && picture.contains("aria-labelledby="));
        assert!(
            elements(picture, "title").iter().all(|title| title.len() > 10) && picture.contains("<title")
        );
        assert!(elements(picture, "desc").iter().all(|desc| desc.len() > 10) && picture.contains("<desc"));
    }
    for figure in elements(&page, "figure") {
        assert!(
            figure.contains("<svg")
                && figure.contains("<details")
                && (figure.contains("<table") || figure.contains("<pre")),
            "{figure}"
        );
    }
}

#[test]
fn a_status_is_never_shown_by_a_sign_alone() {
    let page = html::page(&rich());
    let matrices = elements(&page, "table").into_iter().filter(|table| table.starts_with(" class=\"matrix"));
    let mut cells = 0;
    for cell in matrices.flat_map(|table| elements(table, "td")) {
        cells += 1;
        let word = ["holds", "broken", "never exercised", "unknown", "not claimed", "not looked at"];
        assert!(
            word.iter().any(|word| cell.contains(&format!("{word}</span>")) || cell.contains(word)),
            "{cell}"
        );
        assert!(cell.contains(" title=\""));
    }
    assert!(cells > 50);
}

#[test]
fn the_limits_of_a_run_stand_beside_its_numbers() {
    let page = html::page(&rich());
    assert!(page.contains("The limits of the run duel: cache line there and back (near) 61"), "{page}");
    assert!(page.contains("copying memory"));
    let mut none = rich();
    none.results.runs.iter_mut().for_each(|run| run.limits.clear());
    assert!(!html::page(&none).contains("The limits of the run"));
}

#[test]
fn an_invalid_number_is_struck_out_with_its_reason() {
    let page = html::page(&rich());
    assert!(page.contains("<s>6.40"));
    assert!(page.contains("3 confirmed messages were lost"));
    let valid = Results {
        measurements: common::results()
            .measurements
            .into_iter()
            .map(|m| Measurement { state: State::Ok, reason: None, ..m })
            .collect(),
        ..common::results()
    };
    assert!(!html::page(&merged(valid)).contains("<s>"));
}

#[test]
fn a_card_says_what_differs_in_words() {
    let page = html::page(&rich());
    for shown in
        ["What does each one do?", "claims more than it keeps", "keeps more than it claims", "left open"]
    {
        assert!(page.contains(shown), "{shown}");
    }
    let none = Results { cards: Vec::new(), ..common::results() };
    assert!(!html::page(&merged(none)).contains("What does each one do?"));
}

#[test]
fn text_from_results_cannot_become_markup() {
    let evil = "<script>alert(1)</script>\"'&|`";
    let mut results = common::results();
    let queue = results.queues[0].name.clone();
    results.queues[0].name = evil.into();
    for property in results.properties.iter_mut().filter(|property| property.queue == queue) {
        property.queue = evil.into();
        property.sentence = evil.into();
    }
    for measurement in results.measurements.iter_mut().filter(|m| m.queue == queue) {
        measurement.queue = evil.into();
    }
    for line in results.cards.iter_mut().flat_map(|card| &mut card.lines) {
        (line.aspect, line.declared, line.learned) = (evil.into(), evil.into(), evil.into());
    }
    for failure in &mut results.failures {
        failure.title = evil.into();
        failure.timeline = evil.into();
        failure.replay = evil.into();
        if let Some(lanes) = &mut failure.lanes {
            lanes.names.iter_mut().chain(&mut lanes.culprits).for_each(|text| *text = evil.into());
            lanes.notes = vec![(evil.into(), evil.into())];
            for act in &mut lanes.acts {
                act.time = evil.into();
                act.lines.iter_mut().for_each(|line| *line = evil.into());
            }
        }
    }
    let merged = merged(results);
    assert!(!html::page(&merged).contains("<script"));
    let outside_code = markdown::summary(&merged);
    assert!(!outside_code.lines().any(|line| line.starts_with('|') && line.contains("<script")));
}

#[test]
fn nothing_is_claimed_where_nothing_is_known() {
    let merged = Merged::default();
    let page = html::page(&merged);
    assert!(page.contains("No promise was tested."));
    assert!(!page.contains("NaN") && !page.contains("null"));
    assert!(markdown::summary(&merged).contains("No promise was tested."));
    assert!(terminal::table(&merged.results, false).contains("No promise was tested."));
}

#[test]
fn odd_numbers_do_not_break_the_page() {
    let mut results = common::results();
    for (i, measurement) in results.measurements.iter_mut().enumerate() {
        let odd = [0.0, f64::NAN, f64::INFINITY, -1.0, 1e300, 1e-300][i % 6];
        for trial in &mut measurement.trials {
            trial.value = odd;
        }
        if let Some(estimate) = &mut measurement.estimate {
            (estimate.lo, estimate.median, estimate.hi) = (odd, odd, odd);
        }
    }
    for (i, comparison) in results.comparisons.iter_mut().enumerate() {
        comparison.ratio = [Some(0.0), None, Some(f64::INFINITY), Some(-2.0)][i % 4];
        comparison.lo = comparison.ratio;
        comparison.hi = comparison.ratio;
    }
    let page = html::page(&merged(results));
    for picture in elements(&page, "svg") {
        assert!(
            !picture.contains("NaN") && !picture.contains("inf\"") && !picture.contains("infH"),
            "{picture}"
        );
    }
}

#[test]
fn the_summary_is_short_and_begins_with_what_is_broken() {
    let mut results = common::results();
    for i in 0..40 {
        let mut failure = results.failures[0].clone();
        failure.id = format!("{i}");
        results.failures.push(failure);
        results.queues.push(Queue { name: format!("queue {i}"), ..Queue::default() });
        results.properties.push(Property {
            queue: format!("queue {i}"),
            invariant: "AL-1".into(),
            status: Status::Broken,
            ..Property::default()
        });
    }
    for merged in [rich(), merged(results)] {
        let summary = markdown::summary(&merged);
        assert!(summary.lines().count() <= 60, "{} lines", summary.lines().count());
        let place = |text: &str| summary.find(text).unwrap_or(usize::MAX);
        assert!(place("breaks") < place("| queue |") && place("```sh") < place("| queue |"));
    }
}

#[test]
fn the_terminal_table_is_narrow_and_says_it_in_words() {
    let mut results = common::results();
    results.queues[0].name = "a_queue_with_a_remarkably_long_name".into();
    for property in &mut results.properties {
        if property.queue == "ring" {
            property.queue = "a_queue_with_a_remarkably_long_name".into();
        }
    }
    let plain = terminal::table(&results, false);
    assert!(!plain.contains('\x1b'));
    for line in plain.lines().filter(|line| !line.trim_start().starts_with("replay:")) {
        assert!(line.chars().count() <= 100, "{line}");
    }
    assert!(plain.contains("BROKEN file DU-1") && plain.contains("breaks 1") && plain.contains("replay: "));
    let colored = terminal::table(&results, true);
    let mut stripped = String::new();
    for (i, part) in colored.split('\x1b').enumerate() {
        stripped.push_str(if i == 0 { part } else { part.split_once('m').expect("a colour").1 });
    }
    assert_eq!(stripped, plain);
}

#[test]
fn pages_do_not_tell_who_ran_them() {
    let merged = rich();
    let pages = [html::page(&merged), markdown::summary(&merged), terminal::table(&merged.results, false)];
    let home = std::env::var("HOME").unwrap_or_default();
    let here = std::env::current_dir().expect("a directory").display().to_string();
    for private in [home, here].iter().filter(|private| private.len() > 1) {
        for page in &pages {
            assert!(!page.contains(&format!("{private}/")) && !page.contains(&format!("\"{private}\"")));
        }
    }
}
