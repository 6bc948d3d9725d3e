//! What the exit codes of the `stanchion` command and of the bench targets mean. Test targets have those of libtest.

/// The results could not be stored, or something else that is not the queues' fault.
pub const INTERNAL: u8 = 1;
/// The command line makes no sense.
pub const USAGE: u8 = 2;
/// The filter selects nothing: silence is not success.
pub const NOTHING_SELECTED: u8 = 4;
/// Somebody interrupted it; what was found until then is stored. As shells have it: 128 and the number of the signal.
pub const INTERRUPTED: u8 = 130;
/// A queue broke a promise.
pub const BROKEN: u8 = 10;
