//! Batches are answered as they were asked.

use stanchion_queues::{Batches, Refusal};

use super::index::Index;
use super::tally::Tally;
use crate::history::{SendOutcome, What};
use crate::invariant::Invariant;
use crate::verdict::Verdict;

/// A batch is answered item by item as declared, with no more than was asked for.
pub(crate) fn as_asked(index: &Index) -> Verdict {
    let mut tally = Tally::of(Invariant::Al11);
    tally.tested(index.received + index.browses.len() as u64);
    for &event in &index.ill_answered {
        let What::Receive { max, got: Some(got), lease } = &index.events[event as usize].what else {
            continue;
        };
        tally.blame(&[event], || {
            if got > max {
                format!("event {event} asked for at most {max} messages and received {got}")
            } else {
                format!(
                    "event {event} asked for at most {max} messages for {lease:?}, which is to be refused, and \
                     received {got}"
                )
            }
        });
    }
    for &event in &index.browses {
        if let What::Browse { max, letters: Some(letters) } = &index.events[event as usize].what
            && letters.len() as u64 > *max
        {
            tally.blame(&[event], || {
                format!("event {event} asked for at most {max} dead letters and was shown {}", letters.len())
            });
        }
    }
    for &event in &index.miscounted {
        let What::Miscounted { asked, answered } = &index.events[event as usize].what else { continue };
        let batch: Vec<u32> =
            index.batch(event).filter(|&other| other != event).take(3).chain([event]).collect();
        tally.blame(&batch, || {
            format!("a batch of {asked} was answered with {answered} outcomes at event {event}, one for each was to come")
        });
    }
    if index.contract.batches == Batches::Whole {
        blame_torn(index, &mut tally);
    }
    tally.verdict()
}

/// Tells of each batch that was stored in part though it is declared to be stored as a whole.
fn blame_torn(index: &Index, tally: &mut Tally) {
    let confirmed = |event: u32| {
        matches!(index.events[event as usize].what, What::Send { outcome: SendOutcome::Confirmed(_), .. })
    };
    for (event, full) in index.events.iter().enumerate() {
        if !matches!(full.what, What::Send { outcome: SendOutcome::Refused(Refusal::Full), .. }) {
            continue;
        }
        let event = event as u32;
        tally.tested(1);
        if let Some(stored) = index.batch(event).find(|&other| confirmed(other)) {
            tally.blame(&[stored, event], || {
                format!(
                    "event {event} was refused as full and event {stored} of the same batch was confirmed"
                )
            });
        }
    }
}
