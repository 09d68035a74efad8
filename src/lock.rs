//! Resolves a definition to exact versions and digests: `images/<name>/image.lock`.
//! Takes a definition and an [`Index`] of servers, returns a [`Lock`] and its file.
//! Archives and packages are not downloaded: their digests come from signed indexes.

pub(crate) mod azure;
mod image;
mod network;
mod releases;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::definition::{AzureSpec, BuilderKind, Definition, Location, Problem, QemuBase};
use crate::digest::Digest;
use crate::event::Events;
use crate::http::FetchError;
use crate::process::ProcessError;
use crate::release::{Architecture, LockedRelease, ReleaseError, ReleaseMirror, ReleaseName};
use crate::wait::Interrupt;

pub use image::{ImageReference, LockedImage, PurchasePlan, VmGeneration};
pub use network::{DEBIAN_KEYRING, Network};
pub(crate) use releases::{relative_path, release_mirror, resolve_path};

/// The lock file of one definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Schema version, 1.
    pub schema: u32,
    /// Digest of the definition's bases and releases. If it differs, the lock is stale.
    pub wanted: Digest,
    /// Base of the QEMU builder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qemu: Option<LockedBase>,
    /// Base of the Azure builder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azure: Option<LockedImage>,
    /// Releases, sorted by product, for each architecture of the bases.
    #[serde(rename = "release", default, skip_serializing_if = "Vec::is_empty")]
    pub releases: Vec<LockedRelease>,
}

/// The exact base of the QEMU builder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum LockedBase {
    /// Packages of signed indexes.
    Packages {
        /// Index of each suite, the main one first.
        index: Vec<PackageIndex>,
    },
    /// A cloud image.
    CloudImage {
        /// Address or path of the image.
        url: String,
        /// Digest of the image, 128 hex digits.
        sha512: String,
    },
}

/// The signed index of a suite, which has the digest of every package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageIndex {
    /// Package mirror, as in `http://deb.debian.org/debian`.
    pub mirror: String,
    /// Suite, as in `trixie`.
    pub suite: String,
    /// Date of the index, RFC 3339 in UTC.
    pub date: String,
    /// Digest of the suite's `InRelease` file.
    pub sha256: Digest,
}

/// A lock that could not be resolved, read or written.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// There is no lock file.
    #[error("cannot read {}: there is no lock file", path.display())]
    Missing {
        /// Path of the lock file.
        path: PathBuf,
    },
    /// The lock file could not be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// Path of the lock file.
        path: PathBuf,
        /// Error of the file system.
        error: io::Error,
    },
    /// The lock file could not be written.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// Path of the lock file.
        path: PathBuf,
        /// Error of the file system.
        error: io::Error,
    },
    /// The lock file has a problem.
    #[error(transparent)]
    Invalid(#[from] Problem),
    /// The index of a suite could not be fetched.
    #[error("cannot fetch the index of {suite}: {error}")]
    Fetch {
        /// Name of the suite.
        suite: String,
        /// Error of the download.
        error: FetchError,
    },
    /// The index of a suite has no valid signature.
    #[error("cannot verify the index of {suite} at {url} with {}: {error}", keyring.display())]
    Signature {
        /// Name of the suite.
        suite: String,
        /// Address of the index.
        url: String,
        /// Keyring with the accepted keys.
        keyring: PathBuf,
        /// Error of `gpgv`.
        error: Box<ProcessError>,
    },
    /// The index of a suite is signed, but is expired or belongs to another suite.
    #[error("cannot use the index of {suite} at {url}: {reason}")]
    Index {
        /// Name of the suite.
        suite: String,
        /// Address of the index.
        url: String,
        /// The defect, and what was expected.
        reason: String,
    },
    /// No subscription is configured, so that the base on Azure cannot be looked up.
    #[error("cannot look up the base on Azure: no subscription is configured")]
    NoSubscription,
    /// The image on Azure was not found, or cannot be a base.
    #[error("cannot lock image {image}: {reason}")]
    Image {
        /// Image as the definition names it.
        image: String,
        /// The reason.
        reason: String,
        /// The way out, as an imperative.
        hint: Option<String>,
    },
    /// A release was not found, or could not be verified.
    #[error(transparent)]
    Release(#[from] ReleaseError),
}

impl LockError {
    /// Returns the way out as an imperative, if there is one.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Missing { path } => {
                let image = path.parent()?.file_name()?.display();
                return Some(format!("Run `vault-bake lock {image}`."));
            }
            Self::Signature { .. } => {
                "Check the mirror, or install the distribution's current keyring (Debian: `debian-archive-keyring`)."
            }
            Self::Index { .. } => "Use a mirror that has this suite and is up to date.",
            Self::NoSubscription => {
                "Set AZURE_SUBSCRIPTION_ID, or `subscription` in `[azure]` of vault-bake.toml. To lock the QEMU base only, add --builder qemu."
            }
            Self::Invalid(problem) => return problem.hint.clone(),
            Self::Read { .. } | Self::Write { .. } => return None,
            Self::Fetch { error, .. } => return error.hint(),
            Self::Image { hint, .. } => return hint.clone(),
            Self::Release(error) => return error.hint(),
        };
        Some(hint.to_owned())
    }
}

/// Looks up bases and releases. Implemented by [`Network`], and by fakes in tests.
pub trait Index: Sync {
    /// Fetches the signed index of a suite.
    fn suite(
        &self,
        mirror: &str,
        suite: &str,
        events: &Events,
        interrupt: &Interrupt,
    ) -> impl Future<Output = Result<PackageIndex, LockError>> + Send;

    /// Looks up an image on Azure.
    fn image(
        &self,
        wanted: &AzureSpec,
        events: &Events,
        interrupt: &Interrupt,
    ) -> impl Future<Output = Result<LockedImage, LockError>> + Send;

    /// Looks up a release.
    fn release(
        &self,
        source: &ReleaseMirror,
        name: ReleaseName<'_>,
        events: &Events,
        interrupt: &Interrupt,
    ) -> impl Future<Output = Result<LockedRelease, LockError>> + Send;
}

/// The bases to look up.
#[derive(Clone, Copy, Debug)]
pub enum Bases<'a> {
    /// The bases of all builders.
    All,
    /// The base of one builder. Bases of the other builders are kept from an earlier lock of the
    /// same definition.
    Only(BuilderKind, Option<&'a Lock>),
}

impl<'a> Bases<'a> {
    fn has(self, builder: BuilderKind) -> bool {
        match self {
            Self::All => true,
            Self::Only(only, _) => only == builder,
        }
    }

    /// Returns the earlier lock, if it is for the same definition.
    fn earlier_lock(self, wanted: &Digest) -> Option<&'a Lock> {
        match self {
            Self::All => None,
            Self::Only(_, earlier) => earlier.filter(|lock| lock.wanted == *wanted),
        }
    }
}

/// Locks `definition`: looks up its releases and the given bases at `index`.
///
/// Fails if its releases do not fit together.
pub async fn resolve(
    definition: &Definition,
    bases: Bases<'_>,
    index: &impl Index,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<Lock, LockError> {
    releases::check_releases(definition)?;
    let wanted = requested_releases(definition);
    let earlier = bases.earlier_lock(&wanted);
    let qemu = match &definition.qemu {
        _ if !bases.has(BuilderKind::Qemu) => earlier.and_then(|lock| lock.qemu.clone()),
        Some(QemuBase::CloudImage { url, sha512, .. }) => Some(LockedBase::CloudImage {
            url: url.clone(),
            sha512: sha512.clone(),
        }),
        Some(base @ QemuBase::Packages { .. }) => {
            let mut locked = Vec::new();
            for (mirror, suite) in base.suites() {
                locked.push(index.suite(mirror, suite, events, interrupt).await?);
            }
            Some(LockedBase::Packages { index: locked })
        }
        None => None,
    };
    let azure = match &definition.azure {
        _ if !bases.has(BuilderKind::Azure) => earlier.and_then(|lock| lock.azure.clone()),
        Some(wanted) => Some(index.image(wanted, events, interrupt).await?),
        None => None,
    };
    let source = release_mirror(definition);
    let mut releases = Vec::new();
    for (product, version) in &definition.releases {
        for architecture in architectures(qemu.as_ref(), azure.as_ref()) {
            let name = ReleaseName {
                product,
                version,
                architecture,
            };
            let release = index.release(&source, name, events, interrupt);
            let mut release = release.await?;
            release.url = relative_path(&definition.folder, &release.url);
            releases.push(release);
        }
    }
    Ok(Lock {
        schema: SCHEMA,
        wanted,
        qemu,
        azure,
        releases,
    })
}

/// Returns the architectures of the locked bases.
fn architectures(qemu: Option<&LockedBase>, azure: Option<&LockedImage>) -> BTreeSet<Architecture> {
    let qemu = qemu.map(|_| QEMU_ARCHITECTURE);
    qemu.into_iter()
        .chain(azure.map(|base| base.arch))
        .collect()
}

/// The architecture of all bases for QEMU.
pub(crate) const QEMU_ARCHITECTURE: Architecture = Architecture::X86_64;

/// Returns the digest of a definition's bases, releases and release source.
pub fn requested_releases(definition: &Definition) -> Digest {
    let (qemu, releases) = (&definition.qemu, &definition.releases);
    let source = &definition.release_source;
    // Without Azure the digest must not change, so that existing lock files stay valid.
    match &definition.azure {
        None => Digest::hash_value(&(qemu, releases, source)),
        Some(azure) => {
            let location = &azure.machine.location;
            Digest::hash_value(&(qemu, releases, source, &azure.base, location))
        }
    }
}

impl Lock {
    /// Loads the lock file at `path`.
    pub fn load(path: &Path) -> Result<Self, LockError> {
        let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => LockError::Missing {
                path: path.to_owned(),
            },
            _ => LockError::Read {
                path: path.to_owned(),
                error,
            },
        })?;
        let at = |error: &toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start);
            let newlines = text.bytes().take(start).filter(|byte| *byte == b'\n');
            let line = 1 + newlines.count();
            Location {
                line,
                ..Location::start_of(path)
            }
            .problem(format!("not a lock file: {}", error.message().trim()))
            .with_hint("Run `vault-bake lock` again. Do not edit the file.")
        };
        let Version { schema } = toml::from_str(&text).map_err(|error| at(&error))?;
        if schema != SCHEMA {
            return Err(Location::start_of(path)
                .below("schema")
                .problem(format!(
                    "schema {schema} is unknown to this version; expected {SCHEMA}"
                ))
                .with_hint("Run `vault-bake lock` again, or use the version that wrote the file.")
                .into());
        }
        Ok(toml::from_str(&text).map_err(|error| at(&error))?)
    }

    /// Writes the lock file to `path`, atomically.
    pub fn save(&self, path: &Path) -> Result<(), LockError> {
        let fail = |error| LockError::Write {
            path: path.to_owned(),
            error,
        };
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let file = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(folder)
            .map_err(fail)?;
        io::Write::write_all(&mut file.as_file(), self.text().as_bytes()).map_err(fail)?;
        file.as_file().sync_all().map_err(fail)?;
        file.persist(path).map_err(|error| fail(error.error))?;
        Ok(())
    }

    /// Returns the text of the lock file.
    pub fn text(&self) -> String {
        let body = toml::to_string(self).expect("a lock is made of tables, texts and numbers");
        format!("{HEADER}{body}")
    }

    /// Returns the digest of the lock file as [`Lock::save`] writes it.
    pub fn digest(&self) -> Digest {
        Digest::hash_bytes(self.text())
    }
}

#[derive(Deserialize)]
struct Version {
    schema: u32,
}

const SCHEMA: u32 = 1;
const HEADER: &str = "# Written by `vault-bake lock`, which looks up what image.toml names. Commit it; do not edit it.\n";
