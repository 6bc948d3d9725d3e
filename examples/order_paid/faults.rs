//! A run: orders are sent through a broker and handled by a service, and what can go wrong does. Then faults end,
//! everything that is left is handled, dead letters included, and the books are checked.

use std::time::Duration;

use stanchion::{
    Broker, Clock, Crash, Delivery, Durability, Error, Host, Message, Sent, Session, Settings, Settle,
    Settlement,
};

use crate::services::Service;
use crate::shop::{Arrival, Shop};

const ORDERS: u64 = 5;
const LEASE: Duration = Duration::from_secs(30);
/// How many deliveries a run meets before its faults end.
const STEPS: usize = 30;

type SessionOf<H> = <<H as Host>::Broker as Broker>::Session;

/// One run of one service with one broker.
pub(crate) struct Run<H: Host> {
    host: H,
    broker: Option<H::Broker>,
    session: Option<SessionOf<H>>,
    clock: Clock,
    service: Service,
    shop: Shop,
    seed: u64,
    sent: u64,
}

impl<H: Host> Run<H> {
    /// Starts a broker.
    pub(crate) fn new(make: impl Fn(&Settings) -> H, service: Service, seed: u64) -> Result<Run<H>, Error> {
        let clock = Clock::manual();
        let settings = Settings { capacity: 64, deliveries_allowed: 3, clock: clock.clone(), seed };
        let mut host = make(&settings);
        let broker = host.boot()?;
        let session = broker.session()?;
        let (broker, session) = (Some(broker), Some(session));
        // xorshift must not begin at zero, and similar seeds are to give dissimilar runs.
        let seed = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Ok(Run { host, broker, session, clock, service, shop: Shop::default(), seed, sent: 0 })
    }

    /// True once in `many`.
    fn one_in(&mut self, many: u64) -> bool {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 11).is_multiple_of(many)
    }

    /// Runs to the end. The error is the story of what went wrong.
    pub(crate) fn finish(mut self) -> Result<(), String> {
        self.with_faults().and_then(|()| self.without_faults()).map_err(|error| error.to_string())?;
        let Some((order, wrong)) = self.service.wrong(&self.shop, ORDERS) else { return Ok(()) };
        // What befell all of them is told under no number.
        let concerns = |of: u64| of == 0 || order.is_none_or(|order| order == of);
        let story = self.shop.story.iter().filter(|(of, _)| concerns(*of));
        let lines = story.map(|(of, line)| match of {
            0 => format!("      {line}"),
            of => format!("      order {of} {line}"),
        });
        Err(lines.chain([format!("      So {wrong}.")]).collect::<Vec<_>>().join("\n"))
    }

    fn with_faults(&mut self) -> Result<(), Error> {
        for _ in 0..STEPS {
            if self.sent < ORDERS && self.one_in(3) {
                self.sent += 1;
                self.pay(self.sent)?;
            }
            if self.one_in(8) {
                self.clock.advance(LEASE / 2);
            }
            self.perhaps_crash()?;
            for delivery in self.receive(2)? {
                self.handle_with_faults(&delivery)?;
            }
        }
        Ok(())
    }

    /// The producer sends, and sends again if it does not hear of it.
    fn pay(&mut self, order: u64) -> Result<(), Error> {
        self.shop.order = order;
        for lost in [self.one_in(4), false] {
            let message = Message::new(order.to_le_bytes().to_vec());
            let sent = self.session()?.send(&[message]);
            assert!(matches!(sent[..], [Sent::Confirmed(_)]), "there is room: {sent:?}");
            self.shop.tell(if lost { "is paid, and the answer to its message is lost" } else { "is paid" });
            if !lost {
                break;
            }
        }
        Ok(())
    }

    fn handle_with_faults(&mut self, delivery: &Delivery) -> Result<(), Error> {
        let arrival = self.arrive(delivery);
        self.shop.kill_after = self.one_in(3).then(|| (0..3).filter(|_| self.one_in(2)).count());
        // A service that is slow is overtaken: its lease ends, and the message is somebody else's.
        let slow = self.one_in(6);
        if slow {
            self.clock.advance(LEASE);
            self.shop.tell("waits: the service is slow, and its lease ends");
        }
        if self.handle(&arrival)? {
            return Ok(());
        }
        // Killed: what it held comes back, and another takes its place.
        self.session = None;
        self.session = self.broker.as_ref().map(Broker::session).transpose()?;
        Ok(())
    }

    fn arrive(&mut self, delivery: &Delivery) -> Arrival {
        let order = delivery.body.first_chunk().map_or(0, |body| u64::from_le_bytes(*body));
        self.shop.order = order;
        self.shop.tell(format!("is delivered, attempt {}", delivery.attempt));
        Arrival { order, receipt: delivery.receipt, attempt: delivery.attempt }
    }

    /// Whether the service lives.
    fn handle(&mut self, arrival: &Arrival) -> Result<bool, Error> {
        self.shop.acked = false;
        let handled = self.service.handle(arrival, &mut self.shop);
        if handled.is_ok() && !self.shop.acked && self.shop.touch("acks it").is_err() {
            return Ok(false);
        }
        if handled.is_ok() || self.shop.acked {
            // A stale ack changes nothing, and the message comes again.
            self.session()?.settle(&[Settlement { receipt: arrival.receipt, how: Settle::Ack }]);
        }
        Ok(handled.is_ok())
    }

    /// If the broker claims that messages survive it.
    fn perhaps_crash(&mut self) -> Result<(), Error> {
        let survives = self.broker.as_ref().is_some_and(|broker| broker.contract().sends > Durability::None);
        if survives && self.one_in(16) {
            self.host.crash(Crash::Process);
            (self.session, self.broker) = (None, None);
            let broker = self.host.boot()?;
            self.session = Some(broker.session()?);
            self.broker = Some(broker);
            self.shop.order = 0;
            self.shop.tell("the broker is killed and starts again");
        }
        Ok(())
    }

    fn without_faults(&mut self) -> Result<(), Error> {
        self.shop.kill_after = None;
        while self.sent < ORDERS {
            self.sent += 1;
            self.pay(self.sent)?;
        }
        loop {
            self.clock.advance(LEASE * 2);
            let deliveries = self.receive(16)?;
            // What failed too often is a dead letter, and somebody has looked into it.
            if deliveries.is_empty() {
                if self.session()?.redrive(16)? == 0 {
                    return Ok(());
                }
                self.shop.order = 0;
                self.shop.tell("dead letters are made ready again");
            }
            for delivery in deliveries {
                let arrival = self.arrive(&delivery);
                self.handle(&arrival)?;
            }
        }
    }

    fn receive(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        self.session()?.receive(max, LEASE)
    }

    fn session(&mut self) -> Result<&mut SessionOf<H>, Error> {
        self.session.as_mut().ok_or_else(|| Error::Gone("it has no session".into()))
    }
}
