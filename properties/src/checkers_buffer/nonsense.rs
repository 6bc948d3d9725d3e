//! Histories that no run makes: nothing panics, and what is called right is right by the definition.

use proptest::test_runner::{RngAlgorithm, TestRng};
use rand::RngExt;
use stanchion_queues::{Answer, BufferContract, Order};

use super::{Effort, judge_with, oracle};
use crate::buffer_history::{BufferHistory, ConsumerLog, Offered, Popped, ProducerLog, Tick, Window, token};
use crate::history::PENDING;
use crate::invariant::Invariant;
use crate::verdict::Verdict;

struct Chance {
    dice: TestRng,
    /// Windows that end before they begin, ticks at the end of time, items that nobody pushed.
    mad: bool,
    now: Tick,
}

impl Chance {
    fn one_in(&mut self, many: u32) -> bool {
        self.dice.random_range(0..many) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.dice.random_range(0..of.len())]
    }

    fn tick(&mut self) -> Tick {
        if self.mad && self.one_in(8) {
            return self.pick(&[0, 1, PENDING / 2, PENDING - 2, PENDING - 1, PENDING]);
        }
        self.dice.random_range(0..12)
    }

    /// The next of a thread.
    fn window(&mut self) -> Window {
        if self.mad && self.one_in(4) {
            let (a, b) = (self.tick(), self.tick());
            return if self.one_in(8) {
                Window { call: a, ret: b }
            } else {
                Window { call: a.min(b), ret: a.max(b) }
            };
        }
        let call = self.now + self.dice.random_range(0..4);
        self.now = call + self.dice.random_range(0..6);
        Window { call, ret: self.now }
    }

    fn windows(&mut self, most: usize) -> Vec<Window> {
        self.now = self.dice.random_range(0..6);
        (0..self.dice.random_range(0..=most)).map(|_| self.window()).collect()
    }

    fn history(&mut self) -> BufferHistory {
        let answers = [Answer::Exact, Answer::Exact, Answer::Relaxed, Answer::Unreliable];
        let contract = BufferContract {
            order: self.pick(&[Order::Fifo, Order::Fifo, Order::PerProducer, Order::Unordered]),
            bounded: !self.one_in(4),
            full: self.pick(&answers),
            empty: self.pick(&answers),
            ..BufferContract::FIFO
        };
        let capacity = self.pick(&[0, 1, 1, 2, 2, 3, usize::MAX]);
        let mut history = BufferHistory {
            contract,
            capacity,
            producers: vec![],
            consumers: vec![],
            drained: self.one_in(4),
        };
        let mut tokens = Vec::new();
        for producer in 0..self.dice.random_range(0..4) {
            let mut log = ProducerLog::default();
            for window in self.windows(3) {
                match self.dice.random_range(0..6) {
                    0 => log.fulls.push(window),
                    1 => log.offers.push(Offered::Abandoned(window)),
                    _ => {
                        tokens.push(token(producer, log.offers.len()));
                        log.offers.push(Offered::Accepted(window));
                    }
                }
            }
            if let Some(Offered::Accepted(last)) = log.offers.last_mut().filter(|_| self.one_in(4)) {
                last.ret = PENDING;
            }
            if self.mad && self.one_in(4) {
                log.trailing = self.windows(1);
            }
            history.producers.push(log);
        }
        for _ in 0..self.dice.random_range(0..4) {
            let mut log = ConsumerLog::default();
            for window in self.windows(3) {
                if tokens.is_empty() || self.one_in(3) {
                    log.empties.push(window);
                } else {
                    let which = if self.one_in(3) { self.dice.random_range(0..tokens.len()) } else { 0 };
                    log.pops.push(Popped { window, token: Some(tokens.remove(which)) });
                }
            }
            if self.mad && self.one_in(4) {
                let token = self.pick(&[None, Some(token(0, 0)), Some(token(1, 1)), Some(token(1 << 20, 0))]);
                log.pops.push(Popped { window: self.window(), token });
            }
            if self.mad && self.one_in(4) {
                log.trailing = self.windows(1);
            }
            if self.one_in(4) {
                let call = if self.mad { self.tick() } else { self.now };
                log.pending = vec![call; self.dice.random_range(1..3)];
            }
            history.consumers.push(log);
        }
        history
    }

    fn effort(&mut self) -> Effort {
        let construct = !self.one_in(4);
        let (configurations, steps) = self.pick(&[(20_000, 100_000), (20_000, 100_000), (1, 0), (2, 1000)]);
        Effort { construct, configurations, steps }
    }
}

fn nonsense(seed: u8, count: u64) {
    let dice = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut chance = Chance { dice, mad: false, now: 0 };
    let mut right = 0;
    for _ in 0..count {
        chance.mad = chance.one_in(2);
        let (history, effort) = (chance.history(), chance.effort());
        let judged = || {
            let judgement = judge_with(&history, effort);
            judgement.counterexamples.iter().for_each(|found| drop(found.to_string()));
            judgement
        };
        let Ok(judgement) = std::panic::catch_unwind(judged) else { panic!("{effort:?} {history:#?}") };
        let holds = judgement.verdicts.iter().any(|(invariant, verdict)| {
            *invariant == Invariant::Me1 && matches!(verdict, Verdict::Holds { .. })
        });
        if holds && !chance.mad && judgement.broken().next().is_none() {
            right += 1;
            let queue = oracle::Queue::of(&history);
            assert!(oracle::linearizable(&history, queue), "passed: {effort:?} {history:#?}");
        }
    }
    println!("{right} of {count} are right");
    assert!(right > count / 100);
}

#[test]
fn an_operation_that_returned_before_it_was_called_is_named_and_nothing_is_judged() {
    // The search for an order would wait for such an answer for ever.
    let back = ConsumerLog { empties: vec![Window { call: 8, ret: 5 }], ..ConsumerLog::default() };
    let mut history = BufferHistory {
        contract: BufferContract::FIFO,
        capacity: 1,
        producers: vec![],
        consumers: vec![],
        drained: true,
    };
    let pending = vec![PENDING];
    let unended = ConsumerLog { pending, ..ConsumerLog::default() };
    for (log, named) in [(back, "called at tick 8 and returned at tick 5"), (unended, "end before")] {
        history.consumers = vec![log];
        let judgement = judge_with(&history, Effort::default());
        assert!(judgement.verdicts.len() == super::PROMISES.len());
        for (invariant, verdict) in judgement.verdicts {
            assert!(
                matches!(&verdict, Verdict::Unknown(why) if why.contains(named)),
                "{invariant}: {verdict:?}"
            );
        }
    }
}

#[test]
fn nothing_panics_at_nonsense_and_what_passes_is_right() {
    nonsense(1, 20_000);
}

#[test]
#[ignore = "takes minutes"]
fn nothing_panics_at_much_nonsense_and_what_passes_is_right() {
    (2..12).for_each(|seed| nonsense(seed, 300_000));
}
