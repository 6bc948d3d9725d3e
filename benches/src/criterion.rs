//! The curves that people who run `cargo bench` expect. Criterion runs one queue after another, so its
//! numbers show how a queue's cost changes with the workload; for which of two queues is faster, see
//! [`crate::duel`].

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::ExitCode;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};

use crate::comparison::{Comparison, Contest, Subject};
use crate::exit;
use crate::trial::Fault;

/// Short, because there are over a hundred ids: the whole of `cargo bench` is to end within minutes. Flags
/// override it.
const WARM_UP: Duration = Duration::from_millis(200);
const MEASUREMENT: Duration = Duration::from_millis(1000);
const SAMPLES: usize = 20;
const RESAMPLES: usize = 10_000;

impl Comparison {
    /// The whole of a Criterion bench target: reads the command line, runs, summarises. The exit code is
    /// [`exit::BROKEN`] if the ledger of any queue was not clean.
    pub fn criterion_main(&self) -> ExitCode {
        let mut criterion = Criterion::default()
            .warm_up_time(WARM_UP)
            .measurement_time(MEASUREMENT)
            .sample_size(SAMPLES)
            .nresamples(RESAMPLES)
            .without_plots()
            .configure_from_args();
        let faults = self.criterion(&mut criterion);
        criterion.final_summary();
        for fault in &faults {
            eprintln!("NO NUMBER for {fault}");
        }
        if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(exit::BROKEN) }
    }

    /// Runs every workload in groups of its name, with the ids `group/queue/parameters`, and says in one
    /// line each what gave no number because its ledger was not clean.
    pub fn criterion(&self, criterion: &mut Criterion) -> Vec<String> {
        let mut faults = Vec::new();
        let contests = self.contests();
        for group in contests.chunk_by(|a, b| a.workload == b.workload) {
            let mut timed = criterion.benchmark_group(group[0].workload);
            timed.sampling_mode(SamplingMode::Flat);
            for contest in group {
                timed.throughput(Throughput::Elements(contest.step));
                for subject in &contest.subjects {
                    let id = BenchmarkId::new(subject.name, &contest.label);
                    let sampled = Sampled::new(contest, subject);
                    // Criterion cannot withhold a number, but it prints none for a bench that does not
                    // return.
                    let run = AssertUnwindSafe(|| {
                        timed.bench_function(id, |bencher| bencher.iter_custom(|steps| sampled.time(steps)));
                    });
                    if let Err(panic) = catch_unwind(run) {
                        let Some(fault) = sampled.fault.take() else { resume_unwind(panic) };
                        println!();
                        faults.push(format!("{}: {fault}", contest.id(subject)));
                    }
                }
            }
            timed.finish();
        }
        faults
    }
}

/// A subject as Criterion calls it.
struct Sampled<'a> {
    contest: &'a Contest<'a>,
    subject: &'a Subject<'a>,
    proven: Cell<bool>,
    fault: RefCell<Option<Fault>>,
}

impl<'a> Sampled<'a> {
    fn new(contest: &'a Contest<'a>, subject: &'a Subject<'a>) -> Sampled<'a> {
        Sampled { contest, subject, proven: Cell::new(false), fault: RefCell::new(None) }
    }

    /// The time of exactly so many steps. The first call proves the queue on enough items to have filled
    /// it: Criterion may ask for no more than one.
    fn time(&self, steps: u64) -> Duration {
        if !self.proven.replace(true) {
            self.moved(self.contest.smoke());
        }
        self.moved(steps * self.contest.step)
    }

    fn moved(&self, items: u64) -> Duration {
        match (self.subject.run)(items) {
            Ok(trial) => {
                assert_eq!(
                    trial.ledger.counts.delivered, items,
                    "a trial moves exactly what Criterion asks for"
                );
                trial.elapsed
            }
            Err(fault) => {
                *self.fault.borrow_mut() = Some(fault);
                // Without the panic's message: the fault is reported in its own words.
                resume_unwind(Box::new(()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use stanchion_queues::buffers::MutexDeque;

    use super::*;
    use crate::deliver::Delivering;
    use crate::mutants::{Fault as Wrong, Forgetful, TestBroker};

    fn comparison() -> Comparison {
        Comparison::new()
            .buffer::<MutexDeque>("deque")
            .buffer::<Forgetful>("forgetful")
            .broker("memory", |_| stanchion_queues::Volatile::new(|| Ok(TestBroker::new(Wrong::Nothing))))
    }

    #[test]
    fn exactly_as_many_items_are_moved_as_criterion_asks_for() {
        let comparison = comparison();
        for contest in [comparison.brokers_in(Delivering::BATCH), comparison.contests().swap_remove(4)] {
            let moved = Cell::new(0);
            let counting = Subject {
                name: "counting",
                run: Box::new(|items| {
                    let trial = (contest.subjects[0].run)(items)?;
                    moved.set(moved.get() + trial.ledger.counts.delivered);
                    Ok(trial)
                }),
            };
            let sampled = Sampled::new(&contest, &counting);
            sampled.time(3);
            assert_eq!(moved.get(), contest.smoke() + 3 * contest.step);
            sampled.time(10);
            assert_eq!(moved.get(), contest.smoke() + 13 * contest.step);
        }
    }

    #[test]
    fn an_unclean_ledger_gives_no_time_even_for_one_item() {
        let comparison = comparison();
        let contests = comparison.contests();
        let forgetful = &contests[0].subjects[1];
        let sampled = Sampled::new(&contests[0], forgetful);
        assert!(catch_unwind(AssertUnwindSafe(|| sampled.time(1))).is_err());
        assert!(matches!(sampled.fault.take(), Some(Fault::Unclean(_))));
    }

    #[test]
    fn criterion_goes_on_after_a_queue_whose_ledger_is_not_clean_and_stores_no_number_for_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut criterion = Criterion::default()
            .output_directory(directory.path())
            .warm_up_time(Duration::from_millis(1))
            .measurement_time(Duration::from_millis(10))
            .sample_size(10)
            .nresamples(100)
            .without_plots()
            .with_filter("^(seq|mpmc)/.*-64B$|^deliver/.*batch100");
        let comparison = Comparison::new().buffer::<Forgetful>("forgetful").buffer::<MutexDeque>("deque");
        let faults = comparison
            .broker("repeats", |_| stanchion_queues::Volatile::new(|| Ok(TestBroker::new(Wrong::Repeats))))
            .broker("memory", |_| stanchion_queues::Volatile::new(|| Ok(TestBroker::new(Wrong::Nothing))))
            .criterion(&mut criterion);
        let named: Vec<&str> = faults.iter().filter_map(|fault| fault.split(": ").next()).collect();
        let queues: Vec<&str> = named.iter().filter_map(|id| id.rsplit_once('/')).map(|(id, _)| id).collect();
        assert_eq!(queues, ["seq/forgetful", "mpmc/forgetful", "deliver/repeats"]);
        let stored = |id: &str| directory.path().join(id).join("new/estimates.json").is_file();
        assert!(stored("seq/deque/1x1-64B") && stored("deliver/memory/batch100-100B"));
        assert!(!named.into_iter().any(stored));
    }
}
