//! One thread that sends by ticket, as many at once as a closed loop has producers.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use stanchion_queues::file::{RealDir, Ticket, open_dir};
use stanchion_queues::{Broker, Message, Sent, Settings};

use crate::Failure;
use crate::body::Maker;
use crate::load::{self, Load, Trial, Until};
use crate::stores::Queue;

/// The same as [`load::run`] of the file queue, with tickets in place of producers. A send takes from its beginning until its
/// ticket has been waited for, the oldest first.
///
/// # Errors
/// What the queue says, or [`crate::audit::Faults`]; or consumers were asked for.
pub fn run(load: &Load, directory: &Path) -> Result<Trial, Failure> {
    if load.consumers > 0 {
        return Err("it cannot remove anything by ticket: ask for no consumers".into());
    }
    let settings = Settings { capacity: 1 << 24, ..Settings::new() };
    let queue = open_dir(directory, &settings)?;
    let mut session = queue.session()?;
    // Files are begun.
    let (mut first, mut batch) = (Maker::new(load.producers, load.body), Vec::new());
    first.fill(&mut batch, 1);
    confirmed(session.begin_send(&batch).wait())?;

    let mut maker = Maker::new(0, load.body);
    let mut open: VecDeque<(Instant, Ticket<RealDir, Sent>)> = VecDeque::with_capacity(load.producers);
    let mut sends: Vec<Duration> = Vec::with_capacity(1 << 14);
    let mut batch: Vec<Message> = Vec::with_capacity(load.batch);
    let mut begun = 0;
    let start = Instant::now();
    let goes_on = |begun: u64| match load.until {
        Until::Sends(each) => begun < each * load.producers as u64,
        Until::Elapsed(time) => start.elapsed() < time,
    };
    loop {
        let more = goes_on(begun);
        if more {
            maker.fill(&mut batch, load.batch);
            open.push_back((Instant::now(), session.begin_send(&batch)));
            begun += 1;
        }
        if !more || open.len() == load.producers {
            let Some((called, oldest)) = open.pop_front() else { break };
            confirmed(oldest.wait())?;
            sends.push(called.elapsed());
        }
    }
    let elapsed = start.elapsed();
    drop((session, queue));
    // Of the producers that there might be the first one sent, and whoever comes after the last.
    let mut sent = vec![0; load.producers];
    sent[0] = maker.made();
    sent.push(first.made());
    load::audit::<Queue>(sent, [], directory)?;
    load::trial(elapsed, maker.made(), sends)
}

fn confirmed(sent: Vec<Sent>) -> Result<(), Failure> {
    match sent.into_iter().find(|sent| !matches!(sent, Sent::Confirmed(_))) {
        None => Ok(()),
        Some(other) => Err(format!("a send was not confirmed: {other:?}").into()),
    }
}
