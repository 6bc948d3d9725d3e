//! Walks through a bounded history whose order of values is settled, and finds instants at which every answer is
//! true, if there are any.
//!
//! Where one is on the way is how many values went in and how many came out. Whoever has moved less and seen as
//! many answers come true can still do all that another can. So nobody moves before a deadline, and then, as one
//! may choose, by way of the nearest place that is empty or full; and whoever is behind another is dropped. No
//! schedule is missed by that: follow it, at each deadline by way of what it has touched by then.

use crate::buffer_history::Window;

use super::construct::Schedule;
use super::merge::Merge;
use super::replay::{Replay, Step};
use super::{Answers, NEVER, Tick};

/// How many ways are followed at once.
const WAYS: usize = 1000;
/// How many steps are kept before they are replayed.
const KEPT: usize = 4096;
/// How many answers may be open at once: a bit each.
const OPEN: u32 = u128::BITS;
/// After every event: a value that never came out has no deadline.
const ENDED: (Tick, bool) = (NEVER, true);
/// No step.
const NONE: usize = usize::MAX;

/// One way to be where one is.
#[derive(Clone, Copy, Debug)]
struct Way {
    pushed: usize,
    popped: usize,
    /// Open answers that were true.
    done: u128,
    /// The last step.
    last: usize,
}

impl Way {
    fn covers(&self, other: &Way) -> bool {
        self.pushed <= other.pushed && self.popped <= other.popped && self.done & other.done == other.done
    }
}

/// An answer that was true on no way that led there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stuck {
    pub(super) place: Place,
    pub(super) window: Window,
    /// How many values had gone in by then.
    pub(super) pushed: usize,
}

/// A step and the one before it.
#[derive(Clone, Copy)]
struct Taken {
    before: usize,
    at: Tick,
    step: Step,
}

/// Answers of one thread with the same window, from the `first`-th on.
#[derive(Clone, Copy, Default, PartialEq)]
struct Open {
    thread: usize,
    first: usize,
    count: usize,
}

/// Where an answer is true.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    Empty,
    Full,
}

use Place::{Empty, Full};

pub(super) struct Walk<'a> {
    schedule: &'a Schedule<'a>,
    answers: Answers,
    replay: Replay<'a>,
    ways: Vec<Way>,
    taken: Vec<Taken>,
    open: Vec<Open>,
    empties: u128,
    fulls: u128,
    stuck: Vec<Stuck>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(schedule: &'a Schedule<'a>, answers: Answers) -> Walk<'a> {
        Walk {
            schedule,
            answers,
            replay: Replay::new(schedule.matched),
            ways: vec![Way { pushed: 0, popped: 0, done: 0, last: NONE }],
            taken: Vec::new(),
            open: vec![Open::default(); OPEN as usize],
            empties: 0,
            fulls: 0,
            stuck: Vec::new(),
        }
    }

    /// How often the queue became full on the way that was found. `Err`: there was none, because of these
    /// answers if of any.
    pub(super) fn run(mut self) -> Result<u64, Vec<Stuck>> {
        self.go().filter(|_| self.stuck.is_empty()).ok_or(self.stuck)
    }

    fn go(&mut self) -> Option<u64> {
        let matched = self.schedule.matched;
        // Deadlines of pushes and of pops, then calls and returns of the answers of each thread.
        let mut next = vec![0; 2 + 2 * (matched.producers() + matched.consumers())];
        let heads: Vec<_> = (0..next.len()).map(|list| self.key(list, 0)).collect();
        let mut tree = Merge::new(heads, ENDED);
        let mut now = (0, false);
        while let Some((key, list)) = tree.first() {
            // A log that is not in order is left to the search.
            if key < now {
                return None;
            }
            now = key;
            let (at, first) = (key.0, next[list]);
            next[list] += match list {
                0 | 1 => {
                    self.deadline(at, list == 0, first)?;
                    1
                }
                _ => {
                    let thread = (list - 2) / 2;
                    let answers = self.answers_of(thread);
                    let count = answers[first..].iter().take_while(|other| **other == answers[first]).count();
                    let open = Open { thread, first, count };
                    if list.is_multiple_of(2) {
                        self.call(at, open)?;
                    } else {
                        self.ret(at, open)?;
                    }
                    count
                }
            };
            if self.ways.len() == 1 && self.taken.len() > KEPT {
                self.settle()?;
            }
            tree.replace(list, self.key(list, next[list]));
        }
        self.ways.truncate(1);
        self.settle()?;
        self.replay.end(self.answers)
    }

    /// When the next event of a list is, and whether it is a return.
    fn key(&self, list: usize, next: usize) -> (Tick, bool) {
        let tick = match list {
            0 => self.schedule.er.get(next).copied(),
            1 => self.schedule.dr.get(next).copied(),
            _ => {
                let answer = self.answers_of((list - 2) / 2).get(next);
                answer.map(|answer| if list.is_multiple_of(2) { answer.call } else { answer.ret })
            }
        };
        tick.map_or(ENDED, |tick| (tick, list < 2 || list % 2 == 1))
    }

    /// Answers "full" of producers, then answers "empty" of consumers.
    fn answers_of(&self, thread: usize) -> &'a [Window] {
        let history = self.schedule.matched.history();
        match thread.checked_sub(history.producers.len()) {
            None => self.answers.fulls(&history.producers[thread]),
            Some(consumer) => self.answers.empties(&history.consumers[consumer]),
        }
    }

    fn call(&mut self, at: Tick, answers: Open) -> Option<()> {
        let slot = (self.empties | self.fulls).trailing_ones();
        let bit = 1_u128.checked_shl(slot)?;
        self.open[slot as usize] = answers;
        let producers = self.schedule.matched.producers();
        *(if answers.thread < producers { &mut self.fulls } else { &mut self.empties }) |= bit;
        let mut ways = std::mem::take(&mut self.ways);
        ways.iter_mut().for_each(|way| self.look(way, at));
        self.ways = ways;
        Some(())
    }

    fn ret(&mut self, at: Tick, answers: Open) -> Option<()> {
        let in_use = self.empties | self.fulls;
        let slot = (0..OPEN as usize).find(|slot| in_use >> slot & 1 == 1 && self.open[*slot] == answers)?;
        let bit = 1 << slot;
        let (place, other) = if self.empties & bit == 0 { (Full, Empty) } else { (Empty, Full) };
        if self.ways.iter().any(|way| way.done & bit == 0) {
            let before = self.ways.first().copied();
            for way in std::mem::take(&mut self.ways) {
                if way.done & bit != 0 {
                    self.ways.push(way);
                    continue;
                }
                let through_other = self.wishes(&way, other).then(|| self.through(way, at, &[other, place]));
                let direct = self.through(way, at, &[place]);
                self.ways.extend([direct, through_other.flatten()].into_iter().flatten());
            }
            if self.ways.is_empty() {
                let window = self.answers_of(answers.thread)[answers.first];
                let pushed = before.map_or(0, |way| way.pushed);
                self.stuck.push(Stuck { place, window, pushed });
                self.ways.extend(before);
            }
        }
        self.empties &= !bit;
        self.fulls &= !bit;
        self.ways.iter_mut().for_each(|way| way.done &= !bit);
        self.fewer()
    }

    /// The value of this rank goes in by now, or comes out.
    fn deadline(&mut self, at: Tick, pushing: bool, rank: usize) -> Option<()> {
        let behind = |way: &Way| rank >= if pushing { way.pushed } else { way.popped };
        if !self.ways.iter().any(behind) {
            return Some(());
        }
        for way in std::mem::take(&mut self.ways) {
            if !behind(&way) {
                self.ways.push(way);
                continue;
            }
            let detours: &[&[Place]] = match (self.wishes(&way, Empty), self.wishes(&way, Full)) {
                (false, false) => &[&[]],
                (true, false) => &[&[], &[Empty]],
                (false, true) => &[&[], &[Full]],
                (true, true) => &[&[], &[Empty], &[Full], &[Empty, Full], &[Full, Empty]],
            };
            for detour in detours {
                let Some(mut way) = self.through(way, at, detour) else { continue };
                while behind(&way) {
                    let inside = way.pushed - way.popped;
                    let push = if pushing { inside < self.schedule.matched.capacity() } else { inside == 0 };
                    self.step(&mut way, at, push);
                }
                self.ways.push(way);
            }
        }
        self.fewer()
    }

    /// Whether it matters to be there.
    fn wishes(&self, way: &Way, place: Place) -> bool {
        let answers = if place == Empty { self.empties } else { self.fulls };
        answers & !way.done != 0
    }

    /// The shortest way by these places, in turn, if they can be reached by now.
    fn through(&mut self, mut way: Way, at: Tick, places: &[Place]) -> Option<Way> {
        for place in places {
            let Schedule { ei, di, .. } = self.schedule;
            match place {
                Empty => {
                    let can = way.popped == way.pushed || di[way.pushed - 1] <= at;
                    can.then_some(())?;
                    while way.popped < way.pushed {
                        self.step(&mut way, at, false);
                    }
                }
                Full => {
                    let pushed = way.popped + self.schedule.matched.capacity();
                    let can =
                        way.pushed == pushed || ei.get(pushed - 1).is_some_and(|earliest| *earliest <= at);
                    can.then_some(())?;
                    while way.pushed < pushed {
                        self.step(&mut way, at, true);
                    }
                }
            }
        }
        Some(way)
    }

    fn step(&mut self, way: &mut Way, at: Tick, push: bool) {
        let rank = if push { &mut way.pushed } else { &mut way.popped };
        let value = self.schedule.order[*rank] as usize;
        *rank += 1;
        self.take(way, at, if push { Step::Push(value) } else { Step::Pop(value) });
        self.look(way, at);
    }

    /// Open answers that are true here are done with.
    fn look(&mut self, way: &mut Way, at: Tick) {
        let inside = way.pushed - way.popped;
        let mut answers = if inside == 0 { self.empties & !way.done } else { 0 };
        if inside == self.schedule.matched.capacity() {
            answers |= self.fulls & !way.done;
        }
        way.done |= answers;
        while answers != 0 {
            let Open { thread, count, .. } = self.open[answers.trailing_zeros() as usize];
            answers &= answers - 1;
            let step = match thread.checked_sub(self.schedule.matched.producers()) {
                None => Step::Full(thread),
                Some(consumer) => Step::Empty(consumer),
            };
            (0..count).for_each(|_| self.take(way, at, step));
        }
    }

    fn take(&mut self, way: &mut Way, at: Tick, step: Step) {
        self.taken.push(Taken { before: way.last, at, step });
        way.last = self.taken.len() - 1;
    }

    /// Drops ways that are ahead of another and have seen no more; `None`: none is left, or too many.
    fn fewer(&mut self) -> Option<()> {
        let mut kept: Vec<Way> = Vec::with_capacity(1);
        for way in std::mem::take(&mut self.ways) {
            if !kept.iter().any(|other| other.covers(&way)) {
                kept.retain(|other| !way.covers(other));
                kept.push(way);
            }
        }
        self.ways = kept;
        (1..=WAYS).contains(&self.ways.len()).then_some(())
    }

    /// Replays what led to the only way.
    fn settle(&mut self) -> Option<()> {
        let way = self.ways.first_mut()?;
        let mut steps = Vec::new();
        let mut last = std::mem::replace(&mut way.last, NONE);
        while last != NONE {
            let Taken { before, at, step } = self.taken[last];
            steps.push((at, step));
            last = before;
        }
        self.taken.clear();
        steps.into_iter().rev().all(|(at, step)| self.replay.step(at, step)).then_some(())
    }
}
