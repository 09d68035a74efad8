//! Requests that the simulator refuses as Azure does: resources in use or locked, expired tokens.

use serde_json::json;

use testing::azure::Config;
use testing::azure::bodies::{
    self, DEFINITION, GALLERY as GALLERY_PATH, IMAGE, NIC, NSG, VERSION, VM, VNET,
};
use testing::azure::client::{COMPUTE, DISKS, GALLERY, LOCKS, NETWORK, RESOURCES, RawClient};

#[tokio::test]
async fn what_depends_on_each_other_is_refused_in_the_wrong_order() {
    let arm = RawClient::start(Config::default()).await;
    bodies::machine(&arm).await;
    let image = bodies::image(&arm);
    let from_image = bodies::version(&json!({ "id": arm.id("Microsoft.Compute/images/image") }));
    let of_nothing = bodies::version(&json!({ "id": arm.id("Microsoft.Compute/images/none") }));
    let definition = bodies::definition(&json!([]));
    let (gallery, nic) = (bodies::gallery(), bodies::nic(&arm));
    let lock = json!({ "properties": { "level": "CanNotDelete" } });
    let (deallocate, generalize, start) = (
        format!("{VM}/deallocate"),
        format!("{VM}/generalize"),
        format!("{VM}/start"),
    );
    let second = "G/Microsoft.Network/networkInterfaces/second";
    let disk = "G/Microsoft.Compute/disks/vm-os";
    let locked = "S/resourcegroups/rg/providers/Microsoft.Authorization/locks/keep";
    let group = "S/resourcegroups/rg";
    let steps = [
        ("DELETE", NIC, NETWORK, None),
        ("DELETE", VNET, NETWORK, None),
        ("DELETE", NSG, NETWORK, None),
        ("DELETE", disk, DISKS, None),
        ("PUT", second, NETWORK, Some(&nic)),
        ("PUT", IMAGE, COMPUTE, Some(&image)),
        ("POST", &generalize, COMPUTE, None),
        ("POST", &deallocate, COMPUTE, None),
        ("POST", &generalize, COMPUTE, None),
        ("POST", &start, COMPUTE, None),
        ("PUT", DEFINITION, GALLERY, Some(&definition)),
        ("PUT", IMAGE, COMPUTE, Some(&image)),
        ("PUT", GALLERY_PATH, GALLERY, Some(&gallery)),
        ("PUT", DEFINITION, GALLERY, Some(&definition)),
        ("PUT", VERSION, GALLERY, Some(&of_nothing)),
        ("PUT", VERSION, GALLERY, Some(&from_image)),
        ("DELETE", DEFINITION, GALLERY, None),
        ("DELETE", GALLERY_PATH, GALLERY, None),
        ("PUT", locked, LOCKS, Some(&lock)),
        ("DELETE", VM, COMPUTE, None),
        ("DELETE", group, RESOURCES, None),
        ("DELETE", locked, LOCKS, None),
        ("DELETE", group, RESOURCES, None),
        ("GET", VM, COMPUTE, None),
    ];
    let mut lines = Vec::new();
    for (method, path, version, body) in steps {
        let outcome = match method {
            "GET" => arm.get(path, version).await.short(),
            _ => arm.run(method, path, version, body).await,
        };
        lines.push(format!("{method} {path}: {outcome}"));
    }
    arm.simulator.expire_tokens();
    let expired = arm.get(group, RESOURCES).await.short();
    lines.push(format!("with a token that ended: {expired}"));
    insta::assert_snapshot!(lines.join("\n"));
    arm.assert_no_violations();
    let operations = arm.simulator.operations();
    assert!(
        operations.iter().all(|one| one.latency.is_zero()),
        "nothing takes time here"
    );
}

/// The security type of a VM, by api-version, image, size and requested type.
#[tokio::test]
async fn a_machine_is_a_trusted_launch_one_unless_it_asks_for_another() {
    let cases = [
        ("2025-11-01", "12-gen2", "Standard_D2s_v5", ""),
        ("2025-11-01", "12-gen2", "Standard_D2s_v5", "Standard"),
        ("2025-11-01", "12-gen2", "Standard_D2s_v5", "TrustedLaunch"),
        ("2025-11-01", "12", "Standard_D2s_v5", ""),
        ("2025-11-01", "12", "Standard_D2s_v5", "Standard"),
        ("2025-11-01", "12-arm64", "Standard_D2ps_v5", ""),
        ("2025-04-01", "12-gen2", "Standard_D2s_v5", ""),
    ];
    let mut lines = Vec::new();
    for (version, sku, size, requested) in cases {
        let arm = RawClient::start(Config::default()).await;
        bodies::network(&arm).await;
        let mut vm = bodies::vm(&arm);
        let properties = &mut vm["properties"];
        properties["storageProfile"]["imageReference"]["sku"] = json!(sku);
        properties["hardwareProfile"]["vmSize"] = json!(size);
        properties["securityProfile"] = match requested {
            "" => json!({}),
            requested => json!({ "securityType": requested }),
        };
        let ended = arm.run("PUT", VM, version, Some(&vm)).await;
        let made = arm.get(VM, COMPUTE).await.body;
        let found = &made["properties"]["securityProfile"]["securityType"];
        lines.push(format!(
            "{version} {sku} {size} '{requested}': {ended}, {found}"
        ));
    }
    insta::assert_snapshot!(lines.join("\n"), @r#"
    2025-11-01 12-gen2 Standard_D2s_v5 '': Succeeded, "TrustedLaunch"
    2025-11-01 12-gen2 Standard_D2s_v5 'Standard': Succeeded, "Standard"
    2025-11-01 12-gen2 Standard_D2s_v5 'TrustedLaunch': Succeeded, "TrustedLaunch"
    2025-11-01 12 Standard_D2s_v5 '': Succeeded, "Standard"
    2025-11-01 12 Standard_D2s_v5 'Standard': Succeeded, "Standard"
    2025-11-01 12-arm64 Standard_D2ps_v5 '': Succeeded, "Standard"
    2025-04-01 12-gen2 Standard_D2s_v5 '': Succeeded, "Standard"
    "#);
}

/// The disk controller of a VM, by image, size and requested controller.
#[tokio::test]
async fn a_machine_has_scsi_disks_unless_its_size_has_nvme_only() {
    let cases = [
        ("12-gen2", "Standard_D2s_v5", ""),
        ("12-gen2", "Standard_D2s_v5", "NVMe"),
        ("12-gen2", "Standard_E2bds_v5", ""),
        ("12-gen2", "Standard_E2bds_v5", "NVMe"),
        ("12-gen2", "Standard_D2ds_v6", ""),
        ("12-gen2", "Standard_D2ds_v6", "SCSI"),
        ("12", "Standard_D2s_v5", ""),
        ("12", "Standard_D2s_v5", "SCSI"),
        ("12-arm64", "Standard_D2ps_v5", "NVMe"),
    ];
    let mut lines = Vec::new();
    for (sku, size, requested) in cases {
        let arm = RawClient::start(Config::default()).await;
        bodies::network(&arm).await;
        let mut vm = bodies::vm(&arm);
        let properties = &mut vm["properties"];
        properties["storageProfile"]["imageReference"]["sku"] = json!(sku);
        properties["hardwareProfile"]["vmSize"] = json!(size);
        if !requested.is_empty() {
            properties["storageProfile"]["diskControllerType"] = json!(requested);
        }
        let ended = arm.run("PUT", VM, COMPUTE, Some(&vm)).await;
        let made = arm.get(VM, COMPUTE).await.body;
        let found = &made["properties"]["storageProfile"]["diskControllerType"];
        lines.push(format!("{sku} {size} '{requested}': {ended}, {found}"));
    }
    insta::assert_snapshot!(lines.join("\n"), @r#"
    12-gen2 Standard_D2s_v5 '': Succeeded, "SCSI"
    12-gen2 Standard_D2s_v5 'NVMe': 400 InvalidParameter, null
    12-gen2 Standard_E2bds_v5 '': Succeeded, "SCSI"
    12-gen2 Standard_E2bds_v5 'NVMe': Succeeded, "NVMe"
    12-gen2 Standard_D2ds_v6 '': Succeeded, "NVMe"
    12-gen2 Standard_D2ds_v6 'SCSI': 400 InvalidParameter, null
    12 Standard_D2s_v5 '': Succeeded, null
    12 Standard_D2s_v5 'SCSI': 400 InvalidParameter, null
    12-arm64 Standard_D2ps_v5 'NVMe': 400 InvalidParameter, null
    "#);
}

/// The versions of a gallery from a snapshot of the OS disk, by the security type of the VM and that
/// of the image definition.
#[tokio::test]
async fn a_snapshot_is_a_source_for_definitions_of_both_security_types() {
    let cases = [
        ("Standard", "TrustedLaunchSupported"),
        ("Standard", "TrustedLaunch"),
        ("Standard", ""),
        ("TrustedLaunch", "TrustedLaunchSupported"),
        ("TrustedLaunch", "TrustedLaunch"),
        ("TrustedLaunch", ""),
    ];
    let mut lines = Vec::new();
    for (of_vm, of_definition) in cases {
        let arm = RawClient::start(Config::default()).await;
        bodies::network(&arm).await;
        let mut vm = bodies::vm(&arm);
        vm["properties"]["securityProfile"] = json!({ "securityType": of_vm });
        let features = match of_definition {
            "" => json!([]),
            named => json!([{ "name": "SecurityType", "value": named }]),
        };
        let snapshot = json!({ "location": "westeurope", "properties": { "creationData": {
            "createOption": "Copy", "sourceResourceId": arm.id("Microsoft.Compute/disks/vm-os") } } });
        let mut version = bodies::version(&json!({}));
        version["properties"]["storageProfile"] = json!({ "osDiskImage": { "source": {
            "id": arm.id("Microsoft.Compute/snapshots/disk") } } });
        let (stop, generalize) = (format!("{VM}/deallocate"), format!("{VM}/generalize"));
        let steps = [
            ("PUT", VM, COMPUTE, Some(vm)),
            ("POST", &stop, COMPUTE, None),
            ("POST", &generalize, COMPUTE, None),
            (
                "PUT",
                "G/Microsoft.Compute/snapshots/disk",
                DISKS,
                Some(snapshot),
            ),
            ("PUT", GALLERY_PATH, GALLERY, Some(bodies::gallery())),
            (
                "PUT",
                DEFINITION,
                GALLERY,
                Some(bodies::definition(&features)),
            ),
        ];
        for (method, path, api, body) in steps {
            let ended = arm.run(method, path, api, body.as_ref()).await;
            assert!(
                ["Succeeded", "200"].contains(&ended.as_str()),
                "{path}: {ended}"
            );
        }
        let ended = arm.run("PUT", VERSION, GALLERY, Some(&version)).await;
        lines.push(format!("{of_vm} '{of_definition}': {ended}"));
        arm.assert_no_violations();
    }
    insta::assert_snapshot!(lines.join("\n"), @"
    Standard 'TrustedLaunchSupported': Succeeded
    Standard 'TrustedLaunch': 400 InvalidParameter
    Standard '': Succeeded
    TrustedLaunch 'TrustedLaunchSupported': Succeeded
    TrustedLaunch 'TrustedLaunch': Succeeded
    TrustedLaunch '': 400 InvalidParameter
    ");
}
