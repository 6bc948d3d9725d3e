//! What a confirmed send costs when it survives the power: the file queue beside its durable peers.
//!
//! A peer is a [`Table`](store::Table) in one small file under [`stores`]. [`tabled`] makes a
//! [`Store`](store::Store) of it, with leases in memory, which is generous to it; [`grouped`] lets many callers
//! share its syncs. [`load`] drives a store in a closed loop, and [`audit`] opens it again and looks for
//! everything it confirmed: without that there is no number. [`contest`] interleaves all stores in rounds,
//! [`targets`] says what the file queue is to reach. [`syncs`], [`counts`] and [`recovery`] look at what a rate
//! does not show, and [`bounds`] at what that is to be.

pub mod audit;
pub mod body;
pub mod bounds;
pub mod child;
pub mod contest;
pub mod counts;
pub mod entrants;
pub mod grouped;
pub mod load;
mod record;
pub mod recovery;
pub mod run;
pub mod scheduling;
pub mod store;
pub mod stores;
pub mod syncs;
mod table;
pub mod tabled;
pub mod targets;
pub mod tickets;

use std::path::PathBuf;
use std::{fs, io};

/// Why a store could not be measured.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// An empty directory on the disk of the build: a temporary directory may be in memory, where nothing is
/// synced.
///
/// # Errors
/// What the system says.
pub fn scratch() -> io::Result<tempfile::TempDir> {
    let parent: PathBuf = stanchion_reports::fragment::directory();
    fs::create_dir_all(&parent)?;
    tempfile::Builder::new().prefix("durable-").tempdir_in(parent)
}
