//! Chooses one credential source.
//!
//! Takes the configuration and the environment; returns a [`CredentialSource`] or an error.
//! There is no fallback: an incomplete source is an error that names the missing variable.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::secret::Secret;

mod certificate;
mod github;
mod tokens;

pub use tokens::{Auth, Tokens};

/// The kinds of credential sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// `client-secret`: an application's password.
    ClientSecret,
    /// `certificate`: an application's certificate.
    Certificate,
    /// `workload-identity`: the identity that Kubernetes gives to a pod.
    WorkloadIdentity,
    /// `github`: the identity of a job of GitHub Actions.
    GitHub,
    /// `managed-identity`: the identity of this virtual machine or app.
    ManagedIdentity,
    /// `developer-tools`: the user logged in with `az`, or else with `azd`.
    DeveloperTools,
}

impl CredentialKind {
    /// All kinds, in the order in which the environment is searched.
    pub const ALL: [Self; 6] = [
        Self::WorkloadIdentity,
        Self::ClientSecret,
        Self::Certificate,
        Self::GitHub,
        Self::ManagedIdentity,
        Self::DeveloperTools,
    ];

    /// Returns the name used in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientSecret => "client-secret",
            Self::Certificate => "certificate",
            Self::WorkloadIdentity => "workload-identity",
            Self::GitHub => "github",
            Self::ManagedIdentity => "managed-identity",
            Self::DeveloperTools => "developer-tools",
        }
    }
}

/// The source of tokens, with all that it needs.
#[derive(Clone, PartialEq, Eq)]
pub enum CredentialSource {
    /// An application's password.
    ClientSecret {
        /// The tenant's id.
        tenant: String,
        /// The application's id.
        client: String,
        /// The password.
        secret: Secret,
    },
    /// An application's certificate with its RSA key.
    Certificate {
        /// The tenant's id.
        tenant: String,
        /// The application's id.
        client: String,
        /// A PEM file with both, or a PKCS#12 file.
        path: PathBuf,
        /// The password of the private key.
        password: Option<Secret>,
    },
    /// The identity that Kubernetes gives to a pod.
    WorkloadIdentity {
        /// The tenant's id.
        tenant: String,
        /// The application's id.
        client: String,
        /// The file in which Kubernetes puts the token.
        token_file: PathBuf,
    },
    /// The identity of a job of GitHub Actions.
    GitHub {
        /// The tenant's id.
        tenant: String,
        /// The application's id.
        client: String,
        /// The address that issues the job's id token.
        url: String,
        /// The bearer token for that address.
        token: Secret,
    },
    /// The identity of this virtual machine or app.
    ManagedIdentity {
        /// The client id of a user-assigned identity; `None` is the system-assigned one.
        client: Option<String>,
    },
    /// The user logged in with `az`, or else with `azd`.
    DeveloperTools,
}

/// A credential source that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// A required variable is not set.
    #[error("cannot use credential source {source_name}: {variable} is not set")]
    Missing {
        /// The name of the source.
        source_name: &'static str,
        /// The name of the variable.
        variable: &'static str,
    },
    /// A file or value of the source is unusable.
    #[error("cannot use credential source {source_name}: {reason}")]
    Unusable {
        /// The name of the source.
        source_name: &'static str,
        /// The reason.
        reason: String,
    },
}

impl CredentialError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { variable, .. } => Some(format!(
                "Set `{variable}`, or configure another credential source."
            )),
            Self::Unusable { .. } => None,
        }
    }
}

/// The part of a configuration that selects the credential.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CredentialOptions {
    /// The kind of source; `None` selects it by the environment.
    pub kind: Option<CredentialKind>,
    /// The tenant's id; it overrides `AZURE_TENANT_ID`.
    pub tenant: Option<String>,
    /// The application's id; it overrides `AZURE_CLIENT_ID`.
    pub client: Option<String>,
}

impl CredentialSource {
    /// Returns the source that `named` selects, or else the first that `environment` contains.
    ///
    /// The default is [`Self::DeveloperTools`].
    pub fn choose(
        named: &CredentialOptions,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, CredentialError> {
        let inputs = Inputs { named, environment };
        let kind = named.kind.unwrap_or_else(|| inputs.kind());
        inputs.source(kind)
    }

    /// Returns the kind of this source.
    pub fn kind(&self) -> CredentialKind {
        match self {
            Self::ClientSecret { .. } => CredentialKind::ClientSecret,
            Self::Certificate { .. } => CredentialKind::Certificate,
            Self::WorkloadIdentity { .. } => CredentialKind::WorkloadIdentity,
            Self::GitHub { .. } => CredentialKind::GitHub,
            Self::ManagedIdentity { .. } => CredentialKind::ManagedIdentity,
            Self::DeveloperTools => CredentialKind::DeveloperTools,
        }
    }

    /// Returns the secrets to remove from errors.
    fn secrets(&self) -> Vec<Secret> {
        match self {
            Self::ClientSecret { secret, .. } => vec![secret.clone()],
            Self::Certificate { password, .. } => password.iter().cloned().collect(),
            Self::GitHub { token, .. } => vec![token.clone()],
            _ => Vec::new(),
        }
    }
}

/// The inputs of the choice.
struct Inputs<'a> {
    named: &'a CredentialOptions,
    environment: &'a BTreeMap<String, String>,
}

impl Inputs<'_> {
    /// Returns the kind that the environment contains.
    ///
    /// One variable with no other purpose decides; then a missing one is an error. GitHub sets its
    /// variable for jobs that do not use Azure too, so that source also needs a client id.
    fn kind(&self) -> CredentialKind {
        let has = |name| self.variable(name).is_some();
        let found = CredentialKind::ALL.into_iter().find(|kind| match kind {
            CredentialKind::WorkloadIdentity => has(TOKEN_FILE),
            CredentialKind::ClientSecret => has(SECRET),
            CredentialKind::Certificate => has(CERTIFICATE),
            CredentialKind::GitHub => {
                has(GITHUB_URL) && (self.named.client.is_some() || has(CLIENT))
            }
            CredentialKind::ManagedIdentity => has("IDENTITY_ENDPOINT"),
            CredentialKind::DeveloperTools => true,
        });
        found.unwrap_or(CredentialKind::DeveloperTools)
    }

    fn source(&self, kind: CredentialKind) -> Result<CredentialSource, CredentialError> {
        let require = |variable: &'static str| {
            self.variable(variable).ok_or(CredentialError::Missing {
                source_name: kind.name(),
                variable,
            })
        };
        let tenant = || {
            self.named
                .tenant
                .clone()
                .map_or_else(|| require(TENANT), Ok)
        };
        let client = || {
            self.named
                .client
                .clone()
                .map_or_else(|| require(CLIENT), Ok)
        };
        Ok(match kind {
            CredentialKind::ClientSecret => CredentialSource::ClientSecret {
                tenant: tenant()?,
                client: client()?,
                secret: Secret::new(require(SECRET)?),
            },
            CredentialKind::Certificate => CredentialSource::Certificate {
                tenant: tenant()?,
                client: client()?,
                path: PathBuf::from(require(CERTIFICATE)?),
                password: self.variable(PASSWORD).map(Secret::new),
            },
            CredentialKind::WorkloadIdentity => CredentialSource::WorkloadIdentity {
                tenant: tenant()?,
                client: client()?,
                token_file: PathBuf::from(require(TOKEN_FILE)?),
            },
            CredentialKind::GitHub => CredentialSource::GitHub {
                tenant: tenant()?,
                client: client()?,
                url: require(GITHUB_URL)?,
                token: Secret::new(require(GITHUB_TOKEN)?),
            },
            // `AZURE_CLIENT_ID` may be set for another purpose and must not select an identity.
            CredentialKind::ManagedIdentity => CredentialSource::ManagedIdentity {
                client: self.named.client.clone(),
            },
            CredentialKind::DeveloperTools => CredentialSource::DeveloperTools,
        })
    }

    fn variable(&self, name: &str) -> Option<String> {
        let text = self.environment.get(name)?;
        (!text.is_empty()).then(|| text.clone())
    }
}

const TENANT: &str = "AZURE_TENANT_ID";
const CLIENT: &str = "AZURE_CLIENT_ID";
const SECRET: &str = "AZURE_CLIENT_SECRET";
const CERTIFICATE: &str = "AZURE_CLIENT_CERTIFICATE_PATH";
const PASSWORD: &str = "AZURE_CLIENT_CERTIFICATE_PASSWORD";
const TOKEN_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";
const GITHUB_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const GITHUB_TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";
