//! The file queue beside its durable peers in interleaved rounds, and whether it reaches what it is to reach.

fn main() -> std::process::ExitCode {
    stanchion_durable::run::main()
}
