//! Rules for Consul agents, from Consul's configuration reference and its security model:
//! <https://developer.hashicorp.com/consul/docs>.

/// Returns the address of a page of the reference.
macro_rules! page {
    ($page:literal) => {
        concat!(
            "https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/",
            $page
        )
    };
}

mod acl;
mod members;
mod names;
mod ports;
mod secrets;
mod tls;

use crate::product::consul::changes::{TLS, TLS_DEFAULTS_HOSTNAME};

use crate::lint::address::{is_loopback, is_socket};
use crate::lint::tree::{is, number, text};
use crate::lint::{Hit, Profile, Repeated, Role, Rule, Subject, hit, value_text};

pub(super) static PROFILE: Profile = Profile {
    name: "consul",
    title: "Consul",
    unparsed_rule_id: "consul.unreadable",
    source: "https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file",
    rules: RULES,
    names: names::NAMES,
    detects_json_by_name: true,
    repeated: Repeated {
        in_hcl: "Consul uses the last one",
        in_json: "Consul uses the last one",
        other_spelling: "Consul reads both as the same key and refuses the file",
    },
    overrides: &[],
};

/// All rules, in the order of their findings.
const RULES: &[&[Rule]] = &[
    members::RULES,
    secrets::RULES,
    acl::RULES,
    tls::RULES,
    ports::RULES,
];

const SECURITY: &str = "https://developer.hashicorp.com/consul/docs/secure/security-model/core";
const UPGRADE: &str = "https://developer.hashicorp.com/consul/docs/upgrade/version-specific";

/// Longest request that Consul must allow, in seconds: Vault's lock waits this long.
const LONGEST_WAIT_S: f64 = 900.0;

fn must_be(s: &Subject, expected: bool, key: &str) -> Vec<Hit> {
    if is(s.root, key) == Some(expected) {
        Vec::new()
    } else {
        vec![hit(key, value_text(s.root, key))]
    }
}

/// Tells if the agent is a client that gets gossip key, access control and certificates from
/// servers.
fn is_configured_by_servers(s: &Subject) -> bool {
    is(s.root, "auto_config.enabled") == Some(true) && is(s.root, "server") != Some(true)
}

/// Tells if the agent gets its certificate from servers.
fn is_certified_by_servers(s: &Subject) -> bool {
    is(s.root, "auto_encrypt.tls") == Some(true) || is_configured_by_servers(s)
}

/// Tells if the agent is a server, or may become one.
fn may_be_server(s: &Subject) -> bool {
    is(s.root, "server").unwrap_or(s.role == Role::Image && !is_configured_by_servers(s))
}

fn below(block: &str, name: &str) -> String {
    match block {
        "" => name.to_owned(),
        block => format!("{block}.{name}"),
    }
}

/// Returns the keys that can set a TLS option, by precedence: in `tls` since 1.12, before that at
/// the top of the file.
fn tls_keys(s: &Subject, scope: &str, name: &str) -> Vec<String> {
    let scoped = below(&format!("tls.{scope}"), name);
    // Separate keys before 1.12.
    let legacy = match (scope, name) {
        ("internal_rpc", "verify_incoming") => Some("verify_incoming_rpc".to_owned()),
        ("https", "verify_incoming") => Some("verify_incoming_https".to_owned()),
        _ => None,
    };
    let inherited = name != "verify_server_hostname" || s.has(&TLS_DEFAULTS_HOSTNAME);
    let defaults = inherited.then(|| below("tls.defaults", name));
    let keys = [Some(scoped), legacy, defaults, Some(name.to_owned())];
    keys.into_iter().flatten().collect()
}

/// Returns every key that can set a TLS option.
fn everywhere(name: &str) -> impl Iterator<Item = String> {
    let blocks = [
        "tls.defaults",
        "tls.internal_rpc",
        "tls.https",
        "tls.grpc",
        "",
    ];
    blocks.into_iter().map(move |block| below(block, name))
}

/// Returns the recommended key of a TLS option.
fn preferred(s: &Subject, scope: &str, name: &str) -> String {
    if s.has(&TLS) {
        below(&format!("tls.{scope}"), name)
    } else {
        name.to_owned()
    }
}

/// Returns the key that decides a TLS flag, and its value. Before 1.12, a specific flag cannot
/// disable a general one.
fn tls_flag(s: &Subject, scope: &str, name: &str) -> Option<(String, bool)> {
    let flag = |key: String| is(s.root, &key).map(|flag| (key, flag));
    let mut flags: Vec<(String, bool)> = tls_keys(s, scope, name)
        .into_iter()
        .filter_map(flag)
        .collect();
    if !s.has(&TLS) {
        flags.sort_by_key(|(_, flag)| !flag);
    }
    flags.into_iter().next()
}

fn tls_is(s: &Subject, scope: &str, name: &str) -> Option<bool> {
    tls_flag(s, scope, name).map(|(_, flag)| flag)
}

fn tls_text<'a>(s: &Subject<'a>, scope: &str, name: &str) -> Option<&'a str> {
    tls_keys(s, scope, name)
        .iter()
        .find_map(|key| text(s.root, key))
}

fn tls_must_be(s: &Subject, scope: &str, name: &str) -> Vec<Hit> {
    match tls_flag(s, scope, name) {
        Some((_, true)) => Vec::new(),
        Some((key, false)) => vec![hit(&key, "false")],
        None => vec![hit(&preferred(s, scope, name), "nothing")],
    }
}

/// Tells if a port is open. `default` is the state of a port that is not set.
fn is_open(s: &Subject, port: &str, default: bool) -> bool {
    number(s.root, &format!("ports.{port}")).map_or(default, |number| number > 0)
}

fn open_port(s: &Subject, port: &str, default: bool) -> Vec<Hit> {
    let key = format!("ports.{port}");
    if is_open(s, port, default) {
        vec![hit(&key, value_text(s.root, &key))]
    } else {
        Vec::new()
    }
}

/// Returns the key that sets the address of a service, and the address.
fn address(s: &Subject, service: &str) -> (String, String) {
    let key = format!("addresses.{service}");
    match (text(s.root, &key), text(s.root, "client_addr")) {
        (Some(address), _) => (key, address.to_owned()),
        (None, Some(address)) => ("client_addr".to_owned(), address.to_owned()),
        (None, None) => ("client_addr".to_owned(), "127.0.0.1".to_owned()),
    }
}

/// Reports a service that other machines can reach.
fn exposed(s: &Subject, service: &str, default: bool) -> Vec<Hit> {
    let (key, address) = address(s, service);
    if is_open(s, service, default) && !is_local(&address) {
        vec![hit(&key, address)]
    } else {
        Vec::new()
    }
}

/// Tells if only this machine can reach these addresses.
fn is_local(addresses: &str) -> bool {
    addresses
        .split_whitespace()
        .all(|address| is_loopback(address) || is_socket(address))
}
