//! All queues of the registry against each other, in interleaved rounds.

fn main() -> std::process::ExitCode {
    stanchion::registry().duel()
}
