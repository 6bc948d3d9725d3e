use outsider::{forgetful::Forgetful, steady::Steady};

fn main() -> std::process::ExitCode {
    stanchion::Suite::new().buffer::<Steady>("steady").buffer::<Forgetful>("forgetful").bench()
}
