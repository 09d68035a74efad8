//! Compute galleries: definitions, and versions with the matrix of their allowed sources.

use serde_json::{Value, json};

use super::super::answer::Refusal;
use super::super::call::Call;
use super::super::operations::Work;
use super::super::resources::{parent_of, work};
use super::super::world::{CloudState, Resource, list, text};
use super::source::{generation, regions, security_feature};
use super::{DEFINITION, IMAGE, NOT_FOUND, SNAPSHOT, VERSION, VM, referred};

pub fn definition(body: &Value, before: Option<&Resource>) -> Result<Value, Refusal> {
    for part in ["publisher", "offer", "sku"] {
        if text(body, &format!("/properties/identifier/{part}")).is_empty() {
            let text = format!("Required parameter 'identifier.{part}' is missing (null).");
            return Err(Refusal::parameter(&format!("identifier.{part}"), text));
        }
    }
    let arm = text(body, "/properties/architecture") == "Arm64";
    let first = text(body, "/properties/hyperVGeneration") != "V2";
    let secured = list(body, "/properties/features").iter().any(|feature| {
        text(feature, "/name") == "SecurityType" && text(feature, "/value") != "Standard"
    });
    if first && (arm || secured) {
        let text = "Arm64 and security types other than Standard need hyperVGeneration V2.";
        return Err(Refusal::parameter(
            "galleryImage.properties.hyperVGeneration",
            text,
        ));
    }
    let Some(before) = before else {
        return Ok(json!({}));
    };
    let fixed = [
        "osType",
        "osState",
        "hyperVGeneration",
        "identifier",
        "architecture",
        "features",
        "purchasePlan",
    ];
    changed(before, body, &fixed)?;
    Ok(json!({}))
}

pub fn version(
    cloud: &CloudState,
    call: &Call,
    body: &mut Value,
    before: Option<&Resource>,
) -> Result<Value, Refusal> {
    targets(cloud, body)?;
    if let Some(before) = before {
        unchanged(before, body)?;
        return Ok(json!({}));
    }
    let definition = cloud.find(parent_of(&call.id)).expect("a definition");
    let profile = &body["properties"]["storageProfile"];
    let sources = [
        "/source/virtualMachineId",
        "/source/id",
        "/osDiskImage/source/id",
    ];
    let id = sources
        .into_iter()
        .map(|at| text(profile, at))
        .find(|id| !id.is_empty());
    let Some(id) = id else {
        let text = "Required parameter 'storageProfile.source' is missing (null).";
        return Err(Refusal::parameter(
            "galleryImageVersion.properties.storageProfile",
            text,
        ));
    };
    let from = cloud.find(id).map_or("", |found| found.kind.name);
    let source = match from {
        VM => from_machine(cloud, call, id, definition)?,
        IMAGE => from_image(cloud, call, id, definition)?,
        SNAPSHOT => from_snapshot(cloud, call, id, definition)?,
        VERSION => {
            let other = referred(cloud, call, id, VERSION, NOT_FOUND)?;
            let theirs = cloud.find(parent_of(&other.id)).expect("a definition");
            alike(definition, generation(theirs), theirs.property("/osState"))?;
            json!({ "file": other.inner["file"], "plan": other.inner["plan"] })
        }
        _ => {
            let text = format!("The source {id} of the gallery image version was not found.");
            return Err(Refusal::new(404, "NotFound", text));
        }
    };
    let named = list(body, "/properties/publishingProfile/targetRegions");
    if named.is_empty() {
        body["properties"]["publishingProfile"]["targetRegions"] = json!([{ "name": body["location"], "regionalReplicaCount": 1, "storageAccountType": "Standard_LRS" }]);
    }
    Ok(source)
}

/// Checks a version from a VM, which a definition for both security types does not accept.
fn from_machine(
    cloud: &CloudState,
    call: &Call,
    id: &str,
    definition: &Resource,
) -> Result<Value, Refusal> {
    let vm = referred(cloud, call, id, VM, NOT_FOUND)?;
    let feature = security_feature(definition);
    if feature.ends_with("Supported") {
        let text = format!(
            "The definition has SecurityType={feature}. Currently only Vhd Blob, User Image and Gallery Image Version sources are supported."
        );
        return Err(Refusal::parameter(
            "galleryImageVersion.properties.storageProfile.source.id",
            text,
        ));
    }
    let own = text(&vm.inner, "/security");
    let wanted = if feature.is_empty() {
        "Standard"
    } else {
        feature
    };
    if own != wanted {
        let text =
            format!("The source has SecurityType {own}, the gallery image definition {wanted}.");
        return Err(Refusal::parameter(
            "galleryImageVersion.properties.storageProfile.source.id",
            text,
        ));
    }
    if vm.inner["power"] == "running" || vm.inner["power"] == "starting" {
        let text = format!("The source virtual machine '{id}' is running.");
        return Err(Refusal::new(409, "OperationNotAllowed", text));
    }
    let state = if vm.inner["generalized"] == true {
        "Generalized"
    } else {
        "Specialized"
    };
    alike(definition, text(&vm.inner, "/generation"), state)?;
    let wanted = match definition.property("/architecture") {
        "" => "x64",
        named => named,
    };
    if vm.inner["architecture"] != wanted {
        let text = format!("The architecture of the source is not {wanted}.");
        return Err(Refusal::parameter(
            "galleryImageVersion.properties.storageProfile.source.id",
            text,
        ));
    }
    Ok(json!({ "machine": id.to_lowercase(), "plan": vm.inner["plan"] }))
}

/// Checks a version from a snapshot of the OS disk of a VM.
///
/// A definition for both security types accepts it from a VM of either type:
/// <https://github.com/hashicorp/packer-plugin-azure/issues/528>
fn from_snapshot(
    cloud: &CloudState,
    call: &Call,
    id: &str,
    definition: &Resource,
) -> Result<Value, Refusal> {
    let snapshot = referred(cloud, call, id, SNAPSHOT, NOT_FOUND)?;
    let refused = |text: String| {
        Err(Refusal::parameter(
            "galleryImageVersion.properties.storageProfile.osDiskImage.source.id",
            text,
        ))
    };
    let own = text(&snapshot.inner, "/security");
    let wanted = match security_feature(definition) {
        "" => "Standard",
        feature => feature,
    };
    if !wanted.ends_with("Supported") && own != wanted {
        return refused(format!(
            "The source has SecurityType {own}, the gallery image definition {wanted}."
        ));
    }
    let state = if snapshot.inner["generalized"] == true {
        "Generalized"
    } else {
        "Specialized"
    };
    alike(definition, text(&snapshot.inner, "/generation"), state)?;
    let wanted = match definition.property("/architecture") {
        "" => "x64",
        named => named,
    };
    if snapshot.inner["architecture"] != wanted {
        return refused(format!("The architecture of the source is not {wanted}."));
    }
    Ok(json!({ "machine": snapshot.inner["machine"], "plan": snapshot.inner["plan"] }))
}

fn from_image(
    cloud: &CloudState,
    call: &Call,
    id: &str,
    definition: &Resource,
) -> Result<Value, Refusal> {
    let image = referred(cloud, call, id, IMAGE, NOT_FOUND)?;
    if security_feature(definition) == "TrustedLaunch" {
        let text = "A managed image is no source for a definition with SecurityType=TrustedLaunch.";
        return Err(Refusal::parameter(
            "galleryImageVersion.properties.storageProfile.source.id",
            text,
        ));
    }
    if definition.property("/architecture") == "Arm64" {
        let text = "The architecture of the source is not Arm64.";
        return Err(Refusal::parameter(
            "galleryImageVersion.properties.storageProfile.source.id",
            text,
        ));
    }
    let state = match image.property("/storageProfile/osDisk/osState") {
        "" => "Generalized",
        named => named,
    };
    let theirs = match image.property("/hyperVGeneration") {
        "" => "V1",
        named => named,
    };
    alike(definition, theirs, state)?;
    Ok(json!({ "file": image.inner["file"], "plan": image.inner["plan"] }))
}

fn alike(definition: &Resource, theirs: &str, state: &str) -> Result<(), Refusal> {
    let own = generation(definition);
    if own != theirs {
        let text = format!(
            "The resource with id '{}' has a different Hypervisor generation ['{own}'] than the source ['{theirs}'].",
            definition.id
        );
        return Err(Refusal::parameter(
            "galleryImageVersion.properties.storageProfile.source.id",
            text,
        ));
    }
    let wanted = definition.property("/osState");
    if wanted != state {
        let text =
            format!("The source is {state}, the gallery image definition has osState {wanted}.");
        return Err(Refusal::parameter(
            "galleryImageVersion.properties.storageProfile.source.id",
            text,
        ));
    }
    Ok(())
}

/// Checks that the regions exist and include the version's location.
fn targets(cloud: &CloudState, body: &Value) -> Result<(), Refusal> {
    let named = list(body, "/properties/publishingProfile/targetRegions");
    let plain = |name: &str| name.replace(' ', "").to_lowercase();
    let names: Vec<String> = named
        .iter()
        .map(|region| plain(text(region, "/name")))
        .collect();
    if let Some(unknown) = names
        .iter()
        .find(|name| !cloud.config.locations.contains(name))
    {
        let text = format!("The target region '{unknown}' is not valid.");
        return Err(Refusal::parameter("publishingProfile.targetRegions", text));
    }
    if !names.is_empty() && !names.contains(&plain(text(body, "/location"))) {
        let text = "The gallery image version's own location is not among its target regions.";
        return Err(Refusal::parameter("publishingProfile.targetRegions", text));
    }
    Ok(())
}

/// Checks that source and storage of a version do not change.
pub fn unchanged(before: &Resource, body: &Value) -> Result<(), Refusal> {
    let source = |body: &Value| body.pointer("/properties/storageProfile/source").cloned();
    let mode = |body: &Value| {
        body.pointer("/properties/publishingProfile/replicationMode")
            .cloned()
    };
    let account = |body: &Value| {
        list(body, "/properties/publishingProfile/targetRegions")
            .iter()
            .find_map(|region| region.get("storageAccountType").cloned())
    };
    for (name, of) in [
        (
            "storageProfile.source",
            &source as &dyn Fn(&Value) -> Option<Value>,
        ),
        ("publishingProfile.replicationMode", &mode),
        (
            "publishingProfile.targetRegions.storageAccountType",
            &account,
        ),
    ] {
        let new = of(body);
        if new.is_some() && new != of(&before.body) {
            let text = format!(
                "Changing property 'galleryImageVersion.properties.{name}' is not allowed."
            );
            return Err(Refusal::new(409, "PropertyChangeNotAllowed", text).with(
                "target",
                json!(format!("galleryImageVersion.properties.{name}")),
            ));
        }
    }
    Ok(())
}

fn changed(before: &Resource, body: &Value, fixed: &[&str]) -> Result<(), Refusal> {
    let is = |name: &&&str| before.body["properties"][**name] != body["properties"][**name];
    if let Some(name) = fixed.iter().find(is) {
        let text = format!("Changing property 'galleryImage.properties.{name}' is not allowed.");
        return Err(Refusal::new(409, "PropertyChangeNotAllowed", text)
            .with("target", json!(format!("galleryImage.properties.{name}"))));
    }
    Ok(())
}

/// Checks that a gallery or definition is empty before its deletion.
pub fn deletable(cloud: &CloudState, id: &str) -> Result<(), Refusal> {
    let nested = cloud.below(id);
    let Some(first) = nested.first() else {
        return Ok(());
    };
    let text = format!("Can not delete resource before nested resources are deleted: {first}.");
    Err(Refusal::new(409, "CannotDeleteResource", text))
}

pub fn version_deletable(cloud: &CloudState, id: &str) -> Result<(), Refusal> {
    let version = &cloud.resources[id];
    let safety = &version.body["properties"]["safetyProfile"];
    let ends = version.property("/publishingProfile/endOfLifeDate");
    if safety["blockDeletionBeforeEndOfLife"] == true && !ends.is_empty() && *ends > *super::now() {
        let text =
            format!("The gallery image version cannot be deleted before its end of life, {ends}.");
        return Err(Refusal::new(409, "OperationNotAllowed", text));
    }
    Ok(())
}

/// Captures the disk of the VM that is the source of a version.
pub fn copy(cloud: &CloudState, call: &Call) -> Option<Work> {
    let machine = cloud.resources[&call.id].inner["machine"]
        .as_str()?
        .to_owned();
    let image = call.id.clone();
    Some(work(cloud, move |machines| {
        let file = machines.capture(&machine, &image)?;
        Ok(json!({ "file": file }))
    }))
}

pub fn view(resource: &Resource, expand: &str, body: &mut Value) {
    if resource.kind.name == DEFINITION || resource.kind.name != VERSION {
        return;
    }
    body["properties"]["publishingProfile"]["publishedDate"] = resource.inner["created"].clone();
    if expand.eq_ignore_ascii_case("ReplicationStatus") {
        let done = resource.provisioned();
        let (state, progress) = match resource.state.as_str() {
            "Succeeded" => ("Completed", 100),
            "Failed" => ("Failed", 0),
            _ => ("Replicating", 50),
        };
        let summary: Vec<Value> = regions(resource)
            .iter()
            .map(|region| json!({ "region": region, "state": state, "progress": progress }))
            .collect();
        let aggregated = if done { "Completed" } else { "InProgress" };
        let aggregated = if state == "Failed" {
            "Failed"
        } else {
            aggregated
        };
        body["properties"]["replicationStatus"] =
            json!({ "aggregatedState": aggregated, "summary": summary });
    }
}
