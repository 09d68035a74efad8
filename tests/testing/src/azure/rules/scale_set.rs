//! Uniform scale sets, as far as rollouts need them: model, instances, capacity, manual upgrades and
//! protection. Instances have no server, and flexible orchestration is refused.

use serde_json::{Value, json};

use super::super::answer::{Answer, Refusal, Reply};
use super::super::call::Call;
use super::super::kinds::kind;
use super::super::operations::{Effect, Operation};
use super::super::resources::parent_of;
use super::super::service::fits;
use super::super::world::{CloudState, Resource, list, merge, now, status, text};
use super::capacity::{fits as image_fits, sized};
use super::{INSTANCE, SCALE_SET, source};

const IMAGE_REFERENCE: &str = "/virtualMachineProfile/storageProfile/imageReference";

pub fn put(
    cloud: &mut CloudState,
    call: &Call,
    body: &mut Value,
    before: Option<&Resource>,
) -> Result<Value, Refusal> {
    let mode = text(body, "/properties/upgradePolicy/mode");
    if !["Manual", "Automatic", "Rolling"].contains(&mode) {
        return Err(Refusal::parameter(
            "upgradePolicy.mode",
            "Required parameter 'upgradePolicy.mode' is missing (null).",
        ));
    }
    if text(body, "/properties/orchestrationMode") == "Flexible" {
        return Err(Refusal::parameter(
            "orchestrationMode",
            "Flexible orchestration is not simulated.",
        ));
    }
    modelled(cloud, call, body)?;
    match before {
        Some(_) => Ok(json!({})),
        None => Ok(json!({ "next": 0, "uniqueId": cloud.uuid() })),
    }
}

pub fn patched(
    cloud: &CloudState,
    call: &Call,
    before: &Resource,
    body: &Value,
) -> Result<(), Refusal> {
    let mode = |body: &Value| text(body, "/properties/orchestrationMode").to_owned();
    if mode(&before.body) != mode(body) {
        let text = "Changing property 'orchestrationMode' is not allowed.";
        return Err(Refusal::new(409, "PropertyChangeNotAllowed", text));
    }
    modelled(cloud, call, body)
}

/// Checks the model's image and size, and the quota for the capacity.
fn modelled(cloud: &CloudState, call: &Call, body: &Value) -> Result<(), Refusal> {
    let capacity = body["sku"]["capacity"].as_u64();
    let Some(capacity) = capacity else {
        return Err(Refusal::parameter(
            "sku.capacity",
            "Required parameter 'sku.capacity' is missing (null).",
        ));
    };
    let location = text(body, "/location");
    let size = sized(cloud, body, location, &call.id, capacity)?;
    let facts = source::of(
        cloud,
        &body["properties"]
            .pointer(IMAGE_REFERENCE)
            .cloned()
            .unwrap_or_default(),
        location,
    )?;
    let security = "/properties/virtualMachineProfile/securityProfile/securityType";
    image_fits(&facts, size, body, text(body, security))
}

/// Starts the creation of a set's instances.
pub fn stored(cloud: &mut CloudState, call: &Call, new: bool) {
    if new {
        scaled(cloud, &call.id, "Creating");
    }
}

/// Adjusts the number of instances to the capacity at the end of a PUT or PATCH.
pub fn settled(cloud: &mut CloudState, id: &str, succeeded: bool) {
    let Some(set) = cloud.find(id).filter(|set| set.kind.name == SCALE_SET) else {
        return;
    };
    let automatic = set.property("/upgradePolicy/mode") != "Manual";
    if !succeeded {
        return;
    }
    for instance in cloud.below(id) {
        if automatic {
            follow(cloud, &instance);
        }
        if let Some(instance) = cloud.resources.get_mut(&instance) {
            "Succeeded".clone_into(&mut instance.state);
        }
    }
    scaled(cloud, id, "Succeeded");
}

/// Adds instances, or removes the newest unprotected ones.
fn scaled(cloud: &mut CloudState, id: &str, state: &str) {
    let set = cloud.resources[id].clone();
    let capacity = set.body["sku"]["capacity"].as_u64().unwrap_or(0) as usize;
    let mut next = set.inner["next"].as_u64().unwrap_or(0);
    let mut instances = cloud.below(id);
    while instances.len() < capacity {
        let shown = format!("{}/virtualMachines/{next}", set.id);
        let resource = instance(&set, &shown, next, state);
        instances.push(shown.to_lowercase());
        cloud.resources.insert(shown.to_lowercase(), resource);
        next += 1;
    }
    instances.sort_by_key(|id| std::cmp::Reverse(number(id)));
    let surplus = instances.len().saturating_sub(capacity);
    let kept = |id: &&String| !protected(&cloud.resources[*id], "protectFromScaleIn");
    let gone: Vec<String> = instances
        .iter()
        .filter(kept)
        .take(surplus)
        .cloned()
        .collect();
    for id in gone {
        cloud.resources.remove(&id);
    }
    if let Some(set) = cloud.resources.get_mut(id) {
        set.inner["next"] = json!(next);
    }
}

fn instance(set: &Resource, shown: &str, number: u64, state: &str) -> Resource {
    let profile = &set.body["properties"]["virtualMachineProfile"];
    let name = format!("{}_{number}", set.name());
    let computer = format!(
        "{}{number:06}",
        text(profile, "/osProfile/computerNamePrefix")
    );
    Resource {
        id: shown.to_owned(),
        kind: kind(INSTANCE).expect("a kind"),
        body: json!({ "location": set.location(), "sku": set.body["sku"],
            "properties": { "storageProfile": { "imageReference": profile["storageProfile"]["imageReference"] },
                "osProfile": { "computerName": computer } } }),
        state: state.to_owned(),
        hidden: 0,
        inner: json!({ "name": name, "health": "healthy", "power": "running", "created": now() }),
        revision: 1,
    }
}

fn number(id: &str) -> u64 {
    id.rsplit('/')
        .next()
        .and_then(|name| name.parse().ok())
        .unwrap_or(0)
}

fn protected(instance: &Resource, from: &str) -> bool {
    instance.body["properties"]["protectionPolicy"][from] == true
}

/// Applies the model of the set to an instance.
fn follow(cloud: &mut CloudState, id: &str) {
    let set = cloud.find(parent_of(id)).expect("a set");
    let model = set.body["properties"]
        .pointer(IMAGE_REFERENCE)
        .cloned()
        .unwrap_or_default();
    if let Some(instance) = cloud.find_mut(id) {
        instance.body["properties"]["storageProfile"]["imageReference"] = model;
        instance.inner["created"] = json!(now());
    }
}

/// Handles a PUT of an instance, which changes its protection.
pub fn put_instance(body: &mut Value, before: Option<&Resource>) -> Result<Value, Refusal> {
    let Some(before) = before else {
        return Err(Refusal::new(
            404,
            "NotFound",
            "The instance does not exist: a scale set makes its own.",
        ));
    };
    let mut new = before.body.clone();
    merge(&mut new, body);
    *body = new;
    Ok(json!({}))
}

pub fn act(cloud: &mut CloudState, call: &Call, action: &str) -> Answer {
    match (call.method.as_str(), action.to_lowercase().as_str()) {
        ("GET", "instanceview") => {
            let mut states: std::collections::BTreeMap<String, u64> = Default::default();
            for id in cloud.below(&call.id) {
                let state = cloud.resources[&id].state.to_lowercase();
                *states
                    .entry(format!("ProvisioningState/{state}"))
                    .or_default() += 1;
            }
            let summary: Vec<Value> = states
                .iter()
                .map(|(code, count)| json!({ "code": code, "count": count }))
                .collect();
            let state = cloud.resources[&call.id].state.to_lowercase();
            Ok(Reply::of(
                200,
                json!({ "virtualMachine": { "statusesSummary": summary },
                "statuses": [status(&format!("ProvisioningState/{state}"))] }),
            ))
        }
        ("POST", name @ ("manualupgrade" | "delete" | "reimage")) => {
            let schema = match name {
                "reimage" => "VirtualMachineScaleSetReimageParameters",
                _ => "VirtualMachineScaleSetVMInstanceRequiredIDs",
            };
            if name != "reimage" || !call.body.is_null() {
                fits(cloud, call, "", schema)?;
            }
            for id in chosen(cloud, &call.id, &call.body) {
                if !cloud.resources.contains_key(&id) {
                    let text = format!("The entity was not found: instance {}.", number(&id));
                    return Err(Refusal::new(400, "InvalidParameter", text));
                }
                if let Some(instance) = cloud.find_mut(&id) {
                    "Updating".clone_into(&mut instance.state);
                }
            }
            Ok(cloud.begin(
                call,
                Effect::Action(name.to_owned()),
                Reply::empty(202),
                None,
            ))
        }
        _ => wrong_method(cloud, call),
    }
}

pub fn act_on_instance(cloud: &mut CloudState, call: &Call, action: &str) -> Answer {
    match (call.method.as_str(), action.to_lowercase().as_str()) {
        ("GET", "instanceview") => Ok(Reply::of(200, instance_view(&cloud.resources[&call.id]))),
        ("POST", "reimage") => {
            if let Some(instance) = cloud.find_mut(&call.id) {
                "Updating".clone_into(&mut instance.state);
            }
            Ok(cloud.begin(
                call,
                Effect::Action("reimage".to_owned()),
                Reply::empty(202),
                None,
            ))
        }
        _ => wrong_method(cloud, call),
    }
}

fn wrong_method(cloud: &mut CloudState, call: &Call) -> Answer {
    cloud.violation(format!("{} has no such method", call.name));
    Err(Refusal::new(405, "MethodNotAllowed", "no such method"))
}

/// Returns the instances of an action: the named ones, or all.
fn chosen(cloud: &CloudState, id: &str, body: &Value) -> Vec<String> {
    let named = list(body, "/instanceIds");
    if named.is_empty() || named.contains(&json!("*")) {
        return cloud.below(id);
    }
    let name = |named: &Value| {
        format!(
            "{id}/virtualmachines/{}",
            named.as_str().unwrap_or_default()
        )
    };
    named.iter().map(name).collect()
}

/// Applies the effect of an action on a set or an instance.
pub fn acted(cloud: &mut CloudState, operation: &Operation, action: &str) {
    let id = &operation.resource;
    if cloud
        .find(id)
        .is_some_and(|found| found.kind.name == INSTANCE)
    {
        follow(cloud, id);
        if let Some(instance) = cloud.find_mut(id) {
            "Succeeded".clone_into(&mut instance.state);
        }
        return;
    }
    for instance in chosen(cloud, id, &operation.body) {
        let Some(found) = cloud.find_mut(&instance) else {
            continue;
        };
        "Succeeded".clone_into(&mut found.state);
        // Skips instances that are protected from actions of the set.
        if protected(found, "protectFromScaleSetActions") {
            continue;
        }
        if action == "delete" {
            removed(cloud, &instance);
            cloud.resources.remove(&instance);
        } else {
            follow(cloud, &instance);
        }
    }
}

/// Deletes an instance and lowers the capacity.
pub fn removed(cloud: &mut CloudState, id: &str) {
    if let Some(set) = cloud.find_mut(parent_of(id)) {
        let capacity = set.body["sku"]["capacity"].as_u64().unwrap_or(0);
        set.body["sku"]["capacity"] = json!(capacity.saturating_sub(1));
    }
}

fn instance_view(instance: &Resource) -> Value {
    let state = format!("ProvisioningState/{}", instance.state.to_lowercase());
    let power = format!("PowerState/{}", text(&instance.inner, "/power"));
    let health = format!("HealthState/{}", text(&instance.inner, "/health"));
    json!({ "statuses": [status(&state), status(&power)], "vmHealth": { "status": status(&health) } })
}

pub fn view(cloud: &CloudState, resource: &Resource, expand: &str, body: &mut Value) {
    if resource.kind.name == SCALE_SET {
        body["properties"]["uniqueId"] = resource.inner["uniqueId"].clone();
        body["etag"] = json!(resource.etag());
        return;
    }
    let model = cloud
        .find(parent_of(&resource.id))
        .and_then(|set| set.body["properties"].pointer(IMAGE_REFERENCE));
    let own = &resource.body["properties"]["storageProfile"]["imageReference"];
    body["properties"]["latestModelApplied"] = json!(model == Some(own));
    body["instanceId"] = json!(resource.name());
    body["name"] = resource.inner["name"].clone();
    if expand.eq_ignore_ascii_case("instanceView") {
        body["properties"]["instanceView"] = instance_view(resource);
    }
}
