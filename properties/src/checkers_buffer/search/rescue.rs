//! Follows few ways at first. Where all of them end, the search goes back a little and follows more; the further,
//! the more often that was not enough. Only if none was passed over is it said that there is none.

use std::collections::VecDeque;

use super::events::{Event, Events};
use super::{OPEN, Search, Searched};

/// How many ways are followed at first.
pub(super) const NARROW: usize = 4;
/// How many times more at each attempt.
const WIDER: usize = 4;
/// How many attempts are made at one place before all ways are followed from the beginning.
const ATTEMPTS: u32 = 4;
/// From how many events to how many it can go back.
const STRIDE: usize = 128;
/// To how many places.
const PLACES: usize = 1 << ATTEMPTS;

/// Where it can go back to.
struct Place<'a> {
    met: usize,
    next: Vec<usize>,
    search: Search<'a>,
}

pub(super) fn run<'a>(search: Search<'a>, events: Events<'a>) -> Searched {
    let mut rescue = Rescue { search, events, met: 0, stuck: 0, attempts: 0, places: VecDeque::new() };
    let beginning = rescue.here();
    loop {
        rescue.remember();
        let Some((at, event)) = rescue.events.next() else { return Searched::Possible };
        rescue.met += 1;
        let tried = match event {
            Event::Call(what) if rescue.search.call(what) => continue,
            Event::Call(_) => {
                return Searched::Undecided(format!("more than {OPEN} of them were open at once"));
            }
            Event::Return(what) => rescue.search.ret(what, at),
        };
        let all = !rescue.search.passed_over;
        match tried {
            Ok(()) if !rescue.search.configurations.is_empty() => {
                rescue.search.agree();
                continue;
            }
            Ok(()) if all => return Searched::Impossible(at),
            Ok(()) if rescue.go_back() => {}
            Ok(()) => {
                // Once more, and none is passed over.
                rescue.go_to(&beginning);
                rescue.search.width = usize::MAX;
            }
            Err(why) => return Searched::Undecided(why),
        }
    }
}

struct Rescue<'a> {
    search: Search<'a>,
    events: Events<'a>,
    /// How many events were met, and at most when all ways had ended.
    met: usize,
    stuck: usize,
    attempts: u32,
    places: VecDeque<Place<'a>>,
}

impl<'a> Rescue<'a> {
    fn here(&mut self) -> Place<'a> {
        Place { met: self.met, next: self.events.next.clone(), search: self.search.copy() }
    }

    fn remember(&mut self) {
        if self.search.width == usize::MAX {
            return;
        }
        if self.attempts > 0 && self.met > self.stuck + STRIDE {
            self.attempts = 0;
            self.search.width = NARROW;
        }
        if self.met.is_multiple_of(STRIDE) && self.places.back().is_none_or(|place| place.met < self.met) {
            if self.places.len() == PLACES {
                self.places.pop_front();
            }
            let here = self.here();
            self.places.push_back(here);
        }
    }

    /// `false`: that was tried often enough.
    fn go_back(&mut self) -> bool {
        self.attempts += 1;
        self.stuck = self.stuck.max(self.met);
        if self.attempts > ATTEMPTS {
            return false;
        }
        let back = 1 << (self.attempts - 1);
        self.places.truncate(self.places.len().saturating_sub(back - 1).max(1));
        let Some(place) = self.places.pop_back() else { return false };
        self.go_to(&place);
        self.places.push_back(place);
        self.search.width = NARROW * WIDER.pow(self.attempts);
        true
    }

    fn go_to(&mut self, place: &Place<'a>) {
        let since = self.events.go_back(&place.next);
        let steps = self.search.steps;
        self.search.replace(&place.search, since);
        self.search.steps = steps;
        self.met = place.met;
    }
}
