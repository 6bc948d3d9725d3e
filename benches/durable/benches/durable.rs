//! Criterion's curves of what a confirmed send costs when it survives the power: the file queue beside a raw append
//! with `fdatasync`, which only what need not let its file grow with each append can beat (as the queue does, whose
//! log is prepared ahead), and beside SQLite (WAL, synchronous FULL), which everybody has.
//!
//! One producer, bodies of 100 B and 1 KiB, one or a hundred a sync. After every sample the store is opened
//! again and what it holds is looked at: a store that holds less than it confirmed gives no number.

use std::time::Duration;

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput, measurement::WallTime};
use stanchion_durable::Failure;
use stanchion_durable::contest::BODIES;
use stanchion_durable::entrants::{CLOCK, Entrant, OURS, named};
use stanchion_durable::load::{Load, Until};
use stanchion_durable::scheduling::SUSPICIOUS;

fn single(batch: usize, body: usize, sends: u64) -> Load {
    Load { producers: 1, consumers: 0, batch, body, until: Until::Sends(sends) }
}

fn bench(group: &mut BenchmarkGroup<'_, WallTime>, entrant: &Entrant, body: usize, batch: usize) {
    group.throughput(Throughput::Elements(batch as u64));
    let id = BenchmarkId::new(entrant.name, format!("batch{batch}-{body}B"));
    group.bench_function(id, |bencher| {
        bencher.iter_custom(|calls| match entrant.trial(&single(batch, body, calls)) {
            Ok(trial) => trial.elapsed,
            Err(failure) => panic!("{}: {failure}", entrant.name),
        });
    });
}

fn main() -> Result<(), Failure> {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(2000))
        .sample_size(10)
        .nresamples(10_000)
        .without_plots()
        .configure_from_args();
    let entrants = [named(CLOCK)?, named("sqlite")?, named(OURS)?];
    // Before anything else: on some disks it is slower than what is to be compared.
    let p50 = entrants[0].trial(&single(1, 100, 51))?.p50;
    eprintln!("one append of 100 B and its fdatasync take {p50:?} (median) on this disk");
    if p50 > SUSPICIOUS {
        eprintln!(
            "WARNING: that is above 1 ms: you are measuring the scheduler, or a slow disk, and not the stores"
        );
    }
    let mut group = criterion.benchmark_group("durable");
    group.sampling_mode(SamplingMode::Flat);
    for body in BODIES {
        for batch in [1, 100] {
            entrants.iter().for_each(|entrant| bench(&mut group, entrant, body, batch));
        }
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}
