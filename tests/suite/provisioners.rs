//! The shipped provisioners as text: scripts for shellcheck, metadata and pages that match,
//! templates that
//! render to JSON.

#![expect(
    clippy::unwrap_used,
    reason = "a test whose preparation fails has failed"
)]

mod facts;
mod fetch;
pub mod identity;
mod management;
mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use semver::Version;
use vault_bake::definition::Definition;
use vault_bake::plan::plan_steps;
use vault_bake::product::consul::changes::TLS;
use vault_bake::product::version_changes;
use vault_bake::provisioner::Provisioners;

use crate::problems::plan_error;

const NAMES: [&str; 5] = ["base", "consul", "vault", "harden", "seal"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("provisioners")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = folder().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns every shell program below `provisioners/`.
fn scripts() -> Vec<PathBuf> {
    let mut scripts = vec![
        PathBuf::from("lib.sh"),
        PathBuf::from("base/files/identity"),
        PathBuf::from("base/files/fetch-identity"),
        PathBuf::from("vault/files/reopen-audit"),
    ];
    for name in NAMES {
        scripts.extend(["install.sh", "check.sh"].map(|file| Path::new(name).join(file)));
    }
    scripts
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test starts shellcheck and the shell"
)]
fn run(program: &str, arguments: &[&Path]) -> Option<Output> {
    match Command::new(program)
        .args(arguments)
        .current_dir(folder())
        .output()
    {
        Ok(output) => Some(output),
        Err(_) => {
            skipped(&format!("{program} is not installed"));
            None
        }
    }
}

#[expect(clippy::print_stderr, reason = "a skipped test prints its reason")]
fn skipped(reason: &str) {
    eprintln!("SKIPPED: {reason}");
}

fn assert_accepted(output: &Output) {
    let words = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&words)
    );
}

#[test]
fn the_linter_accepts_every_script() {
    let scripts = scripts();
    let arguments: Vec<&Path> = scripts.iter().map(PathBuf::as_path).collect();
    if let Some(output) = run("shellcheck", &arguments) {
        assert_accepted(&output);
    }
}

#[test]
fn the_shell_can_read_every_script() {
    for script in scripts() {
        if let Some(output) = run("sh", &[Path::new("-n"), &script]) {
            assert_accepted(&output);
        }
    }
}

#[test]
fn no_script_uses_what_only_some_shells_have() {
    for script in scripts() {
        let first = read(&script);
        let first = first.lines().next().unwrap_or_default();
        assert!(
            ["#!/bin/sh", "# shellcheck shell=sh"].contains(&first),
            "{} begins with {first:?}",
            script.display()
        );
    }
}

fn metadata(name: &str) -> toml::Table {
    read(format!("{name}/provisioner.toml")).parse().unwrap()
}

fn texts(table: &toml::Table, key: &str) -> Vec<String> {
    let array = table.get(key).and_then(toml::Value::as_array);
    array
        .into_iter()
        .flatten()
        .map(|item| item.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn metadata_says_what_is_there() {
    let mut seals = Vec::new();
    for name in NAMES {
        let metadata = metadata(name);
        let known = [
            "schema",
            "description",
            "timeout_s",
            "after",
            "releases",
            "configures",
            "seal",
            "inputs",
        ];
        for key in metadata.keys() {
            assert!(known.contains(&key.as_str()), "{name}: unknown key {key}");
        }
        assert_eq!(metadata["schema"].as_integer(), Some(1), "{name}");
        assert!(metadata["timeout_s"].as_integer() > Some(0), "{name}");
        for other in texts(&metadata, "after") {
            let place = |wanted: &str| NAMES.iter().position(|name| *name == wanted);
            assert!(place(&other) < place(name), "{name} comes after {other}");
        }
        if metadata.get("seal").and_then(toml::Value::as_bool) == Some(true) {
            seals.push(name);
        }
    }
    assert_eq!(seals, ["seal"]);
}

/// An unused input would be a promise without effect.
#[test]
fn every_input_has_a_default_of_its_type_and_is_read() {
    for name in NAMES {
        let metadata = metadata(name);
        let empty = toml::Table::new();
        let inputs = metadata
            .get("inputs")
            .and_then(toml::Value::as_table)
            .unwrap_or(&empty);
        let text = everything_below(&folder().join(name));
        let typed = metadata
            .get("configures")
            .map_or_else(String::new, |product| {
                let source = folder().with_file_name("src/product");
                let source = source.join(product.as_str().unwrap()).join("config");
                let file = fs::read_to_string(source.with_extension("rs")).unwrap();
                file + &everything_below(&source)
            });
        for (input, of) in inputs {
            let fits = match of["type"].as_str().unwrap() {
                "string" => of["default"].is_str(),
                "integer" => of["default"].is_integer(),
                "boolean" => of["default"].is_bool(),
                "list" => of["default"].is_array(),
                other => panic!("{name}.{input}: unknown type {other}"),
            };
            assert!(fits, "{name}.{input}: the default has another type");
            assert!(!of["description"].as_str().unwrap().is_empty());
            let variable = format!("VB_INPUT_{}", input.to_uppercase());
            let read = text.contains(&variable)
                || text.contains(&format!("inputs.{input}"))
                || typed.contains(&format!("\"{input}\""));
            assert!(read, "{name}.{input} is read nowhere");
        }
    }
}

fn everything_below(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text.push_str(&everything_below(&path));
        } else if path.file_name().unwrap() != "provisioner.toml" {
            text.push_str(&read(&path));
        }
    }
    text
}

/// Returns the ids of one `check.sh`, each once, as both branches of a choice may have the same id.
fn check_ids(name: &str) -> BTreeSet<String> {
    let text = read(format!("{name}/check.sh"));
    let calls = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let call = words.next()?;
        let id = words.next()?;
        (["check", "skip", "ok", "not_ok"].contains(&call)).then(|| id.to_owned())
    });
    calls.collect()
}

#[test]
fn every_check_has_an_id_of_its_own() {
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    for name in NAMES {
        let ids = check_ids(name);
        assert!(ids.len() >= 8, "{name} checks next to nothing");
        for id in ids {
            let rest = id
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('.'));
            let plain = |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c == '-');
            assert!(rest.is_some_and(plain), "{name}: {id} is no id");
            if let Some(other) = owners.insert(id.clone(), name) {
                panic!("{id} is in {other} and in {name}");
            }
        }
    }
}

#[test]
fn a_check_that_is_run_twice_fails() {
    let script = ". ./lib.sh\ncheck a.b words true\ncheck a.c words sh -c 'echo why; false'\nskip a.b words because\ndone_testing\n";
    let Some(output) = run("sh", &[Path::new("-c"), Path::new(script)]) else {
        return;
    };
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stdout), @r"
    ok 1 - a.b: words
    not ok 2 - a.c: words
    # why
    not ok 3 - a.b: this id was used before
    1..3
    ");
}

/// Renders a file of an image with Vault for these versions.
pub fn rendered(path: &str, versions: &[(&str, &str)]) -> String {
    let names = versions
        .iter()
        .map(|(product, _)| format!("{product}_version"));
    let names: Vec<String> = names.collect();
    let given = names.iter().map(String::as_str);
    let given = given.zip(versions.iter().map(|(_, version)| *version));
    rendered_of("vault-server", path, &given.collect::<Vec<_>>())
}

/// Renders a file of a shipped image with these variables.
pub fn rendered_of(image: &str, path: &str, variables: &[(&str, &str)]) -> String {
    let given = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let image = folder().with_file_name("images").join(image);
    let definition =
        Definition::load(&image, &given.collect(), &vault_bake::platform::all(None)).unwrap();
    let provisioners = Provisioners::load(&[folder()], &definition).unwrap();
    let steps = plan_steps(&definition, &provisioners).unwrap();
    let mut files = steps.iter().flat_map(|step| &step.files);
    let file = files.find(|file| file.path == path);
    String::from_utf8(file.unwrap().content.clone()).unwrap()
}

/// Snapshots the configuration of a shipped image for each version that changes it.
#[test]
fn each_version_gets_its_files() {
    let consul = [
        "1.8.7", "1.9.17", "1.12.9", "1.13.9", "1.14.11", "1.21.5", "1.22.4", "2.0.0",
    ];
    let vault = ["1.15.6", "1.19.0", "1.21.1", "2.0.0", "2.1.0"];
    for (product, versions) in [("consul", &consul[..]), ("vault", &vault[..])] {
        let mut before = String::new();
        for version in versions {
            let now = rendered(
                &format!("configuration/{product}.json"),
                &[(product, version)],
            );
            if now != before {
                insta::assert_snapshot!(format!("{product}_{version}"), now);
            }
            before = now;
        }
    }
}

/// Writes `images/vault-server` into `place`, with these inputs of a provisioner.
fn changed_server(place: &Path, provisioner: &str, inputs: &str) -> PathBuf {
    let image = folder().with_file_name("images").join("vault-server");
    let text = fs::read_to_string(image.join("image.toml")).unwrap();
    let step = format!("provisioner = \"{provisioner}\"\n");
    let (start, rest) = text.split_once(&step).unwrap();
    let rest = rest.split_once('\n').unwrap().1;
    let changed = place.join("vault-server");
    fs::create_dir(&changed).unwrap();
    let text = format!("{start}{step}inputs = {{ {inputs} }}\n{rest}");
    fs::write(changed.join("image.toml"), text).unwrap();
    changed
}

/// Values that a product would refuse at a node's start are refused before the build starts a VM.
#[test]
fn inputs_that_fit_no_configuration_are_refused_by_name() {
    let refused = |provisioner: &str, input: &str| {
        let place = tempfile::tempdir().unwrap();
        let image = changed_server(place.path(), provisioner, input);
        let definition =
            Definition::load(&image, &BTreeMap::new(), &vault_bake::platform::all(None)).unwrap();
        let provisioners = Provisioners::load(&[folder()], &definition).unwrap();
        let error = plan_error(&plan_steps(&definition, &provisioners).err().unwrap());
        error.replace(&place.path().display().to_string(), "FOLDER")
    };
    let cases = [
        ("consul", "log_level = \"LOUD\""),
        ("consul", "raft_multiplier = 11"),
        ("consul", "raft_multiplier = -1"),
        ("consul", "management_subnets = [\"0.0.0.0/0\"]"),
        ("vault", "tls_min_version = \"tls11\""),
        ("vault", "log_level = \"INFO\""),
        ("vault", "seal = \"awskms\""),
        (
            "vault",
            "seal = \"azurekeyvault\", seal_vault_name = \"prod\"",
        ),
        ("vault", "seal = \"transit\", seal_key_name = \"unseal\""),
        ("vault", "seal_vault_name = \"prod\""),
        (
            "vault",
            "seal = \"transit\", seal_address = \"https://v\", seal_key_name = \"k\", seal_client_id = \"3f2a8c1e-5b7d-4e90-a1c2-d3e4f5061728\"",
        ),
        (
            "vault",
            "seal = \"transit\", seal_address = \"http://v\", seal_key_name = \"k\"",
        ),
        ("vault", "seal = \"azurekeyvault\", client_secret = \"s\""),
        ("vault", "telemetry_prometheus_retention_time = \"0s\""),
        ("vault", "plugin_directory = \"/opt/../tmp\""),
        ("vault", "plugin_directory = \"/tmp/plugins\""),
        ("vault", "audit_log_mib = 0"),
        ("vault", "audit_log_files = -1"),
    ];
    let said: Vec<String> = cases.iter().map(|(of, input)| refused(of, input)).collect();
    insta::assert_snapshot!(said.join("\n"), @"
    FOLDER/vault-server/image.toml:106: step[2].inputs.log_level: expected one of `TRACE`, `DEBUG`, `INFO`, `WARN`, `ERROR`, found `LOUD`
    hint: Change the value: it becomes part of consul's configuration.
    FOLDER/vault-server/image.toml:106: step[2].inputs.raft_multiplier: expected a number from 1 to 10, found `11`
    hint: Change the value: it becomes part of consul's configuration.
    FOLDER/vault-server/image.toml:106: step[2].inputs.raft_multiplier: expected a number from 1 to 10, found `-1`
    hint: Change the value: it becomes part of consul's configuration.
    FOLDER/vault-server/image.toml:106: step[2].inputs.management_subnets: expected a prefix of 8 bits or more for IPv4, found `0.0.0.0/0`
    hint: Change the value: it becomes part of consul's configuration.
    FOLDER/vault-server/image.toml:110: step[3].inputs.tls_min_version: expected `tls12` or `tls13`, found `tls11`
    hint: Change the value: it becomes part of vault's configuration.
    FOLDER/vault-server/image.toml:110: step[3].inputs.log_level: expected one of `trace`, `debug`, `info`, `warn`, `error`, found `INFO`
    hint: Change the value: it becomes part of vault's configuration.
    FOLDER/vault-server/image.toml:110: step[3].inputs.seal: expected one of `shamir`, `azurekeyvault`, `transit`, found `awskms`
    hint: Change the value: it becomes part of vault's configuration.
    FOLDER/vault-server/image.toml:108: step[3].inputs.seal_key_name: expected the name of a key, which `seal` needs, found ``
    hint: Change the value: it becomes part of vault's configuration.
    FOLDER/vault-server/image.toml:108: step[3].inputs.seal_address: expected the address of another Vault, which `seal` needs, found ``
    hint: Change the value: it becomes part of vault's configuration.
    FOLDER/vault-server/image.toml:110: step[3].inputs.seal_vault_name: expected no value, as `seal` is of another kind, found `prod`
    hint: Change the value: it becomes part of vault's configuration.
    FOLDER/vault-server/image.toml:110: step[3].inputs.seal_client_id: expected no value, as `seal` is of another kind, found `3f2a8c1e-5b7d-4e90-a1c2-d3e4f5061728`
    hint: Change the value: it becomes part of vault's configuration.
    FOLDER/vault-server/image.toml:110: step[3].inputs.seal_address: `http://v` does not match the input's pattern
    hint: Set `seal_address`: Address of the Vault of transit, as in https://vault.example:8200.
    FOLDER/vault-server/image.toml:110: step[3].inputs.client_secret: unknown input of `vault`; expected one of `audit_log_files`, `audit_log_mib`, `disable_mlock`, `log_level`, `plugin_directory`, `seal`, `seal_address`, `seal_ca_cert`, `seal_client_id`, `seal_environment`, `seal_key_name`, `seal_mount_path`, `seal_namespace`, `seal_resource`, `seal_server_name`, `seal_tenant_id`, `seal_vault_name`, `telemetry_disable_hostname`, `telemetry_prometheus_retention_time`, `tls_min_version`, `ui`, `uid`
    hint: Remove it.
    FOLDER/vault-server/image.toml:110: step[3].inputs.telemetry_prometheus_retention_time: `0s` does not match the input's pattern
    hint: Set `telemetry_prometheus_retention_time`: How long Vault keeps metrics for Prometheus, as in 24h; if empty, it has none.
    FOLDER/vault-server/image.toml:110: step[3].inputs.plugin_directory: `/opt/../tmp` does not match the input's pattern
    hint: Set `plugin_directory`: Folder of external plugins, below /opt or /usr/local; if empty, Vault runs none.
    FOLDER/vault-server/image.toml:110: step[3].inputs.plugin_directory: `/tmp/plugins` does not match the input's pattern
    hint: Set `plugin_directory`: Folder of external plugins, below /opt or /usr/local; if empty, Vault runs none.
    FOLDER/vault-server/image.toml:110: step[3].inputs.audit_log_mib: expected a number from 1 to 65536, found `0`
    hint: Change the value: it becomes part of vault's configuration.
    FOLDER/vault-server/image.toml:110: step[3].inputs.audit_log_files: expected a number from 1 to 1000, found `-1`
    hint: Change the value: it becomes part of vault's configuration.
    ");
}

/// A change of the version table appears in the files from its version on, not before.
#[test]
fn each_change_begins_with_its_version() {
    let source =
        fs::read_to_string(folder().with_file_name("src/product/consul/config.rs")).unwrap();
    let written = |version: Version| {
        let version = version.to_string();
        rendered("configuration/consul.json", &[("consul", &version)])
    };
    for change in version_changes() {
        let Version {
            major,
            minor,
            patch,
            ..
        } = change.since;
        let before = match (minor, patch) {
            (0, 0) => Version::new(major - 1, 99, 0),
            (_, 0) => Version::new(major, minor - 1, 99),
            _ => Version::new(major, minor, patch - 1),
        };
        let (product, name) = change
            .name
            .split_once('.')
            .expect("a product and a subject");
        let constant = name.to_uppercase().replace('-', "_");
        // The fragment of a node has its own change.
        let in_file = product == "consul"
            && constant != "INITIAL_MANAGEMENT"
            && source.contains(&format!("{constant}.is_in("));
        let differs = written(before.clone()) != written(change.since.clone());
        assert_eq!(differs, in_file, "{} against {before}", change.name);
        assert!(
            !change.is_in(&before) && change.is_in(&change.since),
            "{}",
            change.name
        );
        let same_name = version_changes().filter(|other| other.name == change.name);
        assert_eq!(same_name.count(), 1, "{}", change.name);
    }
    assert!(TLS.is_in(&"1.12.0-rc1+ent".parse().unwrap()));
}

#[test]
fn the_firewall_rules_name_what_may_come_in() {
    let rules = rendered("templates/nftables.conf", &[]);
    assert!(rules.contains("tcp dport { 22, 8200, 8201, 8300, 8301 } accept"));
    assert!(rules.contains("meta skuid != { root, vault, consul } drop"));
}

/// A page of at most 50 lines that has every input, changes and checks.
#[test]
fn every_provisioner_has_a_page_about_it() {
    for name in NAMES {
        let page = read(format!("{name}/README.md"));
        assert!(page.starts_with(&format!("# {name}\n")), "{name}");
        assert!(page.lines().count() <= 50, "{name}: more than a screen");
        for part in ["**Changes**", "**Checks**", "docs/hardening.md"] {
            assert!(page.contains(part), "{name}: {part} is missing");
        }
        let row = |line: &str| Some(line.strip_prefix("| `")?.split('`').next()?.to_owned());
        let rows: BTreeSet<String> = page.lines().filter_map(row).collect();
        let metadata = metadata(name);
        let inputs = metadata.get("inputs").and_then(toml::Value::as_table);
        let inputs: BTreeSet<String> = inputs
            .into_iter()
            .flat_map(toml::Table::keys)
            .cloned()
            .collect();
        assert_eq!(rows, inputs, "{name}");
    }
}
