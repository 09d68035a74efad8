//! Secrets engines, and secrets of the engine for keys and values in both versions.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::client::null_as_default;
use super::{Client, data};
use crate::product::{ApiError, Change};
use crate::secret::Secret;

/// A version of the engine for keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvVersion {
    /// Keeps the last value.
    V1,
    /// Keeps earlier values.
    V2,
}

/// A mounted engine for keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvMount<'a> {
    /// The path, such as `secret`.
    pub path: &'a str,
    /// The version.
    pub version: KvVersion,
}

/// A mounted engine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Mount {
    /// The kind, such as `kv`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The options, such as `version`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub options: BTreeMap<String, String>,
}

impl KvMount<'_> {
    /// Returns the mount of `sys/mounts` that this is.
    fn matches(self, mount: &Mount) -> bool {
        let version = mount.options.get("version").map_or("1", String::as_str);
        mount.kind == "kv" && version == self.version.number()
    }

    /// Returns the path of a secret in the API.
    fn api_path(self, key: &str) -> String {
        let path = self.path.trim_matches('/');
        match self.version {
            KvVersion::V1 => format!("{path}/{key}"),
            KvVersion::V2 => format!("{path}/data/{key}"),
        }
    }
}

impl KvVersion {
    fn number(self) -> &'static str {
        match self {
            Self::V1 => "1",
            Self::V2 => "2",
        }
    }
}

/// The body of an answer with 404.
#[derive(Deserialize)]
struct AbsentJson {
    #[serde(default, deserialize_with = "null_as_default")]
    errors: Vec<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct VersionedJson {
    data: Option<Value>,
}

impl Client {
    /// Returns the mounted engines by their paths, as `secret/`. Needs `read` on `sys/mounts`.
    pub async fn mounts(&self, token: &Secret) -> Result<BTreeMap<String, Mount>, ApiError> {
        let call = self.api.get("list the mounts", &["sys", "mounts"]);
        data(&call.token(token).send().await?)
    }

    /// Mounts the engine for keys and values. Needs `update` on `sys/mounts/PATH`.
    ///
    /// Version 2 refuses requests for some time after: [`ApiError::is_transient`].
    /// Fails with [`ApiError::Conflict`] if another engine has this path.
    pub async fn enable_kv(&self, token: &Secret, kv: KvMount<'_>) -> Result<Change, ApiError> {
        let path = kv.path.trim_matches('/');
        let what = format!("mount the secrets engine {path}");
        if let Some(mount) = self.mounts(token).await?.get(&format!("{path}/")) {
            return if kv.matches(mount) {
                Ok(Change::Unchanged)
            } else {
                Err(self.api.conflict(&what, "another engine has this path"))
            };
        }
        let call = self.api.post(&what, &["sys", "mounts", path]).token(token);
        let body = json!({ "type": "kv", "options": { "version": kv.version.number() } });
        call.body(&body).send().await?;
        Ok(Change::Created)
    }

    /// Writes a secret, a JSON object.
    pub async fn kv_put(
        &self,
        token: &Secret,
        kv: KvMount<'_>,
        key: &str,
        value: &Value,
    ) -> Result<(), ApiError> {
        let (what, path) = (format!("write the secret {key}"), kv.api_path(key));
        let body = match kv.version {
            KvVersion::V1 => value.clone(),
            KvVersion::V2 => json!({ "data": value }),
        };
        self.api
            .post(&what, &[&path])
            .token(token)
            .body(&body)
            .send()
            .await?;
        Ok(())
    }

    /// Reads a secret, a JSON object, if it exists.
    pub async fn kv_get(
        &self,
        token: &Secret,
        kv: KvMount<'_>,
        key: &str,
    ) -> Result<Option<Value>, ApiError> {
        let (what, path) = (format!("read the secret {key}"), kv.api_path(key));
        let call = self.api.get(&what, &[&path]).token(token);
        let answer = call.accepting(&[404]).send().await?;
        if answer.status() == 404 {
            // With a text if there is no engine, or one of the other version.
            let AbsentJson { errors, warnings } = answer.json()?;
            let is_absent = errors.is_empty() && warnings.is_empty();
            return if is_absent {
                Ok(None)
            } else {
                Err(answer.into_refusal())
            };
        }
        match kv.version {
            KvVersion::V1 => data(&answer).map(Some),
            KvVersion::V2 => Ok(data::<VersionedJson>(&answer)?.data),
        }
    }

    /// Deletes a secret with all its versions, if it exists.
    pub async fn kv_delete(
        &self,
        token: &Secret,
        kv: KvMount<'_>,
        key: &str,
    ) -> Result<(), ApiError> {
        let (what, mount) = (
            format!("delete the secret {key}"),
            kv.path.trim_matches('/'),
        );
        let path = match kv.version {
            KvVersion::V1 => format!("{mount}/{key}"),
            KvVersion::V2 => format!("{mount}/metadata/{key}"),
        };
        self.api.delete(&what, &[&path]).token(token).send().await?;
        Ok(())
    }
}
