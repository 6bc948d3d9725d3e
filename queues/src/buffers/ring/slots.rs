//! Where the items lie: side by side, without a word of bookkeeping each.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;

use crate::buffer::ShapeError;
use crate::buffers::opening::room_for;

/// The distance between two positions must fit into an `isize`, also for items without a size.
const MOST: usize = 1 << (usize::BITS - 2);

/// A power of two of slots, addressed by position: position `p` lies in slot `p` modulo their number, also
/// after `p` has wrapped.
pub(super) struct Slots<T> {
    cells: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: the callers of the methods below promise that nobody else touches the slots they name meanwhile; so
// an item only ever moves from thread to thread, which `T: Send` allows.
unsafe impl<T: Send> Sync for Slots<T> {}

impl<T> Slots<T> {
    /// Room for `capacity` items.
    ///
    /// # Errors
    /// [`ShapeError::TooLarge`] if the allocator would not grant it.
    pub(super) fn new(capacity: usize) -> Result<Slots<T>, ShapeError> {
        if capacity > MOST {
            return Err(ShapeError::TooLarge { capacity, most: MOST });
        }
        let count = capacity.next_power_of_two();
        room_for::<T>(count).map_err(|error| match error {
            // What fits is a smaller power of two, so below the capacity too.
            ShapeError::TooLarge { most, .. } => ShapeError::TooLarge { capacity, most },
            other => other,
        })?;
        let cells = Box::<[UnsafeCell<MaybeUninit<T>>]>::new_uninit_slice(count);
        // SAFETY: a cell that may hold nothing is itself valid without having been written.
        Ok(Slots { cells: unsafe { cells.assume_init() } })
    }

    /// Where a slot is. The pointer comes from all slots and not from a reference to the one, so that it may be
    /// moved on to those behind it.
    #[inline]
    fn at(&self, position: usize) -> *mut T {
        let index = position & (self.cells.len() - 1);
        // SAFETY: the number of slots is a power of two, so the index is below it.
        let cell = unsafe { self.cells.as_ptr().add(index) };
        UnsafeCell::raw_get(cell).cast()
    }

    /// Moves an item into a slot.
    ///
    /// # Safety
    /// The slot of `position` is vacant, and only this thread may touch it.
    #[inline]
    pub(super) unsafe fn write(&self, position: usize, item: T) {
        // SAFETY: the pointer is that of a slot, which the caller has to itself.
        unsafe { self.at(position).write(item) };
    }

    /// Moves an item out of a slot.
    ///
    /// # Safety
    /// The slot of `position` is filled, only this thread may touch it, and it counts as vacant afterwards.
    #[inline]
    pub(super) unsafe fn read(&self, position: usize) -> T {
        // SAFETY: the pointer is that of a slot, which holds an item and which the caller has to itself.
        unsafe { self.at(position).read() }
    }

    /// How many of the slots from `position` on lie side by side, `count` at most.
    #[inline]
    fn run(&self, position: usize, count: usize) -> usize {
        count.min(self.cells.len() - (position & (self.cells.len() - 1)))
    }

    /// Moves `items` into the slots from `position` on. The caller must see to it that they are not dropped
    /// where they were.
    ///
    /// # Safety
    /// As for [`Slots::write`], for each of as many slots as there are items, which are at most as many as there
    /// are slots.
    #[inline]
    pub(super) unsafe fn write_run(&self, position: usize, items: &[T]) {
        let run = self.run(position, items.len());
        let (first, rest) = items.split_at(run);
        // SAFETY: `first` ends where the slots end or before, and `rest` goes on at slot 0 with what is left. The
        // slots are the caller's, so nobody's reference overlaps them.
        unsafe {
            self.at(position).copy_from_nonoverlapping(first.as_ptr(), first.len());
            self.at(position.wrapping_add(run)).copy_from_nonoverlapping(rest.as_ptr(), rest.len());
        }
    }

    /// Moves the items of `count` slots from `position` on to the end of `into`, which has room for them.
    ///
    /// # Safety
    /// As for [`Slots::read`], for each of `count` slots, which are at most as many as there are; and `into` has
    /// a capacity of at least `count` beyond its length.
    #[inline]
    pub(super) unsafe fn read_run(&self, position: usize, count: usize, into: &mut Vec<T>) {
        let (run, len) = (self.run(position, count), into.len());
        // SAFETY: as above, in the other direction; the vector has the room, and its new length covers what was
        // written.
        unsafe {
            let end = into.as_mut_ptr().add(len);
            end.copy_from_nonoverlapping(self.at(position), run);
            end.add(run).copy_from_nonoverlapping(self.at(position.wrapping_add(run)), count - run);
            into.set_len(len + count);
        }
    }
}
