//! Builds on a simulated subscription, with real SSH into every VM.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use testing::azure::harness::{AzureHarness, IMAGE_GROUP, base, gallery};
use testing::azure::{Config, Fault, FaultKind, Policy};
use testing::harness::{FakeBuilderHarness, steps};
use tokio::sync::Notify;
use vault_bake::event::{Event, Events, Stage};
use vault_bake::platform::azure::Security;
use vault_bake::platform::azure::VmGeneration;
use vault_bake::platform::azure::sweep_expired;

#[tokio::test]
async fn a_bake_leaves_a_tested_managed_image_and_nothing_else() {
    let mut azure = AzureHarness::new(Config::default());
    let baked = azure
        .bake(|_| {})
        .await
        .unwrap_or_else(|failed| panic!("{failed}"));
    assert!(baked.leftovers.is_empty(), "{:?}", baked.leftovers);
    assert!(
        baked.tested.as_ref().is_some_and(|test| test.passed),
        "{:?}",
        baked.tested
    );
    assert_eq!(
        azure.new_resource_names(),
        ["Microsoft.Compute/images quickstart-1.2.3"]
    );
    azure.assert_no_violations();
    assert!(azure.harness.verify().await.is_sound());
}

/// The build creates an interface and a VM, and no address, security group or network.
#[tokio::test]
async fn a_machine_without_a_public_address_is_baked_in_a_network_of_ours() {
    let mut azure = AzureHarness::new(Config::default());
    azure.with_subnet().await;
    azure.mark_existing();
    let before = azure.simulator.requests().len();
    let baked = azure.bake(|_| {}).await;
    let baked = baked.unwrap_or_else(|failed| panic!("{failed}"));
    assert!(baked.tested.is_some_and(|test| test.passed) && baked.leftovers.is_empty());
    azure.assert_no_violations();
    assert_eq!(
        azure.new_resource_names(),
        ["Microsoft.Compute/images quickstart-1.2.3"]
    );
    let created: BTreeSet<String> = azure.simulator.requests()[before..]
        .iter()
        .map(|request| request.operation.clone())
        .filter(|operation| operation.starts_with("PUT"))
        .collect();
    insta::assert_snapshot!(created.into_iter().collect::<Vec<_>>().join("\n"));
}

/// The name, the change of the setup, and the generation and features of the definition.
type Variant = (
    &'static str,
    fn(&mut AzureHarness),
    Option<(&'static str, Value)>,
);

fn second_generation(azure: &mut AzureHarness) {
    azure.base = base("12-gen2", VmGeneration::V2);
}

fn features(security_type: &str) -> Value {
    json!([{ "name": "SecurityType", "value": security_type }])
}

/// The options of `[machine.azure]` and `[output.azure]`, each in a separate build.
#[tokio::test]
async fn options_are_what_azure_is_asked_for() {
    let variants: Vec<Variant> = vec![
        (
            "a version in a gallery, straight from the machine",
            |azure| azure.output.managed_image = false,
            Some(("V1", json!([]))),
        ),
        (
            "trusted launch",
            |azure| {
                second_generation(azure);
                azure.machine.security = Security::TrustedLaunch;
                azure.output.managed_image = false;
            },
            Some(("V2", features("TrustedLaunch"))),
        ),
        (
            "trusted launch, for a definition of both types",
            |azure| {
                second_generation(azure);
                azure.machine.security = Security::TrustedLaunch;
                azure.output.managed_image = false;
            },
            Some(("V2", features("TrustedLaunchSupported"))),
        ),
        (
            "a definition that takes managed images alone",
            |azure| {
                second_generation(azure);
                azure.output.managed_image = false;
            },
            Some(("V2", features("TrustedLaunchSupported"))),
        ),
        (
            "a base that Azure would start as trusted launch",
            second_generation,
            None,
        ),
        (
            "a zone, a larger and faster disk, an image in all zones",
            |azure| {
                azure.machine.zone = Some("1".to_owned());
                azure.machine.disk_gib = Some(40);
                azure.machine.disk_type = "Premium_LRS".to_owned();
                azure.output.zone_resilient = true;
            },
            None,
        ),
        ("spot", |azure| azure.machine.spot = true, None),
        (
            "a group that exists",
            |azure| azure.machine.resource_group = Some("work".to_owned()),
            None,
        ),
    ];
    let mut lines = Vec::new();
    for (name, change, definition) in variants {
        let mut azure = AzureHarness::new(Config::default());
        azure.simulator.put_group("work");
        if let Some((generation, features)) = definition {
            azure.with_gallery(generation, features).await;
        }
        azure.mark_existing();
        change(&mut azure);
        let baked = azure.bake(|_| {}).await;
        let baked = baked.unwrap_or_else(|failed| panic!("{name}: {failed}"));
        let passed = baked.tested.is_some_and(|test| test.passed);
        assert!(
            passed && baked.leftovers.is_empty(),
            "{name}: {:?}",
            baked.leftovers
        );
        azure.assert_no_violations();
        lines.push(format!("{name}: {}", azure.new_resource_names().join(", ")));
        for output in &baked.manifest.outputs {
            let cloud = output.cloud.as_ref().expect("the image of the cloud");
            let (class, firmware) = (&output.class, &output.firmware);
            lines.push(format!("    {class} {firmware} {}", cloud.security));
            let resources = azure.simulator.resources();
            let image = resources
                .iter()
                .find(|one| one.id == output.id)
                .expect("the image");
            assert_eq!(
                image.body["tags"]["vault-bake-manifest"],
                baked.digest.to_string(),
                "{name}"
            );
        }
    }
    insta::assert_snapshot!(lines.join("\n"));
}

/// In a group of ours, the snapshot is deleted by itself.
#[tokio::test]
async fn a_snapshot_of_a_build_that_fails_is_not_left() {
    let failure = FaultKind::Fails("InternalExecutionError".to_owned());
    let versions = "PUT Microsoft.Compute/galleries/images/versions";
    let mut azure = AzureHarness::new(Config {
        faults: vec![Fault::always(versions, failure)],
        ..Config::default()
    });
    azure.simulator.put_group("work");
    let both = features("TrustedLaunchSupported");
    azure.with_gallery("V2", both).await;
    second_generation(&mut azure);
    azure.machine.resource_group = Some("work".to_owned());
    azure.machine.security = Security::TrustedLaunch;
    azure.output.managed_image = false;
    let failed = azure.bake(|_| {}).await.expect_err("no version");
    assert!(
        failed.to_string().contains("InternalExecutionError"),
        "{failed}"
    );
    assert!(failed.leftovers.is_empty(), "{:?}", failed.leftovers);
    let taken = azure.simulator.requests().into_iter();
    let mut taken = taken.filter(|one| one.operation == "PUT Microsoft.Compute/snapshots");
    assert!(
        taken.any(|one| one.status == Some(201)),
        "a snapshot was made"
    );
    assert_eq!(azure.new_resource_names(), Vec::<String>::new());
    azure.assert_no_violations();
}

/// Azure may accept the standard type only if a feature is registered. It refuses the VM, not earlier.
#[tokio::test]
async fn a_standard_machine_that_azure_refuses_has_a_way_out() {
    let mut azure = AzureHarness::new(Config {
        unregistered_features: vec!["UseStandardSecurityType".to_owned()],
        ..Config::default()
    });
    second_generation(&mut azure);
    azure.mark_existing();
    let failed = azure.bake(|_| {}).await.expect_err("no machine");
    let (message, hint) = (failed.to_string(), failed.error.hint().unwrap_or_default());
    assert!(
        message.contains("securityProfile.securityType"),
        "{message}"
    );
    assert!(hint.contains("--name UseStandardSecurityType"), "{hint}");
    assert_eq!(azure.new_resource_names(), Vec::<String>::new());
}

/// A build that cannot succeed ends before it creates anything.
#[tokio::test]
async fn what_cannot_succeed_is_refused_before_anything_is_made() {
    type Case = (&'static str, fn(&mut Config), fn(&mut AzureHarness));
    let cases: Vec<Case> = vec![
        (
            "size not sold to us",
            |c| c.restricted = vec!["Standard_D2s_v5".to_owned()],
            |_| {},
        ),
        (
            "no such size",
            |_| {},
            |g| g.machine.vm_size = "Standard_X1".to_owned(),
        ),
        (
            "no such zone",
            |_| {},
            |g| g.machine.zone = Some("9".to_owned()),
        ),
        (
            "provider",
            |c| c.unregistered = vec!["Microsoft.Network".to_owned()],
            |_| {},
        ),
        ("no cores left", |c| c.cores = 0, |_| {}),
        ("too few cores left", |c| c.cores = 1, |_| {}),
        ("no addresses left", |c| c.public_addresses = 0, |_| {}),
        (
            "no group",
            |_| {},
            |g| g.output.resource_group = "elsewhere".to_owned(),
        ),
        (
            "base gone",
            |_| {},
            |g| g.base = base("11", VmGeneration::V1),
        ),
        (
            "processor",
            |_| {},
            |g| {
                g.base = base("12-gen2", VmGeneration::V2);
                g.machine.vm_size = "Standard_D2ps_v5".to_owned();
            },
        ),
        (
            "architecture",
            |_| {},
            |g| {
                g.machine.vm_size = "Standard_D2ps_v5".to_owned();
                g.base = base("12-arm64", VmGeneration::V2);
            },
        ),
        (
            "policy",
            |c| {
                c.policies = vec![Policy {
                    name: "cost-centre".to_owned(),
                    kind: "Microsoft.Compute/virtualMachines".to_owned(),
                    without_tag: "cost".to_owned(),
                }];
            },
            |_| {},
        ),
        (
            "no definition",
            |_| {},
            |g| g.output.gallery = Some(gallery()),
        ),
        (
            "trusted launch without UEFI",
            |_| {},
            |g| g.machine.security = Security::TrustedLaunch,
        ),
        (
            "trusted launch without support by the base",
            |_| {},
            |g| {
                g.base.generation = VmGeneration::V2;
                g.machine.security = Security::TrustedLaunch;
            },
        ),
        (
            "a base for trusted launch only",
            |_| {},
            |g| {
                g.base = base("12-gen2", VmGeneration::V2);
                g.base.security = Some("TrustedLaunch".to_owned());
            },
        ),
    ];
    let mut lines = Vec::new();
    for (name, configure, change) in cases {
        let mut config = Config::default();
        configure(&mut config);
        let mut azure = AzureHarness::new(config);
        change(&mut azure);
        let failed = azure
            .bake(|_| {})
            .await
            .err()
            .unwrap_or_else(|| panic!("{name}: it succeeded"));
        lines.push(format!("{name}\n    {failed}"));
        let changed = azure.simulator.requests().into_iter();
        let changed: Vec<_> = changed
            .filter(|one| !is_read_only(&one.operation))
            .collect();
        assert!(changed.is_empty(), "{name}: {changed:?}");
        azure.assert_no_violations();
    }
    insta::with_settings!({filters => vec![(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID")]}, {
        insta::assert_snapshot!(lines.join("\n"));
    });
}

/// An existing image is never replaced, and can be tested again from its record.
#[tokio::test]
async fn an_image_is_created_once_and_can_be_tested_again() {
    let mut azure = AzureHarness::new(Config::default());
    let baked = azure
        .bake(|_| {})
        .await
        .unwrap_or_else(|failed| panic!("{failed}"));
    let tested = azure.retest(baked.digest).await;
    let tested = tested.unwrap_or_else(|failed| panic!("{failed}"));
    assert!(
        tested.record.passed && tested.leftovers.is_empty(),
        "{tested:?}"
    );
    azure.harness.plan.image = "other".to_owned();
    azure.output.resource_group = IMAGE_GROUP.to_owned();
    let before = azure.new_resource_names();
    azure.harness.plan.image = "quickstart".to_owned();
    // Another store, as if the first one was lost.
    let other = tempfile::tempdir().expect("a folder");
    azure.setup.harness = {
        let mut harness = FakeBuilderHarness::new(other.path(), steps());
        harness.plan = azure.harness.plan.clone();
        harness.version = azure.harness.version;
        harness
    };
    let failed = azure.bake(|_| {}).await.expect_err("it is there");
    assert!(failed.to_string().contains("exists already"), "{failed}");
    let hint = failed.error.hint().unwrap_or_default();
    assert!(hint.contains("never replaces an image"), "{hint}");
    assert_eq!(azure.new_resource_names(), before);
    azure.assert_no_violations();
}

/// Without a journal, expired resources are found by their tags, and nothing else is deleted.
#[tokio::test]
async fn what_no_journal_knows_of_is_swept_by_its_tags() {
    let mut azure = AzureHarness::new(Config::default());
    azure.simulator.put_group("work");
    azure.mark_existing();
    // The VM is in an existing group, so its parts are left as single resources.
    azure.machine.resource_group = Some("work".to_owned());
    let up = Arc::new(Notify::new());
    let notified = Arc::clone(&up);
    let hook = move |event: &Event| {
        if matches!(
            event,
            Event::StageStarted {
                stage: Stage::Upload
            }
        ) {
            notified.notify_one();
        }
    };
    // The build is dropped, as by a kill.
    tokio::select! {
        _ = azure.bake(hook) => panic!("it ended"),
        () = up.notified() => {}
    }
    std::fs::remove_dir_all(azure.harness.cache().join("runs")).expect("the journals");
    assert!(
        azure.new_resources().len() > 5,
        "{:?}",
        azure.new_resource_names()
    );
    let arm = azure.arm();
    let at = |text: &str| text.parse().expect("a time");
    let silent = Events::silent();
    let early = sweep_expired(&arm, at("2098-01-01T00:00:00Z"), false, &silent).await;
    let early = early.expect("a list");
    assert!(early.is_empty(), "nothing has expired yet: {early:?}");
    let dry = sweep_expired(&arm, at("2100-01-01T00:00:00Z"), true, &silent).await;
    // The disk carries no tag and is deleted with its VM.
    let disks = azure.new_resources().into_iter();
    let disks = disks
        .filter(|one| one.kind == "Microsoft.Compute/disks")
        .count();
    assert_eq!(
        dry.expect("a list").len() + disks,
        azure.new_resources().len()
    );
    let swept = sweep_expired(&arm, at("2100-01-01T00:00:00Z"), false, &silent).await;
    let swept = swept.expect("a list");
    assert!(swept.iter().all(|one| one.failure.is_none()), "{swept:?}");
    assert_eq!(azure.new_resource_names(), Vec::<String>::new());
    azure.assert_no_violations();
}

/// Returns whether a request changes nothing.
fn is_read_only(operation: &str) -> bool {
    operation.starts_with("GET ") || ["POST token", "POST policy restrictions"].contains(&operation)
}

/// If Azure has no machine for a test, the image is not to blame: nothing is recorded.
#[tokio::test]
async fn a_test_without_a_vm_from_azure_records_nothing() {
    for code in PLATFORM_CODES {
        // The first VM is the build VM.
        let mut azure = failing(2, code);
        let failed = azure.bake(|_| {}).await.expect_err("no test");
        assert!(failed.error.is_platform(), "{code}: {failed}");
        assert!(failed.to_string().contains(code), "{failed}");
        let store = azure.harness.store().await;
        let rows = store.images(jiff::Timestamp::UNIX_EPOCH).await;
        let rows = rows.expect("a list");
        assert_eq!(rows[0].state.to_string(), "untested", "{code}");
        azure.assert_no_violations();
    }
}

/// A VM that Azure cannot provide is Azure's fault; a failure that the guest reports is not.
#[tokio::test]
async fn the_error_code_of_a_vm_decides_whether_azure_is_at_fault() {
    let guest = ["OSProvisioningTimedOut", "OSProvisioningClientError"];
    for code in PLATFORM_CODES.into_iter().chain(guest) {
        let mut azure = failing(1, code);
        // No server listens on this port.
        azure.machine.ssh_port = 9;
        let failed = azure.bake(|_| {}).await.expect_err("no machine");
        let is_platform = !guest.contains(&code);
        assert_eq!(failed.error.is_platform(), is_platform, "{failed}");
        assert!(failed.to_string().contains(code), "{failed}");
        azure.assert_no_violations();
    }
}

const PLATFORM_CODES: [&str; 7] = [
    "AllocationFailed",
    "ZonalAllocationFailed",
    "OverconstrainedAllocationRequest",
    "OverconstrainedZonalAllocationRequest",
    "SkuNotAvailable",
    "QuotaExceeded",
    "InternalExecutionError",
];

/// Returns a subscription in which the creation of one VM, by its number, fails with a code.
fn failing(number: usize, code: &str) -> AzureHarness {
    let machine = "PUT Microsoft.Compute/virtualMachines";
    let fault = Fault::at(machine, number, FaultKind::Fails(code.to_owned()));
    AzureHarness::new(Config {
        faults: vec![fault],
        ..Config::default()
    })
}
