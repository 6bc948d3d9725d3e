//! How much memory the file queue takes for a pending message, as asked of the allocator: while it is ready, while it is
//! leased, and after the queue was opened again. Of the bodies it keeps at most 64 MiB, and none that it opened with.
//!
//! It is a target of its own because its allocator counts, which costs time.

use std::time::Duration;

use peak_alloc::PeakAlloc;
use stanchion_durable::body::Maker;
use stanchion_durable::bounds::Bound;
use stanchion_durable::store::{Client, Store};
use stanchion_durable::stores::Queue;
use stanchion_durable::{Failure, scratch};
use stanchion_queues::Session;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const BATCH: usize = 1000;
/// Of so many a target is judged.
const MANY: usize = 100_000;

/// What is held for each message, in bytes.
struct PerMessage {
    ready: f64,
    leased: f64,
    reopened: f64,
}

fn measure(messages: usize, body: usize) -> Result<PerMessage, Failure> {
    let directory = scratch()?;
    let per_message = |before: usize| (MEMORY.current_usage() as f64 - before as f64) / messages as f64;
    let (mut maker, mut batch) = (Maker::new(0, body), Vec::with_capacity(BATCH));
    // What is made once for all messages is made here.
    maker.fill(&mut batch, 1);

    let before = MEMORY.current_usage();
    let queue = Queue::open(directory.path())?;
    let mut session = queue.session()?;
    for _ in 0..messages / BATCH {
        maker.fill(&mut batch, BATCH);
        Client::send(&mut session, &batch)?;
        batch.clear();
    }
    let ready = per_message(before);
    for _ in 0..messages / BATCH {
        drop(session.receive(BATCH, Duration::from_secs(3600))?);
    }
    let leased = per_message(before);
    drop((session, queue));

    let before = MEMORY.current_usage();
    let queue = Queue::open(directory.path())?;
    let reopened = per_message(before);
    drop(queue);
    Ok(PerMessage { ready, leased, reopened })
}

fn main() -> Result<(), Failure> {
    // As everywhere: `cargo bench` measures, `cargo bench -- --test` and `cargo test` only try.
    let arguments: Vec<String> = std::env::args().collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if has("--list") {
        println!("memory/file: benchmark");
        return Ok(());
    }
    let sizes: &[usize] =
        if has("--bench") && !has("--test") { &[10_000, 100_000, 500_000] } else { &[BATCH] };
    println!(
        "\nbytes of memory the file queue holds for a pending message, bodies included (as asked of the allocator)"
    );
    println!("  {:>9}  {:>7}  {:>7}  {:>7}  {:>13}", "messages", "body", "ready", "leased", "opened again");
    for messages in sizes {
        for body in [100, 1024] {
            let PerMessage { ready, leased, reopened } = measure(*messages, body)?;
            println!("  {messages:>9}  {body:>5} B  {:>7.0}  {:>7.0}  {:>13.1}", ready, leased, reopened);
            // What the queue takes as such is shared by few.
            let found = if *messages >= MANY { Ok(reopened) } else { Err("too few messages to say") };
            println!("{}", Bound { what: "bytes for a message that waits on the disk", most: 16.0, found });
        }
    }
    Ok(())
}
