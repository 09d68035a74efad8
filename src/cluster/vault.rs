//! Makes the Vault nodes of a cluster ready: initialisation, unsealing, audit, mounts and tokens.
//! Takes a client of each node; every step can be repeated.
//! The shares are in the store of secrets before a node is unsealed with them.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::file::{Unseal, UnsealKind};
use super::secrets::{SecretName, SecretStore};
use super::{ClusterError, Context};
use crate::product::ApiError;
use crate::product::vault::{
    Client, InitRequest, KeyKind, KvMount, KvVersion, NodeState, TokenRequest,
};
use crate::secret::Secret;
use crate::wait::{Poll, Wait};

/// Whether the shares of Vault's unseal key are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    Known,
    Lost,
}

/// Limit for a node to answer, with VMs under emulation.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);

/// Limit for a node to become active or standby after it was unsealed.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// The audit log, in a folder of the image that Vault can write to.
const AUDIT_LOG: &str = "/var/log/vault/audit.log";

/// The secrets engine for users.
const KV: KvMount<'_> = KvMount {
    path: "secret",
    version: KvVersion::V2,
};

/// The period in which the token of the administrator has to be used or renewed.
const TOKEN_PERIOD: Duration = Duration::from_secs(768 * 3600);

/// The policy of the administrator's token. It can change policies, so it can get every right;
/// it cannot seal, step down, or read raw storage.
const ADMIN_RULES: &str = r#"# Written by vault-bake.
path "secret/*" { capabilities = ["create", "read", "update", "delete", "list"] }
path "auth/*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }
path "sys/auth" { capabilities = ["read"] }
path "sys/auth/*" { capabilities = ["create", "read", "update", "delete", "sudo"] }
path "sys/mounts" { capabilities = ["read"] }
path "sys/mounts/*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }
path "sys/policies/acl" { capabilities = ["list"] }
path "sys/policies/acl/*" { capabilities = ["create", "read", "update", "delete", "list"] }
path "sys/audit" { capabilities = ["read", "sudo"] }
path "sys/ha-status" { capabilities = ["read"] }
path "sys/leases/*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }
path "sys/capabilities-self" { capabilities = ["update"] }
path "sys/internal/ui/mounts" { capabilities = ["read"] }
path "sys/internal/ui/mounts/*" { capabilities = ["read"] }
"#;

/// The output of the initialisation, in the form of `vault operator init -format=json`.
#[derive(Default, Deserialize, Serialize)]
struct InitJson {
    unseal_keys_b64: Vec<String>,
    unseal_shares: u8,
    unseal_threshold: u8,
    /// The shares of the recovery key, with an auto-unseal. Such a Vault has no key shares.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recovery_keys_b64: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recovery_keys_shares: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recovery_keys_threshold: Option<u8>,
    /// The keys of OpenPGP that encrypt the shares.
    #[serde(default, skip_serializing_if = "is_false")]
    encrypted: bool,
    root_token: String,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// A Vault node and its client.
pub(crate) type VaultNode = (String, Client);

/// Waits until every node answers.
pub(super) async fn wait_for_answers(
    nodes: &[VaultNode],
    context: &Context<'_>,
) -> Result<(), ClusterError> {
    for (name, client) in nodes {
        wait_for_state(name, client, ANSWER_TIMEOUT, |_| true, context).await?;
    }
    Ok(())
}

/// Initialises Vault, unless the shares are known.
///
/// Returns [`Keys::Lost`] if it was initialised before.
pub(super) async fn initialize(
    node: &VaultNode,
    unseal: &Unseal,
    secrets: &SecretStore,
    context: &Context<'_>,
) -> Result<Keys, ClusterError> {
    if secrets
        .get(&SecretName::VaultInit, context.interrupt)
        .await?
        .is_some()
    {
        return Ok(Keys::Known);
    }
    let (name, client) = node;
    if client.health().await?.state != NodeState::Uninitialized {
        return Ok(Keys::Lost);
    }
    let pgp_keys = read_pgp_keys(&unseal.pgp_keys)?;
    let request = InitRequest {
        kind: match unseal.kind {
            UnsealKind::Shares => KeyKind::Unseal,
            UnsealKind::Transit(_) | UnsealKind::AzureKeyVault(_) => KeyKind::Recovery,
        },
        shares: unseal.shares,
        threshold: unseal.threshold,
        pgp_keys: &pgp_keys,
    };
    context.events.note(format!("initialising Vault on {name}"));
    let output = client.init(&request).await?;
    let shares = output.keys.iter().map(|key| key.expose().to_owned());
    let (shares, encrypted) = (shares.collect(), !pgp_keys.is_empty());
    let root_token = output.root_token.expose().to_owned();
    let keys = match request.kind {
        KeyKind::Unseal => InitJson {
            unseal_keys_b64: shares,
            unseal_shares: unseal.shares,
            unseal_threshold: unseal.threshold,
            encrypted,
            root_token,
            ..InitJson::default()
        },
        KeyKind::Recovery => InitJson {
            recovery_keys_b64: shares,
            recovery_keys_shares: Some(unseal.shares),
            recovery_keys_threshold: Some(unseal.threshold),
            encrypted,
            root_token,
            ..InitJson::default()
        },
    };
    let text = serde_json::to_string_pretty(&keys).expect("keys are JSON");
    let text = Secret::new(format!("{text}\n"));
    secrets
        .put(&SecretName::VaultInit, &text, context.interrupt)
        .await?;
    Ok(Keys::Known)
}

/// Fails if Vault was never initialised: it was once, so its data are lost.
pub(super) async fn require_initialized((name, client): &VaultNode) -> Result<(), ClusterError> {
    match client.health().await?.state {
        NodeState::Uninitialized => Err(ClusterError::NoData { node: name.clone() }),
        _ => Ok(()),
    }
}

/// Reads OpenPGP public keys in the form that Vault takes: base64 of the binary key.
fn read_pgp_keys(paths: &[std::path::PathBuf]) -> Result<Vec<String>, ClusterError> {
    let read = |path: &std::path::PathBuf| {
        let bytes = std::fs::read(path).map_err(ClusterError::file(path))?;
        pgp_key(path, &bytes)
    };
    paths.iter().map(read).collect()
}

fn pgp_key(path: &Path, bytes: &[u8]) -> Result<String, ClusterError> {
    use pgp::composed::{Deserializable as _, SignedPublicKey};
    use pgp::ser::Serialize as _;
    let invalid = |why: String| ClusterError::PgpKey {
        path: path.to_owned(),
        why,
    };
    let key = if bytes.starts_with(b"-----BEGIN") {
        SignedPublicKey::from_armor_single(bytes).map(|(key, _)| key)
    } else {
        SignedPublicKey::from_bytes(bytes)
    };
    let key = key.map_err(|error| invalid(error.to_string()))?;
    let binary = key.to_bytes().map_err(|error| invalid(error.to_string()))?;
    Ok(openssl::base64::encode_block(&binary))
}

/// Unseals each sealed node with the shares of the cluster, or with those that the user passes.
pub(crate) async fn unseal(
    nodes: &[VaultNode],
    unseal: &Unseal,
    given: &[Secret],
    secrets: &SecretStore,
    context: &Context<'_>,
) -> Result<(), ClusterError> {
    let mut shares = given.to_vec();
    if shares.is_empty()
        && let Some(keys) = keys(secrets, context).await?
        && !keys.encrypted
    {
        let keys = keys.unseal_keys_b64.into_iter();
        shares = keys.map(Secret::new).collect();
    }
    for (name, client) in nodes {
        // A service that starts refuses connections.
        wait_for_state(name, client, ANSWER_TIMEOUT, |_| true, context).await?;
        if client.health().await?.state == NodeState::Sealed
            && matches!(unseal.kind, UnsealKind::Shares)
        {
            unseal_one(name, client, &shares).await?;
        }
        let is_ready = |state| matches!(state, NodeState::Active | NodeState::Standby);
        wait_for_state(name, client, READY_TIMEOUT, is_ready, context).await?;
    }
    Ok(())
}

async fn unseal_one(name: &str, client: &Client, shares: &[Secret]) -> Result<(), ClusterError> {
    let needed = || ClusterError::UnsealNeeded {
        node: name.to_owned(),
    };
    client.reset_unseal().await?;
    for share in shares {
        if !client.unseal(share).await?.is_sealed {
            return Ok(());
        }
    }
    Err(needed())
}

/// Waits until `is_reached` accepts the state of a node.
async fn wait_for_state(
    name: &str,
    client: &Client,
    limit: Duration,
    is_reached: impl Fn(NodeState) -> bool,
    context: &Context<'_>,
) -> Result<(), ClusterError> {
    let wait = Wait::new(format!("Vault on {name}"), limit)
        .pausing(Duration::from_millis(200), Duration::from_secs(1));
    let waiting = wait.until(context.events, context.interrupt, || async {
        match client.health().await {
            Ok(health) if is_reached(health.state) => Poll::Ready(()),
            Ok(health) => Poll::NotYet(format!("it is {:?}", health.state).to_lowercase()),
            Err(error @ ApiError::Tls { .. }) => Poll::Never(error),
            Err(error) => Poll::NotYet(error.to_string()),
        }
    });
    waiting.await.map_err(ClusterError::wait)
}

async fn keys(
    secrets: &SecretStore,
    context: &Context<'_>,
) -> Result<Option<InitJson>, ClusterError> {
    let Some(text) = secrets
        .get(&SecretName::VaultInit, context.interrupt)
        .await?
    else {
        return Ok(None);
    };
    let keys = serde_json::from_str(text.expose());
    keys.map(Some).map_err(|_| ClusterError::Keys {
        place: secrets.place_of(&SecretName::VaultInit),
    })
}

/// Whether the key shares are stored with the cluster, and not encrypted.
pub(crate) async fn has_shares(
    secrets: &SecretStore,
    context: &Context<'_>,
) -> Result<bool, ClusterError> {
    Ok(keys(secrets, context)
        .await?
        .is_some_and(|keys| !keys.encrypted))
}

/// Returns the client of the active node.
pub(crate) async fn active(
    nodes: &[VaultNode],
    context: &Context<'_>,
) -> Result<Client, ClusterError> {
    let wait = Wait::new("an active Vault", READY_TIMEOUT)
        .pausing(Duration::from_millis(200), Duration::from_secs(1));
    let waiting = wait.until(context.events, context.interrupt, || async {
        for (_, client) in nodes {
            let health = client.health().await;
            if health.is_ok_and(|health| health.state == NodeState::Active) {
                return Poll::<Client, ApiError>::Ready(client.clone());
            }
        }
        Poll::NotYet("only standbys".to_owned())
    });
    waiting.await.map_err(ClusterError::wait)
}

/// Enables audit, mounts the secrets engine for users, and replaces the root token by one for the
/// administrator. Keeps the root token valid if `keep_root` is set.
pub(super) async fn configure(
    client: &Client,
    keep_root: bool,
    secrets: &SecretStore,
    context: &Context<'_>,
) -> Result<(), ClusterError> {
    let Some(keys) = keys(secrets, context).await? else {
        return Ok(());
    };
    let root = Secret::new(keys.root_token);
    if secrets
        .get(&SecretName::VaultOperator, context.interrupt)
        .await?
        .is_some()
        && client
            .lookup_self(&root)
            .await
            .is_err_and(|error| is_forbidden(&error))
    {
        // It was revoked after the token of the administrator was stored.
        return Ok(());
    }
    let file = AUDIT_LOG;
    context
        .retry("the audit device", async || {
            client.enable_file_audit(&root, "file", file).await
        })
        .await?;
    context
        .retry("the secrets engine", async || {
            client.enable_kv(&root, KV).await
        })
        .await?;
    // After its mount, version 2 refuses requests for about a second.
    context
        .retry("the secrets engine to answer", async || {
            client.kv_get(&root, KV, "vault-bake").await
        })
        .await?;
    let policy = "admin";
    context
        .retry("the policy of the administrator", async || {
            client.put_policy(&root, policy, ADMIN_RULES).await
        })
        .await?;
    if secrets
        .get(&SecretName::VaultOperator, context.interrupt)
        .await?
        .is_none()
    {
        let request = TokenRequest {
            display_name: "vault-bake-admin",
            policies: &[policy],
            period: TOKEN_PERIOD,
        };
        let token = client.create_token(&root, &request).await?;
        secrets
            .put(&SecretName::VaultOperator, &token, context.interrupt)
            .await?;
    }
    if !keep_root {
        client.revoke_self(&root).await?;
    }
    Ok(())
}

pub(super) fn is_forbidden(error: &ApiError) -> bool {
    matches!(error, ApiError::Status { status: 403, .. })
}
