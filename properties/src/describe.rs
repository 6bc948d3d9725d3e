//! A contract in words, for people.

use stanchion_queues::{
    Answer, Attempt, Batches, BufferContract, Contract, Count, DeadLettering, Death, Durability, Order,
    Requeue, Retries, Sides,
};

type Words = Vec<(String, String)>;

fn words<const N: usize>(pairs: [(&str, String); N]) -> Words {
    pairs.map(|(label, value)| (label.to_owned(), value)).into()
}

/// What a buffer promises.
pub(crate) fn buffer(contract: &BufferContract) -> Words {
    let BufferContract { producers, consumers, order: promised, bounded, full, empty, counters: _, progress } =
        contract;
    let side = |sides: &Sides| match sides {
        Sides::One => "one",
        Sides::Many => "many",
    };
    words([
        ("ends", format!("{} to {}", side(producers), side(consumers))),
        ("order", order(*promised).into()),
        ("capacity", if *bounded { "as asked" } else { "unbounded" }.into()),
        ("\"full\"", if *bounded { answer(*full) } else { "never said" }.into()),
        ("\"empty\"", answer(*empty).into()),
        ("progress", (*progress).into()),
        ("survives", "nothing: it dies with the process".into()),
    ])
}

/// What a queue's numbers may be compared with: those of queues that survive the same.
pub(crate) fn class(contract: &Contract) -> &'static str {
    match contract.sends {
        Durability::None => "in memory",
        Durability::Process => "survives a kill",
        Durability::Power => "survives power loss",
    }
}

/// What a broker promises.
pub(crate) fn broker(contract: &Contract) -> Words {
    let Contract {
        sends,
        acks,
        counts,
        delays,
        synced_every,
        damage_noticed,
        sole_owner,
        order: promised,
        capacity,
        body_limit,
        full,
        empty,
        leases,
        stale_refused,
        retries,
        batches,
        deliveries_allowed,
        counting,
        attempt,
        death,
        dead_lettering,
        redrive_resets,
        redriven,
        requeue,
    } = contract;
    let counted: Vec<String> = [
        ("a nack", counting.nack),
        ("an expired lease", counting.expiry),
        ("a lost session", counting.session_loss),
        ("a crash", counting.crash),
    ]
    .into_iter()
    .filter_map(|(what, count)| match count {
        Count::Yes => Some(what.to_owned()),
        Count::Maybe => Some(format!("perhaps {what}")),
        Count::No => None,
    })
    .collect();
    let mut said = words([
        ("delivery", "at least once".into()),
        ("a confirmed send survives", survives(*sends).into()),
        ("an ack survives", survives(*acks).into()),
        ("attempt counts survive", survives(*counts).into()),
        ("delays survive", survives(*delays).into()),
        (
            "damage to what is stored",
            if *damage_noticed { "is noticed" } else { "may pass unnoticed" }.into(),
        ),
        ("a second process", if *sole_owner { "is refused" } else { "may open it, or not" }.into()),
        ("order of first deliveries", order(*promised).into()),
        ("messages that come back go", place(*requeue).into()),
        ("redriven messages go", place(*redriven).into()),
        (
            "a message that is sent again",
            match retries {
                Retries::Stored => "may be stored again".into(),
                Retries::Deduplicated => "is stored once".into(),
            },
        ),
        (
            "a batch that does not fit",
            match batches {
                Batches::Items => "is stored as far as it fits".into(),
                Batches::Whole => "is refused as a whole".into(),
            },
        ),
        ("capacity", capacity.map_or("unbounded".into(), |most| format!("as asked ({most} by default)"))),
        ("\"full\"", if capacity.is_some() { answer(*full) } else { "never said" }.into()),
        ("\"empty\"", answer(*empty).into()),
        ("a lost session's leases", if leases.end_with_session { "end at once" } else { "run out" }.into()),
        ("leases after a crash", if leases.end_with_crash { "ended" } else { "kept" }.into()),
        ("a stale receipt", if *stale_refused { "is refused" } else { "is ignored" }.into()),
        (
            "deliveries allowed",
            match deliveries_allowed {
                Some(most) => format!("as asked ({most} by default), counting {}", counted.join(", ")),
                None => "any number".into(),
            },
        ),
        (
            "the attempt of a delivery",
            match attempt {
                Attempt::Counted => "is one more than were counted".into(),
                Attempt::Ordinal => "is its ordinal".into(),
            },
        ),
        (
            "a message out of attempts dies",
            match death {
                Death::AtOnce => "at once".into(),
                Death::NextReceive => "when a receive comes upon it".into(),
            },
        ),
        (
            "a dead message",
            match dead_lettering {
                DeadLettering::Atomic => "becomes a dead letter in one step".into(),
                DeadLettering::Dropped => "is dropped".into(),
            },
        ),
        ("redrive", if *redrive_resets { "starts the count again" } else { "keeps the count" }.into()),
    ]);
    said.extend(
        synced_every.map(|every| ("what is confirmed is synced".to_owned(), format!("within {every:?}"))),
    );
    said.extend(body_limit.map(|limit| ("largest body".to_owned(), format!("{} bytes", limit.0))));
    said
}

fn order(order: Order) -> &'static str {
    match order {
        Order::Unordered => "any",
        Order::PerProducer => "each producer's, per consumer",
        Order::Fifo => "FIFO in real time",
    }
}

pub(crate) fn place(requeue: Requeue) -> &'static str {
    match requeue {
        Requeue::Original => "back to their place",
        Requeue::Tail => "to the end",
        Requeue::Unspecified => "anywhere",
    }
}

fn answer(answer: Answer) -> &'static str {
    match answer {
        Answer::Exact => "always true",
        Answer::Relaxed => "may be untrue while another operation is unfinished",
        Answer::Unreliable => "may be untrue at any time, not for ever",
    }
}

pub(crate) fn survives(durability: Durability) -> &'static str {
    match durability {
        Durability::None => "no crash",
        Durability::Process => "the death of the process",
        Durability::Power => "a power failure",
    }
}
