//! Handles one request: log, faults, authentication, validation, answer, and a check of the answer.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::json;

use super::answer::{Answer, Refusal, Reply};
use super::authority;
use super::call::Call;
use super::catalogue;
use super::faults::FaultKind;
use super::kinds;
use super::resources;
use super::route::Place;
use super::rules;
use super::schema::{self, Side};
use super::scopes;
use super::wire::{Incoming, Outgoing};
use super::world::{CloudState, Request};

/// The largest body that ARM accepts, in bytes.
const LARGEST_BODY_BYTES: usize = 4 * 1024 * 1024;
/// The time without an answer of a stuck synchronous request.
const STUCK: Duration = Duration::from_secs(60);
/// The time without an answer in which a test kills the client.
const HELD: Duration = Duration::from_secs(5);

/// Answers one request.
pub fn handle(cloud: &Mutex<CloudState>, incoming: Incoming) -> Outgoing {
    let (outgoing, wait) = {
        let mut cloud = cloud.lock().expect("the state");
        let now = Instant::now();
        cloud.advance(now);
        let call = Call::new(&cloud, incoming, now);
        answer(&mut cloud, call)
    };
    if !wait.is_zero() {
        #[expect(clippy::disallowed_methods, reason = "an answer is late on purpose")]
        std::thread::sleep(wait);
    }
    outgoing
}

fn answer(cloud: &mut CloudState, mut call: Call) -> (Outgoing, Duration) {
    let nth = cloud.counts.entry(call.name.clone()).or_default();
    *nth += 1;
    let nth = *nth;
    let entry = cloud.log.len();
    cloud.log.push(Request {
        operation: call.name.clone(),
        nth,
        method: call.method.clone(),
        path: call.path.clone(),
        api_version: call.version.clone(),
        body: call.body.clone(),
        status: None,
        at: call.now.duration_since(cloud.began),
    });
    let mut faults = cloud.config.faults.iter();
    let fault = faults.find(|fault| fault.hits(&call.name, nth));
    call.fault = fault.map(|fault| fault.kind.clone());
    let wait = match &call.fault {
        Some(FaultKind::Slow(wait)) => *wait,
        Some(FaultKind::Stuck) if !call.long_running() => STUCK,
        Some(FaultKind::HeldBefore | FaultKind::HeldAfter) => HELD,
        _ => Duration::ZERO,
    };
    if matches!(
        call.fault,
        Some(FaultKind::ResetBefore | FaultKind::HeldBefore)
    ) || wait == STUCK
    {
        return (Outgoing::Reset, wait);
    }
    let answer = match spoilt(&call) {
        Some(refusal) => Err(refusal),
        None => admitted(cloud, &mut call),
    };
    let reply = match answer {
        Ok(reply) => reply,
        Err(refusal) if refusal.more.get("oauth").is_some() => authority::refusal_reply(&refusal),
        Err(refusal) => refusal.reply(),
    };
    if matches!(
        call.fault,
        Some(FaultKind::ResetAfter | FaultKind::HeldAfter)
    ) {
        return (Outgoing::Reset, wait);
    }
    cloud.log[entry].status = Some(reply.status);
    (Outgoing::Answer(decorated(cloud, &call, reply)), wait)
}

/// Returns the refusal of a fault that has no effect.
fn spoilt(call: &Call) -> Option<Refusal> {
    let name = &call.name;
    match call.fault.as_ref()? {
        FaultKind::Throttled(seconds) => {
            let text = "The request is being throttled as the limit has been reached.";
            Some(
                Refusal::new(429, "TooManyRequests", text)
                    .header("Retry-After", seconds.to_string()),
            )
        }
        FaultKind::Status(503) => Some(Refusal::new(
            503,
            "ServiceUnavailable",
            "The service is unavailable.",
        )),
        FaultKind::Status(status) => Some(Refusal::new(
            *status,
            "InternalServerError",
            "Encountered internal server error.",
        )),
        FaultKind::Busy => {
            let text = format!("{name} cannot proceed: another operation is in progress.");
            Some(Refusal::new(409, "AnotherOperationInProgress", text))
        }
        FaultKind::NotFound if call.method != "PUT" => Some(match &call.route.place {
            Place::Group => {
                let text = format!("Resource group '{}' could not be found.", call.own_name());
                Refusal::new(404, "ResourceGroupNotFound", text)
            }
            _ => Refusal::missing(&call.shown),
        }),
        FaultKind::TokenExpired => Some(authority::expired()),
        FaultKind::Fails(code) if !call.long_running() => Some(Refusal::new(
            409,
            code,
            format!("{name} failed by an injected fault."),
        )),
        _ => None,
    }
}

fn admitted(cloud: &mut CloudState, call: &mut Call) -> Answer {
    match &call.route.place {
        Place::Token { tenant } => {
            let form = String::from_utf8_lossy(&call.raw).into_owned();
            let known = cloud.config.tenant.clone();
            return cloud.authority.give(tenant, &known, &form, call.now);
        }
        Place::Serial => return resources::serial(cloud, call),
        _ => {}
    }
    cloud
        .authority
        .admit(call.headers.get("authorization"), call.now)?;
    if call.raw.len() > LARGEST_BODY_BYTES {
        let text = "The request content size exceeds the maximum size of 4 MB.";
        return Err(Refusal::new(413, "RequestContentTooLarge", text));
    }
    if !call.raw.is_empty() && call.body.is_null() {
        let text = "The request content was invalid and could not be deserialized.";
        return Err(Refusal::new(400, "InvalidRequestContent", text));
    }
    checked(cloud, call)?;
    dispatch(cloud, call)
}

/// Checks that Azure knows the path, the api-version and the query parameters.
fn checked(cloud: &mut CloudState, call: &Call) -> Result<(), Refusal> {
    let unknown = match call.route.place {
        Place::Unknown => true,
        Place::Resource => {
            let acts = |action: &String| {
                call.kind.is_some_and(|kind| {
                    let mut actions = kind.actions.iter();
                    actions.any(|known| known.eq_ignore_ascii_case(action))
                })
            };
            call.kind.is_none() || call.action.as_ref().is_some_and(|action| !acts(action))
        }
        _ => false,
    };
    if unknown {
        let text = format!("{} {} is nothing that ARM has", call.method, call.path);
        cloud.violation(&text);
        return Err(Refusal::new(400, "InvalidResourceType", text));
    }
    let subscription = &cloud.config.subscription;
    if !call.route.subscription.eq_ignore_ascii_case(subscription) {
        let text = format!(
            "The subscription '{}' could not be found.",
            call.route.subscription
        );
        return Err(Refusal::new(404, "SubscriptionNotFound", text));
    }
    let (versions, queries) = expectations(call);
    if !versions.is_empty() && !versions.contains(&call.version.as_str()) {
        let text = format!("{} with api-version '{}'", call.name, call.version);
        cloud.violation(text);
        let supported = versions.join(",");
        return Err(Refusal::new(
            400,
            "InvalidApiVersionParameter",
            format!(
                "The api-version '{}' is invalid. The supported versions are '{supported}'.",
                call.version
            ),
        ));
    }
    for name in call.query.keys() {
        if !queries.contains(&name.as_str()) {
            let text = format!("{} with the query parameter '{name}'", call.name);
            cloud.violation(&text);
            return Err(Refusal::new(400, "InvalidQueryParameter", text));
        }
    }
    Ok(())
}

/// Returns the allowed api-versions and query parameters. No versions means any.
fn expectations(call: &Call) -> (&'static [&'static str], Vec<&'static str>) {
    match &call.route.place {
        Place::Subscription | Place::Locations => (kinds::SUBSCRIPTIONS, vec![]),
        Place::Groups => (kinds::RESOURCES, vec!["$filter", "$top", "$skiptoken"]),
        Place::Resources => (
            kinds::RESOURCES,
            vec!["$filter", "$top", "$expand", "$skiptoken"],
        ),
        Place::Provider { .. } | Place::Tags => (kinds::RESOURCES, vec![]),
        Place::Policies => (kinds::POLICIES, vec![]),
        Place::Skus => (
            kinds::SKUS,
            vec!["$filter", "includeExtendedLocations", "$skiptoken"],
        ),
        Place::Usages { namespace } if namespace.eq_ignore_ascii_case("Microsoft.Network") => {
            (kinds::NETWORK, vec![])
        }
        Place::Usages { .. } => (kinds::COMPUTE, vec![]),
        Place::Marketplace { version: None, .. } => {
            (kinds::COMPUTE, vec!["$expand", "$orderby", "$top"])
        }
        Place::Marketplace { .. } => (kinds::COMPUTE, vec![]),
        Place::Locks | Place::Lock { .. } => (kinds::LOCKS, vec![]),
        Place::Group | Place::Resource => {
            let Some(kind) = call.kind else {
                return (&[], vec![]);
            };
            let mut queries = kind.takes(&call.method, call.action.as_deref());
            if call.lists {
                queries.extend(["$filter", "$top", "$skiptoken"]);
            }
            (kind.versions, queries)
        }
        _ => (&[], vec![]),
    }
}

fn dispatch(cloud: &mut CloudState, call: &mut Call) -> Answer {
    let place = call.route.place.clone();
    match (call.method.as_str(), place) {
        ("GET", Place::Operation { id, result }) => cloud.follow(call, &id, result),
        ("GET", Place::Subscription) => Ok(catalogue::subscription(cloud)),
        ("GET", Place::Locations) => Ok(catalogue::locations(cloud)),
        ("GET", Place::Skus) => catalogue::skus(cloud, call),
        ("POST", Place::Policies) => rules::restrictions(cloud, call),
        ("GET", Place::Usages { namespace }) => catalogue::usages(cloud, call, &namespace),
        ("GET", Place::Marketplace { .. }) => catalogue::marketplace(cloud, call),
        ("GET", Place::Provider { namespace, .. }) => catalogue::provider(cloud, &namespace),
        ("POST", Place::Provider { namespace, .. }) => catalogue::register(cloud, &namespace),
        ("GET", Place::Groups | Place::Resources) => scopes::list(cloud, call),
        (_, Place::Group) => scopes::group(cloud, call),
        (_, Place::Tags) => scopes::tags(cloud, call),
        (_, Place::Locks | Place::Lock { .. }) => scopes::locks(cloud, call),
        (_, Place::Resource) => resources::dispatch(cloud, call),
        _ => {
            let text = format!("{} {} has no such method", call.method, call.path);
            cloud.violation(&text);
            Err(Refusal::new(405, "MethodNotAllowed", text))
        }
    }
}

/// Adds the common headers, and checks the body against its schema.
fn decorated(cloud: &mut CloudState, call: &Call, mut reply: Reply) -> Reply {
    let id = cloud.uuid();
    reply = reply
        .header("x-ms-request-id", &id)
        .header("x-ms-correlation-request-id", id);
    if let Some(sent) = call.headers.get("x-ms-client-request-id") {
        reply = reply.header("x-ms-client-request-id", sent);
    }
    let left = match call.method.as_str() {
        "GET" | "HEAD" => "x-ms-ratelimit-remaining-subscription-reads",
        "DELETE" => "x-ms-ratelimit-remaining-subscription-deletes",
        _ => "x-ms-ratelimit-remaining-subscription-writes",
    };
    reply = reply.header(left, "199");
    let (Some(body), Some(kind)) = (&reply.body, call.kind) else {
        return reply;
    };
    if reply.status >= 300 || call.action.is_some() {
        return reply;
    }
    let one = [body.clone()];
    let bodies = match body["value"].as_array() {
        Some(list) if call.lists => list.as_slice(),
        _ => &one,
    };
    let wrong: Vec<String> = bodies
        .iter()
        .filter_map(|body| {
            let mut body = body.clone();
            if let Some(members) = body.as_object_mut() {
                for name in ["id", "name", "type"] {
                    members.remove(name);
                }
            }
            schema::wrong(Side::Response, kind.name, &call.version, "", &body)
        })
        .map(|wrong| format!("the simulator's own answer to {}: {wrong}", call.name))
        .collect();
    cloud.violations.extend(wrong);
    reply
}

/// Checks a body against its schema. A mismatch is refused and recorded as a violation.
pub fn fits(
    cloud: &mut CloudState,
    call: &Call,
    kind: &str,
    fallback: &str,
) -> Result<(), Refusal> {
    let wrong = if call.body.is_object() {
        schema::wrong(Side::Request, kind, &call.version, fallback, &call.body)
    } else {
        Some("there is no body".to_owned())
    };
    let Some(wrong) = wrong else { return Ok(()) };
    cloud.violation(format!(
        "{} with a body that does not fit: {wrong}",
        call.name
    ));
    let text = format!("Could not deserialize the request body. {wrong}");
    Err(Refusal::new(400, "InvalidRequestContent", text).with("target", json!("body")))
}
