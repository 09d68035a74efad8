//! Plans: their content, hidden values, and refusals.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use vault_bake::definition::Definition;
use vault_bake::plan::{EnvValue, Plan, plan};
use vault_bake::platform::azure::{AzureMachine, AzureOutput, Security};
use vault_bake::provisioner::Provisioners;

use crate::lock::{locked, platforms};
use crate::problems::{definition_error, plan_error, provisioner_error};

const CANARY: &str = "canary-0123456789";
const UNUSED: &str = "canary-of-no-step";

fn search() -> Vec<PathBuf> {
    vec![PathBuf::from("tests/suite/fixtures/provisioners")]
}

fn given() -> BTreeMap<String, String> {
    BTreeMap::from([
        (String::from("token"), String::from(CANARY)),
        (String::from("unused"), String::from(UNUSED)),
    ])
}

fn planned(definition: &Definition) -> Result<Plan, String> {
    let provisioners =
        Provisioners::load(&search(), definition).map_err(|error| provisioner_error(&error))?;
    plan(
        definition,
        &locked(definition),
        &provisioners,
        &platforms(),
        "qemu",
    )
    .map_err(|error| plan_error(&error))
}

fn node() -> Plan {
    let folder = Path::new("tests/suite/fixtures/images/node");
    let definition = Definition::load(folder, &given(), &vault_bake::platform::all(None))
        .unwrap_or_else(|error| panic!("{error}"));
    planned(&definition).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_plan_as_text() {
    insta::assert_snapshot!(node().render());
}

#[test]
fn a_plan_as_json() {
    insta::assert_json_snapshot!(node().describe());
}

#[test]
fn no_secret_is_in_what_a_plan_shows() {
    let plan = node();
    let printed = format!("{plan}{}", plan.describe());
    assert!(!printed.contains(CANARY) && !printed.contains(UNUSED));
    let with_secret = plan.steps.iter().flat_map(|step| step.env.values()).filter(
        |value| matches!(value, EnvValue::Secret { value, .. } if value.expose() == CANARY),
    );
    assert_eq!(with_secret.count(), 3);
    let line = plan
        .scrubber()
        .scrub(&format!("{CANARY} {UNUSED}"))
        .into_owned();
    assert_eq!(line, "[secret] [secret]");
}

#[test]
fn templates_are_rendered_with_inputs_image_and_releases() {
    let plan = node();
    let vault = plan.steps.iter().find(|step| step.name == "vault").unwrap();
    let file = vault
        .files
        .iter()
        .find(|file| file.path == "templates/vault.json")
        .unwrap();
    insta::assert_snapshot!(String::from_utf8_lossy(&file.content), @r#"
{
  "datacenter": "dc1",
  "image": "node",
  "since": "1.21.1",
  "ui": false
}
"#);
    assert!(file.content.ends_with(b"}\n"));
}

/// Copies the fixture to another folder, where `change` may alter a file.
fn elsewhere(file: &str, change: impl Fn(String) -> String) -> Result<Plan, String> {
    let folder = tempfile::tempdir().unwrap();
    for name in ["image.toml", "files/motd", "files/site.yml"] {
        let text =
            std::fs::read_to_string(Path::new("tests/suite/fixtures/images/node").join(name));
        let text = text.unwrap();
        let path = folder.path().join("node").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, if name == file { change(text) } else { text }).unwrap();
    }
    let image = folder.path().join("node");
    let named = |error: String| error.replace(&folder.path().display().to_string(), "FOLDER");
    let definition = Definition::load(&image, &given(), &vault_bake::platform::all(None))
        .map_err(|e| named(definition_error(&e)))?;
    planned(&definition).map_err(named)
}

#[test]
fn a_plan_is_the_same_wherever_its_folder_is() {
    let moved = elsewhere("", |text| text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(moved.digest(), node().digest());
}

#[test]
fn a_step_has_another_digest_as_soon_as_anything_of_it_changes() {
    let changes = [
        ("image.toml", "timeout_s = 900", "timeout_s = 901", "base"),
        ("image.toml", "\"openssl\", ", "", "base"),
        ("image.toml", "hello ", "good day ", "greeting"),
        ("image.toml", "echo", "printf %s", "greeting"),
        (
            "image.toml",
            "\"/etc/motd\"",
            "\"/etc/motd\"\nmode = \"0600\"",
            "motd",
        ),
        ("files/motd", "Baked", "Made", "motd"),
        ("files/site.yml", "all", "none", "site.yml"),
        (
            "image.toml",
            "{ datacenter = ",
            "{ ui = true, datacenter = ",
            "vault",
        ),
    ];
    let first = node();
    for (file, from, to, step) in changes {
        let other = elsewhere(file, |text| text.replacen(from, to, 1));
        let other = other.unwrap_or_else(|error| panic!("{error}"));
        let changed: Vec<&str> = first
            .steps
            .iter()
            .zip(&other.steps)
            .filter(|(one, other)| one.digest != other.digest)
            .map(|(one, _)| one.name.as_str())
            .collect();
        // The folder of the playbook is part of its step, and contains the file of the message of
        // the day.
        let expected = if file == "files/motd" {
            vec!["motd", "site.yml"]
        } else {
            vec![step]
        };
        assert_eq!(changed, expected, "{from} -> {to}");
        assert_ne!(first.digest(), other.digest());
    }
}

#[test]
fn what_a_plan_refuses() {
    let vault = "provisioner = \"vault\"\ninputs = { datacenter = \"{{ var.datacenter }}\" }";
    let seal = "[[step]]\nprovisioner = \"seal\"\n";
    let base = "provisioner = \"base\"\n";
    let changes = [
        (
            "unknown provisioner",
            "provisioner = \"vault\"",
            "provisioner = \"valt\"",
        ),
        (
            "provisioner outside",
            "provisioner = \"vault\"",
            "provisioner = \"../vault\"",
        ),
        ("unknown input", "{ datacenter = ", "{ data_center = "),
        ("missing input", vault, "provisioner = \"vault\""),
        (
            "input of another type",
            "{ datacenter = ",
            "{ ui = \"yes\", datacenter = ",
        ),
        (
            "secret for a plain input",
            "inputs = { datacenter = \"{{ var.datacenter }}\"",
            "inputs = { datacenter = \"{{ var.token }}\"",
        ),
        (
            "plain for a sensitive input",
            "proxy_token = \"{{ var.token }}\"",
            "proxy_token = \"hunter22\"",
        ),
        ("no release", "vault = \"1.21.1\"", "consul = \"1.22.1\""),
        ("no seal", seal, ""),
        (
            "seal too early",
            base,
            "provisioner = \"seal\"\n\n[[step]]\nprovisioner = \"base\"\nname = \"late\"\n",
        ),
        (
            "two seals",
            seal,
            "[[step]]\nname = \"first\"\nprovisioner = \"seal\"\n[[step]]\nprovisioner = \"seal\"\n",
        ),
        (
            "order",
            base,
            "provisioner = \"vault\"\nname = \"early\"\n[[step]]\nprovisioner = \"base\"\n",
        ),
    ];
    let mut messages = String::new();
    for (name, from, to) in changes {
        let error = elsewhere("image.toml", |text| {
            assert!(text.contains(from), "{name}");
            text.replacen(from, to, 1)
        });
        let error = error
            .err()
            .unwrap_or_else(|| format!("{name} was not refused"));
        messages = format!("{messages}{name}: {error}\n");
    }
    insta::assert_snapshot!(messages);
}

#[test]
fn a_lock_that_does_not_fit_is_refused() {
    let folder = Path::new("tests/suite/fixtures/images/node");
    let definition = Definition::load(folder, &given(), &vault_bake::platform::all(None))
        .unwrap_or_else(|error| panic!("{error}"));
    let provisioners = Provisioners::load(&search(), &definition).unwrap();
    let refused = |change: &dyn Fn(&mut vault_bake::lock::Lock)| {
        let mut lock = locked(&definition);
        change(&mut lock);
        let error = plan(&definition, &lock, &provisioners, &platforms(), "qemu")
            .err()
            .unwrap();
        error.to_string()
    };
    insta::assert_snapshot!(
        [
            refused(&|lock| lock.wanted = vault_bake::digest::Digest::hash_bytes("another")),
            refused(&|lock| lock.releases.clear()),
            refused(&|lock| lock.releases[0].version = String::from("1.0.0")),
            refused(&|lock| drop(lock.bases.remove("qemu"))),
            refused(&|lock| lock.bases["qemu"]["index"] = toml::Value::Array(Vec::new())),
        ]
        .join("\n"),
        @r#"
image.lock was made for another definition
image.lock does not fit its definition: its releases are not those of image.toml
image.lock does not fit its definition: its releases are not those of image.toml
image.lock has no base for qemu
image.lock does not fit its definition: its base is not that of image.toml
"#
    );
}

#[test]
fn a_template_that_cannot_be_rendered_is_named_with_its_line() {
    let cases = [
        ("undefined", "a\n{{ inputs.regoin }}\n"),
        ("sensitive", "{{ inputs.token }}\n"),
        ("syntax", "\n\n{% if %}\n"),
        ("release", "{{ releases.consul.version }}\n"),
        (
            "version",
            "{% if image is at_least(\"1.2\") %}{% endif %}\n",
        ),
        (
            "change",
            "{% if \"1.2.3\" is since(\"consul.tsl\") %}{% endif %}\n",
        ),
    ];
    let mut messages = String::new();
    for (name, template) in cases {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("provisioners/lib.sh", "");
        write(
            "provisioners/seal/provisioner.toml",
            "schema = 1\ndescription = \"Seals\"\nseal = true\n[inputs.token]\ntype = \"string\"\n\
             sensitive = true\ndefault = \"\"\ndescription = \"A token\"\n",
        );
        write("provisioners/seal/install.sh", "true\n");
        write("provisioners/seal/templates/a.conf", template);
        let definition = Definition::load(
            Path::new("tests/definitions/valid/least.toml"),
            &BTreeMap::new(),
            &vault_bake::platform::all(None),
        );
        let definition = definition.unwrap();
        let search = [folder.path().join("provisioners")];
        let provisioners = Provisioners::load(&search, &definition).unwrap();
        let error = plan(
            &definition,
            &locked(&definition),
            &provisioners,
            &platforms(),
            "qemu",
        )
        .err()
        .unwrap();
        let error = plan_error(&error).replace(&folder.path().display().to_string(), "FOLDER");
        messages = format!("{messages}{name}: {error}\n");
    }
    insta::assert_snapshot!(messages);
}

/// The shipped definitions plan for both builders. Azure requires the addresses that may reach the
/// VM.
#[test]
fn the_shipped_definitions_need_allow_from_on_azure() {
    for name in ["quickstart", "consul-server", "vault-server"] {
        let made = |given: &[(&str, &str)], builder: &str| {
            let given = given.iter();
            let given = given.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let definition = Definition::load(
                &Path::new("images").join(name),
                &given.collect(),
                &vault_bake::platform::all(None),
            );
            let definition = definition.unwrap_or_else(|error| panic!("{error}"));
            let provisioners = Provisioners::load(&["provisioners".into()], &definition).unwrap();
            plan(
                &definition,
                &locked(&definition),
                &provisioners,
                &platforms(),
                builder,
            )
        };
        assert!(made(&[], "qemu").is_ok(), "{name}");
        let error = made(&[], "azure").err().unwrap().to_string();
        let expected = "allow_from: empty; expected the addresses that builds are started from";
        assert!(error.contains(expected), "{error}");
        let plan = made(&[("azure_allow_from", "203.0.113.7")], "azure");
        let plan = plan.unwrap_or_else(|error| panic!("{error}"));
        let given = [
            ("azure_allow_from", "203.0.113.7"),
            ("azure_gallery", "shelf"),
        ];
        let in_gallery = made(&given, "azure");
        let in_gallery = in_gallery.unwrap_or_else(|error| panic!("{error}"));
        for (plan, gallery) in [(plan, None), (in_gallery, Some("shelf"))] {
            let machine = AzureMachine::deserialize(plan.target.machine.0).expect(name);
            let output = AzureOutput::deserialize(plan.target.output.0).expect(name);
            let trusted = machine.security == Security::TrustedLaunch;
            assert_eq!(
                (trusted, output.managed_image),
                (gallery.is_some(), gallery.is_none())
            );
            let made = output
                .gallery
                .map(|gallery| (gallery.name, gallery.definition));
            assert_eq!(
                made,
                gallery.map(|gallery| (gallery.to_owned(), name.to_owned()))
            );
        }
    }
}
