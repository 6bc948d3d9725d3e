//! The bug zoo: its rows, with the promises that are to report each. Every row is a rogue or says why it is none, and a
//! rogue that another promise reports says why.
//!
//! The rows about the harness itself (H) are not here: they are bugs of checkers and engines, not of queues.

use super::{commits, consumers, delivery, memory};
use crate::invariant::Invariant;

/// The rows, with the promises that the zoo names.
pub const ROWS: &[(&str, &[&str])] = &[
    ("M01", &["AL-5", "ME-2"]),
    ("M02", &["AL-5", "ME-2"]),
    ("M03", &["AL-5"]),
    ("M04", &["AL-5", "AL-1"]),
    ("M06", &["LI-3", "CB-5"]),
    ("M07", &["LI-7"]),
    ("M09", &["OR-1"]),
    ("M10", &["ME-2"]),
    ("M11", &["ME-3"]),
    ("M12", &["AL-7", "AL-1"]),
    ("M13", &["CB-1", "AL-1"]),
    ("M15", &["ME-4"]),
    ("M16", &["CB-2"]),
    ("M18", &["CB-7", "AL-1"]),
    ("M19", &["OR-6"]),
    ("M20", &["LI-2", "ME-3"]),
    ("M21", &["LI-7", "AL-1"]),
    ("M22", &["LI-4"]),
    ("M24", &["LI-3"]),
    ("D01", &["DL-1", "DL-3"]),
    ("D02", &["DL-2"]),
    ("D03", &["DL-2", "DL-6"]),
    ("D04", &["DL-3", "DL-6"]),
    ("D05", &["DL-5"]),
    ("D07", &["DL-6"]),
    ("D08", &["DL-6", "DL-3"]),
    ("D09", &["DL-1", "DL-6"]),
    ("D11", &["AL-2", "LV-12"]),
    ("D12", &["OR-4"]),
    ("D13", &["LV-2", "AL-2"]),
    ("D14", &["LV-8"]),
    ("D16", &["LV-1", "AL-7"]),
    ("D18", &["LV-8", "AL-6"]),
    ("D19", &["LV-3", "DL-3"]),
    ("D20", &["LV-9"]),
    ("D23", &["LV-11", "LI-2"]),
    ("D24", &["AL-2"]),
    ("D25", &["DL-4"]),
    ("D27", &["DL-4"]),
    ("D28", &["DL-4"]),
    ("D29", &["DL-4", "AL-1"]),
    ("D30", &["DL-4", "DL-13"]),
    ("D31", &["DL-9"]),
    ("D32", &["DL-7"]),
    ("D33", &["DL-8"]),
    ("D34", &["DL-8", "IC-8"]),
    ("D36", &["DL-13", "LI-2"]),
    ("D39", &["LV-13"]),
    ("D40", &["LV-7"]),
    ("D41", &["LV-3", "LI-2"]),
    ("D42", &["OR-6"]),
    ("D44", &["LV-8", "AL-7"]),
    ("D46", &["AL-9", "AL-1"]),
    ("D47", &["AL-8", "IC-8"]),
    ("D49", &["DU-9", "LI-2"]),
    ("D50", &["AL-5", "AL-7"]),
    ("D51", &["CB-4", "AL-1"]),
    ("D52", &["AL-6"]),
    ("P01", &["DU-1"]),
    ("P02", &["DU-8", "DU-1"]),
    ("P03", &["DU-7"]),
    ("P04", &["DU-4", "CB-8"]),
    ("P05", &["DU-4"]),
    ("P06", &["DU-4"]),
    ("P08", &["DU-6"]),
    ("P09", &["DU-5", "DU-2"]),
    ("P10", &["DU-11"]),
    ("P11", &["DU-5", "AL-11"]),
    ("P13", &["DU-10", "LI-1"]),
    ("P14", &["DU-3"]),
    ("P15", &["DU-2", "AL-1"]),
    ("P18", &["OR-5", "DU-10"]),
    ("P19", &["DU-9"]),
    ("P20", &["DU-9", "DU-8"]),
    ("P21", &["DU-9", "AL-6"]),
    ("P23", &["DU-11"]),
    ("P25", &["DU-11"]),
    ("P26", &["DU-5"]),
    ("P28", &["DU-14"]),
    ("P30", &["DU-12"]),
    ("P31", &["DU-1"]),
    ("P32", &["DU-4"]),
    ("P33", &["DU-13", "DU-7"]),
    ("P34", &["DU-7"]),
    ("I01", &["IC-4", "IC-1"]),
    ("I03", &["IC-3", "IC-10"]),
    ("I04", &["IC-3", "IC-1"]),
    ("I05", &["IC-6"]),
    ("I06", &["IC-5", "IC-1"]),
    ("I07", &["IC-5", "IC-10"]),
    ("I09", &["IC-2"]),
    ("I10", &["IC-3", "IC-1"]),
    ("I11", &["IC-8", "AL-1"]),
    ("I12", &["IC-8"]),
    ("I13", &["IC-8"]),
    ("I14", &["IC-4", "IC-1"]),
    ("I16", &["IC-2"]),
    ("I17", &["IC-6"]),
];

/// Rogues that are made outside of this crate: those of the ring's own atomics, by its model under loom, and the one that
/// takes two processes.
pub const ELSEWHERE: &[(&str, Invariant)] =
    &[("M01", Invariant::Al5), ("M02", Invariant::Al5), ("P30", Invariant::Du12)];

/// Rows that a rogue of another name shows.
pub const NAMED_OTHERWISE: &[(&str, &str)] = &[
    // No call of a buffer waits. What waits for a notice here is whoever waits for a commit of the queue on disk.
    ("M06", "commit-wakeup"),
];

/// Rows that no rogue shows, and why.
pub const NOT_SEEDED: &[(&str, &str)] = &[
    (
        "M18",
        "nothing here can be closed: what is inside when the last end is dropped is dropped with it (ME-3), and a send to a \
         broker that is gone is refused or in doubt",
    ),
    (
        "M22",
        "no contract claims that calls are lock-free (its progress is text), and no engine suspends a thread inside a call of \
         a buffer; a call that never ends whatever others do is M-waits",
    ),
    (
        "M24",
        "no call here parks, so that there is no path to park on; what a compiler may do to the orders that the ring relies \
         on is what the model under loom shows (M01, M02, M-turn)",
    ),
    (
        "I13",
        "no contract has a window: who stores retries once (Retries::Deduplicated) does so for ever, and one that forgets is I12",
    ),
];

/// Rogues that another promise reports than the zoo names, and why.
pub const REPORTED_OTHERWISE: &[(&str, &str)] = &[
    (
        "M06",
        "LI-3 and CB-5 are of calls that wait for an item; a call that waits for a commit and never ends is LI-1",
    ),
    ("M07", "LI-7 is of calls that are awaited; a notice that is lost shows in a call that never ends, LI-1"),
    (
        "M09",
        "items move here and are not copied: the nodes between the old place and the new are lost before any reorders",
    ),
    ("M10", "ME-2 is of unsafe code; here another item is in the node by then, and one of them is lost"),
    ("M20", "the panic is the first that is seen (LI-1); LI-2 is of brokers, and no item is dropped twice"),
    (
        "D16",
        "LV-2 is the promise about stale receipts; LV-1 and AL-7 follow only if somebody receives what was given back",
    ),
    (
        "D20",
        "LV-9 has no check: the clock that queues are given does not jump, and leases cut short by it are LV-4",
    ),
    (
        "D31",
        "DL-9 has no check, as every contract has dead letters: what is dropped is in neither place, DL-4",
    ),
    (
        "D39",
        "LV-13 has no check, as acks here are single: what others held and is acked unasked is forgotten, AL-2",
    ),
    (
        "D41",
        "what is stranded comes back with its lease, so nothing is late or stuck; until then \"empty\" is untrue, OR-6",
    ),
    (
        "D49",
        "DU-9 has no check of its own, and an empty message comes to an end like any other: it is not what was sent, AL-5",
    ),
    (
        "P04",
        "half a frame is not delivered, as frames have checksums: what is confirmed behind it is lost, DU-1",
    ),
    ("P05", "DU-4 has no check of its own; a wrong length hides what was confirmed behind it, DU-1"),
    (
        "P06",
        "DU-4 has no check of its own; an appended frame that reads as a snapshot takes what was before it, DU-1",
    ),
    (
        "P11",
        "the half of a batch that has the deletion of a dying message and not its letter leaves it in neither place, DL-4; \
             DU-5 is of damage, and AL-11 of answers",
    ),
    (
        "P13",
        "DU-10 has no check of its own; nothing waits at the floor: what dies behind it is taken for acked, DL-4",
    ),
    (
        "P15",
        "what is overwritten was confirmed after the first recovery and is missed after the second, DU-6; DU-2 is part of DU-1",
    ),
    (
        "P18",
        "OR-5 and DU-10 have no check of their own; an id that is used again overwrites what was confirmed under it, DU-1",
    ),
    ("P19", "DU-9 has no check of its own; what compaction drops was confirmed, DU-1"),
    ("P20", "DU-9 and DU-8 have no check of their own; what is in neither file was confirmed, DU-1"),
    (
        "P21",
        "DU-9 has no check of its own; the crash that reads the compacted file is what brings the message back, DU-3",
    ),
    (
        "P26",
        "DU-5 is of bits that flip; here a crash tore the snapshot, and what is deleted was confirmed, DU-1",
    ),
    (
        "P32",
        "DU-4 has no check of its own; a frame whose records are cut short lacks what was confirmed, DU-1",
    ),
];

/// Every rogue that is wrong, with the promise that it should be seen to break.
pub fn rogues() -> impl Iterator<Item = (&'static str, Invariant)> {
    let delivery = delivery::Bug::ALL.iter().filter_map(|bug| Some((bug.id(), bug.expected()?)));
    let races = delivery::races::Race::ALL.into_iter().filter_map(|race| Some((race.id(), race.expected()?)));
    let buffers = memory::Bug::ALL.into_iter().filter_map(|bug| Some((bug.id(), bug.expected()?)));
    let consumers = consumers::Bug::ALL.into_iter().map(|bug| (bug.id(), bug.expected()));
    delivery
        .chain(races)
        .chain(buffers)
        .chain(consumers)
        .chain(commits::named())
        .chain(ELSEWHERE.iter().copied())
}

/// What the zoo has and is not seeded, for a terminal.
pub fn draw() -> String {
    let mut text = format!("{} rows of the bug zoo are not seeded:\n", NOT_SEEDED.len());
    for (id, why) in NOT_SEEDED {
        text += &format!("  {id}  because {why}.\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The groups of the zoo, with how many rows each has. Their numbers have gaps.
    const GROUPS: [(char, usize); 4] = [('M', 19), ('D', 39), ('P', 26), ('I', 14)];

    fn shown_by(id: &str) -> Option<(&'static str, Invariant)> {
        let name = NAMED_OTHERWISE.iter().find(|(row, _)| *row == id).map_or(id, |(_, name)| name);
        rogues().find(|(rogue, _)| *rogue == name)
    }

    #[test]
    fn every_row_is_a_rogue_or_says_why_it_is_none() {
        for (group, rows) in GROUPS {
            assert_eq!(ROWS.iter().filter(|(id, _)| id.starts_with(group)).count(), rows, "{group}");
        }
        let ids: BTreeSet<&str> = ROWS.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids.len(), ROWS.len(), "one is there twice");
        for id in &ids {
            let excused = NOT_SEEDED.iter().any(|(row, _)| row == id);
            assert_ne!(
                shown_by(id).is_some(),
                excused,
                "{id} is to be a rogue or to have a reason, and not both"
            );
        }
        let named = NOT_SEEDED.iter().chain(NAMED_OTHERWISE).chain(REPORTED_OTHERWISE);
        assert!(named.clone().all(|(id, _)| ids.contains(id)), "a row that the zoo does not have");
        let text = draw();
        assert!(NOT_SEEDED.iter().all(|(id, why)| text.contains(id) && text.contains(why)));
    }

    #[test]
    fn a_rogue_is_reported_by_what_the_zoo_names_or_says_why_not() {
        for (id, killers) in ROWS {
            let Some((_, expected)) = shown_by(id) else { continue };
            let excused = REPORTED_OTHERWISE.iter().any(|(row, _)| row == id);
            assert_ne!(
                killers.contains(&expected.id()),
                excused,
                "{id}: the zoo says {killers:?}, here it is {expected}"
            );
        }
    }

    #[test]
    fn no_rogue_has_the_name_of_a_row_that_is_not_there() {
        let row = |name: &str| {
            let mut letters = name.chars();
            letters.next().is_some_and(|first| "MDPI".contains(first)) && letters.all(|c| c.is_ascii_digit())
        };
        for (name, _) in rogues().filter(|(name, _)| row(name)) {
            assert!(ROWS.iter().any(|(id, _)| *id == name), "{name}");
        }
    }
}
