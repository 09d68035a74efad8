//! Rules for access control. Before 1.4, there is no stanza `acl`: `acl_datacenter` enables access
//! control, and other keys begin with `acl_`. Later versions read these if the stanza does not set
//! them.

use super::is_configured_by_servers;
use crate::lint::tree::{is, text};
use crate::lint::{Hit, Rule, Severity, Subject, hit, must_not_be, value_text};
use crate::product::consul::changes::ACL;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "consul.acl-enabled",
        severity: Severity::Unsafe,
        reason: "without access control, every client that reaches the API can read and change everything, including Vault's storage",
        source: page!("acl"),
        fix: "set `acl.enabled` to true; before Consul 1.4, set `acl_datacenter`",
        check: |s| {
            let implied = text(s.root, "acl_datacenter").is_some();
            let enabled = s.has(&ACL) && is(s.root, "acl.enabled") == Some(true);
            if implied || enabled || is_configured_by_servers(s) {
                return Vec::new();
            }
            let key = if s.has(&ACL) {
                "acl.enabled"
            } else {
                "acl_datacenter"
            };
            vec![hit(key, value_text(s.root, key))]
        },
    },
    Rule {
        id: "consul.acl-default-deny",
        severity: Severity::Unsafe,
        reason: "requests without a matching rule are allowed, which is the default",
        source: page!("acl"),
        fix: "set `acl.default_policy` to \"deny\"; before Consul 1.4, `acl_default_policy`",
        check: |s| match policy(s, "default_policy") {
            _ if is_configured_by_servers(s) => Vec::new(),
            (_, Some("deny")) => Vec::new(),
            (key, found) => vec![hit(&key, found.unwrap_or("nothing"))],
        },
    },
    Rule {
        id: "consul.acl-down-policy",
        severity: Severity::Unsafe,
        reason: "while no server answers, everything is allowed",
        source: page!("acl"),
        fix: "set `acl.down_policy` to \"extend-cache\" or \"deny\"; before Consul 1.4, `acl_down_policy`",
        check: |s| match policy(s, "down_policy") {
            (key, Some("allow")) => vec![hit(&key, "allow")],
            _ => Vec::new(),
        },
    },
    Rule {
        id: "consul.token-persistence",
        severity: Severity::Unsafe,
        reason: "tokens set by the API are written to the disk",
        source: page!("acl"),
        fix: "set `acl.enable_token_persistence` to false, and give tokens at boot",
        check: token_persistence,
    },
];

fn token_persistence(s: &Subject) -> Vec<Hit> {
    must_not_be(s.root, true, &["acl.enable_token_persistence"])
}

/// Returns the key that sets a policy, and its value. The stanza has precedence, if the version has
/// it.
fn policy<'a>(s: &Subject<'a>, name: &str) -> (String, Option<&'a str>) {
    let stanza = format!("acl.{name}");
    let old = format!("acl_{name}");
    let found = text(s.root, &stanza).filter(|_| s.has(&ACL));
    match (found, text(s.root, &old)) {
        (Some(found), _) => (stanza, Some(found)),
        (None, Some(found)) => (old, Some(found)),
        (None, None) if s.has(&ACL) => (stanza, None),
        (None, None) => (old, None),
    }
}
