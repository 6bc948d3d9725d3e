//! What the ring is to reach against its peers, case by case, and whether it does.

fn main() -> std::process::ExitCode {
    stanchion::registry().ring_targets("ring")
}
