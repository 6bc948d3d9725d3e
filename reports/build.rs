//! Hands the compiler's own name to the crate, because a finished binary no longer knows what built it.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUSTC");
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc)
        .arg("--version")
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok());
    if let Some(version) = version {
        println!("cargo::rustc-env=STANCHION_BUILT_RUSTC={}", version.trim());
    }
    for name in ["TARGET", "OPT_LEVEL", "PROFILE"] {
        if let Ok(value) = env::var(name) {
            println!("cargo::rustc-env=STANCHION_BUILT_{name}={value}");
        }
    }
}
