//! The queues and consumers that ship with Stanchion. To add one: its file, and a line here.

use crate::buffers::{
    ArrayQueue, CrossbeamChannel, MutexDeque, Ring, SegQueue, StdSyncChannel, TokioChannel,
};
use crate::consumers::Transactional;
use crate::file::{SimHost, open_dir};
use crate::suite::Suite;

/// All of them.
pub fn registry() -> Suite {
    with_peers(ours())
}

fn ours() -> Suite {
    Suite::new()
        .buffer::<Ring>("ring")
        .buffer::<MutexDeque>("mutex_deque")
        .buffer::<TokioChannel>("tokio_channel")
        .durable("file", SimHost::new, open_dir)
        .buffer::<ArrayQueue>("crossbeam_array_queue")
        .buffer::<SegQueue>("crossbeam_seg_queue")
        .buffer::<CrossbeamChannel>("crossbeam_channel")
        .buffer::<StdSyncChannel>("std_sync_channel")
        .blocking::<CrossbeamChannel>("crossbeam_channel_blocking")
        .blocking::<StdSyncChannel>("std_sync_channel_blocking")
        .tokio_awaited("tokio_channel_awaited")
        .consumer("transactional_consumer", || Transactional)
        .reference("crossbeam_array_queue")
}

/// Other people's queues, to compare with.
#[cfg(feature = "peers")]
fn with_peers(suite: Suite) -> Suite {
    use crate::benches::peers::{
        AsyncChannel, ConcurrentQueue, Crossfire, Flume, Kanal, ParkingLotDeque, Rtrb, ThingBuf,
    };
    suite
        .buffer::<Rtrb>("rtrb")
        .buffer::<ParkingLotDeque>("parking_lot_deque")
        .buffer::<ConcurrentQueue>("concurrent_queue")
        .buffer::<ThingBuf>("thingbuf")
        .buffer::<AsyncChannel>("async_channel")
        .buffer::<Kanal>("kanal")
        .buffer::<Flume>("flume")
        .buffer::<Crossfire>("crossfire")
        .blocking::<AsyncChannel>("async_channel_blocking")
        .blocking::<Kanal>("kanal_blocking")
        .blocking::<Flume>("flume_blocking")
        .blocking::<Crossfire>("crossfire_blocking")
}

#[cfg(not(feature = "peers"))]
fn with_peers(suite: Suite) -> Suite {
    suite
}
