//! How long a store that was killed takes until everything pending is known again, against how much that is: with
//! its files in the cache of the system (warm) and without (cold).

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Advice, fadvise};

use crate::Failure;
use crate::bounds::Bound;
use crate::child::{self, Opened, Task};
use crate::contest::BODIES;
use crate::entrants::{Entrant, Role};

/// So many openings of each kind; the median counts.
const TRIES: usize = 3;
/// How many messages are pending.
const BACKLOGS: [u64; 3] = [10_000, 100_000, LARGEST];
const LARGEST: u64 = 1_000_000;

/// One store with one backlog.
#[derive(Clone, Copy)]
pub struct Case {
    /// Who.
    pub entrant: Entrant,
    /// How many messages are pending.
    pub backlog: u64,
    /// Of how many bytes.
    pub body: usize,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recovered {
    /// With everything in the cache of the system.
    pub warm: Duration,
    /// With nothing in it, and how much was then read from the disk, if the system says.
    pub cold: Opened,
}

/// All of them: the file queue, and peers whose form without group commit stands for both. The largest backlog is for
/// the file queue alone: it takes the others longest to fill.
pub fn all(entrants: &[Entrant]) -> Vec<Case> {
    let takes_part = |entrant: &&Entrant| match entrant.role {
        Role::Ours => true,
        Role::Peer => !entrant.name.ends_with("+gc"),
        Role::Tickets | Role::Clock | Role::Log | Role::Unsynced => false,
    };
    let of = |entrant: Entrant| {
        let backlogs = move |body| {
            let most = if entrant.role == Role::Ours { BACKLOGS.len() } else { BACKLOGS.len() - 1 };
            BACKLOGS[..most].iter().map(move |backlog| Case { entrant, backlog: *backlog, body })
        };
        BODIES.into_iter().flat_map(backlogs)
    };
    entrants.iter().filter(takes_part).copied().flat_map(of).collect()
}

impl Case {
    /// As in Criterion: `group/queue/parameters`.
    pub fn id(&self) -> String {
        format!("recovery/{}/{}B-{}", self.entrant.name, self.body, self.backlog)
    }

    /// Fills a store in a process that dies without an end, and opens it in others that do too.
    ///
    /// # Errors
    /// A child could not do its task, files could not be dropped from the cache, or what was confirmed is not there.
    pub fn run(&self) -> Result<Recovered, Failure> {
        let scratch = crate::scratch()?;
        let directory = scratch.path();
        let fill = Task::Fill { messages: self.backlog, body: self.body };
        child::done(child::command(fill, self.entrant.name, directory)?.spawn()?)?;
        let mut warm = Vec::with_capacity(TRIES);
        let mut cold = Vec::with_capacity(TRIES);
        // The first opening is like every other: those after it find what a killed process left behind too.
        for _ in 0..TRIES {
            warm.push(self.open(directory)?);
        }
        for _ in 0..TRIES {
            forget(directory)?;
            cold.push(self.open(directory)?);
        }
        self.entrant.audit(self.backlog, directory)?;
        warm.sort_by_key(|opened| opened.took);
        cold.sort_by_key(|opened| opened.took);
        Ok(Recovered { warm: warm[TRIES / 2].took, cold: cold[TRIES / 2] })
    }

    /// What of that is to be at most so much.
    pub fn bounds(&self, recovered: &Recovered) -> Vec<Bound> {
        if self.entrant.role != Role::Ours || self.backlog < LARGEST || self.body != 1024 {
            return Vec::new();
        }
        let ms = |time: Duration| Ok(time.as_secs_f64() * 1e3);
        vec![
            Bound { what: "ms warm", most: 150.0, found: ms(recovered.warm) },
            Bound { what: "ms cold", most: 300.0, found: ms(recovered.cold.took) },
        ]
    }

    fn open(&self, directory: &Path) -> Result<Opened, Failure> {
        let child = child::command(Task::Open, self.entrant.name, directory)?.spawn()?;
        Opened::parse(&child::done(child)?)
    }
}

/// Writes everything below this directory to the disk and asks the system to drop it from its cache. That needs no
/// privilege, and concerns nobody else.
fn forget(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            forget(&path)?;
        } else {
            let file = File::open(&path)?;
            file.sync_all()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entrants;

    #[test]
    fn backlogs_are_those_of_stores_that_can_be_opened_again() {
        let cases = all(&entrants::all());
        let of = |name: &str| cases.iter().filter(|case| case.entrant.name == name).count();
        assert_eq!((of("file"), of("sqlite"), of("sqlite+gc"), of("raw_append")), (6, 4, 0, 0));
        assert!(cases.iter().any(|case| case.id() == "recovery/file/1024B-1000000"));
    }

    #[test]
    fn only_the_largest_backlog_of_the_file_queue_has_bounds() {
        let cases = all(&entrants::all());
        let ms = Duration::from_millis;
        let judged = |warm, cold| {
            let cold = Opened { took: ms(cold), read: None };
            let recovered = Recovered { warm: ms(warm), cold };
            let of = |case: &Case| {
                case.bounds(&recovered)
                    .iter()
                    .map(move |bound| (case.id(), bound.verdict()))
                    .collect::<Vec<_>>()
            };
            cases.iter().flat_map(of).collect::<Vec<_>>()
        };
        let id = || "recovery/file/1024B-1000000".to_owned();
        assert_eq!(judged(150, 300), [(id(), "reached"), (id(), "reached")]);
        assert_eq!(judged(151, 301), [(id(), "MISSED"), (id(), "MISSED")]);
    }
}
