//! The engine, the policy and the token of the canary.

use std::time::Duration;

use crate::event::Events;
use crate::product::ApiError;
use crate::product::vault::{Client, KvMount, KvVersion, TokenRequest};
use crate::secret::Secret;
use crate::wait::{Interrupt, Poll, Wait, WaitError};

/// The path of the engine, and the name of the policy.
pub const MOUNT: &str = "vault-bake-canary";

const KV: KvMount<'_> = KvMount {
    path: MOUNT,
    version: KvVersion::V2,
};

/// The rights of a rollout in Vault: the keys of its canary, and the list of nodes.
const RULES: &str = r#"# Written by vault-bake.
path "vault-bake-canary/data/*" { capabilities = ["create", "read", "update", "delete"] }
path "vault-bake-canary/metadata/*" { capabilities = ["create", "read", "update", "delete"] }
path "sys/ha-status" { capabilities = ["read"] }
"#;

/// The time after which a token that was not renewed ends.
const PERIOD: Duration = Duration::from_secs(24 * 3600);

/// The limit for Vault to serve a new engine.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Mounts the engine and writes the policy, unless they exist, and makes a new token for a rollout.
///
/// `admin` needs the rights of the administrator's token of a cluster. The token ends 24 h after
/// its last renewal; a running canary renews it. Revoke it after the rollout.
pub async fn setup(
    client: &Client,
    admin: &Secret,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<Secret, WaitError<ApiError>> {
    let wait = Wait::new("the engine of the canary", READY_TIMEOUT)
        .pausing(Duration::from_millis(200), Duration::from_secs(1));
    let prepare = || async { poll(prepare(client, admin).await) };
    let token = wait.until(events, interrupt, prepare).await?;
    // A new engine refuses requests for some time.
    let serves = || async { poll(client.kv_get(&token, KV, "ready").await) };
    wait.until(events, interrupt, serves).await?;
    Ok(token)
}

async fn prepare(client: &Client, admin: &Secret) -> Result<Secret, ApiError> {
    client.enable_kv(admin, KV).await?;
    client.put_policy(admin, MOUNT, RULES).await?;
    let request = TokenRequest {
        display_name: MOUNT,
        policies: &[MOUNT],
        period: PERIOD,
    };
    client.create_token(admin, &request).await
}

fn poll<T>(result: Result<T, ApiError>) -> Poll<T, ApiError> {
    match result {
        Ok(value) => Poll::Ready(value),
        Err(error) if error.is_transient() => Poll::NotYet(error.to_string()),
        Err(error) => Poll::Never(error),
    }
}
