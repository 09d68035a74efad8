//! Makes the Consul servers of a new cluster ready: quorum, access control, policies and tokens.
//! Takes clients of the servers; every step can be repeated.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::policies::Policy;
use super::secrets::{SecretName, SecretStore};
use super::{ClusterError, Context, TokenError};
use crate::product::ApiError;
use crate::product::consul::{Client, TokenRequest};
use crate::secret::Secret;
use crate::wait::{Poll, Wait, WaitError};

/// Limit for an election, with VMs under emulation.
const ELECTION_TIMEOUT: Duration = Duration::from_secs(600);

/// Limit for new servers to know the management token.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(120);

/// Waits until a server has a leader. Returns the client of a server that answers.
pub(super) async fn wait_for_leader(
    clients: &[(String, Client)],
    context: &Context<'_>,
) -> Result<Client, ClusterError> {
    let wait = Wait::new("Consul to elect a leader", ELECTION_TIMEOUT)
        .pausing(Duration::from_millis(200), Duration::from_secs(1));
    let waiting = wait.until(context.events, context.interrupt, || async {
        let mut last = "no server".to_owned();
        for (name, client) in clients {
            match client.leader().await {
                Ok(Some(_)) => return Poll::Ready(client.clone()),
                Ok(None) => last = format!("{name} knows no leader"),
                // Another certificate or authority does not change by waiting.
                Err(error @ ApiError::Tls { .. }) => return Poll::Never(error),
                Err(error) => last = error.to_string(),
            }
        }
        Poll::NotYet(last)
    });
    waiting.await.map_err(ClusterError::wait)
}

/// Waits until Consul knows the management token, as new servers do after an election.
///
/// Fails at once if it knows the operator's token, which exists later: then another value was
/// stored.
pub(super) async fn wait_for_management(
    client: &Client,
    (management, operator): (&Secret, &Secret),
    secrets: &SecretStore,
    context: &Context<'_>,
) -> Result<(), ClusterError> {
    let wait = Wait::new("Consul to know the management token", TOKEN_TIMEOUT)
        .pausing(Duration::from_millis(200), Duration::from_secs(1));
    let refused = || TokenError::refused(SecretName::ConsulManagement, secrets);
    let waiting = wait.until(context.events, context.interrupt, || async {
        match client.knows_token(management).await {
            Ok(true) => return Poll::Ready(()),
            Ok(false) => {}
            Err(error) => return Poll::NotYet(error.to_string()),
        }
        match client.knows_token(operator).await {
            Ok(true) => Poll::Never(refused()),
            _ => Poll::NotYet("it knows no token".to_owned()),
        }
    });
    match waiting.await {
        Ok(()) => Ok(()),
        Err(WaitError::Interrupted(interrupted)) => Err(interrupted.into()),
        Err(WaitError::Never(refused)) => Err(refused.into()),
        Err(error @ WaitError::Deadline { .. }) => Err(ClusterError::Service {
            message: error.to_string(),
            hint: Some(refused().hint()),
            console: Vec::new(),
        }),
    }
}

/// A token of a cluster and its policy.
pub(super) struct Grant {
    policy: Policy,
    /// The name under which the secret is stored.
    name: SecretName,
    /// The accessor id, which is not secret and the same in each run.
    accessor: String,
    secret: Secret,
}

impl Grant {
    pub(super) fn new(cluster: &str, policy: Policy, (name, secret): (SecretName, Secret)) -> Self {
        Self {
            accessor: Self::accessor(cluster, &policy),
            policy,
            name,
            secret,
        }
    }

    /// Returns the accessor id of the token with this policy.
    pub(super) fn accessor(cluster: &str, policy: &Policy) -> String {
        let digest = Sha256::digest(format!("{cluster}/{}", policy.name));
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        let id = uuid::Builder::from_random_bytes(bytes).into_uuid();
        id.to_string()
    }
}

/// Creates policies and tokens. The servers know the management token from their identities.
///
/// Fails if they know a token of the same node or administrator with another value.
pub(super) async fn create_tokens(
    client: &Client,
    management: &Secret,
    grants: &[Grant],
    secrets: &SecretStore,
    context: &Context<'_>,
) -> Result<(), ClusterError> {
    for grant in grants {
        let (name, rules) = (grant.policy.name.as_str(), grant.policy.rules.as_str());
        let description = format!("vault-bake {name}");
        let request = TokenRequest {
            accessor: &grant.accessor,
            secret: &grant.secret,
            description: &description,
            policies: &[name],
        };
        let put = context
            .retry(&format!("the token {name}"), async || {
                client
                    .put_policy(management, name, &description, rules)
                    .await?;
                match client.put_token(management, &request).await {
                    Err(ApiError::Conflict { .. }) => Ok(false),
                    put => put.map(|_| true),
                }
            })
            .await?;
        if !put {
            return Err(TokenError::refused(grant.name.clone(), secrets).into());
        }
    }
    Ok(())
}

/// Waits until all servers are healthy voters, and sets the quorum that autopilot must keep.
pub(super) async fn wait_for_voters(
    client: &Client,
    operator: &Secret,
    servers: usize,
    context: &Context<'_>,
) -> Result<(), ClusterError> {
    let wait = Wait::new("all Consul servers to be voters", ELECTION_TIMEOUT)
        .pausing(Duration::from_millis(300), Duration::from_secs(2));
    let waiting = wait.until(context.events, context.interrupt, || async {
        match client.raft_servers(operator).await {
            Ok(found) => {
                let voters = found.iter().filter(|server| server.is_voter).count();
                if voters >= servers {
                    Poll::Ready(())
                } else {
                    Poll::NotYet(format!("{voters} of {servers} are voters"))
                }
            }
            Err(error) if error.is_transient() => Poll::NotYet(error.to_string()),
            Err(error) => Poll::Never(error),
        }
    });
    waiting.await.map_err(ClusterError::wait)?;
    let count = u64::try_from(servers).unwrap_or_default();
    // With the default of 0, autopilot removes a dead server before its replacement is there.
    context
        .retry("the quorum of autopilot", async || {
            client.set_min_quorum(operator, count).await
        })
        .await?;
    Ok(())
}
