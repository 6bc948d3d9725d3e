//! The sequential engine: one thread, a clock moved by hand, up to three sessions, and every fault of a
//! [`Plan`]. The same plan against the same broker writes the same history, byte for byte.

use std::cell::RefCell;

use stanchion_queues::{Broker, Clock, Contract, Crash, Error, Host, Settings};

use crate::engines::clients::{Client, Desk, Drain, Panicked, Place, Script, guard, recorder};
use crate::engines::clients::{advance, advance_to, millis};
pub(crate) use crate::engines::clients::{quietly, text_of};
use crate::engines::watchdog::{self, Call, calling};
use crate::history::{HARNESS, History, What};
use crate::plan::{Plan, PlanSettings, SESSIONS, Step, limit_after, redrive};
use crate::recording::{Recorder, Ticks};

/// The slot of the session that drains: none of a plan's.
const DRAIN: usize = SESSIONS;

/// The broker of a plan did not start even once, so there is nothing to judge.
#[derive(Debug, thiserror::Error)]
#[error(
    "the broker does not start with capacity {capacity} and {deliveries_allowed} deliveries allowed: {why}"
)]
pub struct NotStarted {
    /// The capacity asked for.
    pub capacity: usize,
    /// The deliveries allowed.
    pub deliveries_allowed: u32,
    /// What the broker said.
    pub why: String,
}

/// Runs a plan to its end, drains what is left and says what happened.
///
/// A panic of the queue is caught and ends the history with [`What::Panicked`]; a broker that does not start
/// after a crash ends it with [`What::Booted`] and its error.
///
/// # Errors
/// The broker does not start before the first step.
pub fn run<H: Host>(make: impl Fn(&Settings) -> H, plan: &Plan) -> Result<History, NotStarted> {
    run_with(make, plan, |_, _| ())
}

/// The same; `begins` is told the number of each step before it is done, and last how many there were; and the tick, before
/// which all lies that was done before.
pub(super) fn run_with<H: Host>(
    make: impl Fn(&Settings) -> H,
    plan: &Plan,
    begins: impl FnMut(usize, u64),
) -> Result<History, NotStarted> {
    quietly(|| Run::begin(make, plan).map(|run| run.finish(plan, begins)))
}

/// A broker that was booted, with what it promises.
pub(super) type Booted<B> = Result<Result<(Contract, B), Error>, Panicked>;

/// Boots a broker.
pub(super) fn boot<H: Host>(host: &mut H) -> Booted<H::Broker> {
    guard(|| calling(Call::Boot, || host.boot().map(|broker| (broker.contract(), broker))))
}

/// Starts a broker for the first time, as `boot` does it.
///
/// # Errors
/// It does not start, or no message of ours fits into it.
pub(super) fn start<H: Host>(
    make: impl Fn(&Settings) -> H,
    settings: &Settings,
    clock: &Clock,
    boot: impl FnOnce(H) -> (H, Booted<H::Broker>),
) -> Result<(H, H::Broker, Desk), NotStarted> {
    let refuse = |why: String| NotStarted {
        capacity: settings.capacity,
        deliveries_allowed: settings.deliveries_allowed,
        why,
    };
    let panicked = |Panicked(message)| refuse(format!("it panicked: {message}"));
    let (host, booted) = boot(guard(|| make(settings)).map_err(panicked)?);
    let (contract, broker) = booted.map_err(panicked)?.map_err(|error| refuse(error.to_string()))?;
    let desk = Desk::new(contract, settings, clock.clone()).map_err(refuse)?;
    Ok((host, broker, desk))
}

/// Why a run stops before its end.
pub(super) enum Stop {
    Panicked(String),
    DidNotBoot,
}

impl From<Panicked> for Stop {
    fn from(Panicked(message): Panicked) -> Stop {
        Stop::Panicked(message)
    }
}

/// Says that a broker was started again, or was not.
pub(super) fn note_boot<B>(booted: Booted<B>, harness: &mut Recorder<Script>) -> Result<B, Stop> {
    let (error, result) = match booted {
        Ok(Ok((_, broker))) => (None, Ok(broker)),
        Ok(Err(error)) => (Some(error.to_string()), Err(Stop::DidNotBoot)),
        Err(Panicked(message)) => (Some(format!("it panicked: {message}")), Err(Stop::Panicked(message))),
    };
    harness.note(HARNESS, What::Booted { error });
    result
}

struct Run<H: Host> {
    host: H,
    broker: Option<H::Broker>,
    clients: Vec<Client<<H::Broker as Broker>::Session>>,
    harness: Recorder<Script>,
    desk: RefCell<Desk>,
    crashes: u32,
}

impl<H: Host> Run<H> {
    fn begin(make: impl Fn(&Settings) -> H, plan: &Plan) -> Result<Run<H>, NotStarted> {
        let clock = Clock::manual();
        let (host, broker, desk) =
            start(make, &plan.settings.with_clock(clock.clone()), &clock, |mut host| {
                let booted = boot(&mut host);
                (host, booted)
            })?;
        let ticks = Ticks::default();
        let mut harness = recorder(&ticks, &clock);
        harness.note(HARNESS, What::Booted { error: None });
        let clients = (0..=DRAIN).map(|_| Client::new(&ticks, &clock)).collect();
        Ok(Run { host, broker: Some(broker), clients, harness, desk: RefCell::new(desk), crashes: 0 })
    }

    fn finish(mut self, plan: &Plan, mut begins: impl FnMut(usize, u64)) -> History {
        let ticks = self.harness.ticks().clone();
        let mut begin = |index| {
            watchdog::step(index);
            begins(index, ticks.upcoming());
        };
        let mut ended = plan.steps.iter().enumerate().try_for_each(|(index, step)| {
            begin(index);
            self.step(step, plan.settings)
        });
        begin(plan.steps.len());
        if ended.is_ok() {
            ended = self.drain(plan);
        }
        let ended = ended.and(self.drop_all());
        let mut events: Vec<_> = self.clients.iter_mut().flat_map(Client::events).collect();
        if let Err(Stop::Panicked(message)) = ended {
            self.harness.note(HARNESS, What::Panicked { message });
        }
        events.extend(self.harness.sink.take());
        events.sort_by_key(|event| event.call);
        History { contract: self.desk.into_inner().contract, events }
    }

    fn drop_all(&mut self) -> Result<(), Stop> {
        let dropped = self.clients.iter_mut().map(Client::drop_session).fold(Ok(()), Result::and);
        let broker = self.broker.take();
        Ok(dropped.and(guard(|| calling(Call::Drop, || drop(broker))))?)
    }

    fn step(&mut self, step: &Step, settings: PlanSettings) -> Result<(), Stop> {
        match *step {
            Step::Advance { ms } => advance(&mut self.harness, &self.desk, millis(ms)),
            Step::AdvanceTo { which, offset_ns } => {
                advance_to(&mut self.harness, &self.desk, which, offset_ns);
            }
            Step::Crash { kind } => self.crash(kind, settings)?,
            _ => {
                if let (Some(slot), Some(broker)) = (step.session(), &self.broker) {
                    let place = Place { broker, desk: &self.desk };
                    self.clients[slot % SESSIONS].perform(step, place)?;
                }
            }
        }
        Ok(())
    }

    fn crash(&mut self, crash: Crash, settings: PlanSettings) -> Result<(), Stop> {
        guard(|| calling(Call::Crash, || self.host.crash(crash)))?;
        // A killed process drops nothing. What its remains do while they are dropped here is cut off, and
        // that includes a panic.
        let _ = self.drop_all();
        self.desk.borrow_mut().crashed();
        self.harness.note(HARNESS, What::Crashed { crash });
        self.crashes += 1;
        let limit = limit_after(settings.seed, settings.deliveries_allowed, self.crashes);
        let limited = limit.filter(|_| self.desk.borrow().contract.deliveries_allowed.is_some());
        let limited = match limited {
            Some(limit) if guard(|| self.host.limit(limit))? => Some(limit),
            _ => None,
        };
        self.broker = Some(note_boot(boot(&mut self.host), &mut self.harness)?);
        if let Some(deliveries_allowed) = limited {
            self.harness.note(HARNESS, What::Limited { deliveries_allowed });
        }
        Ok(())
    }

    fn drain(&mut self, plan: &Plan) -> Result<(), Stop> {
        let Some(broker) = &self.broker else { return Ok(()) };
        let place = Place { broker, desk: &self.desk };
        let mut drain = Drain { client: &mut self.clients[DRAIN], harness: &mut self.harness, place };
        Ok(drain.run(redrive(plan.redrive_at_end, plan.settings.seed))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::{self, judge};
    use crate::engines::testing::{Bug, hosting};
    use crate::history::{Outcome, PENDING};
    use crate::invariant::Invariant;
    use crate::plan::{Fate, How, PlanSettings, Plans, Which};
    use crate::verdict::Verdict;

    fn plan(steps: Vec<Step>) -> Plan {
        let settings = PlanSettings { capacity: 4, deliveries_allowed: 3, seed: 0 };
        Plan { settings, steps, redrive_at_end: false }
    }

    fn send(fate: Fate) -> Step {
        Step::Send { session: 0, count: 1, delay_ms: 0, keyed: false, fate }
    }

    fn receive(fate: Fate) -> Step {
        Step::Receive { session: 0, max: 1, lease_ms: 10, fate }
    }

    fn whats(bug: Bug, steps: Vec<Step>) -> Vec<What> {
        let history = run(hosting(bug), &plan(steps)).expect("it starts");
        history.events.into_iter().map(|event| event.what).collect()
    }

    #[test]
    fn the_same_plan_writes_the_same_history_byte_for_byte() {
        for seed in 0..200 {
            let plan = Plans::default().draw(seed);
            let json = || {
                let history = run(hosting(Bug::None), &plan).expect("it starts");
                serde_json::to_vec(&history).expect("a history is plain data")
            };
            assert_eq!(json(), json());
        }
    }

    #[test]
    fn any_subset_of_a_plan_is_a_plan_and_an_honest_broker_is_never_blamed() {
        for seed in 0..300 {
            let whole = Plans::default().draw(seed);
            for keep in 1..4usize {
                let steps = whole.steps.iter().enumerate();
                let steps = steps.filter(|(index, _)| keep == 1 || index * 7 % 5 < keep);
                let plan = Plan { steps: steps.map(|(_, step)| step.clone()).collect(), ..whole.clone() };
                let history = run(hosting(Bug::None), &plan).expect("it starts");
                assert!(judge(&history).iter().all(|(_, verdict)| !verdict.is_broken()), "{plan:?}");
                assert_eq!(
                    history.events.last().map(|event| &event.what),
                    Some(&What::DrainEnded { quiet: true })
                );
            }
        }
    }

    #[test]
    fn events_are_disjoint_intervals_and_the_clock_moves_only_by_hand() {
        for seed in 0..100 {
            let history = run(hosting(Bug::None), &Plans::default().draw(seed)).expect("it starts");
            for pair in history.events.windows(2) {
                let [a, b] = pair else { unreachable!("windows of two") };
                assert!(a.ret < b.call || (a.op, a.call, a.ret) == (b.op, b.call, b.ret));
                assert_eq!(a.until, b.at.max(a.at), "time passes within advances only");
            }
            for event in &history.events {
                match event.what {
                    What::Advanced { by } => assert_eq!(event.until.since(event.at), by),
                    _ => assert_eq!(event.at, event.until),
                }
            }
        }
    }

    #[test]
    fn a_lost_reply_hides_what_was_done_and_a_lost_request_does_nothing() {
        use crate::history::SendOutcome::InDoubt;
        let sent = |fate| {
            let whats = whats(Bug::None, vec![send(fate)]);
            assert!(whats.iter().any(|what| matches!(what, What::Send { outcome: InDoubt, .. })));
            whats.iter().filter(|what| matches!(what, What::Deliver { .. })).count()
        };
        assert_eq!((sent(Fate::ReplyLost), sent(Fate::RequestLost)), (1, 0));

        let received = |fate| {
            let whats = whats(Bug::None, vec![send(Fate::Arrives), receive(fate)]);
            assert!(whats.iter().any(|what| matches!(what, What::Receive { got: None, .. })));
            whats.into_iter().find_map(|what| match what {
                What::Deliver { attempt, .. } => Some(attempt),
                _ => None,
            })
        };
        assert_eq!((received(Fate::ReplyLost), received(Fate::RequestLost)), (Some(2), Some(1)));
    }

    #[test]
    fn sessions_are_numbered_once_and_never_return() {
        let lose = Step::LoseSession { session: 0 };
        let crash = Step::Crash { kind: Crash::Power };
        let steps = vec![send(Fate::Arrives), lose, send(Fate::Arrives), crash, send(Fate::Arrives)];
        let history = run(hosting(Bug::None), &plan(steps)).expect("it starts");
        let opened = history.events.iter().filter(|event| event.what == What::Opened);
        // The last one is the drain's.
        assert_eq!(opened.map(|event| event.actor.0).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn a_late_ack_is_stale_and_a_retry_sends_the_same_bytes() {
        let ack = Step::Settle {
            session: 1,
            which: Which::Current(0),
            count: 1,
            how: How::Ack,
            fate: Fate::Arrives,
        };
        let to_deadline = Step::AdvanceTo { which: 0, offset_ns: 0 };
        let whats_of = whats(Bug::None, vec![send(Fate::Arrives), receive(Fate::Arrives), to_deadline, ack]);
        assert!(whats_of.iter().any(|what| matches!(what, What::Settle { outcome: Outcome::Stale, .. })));

        let retry = Step::Retry { session: 0, which: 0, fate: Fate::Arrives };
        let whats_of = whats(Bug::None, vec![send(Fate::ReplyLost), retry]);
        let sends: Vec<_> = whats_of
            .iter()
            .filter_map(|what| match what {
                What::Send { token, body, .. } => Some((token, body)),
                _ => None,
            })
            .collect();
        assert!(matches!(sends[..], [first, second] if first == second));
    }

    #[test]
    fn a_panic_of_the_queue_is_a_broken_promise_and_not_a_crash_of_the_harness() {
        let nack = Step::Settle {
            session: 0,
            which: Which::Current(0),
            count: 1,
            how: How::Nack { delay_ms: 0 },
            fate: Fate::Arrives,
        };
        let round = [receive(Fate::Arrives), nack];
        let steps = [vec![send(Fate::Arrives)], round.to_vec(), round.to_vec()].concat();
        let history = run(hosting(Bug::PanicsOnThirdAttempt), &plan(steps)).expect("it starts");
        let [.., during, last] = &history.events[..] else { panic!("too short") };
        assert!(matches!(during.what, What::Receive { got: None, .. }));
        assert_eq!(during.ret, PENDING);
        assert!(matches!(&last.what, What::Panicked { message } if message.contains("third attempt")));
        let Verdict::Broken(how) = checkers::check(Invariant::Li1, &history) else {
            panic!("no broken promise")
        };
        assert!(how.sentence.contains("no third attempt was foreseen"));
    }

    #[test]
    fn a_panic_in_the_drain_is_a_broken_promise_and_not_a_crash_of_the_harness() {
        let steps = [send(Fate::Arrives), receive(Fate::Arrives), Step::Advance { ms: 10 }];
        let steps = [&steps[..], &[receive(Fate::Arrives)]].concat();
        let history = run(hosting(Bug::PanicsOnThirdAttempt), &plan(steps)).expect("it starts");
        let whats: Vec<&What> = history.events.iter().map(|event| &event.what).collect();
        assert!(whats.contains(&&What::DrainBegan) && matches!(whats.last(), Some(What::Panicked { .. })));
        let verdicts = judge(&history);
        let of = |invariant| verdicts.iter().find(|(of, _)| *of == invariant).map(|(_, verdict)| verdict);
        assert!(of(Invariant::Li1).is_some_and(Verdict::is_broken));
        assert!(!of(Invariant::Al1).is_some_and(Verdict::is_broken), "what nobody could ask for is not lost");
    }

    #[test]
    fn a_stale_nack_reaches_the_broker() {
        let nack = Step::Settle {
            session: 1,
            which: Which::Any(0),
            count: 1,
            how: How::Nack { delay_ms: 0 },
            fate: Fate::Arrives,
        };
        let steps = vec![
            send(Fate::Arrives),
            receive(Fate::Arrives),
            Step::Advance { ms: 10 },
            send(Fate::Arrives),
            nack,
        ];
        let history = run(hosting(Bug::StaleNackLoses), &plan(steps)).expect("it starts");
        let delivered = history.events.iter().filter(|event| matches!(event.what, What::Deliver { .. }));
        assert_eq!(delivered.count(), 2, "the first, which is lost then, and the second in the drain");
    }

    #[test]
    fn a_panic_while_a_session_is_dropped_is_caught_too() {
        let steps = vec![
            send(Fate::Arrives),
            receive(Fate::Arrives),
            Step::Advance { ms: 10 },
            Step::LoseSession { session: 0 },
        ];
        let whats = whats(Bug::PanicsOnDrop, steps);
        assert!(matches!(&whats[whats.len() - 2..], [What::Lost, What::Panicked { .. }]));
    }

    #[test]
    fn a_broker_that_does_not_boot_is_an_error_before_and_a_fact_after_a_crash() {
        let steps = vec![Step::Crash { kind: Crash::Process }, send(Fate::Arrives)];
        let error = run(hosting(Bug::NeverBoots), &plan(steps.clone())).expect_err("it never starts");
        assert!(error.to_string().contains("capacity 4") && error.to_string().contains("the cable is cut"));
        let whats = whats(Bug::BootsOnce, steps);
        assert!(
            matches!(&whats[..], [_, What::Crashed { .. }, What::Booted { error: Some(error) }] if error.contains("cable"))
        );
    }
}
