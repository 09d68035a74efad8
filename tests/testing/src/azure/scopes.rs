//! Resource groups, tags and locks of any scope, and lists of all kinds with filters and pages.

use serde_json::{Value, json};

use super::answer::{Answer, Refusal, Reply};
use super::call::Call;
use super::faults::FaultKind;
use super::kinds::GROUP;
use super::operations::Effect;
use super::route::Place;
use super::rules;
use super::schema::{self, Side};
use super::service::fits;
use super::world::{CloudState, Lock, Resource, merge, text};

/// Handles PUT, GET, HEAD, PATCH and DELETE of a resource group.
pub fn group(cloud: &mut CloudState, call: &mut Call) -> Answer {
    match call.method.as_str() {
        "PUT" => put_group(cloud, call),
        "HEAD" => {
            let there = visible_group(cloud, call).is_ok();
            Ok(Reply::empty(if there { 204 } else { 404 }))
        }
        "GET" => {
            visible_group(cloud, call)?;
            let group = &cloud.resources[&call.id];
            Ok(Reply::of(200, rules::view(cloud, group, &call.version, "")))
        }
        "PATCH" => {
            visible_group(cloud, call)?;
            cloud.locked(&call.id, true)?;
            if let (Some(group), Some(tags)) = (cloud.find_mut(&call.id), call.body.get("tags")) {
                group.body["tags"] = tags.clone();
            }
            let group = &cloud.resources[&call.id];
            Ok(Reply::of(200, rules::view(cloud, group, &call.version, "")))
        }
        "DELETE" => delete_group(cloud, call),
        _ => {
            let text = format!("{} has no such method", call.name);
            cloud.violation(&text);
            Err(Refusal::new(405, "MethodNotAllowed", text))
        }
    }
}

fn visible_group<'a>(cloud: &'a mut CloudState, call: &Call) -> Result<&'a Resource, Refusal> {
    cloud.group(call.own_name())?;
    let group = cloud.resources.get_mut(&call.id).expect("a group");
    if group.hidden > 0 {
        group.hidden -= 1;
        let text = format!("Resource group '{}' could not be found.", call.own_name());
        return Err(Refusal::new(404, "ResourceGroupNotFound", text));
    }
    Ok(group)
}

fn put_group(cloud: &mut CloudState, call: &Call) -> Answer {
    if let Some(wrong) = GROUP.misnamed(call.own_name()) {
        return Err(Refusal::new(400, "InvalidResourceGroupName", wrong));
    }
    fits(cloud, call, GROUP.name, "")?;
    rules::allowed(cloud, call, &GROUP)?;
    let location = text(&call.body, "/location")
        .replace(' ', "")
        .to_lowercase();
    if !cloud.config.locations.contains(&location) {
        let text =
            format!("The provided location '{location}' is not available for resource group.");
        return Err(Refusal::new(
            400,
            "LocationNotAvailableForResourceGroup",
            text,
        ));
    }
    cloud.locked(&call.id, true)?;
    let before = cloud.resources.get(&call.id);
    if before.is_some_and(|before| before.state == "Deleting") {
        let text = format!(
            "The resource group '{}' is in deprovisioning state and cannot perform this operation.",
            call.own_name()
        );
        return Err(Refusal::new(409, "ResourceGroupBeingDeleted", text));
    }
    if before.is_some_and(|before| before.location() != location) {
        let text = format!(
            "Invalid resource group location '{location}'. The Resource group already exists in another location."
        );
        return Err(Refusal::new(409, "InvalidResourceGroupLocation", text));
    }
    let new = before.is_none();
    let mut body = call.body.clone();
    body["location"] = json!(location);
    let revision = cloud.number();
    cloud.resources.insert(
        call.id.clone(),
        Resource {
            id: call.shown.clone(),
            kind: &GROUP,
            body,
            state: "Succeeded".to_owned(),
            hidden: u32::from(call.fault == Some(FaultKind::NotFound)),
            inner: json!({}),
            revision,
        },
    );
    let view = rules::view(cloud, &cloud.resources[&call.id], &call.version, "");
    Ok(Reply::of(if new { 201 } else { 200 }, view))
}

fn delete_group(cloud: &mut CloudState, call: &Call) -> Answer {
    cloud.group(call.own_name())?;
    cloud.locked(&call.id, false)?;
    let forced = call.query.get("forceDeletionTypes");
    if let Some(forced) = forced {
        let known = [
            "Microsoft.Compute/virtualMachines",
            "Microsoft.Compute/virtualMachineScaleSets",
        ];
        if !forced.split(',').all(|kind| known.contains(&kind)) {
            let text = format!("The forceDeletionTypes '{forced}' are not supported.");
            return Err(Refusal::new(400, "InvalidForceDeletionTypes", text));
        }
    }
    if let Some(group) = cloud.find_mut(&call.id) {
        "Deleting".clone_into(&mut group.state);
    }
    Ok(cloud.begin(call, Effect::Delete, Reply::empty(202), None))
}

/// Handles `{scope}/providers/Microsoft.Resources/tags/default`.
pub fn tags(cloud: &mut CloudState, call: &Call) -> Answer {
    if !cloud.resources.contains_key(&call.id) {
        return Err(Refusal::missing(&call.shown));
    }
    let resource = &cloud.resources[&call.id];
    let mut tags = resource.body["tags"].clone();
    if tags.is_null() {
        tags = json!({});
    }
    if call.method != "GET" {
        cloud.locked(&call.id, true)?;
    }
    let sent = call.body["properties"]["tags"].clone();
    let strings = |tags: &Value| {
        tags.as_object()
            .is_some_and(|tags| tags.values().all(Value::is_string))
    };
    match (call.method.as_str(), text(&call.body, "/operation")) {
        ("GET", _) => {}
        ("PUT", _) if strings(&sent) => tags = sent,
        ("PATCH", "Replace") if strings(&sent) => tags = sent,
        ("PATCH", "Merge") if strings(&sent) => merge(&mut tags, &sent),
        ("PATCH", "Delete") if strings(&sent) => {
            if let (Some(tags), Some(sent)) = (tags.as_object_mut(), sent.as_object()) {
                tags.retain(|name, _| !sent.contains_key(name));
            }
        }
        ("DELETE", _) => tags = json!({}),
        _ => {
            let text = format!("{} with a body that is not one of tags", call.name);
            cloud.violation(&text);
            return Err(Refusal::new(400, "InvalidRequestContent", text));
        }
    }
    limited(&tags)?;
    if call.method != "GET"
        && let Some(resource) = cloud.find_mut(&call.id)
    {
        resource.body["tags"] = tags.clone();
    }
    let id = format!("{}/providers/Microsoft.Resources/tags/default", call.shown);
    let body = json!({ "id": id, "name": "default", "type": "Microsoft.Resources/tags",
        "properties": { "tags": tags } });
    Ok(Reply::of(200, body))
}

/// Checks Azure's limits of tags.
pub fn limited(tags: &Value) -> Result<(), Refusal> {
    let Some(tags) = tags.as_object() else {
        return Ok(());
    };
    let bad = |name: &str| name.len() > 512 || name.contains(['<', '>', '%', '&', '\\', '?', '/']);
    let long = |value: &Value| value.as_str().is_some_and(|value| value.len() > 256);
    if tags.len() > 50 || tags.iter().any(|(name, value)| bad(name) || long(value)) {
        let text = "At most 50 tags, names of 512 characters without <>%&\\?/, and values of 256.";
        return Err(Refusal::new(400, "InvalidTagNameCharacters", text));
    }
    Ok(())
}

/// Handles management locks of a scope.
pub fn locks(cloud: &mut CloudState, call: &Call) -> Answer {
    let shown = |lock: &Lock| {
        json!({ "id": format!("{}/providers/Microsoft.Authorization/locks/{}", call.shown, lock.name),
            "name": lock.name, "type": "Microsoft.Authorization/locks",
            "properties": { "level": lock.level } })
    };
    let at =
        |lock: &Lock, name: &str| lock.scope == call.id && lock.name.eq_ignore_ascii_case(name);
    match (call.method.as_str(), &call.route.place) {
        ("GET", Place::Locks) => {
            let found: Vec<Value> = cloud
                .locks
                .iter()
                .filter(|lock| lock.scope.starts_with(&call.id))
                .map(shown)
                .collect();
            Ok(Reply::of(200, json!({ "value": found })))
        }
        ("GET", Place::Lock { name }) => match cloud.locks.iter().find(|lock| at(lock, name)) {
            Some(lock) => Ok(Reply::of(200, shown(lock))),
            None => Err(Refusal::new(404, "LockNotFound", "The lock was not found.")),
        },
        ("PUT", Place::Lock { name }) => {
            fits(cloud, call, "Microsoft.Authorization/locks", "")?;
            cloud.locks.retain(|lock| !at(lock, name));
            let lock = Lock {
                scope: call.id.clone(),
                name: name.clone(),
                level: text(&call.body, "/properties/level").to_owned(),
            };
            let body = shown(&lock);
            if let Some(wrong) = schema::wrong(
                Side::Response,
                "Microsoft.Authorization/locks",
                &call.version,
                "",
                &json!({ "properties": body["properties"] }),
            ) {
                cloud.violation(wrong);
            }
            cloud.locks.push(lock);
            Ok(Reply::of(201, body))
        }
        ("DELETE", Place::Lock { name }) => {
            cloud.locks.retain(|lock| !at(lock, name));
            Ok(Reply::empty(200))
        }
        _ => Err(Refusal::new(405, "MethodNotAllowed", "no such method")),
    }
}

/// Lists groups or resources, by tag or type.
pub fn list(cloud: &mut CloudState, call: &Call) -> Answer {
    let groups = call.route.place == Place::Groups;
    if let Some(group) = &call.route.group {
        cloud.group(group)?;
    }
    let filter = call.query.get("$filter").map_or("", String::as_str);
    let wanted = Filter::parse(filter)?;
    let prefix = format!("{}/", call.id);
    let expand = call.query.get("$expand").map_or("", String::as_str);
    let found: Vec<Value> = cloud
        .resources
        .iter()
        .filter(|(id, resource)| {
            (resource.kind.name == GROUP.name) == groups
                && (groups || id.starts_with(&prefix))
                // The list omits nested resources except definitions and versions of galleries.
                && !["Microsoft.Network/virtualNetworks/subnets", "Microsoft.Compute/virtualMachineScaleSets/virtualMachines"].contains(&resource.kind.name)
                && wanted.takes(resource)
        })
        .map(|(_, resource)| {
            let mut body = json!({ "id": resource.id, "name": resource.name(),
                "type": resource.kind.name, "location": resource.location() });
            if let Some(tags) = resource.body.get("tags") {
                body["tags"] = tags.clone();
            }
            if groups {
                body["properties"] = json!({ "provisioningState": resource.state });
            }
            if expand.contains("createdTime") {
                body["createdTime"] = resource.inner["created"].clone();
            }
            if expand.contains("provisioningState") {
                body["provisioningState"] = json!(resource.state);
            }
            body
        })
        .collect();
    Ok(paged(cloud, call, found))
}

/// A parsed `$filter`.
#[derive(Default)]
struct Filter {
    tag: Option<String>,
    value: Option<String>,
    kind: Option<String>,
}

impl Filter {
    fn parse(text: &str) -> Result<Self, Refusal> {
        let mut filter = Self::default();
        for part in text.split(" and ").filter(|part| !part.trim().is_empty()) {
            let parsed = part.trim().split_once(" eq ").and_then(|(name, value)| {
                let value = value.trim().strip_prefix('\'')?.strip_suffix('\'')?;
                Some((name.trim(), value.replace("''", "'")))
            });
            match parsed {
                Some(("tagName", value)) => filter.tag = Some(value),
                Some(("tagValue", value)) if filter.tag.is_some() => filter.value = Some(value),
                Some(("resourceType", value)) => filter.kind = Some(value),
                _ => {
                    let text = format!("The filter '{text}' is not supported.");
                    return Err(Refusal::new(400, "InvalidFilterInQueryString", text));
                }
            }
        }
        if filter.tag.is_some() && filter.kind.is_some() {
            let text = "A filter by tag cannot be combined with others.";
            return Err(Refusal::new(400, "InvalidFilterInQueryString", text));
        }
        Ok(filter)
    }

    fn takes(&self, resource: &Resource) -> bool {
        let value = self
            .tag
            .as_ref()
            .map(|tag| &resource.body["tags"][tag.as_str()]);
        let tagged = value.is_none_or(|value| {
            let wanted = self.value.as_deref();
            value
                .as_str()
                .is_some_and(|value| wanted.is_none_or(|wanted| value == wanted))
        });
        let fits = |kind: &String| kind.eq_ignore_ascii_case(resource.kind.name);
        tagged && self.kind.as_ref().is_none_or(fits)
    }
}

/// Returns one page of a list with the link to the next one.
pub fn paged(cloud: &CloudState, call: &Call, found: Vec<Value>) -> Reply {
    let number = |name: &str| {
        call.query
            .get(name)
            .and_then(|text| text.parse::<usize>().ok())
    };
    let skip = number("$skiptoken").unwrap_or(0);
    let size = number("$top").unwrap_or(cloud.config.page).max(1);
    let all = found.len();
    let page: Vec<Value> = found.into_iter().skip(skip).take(size).collect();
    let mut body = json!({ "value": page });
    if skip + size < all {
        let mut next = format!("{}{}?api-version={}", cloud.url, call.path, call.version);
        for (name, value) in &call.query {
            if name != "$skiptoken" {
                let value = value
                    .replace('%', "%25")
                    .replace(' ', "%20")
                    .replace('&', "%26");
                next.extend(["&", name, "=", &value]);
            }
        }
        next.extend(["&$skiptoken=", &(skip + size).to_string()]);
        body["nextLink"] = json!(next);
    }
    Reply::of(200, body)
}
