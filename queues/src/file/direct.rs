//! Writes past the page cache that are durable when they return.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

use super::storage::Block;

/// What places in memory are multiples of.
const ALIGNMENT: usize = 4096;
/// A longer write is made in pieces of so many bytes, and synced at the end.
const PIECE: usize = 1 << 20;

/// A second handle of a file, for such writes alone.
#[derive(Debug)]
pub(super) struct Direct {
    file: File,
    /// The file system says how it takes such writes. Others may take no notice that a single one is to be durable (Linux leaves
    /// that to the server of a FUSE file that is open for nothing but direct I/O): they are asked to sync.
    says: bool,
}

/// Memory of which an aligned part is written, for all files of a directory. (No simulation has real files: its turns
/// need not be decided.)
#[derive(Debug, Default)]
pub(super) struct Aligned(Mutex<Vec<u8>>);

impl Direct {
    /// `None`: the file system has no such thing.
    ///
    /// # Errors
    /// The file cannot be opened at all.
    pub(super) fn open(path: &Path) -> io::Result<Option<Direct>> {
        Direct::open_to(File::options().write(true), path)
    }

    /// The same, for asking what it takes and not for writing.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn look(path: &Path) -> io::Result<Option<Direct>> {
        Direct::open_to(File::options().read(true), path)
    }

    #[cfg(target_os = "linux")]
    fn open_to(options: &mut OpenOptions, path: &Path) -> io::Result<Option<Direct>> {
        use std::os::unix::fs::OpenOptionsExt;

        let flags = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).map_err(io::Error::other)?;
        match options.custom_flags(flags).open(path) {
            Ok(file) => Ok(Some(Direct { says: said(&file).is_some(), file })),
            Err(error) if Direct::is_refused(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Other systems have other ways to say this.
    #[cfg(not(target_os = "linux"))]
    fn open_to(_: &mut OpenOptions, _: &Path) -> io::Result<Option<Direct>> {
        Ok(None)
    }

    /// Of what blocks such writes are, so that the system touches nothing else. `None`: there are none.
    ///
    /// A file system that does not say so (or a system before Linux 6.1) may take less than a page, and then write all of it.
    #[cfg(target_os = "linux")]
    pub(super) fn block(&self) -> Option<Block> {
        let Some(said) = said(&self.file) else { return Some(Block::Page) };
        if said.stx_dio_mem_align as usize > ALIGNMENT {
            return None;
        }
        match said.stx_dio_offset_align {
            1..=512 => Some(Block::Sector),
            513..=4096 => Some(Block::Page),
            _ => None,
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn block(&self) -> Option<Block> {
        None
    }

    /// Writes whole blocks durably.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn write(&self, from: &[u8], offset: u64, memory: &Aligned) -> io::Result<()> {
        let mut memory = memory.0.lock().unwrap_or_else(PoisonError::into_inner);
        let piece = from.len().min(PIECE);
        if memory.len() < piece + ALIGNMENT {
            *memory = vec![0; (piece + ALIGNMENT).next_power_of_two()];
        }
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        let memory = memory.get_mut(start..).unwrap_or_default();
        let whole = self.says && from.len() <= PIECE;
        let mut at = offset;
        for part in from.chunks(PIECE) {
            let aligned = memory.get_mut(..part.len()).ok_or(io::ErrorKind::OutOfMemory)?;
            aligned.copy_from_slice(part);
            write_all(&self.file, aligned, at, whole)?;
            at += part.len() as u64;
        }
        if whole { Ok(()) } else { self.file.sync_data() }
    }

    /// Whether something failed because it is not possible in this way here: then nothing was written.
    pub(super) fn is_refused(error: &io::Error) -> bool {
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        errno == Some(Errno::INVAL) || errno == Some(Errno::OPNOTSUPP)
    }
}

/// What the file system says of direct writes.
#[cfg(target_os = "linux")]
fn said(file: &File) -> Option<rustix::fs::Statx> {
    use rustix::fs::{AtFlags, StatxFlags, statx};

    let said = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok();
    said.filter(|said| said.stx_mask & StatxFlags::DIOALIGN.bits() != 0)
}

/// Writes all of it; durably if that is asked for.
#[cfg(target_os = "linux")]
fn write_all(file: &File, mut from: &[u8], mut at: u64, durably: bool) -> io::Result<()> {
    use rustix::io::{ReadWriteFlags, pwritev2};

    let flags = if durably { ReadWriteFlags::DSYNC } else { ReadWriteFlags::empty() };
    while !from.is_empty() {
        match pwritev2(file, &[io::IoSlice::new(from)], at, flags) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                from = &from[written..];
                at += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn write_all(_: &File, _: &[u8], _: u64, _: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_written_directly_arrives_also_if_it_is_long() {
        let temp = tempfile::tempdir().expect("a directory");
        let path = temp.path().join("file");
        let mut expected = vec![1; 4 * PIECE];
        fs::write(&path, &expected).expect("writes");
        let Some(direct) = Direct::open(&path).expect("opens") else { return };
        let Some(block) = direct.block().map(Block::bytes) else { return };
        let memory = Aligned::default();
        for (byte, offset, len) in
            [(3, block, block), (4, 2 * block, 4 * block), (5, 0, block), (6, 8 * block, 2 * PIECE + block)]
        {
            match direct.write(&vec![byte; len], offset as u64, &memory) {
                Ok(()) => expected[offset..offset + len].fill(byte),
                Err(error) => assert!(Direct::is_refused(&error), "{error}"),
            }
        }
        assert!(fs::read(&path).expect("reads") == expected);
    }
}
