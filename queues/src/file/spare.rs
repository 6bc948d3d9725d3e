//! A file that is ready to become the next segment: as long as a segment, with space for all of it, so that a commit into
//! it does not find the disk full. Besides, every byte of it may have been durably written: then a commit changes no
//! allocation either, which on many file systems costs a small commit a second flush. For large ones the zeroes cost more,
//! and whoever waits for a spare does not wait for many of them: they are written later, while nobody does.

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
    /// How long it is.
    pub(super) len: u64,
    /// How much of it is written.
    written: u64,
    /// Its length is durable, and its space is taken.
    durable: bool,
    /// Anything may be in it.
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
        Ok(Spare { name, file, block, len: 0, written: 0, durable: true, recycled: false })
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
        Ok(Spare { name, file, block, len, written: len, durable: true, recycled: true })
    }

    /// Takes over one that another life left, and makes sure of its space: that life may have been killed before.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn adopt<S: Storage<File = F>>(storage: &S, number: u64) -> io::Result<Spare<F>> {
        let name = Name::Spare(number);
        let file = Arc::new(storage.open(&name.to_string())?);
        let (len, block) = (file.len()?, file.ready()?);
        file.allocate(len)?;
        file.sync()?;
        Ok(Spare { name, file, block, len, written: len, durable: true, recycled: true })
    }

    /// Writes it up to there, but no more than so many bytes; if that is all, it becomes durable.
    ///
    /// # Errors
    /// What the system says; it is good for nothing then.
    pub(super) fn grow(&mut self, to: u64, bytes: u64) -> io::Result<()> {
        let end = to.min(self.written.saturating_add(bytes));
        let writes = self.written < end;
        let zeroes = vec![0; end.saturating_sub(self.written).min(ZEROES) as usize];
        while self.written < end {
            let some = &zeroes[..(end - self.written).min(ZEROES) as usize];
            self.durable &= self.written + some.len() as u64 <= self.len;
            self.file.write_at(some, self.written)?;
            self.written += some.len() as u64;
            self.len = self.len.max(self.written);
        }
        if self.written >= to && (writes || !self.durable) { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()?;
        self.durable = true;
        Ok(())
    }

    /// Makes it so long at once, without writing it.
    ///
    /// # Errors
    /// What the system says; it is good for nothing then.
    pub(super) fn allocate(&mut self, to: u64) -> io::Result<()> {
        if self.len < to {
            self.durable = false;
            self.file.allocate(to)?;
            self.len = to;
        }
        if self.durable { Ok(()) } else { self.sync() }
    }

    /// Gives back its space but for so much, which had been made durable.
    ///
    /// # Errors
    /// What the system says; it is good for nothing then.
    pub(super) fn shrink(&mut self, to: u64) -> io::Result<()> {
        self.file.set_len(to)?;
        (self.len, self.written, self.durable) = (to, self.written.min(to), true);
        Ok(())
    }

    pub(super) fn is_ready(&self, len: u64) -> bool {
        self.durable && self.len >= len
    }

    /// Whether all of it is written.
    pub(super) fn is_written(&self) -> bool {
        self.written >= self.len
    }
}
