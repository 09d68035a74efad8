//! The state of a simulated subscription: resources by id, operations, what was asked, and what was asked wrongly.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::answer::Refusal;
use super::authority::Authority;
use super::config::Config;
use super::kinds::Kind;
use super::operations::Operation;

/// A request, as it is logged.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method and kind, with an action: `POST Microsoft.Compute/virtualMachines/deallocate`.
    pub operation: String,
    /// The how-manieth of this operation it was, from 1.
    pub nth: usize,
    pub method: String,
    pub path: String,
    pub api_version: String,
    /// What it was answered with; `None` when the connection was reset.
    pub status: Option<u16>,
    /// Since the simulator's start.
    pub at: Duration,
}

/// A resource.
#[derive(Clone, Debug)]
pub struct Resource {
    /// As it is shown.
    pub id: String,
    pub kind: &'static Kind,
    /// What was sent for it, and what the service filled in.
    pub body: Value,
    /// `provisioningState`.
    pub state: String,
    /// For how many more requests it is not found.
    pub hidden: u32,
    /// What the service knows of it beside its body.
    pub inner: Value,
    /// Grows with every change.
    pub revision: u64,
}

/// A management lock.
#[derive(Clone, Debug)]
pub struct Lock {
    /// In small letters.
    pub scope: String,
    pub name: String,
    pub level: String,
}

pub struct World {
    pub config: Config,
    /// `https://127.0.0.1:port`.
    pub url: String,
    pub port: u16,
    pub authority: Authority,
    /// By id in small letters.
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

impl World {
    pub fn new(config: Config, port: u16) -> Self {
        let authority = Authority::new(
            &config.client_id,
            &config.client_secret,
            config.token_lifetime,
            config.standing_token.clone(),
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

    /// A number that was not given out before.
    pub fn number(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    /// Something of the form of a UUID.
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

    /// The id of a group in small letters.
    pub fn group_id(&self, name: &str) -> String {
        let subscription = &self.config.subscription;
        format!("/subscriptions/{subscription}/resourcegroups/{name}").to_lowercase()
    }

    /// A group that can be worked in.
    pub fn group(&self, name: &str) -> Result<&Resource, Refusal> {
        let Some(group) = self.resources.get(&self.group_id(name)) else {
            let text = format!("Resource group '{name}' could not be found.");
            return Err(Refusal::new(404, "ResourceGroupNotFound", text));
        };
        Ok(group)
    }

    /// The resources of a kind.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Resource> {
        self.resources
            .values()
            .filter(move |resource| resource.kind.name == kind)
    }

    /// The resources below an id, itself not among them, as ids in small letters.
    pub fn below(&self, id: &str) -> Vec<String> {
        let prefix = format!("{}/", id.to_lowercase());
        self.resources
            .keys()
            .filter(|key| key.starts_with(&prefix))
            .cloned()
            .collect()
    }

    /// The resources of these kinds whose bodies name `id`, as they are shown.
    pub fn users(&self, id: &str, kinds: &[&str]) -> Vec<String> {
        self.resources
            .values()
            .filter(|resource| kinds.contains(&resource.kind.name) && mentions(&resource.body, id))
            .map(|resource| resource.id.clone())
            .collect()
    }

    /// Why nothing below `id` may be deleted, or, when it is `write`, changed.
    pub fn locked(&self, id: &str, write: bool) -> Result<(), Refusal> {
        let id = id.to_lowercase();
        let inside =
            |below: &str, above: &str| below == above || below.starts_with(&format!("{above}/"));
        let lock = self.locks.iter().find(|lock| {
            let read_only = lock.level == "ReadOnly";
            // Deleting what contains something locked deletes that too.
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

    /// The name of its group.
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

/// The text at a place, empty where there is none.
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// The list at a place, empty where there is none.
pub fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Whether some text in a value is this id.
pub fn mentions(value: &Value, id: &str) -> bool {
    match value {
        Value::String(text) => text.eq_ignore_ascii_case(id),
        Value::Array(items) => items.iter().any(|item| mentions(item, id)),
        Value::Object(members) => members.values().any(|member| mentions(member, id)),
        _ => false,
    }
}

/// What `over` says, over `value`: JSON's merge patch.
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

/// Now, as the service writes it.
pub fn now() -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "the service has a clock of its own"
    )]
    let now = jiff::Timestamp::now();
    now.to_string()
}

/// A status of an instance view.
pub fn status(code: &str) -> Value {
    let shown = code.split('/').next_back().unwrap_or(code);
    json!({ "code": code, "level": "Info", "displayStatus": shown, "time": now() })
}
