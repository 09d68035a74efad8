//! Scale sets of uniform orchestration, as far as rollouts need them: a model, instances that follow it or not, capacity,
//! upgrades by hand, protection. No machine stands behind an instance, and flexible orchestration is refused.

use serde_json::{Value, json};

use super::super::answer::{Answer, Refusal, Reply};
use super::super::call::Call;
use super::super::kinds::kind;
use super::super::operations::{Effect, Operation};
use super::super::resources::parent_of;
use super::super::service::fits;
use super::super::world::{Resource, World, list, merge, now, status, text};
use super::capacity::{fits as image_fits, sized};
use super::{INSTANCE, SCALE_SET, source};

const IMAGE_REFERENCE: &str = "/virtualMachineProfile/storageProfile/imageReference";

pub fn put(
    world: &mut World,
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
    modelled(world, call, body)?;
    match before {
        Some(_) => Ok(json!({})),
        None => Ok(json!({ "next": 0, "uniqueId": world.uuid() })),
    }
}

pub fn patched(world: &World, call: &Call, before: &Resource, body: &Value) -> Result<(), Refusal> {
    let mode = |body: &Value| text(body, "/properties/orchestrationMode").to_owned();
    if mode(&before.body) != mode(body) {
        let text = "Changing property 'orchestrationMode' is not allowed.";
        return Err(Refusal::new(409, "PropertyChangeNotAllowed", text));
    }
    modelled(world, call, body)
}

/// The image of the model is there, goes with the size, and the capacity is within the quota.
fn modelled(world: &World, call: &Call, body: &Value) -> Result<(), Refusal> {
    let capacity = body["sku"]["capacity"].as_u64();
    let Some(capacity) = capacity else {
        return Err(Refusal::parameter(
            "sku.capacity",
            "Required parameter 'sku.capacity' is missing (null).",
        ));
    };
    let location = text(body, "/location");
    let size = sized(world, body, location, &call.id, capacity)?;
    let facts = source::of(
        world,
        &body["properties"]
            .pointer(IMAGE_REFERENCE)
            .cloned()
            .unwrap_or_default(),
        location,
    )?;
    let security = "/properties/virtualMachineProfile/securityProfile/securityType";
    image_fits(&facts, size, body, text(body, security))
}

/// A new set begins to make its instances.
pub fn stored(world: &mut World, call: &Call, new: bool) {
    if new {
        scaled(world, &call.id, "Creating");
    }
}

/// The end of a PUT or PATCH: as many instances as the capacity says.
pub fn settled(world: &mut World, id: &str, succeeded: bool) {
    let Some(set) = world.find(id).filter(|set| set.kind.name == SCALE_SET) else {
        return;
    };
    let automatic = set.property("/upgradePolicy/mode") != "Manual";
    if !succeeded {
        return;
    }
    for instance in world.below(id) {
        if automatic {
            follow(world, &instance);
        }
        if let Some(instance) = world.resources.get_mut(&instance) {
            "Succeeded".clone_into(&mut instance.state);
        }
    }
    scaled(world, id, "Succeeded");
}

/// Makes instances, or takes away the newest that nobody protects.
fn scaled(world: &mut World, id: &str, state: &str) {
    let set = world.resources[id].clone();
    let capacity = set.body["sku"]["capacity"].as_u64().unwrap_or(0) as usize;
    let mut next = set.inner["next"].as_u64().unwrap_or(0);
    let mut instances = world.below(id);
    while instances.len() < capacity {
        let shown = format!("{}/virtualMachines/{next}", set.id);
        let resource = instance(&set, &shown, next, state);
        instances.push(shown.to_lowercase());
        world.resources.insert(shown.to_lowercase(), resource);
        next += 1;
    }
    instances.sort_by_key(|id| std::cmp::Reverse(number(id)));
    let surplus = instances.len().saturating_sub(capacity);
    let kept = |id: &&String| !protected(&world.resources[*id], "protectFromScaleIn");
    let gone: Vec<String> = instances
        .iter()
        .filter(kept)
        .take(surplus)
        .cloned()
        .collect();
    for id in gone {
        world.resources.remove(&id);
    }
    if let Some(set) = world.resources.get_mut(id) {
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

/// An instance takes on the model of its set.
fn follow(world: &mut World, id: &str) {
    let set = world.find(parent_of(id)).expect("a set");
    let model = set.body["properties"]
        .pointer(IMAGE_REFERENCE)
        .cloned()
        .unwrap_or_default();
    if let Some(instance) = world.find_mut(id) {
        instance.body["properties"]["storageProfile"]["imageReference"] = model;
        instance.inner["created"] = json!(now());
    }
}

/// Of an instance a PUT changes the protection.
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

pub fn act(world: &mut World, call: &Call, action: &str) -> Answer {
    match (call.method.as_str(), action.to_lowercase().as_str()) {
        ("GET", "instanceview") => {
            let mut states: std::collections::BTreeMap<String, u64> = Default::default();
            for id in world.below(&call.id) {
                let state = world.resources[&id].state.to_lowercase();
                *states
                    .entry(format!("ProvisioningState/{state}"))
                    .or_default() += 1;
            }
            let summary: Vec<Value> = states
                .iter()
                .map(|(code, count)| json!({ "code": code, "count": count }))
                .collect();
            let state = world.resources[&call.id].state.to_lowercase();
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
                fits(world, call, "", schema)?;
            }
            for id in chosen(world, &call.id, &call.body) {
                if !world.resources.contains_key(&id) {
                    let text = format!("The entity was not found: instance {}.", number(&id));
                    return Err(Refusal::new(400, "InvalidParameter", text));
                }
                if let Some(instance) = world.find_mut(&id) {
                    "Updating".clone_into(&mut instance.state);
                }
            }
            Ok(world.begin(
                call,
                Effect::Action(name.to_owned()),
                Reply::empty(202),
                None,
            ))
        }
        _ => wrong_method(world, call),
    }
}

pub fn act_on_instance(world: &mut World, call: &Call, action: &str) -> Answer {
    match (call.method.as_str(), action.to_lowercase().as_str()) {
        ("GET", "instanceview") => Ok(Reply::of(200, instance_view(&world.resources[&call.id]))),
        ("POST", "reimage") => {
            if let Some(instance) = world.find_mut(&call.id) {
                "Updating".clone_into(&mut instance.state);
            }
            Ok(world.begin(
                call,
                Effect::Action("reimage".to_owned()),
                Reply::empty(202),
                None,
            ))
        }
        _ => wrong_method(world, call),
    }
}

fn wrong_method(world: &mut World, call: &Call) -> Answer {
    world.violation(format!("{} has no such method", call.name));
    Err(Refusal::new(405, "MethodNotAllowed", "no such method"))
}

/// The instances that an action is about: those named, or all.
fn chosen(world: &World, id: &str, body: &Value) -> Vec<String> {
    let named = list(body, "/instanceIds");
    if named.is_empty() || named.contains(&json!("*")) {
        return world.below(id);
    }
    let name = |named: &Value| {
        format!(
            "{id}/virtualmachines/{}",
            named.as_str().unwrap_or_default()
        )
    };
    named.iter().map(name).collect()
}

/// The end of an action on a set or on one instance.
pub fn acted(world: &mut World, operation: &Operation, action: &str) {
    let id = &operation.resource;
    if world
        .find(id)
        .is_some_and(|found| found.kind.name == INSTANCE)
    {
        follow(world, id);
        if let Some(instance) = world.find_mut(id) {
            "Succeeded".clone_into(&mut instance.state);
        }
        return;
    }
    for instance in chosen(world, id, &operation.body) {
        let Some(found) = world.find_mut(&instance) else {
            continue;
        };
        "Succeeded".clone_into(&mut found.state);
        // What is protected from the actions of its set is passed over.
        if protected(found, "protectFromScaleSetActions") {
            continue;
        }
        if action == "delete" {
            removed(world, &instance);
            world.resources.remove(&instance);
        } else {
            follow(world, &instance);
        }
    }
}

/// An instance that is deleted takes its place in the capacity with it.
pub fn removed(world: &mut World, id: &str) {
    if let Some(set) = world.find_mut(parent_of(id)) {
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

pub fn view(world: &World, resource: &Resource, expand: &str, body: &mut Value) {
    if resource.kind.name == SCALE_SET {
        body["properties"]["uniqueId"] = resource.inner["uniqueId"].clone();
        body["etag"] = json!(resource.etag());
        return;
    }
    let model = world
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
