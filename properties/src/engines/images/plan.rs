//! Plans of this engine: what clients do, as in a [`Plan`](crate::plan::Plan), and how the disk fails the broker
//! meanwhile. One plan is one image: it says what each failure of the disk leaves, so nothing is left to chance.

use serde::{Deserialize, Serialize};
use stanchion_queues::Crash;
use stanchion_queues::file::survival::{Fault, SectorFate, Survival};

use crate::plan::{self, Odd, PlanSettings, Plans, Step, is_default};
use crate::shrink::{
    LUCK, Plainer, Shrink, put_together, redriven_at_end, with_plainer_arguments, without_faults,
};

/// What plans mean: which sectors a plan names, and which calls it counts, follows from the simulated disk and from how a host
/// is crashed. It rises when a plan that is saved would be run as another one. The first had no number.
pub const VERSION: u64 = 2;

/// Longer plans only repeat what shorter ones show, at more calls.
const STEPS: usize = 14;

/// What to do to a broker on a simulated disk, and how the disk fails it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What it means.
    pub version: Version,
    /// How the broker is set up.
    pub settings: PlanSettings,
    /// What befalls the disk during the first start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Blow>,
    /// What happens, in order.
    pub steps: Vec<Move>,
    /// As in [`plan::Plan`].
    #[serde(default, skip_serializing_if = "is_default")]
    pub redrive_at_end: bool,
    /// The disk confirms syncs that it does not do: the negative control.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lying: bool,
}

/// Says that a plan is of this [`VERSION`]: no other is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Version;

impl From<Version> for u64 {
    fn from(_: Version) -> u64 {
        VERSION
    }
}

impl TryFrom<u64> for Version {
    type Error = String;

    fn try_from(version: u64) -> Result<Version, String> {
        let other = || format!("it is of version {version}, and this is version {VERSION}");
        (version == VERSION).then_some(Version).ok_or_else(other)
    }
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// What.
    pub step: Step,
    /// What befalls the disk meanwhile; of a crash: during the restart. There is no such thing if a session is lost
    /// between it and the next crash: nobody says whether a broker whose disk has failed still took note of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blow: Option<Blow>,
    /// Of a failure of the power: what it leaves, if it comes between two calls.
    #[serde(default, skip_serializing_if = "is_default")]
    pub left: Survival,
    /// Of a crash: a bit of what is stored flips while the broker is down, and this decides which. Before the crash
    /// nobody had called the broker for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flip: Option<u64>,
}

/// What befalls a disk during one of the calls of a step. If the step makes fewer calls, nothing does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Blow {
    /// The machine stops.
    Stops {
        /// During the call after so many.
        after: u64,
        /// What is left if the power had failed.
        #[serde(default, skip_serializing_if = "is_default")]
        left: Survival,
    },
    /// One call fails.
    Fails {
        /// The call after so many.
        after: u64,
        /// How.
        fault: Fault,
    },
}

impl Move {
    /// A step during which nothing befalls the disk.
    pub fn plain(step: Step) -> Move {
        Move { step, blow: None, left: Survival::default(), flip: None }
    }

    pub(super) fn crashes(&self) -> bool {
        matches!(self.step, Step::Crash { .. })
    }

    pub(super) fn loses(&self) -> bool {
        matches!(self.step, Step::LoseSession { .. })
    }
}

/// What clients do in the case of a seed: as anywhere, but short, without large bodies and without crashes.
pub(super) fn draw(seed: u64) -> plan::Plan {
    let mut plan = Plans::default().draw(seed);
    plan.steps.retain(|step| match step {
        Step::Crash { .. } => false,
        Step::SendOdd { odd, .. } => matches!(odd, Odd::EmptyKey | Odd::NoBody),
        Step::Churn { count, .. } | Step::Flood { count, .. } | Step::Wear { count, .. } => *count <= 4,
        _ => true,
    });
    plan.steps.truncate(STEPS);
    plan
}

impl Plan {
    /// As another engine would read it. What a disk fails ends with a crash, or nobody could ask for more than that
    /// the broker says so.
    pub(super) fn script(&self) -> plan::Plan {
        let mut steps: Vec<Step> = self.steps.iter().map(|of| of.step.clone()).collect();
        let calm = self.steps.iter().rposition(Move::crashes).map_or(0, |last| last + 1);
        let restart = calm.checked_sub(1).and_then(|last| self.blow(last));
        let unhealed = (calm..steps.len()).any(|index| self.blow(index).is_some());
        if unhealed || restart.is_some() || calm == 0 && self.start.is_some() {
            steps.push(Step::Crash { kind: Crash::Power });
        }
        plan::Plan { settings: self.settings, steps, redrive_at_end: self.redrive_at_end }
    }

    /// What befalls the disk during this step.
    pub(super) fn blow(&self, index: usize) -> Option<&Blow> {
        let of = self.steps.get(index)?;
        let blow = of.blow.as_ref()?;
        let mut until_crash = self.steps[index + 1..].iter().take_while(|next| !next.crashes());
        let unclear = match of.loses() {
            true => until_crash.next().is_some(),
            false => until_crash.any(Move::loses),
        };
        (!unclear).then_some(blow)
    }

    /// Made simpler as a plan without a disk would be.
    fn simpler(&self, pass: usize) -> Vec<Plan> {
        let Plan { settings, redrive_at_end, .. } = *self;
        let simpler = plan::Plan::SIMPLER[pass](&plan::Plan { settings, steps: Vec::new(), redrive_at_end });
        let with =
            |plan::Plan { settings, redrive_at_end, .. }| Plan { settings, redrive_at_end, ..self.clone() };
        simpler.into_iter().map(with).collect()
    }
}

/// Less of a failure: nothing survives; or what is damaged is gone or whole; or a sector less survives.
fn fewer(left: &Survival) -> Vec<Survival> {
    if *left == Survival::default() {
        return Vec::new();
    }
    let mut forms = vec![Survival::default()];
    let mut form = |change: &dyn Fn(&mut Survival)| {
        let mut fewer = left.clone();
        change(&mut fewer);
        while fewer.sectors.last() == Some(&SectorFate::Lost) {
            fewer.sectors.pop();
        }
        if fewer != *left {
            forms.push(fewer);
        }
    };
    form(&|left| left.names = 0);
    form(&|left| left.lens = 0);
    // Without the last that is there.
    form(&|left| left.names &= !left.names.checked_ilog2().map_or(0, |last| 1 << last));
    form(&|left| left.lens = left.lens.saturating_sub(1));
    form(&|left| left.sectors.truncate(left.sectors.len() / 2));
    for (nth, fate) in left.sectors.iter().enumerate() {
        match fate {
            SectorFate::Lost => {}
            SectorFate::Whole => form(&|left| left.sectors[nth] = SectorFate::Lost),
            SectorFate::Torn(_) | SectorFate::Garbage(_) => {
                form(&|left| left.sectors[nth] = SectorFate::Lost);
                form(&|left| left.sectors[nth] = SectorFate::Whole);
            }
        }
    }
    forms
}

fn plainer_blow(blow: &Blow) -> Vec<Blow> {
    let sooner = |after: u64| if after == 0 { Vec::new() } else { vec![0, after / 2, after - 1] };
    match blow {
        Blow::Stops { after, left } => {
            let sooner = sooner(*after).into_iter().map(|after| Blow::Stops { after, left: left.clone() });
            sooner.chain(fewer(left).into_iter().map(|left| Blow::Stops { after: *after, left })).collect()
        }
        Blow::Fails { after, fault } => {
            sooner(*after).into_iter().map(|after| Blow::Fails { after, fault: *fault }).collect()
        }
    }
}

impl Shrink for Plan {
    type Step = Move;
    const PLAINER: &[Plainer<Move>] = &[
        |of| of.blow.iter().map(|_| Move { blow: None, ..of.clone() }).collect(),
        |of| of.flip.iter().map(|_| Move { flip: None, ..of.clone() }).collect(),
        |of| {
            let blows = of.blow.iter().flat_map(plainer_blow);
            blows.map(|blow| Move { blow: Some(blow), ..of.clone() }).collect()
        },
        |of| fewer(&of.left).into_iter().map(|left| Move { left, ..of.clone() }).collect(),
        |of| {
            let bits = 0..of.flip.map_or(0, |bit| bit.min(8));
            bits.map(|bit| Move { flip: Some(bit), ..of.clone() }).collect()
        },
        |of| of.with(without_faults(&of.step)),
        |of| of.with(with_plainer_arguments(&of.step)),
    ];
    const SIMPLER: &[Plainer<Plan>] = &[
        |plan| {
            let crash = Move::plain(Step::Crash { kind: Crash::Power });
            let crashed = plan.steps.iter().cloned().chain([crash]).collect();
            let plainer = [plan.steps.clone(), crashed].into_iter().filter(|_| plan.start.is_some());
            let plainer = plainer.map(|steps| Plan { start: None, steps, ..plan.clone() });
            // A host that strikes of its own accord does so otherwise then.
            let lucky = |plan: Plan| {
                let others = (0..LUCK).filter_map(|luck| plan.under_other_luck(luck)).collect::<Vec<_>>();
                [plan].into_iter().chain(others)
            };
            plainer.flat_map(lucky).collect()
        },
        |plan| {
            let blows = plan.start.iter().flat_map(plainer_blow);
            blows.map(|blow| Plan { start: Some(blow), ..plan.clone() }).collect()
        },
        |plan| if plan.lying { vec![Plan { lying: false, ..plan.clone() }] } else { Vec::new() },
        |plan| plan.simpler(0),
        |plan| plan.simpler(1),
        |plan| plan.simpler(2),
        |plan| plan.simpler(3),
    ];

    fn steps(&self) -> &[Move] {
        &self.steps
    }

    fn with_steps(&self, steps: Vec<Move>) -> Plan {
        Plan { steps, ..self.clone() }
    }

    fn merged(one: &Move, two: &Move) -> Vec<Move> {
        let befallen = |of: &Move| of.blow.is_some() || of.flip.is_some();
        // What befalls the disk during either befalls it then.
        let of = if befallen(two) { two } else { one };
        of.with(put_together(&one.step, &two.step))
    }

    fn fewer(&self) -> Vec<Plan> {
        let plans = redriven_at_end(self, self.redrive_at_end, |of: &Move| &of.step);
        plans.map(|plan| Plan { redrive_at_end: true, ..plan }).collect()
    }

    /// What a kill leaves of a call, and when a host strikes of its own accord.
    fn under_other_luck(&self, luck: u64) -> Option<Plan> {
        let settings = PlanSettings { seed: luck, ..self.settings };
        (luck < LUCK).then(|| Plan { settings, ..self.clone() })
    }
}

impl Move {
    fn with(&self, steps: Vec<Step>) -> Vec<Move> {
        steps.into_iter().map(|step| Move { step, ..self.clone() }).collect()
    }
}
