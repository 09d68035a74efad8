//! The steps of Consul's servers: new ones come and vote, then old ones leave, the leader last.

use super::draft::{Change, Draft, limit};
use super::{Names, PlanError};
use crate::cluster::Role;
use crate::rollout::Condition;
use crate::rollout::plan::{Action, Purpose};

/// The servers while the steps are planned.
struct Servers {
    /// Those that vote.
    voting: Names,
    /// Those that run, go and do not vote. Raft may list them.
    lame: Names,
    /// Those that do not run and go. Autopilot removes them once a new server votes.
    dead: Names,
}

impl Servers {
    fn besides(&self, names: &Names) -> Names {
        let all = self.lame.iter().chain(&self.dead).chain(names);
        all.cloned().collect()
    }
}

/// Adds the steps. Returns the condition of the servers afterwards.
pub(super) fn steps(draft: &mut Draft<'_>, change: &Change) -> Result<Condition, PlanError> {
    let end = Condition::Voters {
        servers: change.fresh.clone(),
        besides: Names::new(),
    };
    let inventory = draft.inventory;
    let mut leaving: Vec<String> = change.retiring.iter().cloned().collect();
    leaving.retain(|name| inventory.is_running(name));
    if change.starting.is_empty() && leaving.is_empty() {
        return Ok(end);
    }
    let leads =
        |name: &String| inventory.nodes[name].is_up() && inventory.nodes[name].role == Role::Leader;
    if !inventory.nodes.keys().any(leads) {
        return Err(PlanError::NoLeader);
    }
    leaving.sort_by_key(|name| (inventory.is_up(name), leads(name)));
    let (up, down): (Names, Names) = change
        .retiring
        .iter()
        .cloned()
        .partition(|name| inventory.is_up(name));
    let (lame, dead): (Names, Names) = down
        .into_iter()
        .partition(|name| inventory.is_running(name));
    let mut servers = Servers {
        voting: change
            .fresh
            .difference(&change.starting)
            .cloned()
            .chain(up)
            .collect(),
        lame,
        dead: dead
            .into_iter()
            .chain(draft.absent.iter().cloned())
            .collect(),
    };
    if change.purpose == Purpose::Replace {
        let voters = Condition::Voters {
            servers: servers.voting.clone(),
            besides: servers.besides(&change.starting),
        };
        let gate = vec![Condition::SnapshotSaved];
        draft.push(Action::SaveSnapshot, vec![voters], gate, limit::QUICK);
    }
    let mut leaving = leaving.into_iter().peekable();
    let mut missing = change.starting.clone();
    for batch in change.batches() {
        start(draft, &mut servers, &batch);
        missing.retain(|name| !batch.contains(name));
        if missing.is_empty() {
            break;
        }
        let has_surplus = |servers: &Servers, name: &String| {
            let is_lame = usize::from(servers.lame.contains(name));
            servers.voting.len() + is_lame > change.count
        };
        while let Some(node) = leaving.next_if(|name| has_surplus(&servers, name)) {
            let is_last = leaving.peek().is_none();
            leave(draft, change, &mut servers, (node, is_last));
        }
    }
    renew(draft, change, &servers);
    while let Some(node) = leaving.next() {
        let is_last = leaving.peek().is_none();
        leave(draft, change, &mut servers, (node, is_last));
    }
    Ok(end)
}

fn start(draft: &mut Draft<'_>, servers: &mut Servers, batch: &Names) {
    let before = Condition::Voters {
        servers: servers.voting.clone(),
        besides: servers.besides(batch),
    };
    servers.voting.extend(batch.iter().cloned());
    let after = Condition::Voters {
        servers: servers.voting.clone(),
        besides: servers.lame.clone(),
    };
    let nodes = batch.iter().cloned().collect();
    draft.push(
        Action::Start { nodes },
        vec![before.clone()],
        vec![after],
        limit::START,
    );
    draft.undo_by_delete(batch, vec![before]);
}

fn renew(draft: &mut Draft<'_>, change: &Change, servers: &Servers) {
    if change.renew.is_empty() {
        return;
    }
    let voters = Condition::Voters {
        servers: servers.voting.clone(),
        besides: servers.lame.clone(),
    };
    let nodes = change.renew.iter().cloned().collect();
    let renewed = Condition::IdentitiesRenewed {
        nodes: change.renew.clone(),
    };
    let action = Action::RenewIdentities { nodes };
    draft.push(
        action,
        vec![voters.clone()],
        vec![renewed, voters],
        limit::QUICK,
    );
}

fn leave(
    draft: &mut Draft<'_>,
    change: &Change,
    servers: &mut Servers,
    (node, is_last): (String, bool),
) {
    servers.voting.remove(&node);
    // The effect may have begun already: the server is one of those that may be there.
    let mut besides = servers.lame.clone();
    besides.insert(node.clone());
    let before = Condition::Voters {
        servers: servers.voting.clone(),
        besides,
    };
    servers.lame.remove(&node);
    let after = Condition::Voters {
        servers: servers.voting.clone(),
        besides: servers.lame.clone(),
    };
    let staying: Vec<&String> = servers.voting.intersection(&change.fresh).collect();
    let new = staying.iter().find(|name| draft.is_new(name));
    let successor = new
        .or(staying.first())
        .map_or(String::new(), |name| (*name).clone());
    let left = Condition::LeftConsul { node: node.clone() };
    let mut requires = vec![before];
    if !is_last {
        requires.push(Condition::Follower { node: node.clone() });
    }
    let action = Action::Leave { node, successor };
    draft.push(action, requires, vec![after, left], limit::LEAVE);
}
