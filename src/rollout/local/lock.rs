//! The lock in the cluster: a key of Consul, held by a session, whose value is the epoch.
//! It guards against a controller that wakes up late. The store's log decides who may take it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::Local;
use super::failures::failed;
use crate::cluster::file::TierName;
use crate::cluster::state::NodeState;
use crate::product::ApiError;
use crate::product::consul::Client;
use crate::rollout::EffectError;
use crate::rollout::fence::confirm_open;
use crate::secret::Secret;
use crate::store::backend::Backend;

/// The key of the lock.
const KEY: &str = "vault-bake/rollout/lock";

/// The time to live of the session. Consul ends it after twice that.
const TTL: Duration = Duration::from_secs(60);

/// The lock of one controller.
pub(super) struct ClusterLock {
    epoch: u64,
    held: Mutex<Option<Held>>,
}

/// A session, and the server that it belongs to.
#[derive(Clone)]
struct Held {
    session: String,
    server: String,
    client: Client,
}

/// The value of the key.
#[derive(Deserialize)]
struct ValueJson {
    epoch: u64,
}

impl ClusterLock {
    pub(super) fn new(epoch: u64) -> Self {
        Self {
            epoch,
            held: Mutex::new(None),
        }
    }

    fn held(&self) -> Option<Held> {
        let held = self.held.lock();
        held.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, held: Option<Held>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }

    /// Ends the session, which releases the lock.
    pub(super) async fn release(&self, token: &Secret) {
        if let Some(held) = self.held() {
            // If it fails, the session ends by itself.
            let _ = held.client.destroy_session(token, &held.session).await;
            self.set(None);
        }
    }

    /// Confirms the lock, or takes it with a session of `server`.
    ///
    /// A lock with a lower epoch belongs to a controller that was replaced in the store's log, and
    /// one with the same epoch to a former process of this controller.
    async fn confirm(
        &self,
        token: &Secret,
        (server, client): (&str, &Client),
    ) -> Result<(), EffectError> {
        let inconclusive = |error: ApiError| EffectError::Inconclusive(error.to_string());
        let entry = client.kv_get(token, KEY).await.map_err(inconclusive)?;
        let found = entry.as_ref().and_then(|entry| {
            let value: ValueJson = serde_json::from_slice(&entry.value).ok()?;
            Some(value.epoch)
        });
        if let Some(epoch) = found.filter(|epoch| *epoch > self.epoch) {
            return Err(EffectError::TakenOver { epoch });
        }
        let holder = entry.and_then(|entry| entry.session);
        if let Some(held) = self.held() {
            let is_ours = found == Some(self.epoch) && holder.as_ref() == Some(&held.session);
            let renewed = client.renew_session(token, &held.session).await;
            if is_ours && held.server == server && renewed.map_err(inconclusive)? {
                return Ok(());
            }
            let _ = client.destroy_session(token, &held.session).await;
        }
        if let Some(session) = holder {
            let ended = client.destroy_session(token, &session).await;
            ended.map_err(inconclusive)?;
        }
        let session = client.create_session(token, "vault-bake rollout", TTL);
        let session = session.await.map_err(inconclusive)?;
        let value = json!({ "epoch": self.epoch });
        let taken = client.kv_acquire(token, KEY, &value, &session).await;
        if !taken.map_err(inconclusive)? {
            return Err(EffectError::Inconclusive(
                "another controller takes the lock at the same time".to_owned(),
            ));
        }
        self.set(Some(Held {
            session,
            server: server.to_owned(),
            client: client.clone(),
        }));
        Ok(())
    }
}

impl<B: Backend> Local<'_, B> {
    /// Reads both locks: the open rollout in the store's log, and the key in Consul.
    pub(super) async fn confirm_locks(&self) -> Result<(), EffectError> {
        let (cluster, epoch) = (self.state().id.clone(), self.lock.epoch);
        let now = (self.context.now)();
        confirm_open(self.store, (&cluster, epoch), &self.targets, now).await?;
        self.confirm_cluster_lock("").await
    }

    /// Moves the lock to another server, if it belongs to `leaving`.
    pub(super) async fn move_lock(&self, leaving: &str) -> Result<(), EffectError> {
        self.confirm_cluster_lock(leaving).await
    }

    async fn confirm_cluster_lock(&self, leaving: &str) -> Result<(), EffectError> {
        let (server, node) = self.lock_server(leaving)?;
        let client = self.consul(&server, &node).await.map_err(failed)?;
        let operator = self.running.keys().operator.clone();
        self.lock.confirm(&operator, (&server, &client)).await
    }

    /// Returns the server whose session holds the lock: the newest that serves, as others leave.
    fn lock_server(&self, leaving: &str) -> Result<(String, NodeState), EffectError> {
        let state = self.state();
        let mut servers: Vec<_> = state
            .serving(TierName::Consul)
            .filter(|(name, _)| *name != leaving && self.running.platform().is_running(name))
            .collect();
        servers.sort_by_key(|(_, node)| (node.generation, std::cmp::Reverse(node.number)));
        let server = servers.pop();
        server
            .map(|(name, node)| (name.clone(), node.clone()))
            .ok_or_else(|| EffectError::Inconclusive("no Consul server runs".to_owned()))
    }
}
