//! SQLite, which everybody has: write-ahead log, synchronous FULL.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;

use crate::Failure;
use crate::store::{Change, Table};

/// A table with a row for each body, one transaction for each commit. One connection for all threads: it has one
/// writer at a time anyway, and those of other connections would poll for their turn.
#[derive(Debug)]
pub struct Sqlite(Mutex<Connection>);

impl Table for Sqlite {
    fn open(directory: &Path) -> Result<Sqlite, Failure> {
        let connection = Connection::open(directory.join("sqlite"))?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.execute_batch(
            "create table if not exists messages (id integer primary key, body blob not null) strict",
        )?;
        Ok(Sqlite(Mutex::new(connection)))
    }

    fn commit(&self, changes: &[Change]) -> Result<(), Failure> {
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached("insert into messages (id, body) values (?, ?)")?;
            let mut delete = transaction.prepare_cached("delete from messages where id = ?")?;
            for change in changes {
                let changed = match change {
                    Change::Put(key, body) => insert.execute((i64::try_from(*key)?, &**body))?,
                    Change::Delete(key) => delete.execute([i64::try_from(*key)?])?,
                };
                if changed != 1 {
                    return Err(format!("{changed} rows changed instead of one").into());
                }
            }
        }
        Ok(transaction.commit()?)
    }

    fn rows(&self, visit: &mut dyn FnMut(u64, &[u8])) -> Result<(), Failure> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut select = connection.prepare("select id, body from messages order by id")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let key: i64 = row.get(0)?;
            visit(u64::try_from(key)?, row.get_ref(1)?.as_blob()?);
        }
        Ok(())
    }
}
