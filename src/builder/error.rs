//! Errors of builders and their VMs.

use std::io;
use std::path::{Path, PathBuf};

use super::end::MachineEnd;
use crate::http::FetchError;
use crate::process::{ProcessError, last_lines};
use crate::ssh::SshError;
use crate::teardown::JournalError;
use crate::wait::Interrupted;

/// An error that only one platform has.
pub trait PlatformFailure: std::error::Error + Send + Sync {
    /// Returns what to do about it, as an imperative, if there is something to do.
    fn hint(&self) -> Option<String>;
}

/// A builder failed.
#[derive(Debug, thiserror::Error)]
pub enum BuilderError {
    /// The lock file has another kind of base, or other suites, than the definition.
    #[error("the lock file does not match the base of the definition")]
    LockMismatch,
    /// A failure of the platform itself.
    #[error("{0}")]
    Platform(Box<dyn PlatformFailure>),
    /// A plan or image belongs to another builder.
    #[error("the plan or image belongs to another builder")]
    WrongBuilder,
    /// The signed index of a suite differs from the lock file.
    #[error("{suite} has changed: expected the index of {expected}, found {found}")]
    IndexChanged {
        /// The suite and its mirror.
        suite: String,
        /// The date and digest of the index in the lock file.
        expected: String,
        /// The date and digest of the index on the mirror, or `none`.
        found: String,
    },
    /// The digest of a downloaded file differs from the lock file.
    #[error("{what}: expected SHA-512 {expected}, found {found}")]
    WrongDigest {
        /// The URL of the file.
        what: String,
        /// The digest in the lock file, in hex.
        expected: String,
        /// The digest of the download, in hex.
        found: String,
    },
    /// A disk image cannot be used.
    #[error("{}: {why}", path.display())]
    Image {
        /// The path or URL of the image.
        path: PathBuf,
        /// The defect, with the expected value.
        why: String,
    },
    /// The disk image is larger than the disk of the VM.
    #[error(
        "{}: the image needs a disk of {least_gib} GiB, the VM has {disk_gib} GiB",
        path.display()
    )]
    DiskTooSmall {
        /// The path of the image.
        path: PathBuf,
        /// The size of the VM's disk, in GiB.
        disk_gib: u32,
        /// The smallest sufficient size, in GiB.
        least_gib: u64,
    },
    /// A program or file that the builder needs is not on this host.
    #[error("{what} is missing")]
    Missing {
        /// The program or file.
        what: String,
        /// The Debian package that contains it.
        package: &'static str,
    },
    /// A VM ended, or did not start.
    #[error("{machine} VM: {end}")]
    Died {
        /// The role of the VM.
        machine: String,
        /// The cause of its end.
        end: Box<MachineEnd>,
    },
    /// A command on the control connection of a VM failed.
    #[error("cannot control the {machine} VM: {why}")]
    Control {
        /// The role of the VM.
        machine: String,
        /// The reason.
        why: String,
    },
    /// A VM did not shut down after its power button was pressed.
    #[error("cannot shut down the {machine} VM: {why}{}", last_lines(.console))]
    StillRunning {
        /// The role of the VM.
        machine: String,
        /// The last observation.
        why: String,
        /// The last lines of its console.
        console: Vec<String>,
    },
    /// A VM did not answer on SSH.
    #[error("{error}{}", last_lines(.console))]
    NotUp {
        /// The last error of a connection.
        error: Box<SshError>,
        /// The last lines of its console.
        console: Vec<String>,
    },
    /// The file system has too little free space.
    #[error(
        "cannot write to {}: {free_mib} MiB are free, about {needed_mib} MiB are needed",
        path.display()
    )]
    NoSpace {
        /// A folder on the file system.
        path: PathBuf,
        /// The free space, in MiB.
        free_mib: u64,
        /// The needed space, in MiB.
        needed_mib: u64,
    },
    /// A wait passed its deadline.
    #[error("{0}")]
    TimedOut(String),
    /// A program failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A download failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The journal could not be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A file or folder could not be read or written.
    #[error("cannot access {}: {error}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// The user interrupted the run.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl BuilderError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::LockMismatch => "Run `vault-bake lock` for this image.",
            Self::WrongBuilder => "Choose the right builder with `--builder`.",
            Self::IndexChanged { .. } => {
                "Run `vault-bake lock` again, or set a snapshot mirror that keeps the locked state."
            }
            Self::WrongDigest { .. } => {
                "Find out why the file changed before you run `vault-bake lock`."
            }
            Self::Missing { package, .. } => {
                return Some(format!("Install the Debian package {package}."));
            }
            Self::DiskTooSmall { least_gib, .. } => {
                return Some(format!("Set `disk_gib` to at least {least_gib}."));
            }
            Self::NoSpace { needed_mib, .. } => {
                return Some(format!(
                    "Free at least {needed_mib} MiB on this file system."
                ));
            }
            Self::Died { end, .. } if end.cause.is_retryable() => {
                "Search `journalctl -k` for the cause, such as exhausted memory. \
                 Run `vault-bake doctor` to check this host."
            }
            Self::StillRunning { .. } => {
                "Check whether a service in the image inhibits the power button."
            }
            Self::NotUp { error, .. } => {
                let hint = "Run `vault-bake doctor` to check this host. \
                            Increase `boot_timeout_s` in the machine section of image.toml.";
                return Some(error.hint().unwrap_or_else(|| hint.to_owned()));
            }
            Self::Process(error @ ProcessError::Start { .. }) => {
                let hint = "Run `vault-bake doctor` to check which programs are missing.";
                return Some(error.hint().unwrap_or_else(|| hint.to_owned()));
            }
            Self::Platform(error) => return error.hint(),
            Self::Process(error) => return error.hint(),
            Self::Fetch(error) => return error.hint(),
            Self::Journal(error) => return error.hint(),
            Self::Image { .. }
            | Self::Died { .. }
            | Self::Control { .. }
            | Self::TimedOut(_)
            | Self::File { .. }
            | Self::Interrupted(_) => return None,
        };
        Some(hint.to_owned())
    }

    /// Adds the path to an I/O error.
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |error| Self::File {
            path: path.to_owned(),
            error,
        }
    }
}
