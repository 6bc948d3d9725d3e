//! A stranger's crate, outside the workspace, gets all checks and benches with one line per queue.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The crate copied away, so that nothing of ours is in reach but what it depends on. Always to the same place, and
/// only what changed: Cargo tells packages apart by where they are and files by when they were written, and builds
/// nothing twice.
struct Outsider {
    dir: PathBuf,
    target: PathBuf,
}

impl Outsider {
    fn settle() -> Outsider {
        let home = Path::new(env!("CARGO_MANIFEST_DIR"));
        let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let dir = tmp.join("outsider");
        for left in ["regressions", "report"] {
            match std::fs::remove_dir_all(dir.join(left)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("an earlier {left}: {error}"),
                _ => {}
            }
        }
        for file in [
            "src/lib.rs",
            "src/steady.rs",
            "src/forgetful.rs",
            "tests/conformance.rs",
            "benches/comparison.rs",
        ] {
            put(&dir.join(file), &read(&home.join("examples/outsider").join(file)));
        }
        let manifest = read(&home.join("examples/outsider/Cargo.toml"));
        let ours = format!("path = {:?}", home.display().to_string());
        assert!(manifest.contains("path = \"../..\""), "the manifest names us by a relative path");
        put(&dir.join("Cargo.toml"), &manifest.replace("path = \"../..\"", &ours));
        // The same versions as ours: what is built already is not built again, and nothing is fetched.
        put(&dir.join("Cargo.lock"), &read(&home.join("Cargo.lock")));
        let target = tmp.parent().expect("a folder of the target directory").to_owned();
        Outsider { dir, target }
    }

    fn cargo(&self, arguments: &[&str]) -> (bool, String) {
        self.run(Command::new(env!("CARGO")).args(arguments))
    }

    fn run(&self, command: &mut Command) -> (bool, String) {
        let Output { status, stdout, stderr } = command
            .current_dir(&self.dir)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("STANCHION_REPORT_DIR", self.dir.join("report"))
            .env("STANCHION_CASES", "64")
            .env("NO_COLOR", "1")
            .output()
            .expect("it runs");
        let text = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        (status.success(), text)
    }

    fn report(&self) -> String {
        std::fs::read_to_string(self.dir.join("report/report.html")).expect("a report was drawn")
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Leaves a file alone that says this already.
fn put(path: &Path, text: &str) {
    if std::fs::read_to_string(path).is_ok_and(|there| there == text) {
        return;
    }
    std::fs::create_dir_all(path.parent().expect("a file in a folder")).expect("a folder");
    std::fs::write(path, text).expect("a file of the crate");
}

#[test]
fn a_strangers_queues_get_all_checks_and_benches() {
    let outsider = Outsider::settle();

    let (passed, text) = outsider.cargo(&["test", "--test", "conformance", "--", "steady::"]);
    assert!(passed, "the right queue was blamed:\n{text}");
    for promise in ["no_loss", "fifo", "bound", "not_beyond_threshold", "drop_once"] {
        assert!(text.contains(&format!("steady::{promise}")), "{promise} was not checked:\n{text}");
    }

    let (passed, text) = outsider.cargo(&["test", "--test", "conformance", "--", "forgetful::"]);
    assert!(!passed, "the wrong queue was not blamed:\n{text}");
    assert!(text.contains("AL-1"), "its loss has no name:\n{text}");
    assert!(outsider.report().contains("forgetful"), "the report leaves it out");

    // What is printed is enough to do it again, from a shell, in that crate.
    let line =
        text.lines().find_map(|line| line.strip_prefix("Replay: ")).expect("a line that does it again");
    let saved = outsider.dir.join("regressions/forgetful");
    assert!(saved.is_dir(), "no failing plan was saved");
    let (passed, text) = outsider.run(Command::new("sh").args(["-c", line]));
    assert!(!passed && text.contains("1 failed"), "{line:?} did not fail again, and alone:\n{text}");
    assert!(text.contains("is broken: "), "{text}");

    // As a test, a bench target runs everything once and needs no optimised build.
    let (passed, text) = outsider.cargo(&["test", "--bench", "comparison"]);
    assert!(text.contains("mpmc/steady"), "the right queue was not measured:\n{text}");
    assert!(!passed && text.contains("lost"), "the wrong queue got a number:\n{text}");
}
