//! Storage backends: which keys each of them reads, which of these are secrets, and when it speaks in clear.
//!
//! From Vault's documentation of each backend, and from what `physical/` of its source looks up.

use serde_json::Value;

use crate::lint::address::{has_scheme, is_loopback, is_socket};
use crate::lint::tree::{is, text};

/// Keys of every backend, which Vault takes out before it gives the rest to the backend.
pub(super) const COMMON: &[&str] = &[
    "redirect_addr",
    "advertise_addr",
    "cluster_addr",
    "disable_clustering",
    "max_parallel",
    "ha_enabled",
];

/// One kind of storage.
pub(super) struct Backend {
    /// Its label, as in `storage "raft"`.
    pub name: &'static str,
    /// Its keys, which count in this spelling alone, without those of [`COMMON`].
    pub keys: &'static [&'static str],
    /// Those that are secrets although their names do not say so.
    pub secrets: &'static [&'static str],
    clear: Clear,
}

/// What makes a connection go in clear.
enum Clear {
    /// Nothing that a key says.
    Never,
    /// An address under this key with this scheme.
    Scheme(&'static [&'static str], &'static str),
    /// TLS that this key turns on, for the hosts under another.
    Unless(&'static str, &'static str),
    /// `sslmode` in a connection string.
    SslMode(&'static str),
    /// S3, which has a flag and an endpoint.
    DisableSsl,
}

/// The backend with this label.
pub(super) fn named(label: &str) -> Option<&'static Backend> {
    BACKENDS.iter().find(|backend| backend.name == label)
}

impl Backend {
    /// The key by which credentials and data go over the network in clear.
    pub(super) fn clear_key(&self, body: &Value) -> Option<&'static str> {
        let hosts = |key: &str| text(body, key).map(|all| all.split(',').all(is_loopback));
        match &self.clear {
            Clear::Never => None,
            Clear::Scheme(keys, scheme) => keys.iter().copied().find(|key| {
                let mut all = text(body, key).into_iter().flat_map(|all| all.split(','));
                all.any(|one| has_scheme(one, scheme) && !is_loopback(one))
            }),
            // Without hosts it is this machine, by every default.
            Clear::Unless(key, at) => {
                let on = is(body, key) == Some(true)
                    || (is(body, key).is_none() && text(body, key).is_some());
                (!on && hosts(at) == Some(false)).then_some(*at)
            }
            Clear::SslMode(key) => {
                let url = text(body, key)?;
                let mode = url.split_once("sslmode=")?.1;
                let mode = mode.split(['&', ' ', '\'']).next()?;
                let weak = ["disable", "allow", "prefer"].contains(&mode);
                (weak && !is_of_this_machine(url)).then_some(*key)
            }
            Clear::DisableSsl if is(body, "disable_ssl") == Some(true) => Some("disable_ssl"),
            Clear::DisableSsl => text(body, "endpoint")
                .filter(|one| has_scheme(one, "http") && !is_loopback(one))
                .map(|_| "endpoint"),
        }
    }
}

/// Whether a connection string is one for this machine: as a URL, or as words with `host=`.
fn is_of_this_machine(url: &str) -> bool {
    if url.contains("://") {
        return is_loopback(url);
    }
    let host = url
        .split_whitespace()
        .find_map(|word| word.strip_prefix("host="));
    host.is_none_or(|host| host.starts_with('/') || is_loopback(host) || is_socket(host))
}

const BACKENDS: &[Backend] = &[
    Backend {
        name: "aerospike",
        keys: &[
            "hostname",
            "port",
            "hostlist",
            "namespace",
            "set",
            "username",
            "password",
            "cluster_name",
            "auth_mode",
            "timeout",
            "idle_timeout",
        ],
        secrets: &[],
        clear: Clear::Never,
    },
    Backend {
        name: "alicloudoss",
        keys: &["endpoint", "bucket", "access_key", "secret_key"],
        secrets: &[],
        clear: Clear::Scheme(&["endpoint"], "http"),
    },
    Backend {
        name: "azure",
        keys: &[
            "accountName",
            "accountKey",
            "container",
            "environment",
            "arm_endpoint",
            "testHost",
        ],
        secrets: &["accountKey"],
        clear: Clear::Scheme(&["arm_endpoint"], "http"),
    },
    Backend {
        name: "cassandra",
        keys: &[
            "hosts",
            "keyspace",
            "table",
            "consistency",
            "protocol_version",
            "username",
            "password",
            "connection_timeout",
            "initial_connection_timeout",
            "simple_retry_policy_retries",
            "disable_host_initial_lookup",
            "disable_initial_host_lookup",
            "tls",
            "pem_bundle_file",
            "pem_json_file",
            "tls_skip_verify",
            "tls_min_version",
        ],
        secrets: &[],
        clear: Clear::Unless("tls", "hosts"),
    },
    Backend {
        name: "cockroachdb",
        keys: &["connection_url", "table", "ha_table"],
        secrets: &[],
        clear: Clear::SslMode("connection_url"),
    },
    // Its connection has a rule of its own.
    Backend {
        name: "consul",
        keys: &[
            "address",
            "check_timeout",
            "consistency_mode",
            "disable_registration",
            "path",
            "scheme",
            "service",
            "service_tags",
            "service_meta",
            "service_address",
            "token",
            "session_ttl",
            "lock_wait_time",
            "reconcile_timeout",
            "tls_ca_file",
            "tls_cert_file",
            "tls_key_file",
            "tls_min_version",
            "tls_skip_verify",
        ],
        secrets: &[],
        clear: Clear::Never,
    },
    Backend {
        name: "couchdb",
        keys: &["endpoint", "username", "password"],
        secrets: &[],
        clear: Clear::Scheme(&["endpoint"], "http"),
    },
    Backend {
        name: "dynamodb",
        keys: &[
            "endpoint",
            "region",
            "table",
            "billing_mode",
            "read_capacity",
            "write_capacity",
            "access_key",
            "secret_key",
            "session_token",
            "dynamodb_max_retries",
            "dynamodb_allow_updates",
            "recovery_mode",
        ],
        secrets: &[],
        clear: Clear::Scheme(&["endpoint"], "http"),
    },
    Backend {
        name: "etcd",
        keys: &[
            "address",
            "discovery_srv",
            "discovery_srv_name",
            "etcd_api",
            "path",
            "sync",
            "username",
            "password",
            "tls_ca_file",
            "tls_cert_file",
            "tls_key_file",
            "request_timeout",
            "lock_timeout",
            "max_receive_size",
            "max_send_size",
        ],
        secrets: &[],
        clear: Clear::Scheme(&["address"], "http"),
    },
    Backend {
        name: "file",
        keys: &["path"],
        secrets: &[],
        clear: Clear::Never,
    },
    Backend {
        name: "foundationdb",
        keys: &[
            "api_version",
            "cluster_file",
            "path",
            "tls_verify_peers",
            "tls_ca_file",
            "tls_cert_file",
            "tls_key_file",
            "tls_password",
        ],
        secrets: &[],
        clear: Clear::Never,
    },
    Backend {
        name: "gcs",
        keys: &["bucket", "chunk_size", "credentials_file"],
        secrets: &[],
        clear: Clear::Never,
    },
    Backend {
        name: "manta",
        keys: &["directory", "user", "subuser", "key_id", "url"],
        secrets: &[],
        clear: Clear::Scheme(&["url"], "http"),
    },
    Backend {
        name: "mssql",
        keys: &[
            "server",
            "port",
            "username",
            "password",
            "database",
            "table",
            "schema",
            "appname",
            "connectiontimeout",
            "loglevel",
            "connectionTimeout",
            "logLevel",
        ],
        secrets: &[],
        clear: Clear::Never,
    },
    Backend {
        name: "mysql",
        keys: &[
            "address",
            "username",
            "password",
            "database",
            "table",
            "tls_ca_file",
            "plaintext_credentials_transmission",
            "plaintext_connection_allowed",
            "max_idle_connections",
            "max_connection_lifetime",
            "lock_table",
        ],
        secrets: &[],
        clear: Clear::Unless("tls_ca_file", "address"),
    },
    Backend {
        name: "oci",
        keys: &[
            "bucket_name",
            "lock_bucket_name",
            "namespace_name",
            "region",
            "auth_type_api_key",
        ],
        secrets: &[],
        clear: Clear::Never,
    },
    Backend {
        name: "postgresql",
        keys: &[
            "connection_url",
            "table",
            "ha_table",
            "max_idle_connections",
            "upsert_function",
            "skip_create_table",
            "auth_mode",
            "aws_db_region",
            "azure_client_id",
            "max_connect_retries",
        ],
        secrets: &[],
        clear: Clear::SslMode("connection_url"),
    },
    // How its nodes join has rules of its own.
    Backend {
        name: "raft",
        keys: &[
            "path",
            "node_id",
            "performance_multiplier",
            "trailing_logs",
            "snapshot_threshold",
            "snapshot_interval",
            "snapshot_delay",
            "apply_delay",
            "retry_join",
            "retry_join_as_non_voter",
            "max_entry_size",
            "max_mount_and_namespace_table_entry_size",
            "max_transaction_size",
            "autopilot_reconcile_interval",
            "autopilot_update_interval",
            "autopilot_upgrade_version",
            "autopilot_redundancy_zone",
            "raft_log_verifier_enabled",
            "raft_log_verification_interval",
            "raft_wal",
            "last_contact_threshold",
            "dead_server_last_contact_threshold",
            "server_stabilization_time",
            "doNotStoreLatestState",
        ],
        secrets: &[],
        clear: Clear::Never,
    },
    Backend {
        name: "s3",
        keys: &[
            "bucket",
            "endpoint",
            "region",
            "access_key",
            "secret_key",
            "session_token",
            "s3_force_path_style",
            "disable_ssl",
            "kms_key_id",
            "path",
        ],
        secrets: &[],
        clear: Clear::DisableSsl,
    },
    Backend {
        name: "spanner",
        keys: &["database", "table", "ha_table", "credentials_file"],
        secrets: &[],
        clear: Clear::Never,
    },
    Backend {
        name: "swift",
        keys: &[
            "auth_url",
            "container",
            "username",
            "password",
            "tenant",
            "tenant_id",
            "region",
            "domain",
            "project",
            "project-domain",
            "trust_id",
            "storage_url",
            "auth_token",
        ],
        secrets: &[],
        clear: Clear::Scheme(&["auth_url", "storage_url"], "http"),
    },
    Backend {
        name: "ydb",
        keys: &[
            "dsn",
            "table",
            "token",
            "service_account_key_file",
            "service_account_key",
            "static_credentials_user",
            "static_credentials_password",
            "metadata_auth",
            "anonymous_credentials",
            "internal_ca",
            "ha_coordination_node",
            "transaction_max_entries",
            "transaction_max_size",
        ],
        secrets: &["service_account_key"],
        clear: Clear::Scheme(&["dsn"], "grpc"),
    },
    Backend {
        name: "zookeeper",
        keys: &[
            "address",
            "path",
            "auth_info",
            "znode_owner",
            "tls_enabled",
            "tls_ca_file",
            "tls_cert_file",
            "tls_key_file",
            "tls_min_version",
            "tls_skip_verify",
            "tls_verify_ip",
        ],
        secrets: &["auth_info"],
        clear: Clear::Unless("tls_enabled", "address"),
    },
    Backend {
        name: "inmem",
        keys: &[],
        secrets: &[],
        clear: Clear::Never,
    },
    Backend {
        name: "inmem_ha",
        keys: &[],
        secrets: &[],
        clear: Clear::Never,
    },
];
