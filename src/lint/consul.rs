//! Rules for Consul agents.
//!
//! From Consul's reference of configuration files and its security model: <https://developer.hashicorp.com/consul/docs>.

/// A page of the reference.
macro_rules! page {
    ($page:literal) => {
        concat!(
            "https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/",
            $page
        )
    };
}

mod acl;
mod ports;
mod members;
mod secrets;
mod tls;

use crate::version_changes::{CONSUL_TLS, CONSUL_TLS_DEFAULTS_HOSTNAME};

use super::address::{is_loopback, is_socket};
use super::tree::{is, number, text};
use super::{Hit, Role, Rule, Subject, hit, shown};

/// All of them.
pub(super) const RULES: &[&[Rule]] = &[
    members::RULES,
    secrets::RULES,
    acl::RULES,
    tls::RULES,
    ports::RULES,
];

const SECURITY: &str = "https://developer.hashicorp.com/consul/docs/secure/security-model/core";
const UPGRADE: &str = "https://developer.hashicorp.com/consul/docs/upgrade/version-specific";

/// Below this Consul allowed itself no fewer minutes for a request than Vault's lock waits, in seconds.
const LONGEST_WAIT_S: f64 = 900.0;

fn must_be(s: &Subject, wanted: bool, key: &str) -> Vec<Hit> {
    match is(s.root, key) == Some(wanted) {
        true => Vec::new(),
        false => vec![hit(key, shown(s.root, key))],
    }
}

/// Whether it is a client that gets the gossip key, access control and certificates from the servers.
fn is_configured_by_servers(s: &Subject) -> bool {
    is(s.root, "auto_config.enabled") == Some(true) && is(s.root, "server") != Some(true)
}

/// Whether the servers give it a certificate.
fn is_certified_by_servers(s: &Subject) -> bool {
    is(s.root, "auto_encrypt.tls") == Some(true) || is_configured_by_servers(s)
}

/// Whether it is a server, or may become one.
fn serves(s: &Subject) -> bool {
    is(s.root, "server").unwrap_or(s.role == Role::Image && !is_configured_by_servers(s))
}

fn below(place: &str, name: &str) -> String {
    match place {
        "" => name.to_owned(),
        place => format!("{place}.{name}"),
    }
}

/// Where a TLS setting may stand, what counts first: `tls` has it since 1.12, before that the top.
fn tls_keys(s: &Subject, scope: &str, name: &str) -> Vec<String> {
    let own = below(&format!("tls.{scope}"), name);
    // Keys of their own before 1.12.
    let legacy = match (scope, name) {
        ("internal_rpc", "verify_incoming") => Some("verify_incoming_rpc".to_owned()),
        ("https", "verify_incoming") => Some("verify_incoming_https".to_owned()),
        _ => None,
    };
    let inherited = name != "verify_server_hostname" || s.has(&CONSUL_TLS_DEFAULTS_HOSTNAME);
    let defaults = inherited.then(|| below("tls.defaults", name));
    let places = [Some(own), legacy, defaults, Some(name.to_owned())];
    places.into_iter().flatten().collect()
}

/// Every place where a TLS setting may stand.
fn everywhere(name: &str) -> impl Iterator<Item = String> {
    let places = [
        "tls.defaults",
        "tls.internal_rpc",
        "tls.https",
        "tls.grpc",
        "",
    ];
    places.into_iter().map(move |place| below(place, name))
}

/// Where it should stand.
fn preferred(s: &Subject, scope: &str, name: &str) -> String {
    match s.has(&CONSUL_TLS) {
        true => below(&format!("tls.{scope}"), name),
        false => name.to_owned(),
    }
}

/// The key that decides a TLS flag, and what it says. Before 1.12 a flag for all is not taken back by one for a part.
fn tls_flag(s: &Subject, scope: &str, name: &str) -> Option<(String, bool)> {
    let flag = |key: String| is(s.root, &key).map(|flag| (key, flag));
    let mut flags: Vec<(String, bool)> = tls_keys(s, scope, name)
        .into_iter()
        .filter_map(flag)
        .collect();
    if !s.has(&CONSUL_TLS) {
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

/// Whether a port is open, where `default` says so of one that is not named.
fn is_open(s: &Subject, port: &str, default: bool) -> bool {
    number(s.root, &format!("ports.{port}")).map_or(default, |number| number > 0)
}

fn open_port(s: &Subject, port: &str, default: bool) -> Vec<Hit> {
    let key = format!("ports.{port}");
    match is_open(s, port, default) {
        true => vec![hit(&key, shown(s.root, &key))],
        false => Vec::new(),
    }
}

/// Which address a service is bound to, and where that stands.
fn address(s: &Subject, service: &str) -> (String, String) {
    let key = format!("addresses.{service}");
    match (text(s.root, &key), text(s.root, "client_addr")) {
        (Some(address), _) => (key, address.to_owned()),
        (None, Some(address)) => ("client_addr".to_owned(), address.to_owned()),
        (None, None) => ("client_addr".to_owned(), "127.0.0.1".to_owned()),
    }
}

/// A service that is open, in clear or to anybody, beyond this machine.
fn exposed(s: &Subject, service: &str, default: bool) -> Vec<Hit> {
    let (key, address) = address(s, service);
    match is_open(s, service, default) && !is_local(&address) {
        true => vec![hit(&key, address)],
        false => Vec::new(),
    }
}

/// Whether all of several addresses can be reached from this machine alone.
fn is_local(addresses: &str) -> bool {
    addresses
        .split_whitespace()
        .all(|address| is_loopback(address) || is_socket(address))
}
