//! The bytes of messages that were written a moment ago, so that who receives them need not read them back.

use std::collections::HashMap;

use super::record::Read;

/// Holds what comes while there is room, and lets nothing go for what comes later: the next to be delivered is
/// the oldest.
#[derive(Debug, Default)]
pub(super) struct Recent {
    messages: HashMap<u64, Read>,
    bytes: u64,
    most: u64,
}

impl Recent {
    pub(super) fn new(most: u64) -> Recent {
        Recent { most, ..Recent::default() }
    }

    pub(super) fn put(&mut self, read: Read) {
        let bytes = size(&read);
        if self.bytes + bytes <= self.most && !read.damaged {
            self.bytes += bytes;
            if let Some(replaced) = self.messages.insert(read.id, read) {
                self.bytes -= size(&replaced);
            }
        }
    }

    pub(super) fn get(&self, id: u64) -> Option<&Read> {
        self.messages.get(&id)
    }

    pub(super) fn remove(&mut self, id: u64) {
        if let Some(removed) = self.messages.remove(&id) {
            self.bytes -= size(&removed);
        }
    }
}

/// With what the map needs for it.
fn size(read: &Read) -> u64 {
    (read.body.len() + read.key.as_ref().map_or(0, |key| key.len()) + 128) as u64
}
