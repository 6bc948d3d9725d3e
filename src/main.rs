//! The `stanchion` command: what people type who want more than `cargo test` and `cargo bench`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stanchion::properties::engines::budget::Budget;
use stanchion::properties::suite::Arguments;
use stanchion::reports::{exit, fragment};
use stanchion::{Settings, registry};

/// Tells the truth about message queues: what they guarantee under crashes, and what that costs.
#[derive(Parser)]
#[command(version, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 fine, 1 internal error, 2 usage, 4 nothing selected, 10 a check failed: a promise is broken, undecided or
never exercised, a card shows a claim that is not kept, a file queue is damaged, or a saved plan that is to be run first cannot be used;
130 interrupted, with what was found until then in the report.
Environment: STANCHION_CASES, STANCHION_SEED, STANCHION_PROFILE (quick, standard, soak), STANCHION_TIME, STANCHION_REPORT_DIR,
STANCHION_REGRESSIONS, STANCHION_REPLAY, STANCHION_PATIENCE.";

/// What a test target says when a test failed; this command has a code of its own for it.
const LIBTEST_FAILED: u8 = 101;

#[derive(Subcommand)]
enum Command {
    /// Shows the queues and consumers of this registry, and what each promises.
    List,
    /// Shows every promise of the catalogue: those that are checked, and why the others are not.
    Promises,
    /// Checks the promises of all queues, or of those whose `queue::promise` contains FILTER.
    Check {
        /// As in `ring`, `file::no_loss` or `no_loss`.
        filter: Option<String>,
    },
    /// Probes brokers, and shows what each declares, what it was seen to do, and the difference in words.
    Card {
        /// As in `file`: only those whose name contains it. A buffer is probed as `Leased` makes a broker of it.
        filter: Option<String>,
    },
    /// Runs a saved failing plan again, step by step, and shows whether the promise is still broken.
    Replay {
        /// A file from `regressions/`.
        file: PathBuf,
    },
    /// Shows the segments, records and messages of a file queue, and any damage; a queue in use goes on meanwhile.
    Inspect {
        /// The directory of the queue.
        directory: PathBuf,
    },
    /// Saves what is whole in a damaged file queue, so that it opens again; damaged segments are kept as copies.
    Salvage {
        /// The directory of the queue, which nobody has open.
        directory: PathBuf,
    },
    /// Draws the report from what tests and benches left behind, and says where it is.
    Report,
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    // Before anything is done: a misspelt variable would change nothing and look as if it did.
    let budget = match Budget::from_env() {
        Ok(budget) => budget,
        Err(error) => return fail(&error.to_string()),
    };
    match command {
        Command::List => list(),
        Command::Promises => {
            show(&stanchion::properties::catalogue::draw());
            ExitCode::SUCCESS
        }
        Command::Check { filter } => check(filter, &budget),
        Command::Card { filter } => card(filter.as_deref().unwrap_or_default(), &budget),
        Command::Replay { file } => replay(&file, &budget),
        Command::Inspect { directory } => inspect(&directory),
        Command::Salvage { directory } => salvage(&directory),
        Command::Report => report(),
    }
}

fn list() -> ExitCode {
    let mut text = String::new();
    for queue in registry().describe() {
        text += &format!("{} ({})\n", queue.name, queue.kind);
        for (label, value) in &queue.contract {
            text += &format!("    {label:<34}{value}\n");
        }
    }
    show(&text);
    ExitCode::SUCCESS
}

fn check(filter: Option<String>, budget: &Budget) -> ExitCode {
    let suite = registry();
    if let Some(filter) =
        filter.as_deref().filter(|filter| !suite.tests_with(budget).iter().any(|test| test.contains(filter)))
    {
        eprintln!(
            "no queue or promise matches {filter:?}: give a part of a name that `stanchion check` prints"
        );
        return ExitCode::from(exit::NOTHING_SELECTED);
    }
    let code = suite.run(&Arguments { filter, ..Arguments::default() });
    if code == ExitCode::from(LIBTEST_FAILED) { ExitCode::from(exit::BROKEN) } else { code }
}

fn card(filter: &str, budget: &Budget) -> ExitCode {
    let suite = registry();
    let names: Vec<String> = suite.probed().map(str::to_owned).collect();
    if !names.iter().any(|name| name.contains(filter)) {
        eprintln!("no broker matches {filter:?}: give a part of one of {}", names.join(", "));
        return ExitCode::from(exit::NOTHING_SELECTED);
    }
    let (mut text, mut code) = (String::new(), ExitCode::SUCCESS);
    for name in names.iter().filter(|name| name.contains(filter)) {
        match suite.card(name, budget) {
            Some(Ok(card)) => {
                text += &format!("{name}\n{card}\n");
                if !card.broken().is_empty() {
                    code = ExitCode::from(exit::BROKEN);
                }
            }
            Some(Err(why)) => {
                text += &format!("{name}\n{why}\n\n");
                code = ExitCode::from(exit::BROKEN);
            }
            None => {}
        }
    }
    show(&text);
    code
}

fn replay(file: &Path, budget: &Budget) -> ExitCode {
    match registry().replay(file, budget) {
        Ok(replayed) => {
            show(&format!("{}\n", replayed.picture));
            if replayed.broken { ExitCode::from(exit::BROKEN) } else { ExitCode::SUCCESS }
        }
        Err(error) => fail(&error),
    }
}

fn inspect(directory: &Path) -> ExitCode {
    match stanchion::file::inspect::inspect(directory) {
        Ok(inspection) => {
            let damaged =
                !inspection.in_use && inspection.segments.iter().any(|segment| segment.damage.is_some());
            show(&inspection.to_string());
            if damaged { ExitCode::from(exit::BROKEN) } else { ExitCode::SUCCESS }
        }
        Err(error) => fail(&error.to_string()),
    }
}

fn salvage(directory: &Path) -> ExitCode {
    // A directory that is not there is a mistake here, and not a queue to begin.
    let found = stanchion::file::inspect::inspect(directory);
    let salvaged = found.and_then(|found| match found.segments.len() {
        0 => Err(stanchion::Error::Invalid {
            what: "the directory",
            given: format!("{} without a queue in it", directory.display()),
            remedy: "give the directory of a file queue",
        }),
        _ => stanchion::file::salvage::salvage(directory, &Settings::new()),
    });
    match salvaged {
        Ok(salvaged) => {
            show(&salvaged.to_string());
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error.to_string()),
    }
}

fn report() -> ExitCode {
    let directory = fragment::directory();
    match fragment::render(&directory) {
        Ok(rendered) => {
            for skipped in &rendered.merged.skipped {
                eprintln!("passed over {}: {}", skipped.file, skipped.reason);
            }
            show(&format!("{}\n", rendered.html.display()));
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error.to_string()),
    }
}

/// A reader that has seen enough, as `head` does, is no failure.
fn show(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn fail(error: &str) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(exit::USAGE)
}
