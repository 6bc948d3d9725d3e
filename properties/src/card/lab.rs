//! Where probes are run, and how their histories are read.

use std::time::Duration;

use stanchion_queues::{Answer, Contract, Count, Crash, Depth, Durability, Refusal};

use super::Difference;
use crate::engines::sequential::NotStarted;
use crate::history::{Event, History, Letter, Outcome, SendOutcome, Token, What};
use crate::plan::{Fate, How, LIMITED, Plan, PlanSettings, Step, Which};

/// How many messages a probed broker is asked to hold.
pub(super) const CAPACITY: usize = 8;
/// How many deliveries it is asked to allow.
pub(super) const ALLOWED: u32 = 3;
/// How long leases last, unless a probe says otherwise.
pub(super) const LEASE: Duration = Duration::from_secs(1);
/// A lease that ends in no probe.
pub(super) const LONG: Duration = Duration::from_secs(600);
/// With how many seeds a probe is repeated whose answer may be luck.
const SEEDS: u64 = 8;

type Run<'a> = &'a dyn Fn(&Plan) -> Result<History, NotStarted>;

/// Where one broker is probed.
pub(super) struct Lab<'a> {
    run: Run<'a>,
    /// What it declares when it is set up as in here.
    pub(super) contract: Contract,
}

impl<'a> Lab<'a> {
    pub(super) fn new(run: Run<'a>) -> Result<Lab<'a>, NotStarted> {
        let contract = run(&plan(Vec::new(), 0))?.contract;
        Ok(Lab { run, contract })
    }

    /// Runs these steps on a broker of their own.
    ///
    /// # Errors
    /// It panicked or did not start, or what it said or did not say means nothing.
    pub(super) fn run(&self, steps: Vec<Step>) -> Result<Seen, String> {
        self.run_with(steps, 0)?.certain()
    }

    /// The same, of a plan in which the broker allows one delivery from its first crash on, where its host can tell it so.
    ///
    /// # Errors
    /// As for [`Lab::run`].
    pub(super) fn run_limited(&self, steps: Vec<Step>) -> Result<Seen, String> {
        self.run_with(steps, LIMITED)?.certain()
    }

    /// The same, of a plan that loses replies itself.
    pub(super) fn run_in_doubt(&self, steps: Vec<Step>) -> Result<Seen, String> {
        self.run_with(steps, 0)
    }

    /// Whether these steps show it with each of several seeds.
    ///
    /// # Errors
    /// As for [`Lab::run`], or a message was not taken.
    pub(super) fn always(&self, steps: &[Step], shown: impl Fn(&Seen) -> bool) -> Result<bool, String> {
        for seed in 0..SEEDS {
            if !shown(&self.run_with(steps.to_vec(), seed)?.certain()?.took_all()?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn run_with(&self, steps: Vec<Step>, seed: u64) -> Result<Seen, String> {
        if self.contract.empty == Answer::Unreliable {
            return Err("it may say \"empty\" without being so, which hides what a probe looks for".into());
        }
        let history = (self.run)(&plan(steps, seed)).map_err(|error| error.to_string())?;
        let panicked = history.events.iter().find_map(|event| match &event.what {
            What::Panicked { message } => Some(message),
            _ => None,
        });
        if let Some(message) = panicked {
            return Err(format!("it panicked: {message}"));
        }
        let asked = history.events.into_iter().take_while(|event| event.what != What::DrainBegan);
        Ok(Seen { events: asked.collect() })
    }

    /// How many deliveries it allows; `None`: any number.
    pub(super) fn allowed(&self) -> Option<u32> {
        self.contract.deliveries_allowed
    }

    /// Whether a message that came back once is delivered again.
    ///
    /// # Errors
    /// It is not.
    pub(super) fn comes_back(&self, count: Count) -> Result<(), String> {
        match self.allowed() {
            Some(1) if count != Count::No => Err("it allows one delivery only".into()),
            _ => Ok(()),
        }
    }

    /// A crash that messages survive.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn survivable(&self) -> Result<Crash, String> {
        match self.contract.sends {
            Durability::None => Err("no message survives a crash".into()),
            Durability::Process | Durability::Power => Ok(Crash::Process),
        }
    }
}

fn plan(steps: Vec<Step>, seed: u64) -> Plan {
    let settings = PlanSettings { capacity: CAPACITY, deliveries_allowed: ALLOWED, seed };
    Plan { settings, steps, redrive_at_end: false }
}

/// What happened in a probe, before the drain.
pub(super) struct Seen {
    events: Vec<Event>,
}

impl Seen {
    /// The messages of each receive, in the order in which they came.
    pub(super) fn receives(&self) -> Vec<Vec<Token>> {
        let mut receives: Vec<(u32, Vec<Token>)> = Vec::new();
        for event in &self.events {
            match event.what {
                What::Receive { .. } => receives.push((event.op, Vec::new())),
                What::Deliver { token, .. } => match receives.last_mut() {
                    Some((op, tokens)) if *op == event.op => tokens.extend(token),
                    _ => {}
                },
                _ => {}
            }
        }
        receives.into_iter().map(|(_, tokens)| tokens).collect()
    }

    /// Whether the last receive brought something.
    pub(super) fn last_brought(&self) -> bool {
        !self.last_receives(1).is_empty()
    }

    /// How many deliveries there were since the limit was changed, if it was.
    pub(super) fn after_limit(&self) -> Option<usize> {
        let limited = self.events.iter().position(|event| matches!(event.what, What::Limited { .. }))?;
        let later = self.events[limited..].iter();
        Some(later.filter(|event| matches!(event.what, What::Deliver { .. })).count())
    }

    /// The attempts of all deliveries.
    pub(super) fn attempts(&self) -> Vec<u32> {
        let attempt = |event: &Event| match event.what {
            What::Deliver { attempt, .. } => Some(attempt),
            _ => None,
        };
        self.events.iter().filter_map(attempt).collect()
    }

    /// The same, if every answer was certain.
    ///
    /// # Errors
    /// One was in doubt.
    fn certain(self) -> Result<Seen, String> {
        let doubtful = |event: &Event| {
            matches!(
                event.what,
                What::Send { outcome: SendOutcome::InDoubt, .. }
                    | What::Settle { outcome: Outcome::InDoubt, .. }
                    | What::Extend { outcome: Outcome::InDoubt, .. }
                    | What::Receive { got: None, .. }
                    | What::Redrive { moved: None, .. }
                    | What::Browse { letters: None, .. }
                    | What::Depth { depth: None }
            )
        };
        if self.events.iter().any(doubtful) { Err("an answer was in doubt".into()) } else { Ok(self) }
    }

    /// How many messages were sent, and how many of them it confirmed.
    ///
    /// # Errors
    /// It was unavailable.
    pub(super) fn sends(&self) -> Result<(usize, usize), String> {
        let (mut sent, mut confirmed) = (0, 0);
        for event in &self.events {
            let What::Send { outcome, .. } = &event.what else { continue };
            sent += 1;
            match outcome {
                SendOutcome::Confirmed(_) => confirmed += 1,
                SendOutcome::Refused(Refusal::Unavailable(why)) => {
                    return Err(format!("a send was refused: {why}"));
                }
                SendOutcome::Refused(Refusal::TooLarge) => {
                    return Err("it takes no message as large as those of the probes".into());
                }
                SendOutcome::Refused(Refusal::Full) | SendOutcome::InDoubt => {}
            }
        }
        Ok((sent, confirmed))
    }

    /// The messages of the last so many receives.
    pub(super) fn last_receives(&self, count: usize) -> Vec<Token> {
        let receives = self.receives();
        receives[receives.len().saturating_sub(count)..].concat()
    }

    /// How the last settlement or extension ended.
    ///
    /// # Errors
    /// There was none.
    pub(super) fn last_answer(&self) -> Result<Outcome, String> {
        let answer = |event: &Event| match event.what {
            What::Settle { outcome, .. } | What::Extend { outcome, .. } => Some(outcome),
            _ => None,
        };
        self.events.iter().rev().find_map(answer).ok_or_else(|| "nothing was delivered to settle".into())
    }

    /// The dead letters as read last.
    ///
    /// # Errors
    /// They could not be read.
    pub(super) fn letters(&self) -> Result<&[Letter], String> {
        let letters = self.events.iter().rev().find_map(|event| match &event.what {
            What::Browse { letters, .. } => letters.as_deref(),
            _ => None,
        });
        letters.ok_or_else(|| "its dead letters could not be read".into())
    }

    /// The counts as asked for last.
    ///
    /// # Errors
    /// It did not count.
    pub(super) fn depth(&self) -> Result<Depth, String> {
        let depth = |event: &Event| match event.what {
            What::Depth { depth } => Some(depth),
            _ => None,
        };
        self.events.iter().rev().find_map(depth).flatten().ok_or_else(|| "it did not count".into())
    }

    /// The same, if it took all that it was sent.
    ///
    /// # Errors
    /// It did not.
    pub(super) fn took_all(self) -> Result<Seen, String> {
        match self.sends()? {
            (sent, confirmed) if sent == confirmed => Ok(self),
            (sent, confirmed) => Err(format!("it took {confirmed} of {sent} messages")),
        }
    }

    /// Whether the last send was confirmed.
    ///
    /// # Errors
    /// It was not.
    pub(super) fn took_the_last(self) -> Result<Seen, String> {
        let outcome = self.events.iter().rev().find_map(|event| match &event.what {
            What::Send { outcome, .. } => Some(outcome),
            _ => None,
        });
        match outcome {
            Some(SendOutcome::Confirmed(_)) => Ok(self),
            other => Err(format!("the last send was not confirmed: {other:?}")),
        }
    }
}

/// Claims that are right or wrong.
pub(super) fn same(kept: bool) -> Difference {
    if kept { Difference::Same } else { Difference::Over }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn send(count: usize) -> Step {
    Step::Send { session: 0, count, delay_ms: 0, keyed: false, fate: Fate::Arrives }
}

pub(super) fn send_delayed(delay: Duration) -> Step {
    Step::Send { session: 0, count: 1, delay_ms: millis(delay), keyed: false, fate: Fate::Arrives }
}

pub(super) fn receive(session: usize, max: usize, lease: Duration) -> Step {
    Step::Receive { session, max, lease_ms: millis(lease), fate: Fate::Arrives }
}

/// Settles one of the deliveries that look current, the latest first.
pub(super) fn settle(which: usize, how: How) -> Step {
    Step::Settle { session: 0, which: Which::Current(which), count: 1, how, fate: Fate::Arrives }
}

/// Settles one of all deliveries, the latest first.
pub(super) fn settle_any(which: usize, how: How) -> Step {
    Step::Settle { session: 0, which: Which::Any(which), count: 1, how, fate: Fate::Arrives }
}

pub(super) fn extend(lease: Duration) -> Step {
    Step::Extend { session: 0, which: Which::Any(0), lease_ms: millis(lease), fate: Fate::Arrives }
}

pub(super) fn redrive(max: usize) -> Step {
    Step::Redrive { session: 0, max, fate: Fate::Arrives }
}

pub(super) fn advance(time: Duration) -> Step {
    Step::Advance { ms: millis(time) }
}

pub(super) const NACK: How = How::Nack { delay_ms: 0 };
/// Past the end of every lease of [`LEASE`].
pub(super) const AFTER: Duration = Duration::from_millis(1001);
