//! Dispatches to the rules of each kind: validation of bodies, answers, deletions and the effects of
//! operations.

mod capacity;
mod disk;
mod firewall;
mod gallery;
mod image;
mod machine;
mod network;
mod os_profile;
mod scale_set;
mod snapshot;
mod source;
mod vm_create;

use serde_json::{Value, json};

use super::answer::{Answer, Refusal, Reply};
use super::call::Call;
use super::config::Policy;
use super::kinds::{GROUP, Kind};
use super::operations::{Effect, Operation, Work};
use super::scopes::limited;
use super::world::{CloudState, Resource, now, text};

pub const NSG: &str = "Microsoft.Network/networkSecurityGroups";
pub const VNET: &str = "Microsoft.Network/virtualNetworks";
pub const SUBNET: &str = "Microsoft.Network/virtualNetworks/subnets";
pub const PUBLIC_IP: &str = "Microsoft.Network/publicIPAddresses";
pub const NIC: &str = "Microsoft.Network/networkInterfaces";
pub const NAT: &str = "Microsoft.Network/natGateways";
pub const VM: &str = "Microsoft.Compute/virtualMachines";
pub const DISK: &str = "Microsoft.Compute/disks";
pub const SNAPSHOT: &str = "Microsoft.Compute/snapshots";
pub const IMAGE: &str = "Microsoft.Compute/images";
pub const GALLERY: &str = "Microsoft.Compute/galleries";
pub const DEFINITION: &str = "Microsoft.Compute/galleries/images";
pub const VERSION: &str = "Microsoft.Compute/galleries/images/versions";
pub const SCALE_SET: &str = "Microsoft.Compute/virtualMachineScaleSets";
pub const INSTANCE: &str = "Microsoft.Compute/virtualMachineScaleSets/virtualMachines";

/// Checks policies and tags.
pub fn allowed(cloud: &CloudState, call: &Call, kind: &Kind) -> Result<(), Refusal> {
    let tags = &call.body["tags"];
    limited(tags)?;
    let mut policies = cloud.config.policies.iter();
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

/// Answers a check of policies for a planned resource.
pub fn restrictions(cloud: &CloudState, call: &Call) -> Answer {
    let content = &call.body["resourceDetails"]["resourceContent"];
    let (Some(kind), Some(_)) = (content["type"].as_str(), content["location"].as_str()) else {
        let text = "The resource content needs a type and a location.";
        return Err(Refusal::new(400, "InvalidRequestContent", text));
    };
    let root = format!("/subscriptions/{}", cloud.config.subscription);
    let policies = cloud.config.policies.iter();
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

/// Checks a PUT, adds the service's values to the body, and returns the internal state.
pub fn put(
    cloud: &mut CloudState,
    call: &Call,
    kind: &Kind,
    body: &mut Value,
    before: Option<&Resource>,
) -> Result<Value, Refusal> {
    let mut inner = match kind.name {
        NSG => network::security_group(body)?,
        VNET => network::virtual_network(cloud, call, body)?,
        SUBNET => network::subnet(cloud, call, body)?,
        PUBLIC_IP => network::public_ip(cloud, call, body, before)?,
        NIC => network::interface(cloud, call, body, before)?,
        NAT => network::nat_gateway(cloud, call, body)?,
        VM => vm_create::put(cloud, call, body, before)?,
        DISK => disk::put(cloud, call, body)?,
        SNAPSHOT => snapshot::put(cloud, call, body, before)?,
        IMAGE => image::put(cloud, call, body, before)?,
        DEFINITION => gallery::definition(body, before)?,
        VERSION => gallery::version(cloud, call, body, before)?,
        SCALE_SET => scale_set::put(cloud, call, body, before)?,
        INSTANCE => scale_set::put_instance(body, before)?,
        _ => json!({}),
    };
    if before.is_none() {
        inner["created"] = json!(now());
    }
    Ok(inner)
}

/// Creates the dependents of a stored resource, and starts the work of a VM if there is any.
pub fn stored(cloud: &mut CloudState, call: &Call, kind: &Kind, new: bool) -> Option<Work> {
    match kind.name {
        VNET => network::store_subnets(cloud, call),
        VM if new => return Some(vm_create::start(cloud, call)),
        IMAGE if new => return image::capture(cloud, call),
        VERSION if new => return gallery::copy(cloud, call),
        SCALE_SET => scale_set::stored(cloud, call, new),
        _ => {}
    }
    None
}

/// Checks a PATCH.
pub fn patched(
    cloud: &CloudState,
    call: &Call,
    kind: &Kind,
    before: &Resource,
    body: &Value,
) -> Result<(), Refusal> {
    limited(&body["tags"])?;
    match kind.name {
        VERSION => gallery::unchanged(before, body),
        SCALE_SET => scale_set::patched(cloud, call, before, body),
        VM => vm_create::unchanged(before, body),
        _ => Ok(()),
    }
}

/// Checks that a resource may be deleted.
pub fn deletable(cloud: &CloudState, id: &str, kind: &Kind) -> Result<(), Refusal> {
    match kind.name {
        NSG | VNET | SUBNET | PUBLIC_IP | NIC | NAT => network::deletable(cloud, id, kind),
        DISK => disk::deletable(cloud, id),
        GALLERY | DEFINITION => gallery::deletable(cloud, id),
        VERSION => gallery::version_deletable(cloud, id),
        _ => Ok(()),
    }
}

/// Handles actions and instance views.
pub fn act(cloud: &mut CloudState, call: &Call, action: &str) -> Answer {
    match call.kind.map(|kind| kind.name) {
        Some(VM) => machine::act(cloud, call, action),
        Some(SCALE_SET) => scale_set::act(cloud, call, action),
        _ => scale_set::act_on_instance(cloud, call, action),
    }
}

/// Applies the effect of an operation at its end.
pub fn finish(cloud: &mut CloudState, operation: &Operation, succeeded: bool, worked: &Value) {
    let id = &operation.resource;
    match &operation.effect {
        Effect::Put => {
            let revision = cloud.number();
            let Some(resource) = cloud.find_mut(id) else {
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
            scale_set::settled(cloud, id, succeeded);
        }
        Effect::Delete if succeeded => remove(cloud, id),
        Effect::Delete => {
            if let Some(resource) = cloud.find_mut(id) {
                let group = resource.kind.name == GROUP.name;
                let state = if group { "Succeeded" } else { "Failed" };
                state.clone_into(&mut resource.state);
            }
        }
        Effect::Action(action) if succeeded => match cloud.find(id).map(|found| found.kind.name) {
            Some(VM) => machine::acted(cloud, id, action),
            Some(SCALE_SET | INSTANCE) => scale_set::acted(cloud, operation, action),
            _ => {}
        },
        Effect::Action(_) => {}
    }
}

/// Removes a resource and everything that is deleted with it.
pub fn remove(cloud: &mut CloudState, id: &str) {
    let below = cloud.below(id);
    let kind = cloud.find(id).map(|resource| resource.kind.name);
    for id in below.iter().filter(|_| kind != Some(VM)) {
        remove_one(cloud, id);
    }
    match kind {
        Some(VM) => machine::removed(cloud, id),
        Some(INSTANCE) => scale_set::removed(cloud, id),
        _ => {}
    }
    remove_one(cloud, id);
}

fn remove_one(cloud: &mut CloudState, id: &str) {
    let Some(resource) = cloud.resources.remove(id) else {
        return;
    };
    match resource.kind.name {
        VM => cloud.config.machines.delete(id),
        DISK => cloud
            .config
            .machines
            .discard(text(&resource.inner, "/machine")),
        _ => {}
    }
    cloud.locks.retain(|lock| lock.scope != id);
}

/// Returns a resource as answers show it.
pub fn view(cloud: &CloudState, resource: &Resource, version: &str, expand: &str) -> Value {
    let mut body = resource.body.clone();
    body["id"] = json!(resource.id);
    body["name"] = json!(resource.name());
    body["type"] = json!(resource.kind.name);
    body["properties"]["provisioningState"] = json!(resource.state);
    if resource.kind.namespace() == "Microsoft.Network" {
        body["etag"] = json!(format!("W/{}", resource.etag()));
    }
    match resource.kind.name {
        NSG | VNET | SUBNET | PUBLIC_IP | NIC | NAT => network::view(cloud, resource, &mut body),
        VM => machine::view(cloud, resource, version, expand, &mut body),
        DISK => disk::view(cloud, resource, &mut body),
        SNAPSHOT => snapshot::view(resource, &mut body),
        GALLERY | DEFINITION | VERSION => gallery::view(resource, expand, &mut body),
        SCALE_SET | INSTANCE => scale_set::view(cloud, resource, expand, &mut body),
        _ => {}
    }
    body
}

/// Returns a referenced resource.
///
/// It must exist, be of the kind, be provisioned, and be in the same location.
pub fn referred<'a>(
    cloud: &'a CloudState,
    call: &Call,
    id: &str,
    kind: &str,
    missing: (u16, &str),
) -> Result<&'a Resource, Refusal> {
    let user = &call.shown;
    let found = cloud
        .find(id)
        .filter(|found| found.kind.name == kind && found.hidden == 0);
    let Some(found) = found else {
        let text = format!(
            "Resource {id} referenced by resource {user} was not found. Please make sure that the referenced resource exists, and that both resources are in the same region."
        );
        return Err(Refusal::new(missing.0, missing.1, text));
    };
    // A network in the state `Updating` can be used; one that is being created or deleted cannot.
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

/// Returns the code of a missing reference, which differs between network and compute.
pub const NO_REFERENCE: (u16, &str) = (400, "InvalidResourceReference");
pub const NOT_FOUND: (u16, &str) = (404, "NotFound");

/// Returns the used cores of a location.
pub fn cores_used(cloud: &CloudState, location: &str) -> u64 {
    capacity::cores_used(cloud, location, "")
}
