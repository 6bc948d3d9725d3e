//! Draws a report of imagined results, to look at the pages without running a check:
//! `cargo run -p stanchion-reports --example demo -- DIRECTORY`.

use std::path::PathBuf;
use std::process::ExitCode;

use stanchion_reports::{fragment, terminal};

#[path = "../tests/common/mod.rs"]
mod common;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("give the directory in which the report shall be written");
        return ExitCode::from(2);
    };
    let rendered =
        fragment::write(&directory, "demo", &common::results()).and_then(|_| fragment::render(&directory));
    match rendered {
        Ok(rendered) => {
            print!("{}", terminal::table(&rendered.merged.results, terminal::colored()));
            println!("\n{}", rendered.html.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
