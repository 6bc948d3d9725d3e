//! Open handles of the segments that are read: a few, however many segments there are.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError};

use super::failure::is_lacking;
use super::segment::Name;
use super::storage::Storage;
use crate::sync::{Mutex, MutexGuard};

/// So many stay open, unless more are read at once.
const MOST: usize = 16;

pub(super) struct Handles<S: Storage> {
    storage: S,
    inner: Mutex<Inner<S::File>>,
}

struct Inner<F> {
    open: BTreeMap<u64, Handle<F>>,
    /// How often a handle was asked for.
    uses: u64,
    /// How many read, or are about to.
    readers: BTreeMap<u64, usize>,
}

struct Handle<F> {
    file: Arc<F>,
    /// When it was asked for last.
    used: u64,
}

/// Somebody is about to read a segment: until then it stays as it is.
pub(super) struct Reader<S: Storage> {
    handles: Arc<Handles<S>>,
    segment: u64,
}

impl<S: Storage> Handles<S> {
    pub(super) fn new(storage: S) -> Arc<Handles<S>> {
        let inner = Inner { open: BTreeMap::new(), uses: 0, readers: BTreeMap::new() };
        Arc::new(Handles { storage, inner: Mutex::new(inner) })
    }

    fn inner(&self) -> MutexGuard<'_, Inner<S::File>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn reader(self: &Arc<Handles<S>>, segment: u64) -> Reader<S> {
        *self.inner().readers.entry(segment).or_default() += 1;
        Reader { handles: Arc::clone(self), segment }
    }

    /// Closes a segment that is not needed any more, unless somebody is about to read it; whether nobody is.
    pub(super) fn forget(&self, segment: u64) -> bool {
        let mut inner = self.inner();
        let unread = !inner.readers.contains_key(&segment);
        if unread {
            inner.open.remove(&segment);
        }
        unread
    }
}

impl<S: Storage> Reader<S> {
    /// Reads from it.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn file(&self) -> io::Result<Arc<S::File>> {
        let Handles { storage, .. } = &*self.handles;
        if let Some(file) = self.handles.inner().open_already(self.segment, MOST - 1) {
            return Ok(file);
        }
        // Without the lock: others read meanwhile, and may open the same.
        let name = Name::Segment(self.segment).to_string();
        let mut opened = storage.open(&name);
        if opened.as_ref().is_err_and(is_lacking) && self.handles.inner().close_unused(0) {
            opened = storage.open(&name);
        }
        let file = Arc::new(opened?);
        let mut inner = self.handles.inner();
        if let Some(theirs) = inner.open_already(self.segment, MOST - 1) {
            return Ok(theirs);
        }
        let used = inner.uses;
        inner.open.insert(self.segment, Handle { file: Arc::clone(&file), used });
        Ok(file)
    }
}

impl<S: Storage> Drop for Reader<S> {
    fn drop(&mut self) {
        let readers = &mut self.handles.inner().readers;
        if let Some(many) = readers.get_mut(&self.segment) {
            *many -= 1;
            if *many == 0 {
                readers.remove(&self.segment);
            }
        }
    }
}

impl<F> Inner<F> {
    /// The handle of this segment; if there is none, there is room for it: `most` others stay at most.
    fn open_already(&mut self, segment: u64, most: usize) -> Option<Arc<F>> {
        self.uses += 1;
        let used = self.uses;
        let Some(handle) = self.open.get_mut(&segment) else {
            self.close_unused(most);
            return None;
        };
        handle.used = used;
        Some(Arc::clone(&handle.file))
    }

    /// Closes handles that are not in use until there are so many; whether there was one.
    fn close_unused(&mut self, most: usize) -> bool {
        let before = self.open.len();
        while self.open.len() > most && self.close_one() {}
        self.open.len() < before
    }

    /// Closes the one that nobody has used for longest; whether there was one that is not in use.
    fn close_one(&mut self) -> bool {
        // Who reads has another handle of it.
        let unused = self.open.iter().filter(|(_, handle)| Arc::strong_count(&handle.file) == 1);
        let oldest = unused.min_by_key(|(_, handle)| handle.used).map(|(segment, _)| *segment);
        oldest.is_some_and(|segment| self.open.remove(&segment).is_some())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;
    use crate::file::SimDisk;
    use crate::file::sim::SimFile;

    /// A disk whose files open when two want one.
    #[derive(Clone, Debug)]
    struct InPairs(SimDisk, Arc<Barrier>);

    impl Storage for InPairs {
        type File = SimFile;

        fn create(&self, name: &str) -> io::Result<SimFile> {
            self.0.create(name)
        }

        fn open(&self, name: &str) -> io::Result<SimFile> {
            self.1.wait();
            self.0.open(name)
        }

        fn list(&self) -> io::Result<Vec<String>> {
            self.0.list()
        }

        fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            self.0.rename(from, to)
        }

        fn remove(&self, name: &str) -> io::Result<()> {
            self.0.remove(name)
        }

        fn sync_dir(&self) -> io::Result<()> {
            self.0.sync_dir()
        }
    }

    fn disk(segments: u64) -> SimDisk {
        let disk = SimDisk::new();
        for segment in 0..segments {
            drop(disk.create(&Name::Segment(segment).to_string()).expect("creates"));
        }
        disk
    }

    #[test]
    fn few_are_open_and_those_that_are_read_stay() {
        let handles = Handles::new(disk(100));
        let get = |segment| handles.reader(segment).file().expect("opens");
        let read = get(7);
        for segment in (0..100).chain(0..100) {
            get(segment);
            let inner = handles.inner();
            assert!(inner.open.len() <= MOST && inner.open.contains_key(&segment));
        }
        assert!(Arc::ptr_eq(&read, &get(7)));
        let all: Vec<_> = (0..100).map(get).collect();
        assert_eq!(handles.inner().open.len(), all.len());
    }

    /// Were one of them to open its file under the lock, the other would never come to open its own.
    #[test]
    fn two_that_open_a_segment_at_once_share_one_handle() {
        let handles = Handles::new(InPairs(disk(1), Arc::new(Barrier::new(2))));
        let open = || handles.reader(0).file().expect("opens");
        let (one, other) = thread::scope(|scope| {
            let other = scope.spawn(open);
            (open(), other.join().expect("does not panic"))
        });
        assert!(Arc::ptr_eq(&one, &other));
        assert!(Arc::ptr_eq(&one, &open()), "it stays open");
        let inner = handles.inner();
        assert!(inner.open.len() == 1 && inner.readers.is_empty());
    }

    #[test]
    fn a_segment_is_kept_for_whoever_is_about_to_read_it() {
        let handles = Handles::new(disk(3));
        let (one, other) = (handles.reader(1), handles.reader(1));
        one.file().expect("opens");
        drop(one);
        assert!(!handles.forget(1) && handles.forget(2));
        drop(other);
        assert!(handles.forget(1) && handles.inner().open.is_empty());
    }

    #[test]
    fn where_no_more_can_be_open_others_are_closed_first() {
        let disk = disk(3);
        let handles = Handles::new(disk.clone());
        let get = |segment| handles.reader(segment).file();
        get(0).expect("opens");
        let read = get(1).expect("opens");
        disk.open_at_most(2);
        get(2).expect("the first is closed");
        let other = get(2).expect("is open");
        assert!(is_lacking(&get(0).expect_err("both are read")));
        drop((read, other));
        get(0).expect("opens");
    }
}
