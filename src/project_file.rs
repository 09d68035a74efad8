//! The settings of a project: `vault-bake.toml`, next to `images/`.
//! Takes the text of the file; returns a [`ProjectFile`], or [`Problems`] with line, key and hint.
//! Secrets come from the caller.

mod subscription;

use std::collections::BTreeMap;
use std::path::Path;

use crate::azure::{Cloud, CredentialError, CredentialKind, CredentialOptions, CredentialSource};
use crate::definition::document::{Item, Table};
use crate::definition::{Problem, Problems, quoted_list};
use crate::secret::Secret;
use crate::store::blob::Credential;

pub use subscription::{CloudChoice, Subscription};

/// The name of the file.
pub const FILE: &str = "vault-bake.toml";

/// The content of the file. All fields are optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectFile {
    /// The location of the store: a folder, or the URL of a container.
    pub store: Option<String>,
    /// The credential for a store on Azure.
    pub azure: Azure,
    /// The subscription for builds on Azure.
    pub subscription: Subscription,
}

/// `[store.azure]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Azure {
    /// The only credential to use. `None` selects one by the environment.
    pub credential: Option<StoreCredential>,
    /// The id of the tenant.
    pub tenant_id: Option<String>,
    /// The client id of an application or of a user-assigned managed identity.
    pub client_id: Option<String>,
}

/// The kind of credential for a store in a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreCredential {
    /// `sas`: a shared access signature.
    Sas,
    /// Tokens from such a source.
    Identity(CredentialKind),
}

/// The name of the credential `sas`.
const SAS: &str = "sas";

/// Why there is no credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreCredentialError {
    /// The configured credential is `sas`, but the caller gave no signature.
    #[error("cannot authenticate to the store: no shared access signature was given")]
    Signature,
    /// The source of tokens cannot be used.
    #[error(transparent)]
    Source(#[from] CredentialError),
}

impl StoreCredentialError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Signature => Some(
                "Set VAULT_BAKE_STORE_SAS, or configure another `credential` in [store.azure]."
                    .to_owned(),
            ),
            Self::Source(error) => error.hint(),
        }
    }
}

impl ProjectFile {
    /// Parses `text`, the content of `file`.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Problems> {
        let root = Table::parse(file, text)?;
        let found = root.found.clone();
        found.result_of(Ok(Self::read(root)))
    }

    fn read(mut root: Table) -> Self {
        let mut project = Self::default();
        root.reject_unknown(&["store", "azure"]);
        root.read_into("azure", &mut project.subscription, |item| {
            subscription::read(item.table()?)
        });
        let found = root.found.clone();
        let store = found.ok_or_record(root.take_table("store"));
        if let Some(mut store) = store.flatten() {
            store.reject_unknown(&["at", "azure"]);
            store.read_into("at", &mut project.store, |item| item.text().map(Some));
            store.read_into("azure", &mut project.azure, |item| {
                Azure::parse(item.table()?)
            });
        }
        project
    }
}

impl Azure {
    fn parse(mut table: Table) -> Result<Self, Problem> {
        table.reject_unknown(&["credential", "client_id", "tenant_id"]);
        let credential = table
            .take("credential")
            .map(StoreCredential::parse)
            .transpose()?;
        let mut id = |key: &str, allowed: fn(CredentialKind) -> bool, what: &str| {
            let Some(item) = table.take(key) else {
                return Ok(None);
            };
            match credential {
                Some(StoreCredential::Identity(kind)) if allowed(kind) => item.text().map(Some),
                _ => Err(item
                    .at
                    .problem(format!("only {what}"))
                    .with_hint("Remove it, or set such a `credential`.")),
            }
        };
        Ok(Self {
            credential,
            client_id: id(
                "client_id",
                |kind| kind != CredentialKind::DeveloperTools,
                "an application, a managed or a workload identity has a client id",
            )?,
            tenant_id: id(
                "tenant_id",
                |kind| {
                    !matches!(
                        kind,
                        CredentialKind::DeveloperTools | CredentialKind::ManagedIdentity
                    )
                },
                "an application or a workload identity is of a tenant",
            )?,
        })
    }

    /// Returns the credential: the configured one, else the given signature, else the one that
    /// `environment` is set up for. If the configured one cannot be used, fails; there is no
    /// fallback.
    pub fn credential(
        &self,
        signature: Option<Secret>,
        environment: &BTreeMap<String, String>,
        cloud: &Cloud,
    ) -> Result<Credential, StoreCredentialError> {
        let kind = match (self.credential, signature) {
            (Some(StoreCredential::Sas), None) => return Err(StoreCredentialError::Signature),
            (Some(StoreCredential::Sas) | None, Some(signature)) => {
                return Ok(Credential::Sas(signature));
            }
            (Some(StoreCredential::Identity(kind)), _) => Some(kind),
            (None, None) => None,
        };
        let named = CredentialOptions {
            kind,
            tenant: self.tenant_id.clone(),
            client: self.client_id.clone(),
        };
        Ok(Credential::Identity {
            source: CredentialSource::choose(&named, environment)?,
            cloud: Box::new(cloud.clone()),
        })
    }
}

impl StoreCredential {
    fn parse(item: Item) -> Result<Self, Problem> {
        Ok(kind(item, Some(SAS))?.map_or(Self::Sas, Self::Identity))
    }
}

/// Returns the source that `item` names, or `None` if it has the value `other`, which is also
/// allowed.
fn kind(item: Item, other: Option<&'static str>) -> Result<Option<CredentialKind>, Problem> {
    let at = item.at.clone();
    let given = item.text()?;
    if other == Some(given.as_str()) {
        return Ok(None);
    }
    let names = || {
        CredentialKind::ALL
            .into_iter()
            .map(CredentialKind::name)
            .chain(other)
    };
    let known = CredentialKind::ALL
        .into_iter()
        .find(|kind| kind.name() == given);
    known.map(Some).ok_or_else(|| {
        at.problem(format!(
            "unknown credential `{given}`, expected one of {}",
            quoted_list(names())
        ))
        .with_suggestion(&given, names(), "Use one of them.")
    })
}
