//! Writes past the page cache that are durable when they return.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

/// What places and lengths on the disk and in memory are multiples of.
const ALIGNMENT: usize = 512;
/// A longer write goes through the page cache: its time is that of its bytes.
const LONGEST: usize = 1 << 20;

/// A second handle of a file, for such writes alone.
#[derive(Debug)]
pub(super) struct Direct {
    file: File,
}

/// Memory of which an aligned part is written, for all files of a directory. (No simulation has real files: its turns
/// need not be decided.)
#[derive(Debug, Default)]
pub(super) struct Aligned(Mutex<Vec<u8>>);

impl Direct {
    /// `None`: the system or the file system has no such thing.
    #[cfg(target_os = "linux")]
    pub(super) fn open(path: &Path) -> Option<Direct> {
        use std::os::unix::fs::OpenOptionsExt;

        let flags = (rustix::fs::OFlags::DIRECT | rustix::fs::OFlags::DSYNC).bits();
        let file = File::options().write(true).custom_flags(i32::try_from(flags).ok()?).open(path).ok()?;
        Some(Direct { file })
    }

    /// `None`: other systems have other ways to say this.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn open(_: &Path) -> Option<Direct> {
        None
    }

    /// `None`: it has to be written in another way, and nothing was written.
    pub(super) fn write(&self, from: &[u8], offset: u64, memory: &Aligned) -> Option<io::Result<()>> {
        let aligned = from.len().is_multiple_of(ALIGNMENT) && offset.is_multiple_of(ALIGNMENT as u64);
        if !aligned || from.len() > LONGEST {
            return None;
        }
        let mut memory = memory.0.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.len() < from.len() + ALIGNMENT {
            *memory = vec![0; (from.len() + ALIGNMENT).next_power_of_two()];
        }
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        let part = memory.get_mut(start..)?.get_mut(..from.len())?;
        part.copy_from_slice(from);
        Some(self.file.write_all_at(part, offset))
    }

    /// Whether a write failed because it is not possible in this way here: then nothing was written.
    pub(super) fn is_refused(error: &io::Error) -> bool {
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        errno == Some(Errno::INVAL) || errno == Some(Errno::OPNOTSUPP)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn aligned_writes_arrive_and_others_are_left_to_others() {
        let temp = tempfile::tempdir().expect("a directory");
        let path = temp.path().join("file");
        fs::write(&path, vec![1; 4096]).expect("writes");
        let Some(direct) = Direct::open(&path) else { return };
        let memory = Aligned::default();
        assert!(direct.write(&[2; 100], 0, &memory).is_none());
        assert!(direct.write(&[2; 512], 100, &memory).is_none());
        assert!(direct.write(&vec![2; LONGEST + 512], 0, &memory).is_none());
        let mut expected = vec![1; 4096];
        for (byte, offset, len) in [(3, 512, 512), (4, 1024, 2048), (5, 0, 512)] {
            match direct.write(&vec![byte; len], offset, &memory).expect("is aligned") {
                Ok(()) => expected[offset as usize..offset as usize + len].fill(byte),
                Err(error) => assert!(Direct::is_refused(&error), "{error}"),
            }
        }
        assert_eq!(fs::read(&path).expect("reads"), expected);
    }
}
