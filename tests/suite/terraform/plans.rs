//! Plans whose images are unknown, elsewhere or deferred, or whose text has another encoding.

use std::fs;

use super::*;

/// A created resource, with its unknown values.
fn made(kind: &str, after: Value, unknown: Value) -> Value {
    let mut change = change(&format!("{kind}.x"), kind, &Value::Null, &Value::Null);
    change["change"]["after"] = after;
    change["change"]["actions"] = json!(["create"]);
    change["change"]["after_unknown"] = unknown;
    change
}

/// Formats output and exit status of `check-plan` for a file, with and without `--lenient`.
fn both(recorded: &RecordedStore, file: &str) -> String {
    let text = recorded.transcript(&["check-plan", file]);
    let lenient = recorded.run(&["check-plan", file, "--lenient"], b"", true);
    let lenient = lenient.status.code().unwrap();
    format!("{text}with --lenient: exit {lenient}\n")
}

#[tokio::test]
async fn plans_of_reports_are_refused_or_read() {
    let recorded = recorded().await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/fixtures/plans");
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|one| one.unwrap().path())
        .collect();
    names.sort();
    let mut transcripts = Vec::new();
    for path in names {
        let name = path.file_name().unwrap().to_str().unwrap();
        fs::copy(&path, recorded.path(name)).unwrap();
        transcripts.push(recorded.transcript(&["check-plan", name, "--strict"]));
    }
    settled().bind(|| insta::assert_snapshot!(transcripts.join("\n")));
}

/// Attributes whose image id may be unknown before the plan is applied: type, values, unknown
/// values, name.
fn places() -> Vec<(&'static str, Value, Value, &'static str)> {
    let none = || json!({});
    let id = |name: &str| json!({ name: true });
    vec![
        (
            "azurerm_linux_virtual_machine",
            none(),
            id("source_image_id"),
            "source_image_id",
        ),
        (
            "azurerm_windows_virtual_machine",
            none(),
            id("source_image_reference"),
            "source_image_reference",
        ),
        (
            "azurerm_linux_virtual_machine",
            none(),
            json!({ "source_image_reference": [true] }),
            "source_image_reference.0",
        ),
        (
            "azurerm_linux_virtual_machine",
            json!({ "name": "x" }),
            json!({ "os_managed_disk_id": true }),
            "os_managed_disk_id",
        ),
        (
            "azurerm_linux_virtual_machine_scale_set",
            json!({ "source_image_reference": [{ "publisher": "a" }] }),
            json!({ "os_disk": true }),
            "os_disk",
        ),
        (
            "azurerm_orchestrated_virtual_machine_scale_set",
            none(),
            id("source_image_id"),
            "source_image_id",
        ),
        (
            "azurerm_virtual_machine",
            none(),
            json!({ "storage_image_reference": [true] }),
            "storage_image_reference.0",
        ),
        (
            "azurerm_virtual_machine",
            none(),
            json!({ "storage_os_disk": [{ "image_uri": true }] }),
            "storage_os_disk.0.image_uri",
        ),
        (
            "azurerm_virtual_machine_scale_set",
            none(),
            json!({ "storage_profile_image_reference": [{ "id": true }] }),
            "storage_profile_image_reference.0.id",
        ),
        (
            "azurerm_managed_disk",
            json!({ "create_option": "Copy" }),
            id("source_resource_id"),
            "source_resource_id",
        ),
        (
            "azurerm_managed_disk",
            json!({ "create_option": "Import" }),
            id("source_uri"),
            "source_uri",
        ),
        (
            "azurerm_snapshot",
            none(),
            id("source_resource_id"),
            "source_resource_id",
        ),
        (
            "azurerm_image",
            none(),
            id("source_virtual_machine_id"),
            "source_virtual_machine_id",
        ),
        (
            "azurerm_shared_image_version",
            none(),
            id("managed_image_id"),
            "managed_image_id",
        ),
        (
            "azurerm_batch_pool",
            none(),
            json!({ "storage_image_reference": [{ "id": true }] }),
            "storage_image_reference.0.id",
        ),
        (
            "azurerm_kubernetes_cluster",
            none(),
            json!({ "default_node_pool": [{ "snapshot_id": true }] }),
            "default_node_pool.0.snapshot_id",
        ),
        (
            "azurerm_dev_test_linux_virtual_machine",
            none(),
            id("gallery_image_reference"),
            "gallery_image_reference",
        ),
        (
            "azurerm_dev_center_dev_box_definition",
            none(),
            id("image_reference_id"),
            "image_reference_id",
        ),
        (
            "azurerm_managed_devops_pool",
            none(),
            json!({ "virtual_machine_scale_set_fabric": [{ "image": [{ "id": true }] }] }),
            "virtual_machine_scale_set_fabric.0.image.0.id",
        ),
        (
            "azurerm_virtual_desktop_host_pool",
            none(),
            id("vm_template"),
            "vm_template",
        ),
        (
            "azurerm_something_new",
            none(),
            json!({ "pools": [{ "custom_image_id": true }] }),
            "pools.0.custom_image_id",
        ),
        (
            "azurerm_subscription_template_deployment",
            none(),
            id("template_content"),
            "template_content",
        ),
        (
            "azurerm_resource_group_template_deployment",
            json!({ "template_content": template("[parameters('imageId')]", json!({ "imageId": { "type": "string" } })) }),
            id("parameters_content"),
            "parameters_content",
        ),
        (
            "azurerm_template_deployment",
            none(),
            id("template_body"),
            "template_body",
        ),
        (
            "azapi_resource",
            json!({ "type": "Microsoft.Compute/virtualMachines@2025-04-01" }),
            id("body"),
            "body",
        ),
        (
            "azapi_resource",
            json!({ "type": "Microsoft.Compute/virtualMachines@2025-04-01", "body": { "properties": {} } }),
            json!({ "body": { "properties": { "storageProfile": { "imageReference": { "id": true } } } } }),
            "body.properties.storageProfile.imageReference.id",
        ),
        (
            "azapi_update_resource",
            json!({ "type": "Microsoft.Compute/virtualMachineScaleSets@2025-04-01", "body": {} }),
            json!({ "body": { "properties": { "virtualMachineProfile": { "storageProfile": true } } } }),
            "body.properties.virtualMachineProfile.storageProfile",
        ),
        ("libvirt_volume", none(), id("source"), "source"),
        (
            "azurerm_linux_virtual_machine",
            Value::Null,
            Value::Bool(true),
            "(the whole resource)",
        ),
    ]
}

fn template(id: &str, parameters: Value) -> String {
    let mut template = json!({
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "resources": [{
            "type": "Microsoft.Compute/virtualMachines", "apiVersion": "2025-04-01", "name": "vm",
            "properties": { "storageProfile": { "imageReference": { "id": id } } },
        }],
    });
    template["parameters"] = parameters;
    template.to_string()
}

#[test]
fn an_image_that_is_known_only_later_is_seen_at_every_place() {
    for (kind, after, unknown, attribute) in places() {
        let found = found(&plan(&[made(kind, after, unknown.clone())]));
        let later = found
            .iter()
            .filter(|one| one.after == PlannedImage::Unknown);
        let later: Vec<&str> = later.map(|one| one.attribute.as_str()).collect();
        assert!(later.contains(&attribute), "{kind} {unknown}: {later:?}");
    }
}

#[test]
fn what_a_provider_computes_is_no_image() {
    let good = gallery("1.0.2");
    let reference = json!([{ "publisher": "", "id": good }]);
    let network = json!({ "type": "Microsoft.Network/virtualNetworks@2025-05-01" });
    let plain = json!({ "parameters": {}, "resources": [] }).to_string();
    for (kind, after, unknown) in [
        (
            "azurerm_linux_virtual_machine",
            json!({ "source_image_id": good }),
            json!({ "os_managed_disk_id": true, "id": true, "os_disk": [{ "id": true }] }),
        ),
        (
            "azurerm_virtual_machine",
            json!({ "storage_image_reference": reference }),
            json!({ "storage_os_disk": [{ "managed_disk_id": true }] }),
        ),
        (
            "azurerm_managed_disk",
            json!({ "create_option": "Empty" }),
            json!({ "source_uri": true, "id": true }),
        ),
        (
            "azurerm_resource_group_template_deployment",
            json!({ "template_content": plain }),
            json!({ "parameters_content": true, "output_content": true }),
        ),
        ("azurerm_resource_group", json!({}), json!({ "id": true })),
        ("azurerm_resource_group", Value::Null, Value::Bool(true)),
        (
            "azapi_resource",
            network,
            json!({ "body": true, "output": true }),
        ),
        (
            "azapi_resource",
            json!({ "type": "Microsoft.Compute/virtualMachines@x", "body": {} }),
            json!({ "body": { "location": true, "tags": true } }),
        ),
        ("docker_container", json!({}), json!({ "image_id": true })),
    ] {
        let found = found(&plan(&[made(kind, after, unknown.clone())]));
        let strange = found
            .iter()
            .find(|one| one.after != PlannedImage::Id(good.clone()));
        assert_eq!(strange, None, "{kind} {unknown}");
    }
}

/// Plans of all kinds, each with a special case.
fn plans() -> Vec<(&'static str, Value)> {
    let good = gallery("1.0.2");
    let later = || {
        made(
            "azurerm_linux_virtual_machine",
            json!({}),
            json!({ "source_image_id": true }),
        )
    };
    let of = |kind: &str, after: Value| plan(&[made(kind, after, json!({}))]);
    let mut nested = later();
    nested["address"] =
        "module.a[\"x\"].module.b.azurerm_linux_virtual_machine.web[\"blue\"]".into();
    let mut read = later();
    read["mode"] = "data".into();
    read["change"]["actions"] = json!(["read"]);
    let mut gone = vm("azurerm_linux_virtual_machine.gone", &gallery("1.0.3"), "");
    gone["change"]["actions"] = json!(["delete"]);
    let mut same = vm(
        "azurerm_linux_virtual_machine.same",
        &gallery("1.0.3"),
        &gallery("1.0.3"),
    );
    same["change"]["actions"] = json!(["no-op"]);
    let mut partial = plan(&[vm("azurerm_linux_virtual_machine.x", "", &good)]);
    partial["complete"] = false.into();
    let mut deferred = plan(&[]);
    deferred["deferred_changes"] =
        json!([{ "reason": "provider_config_unknown", "resource_change": later() }]);
    let mut errored = plan(&[vm("azurerm_linux_virtual_machine.x", "", &good)]);
    errored["errored"] = true.into();
    let unlisted = json!({
        "format_version": "1.2",
        "planned_values": { "root_module": { "child_modules": [{ "resources": [{
            "address": "module.m.azurerm_linux_virtual_machine.x", "mode": "managed", "type": "azurerm_linux_virtual_machine",
            "values": { "name": "filtered" },
        }] }] } },
    });
    let marketplace = json!({ "publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server", "version": "latest" });
    let body = |reference: &Value| {
        json!({
            "type": "Microsoft.Compute/virtualMachines@2025-04-01",
            "body": { "properties": { "storageProfile": { "imageReference": reference } } },
        })
    };
    let parameters = |id: &str| json!({ "imageId": { "value": id } }).to_string();
    let deployment = |id: &str| {
        json!({
            "template_content": template("[parameters('imageId')]", json!({ "imageId": { "type": "string" } })),
            "parameters_content": parameters(id),
        })
    };
    let group = "azurerm_resource_group_template_deployment";
    vec![
        ("nothing", plan(&[])),
        ("in a module of a module", plan(&[nested])),
        ("a data source", plan(&[read])),
        ("a machine that goes", plan(&[gone])),
        ("a machine that stays as it is", plan(&[same])),
        ("not complete", partial),
        ("deferred", deferred),
        ("errored", errored),
        ("not among the changes", unlisted),
        (
            "a marketplace's image",
            of(
                "azurerm_linux_virtual_machine",
                json!({ "source_image_reference": [marketplace] }),
            ),
        ),
        (
            "the same by azapi",
            of("azapi_resource", body(&marketplace)),
        ),
        (
            "by azapi, recorded",
            of("azapi_resource", body(&json!({ "id": good }))),
        ),
        (
            "by azapi as text",
            of(
                "azapi_resource",
                json!({ "body": json!({ "properties": { "storageProfile": { "imageReference": { "id": good } } } }).to_string() }),
            ),
        ),
        (
            "by azapi, from a disk",
            of(
                "azapi_resource",
                json!({
                    "type": "Microsoft.Compute/virtualMachines@2025-04-01",
                    "body": { "properties": { "storageProfile": { "osDisk": { "createOption": "Attach" } } } },
                }),
            ),
        ),
        (
            "by a template's parameter, recorded",
            of(group, deployment(&good)),
        ),
        (
            "by a template's parameter, revoked",
            of(group, deployment(&gallery("1.0.3"))),
        ),
        (
            "by a template's expression",
            of(
                group,
                json!({ "template_content": template("[resourceId('Microsoft.Compute/images', 'x')]", json!({})) }),
            ),
        ),
        (
            "by a template elsewhere",
            of(
                group,
                json!({ "template_spec_version_id": "/subscriptions/s/x/templateSpecs/t/versions/1" }),
            ),
        ),
        (
            "by a template that is no JSON",
            of(group, json!({ "template_content": "resource vm" })),
        ),
        (
            "a disk of a snapshot",
            of(
                "azurerm_managed_disk",
                json!({ "create_option": "Copy", "source_resource_id": "/subscriptions/s/x/snapshots/data" }),
            ),
        ),
        (
            "a machine of a disk",
            of(
                "azurerm_linux_virtual_machine",
                json!({ "os_managed_disk_id": "/subscriptions/s/x/disks/os" }),
            ),
        ),
        (
            "another file",
            of(
                "libvirt_volume",
                json!({ "source": "/var/lib/images/debian.qcow2" }),
            ),
        ),
        (
            "one of two is known",
            plan(&[
                vm("vm.a", "", &good),
                vm("azurerm_linux_virtual_machine.b", "", &managed("by-hand")),
            ]),
        ),
        (
            "none of two is known",
            plan(&[
                vm("azurerm_linux_virtual_machine.a", "", &managed("a")),
                vm("azurerm_linux_virtual_machine.b", "", &managed("b")),
            ]),
        ),
    ]
}

#[tokio::test]
async fn plans_of_all_kinds() {
    let recorded = recorded().await;
    let mut transcripts = Vec::new();
    for (what, plan) in plans() {
        fs::write(recorded.path("plan.json"), plan.to_string()).unwrap();
        transcripts.push(format!("{what}\n{}", both(&recorded, "plan.json")));
    }
    settled().bind(|| insta::assert_snapshot!(transcripts.join("\n")));
}

#[test]
fn a_plan_is_read_as_shells_write_it() {
    let plan = plan(&[vm("azurerm_linux_virtual_machine.x", "", &gallery("1.0.2"))]).to_string();
    let wanted = Plan::read("plan.json", plan.as_bytes()).unwrap();
    assert_eq!(wanted.uses.len(), 1);
    let units: Vec<u16> = plan.encode_utf16().collect();
    let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
    let marked = |mark: &[u8], rest: &[u8]| [mark, rest].concat();
    for (what, bytes) in [
        (
            "UTF-8 with a mark",
            marked(b"\xef\xbb\xbf", plan.as_bytes()),
        ),
        ("UTF-16 LE", marked(b"\xff\xfe", &little)),
        ("UTF-16 BE", marked(b"\xfe\xff", &big)),
        ("UTF-16 LE without a mark", little.clone()),
        ("UTF-16 BE without a mark", big.clone()),
    ] {
        assert_eq!(Plan::read("plan.json", &bytes).unwrap(), wanted, "{what}");
    }
    let mut transcripts = Vec::new();
    for bytes in [
        marked(b"\xff\xfe", &little[..little.len() - 1]),
        marked(b"\xff\xfe\0\0", b"{\0\0\0"),
        marked(b"PK\x03\x04", b"..."),
        b"{\"@level\":\"info\"}\n{\"@level\":\"info\"}\n".to_vec(),
        b"\x80\x80".to_vec(),
    ] {
        transcripts.push(Plan::read("plan.json", &bytes).unwrap_err().why);
    }
    insta::assert_snapshot!(transcripts.join("\n"));
}

#[tokio::test]
async fn another_store_is_never_green() {
    let recorded = recorded().await;
    let other = RecordedStore::new(crate::VAULT_BAKE);
    bake(
        &other.store().await,
        &in_azure("7.0.0", "1.20.0", "1.8.7", false),
    )
    .await;
    let plan = plan(&[vm("azurerm_linux_virtual_machine.x", "", &gallery("1.0.2"))]);
    fs::write(recorded.path("plan.json"), plan.to_string()).unwrap();
    fs::write(other.path("plan.json"), plan.to_string()).unwrap();
    assert!(
        recorded
            .transcript(&["check-plan", "plan.json"])
            .ends_with("exit 0\n")
    );
    insta::assert_snapshot!(both(&other, "plan.json"));
}
