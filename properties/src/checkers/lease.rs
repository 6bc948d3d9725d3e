//! How long each delivery was certainly exclusive, how long it may have been, and what may have ended it.
//!
//! A lease lives *certainly* from the return of its delivery until the earliest of: its deadline counted from
//! the call of the receive, the call of anything that could end it. It lives *possibly* until its deadline
//! counted from the return, or the return of what ended it. At its very deadline both worlds are allowed.

use stanchion_queues::{Count, Settle, Time};

use super::index::{Index, Moment, NEVER, Window, falls_between, first_from};
use super::tables::NONE;
use crate::history::{Outcome, What};

/// Where the receipt of a settlement or an extension stood while that was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Its lease was alive during the whole call.
    Current,
    /// Its lease was over before the call.
    Stale,
    /// Either.
    Unclear,
}

/// What may have ended a lease, as a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Causes(u16);

impl Causes {
    pub(crate) const ACK: Causes = Causes(1);
    pub(crate) const NACK: Causes = Causes(2);
    pub(crate) const REJECT: Causes = Causes(4);
    pub(crate) const EXPIRY: Causes = Causes(8);
    pub(crate) const LOSS: Causes = Causes(16);
    pub(crate) const CRASH: Causes = Causes(32);
    /// A crash that may take the message itself, or give back a lease: after it everything is possible.
    pub(crate) const UNKNOWN: Causes = Causes(64);
    /// A crash that may take back a settlement.
    pub(crate) const UNDONE: Causes = Causes(128);
    /// Those after which an unlimited message is ready again.
    pub(crate) const FAILURES: Causes =
        Causes::NACK.with(Causes::EXPIRY).with(Causes::LOSS).with(Causes::CRASH);

    pub(crate) const fn with(self, more: Causes) -> Causes {
        Causes(self.0 | more.0)
    }

    pub(crate) fn any(self, of: Causes) -> bool {
        self.0 & of.0 != 0
    }

    /// Whether it is not empty and has nothing beyond `of`.
    pub(crate) fn only(self, of: Causes) -> bool {
        self.0 != 0 && self.0 & !of.0 == 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What is known of one delivery's lease.
#[derive(Debug)]
pub(crate) struct Lease {
    /// The earliest and the latest that the deadline may be, with every extension.
    pub(crate) lo: Time,
    pub(crate) hi: Time,
    /// What may have ended it, before the next delivery of the copy if there is one.
    pub(crate) causes: Causes,
    /// The settlement that ended it for certain, or [`NONE`].
    pub(crate) settled: u32,
    /// It is certainly alive during a call that returns before both.
    pub(crate) held: Moment,
    /// It may have ended during a call that returns not before both.
    pub(crate) from: Moment,
    /// It is certainly over during a call that begins after either.
    pub(crate) over: Moment,
    /// After a nack: the earliest and the latest time at which the message may become ready.
    pub(crate) again: (Time, Time),
    /// Whether a done extension moved the deadline.
    pub(crate) extended: bool,
}

impl Lease {
    /// From when on an after-state is certain: both bounds hold.
    pub(crate) fn settled_from(&self, delivery: &Window) -> Moment {
        if self.over.tick != NEVER {
            Moment { tick: self.over.tick, time: Time::ZERO }
        } else {
            Moment { tick: delivery.ret, time: self.over.time }
        }
    }

    /// How much the attempt added to the count, at least and at most.
    pub(crate) fn counted(&self, counting: stanchion_queues::Counting) -> (u32, u32) {
        let mut bounds: Option<(u32, u32)> = None;
        let mut add = |(lo, hi): (u32, u32)| {
            bounds = Some(bounds.map_or((lo, hi), |(a, b)| (a.min(lo), b.max(hi))));
        };
        for (cause, count) in [
            (Causes::NACK, counting.nack),
            (Causes::EXPIRY, counting.expiry),
            (Causes::LOSS, counting.session_loss),
            (Causes::CRASH, counting.crash),
        ] {
            if self.causes.any(cause) {
                add(match count {
                    Count::Yes => (1, 1),
                    Count::No => (0, 0),
                    Count::Maybe => (0, 1),
                });
            }
        }
        if self.causes.any(Causes::ACK.with(Causes::REJECT).with(Causes::UNKNOWN).with(Causes::UNDONE)) {
            add((0, 1));
        }
        bounds.unwrap_or((0, 1))
    }
}

struct Candidate {
    cause: Causes,
    window: Window,
    certain: bool,
    event: u32,
    again: (Time, Time),
}

/// The leases of all deliveries, and the standing of all operations on them.
pub(crate) fn all(index: &Index) -> (Vec<Lease>, Vec<Standing>) {
    let mut next = vec![NONE; index.deliveries.len()];
    for (delivery, follower) in index.pairs() {
        // Of two deliveries that overlap it is not known which came first: then nothing bounds the lease.
        let (first, second) = (&index.deliveries[delivery as usize], &index.deliveries[follower as usize]);
        if first.window.ret < second.window.call {
            next[delivery as usize] = follower;
        }
    }
    let mut standings = vec![Standing::Unclear; index.operations.total()];
    let mut scratch = Vec::new();
    let leases = next
        .iter()
        .enumerate()
        .map(|(delivery, &follower)| {
            let standings = &mut standings[index.operations.range(delivery)];
            lease(index, delivery, follower, standings, &mut scratch)
        })
        .collect();
    (leases, standings)
}

/// What may have ended the lease of `delivery` before the return of the delivery `follower`.
pub(crate) fn causes_between(index: &Index, delivery: u32, follower: u32) -> Causes {
    let mut standings = vec![Standing::Unclear; index.operations.get(delivery as usize).len()];
    lease(index, delivery as usize, follower, &mut standings, &mut Vec::new()).causes
}

fn lease(
    index: &Index,
    delivery: usize,
    follower: u32,
    standings: &mut [Standing],
    candidates: &mut Vec<Candidate>,
) -> Lease {
    let contract = index.contract;
    let me = &index.deliveries[delivery];
    let window = me.window;
    let operations = index.operations.get(delivery);
    let follower = index.deliveries.get(follower as usize).map(|follower| follower.window);
    let loss = if contract.leases.end_with_session { index.loss(me.actor) } else { None };
    let wild = first_from(&index.falls.sends, window.call).copied();
    let releases = contract.leases.end_with_crash || contract.leases.end_with_session;
    let fall = if releases { first_fall(index, window.call) } else { None };

    let mut deadline = Deadline::new(&window, me.lease);
    let enders = Enders::of(index, operations);
    // The return of the first settlement that was done, and whether it was one that an ack's durability covers.
    let mut first_done: Option<(u64, bool)> = None;
    let done_before = |done: Option<(u64, bool)>, call: &Window| {
        done.is_some_and(|(ret, lasting)| {
            let undone = if lasting {
                falls_between(&index.falls.acks, ret, call.ret)
            } else {
                first_fall(index, ret).is_some_and(|fall| fall.call <= call.ret)
            };
            ret < call.call && !undone
        })
    };
    candidates.clear();
    let mut exact: Option<usize> = None;
    for (position, &event) in operations.iter().enumerate() {
        let what = &index.events[event as usize].what;
        let call = index.window(event);
        let hi = deadline.hi_during(index, &operations[position + 1..], call.ret);
        let known = wild.is_none_or(|wild| wild.call > call.ret);
        let over = call.at > hi
            || done_before(first_done, &call)
            || loss.is_some_and(|loss| loss.ret < call.call)
            || contract.leases.end_with_crash
                && fall.is_some_and(|fall| fall.call > window.ret && fall.ret < call.call)
            || follower.is_some_and(|other| window.ret < other.call && other.ret < call.call);
        let alive = window.ret < call.call
            && call.until < deadline.lo
            && loss.is_none_or(|loss| loss.call > call.ret)
            && fall.is_none_or(|fall| fall.call > call.ret)
            && enders.other_than(position) > call.ret;
        let standing = match (known, over, alive) {
            (true, true, _) => Standing::Stale,
            (true, _, true) => Standing::Current,
            _ => Standing::Unclear,
        };
        standings[position] = standing;
        match *what {
            What::Extend { lease, outcome, .. } if standing != Standing::Stale => match outcome {
                Outcome::Done => {
                    let took = contract.stale_refused || standing == Standing::Current;
                    deadline.extend(&call, lease, took);
                }
                Outcome::InDoubt => deadline.extend(&call, lease, false),
                Outcome::Stale => {}
            },
            What::Settle { how, outcome, .. } if outcome != Outcome::Stale => {
                let done = outcome == Outcome::Done;
                if done && first_done.is_none_or(|(ret, _)| call.ret < ret) {
                    first_done = Some((call.ret, !matches!(how, Settle::Nack { .. })));
                }
                if standing == Standing::Stale {
                    continue;
                }
                if done && exact.is_none() && (contract.stale_refused || standing == Standing::Current) {
                    exact = Some(candidates.len());
                }
                let (cause, again) = match how {
                    Settle::Ack => (Causes::ACK, (Time::ZERO, Time::ZERO)),
                    Settle::Reject => (Causes::REJECT, (Time::ZERO, Time::ZERO)),
                    Settle::Nack { delay } => (Causes::NACK, (call.at + delay, call.until + delay)),
                };
                candidates.push(Candidate { cause, window: call, certain: done, event, again });
            }
            _ => {}
        }
    }
    let (lo, hi) = (deadline.lo, deadline.hi);
    let held = Moment {
        tick: candidates
            .iter()
            .map(|ender| ender.window.call)
            .chain(loss.map(|loss| loss.call))
            .chain(fall.map(|fall| fall.call))
            .chain(wild.map(|wild| wild.call))
            .min()
            .unwrap_or(NEVER),
        time: lo,
    };

    let (last_tick, last_time) =
        follower.map_or((NEVER, Time::FAR_FUTURE), |follower| (follower.ret, follower.until));
    let mut causes = Causes::default();
    let mut settled = NONE;
    let mut from = Moment::NEVER;
    let over;
    let mut again = (Time::FAR_FUTURE, Time::ZERO);
    // A crash that keeps leases may take back a nack: then the lease goes on, and ends in any way.
    let goes_on = |nack: &Candidate| {
        nack.cause == Causes::NACK
            && nack.certain
            && !contract.leases.end_with_crash
            && first_fall(index, nack.window.call).is_some_and(|fall| fall.call <= last_tick)
    };
    if let Some(exact) = exact.map(|exact| &candidates[exact]).filter(|it| it.window.call <= last_tick) {
        causes = exact.cause;
        settled = exact.event;
        from = Moment { tick: exact.window.call, time: exact.window.at };
        over = Moment { tick: exact.window.ret, time: Time::FAR_FUTURE };
        again = exact.again;
        if goes_on(exact) {
            causes = causes.with(Causes::UNKNOWN);
        }
    } else {
        for (cause, end, certain) in
            [(Causes::LOSS, loss, true), (Causes::CRASH, fall, contract.leases.end_with_crash)]
        {
            if let Some(end) = end {
                let again = (Time::FAR_FUTURE, Time::ZERO);
                let certain = certain && end.call > window.ret;
                candidates.push(Candidate { cause, window: end, certain, event: NONE, again });
            }
        }
        candidates.retain(|candidate| candidate.window.call <= last_tick);
        let certain = candidates.iter().filter(|candidate| candidate.certain);
        let sure_tick = certain.clone().map(|candidate| candidate.window.ret).min().unwrap_or(NEVER);
        let sure_time = certain.map(|candidate| candidate.window.until).min().unwrap_or(Time::FAR_FUTURE);
        for candidate in candidates.iter().filter(|candidate| candidate.window.call <= sure_tick) {
            causes = causes.with(candidate.cause);
            from.tick = from.tick.min(candidate.window.call);
            from.time = from.time.min(candidate.window.at);
            if candidate.cause == Causes::NACK {
                again = (again.0.min(candidate.again.0), again.1.max(candidate.again.1));
            }
        }
        // A queue that looks at its clock only when it is called may see a loss or a crash before an expiry
        // that came earlier: an expiry excludes nothing.
        if lo <= last_time && lo <= sure_time {
            causes = causes.with(Causes::EXPIRY);
            from.tick = window.call;
            from.time = from.time.min(lo);
        }
        over = Moment { tick: sure_tick, time: hi };
        if candidates.iter().any(goes_on) {
            causes = causes.with(Causes::UNKNOWN);
        }
    }
    if wild.is_some_and(|wild| wild.call <= last_tick) {
        causes = causes.with(Causes::UNKNOWN);
    }
    if causes.any(Causes::ACK.with(Causes::REJECT)) && falls_between(&index.falls.acks, from.tick, last_tick)
    {
        causes = causes.with(Causes::UNDONE);
    }
    Lease { lo, hi, causes, settled, held, from, over, again, extended: deadline.extended }
}

fn first_fall(index: &Index, tick: u64) -> Option<Window> {
    let falls = &index.falls.all;
    falls.get(falls.partition_point(|fall| fall.window.ret < tick)).map(|fall| fall.window)
}

/// The bounds of a deadline while operations pass by in the order of their calls.
struct Deadline {
    lo: Time,
    hi: Time,
    extended: bool,
}

impl Deadline {
    fn new(window: &Window, lease: std::time::Duration) -> Deadline {
        Deadline { lo: window.at + lease, hi: window.until + lease, extended: false }
    }

    /// What took effect found the lease alive, so that it lives until the new deadline, also for whoever is called before
    /// the extension has returned.
    fn extend(&mut self, call: &Window, lease: std::time::Duration, took_effect: bool) {
        self.hi = self.hi.max(call.until + lease);
        if took_effect {
            self.lo = self.lo.max(call.at + lease);
            self.extended = true;
        }
    }

    /// The latest deadline that may hold during a call that returns at `ret`, given what is called later.
    fn hi_during(&self, index: &Index, later: &[u32], ret: u64) -> Time {
        let overlapping = later.iter().take_while(|&&event| index.events[event as usize].call <= ret);
        overlapping.fold(self.hi, |hi, &event| match index.events[event as usize].what {
            What::Extend { lease, outcome: Outcome::Done | Outcome::InDoubt, .. } => {
                hi.max(index.window(event).until + lease)
            }
            _ => hi,
        })
    }
}

/// The two earliest calls that could end a lease, so that each operation can be compared with the others.
struct Enders {
    first: (usize, u64),
    second: u64,
}

impl Enders {
    fn of(index: &Index, operations: &[u32]) -> Enders {
        let mut calls = operations.iter().enumerate().filter_map(|(position, &event)| {
            let event = &index.events[event as usize];
            let ends = matches!(event.what, What::Settle { outcome, .. } if outcome != Outcome::Stale);
            ends.then_some((position, event.call))
        });
        let first = calls.next().unwrap_or((usize::MAX, NEVER));
        Enders { first, second: calls.next().map_or(NEVER, |(_, call)| call) }
    }

    fn other_than(&self, position: usize) -> u64 {
        if position == self.first.0 { self.second } else { self.first.1 }
    }
}
