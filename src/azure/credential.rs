//! Where our tokens come from.
//!
//! In: a source that is named, or the environment as the binary read it. Out: one [`Source`], and [`Tokens`] from it. Deliberately
//! never goes on to another source: one that is configured and broken is an error that names it and what is missing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::secret::Secret;

mod certificate;
mod github;
mod tokens;

pub use tokens::{Auth, Tokens};

/// The kinds of sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
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
    /// `developer-tools`: whoever is logged in with `az`, or else with `azd`.
    DeveloperTools,
}

impl Kind {
    /// All of them, in the order in which the environment is asked for them.
    pub const ALL: [Self; 6] = [
        Self::WorkloadIdentity,
        Self::ClientSecret,
        Self::Certificate,
        Self::GitHub,
        Self::ManagedIdentity,
        Self::DeveloperTools,
    ];

    /// Its name in configurations.
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

/// The one source of tokens.
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
        /// Of the key.
        password: Option<Secret>,
    },
    /// The identity that Kubernetes gives to a pod.
    WorkloadIdentity {
        /// The tenant's id.
        tenant: String,
        /// The application's id.
        client: String,
        /// The file that Kubernetes keeps its token in.
        token_file: PathBuf,
    },
    /// The identity of a job of GitHub Actions.
    GitHub {
        /// The tenant's id.
        tenant: String,
        /// The application's id.
        client: String,
        /// Where the job asks for its token.
        url: String,
        /// What it shows there.
        token: Secret,
    },
    /// The identity of this virtual machine or app.
    ManagedIdentity {
        /// Of a user-assigned one; `None` is the system's.
        client: Option<String>,
    },
    /// Whoever is logged in with `az`, or else with `azd`.
    DeveloperTools,
}

/// A source that cannot be used. There is no going on to another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// Something of it was not given.
    #[error("the credential `{who}` needs {what}, and there is none")]
    Missing {
        /// The kind of source, by its name.
        who: &'static str,
        /// What is missing: a variable.
        what: &'static str,
    },
    /// What was given is of no use.
    #[error("the credential `{who}`: {why}")]
    Unusable {
        /// The kind of source, by its name.
        who: &'static str,
        /// Why.
        why: String,
    },
}

impl CredentialError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        None
    }
}

/// What a configuration says of who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// The kind of source; `None` leaves it to the environment.
    pub kind: Option<Kind>,
    /// Comes before `AZURE_TENANT_ID`.
    pub tenant: Option<String>,
    /// Comes before `AZURE_CLIENT_ID`.
    pub client: Option<String>,
}

impl CredentialSource {
    /// The source that `named` says, or else the first that `environment` is set up for, or else the developer's tools.
    pub fn choose(
        named: &Named,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, CredentialError> {
        let given = Given { named, environment };
        let kind = named.kind.unwrap_or_else(|| given.kind());
        given.source(kind)
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::ClientSecret { .. } => Kind::ClientSecret,
            Self::Certificate { .. } => Kind::Certificate,
            Self::WorkloadIdentity { .. } => Kind::WorkloadIdentity,
            Self::GitHub { .. } => Kind::GitHub,
            Self::ManagedIdentity { .. } => Kind::ManagedIdentity,
            Self::DeveloperTools => Kind::DeveloperTools,
        }
    }

    /// What nobody may read in an error.
    fn secrets(&self) -> Vec<Secret> {
        match self {
            Self::ClientSecret { secret, .. } => vec![secret.clone()],
            Self::Certificate { password, .. } => password.iter().cloned().collect(),
            Self::GitHub { token, .. } => vec![token.clone()],
            _ => Vec::new(),
        }
    }
}

struct Given<'a> {
    named: &'a Named,
    environment: &'a BTreeMap<String, String>,
}

impl Given<'_> {
    /// The kind that the environment is set up for. One variable that is there for nothing else decides; what then is missing
    /// is an error. Only GitHub gives its variable to jobs that may want nothing of Azure.
    fn kind(&self) -> Kind {
        let has = |name| self.variable(name).is_some();
        let found = Kind::ALL.into_iter().find(|kind| match kind {
            Kind::WorkloadIdentity => has(TOKEN_FILE),
            Kind::ClientSecret => has(SECRET),
            Kind::Certificate => has(CERTIFICATE),
            Kind::GitHub => has(GITHUB_URL) && (self.named.client.is_some() || has(CLIENT)),
            Kind::ManagedIdentity => has("IDENTITY_ENDPOINT"),
            Kind::DeveloperTools => true,
        });
        found.unwrap_or(Kind::DeveloperTools)
    }

    fn source(&self, kind: Kind) -> Result<CredentialSource, CredentialError> {
        let needs = |what: &'static str| {
            self.variable(what).ok_or(CredentialError::Missing {
                who: kind.name(),
                what,
            })
        };
        let tenant = || self.named.tenant.clone().map_or_else(|| needs(TENANT), Ok);
        let client = || self.named.client.clone().map_or_else(|| needs(CLIENT), Ok);
        Ok(match kind {
            Kind::ClientSecret => CredentialSource::ClientSecret {
                tenant: tenant()?,
                client: client()?,
                secret: Secret::new(needs(SECRET)?),
            },
            Kind::Certificate => CredentialSource::Certificate {
                tenant: tenant()?,
                client: client()?,
                path: PathBuf::from(needs(CERTIFICATE)?),
                password: self.variable(PASSWORD).map(Secret::new),
            },
            Kind::WorkloadIdentity => CredentialSource::WorkloadIdentity {
                tenant: tenant()?,
                client: client()?,
                token_file: PathBuf::from(needs(TOKEN_FILE)?),
            },
            Kind::GitHub => CredentialSource::GitHub {
                tenant: tenant()?,
                client: client()?,
                url: needs(GITHUB_URL)?,
                token: Secret::new(needs(GITHUB_TOKEN)?),
            },
            // The system's own identity has no id: a variable that is there for another purpose must not choose one.
            Kind::ManagedIdentity => CredentialSource::ManagedIdentity {
                client: self.named.client.clone(),
            },
            Kind::DeveloperTools => CredentialSource::DeveloperTools,
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
