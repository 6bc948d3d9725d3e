//! The narrow seam between a durable queue and the disk. A queue above it sees no other file API, so the same
//! code runs on real files and on a simulated disk that forgets, tears and reorders what was not synced.
//!
//! Names are plain file names inside the one directory that the storage stands for.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::mistake::Mistake;

/// What a durable write is made of, so that none touches what another made durable: its place and its length are
/// multiples of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// 512 bytes.
    Sector,
    /// 4096 bytes.
    Page,
}

impl Block {
    /// Its length.
    pub fn bytes(self) -> usize {
        match self {
            Block::Sector => 512,
            Block::Page => 4096,
        }
    }
}

/// One directory of files.
pub trait Storage: Clone + fmt::Debug + Send + Sync + 'static {
    /// An open file.
    type File: StorageFile;

    /// Creates an empty file. It is durable only after [`StorageFile::sync`] *and* [`Storage::sync_dir`].
    ///
    /// # Errors
    /// `AlreadyExists`, or what the system says.
    fn create(&self, name: &str) -> io::Result<Self::File>;
    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// The names of all files, sorted.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Renames a file, replacing any other of that name. Durable only after [`Storage::sync_dir`].
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. Durable only after [`Storage::sync_dir`].
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// What to call a file in a message to a person.
    fn locate(&self, name: &str) -> PathBuf {
        PathBuf::from(name)
    }
    /// Makes creations, renames and removals durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_dir(&self) -> io::Result<()>;
    /// Whether the queue above is to make this mistake now: never, but for a simulated disk of a test.
    #[doc(hidden)]
    #[inline]
    fn makes(&self, _: Mistake) -> bool {
        false
    }
}

/// Makes a name durable that was given a moment ago; if that fails, takes it away again.
pub(super) fn sync_name<S: Storage>(storage: &S, name: &str) -> io::Result<()> {
    storage.sync_dir().inspect_err(|_| {
        // If that fails too, more is wrong than a queue can mend.
        let _ = storage.remove(name);
    })
}

/// An open file of a [`Storage`].
pub trait StorageFile: fmt::Debug + Send + Sync + 'static {
    /// How long it is, in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn len(&self) -> io::Result<u64>;
    /// Whether it is empty.
    ///
    /// # Errors
    /// What the system says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Fills `into` from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before that, or what the system says.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()>;
    /// Where from `offset` on anything may be but zeroes; `None`: there is nothing else.
    ///
    /// # Errors
    /// What the system says.
    fn data_from(&self, offset: u64) -> io::Result<Option<u64>> {
        Ok(Some(offset))
    }
    /// Writes all of `from` at `offset`, growing the file if needed. Not durable before [`StorageFile::sync`].
    ///
    /// # Errors
    /// What the system says; part of it may have been written.
    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<()>;
    /// Readies the file for [`StorageFile::write_durably`], and says of what blocks such writes are to be. What it holds may
    /// be lost.
    ///
    /// # Errors
    /// What the system says.
    fn ready(&self) -> io::Result<Block>;
    /// Writes and makes that durable. The file was synced before: nothing else may be waiting for a sync.
    ///
    /// # Errors
    /// Those of both; a second try may wrongly succeed.
    fn write_durably(&self, from: &[u8], offset: u64) -> io::Result<()> {
        self.write_at(from, offset)?;
        self.sync()
    }
    /// Cuts or grows the file (with zeroes).
    ///
    /// # Errors
    /// What the system says.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes the file so long and takes the space for it; what is new reads as zeroes.
    ///
    /// # Errors
    /// What the system says: there may be no space for that.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Makes all that was written to this file durable.
    ///
    /// # Errors
    /// What the system says. What was written before may be lost, and a second try may wrongly succeed.
    fn sync(&self) -> io::Result<()>;
}
