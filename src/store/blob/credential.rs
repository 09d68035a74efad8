//! How we prove to the service who we are.
//!
//! In: the caller's one choice. Out: what the client needs for it. Deliberately never goes on to another source where
//! the chosen one fails, and reads no environment itself; `azure_identity` looks there for what a workload or managed
//! identity is told by its host.

use std::sync::Arc;

use azure_core::credentials::TokenCredential;
use azure_identity::{
    DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    UserAssignedId, WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};

use crate::secret::Secret;

/// The one source that a credential comes from. Account keys are not offered: the client knows none.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A shared access signature: the query of a SAS URL. It needs the permissions read, create, write and list.
    Sas(Secret),
    /// Whoever is logged in with `az`, or else with `azd`.
    DeveloperTools,
    /// The identity of this virtual machine or app.
    ManagedIdentity {
        /// Of a user-assigned one; `None` is the system's.
        client_id: Option<String>,
    },
    /// The identity that Kubernetes gives to a pod.
    WorkloadIdentity {
        /// `None` is what the pod's environment says.
        client_id: Option<String>,
    },
}

impl Credential {
    /// What makes tokens, where it is not a signature in the URL.
    pub(super) fn tokens(&self) -> azure_core::Result<Option<Arc<dyn TokenCredential>>> {
        Ok(match self {
            Self::Sas(_) => None,
            Self::DeveloperTools => Some(DeveloperToolsCredential::new(None)?),
            Self::ManagedIdentity { client_id } => Some(ManagedIdentityCredential::new(Some(
                ManagedIdentityCredentialOptions {
                    user_assigned_id: client_id.clone().map(UserAssignedId::ClientId),
                    ..ManagedIdentityCredentialOptions::default()
                },
            ))?),
            Self::WorkloadIdentity { client_id } => Some(WorkloadIdentityCredential::new(Some(
                WorkloadIdentityCredentialOptions {
                    client_id: client_id.clone(),
                    ..WorkloadIdentityCredentialOptions::default()
                },
            ))?),
        })
    }

    /// What nobody may read in an error: the token, and its signature alone.
    pub(super) fn secrets(&self) -> Vec<Secret> {
        let Self::Sas(token) = self else {
            return Vec::new();
        };
        let text = token.expose().trim_start_matches('?');
        let mut secrets = vec![Secret::new(text)];
        for pair in text.split('&') {
            if let Some(signature) = pair.strip_prefix("sig=") {
                secrets.push(Secret::new(signature));
                let plain = signature.replace("%2B", "+").replace("%2F", "/");
                secrets.push(Secret::new(plain.replace("%3D", "=")));
            }
        }
        secrets
    }
}
