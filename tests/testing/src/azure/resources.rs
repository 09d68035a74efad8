//! PUT, GET, PATCH, DELETE and lists of all kinds of resources, with Azure's order of checks.

use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use super::answer::{Answer, Refusal, Reply};
use super::call::Call;
use super::faults::FaultKind;
use super::kinds::Kind;
use super::machines::Machines;
use super::operations::{Effect, Work};
use super::rules;
use super::scopes::paged;
use super::service::fits;
use super::world::{CloudState, Resource, merge, text};

pub fn dispatch(cloud: &mut CloudState, call: &mut Call) -> Answer {
    let kind = call.kind.expect("a known kind");
    match (call.method.as_str(), call.action.clone(), call.lists) {
        ("GET", None, true) => list(cloud, call, kind),
        ("GET", None, false) => get(cloud, call),
        ("PUT", None, false) => put(cloud, call, kind),
        ("PATCH", None, false) if kind.patch.is_some() => patch(cloud, call, kind),
        ("DELETE", None, false) => delete(cloud, call, kind),
        ("POST" | "GET", Some(action), false) => act(cloud, call, &action),
        _ => {
            let text = format!("{} has no such method", call.name);
            cloud.violation(&text);
            Err(Refusal::new(405, "MethodNotAllowed", text))
        }
    }
}

fn group_of(call: &Call) -> &str {
    call.route.group.as_deref().unwrap_or_default()
}

/// Returns the resource if it exists and is visible.
pub fn visible_resource<'a>(
    cloud: &'a mut CloudState,
    call: &Call,
) -> Result<&'a Resource, Refusal> {
    cloud.group(group_of(call))?;
    let missing = Refusal::missing(&call.shown);
    let Some(resource) = cloud.resources.get_mut(&call.id) else {
        return Err(missing);
    };
    if resource.hidden > 0 {
        resource.hidden -= 1;
        return Err(missing);
    }
    Ok(resource)
}

fn get(cloud: &mut CloudState, call: &Call) -> Answer {
    visible_resource(cloud, call)?;
    let expand = call.query.get("$expand").map_or("", String::as_str);
    let resource = &cloud.resources[&call.id];
    let body = rules::view(cloud, resource, &call.version, expand);
    let etag = resource.etag();
    Ok(Reply::of(200, body).header("ETag", etag))
}

fn list(cloud: &mut CloudState, call: &Call, kind: &'static Kind) -> Answer {
    if let Some(group) = &call.route.group {
        cloud.group(group)?;
    }
    if !call.route.names.is_empty() && !cloud.resources.contains_key(&call.id) {
        return Err(Refusal::missing(&call.shown));
    }
    let prefix = format!("{}/", call.id);
    let found: Vec<Value> = cloud
        .of_kind(kind.name)
        .filter(|resource| resource.id.to_lowercase().starts_with(&prefix))
        .map(|resource| rules::view(cloud, resource, &call.version, ""))
        .collect();
    Ok(paged(cloud, call, found))
}

fn put(cloud: &mut CloudState, call: &mut Call, kind: &'static Kind) -> Answer {
    let group = cloud.group(group_of(call))?;
    if group.state == "Deleting" {
        let text = format!(
            "The resource group '{}' is in deprovisioning state and cannot perform this operation.",
            group.name()
        );
        return Err(Refusal::new(409, "ResourceGroupBeingDeleted", text));
    }
    registered(cloud, kind)?;
    if let Some(wrong) = kind.misnamed(call.own_name()) {
        return Err(Refusal::new(400, "InvalidResourceName", wrong));
    }
    let short = sdk_name(kind.name);
    fits(cloud, call, kind.name, short)?;
    rules::allowed(cloud, call, kind)?;
    if call.route.names.len() > 1 {
        let parent = parent_of(&call.id);
        if !cloud.resources.contains_key(parent) {
            let text = format!(
                "Can not perform requested operation on nested resource. Parent resource '{parent}' not found."
            );
            return Err(Refusal::new(404, "ParentResourceNotFound", text));
        }
    }
    located(cloud, call, kind)?;
    cloud.locked(&call.id, true)?;
    let before = cloud.resources.get(&call.id).cloned();
    matched(call, before.as_ref())?;
    let mut body = call.body.clone();
    let mut inner = rules::put(cloud, call, kind, &mut body, before.as_ref())?;
    if let Some(before) = &before {
        let mut old = before.inner.clone();
        merge(&mut old, &inner);
        inner = old;
    }
    let revision = cloud.number();
    let new = before.is_none();
    cloud.resources.insert(
        call.id.clone(),
        Resource {
            id: call.shown.clone(),
            kind,
            body,
            state: if new { "Creating" } else { "Updating" }.to_owned(),
            hidden: u32::from(call.fault == Some(FaultKind::NotFound)),
            inner,
            revision,
        },
    );
    let work = rules::stored(cloud, call, kind, new);
    let view = rules::view(cloud, &cloud.resources[&call.id], &call.version, "");
    let reply = Reply::of(if new { 201 } else { 200 }, view);
    Ok(cloud.begin(call, Effect::Put, reply, work))
}

fn patch(cloud: &mut CloudState, call: &mut Call, kind: &'static Kind) -> Answer {
    visible_resource(cloud, call)?;
    fits(cloud, call, "", kind.patch.unwrap_or_default())?;
    cloud.locked(&call.id, true)?;
    let before = cloud.resources[&call.id].clone();
    matched(call, Some(&before))?;
    let mut body = before.body.clone();
    merge(&mut body, &call.body);
    rules::patched(cloud, call, kind, &before, &body)?;
    let revision = cloud.number();
    if let Some(resource) = cloud.find_mut(&call.id) {
        resource.body = body;
        "Updating".clone_into(&mut resource.state);
        resource.revision = revision;
    }
    let view = rules::view(cloud, &cloud.resources[&call.id], &call.version, "");
    Ok(cloud.begin(call, Effect::Put, Reply::of(200, view), None))
}

fn delete(cloud: &mut CloudState, call: &mut Call, kind: &'static Kind) -> Answer {
    cloud.group(group_of(call))?;
    if !cloud.resources.contains_key(&call.id) {
        return Ok(Reply::empty(204));
    }
    cloud.locked(&call.id, false)?;
    rules::deletable(cloud, &call.id, kind)?;
    if let Some(resource) = cloud.find_mut(&call.id) {
        "Deleting".clone_into(&mut resource.state);
    }
    Ok(cloud.begin(call, Effect::Delete, Reply::empty(202), None))
}

fn act(cloud: &mut CloudState, call: &mut Call, action: &str) -> Answer {
    visible_resource(cloud, call)?;
    if call.method == "POST" {
        cloud.locked(&call.id, true)?;
    }
    rules::act(cloud, call, action)
}

/// Returns the text of the console at the address from `retrieveBootDiagnosticsData`.
pub fn serial(cloud: &mut CloudState, call: &Call) -> Answer {
    if call.headers.contains_key("authorization") {
        cloud.violation("a token was sent to the signed address of a serial log");
    }
    let id = call.path.trim_start_matches("/serial").to_lowercase();
    let signed = call.query.get("sig").is_some_and(|sig| sig == "simulated");
    if !signed || cloud.find(&id).is_none() {
        return Err(Refusal::new(
            403,
            "AuthenticationFailed",
            "Server failed to authenticate the request.",
        ));
    }
    Ok(Reply::of(200, json!(cloud.config.machines.serial_log(&id))))
}

/// Checks `If-None-Match: *` and `If-Match`.
fn matched(call: &Call, before: Option<&Resource>) -> Result<(), Refusal> {
    let none_match = call.headers.get("if-none-match");
    let failed = match (
        none_match.map(String::as_str),
        call.headers.get("if-match"),
        before,
    ) {
        (Some("*"), _, Some(_)) => true,
        (_, Some(etag), Some(before)) => etag != "*" && *etag != before.etag(),
        (_, Some(_), None) => true,
        _ => false,
    };
    if failed {
        let text = "The condition of the request's If-Match or If-None-Match header does not hold.";
        return Err(Refusal::new(412, "PreconditionFailed", text));
    }
    Ok(())
}

fn registered(cloud: &CloudState, kind: &Kind) -> Result<(), Refusal> {
    let namespace = kind.namespace();
    if cloud.unregistered.contains(&namespace.to_lowercase()) {
        let text = format!("The subscription is not registered to use namespace '{namespace}'.");
        return Err(Refusal::new(409, "MissingSubscriptionRegistration", text));
    }
    Ok(())
}

/// Checks that the location exists and does not change.
fn located(cloud: &CloudState, call: &Call, kind: &Kind) -> Result<(), Refusal> {
    if !kind.located {
        return Ok(());
    }
    let location = text(&call.body, "/location");
    if location.is_empty() {
        let text = "The location property is required for this definition.";
        return Err(Refusal::new(400, "LocationRequired", text));
    }
    let location = location.replace(' ', "").to_lowercase();
    if !cloud.config.locations.contains(&location) {
        let text = format!(
            "The provided location '{location}' is not available for resource type '{}'.",
            kind.name
        );
        return Err(Refusal::new(
            400,
            "LocationNotAvailableForResourceType",
            text,
        ));
    }
    if let Some(before) = cloud.resources.get(&call.id)
        && !before.location().eq_ignore_ascii_case(&location)
    {
        let text = format!(
            "The resource '{}' already exists in location '{}'.",
            call.own_name(),
            before.location()
        );
        return Err(Refusal::new(409, "InvalidResourceLocation", text));
    }
    Ok(())
}

/// Returns the id of the parent of a nested resource.
pub fn parent_of(id: &str) -> &str {
    let up = id.rsplit_once('/').map_or(id, |(up, _)| up);
    up.rsplit_once('/').map_or(up, |(up, _)| up)
}

/// Returns the Python SDK's name of the body of a kind.
fn sdk_name(kind: &str) -> &'static str {
    match kind.rsplit('/').next().unwrap_or_default() {
        "networkSecurityGroups" => "NetworkSecurityGroup",
        "virtualNetworks" => "VirtualNetwork",
        "subnets" => "Subnet",
        "publicIPAddresses" => "PublicIPAddress",
        "networkInterfaces" => "NetworkInterface",
        "natGateways" => "NatGateway",
        "disks" => "Disk",
        "snapshots" => "Snapshot",
        "galleries" => "Gallery",
        "versions" => "GalleryImageVersion",
        "images" if kind.contains("galleries") => "GalleryImage",
        "images" => "Image",
        "virtualMachineScaleSets" => "VirtualMachineScaleSet",
        "virtualMachines" if kind.contains("ScaleSets") => "VirtualMachineScaleSetVM",
        _ => "VirtualMachine",
    }
}

/// Runs the work of a VM on a separate thread.
pub fn work(
    cloud: &CloudState,
    does: impl FnOnce(&dyn Machines) -> Result<Value, String> + Send + 'static,
) -> Work {
    let slot: Work = Arc::new(Mutex::new(None));
    let (machines, filled) = (cloud.config.machines.clone(), slot.clone());
    if machines.instant() {
        let result = does(machines.as_ref());
        *slot.lock().expect("a machine's result") = Some(result);
        return slot;
    }
    thread::spawn(move || {
        let result = does(machines.as_ref());
        *filled.lock().expect("a machine's result") = Some(result);
    });
    slot
}
