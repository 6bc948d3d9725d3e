//! The promises of the catalogue that nothing here checks by that name, and why.

use crate::invariant::Invariant;

/// A promise without a checker of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unchecked {
    /// As in "AL-9".
    pub id: &'static str,
    /// In one sentence.
    pub sentence: &'static str,
    /// Why, and what covers it if something does.
    pub why: &'static str,
}

const ONE_QUEUE: &str = "a broker here is one queue, so there is no other that it could disturb";
const CALLS_END: &str =
    "no call here waits for space or for an item: it answers \"full\" or \"empty\" at once";

macro_rules! unchecked {
    ($($id:literal $sentence:literal, $why:expr;)*) => {
        &[$(Unchecked { id: $id, sentence: $sentence, why: $why }),*]
    };
}

/// All of them, in the order of the catalogue.
pub const UNCHECKED: &[Unchecked] = unchecked! {
    "AL-9" "A confirmed message entered at least one queue.", "a broker here is one queue, so this is AL-1";
    "AL-12" "What one queue does never affects another.", ONE_QUEUE;
    "DL-9" "Without dead letters a message at its limit is kept, stopped or dropped as declared.",
        "every contract here has dead letters";
    "DL-10" "A message that always fails does not hold up others beyond what is declared.",
        "no contract says how long one may wait behind another; that it waits for ever is AL-2 and LI-1";
    "DL-14" "A message at its limit leaves the main queue when it is declared to.",
        "no contract says when; that it leaves at most one delivery late is DL-3, and the counts are AL-10";
    "LV-9" "Jumps of the wall clock neither end leases nor prolong them.",
        "queues are given their clock, and it does not jump";
    "LV-13" "A cumulative ack affects only what its session was given, up to the tag.", "acks here are single";
    "LV-14" "A consumer holds no more leases than its cap.", "no contract has a cap";
    "LV-15" "Leases that ended stop counting against the cap.", "no contract has a cap";
    "OR-3" "While a message of a group is held, no later one of the group is delivered.",
        "no contract blocks groups; the order of a key is that of its producer (OR-2)";
    "OR-5" "Sequence numbers are unique, rise with the sends and are never given twice.",
        "ids are compared and never ordered; one given twice makes two messages one (AL-1, AL-5, AL-8)";
    "OR-7" "The position of a reader of a log advances without a skip or a repeat.", "no queue here is a log";
    "OR-8" "Priorities or due times order deliveries as declared.", "no contract has priorities";
    "CB-4" "What is dropped on overflow is the oldest, and is reported.", "full queues here refuse, none drops";
    "CB-5" "A blocked call ends once there is space or an item.", CALLS_END;
    "CB-7" "After a close sends are refused and what remains can be drained.", "no queue here can be closed";
    "CB-8" "A full disk refuses sends, keeps what is stored, and is recovered from.",
        "decided by tests of the file queue on a simulated full disk; no other queue here has a disk to fill";
    "IC-5" "The key of a message never changes, and differs from that of any other.",
        "keys are those of the broker's messages, compared as AL-5; a consumer that picks another shows as IC-1";
    "DU-2" "If a later message of a log survived, every earlier one did.",
        "every durable contract here promises all confirmed messages (DU-1), of which this is a part";
    "DU-4" "No partly written record is delivered.", "part of AL-5 and AL-3, after every crash";
    "DU-8" "Names of files are durable when the protocol needs them.", "part of DU-1 and DU-11, at every crash point";
    "DU-9" "Giving up space never removes what is needed.", "part of DU-1, DU-3 and DU-11, at every crash point";
    "DU-10" "Stored positions never exceed stored data.", "part of DU-1 and DU-6, at every crash point";
    "LI-3" "No wake-up is lost.", CALLS_END;
    "LI-4" "With one thread suspended anywhere, the others go on.",
        "what a buffer promises of its progress is text; the engine with threads cannot suspend one";
    "LI-5" "The oldest ready message is delivered in bounded time.",
        "runs here end, and at the end everything must come out (LI-1); no contract has a bound in between";
    "LI-6" "A consumer that always fails does not spin.", "no contract has a backoff of its own";
    "LI-7" "Giving up a pending call loses nothing.", "no call here is awaited; a crash inside one is AL-1 and LV-10";
    "LI-8" "Memory, handles and space return to where they began.",
        "decided by tests of the file queue (space, memory a message); nothing that a contract could name";
    "ME-2" "No data race, no use after free, no uninitialised read.",
        "decided for the ring by loom, and with a nightly toolchain by Miri and two sanitizers; not by looking at a history";
};

/// The whole catalogue for a terminal: what is checked, and what is not and why.
pub fn draw() -> String {
    let mut text = format!("{} promises are checked:\n", Invariant::ALL.len());
    for invariant in Invariant::ALL {
        text += &format!("  {:<6} {:<26} {}\n", invariant.id(), invariant.name(), invariant.sentence());
    }
    text += &format!("\n{} have no check of that name:\n", UNCHECKED.len());
    for Unchecked { id, sentence, why } in UNCHECKED {
        text += &format!("  {id:<6} {sentence}\n         Why: {why}.\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The groups of the catalogue, with how many promises each has.
    const GROUPS: [(&str, usize); 9] = [
        ("AL", 12),
        ("DL", 14),
        ("LV", 15),
        ("OR", 8),
        ("CB", 8),
        ("IC", 10),
        ("DU", 14),
        ("LI", 8),
        ("ME", 4),
    ];

    #[test]
    fn every_promise_of_the_catalogue_is_checked_or_said_not_to_be() {
        let checked = Invariant::ALL.iter().map(|invariant| invariant.id());
        let listed: Vec<&str> = checked.chain(UNCHECKED.iter().map(|unchecked| unchecked.id)).collect();
        let all: BTreeSet<String> = GROUPS
            .iter()
            .flat_map(|(group, most)| (1..=*most).map(move |n| format!("{group}-{n}")))
            .collect();
        assert_eq!(listed.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>(), all);
        assert_eq!(listed.len(), all.len(), "one is listed twice");
        assert_eq!(all.len(), 93);
        let text = draw();
        assert!(all.iter().all(|id| text.contains(&format!("  {id:<6} "))));
    }
}
