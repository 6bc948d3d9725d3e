//! A thread.

use std::io;
use std::thread::Builder;

use super::{DECIDED, decide};

/// A thread that was started, or what stands for one in a simulation.
#[derive(Debug)]
#[must_use = "if it is dropped nobody waits for the thread"]
pub struct JoinHandle(Handle);

#[derive(Debug)]
enum Handle {
    Thread(std::thread::JoinHandle<()>),
    InTurns(usize),
}

/// Starts a thread of that name; in a simulation, one more of those who have turns.
///
/// # Errors
/// The system has no thread left.
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle> {
    if DECIDED.get() {
        return Ok(JoinHandle(Handle::InTurns(decide(|turns| turns.spawn(Box::new(body))))));
    }
    Builder::new().name(name.to_owned()).spawn(body).map(|thread| JoinHandle(Handle::Thread(thread)))
}

impl JoinHandle {
    /// Whether it is the thread that asks. (In a simulation it is not told.)
    pub fn is_current(&self) -> bool {
        match &self.0 {
            Handle::Thread(thread) => thread.thread().id() == std::thread::current().id(),
            Handle::InTurns(_) => false,
        }
    }

    /// Waits for its end. Its panic is not ours.
    pub fn join(self) {
        match self.0 {
            Handle::Thread(thread) => drop(thread.join()),
            // Outside of the simulation it has no turns any more.
            Handle::InTurns(spawned) => {
                if DECIDED.get() {
                    decide(|turns| turns.join(spawned));
                }
            }
        }
    }
}
