//! The requests of a build, repeated with the newest api-versions: the outcome is the same.

use serde_json::{Value, json};
use testing::azure::Config;
use testing::azure::bodies::{self, VNET};
use testing::azure::client::{NETWORK, RawClient};
use testing::azure::harness::{AzureHarness, base};
use vault_bake::platform::azure::VmGeneration;

/// The properties that Azure decides, by api-version, image or size, if a request does not name them.
const DECIDED: [(&str, &[&str]); 5] = [
    (
        "PUT Microsoft.Network/virtualNetworks",
        &["/properties/subnets/0/properties/defaultOutboundAccess"],
    ),
    (
        "PUT Microsoft.Network/publicIPAddresses",
        &[
            "/sku/name",
            "/properties/publicIPAllocationMethod",
            "/properties/publicIPAddressVersion",
        ],
    ),
    (
        "PUT Microsoft.Compute/virtualMachines",
        &[
            "/properties/securityProfile/securityType",
            "/properties/storageProfile/diskControllerType",
            "/properties/storageProfile/osDisk/deleteOption",
        ],
    ),
    (
        "PUT Microsoft.Compute/images",
        &[
            "/properties/hyperVGeneration",
            "/properties/storageProfile/zoneResilient",
        ],
    ),
    (
        "PUT Microsoft.Compute/galleries/images/versions",
        &[
            "/properties/publishingProfile/replicationMode",
            "/properties/publishingProfile/storageAccountType",
            "/properties/publishingProfile/targetRegions/0/storageAccountType",
            "/properties/publishingProfile/targetRegions/1/storageAccountType",
            "/properties/safetyProfile/blockDeletionBeforeEndOfLife",
        ],
    ),
];

/// Returns the newest api-version that the simulator knows.
fn newest(operation: &str) -> &'static str {
    match operation {
        _ if operation.contains("Microsoft.Network/") => "2026-03-01",
        _ if operation.contains("/galleries") => "2026-03-03",
        _ if operation.contains("Microsoft.Compute/") => "2026-04-01",
        _ => "2025-04-01",
    }
}

#[tokio::test]
async fn a_newer_api_version_does_not_change_what_a_build_creates() {
    let mut azure = AzureHarness::new(Config::default());
    azure.with_gallery("V2", json!([])).await;
    // Azure would start it as trusted launch, and could give it another disk controller.
    azure.base = base("12-gen2", VmGeneration::V2);
    azure.harness.test = false;
    let before = azure.simulator.requests().len();
    let baked = azure.bake(|_| {}).await;
    baked.unwrap_or_else(|failed| panic!("{failed}"));
    azure.assert_no_violations();
    let requests = azure.simulator.requests().split_off(before);
    for (operation, pointers) in DECIDED {
        let sent = requests.iter().find(|one| one.operation == operation);
        let sent = sent.unwrap_or_else(|| panic!("no {operation}"));
        for pointer in pointers {
            assert!(
                sent.body.pointer(pointer).is_some(),
                "{operation} {pointer}"
            );
        }
    }

    let arm = RawClient::start(Config::default()).await;
    let created = requests.iter().filter(|one| {
        let is_image = one.path.to_lowercase().contains("/resourcegroups/images/");
        one.method == "PUT" && !is_image
    });
    for request in created {
        let (operation, version) = (&request.operation, newest(&request.operation));
        let body = Some(&request.body);
        let ended = arm.run("PUT", &request.path, version, body).await;
        assert!(
            ["Succeeded", "200", "201"].contains(&ended.as_str()),
            "{operation}: {ended}"
        );
        let made = arm.get(&request.path, version).await.body;
        let decided = DECIDED.iter().find(|(name, _)| name == operation);
        for pointer in decided.into_iter().flat_map(|(_, pointers)| *pointers) {
            let (asked, found) = (request.body.pointer(pointer), made.pointer(pointer));
            assert_eq!(asked, found, "{operation} {pointer}");
        }
    }
    arm.assert_no_violations();
}

/// The default outbound access of a subnet, by api-version, if its request does not name it.
#[tokio::test]
async fn a_subnet_is_private_by_default_since_a_version() {
    let mut found = Vec::new();
    for version in ["2025-05-01", "2025-07-01"] {
        let arm = RawClient::start(Config::default()).await;
        bodies::network(&arm).await;
        let mut network = bodies::vnet(&arm);
        let subnet = &mut network["properties"]["subnets"][0]["properties"];
        subnet["defaultOutboundAccess"] = Value::Null;
        subnet
            .as_object_mut()
            .expect("a subnet")
            .remove("networkSecurityGroup");
        subnet
            .as_object_mut()
            .expect("a subnet")
            .remove("defaultOutboundAccess");
        let path = VNET.replace("vnet", "another");
        arm.run("PUT", &path, version, Some(&network)).await;
        let made = arm.get(&path, NETWORK).await.body;
        found.push(made["properties"]["subnets"][0]["properties"]["defaultOutboundAccess"].clone());
    }
    assert_eq!(found, [json!(true), json!(false)]);
}
