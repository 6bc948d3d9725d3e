//! The simplest: bytes behind bytes in one file, and a sync. Only what need not let its file grow with each
//! append can beat it.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::Failure;
use crate::store::{Change, Table};

/// A file that grows. It cannot forget, and cannot tell whether a body is whole.
#[derive(Debug)]
pub struct RawAppend {
    path: PathBuf,
    end: Mutex<(File, Vec<u8>)>,
}

impl Table for RawAppend {
    fn open(directory: &Path) -> Result<RawAppend, Failure> {
        let path = directory.join("raw");
        let file = File::options().create(true).append(true).open(&path)?;
        File::open(directory)?.sync_all()?;
        Ok(RawAppend { path, end: Mutex::new((file, Vec::new())) })
    }

    fn commit(&self, changes: &[Change]) -> Result<(), Failure> {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, buffer) = &mut *end;
        buffer.clear();
        for change in changes {
            let Change::Put(_, body) = change else {
                return Err("a raw append cannot remove what it holds".into());
            };
            buffer.extend_from_slice(&u32::try_from(body.len())?.to_le_bytes());
            buffer.extend_from_slice(body);
        }
        file.write_all(buffer)?;
        Ok(file.sync_data()?)
    }

    fn rows(&self, visit: &mut dyn FnMut(u64, &[u8])) -> Result<(), Failure> {
        let mut stored = Vec::new();
        File::open(&self.path)?.read_to_end(&mut stored)?;
        let (mut key, mut rest) = (0, &stored[..]);
        while let Some((length, behind)) = rest.split_first_chunk() {
            let length = u32::from_le_bytes(*length) as usize;
            let (body, behind) = behind.split_at_checked(length).ok_or("the file ends within a body")?;
            visit(key, body);
            (key, rest) = (key + 1, behind);
        }
        Ok(())
    }
}
