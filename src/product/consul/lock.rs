//! Sessions, and the locks that they hold on keys.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::Client;
use crate::product::ApiError;
use crate::secret::Secret;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreatedJson {
    #[serde(rename = "ID")]
    id: String,
}

impl Client {
    /// Creates a session of the agent's node, and returns its id. Needs `session:write` on it.
    ///
    /// It ends between one and two times `ttl` after its last renewal, or with its node. Its locks
    /// are then released. It depends on no health check.
    pub async fn create_session(
        &self,
        token: &Secret,
        name: &str,
        ttl: Duration,
    ) -> Result<String, ApiError> {
        let call = self.api.put("create a session", &["session", "create"]);
        let body = json!({
            "Name": name,
            "TTL": format!("{}s", ttl.as_secs()),
            "Behavior": "release",
            "LockDelay": "0s",
            "NodeChecks": [],
            "Checks": [],
        });
        let CreatedJson { id } = call.token(token).body(&body).send().await?.json()?;
        Ok(id)
    }

    /// Renews a session. Returns whether it still exists. Needs `session:write` on its node.
    pub async fn renew_session(&self, token: &Secret, session: &str) -> Result<bool, ApiError> {
        let call = self
            .api
            .put("renew a session", &["session", "renew", session]);
        let answer = call.token(token).accepting(&[404]).send().await?;
        Ok(answer.status() != 404)
    }

    /// Ends a session. Needs `session:write` on its node.
    pub async fn destroy_session(&self, token: &Secret, session: &str) -> Result<(), ApiError> {
        let call = self
            .api
            .put("end a session", &["session", "destroy", session]);
        call.token(token).send().await?;
        Ok(())
    }

    /// Writes `value` to `key` if `session` gets the lock on it or has it. Returns whether it does.
    /// Needs `key:write`.
    pub async fn kv_acquire(
        &self,
        token: &Secret,
        key: &str,
        value: &serde_json::Value,
        session: &str,
    ) -> Result<bool, ApiError> {
        let what = format!("lock the key {key}");
        let call = self.api.put(&what, &["kv", key]).token(token);
        let answer = call.query("acquire", session).body(value).send().await?;
        answer.json()
    }
}
