//! What ought to have become of the messages that a counterexample is about, by what the queue said of them, beside what did. It
//! tells, and judges nothing: whether a difference is permitted is the checkers' question.

use std::collections::BTreeSet;

use stanchion_queues::Settle;
use stanchion_reports::results::Balance;

use crate::history::{Handle, History, Outcome, SendOutcome, Token, What};

/// More messages than this are not read one by one.
pub(crate) const MOST: usize = 4;

/// A line for each of these messages. None for one that was never sent.
pub(crate) fn of(history: &History, tokens: &BTreeSet<Token>) -> Vec<Balance> {
    if tokens.len() > MOST {
        return Vec::new();
    }
    tokens.iter().filter_map(|token| line(history, *token)).collect()
}

fn line(history: &History, of: Token) -> Option<Balance> {
    let (mut sends, mut confirmed, mut refused) = (0, 0, 0);
    // The receipts it was delivered under, and when it was first acked.
    let (mut handles, mut acked): (Vec<Handle>, Option<u64>) = (Vec::new(), None);
    let (mut deliveries, mut after_ack, mut dead, mut rests) = (0, 0, false, false);
    for event in &history.events {
        match &event.what {
            What::Send { token, outcome, .. } if *token == of => {
                sends += 1;
                confirmed += u32::from(matches!(outcome, SendOutcome::Confirmed(_)));
                refused += u32::from(matches!(outcome, SendOutcome::Refused(_)));
            }
            What::Deliver { token: Some(token), handle, .. } if *token == of => {
                deliveries += 1;
                after_ack += u32::from(acked.is_some_and(|acked| acked < event.call));
                dead = false;
                handles.push(*handle);
            }
            What::Settle { handle, how, outcome: Outcome::Done } if handles.contains(handle) => match how {
                Settle::Ack => acked = acked.or(Some(event.ret)),
                Settle::Reject => dead = true,
                Settle::Nack { .. } => {}
            },
            What::Browse { letters: Some(letters), .. } => {
                dead |= letters.iter().any(|letter| letter.token == Some(of));
            }
            What::DrainEnded { quiet } => rests = *quiet,
            _ => {}
        }
    }
    let (said, ought) = match (sends, acked) {
        (0, _) => return None,
        (_, Some(_)) => ("acked", "gone"),
        _ if confirmed > 0 => ("confirmed", "delivered, dead, or there"),
        _ if refused == sends => ("refused", "nowhere"),
        _ => ("nothing for certain", "there or not"),
    };
    let times = |many: u32| if many == 1 { "once".to_owned() } else { format!("{many} times") };
    let was = match (acked, deliveries) {
        (Some(_), _) if after_ack > 0 => format!("delivered {} after the ack", times(after_ack)),
        (Some(_), _) => "not seen again".into(),
        _ if dead => "a dead letter".into(),
        (None, 0) if rests => "nowhere: nothing more came".into(),
        (None, 0) => "not seen".into(),
        (None, many) => format!("delivered {}, never acked", times(many)),
    };
    // Of several sends of one message each may have stored it.
    let differs = sends == 1
        && match ought {
            "gone" => after_ack > 0,
            "nowhere" => deliveries > 0,
            "there or not" => false,
            _ => deliveries == 0 && !dead && rests,
        };
    Some(Balance { message: format!("m{}", of.0), said: said.into(), ought: ought.into(), was, differs })
}

#[cfg(test)]
mod tests {
    use stanchion_queues::{Contract, Reason};

    use super::*;
    use crate::checkers::scripted::Script;

    /// What was said of the first message, what it was, and whether that differs.
    fn balance(script: &Script) -> (String, String, bool) {
        let Balance { said, was, differs, .. } =
            of(&script.history(), &BTreeSet::from([Token(1)])).pop().expect("it was sent");
        (said, was, differs)
    }

    fn told(said: &str, was: &str, differs: bool) -> (String, String, bool) {
        (said.into(), was.into(), differs)
    }

    #[test]
    fn what_ought_to_be_and_what_is_stand_side_by_side() {
        let new = || Script::new(Contract::in_memory());
        let mut script = new();
        script.send(1, 1);
        assert_eq!(balance(&script), told("confirmed", "not seen", false));
        let mut lost = script.clone();
        assert_eq!(balance(lost.drain()), told("confirmed", "nowhere: nothing more came", true));
        script.receive(1, &[(1, 1, 1)]);
        assert_eq!(balance(&script), told("confirmed", "delivered once, never acked", false));
        let mut rejected = script.clone();
        assert_eq!(balance(rejected.reject(1, 1)), told("confirmed", "a dead letter", false));
        let mut dead = script.clone();
        assert_eq!(
            balance(dead.browse(1, &[(1, Reason::Attempts, 1)])),
            told("confirmed", "a dead letter", false)
        );
        script.ack(1, 1);
        assert_eq!(balance(&script), told("acked", "not seen again", false));
        script.receive(1, &[(1, 2, 2)]);
        assert_eq!(balance(&script), told("acked", "delivered once after the ack", true));

        let mut refused = new();
        refused.send_full(1, 1);
        assert_eq!(balance(&refused), told("refused", "not seen", false));
        refused.receive(1, &[(1, 1, 1)]);
        assert_eq!(balance(&refused), told("refused", "delivered once, never acked", true));
        let mut doubt = new();
        doubt.send_in_doubt(1, 1).drain();
        assert_eq!(balance(&doubt), told("nothing for certain", "nowhere: nothing more came", false));
    }

    #[test]
    fn of_a_message_that_was_sent_twice_nothing_is_said_to_differ() {
        let mut script = Script::new(Contract::in_memory());
        script.send(1, 1).send(1, 1).receive(1, &[(1, 1, 1)]).ack(1, 1).receive(1, &[(1, 2, 1)]);
        assert_eq!(balance(&script), told("acked", "delivered once after the ack", false));
        assert!(of(&script.history(), &BTreeSet::from([Token(7)])).is_empty(), "nobody sent it");
        assert!(of(&script.history(), &(1..=5).map(Token).collect()).is_empty(), "they are too many");
    }
}
