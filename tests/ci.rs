//! What decides whether a change lands gives every test one chance: what failed once has failed.

use std::fs;
use std::path::{Path, PathBuf};

/// How a check is tried again until it is green, or what became of it is not asked, as it stands in one line.
fn second_chances(text: &str) -> Vec<String> {
    let code = |line: &str| {
        line.split('#').next().unwrap_or_default().trim().to_lowercase().replace("+nightly ", "")
    };
    let tests = ["cargo test", "cargo bench", "cargo nextest", "cargo miri", ".ci/", "cargo clippy"];
    let given = |line: &str| {
        let names_a_test = tests.iter().any(|test| line.contains(test));
        let repeats = ["until ", "while ", "for "].iter().any(|word| line.starts_with(word));
        let forgives = ["||", "; true", "set +e"].iter().any(|word| line.contains(word));
        line.contains("retr")
            || line.contains("continue-on-error")
            || line.contains("rerun")
            || line == "set +e"
            || names_a_test && (repeats || forgives)
    };
    text.lines().map(code).filter(|line| given(line)).collect()
}

/// Whether a line in a loop runs tests: then the loop may be one that waits for green.
fn loops_over_tests(text: &str) -> bool {
    let mut depth = 0_usize;
    for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        depth += usize::from(matches!(words.first(), Some(&("for" | "while" | "until"))));
        if depth > 0 && (line.contains("cargo test") || line.contains("cargo miri")) {
            return true;
        }
        depth = depth.saturating_sub(usize::from(words.contains(&"done")));
    }
    false
}

fn scripts() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listed = fs::read_dir(root.join(".ci")).expect("the checks stand in .ci");
    let mut files: Vec<PathBuf> = listed.map(|file| file.expect("it can be read").path()).collect();
    // Where runners of tests are told to try again.
    let settings = [".config/nextest.toml", ".cargo/config.toml", "Cargo.toml"];
    files.extend(settings.iter().map(|file| root.join(file)).filter(|file| file.exists()));
    if let Ok(workflows) = fs::read_dir(root.join(".github/workflows")) {
        files.extend(workflows.map(|file| file.expect("it can be read").path()));
    }
    files
}

#[test]
fn nothing_is_tried_again_until_it_is_green() {
    let scripts = scripts();
    assert!(scripts.len() > 4, "only {scripts:?} were found");
    for script in scripts {
        let text = fs::read_to_string(&script).expect("it can be read");
        assert_eq!(second_chances(&text), Vec::<String>::new(), "{}", script.display());
        assert!(!loops_over_tests(&text), "{}", script.display());
    }
}

#[test]
fn whoever_checks_scripts_stops_at_the_first_failure() {
    for script in ["run", "long"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci").join(script);
        let text = fs::read_to_string(&path).expect("it can be read");
        assert!(text.lines().any(|line| line == "set -euo pipefail"), "{}", path.display());
    }
}

/// The rule itself is tested on what it is there to find.
#[test]
fn a_second_chance_is_seen() {
    let bad = [
        "until cargo test --locked; do :; done",
        "while ! cargo test; do sleep 1; done",
        "for attempt in 1 2 3; do cargo test && break; done",
        "cargo test --locked || cargo test --locked",
        "cargo test --locked || true",
        "set +e",
        "cargo nextest run --retries 2",
        "retries = 3",
        "    continue-on-error: true",
    ];
    for line in bad {
        assert!(!second_chances(line).is_empty(), "{line}");
    }
    assert!(loops_over_tests("for attempt in 1 2 3; do\n    cargo test --locked && exit 0\ndone\n"));
    let good = "# until cargo test is green\nset -euo pipefail\ncargo test --locked\nfor name in a b; do\n    echo $name\ndone\n";
    assert!(second_chances(good).is_empty() && !loops_over_tests(good));
}
