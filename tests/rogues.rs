//! The harness against queues and consumers that are wrong on purpose: each must be caught by the promise it
//! breaks, within the budget of `cargo test`. Ends with the kill table.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use stanchion::properties::engines::budget::Budget;
use stanchion::properties::rogues::{self, RogueResult};
use stanchion::properties::{checkers, outcome};

type Table = fn(&Budget) -> Vec<RogueResult>;

const GROUPS: [(&str, Table); 3] = [
    ("buffers", rogues::memory::table),
    ("brokers", |budget| rogues::delivery::table(budget, checkers::judge)),
    ("consumers", rogues::consumers::table),
];

/// More steps than this are no help to whoever has to read them.
const SMALL: usize = 24;

fn main() -> ExitCode {
    let met: Arc<Mutex<Vec<RogueResult>>> = Arc::default();
    let trials = GROUPS.map(|(group, table)| {
        let met = Arc::clone(&met);
        Trial::test(format!("every_wrong_one_is_caught::{group}"), move || {
            // Not what the environment asks for: this is about the default. One that waits for ever need not be
            // waited for as long.
            let results = table(&Budget { patience: Duration::from_secs(2), ..Budget::quick() });
            let escaped = results.iter().filter(|result| !result.found).map(escape);
            let large = results.iter().filter(|result| result.shrunk > Some(SMALL)).map(large);
            let wrong: Vec<String> = escaped.chain(large).collect();
            met.lock().unwrap_or_else(PoisonError::into_inner).extend(results);
            if wrong.is_empty() { Ok(()) } else { Err(Failed::from(wrong.join("\n"))) }
        })
    });
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials.into());
    let mut met = met.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if !met.is_empty() {
        met.sort_by(|a, b| a.bug.cmp(&b.bug));
        println!("{}", rogues::draw(&met));
        outcome::store_rogues(&met);
    }
    conclusion.exit_code()
}

fn large(result: &RogueResult) -> String {
    let RogueResult { bug, what, shrunk, .. } = result;
    let steps = shrunk.unwrap_or_default();
    format!("{bug} ({what}): a counterexample of {steps} steps was not shrunk well enough to be read")
}

fn escape(result: &RogueResult) -> String {
    let RogueResult { bug, what, expected, cases, also, .. } = result;
    let also: Vec<&str> = also.iter().map(|invariant| invariant.id()).collect();
    format!("{bug} ({what}) was not seen to break {expected} in {cases} cases; it was seen to break {also:?}")
}
