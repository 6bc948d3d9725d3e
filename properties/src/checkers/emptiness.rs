//! Empty answers that cannot have been true, and why: the one sign by which most losses and stuck leases
//! show themselves.

use stanchion_queues::Answer;

use super::index::Index;
use super::tables::NONE;
use super::timeline::{Cause, Observers, Span, State, Sums, spans};

/// A message that was certainly ready while a receive came back empty.
#[derive(Clone, Copy)]
pub(crate) struct Missed {
    pub(crate) span: Span,
    /// The empty receive.
    pub(crate) event: u32,
}

impl Missed {
    /// The event that last put the message where it was: its delivery before, else its confirmed send.
    pub(crate) fn since(&self, index: &Index) -> u32 {
        match self.span.after {
            NONE => index.copies[self.span.copy as usize].confirmed,
            delivery => index.deliveries[delivery as usize].event,
        }
    }
}

/// The empty receives that cannot have been true.
pub(crate) struct FalseEmpties {
    /// How many empty receives were asked.
    pub(crate) asked: u64,
    /// The first that misses a message for each cause of being ready.
    by_cause: Vec<Missed>,
    /// The first that is false at all, also where receives in doubt leave it open which message was ready.
    pub(crate) first: Option<Missed>,
    /// The first that misses a message that was stored before a crash that it was promised to survive.
    pub(crate) after_crash: Option<Missed>,
    /// The same after a second crash.
    pub(crate) after_second: Option<Missed>,
    /// Those that miss a message that had been delivered: its first each.
    pub(crate) returned: Vec<Missed>,
    /// The messages that were ready during the drain's last empty receive: lost.
    pub(crate) lost: Vec<Missed>,
    /// The last empty receive of a drain that came to rest.
    pub(crate) last: Option<u32>,
    /// How often each cause was at stake: ready messages with it, over the whole history.
    pub(crate) ready_by: [u64; 7],
}

impl FalseEmpties {
    pub(crate) fn of(index: &Index) -> FalseEmpties {
        let relaxed = index.contract.empty == Answer::Relaxed;
        let events: Vec<u32> =
            index.empties.iter().copied().filter(|&event| !relaxed || !index.overlapped(event)).collect();
        let last = index.quiet_end().and_then(|end| {
            let (began, ended) = (index.drain_began?, index.window(end).call);
            let inside = |&event: &u32| {
                let window = index.window(event);
                window.call > index.window(began).ret && window.ret < ended
            };
            events.iter().rposition(inside)
        });
        let observers = Observers::of(index, events);
        let hidden = observers.hidden(index);
        let mut ready = Sums::new(observers.events.len());
        let mut ready_by = [0; 7];
        spans(index, |span| {
            if span.certain && span.state == State::Ready {
                ready_by[span.cause as usize] += 1;
                ready.add(observers.covered(span.from, span.to), 1);
            }
        });
        // A prefix count of the empties that are false.
        let mut falses = vec![0_u32];
        for (&ready, &hidden) in ready.finish().iter().zip(&hidden) {
            falses.push(falses[falses.len() - 1] + u32::from(ready as u64 > hidden));
        }
        let mut found = FalseEmpties {
            asked: observers.events.len() as u64,
            by_cause: Vec::new(),
            first: None,
            after_crash: None,
            after_second: None,
            returned: Vec::new(),
            lost: Vec::new(),
            last: last.map(|last| observers.events[last]),
            ready_by,
        };
        if falses[falses.len() - 1] > 0 {
            found.explain(index, &observers, &hidden, &falses, last);
        }
        found
    }

    fn explain(
        &mut self,
        index: &Index,
        observers: &Observers,
        hidden: &[u64],
        falses: &[u32],
        last: Option<usize>,
    ) {
        // The first place from each on whose answer is false, and false for certain by whoever is ready.
        let places = observers.events.len();
        let (mut next_false, mut next_plain) = (vec![places; places + 1], vec![places; places + 1]);
        for place in (0..places).rev() {
            let is_false = falses[place + 1] > falses[place];
            next_false[place] = if is_false { place } else { next_false[place + 1] };
            next_plain[place] = if is_false && hidden[place] == 0 { place } else { next_plain[place + 1] };
        }
        spans(index, |span| {
            if !span.certain || span.state != State::Ready {
                return;
            }
            let range = observers.covered(span.from, span.to);
            if range.is_empty() {
                return;
            }
            let miss =
                |place: usize| (place < range.end).then(|| Missed { span, event: observers.events[place] });
            if let Some(missed) = miss(next_false[range.start]) {
                keep(&mut self.first, missed);
            }
            let Some(missed) = miss(next_plain[range.start]) else { return };
            match self.by_cause.iter_mut().find(|other| other.span.cause == span.cause) {
                Some(other) if other.event <= missed.event => {}
                Some(other) => *other = missed,
                None => self.by_cause.push(missed),
            }
            if span.after != NONE {
                self.returned.push(missed);
            }
            let confirmed = index.copies[span.copy as usize].confirmed;
            if confirmed != NONE {
                let stored = index.window(confirmed).ret;
                let falls = &index.falls.all;
                let first = falls.partition_point(|fall| fall.window.call <= stored);
                let after = |fall: usize| {
                    let tick = falls.get(fall)?.window.ret;
                    let start = observers.events.partition_point(|&event| index.window(event).call <= tick);
                    miss(next_plain[start.max(range.start)])
                };
                if let Some(missed) = after(first) {
                    keep(&mut self.after_crash, missed);
                }
                if let Some(missed) = after(first.max(1)) {
                    keep(&mut self.after_second, missed);
                }
            }
            if let Some(last) = last.filter(|last| range.contains(last) && hidden[*last] == 0) {
                self.lost.push(Missed { span, event: observers.events[last] });
            }
        });
    }

    /// The first false empty that misses a message that was ready for this cause.
    pub(crate) fn by(&self, cause: Cause) -> Option<Missed> {
        self.by_cause.iter().copied().find(|missed| missed.span.cause == cause)
    }
}

fn keep(best: &mut Option<Missed>, missed: Missed) {
    if best.is_none_or(|best| missed.event < best.event) {
        *best = Some(missed);
    }
}
