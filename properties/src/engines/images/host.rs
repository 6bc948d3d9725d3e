//! A host whose disk is struck as a plan says.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stanchion_queues::file::SimDisk;
use stanchion_queues::file::storage::{Storage, StorageFile};
use stanchion_queues::file::survival::{AtRisk, Fault, Survival, Unfinished};
use stanchion_queues::{Crash, Error, Host};

use super::plan::{Blow, Plan};
use crate::dice::Dice;

/// What a bit is drawn from as a whole.
const SECTOR: usize = 512;
/// After so many calls, which nobody makes.
const NEVER: u64 = u64::MAX;

/// When something befell the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum During {
    /// The first start.
    Start,
    /// The step with this number.
    Step(usize),
    /// The restart after this step, which is a crash.
    Restart(usize),
}

/// One thing that befell the disk.
#[derive(Clone, Debug)]
pub(super) enum Blown {
    /// The broker went down.
    Down { during: During, crash: Crash, left: Survival, unfinished: Unfinished },
    /// A call failed.
    Failed { during: During, call: String, fault: Fault },
    /// A bit flipped in this file.
    Flipped { file: String, bit: u64 },
}

/// What was seen of the disk.
#[derive(Debug)]
pub(super) struct Seen {
    disk: Option<SimDisk>,
    during: During,
    armed: Option<Blow>,
    /// After how many calls each step began, and the last one ended.
    pub(super) begins: Vec<u64>,
    /// At which tick each step began.
    pub(super) ticks: Vec<u64>,
    pub(super) blown: Vec<Blown>,
    /// What the first failure of the power put at risk.
    pub(super) risked: Option<AtRisk>,
    /// The broker refused to start on a disk with a flipped bit.
    pub(super) refused: bool,
}

impl Seen {
    fn arm(&mut self, blow: Option<&Blow>) {
        let Some(disk) = &self.disk else { return };
        match blow {
            Some(Blow::Stops { after, .. }) => disk.crash_after(*after),
            Some(Blow::Fails { after, fault }) => disk.fail_after(*after, *fault),
            None => return,
        }
        self.armed = blow.cloned();
    }

    /// Whether a call failed since this was asked last.
    fn has_failed(&mut self) -> bool {
        let (Some(Blow::Fails { fault, .. }), Some(disk)) = (&self.armed, &self.disk) else { return false };
        if disk.fault_pending() {
            return false;
        }
        let call = disk.failed().unwrap_or_default();
        self.blown.push(Blown::Failed { during: self.during, call, fault: *fault });
        self.armed = None;
        true
    }

    /// A step has ended without having been struck; or it has been.
    fn disarm(&mut self) {
        self.has_failed();
        let Some(disk) = self.disk.as_ref().filter(|disk| !disk.stopped()) else { return };
        match self.armed.take() {
            Some(Blow::Stops { .. }) => disk.crash_after(NEVER),
            Some(Blow::Fails { fault, .. }) => disk.fail_after(NEVER, fault),
            None => {}
        }
    }

    /// A step begins.
    pub(super) fn begins(&mut self, plan: &Plan, index: usize, tick: u64) {
        self.disarm();
        self.ticks.push(tick);
        self.begins.push(self.disk.as_ref().map_or(0, |disk| disk.counts().calls));
        self.during = During::Step(index);
        if plan.steps.get(index).is_some_and(|of| !of.crashes()) {
            self.arm(plan.blow(index));
        }
    }

    /// What a failure of the power leaves now, if a blow decides that.
    fn left(&mut self) -> Option<Survival> {
        match self.armed.take_if(|_| self.disk.as_ref().is_some_and(SimDisk::stopped)) {
            Some(Blow::Stops { left, .. }) => Some(left),
            _ => None,
        }
    }
}

/// What a host and whoever runs it both see.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Seen>>);

impl Shared {
    pub(super) fn new() -> Shared {
        Shared(Arc::new(Mutex::new(Seen {
            disk: None,
            during: During::Start,
            armed: None,
            begins: Vec::new(),
            ticks: Vec::new(),
            blown: Vec::new(),
            risked: None,
            refused: false,
        })))
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Struck<H> {
    inner: H,
    plan: Arc<Plan>,
    shared: Shared,
}

impl<H: Host> Struck<H> {
    pub(super) fn new(inner: H, plan: &Arc<Plan>, shared: Shared) -> Struck<H> {
        let mut seen = shared.seen();
        seen.disk = inner.simulated_disk().cloned();
        if let Some(disk) = &seen.disk {
            disk.lie_on_sync(plan.lying);
        }
        seen.arm(plan.start.as_ref());
        drop(seen);
        Struck { inner, plan: Arc::clone(plan), shared }
    }

    fn is_stopped(&self) -> bool {
        self.inner.simulated_disk().is_some_and(SimDisk::stopped)
    }

    /// Takes the broker down.
    fn down(&mut self, crash: Crash, left: Survival) {
        if let (Crash::Power, Some(disk)) = (crash, self.inner.simulated_disk()) {
            disk.keep(left.clone());
        }
        self.inner.crash(crash);
        let mut seen = self.shared.seen();
        let Some(disk) = self.inner.simulated_disk() else { return };
        if crash == Crash::Power {
            seen.risked.get_or_insert(disk.risked());
        }
        let (during, unfinished) = (seen.during, disk.unfinished());
        seen.blown.push(Blown::Down { during, crash, left, unfinished });
    }

    /// Flips a bit in one of the sectors that hold anything.
    fn flip(&mut self, seed: u64) {
        let Some(disk) = self.inner.simulated_disk() else { return };
        let mut dice = Dice::new(seed);
        let mut sectors = Vec::new();
        for name in disk.list().unwrap_or_default() {
            let read = disk.open(&name).and_then(|file| {
                let mut bytes = vec![0; file.len()? as usize];
                file.read_at(&mut bytes, 0).map(|()| bytes)
            });
            let bytes = read.unwrap_or_default();
            let written =
                bytes.chunks(SECTOR).enumerate().filter(|(_, sector)| sector.iter().any(|byte| *byte != 0));
            sectors.extend(written.map(|(nth, sector)| (name.clone(), nth * SECTOR * 8, sector.len() * 8)));
        }
        if !sectors.is_empty() {
            let (name, first, bits) = &sectors[dice.below(sectors.len() as u64) as usize];
            let bit = *first as u64 + dice.below(*bits as u64);
            // There is such a bit.
            let _ = disk.flip_bit(name, bit);
            self.shared.seen().blown.push(Blown::Flipped { file: name.clone(), bit });
        }
    }
}

impl<H: Host> Host for Struck<H> {
    type Broker = H::Broker;

    /// A boot during which the disk is struck is no answer: the broker is booted again.
    fn boot(&mut self) -> Result<H::Broker, Error> {
        loop {
            match self.inner.boot() {
                Ok(broker) => return Ok(broker),
                Err(_) if self.is_stopped() => {
                    let left = self.shared.seen().left().unwrap_or_default();
                    self.down(Crash::Power, left);
                }
                Err(error) => {
                    let mut seen = self.shared.seen();
                    if !seen.has_failed() {
                        seen.refused = true;
                        return Err(error);
                    }
                }
            }
        }
    }

    fn crash(&mut self, crash: Crash) {
        let mut seen = self.shared.seen();
        seen.has_failed();
        let During::Step(index) = seen.during else { return };
        let of = self.plan.steps.get(index);
        let left = seen.left();
        drop(seen);
        let flip = of.and_then(|of| of.flip);
        if flip.is_some() && !self.is_stopped() {
            self.inner.idle();
        }
        let left = left.or_else(|| of.map(|of| of.left.clone()));
        self.down(crash, left.unwrap_or_default());
        if let Some(seed) = flip {
            self.flip(seed);
        }
        let mut seen = self.shared.seen();
        seen.during = During::Restart(index);
        seen.arm(self.plan.blow(index));
    }

    fn simulated_disk(&self) -> Option<&SimDisk> {
        self.inner.simulated_disk()
    }
}
