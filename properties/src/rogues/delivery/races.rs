//! The reference broker with its lock given up in the middle of a call: wrong if what was seen before is still taken
//! for true after that, and right if it is looked at again. With one client after another all of them are right.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use stanchion_queues::file::SimDisk;
use stanchion_queues::sync::{Condvar, Mutex, MutexGuard};
use stanchion_queues::{
    Broker, Contract, DeadLetter, Delivery, Depth, Error, Message, MessageId, Reason, Receipt, Refusal, Sent,
    Session, Settings, Settle, Settled, Settlement, Time, Volatile,
};

use super::broker::{Core, End, Reference, ReferenceSession, lock};
use super::bug::Switch;
use super::state::Entry;
use crate::engines::budget::Budget;
use crate::engines::simulated;
use crate::invariant::Invariant;
use crate::regressions::Keep;
use crate::rogues::{RogueResult, Showed};

/// Between which two moments the lock is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Race {
    /// A receive chooses messages, and then takes them without looking again.
    ReceiveTakes,
    /// The same, but it looks again. Right.
    ReceiveLooksAgain,
    /// A send finds room, and then fills it without looking again.
    SendFills,
    /// A settlement finds its lease, and then settles without looking again.
    SettleActs,
    /// The same, but it looks again. Right.
    SettleLooksAgain,
    /// The loss of a session finds its leases, and then ends those of these messages, whoever has them.
    LossEnds,
    /// A send takes a lock of its own and then that of the state, and a settlement takes them the other way round.
    Crosswise,
    /// Both take them in the same order. Right.
    SameOrder,
    /// A receive reads the clock long before it takes the lock for good. Right: it began then.
    ClockFirst,
    /// A settlement that kills finds its lease, and then kills without looking again.
    DiesTwice,
    /// Calls take turns, and whoever is told that it is free wakes one that waits. A send that is woken and finds no
    /// room gives up, and wakes nobody in its place.
    KeepsNotice,
    /// The same, but it does. Right.
    PassesNotice,
}

impl Race {
    /// All of them.
    pub const ALL: [Race; 12] = [
        Race::ReceiveTakes,
        Race::ReceiveLooksAgain,
        Race::SendFills,
        Race::SettleActs,
        Race::SettleLooksAgain,
        Race::LossEnds,
        Race::Crosswise,
        Race::SameOrder,
        Race::ClockFirst,
        Race::DiesTwice,
        Race::KeepsNotice,
        Race::PassesNotice,
    ];

    /// Its name in the zoo, or one of ours.
    pub fn id(self) -> &'static str {
        match self {
            Race::ReceiveTakes => "race-receive",
            Race::ReceiveLooksAgain => "none (looks again)",
            Race::SendFills => "race-send",
            Race::SettleActs => "race-settle",
            Race::SettleLooksAgain => "none (settles again)",
            Race::LossEnds => "race-loss",
            Race::Crosswise => "race-deadlock",
            Race::SameOrder => "none (same order)",
            Race::ClockFirst => "none (clock first)",
            Race::DiesTwice => "D25",
            Race::KeepsNotice => "M07",
            Race::PassesNotice => "none (passes on)",
        }
    }

    /// What is wrong, in one sentence.
    pub fn what(self) -> &'static str {
        match self {
            Race::ReceiveTakes => "Two receives choose the same message, and both take it.",
            Race::SendFills => "Two sends find the same room, and both fill it.",
            Race::SettleActs => "A lease ends while it is being settled, and it is settled all the same.",
            Race::LossEnds => "A lost session takes back what somebody else has by now.",
            Race::Crosswise => "Two locks are taken in different orders.",
            Race::DiesTwice => "Two consumers kill the same message at once: it is among the dead twice.",
            Race::KeepsNotice => "A call that is woken and gives up does not wake the next one.",
            Race::ReceiveLooksAgain
            | Race::SettleLooksAgain
            | Race::SameOrder
            | Race::ClockFirst
            | Race::PassesNotice => "Nothing.",
        }
    }

    /// The promise that it should be seen to break; `None`: it is right.
    pub fn expected(self) -> Option<Invariant> {
        Some(match self {
            Race::ReceiveTakes | Race::LossEnds => Invariant::Lv1,
            Race::SendFills => Invariant::Cb1,
            Race::SettleActs => Invariant::Lv8,
            // A wakeup that is lost (LI-7) shows in a call that does not end.
            Race::Crosswise | Race::KeepsNotice => Invariant::Li1,
            Race::DiesTwice => Invariant::Dl4,
            Race::ReceiveLooksAgain
            | Race::SettleLooksAgain
            | Race::SameOrder
            | Race::ClockFirst
            | Race::PassesNotice => return None,
        })
    }
}

/// A broker that gives up its lock there.
pub struct Racing {
    race: Race,
    broker: Reference<SimDisk>,
    aside: Arc<Mutex<()>>,
    turns: Arc<Turns>,
}

/// Whose turn it is.
#[derive(Default)]
struct Turns {
    taken: Mutex<bool>,
    free: Condvar,
}

impl Turns {
    /// Waits for a turn; the lock says that it is not taken yet.
    fn wait(&self) -> MutexGuard<'_, bool> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        self.free.wait_while(taken, |taken| *taken).unwrap_or_else(PoisonError::into_inner)
    }

    fn run<R>(&self, call: impl FnOnce() -> R) -> R {
        *self.wait() = true;
        self.end_after(call)
    }

    fn end_after<R>(&self, call: impl FnOnce() -> R) -> R {
        let result = call();
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.free.notify_one();
        result
    }
}

/// One client of a [`Racing`].
pub struct RacingSession {
    race: Race,
    core: Arc<Mutex<Core<SimDisk>>>,
    aside: Arc<Mutex<()>>,
    turns: Arc<Turns>,
    /// What is not raced.
    session: ReferenceSession<SimDisk>,
}

type Boot = Box<dyn FnMut() -> Result<Racing, Error> + Send>;

/// A host of such brokers.
pub fn hosting(race: Race) -> impl Fn(&Settings) -> Volatile<Boot> {
    move |settings| {
        let settings = settings.clone();
        let mut boots = 0;
        Volatile::new(Box::new(move || {
            boots += 1;
            let broker = Reference::in_memory(settings.clone(), boots, Switch::default());
            Ok(Racing { race, broker, aside: Arc::default(), turns: Arc::default() })
        }))
    }
}

impl Broker for Racing {
    type Session = RacingSession;

    fn contract(&self) -> Contract {
        self.broker.contract()
    }

    fn session(&self) -> Result<RacingSession, Error> {
        let session = self.broker.session()?;
        let core = Arc::clone(session.core());
        let (aside, turns) = (Arc::clone(&self.aside), Arc::clone(&self.turns));
        Ok(RacingSession { race: self.race, core, aside, turns, session })
    }
}

impl RacingSession {
    /// [`Race::DiesTwice`].
    fn kill(&mut self, settlements: &[Settlement]) -> Vec<Settled> {
        let found: Vec<_> = {
            let mut core = lock(&self.core);
            let _ = core.begin();
            settlements.iter().map(|settlement| core.held(settlement.receipt)).collect()
        };
        let mut core = lock(&self.core);
        let _ = core.begin();
        let now = core.now();
        let mut killed: Vec<Receipt> = Vec::new();
        let act = |(&Settlement { receipt, how }, found): (&Settlement, Option<(MessageId, Entry)>)| {
            let kills = match how {
                Settle::Reject => true,
                Settle::Nack { .. } => found.as_ref().is_some_and(|(_, entry)| core.is_last(entry)),
                Settle::Ack => false,
            };
            let holds = if kills && !killed.contains(&receipt) { found } else { core.held(receipt) };
            let Some((id, entry)) = holds else { return Settled::Stale };
            match (kills, how) {
                (true, Settle::Reject) => core.die(id, entry, Reason::Rejected),
                (true, _) => core.die(id, entry, Reason::Attempts),
                (false, _) => core.settle_one(now, id, entry, how, settlements.len()),
            }
            killed.push(receipt);
            Settled::Done
        };
        settlements.iter().zip(found).map(act).collect()
    }
}

impl Drop for RacingSession {
    fn drop(&mut self) {
        if self.race == Race::LossEnds {
            let number = self.session.number();
            let lost = lock(&self.core).leased(|_, holder| holder == number);
            let mut core = lock(&self.core);
            lost.into_iter().for_each(|(_, id)| core.end_attempt(id, Time::ZERO, End::SessionLoss));
        }
    }
}

impl Session for RacingSession {
    fn send(&mut self, messages: &[Message]) -> Vec<Sent> {
        match self.race {
            Race::SendFills => {
                let room = {
                    let mut core = lock(&self.core);
                    core.begin().map_or(0, |_| core.room())
                };
                let mut core = lock(&self.core);
                let now = core.now();
                let send = |(index, message)| {
                    if index < room { core.store(now, message) } else { core.refuse(now, message) }
                };
                messages.iter().enumerate().map(send).collect()
            }
            Race::Crosswise | Race::SameOrder => {
                let _aside = self.aside.lock();
                self.session.send(messages)
            }
            Race::KeepsNotice | Race::PassesNotice => {
                let mut taken = self.turns.wait();
                let has_room = {
                    let mut core = lock(&self.core);
                    core.begin().is_ok() && core.room() > 0
                };
                if !has_room {
                    drop(taken);
                    if self.race == Race::PassesNotice {
                        self.turns.free.notify_one();
                    }
                    return messages.iter().map(|_| Sent::Refused(Refusal::Full)).collect();
                }
                *taken = true;
                drop(taken);
                self.turns.end_after(|| self.session.send(messages))
            }
            _ => self.session.send(messages),
        }
    }

    fn receive(&mut self, max: usize, lease: Duration) -> Result<Vec<Delivery>, Error> {
        if matches!(self.race, Race::KeepsNotice | Race::PassesNotice) {
            return self.turns.run(|| self.session.receive(max, lease));
        }
        if !matches!(self.race, Race::ReceiveTakes | Race::ReceiveLooksAgain | Race::ClockFirst) {
            return self.session.receive(max, lease);
        }
        Error::check_receive(max, lease)?;
        let (mut now, mut chosen): (_, Vec<MessageId>) = {
            let mut core = lock(&self.core);
            let now = core.begin()?;
            (now, core.ready(now).into_iter().take(max).collect())
        };
        let mut core = lock(&self.core);
        match self.race {
            // As it was when the call began.
            Race::ClockFirst => core.sweep(now),
            _ => now = core.begin()?,
        }
        if self.race != Race::ReceiveTakes {
            chosen = core.ready(now).into_iter().take(max).collect();
        }
        let number = self.session.number();
        Ok(chosen.into_iter().filter_map(|id| core.hand_over(number, id, now + lease)).collect())
    }

    fn settle(&mut self, settlements: &[Settlement]) -> Vec<Settled> {
        match self.race {
            Race::SettleActs | Race::SettleLooksAgain => {
                let found: Vec<_> = {
                    let mut core = lock(&self.core);
                    let _ = core.begin();
                    settlements.iter().map(|settlement| core.held(settlement.receipt)).collect()
                };
                if self.race == Race::SettleLooksAgain {
                    return self.session.settle(settlements);
                }
                let mut core = lock(&self.core);
                let now = core.now();
                let mut settled: Vec<Receipt> = Vec::new();
                let act = |(settlement, found): (&Settlement, Option<_>)| match found {
                    Some((id, entry)) if !settled.contains(&settlement.receipt) => {
                        settled.push(settlement.receipt);
                        core.settle_one(now, id, entry, settlement.how, settlements.len());
                        Settled::Done
                    }
                    _ => Settled::Stale,
                };
                settlements.iter().zip(found).map(act).collect()
            }
            Race::Crosswise => {
                let mut core = lock(&self.core);
                let _aside = self.aside.lock();
                core.settle(self.session.number(), settlements)
            }
            Race::SameOrder => {
                let _aside = self.aside.lock();
                self.session.settle(settlements)
            }
            Race::DiesTwice => self.kill(settlements),
            Race::KeepsNotice | Race::PassesNotice => self.turns.run(|| self.session.settle(settlements)),
            _ => self.session.settle(settlements),
        }
    }

    fn extend(&mut self, receipt: Receipt, lease: Duration) -> Settled {
        self.session.extend(receipt, lease)
    }

    fn dead_letters(&mut self, max: usize) -> Result<Vec<DeadLetter>, Error> {
        self.session.dead_letters(max)
    }

    fn redrive(&mut self, max: usize) -> Result<usize, Error> {
        self.session.redrive(max)
    }

    fn depth(&mut self) -> Result<Depth, Error> {
        self.session.depth()
    }
}

/// How the simulated engine fares against each of them that is wrong.
pub fn table(budget: &Budget) -> Vec<RogueResult> {
    Race::ALL.into_iter().filter_map(|race| RogueResult::timed(|| met(race, budget))).collect()
}

fn met(race: Race, budget: &Budget) -> Option<RogueResult> {
    let expected = race.expected()?;
    let exploration =
        simulated::explore(race.id(), hosting(race), budget).expect("it starts, and nothing is replayed");
    let broken: Vec<_> = exploration.findings.iter().filter(|finding| finding.verdict.is_broken()).collect();
    let found = broken.iter().find(|finding| finding.invariant == expected);
    let failure = found.and_then(|finding| finding.failure.as_ref());
    Some(RogueResult {
        seconds: 0.0,
        showed: Showed::default(),
        bug: race.id().into(),
        what: race.what().into(),
        expected,
        found: found.is_some(),
        cases: failure.map_or(budget.cases, |failure| failure.case + 1),
        shrunk: failure.map(|failure| failure.steps_after),
        plan: failure.and_then(|failure| failure.plan.clone()),
        engine: simulated::Plan::ENGINE.into(),
        also: broken.iter().map(|finding| finding.invariant).filter(|&also| also != expected).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::judge;
    use crate::engines::explore::explore;

    #[test]
    fn those_that_are_wrong_are_caught_and_those_that_are_right_are_not_blamed() {
        for seed in 1..=4 {
            for result in table(&Budget { seed, ..Budget::quick() }) {
                println!("{result:?}");
                assert!(result.found && result.shrunk <= Some(12), "seed {seed}: {result:?}");
            }
        }
        for race in Race::ALL.into_iter().filter(|race| race.expected().is_none()) {
            let exploration =
                simulated::explore(race.id(), hosting(race), &Budget::quick()).expect("it starts");
            let events = exploration.findings.iter().map(|finding| finding.events).max();
            println!("{race:?}: {events:?} events");
            for finding in exploration.findings {
                assert!(!finding.verdict.is_broken(), "{race:?}: {finding:?}");
            }
        }
    }

    #[test]
    fn one_client_after_another_meets_no_race() {
        for race in Race::ALL {
            let exploration = explore(race.id(), hosting(race), &Budget::quick(), judge).expect("it starts");
            for finding in exploration.findings {
                assert!(!finding.verdict.is_broken(), "{race:?}: {finding:?}");
            }
        }
    }
}
