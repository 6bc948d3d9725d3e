//! What does not matter in a failing plan: values in whose place others break the same promise. After Hypothesis' explain
//! phase, which says "or any other generated value". Found by trying a few others, so it is what was seen and no proof.

use serde_json::Value;

use crate::regressions::{Keep, SavedPlan};

/// What is tried in the place of a number.
const OTHERS: [u64; 6] = [1, 2, 3, 5, 8, 100];
/// More plans than these are not run for it.
const MOST_RUNS: usize = 300;
/// More names than these nobody reads.
const MOST_NAMED: usize = 8;

/// The names of the values that do not matter, as in "capacity" or "lease ms of operation 2".
pub(crate) fn values<P: Keep>(plan: &P, mut fails: impl FnMut(&P) -> bool) -> Vec<String> {
    let saved: SavedPlan = plan.clone().into();
    let Ok(data) = serde_json::to_value(&saved) else { return Vec::new() };
    let mut found: Vec<String> = Vec::new();
    let (mut runs, mut more) = (0, 0);
    for path in leaves(&data) {
        let variants = others(data.pointer(&path).unwrap_or(&Value::Null));
        let variants: Vec<P> = variants.into_iter().filter_map(|value| with(&data, &path, value)).collect();
        runs += variants.len();
        if runs > MOST_RUNS {
            break;
        }
        // What is counted modulo what there is would be the same with some of them; with all it is not.
        if variants.len() >= 2 && variants.iter().all(&mut fails) {
            if found.len() < MOST_NAMED {
                found.push(name(&path));
            } else {
                more += 1;
            }
        }
    }
    if more > 0 {
        found.push(format!("{more} more"));
    }
    found
}

/// The places of numbers in a plan. In lists other than that of the steps, the places mean too little to a reader.
fn leaves(data: &Value) -> Vec<String> {
    fn go(value: &Value, path: &str, out: &mut Vec<String>) {
        match value {
            Value::Number(_) => out.push(path.to_owned()),
            Value::Object(fields) => {
                fields.iter().for_each(|(key, value)| go(value, &format!("{path}/{key}"), out));
            }
            Value::Array(items) if path.ends_with("/steps") => {
                items.iter().enumerate().for_each(|(at, value)| go(value, &format!("{path}/{at}"), out));
            }
            _ => {}
        }
    }
    let mut out = Vec::new();
    go(data, "", &mut out);
    out
}

fn others(value: &Value) -> Vec<Value> {
    OTHERS.into_iter().map(Value::from).filter(|other| other != value).collect()
}

/// The plan with another value in one place, if that is a plan.
fn with<P: Keep>(data: &Value, path: &str, value: Value) -> Option<P> {
    let mut data = data.clone();
    *data.pointer_mut(path)? = value;
    P::of(serde_json::from_value(data).ok()?)
}

fn name(path: &str) -> String {
    let mut words = path.rsplit('/').next().unwrap_or_default().replace('_', " ");
    let step = path.split_once("/steps/").and_then(|(_, rest)| rest.split('/').next()?.parse::<usize>().ok());
    if let Some(step) = step {
        words += &format!(" of operation {}", step + 1);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Fate, Plan, PlanSettings, Step};

    fn plan() -> Plan {
        let send = |count| Step::Send { session: 0, count, delay_ms: 0, keyed: false, fate: Fate::Arrives };
        let settings = PlanSettings { capacity: 4, deliveries_allowed: 3, seed: 0 };
        Plan { settings, steps: vec![send(1), send(2)], redrive_at_end: false }
    }

    #[test]
    fn values_that_others_can_stand_for_are_named_and_no_others() {
        let count = |plan: &Plan, at: usize| match plan.steps[at] {
            Step::Send { count, .. } => count,
            _ => 0,
        };
        let needs_two = |plan: &Plan| count(plan, 1) == 2;
        assert_eq!(
            values(&plan(), needs_two),
            [
                "capacity",
                "deliveries allowed",
                "seed",
                "count of operation 1",
                "session of operation 1",
                "session of operation 2"
            ]
        );
        let needs_room = |plan: &Plan| plan.settings.capacity >= 2 && needs_two(plan);
        assert!(!values(&plan(), needs_room).contains(&"capacity".to_owned()));
    }

    #[test]
    fn a_plan_with_very_many_values_is_not_run_for_ever() {
        let many = Plan { steps: vec![plan().steps; 100].concat(), ..plan() };
        let mut runs = 0;
        let found = values(&many, |_| {
            runs += 1;
            true
        });
        assert!(runs <= MOST_RUNS && found.len() == MOST_NAMED + 1, "{found:?}");
    }
}
