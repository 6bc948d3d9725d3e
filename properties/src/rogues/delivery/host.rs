//! Where the reference broker lives across crashes.

use std::cell::Cell;

use stanchion_queues::file::SimDisk;
use stanchion_queues::{Crash, Error, Host, Settings};

use super::broker::Reference;
use super::bug::{Bug, Switch};
use crate::plan::splitmix;

/// During which of its changing calls a compaction is struck: mostly those that write and sync the snapshot.
const COMPACTION: [u64; 8] = [2, 3, 3, 4, 4, 5, 6, 7];

/// A host of the reference broker, with at most one bug.
pub struct RogueHost {
    settings: Settings,
    switch: Switch,
    disk: SimDisk,
    /// Whether the broker stands on the disk, or in memory.
    durable: bool,
    running: Option<Reference<SimDisk>>,
    /// It came to rest, and does nothing of its own accord.
    resting: Cell<bool>,
    boots: u64,
}

impl RogueHost {
    /// A host of the broker with this bug, durable if the bug is of that kind.
    pub fn new(bug: Bug, settings: &Settings) -> RogueHost {
        RogueHost::with(Some(bug), bug.durable(), settings)
    }

    /// A host of the broker without a bug.
    pub fn correct(durable: bool, settings: &Settings) -> RogueHost {
        RogueHost::with(None, durable, settings)
    }

    /// A host of what a broker with this bug would be if that were right.
    pub fn twin(bug: Bug, settings: &Settings) -> RogueHost {
        match bug {
            Bug::D19 => RogueHost::new(Bug::WritesFail, settings),
            Bug::I11 => RogueHost::with(Some(Bug::Deduplicates), false, settings),
            Bug::I12 => RogueHost::new(Bug::Deduplicates, settings),
            _ => RogueHost::correct(bug.durable(), settings),
        }
    }

    /// The counts of its bug, also after it is gone.
    pub(super) fn switch(&self) -> &Switch {
        &self.switch
    }

    fn with(bug: Option<Bug>, durable: bool, settings: &Settings) -> RogueHost {
        RogueHost {
            settings: settings.clone(),
            switch: Switch::new(bug),
            disk: SimDisk::new(),
            durable,
            running: None,
            resting: Cell::new(false),
            boots: 0,
        }
    }

    /// How often wrong code ran.
    pub fn reached(&self) -> u64 {
        self.switch.reached()
    }
}

impl Host for RogueHost {
    type Broker = Reference<SimDisk>;

    fn boot(&mut self) -> Result<Reference<SimDisk>, Error> {
        self.settings.validate()?;
        self.boots += 1;
        let (settings, switch) = (self.settings.clone(), self.switch.clone());
        let broker = if self.durable {
            Reference::open(settings, self.disk.clone(), switch)?
        } else {
            Reference::in_memory(settings, self.boots, switch)
        };
        self.running = Some(broker.clone());
        Ok(broker)
    }

    /// One crash in eight comes between two calls. Half of them fall into the loss of every connection, the others into
    /// a compaction: neither changes anything that was promised, so they may happen at any time.
    fn crash(&mut self, crash: Crash) {
        let running = self.running.take();
        if !self.durable {
            return;
        }
        let disk = &mut self.disk;
        let seed = splitmix(self.settings.seed ^ self.boots);
        // A machine that has stopped does nothing more.
        if let Some(running) = running.filter(|_| !disk.stopped() && !self.resting.take()) {
            match seed % 8 {
                0 => {}
                1..=4 => {
                    disk.crash_after(seed >> 8 & 3);
                    running.disconnect();
                }
                _ => {
                    disk.crash_after(COMPACTION[(seed >> 8) as usize % COMPACTION.len()]);
                    running.compact();
                }
            }
        }
        disk.crash(crash, seed);
    }

    fn cuts_off_calls(&self) -> bool {
        // The disk is another one then.
        true
    }

    fn simulated_disk(&self) -> Option<&SimDisk> {
        self.durable.then_some(&self.disk)
    }

    fn limit(&mut self, deliveries_allowed: u32) -> bool {
        self.settings.deliveries_allowed = deliveries_allowed;
        true
    }

    fn idle(&self) {
        if let Some(running) = &self.running {
            self.resting.set(true);
            running.come_to_rest();
        }
    }
}
