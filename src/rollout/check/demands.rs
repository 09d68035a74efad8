//! Rules of conditions: what each step must require before its effect, and must reach after it.

use std::collections::BTreeSet;

use super::cluster::Cluster;
use super::{Report, list, set};
use crate::cluster::file::TierName;
use crate::rollout::{Action, Condition, Plan, Step};

type Names = BTreeSet<String>;

/// Checks the conditions of a step. `before` and `after` are the cluster around its effect.
pub(super) fn check(
    step: &Step,
    plan: &Plan,
    (before, after): (&Cluster<'_>, &Cluster<'_>),
    report: &mut Report,
) {
    report.rule(step.gate_s > 0, || "the gate has no limit".to_owned());
    report.rule(!step.gate.is_empty(), || "the step has no gate".to_owned());
    for condition in step
        .requires
        .iter()
        .chain(&step.gate)
        .chain(&step.undo_requires)
    {
        check_names(condition, plan, before, report);
    }
    let mut demands = Demands { step, report };
    match &step.action {
        Action::SaveSnapshot => {
            demands.servers(&step.requires, before, &before.absent(plan));
            demands.one(&step.gate, "that the snapshot was saved", |condition| {
                *condition == Condition::SnapshotSaved
            });
        }
        Action::Start { nodes } if before.tier(nodes) == TierName::Consul => {
            let mut besides = before.absent(plan);
            besides.extend(set(nodes));
            demands.servers(&step.requires, before, &besides);
            demands.servers(&step.gate, after, &after.lame);
        }
        Action::Start { nodes } | Action::Restart { nodes } => {
            demands.same_active(before);
            demands.nodes(
                &step.gate,
                "that the nodes answer",
                |condition| match condition {
                    Condition::Answering { nodes } => Some(nodes),
                    _ => None,
                },
                &set(nodes),
            );
        }
        Action::Unseal { nodes } => {
            demands.same_active(before);
            demands.nodes(
                &step.requires,
                "that the nodes answer",
                |condition| match condition {
                    Condition::Answering { nodes } => Some(nodes),
                    _ => None,
                },
                &set(nodes),
            );
            demands.serving(&step.gate, &set(nodes));
        }
        Action::Admit { nodes } => {
            demands.same_active(before);
            demands.serving(&step.requires, &set(nodes));
            demands.serving(&step.gate, &set(nodes));
            demands.in_front(&step.gate, &set(nodes));
        }
        Action::RenewIdentities { nodes } => {
            demands.servers(&step.requires, before, &before.lame);
            demands.servers(&step.gate, after, &after.lame);
            demands.nodes(
                &step.gate,
                "renewed identities",
                |condition| match condition {
                    Condition::IdentitiesRenewed { nodes } => Some(nodes),
                    _ => None,
                },
                &set(nodes),
            );
        }
        Action::Leave { node, .. } => {
            // The effect may have begun: the server may be there in any state.
            let mut besides = before.lame.clone();
            besides.insert(node.clone());
            demands.servers(&step.requires, after, &besides);
            demands.servers(&step.gate, after, &after.lame);
            if leaves_after(step, plan) {
                demands.one(
                    &step.requires,
                    "that the server does not lead",
                    |condition| matches!(condition, Condition::Follower { node: follower } if follower == node),
                );
            }
            demands.one(&step.gate, "that the server left", |condition| {
                matches!(condition, Condition::LeftConsul { node: left } if left == node)
            });
        }
        Action::Stop { nodes } => {
            demands.same_active(before);
            demands.others_serve(before, &Names::new());
            for node in nodes {
                demands.one(&step.requires, "that the node is a standby", |condition| {
                    matches!(condition, Condition::Standby { node: standby } if standby == node)
                });
                demands.stopped(node, after);
            }
        }
        Action::HandOver { node } => {
            demands.same_active(before);
            demands.others_serve(before, &before.staying_vault(plan));
            demands.stopped(node, after);
            demands.others_down(node, before, plan);
        }
        Action::Soak { .. } => {
            for conditions in [&step.requires, &step.gate] {
                demands.targets_serve(conditions, before, plan);
            }
        }
        Action::Delete { nodes } => {
            demands.targets_serve(&step.requires, before, plan);
            demands.ended(nodes, plan);
            demands.nodes(
                &step.gate,
                "that the nodes are deleted",
                |condition| match condition {
                    Condition::Deleted { nodes } => Some(nodes),
                    _ => None,
                },
                &set(nodes),
            );
        }
    }
}

/// Whether another server leaves after a step.
fn leaves_after(step: &Step, plan: &Plan) -> bool {
    let mut steps = plan.steps.iter();
    let _ = steps.find(|one| std::ptr::eq(*one, step));
    steps.any(|later| matches!(later.action, Action::Leave { .. }))
}

/// Checks that a condition names nodes of the plan, or servers that no longer exist.
fn check_names(condition: &Condition, plan: &Plan, cluster: &Cluster<'_>, report: &mut Report) {
    let names: Names = match condition {
        Condition::Voters { servers, .. } => servers.clone(),
        Condition::LeftConsul { node }
        | Condition::Follower { node }
        | Condition::Standby { node }
        | Condition::Active { node }
        | Condition::Stopped { node } => Names::from([node.clone()]),
        Condition::Answering { nodes }
        | Condition::Serving { nodes }
        | Condition::ActiveAmong { nodes }
        | Condition::InFront { nodes }
        | Condition::Down { nodes }
        | Condition::IdentitiesRenewed { nodes }
        | Condition::Deleted { nodes } => nodes.clone(),
        Condition::SnapshotSaved => return,
    };
    report.rule(!names.is_empty(), || "a condition names no node".to_owned());
    let unknown: Names = names
        .into_iter()
        .filter(|name| !plan.nodes.contains_key(name))
        .collect();
    report.rule(unknown.is_empty(), || {
        format!("{} is no node of the plan", list(&unknown))
    });
    if let Condition::Voters { servers, .. } = condition {
        let vault = |name: &&String| cluster.tier(std::slice::from_ref(*name)) != TierName::Consul;
        let other = servers
            .iter()
            .find(|name| plan.nodes.contains_key(*name) && vault(name));
        report.rule(other.is_none(), || {
            format!("{} is no Consul server", other.map_or("", |name| name))
        });
    }
}

/// The conditions that a step must have.
struct Demands<'a> {
    step: &'a Step,
    report: &'a mut Report,
}

impl Demands<'_> {
    fn one(&mut self, conditions: &[Condition], what: &str, test: impl Fn(&Condition) -> bool) {
        let is_there = conditions.iter().any(test);
        let action = &self.step.action;
        self.report.rule(is_there, || {
            format!("`{action}` lacks the condition: {what}")
        });
    }

    /// Demands a condition of at least these nodes.
    fn nodes(
        &mut self,
        conditions: &[Condition],
        what: &str,
        pick: impl Fn(&Condition) -> Option<&Names>,
        wanted: &Names,
    ) {
        self.one(conditions, what, |condition| {
            pick(condition).is_some_and(|nodes| wanted.is_subset(nodes))
        });
    }

    fn serving(&mut self, conditions: &[Condition], wanted: &Names) {
        let pick = |condition: &Condition| match condition {
            Condition::Serving { nodes } => Some(nodes.clone()),
            _ => None,
        };
        self.one(conditions, "that the nodes serve", |condition| {
            pick(condition).is_some_and(|nodes| wanted.is_subset(&nodes))
        });
    }

    fn in_front(&mut self, conditions: &[Condition], wanted: &Names) {
        self.one(conditions, "that clients reach the nodes", |condition| {
            matches!(condition, Condition::InFront { nodes } if wanted.is_subset(nodes))
        });
    }

    /// Demands exactly the servers of `cluster`, and at most these others.
    fn servers(&mut self, conditions: &[Condition], cluster: &Cluster<'_>, others: &Names) {
        self.one(conditions, "the servers that vote", |condition| {
            let Condition::Voters { servers, besides } = condition else {
                return false;
            };
            cluster.are_voters(servers) && besides.is_subset(others)
        });
    }

    /// Demands healthy servers, and that the active node is the one of the inventory.
    fn same_active(&mut self, before: &Cluster<'_>) {
        let step = self.step;
        self.servers(&step.requires, before, &before.lame);
        self.one(&step.requires, "the active node", |condition| {
            matches!(condition, Condition::Active { node } if Some(node) == before.active.as_ref())
        });
    }

    /// Demands that nodes of the target serve and that clients reach them: all of `least`.
    fn others_serve(&mut self, before: &Cluster<'_>, least: &Names) {
        let step = self.step;
        let enough = |nodes: &Names| {
            let mut able = nodes.iter();
            !nodes.is_empty()
                && least.is_subset(nodes)
                && able.all(|name| before.staying.contains(name) && before.serving.contains(name))
        };
        self.one(
            &step.requires,
            "that the nodes serve",
            |condition| matches!(condition, Condition::Serving { nodes } if enough(nodes)),
        );
        self.one(
            &step.requires,
            "that clients reach the nodes",
            |condition| matches!(condition, Condition::InFront { nodes } if enough(nodes)),
        );
    }

    /// Demands that a node is stopped and that one of those that can do it took over.
    fn stopped(&mut self, node: &str, after: &Cluster<'_>) {
        let gate = &self.step.gate;
        self.one(gate, "that the node is stopped", |condition| {
            matches!(condition, Condition::Stopped { node: stopped } if stopped == node)
        });
        self.one(gate, "which nodes may be active", |condition| {
            matches!(condition, Condition::ActiveAmong { nodes } if nodes.is_subset(&after.running))
        });
    }

    /// Demands that all other old nodes are down, those of this plan without a trace in Consul.
    fn others_down(&mut self, node: &str, before: &Cluster<'_>, plan: &Plan) {
        let others = before.retiring_vault(plan).into_iter();
        let others: Names = others.filter(|other| other != node).collect();
        let step = self.step;
        for other in before
            .stopped_here
            .iter()
            .filter(|other| others.contains(*other))
        {
            self.one(
                &step.requires,
                &format!("that {other} is stopped"),
                |condition| matches!(condition, Condition::Stopped { node } if node == other),
            );
        }
        if !others.is_empty() {
            self.one(&step.requires, "that other old nodes are down", |condition| {
                matches!(condition, Condition::Down { nodes } if others.is_subset(nodes))
            });
        }
    }

    /// Demands that the nodes of the target serve, of each tier that loses nodes.
    fn targets_serve(&mut self, conditions: &[Condition], before: &Cluster<'_>, plan: &Plan) {
        self.servers(conditions, before, &before.lame);
        if before.retiring_vault(plan).is_empty() {
            return;
        }
        let staying = before.staying_vault(plan);
        self.serving(conditions, &staying);
        self.one(conditions, "which nodes may be active", |condition| {
            matches!(condition, Condition::ActiveAmong { nodes } if nodes.is_subset(&staying))
        });
    }

    /// Demands that nodes to delete have left or are down.
    fn ended(&mut self, nodes: &[String], plan: &Plan) {
        let requires = &self.step.requires;
        for name in nodes {
            let tier = plan.nodes.get(name).map(|node| node.tier);
            self.one(
                requires,
                &format!("that {name} has ended"),
                |condition| match condition {
                    Condition::LeftConsul { node } => {
                        tier == Some(TierName::Consul) && node == name
                    }
                    Condition::Down { nodes } => {
                        tier == Some(TierName::Vault) && nodes.contains(name)
                    }
                    _ => false,
                },
            );
        }
    }
}
