//! Files of this schema stay readable, whoever wrote them.

mod common;

use stanchion_reports::results::{Answer, Better, Kind, Results, SCHEMA, State, Status};

/// As an older or a newer writer of schema 1 might have left it: fields are missing and fields are unknown.
const GOLDEN: &str = r#"{
  "schema": 1,
  "noise": {"share_flagged": 0.2},
  "runs": [{"id": "1", "part": "conformance", "started_unix_ms": 1700000000000, "duration_ns": 5, "seed": "77",
            "budget": "big", "git": {"rev": "abc", "dirty": true, "branch": "x"},
            "environment": {"os": "linux", "cpu_model": null, "cores_logical": 2, "smt": true}}],
  "queues": [{"name": "ring", "kind": "buffer", "contract": [["order", "FIFO"]], "version": "9"}],
  "properties": [{"queue": "ring", "invariant": "OR-1", "status": "holds", "cases": 64, "discarded": 3},
                 {"queue": "ring", "invariant": "OR-2", "status": "a word of a later writer"}],
  "measurements": [{"workload": "spsc", "parameters": [["item", "8 B"]], "queue": "ring", "unit": "items/s",
                    "better": "higher", "trials": [{"round": 0, "order": 1, "value": 2.5, "flags": ["steal"]}],
                    "estimate": {"median": 2.5, "lo": 2, "hi": 3, "level": 0.99}, "state": "saturated",
                    "ledger": {"confirmed": 10, "lost": 1}}],
  "comparisons": [{"workload": "spsc", "a": "x", "b": "y", "ratio": null, "verdict": "too_noisy"}],
  "failures": [{"id": "f", "queue": "ring", "plan": {"steps": [1]}}],
  "rogues": [{"bug": "D2", "caught": true, "caught_by": ["DL-1"], "cases": null}]
}"#;

#[test]
fn a_file_of_another_writer_is_read() {
    let results: Results = serde_json::from_str(GOLDEN).expect("readable");
    assert_eq!(results.schema, SCHEMA);
    assert_eq!(results.runs[0].environment.cores_logical, Some(2));
    assert_eq!(results.runs[0].git.as_ref().map(|git| git.dirty), Some(true));
    assert_eq!(results.queues[0].kind, Kind::Buffer);
    assert_eq!(results.queues[0].contract, [("order".to_owned(), "FIFO".to_owned())]);
    assert_eq!(results.properties[0].status, Status::Holds);
    assert_eq!(results.properties[1].status, Status::Unknown, "a word that is not known is no pass");
    assert_eq!(results.measurements[0].better, Better::Higher);
    assert_eq!(results.measurements[0].state, State::Invalid, "a state that is not known is no number");
    assert!(!results.measurements[0].ledger.expect("a ledger").is_clean());
    assert_eq!(results.comparisons[0].verdict, Answer::TooNoisy);
    assert_eq!(results.failures[0].plan["steps"][0], 1);
    assert_eq!(results.rogues[0].cases, None);
}

#[test]
fn what_is_written_is_what_is_read() {
    for results in [common::results(), Results::default(), serde_json::from_str(GOLDEN).expect("readable")] {
        let text = serde_json::to_string(&results).expect("writable");
        assert_eq!(serde_json::from_str::<Results>(&text).expect("readable"), results);
    }
}

#[test]
fn the_words_of_the_schema_do_not_change() {
    let words = |value: serde_json::Value| value.as_str().map(str::to_owned);
    let statuses = [Status::Holds, Status::Broken, Status::Unknown, Status::Vacuous, Status::NotClaimed];
    let statuses = statuses.map(|status| words(serde_json::json!(status)).expect("a word"));
    assert_eq!(statuses, ["holds", "broken", "unknown", "vacuous", "not_claimed"]);
    let answers =
        [Answer::Faster, Answer::Slower, Answer::Equivalent, Answer::TooNoisy, Answer::NotComparable];
    let answers = answers.map(|answer| words(serde_json::json!(answer)).expect("a word"));
    assert_eq!(answers, ["faster", "slower", "equivalent", "too_noisy", "not_comparable"]);
    let states = [State::Ok, State::Invalid, State::Skipped].map(|state| words(serde_json::json!(state)));
    assert_eq!(states, ["ok", "invalid", "skipped"].map(|word| Some(word.to_owned())));
}
