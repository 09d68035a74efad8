//! What a run calls its resources on Azure: all names are chosen by us, before anything is made, and carry the run's id.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::azure::ResourceId;
use crate::definition::AzureMachine;

/// The tag that carries the id of the run.
pub const ID_TAG: &str = "vault-bake-id";
/// The tag that says until when a resource may be needed, RFC 3339 UTC.
pub const EXPIRES_TAG: &str = "vault-bake-expires";
/// The tag that carries the digest of an image's manifest.
pub const MANIFEST_TAG: &str = "vault-bake-manifest";

/// The names of one machine of a run.
#[derive(Clone, Debug)]
pub struct Names {
    /// The resource group.
    pub group: ResourceId,
    /// Whether the group is the run's own, and goes with all in it.
    pub own_group: bool,
    /// The machine.
    pub machine: ResourceId,
    /// Its disk.
    pub disk: ResourceId,
    /// Its network interface.
    pub interface: ResourceId,
    /// Its public address.
    pub address: ResourceId,
    /// What lets only some in.
    pub firewall: ResourceId,
    /// Its network.
    pub network: ResourceId,
    /// An image that only serves as the source of another.
    pub passing_image: ResourceId,
}

impl Names {
    /// The names of the machine `role` of `run`.
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
            passing_image: compute("images", "image"),
            interface: network("networkInterfaces", "nic"),
            address: network("publicIPAddresses", "ip"),
            firewall: network("networkSecurityGroups", "nsg"),
            network: network("virtualNetworks", "vnet"),
            group,
        }
    }

    /// The machine's subnet, where the network is the run's own.
    pub fn subnet(&self) -> ResourceId {
        self.network.child("subnets", SUBNET)
    }
}

/// The one subnet of a network of ours.
pub const SUBNET: &str = "bake";

/// The tags of everything that `run` makes.
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

/// Whether a resource, as Azure shows it, carries the tag of `run`.
pub fn is_of(resource: &Value, run: &str) -> bool {
    resource["tags"][ID_TAG].as_str() == Some(run)
}
