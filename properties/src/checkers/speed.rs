//! How many events the judge takes per second.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use stanchion_queues::Contract;

use super::scripted::{Got, SECOND, Script};
use super::{CHECKERS, Index, check, judge};
use crate::history::What;
use crate::invariant::Invariant;
use crate::verdict::Verdict;

/// A correct history of at least so many events: batches of sends and receives, acks, one nack in sixteen, an
/// empty receive and a count now and then, a drain.
fn correct(events: usize) -> Script {
    let contract = Contract { capacity: Some(64), deliveries_allowed: Some(3), ..Contract::in_memory() };
    let mut script = Script::new(contract);
    let (mut token, mut handle) = (0, 0);
    let mut ready: VecDeque<(u64, u32)> = VecDeque::new();
    while script.len() < events {
        for _ in 0..8 {
            token += 1;
            script.send(1, token);
            ready.push_back((token, 1));
        }
        while !ready.is_empty() {
            let batch: Vec<Got> = ready
                .drain(..ready.len().min(5))
                .map(|(token, attempt)| {
                    handle += 1;
                    (token, handle, attempt)
                })
                .collect();
            script.receive(2, &batch);
            for &(token, handle, attempt) in batch.iter().rev() {
                if handle % 16 == 0 && attempt == 1 {
                    script.nack(2, handle);
                    ready.push_front((token, attempt + 1));
                } else {
                    script.ack(2, handle);
                }
            }
        }
        script.receive(2, &[]);
        script.depth(2, [0; 4]);
        script.advance(SECOND);
    }
    script.drain();
    script
}

#[test]
fn the_measured_history_is_correct() {
    let broken: Vec<_> =
        judge(&correct(10_000).history()).into_iter().filter(|(_, verdict)| verdict.is_broken()).collect();
    assert_eq!(broken, []);
}

/// A long history is judged to its end, and none of it is passed over.
#[test]
fn what_goes_wrong_at_the_end_of_a_long_history_is_seen() {
    for size in [1_000, 300_000] {
        let mut script = correct(size);
        let history = script.history();
        let deliveries = history.events.iter().filter(|event| matches!(event.what, What::Deliver { .. }));
        let all = deliveries.count() as u64;
        assert_eq!(check(Invariant::Al3, &history), Verdict::Holds { instances: all });
        let again = script.receive(2, &[(1, 1 << 40, 2)]).history();
        assert_eq!(again.events.len(), history.events.len() + 2);
        let Verdict::Broken(how) = check(Invariant::Al6, &again) else { panic!("{size} events") };
        assert_eq!(how.culprits.last(), Some(&(again.events.len() - 1)), "{}", how.sentence);
    }
}

/// `cargo test --release -p stanchion-properties --lib -- --ignored judge_speed --nocapture`
#[test]
#[ignore = "prints events per second"]
fn judge_speed() {
    for size in [10_000, 100_000, 1_000_000, 10_000_000] {
        let history = correct(size).history();
        let events = history.events.len();
        let per_second = |took: Duration| events as f64 / took.as_secs_f64() / 1e6;
        let start = Instant::now();
        let index = Index::of(&history);
        let indexed = start.elapsed();
        let mut each: Vec<(Duration, Invariant)> = Vec::new();
        for (invariant, checker) in CHECKERS {
            let start = Instant::now();
            assert!(!checker(&index).is_broken(), "{invariant}");
            each.push((start.elapsed(), *invariant));
        }
        each.sort_unstable();
        let (all, middle) = (each.iter().map(|(took, _)| *took).sum::<Duration>(), each[each.len() / 2]);
        println!(
            "{events} events: {:.2} M/s by all {} promises together, {:.1} M/s to index them, {:.0} M/s by the promise in \
             the middle",
            per_second(indexed + all),
            each.len(),
            per_second(indexed),
            per_second(middle.0),
        );
        let slowest = each.iter().rev().take(4).map(|(took, of)| format!("{of} {:.1}", per_second(*took)));
        println!("    the slowest, M/s: {}; {}", slowest.collect::<Vec<_>>().join(", "), resident());
    }
}

/// The most memory that this process has held.
fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    format!("{} held at most, the history included", most.map_or("unknown", str::trim))
}
