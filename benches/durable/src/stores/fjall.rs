//! fjall: a log-structured tree with a journal in front. It syncs only if it is asked to.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::Failure;
use crate::store::{Change, Table};

/// One atomic batch for each commit, with the journal synced.
pub struct Fjall(Tree);

/// The same as it is by default: the end of the journal stays in a buffer of its own, and the rest with the operating
/// system. So it does not even survive the kill of its process.
pub struct FjallUnsynced(Tree);

struct Tree {
    database: Database,
    messages: Keyspace,
}

impl Tree {
    fn open(directory: &Path) -> Result<Tree, Failure> {
        let database = Database::builder(directory.join("fjall")).open()?;
        let messages = database.keyspace("messages", KeyspaceCreateOptions::default)?;
        Ok(Tree { database, messages })
    }

    fn commit(&self, changes: &[Change], durability: Option<PersistMode>) -> Result<(), Failure> {
        let mut batch = self.database.batch().durability(durability);
        for change in changes {
            // Big-endian, so that their order is that of the keys.
            match change {
                Change::Put(key, body) => batch.insert(&self.messages, key.to_be_bytes(), &**body),
                Change::Delete(key) => batch.remove(&self.messages, key.to_be_bytes()),
            }
        }
        Ok(batch.commit()?)
    }

    fn rows(&self, visit: &mut dyn FnMut(u64, &[u8])) -> Result<(), Failure> {
        for row in self.messages.iter() {
            let (key, body) = row.into_inner()?;
            visit(u64::from_be_bytes((*key).try_into()?), &body);
        }
        Ok(())
    }
}

impl Table for Fjall {
    fn open(directory: &Path) -> Result<Fjall, Failure> {
        Ok(Fjall(Tree::open(directory)?))
    }

    fn commit(&self, changes: &[Change]) -> Result<(), Failure> {
        self.0.commit(changes, Some(PersistMode::SyncData))
    }

    fn rows(&self, visit: &mut dyn FnMut(u64, &[u8])) -> Result<(), Failure> {
        self.0.rows(visit)
    }
}

impl Table for FjallUnsynced {
    fn open(directory: &Path) -> Result<FjallUnsynced, Failure> {
        Ok(FjallUnsynced(Tree::open(directory)?))
    }

    fn commit(&self, changes: &[Change]) -> Result<(), Failure> {
        self.0.commit(changes, None)
    }

    fn rows(&self, visit: &mut dyn FnMut(u64, &[u8])) -> Result<(), Failure> {
        self.0.rows(visit)
    }
}
