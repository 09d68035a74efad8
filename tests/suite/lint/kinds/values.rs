//! Values with the same meaning in other spellings, and versions that give a key its meaning.

use serde_json::{Value, json};

use super::{SECRET, both, consul_row, listening, stored, try_rows, vault_row};

#[test]
fn networks_are_everything_by_their_union() {
    let found = |behavior: Option<&str>, key: &str, networks: &Value, rule: &'static str| {
        let body = json!({ "proxy_protocol_behavior": behavior, key: networks });
        vault_row(listening(&body), &[rule])
    };
    let all = [
        json!("0.0.0.0/0"),
        json!(["::/0"]),
        json!("10.0.0.0/8, 1.2.3.4/0"),
        json!(["0.0.0.0/1", "128.0.0.0/1"]),
        json!("128.0.0.0/1,0.0.0.0/1"),
        json!(["0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/2", "192.0.0.0/2"]),
        json!(["::/1", "8000::/1"]),
        json!(["2000::/3"]),
    ];
    let few = [
        json!("10.0.0.0/8"),
        json!(["10.0.0.4", "fd00::/8"]),
        json!(["0.0.0.0/1", "192.0.0.0/2"]),
        json!(["0.0.0.0/1", "8000::/1"]),
        json!([]),
    ];
    let (proxy, forwarded) = (
        "proxy_protocol_authorized_addrs",
        "x_forwarded_for_authorized_addrs",
    );
    let mut rows = Vec::new();
    for networks in &all {
        for behavior in ["deny_unauthorized", "allow_authorized"] {
            let rule = "vault.listener-proxy-protocol";
            rows.push(found(Some(behavior), proxy, networks, rule));
        }
        let rule = "vault.listener-forwarded-for";
        rows.push(found(None, forwarded, networks, rule));
    }
    for networks in &few {
        let body = json!({
            "proxy_protocol_behavior": "deny_unauthorized", proxy: networks, forwarded: networks,
        });
        rows.push(vault_row(listening(&body), &[]));
    }
    assert_eq!(try_rows(&rows), "");
}

#[test]
fn numbers_are_true_unless_they_are_nothing() {
    for (value, open) in [
        (json!(1.0), true),
        (json!(0.5), true),
        (json!(-1), true),
        (json!(0.0), false),
        (json!(0), false),
    ] {
        let rules: &[&str] = match open {
            true => &["vault.listener-plaintext"],
            false => &[],
        };
        let row = vault_row(listening(&json!({ "tls_disable": value })), rules);
        assert_eq!(try_rows(&[row]), "");
    }
}

#[test]
fn postgresql_is_in_clear_unless_a_mode_forbids_it() {
    let urls = [
        ("postgres://vault@db.internal/vault", true),
        (
            "postgresql://vault@db.internal:5432/vault?connect_timeout=5",
            true,
        ),
        ("host=db.internal user=vault dbname=vault", true),
        ("postgres://vault@localhost,db.internal/vault", true),
        ("postgres://vault@db.internal/vault?sslmode=prefer", true),
        ("postgres://vault@db.internal/vault?sslmode=require", false),
        ("host=db.internal sslmode=verify-full", false),
        ("postgres://vault@127.0.0.1:5432/vault", false),
        ("postgres://vault@localhost/vault", false),
        ("postgres:///vault?host=/run/postgresql", false),
        ("host=/run/postgresql user=vault", false),
        ("${CONNECTION_URL}", false),
    ];
    for name in ["postgresql", "cockroachdb"] {
        let rows = urls.map(|(url, open)| {
            let rules: &[&str] = match open {
                true => &["vault.storage-plaintext"],
                false => &[],
            };
            vault_row(stored(name, json!({ "connection_url": url })), rules)
        });
        assert_eq!(try_rows(&rows), "");
    }
}

#[test]
fn a_submission_url_of_circonus_is_a_secret() {
    let url = format!("https://trap.example/module/httptrap/check/{SECRET}");
    let rows = [
        vault_row(
            json!({ "telemetry": { "circonus_submission_url": url } }),
            &["vault.secret"],
        ),
        vault_row(
            json!({ "telemetry": [{ "circonus_submission_url": url }] }),
            &["vault.secret"],
        ),
        vault_row(
            json!({ "telemetry": { "circonus_submission_url": "${URL}" } }),
            &[],
        ),
    ];
    assert_eq!(try_rows(&rows), "");
}

#[test]
fn the_version_decides_which_keys_of_consul_count() {
    let old = json!({ "acl": null, "acl_datacenter": "dc1", "acl_default_policy": "deny", "acl_down_policy": "extend-cache" });
    let off: &[&str] = &["consul.acl-enabled"];
    let client = json!({
        "server": false, "encrypt": null, "acl": null,
        "auto_config": { "enabled": true, "intro_token_file": "/run/intro", "server_addresses": ["10.0.0.4"] },
        "tls": { "defaults": { "cert_file": null, "key_file": null }, "internal_rpc": null },
    });
    let defaults =
        json!({ "tls": { "internal_rpc": null, "defaults": { "verify_server_hostname": true } } });
    let name: &[&str] = &["consul.verify-server-hostname"];
    let rows = [
        consul_row(old.clone(), &[]).version("1.3.0"),
        consul_row(old.clone(), &[]).version("1.8.7"),
        consul_row(old.clone(), &[]).version("1.11.1"),
        consul_row(both(old.clone(), &json!({ "acl_datacenter": null })), off).version("1.3.0"),
        consul_row(both(old.clone(), &json!({ "acl_datacenter": null })), off).version("1.10.0"),
        consul_row(
            both(old.clone(), &json!({ "acl_default_policy": "allow" })),
            &["consul.acl-default-deny"],
        )
        .version("1.3.0"),
        consul_row(
            both(old.clone(), &json!({ "acl_down_policy": "allow" })),
            &["consul.acl-down-policy"],
        )
        .version("1.3.0"),
        consul_row(
            both(
                old,
                &json!({ "acl": { "enabled": true, "default_policy": "allow" } }),
            ),
            &["consul.acl-default-deny"],
        )
        .version("1.8.7"),
        // The stanza does not exist in that version.
        consul_row(
            json!({}),
            &["consul.acl-default-deny", "consul.acl-enabled"],
        )
        .version("1.3.0"),
        consul_row(client.clone(), &[]),
        consul_row(both(client.clone(), &json!({ "server": null })), &[]).image(),
        consul_row(
            both(client, &json!({ "auto_config": { "enabled": false } })),
            &[
                "consul.acl-default-deny",
                "consul.acl-enabled",
                "consul.gossip-key",
                "consul.tls-files",
                "consul.verify-server-hostname",
            ],
        ),
        consul_row(defaults.clone(), &[]),
        consul_row(defaults.clone(), &[]).version("1.17.0"),
        consul_row(defaults.clone(), &[]).version("1.21.5"),
        consul_row(defaults.clone(), name).version("1.16.0"),
        consul_row(defaults, name).version("1.12.0"),
    ];
    assert_eq!(try_rows(&rows), "");
}
