//! A request, taken apart as far as every part of the service needs it.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;

use super::faults::FaultKind;
use super::kinds::{GROUP, Kind, kind};
use super::route::{Place, Route, decoded, pairs};
use super::wire::Incoming;
use super::world::World;

pub struct Call {
    pub method: String,
    pub path: String,
    pub route: Route,
    /// Of the resource, or of what is listed.
    pub kind: Option<&'static Kind>,
    /// In small letters.
    pub id: String,
    /// With the service's own spelling.
    pub shown: String,
    /// As the log names it.
    pub name: String,
    pub version: String,
    pub query: BTreeMap<String, String>,
    pub headers: BTreeMap<String, String>,
    pub raw: Vec<u8>,
    /// `Null` where there is none.
    pub body: Value,
    pub now: Instant,
    pub fault: Option<FaultKind>,
    /// The action, where it is one.
    pub action: Option<String>,
    /// Whether it asks for all of a kind.
    pub lists: bool,
}

impl Call {
    pub fn new(world: &World, incoming: Incoming, now: Instant) -> Self {
        let (path, query) = incoming
            .target
            .split_once('?')
            .unwrap_or((&incoming.target, ""));
        // A plus sign is itself in a path.
        let path = decoded(&path.replace('+', "%2B"));
        let route = Route::parse(&path);
        let mut query = pairs(query);
        let version = query.remove("api-version").unwrap_or_default();
        let mut call = Self {
            method: incoming.method,
            path,
            kind: None,
            id: String::new(),
            shown: String::new(),
            name: String::new(),
            version,
            query,
            headers: incoming.headers,
            body: serde_json::from_slice(&incoming.body).unwrap_or_default(),
            raw: incoming.body,
            now,
            fault: None,
            action: None,
            lists: false,
            route,
        };
        call.resolve(world);
        call.name = format!("{} {}", call.method, call.subject(world));
        call
    }

    /// Finds kind and id, and tells a list from an action.
    fn resolve(&mut self, world: &World) {
        let mut named = self.route.kind.clone();
        if let Some(tail) = &self.route.tail {
            let listed = kind(&format!("{named}/{tail}"));
            let acts = kind(&named).is_some_and(|kind| {
                let mut actions = kind.actions.iter();
                actions.any(|action| action.eq_ignore_ascii_case(tail))
            });
            // `…/virtualMachineScaleSets/x/virtualMachines` is a list; `…/x/delete` is an action.
            if let Some(listed) = listed.filter(|_| !acts || self.method == "GET") {
                listed.name.clone_into(&mut named);
                self.lists = true;
            } else {
                self.action = Some(tail.clone());
            }
        }
        self.kind = match self.route.place {
            Place::Group => Some(&GROUP),
            _ => kind(&named),
        };
        let subscription = &world.config.subscription;
        self.shown = format!("/subscriptions/{subscription}");
        if let Some(group) = &self.route.group {
            let stored = world.resources.get(&world.group_id(group));
            let group = stored.map_or(group.as_str(), |stored| stored.name());
            self.shown.extend(["/resourceGroups/", group]);
        }
        if !self.route.names.is_empty() {
            let stated = self.kind.map_or(self.route.kind.as_str(), |kind| kind.name);
            let mut types = stated.split('/');
            self.shown
                .extend(["/providers/", types.next().unwrap_or_default()]);
            for (kind, name) in types.zip(&self.route.names) {
                self.shown.extend(["/", kind, "/", name]);
            }
        }
        self.id = self.shown.to_lowercase();
        // What stands already keeps its spelling.
        if let Some(stored) = world.resources.get(&self.id) {
            self.shown.clone_from(&stored.id);
        }
    }

    fn subject(&self, world: &World) -> String {
        let simple = match &self.route.place {
            Place::Token { .. } => "token",
            Place::Subscription => "subscription",
            Place::Locations => "locations",
            Place::Groups => "Microsoft.Resources/resourceGroups (list)",
            Place::Group => GROUP.name,
            Place::Resources => "resources (list)",
            Place::Provider { register: true, .. } => "provider/register",
            Place::Provider { .. } => "provider",
            Place::Operation { id, result } => {
                let what = if *result {
                    "operationResults"
                } else {
                    "operations"
                };
                let of = world.operations.get(id);
                let of = of.map_or("nothing", |operation| operation.name.as_str());
                return format!("{what} of {of}");
            }
            Place::Skus => "Microsoft.Compute/skus",
            Place::Policies => "policy restrictions",
            Place::Usages { namespace } => return format!("{namespace}/usages"),
            Place::Marketplace { version: None, .. } => "marketplace versions (list)",
            Place::Marketplace { .. } => "marketplace version",
            Place::Tags => "tags",
            Place::Locks => "locks (list)",
            Place::Lock { .. } => "locks",
            Place::Serial => "serial log",
            Place::Unknown => "unknown",
            Place::Resource => {
                let kind = self.kind.map_or(self.route.kind.as_str(), |kind| kind.name);
                return match (&self.action, self.lists) {
                    (Some(action), _) => format!("{kind}/{action}"),
                    (None, true) => format!("{kind} (list)"),
                    (None, false) => kind.to_owned(),
                };
            }
        };
        simple.to_owned()
    }

    /// The name of the resource itself.
    pub fn own_name(&self) -> &str {
        match &self.route.place {
            Place::Group => self.route.group.as_deref().unwrap_or_default(),
            _ => self.route.names.last().map_or("", String::as_str),
        }
    }

    /// Whether it begins an operation when it is taken.
    pub fn long_running(&self) -> bool {
        match (self.method.as_str(), &self.route.place) {
            ("PUT" | "PATCH" | "DELETE", Place::Resource) | ("DELETE", Place::Group) => true,
            ("POST", Place::Resource) => {
                let sync = ["generalize", "retrieveBootDiagnosticsData"];
                self.action
                    .as_deref()
                    .is_some_and(|action| !sync.contains(&action))
            }
            _ => false,
        }
    }
}
