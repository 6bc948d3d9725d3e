//! Stanchion tells the truth about message queues: what a queue guarantees when consumers crash, leases run
//! out and the power fails, and what those guarantees cost.
//!
//! A queue implements [`Buffer`] or [`Broker`], declares a contract, and gets a line in a [`Suite`]:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     stanchion::Suite::new().buffer::<stanchion::buffers::Ring>("ring").main()
//! }
//! ```
//!
//! That is the whole of a test target with `harness = false`; with [`Suite::bench`] in place of
//! [`Suite::main`] it is the whole of a bench target.

mod registry;
mod suite;

pub use registry::registry;
pub use stanchion_properties::{self as properties, consumers};
pub use stanchion_queues::*;
pub use stanchion_reports as reports;
pub use suite::Suite;

pub use stanchion_benches as benches;
