//! Inventories and requests of small clusters.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use vault_bake::cluster::Role;
use vault_bake::cluster::file::TierName;
use vault_bake::definition::Firmware;
use vault_bake::digest::Digest;
use vault_bake::rollout::planner::{Inventory, InventoryNode, Request};
use vault_bake::rollout::{Choices, Plan, Target};

/// A healthy cluster of generation 1.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub consul: u32,
    pub vault: u32,
    /// The number of the server that leads, from 1.
    pub leader: u32,
    /// The number of the active node, from 1.
    pub active: u32,
}

/// The versions of products.
#[derive(Clone, Copy, Debug)]
pub struct Versions {
    pub consul: &'static str,
    pub vault: &'static str,
}

pub const OLD: Versions = Versions {
    consul: "1.8.7",
    vault: "1.14.9",
};

pub const NEW: Versions = Versions {
    consul: "1.10.12",
    vault: "1.15.0",
};

pub fn digest(text: &str) -> Digest {
    Digest::hash_bytes(text)
}

pub fn releases(tier: TierName, versions: Versions) -> BTreeMap<String, String> {
    let mut releases = BTreeMap::from([("consul".to_owned(), versions.consul.to_owned())]);
    if tier == TierName::Vault {
        releases.insert("vault".to_owned(), versions.vault.to_owned());
    }
    releases
}

pub fn target(tier: TierName, version: &str, versions: Versions) -> Target {
    Target {
        reference: format!("{tier}-server:stable"),
        image: format!("{tier}-server"),
        version: version.parse().expect("a version"),
        manifest: digest(&format!("{tier} {version}")),
        artifact: digest(&format!("disk of {tier} {version}")),
        firmware: Firmware::Bios,
        releases: releases(tier, versions),
    }
}

pub fn address(tier: TierName, number: u32) -> Ipv4Addr {
    let first = match tier {
        TierName::Consul => 10,
        TierName::Vault => 30,
    };
    Ipv4Addr::new(
        10,
        77,
        0,
        u8::try_from(first + number).expect("a few nodes"),
    )
}

pub fn node_name(tier: TierName, generation: u32, number: u32) -> String {
    format!("dev-{tier}-{generation}-{number}")
}

pub fn inventory(shape: Shape) -> Inventory {
    let mut nodes = BTreeMap::new();
    for (tier, count) in [
        (TierName::Consul, shape.consul),
        (TierName::Vault, shape.vault),
    ] {
        for number in 1..=count {
            let role = match tier {
                TierName::Consul if number == shape.leader => Role::Leader,
                TierName::Consul => Role::Voter,
                TierName::Vault if number == shape.active => Role::Active,
                TierName::Vault => Role::Standby,
            };
            let target = target(tier, "1.0.0", OLD);
            let node = InventoryNode {
                tier,
                generation: 1,
                number,
                address: address(tier, number),
                image: target.image,
                version: target.version,
                manifest: target.manifest,
                releases: target.releases,
                is_running: true,
                role,
                is_in_front: true,
            };
            nodes.insert(node_name(tier, 1, number), node);
        }
    }
    Inventory {
        cluster: "dev-1f2e3d4c".to_owned(),
        name: "dev".to_owned(),
        at: "2026-11-29T10:00:00Z".parse().expect("a time"),
        generation: 1,
        nodes,
    }
}

/// Which tiers get a new image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiers {
    pub consul: bool,
    pub vault: bool,
}

pub const BOTH: Tiers = Tiers {
    consul: true,
    vault: true,
};

pub fn request(shape: Shape, tiers: Tiers, versions: Versions) -> Request<'static> {
    let chosen = |tier, is_new| {
        let version = if is_new { "2.0.0" } else { "1.0.0" };
        let versions = if is_new { versions } else { OLD };
        (tier, target(tier, version, versions))
    };
    let targets = BTreeMap::from([
        chosen(TierName::Consul, tiers.consul),
        chosen(TierName::Vault, tiers.vault),
    ]);
    let counts = BTreeMap::from([
        (TierName::Consul, shape.consul),
        (TierName::Vault, shape.vault),
    ]);
    let all = |tier, count: u32| (tier, (1..=2 * count).map(|n| address(tier, n)).collect());
    Request {
        targets,
        choices: Choices {
            counts,
            soak_s: 10,
            ..Choices::default()
        },
        addresses: BTreeMap::from([
            all(TierName::Consul, shape.consul),
            all(TierName::Vault, shape.vault),
        ]),
        patience: 1,
        follows: None,
    }
}

/// Returns the steps of a plan, one a line, with their conditions.
pub fn print_steps(plan: &Plan) -> String {
    let mut text = String::new();
    for step in &plan.steps {
        text += &step.action.to_string();
        text += "\n";
    }
    text
}
