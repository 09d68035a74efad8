//! What Azure is asked for: the bodies of requests, and the versions of the interfaces that they are of.
//!
//! In: names, a machine, a base. Out: JSON. Deliberately sends nothing. Versions are the oldest that have what is needed, so
//! that clouds which follow later know them; names and limits are those of <https://learn.microsoft.com/azure/templates/>.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::names::{Names, SUBNET};
use crate::azure::ResourceId;
use crate::builder::access;
use crate::definition::{AzureMachine, GalleryOutput, Security};
use crate::lock::{ImageReference, PurchasePlan, VmGeneration};
use crate::ssh::Keys;

/// Virtual machines, images. The first version that knows the security type `Standard`, in requests and in answers.
pub const COMPUTE: &str = "2025-11-01";
/// Disks.
pub const DISKS: &str = "2025-01-02";
/// Galleries.
pub const GALLERY: &str = "2024-03-03";
/// Networks. Older than the version from which on subnets have no way out unless one is asked for.
pub const NETWORK: &str = "2025-05-01";
/// Resource groups and tags.
pub const RESOURCES: &str = "2025-04-01";
/// What policies would say: the first version that tells their effects, <https://learn.microsoft.com/rest/api/policyinsights>.
pub const POLICIES: &str = "2023-03-01";
/// Sizes of machines.
pub const SKUS: &str = "2021-07-01";

/// A resource group.
pub fn group(machine: &AzureMachine, tags: &Value) -> Value {
    json!({ "location": machine.location, "tags": tags })
}

/// Lets the ones in that are allowed, to the SSH port alone.
pub fn firewall(machine: &AzureMachine, tags: &Value) -> Value {
    let rule = |(index, from): (usize, &String)| {
        json!({
            "name": format!("ssh-{index}"),
            "properties": {
                "priority": 100 + index,
                "direction": "Inbound",
                "access": "Allow",
                "protocol": "Tcp",
                "sourceAddressPrefix": from,
                "sourcePortRange": "*",
                "destinationAddressPrefix": "*",
                "destinationPortRange": machine.ssh_port.to_string(),
            },
        })
    };
    let rules: Vec<Value> = machine.allow_from.iter().enumerate().map(rule).collect();
    json!({
        "location": machine.location,
        "tags": tags,
        "properties": { "securityRules": rules },
    })
}

/// A network with one subnet, whose way out is stated: a public address has its own, and there is no other.
pub fn network(machine: &AzureMachine, tags: &Value) -> Value {
    json!({
        "location": machine.location,
        "tags": tags,
        "properties": {
            "addressSpace": { "addressPrefixes": ["10.66.0.0/24"] },
            "subnets": [{
                "name": SUBNET,
                "properties": { "addressPrefix": "10.66.0.0/28", "defaultOutboundAccess": false },
            }],
        },
    })
}

/// A public address. Only Standard ones are left: <https://learn.microsoft.com/azure/virtual-network/ip-services/public-ip-basic-upgrade-guidance>.
pub fn address(machine: &AzureMachine, tags: &Value) -> Value {
    let mut body = json!({
        "location": machine.location,
        "tags": tags,
        "sku": { "name": "Standard", "tier": "Regional" },
        "properties": { "publicIPAllocationMethod": "Static", "publicIPAddressVersion": "IPv4" },
    });
    if let Some(zone) = &machine.zone {
        body["zones"] = json!([zone]);
    }
    body
}

/// A network interface; its public address goes with it.
pub fn interface(
    machine: &AzureMachine,
    names: &Names,
    tags: &Value,
    with: (&ResourceId, Option<&ResourceId>, bool),
) -> Value {
    let (subnet, address, firewall) = with;
    let mut configuration = json!({
        "name": "bake",
        "properties": {
            "primary": true,
            "privateIPAllocationMethod": "Dynamic",
            "subnet": { "id": subnet.as_str() },
        },
    });
    if let Some(address) = address {
        configuration["properties"]["publicIPAddress"] = json!({
            "id": address.as_str(),
            "properties": { "deleteOption": "Delete" },
        });
    }
    let mut body = json!({
        "location": machine.location,
        "tags": tags,
        "properties": { "ipConfigurations": [configuration] },
    });
    if firewall {
        body["properties"]["networkSecurityGroup"] = json!({ "id": names.firewall.as_str() });
    }
    body
}

/// A machine that starts from `image`; disk and interface go with it.
pub fn machine(
    machine: &AzureMachine,
    names: &Names,
    tags: &Value,
    from: (&ImageReference, Option<&PurchasePlan>),
    keys: &Keys,
) -> Value {
    let (image, plan) = from;
    let mut disk = json!({
        "name": names.disk.name(),
        "createOption": "FromImage",
        "deleteOption": "Delete",
        "managedDisk": { "storageAccountType": machine.disk_type },
    });
    if let Some(size) = machine.disk_gib {
        disk["diskSizeGB"] = json!(size);
    }
    let mut body = json!({
        "location": machine.location,
        "tags": tags,
        "properties": {
            "hardwareProfile": { "vmSize": machine.vm_size },
            "storageProfile": { "imageReference": reference(image), "osDisk": disk },
            "osProfile": {
                "computerName": "vault-bake",
                "adminUsername": ADMIN,
                "customData": STANDARD.encode(access::user_data(keys).expose()),
                "linuxConfiguration": {
                    "disablePasswordAuthentication": true,
                    "provisionVMAgent": true,
                    "ssh": { "publicKeys": [{
                        "path": format!("/home/{ADMIN}/.ssh/authorized_keys"),
                        "keyData": keys.user_public.trim_end(),
                    }] },
                },
            },
            "networkProfile": { "networkInterfaces": [{
                "id": names.interface.as_str(),
                "properties": { "primary": true, "deleteOption": "Delete" },
            }] },
            "diagnosticsProfile": { "bootDiagnostics": { "enabled": true } },
        },
    });
    if let Some(zone) = &machine.zone {
        body["zones"] = json!([zone]);
    }
    if let Some(plan) = plan {
        body["plan"] = json!(plan);
    }
    let properties = &mut body["properties"];
    // Never left out: from 2025-11-01 on, Azure's default for the second generation is Trusted Launch.
    properties["securityProfile"] = match machine.security {
        Security::Standard => json!({ "securityType": "Standard" }),
        Security::TrustedLaunch => json!({
            "securityType": "TrustedLaunch",
            "uefiSettings": { "secureBootEnabled": true, "vTpmEnabled": true },
        }),
    };
    if machine.spot {
        properties["priority"] = json!("Spot");
        properties["evictionPolicy"] = json!("Delete");
        properties["billingProfile"] = json!({ "maxPrice": -1 });
    }
    if !machine.identities.is_empty() {
        let each = machine.identities.iter().map(|id| (id.clone(), json!({})));
        body["identity"] = json!({
            "type": "UserAssigned",
            "userAssignedIdentities": each.collect::<serde_json::Map<_, _>>(),
        });
    }
    body
}

/// Azure demands a user of a machine beside root; the seal removes it.
pub const ADMIN: &str = "vaultbake";

fn reference(image: &ImageReference) -> Value {
    match image {
        ImageReference::Marketplace {
            publisher,
            offer,
            sku,
            version,
        } => json!({
            "publisher": publisher, "offer": offer, "sku": sku, "version": version,
        }),
        ImageReference::Gallery { id } | ImageReference::ManagedImage { id } => json!({ "id": id }),
    }
}

/// A managed image of a generalized machine.
pub fn managed_image(
    location: &str,
    tags: &Value,
    of: &ResourceId,
    generation: VmGeneration,
    zone_resilient: bool,
) -> Value {
    json!({
        "location": location,
        "tags": tags,
        "properties": {
            "hyperVGeneration": generation.as_str(),
            "sourceVirtualMachine": { "id": of.as_str() },
            "storageProfile": { "zoneResilient": zone_resilient },
        },
    })
}

/// What a gallery version is made of.
pub enum VersionSource<'a> {
    /// A managed image.
    Image(&'a ResourceId),
    /// A generalized machine.
    Machine(&'a ResourceId),
}

/// A version in a gallery.
pub fn version(
    location: &str,
    tags: &Value,
    gallery: &GalleryOutput,
    of: &VersionSource<'_>,
) -> Value {
    let mut regions: Vec<&str> = vec![location];
    let more = gallery.target_regions.iter().map(String::as_str);
    regions.extend(more.filter(|region| !region.eq_ignore_ascii_case(location)));
    let region = |name: &&str| json!({ "name": name, "regionalReplicaCount": gallery.replicas });
    let source = match of {
        VersionSource::Image(id) => json!({ "id": id.as_str() }),
        VersionSource::Machine(id) => json!({ "virtualMachineId": id.as_str() }),
    };
    json!({
        "location": location,
        "tags": tags,
        "properties": {
            "publishingProfile": {
                "targetRegions": regions.iter().map(region).collect::<Vec<_>>(),
                "replicaCount": gallery.replicas,
                "excludeFromLatest": gallery.exclude_from_latest,
            },
            "storageProfile": { "source": source },
            "safetyProfile": { "allowDeletionOfReplicatedLocations": true },
        },
    })
}
