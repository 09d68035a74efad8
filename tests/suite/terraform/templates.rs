//! Requests to Azure Resource Manager, and volumes of libvirt, whose image is not in the usual
//! attribute.

use std::fs;

use super::*;

const GROUP: &str = "azurerm_resource_group_template_deployment";
const EVIL: &str = "/CommunityGalleries/evil/Images/x/Versions/1";

/// A created resource, with its unknown values.
fn made(kind: &str, after: &Value, unknown: &Value) -> Value {
    let mut change = change(&format!("{kind}.x"), kind, &Value::Null, after);
    change["change"]["after_unknown"] = unknown.clone();
    plan(&[change])
}

fn of(kind: &str, after: &Value) -> Value {
    made(kind, after, &json!({}))
}

fn azapi(kind: &str, properties: &Value) -> Value {
    let body = json!({ "properties": properties });
    of(
        "azapi_resource",
        &json!({ "type": format!("Microsoft.{kind}@2025-04-01"), "body": body }),
    )
}

fn template(template: &Value, parameters: &Value) -> Value {
    let after = json!({
        "template_content": template.to_string(),
        "parameters_content": parameters.to_string(),
    });
    of(GROUP, &after)
}

/// A template of one resource.
fn alone(kind: &str, properties: &Value) -> Value {
    let resource = json!({ "type": format!("Microsoft.{kind}"), "properties": properties });
    template(&json!({ "resources": [resource] }), &json!({}))
}

/// A VM whose image `id` has the key `key`.
fn machine(key: &str, id: &str) -> Value {
    json!([{
        "type": "Microsoft.Compute/virtualMachines",
        "properties": { "storageProfile": { "imageReference": { key: id } } },
    }])
}

/// A nested deployment whose parameter `i` is `given`; in the outer template, `i` is a recorded
/// image.
fn nested(scope: &Value, given: &Value, own: &Value) -> Value {
    let deployment = json!({
        "type": "Microsoft.Resources/deployments",
        "properties": {
            "expressionEvaluationOptions": scope,
            "parameters": given,
            "template": {
                "parameters": own,
                "resources": machine("communityGalleryImageId", "[parameters('i')]"),
            },
        },
    });
    let outer = json!({
        "parameters": { "i": { "type": "string", "defaultValue": gallery("1.0.2") }, "secret": { "type": "securestring" } },
        "resources": [deployment],
    });
    template(&outer, &json!({}))
}

fn scopes() -> Vec<(&'static str, Value)> {
    let inner = json!({ "scope": "Inner" });
    let own = json!({ "i": { "type": "string" } });
    let given = |id: &str| json!({ "i": { "value": id } });
    let vault = json!({ "i": { "reference": { "keyVault": { "id": "v" }, "secretName": "s" } } });
    let good = gallery("1.0.2");
    let default = json!({ "i": { "type": "string", "defaultValue": good } });
    let values = machine("id", "[parameters('i')]");
    let values = json!({ "parameters": default, "resources": values });
    let mut body = json!({ "template": values, "parameters": given(EVIL) });
    let known = azapi("Resources/deployments", &body);
    body["parameters"] = json!({});
    let after = json!({ "type": "Microsoft.Resources/deployments@2025-04-01", "body": { "properties": body } });
    let unknown = json!({ "body": { "properties": { "parameters": { "i": { "value": true } } } } });
    let text = values.to_string();
    vec![
        ("inner scope", nested(&inner, &given(EVIL), &own)),
        ("inner scope, recorded", nested(&inner, &given(&good), &own)),
        (
            "inner scope, handed on",
            nested(&inner, &given("[parameters('i')]"), &own),
        ),
        (
            "inner scope, handed on and not known",
            nested(&inner, &given("[parameters('secret')]"), &own),
        ),
        (
            "inner scope, from a vault",
            nested(&inner, &vault, &default),
        ),
        (
            "inner scope, all by an expression",
            nested(&inner, &json!("[variables('all')]"), &default),
        ),
        (
            "no scope, with a value of its own",
            nested(&Value::Null, &given(EVIL), &own),
        ),
        (
            "no scope, and both say the same",
            nested(&Value::Null, &given(&good), &own),
        ),
        ("no scope", nested(&Value::Null, &Value::Null, &json!({}))),
        (
            "outer scope",
            nested(&json!({ "scope": "outer" }), &Value::Null, &Value::Null),
        ),
        ("a deployment's own parameter", known),
        (
            "a deployment's own parameter, not known",
            made("azapi_resource", &after, &unknown),
        ),
        ("a parameter from a vault", template(&values, &vault)),
        (
            "an older template's parameters",
            of(
                "azurerm_template_deployment",
                &json!({ "template_body": text, "parameters": { "i": EVIL } }),
            ),
        ),
        (
            "an older template's parameters, not known",
            made(
                "azurerm_template_deployment",
                &json!({ "template_body": text, "parameters": {} }),
                &json!({ "parameters": { "i": true } }),
            ),
        ),
    ]
}

fn expressions() -> Vec<(&'static str, Value)> {
    let vm = "Compute/virtualMachines";
    let storage = json!({ "storageProfile": "[parameters('sp')]" });
    let resource = json!({ "type": "Microsoft.Compute/virtualMachines", "properties": storage });
    let asks = json!({ "parameters": { "sp": { "type": "object" } }, "resources": [resource] });
    let reference =
        |reference: &Value| json!({ "sp": { "value": { "imageReference": reference } } });
    let list = |resources: &Value| template(&json!({ "resources": resources }), &json!({}));
    let own = json!({ "properties": { "storageProfile": "[variables('sp')]" } });
    let round = json!({
        "variables": { "sp": own },
        "resources": [{ "type": "Microsoft.Compute/virtualMachines", "properties": "[variables('sp')]" }],
    });
    vec![
        (
            "a profile that is given",
            template(
                &asks,
                &reference(&json!({ "communityGalleryImageId": EVIL })),
            ),
        ),
        (
            "a profile that is given, recorded",
            template(&asks, &reference(&json!({ "id": gallery("1.0.2") }))),
        ),
        (
            "a profile that is given, of a marketplace",
            template(
                &asks,
                &reference(&json!({ "publisher": "a", "offer": "b" })),
            ),
        ),
        ("a profile that is not given", template(&asks, &json!({}))),
        (
            "properties that are joined",
            alone(vm, &json!("[union(parameters('o'), variables('p'))]")),
        ),
        (
            "properties of another resource",
            alone(vm, &json!("[reference('x')]")),
        ),
        (
            "a disk's data",
            alone(
                "Compute/disks",
                &json!({ "creationData": "[parameters('data')]" }),
            ),
        ),
        (
            "resources that are not there",
            list(&json!("[parameters('x')]")),
        ),
        (
            "a resource that is not there",
            list(&json!(["[parameters('x')]"])),
        ),
        (
            "a resource by its name",
            list(&json!({ "vm": "[parameters('x')]" })),
        ),
        ("a variable that names itself", template(&round, &json!({}))),
        (
            "properties of a network",
            alone(
                "Network/virtualNetworks",
                &json!("[union(parameters('o'), variables('p'))]"),
            ),
        ),
        (
            "a template without images",
            template(
                &json!({
                    "variables": { "image": "[concat('a', 'b')]" },
                    "resources": [{
                        "type": "Microsoft.Storage/storageAccounts", "tags": "[parameters('tags')]",
                        "properties": { "source": "[parameters('s')]" },
                    }],
                    "outputs": { "image": { "value": "[reference('x').image]" } },
                }),
                &json!({}),
            ),
        ),
    ]
}

fn sources() -> Vec<(&'static str, Value)> {
    let vm = "Compute/virtualMachines";
    let disk = |disk: &Value| json!({ "storageProfile": { "osDisk": disk } });
    let data = |data: &Value| json!({ "creationData": data });
    let of_version = |profile: &Value| {
        azapi(
            "Compute/galleries/images/versions",
            &json!({ "storageProfile": profile }),
        )
    };
    let snapshot = "/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/snapshots/x";
    let other = "/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/virtualMachines/x";
    let vhd = "https://example.org/x.vhd";
    let attached =
        json!({ "createOption": "Attach", "managedDisk": { "id": "/subscriptions/s/x/disks/os" } });
    let mut with_disk = disk(&attached);
    with_disk["storageProfile"]["imageReference"] = json!({ "id": gallery("1.0.2") });
    vec![
        (
            "a disk of a snapshot",
            azapi(
                "Compute/disks",
                &data(&json!({ "sourceResourceId": snapshot })),
            ),
        ),
        (
            "a disk of an address",
            alone(
                "Compute/disks",
                &data(&json!({ "createOption": "Import", "sourceUri": vhd })),
            ),
        ),
        (
            "a disk of an image",
            azapi(
                "Compute/disks",
                &data(&json!({ "imageReference": { "id": managed("other") } })),
            ),
        ),
        (
            "a disk of a gallery",
            azapi(
                "Compute/disks",
                &data(&json!({ "galleryImageReference": { "communityGalleryImageId": EVIL } })),
            ),
        ),
        (
            "a disk of an expression",
            alone(
                "Compute/disks",
                &data(&json!({ "sourceResourceId": "[resourceId('a', 'b')]" })),
            ),
        ),
        (
            "an image of a blob",
            azapi("Compute/images", &disk(&json!({ "blobUri": vhd }))),
        ),
        (
            "an image of a disk",
            azapi(
                "Compute/images",
                &disk(&json!({ "managedDisk": { "id": "/subscriptions/s/x/disks/os" } })),
            ),
        ),
        (
            "an image of a snapshot",
            alone(
                "Compute/images",
                &disk(&json!({ "snapshot": { "id": snapshot } })),
            ),
        ),
        (
            "an image of a machine",
            azapi(
                "Compute/images",
                &json!({ "sourceVirtualMachine": { "id": other } }),
            ),
        ),
        (
            "a version of a machine",
            of_version(&json!({ "source": { "virtualMachineId": other } })),
        ),
        (
            "a version of a source",
            of_version(&json!({ "source": { "id": other } })),
        ),
        (
            "a version of an image",
            of_version(&json!({ "source": { "id": managed("other") } })),
        ),
        (
            "a version of a snapshot",
            of_version(&json!({ "osDiskImage": { "source": { "id": snapshot } } })),
        ),
        (
            "a pool of nodes",
            azapi(
                "ContainerService/managedClusters/agentPools",
                &data(&json!({ "sourceResourceId": snapshot })),
            ),
        ),
        (
            "a cluster",
            azapi(
                "ContainerService/managedClusters",
                &json!({ "agentPoolProfiles": [data(&json!({ "sourceResourceId": snapshot }))] }),
            ),
        ),
        (
            "a machine of an address",
            azapi(vm, &disk(&json!({ "image": { "uri": vhd } }))),
        ),
        (
            "a machine of an address, in a template",
            alone(vm, &disk(&json!({ "image": { "uri": vhd } }))),
        ),
        ("a machine of a disk", azapi(vm, &disk(&attached))),
        (
            "a machine of a disk, in a template",
            alone(vm, &disk(&attached)),
        ),
        (
            "a machine of nothing, in a template",
            alone(vm, &disk(&json!({ "createOption": "FromImage" }))),
        ),
        (
            "a machine of an image, with its disk",
            azapi(vm, &with_disk),
        ),
        (
            "a volume of a volume",
            of(
                "libvirt_volume",
                &json!({ "base_volume_id": "/pool/other.qcow2" }),
            ),
        ),
        (
            "a volume of a volume's name",
            of("libvirt_volume", &json!({ "base_volume_name": "other" })),
        ),
        (
            "a volume over a file",
            of(
                "libvirt_volume",
                &json!({ "backing_store": { "path": "/pool/other.qcow2" } }),
            ),
        ),
        (
            "a domain of a volume",
            of(
                "libvirt_domain",
                &json!({ "disk": [{ "volume_id": "/pool/other.qcow2" }] }),
            ),
        ),
        (
            "a domain of a volume of the plan",
            made(
                "libvirt_domain",
                &json!({ "disk": [{}] }),
                &json!({ "disk": [{ "volume_id": true }] }),
            ),
        ),
        (
            "a domain of a file",
            of(
                "libvirt_domain",
                &json!({ "devices": { "disks": [{ "source": { "file": { "file": "/pool/other.qcow2" } } }] } }),
            ),
        ),
    ]
}

#[tokio::test]
async fn the_images_of_a_request_are_found_or_unknown() {
    let recorded = recorded().await;
    for (what, table) in [
        ("scopes", scopes()),
        ("expressions", expressions()),
        ("sources", sources()),
    ] {
        let mut transcripts = Vec::new();
        for (what, plan) in table {
            fs::write(recorded.path("plan.json"), plan.to_string()).unwrap();
            let text = recorded.transcript(&["check-plan", "plan.json"]);
            transcripts.push(format!("{what}\n{text}"));
        }
        settled().bind(|| insta::assert_snapshot!(what, transcripts.join("\n")));
    }
}
