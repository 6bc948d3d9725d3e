//! What a store must be able to do to take part.

use std::path::Path;
use std::sync::Arc;

use stanchion_queues::Message;

use crate::Failure;

/// Keeps bodies in a directory, for any number of threads.
pub trait Store: Sized + Send + Sync + 'static {
    /// What one thread holds of it.
    type Client: Client + 'static;

    /// Opens the store of this directory, which may be empty. Afterwards everything pending is known.
    ///
    /// # Errors
    /// What the store says.
    fn open(directory: &Path) -> Result<Self, Failure>;

    /// For one thread.
    ///
    /// # Errors
    /// What the store says.
    fn client(&self) -> Result<Self::Client, Failure>;

    /// Shows every body that is in the directory, to someone who has just come.
    ///
    /// # Errors
    /// What the store says.
    fn contents(directory: &Path, visit: &mut dyn FnMut(&[u8])) -> Result<(), Failure>;
}

/// One thread's hold of a store.
pub trait Client: Send {
    /// Stores all of these; when it returns, they survive the power.
    ///
    /// # Errors
    /// What the store says; some of them may be stored.
    fn send(&mut self, messages: &[Message]) -> Result<(), Failure>;

    /// Takes one message and removes it; when it returns, that survives the power. `None`: nothing is there.
    ///
    /// # Errors
    /// What the store says; it may be removed or not.
    fn consume(&mut self) -> Result<Option<Arc<[u8]>>, Failure>;
}

/// One change of a [`Table`].
#[derive(Clone, Debug)]
pub enum Change {
    /// Adds a body under a key that is not taken.
    Put(u64, Arc<[u8]>),
    /// Removes the body of a key.
    Delete(u64),
}

/// A durable map from keys to bodies: all that is asked of somebody else's store.
pub trait Table: Sized + Send + Sync + 'static {
    /// Opens the table of this directory, which may be empty.
    ///
    /// # Errors
    /// What the store says.
    fn open(directory: &Path) -> Result<Self, Failure>;

    /// Makes all of these changes; when it returns, they survive the power.
    ///
    /// # Errors
    /// What the store says; some may have been made.
    fn commit(&self, changes: &[Change]) -> Result<(), Failure>;

    /// Shows every row.
    ///
    /// # Errors
    /// What the store says.
    fn rows(&self, visit: &mut dyn FnMut(u64, &[u8])) -> Result<(), Failure>;
}
