//! Exact versions and digests of every input: `images/<name>/image.lock`.
//!
//! In: a definition, and servers to ask. Out: a [`Lock`], and its file. The only stage before the bake that touches
//! the network. Deliberately fetches no archive and no package: it records what signed indexes say of them.

mod azure;
mod image;
mod network;

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::definition::{AzureSpec, BuilderKind, Definition, Location, Problem, QemuBase};
use crate::digest::Digest;
use crate::event::Events;
use crate::http::FetchError;
use crate::process::ProcessError;
use crate::release::{LockedRelease, ReleaseError, ReleaseMirror};
use crate::wait::Interrupt;

pub use image::{ImageReference, LockedImage, PurchasePlan, VmGeneration};
pub use network::{DEBIAN_KEYRING, Network};

/// The lock of one definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// 1.
    pub schema: u32,
    /// The digest of what was locked: base and releases of the definition. Another one means: lock again.
    pub wanted: Digest,
    /// The base for QEMU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qemu: Option<LockedBase>,
    /// The base on Azure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azure: Option<LockedImage>,
    /// The releases, by product.
    #[serde(rename = "release", default, skip_serializing_if = "Vec::is_empty")]
    pub releases: Vec<LockedRelease>,
}

/// A base, exactly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum LockedBase {
    /// Packages: what the signed indexes were.
    Packages {
        /// One for each suite, the main one first.
        index: Vec<PackageIndex>,
    },
    /// A cloud image.
    CloudImage {
        /// Where.
        url: String,
        /// 128 hex digits.
        sha512: String,
    },
}

/// A suite's signed index: it names the digest of every package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageIndex {
    /// As in `http://deb.debian.org/debian`.
    pub mirror: String,
    /// As in `bookworm`.
    pub suite: String,
    /// Its `Date`, RFC 3339 UTC.
    pub date: String,
    /// Of the suite's `InRelease` file.
    pub sha256: Digest,
}

/// A lock that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// There is none yet.
    #[error("{}: no such lock\nhint: run `vault-bake lock` for this image", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// Its file could not be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Something in its file is wrong.
    #[error(transparent)]
    Invalid(#[from] Problem),
    /// A suite's index could not be fetched.
    #[error("index of {suite}: {error}")]
    Fetch {
        /// The suite.
        suite: String,
        /// Why not.
        error: FetchError,
    },
    /// A suite's index bears no good signature.
    #[error("index of {suite} at {url}: no valid signature by a key of {}: {error}\nhint: where the mirror is right, install the distribution's current keyring (Debian: `debian-archive-keyring`)", keyring.display())]
    Signature {
        /// The suite.
        suite: String,
        /// Where it was found.
        url: String,
        /// The keyring that was asked.
        keyring: PathBuf,
        /// What `gpgv` said.
        error: Box<ProcessError>,
    },
    /// A suite's index is signed, but not what was asked for.
    #[error("index of {suite} at {url}: {reason}")]
    Index {
        /// The suite.
        suite: String,
        /// Where it was found.
        url: String,
        /// What is wrong with it, and what was expected.
        reason: String,
    },
    /// An image on Azure could not be found, or not trusted to be what it is called.
    #[error("image {image}: {why}")]
    Image {
        /// As the definition names it.
        image: String,
        /// Why not, and what to do.
        why: String,
    },
    /// A release could not be found or trusted.
    #[error(transparent)]
    Release(#[from] ReleaseError),
}

impl LockError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        None
    }
}

/// Whom to ask what there is: [`Network`], or a stand-in.
pub trait Index: Sync {
    /// The signed index of a suite.
    fn suite(
        &self,
        mirror: &str,
        suite: &str,
        events: &Events,
        interrupt: &Interrupt,
    ) -> impl Future<Output = Result<PackageIndex, LockError>> + Send;

    /// An image on Azure, as it is there now.
    fn image(
        &self,
        wanted: &AzureSpec,
        events: &Events,
        interrupt: &Interrupt,
    ) -> impl Future<Output = Result<LockedImage, LockError>> + Send;

    /// A release.
    fn release(
        &self,
        source: &ReleaseMirror,
        product: &str,
        version: &str,
        events: &Events,
        interrupt: &Interrupt,
    ) -> impl Future<Output = Result<LockedRelease, LockError>> + Send;
}

/// The bases that are looked up.
#[derive(Clone, Copy, Debug)]
pub enum Bases<'a> {
    /// Those of all builders.
    All,
    /// That of one builder. What the lock of before says of others stays, where it was for the same definition.
    Only(BuilderKind, Option<&'a Lock>),
}

impl<'a> Bases<'a> {
    fn has(self, builder: BuilderKind) -> bool {
        match self {
            Self::All => true,
            Self::Only(only, _) => only == builder,
        }
    }

    /// The lock of before, where it has to do with what is wanted now.
    fn before(self, wanted: &Digest) -> Option<&'a Lock> {
        match self {
            Self::All => None,
            Self::Only(_, before) => before.filter(|lock| lock.wanted == *wanted),
        }
    }
}

/// Asks `index` for everything that `definition` wants, of bases those that are named.
pub async fn resolve(
    definition: &Definition,
    bases: Bases<'_>,
    index: &impl Index,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<Lock, LockError> {
    let wanted = requested_releases(definition);
    let before = bases.before(&wanted);
    let qemu = match &definition.qemu {
        _ if !bases.has(BuilderKind::Qemu) => before.and_then(|lock| lock.qemu.clone()),
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
        _ if !bases.has(BuilderKind::Azure) => before.and_then(|lock| lock.azure.clone()),
        Some(wanted) => Some(index.image(wanted, events, interrupt).await?),
        None => None,
    };
    let source = source(definition);
    let mut releases = Vec::new();
    for (product, version) in &definition.releases {
        let release = index.release(&source, product, version, events, interrupt);
        let mut release = release.await?;
        release.url = shortened(&definition.folder, &release.url);
        releases.push(release);
    }
    Ok(Lock {
        schema: SCHEMA,
        wanted,
        qemu,
        azure,
        releases,
    })
}

/// The digest of what a lock of `definition` is for: its base, its releases and their source.
pub fn requested_releases(definition: &Definition) -> Digest {
    let (qemu, releases) = (&definition.qemu, &definition.releases);
    let source = &definition.release_source;
    // What a definition without Azure was locked as stays what it was.
    match &definition.azure {
        None => Digest::of_value(&(qemu, releases, source)),
        Some(azure) => {
            let place = &azure.machine.location;
            Digest::of_value(&(qemu, releases, source, &azure.base, place))
        }
    }
}

/// Where the releases of `definition` come from, with its paths made whole.
pub fn source(definition: &Definition) -> ReleaseMirror {
    let wanted = &definition.release_source;
    ReleaseMirror {
        base: whole(&definition.folder, &wanted.mirror),
        key_file: wanted
            .key_file
            .as_ref()
            .map(|path| definition.folder.join(path)),
        fingerprint: wanted.fingerprint.clone(),
    }
}

/// `url`; where it is a path, the path from the caller's point of view.
pub(crate) fn whole(folder: &Path, url: &str) -> String {
    if url.contains("://") {
        url.to_owned()
    } else {
        folder.join(url).to_string_lossy().into_owned()
    }
}

/// `url`; where it is a path below `folder`, the path from there, so that a lock does not say where its folder is.
pub(crate) fn shortened(folder: &Path, url: &str) -> String {
    Path::new(url)
        .strip_prefix(folder)
        .map_or_else(|_| url.to_owned(), |below| below.display().to_string())
}

impl Lock {
    /// Reads the lock at `path`.
    pub fn load(path: &Path) -> Result<Self, LockError> {
        let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => LockError::Missing {
                path: path.to_owned(),
            },
            _ => LockError::File {
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
            .problem(format!("not a lock: {}", error.message().trim()))
            .hint("locks are written by `vault-bake lock`, never by hand")
        };
        let Version { schema } = toml::from_str(&text).map_err(|error| at(&error))?;
        if schema != SCHEMA {
            return Err(Location::start_of(path)
                .below("schema")
                .problem(format!(
                    "schema {schema} is unknown to this version; expected {SCHEMA}"
                ))
                .hint("run `vault-bake lock` again, or use the version that wrote it")
                .into());
        }
        Ok(toml::from_str(&text).map_err(|error| at(&error))?)
    }

    /// Writes the lock to `path`, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), LockError> {
        let fail = |error| LockError::File {
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

    /// The text of its file.
    pub fn text(&self) -> String {
        let body = toml::to_string(self).expect("a lock is made of tables, texts and numbers");
        format!("{HEADER}{body}")
    }

    /// The digest of its file as [`Lock::save`] writes it.
    pub fn digest(&self) -> Digest {
        Digest::of(self.text())
    }
}

#[derive(Deserialize)]
struct Version {
    schema: u32,
}

const SCHEMA: u32 = 1;
const HEADER: &str = "\
# Written by `vault-bake lock`, which looks up what image.toml names. Commit it; do not edit it.
";
