//! Hosts, brokers and sessions of any kind in one type, for lists of them: each call goes through a pointer, so nothing that is
//! measured should.

use std::fmt;
use std::time::Duration;

use crate::broker::{
    Broker, Crash, DeadLetter, Delivery, Depth, Error, Host, Message, Receipt, Sent, Session, Settled,
    Settlement,
};
use crate::contract::Contract;
use crate::file::SimDisk;

/// A host of any kind.
pub struct AnyHost(Box<dyn Boots>);

/// A broker of any kind.
pub struct AnyBroker(Box<dyn Opens>);

/// A session of any kind.
pub struct AnySession(Box<dyn Session>);

trait Boots: Send {
    fn boot(&mut self) -> Result<AnyBroker, Error>;
    fn crash(&mut self, crash: Crash);
    fn cuts_off_calls(&self) -> bool;
    fn simulated_disk(&self) -> Option<&SimDisk>;
    fn limit(&mut self, deliveries_allowed: u32) -> bool;
    fn idle(&self);
}

trait Opens: Send + Sync {
    fn contract(&self) -> Contract;
    fn session(&self) -> Result<AnySession, Error>;
}

impl AnyHost {
    /// This host.
    pub fn new(host: impl Host) -> AnyHost {
        AnyHost(Box::new(host))
    }
}

impl<H: Host> Boots for H {
    fn boot(&mut self) -> Result<AnyBroker, Error> {
        Ok(AnyBroker(Box::new(Host::boot(self)?)))
    }

    fn crash(&mut self, crash: Crash) {
        Host::crash(self, crash);
    }

    fn cuts_off_calls(&self) -> bool {
        Host::cuts_off_calls(self)
    }

    fn simulated_disk(&self) -> Option<&SimDisk> {
        Host::simulated_disk(self)
    }

    fn limit(&mut self, deliveries_allowed: u32) -> bool {
        Host::limit(self, deliveries_allowed)
    }

    fn idle(&self) {
        Host::idle(self);
    }
}

impl<B: Broker> Opens for B {
    fn contract(&self) -> Contract {
        Broker::contract(self)
    }

    fn session(&self) -> Result<AnySession, Error> {
        Ok(AnySession(Box::new(Broker::session(self)?)))
    }
}

impl Host for AnyHost {
    type Broker = AnyBroker;

    fn boot(&mut self) -> Result<AnyBroker, Error> {
        self.0.boot()
    }

    fn crash(&mut self, crash: Crash) {
        self.0.crash(crash);
    }

    fn cuts_off_calls(&self) -> bool {
        self.0.cuts_off_calls()
    }

    fn simulated_disk(&self) -> Option<&SimDisk> {
        self.0.simulated_disk()
    }

    fn limit(&mut self, deliveries_allowed: u32) -> bool {
        self.0.limit(deliveries_allowed)
    }

    fn idle(&self) {
        self.0.idle();
    }
}

impl Broker for AnyBroker {
    type Session = AnySession;

    fn contract(&self) -> Contract {
        self.0.contract()
    }

    fn session(&self) -> Result<AnySession, Error> {
        self.0.session()
    }
}

impl Session for AnySession {
    fn send(&mut self, messages: &[Message]) -> Vec<Sent> {
        self.0.send(messages)
    }

    fn receive(&mut self, max: usize, lease: Duration) -> Result<Vec<Delivery>, Error> {
        self.0.receive(max, lease)
    }

    fn settle(&mut self, settlements: &[Settlement]) -> Vec<Settled> {
        self.0.settle(settlements)
    }

    fn extend(&mut self, receipt: Receipt, lease: Duration) -> Settled {
        self.0.extend(receipt, lease)
    }

    fn dead_letters(&mut self, max: usize) -> Result<Vec<DeadLetter>, Error> {
        self.0.dead_letters(max)
    }

    fn redrive(&mut self, max: usize) -> Result<usize, Error> {
        self.0.redrive(max)
    }

    fn depth(&mut self) -> Result<Depth, Error> {
        self.0.depth()
    }
}

impl fmt::Debug for AnyHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyHost")
    }
}

impl fmt::Debug for AnyBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyBroker")
    }
}

impl fmt::Debug for AnySession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnySession")
    }
}
