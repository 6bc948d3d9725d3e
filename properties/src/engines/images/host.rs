//! A host whose disk is struck where and how one image says.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stanchion_queues::file::storage::{Storage, StorageFile};
use stanchion_queues::file::survival::{AtRisk, Fault, Survival};
use stanchion_queues::file::{SimDisk, SimHost};
use stanchion_queues::{Crash, Error, Host};

use super::choices;
use crate::dice::Dice;

/// What a bit is drawn from as a whole.
const SECTOR: usize = 512;

/// A host whose broker stands on a simulated disk and on nothing else.
pub trait ImageHost: Host {
    /// The disk that its boots and crashes are about.
    fn disk(&self) -> &SimDisk;

    /// Does what the broker does of itself when nobody calls it for a while. By default that is nothing.
    fn idle(&self) {}
}

impl ImageHost for SimHost {
    fn disk(&self) -> &SimDisk {
        SimHost::disk(self)
    }

    fn idle(&self) {
        SimHost::idle(self);
    }
}

/// Where and how the disk is struck first. Calls are counted from the first boot on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strike {
    /// Nowhere.
    None,
    /// The power fails during the call after so many, and this is left.
    Power(u64, Survival),
    /// The process is killed during the call after so many.
    Kill(u64),
    /// The call after so many fails; the power fails soon after.
    Fail(u64, Fault),
    /// A bit of what is stored flips while the broker is down; before that nobody had called it for a while.
    Flip,
}

/// One way for a plan to meet a bad disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The first blow.
    pub strike: Strike,
    /// After it, the power fails again during the call after so many, if the plan makes them.
    pub again: Option<u64>,
    /// Decides what later failures leave, and which bit flips.
    pub seed: u64,
    /// The disk confirms syncs that it does not do.
    pub lying: bool,
}

impl Image {
    pub(super) const fn untouched() -> Image {
        Image { strike: Strike::None, again: None, seed: 0, lying: false }
    }
}

/// What was seen of the disk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Calls before the first blow.
    pub(super) calls: u64,
    pub(super) struck: bool,
    pub(super) risked: AtRisk,
    /// The broker refused to start on a disk with a flipped bit.
    pub(super) refused: bool,
}

pub(super) type Shared = Arc<Mutex<Seen>>;

pub(super) struct Struck<H> {
    inner: H,
    image: Image,
    dice: Dice,
    blows: u32,
    seen: Shared,
}

impl<H: ImageHost> Struck<H> {
    pub(super) fn new(inner: H, image: &Image, seen: Shared) -> Struck<H> {
        let disk = inner.disk();
        disk.lie_on_sync(image.lying);
        match image.strike {
            Strike::Power(at, _) | Strike::Kill(at) => disk.crash_after(at),
            Strike::Fail(at, fault) => disk.fail_after(at, fault),
            Strike::None | Strike::Flip => {}
        }
        Struck { inner, image: image.clone(), dice: Dice::new(image.seed), blows: 0, seen }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn strike(&mut self) {
        let first = self.blows == 0;
        self.blows += 1;
        if first {
            let mut seen = self.seen();
            seen.struck = true;
            seen.calls = self.inner.disk().counts().calls;
        }
        match &self.image.strike {
            Strike::Power(_, survival) if first => {
                self.inner.disk().keep(survival.clone());
                self.inner.crash(Crash::Power);
                self.seen().risked = self.inner.disk().risked();
            }
            Strike::Kill(_) if first => self.inner.crash(Crash::Process),
            Strike::Flip if first => {
                self.inner.idle();
                self.inner.crash(Crash::Process);
            }
            _ => {
                self.inner.disk().keep(choices::drawn(&mut self.dice));
                self.inner.crash(Crash::Power);
            }
        }
        if !first {
            return;
        }
        if self.image.strike == Strike::Flip {
            self.flip();
        }
        if let Some(calls) = self.image.again {
            self.inner.disk().crash_after(calls);
        }
    }

    /// Flips a bit in one of the sectors that hold anything.
    fn flip(&mut self) {
        let disk = self.inner.disk();
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
            let (name, first, bits) = &sectors[self.dice.below(sectors.len() as u64) as usize];
            // There is such a bit.
            let _ = disk.flip_bit(name, *first as u64 + self.dice.below(*bits as u64));
        }
    }
}

impl<H: ImageHost> Host for Struck<H> {
    type Broker = H::Broker;

    /// A boot during which the disk is struck is no answer: the broker is booted again.
    fn boot(&mut self) -> Result<H::Broker, Error> {
        loop {
            let pending = self.inner.disk().fault_pending();
            match self.inner.boot() {
                Err(_) if self.inner.disk().stopped() => self.strike(),
                Err(_) if pending && !self.inner.disk().fault_pending() => self.seen().struck = true,
                Err(error) => {
                    self.seen().refused = self.image.strike == Strike::Flip;
                    return Err(error);
                }
                Ok(broker) => return Ok(broker),
            }
        }
    }

    fn crash(&mut self, _: Crash) {
        self.strike();
    }
}
