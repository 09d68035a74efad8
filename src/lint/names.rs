//! Which keys a product compares without case, and what it calls them.

use super::Product;

/// Blocks of Vault whose bodies are read by the exact keys; their labels are not.
const EXACT_IN_VAULT: &[&str] = &[
    "backend",
    "ha_backend",
    "ha_storage",
    "kms",
    "seal",
    "service_registration",
    "storage",
];

/// Keys of Vault below which names are the user's.
const NAMES_IN_VAULT: &[&str] = &["custom_response_headers"];

/// Keys of Consul below which names are the user's.
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

/// Other names of Consul's keys.
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

/// Where Consul has one object, and files may have a block or a list with one.
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

/// The keys above an object, as far as they decide how its own keys are compared.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    product: Product,
    /// The first of the keys.
    top: Option<String>,
    depth: usize,
    exact: bool,
}

impl Scope {
    /// A whole file.
    pub(super) fn root(product: Product) -> Self {
        Self {
            product,
            top: None,
            depth: 0,
            exact: false,
        }
    }

    /// The object at `key` within this one.
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

    /// What the product takes `key` for in this object.
    pub(super) fn name(&self, key: &str) -> String {
        if self.exact {
            return key.to_owned();
        }
        // Go's comparison without case knows one more letter than a change to lower case does.
        let key = key.to_lowercase().replace('ſ', "s");
        let alias = ALIASES_IN_CONSUL
            .iter()
            .find(|(alias, _)| self.product == Product::Consul && *alias == key);
        alias.map_or(key, |(_, name)| (*name).to_owned())
    }

    /// Whether `name` has one object in it and no list.
    pub(super) fn is_section(&self, name: &str) -> bool {
        // A service may have several `ports`.
        let one = name != "ports" || self.depth == 0;
        one && !self.exact && self.product == Product::Consul && SECTIONS_OF_CONSUL.contains(&name)
    }
}
