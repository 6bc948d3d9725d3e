//! What an image shows, in words: what was confirmed, what befell the disk and what that left, and what was found
//! afterwards.

use std::collections::{BTreeMap, BTreeSet};

use stanchion_queues::file::sim::FailSync;
use stanchion_queues::file::survival::{Fault, SectorFate, Survival, Unfinished};
use stanchion_queues::{Crash, Settle};

use super::host::{Blown, During};
use super::run::Ran;
use crate::describe;
use crate::finding::Picture;
use crate::history::{Event, History, Outcome, SendOutcome, Token, What};
use crate::invariant::Invariant;
use crate::plan::{How, Step};
use crate::timeline;
use crate::verdict::Counterexample;

/// More than so many things of a kind are counted, not named.
const NAMED: usize = 12;

/// Draws an image that breaks a promise.
pub(super) fn draw(ran: &Ran, how: &Counterexample, notes: &[String]) -> Picture {
    timeline::draw_with(&ran.history, how, &story(ran, how.invariant), notes)
}

fn story(ran: &Ran, invariant: Invariant) -> Vec<(&'static str, String)> {
    let history = &ran.history;
    let crashed = history.events.iter().position(|event| matches!(event.what, What::Crashed { .. }));
    let (before, after) = history.events.split_at(crashed.unwrap_or(history.events.len()));
    let mut story = vec![("Before: ", told_before(before))];
    story.extend(ran.seen.blown.iter().map(|(step, blown)| ("Disk:   ", befell(step.as_ref(), blown))));
    story.push(("After:  ", found_after(before, after)));
    story.push(("Why:    ", why(history, invariant)));
    story
}

fn told_before(before: &[Event]) -> String {
    let mut confirmed = BTreeSet::new();
    let mut in_doubt = BTreeSet::new();
    let mut settled = Vec::new();
    for event in before {
        match &event.what {
            What::Send { token, outcome: SendOutcome::Confirmed(_), .. } => drop(confirmed.insert(*token)),
            What::Send { token, outcome: SendOutcome::InDoubt, .. } => drop(in_doubt.insert(*token)),
            What::Settle { handle, how, outcome: Outcome::Done } => {
                let how = match how {
                    Settle::Ack => "acked",
                    Settle::Nack { .. } => "returned",
                    Settle::Reject => "rejected",
                };
                settled.extend(token_of(before, *handle).map(|token| format!("m{} {how}", token.0)));
            }
            _ => {}
        }
    }
    let mut words = match confirmed.is_empty() {
        true => "nothing was confirmed".to_owned(),
        false => format!("{} confirmed", names(&confirmed)),
    };
    if !in_doubt.is_empty() {
        words += &format!("; {} in doubt", names(&in_doubt));
    }
    settled.truncate(NAMED);
    settled.iter().for_each(|settled| words += &format!("; {settled}"));
    words + "."
}

fn token_of(events: &[Event], wanted: crate::history::Handle) -> Option<Token> {
    events.iter().find_map(|event| match event.what {
        What::Deliver { handle, token, .. } if handle == wanted => token,
        _ => None,
    })
}

fn befell(step: Option<&Step>, blown: &Blown) -> String {
    match blown {
        Blown::Flipped { file, bit } => {
            format!("while the broker was down, bit {} of byte {} of {file} flipped.", bit % 8, bit / 8)
        }
        Blown::Failed { during, call, fault } => {
            let how = match fault {
                Fault::Full => "no space was left",
                Fault::Io(FailSync::KeepPages) => "the disk could not do it, and reads show it all the same",
                Fault::Io(FailSync::DropPages) => "the disk could not do it, and reads do not show it",
                Fault::Late(FailSync::KeepPages) => {
                    "the system took it and could not bring it to the disk, and reads show it all the same"
                }
                Fault::Late(FailSync::DropPages) => {
                    "the system took it and could not bring it to the disk, and reads do not show it"
                }
            };
            format!("{call} failed, in {}: {how}.", moment(*during, step))
        }
        Blown::Down { during, crash, left, unfinished } => {
            let what = match crash {
                Crash::Process => "the process was killed",
                Crash::Power => "the power failed",
            };
            let when = match &unfinished.call {
                Some(call) => format!("during {call}, in {}", moment(*during, step)),
                None => "between two calls".into(),
            };
            match crash {
                Crash::Process => format!("{what} {when}; what was written stays."),
                Crash::Power => format!("{what} {when}. {}", survived(left, unfinished)),
            }
        }
    }
}

fn moment(during: During, step: Option<&Step>) -> &'static str {
    match (during, step) {
        (During::Start, _) => "the first start",
        (During::Restart(_), _) => "the restart",
        (_, Some(Step::Send { .. } | Step::SendOdd { .. } | Step::Retry { .. } | Step::Flood { .. })) => {
            "a send"
        }
        (_, Some(Step::Wear { .. })) => "a receive or a nack",
        (_, Some(Step::Receive { .. })) => "a receive",
        (_, Some(Step::Settle { how: How::Ack, .. })) => "an ack",
        (_, Some(Step::Settle { how: How::Nack { .. }, .. })) => "a nack",
        (_, Some(Step::Settle { how: How::Reject, .. })) => "a reject",
        (_, Some(Step::SettleEach { .. })) => "a batch of settlements",
        (_, Some(Step::Churn { .. })) => "a send, a receive or an ack",
        (_, Some(Step::Extend { .. })) => "the extension of a lease",
        (_, Some(Step::Redrive { .. })) => "a redrive",
        (_, Some(Step::Browse { .. } | Step::BrowseFew { .. })) => "a look at the dead letters",
        (_, Some(Step::Depth { .. })) => "a count",
        (_, Some(Step::LoseSession { .. })) => "the loss of a session",
        (_, Some(Step::Crash { .. })) => "what the broker did of itself",
        (_, Some(Step::Advance { .. } | Step::AdvanceTo { .. }) | None) => "no call",
    }
}

/// Which sectors a failure of the power left.
fn survived(left: &Survival, unfinished: &Unfinished) -> String {
    let Unfinished { sectors, names, .. } = unfinished;
    if sectors.is_empty() && names.is_empty() {
        return "Everything was synced by then.".into();
    }
    let mut risked: Vec<String> = Vec::new();
    let mut kept: Vec<String> = Vec::new();
    if !sectors.is_empty() {
        risked.push(of_files(sectors.iter()));
    }
    let fates = left.sectors.iter().copied().chain(std::iter::repeat(SectorFate::Lost));
    let (mut whole, mut damaged) = (Vec::new(), Vec::new());
    for (sector, fate) in sectors.iter().zip(fates) {
        let (file, number) = sector;
        match fate {
            SectorFate::Lost => {}
            SectorFate::Whole => whole.push(sector),
            SectorFate::Torn(new) => {
                damaged.push(format!("the first {new} bytes of sector {number} of {file}"))
            }
            SectorFate::Garbage(_) => damaged.push(format!("sector {number} of {file} as garbage")),
        }
    }
    if !whole.is_empty() {
        kept.push(of_files(whole.into_iter()));
    }
    kept.extend(damaged);
    for (nth, name) in names.iter().enumerate() {
        risked.push(name.clone());
        kept.extend(left.keeps_name(nth).then(|| name.clone()));
    }
    let kept = if kept.is_empty() { "nothing".into() } else { kept.join(", ") };
    format!("Not synced by then: {}. Of that survived: {kept}.", risked.join(", "))
}

fn of_files<'a>(sectors: impl Iterator<Item = &'a (String, usize)>) -> String {
    let mut by_file: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (file, number) in sectors {
        by_file.entry(file).or_default().push(*number);
    }
    let of = |(file, numbers): (&&str, &Vec<usize>)| {
        let what = if numbers.len() == 1 { "sector" } else { "sectors" };
        let named: Vec<String> = numbers.iter().take(NAMED).map(ToString::to_string).collect();
        let more = numbers.len() - named.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{what} {}{more} of {file}", named.join(", "))
    };
    by_file.iter().map(of).collect::<Vec<_>>().join(", ")
}

fn found_after(before: &[Event], after: &[Event]) -> String {
    if let Some(error) = after.iter().find_map(|event| match &event.what {
        What::Booted { error: Some(error) } => Some(error),
        _ => None,
    }) {
        return format!("the broker does not start: {error}");
    }
    let mut found = BTreeSet::new();
    let mut dead = BTreeSet::new();
    let mut strangers = 0;
    for event in after {
        match &event.what {
            What::Deliver { token: Some(token), .. } => drop(found.insert(*token)),
            What::Deliver { token: None, .. } => strangers += 1,
            What::Browse { letters: Some(letters), .. } => {
                dead.extend(letters.iter().filter_map(|letter| letter.token));
            }
            _ => {}
        }
    }
    let settled: BTreeSet<Token> = before
        .iter()
        .filter_map(|event| match event.what {
            What::Settle { handle, how: Settle::Ack, .. } => token_of(before, handle),
            _ => None,
        })
        .collect();
    let sent = |event: &Event| match event.what {
        What::Send { token, outcome: SendOutcome::Confirmed(_), .. } => Some(token),
        _ => None,
    };
    let confirmed: BTreeSet<Token> = before.iter().chain(after).filter_map(sent).collect();
    let gone: BTreeSet<Token> = confirmed
        .into_iter()
        .filter(|token| !settled.contains(token) && !found.contains(token) && !dead.contains(token))
        .collect();
    let mut words = match found.is_empty() {
        true => "nothing was delivered".to_owned(),
        false => format!("{} delivered", names(&found)),
    };
    if strangers > 0 {
        words += &format!("; {strangers} deliveries of what nobody sent");
    }
    if !dead.is_empty() {
        words += &format!("; {} among the dead letters", names(&dead));
    }
    if !gone.is_empty() {
        words += &format!("; {} confirmed, never acked, and never seen again", names(&gone));
    }
    words + "."
}

/// What the promise rests on.
fn why(history: &History, invariant: Invariant) -> String {
    let contract = &history.contract;
    let survives = |what: &str, durability| format!("{what} survives {}", describe::survives(durability));
    let promised = match invariant.id().split('-').next() {
        _ if invariant == Invariant::Du5 => "damage to what is stored is noticed".into(),
        _ if invariant == Invariant::Du7 => {
            "after a failed write or sync it reports no success that rests on it".into()
        }
        _ if invariant == Invariant::Du14 => "what it delivers is as durable as what it confirms".into(),
        _ if invariant == Invariant::Du13 => match contract.synced_every {
            Some(every) => format!("what is confirmed is synced within {every:?}"),
            None => survives("a confirmed send", contract.sends),
        },
        _ if invariant == Invariant::Du11 => "it opens again after any crash, or names the damage".into(),
        _ if invariant == Invariant::Du3 || invariant == Invariant::Al6 => survives("an ack", contract.acks),
        Some("DU" | "AL") => survives("a confirmed send", contract.sends),
        Some("DL") => format!(
            "{}, and {}",
            survives("a count of attempts", contract.counts),
            survives("a settlement", contract.acks)
        ),
        _ => "what was so before a crash that it survives is so after it".into(),
    };
    format!("the queue promises that {promised}.")
}

fn names(tokens: &BTreeSet<Token>) -> String {
    let named: Vec<String> = tokens.iter().take(NAMED).map(|token| format!("m{}", token.0)).collect();
    let more = tokens.len() - named.len();
    named.join(", ") + &(if more > 0 { format!(" and {more} more") } else { String::new() })
}
