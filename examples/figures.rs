//! What the harness itself costs, and whether it ever blames a correct queue:
//! `cargo run --release --example figures [EVENTS]` (ten million events by default).
//!
//! Prints plans a second, what [`Leased`] adds to its buffer, and the number of events over which no correct
//! queue was blamed. Ends with an error if one was.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use stanchion::buffers::{MutexDeque, Ring};
use stanchion::file::SimHost;
use stanchion::properties::checkers;
use stanchion::properties::engines::budget::Budget;
use stanchion::properties::engines::explore::{Exploration, ExploreError, explore};
use stanchion::properties::engines::{images, sequential, simulated};
use stanchion::properties::history::History;
use stanchion::properties::plan::{Plan, Plans, case_seed};
use stanchion::properties::rogues::delivery::RogueHost;
use stanchion::properties::rogues::tickets::TicketHost;
use stanchion::{
    Broker, Buffer, Clock, Host, Leased, Message, Pop, Push, Session, Settings, Settle, Settlement, Shape,
    Volatile,
};

const PLANS: u64 = 20_000;
const MESSAGES: u64 = 2_000_000;
const ROUNDS: usize = 5;

fn main() -> ExitCode {
    let events: u64 = match std::env::args().nth(1).map(|text| text.parse()) {
        None => 10_000_000,
        Some(Ok(events)) => events,
        Some(Err(error)) => {
            eprintln!("the number of events makes no sense ({error}): give one, as in 10000000");
            return ExitCode::from(2);
        }
    };
    println!("{PLANS} plans, one thread, run and judged:");
    sequential_plans("ring (in Leased)", leased::<Ring>);
    sequential_plans("file (simulated disk)", SimHost::new);
    simulated_plans("ring (in Leased)", leased::<Ring>);
    simulated_plans("file (simulated disk)", SimHost::new);
    cost_of_leased();
    if blame_nobody(events) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn leased<B: Buffer>(settings: &Settings) -> impl Host<Broker = Leased<B>> + use<B> {
    let settings = settings.clone();
    Volatile::new(move || Leased::<B>::open(&settings))
}

fn sequential_plans<H: Host>(name: &str, make: impl Fn(&Settings) -> H) {
    let drawer = Plans::default();
    let plans = (0..PLANS).map(|case| drawer.draw(case_seed(1, name, case))).collect();
    let run = |plan: &Plan| sequential::run(&make, plan).expect("it starts");
    plans_per_second(&format!("sequential: {name}"), plans, run);
}

fn simulated_plans<H: Host>(name: &str, make: impl Fn(&Settings) -> H) {
    let plans = (0..PLANS).map(|case| simulated::Plan::draw(case_seed(1, name, case))).collect();
    let run = |plan: &simulated::Plan| simulated::run(&make, plan, true).expect("it starts");
    plans_per_second(&format!("simulated: {name}"), plans, run);
}

fn plans_per_second<P>(name: &str, plans: Vec<P>, run: impl Fn(&P) -> History) {
    let (mut running, mut judging, mut events) = (Duration::ZERO, Duration::ZERO, 0);
    for plan in &plans {
        let start = Instant::now();
        let history = run(plan);
        running += start.elapsed();
        events += history.events.len();
        let start = Instant::now();
        std::hint::black_box(checkers::judge(&history));
        judging += start.elapsed();
    }
    let per_second = |count: f64, time: Duration| count / time.as_secs_f64();
    println!(
        "  {name:<34}{:>9.0} plans/s run, {:>7.0} plans/s run and judged; {:.0} events a plan, {:.2} M events/s judged",
        per_second(PLANS as f64, running),
        per_second(PLANS as f64, running + judging),
        events as f64 / PLANS as f64,
        per_second(events as f64, judging) / 1e6,
    );
}

/// Interleaved rounds: the machine's mood meets both alike.
fn cost_of_leased() {
    let (mut bare, mut under_lease) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(push_and_pop());
        under_lease.push(send_receive_ack());
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let (bare, under_lease) = (median(&mut bare), median(&mut under_lease));
    println!(
        "Leased over the ring, one thread, {MESSAGES} messages, medians of {ROUNDS} interleaved rounds:\n  \
         send, receive and ack {under_lease:.0} ns a message; push and pop alone {bare:.0} ns; \
         Leased adds {:.0} ns",
        under_lease - bare
    );
}

fn push_and_pop() -> f64 {
    let mut ends = Ring::open::<Message>(Shape::new(1, 1, 1024)).expect("an ordinary shape");
    let (producer, consumer) = (&mut ends.producers[0], &mut ends.consumers[0]);
    let message = Message::new(&b"sixteen bytes..."[..]);
    let start = Instant::now();
    for _ in 0..MESSAGES {
        assert!(producer.push(message.clone()).is_ok());
        assert!(consumer.pop().is_some());
    }
    start.elapsed().as_nanos() as f64 / MESSAGES as f64
}

fn send_receive_ack() -> f64 {
    let settings = Settings { clock: Clock::system(), ..Settings::new() };
    let broker = Leased::<Ring>::open(&settings).expect("ordinary settings");
    let mut session = broker.session().expect("a session");
    let message = [Message::new(&b"sixteen bytes..."[..])];
    let start = Instant::now();
    for _ in 0..MESSAGES {
        session.send(&message);
        let deliveries = session.receive(1, Duration::from_secs(30)).expect("an ordinary receive");
        let [delivery] = deliveries.as_slice() else { panic!("what was sent was not delivered") };
        session.settle(&[Settlement { receipt: delivery.receipt, how: Settle::Ack }]);
    }
    let each = start.elapsed().as_nanos() as f64 / MESSAGES as f64;
    let depth = session.depth().expect("a count");
    assert_eq!((depth.ready, depth.in_flight), (0, 0), "every message was acked");
    each
}

/// Plans against correct queues of every kind, in every engine that runs plans, until there were so many events.
fn blame_nobody(events: u64) -> bool {
    let start = Instant::now();
    let share = events / 13;
    let mut judged = Vec::new();
    judged.extend(by_clients("leased ring", share, leased::<Ring>));
    judged.extend(by_clients("leased deque", share, leased::<MutexDeque>));
    judged.extend(by_clients("file", share, SimHost::new));
    judged.extend(by_clients("file by ticket", share, TicketHost::new));
    judged.extend(by_clients("reference in memory", share, |settings| RogueHost::correct(false, settings)));
    judged.extend(by_clients("durable reference", share, |settings| RogueHost::correct(true, settings)));
    judged.push(until("file", share, |budget| images::explore("file", SimHost::new, budget)));
    let (events, blamed) = judged.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    println!(
        "{events} events of correct queues judged in {:.0} s (sequential, simulated and crash images): {blamed} \
         promises blamed",
        start.elapsed().as_secs_f64()
    );
    blamed == 0
}

fn by_clients<H: Host>(name: &str, least: u64, make: impl Fn(&Settings) -> H) -> [(u64, u64); 2] {
    let sequential = until(name, least, |budget| explore(name, &make, budget, checkers::judge));
    [sequential, until(name, least, |budget| simulated::explore(name, &make, budget))]
}

/// How many events were judged, and how many promises were found broken in them.
fn until(
    name: &str,
    least: u64,
    explore: impl Fn(&Budget) -> Result<Exploration, ExploreError>,
) -> (u64, u64) {
    let (mut events, mut blamed, mut seed) = (0, 0, 1);
    while events < least {
        let budget = Budget { cases: 2_000, seed, shrink_runs: 500, ..Budget::quick() };
        let exploration = explore(&budget).expect("it starts");
        // Each promise is judged over the same events.
        events += exploration.findings.iter().map(|finding| finding.events).max().unwrap_or(0);
        for finding in exploration.findings.iter().filter(|finding| finding.verdict.is_broken()) {
            blamed += 1;
            let picture = finding.failure.as_ref().map_or("", |failure| failure.picture.as_str());
            println!("{name} was blamed with {}:\n{picture}", finding.invariant);
        }
        seed += 1;
    }
    (events, blamed)
}
