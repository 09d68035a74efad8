//! The rules of an identity archive: `identity.jq`, run by `identity`, with many spellings.

mod cases;

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::Value;
use vault_bake::identity::Identity;

use super::identity::{Authority, Node, Seed, archive, good, put};
use super::rendered;
use cases::{DOCUMENTS, LINES_REFUSED, LINES_TAKEN, REFUSED, TAKEN};

/// The minimum of a fragment, to which a case adds.
const FRAGMENT: &str = r#"{"node_name": "vb-node-1", "datacenter": "dc1", "encrypt": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}"#;

/// Formats a text for a table: one line, without control characters.
fn abbreviated(text: &str) -> String {
    text.escape_debug().to_string().replace("\\\"", "\"")
}

/// Returns a table of refusals. Nothing of a refused archive stays, and no message contains a
/// secret.
fn refusals(cases: &[&str], change: impl Fn(&mut Seed, &str)) -> Option<String> {
    let node = Node::new()?;
    let good = good(&Authority::new());
    let mut table = String::new();
    for case in cases {
        let mut seed = good.clone();
        change(&mut seed, case);
        let (taken, words) = node.take(&archive(&seed));
        assert!(!taken, "{case} was taken");
        assert_eq!(node.left(), Vec::<String>::new(), "{case} left something");
        for secret in ["canary", "AAECAwQF"] {
            assert!(!words.contains(secret), "{case} shows a secret: {words}");
        }
        assert!(!words.chars().any(char::is_control), "{case}: {words:?}");
        let why = words.strip_prefix("vault-bake identity refused: ");
        let why = why.unwrap_or_else(|| panic!("{case}: {words}"));
        let _ = writeln!(table, "{}\n    {why}", abbreviated(case));
    }
    Some(table)
}

/// Returns a table of the installed file at `path` for these cases.
fn handed_over(cases: &[&str], path: &str, change: impl Fn(&mut Seed, &str)) -> Option<String> {
    let node = Node::new()?;
    let good = good(&Authority::new());
    let mut table = String::new();
    for case in cases {
        let mut seed = good.clone();
        change(&mut seed, case);
        let (taken, words) = node.take(&archive(&seed));
        assert!(taken, "{case}: {words}");
        let _ = writeln!(
            table,
            "{}\n    {}",
            abbreviated(case),
            abbreviated(&node.files()[path])
        );
    }
    Some(table)
}

fn with_keys(seed: &mut Seed, keys: &str) {
    let fragment = FRAGMENT.replacen('{', &format!("{{{keys}, "), 1);
    put(seed, "consul/node.json", fragment);
}

fn with_lines(seed: &mut Seed, lines: &str) {
    put(
        seed,
        "vault/env",
        format!("CONSUL_HTTP_TOKEN=canary\n{lines}\n"),
    );
}

#[test]
fn what_is_not_a_nodes_own_is_refused_in_every_spelling() {
    let Some(table) = refusals(REFUSED, with_keys) else {
        return;
    };
    insta::assert_snapshot!(table);
}

#[test]
fn what_is_a_nodes_own_is_handed_over_as_it_was_read() {
    let Some(table) = handed_over(TAKEN, "consul-secrets/node.json", with_keys) else {
        return;
    };
    insta::assert_snapshot!(table);
}

#[test]
fn what_is_no_single_object_of_json_is_refused() {
    let whole = |seed: &mut Seed, text: &str| {
        put(seed, "consul/node.json", text.replace("WHOLE", FRAGMENT));
    };
    let Some(mut table) = refusals(DOCUMENTS, whole) else {
        return;
    };
    let nodes = [
        "[]",
        "{}",
        r#"{"schema": "1", "node": "vb-node-1", "datacenter": "dc1"}"#,
        r#"{"schema": 1, "node": "vb-node-1", "node": "vb-node-1", "datacenter": "dc1"}"#,
        r#"{"schema": 1, "n\u006fde": "vb-node-1", "node": "vb-node-1", "datacenter": "dc1"}"#,
        r#"{"schema": 1, "node": "vb-node-1", "datacenter": "dc1", "role": "server"}"#,
        r#"{"schema": 1, "Node": "vb-node-1", "datacenter": "dc1"}"#,
        r#"{"schema": 1, "node": "-a", "datacenter": ["dc1"]}"#,
        r#"{"schema": 1, "node": "a\u001b[31m", "datacenter": "dc1\n"}"#,
    ];
    let members = |seed: &mut Seed, text: &str| put(seed, "node.json", text);
    table += &refusals(&nodes, members).expect("the programs are there");
    let bytes = |seed: &mut Seed, _: &str| {
        let latin1 = [
            &FRAGMENT.as_bytes()[..14],
            b"\xff",
            &FRAGMENT.as_bytes()[15..],
        ]
        .concat();
        put(seed, "consul/node.json", latin1);
    };
    table += &refusals(&["not UTF-8"], bytes).expect("the programs are there");
    let deep = |seed: &mut Seed, _: &str| {
        let nested = format!(r#""node_meta": {}{}"#, "[".repeat(9000), "]".repeat(9000));
        with_keys(seed, &nested);
    };
    table += &refusals(&["9000 lists in each other"], deep).expect("the programs are there");
    let large = |seed: &mut Seed, _: &str| {
        with_keys(
            seed,
            &format!(r#""node_meta": {{"a": "{}"}}"#, "a".repeat(70_000)),
        );
    };
    table += &refusals(&["70 kB"], large).expect("the programs are there");
    insta::assert_snapshot!(table);
}

#[test]
fn lines_of_vaults_environment_that_undo_tls_or_are_not_plain_are_refused() {
    let Some(table) = refusals(LINES_REFUSED, with_lines) else {
        return;
    };
    insta::assert_snapshot!(table);
}

#[test]
fn plain_lines_of_vaults_environment_are_handed_over() {
    let Some(table) = handed_over(LINES_TAKEN, "vault-secrets/env", with_lines) else {
        return;
    };
    insta::assert_snapshot!(table);
}

/// The keys of the image's own file, of every version, belong to the image, with these exceptions.
#[test]
fn no_key_of_the_images_own_file_is_a_nodes() {
    const BOTH: [&str; 5] = [
        "bind_addr",
        "datacenter",
        "leave_on_terminate",
        "log_level",
        "retry_interval",
    ];
    let Some(node) = Node::new() else { return };
    for version in ["1.8.7", "1.12.9", "1.22.4"] {
        let image = rendered("configuration/consul.json", &[("consul", version)]);
        let image: Value = serde_json::from_str(&image).expect("JSON");
        let keys = image.as_object().expect("an object").keys();
        let keys: Vec<&String> = keys.filter(|key| !BOTH.contains(&key.as_str())).collect();
        let all: Vec<String> = keys
            .iter()
            .map(|key| format!("{key:?}: {}", image[key.as_str()]))
            .collect();
        let mut seed = good(&Authority::new());
        with_keys(&mut seed, &all.join(", "));
        let (taken, words) = node.take(&archive(&seed));
        assert!(!taken);
        for key in keys {
            // Tokens are the only ACL keys of a node.
            let key = if key == "acl" {
                "acl.default_policy"
            } else {
                key
            };
            let belongs = format!("gives '{key}', which belongs to the image alone");
            assert!(words.contains(&belongs), "{version} {key}: {words}");
        }
    }
}

/// The identities that this crate makes for boot tests pass the rules.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "openssl checks certificates by the real time"
)]
fn throw_away_identities_are_taken() {
    let Some(node) = Node::new() else { return };
    for version in ["1.8.7", "1.21.1"] {
        let identity = Identity::generate("vb-node-1", "dc1", version, Timestamp::now());
        let (taken, words) = node.take(&identity.expect("an identity").to_tar());
        assert!(taken, "{version}: {words}");
    }
}

/// The examples of the documentation, each as the fragment of the node that it names.
#[test]
fn documented_fragments_are_taken() {
    let Some(node) = Node::new() else { return };
    let page = include_str!("../../../docs/identity.md");
    let examples = page.split("```json\n").skip(1);
    let examples = examples.filter_map(|rest| rest.split("```").next());
    let examples: Vec<&str> = examples.filter(|one| one.contains("node_name")).collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        let fragment: Value = serde_json::from_str(example).expect("JSON");
        let identity = format!(
            r#"{{"schema":1,"node":{},"datacenter":"dc1"}}"#,
            fragment["node_name"]
        );
        let mut seed = good(&Authority::new());
        put(&mut seed, "node.json", identity);
        put(&mut seed, "consul/node.json", example);
        let (taken, words) = node.take(&archive(&seed));
        assert!(taken, "{words}");
    }
}
