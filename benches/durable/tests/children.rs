//! What needs a process of its own: stores that are killed and opened again, and calls that are counted from outside.
//! The child is this program again, so it has no harness but this.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use stanchion_durable::audit::Faults;
use stanchion_durable::entrants::{self, Entrant, Role};
use stanchion_durable::{child, recovery, syncs};

/// What was sent before the kill is there after it, and after six more. A store that does not even hand its bytes
/// to the operating system loses some, and that is seen.
fn survives_kills(entrant: Entrant) -> Result<(), Failed> {
    let case = recovery::Case { entrant, backlog: 2500, body: 100 };
    let recovered = match (entrant.role, case.run()) {
        (Role::Unsynced, Err(failure)) if failure.is::<Faults>() => return Ok(()),
        (Role::Unsynced, other) => return Err(format!("it is not known to survive: {other:?}").into()),
        (_, recovered) => recovered?,
    };
    if recovered.warm.is_zero() || recovered.cold.took.is_zero() {
        return Err(format!("nothing was measured: {recovered:?}").into());
    }
    Ok(())
}

fn main() -> ExitCode {
    if let Some(done) = child::if_asked() {
        return match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                eprintln!("{failure}");
                ExitCode::FAILURE
            }
        };
    }
    // Where nobody may look, these show as ignored and not as passed.
    let blind =
        syncs::can_look().inspect_err(|failure| eprintln!("calls are not counted: {failure}")).is_err();
    let tests = entrants::all().into_iter().flat_map(|entrant| {
        let survival = Trial::test(format!("kills::{}", entrant.name), move || survives_kills(entrant));
        let counting = Trial::test(format!("syncs::{}", entrant.name), move || Ok(syncs::check(&entrant)?));
        [survival, counting.with_ignored_flag(blind)]
    });
    libtest_mimic::run(&Arguments::from_args(), tests.collect()).exit_code()
}
