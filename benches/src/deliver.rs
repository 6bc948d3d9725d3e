//! Takes messages through a broker: send, receive, ack. One session does all three, so that the depth stays
//! at one batch and what is measured is the cost of a message's whole life, not of a growing heap.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use stanchion_properties::history::Token;
use stanchion_properties::payload;
use stanchion_queues::{
    Broker, Delivery, Error, Message, Refusal, Sent, Session, Settle, Settled, Settlement,
};

use crate::crew::pin;
use crate::ledger::BenchLedger;
use crate::trial::{Fault, Span, Trial};

/// How a broker is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivering {
    /// How many messages go into one call.
    pub batch: usize,
    /// The size of a body.
    pub body_bytes: usize,
}

impl Delivering {
    /// One message a call, of 100 bytes.
    pub const SINGLE: Delivering = Delivering { batch: 1, body_bytes: 100 };
    /// A hundred messages a call, of 100 bytes each.
    pub const BATCH: Delivering = Delivering { batch: 100, ..Delivering::SINGLE };
}

/// So long that no lease ends during a trial: a redelivery would be the broker's fault.
const LEASE: Duration = Duration::from_secs(3600);
/// More than a broker needs to hand out what is ready, for brokers whose "empty" is relaxed.
const EMPTY_LOOKS: usize = 1000;

/// Takes `messages` messages through the broker, which must be empty.
///
/// # Errors
/// The broker fails or panicked, or its ledger is not clean: not every message was confirmed, delivered
/// once, whole and for the first time, and acked.
pub fn run<B: Broker>(broker: &B, delivering: Delivering, messages: u64) -> Result<Trial, Fault> {
    let mut session = broker.session()?;
    let work = move || {
        pin(0);
        let mut run = Run::new(delivering, messages);
        let (span, result) = Span::of(|| run.all(&mut session));
        result?;
        // Everything was acked: whatever comes now, comes again.
        run.ledger.counts.duplicate += session.receive(delivering.batch, LEASE)?.len() as u64;
        Ok::<_, Error>((span, run.ledger))
    };
    // Scoped, because a session need not outlive its broker but its thread may not either.
    let joined = thread::scope(|scope| scope.spawn(work).join());
    let (span, ledger) = joined.map_err(|panic| Fault::panicked(panic.as_ref()))??;
    Trial::judge(&[span], ledger)
}

/// The messages of a trial and what became of them. A body is one of a pool, made beforehand; as at most
/// one batch is under way, the body tells which message it is.
struct Run {
    pool: Vec<Message>,
    batch: usize,
    messages: u64,
    ledger: BenchLedger,
    /// Which messages of the batch under way have come.
    come: Vec<bool>,
    settlements: Vec<Settlement>,
}

impl Run {
    fn new(delivering: Delivering, messages: u64) -> Run {
        // Twice a batch at least: a message of the batch before is then known as such.
        let pool = (delivering.batch * 2).max(256);
        let body = |token| Message::new(payload::encode(Token(token as u64), delivering.body_bytes));
        Run {
            // Batches are slices of the pool, so it is as long again as a batch.
            pool: (0..pool + delivering.batch).map(|at| body(at % pool)).collect(),
            batch: delivering.batch,
            messages,
            ledger: BenchLedger { asked: messages, ..BenchLedger::default() },
            come: Vec::new(),
            settlements: Vec::new(),
        }
    }

    fn all(&mut self, session: &mut impl Session) -> Result<(), Error> {
        let mut sent = 0;
        while sent < self.messages {
            let count = (self.messages - sent).min(self.batch as u64) as usize;
            self.once(session, (sent % self.tokens()) as usize, count)?;
            sent += count as u64;
        }
        Ok(())
    }

    fn tokens(&self) -> u64 {
        (self.pool.len() - self.batch) as u64
    }

    /// Takes one batch through: the `count` messages of the pool from `first` on.
    fn once(&mut self, session: &mut impl Session, first: usize, count: usize) -> Result<(), Error> {
        let counts = &mut self.ledger.counts;
        let confirmed_before = counts.confirmed;
        for outcome in session.send(&self.pool[first..first + count]) {
            match outcome {
                Sent::Confirmed(_) => counts.confirmed += 1,
                Sent::Refused(Refusal::Unavailable(why)) => return Err(Error::Gone(why)),
                Sent::Refused(_) => counts.refused += 1,
                Sent::InDoubt(error) => return Err(error),
            }
        }
        let expected = counts.confirmed - confirmed_before;
        self.come.clear();
        self.come.resize(count, false);
        let mut come = 0;
        let mut looks = 0;
        while come < expected && looks < EMPTY_LOOKS {
            let deliveries = session.receive(count, LEASE)?;
            looks = if deliveries.is_empty() { looks + 1 } else { 0 };
            self.settlements.clear();
            for delivery in &deliveries {
                come += self.enter(delivery, first);
                self.settlements.push(Settlement { receipt: delivery.receipt, how: Settle::Ack });
            }
            for outcome in session.settle(&self.settlements) {
                match outcome {
                    Settled::Done => self.ledger.counts.acked += 1,
                    Settled::Stale => self.ledger.unsettled += 1,
                    Settled::InDoubt(error) => return Err(error),
                }
            }
        }
        self.ledger.counts.lost += expected - come;
        Ok(())
    }

    /// Enters a delivery, and says how many expected messages it is: one or none.
    fn enter(&mut self, delivery: &Delivery, first: usize) -> u64 {
        let counts = &mut self.ledger.counts;
        counts.delivered += 1;
        let known = token(&delivery.body).filter(|token| {
            self.pool.get(*token).is_some_and(|message| whole(&message.body, &delivery.body))
        });
        let Some(token) = known else {
            counts.phantom += 1;
            return 0;
        };
        let tokens = self.pool.len() - self.batch;
        match self.come.get_mut((token + tokens - first) % tokens) {
            Some(come) if !*come && delivery.attempt == 1 => {
                *come = true;
                1
            }
            // Again, or from an earlier batch.
            _ => {
                counts.duplicate += 1;
                0
            }
        }
    }
}

fn token(body: &[u8]) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(*body.first_chunk()?)).ok()
}

fn whole(sent: &Arc<[u8]>, delivered: &Arc<[u8]>) -> bool {
    Arc::ptr_eq(sent, delivered) || sent == delivered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::{Fault as Wrong, TestBroker};

    fn ledger(wrong: Wrong, delivering: Delivering) -> BenchLedger {
        match run(&TestBroker::new(wrong), delivering, 1050) {
            Err(Fault::Unclean(ledger)) => *ledger,
            other => panic!("{wrong:?}: expected an unclean ledger, got {other:?}"),
        }
    }

    #[test]
    fn a_right_broker_is_clean_also_when_the_last_batch_is_not_full() {
        for delivering in [Delivering::SINGLE, Delivering::BATCH, Delivering { batch: 7, body_bytes: 0 }] {
            let trial = run(&TestBroker::new(Wrong::Nothing), delivering, 1050).expect("clean");
            assert_eq!((trial.ledger.counts.delivered, trial.ledger.counts.acked), (1050, 1050));
        }
    }

    #[test]
    fn the_ledger_names_each_mutant_and_withholds_its_number() {
        for delivering in [Delivering::SINGLE, Delivering::BATCH] {
            assert_eq!(ledger(Wrong::Forgets, delivering).counts.lost, 10);
            assert_eq!(ledger(Wrong::Repeats, delivering).counts.duplicate, 10);
            assert_eq!(ledger(Wrong::Damages, delivering).counts.phantom, 10);
            assert_eq!(ledger(Wrong::IgnoresAcks, delivering).unsettled, 1050);
        }
    }
}
