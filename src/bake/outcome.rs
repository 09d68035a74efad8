//! The result of a build or test, its errors, and the cleanup at its end.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::boot_test::BootTestError;
use crate::builder::{BuilderError, Machine, MachineEnd, start};
use crate::digest::Digest;
use crate::event::Stage;
use crate::guest_steps::ProvisionError;
use crate::leak_scan::{Leak, LeakScanError};
use crate::manifest::{Manifest, TestRecord};
use crate::release::ReleaseError;
use crate::run_context::RunContext;
use crate::ssh::{Endpoint, Keys};
use crate::store::StoreError;
use crate::teardown::{JournalError, Leftover, Teardown};
use crate::wait::Interrupted;

/// The result of a successful build.
#[derive(Debug)]
pub struct Baked {
    /// The digest of the manifest.
    pub digest: Digest,
    /// The recorded manifest.
    pub manifest: Manifest,
    /// The test record; `None` if the build ran no boot test.
    pub tested: Option<TestRecord>,
    /// The resources that could not be removed.
    pub leftovers: Vec<Leftover>,
}

/// The result of a boot test of a recorded image.
#[derive(Debug)]
pub struct Tested {
    /// The test record, already in the store.
    pub record: TestRecord,
    /// The resources that could not be removed.
    pub leftovers: Vec<Leftover>,
}

/// A failed run with its leftovers.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Failed {
    /// The cause.
    pub error: BakeError,
    /// The resources that could not be removed.
    pub leftovers: Vec<Leftover>,
    /// The build VM, if [`super::OnError::Keep`] kept it running.
    pub kept: Option<Kept>,
}

/// A build VM that keeps running after an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The ssh command that logs in.
    pub login: String,
    /// The run's folder with keys and console log. `vault-bake sweep` removes it together with the
    /// VM.
    pub folder: PathBuf,
}

/// A build or boot test failed.
#[derive(Debug, thiserror::Error)]
pub enum BakeError {
    /// A manifest of this name exists.
    #[error("{name} is already recorded, and records are never rewritten")]
    VersionTaken {
        /// `image@version`.
        name: String,
    },
    /// A release could not be downloaded or verified.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// The builder failed.
    #[error(transparent)]
    Builder(#[from] BuilderError),
    /// The build VM ended during a stage.
    #[error("the build VM ended: {end}\nfailed because of it: {error}")]
    Died {
        /// The cause of its end.
        end: Box<MachineEnd>,
        /// The error of the stage.
        error: Box<BakeError>,
    },
    /// The build VM ended before the capture.
    #[error("cannot capture the disk: there is no build VM")]
    NoMachine,
    /// A step or a check failed.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// The boot test could not run. The image is recorded.
    #[error("cannot test the recorded image: {0}")]
    BootTest(#[from] BootTestError),
    /// The leak scan found secrets or leftovers of the build on the captured disk. Nothing was
    /// recorded.
    #[error("{}", list_findings(.0))]
    LeaksFound(BTreeSet<Leak>),
    /// The leak scan could not read the captured disk.
    #[error(transparent)]
    LeakScan(#[from] LeakScanError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The artifact of a manifest is not in the store.
    #[error("cannot boot {name}: its image file is not in the store")]
    NoArtifact {
        /// `image@version`.
        name: String,
    },
    /// A manifest has no checks.
    #[error("cannot test {name}: it was recorded without checks")]
    NoChecks {
        /// `image@version`.
        name: String,
    },
    /// The user interrupted the run.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl BakeError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::VersionTaken { .. } => {
                "Pass another `--version`, or leave it out to use the next free version."
            }
            Self::Release(error) => return error.hint(),
            Self::Builder(error) => return error.hint(),
            Self::Died { end, .. } if end.cause.is_platform() => {
                "Run the same command again: it resumes after the last cached step. \
                 If it fails again, search `journalctl -k` for the cause, such as exhausted memory."
            }
            Self::Died { error, .. } => return error.hint(),
            Self::BootTest(error) => {
                let hint = "Run `vault-bake test` to test the image. No test record was written.";
                return Some(error.hint().unwrap_or_else(|| hint.to_owned()));
            }
            Self::LeaksFound(_) => {
                "Remove each finding in a step before the seal, or do not write it to the disk. \
                 For `disk.programs`, find the step that replaced the program of a release."
            }
            Self::LeakScan(error) => return error.hint(),
            Self::Provision(error) => {
                let hint = match error {
                    ProvisionError::WentAway { .. } => {
                        "Restart the build VM only with `reboot = true`, in a separate step. \
                         Remove each command that shuts it down from this step and earlier ones."
                    }
                    _ => "Pass `--on-error keep` to keep the build VM running and log in.",
                };
                return Some(error.hint().unwrap_or_else(|| hint.to_owned()));
            }
            Self::Store(error) => return error.hint(),
            Self::Journal(error) => return error.hint(),
            Self::NoArtifact { .. } => {
                "Restore the image file from a copy of the store, or build the image again."
            }
            Self::NoChecks { .. } => "Build the image again with this version of vault-bake.",
            Self::NoMachine | Self::Interrupted(_) => return None,
        };
        Some(hint.to_owned())
    }

    /// Returns whether the build VM shut down or restarted outside a reboot step. If its platform
    /// ended it, the cached steps are complete.
    pub(super) fn is_unexpected_shutdown(&self) -> bool {
        match self {
            Self::Provision(ProvisionError::WentAway { .. }) => true,
            Self::Died { end, .. } => !end.cause.is_platform(),
            _ => false,
        }
    }
}

/// How many findings the error message lists.
const LISTED: usize = 20;

fn list_findings(findings: &BTreeSet<Leak>) -> String {
    let mut text = format!(
        "the leak scan found {} on the captured disk:",
        match findings.len() {
            1 => "1 problem".to_owned(),
            count => format!("{count} problems"),
        }
    );
    for finding in findings.iter().take(LISTED) {
        text.push_str("\n  ");
        text.push_str(&finding.to_string());
    }
    if findings.len() > LISTED {
        text.push_str("\n  …");
    }
    text
}

impl From<BakeError> for Failed {
    fn from(error: BakeError) -> Self {
        Self {
            error,
            leftovers: Vec::new(),
            kept: None,
        }
    }
}

impl From<JournalError> for Failed {
    fn from(error: JournalError) -> Self {
        BakeError::from(error).into()
    }
}

/// Returns the cause of `error`. An interrupt, or the end of the build VM, appears as many
/// different errors.
pub(super) async fn find_cause<M: Machine>(
    error: BakeError,
    machine: Option<&mut M>,
    context: &RunContext<'_>,
) -> BakeError {
    if let Err(interrupted) = context.interrupt.check() {
        return interrupted.into();
    }
    let Some(machine) = machine else {
        return error;
    };
    let end = if is_broken_connection(&error) {
        start::wait_for_end(machine, context.interrupt).await
    } else {
        machine.end()
    };
    match (end, &error) {
        (_, BakeError::Builder(BuilderError::NotUp { .. } | BuilderError::Died { .. }))
        | (None, _) => error,
        (Some(end), _) => BakeError::Died {
            end: Box::new(end),
            error: Box::new(error),
        },
    }
}

/// Returns whether the VM, or the program that runs it, stopped answering.
fn is_broken_connection(error: &BakeError) -> bool {
    match error {
        BakeError::Provision(error) => error.is_broken_connection(),
        BakeError::Builder(error) => matches!(error, BuilderError::Control { .. }),
        _ => false,
    }
}

impl BakeError {
    /// Returns whether the platform ended the VM. The image is not the cause, so the same run may
    /// succeed when repeated.
    pub fn is_platform(&self) -> bool {
        match self {
            Self::Died { end, .. }
            | Self::Builder(BuilderError::Died { end, .. })
            | Self::BootTest(BootTestError::Builder(BuilderError::Died { end, .. })) => {
                end.cause.is_platform()
            }
            _ => false,
        }
    }

    /// Returns whether the build VM no longer runs.
    pub(super) fn is_vm_gone(&self) -> bool {
        matches!(
            self,
            Self::Died { .. } | Self::Builder(BuilderError::Died { .. })
        )
    }
}

/// Ends the VM and removes every resource in the journal. Returns the leftovers.
pub(super) async fn clean_up<M: Machine>(
    machine: Option<M>,
    teardown: Teardown,
    context: &RunContext<'_>,
) -> Vec<Leftover> {
    drop(machine);
    let undoing = async {
        Ok::<_, std::convert::Infallible>(teardown.finish(context.events, context.interrupt).await)
    };
    let Ok(leaks) = context.events.stage(Stage::Cleanup, undoing).await;
    leaks
}

/// Detaches the build VM so that it keeps running, and writes the keys for a login to the run's
/// folder. If that fails, the login text has the reason.
pub(super) fn keep_vm<M: Machine>(
    error: BakeError,
    machine: M,
    keys: &Keys,
    teardown: Teardown,
) -> Failed {
    let endpoint = machine.endpoint();
    machine.detach();
    let folder = teardown.abandon();
    let login = match write_keys(&folder, &endpoint, keys) {
        Ok(login) => login,
        Err(error) => format!("(cannot write its keys to {}: {error})", folder.display()),
    };
    Failed {
        error,
        leftovers: Vec::new(),
        kept: Some(Kept { login, folder }),
    }
}

fn write_keys(folder: &Path, endpoint: &Endpoint, keys: &Keys) -> std::io::Result<String> {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(text.as_bytes())?;
        Ok::<_, std::io::Error>(path)
    };
    let (host, port) = (endpoint.address.ip(), endpoint.address.port());
    let key = write("login_key", keys.user_private.expose())?;
    let known = write(
        "known_hosts",
        &format!("[{host}]:{port} {}\n", keys.host_public),
    )?;
    Ok(format!(
        "ssh -i {} -o UserKnownHostsFile={} -o IdentitiesOnly=yes -p {port} {}@{host}",
        key.display(),
        known.display(),
        endpoint.user
    ))
}
