//! The states of each copy over time, and the questions that observers asked: who must have been seen, who
//! may have been.

use stanchion_queues::{DeadLettering, Death, Settle, Time};

use super::attempts::{dead_from, surely_dead, unseen_weight};
use super::index::{Index, Moment, NEVER, first_from};
use super::lease::{Causes, Lease};
use super::tables::NONE;
use crate::history::What;

/// A state of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Ready,
    InFlight,
    Delayed,
    Dead,
}

/// Why a copy is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Fresh,
    Delay,
    Nack,
    Expiry,
    Loss,
    Crash,
    Redrive,
}

/// A stretch of time in which a copy is in a state: for certain, or possibly.
///
/// A certain span covers a call that begins after `from` (both bounds) and returns before `to` (both
/// bounds). A possible span touches a call that returns not before `from` and begins not after `to`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) copy: u32,
    /// The delivery before it, or [`NONE`].
    pub(crate) after: u32,
    pub(crate) state: State,
    pub(crate) cause: Cause,
    pub(crate) certain: bool,
    pub(crate) from: Moment,
    pub(crate) to: Moment,
}

/// Observers of one kind, in the order of their calls.
///
/// Returns and clock readings need not be in that order when threads overlap; they are replaced by bounds
/// that are, so that every span is a range. That can only hide an observation, never invent one.
pub(crate) struct Observers {
    pub(crate) events: Vec<u32>,
    calls: Vec<u64>,
    rets: Vec<u64>,
    ats: Vec<Time>,
    untils: Vec<Time>,
}

impl Observers {
    /// The observers `events`, which are in the order of their calls.
    pub(crate) fn of(index: &Index, events: Vec<u32>) -> Observers {
        let windows: Vec<_> = events.iter().map(|&event| index.window(event)).collect();
        let calls = windows.iter().map(|window| window.call).collect();
        let (mut ret, mut until) = (0, Time::ZERO);
        let (mut rets, mut untils) = (Vec::new(), Vec::new());
        for window in &windows {
            (ret, until) = (ret.max(window.ret), until.max(window.until));
            rets.push(ret);
            untils.push(until);
        }
        let mut at = Time::FAR_FUTURE;
        let mut ats: Vec<_> = windows
            .iter()
            .rev()
            .map(|window| {
                at = at.min(window.at);
                at
            })
            .collect();
        ats.reverse();
        Observers { events, calls, rets, ats, untils }
    }

    /// Those for whom the span is certain.
    pub(crate) fn covered(&self, from: Moment, to: Moment) -> std::ops::Range<usize> {
        let start = self.calls.partition_point(|&call| call <= from.tick).max(if from.time == Time::ZERO {
            0
        } else {
            self.ats.partition_point(|&at| at <= from.time)
        });
        let end = self.rets.partition_point(|&ret| ret < to.tick).min(if to.time == Time::FAR_FUTURE {
            self.untils.len()
        } else {
            self.untils.partition_point(|&until| until < to.time)
        });
        start..end.max(start)
    }

    /// Those for whom it is possible.
    pub(crate) fn touched(&self, from: Moment, to: Moment) -> std::ops::Range<usize> {
        let start = self
            .rets
            .partition_point(|&ret| ret < from.tick)
            .max(self.untils.partition_point(|&until| until < from.time));
        let end = self
            .calls
            .partition_point(|&call| call <= to.tick)
            .min(self.ats.partition_point(|&at| at <= to.time));
        start..end.max(start)
    }

    /// How many messages receives in doubt may hide from each of them.
    pub(crate) fn hidden(&self, index: &Index) -> Vec<u64> {
        let mut sums = Sums::new(self.events.len());
        for &(event, actor) in &index.unseen {
            let What::Receive { max, lease, .. } = index.events[event as usize].what else { continue };
            let call = index.window(event);
            let mut to = Moment { tick: NEVER, time: call.until + lease };
            if index.contract.leases.end_with_session
                && let Some(loss) = index.loss(actor)
            {
                to.tick = loss.ret;
            }
            if index.contract.leases.end_with_crash {
                let falls = &index.falls.all;
                let after = falls.partition_point(|fall| fall.window.ret < call.ret);
                if let Some(fall) = falls.get(after) {
                    to.tick = to.tick.min(fall.window.ret);
                }
            }
            sums.add(self.touched(Moment { tick: call.call, time: call.at }, to), max.min(1 << 32) as i64);
        }
        sums.finish().into_iter().map(|sum| sum as u64).collect()
    }
}

/// Adds numbers to ranges, then reads every place once.
pub(crate) struct Sums(Vec<i64>);

impl Sums {
    pub(crate) fn new(places: usize) -> Sums {
        Sums(vec![0; places + 1])
    }

    pub(crate) fn add(&mut self, range: std::ops::Range<usize>, number: i64) {
        if range.start < range.end {
            self.0[range.start] += number;
            self.0[range.end] -= number;
        }
    }

    pub(crate) fn finish(mut self) -> Vec<i64> {
        let mut sum = 0;
        for place in &mut self.0 {
            sum += *place;
            *place = sum;
        }
        self.0.pop();
        self.0
    }
}

/// The stretch between two deliveries of a copy (or before the first, or after the last).
struct Gap {
    copy: u32,
    /// The delivery before it, or [`NONE`].
    after: u32,
    /// The call and the return of the delivery that ends it.
    next: (u64, u64),
    /// From this tick on nothing is certain: a crash may have taken the message or brought it back, or receives in doubt
    /// may have used up its attempts.
    cut: u64,
}

impl Gap {
    fn certain(&self, emit: &mut impl FnMut(Span), state: State, cause: Cause, from: Moment, to: Moment) {
        let to = Moment { tick: to.tick.min(self.next.0).min(self.cut), ..to };
        if from.tick < to.tick && from.time < to.time {
            emit(Span { copy: self.copy, after: self.after, state, cause, certain: true, from, to });
        }
    }

    fn possible(&self, emit: &mut impl FnMut(Span), state: State, from: Moment, to: Moment) {
        let to = Moment { tick: to.tick.min(self.next.1), ..to };
        let (copy, after) = (self.copy, self.after);
        emit(Span { copy, after, state, cause: Cause::Fresh, certain: false, from, to });
    }

    /// Anything but dead: how many dead there may be is not told by spans.
    fn anything(&self, emit: &mut impl FnMut(Span), from: Moment) {
        for state in [State::Ready, State::InFlight, State::Delayed] {
            self.possible(emit, state, from, Moment::NEVER);
        }
    }
}

/// Tells `emit` the spans of every copy.
pub(crate) fn spans(index: &Index, mut emit: impl FnMut(Span)) {
    for copy in 0..index.copies.len() as u32 {
        spans_of(index, copy, &mut emit);
    }
}

/// Tells `emit` the spans of one copy.
pub(crate) fn spans_of(index: &Index, copy: u32, emit: &mut impl FnMut(Span)) {
    let deliveries = index.by_copy.get(copy as usize);
    let next = |position: usize| {
        deliveries.get(position).map_or((NEVER, NEVER), |&next| {
            let window = index.deliveries[next as usize].window;
            (window.call, window.ret)
        })
    };
    before_the_first(index, copy, next(0), emit);
    let mut latest_return = 0;
    for (position, &delivery) in deliveries.iter().enumerate() {
        let window = index.deliveries[delivery as usize].window;
        let overlaps = position > 0 && latest_return >= window.call;
        latest_return = latest_return.max(window.ret);
        after(index, copy, delivery, next(position + 1), overlaps, emit);
    }
}

fn before_the_first(index: &Index, copy: u32, next: (u64, u64), emit: &mut impl FnMut(Span)) {
    let stored = &index.copies[copy as usize];
    let mut start = Moment::NEVER;
    let (mut soonest, mut latest) = (Time::FAR_FUTURE, Time::ZERO);
    let mut delayed = false;
    for send in index.stored_by(stored.token) {
        let (window, delay) = (index.window(send), index.delay(send));
        start = Moment { tick: start.tick.min(window.call), time: start.time.min(window.at) };
        soonest = soonest.min(window.at + delay);
        latest = latest.max(window.until + delay);
        delayed |= !delay.is_zero();
    }
    let confirmed = (stored.confirmed != NONE).then(|| index.window(stored.confirmed));
    let doubtful_crash = first_from(&index.falls.sends, start.tick).map_or(NEVER, |fall| fall.call);
    let limit = index
        .least_allowed()
        .filter(|_| unseen_weight(index) > 0)
        .map_or(NEVER, |allowed| index.unseen_ticks.nth_call(start.tick, allowed));
    let gap = Gap { copy, after: NONE, next, cut: doubtful_crash.min(limit) };
    let undelayed = first_from(&index.falls.delays, start.tick).filter(|_| delayed);
    if let Some(confirmed) = confirmed {
        let from = Moment { tick: confirmed.ret, time: Time::ZERO };
        let (cause, ready) =
            if delayed { (Cause::Delay, Moment { time: latest, ..from }) } else { (Cause::Fresh, from) };
        gap.certain(emit, State::Ready, cause, ready, Moment::NEVER);
        if delayed {
            let tick = undelayed.map_or(NEVER, |fall| fall.call);
            gap.certain(emit, State::Delayed, cause, from, Moment { tick, time: soonest });
        }
    }
    if start.tick != NEVER {
        if delayed {
            gap.possible(emit, State::Delayed, start, Moment { tick: NEVER, time: latest });
            gap.possible(emit, State::Ready, Moment { time: soonest, ..start }, Moment::NEVER);
            if let Some(fall) = undelayed {
                gap.possible(emit, State::Ready, Moment { tick: fall.call, time: fall.at }, Moment::NEVER);
            }
        } else {
            gap.possible(emit, State::Ready, start, Moment::NEVER);
        }
    }
}

fn after(
    index: &Index,
    copy: u32,
    delivery: u32,
    next: (u64, u64),
    overlaps: bool,
    emit: &mut impl FnMut(Span),
) {
    let window = index.deliveries[delivery as usize].window;
    let lease = &index.leases[delivery as usize];
    let count = &index.counts[delivery as usize];
    let mut gap = Gap { copy, after: delivery, next, cut: NEVER };
    let begin = Moment { tick: window.call, time: window.at };
    if overlaps {
        return gap.anything(emit, begin);
    }
    let granted = Moment { tick: window.ret, time: Time::ZERO };
    gap.certain(emit, State::InFlight, Cause::Fresh, granted, lease.held);
    gap.possible(emit, State::InFlight, begin, lease.over);
    // Nothing takes the lease away before the next delivery: that is for the checkers of licences.
    if lease.causes.is_empty() {
        return gap.possible(emit, State::InFlight, begin, Moment::NEVER);
    }

    let allowed = index.least_allowed();
    let failures = lease.causes.only(Causes::FAILURES);
    let dies = surely_dead(index, delivery, count);
    let may_die = allowed.is_some_and(|allowed| count.after.1 >= allowed);
    let from = lease.settled_from(&window);
    let exact = dies || failures && !may_die || lease.causes == Causes::ACK;
    if !exact {
        return gap.anything(emit, lease.from);
    }
    if lease.causes == Causes::ACK {
        return;
    }
    if dies {
        return dead(index, delivery, gap, emit);
    }
    // From here on the message comes back. Receives in doubt may use up what it has left.
    if let Some(allowed) = allowed.filter(|_| unseen_weight(index) > 0) {
        gap.cut = index.unseen_ticks.nth_call(window.call, allowed - count.after.1);
    }
    if lease.causes.any(Causes::NACK) {
        returned(index, lease, &gap, from, emit);
    } else {
        gap.possible(emit, State::Ready, lease.from, Moment::NEVER);
        gap.certain(emit, State::Ready, cause_of(index, delivery, lease), from, Moment::NEVER);
    }
}

fn cause_of(index: &Index, delivery: u32, lease: &Lease) -> Cause {
    let actor = index.deliveries[delivery as usize].actor;
    let loss = index.loss(actor).filter(|_| lease.causes.any(Causes::LOSS));
    let call = index.deliveries[delivery as usize].window.call;
    let falls = &index.falls.all;
    let fall = falls.get(falls.partition_point(|fall| fall.window.ret < call)).map(|fall| fall.window);
    let fall = fall.filter(|_| lease.causes.any(Causes::CRASH));
    let expired_before = |end: stanchion_queues::Time| lease.hi < end;
    match (loss, fall) {
        (Some(loss), _) if !expired_before(loss.at) && fall.is_none_or(|fall| loss.call < fall.call) => {
            Cause::Loss
        }
        (_, Some(fall)) if !expired_before(fall.at) => Cause::Crash,
        _ => Cause::Expiry,
    }
}

/// After a nack, done or in doubt.
fn returned(index: &Index, lease: &Lease, gap: &Gap, from: Moment, emit: &mut impl FnMut(Span)) {
    let exact = lease.causes == Causes::NACK && lease.settled != NONE;
    let how = exact.then(|| &index.events[lease.settled as usize].what);
    let waits = !matches!(how, Some(What::Settle { how: Settle::Nack { delay }, .. }) if delay.is_zero());
    let ready = if exact && waits {
        Moment { time: lease.again.1, ..from }
    } else if exact {
        from
    } else {
        // Whether or not it was taken, the lease is over and the delay has passed by then.
        Moment { tick: from.tick, time: lease.hi.max(lease.again.1) }
    };
    let cause = if exact && waits { Cause::Delay } else { Cause::Nack };
    gap.certain(emit, State::Ready, cause, ready, Moment::NEVER);
    if !exact {
        for state in [State::Ready, State::Delayed, State::InFlight] {
            gap.possible(emit, state, lease.from, Moment::NEVER);
        }
    } else if waits {
        let undelayed = first_from(&index.falls.delays, lease.from.tick);
        let tick = undelayed.map_or(NEVER, |fall| fall.call);
        gap.certain(emit, State::Delayed, cause, from, Moment { tick, time: lease.again.0 });
        gap.possible(emit, State::Delayed, lease.from, Moment { tick: NEVER, time: lease.again.1 });
        gap.possible(emit, State::Ready, Moment { time: lease.again.0, ..lease.from }, Moment::NEVER);
        if let Some(fall) = undelayed {
            gap.possible(emit, State::Ready, Moment { tick: fall.call, time: fall.at }, Moment::NEVER);
        }
    } else {
        gap.possible(emit, State::Ready, lease.from, Moment::NEVER);
    }
}

/// After a certain death: dead until a redrive.
fn dead(index: &Index, delivery: u32, gap: Gap, emit: &mut impl FnMut(Span)) {
    let lease = &index.leases[delivery as usize];
    let from = dead_from(index, delivery);
    if lease.causes != Causes::REJECT && index.contract.death == Death::NextReceive {
        for state in [State::Ready, State::Delayed] {
            gap.possible(emit, state, lease.from, Moment { tick: from.tick, time: Time::FAR_FUTURE });
        }
    }
    let taken_back = if lease.causes == Causes::REJECT { &index.falls.acks } else { &index.falls.any };
    let mut gap = gap;
    gap.cut = first_from(taken_back, lease.from.tick).map_or(NEVER, |fall| fall.call);
    gap.anything(emit, Moment { tick: gap.cut, time: Time::ZERO });
    if index.contract.dead_lettering == DeadLettering::Dropped {
        return;
    }
    let redrives = index.deaths();
    let moved = redrives.first_after(lease.from);
    let until = moved.map_or(NEVER, |redrive| redrive.window.call);
    gap.certain(emit, State::Dead, Cause::Fresh, from, Moment { tick: until, time: Time::FAR_FUTURE });
    if let Some(redrive) = moved {
        let whole = redrive.all
            && redrive.window.call > from.tick
            && (from.time == Time::ZERO || redrive.window.at > from.time);
        // Who may have taken it unseen since is counted apart, and so are the dead.
        gap.possible(
            emit,
            State::Ready,
            Moment { tick: redrive.window.call, time: Time::ZERO },
            Moment::NEVER,
        );
        if whole && index.contract.redrive_resets {
            if let Some(allowed) = index.least_allowed().filter(|_| unseen_weight(index) > 0) {
                let limit = index.unseen_ticks.nth_call(redrive.window.call, allowed);
                gap.cut = gap.cut.min(limit);
            }
            let ready = Moment { tick: redrive.window.ret, time: Time::ZERO };
            gap.certain(emit, State::Ready, Cause::Redrive, ready, Moment::NEVER);
        }
    }
}
