//! What is done in a process of its own: this program again, told by an environment variable. It can be killed in
//! the middle of its life, and its calls of the system can be counted.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io};

use rustix::process::{Signal, getpid, kill_process};

use crate::Failure;
use crate::body::Maker;
use crate::entrants;
use crate::store::{Client, Store};

const TASK: &str = "STANCHION_DURABLE_TASK";
/// How many are sent in one batch to fill a store.
const FILL: u64 = 1000;

/// What a child is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Sends so many messages, a batch at a time, and dies without an end.
    Fill {
        /// How many.
        messages: u64,
        /// Of how many bytes.
        body: usize,
    },
    /// Opens the store, says how long that took, and dies without an end.
    Open,
    /// Sends so many messages one by one, and ends as it should.
    Send {
        /// How many.
        messages: u64,
    },
}

/// What a child that opened a store says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// How long it took.
    pub took: Duration,
    /// How many bytes came from the disk meanwhile. `None`: the system does not say.
    pub read: Option<u64>,
}

impl Task {
    fn words(self) -> String {
        match self {
            Task::Fill { messages, body } => format!("fill {messages} {body}"),
            Task::Open => "open".into(),
            Task::Send { messages } => format!("send {messages}"),
        }
    }

    fn parse(words: &[&str]) -> Option<Task> {
        match *words {
            ["fill", messages, body] => {
                Some(Task::Fill { messages: messages.parse().ok()?, body: body.parse().ok()? })
            }
            ["open"] => Some(Task::Open),
            ["send", messages] => Some(Task::Send { messages: messages.parse().ok()? }),
            _ => None,
        }
    }
}

/// The command that does this, by this program, for a store and a directory.
///
/// # Errors
/// This program cannot be found.
pub fn command(task: Task, name: &str, directory: &Path) -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    prepare(&mut command, task, name, directory);
    Ok(command)
}

/// The same for a command that starts this program.
pub fn prepare(command: &mut Command, task: Task, name: &str, directory: &Path) {
    command.env(TASK, format!("{name} {}", task.words())).env(DIRECTORY, directory);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
}

const DIRECTORY: &str = "STANCHION_DURABLE_DIRECTORY";

/// What the child says when its task is done; its end is no matter, as it may have been its own death.
///
/// # Errors
/// It did not start, or did not do its task: with what it said.
pub fn done(child: Child) -> Result<String, Failure> {
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match said.lines().find_map(|line| line.strip_prefix(DONE)) {
        Some(said) => Ok(said.trim().to_owned()),
        None => {
            Err(format!("a child did not do its task: {}", String::from_utf8_lossy(&output.stderr)).into())
        }
    }
}

const DONE: &str = "done:";

impl Opened {
    fn words(self) -> String {
        format!("{} {}", self.took.as_nanos(), self.read.map_or("?".into(), |bytes| bytes.to_string()))
    }

    /// From what the child said.
    ///
    /// # Errors
    /// It is not that.
    pub fn parse(said: &str) -> Result<Opened, Failure> {
        let (took, read) = said.split_once(' ').ok_or("a child said nothing of the time")?;
        Ok(Opened { took: Duration::from_nanos(took.parse()?), read: read.parse().ok() })
    }
}

/// If this process is a child: does its task. `None`: it is not.
pub fn if_asked() -> Option<Result<(), Failure>> {
    let asked = env::var(TASK).ok()?;
    let words: Vec<&str> = asked.split(' ').collect();
    let task = words.split_first().and_then(|(name, words)| Some((*name, Task::parse(words)?)));
    let Some((name, task)) = task else {
        return Some(Err(format!("{TASK} is {asked:?}: no task of a child").into()));
    };
    let directory = PathBuf::from(env::var_os(DIRECTORY).unwrap_or_default());
    Some(entrants::named(name).and_then(|entrant| entrant.task(task, &directory)))
}

/// Does the task with a store of this kind.
pub(crate) fn run<S: Store>(task: Task, directory: &Path) -> Result<(), Failure> {
    match task {
        Task::Fill { messages, body } => {
            let store = S::open(directory)?;
            let mut client = store.client()?;
            let (mut maker, mut batch) = (Maker::new(0, body), Vec::new());
            while maker.made() < messages {
                maker.fill(&mut batch, FILL.min(messages - maker.made()) as usize);
                client.send(&batch)?;
            }
            die(&messages.to_string())
        }
        Task::Open => {
            let before = read_bytes();
            let begun = Instant::now();
            let _store = S::open(directory)?;
            let took = begun.elapsed();
            let read = read_bytes().zip(before).map(|(after, before)| after - before);
            die(&Opened { took, read }.words())
        }
        Task::Send { messages } => {
            let store = S::open(directory)?;
            let mut client = store.client()?;
            let (mut maker, mut batch) = (Maker::new(0, 100), Vec::new());
            for _ in 0..messages {
                maker.fill(&mut batch, 1);
                client.send(&batch)?;
            }
            drop((client, store));
            say(&messages.to_string())?;
            Ok(())
        }
    }
}

fn say(what: &str) -> io::Result<()> {
    println!("\n{DONE} {what}");
    io::stdout().flush()
}

/// Without destructors, as if somebody had killed it.
fn die(last_words: &str) -> Result<(), Failure> {
    say(last_words)?;
    kill_process(getpid(), Signal::KILL)?;
    Ok(())
}

/// How many bytes this process has had read from a disk.
fn read_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/io").ok()?;
    text.lines().find_map(|line| line.strip_prefix("read_bytes: "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_and_answers_are_read_as_they_are_written() {
        for task in [Task::Fill { messages: 7, body: 100 }, Task::Open, Task::Send { messages: 3 }] {
            let words = task.words();
            assert_eq!(Task::parse(&words.split(' ').collect::<Vec<_>>()), Some(task));
        }
        assert_eq!(Task::parse(&["open", "it"]), None);
        assert_eq!(Task::parse(&["send", "many"]), None);
        for read in [None, Some(4096)] {
            let opened = Opened { took: Duration::from_nanos(123_456), read };
            assert_eq!(Opened::parse(&opened.words()).expect("is one"), opened);
        }
        Opened::parse("soon").expect_err("is none");
    }
}
