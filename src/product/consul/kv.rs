//! Keys, and the locks that sessions hold on them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::Client;
use crate::product::ApiError;
use crate::secret::Secret;

/// The value of a key.
#[derive(Clone, PartialEq, Eq)]
pub struct KvEntry {
    /// The value.
    pub value: Vec<u8>,
    /// The session that holds the key as a lock.
    pub session: Option<String>,
    /// The index of the last change.
    pub modify_index: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EntryJson {
    value: Option<String>,
    session: Option<String>,
    modify_index: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SessionJson {
    node: String,
}

impl Client {
    /// Returns the value of `key`, confirmed by the leader. Needs `key:read`.
    pub async fn kv_get(&self, token: &Secret, key: &str) -> Result<Option<KvEntry>, ApiError> {
        let what = format!("read the key {key}");
        let call = self.api.get(&what, &["kv", key]).token(token);
        let answer = call
            .query("consistent", "")
            .accepting(&[404])
            .send()
            .await?;
        if answer.status() == 404 {
            return Ok(None);
        }
        let Some(entry) = answer.json_list::<EntryJson>()?.pop() else {
            return Ok(None);
        };
        let value = STANDARD.decode(entry.value.unwrap_or_default());
        Ok(Some(KvEntry {
            value: value.map_err(|_| answer.malformed("a value that is not base64"))?,
            session: entry.session.filter(|session| !session.is_empty()),
            modify_index: entry.modify_index,
        }))
    }

    /// Deletes all keys that begin with `prefix`. Needs `key:write` on the prefix.
    pub async fn kv_delete_tree(&self, token: &Secret, prefix: &str) -> Result<(), ApiError> {
        let what = format!("delete the keys below {prefix}");
        if prefix.trim_matches('/').is_empty() {
            return Err(self.api.invalid(&what, "this prefix has every key"));
        }
        let call = self.api.delete(&what, &["kv", prefix]).token(token);
        call.query("recurse", "").send().await?;
        Ok(())
    }

    /// Returns the name of the node whose session holds `key`, such as `vault/core/lock`.
    ///
    /// Needs `key:read` on the key and `session:read` on the node.
    pub async fn lock_holder(&self, token: &Secret, key: &str) -> Result<Option<String>, ApiError> {
        let Some(session) = self.lock_session(token, key).await? else {
            return Ok(None);
        };
        let what = format!("read the session of the lock {key}");
        let call = self.api.get(&what, &["session", "info", &session]);
        let answer = call.token(token).query("consistent", "").send().await?;
        if let Some(SessionJson { node }) = answer.json_list()?.pop() {
            return Ok(Some(node));
        }
        // The session ended, unless it still holds the lock: then the token may not see it.
        if self.lock_session(token, key).await? == Some(session) {
            return Err(self.api.no_rights(&what));
        }
        Ok(None)
    }

    async fn lock_session(&self, token: &Secret, key: &str) -> Result<Option<String>, ApiError> {
        Ok(self
            .kv_get(token, key)
            .await?
            .and_then(|entry| entry.session))
    }
}
