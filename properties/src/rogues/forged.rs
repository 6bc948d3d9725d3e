//! What unsafe code can do to items and safe code cannot: have one twice, or make one from two halves. Rogues are
//! safe code, so they forge the items that the engines send, which are plain words.

use std::any::Any;

use crate::engines::recorder;
use crate::engines::sequential_buffer;

/// An item with the first half of `head` and the rest of `rest`; `None` if it is none of an engine's. The original of
/// both remains with the caller, so dropping all of them drops one twice.
pub(crate) fn torn<T: 'static>(head: &T, rest: &T) -> Option<T> {
    fn of<I: 'static, T: 'static>(head: &T, rest: &T, torn: fn(&I, &I) -> I) -> Option<T> {
        let item = |item| (item as &dyn Any).downcast_ref::<I>();
        let forged: Box<dyn Any> = Box::new(torn(item(head)?, item(rest)?));
        forged.downcast().ok().map(|item| *item)
    }
    of(head, rest, sequential_buffer::Item::torn)
        .or_else(|| of(head, rest, recorder::Item::<1>::torn))
        .or_else(|| of(head, rest, recorder::Item::<8>::torn))
        .or_else(|| of(head, rest, recorder::Item::<32>::torn))
}

/// A second one of an item; `None` if it is none of an engine's.
pub(crate) fn twin<T: 'static>(item: &T) -> Option<T> {
    torn(item, item)
}
