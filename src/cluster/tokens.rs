//! Finds out whether the tokens of a cluster's administrators can be used.

mod error;

use super::controller::Controller;
use super::file::TierName;
use super::platforms::platform_of;
use super::secrets::{SecretName, SecretStore};
use super::state::State;
use super::vault::is_forbidden;
use super::{Cluster, ClusterError, Context};
use crate::product::{consul, vault};
use crate::secret::Secret;

pub use error::TokenError;

/// Returns Vault's token as it is stored, without asking Vault.
async fn stored_operator_token(
    secrets: &SecretStore,
    context: &Context<'_>,
) -> Result<Result<Secret, TokenError>, ClusterError> {
    let name = SecretName::VaultOperator;
    let token = secrets.get(&name, context.interrupt).await?;
    Ok(token.ok_or_else(|| TokenError::absent(name, secrets)))
}

/// Returns Vault's token. It is needed by people and rollouts, and by no node.
pub(crate) async fn operator_token(
    client: &vault::Client,
    secrets: &SecretStore,
    context: &Context<'_>,
) -> Result<Result<Secret, TokenError>, ClusterError> {
    let token = match stored_operator_token(secrets, context).await? {
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

/// Returns why Vault's token cannot be used, without which nothing measures clients. A Vault that
/// does not answer tells nothing about it.
pub(crate) async fn operator_error(
    cluster: &Cluster<'_>,
    state: &State,
    context: &Context<'_>,
) -> Result<Option<TokenError>, ClusterError> {
    if let Err(absent) = stored_operator_token(cluster.secrets, context).await? {
        return Ok(Some(absent));
    }
    let Some(platform) = platform_of(cluster.folder, state, context).await? else {
        return Ok(None);
    };
    let keys = Controller::open(cluster, context).await?;
    for (_, node) in state.serving(TierName::Vault) {
        let client = keys.vault(&platform, node, context).await?;
        if let Err(refused) = operator_token(&client, cluster.secrets, context).await? {
            return Ok(Some(refused));
        }
    }
    Ok(None)
}

/// Returns why Consul's management token cannot be used, without which no node gets its tokens.
/// A Consul that does not answer tells nothing about it.
pub(crate) async fn management_error(
    cluster: &Cluster<'_>,
    state: &State,
    context: &Context<'_>,
) -> Result<Option<TokenError>, ClusterError> {
    let (name, secrets) = (SecretName::ConsulManagement, cluster.secrets);
    let Some(token) = secrets.get(&name, context.interrupt).await? else {
        return Ok(Some(TokenError::absent(name, secrets)));
    };
    let Some(platform) = platform_of(cluster.folder, state, context).await? else {
        return Ok(None);
    };
    let keys = Controller::open(cluster, context).await?;
    for (_, node) in state.serving(TierName::Consul) {
        let client: consul::Client = keys.consul(&platform, cluster.file, node, context).await?;
        match client.knows_token(&token).await {
            Ok(true) => return Ok(None),
            Ok(false) => return Ok(Some(TokenError::refused(name, secrets))),
            Err(_) => {}
        }
    }
    Ok(None)
}
