//! Buffers written from the traits alone: what the harness says of them in its ordinary budget.

mod buffer;

use stanchion_properties::engines::budget::Budget;
use stanchion_properties::engines::{sequential_buffer, threads};
use stanchion_properties::finding::Finding;

use buffer::{Kind, Listed};

/// Bugs that are not seen in the ordinary budget, and why.
const ESCAPES: &[(u8, &str)] = &[];

/// Correct or unclear buffers that are blamed, and why.
const BLAMED: &[(u8, &str)] = &[
    (buffer::RANDOM_EMPTY, "relaxed needs another call that is unfinished"),
    (buffer::RANDOM_FULL, "relaxed needs another call that is unfinished"),
];

fn blamed<const Q: u8>() -> Vec<Finding> {
    let budget = Budget::quick();
    let threads = threads::check::<Listed<Q>>(&Budget { cases: 32, ..budget.clone() });
    let findings = sequential_buffer::check::<Listed<Q>>("blind", &budget).into_iter().chain(threads);
    findings.filter(|finding| finding.verdict.is_broken()).collect()
}

fn judge<const Q: u8>(name: &str) {
    let known = |list: &[(u8, &str)]| list.iter().any(|(known, _)| *known == Q);
    let found = blamed::<Q>();
    let ids: Vec<&str> = found.iter().map(|finding| finding.invariant.id()).collect();
    match buffer::kind(Q) {
        Kind::Bug => assert_eq!(ids.is_empty(), known(ESCAPES), "{name}: {ids:?}"),
        // Whether threads meet is a matter of luck, so what is known to be blamed may pass.
        Kind::Correct | Kind::Unclear => assert!(ids.is_empty() || known(BLAMED), "{name}: {ids:?}"),
    }
}

macro_rules! buffers {
    ($($test:ident $quirk:ident)*) => {
        $(#[test]
        fn $test() {
            judge::<{ buffer::$quirk }>(stringify!($quirk));
        })*
    };
}

buffers! {
    plain PLAIN
    lanes LANES
    stack STACK
    unbounded UNBOUNDED
    try_lock TRY_LOCK
    random_empty RANDOM_EMPTY
    random_full RANDOM_FULL
    push_many_loses PUSH_MANY_LOSES
    push_many_miscounts PUSH_MANY_MISCOUNTS
    pop_many_reverses POP_MANY_REVERSES
    pop_many_miscounts POP_MANY_MISCOUNTS
    pop_many_too_many POP_MANY_TOO_MANY
    wrong_item_back WRONG_ITEM_BACK
    full_then_empty FULL_THEN_EMPTY
    capacity_rounds_up CAPACITY_ROUNDS_UP
    producer_takes_along PRODUCER_TAKES_ALONG
    leaks LEAKS
    pop_many_clears POP_MANY_CLEARS
    forgets_after_many FORGETS_AFTER_MANY
    swaps_when_full SWAPS_WHEN_FULL
    one_place_unused ONE_PLACE_UNUSED
    pop_many_of_none POP_MANY_OF_NONE
    prefetches PREFETCHES
    one_place_overwrites ONE_PLACE_OVERWRITES
    third_lap_loses THIRD_LAP_LOSES
    pop_many_skips_at_the_end POP_MANY_SKIPS_AT_THE_END
    push_many_loses_what_fills PUSH_MANY_LOSES_WHAT_FILLS
    leaks_beyond_the_end LEAKS_BEYOND_THE_END
    empty_after_batch EMPTY_AFTER_BATCH
}

/// Races: seen only where threads meet.
#[test]
#[ignore = "depends on how threads are scheduled"]
fn races() {
    judge::<{ buffer::CHECK_THEN_PUSH }>("CHECK_THEN_PUSH");
    judge::<{ buffer::PEEK_THEN_POP }>("PEEK_THEN_POP");
}
