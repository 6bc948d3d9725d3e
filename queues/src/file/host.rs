//! Where file queues live across crashes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use super::commit::{Limits, Shared};
use super::log::Sizes;
use super::mistake::Mistake;
use super::queue::{FileQueue, open_taken};
use super::real::RealDir;
use super::rng::mix;
use super::sim::SimDisk;
use super::storage::Block;
use crate::broker::{Crash, Error, Host, Settings};
use crate::sync;

/// On a simulated disk segments are so short, and so little is kept in memory, that short plans get to see all that
/// happens in a log.
pub(super) const SIMULATED: Limits =
    Limits { sizes: Sizes { least: 4 << 10, most: 16 << 10 }, recent: 1 << 10 };

/// The same on a disk with longer sectors: as many of them.
const SIMULATED_IN_PAGES: Limits = Limits { sizes: Sizes { least: 32 << 10, most: 128 << 10 }, ..SIMULATED };

/// A file queue on a simulated disk of its own.
#[derive(Debug)]
pub struct SimHost {
    disk: SimDisk,
    settings: Settings,
    limits: Limits,
    crashes: u64,
    running: Weak<Shared<SimDisk>>,
}

impl SimHost {
    /// An empty disk. What crashes keep follows from the seed in the settings.
    pub fn new(settings: &Settings) -> SimHost {
        SimHost::on(SimDisk::new(), settings)
    }

    /// A host of a queue that makes a mistake. For showing that a test can fail.
    #[doc(hidden)]
    pub fn with_mistake(mistake: Mistake, settings: &Settings) -> SimHost {
        SimHost::on(SimDisk::with_mistake(mistake), settings)
    }

    /// A host of a disk that writes whole pages: see [`SimDisk::in_blocks`].
    pub fn in_pages(settings: &Settings) -> SimHost {
        SimHost { limits: SIMULATED_IN_PAGES, ..SimHost::on(SimDisk::in_blocks(Block::Page), settings) }
    }

    fn on(disk: SimDisk, settings: &Settings) -> SimHost {
        let limits = SIMULATED;
        SimHost { disk, settings: settings.clone(), limits, crashes: 0, running: Weak::new() }
    }

    /// The disk, for its fault switches.
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// Does what the heartbeat of a queue in real files does when nobody has called it for a while: see
    /// [`super::open_dir`]. In a simulation ([`crate::sync`]) it runs by itself.
    pub fn idle(&self) {
        if let Some(running) = self.running.upgrade() {
            running.lead_unwaited();
            running.witness();
        }
    }
}

impl Host for SimHost {
    type Broker = FileQueue<SimDisk>;

    fn boot(&mut self) -> Result<FileQueue<SimDisk>, Error> {
        let mut queue = FileQueue::open_within(self.disk.clone(), &self.settings, self.limits)?;
        self.running = Arc::downgrade(&queue.shared);
        // Elsewhere a thread would come when it likes.
        if sync::is_decided() {
            queue.start_heartbeat()?;
        }
        Ok(queue)
    }

    fn crash(&mut self, crash: Crash) {
        self.crashes += 1;
        self.disk.crash(crash, self.settings.seed ^ mix(self.crashes));
    }

    fn cuts_off_calls(&self) -> bool {
        // The disk is another one then.
        true
    }

    fn simulated_disk(&self) -> Option<&SimDisk> {
        Some(&self.disk)
    }

    fn limit(&mut self, deliveries_allowed: u32) -> bool {
        self.settings.deliveries_allowed = deliveries_allowed;
        true
    }

    fn idle(&self) {
        SimHost::idle(self);
    }
}

/// A file queue in a real directory. A crash of either kind is one of the process: the old queue is cut off
/// from its files, which stay as they are. Nobody can take the power from a real directory.
#[derive(Debug)]
pub struct DirHost {
    path: PathBuf,
    settings: Settings,
    running: Option<RealDir>,
}

impl DirHost {
    /// The directory is opened at each boot.
    pub fn new(path: impl AsRef<Path>, settings: &Settings) -> DirHost {
        DirHost { path: path.as_ref().to_owned(), settings: settings.clone(), running: None }
    }
}

impl Host for DirHost {
    type Broker = FileQueue<RealDir>;

    fn boot(&mut self) -> Result<FileQueue<RealDir>, Error> {
        // So that a queue that was dropped without a crash does not own the directory any more.
        self.running = None;
        self.settings.validate()?;
        let directory = RealDir::open(&self.path)?;
        self.running = Some(directory.clone());
        open_taken(directory, &self.settings)
    }

    fn crash(&mut self, _: Crash) {
        if let Some(directory) = self.running.take() {
            directory.cut_off();
        }
    }
}
