//! Valid bodies of the requests of a build.

use serde_json::{Value, json};

use super::client::{COMPUTE, NETWORK, RESOURCES, RawClient};

pub const NSG: &str = "G/Microsoft.Network/networkSecurityGroups/nsg";
pub const VNET: &str = "G/Microsoft.Network/virtualNetworks/vnet";
pub const PIP: &str = "G/Microsoft.Network/publicIPAddresses/pip";
pub const NIC: &str = "G/Microsoft.Network/networkInterfaces/nic";
pub const VM: &str = "G/Microsoft.Compute/virtualMachines/vm";
pub const IMAGE: &str = "G/Microsoft.Compute/images/image";
pub const GALLERY: &str = "G/Microsoft.Compute/galleries/shelf";
pub const DEFINITION: &str = "G/Microsoft.Compute/galleries/shelf/images/node";
pub const VERSION: &str = "G/Microsoft.Compute/galleries/shelf/images/node/versions/1.2.3";

pub fn group() -> Value {
    json!({ "location": "westeurope", "tags": { "vault-bake-id": "1" } })
}

pub fn nsg() -> Value {
    json!({ "location": "westeurope", "properties": { "securityRules": [{ "name": "ssh", "properties": {
        "priority": 100, "direction": "Inbound", "access": "Allow", "protocol": "Tcp",
        "sourceAddressPrefix": "192.0.2.1/32", "sourcePortRange": "*",
        "destinationAddressPrefix": "*", "destinationPortRange": "2222" } }] } })
}

pub fn vnet(arm: &RawClient) -> Value {
    json!({ "location": "westeurope", "properties": {
        "addressSpace": { "addressPrefixes": ["10.0.0.0/16"] },
        "subnets": [{ "name": "default", "properties": { "addressPrefix": "10.0.0.0/24",
            "defaultOutboundAccess": false,
            "networkSecurityGroup": { "id": arm.id("Microsoft.Network/networkSecurityGroups/nsg") } } }] } })
}

pub fn pip() -> Value {
    json!({ "location": "westeurope", "sku": { "name": "Standard", "tier": "Regional" },
        "properties": { "publicIPAllocationMethod": "Static" } })
}

pub fn nic(arm: &RawClient) -> Value {
    json!({ "location": "westeurope", "properties": { "ipConfigurations": [{ "name": "one", "properties": {
        "subnet": { "id": arm.id("Microsoft.Network/virtualNetworks/vnet/subnets/default") },
        "publicIPAddress": { "id": arm.id("Microsoft.Network/publicIPAddresses/pip"),
            "properties": { "deleteOption": "Delete" } } } }] } })
}

pub fn vm(arm: &RawClient) -> Value {
    json!({ "location": "westeurope", "tags": { "vault-bake-id": "1" }, "properties": {
        "hardwareProfile": { "vmSize": "Standard_D2s_v5" },
        "storageProfile": {
            "imageReference": { "publisher": "Debian", "offer": "debian-12", "sku": "12-gen2", "version": "0.20250210.1000" },
            "osDisk": { "name": "vm-os", "createOption": "FromImage", "deleteOption": "Delete",
                "managedDisk": { "storageAccountType": "StandardSSD_LRS" } } },
        "osProfile": { "computerName": "vm", "adminUsername": "baker", "customData": "I2Nsb3VkLWNvbmZpZwo=",
            "linuxConfiguration": { "disablePasswordAuthentication": true, "ssh": { "publicKeys": [{
                "path": "/home/baker/.ssh/authorized_keys",
                "keyData": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0000000000000000000000000000000000000000ab x" }] } } },
        "networkProfile": { "networkInterfaces": [{ "id": arm.id("Microsoft.Network/networkInterfaces/nic"),
            "properties": { "primary": true, "deleteOption": "Delete" } }] },
        "securityProfile": { "securityType": "Standard" },
        "diagnosticsProfile": { "bootDiagnostics": { "enabled": true } } } })
}

pub fn image(arm: &RawClient) -> Value {
    json!({ "location": "westeurope", "properties": { "hyperVGeneration": "V2",
        "sourceVirtualMachine": { "id": arm.id("Microsoft.Compute/virtualMachines/vm") },
        "storageProfile": { "zoneResilient": true } } })
}

pub fn gallery() -> Value {
    json!({ "location": "westeurope", "properties": {} })
}

pub fn definition(features: &Value) -> Value {
    json!({ "location": "westeurope", "properties": { "osType": "Linux", "osState": "Generalized",
        "hyperVGeneration": "V2", "architecture": "x64", "features": features,
        "identifier": { "publisher": "us", "offer": "vault", "sku": "node" } } })
}

pub fn version(source: &Value) -> Value {
    json!({ "location": "westeurope", "properties": { "storageProfile": { "source": source },
        "publishingProfile": { "excludeFromLatest": true, "targetRegions": [
            { "name": "westeurope", "regionalReplicaCount": 1, "storageAccountType": "Standard_LRS" }] } } })
}

/// Creates the group `rg` with everything that a VM needs.
pub async fn network(arm: &RawClient) {
    let response = arm.put("S/resourcegroups/rg", RESOURCES, &group()).await;
    assert!(response.status < 300, "{response:?}");
    for (path, body) in [
        (NSG, nsg()),
        (VNET, vnet(arm)),
        (PIP, pip()),
        (NIC, nic(arm)),
    ] {
        let ended = arm.run("PUT", path, NETWORK, Some(&body)).await;
        assert_eq!(ended, "Succeeded", "{path}");
    }
}

/// Works like [`network`], and creates a running VM.
pub async fn machine(arm: &RawClient) {
    network(arm).await;
    let ended = arm.run("PUT", VM, COMPUTE, Some(&vm(arm))).await;
    assert_eq!(ended, "Succeeded");
}

/// Works like [`machine`], and stops and generalizes the VM.
pub async fn generalized(arm: &RawClient) {
    machine(arm).await;
    let stop = format!("{VM}/deallocate");
    assert_eq!(arm.run("POST", &stop, COMPUTE, None).await, "Succeeded");
    let generalize = format!("{VM}/generalize");
    assert_eq!(arm.run("POST", &generalize, COMPUTE, None).await, "200");
}
