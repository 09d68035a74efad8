//! Makes a machine into what a plan says: uploads, steps, checks, seal, and what is known of the machine at the end.
//!
//! In: a [`Guest`] (plan, releases, keys) and a [`Session`](crate::ssh::Session). Out: a record of every step and every check, or a
//! [`ProvisionError`] that names the step, its exit status and its last lines. Secrets travel in scripts' standard input,
//! and for `ansible-playbook` in a private file, alone. Deliberately decides nothing: order, files, environment and
//! time-outs are the plan's.

mod leaving;
mod ansible;
mod audit;
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
use crate::release::Verified;
use crate::ssh::{Keys, Reboot};
use crate::wait::Interrupt;

pub use audit::{Audit, Lynis, audit};
pub use checks::{CheckRecord, Phase, run_checks};
pub use error::{Leaving, ProvisionError};
pub use facts::{BootFacts, Package, Packages, boot_facts, inventory};
pub use identity::give_identity;
pub use observe::{Observed, observe};
pub use steps::{run_step, seal};
pub use tap::{Test, parse as parse_tap};
pub use upload::{pack, unpack, upload};

/// The clock that records are made by.
pub type StepContext<'a> = &'a (dyn Fn() -> Timestamp + Sync);

/// What is done to a machine, and with what.
pub struct Guest<'a> {
    /// The image's name.
    pub image: &'a str,
    /// All steps, decided.
    pub steps: &'a [PlannedStep],
    /// Where the playbooks of `ansible` steps start: the definition's folder.
    pub folder: &'a Path,
    /// The content of `lib.sh`, which every step may use.
    pub lib: &'a [u8],
    /// The releases that scripts are told of.
    pub releases: &'a [Installed],
    /// The releases that are uploaded: all of them in a build, none in a test of a captured image.
    pub archives: &'a [Verified],
    /// The run's id.
    pub run: &'a str,
    /// Where uploads go in the machine: [`crate::ssh::GUEST_WORK`].
    pub work: &'a str,
    /// Whether the machine sees what [`unpack`] and [`pack`] made as its disk [`crate::ssh::UPLOAD_DISK`].
    pub shown: bool,
    /// A folder of the run's own on this machine, for what `ansible-playbook` needs.
    pub local_work: &'a Path,
    /// The keys of the run.
    pub keys: &'a Keys,
    /// How the machine restarts.
    pub reboot: &'a Reboot,
    /// Who is told.
    pub events: &'a Events,
    /// Who may stop us.
    pub interrupt: &'a Interrupt,
}

/// A release as scripts are told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// `vault` or `consul`.
    pub product: String,
    /// As in `1.21.1`.
    pub version: String,
    /// Of the binary, uncompressed.
    pub sha256: Digest,
}

impl From<&Verified> for Installed {
    fn from(release: &Verified) -> Self {
        Self {
            product: release.locked.product.clone(),
            version: release.locked.version.clone(),
            sha256: release.binary_sha256,
        }
    }
}

/// The record of a step that was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// As in the plan.
    pub name: String,
    /// Over all that decided what it did.
    pub digest: Digest,
    /// `provisioner`, `shell`, `file`, `ansible` or `reboot`.
    pub kind: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
    /// Its exit status.
    pub exit: i32,
    /// Of its output: scrubbed lines, each with its newline.
    pub log_digest: Digest,
}
