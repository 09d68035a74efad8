//! The names and tags of a run's resources on Azure. All names contain the run's id.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::azure::ResourceId;
use crate::platform::azure::definition::AzureMachine;
use crate::platform::azure::lock::PLAN_TAGS;
use crate::platform::azure::locked_image::PurchasePlan;

/// The tag with the id of the run.
pub(crate) const ID_TAG: &str = "vault-bake-id";
/// The tag with the time after which `sweep` deletes the resource, RFC 3339 UTC.
pub(crate) const EXPIRES_TAG: &str = "vault-bake-expires";
/// The tag with the digest of an image's manifest.
pub(crate) const MANIFEST_TAG: &str = "vault-bake-manifest";

/// The ids of one VM of a run and of its parts.
#[derive(Clone, Debug)]
pub struct Names {
    /// The resource group.
    pub group: ResourceId,
    /// Whether the run creates the group and deletes it with everything in it.
    pub own_group: bool,
    /// The virtual machine.
    pub machine: ResourceId,
    /// The OS disk.
    pub disk: ResourceId,
    /// The network interface.
    pub interface: ResourceId,
    /// The public address.
    pub address: ResourceId,
    /// The network security group.
    pub firewall: ResourceId,
    /// The virtual network.
    pub network: ResourceId,
    /// A temporary managed image, the source of a gallery version.
    pub temporary_image: ResourceId,
    /// A temporary snapshot of the OS disk, the source of a gallery version.
    pub snapshot: ResourceId,
}

impl Names {
    /// Returns the ids of the VM `role` of `run`.
    pub fn new(subscription: &str, machine: &AzureMachine, run: &str, role: &str) -> Self {
        let temporary = format!("vault-bake-{run}");
        let group = machine.resource_group.as_deref().unwrap_or(&temporary);
        let group = ResourceId::group(subscription, group);
        let name = |what: &str| format!("vb-{role}-{what}-{run}");
        let compute = |kind: &str, what: &str| {
            group.resource(&format!("Microsoft.Compute/{kind}"), &name(what))
        };
        let network = |kind: &str, what: &str| {
            group.resource(&format!("Microsoft.Network/{kind}"), &name(what))
        };
        Self {
            own_group: machine.resource_group.is_none(),
            machine: compute("virtualMachines", "vm"),
            disk: compute("disks", "disk"),
            temporary_image: compute("images", "image"),
            snapshot: compute("snapshots", "snapshot"),
            interface: network("networkInterfaces", "nic"),
            address: network("publicIPAddresses", "ip"),
            firewall: network("networkSecurityGroups", "nsg"),
            network: network("virtualNetworks", "vnet"),
            group,
        }
    }

    /// Returns the id of the subnet in the run's own network.
    pub fn subnet(&self) -> ResourceId {
        self.network.child("subnets", SUBNET)
    }
}

/// The name of the subnet in the run's own network.
pub const SUBNET: &str = "bake";

/// Returns the tags of all resources of `run`.
pub fn tags(user: &BTreeMap<String, String>, run: &str, expires: Option<&str>) -> Value {
    let mut tags: BTreeMap<&str, &str> = user
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    tags.insert(ID_TAG, run);
    tags.insert("vault-bake-version", env!("CARGO_PKG_VERSION"));
    if let Some(expires) = expires {
        tags.insert(EXPIRES_TAG, expires);
    }
    json!(tags)
}

/// Returns the tags of an image of `run`: also its purchase plan, which a managed image has nowhere
/// else.
pub(crate) fn image_tags(
    user: &BTreeMap<String, String>,
    run: &str,
    expires: Option<&str>,
    plan: Option<&PurchasePlan>,
) -> Value {
    let mut tags = tags(user, run, expires);
    let Some(plan) = plan else { return tags };
    let values = [&plan.name, &plan.product, &plan.publisher];
    for (name, value) in PLAN_TAGS.into_iter().zip(values) {
        let is_set = user.keys().any(|tag| tag.eq_ignore_ascii_case(name));
        if !is_set {
            tags[name] = json!(value);
        }
    }
    tags
}

/// Returns whether a resource carries the tag of `run`.
pub(crate) fn has_run_tag(resource: &Value, run: &str) -> bool {
    resource["tags"][ID_TAG].as_str() == Some(run)
}
