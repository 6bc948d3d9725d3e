//! Makes a failing plan small: steps are deleted first, then faults are taken away, then arguments made
//! plain, then two steps are put together into one, then steps deleted once more, also two at once. A smaller plan is
//! kept only if it breaks the same promise.
//!
//! Deleting is delta debugging (Zeller, Hildebrandt 2002) without its complements: chunks of half the plan,
//! then of a quarter, down to single steps, until no single step can be spared.

use std::fmt;

use stanchion_queues::Crash;

use crate::engines::extent;
use crate::plan::{Fate, How, Plan, PlanSettings, Step, Which};

/// A plan that can be made smaller.
pub trait Shrink: Clone + PartialEq + 'static {
    /// What is deleted.
    type Step: Clone + 'static;
    /// Plainer forms of a step, the plainest first, one pass after another. None leads back to what it came
    /// from.
    const PLAINER: &[Plainer<Self::Step>];
    /// The plan with one setting made simpler, the simplest first, one pass after another.
    const SIMPLER: &[Plainer<Self>];

    /// What happens, in order.
    fn steps(&self) -> &[Self::Step];

    /// The same plan with these steps.
    fn with_steps(&self, steps: Vec<Self::Step>) -> Self;

    /// Single steps that do what these two do, or nearly.
    fn merged(one: &Self::Step, two: &Self::Step) -> Vec<Self::Step> {
        let _ = (one, two);
        Vec::new()
    }

    /// Plans with fewer steps, in which something that is no step stands for what is left out.
    fn fewer(&self) -> Vec<Self> {
        Vec::new()
    }

    /// The same plan where what is left to chance, as what a power failure tears, falls out in the `luck`-th way;
    /// `None`: there are no more ways.
    fn under_other_luck(&self, luck: u64) -> Option<Self> {
        let _ = luck;
        None
    }
}

/// In plans of at most so many steps every two are tried together: in larger ones there are too many.
const PAIRS: usize = 16;

/// Every two of so many steps, the later ones first; none of very many.
fn pairs(steps: usize) -> impl Iterator<Item = (usize, usize)> {
    let seconds = (1..if steps > PAIRS { 0 } else { steps }).rev();
    seconds.flat_map(|second| (0..second).rev().map(move |first| (first, second)))
}

/// Plainer forms of a thing.
pub type Plainer<T> = fn(&T) -> Vec<T>;

/// A smaller plan that still fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrunk<P> {
    /// It.
    pub plan: P,
    /// How many steps there were at first and after each pass that made them fewer.
    pub sizes: Vec<usize>,
    /// How many plans were run to find it.
    pub runs: u32,
}

/// As in "212 -> 31 -> 6 operations, 140 runs".
impl<P> fmt::Display for Shrunk<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, size) in self.sizes.iter().enumerate() {
            write!(f, "{}{size}", if index == 0 { "" } else { " -> " })?;
        }
        write!(f, " operations, {} runs", self.runs)
    }
}

/// Shrinks a plan for which `fails` is true, asking it at most `max_runs` times. The same plan and the same
/// answers give the same result.
pub fn shrink<P: Shrink>(plan: &P, max_runs: u32, fails: impl FnMut(&P) -> bool) -> Shrunk<P> {
    let mut shrinker = Shrinker { best: plan.clone(), runs: 0, max_runs, fails };
    let mut sizes = vec![plan.steps().len()];
    loop {
        let before = shrinker.best.clone();
        shrinker.delete();
        // While a capacity is large yet: a batch needs room.
        shrinker.put_together();
        sizes.push(shrinker.best.steps().len());
        P::PLAINER.iter().for_each(|plainer| shrinker.simplify_steps(*plainer));
        P::SIMPLER.iter().for_each(|simpler| shrinker.simplify_setting(*simpler));
        shrinker.put_together();
        shrinker.delete_pairs();
        shrinker.delete_under_other_luck();
        if shrinker.best == before || shrinker.is_exhausted() {
            break;
        }
    }
    sizes.dedup();
    Shrunk { plan: shrinker.best, sizes, runs: shrinker.runs }
}

struct Shrinker<P, F> {
    best: P,
    runs: u32,
    max_runs: u32,
    fails: F,
}

impl<P: Shrink, F: FnMut(&P) -> bool> Shrinker<P, F> {
    fn is_exhausted(&self) -> bool {
        self.runs >= self.max_runs || extent::is_interrupted()
    }

    fn keep_if_it_fails(&mut self, candidate: P) -> bool {
        if self.is_exhausted() {
            return false;
        }
        self.runs += 1;
        let fails = (self.fails)(&candidate);
        if fails {
            self.best = candidate;
        }
        fails
    }

    /// Deletes what can be spared: chunks of half of the steps, then of a quarter, down to single steps, until
    /// no single step can be spared.
    fn delete(&mut self) {
        let mut chunk = self.best.steps().len().div_ceil(2).max(1);
        loop {
            let mut spared = false;
            // From the end, because what comes later depends on what came before.
            let mut end = self.best.steps().len();
            while end > 0 {
                let start = end.saturating_sub(chunk);
                let mut fewer = self.best.steps().to_vec();
                fewer.drain(start..end);
                spared |= self.keep_if_it_fails(self.best.with_steps(fewer));
                end = start;
            }
            if chunk > 1 {
                chunk = chunk.div_ceil(2);
            } else if !spared {
                return;
            }
        }
    }

    /// Has one step stand for two, or something else for one, until none can.
    fn put_together(&mut self) {
        let one_fewer = |best: &P| {
            let steps = best.steps();
            let pairs = pairs(steps.len()).flat_map(|(first, second)| {
                let merged = P::merged(&steps[first], &steps[second]).into_iter();
                merged.flat_map(move |step| [(first, second), (second, first)].map(|at| (at, step.clone())))
            });
            let merged = pairs.map(|((kept, spared), step)| {
                let mut steps = steps.to_vec();
                steps[kept] = step;
                steps.remove(spared);
                best.with_steps(steps)
            });
            merged.chain(best.fewer()).collect::<Vec<P>>()
        };
        while one_fewer(&self.best).into_iter().any(|fewer| self.keep_if_it_fails(fewer)) {}
    }

    /// Deletes two steps of which neither can be spared alone, as where one undoes what the other does.
    fn delete_pairs(&mut self) {
        let two_fewer = |best: &P| {
            let without = |(first, second): (usize, usize)| {
                let mut steps = best.steps().to_vec();
                steps.remove(second);
                steps.remove(first);
                best.with_steps(steps)
            };
            pairs(best.steps().len()).map(without).collect::<Vec<P>>()
        };
        while two_fewer(&self.best).into_iter().any(|fewer| self.keep_if_it_fails(fewer)) {}
    }

    /// Deletes single steps that can be spared only if chance falls out in another way: whatever is deleted moves all
    /// that comes after it, and what is torn then is another thing.
    fn delete_under_other_luck(&mut self) {
        let mut end = self.best.steps().len();
        while end > 0 {
            let mut fewer = self.best.steps().to_vec();
            fewer.remove(end - 1);
            let fewer = self.best.with_steps(fewer);
            let mut others = (0..).map_while(|luck| fewer.under_other_luck(luck));
            end = if others.any(|other| self.keep_if_it_fails(other)) {
                self.best.steps().len()
            } else {
                end - 1
            };
        }
    }

    /// Replaces each step by the first of its plainer forms that still fails, until none does.
    fn simplify_steps(&mut self, plainer: Plainer<P::Step>) {
        for index in 0..self.best.steps().len() {
            while plainer(&self.best.steps()[index]).into_iter().any(|step| {
                let mut steps = self.best.steps().to_vec();
                steps[index] = step;
                self.keep_if_it_fails(self.best.with_steps(steps))
            }) {}
        }
    }

    fn simplify_setting(&mut self, simpler: Plainer<P>) {
        let _ = simpler(&self.best).into_iter().any(|candidate| self.keep_if_it_fails(candidate));
    }
}

impl Shrink for Plan {
    type Step = Step;
    const PLAINER: &[Plainer<Step>] = &[without_faults, with_plainer_arguments];
    const SIMPLER: &[Plainer<Plan>] = &[
        |plan| {
            let simpler = Plan { redrive_at_end: false, ..plan.clone() };
            if plan.redrive_at_end { vec![simpler] } else { Vec::new() }
        },
        |plan| {
            let seeds = 0..plan.settings.seed.min(1);
            seeds.map(|seed| plan.with(|settings| settings.seed = seed)).collect()
        },
        |plan| {
            let capacities = below(plan.settings.capacity);
            capacities.map(|capacity| plan.with(|settings| settings.capacity = capacity)).collect()
        },
        |plan| {
            let limits = below(plan.settings.deliveries_allowed as usize);
            limits.map(|limit| plan.with(|settings| settings.deliveries_allowed = limit as u32)).collect()
        },
    ];

    fn steps(&self) -> &[Step] {
        &self.steps
    }

    fn with_steps(&self, steps: Vec<Step>) -> Plan {
        Plan { steps, ..self.clone() }
    }

    fn merged(one: &Step, two: &Step) -> Vec<Step> {
        put_together(one, two)
    }

    fn fewer(&self) -> Vec<Plan> {
        redriven_at_end(self, self.redrive_at_end, |step| step)
            .map(|plan| Plan { redrive_at_end: true, ..plan })
            .collect()
    }

    fn under_other_luck(&self, luck: u64) -> Option<Plan> {
        (luck < LUCK).then(|| self.with(|settings| settings.seed = luck))
    }
}

/// Smaller numbers to try: each of the small ones, and of the large ones a few.
fn below(number: usize) -> impl Iterator<Item = usize> {
    let large = std::iter::successors(Some(16), |large| Some(large * 2));
    (1..=12).chain(large).take_while(move |&smaller| smaller < number)
}

/// How many ways of chance are tried for a step.
pub(crate) const LUCK: u64 = 16;

impl Plan {
    fn with(&self, change: impl FnOnce(&mut PlanSettings)) -> Plan {
        let mut plan = self.clone();
        change(&mut plan.settings);
        plan
    }
}

/// One call that asks for what two calls ask for, or one wait as long as two.
pub(crate) fn put_together(one: &Step, two: &Step) -> Vec<Step> {
    let mut both = one.clone();
    let mut rest = two.clone();
    match (&mut both, &mut rest) {
        (Step::Advance { ms }, Step::Advance { ms: more }) => *ms += std::mem::take(more),
        (Step::Settle { count, how, .. }, Step::Settle { count: more, how: other, .. }) if how == other => {
            *count += std::mem::take(more);
        }
        (Step::Send { count, .. }, Step::Send { count: more, .. })
        | (Step::Receive { max: count, .. }, Step::Receive { max: more, .. })
        | (Step::Redrive { max: count, .. }, Step::Redrive { max: more, .. })
        | (Step::Churn { count, .. }, Step::Churn { count: more, .. })
        | (Step::Flood { count, .. }, Step::Flood { count: more, .. })
        | (Step::Wear { count, .. }, Step::Wear { count: more, .. }) => {
            *count = count.saturating_add(std::mem::take(more));
        }
        _ => return Vec::new(),
    }
    vec![both]
}

/// Without one of its calls that redrive, each in turn, for a plan whose end shall do that.
pub(crate) fn redriven_at_end<P: Shrink>(
    plan: &P,
    already: bool,
    step: impl Fn(&P::Step) -> &Step,
) -> impl Iterator<Item = P> {
    let steps = plan.steps();
    let redrives = (0..if already { 0 } else { steps.len() })
        .filter(move |&at| matches!(step(&steps[at]), Step::Redrive { .. }));
    redrives.map(|at| {
        let mut fewer = steps.to_vec();
        fewer.remove(at);
        plan.with_steps(fewer)
    })
}

/// The step with less of a fault.
pub(crate) fn without_faults(step: &Step) -> Vec<Step> {
    let mut plainer = step.clone();
    match &mut plainer {
        Step::Crash { kind: kind @ Crash::Power } => *kind = Crash::Process,
        plain => match plain.fate_mut() {
            Some(fate) if *fate != Fate::Arrives => *fate = Fate::Arrives,
            _ => return Vec::new(),
        },
    }
    vec![plainer]
}

/// The step with one argument made plain, each in turn; each form is strictly plainer than the step.
pub(crate) fn with_plainer_arguments(step: &Step) -> Vec<Step> {
    let mut forms = Vec::new();
    let mut form = |change: &dyn Fn(&mut Step)| {
        let mut plainer = step.clone();
        change(&mut plainer);
        if plainer != *step {
            forms.push(plainer);
        }
    };
    form(&|step| {
        if let Some(session) = step.session_mut() {
            *session = 0;
        }
    });
    form(&|step| {
        if let Step::Send { count, .. }
        | Step::Settle { count, .. }
        | Step::Receive { max: count, .. }
        | Step::Redrive { max: count, .. }
        | Step::BrowseFew { max: count, .. }
        | Step::Churn { count, .. }
        | Step::Flood { count, .. }
        | Step::Wear { count, .. } = step
        {
            *count = 1;
        }
    });
    for fewer in [|count: usize| count / 2, |count| count * 7 / 8, |count| count - 1] {
        form(&|step| {
            if let Step::Churn { count, .. } | Step::Flood { count, .. } | Step::Wear { count, .. } = step
                && *count > 1
            {
                *count = fewer(*count);
            }
        });
    }
    form(&|step| match step {
        Step::Send { delay_ms, .. } | Step::Settle { how: How::Nack { delay_ms }, .. } => *delay_ms = 0,
        Step::Receive { lease_ms, .. } | Step::Extend { lease_ms, .. } => *lease_ms = 10.min(*lease_ms),
        Step::Advance { ms } => *ms = 10.min(*ms),
        Step::AdvanceTo { offset_ns, .. } => *offset_ns = 0,
        _ => {}
    });
    form(&|step| match step {
        Step::Send { keyed, .. } => *keyed = false,
        Step::Retry { which, .. } | Step::AdvanceTo { which, .. } => *which = 0,
        Step::Settle { which, .. } | Step::Extend { which, .. } => *which = Which::Current(0),
        _ => {}
    });
    form(&|step| {
        if let Step::SettleEach { each, .. } = step
            && each.len() > 1
        {
            each.pop();
        }
    });
    form(&|step| {
        if let Step::SettleEach { each, .. } = step
            && each.len() > 1
        {
            each.remove(0);
        }
    });
    // A receipt that must be an old one is at least the oldest that does.
    form(&|step| {
        if let Step::Settle {
            which: Which::Any(which) | Which::Superseded(which) | Which::Current(which),
            ..
        }
        | Step::Extend {
            which: Which::Any(which) | Which::Superseded(which) | Which::Current(which),
            ..
        } = step
        {
            *which = which.saturating_sub(1);
        }
    });
    forms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plans;

    fn sends(plan: &Plan) -> usize {
        plan.steps.iter().filter(|step| matches!(step, Step::Send { .. })).count()
    }

    fn crashes(plan: &Plan) -> bool {
        plan.steps.iter().any(|step| matches!(step, Step::Crash { .. }))
    }

    fn failing(fails: impl Fn(&Plan) -> bool) -> Plan {
        (0..).map(|seed| Plans::default().draw(seed)).find(|plan| fails(plan)).expect("the range has no end")
    }

    #[test]
    fn only_what_the_failure_needs_is_left_and_it_is_plain() {
        let fails = |plan: &Plan| sends(plan) >= 2 && crashes(plan) && plan.settings.capacity >= 2;
        let shrunk = shrink(&failing(fails), 2000, fails);
        let send = Step::Send { session: 0, count: 1, delay_ms: 0, keyed: false, fate: Fate::Arrives };
        assert_eq!(shrunk.plan.steps.iter().filter(|step| **step == send).count(), 2);
        assert_eq!(
            shrunk.plan.steps.iter().filter(|step| **step == Step::Crash { kind: Crash::Process }).count(),
            1
        );
        assert_eq!(shrunk.plan.steps.len(), 3);
        let settings = shrunk.plan.settings;
        assert_eq!((settings.capacity, settings.deliveries_allowed, settings.seed), (2, 1, 0));
        assert!(shrunk.to_string().contains(" -> 3 operations"), "{shrunk}");
    }

    /// As where a power failure tears what was written last: each deletion makes it tear something else.
    #[test]
    fn what_is_left_to_chance_does_not_keep_a_plan_large() {
        let fails = |plan: &Plan| {
            let steps = plan.steps.len() as u64;
            crashes(plan) && steps > 1 && plan.settings.seed.wrapping_mul(5).wrapping_add(steps) % 7 == 3
        };
        let shrunk = shrink(&failing(|plan| fails(plan) && plan.steps.len() > 20), 5000, fails);
        assert!(shrunk.plan.steps.len() <= 4, "{shrunk}");
    }

    /// Of two sends neither can be spared, and one of both together stands for them; a loss and what makes up for it can
    /// be spared together; and what is redriven may as well be at the end.
    #[test]
    fn what_one_step_can_do_takes_no_two() {
        let sent = |plan: &Plan| -> usize {
            let count = |step: &Step| if let Step::Send { count, .. } = step { *count } else { 0 };
            plan.steps.iter().map(count).sum()
        };
        let losses =
            |plan: &Plan| plan.steps.iter().filter(|step| matches!(step, Step::LoseSession { .. })).count();
        let redrives = |plan: &Plan| plan.steps.iter().any(|step| matches!(step, Step::Redrive { .. }));
        let fails = |plan: &Plan| {
            sent(plan) >= 5 && losses(plan).is_multiple_of(2) && (redrives(plan) || plan.redrive_at_end)
        };
        let first =
            failing(|plan| fails(plan) && losses(plan) == 2 && sends(plan) >= 3 && !plan.redrive_at_end);
        let shrunk = shrink(&first, 2000, fails);
        assert!(matches!(shrunk.plan.steps[..], [Step::Send { count: 5, .. }]), "{:?}", shrunk.plan);
        assert!(shrunk.plan.redrive_at_end);
    }

    #[test]
    fn what_the_failure_needs_is_kept() {
        let fails = |plan: &Plan| {
            plan.steps.iter().any(|step| matches!(step, Step::Send { fate: Fate::ReplyLost, count: 2.., .. }))
        };
        let shrunk = shrink(&failing(fails), 2000, fails);
        assert!(matches!(shrunk.plan.steps[..], [Step::Send { fate: Fate::ReplyLost, count: 2.., .. }]));
    }

    #[test]
    fn it_is_deterministic_and_bounded() {
        let fails = |plan: &Plan| sends(plan) >= 3;
        let plan = failing(fails);
        assert_eq!(shrink(&plan, 2000, fails), shrink(&plan, 2000, fails));
        let mut asked = 0;
        let shrunk = shrink(&plan, 7, |plan| {
            asked += 1;
            sends(plan) >= 3
        });
        assert_eq!((asked, shrunk.runs), (7, 7));
        assert!(fails(&shrunk.plan));
    }
}
