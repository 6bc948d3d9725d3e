//! A file system that really has no space left: a small one in memory, which a child mounts for itself alone.

use std::path::Path;
use std::process::Command;

use super::*;
use crate::broker::{Depth, Refusal};

const DIRECTORY: &str = "STANCHION_TEST_SMALL_FILE_SYSTEM";
const MOUNTED: &str = "the file system is mounted";

/// How many messages find space.
fn fill(session: &mut impl Session) -> u64 {
    for many in 0.. {
        match session.send(&[Message::new(vec![b'x'; 3000])]).remove(0) {
            Sent::Confirmed(_) => {}
            Sent::Refused(Refusal::Unavailable(why)) => {
                assert!(why.contains("make room"), "{why}");
                return many;
            }
            other => panic!("{other:?}"),
        }
    }
    0
}

fn drain(session: &mut impl Session, many: u64) {
    for nth in 0..many {
        let held = session.receive(1, 1000 * SECOND).expect("works").pop().expect("is there");
        let settled = settle(session, held.receipt, Settle::Ack);
        assert!(is_done(&settled), "{nth} of {many}: {settled:?}");
    }
    assert_eq!(session.depth().expect("works"), Depth::default());
}

/// Not a test of its own: the child of the next one.
#[test]
fn one_on_a_small_file_system() {
    let Some(path) = std::env::var_os(DIRECTORY) else { return };
    println!("\n{MOUNTED}");
    let settings = Settings { clock: Clock::system(), ..settings(1_000_000, 3) };
    let open = || open_dir(Path::new(&path), &settings).expect("opens");
    let queue = open();
    let mut session = queue.session().expect("opens");
    for _ in 0..3 {
        let many = fill(&mut session);
        assert!(many > 300, "{many} messages do not fill it");
        drain(&mut session, many);
        println!("{many} messages filled it");
    }
    let many = fill(&mut session);
    drop((session, queue));
    let queue = open();
    let mut session = queue.session().expect("opens");
    assert_eq!(session.depth().expect("works").ready, many, "nothing is lost");
    drain(&mut session, many);
    assert!(fill(&mut session) > 100);
}

#[test]
fn a_file_system_that_is_full_is_emptied_by_acks_also_after_an_opening() {
    let temp = tempfile::tempdir().expect("a directory");
    let mount = format!("mount -t tmpfs -o size=8m tmpfs '{}' && exec \"$0\" \"$@\"", temp.path().display());
    let child = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", &mount])
        .arg(std::env::current_exe().expect("is a file"))
        .args(["--exact", "file::tests::full::one_on_a_small_file_system", "--nocapture"])
        .env(DIRECTORY, temp.path())
        .output();
    let said = child.as_ref().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    match (&child, said) {
        (Ok(output), Ok(said)) if said.contains(MOUNTED) => {
            println!("{said}");
            assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        }
        // Elsewhere the simulated disk has to do.
        _ => println!("not run, for nothing could be mounted: {child:?}"),
    }
}
