//! The linter: every rule with a violation and a valid twin, and the forms of files.

mod cases;
mod kinds;
mod reading;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::json;
use vault_bake::definition::Definition;
use vault_bake::identity::Identity;
use vault_bake::lint::{Configuration, Finding, Role, Severity};
use vault_bake::plan::lint::lint_steps;
use vault_bake::plan::plan_steps;
use vault_bake::product::{Product, lint_rules};
use vault_bake::provisioner::Provisioners;

use crate::problems::problems_text;
use crate::provisioners::{rendered, rendered_of};
use cases::{TLS, at, case, consul, consul_cases, vault, vault_cases};

#[test]
fn every_rule_finds_what_breaks_it_and_nothing_else() {
    let mut cases = consul_cases();
    cases.extend(vault_cases());
    let mut printed = String::new();
    let mut wrong = String::new();
    for case in &cases {
        let found = case.lint(&case.bad);
        let ids: BTreeSet<&str> = found.iter().map(|one| one.rule).collect();
        if ids != BTreeSet::from([case.rule]) {
            writeln!(wrong, "{} {}: found {ids:?}", case.rule, case.bad).unwrap();
        }
        for finding in found {
            writeln!(printed, "{}: {}: {}", case.rule, finding.key, finding.found).unwrap();
        }
        let twin = case.lint(&case.good);
        if !twin.is_empty() {
            writeln!(wrong, "{} twin {}: found {twin:?}", case.rule, case.good).unwrap();
        }
    }
    assert_eq!(wrong, "");
    assert!(cases.len() >= 40, "{}", cases.len());
    insta::assert_snapshot!("lint_found", printed);

    let tried: BTreeSet<&str> = cases.iter().map(|case| case.rule).collect();
    // These read several files, or overlap with another rule; they have their own tests.
    let elsewhere = [
        "vault.one-file",
        "vault.storage-consul-keys",
        "vault.pending-removal",
        "vault.environment-secret",
        "vault.environment-skip-verify",
        "vault.environment-unread",
        "consul.tls-not-enabled",
    ];
    let untried = lint_rules()
        .map(|rule| rule.id)
        .filter(|id| !tried.contains(id) && !elsewhere.contains(id));
    assert_eq!(untried.collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn files_without_a_flag_enable_nothing() {
    let flags = json!({ "verify_incoming": null, "verify_outgoing": null });
    let case = case("consul.tls-not-enabled", at(TLS, flags), json!({}));
    let ids: Vec<&str> = case.lint(&case.bad).iter().map(|one| one.rule).collect();
    assert_eq!(
        ids,
        [
            "consul.tls-not-enabled",
            "consul.verify-incoming",
            "consul.verify-outgoing"
        ]
    );
    assert!(case.lint(&case.good).is_empty());
}

/// A configuration of a user, in HCL and without the stanza `tls`.
#[test]
fn hcl_json_and_old_keys_mean_the_same() {
    let consul = r#"
        # comments of all kinds // and
        /* this one */
        server    = true
        data_dir  = "/var/lib/consul"
        bind_addr = "{{ GetPrivateIP }}"
        encrypt   = "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s="
        disable_keyring_file = true
        ca_file   = "/ca.pem"
        cert_file = "/tls.crt"
        key_file  = "/tls.key"
        verify_incoming        = true
        verify_outgoing        = true
        verify_server_hostname = true
        ports { http = -1, https = 8501 }
        ports = { serf_wan = -1 }
    "#;
    let mut old = Configuration::new(Product::Consul, Some("1.8.7".parse().unwrap()), Role::Node);
    let twice = old.add("a.hcl", consul).unwrap_err();
    insta::assert_snapshot!(twice.to_string(), @"a.hcl:16:9: `ports` is set again, first on line 15: Consul accepts one block and refuses the file; expected one block");
    let consul = consul.replace("8501 }\n        ports = {", "8501");
    let consul = consul.replace("8501 serf", "8501, serf");
    old.add("a.hcl", &consul).unwrap();
    old.add(
        "b.json",
        r#"{"acl": {"enabled": true, "default_policy": "deny"}}"#,
    )
    .unwrap();
    assert_eq!(old.lint(), []);

    let vault = r#"
        storage "consul" {
          address       = "127.0.0.1:8501"
          scheme        = "https"
          tls_ca_file   = "/ca.pem"
          tls_cert_file = "/tls.crt"
          tls_key_file  = "/tls.key"
        }
        listener "tcp" {
          address       = "0.0.0.0:8200"
          tls_cert_file = "/tls.crt"
          tls_key_file  = "/tls.key"
          telemetry {
            unauthenticated_metrics_access = true
          }
        }
        listener "tcp" {
          address     = "127.0.0.1:8300"
          tls_disable = "true"
        }
        api_addr      = "https://vault-1.example:8200"
        cluster_addr  = "https://vault-1.example:8201"
        disable_mlock = false
    "#;
    let mut open = Configuration::new(Product::Vault, None, Role::Node);
    open.add("vault.hcl", vault).unwrap();
    let printed: Vec<String> = open.lint().iter().map(ToString::to_string).collect();
    insta::assert_snapshot!("lint_hcl", printed.join("\n"));
}

#[test]
fn what_cannot_be_read_says_where() {
    let files = [
        ("twice.json", r#"{"ports": {"http": -1, "http": 8500}}"#),
        ("list.json", "[]"),
        ("cut.json", "{"),
        ("twice.hcl", "ui = true\nui = false\n"),
        ("reference.hcl", "address = var.address\n"),
        ("cut.hcl", "listener \"tcp\" {\n"),
    ];
    let printed = files.map(|(name, text)| {
        let mut configuration = Configuration::new(Product::Vault, None, Role::Node);
        configuration.add(name, text).unwrap_err().to_string()
    });
    insta::assert_snapshot!("lint_unreadable", printed.join("\n"));
}

#[test]
fn folders_are_read_in_the_order_of_names() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = consul();
    server["ports"]["http"] = json!(8500);
    fs::write(folder.path().join("10-server.json"), server.to_string()).unwrap();
    fs::write(folder.path().join("20-closed.hcl"), "ports { http = -1 }\n").unwrap();
    fs::write(folder.path().join("README.md"), "nothing for Consul").unwrap();
    let mut both = Configuration::new(Product::Consul, None, Role::Node);
    both.add_path(folder.path()).unwrap();
    assert_eq!(both.lint(), []);

    fs::write(folder.path().join("30-open.hcl"), "ports { http = 8500 }\n").unwrap();
    let mut all = Configuration::new(Product::Consul, None, Role::Node);
    all.add_path(folder.path()).unwrap();
    let found = all.lint();
    assert_eq!(found[0].rule, "consul.http-port");
    assert!(found[0].file.ends_with("30-open.hcl"), "{}", found[0].file);

    let mut vault = Configuration::new(Product::Vault, None, Role::Node);
    vault.add("a.json", &self::vault().to_string()).unwrap();
    vault.add("b.json", r#"{"ui": false}"#).unwrap();
    let found: Vec<&str> = vault.lint().iter().map(|one| one.rule).collect();
    assert_eq!(found, ["vault.one-file"]);

    let empty = tempfile::tempdir().unwrap();
    let mut none = Configuration::new(Product::Vault, None, Role::Node);
    let error = none.add_path(empty.path()).unwrap_err().to_string();
    insta::assert_snapshot!(
        error.replace(&empty.path().display().to_string(), "FOLDER"),
        @"FOLDER: no file ends in .hcl or .json"
    );
}

/// Rules whose findings are notes; there must be no other finding.
fn notes(found: &[Finding]) -> Vec<&'static str> {
    let mut notes = Vec::new();
    for finding in found {
        assert_eq!(finding.severity, Severity::Note, "{finding}");
        notes.push(finding.rule);
    }
    notes
}

/// The configuration that the shipped provisioners write, for versions on both sides of every
/// change.
#[test]
fn shipped_images_have_no_finding() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (image, subnets) in [
        ("quickstart", None),
        ("vault-server", None),
        ("consul-server", None),
        ("consul-server", Some("10.0.9.0/28")),
    ] {
        for version in [
            "1.8.7", "1.11.11", "1.12.0", "1.13.9", "1.14.0", "1.21.4", "1.22.3", "1.22.4",
            "2.0.0", "2.1.0",
        ] {
            let mut given = BTreeMap::from([("consul_version".to_owned(), version.to_owned())]);
            let subnets = subnets.map(|subnets: &str| subnets.to_owned());
            given.extend(subnets.map(|subnets| ("management_subnets".to_owned(), subnets)));
            let definition = Definition::load(
                &root.join("images").join(image),
                &given,
                &vault_bake::platform::all(None),
            )
            .unwrap();
            let provisioners =
                Provisioners::load(&[root.join("provisioners")], &definition).unwrap();
            let steps = plan_steps(&definition, &provisioners).unwrap();
            let found = lint_steps(&steps, &definition.releases, &definition.allowed).unwrap();
            let expected: &[&str] = match image {
                "consul-server" => &[],
                _ => &["vault.seal"],
            };
            assert_eq!(notes(&found), expected, "{image} with Consul {version}");
        }
    }
}

/// The agent of Vault's node refuses the keys, so a server of Consul alone is not found.
#[test]
fn vault_on_a_consul_that_refuses_its_keys_is_found() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = |image: &str, version: &str| {
        let given = BTreeMap::from([("consul_version".to_owned(), version.to_owned())]);
        let definition = Definition::load(
            &root.join("images").join(image),
            &given,
            &vault_bake::platform::all(None),
        )
        .unwrap();
        let provisioners = Provisioners::load(&[root.join("provisioners")], &definition).unwrap();
        let steps = plan_steps(&definition, &provisioners).unwrap();
        let mut found = lint_steps(&steps, &definition.releases, &definition.allowed).unwrap();
        found.retain(|finding| finding.severity == Severity::Unsafe);
        let printed: Vec<String> = found.iter().map(ToString::to_string).collect();
        printed.join("\n")
    };
    insta::assert_snapshot!(found("vault-server", "1.21.5"), @"
    vault: configuration/vault.json:3: storage.consul: Consul 1.21.5
      vault.storage-consul-keys: Consul 1.21.5 refuses keys that Vault writes for users, groups and paths with a blank, `@`, `+` or `:`, so such requests fail
      instead: use Consul 1.22.0 or later
      source:  https://github.com/hashicorp/consul/issues/22822
    ");
    assert_ne!(found("quickstart", "1.21.5+ent"), "");
    for version in ["1.21.4", "1.21.6+ent", "1.22.0", "2.1.0"] {
        assert_eq!(found("vault-server", version), "", "{version}");
    }
    assert_eq!(found("consul-server", "1.21.5"), "");

    let other = r#"{"storage": {"raft": {"path": "/var/lib/vault", "node_id": "a"}}}"#;
    for (file, expected) in [(vault().to_string(), 1), (other.to_owned(), 0)] {
        let version = Some("1.21.5".parse().unwrap());
        let mut server = Configuration::new(Product::Vault, None, Role::Node).with_consul(version);
        server.add("vault.json", &file).unwrap();
        let found = server.lint().into_iter();
        let found = found.filter(|finding| finding.rule == "vault.storage-consul-keys");
        assert_eq!(found.count(), expected, "{file}");
    }
}

/// The fragment of a node completes the configuration: the agent reads both.
#[test]
fn a_baked_agent_with_its_fragment_has_no_finding() {
    let now = "2026-11-23T09:00:00Z".parse().unwrap();
    let identity = Identity::generate("node-1", "dc1", "1.21.5", now).unwrap();
    let mut agent = Configuration::new(
        Product::Consul,
        Some("1.21.5".parse().unwrap()),
        Role::Founder,
    );
    agent.add("consul.json", &baked("consul")).unwrap();
    agent
        .add("node.json", identity.consul_fragment.expose())
        .unwrap();
    assert_eq!(agent.lint(), []);

    let subnets = [("management_subnets", "10.0.9.0/28")];
    let consul = rendered_of("consul-server", "configuration/consul.json", &subnets);
    let mut asked = Configuration::new(Product::Consul, None, Role::Founder);
    asked.add("consul.json", &consul).unwrap();
    asked
        .add("node.json", identity.consul_fragment.expose())
        .unwrap();
    assert_eq!(asked.lint(), []);
    // Without certificates of clients, it is open to other machines.
    asked
        .add(
            "open.json",
            r#"{"tls": {"https": {"verify_incoming": false}}}"#,
        )
        .unwrap();
    let found: Vec<&str> = asked.lint().iter().map(|one| one.rule).collect();
    assert_eq!(found, ["consul.https-verify-incoming"]);

    let mut server = Configuration::new(Product::Vault, None, Role::Node);
    server.add("vault.json", &baked("vault")).unwrap();
    assert_eq!(notes(&server.lint()), ["vault.seal"]);
}

/// Returns the input of a shipped provisioner.
fn baked(product: &str) -> String {
    rendered(&format!("configuration/{product}.json"), &[])
}

/// An image with a file step that opens the plaintext API, and one that allows the finding with a
/// reason.
#[test]
fn a_definition_may_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("open/image.toml");
    fs::create_dir(file.parent().unwrap()).unwrap();
    fs::write(file.with_file_name("open.hcl"), "ports { http = 8500 }\n").unwrap();
    let findings_with = |allow: &str| {
        let text = format!(
            "schema = 1\ndescription = \"an agent\"\nbase.qemu.kind = \"packages\"\nreleases.consul = \"1.21.5\"\n{allow}\n\
             [[step]]\nprovisioner = \"base\"\n[[step]]\nprovisioner = \"consul\"\n\
             [[step]]\nname = \"open\"\nfile = \"open.hcl\"\ndestination = \"/etc/consul.d/open.hcl\"\n[[step]]\nprovisioner = \"seal\"\n"
        );
        let definition = Definition::parse(
            &file,
            &text,
            &BTreeMap::new(),
            &vault_bake::platform::all(None),
        )
        .map_err(|error| {
            problems_text(&error).replace(&folder.path().display().to_string(), "FOLDER")
        })?;
        let provisioners = Path::new(env!("CARGO_MANIFEST_DIR")).join("provisioners");
        let provisioners = Provisioners::load(&[provisioners], &definition).unwrap();
        let steps = plan_steps(&definition, &provisioners).unwrap();
        let found = lint_steps(&steps, &definition.releases, &definition.allowed);
        let found = found.map_err(|error| error.to_string())?;
        Ok::<_, String>(
            found
                .iter()
                .map(|one| format!("{}: {}", one.file, one.rule))
                .collect::<Vec<_>>(),
        )
    };
    let printed = [
        "",
        "[lint.allow]\n\"consul.http-port\" = \"the old agent until spring\"",
        "[lint.allow]\n\"consul.http-prot\" = \"the old agent until spring\"",
        "[lint.allow]\n\"consul.http-port\" = \"\"",
        "[lint]\nallowed = {}",
    ]
    .map(|allow| format!("{allow}\n    {:?}\n", findings_with(allow)));
    insta::assert_snapshot!("lint_allowed", printed.join(""));
}

/// The rules as a table, which `docs/lint.md` contains.
#[test]
fn the_documentation_has_every_rule() {
    let mut table = String::from("| rule | why | instead |\n|---|---|---|\n");
    for rule in lint_rules() {
        writeln!(
            table,
            "| `{}` | {} ([source]({})) | {} |",
            rule.id, rule.reason, rule.source, rule.fix
        )
        .unwrap();
    }
    let documented =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/lint.md")).unwrap();
    assert!(
        documented.contains(&table),
        "docs/lint.md should have this table:\n{table}"
    );
    let count = format!("{} rules", lint_rules().count());
    assert!(
        documented.contains(&count),
        "docs/lint.md should say: {count}"
    );
}

/// Findings are printed and logged, so they must not contain a secret.
#[test]
fn no_finding_shows_a_secret() {
    let secret = "hunter2hunter2";
    let consul = json!({
        "encrypt": secret,
        "acl": { "tokens": { "agent": secret } },
        "retry_join": [format!("provider=azure secret_access_key={secret}")],
    });
    let vault = json!({
        "storage": { "consul": { "token": secret } },
        "service_registration": { "consul": { "token": secret } },
        "seal": { "azurekeyvault": { "client_secret": secret } },
    });
    for role in [Role::Image, Role::Node, Role::Founder] {
        for (product, value) in [(Product::Consul, &consul), (Product::Vault, &vault)] {
            let mut configuration = Configuration::new(product, None, role);
            configuration.add("a.json", &value.to_string()).unwrap();
            let printed = serde_json::to_string(&configuration.lint()).unwrap();
            assert!(printed.contains("secret"), "{printed}");
            assert!(!printed.contains(secret), "{printed}");
        }
    }
}
