//! Consumers that are wrong on purpose, each in a way that is common in the field.

use crate::consumers::{Arrival, Consumer, Intent, Key, Stop, World, check};
use crate::engines::budget::Budget;
use crate::invariant::Invariant;
use crate::rogues::RogueResult;

/// A way to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Record first, then the effect: a kill between them loses the effect.
    I03,
    /// The effect first, then the record: a kill between them doubles the effect.
    I04,
    /// The key is the receipt, which changes with every delivery.
    I06,
    /// The key is what is asked for, so that two equal intents become one.
    I07,
    /// Ack first, then the work: a kill between them loses it.
    I09,
    /// No record at all.
    Unrecorded,
    /// The work fails, the failure is swallowed, the message is acked.
    I16,
    /// What was done is remembered until six others were.
    Window,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 8] =
        [Bug::I03, Bug::I04, Bug::I06, Bug::I07, Bug::I09, Bug::Unrecorded, Bug::I16, Bug::Window];

    /// Its name in the zoo, or one of ours.
    pub fn id(self) -> &'static str {
        match self {
            Bug::I03 => "I03",
            Bug::I04 => "I04",
            Bug::I06 => "I06",
            Bug::I07 => "I07",
            Bug::I09 => "I09",
            Bug::Unrecorded => "I-unrecorded",
            Bug::I16 => "I16",
            Bug::Window => "I-window",
        }
    }

    /// What is wrong.
    pub fn what(self) -> &'static str {
        match self {
            Bug::I03 => "the record is stored before the effect",
            Bug::I04 => "the effect happens before the record is stored",
            Bug::I06 => "the key is taken from the receipt",
            Bug::I07 => "the key is a hash of the payload: different intents are merged",
            Bug::I09 => "the ack comes before the effect",
            Bug::Unrecorded => "nothing is recorded: every redelivery is applied again",
            Bug::I16 => "a failure is swallowed and acked",
            Bug::Window => "records are dropped after each six",
        }
    }

    /// The promise it breaks first.
    pub fn expected(self) -> Invariant {
        match self {
            Bug::I03 | Bug::I04 => Invariant::Ic3,
            Bug::I06 | Bug::Unrecorded | Bug::Window => Invariant::Ic1,
            Bug::I07 => Invariant::Ic10,
            Bug::I09 | Bug::I16 => Invariant::Ic2,
        }
    }
}

/// A consumer with one bug.
#[derive(Clone, Copy, Debug)]
pub struct Rogue(pub Bug);

impl Consumer for Rogue {
    fn handle(&mut self, arrival: &Arrival, world: &mut World<'_>) -> Result<(), Stop> {
        let Intent { token, account, amount } = arrival.intent;
        let by_token = Key::from(token);
        match self.0 {
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
                let key = match self.0 {
                    Bug::I06 => Key(arrival.receipt.0.to_le_bytes().to_vec()),
                    _ => Key(vec![account, amount]),
                };
                world.transaction(|store| {
                    if store.record(key) {
                        store.add(account, amount);
                    }
                })?;
            }
            Bug::Window => world.transaction(|store| {
                let counted = |count: u64| Key([b"count".as_slice(), &count.to_le_bytes()].concat());
                let count = (0..).find(|count| !store.recorded(&counted(*count))).unwrap_or(0);
                let key = Key([token.0, count / 6].map(u64::to_le_bytes).concat());
                if store.record(key) {
                    store.record(counted(count));
                    store.add(account, amount);
                }
            })?,
            Bug::I09 => {
                world.ack()?;
                world.transaction(|store| {
                    if store.record(by_token) {
                        store.add(account, amount);
                    }
                })?;
                return Ok(());
            }
            Bug::Unrecorded => world.add(account, amount)?,
            Bug::I16 => {
                // The first attempt fails; a right consumer would give the message back.
                if arrival.attempt > 1 || token.0 % 2 == 0 {
                    world.transaction(|store| {
                        if store.record(by_token) {
                            store.add(account, amount);
                        }
                    })?;
                }
            }
        }
        world.ack()
    }
}

/// Hands every rogue to the harness.
pub fn table(budget: &Budget) -> Vec<RogueResult> {
    let hunts = Bug::ALL.into_iter();
    hunts.filter_map(|bug| RogueResult::timed(|| Some(catch(bug, budget)))).collect()
}

fn catch(bug: Bug, budget: &Budget) -> RogueResult {
    let findings = check(bug.id(), &|| Box::new(Rogue(bug)), budget);
    let broken = || findings.iter().filter(|finding| finding.verdict.is_broken());
    let expected = broken().find(|finding| finding.invariant == bug.expected());
    RogueResult {
        seconds: 0.0,
        bug: bug.id().into(),
        what: bug.what().into(),
        expected: bug.expected(),
        found: expected.is_some(),
        cases: expected.map_or(budget.cases, |finding| finding.cases),
        shrunk: expected.and_then(|finding| finding.failure.as_ref()).map(|failure| failure.steps_after),
        engine: "consumer".into(),
        also: broken().map(|finding| finding.invariant).filter(|&other| other != bug.expected()).collect(),
    }
}
