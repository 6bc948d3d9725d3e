//! How many messages a second the file queue confirms: closed loops of 1, 8 and 64 producers at 1 KiB, with
//! a raw append and `fdatasync` beside them in every round; medians of all rounds.
//!
//! `file_rates DIRECTORY [ROUNDS]`: the directory is on the disk that is measured.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use stanchion_queues::file::open_dir;
use stanchion_queues::{Broker, Message, Sent, Session, Settings};

const ROUND: Duration = Duration::from_millis(400);
const BODY: usize = 1024;

type Failed = Box<dyn Error + Send + Sync>;

fn raw(path: &Path) -> Result<f64, Failed> {
    let mut file = File::create(path)?;
    let body = [7; BODY];
    let (begun, mut appended) = (Instant::now(), 0);
    while begun.elapsed() < ROUND {
        file.write_all(&body)?;
        file.sync_data()?;
        appended += 1;
    }
    Ok(f64::from(appended) / begun.elapsed().as_secs_f64())
}

fn queue(path: &Path, producers: usize) -> Result<f64, Failed> {
    let queue = open_dir(path, &Settings { capacity: 1 << 24, ..Settings::new() })?;
    let over = AtomicBool::new(false);
    let begun = Instant::now();
    let confirmed = thread::scope(|scope| {
        let produce = || -> Result<u64, Failed> {
            let (mut session, message) = (queue.session()?, [Message::new([7; BODY])]);
            let mut confirmed = 0;
            while !over.load(Ordering::Relaxed) {
                match session.send(&message).pop() {
                    Some(Sent::Confirmed(_)) => confirmed += 1,
                    other => return Err(format!("a send was not confirmed: {other:?}").into()),
                }
            }
            Ok(confirmed)
        };
        let producers: Vec<_> = (0..producers).map(|_| scope.spawn(produce)).collect();
        thread::sleep(ROUND);
        over.store(true, Ordering::Relaxed);
        let mut confirmed = 0;
        for producer in producers {
            confirmed += producer.join().map_err(|_| "a producer panicked")??;
        }
        Ok::<u64, Failed>(confirmed)
    })?;
    Ok(confirmed as f64 / begun.elapsed().as_secs_f64())
}

fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("say in which directory to measure")?;
    let rounds = arguments.next().map_or(Ok(5), |rounds| rounds.parse())?;
    let mut rates = [(); 4].map(|()| Vec::new());
    for _ in 0..rounds {
        let scratch = tempfile::tempdir_in(&directory)?;
        rates[0].push(raw(&scratch.path().join("raw"))?);
        for (nth, producers) in [1, 8, 64].into_iter().enumerate() {
            rates[nth + 1].push(queue(&scratch.path().join(producers.to_string()), producers)?);
        }
    }
    for (name, rates) in ["raw", "p1", "p8", "p64"].iter().zip(&mut rates) {
        rates.sort_by(f64::total_cmp);
        println!("{name:4} {:9.0} msg/s", rates[rates.len() / 2]);
    }
    Ok(())
}
