//! The options of a build.

use super::BakeError;
use crate::build_record::Revision;
use crate::guest_steps::Lynis;
use crate::manifest::ImageVersion;
use crate::plan::Plan;

/// The options of one build.
pub struct BakeOptions<'a> {
    /// The resolved build.
    pub plan: &'a Plan,
    /// The image's version; `None` uses the next free version of the day.
    pub version: Option<ImageVersion>,
    /// The Git revision of the definition; `None` if it is not in a repository.
    pub revision: Option<Revision>,
    /// Whether the artifact is booted and checked.
    pub test: bool,
    /// Lynis settings for auditing the booted image and its base. `None` skips the audit.
    pub audit: Option<&'a Lynis>,
    /// Called after a stage failed while the build VM was running, except on an interrupt.
    pub on_error: &'a (dyn Fn(&BakeError) -> OnError + Sync),
}

/// The fate of the build VM after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// Removes the build VM.
    Clean,
    /// Keeps the build VM running, so that the user can log in. [`crate::teardown::sweep`] removes
    /// it later.
    Keep,
}

impl BakeOptions<'_> {
    /// Returns whether the build VM keeps running after `error`.
    pub(super) fn keeps_vm_after(&self, error: &BakeError) -> bool {
        let is_running = !matches!(error, BakeError::Interrupted(_)) && !error.is_vm_gone();
        is_running && (self.on_error)(error) == OnError::Keep
    }
}
