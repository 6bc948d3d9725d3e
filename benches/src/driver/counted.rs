//! What a call for many items says, beside what it did. The drivers go by what it did; that it said something
//! else is a fault of its own, because whoever believes it loses items, or waits for some that never come.

use std::collections::VecDeque;

use stanchion_queues::{Full, Pop, Push};

/// An end whose calls for many items answer with the number of items that really moved.
pub(crate) struct Counted<E> {
    pub(crate) end: E,
    /// How many calls said another number than moved, or moved more than they were asked for.
    pub(crate) miscounted: u64,
}

impl<E> Counted<E> {
    pub(crate) fn new(end: E) -> Counted<E> {
        Counted { end, miscounted: 0 }
    }

    /// Compares what was said with what moved; nothing moved if the items became more where they are to become
    /// fewer.
    #[inline]
    fn compare(&mut self, said: usize, moved: Option<usize>, most: usize) -> usize {
        self.miscounted += u64::from(moved != Some(said) || said > most);
        moved.unwrap_or(0)
    }
}

impl<T, P: Push<T>> Push<T> for Counted<P> {
    #[inline]
    fn push(&mut self, item: T) -> Result<(), Full<T>> {
        self.end.push(item)
    }

    #[inline]
    fn push_many(&mut self, items: &mut VecDeque<T>) -> usize {
        let before = items.len();
        let said = self.end.push_many(items);
        self.compare(said, before.checked_sub(items.len()), before)
    }
}

impl<T, C: Pop<T>> Pop<T> for Counted<C> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        self.end.pop()
    }

    #[inline]
    fn pop_many(&mut self, into: &mut Vec<T>, max: usize) -> usize {
        let before = into.len();
        let said = self.end.pop_many(into, max);
        self.compare(said, into.len().checked_sub(before), max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Moves so many items whatever it is asked for, and says another number.
    struct Says {
        moves: usize,
        said: usize,
    }

    impl Push<u8> for Says {
        fn push(&mut self, _: u8) -> Result<(), Full<u8>> {
            Ok(())
        }

        fn push_many(&mut self, items: &mut VecDeque<u8>) -> usize {
            items.drain(..self.moves);
            self.said
        }
    }

    impl Pop<u8> for Says {
        fn pop(&mut self) -> Option<u8> {
            None
        }

        fn pop_many(&mut self, into: &mut Vec<u8>, _: usize) -> usize {
            into.extend(std::iter::repeat_n(7, self.moves));
            self.said
        }
    }

    #[test]
    fn what_moved_is_the_answer_and_another_number_is_counted() {
        for (moves, said, asked, miscounted) in
            [(0, 0, 4, 0), (4, 4, 4, 0), (3, 4, 4, 1), (4, 3, 4, 1), (0, 1, 4, 1), (1, 0, 4, 1), (4, 4, 3, 1)]
        {
            let mut end = Counted::new(Says { moves, said });
            let mut into = vec![1, 2];
            assert_eq!((end.pop_many(&mut into, asked), into.len()), (moves, 2 + moves));
            assert_eq!(end.miscounted, miscounted, "{moves} popped of {asked}, {said} said");
            if moves <= asked {
                let mut end = Counted::new(Says { moves, said });
                let mut items = VecDeque::from(vec![1; asked]);
                assert_eq!((end.push_many(&mut items), items.len()), (moves, asked - moves));
                assert_eq!(end.miscounted, miscounted, "{moves} pushed of {asked}, {said} said");
            }
        }
    }
}
