//! A contract in words, for people.

use stanchion_queues::{
    Answer, BufferContract, Contract, Count, DeadLettering, Durability, Order, Requeue, Sides,
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
        order: promised,
        capacity,
        body_limit,
        full,
        empty,
        leases,
        stale_refused,
        deliveries_allowed,
        counting,
        dead_lettering,
        redrive_resets,
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
        ("order of first deliveries", order(*promised).into()),
        (
            "returned messages go",
            match requeue {
                Requeue::Original => "back to their place".into(),
                Requeue::Tail => "to the end".into(),
                Requeue::Unspecified => "anywhere".into(),
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
            "a dead message",
            match dead_lettering {
                DeadLettering::Atomic => "becomes a dead letter in one step".into(),
                DeadLettering::Dropped => "is dropped".into(),
            },
        ),
        ("redrive", if *redrive_resets { "starts the count again" } else { "keeps the count" }.into()),
    ]);
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

fn answer(answer: Answer) -> &'static str {
    match answer {
        Answer::Exact => "always true",
        Answer::Relaxed => "may be untrue while another operation is unfinished",
    }
}

fn survives(durability: Durability) -> &'static str {
    match durability {
        Durability::None => "no crash",
        Durability::Process => "the death of the process",
        Durability::Power => "a power failure",
    }
}
