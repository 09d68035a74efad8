//! Finds out whether the administrator's token of Vault can be used.

use super::secrets::{SecretName, SecretStore};
use super::vault::is_forbidden;
use super::{ClusterError, Context};
use crate::product::vault::Client;
use crate::secret::Secret;

/// An administrator's token that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperatorTokenError {
    /// It is absent.
    #[error("the secret `vault-operator` is absent")]
    Absent {
        /// Where it belongs.
        place: String,
    },
    /// Vault does not know it.
    #[error("Vault refuses the token in the secret `vault-operator`")]
    Refused {
        /// Where it belongs.
        place: String,
    },
}

impl OperatorTokenError {
    /// Returns what to do about it, as an imperative.
    pub fn hint(&self) -> String {
        let (Self::Absent { place } | Self::Refused { place }) = self;
        format!(
            "Take its value from a backup, or make a new one as docs/troubleshooting.md shows, and \
             store it {place}."
        )
    }
}

/// Returns the administrator's token as it is stored, without asking Vault.
pub(crate) async fn stored_operator_token(
    secrets: &SecretStore,
    context: &Context<'_>,
) -> Result<Result<Secret, OperatorTokenError>, ClusterError> {
    let name = SecretName::VaultOperator;
    let token = secrets.get(&name, context.interrupt).await?;
    let place = secrets.place_of(&name);
    Ok(token.ok_or(OperatorTokenError::Absent { place }))
}

/// Returns the administrator's token. It is needed by people and rollouts, and by no node.
pub(crate) async fn operator_token(
    client: &Client,
    secrets: &SecretStore,
    context: &Context<'_>,
) -> Result<Result<Secret, OperatorTokenError>, ClusterError> {
    let token = match stored_operator_token(secrets, context).await? {
        Ok(token) => token,
        Err(absent) => return Ok(Err(absent)),
    };
    let place = secrets.place_of(&SecretName::VaultOperator);
    Ok(match client.lookup_self(&token).await {
        Err(error) if is_forbidden(&error) => Err(OperatorTokenError::Refused { place }),
        // Another error tells nothing about the token.
        _ => Ok(token),
    })
}
