//! What excuses a false answer where the contract admits it.
//!
//! [`stanchion_queues::Answer::Relaxed`] says that such an answer may be given while another operation is
//! unfinished, and says no more: in a ring whose slots carry their own sequence a push between claiming and
//! publishing its slot hides everything behind it, and a pop that has not released its slot blocks the tail; a
//! buffer behind a lock that it only tries to take turns away whoever comes while any other call holds it, a call
//! that changes nothing included. So what excuses an answer is a call of another thread that overlaps it.

use crate::buffer_history::{BufferHistory, Window};

use super::picture::Who;

/// Whether some other thread was in a call during this answer.
pub(super) fn excused(history: &BufferHistory, own: Who, answer: Window) -> bool {
    let pushing = history.producers.iter().enumerate().any(|(producer, log)| {
        own != Who::Producer(producer)
            && (overlaps(&log.offers, answer, |offer| offer.window())
                || overlaps(&log.fulls, answer, |full| *full))
    });
    let popping = history.consumers.iter().enumerate().any(|(consumer, log)| {
        own != Who::Consumer(consumer)
            && (overlaps(&log.pops, answer, |pop| pop.window)
                || overlaps(&log.empties, answer, |empty| *empty)
                || log.pending.iter().any(|call| *call <= answer.ret))
    });
    pushing || popping
}

/// Whether one of the operations of a thread, in program order, overlaps the answer. Equal ticks do.
fn overlaps<T>(operations: &[T], answer: Window, window: impl Fn(&T) -> Window) -> bool {
    let first = operations.partition_point(|operation| window(operation).ret < answer.call);
    operations.get(first).is_some_and(|operation| window(operation).call <= answer.ret)
}
