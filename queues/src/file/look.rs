//! A directory that is only looked at: it is neither locked nor changed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::real::LOCK;
#[cfg(target_os = "linux")]
use super::real::data_from;
use super::storage::{Block, Storage, StorageFile};

/// A directory of real files to look at. Its owner, if there is one, goes on meanwhile.
#[derive(Clone, Debug)]
pub(super) struct LookDir {
    path: PathBuf,
}

#[derive(Debug)]
pub(super) struct LookFile(File);

impl LookDir {
    pub(super) fn new(path: &Path) -> LookDir {
        LookDir { path: path.to_owned() }
    }
}

impl LookDir {
    /// Whether somebody has it open. (It is locked for an instant, so ask this of a directory that does not open anyway.)
    pub(super) fn is_in_use(&self) -> bool {
        let Ok(lock) = File::open(self.path.join(LOCK)) else { return false };
        matches!(flock(&lock, FlockOperation::NonBlockingLockShared), Err(Errno::WOULDBLOCK))
    }
}

fn only_looked_at<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "this directory is only looked at"))
}

impl Storage for LookDir {
    type File = LookFile;

    fn create(&self, _: &str) -> io::Result<LookFile> {
        only_looked_at()
    }

    fn open(&self, name: &str) -> io::Result<LookFile> {
        File::open(self.path.join(name)).map(LookFile)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is not text is not one of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        only_looked_at()
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        only_looked_at()
    }

    fn locate(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        only_looked_at()
    }
}

impl StorageFile for LookFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(into, offset)
    }

    #[cfg(target_os = "linux")]
    fn data_from(&self, offset: u64) -> io::Result<Option<u64>> {
        data_from(&self.0, offset)
    }

    fn ready(&self) -> io::Result<Block> {
        only_looked_at()
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        only_looked_at()
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        only_looked_at()
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        only_looked_at()
    }

    fn sync(&self) -> io::Result<()> {
        only_looked_at()
    }
}
