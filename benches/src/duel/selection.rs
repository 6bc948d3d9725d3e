//! Which workloads and queues a duel is about.

use super::Usage;
use crate::comparison::DELIVER;
use crate::workload::{ItemSize, Topology, Wait, Workload};

/// Which workloads and queues. What is empty was not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Who pushes and who pops.
    pub topologies: Vec<Topology>,
    /// Whether brokers are asked to deliver.
    pub deliveries: bool,
    /// How many items go into one call.
    pub batches: Vec<usize>,
    /// What is done at a full or an empty buffer.
    pub waits: Vec<Wait>,
    /// What is moved.
    pub items: Vec<ItemSize>,
    /// The whole names of the queues.
    pub queues: Vec<String>,
    /// The queue that the others are compared with, where it takes part.
    pub reference: Option<String>,
}

/// A larger batch would only measure the memory.
const LARGEST_BATCH: usize = 1 << 16;

impl Selection {
    pub(super) fn name_workloads(&mut self, given: &str) -> Result<(), Usage> {
        let expected = "seq, spsc, mpsc, spmc, mpmc, pairs, ping_pong or deliver, with commas between";
        let known = |name: &str| Topology::ALL.into_iter().find(|topology| topology.name() == name);
        let (deliveries, names): (Vec<&str>, Vec<&str>) = given.split(',').partition(|name| *name == DELIVER);
        self.deliveries = !deliveries.is_empty();
        self.topologies = each("--workload", names.into_iter(), expected, known)?;
        Ok(())
    }

    pub(super) fn name_batches(&mut self, given: &str) -> Result<(), Usage> {
        let number = |name: &str| name.parse().ok().filter(|batch| (1..=LARGEST_BATCH).contains(batch));
        self.batches = each("--batch", given.split(','), "numbers from 1 to 65536, as in 1,32", number)?;
        Ok(())
    }

    pub(super) fn name_waits(&mut self, given: &str) -> Result<(), Usage> {
        let known = |name: &str| Wait::ALL.into_iter().find(|wait| wait.name() == name);
        self.waits = each("--wait", given.split(','), "spin, yield or park, with commas between", known)?;
        Ok(())
    }

    pub(super) fn name_items(&mut self, given: &str) -> Result<(), Usage> {
        let known = |name: &str| ItemSize::ALL.into_iter().find(|item| item.bytes().to_string() == name);
        self.items = each("--item", given.split(','), "8, 64 or 256, with commas between", known)?;
        Ok(())
    }

    /// Whether anything was said about workloads.
    fn is_specific(&self) -> bool {
        self.deliveries
            || !(self.topologies.is_empty()
                && self.batches.is_empty()
                && self.waits.is_empty()
                && self.items.is_empty())
    }

    /// The workloads of buffers: a choice that fits the default budget, or every combination that makes sense
    /// of what was said.
    pub(super) fn workloads(&self) -> Vec<Workload> {
        if !self.is_specific() {
            return the_choice();
        }
        let or = |said: &[Topology]| match said {
            [] if self.deliveries => Vec::new(),
            [] => Topology::ALL.to_vec(),
            said => said.to_vec(),
        };
        let mut workloads = Vec::new();
        for topology in or(&self.topologies) {
            for item in self.items.iter().copied().chain(self.items.is_empty().then_some(ItemSize::Word)) {
                for batch in self.batches.iter().copied().chain(self.batches.is_empty().then_some(1)) {
                    for wait in self.waits.iter().copied().chain(self.waits.is_empty().then_some(Wait::Yield))
                    {
                        workloads.push(Workload { batch, wait, ..Workload::new(topology, item) });
                    }
                }
            }
        }
        workloads.retain(Workload::is_sensible);
        workloads
    }

    pub(super) fn has_deliveries(&self) -> bool {
        self.deliveries || !self.is_specific()
    }

    pub(super) fn has_queue(&self, name: &str) -> bool {
        self.queues.is_empty() || self.queues.iter().any(|queue| queue == name)
    }

    /// What was said, in words.
    pub(super) fn asked(&self) -> Option<String> {
        let queues = (!self.queues.is_empty()).then(|| format!("the queues {}", self.queues.join(", ")));
        let workloads = self.is_specific().then(|| "the workloads asked for".to_owned());
        let parts: Vec<String> = queues.into_iter().chain(workloads).collect();
        (!parts.is_empty()).then(|| parts.join(" in "))
    }
}

/// Over all topologies that differ most, and the two sizes and batches that differ most.
fn the_choice() -> Vec<Workload> {
    use ItemSize::{Line, Word};
    use Topology::{Mpmc, Mpsc, Pairs, PingPong, Spsc};
    let mut workloads = Vec::new();
    for (topology, item) in [(Spsc, Word), (Spsc, Line), (Pairs, Word), (Pairs, Line), (Mpsc, Word)] {
        workloads.extend([1, 32].map(|batch| Workload { batch, ..Workload::new(topology, item) }));
    }
    let parking = |batch| Workload { batch, wait: Wait::Park, ..Workload::new(Mpmc, Word) };
    workloads.extend([1, 32].map(parking));
    workloads.push(Workload::new(PingPong, Word));
    workloads
}

fn each<'a, T>(
    flag: &'static str,
    names: impl Iterator<Item = &'a str>,
    expected: &'static str,
    known: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, Usage> {
    names
        .map(|name| known(name).ok_or_else(|| Usage::Value { flag, given: name.to_owned(), expected }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_a_choice_that_makes_sense() {
        let silent = Selection::default();
        assert!(silent.workloads().iter().all(Workload::is_sensible) && silent.has_deliveries());
        assert_eq!(silent.workloads().len(), 13);
    }

    #[test]
    fn what_is_said_is_combined_and_what_makes_no_sense_is_left_out() {
        let mut selection = Selection::default();
        selection.name_workloads("spsc,ping_pong").expect("good");
        selection.name_batches("1,8").expect("good");
        selection.name_items("8,256").expect("good");
        let workloads = selection.workloads();
        assert_eq!(workloads.len(), 4 + 2);
        assert!(workloads.iter().all(|workload| workload.wait == Wait::Yield));
        assert!(!selection.has_deliveries());
        selection.name_workloads("deliver").expect("good");
        assert!(selection.has_deliveries() && selection.workloads().is_empty());
    }
}
