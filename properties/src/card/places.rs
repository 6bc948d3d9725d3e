//! In which order messages come, and where those stand that come back.

use stanchion_queues::{Answer, Contract, Count, DeadLettering, Order, Requeue};

use super::lab::{AFTER, LEASE, LONG, Lab, NACK, advance, receive, redrive, same, send, settle};
use super::{Difference, Learned, Probe};
use crate::describe::place;
use crate::history::Token;
use crate::plan::{How, Step};

pub(super) const PROBES: &[Probe] = &[
    Probe("the order of one producer", order, in_order),
    Probe("a receive beside what is held", |c| beside(c.empty).into(), beside_held),
    Probe("a nacked message goes", |c| place(c.requeue).into(), nacked),
    Probe("a message whose lease ran out goes", |c| place(c.requeue).into(), expired),
    Probe("a lost session's messages go", |c| place(c.requeue).into(), lost),
    Probe("redriven messages go", |c| place(c.redriven).into(), redriven),
];

fn order(contract: &Contract) -> String {
    if contract.order == Order::Unordered { "any" } else { "as sent" }.into()
}

fn in_order(lab: &Lab<'_>) -> Learned {
    let mut steps = vec![send(2), send(1), send(2)];
    steps.extend(one_by_one(0, 5));
    let came = lab.run(steps)?.took_all()?.last_receives(5);
    if came.len() < 5 {
        return Err(format!("{} of 5 messages came", came.len()));
    }
    let as_sent = came.is_sorted();
    let words = if as_sent { "as sent" } else { "another" };
    Ok((words.into(), if lab.contract.order == Order::Unordered { Difference::Open } else { same(as_sent) }))
}

fn beside(empty: Answer) -> &'static str {
    if empty == Answer::Unreliable { "may find nothing" } else { "finds what is ready" }
}

/// As many messages are held as are ready, and each receive is of another session.
fn beside_held(lab: &Lab<'_>) -> Learned {
    for held in 1..=4 {
        let steps = [send(2 * held)].into_iter().chain(one_by_one(0, held)).chain(one_by_one(1, held));
        let came = lab.run(steps.collect())?.took_all()?.last_receives(held).len();
        if came < held {
            return Ok((format!("found {came} of {held} beside {held} held"), Difference::Over));
        }
    }
    Ok((beside(Answer::Exact).into(), Difference::Same))
}

/// However few come at once.
fn one_by_one(session: usize, count: usize) -> impl Iterator<Item = Step> {
    std::iter::repeat_n(receive(session, 1, LONG), count)
}

/// Whether the two messages that came back were noticed to do so one after the other.
#[derive(PartialEq)]
enum Noticed {
    InOrder,
    Together,
}

/// Three messages were sent, and the first two came back, the first before the second.
fn where_they_stand(
    lab: &Lab<'_>,
    count: Count,
    noticed: Noticed,
    mut steps: Vec<Step>,
    declared: Requeue,
) -> Learned {
    lab.comes_back(count)?;
    if lab.contract.order == Order::Unordered {
        return Err("it promises no order".into());
    }
    steps.extend(one_by_one(2, 3));
    let came = lab.run(steps)?.took_all()?.last_receives(3);
    let learned = match came[..] {
        [Token(1), Token(2), Token(3)] => Some(Requeue::Original),
        [Token(3), Token(1), Token(2)] => Some(Requeue::Tail),
        [Token(3), ..] if noticed == Noticed::Together => Some(Requeue::Tail),
        [_, _, _] => None,
        _ => return Err(format!("{} of 3 messages came", came.len())),
    };
    let words = learned.map_or("elsewhere", place);
    let difference = match declared {
        Requeue::Unspecified => Difference::Open,
        declared => same(learned == Some(declared)),
    };
    Ok((words.into(), difference))
}

fn nacked(lab: &Lab<'_>) -> Learned {
    let steps = vec![send(3), receive(0, 1, LONG), receive(0, 1, LONG), settle(1, NACK), settle(0, NACK)];
    where_they_stand(lab, lab.contract.counting.nack, Noticed::InOrder, steps, lab.contract.requeue)
}

fn expired(lab: &Lab<'_>) -> Learned {
    let steps = vec![send(3), receive(0, 1, LEASE), advance(LEASE / 2), receive(0, 1, LEASE), advance(AFTER)];
    where_they_stand(lab, lab.contract.counting.expiry, Noticed::Together, steps, lab.contract.requeue)
}

fn lost(lab: &Lab<'_>) -> Learned {
    if !lab.contract.leases.end_with_session {
        return Err("leases outlive their session".into());
    }
    let steps = vec![
        send(3),
        receive(0, 1, LONG),
        receive(1, 1, LONG),
        Step::LoseSession { session: 0 },
        Step::LoseSession { session: 1 },
    ];
    where_they_stand(lab, lab.contract.counting.session_loss, Noticed::Together, steps, lab.contract.requeue)
}

fn redriven(lab: &Lab<'_>) -> Learned {
    if lab.contract.dead_lettering == DeadLettering::Dropped {
        return Err("there are no dead letters".into());
    }
    if !lab.contract.redrive_resets {
        return Err("a redriven message may be out of attempts".into());
    }
    let steps = vec![
        send(3),
        receive(0, 1, LONG),
        receive(0, 1, LONG),
        settle(1, How::Reject),
        settle(0, How::Reject),
        redrive(2),
    ];
    where_they_stand(lab, Count::No, Noticed::InOrder, steps, lab.contract.redriven)
}
