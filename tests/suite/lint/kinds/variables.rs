//! Variables of Vault's unit that replace a key of its file, and those that do not.

use serde_json::{Value, json};
use vault_bake::lint::{Configuration, Role};
use vault_bake::product::Product;

use super::super::cases::{patched, vault};
use super::{SECRET, both, stored};

/// A file, its environment variables, and the findings: the rule, the file and the key.
fn found(patch: &Value, name: &str, text: &str) -> Vec<String> {
    let mut node = Configuration::new(Product::Vault, None, Role::Node);
    let whole = patched(vault(), patch);
    node.add("vault.json", &whole.to_string()).unwrap();
    node.add(name, text).unwrap();
    let found = node.lint();
    assert!(!serde_json::to_string(&found).unwrap().contains(SECRET));
    let found = found.iter();
    found
        .map(|one| format!("{} {}: {}", one.rule, one.file, one.key))
        .collect()
}

#[test]
fn a_variable_that_counts_is_checked_as_its_key() {
    let bare = json!({ "api_addr": null, "cluster_addr": null });
    let postgresql = stored(
        "postgresql",
        json!({ "connection_url": "postgres://v@db/v?sslmode=verify-full" }),
    );
    let raft = stored("raft", json!({ "path": "/d" }));
    let agent = json!({ "storage": { "consul": { "address": null } } });
    let transit = json!({ "seal": { "azurekeyvault": null, "transit": { "key_name": "k" } } });
    for (patch, variable, rules) in [
        (
            json!({}),
            "VAULT_API_ADDR=http://10.0.0.5:8200",
            &["vault.api-addr"][..],
        ),
        (
            json!({}),
            "VAULT_API_ADDR=https://0.0.0.0:8200",
            &["vault.api-addr"],
        ),
        (
            json!({}),
            "VAULT_API_ADDR=https://v.example:8300",
            &["vault.api-addr-port"],
        ),
        (json!({}), "VAULT_API_ADDR=https://v.example:8200", &[]),
        (
            json!({ "api_addr": "http://a" }),
            "VAULT_API_ADDR=https://v.example:8200",
            &[],
        ),
        (
            json!({}),
            "VAULT_REDIRECT_ADDR=http://x",
            &["vault.api-addr"],
        ),
        (
            json!({}),
            "VAULT_ADVERTISE_ADDR=http://x:8200",
            &["vault.api-addr"],
        ),
        (json!({}), "VAULT_API_ADDR=", &[]),
        (bare, "VAULT_API_ADDR=https://v.example:8200", &[]),
        (
            json!({}),
            "VAULT_CLUSTER_ADDR=https://127.0.0.1:8201",
            &["vault.cluster-addr"],
        ),
        (
            json!({}),
            "VAULT_CLUSTER_ADDR=https://[::]:8201",
            &["vault.cluster-addr"],
        ),
        (json!({}), "VAULT_CLUSTER_ADDR=https://10.0.0.5:8201", &[]),
        (json!({}), "VAULT_LOG_LEVEL=trace", &["vault.log-level"]),
        (json!({ "log_level": "trace" }), "VAULT_LOG_LEVEL=info", &[]),
        (json!({}), "VAULT_DISABLE_MLOCK=true", &["vault.mlock"]),
        (
            both(raft, &json!({ "disable_mlock": null })),
            "VAULT_DISABLE_MLOCK=1",
            &[],
        ),
        (
            json!({}),
            "VAULT_SKIP_VERIFY=true",
            &["vault.environment-skip-verify"],
        ),
        (json!({}), "VAULT_SKIP_VERIFY=false", &[]),
        (
            json!({}),
            "CONSUL_HTTP_SSL_VERIFY=false",
            &["vault.environment-skip-verify"],
        ),
        (json!({}), "CONSUL_HTTP_SSL_VERIFY=true", &[]),
        (
            agent.clone(),
            "CONSUL_HTTP_ADDR=https://10.0.0.9:8501",
            &["vault.storage-local"],
        ),
        (agent, "CONSUL_HTTP_ADDR=https://127.0.0.1:8501", &[]),
        (
            json!({ "storage": { "consul": { "scheme": null } } }),
            "CONSUL_HTTP_SSL=true",
            &[],
        ),
        (
            transit,
            "VAULT_ADDR=http://10.0.0.9:8200",
            &["vault.seal-plaintext"],
        ),
        (
            postgresql.clone(),
            "VAULT_PG_CONNECTION_URL=postgres://v@db/v?sslmode=disable",
            &["vault.storage-plaintext"],
        ),
        (
            postgresql,
            "VAULT_PG_CONNECTION_URL=postgres://v:not-a-secret-9f8e@db/v?sslmode=verify-full",
            &[],
        ),
        // Vault ignores these, or uses its file instead.
        (
            json!({}),
            "VAULT_RAW_STORAGE_ENDPOINT=true",
            &["vault.environment-unread"],
        ),
        (
            json!({}),
            "VAULT_PLUGIN_FILE_PERMISSIONS=0777",
            &["vault.environment-unread"],
        ),
        (
            json!({}),
            "CONSUL_HTTP_ADDR=http://10.0.0.9:8500",
            &["vault.environment-unread"],
        ),
        (
            json!({}),
            "CONSUL_HTTP_SSL=false",
            &["vault.environment-unread"],
        ),
        (json!({}), "CONSUL_HTTP_ADDR=127.0.0.1:8501", &[]),
    ] {
        let name = variable.split_once('=').unwrap().0;
        let expected = |file: &str| -> Vec<String> {
            let all = rules.iter();
            all.map(|rule| format!("{rule} {file}: {name}")).collect()
        };
        let file = "/etc/vault.d/vault.env";
        assert_eq!(found(&patch, file, variable), expected(file), "{variable}");
        let unit = format!("[Service]\nEnvironment=A=b \"{variable}\"\n");
        let file = "vault.service";
        assert_eq!(found(&patch, file, &unit), expected(file), "{variable}");
    }
}

#[test]
fn of_several_variables_for_a_key_the_one_counts_that_vault_takes() {
    let text = "VAULT_REDIRECT_ADDR=http://x\nVAULT_API_ADDR=https://v.example:8200\n";
    assert_eq!(found(&json!({}), "vault.env", text), [""; 0]);
    let text = "VAULT_REDIRECT_ADDR=https://v.example:8200\nVAULT_API_ADDR=http://x:8200\n";
    assert_eq!(
        found(&json!({}), "vault.env", text),
        ["vault.api-addr vault.env: VAULT_API_ADDR"]
    );
}

#[test]
fn variables_of_the_unit_are_looked_at() {
    let lint = |name: &str, text: &str, role| {
        let mut configuration = Configuration::new(Product::Vault, None, role);
        configuration.add(name, text).unwrap();
        let found = configuration.lint();
        assert!(!serde_json::to_string(&found).unwrap().contains(SECRET));
        found
            .iter()
            .map(|one| format!("{}: {}", one.rule, one.key))
            .collect::<Vec<_>>()
    };
    let removal = ["vault.pending-removal: VAULT_ALLOW_PENDING_REMOVAL_MOUNTS"];
    for (name, text) in [
        (
            "/etc/vault.d/vault.env",
            "# a comment\nVAULT_ALLOW_PENDING_REMOVAL_MOUNTS=true\n",
        ),
        (
            "/etc/vault.d/vault.env",
            "export VAULT_ALLOW_PENDING_REMOVAL_MOUNTS=\"1\"",
        ),
        (
            "vault.service",
            "[Service]\nEnvironment=A=b \"VAULT_ALLOW_PENDING_REMOVAL_MOUNTS=1\"\n",
        ),
        (
            "/etc/systemd/system/vault.service.d/a.conf",
            "[Service]\nEnvironment=VAULT_ALLOW_PENDING_REMOVAL_MOUNTS=1\n",
        ),
    ] {
        assert_eq!(lint(name, text, Role::Node), removal, "{text}");
    }
    for text in [
        "VAULT_ALLOW_PENDING_REMOVAL_MOUNTS=false",
        "#VAULT_ALLOW_PENDING_REMOVAL_MOUNTS=1",
        "VAULT_LOG_LEVEL=info",
    ] {
        assert_eq!(lint("vault.env", text, Role::Image), [""; 0], "{text}");
    }
    for name in [
        "CONSUL_HTTP_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "AZURE_CLIENT_SECRET",
        "VAULT_LICENSE",
        "VAULT_HSM_PIN",
    ] {
        let text = format!("{name}={SECRET}\n");
        assert_eq!(
            lint("vault.env", &text, Role::Image),
            [format!("vault.environment-secret: {name}")]
        );
        assert_eq!(lint("vault.env", &text, Role::Node), [""; 0]);
    }
    let url = format!("VAULT_PG_CONNECTION_URL=postgres://v:{SECRET}@db/v");
    assert_eq!(
        lint("vault.env", &url, Role::Image),
        ["vault.environment-secret: VAULT_PG_CONNECTION_URL"]
    );

    // The variable is one of the places of the key.
    let raft = patched(
        vault(),
        &both(
            stored("raft", json!({ "path": "/d" })),
            &json!({ "disable_mlock": null }),
        ),
    );
    let mut node = Configuration::new(Product::Vault, None, Role::Node);
    node.add("vault.json", &raft.to_string()).unwrap();
    node.add("vault.env", "VAULT_DISABLE_MLOCK=true").unwrap();
    assert_eq!(node.lint(), []);
}
