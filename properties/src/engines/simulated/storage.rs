//! A storage that calls are interrupted in front of, and that fails when the plan says so.

use std::io;
use std::path::PathBuf;

use stanchion_queues::file::storage::{Storage, StorageFile};
use stanchion_queues::sync::before_storage;

/// A storage, or a file of it, in front of each change of which others may go first. To be put between a broker and the
/// storage of its [`Host`](stanchion_queues::Host). Outside of a simulation it is the storage that it is made of.
#[derive(Clone, Debug)]
pub struct Interrupted<S>(pub S);

impl<S: Storage> Storage for Interrupted<S> {
    type File = Interrupted<S::File>;

    fn create(&self, name: &str) -> io::Result<Self::File> {
        before_storage()?;
        self.0.create(name).map(Interrupted)
    }

    fn open(&self, name: &str) -> io::Result<Self::File> {
        self.0.open(name).map(Interrupted)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        before_storage()?;
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        before_storage()?;
        self.0.remove(name)
    }

    fn locate(&self, name: &str) -> PathBuf {
        self.0.locate(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        before_storage()?;
        self.0.sync_dir()
    }
}

impl<F: StorageFile> StorageFile for Interrupted<F> {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(into, offset)
    }

    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<()> {
        before_storage()?;
        self.0.write_at(from, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        before_storage()?;
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        before_storage()?;
        self.0.sync()
    }
}
