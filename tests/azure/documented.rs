//! The statements of `docs/azure.md` about builds: the required role, skipped checks, notes, leftovers.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use testing::azure::harness::{AzureHarness, base};
use testing::azure::{Config, Fault, FaultKind};
use testing::plan::provisioner;
use vault_bake::bake::BakeError;
use vault_bake::event::{Event, Events};
use vault_bake::platform::azure::Security;
use vault_bake::platform::azure::VmGeneration;
use vault_bake::platform::azure::sweep_expired;

/// Returns the actions that the role must allow for this request.
fn actions(operation: &str) -> Vec<String> {
    let (method, what) = operation.split_once(' ').expect("a method");
    let verb = match method {
        "GET" => "read",
        "PUT" | "PATCH" => "write",
        "DELETE" => "delete",
        _ => "action",
    };
    let action = match what {
        // Tokens, signed addresses and polls of the caller's operation need no action of a role.
        "token" | "serial log" => return Vec::new(),
        _ if what.contains(" of ") => return Vec::new(),
        "policy restrictions" => "Microsoft.PolicyInsights/checkPolicyRestrictions/read".to_owned(),
        "provider" => "Microsoft.Resources/subscriptions/providers/read".to_owned(),
        "resources (list)" => "Microsoft.Resources/subscriptions/resources/read".to_owned(),
        "tags" => format!("Microsoft.Resources/tags/{verb}"),
        "marketplace version" => {
            "Microsoft.Compute/locations/publishers/artifacttypes/offers/skus/versions/read"
                .to_owned()
        }
        _ => {
            let kind = what.trim_end_matches(" (list)");
            let kind = kind.replace("/usages", "/locations/usages");
            let groups = "Microsoft.Resources/subscriptions/resourceGroups";
            format!(
                "{}/{verb}",
                kind.replace("Microsoft.Resources/resourceGroups", groups)
            )
        }
    };
    // A VM is read with its instance view.
    let view = (operation == "GET Microsoft.Compute/virtualMachines")
        .then(|| "Microsoft.Compute/virtualMachines/instanceView/read".to_owned());
    [action].into_iter().chain(view).collect()
}

/// Returns the actions of `role.json` in the documentation.
fn role() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/azure.md");
    let page = fs::read_to_string(page).expect("the page");
    let mut blocks = page.split("```json\n").skip(1);
    let block = blocks.find_map(|block| block.split_once("```").map(|(block, _)| block));
    let role: Value = serde_json::from_str(block.expect("a block")).expect("JSON");
    serde_json::from_value(role["Actions"].clone()).expect("actions")
}

fn allows(entry: &str, action: &str) -> bool {
    match entry.strip_suffix('*') {
        Some(start) => action.starts_with(start),
        None => action == entry,
    }
}

/// Builds with every kind of output, a test, a build that fails and reads the boot log, and sweeps.
#[tokio::test]
async fn the_role_has_what_is_requested_and_nothing_else() {
    let mut operations = BTreeSet::new();
    let mut since = |azure: &AzureHarness, before: usize| {
        let requests = azure.simulator.requests().split_off(before);
        operations.extend(requests.into_iter().map(|request| request.operation));
    };
    let mut azure = AzureHarness::new(Config::default());
    azure.with_gallery("V1", json!([])).await;
    let before = azure.simulator.requests().len();
    let baked = azure.bake(|_| {}).await;
    let baked = baked.unwrap_or_else(|failed| panic!("{failed}"));
    assert_eq!(baked.manifest.outputs.len(), 2);
    let tested = azure.retest(baked.digest).await;
    assert!(tested.is_ok_and(|tested| tested.record.passed));
    since(&azure, before);

    let mut azure = AzureHarness::new(Config::default());
    azure.simulator.put_group("work");
    azure.mark_existing();
    azure.machine.resource_group = Some("work".to_owned());
    // No server listens on this port, so the build reads the boot log.
    azure.machine.ssh_port = 9;
    azure.machine.boot_timeout_s = 2;
    let before = azure.simulator.requests().len();
    azure.bake(|_| {}).await.expect_err("no answer");
    azure.sweep().await;
    let late = "2100-01-01T00:00:00Z".parse().expect("a time");
    let swept = sweep_expired(&azure.arm(), late, false, &Events::silent()).await;
    swept.expect("a sweep");
    since(&azure, before);

    let mut azure = AzureHarness::new(Config::default());
    let both = json!([{ "name": "SecurityType", "value": "TrustedLaunchSupported" }]);
    azure.with_gallery("V2", both).await;
    azure.base = base("12-gen2", VmGeneration::V2);
    azure.machine.security = Security::TrustedLaunch;
    azure.output.managed_image = false;
    azure.harness.test = false;
    let before = azure.simulator.requests().len();
    let baked = azure.bake(|_| {}).await;
    baked.unwrap_or_else(|failed| panic!("{failed}"));
    since(&azure, before);

    let needed: BTreeSet<String> = operations.iter().flat_map(|one| actions(one)).collect();
    let role = role();
    let lacking = needed
        .iter()
        .filter(|one| !role.iter().any(|entry| allows(entry, one)));
    let lacking: Vec<_> = lacking.collect();
    let unused = role
        .iter()
        .filter(|entry| !needed.iter().any(|one| allows(entry, one)));
    let unused: Vec<_> = unused.collect();
    assert!(
        lacking.is_empty() && unused.is_empty(),
        "lacking {lacking:?}, unused {unused:?}"
    );
}

#[tokio::test]
async fn checks_of_the_disk_are_recorded_as_skipped_and_no_layer_is_used() {
    let mut azure = AzureHarness::new(Config::default());
    azure.harness.test = false;
    for version in ["1.2.3", "1.2.4"] {
        azure.harness.version = Some(version.parse().expect("a version"));
        let since = azure.harness.recorded_events().len();
        let baked = azure.bake(|_| {}).await;
        let manifest = baked.unwrap_or_else(|failed| panic!("{failed}")).manifest;
        let checks = manifest.checks.iter();
        let of_disk: Vec<_> = checks
            .filter(|check| check.id.starts_with("disk."))
            .collect();
        assert!(
            of_disk.len() > 5 && of_disk.iter().all(|check| check.skipped.is_some()),
            "{of_disk:?}"
        );
        assert!(manifest.layers.is_empty());
        let steps = |event: &&Event| matches!(event, Event::StepStarted { .. });
        assert_eq!(
            azure.harness.recorded_events()[since..]
                .iter()
                .filter(steps)
                .count(),
            2
        );
    }
}

#[tokio::test]
async fn policies_that_cannot_be_queried_are_a_note() {
    let refusal = FaultKind::Fails("AuthorizationFailed".to_owned());
    let mut azure = AzureHarness::new(Config {
        faults: vec![Fault::always("POST policy restrictions", refusal)],
        ..Config::default()
    });
    azure.harness.test = false;
    let baked = azure.bake(|_| {}).await;
    baked.unwrap_or_else(|failed| panic!("{failed}"));
    let noted = |event: &&Event| {
        matches!(event, Event::Note { message }
            if message.contains("policies") && message.contains("AuthorizationFailed"))
    };
    assert_eq!(
        azure.harness.recorded_events().iter().filter(noted).count(),
        1
    );
}

/// Kills the SSH server of its own session with all connections, as if Azure evicted the VM.
const EVICTED: &str = r"pid=$$ sessions=
until grep -aq 'vault-bake-sshd-.*sshd_config' /proc/$pid/cmdline; do
    if grep -q ^sshd /proc/$pid/comm; then sessions=$pid; fi
    pid=$(awk '{print $4}' /proc/$pid/stat)
    [ $pid -gt 1 ] || exit 9
done
kill -KILL $pid $sessions
sleep 20
";

#[tokio::test]
async fn a_build_vm_that_is_lost_ends_the_build_and_leaves_nothing() {
    let mut azure = AzureHarness::new(Config::default());
    azure.machine.spot = true;
    azure.harness.plan.steps[0] = provisioner("app", EVICTED, None);
    let failed = azure.bake(|_| {}).await.expect_err("the VM is gone");
    let message = failed.to_string();
    assert!(
        message.contains("app/install") && message.contains("went away: the connection was lost"),
        "{message}"
    );
    assert!(failed.leftovers.is_empty(), "{:?}", failed.leftovers);
    assert_eq!(azure.new_resource_names(), Vec::<String>::new());
    assert_eq!(azure.harness.verify().await.manifests, 0);
    azure.assert_no_violations();
}

/// Azure does not report the eviction, so it looks like an image that stops its own SSH server.
#[tokio::test]
async fn an_image_whose_vm_is_lost_during_its_test_has_failed_it_and_can_be_tested_again() {
    let mut azure = AzureHarness::new(Config::default());
    let once = azure.folder.path().join("guest-lost");
    let lost = format!(
        "if [ \"$VB_PHASE\" = image ] && [ ! -e {0} ]; then touch {0}\n{EVICTED}fi\n",
        once.display()
    );
    let check = format!("{lost}echo 'ok 1 - app.works: it works'\necho 1..1\n");
    azure.harness.plan.steps[0] = provisioner("app", "true\n", Some(&check));
    let baked = azure.bake(|_| {}).await;
    let baked = baked.unwrap_or_else(|failed| panic!("{failed}"));
    let tested = baked.tested.expect("a test");
    assert!(!tested.passed && baked.leftovers.is_empty(), "{tested:?}");
    let again = azure.retest(baked.digest).await;
    let again = again.unwrap_or_else(|failed| panic!("{failed}"));
    assert!(
        again.record.passed && again.leftovers.is_empty(),
        "{again:?}"
    );
    azure.assert_no_violations();
}

#[tokio::test]
async fn a_second_interrupt_starts_every_deletion() {
    let mut azure = AzureHarness::new(Config::default());
    let interrupt = azure.harness.interrupt.clone();
    let failed = azure
        .bake(move |event| {
            if matches!(event, Event::StepStarted { .. }) {
                interrupt.raise();
                interrupt.raise();
            }
        })
        .await
        .expect_err("it was interrupted");
    assert!(
        matches!(failed.error, BakeError::Interrupted(_)),
        "{failed}"
    );
    assert!(failed.leftovers.is_empty(), "{:?}", failed.leftovers);
    assert_eq!(azure.new_resource_names(), Vec::<String>::new());
    azure.assert_no_violations();
}
