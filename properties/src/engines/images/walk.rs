//! All that may befall the disk of one plan: a plan of this engine for each.

use std::collections::VecDeque;

use stanchion_queues::file::sim::FailSync;
use stanchion_queues::file::survival::{Fault, Survival};
use stanchion_queues::{Crash, Host, Settings};

use super::choices::{drawn, survivals};
use super::plan::{Blow, Move, Plan, Version};
use super::run::run;
use crate::dice::Dice;
use crate::engines::sequential::NotStarted;
use crate::plan::{self, Fate, How, Step, Which};

/// So many calls of a restart fail in turn; a restart that makes fewer is tried less.
const RESTART: u64 = 6;
/// A second blow comes within so many calls.
const SOON: u64 = 8;
const FAULTS: [Fault; 5] = [
    Fault::Full,
    Fault::Io(FailSync::KeepPages),
    Fault::Io(FailSync::DropPages),
    Fault::Late(FailSync::KeepPages),
    Fault::Late(FailSync::DropPages),
];

/// How much is gone through for each plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// At most so many images of the disk for each call.
    pub images: usize,
    /// Whether each call fails once.
    pub faults: bool,
    /// So many flipped bits.
    pub flips: usize,
    /// The disk lies: the negative control.
    pub lying: bool,
    /// Decides all that is drawn.
    pub seed: u64,
}

/// What may befall the disk in one plan, call by call.
pub struct Images<F> {
    make: F,
    base: plan::Plan,
    scope: Scope,
    dice: Dice,
    /// How many calls each part of the plan makes: the first start, then each step.
    calls: Vec<u64>,
    /// The part, and the call in it, that come next.
    next: (usize, u64),
    ready: VecDeque<Plan>,
}

impl<H: Host, F: Fn(&Settings) -> H> Images<F> {
    /// Of what clients do in this plan.
    ///
    /// # Errors
    /// The broker does not start on an empty disk.
    pub fn of(make: F, base: plan::Plan, scope: Scope) -> Result<Images<F>, NotStarted> {
        let steps = base.steps.iter().cloned().map(Move::plain).collect();
        let untouched = plan_of(&base, None, steps);
        let calls = run(&make, &untouched)?.calls();
        let dice = Dice::new(scope.seed);
        Ok(Images { make, base, scope, dice, calls, next: (0, 0), ready: VecDeque::new() })
    }

    /// All that may befall the disk at the next call.
    fn refill(&mut self) -> Option<()> {
        while self.next.0 < self.calls.len() && self.next.1 >= self.calls[self.next.0] {
            self.next = (self.next.0 + 1, 0);
        }
        let (part, call) = self.next;
        if part > self.calls.len() {
            return None;
        }
        if part < self.calls.len() {
            self.next.1 += 1;
            self.at(part, call);
        } else {
            self.next.0 += 1;
            self.behind();
        }
        Some(())
    }

    /// The machine stops during this call, or it fails.
    fn at(&mut self, part: usize, after: u64) {
        let stops = |left| Blow::Stops { after, left };
        let struck = |images: &Images<F>, blow: Blow, more: usize| {
            let mut steps: Vec<Move> =
                images.base.steps[..part + more].iter().cloned().map(Move::plain).collect();
            let start = match part.checked_sub(1) {
                Some(step) => {
                    steps[step].blow = Some(blow);
                    None
                }
                None => Some(blow),
            };
            plan_of(&images.base, start, steps)
        };
        let probe = struck(self, stops(Survival::default()), 0).followed_by(tail(Crash::Power));
        for left in self.survivals(&probe) {
            let mut tail = tail(Crash::Power);
            self.strike_again(&mut tail);
            self.ready.push_back(struck(self, stops(left), 0).followed_by(tail));
        }
        let mut killed = tail(Crash::Process);
        self.strike_again(&mut killed);
        self.ready.push_back(struck(self, stops(Survival::default()), 0).followed_by(killed));
        if self.scope.faults {
            // Nobody says whether a broker whose disk has failed still took note of a lost session.
            let loses = part.checked_sub(1).is_some_and(|step| is_loss(&self.base.steps[step]));
            let more = self.base.steps[part..].iter().take_while(|step| !is_loss(step)).count();
            let more = if loses { 0 } else { more.min(2) };
            for fault in FAULTS {
                for left in [Survival::default(), drawn(&mut self.dice)] {
                    let mut tail = tail(Crash::Power);
                    tail[0].left = left;
                    self.strike_again(&mut tail);
                    self.ready.push_back(struck(self, Blow::Fails { after, fault }, more).followed_by(tail));
                }
            }
        }
    }

    /// The power fails behind the last call; what fails or flips, does so then.
    fn behind(&mut self) {
        let whole = |images: &Images<F>, tail: Vec<Move>| {
            let steps = images.base.steps.iter().cloned().map(Move::plain).collect();
            plan_of(&images.base, None, steps).followed_by(tail)
        };
        let probe = whole(self, tail(Crash::Power));
        for left in self.survivals(&probe) {
            let mut tail = tail(Crash::Power);
            self.strike_again(&mut tail);
            tail[0].left = left;
            self.ready.push_back(whole(self, tail));
        }
        let faults = FAULTS.into_iter().filter(|_| self.scope.faults);
        for (fault, after) in faults.flat_map(|fault| (0..RESTART).map(move |after| (fault, after))) {
            let mut tail = tail(Crash::Power);
            tail[0].left = drawn(&mut self.dice);
            tail[0].blow = Some(Blow::Fails { after, fault });
            tail[4].left = drawn(&mut self.dice);
            self.ready.push_back(whole(self, tail));
        }
        for _ in 0..self.scope.flips {
            let mut tail = tail(Crash::Process);
            tail[0].flip = Some(self.dice.next());
            tail[4].left = drawn(&mut self.dice);
            self.ready.push_back(whole(self, tail));
        }
    }

    fn survivals(&mut self, probe: &Plan) -> Vec<Survival> {
        // Should it not start again, the images of it show that.
        let risked = run(&self.make, probe).map(|ran| ran.seen.risked).unwrap_or_default();
        survivals(risked, self.scope.images, &mut self.dice)
    }

    /// The power fails again: between two calls in the end, and every second time during a call before that.
    fn strike_again(&mut self, tail: &mut [Move]) {
        let dice = &mut self.dice;
        let last = tail.len() - 1;
        tail[last].left = drawn(dice);
        if dice.one_in(2) {
            // Most calls are made by the restart.
            let which = if dice.one_in(2) { 0 } else { dice.below(last as u64) as usize };
            tail[which].blow = Some(Blow::Stops { after: dice.below(SOON), left: drawn(dice) });
        }
    }
}

impl<H: Host, F: Fn(&Settings) -> H> Iterator for Images<F> {
    type Item = Plan;

    fn next(&mut self) -> Option<Plan> {
        while self.ready.is_empty() {
            self.refill()?;
            let lying = self.scope.lying;
            self.ready.iter_mut().for_each(|plan| plan.lying = lying);
        }
        self.ready.pop_front()
    }
}

impl Plan {
    fn followed_by(mut self, tail: Vec<Move>) -> Plan {
        self.steps.extend(tail);
        self
    }
}

fn plan_of(base: &plan::Plan, start: Option<Blow>, steps: Vec<Move>) -> Plan {
    let plan::Plan { settings, redrive_at_end, .. } = *base;
    Plan { version: Version, settings, start, steps, redrive_at_end, lying: false }
}

fn is_loss(step: &Step) -> bool {
    matches!(step, Step::LoseSession { .. })
}

/// A crash, something more, and another crash.
fn tail(crash: Crash) -> Vec<Move> {
    let fate = Fate::Arrives;
    [
        Step::Crash { kind: crash },
        Step::Send { session: 0, count: 2, delay_ms: 0, keyed: false, fate },
        Step::Receive { session: 1, max: 2, lease_ms: 10, fate },
        Step::Settle { session: 1, which: Which::Current(0), count: 1, how: How::Ack, fate },
        Step::Crash { kind: Crash::Power },
    ]
    .map(Move::plain)
    .into()
}
