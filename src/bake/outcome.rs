//! How a bake ends: what it gives, what failed, what was left.

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

/// A recorded image.
#[derive(Debug)]
pub struct Baked {
    /// What names the manifest.
    pub digest: Digest,
    /// The manifest.
    pub manifest: Manifest,
    /// The result of its test, where it was tested.
    pub tested: Option<TestRecord>,
    /// What could not be removed.
    pub leaks: Vec<Leftover>,
}

/// A test that was made again.
#[derive(Debug)]
pub struct Tested {
    /// The result, which is in the store by now.
    pub record: TestRecord,
    /// What could not be removed.
    pub leaks: Vec<Leftover>,
}

/// A run that failed, and what is left of it.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Failed {
    /// Why.
    pub error: BakeError,
    /// What could not be removed.
    pub leaks: Vec<Leftover>,
    /// The machine, where it was kept.
    pub kept: Option<Kept>,
}

/// A machine that was left running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The command that logs in.
    pub login: String,
    /// The run's folder, with keys and console log; `sweep` removes it together with the machine.
    pub folder: PathBuf,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum BakeError {
    /// There is a manifest of this name already.
    #[error("{name} is recorded already, and records are never rewritten; bake another version")]
    VersionTaken {
        /// `image@version`.
        name: String,
    },
    /// A release could not be had or trusted.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// The builder failed.
    #[error(transparent)]
    Builder(#[from] BuilderError),
    /// The build VM ended while it was worked in.
    #[error("the build VM is gone: {end}\nmeanwhile: {error}")]
    Died {
        /// How it ended.
        end: Box<MachineEnd>,
        /// What failed because of it.
        error: Box<BakeError>,
    },
    /// The machine was gone before it could be captured.
    #[error("there is no machine to capture")]
    NoMachine,
    /// A step or a check failed.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// The image could not be tried.
    #[error("the image is recorded, but could not be tested: {0}")]
    Trial(#[from] BootTestError),
    /// Something is left on the captured disk. Nothing was recorded.
    #[error("{}", left(.0))]
    Residue(BTreeSet<Leak>),
    /// The captured disk could not be looked through.
    #[error(transparent)]
    Unread(#[from] LeakScanError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The artifact of a manifest is not in the store.
    #[error("the image file of {name} is not in the store; nothing can be booted")]
    NoArtifact {
        /// `image@version`.
        name: String,
    },
    /// A manifest names no checks.
    #[error("{name} was recorded without checks; nothing can be tested")]
    NoChecks {
        /// `image@version`.
        name: String,
    },
    /// We were asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl BakeError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        None
    }

    /// Whether the machine shut down or restarted by itself. If its platform ended it, its steps are done all the same.
    pub(super) fn went_away(&self) -> bool {
        match self {
            Self::Provision(ProvisionError::WentAway { .. }) => true,
            Self::Died { end, .. } => !end.by.is_platform(),
            _ => false,
        }
    }
}

/// So many of what is left on a disk are named.
const NAMED: usize = 20;

fn left(found: &BTreeSet<Leak>) -> String {
    let mut text = format!("the captured disk is not clean, {} found:", found.len());
    for residue in found.iter().take(NAMED) {
        text.push_str("\n  ");
        text.push_str(&residue.to_string());
    }
    if found.len() > NAMED {
        text.push_str("\n  …");
    }
    text
}

impl From<BakeError> for Failed {
    fn from(error: BakeError) -> Self {
        Self {
            error,
            leaks: Vec::new(),
            kept: None,
        }
    }
}

impl From<JournalError> for Failed {
    fn from(error: JournalError) -> Self {
        BakeError::from(error).into()
    }
}

/// The error that stands behind another one: an interrupt ends many things in many ways, and so does a machine's death.
pub(super) async fn explain<M: Machine>(
    error: BakeError,
    machine: Option<&mut M>,
    world: &RunContext<'_>,
) -> BakeError {
    if let Err(interrupted) = world.interrupt.check() {
        return interrupted.into();
    }
    let Some(machine) = machine else {
        return error;
    };
    let end = match is_broken_connection(&error) {
        true => start::end_of(machine, world.interrupt).await,
        false => machine.died(),
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

/// Whether the machine, or the program that runs it, did not answer any more.
fn is_broken_connection(error: &BakeError) -> bool {
    match error {
        BakeError::Provision(error) => error.is_broken_connection(),
        BakeError::Builder(error) => matches!(error, BuilderError::Control { .. }),
        _ => false,
    }
}

impl BakeError {
    /// Whether a machine was ended by its platform, which says nothing about the image: the same may succeed if it is done again.
    pub fn is_platform(&self) -> bool {
        match self {
            Self::Died { end, .. }
            | Self::Builder(BuilderError::Died { end, .. })
            | Self::Trial(BootTestError::Builder(BuilderError::Died { end, .. })) => {
                end.by.is_platform()
            }
            _ => false,
        }
    }

    /// Whether the machine that it is about is gone.
    pub(super) fn is_of_a_dead_machine(&self) -> bool {
        matches!(
            self,
            Self::Died { .. } | Self::Builder(BuilderError::Died { .. })
        )
    }
}

/// Ends the machine and undoes all that the journal names.
pub(super) async fn clean_up<M: Machine>(
    machine: Option<M>,
    teardown: Teardown,
    world: &RunContext<'_>,
) -> Vec<Leftover> {
    drop(machine);
    let undoing = async {
        Ok::<_, std::convert::Infallible>(teardown.finish(world.events, world.interrupt).await)
    };
    let Ok(leaks) = world.events.stage(Stage::Cleanup, undoing).await;
    leaks
}

/// Leaves the machine running, with what is needed to log in. Where that cannot be written down it still runs.
pub(super) fn keep<M: Machine>(
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
        Err(error) => format!(
            "(its keys could not be written to {}: {error})",
            folder.display()
        ),
    };
    Failed {
        error,
        leaks: Vec::new(),
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
