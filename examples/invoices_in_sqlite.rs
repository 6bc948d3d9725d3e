//! A consumer with a database of its own: invoices in SQLite. It may be killed between any two statements, overtaken by
//! another consumer in the middle of its transaction, and given the same message days later.
//!
//! `cargo run --example invoices_in_sqlite` checks one that is right and five that look right, and draws what goes wrong.
//! Copy it to check your own: implement [`Store`] for your database and [`Consumer`] for your consumer, and add them to
//! your suite with `.consumer_of("invoices", Database::empty, |database| Invoices::of(database))`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use rusqlite::Connection;
use stanchion::consumers::{Arrival, Consumer, Intent, Stop, Store, World, check};
use stanchion::properties::engines::budget::Budget;
use stanchion::properties::finding::Finding;
use stanchion::properties::history::{Observed, Token};
use tempfile::TempDir;

/// The database, with the connection through which the harness looks into it.
struct Database {
    looking: Connection,
    directory: TempDir,
}

impl Database {
    /// A new one, in a directory that goes away with it.
    fn empty() -> Database {
        let directory = tempfile::tempdir().expect("a directory for it");
        let looking = Database::open(directory.path());
        let tables = "CREATE TABLE handled (token INTEGER PRIMARY KEY);
            CREATE TABLE invoices (token INTEGER, account INTEGER, amount INTEGER);";
        looking.execute_batch(tables).expect("an empty database takes tables");
        Database { looking, directory }
    }

    fn open(directory: &Path) -> Connection {
        let connection =
            Connection::open(directory.join("invoices")).expect("a directory of ours takes a database");
        // Readers do not wait for writers, and see what is committed. Consumers are killed here and machines are not, so
        // nothing need be synced. Whoever holds a lock has stalled, and waiting for it would be in vain.
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF")
            .expect("SQLite knows these");
        connection.busy_timeout(Duration::ZERO).expect("nothing is busy yet");
        connection
    }
}

impl Store for Database {
    fn observe(&mut self) -> Vec<Observed> {
        let sql = "SELECT token, (SELECT count(*) FROM invoices WHERE invoices.token = all_tokens.token),
                token IN (SELECT token FROM handled)
            FROM (SELECT token FROM invoices UNION SELECT token FROM handled) AS all_tokens";
        let mut query = self.looking.prepare_cached(sql).expect("the tables are there");
        let row = |row: &rusqlite::Row<'_>| {
            Ok(Observed {
                token: Token(row.get::<_, i64>(0)? as u64),
                effects: row.get(1)?,
                recorded: row.get(2)?,
            })
        };
        let rows = query.query_map([], row).expect("readers do not wait for writers");
        rows.collect::<Result<_, _>>().expect("rows are as written")
    }
}

/// How a consumer goes about it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// Record and invoice in one transaction, then the ack.
    Right,
    /// Ack, then commit.
    AcksFirst,
    /// Each statement commits by itself.
    WithoutTransaction,
    /// Looks whether it was handled before the transaction, and not in it.
    LooksFirst,
    /// Acks although the database was busy.
    SwallowsErrors,
    /// The invoices are their own record, told apart by what they say.
    ByContent,
}

const WAYS: [(Way, bool, &str); 6] = [
    (Way::Right, true, "record and invoice in one transaction, then the ack"),
    (Way::AcksFirst, false, "acks, then commits"),
    (Way::WithoutTransaction, false, "each statement commits by itself"),
    (Way::LooksFirst, false, "looks for a record before the transaction, and not in it"),
    (Way::SwallowsErrors, false, "acks although the database was busy"),
    (Way::ByContent, false, "passes over invoices that say the same as one that is there"),
];

/// A consumer with a connection of its own, which is closed when it is killed: what it had not committed is gone.
struct Invoices {
    connection: Connection,
    way: Way,
}

impl Invoices {
    fn of(database: &mut Database, way: Way) -> Invoices {
        Invoices { connection: Database::open(database.directory.path()), way }
    }

    /// One statement, between which and the next the consumer may be killed.
    fn execute(&self, world: &mut World<'_, Database>, sql: &str, values: &[u64]) -> Result<usize, Stop> {
        let values = values.iter().map(|value| *value as i64);
        // Somebody else is writing: the message is given back, and comes again.
        world
            .access(|_| self.connection.execute(sql, rusqlite::params_from_iter(values)))?
            .map_err(|_| Stop::Failed)
    }

    fn invoice(&self, world: &mut World<'_, Database>, intent: Intent) -> Result<(), Stop> {
        let Intent { token, account, amount } = intent;
        let values = [token.0, account.into(), amount.into()];
        self.execute(world, "INSERT INTO invoices VALUES (?, ?, ?)", &values).map(drop)
    }

    fn work(&self, intent: Intent, world: &mut World<'_, Database>) -> Result<(), Stop> {
        let Intent { token, account, amount } = intent;
        let record = "INSERT INTO handled VALUES (?) ON CONFLICT DO NOTHING";
        if self.way == Way::WithoutTransaction {
            if self.execute(world, record, &[token.0])? == 1 {
                self.invoice(world, intent)?;
            }
            return world.ack();
        }
        let known = |world: &mut World<'_, Database>| {
            let sql = "SELECT count(*) FROM handled WHERE token = ?";
            let count = world
                .access(|_| self.connection.query_row(sql, [token.0 as i64], |row| row.get::<_, u32>(0)))?;
            count.map(|count| count > 0).map_err(|_| Stop::Failed)
        };
        if self.way == Way::LooksFirst && known(world)? {
            return world.ack();
        }
        self.execute(world, "BEGIN IMMEDIATE", &[])?;
        let new = match self.way {
            Way::ByContent => {
                let sql = "INSERT INTO handled SELECT ? WHERE NOT EXISTS
                    (SELECT 1 FROM invoices WHERE account = ? AND amount = ?)";
                self.execute(world, sql, &[token.0, account.into(), amount.into()])? == 1
            }
            Way::LooksFirst => {
                self.execute(world, record, &[token.0])?;
                true
            }
            _ => self.execute(world, record, &[token.0])? == 1,
        };
        if new {
            self.invoice(world, intent)?;
        }
        if self.way == Way::AcksFirst {
            world.ack()?;
        }
        self.execute(world, "COMMIT", &[])?;
        world.ack()
    }
}

impl Consumer<Database> for Invoices {
    fn handle(&mut self, arrival: &Arrival, world: &mut World<'_, Database>) -> Result<(), Stop> {
        let done = self.work(arrival.intent, world);
        if done == Err(Stop::Failed) {
            // What was begun must not be there when the next message comes.
            let _ = self.connection.execute("ROLLBACK", []);
            if self.way == Way::SwallowsErrors {
                return world.ack();
            }
        }
        done
    }
}

fn findings(way: Way) -> Vec<Finding> {
    let name = format!("{way:?}");
    // Each with a database of its own.
    let budget = Budget { cases: 300, ..Budget::quick() };
    check(&name, &Database::empty, &|database| Box::new(Invoices::of(database, way)), &budget)
}

fn main() -> ExitCode {
    let mut surprises = 0;
    for (way, right, what) in WAYS {
        let findings = findings(way);
        let broken: Vec<&Finding> = findings.iter().filter(|finding| finding.verdict.is_broken()).collect();
        println!("{way:?}: {what}");
        match broken.iter().find_map(|finding| finding.failure.as_ref()) {
            None => println!("  every intent once, in {} runs\n", findings[0].cases),
            Some(failure) => println!("{}\n", failure.picture),
        }
        surprises += usize::from(broken.is_empty() != right);
    }
    if surprises == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_one_is_right_and_each_mistake_is_found() {
        for (way, right, _) in WAYS {
            let findings = findings(way);
            let broken: Vec<_> = findings.iter().filter(|finding| finding.verdict.is_broken()).collect();
            assert_eq!(broken.is_empty(), right, "{way:?}: {broken:#?}");
        }
    }
}
