//! Normalizes keys as each product does: case and aliases.

use super::Product;

/// Blocks of Vault whose keys, but not labels, are compared with case.
const EXACT_IN_VAULT: &[&str] = &[
    "backend",
    "ha_backend",
    "ha_storage",
    "kms",
    "seal",
    "service_registration",
    "storage",
];

/// Keys of Vault with names of the user below them.
const NAMES_IN_VAULT: &[&str] = &["custom_response_headers"];

/// Keys of Consul with names of the user below them.
const NAMES_IN_CONSUL: &[&str] = &[
    "claim_mappings",
    "config",
    "dashboard_url_templates",
    "header",
    "list_claim_mappings",
    "meta",
    "node_meta",
    "response_headers",
    "service_ttl",
    "sink",
    "tagged_addresses",
];

/// Aliases of Consul's keys.
const ALIASES_IN_CONSUL: &[(&str, &str)] = &[
    (
        "deregistercriticalserviceafter",
        "deregister_critical_service_after",
    ),
    ("dockercontainerid", "docker_container_id"),
    ("privatekey", "private_key"),
    ("rootcert", "root_cert"),
    ("scriptargs", "args"),
    ("serviceid", "service_id"),
    ("tlsskipverify", "tls_skip_verify"),
];

/// Keys of Consul with one object, which files may write as a block or a list of one.
const SECTIONS_OF_CONSUL: &[&str] = &[
    "acl",
    "addresses",
    "audit",
    "authorization",
    "auto_config",
    "auto_encrypt",
    "autopilot",
    "boltdb",
    "ca_config",
    "cache",
    "check",
    "cloud",
    "config_entries",
    "connect",
    "consul",
    "defaults",
    "dns_config",
    "expose",
    "gossip_lan",
    "gossip_wan",
    "grpc",
    "http_config",
    "https",
    "internal_rpc",
    "license",
    "limits",
    "locality",
    "mesh_gateway",
    "metrics_proxy",
    "peering",
    "performance",
    "ports",
    "proxy",
    "raft_logstore",
    "reporting",
    "request_limits",
    "rpc",
    "service",
    "sidecar_service",
    "soa",
    "static",
    "telemetry",
    "tls",
    "tokens",
    "transparent_proxy",
    "ui_config",
    "unix_sockets",
    "verification",
    "wal",
    "weights",
    "xds",
];

/// The keys above an object, which decide how its keys are compared.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    product: Product,
    /// First of the keys.
    top: Option<String>,
    depth: usize,
    exact: bool,
}

impl Scope {
    /// Creates the scope of a file.
    pub(super) fn root(product: Product) -> Self {
        Self {
            product,
            top: None,
            depth: 0,
            exact: false,
        }
    }

    /// Returns the scope of the object at `key`.
    pub(super) fn below(&self, key: &str) -> Self {
        let key = self.name(key);
        let depth = self.depth + 1;
        let top = self.top.clone().unwrap_or_else(|| key.clone());
        let exact = match self.product {
            Product::Vault => {
                NAMES_IN_VAULT.contains(&key.as_str())
                    || depth > 1 && EXACT_IN_VAULT.contains(&top.as_str())
            }
            Product::Consul => NAMES_IN_CONSUL.contains(&key.as_str()),
        };
        Self {
            product: self.product,
            top: Some(top),
            depth,
            exact: self.exact || exact,
        }
    }

    /// Returns the product's name of `key` in this object.
    pub(super) fn name(&self, key: &str) -> String {
        if self.exact {
            return key.to_owned();
        }
        // Go's comparison without case also equates this letter with `s`.
        let key = key.to_lowercase().replace('ſ', "s");
        let alias = ALIASES_IN_CONSUL
            .iter()
            .find(|(alias, _)| self.product == Product::Consul && *alias == key);
        alias.map_or(key, |(_, name)| (*name).to_owned())
    }

    /// Tells if `name` has one object, not a list.
    pub(super) fn is_section(&self, name: &str) -> bool {
        // Inside a service, `ports` is a list.
        let single = name != "ports" || self.depth == 0;
        single
            && !self.exact
            && self.product == Product::Consul
            && SECTIONS_OF_CONSUL.contains(&name)
    }
}
