//! Plans of rollouts: the order of steps, follow-up plans, and plans of the way back.

use vault_bake::cluster::Role;
use vault_bake::cluster::file::TierName;
use vault_bake::rollout::Choices;
use vault_bake::rollout::planner::{PlanError, plan, plan_abort};

use super::clusters::{BOTH, NEW, OLD, Shape, Tiers, inventory, print_steps, request};

const THREE: Shape = Shape {
    consul: 3,
    vault: 3,
    leader: 1,
    active: 2,
};

#[test]
fn servers_come_first_the_leader_and_the_active_node_go_last() {
    let plan = plan(&inventory(THREE), &request(THREE, BOTH, NEW)).unwrap();
    insta::assert_snapshot!(print_steps(&plan), @r"
        save a snapshot of Consul
        start dev-consul-2-1, dev-consul-2-2, dev-consul-2-3
        write new Consul addresses to dev-vault-1-1, dev-vault-1-2, dev-vault-1-3
        retire the server dev-consul-1-2
        retire the server dev-consul-1-3
        retire the server dev-consul-1-1
        start dev-vault-2-1, dev-vault-2-2, dev-vault-2-3
        unseal dev-vault-2-1, dev-vault-2-2, dev-vault-2-3
        send clients to dev-vault-2-1, dev-vault-2-2, dev-vault-2-3
        drain and stop dev-vault-1-1, dev-vault-1-3
        hand over from dev-vault-1-2
        watch the new nodes for 10 s
        delete dev-consul-1-1, dev-consul-1-2, dev-consul-1-3, dev-vault-1-1, dev-vault-1-2, dev-vault-1-3
        ");
    let json = String::from_utf8(plan.to_bytes()).unwrap();
    assert_eq!(
        vault_bake::rollout::Plan::parse(json.as_bytes()).unwrap(),
        plan
    );
}

#[test]
fn few_new_nodes_side_by_side_alternate_with_old_ones() {
    let mut request = request(THREE, BOTH, NEW);
    request.choices.max_surge = Some(1);
    let plan = plan(&inventory(THREE), &request).unwrap();
    insta::assert_snapshot!(print_steps(&plan), @r"
        save a snapshot of Consul
        start dev-consul-2-1
        retire the server dev-consul-1-2
        start dev-consul-2-2
        retire the server dev-consul-1-3
        start dev-consul-2-3
        write new Consul addresses to dev-vault-1-1, dev-vault-1-2, dev-vault-1-3
        retire the server dev-consul-1-1
        start dev-vault-2-1
        unseal dev-vault-2-1
        send clients to dev-vault-2-1
        drain and stop dev-vault-1-1
        start dev-vault-2-2
        unseal dev-vault-2-2
        send clients to dev-vault-2-2
        drain and stop dev-vault-1-3
        start dev-vault-2-3
        unseal dev-vault-2-3
        send clients to dev-vault-2-3
        hand over from dev-vault-1-2
        watch the new nodes for 10 s
        delete dev-consul-1-1, dev-consul-1-2, dev-consul-1-3, dev-vault-1-1, dev-vault-1-2, dev-vault-1-3
        ");
}

#[test]
fn a_cluster_of_two_nodes_is_replaced_too() {
    let shape = Shape {
        consul: 1,
        vault: 1,
        leader: 1,
        active: 1,
    };
    let plan = plan(&inventory(shape), &request(shape, BOTH, NEW)).unwrap();
    insta::assert_snapshot!(print_steps(&plan), @r"
        save a snapshot of Consul
        start dev-consul-2-1
        write new Consul addresses to dev-vault-1-1
        retire the server dev-consul-1-1
        start dev-vault-2-1
        unseal dev-vault-2-1
        send clients to dev-vault-2-1
        hand over from dev-vault-1-1
        watch the new nodes for 10 s
        delete dev-consul-1-1, dev-vault-1-1
        ");
}

#[test]
fn a_tier_that_has_its_image_gets_no_step() {
    let all = inventory(THREE);
    let none = Tiers {
        consul: false,
        vault: false,
    };
    assert_eq!(plan(&all, &request(THREE, none, NEW)).unwrap().steps, []);
    let vault = Tiers {
        consul: false,
        vault: true,
    };
    let vault = plan(&all, &request(THREE, vault, NEW)).unwrap();
    let text = print_steps(&vault);
    assert!(
        !text.contains("consul") && text.contains("hand over from dev-vault-1-2"),
        "{text}"
    );
    let consul = Tiers {
        consul: true,
        vault: false,
    };
    let text = print_steps(&plan(&all, &request(THREE, consul, NEW)).unwrap());
    insta::assert_snapshot!(text, @r"
        save a snapshot of Consul
        start dev-consul-2-1, dev-consul-2-2, dev-consul-2-3
        write new Consul addresses to dev-vault-1-1, dev-vault-1-2, dev-vault-1-3
        retire the server dev-consul-1-2
        retire the server dev-consul-1-3
        retire the server dev-consul-1-1
        watch the new nodes for 10 s
        delete dev-consul-1-1, dev-consul-1-2, dev-consul-1-3
        ");
}

/// `resume` names no choice again: number of nodes, batches, soak and reason are those of the plan.
#[test]
fn a_plan_that_follows_keeps_the_choices_of_the_first() {
    let mut request = request(THREE, BOTH, NEW);
    request.choices.max_surge = Some(1);
    request.choices.soak_s = 7;
    request.choices.version_jump_reason = Some("read the notes".to_owned());
    let now = inventory(THREE);
    let first = plan(&now, &request).unwrap();
    let mut other = request.clone();
    other.choices = Choices::default();
    other.follows = Some(&first);
    let next = plan(&now, &other).unwrap();
    assert_eq!(next.choices, first.choices);
    assert_eq!(print_steps(&next), print_steps(&first));
    assert_eq!(
        plan_abort(&now, &first).unwrap().choices,
        first.choices,
        "the way back"
    );
    // Nodes of the target image stay replaced, too.
    let none = Tiers {
        consul: false,
        vault: false,
    };
    let mut all = super::clusters::request(THREE, none, NEW);
    all.choices.all_nodes = [TierName::Vault].into();
    let first = plan(&now, &all).unwrap();
    let text = print_steps(&first);
    assert!(
        text.contains("hand over") && !text.contains("consul"),
        "{text}"
    );
    other.follows = Some(&first);
    assert_eq!(print_steps(&plan(&now, &other).unwrap()), text);
}

/// The new node that took over keeps its place, and the old ones go before anything else starts.
#[test]
fn a_new_node_that_took_over_ends_all_old_ones_at_once() {
    let request = request(THREE, BOTH, NEW);
    let mut now = inventory(THREE);
    let first = plan(&now, &request).unwrap();
    for (name, node) in first.nodes.iter().filter(|(_, node)| node.is_new) {
        let mut copy = now.nodes["dev-consul-1-1"].clone();
        copy.tier = node.tier;
        copy.generation = node.generation;
        copy.number = node.number;
        copy.address = node.address;
        copy.manifest = node.manifest;
        copy.version = node.version;
        copy.releases = node.releases.clone();
        copy.role = match (node.tier, node.number) {
            (TierName::Consul, 1) => Role::Leader,
            (TierName::Consul, _) => Role::Voter,
            (TierName::Vault, 1) => Role::Active,
            (TierName::Vault, 2) => Role::Standby,
            (TierName::Vault, _) => Role::Sealed,
        };
        copy.is_in_front = false;
        now.nodes.insert(name.clone(), copy);
    }
    now.nodes
        .retain(|name, _| !name.starts_with("dev-consul-1"));
    let crashed = now.nodes.get_mut("dev-vault-1-2").unwrap();
    crashed.is_running = false;
    crashed.role = Role::Stopped;
    let mut request = request;
    request.follows = Some(&first);
    let next = plan(&now, &request).unwrap();
    assert_eq!(next.parent, Some(first.digest()));
    assert_eq!(next.generation, first.generation);
    insta::assert_snapshot!(print_steps(&next), @r"
        send clients to dev-vault-2-1
        drain and stop dev-vault-1-1, dev-vault-1-3
        send clients to dev-vault-2-2
        unseal dev-vault-2-3
        send clients to dev-vault-2-3
        watch the new nodes for 10 s
        delete dev-vault-1-1, dev-vault-1-2, dev-vault-1-3
        ");
    assert_eq!(
        plan_abort(&now, &next),
        Err(PlanError::HandedOver {
            active: "dev-vault-2-1".to_owned(),
            new: NEW.vault.to_owned(),
            old: OLD.vault.to_owned(),
        })
    );
    now.nodes.get_mut("dev-vault-2-1").unwrap().role = Role::Failed;
    assert_eq!(plan(&now, &request), Err(PlanError::NoActiveNode));
}

#[test]
fn an_abort_starts_old_nodes_again_before_new_ones_go() {
    let mut now = inventory(THREE);
    let first = plan(&now, &request(THREE, BOTH, NEW)).unwrap();
    for (name, node) in first.nodes.iter().filter(|(_, node)| node.is_new) {
        let sample = match node.tier {
            TierName::Consul => "dev-consul-1-2",
            TierName::Vault => "dev-vault-1-1",
        };
        let mut copy = now.nodes[sample].clone();
        copy.releases = node.releases.clone();
        copy.address = node.address;
        now.nodes.insert(name.clone(), copy);
    }
    let stopped = now.nodes.get_mut("dev-vault-1-1").unwrap();
    stopped.is_running = false;
    stopped.role = Role::Stopped;
    let abort = plan_abort(&now, &first).unwrap();
    insta::assert_snapshot!(print_steps(&abort), @r"
        start dev-vault-1-1 again
        unseal dev-vault-1-1
        send clients to dev-vault-1-1
        drain and stop dev-vault-2-1, dev-vault-2-2, dev-vault-2-3
        write new Consul addresses to dev-vault-1-1, dev-vault-1-2, dev-vault-1-3
        retire the server dev-consul-2-1
        retire the server dev-consul-2-2
        retire the server dev-consul-2-3
        delete dev-consul-2-1, dev-consul-2-2, dev-consul-2-3, dev-vault-2-1, dev-vault-2-2, dev-vault-2-3
        ");
    // Once an old server has left, its data is gone, so the new ones stay.
    let left = now.nodes.get_mut("dev-consul-1-2").unwrap();
    left.is_running = false;
    left.role = Role::Stopped;
    let abort = plan_abort(&now, &first).unwrap();
    insta::assert_snapshot!(print_steps(&abort), @r"
        start dev-vault-1-1 again
        unseal dev-vault-1-1
        send clients to dev-vault-1-1
        drain and stop dev-vault-2-1, dev-vault-2-2, dev-vault-2-3
        write new Consul addresses to dev-vault-1-1, dev-vault-1-2, dev-vault-1-3
        retire the server dev-consul-1-3
        retire the server dev-consul-1-1
        delete dev-consul-1-1, dev-consul-1-2, dev-consul-1-3, dev-vault-2-1, dev-vault-2-2, dev-vault-2-3
        ");
    insta::assert_snapshot!(abort.notes.join("\n"), @"Old Consul servers have left, so the new ones stay: dev-consul-2-1, dev-consul-2-2, dev-consul-2-3.");
}
