//! The variables of an auto-unseal: which a node needs, accepts, and which are secret.
//! The node's own rules are in `provisioners/base/files/identity.jq`; this is a part of them.

use std::collections::BTreeMap;

use crate::cluster::file::EnvValue;
use crate::cluster::file::document::Document;
use crate::cluster::file::raw::SealName;
use crate::definition::{Location, Problem, closest_match, quoted_list};
use crate::manifest::is_name;

/// The key of the table.
const TABLE: &str = "unseal.env";

/// What the value of a secret begins with; its name follows.
const SECRET: &str = "secret:";

/// A variable of a node.
struct Variable {
    name: &'static str,
    required: bool,
    secret: bool,
}

const fn required(name: &'static str) -> Variable {
    Variable {
        name,
        required: true,
        secret: false,
    }
}

const fn optional(name: &'static str) -> Variable {
    Variable {
        name,
        required: false,
        secret: false,
    }
}

/// Variables of an unseal by another Vault.
const TRANSIT: [Variable; 10] = [
    required("VAULT_ADDR"),
    Variable {
        name: "VAULT_TOKEN",
        required: true,
        secret: true,
    },
    required("VAULT_TRANSIT_SEAL_KEY_NAME"),
    required("VAULT_TRANSIT_SEAL_MOUNT_PATH"),
    optional("VAULT_TRANSIT_SEAL_DISABLE_RENEWAL"),
    optional("VAULT_NAMESPACE"),
    optional("VAULT_CACERT"),
    optional("VAULT_CLIENT_CERT"),
    optional("VAULT_CLIENT_KEY"),
    optional("VAULT_TLS_SERVER_NAME"),
];

/// Variables of an unseal by Azure Key Vault. Without a client, a managed identity is used.
const AZURE: [Variable; 7] = [
    required("VAULT_AZUREKEYVAULT_VAULT_NAME"),
    required("VAULT_AZUREKEYVAULT_KEY_NAME"),
    required("AZURE_TENANT_ID"),
    optional("AZURE_CLIENT_ID"),
    Variable {
        name: "AZURE_CLIENT_SECRET",
        required: false,
        secret: true,
    },
    optional("AZURE_ENVIRONMENT"),
    optional("AZURE_AD_RESOURCE"),
];

/// Checks the variables of `kind`. Records the problem of each.
pub(super) fn check_env(
    document: &Document<'_>,
    kind: SealName,
    env: BTreeMap<String, String>,
) -> BTreeMap<String, EnvValue> {
    let variables: &[Variable] = match kind {
        SealName::Shares => &[],
        SealName::Transit => &TRANSIT,
        SealName::AzureKeyVault => &AZURE,
    };
    let found = &document.found;
    if kind == SealName::Shares && !env.is_empty() && !document.is_refused("unseal.kind") {
        found.record(
            document
                .at(TABLE)
                .problem("key shares have no variables; expected `kind = \"transit\"` or `kind = \"azurekeyvault\"`")
                .with_hint("Remove `env`, or set such a `kind`."),
        );
    }
    if kind == SealName::Shares {
        return BTreeMap::new();
    }
    if !document.is_refused(TABLE) {
        let misspelt = env.keys().filter_map(|name| meant(variables, name));
        let misspelt: Vec<&str> = misspelt.collect();
        let absent = variables.iter().filter(|variable| {
            let is_set = document.is_set(&key(variable.name));
            variable.required && !is_set && !misspelt.contains(&variable.name)
        });
        for Variable { name, secret, .. } in absent {
            let value = if *secret { "secret:NAME" } else { "VALUE" };
            let problem = document
                .at(&key(name))
                .problem("missing; the auto-unseal needs it");
            found.record(problem.with_hint(format!("Add `{name} = \"{value}\"` to `{TABLE}`.")));
        }
    }
    let read = env.into_iter().map(|(name, value)| {
        let value = value_of(&document.at(&key(&name)), variables, &name, value)?;
        Ok((name, value))
    });
    read.filter_map(|read| found.ok_or_record(read)).collect()
}

/// Returns the variable that an unknown `name` was probably meant to be.
fn meant(variables: &[Variable], name: &str) -> Option<&'static str> {
    let known = variables.iter().map(|variable| variable.name);
    if known.clone().any(|known| known == name) {
        return None;
    }
    let lower: Vec<String> = known.clone().map(str::to_lowercase).collect();
    let meant = closest_match(name, lower.iter().map(String::as_str))?;
    known
        .into_iter()
        .find(|known| known.to_lowercase() == meant)
}

fn key(name: &str) -> String {
    format!("{TABLE}.{name}")
}

/// Returns the value of a variable. No error contains the value, which may be a secret.
fn value_of(
    at: &Location,
    variables: &[Variable],
    name: &str,
    value: String,
) -> Result<EnvValue, Problem> {
    let Some(variable) = variables.iter().find(|variable| variable.name == name) else {
        let all = quoted_list(variables.iter().map(|variable| variable.name));
        let problem = at.problem(format!(
            "not a variable of this auto-unseal; expected one of {all}"
        ));
        return Err(match meant(variables, name) {
            Some(meant) => problem.with_hint(format!("Write `{meant}`.")),
            None => problem.with_hint("Remove it."),
        });
    };
    if let Some(secret) = value.strip_prefix(SECRET) {
        if is_name(secret) {
            return Ok(EnvValue::Secret(secret.to_owned()));
        }
        return Err(at
            .problem(
                "no name of a secret after `secret:`; expected letters, digits, `-`, `_` or `.`",
            )
            .with_hint("Write it as in `secret:transit-token`."));
    }
    if variable.secret {
        return Err(at
            .problem("a secret in the file; expected `secret:NAME`")
            .with_hint("Store it with the cluster's secrets, and write its name here."));
    }
    let allowed = |c: char| matches!(c, ' '..='~') && !matches!(c, '"' | '\'' | '\\' | '`');
    if value.is_empty() || value.trim() != value || !value.chars().all(allowed) {
        return Err(at
            .problem("a node refuses this value; expected printable ASCII without quotes, backslashes and blanks around it")
            .with_hint("Write the value itself."));
    }
    if name == "VAULT_ADDR" && !value.starts_with("https://") {
        return Err(at
            .problem("expected `https://HOST:PORT`")
            .with_hint("Use https://: the token is sent to this address."));
    }
    Ok(EnvValue::Text(value))
}
