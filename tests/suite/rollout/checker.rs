//! The checker of plans: it accepts every plan of random clusters, and finds every mutation.

use proptest::prelude::*;
use vault_bake::cluster::Role;
use vault_bake::cluster::file::TierName;
use vault_bake::rollout::planner::{Inventory, InventoryNode, Request, plan, plan_abort};
use vault_bake::rollout::{Action, Condition, Plan, check};

use super::clusters::{BOTH, NEW, OLD, Shape, Tiers, inventory, request};

const THREE: Shape = Shape {
    consul: 3,
    vault: 3,
    leader: 1,
    active: 2,
};

pub fn violations(plan: &Plan, inventory: &Inventory) -> Vec<String> {
    check(plan, inventory)
        .iter()
        .map(ToString::to_string)
        .collect()
}

pub fn shapes() -> impl Strategy<Value = Shape> {
    let servers = prop::sample::select(vec![1_u32, 3, 5]);
    (servers, 1_u32..=5).prop_flat_map(|(consul, vault)| {
        (1..=consul, 1..=vault).prop_map(move |(leader, active)| Shape {
            consul,
            vault,
            leader,
            active,
        })
    })
}

#[derive(Clone, Copy, Debug)]
struct Random {
    shape: Shape,
    tiers: Tiers,
    surge: Option<u32>,
    same_version: bool,
    /// The steps that the cluster has behind it.
    done: usize,
    disturbance: Disturbance,
}

/// Nodes that crashed, that run without a vote or sealed, and that were deleted by hand, as numbers
/// to choose by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disturbance {
    crashed: Option<usize>,
    lame: Option<usize>,
    deleted: Option<usize>,
    takes_over: usize,
}

pub fn disturbances() -> impl Strategy<Value = Disturbance> {
    let choice = || prop::option::weighted(0.3, 0_usize..20);
    (choice(), choice(), choice(), 0_usize..20).prop_map(|(crashed, lame, deleted, takes_over)| {
        Disturbance {
            crashed,
            lame,
            deleted,
            takes_over,
        }
    })
}

fn randoms() -> impl Strategy<Value = Random> {
    (
        (shapes(), any::<bool>(), any::<bool>()),
        (prop::option::of(1_u32..4), any::<bool>(), 0_usize..40),
        disturbances(),
    )
        .prop_map(
            |((shape, consul, vault), (surge, same_version, done), disturbance)| Random {
                shape,
                tiers: Tiers { consul, vault },
                surge,
                same_version,
                done,
                disturbance,
            },
        )
}

fn requested(random: &Random) -> Request<'static> {
    let versions = if random.same_version { OLD } else { NEW };
    let mut request = request(random.shape, random.tiers, versions);
    request.choices.max_surge = random.surge;
    request
}

/// Changes an inventory as the first steps of a plan would.
pub fn advance(now: &mut Inventory, plan: &Plan, done: usize) {
    for step in plan.steps.iter().take(done) {
        for name in step.action.nodes() {
            let known = plan.nodes[name].clone();
            let role = match (&step.action, known.tier) {
                (Action::Start { .. }, TierName::Consul) => Role::Voter,
                (Action::Start { .. } | Action::Restart { .. }, TierName::Vault) => Role::Sealed,
                (Action::Unseal { .. }, _) => Role::Standby,
                (Action::Admit { .. }, _) => {
                    now.nodes.get_mut(name).unwrap().is_in_front = true;
                    continue;
                }
                (Action::Leave { .. } | Action::Stop { .. } | Action::HandOver { .. }, _) => {
                    Role::Stopped
                }
                (Action::Delete { .. }, _) => {
                    now.nodes.remove(name);
                    continue;
                }
                _ => continue,
            };
            let node = now.nodes.entry(name.to_owned()).or_insert(InventoryNode {
                tier: known.tier,
                generation: known.generation,
                number: known.number,
                address: known.address,
                image: known.image,
                version: known.version,
                manifest: known.manifest,
                releases: known.releases,
                is_running: true,
                role,
                is_in_front: known.tier == TierName::Consul,
            });
            node.role = role;
            node.is_running = role != Role::Stopped;
            node.is_in_front &= node.is_running;
        }
    }
}

/// Crashes and deletes nodes, then lets others lead and become active.
pub fn disturb(now: &mut Inventory, random: &Disturbance) {
    let pick = |now: &Inventory, at: usize| {
        let names: Vec<String> = now.nodes.keys().cloned().collect();
        names[at % names.len()].clone()
    };
    if let Some(at) = random.crashed {
        let name = pick(now, at);
        let node = now.nodes.get_mut(&name).unwrap();
        node.is_running = false;
        node.role = Role::Stopped;
    }
    if let Some(at) = random.lame {
        let name = pick(now, at);
        let node = now.nodes.get_mut(&name).unwrap();
        if node.is_running {
            node.role = match node.tier {
                TierName::Consul => Role::NonVoter,
                TierName::Vault => Role::Sealed,
            };
        }
    }
    if let Some(at) = random.deleted {
        let name = pick(now, at);
        now.nodes.remove(&name);
    }
    for (tier, head, other) in [
        (TierName::Consul, Role::Leader, Role::Voter),
        (TierName::Vault, Role::Active, Role::Standby),
    ] {
        let nodes = now.nodes.values_mut().filter(|node| node.tier == tier);
        let mut able: Vec<_> = nodes
            .filter(|node| node.role == other || node.role == head)
            .collect();
        if able.iter().all(|node| node.role != head) && !able.is_empty() {
            let at = random.takes_over % able.len();
            able[at].role = head;
        }
    }
}

pub fn has_heads(now: &Inventory) -> bool {
    let has = |role| now.nodes.values().any(|node| node.role == role);
    has(Role::Leader) && has(Role::Active)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_of_a_healthy_cluster_is_proved(random in randoms()) {
        let now = inventory(random.shape);
        let plan = plan(&now, &requested(&random)).unwrap();
        let none: Vec<String> = Vec::new();
        prop_assert_eq!(violations(&plan, &now), none);
        prop_assert_eq!(Plan::parse(&plan.to_bytes()).unwrap(), plan);
    }

    /// A plan that follows after any number of steps and after crashes is proved too, and so is
    /// the way back.
    #[test]
    fn every_plan_that_follows_is_proved(random in randoms()) {
        let mut now = inventory(random.shape);
        let mut request = requested(&random);
        let first = plan(&now, &request).unwrap();
        advance(&mut now, &first, random.done);
        disturb(&mut now, &random.disturbance);
        prop_assume!(has_heads(&now));
        request.follows = Some(&first);
        let next = plan(&now, &request).unwrap();
        let none: Vec<String> = Vec::new();
        prop_assert_eq!(violations(&next, &now), none.clone(), "{:#?}", next.steps);
        prop_assert_eq!(next.generation, first.generation);
        for (name, node) in first.nodes.iter().filter(|(_, node)| node.is_new) {
            prop_assert_eq!(&next.nodes[name], node);
        }
        if let Ok(back) = plan_abort(&now, &first) {
            prop_assert_eq!(violations(&back, &now), none, "{:#?}", back.steps);
        }
    }
}

/// Each condition of each step is demanded: a plan without it is refused.
#[test]
fn a_plan_that_lacks_any_condition_is_refused() {
    let mut cases = 0;
    for surge in [None, Some(1), Some(2)] {
        let now = inventory(THREE);
        let mut request = request(THREE, BOTH, NEW);
        request.choices.max_surge = surge;
        let plan = plan(&now, &request).unwrap();
        for index in 0..plan.steps.len() {
            let step = &plan.steps[index];
            for at in 0..step.requires.len() {
                let mut plan = plan.clone();
                let dropped = plan.steps[index].requires.remove(at);
                cases += 1;
                assert!(!check(&plan, &now).is_empty(), "{index}: {dropped:?}");
            }
            for at in 0..step.gate.len() {
                let mut plan = plan.clone();
                let dropped = plan.steps[index].gate.remove(at);
                cases += 1;
                assert!(!check(&plan, &now).is_empty(), "{index}: {dropped:?}");
            }
            if step.undo.is_some() {
                let mut plan = plan.clone();
                plan.steps[index].undo_requires.clear();
                cases += 1;
                assert!(!check(&plan, &now).is_empty(), "{index}: undo");
            }
        }
    }
    println!("{cases} plans without one condition");
}

/// No step can be left out, and no two neighbours can change places, with a few exceptions.
#[test]
fn a_plan_without_a_step_or_in_another_order_is_refused() {
    let now = inventory(THREE);
    let plan = plan(&now, &request(THREE, BOTH, NEW)).unwrap();
    let name = |index: usize| plan.steps[index].action.to_string();
    let mut accepted = Vec::new();
    for index in 0..plan.steps.len() {
        let mut shorter = plan.clone();
        shorter.steps.remove(index);
        if check(&shorter, &now).is_empty() {
            accepted.push(format!("without: {}", name(index)));
        }
        if index > 0 {
            let mut swapped = plan.clone();
            swapped.steps.swap(index - 1, index);
            if check(&swapped, &now).is_empty() {
                accepted.push(format!("{} before {}", name(index), name(index - 1)));
            }
        }
    }
    // To wait for clients is a choice of the user.
    assert_eq!(accepted, ["without: watch the new nodes for 10 s"]);
}

type Mutation = fn(&mut Plan);

fn step<'a>(plan: &'a mut Plan, part: &str) -> &'a mut vault_bake::rollout::Step {
    let mut steps = plan.steps.iter_mut();
    steps
        .find(|step| step.action.to_string().contains(part))
        .unwrap()
}

#[test]
fn every_wrong_plan_is_refused_with_its_reason() {
    let table: &[(&str, Mutation)] = &[
        (
            "dev-consul-1-1 leads and leaves before other servers",
            |plan| {
                let first = plan
                    .steps
                    .iter()
                    .position(|step| step.action.to_string().starts_with("retire"));
                let first = first.unwrap();
                plan.steps[first].action = Action::Leave {
                    node: "dev-consul-1-1".to_owned(),
                    successor: "dev-consul-2-1".to_owned(),
                };
            },
        ),
        ("dev-vault-1-2 is active: it needs a hand-over", |plan| {
            step(plan, "stop dev-vault-1-1").action = Action::Stop {
                nodes: vec!["dev-vault-1-2".to_owned()],
            };
        }),
        ("could become active instead of a new node", |plan| {
            step(plan, "stop dev-vault-1-1").action = Action::Stop {
                nodes: vec!["dev-vault-1-1".to_owned()],
            };
        }),
        ("has the address 10.77.0.11 of dev-consul-1-1", |plan| {
            plan.nodes.get_mut("dev-vault-2-1").unwrap().address = "10.77.0.11".parse().unwrap();
        }),
        ("dev-vault-2-1 should have the name dev-vault-2-2", |plan| {
            plan.nodes.get_mut("dev-vault-2-1").unwrap().number = 2;
        }),
        (
            "new node dev-vault-2-1 is not of the target image",
            |plan| {
                let node = plan.nodes.get_mut("dev-vault-2-1").unwrap();
                node.releases
                    .insert("vault".to_owned(), "1.16.0".to_owned());
            },
        ),
        (
            "the vault nodes would have the versions 1.13.0, 1.14.9, 1.15.0",
            |plan| {
                let node = plan.nodes.get_mut("dev-vault-1-1").unwrap();
                node.releases
                    .insert("vault".to_owned(), "1.13.0".to_owned());
            },
        ),
        ("new node dev-consul-2-1 is not of generation 3", |plan| {
            plan.generation = 3;
        }),
        (
            "the plan describes dev-vault-1-1 in another way than it is",
            |plan| {
                let node = plan.nodes.get_mut("dev-vault-1-1").unwrap();
                node.address = "10.77.0.99".parse().unwrap();
            },
        ),
        ("dev-vault-9-9 is no node of the plan", |plan| {
            step(plan, "stop dev-vault-1-1").action = Action::Stop {
                nodes: vec!["dev-vault-9-9".to_owned()],
            };
        }),
        ("dev-consul-1-2 would be deleted while it runs", |plan| {
            let delete = plan.steps.pop().unwrap();
            plan.steps.insert(2, delete);
        }),
        (
            "dev-vault-2-1 has the target image and would be deleted",
            |plan| {
                if let Action::Delete { nodes } = &mut plan.steps.last_mut().unwrap().action {
                    nodes.push("dev-vault-2-1".to_owned());
                }
            },
        ),
        ("dev-consul-1-3 cannot lead after dev-consul-1-2", |plan| {
            step(plan, "retire the server dev-consul-1-2").action = Action::Leave {
                node: "dev-consul-1-2".to_owned(),
                successor: "dev-consul-1-3".to_owned(),
            };
        }),
        ("only an abort starts nodes again", |plan| {
            step(plan, "start dev-vault").action = Action::Restart {
                nodes: vec!["dev-vault-1-1".to_owned()],
            };
        }),
        (
            "the undo deletes other nodes than those of its step",
            |plan| {
                step(plan, "start dev-vault").undo = Some(Action::Delete {
                    nodes: vec!["dev-vault-1-1".to_owned()],
                });
            },
        ),
        ("the gate has no limit", |plan| plan.steps[1].gate_s = 0),
        ("lacks the condition: the servers that vote", |plan| {
            let gate = &mut step(plan, "start dev-consul").gate;
            let Condition::Voters { servers, .. } = &mut gate[0] else {
                panic!("no voters");
            };
            servers.remove("dev-consul-2-3");
        }),
        ("lacks the condition: the servers that vote", |plan| {
            let gate = &mut step(plan, "start dev-consul").gate;
            let Condition::Voters { besides, .. } = &mut gate[0] else {
                panic!("no voters");
            };
            besides.insert("dev-consul-2-3".to_owned());
        }),
        ("a node is named twice", |plan| {
            if let Action::Start { nodes } = &mut step(plan, "start dev-vault").action {
                nodes.push("dev-vault-2-1".to_owned());
            }
        }),
        ("the plan is one of cluster other", |plan| {
            plan.cluster = "other".to_owned();
        }),
        ("is not https://vault-bake.dev/rollout-plan/v1", |plan| {
            plan.schema = "v2".to_owned();
        }),
        ("the tier of dev-vault-2-1 has no target", |plan| {
            plan.targets.remove(&TierName::Vault);
        }),
    ];
    let now = inventory(THREE);
    let plan = plan(&now, &request(THREE, BOTH, NEW)).unwrap();
    for (expected, mutate) in table {
        let mut wrong = plan.clone();
        mutate(&mut wrong);
        let found = violations(&wrong, &now).join("\n");
        assert!(
            found.contains(expected),
            "expected: {expected}\nfound:\n{found}"
        );
    }
    println!("{} wrong plans", table.len());
}
