//! redb: a copy-on-write B-tree in one file, durable by default.

use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::Failure;
use crate::store::{Change, Table};

const MESSAGES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("messages");

/// A table with a row for each body, one transaction of its own (durable at once) for each commit.
#[derive(Debug)]
pub struct Redb(Database);

impl Table for Redb {
    fn open(directory: &Path) -> Result<Redb, Failure> {
        let database = Database::create(directory.join("redb"))?;
        let transaction = database.begin_write()?;
        transaction.open_table(MESSAGES)?;
        transaction.commit()?;
        Ok(Redb(database))
    }

    fn commit(&self, changes: &[Change]) -> Result<(), Failure> {
        let transaction = self.0.begin_write()?;
        {
            let mut messages = transaction.open_table(MESSAGES)?;
            for change in changes {
                match change {
                    Change::Put(key, body) => drop(messages.insert(key, &**body)?),
                    Change::Delete(key) => drop(messages.remove(key)?),
                }
            }
        }
        Ok(transaction.commit()?)
    }

    fn rows(&self, visit: &mut dyn FnMut(u64, &[u8])) -> Result<(), Failure> {
        let transaction = self.0.begin_read()?;
        for row in transaction.open_table(MESSAGES)?.iter()? {
            let (key, body) = row?;
            visit(key.value(), body.value());
        }
        Ok(())
    }
}
