//! Runs the steps, checks and seal of a plan in a build VM.
//! Takes a [`Guest`] and a [`Session`](crate::ssh::Session); returns the records.
//! The plan decides the order, files, environment and time limits.
//!
//! Secrets go through the standard input of scripts, and through a private file for Ansible only.

mod leaving;
mod ansible;
mod audit;
mod check_record;
mod checks;
mod disks;
mod error;
mod facts;
mod observe;
mod script;
mod identity;
mod steps;
mod tap;
mod upload;

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::event::Events;
use crate::plan::PlannedStep;
use crate::release::VerifiedRelease;
use crate::ssh::{Keys, Reboot};
use crate::wait::Interrupt;

pub use audit::{Audit, Lynis, audit};
pub use check_record::{CheckRecord, Phase};
pub use checks::run_checks;
pub use error::{DepartureReason, ProvisionError};
pub use facts::{BootFacts, Package, Packages, boot_facts, inventory};
pub use identity::give_identity;
pub use observe::{InspectedVm, inspect};
pub use steps::{run_step, seal};
pub use tap::{Test, parse as parse_tap};
pub use upload::{pack, unpack, upload};

/// The clock for records.
pub type Clock<'a> = &'a (dyn Fn() -> Timestamp + Sync);

/// The inputs for running steps or checks in one machine.
pub struct StepContext<'a> {
    /// The name of the image.
    pub image: &'a str,
    /// All steps of the plan.
    pub steps: &'a [PlannedStep],
    /// The definition's folder, to which the paths of playbooks are relative.
    pub folder: &'a Path,
    /// The content of `lib.sh`, which every step may use.
    pub lib: &'a [u8],
    /// The releases in the environment of scripts.
    pub releases: &'a [Installed],
    /// The releases to upload: all in a build, none in a boot test.
    pub archives: &'a [VerifiedRelease],
    /// The run's id.
    pub run: &'a str,
    /// The folder for uploads in the machine: [`crate::ssh::GUEST_WORK`], except in tests.
    pub work: &'a str,
    /// Whether [`unpack`] and [`pack`] filled the machine's disk [`crate::ssh::UPLOAD_DISK`].
    pub uses_upload_disk: bool,
    /// The run's work folder on this computer, for the files of Ansible.
    pub local_work: &'a Path,
    /// The keys of the run.
    pub keys: &'a Keys,
    /// The commands that reboot the machine.
    pub reboot: &'a Reboot,
    /// The receiver of events.
    pub events: &'a Events,
    /// The user's request to stop.
    pub interrupt: &'a Interrupt,
}

/// An installed release, for the environment of scripts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// `vault` or `consul`.
    pub product: String,
    /// The version, as in `1.21.1`.
    pub version: String,
    /// The SHA-256 of the uncompressed binary.
    pub sha256: Digest,
}

impl From<&VerifiedRelease> for Installed {
    fn from(release: &VerifiedRelease) -> Self {
        Self {
            product: release.locked.product.clone(),
            version: release.locked.version.clone(),
            sha256: release.binary_sha256,
        }
    }
}

/// The record of a completed step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The name in the plan.
    pub name: String,
    /// The digest of all inputs of the step.
    pub digest: Digest,
    /// `provisioner`, `shell`, `file`, `ansible` or `reboot`.
    pub kind: String,
    /// The start time.
    pub started_at: Timestamp,
    /// The end time.
    pub ended_at: Timestamp,
    /// The duration in milliseconds.
    pub elapsed_ms: u64,
    /// The exit status.
    pub exit: i32,
    /// The digest of the output: scrubbed lines, each with its newline.
    pub log_digest: Digest,
}
