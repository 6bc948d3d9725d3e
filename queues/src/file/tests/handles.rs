//! However many segments there are, few are open; and where no file can be opened, nothing is lost by that.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use rustix::process::{Resource, Rlimit, setrlimit};

use super::*;
use crate::broker::{Error, Refusal};

const DIRECTORY: &str = "STANCHION_TEST_FEW_HANDLES";
/// Segments, and messages, each of which nearly fills one.
const MANY: usize = 300;

fn drained(queue: &FileQueue<impl storage::Storage>, many: usize) {
    let mut session = queue.session().expect("opens");
    for nth in 0..many {
        let delivery = session.receive(1, LEASE).expect("works").pop().expect("is there");
        assert!(delivery.body.iter().all(|byte| *byte == nth as u8), "message {nth}");
        assert!(is_done(&settle(&mut session, delivery.receipt, Settle::Ack)));
    }
    assert!(session.receive(1, LEASE).expect("works").is_empty());
}

fn large(nth: usize) -> [Message; 1] {
    [Message::new(vec![nth as u8; 3000])]
}

/// Not a test of its own: the child of the next one, whose limit is no other test's.
#[test]
fn one_with_few_handles() {
    let Some(path) = std::env::var_os(DIRECTORY) else { return };
    let limit = |many| setrlimit(Resource::Nofile, Rlimit { current: Some(many), maximum: Some(1000) });
    limit(32).expect("lowers its limit");
    let settings = Settings { clock: Clock::system(), ..settings(10_000, 3) };
    let open = || {
        let directory = RealDir::open(Path::new(&path)).expect("opens");
        FileQueue::open_within(directory, &settings, limits(4 << 10)).expect("opens")
    };
    let queue = open();
    let mut session = queue.session().expect("opens");
    for nth in 0..MANY {
        confirmed(&session.send(&large(nth)));
    }
    // Of all segments one message is read, then of none.
    assert_eq!(session.receive(MANY, SECOND).expect("works").len(), MANY);
    drop((session, queue));

    let queue = open();
    let mut session = queue.session().expect("opens");
    let mut others = Vec::new();
    while let Ok(other) = File::open("/") {
        others.push(other);
    }
    let mut sent = MANY;
    let refused = loop {
        match session.send(&large(sent)).remove(0) {
            Sent::Confirmed(_) => sent += 1,
            other => break other,
        }
    };
    let said = format!("{refused:?}");
    assert!(
        matches!(refused, Sent::Refused(Refusal::Unavailable(_))) && said.contains("fewer files"),
        "{said}"
    );
    let error = session.receive(1, LEASE).expect_err("is not in memory");
    assert!(matches!(error, Error::Io { .. }), "{error}");
    drop(others);
    confirmed(&session.send(&large(sent)));
    drop(session);
    drained(&queue, sent + 1);
    println!("\n{sent} were sent and received");
}

#[test]
fn a_process_with_few_handles_keeps_many_segments() {
    let temp = tempfile::tempdir().expect("a directory");
    let output = Command::new(std::env::current_exe().expect("is a file"))
        .args(["--exact", "file::tests::handles::one_with_few_handles", "--nocapture"])
        .env(DIRECTORY, temp.path())
        .output()
        .expect("starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = || format!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("were sent and received"), "{}", failed());
}

#[test]
fn without_a_handle_messages_are_refused_and_all_else_goes_on() {
    let disk = SimDisk::new();
    let queue = FileQueue::open_within(disk.clone(), &settings(1000, 3), limits(4 << 10)).expect("opens");
    let mut session = queue.session().expect("opens");
    (0..30).for_each(|nth| drop(confirmed(&session.send(&large(nth)))));
    disk.open_at_most(0);
    let mut sent = 30;
    let refused = loop {
        match session.send(&large(sent)).remove(0) {
            Sent::Confirmed(_) => sent += 1,
            other => break other,
        }
    };
    assert!(matches!(refused, Sent::Refused(Refusal::Unavailable(_))), "{refused:?}");
    assert!(matches!(session.receive(1, LEASE), Err(Error::Io { .. })));
    disk.open_at_most(usize::MAX);
    let held = session.receive(3, LEASE).expect("works");
    disk.open_at_most(0);
    for delivery in &held {
        assert!(is_done(&settle(&mut session, delivery.receipt, nack(Duration::ZERO))), "has space for that");
    }
    disk.open_at_most(usize::MAX);
    drop(session);
    drained(&queue, sent);
}
