//! Which store is meant: what the command line says, or else the environment, the project's file, the default folder.

#![expect(
    clippy::disallowed_methods,
    reason = "a shared access signature comes from the environment, never from a file or an argument list"
)]

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use vault_bake::azure::{AzureTransport, Cloud, CloudError};
use vault_bake::project_file::{self, NoCredential, ProjectFile};
use vault_bake::secret::Secret;
use vault_bake::store::backend::BackendError;
use vault_bake::store::blob::{AddressError, BlobAddress, Credential};
use vault_bake::store::{AnyBackend, Blob, Dir};

use crate::exit::{Exit, Failure};
use crate::invocation::clock;

/// The variable that a shared access signature comes in.
const SAS: &str = "VAULT_BAKE_STORE_SAS";

/// The variable that names another authority than the cloud's own.
const AUTHORITY: &str = "AZURE_AUTHORITY_HOST";

/// Where the store is.
pub enum StoreLocation {
    /// In a folder.
    Folder(PathBuf),
    /// In a container.
    Container(BlobAddress, Credential),
}

impl StoreLocation {
    /// Chooses the store. `given` comes from the command line or the environment; `fallback` is the default folder.
    pub fn choose(
        given: Option<PathBuf>,
        here: &Path,
        project: &Path,
        fallback: impl FnOnce() -> Result<PathBuf, Failure>,
    ) -> Result<Self, Failure> {
        let file = self::project(project)?;
        // A relative folder is one of where it was written.
        let (at, from) = match (given, &file.store) {
            (Some(given), _) => (given, here),
            (None, Some(at)) => (PathBuf::from(at), project),
            (None, None) => (fallback()?, here),
        };
        match at.to_str().filter(|text| text.contains("://")) {
            None => Ok(Self::Folder(here.join(from).join(at))),
            Some(url) => {
                let address: BlobAddress = url.parse()?;
                let signature = env::var(SAS).ok().filter(|text| !text.is_empty());
                let environment = environment();
                let cloud = with_authority(address.cloud()?, &environment)?;
                let signature = signature.map(Secret::new);
                let credential = file.azure.credential(signature, &environment, &cloud)?;
                Ok(Self::Container(address, credential))
            }
        }
    }

    /// The store's backend.
    pub fn open(&self) -> Result<AnyBackend, Failure> {
        Ok(match self {
            Self::Folder(folder) => {
                if let Some(why) = unreadable(folder) {
                    return Err(unusable_store(folder, why));
                }
                Dir::new(folder).into()
            }
            Self::Container(address, credential) => {
                Blob::new(address.clone(), credential, &AzureTransport::real(clock))?.into()
            }
        })
    }
}

/// Why a folder cannot be read as a store, if so. One that is not there is none yet.
fn unreadable(folder: &Path) -> Option<String> {
    let file = match std::fs::metadata(folder) {
        Ok(found) if !found.is_dir() => return Some("it is no folder".to_owned()),
        Ok(_) => std::fs::File::open(folder.join("store.json")).map(drop),
        Err(error) => Err(error),
    };
    let error = file.err()?;
    (error.kind() == ErrorKind::PermissionDenied).then(|| error.to_string())
}

/// A folder that cannot be a store.
pub fn unusable_store(folder: &Path, why: impl std::fmt::Display) -> Failure {
    let message = format!("cannot use {} as the store: {why}", folder.display());
    Failure::usage(message).hint("name another folder with `--store`, or make this one writable")
}

/// `cloud`, with the authority that the environment names, where it does.
pub fn with_authority(
    cloud: Cloud,
    environment: &BTreeMap<String, String>,
) -> Result<Cloud, Failure> {
    match environment.get(AUTHORITY).filter(|text| !text.is_empty()) {
        Some(authority) => Ok(cloud.with_authority(authority)?),
        None => Ok(cloud),
    }
}

/// What the environment says, as far as it is text.
pub fn environment() -> BTreeMap<String, String> {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    env::vars_os().filter_map(text).collect()
}

/// What the project's file says.
pub fn project(folder: &Path) -> Result<ProjectFile, Failure> {
    let path = &folder.join(project_file::FILE);
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(ProjectFile::parse(path, &text)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(ProjectFile::default()),
        Err(error) => Err(Failure::usage(format!("{}: {error}", path.display()))),
    }
}

impl From<AddressError> for Failure {
    fn from(error: AddressError) -> Self {
        let failure = Self::usage(error.to_string());
        match error {
            AddressError::Credential => failure.hint(format!("put the signature into {SAS}")),
            _ => failure,
        }
    }
}

impl From<NoCredential> for Failure {
    fn from(error: NoCredential) -> Self {
        let hint = match error {
            NoCredential::Signature => format!("put it into {SAS}"),
            NoCredential::Source(_) => String::from(
                "a configured source is the only one asked: repair it, or configure another one",
            ),
        };
        Self::usage(error.to_string()).hint(hint)
    }
}

impl From<CloudError> for Failure {
    fn from(error: CloudError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Self {
        Self::new(Exit::Failed, error.to_string())
    }
}
