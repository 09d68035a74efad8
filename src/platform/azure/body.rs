//! Takes names, a machine and a base; returns the JSON bodies of requests. Sends nothing.
//!
//! Api-versions are the oldest that suffice, because some clouds lag behind the public one.
//! Bodies name what newer versions decide otherwise, so that a newer version changes no outcome.
//! Names and limits are those of <https://learn.microsoft.com/azure/templates/>.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::names::{Names, SUBNET};
use crate::azure::ResourceId;
use crate::builder::access;
use crate::platform::azure::definition::{AzureMachine, GalleryOutput, Security};
use crate::platform::azure::locked_image::{ImageReference, LockedImage, VmGeneration};
use crate::ssh::Keys;

/// The api-version of virtual machines and images: the first with the security type `Standard`.
pub const COMPUTE: &str = "2025-11-01";
/// The api-version of disks and snapshots.
pub const DISKS: &str = "2025-01-02";
/// The api-version of galleries.
pub const GALLERY: &str = "2024-03-03";
/// The api-version of networks: older than the one that makes subnets private by default.
pub const NETWORK: &str = "2025-05-01";
/// The api-version of resource groups and tags.
pub const RESOURCES: &str = "2025-04-01";
/// The api-version of policy checks: the first that reports effects.
/// <https://learn.microsoft.com/rest/api/policyinsights>
pub const POLICIES: &str = "2023-03-01";
/// The api-version of VM sizes.
pub const SKUS: &str = "2021-07-01";

/// Returns the body of a resource group.
pub fn group(machine: &AzureMachine, tags: &Value) -> Value {
    json!({ "location": machine.location, "tags": tags })
}

/// Returns the body of a security group that admits `allow_from` to the SSH port only.
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

/// Returns the body of a network with one subnet, without Azure's default outbound access.
///
/// Outbound traffic uses the VM's public address.
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

/// Returns the body of a public address. Azure retired all SKUs but Standard:
/// <https://learn.microsoft.com/azure/virtual-network/ip-services/public-ip-basic-upgrade-guidance>
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

/// The resources that a network interface refers to.
#[derive(Clone, Copy)]
pub struct Connection<'a> {
    pub subnet: &'a ResourceId,
    pub public_address: Option<&'a ResourceId>,
    /// Whether the security group of the names is attached.
    pub firewall: bool,
}

/// Returns the body of a network interface. Azure deletes its public address with it.
pub fn interface(
    machine: &AzureMachine,
    names: &Names,
    tags: &Value,
    connection: Connection<'_>,
) -> Value {
    let mut configuration = json!({
        "name": "bake",
        "properties": {
            "primary": true,
            "privateIPAllocationMethod": "Dynamic",
            "subnet": { "id": connection.subnet.as_str() },
        },
    });
    if let Some(address) = connection.public_address {
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
    if connection.firewall {
        body["properties"]["networkSecurityGroup"] = json!({ "id": names.firewall.as_str() });
    }
    body
}

/// Returns the body of a VM that boots from an image. Azure deletes disk and interface with it.
pub fn machine(
    machine: &AzureMachine,
    names: &Names,
    tags: &Value,
    base: &LockedImage,
    keys: &Keys,
) -> Value {
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
            "storageProfile": { "imageReference": image_reference(&base.image), "osDisk": disk },
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
    if let Some(plan) = &base.plan {
        body["plan"] = json!(plan);
    }
    let properties = &mut body["properties"];
    // Without it, Azure chooses the controller by image and size. Generation 1 has SCSI only, and
    // Azure refuses the property there.
    if base.generation == VmGeneration::V2 {
        properties["storageProfile"]["diskControllerType"] =
            json!(machine.disk_controller.as_str());
    }
    // Always set: since 2025-11-01, Azure's default for generation 2 is Trusted Launch.
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

/// The user that Azure requires in addition to root; the seal removes it.
pub(crate) const ADMIN: &str = "vaultbake";

fn image_reference(image: &ImageReference) -> Value {
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

/// Returns the body of a managed image of a generalized VM.
pub fn managed_image(
    location: &str,
    tags: &Value,
    source: &ResourceId,
    generation: VmGeneration,
    zone_resilient: bool,
) -> Value {
    json!({
        "location": location,
        "tags": tags,
        "properties": {
            "hyperVGeneration": generation.as_str(),
            "sourceVirtualMachine": { "id": source.as_str() },
            "storageProfile": { "zoneResilient": zone_resilient },
        },
    })
}

/// Returns the body of a full snapshot of an OS disk.
pub fn snapshot(
    location: &str,
    tags: &Value,
    disk: &ResourceId,
    generation: VmGeneration,
) -> Value {
    json!({
        "location": location,
        "tags": tags,
        "sku": { "name": "Standard_LRS" },
        "properties": {
            "creationData": { "createOption": "Copy", "sourceResourceId": disk.as_str() },
            "hyperVGeneration": generation.as_str(),
            "incremental": false,
            "osType": "Linux",
        },
    })
}

/// The source of a gallery version.
pub(crate) enum VersionSource<'a> {
    /// A managed image.
    Image(&'a ResourceId),
    /// A generalized VM.
    Machine(&'a ResourceId),
    /// A snapshot of the OS disk of a generalized VM.
    Snapshot(&'a ResourceId),
}

/// Returns the body of a gallery version.
pub fn version(
    location: &str,
    tags: &Value,
    gallery: &GalleryOutput,
    source: &VersionSource<'_>,
) -> Value {
    let mut regions: Vec<&str> = vec![location];
    let more = gallery.target_regions.iter().map(String::as_str);
    regions.extend(more.filter(|region| !region.eq_ignore_ascii_case(location)));
    // Newer versions have a strategy that may choose another storage.
    let storage = "Standard_LRS";
    let region = |name: &&str| {
        json!({
            "name": name,
            "regionalReplicaCount": gallery.replicas,
            "storageAccountType": storage,
        })
    };
    let source = match source {
        VersionSource::Image(id) => json!({ "source": { "id": id.as_str() } }),
        VersionSource::Machine(id) => json!({ "source": { "virtualMachineId": id.as_str() } }),
        VersionSource::Snapshot(id) => {
            json!({ "osDiskImage": { "source": { "id": id.as_str() } } })
        }
    };
    json!({
        "location": location,
        "tags": tags,
        "properties": {
            "publishingProfile": {
                "targetRegions": regions.iter().map(region).collect::<Vec<_>>(),
                "replicaCount": gallery.replicas,
                "storageAccountType": storage,
                "replicationMode": "Full",
                "excludeFromLatest": gallery.exclude_from_latest,
            },
            "storageProfile": source,
            "safetyProfile": {
                "allowDeletionOfReplicatedLocations": true,
                "blockDeletionBeforeEndOfLife": false,
            },
        },
    })
}
