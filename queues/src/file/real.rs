//! Real files in a directory that one process owns at a time.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};
use rustix::io::retry_on_intr;

use super::direct::{Aligned, Direct};
use super::storage::{Block, Storage, StorageFile};
use crate::broker::Error;

/// The file that its owner holds a lock on.
pub(super) const LOCK: &str = "lock";

/// A directory of real files. It is owned from [`RealDir::open`] until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct RealDir {
    owned: Arc<Owned>,
}

#[derive(Debug)]
struct Owned {
    path: PathBuf,
    directory: File,
    /// The system releases the lock when this is closed, also if the process is killed.
    lock: File,
    cut_off: AtomicBool,
    /// Found out with the first file that is readied.
    mode: OnceLock<Mode>,
    memory: Aligned,
}

/// A file of a [`RealDir`].
#[derive(Debug)]
pub struct RealFile {
    file: File,
    path: PathBuf,
    direct: OnceLock<Direct>,
    owned: Arc<Owned>,
}

/// How what is committed reaches the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Past the page cache (`O_DIRECT`), and durable when the write returns (`RWF_DSYNC`): of a small commit a sector is
    /// all that is written, or a page if the file system does not say that it takes sectors. If it says nothing, each is followed
    /// by an `fdatasync`.
    Direct(Block),
    /// Into the page cache, and then `fdatasync`, in whole pages.
    Buffered,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.block().bytes();
        match self {
            Mode::Direct(_) => write!(f, "direct durable writes of {bytes} bytes or a multiple"),
            Mode::Buffered => {
                write!(f, "writes of {bytes} bytes or a multiple to the page cache, and fdatasync")
            }
        }
    }
}

impl Mode {
    /// Of what blocks commits are.
    pub fn block(self) -> Block {
        match self {
            Mode::Direct(block) => block,
            Mode::Buffered => Block::Page,
        }
    }

    /// The mode in which a queue that has this file would commit, as far as the system says without a write: a queue
    /// tries it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn said_of(path: &Path) -> io::Result<Mode> {
        let direct = Direct::look(path)?;
        Ok(direct.and_then(|direct| direct.block()).map_or(Mode::Buffered, Mode::Direct))
    }
}

impl RealDir {
    /// Creates the directory durably if it is missing, and takes it for this process.
    ///
    /// # Errors
    /// [`Error::Owned`] if it is open already, in another process or in this one; [`Error::Io`] if it is not
    /// a directory, not writable, or holds a file called `lock` that no queue wrote.
    pub fn open(path: &Path) -> Result<RealDir, Error> {
        create_durably(path, &mut |parent| File::open(parent)?.sync_all())
            .map_err(|e| failed("create the directory", path, e, "Give a directory that can be created"))?;
        let directory = File::open(path)
            .map_err(|e| failed("open the directory", path, e, "Give a directory that you may read"))?;
        let is_directory = directory.metadata().is_ok_and(|metadata| metadata.is_dir());
        if !is_directory {
            let source = io::ErrorKind::NotADirectory.into();
            return Err(failed("keep a queue in", path, source, "Give a directory, not a file"));
        }
        let lock = take(path)?;
        let (cut_off, mode) = (AtomicBool::new(false), OnceLock::new());
        let memory = Aligned::default();
        Ok(RealDir {
            owned: Arc::new(Owned { path: path.to_owned(), directory, lock, cut_off, mode, memory }),
        })
    }

    /// The same with direct writes switched off: see [`RealDir::mode`].
    #[must_use]
    pub fn buffered(self) -> RealDir {
        self.owned.mode.get_or_init(|| Mode::Buffered);
        self
    }

    /// How commits are written: directly, unless the file system refuses that. `None`: it is asked when a queue is opened.
    pub fn mode(&self) -> Option<Mode> {
        self.owned.mode.get().copied()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.owned.path
    }

    /// What the kill of a process does: all later calls through this handle, its clones and its files fail,
    /// and the directory is free for another owner. Nothing is undone, and nothing more is written.
    pub fn cut_off(&self) {
        self.owned.cut_off.store(true, Ordering::SeqCst);
        // Should it fail, the lock goes with the last clone.
        let _ = flock(&self.owned.lock, FlockOperation::Unlock);
    }

    fn file(&self, file: io::Result<File>, name: &str) -> io::Result<RealFile> {
        let (path, direct) = (self.at(name), OnceLock::new());
        Ok(RealFile { file: file?, path, direct, owned: Arc::clone(&self.owned) })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.owned.path.join(name)
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error, remedy: &'static str) -> Error {
    Error::Io { action, path: path.to_owned(), source, remedy }
}

/// Creates a directory with its parents; each new name is synced in the directory that holds it. So is that of a directory
/// that is there: whoever created it may have been killed before he could do so.
fn create_durably(path: &Path, sync: &mut impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if path.exists() {
        return match sync(parent) {
            Err(error) if nothing_is_created_there(&error) => Ok(()),
            other => other,
        };
    }
    create_durably(parent, sync)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    sync(parent)
}

/// Whether who gets this answer from the sync of a directory can have created nothing there: he may not look into it, or
/// it is read-only, or on a file system that syncs no directories. (Where a queue's own directory is on that, its own syncs
/// say so; otherwise another file system begins there.)
fn nothing_is_created_there(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), PermissionDenied | InvalidInput | ReadOnlyFilesystem)
}

/// Locks the directory and leaves the owner's process id in the lock file.
fn take(directory: &Path) -> Result<File, Error> {
    let path = directory.join(LOCK);
    let not_writable = "Give a directory that you may write to";
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|e| failed("open the lock file", &path, e, not_writable))?;
    let written =
        fs::read_to_string(&path).map_err(|e| failed("read the lock file", &path, e, not_writable))?;
    let owner = written.trim();
    let pid = match owner.parse() {
        Ok(pid) => pid,
        // An owner that was killed, or has not come to write its id yet.
        Err(_) if owner.is_empty() => 0,
        Err(_) => {
            let source = io::Error::new(io::ErrorKind::InvalidData, "it is not the lock file of a queue");
            return Err(failed(
                "use the lock file",
                &path,
                source,
                "Move it away, or give another directory",
            ));
        }
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Owned { path: directory.to_owned(), pid }),
        Err(errno) => {
            let remedy = "Give a directory on a file system that has locks";
            return Err(failed("lock", &path, errno.into(), remedy));
        }
    }
    let write = || {
        file.set_len(0)?;
        file.write_all_at(std::process::id().to_string().as_bytes(), 0)
    };
    write().map_err(|e| failed("write the lock file", &path, e, not_writable))?;
    Ok(file)
}

impl Owned {
    fn alive(&self) -> io::Result<()> {
        if self.cut_off.load(Ordering::SeqCst) {
            return Err(io::Error::other("this owner of the directory was cut off"));
        }
        Ok(())
    }
}

impl RealFile {
    fn alive(&self) -> io::Result<&File> {
        self.owned.alive().map(|()| &self.file)
    }

    /// Tries how files like this one are written durably.
    fn find_mode(&self) -> io::Result<Mode> {
        let Some(direct) = Direct::open(&self.path)? else { return Ok(Mode::Buffered) };
        let Some(block) = direct.block() else { return Ok(Mode::Buffered) };
        match direct.write(&vec![0; block.bytes()], 0, &self.owned.memory) {
            Err(error) if Direct::is_refused(&error) => Ok(Mode::Buffered),
            Err(error) => Err(error),
            Ok(()) => Ok(Mode::Direct(block)),
        }
    }
}

impl Storage for RealDir {
    type File = RealFile;

    fn create(&self, name: &str) -> io::Result<RealFile> {
        self.owned.alive()?;
        self.file(OpenOptions::new().read(true).write(true).create_new(true).open(self.at(name)), name)
    }

    fn open(&self, name: &str) -> io::Result<RealFile> {
        self.owned.alive()?;
        self.file(OpenOptions::new().read(true).write(true).open(self.at(name)), name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.owned.alive()?;
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.owned.path)? {
            let entry = entry?;
            // A name that is not text is not one of ours.
            if let (true, Ok(name)) = (entry.file_type()?.is_file(), entry.file_name().into_string()) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.owned.alive()?;
        fs::rename(self.at(from), self.at(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.owned.alive()?;
        fs::remove_file(self.at(name))
    }

    fn locate(&self, name: &str) -> PathBuf {
        self.at(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.owned.alive()?;
        self.owned.directory.sync_all()
    }
}

impl StorageFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.alive()?.metadata()?.len())
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        self.alive()?.read_exact_at(into, offset)
    }

    #[cfg(target_os = "linux")]
    fn data_from(&self, offset: u64) -> io::Result<Option<u64>> {
        data_from(self.alive()?, offset)
    }

    fn ready(&self) -> io::Result<Block> {
        self.alive()?;
        let mode = match self.owned.mode.get() {
            Some(mode) => *mode,
            None => {
                let found = self.find_mode()?;
                *self.owned.mode.get_or_init(|| found)
            }
        };
        if matches!(mode, Mode::Direct(_)) && self.direct.get().is_none() {
            let refused = || io::Error::other("the file system takes no direct writes any more");
            let direct = Direct::open(&self.path)?.ok_or_else(refused)?;
            self.direct.get_or_init(|| direct);
        }
        Ok(mode.block())
    }

    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<()> {
        self.alive()?.write_all_at(from, offset)
    }

    fn write_durably(&self, from: &[u8], offset: u64) -> io::Result<()> {
        let file = self.alive()?;
        if let Some(direct) = self.direct.get() {
            return direct.write(from, offset, &self.owned.memory);
        }
        file.write_all_at(from, offset)?;
        file.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.alive()?.set_len(len)
    }

    /// `fallocate`; without it the space is taken when something is written.
    fn allocate(&self, len: u64) -> io::Result<()> {
        let file = self.alive()?;
        // Some file systems give up when the process gets a signal.
        match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, len)) {
            Err(rustix::io::Errno::OPNOTSUPP) => self.set_len(len),
            other => Ok(other?),
        }
    }

    /// `fdatasync`; it includes the length, which is needed to read the data back.
    fn sync(&self) -> io::Result<()> {
        self.alive()?.sync_data()
    }
}

/// Passes over what was allocated and never written. (Nobody uses the place in the file that this moves.)
#[cfg(target_os = "linux")]
pub(super) fn data_from(file: &File, offset: u64) -> io::Result<Option<u64>> {
    use rustix::fs::{SeekFrom, seek};
    use rustix::io::Errno;

    match seek(file, SeekFrom::Data(offset)) {
        Ok(at) => Ok(Some(at)),
        Err(Errno::NXIO) => Ok(None),
        // The file system does not know.
        Err(Errno::INVAL) => Ok(Some(offset)),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn files_are_created_read_written_cut_renamed_and_removed() {
        let temp = tempfile::tempdir().expect("a directory");
        let dir = RealDir::open(&temp.path().join("x/y")).expect("creates missing directories");
        let file = dir.create("a").expect("creates");
        assert_eq!(dir.create("a").expect_err("exists").kind(), io::ErrorKind::AlreadyExists);
        file.write_at(b"hello", 2).expect("writes");
        file.set_len(6).expect("cuts");
        file.sync().expect("syncs");
        let mut bytes = [9; 6];
        dir.open("a").expect("opens").read_at(&mut bytes, 0).expect("reads");
        assert_eq!(&bytes, b"\0\0hell");
        assert_eq!(
            file.read_at(&mut bytes, 1).expect_err("ends before").kind(),
            io::ErrorKind::UnexpectedEof
        );
        dir.rename("a", "b").expect("renames");
        dir.sync_dir().expect("syncs");
        assert_eq!(dir.list().expect("lists"), ["b", LOCK]);
        assert_eq!(dir.open("a").expect_err("was renamed").kind(), io::ErrorKind::NotFound);
        dir.remove("b").expect("removes");
        assert_eq!(dir.list().expect("lists"), [LOCK]);
    }

    #[test]
    fn the_name_of_a_directory_is_synced_whoever_created_it() {
        let temp = tempfile::tempdir().expect("a directory");
        let synced = |path: &Path| {
            let mut synced = Vec::new();
            let mut sync = |parent: &Path| {
                synced.push(parent.to_owned());
                Ok(())
            };
            create_durably(path, &mut sync).expect("creates");
            synced
        };
        let (a, b) = (temp.path().join("a"), temp.path().join("a/b"));
        let above = temp.path().parent().expect("has one").to_owned();
        assert_eq!(synced(&b), [above, temp.path().to_owned(), a.clone()]);
        assert_eq!(synced(&b), [a], "its creator may have been killed");
        assert_eq!(synced(Path::new("/")), [Path::new(".")]);
        let denied = |_: &Path| Err(io::ErrorKind::PermissionDenied.into());
        create_durably(&b, &mut { denied }).expect("it is there");
        create_durably(&b.join("c"), &mut { denied }).expect_err("its name cannot be synced");
        // A read-only image, say, with a directory in it where another file system begins.
        let impossible = |_: &Path| Err(io::ErrorKind::InvalidInput.into());
        create_durably(&b, &mut { impossible }).expect("it is there");
        create_durably(&b.join("d"), &mut { impossible }).expect_err("its name cannot be synced");
    }

    #[test]
    fn durable_writes_arrive_in_either_mode_and_are_of_pages_where_they_are_not_direct() {
        for buffered in [false, true] {
            let temp = tempfile::tempdir().expect("a directory");
            let dir = RealDir::open(temp.path()).expect("opens");
            let dir = if buffered { dir.buffered() } else { dir };
            let file = dir.create("a").expect("creates");
            let block = file.ready().expect("is readied");
            let mode = dir.mode().expect("it was asked");
            println!("{mode}");
            assert_eq!(mode.block(), block);
            assert!(!buffered || mode == Mode::Buffered);
            assert_eq!(dir.create("b").and_then(|other| other.ready()).expect("the same"), block);
            let block = block.bytes();
            let long = vec![3; (3 << 20) + block];
            file.write_durably(&long, block as u64).expect("writes");
            file.write_durably(&vec![4; block], 0).expect("writes");
            let mut expected = vec![4; block];
            expected.extend(long);
            assert!(fs::read(dir.at("a")).expect("reads") == expected);
        }
    }

    #[test]
    fn what_was_never_written_is_passed_over_and_nothing_else() {
        let temp = tempfile::tempdir().expect("a directory");
        let dir = RealDir::open(temp.path()).expect("opens");
        let file = dir.create("a").expect("creates");
        let block = file.ready().expect("is readied").bytes() as u64;
        file.allocate(1 << 20).expect("has space");
        file.sync().expect("syncs");
        let written = [300 << 10, 500 << 10];
        for at in written {
            file.write_durably(&vec![1; block as usize], at).expect("writes");
        }
        // Beyond the page that holds what was written.
        let beyond = written.map(|at| at + 8192);
        for (from, there) in [(8192, Some(written[0])), (beyond[0], Some(written[1])), (beyond[1], None)] {
            let found = file.data_from(from).expect("looks");
            println!("from {from}: {found:?}");
            // It may know less.
            assert!(there.is_none_or(|there| found.is_some_and(|found| from <= found && found <= there)));
        }
        assert!(file.data_from(2 << 20).expect("looks").is_none_or(|found| found == 2 << 20));
    }

    #[test]
    fn a_directory_has_one_owner_until_the_last_clone_is_dropped() {
        let temp = tempfile::tempdir().expect("a directory");
        let first = RealDir::open(temp.path()).expect("opens");
        let clone = first.clone();
        drop(first);
        match RealDir::open(temp.path()) {
            Err(Error::Owned { path, pid }) => {
                assert_eq!((path.as_path(), pid), (temp.path(), std::process::id()));
            }
            other => panic!("{other:?}"),
        }
        drop(clone);
        RealDir::open(temp.path()).expect("is free again");
    }

    const HOLD: &str = "STANCHION_TEST_HOLD_DIRECTORY";

    /// Not a test of its own: the child of the next one.
    #[test]
    fn holder() {
        if let Some(path) = std::env::var_os(HOLD) {
            let _dir = RealDir::open(Path::new(&path)).expect("opens");
            println!("\nheld");
            // Until it is killed.
            io::copy(&mut io::stdin(), &mut io::sink()).expect("waits");
        }
    }

    #[test]
    fn another_process_is_named_and_its_kill_frees_the_directory() {
        let temp = tempfile::tempdir().expect("a directory");
        let mut child = Command::new(std::env::current_exe().expect("is a file"))
            .args(["--exact", "file::real::tests::holder", "--nocapture"])
            .env(HOLD, temp.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let output = BufReader::new(child.stdout.take().expect("is piped"));
        assert!(output.lines().any(|line| line.expect("is text") == "held"));
        let owned = RealDir::open(temp.path());
        assert!(matches!(&owned, Err(Error::Owned { pid, .. }) if *pid == child.id()), "{owned:?}");
        child.kill().expect("is running");
        child.wait().expect("ends");
        RealDir::open(temp.path()).expect("is free");
    }

    #[test]
    fn a_cut_off_owner_writes_nothing_more_and_frees_the_directory() {
        let temp = tempfile::tempdir().expect("a directory");
        let first = RealDir::open(temp.path()).expect("opens");
        let file = first.create("a").expect("creates");
        file.write_at(b"1", 0).expect("writes");
        first.cut_off();
        let second = RealDir::open(temp.path()).expect("is free");
        assert!(file.write_at(b"2", 0).is_err() && file.sync().is_err() && first.create("b").is_err());
        drop((file, first));
        let owned = RealDir::open(temp.path());
        assert!(matches!(owned, Err(Error::Owned { .. })), "the second still owns it: {owned:?}");
        assert_eq!(fs::read(second.at("a")).expect("reads"), b"1");
    }

    #[test]
    fn what_is_not_a_usable_directory_is_refused_and_left_alone() {
        let temp = tempfile::tempdir().expect("a directory");
        let file = temp.path().join("file");
        fs::write(&file, "mine").expect("writes");
        let error = RealDir::open(&file).expect_err("is a file").to_string();
        assert!(error.contains("Give a directory, not a file"), "{error}");
        RealDir::open(&file.join("below")).expect_err("is below a file");
        assert_eq!(fs::read(&file).expect("reads"), b"mine");

        fs::write(temp.path().join(LOCK), "somebody else's").expect("writes");
        let error = RealDir::open(temp.path()).expect_err("is not our lock").to_string();
        assert!(error.contains("Move it away"), "{error}");
        assert_eq!(fs::read(temp.path().join(LOCK)).expect("reads"), b"somebody else's");

        // Nobody, not even root, may create a file here.
        let error = RealDir::open(Path::new("/proc")).expect_err("is not writable").to_string();
        assert!(error.contains("/proc/lock"), "{error}");
    }
}
