//! okaywal: a bare write-ahead log that shares syncs. It keeps nothing but the log, so it cannot forget either.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use okaywal::{Configuration, Entry, EntryId, LogManager, SegmentReader, WriteAheadLog};

use crate::Failure;
use crate::store::{Change, Table};

/// One entry for each commit, a chunk for each body.
#[derive(Debug)]
pub struct OkayWal {
    log: WriteAheadLog,
    /// What was there when it was opened.
    found: Arc<Mutex<Vec<Vec<u8>>>>,
}

#[derive(Debug)]
struct Finder(Arc<Mutex<Vec<Vec<u8>>>>);

impl LogManager for Finder {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        // `None`: it was not finished, so nobody was told that it is stored.
        if let Some(chunks) = entry.read_all_chunks()? {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(chunks);
        }
        Ok(())
    }

    fn checkpoint_to(&mut self, _: EntryId, _: &mut SegmentReader, _: &WriteAheadLog) -> io::Result<()> {
        Err(io::Error::other("nobody asked for a checkpoint"))
    }
}

impl Table for OkayWal {
    fn open(directory: &Path) -> Result<OkayWal, Failure> {
        let found = Arc::default();
        // A checkpoint would hand the entries over and drop them from the log; here they are to stay.
        let log = Configuration::default_for(directory.join("okaywal"))
            .preallocate_bytes(64 << 20)
            .checkpoint_after_bytes(u64::MAX)
            .open(Finder(Arc::clone(&found)))?;
        Ok(OkayWal { log, found })
    }

    fn commit(&self, changes: &[Change]) -> Result<(), Failure> {
        let mut entry = self.log.begin_entry()?;
        for change in changes {
            let Change::Put(_, body) = change else {
                return Err("a bare log cannot remove what it holds".into());
            };
            entry.write_chunk(body)?;
        }
        entry.commit()?;
        Ok(())
    }

    fn rows(&self, visit: &mut dyn FnMut(u64, &[u8])) -> Result<(), Failure> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        (0..).zip(&*found).for_each(|(key, body)| visit(key, body));
        Ok(())
    }
}

impl Drop for OkayWal {
    fn drop(&mut self) {
        // Joins its thread. If that fails, what is stored says so.
        let _ = self.log.clone().shutdown();
    }
}
