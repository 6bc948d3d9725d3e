//! A disk in memory that behaves as badly as real ones may: it forgets, tears and reorders what was not
//! synced, runs full, fails syncs, rots, and can lie.
//!
//! # What survives
//!
//! * [`Crash::Process`]: everything written stays, synced or not (and what was not synced can still be lost
//!   by a later power failure).
//! * [`Crash::Power`]: per file, what was synced stays. Of the *sector writes* (512 bytes, or what
//!   [`SimDisk::in_blocks`] says; each a snapshot of its sector as the system held it) that were not synced, none, all, a prefix in the order of writing, or
//!   any subset survives, each of these with probability 1/4. With probability 1/4 one unsynced sector
//!   is, besides, torn (its first bytes new, the rest old) or garbage; sectors that were not being written
//!   are never damaged. Changes of a file's *length* survive as a prefix in their order, independently of the
//!   data: a file may be longer than its data (zeroes) or cut it off. Of the changes of the *directory* (creations,
//!   renames, removals) that were not synced, again none, all, a prefix or any subset survives, each wholly; syncing a
//!   file does not make its name durable.
//!
//! A file has *bad sectors* if [`SimDisk::spoil`] says so: whoever reads there is answered `EIO`, whatever crashes come.
//!
//! What a sync that failed left unwritten, of a file or of the directory and whatever the reason, is forgotten:
//! no later sync makes it durable, though reads may still show it.
//!
//! [`SimDisk::keep`] chooses what a power failure leaves instead of drawing it.
//!
//! The call during which [`SimDisk::crash_after`] stops the machine may have taken effect fully, partly or
//! not at all. So may, in a simulation ([`crate::sync`]), every call that is in flight during a crash: others may go
//! first between its beginning and its effect, and what it syncs is what was written before it began. All of it
//! follows from the seed.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::mem;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::mistake::Mistake;
use super::rng::Rng;
use super::storage::{Block, Storage, StorageFile};
use super::survival::{AtRisk, Fault, SectorFate, Survival, Unfinished};
use crate::broker::Crash;
use crate::sync;

/// A simulated disk with one directory. Clones are handles of the same disk.
#[derive(Clone)]
pub struct SimDisk {
    // Not one of [`crate::sync`]: it is part of the world, and nobody is interrupted while he has it.
    shared: Arc<Mutex<Disk>>,
    life: u64,
    mistake: Option<Mistake>,
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disk = self.disk();
        let lens: BTreeMap<&str, usize> = disk
            .names
            .iter()
            .filter_map(|(name, inode)| Some((name.as_str(), disk.inodes.get(inode)?.cached.len())))
            .collect();
        f.debug_struct("SimDisk").field("life", &self.life).field("lens", &lens).finish_non_exhaustive()
    }
}

/// What a failing sync does to the pages that it could not write. Real file systems do either; both mark them
/// clean, so that a second sync "succeeds" without them. Any part of them may have reached the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailSync {
    /// Reads still show them.
    KeepPages,
    /// Reads show what is on the disk.
    DropPages,
}

/// What was asked of a disk since it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counts {
    /// Every call that may change something: what [`SimDisk::crash_after`] counts.
    pub calls: u64,
    /// Writes to files.
    pub writes: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Syncs of files.
    pub syncs: u64,
    /// Syncs of the directory.
    pub dir_syncs: u64,
}

/// A file of a [`SimDisk`].
#[derive(Debug)]
pub struct SimFile {
    disk: SimDisk,
    inode: u64,
    /// How many of the file's writes had been lost when somebody was last told by this handle, or it was opened.
    told: AtomicU64,
}

struct Disk {
    /// What is written as a whole, unless it is the one that is torn.
    block: Block,
    /// What it says of that.
    said: Block,
    /// Handles of an earlier life are dead.
    life: u64,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    pending_names: Vec<Naming>,
    /// How many changes of names are not pending any more.
    settled_names: usize,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    counts: Counts,
    crash_after: Option<u64>,
    stopped: bool,
    /// Calls that have begun and neither ended nor failed, in the order of their beginning.
    in_flight: BTreeMap<u64, Begun>,
    /// How many have begun.
    begun: u64,
    failing: Option<(FailSync, u64)>,
    lying: bool,
    room: Option<u64>,
    /// How many files may be open.
    handles: usize,
    /// Chosen for the next power failure.
    survival: Option<Survival>,
    /// What the latest power failure put at risk.
    risked: AtRisk,
    /// The same for people, with the call that it interrupted.
    unfinished: Unfinished,
    /// The call that failed as asked for, in words.
    failed: Option<String>,
    fault: Option<(Fault, u64)>,
    /// After so many reads one fails.
    read_fault: Option<u64>,
    /// Decides what a failing sync wrote.
    rng: Rng,
    mistakes: u64,
}

struct Inode {
    /// What is written as a whole.
    block: usize,
    /// What reads see.
    cached: Vec<u8>,
    /// What survives the worst power failure.
    durable: Vec<u8>,
    pending: Vec<Pending>,
    /// How many changes are not pending any more.
    settled: usize,
    handles: usize,
    /// How many writes the system took and could not bring to the disk.
    lost: u64,
    /// Bytes that cannot be read.
    bad: Vec<Range<usize>>,
}

enum Pending {
    Sector { index: usize, data: Box<[u8]> },
    Len(usize),
}

enum Naming {
    Link(String, u64),
    Rename(String, String, u64),
    Remove(String, u64),
}

struct Begun {
    change: Change,
    /// How many changes there had ever been of what it makes durable: what comes later need not be.
    before: usize,
}

enum Change {
    Create(String),
    Rename(String, String),
    Remove(String),
    SyncDir,
    Write { inode: u64, offset: u64, bytes: Vec<u8> },
    SetLen { inode: u64, len: u64 },
    Sync { inode: u64, told: u64 },
}

/// How much of what was pending survives.
#[derive(Clone, Copy)]
enum Keep {
    None,
    All,
    Prefix,
    Subset,
}

impl Keep {
    fn draw(rng: &mut Rng) -> Keep {
        [Keep::None, Keep::All, Keep::Prefix, Keep::Subset][rng.below(4)]
    }

    /// Which of `n` changes survive.
    fn of(self, n: usize, rng: &mut Rng) -> Vec<bool> {
        let prefix = self.prefix(n, rng);
        (0..n)
            .map(|nth| if matches!(self, Keep::Subset) { rng.below(2) == 0 } else { nth < prefix })
            .collect()
    }

    /// How long a prefix of `n` changes that happen in order survives.
    fn prefix(self, n: usize, rng: &mut Rng) -> usize {
        match self {
            Keep::None => 0,
            Keep::All => n,
            Keep::Prefix | Keep::Subset => rng.below(n + 1),
        }
    }
}

impl Default for SimDisk {
    fn default() -> SimDisk {
        SimDisk::new()
    }
}

impl SimDisk {
    /// An empty disk without faults.
    pub fn new() -> SimDisk {
        SimDisk::in_blocks(Block::Sector)
    }

    /// One with sectors of this length; or a system in front of it that writes whole pages. What else is in a sector is
    /// written with what is new.
    pub fn in_blocks(block: Block) -> SimDisk {
        SimDisk { shared: Arc::new(Mutex::new(Disk::new(block))), life: 0, mistake: None }
    }

    /// Says that its sectors are so long, whatever they are. For showing that a test can fail.
    pub fn say_blocks(&self, block: Block) {
        self.disk().said = block;
    }

    /// One on which the file queue makes this mistake. For showing that a test can fail.
    #[doc(hidden)]
    pub fn with_mistake(mistake: Mistake) -> SimDisk {
        SimDisk { mistake: Some(mistake), ..SimDisk::new() }
    }

    /// How often it made it.
    #[doc(hidden)]
    pub fn mistakes(&self) -> u64 {
        self.disk().mistakes
    }

    /// Kills what runs on this disk and decides what survives. Every other handle and every open file is
    /// dead from now on: all their calls fail. This handle goes on with what survived, and a pending
    /// [`SimDisk::crash_after`] is disarmed; the other fault switches stay.
    pub fn crash(&mut self, crash: Crash, seed: u64) {
        let mut disk = self.disk();
        disk.crash(crash, &mut Rng::new(seed));
        let life = disk.life;
        drop(disk);
        self.life = life;
    }

    /// Stops the machine during the changing call after the next `calls` ones: it and all later calls fail,
    /// until [`SimDisk::crash`] decides what survived.
    pub fn crash_after(&self, calls: u64) {
        self.disk().crash_after = Some(calls);
    }

    /// Whether [`SimDisk::crash_after`] has stopped the machine.
    pub fn stopped(&self) -> bool {
        self.disk().stopped
    }

    /// Makes the next `count` syncs of files fail.
    pub fn fail_syncs(&self, how: FailSync, count: u64) {
        self.disk().failing = (count > 0).then_some((how, count));
    }

    /// Makes every sync answer `Ok` without doing anything: the disk that no queue survives. For showing that
    /// a test can fail.
    pub fn lie_on_sync(&self, lie: bool) {
        self.disk().lying = lie;
    }

    /// Makes the disk full when its files hold `bytes` bytes; a write that does not fit is done in part.
    /// `u64::MAX` makes room again.
    pub fn fill(&self, bytes: u64) {
        self.disk().room = (bytes < u64::MAX).then_some(bytes);
    }

    /// Lets so many files be open at once, and no more; `usize::MAX`: as many as anybody likes.
    pub fn open_at_most(&self, files: usize) {
        self.disk().handles = files;
    }

    /// Chooses what the next power failure leaves.
    pub fn keep(&self, survival: Survival) {
        self.disk().survival = Some(survival);
    }

    /// How much the latest power failure put at risk.
    pub fn risked(&self) -> AtRisk {
        self.disk().risked
    }

    /// What the latest crash found unfinished.
    pub fn unfinished(&self) -> Unfinished {
        self.disk().unfinished.clone()
    }

    /// The call that [`SimDisk::fail_after`] made fail, as in "the sync of log-0".
    pub fn failed(&self) -> Option<String> {
        self.disk().failed.clone()
    }

    /// Makes the changing call after the next `calls` ones fail, and no other.
    pub fn fail_after(&self, calls: u64, fault: Fault) {
        self.disk().fault = Some((fault, calls));
    }

    /// Whether [`SimDisk::fail_after`] still waits for its call.
    pub fn fault_pending(&self) -> bool {
        self.disk().fault.is_some()
    }

    /// Makes the reading call (opening a file, its length, its bytes, the names) after the next `calls` ones fail with `EIO`, and
    /// no other: the same call works the next time.
    pub fn fail_read_after(&self, calls: u64) {
        self.disk().read_fault = Some(calls);
    }

    /// Whether [`SimDisk::fail_read_after`] still waits for its call.
    pub fn read_fault_pending(&self) -> bool {
        self.disk().read_fault.is_some()
    }

    /// Damages a stored file, in what is durable and in what reads see.
    ///
    /// # Errors
    /// `NotFound`; `UnexpectedEof` if the file has no such bit.
    pub fn flip_bit(&self, name: &str, bit: u64) -> io::Result<()> {
        let mut disk = self.disk();
        let inode = disk.named(name)?;
        let inode = disk.inode(inode)?;
        let (byte, mask) = (position(bit / 8)?, 1 << (bit % 8));
        *inode.cached.get_mut(byte).ok_or_else(beyond_end)? ^= mask;
        if let Some(durable) = inode.durable.get_mut(byte) {
            *durable ^= mask;
        }
        Ok(())
    }

    /// From now on nobody can read these bytes of a stored file.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn spoil(&self, name: &str, bytes: Range<usize>) -> io::Result<()> {
        let mut disk = self.disk();
        let inode = disk.named(name)?;
        disk.inode(inode)?.bad.push(bytes);
        Ok(())
    }

    /// What was asked of it so far.
    pub fn counts(&self) -> Counts {
        self.disk().counts
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk, if this handle is alive.
    fn alive(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let disk = self.disk();
        if disk.stopped || disk.life != self.life { Err(dead()) } else { Ok(disk) }
    }

    /// Begins a change, lets others go first, and makes it.
    fn change(&self, change: Change) -> io::Result<()> {
        let call = self.alive()?.begin(change);
        let fails = sync::storage_fails();
        // If this life has ended or the machine has stopped meanwhile, the crash decides what becomes of it.
        self.alive()?.finish(call, fails)
    }

    /// Lets others go first, and looks.
    fn look(&self) -> io::Result<MutexGuard<'_, Disk>> {
        if sync::storage_fails() { Err(cannot()) } else { self.readable() }
    }

    /// The disk, if this handle is alive and it is not this call that fails.
    fn readable(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let mut disk = self.alive()?;
        let fails = disk.read_fault == Some(0);
        disk.read_fault = disk.read_fault.and_then(|calls| calls.checked_sub(1));
        if fails { Err(Errno::IO.into()) } else { Ok(disk) }
    }

    fn handle(&self, name: &str) -> io::Result<SimFile> {
        let mut disk = self.alive()?;
        let inode = disk.named(name)?;
        disk.has_handle()?;
        let file = disk.inode(inode)?;
        file.handles += 1;
        Ok(SimFile { disk: self.clone(), inode, told: AtomicU64::new(file.lost) })
    }
}

impl Storage for SimDisk {
    type File = SimFile;

    fn create(&self, name: &str) -> io::Result<SimFile> {
        self.alive()?.has_handle()?;
        self.change(Change::Create(name.to_owned()))?;
        self.handle(name)
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        drop(self.look()?);
        self.handle(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.look()?.names.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(Change::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(Change::Remove(name.to_owned()))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.change(Change::SyncDir)
    }

    fn makes(&self, mistake: Mistake) -> bool {
        let makes = self.mistake == Some(mistake);
        self.disk().mistakes += u64::from(makes);
        makes
    }
}

impl StorageFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.readable()?.inode(self.inode)?.cached.len() as u64)
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        let mut disk = self.disk.look()?;
        let start = position(offset)?;
        let Inode { cached, bad, .. } = disk.inode(self.inode)?;
        let from = cached.get(start..).and_then(|rest| rest.get(..into.len())).ok_or_else(beyond_end)?;
        if bad.iter().any(|bad| bad.start < start + into.len() && start < bad.end) {
            return Err(Errno::IO.into());
        }
        into.copy_from_slice(from);
        Ok(())
    }

    fn ready(&self) -> io::Result<Block> {
        Ok(self.disk.alive()?.said)
    }

    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<()> {
        self.disk.change(Change::Write { inode: self.inode, offset, bytes: from.to_vec() })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.change(Change::SetLen { inode: self.inode, len })
    }

    /// What it holds takes space at once.
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        let told = self.told.load(Ordering::SeqCst);
        let synced = self.disk.change(Change::Sync { inode: self.inode, told });
        // Whoever was told is not told again.
        if let Ok(inode) = self.disk.disk().inode(self.inode) {
            self.told.store(inode.lost, Ordering::SeqCst);
        }
        synced
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut disk = self.disk.disk();
        if disk.life == self.disk.life {
            if let Some(inode) = disk.inodes.get_mut(&self.inode) {
                inode.handles -= 1;
            }
            disk.forget_unreachable();
        }
    }
}

impl Disk {
    fn new(block: Block) -> Disk {
        Disk {
            block,
            said: block,
            life: 0,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            settled_names: 0,
            inodes: BTreeMap::new(),
            next_inode: 0,
            counts: Counts::default(),
            crash_after: None,
            stopped: false,
            in_flight: BTreeMap::new(),
            begun: 0,
            failing: None,
            lying: false,
            room: None,
            handles: usize::MAX,
            survival: None,
            risked: AtRisk::default(),
            unfinished: Unfinished::default(),
            failed: None,
            fault: None,
            read_fault: None,
            rng: Rng::default(),
            mistakes: 0,
        }
    }

    fn named(&self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn inode(&mut self, inode: u64) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&inode).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Whether another file may be open.
    fn has_handle(&self) -> io::Result<()> {
        let open: usize = self.inodes.values().map(|inode| inode.handles).sum();
        if self.handles < usize::MAX && open >= self.handles { Err(Errno::MFILE.into()) } else { Ok(()) }
    }

    fn begin(&mut self, change: Change) -> u64 {
        let before = match &change {
            Change::Sync { inode, .. } => {
                self.inodes.get(inode).map_or(0, |inode| inode.settled + inode.pending.len())
            }
            Change::SyncDir => self.settled_names + self.pending_names.len(),
            _ => 0,
        };
        self.begun += 1;
        self.in_flight.insert(self.begun, Begun { change, before });
        self.begun
    }

    fn finish(&mut self, call: u64, fails: bool) -> io::Result<()> {
        if self.crash_after == Some(0) {
            self.stopped = true;
            return Err(dead());
        }
        let Some(begun) = self.in_flight.remove(&call) else { return Err(dead()) };
        self.crash_after = self.crash_after.map(|calls| calls - 1);
        self.counts.calls += 1;
        if fails {
            let how = if self.rng.below(2) == 0 { FailSync::KeepPages } else { FailSync::DropPages };
            return self.fail(begun, Fault::Io(how));
        }
        match self.fault.take() {
            // It waits for a write.
            Some((Fault::Late(how), 0)) if !matches!(begun.change, Change::Write { .. }) => {
                self.fault = Some((Fault::Late(how), 0));
                self.apply(begun)
            }
            Some((fault, 0)) => {
                self.failed = Some(self.words(&begun.change));
                self.fail(begun, fault)
            }
            waiting => {
                self.fault = waiting.map(|(fault, calls)| (fault, calls - 1));
                self.apply(begun)
            }
        }
    }

    fn apply(&mut self, Begun { change, before }: Begun) -> io::Result<()> {
        match change {
            Change::Create(name) => {
                if self.names.contains_key(&name) {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                let inode = self.next_inode;
                self.next_inode += 1;
                self.inodes.insert(inode, Inode::new(self.block));
                self.name(Naming::Link(name, inode));
            }
            Change::Rename(from, to) => {
                let inode = self.named(&from)?;
                self.name(Naming::Rename(from, to, inode));
            }
            Change::Remove(name) => {
                let inode = self.named(&name)?;
                self.name(Naming::Remove(name, inode));
            }
            Change::SyncDir => {
                self.counts.dir_syncs += 1;
                if !self.lying {
                    let many = before.saturating_sub(self.settled_names);
                    self.settle_names(many, |_| true);
                }
            }
            Change::Write { inode, offset, bytes } => return self.write(inode, offset, &bytes),
            Change::SetLen { inode, len } => {
                let len = position(len)?;
                let room = self.room();
                let inode = self.inode(inode)?;
                if len.saturating_sub(inode.cached.len()) as u64 > room {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                inode.set_len(len);
            }
            Change::Sync { inode, told } => return self.sync(inode, told, before),
        }
        Ok(())
    }

    fn fail(&mut self, begun: Begun, fault: Fault) -> io::Result<()> {
        match (&begun.change, fault) {
            (Change::Write { inode, .. }, Fault::Late(how)) => {
                let inode = *inode;
                return self.apply(begun).map(|()| self.lose(inode, how));
            }
            (Change::Write { inode, offset, bytes }, _) => {
                self.write(*inode, *offset, &bytes[..bytes.len() / 2])?;
            }
            (Change::Sync { .. }, _) => {
                let drawn = [FailSync::KeepPages, FailSync::DropPages][self.rng.below(2)];
                let how = if let Fault::Io(how) = fault { how } else { drawn };
                self.failing = Some((how, 1));
                // It fails.
                let _ = self.apply(begun);
            }
            (Change::SyncDir, _) => {
                self.counts.dir_syncs += 1;
                let many = begun.before.saturating_sub(self.settled_names);
                let mut rng = self.rng;
                let kept = Keep::draw(&mut rng).of(many, &mut rng);
                self.rng = rng;
                self.settle_names(many, |nth| kept[nth]);
            }
            _ => {}
        }
        Err(match fault {
            Fault::Full => io::ErrorKind::StorageFull.into(),
            Fault::Io(_) | Fault::Late(_) => cannot(),
        })
    }

    /// What is pending of a file does not reach the disk, or in part.
    fn lose(&mut self, inode: u64, how: FailSync) {
        let mut rng = self.rng;
        if let Some(inode) = self.inodes.get_mut(&inode) {
            inode.lost += 1;
            inode.settle(Keep::draw(&mut rng), &mut rng, None);
            if how == FailSync::DropPages {
                inode.cached.clone_from(&inode.durable);
            }
        }
        self.rng = rng;
    }

    /// Of the first changes of the directory that are pending, makes those durable that are kept, and forgets the others.
    fn settle_names(&mut self, many: usize, mut kept: impl FnMut(usize) -> bool) {
        for (nth, naming) in self.pending_names.drain(..many).enumerate() {
            if kept(nth) {
                naming.apply(&mut self.durable_names);
            }
        }
        self.settled_names += many;
        self.forget_unreachable();
    }

    fn name(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.pending_names.push(naming);
    }

    /// How many bytes files may still grow by.
    fn room(&self) -> u64 {
        let used: u64 = self
            .names
            .values()
            .filter_map(|inode| self.inodes.get(inode))
            .map(|inode| inode.cached.len() as u64)
            .sum();
        self.room.map_or(u64::MAX, |room| room.saturating_sub(used))
    }

    fn write(&mut self, inode: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let start = position(offset)?;
        let room = if self.room.is_some() { self.room() } else { u64::MAX };
        let inode = self.inode(inode)?;
        let limit = (inode.cached.len() as u64).saturating_add(room);
        let fitting = usize::try_from(limit.saturating_sub(offset)).unwrap_or(usize::MAX).min(bytes.len());
        inode.write(start, &bytes[..fitting]);
        self.counts.writes += 1;
        self.counts.bytes += fitting as u64;
        if fitting < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// Makes the first `before` of all changes durable, unless a write was lost of which this handle was not told.
    fn sync(&mut self, inode: u64, told: u64, before: usize) -> io::Result<()> {
        self.counts.syncs += 1;
        let failing = self.failing;
        if let Some((how, count)) = failing {
            self.failing = (count > 1).then_some((how, count - 1));
            self.lose(inode, how);
            return Err(io::Error::other("simulated: the disk could not write"));
        }
        if self.inode(inode)?.lost > told {
            return Err(io::Error::other("simulated: the disk could not write what was written before"));
        }
        if !self.lying {
            let mut unused = Rng::new(0);
            let inode = self.inode(inode)?;
            let later = inode.pending.split_off(before.saturating_sub(inode.settled));
            inode.settle(Keep::All, &mut unused, None);
            inode.pending = later;
        }
        Ok(())
    }

    fn crash(&mut self, crash: Crash, rng: &mut Rng) {
        let in_flight = mem::take(&mut self.in_flight);
        let calls: Vec<String> = in_flight.values().map(|begun| self.words(&begun.change)).collect();
        let call = (!calls.is_empty()).then(|| calls.join(" and "));
        self.unfinished = Unfinished { call, ..Unfinished::default() };
        for (_, begun) in in_flight {
            match crash {
                Crash::Process => self.finish_partly(begun, rng),
                // What makes something durable may have made any part of it durable, as the failure may.
                Crash::Power if matches!(begun.change, Change::Sync { .. } | Change::SyncDir) => {}
                // Whatever it was about to write is as good as written and not synced.
                Crash::Power => {
                    // It may be a change that would have failed anyway: then nothing was written.
                    let _ = self.apply(begun);
                }
            }
        }
        if crash == Crash::Power {
            self.power_failure(rng);
        }
        for inode in self.inodes.values_mut() {
            inode.handles = 0;
        }
        self.life += 1;
        self.stopped = false;
        self.crash_after = None;
        self.forget_unreachable();
    }

    /// The process was killed during this call.
    fn finish_partly(&mut self, mut begun: Begun, rng: &mut Rng) {
        match &mut begun.change {
            Change::Write { bytes, .. } => bytes.truncate(Keep::draw(rng).prefix(bytes.len(), rng)),
            _ if rng.below(2) == 0 => return,
            _ => {}
        }
        // It may be a change that would have failed anyway: then nothing was written.
        let _ = self.apply(begun);
    }

    fn power_failure(&mut self, rng: &mut Rng) {
        self.risked = AtRisk {
            sectors: self.inodes.values().map(Inode::pending_sectors).sum(),
            block: self.block.bytes(),
            lens: self.inodes.values().map(Inode::pending_lens).max().unwrap_or(0),
            names: self.pending_names.len(),
        };
        self.unfinished.sectors = self.pending_sectors();
        self.unfinished.names = self.pending_names.iter().map(Naming::words).collect();
        match self.survival.take() {
            Some(survival) => self.leave(&survival),
            None => self.leave_drawn(rng),
        }
    }

    /// A call in words.
    fn words(&self, change: &Change) -> String {
        match change {
            Change::Create(name) => format!("the creation of {name}"),
            Change::Rename(from, to) => format!("the renaming of {from} to {to}"),
            Change::Remove(name) => format!("the removal of {name}"),
            Change::SyncDir => "the sync of the directory".into(),
            Change::Write { inode, offset, bytes } => {
                format!("the write of {} bytes at {offset} of {}", bytes.len(), self.name_of(*inode))
            }
            Change::SetLen { inode, len } => {
                format!("the change of the length of {} to {len}", self.name_of(*inode))
            }
            Change::Sync { inode, .. } => format!("the sync of {}", self.name_of(*inode)),
        }
    }

    fn name_of(&self, inode: u64) -> String {
        let mut named = self.names.iter().chain(&self.durable_names);
        named
            .find(|(_, of)| **of == inode)
            .map_or_else(|| "a file without a name".into(), |(name, _)| name.clone())
    }

    fn pending_sectors(&self) -> Vec<(String, usize)> {
        let mut sectors = Vec::new();
        for (&number, inode) in &self.inodes {
            let pending = inode.pending.iter().filter_map(|pending| match pending {
                Pending::Sector { index, .. } => Some(*index),
                Pending::Len(_) => None,
            });
            sectors.extend(pending.map(|index| (self.name_of(number), index)));
        }
        sectors
    }

    fn leave(&mut self, survival: &Survival) {
        self.settle_names(self.pending_names.len(), |nth| survival.keeps_name(nth));
        self.names = self.durable_names.clone();
        let mut fates = survival.sectors.iter().copied();
        for inode in self.inodes.values_mut() {
            inode.survive(survival.lens, || fates.next().unwrap_or(SectorFate::Lost));
            inode.cached.clone_from(&inode.durable);
        }
    }

    fn leave_drawn(&mut self, rng: &mut Rng) {
        let many = self.pending_names.len();
        let kept = Keep::draw(rng).of(many, rng);
        self.settle_names(many, |nth| kept[nth]);
        self.names = self.durable_names.clone();

        let keep = Keep::draw(rng);
        let sectors: usize = self.inodes.values().map(Inode::pending_sectors).sum();
        let mut damaged = (sectors > 0 && rng.below(4) == 0).then(|| rng.below(sectors));
        for inode in self.inodes.values_mut() {
            let here = inode.pending_sectors();
            inode.settle(keep, rng, damaged.filter(|&nth| nth < here));
            damaged = damaged.and_then(|nth| nth.checked_sub(here));
            inode.cached.clone_from(&inode.durable);
        }
    }

    fn forget_unreachable(&mut self) {
        let (names, durable) = (&self.names, &self.durable_names);
        let pending = &self.pending_names;
        if self.inodes.len() == names.len() && pending.is_empty() {
            return;
        }
        self.inodes.retain(|id, inode| {
            inode.handles > 0
                || names.values().chain(durable.values()).any(|named| named == id)
                || pending.iter().any(|naming| naming.inode() == *id)
        });
    }
}

impl Naming {
    fn words(&self) -> String {
        match self {
            Naming::Link(name, _) => format!("the creation of {name}"),
            Naming::Rename(from, to, _) => format!("the renaming of {from} to {to}"),
            Naming::Remove(name, _) => format!("the removal of {name}"),
        }
    }

    fn inode(&self) -> u64 {
        let (Naming::Link(_, inode) | Naming::Rename(_, _, inode) | Naming::Remove(_, inode)) = self;
        *inode
    }

    /// Does it where what was before may be missing.
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Naming::Link(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Naming::Rename(from, to, inode) => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
            Naming::Remove(name, inode) => {
                if names.get(name) == Some(inode) {
                    names.remove(name);
                }
            }
        }
    }
}

impl Inode {
    fn new(block: Block) -> Inode {
        let (cached, durable, pending) = (Vec::new(), Vec::new(), Vec::new());
        let (settled, handles, lost, bad) = (0, 0, 0, Vec::new());
        Inode { block: block.bytes(), cached, durable, pending, settled, handles, lost, bad }
    }

    fn set_len(&mut self, len: usize) {
        self.cached.resize(len, 0);
        self.pending.push(Pending::Len(len));
    }

    fn write(&mut self, start: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = start + bytes.len();
        if end > self.cached.len() {
            self.set_len(end);
        }
        self.cached[start..end].copy_from_slice(bytes);
        for index in start / self.block..end.div_ceil(self.block) {
            let mut data = vec![0; self.block].into_boxed_slice();
            let from = index * self.block;
            let held = &self.cached[from..self.cached.len().min(from + self.block)];
            data[..held.len()].copy_from_slice(held);
            self.pending.push(Pending::Sector { index, data });
        }
    }

    fn pending_sectors(&self) -> usize {
        self.pending.iter().filter(|pending| matches!(pending, Pending::Sector { .. })).count()
    }

    fn pending_lens(&self) -> usize {
        self.pending.len() - self.pending_sectors()
    }

    /// Moves what is kept of the pending changes into the durable image and forgets the rest. The `damaged`th
    /// pending sector is kept torn or as garbage.
    fn settle(&mut self, keep: Keep, rng: &mut Rng, damaged: Option<usize>) {
        let sectors = self.pending_sectors();
        let lens = keep.prefix(self.pending.len() - sectors, rng);
        let prefix = keep.prefix(sectors, rng);
        let (mut nth, block) = (0, self.block);
        self.survive(lens, || {
            let kept = match keep {
                Keep::None => false,
                Keep::All => true,
                Keep::Prefix => nth < prefix,
                Keep::Subset => rng.below(2) == 0,
            };
            let fate = match (damaged == Some(nth), kept) {
                (true, _) if rng.below(2) == 0 => SectorFate::Torn(rng.below(block)),
                (true, _) => SectorFate::Garbage(rng.next()),
                (false, true) => SectorFate::Whole,
                (false, false) => SectorFate::Lost,
            };
            nth += 1;
            fate
        });
    }

    /// The same with the number of kept lengths, and the fate of each sector in turn, given.
    fn survive(&mut self, mut lens: usize, mut fate: impl FnMut() -> SectorFate) {
        let mut len = self.durable.len();
        self.settled += self.pending.len();
        for pending in self.pending.drain(..) {
            match pending {
                Pending::Len(to) if lens > 0 => {
                    lens -= 1;
                    len = to;
                    self.durable.truncate(to);
                }
                Pending::Len(_) => {}
                Pending::Sector { index, data } => {
                    let fate = fate();
                    let (from, to) = (index * self.block, (index + 1) * self.block);
                    if fate != SectorFate::Lost && self.durable.len() < to {
                        self.durable.resize(to, 0);
                    }
                    match fate {
                        SectorFate::Lost => {}
                        SectorFate::Whole => self.durable[from..to].copy_from_slice(&data),
                        SectorFate::Torn(new) => {
                            let new = new.min(self.block);
                            self.durable[from..from + new].copy_from_slice(&data[..new]);
                        }
                        SectorFate::Garbage(seed) => {
                            let mut rng = Rng::new(seed);
                            self.durable[from..to].fill_with(|| rng.next() as u8);
                        }
                    }
                }
            }
        }
        self.durable.resize(len, 0);
    }
}

fn dead() -> io::Error {
    io::Error::other("simulated: the machine has crashed")
}

fn cannot() -> io::Error {
    io::Error::other("simulated: the disk could not do it")
}

fn beyond_end() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

fn position(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

#[cfg(test)]
mod tests;
