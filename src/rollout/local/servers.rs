//! Consul servers that leave during a rollout.

use std::time::Duration;

use futures::future::join_all;

use super::Local;
use super::effects::EFFECT_LIMIT;
use super::failures::{api_error, failed, wait_error};
use crate::cluster::file::TierName;
use crate::cluster::state::{NodeStage, NodeState};
use crate::product::consul::Client;
use crate::rollout::{EffectError, Evidence};
use crate::store::backend::Backend;
use crate::wait::{Interrupt, Poll, Wait};

/// Limit for a new leader after a transfer. An election takes 3 s with the shipped settings.
const LEADER_LIMIT: Duration = Duration::from_secs(60);

impl<B: Backend> Local<'_, B> {
    pub(super) async fn leave(&self, name: &str, successor: &str) -> Result<Evidence, EffectError> {
        let node = self.node(name)?;
        let mut evidence = Evidence::default();
        let operator = &self.running.keys().operator;
        let others = self.any_server(name).await?;
        if self.running.platform().is_running(name) {
            self.transfer_leadership(name, successor, &others, &mut evidence)
                .await?;
            // The lock must not end with the server.
            self.move_lock(name).await?;
            let client = self.consul(name, &node).await.map_err(failed)?;
            let left = client.agent_leave(operator).await;
            if let Err(error) = left {
                // It may have left already, and then does not answer.
                let raft = others.raft_servers(operator).await.map_err(api_error)?;
                if raft.iter().any(|server| server.node == name) {
                    return Err(api_error(error));
                }
            }
            self.stop_node(name).await?;
        } else {
            evidence.is_unclean = true;
            let note = format!("{name} did not run: its membership was removed");
            evidence.notes.push(note);
            self.forget_member(name).await?;
        }
        self.set_stage(name, NodeStage::Retired)?;
        Ok(evidence)
    }

    /// Removes a member that has ended from the list of each server.
    ///
    /// A server that is told alone passes it on by gossip, which may not reach the others, and
    /// nothing repeats it: they would list the member as `left` for a day.
    pub(super) async fn forget_member(&self, name: &str) -> Result<(), EffectError> {
        let operator = &self.running.keys().operator;
        let nodes = self.state().nodes.clone();
        let servers = nodes.iter().filter(|(other, node)| {
            let serves = node.tier == TierName::Consul && node.stage.is_serving();
            serves && *other != name && self.running.platform().is_running(other)
        });
        let telling = servers.map(async |(other, node)| {
            let client = self.consul(other, node).await.map_err(failed)?;
            let client = client.with_limit(EFFECT_LIMIT);
            client.force_leave(operator, name).await.map_err(api_error)
        });
        // A server that cannot be asked now is told by the others.
        let told = join_all(telling).await.into_iter().reduce(Result::or);
        told.unwrap_or_else(|| {
            Err(EffectError::Inconclusive(
                "no Consul server runs".to_owned(),
            ))
        })
    }

    /// Moves the leadership away from a server that leads, if Consul can do that.
    async fn transfer_leadership(
        &self,
        name: &str,
        successor: &str,
        client: &Client,
        evidence: &mut Evidence,
    ) -> Result<(), EffectError> {
        let operator = &self.running.keys().operator;
        let raft = client.raft_servers(operator).await.map_err(api_error)?;
        let leads = raft.iter().any(|one| one.node == name && one.is_leader);
        let target = raft
            .iter()
            .find(|one| one.node == successor && one.is_voter);
        let Some(target) = target.filter(|_| leads) else {
            return Ok(());
        };
        let moved = client.transfer_leader(operator, &target.id).await;
        if !moved.map_err(api_error)? {
            let note = "this version of Consul cannot move its leadership: the leader left";
            evidence.notes.push(note.to_owned());
            return Ok(());
        }
        let wait = Wait::new(format!("{successor} to lead Consul"), LEADER_LIMIT);
        let never = Interrupt::default();
        let waiting = wait.until(self.context.events, &never, || async {
            match client.raft_servers(operator).await {
                Ok(raft) => match raft.iter().find(|one| one.is_leader) {
                    Some(leader) if leader.node != name => Poll::Ready(()),
                    Some(leader) => Poll::NotYet(format!("{} leads", leader.node)),
                    None => Poll::NotYet("no server leads".to_owned()),
                },
                Err(error) if error.is_transient() => Poll::NotYet(error.to_string()),
                Err(error) => Poll::Never(error),
            }
        });
        waiting.await.map_err(wait_error)
    }

    /// Makes a node that still runs leave in order, before it is deleted.
    pub(super) async fn retire(&self, name: &str, node: &NodeState) -> Result<(), EffectError> {
        if !self.running.platform().is_running(name) {
            return Ok(());
        }
        match node.tier {
            TierName::Consul => {
                let operator = &self.running.keys().operator;
                let others = self.any_server(name).await?;
                let raft = others.raft_servers(operator).await.map_err(api_error)?;
                if raft.iter().any(|server| server.node == *name) {
                    self.leave(name, "").await?;
                }
            }
            // A node that never came up cannot stop in order. It has no lock: see `undo_requires`.
            TierName::Vault => drop(self.stop(name).await),
        }
        Ok(())
    }
}
