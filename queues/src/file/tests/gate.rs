//! A disk whose syncs wait at a gate, so that a test decides what happens while a commit is on its way.

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use super::*;
use crate::file::sim::SimFile;
use crate::file::storage::{Block, Storage, StorageFile};

#[derive(Clone, Debug)]
pub(super) struct Gated {
    pub(super) disk: SimDisk,
    gate: Arc<(Mutex<Gate>, Condvar)>,
}

#[derive(Debug, Default)]
struct Gate {
    closed: bool,
    /// Syncs that stand before it.
    arrived: usize,
    /// How many may pass though it is closed.
    passes: usize,
    panics: bool,
    /// Nothing can be read.
    blind: bool,
}

#[derive(Debug)]
pub(super) struct GatedFile(SimFile, Gated);

impl Gated {
    pub(super) fn new() -> Gated {
        Gated { disk: SimDisk::new(), gate: Arc::default() }
    }

    pub(super) fn close(&self) {
        self.gate.0.lock().expect("no panic").closed = true;
    }

    /// Waits for a sync to stand before the gate.
    pub(super) fn arrived(&self) {
        let gate = self.gate.0.lock().expect("no panic");
        drop(self.gate.1.wait_while(gate, |gate| gate.arrived == 0).expect("no panic"));
    }

    pub(super) fn open(&self) {
        self.gate.0.lock().expect("no panic").closed = false;
        self.gate.1.notify_all();
    }

    /// Lets the one pass that stands before the gate.
    pub(super) fn pass_one(&self) {
        let mut gate = self.gate.0.lock().expect("no panic");
        gate.passes = 1;
        self.gate.1.notify_all();
        while gate.passes > 0 {
            gate = self.gate.1.wait(gate).expect("no panic");
        }
    }

    /// Lets whoever stands before the gate panic.
    pub(super) fn open_to_panic(&self) {
        self.gate.0.lock().expect("no panic").panics = true;
        self.open();
    }

    /// From now on the system reads nothing, or all again.
    pub(super) fn blind(&self, blind: bool) {
        self.gate.0.lock().expect("no panic").blind = blind;
    }

    fn pass(&self) {
        let mut gate = self.gate.0.lock().expect("no panic");
        gate.arrived += 1;
        self.gate.1.notify_all();
        gate = self.gate.1.wait_while(gate, |gate| gate.closed && gate.passes == 0).expect("no panic");
        gate.arrived -= 1;
        gate.passes = gate.passes.saturating_sub(1);
        self.gate.1.notify_all();
        let panics = gate.panics;
        drop(gate);
        assert!(!panics, "a storage may panic");
    }
}

/// Waits until so many callers wait for a commit.
pub(super) fn wait_for<S: Storage>(queue: &FileQueue<S>, callers: usize) {
    while queue.shared.waiting() < callers {
        thread::yield_now();
    }
}

impl Storage for Gated {
    type File = GatedFile;

    fn create(&self, name: &str) -> io::Result<GatedFile> {
        Ok(GatedFile(self.disk.create(name)?, self.clone()))
    }

    fn open(&self, name: &str) -> io::Result<GatedFile> {
        Ok(GatedFile(self.disk.open(name)?, self.clone()))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }
}

impl StorageFile for GatedFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        if self.1.gate.0.lock().expect("no panic").blind {
            return Err(io::Error::other("simulated: the disk does not read"));
        }
        self.0.read_at(into, offset)
    }

    fn ready(&self) -> io::Result<Block> {
        self.0.ready()
    }

    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(from, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.0.allocate(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.1.pass();
        self.0.sync()
    }
}
