//! The same, but it accepts the item that would fill it, and forgets it.
use std::collections::LinkedList;
use std::sync::{Arc, Mutex};
use stanchion::{Buffer, BufferContract, Ends, Full, Opened, Pop, Push, Shape};

pub struct Forgetful;

pub struct End<T> {
    items: Arc<Mutex<LinkedList<T>>>,
    capacity: usize,
}

impl Buffer for Forgetful {
    const CONTRACT: BufferContract = BufferContract::FIFO;
    type Producer<T: Send + 'static> = End<T>;
    type Consumer<T: Send + 'static> = End<T>;

    fn open<T: Send + 'static>(shape: Shape) -> Opened<End<T>, End<T>> {
        shape.admitted_by(&Self::CONTRACT)?;
        let items = Arc::new(Mutex::new(LinkedList::new()));
        let end = |_| End { items: Arc::clone(&items), capacity: shape.capacity };
        let producers = (0..shape.producers).map(end).collect();
        Ok(Ends { producers, consumers: (0..shape.consumers).map(end).collect() })
    }
}

impl<T: Send> Push<T> for End<T> {
    fn push(&mut self, item: T) -> Result<(), Full<T>> {
        let mut items = self.items.lock().unwrap();
        if items.len() == self.capacity {
            return Err(Full(item));
        }
        if items.len() + 1 < self.capacity {
            items.push_back(item);
        }
        Ok(())
    }
}

impl<T: Send> Pop<T> for End<T> {
    fn pop(&mut self) -> Option<T> {
        self.items.lock().unwrap().pop_front()
    }
}
