//! What a controller sees of the model and does to it. It can be killed between any two parts.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::{pending, poll_fn};
use std::task::Poll;
use std::time::Duration;

use jiff::Timestamp;
use testing::delay;
use vault_bake::cluster::Role;
use vault_bake::cluster::file::TierName;
use vault_bake::product::vault::NodeState;
use vault_bake::rollout::journal::{Entry, Journal, JournalError};
use vault_bake::rollout::observation::{
    ActiveView, ConsulView, FrontView, NodeView, ServerHealthView, ServerView, VaultView,
};
use vault_bake::rollout::plan::Purpose;
use vault_bake::rollout::planner::InventoryNode;
use vault_bake::rollout::{Action, EffectError, Evidence, Figures, Observation, Operations, Plan};
use vault_bake::wait::{Interrupt, Urgency};

use super::{Fault, Model, Node, Sick, State};

/// One controller with its epoch.
pub struct Controller<'a> {
    pub model: &'a Model,
    pub epoch: u64,
    pub began: u64,
    pub purpose: Purpose,
}

/// A journal that counts as a point of its own: a controller can die right after a line.
pub struct ModelJournal<'a> {
    pub model: &'a Model,
    pub entries: Vec<Entry>,
}

impl Journal for ModelJournal<'_> {
    fn write(&mut self, entry: &Entry) -> Result<(), JournalError> {
        if self.model.0.borrow().is_disk_full {
            return Err(JournalError::File {
                path: "rollouts/0.jsonl".into(),
                error: std::io::ErrorKind::StorageFull.into(),
            });
        }
        self.entries.push(entry.clone());
        self.model.0.borrow_mut().point();
        Ok(())
    }
}

impl State {
    /// Figures a point, and lets happen what shall happen there.
    fn point(&mut self) {
        self.points += 1;
        let points = self.points;
        let due: Vec<Fault> = self
            .faults
            .iter()
            .filter(|(at, _)| *at == points)
            .map(|(_, fault)| *fault)
            .collect();
        for fault in due {
            self.apply(fault);
        }
    }
}

impl Controller<'_> {
    /// A place where the controller can die, and where it sees an interrupt.
    async fn point(&self) {
        self.model.0.borrow_mut().point();
        if self.model.0.borrow().killed {
            pending::<()>().await;
        }
        let urgent = self.model.0.borrow().interrupt.urgency() == Urgency::LeaveNow;
        let yielded = Cell::new(!urgent);
        poll_fn(|_| {
            if yielded.replace(true) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    async fn sleep(&self, time: u64) {
        self.model.0.borrow_mut().advance(time);
        self.point().await;
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.model.0.borrow_mut())
    }

    async fn start(&self, name: &str, plan: &Plan) {
        self.point().await;
        self.change(|state| {
            let known = &plan.nodes[name];
            if !state.nodes.contains_key(name) {
                let sick = state
                    .sick
                    .clone()
                    .filter(|(sick, _)| sick == name)
                    .map(|it| it.1);
                let facts = InventoryNode {
                    tier: known.tier,
                    generation: known.generation,
                    number: known.number,
                    address: known.address,
                    image: known.image.clone(),
                    version: known.version,
                    manifest: known.manifest,
                    releases: known.releases.clone(),
                    is_running: true,
                    role: Role::Failed,
                    is_in_front: false,
                };
                let node = Node {
                    facts,
                    running: false,
                    booted: false,
                    sick,
                };
                state.nodes.insert(name.to_owned(), node);
            }
            if state.nodes[name].sick != Some(Sick::NoBoot) {
                state.power_on(name);
            }
        });
    }

    async fn stop(&self, name: &str) {
        self.point().await;
        self.change(|state| {
            if let Some(view) = state.front.get_mut(name) {
                view.0 = false;
            }
            state.account();
        });
        self.sleep(500).await;
        if !self.change(|state| state.running(name)) {
            return;
        }
        self.change(|state| state.stop_vault(name));
        let time = self.change(|state| 1_000 + state.random(10_000));
        self.sleep(time / 2).await;
        self.sleep(time / 2).await;
        self.change(|state| state.power_off(name));
        self.point().await;
    }

    async fn leave(&self, name: &str) {
        self.point().await;
        if self.change(|state| state.running(name) && state.servers.contains_key(name)) {
            self.change(|state| state.leave(name));
            self.sleep(delay::LEAVE / 2).await;
            self.sleep(delay::LEAVE / 2).await;
        }
        self.change(|state| state.power_off(name));
        self.point().await;
    }
}

impl Operations for Controller<'_> {
    type Mark = u64;

    async fn observe(&self, _: &Plan) -> Observation {
        self.sleep(100).await;
        self.model.0.borrow().view()
    }

    async fn perform(
        &self,
        action: &Action,
        plan: &Plan,
        _: &Interrupt,
    ) -> Result<Evidence, EffectError> {
        self.change(|state| {
            let is_calm = !(state.is_revoked || state.has_no_store || state.is_disk_full);
            state.effects.push((is_calm, action.kind()));
        });
        self.point().await;
        if self.change(|state| state.now < state.blind_until) {
            return Err(EffectError::Inconclusive("no route".to_owned()));
        }
        match action {
            Action::SaveSnapshot => {
                self.sleep(200).await;
                self.change(|state| state.has_snapshot = true);
            }
            Action::Start { nodes } | Action::Restart { nodes } => {
                for name in nodes {
                    self.start(name, plan).await;
                }
            }
            Action::Unseal { nodes } => {
                if !self.change(|state| state.shares) {
                    let node = nodes[0].clone();
                    return Err(EffectError::UnsealNeeded { node });
                }
                for name in nodes {
                    self.sleep(300).await;
                    self.change(|state| state.unseal(name));
                }
            }
            Action::Admit { nodes } => {
                for name in nodes {
                    self.point().await;
                    self.change(|state| {
                        state.front.entry(name.clone()).or_insert((true, None)).0 = true;
                    });
                }
            }
            Action::RenewIdentities { nodes } => {
                for name in nodes {
                    self.sleep(200).await;
                    self.change(|state| state.renewed.insert(name.clone()));
                }
            }
            Action::Leave { node, .. } => self.leave(node).await,
            Action::Stop { nodes } => {
                for name in nodes {
                    self.stop(name).await;
                }
            }
            Action::HandOver { node } => self.stop(node).await,
            Action::Soak { seconds } => {
                self.sleep(seconds * 1_000).await;
                self.model.0.borrow().interrupt.check()?;
            }
            Action::Delete { nodes } => {
                for name in nodes {
                    let tier = plan.nodes[name].tier;
                    if self.change(|state| state.running(name)) {
                        match tier {
                            TierName::Consul => self.leave(name).await,
                            TierName::Vault => self.stop(name).await,
                        }
                    }
                    self.point().await;
                    self.change(|state| state.remove(name));
                }
            }
        }
        self.point().await;
        Ok(Evidence::default())
    }

    async fn fence(&self) -> Result<(), EffectError> {
        self.point().await;
        let state = self.model.0.borrow();
        if state.has_no_store {
            Err(EffectError::Inconclusive(
                "no route to the store".to_owned(),
            ))
        } else if state.epoch != self.epoch {
            Err(EffectError::TakenOver { epoch: state.epoch })
        } else if state.is_revoked && self.purpose == Purpose::Replace {
            Err(EffectError::Refused {
                message: "a target image may not be deployed".to_owned(),
                hint: "Run `vault-bake rollout abort`.".to_owned(),
            })
        } else {
            Ok(())
        }
    }

    async fn pause(&self, time: Duration) {
        self.sleep(u64::try_from(time.as_millis()).unwrap()).await;
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.model.0.borrow().now - self.began)
    }

    fn canary(&self) -> Figures {
        self.model.0.borrow().counts
    }

    fn mark(&self) -> u64 {
        self.model.0.borrow().now
    }

    async fn since(&self, _: &u64) -> Figures {
        self.model.0.borrow().counts
    }
}

impl State {
    fn view(&self) -> Observation {
        let blind = self.now < self.blind_until;
        let cut = || "no route to the cluster".to_owned();
        let nodes = self.nodes.iter().map(|(name, node)| {
            let view = NodeView {
                is_running: node.running,
            };
            (name.clone(), view)
        });
        let vault = self
            .nodes
            .iter()
            .filter(|(_, node)| node.running && node.facts.tier == TierName::Vault);
        let vault = vault.map(|(name, node)| {
            let view = if blind {
                Err(cut())
            } else {
                self.vault_view(name, node)
            };
            (name.clone(), view)
        });
        let front = self.front.iter().map(|(name, (is_ready, is_up))| {
            let view = FrontView {
                is_ready: *is_ready,
                is_up: *is_up,
                connections: 0,
            };
            (name.clone(), view)
        });
        Observation {
            at: Timestamp::from_millisecond(i64::try_from(self.now).unwrap()).unwrap(),
            nodes: nodes.collect(),
            consul: if blind {
                Err(cut())
            } else {
                self.consul_view()
            },
            vault: vault.collect(),
            active: if blind {
                Err(cut())
            } else {
                Ok(self.active_view())
            },
            front: if blind {
                Err(cut())
            } else {
                Ok(front.collect())
            },
            has_front: true,
            canary: if self.serves() && !blind {
                Ok(())
            } else {
                Err("no answer".to_owned())
            },
            has_snapshot: self.has_snapshot,
            renewed: self.renewed.clone(),
        }
    }

    fn vault_view(&self, name: &str, node: &Node) -> Result<VaultView, String> {
        if !node.booted || matches!(node.sick, Some(Sick::FullDisk | Sick::NoConsul)) {
            return Err("connection refused".to_owned());
        }
        if node.sick == Some(Sick::OtherAuthority) {
            return Err("certificate of another authority".to_owned());
        }
        let is_unsealed = self.unsealed.contains(name);
        let state = if self.active().as_deref() == Some(name) {
            NodeState::Active
        } else if is_unsealed {
            NodeState::Standby
        } else {
            NodeState::Sealed
        };
        let version = match node.sick {
            Some(Sick::WrongVersion) => "0.0.1".to_owned(),
            _ => node.facts.releases["vault"].clone(),
        };
        Ok(VaultView {
            state,
            version: Some(version),
            cluster_id: is_unsealed.then(|| "one".to_owned()),
        })
    }

    fn consul_view(&self) -> Result<ConsulView, String> {
        if self.leader.is_none() || !self.has_quorum() {
            return Err("no cluster leader".to_owned());
        }
        let servers = self.servers.iter().map(|(name, server)| {
            let node = self.nodes.get(name);
            let version = match node.and_then(|node| node.sick) {
                Some(Sick::WrongVersion) => "0.0.1".to_owned(),
                _ => node.map_or(String::new(), |node| node.facts.releases["consul"].clone()),
            };
            let view = ServerView {
                is_voter: server.is_voter,
                is_leader: self.leader.as_ref() == Some(name),
                health: Some(ServerHealthView {
                    is_healthy: self.running(name),
                    version,
                    behind: 0,
                    stable_for: Duration::from_millis(self.now - server.since),
                }),
            };
            (name.clone(), view)
        });
        let majority = self.voters().len() / 2 + 1;
        Ok(ConsulView {
            servers: servers.collect(),
            tolerance: self.alive().len().saturating_sub(majority) as u64,
            stabilization: Duration::from_secs(10),
            members: self.members.clone(),
        })
    }

    fn active_view(&self) -> ActiveView {
        let active = self.active();
        let mut listed = BTreeMap::new();
        if let Some(active) = &active {
            listed.insert(active.clone(), None);
            let standbys = self.unsealed.iter().filter(|name| *name != active);
            let known =
                standbys.filter(|name| self.knows.get(*name).is_some_and(|at| *at <= self.now));
            listed.extend(known.map(|name| (name.clone(), Some(Duration::from_millis(500)))));
        }
        ActiveView {
            lock_holder: self.lock.clone(),
            registered_active: active.iter().cloned().collect(),
            registered: self.registered.clone(),
            listed,
            cluster_id: active.map(|_| "one".to_owned()),
        }
    }
}
