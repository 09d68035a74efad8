//! Chooses the store: command line, environment, project file or default folder.
//! Also reads the project file and the environment, for Azure.

#![expect(
    clippy::disallowed_methods,
    reason = "a shared access signature comes from the environment, never from a file or an argument list"
)]

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use vault_bake::azure::{AzureTransport, Cloud};
use vault_bake::project_file::{self, ProjectFile};
use vault_bake::secret::Secret;
use vault_bake::store::blob::{BlobAddress, Credential};
use vault_bake::store::{AnyBackend, Blob, Dir};

use crate::clock::clock;
use crate::exit::{Failure, STORE_SAS};

/// The environment variable with the authority of Azure, if it is not the one of the cloud.
const AUTHORITY: &str = "AZURE_AUTHORITY_HOST";

/// The location of the store.
pub enum StoreLocation {
    /// A folder.
    Folder(PathBuf),
    /// A container of Azure Blob Storage.
    Container(BlobAddress, Credential),
}

impl StoreLocation {
    /// Chooses the store.
    ///
    /// `given` comes from the command line or the environment, and is relative to `current_dir`.
    /// `fallback` returns the default folder.
    pub fn choose(
        given: Option<PathBuf>,
        current_dir: &Path,
        project: &Path,
        fallback: impl FnOnce() -> Result<PathBuf, Failure>,
    ) -> Result<Self, Failure> {
        let file = self::project_file(project)?;
        let (location, parent) = match (given, &file.store) {
            (Some(given), _) => (given, current_dir),
            (None, Some(at)) => (PathBuf::from(at), project),
            (None, None) => (fallback()?, current_dir),
        };
        let url = location.to_str().filter(|text| text.contains("://"));
        let Some(url) = url else {
            return Ok(Self::Folder(current_dir.join(parent).join(location)));
        };
        let address: BlobAddress = url.parse()?;
        let signature = env::var(STORE_SAS).ok().filter(|text| !text.is_empty());
        let signature = signature.map(Secret::new);
        let environment = environment();
        let cloud = with_authority(address.cloud()?, &environment)?;
        let credential = file.azure.credential(signature, &environment, &cloud)?;
        Ok(Self::Container(address, credential))
    }

    /// Opens the backend of the store.
    pub fn open(&self) -> Result<AnyBackend, Failure> {
        Ok(match self {
            Self::Folder(folder) => {
                if let Some(reason) = unreadable(folder) {
                    return Err(unusable_store(folder, reason));
                }
                Dir::new(folder).into()
            }
            Self::Container(address, credential) => {
                Blob::new(address.clone(), credential, &AzureTransport::real(clock))?.into()
            }
        })
    }
}

/// Returns why a folder cannot be read as a store. A missing folder is not an error here.
fn unreadable(folder: &Path) -> Option<String> {
    let file = match std::fs::metadata(folder) {
        Ok(metadata) if !metadata.is_dir() => return Some("not a folder".to_owned()),
        Ok(_) => std::fs::File::open(folder.join("store.json")).map(drop),
        Err(error) => Err(error),
    };
    let error = file.err()?;
    (error.kind() == ErrorKind::PermissionDenied).then(|| error.to_string())
}

/// Returns the failure for a folder that cannot be a store.
pub fn unusable_store(folder: &Path, reason: impl std::fmt::Display) -> Failure {
    let message = format!("cannot use {} as the store: {reason}", folder.display());
    Failure::usage(message).hint("Name another folder with --store, or make this one writable.")
}

/// Returns `cloud` with the authority of the environment, if the environment names one.
pub fn with_authority(
    cloud: Cloud,
    environment: &BTreeMap<String, String>,
) -> Result<Cloud, Failure> {
    match environment.get(AUTHORITY).filter(|text| !text.is_empty()) {
        Some(authority) => Ok(cloud.with_authority(authority)?),
        None => Ok(cloud),
    }
}

/// Returns the environment variables that are valid UTF-8.
pub fn environment() -> BTreeMap<String, String> {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    env::vars_os().filter_map(text).collect()
}

/// Reads the project file `vault-bake.toml` in `folder`, which is optional.
pub fn project_file(folder: &Path) -> Result<ProjectFile, Failure> {
    let path = &folder.join(project_file::FILE);
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(ProjectFile::parse(path, &text)?),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(ProjectFile::default()),
        Err(error) => Err(Failure::usage(format!(
            "cannot read {}: {error}",
            path.display()
        ))),
    }
}
