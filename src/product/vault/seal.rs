//! Initialization, and unsealing by key shares.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::{Client, not_empty};
use crate::product::ApiError;
use crate::secret::Secret;

/// The seal of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealStatus {
    /// The kind of the seal: `shamir`, `transit`, `azurekeyvault` and others.
    pub kind: String,
    /// Whether the cluster is initialized.
    pub is_initialized: bool,
    /// Whether the node is sealed.
    pub is_sealed: bool,
    /// The number of shares that unseal a node.
    pub threshold: u64,
    /// The number of all shares.
    pub shares: u64,
    /// The number of shares that this node received.
    pub progress: u64,
    /// The version of Vault, unless the listener redacts it.
    pub version: Option<String>,
    /// The id of the cluster, if the node is unsealed.
    pub cluster_id: Option<String>,
}

/// The keys that the initialization makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Shares that unseal a node.
    Unseal,
    /// Shares that make a root token, for a seal that unseals by itself.
    Recovery,
}

/// The initialization of a cluster.
pub struct InitRequest<'a> {
    /// The kind of the shares.
    pub kind: KeyKind,
    /// The number of shares.
    pub shares: u8,
    /// The number of shares that are needed.
    pub threshold: u8,
    /// A public key of PGP for each share, binary in base64, or none at all.
    pub pgp_keys: &'a [String],
}

/// The secrets of a new cluster, which Vault tells once.
pub struct InitOutput {
    /// The shares in base64, encrypted if the request had PGP keys.
    pub keys: Vec<Secret>,
    /// The root token.
    pub root_token: Secret,
}

#[derive(Deserialize)]
struct SealJson {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(rename = "initialized")]
    is_initialized: bool,
    #[serde(rename = "sealed")]
    is_sealed: bool,
    #[serde(rename = "t", default)]
    threshold: u64,
    #[serde(rename = "n", default)]
    shares: u64,
    #[serde(default)]
    progress: u64,
    version: Option<String>,
    cluster_id: Option<String>,
}

impl From<SealJson> for SealStatus {
    fn from(json: SealJson) -> Self {
        Self {
            kind: json.kind,
            is_initialized: json.is_initialized,
            is_sealed: json.is_sealed,
            threshold: json.threshold,
            shares: json.shares,
            progress: json.progress,
            version: not_empty(json.version),
            cluster_id: not_empty(json.cluster_id),
        }
    }
}

#[derive(Deserialize)]
struct InitJson {
    #[serde(default)]
    keys_base64: Vec<String>,
    #[serde(default)]
    recovery_keys_base64: Vec<String>,
    root_token: String,
}

impl Client {
    /// Returns the seal of the node. Needs no token.
    pub async fn seal_status(&self) -> Result<SealStatus, ApiError> {
        let call = self.api.get("read the seal", &["sys", "seal-status"]);
        Ok(call.send().await?.json::<SealJson>()?.into())
    }

    /// Initializes the cluster. Vault tells the secrets once: a lost answer loses the cluster.
    pub async fn init(&self, request: &InitRequest<'_>) -> Result<InitOutput, ApiError> {
        let prefix = match request.kind {
            KeyKind::Unseal => "secret",
            KeyKind::Recovery => "recovery",
        };
        let mut body = json!({
            format!("{prefix}_shares"): request.shares,
            format!("{prefix}_threshold"): request.threshold,
        });
        if !request.pgp_keys.is_empty() {
            let name = match request.kind {
                KeyKind::Unseal => "pgp_keys",
                KeyKind::Recovery => "recovery_pgp_keys",
            };
            body[name] = json!(request.pgp_keys);
        }
        let call = self.api.put("initialize the cluster", &["sys", "init"]);
        let answer = call.body(&body).lasting(INIT_LIMIT).send().await?;
        let json: InitJson = answer.json()?;
        let keys = match request.kind {
            KeyKind::Unseal => json.keys_base64,
            KeyKind::Recovery => json.recovery_keys_base64,
        };
        if keys.len() != usize::from(request.shares) || json.root_token.is_empty() {
            return Err(answer.malformed("not as many keys as requested"));
        }
        Ok(InitOutput {
            keys: keys.into_iter().map(Secret::new).collect(),
            root_token: Secret::new(json.root_token),
        })
    }

    /// Sends one share, in base64 or hex, and returns the progress.
    ///
    /// A wrong share counts at first; the last one is then refused, and the node forgets all.
    /// Shares of an earlier attempt count too: begin with [`Self::reset_unseal`].
    pub async fn unseal(&self, share: &Secret) -> Result<SealStatus, ApiError> {
        let call = self.api.put("unseal the node", &["sys", "unseal"]);
        let call = call.body(&json!({ "key": share.expose() })).hiding(share);
        let answer = call.lasting(UNSEAL_LIMIT).send().await?;
        Ok(answer.json::<SealJson>()?.into())
    }

    /// Makes the node forget the shares that it received.
    pub async fn reset_unseal(&self) -> Result<SealStatus, ApiError> {
        let call = self.api.put("reset the unsealing", &["sys", "unseal"]);
        let answer = call.body(&json!({ "reset": true })).send().await?;
        Ok(answer.json::<SealJson>()?.into())
    }
}

/// Long, because a lost answer loses the secrets.
const INIT_LIMIT: Duration = Duration::from_secs(120);
const UNSEAL_LIMIT: Duration = Duration::from_secs(30);
