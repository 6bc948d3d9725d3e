//! Plans of the simulated engine: what clients do and what befalls them, as in a [`Plan`](crate::plan::Plan), and in
//! which order they have their turns.

use serde::{Deserialize, Serialize};
use stanchion_queues::Crash;

use crate::dice::Dice;
use crate::plan::{self, Fate, How, PlanSettings, Plans, SESSIONS, Step, Which, is_default, splitmix};
use crate::shrink::{Plainer, Shrink, put_together, redriven_at_end, with_plainer_arguments, without_faults};

/// The slot of the session that only looks, so that somebody takes notice of what has run out: none of a plan's.
const SWEEPER: usize = SESSIONS;
/// How many clients there are at most.
pub(super) const CLIENTS: usize = SESSIONS + 1;
/// About how many points a call has: on the way there, at a lock, at a clock, on the way back. One that waits for a
/// storage has several times as many.
const POINTS: u64 = 4;

/// What to do to a broker, and in which order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// How the broker is set up.
    pub settings: PlanSettings,
    /// Whose turn it is.
    pub schedule: Schedule,
    /// What happens. It begins in this order.
    pub steps: Vec<Move>,
    /// As in [`plan::Plan`].
    #[serde(default, skip_serializing_if = "is_default")]
    pub redrive_at_end: bool,
}

/// Decides whose turn it is. A function of the seed and of where each step is, and not of what was decided before, so
/// that leaving out a step changes as little as can be for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The same seed, the same turns.
    pub seed: u64,
    /// In which way.
    pub strategy: Strategy,
}

/// How turns are decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Strategy {
    /// At each point, everybody who can go on has the same chance.
    Uniform,
    /// Every call has a priority and the highest goes on; at a few points that of whoever is there falls below all
    /// others (probabilistic concurrency testing: Burckhardt et al. 2010).
    Pct {
        /// One point in so many is one where it falls.
        one_in: u64,
    },
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// Its name in the schedule.
    pub id: u64,
    /// What.
    pub step: Step,
    /// Nobody else has a turn until it is done.
    #[serde(default, skip_serializing_if = "is_default")]
    pub whole: bool,
    /// What happens while it is being done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meanwhile: Option<Meanwhile>,
}

/// What happens while a call is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meanwhile {
    /// When the call is at this point of its way, the first being 1. If it has fewer, nothing happens. (A storage fails
    /// when it is asked next.)
    pub point: u64,
    /// What.
    pub event: Interruption,
}

/// What interrupts a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Interruption {
    /// The broker dies and is started again.
    Crash(Crash),
    /// The same, but before that others go first.
    CrashAfter {
        /// What kills it.
        crash: Crash,
        /// Until so many steps more have begun.
        others: usize,
    },
    /// Its storage, if that is one of ours, fails what it asks of it.
    StorageFails,
    /// It stands still, and others go first.
    Stall {
        /// Until so many steps more have begun.
        others: usize,
    },
    /// It pauses, for as long as a lease: the clock moves to an instant at which a lease or a delay ends, or just
    /// beside it, and others go first.
    Pause {
        /// Which of those ahead, the nearest first.
        which: usize,
        /// That many nanoseconds beside it.
        #[serde(default, skip_serializing_if = "is_default")]
        offset_ns: i64,
        /// Until so many steps more have begun.
        others: usize,
    },
}

/// Whose turn it could be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// The name of its step.
    pub(super) id: u64,
    /// At which point of its way it is; 0: it has not begun.
    pub(super) point: u64,
    /// How many turns others have had since it stopped there.
    pub(super) since: u64,
    /// In which place from the end it was put, if it fell.
    pub(super) fell: Option<u64>,
}

impl Schedule {
    /// Who has the highest goes on.
    pub(super) fn priority(&self, of: &Standing) -> u64 {
        const UPPER: u64 = 1 << 63;
        let own = splitmix(self.seed ^ of.id);
        match (of.fell, self.strategy) {
            (Some(place), _) => UPPER - 1 - place,
            (None, Strategy::Uniform) => UPPER | splitmix(own ^ of.point << 32 ^ of.since) >> 1,
            // What has not begun is begun by one who stands in the middle: half of the calls are overtaken.
            (None, Strategy::Pct { .. }) if of.point == 0 => UPPER | UPPER >> 1,
            (None, Strategy::Pct { .. }) => UPPER | own >> 1,
        }
    }

    /// Whether the priority of this step falls at this point of its way.
    pub(super) fn falls(&self, id: u64, point: u64) -> bool {
        match self.strategy {
            Strategy::Uniform => false,
            Strategy::Pct { one_in } => {
                splitmix(splitmix(self.seed ^ id) ^ point).is_multiple_of(one_in.max(1))
            }
        }
    }
}

/// Which faults a run has at all. How often each happens then is decided call by call.
struct Faults {
    lost_calls: bool,
    lost_sessions: bool,
    crashes: bool,
    crashes_in_flight: bool,
    jumps_in_flight: bool,
    storage: bool,
    stalls: bool,
}

/// A point on the way of a step, or just beyond its last: where a way is short, or where it is long. The loss of a
/// session goes over no line.
fn point_of(step: &Step, dice: &mut Dice) -> u64 {
    let most = match step {
        Step::LoseSession { .. } => dice.pick(&[2, 2, 2, 2, 3 * POINTS]),
        _ => dice.pick(&[POINTS + 2, POINTS + 2, 3 * POINTS, 6 * POINTS]),
    };
    1 + dice.below(most)
}

/// What random search finds rarely: whoever has received pauses for as long as the lease in the middle of what it does
/// with it, and meanwhile others receive.
fn paused(receive: &Step, dice: &mut Dice) -> [(Step, Option<Meanwhile>); 3] {
    let session = receive.session().unwrap_or_default();
    let (which, fate) = (Which::Current(0), Fate::Arrives);
    let settle = |how| Step::Settle { session, which, count: 1, how, fate };
    let step = match dice.below(6) {
        0 | 1 => settle(How::Ack),
        2 => settle(How::Nack { delay_ms: 0 }),
        3 => Step::Extend { session, which, lease_ms: 30, fate },
        _ => Step::LoseSession { session },
    };
    let (which, others) = (dice.below(2) as usize, 1 + dice.below(3) as usize);
    let event = Interruption::Pause { which, offset_ns: 0, others };
    let meanwhile = Meanwhile { point: point_of(&step, dice), event };
    let other =
        |on: usize| (Step::Receive { session: (session + on) % SESSIONS, max: 1, lease_ms: 30, fate }, None);
    [(step, Some(meanwhile)), other(1), other(2)]
}

impl Plan {
    /// The plan of a seed: always the same one.
    pub fn draw(seed: u64) -> Plan {
        // Other plans than those of the sequential engine.
        let seed = splitmix(!seed);
        let plan::Plan { settings, steps, redrive_at_end } = Plans::default().draw(seed);
        let mut dice = Dice::new(seed);
        let mut on = || dice.one_in(2);
        let faults = Faults {
            lost_calls: on(),
            lost_sessions: on(),
            crashes: on(),
            crashes_in_flight: on(),
            jumps_in_flight: on(),
            storage: on(),
            stalls: on(),
        };
        let sweeps = on();
        let mut moves: Vec<Move> = Vec::with_capacity(steps.len());
        for mut step in steps {
            match &mut step {
                Step::LoseSession { .. } if !faults.lost_sessions => continue,
                Step::Crash { .. } if !faults.crashes => continue,
                called => {
                    if let Some(fate) = called.fate_mut().filter(|_| !faults.lost_calls) {
                        *fate = Fate::Arrives;
                    }
                }
            }
            let meanwhile = faults.meanwhile(&step, &mut dice);
            let passes = matches!(step, Step::Advance { .. } | Step::AdvanceTo { .. });
            let mut push = |step, meanwhile| {
                let id = moves.len() as u64;
                moves.push(Move { id, step, whole: false, meanwhile });
            };
            let pauses = faults.jumps_in_flight && matches!(step, Step::Receive { .. }) && dice.one_in(6);
            let paused = pauses.then(|| paused(&step, &mut dice));
            push(step, meanwhile);
            if passes && sweeps {
                push(Step::Depth { session: SWEEPER }, None);
            }
            paused.into_iter().flatten().for_each(|(step, meanwhile)| push(step, meanwhile));
        }
        let points = POINTS * moves.len() as u64;
        let strategy = match dice.below(2) {
            0 => Strategy::Uniform,
            _ => Strategy::Pct { one_in: points / (1 + dice.below(4)) },
        };
        Plan { settings, schedule: Schedule { seed: dice.next(), strategy }, steps: moves, redrive_at_end }
    }

    /// As in the plan that this one was made of.
    pub(super) fn redrive(&self) -> Option<&'static [usize]> {
        plan::redrive(self.redrive_at_end, self.settings.seed)
    }
}

impl Faults {
    fn meanwhile(&self, step: &Step, dice: &mut Dice) -> Option<Meanwhile> {
        let writes = matches!(
            step,
            Step::Send { .. } | Step::Settle { .. } | Step::SettleEach { .. } | Step::Redrive { .. }
        );
        step.session()?;
        let is_loss = matches!(step, Step::LoseSession { .. });
        let point = point_of(step, dice);
        // There a crash has most to take away.
        let struck = self.crashes_in_flight && dice.one_in(if writes { 12 } else { 80 });
        let jumps = self.jumps_in_flight && dice.one_in(if is_loss { 2 } else { 6 });
        let fails = self.storage && writes && dice.one_in(16);
        let stalls = self.stalls && writes && dice.one_in(3);
        let others = 1 + dice.below(4) as usize;
        let crash = dice.pick(&[Crash::Process, Crash::Power, Crash::Power]);
        let event = match (struck, jumps, fails) {
            (true, ..) if self.stalls && dice.one_in(2) => Interruption::CrashAfter { crash, others },
            (true, ..) => Interruption::Crash(crash),
            (_, _, true) => Interruption::StorageFails,
            (_, true, _) => Interruption::Pause {
                which: dice.below(3) as usize,
                offset_ns: dice.pick(&[-1, 0, 1]),
                others: dice.below(5) as usize,
            },
            _ if stalls => Interruption::Stall { others },
            _ => return None,
        };
        Some(Meanwhile { point, event })
    }
}

impl Shrink for Plan {
    type Step = Move;
    const PLAINER: &[Plainer<Move>] = &[
        |of| of.meanwhile.map(|_| Move { meanwhile: None, ..of.clone() }).into_iter().collect(),
        |of| {
            let plainer = Move { whole: true, ..of.clone() };
            if of.whole || of.step.session().is_none() { Vec::new() } else { vec![plainer] }
        },
        |of| of.with(without_faults(&of.step)),
        |of| of.with(with_plainer_arguments(&of.step)),
    ];
    const SIMPLER: &[Plainer<Plan>] =
        &[|plan| plan.simpler(0), |plan| plan.simpler(1), |plan| plan.simpler(2), |plan| plan.simpler(3)];

    fn steps(&self) -> &[Move] {
        &self.steps
    }

    fn with_steps(&self, steps: Vec<Move>) -> Plan {
        Plan { steps, ..self.clone() }
    }

    fn merged(one: &Move, two: &Move) -> Vec<Move> {
        let of = if two.meanwhile.is_some() { two } else { one };
        of.with(put_together(&one.step, &two.step))
    }

    fn fewer(&self) -> Vec<Plan> {
        let plans = redriven_at_end(self, self.redrive_at_end, |of: &Move| &of.step);
        plans.map(|plan| Plan { redrive_at_end: true, ..plan }).collect()
    }

    fn under_other_luck(&self, luck: u64) -> Option<Plan> {
        let schedule = Schedule { seed: luck, strategy: Strategy::Uniform };
        (luck < 16).then(|| Plan { schedule, ..self.clone() })
    }
}

impl Plan {
    /// Made simpler as that one would be.
    fn simpler(&self, pass: usize) -> Vec<Plan> {
        let Plan { settings, redrive_at_end, .. } = *self;
        let settings = plan::Plan { settings, steps: Vec::new(), redrive_at_end };
        let simpler = plan::Plan::SIMPLER[pass](&settings).into_iter();
        simpler
            .map(|plan::Plan { settings, redrive_at_end, .. }| Plan {
                settings,
                redrive_at_end,
                ..self.clone()
            })
            .collect()
    }
}

impl Move {
    fn with(&self, steps: Vec<Step>) -> Vec<Move> {
        steps.into_iter().map(|step| Move { step, ..self.clone() }).collect()
    }
}
