//! Whether a store syncs at all: its calls of the system are counted from outside, by strace, in a process of its
//! own. A library that says "durable" and makes no such call leaves the data to the operating system.

use std::collections::HashSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

use crate::Failure;
use crate::bounds::Bound;
use crate::child::{self, Task};
use crate::entrants::{Entrant, Role};

/// So many sends in the shorter and in the longer life; opening and closing costs the same in both.
const SENDS: [u64; 2] = [50, 250];

/// What was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Calls that return when what was written is durable.
    pub syncs: u64,
    /// `sync_file_range`, which does not flush the cache of the disk: no sync.
    pub ranges: u64,
}

/// How many calls one send makes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PerSend {
    /// See [`Calls::syncs`].
    pub syncs: f64,
    /// See [`Calls::ranges`].
    pub ranges: f64,
}

impl PerSend {
    /// Whether a confirmed send can have survived the power.
    pub fn is_durable(&self) -> bool {
        self.syncs >= 1.0
    }

    /// What that is to be at most: a flush for each commit, and now and then one to prepare a segment.
    pub fn bound(&self) -> Bound {
        Bound { what: "flushes of a lone send, as the system sees them", most: 1.1, found: Ok(self.syncs) }
    }
}

/// Whether strace is there and may look.
///
/// # Errors
/// Why not, and what would help.
pub fn can_look() -> Result<(), Failure> {
    let mut command = Command::new("strace");
    command.args(["-o", "/dev/null", "true"]).stdin(Stdio::null());
    let output = command.output().map_err(|error| format!("strace does not start ({error}): install it"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("strace may not look: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}

/// Counts the calls of single sends by one producer.
///
/// # Errors
/// See [`can_look`]; or the store failed.
pub fn count(entrant: &Entrant) -> Result<PerSend, Failure> {
    let [fewer, more] = SENDS;
    let (before, after) = (life(entrant, fewer)?, life(entrant, more)?);
    let per_send = |of: fn(&Calls) -> u64| (of(&after) as f64 - of(&before) as f64) / (more - fewer) as f64;
    Ok(PerSend { syncs: per_send(|calls| calls.syncs), ranges: per_send(|calls| calls.ranges) })
}

/// Whoever is said to sync must do so, and who is said not to must be found out.
///
/// # Errors
/// It is otherwise; or see [`count`].
pub fn check(entrant: &Entrant) -> Result<(), Failure> {
    let counted = count(entrant)?;
    if counted.is_durable() == (entrant.role == Role::Unsynced) {
        return Err(format!("{counted:?} was not expected of a store that is {:?}", entrant.role).into());
    }
    Ok(())
}

fn life(entrant: &Entrant, messages: u64) -> Result<Calls, Failure> {
    let directory = crate::scratch()?;
    let store = directory.path().join("store");
    fs::create_dir(&store)?;
    let trace = directory.path().join("trace");
    let mut command = traced(&trace)?;
    child::prepare(&mut command, Task::Send { messages }, entrant.name, &store);
    child::done(command.spawn()?)?;
    Ok(calls(&fs::read_to_string(&trace)?))
}

/// This program under strace. Which file a number stands for is in every line; bytes are left out.
fn traced(trace: &Path) -> Result<Command, Failure> {
    let mut command = Command::new("strace");
    let syncing = "fsync,fdatasync,msync,sync,syncfs,sync_file_range";
    let writing = "write,pwrite64,writev,pwritev,pwritev2";
    command.args(["-f", "-y", "-s", "0", "-e", &format!("trace={syncing},{writing},open,openat"), "-o"]);
    command.arg(trace).arg("--").arg(env::current_exe()?);
    Ok(command)
}

/// From the lines of a trace: `PID NAME(ARGUMENTS...`. A call that another thread interrupts has two lines, of which
/// only the first counts.
fn calls(trace: &str) -> Calls {
    let mut calls = Calls::default();
    // Handles of which every write is a sync. (Names do not tell: a file may be renamed while it is open.)
    let mut synchronous = HashSet::new();
    for line in trace.lines() {
        let call = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
        let Some((name, arguments)) = call.split_once('(') else { continue };
        match name {
            "fsync" | "fdatasync" | "sync" | "syncfs" => calls.syncs += 1,
            "msync" if arguments.contains("MS_SYNC") => calls.syncs += 1,
            "sync_file_range" => calls.ranges += 1,
            "open" | "openat" => {
                let handle = arguments.rsplit_once("= ").map_or("", |(_, result)| number(result));
                if arguments.contains("O_DSYNC") || arguments.contains("O_SYNC") {
                    synchronous.insert(handle);
                } else {
                    synchronous.remove(handle);
                }
            }
            "pwritev2" if arguments.contains("RWF_DSYNC") || arguments.contains("RWF_SYNC") => {
                calls.syncs += 1
            }
            "write" | "pwrite64" | "writev" | "pwritev" | "pwritev2" => {
                calls.syncs += u64::from(synchronous.contains(number(arguments)));
            }
            _ => {}
        }
    }
    calls
}

/// The digits at the beginning.
fn number(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_sync_is_counted_and_what_is_none_is_not() {
        let trace = r#"12 openat(AT_FDCWD</>, "/d/log", O_RDWR|O_CREAT|O_DSYNC|O_DIRECT, 0666) = 5</d/log>
12 openat(AT_FDCWD</>, "/d/other", O_RDWR|O_CREAT, 0666) = 6</d/other>
12 pwrite64(5</d/renamed>, ""..., 512, 0) = 512
13 pwrite64(6</d/other>, ""..., 512, 0 <unfinished ...>
12 fdatasync(6</d/other> <unfinished ...>
13 <... pwrite64 resumed>) = 512
12 <... fdatasync resumed>) = 0
12 fsync(7</d>) = 0
12 msync(0x7f, 4096, MS_ASYNC) = 0
12 msync(0x7f, 4096, MS_SYNC) = 0
12 pwritev2(6</d/other>, [{iov_base=""..., iov_len=5}], 1, 0, RWF_DSYNC) = 5
12 pwritev2(6</d/other>, [{iov_base=""..., iov_len=5}], 1, 0, 0) = 5
12 sync_file_range(6</d/other>, 0, 4096, SYNC_FILE_RANGE_WRITE) = 0
12 write(1<pipe:[3]>, ""..., 5) = 5
12 +++ exited with 0 +++
"#;
        assert_eq!(calls(trace), Calls { syncs: 5, ranges: 1 });
    }

    #[test]
    fn a_send_without_a_sync_is_not_durable() {
        assert!(PerSend { syncs: 1.0, ranges: 0.0 }.is_durable());
        assert!(!PerSend { syncs: 0.99, ranges: 1.0 }.is_durable());
        let verdict = |syncs| PerSend { syncs, ranges: 0.0 }.bound().verdict();
        assert_eq!([1.05, 1.2].map(verdict), ["reached", "MISSED"]);
    }
}
