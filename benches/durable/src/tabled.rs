//! A queue made of a [`Table`]: the order and the leases are in memory, so a message costs the table one row
//! and no more. That is generous: a queue in SQL would write its leases too.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use stanchion_queues::Message;

use crate::Failure;
use crate::store::{Change, Client, Store, Table};

/// A queue made of a table.
#[derive(Debug)]
pub struct Tabled<T>(Arc<Inner<T>>);

/// One thread's hold of it.
#[derive(Debug)]
pub struct TableClient<T>(Arc<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    table: T,
    next: AtomicU64,
    ready: Mutex<VecDeque<(u64, Arc<[u8]>)>>,
}

impl<T: Table> Store for Tabled<T> {
    type Client = TableClient<T>;

    fn open(directory: &Path) -> Result<Tabled<T>, Failure> {
        let table = T::open(directory)?;
        let (mut next, mut ready) = (0, VecDeque::new());
        table.rows(&mut |key, body| {
            next = next.max(key + 1);
            ready.push_back((key, Arc::from(body)));
        })?;
        let (next, ready) = (AtomicU64::new(next), Mutex::new(ready));
        Ok(Tabled(Arc::new(Inner { table, next, ready })))
    }

    fn client(&self) -> Result<TableClient<T>, Failure> {
        Ok(TableClient(Arc::clone(&self.0)))
    }

    fn contents(directory: &Path, visit: &mut dyn FnMut(&[u8])) -> Result<(), Failure> {
        T::open(directory)?.rows(&mut |_, body| visit(body))
    }
}

impl<T: Table> Client for TableClient<T> {
    fn send(&mut self, messages: &[Message]) -> Result<(), Failure> {
        let first = self.0.next.fetch_add(messages.len() as u64, Ordering::Relaxed);
        let keyed = || (first..).zip(messages).map(|(key, message)| (key, Arc::clone(&message.body)));
        let changes: Vec<Change> = keyed().map(|(key, body)| Change::Put(key, body)).collect();
        self.0.table.commit(&changes)?;
        self.0.ready.lock().unwrap_or_else(PoisonError::into_inner).extend(keyed());
        Ok(())
    }

    fn consume(&mut self) -> Result<Option<Arc<[u8]>>, Failure> {
        let taken = self.0.ready.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some((key, body)) = taken else { return Ok(None) };
        self.0.table.commit(&[Change::Delete(key)])?;
        Ok(Some(body))
    }
}
