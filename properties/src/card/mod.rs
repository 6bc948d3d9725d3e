//! A broker's semantics card: what it declares, what probes learned of it, and the difference in words.
//!
//! A probe is a short plan with one question. It runs in the sequential engine, on a broker of its own with a clock
//! that the plan moves, and what happened is read from the history. One answer is no proof: promises are judged by
//! the checkers over thousands of plans. The card shows at a glance what a broker *does*, also where its contract
//! leaves that open, and names the two ways in which a contract is wrong: it claims more than the broker keeps, or
//! less.

use std::fmt;

use stanchion_queues::{Contract, Host, Settings};
pub use stanchion_reports::results::Difference;

use crate::engines::sequential::{self, NotStarted};
use crate::history::History;
use crate::plan::Plan;

mod asked;
mod attempts;
mod lab;
mod leases;
mod places;
mod storage;
#[cfg(test)]
mod tests;

pub(crate) use asked::Asked;
use lab::Lab;

/// What a broker declares and what probes learned of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// One per question, in the order of the contract.
    pub lines: Vec<Line>,
}

/// One question about a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What was asked.
    pub aspect: &'static str,
    /// What the contract says.
    pub declared: String,
    /// What was seen; or, if nothing was learned, why.
    pub learned: String,
    /// How the two differ.
    pub difference: Difference,
}

/// What was seen, and how it compares with the claim; or why nothing was.
type Learned = Result<(String, Difference), String>;

/// One question: its name, what a contract says of it, and the probe.
struct Probe(&'static str, fn(&Contract) -> String, fn(&Lab<'_>) -> Learned);

fn probes() -> impl Iterator<Item = &'static Probe> {
    [storage::PROBES, places::PROBES, leases::PROBES, attempts::PROBES].into_iter().flatten()
}

/// Asks a broker everything. `make` gives a host for it, as for [`sequential::run`].
///
/// # Errors
/// It does not start.
pub fn learn<H: Host>(make: impl Fn(&Settings) -> H) -> Result<Card, NotStarted> {
    learn_by(&|plan| sequential::run(&make, plan))
}

fn learn_by(run: &dyn Fn(&Plan) -> Result<History, NotStarted>) -> Result<Card, NotStarted> {
    let lab = Lab::new(run)?;
    let lines = probes().map(|Probe(aspect, declared, learn)| {
        let (learned, difference) = learn(&lab).unwrap_or_else(|why| (why, Difference::Unlearned));
        Line { aspect, declared: declared(&lab.contract), learned, difference }
    });
    Ok(Card { lines: lines.collect() })
}

impl Card {
    /// The claims that a probe saw unkept, a sentence each.
    pub fn broken(&self) -> Vec<String> {
        let over = self.lines.iter().filter(|line| line.difference == Difference::Over);
        over.map(|Line { aspect, declared, learned, .. }| {
            format!("{aspect}: declared \"{declared}\", observed \"{learned}\"")
        })
        .collect()
    }
}

/// A table for a terminal.
impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |text: fn(&Line) -> &str, least: usize| {
            self.lines.iter().map(|line| text(line).chars().count()).max().unwrap_or(0).max(least)
        };
        let (aspect, declared) = (width(|line| line.aspect, 8), width(|line| &line.declared, 8));
        writeln!(f, "{:<aspect$}  {:<declared$}  observed", "asked", "declared")?;
        for line in &self.lines {
            let Line { aspect: asked, declared: said, learned, difference } = line;
            let words = difference.words();
            let note = if words.is_empty() { String::new() } else { format!("  ({words})") };
            writeln!(f, "{asked:<aspect$}  {said:<declared$}  {learned}{note}")?;
        }
        Ok(())
    }
}
