//! Parses paths of ARM. Segments compare without regard to case.

use std::collections::BTreeMap;

/// The target of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Token {
        tenant: String,
    },
    Subscription,
    Locations,
    Groups,
    Group,
    /// All resources of a group or of the subscription.
    Resources,
    Provider {
        namespace: String,
        register: bool,
    },
    Operation {
        id: String,
        /// Whether the client polls `Location`.
        result: bool,
    },
    Skus,
    /// A check of policies for a planned resource.
    Policies,
    Usages {
        namespace: String,
    },
    Marketplace {
        location: String,
        publisher: String,
        offer: String,
        sku: String,
        version: Option<String>,
    },
    Tags,
    Locks,
    Lock {
        name: String,
    },
    /// A resource, a list or an action, depending on `tail`.
    Resource,
    /// The console of a VM, at a signed address without a token.
    Serial,
    Unknown,
}

/// A parsed path.
#[derive(Clone, Debug)]
pub struct Route {
    pub place: Place,
    pub subscription: String,
    pub group: Option<String>,
    /// The type as it was written, such as `Microsoft.Compute/galleries/images`.
    pub kind: String,
    pub names: Vec<String>,
    /// The segment after the last name: the type of a list, or an action.
    pub tail: Option<String>,
}

impl Route {
    pub fn parse(path: &str) -> Self {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let mut route = Self {
            place: Place::Unknown,
            subscription: String::new(),
            group: None,
            kind: String::new(),
            names: Vec::new(),
            tail: None,
        };
        if let [tenant, a, b, c] = parts[..]
            && [a, b, c] == ["oauth2", "v2.0", "token"]
        {
            route.place = Place::Token {
                tenant: tenant.to_owned(),
            };
            return route;
        }
        if let ["serial", ..] = parts[..] {
            route.place = Place::Serial;
            return route;
        }
        let ["subscriptions", subscription, rest @ ..] = &parts[..] else {
            return route;
        };
        route.subscription = (*subscription).to_owned();
        route.below_subscription(rest);
        route
    }

    fn below_subscription(&mut self, mut rest: &[&str]) {
        if let [a, b, ..] = rest
            && is(a, "resourcegroups")
        {
            self.group = Some((*b).to_owned());
            rest = &rest[2..];
        }
        if let [before @ .., a, b, c, d] = rest
            && is(a, "providers")
            && is(b, "Microsoft.Resources")
            && is(c, "tags")
            && *d == "default"
        {
            self.resource(before);
            self.place = Place::Tags;
            return;
        }
        if let Some(at) = rest
            .windows(3)
            .position(|part| is(part[1], "Microsoft.Authorization") && is(part[2], "locks"))
        {
            let name = rest.get(at + 3).map(|name| (*name).to_owned());
            self.resource(&rest[..at]);
            self.place = match name {
                Some(name) => Place::Lock { name },
                None => Place::Locks,
            };
            return;
        }
        let in_group = self.group.is_some();
        self.place = match rest {
            [] if in_group => Place::Group,
            [] => Place::Subscription,
            ["resources"] => Place::Resources,
            ["locations"] if !in_group => Place::Locations,
            [groups] if is(groups, "resourcegroups") => Place::Groups,
            ["operationresults", id] if !in_group => operation(id, true),
            ["providers", namespace] if !in_group => Place::Provider {
                namespace: (*namespace).to_owned(),
                register: false,
            },
            ["providers", namespace, "register"] if !in_group => Place::Provider {
                namespace: (*namespace).to_owned(),
                register: true,
            },
            ["providers", a, b]
                if is(a, "Microsoft.PolicyInsights")
                    && is(b, "checkPolicyRestrictions")
                    && !in_group =>
            {
                Place::Policies
            }
            ["providers", a, "skus"] if is(a, "Microsoft.Compute") && !in_group => Place::Skus,
            ["providers", namespace, "locations", _, "usages"] if !in_group => Place::Usages {
                namespace: (*namespace).to_owned(),
            },
            ["providers", _, "locations", _, "operations", id] if !in_group => operation(id, false),
            ["providers", _, "locations", _, "operationResults", id] if !in_group => {
                operation(id, true)
            }
            [
                "providers",
                "Microsoft.Compute",
                "locations",
                location,
                "publishers",
                publisher,
                "artifacttypes",
                "vmimage",
                "offers",
                offer,
                "skus",
                sku,
                "versions",
                version @ ..,
            ] if !in_group && version.len() < 2 => Place::Marketplace {
                location: (*location).to_owned(),
                publisher: (*publisher).to_owned(),
                offer: (*offer).to_owned(),
                sku: (*sku).to_owned(),
                version: version.first().map(|version| (*version).to_owned()),
            },
            rest => return self.resource(rest),
        };
    }

    /// Parses `providers/{namespace}/{type}/{name}/…`.
    fn resource(&mut self, rest: &[&str]) {
        let ["providers", namespace, rest @ ..] = rest else {
            return;
        };
        self.kind = (*namespace).to_owned();
        for pair in rest.chunks(2) {
            match pair {
                [kind, name] => {
                    self.kind.push('/');
                    self.kind.push_str(kind);
                    self.names.push((*name).to_owned());
                }
                [tail] => self.tail = Some((*tail).to_owned()),
                _ => {}
            }
        }
        self.place = Place::Resource;
    }
}

fn operation(id: &str, result: bool) -> Place {
    Place::Operation {
        id: id.to_owned(),
        result,
    }
}

pub fn is(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

/// Returns the decoded pairs of a query or a form.
pub fn pairs(text: &str) -> BTreeMap<String, String> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect()
}

/// Decodes percent encoding and the plus sign of forms.
pub fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'%', [a, b, after @ ..]) => {
                let digits = [*a, *b];
                let value = std::str::from_utf8(&digits)
                    .ok()
                    .and_then(|digits| u8::from_str_radix(digits, 16).ok());
                bytes.push(value.unwrap_or(b'%'));
                if value.is_some() {
                    rest = after;
                }
            }
            (b'+', _) => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
