//! The list of queues that are compared. Whoever has a queue adds a line; Criterion and the duel both run
//! what is here.

use std::fmt;
use std::path::Path;

use stanchion_queues::{Broker, Buffer, Error, Host, Settings};
use stanchion_reports::results::Better;

use crate::blocking::Blocking;
use crate::deliver::{self, Delivering};
use crate::driver;
use crate::tokio_driver;
use crate::trial::{Fault, Trial};
use crate::workload::{ItemSize, Topology, Wait, Workload};

/// The queues that are compared, in the order in which they were added.
///
/// ```
/// use stanchion_benches::Comparison;
/// use stanchion_queues::buffers::{MutexDeque, Ring};
///
/// let comparison = Comparison::new().buffer::<Ring>("ring").buffer::<MutexDeque>("mutex_deque");
/// ```
#[derive(Default)]
pub struct Comparison {
    buffers: Vec<BufferEntry>,
    brokers: Vec<BrokerEntry>,
    reference: Option<String>,
}

/// Runs a whole trial: what is called through a pointer is never in the measured loop.
type Run<W> = Box<dyn Fn(&W, u64) -> Result<Trial, Fault>>;

struct BufferEntry {
    name: String,
    admits: Box<dyn Fn(&Workload) -> bool>,
    run: Run<Workload>,
}

struct BrokerEntry {
    name: String,
    run: Run<Delivering>,
}

impl Comparison {
    /// An empty list.
    pub fn new() -> Comparison {
        Comparison::default()
    }

    /// Adds a buffer. It takes part in every shape that its contract admits.
    #[must_use]
    pub fn buffer<B: Buffer>(mut self, name: &str) -> Comparison {
        self.buffers.push(BufferEntry {
            name: name.into(),
            admits: Box::new(|workload| workload.admitted_by(&B::CONTRACT)),
            run: Box::new(driver::run::<B>),
        });
        self
    }

    /// Adds a channel that waits by itself, through its own waiting: it takes part where the others park.
    #[must_use]
    pub fn blocking<B: Blocking>(mut self, name: &str) -> Comparison {
        self.buffers.push(BufferEntry {
            name: name.into(),
            admits: Box::new(|workload| workload.wait == Wait::Park && workload.admitted_by(&B::CONTRACT)),
            run: Box::new(driver::run_blocking::<B>),
        });
        self
    }

    /// Adds the tokio channel as its users use it, awaiting inside a runtime on both sides: it takes part where
    /// the others park.
    #[must_use]
    pub fn tokio_awaited(mut self, name: &str) -> Comparison {
        self.buffers.push(BufferEntry {
            name: name.into(),
            admits: Box::new(tokio_driver::admits),
            run: Box::new(tokio_driver::run),
        });
        self
    }

    /// Adds a broker. Each trial boots the host that `make` returns.
    #[must_use]
    pub fn broker<H: Host>(self, name: &str, make: impl Fn(&Settings) -> H + 'static) -> Comparison {
        self.delivering(name, move |delivering, messages| {
            let broker = make(&settings()).boot()?;
            deliver::run(&broker, *delivering, messages)
        })
    }

    /// Adds a broker that lives in a directory. Each trial opens it in an empty one, under
    /// [`stanchion_reports::fragment::directory`], so that it is on the disk of the build and not in memory.
    #[must_use]
    pub fn on_disk<B: Broker>(
        self,
        name: &str,
        open: impl Fn(&Path, &Settings) -> Result<B, Error> + 'static,
    ) -> Comparison {
        self.delivering(name, move |delivering, messages| {
            let directory = scratch().map_err(Fault::Setup)?;
            let broker = open(directory.path(), &settings())?;
            deliver::run(&broker, *delivering, messages)
        })
    }

    fn delivering(
        mut self,
        name: &str,
        run: impl Fn(&Delivering, u64) -> Result<Trial, Fault> + 'static,
    ) -> Comparison {
        self.brokers.push(BrokerEntry { name: name.into(), run: Box::new(run) });
        self
    }

    /// Names the queue that the others are compared with. Where it does not take part, or none is named, it
    /// is the first that does.
    #[must_use]
    pub fn reference(mut self, name: &str) -> Comparison {
        self.reference = Some(name.into());
        self
    }

    /// What the buffers do in this workload.
    pub(crate) fn buffers_in(&self, workload: Workload) -> Contest<'_> {
        let taking_part = self.buffers.iter().filter(|entry| (entry.admits)(&workload));
        let subject = |entry: &'_ BufferEntry| entry.name.clone();
        let names: Vec<String> = taking_part.clone().map(subject).collect();
        let (producers, consumers) = workload.ends();
        let threads = match workload.topology {
            Topology::Seq => "1".into(),
            Topology::Pairs => format!("{producers}, each pushing and popping"),
            _ => format!("{producers} to {consumers}"),
        };
        let bytes = workload.item.bytes();
        Contest {
            reference: self.reference_among(&names),
            subjects: taking_part
                .map(|entry| Subject {
                    name: &entry.name,
                    run: Box::new(move |items| (entry.run)(&workload, items)),
                })
                .collect(),
            workload: workload.topology.name(),
            label: label(&workload),
            parameters: vec![
                ("item".into(), format!("{bytes} B")),
                ("batch".into(), workload.batch.to_string()),
                ("threads".into(), threads),
                ("wait".into(), workload.wait.name().into()),
                ("capacity".into(), workload.capacity.to_string()),
            ],
            asks: Some(workload),
            step: 1,
            // What an unbounded buffer may hold if its consumers never run: a quarter of a gigabyte.
            most: (256 << 20) / bytes as u64,
            threads: workload.threads(),
        }
    }

    /// What the brokers do when used so.
    pub(crate) fn brokers_in(&self, delivering: Delivering) -> Contest<'_> {
        let names: Vec<String> = self.brokers.iter().map(|entry| entry.name.clone()).collect();
        Contest {
            reference: self.reference_among(&names),
            subjects: self
                .brokers
                .iter()
                .map(|entry| Subject {
                    name: &entry.name,
                    run: Box::new(move |messages| (entry.run)(&delivering, messages)),
                })
                .collect(),
            workload: DELIVER,
            label: format!("batch{}-{}B", delivering.batch, delivering.body_bytes),
            parameters: vec![
                ("body".into(), format!("{} B", delivering.body_bytes)),
                ("batch".into(), delivering.batch.to_string()),
                ("sessions".into(), "1".into()),
            ],
            asks: None,
            step: delivering.batch as u64,
            most: 1 << 20,
            threads: 1,
        }
    }

    fn reference_among(&self, names: &[String]) -> usize {
        let named = self.reference.as_ref().and_then(|wanted| names.iter().position(|name| name == wanted));
        named.unwrap_or(0)
    }

    /// The curves: all topologies and sizes, batches of words, and deliveries.
    pub(crate) fn contests(&self) -> Vec<Contest<'_>> {
        let mut contests = Vec::new();
        for topology in Topology::ALL {
            for item in ItemSize::ALL {
                contests.push(self.buffers_in(Workload::new(topology, item)));
            }
            let batch = Workload { batch: 32, ..Workload::new(topology, ItemSize::Word) };
            if batch.is_sensible() {
                contests.push(self.buffers_in(batch));
            }
        }
        contests
            .extend([Delivering::SINGLE, Delivering::BATCH].map(|delivering| self.brokers_in(delivering)));
        contests.retain(|contest| !contest.subjects.is_empty());
        contests
    }
}

impl fmt::Debug for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.buffers.iter().map(|entry| &entry.name);
        f.debug_list().entries(names.chain(self.brokers.iter().map(|entry| &entry.name))).finish()
    }
}

/// The last part of an id. Single items and yielding go without saying.
fn label(workload: &Workload) -> String {
    let (producers, consumers) = workload.ends();
    let mut label = format!("{producers}x{consumers}-{}B", workload.item.bytes());
    if workload.batch > 1 {
        label += &format!("-batch{}", workload.batch);
    }
    if workload.wait != Wait::Yield {
        label += &format!("-{}", workload.wait.name());
    }
    label
}

/// See [`Contest::smoke`].
pub(crate) const SMOKE_ITEMS: u64 = 5000;
pub(crate) const SMOKE_MESSAGES: u64 = 500;

/// The workload of brokers.
pub(crate) const DELIVER: &str = "deliver";

fn settings() -> Settings {
    Settings::new()
}

/// An empty directory on the disk of the build.
fn scratch() -> std::io::Result<tempfile::TempDir> {
    let parent = stanchion_reports::fragment::directory();
    std::fs::create_dir_all(&parent)?;
    tempfile::Builder::new().prefix("bench-").tempdir_in(parent)
}

/// One workload, and everyone who takes part in it.
pub(crate) struct Contest<'a> {
    /// The first part of its ids.
    pub(crate) workload: &'static str,
    /// The last part of its ids.
    pub(crate) label: String,
    /// The same for people.
    pub(crate) parameters: Vec<(String, String)>,
    /// What the buffers are asked for; `None`: they are brokers.
    pub(crate) asks: Option<Workload>,
    /// How many items make one step: a batch.
    pub(crate) step: u64,
    /// The most items of a trial.
    pub(crate) most: u64,
    /// How many threads are at work.
    pub(crate) threads: usize,
    /// At least one, wherever contests are handed out.
    pub(crate) subjects: Vec<Subject<'a>>,
    /// The index of the one that the others are compared with.
    pub(crate) reference: usize,
}

/// One queue in one workload.
pub(crate) struct Subject<'a> {
    pub(crate) name: &'a str,
    /// Runs a trial of so many items.
    pub(crate) run: Box<dyn Fn(u64) -> Result<Trial, Fault> + 'a>,
}

impl Contest<'_> {
    /// The id of one subject, as in Criterion: `group/queue/parameters`.
    pub(crate) fn id(&self, subject: &Subject<'_>) -> String {
        format!("{}/{}/{}", self.workload, subject.name, self.label)
    }

    /// So few items that a trial is over soon, and so many that every buffer has been full, and that a broker
    /// has come to a mistake which it makes once in some hundred messages. The trials of a slow broker are
    /// shorter than that, so this is also what proves it.
    pub(crate) fn smoke(&self) -> u64 {
        if self.workload == DELIVER { SMOKE_MESSAGES } else { SMOKE_ITEMS }
    }

    /// Compares with the queue of this name, where it takes part.
    pub(crate) fn refer_to(&mut self, name: &str) {
        if let Some(place) = self.subjects.iter().position(|subject| subject.name == name) {
            self.reference = place;
        }
    }

    /// Keeps the chosen ones, one flag each, and the reference with them; or nobody, if none is chosen.
    pub(crate) fn keep(&mut self, chosen: &[bool]) {
        if !chosen.contains(&true) {
            self.subjects.clear();
            self.reference = 0;
            return;
        }
        let reference = self.reference;
        let kept = |place: &usize| *place == reference || chosen[*place];
        self.reference = (0..reference).filter(kept).count();
        let mut place = 0..;
        self.subjects.retain(|_| place.next().as_ref().is_some_and(kept));
    }

    /// Whether a trial's number is the time of one item's way there and back; otherwise it is how many items
    /// went through in a second.
    fn is_latency(&self) -> bool {
        self.asks.is_some_and(|workload| workload.topology == Topology::PingPong)
    }

    /// The unit of [`Contest::value`], and which direction is good.
    pub(crate) fn unit(&self) -> (&'static str, Better) {
        if self.is_latency() { ("ns", Better::Lower) } else { ("items/s", Better::Higher) }
    }

    /// The number of a trial.
    pub(crate) fn value(&self, trial: &Trial) -> f64 {
        if self.is_latency() { 1e9 / trial.rate() } else { trial.rate() }
    }
}

#[cfg(test)]
mod tests {
    use stanchion_queues::Volatile;
    use stanchion_queues::buffers::{MutexDeque, StdSyncChannel};

    use super::*;
    use crate::mutants::{Fault as Wrong, Forgetful, TestBroker};

    fn all() -> Comparison {
        Comparison::new()
            .buffer::<MutexDeque>("deque")
            .buffer::<StdSyncChannel>("std")
            .buffer::<Forgetful>("forgetful")
            .blocking::<StdSyncChannel>("blocking")
            .tokio_awaited("awaited")
            .broker("memory", |_| Volatile::new(|| Ok(TestBroker::new(Wrong::Nothing))))
            .on_disk("disk", |directory, _| {
                assert_eq!(std::fs::read_dir(directory).expect("a directory").count(), 0);
                Ok(TestBroker::new(Wrong::Nothing))
            })
            .reference("std")
    }

    fn parked() -> Workload {
        Workload { batch: 8, wait: Wait::Park, ..Workload::new(Topology::Spsc, ItemSize::Word) }
    }

    #[test]
    fn a_way_there_and_back_is_told_as_a_time() {
        let comparison = all();
        let of = |topology| comparison.buffers_in(Workload::new(topology, ItemSize::Word));
        let trial = (of(Topology::PingPong).subjects[0].run)(1000).expect("clean");
        let ns = of(Topology::PingPong).value(&trial);
        assert!((ns - trial.elapsed.as_nanos() as f64 / 1000.0).abs() < 1e-6 * ns);
        assert_eq!(of(Topology::PingPong).unit(), ("ns", Better::Lower));
        assert_eq!(
            (of(Topology::Spsc).value(&trial), of(Topology::Spsc).unit().0),
            (trial.rate(), "items/s")
        );
    }

    #[test]
    fn everyone_takes_part_where_the_contract_admits_it() {
        let comparison = all();
        let mut contests = comparison.contests();
        assert_eq!(contests.len(), 7 * 3 + 6 + 2);
        contests.push(comparison.buffers_in(parked()));
        let ids: Vec<String> = contests
            .iter()
            .flat_map(|contest| contest.subjects.iter().map(|subject| contest.id(subject)))
            .collect();
        for id in [
            "spsc/std/1x1-64B",
            "spsc/std/1x1-8B-batch32",
            "spsc/deque/1x1-8B-batch8-park",
            "spsc/blocking/1x1-8B-batch8-park",
            "spsc/awaited/1x1-8B-batch8-park",
            "pairs/deque/2x2-8B-batch32",
            "ping_pong/std/1x1-8B",
            "seq/deque/1x1-256B",
            "deliver/disk/batch100-100B",
        ] {
            assert!(ids.iter().any(|known| known == id), "{id} is not in {ids:#?}");
        }
        assert!(!ids.iter().any(|id| id.starts_with("mpmc/std")));
        let its_own = |id: &&String| id.contains("/awaited/") || id.contains("/blocking/");
        assert!(ids.iter().filter(its_own).all(|id| id.ends_with("-park")));
        let reference = |contest: &Contest<'_>| contest.subjects[contest.reference].name.to_owned();
        let of = |workload: &str| {
            contests.iter().find(|contest| contest.workload == workload).map(reference).expect("a contest")
        };
        assert_eq!(
            (of("spsc").as_str(), of("mpmc").as_str(), of("deliver").as_str()),
            ("std", "deque", "memory")
        );
    }

    #[test]
    fn every_trial_of_everyone_can_be_run_and_only_the_wrong_one_gives_no_number() {
        let comparison = all();
        let lossy_waits = |contest: &Contest<'_>| contest.workload == Topology::PingPong.name();
        for contest in comparison.contests().into_iter().chain([comparison.buffers_in(parked())]) {
            for subject in &contest.subjects {
                // Whoever loses the one item that is on its way waits until its patience ends.
                if lossy_waits(&contest) && subject.name == "forgetful" {
                    continue;
                }
                match (subject.run)(contest.smoke()) {
                    Ok(trial) => {
                        assert_ne!(subject.name, "forgetful");
                        assert_eq!(trial.ledger.counts.delivered, contest.smoke());
                    }
                    Err(fault) => assert_eq!(subject.name, "forgetful", "{fault}"),
                }
            }
        }
    }
}
