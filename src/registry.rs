//! The queues and consumers that ship with Stanchion. To add one: its file, and a line here.

use crate::buffers::{
    ArrayQueue, CrossbeamChannel, MutexDeque, Ring, SegQueue, StdSyncChannel, TokioChannel,
};
use crate::consumers::Transactional;
use crate::file::{SimHost, open_dir};
use crate::suite::Suite;

/// All of them.
pub fn registry() -> Suite {
    Suite::new()
        .buffer::<Ring>("ring")
        .buffer::<MutexDeque>("mutex_deque")
        .buffer::<TokioChannel>("tokio_channel")
        .durable("file", SimHost::new, open_dir)
        .buffer::<ArrayQueue>("crossbeam_array_queue")
        .buffer::<SegQueue>("crossbeam_seg_queue")
        .buffer::<CrossbeamChannel>("crossbeam_channel")
        .buffer::<StdSyncChannel>("std_sync_channel")
        .tokio_awaited("tokio_channel_awaited")
        .consumer("transactional_consumer", || Transactional)
        .reference("crossbeam_array_queue")
}
