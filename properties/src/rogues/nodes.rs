//! A bounded queue of linked nodes that are used again (Michael and Scott 1996), behind a lock. A pop gives up the
//! lock between its look at the first node and its exchange, so that others may free that node, use it again and
//! bring it back to the front meanwhile: the ABA problem. Or it gives up the lock between the exchange and the moving out,
//! so that others may free the node that it still reads.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use stanchion_queues::{Buffer, BufferContract, Ends, Full, Opened, Pop, Push, Shape};

/// A node is known by how often it was used, too. Right.
pub(super) const TAGGED: u8 = 0;
/// A pop knows a node by its index alone.
pub(super) const UNTAGGED: u8 = 1;
/// A pop lets others have the node that it still reads.
pub(super) const RECLAIMED: u8 = 2;

/// A queue of linked nodes, of one of these kinds.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodeQueue<const KIND: u8>;

impl<const KIND: u8> Buffer for NodeQueue<KIND> {
    const CONTRACT: BufferContract = BufferContract { progress: "one lock", ..BufferContract::FIFO };
    type Producer<T: Send + 'static> = End<T, KIND>;
    type Consumer<T: Send + 'static> = End<T, KIND>;

    fn open<T: Send + 'static>(shape: Shape) -> Opened<End<T, KIND>, End<T, KIND>> {
        shape.admitted_by(&Self::CONTRACT)?;
        let nodes = (0..=shape.capacity).map(|_| Node { item: None, next: None, tag: 0 }).collect();
        // The node before the first item is a dummy.
        let list = List { nodes, free: (1..=shape.capacity).collect(), before: 0, last: 0 };
        let list = Arc::new(Mutex::new(list));
        let ends = |count| (0..count).map(|_| End(Arc::clone(&list))).collect();
        Ok(Ends { producers: ends(shape.producers), consumers: ends(shape.consumers) })
    }
}

#[derive(Debug)]
struct List<T> {
    nodes: Vec<Node<T>>,
    /// The one freed last is used first.
    free: Vec<usize>,
    /// The node before the first item.
    before: usize,
    last: usize,
}

#[derive(Debug)]
struct Node<T> {
    item: Option<T>,
    next: Option<usize>,
    /// How often it was used.
    tag: u64,
}

/// One end of a [`NodeQueue`], of either side.
#[derive(Debug)]
pub(super) struct End<T, const KIND: u8>(Arc<Mutex<List<T>>>);

impl<T, const KIND: u8> End<T, KIND> {
    fn lock(&self) -> MutexGuard<'_, List<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send, const KIND: u8> Push<T> for End<T, KIND> {
    fn push(&mut self, item: T) -> Result<(), Full<T>> {
        let mut list = self.lock();
        let Some(node) = list.free.pop() else { return Err(Full(item)) };
        let tag = list.nodes[node].tag + 1;
        list.nodes[node] = Node { item: Some(item), next: None, tag };
        let last = mem::replace(&mut list.last, node);
        list.nodes[last].next = Some(node);
        Ok(())
    }
}

impl<T: Send, const KIND: u8> Pop<T> for End<T, KIND> {
    fn pop(&mut self) -> Option<T> {
        loop {
            let list = self.lock();
            let (before, tag) = (list.before, list.nodes[list.before].tag);
            let first = list.nodes[before].next?;
            drop(list);
            thread::yield_now();
            let mut list = self.lock();
            if list.before == before && (KIND == UNTAGGED || list.nodes[before].tag == tag) {
                list.before = first;
                list.free.push(before);
                if KIND == RECLAIMED {
                    drop(list);
                    thread::yield_now();
                    list = self.lock();
                }
                return list.nodes[first].item.take();
            }
        }
    }
}
