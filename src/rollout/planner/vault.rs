//! The steps of Vault's nodes: new standbys come, old standbys go, the active node goes last.

use super::draft::{Change, Draft, limit};
use super::{Names, PlanError};
use crate::cluster::Role;
use crate::cluster::file::TierName;
use crate::rollout::Condition;
use crate::rollout::plan::{Action, NodePlan, Purpose};

/// The nodes while the steps are planned.
struct Nodes {
    /// The active node.
    active: String,
    /// What every step requires: healthy servers, and the same active node.
    always: Vec<Condition>,
    /// The nodes that run.
    running: Names,
    /// The nodes of the target that serve, and that the load balancer lets have connections.
    ready: Names,
    /// The old nodes that the steps before have stopped.
    stopped: Names,
}

/// Adds the steps. `servers` is the condition of Consul's servers before them.
pub(super) fn steps(
    draft: &mut Draft<'_>,
    change: &Change,
    servers: &Condition,
) -> Result<(), PlanError> {
    let inventory = draft.inventory;
    let (fresh, starting) = (&change.fresh, &change.starting);
    let serving: Names = fresh.difference(starting).cloned().collect();
    let in_front = |name: &String| {
        inventory
            .nodes
            .get(name)
            .is_some_and(|node| node.is_in_front)
    };
    let (ready, waiting): (Names, Names) = serving.into_iter().partition(in_front);
    let mut stopping: Vec<String> = change.retiring.iter().cloned().collect();
    stopping.retain(|name| inventory.is_running(name));
    let is_unchanged = stopping.is_empty() && starting.is_empty();
    // A node of no rollout that gets no clients is the user's choice.
    let is_new = |name: &String| draft.nodes.get(name).is_some_and(|node| node.is_new);
    let is_ours = !change.retiring.is_empty() || waiting.iter().any(is_new);
    if is_unchanged && (waiting.is_empty() || !is_ours) {
        return Ok(());
    }
    let active = inventory
        .active()
        .ok_or(PlanError::NoActiveNode)?
        .to_owned();
    let is_active_fresh = fresh.contains(&active);
    stopping.retain(|name| *name != active);
    let version = |name: &str| draft.nodes.get(name).and_then(NodePlan::product_version);
    let differs = stopping
        .iter()
        .any(|name| version(name) != version(&active));
    let is_urgent = is_active_fresh && differs && change.purpose == Purpose::Replace;
    let is_first = draft.is_empty() && change.purpose == Purpose::Replace;
    if is_first && !is_unchanged && !is_urgent {
        // Consul has Vault's data, which an older Vault may not read any more.
        let gate = vec![Condition::SnapshotSaved];
        draft.push(
            Action::SaveSnapshot,
            vec![servers.clone()],
            gate,
            limit::QUICK,
        );
    }
    let mut nodes = Nodes {
        always: vec![
            servers.clone(),
            Condition::Active {
                node: active.clone(),
            },
        ],
        running: inventory.select(TierName::Vault, |_, node| node.is_running),
        ready,
        stopped: Names::new(),
        active,
    };
    let mut waiting = waiting;
    let mut stopping = stopping.into_iter();
    if is_urgent {
        // An old node must never follow a new one: the others go before anything else.
        let active = Names::from([nodes.active.clone()]);
        if waiting.remove(&nodes.active) {
            admit(draft, &mut nodes, &active);
        }
        let all = std::mem::replace(&mut nodes.ready, active);
        stop(draft, &mut nodes, stopping.by_ref().collect());
        nodes.ready = all;
    }
    if !waiting.is_empty() {
        admit(draft, &mut nodes, &waiting);
    }
    for batch in change.batches() {
        start(draft, &mut nodes, &batch, change.purpose);
        let surplus = nodes.running.len().saturating_sub(change.count);
        stop(draft, &mut nodes, stopping.by_ref().take(surplus).collect());
    }
    stop(draft, &mut nodes, stopping.collect());
    if !is_active_fresh {
        hand_over(draft, change, &nodes);
    }
    Ok(())
}

/// Starts nodes, unseals them, and sends clients to them.
fn start(draft: &mut Draft<'_>, nodes: &mut Nodes, batch: &Names, purpose: Purpose) {
    let names: Vec<String> = batch.iter().cloned().collect();
    let others: Names = nodes.running.difference(batch).cloned().collect();
    let undo_requires = vec![Condition::ActiveAmong { nodes: others }];
    let answering = vec![Condition::Answering {
        nodes: batch.clone(),
    }];
    // Sealed nodes have started. A step that is done already is no step of a plan.
    let inventory = draft.inventory;
    let is_sealed = |name: &&String| {
        let node = inventory.nodes.get(*name);
        node.is_some_and(|node| node.is_running && node.role == Role::Sealed)
    };
    let down: Names = batch
        .iter()
        .filter(|name| !is_sealed(name))
        .cloned()
        .collect();
    if !down.is_empty() {
        let names = down.iter().cloned().collect();
        let action = match purpose {
            Purpose::Replace => Action::Start { nodes: names },
            Purpose::Abort => Action::Restart { nodes: names },
        };
        draft.push(
            action,
            nodes.always.clone(),
            answering.clone(),
            limit::START,
        );
        draft.undo_by_delete(&down, undo_requires.clone());
    }
    let serving = vec![Condition::Serving {
        nodes: batch.clone(),
    }];
    let requires = [nodes.always.clone(), answering].concat();
    draft.push(
        Action::Unseal { nodes: names },
        requires,
        serving,
        limit::UNSEAL,
    );
    draft.undo_by_delete(batch, undo_requires);
    nodes.running.extend(batch.iter().cloned());
    admit(draft, nodes, batch);
}

fn admit(draft: &mut Draft<'_>, nodes: &mut Nodes, batch: &Names) {
    let serving = Condition::Serving {
        nodes: batch.clone(),
    };
    let mut requires = nodes.always.clone();
    requires.push(serving);
    nodes.ready.extend(batch.iter().cloned());
    let action = Action::Admit {
        nodes: batch.iter().cloned().collect(),
    };
    draft.push(action, requires, ready(nodes), limit::ADMIT);
}

/// Returns the conditions of the nodes of the target so far.
fn ready(nodes: &Nodes) -> Vec<Condition> {
    let ready = nodes.ready.clone();
    vec![
        Condition::Serving {
            nodes: ready.clone(),
        },
        Condition::InFront { nodes: ready },
    ]
}

/// Stops standbys side by side, if there are any.
fn stop(draft: &mut Draft<'_>, nodes: &mut Nodes, standbys: Vec<String>) {
    if standbys.is_empty() {
        return;
    }
    let each = || standbys.iter().cloned();
    let mut requires = nodes.always.clone();
    requires.extend(each().map(|node| Condition::Standby { node }));
    requires.extend(ready(nodes));
    nodes.running.retain(|name| !standbys.contains(name));
    nodes.stopped.extend(each());
    let mut gate: Vec<Condition> = each().map(|node| Condition::Stopped { node }).collect();
    gate.push(Condition::ActiveAmong {
        nodes: nodes.running.clone(),
    });
    let action = Action::Stop { nodes: standbys };
    draft.push(action, requires, gate, limit::STOP);
}

fn hand_over(draft: &mut Draft<'_>, change: &Change, nodes: &Nodes) {
    let node = nodes.active.clone();
    let mut requires = nodes.always.clone();
    requires.extend(ready(nodes));
    let stopped = nodes.stopped.iter().cloned();
    requires.extend(stopped.map(|node| Condition::Stopped { node }));
    let mut others = change.retiring.clone();
    others.remove(&node);
    if !others.is_empty() {
        requires.push(Condition::Down { nodes: others });
    }
    let gate = vec![
        Condition::Stopped { node: node.clone() },
        Condition::ActiveAmong {
            nodes: change.fresh.clone(),
        },
    ];
    draft.push(Action::HandOver { node }, requires, gate, limit::STOP);
}
