//! Runs the file queue through crash images for as long as it is given, all that each call can leave:
//! `cargo run --release -p stanchion-properties --example crash_images -- SECONDS [SEED]`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use stanchion_properties::engines::images::{Report, Scope};
use stanchion_queues::file::SimHost;

fn main() -> ExitCode {
    let mut given = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let (Some(Ok(seconds)), Ok(first)) = (given.next(), given.next().unwrap_or(Ok(0))) else {
        eprintln!("give the number of seconds to run, and perhaps the number of the first plan");
        return ExitCode::from(2);
    };
    let begun = Instant::now();
    let mut report = Report::default();
    for seed in first.. {
        if begun.elapsed() >= Duration::from_secs(seconds) {
            break;
        }
        let scope = Scope { images: usize::MAX, faults: true, flips: 16, lying: false, seed };
        // Now and then where whole pages are written.
        let make = if seed % 4 == 3 { SimHost::in_pages } else { SimHost::new };
        if let Err(error) = report.explore(make, seed, &scope) {
            eprintln!("plan {seed}: {error}");
            return ExitCode::FAILURE;
        }
    }
    let elapsed = begun.elapsed().as_secs_f64();
    for (_, _, plan, picture) in &report.broken {
        println!("{picture}{}\n", serde_json::to_string(plan).unwrap_or_default());
    }
    for (invariant, verdict) in &report.verdicts {
        if verdict.is_broken() {
            println!("{invariant}: broken");
        }
    }
    println!(
        "{} images in {} plans, {:.0} a second: {} after a failed call, {} with a flipped bit \
         ({} noticed, {} silently broke a promise)",
        report.images,
        report.plans,
        report.images as f64 / elapsed,
        report.faults,
        report.flips,
        report.noticed,
        report.unnoticed
    );
    ExitCode::from(u8::from(!report.broken.is_empty()))
}
