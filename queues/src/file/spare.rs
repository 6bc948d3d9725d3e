//! A file that is ready to become the next segment: as long as a segment, with space for all of it, so that a commit into
//! it does not find the disk full. Besides, every byte of it may have been durably written: then a commit changes no
//! allocation either, which on many file systems costs a small commit a second flush. For large ones the zeroes cost more.

use std::io;
use std::sync::Arc;

use super::segment::Name;
use super::storage::{Block, Storage, StorageFile, sync_name};

/// How many zeroes are written at once.
const ZEROES: u64 = 256 << 10;

pub(super) struct Spare<F> {
    pub(super) name: Name,
    pub(super) file: Arc<F>,
    /// It is readied for commits of these.
    pub(super) block: Block,
    /// How much of it is written.
    pub(super) len: u64,
    /// All of that is durable.
    durable: bool,
    /// It was a segment before.
    pub(super) recycled: bool,
}

impl<F: StorageFile> Spare<F> {
    /// Creates an empty one.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn create<S: Storage<File = F>>(storage: &S, number: u64) -> io::Result<Spare<F>> {
        let name = Name::Spare(number);
        let created = storage.create(&name.to_string()).or_else(|error| {
            if error.kind() != io::ErrorKind::AlreadyExists {
                return Err(error);
            }
            // It could not be removed when it was of no use.
            storage.remove(&name.to_string())?;
            storage.create(&name.to_string())
        });
        let file = Arc::new(created?);
        let block = file.ready()?;
        Ok(Spare { name, file, block, len: 0, durable: true, recycled: false })
    }

    /// Makes one of a segment that is not needed any more. Its old name is durably gone before anything is written:
    /// it must never stand for what is written then.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn recycle<S: Storage<File = F>>(
        storage: &S,
        segment: u64,
        len: u64,
        number: u64,
    ) -> io::Result<Spare<F>> {
        let name = Name::Spare(number);
        storage.rename(&Name::Segment(segment).to_string(), &name.to_string())?;
        sync_name(storage, &name.to_string())?;
        let readied = || {
            let file = Arc::new(storage.open(&name.to_string())?);
            file.ready().map(|block| (file, block))
        };
        let (file, block) = readied().inspect_err(|_| {
            // If it stays, it is in nobody's way, and the next open removes it.
            let _ = storage.remove(&name.to_string());
        })?;
        Ok(Spare { name, file, block, len, durable: true, recycled: true })
    }

    /// Writes it up to there, but no more than so many bytes; if that is all, it becomes durable.
    ///
    /// # Errors
    /// What the system says; it is good for nothing then.
    pub(super) fn grow(&mut self, to: u64, bytes: u64) -> io::Result<()> {
        let end = to.min(self.len.saturating_add(bytes));
        let zeroes = vec![0; end.saturating_sub(self.len).min(ZEROES) as usize];
        while self.len < end {
            let some = &zeroes[..(end - self.len).min(ZEROES) as usize];
            self.durable = false;
            self.file.write_at(some, self.len)?;
            self.len += some.len() as u64;
        }
        if self.len >= to && !self.durable {
            self.file.sync()?;
            self.durable = true;
        }
        Ok(())
    }

    /// Makes it so long at once, without writing it.
    ///
    /// # Errors
    /// What the system says; it is good for nothing then.
    pub(super) fn allocate(&mut self, to: u64) -> io::Result<()> {
        if self.len < to {
            self.file.allocate(to)?;
            self.len = to;
            self.durable = false;
        }
        self.grow(to, 0)
    }

    pub(super) fn is_ready(&self, len: u64) -> bool {
        self.durable && self.len >= len
    }
}
