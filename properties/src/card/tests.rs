use stanchion_queues::buffers::{MutexDeque, Ring};
use stanchion_queues::file::SimHost;
use stanchion_queues::{
    Answer, Attempt, Batches, Contract, Count, Counting, DeadLettering, Death, Durability, Leased, Leases,
    Order, Requeue, Retries, Volatile,
};

use super::*;
use crate::rogues::delivery::{Bug, RogueHost};

fn ring(settings: &Settings) -> impl Host + use<> {
    let settings = settings.clone();
    Volatile::new(move || Leased::<Ring>::open(&settings))
}

fn deque(settings: &Settings) -> impl Host + use<> {
    let settings = settings.clone();
    Volatile::new(move || Leased::<MutexDeque>::open(&settings))
}

fn different(card: &Card) -> Vec<(&'static str, Difference)> {
    let lines = card.lines.iter().map(|line| (line.aspect, line.difference));
    lines.filter(|(_, difference)| *difference != Difference::Same).collect()
}

#[test]
fn what_is_declared_in_memory_is_learned() {
    let unlearned = [
        "an ack survives",
        "attempt counts survive",
        "a delay survives",
        "leases after a crash",
        "deliveries, each ended by a crash",
        "deliveries above a limit that was lowered",
        "the same after a crash",
    ];
    for card in [learn(ring).expect("it starts"), learn(deque).expect("it starts")] {
        let learned: Vec<_> = different(&card)
            .into_iter()
            .filter(|(aspect, difference)| {
                *difference != Difference::Unlearned || !unlearned.contains(aspect)
            })
            .collect();
        // `Leased` does not promise where redriven messages go.
        assert_eq!(learned, [("redriven messages go", Difference::Open)], "{card}");
    }
}

#[test]
fn what_is_declared_on_disk_is_learned() {
    let card = learn(SimHost::new).expect("it starts");
    let open = ["redriven messages go", "deliveries, each ended by a crash"];
    assert_eq!(different(&card), open.map(|aspect| (aspect, Difference::Open)), "{card}");
}

/// A change of the contract, the question that it concerns, and what the answer is then.
type Relabelled = (fn(&mut Contract), &'static str, Difference);

/// Of the queue on the simulated disk.
const WRONG: &[Relabelled] = &[
    (|c| c.sends = Durability::Process, "a confirmed send survives", Difference::Under),
    (|c| c.acks = Durability::None, "an ack survives", Difference::Under),
    (|c| c.counts = Durability::Process, "attempt counts survive", Difference::Under),
    (|c| c.delays = Durability::None, "a delay survives", Difference::Under),
    (|c| c.capacity = Some(9), "capacity, asked for 8", Difference::Over),
    (|c| c.capacity = None, "capacity, asked for 8", Difference::Over),
    (|c| c.batches = Batches::Whole, "a batch that does not fit", Difference::Over),
    (|c| c.retries = Retries::Deduplicated, "a message that is sent again", Difference::Over),
    (|c| c.retries = Retries::Deduplicated, "the same after its ack", Difference::Over),
    (|c| c.retries = Retries::Deduplicated, "the same after an hour", Difference::Over),
    (|c| c.retries = Retries::Deduplicated, "the same after a crash", Difference::Over),
    (|c| c.empty = Answer::Unreliable, "a receive beside what is held", Difference::Unlearned),
    (|c| c.order = Order::Unordered, "the order of one producer", Difference::Open),
    (|c| c.requeue = Requeue::Tail, "a nacked message goes", Difference::Over),
    (|c| c.requeue = Requeue::Tail, "a message whose lease ran out goes", Difference::Over),
    (|c| c.requeue = Requeue::Tail, "a lost session's messages go", Difference::Over),
    (|c| c.redriven = Requeue::Tail, "redriven messages go", Difference::Over),
    (
        |c| c.leases = Leases { end_with_session: false, ..c.leases },
        "a lost session's leases",
        Difference::Over,
    ),
    (|c| c.leases = Leases { end_with_crash: false, ..c.leases }, "leases after a crash", Difference::Over),
    (|c| c.stale_refused = false, "an ack after the deadline", Difference::Under),
    (|c| c.stale_refused = false, "a second ack", Difference::Under),
    (|c| c.deliveries_allowed = Some(2), "deliveries, each nacked", Difference::Over),
    (|c| c.deliveries_allowed = Some(4), "deliveries, each lease running out", Difference::Over),
    (|c| c.deliveries_allowed = Some(u32::MAX), "deliveries, each nacked", Difference::Unlearned),
    (|c| c.deliveries_allowed = Some(33), "a message out of attempts", Difference::Unlearned),
    (|c| c.deliveries_allowed = None, "deliveries, each session lost", Difference::Over),
    (
        |c| c.counting = Counting { nack: Count::No, ..c.counting },
        "deliveries, each nacked",
        Difference::Over,
    ),
    (|c| c.deliveries_allowed = None, "deliveries above a limit that was lowered", Difference::Unlearned),
    (|c| c.death = Death::NextReceive, "a message out of attempts leaves", Difference::Under),
    (|c| c.dead_lettering = DeadLettering::Dropped, "a message out of attempts", Difference::Under),
    (|c| c.dead_lettering = DeadLettering::Dropped, "a rejected message", Difference::Under),
    (|c| c.redrive_resets = false, "after a redrive, attempts", Difference::Over),
    (|c| c.attempt = Attempt::Ordinal, "the attempt of a delivery says", Difference::Same),
];

#[test]
fn a_contract_that_is_wrong_in_either_direction_is_named() {
    for (number, (relabel, aspect, expected)) in WRONG.iter().enumerate() {
        let card = learn_by(&|plan| {
            sequential::run(SimHost::new, plan).map(|mut history| {
                relabel(&mut history.contract);
                history
            })
        });
        let card = card.expect("it starts");
        let line = card.lines.iter().find(|line| line.aspect == *aspect).expect("it is asked");
        assert_eq!(line.difference, *expected, "change {number}: {line:?}");
    }
}

#[test]
fn an_unkept_claim_is_said_in_a_sentence() {
    let broken =
        |bug| learn(|settings: &Settings| RogueHost::new(bug, settings)).expect("it starts").broken();
    assert_eq!(
        broken(Bug::D01)[0],
        "deliveries, each nacked: declared \"3\", observed \"4\"",
        "one delivery too many"
    );
    assert!(broken(Bug::D36).iter().any(|sentence| sentence.contains("above a limit that was lowered")));
    assert!(broken(Bug::D02).iter().any(|sentence| sentence.contains("observed \"2\"")));
    let right = [false, true].map(|durable| {
        learn(|settings: &Settings| RogueHost::correct(durable, settings)).expect("it starts").broken()
    });
    assert_eq!(right, [Vec::<String>::new(), Vec::new()]);
}

/// How many seeded bugs a card alone shows: few probes, no luck.
#[test]
fn most_simple_bugs_show_on_the_card() {
    let shown = Bug::ALL.iter().filter(|bug| {
        learn(|settings: &Settings| RogueHost::new(**bug, settings))
            .is_ok_and(|card| !card.broken().is_empty())
    });
    let shown: Vec<&str> = shown.map(|bug| bug.id()).collect();
    println!("{} of {}: {shown:?}", shown.len(), Bug::ALL.len());
    assert!(shown.len() >= 20, "{shown:?}");
}
