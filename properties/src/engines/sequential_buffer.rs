//! One thread drives a buffer through generated plans, next to the simplest queue that could be right. With
//! nobody else there, every answer is known exactly, also where the contract admits false ones.
//!
//! Every item counts its own drops. Half of the plans of a buffer with counters start them just below their
//! maximum. A failing plan is shrunk, operations first.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use stanchion_queues::{Answer, Buffer, BufferContract, Ends, Full, Order, Pop, Push, Shape, Sides};
use stanchion_reports::results::{Act, ActKind, Lanes};

use crate::engines::budget::Budget;
use crate::engines::cases::{self, Case};
use crate::engines::round::other_ends;
use crate::engines::sequential::quietly;
use crate::engines::watchdog::{self, Call, calling, panic_in_words};
use crate::finding::{Finding, Picture};
use crate::invariant::Invariant;
use crate::plan::draw;
use crate::shrink::{Plainer, Shrink};
use crate::timeline;
use crate::verdict::{Counterexample, Verdict};

/// What to do to one buffer, from opening to dropping it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Ends that push.
    pub producers: usize,
    /// Ends that pop.
    pub consumers: usize,
    /// How many items fit.
    pub capacity: usize,
    /// Counters start this far below their maximum; `None`: at zero.
    pub below_max: Option<usize>,
    /// In this order.
    pub steps: Vec<Step>,
    /// Pop everything before the ends are dropped; `false`: drop them with what is inside.
    pub drain: bool,
    /// Drop the consumers before the producers.
    pub consumers_first: bool,
}

/// One thing to do. An end that was dropped does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Push one item.
    Push {
        /// With which end.
        producer: usize,
    },
    /// Push some at once.
    PushMany {
        /// With which end.
        producer: usize,
        /// How many.
        count: usize,
    },
    /// Pop one item.
    Pop {
        /// With which end.
        consumer: usize,
    },
    /// Pop some at once.
    PopMany {
        /// With which end.
        consumer: usize,
        /// At most.
        max: usize,
    },
    /// Drop an end that pushes: what is inside stays.
    DropProducer {
        /// Which.
        producer: usize,
    },
    /// Drop an end that pops, unless it is the last one.
    DropConsumer {
        /// Which.
        consumer: usize,
    },
}

/// How a plan broke a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Which promise.
    pub invariant: Invariant,
    /// What happened instead.
    pub sentence: String,
    /// Every step with its answer.
    pub transcript: Vec<Told>,
}

/// One step with its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Which end acted; `None`: none, as when an end is dropped.
    pub end: Option<End>,
    /// What came of it.
    pub did: String,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(end) = self.end {
            write!(f, "{end}: ")?;
        }
        f.write_str(&self.did)
    }
}

/// One end of a buffer, by its number. Producers stand before consumers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// Pushes.
    Producer(usize),
    /// Pops.
    Consumer(usize),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Producer(number) => write!(f, "producer {number}"),
            End::Consumer(number) => write!(f, "consumer {number}"),
        }
    }
}

/// How often each promise was put to the test.
pub type Instances = BTreeMap<Invariant, u64>;

/// Every promise that this engine tests.
const TESTED: [Invariant; 14] = [
    Invariant::Al1,
    Invariant::Al3,
    Invariant::Al5,
    Invariant::Al7,
    Invariant::Al10,
    Invariant::Or1,
    Invariant::Or2,
    Invariant::Or6,
    Invariant::Cb1,
    Invariant::Cb2,
    Invariant::Cb3,
    Invariant::Li1,
    Invariant::Me3,
    Invariant::Me4,
];

const CAPACITIES: [usize; 7] = [1, 2, 3, 5, 7, 8, 50];

/// Runs the saved plans of a queue, then generated ones, and says what was found of each promise, once per
/// promise. Saved plans that cannot be used are passed over: the suite has a test of its own for them.
pub fn check<B: Buffer>(queue: &str, budget: &Budget) -> Vec<Finding> {
    let plans = plans(&B::CONTRACT);
    let mut instances = Instances::new();
    let mut broken: BTreeMap<Invariant, Finding> = BTreeMap::new();
    let (mut tried, mut steps) = (0, 0);
    let saved = match cases::saved(queue, budget) {
        Ok((saved, _)) => saved,
        Err(error) => return Finding::undecided(&error.to_string(), 0),
    };
    for case in saved.into_iter().chain(cases::new(queue, budget, |seed| draw(&plans, seed))) {
        tried += 1;
        steps += case.plan.steps.len() as u64;
        case.begin(&case.plan, budget);
        match judged::<B>(&case.plan) {
            Ok(exercised) => exercised
                .into_iter()
                .for_each(|(invariant, count)| *instances.entry(invariant).or_default() += count),
            Err(breach) => {
                broken
                    .entry(breach.invariant)
                    .or_insert_with(|| explain::<B>(&case, breach, budget, tried, steps));
            }
        }
        if budget.until.is_some_and(|promise| broken.contains_key(&promise)) {
            break;
        }
    }
    let findings = TESTED.into_iter().map(|invariant| {
        broken.remove(&invariant).unwrap_or_else(|| {
            let count = instances.get(&invariant).copied().unwrap_or(0);
            let is_claimed = claims(&B::CONTRACT, invariant);
            let verdict = if is_claimed { Verdict::exercised(count) } else { Verdict::NotClaimed };
            Finding::new(invariant, verdict, tried, steps)
        })
    });
    findings.collect()
}

/// What a buffer's contract promises to this engine, and whether it is claimed.
pub(crate) fn promised(contract: &BufferContract) -> Vec<(Invariant, bool)> {
    TESTED.map(|invariant| (invariant, claims(contract, invariant))).into()
}

fn claims(contract: &BufferContract, invariant: Invariant) -> bool {
    match invariant {
        Invariant::Or1 => contract.order == Order::Fifo,
        Invariant::Or2 => contract.order != Order::Unordered,
        Invariant::Cb1 | Invariant::Cb3 => contract.bounded,
        Invariant::Me4 => contract.counters,
        _ => true,
    }
}

/// Runs one plan as [`run`] does. A promise that is broken only with counters near their maximum is ME-4.
pub(crate) fn judged<B: Buffer>(plan: &Plan) -> Result<Instances, Breach> {
    let breach = match run::<B>(plan) {
        Ok(instances) => return Ok(instances),
        Err(breach) => breach,
    };
    let Some(below) = plan.below_max else { return Err(breach) };
    let from_zero = Plan { below_max: None, ..plan.clone() };
    if run::<B>(&from_zero).is_err_and(|same| same.invariant == breach.invariant) {
        return Err(breach);
    }
    let sentence = format!(
        "With counters that start {below} below their maximum, and not with counters that start at zero: {} {}",
        breach.invariant.id(),
        breach.sentence
    );
    Err(Breach { invariant: Invariant::Me4, sentence, ..breach })
}

/// Shrinks a failing plan, saves it and draws it.
fn explain<B: Buffer>(
    case: &Case<Plan>,
    breach: Breach,
    budget: &Budget,
    cases: u64,
    events: u64,
) -> Finding {
    let invariant = breach.invariant;
    let counterexample = |breach: &Breach| Counterexample {
        invariant,
        sentence: breach.sentence.clone(),
        missing_licence: None,
        culprits: Vec::new(),
    };
    let broken = |plan: &Plan| {
        case.begin(plan, budget);
        let breach = judged::<B>(plan).err().filter(|breach| breach.invariant == invariant)?;
        let how = counterexample(&breach);
        Some((breach.transcript, how))
    };
    let (how, failure, _) =
        case.explain(budget, counterexample(&breach), broken, |transcript, how, notes| {
            picture(transcript, how, notes)
        });
    Finding { invariant, verdict: Verdict::Broken(how), cases, events, failure: Some(failure) }
}

fn picture(transcript: &[Told], how: &Counterexample, notes: &[String]) -> Picture {
    let mut text = timeline::heading(how);
    for (number, line) in transcript.iter().enumerate() {
        let mark = if number + 1 == transcript.len() { ">>" } else { "" };
        text += &format!("{mark:<2} {line}\n");
    }
    for note in notes {
        text.push_str(note);
        text.push('\n');
    }
    Picture { text, lanes: Some(lanes(transcript, how)) }
}

/// The transcript with a lane for each end that acts.
fn lanes(transcript: &[Told], how: &Counterexample) -> Lanes {
    let ends: BTreeSet<End> = transcript.iter().filter_map(|told| told.end).collect();
    let acts = (0..).zip(transcript).map(|(at, Told { end, did })| Act {
        lane: end.and_then(|end| ends.iter().position(|other| *other == end)),
        call: 2 * at,
        ret: Some(2 * at + 1),
        lines: vec![did.clone()],
        kind: if end.is_some() { ActKind::Call } else { ActKind::Phase },
        culprits: if at + 1 == transcript.len() as u64 { vec![1] } else { Vec::new() },
        ..Act::default()
    });
    let culprits = vec![how.sentence.clone()];
    Lanes {
        acts: acts.collect(),
        names: ends.iter().map(ToString::to_string).collect(),
        culprits,
        ..Lanes::default()
    }
}

fn plans(contract: &BufferContract) -> impl Strategy<Value = Plan> + use<> {
    let ends = |sides| match sides {
        Sides::One => 1..=1_usize,
        Sides::Many => 1..=3_usize,
    };
    let starts = if contract.counters { 1..=2_u32 } else { 1..=1 };
    let end = 0..3_usize;
    // Now and then more than a batch of some fixed size takes.
    let many = || prop_oneof![9 => 1..6_usize, 1 => Just(40)];
    // Or all that there is.
    let at_most = prop_oneof![8 => 1..6_usize, 1 => Just(40), 1 => Just(usize::MAX)];
    let step = prop_oneof![
        8 => end.clone().prop_map(|producer| Step::Push { producer }),
        3 => (end.clone(), many()).prop_map(|(producer, count)| Step::PushMany { producer, count }),
        7 => end.clone().prop_map(|consumer| Step::Pop { consumer }),
        3 => (end.clone(), at_most).prop_map(|(consumer, max)| Step::PopMany { consumer, max }),
        1 => end.clone().prop_map(|producer| Step::DropProducer { producer }),
        1 => end.prop_map(|consumer| Step::DropConsumer { consumer }),
    ];
    (
        (ends(contract.producers), ends(contract.consumers)),
        prop::sample::select(&CAPACITIES[..]),
        (starts, 0..12_usize),
        prop::collection::vec(step, 1..60),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|((producers, consumers), capacity, (start, below), steps, drain, consumers_first)| {
            Plan {
                producers,
                consumers,
                capacity,
                below_max: (start == 2).then_some(below),
                steps,
                drain,
                consumers_first,
            }
        })
}

impl Shrink for Plan {
    type Step = Step;
    const PLAINER: &[Plainer<Step>] = &[plainer_steps];
    const SIMPLER: &[Plainer<Plan>] = &[
        |plan| {
            let smaller = CAPACITIES.into_iter().filter(|capacity| *capacity < plan.capacity);
            smaller.map(|capacity| Plan { capacity, ..plan.clone() }).collect()
        },
        |plan| (1..plan.producers).map(|producers| Plan { producers, ..plan.clone() }).collect(),
        |plan| (1..plan.consumers).map(|consumers| Plan { consumers, ..plan.clone() }).collect(),
        |plan| {
            let Some(below) = plan.below_max else { return Vec::new() };
            let starts = std::iter::once(None).chain((0..below).map(Some));
            starts.map(|below_max| Plan { below_max, ..plan.clone() }).collect()
        },
        |plan| {
            let simpler = Plan { consumers_first: false, ..plan.clone() };
            if plan.consumers_first { vec![simpler] } else { Vec::new() }
        },
        |plan| {
            let simpler = Plan { drain: false, ..plan.clone() };
            if plan.drain { vec![simpler] } else { Vec::new() }
        },
    ];

    fn steps(&self) -> &[Step] {
        &self.steps
    }

    fn with_steps(&self, steps: Vec<Step>) -> Plan {
        Plan { steps, ..self.clone() }
    }

    fn merged(one: &Step, two: &Step) -> Vec<Step> {
        let (pushed, popped) = (one.pushes().zip(two.pushes()), one.pops().zip(two.pops()));
        let push =
            pushed.map(|((producer, count), (_, more))| Step::PushMany { producer, count: count + more });
        let pop = popped.map(|((consumer, max), (_, more))| {
            let max = max.saturating_add(more);
            Step::PopMany { consumer, max }
        });
        push.into_iter().chain(pop).collect()
    }

    /// What is popped in the end may be popped by the drain.
    fn fewer(&self) -> Vec<Plan> {
        let pops =
            (0..if self.drain { 0 } else { self.steps.len() }).filter(|&at| self.steps[at].pops().is_some());
        let without = |at| {
            let mut steps = self.steps.clone();
            steps.remove(at);
            Plan { steps, drain: true, ..self.clone() }
        };
        pops.map(without).collect()
    }
}

impl Step {
    /// With which end it pushes, and how many.
    fn pushes(&self) -> Option<(usize, usize)> {
        match *self {
            Step::Push { producer } => Some((producer, 1)),
            Step::PushMany { producer, count } => Some((producer, count)),
            _ => None,
        }
    }

    /// With which end it pops, and at most how many.
    fn pops(&self) -> Option<(usize, usize)> {
        match *self {
            Step::Pop { consumer } => Some((consumer, 1)),
            Step::PopMany { consumer, max } => Some((consumer, max)),
            _ => None,
        }
    }
}

fn plainer_steps(step: &Step) -> Vec<Step> {
    match *step {
        Step::Push { producer } if producer > 0 => vec![Step::Push { producer: 0 }],
        Step::Pop { consumer } if consumer > 0 => vec![Step::Pop { consumer: 0 }],
        Step::PushMany { producer, count } => {
            let mut plainer = vec![Step::Push { producer }];
            plainer.extend((1..count).map(|count| Step::PushMany { producer, count }));
            plainer
        }
        Step::PopMany { consumer, max } => {
            let mut plainer = vec![Step::Pop { consumer }];
            plainer.extend((1..=40.min(max - 1)).map(|max| Step::PopMany { consumer, max }));
            plainer
        }
        _ => Vec::new(),
    }
}

thread_local! {
    /// How often each item was dropped. Items name themselves by number, so that dropping one twice, or
    /// dropping garbage, is counted and not followed.
    static DROPS: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// An item that counts its drops and knows whether its bytes are its own.
pub(crate) struct Item {
    number: usize,
    filler: [u64; 3],
}

impl Item {
    fn new(number: usize) -> Item {
        Item { number, filler: Item::filler(number) }
    }

    fn filler(number: usize) -> [u64; 3] {
        [1, 2, 3].map(|lane: u64| (number as u64 + lane).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn intact(&self) -> bool {
        self.filler == Item::filler(self.number)
    }

    /// What a reader finds who comes when half of the words are written over others. It counts as dropped when it
    /// is, and so does the original.
    pub(crate) fn torn(&self, rest: &Item) -> Item {
        Item { number: self.number, filler: [self.filler[0], rest.filler[1], rest.filler[2]] }
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        DROPS.with_borrow_mut(|drops| {
            if let Some(count) = drops.get_mut(self.number) {
                *count += 1;
            }
        });
    }
}

/// Runs one plan again, as [`check`] does.
///
/// # Errors
/// The first promise that was broken.
pub fn run<B: Buffer>(plan: &Plan) -> Result<Instances, Breach> {
    DROPS.with_borrow_mut(Vec::clear);
    let mut transcript = Vec::new();
    let result = quietly(|| catch_unwind(AssertUnwindSafe(|| drive::<B>(plan, &mut transcript))));
    let broken = match result {
        Ok(Ok(instances)) => return Ok(instances),
        Ok(Err(broken)) => broken,
        Err(panic) => {
            Broken { invariant: Invariant::Li1, sentence: format!("It panicked{}.", panic_in_words(&*panic)) }
        }
    };
    Err(Breach { invariant: broken.invariant, sentence: broken.sentence, transcript })
}

fn drive<B: Buffer>(plan: &Plan, transcript: &mut Vec<Told>) -> Result<Instances, Broken> {
    let start = plan.below_max.map_or(0, |below| usize::MAX - below);
    let shape = Shape::new(plan.producers, plan.consumers, plan.capacity).starting_at(start);
    let did = format!(
        "open {} x {}, capacity {}, counters from {}",
        plan.producers,
        plan.consumers,
        plan.capacity,
        plan.below_max.map_or("0".to_owned(), |below| format!("max - {below}"))
    );
    transcript.push(Told { end: None, did });
    let ends = calling(Call::Open, || B::open::<Item>(shape)).map_err(|error| Broken {
        invariant: Invariant::Li1,
        sentence: format!("It did not open in a shape that its contract admits: {error}"),
    })?;
    if !ends.are_of(&shape) {
        return Err(Broken { invariant: Invariant::Li1, sentence: other_ends(&ends, &shape) });
    }
    let Ends { producers, consumers } = ends;
    let mut world = World {
        contract: B::CONTRACT,
        capacity: plan.capacity,
        producers: producers.into_iter().map(Some).collect(),
        consumers: consumers.into_iter().map(Some).collect(),
        items: Vec::new(),
        inside: VecDeque::new(),
        batch: Vec::new(),
        in_a_row: (Invariant::Cb2, 0),
        instances: Instances::new(),
        transcript,
    };
    for (index, step) in plan.steps.iter().enumerate() {
        watchdog::step(index);
        world.step(*step)?;
    }
    watchdog::step(plan.steps.len());
    if plan.drain {
        world.drain()?;
    }
    world.count(Invariant::Li1, 1);
    if plan.below_max.is_some_and(|below| world.items.len() > below) {
        world.count(Invariant::Me4, 1);
    }
    world.drop_ends(plan.consumers_first)
}

struct Broken {
    invariant: Invariant,
    sentence: String,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Refused,
    Inside,
    Out,
}

/// The buffer and the queue that it should be.
struct World<'a, P, C> {
    contract: BufferContract,
    capacity: usize,
    producers: Vec<Option<P>>,
    consumers: Vec<Option<C>>,
    /// Every item offered so far: by which producer, and where it is.
    items: Vec<(usize, State)>,
    inside: VecDeque<usize>,
    /// What the batch pop under judgement has brought beside the item at hand.
    batch: Vec<usize>,
    /// How often the answer of this promise was given last, with nothing else between.
    in_a_row: (Invariant, usize),
    instances: Instances,
    transcript: &'a mut Vec<Told>,
}

impl<P: Push<Item>, C: Pop<Item>> World<'_, P, C> {
    fn count(&mut self, invariant: Invariant, by: u64) {
        *self.instances.entry(invariant).or_default() += by;
    }

    fn tell(&mut self, end: impl Into<Option<End>>, did: String) {
        self.transcript.push(Told { end: end.into(), did });
    }

    fn offer(&mut self, producer: usize) -> Item {
        self.items.push((producer, State::Refused));
        DROPS.with_borrow_mut(|drops| drops.push(0));
        Item::new(self.items.len() - 1)
    }

    fn is_full(&self) -> bool {
        self.contract.bounded && self.inside.len() >= self.capacity
    }

    fn step(&mut self, step: Step) -> Result<(), Broken> {
        match step {
            Step::Push { producer } => self.push(producer % self.producers.len()),
            Step::PushMany { producer, count } => self.push_many(producer % self.producers.len(), count),
            Step::Pop { consumer } => self.pop(consumer % self.consumers.len()),
            Step::PopMany { consumer, max } => self.pop_many(consumer % self.consumers.len(), max),
            Step::DropProducer { producer } => {
                let producer = producer % self.producers.len();
                if let Some(end) = self.producers[producer].take() {
                    calling(Call::Drop, || drop(end));
                    self.tell(None, format!("drop producer {producer}"));
                }
                Ok(())
            }
            Step::DropConsumer { consumer } => {
                let consumer = consumer % self.consumers.len();
                if self.consumers.iter().flatten().count() > 1
                    && let Some(end) = self.consumers[consumer].take()
                {
                    calling(Call::Drop, || drop(end));
                    self.tell(None, format!("drop consumer {consumer}"));
                }
                Ok(())
            }
        }
    }

    fn push(&mut self, producer: usize) -> Result<(), Broken> {
        let Some(mut end) = self.producers[producer].take() else { return Ok(()) };
        let item = self.offer(producer);
        let number = item.number;
        let answer = calling(Call::Push, || end.push(item));
        self.producers[producer] = Some(end);
        match answer {
            Ok(()) => {
                self.tell(End::Producer(producer), format!("push #{number} -> in"));
                self.accepted(number)
            }
            Err(Full(item)) => {
                self.tell(End::Producer(producer), format!("push #{number} -> full"));
                self.handed_back(&item, number)?;
                self.refused()
            }
        }
    }

    fn push_many(&mut self, producer: usize, count: usize) -> Result<(), Broken> {
        let Some(mut end) = self.producers[producer].take() else { return Ok(()) };
        let first = self.items.len();
        let mut items: VecDeque<Item> = (0..count).map(|_| self.offer(producer)).collect();
        let pushed = calling(Call::PushMany, || end.push_many(&mut items));
        self.producers[producer] = Some(end);
        let last = first + count - 1;
        self.tell(End::Producer(producer), format!("push #{first} to #{last} at once -> {pushed} in"));
        if pushed > count || items.len() > count {
            return Err(Broken {
                invariant: Invariant::Al10,
                sentence: format!("Of {count} items {pushed} went in and {} stayed.", items.len()),
            });
        }
        // What is neither in nor left was taken though it was not counted.
        if items.len() < count - pushed {
            return Err(Broken {
                invariant: Invariant::Cb3,
                sentence: format!(
                    "Of {count} items {pushed} went in, yet only {} were left to try again.",
                    items.len()
                ),
            });
        }
        for (at, item) in items.iter().enumerate() {
            self.handed_back(item, first + pushed + at)?;
        }
        for number in first..first + pushed {
            self.accepted(number)?;
        }
        if pushed < count { self.refused() } else { Ok(()) }
    }

    fn handed_back(&mut self, item: &Item, number: usize) -> Result<(), Broken> {
        self.count(Invariant::Cb3, 1);
        if item.number == number && item.intact() {
            return Ok(());
        }
        let sentence = format!("#{number} was refused, but #{} was handed back.", item.number);
        Err(Broken { invariant: Invariant::Al5, sentence })
    }

    fn accepted(&mut self, number: usize) -> Result<(), Broken> {
        if self.is_full() {
            let (inside, capacity) = (self.inside.len(), self.capacity);
            let sentence = format!("#{number} went in with {inside} inside and a capacity of {capacity}.");
            return Err(Broken { invariant: Invariant::Cb1, sentence });
        }
        self.in_a_row.1 = 0;
        self.items[number].1 = State::Inside;
        self.inside.push_back(number);
        if self.is_full() {
            self.count(Invariant::Cb1, 1);
        }
        Ok(())
    }

    /// Whether this answer has to be true. One that may be given at any time is believed when it was given so often in
    /// a row that it may not be false any more.
    fn is_believed(&mut self, invariant: Invariant, answer: Answer) -> bool {
        let before = if self.in_a_row.0 == invariant { self.in_a_row.1 } else { 0 };
        self.in_a_row = (invariant, before + 1);
        answer != Answer::Unreliable || before + 1 >= Answer::PATIENCE
    }

    fn refused(&mut self) -> Result<(), Broken> {
        if !self.is_believed(Invariant::Cb2, self.contract.full) {
            return Ok(());
        }
        self.count(Invariant::Cb2, 1);
        if self.is_full() {
            return Ok(());
        }
        let sentence = if self.contract.bounded {
            format!("\"Full\" with {} inside and a capacity of {}.", self.inside.len(), self.capacity)
        } else {
            "\"Full\" from a buffer that claims to be unbounded.".to_owned()
        };
        Err(Broken { invariant: Invariant::Cb2, sentence })
    }

    fn pop(&mut self, consumer: usize) -> Result<(), Broken> {
        let Some(end) = &mut self.consumers[consumer] else { return Ok(()) };
        let answer = calling(Call::Pop, || end.pop());
        let said = answer.as_ref().map_or("empty".to_owned(), |item| format!("#{}", item.number));
        self.tell(End::Consumer(consumer), format!("pop -> {said}"));
        match answer {
            Some(item) => self.came_out(item),
            None => self.was_empty(),
        }
    }

    fn pop_many(&mut self, consumer: usize, max: usize) -> Result<(), Broken> {
        let Some(end) = &mut self.consumers[consumer] else { return Ok(()) };
        let mut items = Vec::new();
        let popped = calling(Call::PopMany, || end.pop_many(&mut items, max));
        let said: Vec<String> = items.iter().map(|item| format!("#{}", item.number)).collect();
        self.tell(End::Consumer(consumer), format!("pop at most {max} -> {popped}: [{}]", said.join(", ")));
        self.count(Invariant::Al10, 1);
        if popped != items.len() || popped > max {
            return Err(Broken {
                invariant: Invariant::Al10,
                sentence: format!(
                    "Of at most {max} items {} came out, and {popped} were counted.",
                    items.len()
                ),
            });
        }
        if items.is_empty() {
            return self.was_empty();
        }
        self.batch = items.iter().map(|item| item.number).collect();
        items.into_iter().try_for_each(|item| self.came_out(item))?;
        self.batch.clear();
        Ok(())
    }

    fn came_out(&mut self, item: Item) -> Result<(), Broken> {
        let number = item.number;
        self.in_a_row.1 = 0;
        for invariant in [Invariant::Al3, Invariant::Al5, Invariant::Al7] {
            self.count(invariant, 1);
        }
        let broken = |invariant, sentence| Err(Broken { invariant, sentence });
        if !item.intact() {
            return broken(Invariant::Al5, "An item came out whose bytes are not those that went in.".into());
        }
        let Some(&(producer, state)) = self.items.get(number) else {
            return broken(Invariant::Al3, format!("#{number} came out and was never offered."));
        };
        match state {
            State::Refused => {
                return broken(Invariant::Cb3, format!("#{number} was refused, and came out all the same."));
            }
            State::Out => return broken(Invariant::Al7, format!("#{number} came out twice.")),
            State::Inside => {}
        }
        let position =
            self.inside.iter().position(|other| *other == number).expect("every item inside is in the list");
        let (invariant, overtaken) = match self.contract.order {
            Order::Unordered => (Invariant::Or1, None),
            Order::Fifo => (Invariant::Or1, (position > 0).then(|| self.inside[0])),
            Order::PerProducer => {
                let before = self.inside.range(..position);
                (Invariant::Or2, before.copied().find(|other| self.items[*other].0 == producer))
            }
        };
        let alone = self.inside.len() == 1;
        self.items[number].1 = State::Out;
        self.inside.remove(position);
        drop(item);
        if let Some(overtaken) = overtaken {
            let late = self.remaining();
            return if late.contains(&overtaken) {
                broken(invariant, format!("#{number} came out before #{overtaken}, which went in before it."))
            } else {
                broken(Invariant::Al1, format!("#{overtaken} went in and never came out."))
            };
        }
        if !alone && self.contract.order != Order::Unordered {
            self.count(Invariant::Or1, 1);
            self.count(Invariant::Or2, 1);
        }
        self.count(Invariant::Al1, 1);
        Ok(())
    }

    fn was_empty(&mut self) -> Result<(), Broken> {
        if !self.is_believed(Invariant::Or6, self.contract.empty) {
            return Ok(());
        }
        self.count(Invariant::Or6, 1);
        let Some(&first) = self.inside.front() else { return Ok(()) };
        let count = self.inside.len();
        let late = self.remaining();
        let lost = self.inside.iter().find(|number| !late.contains(number));
        Err(match lost {
            Some(lost) => {
                Broken { invariant: Invariant::Al1, sentence: format!("#{lost} went in and never came out.") }
            }
            None => Broken {
                invariant: Invariant::Or6,
                sentence: format!("\"Empty\" with {count} inside, #{first} the oldest."),
            },
        })
    }

    /// Whatever still comes out, so as to tell what is late from what is lost.
    fn remaining(&mut self) -> Vec<usize> {
        let mut numbers = Vec::new();
        for end in self.consumers.iter_mut().flatten() {
            // Answers may be false: a few in a row are believed.
            let mut patience = 2 * self.inside.len() + 8;
            while patience > 0 {
                match calling(Call::Pop, || end.pop()) {
                    Some(item) if numbers.len() < 4 * self.items.len() => numbers.push(item.number),
                    _ => patience -= 1,
                }
            }
        }
        let said: Vec<String> = numbers.iter().map(|number| format!("#{number}")).collect();
        self.tell(None, format!("popping on gives [{}]", said.join(", ")));
        numbers.extend(&self.batch);
        numbers
    }

    fn drain(&mut self) -> Result<(), Broken> {
        for consumer in 0..self.consumers.len() {
            while self.consumers[consumer].is_some() && !self.inside.is_empty() {
                self.pop(consumer)?;
            }
            self.pop(consumer)?;
        }
        Ok(())
    }

    fn drop_ends(mut self, consumers_first: bool) -> Result<Instances, Broken> {
        let (left, offered) = (self.inside.len(), self.items.len());
        self.tell(None, format!("drop the ends with {left} inside"));
        self.count(Invariant::Me3, offered as u64);
        let (producers, consumers) = (self.producers, self.consumers);
        calling(Call::Drop, || {
            if consumers_first {
                drop(consumers);
                drop(producers);
            } else {
                drop(producers);
                drop(consumers);
            }
        });
        let wrong =
            DROPS.with_borrow(|drops| drops.iter().copied().enumerate().find(|(_, count)| *count != 1));
        match wrong {
            None => Ok(self.instances),
            Some((number, count)) => {
                let where_it_was = match self.items[number].1 {
                    State::Inside => "was inside when the ends were dropped",
                    State::Out => "had come out",
                    State::Refused => "had been refused",
                };
                let sentence = format!("#{number} {where_it_was} and was dropped {count} times.");
                Err(Broken { invariant: Invariant::Me3, sentence })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use stanchion_queues::Opened;
    use stanchion_queues::buffers::MutexDeque;

    use super::*;
    use crate::regressions;
    use crate::rogues::memory::{Bug, SeededRing, with_bug};
    use crate::shrink::shrink;

    /// A queue whose answers may be given at any time: every `N`th call gives one, if `N` is not zero; with zero, all do
    /// once something is inside.
    #[derive(Debug)]
    struct Unreliable<const N: u32>;

    struct End<T, const N: u32>(Arc<Mutex<(VecDeque<T>, u32)>>, usize);

    impl<T, const N: u32> End<T, N> {
        fn lies(list: &mut (VecDeque<T>, u32)) -> bool {
            list.1 += 1;
            if N == 0 { !list.0.is_empty() } else { list.1.is_multiple_of(N) }
        }
    }

    impl<const N: u32> Buffer for Unreliable<N> {
        const CONTRACT: BufferContract =
            BufferContract { full: Answer::Unreliable, empty: Answer::Unreliable, ..BufferContract::FIFO };
        type Producer<T: Send + 'static> = End<T, N>;
        type Consumer<T: Send + 'static> = End<T, N>;

        fn open<T: Send + 'static>(shape: Shape) -> Opened<End<T, N>, End<T, N>> {
            shape.admitted_by(&Self::CONTRACT)?;
            let list = Arc::new(Mutex::new((VecDeque::new(), 0)));
            let ends = |many| (0..many).map(|_| End(Arc::clone(&list), shape.capacity)).collect();
            Ok(Ends { producers: ends(shape.producers), consumers: ends(shape.consumers) })
        }
    }

    impl<T: Send, const N: u32> Push<T> for End<T, N> {
        fn push(&mut self, item: T) -> Result<(), Full<T>> {
            let mut list = self.0.lock().expect("no panic");
            if list.0.len() == self.1 || N > 0 && Self::lies(&mut list) {
                return Err(Full(item));
            }
            list.0.push_back(item);
            Ok(())
        }
    }

    impl<T: Send, const N: u32> Pop<T> for End<T, N> {
        fn pop(&mut self) -> Option<T> {
            let mut list = self.0.lock().expect("no panic");
            if Self::lies(&mut list) { None } else { list.0.pop_front() }
        }
    }

    #[test]
    fn what_may_be_answered_at_any_time_is_not_blamed_and_not_believed_for_ever() {
        let blamed = |findings: Vec<Finding>| -> Vec<Invariant> {
            findings.iter().filter(|found| found.verdict.is_broken()).map(|found| found.invariant).collect()
        };
        assert_eq!(blamed(check::<Unreliable<5>>("now and then", &Budget::quick())), []);
        let blamed = blamed(check::<Unreliable<0>>("for ever", &Budget::quick()));
        assert!(blamed.contains(&Invariant::Al1), "it never comes out: {blamed:?}");
    }

    /// Opens with one end too few.
    #[derive(Debug)]
    struct FewEnds;

    impl Buffer for FewEnds {
        const CONTRACT: BufferContract = MutexDeque::CONTRACT;
        type Producer<T: Send + 'static> = <MutexDeque as Buffer>::Producer<T>;
        type Consumer<T: Send + 'static> = <MutexDeque as Buffer>::Consumer<T>;

        fn open<T: Send + 'static>(shape: Shape) -> Opened<Self::Producer<T>, Self::Consumer<T>> {
            let mut ends = MutexDeque::open(shape)?;
            ends.producers.truncate(1);
            Ok(ends)
        }
    }

    #[test]
    fn ends_that_are_missing_are_missed() {
        let budget = Budget::quick();
        for findings in
            [check::<FewEnds>("few ends", &budget), crate::engines::threads::check::<FewEnds>(&budget)]
        {
            let told =
                findings.iter().find(|found| found.invariant == Invariant::Li1 && found.verdict.is_broken());
            let Some(Finding { verdict: Verdict::Broken(found), .. }) = told else { panic!("{findings:?}") };
            assert!(found.sentence.contains("It opened with 1 producers"), "{}", found.sentence);
        }
    }

    #[test]
    fn a_plan_shrinks_to_what_matters() {
        let push = Step::PushMany { producer: 2, count: 5 };
        let pop = Step::Pop { consumer: 1 };
        let plan = Plan {
            producers: 3,
            consumers: 3,
            capacity: 8,
            below_max: Some(9),
            steps: [push, pop].repeat(20),
            drain: true,
            consumers_first: true,
        };
        // Fails with two pushes in a row of batches that hold at least two items each.
        let fails = |plan: &Plan| {
            let batches: Vec<usize> = plan
                .steps
                .iter()
                .filter_map(|step| match step {
                    Step::PushMany { count, .. } => Some(*count),
                    _ => None,
                })
                .collect();
            batches.len() >= 2 && batches.iter().all(|count| *count >= 2)
        };
        let small = shrink(&plan, 2_000, fails).plan;
        assert_eq!(small.steps, [Step::PushMany { producer: 2, count: 2 }; 2]);
        assert_eq!((small.capacity, small.below_max, small.producers), (1, None, 1));
        let text = serde_json::to_string(&small).expect("plain data");
        assert_eq!(serde_json::from_str::<Plan>(&text).expect("as written"), small);
    }

    #[test]
    fn a_failing_plan_is_saved_and_replayed_first() {
        let directory = tempfile::tempdir().expect("a directory");
        let budget = Budget { regressions: Some(directory.path().into()), ..Budget::quick() };
        let found = |bug, budget: &Budget| {
            let findings = with_bug(bug, || check::<SeededRing<0>>("late", budget));
            let found = findings.into_iter().find(|finding| finding.invariant == Invariant::Cb1);
            found.expect("judged")
        };
        let first = found(Bug::LateFull, &budget);
        let failure = first.failure.expect("a full ring takes one more");
        let loaded = regressions::of_queue(directory.path(), "late");
        assert!(loaded.errors.is_empty());
        let saved = loaded.regressions.iter().find(|(_, saved)| saved.invariant == Invariant::Cb1);
        let (path, saved) = saved.expect("saved");
        assert_eq!((saved.steps_before, saved.steps_after), (failure.steps_before, failure.steps_after));
        assert_eq!(failure.replay, Some(regressions::replay_line(path, "late", Invariant::Cb1)));
        assert!(failure.picture.ends_with(&format!("Replay: {}\n", failure.replay.expect("just seen"))));

        // With no case of its own the next run still finds it, and a mended ring passes.
        let again = Budget { cases: 0, ..budget };
        let failure = found(Bug::LateFull, &again).failure.expect("as before");
        assert_eq!((saved.steps_before, saved.steps_after), (failure.steps_before, failure.steps_after));
        assert!(!found(Bug::None, &again).verdict.is_broken());
        let replay = Budget { replay: Some(path.clone()), regressions: None, ..Budget::quick() };
        let replayed = found(Bug::LateFull, &replay);
        assert!(replayed.verdict.is_broken() && replayed.cases == 1);
    }

    #[test]
    fn a_bug_of_the_counters_is_told_from_others() {
        let findings = with_bug(Bug::M15, || check::<SeededRing<0>>("wraps", &Budget::quick()));
        let broken: Vec<_> = findings.iter().filter(|finding| finding.verdict.is_broken()).collect();
        let [Finding { invariant: Invariant::Me4, failure: Some(failure), .. }] = &broken[..] else {
            panic!("{broken:?}")
        };
        assert!(failure.picture.contains("and not with counters that start at zero"), "{}", failure.picture);
    }

    #[test]
    fn a_call_that_never_returns_is_a_broken_promise() {
        // It never will, so this matters only to how long the test takes.
        let patience = Duration::from_millis(300);
        let findings = watchdog::watch(patience, Invariant::Li1, || {
            with_bug(Bug::Waits, || check::<SeededRing<0>>("waits", &Budget::quick()))
        });
        let broken: Vec<_> = findings.iter().filter(|finding| finding.verdict.is_broken()).collect();
        let [Finding { invariant: Invariant::Li1, failure: Some(failure), .. }] = &broken[..] else {
            panic!("{broken:?}")
        };
        assert!(failure.picture.contains("The call `pop"), "{}", failure.picture);
    }
}
