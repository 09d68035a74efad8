//! Places of secrets: in Consul, in join strings, in each storage and seal of Vault; and valid
//! places.

use serde_json::json;

use super::{SECRET, consul_row, secret_at, stored, try_rows, vault_row};

#[test]
fn secrets_in_an_image_are_found_wherever_consul_reads_them() {
    let places = [
        "encrypt",
        "license",
        "acl_token",
        "acl_agent_token",
        "acl_replication_token",
        "acl.tokens.default",
        "acl.tokens.agent_recovery",
        "acl.tokens.replication",
        "acl.tokens.config_file_service_registration",
        "acl.tokens.dns",
        "auto_config.intro_token",
        "cloud.client_secret",
        "connect.ca_config.private_key",
        "connect.ca_config.privatekey",
        "connect.ca_config.auth_method.params.secret_id",
        "connect.ca_config.auth_method.params.password",
        "service.token",
        "service.check.header.Authorization",
        "check.header.X-Vault-Token",
        "telemetry.circonus_api_token",
        "some.thing.of.a.later.version.api_token",
        "partner.signing_key",
    ];
    let mut rows = Vec::new();
    for place in places {
        let mut expected = vec!["consul.secret-in-image"];
        if place == "encrypt" {
            expected.push("consul.gossip-key-length");
        }
        rows.push(consul_row(secret_at(place), &expected).image());
        // A node may have secrets.
        if place != "encrypt" {
            rows.push(consul_row(secret_at(place), &[]));
        }
    }
    let found = &["consul.secret-in-image"][..];
    let more = [
        json!({ "services": [{ "name": "a", "checks": [{ "http": "https://a", "header": { "x-consul-token": [SECRET] } }] }] }),
        json!({ "services": [{ "name": "a", "check": { "args": ["curl", "-H", format!("X-Consul-Token: {SECRET}"), "http://a"] } }] }),
        json!({ "services": [{ "name": "a", "check": { "http": format!("https://user:{SECRET}@a.example/") } }] }),
        json!({ "watches": [{ "type": "key", "key": "a", "token": SECRET, "args": ["true"] }] }),
        json!({ "watches": [{ "type": "key", "key": "a", "http_handler_config": { "path": "https://a", "header": { "Authorization": [format!("Bearer {SECRET}")] } } }] }),
        json!({ "acl": { "tokens": { "managed_service_provider": [{ "accessor_id": "a", "secret_id": SECRET }] } } }),
        json!({ "ui_config": { "metrics_proxy": { "add_headers": [{ "name": "X-Api-Key", "value": SECRET }] } } }),
        json!({ "node_meta": { "note": format!("-----BEGIN EC PRIVATE KEY-----\n{SECRET}") } }),
    ];
    rows.extend(more.map(|patch| consul_row(patch, found).image()));
    assert_eq!(try_rows(&rows), "");
}

#[test]
fn what_only_speaks_of_secrets_is_no_finding() {
    let rows = [
        json!({ "acl": { "tokens": {} } }),
        json!({ "acl": { "tokens": { "agent": "" } } }),
        json!({ "acl": { "tokens": { "agent": "${AGENT_TOKEN}" } } }),
        json!({ "acl": { "tokens": { "agent": "{{ with secret }}" } } }),
        json!({ "acl": { "tokens": { "managed_service_provider": [{ "accessor_id": "a" }] } } }),
        json!({ "acl": { "token_ttl": "30s", "enable_token_replication": true, "policy_ttl": "1h" } }),
        json!({ "acl": { "enable_token_persistence": "false" } }),
        json!({ "acl_ttl": "30s", "acl_down_policy": "extend-cache" }),
        json!({ "default_intention_policy": "deny" }),
        json!({ "license_path": "/run/consul.hclic" }),
        json!({ "auto_config": { "intro_token_file": "/run/intro" } }),
        json!({ "auto_config": { "authorization": { "enabled": false, "static": {
            "jwks_url": "https://issuer.example/keys", "jwt_supported_algs": ["RS256"],
            "claim_assertions": ["value.token == \"a\""],
        } } } }),
        json!({ "connect": { "ca_config": { "private_key_type": "ec", "private_key_bits": 256, "leaf_cert_ttl": "72h" } } }),
        json!({ "connect": { "ca_config": { "auth_method": { "params": { "secret_id_file_path": "/run/id" } } } } }),
        json!({ "http_config": { "response_headers": { "Access-Control-Allow-Headers": "X-Consul-Token" } } }),
        json!({ "ui_config": { "metrics_proxy": { "add_headers": [{ "name": "X-Scope-OrgID", "value": "team" }] } } }),
        json!({ "services": [{ "name": "token-service", "tags": ["secret"], "meta": { "path": "/token" } }] }),
        json!({ "encrypt_verify_incoming": true, "node_name": "keys-and-tokens" }),
        json!({ "telemetry": { "prefix_filter": ["+consul.acl.token"] } }),
    ];
    let rows = rows.map(|patch| consul_row(patch, &[]).image());
    assert_eq!(try_rows(&rows), "");
}

#[test]
fn join_strings_of_every_provider_are_read() {
    let secrets = [
        "provider=aliyun access_key_id=a access_key_secret=SECRET",
        "provider=aws access_key_id=a secret_access_key=SECRET",
        "provider=aws access_key_id=a session_token=SECRET",
        "provider=azure tenant_id=a client_id=b secret_access_key='SECRET=='",
        "provider=digitalocean api_token=SECRET",
        "provider=linode api_token=SECRET",
        "provider=os user_name=a password=SECRET",
        "provider=os token=SECRET",
        "provider=packet project=a auth_token=SECRET",
        "provider=scaleway organization=a token=SECRET",
        "provider=softlayer username=a api_key=SECRET",
        "provider=tencentcloud access_key_secret=SECRET",
        "provider=vsphere user=a password=\"SECRET with blanks\"",
        "provider=vsphere user=a \"password\"=\"SECRET\"",
        "provider=aws endpoint=https://a:SECRET@b.example",
        "provider=gce credentials_file={\"private_key\":\"SECRET\"}",
    ];
    let none = [
        "10.0.0.4",
        "[::1]:8301",
        "server.example:8301",
        "provider=aws region=eu-west-1 tag_key=consul tag_value=server",
        "provider=azure subscription_id=a resource_group=b vm_scale_set=c",
        "provider=gce project_name=a credentials_file=/run/gce.json",
        "provider=k8s kubeconfig=/run/kubeconfig label_selector=\"app=vault,secret=no\"",
        "provider=triton account=a key_id=b url=https://c",
        "provider=mdns service=consul domain=local",
        "provider=aws secret_access_key=${SECRET_ACCESS_KEY}",
        "provider=aws tag_key=token tag_value=password",
    ];
    let mut rows = Vec::new();
    for (strings, found) in [(&secrets[..], true), (&none[..], false)] {
        for text in strings {
            let text = match found {
                true => text.replace("SECRET", SECRET),
                false => (*text).to_owned(),
            };
            let consul: &[&str] = if found { &["consul.join-secret"] } else { &[] };
            let vault: &[&str] = if found {
                &["vault.raft-join-secret"]
            } else {
                &[]
            };
            for key in [
                "retry_join",
                "retry_join_wan",
                "start_join",
                "start_join_wan",
            ] {
                rows.push(consul_row(json!({ key: [text] }), consul));
            }
            let raft = json!({ "path": "/d", "retry_join": [{ "auto_join": text }] });
            rows.push(vault_row(
                super::both(stored("raft", raft), &json!({ "disable_mlock": true })),
                vault,
            ));
        }
    }
    assert_eq!(try_rows(&rows), "");
}

#[test]
fn secrets_of_every_storage_are_found() {
    let secret: &[&str] = &["vault.storage-secret"];
    let both: &[&str] = &["vault.storage-plaintext", "vault.storage-secret"];
    let url = |rest: &str| rest.replace("SECRET", SECRET);
    let rows = [
        (
            "aerospike",
            json!({ "hostname": "a", "username": "u", "password": SECRET }),
            secret,
        ),
        (
            "alicloudoss",
            json!({ "bucket": "b", "access_key": "a", "secret_key": SECRET }),
            secret,
        ),
        (
            "azure",
            json!({ "accountName": "a", "accountKey": SECRET, "container": "c" }),
            secret,
        ),
        (
            "cassandra",
            json!({ "hosts": "a", "tls": 1, "username": "u", "password": SECRET }),
            secret,
        ),
        (
            "cassandra",
            json!({ "hosts": "a,b", "password": SECRET }),
            both,
        ),
        (
            "cockroachdb",
            json!({ "connection_url": url("postgres://v:SECRET@db:26257/v?sslmode=verify-full") }),
            secret,
        ),
        (
            "couchdb",
            json!({ "endpoint": "http://db.example:5984/v", "password": SECRET }),
            both,
        ),
        (
            "couchdb",
            json!({ "endpoint": url("https://a:SECRET@db.example:5984/v") }),
            secret,
        ),
        (
            "dynamodb",
            json!({ "region": "r", "secret_key": SECRET }),
            secret,
        ),
        (
            "dynamodb",
            json!({ "region": "r", "session_token": SECRET }),
            secret,
        ),
        (
            "etcd",
            json!({ "address": "https://a:2379", "username": "u", "password": SECRET }),
            secret,
        ),
        (
            "etcd",
            json!({ "address": "http://a:2379,http://b:2379", "password": SECRET }),
            both,
        ),
        (
            "foundationdb",
            json!({ "cluster_file": "/c", "tls_password": SECRET }),
            secret,
        ),
        (
            "mssql",
            json!({ "server": "a", "username": "u", "password": SECRET }),
            secret,
        ),
        (
            "mysql",
            json!({ "address": "db:3306", "tls_ca_file": "/ca", "password": SECRET }),
            secret,
        ),
        (
            "mysql",
            json!({ "address": "db:3306", "username": "u", "password": SECRET, "plaintext_connection_allowed": "true" }),
            both,
        ),
        (
            "postgresql",
            json!({ "connection_url": url("postgresql://v:SECRET@db/v?sslmode=require") }),
            secret,
        ),
        (
            "postgresql",
            json!({ "connection_url": url("host=db.example user=v password=SECRET sslmode=disable") }),
            both,
        ),
        (
            "postgresql",
            json!({ "connection_url": url("postgres://v:SECRET@127.0.0.1:5432/v?sslmode=disable") }),
            secret,
        ),
        (
            "swift",
            json!({ "auth_url": "https://a", "container": "c", "password": SECRET }),
            secret,
        ),
        (
            "swift",
            json!({ "auth_url": "http://a", "container": "c", "auth_token": SECRET }),
            both,
        ),
        (
            "ydb",
            json!({ "dsn": "grpcs://a", "service_account_key": SECRET }),
            secret,
        ),
        (
            "ydb",
            json!({ "dsn": "grpc://a.example:2136/local", "static_credentials_password": SECRET }),
            both,
        ),
        (
            "zookeeper",
            json!({ "address": "a:2181", "tls_enabled": "true", "auth_info": format!("digest:u:{SECRET}") }),
            secret,
        ),
        (
            "zookeeper",
            json!({ "address": "a:2181", "auth_info": format!("digest:u:{SECRET}") }),
            both,
        ),
        (
            "mongodb",
            json!({ "url": url("mongodb://u:SECRET@a") }),
            secret,
        ),
    ];
    let mut all = Vec::new();
    for (name, body, expected) in &rows {
        all.push(vault_row(stored(name, body.clone()), expected));
        // As storage for high availability only.
        for stanza in ["ha_storage", "ha_backend"] {
            all.push(vault_row(json!({ stanza: { *name: body } }), expected));
        }
    }
    assert_eq!(try_rows(&all), "");
}

#[test]
fn storages_without_a_secret_are_no_finding() {
    let rows = [
        (
            "azure",
            json!({ "accountName": "a", "container": "c", "environment": "AzurePublicCloud" }),
        ),
        (
            "s3",
            json!({ "bucket": "b", "region": "r", "kms_key_id": "alias/vault" }),
        ),
        ("gcs", json!({ "bucket": "b", "ha_enabled": "true" })),
        (
            "dynamodb",
            json!({ "ha_enabled": "true", "region": "r", "table": "t" }),
        ),
        (
            "postgresql",
            json!({ "connection_url": "postgres://v@db.example/v?sslmode=verify-full" }),
        ),
        (
            "postgresql",
            json!({ "connection_url": "postgres://v@/v?host=/run/postgresql" }),
        ),
        (
            "mysql",
            json!({ "address": "127.0.0.1:3306", "username": "u" }),
        ),
        (
            "etcd",
            json!({ "address": "https://a:2379", "etcd_api": "v3", "tls_ca_file": "/ca" }),
        ),
        (
            "zookeeper",
            json!({ "address": "localhost:2181", "path": "vault/" }),
        ),
        ("oci", json!({ "bucket_name": "b", "namespace_name": "n" })),
        (
            "spanner",
            json!({ "database": "projects/p/instances/i/databases/d" }),
        ),
        (
            "s3",
            json!({ "bucket": "b", "secret_key": "${AWS_SECRET_ACCESS_KEY}" }),
        ),
    ];
    let rows = rows.map(|(name, body)| vault_row(stored(name, body), &[]));
    assert_eq!(try_rows(&rows), "");
}

#[test]
fn secrets_of_every_seal_are_found() {
    let found: &[&str] = &["vault.seal-secret"];
    let rows = [
        vault_row(secret_at("seal.alicloudkms.secret_key"), found),
        vault_row(secret_at("seal.awskms.secret_key"), found),
        vault_row(secret_at("seal.awskms.session_token"), found),
        vault_row(secret_at("seal.azurekeyvault.client_secret"), found),
        vault_row(secret_at("seal.transit.token"), found),
        vault_row(secret_at("seal.pkcs11.pin"), found),
        vault_row(secret_at("hsm.pkcs11.pin"), found),
        vault_row(secret_at("kms.transit.token"), found),
        vault_row(
            json!({ "seal": { "static": { "current_key": SECRET } } }),
            found,
        ),
        vault_row(
            json!({ "seal": { "static": { "current_key": "file:///run/key" } } }),
            &[],
        ),
        vault_row(
            json!({ "seal": { "gcpckms": { "credentials": "/run/gcp.json", "project": "p" } } }),
            &[],
        ),
        vault_row(
            json!({ "seal": { "awskms": { "region": "r", "access_key": "AKIA", "kms_key_id": "k" } } }),
            &[],
        ),
        vault_row(
            json!({ "seal": { "pkcs11": { "lib": "/l", "slot": "0", "token_label": "t", "key_label": "k" } } }),
            &[],
        ),
        vault_row(
            json!({ "seal": { "ocikms": { "key_id": "k", "auth_type_api_key": "true" } } }),
            &[],
        ),
        vault_row(
            json!({ "seal": { "transit": { "address": "https://v", "disable_renewal": "false", "key_name": "k", "mount_path": "transit/" } } }),
            &[],
        ),
    ];
    assert_eq!(try_rows(&rows), "");
}
