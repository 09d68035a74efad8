//! Completes the target images of a rollout.
//! A tier that `--to` does not name keeps the image that its nodes run.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::Target;
use crate::cluster::NodeImage;
use crate::cluster::file::TierName;
use crate::cluster::state::NodeState;

/// Images that are no targets of one rollout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetsError {
    /// Two images for one tier.
    #[error("cannot roll out two images to the nodes of {tier}: {} and {}", images[0], images[1])]
    Two {
        /// The tier.
        tier: TierName,
        /// The images, as `NAME@VERSION`.
        images: [String; 2],
    },
    /// A tier that is not named, whose nodes run several images.
    #[error("cannot keep the image of {tier}: its nodes run {}", images.join(" and "))]
    Mixed {
        /// The tier.
        tier: TierName,
        /// The images, as `NAME@VERSION`.
        images: Vec<String>,
    },
}

impl TargetsError {
    /// Returns what to do about it, as an imperative.
    pub fn hint(&self) -> String {
        match self {
            Self::Two { .. } => "Name one image for each tier with --to.".to_owned(),
            Self::Mixed { images, .. } => {
                let image = images.last().map_or("NAME@VERSION", String::as_str);
                format!("Name its image, too, as in `--to {image}`.")
            }
        }
    }
}

/// Adds an image for its tier: that of Vault if the image has Vault, otherwise that of Consul.
pub fn add(
    chosen: &mut BTreeMap<TierName, NodeImage>,
    image: NodeImage,
) -> Result<(), TargetsError> {
    let tier = match image.releases.contains_key("vault") {
        true => TierName::Vault,
        false => TierName::Consul,
    };
    let name = |image: &NodeImage| format!("{}@{}", image.image, image.version);
    let second = name(&image);
    match chosen.insert(tier, image) {
        None => Ok(()),
        Some(first) => Err(TargetsError::Two {
            tier,
            images: [name(&first), second],
        }),
    }
}

/// Completes targets by the images of nodes, for the tiers without one.
pub fn complete(
    mut targets: BTreeMap<TierName, Target>,
    nodes: &BTreeMap<String, NodeState>,
) -> Result<BTreeMap<TierName, Target>, TargetsError> {
    for tier in [TierName::Consul, TierName::Vault] {
        let present = nodes.values().filter(|node| node.tier == tier);
        let present: Vec<Target> = present.map(of_node).collect();
        let manifests: BTreeSet<_> = present.iter().map(|one| one.manifest).collect();
        if targets.contains_key(&tier) {
            continue;
        }
        if manifests.len() > 1 {
            let images: BTreeSet<String> = present.iter().map(Target::name).collect();
            let images = images.into_iter().collect();
            return Err(TargetsError::Mixed { tier, images });
        }
        targets.extend(present.into_iter().next().map(|target| (tier, target)));
    }
    Ok(targets)
}

fn of_node(node: &NodeState) -> Target {
    Target {
        reference: node.reference.clone(),
        image: node.image.clone(),
        version: node.version,
        manifest: node.manifest,
        artifact: node.artifact,
        firmware: node.firmware,
        releases: node.releases.clone(),
    }
}
