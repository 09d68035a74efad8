//! What holds for a whole project: `vault-bake.toml`, beside `images/`.
//!
//! In: the text of the file. Out: a [`Project`], or [`Problems`] with line, key and hint. Deliberately takes no
//! secret: a shared access signature is given by whoever calls.

mod subscription;

use std::collections::BTreeMap;
use std::path::Path;

use crate::azure::{Cloud, CredentialError, CredentialSource, Kind, Named};
use crate::definition::document::{Item, Table};
use crate::definition::{Problem, Problems, listed};
use crate::secret::Secret;
use crate::store::blob::Credential;

pub use subscription::{CloudChoice, Subscription};

/// The file's name.
pub const FILE: &str = "vault-bake.toml";

/// What the file says. Everything may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectFile {
    /// Where the store is: a folder, or the URL of a container.
    pub store: Option<String>,
    /// How to prove to Azure who we are.
    pub azure: Azure,
    /// Where bakes on Azure happen.
    pub subscription: Subscription,
}

/// `[store.azure]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Azure {
    /// What proves who we are, and nothing else does.
    pub proof: Option<Proof>,
    /// The tenant's id.
    pub tenant_id: Option<String>,
    /// The client id of an application or of a user-assigned managed identity.
    pub client_id: Option<String>,
}

/// What proves who we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// `sas`: a shared access signature.
    Sas,
    /// The others: tokens of such a source.
    Identity(Kind),
}

/// The name of a shared access signature.
const SAS: &str = "sas";

/// There is no credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCredential {
    /// The configured one is `sas`, and there is no signature.
    #[error("the store's credential is a shared access signature, and none was given")]
    Signature,
    /// The source of tokens cannot be used.
    #[error(transparent)]
    Source(#[from] CredentialError),
}

impl NoCredential {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        None
    }
}

impl ProjectFile {
    /// Reads `text`, the content of `file`.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Problems> {
        let root = Table::parse(file, text)?;
        let found = root.found.clone();
        found.end(Ok(Self::read(root)))
    }

    fn read(mut root: Table) -> Self {
        let mut project = Self::default();
        root.only(&["store", "azure"]);
        root.set("azure", &mut project.subscription, |item| {
            subscription::read(item.table()?)
        });
        let found = root.found.clone();
        let store = found.value(root.take_table("store"));
        if let Some(mut store) = store.flatten() {
            store.only(&["at", "azure"]);
            store.set("at", &mut project.store, |item| item.text().map(Some));
            store.set("azure", &mut project.azure, |item| {
                Azure::parse(item.table()?)
            });
        }
        project
    }
}

impl Azure {
    fn parse(mut table: Table) -> Result<Self, Problem> {
        table.only(&["credential", "client_id", "tenant_id"]);
        let proof = table.take("credential").map(Proof::parse).transpose()?;
        let mut id = |key: &str, allowed: fn(Kind) -> bool, what: &str| {
            let Some(item) = table.take(key) else {
                return Ok(None);
            };
            match proof {
                Some(Proof::Identity(kind)) if allowed(kind) => item.text().map(Some),
                _ => Err(item
                    .at
                    .problem(format!("only {what}"))
                    .hint("remove it, or choose such a `credential`")),
            }
        };
        Ok(Self {
            proof,
            client_id: id(
                "client_id",
                |kind| kind != Kind::DeveloperTools,
                "an application, a managed or a workload identity has a client id",
            )?,
            tenant_id: id(
                "tenant_id",
                |kind| !matches!(kind, Kind::DeveloperTools | Kind::ManagedIdentity),
                "an application or a workload identity is of a tenant",
            )?,
        })
    }

    /// The credential: the configured one, or else the signature that was given, or else what `environment` is set up for.
    /// A configured one that cannot be used is an error; there is no going on to another.
    pub fn credential(
        &self,
        signature: Option<Secret>,
        environment: &BTreeMap<String, String>,
        cloud: &Cloud,
    ) -> Result<Credential, NoCredential> {
        let kind = match (self.proof, signature) {
            (Some(Proof::Sas), None) => return Err(NoCredential::Signature),
            (Some(Proof::Sas) | None, Some(signature)) => return Ok(Credential::Sas(signature)),
            (Some(Proof::Identity(kind)), _) => Some(kind),
            (None, None) => None,
        };
        let named = Named {
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

impl Proof {
    fn parse(item: Item) -> Result<Self, Problem> {
        Ok(kind(item, Some(SAS))?.map_or(Self::Sas, Self::Identity))
    }
}

/// The kind of source that `item` names; `None` where it is `beside`, a word that is allowed as well.
fn kind(item: Item, beside: Option<&'static str>) -> Result<Option<Kind>, Problem> {
    let at = item.at.clone();
    let given = item.text()?;
    if beside == Some(given.as_str()) {
        return Ok(None);
    }
    let names = || Kind::ALL.into_iter().map(Kind::name).chain(beside);
    let known = Kind::ALL.into_iter().find(|kind| kind.name() == given);
    known.map(Some).ok_or_else(|| {
        at.problem(format!(
            "`{given}` is not known; expected one of {}",
            listed(names())
        ))
        .did_you_mean(&given, names(), "choose one of them")
    })
}
