//! Every promise of every queue of the registry, a test each: `queue::promise`.

fn main() -> std::process::ExitCode {
    stanchion::registry().main()
}
