//! Fragments of several processes become one whole, and what is not a fragment is named and left alone.

use std::fs;

use stanchion_reports::fragment::{Error, merge, render, write};
use stanchion_reports::results::{Property, Queue, Results, Run, Status, Trial};

fn fragment(part: &str, started_unix_ms: u64, status: Status) -> Results {
    Results {
        queues: vec![Queue { name: "ring".into(), ..Queue::default() }],
        properties: vec![Property {
            queue: "ring".into(),
            invariant: "AL-1".into(),
            engine: "sequential".into(),
            status,
            ..Property::default()
        }],
        ..Results::of(Run { part: part.into(), started_unix_ms, ..Run::default() })
    }
}

#[test]
fn the_later_entry_stays_whatever_the_names_of_the_files() {
    let dir = tempfile::tempdir().expect("a directory");
    write(dir.path(), "a", &fragment("a", 2, Status::Broken)).expect("writable");
    write(dir.path(), "b", &fragment("b", 1, Status::Holds)).expect("writable");
    let merged = merge(dir.path()).expect("readable");
    assert_eq!(merged.skipped, []);
    assert_eq!(merged.results.properties.len(), 1);
    assert_eq!(merged.results.properties[0].status, Status::Broken);
    assert_eq!(merged.results.queues.len(), 1);
    assert_eq!(merged.results.runs.len(), 2);
}

#[test]
fn a_fragment_of_the_same_name_is_replaced_as_a_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    write(dir.path(), "a", &fragment("a", 1, Status::Broken)).expect("writable");
    write(dir.path(), "a", &Results::default()).expect("writable");
    assert_eq!(merge(dir.path()).expect("readable").results, Results::default());
}

#[test]
fn nothing_is_found_where_nothing_is() {
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(merge(&dir.path().join("absent")).expect("empty").results, Results::default());
}

#[test]
fn corrupt_and_foreign_files_are_named_and_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    write(dir.path(), "good", &fragment("a", 1, Status::Holds)).expect("writable");
    let folder = dir.path().join("fragments");
    let foreign: [(&str, &[u8]); 6] = [
        ("binary.json", b"\xff\x00\xfe"),
        ("future.json", br#"{"schema": 99}"#),
        ("notes.txt", b"remember the milk"),
        ("other.json", br#"{"hello": 1}"#),
        ("torn.json", br#"{"schema": 1, "runs": [{"par"#),
        ("typed.json", br#"{"schema": 1, "queues": 7}"#),
    ];
    for (name, bytes) in foreign {
        fs::write(folder.join(name), bytes).expect("writable");
    }
    fs::create_dir(folder.join("folder")).expect("writable");
    let rendered = render(dir.path()).expect("not fatal");
    let named: Vec<_> = rendered.merged.skipped.iter().map(|skipped| skipped.file.as_str()).collect();
    assert_eq!(
        named,
        ["binary.json", "folder", "future.json", "notes.txt", "other.json", "torn.json", "typed.json"]
    );
    assert!(rendered.merged.skipped.iter().all(|skipped| !skipped.reason.is_empty()));
    assert_eq!(rendered.merged.results.properties.len(), 1);
    for (name, bytes) in foreign {
        assert_eq!(fs::read(folder.join(name)).expect("still there"), bytes);
    }
}

#[test]
fn what_could_not_be_read_back_is_not_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut results = Results::default();
    results.measurements.push(stanchion_reports::results::Measurement {
        trials: vec![Trial { value: f64::NAN, ..Trial::default() }],
        ..Default::default()
    });
    assert!(matches!(write(dir.path(), "nan", &results), Err(Error::NotReadable { .. })));
    assert_eq!(merge(dir.path()).expect("empty").results, Results::default());
}

#[test]
fn a_directory_that_is_a_file_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file");
    fs::write(&file, "").expect("writable");
    let error = write(&file, "a", &Results::default()).expect_err("not a directory");
    let error = error.to_string();
    assert!(error.contains("file") && error.contains("STANCHION_REPORT_DIR"), "{error}");
}

#[test]
fn fragments_do_not_tell_who_ran_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let here = std::env::current_dir().expect("a directory");
    let mut results = Results::of(Run::capture("leak"));
    results.properties.push(Property {
        reason: Some(format!("panicked at {}/src/x.rs and {}", here.display(), dir.path().display())),
        ..Property::default()
    });
    let path = write(dir.path(), "leak", &results).expect("writable");
    let text = fs::read_to_string(path).expect("readable");
    for private in [here.display().to_string(), std::env::temp_dir().display().to_string()] {
        assert!(!text.contains(&private), "{private} in {text}");
    }
    // As a word: a short name is part of many.
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '-');
    assert!(!words.any(|word| word == host.trim() && !word.is_empty()), "{host} in {text}");
    assert!(text.contains("panicked at ./src/x.rs and $TMPDIR/"));
}
