//! The command as people type it: what makes no sense is said with a remedy, and nothing is changed or deleted.

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn command(home: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stanchion"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("STANCHION_"))
    {
        command.env_remove(name);
    }
    command
        .args(arguments)
        .current_dir(home)
        .envs([("STANCHION_REPORT_DIR", "report"), ("STANCHION_CASES", "3")])
        .envs(variables.iter().copied());
    command
}

/// Its exit code, and all it said.
fn stanchion(home: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    said(command(home, arguments, variables).output().expect("it runs"))
}

fn said(Output { status, stdout, stderr }: Output) -> (Option<i32>, String) {
    (status.code(), [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat())
}

const USAGE: Option<i32> = Some(2);
const NOTHING_SELECTED: Option<i32> = Some(4);
const BROKEN: Option<i32> = Some(10);
const ONE: [&str; 2] = ["check", "ring::fifo"];

#[test]
fn what_makes_no_sense_is_said_with_a_remedy_and_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let home = dir.path();
    let files = [
        ("file", "mine"),
        ("truncated.json", "{\"format\": 2,"),
        ("older.json", "{\"format\": 1}"),
        (
            "gone.json",
            r#"{"format":2,"queue":"gone","invariant":"IC-3","sentence":"","case":0,"seed":0,"steps_before":0,
                "steps_after":0,"plan":{"consumer":{"asks":[],"steps":[]}}}"#,
        ),
    ];
    for (name, text) in files {
        std::fs::write(home.join(name), text).expect("writable");
    }
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], Option<i32>, &'a [&'a str]);
    let cases: [Case<'_>; 23] = [
        (&["check", "nosuch"], &[], NOTHING_SELECTED, &["\"nosuch\"", "give a part of a name"]),
        (&["card", "nosuch"], &[], NOTHING_SELECTED, &["\"nosuch\"", "give a part of one of", "file"]),
        (&["inspect", "absent"], &[], USAGE, &["absent", "Give a directory"]),
        (&["salvage", "absent"], &[], USAGE, &["absent", "Give a directory"]),
        (&["salvage", "."], &[], USAGE, &["without a queue in it", "give the directory of a file queue"]),
        (&["inspect", "."], &[], Some(0), &["0 segments", "no queue"]),
        (&["replay", "absent.json"], &[], USAGE, &["absent.json", "Make it readable"]),
        (&["replay", "."], &[], USAGE, &["saved plan .", "Make it readable"]),
        (&["replay", "truncated.json"], &[], USAGE, &["truncated.json", "Restore it"]),
        (&["replay", "older.json"], &[], USAGE, &["older.json", "run the version that wrote it"]),
        (&["replay", "gone.json"], &[], USAGE, &["gone.json", "register the queue", "ring"]),
        (&ONE, &[("STANCHION_REPLAY", "absent.json")], USAGE, &["absent.json", "Make it readable"]),
        (&ONE, &[("STANCHION_TIME", "soon")], USAGE, &["STANCHION_TIME", "give a number of seconds"]),
        (&ONE, &[("STANCHION_CASES", "0")], USAGE, &["STANCHION_CASES", "give a number"]),
        (&ONE, &[("STANCHION_CASSES", "1")], USAGE, &["STANCHION_CASSES", "unset it"]),
        (&["list"], &[("STANCHION_CASSES", "1")], USAGE, &["STANCHION_CASSES", "unset it"]),
        (&["report"], &[("STANCHION_CASSES", "1")], USAGE, &["STANCHION_CASSES", "unset it"]),
        (&ONE, &[("STANCHION_CHILD", "x")], USAGE, &["STANCHION_CHILD", "unset it"]),
        (&ONE, &[("STANCHION_REPORT_DIR", "")], USAGE, &["STANCHION_REPORT_DIR", "give a path"]),
        (&ONE, &[("STANCHION_REGRESSIONS", "file")], USAGE, &["file", "not a directory", "move it away"]),
        // The checks have their answer all the same.
        (&ONE, &[("STANCHION_REPORT_DIR", "file")], Some(0), &["file", "name another one"]),
        (&["report"], &[("STANCHION_REPORT_DIR", "file")], USAGE, &["file", "name another one"]),
        (
            &["report"],
            &[("STANCHION_REPORT_DIR", "/proc/report")],
            USAGE,
            &["/proc/report", "name another one"],
        ),
    ];
    for (arguments, variables, expected, said) in cases {
        let (code, text) = stanchion(home, arguments, variables);
        assert_eq!(code, expected, "{arguments:?} {variables:?}\n{text}");
        assert!(!text.contains("panicked"), "{text}");
        for said in said {
            assert!(text.contains(said), "{arguments:?} {variables:?} does not say {said:?}:\n{text}");
        }
    }
    for (name, text) in files {
        assert_eq!(std::fs::read_to_string(home.join(name)).expect("still there"), text);
    }
}

#[test]
fn saved_plans_that_protect_nothing_fail_a_check() {
    let dir = tempfile::tempdir().expect("a directory");
    for folder in ["ring", "gone"] {
        let folder = dir.path().join("regressions").join(folder);
        std::fs::create_dir_all(&folder).expect("writable");
        std::fs::write(folder.join("AL-1-0.json"), "{").expect("writable");
    }
    let (code, text) = stanchion(dir.path(), &["check", "saved_plans"], &[]);
    assert_eq!(code, BROKEN, "{text}");
    for said in
        ["ring/AL-1-0.json is not a saved plan", "gone/AL-1-0.json", "\"gone\", which is not registered"]
    {
        assert!(text.contains(said), "{said:?} is not said:\n{text}");
    }
    assert!(dir.path().join("regressions/gone/AL-1-0.json").is_file());
}

#[test]
fn results_of_another_schema_are_named_and_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let fragments = dir.path().join("report/fragments");
    std::fs::create_dir_all(&fragments).expect("writable");
    std::fs::write(fragments.join("future.json"), "{\"schema\": 99}").expect("writable");
    let (code, text) = stanchion(dir.path(), &["report"], &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("future.json: it follows schema 99") && text.contains("Move it away"), "{text}");
    assert!(fragments.join("future.json").is_file());
}

#[test]
fn a_damaged_file_queue_is_shown_and_salvaged() {
    use stanchion::{Broker, Message, Session, Settings};

    let temp = tempfile::tempdir().expect("a directory");
    let queue = temp.path().join("queue");
    let open = || stanchion::file::open_dir(&queue, &Settings::new());
    let opened = open().expect("opens");
    let mut session = opened.session().expect("opens");
    for body in ["first", "second", "third"] {
        assert!(matches!(session.send(&[Message::new(body.as_bytes())])[0], stanchion::Sent::Confirmed(_)));
    }
    let (code, text) = stanchion(temp.path(), &["inspect", "queue"], &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("3 ready") && text.contains("is in use"), "{text}");
    drop((session, opened));

    let segment = queue.join("log-0000000000000001");
    let mut bytes = std::fs::read(&segment).expect("reads");
    let at = bytes.windows(6).position(|six| six == b"second").expect("is there");
    bytes[at] ^= 1;
    std::fs::write(&segment, &bytes).expect("writes");
    let refused = open().expect_err("is damaged").to_string();
    assert!(refused.contains("log-0000000000000001"), "{refused}");
    let (code, text) = stanchion(temp.path(), &["inspect", "queue"], &[]);
    assert_eq!(code, BROKEN, "{text}");
    assert!(text.contains("DAMAGED") && text.contains("salvage"), "{text}");
    let (code, text) = stanchion(temp.path(), &["salvage", "queue"], &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("2 messages saved") && text.contains("kept damaged-log-"), "{text}");
    let left = open().expect("opens").session().expect("opens").receive(9, std::time::Duration::from_secs(9));
    let left: Vec<_> = left.expect("works").iter().map(|delivery| delivery.body.to_vec()).collect();
    assert_eq!(left, [b"first".to_vec(), b"third".to_vec()]);
}

#[test]
fn time_may_be_given_in_place_of_a_number_of_plans() {
    let dir = tempfile::tempdir().expect("a directory");
    let (code, text) = stanchion(dir.path(), &["check", "mutex_deque::fifo"], &[("STANCHION_TIME", "1")]);
    assert_eq!(code, Some(0), "{text}");
    let results = std::fs::read_to_string(dir.path().join("report/results.json")).expect("stored");
    assert!(results.contains("1 s for each engine"), "{results}");
    let cases = |property: &serde_json::Value| property["cases"].as_u64().unwrap_or(0);
    let results: serde_json::Value = serde_json::from_str(&results).expect("it is JSON");
    let most = results["properties"].as_array().expect("there are some").iter().map(cases).max();
    assert!(most > Some(10), "more than the three plans of its number: {most:?}");
}

/// The processor time that a process has taken, in ticks of the system.
#[cfg(target_os = "linux")]
fn ticks(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

#[test]
#[cfg(target_os = "linux")]
fn whoever_interrupts_a_run_is_told_what_was_found_until_then() {
    let dir = tempfile::tempdir().expect("a directory");
    let endless = [("STANCHION_CASES", "1000000000000")];
    let mut command = command(dir.path(), &["check", "file::"], &endless);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    // By then it waits for the signal, and has run some cases.
    while ticks(child.id()) < 100 {
        assert!(child.try_wait().expect("is a child").is_none(), "it ended by itself");
        std::thread::yield_now();
    }
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupt.expect("it runs").success());
    let (code, text) = said(child.wait_with_output().expect("it ends"));
    assert_eq!(code, Some(130), "{text}");
    assert!(text.contains("interrupted: the cases that are being run are ended"), "{text}");
    assert!(text.contains("report: ") && !text.contains("panicked"), "{text}");
    let results = std::fs::read_to_string(dir.path().join("report/results.json")).expect("stored");
    assert!(results.contains("plans, interrupted"), "{results}");
    assert!(results.contains("\"holds\""), "what was found is there: {results}");
}
