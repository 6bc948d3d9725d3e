//! What does not matter in a failing plan: values in whose place others break the same promise. After Hypothesis' explain
//! phase, which says "or any other generated value". Found by trying a few others, so it is what was seen and no proof.

use serde_json::Value;

use crate::regressions::{Keep, SavedPlan};

/// What is tried in the place of a number.
const OTHERS: [u64; 6] = [1, 2, 3, 5, 8, 100];
/// More plans than these are not run for it.
const MOST_RUNS: usize = 300;

/// The names of the values that do not matter, as in "capacity", "every session" or "lease ms of operation 2".
pub(crate) fn values<P: Keep>(plan: &P, mut fails: impl FnMut(&P) -> bool) -> Vec<String> {
    let saved: SavedPlan = plan.clone().into();
    let Ok(data) = serde_json::to_value(&saved) else { return Vec::new() };
    let leaves = leaves(&data);
    let mut found: Vec<Named> = Vec::new();
    for path in &leaves {
        let (name, _) = name(path);
        match found.iter_mut().find(|named| named.name == name) {
            Some(named) => named.places += 1,
            None => found.push(Named { name, places: 1, indifferent: Vec::new() }),
        }
    }
    let mut runs = 0;
    for path in leaves {
        let variants = others(data.pointer(&path).unwrap_or(&Value::Null));
        let variants: Vec<P> = variants.into_iter().filter_map(|value| with(&data, &path, value)).collect();
        runs += variants.len();
        if runs > MOST_RUNS {
            break;
        }
        // What is counted modulo what there is would be the same with some of them; with all it is not.
        if variants.len() >= 2 && variants.iter().all(&mut fails) {
            let (name, operation) = name(&path);
            let named = found.iter_mut().find(|named| named.name == name);
            named.into_iter().for_each(|named| named.indifferent.push(operation));
        }
    }
    found.iter().filter_map(Named::words).collect()
}

/// Values of one name.
struct Named {
    name: String,
    /// How many there are.
    places: usize,
    /// The operations of those that do not matter; `None`: a value of the plan itself.
    indifferent: Vec<Option<usize>>,
}

impl Named {
    fn words(&self) -> Option<String> {
        let Named { name, places, indifferent } = self;
        let operations: Vec<String> = indifferent.iter().flatten().map(usize::to_string).collect();
        match &operations[..] {
            _ if indifferent.is_empty() => None,
            [] => Some(name.clone()),
            [_, _, ..] if operations.len() == *places => Some(format!("every {name}")),
            [operation] => Some(format!("{name} of operation {operation}")),
            [_, _] | [_, _, _] => Some(format!("{name} of operations {}", operations.join(" and "))),
            several => Some(format!("{name} of {} operations", several.len())),
        }
    }
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

/// What a value is called, and the operation that it is of.
fn name(path: &str) -> (String, Option<usize>) {
    let words = path.rsplit('/').next().unwrap_or_default().replace('_', " ");
    let step = path.split_once("/steps/").and_then(|(_, rest)| rest.split('/').next()?.parse::<usize>().ok());
    (words, step.map(|step| step + 1))
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
            ["capacity", "deliveries allowed", "seed", "count of operation 1", "every session"]
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
        assert!(runs <= MOST_RUNS && runs > MOST_RUNS / 2, "{runs}");
        let of_some = |words: &String| words.starts_with("count of ") && words.ends_with(" operations");
        assert!(found.iter().any(of_some), "{found:?}");
    }
}
