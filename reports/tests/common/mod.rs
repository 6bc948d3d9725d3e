//! Rich synthetic results: everything that a page can show occurs in them.

use stanchion_reports::results::{
    Act, ActKind, Answer, Balance, Better, Broken, Card, CardLine, Comparison, Difference, Estimate, Failure,
    Kill, Kind, Lanes, Ledger, Limit, Measurement, Property, Queue, Results, Rogue, Run, State, Status,
    Trial,
};

const PROMISES: [(&str, &str, &str); 22] = [
    ("AL-1", "no_loss", "A confirmed message is delivered, kept or declared dead, never lost."),
    (
        "AL-2",
        "unacked_not_forgotten",
        "A message whose every attempt failed comes back or becomes a dead letter.",
    ),
    ("AL-3", "no_phantom", "Nothing is delivered that was not sent before."),
    ("AL-5", "payload_integrity", "What is delivered is, byte for byte, what was sent."),
    ("AL-6", "no_resurrection", "An acked message never comes back."),
    (
        "AL-7",
        "no_unlicensed_redelivery",
        "A message is delivered again only after something that permits it.",
    ),
    ("DL-1", "threshold_exact", "A message dies of its attempts at exactly the declared number of them."),
    ("DL-3", "not_beyond_threshold", "A message is not delivered more often than its limit allows."),
    (
        "DL-7",
        "dead_letter_fidelity",
        "A dead letter keeps its id, key and body, and says why it died and after how many attempts.",
    ),
    ("LV-1", "exclusive", "Two consumers never hold the same message at the same time."),
    ("LV-2", "stale_receipt_inert", "A stale receipt changes nothing."),
    ("LV-4", "no_early_expiry", "A lease is not cut short."),
    ("OR-1", "fifo", "First deliveries come in the order of the sends."),
    ("OR-2", "producer_order", "Each consumer sees each producer's messages in the order they were sent."),
    ("CB-1", "bound", "The queue never holds more than its capacity."),
    ("CB-2", "no_false_full", "An answer \"full\" was true at some instant of the call."),
    ("IC-1", "effect_at_most_once", "However often a message comes, its effect happens once."),
    ("IC-3", "record_effect_atomic", "The effect and the record of it are there together or not at all."),
    ("DU-1", "confirmed_survives", "A confirmed send survives every crash it was promised to survive."),
    ("DU-3", "ack_survives", "An ack survives every crash it was promised to survive."),
    ("LI-1", "drains_after_heal", "When faults end, everything is delivered in bounded time."),
    ("ME-3", "drop_once", "Every item is dropped exactly once."),
];

const TIMELINE: &str = "\
        producer            broker              consumer 1          consumer 2
   1    send m1 ----------> confirmed
   2    send m2 ----------> confirmed
   3                        m1 -------------->  receive m1 #1
   4                        m2 ------------------------------------> receive m2 #1
   5                        <- - - - - - - - -  nack m1
  ===== CRASH (power) ================================================================
  ===== recover ======================================================================
   6                        m1 -------------->  receive m1 #2
   7                        empty <--------------------------------- receive      (!) m2 is missing";

/// The results of a check and of a duel on an imagined machine.
#[expect(unreachable_pub, reason = "shared by tests and the example")]
pub fn results() -> Results {
    let mut results = Results::of(Run {
        profile: "quick".into(),
        seed: Some("5e1f00d5".into()),
        duration_ns: 74_300_000_000,
        command: "conformance".into(),
        ..Run::capture("conformance")
    });
    results.runs.push(Run {
        profile: "standard".into(),
        seed: Some("a11ce".into()),
        duration_ns: 402_000_000_000,
        command: "duel --rounds 24".into(),
        limits: vec![
            Limit { name: "cache line there and back (near)".into(), value: 61.0, unit: "ns".into() },
            Limit { name: "copying memory".into(), value: 9.6e9, unit: "B/s".into() },
        ],
        ..Run::capture("duel")
    });
    queues(&mut results);
    results.cards.push(card());
    properties(&mut results);
    failures(&mut results);
    costs(&mut results);
    rogues(&mut results);
    results
}

fn card() -> Card {
    let lines = [
        ("deliveries, each nacked", "3", "4", Difference::Over),
        ("a second ack", "may be answered \"done\"", "is refused as stale", Difference::Under),
        ("redriven messages go", "anywhere", "to the end", Difference::Open),
        ("a delay survives", "a power failure", "no message survives a crash", Difference::Unlearned),
        ("a lease is over", "at its deadline", "at its deadline", Difference::Same),
    ];
    let line = |(aspect, declared, learned, difference): (&str, &str, &str, Difference)| CardLine {
        aspect: aspect.into(),
        declared: declared.into(),
        learned: learned.into(),
        difference,
    };
    Card { queue: "file".into(), lines: lines.map(line).into() }
}

fn queues(results: &mut Results) {
    let buffers = [
        ("ring", "FIFO", "lock-free, except when a thread stops between claim and publish"),
        ("mutex_deque", "FIFO", "blocking: one lock"),
        ("tokio_channel", "FIFO", "one consumer; through its try_ ends"),
        ("crossbeam_array", "FIFO", "lock-free in practice, as its authors say"),
        ("crossbeam_seg", "FIFO", "lock-free in practice, as its authors say"),
        ("std_mpsc", "FIFO", "one consumer"),
    ];
    for (name, order, progress) in buffers {
        results.queues.push(Queue {
            name: name.into(),
            kind: Kind::Buffer,
            class: "in memory".into(),
            contract: [
                ("producers", "many"),
                ("consumers", if name == "tokio_channel" { "one" } else { "many" }),
                ("order", order),
                ("bounded", "yes"),
                ("\"full\"", "exact"),
                ("progress", progress),
            ]
            .map(|(label, value)| (label.into(), value.into()))
            .into(),
            note: String::new(),
        });
    }
    let brokers = [
        ("leased ring", "in memory", "nothing"),
        ("leased mutex_deque", "in memory", "nothing"),
        ("file", "survives power loss", "power failure"),
        ("sqlite", "survives power loss", "power failure"),
    ];
    for (name, class, survives) in brokers {
        results.queues.push(Queue {
            name: name.into(),
            kind: Kind::Broker,
            class: class.into(),
            contract: [
                ("a confirmed send survives", survives),
                ("an ack survives", survives),
                ("order", "FIFO"),
                ("capacity", "1024"),
                ("deliveries allowed", "5"),
                ("attempts counted", "at hand-over"),
                ("leases end with the session", "yes"),
                ("a returned message goes", "where it stood"),
            ]
            .map(|(label, value)| (label.into(), value.into()))
            .into(),
            note: if name == "file" { "syncs each batch of sends".into() } else { String::new() },
        });
    }
    results.queues.push(Queue {
        name: "transactional".into(),
        kind: Kind::Consumer,
        contract: vec![("effect and record".into(), "one transaction".into())],
        ..Queue::default()
    });
}

fn properties(results: &mut Results) {
    for queue in results.queues.clone() {
        for (i, (id, name, sentence)) in PROMISES.iter().enumerate() {
            let concerned = match queue.kind {
                Kind::Buffer => id.starts_with("OR") || id.starts_with("CB") || id.starts_with("ME"),
                Kind::Broker => !id.starts_with("IC") && !id.starts_with("ME"),
                Kind::Consumer => id.starts_with("IC"),
            };
            if !concerned {
                continue;
            }
            let durable = queue.class == "survives power loss";
            let status = match (queue.name.as_str(), *id) {
                ("sqlite", "DL-1") | ("leased mutex_deque", "LV-4") => Status::Vacuous,
                ("leased mutex_deque", "AL-7") | ("file", "DU-1") => Status::Broken,
                ("sqlite", "LI-1") => Status::Unknown,
                (_, "DU-1" | "DU-3") if !durable => Status::NotClaimed,
                _ => Status::Holds,
            };
            let held = matches!(status, Status::Holds | Status::Broken);
            results.properties.push(Property {
                queue: queue.name.clone(),
                invariant: (*id).into(),
                name: (*name).into(),
                sentence: (*sentence).into(),
                status,
                cases: if status == Status::NotClaimed { 0 } else { 256 },
                events: if status == Status::NotClaimed { 0 } else { 12_000 + 731 * i as u64 },
                instances: if held { 310 + 17 * i as u64 } else { 0 },
                engine: "sequential".into(),
                reason: (status == Status::Unknown)
                    .then(|| "the budget ran out after 40 of 256 cases".into()),
                failure: (status == Status::Broken).then(|| format!("{}.{id}", queue.name)),
            });
        }
    }
}

fn failures(results: &mut Results) {
    results.failures.push(Failure {
        id: "file.DU-1".into(),
        queue: "file".into(),
        invariant: "DU-1".into(),
        title: "Confirmed message m2 is missing after the crash.".into(),
        missing_licence: Some("no ack, no reject and no expiry of m2; the contract promises that sends survive a power failure".into()),
        engine: "sequential".into(),
        seed: Some("5e1f00d5".into()),
        steps_before: 212,
        steps_after: 7,
        timeline: TIMELINE.into(),
        lanes: Some(missing_after_the_crash()),
        plan: serde_json::json!({"version": 1, "steps": [{"send": 1}, {"send": 2}, {"receive": {"session": 1}}, {"crash": "power"}]}),
        replay: "STANCHION_SEED=5e1f00d5 cargo test --test conformance -- file::confirmed_survives".into(),
    });
    results.failures.push(Failure {
        id: "leased mutex_deque.AL-7".into(),
        queue: "leased mutex_deque".into(),
        invariant: "AL-7".into(),
        title: "Message m1 is delivered to consumer 2 while consumer 1 still holds it.".into(),
        missing_licence: Some("no nack, no expiry and no lost session between the two deliveries".into()),
        engine: "threads".into(),
        seed: Some("77".into()),
        steps_before: 96,
        steps_after: 3,
        timeline: "consumer 1  |--- lease of m1 ------------------------|\nconsumer 2              |--- lease of m1 (!) ---|".into(),
        lanes: None,
        plan: serde_json::Value::Null,
        replay: "cargo test --test conformance -- 'leased mutex_deque::no_unlicensed_redelivery'".into(),
    });
}

fn missing_after_the_crash() -> Lanes {
    let act = |lane: usize, call: u64, ret: Option<u64>, lines: &[&str], culprits: &[usize]| Act {
        lane: Some(lane),
        call,
        ret,
        time: "0ns".into(),
        lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        in_doubt: ret.is_none(),
        culprits: culprits.into(),
        ..Act::default()
    };
    let band = |kind, call: u64, words: &str| Act {
        call,
        ret: Some(call + 1),
        lines: vec![words.into()],
        kind,
        ..Act::default()
    };
    Lanes {
        names: ["session 1", "session 2", "drain"].map(String::from).into(),
        acts: vec![
            act(0, 0, Some(1), &["send m1 ok", "send m2 ok"], &[1]),
            act(1, 2, Some(5), &["receive m1 = r1 #1 +10s", "receive m2 = r2 #1 +10s"], &[2]),
            act(0, 3, Some(4), &["send m3 full"], &[]),
            act(1, 6, None, &["ack r1 ?"], &[]),
            Act { culprits: vec![3], ..band(ActKind::Fault, 8, "the power fails") },
            band(ActKind::Fault, 10, "the broker starts again"),
            band(ActKind::Hidden, 12, "4 other events"),
            band(ActKind::Time, 14, "20s pass"),
            act(2, 16, Some(17), &["receive: nothing"], &[4]),
        ],
        culprits: [
            "Session 1 sent m2 and was told it is stored. (event 3)",
            "Session 2 received m2 (id 1) as r2: attempt 1, leased until 10s. (event 6)",
            "The power failed. (event 9)",
            "The drain asked for 16 and was told there is nothing. (event 15)",
        ]
        .map(String::from)
        .into(),
        balance: vec![
            balance("m1", "confirmed", "delivered, dead, or there", "delivered once, never acked", false),
            balance("m2", "confirmed", "delivered, dead, or there", "nowhere: nothing more came", true),
        ],
        notes: vec![(
            "Ledger".into(),
            "confirmed 2, refused 1, in doubt 0, delivered 2 (0 again), acked 0".into(),
        )],
    }
}

fn balance(message: &str, said: &str, ought: &str, was: &str, differs: bool) -> Balance {
    let [message, said, ought, was] = [message, said, ought, was].map(String::from);
    Balance { message, said, ought, was, differs }
}

/// Noise that is the same in every run: a number from -1 to 1.
fn wobble(n: u64) -> f64 {
    let mixed =
        (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

fn measurement(workload: &str, item: &str, queue: &str, middle: f64, spread: f64) -> Measurement {
    let seed = (workload.len() * 31 + item.len() * 7 + queue.len()) as u64;
    let trials: Vec<Trial> = (0..24u32)
        .map(|round| Trial {
            round,
            order: (round + seed as u32) % 4,
            value: middle * (1.0 + spread * 3.0 * wobble(seed * 1000 + u64::from(round))),
        })
        .collect();
    let messages = 24 * 200_000;
    Measurement {
        workload: workload.into(),
        parameters: vec![("item".into(), item.into())],
        queue: queue.into(),
        unit: "items/s".into(),
        better: Better::Higher,
        trials,
        estimate: Some(Estimate {
            median: middle,
            lo: middle * (1.0 - spread),
            hi: middle * (1.0 + spread),
            level: 0.99,
        }),
        ledger: Some(Ledger {
            confirmed: messages,
            delivered: messages,
            acked: messages,
            ..Ledger::default()
        }),
        ..Measurement::default()
    }
}

fn costs(results: &mut Results) {
    let speeds = [
        ("spsc", "8 B", [61e6, 18e6, 24e6, 48e6]),
        ("mpmc", "8 B", [22e6, 9e6, 0.0, 20.9e6]),
        ("mpmc", "256 B", [9.1e6, 6.2e6, 0.0, 9.3e6]),
    ];
    for (workload, item, medians) in speeds {
        for (queue, median) in
            ["ring", "mutex_deque", "tokio_channel", "crossbeam_array"].into_iter().zip(medians)
        {
            let mut m = measurement(workload, item, queue, median, 0.05 + 0.02 * wobble(median as u64).abs());
            if median == 0.0 {
                m = Measurement {
                    trials: Vec::new(),
                    estimate: None,
                    ledger: None,
                    state: State::Skipped,
                    reason: Some("takes one consumer".into()),
                    ..m
                };
            } else {
                let ratio = median / medians[0];
                let noise = 0.02 + 0.03 * wobble(ratio.to_bits()).abs();
                let (lo, hi) = (ratio * (1.0 - noise), ratio * (1.0 + noise));
                results.comparisons.push(Comparison {
                    workload: workload.into(),
                    parameters: vec![("item".into(), item.into())],
                    a: "ring".into(),
                    b: queue.into(),
                    control: queue == "ring",
                    ratio: Some(ratio),
                    lo: Some(lo),
                    hi: Some(hi),
                    level: 0.99,
                    zone: 0.05,
                    smallest_visible: Some(noise + 0.05),
                    rounds: 24,
                    verdict: match () {
                        () if lo > 1.05 => Answer::Faster,
                        () if hi < 0.95 => Answer::Slower,
                        () if lo > 0.95 && hi < 1.05 => Answer::Equivalent,
                        () => Answer::TooNoisy,
                    },
                    reason: None,
                });
            }
            results.measurements.push(m);
        }
    }
    let deliver =
        [("leased ring", 3.4e6), ("leased mutex_deque", 2.9e6), ("sqlite", 2_100.0), ("file", 6_400.0)];
    for (queue, median) in deliver {
        let mut m = measurement("deliver", "64 B", queue, median, 0.08);
        m.unit = "messages/s".into();
        if queue == "file" {
            m.state = State::Invalid;
            m.reason = Some("3 confirmed messages were lost".into());
            m.ledger = m.ledger.map(|ledger| Ledger { lost: 3, acked: ledger.acked - 3, ..ledger });
        }
        results.measurements.push(m);
    }
}

fn rogues(results: &mut Results) {
    let rogues = [
        ("M1", "The slot is published before it is written", "AL-5", "AL-5", "threads", 12, 4),
        ("M4", "The full check is off by one", "CB-1", "CB-1", "sequential", 1, 3),
        ("D1", "An expired lease is never returned", "AL-2", "AL-2", "sequential", 3, 3),
        ("D2", "The limit allows one delivery too many", "DL-1", "DL-3", "sequential", 2, 6),
        ("D9", "A stale receipt still acks", "LV-2", "LV-2", "sequential", 5, 5),
        ("P3", "The send is confirmed before its bytes are synced", "DU-1", "DU-1", "child process", 1, 2),
        ("P7", "A torn tail is read as a record", "DU-4", "", "crash images", 0, 0),
    ];
    for (bug, what, expected, by, engine, cases, shrunk) in rogues {
        results.rogues.push(Rogue {
            bug: bug.into(),
            what: what.into(),
            expected: expected.into(),
            caught_by: (!by.is_empty()).then(|| by.to_owned()).into_iter().collect(),
            caught: expected == by,
            cases: (cases > 0).then_some(cases),
            shrunk: (shrunk > 0).then_some(shrunk),
            engine: engine.into(),
            reached: (cases > 0).then_some(cases),
            triggered: None,
        });
        results.kills.push(Kill {
            bug: bug.into(),
            what: what.into(),
            expected: expected.into(),
            engine: engine.into(),
            caught: if expected == by { 10 } else { cases % 10 },
            seeds: 10,
            cases: (cases > 0).then_some(cases),
            seconds: (cases > 0).then_some(0.25),
            slowest: (cases > 0).then_some(16.5),
            broken: (!by.is_empty())
                .then(|| Broken { invariant: by.into(), engine: engine.into(), seeds: 10 })
                .into_iter()
                .collect(),
        });
    }
}
