//! How a harness itself can be wrong, and which of our tests would fail if this one were.

/// A way in which a harness can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HarnessBug {
    /// Its name in the zoo.
    pub id: &'static str,
    /// What is wrong, in one sentence.
    pub what: &'static str,
    /// The tests that fail then, each with the file that it stands in.
    pub caught_by: &'static [(&'static str, &'static str)],
}

macro_rules! bugs {
    ($($id:literal $what:literal: $($file:literal $test:literal),+;)*) => {
        /// All of them, in the order of the zoo.
        pub const BUGS: &[HarnessBug] =
            &[$(HarnessBug { id: $id, what: $what, caught_by: &[$(($file, $test)),+] }),*];
    };
}

bugs! {
    "H01" "Duplicates are computed and left out of the verdict.":
        "properties/src/checkers/scripts.rs"
        "every_promise_can_be_broken_is_kept_by_a_near_miss_and_is_not_blamed_when_in_doubt",
        "properties/src/checkers_buffer/tests.rs" "each_violation_is_named_and_drawn",
        "tests/rogues.rs" "every_wrong_one_is_caught";
    "H02" "The filter of duplicates is the wrong way round and never fires.":
        "properties/src/checkers/scripts.rs"
        "every_promise_can_be_broken_is_kept_by_a_near_miss_and_is_not_blamed_when_in_doubt",
        "properties/src/checkers/soundness.rs" "a_correct_queue_is_never_blamed",
        "tests/rogues.rs" "every_wrong_one_is_caught";
    "H03" "A receive without an answer is taken for one that took nothing.":
        "properties/src/checkers/scripts.rs"
        "every_promise_can_be_broken_is_kept_by_a_near_miss_and_is_not_blamed_when_in_doubt",
        "properties/src/checkers/soundness.rs" "a_correct_queue_is_never_blamed";
    "H04" "A send in doubt is taken for one that failed, and its delivery for a phantom.":
        "properties/src/checkers/scripts.rs"
        "every_promise_can_be_broken_is_kept_by_a_near_miss_and_is_not_blamed_when_in_doubt",
        "properties/src/checkers/soundness.rs" "a_correct_queue_is_never_blamed",
        "properties/src/checkers_buffer/tests.rs" "what_never_returned_may_have_happened_or_not";
    "H06" "A crash during the drain stops the harness, or is taken for an end.":
        "properties/src/checkers/scripts.rs" "a_crash_in_a_drain_decides_nothing_and_stops_nobody",
        "properties/src/engines/sequential.rs"
        "a_panic_in_the_drain_is_a_broken_promise_and_not_a_crash_of_the_harness";
    "H07" "A fault is never applied: the kill comes after the end, what fails is not used.":
        "tests/rogues.rs" "a_child_is_killed_while_it_lives",
        "tests/rogues.rs" "a_child_that_ends_by_itself_shows_nothing",
        "properties/src/engines/simulated/tests.rs"
        "a_crash_in_the_middle_of_a_call_leaves_it_pending_and_takes_only_what_was_not_done",
        "properties/src/engines/simulated/tests.rs"
        "a_storage_fails_in_the_middle_of_calls_and_is_healed_before_the_end",
        "properties/src/engines/explore.rs" "an_honest_broker_is_not_blamed_and_every_situation_occurs",
        "properties/src/rogues/delivery/images.rs" "what_only_looks_wrong_is_not_blamed",
        "properties/src/rogues/delivery/tests.rs" "every_switch_changes_what_is_seen";
    "H08" "The seed of a failure, or its saved plan, is green when it is run again.":
        "properties/src/rogues/by_hand.rs" "what_fails_is_shrunk_to_what_a_person_would_write",
        "properties/src/engines/explore.rs" "a_failing_plan_is_saved_and_replayed_first",
        "properties/src/engines/sequential.rs" "the_same_plan_writes_the_same_history_byte_for_byte",
        "properties/src/engines/simulated/tests.rs" "a_race_is_saved_small_and_replayed_exactly",
        "properties/src/engines/images/tests.rs" "a_failing_image_is_shrunk_told_saved_and_run_again";
    "H09" "What fails is tried again until it is green.":
        "tests/ci.rs" "nothing_is_tried_again_until_it_is_green",
        "tests/ci.rs" "whoever_checks_scripts_stops_at_the_first_failure";
    "H11" "Ticks are taken within the operation: an order is claimed that there was not.":
        "properties/src/recording.rs" "a_call_lies_between_its_ticks",
        "properties/src/engines/recorder.rs" "an_operation_lies_between_its_ticks",
        "properties/src/engines/recorder.rs" "a_clock_that_goes_back_is_noticed",
        "properties/src/engines/skew.rs" "clocks_that_differ_more_than_messages_take_are_refused";
    "H12" "The generator cannot reach what a promise is about, and the promise passes.":
        "properties/src/suite.rs" "a_claimed_promise_whose_situation_never_occurs_is_a_failed_test",
        "properties/src/engines/explore.rs" "an_honest_broker_is_not_blamed_and_every_situation_occurs";
    "H13" "A long run is judged in part, or takes memory without bound, and nothing is said.":
        "properties/src/checkers/speed.rs" "what_goes_wrong_at_the_end_of_a_long_history_is_seen",
        "properties/tests/size.rs" "memory_grows_no_faster_than_the_history",
        "properties/src/suite.rs" "a_claimed_promise_whose_situation_never_occurs_is_a_failed_test",
        "properties/src/engines/threads.rs" "a_round_is_as_long_as_it_is_planned",
        "properties/src/checkers_buffer/long.rs" "what_the_search_gives_up_is_neither_right_nor_wrong";
    "H14" "The judge and what it judges share a mistake, because one was copied from the other.":
        "properties/src/checkers_buffer/differential.rs" "agrees_with_the_definition_on_every_small_history",
        "properties/src/checkers/soundness.rs" "a_correct_queue_is_never_blamed",
        "tests/rogues.rs" "every_wrong_one_is_caught";
}

/// The table for a terminal.
pub fn draw() -> String {
    let mut text = "how the harness itself could be wrong, and the tests that would fail then\n".to_owned();
    for HarnessBug { id, what, caught_by } in BUGS {
        text += &format!("{id}  {what}\n");
        for (file, test) in *caught_by {
            text += &format!("     {file}\n       {test}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn each_has_a_test_that_is_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for HarnessBug { id, caught_by, .. } in BUGS {
            for (file, test) in *caught_by {
                let text = std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| {
                    panic!("{id}: {file}: {error}: correct the table in rogues/harness.rs")
                });
                let is_there = text.contains(&format!("fn {test}(")) || text.contains(&format!("\"{test}"));
                assert!(is_there, "{id}: {file} has no test {test}: correct the table in rogues/harness.rs");
            }
        }
        assert_eq!(BUGS.len(), 12);
        assert!(draw().lines().all(|line| line.chars().count() <= 100));
    }
}
