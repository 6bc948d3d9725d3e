//! What returns, list by list, and what is next in each.

use std::ops::Range;

use super::super::walk::Place;
use super::super::{NEVER, Tick};
use super::{ENDED, Head, Lazy};
use crate::buffer_history::Window;

/// What returns, in four kinds of lists: one per producer, one more per producer, and so for the consumers.
pub(super) enum Due {
    Push(usize),
    Full(usize),
    Pop(usize),
    Empty(usize),
}

impl Lazy<'_> {
    /// The first value from this number on, or the end.
    #[inline]
    pub(super) fn value_from(&self, producer: usize, number: usize) -> usize {
        let end = self.matched.numbers_of(producer).end;
        (number..end).find(|number| self.matched.holds(*number)).unwrap_or(end)
    }

    /// The first value of a producer from this number on, as the next that goes in.
    #[inline]
    pub(super) fn head_from(&self, producer: usize, number: usize) -> Head {
        let value = self.value_from(producer, number);
        if value == self.matched.numbers_of(producer).end {
            return Head { value, ..ENDED };
        }
        let (push, pop) = (self.matched.pushed_by(producer, value), self.matched.pop(value));
        Head { value, push, pop, out_by: self.out_by_of(producer, value) }
    }

    /// Notes which answers come next.
    pub(super) fn note_answers(&mut self, place: Place) {
        let lists = self.answer_lists(place);
        let next = lists.filter_map(|list| self.answers_of(list).get(self.answered[list]));
        self.first_call[place as usize] = next.map(|answer| answer.call).min().unwrap_or(NEVER);
    }

    #[inline]
    pub(super) fn kind(&self, list: usize) -> Due {
        let (producers, consumers) = (self.heads.len(), self.matched.consumers());
        if list < producers {
            Due::Push(list)
        } else if list < 2 * producers {
            Due::Full(list - producers)
        } else if list < 2 * producers + consumers {
            Due::Pop(list - 2 * producers)
        } else {
            Due::Empty(list - 2 * producers - consumers)
        }
    }

    pub(super) fn answer_lists(&self, place: Place) -> Range<usize> {
        let (producers, consumers) = (self.heads.len(), self.matched.consumers());
        match place {
            Place::Full => producers..2 * producers,
            Place::Empty => 2 * producers + consumers..2 * (producers + consumers),
        }
    }

    /// Those that must come true.
    pub(super) fn answers_of(&self, list: usize) -> &[Window] {
        let history = self.matched.history();
        match self.kind(list) {
            Due::Full(producer) => self.answers.fulls(&history.producers[producer]),
            Due::Empty(consumer) => self.answers.empties(&history.consumers[consumer]),
            Due::Push(_) | Due::Pop(_) => &[],
        }
    }

    /// When the next of a list returns.
    #[inline]
    pub(super) fn key(&self, list: usize) -> Tick {
        let next = self.due[list];
        match self.kind(list) {
            Due::Push(producer) if next < self.matched.numbers_of(producer).end => {
                self.matched.pushed_by(producer, next).ret
            }
            Due::Push(_) => NEVER,
            Due::Pop(consumer) => self.matched.pop_return(consumer, next),
            Due::Full(_) | Due::Empty(_) => {
                self.answers_of(list).get(next).map_or(NEVER, |answer| answer.ret)
            }
        }
    }

    #[inline]
    pub(super) fn after(&self, list: usize) -> usize {
        let next = self.due[list] + 1;
        if list < self.heads.len() { self.value_from(list, next) } else { next }
    }

    pub(super) fn before(&self, list: usize) -> usize {
        let mut last = self.due[list] - 1;
        while list < self.heads.len() && !self.matched.holds(last) {
            last -= 1;
        }
        last
    }
}
