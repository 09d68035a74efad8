//! `check-plan`: images in a plan, and its findings.

mod plans;
mod templates;

use std::fs;

use serde_json::{Value, json};
use testing::recorded_store::{RecordedStore, bake, in_cloud, promote, revoke, settled, with};
use vault_bake::manifest::Manifest;
use vault_bake::terraform::{ImageUse, Plan, PlannedImage};

const FILE: &str = "vault-bake.pins.json";

fn gallery(version: &str) -> String {
    format!(
        "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/galleries/g/images/vault/versions/{version}"
    )
}

fn managed(name: &str) -> String {
    format!("/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/images/{name}")
}

/// An image of these versions in a gallery, and as a managed image if `managed_too`.
fn in_azure(version: &str, vault: &str, consul: &str, managed_too: bool) -> Manifest {
    let mut manifest = with(version, vault, consul);
    let mut output = |class: &str, id: String| {
        let output = in_cloud("westeurope", class, id);
        manifest.outputs.push(output);
    };
    output("azure-gallery-version", gallery(version));
    if managed_too {
        output("azure-managed-image", managed(version));
    }
    manifest
}

/// A change of a resource, as `terraform show -json` prints it.
fn change(address: &str, kind: &str, before: &Value, after: &Value) -> Value {
    json!({
        "address": address, "mode": "managed", "type": kind, "name": "x",
        "change": { "actions": ["update"], "before": before, "after": after, "after_unknown": {} },
    })
}

fn vm(address: &str, before: &str, after: &str) -> Value {
    let image = |id: &str| match id {
        "" => Value::Null,
        id => json!({ "source_image_id": id, "name": "vm", "admin_password": "hunter2" }),
    };
    change(
        address,
        "azurerm_linux_virtual_machine",
        &image(before),
        &image(after),
    )
}

fn plan(changes: &[Value]) -> Value {
    json!({ "format_version": "1.2", "terraform_version": "1.11.4", "resource_changes": changes })
}

fn found(plan: &Value) -> Vec<ImageUse> {
    let plan = Plan::read("plan.json", plan.to_string().as_bytes());
    plan.unwrap().uses
}

#[test]
fn images_are_found_wherever_they_stand() {
    let local = "/srv/store/artifacts/sha256/00ff.qcow2";
    let mut unknown = vm("azurerm_linux_virtual_machine.computed", "", "");
    unknown["change"]["after_unknown"] = json!({ "source_image_id": true, "id": true });
    let mut elsewhere = vm("docker_container.web", "", "sha256:aa");
    elsewhere["type"] = "docker_container".into();
    let mut hidden = change(
        "azapi_resource.hidden",
        "azapi_resource",
        &Value::Null,
        &json!({}),
    );
    hidden["change"]["after_unknown"] = json!({ "body": true, "output": true });
    let body =
        json!({ "properties": { "storageProfile": { "imageReference": { "id": managed("b") } } } });
    let plan = json!({
        "format_version": "1.2",
        "resource_changes": [
            vm("azurerm_linux_virtual_machine.new", "", &gallery("1.0.0")),
            vm("azurerm_linux_virtual_machine.moved", &managed("a"), &managed("b")),
            vm("azurerm_linux_virtual_machine.gone", &managed("a"), ""),
            vm("azurerm_linux_virtual_machine.plain", "", "ubuntu-from-somewhere"),
            unknown,
            hidden,
            elsewhere,
            change("azurerm_hpc_cache.list", "azurerm_x", &Value::Null, &json!({ "pools": [{ "image_id": "a" }, { "image_id": "b" }] })),
            change("azapi_resource.object", "azapi_resource", &Value::Null, &json!({ "body": body })),
            change("azapi_resource.text", "azapi_resource", &Value::Null, &json!({ "body": body.to_string() })),
            change("azurerm_image.itself", "azurerm_image", &Value::Null, &json!({ "id": managed("b"), "name": "b" })),
            change("libvirt_volume.disk", "libvirt_volume", &Value::Null, &json!({ "source": local })),
        ],
        "planned_values": { "root_module": {
            "resources": [
                { "address": "azurerm_linux_virtual_machine.new", "type": "azurerm_linux_virtual_machine",
                  "values": { "source_image_id": gallery("1.0.0") } },
                { "address": "azurerm_image.other", "type": "azurerm_image", "values": { "id": managed("c") } },
            ],
            "child_modules": [{ "child_modules": [{ "resources": [
                { "address": "module.a.module.b.azurerm_linux_virtual_machine_scale_set.deep", "type": "azurerm_linux_virtual_machine_scale_set",
                  "values": { "source_image_id": gallery("1.0.1") } },
            ] }] }],
        } },
    });
    let lines: Vec<String> = found(&plan)
        .iter()
        .map(|one| {
            let id = |id: &Option<String>| id.clone().unwrap_or("-".into());
            let ImageUse {
                address, attribute, ..
            } = one;
            format!(
                "{address} {attribute}\n    {} -> {}",
                id(&one.before),
                match &one.after {
                    PlannedImage::Id(id) => id,
                    PlannedImage::Unknown => "-",
                    PlannedImage::NoId(why) => why,
                }
            )
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn what_is_no_plan_is_refused_with_what_was_expected() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let table = [
        ("empty", String::new()),
        ("not JSON", "Terraform will perform".into()),
        ("a list", "[]".into()),
        ("no version", json!({ "planned_values": {} }).to_string()),
        (
            "another version",
            json!({ "format_version": "2.0", "planned_values": {} }).to_string(),
        ),
        (
            "a state",
            json!({ "format_version": "1.0", "values": {} }).to_string(),
        ),
        ("neither", json!({ "format_version": "1.0" }).to_string()),
        (
            "changes are no list",
            json!({ "format_version": "1.0", "resource_changes": {} }).to_string(),
        ),
        (
            "no address",
            plan(&[json!({ "type": "x", "change": {} })]).to_string(),
        ),
        (
            "no change",
            plan(&[json!({ "address": "x.y" })]).to_string(),
        ),
        (
            "resources are no list",
            json!({ "format_version": "1.0", "planned_values": { "root_module": { "resources": {} } } }).to_string(),
        ),
        (
            "values are no object",
            json!({ "format_version": "1.0", "planned_values": 3 }).to_string(),
        ),
    ];
    let mut transcripts = Vec::new();
    for (what, text) in table {
        fs::write(recorded.path("plan.json"), text).unwrap();
        let line = recorded.transcript(&["check-plan", "plan.json"]);
        assert!(line.ends_with("exit 2\n"), "{what}: {line}");
        transcripts.push(format!("{what}\n{line}"));
    }
    transcripts.push(recorded.transcript(&["check-plan", "none.json"]));
    insta::assert_snapshot!(transcripts.join("\n"));
}

/// Makes a store with five images. The channel pointed to 1.0.0 and 1.0.1, and points to 1.0.2.
async fn recorded() -> RecordedStore {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let store = recorded.store().await;
    for (version, vault, consul) in [
        ("1.0.0", "1.20.0", "1.8.7"),
        ("1.0.1", "1.20.0", "1.8.7"),
        ("1.0.2", "1.21.0", "1.8.7"),
    ] {
        let manifest = in_azure(version, vault, consul, true);
        promote(&store, &bake(&store, &manifest).await).await;
    }
    let bad = bake(&store, &in_azure("1.0.3", "1.21.0", "1.8.7", true)).await;
    let instead = store.resolve(&"quickstart:prod".parse().unwrap()).await;
    revoke(&store, bad, Some(instead.unwrap()), "2026-11-22T19:00:00Z").await;
    let soon = bake(&store, &in_azure("1.0.4", "1.21.0", "1.9.0", true)).await;
    revoke(&store, soon, None, "2100-01-01T00:00:00Z").await;
    recorded
}

#[tokio::test]
async fn every_kind_of_finding_and_its_exit() {
    let recorded = recorded().await;
    let disk = vault_bake::digest::Digest::hash_bytes("disk 1.0.2").hex();
    let local = format!("/var/lib/images/artifacts/sha256/{disk}.qcow2");
    let shouted = gallery("1.0.2")
        .to_uppercase()
        .replace("/SUBSCRIPTIONS", "/subscriptions");
    let mut computed = vm("vm.computed", "", "");
    computed["change"]["after_unknown"] = json!({ "source_image_id": true });
    let disk = json!({ "source": local });
    let table: Vec<(&str, Vec<Value>)> = vec![
        ("nothing", vec![]),
        (
            "what the channel holds",
            vec![vm("vm.x", "", &gallery("1.0.2"))],
        ),
        ("in capital letters", vec![vm("vm.x", "", &shouted)]),
        (
            "a local file",
            vec![change("disk.x", "libvirt_volume", &Value::Null, &disk)],
        ),
        (
            "an upgrade",
            vec![vm("vm.x", &gallery("1.0.1"), &gallery("1.0.2"))],
        ),
        (
            "newer in the channel",
            vec![vm("vm.x", "", &gallery("1.0.1"))],
        ),
        ("revoked", vec![vm("vm.x", "", &managed("1.0.3"))]),
        ("scheduled", vec![vm("vm.x", "", &gallery("1.0.4"))]),
        ("untracked", vec![vm("vm.x", "", &gallery("9.9.9"))]),
        (
            "no version",
            vec![vm("vm.x", "", gallery("").trim_end_matches("/versions/"))],
        ),
        ("latest", vec![vm("vm.x", "", &gallery("latest"))]),
        ("not known yet", vec![computed]),
        (
            "another class",
            vec![vm("vm.x", &managed("1.0.2"), &gallery("1.0.2"))],
        ),
        (
            "another class, before not recorded",
            vec![vm("vm.x", &managed("by-hand"), &gallery("1.0.2"))],
        ),
        (
            "older Vault",
            vec![vm("vm.x", &gallery("1.0.2"), &gallery("1.0.1"))],
        ),
        (
            "older Consul",
            vec![vm("vm.x", &gallery("1.0.4"), &gallery("1.0.2"))],
        ),
        (
            "before not recorded",
            vec![vm("vm.x", &gallery("9.9.9"), &gallery("1.0.2"))],
        ),
        (
            "after not recorded",
            vec![vm("vm.x", &gallery("1.0.2"), &gallery("9.9.9"))],
        ),
        (
            "several",
            vec![
                vm("vm.good", "", &gallery("1.0.2")),
                vm("vm.bad[\"a\u{1b}[2J\nb\"]", "", &gallery("1.0.3")),
                vm("vm.unknown", "", "by hand\u{7}"),
            ],
        ),
    ];
    let mut transcripts = Vec::new();
    for (what, changes) in table {
        fs::write(recorded.path("plan.json"), plan(&changes).to_string()).unwrap();
        let text = recorded.transcript(&["check-plan", "plan.json"]);
        assert!(
            !text.contains("hunter2") && !text.contains('\u{1b}'),
            "{text}"
        );
        let code = |option| {
            let output = recorded.run(&["check-plan", option, "plan.json"], b"", true);
            output.status.code().unwrap()
        };
        let (strict, lenient) = (code("--strict"), code("--lenient"));
        assert!(
            text.ends_with(&format!("exit {strict}\n")),
            "the default is strict"
        );
        transcripts.push(format!("{what}\n{text}with --lenient: exit {lenient}\n"));
    }
    let json = recorded.transcript(&["check-plan", "plan.json", "--json"]);
    transcripts.push(json);
    settled().bind(|| insta::assert_snapshot!(transcripts.join("\n")));
}

#[tokio::test]
async fn pins_say_what_is_tracked() {
    let recorded = recorded().await;
    assert!(
        recorded
            .transcript(&["pin", "quickstart:prod"])
            .contains("exit 0")
    );
    let changes = [
        vm("vm.pinned", &gallery("1.0.1"), &gallery("1.0.2")),
        vm("vm.recorded", "", &gallery("1.0.1")),
        vm("vm.strange", "", &gallery("9.9.9")),
    ];
    fs::write(recorded.path("plan.json"), plan(&changes).to_string()).unwrap();
    let arguments = ["check-plan", "plan.json", "--pins", FILE];
    let mut transcripts = vec![
        recorded.transcript_without_store(&arguments),
        recorded.transcript(&arguments),
    ];
    let lenient = ["check-plan", "plan.json", "--pins", FILE, "--lenient"];
    transcripts.push(recorded.transcript_without_store(&lenient));
    // Other pins than those of the store.
    let text = fs::read_to_string(recorded.path(FILE)).unwrap();
    fs::write(
        recorded.path(FILE),
        text.replace("\"arch\": \"x86_64\"", "\"arch\": \"arm\""),
    )
    .unwrap();
    transcripts.push(recorded.transcript_without_store(&arguments));
    settled().bind(|| insta::assert_snapshot!(transcripts.join("\n")));
}
