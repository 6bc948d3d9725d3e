//! Consumers that are wrong on purpose, each in a way that is common in the field.

use std::collections::BTreeSet;

use stanchion_queues::Time;

use crate::consumers::engine::LEASE;
use crate::consumers::{Arrival, Consumer, Intent, Key, Ledger, Stop, Transaction, World, check};
use crate::engines::budget::Budget;
use crate::history::Token;
use crate::invariant::Invariant;
use crate::rogues::{RogueResult, Showed};

/// A way to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// What was done is remembered for a day or two, and dead letters wait for longer.
    I01,
    /// Record first, then the effect: a kill between them loses the effect.
    I03,
    /// The effect first, then the record: a kill between them doubles the effect.
    I04,
    /// First a look whether it was done, then the work: another consumer may do it in between.
    I05,
    /// The key is the receipt, which changes with every delivery.
    I06,
    /// The key is what is asked for, so that two equal intents become one.
    I07,
    /// Ack first, then the work: a kill between them loses it.
    I09,
    /// The records are in the memory of the consumer, which does not survive it.
    I10,
    /// What failed twice is given up for dead and the record of it cleaned up, though the dead come back.
    I14,
    /// It looks whether its lease still holds, and commits after that: by then the lease may have ended.
    I17,
    /// No record at all.
    Unrecorded,
    /// The work fails, the failure is swallowed, the message is acked.
    I16,
    /// What was done is remembered until six others were.
    Window,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 13] = [
        Bug::I01,
        Bug::I03,
        Bug::I04,
        Bug::I05,
        Bug::I06,
        Bug::I07,
        Bug::I09,
        Bug::I10,
        Bug::I14,
        Bug::I17,
        Bug::Unrecorded,
        Bug::I16,
        Bug::Window,
    ];

    /// Its name in the zoo, or one of ours.
    pub fn id(self) -> &'static str {
        match self {
            Bug::I01 => "I01",
            Bug::I05 => "I05",
            Bug::I10 => "I10",
            Bug::I03 => "I03",
            Bug::I04 => "I04",
            Bug::I06 => "I06",
            Bug::I07 => "I07",
            Bug::I09 => "I09",
            Bug::I14 => "I14",
            Bug::I17 => "I17",
            Bug::Unrecorded => "I-unrecorded",
            Bug::I16 => "I16",
            Bug::Window => "I-window",
        }
    }

    /// What is wrong.
    pub fn what(self) -> &'static str {
        match self {
            Bug::I01 => "records are kept for less time than dead letters wait",
            Bug::I05 => "first a look, then the work: two consumers at once both do it",
            Bug::I10 => "records are in memory and do not survive the consumer",
            Bug::I03 => "the record is stored before the effect",
            Bug::I04 => "the effect happens before the record is stored",
            Bug::I06 => "the key is taken from the receipt",
            Bug::I07 => "the key is a hash of the payload: different intents are merged",
            Bug::I09 => "the ack comes before the effect",
            Bug::I14 => "the record of what is given up for dead is cleaned up, and the dead come back",
            Bug::I17 => "who looked whether its lease holds commits after it has ended",
            Bug::Unrecorded => "nothing is recorded: every redelivery is applied again",
            Bug::I16 => "a failure is swallowed and acked",
            Bug::Window => "all records are dropped whenever there are six",
        }
    }

    /// The promise it breaks first.
    pub fn expected(self) -> Invariant {
        match self {
            Bug::I03 | Bug::I04 => Invariant::Ic3,
            Bug::I06 | Bug::Unrecorded | Bug::I10 => Invariant::Ic1,
            Bug::I01 | Bug::I14 | Bug::Window => Invariant::Ic4,
            Bug::I05 | Bug::I17 => Invariant::Ic6,
            Bug::I07 => Invariant::Ic10,
            Bug::I09 | Bug::I16 => Invariant::Ic2,
        }
    }
}

/// A consumer with one bug.
#[derive(Clone, Debug)]
pub struct Rogue {
    bug: Bug,
    /// Gone with it.
    memory: BTreeSet<Token>,
}

impl Rogue {
    /// A consumer with this bug.
    pub fn new(bug: Bug) -> Rogue {
        Rogue { bug, memory: BTreeSet::new() }
    }
}

/// Remembers what it did for so many days at least. That is enough if it is more than the horizon.
#[derive(Clone, Copy, Debug)]
pub struct Remembers {
    /// How many.
    pub days: u64,
}

impl Consumer for Remembers {
    fn handle(&mut self, arrival: &Arrival, world: &mut World<'_>) -> Result<(), Stop> {
        let Intent { token, account, amount } = arrival.intent;
        let today = world.now().since(Time::ZERO).as_secs() / (24 * 60 * 60);
        let key = |day: u64| Key([day, token.0].map(u64::to_be_bytes).concat());
        let oldest = today.saturating_sub(self.days);
        world.transaction(|store| {
            if !(oldest..=today).any(|day| store.recorded(&key(day))) {
                store.record(key(today));
                store.add(account, amount);
            }
            store.retain(|key| key.0.as_slice() >= &oldest.to_be_bytes()[..]);
        })?;
        world.ack()
    }
}

impl Consumer for Rogue {
    fn handle(&mut self, arrival: &Arrival, world: &mut World<'_>) -> Result<(), Stop> {
        let Intent { token, account, amount } = arrival.intent;
        let by_token = Key::from(token);
        match self.bug {
            Bug::I01 => return Remembers { days: 1 }.handle(arrival, world),
            Bug::I05 | Bug::I10 => {
                let is_new = match self.bug {
                    Bug::I05 => !world.recorded(&by_token)?,
                    _ => self.memory.insert(token),
                };
                if is_new {
                    world.transaction(|store| {
                        store.record(by_token);
                        store.add(account, amount);
                    })?;
                }
            }
            Bug::I03 => {
                if world.record(by_token)? {
                    world.add(account, amount)?;
                }
            }
            Bug::I04 => {
                if !world.recorded(&by_token)? {
                    world.add(account, amount)?;
                    world.record(by_token)?;
                }
            }
            Bug::I06 | Bug::I07 => {
                let key = match self.bug {
                    Bug::I06 => Key(arrival.receipt.0.to_le_bytes().to_vec()),
                    _ => Key(vec![account, amount]),
                };
                once(world, key, arrival.intent)?;
            }
            Bug::I14 => {
                once(world, by_token.clone(), arrival.intent)?;
                if arrival.attempt > 1 {
                    world.transaction(|store| store.retain(|key| *key != by_token))?;
                }
            }
            Bug::I17 => {
                let ends = world.now() + LEASE;
                let done = world.recorded(&by_token)?;
                if world.now() >= ends {
                    return Err(Stop::Failed);
                }
                if !done {
                    world.transaction(|store| {
                        store.record(by_token);
                        store.add(account, amount);
                    })?;
                }
            }
            Bug::Window => world.transaction(|store: &mut Transaction<'_>| {
                if store.record(by_token) {
                    store.add(account, amount);
                }
                if store.records() == 6 {
                    store.retain(|_| false);
                }
            })?,
            Bug::I09 => {
                world.ack()?;
                return once(world, by_token, arrival.intent);
            }
            Bug::Unrecorded => world.add(account, amount)?,
            Bug::I16 => {
                // The first attempt fails; a right consumer would give the message back.
                if arrival.attempt > 1 || token.0 % 2 == 0 {
                    once(world, by_token, arrival.intent)?;
                }
            }
        }
        world.ack()
    }
}

/// The effect and its record in one transaction, unless it is recorded.
fn once(world: &mut World<'_>, key: Key, intent: Intent) -> Result<(), Stop> {
    world.transaction(|store| {
        if store.record(key) {
            store.add(intent.account, intent.amount);
        }
    })
}

/// Hands every rogue to the harness.
pub fn table(budget: &Budget) -> Vec<RogueResult> {
    let hunts = Bug::ALL.into_iter();
    hunts.filter_map(|bug| RogueResult::timed(|| Some(catch(bug, budget)))).collect()
}

pub(super) fn catch(bug: Bug, budget: &Budget) -> RogueResult {
    let findings = check(bug.id(), &Ledger::default, &|_| Box::new(Rogue::new(bug)), budget);
    let broken = || findings.iter().filter(|finding| finding.verdict.is_broken());
    let expected = broken().find(|finding| finding.invariant == bug.expected());
    let failure = expected.and_then(|finding| finding.failure.as_ref());
    RogueResult {
        seconds: 0.0,
        showed: Showed::default(),
        bug: bug.id().into(),
        what: bug.what().into(),
        expected: bug.expected(),
        found: expected.is_some(),
        cases: expected.map_or(budget.cases, |finding| finding.cases),
        shrunk: failure.map(|failure| failure.steps_after),
        plan: failure.and_then(|failure| failure.plan.clone()),
        engine: "consumer".into(),
        also: broken().map(|finding| finding.invariant).filter(|&other| other != bug.expected()).collect(),
    }
}
