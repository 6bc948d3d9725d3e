//! A buffer holds items between threads.
//!
//! It never waits: waiting (spinning, parking, awaiting) is the driver's policy, so that every buffer is
//! measured under the same one, and so that the same code runs under real threads, under a single-threaded
//! scheduler and next to a channel's `try_` methods.
//!
//! It is opened as a set of *ends*, because ends are the only shape in which a single-producer ring and a
//! many-producer queue can be compared without a lock that one of them does not have. The ends are generic
//! and statically dispatched: boxing the fastest rings costs more than half of their speed.

use crate::contract::{BufferContract, Sides};

/// Something that holds items between threads. Implement this to plug a buffer in; see `buffers/` for some
/// that fit in twenty lines.
pub trait Buffer: Sized + 'static {
    /// What it promises.
    const CONTRACT: BufferContract;
    /// The end that pushes.
    type Producer<T: Send + 'static>: Push<T> + 'static;
    /// The end that pops.
    type Consumer<T: Send + 'static>: Pop<T> + 'static;

    /// Makes an empty buffer with `shape.producers` and `shape.consumers` ends. Dropping all ends drops what
    /// is still inside.
    ///
    /// # Errors
    /// The contract does not admit the shape: [`Shape::admitted_by`] tells, call it first.
    fn open<T: Send + 'static>(shape: Shape) -> Opened<Self::Producer<T>, Self::Consumer<T>>;
}

/// An end that pushes.
pub trait Push<T>: Send {
    /// Puts an item in, or hands it back.
    ///
    /// # Errors
    /// [`Full`] with the item: the buffer had no room at some instant during the call.
    fn push(&mut self, item: T) -> Result<(), Full<T>>;

    /// Moves items from the front of `items` until they are all in or the buffer is full, and says how many
    /// went in. What did not fit stays in `items`, in order.
    fn push_many(&mut self, items: &mut std::collections::VecDeque<T>) -> usize {
        let mut pushed = 0;
        while let Some(item) = items.pop_front() {
            match self.push(item) {
                Ok(()) => pushed += 1,
                Err(Full(item)) => {
                    items.push_front(item);
                    break;
                }
            }
        }
        pushed
    }
}

/// An end that pops.
pub trait Pop<T>: Send {
    /// Takes the next item out; `None` if the buffer was empty at some instant during the call.
    fn pop(&mut self) -> Option<T>;

    /// Takes at most `max` items, appends them to `into` in order, and says how many. Fewer than `max` does not say
    /// that the buffer was empty: a batch may end where it pleases. None at all says so, if `max` is not zero.
    fn pop_many(&mut self, into: &mut Vec<T>, max: usize) -> usize {
        let mut popped = 0;
        while popped < max {
            match self.pop() {
                Some(item) => into.push(item),
                None => break,
            }
            popped += 1;
        }
        popped
    }
}

/// A push was refused: here is the item back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full<T>(pub T);

/// The ends of an open buffer.
#[derive(Debug)]
pub struct Ends<P, C> {
    /// As many as the shape asked for.
    pub producers: Vec<P>,
    /// As many as the shape asked for.
    pub consumers: Vec<C>,
}

impl<P, C> Ends<P, C> {
    /// Whether there are as many as the shape asked for.
    pub fn are_of(&self, shape: &Shape) -> bool {
        (self.producers.len(), self.consumers.len()) == (shape.producers, shape.consumers)
    }
}

/// What opening a buffer gives.
pub type Opened<P, C> = Result<Ends<P, C>, ShapeError>;

/// How a buffer is to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How many ends push.
    pub producers: usize,
    /// How many ends pop.
    pub consumers: usize,
    /// How many items fit.
    pub capacity: usize,
    /// Where the internal counters start, for buffers whose contract says that they have some
    /// ([`BufferContract::counters`]); others ignore it. Tests start counters near their maximum so that the
    /// wrap happens within a few operations.
    pub start: usize,
}

impl Shape {
    /// A shape with counters from zero.
    pub fn new(producers: usize, consumers: usize, capacity: usize) -> Shape {
        Shape { producers, consumers, capacity, start: 0 }
    }

    /// The same with counters that start at `start`.
    pub fn starting_at(self, start: usize) -> Shape {
        Shape { start, ..self }
    }

    /// Whether a buffer with this contract can be opened so.
    ///
    /// # Errors
    /// What does not fit, and what would.
    pub fn admitted_by(&self, contract: &BufferContract) -> Result<(), ShapeError> {
        if self.capacity == 0 {
            return Err(ShapeError::NoCapacity);
        }
        for (side, ends, sides) in [
            ("producer", self.producers, contract.producers),
            ("consumer", self.consumers, contract.consumers),
        ] {
            if ends == 0 {
                return Err(ShapeError::NoEnds { side });
            }
            if ends > 1 && sides == Sides::One {
                return Err(ShapeError::TooManyEnds { side, ends });
            }
        }
        Ok(())
    }
}

/// A buffer cannot be opened in this shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Capacity zero.
    #[error("a buffer of capacity 0 can hold nothing: ask for a capacity of at least 1")]
    NoCapacity,
    /// No end on one side.
    #[error("a buffer without a {side} cannot be used: ask for at least one {side}")]
    NoEnds {
        /// Which side.
        side: &'static str,
    },
    /// More ends than the contract allows.
    #[error("{ends} {side}s were asked for, but this buffer's contract allows one {side}: open it with one")]
    TooManyEnds {
        /// Which side.
        side: &'static str,
        /// How many were asked for.
        ends: usize,
    },
    /// More than the buffer can ever hold.
    #[error("capacity {capacity} is more than this buffer can hold ({most}): ask for less")]
    TooLarge {
        /// What was asked for.
        capacity: usize,
        /// The most it can hold.
        most: usize,
    },
}
