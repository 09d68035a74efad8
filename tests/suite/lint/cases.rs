//! A violation of each rule, and a valid twin.

use serde_json::{Value, json};
use vault_bake::lint::{Configuration, Finding, Role};
use vault_bake::product::Product;

pub const TLS: &str = "tls.defaults";

/// A valid Consul server.
pub fn consul() -> Value {
    json!({
        "server": true,
        "data_dir": "/var/lib/consul",
        "client_addr": "127.0.0.1",
        "encrypt": "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s=",
        "disable_keyring_file": true,
        "acl": { "enabled": true, "default_policy": "deny", "down_policy": "extend-cache" },
        "tls": {
            "defaults": {
                "ca_file": "/run/consul-tls/ca.pem",
                "cert_file": "/run/consul-tls/tls.crt",
                "key_file": "/run/consul-tls/tls.key",
                "tls_min_version": "TLSv1_3",
                "verify_incoming": true,
                "verify_outgoing": true,
            },
            "internal_rpc": { "verify_server_hostname": true },
        },
        "ports": { "http": -1, "https": 8501, "grpc": -1, "grpc_tls": -1, "dns": -1, "serf_wan": -1 },
        "retry_join": ["provider=azure tag_name=consul tag_value=server"],
    })
}

/// A valid Vault server.
pub fn vault() -> Value {
    json!({
        "storage": { "consul": {
            "address": "127.0.0.1:8501", "scheme": "https",
            "tls_ca_file": "/run/vault-tls/consul-ca.pem",
            "tls_cert_file": "/run/vault-tls/tls.crt",
            "tls_key_file": "/run/vault-tls/tls.key",
        } },
        "listener": [{ "tcp": {
            "address": "0.0.0.0:8200",
            "tls_cert_file": "/run/vault-tls/tls.crt",
            "tls_key_file": "/run/vault-tls/tls.key",
        } }],
        "api_addr": "https://{{ GetPrivateIP }}:8200",
        "cluster_addr": "https://{{ GetPrivateIP }}:8201",
        "disable_mlock": false,
        "seal": { "azurekeyvault": { "vault_name": "v", "key_name": "k" } },
    })
}

/// Applies `patch`; null removes.
pub fn patched(mut value: Value, patch: &Value) -> Value {
    fn apply(value: &mut Value, patch: &Value) {
        let Value::Object(patch) = patch else {
            *value = patch.clone();
            return;
        };
        if !value.is_object() {
            *value = json!({});
        }
        for (key, patch) in patch {
            match patch {
                Value::Null => _ = value.as_object_mut().unwrap().remove(key),
                patch => apply(&mut value[key], patch),
            }
        }
    }
    apply(&mut value, patch);
    value
}

/// Makes `{"a": {"b": leaf}}` from `a.b`.
pub fn at(key: &str, leaf: Value) -> Value {
    let keys = key.rsplit('.');
    keys.fold(leaf, |inner, key| json!({ key: inner }))
}

fn listener(body: &Value) -> Value {
    let tcp = patched(vault()["listener"][0]["tcp"].clone(), body);
    json!({ "listener": [{ "tcp": tcp }] })
}

/// Integrated storage with one join.
fn raft(join: &Value) -> Value {
    json!({ "storage": { "consul": null, "raft": { "path": "/d", "retry_join": [join] } } })
}

fn storage(body: &Value) -> Value {
    json!({ "storage": { "consul": body } })
}

pub struct Case {
    pub rule: &'static str,
    version: Option<&'static str>,
    role: Role,
    pub bad: Value,
    pub good: Value,
}

pub fn case(rule: &'static str, bad: Value, good: Value) -> Case {
    Case {
        rule,
        version: None,
        role: Role::Node,
        bad,
        good,
    }
}

impl Case {
    fn version(self, version: &'static str) -> Self {
        Self {
            version: Some(version),
            ..self
        }
    }

    fn role(self, role: Role) -> Self {
        Self { role, ..self }
    }

    pub fn lint(&self, patch: &Value) -> Vec<Finding> {
        let (product, whole) = match self.rule.starts_with("consul.") {
            true => (Product::Consul, consul()),
            false => (Product::Vault, vault()),
        };
        let mut whole = patched(whole, patch);
        if self.role == Role::Image && product == Product::Consul && patch.get("encrypt").is_none()
        {
            whole.as_object_mut().unwrap().remove("encrypt");
        }
        let version = self.version.map(|version| version.parse().unwrap());
        let mut configuration = Configuration::new(product, version, self.role);
        configuration.add("file.json", &whole.to_string()).unwrap();
        configuration.lint()
    }
}

pub fn consul_cases() -> Vec<Case> {
    let none = || json!({});
    vec![
        case("consul.gossip-key", json!({ "encrypt": null }), none()),
        case("consul.gossip-key", json!({ "encrypt": "" }), none()).role(Role::Founder),
        case(
            "consul.gossip-key-length",
            json!({ "encrypt": "AAAAAAAAAAAAAAAAAAAAAA==" }),
            none(),
        ),
        case(
            "consul.gossip-key-length",
            json!({ "encrypt": "not base64" }),
            none(),
        ),
        case(
            "consul.gossip-verified",
            json!({ "encrypt_verify_incoming": false }),
            json!({ "encrypt_verify_incoming": true }),
        ),
        case(
            "consul.gossip-verified",
            json!({ "encrypt_verify_outgoing": false }),
            json!({ "encrypt_verify_outgoing": true }),
        ),
        case(
            "consul.keyring-on-disk",
            json!({ "disable_keyring_file": null }),
            none(),
        ),
        case(
            "consul.secret-in-image",
            json!({ "encrypt": consul()["encrypt"] }),
            none(),
        )
        .role(Role::Image),
        case(
            "consul.secret-in-image",
            at("acl.tokens.agent", json!("00000000")),
            none(),
        )
        .role(Role::Image),
        case(
            "consul.secret-in-image",
            at("connect.ca_config.private_key", json!("-----")),
            at("connect.ca_provider", json!("vault")),
        )
        .role(Role::Image),
        case(
            "consul.join-secret",
            json!({ "retry_join": ["provider=azure tenant_id=a client_id=b secret_access_key=c"] }),
            json!({ "retry_join": ["provider=azure subscription_id=a resource_group=b vm_scale_set=c"] }),
        ),
        case(
            "consul.acl-enabled",
            at("acl.enabled", json!(false)),
            at("acl.enabled", json!("true")),
        ),
        case(
            "consul.acl-default-deny",
            at("acl.default_policy", json!("allow")),
            none(),
        ),
        case(
            "consul.acl-default-deny",
            at("acl.default_policy", json!(null)),
            none(),
        ),
        case(
            "consul.acl-down-policy",
            at("acl.down_policy", json!("allow")),
            at("acl.down_policy", json!("async-cache")),
        ),
        case(
            "consul.token-persistence",
            at("acl.enable_token_persistence", json!(true)),
            at("acl.enable_token_persistence", json!(false)),
        ),
        case(
            "consul.tls-files",
            at("tls.defaults.ca_file", json!(null)),
            at(TLS, json!({ "ca_file": null, "ca_path": "/run/ca" })),
        ),
        case(
            "consul.tls-files",
            json!({ "server": false, "tls": { "defaults": { "key_file": null } } }),
            json!({ "server": false, "auto_encrypt": { "tls": true }, "tls": { "defaults": { "cert_file": null, "key_file": null } } }),
        ),
        case(
            "consul.verify-incoming",
            at("tls.defaults.verify_incoming", json!(false)),
            at("tls.defaults.verify_incoming", json!(1)),
        ),
        case(
            "consul.verify-incoming",
            at("tls.internal_rpc.verify_incoming", json!(false)),
            at("tls.https.verify_incoming", json!(false)),
        ),
        case(
            "consul.verify-incoming",
            json!({ "verify_incoming": true, "verify_incoming_rpc": false, "tls": { "defaults": { "verify_incoming": null } } }),
            json!({ "verify_incoming": false, "verify_incoming_rpc": true, "tls": { "defaults": { "verify_incoming": null } } }),
        ),
        case(
            "consul.verify-incoming",
            json!({ "verify_incoming": false, "verify_incoming_rpc": false, "tls": { "defaults": { "verify_incoming": null } } }),
            json!({ "verify_incoming": true, "verify_incoming_rpc": false, "tls": { "defaults": { "verify_incoming": null } } }),
        )
        .version("1.8.7"),
        case(
            "consul.verify-outgoing",
            at("tls.defaults.verify_outgoing", json!(null)),
            at("tls.internal_rpc.verify_outgoing", json!(true)),
        ),
        case(
            "consul.verify-server-hostname",
            json!({ "tls": { "internal_rpc": null, "defaults": { "verify_server_hostname": true } } }),
            json!({ "tls": { "internal_rpc": null }, "verify_server_hostname": true }),
        )
        .version("1.16.0"),
        case(
            "consul.https-verify-incoming",
            json!({ "client_addr": "10.0.0.4", "tls": { "https": { "verify_incoming": false } } }),
            json!({ "client_addr": "10.0.0.4", "tls": { "https": { "verify_incoming": true } } }),
        ),
        case(
            "consul.https-verify-incoming",
            json!({ "addresses": { "https": "127.0.0.1 10.0.0.4" }, "tls": { "https": { "verify_incoming": false } } }),
            json!({ "addresses": { "https": "127.0.0.1 ::1" }, "tls": { "https": { "verify_incoming": false } } }),
        ),
        case(
            "consul.https-verify-incoming",
            json!({ "addresses": { "https": "127.0.0.1 {{ GetPrivateIP }}" }, "tls": { "https": { "verify_incoming": false } } }),
            json!({ "addresses": { "https": "127.0.0.1 {{ GetPrivateIP }}" } }),
        ),
        case(
            "consul.tls-min-version",
            at("tls.defaults.tls_min_version", json!("TLSv1_1")),
            at("tls.defaults.tls_min_version", json!("TLSv1_2")),
        ),
        case(
            "consul.tls-min-version",
            at("tls.https.tls_min_version", json!("tls10")),
            at("tls.https.tls_min_version", json!(null)),
        ),
        case(
            "consul.tls-cipher-suites",
            at(
                "tls.defaults.tls_cipher_suites",
                json!("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_RSA_WITH_AES_128_CBC_SHA"),
            ),
            at(
                "tls.defaults.tls_cipher_suites",
                json!(
                    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
                ),
            ),
        ),
        case(
            "consul.http-port",
            at("ports.http", json!(null)),
            at("ports.http", json!("-1")),
        ),
        case(
            "consul.http-port",
            at("ports.http", json!(8500)),
            at("ports.http", json!(0)),
        ),
        case(
            "consul.https-port",
            at("ports.https", json!(null)),
            at("ports.https", json!(8443)),
        ),
        case(
            "consul.grpc-port",
            at("ports.grpc", json!(8502)),
            at("ports.grpc", json!(null)),
        ),
        case(
            "consul.grpc-tls-port",
            at("ports.grpc_tls", json!(null)),
            json!({ "ports": { "grpc_tls": 8503 }, "connect": { "enabled": true } }),
        ),
        case(
            "consul.grpc-tls-port",
            at("ports.grpc_tls", json!(8503)),
            json!({ "server": false, "ports": { "grpc_tls": null } }),
        )
        .version("1.21.5"),
        case(
            "consul.dns-address",
            json!({ "ports": { "dns": 8600 }, "addresses": { "dns": "0.0.0.0" } }),
            json!({ "ports": { "dns": 8600 }, "addresses": { "dns": "127.0.0.1" } }),
        ),
        case(
            "consul.wan-gossip",
            at("ports.serf_wan", json!(null)),
            json!({ "ports": { "serf_wan": 8302 }, "retry_join_wan": ["10.1.0.4"] }),
        ),
        case(
            "consul.script-checks",
            json!({ "enable_script_checks": true }),
            json!({ "enable_script_checks": false }),
        ),
        case(
            "consul.script-checks",
            json!({ "enable_local_script_checks": true }),
            none(),
        ),
        case(
            "consul.remote-exec",
            json!({ "disable_remote_exec": false }),
            json!({ "disable_remote_exec": true }),
        ),
        case(
            "consul.debug",
            json!({ "enable_debug": true }),
            json!({ "enable_debug": false }),
        ),
        case(
            "consul.bootstrap-expect",
            json!({ "bootstrap_expect": 3 }),
            none(),
        ),
        case(
            "consul.bootstrap-expect",
            json!({ "bootstrap": true }),
            json!({ "bootstrap_expect": 3 }),
        )
        .role(Role::Founder),
        case(
            "consul.leave-on-terminate",
            json!({ "leave_on_terminate": true }),
            json!({ "server": false, "leave_on_terminate": true }),
        ),
        case(
            "consul.http-timeouts",
            at("http_config.read_timeout", json!("30s")),
            at("http_config.read_timeout", json!("1h")),
        ),
        case(
            "consul.http-timeouts",
            at("http_config.read_timeout", json!("15m")),
            at(
                "http_config",
                json!({ "read_timeout": "15m", "write_timeout": "15m0s" }),
            ),
        )
        .version("1.22.4"),
        case(
            "consul.check-skip-verify",
            json!({ "services": [{ "name": "vault", "check": { "http": "https://127.0.0.1:8200", "tls_skip_verify": true } }] }),
            json!({ "services": [{ "name": "vault", "check": { "http": "https://127.0.0.1:8200" } }] }),
        ),
        case(
            "consul.socket-mode",
            at("unix_sockets.mode", json!("0666")),
            at("unix_sockets.mode", json!("0660")),
        ),
    ]
}

pub fn vault_cases() -> Vec<Case> {
    let none = || json!({});
    vec![
        case(
            "vault.listener",
            json!({ "listener": null }),
            json!({ "listener": vault()["listener"][0] }),
        ),
        case(
            "vault.listener-plaintext",
            listener(&json!({ "tls_disable": 1 })),
            listener(&json!({ "tls_disable": "false" })),
        ),
        case(
            "vault.listener-certificate",
            listener(&json!({ "tls_key_file": null })),
            none(),
        ),
        case(
            "vault.listener-certificate",
            listener(&json!({ "tls_cert_file": "" })),
            none(),
        ),
        case(
            "vault.listener-tls-min-version",
            listener(&json!({ "tls_min_version": "tls11" })),
            listener(&json!({ "tls_min_version": "tls13" })),
        ),
        case(
            "vault.listener-tls-max-version",
            listener(&json!({ "tls_max_version": "tls12" })),
            listener(&json!({ "tls_max_version": "tls13" })),
        ),
        case(
            "vault.listener-cipher-suites",
            listener(&json!({ "tls_cipher_suites": "TLS_RSA_WITH_AES_128_GCM_SHA256" })),
            listener(&json!({ "tls_cipher_suites": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" })),
        ),
        case(
            "vault.listener-client-certificates",
            listener(
                &json!({ "tls_require_and_verify_client_cert": true, "tls_client_ca_file": "/ca.pem", "tls_disable_client_certs": true }),
            ),
            listener(
                &json!({ "tls_require_and_verify_client_cert": true, "tls_client_ca_file": "/ca.pem" }),
            ),
        ),
        case(
            "vault.listener-client-ca",
            listener(&json!({ "tls_require_and_verify_client_cert": "true" })),
            listener(
                &json!({ "tls_require_and_verify_client_cert": "true", "tls_client_ca_file": "/ca.pem" }),
            ),
        ),
        case(
            "vault.listener-forwarded-for",
            listener(
                &json!({ "x_forwarded_for_authorized_addrs": "10.0.0.4", "x_forwarded_for_reject_not_authorized": false }),
            ),
            listener(&json!({ "x_forwarded_for_authorized_addrs": "10.0.0.4" })),
        ),
        case(
            "vault.listener-forwarded-for",
            listener(&json!({ "x_forwarded_for_authorized_addrs": ["0.0.0.0/0"] })),
            listener(&json!({ "x_forwarded_for_authorized_addrs": ["10.0.0.0/28"] })),
        ),
        case(
            "vault.listener-proxy-protocol",
            listener(&json!({ "proxy_protocol_behavior": "use_always" })),
            listener(&json!({ "proxy_protocol_behavior": "deny_unauthorized" })),
        ),
        case(
            "vault.unauthenticated-metrics",
            listener(&json!({ "telemetry": { "unauthenticated_metrics_access": true } })),
            json!({ "listener": [
                vault()["listener"][0],
                { "tcp": {
                    "address": "127.0.0.1:8202", "tls_cert_file": "/c", "tls_key_file": "/k",
                    "telemetry": [{ "unauthenticated_metrics_access": true }],
                } },
            ] }),
        ),
        case(
            "vault.unauthenticated-pprof",
            listener(&json!({ "profiling": [{ "unauthenticated_pprof_access": true }] })),
            listener(&json!({ "profiling": [{ "unauthenticated_pprof_access": false }] })),
        ),
        case(
            "vault.unauthenticated-requests",
            listener(
                &json!({ "inflight_requests_logging": { "unauthenticated_in_flight_requests_access": true } }),
            ),
            none(),
        ),
        case(
            "vault.unauthenticated-operations",
            json!({ "enable_unauthenticated_access": ["rekey"] }),
            json!({ "enable_unauthenticated_access": [] }),
        ),
        case(
            "vault.socket-mode",
            json!({ "listener": [vault()["listener"][0], { "unix": { "address": "/run/vault.sock", "socket_mode": "666" } }] }),
            json!({ "listener": [vault()["listener"][0], { "unix": { "address": "/run/vault.sock", "socket_mode": "660" } }] }),
        ),
        case(
            "vault.storage",
            json!({ "storage": { "consul": null, "file": { "path": "/opt/vault" } } }),
            none(),
        ),
        case("vault.storage", json!({ "storage": null }), none()),
        case(
            "vault.storage-plaintext",
            storage(&json!({ "scheme": null })),
            storage(&json!({ "scheme": null, "address": "unix:///run/consul.sock" })),
        ),
        case(
            "vault.storage-skip-verify",
            storage(&json!({ "tls_skip_verify": "1" })),
            storage(&json!({ "tls_skip_verify": false })),
        ),
        case(
            "vault.storage-ca",
            storage(&json!({ "tls_ca_file": null })),
            none(),
        ),
        case(
            "vault.storage-certificate",
            storage(&json!({ "tls_key_file": null })),
            none(),
        ),
        case(
            "vault.storage-tls-min-version",
            storage(&json!({ "tls_min_version": "tls10" })),
            storage(&json!({ "tls_min_version": "tls12" })),
        ),
        case(
            "vault.storage-local",
            storage(&json!({ "address": "consul.example:8501" })),
            storage(&json!({ "address": "[::1]:8501" })),
        ),
        case(
            "vault.storage-token",
            storage(&json!({ "token": "00000000-0000" })),
            none(),
        ),
        case(
            "vault.registration",
            json!({ "service_registration": { "consul": { "address": "127.0.0.1:8500" } } }),
            json!({ "service_registration": { "consul": { "address": "127.0.0.1:8501", "scheme": "https" } } }),
        ),
        case(
            "vault.seal-secret",
            json!({ "seal": { "azurekeyvault": { "vault_name": "v", "key_name": "k", "client_secret": "s" } } }),
            none(),
        ),
        case(
            "vault.seal-skip-verify",
            json!({ "seal": { "transit": { "address": "https://vault.example", "tls_skip_verify": true } } }),
            json!({ "seal": { "transit": { "address": "https://vault.example", "tls_ca_cert": "/ca.pem" } } }),
        ),
        case(
            "vault.api-addr",
            json!({ "api_addr": "http://10.0.0.4:8200" }),
            json!({ "api_addr": "https://10.0.0.4:8200" }),
        ),
        case(
            "vault.api-addr",
            json!({ "api_addr": "https://127.0.0.1:8200" }),
            json!({ "api_addr": "https://vault-1.example:8200" }),
        ),
        case("vault.api-addr", json!({ "api_addr": null }), none()),
        case(
            "vault.api-addr-port",
            json!({ "api_addr": "https://10.0.0.4:8201" }),
            json!({ "api_addr": "https://10.0.0.4" }),
        ),
        case(
            "vault.cluster-addr",
            json!({ "cluster_addr": "https://localhost:8201" }),
            json!({ "cluster_addr": null }),
        ),
        case(
            "vault.ha-disabled",
            json!({ "disable_clustering": true }),
            json!({ "disable_clustering": false }),
        ),
        case(
            "vault.mlock",
            json!({ "disable_mlock": true }),
            json!({ "disable_mlock": null }),
        ),
        case(
            "vault.mlock",
            json!({ "disable_mlock": "1" }),
            json!({ "disable_mlock": true, "storage": { "consul": null, "raft": { "path": "/opt" } } }),
        ),
        case(
            "vault.raw-storage",
            json!({ "raw_storage_endpoint": true }),
            json!({ "raw_storage_endpoint": false }),
        ),
        case(
            "vault.introspection",
            json!({ "introspection_endpoint": true }),
            none(),
        ),
        case(
            "vault.log-level",
            json!({ "log_level": "trace" }),
            json!({ "log_level": "debug" }),
        ),
        case(
            "vault.log-level",
            json!({ "log_level": "Debug" }),
            json!({ "log_level": "info" }),
        )
        .role(Role::Image),
        case(
            "vault.plugins",
            json!({ "plugin_directory": "/tmp/plugins" }),
            json!({ "plugin_directory": "/opt/vault/plugins" }),
        ),
        case(
            "vault.plugin-permissions",
            json!({ "plugin_file_permissions": "0777" }),
            json!({ "plugin_file_permissions": "0550" }),
        ),
        case(
            "vault.plugin-permissions",
            json!({ "plugin_file_permissions": 777 }),
            json!({ "plugin_file_permissions": 511 }),
        ),
        case(
            "vault.seal",
            json!({ "seal": null }),
            json!({ "seal": null, "hsm": { "pkcs11": { "lib": "/usr/lib/hsm.so" } } }),
        ),
        case(
            "vault.seal-plaintext",
            json!({ "seal": { "transit": { "address": "HTTP://10.0.0.9:8200" } } }),
            json!({ "seal": { "transit": { "address": "http://127.0.0.1:8200" } } }),
        ),
        case(
            "vault.storage-secret",
            json!({ "storage": { "consul": null, "s3": { "bucket": "b", "secret_key": "k" } } }),
            json!({ "storage": { "consul": null, "s3": { "bucket": "b" } } }),
        ),
        case(
            "vault.secret",
            json!({ "telemetry": { "circonus_api_token": "k" } }),
            json!({ "telemetry": { "circonus_api_app": "vault" } }),
        ),
        case(
            "vault.raft-join-plaintext",
            raft(&json!({ "leader_api_addr": "http://10.0.0.6:8200" })),
            raft(&json!({ "leader_api_addr": "https://10.0.0.6:8200" })),
        ),
        case(
            "vault.raft-join-secret",
            raft(&json!({ "auto_join": "provider=linode api_token=k" })),
            raft(&json!({ "auto_join": "provider=linode tag_name=vault" })),
        ),
        case(
            "vault.mlock-unset",
            json!({ "disable_mlock": null, "storage": { "consul": null, "raft": { "path": "/d" } } }),
            json!({ "disable_mlock": true, "storage": { "consul": null, "raft": { "path": "/d" } } }),
        )
        .version("1.20.0"),
        case(
            "vault.listener-plaintext-local",
            json!({ "listener": [vault()["listener"][0], { "tcp": { "address": "127.0.0.1:8210", "tls_disable": 1 } }] }),
            json!({ "listener": [vault()["listener"][0], { "tcp": {
                "address": "127.0.0.1:8210", "tls_cert_file": "/c", "tls_key_file": "/k",
            } }] }),
        ),
        case(
            "vault.listener-cors",
            listener(&json!({ "cors_enabled": true, "cors_allowed_origins": ["*"] })),
            listener(&json!({ "cors_enabled": true, "cors_allowed_origins": ["https://a.example"] })),
        ),
        case(
            "vault.listener-request-size",
            listener(&json!({ "max_request_size": -1 })),
            listener(&json!({ "max_request_size": 0 })),
        ),
        case(
            "vault.audit-prefix",
            json!({ "allow_audit_log_prefixing": true }),
            json!({ "allow_audit_log_prefixing": false }),
        ),
        case(
            "vault.post-unseal-trace",
            json!({ "enable_post_unseal_trace": true }),
            json!({ "enable_post_unseal_trace": "false" }),
        ),
        case(
            "vault.telemetry-plaintext",
            json!({ "telemetry": { "statsd_address": "stats.example:8125" } }),
            json!({ "telemetry": { "statsd_address": "127.0.0.1:8125" } }),
        ),
        case(
            "vault.unknown-key",
            listener(&json!({ "tls-min-version": "tls13" })),
            listener(&json!({ "tls_min_version": "tls13" })),
        ),
    ]
}
