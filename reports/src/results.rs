//! The schema of `results.json`.
//!
//! Rules: changes only add fields; unknown fields are ignored and missing ones take their default, so that every
//! reader reads every file of the same [`SCHEMA`]. The unit of a number is the suffix of its field (`_ns`,
//! `_unix_ms`, `_bytes`); a number without a suffix is a count, a ratio, or in the `unit` beside it. What is not
//! known is null. No host name, user name or absolute path belongs here: results get published.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::environment::Environment;

/// The version of the schema that this crate writes and reads.
pub const SCHEMA: u32 = 1;

/// Everything that was found. Each process that runs checks or benches writes one of these with its own part
/// filled in (a *fragment*); [`crate::fragment::merge`] puts them together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Which version of the schema this follows: [`SCHEMA`].
    pub schema: u32,
    /// The processes that contributed. Key: `part`.
    #[serde(default)]
    pub runs: Vec<Run>,
    /// The queues, and the consumers, that were judged. Key: `name`.
    #[serde(default)]
    pub queues: Vec<Queue>,
    /// What probes learned of each broker. Key: `queue`.
    #[serde(default)]
    pub cards: Vec<Card>,
    /// What was found about each promise. Key: `queue`, `invariant`, `engine`.
    #[serde(default)]
    pub properties: Vec<Property>,
    /// What was measured. Key: `workload`, `parameters`, `queue`, `unit`.
    #[serde(default)]
    pub measurements: Vec<Measurement>,
    /// Which of two queues is better. Key: `workload`, `parameters`, `a`, `b`, `control`.
    #[serde(default)]
    pub comparisons: Vec<Comparison>,
    /// The smallest failing runs. Key: `id`.
    #[serde(default)]
    pub failures: Vec<Failure>,
    /// Queues that are wrong on purpose, and whether they were caught. Key: `bug`, `engine`.
    #[serde(default)]
    pub rogues: Vec<Rogue>,
    /// The same with several seeds. Key: `bug`, `engine`.
    #[serde(default)]
    pub kills: Vec<Kill>,
}

impl Default for Results {
    fn default() -> Results {
        Results {
            schema: SCHEMA,
            runs: Vec::new(),
            queues: Vec::new(),
            cards: Vec::new(),
            properties: Vec::new(),
            measurements: Vec::new(),
            comparisons: Vec::new(),
            failures: Vec::new(),
            rogues: Vec::new(),
            kills: Vec::new(),
        }
    }
}

impl Results {
    /// A fragment with nothing in it but the run. [`Run::capture`] makes one.
    pub fn of(run: Run) -> Results {
        Results { runs: vec![run], ..Results::default() }
    }

    /// Takes over everything in `later`; where both have an entry of the same key, the later one stays, in the
    /// place of the earlier one.
    pub fn absorb(&mut self, later: Results) {
        merge(&mut self.runs, later.runs, |a, b| a.part == b.part);
        merge(&mut self.queues, later.queues, |a, b| a.name == b.name);
        merge(&mut self.cards, later.cards, |a, b| a.queue == b.queue);
        merge(&mut self.properties, later.properties, |a, b| {
            (&a.queue, &a.invariant, &a.engine) == (&b.queue, &b.invariant, &b.engine)
        });
        merge(&mut self.measurements, later.measurements, |a, b| {
            (&a.workload, &a.parameters, &a.queue, &a.unit) == (&b.workload, &b.parameters, &b.queue, &b.unit)
        });
        merge(&mut self.comparisons, later.comparisons, |a, b| {
            (&a.workload, &a.parameters, &a.a, &a.b, a.control)
                == (&b.workload, &b.parameters, &b.a, &b.b, b.control)
        });
        merge(&mut self.failures, later.failures, |a, b| a.id == b.id);
        merge(&mut self.kills, later.kills, |a, b| (&a.bug, &a.engine) == (&b.bug, &b.engine));
        merge(&mut self.rogues, later.rogues, |a, b| (&a.bug, &a.engine) == (&b.bug, &b.engine));
    }
}

fn merge<T>(earlier: &mut Vec<T>, later: Vec<T>, same: impl Fn(&T, &T) -> bool) {
    for entry in later {
        match earlier.iter_mut().find(|known| same(known, &entry)) {
            Some(known) => *known = entry,
            None => earlier.push(entry),
        }
    }
}

/// One process that ran checks or benches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Run {
    /// Distinguishes this process from every other.
    pub id: String,
    /// Which part of the whole it ran: the name of its target, as in "conformance" or "duel".
    pub part: String,
    /// When it started.
    pub started_unix_ms: u64,
    /// How long it took.
    pub duration_ns: u64,
    /// How much it was asked to do: "quick", "standard", "soak".
    pub profile: String,
    /// The seed of everything random in it, as the replay command takes it.
    pub seed: Option<String>,
    /// The command that does it again.
    pub command: String,
    /// The version of Stanchion.
    pub tool_version: String,
    /// The state of the sources, when it is known.
    pub git: Option<Git>,
    /// The machine and the build.
    pub environment: Environment,
    /// What no measurement of this run can be better than, measured in the same run.
    pub limits: Vec<Limit>,
}

/// What the machine or the harness itself costs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limit {
    /// What was measured: "compare-and-swap, uncontended".
    pub name: String,
    /// How much it is. Finite.
    pub value: f64,
    /// In this unit: "ns", "items/s".
    pub unit: String,
}

/// The state of the sources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Git {
    /// The revision, abbreviated.
    pub rev: String,
    /// Whether tracked files differ from it.
    pub dirty: bool,
}

/// What kind of thing was judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Holds items between threads.
    #[default]
    Buffer,
    /// Delivers messages under leases.
    Broker,
    /// Handles messages.
    Consumer,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Buffer => "buffer",
            Kind::Broker => "broker",
            Kind::Consumer => "consumer",
        })
    }
}

/// A queue or a consumer, and what it claims.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Queue {
    /// The name it is registered under.
    pub name: String,
    /// What kind of thing it is.
    pub kind: Kind,
    /// What makes its costs comparable, as in "in memory" or "survives power loss"; or empty. Pages rank nothing
    /// across classes.
    pub class: String,
    /// The contract in words, as pairs of label and value: ("order", "FIFO"). Number and wording are free.
    pub contract: Vec<(String, String)>,
    /// What else a reader should know, or empty.
    pub note: String,
}

/// A broker's semantics card: what it declares, and what probes learned.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Card {
    /// Whose.
    pub queue: String,
    /// One per question.
    pub lines: Vec<CardLine>,
}

/// One question about a broker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CardLine {
    /// What was asked.
    pub aspect: String,
    /// What its contract says, in words.
    pub declared: String,
    /// What it was seen to do, in words; or why nothing was learned.
    pub learned: String,
    /// How the two differ.
    pub difference: Difference,
}

/// How what a contract declares and what was learned differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// Not at all.
    Same,
    /// The contract claims more than the broker keeps: a promise is broken.
    Over,
    /// The broker keeps more than the contract claims. (At least this once.)
    Under,
    /// The contract leaves it open, so any answer is right.
    Open,
    /// Nothing was learned: the question could not be asked.
    #[default]
    Unlearned,
}

impl Difference {
    /// In words; empty if there is nothing to say.
    pub fn words(self) -> &'static str {
        match self {
            Difference::Same => "",
            Difference::Over => "claims more than it keeps",
            Difference::Under => "keeps more than it claims",
            Difference::Open => "left open",
            Difference::Unlearned => "not learned",
        }
    }
}

/// What was found about one promise. The order is from worst to best news.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// A history breaks it.
    Broken,
    /// Every history keeps it, and the interesting situation occurred.
    Holds,
    /// The interesting situation never occurred.
    Vacuous,
    /// The contract does not promise it.
    NotClaimed,
    /// It could not be decided; or a newer writer used a word that this reader does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Status {
    /// How bad the news is: 0 is the worst. Across engines the worst news wins, and knowledge beats its absence:
    /// one engine that exercised the promise makes up for another that never could.
    pub fn rank(self) -> u8 {
        match self {
            Status::Broken => 0,
            Status::Unknown => 1,
            Status::Holds => 2,
            Status::Vacuous => 3,
            Status::NotClaimed => 4,
        }
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Status::Broken => "broken",
            Status::Holds => "holds",
            Status::Vacuous => "never exercised",
            Status::NotClaimed => "not claimed",
            Status::Unknown => "unknown",
        }
    }
}

/// What one engine found about one promise of one queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Property {
    /// The queue's name.
    pub queue: String,
    /// The invariant's id: "AL-1".
    pub invariant: String,
    /// Its short name: "no_loss".
    pub name: String,
    /// The promise in one sentence.
    pub sentence: String,
    /// What was found.
    pub status: Status,
    /// How many plans were run.
    pub cases: u64,
    /// How many events the checker read.
    pub events: u64,
    /// How often the interesting situation occurred.
    pub instances: u64,
    /// The engine that drove the queue: "sequential", "threads", "child process".
    pub engine: String,
    /// Why it is unknown, when it is.
    pub reason: Option<String>,
    /// The [`Failure::id`] of the smallest failing run, when it is broken.
    pub failure: Option<String>,
}

/// Which direction is good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// More is better: a rate.
    Higher,
    /// Less is better: a time, a size.
    Lower,
    /// Neither.
    #[default]
    #[serde(other)]
    Neither,
}

/// Whether a number may be shown as a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It may.
    #[default]
    Ok,
    /// Nothing was measured.
    Skipped,
    /// The run that gave it was not clean: it is shown struck out, with the reason.
    #[serde(other)]
    Invalid,
}

/// What one workload cost on one queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Measurement {
    /// The workload's id: "spsc", "deliver".
    pub workload: String,
    /// What else was fixed, as pairs of label and value: ("item", "8 B"). Only measurements with equal workload,
    /// parameters and unit are drawn together.
    pub parameters: Vec<(String, String)>,
    /// The queue's name.
    pub queue: String,
    /// The unit of every value in it: "items/s", "ns", "B".
    pub unit: String,
    /// Which direction is good.
    pub better: Better,
    /// Every trial, the flagged ones too.
    pub trials: Vec<Trial>,
    /// What the trials say together.
    pub estimate: Option<Estimate>,
    /// What became of the messages in all trials.
    pub ledger: Option<Ledger>,
    /// Whether the number may be shown.
    pub state: State,
    /// Why not, when it may not.
    pub reason: Option<String>,
}

/// One trial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trial {
    /// The round it belongs to, from 0. In one round every queue has one trial.
    pub round: u32,
    /// Its place in the round, from 0.
    pub order: u32,
    /// What was measured, in the measurement's unit. Finite.
    pub value: f64,
}

/// A median and its confidence interval, in the unit beside it. Finite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Estimate {
    /// The median.
    pub median: f64,
    /// The lower end of the interval.
    pub lo: f64,
    /// The upper end of the interval.
    pub hi: f64,
    /// The confidence level of the interval, as a share: 0.99.
    pub level: f64,
}

/// What became of the messages, as counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// The send returned ok.
    pub confirmed: u64,
    /// The send was refused.
    pub refused: u64,
    /// Neither confirmed nor refused.
    pub in_doubt: u64,
    /// Handed out, redeliveries included.
    pub delivered: u64,
    /// Handed out again without anything that permits it.
    pub duplicate: u64,
    /// Done.
    pub acked: u64,
    /// Out of attempts, or rejected.
    pub dead: u64,
    /// Confirmed, and nowhere.
    pub lost: u64,
    /// Delivered, and never sent.
    pub phantom: u64,
    /// In doubt, yet delivered.
    pub recovered: u64,
    /// Delivered against the promised order.
    pub out_of_order: u64,
}

impl Ledger {
    /// Whether nothing was lost, duplicated, invented or reordered: only then is a number a number.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.duplicate == 0 && self.phantom == 0 && self.out_of_order == 0
    }
}

/// The answer to "is b better than a?".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The whole interval is beyond the zone, on the good side.
    Faster,
    /// The whole interval is beyond the zone, on the bad side.
    Slower,
    /// The whole interval is within the zone.
    Equivalent,
    /// The interval is neither within the zone nor beyond it.
    TooNoisy,
    /// One of the two has no valid number, or their contracts differ too much.
    #[default]
    #[serde(other)]
    NotComparable,
}

impl Answer {
    /// The words for it.
    pub fn words(self) -> &'static str {
        match self {
            Answer::Faster => "faster",
            Answer::Slower => "slower",
            Answer::Equivalent => "equivalent",
            Answer::TooNoisy => "too noisy to say",
            Answer::NotComparable => "not comparable",
        }
    }
}

/// Queue b against queue a, from interleaved trials of one workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Comparison {
    /// The workload's id.
    pub workload: String,
    /// As in [`Measurement::parameters`].
    pub parameters: Vec<(String, String)>,
    /// The queue that is compared with.
    pub a: String,
    /// The queue that is judged.
    pub b: String,
    /// Whether a and b are the same queue, measured twice, to show the noise of the machine (A/A).
    pub control: bool,
    /// How good b is relative to a: above 1, b is better, whatever the unit's good direction (so for times it is
    /// a's value over b's). Null without a valid number.
    pub ratio: Option<f64>,
    /// The lower end of the ratio's interval.
    pub lo: Option<f64>,
    /// The upper end of the ratio's interval.
    pub hi: Option<f64>,
    /// The confidence level of the interval, as a share: 0.99.
    pub level: f64,
    /// Half the width of the equivalence zone, as a share: 0.05 makes it 0.95 to 1.05.
    pub zone: f64,
    /// The smallest change that could have been seen, as a share.
    pub smallest_visible: Option<f64>,
    /// How many rounds were run.
    pub rounds: u32,
    /// The answer.
    pub verdict: Answer,
    /// What else explains the answer.
    pub reason: Option<String>,
}

/// The smallest failing run of one promise on one queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failure {
    /// Names it within the results, as in "ring.AL-1.5e1f".
    pub id: String,
    /// The queue's name.
    pub queue: String,
    /// The invariant's id.
    pub invariant: String,
    /// The broken promise in one sentence that names the messages: "Confirmed message m2 is missing after the
    /// crash."
    pub title: String,
    /// What would have made it legal and is missing.
    pub missing_licence: Option<String>,
    /// The engine that found it.
    pub engine: String,
    /// The seed that found it.
    pub seed: Option<String>,
    /// The steps of the plan that failed first.
    pub steps_before: u64,
    /// The steps of the smallest plan that fails.
    pub steps_after: u64,
    /// The run as lanes of ASCII, at most 100 columns.
    pub timeline: String,
    /// The same run as data, for pages that draw it themselves.
    pub lanes: Option<Lanes>,
    /// The smallest plan, as its engine reads it.
    pub plan: serde_json::Value,
    /// The command that runs it again.
    pub replay: String,
}

/// A run with a lane for each of those who take part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lanes {
    /// Who takes part.
    pub names: Vec<String>,
    /// What happens, in the order of the calls.
    pub acts: Vec<Act>,
    /// The events that break the promise, in order, in words.
    pub culprits: Vec<String>,
    /// What ought to have become of the messages that it is about, and what did.
    pub balance: Vec<Balance>,
    /// What else there is to say, each with what it is about: ("Ledger", "confirmed 2, acked 1").
    pub notes: Vec<(String, String)>,
}

/// What ought to have become of one message by what the queue said of it, beside what did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Balance {
    /// Which.
    pub message: String,
    /// What the queue said of it at last.
    pub said: String,
    /// What it ought to be then.
    pub ought: String,
    /// What it was when all had ended.
    pub was: String,
    /// Whether the two differ.
    pub differs: bool,
}

/// One thing that happens in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Act {
    /// Whose it is, by its place among the names; `None`: it concerns all.
    pub lane: Option<usize>,
    /// The ticks of its call and its return; `None`: it never returned. Ticks order what happens and measure nothing.
    pub call: u64,
    /// See `call`.
    pub ret: Option<u64>,
    /// The broker's time when it was over, in words; empty where there is none.
    pub time: String,
    /// What is done and what came of it, a line for each message.
    pub lines: Vec<String>,
    /// What sort of thing it is.
    pub kind: ActKind,
    /// Nobody was told what came of it.
    pub in_doubt: bool,
    /// Its places among the culprits, from 1.
    pub culprits: Vec<usize>,
}

/// What sort of thing happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActKind {
    /// A call of somebody's.
    #[default]
    Call,
    /// A crash, a restart, a lost session, a panic.
    Fault,
    /// Time passes.
    Time,
    /// A phase of the run begins or ends.
    Phase,
    /// Things that have nothing to do with it are left out.
    Hidden,
}

/// A queue that is wrong on purpose, with several seeds: whether it is caught whatever the seed, or by luck.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kill {
    /// The bug's id: "D2".
    pub bug: String,
    /// What is wrong.
    pub what: String,
    /// The invariant that must catch it.
    pub expected: String,
    /// The engine that caught it most often.
    pub engine: String,
    /// With so many seeds it was caught by that invariant.
    pub caught: u64,
    /// Of so many.
    pub seeds: u64,
    /// The median of the cases that it took, where it was caught.
    pub cases: Option<u64>,
    /// The median of the seconds.
    pub seconds: Option<f64>,
    /// The most seconds.
    pub slowest: Option<f64>,
    /// Every invariant that it was seen to break until it was caught.
    pub broken: Vec<Broken>,
}

/// An invariant that a bug was seen to break.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Broken {
    /// Which.
    pub invariant: String,
    /// By which engine.
    pub engine: String,
    /// With how many seeds.
    pub seeds: u64,
}

/// A queue that is wrong on purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rogue {
    /// The bug's id: "D2".
    pub bug: String,
    /// What is wrong.
    pub what: String,
    /// The invariant that must catch it.
    pub expected: String,
    /// The invariants that did, in the order in which they did.
    pub caught_by: Vec<String>,
    /// Whether the expected invariant is among them.
    pub caught: bool,
    /// How many plans it took.
    pub cases: Option<u64>,
    /// The steps of the smallest plan that shows it.
    pub shrunk: Option<u64>,
    /// The engine that ran it.
    pub engine: String,
    /// In how many of these plans the wrong code ran, if that is known.
    pub reached: Option<u64>,
    /// In how many the history was other than that of the right queue, if that is known.
    pub triggered: Option<u64>,
}
