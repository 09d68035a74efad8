//! Rules for variables of Vault's unit. A variable that sets a key is checked by the key's rules.

use super::of_consul;
use crate::lint::tree::{is, text};
use crate::lint::{Hit, Role, Rule, Severity, Subject, hit, must_not_be, secrets};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "vault.pending-removal",
        severity: Severity::Unsafe,
        reason: "Vault uses a plugin that is announced for removal and gets no more fixes",
        source: "https://developer.hashicorp.com/vault/docs/deprecation",
        fix: "move to the plugin's successor, and remove the variable",
        check: |s| named(s, |name| name.starts_with("VAULT_ALLOW_PENDING_REMOVAL_")),
    },
    Rule {
        id: "vault.environment-secret",
        severity: Severity::Unsafe,
        reason: "an image is copied, and all its nodes would have the same secret",
        source: super::HARDENING,
        fix: "leave it out; a node gets its variables in tmpfs when it boots",
        check: |s| match s.role {
            Role::Image => secret_variables(s),
            Role::Node | Role::Founder => Vec::new(),
        },
    },
    Rule {
        id: "vault.environment-skip-verify",
        severity: Severity::Unsafe,
        reason: "a transit seal, and every client that the unit starts, gives its token to any server that answers",
        source: "https://developer.hashicorp.com/vault/docs/commands",
        fix: "remove the variable, and name the authority in VAULT_CACERT or CONSUL_CACERT",
        check: |s| {
            let mut hits = must_not_be(s.environment, true, &["VAULT_SKIP_VERIFY"]);
            hits.extend(must_not_be(
                s.environment,
                false,
                &["CONSUL_HTTP_SSL_VERIFY"],
            ));
            hits
        },
    },
    Rule {
        id: "vault.environment-unread",
        severity: Severity::Note,
        reason: "Vault does not read this key from a variable, so the key is not set",
        source: super::CONFIGURATION,
        fix: "remove the variable, and set the key in Vault's file",
        check: unread,
    },
];

/// Keys without a variable.
const UNREAD: &[&str] = &[
    "allow_audit_log_prefixing",
    "cluster_name",
    "default_lease_ttl",
    "disable_cache",
    "disable_clustering",
    "enable_post_unseal_trace",
    "introspection_endpoint",
    "max_lease_ttl",
    "plugin_directory",
    "plugin_file_permissions",
    "plugin_file_uid",
    "raw_storage_endpoint",
];

/// Reports variables that Vault does not read, or that its file overrides.
fn unread(s: &Subject) -> Vec<Hit> {
    let names = s
        .environment
        .as_object()
        .into_iter()
        .flat_map(|all| all.keys());
    let unread = names.filter_map(|name| {
        let key = name.strip_prefix("VAULT_")?.to_ascii_lowercase();
        let found = format!("only the file sets `{key}`");
        UNREAD.contains(&key.as_str()).then(|| hit(name, found))
    });
    let mut hits: Vec<Hit> = unread.collect();
    let address = text(s.environment, "CONSUL_HTTP_ADDR");
    let plain = is(s.environment, "CONSUL_HTTP_SSL") == Some(false);
    let overridden = of_consul(s, |body| {
        let set = |key| text(body, key);
        let mut hits = Vec::new();
        if address.is_some() && set("address").is_some_and(|one| Some(one) != address) {
            hits.push(hit("CONSUL_HTTP_ADDR", "the file's `address` is used"));
        }
        if plain && set("scheme").is_some() {
            hits.push(hit("CONSUL_HTTP_SSL", "the file's `scheme` is used"));
        }
        hits
    });
    for Hit { key, found } in overridden {
        let name = key.rsplit('.').next().unwrap_or(&key);
        if !hits.iter().any(|one| one.key == name) {
            hits.push(hit(name, found));
        }
    }
    hits
}

/// Reports variables whose name matches, unless the value is false.
fn named(s: &Subject, matches: impl Fn(&str) -> bool) -> Vec<Hit> {
    let all = s.environment.as_object().into_iter().flatten();
    all.filter_map(|(name, value)| {
        let value = value.as_str().filter(|value| {
            !["", "0", "f", "false"].contains(&value.to_ascii_lowercase().as_str())
        })?;
        matches(name).then(|| hit(name, value))
    })
    .collect()
}

fn secret_variables(s: &Subject) -> Vec<Hit> {
    let known = |name: &str| match name {
        // Connection strings with a password are recognized by their form.
        "VAULT_LICENSE" | "VAULT_HSM_PIN" => Some(true),
        _ => None,
    };
    let keys = secrets::keys(s.environment, &known).into_iter();
    keys.map(|key| hit(&key, "a secret")).collect()
}
