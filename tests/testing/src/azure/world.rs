//! The state of a simulated subscription: resources, operations, the log of requests and violations.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::answer::Refusal;
use super::authority::Authority;
use super::config::Config;
use super::kinds::Kind;
use super::operations::Operation;

/// An entry in the log of requests.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method, kind and action: `POST Microsoft.Compute/virtualMachines/deallocate`.
    pub operation: String,
    /// The number of this occurrence of the operation, from 1.
    pub nth: usize,
    pub method: String,
    pub path: String,
    pub api_version: String,
    /// The body; null if there is none.
    pub body: Value,
    /// The status of the answer; `None` after a reset.
    pub status: Option<u16>,
    /// The time since the simulator's start.
    pub at: Duration,
}

/// A resource.
#[derive(Clone, Debug)]
pub struct Resource {
    /// The id as answers show it.
    pub id: String,
    pub kind: &'static Kind,
    /// The body as it was sent, with the values that the service adds.
    pub body: Value,
    /// `provisioningState`.
    pub state: String,
    /// The number of further requests that do not find it.
    pub hidden: u32,
    /// Internal state outside of the body.
    pub inner: Value,
    /// A counter of changes.
    pub revision: u64,
}

/// A management lock.
#[derive(Clone, Debug)]
pub struct Lock {
    /// The id in lower case.
    pub scope: String,
    pub name: String,
    pub level: String,
}

pub struct CloudState {
    pub config: Config,
    /// `https://127.0.0.1:port`.
    pub url: String,
    pub port: u16,
    pub authority: Authority,
    /// The resources by id in lower case.
    pub resources: BTreeMap<String, Resource>,
    pub operations: BTreeMap<String, Operation>,
    pub locks: Vec<Lock>,
    pub log: Vec<Request>,
    pub violations: Vec<String>,
    pub counts: HashMap<String, usize>,
    pub unregistered: BTreeSet<String>,
    pub began: Instant,
    made: u64,
}

impl CloudState {
    pub fn new(config: Config, port: u16) -> Self {
        let authority = Authority::new(
            &config.client_id,
            &config.client_secret,
            config.token_lifetime,
            config.static_token.clone(),
        );
        let unregistered = config.unregistered.iter().map(|name| name.to_lowercase());
        Self {
            url: format!("https://127.0.0.1:{port}"),
            port,
            authority,
            unregistered: unregistered.collect(),
            config,
            resources: BTreeMap::new(),
            operations: BTreeMap::new(),
            locks: Vec::new(),
            log: Vec::new(),
            violations: Vec::new(),
            counts: HashMap::new(),
            began: Instant::now(),
            made: 0,
        }
    }

    /// Returns a new number.
    pub fn number(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    /// Returns a new text in the format of a UUID.
    pub fn uuid(&mut self) -> String {
        let number = self.number();
        format!("{:08x}-5111-4000-8000-{number:012x}", self.port)
    }

    pub fn violation(&mut self, text: impl Into<String>) {
        self.violations.push(text.into());
    }

    pub fn find(&self, id: &str) -> Option<&Resource> {
        self.resources.get(&id.to_lowercase())
    }

    pub fn find_mut(&mut self, id: &str) -> Option<&mut Resource> {
        self.resources.get_mut(&id.to_lowercase())
    }

    /// Returns the id of a group in lower case.
    pub fn group_id(&self, name: &str) -> String {
        let subscription = &self.config.subscription;
        format!("/subscriptions/{subscription}/resourcegroups/{name}").to_lowercase()
    }

    /// Returns the group. Fails if it does not exist.
    pub fn group(&self, name: &str) -> Result<&Resource, Refusal> {
        let Some(group) = self.resources.get(&self.group_id(name)) else {
            let text = format!("Resource group '{name}' could not be found.");
            return Err(Refusal::new(404, "ResourceGroupNotFound", text));
        };
        Ok(group)
    }

    /// Returns the resources of a kind.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Resource> {
        self.resources
            .values()
            .filter(move |resource| resource.kind.name == kind)
    }

    /// Returns the ids below an id, in lower case and without itself.
    pub fn below(&self, id: &str) -> Vec<String> {
        let prefix = format!("{}/", id.to_lowercase());
        self.resources
            .keys()
            .filter(|key| key.starts_with(&prefix))
            .cloned()
            .collect()
    }

    /// Returns the shown ids of the resources of these kinds that refer to `id`.
    pub fn users(&self, id: &str, kinds: &[&str]) -> Vec<String> {
        self.resources
            .values()
            .filter(|resource| kinds.contains(&resource.kind.name) && mentions(&resource.body, id))
            .map(|resource| resource.id.clone())
            .collect()
    }

    /// Checks the locks against a deletion below `id`, or a change if `write` is set.
    pub fn locked(&self, id: &str, write: bool) -> Result<(), Refusal> {
        let id = id.to_lowercase();
        let inside =
            |below: &str, above: &str| below == above || below.starts_with(&format!("{above}/"));
        let lock = self.locks.iter().find(|lock| {
            let read_only = lock.level == "ReadOnly";
            // A deletion of a container would delete the locked resource too.
            let held = inside(&id, &lock.scope) || (!write && inside(&lock.scope, &id));
            held && (read_only || !write)
        });
        let Some(lock) = lock else { return Ok(()) };
        let doing = if write { "write" } else { "delete" };
        Err(Refusal::new(
            409,
            "ScopeLocked",
            format!(
                "The scope '{id}' cannot perform {doing} operation because following scope(s) are locked: '{}'. Please remove the lock and try again.",
                lock.scope
            ),
        ))
    }
}

impl Resource {
    pub fn name(&self) -> &str {
        self.id.rsplit('/').next().unwrap_or_default()
    }

    /// Returns the name of the resource's group.
    pub fn group(&self) -> &str {
        self.id.split('/').nth(4).unwrap_or_default()
    }

    pub fn location(&self) -> &str {
        text(&self.body, "/location")
    }

    pub fn property(&self, pointer: &str) -> &str {
        text(&self.body["properties"], pointer)
    }

    pub fn provisioned(&self) -> bool {
        self.state == "Succeeded"
    }

    pub fn etag(&self) -> String {
        format!("\"{:08x}\"", self.revision)
    }
}

/// Returns the text at a pointer, or an empty one.
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// Returns the list at a pointer, or an empty one.
pub fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Returns whether a value contains this id.
pub fn mentions(value: &Value, id: &str) -> bool {
    match value {
        Value::String(text) => text.eq_ignore_ascii_case(id),
        Value::Array(items) => items.iter().any(|item| mentions(item, id)),
        Value::Object(members) => members.values().any(|member| mentions(member, id)),
        _ => false,
    }
}

/// Applies the JSON merge patch `over` to `value`.
pub fn merge(value: &mut Value, over: &Value) {
    let (true, Some(over)) = (value.is_object(), over.as_object()) else {
        *value = over.clone();
        return;
    };
    for (name, member) in over {
        if member.is_null() {
            if let Some(members) = value.as_object_mut() {
                members.remove(name);
            }
        } else {
            merge(&mut value[name.as_str()], member);
        }
    }
}

/// Returns the current time in the service's format.
pub fn now() -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "the service has a clock of its own"
    )]
    let now = jiff::Timestamp::now();
    now.to_string()
}

/// Returns a status of an instance view.
pub fn status(code: &str) -> Value {
    let shown = code.split('/').next_back().unwrap_or(code);
    json!({ "code": code, "level": "Info", "displayStatus": shown, "time": now() })
}
