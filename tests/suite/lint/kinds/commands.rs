//! Secrets in words of a command or in a text of JSON, and texts that look similar.

use serde_json::json;

use super::{SECRET, consul_row, try_rows};

#[test]
fn secrets_are_found_as_words_of_a_command_and_in_texts_of_json() {
    let pair = format!("admin:{SECRET}");
    let inner = json!({ "password": SECRET }).to_string();
    let envoy = json!({ "name": "a", "typed_config": { "token": { "inline_string": SECRET } } });
    let header = json!({ "request_headers_to_add": [{ "header": { "key": "x-api-key", "value": SECRET } }] });
    let args = [
        json!(["/bin/check", "--token", SECRET]),
        json!(["/bin/check", "-token", SECRET]),
        json!(["/bin/check", "--password", SECRET, "--verbose"]),
        json!(["/bin/check", "-http-token", SECRET]),
        json!(["/bin/check", "--api-key", SECRET]),
        json!(["curl", "-u", pair, "http://a"]),
        json!(["/usr/bin/curl", "-s", "--user", pair, "http://a"]),
        json!(["curl", format!("-u{pair}"), "http://a"]),
        json!(["curl", format!("--user={pair}"), "http://a"]),
        json!(["curl", "-H", format!("X-Api-Key: {SECRET}"), "http://a"]),
        json!(["curl", "-d", inner, "http://a"]),
        json!(["redis-cli", "-a", SECRET, "ping"]),
        json!(["env", "A=b", "redis-cli", "-a", SECRET, "ping"]),
        json!(["mysqladmin", format!("-p{SECRET}"), "ping"]),
        json!(["sshpass", "-p", SECRET, "ssh", "a"]),
        json!(["sh", "-c", format!("curl -u '{pair}' http://a | grep ok")]),
        json!(["sh", "-c", format!("/bin/check --token \"{SECRET}\"")]),
    ];
    let args = args.map(|args| json!({ "checks": [{ "name": "a", "args": args }] }));
    let texts = [
        json!({ "check": { "http": "https://a", "method": "POST", "body": inner } }),
        json!({ "watches": [{ "type": "key", "key": "a", "args": ["/bin/x", "--secret", SECRET] }] }),
        json!({ "service": { "name": "a", "proxy": { "config": { "envoy_extra_static_clusters_json": envoy.to_string() } } } }),
        json!({ "services": [{ "name": "a", "connect": { "sidecar_service": { "proxy": { "config": { "envoy_public_listener_json": header.to_string() } } } } }] }),
        json!({ "service": { "name": "a", "proxy": { "config": { "envoy_stats_config_json": json!([{ "authorization": SECRET }]).to_string() } } } }),
    ];
    let rows = args.into_iter().chain(texts);
    let rows: Vec<_> = rows
        .flat_map(|patch| {
            let found = consul_row(patch.clone(), &["consul.secret-in-image"]);
            // A node may have secrets.
            [found.image(), consul_row(patch, &[])]
        })
        .collect();
    assert_eq!(try_rows(&rows), "");
}

#[test]
fn words_and_texts_without_a_secret_are_no_finding() {
    let args = [
        json!(["/bin/check", "--token", "$TOKEN"]),
        json!(["/bin/check", "--token", "${TOKEN}"]),
        json!(["/bin/check", "--token", "/run/token"]),
        json!(["/bin/check", "--token-file", "token"]),
        json!(["/bin/check", "--token", "--verbose"]),
        json!(["/bin/check", "--verbose", "token"]),
        json!(["/bin/check_http", "-p", "8080", "-u", "/health:all"]),
        json!(["curl", "-u", "admin", "http://a"]),
        json!(["curl", "-u", "admin:$PASSWORD", "http://a"]),
        json!(["curl", "-H", "Accept: application/json", "http://a"]),
        json!(["curl", "-H", "X-Api-Key: ${KEY}", "http://a"]),
        json!(["docker", "run", "-u", "1000:1000", "a"]),
        json!(["mkdir", "-p", "/run/a"]),
        json!(["redis-cli", "-p", "6379", "ping"]),
        json!([
            "sh",
            "-c",
            "curl -u \"admin:$(cat /run/password)\" http://a"
        ]),
        json!(["sh", "-c", "check --token \"$(cat /run/token)\""]),
    ];
    let args = args.map(|args| json!({ "checks": [{ "name": "a", "args": args }] }));
    let envoy = json!({ "name": "token-service", "connect_timeout": "5s", "token_bucket": { "max_tokens": 5 } });
    let texts = [
        json!({ "check": { "http": "https://a", "body": "{\"password\":\"${PASSWORD}\"}" } }),
        json!({ "check": { "http": "https://a", "body": "{\"user\":\"password\"}" } }),
        json!({ "check": { "http": "https://a", "body": "{password" } }),
        json!({ "service": { "name": "a", "proxy": { "config": { "envoy_extra_static_clusters_json": envoy.to_string() } } } }),
    ];
    let rows = args.into_iter().chain(texts);
    let rows: Vec<_> = rows.map(|patch| consul_row(patch, &[]).image()).collect();
    assert_eq!(try_rows(&rows), "");
}
