//! Variables that Vault's unit sets, and that Vault reads before its files.

use crate::lint::{Hit, Role, Rule, Severity, Subject, hit, secrets};

pub(in crate::lint) const RULES: &[Rule] = &[
    Rule {
        id: "vault.pending-removal",
        severity: Severity::Unsafe,
        reason: "Vault keeps a plugin in use that is announced for removal, and gets no more fixes",
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
];

/// Variables with such a name that are set to something other than a false value.
fn named(s: &Subject, wanted: impl Fn(&str) -> bool) -> Vec<Hit> {
    let all = s.environment.as_object().into_iter().flatten();
    all.filter_map(|(name, value)| {
        let value = value.as_str().filter(|value| {
            !["", "0", "f", "false"].contains(&value.to_ascii_lowercase().as_str())
        })?;
        wanted(name).then(|| hit(name, value))
    })
    .collect()
}

fn secret_variables(s: &Subject) -> Vec<Hit> {
    let known = |name: &str| match name {
        // A connection string has a password where it has a user.
        "VAULT_LICENSE" | "VAULT_HSM_PIN" => Some(true),
        _ => None,
    };
    let keys = secrets::keys(s.environment, &known).into_iter();
    keys.map(|key| hit(&key, "a secret")).collect()
}
