//! The rules of each kind, called from what all kinds have in common: what a body must say, what is shown, what may be
//! deleted, and what the end of an operation does.

mod capacity;
mod disk;
mod firewall;
mod gallery;
mod image;
mod machine;
mod network;
mod os_profile;
mod scale_set;
mod source;
mod vm_create;

use serde_json::{Value, json};

use super::answer::{Answer, Refusal, Reply};
use super::call::Call;
use super::config::Policy;
use super::kinds::{GROUP, Kind};
use super::operations::{Effect, Operation, Work};
use super::scopes::limited;
use super::world::{Resource, World, now, text};

pub const NSG: &str = "Microsoft.Network/networkSecurityGroups";
pub const VNET: &str = "Microsoft.Network/virtualNetworks";
pub const SUBNET: &str = "Microsoft.Network/virtualNetworks/subnets";
pub const PUBLIC_IP: &str = "Microsoft.Network/publicIPAddresses";
pub const NIC: &str = "Microsoft.Network/networkInterfaces";
pub const NAT: &str = "Microsoft.Network/natGateways";
pub const VM: &str = "Microsoft.Compute/virtualMachines";
pub const DISK: &str = "Microsoft.Compute/disks";
pub const IMAGE: &str = "Microsoft.Compute/images";
pub const GALLERY: &str = "Microsoft.Compute/galleries";
pub const DEFINITION: &str = "Microsoft.Compute/galleries/images";
pub const VERSION: &str = "Microsoft.Compute/galleries/images/versions";
pub const SCALE_SET: &str = "Microsoft.Compute/virtualMachineScaleSets";
pub const INSTANCE: &str = "Microsoft.Compute/virtualMachineScaleSets/virtualMachines";

/// Policies and tags.
pub fn allowed(world: &World, call: &Call, kind: &Kind) -> Result<(), Refusal> {
    let tags = &call.body["tags"];
    limited(tags)?;
    let mut policies = world.config.policies.iter();
    let Some(policy) = policies.find(|policy| denies(policy, kind.name, tags)) else {
        return Ok(());
    };
    let name = &policy.name;
    let text = format!("Resource '{}' was disallowed by policy.", call.own_name());
    let info = json!([{ "type": "PolicyViolation", "info": {
        "policyAssignmentName": name, "policyAssignmentDisplayName": name,
        "policyDefinitionName": format!("{name}-definition"), "policyDefinitionEffect": "deny" } }]);
    Err(Refusal::new(403, "RequestDisallowedByPolicy", text)
        .with("target", json!(call.own_name()))
        .with("additionalInfo", info))
}

fn denies(policy: &Policy, kind: &str, tags: &Value) -> bool {
    let about = policy.kind.is_empty() || policy.kind.eq_ignore_ascii_case(kind);
    let lacks = policy.without_tag.is_empty() || tags.get(policy.without_tag.as_str()).is_none();
    about && lacks
}

/// What policies would say of a resource that is only described.
pub fn restrictions(world: &World, call: &Call) -> Answer {
    let content = &call.body["resourceDetails"]["resourceContent"];
    let (Some(kind), Some(_)) = (content["type"].as_str(), content["location"].as_str()) else {
        let text = "The resource content needs a type and a location.";
        return Err(Refusal::new(400, "InvalidRequestContent", text));
    };
    let root = format!("/subscriptions/{}", world.config.subscription);
    let policies = world.config.policies.iter();
    let denying = policies.filter(|policy| denies(policy, kind, &content["tags"]));
    let evaluations: Vec<Value> = denying
        .map(|policy| {
            let of = |what: &str| {
                format!("{root}/providers/Microsoft.Authorization/{what}/{}", policy.name)
            };
            json!({
                "policyInfo": { "policyDefinitionId": of("policyDefinitions"), "policyAssignmentId": of("policyAssignments") },
                "evaluationResult": "NonCompliant",
                "effectDetails": { "policyEffect": "Deny" },
            })
        })
        .collect();
    let found = json!({ "fieldRestrictions": [], "contentEvaluationResult": { "policyEvaluations": evaluations } });
    Ok(Reply::of(200, found))
}

/// Checks a PUT, fills in what the service fills in, and answers what it keeps beside the body.
pub fn put(
    world: &mut World,
    call: &Call,
    kind: &Kind,
    body: &mut Value,
    before: Option<&Resource>,
) -> Result<Value, Refusal> {
    let mut inner = match kind.name {
        NSG => network::security_group(body)?,
        VNET => network::virtual_network(world, call, body)?,
        SUBNET => network::subnet(world, call, body)?,
        PUBLIC_IP => network::public_ip(world, call, body, before)?,
        NIC => network::interface(world, call, body, before)?,
        NAT => network::nat_gateway(world, call, body)?,
        VM => vm_create::put(world, call, body, before)?,
        DISK => disk::put(world, call, body)?,
        IMAGE => image::put(world, call, body, before)?,
        DEFINITION => gallery::definition(body, before)?,
        VERSION => gallery::version(world, call, body, before)?,
        SCALE_SET => scale_set::put(world, call, body, before)?,
        INSTANCE => scale_set::put_instance(body, before)?,
        _ => json!({}),
    };
    if before.is_none() {
        inner["created"] = json!(now());
    }
    Ok(inner)
}

/// What a resource that was just stored brings with it; a machine may have something to do.
pub fn stored(world: &mut World, call: &Call, kind: &Kind, new: bool) -> Option<Work> {
    match kind.name {
        VNET => network::store_subnets(world, call),
        VM if new => return Some(vm_create::start(world, call)),
        IMAGE if new => return image::capture(world, call),
        VERSION if new => return gallery::copy(world, call),
        SCALE_SET => scale_set::stored(world, call, new),
        _ => {}
    }
    None
}

/// Checks a PATCH.
pub fn patched(
    world: &World,
    call: &Call,
    kind: &Kind,
    before: &Resource,
    body: &Value,
) -> Result<(), Refusal> {
    limited(&body["tags"])?;
    match kind.name {
        VERSION => gallery::unchanged(before, body),
        SCALE_SET => scale_set::patched(world, call, before, body),
        VM => vm_create::unchanged(before, body),
        _ => Ok(()),
    }
}

/// Whether a resource may go.
pub fn deletable(world: &World, id: &str, kind: &Kind) -> Result<(), Refusal> {
    match kind.name {
        NSG | VNET | SUBNET | PUBLIC_IP | NIC | NAT => network::deletable(world, id, kind),
        DISK => disk::deletable(world, id),
        GALLERY | DEFINITION => gallery::deletable(world, id),
        VERSION => gallery::version_deletable(world, id),
        _ => Ok(()),
    }
}

/// Actions, and instance views.
pub fn act(world: &mut World, call: &Call, action: &str) -> Answer {
    match call.kind.map(|kind| kind.name) {
        Some(VM) => machine::act(world, call, action),
        Some(SCALE_SET) => scale_set::act(world, call, action),
        _ => scale_set::act_on_instance(world, call, action),
    }
}

/// The end of an operation.
pub fn finish(world: &mut World, operation: &Operation, succeeded: bool, worked: &Value) {
    let id = &operation.resource;
    match &operation.effect {
        Effect::Put => {
            let revision = world.number();
            let Some(resource) = world.find_mut(id) else {
                return;
            };
            let state = if succeeded { "Succeeded" } else { "Failed" };
            state.clone_into(&mut resource.state);
            resource.revision = revision;
            if resource.kind.name == VM && resource.inner["power"] == "starting" {
                resource.inner["power"] = json!(if succeeded { "running" } else { "stopped" });
            }
            if let Some(file) = worked.get("file") {
                resource.inner["file"] = file.clone();
            }
            scale_set::settled(world, id, succeeded);
        }
        Effect::Delete if succeeded => remove(world, id),
        Effect::Delete => {
            if let Some(resource) = world.find_mut(id) {
                let group = resource.kind.name == GROUP.name;
                let state = if group { "Succeeded" } else { "Failed" };
                state.clone_into(&mut resource.state);
            }
        }
        Effect::Action(action) if succeeded => match world.find(id).map(|found| found.kind.name) {
            Some(VM) => machine::acted(world, id, action),
            Some(SCALE_SET | INSTANCE) => scale_set::acted(world, operation, action),
            _ => {}
        },
        Effect::Action(_) => {}
    }
}

/// A resource is gone, and what goes with it.
pub fn remove(world: &mut World, id: &str) {
    let below = world.below(id);
    let kind = world.find(id).map(|resource| resource.kind.name);
    for id in below.iter().filter(|_| kind != Some(VM)) {
        remove_one(world, id);
    }
    match kind {
        Some(VM) => machine::removed(world, id),
        Some(INSTANCE) => scale_set::removed(world, id),
        _ => {}
    }
    remove_one(world, id);
}

fn remove_one(world: &mut World, id: &str) {
    let Some(resource) = world.resources.remove(id) else {
        return;
    };
    match resource.kind.name {
        VM => world.config.machines.delete(id),
        DISK => world
            .config
            .machines
            .discard(text(&resource.inner, "/machine")),
        _ => {}
    }
    world.locks.retain(|lock| lock.scope != id);
}

/// A resource as it is shown.
pub fn view(world: &World, resource: &Resource, version: &str, expand: &str) -> Value {
    let mut body = resource.body.clone();
    body["id"] = json!(resource.id);
    body["name"] = json!(resource.name());
    body["type"] = json!(resource.kind.name);
    body["properties"]["provisioningState"] = json!(resource.state);
    if resource.kind.namespace() == "Microsoft.Network" {
        body["etag"] = json!(format!("W/{}", resource.etag()));
    }
    match resource.kind.name {
        NSG | VNET | SUBNET | PUBLIC_IP | NIC | NAT => network::view(world, resource, &mut body),
        VM => machine::view(world, resource, version, expand, &mut body),
        DISK => disk::view(world, resource, &mut body),
        GALLERY | DEFINITION | VERSION => gallery::view(resource, expand, &mut body),
        SCALE_SET | INSTANCE => scale_set::view(world, resource, expand, &mut body),
        _ => {}
    }
    body
}

/// A resource that another one names: it must be there, of the kind, provisioned, and in the same location.
pub fn referred<'a>(
    world: &'a World,
    call: &Call,
    id: &str,
    kind: &str,
    missing: (u16, &str),
) -> Result<&'a Resource, Refusal> {
    let user = &call.shown;
    let found = world
        .find(id)
        .filter(|found| found.kind.name == kind && found.hidden == 0);
    let Some(found) = found else {
        let text = format!(
            "Resource {id} referenced by resource {user} was not found. Please make sure that the referenced resource exists, and that both resources are in the same region."
        );
        return Err(Refusal::new(missing.0, missing.1, text));
    };
    // A network that is being changed can be used; one that was never made, or is going, cannot.
    if ["Creating", "Deleting", "Failed"].contains(&found.state.as_str()) {
        let text = format!(
            "Cannot proceed with operation because resource {id} used by resource {user} is not in Succeeded state. Resource is in {} state.",
            found.state
        );
        return Err(
            Refusal::new(429, "ReferencedResourceNotProvisioned", text).header("Retry-After", "1")
        );
    }
    let location = text(&call.body, "/location");
    if found.kind.located
        && !location.is_empty()
        && !found.location().eq_ignore_ascii_case(location)
    {
        let text = format!("Resource {id} referenced by resource {user} is in another location.");
        return Err(Refusal::new(400, "InvalidResourceReference", text));
    }
    Ok(found)
}

/// How network and compute call what is not there.
pub const NO_REFERENCE: (u16, &str) = (400, "InvalidResourceReference");
pub const NOT_FOUND: (u16, &str) = (404, "NotFound");

/// Cores of a location that are in use.
pub fn cores_used(world: &World, location: &str) -> u64 {
    capacity::cores_used(world, location, "")
}
