//! Looks for a linearization of a bounded history by putting everything off.
//!
//! An operation takes effect when it must: at its return, or when another that is due needs it. What moved less can
//! still do all that what moved more can, but for an answer that is true now and never again; so the queue passes by
//! "empty" or "full" on its way if an answer that waits for it could not come true later. Where it is open which of
//! two ways is right, the better guess is tried first, and when something that is due turns out to be impossible, the
//! latest guess is taken back: one at a time, the last first, with a window of guesses and a budget. Where no single
//! guess was to blame, the stretch is gone through again and again with ways taken by chance, from ever further
//! back (the numbers are the same each time, so that the same history has the same verdict). Whatever comes of it is
//! replayed; a mistake here costs time, never truth.
//!
//! In which order two values went in is settled as late as can be: as long as each could have gone in when the other
//! did, they change places when one is to come out.

use std::collections::VecDeque;

use super::matching::Matched;
use super::merge::Merge;
use super::replay::{Replay, Step};
use super::walk::Place;
use super::{Answers, NEVER, Tick};
use crate::buffer_history::Window;

mod guesses;
mod lists;

use guesses::{AGAIN, Dice, Guess};
use lists::Due;

/// How far from the front a value may come forward.
const REACH: usize = 16;
/// After how many returns what is certain is replayed.
const SETTLE: usize = 64;
/// How many returns are met again in all, for a history of no length and for each value. A wrong history uses all of
/// it: what is not found by then is left to counting and search, which are cheaper.
const BUDGET: (usize, usize) = (20_000, 8);

/// How often the queue became full in the linearization that was found, if one was.
pub(super) fn lazily(matched: &Matched<'_>, answers: Answers) -> Option<u64> {
    let producers = matched.producers();
    let lists = 2 * (producers + matched.consumers());
    let mut lazy = Lazy {
        matched,
        answers,
        capacity: matched.capacity(),
        heads: vec![ENDED; producers],
        due: vec![0; lists],
        answered: vec![0; lists],
        first_call: [0; 2],
        popped: vec![0; matched.numbers().div_ceil(64)],
        queue: VecDeque::new(),
        passed: VecDeque::new(),
        steps: VecDeque::new(),
        replayed: 0,
        guesses: VecDeque::new(),
        other: None,
        straight: false,
        shaken: false,
        tries: 0,
        given_up: 0,
        again: AGAIN,
        dice: Dice::new(),
        met: 0,
        stuck: 0,
        budget: BUDGET.0 + matched.count * BUDGET.1,
        replay: Replay::new(matched),
    };
    for producer in 0..producers {
        let head = lazy.head_from(producer, matched.numbers_of(producer).start);
        (lazy.heads[producer], lazy.due[producer]) = (head, head.value);
    }
    [Place::Full, Place::Empty].into_iter().for_each(|place| lazy.note_answers(place));
    if lazy.capacity == 0 { None } else { lazy.run() }
}

/// What is due is not possible on this way.
struct Stuck;

#[derive(Clone, Copy)]
struct Inside {
    value: usize,
    /// Which of all steps put it in.
    step: usize,
    push: Window,
    pop: Window,
}

/// The next value of a producer that goes in.
#[derive(Clone, Copy)]
struct Head {
    value: usize,
    push: Window,
    pop: Window,
    /// When it must be out.
    out_by: Tick,
}

const AFTER_ALL: Window = Window { call: NEVER, ret: NEVER };
/// There is none.
const ENDED: Head = Head { value: 0, push: AFTER_ALL, pop: AFTER_ALL, out_by: NEVER };

#[derive(Clone, Copy)]
struct Taken {
    at: Tick,
    step: Step,
    /// Of a pop: which step put the value in.
    pushed: usize,
}

struct Lazy<'a> {
    matched: &'a Matched<'a>,
    answers: Answers,
    capacity: usize,
    /// By producer.
    heads: Vec<Head>,
    /// By list: what returns next. Of pushes the number, of all others the index.
    due: Vec<usize>,
    /// By list, of answers: how many came true.
    answered: Vec<usize>,
    /// By place: the first call of what has not come true.
    first_call: [Tick; 2],
    /// A bit for each number.
    popped: Vec<u64>,
    queue: VecDeque<Inside>,
    /// The lists of the returns that have passed since the first guess.
    passed: VecDeque<u32>,
    /// Steps that have not been replayed, and how many were.
    steps: VecDeque<Taken>,
    replayed: usize,
    guesses: VecDeque<Guess>,
    /// The way to take at the next fork, which is one where a guess was taken back.
    other: Option<usize>,
    /// On the way to "empty" or "full" there is no other way round.
    straight: bool,
    /// Ways are taken by chance until this place is passed.
    shaken: bool,
    tries: usize,
    /// How many guesses leave no other, since what is due was impossible.
    given_up: usize,
    /// How often more all is gone through once more.
    again: usize,
    dice: Dice,
    /// How many returns were met, and at most when one of them was not possible.
    met: usize,
    stuck: usize,
    budget: usize,
    replay: Replay<'a>,
}

impl Lazy<'_> {
    fn run(mut self) -> Option<u64> {
        let mut tree = Merge::new((0..self.due.len()).map(|list| self.key(list)), NEVER);
        let mut now = 0;
        while let Some((at, list)) = tree.first() {
            // A log that is not in order is left to others.
            if at < now {
                return None;
            }
            if self.meet(at, list).is_ok() {
                now = at;
                self.met += 1;
                if !self.guesses.is_empty() {
                    self.passed.push_back(list as u32);
                }
                self.due[list] = self.after(list);
                tree.replace(list, self.key(list));
                if self.met.is_multiple_of(SETTLE) {
                    self.settle()?;
                    self.note_place();
                }
                continue;
            }
            self.stuck = self.stuck.max(self.met);
            let returned = self.take_back()?;
            self.met -= returned.len();
            for list in returned.into_iter().rev() {
                self.due[list] = self.before(list);
                tree.replace(list, self.key(list));
            }
            now = 0;
        }
        self.replay_first(self.steps.len())?;
        self.replay.end(self.answers)
    }

    /// Takes every step that was put off until this return.
    fn meet(&mut self, at: Tick, list: usize) -> Result<(), Stuck> {
        match self.kind(list) {
            Due::Push(producer) => {
                let value = self.due[list];
                while self.heads[producer].value <= value {
                    self.bring_in(producer, at)?;
                }
            }
            Due::Pop(consumer) => {
                let Some(value) = self.matched.popped_at(consumer, self.due[list]) else { return Err(Stuck) };
                while self.popped[value / 64] >> (value % 64) & 1 == 0 {
                    let producer = self.matched.producer_of(value);
                    if self.heads[producer].value <= value {
                        self.bring_in(producer, at)?;
                    } else {
                        self.take_out(at, Some(value))?;
                    }
                }
            }
            Due::Full(_) => {
                while self.answered[list] <= self.due[list] {
                    if self.queue.len() == self.capacity {
                        self.answer(Place::Full, at);
                    } else {
                        self.fill(at)?;
                    }
                }
            }
            Due::Empty(_) => {
                while self.answered[list] <= self.due[list] {
                    if self.queue.is_empty() {
                        self.answer(Place::Empty, at);
                    } else {
                        self.take_out(at, None)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// One step on the way to the next value of this producer being inside.
    fn bring_in(&mut self, producer: usize, at: Tick) -> Result<(), Stuck> {
        if self.queue.is_empty() {
            self.answer(Place::Empty, at);
        } else if !self.straight
            && let Some(until) = self.waiting(Place::Empty, at)
            && self.queue.iter().rev().all(|inside| inside.pop.call <= at)
        {
            // Once the next one is inside, it has to be out again before the answer can be true.
            let out = self.heads[producer].pop;
            if (!self.is_shaken() && out.call > until) || self.choose(2) == 1 {
                self.straight = true;
                while !self.queue.is_empty() {
                    self.take_out(at, None)?;
                }
                self.straight = false;
                self.answer(Place::Empty, at);
            }
        }
        if self.queue.len() >= self.capacity {
            return self.take_out(at, None);
        }
        if !self.straight {
            self.makes_room(at, false);
        }
        let producer = self.first_in(producer, at);
        let head = self.heads[producer];
        if head.push.call > at {
            return Err(Stuck);
        }
        self.put(producer, at);
        if !self.straight {
            self.bring_along(head.pop, at);
        }
        Ok(())
    }

    #[inline]
    fn put(&mut self, producer: usize, at: Tick) {
        let Head { value, push, pop, .. } = self.heads[producer];
        self.heads[producer] = self.head_from(producer, value + 1);
        self.queue.push_back(Inside { value, step: self.replayed + self.steps.len(), push, pop });
        self.take(at, Step::Push(value));
    }

    /// Puts in those, too, that may come out before one that comes out in this window: both orders stay open if both
    /// go in at once.
    fn bring_along(&mut self, out: Window, at: Tick) {
        for producer in 0..self.heads.len() {
            while self.may_come_along(producer, out, at) {
                let other = self.heads[producer];
                let along = self.is_next(producer, at)
                    && !self.by_chance(4)
                    && self.is_harmless(&other)
                    && self.makes_room(at, true);
                // On the way to "full" it may have gone in.
                if !along || self.heads[producer].value != other.value {
                    break;
                }
                self.put(producer, at);
            }
        }
    }

    fn may_come_along(&mut self, producer: usize, out: Window, at: Tick) -> bool {
        let Head { push, pop, .. } = &self.heads[producer];
        push.call <= at && (pop.ret < out.ret || (pop.call < out.ret && self.by_chance(2)))
    }

    /// Whose next value goes in first if that of this producer is due: one that must come out before it, or had
    /// better.
    fn first_in(&mut self, mut producer: usize, at: Tick) -> usize {
        let mut better = 0;
        while better < self.heads.len() {
            let (due, other) = (&self.heads[producer], &self.heads[better]);
            if better == producer || other.push.call > at || other.out_by >= due.out_by {
                better += 1;
                continue;
            }
            let forced = other.out_by < due.pop.call;
            let other = *other;
            if forced || (self.is_next(better, at) && (self.straight || self.goes_before(&other, at))) {
                producer = better;
                better = 0;
            } else {
                better += 1;
            }
        }
        producer
    }

    /// Whether a value goes in early because it comes out early.
    fn goes_before(&mut self, other: &Head, at: Tick) -> bool {
        (!self.by_chance(4) && self.is_harmless(other) && self.makes_room(at, true)) || self.choose(2) == 1
    }

    /// Whether no answer "empty" may come true before the push of this value returns, and cannot after it.
    fn is_harmless(&self, other: &Head) -> bool {
        self.waiting(Place::Empty, other.push.ret).is_none_or(|until| other.pop.call <= until)
    }

    /// Whether there is more room than one value needs. Others come out early for that, as long as no answer "full"
    /// may come true before they must, and cannot after it.
    fn makes_room(&mut self, at: Tick, needed: bool) -> bool {
        while self.queue.len() + self.heads.len() >= self.capacity {
            self.come_forward(at, None);
            let Some(&front) = self.queue.front() else { break };
            let out = front.pop;
            if out.call > at {
                break;
            }
            if let Some(until) = self.waiting(Place::Full, out.ret) {
                let missing = self.capacity + 1 - self.queue.len();
                if !needed || !self.has_called(missing, until) || self.choose(2) == 0 {
                    break;
                }
            }
            if self.take_out(at, Some(front.value)).is_err() {
                break;
            }
        }
        let free = self.capacity - self.queue.len();
        free > 1 || (free == 1 && self.by_chance(2))
    }

    /// Whether no value that was not called by now must come out before the next one of this producer.
    #[inline]
    fn is_next(&self, producer: usize, at: Tick) -> bool {
        let head = &self.heads[producer];
        let mut others = self.heads.iter().enumerate();
        head.push.call != NEVER
            && others.all(|(other, next)| {
                other == producer || next.push.call <= at || next.out_by >= head.pop.call
            })
    }

    /// When this value must be out: those that its producer pushed after it come out after it.
    fn out_by(&self, value: usize) -> Tick {
        self.out_by_of(self.matched.producer_of(value), value)
    }

    #[inline]
    fn out_by_of(&self, producer: usize, value: usize) -> Tick {
        let end = self.matched.numbers_of(producer).end;
        self.matched.first_return(value..end.min(value + 1 + self.matched.consumers()))
    }

    /// Brings one to the front that can come out now: the one wanted, or whichever must be out first.
    #[inline]
    fn come_forward(&mut self, at: Tick, wanted: Option<usize>) {
        let Some(&Inside { value, step: first, .. }) = self.queue.front() else { return };
        if wanted == Some(value) {
            return;
        }
        let (mut best, mut by) = (0, NEVER);
        for place in 0..self.queue.len().min(REACH) {
            if place > 0 && !self.may_go_back(place) {
                break;
            }
            let Inside { value, step, push, pop } = self.queue[place];
            let may_lead = place == 0 || push.call <= self.time_of(first) || self.may_wait(first, step);
            if may_lead && pop.call <= at && (pop.ret < by || self.by_chance(4)) {
                (best, by) = (place, pop.ret);
            }
            if Some(value) == wanted {
                best = if may_lead { place } else { best };
                break;
            }
        }
        let last = self.queue[best].step;
        if best > 0 && self.queue[best].push.call > self.time_of(first) {
            let at = self.time_of(last);
            let waiting = self.steps.range_mut(first - self.replayed..last - self.replayed);
            waiting.for_each(|taken| taken.at = at);
        }
        for place in (1..=best).rev() {
            self.swap(place);
        }
    }

    /// Whether the value before this place could have gone in when the one at this place did.
    fn may_go_back(&self, place: usize) -> bool {
        let (before, this) = (self.queue[place - 1], self.queue[place]);
        before.step >= self.replayed && self.time_of(this.step) <= before.push.ret
    }

    /// Whether all steps from one to another can be taken when the last of them is.
    fn may_wait(&self, first: usize, last: usize) -> bool {
        let at = self.time_of(last);
        first >= self.replayed
            && last - first < REACH
            && self.steps.range(first - self.replayed..last - self.replayed).all(|taken| match taken.step {
                Step::Push(value) => at <= self.matched.push(value).ret,
                Step::Pop(value) => at <= self.matched.pop(value).ret,
                Step::Full(_) | Step::Empty(_) => false,
            })
    }

    /// When a step was taken that has not been replayed.
    fn time_of(&self, step: usize) -> Tick {
        step.checked_sub(self.replayed).map_or(0, |at| self.steps[at].at)
    }

    /// Lets two neighbours change places, and instants.
    fn swap(&mut self, place: usize) {
        let (before, this) = (self.queue[place - 1], self.queue[place]);
        self.queue[place - 1] = Inside { step: before.step, ..this };
        self.queue[place] = Inside { step: this.step, ..before };
        self.steps[before.step - self.replayed].step = Step::Push(this.value);
        self.steps[this.step - self.replayed].step = Step::Push(before.value);
    }

    #[inline]
    fn take(&mut self, at: Tick, step: Step) {
        self.steps.push_back(Taken { at, step, pushed: 0 });
    }

    /// The oldest value comes out, or one that may be the oldest: the one wanted, if it is one of those.
    fn take_out(&mut self, at: Tick, wanted: Option<usize>) -> Result<(), Stuck> {
        self.come_forward(at, wanted);
        let Some(&Inside { value, pop, .. }) = self.queue.front() else { return Err(Stuck) };
        if pop.call > at {
            return Err(Stuck);
        }
        if self.queue.len() == self.capacity {
            self.answer(Place::Full, at);
        } else if !self.straight
            && let Some(until) = self.waiting(Place::Full, at)
        {
            let missing = self.capacity - self.queue.len();
            if self.has_called(missing, at)
                && ((!self.is_shaken() && !self.has_called(missing + 1, until)) || self.choose(2) == 1)
            {
                while self.queue.len() < self.capacity {
                    self.fill(at)?;
                }
                self.answer(Place::Full, at);
            }
        }
        // On the way to "full" others may have come out.
        if let Some(&Inside { value: front, step, .. }) = self.queue.front()
            && front == value
        {
            self.queue.pop_front();
            self.popped[value / 64] |= 1 << (value % 64);
            self.steps.push_back(Taken { at, step: Step::Pop(value), pushed: step });
        }
        Ok(())
    }

    /// One more goes in, because all places must be taken.
    fn fill(&mut self, at: Tick) -> Result<(), Stuck> {
        let called = |(producer, head): (usize, &Head)| {
            (head.push.call <= at && self.is_next(producer, at)).then_some((head.push.ret, producer))
        };
        let mut open: Vec<(Tick, usize)> = self.heads.iter().enumerate().filter_map(called).collect();
        if open.is_empty() {
            return Err(Stuck);
        }
        open.sort_unstable();
        let (_, producer) = open[if open.len() == 1 { 0 } else { self.choose(open.len()) }];
        // Straight on: nobody leaves, and there is no other way round.
        self.straight = true;
        let result = self.bring_in(producer, at);
        self.straight = false;
        result
    }

    /// Whether so many values that are not inside yet can be by then.
    fn has_called(&self, mut missing: usize, by: Tick) -> bool {
        let uncalled = |producer: usize| {
            let numbers = self.heads[producer].value..self.matched.numbers_of(producer).end;
            let mut values = numbers.filter(|value| self.matched.holds(*value));
            values.find(|value| self.matched.push(*value).call > by)
        };
        for producer in 0..self.heads.len() {
            let others = (0..self.heads.len()).filter(|other| *other != producer).filter_map(uncalled);
            // Those that come out after one that is not called by then go in after it.
            let first_out = others.map(|other| self.out_by(other)).min().unwrap_or(NEVER);
            let numbers = self.heads[producer].value..self.matched.numbers_of(producer).end;
            for value in numbers.filter(|value| self.matched.holds(*value)) {
                if missing == 0 {
                    return true;
                }
                if self.matched.push(value).call > by || self.matched.pop(value).call > first_out {
                    break;
                }
                missing -= 1;
            }
        }
        missing == 0
    }

    /// The first return of the answers "full" or "empty" that were called by then and have not come true.
    #[inline]
    fn waiting(&self, place: Place, by: Tick) -> Option<Tick> {
        if self.first_call[place as usize] > by {
            return None;
        }
        let next = self.answer_lists(place).filter_map(|list| self.answers_of(list).get(self.answered[list]));
        next.filter(|answer| answer.call <= by).map(|answer| answer.ret).min()
    }

    /// All answers "full" or "empty" that were called come true.
    #[inline]
    fn answer(&mut self, place: Place, at: Tick) {
        if self.first_call[place as usize] > at {
            return;
        }
        for list in self.answer_lists(place) {
            while self.answers_of(list).get(self.answered[list]).is_some_and(|answer| answer.call <= at) {
                let step = match self.kind(list) {
                    Due::Full(producer) => Step::Full(producer),
                    Due::Push(thread) | Due::Pop(thread) | Due::Empty(thread) => Step::Empty(thread),
                };
                self.answered[list] += 1;
                self.take(at, step);
            }
        }
        self.note_answers(place);
    }
}
