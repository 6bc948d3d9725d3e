//! A counterexample as a page of text, at most 100 columns wide: the broken promise, what happened in the
//! order in which it happened (a lane per session, faults across all of them), and the culprits in words.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;
use std::time::Duration;

use stanchion_queues::{Crash, Reason, Refusal, Settle, Time};
use stanchion_reports::results::{Act, ActKind, Balance, Lanes};

use crate::balance;
use crate::finding::Picture;
use crate::history::{
    Actor, Event, HARNESS, Handle, History, Letter, Observed, Outcome, PENDING, SendOutcome, Token, What,
};
use crate::verdict::Counterexample;

/// The widest line.
pub const WIDTH: usize = 100;
/// More lanes than this are too narrow to read; then each row names its session instead.
const MOST_LANES: usize = 4;
/// The widest lane.
const WIDEST_LANE: usize = 40;
/// More rows than this hide what matters.
const MOST_ROWS: usize = 48;
/// More dead letters than this are not told one by one.
const MOST_LETTERS: usize = 12;
/// A history of at most that many events is shown whole: in what is left after shrinking, everything matters.
const SHOWN_WHOLE: usize = 24;
/// The narrowest band.
const NARROWEST_BAND: usize = 72;
/// Marks, culprit number and time.
const MARGIN: usize = 19;

/// Draws a counterexample. `notes` are printed at the end, one per line and not wrapped: what must be copied
/// stays whole.
pub fn draw(history: &History, counterexample: &Counterexample, notes: &[String]) -> Picture {
    draw_with(history, counterexample, &[], notes)
}

/// The same with paragraphs between the heading and the drawing, each behind its lead.
pub(crate) fn draw_with(
    history: &History,
    counterexample: &Counterexample,
    story: &[(&str, String)],
    notes: &[String],
) -> Picture {
    let page = Page::new(history, counterexample);
    let rows = page.choose();
    let mut lanes = page.lanes(&rows);
    lanes
        .notes
        .extend(story.iter().map(|(lead, words)| (lead.trim_end_matches([' ', ':']).into(), words.clone())));
    let mut text = heading(counterexample);
    for (lead, words) in story {
        wrap(&mut text, lead, words);
    }
    text.push('\n');
    page.rows(&mut text, &rows);
    text.push('\n');
    for (number, words) in lanes.culprits.iter().enumerate() {
        wrap(&mut text, &format!("{:>2}. ", number + 1), words);
    }
    if let Some(licence) = &counterexample.missing_licence {
        wrap(&mut text, "Missing: ", licence);
    }
    balanced(&mut text, &lanes.balance);
    let ledger = ledger(history);
    wrap(&mut text, "Ledger: ", &ledger);
    lanes.notes.push(("Ledger".into(), ledger));
    wrap(&mut text, "Legend: ", &format!("{LEGEND}, >> the violation"));
    lanes.notes.push(("Legend".into(), LEGEND.into()));
    for note in notes {
        text.push_str(note);
        text.push('\n');
    }
    Picture { text, lanes: Some(lanes) }
}

/// As a table.
fn balanced(text: &mut String, lines: &[Balance]) {
    if lines.is_empty() {
        return;
    }
    let _ =
        writeln!(text, "{:<8}{:<22}{:<28}when all had ended it was", "", "the queue said", "it ought to be");
    for Balance { message, said, ought, was, differs } in lines {
        let mark = if *differs { "  <<" } else { "" };
        line(text, &format!("{message:<8}{said:<22}{ought:<28}{was}{mark}"));
    }
}

const LEGEND: &str = "m message, r receipt, #n attempt, +t delay or lease, ? in doubt";

/// The broken promise, and how it was broken.
pub(crate) fn heading(counterexample: &Counterexample) -> String {
    let mut text = String::new();
    let invariant = counterexample.invariant;
    wrap(&mut text, &format!("{} is broken: ", invariant.id()), invariant.sentence());
    wrap(&mut text, "", &counterexample.sentence);
    text
}

struct Page<'a> {
    history: &'a History,
    culprits: &'a [usize],
    /// The messages that the culprits are about; empty: all.
    tokens: BTreeSet<Token>,
    tokens_of: HashMap<Handle, Option<Token>>,
    /// The session that drains.
    drainer: Option<Actor>,
}

/// One line of the drawing.
enum Row {
    /// An event in its actor's lane.
    Act(usize),
    /// A fault or a phase, across all lanes.
    Band(usize, char, String),
    /// So many events that have nothing to do with it.
    Hidden(usize),
}

impl<'a> Page<'a> {
    fn new(history: &'a History, counterexample: &'a Counterexample) -> Page<'a> {
        let tokens_of: HashMap<Handle, Option<Token>> = history
            .events
            .iter()
            .filter_map(|event| match event.what {
                What::Deliver { token, handle, .. } => Some((handle, token)),
                _ => None,
            })
            .collect();
        let began = history.events.iter().position(|event| event.what == What::DrainBegan);
        let drainer = began.and_then(|began| {
            let opened = history.events[began..].iter().find(|event| event.what == What::Opened)?;
            Some(opened.actor)
        });
        let mut page =
            Page { history, culprits: &counterexample.culprits, tokens: BTreeSet::new(), tokens_of, drainer };
        let culprits = page.culprits.iter().filter_map(|&culprit| history.events.get(culprit));
        page.tokens = culprits.filter_map(|event| page.token(event)).collect();
        page
    }

    fn token(&self, event: &Event) -> Option<Token> {
        match &event.what {
            What::Send { token, .. } => Some(*token),
            What::Deliver { token, .. } => *token,
            What::Settle { handle, .. } | What::Extend { handle, .. } => {
                self.tokens_of.get(handle).copied().flatten()
            }
            _ => None,
        }
    }

    fn is_culprit(&self, index: usize) -> bool {
        self.culprits.contains(&index)
    }

    fn is_relevant(&self, index: usize, event: &Event) -> bool {
        self.is_culprit(index)
            || match &event.what {
                _ if is_implied(event) => false,
                What::Receive { got: None, .. } | What::Redrive { .. } => true,
                _ if self.tokens.is_empty() || self.end() <= SHOWN_WHOLE => true,
                What::Browse { letters, .. } => {
                    let mut shown = letters.iter().flatten().filter_map(|letter| letter.token);
                    shown.any(|token| self.tokens.contains(&token))
                }
                _ => self.token(event).is_some_and(|token| self.tokens.contains(&token)),
            }
    }

    /// A fault or a phase. The start of everything is none.
    fn band(&self, index: usize, event: &Event) -> Option<(char, String)> {
        Some(match &event.what {
            What::Booted { .. } if index == 0 => return None,
            What::Booted { error: None } => ('=', "the broker starts again".into()),
            What::Booted { error: Some(error) } => ('=', format!("the broker does not start: {error}")),
            What::Limited { deliveries_allowed } => {
                ('=', format!("the limit is {deliveries_allowed} deliveries from now on"))
            }
            What::Intruded { error: None } => ('=', "another process opens it, too".into()),
            What::Intruded { error: Some(_) } => ('=', "another process is refused".into()),
            What::Crashed { crash: Crash::Process } => ('=', "the broker is killed".into()),
            What::Crashed { crash: Crash::Power } => ('=', "the power fails".into()),
            What::Panicked { message } => ('=', format!("the queue panics: {message}")),
            What::Lost => ('=', format!("{} is lost", self.name(event.actor))),
            What::Advanced { by } => ('.', format!("{by:?} pass")),
            What::DrainBegan => ('-', "faults end, and what is left is received and acked".into()),
            What::Unanswered { error } => ('-', format!("to the end there are only errors: {error}")),
            What::DrainEnded { quiet: true } => ('-', "nothing more comes".into()),
            What::DrainEnded { quiet: false } => ('-', "it does not come to rest".into()),
            _ => return None,
        })
    }

    /// A time as one reads it: a real clock counts from long ago, and a run from its first event.
    fn shown(&self, time: Time) -> String {
        let began = self.history.events.first().map_or(Time(0), |event| event.at);
        Time(time.0.saturating_sub(began.0)).to_string()
    }

    fn name(&self, actor: Actor) -> String {
        if actor == HARNESS {
            "the harness".into()
        } else if Some(actor) == self.drainer {
            "drain".into()
        } else {
            format!("session {}", actor.0)
        }
    }

    /// The index behind the violation.
    fn end(&self) -> usize {
        let events = self.history.events.len();
        self.culprits.iter().max().map_or(events, |last| (last + 1).min(events))
    }

    /// What is shown up to the violation, and what is hidden.
    fn choose(&self) -> Vec<Row> {
        let events = &self.history.events;
        let end = self.end();
        let mut shown: Vec<bool> = (0..end)
            .map(|index| {
                let event = &events[index];
                let is_lost_session = event.what == What::Lost && !self.is_culprit(index);
                !is_lost_session && (self.band(index, event).is_some() || self.is_relevant(index, event))
            })
            .collect();
        // The loss of a session matters to what it did.
        let acting: BTreeSet<Actor> =
            (0..end).filter(|&index| shown[index]).map(|index| events[index].actor).collect();
        for index in 0..end {
            shown[index] |= events[index].what == What::Lost && acting.contains(&events[index].actor);
        }
        // Of too many, the latest are the most telling.
        let surplus = shown.iter().filter(|shown| **shown).count().saturating_sub(MOST_ROWS);
        let mut seen = 0;
        let mut rows: Vec<Row> = Vec::new();
        let mut passed = Duration::ZERO;
        for index in 0..end {
            let event = &events[index];
            seen += usize::from(shown[index]);
            let hidden = !shown[index] || (seen <= surplus && !self.is_culprit(index));
            if let (What::Advanced { by }, false) = (&event.what, hidden) {
                passed += *by;
                let text = format!("{passed:?} pass");
                match rows.last_mut() {
                    Some(Row::Band(at, '.', merged)) if !self.is_culprit(index) => {
                        (*at, *merged) = (index, text);
                    }
                    _ => {
                        passed = *by;
                        rows.push(Row::Band(index, '.', format!("{by:?} pass")));
                    }
                }
            } else if !hidden {
                rows.push(match self.band(index, event) {
                    Some((line, text)) => Row::Band(index, line, text),
                    None => Row::Act(index),
                });
            } else if !is_implied(event) {
                match rows.last_mut() {
                    Some(Row::Hidden(count)) => *count += 1,
                    _ => rows.push(Row::Hidden(1)),
                }
            }
        }
        if end < events.len() {
            rows.push(Row::Hidden(events.len() - end));
        }
        rows
    }

    /// Whoever does something that is shown.
    fn actors(&self, rows: &[Row]) -> Vec<Actor> {
        let acts = rows.iter().filter_map(|row| match row {
            Row::Act(index) => Some(self.history.events[*index].actor),
            _ => None,
        });
        acts.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The same rows as data: what one call did is one act.
    fn lanes(&self, rows: &[Row]) -> Lanes {
        let actors = self.actors(rows);
        let mut acts: Vec<Act> = Vec::new();
        let mut last_call = None;
        for row in rows {
            let index = match row {
                Row::Hidden(count) => {
                    let call = acts.last().map_or(0, |act: &Act| act.ret.unwrap_or(act.call) + 1);
                    let lines = vec![hidden(*count)];
                    acts.push(Act { call, ret: Some(call), lines, kind: ActKind::Hidden, ..Act::default() });
                    last_call = None;
                    continue;
                }
                Row::Act(index) | Row::Band(index, ..) => *index,
            };
            let event = &self.history.events[index];
            let culprits = self.culprits.iter().enumerate().filter(|(_, culprit)| **culprit == index);
            let culprits = culprits.map(|(number, _)| number + 1);
            let call = Some((event.actor, event.op));
            if let (Row::Act(_), Some(act)) = (row, acts.last_mut().filter(|_| last_call == call)) {
                act.lines.push(self.act(event));
                act.culprits.extend(culprits);
                continue;
            }
            let (lane, line, kind) = match row {
                Row::Band(_, fill, words) => {
                    let kind = match fill {
                        '=' => ActKind::Fault,
                        '.' => ActKind::Time,
                        _ => ActKind::Phase,
                    };
                    (None, words.clone(), kind)
                }
                _ => {
                    let lane = actors.iter().position(|actor| *actor == event.actor);
                    (lane, self.act(event), ActKind::Call)
                }
            };
            last_call = call.filter(|_| kind == ActKind::Call);
            acts.push(Act {
                lane,
                call: event.call,
                ret: (event.ret != PENDING).then_some(event.ret),
                time: self.time(event),
                lines: vec![line],
                kind,
                in_doubt: is_in_doubt(event),
                culprits: culprits.collect(),
            });
        }
        Lanes {
            names: actors.iter().map(|actor| self.name(*actor)).collect(),
            acts,
            culprits: self.told(),
            balance: balance::of(self.history, &self.tokens),
            ..Lanes::default()
        }
    }

    /// The culprits in words.
    fn told(&self) -> Vec<String> {
        let known =
            self.culprits.iter().filter_map(|&culprit| Some((culprit, self.history.events.get(culprit)?)));
        known
            .map(|(culprit, event)| format!("{} (event {culprit})", capitalised(&self.in_words(event))))
            .collect()
    }

    /// When it was over, as far as is known.
    fn time(&self, event: &Event) -> String {
        self.shown(if event.until == Time::FAR_FUTURE { event.at } else { event.until })
    }

    fn rows(&self, text: &mut String, rows: &[Row]) {
        let actors = self.actors(rows);
        let named = actors.len() > MOST_LANES;
        let lanes = if named { 1 } else { actors.len().max(1) };
        let lane = ((WIDTH - MARGIN) / lanes - 2).min(if named { WIDTH } else { WIDEST_LANE });
        let band = ((lane + 2) * lanes).max(NARROWEST_BAND);

        let headers: Vec<String> = if named {
            vec!["session".into()]
        } else {
            actors.iter().map(|&actor| self.name(actor)).collect()
        };
        let headers: String =
            headers.iter().map(|header| format!("{header:<width$}", width = lane + 2)).collect();
        line(text, &format!("{:>17}  {headers}", "time"));
        for row in rows {
            match row {
                Row::Hidden(count) => line(text, &format!("{:MARGIN$}... {} ...", "", hidden(*count))),
                Row::Band(index, fill, what) => {
                    let words = fit(&format!("{fill}{fill}{fill} {what} "), band);
                    let rest: String =
                        std::iter::repeat_n(*fill, band.saturating_sub(words.chars().count())).collect();
                    line(text, &format!("{}{words}{rest}", self.margin(*index)));
                }
                Row::Act(index) => {
                    let event = &self.history.events[*index];
                    let act = self.act(event);
                    let (indent, act) = if named {
                        (0, format!("{:<12}{act}", self.name(event.actor)))
                    } else {
                        let at = actors.iter().position(|actor| *actor == event.actor).unwrap_or(0);
                        (at * (lane + 2), act)
                    };
                    line(text, &format!("{}{:indent$}{}", self.margin(*index), "", fit(&act, lane)));
                }
            }
        }
    }

    /// The mark of the violation, the number of a culprit, the time.
    fn margin(&self, index: usize) -> String {
        let number = self.culprits.iter().position(|&culprit| culprit == index);
        let mark = if self.culprits.last() == Some(&index) { ">>" } else { "" };
        let number = number.map_or(String::new(), |number| (number + 1).to_string());
        format!("{mark:<2} {number:<2}{:>12}  ", self.time(&self.history.events[index]))
    }

    /// An event in a few characters.
    fn act(&self, event: &Event) -> String {
        match &event.what {
            What::Send { token, delay, outcome, .. } => {
                let outcome = match outcome {
                    SendOutcome::Confirmed(_) => "ok",
                    SendOutcome::Refused(Refusal::Full) => "full",
                    SendOutcome::Refused(_) => "refused",
                    SendOutcome::InDoubt => "?",
                };
                format!("send m{}{} {outcome}", token.0, plus(*delay))
            }
            What::Receive { got: None, lease, .. } => format!("receive{} ?", plus(*lease)),
            What::Receive { got: Some(0), .. } => "receive: nothing".into(),
            What::Miscounted { asked, answered } => format!("{answered} answers to {asked}"),
            What::Receive { got: Some(got), .. } => format!("receive: {got}"),
            What::Deliver { token, handle, attempt, lease, .. } => {
                format!("receive {} = r{} #{attempt}{}", message(*token), handle.0, plus(*lease))
            }
            What::Settle { handle, how, outcome } => {
                let (how, delay) = match how {
                    Settle::Ack => ("ack", Duration::ZERO),
                    Settle::Nack { delay } => ("nack", *delay),
                    Settle::Reject => ("reject", Duration::ZERO),
                };
                format!("{how} r{}{} {}", handle.0, plus(delay), answer(*outcome))
            }
            What::Extend { handle, lease, outcome } => {
                format!("extend r{}{} {}", handle.0, plus(*lease), answer(*outcome))
            }
            What::Browse { letters: None, .. } => "dead letters ?".into(),
            What::Browse { letters: Some(letters), .. } => {
                let mut text = String::from("dead:");
                letters.iter().for_each(|letter| text.extend([" ", &message(letter.token)]));
                if letters.is_empty() { "dead: none".into() } else { text }
            }
            What::Redrive { moved: None, .. } => "redrive ?".into(),
            What::Redrive { moved: Some(moved), .. } => format!("redrive: {moved}"),
            What::Depth { depth: None } => "depth ?".into(),
            What::Depth { depth: Some(depth) } => {
                let counts = [
                    (depth.ready, "ready"),
                    (depth.in_flight, "in flight"),
                    (depth.delayed, "delayed"),
                    (depth.dead, "dead"),
                ];
                let counts: Vec<String> = counts
                    .iter()
                    .filter(|(count, _)| *count > 0)
                    .map(|(count, state)| format!("{count} {state}"))
                    .collect();
                format!("depth: {}", if counts.is_empty() { "0".into() } else { counts.join(", ") })
            }
            What::Observed { .. } => "effects observed".into(),
            What::Opened => "opens".into(),
            What::Booted { .. } => "the broker starts".into(),
            // The rest are bands.
            other => format!("{other:?}"),
        }
    }

    /// An event as a sentence.
    fn in_words(&self, event: &Event) -> String {
        let who = self.name(event.actor);
        let who = if who == "drain" { "the drain".to_owned() } else { who };
        let of = |handle: &Handle| {
            let token = self.tokens_of.get(handle).map(|token| message(*token));
            format!("r{}{}", handle.0, token.map_or(String::new(), |token| format!(" (of {token})")))
        };
        let heard = |outcome: &Outcome| match outcome {
            Outcome::Done => "was told \"done\"",
            Outcome::Stale => "was told \"stale\"",
            Outcome::InDoubt => "was told nothing",
        };
        match &event.what {
            What::Send { token, delay, outcome, .. } => {
                let later =
                    if delay.is_zero() { String::new() } else { format!(", not to come for {delay:?},") };
                let outcome = match outcome {
                    SendOutcome::Confirmed(_) => "was told it is stored".into(),
                    SendOutcome::Refused(refusal) => format!("was refused ({refusal:?})"),
                    SendOutcome::InDoubt => "was told nothing".to_owned(),
                };
                format!("{who} sent m{}{later} and {outcome}.", token.0)
            }
            What::Receive { max, got, lease } => match got {
                None => format!("{who} asked for {max} under a lease of {lease:?} and was told nothing."),
                Some(0) => format!("{who} asked for {max} and was told there is nothing."),
                Some(got) => format!("{who} asked for {max} and received {got}."),
            },
            What::Deliver { token, id, handle, attempt, deadline, .. } => format!(
                "{who} received {} (id {}) as r{}: attempt {attempt}, leased until {}.",
                message(*token),
                id.0,
                handle.0,
                self.shown(*deadline)
            ),
            What::Settle { handle, how, outcome } => {
                let how = match how {
                    Settle::Ack => "acked".into(),
                    Settle::Nack { delay } if delay.is_zero() => "returned".into(),
                    Settle::Nack { delay } => format!("returned, for {delay:?} later,"),
                    Settle::Reject => "rejected".to_owned(),
                };
                format!("{who} {how} {} and {}.", of(handle), heard(outcome))
            }
            What::Extend { handle, lease, outcome } => {
                format!("{who} extended {} to {lease:?} from then and {}.", of(handle), heard(outcome))
            }
            What::Browse { letters: None, .. } => format!("{who} asked for the dead letters in vain."),
            What::Browse { letters: Some(letters), .. } if letters.is_empty() => {
                format!("{who} was shown no dead letters.")
            }
            What::Browse { letters: Some(letters), .. } => {
                let told = |letter: &&Letter| letter.token.is_some_and(|token| self.tokens.contains(&token));
                let all = letters.len();
                let few = all <= MOST_LETTERS;
                let letters: Vec<String> = letters
                    .iter()
                    .filter(|letter| few || told(letter))
                    .take(MOST_LETTERS)
                    .map(|letter| {
                        let why = match letter.reason {
                            Reason::Attempts => "out of attempts",
                            Reason::Rejected => "rejected",
                        };
                        format!("{} ({why}, {} counted)", message(letter.token), letter.attempts)
                    })
                    .collect();
                match all - letters.len() {
                    0 => format!("{who} was shown these dead letters: {}.", letters.join(", ")),
                    others => {
                        format!("{who} was shown {others} other dead letters, and {}.", letters.join(", "))
                    }
                }
            }
            What::Redrive { max, moved: None } => {
                format!("{who} redrove at most {max} dead letters and was told nothing.")
            }
            What::Redrive { moved: Some(moved), .. } => format!("{who} redrove dead letters: {moved}."),
            What::Depth { depth: None } => format!("{who} asked for the counts in vain."),
            What::Depth { depth: Some(depth) } => format!(
                "{who} was told: {} ready, {} in flight, {} delayed, {} dead.",
                depth.ready, depth.in_flight, depth.delayed, depth.dead
            ),
            What::Miscounted { asked, answered } => {
                format!("{who} was answered with {answered} outcomes for a batch of {asked}.")
            }
            What::Crashed { crash: Crash::Process } => "The broker was killed.".into(),
            What::Crashed { crash: Crash::Power } => "The power failed.".into(),
            What::Booted { error: None } => "The broker started.".into(),
            What::Booted { error: Some(error) } => format!("The broker did not start: {error}."),
            What::Limited { deliveries_allowed } => {
                format!("From then on {deliveries_allowed} deliveries were allowed.")
            }
            What::Intruded { error: None } => "Another process opened it, too.".into(),
            What::Intruded { error: Some(error) } => format!("Another process could not open it: {error}."),
            What::Panicked { message } => format!("The queue panicked: {message}."),
            What::Opened => format!("{who} began."),
            What::Lost => format!("{who} was lost, with what it held."),
            What::Advanced { by } => format!("{by:?} passed."),
            What::DrainBegan => "Faults ended.".into(),
            What::Unanswered { error } => format!("To the end the drain was answered with errors: {error}."),
            What::DrainEnded { quiet: true } => "At the end, nothing more came.".into(),
            What::DrainEnded { quiet: false } => "At the end, it did not come to rest.".into(),
            What::Observed { store, .. } => format!("The effects were observed: {}.", effects(store)),
        }
    }
}

fn hidden(count: usize) -> String {
    format!("{count} other {}", if count == 1 { "event" } else { "events" })
}

/// Whether nobody was told what came of it.
fn is_in_doubt(event: &Event) -> bool {
    let untold = matches!(
        &event.what,
        What::Send { outcome: SendOutcome::InDoubt, .. }
            | What::Receive { got: None, .. }
            | What::Settle { outcome: Outcome::InDoubt, .. }
            | What::Extend { outcome: Outcome::InDoubt, .. }
            | What::Browse { letters: None, .. }
            | What::Redrive { moved: None, .. }
            | What::Depth { depth: None }
    );
    untold || event.ret == PENDING
}

/// Whether other rows say as much: a session begins with its first call, and a receive shows in its
/// deliveries.
fn is_implied(event: &Event) -> bool {
    match event.what {
        What::Opened | What::Receive { got: Some(1..), .. } => true,
        What::Booted { error: None } => event.call == 0,
        _ => false,
    }
}

fn message(token: Option<Token>) -> String {
    token.map_or_else(|| "a stranger".into(), |token| format!("m{}", token.0))
}

/// What an observation found, so that a reader need not take the verdict's word for it.
fn effects(store: &[Observed]) -> String {
    if store.is_empty() {
        return "none".into();
    }
    let one = |seen: &Observed| {
        let times = match seen.effects {
            0 => "no effect".into(),
            1 => "once".into(),
            times => format!("{times} times"),
        };
        let record = if seen.recorded { "with a record" } else { "without a record" };
        format!("{} {times}, {record}", message(Some(seen.token)))
    };
    store.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn answer(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Stale => "stale",
        Outcome::InDoubt => "?",
    }
}

fn plus(wait: Duration) -> String {
    if wait.is_zero() { String::new() } else { format!(" +{wait:?}") }
}

/// The counts of the whole run.
fn ledger(history: &History) -> String {
    let (mut confirmed, mut refused, mut in_doubt, mut delivered, mut again, mut acked) = (0, 0, 0, 0, 0, 0);
    let mut dead = None;
    for event in &history.events {
        match &event.what {
            What::Send { outcome: SendOutcome::Confirmed(_), .. } => confirmed += 1,
            What::Send { outcome: SendOutcome::Refused(_), .. } => refused += 1,
            What::Send { outcome: SendOutcome::InDoubt, .. } => in_doubt += 1,
            What::Deliver { attempt, .. } => {
                delivered += 1;
                again += u32::from(*attempt > 1);
            }
            What::Settle { how: Settle::Ack, outcome: Outcome::Done, .. } => acked += 1,
            What::Browse { letters: Some(letters), .. } => dead = Some(letters.len()),
            _ => {}
        }
    }
    let dead = dead.map_or_else(|| "never looked at".into(), |dead| dead.to_string());
    format!(
        "confirmed {confirmed}, refused {refused}, in doubt {in_doubt}, delivered {delivered} ({again} again), \
         acked {acked}, dead {dead}"
    )
}

fn capitalised(sentence: &str) -> String {
    let mut chars = sentence.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

/// The text, cut to a width.
fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['~']).collect()
}

fn line(text: &mut String, line: &str) {
    let line = fit(line.trim_end(), WIDTH);
    text.push_str(&line);
    text.push('\n');
}

/// Words in lines of at most [`WIDTH`], the first after `lead`, as a note.
pub(crate) fn paragraph(lead: &str, words: &str) -> String {
    let mut text = String::new();
    wrap(&mut text, lead, words);
    text.truncate(text.trim_end().len());
    text
}

/// Writes words in lines of at most [`WIDTH`], the first after `lead`, the others indented as far.
fn wrap(text: &mut String, lead: &str, words: &str) {
    let indent = lead.chars().count();
    let mut current = lead.to_owned();
    let mut is_empty = true;
    // A message of the queue may hold line breaks; here they are spaces.
    for word in words.split_whitespace() {
        let needed = current.chars().count() + usize::from(!is_empty) + word.chars().count();
        if !is_empty && needed > WIDTH {
            line(text, &current);
            current.clear();
            let _ = write!(current, "{:indent$}", "");
            is_empty = true;
        }
        if !is_empty {
            current.push(' ');
        }
        current.push_str(word);
        is_empty = false;
    }
    line(text, &current);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::judge;
    use crate::engines::sequential::run;
    use crate::engines::testing::{Bug, hosting};
    use crate::invariant::Invariant;
    use crate::plan::{Fate, How, Plan, PlanSettings, Plans, Step, Which};
    use crate::verdict::Verdict;

    #[test]
    fn an_observation_says_which_effects_it_found() {
        let seen = |token, effects, recorded| Observed { token: Token(token), effects, recorded };
        assert_eq!(effects(&[]), "none");
        assert_eq!(
            effects(&[seen(1, 2, true), seen(2, 1, false), seen(3, 0, true)]),
            "m1 2 times, with a record; m2 once, without a record; m3 no effect, with a record"
        );
    }

    #[test]
    fn a_page_says_what_happened() {
        let send = |count| Step::Send { session: 0, count, delay_ms: 0, keyed: false, fate: Fate::Arrives };
        let plan = Plan {
            settings: PlanSettings { capacity: 4, deliveries_allowed: 3, seed: 0 },
            steps: vec![
                send(2),
                Step::Receive { session: 1, max: 1, lease_ms: 20, fate: Fate::Arrives },
                Step::Settle {
                    session: 1,
                    which: Which::Current(0),
                    count: 1,
                    how: How::Nack { delay_ms: 10 },
                    fate: Fate::ReplyLost,
                },
                Step::Advance { ms: 5 },
                Step::Advance { ms: 5 },
                Step::LoseSession { session: 1 },
                send(1),
            ],
            redrive_at_end: false,
        };
        let history = run(hosting(Bug::AckDoesNothing), &plan).expect("it starts");
        let at = |wanted: &dyn Fn(&What) -> bool| {
            let positions = history.events.iter().enumerate().filter(|(_, event)| wanted(&event.what));
            positions.map(|(index, _)| index).collect::<Vec<usize>>()
        };
        let deliveries = at(&|what| matches!(what, What::Deliver { token: Some(Token(1)), .. }));
        let acks = at(&|what| matches!(what, What::Settle { how: Settle::Ack, handle: Handle(2), .. }));
        let broken = Counterexample {
            invariant: Invariant::Al6,
            sentence: "m1 was acked and delivered again.".into(),
            missing_licence: Some("nothing permits a delivery after an ack".into()),
            culprits: vec![deliveries[1], acks[0], deliveries[2]],
        };
        let page = draw(&history, &broken, &["Replay: type this".into()]);
        assert_eq!(page.text, include_str!("timeline.golden.txt"), "\n{}", page.text);
        let lanes = page.lanes.expect("a history has lanes");
        assert_eq!(lanes.culprits.len(), 3);
        let mut numbers: Vec<usize> = lanes.acts.iter().flat_map(|act| act.culprits.clone()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3], "each culprit has its act");
        let doubt = lanes.acts.iter().find(|act| act.in_doubt).expect("a reply was lost");
        assert!(doubt.lines[0].ends_with(" ?") && doubt.lane.is_some(), "{doubt:?}");
        assert!(lanes.acts.is_sorted_by_key(|act| act.call));
    }

    #[test]
    fn no_page_is_wider_than_a_hundred_columns_or_very_long() {
        let mut pages = 0;
        for seed in 0..300 {
            for bug in [Bug::AckDoesNothing, Bug::PanicsOnThirdAttempt, Bug::StaleNackLoses] {
                let history = run(hosting(bug), &Plans::default().draw(seed)).expect("it starts");
                for (_, verdict) in judge(&history) {
                    let Verdict::Broken(counterexample) = verdict else { continue };
                    let page = draw(&history, &counterexample, &[]).text;
                    assert!(page.lines().all(|line| line.chars().count() <= WIDTH), "{page}");
                    assert!(page.lines().count() < 2 * MOST_ROWS + 1 + balance::MOST, "{page}");
                    assert!(page.contains("\n>>"), "{page}");
                    pages += 1;
                }
            }
        }
        assert!(pages > 100, "{pages} pages");
    }

    #[test]
    fn long_sentences_are_wrapped_between_words() {
        let mut text = String::new();
        wrap(&mut text, "Missing: ", &"word ".repeat(40));
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().skip(1).all(|line| line.starts_with("         word")));
    }
}
