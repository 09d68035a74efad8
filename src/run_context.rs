//! The folders, events, interrupt and clock that a run gets from its caller.
//! The library does not read the clock or the environment.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use uuid::{NoContext, Uuid};

use crate::event::Events;
use crate::manifest::Tool;
use crate::wait::Interrupt;

/// The context of a run. It does not change during the run.
#[derive(Clone, Copy)]
pub struct RunContext<'a> {
    /// The folder for bases, releases, cache entries and runs in progress.
    pub cache: &'a Path,
    /// The folder for uploads in a machine: [`crate::ssh::GUEST_WORK`], except in tests.
    pub guest_work: &'a str,
    /// The receiver of events.
    pub events: &'a Events,
    /// The user's request to stop.
    pub interrupt: &'a Interrupt,
    /// The clock.
    pub now: &'a (dyn Fn() -> Timestamp + Sync),
    /// The version of vault-bake, for the manifest.
    pub tool: &'a Tool,
}

impl RunContext<'_> {
    /// Returns the folder for journals and work folders, which `sweep` reads.
    pub fn runs_folder(&self) -> PathBuf {
        runs_folder(self.cache)
    }

    /// Returns a unique id for a run: a UUIDv7, which sorts by time.
    pub(crate) fn new_run_id(&self) -> String {
        let now = (self.now)();
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or_default();
        Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, nanos)).to_string()
    }
}

/// Returns the folder for journals and work folders in a cache folder.
pub fn runs_folder(cache: &Path) -> PathBuf {
    cache.join("runs")
}
