//! Addresses, modes, joins, unknown keys, versions and variables.

use serde_json::json;
use vault_bake::lint::{Configuration, Role};
use vault_bake::product::Product;

use super::{
    SECRET, both, consul_row, listening, patched, stored, try_rows, unsafe_rules, vault_row,
};

#[test]
fn wildcards_and_loopback_are_known_in_every_spelling() {
    let bad = [
        "[::]:8200",
        "[::]",
        "[::0]:8200",
        "[0:0:0:0:0:0:0:0]:8200",
        "[::ffff:0.0.0.0]:8200",
        "0.0.0.0:8200",
        "0.0.0.0",
        "0:8200",
        "0",
        "0.0:8200",
        "0x0:8200",
        "00.0.0.0:8200",
        ":8200",
        "localhost:8200",
        "LOCALHOST:8200",
        "localhost.:8200",
        "127.0.0.1:8200",
        "127.1:8200",
        "[::1]:8200",
        "[::ffff:127.0.0.1]:8200",
        "user@[::]:8200",
    ];
    let good = [
        "10.0.0.5:8200",
        "[2001:db8::5]:8200",
        "vault-1.example:8200",
        "{{ GetPrivateIP }}:8200",
        "0.example:8200",
        "[fe80::1%25eth0]:8200",
        "10.0.0.0:8200",
    ];
    let mut rows = Vec::new();
    for (addresses, found) in [(&bad[..], true), (&good[..], false)] {
        for host in addresses {
            let api: &[&str] = if found { &["vault.api-addr"] } else { &[] };
            let cluster: &[&str] = if found { &["vault.cluster-addr"] } else { &[] };
            rows.push(vault_row(
                json!({ "api_addr": format!("https://{host}") }),
                api,
            ));
            rows.push(vault_row(
                json!({ "api_addr": format!("HTTPS://{host}") }),
                api,
            ));
            rows.push(vault_row(
                json!({ "cluster_addr": format!("https://{host}") }),
                cluster,
            ));
            rows.push(vault_row(
                json!({ "cluster_addr": format!("http://{host}") }),
                cluster,
            ));
            let inner =
                |key: &str| json!({ "storage": { "consul": { key: format!("https://{host}") } } });
            for key in ["redirect_addr", "advertise_addr"] {
                rows.push(vault_row(
                    both(inner(key), &json!({ "api_addr": null })),
                    api,
                ));
            }
        }
    }
    let open: &[&str] = &["consul.https-verify-incoming"];
    for (address, found) in [
        ("0.0.0.0", open),
        ("[::]", open),
        ("::", open),
        ("{{ GetPrivateIP }}", open),
        ("127.0.0.1 ::", open),
        ("127.0.0.1", &[]),
        ("::1", &[]),
        ("[::1]", &[]),
        ("127.0.0.1 ::1", &[]),
        ("unix:///run/consul.sock", &[]),
        ("localhost", &[]),
        ("::ffff:127.0.0.1", &[]),
    ] {
        let tls = json!({ "tls": { "https": { "verify_incoming": false } } });
        rows.push(consul_row(
            both(tls.clone(), &json!({ "client_addr": address })),
            found,
        ));
        rows.push(consul_row(
            both(tls, &json!({ "addresses": { "https": address } })),
            found,
        ));
    }
    assert_eq!(try_rows(&rows), "");
}

#[test]
fn modes_are_read_as_the_products_read_them() {
    let plugins: &[&str] = &["vault.plugin-permissions"];
    let socket: &[&str] = &["vault.socket-mode"];
    let consul: &[&str] = &["consul.socket-mode"];
    let mut rows = Vec::new();
    for (mode, found) in [
        (json!(777), plugins),
        (json!("777"), plugins),
        (json!("0777"), plugins),
        (json!(722), plugins),
        (json!("0775"), plugins),
        (json!(770), plugins),
        (json!(511), &[]),
        (json!(755), &[]),
        (json!("0755"), &[]),
        (json!("550"), &[]),
        (json!(493), &[]),
    ] {
        rows.push(vault_row(json!({ "plugin_file_permissions": mode }), found));
    }
    // 438, 432 and 384 are 0666, 0660 and 0600 for a parser that treats a leading zero as octal.
    for (mode, open) in [
        (json!(666), true),
        (json!("666"), true),
        (json!("0666"), true),
        (json!(777), true),
        (json!("0777"), true),
        (json!(438), true),
        (json!("0602"), true),
        (json!(660), false),
        (json!("0660"), false),
        (json!("0600"), false),
        (json!(432), false),
        (json!(384), false),
        (json!("0755"), false),
    ] {
        let unix = json!({ "address": "/run/vault.sock", "socket_mode": mode });
        let listeners = json!([super::vault()["listener"][0], { "unix": unix }]);
        rows.push(vault_row(
            json!({ "listener": listeners }),
            if open { socket } else { &[] },
        ));
        rows.push(consul_row(
            json!({ "unix_sockets": { "mode": mode } }),
            if open { consul } else { &[] },
        ));
    }
    assert_eq!(try_rows(&rows), "");
}

#[test]
fn joins_of_integrated_storage_are_read_in_every_form() {
    let clear: &[&str] = &["vault.raft-join-plaintext"];
    let secret: &[&str] = &["vault.raft-join-secret"];
    let rows = [
        (json!({ "leader_api_addr": "http://10.0.0.6:8200" }), clear),
        (
            json!([{ "leader_api_addr": "https://a:8200" }, { "leader_api_addr": "HTTP://a:8200" }]),
            clear,
        ),
        (
            json!([{ "leader_api_addr": "http://[2001:db8::6]:8200" }]),
            clear,
        ),
        (
            json!([{ "auto_join": "provider=aws tag_key=a tag_value=b", "auto_join_scheme": "http" }]),
            clear,
        ),
        (
            json!("[{\"leader_api_addr\": \"http://10.0.0.6:8200\"}]"),
            clear,
        ),
        (
            json!([{ "Leader_API_Addr": "http://10.0.0.6:8200" }]),
            clear,
        ),
        (
            json!([{ "leader_api_addr": "https://a:8200", "leader_client_key": SECRET }]),
            secret,
        ),
        (
            json!(format!(
                "[{{\"auto_join\": \"provider=linode api_token={SECRET}\"}}]"
            )),
            secret,
        ),
        (
            json!([{ "leader_api_addr": "https://a:8200", "leader_ca_cert_file": "/ca", "leader_tls_servername": "a" }]),
            &[],
        ),
        (
            json!([{ "auto_join": "provider=aws tag_key=a tag_value=b", "auto_join_scheme": "https", "auto_join_port": 8200 }]),
            &[],
        ),
        (json!([{ "leader_api_addr": "http://127.0.0.2:8200" }]), &[]),
        (json!("[]"), &[]),
    ];
    let rows = rows.map(|(join, expected)| {
        let raft = stored("raft", json!({ "path": "/d", "retry_join": join }));
        vault_row(both(raft, &json!({ "disable_mlock": true })), expected)
    });
    assert_eq!(try_rows(&rows), "");
}

#[test]
fn blocks_of_hcl_are_joins_as_well() {
    let hcl = r#"
        backend "raft" {
          path = "/d"
          retry_join {
            leader_api_addr = "http://10.0.0.6:8200"
          }
          retry_join {
            auto_join = "provider=digitalocean api_token=SECRET"
          }
        }
    "#;
    let mut configuration = Configuration::new(Product::Vault, None, Role::Node);
    configuration
        .add("vault.hcl", &hcl.replace("SECRET", SECRET))
        .unwrap();
    let found = configuration.lint();
    let rules = unsafe_rules(&found);
    assert!(rules.contains("vault.raft-join-plaintext"), "{rules:?}");
    assert!(rules.contains("vault.raft-join-secret"), "{rules:?}");
    assert!(rules.contains("vault.mlock-unset"), "{rules:?}");
    assert!(!serde_json::to_string(&found).unwrap().contains(SECRET));
}

#[test]
fn unknown_keys_of_vault_have_a_suggestion() {
    let keys = [
        json!({ "apiaddr": "https://a:8200" }),
        json!({ "disable_mlok": true }),
        json!({ "tls_disable": 1 }),
        json!({ "default_lease_tll": "1h" }),
        listening(&json!({ "tls-skip-verify": true })),
        listening(&json!({ "proxy_protocol_authorized_address": "10.0.0.9" })),
        listening(&json!({ "tls_cert": "/c" })),
        listening(&json!({ "unauthenticated_metrics_access": false })),
        listening(&json!({ "telemetry": { "unauthenticated_metric_access": true } })),
        json!({ "storage": { "consul": { "tls_cafile": "/ca" } } }),
        json!({ "storage": { "consul": { "Token": SECRET } } }),
        json!({ "ha_backend": { "raft": { "path": "/d", "nodeid": "a" } } }),
        json!({ "ha_storage": { "raft": { "path": "/d", "retry_join": [{ "leader_addr": "https://a" }] } } }),
        json!({ "seal": { "azurekeyvault": { "vaultname": "v" } } }),
        json!({ "telemetry": { "prometheus_retention": "1h" } }),
        json!({ "service_registration": { "consul": { "scheme": "https", "adress": "127.0.0.1:8501" } } }),
        json!({ "user_lockout": { "all": { "lockout_treshold": 3 } } }),
    ];
    let mut printed = Vec::new();
    for patch in keys {
        let whole = patched(super::vault(), &patch);
        let mut configuration = Configuration::new(Product::Vault, None, Role::Node);
        configuration.add("a.json", &whole.to_string()).unwrap();
        let found = configuration.lint();
        let found = found.iter().filter(|one| one.rule == "vault.unknown-key");
        let found: Vec<_> = found
            .map(|one| format!("{}: {}", one.key, one.found))
            .collect();
        assert_eq!(found.len(), 1, "{patch}: {found:?}");
        printed.extend(found);
    }
    insta::assert_snapshot!("lint_unknown_keys", printed.join("\n"));
}

#[test]
fn known_keys_of_every_edition_and_age_are_no_finding() {
    let rows = [
        json!({ "license_path": "/l", "reporting": { "license": { "enabled": false } }, "entropy": { "seal": { "mode": "augmentation" } } }),
        json!({ "experiments": [], "detect_deadlocks": "", "imprecise_lease_role_tracking": false, "log_requests_level": "info" }),
        json!({ "disable_sealwrap": true, "disable_performance_standby": true, "replication": { "resolver_discover_servers": true } }),
        json!({ "enable_multiseal": true, "administrative_namespace_path": "admin/", "remove_irrevocable_lease_after": "30d" }),
        json!({ "log_file": "/l", "log_rotate_bytes": 1, "log_rotate_duration": "24h", "log_rotate_max_files": 2, "log_format": "json" }),
        json!({ "//": "a comment", "_comment": "another" }),
        listening(&json!({ "custom_response_headers": { "default": { "X-Custom": ["a"] } } })),
        listening(
            &json!({ "redact_version": "true", "chroot_namespace": "a", "max_json_depth": 10, "max_token_header_size": 8192 }),
        ),
        listening(
            &json!({ "tls_prefer_server_cipher_suites": true, "agent_api": { "enable_quit": false }, "purpose": "a", "role": "default" }),
        ),
        json!({ "telemetry": { "usage_gauge_period": "10m", "dogstatsd_addr": "127.0.0.1:8125", "dogstatsd_tags": ["a"], "prefix_filter": ["+a"] } }),
        json!({ "service_registration": { "kubernetes": { "namespace": "a", "pod_name": "b" } } }),
        json!({ "storage": { "consul": { "service_meta": { "anything": "a" }, "max_parallel": "10", "session_ttl": "15s" } } }),
        json!({ "seal": { "azurekeyvault": { "disabled": "true", "priority": 1, "name": "a" } } }),
    ];
    let rows = rows.map(|patch| vault_row(patch, &[]));
    assert_eq!(try_rows(&rows), "");
}

#[test]
fn what_vault_decides_itself_is_no_finding() {
    let raft = |mlock| {
        both(
            stored("raft", json!({ "path": "/d" })),
            &json!({ "disable_mlock": mlock }),
        )
    };
    let local = json!([super::vault()["listener"][0], { "tcp": { "address": "[::1]:8210", "tls_disable": "true" } }]);
    let typed = json!([{ "type": "tcp", "address": "0.0.0.0:8200", "tls_disable": true }]);
    let rows = [
        vault_row(json!({ "disable_mlock": null }), &[]),
        vault_row(json!({ "disable_mlock": null }), &[]).version("1.15.6"),
        vault_row(
            json!({ "disable_mlock": null, "storage": { "consul": null, "s3": { "bucket": "b" } } }),
            &[],
        ),
        vault_row(json!({ "disable_mlock": "true" }), &["vault.mlock"]),
        vault_row(raft(json!(null)), &["vault.mlock-unset"]),
        vault_row(raft(json!(null)), &["vault.mlock-unset"]).version("1.20.0"),
        vault_row(raft(json!(null)), &[]).version("1.19.5"),
        vault_row(raft(json!(true)), &[]),
        vault_row(raft(json!(false)), &[]),
        vault_row(json!({ "cluster_addr": "http://10.0.0.5:8201" }), &[]),
        vault_row(json!({ "cluster_addr": null }), &[]),
        vault_row(json!({ "listener": local }), &[]),
        vault_row(json!({ "listener": typed }), &["vault.listener-plaintext"]),
        vault_row(
            listening(&json!({ "address": null, "tls_disable": 1 })),
            &[],
        ),
        vault_row(
            listening(&json!({ "address": "[::]:8200", "tls_disable": 1 })),
            &["vault.listener-plaintext"],
        ),
        vault_row(
            listening(&json!({ "cors_allowed_origins": "*" })),
            &["vault.listener-cors"],
        ),
        vault_row(
            listening(&json!({ "cors_enabled": false, "cors_allowed_origins": ["*"] })),
            &[],
        ),
        vault_row(
            listening(&json!({ "max_request_size": "-1" })),
            &["vault.listener-request-size"],
        ),
        vault_row(
            listening(&json!({ "max_token_header_size": -1 })),
            &["vault.listener-request-size"],
        ),
        vault_row(listening(&json!({ "max_request_size": 33554432 })), &[]),
        vault_row(
            json!({ "storage": { "consul": { "scheme": "HTTPS" } } }),
            &[],
        ),
        vault_row(
            json!({ "storage": { "consul": { "scheme": null, "address": "Https://127.0.0.1:8501" } } }),
            &[],
        ),
    ];
    assert_eq!(try_rows(&rows), "");
}
