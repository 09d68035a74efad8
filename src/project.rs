//! What holds for a whole project: `vault-bake.toml`, beside `images/`.
//!
//! In: the text of the file. Out: a [`Project`], or a [`Problem`] with line, key and hint. Deliberately takes no
//! secret: a shared access signature is given by whoever calls.

mod subscription;

use std::path::Path;

use crate::definition::document::{Item, Table};
use crate::definition::{Problem, listed};
use crate::secret::Secret;
use crate::store::blob::Credential;

pub use subscription::{CloudChoice, Subscription};

/// The file's name.
pub const FILE: &str = "vault-bake.toml";

/// What the file says. Everything may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Project {
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
    /// The one source of a credential.
    pub source: Option<Source>,
    /// The client id of a user-assigned managed identity, or of a workload's.
    pub client_id: Option<String>,
}

/// Where a credential comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `developer-tools`: whoever is logged in with `az` or `azd`.
    DeveloperTools,
    /// `managed-identity`: the identity of this machine.
    ManagedIdentity,
    /// `workload-identity`: the identity of this pod.
    WorkloadIdentity,
    /// `sas`: a shared access signature.
    Sas,
}

/// The sources by name.
const SOURCES: [(&str, Source); 4] = [
    ("developer-tools", Source::DeveloperTools),
    ("managed-identity", Source::ManagedIdentity),
    ("workload-identity", Source::WorkloadIdentity),
    ("sas", Source::Sas),
];

/// The configured source is `sas`, and there is no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store's credential is a shared access signature, and none was given")]
pub struct NoSignature;

impl Project {
    /// Reads `text`, the content of `file`.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Problem> {
        let mut root = Table::parse(file, text)?;
        root.only(&["store", "azure"])?;
        let subscription = match root.take_table("azure")? {
            Some(table) => subscription::read(table)?,
            None => Subscription::default(),
        };
        let Some(mut store) = root.take_table("store")? else {
            return Ok(Self {
                subscription,
                ..Self::default()
            });
        };
        store.only(&["at", "azure"])?;
        let at = store.take("at").map(Item::text).transpose()?;
        let azure = match store.take_table("azure")? {
            Some(table) => Azure::parse(table)?,
            None => Azure::default(),
        };
        Ok(Self {
            store: at,
            azure,
            subscription,
        })
    }
}

impl Azure {
    fn parse(mut table: Table) -> Result<Self, Problem> {
        table.only(&["credential", "client_id"])?;
        let source = table.take("credential").map(Source::parse).transpose()?;
        let Some(item) = table.take("client_id") else {
            return Ok(Self {
                source,
                client_id: None,
            });
        };
        if !matches!(
            source,
            Some(Source::ManagedIdentity | Source::WorkloadIdentity)
        ) {
            return Err(item
                .at
                .problem("only a managed or workload identity has a client id")
                .hint("remove it, or choose such a `credential`"));
        }
        Ok(Self {
            source,
            client_id: Some(item.text()?),
        })
    }

    /// The credential: the configured one, or else the signature that was given, or else the developer's own tools.
    /// A configured source that cannot be used is an error; there is no going on to another.
    pub fn credential(&self, signature: Option<Secret>) -> Result<Credential, NoSignature> {
        let client_id = self.client_id.clone();
        Ok(match (self.source, signature) {
            (Some(Source::Sas), None) => return Err(NoSignature),
            (Some(Source::Sas) | None, Some(signature)) => Credential::Sas(signature),
            (Some(Source::DeveloperTools) | None, _) => Credential::DeveloperTools,
            (Some(Source::ManagedIdentity), _) => Credential::ManagedIdentity { client_id },
            (Some(Source::WorkloadIdentity), _) => Credential::WorkloadIdentity { client_id },
        })
    }
}

impl Source {
    fn parse(item: Item) -> Result<Self, Problem> {
        let at = item.at.clone();
        let given = item.text()?;
        let names = || SOURCES.iter().map(|(name, _)| *name);
        let known = SOURCES.iter().find(|(name, _)| *name == given);
        known.map(|(_, source)| *source).ok_or_else(|| {
            at.problem(format!(
                "`{given}` is not known; expected one of {}",
                listed(names())
            ))
            .did_you_mean(&given, names(), "choose one of them")
        })
    }
}
