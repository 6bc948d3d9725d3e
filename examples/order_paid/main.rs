//! An order is paid, and four services hear of it: one invoices it, one mails the customer, one takes the goods from
//! the stock, one counts the turnover. Each must do so once, though messages arrive twice and late, services die at
//! any moment, and the producer sends again what it is not sure of. Each is idempotent in its own way:
//!
//! | service | its effect | why a second time changes nothing |
//! |---|---|---|
//! | invoice | a row in its own database | the row and the note of the order are written in one transaction |
//! | mail | a call to somebody else that cannot be undone | the callee is given the order as idempotency key |
//! | stock | rows that are named by the order | the row is there already: an insert that may find it |
//! | turnover | a sum that is drawn from a set | adding to a set twice is adding once |
//!
//! Beside each stand mistakes that look right until a message comes twice. `cargo run --example order_paid` runs all of
//! them through every broker of the registry under the same faults and tells the shortest story of each mistake.

mod faults;
mod services;
mod shop;

use std::process::ExitCode;

use stanchion::{Host, Settings, registry};

use faults::Run;
use services::Service;

/// How many runs each service meets with each broker.
const RUNS: u64 = 300;

fn main() -> ExitCode {
    let (mut surprises, registry) = (0, registry());
    for service in Service::ALL {
        println!("{service:?}: {}", service.what());
        for (place, (broker, make)) in registry.brokers().enumerate() {
            let wrong =
                (0..RUNS).filter_map(|seed| on(make, *service, seed).err().map(|story| (seed, story)));
            let shortest = wrong.min_by_key(|(_, story)| story.lines().count());
            let said = match &shortest {
                None => "every order once".to_owned(),
                Some((seed, story)) if place == 0 => format!("WRONG, as in run {seed}:\n{story}"),
                Some((seed, _)) => format!("WRONG, as in run {seed}"),
            };
            println!("  {broker:<22} {said}");
            surprises += usize::from(shortest.is_none() != service.is_right());
        }
    }
    if surprises == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One run of one service. An error tells what went wrong with one order.
fn on<H: Host>(make: impl Fn(&Settings) -> H, service: Service, seed: u64) -> Result<(), String> {
    Run::new(make, service, seed).map_err(|error| error.to_string())?.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_services_are_right_and_each_mistake_is_found_with_every_broker() {
        let registry = registry();
        assert!(registry.brokers().any(|(broker, _)| broker == "file") && registry.brokers().count() > 4);
        for service in Service::ALL {
            for (broker, make) in registry.brokers() {
                let wrong = (0..RUNS).find_map(|seed| on(make, *service, seed).err());
                assert_eq!(wrong.is_none(), service.is_right(), "{service:?} through {broker}: {wrong:?}");
            }
        }
    }

    #[test]
    fn the_same_seed_tells_the_same_story() {
        let registry = registry();
        let (_, make) = registry.brokers().next().expect("there are some");
        let tell = || (0..RUNS).find_map(|seed| on(make, Service::InvoiceAcksFirst, seed).err());
        assert!(tell().is_some());
        assert_eq!(tell(), tell());
    }
}
