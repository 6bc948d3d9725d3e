//! Counterexamples that a person can read: one line per operation, drawn as windows.

use std::collections::BTreeSet;
use std::fmt;

use stanchion_reports::results::{Act, Lanes};

use crate::buffer_history::{Tick, Window, split};
use crate::history::{PENDING, Token};
use crate::invariant::Invariant;

/// The smallest part of a history that breaks a promise.
#[derive(Clone, Debug)]
pub struct BufferCounterexample {
    /// Which promise.
    pub invariant: Invariant,
    /// One sentence: what happened instead.
    pub sentence: String,
    /// The operations concerned.
    pub operations: Vec<Operation>,
}

/// One operation of a counterexample.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// Who did it.
    pub who: Who,
    /// What came of it.
    pub did: Did,
    /// When.
    pub window: Window,
}

/// A thread, by its end of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The n-th producer.
    Producer(usize),
    /// The n-th consumer.
    Consumer(usize),
}

/// What came of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Did {
    /// The item was accepted.
    Push(Token),
    /// The item was refused as full.
    Refused(Token),
    /// Some item was refused as full.
    Full,
    /// The item came out.
    Pop(Token),
    /// Bytes came out that are no item.
    Torn,
    /// Nothing was inside.
    Empty,
    /// A pop never returned.
    Unreturned,
}

/// How an item is called in sentences: its producer and its number.
pub(super) fn name(token: Token) -> String {
    let (producer, sequence) = split(token);
    format!("p{producer}#{sequence}")
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Producer(at) => write!(f, "producer {at}"),
            Who::Consumer(at) => write!(f, "consumer {at}"),
        }
    }
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Did::Push(token) => write!(f, "push {}", name(*token)),
            Did::Refused(token) => write!(f, "push {} -> full", name(*token)),
            Did::Full => f.write_str("push -> full"),
            Did::Pop(token) => write!(f, "pop -> {}", name(*token)),
            Did::Torn => f.write_str("pop -> torn"),
            Did::Unreturned => f.write_str("pop"),
            Did::Empty => f.write_str("pop -> empty"),
        }
    }
}

impl BufferCounterexample {
    /// The operations with a lane for each thread; `round` says how the run was set up.
    pub fn lanes(&self, round: &str) -> Lanes {
        let mut operations = self.operations.clone();
        operations.sort_by_key(|operation| operation.window.call);
        let threads: BTreeSet<Who> = operations.iter().map(|operation| operation.who).collect();
        let acts = operations.iter().map(|Operation { who, did, window }| Act {
            lane: threads.iter().position(|thread| thread == who),
            call: window.call,
            ret: (window.ret != PENDING).then_some(window.ret),
            lines: vec![did.to_string()],
            in_doubt: window.ret == PENDING,
            ..Act::default()
        });
        Lanes {
            names: threads.iter().map(ToString::to_string).collect(),
            acts: acts.collect(),
            notes: vec![("Round".into(), round.into())],
            ..Lanes::default()
        }
    }
}

impl fmt::Display for BufferCounterexample {
    /// Ticks count from the first call. The drawing keeps the order of calls and returns, not distances.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.invariant.id(), self.sentence)?;
        let mut ticks: Vec<Tick> = self
            .operations
            .iter()
            .flat_map(|operation| [operation.window.call, operation.window.ret])
            .collect();
        ticks.sort_unstable();
        ticks.dedup();
        let start = ticks.first().copied().unwrap_or(0);
        let column = |tick: Tick| 4 * ticks.partition_point(|other| *other < tick);
        let relative = |tick: Tick| match tick {
            PENDING => "never".to_owned(),
            tick => format!("+{}", tick - start),
        };
        for Operation { who, did, window } in &self.operations {
            let (from, to) = (column(window.call), column(window.ret));
            let end = if window.ret == PENDING { '>' } else { ']' };
            writeln!(
                f,
                "  {:<11} {:<20} {:>7} .. {:<7} |{}[{}{end}",
                who.to_string(),
                did.to_string(),
                relative(window.call),
                relative(window.ret),
                " ".repeat(from),
                "=".repeat((to - from).saturating_sub(1)),
            )?;
        }
        Ok(())
    }
}
