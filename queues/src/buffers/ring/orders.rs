//! Every memory ordering of the ring, and why it is what it is.
//!
//! `done` of one side is what the other side may rely on; `claimed` only keeps ends of the same side apart.
//! The model checker (`tests/ring_loom.rs`) notices when one of them is weakened to `Relaxed`. ThreadSanitizer (`.ci/sanitize`) sees races in real runs of the tests with [`PUBLISH`],
//! [`OBSERVE`] or [`TURN`] weakened (31, 32 and 10 of them, one run each), and none as they are.

use super::sync::{Order, Ordering, order};

/// The store to `done` that makes slots the other side's. `Release`: pairs with [`OBSERVE`], so that the items
/// written into the slots (or moved out of them) before are written (or gone) for whoever sees the store.
pub(super) const PUBLISH: Order = order("publish", Ordering::Release);

/// The load of the other side's `done` before slots are touched. `Acquire`: pairs with [`PUBLISH`].
pub(super) const OBSERVE: Order = order("observe", Ordering::Acquire);

/// The load of one's own side's `done` while waiting for one's turn. `Acquire`: the store that follows vouches
/// for all slots up to it, also those of the ends that were ahead, so their [`PUBLISH`] must be seen here. A
/// plain store does not continue somebody else's release sequence.
pub(super) const TURN: Order = order("turn", Ordering::Acquire);

/// The fence before "full" or "empty" is answered. `SeqCst`, because of threads that ask for what the others did:
/// if one pushes into a ring and finds a second one empty, and another pushes into the second and finds the
/// first empty, one of them is wrong. Each has a fence between its store and its load, and of two such fences one
/// comes first (store buffering).
pub(super) const ANSWER: Order = order("answer", Ordering::SeqCst);

/// The first of the two loads of an answer. `Acquire`: pairs with [`PUBLISH`] and [`CLAIM`]. Whoever moved this
/// cursor may have moved the other one before; then the second load must see that, or the two cursors would never
/// have stood so.
pub(super) const FIRST: Order = order("first", Ordering::Acquire);

/// The second load of an answer. `Relaxed`: nothing is read on its word.
pub(super) const SECOND: Order = order("second", Ordering::Relaxed);

/// The exchange that claims positions. `Release`: pairs with [`FIRST`]. For the items it need not be: that the slots
/// are free (or filled) is known by [`OBSERVE`] before, and told by [`PUBLISH`] after.
pub(super) const CLAIM: Order = order("claim", Ordering::Release);

/// The load of `claimed` before the exchange. `Relaxed`: a guess that the exchange confirms.
pub(super) const GUESS: Order = order("guess", Ordering::Relaxed);
