//! Bases of builds on Azure: what a lock records of them, purchase plans, disk controllers, and
//! bases that are refused or soon withdrawn.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use testing::azure::Config;
use testing::azure::harness::{AzureHarness, base, gallery};
use vault_bake::definition::platform::BaseError;
use vault_bake::event::{Event, Events};
use vault_bake::platform::azure::{
    AzureBase, AzureSpec, DiskController, ImageReference, Images as _, LockedImage, VmGeneration,
};
use vault_bake::release::Architecture;

/// Locks a base, and returns it with the warnings of the lock.
async fn lock(azure: &AzureHarness, base: AzureBase) -> (Result<LockedImage, BaseError>, String) {
    let wanted = AzureSpec {
        base,
        machine: azure.machine.clone(),
        output: azure.output.clone(),
    };
    let warnings = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&warnings);
    let events = Events::new(move |event: &Event| {
        if let Event::Warning { message } = event {
            heard.lock().expect("the warnings").push(message.clone());
        }
    });
    let locked = azure.arm().image(&wanted, &events).await;
    let warnings = warnings.lock().expect("the warnings").join("\n");
    (locked, warnings)
}

fn marketplace(publisher: &str, offer: &str, sku: &str) -> AzureBase {
    AzureBase::Marketplace {
        publisher: publisher.to_owned(),
        offer: offer.to_owned(),
        sku: sku.to_owned(),
        version: "latest".to_owned(),
    }
}

#[tokio::test]
async fn a_lock_has_plan_and_disk_controllers_and_warns_of_a_withdrawal() {
    let azure = AzureHarness::new(Config::default());
    let mut lines = Vec::new();
    for (publisher, offer, sku) in [
        ("Debian", "debian-12", "12-gen2"),
        ("Debian", "debian-11", "11-gen2"),
        ("example-seller", "hardened", "paid"),
    ] {
        let (locked, warnings) = lock(&azure, marketplace(publisher, offer, sku)).await;
        let locked = locked.unwrap_or_else(|error| panic!("{sku}: {error}"));
        let plan = locked.plan.map(|plan| plan.to_string());
        lines.push(format!(
            "{sku}: {:?}, plan {plan:?}, warning {warnings:?}",
            locked.disk_controllers
        ));
    }
    insta::assert_snapshot!(lines.join("\n"));
    azure.assert_no_violations();
}

/// The build of a base that is soon withdrawn warns too: its lock file may be old.
#[tokio::test]
async fn a_build_warns_that_its_base_will_be_withdrawn() {
    let mut azure = AzureHarness::new(Config::default());
    azure.base = base("11-gen2", VmGeneration::V2);
    azure.base.image = ImageReference::Marketplace {
        publisher: "Debian".to_owned(),
        offer: "debian-11".to_owned(),
        sku: "11-gen2".to_owned(),
        version: "0.20240104.1616".to_owned(),
    };
    azure.harness.test = false;
    let baked = azure.bake(|_| {}).await;
    baked.unwrap_or_else(|failed| panic!("{failed}"));
    let noted = |event: &&Event| matches!(event, Event::Warning { message } if message.contains("withdrawn on 2027-01-31"));
    assert_eq!(
        azure.harness.recorded_events().iter().filter(noted).count(),
        1
    );
}

/// A managed image has programs for x86_64, so the build VM could not be captured.
#[tokio::test]
async fn an_arm64_base_needs_a_gallery() {
    let mut azure = AzureHarness::new(Config::default());
    azure.machine.vm_size = "Standard_D2ps_v5".to_owned();
    let arm = || marketplace("Debian", "debian-12", "12-arm64");
    let (locked, _) = lock(&azure, arm()).await;
    let error = locked.expect_err("a refusal");
    let hint = error.hint.as_deref().unwrap_or_default();
    insta::assert_snapshot!(format!("{error}\n{hint}"), @"
    cannot lock image Debian:debian-12:12-arm64:0.20250210.1000: its architecture is aarch64, which no managed image can have
    Set `managed_image = false` in `[output.azure]`, and name an image definition with the architecture Arm64 in `[output.azure.gallery]`.
    ");
    azure.output.managed_image = false;
    azure.output.gallery = Some(gallery());
    let (locked, _) = lock(&azure, arm()).await;
    let locked = locked.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(locked.arch, Architecture::Aarch64);
    azure.assert_no_violations();
}

/// The version has the architecture of its base, and is started again on a size that has it.
#[tokio::test]
async fn an_arm64_base_makes_gallery_versions_for_arm64() {
    for security in ["Standard", "TrustedLaunchSupported"] {
        let mut azure = AzureHarness::new(Config::default());
        azure.machine.vm_size = "Standard_D2ps_v5".to_owned();
        azure.base = base("12-arm64", VmGeneration::V2);
        azure.output.managed_image = false;
        let features = json!([{ "name": "SecurityType", "value": security }]);
        azure.with_gallery("V2", features).await;
        let baked = azure.bake(|_| {}).await;
        let baked = baked.unwrap_or_else(|failed| panic!("{security}: {failed}"));
        assert!(baked.tested.is_some_and(|test| test.passed), "{security}");
        let outputs = baked.manifest.outputs.iter();
        let outputs: Vec<_> = outputs
            .map(|one| (one.class.as_str(), one.arch.as_str()))
            .collect();
        assert_eq!(
            outputs,
            [("azure-gallery-version", "aarch64")],
            "{security}"
        );
        azure.assert_no_violations();
    }
}

fn paid_plan() -> Value {
    json!({ "publisher": "example-seller", "product": "hardened", "name": "paid" })
}

/// Azure refuses each VM of such an image, also of an image of an image, that does not name the plan.
#[tokio::test]
async fn a_purchase_plan_is_carried_from_base_to_base() {
    let mut azure = AzureHarness::new(Config::default());
    azure.with_paid_gallery("V2", json!([]), paid_plan()).await;
    let (locked, _) = lock(&azure, marketplace("example-seller", "hardened", "paid")).await;
    azure.base = locked.unwrap_or_else(|error| panic!("{error}"));
    let mut made = Vec::new();
    for version in ["1.2.3", "1.2.4", "1.2.5"] {
        azure.harness.version = Some(version.parse().expect("a version"));
        let baked = azure.bake(|_| {}).await;
        let baked = baked.unwrap_or_else(|failed| panic!("{version}: {failed}"));
        assert!(baked.tested.is_some_and(|test| test.passed), "{version}");
        azure.assert_no_violations();
        let outputs = baked.manifest.outputs.iter();
        made = outputs.map(|output| output.id.clone()).collect();
        let wanted = match version {
            "1.2.3" => AzureBase::ManagedImage {
                id: made[0].clone(),
            },
            _ => AzureBase::Gallery {
                id: made[1].clone(),
            },
        };
        let (locked, _) = lock(&azure, wanted).await;
        azure.base = locked.unwrap_or_else(|error| panic!("{version}: {error}"));
        let plan = azure.base.plan.as_ref().map(ToString::to_string);
        assert_eq!(plan.as_deref(), Some("example-seller:hardened:paid"));
    }
    let resources = azure.simulator.resources().into_iter();
    let image = resources.into_iter().find(|one| one.id == made[0]);
    let tags = image.expect("the managed image").body["tags"].clone();
    assert_eq!(
        [
            &tags["PlanPublisher"],
            &tags["PlanProduct"],
            &tags["PlanName"]
        ],
        ["example-seller", "hardened", "paid"]
    );
}

#[tokio::test]
async fn a_definition_has_the_purchase_plan_of_the_base() {
    let mut lines = Vec::new();
    for (name, of_definition, paid) in [
        ("the base alone has one", Value::Null, true),
        ("the definition alone has one", paid_plan(), false),
    ] {
        let mut azure = AzureHarness::new(Config::default());
        azure
            .with_paid_gallery("V2", json!([]), of_definition)
            .await;
        azure.base = base("12-gen2", VmGeneration::V2);
        if paid {
            let paid = marketplace("example-seller", "hardened", "paid");
            azure.base = lock(&azure, paid).await.0.expect("a lock");
        }
        lines.push(refusal(&mut azure, name).await);
    }
    insta::assert_snapshot!(lines.join("\n"));
}

/// Builds, and returns the refusal before anything was created.
async fn refusal(azure: &mut AzureHarness, name: &str) -> String {
    azure.mark_existing();
    let failed = azure.bake(|_| {}).await.err();
    let failed = failed.unwrap_or_else(|| panic!("{name}: it succeeded"));
    assert_eq!(azure.new_resource_names(), Vec::<String>::new(), "{name}");
    azure.assert_no_violations();
    let hint = failed.error.hint().unwrap_or_default();
    format!("{name}\n    {failed}\n    {hint}")
}

fn controllers(named: &str) -> Value {
    json!([{ "name": "DiskControllerTypes", "value": named }])
}

#[tokio::test]
async fn nvme_needs_a_size_a_base_and_a_definition_that_support_it() {
    let both = || vec!["SCSI".to_owned(), "NVMe".to_owned()];
    type Change = fn(&mut AzureHarness);
    let cases: [(&str, Change, &str); 5] = [
        (
            "a size with NVMe only, of which the definition says nothing",
            |azure| azure.machine.disk_controller = DiskController::Scsi,
            "SCSI, NVMe",
        ),
        (
            "a size with SCSI only",
            |azure| azure.machine.vm_size = "Standard_D2s_v5".to_owned(),
            "SCSI, NVMe",
        ),
        (
            "a base that does not name NVMe",
            |azure| azure.base.disk_controllers = Vec::new(),
            "SCSI, NVMe",
        ),
        (
            "a base of generation 1",
            |azure| {
                azure.machine.vm_size = "Standard_E2bds_v5".to_owned();
                azure.base.generation = VmGeneration::V1;
            },
            "SCSI, NVMe",
        ),
        (
            "an image definition that does not name NVMe",
            |_| {},
            "SCSI",
        ),
    ];
    let mut lines = Vec::new();
    for (name, change, of_definition) in cases {
        let mut azure = AzureHarness::new(Config::default());
        azure.with_gallery("V2", controllers(of_definition)).await;
        nvme(&mut azure, both());
        change(&mut azure);
        lines.push(refusal(&mut azure, name).await);
    }
    insta::assert_snapshot!(lines.join("\n"));

    let mut azure = AzureHarness::new(Config::default());
    azure.with_gallery("V2", controllers("SCSI, NVMe")).await;
    nvme(&mut azure, both());
    let baked = azure.bake(|_| {}).await;
    let baked = baked.unwrap_or_else(|failed| panic!("{failed}"));
    assert!(baked.tested.is_some_and(|test| test.passed));
    azure.assert_no_violations();
}

fn nvme(azure: &mut AzureHarness, of_base: Vec<String>) {
    azure.base = base("12-gen2", VmGeneration::V2);
    azure.base.disk_controllers = of_base;
    azure.machine.vm_size = "Standard_D2ds_v6".to_owned();
    azure.machine.disk_controller = DiskController::Nvme;
    azure.output.managed_image = false;
}
