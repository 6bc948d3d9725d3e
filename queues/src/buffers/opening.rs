//! What opening a buffer has in common: for those who write an adapter.

use crate::buffer::{Ends, Shape, ShapeError};

/// Makes as many ends as the shape asks for.
pub fn ends<P, C>(shape: Shape, producer: impl Fn() -> P, consumer: impl Fn() -> C) -> Ends<P, C> {
    Ends {
        producers: (0..shape.producers).map(|_| producer()).collect(),
        consumers: (0..shape.consumers).map(|_| consumer()).collect(),
    }
}

/// Whether the allocator would hand out `capacity` slots of type `S`. Asked before somebody else's queue
/// allocates, because running out there ends the process.
///
/// # Errors
/// [`ShapeError::TooLarge`] with a capacity that would have been granted (found by halving).
pub fn room_for<S>(capacity: usize) -> Result<(), ShapeError> {
    let fits = |slots| Vec::<S>::new().try_reserve_exact(slots).is_ok();
    if fits(capacity) {
        return Ok(());
    }
    let mut most = capacity / 2;
    while !fits(most) {
        most /= 2;
    }
    Err(ShapeError::TooLarge { capacity, most })
}
