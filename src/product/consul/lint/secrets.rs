//! Rules for secrets in an agent's files.

use super::SECURITY;
use crate::lint::tree::texts;
use crate::lint::{Hit, Role, Rule, Severity, Subject, hit, join, secrets};

/// Keys whose values are join strings of go-discover.
const JOINS: &[&str] = &[
    "retry_join",
    "retry_join_wan",
    "start_join",
    "start_join_wan",
    "primary_gateways",
    "auto_config.server_addresses",
];

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "consul.secret-in-image",
        severity: Severity::Unsafe,
        reason: "an image is copied, and all its nodes would have the same secret",
        source: SECURITY,
        fix: "remove it; a node gets it at boot, in a fragment in tmpfs",
        check: |s| match s.role {
            Role::Image => all(s),
            Role::Node | Role::Founder => Vec::new(),
        },
    },
    Rule {
        id: "consul.join-secret",
        severity: Severity::Unsafe,
        reason: "a client secret or account key in a join string is readable in the file, in logs and by the API",
        source: "https://developer.hashicorp.com/consul/docs/deploy/server/cloud-auto-join",
        fix: "give the machine a managed identity, which needs no secret",
        check: |s| {
            let secret = |key: &&&str| texts(s.root, key).into_iter().any(join::has_secret);
            let keys = JOINS.iter().filter(secret);
            keys.map(|key| hit(key, "a secret")).collect()
        },
    },
];

/// Reports every secret except those of join strings, which another rule checks for every role.
fn all(s: &Subject) -> Vec<Hit> {
    let known = |path: &str| match path {
        "encrypt" | "license" => Some(true),
        // Headers of responses, which every client sees.
        "http_config.response_headers" => Some(false),
        path if JOINS.contains(&path) => Some(false),
        // The submission URL of Circonus ends in a secret.
        "telemetry.circonus_submission_url" => Some(true),
        _ => None,
    };
    let keys = secrets::keys(s.root, &known);
    // A finding shows only the key, not the secret.
    keys.iter().map(|key| hit(key, "a secret")).collect()
}
