//! Finds out whether the tokens of a cluster's administrators can be used.

mod error;

use super::controller::Controller;
use super::file::TierName;
use super::platforms::platform_of;
use super::secrets::{SecretName, SecretStore};
use super::state::State;
use super::vault::is_forbidden;
use super::{Cluster, ClusterError, Context};
use crate::product::vault;
use crate::secret::Secret;

pub use error::TokenError;

/// Returns a token as it is stored, without asking its product.
async fn stored(
    name: SecretName,
    secrets: &SecretStore,
    context: &Context<'_>,
) -> Result<Result<Secret, TokenError>, ClusterError> {
    let token = secrets.get(&name, context.interrupt).await?;
    Ok(token.ok_or_else(|| TokenError::absent(name, secrets)))
}

/// Returns Vault's token. It is needed by people and rollouts, and by no node.
pub(crate) async fn operator_token(
    client: &vault::Client,
    secrets: &SecretStore,
    context: &Context<'_>,
) -> Result<Result<Secret, TokenError>, ClusterError> {
    let token = match stored(SecretName::VaultOperator, secrets, context).await? {
        Ok(token) => token,
        Err(absent) => return Ok(Err(absent)),
    };
    Ok(match client.lookup_self(&token).await {
        Err(error) if is_forbidden(&error) => {
            Err(TokenError::refused(SecretName::VaultOperator, secrets))
        }
        // Another error tells nothing about the token.
        _ => Ok(token),
    })
}

/// Why the tokens of administrators cannot be used. A product that does not answer tells nothing
/// about its token.
pub(crate) struct TokenErrors {
    /// Vault's token, without which nothing measures clients.
    pub(crate) operator: Option<TokenError>,
    /// Consul's management token, without which no node gets its tokens.
    pub(crate) management: Option<TokenError>,
}

/// Asks the running nodes whether they know the tokens of administrators.
pub(crate) async fn token_errors(
    cluster: &Cluster<'_>,
    state: &State,
    context: &Context<'_>,
) -> Result<TokenErrors, ClusterError> {
    let secrets = cluster.secrets;
    let operator = stored(SecretName::VaultOperator, secrets, context).await?;
    let management = stored(SecretName::ConsulManagement, secrets, context).await?;
    let mut errors = TokenErrors {
        operator: operator.as_ref().err().cloned(),
        management: management.as_ref().err().cloned(),
    };
    let Some(platform) = platform_of(cluster.folder, state, context).await? else {
        return Ok(errors);
    };
    let keys = Controller::open(cluster, context).await?;
    if let Ok(token) = operator {
        for (_, node) in state.serving(TierName::Vault) {
            let client = keys.vault(&platform, node, context).await?;
            match client.lookup_self(&token).await {
                Ok(_) => break,
                Err(error) if is_forbidden(&error) => {
                    let refused = TokenError::refused(SecretName::VaultOperator, secrets);
                    errors.operator = Some(refused);
                    break;
                }
                Err(_) => {}
            }
        }
    }
    if let Ok(token) = management {
        for (_, node) in state.serving(TierName::Consul) {
            let client = keys.consul(&platform, cluster.file, node, context).await?;
            match client.knows_token(&token).await {
                Ok(true) => break,
                Ok(false) => {
                    let refused = TokenError::refused(SecretName::ConsulManagement, secrets);
                    errors.management = Some(refused);
                    break;
                }
                Err(_) => {}
            }
        }
    }
    Ok(errors)
}
