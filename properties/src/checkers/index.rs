//! One pass over a history that every checker shares: what belongs to which message, copy and delivery.
//!
//! A *copy* is one stored instance of a message: its token and the id that the broker gave it. A producer
//! that retries may make several copies of one token.

use std::cell::OnceCell;
use std::time::Duration;

use stanchion_queues::{Answer, Contract, Crash, Durability, MessageId, Time};

use super::attempts::{self, Count};
use super::dead::Deaths;
use super::emptiness::FalseEmpties;
use super::lease::{self, Lease, Standing};
use super::tables::{Dense, Groups, Intervals, NONE};
use super::timeline::Observers;
use super::vanished::vanished;
use crate::history::{Event, History, Letter, Outcome, PENDING, SendOutcome, Token, What};

/// A tick that never comes.
pub(crate) const NEVER: u64 = PENDING;

/// The interval of an event, in ticks and in the broker's time. What never returned ends with the next crash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) call: u64,
    pub(crate) ret: u64,
    pub(crate) at: Time,
    pub(crate) until: Time,
}

/// A tick and a time that bound something together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) tick: u64,
    pub(crate) time: Time,
}

impl Moment {
    /// Later than everything.
    pub(crate) const NEVER: Moment = Moment { tick: NEVER, time: Time::FAR_FUTURE };
}

/// One stored instance of a message.
pub(crate) struct Copy {
    /// Whose.
    pub(crate) token: u32,
    pub(crate) id: MessageId,
    /// The send that was first answered with this id, or [`NONE`].
    pub(crate) confirmed: u32,
    /// The event that first named it.
    pub(crate) first_seen: u32,
    /// The copy of the same token before this one, or [`NONE`].
    older: u32,
}

/// One delivery of a known copy, in columns close together.
pub(crate) struct Delivered {
    pub(crate) event: u32,
    pub(crate) copy: u32,
    pub(crate) actor: u32,
    pub(crate) attempt: u32,
    pub(crate) window: Window,
    pub(crate) lease: Duration,
}

/// A dead letter that was shown.
pub(crate) struct Shown {
    pub(crate) event: u32,
    pub(crate) position: u32,
    pub(crate) copy: u32,
}

/// A crash, and what the contract lets it take away.
pub(crate) struct Fall {
    pub(crate) event: u32,
    pub(crate) window: Window,
}

/// The crashes of a history, in order.
#[derive(Default)]
pub(crate) struct Falls {
    /// All.
    pub(crate) all: Vec<Fall>,
    /// Those that may take confirmed sends.
    pub(crate) sends: Vec<Window>,
    /// Those that may take sends or settlements.
    pub(crate) acks: Vec<Window>,
    /// Those that may take sends or counts of attempts.
    pub(crate) counts: Vec<Window>,
    /// Those that may take sends or delays.
    pub(crate) delays: Vec<Window>,
    /// Those that may take anything.
    pub(crate) any: Vec<Window>,
}

/// The first of `falls` that is not wholly before `tick`.
pub(crate) fn first_from(falls: &[Window], tick: u64) -> Option<&Window> {
    falls.get(falls.partition_point(|fall| fall.ret < tick))
}

/// Whether one of `falls` may lie between two ticks.
pub(crate) fn falls_between(falls: &[Window], from: u64, to: u64) -> bool {
    first_from(falls, from).is_some_and(|fall| fall.call <= to)
}

fn survives(promise: Durability, crash: Crash) -> bool {
    match crash {
        Crash::Process => promise >= Durability::Process,
        Crash::Power => promise >= Durability::Power,
    }
}

/// The redrives that may have moved something.
#[derive(Clone, Copy)]
pub(crate) struct Redrive {
    pub(crate) event: u32,
    pub(crate) window: Window,
    pub(crate) max: u64,
    /// How many moved; `None`: up to `max`.
    pub(crate) moved: Option<u64>,
}

/// Everything that checkers look up.
pub(crate) struct Index<'h> {
    pub(crate) contract: &'h Contract,
    pub(crate) events: &'h [Event],
    /// Names of the tokens, by number.
    pub(crate) tokens: Vec<Token>,
    /// Sends by token.
    pub(crate) sends: Groups,
    pub(crate) copies: Vec<Copy>,
    pub(crate) copies_of: Groups,
    pub(crate) deliveries: Vec<Delivered>,
    /// Deliveries by copy, in the order of their calls.
    pub(crate) by_copy: Groups,
    /// Deliveries whose body is of nobody, as events.
    pub(crate) bodiless: Vec<u32>,
    /// Settlements and extensions by delivery, as events.
    pub(crate) operations: Groups,
    /// Where each of them stood, in the order of `operations`.
    pub(crate) standings: Vec<Standing>,
    /// Settlements and extensions with a receipt that nobody was given before.
    pub(crate) strays: Vec<u32>,
    /// Receipts issued twice: the first and the second event.
    pub(crate) reissued: Vec<(u32, u32)>,
    pub(crate) handles: u64,
    pub(crate) leases: Vec<Lease>,
    pub(crate) counts: Vec<Count>,
    /// What deliveries report instead of the counts, if they do.
    ordinals: Option<Vec<Count>>,
    pub(crate) shown: Vec<Shown>,
    /// Letters by copy, as indices into `shown`.
    pub(crate) shown_of: Groups,
    /// Letters whose body is of nobody, as (event, position).
    pub(crate) bodiless_letters: Vec<(u32, u32)>,
    pub(crate) falls: Falls,
    /// The loss of each actor's session.
    lost: Vec<u32>,
    /// Receives in doubt, each with its actor.
    pub(crate) unseen: Vec<(u32, u32)>,
    pub(crate) unseen_ticks: Intervals,
    /// Empty receives that prove something if nothing else was unfinished.
    pub(crate) empties: Vec<u32>,
    /// How many receives were answered.
    pub(crate) received: u64,
    /// Receives that were answered with more than they asked for, or though they should have been refused.
    pub(crate) ill_answered: Vec<u32>,
    /// Batches that were not answered item by item.
    pub(crate) miscounted: Vec<u32>,
    /// Receives that found fewer messages than they asked for, and so looked at all there are.
    searches: Vec<u32>,
    pub(crate) depths: Vec<u32>,
    pub(crate) browses: Vec<u32>,
    pub(crate) redrives: Vec<Redrive>,
    pub(crate) redrive_ticks: Intervals,
    pub(crate) observed: Vec<u32>,
    pub(crate) boots: Vec<u32>,
    /// When the limit of deliveries was changed, and to what.
    pub(crate) limited: Vec<(u32, u32)>,
    /// When another process tried to open it.
    pub(crate) intrusions: Vec<u32>,
    pub(crate) drain_began: Option<u32>,
    pub(crate) drain_ended: Option<u32>,
    pub(crate) panicked: Option<u32>,
    pub(crate) unanswered: Option<u32>,
    deaths: OnceCell<Deaths>,
    false_empties: OnceCell<FalseEmpties>,
    vanished: OnceCell<(Vec<u32>, u32)>,
    overlaps: OnceCell<Vec<bool>>,
    searchers: OnceCell<Observers>,
}

impl<'h> Index<'h> {
    /// Reads a history once.
    pub(crate) fn of(history: &'h History) -> Index<'h> {
        let events = &history.events[..];
        let contract = &history.contract;
        let mut tokens = Dense::new(events.len());
        let mut handles = Dense::new(events.len());
        let mut actors = Dense::new(64);
        let mut newest_copy: Vec<u32> = Vec::new();
        let mut holder: Vec<u32> = Vec::new();
        let (mut sends, mut copies, mut deliveries) = (Vec::new(), Vec::<Copy>::new(), Vec::new());
        let (mut by_copy, mut operations) = (Vec::new(), Vec::new());
        let (mut bodiless, mut strays, mut reissued) = (Vec::new(), Vec::new(), Vec::new());
        let (mut shown, mut shown_of, mut bodiless_letters) = (Vec::new(), Vec::new(), Vec::new());
        let mut lost: Vec<u32> = Vec::new();
        let (mut unseen, mut empties, mut searches, mut depths, mut browses) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let patience = if contract.empty == Answer::Unreliable { Answer::PATIENCE } else { 1 };
        let mut found_nothing = 0;
        let (mut received, mut ill_answered, mut miscounted) = (0, Vec::new(), Vec::new());
        let (mut redrives, mut observed, mut boots) = (Vec::new(), Vec::new(), Vec::new());
        let (mut limited, mut intrusions) = (Vec::new(), Vec::new());
        let (mut drain_began, mut drain_ended, mut panicked, mut unanswered) = (None, None, None, None);
        let falls = falls(contract, events);

        let mut copy_of = |token: u32, id: MessageId, event: u32, copies: &mut Vec<Copy>| -> u32 {
            if newest_copy.len() <= token as usize {
                newest_copy.resize(token as usize + 1, NONE);
            }
            let mut copy = newest_copy[token as usize];
            while copy != NONE && copies[copy as usize].id != id {
                copy = copies[copy as usize].older;
            }
            if copy == NONE {
                copy = copies.len() as u32;
                let older = newest_copy[token as usize];
                copies.push(Copy { token, id, confirmed: NONE, first_seen: event, older });
                newest_copy[token as usize] = copy;
            }
            copy
        };

        for (number, event) in events.iter().enumerate() {
            let number = number as u32;
            found_nothing =
                if matches!(event.what, What::Receive { got: Some(0), .. }) { found_nothing + 1 } else { 0 };
            match &event.what {
                What::Send { token, outcome, .. } => {
                    let token = tokens.number(token.0);
                    sends.push((token, number));
                    if let SendOutcome::Confirmed(id) = outcome {
                        let copy = copy_of(token, *id, number, &mut copies) as usize;
                        if copies[copy].confirmed == NONE {
                            copies[copy].confirmed = number;
                        }
                    }
                }
                What::Receive { got: None, max, lease } => {
                    // What makes no sense is refused: nothing can have been handed over.
                    if *max > 0 && !lease.is_zero() {
                        unseen.push((number, actors.number(event.actor.0.into())));
                    }
                }
                What::Receive { got: Some(got), max, lease } => {
                    received += 1;
                    if got > max || *max == 0 || lease.is_zero() {
                        ill_answered.push(number);
                    } else if *got == 0 && found_nothing >= patience {
                        empties.push(number);
                        searches.push(number);
                    } else if got < max && contract.empty != Answer::Unreliable {
                        searches.push(number);
                    }
                }
                What::Advanced { .. } | What::Opened | What::Crashed { .. } => {}
                What::Unanswered { .. } => unanswered = Some(number),
                What::Miscounted { .. } => miscounted.push(number),
                What::Panicked { .. } => panicked = Some(number),
                What::Deliver { token, id, handle, attempt, lease, .. } => {
                    let handle = handles.number(handle.0) as usize;
                    if holder.len() <= handle {
                        holder.resize(handle + 1, NONE);
                    }
                    let before = holder[handle];
                    if before != NONE {
                        let first = if before & BODILESS != 0 {
                            bodiless[(before & !BODILESS) as usize]
                        } else {
                            let first: &Delivered = &deliveries[before as usize];
                            first.event
                        };
                        reissued.push((first, number));
                    }
                    let Some(token) = token else {
                        holder[handle] = bodiless.len() as u32 | BODILESS;
                        bodiless.push(number);
                        continue;
                    };
                    let token = tokens.number(token.0);
                    let copy = copy_of(token, *id, number, &mut copies);
                    let delivery = deliveries.len() as u32;
                    holder[handle] = delivery;
                    by_copy.push((copy, delivery));
                    deliveries.push(Delivered {
                        event: number,
                        copy,
                        actor: actors.number(event.actor.0.into()),
                        attempt: *attempt,
                        window: window_of(event, &falls),
                        lease: *lease,
                    });
                }
                What::Settle { handle, .. } | What::Extend { handle, .. } => {
                    let delivery = handles.find(handle.0).map_or(NONE, |handle| holder[handle as usize]);
                    if delivery == NONE {
                        strays.push(number);
                    } else if delivery & BODILESS == 0 {
                        operations.push((delivery, number));
                    }
                }
                What::Browse { letters, .. } => {
                    browses.push(number);
                    for (position, letter) in letters.iter().flatten().enumerate() {
                        let position = position as u32;
                        if let Some(token) = letter.token {
                            let token = tokens.number(token.0);
                            let copy = copy_of(token, letter.id, number, &mut copies);
                            shown_of.push((copy, shown.len() as u32));
                            shown.push(Shown { event: number, position, copy });
                        } else {
                            bodiless_letters.push((number, position));
                        }
                    }
                }
                What::Redrive { max, moved } => {
                    let window = window_of(event, &falls);
                    redrives.push(Redrive { event: number, window, max: *max, moved: *moved });
                }
                What::Depth { depth } => {
                    if depth.is_some() {
                        depths.push(number);
                    }
                }
                What::Lost => {
                    let actor = actors.number(event.actor.0.into()) as usize;
                    if lost.len() <= actor {
                        lost.resize(actor + 1, NONE);
                    }
                    lost[actor] = number;
                }
                What::Booted { .. } => boots.push(number),
                What::Limited { deliveries_allowed } => limited.push((number, *deliveries_allowed)),
                What::Intruded { .. } => intrusions.push(number),
                What::DrainBegan => drain_began = Some(number),
                What::DrainEnded { .. } => drain_ended = Some(number),
                What::Observed { .. } => observed.push(number),
            }
        }
        lost.resize(actors.len(), NONE);
        let copies_of: Vec<_> =
            copies.iter().enumerate().map(|(copy, stored)| (stored.token, copy as u32)).collect();
        let ticks = |number: &u32| {
            let window = window_of(&events[*number as usize], &falls);
            (window.call, window.ret)
        };
        let unseen_ticks = Intervals::of(unseen.iter().map(|(number, _)| ticks(number)));
        let moving = redrives.iter().filter(|redrive| redrive.moved != Some(0));
        let redrive_ticks = Intervals::of(moving.map(|redrive| (redrive.window.call, redrive.window.ret)));
        let mut index = Index {
            contract,
            events,
            sends: Groups::of(tokens.len(), &sends),
            copies_of: Groups::of(tokens.len(), &copies_of),
            tokens: tokens.into_names().into_iter().map(Token).collect(),
            by_copy: Groups::of(copies.len(), &by_copy),
            shown_of: Groups::of(copies.len(), &shown_of),
            copies,
            operations: Groups::of(deliveries.len(), &operations),
            deliveries,
            bodiless,
            standings: Vec::new(),
            strays,
            reissued,
            handles: handles.len() as u64,
            leases: Vec::new(),
            counts: Vec::new(),
            ordinals: None,
            shown,
            bodiless_letters,
            falls,
            lost,
            unseen,
            unseen_ticks,
            empties,
            received,
            ill_answered,
            miscounted,
            searches,
            depths,
            browses,
            redrives,
            redrive_ticks,
            observed,
            boots,
            limited,
            intrusions,
            drain_began,
            drain_ended,
            panicked,
            unanswered,
            deaths: OnceCell::new(),
            false_empties: OnceCell::new(),
            vanished: OnceCell::new(),
            overlaps: OnceCell::new(),
            searchers: OnceCell::new(),
        };
        (index.leases, index.standings) = lease::all(&index);
        index.counts = attempts::all(&index);
        index.ordinals = attempts::ordinals(&index);
        index
    }

    /// The least limit of deliveries that was ever in force, if there is one: whoever has fewer attempts is not dead of them.
    pub(crate) fn least_allowed(&self) -> Option<u32> {
        let changed = self.limited.iter().map(|(_, allowed)| *allowed);
        self.contract.deliveries_allowed.map(|allowed| changed.fold(allowed, u32::min))
    }

    /// The greatest: whoever has had as many attempts is dead.
    pub(crate) fn most_allowed(&self) -> Option<u32> {
        let changed = self.limited.iter().map(|(_, allowed)| *allowed);
        self.contract.deliveries_allowed.map(|allowed| changed.fold(allowed, u32::max))
    }

    /// The interval of an event.
    pub(crate) fn window(&self, event: u32) -> Window {
        window_of(&self.events[event as usize], &self.falls)
    }

    /// The name of a copy in sentences: its token.
    pub(crate) fn name(&self, copy: u32) -> String {
        format!("m{}", self.token_of(copy).0)
    }

    /// Whose a copy is.
    pub(crate) fn token_of(&self, copy: u32) -> Token {
        self.tokens[self.copies[copy as usize].token as usize]
    }

    /// The name of a receipt in sentences.
    pub(crate) fn receipt(&self, event: u32) -> String {
        match self.events[event as usize].what {
            What::Deliver { handle, .. } | What::Settle { handle, .. } | What::Extend { handle, .. } => {
                format!("r{}", handle.0)
            }
            _ => String::from("no receipt"),
        }
    }

    /// The loss of the session of a numbered actor.
    pub(crate) fn loss(&self, actor: u32) -> Option<Window> {
        let event = *self.lost.get(actor as usize)?;
        (event != NONE).then(|| self.window(event))
    }

    /// The letter that was shown.
    pub(crate) fn letter(&self, shown: &Shown) -> &'h Letter {
        match &self.events[shown.event as usize].what {
            What::Browse { letters: Some(letters), .. } => &letters[shown.position as usize],
            _ => unreachable!("a letter is shown by a browse that succeeded"),
        }
    }

    /// Whether a browse showed every dead letter.
    pub(crate) fn shows_all(&self, event: u32) -> bool {
        match &self.events[event as usize].what {
            What::Browse { max, letters: Some(letters) } => (letters.len() as u64) < *max,
            _ => false,
        }
    }

    /// The sends of a token that may have stored it.
    pub(crate) fn stored_by(&self, token: u32) -> impl Iterator<Item = u32> + '_ {
        self.sends.get(token as usize).iter().copied().filter(|&send| !self.refused(send))
    }

    /// Whether a send was definitely refused.
    pub(crate) fn refused(&self, send: u32) -> bool {
        matches!(self.events[send as usize].what, What::Send { outcome: SendOutcome::Refused(_), .. })
    }

    /// Whether the contract gives no reason to refuse a send: that nothing which was refused is stored is then put to the
    /// test by each that is not refused.
    pub(crate) fn refuses_nothing(&self) -> bool {
        self.contract.capacity.is_none() && self.contract.body_limit.is_none()
    }

    /// How many sends there were.
    pub(crate) fn sent(&self) -> u64 {
        (0..self.tokens.len()).map(|token| self.sends.get(token).len() as u64).sum()
    }

    /// The delay that a send asked for.
    pub(crate) fn delay(&self, send: u32) -> Duration {
        match self.events[send as usize].what {
            What::Send { delay, .. } => delay,
            _ => Duration::ZERO,
        }
    }

    /// Whether an operation was answered "done".
    pub(crate) fn done(&self, operation: u32) -> bool {
        self.outcome(operation) == Some(Outcome::Done)
    }

    /// How a settlement or extension was answered.
    pub(crate) fn outcome(&self, operation: u32) -> Option<Outcome> {
        match self.events[operation as usize].what {
            What::Settle { outcome, .. } | What::Extend { outcome, .. } => Some(outcome),
            _ => None,
        }
    }

    /// Whether a redrive that moved something may lie between two ticks.
    pub(crate) fn redrive_between(&self, from: u64, to: u64) -> bool {
        self.redrive_ticks.touching(from, to) > 0
    }

    /// What the attempt of a delivery, less one, may be.
    pub(crate) fn reportable(&self, delivery: u32) -> &Count {
        &self.ordinals.as_ref().unwrap_or(&self.counts)[delivery as usize]
    }

    /// The return of the first receive that looked at all there is and began after `from`.
    pub(crate) fn next_search(&self, from: Moment) -> Moment {
        let searchers = self.searchers.get_or_init(|| {
            let relaxed = self.contract.empty == Answer::Relaxed;
            let sound = |event: &u32| !relaxed || !self.overlapped(*event);
            Observers::of(self, self.searches.iter().copied().filter(sound).collect())
        });
        let first = searchers.covered(from, Moment::NEVER).start;
        searchers
            .events
            .get(first)
            .map_or(Moment::NEVER, |&event| Moment { tick: self.window(event).ret, time: Time::ZERO })
    }

    /// The events of the batch that an event belongs to.
    pub(crate) fn batch(&self, event: u32) -> std::ops::Range<u32> {
        let name = |event: &Event| (event.call, event.actor, event.op);
        let own = name(&self.events[event as usize]);
        let (before, after) = self.events.split_at(event as usize);
        let first = before.iter().rev().take_while(|other| name(other) == own).count() as u32;
        let last = after.iter().take_while(|other| name(other) == own).count() as u32;
        event - first..event + last
    }

    /// Whether two events are items of one batch.
    pub(crate) fn same_batch(&self, a: u32, b: u32) -> bool {
        let name = |event: &Event| (event.call, event.actor, event.op);
        name(&self.events[a as usize]) == name(&self.events[b as usize])
    }

    /// Each delivery with the next one of the same copy.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        (0..self.copies.len())
            .flat_map(|copy| self.by_copy.get(copy).windows(2).map(|pair| (pair[0], pair[1])))
    }

    /// What is known of deaths and redrives.
    pub(crate) fn deaths(&self) -> &Deaths {
        self.deaths.get_or_init(|| Deaths::of(self))
    }

    /// The empty receives that cannot have been true.
    pub(crate) fn false_empties(&self) -> &FalseEmpties {
        self.false_empties.get_or_init(|| FalseEmpties::of(self))
    }

    /// The messages that are nowhere in the end, and the browse that shows so.
    pub(crate) fn vanished(&self) -> &(Vec<u32>, u32) {
        self.vanished.get_or_init(|| vanished(self))
    }

    /// Whether another operation was unfinished during an event.
    pub(crate) fn overlapped(&self, event: u32) -> bool {
        self.overlaps.get_or_init(|| overlaps(self))[event as usize]
    }

    /// The drain's end, if the drain came to rest.
    pub(crate) fn quiet_end(&self) -> Option<u32> {
        self.drain_ended
            .filter(|&end| matches!(self.events[end as usize].what, What::DrainEnded { quiet: true }))
    }
}

/// Marks the holder of a receipt whose delivery had no readable body.
const BODILESS: u32 = 1 << 31;

fn window_of(event: &Event, falls: &Falls) -> Window {
    let (mut ret, mut until) = (event.ret, event.until);
    if ret == PENDING {
        // What the broker did not finish before it died it does not finish later.
        let after = falls.all.partition_point(|fall| fall.window.ret < event.call);
        (ret, until) = match falls.all.get(after) {
            Some(fall) => (fall.window.ret, fall.window.until),
            None => (NEVER, Time::FAR_FUTURE),
        };
    }
    Window { call: event.call, ret, at: event.at, until }
}

fn falls(contract: &Contract, events: &[Event]) -> Falls {
    let mut falls = Falls::default();
    for (number, event) in events.iter().enumerate() {
        let What::Crashed { crash } = event.what else { continue };
        let window = Window { call: event.call, ret: event.ret, at: event.at, until: event.until };
        falls.all.push(Fall { event: number as u32, window });
        let takes_sends = !survives(contract.sends, crash);
        for (promise, list) in [
            (contract.sends, &mut falls.sends),
            (contract.acks, &mut falls.acks),
            (contract.counts, &mut falls.counts),
            (contract.delays, &mut falls.delays),
            (contract.sends.min(contract.acks).min(contract.counts).min(contract.delays), &mut falls.any),
        ] {
            if takes_sends || !survives(promise, crash) {
                list.push(window);
            }
        }
    }
    falls
}

/// For each event, whether an event of another call overlaps it.
fn overlaps(index: &Index) -> Vec<bool> {
    let events = index.events;
    let is_call = |event: &Event| !matches!(event.what, What::Observed { .. });
    let mut overlapped = vec![false; events.len()];
    // The latest return of earlier calls, and of those of another call than that one.
    let (mut latest, mut latest_call, mut second) = (None, (0, 0), None);
    for (number, event) in events.iter().enumerate().filter(|(_, event)| is_call(event)) {
        let call = (event.actor.0, event.op);
        let ret = window_of(event, &index.falls).ret;
        let other = if latest_call == call { second } else { latest };
        overlapped[number] = other.is_some_and(|other| other >= event.call);
        if latest_call == call && latest.is_some() {
            latest = latest.max(Some(ret));
        } else if Some(ret) >= latest {
            second = latest;
            (latest, latest_call) = (Some(ret), call);
        } else {
            second = second.max(Some(ret));
        }
    }
    // The earliest call of later events, and of those of another call than that one.
    let (mut earliest, mut earliest_call, mut second) = (NEVER, (0, 0), NEVER);
    for (number, event) in events.iter().enumerate().rev().filter(|(_, event)| is_call(event)) {
        let call = (event.actor.0, event.op);
        let other = if earliest_call == call { second } else { earliest };
        overlapped[number] |= other <= event.ret && other != NEVER;
        if earliest_call != call || earliest == NEVER {
            second = earliest;
            (earliest, earliest_call) = (event.call, call);
        } else {
            earliest = event.call;
        }
    }
    overlapped
}
