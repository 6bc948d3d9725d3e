//! How much is explored, and the environment variables that say so.

use std::path::PathBuf;
use std::time::Duration;

use super::watchdog::PATIENCE;
use crate::invariant::Invariant;

/// How much an engine explores. Counted in cases, unless a time is given: the same number of cases finds the same failures
/// on every machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// How many plans are run.
    pub cases: u64,
    /// How long each engine explores each queue, in place of a number of plans; what that buys is said. Which plans are run
    /// first, and what they are, is the same as without it.
    pub time: Option<Duration>,
    /// The seed of the run; see [`crate::plan::case_seed`].
    pub seed: u64,
    /// How many plans may be run to shrink one failure.
    pub shrink_runs: u32,
    /// Where failing plans are saved and looked for; `None`: neither.
    pub regressions: Option<PathBuf>,
    /// Run this saved plan and nothing else.
    pub replay: Option<PathBuf>,
    /// How long a call of the queue may stand still; see [`super::watchdog`].
    pub patience: Duration,
    /// Whether simulated clients are interrupted inside the broker, and not only on the way to it and back; see
    /// [`super::simulated`].
    pub interrupts: bool,
    /// The buffer engines stop at the first run that breaks this promise: nothing else is asked. `None`: they go on.
    pub until: Option<Invariant>,
}

impl Budget {
    /// The default of `cargo test`: 1 000 plans. Nothing is saved.
    pub fn quick() -> Budget {
        Budget {
            cases: 1_000,
            time: None,
            seed: 1,
            shrink_runs: 2_000,
            regressions: None,
            replay: None,
            patience: PATIENCE,
            interrupts: true,
            until: None,
        }
    }

    /// A few minutes for all queues: 10 000 plans.
    pub fn standard() -> Budget {
        Budget { cases: 10_000, ..Budget::quick() }
    }

    /// As long as one likes to wait: a million plans. Give each run a seed of its own.
    pub fn soak() -> Budget {
        Budget { cases: 1_000_000, ..Budget::quick() }
    }

    /// How much that is, in words: "1000 plans".
    pub fn words(&self) -> String {
        match self.time {
            Some(time) => format!("{} s for each engine", time.as_secs_f64()),
            None => format!("{} plans", self.cases),
        }
    }

    /// The budget that the process environment asks for: quick unless it says otherwise, with failures saved
    /// under `regressions/`.
    ///
    /// # Errors
    /// A variable whose name begins with `STANCHION_` is unknown, or its value makes no sense.
    pub fn from_env() -> Result<Budget, EnvError> {
        let ours = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok().filter(|name| name.starts_with(PREFIX))?;
            Some((name, value.to_string_lossy().into_owned()))
        });
        Budget::from_vars(ours)
    }

    /// The same from these variables; those without the prefix `STANCHION_` are passed over.
    ///
    /// # Errors
    /// As [`Budget::from_env`].
    pub fn from_vars(vars: impl IntoIterator<Item = (String, String)>) -> Result<Budget, EnvError> {
        let mut vars: Vec<(String, String)> =
            vars.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
        // The profile first, so that the others refine it.
        vars.sort_by_key(|(name, _)| name != "STANCHION_PROFILE");
        let mut budget = Budget { regressions: Some(PathBuf::from("regressions")), ..Budget::quick() };
        for (name, value) in vars {
            match name.as_str() {
                "STANCHION_PROFILE" => {
                    let chosen = match value.as_str() {
                        "quick" => Budget::quick(),
                        "standard" => Budget::standard(),
                        "soak" => Budget::soak(),
                        _ => return Err(EnvError::invalid(name, value, "give quick, standard or soak")),
                    };
                    budget.cases = chosen.cases;
                }
                "STANCHION_CASES" => match value.parse() {
                    Ok(cases) if cases > 0 => budget.cases = cases,
                    _ => return Err(EnvError::invalid(name, value, "give a number of plans from 1")),
                },
                "STANCHION_TIME" => match value.parse() {
                    Ok(seconds) if seconds > 0 => budget.time = Some(Duration::from_secs(seconds)),
                    _ => return Err(EnvError::invalid(name, value, "give a number of seconds from 1")),
                },
                "STANCHION_SEED" => match value.parse() {
                    Ok(seed) => budget.seed = seed,
                    Err(_) => return Err(EnvError::invalid(name, value, "give a number from 0 to 2^64 - 1")),
                },
                "STANCHION_REGRESSIONS" | "STANCHION_REPLAY" | "STANCHION_REPORT_DIR" if value.is_empty() => {
                    return Err(EnvError::invalid(name, value, "give a path, or unset it"));
                }
                "STANCHION_REGRESSIONS" => budget.regressions = Some(value.into()),
                "STANCHION_REPLAY" => budget.replay = Some(value.into()),
                "STANCHION_PATIENCE" => match value.parse() {
                    Ok(seconds) if seconds > 0 => budget.patience = Duration::from_secs(seconds),
                    _ => return Err(EnvError::invalid(name, value, "give a number of seconds from 1")),
                },
                known if VARIABLES.iter().any(|(name, _)| *name == known) => {}
                _ => return Err(EnvError::Unknown { name }),
            }
        }
        Ok(budget)
    }
}

const PREFIX: &str = "STANCHION_";

/// Every environment variable that some part of the harness reads, and what for.
pub const VARIABLES: &[(&str, &str)] = &[
    ("STANCHION_PROFILE", "how much is explored: quick, standard or soak"),
    ("STANCHION_CASES", "how many plans are run against each broker"),
    ("STANCHION_TIME", "how many seconds each engine explores each queue, in place of a number of plans"),
    ("STANCHION_SEED", "the seed of the run"),
    ("STANCHION_REGRESSIONS", "the directory of saved failing plans"),
    ("STANCHION_REPLAY", "a saved failing plan to run, and nothing else"),
    ("STANCHION_PATIENCE", "how many seconds a call may stand still before it is given up: 60"),
    ("STANCHION_REPORT_DIR", "the directory of results and reports"),
    ("STANCHION_CHILD", "set by the harness for its child processes"),
];

/// An environment variable that cannot be obeyed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// Nothing reads it: a typo would change nothing and look as if it did.
    #[error(
        "the environment variable {name} is set but nothing reads it: unset it, or give one of these:{}",
        list()
    )]
    Unknown {
        /// Its name.
        name: String,
    },
    /// Its value makes no sense.
    #[error("the environment variable {name} is {value:?}: {remedy}")]
    Invalid {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
        /// What to give instead.
        remedy: &'static str,
    },
}

impl EnvError {
    pub(super) fn invalid(name: String, value: String, remedy: &'static str) -> EnvError {
        EnvError::Invalid { name, value, remedy }
    }
}

fn list() -> String {
    VARIABLES.iter().map(|(name, meaning)| format!("\n  {name:<24}{meaning}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(vars: &[(&str, &str)]) -> Result<Budget, EnvError> {
        Budget::from_vars(vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn the_environment_refines_the_quick_budget_in_any_order() {
        let plain = budget(&[("PATH", "/bin")]).expect("nothing of ours is set");
        assert_eq!((plain.cases, plain.regressions), (1_000, Some("regressions".into())));
        let vars = [
            ("STANCHION_CASES", "7"),
            ("STANCHION_SEED", "9"),
            ("STANCHION_PROFILE", "soak"),
            ("STANCHION_REPLAY", "x"),
            ("STANCHION_PATIENCE", "5"),
            ("STANCHION_TIME", "90"),
        ];
        let refined = budget(&vars).expect("all known");
        assert_eq!((refined.cases, refined.seed, &refined.replay), (7, 9, &Some("x".into())));
        assert_eq!(refined.patience, Duration::from_secs(5));
        assert_eq!(
            (refined.time, refined.words()),
            (Some(Duration::from_secs(90)), "90 s for each engine".into())
        );
        assert!(budget(&[("STANCHION_REPORT_DIR", "r")]).is_ok(), "read elsewhere");
    }

    #[test]
    fn what_cannot_be_obeyed_is_said_with_a_remedy() {
        let unknown = budget(&[("STANCHION_CASSES", "7")]).expect_err("a typo").to_string();
        assert!(unknown.contains("STANCHION_CASSES is set but nothing reads it"), "{unknown}");
        assert!(unknown.contains("STANCHION_CASES         how many plans"), "{unknown}");
        for (name, value) in [
            ("STANCHION_CASES", "0"),
            ("STANCHION_CASES", "many"),
            ("STANCHION_SEED", "-1"),
            ("STANCHION_PROFILE", "fast"),
            ("STANCHION_REPLAY", ""),
            ("STANCHION_REGRESSIONS", ""),
            ("STANCHION_REPORT_DIR", ""),
            ("STANCHION_PATIENCE", "0"),
            ("STANCHION_PATIENCE", "1 minute"),
            ("STANCHION_TIME", "0"),
            ("STANCHION_TIME", "1m"),
        ] {
            let error = budget(&[(name, value)]).expect_err("makes no sense").to_string();
            assert!(error.contains(name) && error.contains(value) && error.contains("give"), "{error}");
        }
    }
}
