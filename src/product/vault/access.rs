//! Policies, tokens and audit devices.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::super::client::null_as_default;
use super::{Client, data};
use crate::product::{ApiError, Change};
use crate::secret::Secret;

/// A token to create.
pub struct TokenRequest<'a> {
    /// The name in audit logs, which Vault prefixes with `token-`.
    pub display_name: &'a str,
    /// The names of the policies, in addition to `default`.
    pub policies: &'a [&'a str],
    /// The time for which a renewal extends the token, without a limit of renewals.
    pub period: Duration,
}

/// A token without its id.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TokenInfo {
    /// The name in audit logs.
    #[serde(default)]
    pub display_name: String,
    /// The names of the policies.
    #[serde(default, deserialize_with = "null_as_default")]
    pub policies: Vec<String>,
    /// The remaining time in seconds. 0: without an end.
    #[serde(rename = "ttl", default)]
    pub ttl_s: u64,
    /// Whether the token outlives its parent.
    #[serde(rename = "orphan", default)]
    pub is_orphan: bool,
    /// The period in seconds, if the token has one.
    #[serde(rename = "period")]
    pub period_s: Option<u64>,
}

/// An audit device.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct AuditDevice {
    /// The kind: `file`, `syslog` or `socket`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The options, such as `file_path`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub options: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct AuthJson {
    auth: NewTokenJson,
}

#[derive(Deserialize)]
struct NewTokenJson {
    client_token: String,
}

impl Client {
    /// Creates the policy `name`, or replaces it. Needs `update` on `sys/policies/acl/NAME`.
    pub async fn put_policy(
        &self,
        token: &Secret,
        name: &str,
        rules: &str,
    ) -> Result<(), ApiError> {
        let what = format!("write the policy {name}");
        let call = self.api.put(&what, &["sys", "policies", "acl", name]);
        call.token(token)
            .body(&json!({ "policy": rules }))
            .send()
            .await?;
        Ok(())
    }

    /// Creates a token without a parent, so that it outlives `token`. Needs `sudo`.
    pub async fn create_token(
        &self,
        token: &Secret,
        request: &TokenRequest<'_>,
    ) -> Result<Secret, ApiError> {
        let what = format!("create the token {}", request.display_name);
        let call = self.api.post(&what, &["auth", "token", "create-orphan"]);
        let body = json!({
            "display_name": request.display_name,
            "policies": request.policies,
            "period": format!("{}s", request.period.as_secs()),
        });
        let AuthJson { auth } = call.token(token).body(&body).send().await?.json()?;
        Ok(Secret::new(auth.client_token))
    }

    /// Returns what `token` is. Needs `read` on `auth/token/lookup-self`.
    pub async fn lookup_self(&self, token: &Secret) -> Result<TokenInfo, ApiError> {
        let path = ["auth", "token", "lookup-self"];
        data(
            &self
                .api
                .get("read the token", &path)
                .token(token)
                .send()
                .await?,
        )
    }

    /// Renews `token` for its period. Needs `update` on `auth/token/renew-self`.
    pub async fn renew_self(&self, token: &Secret) -> Result<(), ApiError> {
        let path = ["auth", "token", "renew-self"];
        self.api
            .post("renew the token", &path)
            .token(token)
            .send()
            .await?;
        Ok(())
    }

    /// Revokes `token` and its children.
    pub async fn revoke_self(&self, token: &Secret) -> Result<(), ApiError> {
        let path = ["auth", "token", "revoke-self"];
        self.api
            .post("revoke the token", &path)
            .token(token)
            .send()
            .await?;
        Ok(())
    }

    /// Returns the audit devices by their paths, as `file/`. Needs `read` and `sudo`.
    pub async fn audit_devices(
        &self,
        token: &Secret,
    ) -> Result<BTreeMap<String, AuditDevice>, ApiError> {
        let call = self.api.get("list the audit devices", &["sys", "audit"]);
        data(&call.token(token).send().await?)
    }

    /// Enables the audit device `path`, which writes to `file`. Needs `sudo` on `sys/audit`.
    ///
    /// Fails with [`ApiError::Conflict`] if another device has this path.
    pub async fn enable_file_audit(
        &self,
        token: &Secret,
        path: &str,
        file: &str,
    ) -> Result<Change, ApiError> {
        let (what, path) = (
            format!("enable the audit device {path}"),
            path.trim_matches('/'),
        );
        let devices = self.audit_devices(token).await?;
        if let Some(device) = devices.get(&format!("{path}/")) {
            let file_path = device.options.get("file_path").map(String::as_str);
            if (device.kind.as_str(), file_path) == ("file", Some(file)) {
                return Ok(Change::Unchanged);
            }
            return Err(self.api.conflict(&what, "another device has this path"));
        }
        let call = self.api.put(&what, &["sys", "audit", path]).token(token);
        let body = json!({ "type": "file", "options": { "file_path": file } });
        call.body(&body).send().await?;
        Ok(Change::Created)
    }
}
