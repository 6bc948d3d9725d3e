//! Criterion's curves for every queue of the registry.

fn main() -> std::process::ExitCode {
    stanchion::registry().bench()
}
