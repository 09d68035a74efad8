//! A parsed request with the parts that all handlers need.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;

use super::faults::FaultKind;
use super::kinds::{GROUP, Kind, kind};
use super::route::{Place, Route, decoded, pairs};
use super::wire::Incoming;
use super::world::CloudState;

pub struct Call {
    pub method: String,
    pub path: String,
    pub route: Route,
    /// The kind of the resource, or of the listed resources.
    pub kind: Option<&'static Kind>,
    /// The id in lower case.
    pub id: String,
    /// The id in Azure's own spelling.
    pub shown: String,
    /// The operation as the log names it.
    pub name: String,
    pub version: String,
    pub query: BTreeMap<String, String>,
    pub headers: BTreeMap<String, String>,
    pub raw: Vec<u8>,
    /// The body; `Null` if there is none.
    pub body: Value,
    pub now: Instant,
    pub fault: Option<FaultKind>,
    /// The action of a POST, if there is one.
    pub action: Option<String>,
    /// Whether the request lists all resources of a kind.
    pub lists: bool,
}

impl Call {
    pub fn new(cloud: &CloudState, incoming: Incoming, now: Instant) -> Self {
        let (path, query) = incoming
            .target
            .split_once('?')
            .unwrap_or((&incoming.target, ""));
        // A plus sign in a path is literal.
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
        call.resolve(cloud);
        call.name = format!("{} {}", call.method, call.subject(cloud));
        call
    }

    /// Determines kind and id, and whether the request is a list or an action.
    fn resolve(&mut self, cloud: &CloudState) {
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
        let subscription = &cloud.config.subscription;
        self.shown = format!("/subscriptions/{subscription}");
        if let Some(group) = &self.route.group {
            let stored = cloud.resources.get(&cloud.group_id(group));
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
        // An existing resource keeps its spelling.
        if let Some(stored) = cloud.resources.get(&self.id) {
            self.shown.clone_from(&stored.id);
        }
    }

    fn subject(&self, cloud: &CloudState) -> String {
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
                let of = cloud.operations.get(id);
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

    /// Returns the name of the resource.
    pub fn own_name(&self) -> &str {
        match &self.route.place {
            Place::Group => self.route.group.as_deref().unwrap_or_default(),
            _ => self.route.names.last().map_or("", String::as_str),
        }
    }

    /// Returns whether an accepted request starts a long-running operation.
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
