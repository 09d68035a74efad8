//! Parsing for the linter: HCL 1 and JSON as the products do, keys without case, positions of
//! findings.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use vault_bake::definition::Definition;
use vault_bake::lint::{Configuration, Role};
use vault_bake::plan::lint::lint_steps;
use vault_bake::plan::plan_steps;
use vault_bake::product::Product;
use vault_bake::provisioner::Provisioners;

use super::cases::{consul, vault};

const CONSUL: Product = Product::Consul;
const VAULT: Product = Product::Vault;

/// A valid Vault server of 10 lines, for further lines.
const SERVER: &str = r#"storage "raft" {
  path = "/opt/vault/data"
}
api_addr = "https://10.0.0.5:8200"
cluster_addr = "https://10.0.0.5:8201"
disable_mlock = true
listener "tcp" {
  address = "0.0.0.0:8200"
  tls_cert_file = "/run/tls/a.crt"
  tls_key_file = "/run/tls/a.key"
"#;

/// Returns the findings of a file as `file:line: rule key`, or the error.
fn lint(product: Product, file: &str, text: &str) -> Vec<String> {
    let mut configuration = Configuration::new(product, None, Role::Node);
    if let Err(error) = configuration.add(file, text) {
        return vec![error.to_string()];
    }
    let found = configuration.lint().into_iter().map(|one| {
        let line = one.line.map(|line| format!(":{line}")).unwrap_or_default();
        format!("{}{line}: {} {}", one.file, one.rule, one.key)
    });
    found.collect()
}

/// Files as users write them, and one finding of each that shows that the parser read it.
#[test]
fn files_of_both_products_are_read_as_they_read_them() {
    let server = |rest: &str| format!("{SERVER}{rest}");
    let headers = "  custom_response_headers {\n    \"default\" = {\n      \"X-One\" = [\"a\"]\n    }\n    \"2xx\" = {\n      \"X-Two\" = [\"b\", \"c\"]\n    }\n  }\n}\nraw_storage_endpoint = true\n";
    let plain = "}\nlistener \"tcp\" { address = \"10.0.0.5:8210\" tls_disable = true }\n";
    let cases = [
        (VAULT, "quoted.hcl", server(headers), "quoted.hcl:20: vault.raw-storage raw_storage_endpoint"),
        (VAULT, "one-line.hcl", server(plain), "one-line.hcl:12: vault.listener-plaintext listener[1].tcp.tls_disable"),
        (VAULT, "heredoc.hcl", server("}\ncluster_name = <<EOF\nan ${ open brace and %{ too\nEOF\nraw_storage_endpoint = \"1\"\n"), "heredoc.hcl:15: vault.raw-storage raw_storage_endpoint"),
        (VAULT, "key-case.hcl", server("  TLS_Disable = 1\n}\n"), "key-case.hcl:11: vault.listener-plaintext listener.tcp.TLS_Disable"),
        (VAULT, "block-case.hcl", server("  tls_disable = 1\n}\n").replace("listener", "LISTENER"), "block-case.hcl:11: vault.listener-plaintext LISTENER.tcp.tls_disable"),
        (VAULT, "label-case.hcl", server("  tls_disable = 1\n}\n").replace("\"tcp\"", "\"TCP\""), "label-case.hcl:11: vault.listener-plaintext listener.TCP.tls_disable"),
        (VAULT, "long-s.hcl", server("  tl\u{17f}_disable = 1\n}\n"), "long-s.hcl:11: vault.listener-plaintext listener.tcp.tl\u{17f}_disable"),
        (VAULT, "assigned.hcl", "listener = {\n  tcp = {\n    TLS_DISABLE = \"true\", address = \"10.0.0.5:8200\"\n  }\n}\n".to_owned(), "assigned.hcl:3: vault.listener-plaintext listener.tcp.TLS_DISABLE"),
        (VAULT, "json", "\n {\"Listener\": [{\"TCP\":\n{\"tls_Disable\": 1, \"address\": \"10.0.0.5:8200\",},},]}".to_owned(), "json:3: vault.listener-plaintext Listener[0].TCP.tls_Disable"),
        (VAULT, "hcl.json", "listener \"tcp\" {\n  tls_disable = 1, address = \"10.0.0.5:8200\"\n}\n".to_owned(), "hcl.json:2: vault.listener-plaintext listener.tcp.tls_disable"),
        (VAULT, "twice.json", "{\"listener\": {\"tcp\": {}},\n\"listener\": {\"tcp\": {\"tls_disable\": 1, \"address\": \"10.0.0.5:8200\"}}}".to_owned(), "twice.json:2: vault.listener-plaintext listener[1].tcp.tls_disable"),
        (VAULT, "lacks.hcl", "listener \"unix\" {}\n\nlistener \"tcp\" {\n  address = \"x\"\n}\n".to_owned(), "lacks.hcl:3: vault.listener-certificate listener[1].tcp.tls_key_file"),
        (VAULT, "none.hcl", "ui = true\n".to_owned(), "none.hcl: vault.listener listener"),
        (VAULT, "telemetry.hcl", "Listener \"tcp\" { address = \"10.0.0.5:8200\"\n  Telemetry {\n    Unauthenticated_Metrics_Access = true\n  }\n}\n".to_owned(), "telemetry.hcl:3: vault.unauthenticated-metrics Listener.tcp.Telemetry.Unauthenticated_Metrics_Access"),
        // Keys in the body of a storage are compared with case: this one has no scheme.
        (VAULT, "exact.hcl", "storage \"Consul\" {\n  address = \"127.0.0.1:8501\"\n  Scheme = \"https\"\n}\n".to_owned(), "exact.hcl:1: vault.storage-plaintext storage.Consul.scheme"),
        (
            VAULT,
            "lists.hcl",
            "listener = [{\n  tcp = {}\n}]\nlistener = [{\n  tcp = {\n    tls_disable = 1, address = \"10.0.0.5:8200\"\n  }\n}]\n".to_owned(),
            "lists.hcl:6: vault.listener-plaintext listener[1].tcp.tls_disable",
        ),
        (
            CONSUL,
            "ports.hcl",
            "service {\n  ports {\n    name = \"a\"\n  }\n  ports {\n    name = \"b\"\n  }\n}\nports {\n  http = 1\n}\n".to_owned(),
            "ports.hcl:10: consul.http-port ports.http",
        ),
        (CONSUL, "commas.hcl", "server = true,\nacl = {\n  enabled = false\n  default_policy = \"deny\"\n},\n".to_owned(), "commas.hcl:3: consul.acl-enabled acl.enabled"),
        (CONSUL, "in-object.hcl", "acl = {\n  enabled = true\n  tokens {\n    agent = \"x\"\n  }\n  default_policy = \"allow\"\n}\n".to_owned(), "in-object.hcl:6: consul.acl-default-deny acl.default_policy"),
        (CONSUL, "case.hcl", "Ports {\n  HTTP = 8500\n}\n".to_owned(), "case.hcl:2: consul.http-port Ports.HTTP"),
        (CONSUL, "case.json", "{\"ACL\":\n {\"Enabled\": false}}".to_owned(), "case.json:2: consul.acl-enabled ACL.Enabled"),
        (CONSUL, "list.json", "{\"ports\": [{\n\"http\": 8500}]}".to_owned(), "list.json:2: consul.http-port ports.http"),
        (CONSUL, "json.hcl", "{\"ports\": {\"http\": 8500,},}".to_owned(), "json.hcl:1: consul.http-port ports.http"),
        (CONSUL, "alias.hcl", "service {\n  check {\n    TLSSkipVerify = true\n  }\n}\n".to_owned(), "alias.hcl:3: consul.check-skip-verify service.check.TLSSkipVerify"),
        (CONSUL, "checks.json", "{\"services\": [{\"checks\": [{}, {\n\"Tls_Skip_Verify\": true}]}]}".to_owned(), "checks.json:2: consul.check-skip-verify services[0].checks[1].Tls_Skip_Verify"),
        (CONSUL, "names.hcl", "node_meta {\n  a = 1\n  A = 2\n}\nports {\n}\n".to_owned(), "names.hcl:5: consul.http-port ports.http"),
        (CONSUL, "empty.json", String::new(), "empty.json: consul.acl-enabled acl.enabled"),
    ];
    let mut wrong = String::new();
    for (product, file, text, expected) in cases {
        let found = lint(product, file, &text);
        if !found.iter().any(|one| one == expected) {
            writeln!(wrong, "{file}: expected {expected:?} in {found:#?}").unwrap();
        }
    }
    assert_eq!(wrong, "");
}

#[test]
fn a_key_is_set_once_in_whatever_case() {
    let cases = [
        (
            VAULT,
            "a.hcl",
            "listener \"tcp\" {\n  tls_disable = 1\n  TLS_Disable = 0\n}\n",
        ),
        (VAULT, "a.hcl", "ui = true\nui = false\n"),
        (VAULT, "a.hcl", "telemetry {}\nTelemetry = 1\n"),
        (VAULT, "a.json", "{\"ui\": true,\n\"UI\": false}"),
        (
            VAULT,
            "a.hcl",
            "storage \"raft\" {\n  path = \"/a\"\n  path = \"/b\"\n}\n",
        ),
        (CONSUL, "a.hcl", "server = true\nserver = false\n"),
        (CONSUL, "a.hcl", "ports { http = -1, HTTP = 8500 }\n"),
        (
            CONSUL,
            "a.hcl",
            "ports { http = -1 }\nPORTS { http = 8500 }\n",
        ),
        (
            CONSUL,
            "a.json",
            "{\"ports\": {\"http\": -1},\n\"ports\": {\"http\": 8500}}",
        ),
        (
            CONSUL,
            "a.json",
            "{\"ports\": [{\"http\": -1}, {\"http\": 8500}]}",
        ),
        (CONSUL, "a.json", "\u{feff}{}"),
        (VAULT, "a.hcl", "\u{feff}ui = true\n"),
        (VAULT, "a", "{\"ui\": true}\n{\"listener\": {}}"),
        (CONSUL, "a.json", "server = true\n"),
    ];
    let printed = cases.map(|(product, file, text)| {
        let found = lint(product, file, text).join(", ");
        format!("{} {text:?}\n    {found}", product.name())
    });
    insta::assert_snapshot!("lint_twice", printed.join("\n"));
}

/// Several files are one configuration. A finding has file, line and spelling of the last
/// occurrence.
#[test]
fn findings_of_several_files_name_the_right_one() {
    let mut both = Configuration::new(CONSUL, None, Role::Node);
    let mut first = consul();
    first["ports"]["http"] = 8500.into();
    both.add("a.json", &first.to_string()).unwrap();
    both.add("b.hcl", "\nPorts {\n  Https = -1\n}\n").unwrap();
    let found = both.lint();
    let places: Vec<String> = found
        .iter()
        .map(|one| {
            format!(
                "{}:{} {} {}",
                one.file,
                one.line.unwrap_or(0),
                one.rule,
                one.key
            )
        })
        .collect();
    assert!(
        places.contains(&"a.json:1 consul.http-port Ports.http".to_owned()),
        "{places:?}"
    );
    assert!(
        places.contains(&"b.hcl:3 consul.https-port Ports.Https".to_owned()),
        "{places:?}"
    );

    let mut listeners = Configuration::new(VAULT, None, Role::Node);
    listeners.add("a.json", &vault().to_string()).unwrap();
    listeners
        .add(
            "b.hcl",
            "\n\nlistener \"tcp\" {\n  tls_disable = 1, address = \"10.0.0.5:8200\"\n}\n",
        )
        .unwrap();
    let found = listeners.lint();
    let plain = found
        .iter()
        .find(|one| one.rule == "vault.listener-plaintext")
        .unwrap();
    assert_eq!(
        (plain.file.as_str(), plain.line, plain.key.as_str()),
        ("b.hcl", Some(4), "listener[1].tcp.tls_disable")
    );
    let json = serde_json::to_value(plain).unwrap();
    assert_eq!((&json["line"], &json["file"]), (&4.into(), &"b.hcl".into()));
    assert!(
        plain
            .to_string()
            .starts_with("b.hcl:4: listener[1].tcp.tls_disable: "),
        "{plain}"
    );
}

/// An image with a file that is not HCL 1, and one that allows it with a reason.
#[test]
fn an_unreadable_file_of_an_image_is_refused_or_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web/image.toml");
    fs::create_dir(file.parent().unwrap()).unwrap();
    fs::write(
        file.with_file_name("vault.hcl"),
        b"ui = true\n\nlistener = var.tcp\n",
    )
    .unwrap();
    fs::write(file.with_file_name("latin.hcl"), b"ui = true\n# \xe9\n").unwrap();
    let lint_file = |name: &str, allow: &str| {
        let text = format!(
            "schema = 1\ndescription = \"a server\"\nbase.qemu.kind = \"packages\"\n{allow}\n\
             [[step]]\nname = \"server\"\nfile = \"{name}\"\ndestination = \"/etc/vault.d/{name}\"\n[[step]]\nprovisioner = \"seal\"\n"
        );
        let definition = Definition::parse(
            &file,
            &text,
            &BTreeMap::new(),
            &vault_bake::platform::all(None),
        )
        .unwrap();
        let provisioners = Path::new(env!("CARGO_MANIFEST_DIR")).join("provisioners");
        let provisioners = Provisioners::load(&[provisioners], &definition).unwrap();
        let steps = plan_steps(&definition, &provisioners).unwrap();
        match lint_steps(&steps, &definition.releases, &definition.allowed) {
            Ok(found) => {
                let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
                texts.join("\n")
            }
            Err(error) => format!("{error}\n    hint: {}", error.hint().unwrap_or_default()),
        }
    };
    let allow = "[lint.allow]\n\"vault.unreadable\" = \"the node fills it in\"";
    let other = "[lint.allow]\n\"consul.unreadable\" = \"the node fills it in\"";
    let printed = [
        lint_file("vault.hcl", ""),
        lint_file("latin.hcl", ""),
        lint_file("vault.hcl", other),
        lint_file("vault.hcl", allow),
    ];
    insta::assert_snapshot!("lint_unreadable_image", printed.join("\n"));
}
