//! What all resources have in common: PUT, GET, PATCH, DELETE and lists, with the order in which a request is refused.

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
use super::world::{Resource, World, merge, text};

pub fn dispatch(world: &mut World, call: &mut Call) -> Answer {
    let kind = call.kind.expect("a known kind");
    match (call.method.as_str(), call.action.clone(), call.lists) {
        ("GET", None, true) => list(world, call, kind),
        ("GET", None, false) => get(world, call),
        ("PUT", None, false) => put(world, call, kind),
        ("PATCH", None, false) if kind.patch.is_some() => patch(world, call, kind),
        ("DELETE", None, false) => delete(world, call, kind),
        ("POST" | "GET", Some(action), false) => act(world, call, &action),
        _ => {
            let text = format!("{} has no such method", call.name);
            world.violation(&text);
            Err(Refusal::new(405, "MethodNotAllowed", text))
        }
    }
}

fn group_of(call: &Call) -> &str {
    call.route.group.as_deref().unwrap_or_default()
}

/// The resource itself, where it is and can be seen.
pub fn seen<'a>(world: &'a mut World, call: &Call) -> Result<&'a Resource, Refusal> {
    world.group(group_of(call))?;
    let missing = Refusal::missing(&call.shown);
    let Some(resource) = world.resources.get_mut(&call.id) else {
        return Err(missing);
    };
    if resource.hidden > 0 {
        resource.hidden -= 1;
        return Err(missing);
    }
    Ok(resource)
}

fn get(world: &mut World, call: &Call) -> Answer {
    seen(world, call)?;
    let expand = call.query.get("$expand").map_or("", String::as_str);
    let resource = &world.resources[&call.id];
    let body = rules::view(world, resource, &call.version, expand);
    let etag = resource.etag();
    Ok(Reply::of(200, body).header("ETag", etag))
}

fn list(world: &mut World, call: &Call, kind: &'static Kind) -> Answer {
    if let Some(group) = &call.route.group {
        world.group(group)?;
    }
    if !call.route.names.is_empty() && !world.resources.contains_key(&call.id) {
        return Err(Refusal::missing(&call.shown));
    }
    let prefix = format!("{}/", call.id);
    let found: Vec<Value> = world
        .of_kind(kind.name)
        .filter(|resource| resource.id.to_lowercase().starts_with(&prefix))
        .map(|resource| rules::view(world, resource, &call.version, ""))
        .collect();
    Ok(paged(world, call, found))
}

fn put(world: &mut World, call: &mut Call, kind: &'static Kind) -> Answer {
    let group = world.group(group_of(call))?;
    if group.state == "Deleting" {
        let text = format!(
            "The resource group '{}' is in deprovisioning state and cannot perform this operation.",
            group.name()
        );
        return Err(Refusal::new(409, "ResourceGroupBeingDeleted", text));
    }
    registered(world, kind)?;
    if let Some(wrong) = kind.misnamed(call.own_name()) {
        return Err(Refusal::new(400, "InvalidResourceName", wrong));
    }
    let short = sdk_name(kind.name);
    fits(world, call, kind.name, short)?;
    rules::allowed(world, call, kind)?;
    if call.route.names.len() > 1 {
        let parent = parent_of(&call.id);
        if !world.resources.contains_key(parent) {
            let text = format!(
                "Can not perform requested operation on nested resource. Parent resource '{parent}' not found."
            );
            return Err(Refusal::new(404, "ParentResourceNotFound", text));
        }
    }
    located(world, call, kind)?;
    world.locked(&call.id, true)?;
    let before = world.resources.get(&call.id).cloned();
    matched(call, before.as_ref())?;
    let mut body = call.body.clone();
    let mut inner = rules::put(world, call, kind, &mut body, before.as_ref())?;
    if let Some(before) = &before {
        let mut old = before.inner.clone();
        merge(&mut old, &inner);
        inner = old;
    }
    let revision = world.number();
    let new = before.is_none();
    world.resources.insert(
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
    let work = rules::stored(world, call, kind, new);
    let view = rules::view(world, &world.resources[&call.id], &call.version, "");
    let reply = Reply::of(if new { 201 } else { 200 }, view);
    Ok(world.begin(call, Effect::Put, reply, work))
}

fn patch(world: &mut World, call: &mut Call, kind: &'static Kind) -> Answer {
    seen(world, call)?;
    fits(world, call, "", kind.patch.unwrap_or_default())?;
    world.locked(&call.id, true)?;
    let before = world.resources[&call.id].clone();
    matched(call, Some(&before))?;
    let mut body = before.body.clone();
    merge(&mut body, &call.body);
    rules::patched(world, call, kind, &before, &body)?;
    let revision = world.number();
    if let Some(resource) = world.find_mut(&call.id) {
        resource.body = body;
        "Updating".clone_into(&mut resource.state);
        resource.revision = revision;
    }
    let view = rules::view(world, &world.resources[&call.id], &call.version, "");
    Ok(world.begin(call, Effect::Put, Reply::of(200, view), None))
}

fn delete(world: &mut World, call: &mut Call, kind: &'static Kind) -> Answer {
    world.group(group_of(call))?;
    if !world.resources.contains_key(&call.id) {
        return Ok(Reply::empty(204));
    }
    world.locked(&call.id, false)?;
    rules::deletable(world, &call.id, kind)?;
    if let Some(resource) = world.find_mut(&call.id) {
        "Deleting".clone_into(&mut resource.state);
    }
    Ok(world.begin(call, Effect::Delete, Reply::empty(202), None))
}

fn act(world: &mut World, call: &mut Call, action: &str) -> Answer {
    seen(world, call)?;
    if call.method == "POST" {
        world.locked(&call.id, true)?;
    }
    rules::act(world, call, action)
}

/// The console's text, at the address that `retrieveBootDiagnosticsData` gave.
pub fn serial(world: &mut World, call: &Call) -> Answer {
    if call.headers.contains_key("authorization") {
        world.violation("a token was sent to the signed address of a serial log");
    }
    let id = call.path.trim_start_matches("/serial").to_lowercase();
    let signed = call.query.get("sig").is_some_and(|sig| sig == "simulated");
    if !signed || world.find(&id).is_none() {
        return Err(Refusal::new(
            403,
            "AuthenticationFailed",
            "Server failed to authenticate the request.",
        ));
    }
    Ok(Reply::of(200, json!(world.config.machines.serial_log(&id))))
}

/// `If-None-Match: *` and `If-Match`.
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

fn registered(world: &World, kind: &Kind) -> Result<(), Refusal> {
    let namespace = kind.namespace();
    if world.unregistered.contains(&namespace.to_lowercase()) {
        let text = format!("The subscription is not registered to use namespace '{namespace}'.");
        return Err(Refusal::new(409, "MissingSubscriptionRegistration", text));
    }
    Ok(())
}

/// A location that exists, and that stays what it is.
fn located(world: &World, call: &Call, kind: &Kind) -> Result<(), Refusal> {
    if !kind.located {
        return Ok(());
    }
    let location = text(&call.body, "/location");
    if location.is_empty() {
        let text = "The location property is required for this definition.";
        return Err(Refusal::new(400, "LocationRequired", text));
    }
    let location = location.replace(' ', "").to_lowercase();
    if !world.config.locations.contains(&location) {
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
    if let Some(before) = world.resources.get(&call.id)
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

/// The id of what a nested resource stands in.
pub fn parent_of(id: &str) -> &str {
    let up = id.rsplit_once('/').map_or(id, |(up, _)| up);
    up.rsplit_once('/').map_or(up, |(up, _)| up)
}

/// What the Python SDK calls the body of a kind.
fn sdk_name(kind: &str) -> &'static str {
    match kind.rsplit('/').next().unwrap_or_default() {
        "networkSecurityGroups" => "NetworkSecurityGroup",
        "virtualNetworks" => "VirtualNetwork",
        "subnets" => "Subnet",
        "publicIPAddresses" => "PublicIPAddress",
        "networkInterfaces" => "NetworkInterface",
        "natGateways" => "NatGateway",
        "disks" => "Disk",
        "galleries" => "Gallery",
        "versions" => "GalleryImageVersion",
        "images" if kind.contains("galleries") => "GalleryImage",
        "images" => "Image",
        "virtualMachineScaleSets" => "VirtualMachineScaleSet",
        "virtualMachines" if kind.contains("ScaleSets") => "VirtualMachineScaleSetVM",
        _ => "VirtualMachine",
    }
}

/// Lets a machine do something on a thread of its own.
pub fn work(
    world: &World,
    does: impl FnOnce(&dyn Machines) -> Result<Value, String> + Send + 'static,
) -> Work {
    let slot: Work = Arc::new(Mutex::new(None));
    let (machines, filled) = (world.config.machines.clone(), slot.clone());
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
