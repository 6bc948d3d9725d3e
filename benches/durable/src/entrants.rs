//! Who takes part, under which name, and what a comparison with it is worth.

use std::path::Path;

use crate::Failure;
use crate::child;
use crate::grouped::Grouped;
use crate::load::{self, Load, Trial};
use crate::store::Store;
use crate::stores::{Queue, RawAppend, Sqlite};
use crate::tabled::Tabled;

/// What a comparison with it is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The file queue.
    Ours,
    /// The same, by tickets of one thread: shown.
    Tickets,
    /// One producer on a raw append, whatever the others do: how long a sync takes.
    Clock,
    /// It keeps messages, and can remove them, at the same durability: ranked.
    Peer,
    /// A log, and no more: shown, and not ranked.
    Log,
    /// It does not sync, so its rates are those of something else: listed, and not compared.
    Unsynced,
}

/// One who takes part.
#[derive(Clone, Copy)]
pub struct Entrant {
    /// The name in ids and tables.
    pub name: &'static str,
    /// What a comparison with it is worth.
    pub role: Role,
    run: fn(&Load, &Path) -> Result<Trial, Failure>,
    task: fn(child::Task, &Path) -> Result<(), Failure>,
    audit: fn(u64, &Path) -> Result<(), Failure>,
}

/// The name of the file queue.
pub const OURS: &str = "file";
/// The name of the raw append.
pub const CLOCK: &str = "raw_append";

impl Entrant {
    /// Any store.
    pub fn of<S: Store>(name: &'static str, role: Role) -> Entrant {
        let audit = |sent, directory: &Path| load::audit::<S>(vec![sent], [], directory);
        Entrant { name, role, run: load::run::<S>, task: child::run::<S>, audit }
    }

    /// Runs the load in an empty directory; the clock has one producer in any case.
    ///
    /// # Errors
    /// See [`load::run`].
    pub fn trial(&self, load: &Load) -> Result<Trial, Failure> {
        let producers = if self.role == Role::Clock { 1 } else { load.producers };
        let directory = crate::scratch()?;
        (self.run)(&Load { producers, ..*load }, directory.path())
    }

    /// Does what a child process is asked for.
    ///
    /// # Errors
    /// What the store says.
    pub fn task(&self, task: child::Task, directory: &Path) -> Result<(), Failure> {
        (self.task)(task, directory)
    }

    /// Looks for everything that one producer sent to a store.
    ///
    /// # Errors
    /// See [`load::audit`].
    pub fn audit(&self, sent: u64, directory: &Path) -> Result<(), Failure> {
        (self.audit)(sent, directory)
    }
}

/// One thread with as many tickets as there are producers.
pub fn tickets() -> Entrant {
    Entrant { run: crate::tickets::run, ..Entrant::of::<Queue>("file+tickets", Role::Tickets) }
}

/// Everyone who comes with one call after another.
pub fn all() -> Vec<Entrant> {
    let always = [
        Entrant::of::<Queue>(OURS, Role::Ours),
        Entrant::of::<Tabled<RawAppend>>(CLOCK, Role::Clock),
        Entrant::of::<Tabled<Sqlite>>("sqlite", Role::Peer),
        Entrant::of::<Tabled<Grouped<Sqlite>>>("sqlite+gc", Role::Peer),
    ];
    always.into_iter().chain(others()).collect()
}

#[cfg(feature = "durable-peers")]
fn others() -> impl IntoIterator<Item = Entrant> {
    use crate::stores::{Fjall, FjallUnsynced, OkayWal, Redb};

    [
        Entrant::of::<Tabled<Redb>>("redb", Role::Peer),
        Entrant::of::<Tabled<Grouped<Redb>>>("redb+gc", Role::Peer),
        Entrant::of::<Tabled<Fjall>>("fjall", Role::Peer),
        Entrant::of::<Tabled<Grouped<Fjall>>>("fjall+gc", Role::Peer),
        Entrant::of::<Tabled<OkayWal>>("okaywal", Role::Log),
        Entrant::of::<Tabled<FjallUnsynced>>("fjall_default", Role::Unsynced),
    ]
}

#[cfg(not(feature = "durable-peers"))]
fn others() -> impl IntoIterator<Item = Entrant> {
    []
}

/// The entrant of this name.
///
/// # Errors
/// There is none.
pub fn named(name: &str) -> Result<Entrant, Failure> {
    let all = all();
    let names = || all.iter().map(|entrant| entrant.name).collect::<Vec<_>>().join(", ");
    all.iter()
        .find(|entrant| entrant.name == name)
        .copied()
        .ok_or_else(|| format!("nobody is called {name:?}: there are {}", names()).into())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::audit::Faults;
    use crate::load::{READY, Until};
    use crate::store::{Change, Table};

    const LOAD: Load = Load { producers: 3, consumers: 0, batch: 1, body: 100, until: Until::Sends(5) };

    #[test]
    fn everyone_stores_is_opened_again_and_holds_what_it_confirmed() {
        for entrant in all() {
            let producers = if entrant.role == Role::Clock { 1 } else { 3 };
            for (batch, body) in [(1, 100), (4, 1024)] {
                let trial = entrant.trial(&Load { batch, body, ..LOAD });
                let trial = trial.unwrap_or_else(|failure| panic!("{}: {failure}", entrant.name));
                assert_eq!(trial.confirmed, producers * 5 * batch as u64, "{}", entrant.name);
                assert!(trial.p50 <= trial.p99 && trial.p99 <= trial.elapsed, "{trial:?}");
            }
        }
    }

    #[test]
    fn everyone_that_is_no_log_removes_what_was_consumed() {
        for entrant in all() {
            let trial = entrant.trial(&Load { consumers: 2, ..LOAD });
            let is_log = matches!(entrant.role, Role::Clock | Role::Log);
            match trial {
                Ok(trial) => {
                    assert_eq!(
                        (is_log, trial.confirmed),
                        (false, 2 * 15 + 2 * READY as u64),
                        "{}",
                        entrant.name
                    );
                }
                Err(failure) => {
                    assert!(
                        is_log && failure.to_string().contains("cannot remove"),
                        "{}: {failure}",
                        entrant.name
                    );
                }
            }
        }
    }

    #[test]
    fn one_thread_with_tickets_sends_as_much_as_the_producers() {
        for (batch, body) in [(1, 100), (4, 1024)] {
            let trial = tickets().trial(&Load { batch, body, ..LOAD }).expect("works");
            assert_eq!(trial.confirmed, 3 * 5 * batch as u64);
            assert!(trial.p50 <= trial.p99 && trial.p99 <= trial.elapsed, "{trial:?}");
        }
        assert!(tickets().trial(&Load { consumers: 1, ..LOAD }).is_err());
    }

    #[test]
    fn names_are_names() {
        assert_eq!(named("sqlite").expect("is there").role, Role::Peer);
        let unknown = named("nobody").err().expect("is not there").to_string();
        assert!(unknown.contains("nobody") && unknown.contains("sqlite+gc"), "{unknown}");
    }

    /// SQLite, wrong on purpose: the `NTH` change is confirmed, and not made.
    struct Forgetful<const NTH: u64>(Sqlite, AtomicU64);

    impl<const NTH: u64> Table for Forgetful<NTH> {
        fn open(directory: &Path) -> Result<Self, Failure> {
            Ok(Forgetful(Sqlite::open(directory)?, AtomicU64::new(0)))
        }

        fn commit(&self, changes: &[Change]) -> Result<(), Failure> {
            let kept = |_: &&Change| self.1.fetch_add(1, Ordering::Relaxed) != NTH;
            self.0.commit(&changes.iter().filter(kept).cloned().collect::<Vec<_>>())
        }

        fn rows(&self, visit: &mut dyn FnMut(u64, &[u8])) -> Result<(), Failure> {
            self.0.rows(visit)
        }
    }

    fn faults(entrant: &Entrant, load: &Load) -> Faults {
        let failure = entrant.trial(load).expect_err("it is wrong");
        *failure.downcast_ref::<Faults>().unwrap_or_else(|| panic!("{failure}"))
    }

    #[test]
    fn whoever_loses_one_confirmed_message_gets_no_number() {
        let lossy = Entrant::of::<Tabled<Forgetful<9>>>("lossy", Role::Peer);
        assert_eq!(faults(&lossy, &LOAD), Faults { lost: 1, ..Faults::default() });
        let grouped = Entrant::of::<Tabled<Grouped<Forgetful<9>>>>("lossy", Role::Peer);
        assert_eq!(faults(&grouped, &LOAD), Faults { lost: 1, ..Faults::default() });
    }

    /// SQLite, wrong on purpose: what is removed is there again when it is opened the next time.
    struct Undead(Sqlite);

    impl Table for Undead {
        fn open(directory: &Path) -> Result<Self, Failure> {
            Ok(Undead(Sqlite::open(directory)?))
        }

        fn commit(&self, changes: &[Change]) -> Result<(), Failure> {
            let puts = changes.iter().filter(|change| matches!(change, Change::Put(..)));
            self.0.commit(&puts.cloned().collect::<Vec<_>>())
        }

        fn rows(&self, visit: &mut dyn FnMut(u64, &[u8])) -> Result<(), Failure> {
            self.0.rows(visit)
        }
    }

    #[test]
    fn whoever_keeps_a_removed_message_gets_no_number() {
        let undead = Entrant::of::<Tabled<Undead>>("undead", Role::Peer);
        let faults = faults(&undead, &Load { consumers: 1, ..LOAD });
        assert_eq!(faults, Faults { back: 15 + READY as u64, ..Faults::default() });
    }
}
