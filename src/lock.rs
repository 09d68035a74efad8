//! Resolves a definition to exact versions and digests: `images/<name>/image.lock`.
//! Takes a definition, its platforms and a server of releases; returns a [`Lock`] and its file.
//! Archives and packages are not downloaded: their digests come from signed indexes.

mod releases;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::definition::platform::{BaseError, LockContext, Platforms};
use crate::definition::{Definition, Location, Problem, quoted_list};
use crate::digest::Digest;
use crate::release::{Architecture, LockedRelease, ReleaseError, ReleaseMirror, ReleaseName};

pub use releases::ReleaseServer;
pub(crate) use releases::{relative_path, release_mirror, resolve_path};

/// The lock file of one definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Lock {
    /// Digest of the definition's bases and releases. If it differs, the lock is stale.
    pub wanted: Digest,
    /// The base of each platform, by its name. The platform knows what is in it.
    pub bases: toml::Table,
    /// Releases, sorted by product, for each architecture of the bases.
    pub releases: Vec<LockedRelease>,
}

/// The parts of a lock file besides the bases.
#[derive(Serialize, Deserialize)]
struct Rest {
    /// Schema version, 1.
    schema: u32,
    wanted: Digest,
    #[serde(rename = "release", default, skip_serializing_if = "Vec::is_empty")]
    releases: Vec<LockedRelease>,
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
    /// A base was not found, or cannot be used.
    #[error(transparent)]
    Base(#[from] BaseError),
    /// A release was not found, or could not be verified.
    #[error(transparent)]
    Release(#[from] ReleaseError),
}

impl LockError {
    /// Returns the way out as an imperative, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { path } => {
                let image = path.parent()?.file_name()?.display();
                Some(format!("Run `vault-bake lock {image}`."))
            }
            Self::Invalid(problem) => problem.hint.clone(),
            Self::Read { .. } | Self::Write { .. } => None,
            Self::Base(error) => error.hint.clone(),
            Self::Release(error) => error.hint(),
        }
    }
}

/// Looks up releases. Implemented by [`ReleaseServer`], and by fakes in tests.
pub trait Releases: Sync {
    /// Looks up a release.
    fn release(
        &self,
        source: &ReleaseMirror,
        name: ReleaseName<'_>,
        context: LockContext<'_>,
    ) -> impl Future<Output = Result<LockedRelease, LockError>> + Send;
}

/// The bases to look up.
#[derive(Clone, Copy, Debug)]
pub enum Bases<'a> {
    /// The bases of all platforms.
    All,
    /// The base of the platform with this name. Those of others are kept from an earlier lock of
    /// the same definition.
    Only(&'a str, Option<&'a Lock>),
}

impl<'a> Bases<'a> {
    fn has(self, platform: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(only, _) => only == platform,
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

/// Locks `definition`: looks up its releases, and the given bases at their platforms.
///
/// Fails if its releases do not fit together.
pub async fn resolve(
    definition: &Definition,
    platforms: &Platforms,
    bases: Bases<'_>,
    server: &impl Releases,
    context: LockContext<'_>,
) -> Result<Lock, LockError> {
    releases::check_releases(definition)?;
    let wanted = requested_releases(definition, platforms);
    let earlier = bases.earlier_lock(&wanted);
    let mut locked = toml::Table::new();
    for platform in platforms.iter() {
        let name = platform.name();
        let base = match definition.parts(name) {
            _ if !bases.has(name) => earlier.and_then(|lock| lock.base(name).cloned()),
            Some(parts) => Some(platform.lock(parts, context).await?),
            None => None,
        };
        if let Some(base) = base {
            locked.insert(name.to_owned(), toml::Value::Table(base));
        }
    }
    let source = release_mirror(definition);
    let mut releases = Vec::new();
    for (product, version) in &definition.releases {
        for architecture in architectures(&locked) {
            let name = ReleaseName {
                product,
                version,
                architecture,
            };
            let mut release = server.release(&source, name, context).await?;
            release.url = relative_path(&definition.folder, &release.url);
            releases.push(release);
        }
    }
    Ok(Lock {
        wanted,
        bases: locked,
        releases,
    })
}

/// Returns the architectures of locked bases. A base without one is for x86_64.
fn architectures(bases: &toml::Table) -> BTreeSet<Architecture> {
    let of_base = |base: &toml::Value| {
        let name = base.get("arch").and_then(toml::Value::as_str);
        name.and_then(Architecture::parse).unwrap_or_default()
    };
    bases.values().map(of_base).collect()
}

/// Returns the digest of a definition's bases, releases and release source.
pub fn requested_releases(definition: &Definition, platforms: &Platforms) -> Digest {
    // The digest of a definition for the first platform alone must not change when others come, so
    // that existing lock files stay valid: the parts of others follow those of all.
    let mut all = vec![
        Json::Null,
        json!(definition.releases),
        json!(definition.release_source),
    ];
    for (index, platform) in platforms.iter().enumerate() {
        let Some(parts) = definition.parts(platform.name()) else {
            continue;
        };
        let locked = platform.locked_parts(parts);
        match index {
            0 => all[0] = locked.into_iter().next().unwrap_or_default(),
            _ => all.extend(locked),
        }
    }
    Digest::hash_value(&all)
}

impl Lock {
    /// Loads the lock file at `path`.
    pub fn load(path: &Path, platforms: &Platforms) -> Result<Self, LockError> {
        let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => LockError::Missing {
                path: path.to_owned(),
            },
            _ => LockError::Read {
                path: path.to_owned(),
                error,
            },
        })?;
        let location = |offset: usize| {
            let newlines = text.bytes().take(offset).filter(|byte| *byte == b'\n');
            Location {
                line: 1 + newlines.count(),
                ..Location::start_of(path)
            }
        };
        let at = |error: &toml::de::Error| {
            location(error.span().map_or(0, |span| span.start))
                .problem(format!("not a lock file: {}", error.message().trim()))
                .with_hint(NOT_EDITED)
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
        let rest: Rest = toml::from_str(&text).map_err(|error| at(&error))?;
        let mut all: BTreeMap<String, toml::Spanned<toml::Value>> =
            toml::from_str(&text).map_err(|error| at(&error))?;
        let names = platforms.names();
        let is_known = |name: &str| names.contains(&name) || REST.contains(&name);
        if let Some((name, value)) = all.iter().find(|(name, _)| !is_known(name)) {
            let known = REST.into_iter().chain(names);
            return Err(location(value.span().start)
                .below(name)
                .problem(format!(
                    "unknown key; expected one of {}",
                    quoted_list(known)
                ))
                .with_hint(NOT_EDITED)
                .into());
        }
        let mut bases = toml::Table::new();
        for platform in platforms.iter() {
            platform.check_locked(&text).map_err(|error| at(&error))?;
            let base = all.remove(platform.name());
            bases.extend(base.map(|base| (platform.name().to_owned(), base.into_inner())));
        }
        Ok(Self {
            wanted: rest.wanted,
            bases,
            releases: rest.releases,
        })
    }

    /// Returns the base of a platform.
    pub fn base(&self, platform: &str) -> Option<&toml::Table> {
        self.bases.get(platform).and_then(toml::Value::as_table)
    }

    /// Writes the lock file to `path`, atomically.
    pub fn save(&self, path: &Path) -> Result<(), LockError> {
        let fail = |error| LockError::Write {
            path: path.to_owned(),
            error,
        };
        // A rename would replace a link or a device.
        let is_other = |data: std::fs::Metadata| !data.is_file();
        if std::fs::symlink_metadata(path).is_ok_and(is_other) {
            return Err(fail(io::Error::other("it is no regular file")));
        }
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
        let rest = Rest {
            schema: SCHEMA,
            wanted: self.wanted,
            releases: self.releases.clone(),
        };
        let mut all = toml::Table::try_from(rest).expect("a lock has tables, texts and numbers");
        let releases = all.remove(RELEASES);
        all.extend(self.bases.clone());
        all.extend(releases.map(|releases| (RELEASES.to_owned(), releases)));
        let body = toml::to_string(&all).expect("a lock has tables, texts and numbers");
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
const RELEASES: &str = "release";
/// The keys of [`Rest`].
const REST: [&str; 3] = ["schema", "wanted", RELEASES];
const NOT_EDITED: &str = "Run `vault-bake lock` again. Do not edit the file.";
const HEADER: &str = "# Written by `vault-bake lock`, which looks up what image.toml names. Commit it; do not edit it.\n";
