//! What a run needs of the world around it. The library asks neither the clock nor the environment itself.
//!
//! In: the caller's choices. Out: the same, in one value that the conductors hand on. Deliberately holds nothing that
//! changes during a run.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use uuid::{NoContext, Uuid};

use crate::event::Events;
use crate::manifest::Tool;
use crate::wait::Interrupt;

/// The surroundings of a run.
#[derive(Clone, Copy)]
pub struct RunContext<'a> {
    /// A folder for what can be made again: bases, releases, and runs in progress.
    pub cache: &'a Path,
    /// Where uploads go in a machine: [`crate::ssh::GUEST_WORK`], but for stand-in machines of tests.
    pub guest_work: &'a str,
    /// Where events go.
    pub events: &'a Events,
    /// Who may stop us.
    pub interrupt: &'a Interrupt,
    /// The clock.
    pub now: &'a (dyn Fn() -> Timestamp + Sync),
    /// What runs: recorded in the manifest.
    pub tool: &'a Tool,
}

impl RunContext<'_> {
    /// Where runs keep their journals and work folders; the folder that `sweep` looks at.
    pub fn runs(&self) -> PathBuf {
        runs(self.cache)
    }

    /// A new id for a run, a UUIDv7: sorts by time, and is no one else's.
    pub fn new_run(&self) -> String {
        let now = (self.now)();
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or_default();
        Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, nanos)).to_string()
    }
}

/// Where runs keep their journals and work folders, for a cache folder.
pub fn runs(cache: &Path) -> PathBuf {
    cache.join("runs")
}
