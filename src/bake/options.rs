//! What to bake, and how.

use super::BakeError;
use crate::build_record::Revision;
use crate::guest_steps::Lynis;
use crate::manifest::ImageVersion;
use crate::plan::Plan;

/// What to bake, and how.
pub struct BakeOptions<'a> {
    /// Every step, decided.
    pub plan: &'a Plan,
    /// The image's version; `None` takes the next free one of today.
    pub version: Option<ImageVersion>,
    /// The revision of the definition's repository, where it is kept in one.
    pub revision: Option<Revision>,
    /// Whether the captured image is booted and checked.
    pub test: bool,
    /// By whose measure the booted image is audited, and its base, beside the checks; nobody's, where there is none.
    pub audit: Option<&'a Lynis>,
    /// Asked when a stage failed, but for an interrupt, while the machine was there.
    pub on_error: &'a (dyn Fn(&BakeError) -> OnError + Sync),
}

/// What becomes of the machine of a failed bake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// It is removed.
    Clean,
    /// It goes on running, for somebody to log in. [`crate::teardown::sweep`] removes it later.
    Keep,
}

impl BakeOptions<'_> {
    /// Whether the machine stays, after `error`.
    pub(super) fn keeps(&self, error: &BakeError) -> bool {
        let can_stay = !matches!(error, BakeError::Interrupted(_)) && !error.is_of_a_dead_machine();
        can_stay && (self.on_error)(error) == OnError::Keep
    }
}
